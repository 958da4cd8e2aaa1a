/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Lanes: what a transaction has to itself from begin to end. A thread gets the one
 * it had last, if it is free: its log, its runs and its DRAM are in the caches then.
 */
#include <stdlib.h>
#include <string.h>

#include <rte_branch_prediction.h>
#include <rte_pause.h>

#include "heap.h"
#include "pmem_priv.h"

static _Thread_local uint32_t lane_last;
static atomic_uint thread_count;

int
pmem_lanes_create(struct tp_pmem_pool *pool)
{
	pool->lanes = aligned_alloc(64, pool->lane_count * sizeof(*pool->lanes));
	if (pool->lanes == NULL)
		return -ENOMEM;
	memset(pool->lanes, 0, pool->lane_count * sizeof(*pool->lanes));
	for (uint32_t i = 0; i < pool->lane_count; i++) {
		pool->lanes[i].index = i;
		pool->lanes[i].tx.pool = pool;
		pool->lanes[i].tx.lane = &pool->lanes[i];
	}
	return 0;
}

void
pmem_lanes_destroy(struct tp_pmem_pool *pool)
{
	if (pool->lanes == NULL)
		return;
	for (uint32_t i = 0; i < pool->lane_count; i++) {
		struct pmem_lane *lane = &pool->lanes[i];

		pmem_buffer_fini(&lane->tx.ranges);
		pmem_buffer_fini(&lane->tx.fresh);
		pmem_buffer_fini(&lane->tx.freed);
		pmem_buffer_fini(&lane->tx.ends);
		pmem_buffer_fini(&lane->tx.undos);
		pmem_buffer_fini(&lane->tx.undo_data);
		pmem_buffer_fini(&lane->tx.images);
		pmem_buffer_fini(&lane->stage);
		pmem_buffer_fini(&lane->homes);
		pmem_buffer_fini(&lane->externals);
		pmem_buffer_fini(&lane->deferred_frees);
	}
	free(pool->lanes);
	pool->lanes = NULL;
}

/* Lane numbers of threads start apart from each other. */
static uint32_t
lane_preferred(const struct tp_pmem_pool *pool)
{
	if (unlikely(lane_last == 0))
		lane_last = 1 + atomic_fetch_add_explicit(&thread_count, 1, memory_order_relaxed);
	return (lane_last - 1) % pool->lane_count;
}

struct pmem_lane *
pmem_lane_take(struct tp_pmem_pool *pool)
{
	uint32_t first = lane_preferred(pool);
	struct pmem_lane *lane = &pool->lanes[first];

	if (likely(pmem_lock_try(&lane->open_lock)))
		return lane;
	for (uint32_t i = 1; i < pool->lane_count; i++) {
		lane = &pool->lanes[(first + i) % pool->lane_count];
		if (pmem_lock_try(&lane->open_lock))
			return lane;
	}
	/* All are taken: wait for the own one. */
	lane = &pool->lanes[first];
	pmem_lock_take(&lane->open_lock);
	return lane;
}

void
pmem_lane_release(struct pmem_lane *lane)
{
	pmem_lock_release(&lane->open_lock);
}

void
pmem_lanes_take_all(struct tp_pmem_pool *pool)
{
	for (uint32_t i = 0; i < pool->lane_count; i++)
		pmem_lock_take(&pool->lanes[i].open_lock);
}

void
pmem_lanes_release_all(struct tp_pmem_pool *pool)
{
	for (uint32_t i = pool->lane_count; i-- > 0;)
		pmem_lock_release(&pool->lanes[i].open_lock);
}
