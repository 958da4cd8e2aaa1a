/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The heap as programs see it beside transactions: one-call forms, walks, reports.
 * What is counted is what the media says: blocks of transactions that committed.
 */
#include <string.h>

#include "heap.h"

int
tp_pmem_alloc(struct tp_pmem_pool *pool, size_t bytes, uint32_t flags, uint64_t *place)
{
	struct tp_pmem_tx *tx;
	uint64_t offset;
	int ret = tp_pmem_tx_begin(pool, &tx);

	if (ret < 0)
		return ret;
	ret = tp_pmem_tx_alloc(tx, bytes, flags, &offset);
	if (ret == 0)
		ret = tp_pmem_tx_add_range(tx, place, sizeof(*place));
	if (ret < 0) {
		tp_pmem_tx_abort(tx);
		return ret;
	}
	*place = offset;
	return tp_pmem_tx_commit(tx, 0);
}

int
tp_pmem_free(struct tp_pmem_pool *pool, uint64_t *place)
{
	struct tp_pmem_tx *tx;
	int ret;

	if (*place == 0)
		return 0;
	ret = tp_pmem_tx_begin(pool, &tx);
	if (ret < 0)
		return ret;
	ret = tp_pmem_tx_free(tx, *place);
	if (ret == 0)
		ret = tp_pmem_tx_add_range(tx, place, sizeof(*place));
	if (ret < 0) {
		tp_pmem_tx_abort(tx);
		return ret;
	}
	*place = 0;
	return tp_pmem_tx_commit(tx, 0);
}

uint64_t
tp_pmem_block_bytes(const struct tp_pmem_pool *pool, uint64_t offset)
{
	return pmem_heap_block_bytes(pool->heap, offset);
}

static uint64_t
media_word(const struct tp_pmem_pool *pool, uint64_t offset)
{
	return __atomic_load_n((const uint64_t *)(const void *)(pool->device->media + offset),
		__ATOMIC_RELAXED);
}

/* Kind of a chunk on the media; of a damaged one that of a body: nothing begins there. */
static struct pmem_kind
chunk_kind(const struct tp_pmem_pool *pool, const struct heap_zone *zone,
	   const struct heap_chunk *chunk)
{
	struct pmem_kind kind;

	if (!pmem_kind_decode(media_word(pool, heap_kind_offset(zone, chunk)),
			zone->chunk_count - (uint32_t)(chunk - zone->chunks), &kind))
		kind = (struct pmem_kind){ .kind = PMEM_CHUNK_BODY };
	return kind;
}

/* Bits of a bitmap word that are blocks taken. */
static uint64_t
bitmap_bits(const struct tp_pmem_pool *pool, const struct heap_zone *zone,
	    const struct heap_chunk *chunk, uint32_t class, uint32_t word)
{
	uint32_t used = RTE_MIN(heap_class_blocks(class) - word * PMEM_BITS_PER_WORD,
		PMEM_BITS_PER_WORD);
	uint64_t bits = media_word(pool, heap_bitmap_offset(zone, chunk) + (uint64_t)word * 8);

	if (!pmem_bitmap_word_is_sound(bits))
		bits = UINT64_MAX;
	return bits & ((UINT64_C(1) << used) - 1);
}

/* First block of a chunk at or after an offset in it; 0: none. */
static uint64_t
chunk_block_next(const struct tp_pmem_pool *pool, const struct heap_zone *zone,
		 const struct heap_chunk *chunk, uint64_t from)
{
	struct pmem_kind kind = chunk_kind(pool, zone, chunk);
	uint32_t bytes, index, words;

	if (kind.kind == PMEM_CHUNK_EXTENT)
		return from <= chunk->offset ? chunk->offset : 0;
	if (kind.kind != PMEM_CHUNK_RUN)
		return 0;
	bytes = heap_class_bytes(kind.class);
	index = from <= chunk->offset ? 0 : (uint32_t)((from - chunk->offset + bytes - 1) / bytes);
	words = heap_class_words(kind.class);
	for (uint32_t w = index / PMEM_BITS_PER_WORD; w < words; w++) {
		uint64_t bits = bitmap_bits(pool, zone, chunk, kind.class, w);

		if (w == index / PMEM_BITS_PER_WORD)
			bits &= UINT64_MAX << index % PMEM_BITS_PER_WORD;
		if (bits != 0)
			return chunk->offset + (uint64_t)bytes *
				(w * PMEM_BITS_PER_WORD + (uint32_t)__builtin_ctzll(bits));
	}
	return 0;
}

uint64_t
tp_pmem_block_next(const struct tp_pmem_pool *pool, uint64_t offset)
{
	const struct pmem_heap *heap = pool->heap;
	uint32_t count = atomic_load_explicit(&heap->zone_count, memory_order_acquire);

	for (uint32_t z = 0; z < count; z++) {
		const struct heap_zone *zone = &heap->zones[z];
		uint64_t end = zone->chunks_offset + (uint64_t)zone->chunk_count * PMEM_CHUNK_BYTES;
		uint64_t from = RTE_MAX(offset + 1, zone->chunks_offset);

		for (; from < end; from = RTE_ALIGN_FLOOR(from - zone->chunks_offset,
				(uint64_t)PMEM_CHUNK_BYTES) + zone->chunks_offset + PMEM_CHUNK_BYTES) {
			uint64_t block = chunk_block_next(pool, zone,
				&zone->chunks[(from - zone->chunks_offset) / PMEM_CHUNK_BYTES], from);

			if (block != 0)
				return block;
		}
	}
	return 0;
}

static void
chunk_info(const struct tp_pmem_pool *pool, const struct heap_zone *zone,
	   const struct heap_chunk *chunk, struct tp_pmem_chunk_info *info)
{
	struct pmem_kind kind = chunk_kind(pool, zone, chunk);

	*info = (struct tp_pmem_chunk_info){
		.offset = chunk->offset,
		.bytes = PMEM_CHUNK_BYTES,
		.wear = atomic_load_explicit(&chunk->wear, memory_order_relaxed),
	};
	if (kind.kind == PMEM_CHUNK_RUN) {
		info->block_bytes = heap_class_bytes(kind.class);
		info->block_count = heap_class_blocks(kind.class);
		for (uint32_t w = 0; w < heap_class_words(kind.class); w++)
			info->allocated_count += (uint32_t)__builtin_popcountll(
				bitmap_bits(pool, zone, chunk, kind.class, w));
	} else if (kind.kind == PMEM_CHUNK_EXTENT) {
		info->is_extent = true;
		info->block_count = 1;
		info->allocated_count = 1;
		info->bytes = (uint64_t)kind.number * PMEM_CHUNK_BYTES;
		for (uint32_t i = 1; i < kind.number; i++)
			info->wear += atomic_load_explicit(&chunk[i].wear, memory_order_relaxed);
	}
}

bool
tp_pmem_chunk_info_next(const struct tp_pmem_pool *pool, uint64_t *index,
			struct tp_pmem_chunk_info *info)
{
	const struct pmem_heap *heap = pool->heap;
	uint32_t count = atomic_load_explicit(&heap->zone_count, memory_order_acquire);
	uint64_t first = 0;

	for (uint32_t z = 0; z < count; z++) {
		const struct heap_zone *zone = &heap->zones[z];

		if (*index < first + zone->chunk_count) {
			chunk_info(pool, zone, &zone->chunks[*index - first], info);
			*index += info->bytes / PMEM_CHUNK_BYTES;
			return true;
		}
		first += zone->chunk_count;
	}
	return false;
}

static void
heap_info_add(struct tp_pmem_heap_info *info, const struct tp_pmem_chunk_info *chunk)
{
	uint32_t chunks = (uint32_t)(chunk->bytes / PMEM_CHUNK_BYTES);
	uint64_t wear = chunk->wear / chunks;

	info->bytes += chunk->bytes;
	info->chunk_count += chunks;
	info->allocated_count += chunk->allocated_count;
	info->wear_sum += chunk->wear;
	info->wear_max = RTE_MAX(info->wear_max, wear);
	info->wear_min = RTE_MIN(info->wear_min, wear);
	if (chunk->is_extent) {
		info->allocated_bytes += chunk->bytes;
	} else if (chunk->allocated_count > 0) {
		info->chunk_run_count++;
		info->allocated_bytes += (uint64_t)chunk->allocated_count * chunk->block_bytes;
		info->free_block_bytes += (uint64_t)(chunk->block_count - chunk->allocated_count) *
			chunk->block_bytes;
	} else {
		info->chunk_free_count++;
		info->free_chunk_bytes += chunk->bytes;
	}
}

void
tp_pmem_heap_info_get(struct tp_pmem_pool *pool, struct tp_pmem_heap_info *info)
{
	struct tp_pmem_chunk_info chunk;
	uint64_t index = 0, hole = 0, hole_end = 0, free_bytes;

	*info = (struct tp_pmem_heap_info){ .wear_min = UINT64_MAX };
	while (tp_pmem_chunk_info_next(pool, &index, &chunk)) {
		heap_info_add(info, &chunk);
		if (chunk.is_extent || chunk.allocated_count > 0) {
			hole = 0;
			continue;
		}
		/* Zones do not touch each other: a hole ends with its zone. */
		hole = chunk.offset == hole_end ? hole + chunk.bytes : chunk.bytes;
		hole_end = chunk.offset + chunk.bytes;
		info->free_extent_bytes_max = RTE_MAX(info->free_extent_bytes_max, hole);
	}
	free_bytes = info->free_chunk_bytes + info->free_block_bytes;
	if (free_bytes > 0)
		info->fragmentation = 1.0 - (double)info->free_extent_bytes_max / (double)free_bytes;
}
