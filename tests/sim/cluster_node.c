/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Nodes. A node is polled when something may happen to it: a frame has arrived,
 * a timer is due, a client has asked. Each has a clock of its own, off by a
 * constant and by up to 200 ppm.
 */
#include <errno.h>
#include <string.h>

#include <rte_errno.h>

#include "cluster.h"
#ifdef TP_MUTANTS
#include "mutants.h"
#endif

uint64_t
cluster_local_now(const struct cluster *cluster, uint32_t n)
{
	const struct cluster_node *node = &cluster->nodes[n];
	int64_t drift = (int64_t)cluster->now * node->clock_drift_ppm / 1000000;

	return (uint64_t)((int64_t)cluster->now + node->clock_offset + drift);
}

/* When the node's clock shows that time, or a little later. */
uint64_t
cluster_global_time(const struct cluster *cluster, uint32_t n, uint64_t local)
{
	uint64_t here = cluster_local_now(cluster, n), delta;

	if (local <= here)
		return cluster->now;
	delta = local - here;
	return cluster->now + delta + delta / 4000 + 1;
}

void
cluster_clock_set(struct cluster *cluster, uint32_t n)
{
	cluster->nodes[n].tsc = cluster_local_now(cluster, n);
}

static void
steer(void *ctx, uint16_t from_worker, uint8_t to_worker, struct tp_frame *frame)
{
	struct cluster_node *node = ctx;

	tp_worker_rx_frame(tp_control_worker(node->control, to_worker), frame, node->tsc);
}

/* As on a slow link: LZ4 pays, the others are tried. No clock: the same in every run. */
static const struct tp_codec_cost codec_costs[TP_CODEC_COUNT] = {
	[TP_CODEC_RAW] = { 0, 60, 4096 },
	[TP_CODEC_ZERO] = { 10, 40, 0 },
	[TP_CODEC_SAME] = { 30, 60, 0 },
	[TP_CODEC_DELTA] = { 40, 80, 11 },
	[TP_CODEC_LZ4] = { 700, 300, 40 },
	[TP_CODEC_DELTA_LZ4] = { 50, 90, 11 },
	[TP_CODEC_DEFLATE] = { 5000, 2000, 60 },
};

void
cluster_node_boot(struct cluster *cluster, uint32_t n)
{
	struct cluster_node *node = &cluster->nodes[n];
	struct tp_control_config config = {
		.node_id = (uint16_t)(n + 1),
		.node_id_max = SIM_NODES_MAX,
		.worker_count = (uint16_t)node->worker_count,
		.link_count = 1,
		.store = node->store,
		.clock = { .tsc_hz = 1000000000 },
		.steer = steer,
		.steer_ctx = node,
		.home_slots = cluster->home_slots,
		.cache_slots = cluster->cache_slots,
		.lease_ns = CLUSTER_LEASE,
		.guard_lease_ns = CLUSTER_GUARD_LEASE,
		.request_count = 32,
		.waiter_count = 64,
		.busy_count = 32,
		.deferred_count = 256,
		.kept_count = cluster->kept_count,
		.request_credits = CLUSTER_REQUEST_CREDITS,
		.forward_credits = CLUSTER_FORWARD_CREDITS,
		.tx_frames = 512,
		.rx_frames = 256,
		.seed = cluster->options->seed * 64 + node->boot,
		/* Two of three nodes: each kind talks to the other. */
		.link_ns_per_kib = { (cluster->options->seed + n) % 3 == 0 ? 0 : 8192 },
		/* So few that what was told of is sometimes gone. */
		.base_slots = 16,
		.codec_costs = codec_costs,
	};
	uint32_t w, c;

	for (w = 0; w < node->worker_count; w++)
		config.links[w][0] = (struct tp_endpoint_link){ .link = node->links[w],
			.ip = 0x0a000001 + n };
#ifdef TP_MUTANTS
	if (sim_mutant == SIM_MUTANT_late_notice)
		config.peer_timeout_ns = 200 * SIM_MS;
#endif
	cluster_clock_set(cluster, n);
	node->control = tp_control_create(&config, node->tsc);
	if (node->control == NULL && rte_errno == EHOSTUNREACH) {
		/* The store is out of reach: its supervisor starts it again. */
		cluster_event_add(cluster, 10 * SIM_MS, EVENT_RETURN, n, node->boot, 0);
		return;
	}
	if (node->control == NULL)
		cluster_fail(cluster, "node %u cannot be made: %s", n + 1,
			     rte_strerror(rte_errno));
	node->alive = true;
	node->stopping = false;
	node->wake_at = UINT64_MAX;
	cluster_node_wake(cluster, n, cluster->now);
	for (c = 0; c < cluster->clients_per_node; c++)
		cluster_client_start(cluster, n, c, node->clients[c].ops_left);
}

void
cluster_node_free(struct cluster *cluster, uint32_t n)
{
	struct cluster_node *node = &cluster->nodes[n];

	tp_control_destroy(node->control);
	node->control = NULL;
	node->alive = false;
	node->boot++;
}

/* The process is gone at this instant, with all its clients; what it sent travels on. */
void
cluster_node_crash(struct cluster *cluster, uint32_t n)
{
	struct cluster_node *node = &cluster->nodes[n];
	uint32_t c;

	if (!node->alive)
		return;
	cluster_trace(cluster, "crash", n, 0, 0);
	cluster->result->crashes++;
	cluster->may_be_lost = true;
	cluster->silent_at = cluster->now;
	for (c = 0; c < cluster->clients_per_node; c++)
		cluster_client_die(cluster, n, c, true);
	cluster_node_free(cluster, n);
	cluster_event_add(cluster, sim_rng_between(&cluster->rng, 5 * SIM_MS, 400 * SIM_MS),
		EVENT_RETURN, n, node->boot, 0);
	/* What is lost stays so until the region is reset. */
	cluster_event_add(cluster, sim_rng_between(&cluster->rng, 100 * SIM_MS, 500 * SIM_MS),
		EVENT_RESET, n, 0, 0);
}

/* Hits of this node's clients are served now. */
bool
cluster_node_serves(const struct cluster *cluster, uint32_t n)
{
	const struct cluster_node *node = &cluster->nodes[n];

	return node->alive &&
		cluster_local_now(cluster, n) < tp_control_lease_until(node->control);
}

void
cluster_node_wake(struct cluster *cluster, uint32_t n, uint64_t at)
{
	struct cluster_node *node = &cluster->nodes[n];

	if (at < cluster->now)
		at = cluster->now;
	if (!node->alive || at >= node->wake_at)
		return;
	node->wake_at = at;
	cluster_event_add(cluster, at - cluster->now, EVENT_NODE, n, node->boot, at);
}

/* Frames may be on their way to anybody now. */
static void
wake_receivers(struct cluster *cluster)
{
	uint32_t n, w;

	for (n = 0; n < cluster->node_count; n++) {
		for (w = 0; w < cluster->nodes[n].worker_count; w++)
			cluster_node_wake(cluster, n,
				sim_link_next_arrival(cluster->nodes[n].links[w]));
	}
}

static void
wake_clients(struct cluster *cluster, uint32_t n)
{
	uint32_t c;

	for (c = 0; c < cluster->clients_per_node; c++) {
		if (cluster->nodes[n].clients[c].state == CLIENT_BUSY ||
		    cluster->nodes[n].clients[c].state == CLIENT_SETTLING)
			cluster_client_wake(cluster, n, c, sim_rng_below(&cluster->rng, 2000));
	}
}

static uint64_t
next_timer(const struct cluster *cluster, uint32_t n)
{
	const struct cluster_node *node = &cluster->nodes[n];
	uint64_t next = tp_control_next_timer(node->control), timer;
	uint32_t w;

	for (w = 0; w < node->worker_count; w++) {
		timer = tp_worker_next_timer(tp_control_worker(node->control, (uint16_t)w));
		next = timer < next ? timer : next;
	}
	return next;
}

#ifdef TP_MUTANTS
/* The mutant that sees no guards: they are out of the way while the node runs. */
static void
guards_swap(struct cluster *cluster, uint32_t n, uint64_t keys[SIM_CLIENTS_MAX][TP_ABI_GUARDS],
	    bool hide)
{
	uint32_t c, g;

	for (c = 0; c < cluster->clients_per_node; c++) {
		struct cluster_client *client = &cluster->nodes[n].clients[c];
		struct tp_abi_guards *guards;

		if (sim_mutant != SIM_MUTANT_skipped_guard_wait || client->client == NULL)
			continue;
		guards = &tp_control_client_segment(cluster->nodes[n].control, client->id)->
			threads[0].guards;
		for (g = 0; g < TP_ABI_GUARDS; g++) {
			if (hide) {
				keys[c][g] = guards->key[g];
				if (!(keys[c][g] & TP_GUARD_WAITING))
					guards->key[g] = 0;
			} else {
				guards->key[g] = keys[c][g];
			}
		}
	}
}
#endif

void
cluster_node_poll(struct cluster *cluster, uint32_t n)
{
	struct cluster_node *node = &cluster->nodes[n];
	uint32_t work = 0, first = sim_rng_below(&cluster->rng, node->worker_count), w;
	uint64_t next;

	cluster_clock_set(cluster, n);
#ifdef TP_MUTANTS
	uint64_t keys[SIM_CLIENTS_MAX][TP_ABI_GUARDS];

	guards_swap(cluster, n, keys, true);
#endif
	/* The control side runs less often than the workers, and always before a rest. */
	if (sim_rng_chance(&cluster->rng, 150))
		work += tp_control_poll(node->control, node->tsc);
	for (w = 0; w < node->worker_count; w++)
		work += tp_worker_poll(tp_control_worker(node->control,
			(uint16_t)((first + w) % node->worker_count)), node->tsc);
	if (work == 0)
		work += tp_control_poll(node->control, node->tsc);
#ifdef TP_MUTANTS
	guards_swap(cluster, n, keys, false);
#endif
	if (tp_control_state_get(node->control) != TP_CONTROL_MEMBER)
		node->apart_at = cluster->now;
	wake_receivers(cluster);
	if (work != 0) {
		cluster_check_words(cluster, n);
		wake_clients(cluster, n);
		cluster_node_wake(cluster, n, cluster->now + 200 +
			sim_rng_below(&cluster->rng, 1500));
		return;
	}
	next = next_timer(cluster, n);
	if (next == UINT64_MAX)
		return;
	next = cluster_global_time(cluster, n, next);
	/* A timer that is due and finds nothing to do is asked again a little later. */
	if (next < cluster->now + 5000)
		next = cluster->now + 5000;
	cluster_node_wake(cluster, n, next);
}
