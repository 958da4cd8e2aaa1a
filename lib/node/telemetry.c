/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Telemetry of the nodes of this process. The callbacks run on DPDK's telemetry
 * thread: they read words that each have one writer, and nothing else.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include <rte_common.h>
#include <rte_telemetry.h>

#include "inject_priv.h"
#include "node_priv.h"

#define TELEMETRY_NODES_MAX 8

/* DPDK's callbacks take no context: this is what they find the nodes by. */
static pthread_mutex_t telemetry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct tp_node *telemetry_nodes[TELEMETRY_NODES_MAX];

/* With parameters: the node of that id, else the first one. */
static struct tp_node *
telemetry_find(const char *params)
{
	long id = params != NULL && *params != '\0' ? strtol(params, NULL, 10) : -1;
	int i;

	for (i = 0; i < TELEMETRY_NODES_MAX; i++)
		if (telemetry_nodes[i] != NULL &&
		    (id < 0 || telemetry_nodes[i]->config.id == id))
			return telemetry_nodes[i];
	return NULL;
}

static void
telemetry_node_fill(struct tp_node *node, struct rte_tel_data *data)
{
	const struct tp_control *control = node->control;
	const uint64_t *stats = (const uint64_t *)&control->stats;
	uint64_t now = tp_node_now(node);
	uint64_t lease = tp_control_lease_until(control);
	unsigned int i;

	rte_tel_data_add_dict_u64(data, "id", node->config.id);
	rte_tel_data_add_dict_string(data, "name", node->config.name);
	rte_tel_data_add_dict_string(data, "state", tp_control_state_name(control->state));
	rte_tel_data_add_dict_u64(data, "epoch", control->epoch);
	rte_tel_data_add_dict_u64(data, "worker_count", node->config.workers);
	rte_tel_data_add_dict_u64(data, "lease_left_ns", lease > now ? lease - now : 0);
	rte_tel_data_add_dict_u64(data, "client_count", tp_control_client_count(control));
	rte_tel_data_add_dict_u64(data, "rings_vain",
		atomic_load_explicit(&node->rings_vain, memory_order_relaxed));
	for (i = 0; tp_control_stat_name(i) != NULL; i++)
		rte_tel_data_add_dict_u64(data, tp_control_stat_name(i), stats[i]);
}

static int
telemetry_node(const char *cmd, const char *params, struct rte_tel_data *data)
{
	struct tp_node *node;

	rte_tel_data_start_dict(data);
	pthread_mutex_lock(&telemetry_lock);
	node = telemetry_find(params);
	if (node != NULL)
		telemetry_node_fill(node, data);
	pthread_mutex_unlock(&telemetry_lock);
	return node == NULL ? -ENOENT : 0;
}

static int
telemetry_fabric(const char *cmd, const char *params, struct rte_tel_data *data)
{
	struct tp_node *node;
	unsigned int i;
	uint16_t w;

	rte_tel_data_start_dict(data);
	pthread_mutex_lock(&telemetry_lock);
	node = telemetry_find(params);
	for (i = 0; node != NULL && i < TP_ENDPOINT_COUNTER_COUNT; i++) {
		uint64_t sum = 0;

		for (w = 0; w < node->config.workers; w++)
			sum += tp_worker_fabric_stats_get(
				tp_control_worker(node->control, w))[i];
		rte_tel_data_add_dict_u64(data, tp_endpoint_counter_name(i), sum);
	}
	pthread_mutex_unlock(&telemetry_lock);
	return node == NULL ? -ENOENT : 0;
}

static const char *const telemetry_coherence_names[] = {
#define TELEMETRY_NAME(name, help) #name,
	TP_COHERENCE_STAT_LIST(TELEMETRY_NAME)
#undef TELEMETRY_NAME
};

static int
telemetry_coherence(const char *cmd, const char *params, struct rte_tel_data *data)
{
	struct tp_node *node;
	unsigned int i;
	uint16_t w;

	rte_tel_data_start_dict(data);
	pthread_mutex_lock(&telemetry_lock);
	node = telemetry_find(params);
	for (i = 0; node != NULL && i < RTE_DIM(telemetry_coherence_names); i++) {
		uint64_t sum = 0;

		for (w = 0; w < node->config.workers; w++)
			sum += ((const uint64_t *)tp_coherence_stats_get(tp_worker_coherence(
				tp_control_worker(node->control, w))))[i];
		rte_tel_data_add_dict_u64(data, telemetry_coherence_names[i], sum);
	}
	for (i = 0; node != NULL && tp_worker_stat_name(i) != NULL; i++) {
		uint64_t sum = 0;

		for (w = 0; w < node->config.workers; w++)
			sum += ((const uint64_t *)tp_worker_stats_get(
				tp_control_worker(node->control, w)))[i];
		rte_tel_data_add_dict_u64(data, tp_worker_stat_name(i), sum);
	}
	pthread_mutex_unlock(&telemetry_lock);
	return node == NULL ? -ENOENT : 0;
}

static const char *const telemetry_inject_names[] = {
#define TELEMETRY_NAME(name, help) #name,
	TP_LINK_FAULT_STAT_LIST(TELEMETRY_NAME)
#undef TELEMETRY_NAME
};
static_assert(RTE_DIM(telemetry_inject_names) == INJECT_STATS, "one list");

/* All 0 where no faults may be injected. */
static int
telemetry_inject(const char *cmd, const char *params, struct rte_tel_data *data)
{
	uint64_t sums[INJECT_STATS];
	struct tp_node *node;
	unsigned int i;

	rte_tel_data_start_dict(data);
	pthread_mutex_lock(&telemetry_lock);
	node = telemetry_find(params);
	if (node != NULL)
		inject_stats_sum(node->control, sums);
	for (i = 0; node != NULL && i < INJECT_STATS; i++)
		rte_tel_data_add_dict_u64(data, telemetry_inject_names[i], sums[i]);
	pthread_mutex_unlock(&telemetry_lock);
	return node == NULL ? -ENOENT : 0;
}

/* What the workers hold now: all 0 at rest but the slots, which hold pages. */
static void
telemetry_usage_fill(struct tp_node *node, struct rte_tel_data *data)
{
	struct tp_coherence_usage pages = { 0 };
	struct tp_worker_usage rings = { 0 };
	uint16_t w;

	for (w = 0; w < node->config.workers; w++) {
		const struct tp_worker *worker = tp_control_worker(node->control, w);
		struct tp_coherence_usage engine;
		struct tp_worker_usage own;

		tp_coherence_usage_get(tp_worker_coherence(worker), &engine);
		tp_worker_usage_get(worker, &own);
		pages.requests += engine.requests;
		pages.waiters += engine.waiters;
		pages.busy += engine.busy;
		pages.deferred += engine.deferred;
		pages.home_slots += engine.home_slots;
		pages.cache_slots += engine.cache_slots;
		pages.quarantined += engine.quarantined;
		rings.requests += own.requests;
		rings.stashed += own.stashed;
		rings.guard_waits += own.guard_waits;
	}
	rte_tel_data_add_dict_u64(data, "client_requests", rings.requests);
	rte_tel_data_add_dict_u64(data, "stashed", rings.stashed);
	rte_tel_data_add_dict_u64(data, "guard_waits", rings.guard_waits);
	rte_tel_data_add_dict_u64(data, "requests", pages.requests);
	rte_tel_data_add_dict_u64(data, "waiters", pages.waiters);
	rte_tel_data_add_dict_u64(data, "busy", pages.busy);
	rte_tel_data_add_dict_u64(data, "deferred", pages.deferred);
	rte_tel_data_add_dict_u64(data, "quarantined", pages.quarantined);
	rte_tel_data_add_dict_u64(data, "home_slots", pages.home_slots);
	rte_tel_data_add_dict_u64(data, "cache_slots", pages.cache_slots);
}

static int
telemetry_usage(const char *cmd, const char *params, struct rte_tel_data *data)
{
	struct tp_node *node;

	rte_tel_data_start_dict(data);
	pthread_mutex_lock(&telemetry_lock);
	node = telemetry_find(params);
	if (node != NULL)
		telemetry_usage_fill(node, data);
	pthread_mutex_unlock(&telemetry_lock);
	return node == NULL ? -ENOENT : 0;
}

static const char *const telemetry_pmem_names[] = {
#define TELEMETRY_NAME(name, help) #name,
	KEEPER_STAT_LIST(TELEMETRY_NAME)
#undef TELEMETRY_NAME
};
static_assert(RTE_DIM(telemetry_pmem_names) == sizeof(struct keeper_stats) / sizeof(uint64_t),
	"one list");

/* All 0 where there is no pool. */
static int
telemetry_pmem(const char *cmd, const char *params, struct rte_tel_data *data)
{
	struct tp_node *node;
	unsigned int i;

	rte_tel_data_start_dict(data);
	pthread_mutex_lock(&telemetry_lock);
	node = telemetry_find(params);
	for (i = 0; node != NULL && i < RTE_DIM(telemetry_pmem_names); i++) {
		_Atomic uint64_t *stats = node->control->keeper == NULL ? NULL :
			(_Atomic uint64_t *)keeper_stats_get(node->control->keeper);

		rte_tel_data_add_dict_u64(data, telemetry_pmem_names[i], stats == NULL ? 0 :
			atomic_load_explicit(&stats[i], memory_order_relaxed));
	}
	pthread_mutex_unlock(&telemetry_lock);
	return node == NULL ? -ENOENT : 0;
}

int
node_telemetry_add(struct tp_node *node)
{
	int ret = -ENOSPC;
	int i;

	pthread_mutex_lock(&telemetry_lock);
	for (i = 0; i < TELEMETRY_NODES_MAX && ret != 0; i++) {
		if (telemetry_nodes[i] != NULL)
			continue;
		telemetry_nodes[i] = node;
		ret = 0;
	}
	pthread_mutex_unlock(&telemetry_lock);
	return ret;
}

void
node_telemetry_remove(struct tp_node *node)
{
	int i;

	pthread_mutex_lock(&telemetry_lock);
	for (i = 0; i < TELEMETRY_NODES_MAX; i++)
		if (telemetry_nodes[i] == node)
			telemetry_nodes[i] = NULL;
	pthread_mutex_unlock(&telemetry_lock);
}

RTE_INIT(node_telemetry_init)
{
	rte_telemetry_register_cmd("/tp/node", telemetry_node,
		"State and counters of a node. Parameter: node id, if there are several");
	rte_telemetry_register_cmd("/tp/node/usage", telemetry_usage,
		"What a node's workers have under way, summed. Parameter: node id");
	rte_telemetry_register_cmd("/tp/fabric/stats", telemetry_fabric,
		"Counters of a node's endpoints, summed. Parameter: node id");
	rte_telemetry_register_cmd("/tp/pmem/stats", telemetry_pmem,
		"What a node's pool was made to keep. Parameter: node id");
	rte_telemetry_register_cmd("/tp/inject/stats", telemetry_inject,
		"What injected faults did to a node's frames. Parameter: node id");
	rte_telemetry_register_cmd("/tp/coherence/stats", telemetry_coherence,
		"Counters of a node's coherence engines and workers, summed. Parameter: node id");
}
