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

static uint16_t
get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

/* ARP goes to all queues: each worker keeps its own table. */
static bool
is_for(const uint8_t *frame, uint32_t length, const struct sim_queue *queue)
{
	uint32_t worker, source;

	if (length < 42 || get16(frame + 12) != ETHER_IPV4 || frame[23] != PROTOCOL_UDP)
		return true;
	worker = (uint32_t)get16(frame + 36) - queue->base_port;
	source = (uint32_t)frame[29] + get16(frame + 34);
	if (queue->scatter)
		worker += source;
	return worker % queue->count == queue->index;
}

static uint32_t
queue_rx_burst(struct tp_link *link, struct tp_frame *frames, uint32_t n)
{
	const struct sim_queue *queue = sim_link_queue(link);
	uint32_t got = queue->base->rx_burst(link, frames, n);
	uint32_t i, kept = 0;

	for (i = 0; i < got; i++) {
		if (is_for(frames[i].data, frames[i].length, queue))
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
		struct sim_queue *queue = sim_link_queue(links[i]);

		*queue = (struct sim_queue){
			.base = links[i]->ops,
			.ops = *links[i]->ops,
			.index = i,
			.count = count,
			.base_port = base_port,
			.scatter = scatter,
		};
		queue->ops.rx_burst = queue_rx_burst;
		links[i]->ops = &queue->ops;
		memcpy(links[i]->mac, links[0]->mac, sizeof(links[i]->mac));
	}
}
