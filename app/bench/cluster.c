/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Nodes for benchmarks. Their store is a folder in memory, so that renewing a
 * lease never waits for a disk; the guard process removes it.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include <rte_errno.h>

#include "cluster.h"

#define CLUSTER_NET 0x0a540000u		/* 10.84.0.0, in a namespace or on memif */
#define CLUSTER_READY_NS UINT64_C(10000000000)
#define CLUSTER_PATIENCE 10u
#define CLUSTER_STOP_NS UINT64_C(1000000000)
#define CLUSTER_THREADS 2

void
bench_node_socket_path(const struct bench *bench, uint16_t id, char *path, size_t path_bytes)
{
	snprintf(path, path_bytes, BENCH_FOLDER "/node%u.sock", bench->prefix, id);
}

static int
node_config_fill(const struct bench *bench, const struct bench_node_config *from,
		 struct tp_node_config *config)
{
	char folder[64];

	snprintf(folder, sizeof(folder), BENCH_FOLDER, bench->prefix);
	if (mkdir(folder, 0700) < 0 && errno != EEXIST)
		return -errno;
	tp_node_config_init(config);
	config->id = from->id;
	snprintf(config->store, sizeof(config->store), "file:%s/store", folder);
	config->node_id_max = 8;
	config->home_mib = from->home_mib;
	config->cache_mib = from->cache_mib;
	config->heap_mib = 0;
	config->huge_pages = bench->hugepages > 0;
	/*
	 * While raw frames are measured nobody polls the nodes: on a machine that is not
	 * quiet they would take each other for dead. Deaths are measured with telepaged.
	 */
	config->lease_ms *= CLUSTER_PATIENCE;
	config->fence_margin_ms *= CLUSTER_PATIENCE;
	config->peer_timeout_ms *= CLUSTER_PATIENCE;
	config->port_count = 1;
	snprintf(config->ports[0].device, sizeof(config->ports[0].device), "%s", from->device);
	config->ports[0].ip = CLUSTER_NET + from->id;
	config->ports[0].mtu = bench_mtu(bench);
	config->ports[0].link_mbit = from->link_mbit;
	config->codec_only = from->codec_only;
	if (from->codec_base_mib != 0)
		config->codec_base_mib = from->codec_base_mib;
	config->attach = from->attach;
	if (from->attach)
		bench_node_socket_path(bench, from->id, config->socket_path,
				       sizeof(config->socket_path));
	return 0;
}

uint32_t
bench_node_ip(uint16_t id)
{
	return CLUSTER_NET + id;
}

int
bench_node_open(struct bench_node *node, struct bench *bench,
		const struct bench_node_config *from)
{
	struct tp_node_config config;
	int ret;

	*node = (struct bench_node){ 0 };
	ret = node_config_fill(bench, from, &config);
	if (ret < 0)
		return ret;
	node->node = tp_node_create(&config);
	if (node->node != NULL)
		return 0;
	ret = -rte_errno;
	fprintf(stderr, "telepage-bench: node %u does not start: %s\n", from->id, strerror(-ret));
	return ret;
}

int
bench_node_await(struct bench_node *node)
{
	uint64_t deadline = tp_node_now(node->node) + CLUSTER_READY_NS;

	while (!tp_node_is_ready(node->node)) {
		tp_node_poll(node->node);
		if (tp_node_now(node->node) > deadline)
			return -ETIMEDOUT;
	}
	return 0;
}

static void
node_client_poll(void *ctx)
{
	struct bench_node *node = ctx;

	tp_node_poll(node->node);
}

static void
node_client_hint(void *ctx, uint32_t worker, uint32_t region_id, uint32_t page_index)
{
	struct bench_node *node = ctx;

	tp_node_page_hint(node->node, worker, region_id, page_index);
}

static int
node_client_control(void *ctx, const struct tp_control_request *request,
		    struct tp_control_response *response, int *fds, unsigned int fd_max)
{
	struct bench_node *node = ctx;

	return tp_node_call(node->node, node->slot.id, request, response, fds, fd_max);
}

int
bench_node_client_open(struct bench_node *node)
{
	struct tp_client_backend backend = {
		.control = node_client_control,
		.poll = node_client_poll,
		.hint = node_client_hint,
		.ctx = node,
	};
	int ret;

	ret = tp_node_client_add(node->node, CLUSTER_THREADS, &node->slot);
	if (ret < 0)
		return ret;
	backend.node = node->slot.node;
	backend.slots = node->slot.slots;
	backend.slot_bytes_total = node->slot.slots_bytes;
	backend.segment = node->slot.segment;
	return tp_client_attach_backend(&backend, &node->client);
}

void
bench_node_close(struct bench_node *node)
{
	if (node->node == NULL)
		return;
	if (node->client != NULL) {
		tp_client_detach(node->client);
		tp_node_client_remove(node->node, node->slot.id);
	}
	tp_node_stop(node->node, CLUSTER_STOP_NS);
	tp_node_destroy(node->node);
	*node = (struct bench_node){ 0 };
}
