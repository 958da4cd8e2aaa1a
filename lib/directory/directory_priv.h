/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Shared by the files of the page directory: directory.c (regions, entries),
 * worker.c (bitmap pool, transients, counters), sharer.c (sharer sets).
 */
#ifndef DIRECTORY_PRIV_H
#define DIRECTORY_PRIV_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <rte_common.h>
#include <rte_debug.h>

#include "tp_directory.h"

/* A touched chunk is one system page of entries: what a first touch costs. */
#define DIRECTORY_CHUNK_BYTES 4096
#define DIRECTORY_CHUNK_ENTRIES (DIRECTORY_CHUNK_BYTES / sizeof(struct tp_directory_entry))

struct directory_slot {
	struct tp_directory_entry *entries;	/* reserved, NULL: slot is free */
	_Atomic uint64_t *touched;	/* one bit per chunk, behind the entries; any worker sets */
	size_t map_bytes;		/* of both */
	size_t touched_bytes;
	uint64_t generation;
	uint32_t region_id;
	uint32_t page_count;
};

struct tp_directory {
	struct tp_directory_config config;
	uint32_t bitmap_words;		/* of a bitmap over all node ids */
	uint32_t coarse_shift;		/* log2 of the nodes one coarse bit stands for */
	uint16_t worker_count;
	struct tp_directory_worker **workers;
	_Atomic uint64_t chunks_touched;	/* over all slots */
	struct directory_slot slots[];
};

enum directory_counter {
#define DIRECTORY_COUNTER_AS_ENUM(name, help) DIRECTORY_COUNTER_##name,
	TP_DIRECTORY_STAT_LIST(DIRECTORY_COUNTER_AS_ENUM)
#undef DIRECTORY_COUNTER_AS_ENUM
	DIRECTORY_COUNTER_COUNT
};

/* A pool of bitmaps over all node ids; memory is touched in order of need. */
struct directory_bitmap_pool {
	uint64_t *words;		/* reserved, shape [count_max][stride_words] */
	size_t map_bytes;
	uint32_t stride_words;
	uint32_t count_max;
	uint32_t free_first;		/* 1 + index of a returned one, 0: none; its first word
					 * leads to the next */
	_Atomic uint32_t fresh;		/* first never used; owner writes, any reads */
	_Atomic uint32_t used;
};

struct directory_transients {
	unsigned char *payloads;	/* shape [count_max][stride] */
	uint32_t *next;			/* free list: 1 + index, 0 ends it */
	uint64_t *taken;		/* one bit each */
	size_t stride;
	uint32_t count_max;
	uint32_t free_first;		/* 1 + index, 0: none */
	_Atomic uint32_t used;
};

struct tp_directory_worker {
	const struct tp_directory *directory;
	struct directory_bitmap_pool bitmaps;
	struct directory_transients transients;
	_Atomic uint64_t counters[DIRECTORY_COUNTER_COUNT];
};

/* The owner alone writes: a load and a store, no locked instruction. */
static inline void
directory_count(struct tp_directory_worker *worker, enum directory_counter counter, uint64_t n)
{
	uint64_t value = atomic_load_explicit(&worker->counters[counter], memory_order_relaxed);

	atomic_store_explicit(&worker->counters[counter], value + n, memory_order_relaxed);
}
#define DIRECTORY_COUNT(worker, name, n) directory_count(worker, DIRECTORY_COUNTER_##name, n)

/* Reserve zeroed memory that costs nothing until touched. NULL: no address space. */
void *directory_reserve(size_t bytes);
void directory_unreserve(void *memory, size_t bytes);

/* A zeroed bitmap: 1 + its index, 0: none is free. */
uint32_t directory_bitmap_get(struct tp_directory_worker *worker);
void directory_bitmap_put(struct tp_directory_worker *worker, uint32_t handle);

static inline uint64_t *
directory_bitmap_words(const struct tp_directory_worker *worker, uint32_t handle)
{
	RTE_ASSERT(handle != 0 && handle <= worker->bitmaps.count_max);
	return worker->bitmaps.words + (size_t)(handle - 1) * worker->bitmaps.stride_words;
}

void directory_worker_destroy(struct tp_directory_worker *worker);
uint64_t directory_worker_bytes(const struct tp_directory_worker *worker);

#endif /* DIRECTORY_PRIV_H */
