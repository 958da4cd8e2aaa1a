/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The home side: who has a copy of a page homed here, as the table of
 * docs/coherence.md, "Home". coherence_home_step() holds the only store to an
 * entry's state; actions are short and never step again.
 */
#include <rte_branch_prediction.h>

#include "table_priv.h"

bool
coherence_home_is_stable(unsigned int state)
{
	return state == HOME_U || state == HOME_S || state == HOME_M || state == HOME_L;
}

/* Find the entry. false: this node is not the home, or does not know it yet. */
bool
coherence_home_entry(struct coherence_event *ev)
{
	const struct tp_region *region = ev->region->region;

	if (!coherence_page_is_home(ev) || ev->region->directory_slot == UINT32_MAX)
		return false;
	ev->entry = tp_directory_entry_get(ev->c->config.directory, ev->region->directory_slot,
		tp_region_home_index(region, ev->index));
	if (!(ev->entry->flags & ENTRY_SEEN)) {
		ev->entry->flags |= ENTRY_SEEN;
		ev->entry->state = ev->region->home_lost && !ev->region->durable ? HOME_L : HOME_U;
		if (unlikely(ev->region->durable))
			coherence_persist_seen(ev);
	}
	return true;
}

#define TO(state) HOME_##state, HOME_##state
#define TO2(state, other) HOME_##state, HOME_##other
#define DO(action) home_##action, #action

static const struct coherence_home_rule home_rules[HOME_STATE_COUNT][HOME_EVENT_COUNT] = {
	[HOME_U] = {
		[HE_GET_S]   = { DO(get_s), TO(S) },
		[HE_GET_M]   = { DO(get_m), TO(M) },
		[HE_AMO]     = { DO(amo), TO(U) },
		[HE_SETTLE]  = { DO(settle), TO(U) },
		[HE_PUT_S]   = { DO(put_ack), TO(U) },
		[HE_PUT_M]   = { DO(put_ack), TO(U) },
		[HE_INV_ACK] = { DO(stale), TO(U) },
		[HE_WB]	     = { DO(stale_wb), TO(U) },
		[HE_WB_NONE] = { DO(stale_wb), TO(U) },
		[HE_UNBLOCK] = { DO(stale), TO(U) },
		[HE_PERSIST] = { DO(persist), TO(U) },
		[HE_FENCED]  = { DO(ignore), TO(U) },
	},
	[HOME_S] = {
		[HE_GET_S]   = { DO(get_s), TO(S) },
		[HE_GET_M]   = { DO(get_m_shared), TO2(S_INV, M) },
		[HE_AMO]     = { DO(amo_shared), TO2(S_INV, U) },
		[HE_SETTLE]  = { DO(settle), TO(S) },
		[HE_PUT_S]   = { DO(put_shared), TO2(S, U) },
		[HE_PUT_M]   = { DO(put_shared), TO2(S, U) },
		[HE_INV_ACK] = { DO(stale), TO(S) },
		[HE_WB]	     = { DO(stale_wb), TO(S) },
		[HE_WB_NONE] = { DO(stale_wb), TO(S) },
		[HE_UNBLOCK] = { DO(stale), TO(S) },
		[HE_PERSIST] = { DO(persist), TO(S) },
		[HE_FENCED]  = { DO(fenced_shared), TO2(S, U) },
	},
	[HOME_M] = {
		[HE_GET_S]   = { DO(get_owned), TO2(M_FWD_S, L) },
		[HE_GET_M]   = { DO(get_owned), TO2(M_FWD_M, L) },
		[HE_AMO]     = { DO(recall), TO(M_RECALL) },
		[HE_SETTLE]  = { DO(settle), TO(M) },
		[HE_PUT_S]   = { DO(put_ack), TO(M) },
		[HE_PUT_M]   = { DO(put_owned), TO(U) },
		[HE_INV_ACK] = { DO(stale), TO(M) },
		[HE_WB]	     = { DO(stale_wb), TO(M) },
		[HE_WB_NONE] = { DO(stale_wb), TO(M) },
		[HE_UNBLOCK] = { DO(stale), TO(M) },
		[HE_PERSIST] = { DO(persist_owned), TO(M_FWD_S) },
		[HE_FENCED]  = { DO(fenced_owned), TO2(L, U) },
	},
	[HOME_L] = {
		[HE_GET_S]   = { DO(refuse_lost), TO(L) },
		[HE_GET_M]   = { DO(refuse_lost), TO(L) },
		[HE_AMO]     = { DO(refuse_lost), TO(L) },
		[HE_SETTLE]  = { DO(settle), TO(L) },
		[HE_PUT_S]   = { DO(put_ack), TO(L) },
		[HE_PUT_M]   = { DO(put_ack), TO(L) },
		[HE_INV_ACK] = { DO(stale), TO(L) },
		[HE_WB]	     = { DO(stale_wb), TO(L) },
		[HE_WB_NONE] = { DO(stale_wb), TO(L) },
		[HE_UNBLOCK] = { DO(revive), TO(M) },
		[HE_PERSIST] = { DO(refuse_lost), TO(L) },
		[HE_FENCED]  = { DO(fenced_lost), TO(L) },
	},
	[HOME_S_INV] = {
		[HE_GET_S]   = { DO(defer), TO(S_INV) },
		[HE_GET_M]   = { DO(defer), TO(S_INV) },
		[HE_AMO]     = { DO(defer), TO(S_INV) },
		[HE_SETTLE]  = { DO(settle), TO(S_INV) },
		[HE_PUT_S]   = { DO(defer), TO(S_INV) },
		[HE_PUT_M]   = { DO(defer), TO(S_INV) },
		[HE_INV_ACK] = { DO(inv_ack), TO2(M, U) },
		[HE_WB]	     = { DO(stale_wb), TO(S_INV) },
		[HE_WB_NONE] = { DO(stale_wb), TO(S_INV) },
		[HE_UNBLOCK] = { DO(stale), TO(S_INV) },
		[HE_PERSIST] = { DO(defer), TO(S_INV) },
		[HE_FENCED]  = { DO(fenced_inv), TO2(M, U) },
	},
	[HOME_L_INV] = {
		[HE_GET_S]   = { DO(defer), TO(L_INV) },
		[HE_GET_M]   = { DO(defer), TO(L_INV) },
		[HE_AMO]     = { DO(defer), TO(L_INV) },
		[HE_SETTLE]  = { DO(settle), TO(L_INV) },
		[HE_PUT_S]   = { DO(put_ack), TO(L_INV) },
		[HE_PUT_M]   = { DO(put_ack), TO(L_INV) },
		[HE_INV_ACK] = { DO(lost_ack), TO(L) },
		[HE_WB]	     = { DO(stale_wb), TO(L_INV) },
		[HE_WB_NONE] = { DO(stale_wb), TO(L_INV) },
		[HE_UNBLOCK] = { DO(stale), TO(L_INV) },
		[HE_PERSIST] = { DO(defer), TO(L_INV) },
		[HE_FENCED]  = { DO(fenced_lost_inv), TO(L) },
	},
	[HOME_M_FWD_S] = {
		[HE_GET_S]   = { DO(defer), TO(M_FWD_S) },
		[HE_GET_M]   = { DO(defer), TO(M_FWD_S) },
		[HE_AMO]     = { DO(defer), TO(M_FWD_S) },
		[HE_SETTLE]  = { DO(settle), TO(M_FWD_S) },
		[HE_PUT_S]   = { DO(put_s_early), TO(M_FWD_S) },
		[HE_PUT_M]   = { DO(defer), TO(M_FWD_S) },
		[HE_INV_ACK] = { DO(stale), TO(M_FWD_S) },
		[HE_WB]	     = { DO(wb_shared), TO2(S, S_UNB) },
		[HE_WB_NONE] = { DO(wb_none), TO(L) },
		[HE_UNBLOCK] = { DO(unblock_early), TO(M_FWD_S) },
		[HE_PERSIST] = { DO(defer), TO(M_FWD_S) },
		[HE_FENCED]  = { DO(fenced_fwd_s), TO2(L, L_INV) },
	},
	[HOME_M_FWD_M] = {
		[HE_GET_S]   = { DO(defer), TO(M_FWD_M) },
		[HE_GET_M]   = { DO(defer), TO(M_FWD_M) },
		[HE_AMO]     = { DO(defer), TO(M_FWD_M) },
		[HE_SETTLE]  = { DO(settle), TO(M_FWD_M) },
		[HE_PUT_S]   = { DO(defer), TO(M_FWD_M) },
		[HE_PUT_M]   = { DO(put_unblock), TO(U) },
		[HE_INV_ACK] = { DO(stale), TO(M_FWD_M) },
		[HE_WB]	     = { DO(wb_owned), TO2(M, M_UNB) },
		[HE_WB_NONE] = { DO(wb_none), TO(L) },
		[HE_UNBLOCK] = { DO(delivered), TO(M) },
		[HE_PERSIST] = { DO(defer), TO(M_FWD_M) },
		[HE_FENCED]  = { DO(fenced_fwd_m), TO2(L, M_RECALL) },
	},
	[HOME_M_RECALL] = {
		[HE_GET_S]   = { DO(defer), TO(M_RECALL) },
		[HE_GET_M]   = { DO(defer), TO(M_RECALL) },
		[HE_AMO]     = { DO(defer), TO(M_RECALL) },
		[HE_SETTLE]  = { DO(settle), TO(M_RECALL) },
		[HE_PUT_S]   = { DO(defer), TO(M_RECALL) },
		[HE_PUT_M]   = { DO(defer), TO(M_RECALL) },
		[HE_INV_ACK] = { DO(stale), TO(M_RECALL) },
		[HE_WB]	     = { DO(wb_recalled), TO2(U, L) },
		[HE_WB_NONE] = { DO(wb_none), TO(L) },
		[HE_UNBLOCK] = { DO(stale), TO(M_RECALL) },
		[HE_PERSIST] = { DO(defer), TO(M_RECALL) },
		[HE_FENCED]  = { DO(fenced_recall), TO(L) },
	},
	[HOME_S_UNB] = {
		[HE_GET_S]   = { DO(defer), TO(S_UNB) },
		[HE_GET_M]   = { DO(defer), TO(S_UNB) },
		[HE_AMO]     = { DO(defer), TO(S_UNB) },
		[HE_SETTLE]  = { DO(settle), TO(S_UNB) },
		[HE_PUT_S]   = { DO(put_s_unblock), TO(S) },
		[HE_PUT_M]   = { DO(defer), TO(S_UNB) },
		[HE_INV_ACK] = { DO(stale), TO(S_UNB) },
		[HE_WB]	     = { DO(stale_wb), TO(S_UNB) },
		[HE_WB_NONE] = { DO(stale_wb), TO(S_UNB) },
		[HE_UNBLOCK] = { DO(unblock), TO(S) },
		[HE_PERSIST] = { DO(defer), TO(S_UNB) },
		[HE_FENCED]  = { DO(fenced_unb_s), TO(S) },
	},
	[HOME_M_UNB] = {
		[HE_GET_S]   = { DO(defer), TO(M_UNB) },
		[HE_GET_M]   = { DO(defer), TO(M_UNB) },
		[HE_AMO]     = { DO(defer), TO(M_UNB) },
		[HE_SETTLE]  = { DO(settle), TO(M_UNB) },
		[HE_PUT_S]   = { DO(defer), TO(M_UNB) },
		[HE_PUT_M]   = { DO(put_unblock), TO(U) },
		[HE_INV_ACK] = { DO(stale), TO(M_UNB) },
		[HE_WB]	     = { DO(stale_wb), TO(M_UNB) },
		[HE_WB_NONE] = { DO(stale_wb), TO(M_UNB) },
		[HE_UNBLOCK] = { DO(unblock), TO(M) },
		[HE_PERSIST] = { DO(defer), TO(M_UNB) },
		[HE_FENCED]  = { DO(fenced_unb_m), TO(L) },
	},
};

const struct coherence_home_rule *
coherence_home_rule_get(unsigned int state, unsigned int event)
{
	return &home_rules[state][event];
}

/*
 * What holds in each state between steps:
 *   M M_FWD_* M_RECALL M_UNB: there is an owner, and home memory to come back to
 *   U S S_INV S_UNB L_INV: there is none
 *   busy states: a transaction is on; S_INV and L_INV wait for at least one node
 */
static void
entry_assert_state(const struct coherence_event *ev)
{
#ifdef RTE_ENABLE_ASSERT
	const struct tp_directory_entry *entry = ev->entry;
	const struct coherence_busy *busy = coherence_busy_of(ev);

	switch (entry->state) {
	case HOME_M:
	case HOME_M_FWD_S:
	case HOME_M_FWD_M:
	case HOME_M_RECALL:
	case HOME_M_UNB:
		RTE_ASSERT(entry->owner <= ev->c->config.node_id_max);
		RTE_ASSERT(ev->page->frame != 0);
		break;
	case HOME_L:
		break;
	default:
		RTE_ASSERT(entry->owner == TP_NODE_NONE);
		break;
	}
	if (!coherence_home_is_stable(entry->state))
		RTE_ASSERT(busy != NULL && busy->active);
	else
		RTE_ASSERT(busy == NULL || !busy->active);
	if (entry->state == HOME_S_INV || entry->state == HOME_L_INV)
		RTE_ASSERT(busy->pending_count > 0);
#endif
}

void
coherence_home_step(struct coherence_event *ev, enum home_event event)
{
	unsigned int from = ev->entry->state;
	const struct coherence_home_rule *rule = &home_rules[from][event];
	enum coherence_way way;

	ev->c->home_cells[from] |= UINT64_C(1) << event;
	way = rule->action(ev);
	if (way != WAY_STAY) {
		ev->entry->state = way == WAY_NEXT ? rule->next : rule->other;
		if (!coherence_home_is_stable(from) && coherence_home_is_stable(ev->entry->state))
			coherence_busy_over(ev);
	}
	entry_assert_state(ev);
}

/* An atomic that was settled as not done while it was on its way. */
static bool
is_fenced(struct coherence_event *ev)
{
	struct coherence_id id = coherence_msg_id(ev->msg);

	return coherence_fence_take(ev, &id);
}

static void
home_request(struct coherence_event *ev, enum home_event event)
{
	bool page = event == HE_GET_S || event == HE_GET_M;
	bool get = page || event == HE_AMO || event == HE_PERSIST;

	/* One that does not know yet that it is fenced must not come back on the books. */
	if (ev->c->peers[ev->from].fencing || ev->c->peers[ev->from].fenced)
		coherence_home_nack(ev, ev->from, ev->from_worker,
			rte_le_to_cpu_32(ev->msg->txn), TP_EXHAUSTED, TP_MSG_F_RETRY);
	else if (page && ev->msg->flags & TP_MSG_F_RETRY &&
		 !coherence_mutant(ev->c, MUTANT_retry_new_grant))
		home_repeated(ev);
	else if (unlikely(ev->c->fences.count != 0) && event == HE_AMO && is_fenced(ev))
		home_refuse_spent(ev);
	else if (get && ev->entry->transient != 0 && coherence_home_is_stable(ev->entry->state))
		home_defer(ev);	/* others came first */
	else
		coherence_home_step(ev, event);
	coherence_token_done(ev);
}

static void
home_response(struct coherence_event *ev, enum home_event event)
{
	const struct coherence_busy *busy = coherence_busy_of(ev);
	bool known = rte_le_to_cpu_64(ev->msg->sequence) == ev->entry->sequence;

	/* Only who was asked may answer the transaction that is on. */
	if (busy != NULL && busy->active) {
		if (event == HE_WB || event == HE_WB_NONE)
			known = known && busy->old_owner == ev->from;
		else if (event == HE_UNBLOCK)
			known = known && busy->requester == ev->from;
	}
	if (known)
		coherence_home_step(ev, event);
	else if (event == HE_WB || event == HE_WB_NONE)
		home_stale_wb(ev);
	else
		home_stale(ev);
}

/* A checked message for the home side; the entry is known. */
void
coherence_home_message(struct coherence_event *ev)
{
	switch (ev->msg->type) {
	case TP_MSG_GET_S:
		home_request(ev, HE_GET_S);
		break;
	case TP_MSG_GET_M:
		home_request(ev, HE_GET_M);
		break;
	case TP_MSG_AMO:
		home_request(ev, HE_AMO);
		break;
	case TP_MSG_SETTLE:
		home_request(ev, HE_SETTLE);
		break;
	case TP_MSG_PERSIST:
		home_request(ev, HE_PERSIST);
		break;
	case TP_MSG_PUT_S:
		home_request(ev, HE_PUT_S);
		break;
	case TP_MSG_PUT_M:
		ev->c->stats.returns += (ev->msg->flags & TP_MSG_F_LEAVES) != 0;
		home_request(ev, HE_PUT_M);
		break;
	case TP_MSG_INV_ACK:
		home_response(ev, HE_INV_ACK);
		break;
	case TP_MSG_WB:
		home_response(ev, ev->msg->flags & TP_MSG_F_NO_DATA ? HE_WB_NONE : HE_WB);
		break;
	default:
		RTE_ASSERT(ev->msg->type == TP_MSG_UNBLOCK);
		home_response(ev, HE_UNBLOCK);
		break;
	}
}

/*
 * A WB or PUT_M whose page cannot be read. What is awaited is asked for again, and
 * comes whole then: nobody holds anything of which it could be a change.
 */
void
coherence_home_unreadable(struct coherence_event *ev)
{
	const struct coherence_busy *busy = coherence_busy_of(ev);
	unsigned int state = ev->entry->state;

	if (ev->msg->type == TP_MSG_PUT_M) {
		coherence_home_nack(ev, ev->from, ev->from_worker,
			rte_le_to_cpu_32(ev->msg->txn), TP_EXHAUSTED, TP_MSG_F_RETRY);
		coherence_token_done(ev);
	} else if ((state == HOME_M_FWD_S || state == HOME_M_FWD_M || state == HOME_M_RECALL) &&
		   busy->old_owner == ev->from &&
		   rte_le_to_cpu_64(ev->msg->sequence) == ev->entry->sequence) {
		coherence_home_forward(ev);
	} else {
		home_stale_wb(ev);
	}
}
