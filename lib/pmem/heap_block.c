/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Blocks: reserve, release, and the entries that make it so on the media.
 *
 * How it works. A lane owns one run per size class and takes blocks of it without a
 * lock: only it sets bits. Anybody clears bits. A run that is full is left; it
 * comes to the list of its class when a block of it is free again. Leaving and
 * freeing look at each other: who leaves stores is_owned, then loads free_count; who
 * frees adds to free_count, then loads is_owned, all sequentially consistent. So at
 * least one of them sees that the run must be listed.
 */
#include <stdlib.h>

#include <rte_branch_prediction.h>

#include "heap.h"

#define BLOCK_NONE UINT32_MAX

/* Read a run's bitmap from the media. Heap's lock held, or nobody else knows the chunk. */
static int
run_load(struct pmem_heap *heap, struct heap_chunk *chunk)
{
	uint32_t blocks = heap_class_blocks(chunk->class);
	uint32_t words = heap_class_words(chunk->class);
	const struct heap_zone *zone;
	_Atomic uint64_t *old = chunk->bits;
	_Atomic uint64_t *bits_new;
	uint32_t free_count = 0;

	if (heap_chunk_find(heap, chunk->offset, &zone) == NULL)
		return -EINVAL;
	bits_new = malloc(words * sizeof(uint64_t));
	if (bits_new == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < words; i++) {
		uint64_t word = __atomic_load_n((const uint64_t *)(const void *)(heap->pool->device->media +
			heap_bitmap_offset(zone, chunk) + (uint64_t)i * 8), __ATOMIC_RELAXED);
		uint32_t used = RTE_MIN(blocks - i * PMEM_BITS_PER_WORD, PMEM_BITS_PER_WORD);
		uint64_t exist = (UINT64_C(1) << used) - 1;

		/* Of a damaged word all are taken, so that none is given out twice. */
		if (!pmem_bitmap_word_is_sound(word))
			word = UINT64_MAX;
		atomic_init(&bits_new[i], word | ~exist);
		free_count += (uint32_t)__builtin_popcountll(~word & exist);
	}
	chunk->cursor = 0;
	atomic_store_explicit(&chunk->free_count, free_count, memory_order_relaxed);
	/* release: pairs with the acquire in heap_chunk_bits(): who frees looks without a lock */
	__atomic_store_n(&chunk->bits, bits_new, __ATOMIC_RELEASE);
	free((void *)(uintptr_t)old);
	return 0;
}

/* Index of a block taken; BLOCK_NONE: the run is full. Owner only. */
static uint32_t
run_take(struct heap_chunk *chunk)
{
	uint32_t words = heap_class_words(chunk->class);
	uint32_t word = chunk->cursor / PMEM_BITS_PER_WORD;
	uint64_t mask = UINT64_MAX << chunk->cursor % PMEM_BITS_PER_WORD;

	/* One more than there are words: the first is looked at in two parts. */
	for (uint32_t i = 0; i <= words; i++) {
		uint64_t open = ~atomic_load_explicit(&chunk->bits[word], memory_order_relaxed) & mask;

		if (open != 0) {
			uint32_t bit = (uint32_t)__builtin_ctzll(open);
			uint32_t index = word * PMEM_BITS_PER_WORD + bit;

			/* acquire: pairs with the release in run_give() */
			atomic_fetch_or_explicit(&chunk->bits[word], UINT64_C(1) << bit,
				memory_order_acquire);
			atomic_fetch_sub_explicit(&chunk->free_count, 1, memory_order_relaxed);
			chunk->cursor = index + 1 < words * PMEM_BITS_PER_WORD ? index + 1 : 0;
			return index;
		}
		mask = UINT64_MAX;
		word = word + 1 < words ? word + 1 : 0;
	}
	return BLOCK_NONE;
}

/* A run that no lane owns: to the list, to the free chunks, or nowhere while full. Locked. */
static void
run_file(struct pmem_heap *heap, struct heap_chunk *chunk)
{
	uint32_t free_count = atomic_load(&chunk->free_count);
	bool listed = atomic_load_explicit(&chunk->is_listed, memory_order_relaxed);
	bool empty = free_count == heap_class_blocks(chunk->class);
	bool list = free_count > 0 && !empty;

	if (listed && !list)	/* one that was not read yet may turn out to be full */
		TAILQ_REMOVE(&heap->lists[chunk->class], chunk, item);
	else if (!listed && list)
		TAILQ_INSERT_TAIL(&heap->lists[chunk->class], chunk, item);
	atomic_store_explicit(&chunk->is_listed, list, memory_order_relaxed);
	if (empty)
		heap_chunks_give(heap, chunk, 1);
}

static void
run_leave(struct pmem_heap *heap, struct heap_chunk *chunk)
{
	pmem_lock_take(&heap->lock);
	atomic_store(&chunk->is_owned, false);
	run_file(heap, chunk);
	pmem_lock_release(&heap->lock);
}

void
pmem_heap_lane_leave(struct pmem_heap *heap, struct pmem_lane *lane)
{
	for (uint32_t i = 0; i < PMEM_CLASS_COUNT; i++) {
		if (lane->runs[i] != NULL)
			run_leave(heap, lane->runs[i]);
		lane->runs[i] = NULL;
	}
}

/* From the list of its class, read if it was not yet. Locked. NULL: none. */
static struct heap_chunk *
run_from_list(struct pmem_heap *heap, uint32_t class)
{
	struct heap_chunk *chunk;

	while ((chunk = TAILQ_FIRST(&heap->lists[class])) != NULL) {
		if (chunk->bits == NULL && run_load(heap, chunk) < 0)
			return NULL;
		run_file(heap, chunk);
		if (atomic_load_explicit(&chunk->is_listed, memory_order_relaxed))
			break;
	}
	if (chunk == NULL)
		return NULL;
	TAILQ_REMOVE(&heap->lists[class], chunk, item);
	atomic_store_explicit(&chunk->is_listed, false, memory_order_relaxed);
	atomic_store(&chunk->is_owned, true);
	return chunk;
}

/* Runs that were not read yet may be empty: then they are free chunks. Locked. */
static void
runs_read_all(struct pmem_heap *heap)
{
	for (uint32_t i = 0; i < PMEM_CLASS_COUNT; i++) {
		struct heap_chunk *chunk, *next;

		for (chunk = TAILQ_FIRST(&heap->lists[i]); chunk != NULL; chunk = next) {
			next = TAILQ_NEXT(chunk, item);
			if (chunk->bits == NULL && run_load(heap, chunk) == 0)
				run_file(heap, chunk);
		}
	}
}

/*
 * Last resort: what this lane and those without a transaction own becomes
 * everybody's, and the log gives back what it borrowed.
 */
static void
lanes_reclaim(struct tp_pmem_pool *pool, struct pmem_lane *own)
{
	if (atomic_load_explicit(&pool->heap->external_count, memory_order_relaxed) > 0)
		pmem_checkpoint(pool, false);
	pmem_heap_lane_leave(pool->heap, own);
	for (uint32_t i = 0; i < pool->lane_count; i++) {
		if (!pmem_lock_try(&pool->lanes[i].open_lock))
			continue;
		pmem_heap_lane_leave(pool->heap, &pool->lanes[i]);
		pmem_lock_release(&pool->lanes[i].open_lock);
	}
}

/* A free chunk becomes a run of the lane: a commit of its own. */
static int
run_make(struct tp_pmem_pool *pool, struct pmem_lane *lane, struct heap_chunk *chunk,
	 uint32_t class)
{
	const struct pmem_kind kind = { .kind = PMEM_CHUNK_RUN, .class = (uint8_t)class };
	const uint64_t word = rte_cpu_to_le_64(pmem_kind_word(kind));
	const struct heap_zone *zone;
	int ret;

	heap_chunk_find(pool->heap, chunk->offset, &zone);
	chunk->class = (uint8_t)class;
	ret = run_load(pool->heap, chunk);
	if (ret == 0)
		ret = pmem_stage_start(lane);
	if (ret == 0)
		ret = pmem_entry_write(&lane->stage, heap_kind_offset(zone, chunk), &word,
			sizeof(word));
	if (ret == 0)
		ret = pmem_commit_stage(pool, lane, true);
	if (ret < 0) {
		pmem_lock_take(&pool->heap->lock);
		heap_chunks_give(pool->heap, chunk, 1);
		pmem_lock_release(&pool->heap->lock);
		return ret;
	}
	/* 64 page faults here, or a slow transaction whenever a block is the first of a page. */
	if (pool->device->ops->expect != NULL)
		pool->device->ops->expect(pool->device, chunk->offset, PMEM_CHUNK_BYTES);
	atomic_store(&chunk->is_owned, true);
	lane->runs[class] = chunk;
	return 0;
}

/* Another run for the lane. */
static int
run_next(struct tp_pmem_pool *pool, struct pmem_lane *lane, uint32_t class)
{
	struct pmem_heap *heap = pool->heap;
	struct heap_chunk *fresh = NULL;

	for (unsigned int effort = 0; effort < 3; effort++) {
		if (effort == 2)
			lanes_reclaim(pool, lane);
		pmem_lock_take(&heap->lock);
		if (effort == 1)
			runs_read_all(heap);
		lane->runs[class] = run_from_list(heap, class);
		if (lane->runs[class] == NULL)
			fresh = heap_chunks_take(heap, 1, HEAP_RUN);
		pmem_lock_release(&heap->lock);
		if (lane->runs[class] != NULL)
			return 0;
		if (fresh != NULL)
			return run_make(pool, lane, fresh, class);
	}
	return -ENOSPC;
}

static int
extent_reserve(struct tp_pmem_pool *pool, struct pmem_lane *lane, uint64_t bytes,
	       uint64_t *offset_out)
{
	uint64_t count = (bytes + PMEM_CHUNK_BYTES - 1) / PMEM_CHUNK_BYTES;
	const struct heap_chunk *chunk = NULL;

	if (count > UINT32_MAX)
		return -ENOSPC;
	for (unsigned int effort = 0; effort < 3 && chunk == NULL; effort++) {
		if (effort == 2)
			lanes_reclaim(pool, lane);
		pmem_lock_take(&pool->heap->lock);
		if (effort == 1)
			runs_read_all(pool->heap);
		chunk = heap_chunks_take(pool->heap, (uint32_t)count, HEAP_EXTENT);
		pmem_lock_release(&pool->heap->lock);
	}
	if (chunk == NULL)
		return -ENOSPC;
	*offset_out = chunk->offset;
	return 0;
}

int
pmem_heap_reserve(struct tp_pmem_pool *pool, struct pmem_lane *lane, uint64_t bytes,
		  uint64_t *offset_out)
{
	uint32_t class, index;
	int ret;

	if (bytes > TP_PMEM_BLOCK_BYTES_MAX)
		return extent_reserve(pool, lane, bytes, offset_out);
	class = heap_class_of(bytes);
	for (;;) {
		struct heap_chunk *chunk = lane->runs[class];

		if (likely(chunk != NULL)) {
			index = run_take(chunk);
			if (likely(index != BLOCK_NONE)) {
				*offset_out = chunk->offset + (uint64_t)index * heap_class_bytes(class);
				return 0;
			}
			lane->runs[class] = NULL;
			run_leave(pool->heap, chunk);
		}
		ret = run_next(pool, lane, class);
		if (ret < 0)
			return ret;
	}
}

static void
run_give(struct pmem_heap *heap, struct heap_chunk *chunk, uint64_t offset)
{
	uint32_t index = (uint32_t)(offset - chunk->offset) / heap_class_bytes(chunk->class);
	uint64_t bit = UINT64_C(1) << index % PMEM_BITS_PER_WORD;
	uint32_t free_count;

	/* release: pairs with the acquire in run_take() */
	if ((atomic_fetch_and_explicit(&chunk->bits[index / PMEM_BITS_PER_WORD], ~bit,
			memory_order_release) & bit) == 0)
		return;		/* two transactions freed it: the second changes nothing */
	free_count = atomic_fetch_add(&chunk->free_count, 1) + 1;
	if (atomic_load(&chunk->is_owned))
		return;
	if (atomic_load_explicit(&chunk->is_listed, memory_order_relaxed) &&
			free_count != heap_class_blocks(chunk->class))
		return;
	pmem_lock_take(&heap->lock);
	if (chunk->state == HEAP_RUN && !atomic_load_explicit(&chunk->is_owned, memory_order_relaxed))
		run_file(heap, chunk);
	pmem_lock_release(&heap->lock);
}

int
pmem_heap_free_prepare(struct pmem_heap *heap, uint64_t offset)
{
	const struct heap_zone *zone;
	struct heap_chunk *chunk = heap_chunk_find(heap, offset, &zone);
	int ret = 0;

	if (chunk->state != HEAP_RUN || heap_chunk_bits(chunk) != NULL)
		return 0;
	pmem_lock_take(&heap->lock);
	if (chunk->bits == NULL)
		ret = run_load(heap, chunk);
	pmem_lock_release(&heap->lock);
	return ret;
}

void
pmem_heap_release(struct pmem_heap *heap, uint64_t offset)
{
	const struct heap_zone *zone;
	struct heap_chunk *chunk = heap_chunk_find(heap, offset, &zone);

	if (chunk == NULL)
		return;
	if (chunk->state == HEAP_EXTENT) {
		pmem_lock_take(&heap->lock);
		heap_chunks_give(heap, chunk, chunk->extent_chunks);
		pmem_lock_release(&heap->lock);
		return;
	}
	if (chunk->bits != NULL)
		run_give(heap, chunk, offset);
}

static int
extent_entries(struct pmem_buffer *stage, const struct heap_zone *zone,
	       const struct heap_chunk *chunk, bool taken)
{
	uint32_t count = chunk->extent_chunks;
	struct pmem_kind kind = { .kind = PMEM_CHUNK_EXTENT, .number = count };
	uint64_t offset = heap_kind_offset(zone, chunk);
	int ret;

	if (!taken)
		return pmem_entry_word(stage, PMEM_ENTRY_FILL, offset, (uint64_t)count * 8, 0);
	ret = pmem_entry_word(stage, PMEM_ENTRY_FILL, offset, 8,
		rte_cpu_to_le_64(pmem_kind_word(kind)));
	kind = (struct pmem_kind){ .kind = PMEM_CHUNK_BODY };
	if (ret == 0 && count > 1)
		ret = pmem_entry_word(stage, PMEM_ENTRY_FILL, offset + 8, (uint64_t)(count - 1) * 8,
			rte_cpu_to_le_64(pmem_kind_word(kind)));
	return ret;
}

static int
block_compare(const void *a, const void *b)
{
	uint64_t x = ((const struct pmem_block *)a)->offset;
	uint64_t y = ((const struct pmem_block *)b)->offset;

	return x < y ? -1 : x > y;
}

int
pmem_heap_entries(struct pmem_heap *heap, struct pmem_buffer *stage, struct pmem_block *blocks,
		  size_t count, bool taken)
{
	enum pmem_entry_kind kind = taken ? PMEM_ENTRY_SET : PMEM_ENTRY_CLEAR;
	uint64_t word_offset = 0, mask = 0;
	int ret = 0;

	if (count > 2)
		qsort(blocks, count, sizeof(*blocks), block_compare);
	for (size_t i = 0; i < count && ret == 0; i++) {
		const struct heap_zone *zone;
		const struct heap_chunk *chunk;
		uint32_t index;
		uint64_t at;

		if (blocks[i].is_gone)
			continue;
		chunk = heap_chunk_find(heap, blocks[i].offset, &zone);
		if (chunk->state == HEAP_EXTENT) {
			ret = extent_entries(stage, zone, chunk, taken);
			continue;
		}
		index = (uint32_t)(blocks[i].offset - chunk->offset) / heap_class_bytes(chunk->class);
		at = heap_bitmap_offset(zone, chunk) + index / PMEM_BITS_PER_WORD * 8;
		if (at != word_offset && mask != 0) {
			ret = pmem_entry_word(stage, kind, word_offset, 8, mask);
			mask = 0;
		}
		word_offset = at;
		mask |= UINT64_C(1) << index % PMEM_BITS_PER_WORD;
	}
	if (ret == 0 && mask != 0)
		ret = pmem_entry_word(stage, kind, word_offset, 8, mask);
	return ret;
}
