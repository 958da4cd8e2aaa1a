/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * How it works: a sent frame is copied once per receiver (and per duplicate)
 * into that port's heap, ordered by arrival time and then by order of sending,
 * so equal seeds give equal runs.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_debug.h>
#include <rte_errno.h>

#include "sim_link.h"

struct sim_buffer {
	struct sim_port *owner;
	uint32_t references;
	uint32_t length;
	uint8_t bytes[];
};

struct sim_arrival {
	uint64_t when;
	uint64_t order;
	struct sim_buffer *buffer;
};

struct sim_port {
	struct tp_link link;	/* first: a link is cast to its port */
	struct sim_net *net;
	uint32_t index;
	uint32_t buffers_max;
	uint32_t buffers;
	struct sim_arrival *arrivals;	/* heap */
	uint32_t arrival_count;
	uint32_t arrival_capacity;
	bool unplugged;
	uint64_t busy_until;	/* its wire */
	struct sim_queue queue;
	uint32_t hold_count;
	struct {
		struct sim_buffer *buffer;
		uint64_t sum;	/* of its bytes when it was taken */
	} hold[SIM_HOLD_MAX];	/* oldest first */
};

struct sim_net {
	uint64_t random[2];
	uint64_t now;
	uint64_t order;
	struct sim_faults faults;
	struct sim_port *ports[SIM_PORTS_MAX];
	uint32_t port_count;
	bool cut[SIM_PORTS_MAX][SIM_PORTS_MAX];
	uint32_t buffers;
	sim_tap *tap;
	void *tap_ctx;
	sim_drop *drop;
	void *drop_ctx;
};

uint64_t
sim_net_random(struct sim_net *net)
{
	/* xorshift128+ */
	uint64_t a = net->random[0];
	uint64_t b = net->random[1];

	net->random[0] = b;
	a ^= a << 23;
	net->random[1] = a ^ b ^ (a >> 17) ^ (b >> 26);
	return net->random[1] + b;
}

static bool
sim_chance(struct sim_net *net, uint32_t ppm)
{
	return ppm != 0 && sim_net_random(net) % 1000000 < ppm;
}

/* NULL: out of memory. */
static struct sim_buffer *
sim_buffer_get(struct sim_port *port, uint32_t capacity)
{
	struct sim_buffer *buffer = malloc(sizeof(*buffer) + capacity);

	if (buffer == NULL)
		return NULL;
	buffer->owner = port;
	buffer->references = 1;
	buffer->length = 0;
	port->buffers++;
	port->net->buffers++;
	return buffer;
}

static void
sim_port_free(struct sim_port *port)
{
	free(port->arrivals);
	free(port);
}

static void
sim_buffer_put(struct sim_buffer *buffer)
{
	struct sim_port *port = buffer->owner;

	RTE_ASSERT(buffer->references > 0);
	if (--buffer->references > 0)
		return;
	port->buffers--;
	port->net->buffers--;
	free(buffer);
	if (port->unplugged && port->buffers == 0)
		sim_port_free(port);
}

static bool
sim_before(const struct sim_arrival *a, const struct sim_arrival *b)
{
	return a->when != b->when ? a->when < b->when : a->order < b->order;
}

/* Takes the buffer; a frame that there is no memory for is lost. */
static void
sim_arrival_push(struct sim_port *port, struct sim_arrival arrival)
{
	uint32_t i = port->arrival_count;

	if (i == port->arrival_capacity) {
		uint32_t capacity = i == 0 ? 64 : 2 * i;
		struct sim_arrival *arrivals = realloc(port->arrivals,
			capacity * sizeof(*arrivals));

		if (arrivals == NULL) {
			sim_buffer_put(arrival.buffer);
			return;
		}
		port->arrivals = arrivals;
		port->arrival_capacity = capacity;
	}
	port->arrival_count++;
	while (i > 0 && sim_before(&arrival, &port->arrivals[(i - 1) / 2])) {
		port->arrivals[i] = port->arrivals[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	port->arrivals[i] = arrival;
}

static struct sim_buffer *
sim_arrival_pop(struct sim_port *port)
{
	struct sim_buffer *buffer = port->arrivals[0].buffer;
	struct sim_arrival last = port->arrivals[--port->arrival_count];
	uint32_t i = 0;

	for (;;) {
		uint32_t child = 2 * i + 1;

		if (child >= port->arrival_count)
			break;
		if (child + 1 < port->arrival_count &&
		    sim_before(&port->arrivals[child + 1], &port->arrivals[child]))
			child++;
		if (!sim_before(&port->arrivals[child], &last))
			break;
		port->arrivals[i] = port->arrivals[child];
		i = child;
	}
	if (port->arrival_count > 0)
		port->arrivals[i] = last;
	return buffer;
}

static void
sim_corrupt(struct sim_net *net, struct sim_buffer *buffer)
{
	uint32_t flips = 1 + (uint32_t)(sim_net_random(net) % 4);

	while (flips-- > 0) {
		uint32_t bit = (uint32_t)(sim_net_random(net) % (8 * buffer->length));

		buffer->bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}

static void
sim_deliver(struct sim_net *net, struct sim_port *to, const struct sim_buffer *from, uint64_t left)
{
	struct sim_buffer *copy;
	uint64_t when = left + net->faults.delay_ns;

	if (net->faults.jitter_ns != 0)
		when += sim_net_random(net) % (net->faults.jitter_ns + 1);
	copy = sim_buffer_get(to, from->length);
	if (copy == NULL)
		return;
	copy->length = from->length;
	memcpy(copy->bytes, from->bytes, from->length);
	if (sim_chance(net, net->faults.corrupt_ppm))
		sim_corrupt(net, copy);
	sim_arrival_push(to, (struct sim_arrival){ when, net->order++, copy });
}

static void
sim_transmit(struct sim_port *port, const struct sim_buffer *buffer)
{
	struct sim_net *net = port->net;
	uint64_t left = net->now;
	uint32_t i;

	if (net->faults.byte_ps != 0) {
		left = left > port->busy_until ? left : port->busy_until;
		left += (uint64_t)net->faults.byte_ps * buffer->length / 1000;
		port->busy_until = left;
	}
	if (net->tap != NULL)
		net->tap(net->tap_ctx, port->index, buffer->bytes, buffer->length);
	if (net->drop != NULL &&
	    net->drop(net->drop_ctx, port->index, buffer->bytes, buffer->length))
		return;
	for (i = 0; i < net->port_count; i++) {
		struct sim_port *to = net->ports[i];

		if (to == NULL || to == port || net->cut[port->index][i])
			continue;
		if ((buffer->bytes[0] & 1) == 0 && memcmp(buffer->bytes, to->link.mac, 6) != 0)
			continue;
		if (sim_chance(net, net->faults.loss_ppm))
			continue;
		sim_deliver(net, to, buffer, left);
		if (sim_chance(net, net->faults.duplicate_ppm))
			sim_deliver(net, to, buffer, left);
	}
}

static struct sim_port *
sim_port_of(struct tp_link *link)
{
	return (struct sim_port *)link;
}

static uint32_t
sim_rx_burst(struct tp_link *link, struct tp_frame *frames, uint32_t n)
{
	struct sim_port *port = sim_port_of(link);
	uint32_t i = 0;

	while (i < n && port->arrival_count > 0 && port->arrivals[0].when <= port->net->now) {
		struct sim_buffer *buffer = sim_arrival_pop(port);

		frames[i++] = (struct tp_frame){
			.data = buffer->bytes,
			.handle = buffer,
			.link = link,
			.length = buffer->length,
		};
	}
	return i;
}

static uint64_t
sim_sum(const struct sim_buffer *buffer)
{
	uint64_t sum = buffer->length;
	uint32_t i;

	for (i = 0; i < buffer->length; i++)
		sum = sum * 31 + buffer->bytes[i];
	return sum;
}

/* Let go of all but the last few frames: nobody may have written to them. */
static void
sim_hold_trim(struct sim_port *port, uint32_t keep)
{
	while (port->hold_count > keep) {
		RTE_ASSERT(sim_sum(port->hold[0].buffer) == port->hold[0].sum);
		sim_buffer_put(port->hold[0].buffer);
		port->hold_count--;
		memmove(&port->hold[0], &port->hold[1],
			port->hold_count * sizeof(port->hold[0]));
	}
}

/* The port has sent a frame: as a driver does, it may keep it for a while. */
static void
sim_tx_done(struct sim_port *port, struct sim_buffer *buffer)
{
	uint32_t keep = port->net->faults.tx_hold;

	if (keep > SIM_HOLD_MAX)
		keep = SIM_HOLD_MAX;
	sim_hold_trim(port, keep > 0 ? keep - 1 : 0);
	if (keep == 0) {
		sim_buffer_put(buffer);
		return;
	}
	port->hold[port->hold_count].buffer = buffer;
	port->hold[port->hold_count++].sum = sim_sum(buffer);
}

static uint32_t
sim_tx_burst(struct tp_link *link, struct tp_frame *frames, uint32_t n)
{
	struct sim_port *port = sim_port_of(link);
	uint32_t i;

	for (i = 0; i < n; i++) {
		struct sim_buffer *buffer = frames[i].handle;

		if (sim_chance(port->net, port->net->faults.tx_refuse_ppm))
			break;
		RTE_ASSERT(frames[i].length <= link->max_frame);
		buffer->length = frames[i].length;
		sim_transmit(port, buffer);
		sim_tx_done(port, buffer);
	}
	return i;
}

static uint32_t
sim_tx_alloc(struct tp_link *link, struct tp_frame *frames, uint32_t n)
{
	struct sim_port *port = sim_port_of(link);
	uint32_t i;

	if (port->buffers_max != 0 && port->buffers + n > port->buffers_max)
		return 0;
	for (i = 0; i < n; i++) {
		struct sim_buffer *buffer = sim_buffer_get(port, link->max_frame);

		if (buffer == NULL) {
			while (i-- > 0)
				sim_buffer_put(frames[i].handle);
			return 0;
		}
		frames[i] = (struct tp_frame){
			.data = buffer->bytes,
			.handle = buffer,
			.link = link,
			.capacity = link->max_frame,
		};
	}
	return n;
}

static void
sim_frame_ref(struct tp_link *link, struct tp_frame *frame)
{
	struct sim_buffer *buffer = frame->handle;

	(void)link;
	buffer->references++;
}

static void
sim_frame_free(struct tp_link *link, struct tp_frame *frame)
{
	(void)link;
	sim_buffer_put(frame->handle);
}

static bool
sim_frame_shared(struct tp_link *link, const struct tp_frame *frame)
{
	const struct sim_buffer *buffer = frame->handle;

	(void)link;
	return buffer->references > 1;
}

void
sim_link_unplug(struct tp_link *link)
{
	struct sim_port *port = sim_port_of(link);

	port->net->ports[port->index] = NULL;
	sim_hold_trim(port, 0);
	while (port->arrival_count > 0)
		sim_buffer_put(sim_arrival_pop(port));
	port->unplugged = true;
	if (port->buffers == 0)
		sim_port_free(port);
}

static const struct tp_link_ops sim_link_ops = {
	.rx_burst = sim_rx_burst,
	.tx_burst = sim_tx_burst,
	.tx_alloc = sim_tx_alloc,
	.frame_ref = sim_frame_ref,
	.frame_free = sim_frame_free,
	.frame_shared = sim_frame_shared,
	.destroy = sim_link_unplug,
};

struct sim_net *
sim_net_create(uint64_t seed, const struct sim_faults *faults)
{
	struct sim_net *net = calloc(1, sizeof(*net));
	int i;

	if (net == NULL) {
		rte_errno = ENOMEM;
		return NULL;
	}
	net->random[0] = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	net->random[1] = seed ^ UINT64_C(0xd1b54a32d192ed03);
	for (i = 0; i < 8; i++)
		sim_net_random(net);
	if (faults != NULL)
		net->faults = *faults;
	return net;
}

void
sim_net_destroy(struct sim_net *net)
{
	uint32_t i;

	if (net == NULL)
		return;
	for (i = 0; i < net->port_count; i++) {
		if (net->ports[i] != NULL)
			sim_link_unplug(&net->ports[i]->link);
	}
	free(net);
}

struct sim_faults *
sim_net_faults(struct sim_net *net)
{
	return &net->faults;
}

void
sim_net_set_now(struct sim_net *net, uint64_t now)
{
	net->now = now;
}

uint64_t
sim_link_next_arrival(const struct tp_link *link)
{
	const struct sim_port *port = (const struct sim_port *)link;

	return port->arrival_count > 0 ? port->arrivals[0].when : UINT64_MAX;
}

uint64_t
sim_link_busy_until(const struct tp_link *link)
{
	return ((const struct sim_port *)link)->busy_until;
}

struct tp_link *
sim_net_link(struct sim_net *net, uint16_t mtu, uint32_t buffers)
{
	struct sim_port *port;

	if (net->port_count == SIM_PORTS_MAX) {
		rte_errno = ENOSPC;
		return NULL;
	}
	port = calloc(1, sizeof(*port));
	if (port == NULL) {
		rte_errno = ENOMEM;
		return NULL;
	}
	port->net = net;
	port->index = net->port_count++;
	port->buffers_max = buffers;
	port->link.ops = &sim_link_ops;
	port->link.mac[0] = 2;
	port->link.mac[5] = (uint8_t)(port->index + 1);
	port->link.mtu = mtu;
	port->link.max_frame = mtu + 14u;
	net->ports[port->index] = port;
	return &port->link;
}

uint32_t
sim_link_port(const struct tp_link *link)
{
	return ((const struct sim_port *)link)->index;
}

struct sim_queue *
sim_link_queue(struct tp_link *link)
{
	return &sim_port_of(link)->queue;
}

void
sim_link_bound(struct tp_link *link, uint32_t buffers)
{
	sim_port_of(link)->buffers_max = buffers;
}

void
sim_net_cut(struct sim_net *net, uint32_t from, uint32_t to, bool cut)
{
	net->cut[from][to] = cut;
}

void
sim_link_inject(struct tp_link *link, const void *frame, uint32_t length)
{
	struct sim_port *port = sim_port_of(link);
	struct sim_buffer *buffer = sim_buffer_get(port, length);

	if (buffer == NULL)
		return;
	buffer->length = length;
	memcpy(buffer->bytes, frame, length);
	sim_arrival_push(port, (struct sim_arrival){ port->net->now, port->net->order++, buffer });
}

void
sim_net_tap(struct sim_net *net, sim_tap *tap, void *ctx)
{
	net->tap = tap;
	net->tap_ctx = ctx;
}

void
sim_net_drop(struct sim_net *net, sim_drop *drop, void *ctx)
{
	net->drop = drop;
	net->drop_ctx = ctx;
}

uint32_t
sim_net_buffers(const struct sim_net *net)
{
	return net->buffers;
}
