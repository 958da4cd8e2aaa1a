/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 */
#include "sim_cluster.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef TP_MUTANTS
#include "tp_fabric_mutants.h"
#endif

static void
cluster_message(void *ctx, const struct tp_message *message)
{
	struct sim_node *node = ctx;

	node->messages++;
	if (node->cluster->message != NULL)
		node->cluster->message(node, message);
	else if (message->class == TP_CLASS_REQUEST)
		tp_endpoint_request_done(node->ep, message->token);
}

static void
cluster_peer_up(void *ctx, uint16_t peer, uint32_t incarnation)
{
	struct sim_node *node = ctx;

	(void)peer;
	(void)incarnation;
	node->ups++;
}

static void
cluster_peer_down(void *ctx, uint16_t peer, uint32_t incarnation,
	enum tp_peer_down_reason reason)
{
	struct sim_node *node = ctx;

	(void)incarnation;
	node->downs++;
	node->last_down_node = peer;
	node->last_down_reason = reason;
	node->last_down_at = node->cluster->now;
}

static void
cluster_steer(void *ctx, uint8_t worker, struct tp_frame *frame)
{
	struct sim_node *node = ctx;

	node->steered++;
	if (node->cluster->steer != NULL)
		node->cluster->steer(node, worker, frame);
	else
		tp_frame_free(frame);
}

/* Reads all that is promised, whatever the frame is. */
static void
cluster_hint(void *ctx, const void *head, uint32_t length, bool next)
{
	struct sim_node *node = ctx;

	assert_true(length >= TP_ENDPOINT_HINT_BYTES);
	memcpy(node->hinted, head, sizeof(node->hinted));
	node->hints++;
}

static const struct tp_endpoint_ops cluster_ops = {
	.message = cluster_message,
	.peer_up = cluster_peer_up,
	.peer_down = cluster_peer_down,
	.steer = cluster_steer,
	.hint = cluster_hint,
};

/* Where the library has faults to be caught, TP_FABRIC_MUTANT names one. */
static void
node_mutate(struct sim_node *node)
{
#ifdef TP_MUTANTS
	static const char *const names[] = {
#define AS_NAME(name, help) #name,
		TP_FABRIC_MUTANT_LIST(AS_NAME)
	};
	const char *wanted = getenv("TP_FABRIC_MUTANT");
	int i = 0;

	assert_non_null(wanted);
	while (i < TP_FABRIC_MUTANT_COUNT && strcmp(names[i], wanted) != 0)
		i++;
	/* A name that does not exist must not look like a fault that was caught. */
	if (i == TP_FABRIC_MUTANT_COUNT)
		_exit(0);
	tp_fabric_mutant_set(node->ep, (enum tp_fabric_mutant)i);
#else
	(void)node;
#endif
}

static void
node_start(struct sim_node *node)
{
	node->ep = tp_endpoint_create(&node->config, &cluster_ops, node);
	assert_non_null(node->ep);
	node_mutate(node);
	/* The first turn only starts the clock. */
	tp_endpoint_timer_poll(node->ep, node->cluster->now);
}

void
sim_cluster_init(struct sim_cluster *cluster, uint32_t nodes, uint64_t seed,
	const struct sim_faults *faults, const struct tp_endpoint_config *config, uint16_t mtu)
{
	uint32_t i;

	memset(cluster, 0, sizeof(*cluster));
	cluster->net = sim_net_create(seed, faults);
	cluster->now = SIM_START_NS;
	cluster->node_count = nodes;
	sim_net_set_now(cluster->net, cluster->now);
	for (i = 0; i < nodes; i++) {
		struct sim_node *node = &cluster->nodes[i];

		node->cluster = cluster;
		node->index = i;
		node->link = sim_net_link(cluster->net, mtu, 0);
		if (config != NULL)
			node->config = *config;
		node->config.node = (uint16_t)(i + 1);
		node->config.incarnation = 100 + i;
		node->config.seed = seed + i;
		node->config.link_count = 1;
		node->config.links[0].link = node->link;
		node->config.links[0].ip = 0x0a000001 + i;
		node_start(node);
	}
}

void
sim_cluster_fini(struct sim_cluster *cluster)
{
	uint32_t i;

	for (i = 0; i < cluster->node_count; i++)
		tp_endpoint_destroy(cluster->nodes[i].ep);
	for (i = 0; i < cluster->node_count; i++)
		sim_link_unplug(cluster->nodes[i].link);
	assert_int_equal(sim_net_buffers(cluster->net), 0);
	sim_net_destroy(cluster->net);
}

void
sim_node_peer(struct sim_node *a, const struct sim_node *b, uint32_t incarnation)
{
	uint16_t workers = b->config.worker_count == 0 ? 1 : b->config.worker_count;

	assert_int_equal(tp_endpoint_peer_set(a->ep, b->config.node, incarnation,
		b->config.links[0].ip, NULL, 0, (uint8_t)workers), 0);
}

void
sim_cluster_peers(struct sim_cluster *cluster)
{
	uint32_t a;
	uint32_t b;

	for (a = 0; a < cluster->node_count; a++) {
		for (b = 0; b < cluster->node_count; b++) {
			if (a != b)
				sim_node_peer(&cluster->nodes[a], &cluster->nodes[b], 0);
		}
	}
}

void
sim_node_kill(struct sim_node *node)
{
	tp_endpoint_destroy(node->ep);
	node->ep = NULL;
}

void
sim_node_restart(struct sim_node *node)
{
	if (node->ep != NULL)
		sim_node_kill(node);
	node->config.incarnation += 10;
	node->ups = 0;
	node->downs = 0;
	node_start(node);
}

void
sim_cluster_step(struct sim_cluster *cluster, uint64_t limit)
{
	uint64_t next = limit;
	uint32_t i;

	sim_net_set_now(cluster->net, cluster->now);
	for (i = 0; i < cluster->node_count; i++) {
		struct sim_node *node = &cluster->nodes[i];

		if (node->ep == NULL || node->paused)
			continue;
		tp_endpoint_rx_poll(node->ep, cluster->now);
		tp_endpoint_timer_poll(node->ep, cluster->now);
		tp_endpoint_tx_flush(node->ep, cluster->now);
	}
	for (i = 0; i < cluster->node_count; i++) {
		const struct sim_node *node = &cluster->nodes[i];
		uint64_t event;

		if (node->ep == NULL || node->paused)
			continue;
		event = tp_endpoint_next_timer(node->ep);
		if (event < next)
			next = event;
		event = sim_link_next_arrival(node->link);
		if (event < next)
			next = event;
	}
	cluster->turns++;
	/* Work that is due at once takes a little time, too. */
	cluster->now = next > cluster->now ? next : cluster->now + 200;
}

void
sim_cluster_run(struct sim_cluster *cluster, uint64_t span_ns)
{
	uint64_t end = cluster->now + span_ns;

	while (cluster->now < end)
		sim_cluster_step(cluster, end);
	cluster->now = end;
}

static bool
cluster_connected(const struct sim_cluster *cluster)
{
	uint32_t a;
	uint32_t b;

	for (a = 0; a < cluster->node_count; a++) {
		for (b = 0; b < cluster->node_count; b++) {
			if (a != b && tp_endpoint_peer_state(cluster->nodes[a].ep,
					cluster->nodes[b].config.node, NULL) != TP_PEER_UP)
				return false;
		}
	}
	return true;
}

void
sim_cluster_connect(struct sim_cluster *cluster)
{
	uint64_t end = cluster->now + 1000 * SIM_MS;

	sim_cluster_peers(cluster);
	while (cluster->now < end && !cluster_connected(cluster))
		sim_cluster_step(cluster, end);
	assert_true(cluster_connected(cluster));
}

int
sim_send(struct sim_node *from, const struct sim_node *to, enum tp_class class,
	const void *data, size_t length)
{
	union {
		const void *from;
		void *to;
	} cast = { .from = data };
	struct iovec iov = { .iov_base = cast.to, .iov_len = length };

	return tp_endpoint_send(from->ep, to->config.node, 0, class, TP_PRIORITY_NORMAL, &iov, 1);
}

uint64_t
sim_counter(const struct sim_node *node, enum tp_endpoint_counter counter)
{
	return tp_endpoint_counters(node->ep)[counter];
}
