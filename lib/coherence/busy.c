/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Busy records: the one transaction a homed page may have at a time, whom it
 * waits for, and the requests that wait behind it, first come first served.
 */
#include <string.h>

#include "coherence_priv.h"

struct coherence_busy *
coherence_busy_of(const struct coherence_event *ev)
{
	return ev->entry->transient == 0 ? NULL : &ev->c->busy[ev->entry->transient - 1];
}

static uint64_t *
pending_of(const struct coherence_event *ev)
{
	return ev->c->pending + (size_t)(ev->entry->transient - 1) * ev->c->pending_words;
}

/* The entry's record, made if it has none. NULL: none is free. */
static struct coherence_busy *
busy_get(struct coherence_event *ev)
{
	struct coherence_busy *busy = coherence_busy_of(ev);
	uint32_t link = ev->c->busy_free;

	if (busy != NULL || link == 0)
		return busy;
	busy = &ev->c->busy[link - 1];
	ev->c->busy_free = busy->next;
	ev->c->busy_used++;
	*busy = (struct coherence_busy){
		.region = ev->region->index,
		.page = ev->index,
		.used = true,
	};
	ev->region->busy_held++;
	ev->entry->transient = link;
	return busy;
}

static void
busy_ready(struct tp_coherence *c, struct coherence_busy *busy)
{
	struct coherence_fifo *fifo = &c->busy_ready;
	uint32_t link = (uint32_t)(busy - c->busy) + 1;

	if (busy->ready)
		return;
	busy->ready = true;
	busy->next = 0;
	if (fifo->first == 0)
		fifo->first = link;
	else
		c->busy[fifo->last - 1].next = link;
	fifo->last = link;
}

/* Nothing waits on the record and no transaction is on: let go of it. */
static void
busy_put(struct coherence_event *ev, struct coherence_busy *busy)
{
	if (busy->active || busy->ready || busy->deferred_first != 0)
		return;
	RTE_ASSERT(busy->pending_count == 0);
	ev->entry->transient = 0;
	ev->region->busy_held--;
	*busy = (struct coherence_busy){ .next = ev->c->busy_free };
	ev->c->busy_free = (uint32_t)(busy - ev->c->busy) + 1;
	ev->c->busy_used--;
}

/*
 * Begin the transaction of the request at hand; its credit stays with it.
 * NULL: no record is free.
 */
struct coherence_busy *
coherence_busy_start(struct coherence_event *ev)
{
	struct coherence_busy *busy = busy_get(ev);

	if (busy == NULL)
		return NULL;
	RTE_ASSERT(!busy->active);
	busy->msg = *ev->msg;
	busy->token = ev->token;
	busy->since = ev->since;
	busy->requester = ev->from;
	busy->requester_worker = ev->from_worker;
	busy->old_owner = ev->entry->owner;
	busy->active = true;
	busy->upgrade = false;
	busy->maybe = false;
	busy->unblocked = false;
	busy->resupply = false;
	busy->cancelled = false;
	busy->lost = false;
	busy->inv_next = 0;
	ev->has_token = false;
	return busy;
}

/* The transaction is over: the credit goes back, what waited may run. */
void
coherence_busy_over(struct coherence_event *ev)
{
	struct coherence_busy *busy = coherence_busy_of(ev);
	struct coherence_event done = *ev;

	RTE_ASSERT(busy != NULL && busy->active && busy->pending_count == 0);
	busy->active = false;
	done.has_token = true;
	done.token = busy->token;
	done.from = busy->requester;
	done.from_worker = busy->requester_worker;
	coherence_token_done(&done);
	if (busy->deferred_first != 0)
		busy_ready(ev->c, busy);
	else
		busy_put(ev, busy);
}

static bool
is_atomic(const struct tp_coherence_msg *msg, const struct coherence_id *id)
{
	struct coherence_id of = coherence_msg_id(msg);

	return msg->type == TP_MSG_AMO && of.origin == id->origin && of.sequence == id->sequence;
}

/* The request at hand waits its turn already. */
bool
coherence_busy_has(const struct coherence_event *ev)
{
	const struct coherence_busy *busy = coherence_busy_of(ev);
	uint32_t link;

	if (busy == NULL)
		return false;
	for (link = busy->deferred_first; link != 0; link = ev->c->deferred[link - 1].next) {
		const struct coherence_deferred *d = &ev->c->deferred[link - 1];

		/* One of a past session is thrown away when its turn comes. */
		if (d->from == ev->from && d->msg.txn == ev->msg->txn &&
		    d->ups == ev->c->peers[ev->from].ups)
			return true;
	}
	return false;
}

/* The atomic is being run, or waits to be. */
bool
coherence_busy_has_atomic(const struct coherence_event *ev, const struct coherence_id *id)
{
	const struct coherence_busy *busy = coherence_busy_of(ev);
	uint32_t link;

	if (busy == NULL)
		return false;
	if (busy->active && is_atomic(&busy->msg, id))
		return true;
	for (link = busy->deferred_first; link != 0; link = ev->c->deferred[link - 1].next)
		if (is_atomic(&ev->c->deferred[link - 1].msg, id))
			return true;
	return false;
}

/* Put the request at hand behind the transaction. false: no room. */
bool
coherence_defer(struct coherence_event *ev)
{
	struct tp_coherence *c = ev->c;
	struct coherence_busy *busy = coherence_busy_of(ev);
	uint32_t link = c->deferred_free;
	struct coherence_deferred *d;

	if (busy == NULL || link == 0)
		return false;
	d = &c->deferred[link - 1];
	c->deferred_free = d->next;
	c->deferred_used++;
	c->stats.deferred++;
	*d = (struct coherence_deferred){
		.msg = *ev->msg,
		.token = ev->token,
		.since = ev->since,
		.ups = c->peers[ev->from].ups,
		.from = ev->from,
		.from_worker = ev->from_worker,
	};
	ev->has_token = false;
	if (busy->deferred_first == 0)
		busy->deferred_first = link;
	else
		c->deferred[busy->deferred_last - 1].next = link;
	busy->deferred_last = link;
	return true;
}

static void
deferred_pop(struct tp_coherence *c, struct coherence_busy *busy, struct coherence_deferred *d)
{
	uint32_t link = coherence_link(busy->deferred_first) + 1;

	*d = c->deferred[link - 1];
	busy->deferred_first = d->next;
	if (busy->deferred_first == 0)
		busy->deferred_last = 0;
	c->deferred[link - 1] = (struct coherence_deferred){ .next = c->deferred_free };
	c->deferred_free = link;
	c->deferred_used--;
}

bool
coherence_pending_test(const struct coherence_event *ev, uint16_t node)
{
	return pending_of(ev)[node / 64] >> (node % 64) & 1;
}

/* The node has no copy any more. @return true: it was waited for. */
bool
coherence_pending_clear(struct coherence_event *ev, uint16_t node)
{
	if (!coherence_pending_test(ev, node))
		return false;
	pending_of(ev)[node / 64] &= ~(UINT64_C(1) << (node % 64));
	coherence_busy_of(ev)->pending_count--;
	return true;
}

/* Wait for every sharer but one. @return How many. */
uint32_t
coherence_pending_fill(struct coherence_event *ev, uint16_t but)
{
	struct tp_directory_worker *dw = ev->c->config.directory_worker;
	struct coherence_busy *busy = coherence_busy_of(ev);
	uint32_t node;

	for (node = tp_directory_sharer_next(dw, ev->entry, 0); node != TP_NODE_NONE;
	     node = tp_directory_sharer_next(dw, ev->entry, node + 1)) {
		/* A coarse set names ids beyond the last, and nodes that were fenced. */
		if (node == but || node > ev->c->config.node_id_max ||
		    ev->c->peers[node].fenced || ev->c->peers[node].worker_count == 0)
			continue;
		pending_of(ev)[node / 64] |= UINT64_C(1) << (node % 64);
		busy->pending_count++;
	}
	busy->maybe = !tp_directory_sharer_is_exact(dw, ev->entry);
	if (busy->maybe)
		ev->c->stats.invalidations_extra += busy->pending_count;
	return busy->pending_count;
}

void
coherence_fence_ask(struct tp_coherence *c, uint16_t node)
{
	/* One whose epoch is over needs no other end; its next one has not begun. */
	if (c->peers[node].fence_asked || c->peers[node].fenced)
		return;
	c->peers[node].fence_asked = true;
	coherence_action(c, TP_ACTION_FENCE)->node = node;
}

static void
inv_send(struct coherence_event *ev, uint16_t node)
{
	const struct coherence_busy *busy = coherence_busy_of(ev);
	struct tp_coherence_msg msg;

	if (!ev->c->peers[node].up) {
		/* It is sent when the node is back, or not needed once it is fenced. */
		coherence_fence_ask(ev->c, node);
		return;
	}
	coherence_msg_init(ev, &msg, TP_MSG_INV, ev->entry->sequence, 0);
	msg.requester = rte_cpu_to_le_16(busy->requester);
	msg.requester_worker = rte_cpu_to_le_16(busy->requester_worker);
	if (busy->maybe)
		msg.flags |= TP_MSG_F_MAYBE;
	ev->c->stats.invalidations++;
	coherence_send(ev, node, coherence_worker_of(ev, node), &msg, false);
}

/* Send a batch of the INV that are not sent yet; the rest waits for poll. */
void
coherence_pending_send(struct coherence_event *ev)
{
	struct coherence_busy *busy = coherence_busy_of(ev);
	const uint64_t *pending = pending_of(ev);
	uint32_t node = busy->inv_next;
	uint32_t sent = 0;

	while (node <= ev->c->config.node_id_max && sent < INV_BATCH) {
		uint64_t word = pending[node / 64] >> (node % 64);

		if (word == 0) {
			node = (node / 64 + 1) * 64;
			continue;
		}
		node += (uint32_t)__builtin_ctzll(word);
		inv_send(ev, (uint16_t)node++);
		sent++;
	}
	busy->inv_next = node;
	if (node <= ev->c->config.node_id_max)
		busy_ready(ev->c, busy);
}

static bool
awaits_acks(const struct coherence_event *ev)
{
	return ev->entry->state == HOME_S_INV || ev->entry->state == HOME_L_INV;
}

static bool
awaits_write_back(const struct coherence_event *ev)
{
	return ev->entry->state == HOME_M_FWD_S || ev->entry->state == HOME_M_FWD_M ||
		ev->entry->state == HOME_M_RECALL;
}

/* A new session with the node: say again what it may not have got. */
void
coherence_busy_resend(struct coherence_event *ev, uint16_t node)
{
	const struct coherence_busy *busy = coherence_busy_of(ev);

	if (!busy->active)
		return;
	if (awaits_acks(ev)) {
		if (node < busy->inv_next && coherence_pending_test(ev, node))
			inv_send(ev, node);
	} else if (awaits_write_back(ev) && busy->old_owner == node) {
		coherence_home_forward(ev);
	}
}

/* The session with the node is lost: ask for a fence if anybody waits for it. */
void
coherence_busy_waits(struct coherence_event *ev, uint16_t node)
{
	const struct coherence_busy *busy = coherence_busy_of(ev);
	bool waits;

	if (!busy->active)
		return;
	if (awaits_acks(ev))
		waits = coherence_pending_test(ev, node);
	else if (awaits_write_back(ev))
		waits = busy->old_owner == node;
	else
		waits = busy->requester == node;
	if (waits)
		coherence_fence_ask(ev->c, node);
}

static void
busy_run_deferred(struct coherence_event *ev, struct coherence_busy *busy)
{
	struct tp_coherence *c = ev->c;
	struct coherence_deferred d;

	deferred_pop(c, busy, &d);
	ev->msg = &d.msg;
	ev->token = d.token;
	ev->since = d.since;
	ev->has_token = true;
	ev->from = d.from;
	ev->from_worker = d.from_worker;
	if (d.ups == c->peers[d.from].ups) {
		static const uint8_t events[] = {
			[TP_MSG_GET_S] = HE_GET_S,
			[TP_MSG_GET_M] = HE_GET_M,
			[TP_MSG_PUT_S] = HE_PUT_S,
			[TP_MSG_PUT_M] = HE_PUT_M,
			[TP_MSG_AMO] = HE_AMO,
			[TP_MSG_SETTLE] = HE_SETTLE,
			[TP_MSG_PERSIST] = HE_PERSIST,
		};

		coherence_home_step(ev, events[d.msg.type]);
	} else {
		/* It may have been sent again, or not: whoever still waits asks anew. */
		c->stats.stale_messages++;
		coherence_home_nack(ev, d.from, d.from_worker, rte_le_to_cpu_32(d.msg.txn),
			TP_UNREACHABLE, TP_MSG_F_RETRY);
	}
	coherence_token_done(ev);
	busy = coherence_busy_of(ev);
	if (busy == NULL)
		return;
	if (!busy->active && busy->deferred_first != 0)
		busy_ready(c, busy);
	else
		busy_put(ev, busy);
}

uint32_t
coherence_busy_poll(struct tp_coherence *c)
{
	struct coherence_fifo *fifo = &c->busy_ready;
	uint32_t work = 0;

	while (fifo->first != 0 && coherence_room(c)) {
		struct coherence_busy *busy = &c->busy[fifo->first - 1];
		struct coherence_event ev;

		fifo->first = busy->next;
		if (fifo->first == 0)
			fifo->last = 0;
		busy->ready = false;
		coherence_event_init(&ev, c, &c->regions[busy->region], busy->page);
		coherence_home_entry(&ev);
		if (busy->active && awaits_acks(&ev))
			coherence_pending_send(&ev);
		else if (!busy->active && busy->deferred_first != 0)
			busy_run_deferred(&ev, busy);
		else
			busy_put(&ev, busy);
		work++;
	}
	return work;
}

static void
busy_unlink(struct tp_coherence *c, struct coherence_busy *busy)
{
	struct coherence_fifo *fifo = &c->busy_ready;
	uint32_t link = (uint32_t)(busy - c->busy) + 1;
	uint32_t *at = &fifo->first;
	uint32_t last = 0;

	while (*at != 0 && *at != link) {
		last = *at;
		at = &c->busy[*at - 1].next;
	}
	if (*at == link)
		*at = busy->next;
	if (fifo->last == link)
		fifo->last = last;
	busy->ready = false;
}

/* The region is gone: one by one, the credits of all that waits go back. */
bool
coherence_busy_free(struct coherence_event *ev)
{
	struct tp_coherence *c = ev->c;
	struct coherence_busy *busy = coherence_busy_of(ev);
	struct coherence_deferred d;

	while (busy->deferred_first != 0) {
		if (!coherence_room(c))
			return false;
		deferred_pop(c, busy, &d);
		ev->token = d.token;
		ev->from = d.from;
		ev->from_worker = d.from_worker;
		ev->has_token = true;
		coherence_home_nack(ev, d.from, d.from_worker, rte_le_to_cpu_32(d.msg.txn),
			TP_GENERATION, 0);
		coherence_token_done(ev);
	}
	memset(pending_of(ev), 0, c->pending_words * sizeof(uint64_t));
	busy->pending_count = 0;
	if (busy->ready)
		busy_unlink(c, busy);
	if (busy->active) {
		coherence_home_nack(ev, busy->requester, busy->requester_worker,
			rte_le_to_cpu_32(busy->msg.txn), TP_GENERATION, 0);
		coherence_busy_over(ev);
	} else {
		busy_put(ev, busy);
	}
	return true;
}
