/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Slot pools: how slots change hands.
 *
 * How it works. The truth about a slot is its word of holders: free when 0,
 * else one bit per client. A loan turns it from 0 to our bit by compare-and-swap,
 * a return clears our bit. Three layers only help to find a free one:
 *
 *   bitmap    bit set: perhaps free. Cleared lazily by who looked at the slots of
 *             a word and found them held, set by who returns a slot and finds it
 *             clear. So a slot that comes and goes costs no store here.
 *   summary   bit set: this word of the bitmap may have bits. Lazy likewise.
 *   hint      the slot where this thread looks first.
 *
 * Clearing lazily is safe by one rule, for both layers: clear, then look at the
 * layer below again, and set again what is free by now; who frees changes the
 * layer below first, then looks at this one. One of the two sees the other.
 *
 * So no layer needs to be exact, and a process may die between any two stores.
 * What each window leaves behind, and what tp_slot_pool_reap() makes of it:
 *
 *   loan      holders = us, generation + 1    held by us
 *   search    bits of held slots cleared      if returned before: "lost", that
 *                                             is bit 0 and holders 0
 *             ... and set again if returned meanwhile
 *             summary bit cleared             word perhaps unknown to summary
 *             ... and set again if refilled meanwhile
 *   return    holders without us              "lost" if the bit was clear, or
 *                                             still held by others
 *             bit set in the bitmap           free, word perhaps unknown to summary
 *             bit set in the summary          free
 *   wait      waiting = 1                     the next return clears it
 *
 * Reap clears the dead client's bit everywhere, sets the bitmap bit of every
 * slot without holders, and the summary bit of every word with bits. It may
 * meet live processes in the same windows: a bit set once too often names a slot
 * that is held, which the next search finds out.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* rte_atomic128_cmp_exchange() is behind this flag in 22.11. The __sync
 * builtin is no substitute: under ThreadSanitizer it takes a lock of its own,
 * and is then not atomic against the 64-bit operations on the same word.
 */
#ifndef ALLOW_EXPERIMENTAL_API
#define ALLOW_EXPERIMENTAL_API
#endif
#include <rte_atomic.h>
#include <rte_errno.h>

#include "pool_priv.h"

#define WAIT_SLICE_NS UINT64_C(10000000)	/* bounds what a killed waker costs */
#define STALE_MAX 8				/* held slots looked at in vain before clearing */

void
pool_summary_set(struct tp_slot_pool *pool, uint32_t word)
{
	_Atomic uint64_t *summary = &pool->summary[word / 64];
	uint64_t bit = UINT64_C(1) << (word % 64);

	/* Sequentially consistent with the bitmap store before it: either we see
	 * the bit cleared, or pool_summary_clear() sees the refilled word.
	 */
	POOL_STEP(read_summary);
	if (atomic_load_explicit(summary, memory_order_seq_cst) & bit)
		return;
	atomic_fetch_or_explicit(summary, bit, memory_order_seq_cst);
	POOL_STEP(summary_set);
}

/* The word was seen empty: no use in looking there until somebody puts a bit. */
static void
pool_summary_clear(struct tp_slot_pool *pool, uint32_t word)
{
	_Atomic uint64_t *summary = &pool->summary[word / 64];
	uint64_t bit = UINT64_C(1) << (word % 64);
	uint64_t bits;

	if ((atomic_load_explicit(summary, memory_order_relaxed) & bit) == 0)
		return;
	atomic_fetch_and_explicit(summary, ~bit, memory_order_seq_cst);
	POOL_STEP(summary_clear);
	bits = atomic_load_explicit(&pool->words[word].bits, memory_order_seq_cst);
	POOL_STEP(read_word);
	if ((bits & pool_word_valid(pool, word)) == 0)
		return;
	atomic_fetch_or_explicit(summary, bit, memory_order_seq_cst);
	POOL_STEP(summary_restore);
}

/* First word at or after from, wrapping, that may have free slots. */
static uint32_t
pool_word_next(const struct tp_slot_pool *pool, uint32_t from)
{
	uint32_t start;

	if (from >= pool->word_count)
		from = 0;
	start = from / 64;
	for (uint32_t i = 0; i <= pool->summary_count; i++) {
		uint32_t at = start + i < pool->summary_count ? start + i :
								start + i - pool->summary_count;
		uint64_t bits = atomic_load_explicit(&pool->summary[at], memory_order_seq_cst);
		uint32_t word;

		if (i == 0)
			bits &= UINT64_MAX << (from % 64);
		if (bits == 0)
			continue;
		/* Shared memory may have been scribbled over: trust no index. */
		word = at * 64 + (uint32_t)__builtin_ctzll(bits);
		if (word < pool->word_count)
			return word;
	}
	return POOL_WORD_NONE;
}

/* Turn one candidate into a slot of ours: a new tenure begins. */
static bool
pool_slot_claim(struct tp_slot_pool *pool, uint32_t index)
{
	struct pool_slot *slot = &pool->slots[index];
	uint64_t generation = atomic_load_explicit(&slot->generation, memory_order_relaxed);
	rte_int128_t expected = { .val = { 0, generation } };
	rte_int128_t desired = { .val = { pool->client_bit, generation + 1 } };
	int claimed;

	POOL_STEP(read_generation);
	claimed = rte_atomic128_cmp_exchange((rte_int128_t *)slot, &expected, &desired, 0,
					     __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
	POOL_STEP(slot_claim);
	return claimed;
}

/* The slots of a word that bits stand for were seen held: no use in looking at
 * them until they are returned.
 */
static void
pool_bits_clear(struct tp_slot_pool *pool, uint32_t word, uint64_t bits)
{
	uint64_t free_now = 0;

	/* Sequentially consistent, as the look at the holders: either we see a
	 * slot returned, or pool_word_put() sees its bit cleared.
	 */
	atomic_fetch_and_explicit(&pool->words[word].bits, ~bits, memory_order_seq_cst);
	POOL_STEP(bits_clear);
	for (; bits != 0; bits &= bits - 1) {
		uint32_t bit = (uint32_t)__builtin_ctzll(bits);

		if (atomic_load_explicit(&pool->slots[word * 64 + bit].holders,
					 memory_order_seq_cst) == 0)
			free_now |= UINT64_C(1) << bit;
	}
	POOL_STEP(read_free);
	if (free_now != 0) {
		pool_word_put(pool, word, free_now);
		pool_wake(pool);
	}
}

/* What one look at a word found. */
struct pool_search {
	uint64_t held;		/* bits of slots that are held, by us by now too */
	uint32_t count;		/* slots claimed */
	bool contended;		/* somebody else was at it */
};

/* Claim up to want of the slots that bits stand for. */
static void
pool_bits_claim(struct tp_slot_pool *pool, uint32_t word, uint64_t bits, uint32_t *indices,
		uint32_t want, struct pool_search *search)
{
	for (; bits != 0 && search->count < want; bits &= bits - 1) {
		uint32_t index = word * 64 + (uint32_t)__builtin_ctzll(bits);

		RTE_ASSERT(index < pool->slot_count);
		search->held |= bits & -bits;
		/* Acquire pairs with the release in pool_slot_release(). */
		if (atomic_load_explicit(&pool->slots[index].holders, memory_order_acquire) != 0)
			continue;
		if (likely(pool_slot_claim(pool, index)))
			indices[search->count++] = index;
		else
			search->contended = true;
	}
}

/* Look at a word, from one of its slots on and around. Returns slots claimed. */
static uint32_t
pool_word_claim(struct tp_slot_pool *pool, uint32_t from, uint32_t *indices, uint32_t want,
		bool *contended)
{
	uint32_t word = from / 64;
	uint64_t upper = UINT64_MAX << (from % 64);
	uint64_t bits = atomic_load_explicit(&pool->words[word].bits, memory_order_seq_cst) &
			pool_word_valid(pool, word);
	struct pool_search search = { 0 };

	POOL_STEP(read_bits);
	pool_bits_claim(pool, word, bits & upper, indices, want, &search);
	pool_bits_claim(pool, word, bits & ~upper, indices, want, &search);
	if (search.held != 0 &&
	    (search.count < want ||
	     (uint32_t)__builtin_popcountll(search.held) > search.count + STALE_MAX))
		pool_bits_clear(pool, word, search.held);
	if (search.count < want)
		pool_summary_clear(pool, word);
	*contended = search.contended;
	return search.count;
}

uint32_t
pool_claim(struct tp_slot_pool *pool, uint32_t *hint, uint32_t *indices, uint32_t want)
{
	uint32_t from = *hint;
	uint32_t count = 0;

	/* Each turn takes slots or clears a bit in the summary, so the search ends
	 * by itself unless others keep putting slots back, or a process gone wild
	 * keeps setting bits of slots that are held: hence the bound.
	 */
	for (uint64_t turn = 0; turn <= 4ul * pool->word_count; turn++) {
		bool contended;
		uint32_t word;

		count += pool_word_claim(pool, from, indices + count, want - count, &contended);
		if (count == want && !contended) {
			/* Not behind the last slot: it may be the pool's last. */
			*hint = indices[count - 1];
			return count;
		}
		word = pool_word_next(pool, from / 64 + 1);
		if (word == POOL_WORD_NONE)
			break;
		from = word * 64;
		*hint = from;
		if (count == want)
			break;
	}
	return count;
}

void
pool_word_put(struct tp_slot_pool *pool, uint32_t word, uint64_t bits)
{
	/* Sequentially consistent with the holders cleared before: either we see
	 * a bit cleared, or pool_bits_clear() sees the slot free.
	 */
	bits &= ~atomic_load_explicit(&pool->words[word].bits, memory_order_seq_cst);
	POOL_STEP(read_put);
	if (bits == 0)
		return;
	atomic_fetch_or_explicit(&pool->words[word].bits, bits, memory_order_seq_cst);
	POOL_STEP(bits_put);
	pool_summary_set(pool, word);
}

void
pool_wake(struct tp_slot_pool *pool)
{
	struct pool_header *header = pool->header;

	/* Sequentially consistent with pool_word_put(): either we see the waiter,
	 * or the try it makes after saying so sees the slot.
	 */
	if (likely(atomic_load_explicit(&header->waiting, memory_order_seq_cst) == 0))
		return;
	if (atomic_exchange_explicit(&header->waiting, 0, memory_order_seq_cst) == 0)
		return;
	POOL_STEP(waiting_clear);
	atomic_fetch_add_explicit(&header->wake_sequence, 1, memory_order_seq_cst);
	POOL_STEP(wake_sequence);
	syscall(SYS_futex, &header->wake_sequence, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* Clear our bit. True when the slot has no holder left and must be put back. */
static bool
pool_slot_release(struct tp_slot_pool *pool, uint32_t index, bool *held)
{
	/* Release: what we stored in the slot is there before it is free; pairs
	 * with the acquire of the next claim. Acquire: what other holders did to
	 * it is over before we put it back.
	 */
	uint64_t old = atomic_fetch_and_explicit(&pool->slots[index].holders, ~pool->client_bit,
						 memory_order_seq_cst);

	POOL_STEP(slot_release);
	*held = (old & pool->client_bit) != 0;
	return old == pool->client_bit;
}

/* Put free slots back with one store per run of them in the same word. */
struct pool_put {
	uint32_t word;
	uint64_t bits;
};

static void
pool_put_flush(struct tp_slot_pool *pool, struct pool_put *put)
{
	if (put->bits != 0)
		pool_word_put(pool, put->word, put->bits);
	put->bits = 0;
}

static void
pool_put_add(struct tp_slot_pool *pool, struct pool_put *put, uint32_t index)
{
	if (put->word != index / 64)
		pool_put_flush(pool, put);
	put->word = index / 64;
	put->bits |= UINT64_C(1) << (index % 64);
}

void
pool_unclaim(struct tp_slot_pool *pool, const uint32_t *indices, uint32_t count)
{
	struct pool_put put = { 0 };
	bool held;

	for (uint32_t i = 0; i < count; i++)
		if (pool_slot_release(pool, indices[i], &held))
			pool_put_add(pool, &put, indices[i]);
	pool_put_flush(pool, &put);
	pool_wake(pool);
}

uint32_t
tp_slot_pool_loan(struct tp_slot_pool *pool)
{
	uint32_t hint = atomic_load_explicit(&pool->hint, memory_order_relaxed);
	uint32_t hint_old = hint;
	uint32_t index;

	if (unlikely(pool_claim(pool, &hint, &index, 1) == 0)) {
		rte_errno = ENOSPC;
		return TP_SLOT_NONE;
	}
	if (hint != hint_old)
		atomic_store_explicit(&pool->hint, hint, memory_order_relaxed);
	atomic_store_explicit(&pool->refs[index], 1, memory_order_relaxed);
	return index;
}

int
tp_slot_pool_loan_bulk(struct tp_slot_pool *pool, uint32_t *indices, uint32_t count)
{
	uint32_t hint = atomic_load_explicit(&pool->hint, memory_order_relaxed);
	uint32_t got;

	if (count == 0)
		return 0;
	got = pool_claim(pool, &hint, indices, count);
	atomic_store_explicit(&pool->hint, hint, memory_order_relaxed);
	if (got < count) {
		pool_unclaim(pool, indices, got);
		return -ENOSPC;
	}
	for (uint32_t i = 0; i < count; i++)
		atomic_store_explicit(&pool->refs[indices[i]], 1, memory_order_relaxed);
	return 0;
}

static uint64_t
clock_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint32_t
tp_slot_pool_loan_wait(struct tp_slot_pool *pool, uint64_t deadline_ns)
{
	struct pool_header *header = pool->header;

	for (;;) {
		uint32_t index = tp_slot_pool_loan(pool);
		uint32_t sequence;
		struct timespec slice;
		uint64_t now;

		if (index != TP_SLOT_NONE)
			return index;
		now = clock_now_ns();
		if (now >= deadline_ns) {
			rte_errno = ETIMEDOUT;
			return TP_SLOT_NONE;
		}
		sequence = atomic_load_explicit(&header->wake_sequence, memory_order_seq_cst);
		/* Pairs with pool_wake(). Stays 1 when we are killed or served by
		 * the next try: it costs the next return one system call.
		 */
		atomic_store_explicit(&header->waiting, 1, memory_order_seq_cst);
		POOL_STEP(waiting_set);
		index = tp_slot_pool_loan(pool);
		if (index != TP_SLOT_NONE)
			return index;
		slice.tv_sec = 0;
		slice.tv_nsec = (long)RTE_MIN(deadline_ns - now, WAIT_SLICE_NS);
		syscall(SYS_futex, &header->wake_sequence, FUTEX_WAIT, sequence, &slice, NULL, 0);
	}
}

/*
 * Take one reference off. 1 when it was the last: the slot's bit is the
 * caller's to clear, with refs 0 for a slot never shared, else busy until
 * pool_ref_settle(). 0 when others remain, -EALREADY when there was none.
 *
 * The plain store suffices for a slot never shared: only its one owner touches
 * it, and should two threads return it at once the holders' bit tells.
 */
static int
pool_ref_drop(struct tp_slot_pool *pool, uint32_t index)
{
	_Atomic uint32_t *refs = &pool->refs[index];
	uint32_t old = atomic_load_explicit(refs, memory_order_relaxed);
	uint32_t new;

	if (likely(old == 1)) {
		atomic_store_explicit(refs, 0, memory_order_relaxed);
		return 1;
	}
	do {
		if ((old & POOL_REF_COUNT_MASK) == 0)
			return -EALREADY;
		new = old - 1;
		if ((new & POOL_REF_COUNT_MASK) == 0)
			new |= POOL_REF_BUSY;
		/* Release and acquire: the last of our threads sees what the others
		 * did to the slot.
		 */
	} while (!atomic_compare_exchange_weak_explicit(refs, &old, new, memory_order_acq_rel,
							memory_order_relaxed));
	return (new & POOL_REF_COUNT_MASK) == 0;
}

/* Undo pool_ref_drop() before anything was done about it. */
static void
pool_ref_undrop(struct tp_slot_pool *pool, uint32_t index)
{
	_Atomic uint32_t *refs = &pool->refs[index];
	uint32_t old = atomic_load_explicit(refs, memory_order_relaxed);

	while (!atomic_compare_exchange_weak_explicit(refs, &old, (old & ~POOL_REF_BUSY) + 1,
						      memory_order_acq_rel, memory_order_relaxed))
		;
}

/* The holders' bit is cleared: nothing of ours is left. The next tenure may have
 * begun already, through another thread; then refs is not busy any more.
 */
static void
pool_ref_settle(struct tp_slot_pool *pool, uint32_t index)
{
	_Atomic uint32_t *refs = &pool->refs[index];
	uint32_t old = atomic_load_explicit(refs, memory_order_relaxed);

	if (old & POOL_REF_BUSY)
		atomic_compare_exchange_strong_explicit(refs, &old, 0, memory_order_release,
							memory_order_relaxed);
}

int
tp_slot_pool_return(struct tp_slot_pool *pool, uint32_t index)
{
	bool held, free_now;
	int ret;

	if (index >= pool->slot_count)
		return -EINVAL;
	ret = pool_ref_drop(pool, index);
	if (ret <= 0)
		return ret;
	POOL_STEP(refs_dropped);
	free_now = pool_slot_release(pool, index, &held);
	pool_ref_settle(pool, index);
	if (unlikely(!held))
		return -EALREADY;
	if (free_now) {
		pool_word_put(pool, index / 64, UINT64_C(1) << (index % 64));
		pool_wake(pool);
		/* It is warm: let the next loan look here first. */
		atomic_store_explicit(&pool->hint, index, memory_order_relaxed);
	}
	return 0;
}

/* Give back the slots of which this process had the last reference: those whose
 * bit in last is set.
 */
static void
pool_return_last(struct tp_slot_pool *pool, const uint32_t *indices, uint32_t count,
		 const uint64_t *last)
{
	struct pool_put put = { 0 };
	bool held;

	for (uint32_t i = 0; i < count; i++) {
		if (((last[i / 64] >> (i % 64)) & 1) == 0)
			continue;
		if (pool_slot_release(pool, indices[i], &held))
			pool_put_add(pool, &put, indices[i]);
		pool_ref_settle(pool, indices[i]);
	}
	pool_put_flush(pool, &put);
	pool_wake(pool);
}

int
tp_slot_pool_return_bulk(struct tp_slot_pool *pool, const uint32_t *indices, uint32_t count)
{
	uint64_t last[TP_SLOT_BULK_MAX / 64] = { 0 };
	uint32_t i;
	int ret;

	if (count > TP_SLOT_BULK_MAX)
		return -EINVAL;
	for (i = 0; i < count; i++) {
		ret = indices[i] < pool->slot_count ? pool_ref_drop(pool, indices[i]) : -EINVAL;
		if (ret < 0)
			goto undo;
		last[i / 64] |= (uint64_t)ret << (i % 64);
	}
	pool_return_last(pool, indices, count, last);
	return 0;

undo:
	while (i > 0)
		pool_ref_undrop(pool, indices[--i]);
	return ret;
}
