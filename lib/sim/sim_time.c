/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Virtual time. Each node says when something may happen to it next: a frame
 * arrives, a timer is due, a client may have asked. The earliest has its turn,
 * among equals the one with the lowest number. Owner: the program's thread.
 */
#include "sim_priv.h"

void
sim_wake(struct sim_node *node, uint64_t at)
{
	if (at < node->sim->now)
		at = node->sim->now;
	if (at < node->wake_at)
		node->wake_at = at;
}

static void
time_set(struct tp_sim *sim, uint64_t now)
{
	sim->now = now;
	sim_net_set_now(sim->net, now);
	atomic_store_explicit(&sim->tsc, now, memory_order_relaxed);
}

static struct sim_node *
time_next(struct tp_sim *sim)
{
	struct sim_node *next = NULL;
	uint32_t n;

	for (n = 1; n <= sim->node_count; n++) {
		struct sim_node *node = &sim->nodes[n];

		if (node->control != NULL && !node->paused &&
		    (next == NULL || node->wake_at < next->wake_at))
			next = node;
	}
	return next;
}

/* One turn of one node; or time goes on to limit, if there is none before. */
void
sim_step(struct tp_sim *sim, uint64_t limit)
{
	struct sim_node *node = time_next(sim);

	if (node == NULL || node->wake_at > limit) {
		time_set(sim, limit);
		return;
	}
	if (node->wake_at > sim->now)
		time_set(sim, node->wake_at);
	node->wake_at = UINT64_MAX;
	sim_node_turn(node);
}

uint64_t
tp_sim_now(const struct tp_sim *sim)
{
	return sim->now;
}

void
tp_sim_advance(struct tp_sim *sim, uint64_t ns)
{
	uint64_t until = sim->now + ns;
	struct sim_client *client;

	/* A program may have asked for something and not waited. */
	LIST_FOREACH(client, &sim->clients, next)
		sim_wake(client->node, sim->now);
	while (sim->now < until)
		sim_step(sim, until);
}
