/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Client programs of the core harness. Each step of a hit that others can see is
 * one event: begin (word checked, guard set), access. The steps inside those are
 * the matter of the step model (test_guard_model.c).
 */
#include "core.h"
#include "tp_types.h"

#define LATE_MAX (10 * SIM_US)	/* of an answer: a turn of the engine */

static struct core_client *
client_of(struct core *core, uint32_t n, uint32_t c)
{
	return &core->nodes[n].clients[c];
}

static void
schedule(struct core *core, uint32_t n, uint32_t c, uint64_t delay)
{
	struct core_client *client = client_of(core, n, c);

	core_event_add(core, delay, EVENT_CLIENT, n, (uint64_t)++client->serial << 8 | c, NULL);
}

/* Mostly busy, now and then away for a while. */
static uint64_t
think_ns(struct core *core, uint32_t n, uint32_t c)
{
	if (workload_is_paired(&core->workload, n * SIM_CLIENTS_MAX + c))
		return 1;
	if (sim_rng_chance(&core->rng, 850))
		return sim_rng_below(&core->rng, 60000);
	return sim_rng_between(&core->rng, SIM_MS, 80 * SIM_MS);
}

static uint64_t
hold_ns(struct core *core, const struct core_client *client)
{
	if (client->op.pinned)
		return sim_rng_between(&core->rng, 0, sim_rng_chance(&core->rng, 150) ?
			15 * SIM_MS : 2 * SIM_MS);
	return sim_rng_below(&core->rng, 3000);
}

/* It tells a program on another node of its unknown atomic: that one asks after it. */
static void
hand_on(struct core *core, uint32_t n, uint32_t c)
{
	struct core_client *client = client_of(core, n, c), *other;
	uint32_t to = (uint32_t)sim_rng_below(&core->rng, core->node_count);

	if (!client->atomic.unknown || !sim_rng_chance(&core->rng, 300))
		return;
	other = client_of(core, to, (uint32_t)sim_rng_below(&core->rng, core->clients_per_node));
	if (to == n || other->phase != CLIENT_THINKING || other->ops_left == 0 ||
	    other->atomic.unknown)
		return;
	workload_hand_on(&core->workload, &client->atomic.op);
	other->atomic = client->atomic;
	client->atomic.unknown = false;
}

static void
end(struct core *core, uint32_t n, uint32_t c, struct tp_result result, bool has_value,
    uint64_t value)
{
	struct core_client *client = client_of(core, n, c);

	core_trace(core, "end", n << 8 | c, result.reason << 8 | result.effect, value);
	/* What was done here under a guard that broke has no home that knows of it. */
	client->atomic.unknown = client->phase == CLIENT_WAITING && client->atomic.sequence != 0 &&
		result.effect == TP_EFFECT_UNKNOWN && sim_rng_chance(&core->rng, 800);
	hand_on(core, n, c);
	if (client->guard.active)
		core_guard_release(core, n, c);
	workload_end(&core->workload, n * SIM_CLIENTS_MAX + c, &client->op, result, has_value,
		value);
	client->phase = CLIENT_THINKING;
	schedule(core, n, c, think_ns(core, n, c));
}

static bool
wants_write(const struct core_client *client)
{
	return client->op.want != WORKLOAD_READ;
}

static bool
word_allows(const struct core_node *node, const struct core_client *client)
{
	uint8_t access = node->words[client->op.page].access;

	return wants_write(client) ? access == TP_ACCESS_WRITE : access != TP_ACCESS_NONE;
}

/* A long access: it asks for the pages that it will come to as well. */
static void
fetch_ahead(struct core *core, uint32_t n, uint32_t c, uint32_t w)
{
	struct core_node *node = &core->nodes[n];
	struct core_client *client = client_of(core, n, c);
	uint32_t count = 1 + sim_rng_below(&core->rng, core->workload.pages), i;

	for (i = 0; i < count; i++) {
		uint32_t page = sim_rng_below(&core->rng, core->workload.pages);

		if (tp_coherence_fetch(node->workers[w].engine, CORE_REGION, page,
				       node->region.generation, wants_write(client) ?
				       TP_WANT_WRITE : TP_WANT_READ, core->now,
				       &node->workers[w].outbox))
			core_trace(core, "ahead", n << 8 | c, page, 0);
		core_run(core, n, w);
	}
}

static void
ask_node(struct core *core, uint32_t n, uint32_t c)
{
	static const enum tp_coherence_want wants[] = { TP_WANT_READ, TP_WANT_WRITE,
		TP_WANT_ATOMIC, TP_WANT_FLUSH, TP_WANT_INVALIDATE };
	struct core_node *node = &core->nodes[n];
	struct core_client *client = client_of(core, n, c);
	uint32_t w = core_worker_of(core, node, client->op.page);
	struct tp_coherence_atomic atomic = { .op = client->op.atomic_op, .width = 8,
		.offset = client->op.word * 8, .operand = client->op.operand,
		.compare = client->op.compare,
		.origin = (uint64_t)(n + 1) << 48 |
			core->workload.clients[n * SIM_CLIENTS_MAX + c].id,
		.sequence = ++core->atomic_sequence };
	struct tp_coherence_client who = {
		.cookie = (uint64_t)++client->serial << 8 | c, .deadline = client->deadline };
	bool ahead;

	client->phase = CLIENT_WAITING;
	client->atomic = (struct core_atomic){ .op = client->op, .origin = atomic.origin,
		.since = core->now,
		.sequence = client->op.want == WORKLOAD_ATOMIC ? atomic.sequence : 0 };
	core_trace(core, "ask", n << 8 | c, client->op.want, client->op.page);
	ahead = client->op.want <= WORKLOAD_WRITE && sim_rng_chance(&core->rng, 400);
	node->workers[w].gathering = ahead;
	tp_coherence_request(node->workers[w].engine, CORE_REGION, client->op.page,
		node->region.generation, wants[client->op.want],
		client->op.want == WORKLOAD_ATOMIC ? &atomic : NULL, &who, core->now,
		&node->workers[w].outbox);
	core_run(core, n, w);
	if (ahead)
		fetch_ahead(core, n, c, w);
	core_gather_end(core, n, w);
}

static void
guard_set(struct core *core, struct core_node *node, struct core_client *client, uint32_t slot)
{
	client->guard = (struct core_guard){ .active = true, .write = wants_write(client),
		.page = client->op.page, .generation = client->op.generation, .slot = slot,
		.quarantined = CORE_NONE, .since = core->now,
		.until = core->now + CORE_GUARD_LEASE };
	if (node->lease_until < client->guard.until)
		client->guard.until = node->lease_until;
}

/* Try where the page is; else ask the node. */
static void
try(struct core *core, uint32_t n, uint32_t c)
{
	struct core_node *node = &core->nodes[n];
	struct core_client *client = client_of(core, n, c);
	struct core_word *word = &node->words[client->op.page];

	if (client->op.generation != node->generation) {
		/* The region has a new generation, or is being replaced. */
		end(core, n, c, tp_result_void(TP_GENERATION), false, 0);
		return;
	}
	if (client->op.want == WORKLOAD_FLUSH || client->op.want == WORKLOAD_INVALIDATE ||
	    !word_allows(node, client)) {
		ask_node(core, n, c);
		return;
	}
	client->phase = CLIENT_HIT;
	client->word_sequence = word->sequence;
	if (wants_write(client) || client->op.pinned) {
		guard_set(core, node, client, word->slot);
		/* A hit's guard counts from when the node first waits for it. */
		client->guard.until = node->lease_until;
	}
	client->guard.slot = word->slot;
	schedule(core, n, c, hold_ns(core, client));
}

/* The access itself, in the slot that the hit found or the node granted. */
static void
access_slot(struct core *core, uint32_t n, uint32_t c)
{
	struct core_node *node = &core->nodes[n];
	struct core_client *client = client_of(core, n, c);
	struct core_guard *guard = &client->guard;
	uint64_t *memory = &node->slots[guard->slot].word[client->op.word];
	struct history_op op = { .kind = client->op.atomic_op, .operand = client->op.operand,
		.compare = client->op.compare };
	bool guarded = guard->active, late = core->now >= node->lease_until ||
		(guarded && (guard->broken || core->now >= guard->until));
	uint64_t old = *memory;

	if (wants_write(client)) {
		*memory = history_apply(&op, old);
		if (late)
			end(core, n, c, tp_result_unknown(TP_TIMEOUT), false, 0);
		else
			end(core, n, c, tp_result_ok(8), client->op.want == WORKLOAD_ATOMIC, old);
		return;
	}
	if (late) {
		end(core, n, c, tp_result_void(TP_TIMEOUT), false, 0);
		return;
	}
	if (!guarded && node->words[client->op.page].sequence != client->word_sequence) {
		try(core, n, c);
		return;
	}
	end(core, n, c, tp_result_ok(8), true, old);
}

/*
 * An answer comes by the deadline. A machine that stood still gives it when it
 * goes on, however often in a row it was stopped: it counts from then.
 */
static void
check_in_time(struct core *core, uint32_t n, uint32_t c)
{
	uint64_t due = client_of(core, n, c)->deadline;

	if (due < core->nodes[n].paused_until)
		due = core->nodes[n].paused_until;
	if (core->now > due + LATE_MAX)
		core_fail(core, "node %u client %u: answered %u us late", n + 1, c,
			  (unsigned int)((core->now - due) / SIM_US));
}

/* Ask after the atomic that ended unknown, perhaps in an earlier life of the node. */
static void
settle(struct core *core, uint32_t n, uint32_t c)
{
	struct core_node *node = &core->nodes[n];
	struct core_client *client = client_of(core, n, c);
	uint32_t page = client->atomic.op.page, w = core_worker_of(core, node, page);
	struct tp_coherence_atomic atomic = { .origin = client->atomic.origin,
		.sequence = client->atomic.sequence };
	struct tp_coherence_client who;

	if (client->atomic.op.generation != node->generation) {
		client->atomic.unknown = false;
		schedule(core, n, c, think_ns(core, n, c));
		return;
	}
	client->deadline = core->now + sim_rng_between(&core->rng, SIM_MS, 300 * SIM_MS);
	who = (struct tp_coherence_client){ .cookie = (uint64_t)++client->serial << 8 | c,
		.deadline = client->deadline };
	client->phase = CLIENT_SETTLING;
	core_trace(core, "settle", n << 8 | c, page, atomic.sequence);
	tp_coherence_request(node->workers[w].engine, CORE_REGION, page, node->region.generation,
		TP_WANT_SETTLE, &atomic, &who, core->now, &node->workers[w].outbox);
	core_run(core, n, w);
}

static void
settled(struct core *core, uint32_t n, uint32_t c, const struct tp_action *action)
{
	struct core_client *client = client_of(core, n, c);
	uint64_t age = core->now - client->atomic.since;

	if (tp_result_is_ok(action->result) && (action->executed || age < action->value))
		workload_settle(&core->workload, &client->atomic.op, action->executed,
			action->value);
	else if (!tp_result_is_ok(action->result) &&
		 action->result.effect != TP_EFFECT_UNKNOWN)
		core_fail(core, "node %u client %u: a settlement was not done", n + 1, c);
	client->phase = CLIENT_THINKING;
	/* Some ask again. */
	client->atomic.unknown = !tp_result_is_ok(action->result) && !core->sweeping &&
		sim_rng_chance(&core->rng, 300);
	schedule(core, n, c, think_ns(core, n, c));
}

void
core_client_complete(struct core *core, uint32_t n, const struct tp_action *action)
{
	uint32_t c = action->cookie & 0xff;
	struct core_node *node = &core->nodes[n];
	struct core_client *client = client_of(core, n, c);

	if (c >= core->clients_per_node ||
	    (client->phase != CLIENT_WAITING && client->phase != CLIENT_SETTLING) ||
	    client->serial != (uint32_t)(action->cookie >> 8))
		core_fail(core, "node %u client %u: completed twice, or without a request", n + 1, c);
	check_in_time(core, n, c);
	core_trace(core, "complete", n << 8 | c, action->result.reason, action->access);
	if (client->phase == CLIENT_SETTLING) {
		settled(core, n, c, action);
		return;
	}
	if (!tp_result_is_ok(action->result)) {
		end(core, n, c, action->result, false, 0);
		return;
	}
	if (action->access == TP_ACCESS_NONE) {
		if (client->op.want == WORKLOAD_ATOMIC && !action->executed)
			core_fail(core, "node %u client %u: atomic neither executed nor granted",
				  n + 1, c);
		end(core, n, c, action->result, action->executed, action->value);
		return;
	}
	if (core->now >= node->lease_until) {
		/* The node may not grant now. */
		end(core, n, c, tp_result_void(TP_PARTITION), false, 0);
		return;
	}
	if (wants_write(client) && action->access != TP_ACCESS_WRITE)
		core_fail(core, "node %u client %u: write granted as read", n + 1, c);
	guard_set(core, node, client, action->slot);
	client->phase = CLIENT_GRANTED;
	schedule(core, n, c, hold_ns(core, client));
}

void
core_client_event(struct core *core, uint32_t n, uint32_t c, uint32_t serial)
{
	struct core_node *node = &core->nodes[n];
	struct core_client *client = client_of(core, n, c);

	if (!node->alive || client->serial != serial || client->phase == CLIENT_WAITING ||
	    client->phase == CLIENT_SETTLING || client->phase == CLIENT_OFF)
		return;
	if (client->phase != CLIENT_THINKING) {
		access_slot(core, n, c);
		return;
	}
	if (client->ops_left == 0 && !client->atomic.unknown)
		return;
	if (node->generation == CORE_NONE) {
		schedule(core, n, c, SIM_MS);
		return;
	}
	if (client->atomic.unknown) {
		settle(core, n, c);
		return;
	}
	client->ops_left--;
	if (core->sweeping)
		workload_begin_read(&core->workload, n * SIM_CLIENTS_MAX + c, node->generation,
			client->ops_left / core->workload.words,
			client->ops_left % core->workload.words, &client->op);
	else
		workload_begin(&core->workload, n * SIM_CLIENTS_MAX + c, node->generation,
			&client->op);
	client->deadline = core->now + sim_rng_between(&core->rng, 30 * SIM_MS, 400 * SIM_MS);
	/* Some do not wait: what they asked for is on its way when they ask after it. */
	if (client->op.want == WORKLOAD_ATOMIC && sim_rng_chance(&core->rng, 100))
		client->deadline = core->now + sim_rng_below(&core->rng, 200 * SIM_US);
	core_trace(core, "begin", n << 8 | c, client->op.want << 16 | client->op.page << 8 |
		   client->op.word, client->op.operand);
	try(core, n, c);
}

void
core_client_start(struct core *core, uint32_t n, uint32_t c, uint32_t ops)
{
	struct core_client *client = client_of(core, n, c);

	client->ops_left = ops;
	if (client->phase == CLIENT_OFF)
		workload_client_start(&core->workload, n * SIM_CLIENTS_MAX + c);
	client->phase = CLIENT_THINKING;
	schedule(core, n, c, sim_rng_below(&core->rng, 1000000));
}

/* The program dies: whatever it was doing may have been done. */
void
core_client_stop(struct core *core, uint32_t n, uint32_t c)
{
	struct core_client *client = client_of(core, n, c);
	uint32_t phase = client->phase, w;

	client->phase = CLIENT_OFF;
	client->serial++;
	if (phase == CLIENT_HIT || phase == CLIENT_WAITING || phase == CLIENT_GRANTED)
		workload_end(&core->workload, n * SIM_CLIENTS_MAX + c, &client->op,
			tp_result_unknown(TP_NODE_CRASHED), false, 0);
	/* It wrote down what it was doing: its next life asks after that. */
	if (phase == CLIENT_WAITING && client->atomic.sequence != 0)
		client->atomic.unknown = sim_rng_chance(&core->rng, 700);
	hand_on(core, n, c);
	if (client->guard.active)
		core_guard_release(core, n, c);
	for (w = 0; w < core->nodes[n].worker_count; w++)
		tp_coherence_client_gone(core->nodes[n].workers[w].engine, 0xff, c);
}
