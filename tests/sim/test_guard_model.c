/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The race between a hit and a revocation, as a model: the steps of
 * docs/coherence.md, "Frame word, guards, completion", in every interleaving
 * with store buffers. The full lists are right; each list with one step left
 * out is wrong in some scenario, so no step is there for nothing.
 * test_guard_code.c runs the same scenarios with the product's own functions.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "step.h"
#include "tp_types.h"

enum var { WORD, DATA, WORD_2, DATA_2, HAZARD_A, HAZARD_B, COPY, CLOCK };

#define WORD_MAKE(sequence, access) ((uint64_t)(sequence) << 4 | (access))
#define WORD_ACCESS(word) ((word) & 3)
#define GARBAGE 55		/* another page's contents */

/* The steps that can be left out, one at a time. */
#define STEP_LIST(STEP)									\
	STEP(write_announce,   "write hit: name the page in the hazard slot")		\
	STEP(write_fence_1,    "write hit: full fence before the check of the word")	\
	STEP(write_check,      "write hit: check the word's access")			\
	STEP(write_fence_2,    "write hit: full fence after the store")			\
	STEP(write_overdue,    "write hit: ask at the end whether the guard is overdue") \
	STEP(read_check_1,     "read hit: check the word's access")		\
	STEP(read_check_2,     "read hit: see after the data that the word is the same")		\
	STEP(node_unpublish,   "node: unpublish the word")				\
	STEP(node_fence,       "node: full fence before it looks at the guards")	\
	STEP(node_scan,        "node: wait for the guards")				\
	STEP(node_copy_last,   "node: copy only once the guards are clear")		\
	STEP(word_sequence,    "node: a new sequence number in each word")

enum step {
	STEP_NONE,
#define STEP_AS_ENUM(name, text) STEP_##name,
	STEP_LIST(STEP_AS_ENUM)
	STEP_COUNT
};

static enum step left_out;

static bool
has(enum step step)
{
	return step != left_out;
}

struct client {
	unsigned int hazard;
	unsigned int op;		/* first operation of this client */
	unsigned int write_page;	/* 0, 1; variables of the page */
	unsigned int read_page;
	uint64_t value;
};

static void
write_hit(const struct client *c)
{
	unsigned int word = WORD + 2 * c->write_page, data = DATA + 2 * c->write_page;
	struct history_op what = { .kind = TP_ATOMIC_STORE, .operand = c->value,
		.word = c->write_page, .client = c->op };
	bool overdue;

	step_invoke(c->op, &what);
	if (has(STEP_write_announce))
		step_store(c->hazard, word + 1);
	if (has(STEP_write_fence_1))
		step_fence();
	if (has(STEP_write_check) && WORD_ACCESS(step_load(word)) != TP_ACCESS_WRITE) {
		step_store(c->hazard, 0);
		step_respond(c->op, 0, HISTORY_NOT_DONE);
		return;
	}
	step_store(data, c->value);
	if (has(STEP_write_fence_2))
		step_fence();
	overdue = has(STEP_write_overdue) && step_load(CLOCK) != 0;
	step_store(c->hazard, 0);
	step_respond(c->op, 0, overdue ? HISTORY_UNKNOWN : HISTORY_DONE);
}

static void
read_hit(const struct client *c, unsigned int op)
{
	unsigned int word = WORD + 2 * c->read_page, data = DATA + 2 * c->read_page;
	struct history_op what = { .kind = TP_ATOMIC_LOAD, .word = c->read_page,
		.client = c->op, .has_result = true };
	uint64_t before, value;

	step_invoke(op, &what);
	before = step_load(word);
	if (has(STEP_read_check_1) && WORD_ACCESS(before) == TP_ACCESS_NONE) {
		step_respond(op, 0, HISTORY_NOT_DONE);
		return;
	}
	value = step_load(data);
	if (has(STEP_read_check_2) && step_load(word) != before) {
		step_respond(op, 0, HISTORY_NOT_DONE);
		return;
	}
	step_respond(op, value, HISTORY_DONE);
}

static void
actor_writer(void *ctx)
{
	write_hit(ctx);
}

static void
actor_reader(void *ctx)
{
	const struct client *c = ctx;

	read_hit(c, c->op);
}

static void
actor_write_then_read(void *ctx)
{
	const struct client *c = ctx;

	write_hit(c);
	read_hit(c, c->op + 1);
}

static void
actor_clock(void *ctx)
{
	/* The guard lease passes: the same instant for everybody. */
	step_remote_store(CLOCK, 1);
}

/* Unpublish and wait the guards out. */
static void
node_revoke(uint64_t word)
{
	if (has(STEP_node_unpublish))
		step_store(WORD, word);
	if (has(STEP_node_fence))
		step_fence();
	if (!has(STEP_node_scan))
		return;
	step_mark();
	if (step_load(HAZARD_A) == WORD + 1 || step_load(HAZARD_B) == WORD + 1) {
		/* Look again next turn, or break a guard that is overdue. */
		if (step_load(CLOCK) == 0)
			step_again();
	}
}

/* Give the page away; what the clients wrote must be in what left. */
static void
actor_node_takes(void *ctx)
{
	static const struct history_op final = { .kind = TP_ATOMIC_LOAD, .operand = COPY,
		.client = 7 };
	uint64_t copy = 0;

	if (!has(STEP_node_copy_last))
		copy = step_load(DATA);
	node_revoke(WORD_MAKE(2, TP_ACCESS_NONE));
	if (has(STEP_node_copy_last))
		copy = step_load(DATA);
	step_remote_store(COPY, copy);
	step_final(7, &final);
}

/* The page leaves and is written elsewhere; its slot holds another page, then this one again. */
static void
actor_node_reuses(void *ctx)
{
	static const struct history_op remote = { .kind = TP_ATOMIC_STORE, .operand = 9,
		.client = 7 };

	node_revoke(has(STEP_word_sequence) ? WORD_MAKE(2, TP_ACCESS_NONE) : TP_ACCESS_NONE);
	step_invoke(7, &remote);
	step_remote_store(COPY, 9);
	step_respond(7, 0, HISTORY_DONE);
	step_store(DATA, GARBAGE);
	step_store(DATA, 9);
	step_store(WORD, has(STEP_word_sequence) ? WORD_MAKE(3, TP_ACCESS_READ) :
		   WORD_MAKE(1, TP_ACCESS_WRITE));
}

static struct client client_a = { .hazard = HAZARD_A, .op = 0, .write_page = 0, .read_page = 1,
	.value = 1 };
static struct client client_b = { .hazard = HAZARD_B, .op = 2, .write_page = 1, .read_page = 0,
	.value = 2 };
static struct client client_c = { .hazard = HAZARD_B, .op = 4, .write_page = 0, .value = 3 };

#define PUBLISHED { [WORD] = WORD_MAKE(1, TP_ACCESS_WRITE), [WORD_2] = WORD_MAKE(1, TP_ACCESS_WRITE) }

static const struct scenario {
	const char *name;
	struct step_model model;
} scenarios[] = {
	{ "two writers, one node that takes the page",
	  { .actor_count = 3, .actor = { actor_writer, actor_writer, actor_node_takes },
	    .ctx = { &client_a, &client_c, NULL }, .initial = PUBLISHED, .history_words = 1 } },
	{ "a writer whose guard goes overdue",
	  { .actor_count = 3, .actor = { actor_writer, actor_clock, actor_node_takes },
	    .ctx = { &client_a, NULL, NULL }, .initial = PUBLISHED, .history_words = 1 } },
	{ "readers of a slot that is used again",
	  { .actor_count = 3, .actor = { actor_reader, actor_reader, actor_node_reuses },
	    .ctx = { &client_b, &client_c, NULL }, .initial = PUBLISHED, .history_words = 1 } },
	{ "store buffering between two clients of a node",
	  { .actor_count = 2, .actor = { actor_write_then_read, actor_write_then_read },
	    .ctx = { &client_a, &client_b }, .initial = PUBLISHED, .history_words = 2 } },
};
#define SCENARIOS (sizeof(scenarios) / sizeof(scenarios[0]))

static void
explore(const struct scenario *scenario, bool sequential, struct step_outcome *outcome)
{
	struct step_model model = scenario->model;

	model.sequential = sequential;
	model.states_max = 1u << 20;
	step_explore(&model, outcome);
}

static void
test_guard_full_lists_are_right(void **state)
{
	struct step_outcome outcome;
	size_t i;

	left_out = STEP_NONE;
	for (i = 0; i < SCENARIOS; i++) {
		explore(&scenarios[i], false, &outcome);
		print_message("%s: %u states\n", scenarios[i].name, (unsigned int)outcome.states);
		if (outcome.violation || outcome.stuck)
			fail_msg("%s: %s", scenarios[i].name, outcome.trace);
		assert_true(outcome.runs > 0);
	}
}

static void
test_guard_each_step_left_out_is_caught(void **state)
{
	static const char *const names[] = {
		"",
#define STEP_AS_NAME(name, text) text,
		STEP_LIST(STEP_AS_NAME)
	};
	struct step_outcome outcome;
	unsigned int step;

	for (step = STEP_NONE + 1; step < STEP_COUNT; step++) {
		const char *caught_by = NULL;
		size_t i;

		left_out = (enum step)step;
		for (i = 0; i < SCENARIOS && caught_by == NULL; i++) {
			explore(&scenarios[i], false, &outcome);
			if (outcome.violation)
				caught_by = scenarios[i].name;
		}
		print_message("without \"%s\": %s\n", names[step],
			      caught_by == NULL ? "NOT CAUGHT" : caught_by);
		assert_non_null(caught_by);
	}
}

/* The fences are there for the store buffers: without those nothing needs them. */
static void
test_guard_fences_matter_only_with_store_buffers(void **state)
{
	static const enum step fences[] = { STEP_write_fence_1, STEP_write_fence_2,
		STEP_node_fence };
	struct step_outcome outcome;
	size_t f, i;

	for (f = 0; f < sizeof(fences) / sizeof(fences[0]); f++) {
		left_out = fences[f];
		for (i = 0; i < SCENARIOS; i++) {
			explore(&scenarios[i], true, &outcome);
			assert_false(outcome.violation);
			assert_false(outcome.stuck);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_guard_full_lists_are_right),
		cmocka_unit_test(test_guard_each_step_left_out_is_caught),
		cmocka_unit_test(test_guard_fences_matter_only_with_store_buffers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
