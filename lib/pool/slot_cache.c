/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Slot caches: the slow branches of the inline calls in tp_slot_pool.h. A cached
 * slot is held by this client (its bit is set) without a reference (refs is 0),
 * so reap frees it like a loaned one.
 */
#include <errno.h>
#include <string.h>

#include <rte_errno.h>

#include "pool_priv.h"

int
tp_slot_cache_init(struct tp_slot_cache *cache, struct tp_slot_pool *pool, uint32_t capacity)
{
	if (capacity > TP_SLOT_CACHE_MAX)
		return -EINVAL;
	cache->pool = pool;
	cache->refs = pool->refs;
	cache->waiting = &pool->header->waiting;
	cache->slot_count = pool->slot_count;
	cache->capacity = capacity;
	cache->hint = pool->hint_first;
	cache->count = 0;
	return 0;
}

/* Give the oldest slots back; the newest are the warm ones. */
static void
cache_drain(struct tp_slot_cache *cache, uint32_t count)
{
	if (count == 0)
		return;
	pool_unclaim(cache->pool, cache->slots, count);
	cache->hint = cache->slots[0];
	cache->count -= count;
	memmove(cache->slots, cache->slots + count, cache->count * sizeof(cache->slots[0]));
}

void
tp_slot_cache_flush(struct tp_slot_cache *cache)
{
	cache_drain(cache, cache->count);
}

uint32_t
tp_slot_cache_refill_loan(struct tp_slot_cache *cache)
{
	uint32_t index;

	/* Half, so that neither a run of loans nor one of returns comes here
	 * for each slot.
	 */
	cache->count = pool_claim(cache->pool, &cache->hint, cache->slots,
				  cache->capacity > 1 ? cache->capacity / 2 : 1);
	if (cache->count == 0) {
		rte_errno = ENOSPC;
		return TP_SLOT_NONE;
	}
	index = cache->slots[--cache->count];
	atomic_store_explicit(&cache->refs[index], 1, memory_order_relaxed);
	return index;
}

int
tp_slot_cache_return_uncached(struct tp_slot_cache *cache, uint32_t index)
{
	bool wanted = atomic_load_explicit(cache->waiting, memory_order_relaxed) != 0;
	int ret;

	if (index < cache->slot_count && !wanted && cache->capacity > 1 &&
	    cache->count == cache->capacity &&
	    atomic_load_explicit(&cache->refs[index], memory_order_relaxed) == 1) {
		cache_drain(cache, cache->capacity / 2);
		return tp_slot_cache_return(cache, index);
	}
	/* A slot that was ever shared ends its tenure in the open, so that a
	 * handle to it that is still under way meets a new generation.
	 */
	ret = tp_slot_pool_return(cache->pool, index);
	if (ret == 0)
		cache->hint = index;
	if (wanted && cache->count > 0)
		tp_slot_cache_flush(cache);
	return ret;
}
