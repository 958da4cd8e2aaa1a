/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Injected faults in a worker. Owner: the worker's lcore.
 *
 * A region that is denied: requests for it are refused, and the words of pages
 * that are present say no access, so that hits come to ask, too. What they really
 * say is kept aside, in `hidden`, and shown again by the clearing. Nothing is
 * taken away: a write hit that was under way counts.
 */
#include <errno.h>
#include <stdlib.h>

#include "inject_priv.h"
#include "tp_shard.h"
#include "worker_priv.h"

/* Its links are fault links: they go by the worker's time. */
void
worker_inject_init(struct tp_worker *worker)
{
	const struct tp_endpoint_config *endpoint = &worker->config.endpoint;
	uint8_t l;

	for (l = 0; worker->config.inject != NULL && l < endpoint->link_count; l++)
		tp_link_fault_clock_set(endpoint->links[l].link, &worker->now);
}

static void
inject_table_put(struct inject_table *table)
{
	/* Acquire and release: who frees it has seen the others done with it. */
	if (atomic_fetch_sub_explicit(&table->references, 1, memory_order_acq_rel) == 1)
		free(table);
}

void
worker_inject_peers(struct tp_worker *worker, struct inject_table *table)
{
	const struct tp_endpoint_config *endpoint = &worker->config.endpoint;
	uint32_t i;
	uint8_t l;

	for (l = 0; l < endpoint->link_count; l++) {
		struct tp_link *link = endpoint->links[l].link;

		tp_link_fault_clear(link);
		for (i = 0; i < table->count; i++) {
			const struct inject_peer *peer = &table->peers[i];

			/* Checked by the control side; one rule a peer fits. */
			tp_link_fault_set(link, peer->ip, TP_LINK_FAULT_TX, &peer->tx);
			tp_link_fault_set(link, peer->ip, TP_LINK_FAULT_RX, &peer->rx);
		}
	}
	for (i = 0; i < table->count; i++)
		if (table->peers[i].silence && worker->endpoint != NULL)
			tp_endpoint_peer_silence(worker->endpoint, table->peers[i].node);
	inject_table_put(table);
}

static void
inject_word_store(struct tp_worker *worker, struct worker_region *region, uint32_t page,
	uint32_t slot, enum tp_access access)
{
	/* As worker_word_store(); pairs with the client's acquire load of the word. */
	atomic_store_explicit(&region->words[page],
		tp_word_make(++worker->word_sequence, slot, access), memory_order_release);
}

static bool
inject_page_is_ours(const struct tp_worker *worker, const struct worker_region *region,
	uint32_t page)
{
	uint64_t address = tp_region_page_address(region->region, page);

	return tp_shard_worker(tp_shard_of(address, region->region->page_shift),
		worker->config.worker_count) == worker->config.index;
}

static void
inject_region_hide(struct tp_worker *worker, struct worker_region *region)
{
	uint32_t page;

	for (page = 0; page < region->page_count; page++) {
		uint64_t word = atomic_load_explicit(&region->words[page], memory_order_relaxed);

		if (tp_word_access(word) == TP_ACCESS_NONE ||
		    tp_word_slot(word) >= worker->config.slot_count ||
		    !inject_page_is_ours(worker, region, page))
			continue;
		region->hidden[page] = inject_hidden_make(tp_word_slot(word),
			tp_word_access(word));
		inject_word_store(worker, region, page, tp_word_slot(word), TP_ACCESS_NONE);
	}
}

static void
inject_region_show(struct tp_worker *worker, struct worker_region *region)
{
	uint32_t page;

	for (page = 0; page < region->page_count; page++) {
		uint32_t hidden = region->hidden[page];

		if ((hidden & 3) != TP_ACCESS_NONE)
			inject_word_store(worker, region, page, hidden >> 2,
				(enum tp_access)(hidden & 3));
	}
}

/* A region is gone with what was kept of it. */
void
worker_inject_region_gone(struct worker_region *region)
{
	free(region->hidden);
	region->hidden = NULL;
}

void
worker_inject_region(struct tp_worker *worker, const struct worker_command *command)
{
	struct worker_region *region = worker_region_find(worker, command->region_id);

	if (region == NULL || region->removing) {
		free(command->hidden);
		return;
	}
	region->denied = command->reason;
	if (region->hidden != NULL) {
		free(command->hidden);
		return;
	}
	region->hidden = command->hidden;
	inject_region_hide(worker, region);
}

/* One more client request; true: the node is no more. */
bool
worker_inject_crash(struct tp_worker *worker)
{
	struct inject *inject = worker->config.inject;
	uint64_t left = atomic_load_explicit(&inject->crash_in, memory_order_relaxed);

	do {
		if (left == 0)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(&inject->crash_in, &left,
			left == 1 ? 1 : left - 1, memory_order_relaxed, memory_order_relaxed));
	if (left > 1)
		return false;
	inject->crash(inject->crash_ctx);
	return true;
}

bool
worker_inject_vanishes(struct tp_worker *worker, uint16_t node, unsigned int class)
{
	if (class != TP_CLASS_REQUEST || node > worker->config.node_id_max ||
	    !atomic_load_explicit(&worker->config.inject->vanish[node], memory_order_relaxed))
		return false;
	worker->peers[node].vanished = true;
	return true;
}

/*
 * A session delivers what it took, and the engine counts on that: what has
 * disappeared is sent again only in another one.
 */
static void
inject_vanished_return(struct tp_worker *worker)
{
	uint32_t node;

	for (node = 0; node <= worker->config.node_id_max; node++) {
		if (!worker->peers[node].vanished)
			continue;
		worker->peers[node].vanished = false;
		if (worker->endpoint != NULL)
			tp_endpoint_peer_silence(worker->endpoint, (uint16_t)node);
	}
}

void
worker_inject_clear(struct tp_worker *worker)
{
	const struct tp_endpoint_config *endpoint = &worker->config.endpoint;
	uint32_t i;
	uint8_t l;

	for (l = 0; l < endpoint->link_count; l++)
		tp_link_fault_clear(endpoint->links[l].link);
	for (i = 0; i < WORKER_REGIONS; i++) {
		struct worker_region *region = &worker->regions[i];

		if (region->id == 0 || region->hidden == NULL)
			continue;
		inject_region_show(worker, region);
		worker_inject_region_gone(region);
		region->denied = TP_OK;
	}
	inject_vanished_return(worker);
}

/* A command that will not be carried out any more. */
void
worker_inject_command_drop(const struct worker_command *command)
{
	if (command->type == WORKER_INJECT_PEERS)
		inject_table_put(command->table);
	else if (command->type == WORKER_INJECT_REGION)
		free(command->hidden);
}

/* When a frame that is held back comes through. */
uint64_t
worker_inject_next(const struct tp_worker *worker)
{
	const struct tp_endpoint_config *endpoint = &worker->config.endpoint;
	uint64_t next = UINT64_MAX;
	uint8_t l;

	for (l = 0; l < endpoint->link_count; l++)
		next = RTE_MIN(next, tp_link_fault_next(endpoint->links[l].link));
	return next;
}
