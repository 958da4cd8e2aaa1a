/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What one access does to one page. docs/coherence.md, "Frame word, guards,
 * completion". Owner: the calling thread.
 */
#include "heir.h"
#include "hit.h"
#include "op.h"

/* An atomic on page memory; the compiler makes lock instructions of it. */
#define ACCESS_ATOMIC(type, at, op, operand, compare, old) do {				\
	type *at_ = (type *)(void *)(at);						\
	type operand_ = (type)(operand), expected_ = (type)(compare);			\
											\
	switch (op) {									\
	case TP_ATOMIC_STORE:								\
	case TP_ATOMIC_EXCHANGE:							\
		(old) = __atomic_exchange_n(at_, operand_, __ATOMIC_SEQ_CST);		\
		break;									\
	case TP_ATOMIC_ADD:								\
		(old) = __atomic_fetch_add(at_, operand_, __ATOMIC_SEQ_CST);		\
		break;									\
	case TP_ATOMIC_CAS:								\
		__atomic_compare_exchange_n(at_, &expected_, operand_, false,		\
					    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);	\
		(old) = expected_;							\
		break;									\
	case TP_ATOMIC_AND:								\
		(old) = __atomic_fetch_and(at_, operand_, __ATOMIC_SEQ_CST);		\
		break;									\
	case TP_ATOMIC_OR:								\
		(old) = __atomic_fetch_or(at_, operand_, __ATOMIC_SEQ_CST);		\
		break;									\
	default:									\
		(old) = __atomic_load_n(at_, __ATOMIC_SEQ_CST);				\
		break;									\
	}										\
} while (0)

static uint64_t
access_atomic(const struct tp_op *op, uint8_t *at)
{
	uint64_t old;

	if (op->width == 4)
		ACCESS_ATOMIC(uint32_t, at, op->atomic_op, op->operand, op->compare, old);
	else
		ACCESS_ATOMIC(uint64_t, at, op->atomic_op, op->operand, op->compare, old);
	return old;
}

/* Uses of op only what says which atomic it is, and where. */
enum client_hit
client_atomic_try(struct tp_thread *thread, struct tp_op *op, const struct client_chunk *chunk)
{
	struct client_guard guard;
	uint32_t slot = client_guard_enter(thread, op->region, chunk->page_index,
					   TP_ACCESS_WRITE, CLIENT_GUARD_HIT, &guard);
	uint64_t old;
	bool held;

	if (slot == UINT32_MAX)
		return CLIENT_MISS;
	old = access_atomic(op, client_slot_at(op->region, slot, chunk->page_offset));
	held = client_guard_held(thread, op->region, &guard);
	client_guard_leave(&guard);
	if (unlikely(!held))
		return CLIENT_BROKEN;
	client_word_reference(guard.word_at, guard.word);
	op->value = old;
	thread->stats.hits++;
	return CLIENT_HIT;
}

static enum client_hit
access_try_pin(struct tp_thread *thread, struct tp_op *op, const struct client_chunk *chunk)
{
	struct client_guard guard;
	uint8_t guard_index = client_guard_take(thread, CLIENT_GUARDS_PIN);
	uint32_t slot;

	if (guard_index == CLIENT_GUARD_NONE)
		return CLIENT_MISS;
	slot = client_guard_enter(thread, op->region, chunk->page_index,
				  (enum tp_access)op->access, guard_index, &guard);
	if (slot == UINT32_MAX) {
		client_guard_release(thread, guard_index);
		return CLIENT_MISS;
	}
	*op->pin = (struct tp_pin){
		.address = client_slot_at(op->region, slot, chunk->page_offset),
		.valid_until_tsc = guard.start_tsc + op->region->guard_lease_tsc,
		.word = guard.word,
		.region = op->region,
		.page_index = chunk->page_index,
		.access = op->access,
		.guard = guard_index,
	};
	client_word_reference(guard.word_at, guard.word);
	thread->stats.hits++;
	return CLIENT_HIT;
}

/* Do op's access to one page if the page is here. */
enum client_hit
client_access_try(struct tp_thread *thread, struct tp_op *op, const struct client_chunk *chunk)
{
	struct tp_client_region *region = op->region;

	switch (op->kind) {
	case CLIENT_READ:
		return client_hit_read(thread, region, chunk->page_index, chunk->page_offset,
				       chunk->buffer, chunk->bytes);
	case CLIENT_WRITE:
		return client_hit_write(thread, region, chunk->page_index, chunk->page_offset,
					chunk->buffer, chunk->bytes);
	case CLIENT_ATOMIC:
		return client_atomic_try(thread, op, chunk);
	case CLIENT_PIN:
		return access_try_pin(thread, op, chunk);
	case CLIENT_INVALIDATE:
		return tp_lookup(region, (uint64_t)chunk->page_index << region->page_shift) ==
			TP_ACCESS_NONE ? CLIENT_HIT : CLIENT_MISS;
	case CLIENT_FLUSH:
		return tp_lookup(region, (uint64_t)chunk->page_index << region->page_shift) ==
			TP_ACCESS_WRITE ? CLIENT_MISS : CLIENT_HIT;
	default:
		return CLIENT_MISS;
	}
}

/* Was the grant good up to now? The full fence orders what we did before the question. */
static bool
access_grant_held(struct tp_thread *thread, const struct tp_client_region *region,
		  const struct tp_abi_completion *completion)
{
	uint64_t now;

	client_fence_full();
	now = client_now(region->virtual_tsc);
	if (unlikely(now > completion->guard_until_tsc) &&
	    !CLIENT_MUTANT(thread->client, ignored_guard_lease)) {
		thread->stats.guards_broken++;
		return false;
	}
	if (unlikely(!client_lease_ok(region, now))) {
		thread->stats.lease_lapses++;
		return false;
	}
	return true;
}

static void
access_granted_pin(struct tp_op *op, const struct client_chunk *chunk, uint8_t guard,
		   const struct tp_abi_completion *completion)
{
	struct tp_client_region *region = op->region;
	uint64_t word = atomic_load_explicit(&region->words[chunk->page_index],
					     memory_order_acquire);

	/* A word of another publication says nothing of this grant: none is 0. */
	if (tp_word_slot(word) != completion->slot || tp_word_access(word) != completion->access)
		word = 0;
	*op->pin = (struct tp_pin){
		.address = client_slot_at(region, completion->slot, chunk->page_offset),
		.valid_until_tsc = completion->guard_until_tsc,
		.word = word,
		.region = region,
		.page_index = chunk->page_index,
		.access = op->access,
		.guard = guard,
	};
}

static bool
access_grant_is_valid(const struct tp_op *op, const struct tp_abi_completion *completion)
{
	enum tp_access wanted = TP_ACCESS_WRITE;

	if (op->kind == CLIENT_READ || (op->kind == CLIENT_PIN && op->access == TP_ACCESS_READ))
		wanted = TP_ACCESS_READ;
	return (completion->flags & TP_COMPLETION_GUARDED) &&
		(completion->access & wanted) == wanted &&
		completion->slot < op->region->slot_count;
}

/* Do op's access to the page that the node granted for it. */
enum client_grant
client_access_granted(struct tp_thread *thread, struct tp_op *op,
		      const struct client_chunk *chunk, uint8_t guard,
		      const struct tp_abi_completion *completion)
{
	uint8_t *at;

	if (op->kind == CLIENT_INVALIDATE || op->kind == CLIENT_FLUSH ||
	    op->kind == CLIENT_PERSIST || op->kind == CLIENT_NOP)
		return CLIENT_GRANT_DONE;
	if (op->kind == CLIENT_ATOMIC && (completion->flags & TP_COMPLETION_EXECUTED)) {
		op->value = completion->value;
		return CLIENT_GRANT_DONE;
	}
	if (!access_grant_is_valid(op, completion))
		return CLIENT_GRANT_BAD;
	/* Late already, say because this thread did not run: nothing was changed yet. */
	if (!access_grant_held(thread, op->region, completion))
		return CLIENT_GRANT_AGAIN;

	if (CLIENT_MUTANT(thread->client, early_clear) && op->kind != CLIENT_PIN)
		atomic_store_explicit(&thread->shared->guards.key[guard], 0, memory_order_release);
	at = client_slot_at(op->region, completion->slot, chunk->page_offset);
	switch (op->kind) {
	case CLIENT_READ:
		client_copy_out(chunk->buffer, at, chunk->bytes);
		return access_grant_held(thread, op->region, completion) ?
			CLIENT_GRANT_DONE : CLIENT_GRANT_AGAIN;
	case CLIENT_WRITE:
		client_copy_in(at, chunk->buffer, chunk->bytes);
		break;
	case CLIENT_ATOMIC:
		op->value = access_atomic(op, at);
		break;
	default:
		access_granted_pin(op, chunk, guard, completion);
		return CLIENT_GRANT_KEPT;
	}
	return access_grant_held(thread, op->region, completion) ?
		CLIENT_GRANT_DONE : CLIENT_GRANT_BROKEN;
}

enum tp_access
tp_lookup(const struct tp_client_region *region, uint64_t offset)
{
	const struct tp_client_region *heir;
	uint64_t word;

	while ((heir = atomic_load_explicit(&region->heir, memory_order_acquire)) != NULL)
		region = heir;

	if (offset >= region->bytes)
		return TP_ACCESS_NONE;
	word = atomic_load_explicit(&region->words[offset >> region->page_shift],
				    memory_order_acquire);
	return tp_word_access(word);
}

struct tp_result
tp_unpin(struct tp_thread *thread, struct tp_pin *pin)
{
	const struct tp_client_region *region = pin->region;
	struct tp_result result = tp_result_ok(0);
	uint64_t now, word;

	if (region == NULL)
		return tp_result_void(TP_INVALID);
	/* It belongs to where it was taken. */
	while (unlikely(thread->client != region->client) && client_thread_heir(thread) != NULL)
		thread = client_thread_heir(thread);
	/* What was written through the pin is visible before the checks. */
	client_fence_full();
	word = atomic_load_explicit(&region->words[pin->page_index], memory_order_relaxed);
	now = client_now(region->virtual_tsc);
	if (!client_lease_ok(region, now)) {
		thread->stats.lease_lapses++;
		result.reason = TP_PARTITION;
	} else if (now >= pin->valid_until_tsc &&
		   (pin->word == 0 || !tp_word_same(pin->word, word))) {
		thread->stats.guards_broken++;
		result.reason = TP_TIMEOUT;
	}
	if (result.reason != TP_OK && pin->access == TP_ACCESS_WRITE)
		result = tp_result_unknown_final((enum tp_reason)result.reason);
	else if (result.reason != TP_OK)
		result.effect = TP_EFFECT_NOT_DONE;
	client_guard_release(thread, pin->guard);
	*pin = (struct tp_pin){ 0 };
	return result;
}
