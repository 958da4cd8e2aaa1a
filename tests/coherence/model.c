/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 */
#include <stdio.h>
#include <string.h>

#include "coherence_priv.h"
#include "model.h"
#include "net.h"

uint64_t model_cache_cells[32];
uint64_t model_home_cells[32];

#define REPEAT_NS_MAX UINT64_C(1000000000)	/* repeats come sooner, deadlines later */

enum step_kind {
	STEP_DELIVER,
	STEP_FINISH,
	STEP_ISSUE,
	STEP_UP,
	STEP_FENCE,
	STEP_DOWN,
	STEP_CRASH,
	STEP_TIMER,
};

struct step {
	uint8_t kind;
	uint16_t a;
	uint16_t b;
};

struct run {
	const struct model *model;
	struct model_choices *choices;
	struct net *net;
	uint32_t issued;
	uint32_t losses;
	uint32_t timers;
	bool down[NET_NODES_MAX][NET_NODES_MAX];
	bool crashed;
	bool fenced;
	struct step steps[NET_FLIGHTS_MAX + NET_OPS_MAX + 64];
	uint32_t step_count;
};

static void
step_add(struct run *run, enum step_kind kind, uint32_t a, uint32_t b)
{
	run->steps[run->step_count++] =
		(struct step){ .kind = (uint8_t)kind, .a = (uint16_t)a, .b = (uint16_t)b };
}

static bool
is_first_of_kind(const struct net *net, uint32_t i)
{
	for (uint32_t j = 0; j < i; j++)
		if (net->flight[j].from == net->flight[i].from &&
		    net->flight[j].to == net->flight[i].to &&
		    memcmp(&net->flight[j].msg, &net->flight[i].msg,
			    sizeof(net->flight[i].msg)) == 0)
			return false;
	return true;
}

static void
steps_of_faults(struct run *run)
{
	const struct model *model = run->model;
	uint16_t last = model->nodes - 1;

	for (uint16_t a = 0; a < model->nodes; a++) {
		for (uint16_t b = 0; b < a; b++) {
			if (run->crashed && a == last)
				continue;
			if (run->down[a][b])
				step_add(run, STEP_UP, a, b);
			else if (run->losses < model->losses && run->net->flight_count != 0)
				step_add(run, STEP_DOWN, a, b);
		}
	}
	if (run->crashed && !run->fenced)
		step_add(run, STEP_FENCE, last, 0);
	if (model->crash && !run->crashed && run->issued != 0)
		step_add(run, STEP_CRASH, last, 0);
	if (run->timers < model->timers && run->issued != 0)
		step_add(run, STEP_TIMER, 0, 0);
}

static void
steps_find(struct run *run)
{
	struct net *net = run->net;

	run->step_count = 0;
	for (uint32_t i = 0; i < net->flight_count; i++)
		if (is_first_of_kind(net, i))
			step_add(run, STEP_DELIVER, i, 0);
	for (uint32_t i = 0; i < net->op_count; i++)
		if (net->op[i].completed && !net->op[i].finished)
			step_add(run, STEP_FINISH, i, 0);
	if (run->issued < run->model->op_count)
		step_add(run, STEP_ISSUE, run->issued, 0);
	steps_of_faults(run);
}

static uint32_t
choose(struct run *run, uint32_t of)
{
	struct model_choices *choices = run->choices;
	uint32_t at = choices->count;
	uint32_t taken = 0;

	if (of == 1 || at == MODEL_CHOICES_MAX)
		return 0;
	if (at < choices->given)
		taken = choices->taken[at] % of;
	else if (choices->random != 0)
		taken = (uint32_t)(net_random(run->net) % of);
	choices->taken[at] = (uint16_t)taken;
	choices->of[at] = (uint16_t)of;
	choices->count++;
	return taken;
}

static void
issue(struct run *run, const struct model_op *op)
{
	if (run->crashed && op->node == run->model->nodes - 1)
		return;
	switch (op->what) {
	case 'r':
		net_read(run->net, op->node, op->page);
		break;
	case 'w':
		net_write(run->net, op->node, op->page);
		break;
	case 'a':
		net_add(run->net, op->node, op->page);
		break;
	case 's':
		net_settle(run->net, op->node, op->page);
		break;
	case 'S':
		net_settle_foreign(run->net, op->node, op->page);
		break;
	case 'f':
		net_want(run->net, op->node, op->page, TP_WANT_FLUSH);
		break;
	default:
		net_want(run->net, op->node, op->page, TP_WANT_INVALIDATE);
		break;
	}
}

static void
trace_print(const struct run *run, const struct step *step)
{
	static const char *const kinds[] = { "deliver", "finish", "issue", "up", "fence", "down",
					     "crash", "timer" };
	const struct net_flight *flight = &run->net->flight[step->a];

	fprintf(stderr, "%s %u %u", kinds[step->kind], step->a, step->b);
	if (step->kind == STEP_DELIVER)
		fprintf(stderr, ": msg %u flags %#x page %u from %u to %u txn %u seq %lu rq %u",
			flight->msg.type, flight->msg.flags, flight->msg.page_index, flight->from,
			flight->to, flight->msg.txn, (unsigned long)flight->msg.sequence,
			flight->msg.requester);
	if (step->kind == STEP_ISSUE)
		fprintf(stderr, ": node %u page %u %c", run->model->op[step->a].node,
			run->model->op[step->a].page, run->model->op[step->a].what);
	fprintf(stderr, "\n");
}

static void
states_print(const struct run *run)
{
	for (uint32_t page = 0; page < run->model->pages; page++) {
		fprintf(stderr, "   page %u home %s:", page, net_home_state(run->net, page));
		for (uint16_t n = 0; n < run->model->nodes; n++)
			fprintf(stderr, " %s", net_cache_state(run->net, n, page));
		fprintf(stderr, "\n");
	}
}

static void
step_do(struct run *run, const struct step *step)
{
	struct net *net = run->net;

	switch (step->kind) {
	case STEP_DELIVER:
		net_deliver(net, step->a);
		break;
	case STEP_FINISH:
		net_finish(net, step->a);
		break;
	case STEP_ISSUE:
		run->issued++;
		issue(run, &run->model->op[step->a]);
		break;
	case STEP_UP:
		run->down[step->a][step->b] = false;
		net_session_up(net, step->a, step->b);
		break;
	case STEP_DOWN:
		run->losses++;
		run->down[step->a][step->b] = true;
		net_session_down(net, step->a, step->b);
		break;
	case STEP_FENCE:
		run->fenced = true;
		net_fence(net, step->a);
		break;
	case STEP_CRASH:
		run->crashed = true;
		net_crash(net, step->a);
		break;
	default:
		run->timers++;
		net_advance(net, REPEAT_NS_MAX);
		break;
	}
	net_check(net);
}

/* What is left where nothing should be. */
static void
idle_print(const struct run *run)
{
	const struct net *net = run->net;
	struct tp_coherence_usage usage;

	fprintf(stderr, "messages %u, credits %lu\n", net->flight_count,
		(unsigned long)net->tokens_out);
	for (uint16_t n = 0; n < net->config.nodes; n++) {
		tp_coherence_usage_get(net->node[n].engine, &usage);
		fprintf(stderr, "node %u: requests %u waiters %u busy %u deferred %u\n", n,
			usage.requests, usage.waiters, usage.busy, usage.deferred);
	}
	for (uint32_t i = 0; i < net->op_count; i++)
		if (!net->op[i].completed)
			fprintf(stderr, "op %u of node %u on page %u is open\n", i,
				net->op[i].node, net->op[i].page);
}

/* Atomics that a home may have run, or those that it surely has: once each. */
static uint32_t
atomics_count(const struct run *run, bool surely)
{
	const struct net *net = run->net;
	uint32_t count = 0;

	for (uint32_t i = 0; i < net->op_count; i++) {
		const struct net_op *op = &net->op[i];

		if (op->want != TP_WANT_ATOMIC)
			continue;
		if (op->executed || op->fate == FATE_RUN)
			count++;
		else if (!surely && op->fate != FATE_NEVER)
			count += op->result.effect == TP_EFFECT_UNKNOWN ||
				(run->crashed && op->node == run->model->nodes - 1);
	}
	return count;
}

/* Its client asked after it before it was answered. */
static bool
is_given_up(const struct net *net, uint32_t op)
{
	for (uint32_t i = op + 1; i < net->op_count; i++)
		if (net->op[i].want == TP_WANT_SETTLE && net->op[i].of == op)
			return true;
	return false;
}

/* Nothing is left to choose: everybody must have been answered. */
static const char *
run_end(struct run *run)
{
	struct net *net = run->net;

	if (net->failure != NULL)
		return net->failure;
	if (!net_is_idle(net))
		return "somebody was not answered, or something was not given back";
	if (net->atomics_run > atomics_count(run, false))
		return "an atomic was run twice, or is said to be not done";
	if (net->atomics_run < atomics_count(run, true))
		return "an atomic that is said to be done was not run";
	if (!run->crashed && net_stat_errors(net) != 0)
		return "protocol errors, bad messages or lost pages";
	for (uint32_t i = 0; i < net->op_count; i++)
		if (run->losses == 0 && !run->crashed && net->op[i].result.reason != TP_OK &&
		    !is_given_up(net, i))
			return "VOID without a fault";
	return NULL;
}

static void
cells_add(const struct net *net)
{
	for (uint16_t n = 0; n < net->config.nodes; n++) {
		for (int s = 0; s < CACHE_STATE_COUNT; s++)
			model_cache_cells[s] |= net->node[n].engine->cache_cells[s];
		for (int s = 0; s < HOME_STATE_COUNT; s++)
			model_home_cells[s] |= net->node[n].engine->home_cells[s];
	}
}

const char *
model_run(const struct model *model, struct model_choices *choices, bool trace)
{
	struct net_config config = {
		.nodes = model->nodes,
		.pages = model->pages,
		.home_count = model->home_count,
		.cache_slots = model->cache_slots,
		.bitmaps = model->bitmaps,
		.node_id_max = model->node_id_max,
		.hold_guards = model->hold_guards,
		.seed = choices->random,
		.mutant = model->mutant,
	};
	static struct run run;
	const char *failure;
	uint32_t turns = 0, idle = 0;

	memset(&run, 0, sizeof(run));
	run.model = model;
	run.choices = choices;
	run.net = net_create(&config);
	run.net->quiet = !trace;
	choices->count = 0;
	while (run.net->failure == NULL && ++turns < 20000) {
		struct step step;

		steps_find(&run);
		if (run.step_count == 0 || (run.step_count == 1 &&
					    run.steps[0].kind == STEP_TIMER)) {
			/* Only time can help now: repeats of what was lost. */
			if (net_is_idle(run.net) || idle++ == 200 || !net_advance(run.net, UINT64_MAX))
				break;
			continue;
		}
		step = run.steps[choose(&run, run.step_count)];
		if (trace)
			trace_print(&run, &step);
		step_do(&run, &step);
		if (trace)
			states_print(&run);
	}
	failure = run_end(&run);
	if (trace && failure != NULL)
		idle_print(&run);
	cells_add(run.net);
	net_destroy(run.net);
	return failure;
}

bool
model_next(struct model_choices *choices)
{
	uint32_t at = choices->count;

	while (at > 0 && choices->taken[at - 1] + 1 >= choices->of[at - 1])
		at--;
	if (at == 0)
		return false;
	choices->taken[at - 1]++;
	choices->given = at;
	return true;
}

void
model_random(struct model *model, uint64_t seed)
{
	static const char whats[] = "rrrrwwwwaaasSfi";
	struct net random = { .random_state = seed * 7919 + 1 };

	*model = (struct model){
		.nodes = (uint16_t)(2 + net_random(&random) % 3),
		.pages = (uint32_t)(1 + net_random(&random) % 3),
		.cache_slots = 4,
		.bitmaps = (uint32_t)(net_random(&random) % 2),
		.hold_guards = net_random(&random) % 2,
		.losses = (uint32_t)(net_random(&random) % 4),
		.crash = net_random(&random) % 4 == 0,
		.timers = (uint32_t)(net_random(&random) % 4),
		.op_count = (uint32_t)(4 + net_random(&random) % 40),
	};
	model->home_count = (uint16_t)(1 + net_random(&random) % model->nodes);
	if (model->crash && model->home_count == model->nodes)
		model->home_count--;
	if (net_random(&random) % 4 == 0)
		model->pages = 9;	/* more than there are slots */
	for (uint32_t i = 0; i < model->op_count; i++)
		model->op[i] = (struct model_op){
			.node = (uint8_t)(net_random(&random) % model->nodes),
			.page = (uint8_t)(net_random(&random) % model->pages),
			.what = whats[net_random(&random) % (sizeof(whats) - 1)],
		};
}
