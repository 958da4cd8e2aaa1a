/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Zones and chunks: read from the media, found by offset, worn.
 */
#include <stdlib.h>

#include "heap.h"

#define HEAP_WEAR_LINES (UINT64_C(1) << 18)	/* 16 MiB written: worth to be stored */

static uint64_t
media_word(const struct pmem_heap *heap, uint64_t offset)
{
	return __atomic_load_n((const uint64_t *)(const void *)(heap->pool->device->media + offset),
		__ATOMIC_RELAXED);
}

uint32_t
pmem_heap_zone_chunks(uint64_t bytes)
{
	uint64_t count = bytes / PMEM_CHUNK_BYTES;

	while (count > 0 && heap_zone_head_bytes(count) + count * PMEM_CHUNK_BYTES > bytes)
		count--;
	return (uint32_t)count;
}

uint64_t
heap_kind_offset(const struct heap_zone *zone, const struct heap_chunk *chunk)
{
	return zone->offset + (uint64_t)(chunk - zone->chunks) * 8;
}

uint64_t
heap_bitmap_offset(const struct heap_zone *zone, const struct heap_chunk *chunk)
{
	return zone->bitmap_offset + (uint64_t)(chunk - zone->chunks) * PMEM_BITMAP_BYTES;
}

struct heap_chunk *
heap_chunk_find(const struct pmem_heap *heap, uint64_t offset, const struct heap_zone **zone_out)
{
	/* acquire: pairs with the release in pmem_heap_zone_add() */
	uint32_t count = atomic_load_explicit(&heap->zone_count, memory_order_acquire);

	for (uint32_t i = 0; i < count; i++) {
		const struct heap_zone *zone = &heap->zones[i];
		uint64_t index = (offset - zone->chunks_offset) / PMEM_CHUNK_BYTES;

		if (offset >= zone->chunks_offset && index < zone->chunk_count) {
			*zone_out = zone;
			return &zone->chunks[index];
		}
	}
	return NULL;
}

bool
pmem_heap_covers(const struct pmem_heap *heap, uint64_t offset, uint64_t bytes)
{
	const struct heap_zone *zone;

	if (heap_chunk_find(heap, offset, &zone) == NULL)
		return false;
	return bytes <= zone->chunks_offset + (uint64_t)zone->chunk_count * PMEM_CHUNK_BYTES - offset;
}

uint64_t
pmem_heap_block_bytes(const struct pmem_heap *heap, uint64_t offset)
{
	const struct heap_zone *zone;
	const struct heap_chunk *chunk = heap_chunk_find(heap, offset, &zone);
	_Atomic uint64_t *bits;
	uint32_t bytes, index;

	if (chunk == NULL)
		return 0;
	if (chunk->state == HEAP_EXTENT)
		return offset == chunk->offset ?
			(uint64_t)chunk->extent_chunks * PMEM_CHUNK_BYTES : 0;
	if (chunk->state != HEAP_RUN)
		return 0;
	bytes = heap_class_bytes(chunk->class);
	index = (uint32_t)(offset - chunk->offset) / bytes;
	if (chunk->offset + (uint64_t)index * bytes != offset ||
			index >= heap_class_blocks(chunk->class))
		return 0;
	bits = heap_chunk_bits(chunk);
	if (bits != NULL)
		return (atomic_load_explicit(&bits[index / PMEM_BITS_PER_WORD],
			memory_order_relaxed) >> index % PMEM_BITS_PER_WORD & 1) != 0 ? bytes : 0;
	return (media_word(heap, heap_bitmap_offset(zone, chunk) + index / PMEM_BITS_PER_WORD * 8) >>
		index % PMEM_BITS_PER_WORD & 1) != 0 ? bytes : 0;
}

void
pmem_heap_wear_add(struct pmem_heap *heap, uint64_t offset, uint64_t bytes)
{
	while (bytes > 0) {
		const struct heap_zone *zone;
		struct heap_chunk *chunk = heap_chunk_find(heap, offset, &zone);
		uint64_t part, index, lines;

		if (chunk == NULL)
			return;		/* metadata and roots are not counted */
		part = RTE_MIN(bytes, chunk->offset + PMEM_CHUNK_BYTES - offset);
		index = (uint64_t)(chunk - zone->chunks);
		lines = (offset % 64 + part + 63) / 64;
		heap->worn_lines += lines;
		atomic_store_explicit(&chunk->wear, atomic_load_explicit(&chunk->wear,
			memory_order_relaxed) + lines, memory_order_relaxed);
		zone->worn_words[index / 64] |= UINT64_C(1) << index % 64;
		offset += part;
		bytes -= part;
	}
}

/* Counts of 64 chunks, a bit each. Lines are flushed once. */
static void
wear_words_store(struct pmem_heap *heap, const struct heap_zone *zone, uint32_t first, uint64_t worn)
{
	struct tp_pmem_device *device = heap->pool->device;
	uint8_t *media = device->media + zone->wear_offset + (uint64_t)first * 8;
	uint32_t begin = (uint32_t)__builtin_ctzll(worn);
	uint32_t end = 64 - (uint32_t)__builtin_clzll(worn);

	for (; worn != 0; worn &= worn - 1) {
		uint32_t index = (uint32_t)__builtin_ctzll(worn);
		uint64_t wear = atomic_load_explicit(&zone->chunks[first + index].wear,
			memory_order_relaxed);

		device->ops->write(device, media + (uint64_t)index * 8, &wear, sizeof(wear));
	}
	device->ops->flush(device, media + (uint64_t)begin * 8, (uint64_t)(end - begin) * 8);
}

void
pmem_heap_wear_store(struct pmem_heap *heap, bool all)
{
	if (!all && heap->worn_lines < HEAP_WEAR_LINES)
		return;
	heap->worn_lines = 0;
	for (uint32_t z = 0; z < atomic_load_explicit(&heap->zone_count, memory_order_relaxed); z++) {
		struct heap_zone *zone = &heap->zones[z];

		for (uint32_t i = 0; i < (zone->chunk_count + 63) / 64; i++) {
			if (zone->worn_words[i] != 0)
				wear_words_store(heap, zone, i * 64, zone->worn_words[i]);
			zone->worn_words[i] = 0;
		}
	}
}

/* One chunk from its kind word. A row of chunks of an extent is read from its first. */
static uint32_t
chunk_load(struct pmem_heap *heap, struct heap_zone *zone, uint32_t index)
{
	struct heap_chunk *chunk = &zone->chunks[index];
	struct pmem_kind kind;

	chunk->state = HEAP_DAMAGED;
	if (!pmem_kind_decode(media_word(heap, heap_kind_offset(zone, chunk)),
			zone->chunk_count - index, &kind))
		return 1;
	if (kind.kind == PMEM_CHUNK_FREE) {
		chunk->state = HEAP_FREE;
		zone->free_words[index / 64] |= UINT64_C(1) << index % 64;
	} else if (kind.kind == PMEM_CHUNK_RUN) {
		chunk->state = HEAP_RUN;
		chunk->class = kind.class;
		atomic_store_explicit(&chunk->is_listed, true, memory_order_relaxed);
		TAILQ_INSERT_TAIL(&heap->lists[kind.class], chunk, item);
	} else if (kind.kind == PMEM_CHUNK_EXTENT) {
		chunk->state = HEAP_EXTENT;
		chunk->extent_chunks = kind.number;
		for (uint32_t i = 1; i < kind.number; i++)
			zone->chunks[index + i].state = HEAP_BODY;
		return kind.number;
	}
	return 1;
}

int
pmem_heap_zone_add(struct pmem_heap *heap, uint64_t offset, uint32_t chunk_count)
{
	uint32_t zone_count = atomic_load_explicit(&heap->zone_count, memory_order_relaxed);
	struct heap_zone *zone = &heap->zones[zone_count];
	size_t words = (chunk_count + 63) / 64;

	*zone = (struct heap_zone){
		.offset = offset,
		.wear_offset = offset + (uint64_t)chunk_count * 8,
		.bitmap_offset = offset + (uint64_t)chunk_count * 16,
		.chunks_offset = offset + heap_zone_head_bytes(chunk_count),
		.chunk_count = chunk_count,
		.chunks = calloc(chunk_count, sizeof(*zone->chunks)),
		.free_words = calloc(words, sizeof(uint64_t)),
		.worn_words = calloc(words, sizeof(uint64_t)),
	};
	if (zone->chunks == NULL || zone->free_words == NULL || zone->worn_words == NULL) {
		free(zone->chunks);
		free(zone->free_words);
		free(zone->worn_words);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < chunk_count; i++) {
		zone->chunks[i].offset = zone->chunks_offset + (uint64_t)i * PMEM_CHUNK_BYTES;
		atomic_init(&zone->chunks[i].wear, media_word(heap, zone->wear_offset + (uint64_t)i * 8));
	}
	for (uint32_t i = 0; i < chunk_count;)
		i += chunk_load(heap, zone, i);
	/* release: pairs with the acquire in heap_chunk_find() */
	atomic_store_explicit(&heap->zone_count, zone_count + 1, memory_order_release);
	return 0;
}

int
pmem_heap_create(struct tp_pmem_pool *pool)
{
	struct pmem_heap *heap = calloc(1, sizeof(*heap));
	int ret = 0;

	if (heap == NULL)
		return -ENOMEM;
	heap->pool = pool;
	for (uint32_t i = 0; i < PMEM_CLASS_COUNT; i++)
		TAILQ_INIT(&heap->lists[i]);
	for (uint32_t i = 0; i < rte_le_to_cpu_32(pool->super.zone_count) && ret == 0; i++)
		ret = pmem_heap_zone_add(heap, rte_le_to_cpu_64(pool->super.zones[i].offset),
			rte_le_to_cpu_32(pool->super.zones[i].chunk_count));
	if (ret < 0) {
		pmem_heap_destroy(heap);
		return ret;
	}
	pool->heap = heap;
	return 0;
}

void
pmem_heap_destroy(struct pmem_heap *heap)
{
	if (heap == NULL)
		return;
	for (uint32_t i = 0; i < atomic_load_explicit(&heap->zone_count, memory_order_relaxed); i++) {
		struct heap_zone *zone = &heap->zones[i];

		for (uint32_t c = 0; c < zone->chunk_count; c++)
			free((void *)(uintptr_t)zone->chunks[c].bits);
		free(zone->chunks);
		free(zone->free_words);
		free(zone->worn_words);
	}
	free(heap);
}
