/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Inside lib/node: a worker, and the two rings between it and the control side.
 */
#ifndef WORKER_PRIV_H
#define WORKER_PRIV_H

#include <stdalign.h>
#include <stdatomic.h>

#include <rte_branch_prediction.h>
#include <rte_debug.h>

#include "clock_priv.h"
#include "keeper_priv.h"
#include "ring_priv.h"
#include "tp_abi.h"
#include "tp_codec_chooser.h"
#include "tp_coherence.h"
#include "tp_endpoint.h"
#include "tp_log.h"
#include "tp_region.h"
#include "tp_worker.h"

TP_LOG_DECLARE(node);
#define TP_NODE_LOG(level, ...) TP_LOG(node, level, __VA_ARGS__)

struct inject;
struct inject_table;

#define WORKER_REGIONS 2048		/* slots of the hash; regions are at most half */
#define WORKER_COMMANDS 1024
#define WORKER_EVENTS 4096
#define WORKER_QUARANTINE 1024
#define WORKER_REQUESTS_PER_TURN 32
#define WORKER_REQUESTS_PER_RING 8
#define WORKER_LOCAL_PER_TURN 256
#define WORKER_COMMANDS_PER_TURN 16
#define WORKER_HURRIES 3u
#define WORKER_WAITS_PER_TURN 64
#define WORKER_GUARD_NONE 0x3fu
#define WORKER_BATCHES 1024u		/* messages of many pages being answered at once */
#define WORKER_BATCH_PAGES_PER_TURN 8u	/* so that these leave while the next are fetched */
#define WORKER_TOKEN_BATCH (UINT64_C(1) << 63)	/* below it: index of the batch */
#define WORKER_TOKEN_LOCAL UINT64_MAX	/* requests of this node to itself hold no credit */
#define WORKER_FABRIC_STATS_NS UINT64_C(5000000)
#define NODE_MSG_BYTES 64u
#define WORKER_HELD_NS UINT64_C(100000)		/* between looks at what is held */
#define WORKER_QUARANTINE_NS UINT64_C(1000000)	/* and at slots with a broken guard on them */
#define WORKER_PREFETCH_BYTES 4096u
#define WORKER_EXPECTED 4		/* slots of 4 KiB: a third of a level 1 cache */

/* What the control side and all workers of a node share. */
struct node_shared {
	/*
	 * Hits and new guards are served until then, ns. The node's own copy: the
	 * one in struct tp_abi_node lies in memory that clients map.
	 * Writer: control; pairs with the acquire in worker_lease_ok().
	 */
	alignas(64) _Atomic uint64_t lease_until_ns;
	/* Peers that answer, [node_id_max + 1]; writer: worker 0. For people. */
	_Atomic uint8_t *reachable;
};

/* A region as a worker knows it. id 0: free. */
struct worker_region {
	uint32_t id;
	uint32_t page_count;
	uint32_t page_bytes;
	uint8_t mode;
	bool removing;
	int16_t creator;		/* client that may write a read-only region, or -1 */
	uint8_t denied;			/* injected: reason that every request reads; 0: none */
	const struct tp_region *region;
	_Atomic uint64_t *words;
	uint32_t *hidden;		/* injected: what the words should say; NULL: they do */
	const struct keeper_region *kept;	/* its pages in the pool, NULL: none here */
};

/* What the worker alone knows of a client thread. */
struct worker_thread {
	uint32_t request_tail;
	uint32_t completion_head;
	uint32_t in_flight;
	bool answered;				/* in this turn: it may sleep */
	uint64_t granted[TP_ABI_GUARDS];	/* key granted in that hazard slot; 0: none */
};

struct worker_client {
	struct tp_abi_client *abi;	/* NULL: no such client */
	uint64_t origin;		/* of its atomics */
	uint32_t thread_count;
	bool bad;
	struct worker_thread *threads;	/* the control side's memory */
};

/* Of items of the stash: 1 + index, 0 for none. */
struct worker_list {
	uint32_t first;
	uint32_t last;
};

struct worker_peer {
	uint32_t epoch;			/* 0: not known */
	uint8_t worker_count;
	uint8_t link;
	bool up;
	bool over;			/* of this epoch: it comes up in the next one */
	bool fence_wanted;		/* the event found no room */
	bool vanished;			/* injected: requests to it have disappeared */
	bool lost;			/* a message to it was: its sessions must end */
	bool stashed;			/* on the stash's list of peers */
	struct worker_list stash[TP_CLASS_COUNT];
};

/* A page that was revoked and whose guards are not clear yet. */
struct worker_wait {
	uint32_t region_id;
	uint32_t page_index;
	bool timed;			/* since is from a turn after the word was stored */
	uint64_t since;
};

/* A slot that somebody with a broken guard may still touch. */
struct worker_quarantine {
	uint32_t slot;
	uint8_t client;
	uint8_t thread;
	uint8_t guard;
	uint64_t value;			/* of the hazard slot when the guard was broken */
};

/* A message to send, one the endpoint refused, or one to this node itself. */
struct worker_message {
	struct tp_coherence_msg msg;
	uint32_t slot;			/* payload, or TP_SLOT_ABSENT; stash: index of its copy */
	uint32_t payload_bytes;
	uint32_t next;			/* stash: 1 + index of the next for that peer, or free */
	uint16_t node;
	uint16_t worker;
};

/* A message that asked for many pages: the last one gives its credit back. */
struct worker_batch {
	uint64_t token;
	uint32_t left;			/* pages without an answer yet */
	uint32_t next;			/* free list, or the next whose turn comes: 1 + index */
	uint32_t count;			/* pages */
	uint32_t done;			/* of them handed to the engine */
	uint16_t node;
	uint8_t worker;
	struct tp_coherence_msg msg;
	struct tp_coherence_item items[TP_BATCH_PAGES - 1];
};

struct worker_stash {
	struct worker_message *items;
	uint32_t free;			/* 1 + index */
	uint32_t count[TP_CLASS_COUNT];
	uint8_t *payloads;		/* copies, slot_bytes each */
	uint32_t *payload_free;
	uint32_t payload_free_count;
	uint16_t *nodes;		/* peers that something waits for */
	uint32_t node_count;
	uint32_t node_next;		/* whom to begin with */
	bool frames_short;		/* at the last try: whoever is asked refuses */
};

#define WORKER_CODEC_PAGE 4096u		/* what choosers count in; no slot is smaller */

/* Contents of a page that others may hold, too: base.c. */
struct worker_base {
	uint8_t *page;
	uint64_t sum;			/* of it; 0: nothing is held */
	uint64_t told_until;		/* a request says that it is here */
	uint32_t region_id;
	uint32_t page_index;
	uint32_t used;			/* when, by the clock of struct worker_bases */
	bool home;			/* home memory is this */
};

struct worker_bases {
	struct worker_base *entries;
	uint8_t *pages;
	uint32_t count;			/* a power of two; 0: no bases */
	uint32_t clock;
	bool hushed;			/* what is sent now tells of none */
};

/* What a link was seen to carry: link_speed.c. */
struct worker_speed {
	uint64_t sum;			/* bytes a second, of the samples since the last mean */
	uint64_t until;			/* when the next mean may be taken */
	uint64_t means[8];		/* the last ones, ring */
	uint32_t samples;
	uint32_t next;
};

struct worker_probe {
	uint32_t session;		/* watched, or to be looked at next */
	uint32_t acked;			/* when it began */
	uint64_t since;
	uint16_t node;
	bool on;
};

#define WORKER_BASE_HEADER 16u		/* of a payload: docs/protocol.md section 7.3 */

/* Contents of pages on the wire: codec.c. */
struct worker_codec {
	bool on;			/* some link is slow enough to look at pages */
	bool bases_on;			/* ... and for changes of them */
	struct worker_bases bases;
	struct tp_codec *codec;
	/* Each as large as the largest page that is sent. */
	uint8_t *page;			/* being encoded */
	uint8_t *payload;		/* of it, or being decoded */
	uint8_t *decoded;		/* for COPY_IN; encoding leaves it alone */
	struct tp_codec_chooser choosers[TP_ENDPOINT_LINKS_MAX];
	uint64_t busy_until[TP_ENDPOINT_LINKS_MAX];	/* with the pages it was given */
	bool measures;			/* some link's speed is measured */
	struct worker_speed speeds[TP_ENDPOINT_LINKS_MAX];
	struct worker_probe probe;
};

struct worker_fifo {
	struct worker_message *items;
	uint32_t mask;
	uint32_t head;
	uint32_t tail;
};

/* A client request that cannot go to the coherence engine yet, or whose answer may not go out. */
struct worker_held {
	uint64_t cookie;
	uint64_t deadline;
	uint64_t generation;
	uint32_t region_id;
	uint32_t page_index;
	uint8_t want;			/* enum tp_coherence_want */
	bool place;			/* waits for a home of its extent, else the lease */
	struct tp_coherence_atomic atomic;
};

/* SELF_FENCED: no client request is taken until the node has a new epoch. */
enum worker_fencing {
	WORKER_FENCING_NO = 0,
	WORKER_FENCING_RUNS,	/* copies are being dropped */
	WORKER_FENCING_DONE,	/* all gone; a new endpoint ends it */
};

/* The node leaves: no client request is taken any more. */
enum worker_draining {
	WORKER_DRAINING_NO = 0,
	WORKER_DRAINING_RUNS,	/* modified copies are given back */
	WORKER_DRAINING_DONE,
};

enum worker_command_type {
	WORKER_PEER_SET,	/* node, epoch, ip, mac, link, worker_count */
	WORKER_PEER_REMOVE,	/* node */
	WORKER_PEER_FENCED,	/* node: its lease lapsed */
	WORKER_HOME_RESET,	/* node: another process than before */
	WORKER_SELF_FENCED,	/* ticket; answered by WORKER_FENCED_DONE */
	WORKER_ENDPOINT,	/* endpoint: of the new epoch; the old one is destroyed */
	WORKER_REGION_ADD,	/* region, kept; answered */
	WORKER_REGION_REMOVE,	/* region_id; answered once nothing is left */
	WORKER_CREATOR,		/* region_id, client: may write the read-only region */
	WORKER_CLIENT_ADD,	/* client */
	WORKER_CLIENT_REMOVE,	/* client; answered */
	WORKER_NEIGHBOUR,	/* link, ip, mac */
	WORKER_NODE_MESSAGE,	/* node, class, bytes: to its worker 0 */
	WORKER_INJECT_PEERS,	/* table: faults of frames, instead of those before */
	WORKER_INJECT_REGION,	/* region_id, reason, hidden: which becomes the worker's */
	WORKER_INJECT_CLEAR,
	WORKER_DRAIN,		/* answered by WORKER_DRAINED */
};

struct worker_command {
	uint8_t type;			/* enum worker_command_type */
	uint8_t link;
	uint8_t worker_count;
	uint8_t class;			/* enum tp_class */
	uint8_t reason;			/* enum tp_reason */
	bool has_mac;
	bool home_lost;
	uint8_t mac[6];
	uint16_t node;
	int16_t client;
	uint32_t epoch;
	uint32_t ip;
	uint32_t region_id;
	uint32_t directory_slot;
	uint32_t thread_count;
	uint64_t origin;
	const struct keeper_region *kept;
	union {
		const struct tp_region *region;
		struct tp_endpoint *endpoint;
		struct tp_abi_client *abi;
		struct inject_table *table;
		uint32_t *hidden;
		uint8_t bytes[NODE_MSG_BYTES];
	};
	union {
		_Atomic uint64_t *words;
		struct worker_thread *threads;
	};
};

enum worker_event_type {
	WORKER_FENCE,		/* node, epoch: it should be fenced */
	WORKER_FENCED_DONE,
	WORKER_DRAINED,
	WORKER_REGION_ADDED,	/* region_id, error */
	WORKER_REGION_REMOVED,	/* region_id */
	WORKER_CLIENT_REMOVED,	/* client */
	WORKER_CLIENT_BAD,	/* client */
	WORKER_PLACE,		/* region_id, index: extent without a home */
	WORKER_LEARNED,		/* link, ip, mac */
	WORKER_NODE_RECEIVED,	/* node, bytes */
};

struct worker_event {
	uint8_t type;			/* enum worker_event_type */
	uint8_t link;
	uint8_t mac[6];
	uint16_t node;
	int16_t client;
	int32_t error;
	uint32_t epoch;
	uint32_t ip;
	uint32_t region_id;
	uint32_t index;
	uint8_t bytes[NODE_MSG_BYTES];
};

struct worker_config {
	uint16_t node_id;
	uint16_t node_id_max;
	uint16_t index;
	uint16_t worker_count;
	uint32_t slot_bytes;
	uint32_t slot_count;		/* slots [0, slot_count) of the node */
	uint32_t own_slots;		/* of them this worker's */
	uint32_t waiter_count;
	uint32_t stash_count;		/* messages of one class that wait for the endpoint */
	uint64_t guard_lease_ns;
	uint64_t lease_ns;
	uint8_t *slots;
	struct node_shared *shared;
	struct inject *inject;		/* NULL: faults cannot be injected */
	struct tp_clock clock;
	struct tp_endpoint_config endpoint;
	struct tp_coherence_config coherence;
	void (*steer)(void *ctx, uint16_t from_worker, uint8_t to_worker, struct tp_frame *frame);
	void *steer_ctx;
	void (*wake)(void *ctx);	/* the control side, after an event; NULL: it never sleeps */
	void *wake_ctx;
	uint32_t link_ns_per_kib[TP_ENDPOINT_LINKS_MAX];
	bool link_measured[TP_ENDPOINT_LINKS_MAX];	/* ... and what is not said is measured */
	bool frame_crc;			/* frames at rest have sums */
	struct keeper_port *keeper;	/* NULL: the node has no pool */
	uint64_t sweep_ns;		/* between persisting what was written back; 0: when it leaves only */
	uint32_t base_count;		/* pages remembered for changes; 0: none */
	const struct tp_codec_cost *codec_costs;
	uint8_t codec_only;		/* 1 + enum tp_codec_id of all pages; 0: chosen */
	uint64_t (*codec_now_ns)(void *ctx);
	void *codec_now_ctx;
};

struct tp_worker {
	struct worker_config config;
	struct node_clock clock;
	struct tp_coherence *coherence;
	struct tp_endpoint *endpoint;
	uint64_t now;			/* of this turn */
	uint64_t last_poll;
	uint32_t word_sequence;		/* of the last store to any frame word */

	/* The message being handled: what COPY_IN copies from. */
	const struct tp_message *rx_message;
	const uint8_t *rx_page;		/* its contents if they came encoded, else NULL */
	uint32_t rx_page_bytes;
	uint32_t rx_slot;		/* or, of a local one, TP_SLOT_ABSENT for none */

	/* Slots that pages asked for in this turn will fill. */
	uint32_t expected[WORKER_EXPECTED];
	uint32_t expected_count;

	struct tp_action actions[2 * TP_ACTIONS_PER_EVENT];
	struct tp_outbox outbox;

	/* Requests of this turn that may go out as one message. */
	bool gathering;
	struct tp_coherence_batch gathered;
	struct worker_batch *batches;
	uint32_t batch_free;		/* 1 + index */
	struct worker_list batch_waiting;	/* with pages that are not handed over yet */

	struct worker_region *regions;	/* hash by id */
	struct worker_region *region_last;
	uint32_t regions_removing;
	struct worker_peer *peers;	/* by node id */
	bool fence_retry;
	bool lost_retry;
	uint8_t fencing;		/* enum worker_fencing */
	uint8_t draining;		/* enum worker_draining */
	bool swept_again;		/* what came back while it drained is persisted, too */

	struct worker_client clients[TP_ABI_CLIENTS_MAX];
	uint8_t client_list[TP_ABI_CLIENTS_MAX];	/* ids present */
	uint32_t client_count;
	uint32_t client_next;		/* first to be served next turn */
	uint32_t in_flight;
	/* Threads that got answers in this turn: client, thread. */
	struct {
		uint8_t client;
		uint8_t thread;
	} answered[TP_ABI_CLIENTS_MAX * TP_ABI_THREADS_MAX];
	uint32_t answered_count;
	uint32_t hurried;		/* turns in a row that ended with the answers */

	struct worker_wait *waits;	/* [wait_new, wait_count) were not looked at yet */
	uint32_t wait_count;
	uint32_t wait_new;
	uint32_t wait_next;
	uint32_t wait_max;
	struct worker_quarantine quarantine[WORKER_QUARANTINE];
	uint32_t quarantine_count;
	struct worker_held *held;
	uint32_t held_count;
	uint32_t held_next;

	uint64_t *sums;			/* of frames at rest, shape [slot_count]; NULL: none are kept */
	struct worker_codec codec;
	struct worker_stash stash;
	struct worker_fifo local;
	struct node_ring commands;	/* control to worker */
	struct node_ring events;	/* worker to control */
	struct tp_worker_stats stats;
	uint32_t keeping;		/* handed over to be persisted, and not told yet */
	uint64_t sweep_at;		/* when the next sweep begins */
	uint64_t fabric_at;		/* when the endpoint's counters are copied again */
	uint64_t fabric_base[TP_ENDPOINT_COUNTER_COUNT];	/* of endpoints before */
	uint64_t fabric[TP_ENDPOINT_COUNTER_COUNT];
};

/* worker.c */
struct tp_worker *worker_create(const struct worker_config *config);
void worker_destroy(struct tp_worker *worker);
struct worker_region *worker_region_find(struct tp_worker *worker, uint32_t region_id);
void worker_event_push(struct tp_worker *worker, const struct worker_event *event);
void worker_fabric_stats_copy(struct tp_worker *worker);
void worker_fence_ask(struct tp_worker *worker, uint16_t node);

static inline bool
worker_lease_ok(const struct tp_worker *worker)
{
	/* Pairs with the release in membership_lease_set(). */
	return worker->now < atomic_load_explicit(&worker->config.shared->lease_until_ns,
		memory_order_acquire);
}

static inline uint8_t *
worker_slot(const struct tp_worker *worker, uint32_t slot)
{
	RTE_ASSERT(slot < worker->config.slot_count);
	return worker->config.slots + (size_t)slot * worker->config.slot_bytes;
}

static inline struct worker_message *
worker_fifo_first(struct worker_fifo *fifo)
{
	return fifo->head == fifo->tail ? NULL : &fifo->items[fifo->tail & fifo->mask];
}

/* NULL: full. */
static inline struct worker_message *
worker_fifo_add(struct worker_fifo *fifo)
{
	if (fifo->head - fifo->tail > fifo->mask)
		return NULL;
	return &fifo->items[fifo->head++ & fifo->mask];
}

/* peer.c: what the endpoint says, and the peer commands */
extern const struct tp_endpoint_ops worker_endpoint_ops;
void worker_peer_set(struct tp_worker *worker, const struct worker_command *command);
void worker_peer_remove(struct tp_worker *worker, uint16_t node);
void worker_peer_fenced(struct tp_worker *worker, uint16_t node);
void worker_home_reset(struct tp_worker *worker, uint16_t node);
void worker_endpoint_change(struct tp_worker *worker, struct tp_endpoint *endpoint);
uint32_t worker_peers_retry(struct tp_worker *worker);

/* command.c */
uint32_t worker_commands_run(struct tp_worker *worker);

/* outbox.c */
void worker_outbox_run(struct tp_worker *worker);
void worker_outbox_action(struct tp_worker *worker, const struct tp_action *action);
void worker_outbox_send(struct tp_worker *worker, const struct worker_message *message,
	const void *payload);
uint32_t worker_message_header(uint8_t type, uint32_t length);
int worker_message_send(struct tp_worker *worker, const struct worker_message *message,
	const void *payload);
uint32_t worker_local_run(struct tp_worker *worker);

/* persist.c: pages of durable regions */
enum tp_persisted worker_persisted(void *ctx, uint32_t region_id, uint32_t page_index);
void worker_page_load(struct tp_worker *worker, const struct tp_action *action);
void worker_page_persist(struct tp_worker *worker, const struct tp_action *action);
uint32_t worker_persist_poll(struct tp_worker *worker);

/* batch.c: many pages in one message */
int worker_batch_init(struct tp_worker *worker);
void worker_gather_begin(struct tp_worker *worker);
bool worker_gather_add(struct tp_worker *worker, const struct tp_action *action);
void worker_gather_end(struct tp_worker *worker);
void worker_batch_message(struct tp_worker *worker, const struct tp_message *message,
	const struct tp_coherence_msg *msg);
uint32_t worker_batch_poll(struct tp_worker *worker);
void worker_batch_done(struct tp_worker *worker, uint64_t token);
void worker_batch_drop(struct tp_worker *worker, uint16_t node, bool all);

/* codec.c: contents of pages on the wire */
int worker_codec_init(struct tp_worker *worker);
void worker_codec_fini(struct tp_worker *worker);
const void *worker_codec_encode(struct tp_worker *worker, struct worker_message *message,
	const void *page);
bool worker_codec_is_encoded(const struct tp_coherence_msg *msg);
int worker_codec_receive(struct tp_worker *worker, const struct tp_message *message,
	struct tp_coherence_msg *msg, uint32_t header_bytes);
void worker_codec_unreadable(struct tp_worker *worker, const struct tp_message *message,
	struct tp_coherence_msg *msg);
bool worker_codec_tell(struct tp_worker *worker, struct worker_message *message);

void worker_codec_link_set(struct tp_worker *worker, uint8_t link, uint32_t ns_per_kib);

/* link_speed.c */
bool worker_link_speed_poll(struct tp_worker *worker);

/* frame_sum.c */
int worker_sums_init(struct tp_worker *worker);
void worker_sum_set(struct tp_worker *worker, const struct tp_action *action);
void worker_sum_action(struct tp_worker *worker, struct tp_action *action);

/* base.c */
int worker_bases_init(struct worker_bases *bases, uint32_t count, uint32_t page_bytes);
void worker_bases_fini(struct worker_bases *bases);
struct worker_base *worker_base_find(const struct worker_bases *bases, uint32_t region_id,
	uint32_t page_index);
void worker_base_save(struct tp_worker *worker, uint32_t region_id, uint32_t page_index,
	const void *page, uint32_t page_bytes, uint64_t sum, bool home);
uint64_t worker_base_tell(struct tp_worker *worker, const struct tp_coherence_msg *msg);
void worker_base_forget(struct tp_worker *worker, uint32_t region_id, uint32_t page_index);

/* stash.c: what the endpoint refused */
int worker_stash_init(struct tp_worker *worker);
void worker_stash_fini(struct tp_worker *worker);
bool worker_stash_is_empty(const struct tp_worker *worker);
bool worker_stash_holds(const struct tp_worker *worker, uint16_t node, enum tp_class class);
bool worker_stash_has_room(const struct tp_worker *worker);
bool worker_stash_add(struct tp_worker *worker, enum tp_class class,
	const struct worker_message *message, const void *payload);
uint32_t worker_stash_retry(struct tp_worker *worker);
void worker_stash_drop(struct tp_worker *worker, uint16_t node, bool all);

/* guard.c */
void worker_word_store(struct tp_worker *worker, const struct tp_action *action,
	enum tp_access access);
void worker_guard_wait_add(struct tp_worker *worker, const struct tp_action *action);
void worker_guard_new_run(struct tp_worker *worker);
uint32_t worker_guard_poll(struct tp_worker *worker);
void worker_guard_reuse(struct tp_worker *worker, uint32_t client, uint32_t thread,
	uint32_t guard);
bool worker_guard_grant(struct tp_worker *worker, uint32_t client, uint32_t thread,
	uint32_t guard, uint64_t key);
bool worker_page_referenced(void *ctx, uint32_t region_id, uint32_t page_index);

/* rings.c */
uint32_t worker_rings_poll(struct tp_worker *worker);
void worker_sleepers_wake(struct tp_worker *worker);
uint32_t worker_held_poll(struct tp_worker *worker);
void worker_held_void(struct tp_worker *worker, enum tp_reason reason, int client);
void worker_client_gone(struct tp_worker *worker, uint32_t client);
void worker_complete(struct tp_worker *worker, const struct tp_action *action);

#endif /* WORKER_PRIV_H */
