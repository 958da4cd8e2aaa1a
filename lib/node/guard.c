/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Frame words, guards, and slots with a broken guard on them (docs/coherence.md,
 * "Frame word, guards, completion"; docs/abi.md sections 3 and 4). Owner: the
 * worker's lcore.
 *
 * How it works. To take a page away the node stores the frame word, executes a
 * full fence, and then reads the hazard slots; a client thread stores its hazard
 * slot, executes a full fence, and then reads the word. So either the node sees
 * the guard or the thread sees the new word. A hazard slot with WAITING is a
 * guard only if this node granted it: worker_thread.granted remembers the key,
 * and forgets it when the slot is seen to hold something else or is named by the
 * next request. A guard that stays longer than the lease is broken: the engine
 * moves the page to another slot, the old one rests in quarantine until the
 * hazard slot changes or its owner dies.
 */
#include "inject_priv.h"
#include "worker_priv.h"

void
worker_word_store(struct tp_worker *worker, const struct tp_action *action, enum tp_access access)
{
	struct worker_region *region = worker_region_find(worker, action->region_id);
	uint32_t slot = access == TP_ACCESS_NONE ? 0 : action->slot;
	_Atomic uint64_t *word;

	if (region == NULL)
		return;
	RTE_ASSERT(action->page_index < region->page_count);
	word = &region->words[action->page_index];
	if (access != TP_ACCESS_NONE && slot == TP_SLOT_ABSENT) {
		/* A downgrade keeps the slot; the word is ours, but clients can scribble on it. */
		slot = tp_word_slot(atomic_load_explicit(word, memory_order_relaxed));
		RTE_ASSERT(slot < worker->config.slot_count);
	}
	if (unlikely(region->hidden != NULL)) {
		region->hidden[action->page_index] = inject_hidden_make(slot, access);
		access = TP_ACCESS_NONE;
	}
	/*
	 * One sequence for all words of the worker: none is stored twice, and the
	 * client's copy is not trusted. The release pairs with the client's acquire
	 * load of the word: the contents of the slot come first.
	 */
	atomic_store_explicit(word, tp_word_make(++worker->word_sequence, slot, access),
		memory_order_release);
}

/* Called by the engine's eviction: was the page touched since it last asked? */
bool
worker_page_referenced(void *ctx, uint32_t region_id, uint32_t page_index)
{
	struct tp_worker *worker = ctx;
	struct worker_region *region = worker_region_find(worker, region_id);
	_Atomic uint64_t *word;

	if (region == NULL || page_index >= region->page_count)
		return false;
	word = &region->words[page_index];
	if ((atomic_load_explicit(word, memory_order_relaxed) & TP_WORD_REF) == 0)
		return false;
	/* A hint: a reference set meanwhile may be lost. */
	atomic_fetch_and_explicit(word, ~TP_WORD_REF, memory_order_relaxed);
	return true;
}

/* Value of a hazard slot if it guards the page now, else 0. */
static uint64_t
guard_value(struct worker_client *client, uint32_t thread, uint32_t guard, uint64_t key)
{
	uint64_t *granted = &client->threads[thread].granted[guard];
	/* Pairs with the client's release when it clears the slot: its access is over. */
	uint64_t value = atomic_load_explicit(
		&client->abi->threads[thread].guards.key[guard], memory_order_acquire);

	if (value == key)
		return value;
	if (value == (key | TP_GUARD_WAITING) && *granted == key)
		return value;
	if ((value & ~TP_GUARD_WAITING) != *granted)
		*granted = 0;
	return 0;
}

static uint32_t
guard_slots_used(const struct tp_abi_thread *thread)
{
	uint32_t used = atomic_load_explicit(&thread->guards.used_max, memory_order_acquire);

	return used > TP_ABI_GUARDS ? TP_ABI_GUARDS : used;
}

/* Does any hazard slot name the page? With note: put each into quarantine with slot. */
static uint32_t
guard_count(struct tp_worker *worker, uint64_t key, uint32_t slot, bool note)
{
	uint32_t count = 0;
	uint32_t c;
	uint32_t t;
	uint32_t g;

	for (c = 0; c < worker->client_count; c++) {
		uint8_t id = worker->client_list[c];
		struct worker_client *client = &worker->clients[id];

		for (t = 0; t < client->thread_count; t++) {
			uint32_t used = guard_slots_used(&client->abi->threads[t]);

			for (g = 0; g < used; g++) {
				uint64_t value = guard_value(client, t, g, key);

				if (value == 0)
					continue;
				count++;
				if (!note)
					continue;
				client->threads[t].granted[g] = 0;
				worker->quarantine[worker->quarantine_count++] =
					(struct worker_quarantine){
						.slot = slot,
						.client = id,
						.thread = (uint8_t)t,
						.guard = (uint8_t)g,
						.value = value,
					};
			}
		}
	}
	return count;
}

void
worker_guard_wait_add(struct tp_worker *worker, const struct tp_action *action)
{
	/*
	 * The page's word was stored just now: the fence orders that before the
	 * reads of the hazard slots. Pairs with the client's fence between its
	 * store of the hazard slot and its load of the word.
	 */
	atomic_thread_fence(memory_order_seq_cst);
	/* A page that waits holds a slot of this worker, and waits once. */
	RTE_ASSERT(worker->wait_count < worker->wait_max);
	worker->waits[worker->wait_count++] = (struct worker_wait){
		.region_id = action->region_id,
		.page_index = action->page_index,
		.since = worker->now,
	};
}

static void
guard_wait_forget(struct tp_worker *worker, uint32_t index)
{
	worker->waits[index] = worker->waits[--worker->wait_count];
}

/* Break the guards on a page. false: no room now, try again. */
static bool
guard_break(struct tp_worker *worker, struct worker_wait wait, uint64_t key, uint32_t holders)
{
	uint32_t slot;

	if (worker->quarantine_count + holders > WORKER_QUARANTINE)
		return false;
	slot = tp_coherence_guards_expired(worker->coherence, wait.region_id, wait.page_index,
		worker->now, &worker->outbox);
	if (slot == TP_SLOT_ABSENT)
		return false;
	worker->stats.guards_broken += holders;
	if (guard_count(worker, key, slot, true) == 0)
		/* All were cleared since they were counted. */
		tp_coherence_slot_return(worker->coherence, slot);
	return true;
}

/* Look at one wait. true: it is over and forgotten, its actions wait in the outbox. */
static bool
guard_wait_run(struct tp_worker *worker, uint32_t index)
{
	struct worker_wait wait = worker->waits[index];
	uint64_t key = tp_guard_key(wait.region_id, wait.page_index);
	uint32_t holders = guard_count(worker, key, 0, false);

	if (holders != 0) {
		/*
		 * The time of the turn that stored the word does not count: it was
		 * taken before the store, and a worker that was stopped in between
		 * would break guards that have only just been set.
		 */
		if (!wait.timed) {
			if (worker->now != wait.since) {
				worker->waits[index].since = worker->now;
				worker->waits[index].timed = true;
			}
			return false;
		}
		if (worker->now - wait.since < worker->config.guard_lease_ns)
			return false;
		if (!guard_break(worker, wait, key, holders))
			return false;
		guard_wait_forget(worker, index);
		return true;
	}
	guard_wait_forget(worker, index);
	tp_coherence_guards_clear(worker->coherence, wait.region_id, wait.page_index, worker->now,
		&worker->outbox);
	return true;
}

/* Look at the waits that the outbox just run has added. */
void
worker_guard_new_run(struct tp_worker *worker)
{
	while (worker->wait_new < worker->wait_count) {
		uint32_t i;

		if (!guard_wait_run(worker, worker->wait_new)) {
			worker->stats.guards_waited++;
			worker->wait_new++;
			continue;
		}
		/* Carry out what followed here, not by recursion: it may add waits. */
		for (i = 0; i < worker->outbox.count; i++)
			worker_outbox_action(worker, &worker->outbox.actions[i]);
		worker->outbox.count = 0;
	}
}

static uint32_t
guard_quarantine_poll(struct tp_worker *worker)
{
	uint32_t work = 0;
	uint32_t i = 0;
	uint32_t j;

	while (i < worker->quarantine_count) {
		struct worker_quarantine entry = worker->quarantine[i];
		struct worker_client *client = &worker->clients[entry.client];
		bool shared = false;

		if (client->abi != NULL &&
		    atomic_load_explicit(&client->abi->threads[entry.thread]
				.guards.key[entry.guard], memory_order_acquire) == entry.value) {
			i++;
			continue;
		}
		worker->quarantine[i] = worker->quarantine[--worker->quarantine_count];
		for (j = 0; j < worker->quarantine_count && !shared; j++)
			shared = worker->quarantine[j].slot == entry.slot;
		if (!shared)
			tp_coherence_slot_return(worker->coherence, entry.slot);
		work++;
	}
	return work;
}

/* One stage of the turn: waits, and quarantined slots. */
uint32_t
worker_guard_poll(struct tp_worker *worker)
{
	uint32_t work = 0;
	uint32_t looks;

	if (unlikely(worker->quarantine_count != 0))
		work += guard_quarantine_poll(worker);
	if (likely(worker->wait_count == 0))
		return work;
	/* Hazard slots set since the word was stored are no guards: no fence is needed again. */
	looks = RTE_MIN(worker->wait_count, WORKER_WAITS_PER_TURN);
	while (looks-- > 0 && worker->wait_count != 0) {
		if (worker->wait_next >= worker->wait_count)
			worker->wait_next = 0;
		if (!guard_wait_run(worker, worker->wait_next)) {
			worker->wait_next++;
			continue;
		}
		worker->wait_new = worker->wait_count;
		worker_outbox_run(worker);
		work++;
	}
	return work;
}

/* A thread names the hazard slot in a new request: its last grant there is over. */
void
worker_guard_reuse(struct tp_worker *worker, uint32_t client, uint32_t thread, uint32_t guard)
{
	uint32_t i;

	worker->clients[client].threads[thread].granted[guard] = 0;
	for (i = 0; i < worker->quarantine_count; i++) {
		struct worker_quarantine *entry = &worker->quarantine[i];

		/* A value that no slot can hold: the next poll releases it. */
		if (entry->client == client && entry->thread == thread && entry->guard == guard)
			entry->value = UINT64_MAX;
	}
}

/* false: the hazard slot does not announce the page, there is nothing to grant. */
bool
worker_guard_grant(struct tp_worker *worker, uint32_t client, uint32_t thread, uint32_t guard,
	uint64_t key)
{
	struct worker_client *entry = &worker->clients[client];
	uint64_t value = atomic_load_explicit(&entry->abi->threads[thread].guards.key[guard],
		memory_order_acquire);

	if (value != (key | TP_GUARD_WAITING))
		return false;
	entry->threads[thread].granted[guard] = key;
	return true;
}
