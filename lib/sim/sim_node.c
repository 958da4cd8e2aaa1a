/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Nodes: the product's control side and workers on simulated ports.
 */
#include <errno.h>

#include <rte_common.h>
#include <rte_errno.h>

#include "sim_port.h"
#include "sim_priv.h"

#define NODE_IP 0x0a000000u		/* plus its number */
#define NODE_MTU 9000
#define NODE_TURN_NS 500		/* of a node that has work */
#define NODE_IDLE_NS (5 * SIM_US)	/* a timer that is due and finds nothing to do */
#define NODE_CONTROL_NS (50 * SIM_US)	/* as in telepaged */

static void
node_steer(void *ctx, uint16_t from, uint8_t to, struct tp_frame *frame)
{
	struct sim_node *node = ctx;

	tp_worker_rx_frame(tp_control_worker(node->control, to), frame, node->sim->now);
}

static void
node_crash(void *ctx)
{
	((struct sim_node *)ctx)->crashing = true;
}

/* Ports last as long as the simulation: a cable stays where it is. */
static int
node_links_create(struct sim_node *node)
{
	uint16_t w;

	if (node->links[0] != NULL)
		return 0;
	for (w = 0; w < node->config.workers; w++) {
		node->links[w] = sim_net_link(node->sim->net, NODE_MTU, 0);
		if (node->links[w] == NULL)
			return -rte_errno;
	}
	if (node->config.workers > 1)
		sim_port_make(node->links, node->config.workers, TP_ENDPOINT_PORT_DEFAULT, false);
	return 0;
}

static void
node_config_fill(const struct sim_node *node, struct tp_control_config *config)
{
	const struct tp_sim_node_config *from = &node->config;
	uint16_t w;

	*config = (struct tp_control_config){
		.node_id = node->id,
		.node_id_max = TP_SIM_NODES_MAX,
		.worker_count = from->workers,
		.link_count = 1,
		.store = node->store,
		.clock = { .tsc_hz = SIM_TSC_HZ },
		.steer = node_steer,
		.steer_ctx = (void *)(uintptr_t)node,
		.page_bytes = from->page_bytes,
		.home_slots = (uint32_t)(from->home_bytes / from->page_bytes),
		.cache_slots = (uint32_t)(from->cache_bytes / from->page_bytes),
		.heap_bytes = from->heap_bytes,
		.lease_ns = from->lease_ns,
		.guard_lease_ns = from->guard_lease_ns,
		.peer_timeout_ns = from->peer_timeout_ns,
		.request_count = 64,
		.waiter_count = 256,
		.busy_count = 128,
		.deferred_count = 512,
		.kept_count = 4096,
		.pool_path = from->pool_path,
		.pool_bytes = from->pool_bytes,
		.inject = true,
		.crash = node_crash,
		.crash_ctx = (void *)(uintptr_t)node,
		.tx_frames = 512,
		.rx_frames = 256,
		.seed = (node->sim->config.seed * TP_SIM_NODES_MAX + node->id) * 1024 + node->boot,
	};
	for (w = 0; w < from->workers; w++)
		config->links[w][0] = (struct tp_endpoint_link){
			.link = node->links[w],
			.ip = NODE_IP + node->id,
		};
}

/* 0, or the errno of the node. */
int
sim_node_boot(struct sim_node *node)
{
	struct tp_control_config config;
	int ret;

	ret = node_links_create(node);
	if (ret < 0)
		return ret;
	if (node->store == NULL)
		node->store = sim_store_open(node->sim->store);
	if (node->store == NULL)
		return -rte_errno;
	node_config_fill(node, &config);
	node->control = tp_control_create(&config, node->sim->now);
	if (node->control == NULL)
		return -rte_errno;
	node->paused = false;
	node->crashing = false;
	node->control_at = 0;
	node->wake_at = node->sim->now;
	return 0;
}

/* Gone between two instructions. Clients have mappings of their own. */
void
sim_node_kill(struct sim_node *node)
{
	struct tp_frame frame;
	uint16_t w;

	tp_control_destroy(node->control);
	node->control = NULL;
	node->boot++;
	node->wake_at = UINT64_MAX;
	/* What had arrived was in its memory. */
	for (w = 0; w < node->config.workers; w++)
		while (node->links[w]->ops->rx_burst(node->links[w], &frame, 1) == 1)
			tp_frame_free(&frame);
}

void
sim_node_free(struct sim_node *node)
{
	uint16_t w;

	if (node->control != NULL)
		sim_node_kill(node);
	tp_store_close(node->store);
	for (w = 0; w < node->config.workers; w++)
		if (node->links[w] != NULL)
			sim_link_unplug(node->links[w]);
}

static uint64_t
node_next_timer(const struct sim_node *node)
{
	uint64_t next = RTE_MAX(tp_control_next_timer(node->control), node->control_at);
	uint16_t w;

	for (w = 0; w < node->config.workers; w++)
		next = RTE_MIN(next, tp_worker_next_timer(tp_control_worker(node->control, w)));
	return next;
}

static void
node_wake_receivers(struct tp_sim *sim)
{
	uint32_t n;
	uint16_t w;

	for (n = 1; n <= sim->node_count; n++) {
		struct sim_node *node = &sim->nodes[n];

		for (w = 0; node->control != NULL && w < node->config.workers; w++) {
			uint64_t arrival = sim_link_next_arrival(node->links[w]);

			if (arrival != UINT64_MAX)
				sim_wake(node, arrival);
		}
	}
}

void
sim_node_turn(struct sim_node *node)
{
	uint64_t now = node->sim->now;
	uint32_t work = 0;
	uint16_t w;

	for (w = 0; w < node->config.workers; w++)
		work += tp_worker_poll(tp_control_worker(node->control, w), now);
	if (now >= node->control_at) {
		node->control_at = now + NODE_CONTROL_NS;
		work += tp_control_poll(node->control, now);
	}
	node_wake_receivers(node->sim);
	if (node->crashing) {
		sim_node_kill(node);
		return;
	}
	if (work != 0)
		sim_wake(node, now + NODE_TURN_NS);
	else
		sim_wake(node, RTE_MAX(node_next_timer(node), now + NODE_IDLE_NS));
}

bool
tp_sim_node_is_serving(struct tp_sim *sim, unsigned int number)
{
	struct sim_node *node = sim_node_find(sim, number);

	return node != NULL && node->control != NULL &&
		tp_control_state_get(node->control) == TP_CONTROL_MEMBER &&
		sim->now < tp_control_lease_until(node->control);
}

/* Until it is a member that the others answer: 0 or -ETIMEDOUT. */
int
sim_node_await(struct sim_node *node)
{
	struct tp_sim *sim = node->sim;
	uint64_t give_up = sim->now + SIM_MEMBER_NS;

	while (!tp_sim_node_is_serving(sim, node->id) || !tp_control_is_settled(node->control)) {
		if (sim->now >= give_up)
			return -ETIMEDOUT;
		sim_step(sim, give_up);
	}
	return 0;
}
