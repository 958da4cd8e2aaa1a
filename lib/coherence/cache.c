/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The cache side: this node's copy of a page, as the table of docs/coherence.md,
 * "Cache side". cache_step() holds the only store to a page's state; actions are
 * short and never step again: what follows waits on the ready list.
 */
#include "cache_priv.h"

bool
coherence_cache_is_stable(unsigned int state)
{
	return state == CACHE_I || state == CACHE_S || state == CACHE_M;
}

static void
send_home(struct coherence_event *ev, enum tp_coherence_msg_type type, uint64_t sequence,
	uint8_t flags, bool payload)
{
	struct tp_coherence_msg msg;

	coherence_msg_init(ev, &msg, type, sequence, 0);
	msg.flags = flags;
	coherence_send(ev, ev->home, coherence_worker_of(ev, ev->home), &msg, payload);
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
		coherence_send(ev, frame->requester, frame->requester_worker, &msg, true);
	}
	send_home(ev, TP_MSG_WB, frame->sequence, 0, true);
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

static enum coherence_way
ignore(struct coherence_event *ev)
{
	return WAY_STAY;
}

static enum coherence_way
stale(struct coherence_event *ev)
{
	ev->c->stats.stale_messages++;
	return WAY_STAY;
}

static enum coherence_way
defer(struct coherence_event *ev)
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

static enum coherence_way
get_s(struct coherence_event *ev)
{
	return get(ev, TP_MSG_GET_S);
}

static enum coherence_way
get_m(struct coherence_event *ev)
{
	return get(ev, TP_MSG_GET_M);
}

static enum coherence_way
upgrade(struct coherence_event *ev)
{
	ev->c->stats.upgrades++;
	coherence_request_send(ev, coherence_request_of(ev), TP_MSG_GET_M, TP_MSG_F_HAVE_COPY);
	return WAY_NEXT;
}

static enum coherence_way
evict(struct coherence_event *ev)
{
	struct coherence_request *request = coherence_request_get(ev, true);

	if (request == NULL)
		return WAY_STAY;
	request->flags |= REQUEST_EVICT;
	ev->c->evicting++;
	revoke(ev, TP_ACCESS_NONE);
	return WAY_NEXT;
}

static enum coherence_way
ack(struct coherence_event *ev)
{
	inv_ack(ev, msg_sequence(ev));
	return WAY_STAY;
}

/* The grant is on its way; the INV is answered after it. */
static enum coherence_way
hold_inv(struct coherence_event *ev)
{
	if (ev->msg->flags & TP_MSG_F_MAYBE) {
		/*
		 * Perhaps nothing was granted and the home waits for this answer
		 * first. A grant that is older than the answer is dropped then.
		 */
		inv_ack(ev, msg_sequence(ev));
		return WAY_STAY;
	}
	hold(ev);
	return WAY_NEXT;
}

static enum coherence_way
hold_fwd(struct coherence_event *ev)
{
	hold(ev);
	return WAY_NEXT;
}

static enum coherence_way
revoke_inv(struct coherence_event *ev)
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

static enum coherence_way
revoke_fwd(struct coherence_event *ev)
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
static enum coherence_way
lost(struct coherence_event *ev)
{
	ev->c->stats.protocol_errors++;
	send_home(ev, TP_MSG_WB, msg_sequence(ev), TP_MSG_F_NO_DATA, false);
	return WAY_STAY;
}

static enum coherence_way
install_s(struct coherence_event *ev)
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

static enum coherence_way
install_m(struct coherence_event *ev)
{
	fill(ev);
	granted(ev, CACHE_M, TP_ACCESS_WRITE);
	return WAY_NEXT;
}

/* The copy that is here is the only one now; what came along is the same. */
static enum coherence_way
grant(struct coherence_event *ev)
{
	granted(ev, CACHE_M, TP_ACCESS_WRITE);
	return WAY_NEXT;
}

/* An answer to a repeat from before the copy was invalidated: DATA_M comes, too. */
static enum coherence_way
grant_without_copy(struct coherence_event *ev)
{
	if (!coherence_mutant(ev->c, MUTANT_upgrade_without_copy))
		return stale(ev);
	granted(ev, CACHE_M, TP_ACCESS_WRITE);
	return WAY_NEXT;
}

/* Each fetch gives at least one access: complete, then revoke. */
static enum coherence_way
install_then_inv(struct coherence_event *ev)
{
	fill(ev);
	granted(ev, CACHE_S, TP_ACCESS_READ);
	revoke(ev, TP_ACCESS_NONE);
	return WAY_NEXT;
}

static enum coherence_way
grant_then_fwd(struct coherence_event *ev)
{
	uint8_t pending = coherence_frame(ev)->pending;

	granted(ev, CACHE_M, TP_ACCESS_WRITE);
	revoke(ev, pending == TP_MSG_FWD_S ? TP_ACCESS_READ : TP_ACCESS_NONE);
	return WAY_NEXT;
}

static enum coherence_way
install_then_fwd(struct coherence_event *ev)
{
	fill(ev);
	return grant_then_fwd(ev);
}

/* NACK of a GET: for now, or for good. */
static enum coherence_way
refused(struct coherence_event *ev)
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

static enum coherence_way
invalidated(struct coherence_event *ev)
{
	inv_ack(ev, coherence_frame(ev)->sequence);
	evict_over(ev);
	coherence_frame_release(ev);
	return WAY_NEXT;
}

/* The upgrade is still outstanding: it brings the data now. */
static enum coherence_way
invalidated_upgrade(struct coherence_event *ev)
{
	inv_ack(ev, coherence_frame(ev)->sequence);
	coherence_frame(ev)->pending = 0;
	return WAY_NEXT;
}

/* Guards are clear: answer the FWD; the copy stays until the WB is there. */
static enum coherence_way
forward(struct coherence_event *ev)
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

static enum coherence_way
forward_put(struct coherence_event *ev)
{
	hold(ev);
	answer(ev);
	return WAY_STAY;
}

static enum coherence_way
put_done(struct coherence_event *ev)
{
	evict_over(ev);
	coherence_request_done(ev, coherence_request_of(ev));
	coherence_frame_release(ev);
	return WAY_NEXT;
}

static enum coherence_way
put_s(struct coherence_event *ev)
{
	coherence_request_send(ev, coherence_request_of(ev), TP_MSG_PUT_S, 0);
	coherence_frame_release(ev);
	return WAY_NEXT;
}

static enum coherence_way
put_m(struct coherence_event *ev)
{
	if (coherence_mutant(ev->c, MUTANT_evict_without_put)) {
		put_done(ev);
		return WAY_ALT;
	}
	coherence_frame(ev)->pending = 0;
	ev->c->stats.write_backs++;
	coherence_request_send(ev, coherence_request_of(ev), TP_MSG_PUT_M, 0);
	return WAY_NEXT;
}

static enum coherence_way
put_refused(struct coherence_event *ev)
{
	return ev->msg->flags & TP_MSG_F_RETRY ? refused(ev) : put_done(ev);
}

static enum coherence_way
wb_done(struct coherence_event *ev)
{
	if ((uint32_t)msg_sequence(ev) != ev->page->answered)
		return stale(ev);
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
static enum coherence_way
lose(struct coherence_event *ev)
{
	lose_request(ev);
	coherence_frame_release(ev);
	return WAY_NEXT;
}

static enum coherence_way
lose_revoke(struct coherence_event *ev)
{
	lose_request(ev);
	coherence_frame(ev)->pending = 0;
	coherence_frame(ev)->unblock = 0;
	revoke(ev, TP_ACCESS_NONE);
	return WAY_NEXT;
}

static enum coherence_way
dropped(struct coherence_event *ev)
{
	coherence_frame_release(ev);
	return WAY_NEXT;
}

#define TO(state) CACHE_##state, CACHE_##state
#define TO2(state, other) CACHE_##state, CACHE_##other
#define DO(action) action, #action

static const struct coherence_cache_rule cache_rules[CACHE_STATE_COUNT][CACHE_EVENT_COUNT] = {
	[CACHE_I] = {
		[CE_LOAD]	  = { DO(get_s), TO(IS) },
		[CE_STORE]	  = { DO(get_m), TO(IM) },
		[CE_EVICT]	  = { DO(ignore), TO(I) },
		[CE_INV]	  = { DO(ack), TO(I) },
		[CE_FWD_S]	  = { DO(lost), TO(I) },
		[CE_FWD_M]	  = { DO(lost), TO(I) },
		[CE_RECALL]	  = { DO(lost), TO(I) },
		[CE_WB_ACK]	  = { DO(stale), TO(I) },
		[CE_GUARDS_CLEAR] = { DO(ignore), TO(I) },
		[CE_LOSE]	  = { DO(ignore), TO(I) },
	},
	[CACHE_S] = {
		[CE_LOAD]	  = { DO(ignore), TO(S) },
		[CE_STORE]	  = { DO(upgrade), TO(SM) },
		[CE_EVICT]	  = { DO(evict), TO(S_EVICT) },
		[CE_INV]	  = { DO(revoke_inv), TO(S_REVOKE) },
		[CE_FWD_S]	  = { DO(lost), TO(S) },
		[CE_FWD_M]	  = { DO(lost), TO(S) },
		[CE_RECALL]	  = { DO(lost), TO(S) },
		[CE_WB_ACK]	  = { DO(stale), TO(S) },
		[CE_GUARDS_CLEAR] = { DO(ignore), TO(S) },
		[CE_LOSE]	  = { DO(lose_revoke), TO(DROP) },
	},
	[CACHE_M] = {
		[CE_LOAD]	  = { DO(ignore), TO(M) },
		[CE_STORE]	  = { DO(ignore), TO(M) },
		[CE_EVICT]	  = { DO(evict), TO(M_EVICT) },
		[CE_FWD_S]	  = { DO(revoke_fwd), TO(M_REVOKE) },
		[CE_FWD_M]	  = { DO(revoke_fwd), TO2(M_REVOKE, I_WB) },
		[CE_RECALL]	  = { DO(revoke_fwd), TO(M_REVOKE) },
		[CE_WB_ACK]	  = { DO(stale), TO(M) },
		[CE_GUARDS_CLEAR] = { DO(ignore), TO(M) },
		[CE_LOSE]	  = { DO(lose_revoke), TO(DROP) },
	},
	[CACHE_IS] = {
		[CE_LOAD]	  = { DO(defer), TO(IS) },
		[CE_STORE]	  = { DO(defer), TO(IS) },
		[CE_EVICT]	  = { DO(defer), TO(IS) },
		[CE_INV]	  = { DO(hold_inv), TO(IS_INV) },
		[CE_FWD_S]	  = { DO(lost), TO(IS) },
		[CE_FWD_M]	  = { DO(lost), TO(IS) },
		[CE_RECALL]	  = { DO(lost), TO(IS) },
		[CE_DATA_S]	  = { DO(install_s), TO(S) },
		[CE_NACK]	  = { DO(refused), TO(I) },
		[CE_WB_ACK]	  = { DO(stale), TO(IS) },
		[CE_LOSE]	  = { DO(lose), TO(I) },
	},
	[CACHE_IM] = {
		[CE_LOAD]	  = { DO(defer), TO(IM) },
		[CE_STORE]	  = { DO(defer), TO(IM) },
		[CE_EVICT]	  = { DO(defer), TO(IM) },
		[CE_INV]	  = { DO(ack), TO(IM) },
		[CE_FWD_S]	  = { DO(hold_fwd), TO(IM_FWD) },
		[CE_FWD_M]	  = { DO(hold_fwd), TO(IM_FWD) },
		[CE_RECALL]	  = { DO(hold_fwd), TO(IM_FWD) },
		[CE_DATA_M]	  = { DO(install_m), TO(M) },
		[CE_GRANT_M]	  = { DO(grant_without_copy), TO(M) },
		[CE_NACK]	  = { DO(refused), TO(I) },
		[CE_WB_ACK]	  = { DO(stale), TO(IM) },
		[CE_GUARDS_CLEAR] = { DO(ignore), TO(IM) },
		[CE_LOSE]	  = { DO(lose), TO(I) },
	},
	[CACHE_SM] = {
		[CE_LOAD]	  = { DO(defer), TO(SM) },
		[CE_STORE]	  = { DO(defer), TO(SM) },
		[CE_EVICT]	  = { DO(defer), TO(SM) },
		[CE_INV]	  = { DO(revoke_inv), TO(SM_REVOKE) },
		[CE_FWD_S]	  = { DO(hold_fwd), TO(SM_FWD) },
		[CE_FWD_M]	  = { DO(hold_fwd), TO(SM_FWD) },
		[CE_RECALL]	  = { DO(hold_fwd), TO(SM_FWD) },
		[CE_DATA_M]	  = { DO(grant), TO(M) },
		[CE_GRANT_M]	  = { DO(grant), TO(M) },
		[CE_NACK]	  = { DO(refused), TO(S) },
		[CE_WB_ACK]	  = { DO(stale), TO(SM) },
		[CE_LOSE]	  = { DO(lose_revoke), TO(DROP) },
	},
	[CACHE_IS_INV] = {
		[CE_LOAD]	  = { DO(defer), TO(IS_INV) },
		[CE_STORE]	  = { DO(defer), TO(IS_INV) },
		[CE_EVICT]	  = { DO(defer), TO(IS_INV) },
		[CE_DATA_S]	  = { DO(install_then_inv), TO(S_REVOKE) },
		/* Only for an older generation of the region: it is removed here soon. */
		[CE_NACK]	  = { DO(stale), TO(IS_INV) },
		[CE_WB_ACK]	  = { DO(stale), TO(IS_INV) },
		[CE_LOSE]	  = { DO(lose), TO(I) },
	},
	[CACHE_IM_FWD] = {
		[CE_LOAD]	  = { DO(defer), TO(IM_FWD) },
		[CE_STORE]	  = { DO(defer), TO(IM_FWD) },
		[CE_EVICT]	  = { DO(defer), TO(IM_FWD) },
		[CE_DATA_M]	  = { DO(install_then_fwd), TO(M_REVOKE) },
		[CE_GRANT_M]	  = { DO(stale), TO(IM_FWD) },
		/* Only for an older generation of the region: it is removed here soon. */
		[CE_NACK]	  = { DO(stale), TO(IM_FWD) },
		[CE_WB_ACK]	  = { DO(stale), TO(IM_FWD) },
		[CE_LOSE]	  = { DO(lose), TO(I) },
	},
	[CACHE_SM_FWD] = {
		[CE_LOAD]	  = { DO(defer), TO(SM_FWD) },
		[CE_STORE]	  = { DO(defer), TO(SM_FWD) },
		[CE_EVICT]	  = { DO(defer), TO(SM_FWD) },
		[CE_DATA_M]	  = { DO(grant_then_fwd), TO(M_REVOKE) },
		[CE_GRANT_M]	  = { DO(grant_then_fwd), TO(M_REVOKE) },
		/* Only for an older generation of the region: it is removed here soon. */
		[CE_NACK]	  = { DO(stale), TO(SM_FWD) },
		[CE_WB_ACK]	  = { DO(stale), TO(SM_FWD) },
		[CE_LOSE]	  = { DO(lose_revoke), TO(DROP) },
	},
	[CACHE_S_REVOKE] = {
		[CE_LOAD]	  = { DO(defer), TO(S_REVOKE) },
		[CE_STORE]	  = { DO(defer), TO(S_REVOKE) },
		[CE_EVICT]	  = { DO(defer), TO(S_REVOKE) },
		[CE_WB_ACK]	  = { DO(stale), TO(S_REVOKE) },
		[CE_GUARDS_CLEAR] = { DO(invalidated), TO(I) },
		[CE_LOSE]	  = { DO(lose_revoke), TO(DROP) },
	},
	[CACHE_SM_REVOKE] = {
		[CE_LOAD]	  = { DO(defer), TO(SM_REVOKE) },
		[CE_STORE]	  = { DO(defer), TO(SM_REVOKE) },
		[CE_EVICT]	  = { DO(defer), TO(SM_REVOKE) },
		[CE_NACK]	  = { DO(refused), TO(S_REVOKE) },
		[CE_WB_ACK]	  = { DO(stale), TO(SM_REVOKE) },
		[CE_GUARDS_CLEAR] = { DO(invalidated_upgrade), TO(IM) },
		[CE_LOSE]	  = { DO(lose_revoke), TO(DROP) },
	},
	[CACHE_M_REVOKE] = {
		[CE_LOAD]	  = { DO(defer), TO(M_REVOKE) },
		[CE_STORE]	  = { DO(defer), TO(M_REVOKE) },
		[CE_EVICT]	  = { DO(defer), TO(M_REVOKE) },
		[CE_WB_ACK]	  = { DO(stale), TO(M_REVOKE) },
		[CE_GUARDS_CLEAR] = { DO(forward), TO2(S_WB, I_WB) },
		[CE_LOSE]	  = { DO(lose_revoke), TO(DROP) },
	},
	[CACHE_S_EVICT] = {
		[CE_LOAD]	  = { DO(defer), TO(S_EVICT) },
		[CE_STORE]	  = { DO(defer), TO(S_EVICT) },
		[CE_EVICT]	  = { DO(defer), TO(S_EVICT) },
		[CE_INV]	  = { DO(hold_fwd), TO(S_REVOKE) },
		[CE_WB_ACK]	  = { DO(stale), TO(S_EVICT) },
		[CE_GUARDS_CLEAR] = { DO(put_s), TO(SI) },
		[CE_LOSE]	  = { DO(lose_revoke), TO(DROP) },
	},
	[CACHE_M_EVICT] = {
		[CE_LOAD]	  = { DO(defer), TO(M_EVICT) },
		[CE_STORE]	  = { DO(defer), TO(M_EVICT) },
		[CE_EVICT]	  = { DO(defer), TO(M_EVICT) },
		[CE_FWD_S]	  = { DO(hold_fwd), TO(M_REVOKE) },
		[CE_FWD_M]	  = { DO(hold_fwd), TO(M_REVOKE) },
		[CE_RECALL]	  = { DO(hold_fwd), TO(M_REVOKE) },
		[CE_WB_ACK]	  = { DO(stale), TO(M_EVICT) },
		[CE_GUARDS_CLEAR] = { DO(put_m), TO2(MI, I) },
		[CE_LOSE]	  = { DO(lose_revoke), TO(DROP) },
	},
	[CACHE_S_WB] = {
		[CE_LOAD]	  = { DO(defer), TO(S_WB) },
		[CE_STORE]	  = { DO(defer), TO(S_WB) },
		[CE_EVICT]	  = { DO(defer), TO(S_WB) },
		[CE_INV]	  = { DO(revoke_inv), TO(S_REVOKE) },
		[CE_WB_ACK]	  = { DO(wb_done), TO(S) },
		[CE_GUARDS_CLEAR] = { DO(ignore), TO(S_WB) },
		[CE_LOSE]	  = { DO(lose_revoke), TO(DROP) },
	},
	[CACHE_I_WB] = {
		[CE_LOAD]	  = { DO(defer), TO(I_WB) },
		[CE_STORE]	  = { DO(defer), TO(I_WB) },
		[CE_EVICT]	  = { DO(defer), TO(I_WB) },
		[CE_INV]	  = { DO(ack), TO(I_WB) },
		[CE_WB_ACK]	  = { DO(wb_done), TO(I) },
		[CE_GUARDS_CLEAR] = { DO(ignore), TO(I_WB) },
		[CE_LOSE]	  = { DO(lose), TO(I) },
	},
	[CACHE_SI] = {
		[CE_LOAD]	  = { DO(defer), TO(SI) },
		[CE_STORE]	  = { DO(defer), TO(SI) },
		[CE_EVICT]	  = { DO(defer), TO(SI) },
		[CE_INV]	  = { DO(ack), TO(SI) },
		[CE_FWD_S]	  = { DO(lost), TO(SI) },
		[CE_FWD_M]	  = { DO(lost), TO(SI) },
		[CE_RECALL]	  = { DO(lost), TO(SI) },
		[CE_NACK]	  = { DO(put_refused), TO(I) },
		[CE_WB_ACK]	  = { DO(stale), TO(SI) },
		[CE_PUT_ACK]	  = { DO(put_done), TO(I) },
		[CE_GUARDS_CLEAR] = { DO(ignore), TO(SI) },
		[CE_LOSE]	  = { DO(lose), TO(I) },
	},
	[CACHE_MI] = {
		[CE_LOAD]	  = { DO(defer), TO(MI) },
		[CE_STORE]	  = { DO(defer), TO(MI) },
		[CE_EVICT]	  = { DO(defer), TO(MI) },
		[CE_INV]	  = { DO(ack), TO(MI) },
		[CE_FWD_S]	  = { DO(forward_put), TO(MI) },
		[CE_FWD_M]	  = { DO(forward_put), TO(MI) },
		[CE_RECALL]	  = { DO(forward_put), TO(MI) },
		[CE_NACK]	  = { DO(put_refused), TO(I) },
		[CE_WB_ACK]	  = { DO(ignore), TO(MI) },
		[CE_PUT_ACK]	  = { DO(put_done), TO(I) },
		[CE_GUARDS_CLEAR] = { DO(ignore), TO(MI) },
		[CE_LOSE]	  = { DO(lose), TO(I) },
	},
	[CACHE_DROP] = {
		[CE_LOAD]	  = { DO(defer), TO(DROP) },
		[CE_STORE]	  = { DO(defer), TO(DROP) },
		[CE_EVICT]	  = { DO(defer), TO(DROP) },
		[CE_INV]	  = { DO(ack), TO(DROP) },
		[CE_FWD_S]	  = { DO(lost), TO(DROP) },
		[CE_FWD_M]	  = { DO(lost), TO(DROP) },
		[CE_RECALL]	  = { DO(lost), TO(DROP) },
		[CE_WB_ACK]	  = { DO(stale), TO(DROP) },
		[CE_GUARDS_CLEAR] = { DO(dropped), TO(I) },
		[CE_LOSE]	  = { DO(ignore), TO(DROP) },
	},
};

const struct coherence_cache_rule *
coherence_cache_rule_get(unsigned int state, unsigned int event)
{
	return &cache_rules[state][event];
}

void
coherence_cache_step(struct coherence_event *ev, enum cache_event event)
{
	struct coherence_page *page = ev->page;
	unsigned int from = page->state;
	const struct coherence_cache_rule *rule = &cache_rules[from][event];
	enum coherence_way way;

	ev->c->cache_cells[from] |= UINT64_C(1) << event;
	if (rule->action == NULL) {
		ev->c->stats.protocol_errors++;
		return;
	}
	way = rule->action(ev);
	if (way == WAY_STAY)
		return;
	page->state = way == WAY_NEXT ? rule->next : rule->other;
	coherence_page_assert_state(ev);
	if (coherence_cache_is_stable(page->state) && page->request != 0)
		coherence_request_ready(ev->c, coherence_request_of(ev));
}

/* An INV or FWD that was answered or is being answered. @return true: no step. */
static bool
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

/* A grant, a refusal: of the transaction that is outstanding? */
static bool
cache_is_answer(const struct coherence_event *ev)
{
	const struct coherence_request *request = coherence_request_of(ev);
	uint32_t txn = rte_le_to_cpu_32(ev->msg->txn);

	if (request == NULL || request->sent == 0 || request->txn != txn)
		return false;
	return !(request->flags & REQUEST_LATER);
}

static struct coherence_request *
cache_amo(const struct coherence_event *ev)
{
	struct tp_coherence *c = ev->c;
	uint32_t txn = rte_le_to_cpu_32(ev->msg->txn);
	uint32_t index = txn & ((1u << c->txn_bits) - 1);
	struct coherence_request *request;

	if (index >= c->request_total)
		return NULL;
	request = &c->requests[index];
	if (!request->used || request->sent != TP_MSG_AMO || request->txn != txn ||
	    request->region != ev->region->index || request->page != ev->index)
		return NULL;
	return request;
}

/* A checked message for the cache side. */
void
coherence_cache_message(struct coherence_event *ev)
{
	static const uint8_t events[TP_MSG_COUNT] = {
		[TP_MSG_INV] = CE_INV,
		[TP_MSG_FWD_S] = CE_FWD_S,
		[TP_MSG_FWD_M] = CE_FWD_M,
		[TP_MSG_RECALL] = CE_RECALL,
		[TP_MSG_WB_ACK] = CE_WB_ACK,
		[TP_MSG_DATA_S] = CE_DATA_S,
		[TP_MSG_DATA_M] = CE_DATA_M,
		[TP_MSG_GRANT_M] = CE_GRANT_M,
		[TP_MSG_NACK] = CE_NACK,
		[TP_MSG_PUT_ACK] = CE_PUT_ACK,
	};
	uint16_t resets = ev->c->peers[ev->home].resets;
	struct coherence_request *request;

	if (ev->page->resets != resets) {
		/* Another home process counts anew. */
		ev->page->resets = resets;
		ev->page->answered = 0;
	}
	switch (ev->msg->type) {
	case TP_MSG_INV:
	case TP_MSG_FWD_S:
	case TP_MSG_FWD_M:
	case TP_MSG_RECALL:
		if (cache_repeated(ev))
			return;
		break;
	case TP_MSG_WB_ACK:
		break;
	case TP_MSG_AMO_RESULT:
	case TP_MSG_NACK:
		request = cache_amo(ev);
		if (request != NULL) {
			coherence_request_amo_done(ev, request);
			return;
		}
		/* fall through */
	default:
		if (ev->msg->type == TP_MSG_AMO_RESULT || !cache_is_answer(ev)) {
			ev->c->stats.stale_messages++;
			return;
		}
		break;
	}
	coherence_cache_step(ev, events[ev->msg->type]);
}

void
tp_coherence_guards_clear(struct tp_coherence *c, uint32_t region_id, uint32_t page_index,
	uint64_t now, struct tp_outbox *outbox)
{
	struct coherence_region *region = coherence_region_find(c, region_id);
	struct coherence_event ev;

	if (region == NULL || page_index >= region->region->page_count ||
	    !coherence_page_is_owned(c, region, page_index))
		return;
	c->out = outbox;
	c->now = now;
	coherence_event_init(&ev, c, region, page_index);
	coherence_cache_step(&ev, CE_GUARDS_CLEAR);
}
