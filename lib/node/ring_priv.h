/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A single-producer single-consumer ring of fixed-size items, copied in and
 * out: commands from the control side to a worker, events back, frames between
 * workers. Works without EAL.
 */
#ifndef NODE_RING_PRIV_H
#define NODE_RING_PRIV_H

#include <errno.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define NODE_RING_LINE 64

struct node_ring {
	uint32_t mask;		/* items - 1; constant */
	uint32_t item_bytes;
	uint8_t *items;
	/* writer: producer */
	alignas(NODE_RING_LINE) _Atomic uint32_t head;
	/* writer: consumer */
	alignas(NODE_RING_LINE) _Atomic uint32_t tail;
};

/* count: a power of two. 0 or -ENOMEM. */
static inline int
node_ring_init(struct node_ring *ring, uint32_t count, uint32_t item_bytes)
{
	ring->items = calloc(count, item_bytes);
	if (ring->items == NULL)
		return -ENOMEM;
	ring->mask = count - 1;
	ring->item_bytes = item_bytes;
	atomic_init(&ring->head, 0);
	atomic_init(&ring->tail, 0);
	return 0;
}

static inline void
node_ring_fini(struct node_ring *ring)
{
	free(ring->items);
	ring->items = NULL;
}

/* Items that fit now. Producer. */
static inline uint32_t
node_ring_room(struct node_ring *ring)
{
	uint32_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);

	/* Pairs with the release in node_ring_pop(): the item was copied out. */
	return ring->mask + 1 - (head - atomic_load_explicit(&ring->tail, memory_order_acquire));
}

/* Producer; false: full. */
static inline bool
node_ring_push(struct node_ring *ring, const void *item)
{
	uint32_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);

	if (node_ring_room(ring) == 0)
		return false;
	memcpy(ring->items + (size_t)(head & ring->mask) * ring->item_bytes, item,
	       ring->item_bytes);
	/* Pairs with the acquire in node_ring_pop(): the item is complete. */
	atomic_store_explicit(&ring->head, head + 1, memory_order_release);
	return true;
}

/* Consumer; false: empty. */
static inline bool
node_ring_pop(struct node_ring *ring, void *item)
{
	uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);

	/* Pairs with the release in node_ring_push(). */
	if (atomic_load_explicit(&ring->head, memory_order_acquire) == tail)
		return false;
	memcpy(item, ring->items + (size_t)(tail & ring->mask) * ring->item_bytes,
	       ring->item_bytes);
	/* Pairs with the acquire in node_ring_room(). */
	atomic_store_explicit(&ring->tail, tail + 1, memory_order_release);
	return true;
}

#endif /* NODE_RING_PRIV_H */
