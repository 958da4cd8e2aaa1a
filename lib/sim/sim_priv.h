/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Inside lib/sim: the cluster.
 *   sim.c         made, cut, destroyed
 *   sim_node.c    nodes: booted, crashed, one turn
 *   sim_time.c    whose turn is next
 *   sim_client.c  attached programs
 */
#ifndef SIM_PRIV_H
#define SIM_PRIV_H

#include <stdatomic.h>
#include <sys/queue.h>

#include "sim_link.h"
#include "sim_store.h"
#include "tp_control.h"
#include "tp_log.h"
#include "tp_segment.h"
#include "tp_sim.h"

TP_LOG_DECLARE(sim);
#define TP_SIM_LOG(level, ...) TP_LOG(sim, level, __VA_ARGS__)

#define SIM_PATH_BYTES 256
#define SIM_US UINT64_C(1000)
#define SIM_MS UINT64_C(1000000)
#define SIM_START_NS (1000 * SIM_MS)		/* time 0 means "never" in places */
#define SIM_MEMBER_NS (10000 * SIM_MS)		/* for becoming a member */
#define SIM_TSC_HZ UINT64_C(1000000000)		/* a tick a nanosecond */

static_assert(TP_SIM_NODES_MAX * TP_SIM_WORKERS_MAX <= SIM_PORTS_MAX, "a port a worker");

struct sim_node {
	struct tp_sim *sim;
	uint16_t id;
	struct tp_sim_node_config config;
	char pool_path[SIM_PATH_BYTES];
	struct tp_control *control;	/* NULL: it does not run */
	struct tp_store *store;
	struct tp_link *links[TP_SIM_WORKERS_MAX];
	uint32_t boot;			/* of its process; clients of another one are orphans */
	uint64_t wake_at;
	uint64_t control_at;		/* its control side has a slower pace */
	bool offline;
	bool paused;
	bool crashing;			/* an injected crash: the turn under way is its last */
};

struct sim_client {
	LIST_ENTRY(sim_client) next;
	struct sim_node *node;
	uint32_t boot;
	int id;				/* of the node */
	uint32_t requests;		/* in its rings when the node was last told */
	struct tp_client *client;
	struct tp_segment *segments[3];	/* node header, slots, rings: mapped as a program would */
};

struct tp_sim {
	struct tp_sim_config config;
	uint64_t now;
	_Atomic uint64_t tsc;		/* the same, for clients */
	struct sim_net *net;
	struct sim_store *store;
	struct sim_node nodes[TP_SIM_NODES_MAX + 1];	/* by id, from 1 */
	uint32_t node_count;
	bool cut[TP_SIM_NODES_MAX + 1][TP_SIM_NODES_MAX + 1];
	LIST_HEAD(, sim_client) clients;
};

/* sim.c: NULL: no such node. */
struct sim_node *sim_node_find(struct tp_sim *sim, unsigned int node);

/* sim_node.c */
int sim_node_boot(struct sim_node *node);
void sim_node_kill(struct sim_node *node);
void sim_node_free(struct sim_node *node);
void sim_node_turn(struct sim_node *node);
int sim_node_await(struct sim_node *node);

/* sim_time.c */
void sim_wake(struct sim_node *node, uint64_t at);
void sim_step(struct tp_sim *sim, uint64_t limit);

/* sim_client.c */
void sim_client_forget(struct sim_client *client);

#endif /* SIM_PRIV_H */
