/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Slot pools: slots of one size over a segment, loaned and returned by several
 * processes at once without a lock. Every slot knows who holds it (a mask of
 * client ids), so what a dead process held can be freed. Works without EAL.
 *
 * Which calls on one pool may overlap, from different threads or processes:
 *
 *                    loan/return  cache   attach/detach  reap
 *   loan/return      yes          yes     yes            yes
 *   cache (one)      yes          no [1]  yes            yes
 *   attach/detach    yes          yes     yes            yes [2]
 *   reap             yes          yes     yes [2]        no [3]
 *
 *   [1] a cache belongs to one thread; different caches never exclude
 *   [2] but not with the client id being reaped
 *   [3] one reaper at a time; one killed in the middle is simply run again
 */
#ifndef TP_SLOT_POOL_H
#define TP_SLOT_POOL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <rte_branch_prediction.h>
#include <rte_common.h>

#include "tp_segment.h"

#define TP_SLOT_NONE UINT32_MAX		/* no slot */
#define TP_SLOT_CLIENT_MAX 64		/* client ids are 0 .. 63 */
#define TP_SLOT_COUNT_MAX (UINT32_C(1) << 26)
#define TP_SLOT_BYTES_MAX (UINT32_C(1) << 30)
#define TP_SLOT_POOL_ALIGN 4096		/* of a pool's offset in its segment */
#define TP_SLOT_CACHE_MAX 256
#define TP_SLOT_BULK_MAX 1024		/* slots one bulk return takes */

struct tp_slot_pool;

struct tp_slot_pool_config {
	uint64_t offset;	/* in the segment, multiple of TP_SLOT_POOL_ALIGN */
	uint32_t slot_bytes;	/* 1 .. TP_SLOT_BYTES_MAX */
	uint32_t slot_count;	/* 1 .. TP_SLOT_COUNT_MAX */
	uint32_t segment_id;	/* the caller's number for the segment, for buffer handles */
	uint32_t client_id;	/* who this process is, 0 .. TP_SLOT_CLIENT_MAX - 1 */
};

/**
 * Bytes of segment a pool needs, from its offset on.
 *
 * Slots start on 64-byte boundaries, and on page boundaries when slot_bytes is
 * a multiple of 4096. Beside its data a slot costs 17 bytes.
 *
 * @return Bytes, or 0 when a parameter is out of range.
 * @threads Any.
 */
uint64_t tp_slot_pool_bytes(uint32_t slot_bytes, uint32_t slot_count);

/**
 * Lay a pool out in a segment, every slot free, and attach to it.
 *
 * @param segment
 *   Writable; must outlive the pool.
 * @return
 *   The pool, detach with tp_slot_pool_detach(); or NULL and rte_errno:
 *   - EINVAL: a field of config is out of range or not aligned.
 *   - ENOSPC: the segment has no room for it.
 *   - EACCES: the segment is read-only.
 *   - ENOMEM.
 * @threads Any one; nobody may be attached to a pool at this place.
 * @cost    Writes all metadata, touches no slot.
 */
struct tp_slot_pool *tp_slot_pool_create(struct tp_segment *segment,
					 const struct tp_slot_pool_config *config);

/**
 * Attach to a pool that another process, or this one, has created.
 *
 * @param offset
 *   Where the pool starts in the segment.
 * @param client_id
 *   Who this process is; an id stays taken until detach or reap.
 * @return
 *   The pool, or NULL and rte_errno:
 *   - EINVAL: client_id or offset out of range.
 *   - EBADMSG: no pool here, or its header contradicts itself or the segment's size.
 *   - EPROTONOSUPPORT: a pool of another version.
 *   - EBUSY: client_id is attached already.
 *   - EACCES: the segment is read-only.
 *   - ENOMEM.
 * @threads Any.
 */
struct tp_slot_pool *tp_slot_pool_attach(struct tp_segment *segment, uint64_t offset,
					 uint32_t client_id);

/**
 * Return every slot this process still holds, and forget the pool. The pool
 * itself lives on in the segment.
 *
 * @param pool
 *   May be NULL. Its caches must not be used any more.
 * @threads Any one, no other call on this handle overlaps.
 * @cost    Looks at every slot.
 */
void tp_slot_pool_detach(struct tp_slot_pool *pool);

/**
 * Free every slot whose only holder was a client that died, and take its bit
 * out of all others. Also heals what the client had half done.
 *
 * @param client_id
 *   Must be dead for certain (its pidfd or socket said so); not this process.
 * @return
 *   Slots freed, or -EINVAL: id out of range or our own.
 * @threads Any; one reaper at a time.
 * @cost    Looks at every slot: 0.5 ms for 256 Ki slots, 2.7 ms when it frees all of them.
 */
int tp_slot_pool_reap(struct tp_slot_pool *pool, uint32_t client_id);

/**
 * Take one slot. Its contents are whatever was left there.
 *
 * @return
 *   Index, or TP_SLOT_NONE and rte_errno:
 *   - ENOSPC: none is free (some may rest in caches).
 * @threads Any.
 * @cost    One locked instruction while slots come and go; no system call, no lock.
 */
uint32_t tp_slot_pool_loan(struct tp_slot_pool *pool);

/**
 * Take several slots, all or none.
 *
 * @param indices
 *   Shape [count]; contents undefined on failure.
 * @return 0, or -ENOSPC.
 * @threads Any.
 * @cost    One locked instruction a slot and one or two per 64; no system call, no lock.
 */
int tp_slot_pool_loan_bulk(struct tp_slot_pool *pool, uint32_t *indices, uint32_t count);

/**
 * Take one slot, waiting for it until a deadline.
 *
 * Whoever returns a slot wakes the waiters; caches of threads that call nothing
 * keep theirs. A waiter that is killed leaves nothing behind.
 *
 * @param deadline_ns
 *   CLOCK_MONOTONIC in nanoseconds; one in the past makes one try.
 * @return
 *   Index, or TP_SLOT_NONE and rte_errno:
 *   - ETIMEDOUT: none was free until the deadline.
 * @threads Any but a polling lcore: it sleeps.
 */
uint32_t tp_slot_pool_loan_wait(struct tp_slot_pool *pool, uint64_t deadline_ns);

/**
 * Give one slot back.
 *
 * @return
 *   0, or with nothing changed:
 *   - -EINVAL: no slot has this index.
 *   - -EALREADY: this process does not hold it: returned twice, or never loaned.
 * @threads Any.
 * @cost    One locked instruction, two more when searches had given the slot up; a
 *          system call only when somebody waits.
 */
int tp_slot_pool_return(struct tp_slot_pool *pool, uint32_t index);

/**
 * Give several slots back, all or none.
 *
 * @param indices
 *   Shape [count]; an index that is there twice counts as returned twice.
 * @param count
 *   0 to TP_SLOT_BULK_MAX, else -EINVAL.
 * @return 0, or with nothing changed -EINVAL or -EALREADY as tp_slot_pool_return().
 * @threads Any.
 * @cost    One locked instruction a slot and at most two per run of slots in one 64.
 */
int tp_slot_pool_return_bulk(struct tp_slot_pool *pool, const uint32_t *indices, uint32_t count);

/** Slots in the pool. @threads Any. */
uint32_t tp_slot_pool_capacity(const struct tp_slot_pool *pool);

/**
 * Slots that nobody holds, a snapshot.
 *
 * @threads Any.
 * @cost    One cache line per 64 slots, and one per 4 slots that may be free.
 */
uint32_t tp_slot_pool_available(const struct tp_slot_pool *pool);

/**
 * Slots a client holds, loaned or in its caches; a snapshot.
 *
 * @return Count, 0 for a client id out of range.
 * @threads Any.
 * @cost    Looks at every slot.
 */
uint32_t tp_slot_pool_held(const struct tp_slot_pool *pool, uint32_t client_id);

/** Bit mask of the clients that hold a slot, 0 when free or no such slot. @threads Any. */
uint64_t tp_slot_pool_holders(const struct tp_slot_pool *pool, uint32_t index);

/** Usable bytes of a slot. @threads Any. */
uint32_t tp_slot_pool_slot_bytes(const struct tp_slot_pool *pool);

/** The number of the segment that the creator gave. @threads Any. */
uint32_t tp_slot_pool_segment_id(const struct tp_slot_pool *pool);

/** First byte of a slot, NULL when there is no such slot. @threads Any. */
void *tp_slot_pool_slot_ptr(const struct tp_slot_pool *pool, uint32_t index);

/** Slot that a byte belongs to, TP_SLOT_NONE when it is in none. @threads Any. */
uint32_t tp_slot_pool_slot_index(const struct tp_slot_pool *pool, const void *ptr);

/** Offset of a slot from the start of the segment; index must exist. @threads Any. */
uint64_t tp_slot_pool_slot_offset(const struct tp_slot_pool *pool, uint32_t index);

/*
 * A cache of one thread: slots it holds but has not loaned. Caller's memory,
 * every field private. It also remembers where this thread last found free
 * slots, so a cache of capacity 0 is of use to threads that contend.
 */
struct tp_slot_cache {
	struct tp_slot_pool *pool;
	_Atomic uint32_t *refs;
	const _Atomic uint32_t *waiting;
	uint32_t slot_count;
	uint32_t capacity;
	uint32_t hint;
	uint32_t count;
	uint32_t slots[TP_SLOT_CACHE_MAX];
};

/**
 * Make an empty cache.
 *
 * @param capacity
 *   Most slots it keeps, 0 to TP_SLOT_CACHE_MAX.
 * @return 0, or -EINVAL: capacity out of range.
 * @threads Owner thread of the cache.
 */
int tp_slot_cache_init(struct tp_slot_cache *cache, struct tp_slot_pool *pool, uint32_t capacity);

/**
 * Give all cached slots back to the pool; the cache stays usable.
 *
 * @threads Owner thread of the cache.
 */
void tp_slot_cache_flush(struct tp_slot_cache *cache);

/* Slow branches of the two below. */
uint32_t tp_slot_cache_refill_loan(struct tp_slot_cache *cache);
int tp_slot_cache_return_uncached(struct tp_slot_cache *cache, uint32_t index);

/**
 * tp_slot_pool_loan() through a cache.
 *
 * @return Index, or TP_SLOT_NONE and rte_errno ENOSPC.
 * @threads Owner thread of the cache.
 * @cost    No locked instruction, but for one refill per capacity / 2 loans.
 */
static inline uint32_t
tp_slot_cache_loan(struct tp_slot_cache *cache)
{
	uint32_t index;

	if (unlikely(cache->count == 0))
		return tp_slot_cache_refill_loan(cache);
	index = cache->slots[--cache->count];
	atomic_store_explicit(&cache->refs[index], 1, memory_order_relaxed);
	return index;
}

/**
 * tp_slot_pool_return() through a cache. A slot may come back through another
 * cache or thread than it was loaned by.
 *
 * Two threads that return one loan at the very same instant are a bug that only
 * tp_slot_pool_return() is sure to see; any later second return is seen here too.
 *
 * @return 0, -EINVAL or -EALREADY as tp_slot_pool_return().
 * @threads Owner thread of the cache.
 * @cost    No locked instruction, but for one flush per capacity / 2 returns.
 */
static inline int
tp_slot_cache_return(struct tp_slot_cache *cache, uint32_t index)
{
	/* Exactly 1: one reference, never shared; all else takes the long way.
	 * While somebody waits for a slot nothing is kept back.
	 */
	if (unlikely(index >= cache->slot_count || cache->count >= cache->capacity ||
		     atomic_load_explicit(&cache->refs[index], memory_order_relaxed) != 1 ||
		     atomic_load_explicit(cache->waiting, memory_order_relaxed) != 0))
		return tp_slot_cache_return_uncached(cache, index);
	atomic_store_explicit(&cache->refs[index], 0, memory_order_relaxed);
	cache->slots[cache->count++] = index;
	return 0;
}

#endif /* TP_SLOT_POOL_H */
