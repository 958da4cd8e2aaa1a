/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Messages that the endpoint did not take at once, offered again each turn.
 * Owner: the worker's lcore.
 *
 * They wait by class, because a request may wait for credits that come back only
 * when responses flow; and by peer, because one that is silent takes nothing for
 * as long as it takes to find that out, and all others do. What a message
 * carries is copied: its slot may be another page's when it is sent.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <rte_common.h>

#include "worker_priv.h"

/* Half of the messages of one class may carry something. */
static uint32_t
stash_payload_count(const struct tp_worker *worker)
{
	return RTE_MAX(worker->config.stash_count / 2, 1u);
}

static size_t
stash_payload_bytes(const struct tp_worker *worker)
{
	return (size_t)stash_payload_count(worker) * worker->config.slot_bytes;
}

int
worker_stash_init(struct tp_worker *worker)
{
	struct worker_stash *stash = &worker->stash;
	uint32_t messages = TP_CLASS_COUNT * worker->config.stash_count;
	uint32_t payloads = stash_payload_count(worker);
	uint32_t i;

	stash->items = calloc(messages, sizeof(*stash->items));
	stash->payload_free = calloc(payloads, sizeof(*stash->payload_free));
	stash->nodes = calloc((size_t)worker->config.node_id_max + 1, sizeof(*stash->nodes));
	/* Pages of it that are never needed are never there. */
	stash->payloads = mmap(NULL, stash_payload_bytes(worker), PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (stash->payloads == MAP_FAILED)
		stash->payloads = NULL;
	if (stash->items == NULL || stash->payload_free == NULL || stash->nodes == NULL ||
	    stash->payloads == NULL)
		return -ENOMEM;
	for (i = messages; i-- > 0;) {
		stash->items[i].next = stash->free;
		stash->free = i + 1;
	}
	for (i = 0; i < payloads; i++)
		stash->payload_free[i] = payloads - 1 - i;
	stash->payload_free_count = payloads;
	return 0;
}

void
worker_stash_fini(struct tp_worker *worker)
{
	struct worker_stash *stash = &worker->stash;

	if (stash->payloads != NULL)
		munmap(stash->payloads, stash_payload_bytes(worker));
	free(stash->nodes);
	free(stash->payload_free);
	free(stash->items);
}

bool
worker_stash_is_empty(const struct tp_worker *worker)
{
	return worker->stash.node_count == 0;
}

/* Something for this peer waits already: what comes later waits behind it. */
bool
worker_stash_holds(const struct tp_worker *worker, uint16_t node, enum tp_class class)
{
	return worker->peers[node].stash[class].first != 0;
}

/* Are there frames, and room, for what more client requests would send? */
bool
worker_stash_has_room(const struct tp_worker *worker)
{
	const struct worker_stash *stash = &worker->stash;
	int class;

	if (stash->frames_short)
		return false;
	for (class = 0; class < TP_CLASS_COUNT; class++)
		if (stash->count[class] > worker->config.stash_count / 2)
			return false;
	return stash->payload_free_count > stash_payload_count(worker) / 2;
}

/* false: no room. */
bool
worker_stash_add(struct tp_worker *worker, enum tp_class class,
	const struct worker_message *message, const void *payload)
{
	struct worker_stash *stash = &worker->stash;
	struct worker_peer *peer = &worker->peers[message->node];
	struct worker_list *list = &peer->stash[class];
	uint32_t link = stash->free;
	struct worker_message *item;

	if (stash->count[class] == worker->config.stash_count || link == 0 ||
	    (payload != NULL && stash->payload_free_count == 0))
		return false;
	item = &stash->items[link - 1];
	stash->free = item->next;
	stash->count[class]++;
	*item = *message;
	item->next = 0;
	item->slot = TP_SLOT_ABSENT;
	if (payload != NULL) {
		item->slot = stash->payload_free[--stash->payload_free_count];
		memcpy(stash->payloads + (size_t)item->slot * worker->config.slot_bytes, payload,
			item->payload_bytes);
	}
	if (list->first == 0)
		list->first = link;
	else
		stash->items[list->last - 1].next = link;
	list->last = link;
	if (!peer->stashed) {
		peer->stashed = true;
		stash->nodes[stash->node_count++] = message->node;
	}
	return true;
}

static void
stash_pop(struct worker_stash *stash, struct worker_list *list, int class)
{
	uint32_t link = list->first;
	struct worker_message *item = &stash->items[link - 1];

	list->first = item->next;
	if (item->slot != TP_SLOT_ABSENT)
		stash->payload_free[stash->payload_free_count++] = item->slot;
	item->next = stash->free;
	stash->free = link;
	stash->count[class]--;
}

/* Forget peers that nothing waits for any more. */
static void
stash_nodes_tidy(struct tp_worker *worker)
{
	struct worker_stash *stash = &worker->stash;
	uint32_t i = 0;

	while (i < stash->node_count) {
		struct worker_peer *peer = &worker->peers[stash->nodes[i]];
		uint32_t links = 0;
		int class;

		for (class = 0; class < TP_CLASS_COUNT; class++)
			links |= peer->stash[class].first;
		if (links != 0) {
			i++;
			continue;
		}
		peer->stashed = false;
		stash->nodes[i] = stash->nodes[--stash->node_count];
	}
}

/* Offer what waits for a peer. @return messages gone. */
static uint32_t
stash_offer(struct tp_worker *worker, uint16_t node, int class)
{
	struct worker_stash *stash = &worker->stash;
	struct worker_list *list = &worker->peers[node].stash[class];
	uint32_t work = 0;

	while (list->first != 0) {
		const struct worker_message *item = &stash->items[list->first - 1];
		int ret = worker_message_send(worker, item, item->slot == TP_SLOT_ABSENT ? NULL :
			stash->payloads + (size_t)item->slot * worker->config.slot_bytes);

		if (ret == -ENOBUFS)
			stash->frames_short = true;
		if (ret == -ENOBUFS || ret == -EAGAIN)
			break;
		if (ret != 0)
			worker->stats.messages_dropped++;
		stash_pop(stash, list, class);
		work++;
	}
	return work;
}

/* Offer the refused messages again: responses first, they wait for nobody. */
uint32_t
worker_stash_retry(struct tp_worker *worker)
{
	struct worker_stash *stash = &worker->stash;
	uint32_t work = 0;
	uint32_t i;
	int class;

	if (likely(stash->node_count == 0 && !stash->frames_short))
		return 0;
	stash->frames_short = false;
	/* Each peer is the first one in its turn: frames may be short. */
	stash->node_next++;
	for (class = TP_CLASS_COUNT - 1; class >= 0; class--)
		for (i = 0; i < stash->node_count && !stash->frames_short; i++)
			work += stash_offer(worker, stash->nodes[(stash->node_next + i) %
				stash->node_count], class);
	if (work != 0)
		stash_nodes_tidy(worker);
	return work;
}

/* Forget the messages to a node, or all: it went down, or we lost our epoch. */
void
worker_stash_drop(struct tp_worker *worker, uint16_t node, bool all)
{
	struct worker_stash *stash = &worker->stash;
	uint32_t i;
	int class;

	for (i = 0; i < stash->node_count; i++) {
		struct worker_peer *peer = &worker->peers[stash->nodes[i]];

		for (class = 0; (all || stash->nodes[i] == node) && class < TP_CLASS_COUNT;
		     class++) {
			while (peer->stash[class].first != 0) {
				stash_pop(stash, &peer->stash[class], class);
				worker->stats.messages_dropped++;
			}
		}
	}
	stash_nodes_tidy(worker);
}
