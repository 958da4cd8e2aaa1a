/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Free chunks: one for a run, or several in a row.
 */
#include "heap.h"

#define EXTENT_CANDIDATES 64u	/* looked at for the least worn */

static bool
chunk_is_free(const struct heap_zone *zone, uint32_t index)
{
	return (zone->free_words[index / 64] >> index % 64 & 1) != 0;
}

/* Free chunk at or after an index; chunk_count: none. */
static uint32_t
free_next(const struct heap_zone *zone, uint32_t index)
{
	while (index < zone->chunk_count) {
		uint64_t word = zone->free_words[index / 64] >> index % 64;

		if (word != 0) {
			index += (uint32_t)__builtin_ctzll(word);
			return index < zone->chunk_count ? index : zone->chunk_count;
		}
		index = (index / 64 + 1) * 64;
	}
	return zone->chunk_count;
}

struct candidate {
	struct heap_zone *zone;
	uint32_t index;
	uint32_t waste;		/* chunks of the hole that would remain */
	uint64_t wear;
};

/* One chunk: the least worn. Several: a hole that fits exactly, else the least worn. */
static bool
candidate_is_better(const struct candidate *a, const struct candidate *b)
{
	if (b->zone == NULL)
		return true;
	if ((a->waste == 0) != (b->waste == 0))
		return a->waste == 0;
	return a->wear < b->wear;
}

static uint64_t
wear_of(const struct heap_zone *zone, uint32_t index, uint32_t count)
{
	uint64_t wear = 0;

	for (uint32_t i = 0; i < count; i++)
		wear += atomic_load_explicit(&zone->chunks[index + i].wear, memory_order_relaxed);
	return wear;
}

/* Look at holes of a zone between two indices; how many were looked at. */
static uint32_t
zone_search(struct heap_zone *zone, uint32_t from, uint32_t to, uint32_t count, uint32_t limit,
	    struct candidate *best)
{
	uint32_t seen = 0;

	for (uint32_t i = free_next(zone, from); i < to && seen < limit;) {
		uint32_t hole = 1;
		struct candidate one = { .zone = zone, .index = i };

		/* One chunk fits everywhere; the length of its hole does not matter. */
		while (count > 1 && i + hole < zone->chunk_count && chunk_is_free(zone, i + hole))
			hole++;
		if (hole >= count) {
			one.waste = hole - count;
			one.wear = wear_of(zone, i, count);
			if (candidate_is_better(&one, best))
				*best = one;
			seen++;
		}
		i = free_next(zone, i + hole);
	}
	return seen;
}

struct heap_chunk *
heap_chunks_take(struct pmem_heap *heap, uint32_t count, enum heap_state state)
{
	uint32_t zone_count = atomic_load_explicit(&heap->zone_count, memory_order_relaxed);
	struct candidate best = { 0 };
	uint32_t seen = 0;

	for (uint32_t i = 0; i < zone_count && seen < EXTENT_CANDIDATES; i++) {
		struct heap_zone *zone = &heap->zones[i];
		uint32_t from = count == 1 ? heap->rotor % zone->chunk_count : 0;

		seen += zone_search(zone, from, zone->chunk_count, count, EXTENT_CANDIDATES - seen,
			&best);
		if (seen < EXTENT_CANDIDATES && from > 0)
			seen += zone_search(zone, 0, from, count, EXTENT_CANDIDATES - seen, &best);
	}
	if (best.zone == NULL)
		return NULL;
	heap->rotor = best.index + count;
	for (uint32_t i = 0; i < count; i++) {
		best.zone->free_words[(best.index + i) / 64] &=
			~(UINT64_C(1) << (best.index + i) % 64);
		best.zone->chunks[best.index + i].state = i == 0 ? state : HEAP_BODY;
	}
	best.zone->chunks[best.index].extent_chunks = count;
	return &best.zone->chunks[best.index];
}

void
heap_chunks_give(struct pmem_heap *heap, struct heap_chunk *first, uint32_t count)
{
	const struct heap_zone *zone;
	uint32_t index;

	if (heap_chunk_find(heap, first->offset, &zone) == NULL)
		return;
	index = (uint32_t)(first - zone->chunks);
	for (uint32_t i = 0; i < count; i++) {
		first[i].state = HEAP_FREE;
		zone->free_words[(index + i) / 64] |= UINT64_C(1) << (index + i) % 64;
	}
}

int
pmem_heap_external_reserve(struct pmem_heap *heap, uint64_t bytes, uint32_t *chunk_count,
			   uint64_t *offset)
{
	uint64_t count = (bytes + PMEM_CHUNK_BYTES - 1) / PMEM_CHUNK_BYTES;
	const struct heap_chunk *chunk = NULL;

	pmem_lock_take(&heap->lock);
	if (count <= UINT32_MAX)
		chunk = heap_chunks_take(heap, (uint32_t)count, HEAP_EXTERNAL);
	if (chunk != NULL) {
		*chunk_count = (uint32_t)count;
		*offset = chunk->offset;
		atomic_fetch_add_explicit(&heap->external_count, (uint32_t)count,
			memory_order_relaxed);
	}
	pmem_lock_release(&heap->lock);
	return chunk == NULL ? -ENOSPC : 0;
}

void
pmem_heap_external_release(struct pmem_heap *heap, uint64_t offset, uint32_t chunk_count)
{
	const struct heap_zone *zone;
	struct heap_chunk *chunk = heap_chunk_find(heap, offset, &zone);

	pmem_lock_take(&heap->lock);
	heap_chunks_give(heap, chunk, chunk_count);
	atomic_fetch_sub_explicit(&heap->external_count, chunk_count, memory_order_relaxed);
	pmem_lock_release(&heap->lock);
}
