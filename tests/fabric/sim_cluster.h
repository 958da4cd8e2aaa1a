/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Several endpoints on one simulated network, driven in virtual time: what the
 * tests of lib/fabric share. Node i has id i + 1, IP 10.0.0.(i + 1).
 */
#ifndef SIM_CLUSTER_H
#define SIM_CLUSTER_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "sim_link.h"
#include "tp_endpoint.h"

#define SIM_NODES_MAX 8u
#define SIM_MS UINT64_C(1000000)
#define SIM_START_NS (UINT64_C(1000) * 1000 * 1000 * 1000)

struct sim_cluster;

struct sim_node {
	struct sim_cluster *cluster;
	uint32_t index;
	struct tp_link *link;
	struct tp_endpoint *ep;
	struct tp_endpoint_config config;
	bool paused;		/* its process stands still */
	uint32_t ups;
	uint32_t downs;
	uint32_t last_down_node;
	enum tp_peer_down_reason last_down_reason;
	uint64_t last_down_at;
	uint32_t messages;
	uint32_t steered;
	uint32_t hints;
	uint8_t hinted[TP_ENDPOINT_HINT_BYTES];	/* the last one */
};

typedef void sim_message(struct sim_node *node, const struct tp_message *message);
typedef void sim_steer(struct sim_node *node, uint8_t worker, struct tp_frame *frame);

struct sim_cluster {
	struct sim_net *net;
	uint64_t now;
	uint32_t node_count;
	struct sim_node nodes[SIM_NODES_MAX];
	sim_message *message;	/* NULL: counted, requests done at once */
	sim_steer *steer;	/* NULL: counted and freed */
	void *test;		/* the test's own */
	uint64_t turns;
};

/** config: what all nodes have in common; NULL for the defaults. Peers are not set. */
void sim_cluster_init(struct sim_cluster *cluster, uint32_t nodes, uint64_t seed,
	const struct sim_faults *faults, const struct tp_endpoint_config *config, uint16_t mtu);

/** Destroys all, and asserts that no buffer is left anywhere. */
void sim_cluster_fini(struct sim_cluster *cluster);

/** Make all nodes peers of each other, by ARP and learned incarnation. */
void sim_cluster_peers(struct sim_cluster *cluster);

/** Let one node begin a new life with a larger incarnation and no peers. */
void sim_node_restart(struct sim_node *node);

/** Stop a node without a word. */
void sim_node_kill(struct sim_node *node);

/** Make b a peer of a. */
void sim_node_peer(struct sim_node *a, const struct sim_node *b, uint32_t incarnation);

/** One turn of every node now, then time goes on to the next event, at most to limit. */
void sim_cluster_step(struct sim_cluster *cluster, uint64_t limit);

/** Run for a span of virtual time. */
void sim_cluster_run(struct sim_cluster *cluster, uint64_t span_ns);

/** Run until a condition holds; fails after a span of virtual time. */
#define SIM_RUN_UNTIL(cluster, span_ns, condition) do {				\
	uint64_t sim_end = (cluster)->now + (span_ns);				\
	while (!(condition)) {							\
		if ((cluster)->now >= sim_end)					\
			fail_msg("not within %s: %s", #span_ns, #condition);	\
		sim_cluster_step(cluster, sim_end);				\
	}									\
} while (0)

/** Run until every node is up for every other; fails after a second. */
void sim_cluster_connect(struct sim_cluster *cluster);

/** tp_endpoint_send() of one piece of memory. */
int sim_send(struct sim_node *from, const struct sim_node *to, enum tp_class class,
	const void *data, size_t length);

uint64_t sim_counter(const struct sim_node *node, enum tp_endpoint_counter counter);

#define SIM_COUNTER(node, name) sim_counter(node, TP_ENDPOINT_COUNTER_##name)

#endif /* SIM_CLUSTER_H */
