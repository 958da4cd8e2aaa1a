/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What a worker lcore has of the page directory for itself: bitmaps for sharer
 * sets that outgrow their entry, transients, counters. The main lcore creates
 * it; afterwards its worker alone changes it, and any thread reads the counters.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_branch_prediction.h>
#include <rte_errno.h>

#include "directory_priv.h"

#define DIRECTORY_PAYLOAD_BYTES_MAX (1024 * 1024)

static int
directory_bitmaps_init(struct directory_bitmap_pool *pool, uint32_t count_max, uint32_t words)
{
	pool->stride_words = RTE_ALIGN_CEIL(words, RTE_CACHE_LINE_SIZE / sizeof(uint64_t));
	pool->count_max = count_max;
	if (count_max == 0)
		return 0;
	pool->map_bytes = (size_t)count_max * pool->stride_words * sizeof(uint64_t);
	pool->words = directory_reserve(pool->map_bytes);
	return pool->words == NULL ? -ENOMEM : 0;
}

static int
directory_transients_init(struct directory_transients *table, uint32_t count_max, uint32_t bytes)
{
	table->stride = RTE_ALIGN_CEIL((size_t)RTE_MAX(bytes, 1u), (size_t)RTE_CACHE_LINE_SIZE);
	table->count_max = count_max;
	if (count_max == 0)
		return 0;
	table->next = malloc(count_max * sizeof(table->next[0]));
	table->taken = calloc((size_t)count_max / 64 + 1, sizeof(table->taken[0]));
	table->payloads = aligned_alloc(RTE_CACHE_LINE_SIZE, count_max * table->stride);
	if (table->next == NULL || table->taken == NULL || table->payloads == NULL)
		return -ENOMEM;
	memset(table->payloads, 0, count_max * table->stride);
	for (uint32_t i = 0; i < count_max; i++)
		table->next[i] = i + 1 < count_max ? i + 2 : 0;
	table->free_first = 1;
	return 0;
}

struct tp_directory_worker *
tp_directory_worker_create(struct tp_directory *directory,
	const struct tp_directory_worker_config *config)
{
	struct tp_directory_worker *worker;
	uint32_t bitmap_count = config->bitmap_count_max;

	if (config->bitmap_count_max == UINT32_MAX || config->transient_count_max == UINT32_MAX ||
			config->transient_bytes > DIRECTORY_PAYLOAD_BYTES_MAX) {
		rte_errno = EINVAL;
		return NULL;
	}
	if (directory->worker_count == directory->config.worker_count_max) {
		rte_errno = ENOSPC;
		return NULL;
	}
	/* A coarse vector with one node a bit is exact: no bitmap is ever needed. */
	if (directory->coarse_shift == 0)
		bitmap_count = 0;

	worker = calloc(1, sizeof(*worker));
	if (worker == NULL)
		goto no_memory;
	worker->directory = directory;
	if (directory_bitmaps_init(&worker->bitmaps, bitmap_count, directory->bitmap_words) < 0 ||
			directory_transients_init(&worker->transients, config->transient_count_max,
				config->transient_bytes) < 0)
		goto destroy_worker;
	directory->workers[directory->worker_count++] = worker;
	return worker;

destroy_worker:
	directory_worker_destroy(worker);
no_memory:
	rte_errno = ENOMEM;
	return NULL;
}

void
directory_worker_destroy(struct tp_directory_worker *worker)
{
	directory_unreserve(worker->bitmaps.words, worker->bitmaps.map_bytes);
	free(worker->transients.payloads);
	free(worker->transients.taken);
	free(worker->transients.next);
	free(worker);
}

uint64_t
directory_worker_bytes(const struct tp_directory_worker *worker)
{
	const struct directory_transients *table = &worker->transients;
	uint64_t bitmap_bytes = (uint64_t)worker->bitmaps.stride_words * sizeof(uint64_t) *
		atomic_load_explicit(&worker->bitmaps.fresh, memory_order_relaxed);

	return sizeof(*worker) + RTE_ALIGN_CEIL(bitmap_bytes, UINT64_C(4096)) +
		table->count_max * (table->stride + sizeof(table->next[0])) +
		table->count_max / 8;
}

void
tp_directory_stats_get(const struct tp_directory_worker *worker, struct tp_directory_stats *stats)
{
#define DIRECTORY_COUNTER_COPY(name, help) \
	stats->name = atomic_load_explicit(&worker->counters[DIRECTORY_COUNTER_##name], \
		memory_order_relaxed);
	TP_DIRECTORY_STAT_LIST(DIRECTORY_COUNTER_COPY)
#undef DIRECTORY_COUNTER_COPY
	stats->bitmaps_used = atomic_load_explicit(&worker->bitmaps.used, memory_order_relaxed);
	stats->transients_used = atomic_load_explicit(&worker->transients.used,
		memory_order_relaxed);
}

/* Owner-written word that others may read. */
static void
directory_word_add(_Atomic uint32_t *word, int32_t n)
{
	uint32_t value = atomic_load_explicit(word, memory_order_relaxed);

	atomic_store_explicit(word, value + (uint32_t)n, memory_order_relaxed);
}

uint32_t
directory_bitmap_get(struct tp_directory_worker *worker)
{
	struct directory_bitmap_pool *pool = &worker->bitmaps;
	uint32_t fresh = atomic_load_explicit(&pool->fresh, memory_order_relaxed);
	uint32_t handle = pool->free_first;

	if (handle != 0) {
		uint64_t *words = directory_bitmap_words(worker, handle);

		pool->free_first = (uint32_t)words[0];
		memset(words, 0, pool->stride_words * sizeof(words[0]));
	} else if (fresh < pool->count_max) {
		handle = fresh + 1;
		atomic_store_explicit(&pool->fresh, handle, memory_order_relaxed);
	} else {
		return 0;
	}
	directory_word_add(&pool->used, 1);
	DIRECTORY_COUNT(worker, bitmaps_taken, 1);
	return handle;
}

void
directory_bitmap_put(struct tp_directory_worker *worker, uint32_t handle)
{
	struct directory_bitmap_pool *pool = &worker->bitmaps;

	directory_bitmap_words(worker, handle)[0] = pool->free_first;
	pool->free_first = handle;
	directory_word_add(&pool->used, -1);
	DIRECTORY_COUNT(worker, bitmaps_returned, 1);
}

uint32_t
tp_directory_transient_get(struct tp_directory_worker *worker)
{
	struct directory_transients *table = &worker->transients;
	uint32_t index;

	if (unlikely(table->free_first == 0)) {
		DIRECTORY_COUNT(worker, transients_exhausted, 1);
		return TP_DIRECTORY_INDEX_NONE;
	}
	index = table->free_first - 1;
	table->free_first = table->next[index];
	table->taken[index / 64] |= UINT64_C(1) << index % 64;
	directory_word_add(&table->used, 1);
	DIRECTORY_COUNT(worker, transients_taken, 1);
	return index;
}

void
tp_directory_transient_put(struct tp_directory_worker *worker, uint32_t index)
{
	struct directory_transients *table = &worker->transients;

	RTE_ASSERT(index < table->count_max);
	RTE_ASSERT(table->taken[index / 64] & UINT64_C(1) << index % 64);
	table->taken[index / 64] &= ~(UINT64_C(1) << index % 64);
	table->next[index] = table->free_first;
	table->free_first = index + 1;
	directory_word_add(&table->used, -1);
}

void *
tp_directory_transient_payload(const struct tp_directory_worker *worker, uint32_t index)
{
	const struct directory_transients *table = &worker->transients;

	RTE_ASSERT(index < table->count_max);
	RTE_ASSERT(table->taken[index / 64] & UINT64_C(1) << index % 64);
	return table->payloads + index * table->stride;
}

uint32_t
tp_directory_transient_next(const struct tp_directory_worker *worker, uint32_t from)
{
	const struct directory_transients *table = &worker->transients;

	while (from < table->count_max) {
		uint64_t word = table->taken[from / 64] >> from % 64;

		/* Bits past count_max are never set. */
		if (word != 0)
			return from + (uint32_t)__builtin_ctzll(word);
		from = (from / 64 + 1) * 64;
	}
	return TP_DIRECTORY_INDEX_NONE;
}
