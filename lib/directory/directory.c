/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The page directory: regions and their arrays of entries. Regions are added
 * and removed by the main lcore; entries belong to the workers of their shards.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <rte_branch_prediction.h>
#include <rte_errno.h>
#include <rte_prefetch.h>

#include "directory_priv.h"
#include "tp_generation.h"

#define DIRECTORY_REGIONS_MAX 65536
#define DIRECTORY_WORKERS_MAX 256
#define DIRECTORY_COARSE_BITS 256

void *
directory_reserve(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		return NULL;
	/* A huge page for one entry would cost 2 MiB and its zeroing on the datapath. */
	(void)madvise(memory, bytes, MADV_NOHUGEPAGE);
	return memory;
}

void
directory_unreserve(void *memory, size_t bytes)
{
	if (memory != NULL)
		munmap(memory, bytes);
}

static bool
directory_config_is_valid(const struct tp_directory_config *config)
{
	return config->region_count_max >= 1 && config->region_count_max <= DIRECTORY_REGIONS_MAX &&
		config->worker_count_max >= 1 &&
		config->worker_count_max <= DIRECTORY_WORKERS_MAX &&
		config->node_id_max < TP_NODE_COUNT_MAX;
}

struct tp_directory *
tp_directory_create(const struct tp_directory_config *config)
{
	struct tp_directory *directory;

	if (!directory_config_is_valid(config)) {
		rte_errno = EINVAL;
		return NULL;
	}
	directory = calloc(1, sizeof(*directory) +
		config->region_count_max * sizeof(directory->slots[0]));
	if (directory == NULL)
		goto no_memory;
	directory->workers = calloc(config->worker_count_max, sizeof(directory->workers[0]));
	if (directory->workers == NULL)
		goto free_directory;
	directory->config = *config;
	directory->bitmap_words = config->node_id_max / 64 + 1;
	while (config->node_id_max >> directory->coarse_shift >= DIRECTORY_COARSE_BITS)
		directory->coarse_shift++;
	return directory;

free_directory:
	free(directory);
no_memory:
	rte_errno = ENOMEM;
	return NULL;
}

void
tp_directory_destroy(struct tp_directory *directory)
{
	if (directory == NULL)
		return;
	for (uint32_t i = 0; i < directory->worker_count; i++)
		directory_worker_destroy(directory->workers[i]);
	for (uint32_t i = 0; i < directory->config.region_count_max; i++)
		directory_unreserve(directory->slots[i].entries, directory->slots[i].map_bytes);
	free(directory->workers);
	free(directory);
}

int
tp_directory_region_slot(const struct tp_directory *directory, uint32_t region_id)
{
	for (uint32_t i = 0; i < directory->config.region_count_max; i++)
		if (directory->slots[i].entries != NULL &&
				directory->slots[i].region_id == region_id)
			return (int)i;
	return -ENOENT;
}

static int
directory_slot_free(const struct tp_directory *directory)
{
	for (uint32_t i = 0; i < directory->config.region_count_max; i++)
		if (directory->slots[i].entries == NULL)
			return (int)i;
	return -ENOSPC;
}

int
tp_directory_region_add(struct tp_directory *directory, uint32_t region_id, uint64_t generation,
	uint32_t page_count)
{
	size_t chunks = RTE_ALIGN_CEIL((size_t)page_count, DIRECTORY_CHUNK_ENTRIES) /
		DIRECTORY_CHUNK_ENTRIES;
	size_t entry_bytes = chunks * DIRECTORY_CHUNK_BYTES;
	struct directory_slot *slot;
	int index;

	if (region_id == 0 || !tp_generation_is_valid(generation) || page_count == 0)
		return -EINVAL;
	if (tp_directory_region_slot(directory, region_id) >= 0)
		return -EEXIST;
	index = directory_slot_free(directory);
	if (index < 0)
		return index;

	slot = &directory->slots[index];
	slot->touched_bytes = RTE_ALIGN_CEIL(chunks, (size_t)64) / 8;
	slot->map_bytes = entry_bytes + slot->touched_bytes;
	slot->region_id = region_id;
	slot->generation = generation;
	slot->page_count = page_count;
	slot->entries = directory_reserve(slot->map_bytes);
	if (slot->entries == NULL)
		return -ENOMEM;
	slot->touched = (_Atomic uint64_t *)RTE_PTR_ADD(slot->entries, entry_bytes);
	return index;
}

/* Chunks of a slot that were touched. */
static uint64_t
directory_slot_chunks(const struct directory_slot *slot)
{
	uint64_t count = 0;

	for (size_t i = 0; i < slot->touched_bytes / sizeof(uint64_t); i++)
		count += (uint64_t)__builtin_popcountll(
			atomic_load_explicit(&slot->touched[i], memory_order_relaxed));
	return count;
}

int
tp_directory_region_remove(struct tp_directory *directory, uint32_t region_id)
{
	int index = tp_directory_region_slot(directory, region_id);
	struct directory_slot *slot;

	if (index < 0)
		return index;
	slot = &directory->slots[index];
	atomic_fetch_sub_explicit(&directory->chunks_touched, directory_slot_chunks(slot),
		memory_order_relaxed);
	directory_unreserve(slot->entries, slot->map_bytes);
	*slot = (struct directory_slot){ 0 };
	return 0;
}

uint32_t
tp_directory_region_pages(const struct tp_directory *directory, uint32_t slot)
{
	RTE_ASSERT(slot < directory->config.region_count_max);
	return directory->slots[slot].page_count;
}

/*
 * First touch of an entry. Its chunk may hold entries of other workers, who
 * mark it at the same time: hence the atomic or.
 */
static void
directory_entry_make(struct tp_directory *directory, struct directory_slot *slot,
	struct tp_directory_entry *entry, uint32_t home_index)
{
	uint32_t chunk = home_index / DIRECTORY_CHUNK_ENTRIES;
	uint64_t bit = UINT64_C(1) << chunk % 64;
	uint64_t before;

	entry->owner = TP_NODE_NONE;
	/* Other workers' walks look at this word alone: tp_directory_entry_next(). */
	__atomic_store_n(&entry->generation, slot->generation, __ATOMIC_RELAXED);
	if (atomic_load_explicit(&slot->touched[chunk / 64], memory_order_relaxed) & bit)
		return;
	before = atomic_fetch_or_explicit(&slot->touched[chunk / 64], bit, memory_order_relaxed);
	if (!(before & bit))
		atomic_fetch_add_explicit(&directory->chunks_touched, 1, memory_order_relaxed);
}

void
tp_directory_entry_prefetch(const struct tp_directory *directory, uint32_t slot_index,
	uint32_t home_index)
{
	rte_prefetch0(&directory->slots[slot_index].entries[home_index]);
}

struct tp_directory_entry *
tp_directory_entry_get(struct tp_directory *directory, uint32_t slot_index, uint32_t home_index)
{
	struct directory_slot *slot = &directory->slots[slot_index];
	struct tp_directory_entry *entry = &slot->entries[home_index];

	RTE_ASSERT(slot_index < directory->config.region_count_max && slot->entries != NULL);
	RTE_ASSERT(home_index < slot->page_count);
	if (unlikely(entry->generation == TP_GENERATION_NONE))
		directory_entry_make(directory, slot, entry, home_index);
	return entry;
}

/* First touched chunk at or after from, or chunk_count. */
static uint32_t
directory_chunk_next(const struct directory_slot *slot, uint32_t from, uint32_t chunk_count)
{
	while (from < chunk_count) {
		uint64_t word = atomic_load_explicit(&slot->touched[from / 64],
			memory_order_relaxed) >> from % 64;

		if (word != 0)
			return from + (uint32_t)__builtin_ctzll(word);
		from = (from / 64 + 1) * 64;
	}
	return chunk_count;
}

uint32_t
tp_directory_entry_next(const struct tp_directory *directory, uint32_t slot_index, uint32_t from)
{
	const struct directory_slot *slot = &directory->slots[slot_index];
	uint32_t chunk_count = (uint32_t)(((uint64_t)slot->page_count +
		DIRECTORY_CHUNK_ENTRIES - 1) / DIRECTORY_CHUNK_ENTRIES);

	RTE_ASSERT(slot_index < directory->config.region_count_max);
	while (from < slot->page_count) {
		uint32_t chunk = from / DIRECTORY_CHUNK_ENTRIES;
		uint32_t touched = directory_chunk_next(slot, chunk, chunk_count);
		uint64_t end;

		if (touched == chunk_count)
			break;
		if (touched != chunk)
			from = touched * DIRECTORY_CHUNK_ENTRIES;
		end = RTE_MIN((uint64_t)slot->page_count,
			((uint64_t)touched + 1) * DIRECTORY_CHUNK_ENTRIES);
		for (; from < end; from++)
			if (__atomic_load_n(&slot->entries[from].generation, __ATOMIC_RELAXED) !=
					TP_GENERATION_NONE)
				return from;
	}
	return TP_DIRECTORY_INDEX_NONE;
}

uint64_t
tp_directory_bytes(const struct tp_directory *directory)
{
	uint64_t bytes = sizeof(*directory) +
		directory->config.region_count_max * sizeof(directory->slots[0]) +
		directory->config.worker_count_max * sizeof(directory->workers[0]);

	bytes += atomic_load_explicit(&directory->chunks_touched, memory_order_relaxed) *
		DIRECTORY_CHUNK_BYTES;
	for (uint32_t i = 0; i < directory->config.region_count_max; i++)
		bytes += directory->slots[i].touched_bytes;
	for (uint32_t i = 0; i < directory->worker_count; i++)
		bytes += directory_worker_bytes(directory->workers[i]);
	return bytes;
}
