/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Waiters: client requests that could not be answered at once, in the order
 * they came, on the request they wait for; and their deadlines.
 */
#include "coherence_priv.h"

/* Append a waiter. false: none is free. */
bool
coherence_waiter_add(struct tp_coherence *c, struct coherence_request *request,
	const struct tp_coherence_client *client, enum tp_coherence_want want)
{
	uint32_t link = c->waiter_free;
	struct coherence_waiter *waiter;

	if (link == 0)
		return false;
	waiter = &c->waiters[link - 1];
	c->waiter_free = waiter->next;
	c->waiter_used++;
	*waiter = (struct coherence_waiter){
		.cookie = client->cookie,
		.deadline = client->deadline,
		.previous = request->waiter_last,
		.request = (uint32_t)(request - c->requests),
		.want = (uint8_t)want,
		.used = true,
	};
	if (request->waiter_last != 0)
		c->waiters[request->waiter_last - 1].next = link;
	else
		request->waiter_first = link;
	request->waiter_last = link;
	coherence_heap_set(&c->heap, link - 1, client->deadline);
	return true;
}

void
coherence_waiter_remove(struct tp_coherence *c, uint32_t index)
{
	struct coherence_waiter *waiter = &c->waiters[index];
	struct coherence_request *request = &c->requests[waiter->request];

	RTE_ASSERT(waiter->used);
	if (waiter->previous != 0)
		c->waiters[waiter->previous - 1].next = waiter->next;
	else
		request->waiter_first = waiter->next;
	if (waiter->next != 0)
		c->waiters[waiter->next - 1].previous = waiter->previous;
	else
		request->waiter_last = waiter->previous;
	coherence_heap_clear(&c->heap, index);
	*waiter = (struct coherence_waiter){ .next = c->waiter_free };
	c->waiter_free = index + 1;
	c->waiter_used--;
}

/* The page is here as wanted: grant a guard on it, or say that it is done. */
void
coherence_waiter_complete(struct coherence_event *ev, uint64_t cookie, enum tp_coherence_want want)
{
	struct tp_action *action = coherence_action(ev->c, TP_ACTION_COMPLETE);

	action->cookie = cookie;
	action->region_id = ev->region->id;
	action->page_index = ev->index;
	action->result = tp_result_ok(0);
	switch (want) {
	case TP_WANT_READ:
		action->access = TP_ACCESS_READ;
		action->slot = coherence_page_slot(ev);
		break;
	case TP_WANT_WRITE:
	case TP_WANT_ATOMIC:
		action->access = TP_ACCESS_WRITE;
		action->slot = coherence_page_slot(ev);
		break;
	default:
		action->access = TP_ACCESS_NONE;
		break;
	}
}

void
coherence_waiter_void(struct tp_coherence *c, uint64_t cookie, struct tp_result result)
{
	struct tp_action *action = coherence_action(c, TP_ACTION_COMPLETE);

	action->cookie = cookie;
	action->result = result;
	action->access = TP_ACCESS_NONE;
	c->stats.voids++;
}

static void
waiter_expire(struct tp_coherence *c, uint32_t index)
{
	struct coherence_waiter *waiter = &c->waiters[index];
	struct coherence_request *request = &c->requests[waiter->request];
	bool up = c->peers[request->home].up;
	/* An atomic that was sent may still be run. */
	struct tp_result result = coherence_request_is_atomic(request) ?
		tp_result_unknown(up ? TP_TIMEOUT : TP_UNREACHABLE) : tp_result_void(TP_TIMEOUT);

	coherence_waiter_void(c, waiter->cookie, result);
	coherence_waiter_remove(c, index);
	coherence_request_settle(c, request);
}

static void
request_timer(struct tp_coherence *c, struct coherence_request *request)
{
	struct coherence_event ev;

	coherence_event_init(&ev, c, &c->regions[request->region], request->page);
	coherence_request_later(&ev, request);
}

/* What is due: deadlines, repeats. */
uint32_t
coherence_waiter_poll(struct tp_coherence *c)
{
	uint32_t work = 0;

	while (c->heap.count != 0 && coherence_room(c)) {
		uint32_t id = c->heap.ids[0];

		if (c->heap.key[id] > c->now)
			break;
		if (id < c->config.waiter_count) {
			waiter_expire(c, id);
		} else {
			coherence_heap_clear(&c->heap, id);
			request_timer(c, &c->requests[id - c->config.waiter_count]);
		}
		work++;
	}
	return work;
}

void
tp_coherence_client_gone(struct tp_coherence *c, uint64_t cookie_mask, uint64_t cookie_value)
{
	uint32_t i;

	for (i = 0; i < c->config.waiter_count; i++) {
		struct coherence_request *request;

		if (!c->waiters[i].used || (c->waiters[i].cookie & cookie_mask) != cookie_value)
			continue;
		request = &c->requests[c->waiters[i].request];
		coherence_waiter_remove(c, i);
		coherence_request_settle(c, request);
	}
}
