/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What goes wrong, and its mending.
 */
#include <errno.h>
#include <string.h>

#include <rte_common.h>

#include "cluster.h"

enum fault { FAULT_LOSS, FAULT_DUPLICATE, FAULT_CORRUPT, FAULT_DELAY, FAULT_CUT_ONE,
	FAULT_CUT_BOTH, FAULT_ISOLATE, FAULT_STORE, FAULT_PAUSE_MACHINE, FAULT_PAUSE_NODE,
	FAULT_PAUSE_CLIENT, FAULT_CRASH, FAULT_STOP, FAULT_KILL_CLIENT, FAULT_RESET };

/* Out of 100. */
static const uint8_t fault_mix[] = {
	[FAULT_LOSS] = 10, [FAULT_DUPLICATE] = 8, [FAULT_CORRUPT] = 6, [FAULT_DELAY] = 10,
	[FAULT_CUT_ONE] = 8, [FAULT_CUT_BOTH] = 8, [FAULT_ISOLATE] = 7, [FAULT_STORE] = 3,
	[FAULT_PAUSE_MACHINE] = 7, [FAULT_PAUSE_NODE] = 9, [FAULT_PAUSE_CLIENT] = 5,
	[FAULT_CRASH] = 7, [FAULT_STOP] = 2, [FAULT_KILL_CLIENT] = 6, [FAULT_RESET] = 4,
};

/* Off its core: not yet silent, with what a message and a heartbeat take. */
#define GAP_MAX (90 * SIM_MS)
#define GAP_REST (2 * SIM_MS)

enum mend { MEND_LOSS, MEND_DUPLICATE, MEND_CORRUPT, MEND_DELAY, MEND_CUT, MEND_STORE };

static enum fault
choose(struct sim_rng *rng)
{
	uint32_t dice = sim_rng_below(rng, 100), f = 0;

	while (dice >= fault_mix[f])
		dice -= fault_mix[f++];
	return (enum fault)f;
}

/*
 * Where only silences hinder anybody they are as far apart as a notice takes; what
 * else happens meanwhile excuses nobody.
 */
static enum fault
choose_silence(struct cluster *cluster, uint64_t *length)
{
	static const enum fault others[] = { FAULT_DUPLICATE, FAULT_PAUSE_CLIENT,
		FAULT_KILL_CLIENT, FAULT_RESET };
	static const enum fault silences[] = { FAULT_PAUSE_NODE, FAULT_PAUSE_MACHINE,
		FAULT_CUT_ONE, FAULT_CUT_BOTH, FAULT_ISOLATE, FAULT_CRASH };
	struct sim_rng *rng = &cluster->fault_rng;
	enum fault fault = FAULT_CRASH;

	if (cluster->now < cluster->silence_next)
		return others[sim_rng_below(rng, RTE_DIM(others))];
	if (cluster->theme == THEME_SILENCES) {
		fault = silences[sim_rng_below(rng, RTE_DIM(silences))];
		*length = sim_rng_chance(rng, 80) ? 10000 * SIM_MS :
			sim_rng_between(rng, 60 * SIM_MS, 250 * SIM_MS);
	}
	cluster->silent_at = cluster->now;
	cluster->silence_next = cluster->now + CLUSTER_NOTICE +
		sim_rng_between(rng, 10 * SIM_MS, 60 * SIM_MS);
	if (fault != FAULT_CRASH)
		/* A node that stands still does so twice as long. */
		cluster->silence_next += (fault == FAULT_PAUSE_NODE ? 2 : 1) * *length;
	return fault;
}

/* With or without its clients; a little shorter than silence may be. */
static enum fault
choose_gap(struct cluster *cluster, uint32_t n, uint64_t *length)
{
	struct sim_rng *rng = &cluster->fault_rng;

	*length = sim_rng_between(rng, SIM_MS, GAP_MAX);
	/* It has run in between. */
	if (cluster->now < cluster->nodes[n].paused_until + GAP_REST)
		return FAULT_DUPLICATE;
	if (sim_rng_chance(rng, 500))
		return FAULT_PAUSE_MACHINE;
	*length /= 2;
	return FAULT_PAUSE_NODE;
}

static enum fault
choose_in_theme(struct cluster *cluster, uint32_t n, uint64_t *length)
{
	switch (cluster->theme) {
	case THEME_DEATHS:
	case THEME_SILENCES:
		return choose_silence(cluster, length);
	case THEME_GAPS:
		return choose_gap(cluster, n, length);
	default:
		return choose(&cluster->fault_rng);
	}
}

/* Until when a fault may keep nodes from each other, or from what they have to do. */
static uint64_t
disturbs_until(const struct cluster *cluster, enum fault fault, uint64_t length)
{
	switch (fault) {
	case FAULT_DUPLICATE:
	case FAULT_PAUSE_CLIENT:
	case FAULT_KILL_CLIENT:
	case FAULT_CRASH:
	case FAULT_STOP:
	case FAULT_RESET:
		return 0;
	case FAULT_PAUSE_NODE:
		return cluster->now + 2 * length;
	default:
		return cluster->now + length;
	}
}

/* Mostly shorter than the timeouts, sometimes longer than all of them. */
static uint64_t
length_ns(struct cluster *cluster)
{
	if (sim_rng_chance(&cluster->fault_rng, 650))
		return sim_rng_between(&cluster->fault_rng, SIM_MS, 60 * SIM_MS);
	return sim_rng_between(&cluster->fault_rng, 60 * SIM_MS, 350 * SIM_MS);
}

static void
cut(struct cluster *cluster, uint32_t from, uint32_t to, uint64_t length)
{
	uint32_t v, w;

	for (v = 0; v < cluster->nodes[from].worker_count; v++) {
		for (w = 0; w < cluster->nodes[to].worker_count; w++)
			sim_net_cut(cluster->net, sim_link_port(cluster->nodes[from].links[v]),
				sim_link_port(cluster->nodes[to].links[w]), length != 0);
	}
	if (length != 0)
		cluster_event_add(cluster, length, EVENT_MEND, 0, MEND_CUT, from << 8 | to);
}

static void
isolate(struct cluster *cluster, uint32_t n, uint64_t length)
{
	uint32_t m;

	for (m = 0; m < cluster->node_count; m++) {
		if (m == n)
			continue;
		cut(cluster, n, m, length);
		cut(cluster, m, n, length);
	}
}

static void
pause_client(struct cluster *cluster, uint32_t n, uint64_t length)
{
	uint32_t c = sim_rng_below(&cluster->fault_rng, cluster->clients_per_node);

	cluster->nodes[n].clients[c].paused_until = cluster->now + length;
}

static void
pause_machine(struct cluster *cluster, uint32_t n, uint64_t length)
{
	uint32_t c;

	cluster->nodes[n].paused_until = cluster->now + length;
	for (c = 0; c < cluster->clients_per_node; c++)
		cluster->nodes[n].clients[c].paused_until = cluster->now + length;
}

static void
stop(struct cluster *cluster, uint32_t n)
{
	struct cluster_node *node = &cluster->nodes[n];

	if (!node->alive || node->stopping ||
	    tp_control_state_get(node->control) != TP_CONTROL_MEMBER)
		return;
	node->stopping = true;
	cluster->may_be_lost = true;
	cluster_clock_set(cluster, n);
	tp_control_stop(node->control, node->tsc);
	cluster_node_wake(cluster, n, cluster->now);
}

static void
kill_client(struct cluster *cluster, uint32_t n)
{
	uint32_t c = sim_rng_below(&cluster->fault_rng, cluster->clients_per_node);
	uint32_t left = cluster->nodes[n].clients[c].ops_left;

	if (!cluster->nodes[n].alive)
		return;
	cluster_clock_set(cluster, n);
	cluster_client_die(cluster, n, c, false);
	cluster_node_wake(cluster, n, cluster->now);
	cluster_client_start(cluster, n, c, left);
}

static void
fault_network(struct cluster *cluster, enum fault fault, uint64_t length)
{
	struct sim_faults *faults = sim_net_faults(cluster->net);
	struct sim_rng *rng = &cluster->fault_rng;

	switch (fault) {
	case FAULT_LOSS:
		faults->loss_ppm = 10000 + sim_rng_below(rng, 300000);
		cluster_event_add(cluster, length, EVENT_MEND, 0, MEND_LOSS, 0);
		break;
	case FAULT_DUPLICATE:
		faults->duplicate_ppm = 50000 + sim_rng_below(rng, 400000);
		cluster_event_add(cluster, length, EVENT_MEND, 0, MEND_DUPLICATE, 0);
		break;
	case FAULT_CORRUPT:
		faults->corrupt_ppm = 10000 + sim_rng_below(rng, 200000);
		cluster_event_add(cluster, length, EVENT_MEND, 0, MEND_CORRUPT, 0);
		break;
	default:
		faults->jitter_ns = sim_rng_between(rng, 50 * SIM_US, 20 * SIM_MS);
		cluster_event_add(cluster, length, EVENT_MEND, 0, MEND_DELAY, 0);
		break;
	}
}

static void
fault_node(struct cluster *cluster, enum fault fault, uint32_t n, uint64_t length)
{
	switch (fault) {
	case FAULT_STORE:
		sim_store_cut(cluster->nodes[n].store, true);
		cluster_event_add(cluster, length, EVENT_MEND, 0, MEND_STORE, n);
		break;
	case FAULT_PAUSE_MACHINE:
		pause_machine(cluster, n, length);
		break;
	case FAULT_PAUSE_NODE:
		/* Its clients go on: sometimes long after others gave the node up. */
		cluster->nodes[n].paused_until = cluster->now + 2 * length;
		break;
	case FAULT_PAUSE_CLIENT:
		pause_client(cluster, n, length / 4);
		break;
	case FAULT_CRASH:
		cluster_node_crash(cluster, n);
		break;
	case FAULT_STOP:
		stop(cluster, n);
		break;
	default:
		kill_client(cluster, n);
		break;
	}
}

void
cluster_fault(struct cluster *cluster)
{
	struct sim_rng *rng = &cluster->fault_rng;
	uint32_t n = sim_rng_below(rng, cluster->node_count);
	uint32_t m = (n + 1 + sim_rng_below(rng, cluster->node_count - 1)) % cluster->node_count;
	uint64_t length = length_ns(cluster);
	enum fault fault = choose_in_theme(cluster, n, &length);
	uint64_t disturbed = cluster->theme == THEME_SILENCES ? 0 :
		disturbs_until(cluster, fault, length);

	cluster_trace(cluster, "fault", fault, n << 8 | m, length);
	cluster->result->faults++;
	cluster->disturbed_until = RTE_MAX(cluster->disturbed_until, disturbed);
	switch (fault) {
	case FAULT_LOSS:
	case FAULT_DUPLICATE:
	case FAULT_CORRUPT:
	case FAULT_DELAY:
		fault_network(cluster, fault, length);
		break;
	case FAULT_CUT_BOTH:
		cut(cluster, m, n, length);
		/* fall through */
	case FAULT_CUT_ONE:
		cut(cluster, n, m, length);
		break;
	case FAULT_ISOLATE:
		isolate(cluster, n, length);
		break;
	case FAULT_RESET:
		cluster_reset_begin(cluster);
		break;
	default:
		fault_node(cluster, fault, n, length);
		break;
	}
}

void
cluster_mend(struct cluster *cluster, uint64_t what, uint64_t value)
{
	struct sim_faults *faults = sim_net_faults(cluster->net);

	switch ((enum mend)what) {
	case MEND_LOSS:
		faults->loss_ppm = 0;
		break;
	case MEND_DUPLICATE:
		faults->duplicate_ppm = 0;
		break;
	case MEND_CORRUPT:
		faults->corrupt_ppm = 0;
		break;
	case MEND_DELAY:
		faults->jitter_ns = 20 * SIM_US;
		break;
	case MEND_CUT:
		cut(cluster, (uint32_t)value >> 8, value & 0xff, 0);
		break;
	case MEND_STORE:
		sim_store_cut(cluster->nodes[value].store, false);
		break;
	}
}

/* A control call of a node, as a client would make it; one at a time. */
void
cluster_admin_begin(struct cluster *cluster, uint32_t n, const struct tp_control_request *request)
{
	struct cluster_node *node = &cluster->nodes[n];

	cluster_clock_set(cluster, n);
	cluster->admin_client = tp_control_client_add(node->control, 1, node->tsc);
	if (cluster->admin_client < 0)
		return;
	cluster->admin_node = n;
	cluster->admin_boot = node->boot;
	cluster->admin_call = tp_control_call(node->control, cluster->admin_client, request,
		node->tsc);
	cluster_node_wake(cluster, n, cluster->now);
	cluster_event_add(cluster, SIM_MS, EVENT_ADMIN, n, node->boot, 0);
}

/* The region gets a new generation. */
void
cluster_reset_begin(struct cluster *cluster)
{
	struct tp_control_request request = { .magic = TP_CONTROL_MAGIC,
		.version = TP_CONTROL_VERSION, .op = TP_CONTROL_REGION_RESET,
		.timeout_ns = 500 * SIM_MS };
	uint32_t n = sim_rng_below(&cluster->fault_rng, cluster->node_count);
	struct cluster_node *node = &cluster->nodes[n];

	if (cluster->admin_call >= 0 || !node->alive || node->stopping ||
	    tp_control_state_get(node->control) != TP_CONTROL_MEMBER)
		return;
	strcpy(request.region.name, CLUSTER_REGION);
	cluster_admin_begin(cluster, n, &request);
}

void
cluster_admin(struct cluster *cluster)
{
	struct cluster_node *node = &cluster->nodes[cluster->admin_node];
	struct tp_control_response response;
	int ret;

	if (cluster->admin_call < 0)
		return;
	if (!node->alive || node->boot != cluster->admin_boot) {
		cluster->admin_call = -1;
		return;
	}
	cluster_clock_set(cluster, cluster->admin_node);
	ret = tp_control_call_result(node->control, cluster->admin_call, &response, NULL, 0);
	if (ret == -EINPROGRESS) {
		cluster_event_add(cluster, SIM_MS, EVENT_ADMIN, cluster->admin_node, node->boot, 0);
		return;
	}
	cluster->admin_call = -1;
	tp_control_client_remove(node->control, cluster->admin_client, node->tsc);
	cluster_node_wake(cluster, cluster->admin_node, cluster->now);
	if (ret != 0)
		return;
	cluster_trace(cluster, "admin", response.op, response.reason, response.generation);
	if (response.reason == TP_OK) {
		cluster->result->resets += response.op == TP_CONTROL_REGION_RESET;
		cluster->region_id = response.region.id;
		cluster->region_address = response.region.address;
		cluster->started = true;
	}
}
