/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A node on DPDK ports: what telepaged runs, and what a program embeds to be a
 * node itself. The program calls rte_eal_init() before, and drives the node
 * either by tp_node_poll() alone, or by tp_node_poll() on the main lcore and
 * tp_node_start_workers() for the others.
 *
 * docs/prog_guide/node.md is the guide.
 */
#ifndef TP_NODE_H
#define TP_NODE_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tp_control.h"

#ifdef __cplusplus
extern "C" {
#endif

struct tp_node;

#define TP_NODE_PORTS_MAX TP_ENDPOINT_LINKS_MAX
#define TP_NODE_PEERS_MAX 256
#define TP_NODE_DEVICE_BYTES 64
#define TP_NODE_URL_BYTES 256
#define TP_NODE_NAME_BYTES 32
#define TP_NODE_PATH_BYTES 256

#define TP_NODE_LINK_MEASURED UINT32_MAX

struct tp_node_port_config {
	char device[TP_NODE_DEVICE_BYTES];	/* name of an ethdev port */
	uint32_t ip;		/* host order */
	uint32_t gateway;	/* host order, 0: none */
	uint8_t prefix_length;	/* 0: 24 */
	uint16_t mtu;		/* 1500 to 9000; 0: 1500 */
	uint16_t queues;	/* at most so many pairs are used; 0: one a worker */
	/*
	 * What it carries; pages may be encoded. 0: as fast as memory, they are not;
	 * TP_NODE_LINK_MEASURED: found out.
	 */
	uint32_t link_mbit;
};

/* What is known of a peer beforehand; peers without an entry are found by the store and ARP. */
struct tp_node_peer_config {
	uint16_t node;
	uint8_t port;		/* index into ports */
	uint32_t ip;		/* 0, or what it should be: a warning if it is not */
	bool has_mac;
	uint8_t mac[6];
};

/** What 0 means is said per field; tp_node_config_init() fills in the defaults. */
struct tp_node_config {
	uint16_t id;				/* from 1 */
	char name[TP_NODE_NAME_BYTES];
	uint16_t workers;			/* 1 to TP_ABI_WORKERS_MAX */
	char store[TP_NODE_URL_BYTES];		/* file:/path */
	uint16_t node_id_max;
	uint8_t node_bits;			/* of addresses; 0: 14 */
	uint16_t base_port;
	uint32_t page_bytes;
	uint32_t cache_mib;
	uint32_t home_mib;
	uint32_t heap_mib;
	bool frame_crc;				/* frames at rest have sums that are checked */
	uint8_t codec_only;		/* 1 + enum tp_codec_id of all pages on slow links; 0: chosen */
	uint32_t codec_base_mib;	/* contents remembered, to send changes of them on slow links */
	uint32_t lease_ms;
	uint32_t fence_margin_ms;
	uint32_t guard_lease_ms;
	uint32_t peer_timeout_ms;
	bool realtime;				/* beside who computes: see node.md, "Idle" */
	bool huge_pages;			/* ask for huge pages for the slots */
	uint32_t tx_frames;			/* a worker; see struct tp_endpoint_config */
	uint32_t rx_frames;
	uint16_t port_count;
	struct tp_node_port_config ports[TP_NODE_PORTS_MAX];
	uint16_t peer_count;
	struct tp_node_peer_config peers[TP_NODE_PEERS_MAX];
	bool attach;				/* open the control socket */
	bool inject;				/* clients may inject faults; false */
	char pool[TP_NODE_PATH_BYTES];		/* of durable regions; "": none */
	uint32_t pool_mib;			/* of a pool that is made */
	uint32_t pool_sweep_ms;			/* between persisting what was written back; 0: on request only */
	char socket_path[108];			/* "": in the DPDK runtime directory */
};

/** The defaults: one worker, 16 MiB cache, 64 MiB home, 16 MiB heap, no port. @threads Any. */
void tp_node_config_init(struct tp_node_config *config);

/**
 * Read an ini file over the defaults. Every key is checked; unknown sections and
 * keys are errors.
 *
 * @param message
 *   Shape [message_bytes]: on error one line naming file, section and key.
 * @return 0; -ENOENT: no such file; -EINVAL: see message.
 * @threads Any.
 */
int tp_node_config_load(const char *path, struct tp_node_config *config, char *message,
	size_t message_bytes);

/**
 * Check a configuration.
 *
 * @return 0; -EINVAL: see message.
 * @threads Any.
 */
int tp_node_config_check(const struct tp_node_config *config, char *message,
	size_t message_bytes);

/**
 * Make a node: start its ports, take its memory, join the cluster.
 *
 * @return
 *   The node, or NULL with rte_errno: EINVAL (configuration; logged), ENODEV (no
 *   such port), ENOMEM, or an error of the ports, the store or the socket.
 * @threads Main lcore, after rte_eal_init(), before any secondary process.
 */
struct tp_node *tp_node_create(const struct tp_node_config *config);

/**
 * One turn of the control side (at its own pace) and of every worker that no
 * lcore was started for.
 *
 * @return Work done.
 * @threads Main lcore (the one that created the node).
 */
uint32_t tp_node_poll(struct tp_node *node);

/**
 * Poll until *stop is set: spin while there is work, then yield for a while,
 * then sleep until a client, a frame or a timer wakes it. Meanwhile the thread has
 * a timer slack of 1 us and takes no part in restartable sequences (rseq).
 *
 * @threads Main lcore.
 */
void tp_node_run(struct tp_node *node, const volatile sig_atomic_t *stop);

/**
 * Start worker lcores: worker i runs on the i-th lcore of @p lcores.
 *
 * @param lcores
 *   Shape [count], lcores in WAIT state; count at most the workers of the node.
 * @return 0; -EINVAL; -EBUSY: an lcore is not waiting; -EALREADY.
 * @threads Main lcore.
 */
int tp_node_start_workers(struct tp_node *node, const unsigned int *lcores, unsigned int count);

/** Is it a member with a running lease that the others answer? @threads Main lcore. */
bool tp_node_is_ready(const struct tp_node *node);

/**
 * Leave the cluster in order and stop the worker lcores. Takes at most
 * @p timeout_ns; polls the node itself.
 *
 * @return 0; -ETIMEDOUT: the catalogue was not left, the others will fence us.
 * @threads Main lcore.
 */
int tp_node_stop(struct tp_node *node, uint64_t timeout_ns);

/**
 * Free a node, stopping it hard if it still runs. Ports are stopped and closed.
 *
 * @param node
 *   NULL is ignored.
 * @threads Main lcore.
 */
void tp_node_destroy(struct tp_node *node);

/** The control side: clients, calls, state. @threads Main lcore. */
struct tp_control *tp_node_control(const struct tp_node *node);

/** The clock of the node: now in nanoseconds. @threads Any. */
uint64_t tp_node_now(const struct tp_node *node);

/** Path of the control socket, "" without one. @threads Main lcore. */
const char *tp_node_socket_path(const struct tp_node *node);

/* What an embedded program hands to its client library (struct tp_client_backend). */
struct tp_node_client {
	struct tp_abi_node *node;
	void *slots;
	uint64_t slots_bytes;
	const int *bells;		/* doorbells, by worker; the node's */
	uint32_t bell_count;
	struct tp_abi_client *segment;
	int id;
};

/**
 * Add a client inside this process.
 *
 * @return 0, or as tp_control_client_add().
 * @threads Main lcore.
 */
int tp_node_client_add(struct tp_node *node, uint32_t thread_count, struct tp_node_client *client);

/**
 * A page will be asked for by a client of this thread: have the processor fetch what
 * the worker knows of it. The member hint of struct tp_client_backend.
 *
 * @threads Main lcore; does nothing for a worker that has an lcore of its own.
 * @cost    No cache miss is waited for.
 */
void tp_node_page_hint(const struct tp_node *node, uint32_t worker, uint32_t region_id,
	uint32_t page_index);

/** Remove it; its pages, guards and calls are released. @threads Main lcore. */
int tp_node_client_remove(struct tp_node *node, int client);

/**
 * A whole control call: begins it and polls the node until it has ended or
 * request->timeout_ns (0: 5 s) is over.
 *
 * @param fds
 *   Shape [fd_max]; the caller's: duplicates, to be closed by it.
 * @return 0; -ETIMEDOUT; -ENOENT, -EAGAIN as tp_control_call().
 * @threads Main lcore.
 */
int tp_node_call(struct tp_node *node, int client, const struct tp_control_request *request,
	struct tp_control_response *response, int *fds, unsigned int fd_max);

#ifdef __cplusplus
}
#endif

#endif /* TP_NODE_H */
