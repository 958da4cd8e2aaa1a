/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Atomics at their home: run once at most, their results kept, and their fate
 * told. docs/coherence.md, "Atomics that must be settled".
 */
#include <rte_branch_prediction.h>

#include "table_priv.h"

static enum coherence_way
refuse(struct coherence_event *ev, enum tp_reason reason)
{
	coherence_home_nack(ev, ev->from, ev->from_worker, rte_le_to_cpu_32(ev->msg->txn), reason,
		0);
	return WAY_STAY;
}

/*
 * The value is read when the message is sent: the atomic itself may be an action
 * before this one in the outbox.
 */
static void
send_kept(struct coherence_event *ev, uint16_t node, uint16_t worker,
	const struct tp_coherence_msg *msg, uint64_t *kept)
{
	coherence_send(ev, node, worker, msg, false);
	ev->c->out->actions[ev->c->out->count - 1].kept = kept;
}

/* Has it waited here for longer than it had left when it was sent? */
static bool
is_spent(const struct tp_coherence *c, const struct tp_coherence_msg *amo, uint64_t since)
{
	uint64_t left_ms = rte_le_to_cpu_64(amo->identity) & AMO_LEFT_MAX;

	return left_ms != AMO_LEFT_MAX && c->now - since >= left_ms * 1000000;
}

/*
 * Nobody has a copy: run the atomic on home memory. One with an id is run once
 * at most, and not when its time is over; the result is kept.
 */
void
coherence_home_run_atomic(struct coherence_event *ev, const struct tp_coherence_msg *amo,
	uint16_t node, uint16_t worker, uint64_t since)
{
	struct coherence_id id = coherence_msg_id(amo);
	struct tp_coherence *c = ev->c;
	struct tp_coherence_msg result = *amo;
	struct tp_action *action;
	uint64_t *kept = NULL;

	tp_directory_sharer_clear(c->config.directory_worker, ev->entry);
	result.type = TP_MSG_AMO_RESULT;
	result.flags = 0;
	result.identity = 0;
	result.sequence = rte_cpu_to_le_64(ev->entry->sequence);
	if (id.sequence != 0) {
		kept = coherence_kept_find(c, &id);
		if (unlikely(kept != NULL)) {
			c->stats.atomics_repeated++;
			send_kept(ev, node, worker, &result, kept);
			return;
		}
		if (unlikely(is_spent(c, amo, since))) {
			c->stats.atomics_refused++;
			coherence_home_nack(ev, node, worker, rte_le_to_cpu_32(amo->txn),
				TP_TIMEOUT, 0);
			return;
		}
		kept = coherence_kept_add(c, &id);
	}
	coherence_home_frame_zero(ev);
	ev->page->flags |= PAGE_DIRTY;
	coherence_action_page(ev, TP_ACTION_ATOMIC, TP_ACCESS_NONE);
	action = &c->out->actions[c->out->count - 1];
	action->node = node;
	action->worker = worker;
	action->kept = kept;
	action->msg = result;
	c->stats.atomics_home++;
}

/* An atomic that will never be run. */
void
home_refuse_spent(struct coherence_event *ev)
{
	ev->c->stats.atomics_refused++;
	refuse(ev, TP_TIMEOUT);
}

static enum coherence_way
settled(struct coherence_event *ev, enum tp_effect effect, uint64_t *kept, uint64_t span,
	uint8_t limit)
{
	struct tp_coherence_msg msg;

	coherence_msg_init(ev, &msg, TP_MSG_SETTLE_RESULT, ev->entry->sequence,
		rte_le_to_cpu_32(ev->msg->txn));
	msg.requester = ev->msg->requester;
	msg.requester_worker = ev->msg->requester_worker;
	msg.effect = (uint8_t)effect;
	msg.reason = limit;
	msg.operand = rte_cpu_to_le_64(span);
	send_kept(ev, ev->from, ev->from_worker, &msg, kept);
	return WAY_STAY;
}

/*
 * Was that atomic run? If not it never will be: what may be on its way is fenced.
 * What another node than the one that asks sent may arrive in its session with this
 * home, or in the next, which it may have begun to use before this home knows of it.
 * In no later one: nobody asks before the atomic's deadline, and then it is sent no more.
 */
enum coherence_way
home_settle(struct coherence_event *ev)
{
	struct coherence_id id = coherence_msg_id(ev->msg);
	struct tp_coherence *c = ev->c;
	uint16_t node = (uint16_t)(id.origin >> 48);
	uint64_t *kept = coherence_kept_find(c, &id);
	uint64_t span;
	uint8_t limit;

	if (kept != NULL)
		return settled(ev, TP_EFFECT_DONE, kept, 0, TP_OK);
	if (coherence_busy_has_atomic(ev, &id))
		return home_defer(ev);
	if (node != ev->from && !coherence_fence_add(ev, node, 1, &id))
		return refuse(ev, TP_EXHAUSTED);
	if (ev->msg->flags & TP_MSG_F_SENT && !coherence_fence_add(ev, ev->from, 0, &id))
		return refuse(ev, TP_EXHAUSTED);
	coherence_kept_turn(c);
	span = coherence_kept_span(c, ev->region, &id, &limit);
	return settled(ev, TP_EFFECT_NOT_DONE, NULL, span, limit);
}
