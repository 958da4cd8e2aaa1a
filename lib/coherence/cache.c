/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The cache side: this node's copy of a page, as the table of docs/coherence.md,
 * "Cache side". cache_step() holds the only store to a page's state; actions are
 * short and never step again: what follows waits on the ready list.
 */
#include "table_priv.h"

bool
coherence_cache_is_stable(unsigned int state)
{
	return state == CACHE_I || state == CACHE_S || state == CACHE_M;
}

#define TO(state) CACHE_##state, CACHE_##state
#define TO2(state, other) CACHE_##state, CACHE_##other
#define DO(action) cache_##action, #action

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

/* The atomic, settlement or wish to persist that the message answers, NULL: none. */
static struct coherence_request *
cache_loose(const struct coherence_event *ev)
{
	static const uint8_t results[TP_MSG_COUNT] = {
		[TP_MSG_AMO] = TP_MSG_AMO_RESULT,
		[TP_MSG_SETTLE] = TP_MSG_SETTLE_RESULT,
		[TP_MSG_PERSIST] = TP_MSG_PERSIST_RESULT,
	};
	struct tp_coherence *c = ev->c;
	uint32_t txn = rte_le_to_cpu_32(ev->msg->txn);
	uint32_t index = txn & ((1u << c->txn_bits) - 1);
	struct coherence_request *request;

	if (index >= c->request_total)
		return NULL;
	request = &c->requests[index];
	if (!request->used || !coherence_request_is_loose(request) || request->txn != txn ||
	    request->region != ev->region->index || request->page != ev->index)
		return NULL;
	if (ev->msg->type != TP_MSG_NACK && ev->msg->type != results[request->sent])
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
	case TP_MSG_SETTLE_RESULT:
	case TP_MSG_PERSIST_RESULT:
	case TP_MSG_NACK:
		request = cache_loose(ev);
		if (request != NULL) {
			coherence_atomic_told(ev, request);
			return;
		}
		/* fall through */
	default:
		if (ev->msg->type == TP_MSG_AMO_RESULT ||
		    ev->msg->type == TP_MSG_SETTLE_RESULT ||
		    ev->msg->type == TP_MSG_PERSIST_RESULT || !cache_is_answer(ev)) {
			ev->c->stats.stale_messages++;
			return;
		}
		break;
	}
	coherence_cache_step(ev, events[ev->msg->type]);
}

/*
 * A page that cannot be read: as if it had been lost with its session, but that is
 * known at once.
 */
void
coherence_cache_unreadable(struct coherence_event *ev)
{
	struct coherence_request *request = coherence_request_of(ev);
	uint8_t asked = ev->msg->type == TP_MSG_DATA_S ? TP_MSG_GET_S : TP_MSG_GET_M;

	if (!cache_is_answer(ev) || request->sent != asked) {
		ev->c->stats.stale_messages++;
		return;
	}
	/* The copy that is here is the same. */
	if (ev->page->state == CACHE_SM || ev->page->state == CACHE_SM_FWD)
		coherence_cache_message(ev);
	else
		coherence_request_send(ev, request, asked, TP_MSG_F_RETRY);
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
