/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Deadlines and repeats: a binary heap of ids by time. Ids below waiter_count
 * are waiters, the rest requests. Bounded, nothing allocated after creation.
 */
#include "coherence_priv.h"

static void
heap_place(struct coherence_heap *heap, uint32_t position, uint32_t id)
{
	heap->ids[position] = id;
	heap->place[id] = position + 1;
}

static void
heap_up(struct coherence_heap *heap, uint32_t position, uint32_t id)
{
	while (position > 0) {
		uint32_t parent = (position - 1) / 2;

		if (heap->key[heap->ids[parent]] <= heap->key[id])
			break;
		heap_place(heap, position, heap->ids[parent]);
		position = parent;
	}
	heap_place(heap, position, id);
}

static void
heap_down(struct coherence_heap *heap, uint32_t position, uint32_t id)
{
	for (;;) {
		uint32_t child = 2 * position + 1;

		if (child >= heap->count)
			break;
		if (child + 1 < heap->count &&
		    heap->key[heap->ids[child + 1]] < heap->key[heap->ids[child]])
			child++;
		if (heap->key[id] <= heap->key[heap->ids[child]])
			break;
		heap_place(heap, position, heap->ids[child]);
		position = child;
	}
	heap_place(heap, position, id);
}

void
coherence_heap_clear(struct coherence_heap *heap, uint32_t id)
{
	uint32_t position;
	uint32_t last;

	if (heap->place[id] == 0)
		return;
	position = heap->place[id] - 1;
	heap->place[id] = 0;
	last = heap->ids[--heap->count];
	if (last == id)
		return;
	if (position > 0 && heap->key[heap->ids[(position - 1) / 2]] > heap->key[last])
		heap_up(heap, position, last);
	else
		heap_down(heap, position, last);
}

void
coherence_heap_set(struct coherence_heap *heap, uint32_t id, uint64_t key)
{
	coherence_heap_clear(heap, id);
	if (key == UINT64_MAX)
		return;
	heap->key[id] = key;
	heap_up(heap, heap->count++, id);
}
