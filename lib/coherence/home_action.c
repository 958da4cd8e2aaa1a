/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What the home side does: the actions that home.c's table names. Short, and
 * they never step.
 */
#include <rte_branch_prediction.h>

#include "table_priv.h"

static struct tp_directory_worker *
sharers_of(const struct coherence_event *ev)
{
	return ev->c->config.directory_worker;
}

static void
sharers_clear(struct coherence_event *ev)
{
	tp_directory_sharer_clear(sharers_of(ev), ev->entry);
}

static uint32_t
msg_txn(const struct coherence_event *ev)
{
	return rte_le_to_cpu_32(ev->msg->txn);
}

static void
reply(struct coherence_event *ev, enum tp_coherence_msg_type type, uint16_t node, uint16_t worker,
	uint32_t txn, uint8_t flags, uint8_t reason)
{
	struct tp_coherence_msg msg;

	coherence_msg_init(ev, &msg, type, ev->entry->sequence, txn);
	msg.requester = rte_cpu_to_le_16(node);
	msg.requester_worker = rte_cpu_to_le_16(worker);
	msg.flags = flags;
	msg.reason = reason;
	coherence_send(ev, node, worker, &msg, false);
}

void
coherence_home_nack(struct coherence_event *ev, uint16_t node, uint16_t worker, uint32_t txn,
	enum tp_reason reason, uint8_t flags)
{
	reply(ev, TP_MSG_NACK, node, worker, txn, flags, (uint8_t)reason);
}

static enum coherence_way
refuse(struct coherence_event *ev, enum tp_reason reason, uint8_t flags)
{
	coherence_home_nack(ev, ev->from, ev->from_worker, msg_txn(ev), reason, flags);
	return WAY_STAY;
}

/* Home memory to a requester, who holds base still; to this node itself it is in place. */
static void
data_on_base(struct coherence_event *ev, enum tp_coherence_msg_type type, uint16_t node,
	uint16_t worker, uint32_t txn, uint8_t flags, rte_le64_t base)
{
	struct tp_coherence_msg msg;
	bool zero = ev->page->frame == 0 || ev->page->flags & PAGE_ZERO;

	coherence_msg_init(ev, &msg, type, ev->entry->sequence, txn);
	msg.requester = rte_cpu_to_le_16(node);
	msg.requester_worker = rte_cpu_to_le_16(worker);
	msg.flags = flags;
	if (zero && node != ev->c->config.node_id)
		msg.flags |= TP_MSG_F_ZERO;
	else if (node != ev->c->config.node_id)
		msg.operand = base;
	coherence_send(ev, node, worker, &msg, !zero || node == ev->c->config.node_id);
}

/* The same for one of whom nothing is known, or not any more. */
static void
data(struct coherence_event *ev, enum tp_coherence_msg_type type, uint16_t node, uint16_t worker,
	uint32_t txn, uint8_t flags)
{
	data_on_base(ev, type, node, worker, txn, flags, 0);
}

/* The contents that came with the message become home memory. */
static void
store(struct coherence_event *ev)
{
	RTE_ASSERT(ev->page->frame != 0);
	ev->page->flags |= PAGE_DIRTY;
	if (ev->msg->flags & TP_MSG_F_IN_PLACE)
		return;
	if (ev->msg->flags & TP_MSG_F_ZERO) {
		ev->page->flags |= PAGE_ZERO;
		return;
	}
	coherence_action_page(ev, TP_ACTION_COPY_IN, TP_ACCESS_NONE);
	ev->page->flags &= (uint8_t)~PAGE_ZERO;
	ev->c->stats.pages_in++;
}

/* Any node but one has a copy that must go first. */
static bool
has_other(const struct coherence_event *ev, uint32_t but)
{
	uint32_t node;

	for (node = tp_directory_sharer_next(sharers_of(ev), ev->entry, 0); node != TP_NODE_NONE;
	     node = tp_directory_sharer_next(sharers_of(ev), ev->entry, node + 1)) {
		if (node != but && node <= ev->c->config.node_id_max &&
		    !ev->c->peers[node].fenced && ev->c->peers[node].worker_count != 0)
			return true;
	}
	return false;
}

/* request: the GET_M of that node. */
static void
grant(struct coherence_event *ev, uint16_t node, uint16_t worker,
	const struct tp_coherence_msg *request, bool upgrade)
{
	uint32_t txn = rte_le_to_cpu_32(request->txn);

	sharers_clear(ev);
	ev->entry->owner = node;
	if (upgrade)
		reply(ev, TP_MSG_GRANT_M, node, worker, txn, 0, 0);
	else
		data_on_base(ev, TP_MSG_DATA_M, node, worker, txn, 0, request->operand);
}

/* The page's contents are nowhere any more. */
static void
lose(struct coherence_event *ev)
{
	ev->c->stats.pages_lost++;
	sharers_clear(ev);
	ev->entry->owner = TP_NODE_NONE;
	ev->entry->flags &= (uint16_t)~ENTRY_REVIVE;
}

/* Send, or send again, what the transaction asks of the owner. */
void
coherence_home_forward(struct coherence_event *ev)
{
	const struct coherence_busy *busy = coherence_busy_of(ev);
	struct tp_coherence_msg msg;
	enum tp_coherence_msg_type type = TP_MSG_RECALL;

	if (!ev->c->peers[busy->old_owner].up) {
		coherence_fence_ask(ev->c, busy->old_owner);
		return;
	}
	if (busy->msg.type == TP_MSG_GET_S || busy->msg.type == TP_MSG_PERSIST)
		type = TP_MSG_FWD_S;
	else if (busy->msg.type == TP_MSG_GET_M && !busy->lost)
		type = TP_MSG_FWD_M;
	coherence_msg_init(ev, &msg, type, ev->entry->sequence,
		rte_le_to_cpu_32(busy->msg.txn));
	/* What is to be persisted is for the home itself: no DATA. */
	if (busy->msg.type != TP_MSG_PERSIST) {
		msg.requester = rte_cpu_to_le_16(busy->requester);
		msg.requester_worker = rte_cpu_to_le_16(busy->requester_worker);
	}
	if (type != TP_MSG_RECALL)
		msg.operand = busy->msg.operand;
	coherence_send(ev, busy->old_owner, coherence_worker_of(ev, busy->old_owner), &msg,
		false);
}

/* -- actions, named as the table prints them -- */

enum coherence_way
home_get_s(struct coherence_event *ev)
{
	if (unlikely(ev->page->flags & PAGE_PERSISTED) && !coherence_frame_take(ev))
		return refuse(ev, TP_EXHAUSTED, 0);
	ev->entry->sequence++;
	if (!coherence_mutant(ev->c, MUTANT_forget_sharer))
		tp_directory_sharer_add(sharers_of(ev), ev->entry, ev->from);
	data_on_base(ev, TP_MSG_DATA_S, ev->from, ev->from_worker, msg_txn(ev), 0,
		ev->msg->operand);
	return WAY_NEXT;
}

/* What is granted for writing has home memory to come back to. */
enum coherence_way
home_get_m(struct coherence_event *ev)
{
	if (!coherence_frame_take(ev))
		return refuse(ev, TP_EXHAUSTED, 0);
	ev->entry->sequence++;
	grant(ev, ev->from, ev->from_worker, ev->msg, false);
	return WAY_NEXT;
}

enum coherence_way
home_amo(struct coherence_event *ev)
{
	if (!coherence_frame_take(ev))
		return refuse(ev, TP_EXHAUSTED, 0);
	ev->entry->sequence++;
	coherence_home_run_atomic(ev, ev->msg, ev->from, ev->from_worker, ev->since);
	return WAY_NEXT;
}

static enum coherence_way
finish_inv(struct coherence_event *ev)
{
	const struct coherence_busy *busy = coherence_busy_of(ev);

	if (busy->cancelled) {
		sharers_clear(ev);
		return WAY_ALT;
	}
	if (busy->msg.type == TP_MSG_AMO) {
		coherence_home_run_atomic(ev, &busy->msg, busy->requester, busy->requester_worker,
			busy->since);
		return WAY_ALT;
	}
	grant(ev, busy->requester, busy->requester_worker, &busy->msg, busy->upgrade);
	return WAY_NEXT;
}

/* The requester's copy is surely there and surely current. */
static bool
may_upgrade(const struct coherence_event *ev)
{
	if (!(ev->msg->flags & TP_MSG_F_HAVE_COPY))
		return false;
	if (coherence_mutant(ev->c, MUTANT_upgrade_without_copy))
		return true;
	return tp_directory_sharer_is_exact(sharers_of(ev), ev->entry) &&
		tp_directory_sharer_contains(sharers_of(ev), ev->entry, ev->from);
}

static void
start_inv(struct coherence_event *ev, struct coherence_busy *busy, uint16_t but)
{
	ev->entry->sequence++;
	coherence_pending_fill(ev, but);
	coherence_pending_send(ev);
	if (!coherence_mutant(ev->c, MUTANT_grant_before_acks))
		return;
	for (uint32_t node = 0; node <= ev->c->config.node_id_max; node++)
		coherence_pending_clear(ev, (uint16_t)node);
	finish_inv(ev);
	RTE_ASSERT(busy->pending_count == 0);
}

enum coherence_way
home_get_m_shared(struct coherence_event *ev)
{
	bool keeps = may_upgrade(ev);
	struct coherence_busy *busy;

	if (!coherence_frame_take(ev))
		return refuse(ev, TP_EXHAUSTED, 0);
	if (!has_other(ev, ev->from)) {
		ev->entry->sequence++;
		grant(ev, ev->from, ev->from_worker, ev->msg, keeps);
		return WAY_ALT;
	}
	busy = coherence_busy_start(ev);
	if (busy == NULL)
		return refuse(ev, TP_EXHAUSTED, TP_MSG_F_RETRY);
	busy->upgrade = keeps;
	start_inv(ev, busy, ev->from);
	if (coherence_mutant(ev->c, MUTANT_grant_before_acks)) {
		coherence_busy_over(ev);
		return WAY_ALT;
	}
	return WAY_NEXT;
}

enum coherence_way
home_amo_shared(struct coherence_event *ev)
{
	struct coherence_busy *busy;

	if (!coherence_frame_take(ev))
		return refuse(ev, TP_EXHAUSTED, 0);
	if (!has_other(ev, TP_NODE_NONE)) {
		ev->entry->sequence++;
		coherence_home_run_atomic(ev, ev->msg, ev->from, ev->from_worker, ev->since);
		return WAY_ALT;
	}
	busy = coherence_busy_start(ev);
	if (busy == NULL)
		return refuse(ev, TP_EXHAUSTED, TP_MSG_F_RETRY);
	ev->entry->sequence++;
	coherence_pending_fill(ev, TP_NODE_NONE);
	coherence_pending_send(ev);
	return WAY_NEXT;
}

/*
 * The owner asks for the page: it has it no more, without having given it back.
 * Repeats of a request that was granted do not come here.
 */
static enum coherence_way
owner_lost(struct coherence_event *ev)
{
	ev->c->stats.protocol_errors++;
	lose(ev);
	refuse(ev, TP_NODE_CRASHED, 0);
	return WAY_ALT;
}

enum coherence_way
home_get_owned(struct coherence_event *ev)
{
	if (ev->entry->owner == ev->from)
		return owner_lost(ev);
	if (coherence_mutant(ev->c, MUTANT_read_from_stale_home) &&
	    ev->msg->type == TP_MSG_GET_S) {
		data(ev, TP_MSG_DATA_S, ev->from, ev->from_worker, msg_txn(ev), 0);
		return WAY_STAY;
	}
	if (coherence_busy_start(ev) == NULL)
		return refuse(ev, TP_EXHAUSTED, TP_MSG_F_RETRY);
	ev->entry->sequence++;
	ev->c->stats.forwards++;
	coherence_home_forward(ev);
	return WAY_NEXT;
}

enum coherence_way
home_recall(struct coherence_event *ev)
{
	if (coherence_busy_start(ev) == NULL)
		return refuse(ev, TP_EXHAUSTED, TP_MSG_F_RETRY);
	ev->entry->sequence++;
	ev->c->stats.recalls++;
	coherence_home_forward(ev);
	return WAY_NEXT;
}

enum coherence_way
home_refuse_lost(struct coherence_event *ev)
{
	return refuse(ev, ev->entry->flags & ENTRY_DAMAGED ? TP_CORRUPTION : TP_NODE_CRASHED, 0);
}

enum coherence_way
home_defer(struct coherence_event *ev)
{
	if (!coherence_defer(ev))
		return refuse(ev, TP_EXHAUSTED, TP_MSG_F_RETRY);
	return WAY_STAY;
}

enum coherence_way
home_put_ack(struct coherence_event *ev)
{
	reply(ev, TP_MSG_PUT_ACK, ev->from, ev->from_worker, msg_txn(ev), 0, 0);
	return WAY_STAY;
}

static bool
sharers_left(const struct coherence_event *ev)
{
	return tp_directory_sharer_count(sharers_of(ev), ev->entry) != 0;
}

enum coherence_way
home_put_shared(struct coherence_event *ev)
{
	home_put_ack(ev);
	tp_directory_sharer_remove(sharers_of(ev), ev->entry, ev->from);
	return sharers_left(ev) ? WAY_NEXT : WAY_ALT;
}

enum coherence_way
home_put_owned(struct coherence_event *ev)
{
	if (ev->entry->owner != ev->from ||
	    rte_le_to_cpu_64(ev->msg->sequence) != ev->entry->sequence)
		return home_put_ack(ev);
	/* It waited behind a transaction: its contents are gone, it has them still. */
	if (!ev->has_payload)
		return refuse(ev, TP_EXHAUSTED, TP_MSG_F_RETRY);
	if (!coherence_mutant(ev->c, MUTANT_lost_write_back))
		store(ev);
	ev->entry->owner = TP_NODE_NONE;
	home_put_ack(ev);
	return WAY_NEXT;
}

/*
 * The new owner gives back what it was forwarded before its UNBLOCK is here, or
 * even before the old owner's WB, which is old then and not stored.
 */
enum coherence_way
home_put_unblock(struct coherence_event *ev)
{
	if (coherence_busy_of(ev)->requester != ev->from)
		return home_defer(ev);
	if (rte_le_to_cpu_64(ev->msg->sequence) != ev->entry->sequence)
		return home_put_ack(ev);
	ev->entry->owner = ev->from;
	return home_put_owned(ev);
}

/* The new sharer drops what it was forwarded before its UNBLOCK is here. */
enum coherence_way
home_put_s_unblock(struct coherence_event *ev)
{
	if (coherence_busy_of(ev)->requester != ev->from)
		return home_defer(ev);
	home_put_ack(ev);
	tp_directory_sharer_remove(sharers_of(ev), ev->entry, ev->from);
	return WAY_NEXT;
}

/* ... before even the old owner's WB. */
enum coherence_way
home_put_s_early(struct coherence_event *ev)
{
	if (coherence_busy_of(ev)->requester == ev->from)
		coherence_busy_of(ev)->unblocked = true;
	return home_defer(ev);
}

enum coherence_way
home_inv_ack(struct coherence_event *ev)
{
	if (!coherence_pending_clear(ev, ev->from)) {
		ev->c->stats.stale_messages++;
		return WAY_STAY;
	}
	return coherence_busy_of(ev)->pending_count == 0 ? finish_inv(ev) : WAY_STAY;
}

static void
write_back(struct coherence_event *ev)
{
	store(ev);
	reply(ev, TP_MSG_WB_ACK, ev->from, ev->from_worker, 0, 0, 0);
}

/* The requester has the data when it says so, or gets it here at home. */
static bool
is_delivered(struct coherence_event *ev, enum tp_coherence_msg_type type)
{
	const struct coherence_busy *busy = coherence_busy_of(ev);

	if (busy->unblocked || busy->cancelled)
		return true;
	if (busy->requester == ev->c->config.node_id) {
		data(ev, type, busy->requester, busy->requester_worker,
			rte_le_to_cpu_32(busy->msg.txn), 0);
		return true;
	}
	if (busy->resupply) {
		ev->c->stats.resupplies++;
		data(ev, type, busy->requester, busy->requester_worker,
			rte_le_to_cpu_32(busy->msg.txn), TP_MSG_F_UNBLOCK);
	}
	return false;
}

enum coherence_way
home_wb_shared(struct coherence_event *ev)
{
	const struct coherence_busy *busy = coherence_busy_of(ev);

	write_back(ev);
	ev->entry->owner = TP_NODE_NONE;
	tp_directory_sharer_add(sharers_of(ev), ev->entry, busy->old_owner);
	if (unlikely(busy->msg.type == TP_MSG_PERSIST)) {
		coherence_persist_written_back(ev);
		return WAY_NEXT;
	}
	if (!busy->cancelled)
		tp_directory_sharer_add(sharers_of(ev), ev->entry, busy->requester);
	return is_delivered(ev, TP_MSG_DATA_S) ? WAY_NEXT : WAY_ALT;
}

enum coherence_way
home_wb_owned(struct coherence_event *ev)
{
	write_back(ev);
	ev->entry->owner = coherence_busy_of(ev)->requester;
	return is_delivered(ev, TP_MSG_DATA_M) ? WAY_NEXT : WAY_ALT;
}

enum coherence_way
home_wb_recalled(struct coherence_event *ev)
{
	const struct coherence_busy *busy = coherence_busy_of(ev);

	write_back(ev);
	ev->entry->owner = TP_NODE_NONE;
	if (busy->lost) {
		lose(ev);
		return WAY_ALT;
	}
	if (!busy->cancelled)
		coherence_home_run_atomic(ev, &busy->msg, busy->requester, busy->requester_worker,
			busy->since);
	return WAY_NEXT;
}

static void
busy_refuse(struct coherence_event *ev)
{
	const struct coherence_busy *busy = coherence_busy_of(ev);

	if (!busy->cancelled)
		coherence_home_nack(ev, busy->requester, busy->requester_worker,
			rte_le_to_cpu_32(busy->msg.txn), TP_NODE_CRASHED, 0);
}

enum coherence_way
home_wb_none(struct coherence_event *ev)
{
	reply(ev, TP_MSG_WB_ACK, ev->from, ev->from_worker, 0, 0, 0);
	busy_refuse(ev);
	lose(ev);
	return WAY_NEXT;
}

enum coherence_way
home_ignore(struct coherence_event *ev)
{
	return WAY_STAY;
}

enum coherence_way
home_stale(struct coherence_event *ev)
{
	ev->c->stats.stale_messages++;
	return WAY_STAY;
}

/* Whoever says WB wants to hear that it came. */
enum coherence_way
home_stale_wb(struct coherence_event *ev)
{
	struct tp_coherence_msg msg;

	ev->c->stats.stale_messages++;
	coherence_msg_init(ev, &msg, TP_MSG_WB_ACK, rte_le_to_cpu_64(ev->msg->sequence), 0);
	coherence_send(ev, ev->from, ev->from_worker, &msg, false);
	return WAY_STAY;
}

enum coherence_way
home_unblock_early(struct coherence_event *ev)
{
	coherence_busy_of(ev)->unblocked = true;
	return WAY_STAY;
}

enum coherence_way
home_unblock(struct coherence_event *ev)
{
	return WAY_NEXT;
}

/* The new owner has it. The old one's WB may still come: it is old by then. */
enum coherence_way
home_delivered(struct coherence_event *ev)
{
	ev->entry->owner = coherence_busy_of(ev)->requester;
	return WAY_NEXT;
}

/* It had got the page before its refusal: it is the owner. */
enum coherence_way
home_revive(struct coherence_event *ev)
{
	if (!(ev->entry->flags & ENTRY_REVIVE) || ev->entry->owner != ev->from) {
		ev->c->stats.stale_messages++;
		return WAY_STAY;
	}
	ev->entry->flags &= (uint16_t)~ENTRY_REVIVE;
	ev->c->stats.pages_lost--;
	return WAY_NEXT;
}

enum coherence_way
home_fenced_shared(struct coherence_event *ev)
{
	tp_directory_sharer_remove(sharers_of(ev), ev->entry, ev->from);
	return sharers_left(ev) ? WAY_STAY : WAY_ALT;
}

enum coherence_way
home_fenced_owned(struct coherence_event *ev)
{
	if (ev->entry->owner != ev->from)
		return WAY_STAY;
	if (coherence_mutant(ev->c, MUTANT_ignored_epoch)) {
		ev->entry->owner = TP_NODE_NONE;
		return WAY_ALT;
	}
	lose(ev);
	return WAY_NEXT;
}

enum coherence_way
home_fenced_lost(struct coherence_event *ev)
{
	if (ev->entry->flags & ENTRY_REVIVE && ev->entry->owner == ev->from) {
		ev->entry->flags &= (uint16_t)~ENTRY_REVIVE;
		ev->entry->owner = TP_NODE_NONE;
	}
	return WAY_STAY;
}

enum coherence_way
home_fenced_inv(struct coherence_event *ev)
{
	struct coherence_busy *busy = coherence_busy_of(ev);

	if (busy->requester == ev->from)
		busy->cancelled = true;
	tp_directory_sharer_remove(sharers_of(ev), ev->entry, ev->from);
	if (!coherence_pending_clear(ev, ev->from) || busy->pending_count != 0)
		return WAY_STAY;
	return finish_inv(ev);
}

static enum coherence_way
lost_for_requester(struct coherence_event *ev)
{
	busy_refuse(ev);
	lose(ev);
	return WAY_NEXT;
}

/* The requester of a page that is lost has no copy of it, either. */
enum coherence_way
home_lost_ack(struct coherence_event *ev)
{
	if (!coherence_pending_clear(ev, ev->from)) {
		ev->c->stats.stale_messages++;
		return WAY_STAY;
	}
	return coherence_busy_of(ev)->pending_count == 0 ? lost_for_requester(ev) : WAY_STAY;
}

enum coherence_way
home_fenced_lost_inv(struct coherence_event *ev)
{
	struct coherence_busy *busy = coherence_busy_of(ev);

	if (busy->requester == ev->from)
		busy->cancelled = true;
	if (!coherence_pending_clear(ev, ev->from) || busy->pending_count != 0)
		return WAY_STAY;
	return lost_for_requester(ev);
}

/*
 * The old owner died. The requester may have got the page before, or may get it
 * yet: it gives that up before it is told, so that what is lost is lost for all.
 */
enum coherence_way
home_fenced_fwd_s(struct coherence_event *ev)
{
	struct coherence_busy *busy = coherence_busy_of(ev);

	if (busy->old_owner == ev->from) {
		sharers_clear(ev);
		if (!busy->cancelled && busy->requester != ev->c->config.node_id &&
		    busy->msg.type != TP_MSG_PERSIST)
			tp_directory_sharer_add(sharers_of(ev), ev->entry, busy->requester);
		if (coherence_pending_fill(ev, TP_NODE_NONE) == 0)
			return lost_for_requester(ev);
		ev->entry->owner = TP_NODE_NONE;
		busy->maybe = true;
		coherence_pending_send(ev);
		return WAY_ALT;
	}
	if (busy->requester == ev->from)
		busy->cancelled = true;
	return WAY_STAY;
}

/*
 * The old owner died: did the requester get the page before? It says so with
 * its UNBLOCK, then the entry comes back to life; or takes the NACK.
 * The requester died: it may have written to it.
 */
enum coherence_way
home_fenced_fwd_m(struct coherence_event *ev)
{
	struct coherence_busy *busy = coherence_busy_of(ev);

	if (busy->old_owner == ev->from) {
		bool revivable = busy->requester != ev->c->config.node_id && !busy->cancelled;

		busy_refuse(ev);
		lose(ev);
		if (revivable) {
			ev->entry->owner = busy->requester;
			ev->entry->flags |= ENTRY_REVIVE;
		}
		return WAY_NEXT;
	}
	if (busy->requester != ev->from)
		return WAY_STAY;
	busy->cancelled = true;
	busy->lost = true;
	return WAY_ALT;
}

enum coherence_way
home_fenced_recall(struct coherence_event *ev)
{
	struct coherence_busy *busy = coherence_busy_of(ev);

	if (busy->old_owner == ev->from) {
		busy_refuse(ev);
		lose(ev);
		return WAY_NEXT;
	}
	if (busy->requester == ev->from)
		busy->cancelled = true;
	return WAY_STAY;
}

enum coherence_way
home_fenced_unb_s(struct coherence_event *ev)
{
	tp_directory_sharer_remove(sharers_of(ev), ev->entry, ev->from);
	return coherence_busy_of(ev)->requester == ev->from ? WAY_NEXT : WAY_STAY;
}

enum coherence_way
home_fenced_unb_m(struct coherence_event *ev)
{
	if (coherence_busy_of(ev)->requester != ev->from)
		return WAY_STAY;
	lose(ev);
	return WAY_NEXT;
}

/* The transaction that is on is what is asked for again: its data may be lost. */
static void
repeat_active(struct coherence_event *ev, struct coherence_busy *busy)
{
	unsigned int state = ev->entry->state;

	if (state != HOME_S_UNB && state != HOME_M_UNB) {
		busy->resupply = true;
		return;
	}
	ev->c->stats.resupplies++;
	data(ev, state == HOME_S_UNB ? TP_MSG_DATA_S : TP_MSG_DATA_M, ev->from, ev->from_worker,
		msg_txn(ev), TP_MSG_F_UNBLOCK);
}

/*
 * A GET again. It may be old, and answered long ago: so it changes nothing here.
 * Whoever was granted what it asks for gets the data again, at once: others may
 * wait for it, behind whom it would wait itself. What is not known was lost with
 * its session: the requester is told to ask anew.
 */
void
home_repeated(struct coherence_event *ev)
{
	struct tp_directory_entry *entry = ev->entry;
	struct coherence_busy *busy = coherence_busy_of(ev);
	unsigned int state = entry->state;
	bool probe = ev->msg->flags & TP_MSG_F_PROBE;

	if (busy != NULL && busy->active && busy->requester == ev->from &&
	    busy->msg.txn == ev->msg->txn) {
		repeat_active(ev, busy);
	} else if (coherence_busy_has(ev)) {
		return;
	} else if (ev->msg->type == TP_MSG_GET_M && entry->owner == ev->from &&
		   state != HOME_L) {
		/* Home memory is what was granted: the owner never had it. */
		ev->c->stats.resupplies++;
		if (ev->msg->flags & TP_MSG_F_HAVE_COPY)
			reply(ev, TP_MSG_GRANT_M, ev->from, ev->from_worker, msg_txn(ev), 0, 0);
		else
			data(ev, TP_MSG_DATA_M, ev->from, ev->from_worker, msg_txn(ev), 0);
	} else if (ev->msg->type == TP_MSG_GET_S &&
		   (!probe || tp_directory_sharer_is_exact(sharers_of(ev), entry)) &&
		   (state == HOME_S ||
		    (state == HOME_S_INV && !probe && coherence_pending_test(ev, ev->from))) &&
		   tp_directory_sharer_contains(sharers_of(ev), entry, ev->from)) {
		ev->c->stats.resupplies++;
		data(ev, TP_MSG_DATA_S, ev->from, ev->from_worker, msg_txn(ev), 0);
	} else if (!probe) {
		refuse(ev, TP_UNREACHABLE, TP_MSG_F_RETRY);
	}
}
