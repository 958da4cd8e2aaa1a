/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What goes wrong, and the new generations that repair a region.
 */
#include "core.h"

enum fault { FAULT_SESSION, FAULT_PARTITION, FAULT_SLOW, FAULT_PAUSE, FAULT_CRASH, FAULT_FENCE,
	FAULT_CLIENT, FAULT_RESET };

/* Out of 100. */
static const uint8_t fault_mix[] = {
	[FAULT_SESSION] = 28, [FAULT_PARTITION] = 12, [FAULT_SLOW] = 18, [FAULT_PAUSE] = 16,
	[FAULT_CRASH] = 7, [FAULT_FENCE] = 6, [FAULT_CLIENT] = 7, [FAULT_RESET] = 6,
};

static enum fault
choose(struct sim_rng *rng)
{
	uint32_t dice = sim_rng_below(rng, 100), f = 0;

	while (dice >= fault_mix[f])
		dice -= fault_mix[f++];
	return (enum fault)f;
}

static void
partition(struct core *core, uint32_t n)
{
	uint64_t length = sim_rng_between(&core->fault_rng, SIM_MS, 250 * SIM_MS);
	uint32_t m;

	/* One node alone, or cut off from some. */
	for (m = 0; m < core->node_count; m++) {
		if (m != n && core->link_up[n][m] && sim_rng_chance(&core->fault_rng, 600))
			core_session_break(core, n, m, length);
	}
}

static void
slow_down(struct core *core, uint32_t a, uint32_t b)
{
	uint64_t until = core->now + sim_rng_between(&core->fault_rng, SIM_MS, 100 * SIM_MS);

	core->slow_until[a][b] = until;
	if (sim_rng_chance(&core->fault_rng, 500))
		core->slow_until[b][a] = until;
}

static void
pause_machine(struct core *core, uint32_t n, uint64_t length)
{
	/* One stop in the other does not shorten it. */
	if (core->nodes[n].paused_until < core->now + length)
		core->nodes[n].paused_until = core->now + length;
}

static void
client_kill(struct core *core, uint32_t n, uint32_t c)
{
	struct core_client *client = &core->nodes[n].clients[c];
	uint32_t left = client->ops_left;

	if (!core->nodes[n].alive || client->phase == CLIENT_OFF)
		return;
	core_client_stop(core, n, c);
	core_client_start(core, n, c, left);
}

void
core_fault(struct core *core)
{
	uint32_t n = sim_rng_below(&core->fault_rng, core->node_count);
	uint32_t m = (n + 1 + sim_rng_below(&core->fault_rng, core->node_count - 1)) %
		core->node_count;
	enum fault fault = choose(&core->fault_rng);

	core_trace(core, "fault", fault, n, m);
	core->result->faults++;
	switch (fault) {
	case FAULT_SESSION:
		/* A write-back may carry the only copy of a page: some sessions end just then. */
		if (sim_rng_chance(&core->fault_rng, 300))
			core->break_at_write_back = true;
		else if (core->link_up[n][m])
			core_session_break(core, n, m,
				sim_rng_between(&core->fault_rng, 0, 20 * SIM_MS));
		break;
	case FAULT_PARTITION:
		partition(core, n);
		break;
	case FAULT_SLOW:
		slow_down(core, n, m);
		break;
	case FAULT_PAUSE:
		pause_machine(core, n, sim_rng_between(&core->fault_rng, SIM_MS, 60 * SIM_MS));
		break;
	case FAULT_CRASH:
		core_crash(core, n);
		break;
	case FAULT_FENCE:
		core_fence(core, m, n);
		break;
	case FAULT_CLIENT:
		client_kill(core, n, sim_rng_below(&core->fault_rng, core->clients_per_node));
		break;
	case FAULT_RESET:
		core_region_reset(core);
		break;
	}
}

/* A new generation of the region: every node drops the old one, then takes up the new one. */
void
core_region_reset(struct core *core)
{
	uint32_t n;

	if (core->resetting != 0 || core->generation + 1 == CORE_GENERATIONS)
		return;
	core->generation++;
	core->workload.generations = core->generation + 1;
	core->result->resets++;
	for (n = 0; n < core->node_count; n++) {
		if (!core->nodes[n].alive)
			continue;	/* it will start with the new one */
		core->resetting++;
		core_event_add(core, sim_rng_below(&core->fault_rng, 20000000),
			EVENT_REGION_REMOVE, n, core->nodes[n].boot, NULL);
	}
}

static void
region_remove(struct core *core, uint32_t n, uint32_t boot)
{
	struct core_node *node = &core->nodes[n];
	bool gone = true;
	uint32_t w;

	if (!node->alive || node->boot != boot) {
		core->resetting--;
		return;
	}
	node->removing = true;
	node->generation = CORE_NONE;
	for (w = 0; w < node->worker_count; w++) {
		struct core_worker *worker = &node->workers[w];

		gone &= tp_coherence_region_remove(worker->engine, CORE_REGION, core->now,
			&worker->outbox);
		core_run(core, n, w);
	}
	core_event_add(core, 50 * SIM_US, gone ? EVENT_REGION_ADD : EVENT_REGION_REMOVE, n, boot,
		NULL);
}

static void
region_add(struct core *core, uint32_t n, uint32_t boot)
{
	struct core_node *node = &core->nodes[n];
	uint32_t w, home_count;

	core->resetting--;
	if (!node->alive || node->boot != boot)
		return;
	node->removing = false;
	home_count = tp_region_home_count(&node->region, (uint16_t)(n + 1));
	core_region_words_clear(core, n);
	node->generation = core->generation;
	node->region.generation = tp_generation_pack(1, core->generation + 1);
	if (home_count > 0) {
		if (tp_directory_region_remove(node->directory, CORE_REGION) != 0)
			core_fail(core, "node %u: region not in the directory", n + 1);
		node->directory_slot = tp_directory_region_add(node->directory, CORE_REGION,
			node->region.generation, home_count);
	}
	for (w = 0; w < node->worker_count; w++) {
		if (tp_coherence_region_add(node->workers[w].engine, &node->region,
					    (uint32_t)node->directory_slot, false) != 0)
			core_fail(core, "node %u: region cannot be added", n + 1);
	}
}

void
core_region_event(struct core *core, const struct queue_event *event)
{
	core_trace(core, "region", event->kind, event->node, event->a);
	if (event->kind == EVENT_REGION_REMOVE)
		region_remove(core, event->node, (uint32_t)event->a);
	else
		region_add(core, event->node, (uint32_t)event->a);
}
