/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Depth first over all states, with a table of those seen. Drains are steps like
 * any other; a load takes the newest own store of that variable from the buffer,
 * fences and locked instructions wait until the buffer is empty.
 */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "step.h"
#include "tp_types.h"

enum access_kind { ACCESS_LOAD, ACCESS_STORE, ACCESS_EXCHANGE, ACCESS_ADD, ACCESS_OR, ACCESS_FENCE,
	ACCESS_REMOTE, ACCESS_AWAIT, ACCESS_AGAIN, ACCESS_END };

struct access {
	uint8_t kind;
	uint8_t var;
	uint64_t value;
};

struct actor_state {
	uint64_t seen[STEP_ACCESSES];	/* result of each access made */
	uint64_t buffer_value[STEP_BUFFER];
	uint8_t buffer_var[STEP_BUFFER];
	uint8_t access_count;
	uint8_t buffered;
	uint8_t mark;			/* where step_again() goes back to */
	bool ended;
};

struct state {
	uint64_t memory[STEP_VARS];
	struct actor_state actor[STEP_ACTORS];
	struct history_op ops[STEP_OPS];	/* stamps are the order of events */
	bool final[STEP_OPS];
	uint8_t clock;
};

struct explorer {
	const struct step_model *model;
	struct step_outcome *outcome;
	uint64_t *seen;			/* hashes, pairs, open addressing */
	uint64_t seen_slots;
	uint16_t path[4096];
	unsigned int depth;
};

/* What the actor that is being run meets; the explorer is single-threaded. */
static struct {
	struct state *state;		/* events are applied here, if applying */
	const struct actor_state *actor;
	jmp_buf exit;
	struct access next;
	unsigned int position;
	unsigned int mark;
	unsigned int invoke_at;		/* position whose invocations count */
	unsigned int respond_at;	/* position whose responses count */
} run;

static uint64_t
run_access(uint8_t kind, unsigned int var, uint64_t value)
{
	if (run.position < run.actor->access_count)
		return run.actor->seen[run.position++];
	run.next = (struct access){ .kind = kind, .var = (uint8_t)var, .value = value };
	longjmp(run.exit, 1);
}

uint64_t
step_load(unsigned int var)
{
	return run_access(ACCESS_LOAD, var, 0);
}

void
step_store(unsigned int var, uint64_t value)
{
	run_access(ACCESS_STORE, var, value);
}

uint64_t
step_exchange(unsigned int var, uint64_t value)
{
	return run_access(ACCESS_EXCHANGE, var, value);
}

uint64_t
step_add(unsigned int var, uint64_t operand)
{
	return run_access(ACCESS_ADD, var, operand);
}

uint64_t
step_or(unsigned int var, uint64_t operand)
{
	return run_access(ACCESS_OR, var, operand);
}

void
step_fence(void)
{
	run_access(ACCESS_FENCE, 0, 0);
}

void
step_remote_store(unsigned int var, uint64_t value)
{
	run_access(ACCESS_REMOTE, var, value);
}

void
step_await(unsigned int var, uint64_t value)
{
	run_access(ACCESS_AWAIT, var, value);
}

void
step_mark(void)
{
	run.mark = run.position;
}

_Noreturn void
step_again(void)
{
	run_access(ACCESS_AGAIN, 0, 0);
	abort();	/* the access never returns: seen is cut back to the mark */
}

void
step_invoke(unsigned int op, const struct history_op *what)
{
	if (run.state == NULL || run.position != run.invoke_at)
		return;
	run.state->ops[op] = *what;
	run.state->ops[op].invoke = ++run.state->clock;
	run.state->ops[op].response = HISTORY_NEVER;
	run.state->ops[op].outcome = HISTORY_UNKNOWN;
}

void
step_respond(unsigned int op, uint64_t result, uint8_t outcome)
{
	struct history_op *o;

	if (run.state == NULL || run.position != run.respond_at)
		return;
	o = &run.state->ops[op];
	o->outcome = outcome;
	o->result = result;
	if (outcome == HISTORY_DONE)
		o->response = ++run.state->clock;
}

void
step_final(unsigned int op, const struct history_op *what)
{
	if (run.state == NULL || run.position != run.respond_at)
		return;
	run.state->ops[op] = *what;
	run.state->final[op] = true;
}

/* Run one actor to its next access; events at the given positions take effect. */
static void
actor_run(const struct step_model *model, unsigned int actor, struct state *state,
	  unsigned int invoke_at, unsigned int respond_at)
{
	run.state = state;
	run.actor = &state->actor[actor];
	run.position = 0;
	run.mark = 0;
	run.invoke_at = invoke_at;
	run.respond_at = respond_at;
	if (setjmp(run.exit) == 0) {
		model->actor[actor](model->ctx[actor]);
		run.next = (struct access){ .kind = ACCESS_END };
	}
	state->actor[actor].mark = (uint8_t)run.mark;
}

static uint64_t
load_forwarded(const struct state *s, unsigned int actor, unsigned int var)
{
	const struct actor_state *a = &s->actor[actor];
	unsigned int i;

	for (i = a->buffered; i-- > 0; ) {
		if (a->buffer_var[i] == var)
			return a->buffer_value[i];
	}
	return s->memory[var];
}

static void
buffer_drain(struct state *s, unsigned int actor)
{
	struct actor_state *a = &s->actor[actor];

	s->memory[a->buffer_var[0]] = a->buffer_value[0];
	a->buffered--;
	memmove(a->buffer_var, a->buffer_var + 1, a->buffered * sizeof(a->buffer_var[0]));
	memmove(a->buffer_value, a->buffer_value + 1,
		a->buffered * sizeof(a->buffer_value[0]));
	/* What lies behind the end is part of the state's hash. */
	a->buffer_var[a->buffered] = 0;
	a->buffer_value[a->buffered] = 0;
}

/* Can the access be made now? */
static bool
access_enabled(const struct step_model *model, const struct state *s, unsigned int actor,
	       const struct access *access)
{
	const struct actor_state *a = &s->actor[actor];

	switch (access->kind) {
	case ACCESS_FENCE:
	case ACCESS_EXCHANGE:
	case ACCESS_ADD:
	case ACCESS_OR:
		return a->buffered == 0;
	case ACCESS_STORE:
		return model->sequential || a->buffered < STEP_BUFFER;
	case ACCESS_AWAIT:
		return load_forwarded(s, actor, access->var) == access->value;
	default:
		return true;
	}
}

static uint64_t
access_make(const struct step_model *model, struct state *s, unsigned int actor,
	    const struct access *access)
{
	struct actor_state *a = &s->actor[actor];
	uint64_t old = s->memory[access->var];

	switch (access->kind) {
	case ACCESS_LOAD:
		return load_forwarded(s, actor, access->var);
	case ACCESS_STORE:
		if (model->sequential) {
			s->memory[access->var] = access->value;
			return 0;
		}
		a->buffer_var[a->buffered] = access->var;
		a->buffer_value[a->buffered++] = access->value;
		return 0;
	case ACCESS_EXCHANGE:
	case ACCESS_REMOTE:
		s->memory[access->var] = access->value;
		return old;
	case ACCESS_ADD:
		s->memory[access->var] = old + access->value;
		return old;
	case ACCESS_OR:
		s->memory[access->var] = old | access->value;
		return old;
	default:
		return 0;
	}
}

/* One step of an actor; false if it cannot. */
static bool
actor_step(struct explorer *x, struct state *s, unsigned int actor)
{
	struct actor_state *a = &s->actor[actor];
	unsigned int position = a->access_count;
	struct access access;

	if (a->ended)
		return false;
	actor_run(x->model, actor, s, UINT32_MAX, UINT32_MAX);
	access = run.next;
	if (access.kind == ACCESS_END) {
		a->ended = true;
		return true;
	}
	if (!access_enabled(x->model, s, actor, &access))
		return false;
	if (access.kind == ACCESS_AGAIN) {
		memset(&a->seen[a->mark], 0, (position - a->mark) * sizeof(a->seen[0]));
		a->access_count = a->mark;
		return true;
	}
	if (position == STEP_ACCESSES)
		abort();
	actor_run(x->model, actor, s, position, UINT32_MAX);
	a->seen[position] = access_make(x->model, s, actor, &access);
	a->access_count++;
	actor_run(x->model, actor, s, UINT32_MAX, position + 1);
	return true;
}

static uint64_t
hash_bytes(const void *data, size_t bytes, uint64_t h)
{
	const uint64_t *words = data;
	size_t i;

	for (i = 0; i < bytes / 8; i++) {
		h = (h ^ words[i]) * UINT64_C(0x9E3779B97F4A7C15);
		h ^= h >> 32;
	}
	return h;
}
_Static_assert(sizeof(struct state) % 8 == 0, "hashed by words");

static bool
state_is_new(struct explorer *x, const struct state *s)
{
	uint64_t a = hash_bytes(s, sizeof(*s), 1) | 1, b = hash_bytes(s, sizeof(*s), 77), i;

	for (i = a >> 8 & (x->seen_slots - 1); x->seen[2 * i] != 0;
	     i = (i + 1) & (x->seen_slots - 1)) {
		if (x->seen[2 * i] == a && x->seen[2 * i + 1] == b)
			return false;
	}
	x->seen[2 * i] = a;
	x->seen[2 * i + 1] = b;
	x->outcome->states++;
	return true;
}

/* All actors are at their end and all buffers empty: is what happened possible? */
static bool
end_is_good(const struct explorer *x, const struct state *s)
{
	uint32_t w, i;

	for (w = 0; w < x->model->history_words; w++) {
		struct history_op ops[STEP_OPS];
		uint32_t count = 0;

		for (i = 0; i < STEP_OPS; i++) {
			struct history_op op = s->ops[i];

			if (op.kind == 0 || op.word != w)
				continue;
			if (s->final[i]) {
				/* The step list names a variable; what is in it now counts. */
				op.result = s->memory[op.operand];
				op.operand = 0;
				op.has_result = true;
				op.outcome = HISTORY_DONE;
				op.invoke = 1000 + 2 * i;
				op.response = op.invoke + 1;
			}
			ops[count++] = op;
		}
		if (history_linearize(ops, count, 0, NULL, NULL) != HISTORY_OK)
			return false;
	}
	return true;
}

static void
path_print(struct explorer *x, const struct state *s)
{
	char *out = x->outcome->trace;
	size_t left = sizeof(x->outcome->trace), n;
	unsigned int i;

	for (i = 0; i < x->depth && left > 32; i++) {
		n = (size_t)snprintf(out, left, "%s%u ", x->path[i] >= STEP_ACTORS ? "drain" : "step",
				     x->path[i] % STEP_ACTORS);
		out += n;
		left -= n;
	}
	for (i = 0; i < STEP_OPS && left > 80; i++) {
		const struct history_op *op = &s->ops[i];

		if (op->kind == 0)
			continue;
		n = (size_t)snprintf(out, left, "\n  op %u word %u kind %u operand %u result %u [%d,%d]",
			i, op->word, op->kind, (unsigned int)op->operand, (unsigned int)op->result,
			(int)op->invoke, (int)op->response);
		out += n;
		left -= n;
	}
}

static void
explore(struct explorer *x, const struct state *s)
{
	bool moved = false, end = true;
	unsigned int i;

	for (i = 0; i < 2 * STEP_ACTORS && !x->outcome->violation && !x->outcome->stuck; i++) {
		unsigned int actor = i % STEP_ACTORS;
		struct state next;

		if (actor >= x->model->actor_count)
			continue;
		end &= s->actor[actor].ended && s->actor[actor].buffered == 0;
		next = *s;
		if (i >= STEP_ACTORS) {
			if (s->actor[actor].buffered == 0)
				continue;
			buffer_drain(&next, actor);
		} else if (!actor_step(x, &next, actor)) {
			continue;
		}
		moved = true;
		if (!state_is_new(x, &next))
			continue;
		if (x->outcome->states >= x->model->states_max || x->depth >= 4095) {
			x->outcome->stuck = true;
			return;
		}
		x->path[x->depth++] = (uint16_t)i;
		explore(x, &next);
		x->depth--;
	}
	if (moved || x->outcome->violation || x->outcome->stuck)
		return;
	if (!end) {
		x->outcome->stuck = true;
		path_print(x, s);
		return;
	}
	x->outcome->runs++;
	if (!end_is_good(x, s)) {
		x->outcome->violation = true;
		path_print(x, s);
	}
}

void
step_explore(const struct step_model *model, struct step_outcome *outcome)
{
	struct explorer *x = calloc(1, sizeof(*x));
	struct state first;
	unsigned int i;

	memset(outcome, 0, sizeof(*outcome));
	/* Padding is hashed too: all states descend from this one by copying. */
	memset(&first, 0, sizeof(first));
	memcpy(first.memory, model->initial, sizeof(first.memory));
	if (x == NULL)
		abort();
	x->model = model;
	x->outcome = outcome;
	x->seen_slots = 1;
	while (x->seen_slots < 2 * model->states_max)
		x->seen_slots *= 2;
	x->seen = calloc(x->seen_slots, 2 * sizeof(*x->seen));
	if (x->seen == NULL)
		abort();
	for (i = model->actor_count; i < STEP_ACTORS; i++)
		first.actor[i].ended = true;
	explore(x, &first);
	free(x->seen);
	free(x);
}
