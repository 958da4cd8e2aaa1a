/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The control side of a node, and everything of a node that is no port: slot
 * memory, page directory, workers, clients, membership and regions. It runs on
 * the main lcore. It needs no EAL and reads no clock: with links and a store of
 * its own the simulator makes whole nodes of it. tp_node.h puts it on real
 * ports.
 *
 * A node is
 *	control = tp_control_create(&config, now);
 *	loop: tp_control_poll(control, now);			main lcore
 *	      tp_worker_poll(tp_control_worker(control, i), now);	each worker lcore
 *	tp_control_stop(control, now); loop on until tp_control_state_get() is TP_CONTROL_STOPPED;
 *	tp_control_destroy(control);				nobody polls any more
 * The two polls may run on different threads, or in turn on one.
 *
 * docs/prog_guide/node.md is the guide.
 */
#ifndef TP_CONTROL_H
#define TP_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "tp_abi.h"
#include "tp_abi_control.h"
#include "tp_address.h"
#include "tp_codec_chooser.h"
#include "tp_endpoint.h"
#include "tp_worker.h"

#ifdef __cplusplus
extern "C" {
#endif

struct tp_control;
struct tp_store;

/** What 0 means is said per field. */
struct tp_control_config {
	uint16_t node_id;		/* 1 to node_id_max */
	uint16_t node_id_max;		/* highest id of the cluster; 0: 64 */
	uint16_t worker_count;		/* 1 to TP_ABI_WORKERS_MAX */
	uint8_t link_count;		/* ports */
	struct tp_address_split split;	/* zeroed: TP_ADDRESS_SPLIT_DEFAULT */
	struct tp_store *store;		/* borrowed; used by this control alone */
	struct tp_clock clock;
	/* Link of port p for worker w at links[w][p]; borrowed. */
	struct tp_endpoint_link links[TP_ABI_WORKERS_MAX][TP_ENDPOINT_LINKS_MAX];
	uint16_t base_port;		/* UDP port of worker 0; 0: TP_ENDPOINT_PORT_DEFAULT */
	/*
	 * Frames of the one port queue that goes round: a worker that received a
	 * frame for another one gives it here. NULL: such frames are dropped.
	 */
	void (*steer)(void *ctx, uint16_t from_worker, uint8_t to_worker, struct tp_frame *frame);
	void *steer_ctx;
	/* Link for a peer and its MAC if static; NULL: link 0 and ARP. */
	uint8_t (*route)(void *ctx, uint16_t node, uint32_t ip, const uint8_t **mac_out);
	void *route_ctx;
	/*
	 * Workers may sleep: called when there is something in a ring for one of
	 * them (any thread), and for the control side (worker threads). NULL: nobody
	 * does.
	 */
	void (*wake_worker)(void *ctx, uint16_t worker);
	void (*wake_control)(void *ctx);
	void *wake_ctx;
	uint32_t page_bytes;		/* of a slot, a power of two, 4096 to 2 MiB; 0: 4096 */
	uint32_t home_slots;		/* of the node, divided among the workers */
	uint32_t cache_slots;		/* likewise; at least 8 a worker */
	uint64_t heap_bytes;		/* of this node's heap region; 0: none */
	bool huge_pages;		/* ask for huge pages for the slots */
	uint64_t lease_ns;		/* 0: 60 ms */
	uint64_t fence_margin_ns;	/* 0: a third of the lease */
	uint64_t guard_lease_ns;	/* 0: 10 ms */
	uint64_t peer_timeout_ns;	/* 0: 120 ms */
	uint64_t retry_ns;		/* coherence: 0: 20 ms */
	uint32_t request_count;		/* outstanding transactions a worker; 0: 256 */
	uint32_t waiter_count;		/* client requests a worker takes at once; 0: 2048 */
	uint32_t busy_count;		/* busy home entries a worker; 0: 1024 */
	uint32_t deferred_count;	/* deferred messages a worker; 0: 4096 */
	uint32_t stash_count;		/* messages of a class a worker keeps unsent; 0: 4096 */
	uint32_t kept_count;	/* results of atomics kept a worker, 32 bytes each; 0: 131072 */
	uint16_t request_credits;	/* fabric; 0: its default */
	uint16_t forward_credits;	/* fabric; 0: its default */
	uint32_t tx_frames;		/* fabric; 0: its default */
	uint32_t rx_frames;		/* fabric; 0: its default */
	bool no_join;			/* fabric; no two messages in one packet */
	uint64_t seed;			/* spreads timers and epochs of sessions */
	/*
	 * Time in which each link takes 1024 bytes; pages are encoded where that takes
	 * less. 0: as fast as memory, pages go as they are.
	 */
	uint32_t link_ns_per_kib[TP_ENDPOINT_LINKS_MAX];
	/* Links whose time is not known: it is measured, and what is above only the start. */
	bool link_measured[TP_ENDPOINT_LINKS_MAX];
	bool frame_crc;			/* frames at rest have sums; wrong ones read VOID(corruption) */
	/* Pages whose contents are remembered, to send or receive changes of; 0: none. */
	uint32_t base_slots;
	/* Of tp_codec_calibrate() for 4096 bytes; borrowed during create. NULL: no link is slow. */
	const struct tp_codec_cost *codec_costs;
	uint8_t codec_only;		/* 1 + enum tp_codec_id of all pages on slow links; 0: chosen */
	/* A clock to time codecs by, any thread; NULL: the costs above are believed. */
	uint64_t (*codec_now_ns)(void *ctx);
	void *codec_now_ctx;
	/* File with the pages of durable regions, made if it is not there; borrowed. NULL: none. */
	const char *pool_path;
	uint64_t pool_bytes;		/* of one that is made */
	bool pool_threaded;		/* it has a thread; else tp_control_poll() does its work */
	uint64_t pool_sweep_ns;		/* between persisting what was written back; 0: on request only */
	bool inject;			/* clients may inject faults; then links are wrapped */
	/* An injected crash; whatever it does, the node does nothing any more. NULL: none. */
	void (*crash)(void *ctx);
	void *crash_ctx;
};

enum tp_control_state {
	TP_CONTROL_JOINING = 0,		/* has an epoch, the lease before it may still run */
	TP_CONTROL_MEMBER = 1,		/* serves */
	TP_CONTROL_FENCED = 2,		/* was fenced; drops its copies, then joins again */
	TP_CONTROL_LEAVING = 3,
	TP_CONTROL_STOPPED = 4,		/* out of the catalogue; ready to be destroyed */
};

/**
 * Make a node: takes all its memory, and an epoch in the store. It serves once
 * tp_control_state_get() is TP_CONTROL_MEMBER.
 *
 * @param config
 *   Copied; store and links are borrowed until tp_control_destroy().
 * @return
 *   The control, or NULL with rte_errno EINVAL (a field; logged which), ENOMEM,
 *   ENOSPC, or an error of the store.
 * @threads Main lcore.
 */
struct tp_control *tp_control_create(const struct tp_control_config *config, uint64_t now);

/**
 * Free everything. Clients are not told; the catalogue is not left (do
 * tp_control_stop() first, unless this is to be a crash).
 *
 * @param control
 *   NULL is ignored.
 * @threads Main lcore, when no worker is polled any more.
 */
void tp_control_destroy(struct tp_control *control);

/**
 * One turn: renew the lease, follow the catalogue, hear the workers, go on with
 * what clients asked for. Each wait is a state; nothing blocks but the store's
 * own calls.
 *
 * @return Work done.
 * @threads Main lcore.
 * @cost    Nothing to do: a few loads. A renewal: one change of the store.
 */
uint32_t tp_control_poll(struct tp_control *control, uint64_t now);

/** When tp_control_poll() has something to do by time alone. @threads Main lcore. */
uint64_t tp_control_next_timer(const struct tp_control *control);

/** Begin to leave in order; poll both sides until TP_CONTROL_STOPPED. @threads Main lcore. */
void tp_control_stop(struct tp_control *control, uint64_t now);

/** @threads Main lcore. */
enum tp_control_state tp_control_state_get(const struct tp_control *control);

/**
 * Has every member that this node knows answered it, or had the time to? Before,
 * requests to the others may read VOID(unreachable).
 *
 * @threads Main lcore.
 */
bool tp_control_is_settled(const struct tp_control *control);

/** Text of a state. @threads Any. */
const char *tp_control_state_name(unsigned int state);

/** This node's epoch; grows with each join. @threads Main lcore. */
uint32_t tp_control_epoch(const struct tp_control *control);

/** A worker, NULL past the last. @threads Any. */
struct tp_worker *tp_control_worker(const struct tp_control *control, uint16_t index);

/** The node header that clients see. @threads Any. */
struct tp_abi_node *tp_control_abi_node(const struct tp_control *control);

/** The slots: base and bytes. @threads Any. */
void *tp_control_slots(const struct tp_control *control, uint64_t *bytes_out);

/** Time until which hits are served, ns; 0: not at all. @threads Any. */
uint64_t tp_control_lease_until(const struct tp_control *control);

/**
 * Take in a client program.
 *
 * @param thread_count
 *   Threads it may use, 1 to TP_ABI_THREADS_MAX.
 * @return
 *   Its client id, or:
 *   - -EINVAL: thread_count.
 *   - -ENOSPC: TP_ABI_CLIENTS_MAX are there (or gone and not cleaned up yet).
 *   - -ENOMEM.
 *   - -EAGAIN: the command rings are full; poll and try again.
 * @threads Main lcore.
 */
int tp_control_client_add(struct tp_control *control, uint32_t thread_count, uint64_t now);

/** Segment of a client (struct tp_abi_client), NULL if there is none. @threads Main lcore. */
struct tp_abi_client *tp_control_client_segment(const struct tp_control *control, int client);

/**
 * A client program is gone, dead or alive: what it held is released, now or as
 * the workers get to it. Its control calls are cancelled.
 *
 * @return 0; -ENOENT: no such client.
 * @threads Main lcore.
 */
int tp_control_client_remove(struct tp_control *control, int client, uint64_t now);

/** Did the client spoil its rings? Whoever attached it should remove it. @threads Main lcore. */
bool tp_control_client_is_bad(const struct tp_control *control, int client);

/** Client ids in use, those being cleaned up included. @threads Main lcore. */
uint32_t tp_control_client_count(const struct tp_control *control);

/**
 * Begin a control call (docs/abi.md section 8) for a client. ATTACH is not one
 * of them: see tp_control_client_add().
 *
 * @param client
 *   Whose call it is.
 * @param request
 *   Checked here; may hold anything.
 * @return
 *   The call, 0 or more, for tp_control_call_result(); or:
 *   - -EAGAIN: too many calls are under way; try again.
 *   - -ENOENT: no such client.
 * @threads Main lcore.
 */
int tp_control_call(struct tp_control *control, int client,
	const struct tp_control_request *request, uint64_t now);

/**
 * Has the call ended? Then it is forgotten.
 *
 * @param response
 *   Written when the call has ended.
 * @param fds
 *   Shape [fd_max]; borrowed: duplicate or send them before the next poll. The
 *   first response->fd_count are written.
 * @return 0; -EINPROGRESS; -ENOENT: no such call.
 * @threads Main lcore.
 */
int tp_control_call_result(struct tp_control *control, int call,
	struct tp_control_response *response, int *fds, unsigned int fd_max);

/**
 * Give up a call: nobody will ask for its result. What it has begun may still happen.
 *
 * @return 0; -ENOENT: no such call.
 * @threads Main lcore.
 */
int tp_control_call_cancel(struct tp_control *control, int call);

/** fds for an ATTACH response: node header, slots, client segment. @threads Main lcore. */
int tp_control_attach_fds(const struct tp_control *control, int client, int fds[3]);

/* Counters of the control side, one list: name, help. */
#define TP_CONTROL_STAT_LIST(STAT)						\
	STAT(renewals,        "leases renewed")					\
	STAT(renewals_late,   "renewals begun after the lease had lapsed")	\
	STAT(gaps,            "times the control side had not run for a while")	\
	STAT(fences,          "other nodes fenced by this one")			\
	STAT(fenced,          "times this node was fenced")			\
	STAT(joins,           "epochs begun")					\
	STAT(regions_added,   "regions taken up")				\
	STAT(regions_removed, "regions given up")				\
	STAT(clients_added,   "clients taken in")				\
	STAT(clients_removed, "clients gone")					\
	STAT(clients_bad,     "clients that spoilt their rings")		\
	STAT(calls,           "control calls")					\
	STAT(calls_failed,    "control calls that ended VOID")			\
	STAT(store_errors,    "errors of the store")

struct tp_control_stats {
#define TP_CONTROL_STAT_AS_FIELD(name, help) uint64_t name;
	TP_CONTROL_STAT_LIST(TP_CONTROL_STAT_AS_FIELD)
#undef TP_CONTROL_STAT_AS_FIELD
};

/** @threads Any (each counter is one word). */
const struct tp_control_stats *tp_control_stats_get(const struct tp_control *control);

/** Name and help of a counter by index, NULL past the end. @threads Any. */
const char *tp_control_stat_name(unsigned int stat);
const char *tp_control_stat_help(unsigned int stat);

#ifdef __cplusplus
}
#endif

#endif /* TP_CONTROL_H */
