/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Accesses to a page that is present: design section "One frame per page and
 * node", docs/coherence.md "Frame word, guards, completion".
 *
 * A read looks at the frame word, copies, and looks again: had the node taken
 * the page away in between, the word would differ. A change names the page in a
 * hazard slot first, so that the node waits for it; the full fence between that
 * store and the load of the word is the one that the node's revocation (store
 * word, full fence, look at hazard slots) pairs with. Both ask for the node's
 * lease after the access. The TSC may be read some hundred cycles early or late:
 * the margin added to every lease by who waits for it is milliseconds.
 */
#ifndef CLIENT_HIT_H
#define CLIENT_HIT_H

#include <rte_atomic.h>
#include <rte_cycles.h>

#include "client_priv.h"
#include "copy.h"

/* Between these the node may do anything: tests stop here, programs do not. */
enum client_step {
	CLIENT_STEP_READ_WORD,
	CLIENT_STEP_READ_COPY,
	CLIENT_STEP_GUARD_ASK,
	CLIENT_STEP_GUARD_ANNOUNCE,
	CLIENT_STEP_GUARD_WORD,
	CLIENT_STEP_WRITE_COPY,
	CLIENT_STEP_GUARD_HELD,
	CLIENT_STEP_COUNT
};
#ifndef CLIENT_STEP
#define CLIENT_STEP(step) do { } while (0)
#endif

/*
 * rte_atomic_thread_fence() in words that a TSan build accepts: it knows no
 * fences, and what they order here are atomics, which it follows by themselves.
 */
static inline void
client_fence_full(void)
{
	rte_smp_mb();
}

static inline void
client_fence_acquire(void)
{
	rte_smp_rmb();
}

static inline uint64_t
client_now(const _Atomic uint64_t *virtual_tsc)
{
	if (unlikely(virtual_tsc != NULL))
		return atomic_load_explicit(virtual_tsc, memory_order_acquire);
	return rte_rdtsc();
}

/* May what was done up to now count? */
static inline bool
client_lease_ok(const struct tp_client_region *region, uint64_t now)
{
	return tp_abi_lease_ok(region->node, now) || CLIENT_MUTANT(region->client, ignored_lease);
}

static inline uint8_t *
client_slot_at(const struct tp_client_region *region, uint32_t slot, uint32_t page_offset)
{
	return region->slots + (uint64_t)slot * region->slot_bytes + page_offset;
}

static inline void
client_word_reference(_Atomic uint64_t *word_at, uint64_t word)
{
	/* A set bit is left alone: the line stays shared between readers. */
	if (unlikely(!(word & TP_WORD_REF)))
		atomic_fetch_or_explicit(word_at, TP_WORD_REF, memory_order_relaxed);
}

/* Copy out of a page that is present; buffer may be written in part on a miss. */
static inline enum client_hit
client_hit_read(struct tp_thread *thread, const struct tp_client_region *region,
		uint32_t page_index, uint32_t page_offset, void *buffer, uint32_t bytes)
{
	_Atomic uint64_t *word_at = &region->words[page_index];
	/* pairs with the node's release store at publication: the contents are there */
	uint64_t word = atomic_load_explicit(word_at, memory_order_acquire);
	uint32_t slot = tp_word_slot(word);

	if (unlikely(tp_word_access(word) == TP_ACCESS_NONE || slot >= region->slot_count))
		return CLIENT_MISS;
	CLIENT_STEP(CLIENT_STEP_READ_WORD);
	client_copy_out(buffer, client_slot_at(region, slot, page_offset), bytes);
	CLIENT_STEP(CLIENT_STEP_READ_COPY);
	/* keeps the second load of the word behind the copy */
	client_fence_acquire();
	if (unlikely(!tp_word_same(word, atomic_load_explicit(word_at, memory_order_relaxed))) &&
	    !CLIENT_MUTANT(region->client, skip_second_look)) {
		thread->stats.retries++;
		return CLIENT_MISS;
	}
	if (unlikely(!client_lease_ok(region, client_now(region->virtual_tsc)))) {
		thread->stats.lease_lapses++;
		return CLIENT_MISS;
	}
	client_word_reference(word_at, word);
	thread->stats.hits++;
	return CLIENT_HIT;
}

/* A page guarded in place. */
struct client_guard {
	_Atomic uint64_t *word_at;
	_Atomic uint64_t *key;
	uint64_t word;
	uint64_t start_tsc;
};

/*
 * Guard a page with hazard slot guard_index. Returns the page's slot, or
 * UINT32_MAX: it is not here with that access, and the hazard slot is clear.
 */
static inline uint32_t
client_guard_enter(struct tp_thread *thread, const struct tp_client_region *region,
		   uint32_t page_index, enum tp_access access, uint8_t guard_index,
		   struct client_guard *guard)
{
	uint32_t slot;

	guard->word_at = &region->words[page_index];
	guard->word = atomic_load_explicit(guard->word_at, memory_order_relaxed);
	/* Ask without the fence first: a miss need not pay for it. */
	if ((tp_word_access(guard->word) & access) != access)
		return UINT32_MAX;
	guard->start_tsc = client_now(region->virtual_tsc);
	if (unlikely(!client_lease_ok(region, guard->start_tsc))) {
		thread->stats.lease_lapses++;
		return UINT32_MAX;
	}
	CLIENT_STEP(CLIENT_STEP_GUARD_ASK);
	guard->key = &thread->shared->guards.key[guard_index];
	if (!CLIENT_MUTANT(region->client, skip_guard))
		atomic_store_explicit(guard->key, tp_guard_key(region->id, page_index),
				      memory_order_relaxed);
	CLIENT_STEP(CLIENT_STEP_GUARD_ANNOUNCE);
	/* pairs with the node's fence between its store of the word and its look at the slots */
	client_fence_full();
	guard->word = atomic_load_explicit(guard->word_at, memory_order_acquire);
	CLIENT_STEP(CLIENT_STEP_GUARD_WORD);
	slot = tp_word_slot(guard->word);
	if (likely((tp_word_access(guard->word) & access) == access && slot < region->slot_count))
		return slot;
	atomic_store_explicit(guard->key, 0, memory_order_release);
	return UINT32_MAX;
}

/*
 * After the access: true if the page was ours to its end. Does not clear the
 * hazard slot.
 */
static inline bool
client_guard_held(struct tp_thread *thread, const struct tp_client_region *region,
		  const struct client_guard *guard)
{
	uint64_t now;

	/* What was written is visible before the checks, and before this thread's next access. */
	client_fence_full();
	now = client_now(region->virtual_tsc);
	if (unlikely(!client_lease_ok(region, now))) {
		thread->stats.lease_lapses++;
		return false;
	}
	/* The same word: nobody even asked for the page. Else the node waited, for so long. */
	if (likely(tp_word_same(guard->word,
				atomic_load_explicit(guard->word_at, memory_order_relaxed))))
		return true;
	if (likely(now - guard->start_tsc < region->guard_lease_tsc) ||
	    CLIENT_MUTANT(region->client, ignored_guard_lease))
		return true;
	thread->stats.guards_broken++;
	return false;
}

static inline void
client_guard_leave(const struct client_guard *guard)
{
	/* pairs with the node's acquire load of the slot: it sees all we did to the page */
	atomic_store_explicit(guard->key, 0, memory_order_release);
}

static inline enum client_hit
client_hit_write(struct tp_thread *thread, const struct tp_client_region *region,
		 uint32_t page_index, uint32_t page_offset, const void *buffer, uint32_t bytes)
{
	struct client_guard guard;
	uint32_t slot = client_guard_enter(thread, region, page_index, TP_ACCESS_WRITE,
					   CLIENT_GUARD_HIT, &guard);
	bool held;

	if (slot == UINT32_MAX)
		return CLIENT_MISS;
	client_copy_in(client_slot_at(region, slot, page_offset), buffer, bytes);
	CLIENT_STEP(CLIENT_STEP_WRITE_COPY);
	held = client_guard_held(thread, region, &guard);
	CLIENT_STEP(CLIENT_STEP_GUARD_HELD);
	client_guard_leave(&guard);
	if (unlikely(!held))
		return CLIENT_BROKEN;
	client_word_reference(guard.word_at, guard.word);
	thread->stats.hits++;
	return CLIENT_HIT;
}

#endif /* CLIENT_HIT_H */
