/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Slot pools: what a dead client held. The windows it may have died in are
 * listed in slot_loan.c. Every store here leaves a state that the next reap
 * completes, whatever id that one is for.
 */
#include <errno.h>

#include "pool_priv.h"

/* Take the client out of the slots of one word and put back those that nobody
 * holds. Returns how many it was the last holder of.
 */
static int
pool_word_reap(struct tp_slot_pool *pool, uint32_t word, uint64_t client_bit)
{
	uint64_t valid = pool_word_valid(pool, word);
	uint64_t known = atomic_load_explicit(&pool->words[word].bits, memory_order_relaxed);
	uint64_t unheld = 0;
	int freed = 0;

	for (uint64_t rest = valid; rest != 0; rest &= rest - 1) {
		uint32_t bit = (uint32_t)__builtin_ctzll(rest);
		_Atomic uint64_t *slot = &pool->slots[word * 64 + bit].holders;
		uint64_t holders = atomic_load_explicit(slot, memory_order_acquire);

		POOL_STEP(read_holders);
		if (holders & client_bit) {
			holders = atomic_fetch_and_explicit(slot, ~client_bit,
							    memory_order_acq_rel);
			POOL_STEP(reap_release);
			/* A scribbler may have been at it: count what we changed. */
			freed += holders == client_bit;
			holders &= ~client_bit;
		}
		if (holders == 0)
			unheld |= UINT64_C(1) << bit;
	}
	if (unheld & ~known)
		pool_word_put(pool, word, unheld & ~known);
	else if (known & valid)
		pool_summary_set(pool, word);
	return freed;
}

int
pool_release_all(struct tp_slot_pool *pool, uint64_t client_bit)
{
	int freed = 0;

	for (uint32_t word = 0; word < pool->word_count; word++)
		freed += pool_word_reap(pool, word, client_bit);
	pool_wake(pool);
	/* Last: only now may the id be used again. Pairs with the acquire in
	 * tp_slot_pool_attach().
	 */
	atomic_fetch_and_explicit(&pool->header->attached, ~client_bit, memory_order_release);
	POOL_STEP(attached_clear);
	return freed;
}

int
tp_slot_pool_reap(struct tp_slot_pool *pool, uint32_t client_id)
{
	if (client_id >= TP_SLOT_CLIENT_MAX || client_id == pool->client_id)
		return -EINVAL;
	return pool_release_all(pool, UINT64_C(1) << client_id);
}
