/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Nodes for benchmarks: embedded in the process that polls them, with a client
 * of the same process or open to attached ones.
 */
#ifndef BENCH_CLUSTER_H
#define BENCH_CLUSTER_H

#include "bench.h"
#include "tp_client.h"
#include "tp_node.h"

#define BENCH_NODE_ASKER 1
#define BENCH_NODE_HOME 2

struct bench_node_config {
	uint16_t id;			/* BENCH_NODE_* */
	const char *device;		/* ethdev port */
	uint32_t home_mib;
	uint32_t cache_mib;
	uint32_t link_mbit;		/* 0: pages go as they are */
	uint32_t codec_base_mib;	/* 0: the default */
	uint8_t codec_only;		/* as struct tp_node_config has it */
	bool attach;			/* open a socket for other processes */
};

/* Owner: the process that opened it, on its main lcore. */
struct bench_node {
	struct tp_node *node;
	struct tp_node_client slot;
	struct tp_client *client;	/* inside this process; NULL without one */
};

/** Path of a node's socket. */
void bench_node_socket_path(const struct bench *bench, uint16_t id, char *path, size_t path_bytes);

/** Address of a node, host order. */
uint32_t bench_node_ip(uint16_t id);

/** Start a node; EAL runs and has the port. 0, or -errno. */
int bench_node_open(struct bench_node *node, struct bench *bench,
		    const struct bench_node_config *config);

/** Poll until it serves. 0, or -ETIMEDOUT. */
int bench_node_await(struct bench_node *node);

/** Attach a client inside this process. 0, or -errno. */
int bench_node_client_open(struct bench_node *node);

/** Detach the client if there is one, leave the cluster. May be called on a zeroed one. */
void bench_node_close(struct bench_node *node);

#endif /* BENCH_CLUSTER_H */
