/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What the cache side does: the actions that cache.c's table names. Short, and
 * they never step: what follows waits on the ready list.
 */
#include "table_priv.h"

/* base: what home memory is, of a page that is sent; 0: not known. */
static void
send_home_on_base(struct coherence_event *ev, enum tp_coherence_msg_type type, uint64_t sequence,
	uint8_t flags, bool payload, rte_le64_t base)
{
	struct tp_coherence_msg msg;

	coherence_msg_init(ev, &msg, type, sequence, 0);
	msg.flags = flags;
	if (ev->home != ev->c->config.node_id)
		msg.operand = base;
	coherence_send(ev, ev->home, coherence_worker_of(ev, ev->home), &msg, payload);
}

static void
send_home(struct coherence_event *ev, enum tp_coherence_msg_type type, uint64_t sequence,
	uint8_t flags, bool payload)
{
	send_home_on_base(ev, type, sequence, flags, payload, 0);
}

static uint64_t
msg_sequence(const struct coherence_event *ev)
{
	return rte_le_to_cpu_64(ev->msg->sequence);
}

/* Room making or flushing is over for this page. */
static void
evict_over(struct coherence_event *ev)
{
	struct coherence_request *request = coherence_request_of(ev);

	if (request == NULL || !(request->flags & REQUEST_EVICT))
		return;
	request->flags &= (uint8_t)~REQUEST_EVICT;
	ev->c->evicting--;
}

/* Remember what is to be answered. */
static void
hold(struct coherence_event *ev)
{
	struct coherence_frame *frame = coherence_frame(ev);

	frame->pending = ev->msg->type;
	frame->requester = rte_le_to_cpu_16(ev->msg->requester);
	frame->requester_worker = rte_le_to_cpu_16(ev->msg->requester_worker);
	frame->txn = rte_le_to_cpu_32(ev->msg->txn);
	frame->sequence = msg_sequence(ev);
	frame->unblock = 0;
	frame->base = ev->msg->operand;
	frame->home_base = ev->msg->compare;
}

static void
revoke(struct coherence_event *ev, enum tp_access access)
{
	coherence_action_page(ev, TP_ACTION_REVOKE, access);
	if (access == TP_ACCESS_READ)
		ev->page->flags |= PAGE_READABLE;
	else
		ev->page->flags &= (uint8_t)~PAGE_READABLE;
}

static void
inv_ack(struct coherence_event *ev, uint64_t sequence)
{
	send_home(ev, TP_MSG_INV_ACK, sequence, 0, false);
	if (!coherence_sequence_not_after((uint32_t)sequence, ev->page->answered))
		ev->page->answered = (uint32_t)sequence;
}

/* The held FWD or RECALL, from the page's unpublished copy. */
static void
answer(struct coherence_event *ev)
{
	struct coherence_frame *frame = coherence_frame(ev);
	struct tp_coherence_msg msg;

	/* A home that wants the page itself is served by the WB. */
	if (frame->pending != TP_MSG_RECALL && frame->requester != ev->home) {
		coherence_msg_init(ev, &msg, frame->pending == TP_MSG_FWD_S ? TP_MSG_DATA_S :
			TP_MSG_DATA_M, frame->sequence, frame->txn);
		msg.flags = TP_MSG_F_UNBLOCK;
		msg.requester = rte_cpu_to_le_16(frame->requester);
		msg.requester_worker = rte_cpu_to_le_16(frame->requester_worker);
		msg.operand = frame->base;
		coherence_send(ev, frame->requester, frame->requester_worker, &msg, true);
	}
	send_home_on_base(ev, TP_MSG_WB, frame->sequence, 0, true, frame->home_base);
	ev->page->answered = (uint32_t)frame->sequence;
}

/* The WB again, from the copy that was kept for this. */
static void
answer_again(struct coherence_event *ev, uint64_t sequence)
{
	if (coherence_mutant(ev->c, MUTANT_wb_no_ack_hold))
		send_home(ev, TP_MSG_WB, sequence, TP_MSG_F_NO_DATA, false);
	else
		send_home(ev, TP_MSG_WB, sequence, 0, true);
}

/* After a new session with the home: what it may not have got. */
void
coherence_cache_repeat(struct coherence_event *ev)
{
	struct coherence_frame *frame = coherence_frame(ev);

	if (frame->unblock != 0)
		send_home(ev, TP_MSG_UNBLOCK, frame->unblock, 0, false);
	if (ev->page->state == CACHE_S_WB || ev->page->state == CACHE_I_WB ||
	    (ev->page->state == CACHE_MI && frame->pending != 0))
		answer_again(ev, frame->sequence);
}

/* The contents that came with the message, into the page's slot. */
static void
fill(struct coherence_event *ev)
{
	if (ev->msg->flags & TP_MSG_F_IN_PLACE) {
		coherence_home_frame_zero(ev);
	} else if (ev->msg->flags & TP_MSG_F_ZERO) {
		coherence_action_page(ev, TP_ACTION_ZERO, TP_ACCESS_NONE);
	} else {
		coherence_action_page(ev, TP_ACTION_COPY_IN, TP_ACCESS_NONE);
		ev->c->stats.pages_in++;
	}
}

static void
unblock(struct coherence_event *ev)
{
	if (!(ev->msg->flags & TP_MSG_F_UNBLOCK))
		return;
	coherence_frame(ev)->unblock = msg_sequence(ev);
	send_home(ev, TP_MSG_UNBLOCK, msg_sequence(ev), 0, false);
}

/* A grant came: publish, and give every waiter its access. */
static void
granted(struct coherence_event *ev, unsigned int state, enum tp_access access)
{
	unblock(ev);
	coherence_frame(ev)->granted = msg_sequence(ev);
	coherence_request_done(ev, coherence_request_of(ev));
	coherence_action_page(ev, TP_ACTION_PUBLISH, access);
	coherence_request_complete(ev, state, COMPLETE_BATCH);
}

/* -- actions, named as the table prints them -- */

enum coherence_way
cache_ignore(struct coherence_event *ev)
{
	return WAY_STAY;
}

enum coherence_way
cache_stale(struct coherence_event *ev)
{
	ev->c->stats.stale_messages++;
	return WAY_STAY;
}

enum coherence_way
cache_defer(struct coherence_event *ev)
{
	return WAY_STAY;
}

/* Take a slot, then ask: what is granted has a place. */
static enum coherence_way
get(struct coherence_event *ev, enum tp_coherence_msg_type type)
{
	struct coherence_request *request = coherence_request_of(ev);

	if (!coherence_frame_take(ev)) {
		if (coherence_page_is_home(ev)) {
			if (!coherence_request_fail(ev->c, request, TP_EXHAUSTED))
				coherence_request_ready(ev->c, request);
			else
				coherence_request_settle(ev->c, request);
		} else {
			coherence_request_no_slot(ev->c, request);
		}
		return WAY_STAY;
	}
	coherence_request_send(ev, request, type, 0);
	return WAY_NEXT;
}

enum coherence_way
cache_get_s(struct coherence_event *ev)
{
	return get(ev, TP_MSG_GET_S);
}

enum coherence_way
cache_get_m(struct coherence_event *ev)
{
	return get(ev, TP_MSG_GET_M);
}

enum coherence_way
cache_upgrade(struct coherence_event *ev)
{
	ev->c->stats.upgrades++;
	coherence_request_send(ev, coherence_request_of(ev), TP_MSG_GET_M, TP_MSG_F_HAVE_COPY);
	return WAY_NEXT;
}

enum coherence_way
cache_evict(struct coherence_event *ev)
{
	struct coherence_request *request = coherence_request_get(ev, true);

	if (request == NULL)
		return WAY_STAY;
	request->flags |= REQUEST_EVICT;
	ev->c->evicting++;
	revoke(ev, TP_ACCESS_NONE);
	return WAY_NEXT;
}

enum coherence_way
cache_ack(struct coherence_event *ev)
{
	inv_ack(ev, msg_sequence(ev));
	return WAY_STAY;
}

/* The grant is on its way; the INV is answered after it. */
enum coherence_way
cache_hold_inv(struct coherence_event *ev)
{
	if (ev->msg->flags & TP_MSG_F_MAYBE) {
		/*
		 * Perhaps nothing was granted and the home waits for this answer
		 * first. A grant that is older than the answer is dropped then.
		 */
		inv_ack(ev, msg_sequence(ev));
		return WAY_STAY;
	}
	if (coherence_mutant(ev->c, MUTANT_ahead_unheld) &&
	    coherence_request_of(ev)->waiter_first == 0) {
		send_home(ev, TP_MSG_INV_ACK, msg_sequence(ev), 0, false);
		return WAY_STAY;
	}
	hold(ev);
	return WAY_NEXT;
}

enum coherence_way
cache_hold_fwd(struct coherence_event *ev)
{
	hold(ev);
	return WAY_NEXT;
}

enum coherence_way
cache_revoke_inv(struct coherence_event *ev)
{
	if (coherence_mutant(ev->c, MUTANT_skip_invalidation)) {
		inv_ack(ev, msg_sequence(ev));
		return WAY_STAY;
	}
	if (coherence_mutant(ev->c, MUTANT_ack_before_unpublish))
		inv_ack(ev, msg_sequence(ev));
	hold(ev);
	revoke(ev, TP_ACCESS_NONE);
	return WAY_NEXT;
}

enum coherence_way
cache_revoke_fwd(struct coherence_event *ev)
{
	hold(ev);
	if (coherence_mutant(ev->c, MUTANT_stale_forward) && ev->msg->type == TP_MSG_FWD_M) {
		answer(ev);
		return WAY_ALT;
	}
	revoke(ev, ev->msg->type == TP_MSG_FWD_S ? TP_ACCESS_READ : TP_ACCESS_NONE);
	return WAY_NEXT;
}

/* The home thinks that the only copy is here: it is not, and nowhere else. */
enum coherence_way
cache_lost(struct coherence_event *ev)
{
	ev->c->stats.protocol_errors++;
	send_home(ev, TP_MSG_WB, msg_sequence(ev), TP_MSG_F_NO_DATA, false);
	return WAY_STAY;
}

enum coherence_way
cache_install_s(struct coherence_event *ev)
{
	if (coherence_sequence_not_after((uint32_t)msg_sequence(ev), ev->page->answered)) {
		/* Invalidated on its way: ask again. */
		unblock(ev);
		coherence_request_send(ev, coherence_request_of(ev), TP_MSG_GET_S, 0);
		return WAY_STAY;
	}
	fill(ev);
	granted(ev, CACHE_S, TP_ACCESS_READ);
	return WAY_NEXT;
}

enum coherence_way
cache_install_m(struct coherence_event *ev)
{
	fill(ev);
	granted(ev, CACHE_M, TP_ACCESS_WRITE);
	return WAY_NEXT;
}

/* The copy that is here is the only one now; what came along is the same. */
enum coherence_way
cache_grant(struct coherence_event *ev)
{
	granted(ev, CACHE_M, TP_ACCESS_WRITE);
	return WAY_NEXT;
}

/* An answer to a repeat from before the copy was invalidated: DATA_M comes, too. */
enum coherence_way
cache_grant_without_copy(struct coherence_event *ev)
{
	if (!coherence_mutant(ev->c, MUTANT_upgrade_without_copy))
		return cache_stale(ev);
	granted(ev, CACHE_M, TP_ACCESS_WRITE);
	return WAY_NEXT;
}

/* Each fetch gives at least one access: complete, then revoke. */
enum coherence_way
cache_install_then_inv(struct coherence_event *ev)
{
	fill(ev);
	granted(ev, CACHE_S, TP_ACCESS_READ);
	revoke(ev, TP_ACCESS_NONE);
	return WAY_NEXT;
}

enum coherence_way
cache_grant_then_fwd(struct coherence_event *ev)
{
	uint8_t pending = coherence_frame(ev)->pending;

	granted(ev, CACHE_M, TP_ACCESS_WRITE);
	revoke(ev, pending == TP_MSG_FWD_S ? TP_ACCESS_READ : TP_ACCESS_NONE);
	return WAY_NEXT;
}

enum coherence_way
cache_install_then_fwd(struct coherence_event *ev)
{
	fill(ev);
	return cache_grant_then_fwd(ev);
}

/* NACK of a GET: for now, or for good. */
enum coherence_way
cache_refused(struct coherence_event *ev)
{
	struct coherence_request *request = coherence_request_of(ev);
	struct tp_coherence *c = ev->c;

	if (ev->msg->flags & TP_MSG_F_RETRY && ev->msg->reason == TP_UNREACHABLE) {
		/* The repeat found no trace of the first: it was lost with its session. */
		coherence_request_send(ev, request, request->sent, 0);
		return WAY_STAY;
	}
	if (ev->msg->flags & TP_MSG_F_RETRY) {
		request->flags |= REQUEST_LATER;
		coherence_heap_set(&c->heap, c->config.waiter_count +
			(uint32_t)(request - c->requests), c->now + c->config.retry_ns);
		return WAY_STAY;
	}
	coherence_request_done(ev, request);
	coherence_request_fail(c, request, ev->msg->reason);
	if (ev->page->state == CACHE_IS || ev->page->state == CACHE_IM)
		coherence_frame_release(ev);
	return WAY_NEXT;
}

enum coherence_way
cache_invalidated(struct coherence_event *ev)
{
	inv_ack(ev, coherence_frame(ev)->sequence);
	evict_over(ev);
	coherence_frame_release(ev);
	return WAY_NEXT;
}

/* The upgrade is still outstanding: it brings the data now. */
enum coherence_way
cache_invalidated_upgrade(struct coherence_event *ev)
{
	inv_ack(ev, coherence_frame(ev)->sequence);
	coherence_frame(ev)->pending = 0;
	return WAY_NEXT;
}

/* Guards are clear: answer the FWD; the copy stays until the WB is there. */
enum coherence_way
cache_forward(struct coherence_event *ev)
{
	struct coherence_frame *frame = coherence_frame(ev);

	answer(ev);
	evict_over(ev);
	if (frame->pending != TP_MSG_FWD_S)
		return WAY_ALT;
	if (!(ev->page->flags & PAGE_READABLE))
		coherence_action_page(ev, TP_ACTION_PUBLISH, TP_ACCESS_READ);
	return WAY_NEXT;
}

enum coherence_way
cache_forward_put(struct coherence_event *ev)
{
	hold(ev);
	answer(ev);
	return WAY_STAY;
}

enum coherence_way
cache_put_done(struct coherence_event *ev)
{
	evict_over(ev);
	coherence_request_done(ev, coherence_request_of(ev));
	coherence_frame_release(ev);
	return WAY_NEXT;
}

enum coherence_way
cache_put_s(struct coherence_event *ev)
{
	coherence_request_send(ev, coherence_request_of(ev), TP_MSG_PUT_S, 0);
	coherence_frame_release(ev);
	return WAY_NEXT;
}

enum coherence_way
cache_put_m(struct coherence_event *ev)
{
	if (coherence_mutant(ev->c, MUTANT_evict_without_put)) {
		cache_put_done(ev);
		return WAY_ALT;
	}
	coherence_frame(ev)->pending = 0;
	ev->c->stats.write_backs++;
	coherence_request_send(ev, coherence_request_of(ev), TP_MSG_PUT_M,
		ev->c->draining ? TP_MSG_F_LEAVES : 0);
	return WAY_NEXT;
}

enum coherence_way
cache_put_refused(struct coherence_event *ev)
{
	/*
	 * It waited at home when its session ended. It was sent again in the next
	 * one, or will be: a third would be one too many, and come when it likes.
	 */
	if (ev->msg->flags & TP_MSG_F_RETRY && ev->msg->reason == TP_UNREACHABLE)
		return cache_stale(ev);
	return ev->msg->flags & TP_MSG_F_RETRY ? cache_refused(ev) : cache_put_done(ev);
}

enum coherence_way
cache_wb_done(struct coherence_event *ev)
{
	if ((uint32_t)msg_sequence(ev) != ev->page->answered)
		return cache_stale(ev);
	coherence_frame(ev)->pending = 0;
	if (ev->page->state == CACHE_I_WB)
		coherence_frame_release(ev);
	return WAY_NEXT;
}

static void
lose_request(struct coherence_event *ev)
{
	struct coherence_request *request = coherence_request_of(ev);

	if (request == NULL)
		return;
	evict_over(ev);
	coherence_request_done(ev, request);
	coherence_request_fail(ev->c, request, ev->reason);
	coherence_request_ready(ev->c, request);
}

/* Home or region is gone, or this node may not serve: nothing is answered. */
enum coherence_way
cache_lose(struct coherence_event *ev)
{
	lose_request(ev);
	coherence_frame_release(ev);
	return WAY_NEXT;
}

enum coherence_way
cache_lose_revoke(struct coherence_event *ev)
{
	lose_request(ev);
	coherence_frame(ev)->pending = 0;
	coherence_frame(ev)->unblock = 0;
	revoke(ev, TP_ACCESS_NONE);
	return WAY_NEXT;
}

enum coherence_way
cache_dropped(struct coherence_event *ev)
{
	coherence_frame_release(ev);
	return WAY_NEXT;
}


/* An INV or FWD that was answered or is being answered. @return true: no step. */
bool
cache_repeated(struct coherence_event *ev)
{
	struct coherence_frame *frame = coherence_frame(ev);
	uint64_t sequence = msg_sequence(ev);
	unsigned int state = ev->page->state;

	if (coherence_sequence_not_after((uint32_t)sequence, ev->page->answered)) {
		ev->c->stats.stale_messages++;
		if (ev->msg->type == TP_MSG_INV)
			send_home(ev, TP_MSG_INV_ACK, sequence, 0, false);
		else if (frame != NULL && frame->sequence == sequence &&
			 (state == CACHE_S_WB || state == CACHE_I_WB || state == CACHE_MI))
			answer_again(ev, sequence);
		return true;
	}
	if (frame != NULL && frame->pending != 0 && frame->sequence == sequence) {
		ev->c->stats.stale_messages++;
		return true;
	}
	return false;
}
