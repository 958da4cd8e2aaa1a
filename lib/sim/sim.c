/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The simulated cluster: made, disturbed, destroyed. Owner: the program's thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_common.h>
#include <rte_errno.h>

#include "sim_priv.h"

#define SIM_DELAY_NS (2 * SIM_US)
#define SIM_PPM 1000000u

TP_LOG_REGISTER(sim);

static bool
network_is_valid(const struct tp_sim_network *network)
{
	return network->loss_ppm <= SIM_PPM && network->duplicate_ppm <= SIM_PPM &&
		network->corrupt_ppm <= SIM_PPM;
}

int
tp_sim_network_set(struct tp_sim *sim, const struct tp_sim_network *network)
{
	struct sim_faults *faults = sim_net_faults(sim->net);

	if (!network_is_valid(network))
		return -EINVAL;
	sim->config.network = *network;
	faults->delay_ns = network->delay_ns != 0 ? network->delay_ns : SIM_DELAY_NS;
	faults->jitter_ns = network->jitter_ns;
	faults->loss_ppm = network->loss_ppm;
	faults->duplicate_ppm = network->duplicate_ppm;
	faults->corrupt_ppm = network->corrupt_ppm;
	return 0;
}

struct tp_sim *
tp_sim_create(const struct tp_sim_config *config)
{
	struct tp_sim *sim;

	if (config != NULL && !network_is_valid(&config->network)) {
		rte_errno = EINVAL;
		return NULL;
	}
	sim = calloc(1, sizeof(*sim));
	if (sim == NULL) {
		rte_errno = ENOMEM;
		return NULL;
	}
	if (config != NULL)
		sim->config = *config;
	LIST_INIT(&sim->clients);
	sim->net = sim_net_create(sim->config.seed, NULL);
	sim->store = sim_store_create();
	if (sim->net == NULL || sim->store == NULL) {
		tp_sim_destroy(sim);
		rte_errno = ENOMEM;
		return NULL;
	}
	tp_sim_network_set(sim, &sim->config.network);
	sim->now = SIM_START_NS;
	sim_net_set_now(sim->net, sim->now);
	atomic_store_explicit(&sim->tsc, sim->now, memory_order_relaxed);
	return sim;
}

void
tp_sim_destroy(struct tp_sim *sim)
{
	struct sim_client *client;
	uint32_t n;

	if (sim == NULL)
		return;
	while ((client = LIST_FIRST(&sim->clients)) != NULL)
		tp_client_detach(client->client);
	for (n = 1; n <= sim->node_count; n++)
		sim_node_free(&sim->nodes[n]);
	sim_net_destroy(sim->net);
	sim_store_destroy(sim->store);
	free(sim);
}

struct sim_node *
sim_node_find(struct tp_sim *sim, unsigned int node)
{
	return node >= 1 && node <= sim->node_count ? &sim->nodes[node] : NULL;
}

static bool
node_config_init(const struct tp_sim_node_config *from, struct tp_sim_node_config *config)
{
	uint32_t page_bytes;

	if (from != NULL)
		*config = *from;
	config->workers = config->workers != 0 ? config->workers : 1;
	config->page_bytes = config->page_bytes != 0 ? config->page_bytes : 4096;
	config->home_bytes = config->home_bytes != 0 ? config->home_bytes : 2 << 20;
	config->cache_bytes = config->cache_bytes != 0 ? config->cache_bytes : 1 << 20;
	config->heap_bytes = config->heap_bytes != 0 ? config->heap_bytes : 256 << 10;
	config->pool_bytes = config->pool_bytes != 0 ? config->pool_bytes : 64 << 20;
	page_bytes = config->page_bytes;
	return config->workers <= TP_SIM_WORKERS_MAX && rte_is_power_of_2(page_bytes) &&
		config->home_bytes / page_bytes <= UINT32_MAX &&
		config->cache_bytes / page_bytes <= UINT32_MAX;
}

/* What every cable does: those of nodes that are offline carry nothing. */
static void
network_cables_set(struct tp_sim *sim, unsigned int from, unsigned int to)
{
	const struct sim_node *a = &sim->nodes[from], *b = &sim->nodes[to];
	bool cut = a->offline || b->offline || sim->cut[from][to];
	uint16_t v, w;

	for (v = 0; v < a->config.workers && a->links[v] != NULL; v++)
		for (w = 0; w < b->config.workers && b->links[w] != NULL; w++)
			sim_net_cut(sim->net, sim_link_port(a->links[v]),
				sim_link_port(b->links[w]), cut);
}

static int
node_offline_set(struct tp_sim *sim, unsigned int number, bool offline)
{
	struct sim_node *node = sim_node_find(sim, number);
	uint32_t n;

	if (node == NULL)
		return -ENOENT;
	node->offline = offline;
	for (n = 1; n <= sim->node_count; n++) {
		if (n == number)
			continue;
		network_cables_set(sim, number, n);
		network_cables_set(sim, n, number);
	}
	return 0;
}

int
tp_sim_node_add(struct tp_sim *sim, const struct tp_sim_node_config *config)
{
	uint32_t number = sim->node_count + 1;
	struct sim_node *node = &sim->nodes[number];
	uint32_t n;
	int ret;

	if (number > TP_SIM_NODES_MAX)
		return -ENOSPC;
	*node = (struct sim_node){ .sim = sim, .id = (uint16_t)number, .wake_at = UINT64_MAX };
	if (!node_config_init(config, &node->config))
		return -EINVAL;
	if (node->config.pool_path != NULL) {
		if (strlen(node->config.pool_path) >= sizeof(node->pool_path))
			return -EINVAL;
		strcpy(node->pool_path, node->config.pool_path);
		node->config.pool_path = node->pool_path;
	}
	ret = sim_node_boot(node);
	if (ret < 0) {
		sim_node_free(node);
		return ret;
	}
	sim->node_count = number;
	for (n = 1; n < number; n++)
		if (sim->nodes[n].offline)
			node_offline_set(sim, n, true);
	ret = sim_node_await(node);
	return ret < 0 ? ret : (int)number;
}

int
tp_sim_node_offline(struct tp_sim *sim, unsigned int node)
{
	return node_offline_set(sim, node, true);
}

int
tp_sim_node_online(struct tp_sim *sim, unsigned int node)
{
	return node_offline_set(sim, node, false);
}

int
tp_sim_node_crash(struct tp_sim *sim, unsigned int number)
{
	struct sim_node *node = sim_node_find(sim, number);

	if (node == NULL || node->control == NULL)
		return -ENOENT;
	sim_node_kill(node);
	return 0;
}

int
tp_sim_node_restart(struct tp_sim *sim, unsigned int number)
{
	struct sim_node *node = sim_node_find(sim, number);
	int ret;

	if (node == NULL)
		return -ENOENT;
	if (node->control != NULL)
		return -EALREADY;
	ret = sim_node_boot(node);
	return ret < 0 ? ret : sim_node_await(node);
}

static int
node_pause_set(struct tp_sim *sim, unsigned int number, bool paused)
{
	struct sim_node *node = sim_node_find(sim, number);

	if (node == NULL || node->control == NULL)
		return -ENOENT;
	node->paused = paused;
	sim_wake(node, sim->now);
	return 0;
}

int
tp_sim_node_pause(struct tp_sim *sim, unsigned int node)
{
	return node_pause_set(sim, node, true);
}

int
tp_sim_node_resume(struct tp_sim *sim, unsigned int node)
{
	return node_pause_set(sim, node, false);
}

static int
partition_set(struct tp_sim *sim, unsigned int from, unsigned int to, bool cut)
{
	if (sim_node_find(sim, from) == NULL || sim_node_find(sim, to) == NULL)
		return -ENOENT;
	if (from == to)
		return -EINVAL;
	sim->cut[from][to] = cut;
	network_cables_set(sim, from, to);
	return 0;
}

int
tp_sim_partition(struct tp_sim *sim, unsigned int from, unsigned int to, bool one_way)
{
	int ret = partition_set(sim, from, to, true);

	return ret < 0 || one_way ? ret : partition_set(sim, to, from, true);
}

int
tp_sim_heal(struct tp_sim *sim, unsigned int a, unsigned int b)
{
	int ret = partition_set(sim, a, b, false);

	return ret < 0 ? ret : partition_set(sim, b, a, false);
}

int
tp_sim_store_cut(struct tp_sim *sim, unsigned int number, bool cut)
{
	struct sim_node *node = sim_node_find(sim, number);

	if (node == NULL)
		return -ENOENT;
	sim_store_cut(node->store, cut);
	return 0;
}
