/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The network delivers a frame to every link with its MAC address; each queue
 * lets go of those that are another queue's.
 */
#include <string.h>

#include "sim_port.h"

#define ETHER_IPV4 0x0800
#define PROTOCOL_UDP 17

static struct {
	const struct tp_link_ops *base;
	uint32_t queue;
	uint32_t count;
	uint16_t base_port;
	bool scatter;
} queues[SIM_PORTS_MAX];

static struct tp_link_ops queue_ops;

static uint16_t
get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

/* ARP goes to all queues: each worker keeps its own table. */
static bool
is_for(const uint8_t *frame, uint32_t length, uint32_t port)
{
	uint32_t worker, source;

	if (length < 42 || get16(frame + 12) != ETHER_IPV4 || frame[23] != PROTOCOL_UDP)
		return true;
	worker = (uint32_t)get16(frame + 36) - queues[port].base_port;
	source = (uint32_t)frame[29] + get16(frame + 34);
	if (queues[port].scatter)
		worker += source;
	return worker % queues[port].count == queues[port].queue;
}

static uint32_t
queue_rx_burst(struct tp_link *link, struct tp_frame *frames, uint32_t n)
{
	uint32_t port = sim_link_port(link), got = queues[port].base->rx_burst(link, frames, n);
	uint32_t i, kept = 0;

	for (i = 0; i < got; i++) {
		if (is_for(frames[i].data, frames[i].length, port))
			frames[kept++] = frames[i];
		else
			tp_frame_free(&frames[i]);
	}
	return kept;
}

void
sim_port_make(struct tp_link *const *links, uint32_t count, uint16_t base_port, bool scatter)
{
	uint32_t i;

	for (i = 0; i < count; i++) {
		uint32_t port = sim_link_port(links[i]);

		queues[port].base = links[i]->ops;
		queues[port].queue = i;
		queues[port].count = count;
		queues[port].base_port = base_port;
		queues[port].scatter = scatter;
		queue_ops = *links[i]->ops;
		queue_ops.rx_burst = queue_rx_burst;
		links[i]->ops = &queue_ops;
		memcpy(links[i]->mac, links[0]->mac, sizeof(links[i]->mac));
	}
}
