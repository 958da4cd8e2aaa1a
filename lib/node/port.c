/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Ports of a node: started on the main lcore, then each queue is one worker's.
 *
 * Worker w uses queue w of every port. A frame for another worker (the port
 * spreads them as it likes) goes to that worker over a ring. Where a port has
 * too few queues the last workers have none: the others receive for them, and
 * worker 0 sends what they hand it over a ring.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_ethdev.h>
#include <rte_errno.h>
#include <rte_mbuf.h>

#include "node_priv.h"
#include "tp_link_fault.h"

#define NODE_DESCRIPTORS 512u

static struct node_ring_link *
ring_link_of(struct tp_link *link)
{
	return (struct node_ring_link *)link;
}

static uint32_t
ring_link_rx_burst(struct tp_link *link, struct tp_frame *frames, uint32_t n)
{
	/* What comes in goes over the steering ring: node_port_rings_poll(). */
	return 0;
}

static uint32_t
ring_link_tx_burst(struct tp_link *link, struct tp_frame *frames, uint32_t n)
{
	struct node_ring_link *ring = ring_link_of(link);
	uint32_t i;

	for (i = 0; i < n && node_ring_push(&ring->tx, &frames[i]); i++)
		;
	node_wake_worker(ring->node, 0);
	return i;
}

static uint32_t
ring_link_tx_alloc(struct tp_link *link, struct tp_frame *frames, uint32_t n)
{
	struct tp_link *ethdev = ring_link_of(link)->ethdev;

	return ethdev->ops->tx_alloc(ethdev, frames, n);
}

static void
ring_link_frame_ref(struct tp_link *link, struct tp_frame *frame)
{
	struct tp_link *ethdev = ring_link_of(link)->ethdev;

	ethdev->ops->frame_ref(ethdev, frame);
}

static void
ring_link_frame_free(struct tp_link *link, struct tp_frame *frame)
{
	struct tp_link *ethdev = ring_link_of(link)->ethdev;

	ethdev->ops->frame_free(ethdev, frame);
}

static bool
ring_link_frame_shared(struct tp_link *link, const struct tp_frame *frame)
{
	struct tp_link *ethdev = ring_link_of(link)->ethdev;

	return ethdev->ops->frame_shared(ethdev, frame);
}

static void
ring_link_destroy(struct tp_link *link)
{
	struct node_ring_link *ring = ring_link_of(link);
	struct tp_frame frame;

	if (ring->tx.items == NULL)
		return;
	while (node_ring_pop(&ring->tx, &frame))
		tp_frame_free(&frame);
	node_ring_fini(&ring->tx);
}

static const struct tp_link_ops ring_link_ops = {
	.rx_burst = ring_link_rx_burst,
	.tx_burst = ring_link_tx_burst,
	.tx_alloc = ring_link_tx_alloc,
	.frame_ref = ring_link_frame_ref,
	.frame_free = ring_link_frame_free,
	.frame_shared = ring_link_frame_shared,
	.destroy = ring_link_destroy,
};

static int
ring_link_init(struct node_ring_link *ring, struct tp_node *node, struct tp_link *ethdev)
{
	ring->link = *ethdev;
	ring->link.ops = &ring_link_ops;
	ring->ethdev = ethdev;
	ring->node = node;
	return node_ring_init(&ring->tx, NODE_STEER_FRAMES, sizeof(struct tp_frame));
}

/* Buffers for all that may hold one: endpoints, descriptors, rings. */
static int
port_pool_create(struct tp_node *node, struct node_port *port, uint16_t index)
{
	uint16_t workers = node->config.workers;
	uint32_t frames = workers * (node->config.tx_frames + node->config.rx_frames +
		2 * NODE_STEER_FRAMES + TP_PORT_POOL_CACHE +
		(node->config.inject ? 2 * TP_LINK_FAULT_HELD_MAX : 0)) +
		port->queues * 2 * NODE_DESCRIPTORS + 64;
	char name[RTE_MEMPOOL_NAMESIZE];

	snprintf(name, sizeof(name), "tp_node%u_port%u", node->config.id, index);
	port->pool = tp_port_pool_create(name, port->port, port->queues, port->mtu, frames);
	if (port->pool == NULL) {
		TP_NODE_LOG(ERR, "no memory for %u buffers of port %s: %s", frames,
			node->config.ports[index].device, rte_strerror(rte_errno));
		return -rte_errno;
	}
	return 0;
}

static int
port_links_create(struct tp_node *node, struct node_port *port)
{
	uint16_t w;
	int ret;

	for (w = 0; w < node->config.workers; w++) {
		uint16_t queue = port->queues > w ? w : 0;

		port->links[w] = tp_link_ethdev_create(port->port, queue, queue, port->pool);
		if (port->links[w] == NULL)
			return -rte_errno;
		if (queue == w)
			continue;
		ret = ring_link_init(&port->rings[w], node, port->links[w]);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int
port_start(struct tp_node *node, uint16_t index)
{
	const struct tp_node_port_config *config = &node->config.ports[index];
	struct node_port *port = &node->ports[index];
	struct rte_mempool *pools[TP_ABI_WORKERS_MAX];
	struct rte_eth_dev_info info;
	struct tp_port_config start = {
		.mtu = config->mtu,
		.rx_descriptors = NODE_DESCRIPTORS,
		.tx_descriptors = NODE_DESCRIPTORS,
		.pools = pools,
	};
	uint16_t q;
	int ret;

	ret = rte_eth_dev_get_port_by_name(config->device, &port->port);
	if (ret < 0) {
		TP_NODE_LOG(ERR, "there is no port %s", config->device);
		return -ENODEV;
	}
	ret = rte_eth_dev_info_get(port->port, &info);
	if (ret < 0)
		return ret;
	port->mtu = config->mtu;
	port->queues = RTE_MIN(node->config.workers, RTE_MIN(info.max_rx_queues,
		info.max_tx_queues));
	if (config->queues != 0)
		port->queues = RTE_MIN(port->queues, config->queues);
	if (port->queues == 0)
		return -ENODEV;
	ret = port_pool_create(node, port, index);
	if (ret < 0)
		return ret;
	for (q = 0; q < port->queues; q++)
		pools[q] = port->pool;
	start.port = port->port;
	start.queues = port->queues;
	ret = tp_port_start(&start, &port->mtu);
	if (ret < 0) {
		TP_NODE_LOG(ERR, "port %s does not start: %s", config->device, strerror(-ret));
		return ret;
	}
	port->started = true;
	TP_NODE_LOG(INFO, "port %s: mtu %u, %u queues for %u workers", config->device, port->mtu,
		port->queues, node->config.workers);
	return port_links_create(node, port);
}

int
node_ports_start(struct tp_node *node)
{
	uint32_t pairs = (uint32_t)node->config.workers * node->config.workers;
	uint32_t i;
	int ret;

	node->steer = aligned_alloc(64, pairs * sizeof(*node->steer));
	if (node->steer == NULL)
		return -ENOMEM;
	memset(node->steer, 0, pairs * sizeof(*node->steer));
	for (i = 0; i < pairs; i++) {
		ret = node_ring_init(&node->steer[i], NODE_STEER_FRAMES, sizeof(struct tp_frame));
		if (ret < 0)
			return ret;
	}
	for (i = 0; i < node->config.port_count; i++) {
		node->port_count = (uint16_t)(i + 1);
		ret = port_start(node, (uint16_t)i);
		if (ret < 0)
			return ret;
	}
	return 0;
}

/* After the workers are gone: every frame is back or in a ring. */
void
node_ports_stop(struct tp_node *node)
{
	uint32_t pairs = (uint32_t)node->config.workers * node->config.workers;
	struct tp_frame frame;
	uint32_t i;
	uint16_t w;

	for (i = 0; node->steer != NULL && i < pairs; i++) {
		if (node->steer[i].items == NULL)
			continue;
		while (node_ring_pop(&node->steer[i], &frame))
			tp_frame_free(&frame);
		node_ring_fini(&node->steer[i]);
	}
	free(node->steer);
	node->steer = NULL;
	for (i = 0; i < node->port_count; i++) {
		struct node_port *port = &node->ports[i];

		for (w = 0; w < node->config.workers; w++)
			if (port->rings[w].tx.items != NULL)
				ring_link_destroy(&port->rings[w].link);
		for (w = 0; w < node->config.workers; w++)
			if (port->links[w] != NULL)
				tp_link_ethdev_destroy(port->links[w]);
		if (port->started)
			tp_port_stop(port->port);
		rte_mempool_free(port->pool);
	}
	node->port_count = 0;
}

void
node_ports_links(struct tp_node *node, struct tp_control_config *config)
{
	uint16_t p;
	uint16_t w;

	config->link_count = (uint8_t)node->port_count;
	for (p = 0; p < node->port_count; p++) {
		const struct tp_node_port_config *from = &node->config.ports[p];
		struct node_port *port = &node->ports[p];

		for (w = 0; w < node->config.workers; w++)
			config->links[w][p] = (struct tp_endpoint_link){
				.link = port->rings[w].tx.items != NULL ?
					&port->rings[w].link : port->links[w],
				.ip = from->ip,
				.gateway = from->gateway,
				.prefix_length = from->prefix_length,
			};
	}
}

/* Called by the worker that received a frame for another one. */
void
node_steer(void *ctx, uint16_t from, uint8_t to, struct tp_frame *frame)
{
	struct tp_node *node = ctx;

	if (!node_ring_push(&node->steer[from * node->config.workers + to], frame))
		tp_frame_free(frame);
	node_wake_worker(node, to);
}

/* Send what workers without a queue handed to worker 0. */
static uint32_t
port_rings_send(struct tp_node *node)
{
	uint32_t work = 0;
	uint16_t p;
	uint16_t w;

	for (p = 0; p < node->port_count; p++) {
		struct node_port *port = &node->ports[p];

		for (w = 1; w < node->config.workers; w++) {
			struct tp_frame frame;
			uint32_t n = 0;

			if (port->rings[w].tx.items == NULL)
				continue;
			while (n++ < NODE_BURST && node_ring_pop(&port->rings[w].tx, &frame)) {
				/* A full port loses it, as a wire would: sessions repeat it. */
				if (port->links[0]->ops->tx_burst(port->links[0], &frame, 1) == 0)
					tp_frame_free(&frame);
				work++;
			}
		}
	}
	return work;
}

/* One stage of a worker's turn: frames that others received for it, or want sent. */
uint32_t
node_port_rings_poll(struct tp_node *node, uint16_t worker, uint64_t now)
{
	uint16_t workers = node->config.workers;
	struct tp_frame frame;
	uint32_t work = 0;
	uint16_t from;

	if (workers == 1)
		return 0;
	for (from = 0; from < workers; from++) {
		struct node_ring *ring = &node->steer[from * workers + worker];
		uint32_t n = 0;

		while (n++ < NODE_BURST && node_ring_pop(ring, &frame)) {
			tp_worker_rx_frame(tp_control_worker(node->control, worker), &frame, now);
			work++;
		}
	}
	if (worker == 0)
		work += port_rings_send(node);
	return work;
}
