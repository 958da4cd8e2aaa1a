/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Messages: what may come from the wire, what is sent. Everything is checked
 * against one table before a state machine sees it; what does not pass is
 * counted, dropped, and its credit given back.
 */
#include <rte_prefetch.h>

#include "coherence_priv.h"

struct message_kind {
	uint8_t flags;		/* that are allowed */
	bool request;
	bool payload;		/* a page follows unless a flag says otherwise */
	bool to_home;		/* the receiver is the page's home */
	bool from_home;		/* the sender is */
};

/*
 * Of a page that an answer is made of, while it is decided on: who copies it has the
 * processor ask for what follows. All its lines at once would be more than can be
 * waited for at a time, and what is read meanwhile would stand behind them.
 */
#define HINT_BYTES 768u

#define NO_PAGE (TP_MSG_F_ZERO | TP_MSG_F_IN_PLACE | TP_MSG_F_NO_DATA)

static const struct message_kind message_kinds[TP_MSG_COUNT] = {
	[TP_MSG_GET_S] = { TP_MSG_F_RETRY | TP_MSG_F_PROBE, true, false, true, false },
	[TP_MSG_GET_M] = { TP_MSG_F_RETRY | TP_MSG_F_PROBE | TP_MSG_F_HAVE_COPY, true, false, true,
			   false },
	[TP_MSG_PUT_S] = { TP_MSG_F_RETRY, true, false, true, false },
	[TP_MSG_PUT_M] = { TP_MSG_F_RETRY | TP_MSG_F_IN_PLACE | TP_MSG_F_LEAVES, true, true, true,
			   false },
	[TP_MSG_AMO] = { 0, true, false, true, false },
	[TP_MSG_INV] = { TP_MSG_F_MAYBE, false, false, false, true },
	[TP_MSG_FWD_S] = { 0, false, false, false, true },
	[TP_MSG_FWD_M] = { 0, false, false, false, true },
	[TP_MSG_RECALL] = { 0, false, false, false, true },
	[TP_MSG_WB_ACK] = { 0, false, false, false, true },
	[TP_MSG_DATA_S] = { TP_MSG_F_ZERO | TP_MSG_F_IN_PLACE | TP_MSG_F_UNBLOCK, false, true,
			    false, false },
	[TP_MSG_DATA_M] = { TP_MSG_F_ZERO | TP_MSG_F_IN_PLACE | TP_MSG_F_UNBLOCK, false, true,
			    false, false },
	[TP_MSG_GRANT_M] = { 0, false, false, false, true },
	[TP_MSG_NACK] = { TP_MSG_F_RETRY, false, false, false, true },
	[TP_MSG_PUT_ACK] = { 0, false, false, false, true },
	[TP_MSG_AMO_RESULT] = { 0, false, false, false, true },
	[TP_MSG_INV_ACK] = { 0, false, false, true, false },
	[TP_MSG_WB] = { TP_MSG_F_ZERO | TP_MSG_F_IN_PLACE | TP_MSG_F_NO_DATA, false, true, true,
			false },
	[TP_MSG_UNBLOCK] = { 0, false, false, true, false },
	[TP_MSG_SETTLE] = { TP_MSG_F_RETRY | TP_MSG_F_SENT, true, false, true, false },
	[TP_MSG_SETTLE_RESULT] = { 0, false, false, false, true },
	[TP_MSG_PERSIST] = { 0, true, false, true, false },
	[TP_MSG_PERSIST_RESULT] = { 0, false, false, false, true },
};

/* A message about the event's page, from this node. */
void
coherence_msg_init(const struct coherence_event *ev, struct tp_coherence_msg *msg,
	enum tp_coherence_msg_type type, uint64_t sequence, uint32_t txn)
{
	*msg = (struct tp_coherence_msg){
		.type = (uint8_t)type,
		.requester = rte_cpu_to_le_16(ev->c->config.node_id),
		.requester_worker = rte_cpu_to_le_16(ev->c->config.worker),
		.txn = rte_cpu_to_le_32(txn),
		.region_id = rte_cpu_to_le_32(ev->region->id),
		.page_index = rte_cpu_to_le_32(ev->index),
		.generation = rte_cpu_to_le_64(ev->region->region->generation),
		.sequence = rte_cpu_to_le_64(sequence),
	};
}

/* payload: the contents of the page's slot go along; within a node they stay. */
void
coherence_send(struct coherence_event *ev, uint16_t node, uint16_t worker,
	const struct tp_coherence_msg *msg, bool payload)
{
	struct tp_action *action = coherence_action(ev->c, TP_ACTION_SEND);

	action->node = node;
	action->worker = worker;
	action->region_id = ev->region->id;
	action->page_index = ev->index;
	action->msg = *msg;
	if (!payload)
		return;
	if (node == ev->c->config.node_id) {
		action->msg.flags |= TP_MSG_F_IN_PLACE;
		return;
	}
	action->slot = coherence_page_slot(ev);
	ev->c->stats.pages_out++;
}

static bool
atomic_is_valid(const struct tp_coherence_msg *msg, uint32_t page_bytes)
{
	uint32_t offset = rte_le_to_cpu_16(msg->atomic_offset_words) * 4u;

	if (msg->atomic_op == 0 || msg->atomic_op >= TP_ATOMIC_COUNT)
		return false;
	if (msg->atomic_width != 4 && msg->atomic_width != 8)
		return false;
	return offset % msg->atomic_width == 0 && offset < page_bytes;
}

/* What only atomics and their settlement have. */
static bool
identity_is_valid(const struct tp_coherence *c, const struct tp_coherence_msg *msg)
{
	switch (msg->type) {
	case TP_MSG_SETTLE:
		return msg->effect == 0 && msg->sequence != 0 &&
			rte_le_to_cpu_64(msg->compare) <= c->config.node_id_max &&
			rte_le_to_cpu_64(msg->operand) < TP_SETTLE_ASKERS;
	case TP_MSG_AMO:
		return msg->effect == 0;
	case TP_MSG_SETTLE_RESULT:
		return msg->identity == 0 && msg->effect <= TP_EFFECT_NOT_DONE &&
			msg->reason < TP_REASON_COUNT;
	default:
		return msg->effect == 0 && msg->identity == 0;
	}
}

/* What can be told without the region. */
static bool
message_is_formed(const struct tp_coherence *c, uint16_t from, uint16_t from_worker,
	const struct tp_coherence_msg *msg)
{
	const struct message_kind *kind = &message_kinds[msg->type];
	uint16_t requester = rte_le_to_cpu_16(msg->requester);
	uint8_t allowed = kind->flags;

	if (coherence_mutant(c, MUTANT_double_atomic))
		allowed |= TP_MSG_F_RETRY;
	if (msg->flags & ~allowed || !identity_is_valid(c, msg))
		return false;
	if (from > c->config.node_id_max || from_worker >= c->peers[from].worker_count)
		return false;
	if (requester > c->config.node_id_max)
		return false;
	/* A home may forward for a node that has joined and is not known here yet. */
	if (c->peers[requester].worker_count != 0 &&
	    rte_le_to_cpu_16(msg->requester_worker) >= c->peers[requester].worker_count)
		return false;
	if (kind->request && (requester != from ||
	    rte_le_to_cpu_16(msg->requester_worker) != from_worker))
		return false;
	if (msg->flags & TP_MSG_F_PROBE && !(msg->flags & TP_MSG_F_RETRY))
		return false;
	if ((msg->flags & TP_MSG_F_IN_PLACE) && from != c->config.node_id)
		return false;
	if (msg->type == TP_MSG_NACK && (msg->reason == TP_OK || msg->reason >= TP_REASON_COUNT))
		return false;
	return __builtin_popcount(msg->flags & NO_PAGE) <= 1;
}

static bool
message_is_valid(const struct coherence_event *ev, uint32_t payload_bytes)
{
	const struct message_kind *kind = &message_kinds[ev->msg->type];
	uint32_t page_bytes = UINT32_C(1) << ev->region->region->page_shift;
	uint32_t expected = kind->payload && !(ev->msg->flags & NO_PAGE) ? page_bytes : 0;
	uint16_t requester = rte_le_to_cpu_16(ev->msg->requester);

	if (ev->unreadable ? expected == 0 : payload_bytes != expected)
		return false;
	if (ev->home > ev->c->config.node_id_max)
		return false;
	if (kind->to_home && !coherence_page_is_home(ev))
		return false;
	if (kind->from_home && ev->from != ev->home)
		return false;
	/* Each worker speaks for its own shards. */
	if (ev->from_worker != coherence_worker_of(ev, ev->from))
		return false;
	if (ev->msg->type == TP_MSG_FWD_S || ev->msg->type == TP_MSG_FWD_M)
		/* But what a home wants back from itself is to be persisted. */
		return (requester != ev->c->config.node_id ||
			(ev->msg->type == TP_MSG_FWD_S && coherence_page_is_home(ev))) &&
			(ev->c->peers[requester].worker_count == 0 ||
			 rte_le_to_cpu_16(ev->msg->requester_worker) ==
			 coherence_worker_of(ev, requester));
	if (ev->msg->type == TP_MSG_AMO)
		return atomic_is_valid(ev->msg, page_bytes);
	return true;
}

/*
 * A request about a region that is not, or not so, known here. What became of an
 * atomic is not to be lost by asking early: a home that has just joined, and has not
 * heard of the region yet, is asked again.
 */
static void
message_refuse(struct tp_coherence *c, struct coherence_event *ev, bool known)
{
	struct tp_action *action = coherence_action(c, TP_ACTION_SEND);
	bool early = !known && ev->msg->type == TP_MSG_SETTLE;

	action->node = ev->from;
	action->worker = ev->from_worker;
	action->msg = (struct tp_coherence_msg){
		.type = TP_MSG_NACK,
		.flags = early ? TP_MSG_F_RETRY : 0,
		.reason = early ? TP_UNREACHABLE : TP_GENERATION,
		.requester = ev->msg->requester,
		.requester_worker = ev->msg->requester_worker,
		.txn = ev->msg->txn,
		.region_id = ev->msg->region_id,
		.page_index = ev->msg->page_index,
		.generation = ev->msg->generation,
	};
}

static void
message_drop(struct coherence_event *ev, uint64_t *counter)
{
	(*counter)++;
	coherence_token_done(ev);
}

/*
 * The page's record is read here, not prefetched: the address of an atomic's word
 * depends on it, and the processor goes on with the checks of the message meanwhile.
 * A whole page is asked for later: its 64 lines would be in the way of those.
 */
void
tp_coherence_message_hint(struct tp_coherence *c, const struct tp_coherence_msg *msg)
{
	struct coherence_region *region =
		coherence_region_find(c, rte_le_to_cpu_32(msg->region_id));
	uint32_t page_index = rte_le_to_cpu_32(msg->page_index);
	uint32_t offset = 4u * rte_le_to_cpu_16(msg->atomic_offset_words);
	struct coherence_event ev;

	if (region == NULL || page_index >= region->region->page_count)
		return;
	coherence_event_init(&ev, c, region, page_index);
	rte_prefetch0(ev.page);
	if (!coherence_page_is_home(&ev) || region->directory_slot == UINT32_MAX)
		return;
	tp_directory_entry_prefetch(c->config.directory, region->directory_slot,
		tp_region_home_index(region->region, page_index));
	if (msg->type == TP_MSG_AMO && offset < UINT32_C(1) << region->region->page_shift)
		coherence_slot_hint(&ev, offset, sizeof(uint64_t), false);
}

void
tp_coherence_page_hint(struct tp_coherence *c, uint32_t region_id, uint32_t page_index)
{
	struct coherence_region *region = coherence_region_find(c, region_id);
	struct coherence_event ev;

	if (region == NULL || page_index >= region->region->page_count)
		return;
	coherence_event_init(&ev, c, region, page_index);
	coherence_slot_hint(&ev, 0, 0, false);
}

/* The message's page, checked. false: the message is dealt with. */
static bool
message_locate(struct coherence_event *ev, uint32_t payload_bytes)
{
	struct tp_coherence *c = ev->c;
	const struct tp_coherence_msg *msg = ev->msg;
	struct coherence_event found;
	struct coherence_id id;
	struct coherence_region *region =
		coherence_region_find(c, rte_le_to_cpu_32(msg->region_id));
	uint32_t page_index = rte_le_to_cpu_32(msg->page_index);

	if (region == NULL || region->removing ||
	    rte_le_to_cpu_64(msg->generation) != region->region->generation) {
		if (message_kinds[msg->type].request)
			message_refuse(c, ev, region != NULL);
		message_drop(ev, &c->stats.stale_messages);
		return false;
	}
	if (page_index >= region->region->page_count ||
	    !coherence_page_is_owned(c, region, page_index)) {
		message_drop(ev, &c->stats.bad_messages);
		return false;
	}
	coherence_event_init(&found, c, region, page_index);
	ev->region = found.region;
	ev->page = found.page;
	ev->index = page_index;
	ev->home = found.home;
	if (!message_is_valid(ev, payload_bytes)) {
		message_drop(ev, &c->stats.bad_messages);
		return false;
	}
	if (message_kinds[msg->type].to_home && !coherence_home_entry(ev)) {
		message_drop(ev, &c->stats.bad_messages);
		return false;
	}
	if (msg->type == TP_MSG_GET_S || msg->type == TP_MSG_GET_M) {
		coherence_slot_hint(ev, 0, HINT_BYTES, false);
	} else if (msg->type == TP_MSG_AMO) {
		id = coherence_msg_id(msg);
		coherence_kept_prefetch(c, &id);
	}
	return true;
}

/* The message is checked and its page found. false: it is dealt with. */
static bool
message_take(struct coherence_event *ev, uint32_t payload_bytes)
{
	const struct tp_coherence_msg *msg = ev->msg;
	struct tp_coherence *c = ev->c;

	if (msg->type == 0 || msg->type >= TP_MSG_COUNT) {
		c->stats.bad_messages++;
		return false;
	}
	ev->has_token = message_kinds[msg->type].request;
	ev->has_payload = payload_bytes != 0 || msg->flags & (TP_MSG_F_IN_PLACE | TP_MSG_F_ZERO);
	/* It has not come up here: its session was made while this node was fenced. */
	if (ev->from <= c->config.node_id_max && c->peers[ev->from].worker_count == 0) {
		message_drop(ev, &c->stats.stale_messages);
		return false;
	}
	if (!message_is_formed(c, ev->from, ev->from_worker, msg)) {
		message_drop(ev, &c->stats.bad_messages);
		return false;
	}
	if (c->peers[ev->from].muted) {
		message_drop(ev, &c->stats.stale_messages);
		return false;
	}
	return message_locate(ev, payload_bytes);
}

void
tp_coherence_message(struct tp_coherence *c, uint16_t from_node, uint16_t from_worker,
	const struct tp_coherence_msg *msg, uint32_t payload_bytes, uint64_t token, uint64_t now,
	struct tp_outbox *outbox)
{
	struct coherence_event ev = {
		.c = c,
		.msg = msg,
		.token = token,
		.since = now,
		.from = from_node,
		.from_worker = from_worker,
	};

	c->out = outbox;
	c->now = now;
	if (!message_take(&ev, payload_bytes))
		return;
	if (message_kinds[msg->type].to_home)
		coherence_home_message(&ev);
	else
		coherence_cache_message(&ev);
}

void
tp_coherence_message_unreadable(struct tp_coherence *c, uint16_t from_node,
	uint16_t from_worker, const struct tp_coherence_msg *msg, uint64_t token, uint64_t now,
	struct tp_outbox *outbox)
{
	struct coherence_event ev = {
		.c = c,
		.msg = msg,
		.token = token,
		.since = now,
		.from = from_node,
		.from_worker = from_worker,
		.unreadable = true,
	};

	c->out = outbox;
	c->now = now;
	if (!message_take(&ev, 0))
		return;
	c->stats.unreadable++;
	if (message_kinds[msg->type].to_home)
		coherence_home_unreadable(&ev);
	else
		coherence_cache_unreadable(&ev);
}
