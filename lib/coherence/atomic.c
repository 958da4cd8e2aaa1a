/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Atomics that their home runs, and the questions after their fate: requests
 * that belong to no state of their page. docs/coherence.md, "Atomics that must
 * be settled".
 */
#include <rte_branch_prediction.h>

#include "coherence_priv.h"

#define SETTLE_RETRIES 2	/* retry_ns that a settlement waits for a home that is down */

/* The request of an atomic that has not been answered, NULL: there is none. */
static struct coherence_request *
atomic_find(struct tp_coherence *c, const struct tp_coherence_atomic *atomic)
{
	uint32_t i;

	for (i = 0; i < c->request_total; i++) {
		struct coherence_request *request = &c->requests[i];

		if (request->used && request->sent == TP_MSG_AMO &&
		    request->atomic.sequence == atomic->sequence &&
		    request->atomic.origin == atomic->origin)
			return request;
	}
	return NULL;
}

/* How long the atomic may take, ms: any part of one counts. */
static uint64_t
atomic_left(const struct tp_coherence *c, const struct coherence_request *request)
{
	uint64_t left = 0;

	if (request->waiter_first != 0 && c->waiters[request->waiter_first - 1].deadline > c->now)
		left = (c->waiters[request->waiter_first - 1].deadline - c->now) / 1000000 + 1;
	return left < AMO_LEFT_MAX ? left : AMO_LEFT_MAX;
}

static void
emit_amo(const struct tp_coherence *c, const struct coherence_request *request,
	struct tp_coherence_msg *msg)
{
	const struct tp_coherence_atomic *atomic = &request->atomic;

	msg->atomic_op = atomic->op;
	msg->atomic_width = atomic->width;
	msg->atomic_offset_words = rte_cpu_to_le_16((uint16_t)(atomic->offset / 4));
	msg->operand = rte_cpu_to_le_64(atomic->operand);
	msg->compare = rte_cpu_to_le_64(atomic->compare);
	msg->sequence = rte_cpu_to_le_64(atomic->sequence);
	msg->identity = rte_cpu_to_le_64(atomic->origin << 16 | atomic_left(c, request));
}

static void
emit_settle(struct tp_coherence *c, const struct coherence_request *request,
	struct tp_coherence_msg *msg)
{
	const struct tp_coherence_atomic *atomic = &request->atomic;
	const struct coherence_request *sent = atomic_find(c, atomic);

	msg->sequence = rte_cpu_to_le_64(atomic->sequence);
	msg->identity = rte_cpu_to_le_64(atomic->origin << 16);
	msg->operand = rte_cpu_to_le_64(atomic->asker % TP_SETTLE_ASKERS);
	msg->compare = rte_cpu_to_le_64(atomic->origin >> 48);
	if (sent != NULL && sent->downs == c->peers[sent->home].downs)
		msg->flags |= TP_MSG_F_SENT;
}

/* The fields that only an AMO or a SETTLE has. */
void
coherence_atomic_emit(struct tp_coherence *c, const struct coherence_request *request,
	struct tp_coherence_msg *msg)
{
	if (request->sent == TP_MSG_AMO)
		emit_amo(c, request, msg);
	else
		emit_settle(c, request, msg);
}

/* What the home said of an atomic or a wish to persist, to who waits for it. */
static void
complete_told(struct coherence_event *ev, const struct coherence_request *request,
	uint64_t cookie)
{
	struct tp_coherence *c = ev->c;
	bool settle = request->sent == TP_MSG_SETTLE;
	struct tp_action *action;

	if (ev->msg->type == TP_MSG_PERSIST_RESULT) {
		coherence_waiter_complete(ev, cookie, TP_WANT_PERSIST);
		return;
	}
	if (ev->msg->type == TP_MSG_NACK) {
		coherence_waiter_void(c, cookie, settle ? tp_result_unknown(ev->msg->reason) :
			tp_result_void(ev->msg->reason));
		return;
	}
	action = coherence_action(c, TP_ACTION_COMPLETE);
	action->cookie = cookie;
	action->region_id = ev->region->id;
	action->page_index = ev->index;
	action->result = tp_result_ok(settle ? 0 : request->atomic.width);
	action->executed = !settle || ev->msg->effect == TP_EFFECT_DONE;
	action->value = rte_le_to_cpu_64(ev->msg->operand);
	action->limit = settle ? ev->msg->reason : TP_OK;
	c->stats.settled += settle;
}

/* An atomic, its settlement or a wish to persist was answered, or refused. */
void
coherence_atomic_told(struct coherence_event *ev, struct coherence_request *request)
{
	struct tp_coherence *c = ev->c;
	uint32_t index;

	if (ev->msg->type == TP_MSG_NACK && ev->msg->flags & TP_MSG_F_RETRY) {
		request->flags |= REQUEST_LATER;
		coherence_heap_set(&c->heap, c->config.waiter_count +
			(uint32_t)(request - c->requests), c->now + c->config.retry_ns);
		/* Nobody wants it any more: it is not sent again. */
		coherence_request_settle(c, request);
		return;
	}
	if (request->waiter_first != 0) {
		index = coherence_link(request->waiter_first);
		complete_told(ev, request, c->waiters[index].cookie);
		coherence_waiter_remove(c, index);
	}
	coherence_request_free(c, request);
}

/* The home of a settlement is down: whoever waits shall not do so for long. */
void
coherence_atomic_wait_short(struct tp_coherence *c, struct coherence_request *request)
{
	uint64_t until = c->now + SETTLE_RETRIES * c->config.retry_ns;
	uint32_t index;

	if (request->waiter_first == 0)
		return;
	index = request->waiter_first - 1;
	if (c->waiters[index].deadline > until)
		coherence_heap_set(&c->heap, index, until);
}

/* It is back: ask again, unless that was done in this session. */
void
coherence_atomic_back(struct coherence_event *ev, struct coherence_request *request)
{
	struct tp_coherence *c = ev->c;

	if (request->waiter_first != 0)
		coherence_heap_set(&c->heap, request->waiter_first - 1,
			c->waiters[request->waiter_first - 1].deadline);
	if (request->ups != c->peers[request->home].ups)
		coherence_request_send(ev, request, request->sent, TP_MSG_F_RETRY);
}

/* The atomic comes late: its client has given it up and asks after it. */
static bool
settle_is_open(const struct tp_coherence *c, const struct tp_coherence_atomic *atomic)
{
	uint32_t i;

	for (i = 0; i < c->request_total; i++)
		if (c->requests[i].used && c->requests[i].sent == TP_MSG_SETTLE &&
		    c->requests[i].atomic.sequence == atomic->sequence &&
		    c->requests[i].atomic.origin == atomic->origin)
			return true;
	return false;
}

/* Send an atomic to its home. @return TP_OK, or why not. */
uint8_t
coherence_atomic_request(struct coherence_event *ev,
	const struct tp_coherence_atomic *atomic, const struct tp_coherence_client *client)
{
	struct coherence_request *request;

	if (ev->c->waiter_free == 0)
		return TP_EXHAUSTED;
	if (unlikely(ev->c->settling != 0) && settle_is_open(ev->c, atomic))
		return TP_TIMEOUT;
	request = coherence_request_alloc(ev->c, ev, false);
	if (request == NULL)
		return TP_EXHAUSTED;
	request->atomic = *atomic;
	coherence_waiter_add(ev->c, request, client, TP_WANT_ATOMIC);
	if (!coherence_page_is_home(ev))
		ev->c->stats.atomics_sent++;
	coherence_request_send(ev, request, TP_MSG_AMO, 0);
	return TP_OK;
}

/* Nobody waits for the atomic any more, and it is not sent again. */
static void
atomic_give_up(struct tp_coherence *c, const struct tp_coherence_atomic *atomic)
{
	struct coherence_request *request = atomic_find(c, atomic);
	uint32_t index;

	if (request == NULL)
		return;
	if (request->waiter_first != 0) {
		index = request->waiter_first - 1;
		coherence_waiter_void(c, c->waiters[index].cookie, tp_result_unknown(TP_TIMEOUT));
		coherence_waiter_remove(c, index);
	}
	coherence_request_settle(c, request);
}

/* Ask the home of an atomic for its fate. @return TP_OK, or why not. */
uint8_t
coherence_atomic_settle(struct coherence_event *ev,
	const struct tp_coherence_atomic *atomic, const struct tp_coherence_client *client)
{
	struct tp_coherence *c = ev->c;
	const struct coherence_peer *home = &c->peers[ev->home];
	struct coherence_request *request;

	atomic_give_up(c, atomic);
	if (c->waiter_free == 0)
		return TP_EXHAUSTED;
	request = coherence_request_alloc(c, ev, false);
	if (request == NULL)
		return TP_EXHAUSTED;
	request->atomic = *atomic;
	c->settling++;
	coherence_waiter_add(c, request, client, TP_WANT_SETTLE);
	if (!home->up || home->muted)
		coherence_atomic_wait_short(c, request);
	coherence_request_send(ev, request, TP_MSG_SETTLE, 0);
	return TP_OK;
}
