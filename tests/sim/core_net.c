/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Messages between nodes as sessions promise them (design rule 8): each arrives
 * once and in no order while the session of its pair lasts; when it breaks, what
 * is under way is gone, and both sides hear PEER_DOWN, later PEER_UP. Membership
 * is what the control plane would do: a node asked to be fenced stops serving
 * hits at some time, learns of it later, and only then do others hear PEER_FENCED.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"

static const uint8_t msg_class_is_request[TP_MSG_COUNT] = {
#define CLASS_REQUEST 1
#define CLASS_FORWARD 0
#define CLASS_RESPONSE 0
#define AS_REQUEST(name, id, cls, payload) [TP_MSG_##name] = CLASS_##cls,
	TP_COHERENCE_MSG_LIST(AS_REQUEST)
#undef AS_REQUEST
};

static const char *
msg_name(uint8_t type)
{
	static const char *const names[TP_MSG_COUNT] = {
#define AS_NAME(name, id, cls, payload) [TP_MSG_##name] = #name,
		TP_COHERENCE_MSG_LIST(AS_NAME)
#undef AS_NAME
	};

	return type < TP_MSG_COUNT && names[type] != NULL ? names[type] : "?";
}

/* What happens to a message, in the hash and, for people, in words. */
static void
msg_trace(struct core *core, const char *what, uint32_t from, uint32_t to,
	  const struct tp_coherence_msg *msg)
{
	core_trace(core, NULL, from << 16 | to << 8 | msg->type, msg->page_index,
		   msg->sequence ^ (uint64_t)msg->txn << 32);
	if (core->options->trace)
		printf("%12" PRIu64 " %-8s %u -> %u %s page %u seq %" PRIu64
		       " txn %x requester %u flags %x\n", core->now, what, from + 1, to + 1,
		       msg_name(msg->type), msg->page_index, msg->sequence, msg->txn,
		       msg->requester, msg->flags);
}

#define TRAVEL_NS_MIN (3 * SIM_US)
#define REJOIN_MAX (150 * SIM_MS)	/* a fenced node is rid of its copies; the check begins at 90 */

static uint64_t
travel_ns(struct core *core, uint32_t a, uint32_t b)
{
	uint64_t ns = sim_rng_between(&core->rng, TRAVEL_NS_MIN, 40 * SIM_US);

	if (sim_rng_chance(&core->rng, 40))
		ns += sim_rng_between(&core->rng, 0, 2 * SIM_MS);	/* lost once, sent again */
	if (core->now < core->slow_until[a][b])
		ns += sim_rng_between(&core->rng, 0, 25 * SIM_MS);
	return ns;
}

static void
send_local(struct core *core, uint32_t n, uint32_t w, const struct core_message *m)
{
	struct core_worker *worker = &core->nodes[n].workers[w];

	if (worker->local_head - worker->local_tail == CORE_LOCAL)
		core_fail(core, "node %u: local queue overflow", n + 1);
	worker->local[worker->local_head++ % CORE_LOCAL] = *m;
	if (!worker->local_scheduled) {
		worker->local_scheduled = true;
		core_event_add(core, sim_rng_below(&core->rng, 1500), EVENT_LOCAL, n, w, NULL);
	}
}

static void
send_message(struct core *core, uint32_t n, uint32_t w, const struct tp_action *action,
	     const struct tp_coherence_item *items, uint32_t item_count)
{
	struct core_message m = { .msg = action->msg, .from = n, .from_worker = w,
		.item_count = item_count };
	uint32_t to = action->node - 1u;
	struct core_message *copy;

	if (item_count != 0)
		memcpy(m.items, items, item_count * sizeof(*items));

	if (action->kept != NULL)
		m.msg.operand = *action->kept;
	core_base_tell(core, n, w, &m);
	msg_trace(core, "send", n, to, &action->msg);
	if (action->slot != TP_SLOT_ABSENT) {
		if (action->slot >= core->nodes[n].slot_count)
			core_fail(core, "node %u sends slot %u", n + 1, action->slot);
		m.content = core->nodes[n].slots[action->slot];
		m.payload_bytes = 4096;
		if (to != n)
			core_base_encode(core, n, w, &m);
	}
	if (to == n) {
		if (action->worker != w)
			core_fail(core, "node %u: message to itself changes worker", n + 1);
		send_local(core, n, w, &m);
		return;
	}
	if (to >= core->node_count)
		core_fail(core, "node %u sends to node %u", n + 1, to + 1);
	if (!core->nodes[n].peer_up[to] || !core->link_up[n][to] || core->nodes[n].left)
		return;		/* -EHOSTDOWN */
	m.session = core->nodes[n].peer_session[to];
	copy = malloc(sizeof(*copy));
	if (copy == NULL)
		abort();
	*copy = m;
	core->in_flight++;
	core_event_add(core, travel_ns(core, n, to), EVENT_MESSAGE, to, action->worker, copy);
	if (core->break_at_write_back && core->faults_left != 0 && action->msg.type == TP_MSG_WB) {
		core->break_at_write_back = false;
		core_event_add(core, sim_rng_below(&core->fault_rng, TRAVEL_NS_MIN), EVENT_BREAK,
			n, to, NULL);
	}
}

void
core_send(struct core *core, uint32_t n, uint32_t w, const struct tp_action *action)
{
	send_message(core, n, w, action, NULL, 0);
}

/* What was gathered leaves. */
void
core_gather_end(struct core *core, uint32_t n, uint32_t w)
{
	struct core_worker *worker = &core->nodes[n].workers[w];
	struct tp_coherence_batch *batch = &worker->batch;
	struct tp_action action = { .type = TP_ACTION_SEND, .slot = TP_SLOT_ABSENT,
		.node = batch->node, .worker = batch->worker, .msg = batch->msg };

	worker->gathering = false;
	if (batch->count == 0)
		return;
	core->batches += batch->count > 1;
	send_message(core, n, w, &action, batch->items, batch->count - 1);
	batch->count = 0;
}

void
core_token_done(struct core *core, uint32_t n, uint32_t w, uint64_t token)
{
	struct core_worker *worker = &core->nodes[n].workers[w];
	uint32_t i;

	if (token == UINT64_MAX)
		return;
	for (i = 0; i < worker->token_count; i++) {
		if (worker->tokens[i] == token) {
			worker->tokens[i] = worker->tokens[--worker->token_count];
			return;
		}
	}
	core_fail(core, "node %u: credit given back twice", n + 1);
}

static void
hand_in(struct core *core, uint32_t n, uint32_t w, const struct core_message *m, uint64_t token)
{
	struct core_worker *worker = &core->nodes[n].workers[w];

	const struct tp_coherence_stats *stats = tp_coherence_stats_get(worker->engine);
	uint64_t bad = stats->bad_messages, stale = stats->stale_messages,
		wrong = stats->protocol_errors;

	if (core->options->trace) {
		struct tp_coherence_page_info info = { .cache_state = "", .home_state = "" };

		tp_coherence_page_info_get(worker->engine, CORE_REGION, m->msg.page_index, &info);
		printf("%12" PRIu64 "          cache %s home %s\n", core->now, info.cache_state,
		       info.home_state);
	}
	if (m->from == n || core_base_decode(core, n, w, m)) {
		if (m->from == n)
			worker->incoming = m->payload_bytes == 0 ? NULL : &m->content;
		tp_coherence_message(worker->engine, (uint16_t)(m->from + 1),
			(uint16_t)m->from_worker, &m->msg, m->payload_bytes, token, core->now,
			&worker->outbox);
	} else {
		core_trace(core, "  unreadable", n, m->msg.type, 0);
		worker->base_off = true;
		tp_coherence_message_unreadable(worker->engine, (uint16_t)(m->from + 1),
			(uint16_t)m->from_worker, &m->msg, token, core->now, &worker->outbox);
	}
	if (stats->bad_messages != bad)
		core_trace(core, "  bad", n, m->msg.type, 0);
	if (stats->stale_messages != stale)
		core_trace(core, "  stale", n, m->msg.type, 0);
	if (stats->protocol_errors != wrong)
		core_trace(core, "  wrong", n, m->msg.type, 0);
	core_run(core, n, w);
	worker->base_off = false;
}

static void
tell_workers(struct core *core, uint32_t n, uint32_t peer, uint32_t kind)
{
	struct core_node *node = &core->nodes[n];
	uint16_t id = (uint16_t)(peer + 1);
	uint32_t w;

	for (w = 0; w < node->worker_count; w++) {
		struct core_worker *worker = &node->workers[w];

		if (kind == EVENT_PEER_DOWN)
			tp_coherence_peer_down(worker->engine, id, core->now, &worker->outbox);
		else if (kind == EVENT_PEER_UP)
			tp_coherence_peer_up(worker->engine, id,
				(uint16_t)core->nodes[peer].worker_count, core->now,
				&worker->outbox);
		else if (kind == EVENT_PEER_FENCED)
			tp_coherence_peer_fenced(worker->engine, id, core->now, &worker->outbox);
		else
			tp_coherence_home_reset(worker->engine, id, core->now, &worker->outbox);
		core_run(core, n, w);
	}
}

static void
peer_is_down(struct core *core, uint32_t n, uint32_t peer)
{
	if (!core->nodes[n].peer_up[peer])
		return;
	core->nodes[n].peer_up[peer] = false;
	tell_workers(core, n, peer, EVENT_PEER_DOWN);
}

/*
 * The present session of a pair works. A node that has not heard of the end of
 * the one before, for it stood still, say, hears of it now.
 */
static void
peer_is_up(struct core *core, uint32_t n, uint32_t peer)
{
	struct core_node *node = &core->nodes[n];

	if (node->peer_up[peer] && node->peer_session[peer] == core->session[n][peer])
		return;
	peer_is_down(core, n, peer);
	node->peer_up[peer] = true;
	node->peer_session[peer] = core->session[n][peer];
	tell_workers(core, n, peer, EVENT_PEER_UP);
}

static void
receive_one(struct core *core, uint32_t n, uint32_t w, const struct core_message *m)
{
	struct core_worker *worker = &core->nodes[n].workers[w];
	uint64_t token = 0;

	if (m->msg.type < TP_MSG_COUNT && msg_class_is_request[m->msg.type]) {
		if (worker->token_count == CORE_TOKENS)
			core_fail(core, "node %u: %u requests open", n + 1, CORE_TOKENS);
		token = ++core->token;
		worker->tokens[worker->token_count++] = token;
	}
	msg_trace(core, "receive", m->from, n, &m->msg);
	hand_in(core, n, w, m, token);
}

void
core_receive(struct core *core, uint32_t n, const struct queue_event *event)
{
	struct core_message *m = event->data;
	struct core_node *node = &core->nodes[n];
	uint32_t w = (uint32_t)event->a, count, i;
	struct core_message page = *m;

	if (w >= node->worker_count)
		core_fail(core, "node %u: message for worker %u", n + 1, w);
	if (m->session != core->session[m->from][n] || node->left)
		return;		/* of a past epoch */
	/* The session speaks first to say that it is there. */
	peer_is_up(core, n, m->from);
	if (m->item_count == 0) {
		receive_one(core, n, w, m);
		return;
	}
	count = tp_coherence_batch_count(&m->msg, m->item_count * sizeof(m->items[0]));
	if (count != m->item_count + 1)
		core_fail(core, "node %u: a batch of %u pages", n + 1, m->item_count + 1);
	for (i = 0; i < count; i++) {
		tp_coherence_batch_get(node->workers[w].engine, &m->msg, m->items, i, &page.msg);
		receive_one(core, n, w, &page);
	}
}

void
core_local(struct core *core, uint32_t n, uint32_t w)
{
	struct core_worker *worker = &core->nodes[n].workers[w];
	struct core_message m;

	worker->local_scheduled = false;
	if (worker->local_head == worker->local_tail)
		return;
	m = worker->local[worker->local_tail++ % CORE_LOCAL];
	msg_trace(core, "local", n, n, &m.msg);
	if (worker->local_head != worker->local_tail) {
		worker->local_scheduled = true;
		core_event_add(core, sim_rng_below(&core->rng, 1500), EVENT_LOCAL, n, w, NULL);
	}
	hand_in(core, n, w, &m, UINT64_MAX);
}

/* The session of a pair is gone. up_after: both can answer again. */
void
core_session_break(struct core *core, uint32_t a, uint32_t b, uint64_t up_after)
{
	uint32_t session = ++core->session[a][b];

	core->session[b][a] = session;
	core->link_up[a][b] = false;
	core->link_up[b][a] = false;
	core_event_add(core, sim_rng_between(&core->rng, 0, 5 * SIM_MS), EVENT_PEER_DOWN, a, b,
		NULL);
	core_event_add(core, sim_rng_between(&core->rng, 0, 5 * SIM_MS), EVENT_PEER_DOWN, b, a,
		NULL);
	core->down_until[a][b] = core->now + 6 * SIM_MS + up_after;
	core->down_until[b][a] = core->down_until[a][b];
}

static bool
is_member(const struct core_node *node)
{
	return node->alive && !node->left && !node->lapsed;
}

static void
link_up(struct core *core, uint32_t a, uint32_t b)
{
	/* Nobody hears a new epoch of a node before it has dealt with the old one. */
	if (core->link_up[a][b] || core->now < core->down_until[a][b] ||
	    !is_member(&core->nodes[a]) || !is_member(&core->nodes[b]) ||
	    core->must_hear[a][b] || core->must_hear[b][a])
		return;
	core->session[a][b]++;
	core->session[b][a] = core->session[a][b];
	core->link_up[a][b] = true;
	core->link_up[b][a] = true;
	core_event_add(core, sim_rng_below(&core->rng, 200000), EVENT_PEER_UP, a, b, NULL);
	core_event_add(core, sim_rng_below(&core->rng, 200000), EVENT_PEER_UP, b, a, NULL);
}

/* Pages whose only copy may be on a node that is to lose its copies. */
void
core_lost_mark(struct core *core, uint32_t n, bool crashed)
{
	struct core_node *node = &core->nodes[n];
	uint32_t page;

	for (page = 0; node->generation != CORE_NONE && page < core->workload.pages; page++) {
		struct tp_coherence_page_info info;
		uint32_t w = core_worker_of(core, node, page);

		tp_coherence_page_info_get(node->workers[w].engine, CORE_REGION, page, &info);
		/* Anything but a plain I or S may be, or be about to become, the only copy. */
		if ((crashed && tp_region_home(&node->region, page) == n + 1) ||
		    (strcmp(info.cache_state, "I") != 0 && strcmp(info.cache_state, "S") != 0 &&
		     strcmp(info.cache_state, "IS") != 0 && strcmp(info.cache_state, "") != 0))
			core->may_be_lost[node->generation][page] = true;
	}
}

void
core_fence(struct core *core, uint32_t by, uint32_t n)
{
	struct core_node *node = &core->nodes[n];

	if (n >= core->node_count || core->nodes[by].left || node->left || node->fence_asked)
		return;
	core_trace(core, "fence", by, n, 0);
	node->fence_asked = true;
	core->result->fences++;
	core_event_add(core, sim_rng_between(&core->rng, 0, CORE_LEASE), EVENT_LAPSE, n,
		node->boot, NULL);
}

static void
lapse(struct core *core, uint32_t n)
{
	struct core_node *node = &core->nodes[n];
	uint64_t margin = sim_rng_between(&core->rng, SIM_MS, 20 * SIM_MS);
	uint32_t m;

	node->lease_until = core->now;
	node->lapsed = true;
	core_event_add(core, sim_rng_between(&core->rng, 60 * SIM_MS, 250 * SIM_MS), EVENT_RESET, 0,
		0, NULL);
	if (node->alive) {
		core_lost_mark(core, n, false);
		core_event_add(core, sim_rng_below(&core->rng, 30000000), EVENT_SELF_FENCED, n,
			node->boot, NULL);
	}
	for (m = 0; m < core->node_count; m++) {
		if (m == n || !core->nodes[m].alive)
			continue;
		core->must_hear[m][n] = true;
		core_event_add(core, margin + sim_rng_below(&core->rng, 10000000),
			EVENT_PEER_FENCED, m, (uint64_t)node->boot << 8 | n, NULL);
	}
}

static void
self_fenced(struct core *core, uint32_t n)
{
	struct core_node *node = &core->nodes[n];
	uint32_t m, w;

	core_lost_mark(core, n, false);
	node->left = true;
	node->left_at = core->now;
	for (m = 0; m < core->node_count; m++) {
		if (m != n && core->link_up[n][m])
			core_session_break(core, n, m, 0);
	}
	for (w = 0; w < node->worker_count; w++) {
		tp_coherence_self_fenced(node->workers[w].engine, core->now,
			&node->workers[w].outbox);
		core_run(core, n, w);
	}
	core_event_add(core, sim_rng_between(&core->rng, 40 * SIM_MS, 90 * SIM_MS),
		EVENT_REJOIN_CHECK, n, node->boot, NULL);
}

/* Join again once nothing of the old epoch is left: every page homed elsewhere is I. */
static bool
rejoin_is_possible(struct core *core, uint32_t n)
{
	struct core_node *node = &core->nodes[n];
	uint32_t page;

	for (page = 0; node->generation != CORE_NONE && page < core->workload.pages; page++) {
		struct tp_coherence_page_info info;

		if (tp_region_home(&node->region, page) == n + 1)
			continue;
		tp_coherence_page_info_get(node->workers[core_worker_of(core, node, page)].engine,
			CORE_REGION, page, &info);
		if (strcmp(info.cache_state, "I") != 0 && strcmp(info.cache_state, "") != 0)
			return false;
	}
	return true;
}

static void
rejoin(struct core *core, uint32_t n)
{
	struct core_node *node = &core->nodes[n];

	node->left = false;
	node->lapsed = false;
	node->fence_asked = false;
	node->epoch++;
	node->lease_until = UINT64_MAX;
}

static void
rejoin_check(struct core *core, uint32_t n)
{
	struct core_node *node = &core->nodes[n];

	if (rejoin_is_possible(core, n)) {
		rejoin(core, n);
		return;
	}
	/* Guards, a paused node: nothing else may keep it, no peer's answer above all. */
	if (core->now > RTE_MAX(node->left_at, node->paused_until) + REJOIN_MAX)
		core_fail(core, "node %u keeps copies of the epoch it was fenced in", n + 1);
	core_event_add(core, SIM_MS, EVENT_REJOIN_CHECK, n, node->boot, NULL);
}

static void
peer_fenced(struct core *core, uint32_t n, uint32_t peer)
{
	if (core->nodes[peer].alive)
		core_lost_mark(core, peer, false);
	/* Its old incarnation is not listened to from now on. */
	core->session[n][peer]++;
	core->session[peer][n] = core->session[n][peer];
	core->link_up[n][peer] = false;
	core->link_up[peer][n] = false;
	peer_is_down(core, n, peer);
	if (core->nodes[peer].alive && core->nodes[peer].peer_up[n])
		core_event_add(core, sim_rng_below(&core->rng, 100000), EVENT_PEER_DOWN, peer, n,
			NULL);
	tell_workers(core, n, peer, EVENT_PEER_FENCED);
}

/* Greet each other again, whoever can. */
static void
greet(struct core *core)
{
	uint32_t a, b;

	for (a = 0; a < core->node_count; a++) {
		for (b = 0; b < a; b++)
			link_up(core, a, b);
	}
	core_event_add(core, sim_rng_between(&core->rng, 200 * SIM_US, 3 * SIM_MS), EVENT_GREET, 0,
		0, NULL);
}

void
core_crash(struct core *core, uint32_t n)
{
	struct core_node *node = &core->nodes[n];
	uint32_t m, c;

	if (!node->alive)
		return;
	core_trace(core, "crash", n, 0, 0);
	core->result->crashes++;
	core_lost_mark(core, n, true);
	for (c = 0; c < core->clients_per_node; c++)
		core_client_stop(core, n, c);
	core_node_free(core, n);
	node->alive = false;
	node->boot++;
	for (m = 0; m < core->node_count; m++) {
		core->must_hear[n][m] = false;
		node->peer_up[m] = false;
		if (m == n)
			continue;
		core->session[n][m]++;
		core->session[m][n] = core->session[n][m];
		core->link_up[n][m] = false;
		core->link_up[m][n] = false;
		core_event_add(core, sim_rng_below(&core->rng, 150000000), EVENT_PEER_DOWN, m, n,
			NULL);
	}
	if (node->fence_asked && !node->lapsed)
		core_event_add(core, sim_rng_below(&core->rng, CORE_LEASE), EVENT_LAPSE, n,
			node->boot, NULL);
	core_event_add(core, sim_rng_between(&core->rng, 5 * SIM_MS, 300 * SIM_MS), EVENT_RETURN,
		n, node->boot, NULL);
	core_event_add(core, sim_rng_between(&core->rng, 100 * SIM_MS, 450 * SIM_MS), EVENT_RESET,
		0, 0, NULL);
}

static void
return_node(struct core *core, uint32_t n)
{
	struct core_node *node = &core->nodes[n];
	uint32_t m;

	node->boot++;
	node->epoch++;
	core_node_boot(core, n, true);
	for (m = 0; m < core->node_count; m++) {
		if (m == n)
			continue;
		core->must_hear[m][n] = core->nodes[m].alive;
		core_event_add(core, sim_rng_below(&core->rng, 10000000), EVENT_HOME_RESET, m,
			(uint64_t)node->boot << 8 | n, NULL);
	}
}

void
core_member_event(struct core *core, const struct queue_event *event)
{
	uint32_t n = event->node, a = (uint32_t)event->a, peer = a & 0xff;
	struct core_node *node = &core->nodes[n];

	core_trace(core, "member", event->kind, n, event->a);
	switch (event->kind) {
	case EVENT_PEER_DOWN:
		/* Unless a later session was heard of first. */
		if (node->alive && node->peer_session[a] != core->session[n][a])
			peer_is_down(core, n, a);
		break;
	case EVENT_PEER_UP:
		if (is_member(node) && core->link_up[n][a])
			peer_is_up(core, n, a);
		break;
	case EVENT_GREET:
		greet(core);
		break;
	case EVENT_LAPSE:
		if (node->boot == event->a)
			lapse(core, n);
		break;
	case EVENT_SELF_FENCED:
		if (node->boot == event->a && node->alive)
			self_fenced(core, n);
		break;
	case EVENT_PEER_FENCED:
		if (node->alive && core->nodes[peer].boot == event->a >> 8) {
			peer_fenced(core, n, peer);
			core->must_hear[n][peer] = false;
		}
		break;
	case EVENT_REJOIN_CHECK:
		if (node->boot == event->a && node->alive)
			rejoin_check(core, n);
		break;
	case EVENT_HOME_RESET:
		if (core->nodes[peer].boot != event->a >> 8)
			break;
		if (node->alive) {
			peer_fenced(core, n, peer);
			tell_workers(core, n, peer, EVENT_HOME_RESET);
		}
		core->must_hear[n][peer] = false;
		break;
	case EVENT_RETURN:
		if (node->boot == event->a)
			return_node(core, n);
		break;
	default:
		core_fail(core, "member event %u", event->kind);
	}
}
