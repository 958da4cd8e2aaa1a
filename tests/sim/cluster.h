/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The cluster harness: whole nodes (control, workers, endpoints, coherence) and
 * the client library, on a simulated network, store and clock. Nothing of the
 * product is modelled; only ports, the store and time are replaced.
 *   cluster_node.c    nodes: made, polled, crashed
 *   cluster_client.c  client programs
 *   cluster_fault.c   what goes wrong
 *   cluster.c         the run of a seed
 *   cluster_check.c   what must hold
 */
#ifndef SIM_CLUSTER_H
#define SIM_CLUSTER_H

#include <setjmp.h>
#include <stdatomic.h>

#include "queue.h"
#include "sim.h"
#include "sim_link.h"
#include "sim_rng.h"
#include "sim_store.h"
#include "tp_client.h"
#include "tp_control.h"
#include "workload.h"

#define CLUSTER_WORKERS_MAX 2
#define CLUSTER_REGION "sim"
#define CLUSTER_PAGE 4096
#define CLUSTER_NONE UINT32_MAX
#define CLUSTER_GENERATIONS 256
#define CLUSTER_REQUEST_CREDITS 32
#define CLUSTER_FORWARD_CREDITS 64
#define CLUSTER_LEASE (60 * SIM_MS)
#define CLUSTER_GUARD_LEASE (10 * SIM_MS)
#define CLUSTER_NOTICE (250 * SIM_MS)	/* of a death, to whoever waits for the dead */

/* What a seed is about. */
enum cluster_theme {
	THEME_ALL,		/* every kind of fault, one on top of the other */
	THEME_DEATHS,		/* nodes die; no other fault hinders anybody */
	THEME_SILENCES,		/* nodes die, stand still or are cut off, one after the other */
	THEME_GAPS,		/* nodes do not run for less than it takes to call them silent */
};

enum client_state {
	CLIENT_OFF,		/* not running */
	CLIENT_STARTING,	/* wants to attach and open the region */
	CLIENT_THINKING,
	CLIENT_BUSY,		/* an operation is in flight */
	CLIENT_PINNED,		/* holds a pin */
	CLIENT_SETTLING,	/* asks after an atomic that ended unknown */
};

struct cluster_client {
	enum client_state state;
	int id;				/* of the node */
	int call;			/* control call under way, or -1 */
	struct tp_client *client;
	struct tp_thread *thread;
	struct tp_client_region *region;
	uint32_t generation;		/* index of the region's generation it has open */
	struct workload_op op;
	struct tp_op access;
	bool unknown;			/* access is an atomic that did, and is to be settled */
	struct tp_pin pin;
	uint64_t buffer;
	struct tp_vector vectors[SIM_PAGES_MAX];	/* of a long read: the first counts */
	uint64_t rest[SIM_PAGES_MAX];
	uint64_t timeout_ns;
	uint64_t begun_at;
	uint64_t deadline;		/* virtual time by which the operation must be over */
	uint64_t expires_at;		/* of the atomic that is settled: no answer before */
	uint64_t wake_at;
	uint32_t ops_left;
	uint64_t paused_until;
};

struct cluster_node {
	bool alive;
	bool stopping;
	uint32_t boot;			/* of this node's process: events of another are void */
	struct tp_control *control;
	struct tp_store *store;
	struct tp_link *links[CLUSTER_WORKERS_MAX];
	uint32_t worker_count;
	int peer_state[CLUSTER_WORKERS_MAX][SIM_NODES_MAX];	/* as last traced */
	uint64_t wake_at;		/* earliest poll in the queue */
	uint64_t paused_until;
	uint64_t apart_at;		/* last time it was seen to be no member */
	int64_t clock_offset;
	int32_t clock_drift_ppm;
	_Atomic uint64_t tsc;		/* what its clients read; 1 tick a ns */
	struct cluster_client clients[SIM_CLIENTS_MAX];
};

struct cluster {
	const struct sim_options *options;
	struct sim_result *result;
	struct sim_rng rng;
	struct sim_rng fault_rng;
	struct sim_trace trace;
	struct queue queue;
	struct workload workload;
	struct sim_net *net;
	struct sim_store *store;
	uint64_t now;
	uint32_t node_count;
	uint32_t clients_per_node;
	uint32_t home_slots, cache_slots;	/* of a node */
	uint32_t kept_count;		/* results of atomics, per worker */
	struct cluster_node nodes[SIM_NODES_MAX];
	uint64_t generations[CLUSTER_GENERATIONS];	/* of the region, as clients met them */
	int admin_client, admin_call;	/* a control call under way on admin_node */
	uint32_t admin_node, admin_boot;
	uint32_t region_id;
	uint64_t region_address;
	bool may_be_lost;		/* a node lost copies: crash or fence */
	enum cluster_theme theme;
	uint64_t silence_next;		/* the next one is not before */
	uint64_t silent_at;		/* the last death or other silence began; orderly ends, too */
	uint64_t disturbed_until;	/* other faults than crashes */
	uint32_t faults_left;
	bool sweeping;
	bool started;			/* the region is there */
	uint64_t end_latest;
	jmp_buf failed;
};

enum cluster_event {
	EVENT_NODE, EVENT_CLIENT, EVENT_FAULT, EVENT_MEND, EVENT_RETURN, EVENT_ADMIN, EVENT_RESET,
};

/* cluster.c */
_Noreturn void cluster_fail(struct cluster *cluster, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void cluster_trace(struct cluster *cluster, const char *what, uint64_t a, uint64_t b, uint64_t c);
void cluster_event_add(struct cluster *cluster, uint64_t delay, uint32_t kind, uint32_t node,
	uint64_t a, uint64_t b);
uint32_t cluster_generation(struct cluster *cluster, uint64_t generation);

/* cluster_node.c */
void cluster_node_boot(struct cluster *cluster, uint32_t n);
void cluster_node_crash(struct cluster *cluster, uint32_t n);
void cluster_node_free(struct cluster *cluster, uint32_t n);
void cluster_node_wake(struct cluster *cluster, uint32_t n, uint64_t at);
void cluster_node_poll(struct cluster *cluster, uint32_t n);
uint64_t cluster_local_now(const struct cluster *cluster, uint32_t n);
uint64_t cluster_global_time(const struct cluster *cluster, uint32_t n, uint64_t local);
bool cluster_node_serves(const struct cluster *cluster, uint32_t n);
void cluster_clock_set(struct cluster *cluster, uint32_t n);

/* cluster_client.c */
void cluster_client_start(struct cluster *cluster, uint32_t n, uint32_t c, uint32_t ops);
void cluster_client_event(struct cluster *cluster, uint32_t n, uint32_t c);
void cluster_client_wake(struct cluster *cluster, uint32_t n, uint32_t c, uint64_t delay);
void cluster_client_die(struct cluster *cluster, uint32_t n, uint32_t c, bool node_dies);

/* cluster_fault.c */
void cluster_fault(struct cluster *cluster);
void cluster_mend(struct cluster *cluster, uint64_t what, uint64_t value);
void cluster_admin_begin(struct cluster *cluster, uint32_t n,
	const struct tp_control_request *request);
void cluster_reset_begin(struct cluster *cluster);
void cluster_admin(struct cluster *cluster);

/* cluster_check.c */
void cluster_check_words(struct cluster *cluster, uint32_t n);
void cluster_check_rest(struct cluster *cluster);
void cluster_check_together(struct cluster *cluster);
bool cluster_is_at_rest(struct cluster *cluster, char *why, size_t bytes);

#endif /* SIM_CLUSTER_H */
