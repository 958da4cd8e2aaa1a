/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Hybrid objects: handles, their threads and counters. docs/pmem.md, "Hybrid objects".
 */
#include <inttypes.h>
#include <linux/membarrier.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hybrid_priv.h"

#define HYBRID_THREADS_DEFAULT 16u
#define HYBRID_FRAMES_MIN 4u
#define HYBRID_SPARES_SHARE 16u		/* of the cache that all threads' spares may take, inverse */
#define HYBRID_LOG_HEAD 256u		/* in a record, beside what its objects take */
#define HYBRID_LOG_OBJECT 64u		/* of each: heads of its entries, its table entry */

static void *
memory_map(uint64_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return at == MAP_FAILED ? NULL : at;
}

static void
memory_unmap(void *at, uint64_t bytes)
{
	if (at != NULL)
		munmap(at, bytes);
}

static uint64_t
words_bytes(const struct tp_pmem_hybrid *hybrid)
{
	return (uint64_t)hybrid->object_count * sizeof(*hybrid->words);
}

static uint64_t
frames_bytes(const struct tp_pmem_hybrid *hybrid)
{
	return hybrid->frame_count * hybrid->frame_stride;
}

static void
hybrid_free(struct tp_pmem_hybrid *hybrid)
{
	memory_unmap(hybrid->words, words_bytes(hybrid));
	memory_unmap(hybrid->frames, frames_bytes(hybrid));
	memory_unmap(hybrid->dirty.ids, (uint64_t)hybrid->object_count * sizeof(uint32_t));
	free(hybrid->small.ids);
	free(hybrid->main.ids);
	free(hybrid->free);
	free(hybrid->limbo);
	free(hybrid->pinned);
	free(hybrid->marks);
	free(hybrid->batch);
	free(hybrid->victims);
	free(hybrid->threads);
	free(hybrid);
}

/* How many objects one record of the log holds. */
static uint64_t
record_objects(const struct tp_pmem_hybrid *hybrid)
{
	uint64_t each = RTE_ALIGN_CEIL((uint64_t)hybrid->object_bytes, 8) + HYBRID_LOG_OBJECT;

	return (hybrid->pool->lane_bytes - HYBRID_LOG_HEAD) / each;
}

static int
limits_set(struct tp_pmem_hybrid *hybrid, const struct tp_pmem_hybrid_config *config)
{
	uint64_t fit = record_objects(hybrid);
	uint64_t dirty = config->dirty_bytes_max / hybrid->object_bytes;

	if (hybrid->object_bytes > hybrid->pool->lane_bytes / 2)
		return pmem_error(EINVAL, "hybrid: objects of %" PRIu32 " bytes need lanes of "
			"twice that", hybrid->object_bytes);
	if (config->dirty_bytes_max != 0 && dirty == 0)
		return pmem_error(EINVAL, "hybrid: limit of dirty bytes: less than an object");
	if (dirty == 0)
		dirty = hybrid->level == TP_PMEM_HYBRID_NONE ? hybrid->frame_count :
			hybrid->frame_count / 2;
	dirty = RTE_MIN(dirty, (uint64_t)hybrid->frame_count);
	if (hybrid->is_group)
		dirty = RTE_MIN(dirty, fit);
	hybrid->dirty_max = (uint32_t)dirty;
	hybrid->batch_max = hybrid->is_group ? hybrid->dirty_max :
		(uint32_t)RTE_MIN(fit, (uint64_t)HYBRID_BATCH_MAX);
	return 0;
}

static int
config_take(struct tp_pmem_hybrid *hybrid, const struct tp_pmem_hybrid_config *config)
{
	uint64_t frames;

	hybrid->frame_stride = RTE_ALIGN_CEIL((uint64_t)hybrid->object_bytes,
		(uint64_t)TP_PMEM_LINE_BYTES);
	frames = config->cache_bytes / hybrid->frame_stride;
	hybrid->thread_count = config->thread_count == 0 ? HYBRID_THREADS_DEFAULT :
		config->thread_count;
	if ((unsigned int)config->policy > TP_PMEM_HYBRID_WRITE_THROUGH ||
			hybrid->thread_count > TP_PMEM_HYBRID_THREADS_MAX)
		return pmem_error(EINVAL, "hybrid: policy, or threads: at most %u",
			TP_PMEM_HYBRID_THREADS_MAX);
	if (frames < HYBRID_FRAMES_MIN || frames > HYBRID_FRAME_MASK)
		return pmem_error(EINVAL, "hybrid: cache: room for 4 to %" PRIu64 " objects",
			HYBRID_FRAME_MASK);
	hybrid->frame_count = (uint32_t)frames;
	hybrid->spares_max = RTE_MIN(hybrid->frame_count / HYBRID_SPARES_SHARE /
		hybrid->thread_count, HYBRID_SPARES);
	hybrid->is_through = config->policy == TP_PMEM_HYBRID_WRITE_THROUGH;
	hybrid->is_group = !hybrid->is_through && hybrid->level == TP_PMEM_HYBRID_TRANSACTION;
	hybrid->lag_ms = hybrid->is_through || hybrid->level == TP_PMEM_HYBRID_NONE ||
		hybrid->pool->read_only ? 0 : config->lag_ms;
	hybrid->full_fences = config->full_fences;
	return limits_set(hybrid, config);
}

static int
queue_init(struct hybrid_queue *queue, uint32_t capacity)
{
	queue->ids = calloc(capacity, sizeof(*queue->ids));
	queue->capacity = capacity;
	return queue->ids == NULL ? -ENOMEM : 0;
}

static int
memory_take(struct tp_pmem_hybrid *hybrid)
{
	size_t marks = (size_t)hybrid->thread_count * TP_PMEM_HYBRID_PINS;

	if (queue_init(&hybrid->small, hybrid->frame_count) < 0 ||
			queue_init(&hybrid->main, hybrid->frame_count) < 0)
		return -ENOMEM;
	hybrid->words = memory_map(words_bytes(hybrid));
	hybrid->frames = memory_map(frames_bytes(hybrid));
	hybrid->dirty.ids = memory_map((uint64_t)hybrid->object_count * sizeof(uint32_t));
	hybrid->dirty.capacity = hybrid->object_count;
	hybrid->free = calloc(hybrid->frame_count, sizeof(*hybrid->free));
	hybrid->limbo = calloc(hybrid->frame_count, sizeof(*hybrid->limbo));
	hybrid->pinned = calloc(hybrid->frame_count, 1);
	hybrid->marks = calloc(marks, sizeof(*hybrid->marks));
	hybrid->batch = calloc(RTE_MAX(hybrid->batch_max, HYBRID_BATCH_MAX),
		sizeof(*hybrid->batch));
	hybrid->victims = calloc(HYBRID_BATCH_MAX, sizeof(*hybrid->victims));
	hybrid->threads = aligned_alloc(64, hybrid->thread_count * sizeof(*hybrid->threads));
	if (hybrid->words == NULL || hybrid->frames == NULL || hybrid->dirty.ids == NULL ||
			hybrid->free == NULL || hybrid->limbo == NULL || hybrid->pinned == NULL ||
			hybrid->marks == NULL || hybrid->batch == NULL || hybrid->victims == NULL ||
			hybrid->threads == NULL)
		return -ENOMEM;
	memset(hybrid->threads, 0, hybrid->thread_count * sizeof(*hybrid->threads));
	/* No page fault later; the kernel may take large pages for it. */
	madvise(hybrid->words, words_bytes(hybrid), MADV_HUGEPAGE);
	madvise(hybrid->frames, frames_bytes(hybrid), MADV_HUGEPAGE);
	if (madvise(hybrid->frames, frames_bytes(hybrid), MADV_POPULATE_WRITE) < 0 &&
			errno == ENOMEM)
		return -ENOMEM;
	for (uint32_t i = 0; i < hybrid->frame_count; i++)
		hybrid->free[hybrid->free_count++] = hybrid->frame_count - 1 - i;
	return 0;
}

int
tp_pmem_hybrid_open(struct tp_pmem_pool *pool, uint64_t offset,
		    const struct tp_pmem_hybrid_config *config,
		    struct tp_pmem_hybrid **hybrid_out)
{
	struct tp_pmem_hybrid *hybrid;
	struct hybrid_head head;
	int ret = hybrid_head_read(pool, offset, &head);

	if (ret < 0)
		return ret;
	hybrid = aligned_alloc(64, RTE_ALIGN_CEIL(sizeof(*hybrid), (size_t)64));
	if (hybrid == NULL)
		return -ENOMEM;
	*hybrid = (struct tp_pmem_hybrid){
		.pool = pool,
		.head_offset = offset,
		.table = rte_le_to_cpu_64(head.table),
		.object_count = rte_le_to_cpu_32(head.object_count),
		.object_bytes = rte_le_to_cpu_32(head.object_bytes),
		.level = (enum tp_pmem_hybrid_level)rte_le_to_cpu_32(head.level),
	};
	ret = config_take(hybrid, config);
	if (ret == 0)
		ret = memory_take(hybrid);
	/* Where the kernel has no such barrier, each pin pays for its own. */
	if (ret == 0 && syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) < 0)
		hybrid->full_fences = true;
	if (ret == 0)
		ret = hybrid_lag_start(hybrid);
	if (ret < 0) {
		hybrid_free(hybrid);
		return ret;
	}
	*hybrid_out = hybrid;
	return 0;
}

int
tp_pmem_hybrid_close(struct tp_pmem_hybrid *hybrid)
{
	int ret;

	if (hybrid == NULL)
		return 0;
	hybrid_lag_stop(hybrid);
	for (uint32_t i = 0; i < hybrid->thread_count; i++)
		if (atomic_load_explicit(&hybrid->threads[i].is_open, memory_order_relaxed))
			tp_pmem_hybrid_thread_close(&hybrid->threads[i]);
	ret = tp_pmem_hybrid_flush(hybrid);
	hybrid_free(hybrid);
	return ret < 0 ? -EIO : 0;
}

int
tp_pmem_hybrid_thread_open(struct tp_pmem_hybrid *hybrid,
			   struct tp_pmem_hybrid_thread **thread_out)
{
	for (uint32_t i = 0; i < hybrid->thread_count; i++) {
		struct tp_pmem_hybrid_thread *thread = &hybrid->threads[i];
		bool is_open = false;

		/* acquire: pairs with the release of who had it before */
		if (!atomic_compare_exchange_strong_explicit(&thread->is_open, &is_open, true,
				memory_order_acquire, memory_order_relaxed))
			continue;
		thread->hybrid = hybrid;
		thread->pins_free = UINT64_MAX;
		*thread_out = thread;
		return 0;
	}
	return -EUSERS;
}

void
tp_pmem_hybrid_thread_close(struct tp_pmem_hybrid_thread *thread)
{
	if (thread == NULL)
		return;
	tp_pmem_hybrid_abort(thread);
	for (uint32_t i = 0; i < RTE_DIM(thread->hazards); i++)
		atomic_store_explicit(&thread->hazards[i], 0, memory_order_release);
	hybrid_frames_return(thread);
	/* release: pairs with the acquires of who asks whether it is open */
	atomic_store_explicit(&thread->is_open, false, memory_order_release);
}

/*
 * Counters.
 */

static uint64_t
counter(const uint64_t *at)
{
	return __atomic_load_n(at, __ATOMIC_RELAXED);
}

/* Since opening. Cache lock held. */
static void
counters_sum(const struct tp_pmem_hybrid *hybrid, struct tp_pmem_hybrid_stats *stats)
{
	*stats = (struct tp_pmem_hybrid_stats){
		.evictions = hybrid->evictions,
		.write_backs = counter(&hybrid->write_backs),
	};
	for (uint32_t i = 0; i < hybrid->thread_count; i++) {
		const struct tp_pmem_hybrid_thread *thread = &hybrid->threads[i];

		stats->hits += counter(&thread->hits);
		stats->misses += counter(&thread->misses);
		stats->write_backs += counter(&thread->write_backs);
		stats->commits += counter(&thread->commits);
	}
}

void
tp_pmem_hybrid_stats_get(struct tp_pmem_hybrid *hybrid, struct tp_pmem_hybrid_stats *stats)
{
	pmem_lock_take(&hybrid->cache_lock);
	counters_sum(hybrid, stats);
	stats->hits -= hybrid->base.hits;
	stats->misses -= hybrid->base.misses;
	stats->evictions -= hybrid->base.evictions;
	stats->write_backs -= hybrid->base.write_backs;
	stats->commits -= hybrid->base.commits;
	pmem_lock_release(&hybrid->cache_lock);
	if (stats->hits + stats->misses > 0)
		stats->hit_ratio = (double)stats->hits / (double)(stats->hits + stats->misses);
	stats->dirty_bytes = (uint64_t)atomic_load_explicit(&hybrid->dirty_count,
		memory_order_relaxed) * hybrid->object_bytes;
	stats->dirty_bytes_max = hybrid->is_through ? 0 :
		(uint64_t)hybrid->dirty_max * hybrid->object_bytes;
	stats->cache_count = hybrid->frame_count;
	stats->object_bytes = hybrid->object_bytes;
	stats->object_count = hybrid->object_count;
	stats->level = hybrid->level;
}

void
tp_pmem_hybrid_stats_reset(struct tp_pmem_hybrid *hybrid)
{
	pmem_lock_take(&hybrid->cache_lock);
	counters_sum(hybrid, &hybrid->base);
	pmem_lock_release(&hybrid->cache_lock);
}
