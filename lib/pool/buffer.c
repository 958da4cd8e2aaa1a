/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Buffers: handles over slots, and handing them to another program.
 *
 * How a hand-over works. A tenure of a slot lasts from the claim (holders 0 ->
 * one bit, generation + 1, one 16-byte store) until holders is 0 again, or, for
 * a slot that was never offered, until it is loaned anew out of its holder's
 * cache (generation + 1 alone). accept adds the taker's bit with a compare-and-
 * swap over holders and generation together: it succeeds only while somebody
 * holds this very tenure. A slot once offered never goes into a cache at its
 * end, so a late accept finds holders 0 or another generation, never a slot
 * that its holder believes to be alone with.
 *
 *   store                           giver dies here      taker dies here
 *   (offer: a private count only)   reap frees it        nothing taken
 *   accept: holders + taker         taker keeps it       reap clears its bit,
 *                                                        giver settles
 *   settle: holders - giver         taker keeps it       reap frees it
 *     ... and when nobody is left   as a return, see slot_loan.c
 *     bitmap, summary
 */
#include <errno.h>

#ifndef ALLOW_EXPERIMENTAL_API
#define ALLOW_EXPERIMENTAL_API	/* rte_atomic128_cmp_exchange(), see slot_loan.c */
#endif
#include <rte_atomic.h>
#include <rte_errno.h>

#include "pool_priv.h"
#include "tp_buffer.h"

#define JOIN_TRIES 64	/* other clients come and go meanwhile, but not that often */

/* Slot that a handle names, after every check that needs no shared memory. */
static int
buffer_slot_index(const struct tp_slot_pool *pool, const struct tp_buffer *buffer, uint32_t *index)
{
	uint64_t from = buffer->offset - pool->data_offset;
	uint64_t slot = from / pool->stride;
	uint64_t within = from % pool->stride;

	if (buffer->segment_id != pool->segment_id || buffer->offset < pool->data_offset ||
	    slot >= pool->slot_count || buffer->length == 0 || within >= pool->slot_bytes ||
	    buffer->length > pool->slot_bytes - within)
		return -EINVAL;
	*index = (uint32_t)slot;
	return 0;
}

static bool
buffer_generation_is(const struct tp_slot_pool *pool, uint32_t index, uint64_t generation)
{
	return atomic_load_explicit(&pool->slots[index].generation, memory_order_relaxed) ==
	       generation;
}

/* Slot of a handle that this process has a reference for. While it has, no other
 * tenure can begin, so a look at both words is enough.
 */
static int
buffer_held_index(const struct tp_slot_pool *pool, const struct tp_buffer *buffer, uint32_t *index)
{
	int ret = buffer_slot_index(pool, buffer, index);

	if (ret < 0)
		return ret;
	if (!buffer_generation_is(pool, *index, buffer->generation) ||
	    (atomic_load_explicit(&pool->refs[*index], memory_order_relaxed) &
	     POOL_REF_COUNT_MASK) == 0)
		return -ESTALE;
	return 0;
}

/* One reference more to a slot that has one; flags are added for good. */
static int
buffer_ref_add(struct tp_slot_pool *pool, uint32_t index, uint32_t flags)
{
	_Atomic uint32_t *refs = &pool->refs[index];
	uint32_t old = atomic_load_explicit(refs, memory_order_relaxed);

	do {
		if ((old & POOL_REF_COUNT_MASK) == 0)
			return -ESTALE;
		if ((old & POOL_REF_COUNT_MASK) == POOL_REF_COUNT_MASK)
			return -EOVERFLOW;
	} while (!atomic_compare_exchange_weak_explicit(refs, &old, (old + 1) | flags,
							memory_order_acquire,
							memory_order_relaxed));
	return 0;
}

int
tp_buffer_alloc(struct tp_slot_pool *pool, struct tp_slot_cache *cache, uint32_t length,
		struct tp_buffer *buffer)
{
	struct pool_slot *slot;
	uint64_t generation;
	uint32_t index;

	if (length == 0 || length > pool->slot_bytes || (cache != NULL && cache->pool != pool))
		return -EINVAL;
	index = cache != NULL ? tp_slot_cache_loan(cache) : tp_slot_pool_loan(pool);
	if (index == TP_SLOT_NONE)
		return -ENOSPC;
	/* Out of a cache the tenure of the last loan would go on: end it. Nobody
	 * else changes this word while we hold the slot.
	 */
	slot = &pool->slots[index];
	generation = atomic_load_explicit(&slot->generation, memory_order_relaxed) + 1;
	atomic_store_explicit(&slot->generation, generation, memory_order_relaxed);
	POOL_STEP(generation);
	*buffer = (struct tp_buffer){
		.offset = tp_slot_pool_slot_offset(pool, index),
		.segment_id = pool->segment_id,
		.length = length,
		.generation = generation,
	};
	return 0;
}

int
tp_buffer_from_slot(struct tp_slot_pool *pool, uint32_t index, uint32_t offset, uint32_t length,
		    struct tp_buffer *buffer)
{
	if (index >= pool->slot_count || length == 0 || offset >= pool->slot_bytes ||
	    length > pool->slot_bytes - offset)
		return -EINVAL;
	if ((atomic_load_explicit(&pool->refs[index], memory_order_relaxed) &
	     POOL_REF_COUNT_MASK) == 0)
		return -ESTALE;
	*buffer = (struct tp_buffer){
		.offset = tp_slot_pool_slot_offset(pool, index) + offset,
		.segment_id = pool->segment_id,
		.length = length,
		.generation = atomic_load_explicit(&pool->slots[index].generation,
						   memory_order_relaxed),
	};
	return 0;
}

int
tp_buffer_clone(struct tp_slot_pool *pool, const struct tp_buffer *buffer, struct tp_buffer *clone)
{
	return tp_buffer_slice(pool, buffer, 0, buffer->length, clone);
}

int
tp_buffer_slice(struct tp_slot_pool *pool, const struct tp_buffer *buffer, uint32_t offset,
		uint32_t length, struct tp_buffer *slice)
{
	struct tp_buffer part = *buffer;
	uint32_t index;
	int ret;

	if (length == 0 || offset > buffer->length || length > buffer->length - offset)
		return -EINVAL;
	ret = buffer_held_index(pool, buffer, &index);
	if (ret < 0)
		return ret;
	ret = buffer_ref_add(pool, index, 0);
	if (ret < 0)
		return ret;
	part.offset += offset;
	part.length = length;
	*slice = part;
	return 0;
}

int
tp_buffer_release(struct tp_slot_pool *pool, struct tp_slot_cache *cache,
		  const struct tp_buffer *buffer)
{
	uint32_t index;
	int ret;

	if (cache != NULL && cache->pool != pool)
		return -EINVAL;
	ret = buffer_held_index(pool, buffer, &index);
	if (ret < 0)
		return ret;
	ret = cache != NULL ? tp_slot_cache_return(cache, index) : tp_slot_pool_return(pool, index);
	return ret == -EALREADY ? -ESTALE : ret;
}

void *
tp_buffer_data(struct tp_slot_pool *pool, const struct tp_buffer *buffer)
{
	uint32_t index;
	int ret = buffer_held_index(pool, buffer, &index);

	if (ret < 0) {
		rte_errno = -ret;
		return NULL;
	}
	return pool->data + (buffer->offset - pool->data_offset);
}

int
tp_buffer_offer(struct tp_slot_pool *pool, const struct tp_buffer *buffer, struct tp_buffer *handle)
{
	uint32_t index;
	int ret = buffer_held_index(pool, buffer, &index);

	if (ret < 0)
		return ret;
	ret = buffer_ref_add(pool, index, POOL_REF_SHARED);
	if (ret < 0)
		return ret;
	*handle = *buffer;
	return 0;
}

/* Add this client's bit to the slot's holders, if the tenure is still the
 * handle's and somebody holds it. A bit that is ours already without a reference
 * means that the slot rests in one of our caches: nobody offered that.
 */
static int
buffer_holders_join(struct tp_slot_pool *pool, uint32_t index, uint64_t generation)
{
	struct pool_slot *slot = &pool->slots[index];
	uint64_t holders = atomic_load_explicit(&slot->holders, memory_order_acquire);
	rte_int128_t expected, desired;
	int joined = 0;

	POOL_STEP(read_holders);
	for (unsigned int tries = 0; !joined; tries++) {
		if (tries == JOIN_TRIES)
			return -EAGAIN;
		if (holders == 0 || (holders & pool->client_bit) != 0)
			return -ESTALE;
		expected = (rte_int128_t){ .val = { holders, generation } };
		desired = (rte_int128_t){ .val = { holders | pool->client_bit, generation } };
		joined = rte_atomic128_cmp_exchange((rte_int128_t *)slot, &expected, &desired, 0,
						    __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
		if (!joined && expected.val[1] != generation)
			return -ESTALE;
		holders = expected.val[0];
	}
	POOL_STEP(accept_join);
	return 0;
}

/* First reference of this process. The busy mark keeps its other threads from
 * giving back, or accepting a second time, what is only half taken.
 */
static int
buffer_accept_first(struct tp_slot_pool *pool, uint32_t index, uint64_t generation)
{
	_Atomic uint32_t *refs = &pool->refs[index];
	uint32_t expected = 0;
	int ret;

	if (!atomic_compare_exchange_strong_explicit(refs, &expected, POOL_REF_BUSY,
						     memory_order_acquire, memory_order_relaxed))
		return -EAGAIN;
	POOL_STEP(refs_busy);
	ret = buffer_holders_join(pool, index, generation);
	if (ret == 0) {
		atomic_store_explicit(refs, POOL_REF_SHARED | 1, memory_order_release);
		return 0;
	}
	/* The slot may be ours by a fresh loan of another thread, which then has
	 * overwritten the busy mark: leave that alone.
	 */
	expected = POOL_REF_BUSY;
	atomic_compare_exchange_strong_explicit(refs, &expected, 0, memory_order_release,
						memory_order_relaxed);
	return ret;
}

/* One more reference of a process that has some. Only a slot shared in this
 * tenure can have been offered; the flag is there until the tenure ends.
 */
static int
buffer_accept_again(struct tp_slot_pool *pool, uint32_t index, uint64_t generation, uint32_t refs)
{
	int ret;

	if ((refs & POOL_REF_SHARED) == 0 || !buffer_generation_is(pool, index, generation))
		return -ESTALE;
	POOL_STEP(read_refs);
	ret = buffer_ref_add(pool, index, POOL_REF_SHARED);
	if (ret < 0)
		return ret == -ESTALE ? -EAGAIN : ret;
	/* The old tenure may have ended, and one begun that is shared too, in
	 * between: then the reference is to the wrong one.
	 */
	if (!buffer_generation_is(pool, index, generation)) {
		tp_slot_pool_return(pool, index);
		return -ESTALE;
	}
	return 0;
}

int
tp_buffer_accept(struct tp_slot_pool *pool, const struct tp_buffer *handle,
		 struct tp_buffer *buffer)
{
	struct tp_buffer copy = *handle;
	uint32_t index, refs;
	int ret = buffer_slot_index(pool, &copy, &index);

	if (ret < 0)
		return ret;
	refs = atomic_load_explicit(&pool->refs[index], memory_order_acquire);
	if (refs & POOL_REF_BUSY)
		return -EAGAIN;
	if ((refs & POOL_REF_COUNT_MASK) == 0)
		ret = buffer_accept_first(pool, index, copy.generation);
	else
		ret = buffer_accept_again(pool, index, copy.generation, refs);
	if (ret < 0)
		return ret;
	*buffer = copy;
	return 0;
}

int
tp_buffer_settle(struct tp_slot_pool *pool, const struct tp_buffer *handle)
{
	return tp_buffer_release(pool, NULL, handle);
}
