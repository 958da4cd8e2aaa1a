/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * One seed of the cluster harness.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_common.h>
#include <rte_log.h>

#include "cluster.h"
#include "sim_port.h"

#define SPAN (1500 * SIM_MS)		/* faults fall in here */
#define END_LATEST (60000 * SIM_MS)

void
cluster_fail(struct cluster *cluster, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(cluster->result->why, sizeof(cluster->result->why), format, args);
	va_end(args);
	cluster->result->failed = true;
	longjmp(cluster->failed, 1);
}

void
cluster_trace(struct cluster *cluster, const char *what, uint64_t a, uint64_t b, uint64_t c)
{
	sim_trace_add(&cluster->trace, cluster->now);
	sim_trace_add(&cluster->trace, a << 32 ^ b << 16 ^ c);
	if (cluster->options->trace)
		printf("%12" PRIu64 " %-12s %" PRIx64 " %" PRIx64 " %" PRIx64 "\n", cluster->now,
		       what, a, b, c);
}

void
cluster_event_add(struct cluster *cluster, uint64_t delay, uint32_t kind, uint32_t node, uint64_t a,
		  uint64_t b)
{
	struct queue_event event = { .time = cluster->now + delay, .kind = kind, .node = node,
		.a = a, .b = b };

	queue_add(&cluster->queue, &event);
}

/* Index of a generation of the region, in the order clients met them. */
uint32_t
cluster_generation(struct cluster *cluster, uint64_t generation)
{
	uint32_t i;

	for (i = 0; i < CLUSTER_GENERATIONS; i++) {
		if (cluster->generations[i] == 0) {
			cluster->generations[i] = generation;
			cluster->workload.generations = i + 1;
		}
		if (cluster->generations[i] == generation)
			return i;
	}
	cluster_fail(cluster, "more than %u generations", CLUSTER_GENERATIONS);
}

/* For people: whom each worker reaches. */
static void
trace_peers(struct cluster *cluster, uint32_t n)
{
	struct cluster_node *node = &cluster->nodes[n];
	uint32_t w, m;

	for (w = 0; w < node->worker_count; w++) {
		struct tp_endpoint *ep =
			tp_worker_endpoint(tp_control_worker(node->control, (uint16_t)w));

		for (m = 0; ep != NULL && m < cluster->node_count; m++) {
			int state = tp_endpoint_peer_state(ep, (uint16_t)(m + 1), NULL);

			if (node->peer_state[w][m] == state)
				continue;
			node->peer_state[w][m] = state;
			printf("%12" PRIu64 " node %u worker %u: node %u is in state %d\n",
			       cluster->now, n + 1, w, m + 1, state);
		}
	}
}

static void
node_event(struct cluster *cluster, const struct queue_event *event)
{
	uint32_t n = event->node;
	struct cluster_node *node = &cluster->nodes[n];

	if (!node->alive || node->boot != event->a || node->wake_at != event->b)
		return;
	node->wake_at = UINT64_MAX;
	if (cluster->now < node->paused_until) {
		cluster_node_wake(cluster, n, node->paused_until);
		return;
	}
	cluster_trace(cluster, "poll", n, 0, 0);
	cluster_node_poll(cluster, n);
	if (cluster->options->trace)
		trace_peers(cluster, n);
	if (node->stopping && tp_control_state_get(node->control) == TP_CONTROL_STOPPED) {
		uint32_t c;

		cluster_trace(cluster, "stopped", n, 0, 0);
		cluster->silent_at = cluster->now;
		for (c = 0; c < cluster->clients_per_node; c++)
			cluster_client_die(cluster, n, c, true);
		cluster_node_free(cluster, n);
		cluster_event_add(cluster, sim_rng_between(&cluster->rng, SIM_MS, 200 * SIM_MS),
			EVENT_RETURN, n, node->boot, 0);
	}
}

static void
client_event(struct cluster *cluster, const struct queue_event *event)
{
	struct cluster_node *node = &cluster->nodes[event->node];
	uint32_t c = event->b & 15;

	if (node->alive && node->boot == event->a && node->clients[c].wake_at == event->b >> 4)
		cluster_client_event(cluster, event->node, c);
}

static bool
step(struct cluster *cluster)
{
	struct queue_event event;

	if (!queue_take(&cluster->queue, &event))
		return false;
	cluster->now = event.time;
	if (cluster->now > END_LATEST)
		cluster_fail(cluster, "no end after %u s of virtual time",
			     (unsigned int)(END_LATEST / SIM_MS / 1000));
	sim_net_set_now(cluster->net, cluster->now);
	cluster->result->events++;
	switch (event.kind) {
	case EVENT_NODE:
		node_event(cluster, &event);
		break;
	case EVENT_CLIENT:
		client_event(cluster, &event);
		break;
	case EVENT_FAULT:
		cluster->faults_left--;
		cluster_fault(cluster);
		break;
	case EVENT_MEND:
		cluster_mend(cluster, event.a, event.b);
		break;
	case EVENT_RETURN:
		if (!cluster->nodes[event.node].alive &&
		    cluster->nodes[event.node].boot == event.a) {
			cluster_trace(cluster, "return", event.node, 0, 0);
			cluster_node_boot(cluster, event.node);
		}
		break;
	case EVENT_RESET:
		cluster_reset_begin(cluster);
		break;
	default:
		cluster_admin(cluster);
		break;
	}
	return true;
}

static void
settle(struct cluster *cluster, const char *what)
{
	uint64_t give_up = cluster->now + 20000 * SIM_MS, look = cluster->now;
	char why[300] = "";

	for (;;) {
		if (cluster->now >= look) {
			if (cluster_is_at_rest(cluster, why, sizeof(why)))
				return;
			look = cluster->now + 200 * SIM_US;
		}
		if (cluster->now > give_up || !step(cluster))
			cluster_fail(cluster, "%s: %s", what, why);
	}
}

static void
check_histories(struct cluster *cluster)
{
	struct history_report report = workload_check(&cluster->workload);
	uint32_t words = cluster->workload.words, pages = cluster->workload.pages;

	if (report.verdict == HISTORY_OK)
		return;
	if (cluster->options->trace)
		workload_print(&cluster->workload, report.word);
	if (report.verdict == HISTORY_GAVE_UP)
		cluster_fail(cluster, "checker gave up on word %u", report.word);
	if (report.total_order)
		cluster_fail(cluster, "no total order over all words");
	cluster_fail(cluster, "page %u word %u of generation %u is not linearizable",
		     report.word / words % pages, report.word % words, report.word / words / pages);
}

static void
set_up_nodes(struct cluster *cluster, struct sim_rng *rng, uint32_t ops)
{
	uint32_t n, w, c;

	for (n = 0; n < cluster->node_count; n++) {
		struct cluster_node *node = &cluster->nodes[n];

		node->worker_count = 1 + sim_rng_below(rng, CLUSTER_WORKERS_MAX);
		node->clock_offset = (int64_t)sim_rng_below(rng, 1000000000) + 1000000;
		node->clock_drift_ppm = (int32_t)sim_rng_below(rng, 401) - 200;
		node->store = sim_store_open(cluster->store);
		for (w = 0; w < node->worker_count; w++)
			node->links[w] = sim_net_link(cluster->net, 1500, 0);
		if (node->worker_count > 1)
			sim_port_make(node->links, node->worker_count, TP_ENDPOINT_PORT_DEFAULT,
				sim_rng_chance(rng, 300));
		for (c = 0; c < cluster->clients_per_node; c++) {
			node->clients[c].ops_left =
				ops / (cluster->node_count * cluster->clients_per_node) + 1;
			node->clients[c].wake_at = UINT64_MAX;
		}
	}
	for (n = 0; n < cluster->node_count; n++)
		cluster_node_boot(cluster, n);
}

/* By seed: three in eight are about one thing, which nothing else excuses. */
static const enum cluster_theme themes[8] = {
	[3] = THEME_DEATHS,
	[5] = THEME_GAPS,
	[7] = THEME_SILENCES,
};

static void
set_up(struct cluster *cluster)
{
	const struct sim_options *o = cluster->options;
	struct sim_rng rng = { .state = o->seed };
	struct sim_faults calm = { .delay_ns = 2 * SIM_US, .jitter_ns = 20 * SIM_US };

	cluster->rng = sim_rng_fork(&rng);
	cluster->fault_rng = sim_rng_fork(&rng);
	cluster->node_count = o->nodes != 0 ? o->nodes :
		3 + sim_rng_below(&rng, SIM_NODES_MAX - 2);
	cluster->clients_per_node = 2 + sim_rng_below(&rng, SIM_CLIENTS_MAX - 1);
	cluster->theme = themes[o->seed % RTE_DIM(themes)];
	workload_init(&cluster->workload, sim_rng_next(&rng),
		1 + sim_rng_below(&rng, SIM_PAGES_MAX), 1 + sim_rng_below(&rng, SIM_WORDS));
	cluster->home_slots = 2 * SIM_PAGES_MAX;
	cluster->cache_slots = 16;
	cluster->kept_count = sim_rng_chance(&rng, 300) ? 2u << sim_rng_below(&rng, 5) : 1024;
	cluster->result->nodes = cluster->node_count;
	cluster->admin_call = -1;
	cluster->net = sim_net_create(sim_rng_next(&rng), &calm);
	cluster->store = sim_store_create();
	set_up_nodes(cluster, &rng, o->ops == 0 ? 2000 : o->ops);
}

/* Every node is a member and knows the others; then the region is made. */
static void
start(struct cluster *cluster)
{
	struct tp_control_request request = { .magic = TP_CONTROL_MAGIC,
		.version = TP_CONTROL_VERSION, .op = TP_CONTROL_REGION_CREATE,
		.timeout_ns = 2000 * SIM_MS };
	uint32_t n, members = 0;

	while (members < cluster->node_count) {
		if (cluster->now > 3000 * SIM_MS || !step(cluster))
			cluster_fail(cluster, "only %u nodes became members", members);
		for (n = 0, members = 0; n < cluster->node_count; n++)
			members += tp_control_state_get(cluster->nodes[n].control) ==
				TP_CONTROL_MEMBER;
	}
	strcpy(request.region.name, CLUSTER_REGION);
	request.region.bytes = (uint64_t)cluster->workload.pages * CLUSTER_PAGE;
	request.region.page_bytes = CLUSTER_PAGE;
	request.region.mode = TP_REGION_RW;
	request.region.distribution = TP_REGION_STRIPED;
	request.region.node_count = 3;
	for (n = 0; n < 3; n++)
		request.region.nodes[n] = (uint16_t)(n + 1);
	while (!cluster->started) {
		/* Refused until node 1 has heard of the others. */
		if (cluster->admin_call < 0)
			cluster_admin_begin(cluster, 0, &request);
		if (cluster->now > 6000 * SIM_MS || !step(cluster))
			cluster_fail(cluster, "the region cannot be made");
	}
}

static void
run(struct cluster *cluster)
{
	const struct sim_options *o = cluster->options;
	uint32_t faults = o->faults == SIM_NO_FAULTS ? 0 : o->faults, n, c, i;

	set_up(cluster);
	start(cluster);
	if (o->faults == 0)
		faults = 20 + sim_rng_below(&cluster->fault_rng, 21);
	if (cluster->theme == THEME_GAPS)
		faults *= 5;
	cluster->faults_left = faults;
	for (i = 0; i < faults; i++)
		cluster_event_add(cluster, sim_rng_next(&cluster->fault_rng) % SPAN, EVENT_FAULT, 0,
			0, 0);
	while (cluster->faults_left > 0 && step(cluster))
		;
	settle(cluster, "after the faults");
	cluster_check_rest(cluster);
	if (cluster->theme == THEME_GAPS)
		cluster_check_together(cluster);
	/* Everybody reads everything: what was acknowledged is there, or lost with its node. */
	cluster->sweeping = true;
	for (n = 0; n < cluster->node_count; n++) {
		for (c = 0; c < cluster->clients_per_node; c++)
			cluster_client_start(cluster, n, c,
				cluster->workload.pages * cluster->workload.words);
	}
	cluster->workload.reasons[TP_TIMEOUT] = 0;
	settle(cluster, "after the sweep");
	cluster_check_rest(cluster);
	if (cluster->workload.reasons[TP_TIMEOUT] != 0)
		cluster_fail(cluster, "%u reads timed out with everything well",
			     cluster->workload.reasons[TP_TIMEOUT]);
	check_histories(cluster);
}

/* For people: what the endpoints counted. */
static void
trace_counters(const struct cluster *cluster)
{
	uint32_t n, w, i;

	for (n = 0; n < cluster->node_count; n++) {
		for (w = 0; cluster->nodes[n].alive && w < cluster->nodes[n].worker_count; w++) {
			struct tp_endpoint *ep = tp_worker_endpoint(
				tp_control_worker(cluster->nodes[n].control, (uint16_t)w));
			const uint64_t *counters = tp_endpoint_counters(ep);

			printf("node %u worker %u:", n + 1, w);
			for (i = 0; i < TP_ENDPOINT_COUNTER_COUNT; i++) {
				if (counters[i] != 0)
					printf(" %s %" PRIu64, tp_endpoint_counter_name(i),
					       counters[i]);
			}
			printf("\n");
		}
	}
}

static void
tear_down(struct cluster *cluster)
{
	uint32_t n, c, w;

	for (n = 0; n < cluster->node_count; n++) {
		struct cluster_node *node = &cluster->nodes[n];

		for (c = 0; c < cluster->clients_per_node && node->control != NULL; c++)
			cluster_client_die(cluster, n, c, true);
		if (node->control != NULL)
			cluster_node_free(cluster, n);
		for (w = 0; w < node->worker_count; w++) {
			if (node->links[w] != NULL)
				sim_link_unplug(node->links[w]);
		}
		tp_store_close(node->store);
	}
	if (cluster->store != NULL)
		sim_store_destroy(cluster->store);
	if (cluster->net != NULL)
		sim_net_destroy(cluster->net);
	queue_fini(&cluster->queue);
	workload_fini(&cluster->workload);
}

void
sim_cluster_run(const struct sim_options *options, struct sim_result *result)
{
	struct cluster *cluster = aligned_alloc(64, (sizeof(*cluster) + 63) / 64 * 64);

	memset(result, 0, sizeof(*result));
	if (cluster == NULL)
		abort();
	memset(cluster, 0, sizeof(*cluster));
	cluster->options = options;
	cluster->result = result;
	rte_log_set_global_level(options->trace ? RTE_LOG_INFO : RTE_LOG_CRIT);
	if (options->trace)
		rte_openlog_stream(stdout);
	queue_init(&cluster->queue);
	if (setjmp(cluster->failed) == 0)
		run(cluster);
	result->trace_hash = cluster->trace.hash;
	result->virtual_ns = cluster->now;
	result->ops_done = cluster->workload.done;
	result->ops_unknown = cluster->workload.unknown;
	result->ops_void = cluster->workload.voided;
	result->ops_settled = cluster->workload.settled;
	if (options->trace)
		trace_counters(cluster);
	tear_down(cluster);
	free(cluster);
}
