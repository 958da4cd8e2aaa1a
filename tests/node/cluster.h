/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Whole nodes in one process, in virtual time, over the simulated network of
 * lib/sim and a file store in a directory of its own. Clients use
 * lib/client; while one waits, the cluster goes on. Included by tests that link
 * the real libraries.
 */
#ifndef NODE_TEST_CLUSTER_H
#define NODE_TEST_CLUSTER_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control_priv.h"
#include "sim_link.h"
#include "tp_access.h"
#include "tp_client.h"
#include "tp_store.h"

#define CLUSTER_NODES 3
#define CLUSTER_STEP_NS UINT64_C(10000)
#define CLUSTER_MS UINT64_C(1000000)

struct cluster_node {
	struct tp_control *control;	/* NULL: not running */
	struct tp_store *store;
	struct tp_link *link;		/* its workers share it: one thread polls them */
	uint16_t workers;
	bool paused;			/* not polled */
	bool control_paused;		/* workers go on alone */
};

struct cluster {
	struct sim_net *net;
	struct sim_faults faults;
	char directory[64];
	uint64_t now;
	_Atomic uint64_t tsc;
	uint16_t workers;
	uint32_t cache_slots;
	bool inject;		/* faults may be injected */
	uint64_t peer_timeout_ns;	/* of nodes started from now on; 0: as usual */
	uint64_t lease_ns;		/* the same */
	bool short_of_room;	/* frames and stash as small as they can be */
	uint32_t link_ns_per_kib;	/* 0: pages go as they are */
	bool frame_crc;
	uint16_t mtu;			/* 0: 9000 */
	bool link_measured;		/* link_ns_per_kib is found out */
	uint32_t base_slots;		/* 0: never as changes */
	const char *pool_path;		/* of node 1; NULL: no node has a pool */
	struct cluster_node nodes[CLUSTER_NODES + 1];	/* by id */
};

struct cluster_client {
	struct cluster *cluster;
	uint16_t node;
	int id;
	struct tp_client *client;
	struct tp_thread *thread;
};

static inline void
cluster_step(struct cluster *cluster)
{
	uint16_t id;
	uint16_t w;

	cluster->now += CLUSTER_STEP_NS;
	atomic_store(&cluster->tsc, cluster->now);
	sim_net_set_now(cluster->net, cluster->now);
	for (id = 1; id <= CLUSTER_NODES; id++) {
		struct cluster_node *node = &cluster->nodes[id];

		if (node->control == NULL || node->paused)
			continue;
		if (!node->control_paused)
			tp_control_poll(node->control, cluster->now);
		for (w = 0; w < node->workers; w++)
			tp_worker_poll(tp_control_worker(node->control, w), cluster->now);
	}
}

static inline void
cluster_run(struct cluster *cluster, uint64_t ns)
{
	uint64_t until = cluster->now + ns;

	while (cluster->now < until)
		cluster_step(cluster);
}

static void
cluster_poll(void *ctx)
{
	cluster_step(((struct cluster_client *)ctx)->cluster);
}

static void
cluster_steer(void *ctx, uint16_t from, uint8_t to, struct tp_frame *frame)
{
	struct tp_control *control = *(struct tp_control **)ctx;

	tp_worker_rx_frame(tp_control_worker(control, to), frame, control->now);
}

/* Of the simulated nodes, which have no clock to time codecs by. */
static const struct tp_codec_cost codec_costs[TP_CODEC_COUNT] = {
	[TP_CODEC_RAW] = { 0, 60, 4096 },
	[TP_CODEC_SAME] = { 30, 60, 16 },
	[TP_CODEC_DELTA] = { 40, 80, 27 },
	[TP_CODEC_DELTA_LZ4] = { 50, 90, 27 },
	[TP_CODEC_LZ4] = { 700, 300, 40 },
	[TP_CODEC_DEFLATE] = { 5000, 2000, 60 },
};

static inline void
cluster_node_start(struct cluster *cluster, uint16_t id)
{
	struct cluster_node *node = &cluster->nodes[id];
	struct tp_control_config config = {
		.node_id = id,
		.node_id_max = 8,
		.worker_count = cluster->nodes[id].workers,
		.link_count = 1,
		.clock = { .tsc_hz = 1000000000 },
		.steer = cluster_steer,
		.steer_ctx = &node->control,
		.inject = cluster->inject,
		.peer_timeout_ns = cluster->peer_timeout_ns,
		.lease_ns = cluster->lease_ns,
		.page_bytes = 4096,
		.home_slots = 256,
		.cache_slots = cluster->cache_slots,
		.heap_bytes = 1 << 20,
		.tx_frames = cluster->short_of_room ? TP_ENDPOINT_TX_FRAMES_MIN : 0,
		.no_join = cluster->short_of_room,
		.stash_count = cluster->short_of_room ? 2 : 0,
		.link_ns_per_kib = { cluster->link_ns_per_kib },
		.link_measured = { cluster->link_measured },
		.frame_crc = cluster->frame_crc,
		.base_slots = cluster->base_slots,
		.pool_path = id == 1 ? cluster->pool_path : NULL,
		.pool_bytes = 48 << 20,
		.codec_costs = codec_costs,
		.seed = 1,
	};
	char url[80];
	uint16_t w;

	snprintf(url, sizeof(url), "file:%s", cluster->directory);
	node->store = tp_store_open(url);
	assert_non_null(node->store);
	config.store = node->store;
	node->link = sim_net_link(cluster->net, cluster->mtu != 0 ? cluster->mtu : 9000, 0);
	for (w = 0; w < node->workers; w++)
		config.links[w][0] = (struct tp_endpoint_link){
			.link = node->link,
			.ip = 0x0a000000u + id,
		};
	node->control = tp_control_create(&config, cluster->now);
	assert_non_null(node->control);
	node->paused = false;
}

/* Gone between two instructions: nobody is told. */
static inline void
cluster_node_kill(struct cluster *cluster, uint16_t id)
{
	struct cluster_node *node = &cluster->nodes[id];

	tp_control_destroy(node->control);
	node->control = NULL;
	sim_link_unplug(node->link);
	tp_store_close(node->store);
}

/* Run until the node is a member; fails after a second. */
static inline void
cluster_node_await(struct cluster *cluster, uint16_t id)
{
	uint64_t until = cluster->now + 1000 * CLUSTER_MS;

	while (!tp_control_is_settled(cluster->nodes[id].control) ||
	       tp_control_lease_until(cluster->nodes[id].control) <= cluster->now) {
		assert_true(cluster->now < until);
		cluster_step(cluster);
	}
}

/* What is filled in already is of the caller's choice; workers: of node 1, and of the others. */
static inline struct cluster *
cluster_begin(struct cluster *cluster, const uint16_t workers[2])
{
	uint16_t id;

	cluster->now = 1000 * CLUSTER_MS;
	cluster->workers = RTE_MAX(workers[0], workers[1]);
	cluster->faults.delay_ns = 5000;
	strcpy(cluster->directory, "/tmp/tp_node_test_XXXXXX");
	assert_non_null(mkdtemp(cluster->directory));
	cluster->net = sim_net_create(1, &cluster->faults);
	for (id = 1; id <= CLUSTER_NODES; id++) {
		cluster->nodes[id].workers = workers[id != 1];
		cluster_node_start(cluster, id);
	}
	for (id = 1; id <= CLUSTER_NODES; id++)
		cluster_node_await(cluster, id);
	return cluster;
}

static inline struct cluster *
cluster_create_any(const uint16_t workers[2], uint32_t cache_slots, bool inject)
{
	struct cluster *cluster = calloc(1, sizeof(*cluster));

	assert_non_null(cluster);
	cluster->cache_slots = cache_slots;
	cluster->inject = inject;
	return cluster_begin(cluster, workers);
}

/* Nodes that are patient with those that are silent. */
static inline struct cluster *
cluster_create_patient(uint64_t peer_timeout_ns, uint64_t lease_ns)
{
	struct cluster *cluster = calloc(1, sizeof(*cluster));

	assert_non_null(cluster);
	cluster->cache_slots = 16;
	cluster->peer_timeout_ns = peer_timeout_ns;
	cluster->lease_ns = lease_ns;
	return cluster_begin(cluster, (const uint16_t[]){ 1, 1 });
}

static inline struct cluster *
cluster_create_mixed(const uint16_t workers[2], uint32_t cache_slots)
{
	return cluster_create_any(workers, cache_slots, false);
}

static inline struct cluster *
cluster_create(uint16_t workers, uint32_t cache_slots)
{
	return cluster_create_any((const uint16_t[]){ workers, workers }, cache_slots, false);
}

static inline void
cluster_destroy(struct cluster *cluster)
{
	char command[100];
	uint16_t id;

	for (id = 1; id <= CLUSTER_NODES; id++)
		if (cluster->nodes[id].control != NULL)
			cluster_node_kill(cluster, id);
	sim_net_destroy(cluster->net);
	snprintf(command, sizeof(command), "rm -rf %s", cluster->directory);
	assert_int_equal(system(command), 0);
	free(cluster);
}

static int
cluster_control(void *ctx, const struct tp_control_request *request,
	struct tp_control_response *response, int *fds, unsigned int fd_max)
{
	struct cluster_client *client = ctx;
	struct tp_control *control = client->cluster->nodes[client->node].control;
	int call = tp_control_call(control, client->id, request, client->cluster->now);
	unsigned int i;
	int ret;

	if (call < 0)
		return call;
	while ((ret = tp_control_call_result(control, call, response, fds, fd_max)) ==
	       -EINPROGRESS)
		cluster_step(client->cluster);
	if (ret < 0)
		return ret;
	for (i = 0; i < response->fd_count; i++)
		fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
	return 0;
}

static inline void
cluster_attach(struct cluster *cluster, uint16_t node, struct cluster_client *client)
{
	struct tp_control *control = cluster->nodes[node].control;
	struct tp_client_backend backend = {
		.node = tp_control_abi_node(control),
		.control = cluster_control,
		.poll = cluster_poll,
		.ctx = client,
		.virtual_tsc = &cluster->tsc,
		.timeout_ns = 2000 * CLUSTER_MS,
	};
	uint64_t bytes;

	client->cluster = cluster;
	client->node = node;
	client->id = tp_control_client_add(control, 2, cluster->now);
	assert_true(client->id >= 0);
	backend.slots = tp_control_slots(control, &bytes);
	backend.slot_bytes_total = bytes;
	backend.segment = tp_control_client_segment(control, client->id);
	assert_int_equal(tp_client_attach_backend(&backend, &client->client), 0);
	assert_int_equal(tp_thread_register(client->client, &client->thread), 0);
	cluster_step(cluster);
}

static inline void
cluster_detach(struct cluster_client *client)
{
	struct cluster_node *node = &client->cluster->nodes[client->node];

	tp_client_detach(client->client);
	if (node->control != NULL)
		tp_control_client_remove(node->control, client->id, client->cluster->now);
	cluster_run(client->cluster, CLUSTER_MS);
}

#endif /* NODE_TEST_CLUSTER_H */
