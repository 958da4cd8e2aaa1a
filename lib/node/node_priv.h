/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Inside lib/node: a node on DPDK ports.
 */
#ifndef NODE_PRIV_H
#define NODE_PRIV_H

#include "control_priv.h"
#include "idle_priv.h"
#include "tp_link_ethdev.h"
#include "tp_node.h"

#define NODE_STEER_FRAMES 512		/* frames on the way from one worker to another */
#define NODE_BURST 32

struct attach;
struct rte_mempool;
struct tp_node;

/* A link of a worker that has no queue of its own: worker 0 sends for it. */
struct node_ring_link {
	struct tp_link link;
	struct tp_link *ethdev;		/* buffers come from and go back there */
	struct tp_node *node;
	struct node_ring tx;		/* frames on their way to worker 0 */
};

struct node_port {
	uint16_t port;			/* of ethdev */
	uint16_t queues;
	uint16_t mtu;
	bool started;
	struct rte_mempool *pool;
	struct tp_link *links[TP_ABI_WORKERS_MAX];	/* ethdev links, by worker */
	struct node_ring_link rings[TP_ABI_WORKERS_MAX];	/* of workers without a queue */
};

struct tp_node {
	struct tp_node_config config;
	struct tp_store *store;
	struct node_clock clock;
	struct tp_control *control;
	struct attach *attach;
	uint16_t port_count;
	struct node_port ports[TP_NODE_PORTS_MAX];
	/* Received frames from worker a to worker b at steer[a * workers + b]. */
	struct node_ring *steer;

	uint16_t worker_first;		/* the main lcore polls workers from here on */
	unsigned int lcores[TP_ABI_WORKERS_MAX];
	_Atomic bool lcores_stop;
	/* Who sleeps, and what wakes it: by worker what this process rings, and its clients. */
	struct tp_abi_bell control_bell;
	int control_fd;
	int worker_fds[TP_ABI_WORKERS_MAX];
	int client_fds[TP_ABI_WORKERS_MAX];
	struct tp_crowd crowd;		/* on the main lcore, as it was when tp_node_run() ended */
	uint64_t control_at;		/* when the control side is polled again, ns */
	uint64_t attach_at;		/* likewise the connections */
	uint64_t attached_at;		/* when they were last looked at */
	_Atomic uint64_t rings_vain;	/* bells rung for nothing; any poller adds, statistics */
};

/* A thread that polls some workers, the control side, or both. */
struct node_poller {
	struct idle idle;
	struct tp_node *node;
	uint64_t completions;		/* given to clients */
	uint64_t vain_count;		/* of the rings for nothing, those told to the node */
	uint64_t returns;		/* from nodes that leave, and when the last came */
	uint64_t returned_at;
	bool has_interrupts;		/* some queue of its ports can interrupt it */
	bool interrupts;		/* and may, now */
	bool realtime;			/* it is SCHED_FIFO now */
	bool realtime_allowed;
	uint16_t worker_first;
	uint16_t worker_end;
	bool control;
};

/* poller.c */
int node_bells_open(struct tp_node *node);
void node_bells_close(struct tp_node *node);
void node_wake_worker(void *ctx, uint16_t worker);
void node_wake_control(void *ctx);
void node_poller_init(struct node_poller *poller, struct tp_node *node, uint16_t first,
	uint16_t end, bool control);
void node_poller_fini(struct node_poller *poller);
void node_poller_idle(struct node_poller *poller, uint32_t work);

/* port.c */
int node_ports_start(struct tp_node *node);
void node_ports_stop(struct tp_node *node);
void node_ports_links(struct tp_node *node, struct tp_control_config *config);
void node_steer(void *ctx, uint16_t from, uint8_t to, struct tp_frame *frame);
uint32_t node_port_rings_poll(struct tp_node *node, uint16_t worker, uint64_t now);

/* attach.c: needs no EAL */
struct attach *attach_create(struct tp_control *control, const char *path);
void attach_destroy(struct attach *attach);
uint32_t attach_poll(struct attach *attach, uint64_t now);
const char *attach_path(const struct attach *attach);
/* Tidy EAL's run directory of what dead secondary processes leave there. */
void attach_rundir_set(struct attach *attach, const char *rundir);
/* Given to clients when they attach; borrowed. */
void attach_bells_set(struct attach *attach, const int *fds, uint32_t count);
/* What to sleep on until a client wants something. How many were written. */
uint32_t attach_fds(const struct attach *attach, struct pollfd *fds, uint32_t room);

/* devices.c: before secondary processes can attach. */
void node_devices_hide(void);

/* telemetry.c */
int node_telemetry_add(struct tp_node *node);
void node_telemetry_remove(struct tp_node *node);

#endif /* NODE_PRIV_H */
