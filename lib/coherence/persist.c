/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Pages of durable regions: docs/coherence.md, "Durable regions". Who asks for one to be
 * persisted has a request that belongs to no state of the page, as an atomic's; the home
 * brings home memory up to date first, where another node may have written to it. That
 * the contents last is the caller's business: it is told what to keep, in order, and
 * answers by itself whoever asked.
 */
#include <rte_branch_prediction.h>

#include "table_priv.h"

#define SWEEP_FRAMES 256	/* looked at in one turn */

/* Ask the home to persist the page. @return TP_OK, or why not. */
uint8_t
coherence_persist_request(struct coherence_event *ev, const struct tp_coherence_client *client)
{
	struct coherence_request *request;

	if (ev->c->waiter_free == 0)
		return TP_EXHAUSTED;
	request = coherence_request_alloc(ev->c, ev, false);
	if (request == NULL)
		return TP_EXHAUSTED;
	coherence_waiter_add(ev->c, request, client, TP_WANT_PERSIST);
	coherence_request_send(ev, request, TP_MSG_PERSIST, 0);
	return TP_OK;
}

/* An entry is seen for the first time: what the pool has of its page. */
void
coherence_persist_seen(struct coherence_event *ev)
{
	const struct tp_coherence_config *config = &ev->c->config;

	if (coherence_mutant(ev->c, MUTANT_forget_pool))
		return;
	switch (config->persisted(config->persisted_ctx, ev->region->id, ev->index)) {
	case TP_PERSISTED_NEVER:
		break;
	case TP_PERSISTED_PAGE:
		ev->page->flags |= PAGE_PERSISTED;
		break;
	default:
		ev->entry->flags |= ENTRY_DAMAGED;
		ev->entry->state = HOME_L;
		ev->c->stats.pages_damaged++;
		break;
	}
}

/*
 * Home memory is current and nobody may write to it: what is there now is to be
 * persisted, unless it was already, or will have been once all before this has. Then
 * reply, if there is one, is sent to the node that asked.
 */
static void
persist_page(struct coherence_event *ev, const struct tp_coherence_msg *reply, uint16_t node,
	uint16_t worker)
{
	bool dirty = ev->page->flags & PAGE_DIRTY;
	struct tp_action *action;

	if (dirty)
		coherence_home_frame_zero(ev);
	coherence_action_page(ev, TP_ACTION_PERSIST, TP_ACCESS_NONE);
	action = &ev->c->out->actions[ev->c->out->count - 1];
	if (dirty)
		ev->c->stats.pages_persisted++;
	else
		action->slot = TP_SLOT_ABSENT;
	ev->page->flags &= (uint8_t)~PAGE_DIRTY;
	ev->c->persists++;
	if (reply == NULL)
		return;
	action->node = node;
	action->worker = worker;
	action->msg = *reply;
}

static bool
has_room(const struct tp_coherence *c)
{
	return c->persists < c->config.persist_count;
}

/* false: there is no room now, and it is to be asked for again. */
static bool
persist_for(struct coherence_event *ev, uint16_t node, uint16_t worker, uint32_t txn)
{
	struct tp_coherence_msg reply;

	if (!has_room(ev->c)) {
		coherence_home_nack(ev, node, worker, txn, TP_EXHAUSTED, TP_MSG_F_RETRY);
		return false;
	}
	coherence_msg_init(ev, &reply, TP_MSG_PERSIST_RESULT, ev->entry->sequence, txn);
	reply.requester = rte_cpu_to_le_16(node);
	reply.requester_worker = rte_cpu_to_le_16(worker);
	persist_page(ev, &reply, node, worker);
	return true;
}

static enum coherence_way
refuse(struct coherence_event *ev, enum tp_reason reason, uint8_t flags)
{
	coherence_home_nack(ev, ev->from, ev->from_worker, rte_le_to_cpu_32(ev->msg->txn), reason,
		flags);
	return WAY_STAY;
}

/* Home memory is current. */
enum coherence_way
home_persist(struct coherence_event *ev)
{
	if (!ev->region->durable)
		return refuse(ev, TP_INVALID, 0);
	ev->c->stats.persists++;
	persist_for(ev, ev->from, ev->from_worker, rte_le_to_cpu_32(ev->msg->txn));
	return WAY_STAY;
}

/* A node may have written to the page: it gives that back, and keeps what it can read. */
enum coherence_way
home_persist_owned(struct coherence_event *ev)
{
	if (!ev->region->durable)
		return refuse(ev, TP_INVALID, 0);
	if (coherence_mutant(ev->c, MUTANT_persist_old_home)) {
		ev->page->flags |= PAGE_DIRTY;
		return home_persist(ev);
	}
	if (coherence_busy_start(ev) == NULL)
		return refuse(ev, TP_EXHAUSTED, TP_MSG_F_RETRY);
	ev->c->stats.persists++;
	ev->entry->sequence++;
	ev->c->stats.forwards++;
	coherence_home_forward(ev);
	return WAY_NEXT;
}

/* It has given it back. */
void
coherence_persist_written_back(struct coherence_event *ev)
{
	const struct coherence_busy *busy = coherence_busy_of(ev);

	if (!busy->cancelled)
		persist_for(ev, busy->requester, busy->requester_worker,
			rte_le_to_cpu_32(busy->msg.txn));
}

void
tp_coherence_persisted(struct tp_coherence *c)
{
	RTE_ASSERT(c->persists > 0);
	c->persists--;
}

void
tp_coherence_persist_refused(struct tp_coherence *c, uint32_t region_id, uint32_t page_index)
{
	const struct coherence_region *region = coherence_region_find(c, region_id);

	if (region != NULL && page_index < region->region->page_count)
		region->pages[page_index].flags |= PAGE_DIRTY;
}

/* One that is on goes on, or what comes late in it would never be reached; a drain sees all. */
void
tp_coherence_persist_all(struct tp_coherence *c)
{
	if (c->sweeping && !c->draining)
		return;
	c->sweeping = true;
	c->sweep_cursor = 0;
}

/*
 * What was written back since it was persisted; of a node that leaves also what its own
 * clients, who are served no more, had changed in place.
 */
static void
sweep_frame(struct tp_coherence *c, const struct coherence_frame *frame)
{
	struct coherence_region *region = &c->regions[frame->region];
	struct coherence_event ev;

	if (frame->state != FRAME_HELD || !region->durable || region->removing)
		return;
	coherence_event_init(&ev, c, region, frame->page);
	if (!coherence_home_entry(&ev))
		return;
	if (ev.entry->state == HOME_M && ev.entry->owner == c->config.node_id && c->draining)
		ev.page->flags |= PAGE_DIRTY;
	else if (ev.entry->state != HOME_U && ev.entry->state != HOME_S)
		return;
	if (ev.page->flags & PAGE_DIRTY)
		persist_page(&ev, NULL, 0, 0);
}

/* Go on with the sweep as far as there is room for what it finds. */
uint32_t
coherence_persist_poll(struct tp_coherence *c)
{
	uint32_t count;

	for (count = 0; count < SWEEP_FRAMES && coherence_room(c) && has_room(c); count++) {
		if (c->sweep_cursor == c->config.home_slot_count) {
			c->sweeping = false;
			break;
		}
		sweep_frame(c, &c->frames[c->sweep_cursor++]);
	}
	return count;
}
