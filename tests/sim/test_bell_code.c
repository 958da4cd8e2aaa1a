/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Going to sleep and being woken, docs/abi.md section 9, with the product's own
 * functions: those of tp_abi.h are compiled here with their atomics and fences
 * mapped to the step explorer, and run in every interleaving with store buffers.
 * A wake-up that is lost is a state from which nothing goes on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "step.h"

enum var { SLEEPS, REQUEST, BELL, WAITING, ASLEEP, ANSWER_A, ANSWER_B };

enum left_out { NOTHING, SLEEPER_FENCE, WAKER_FENCE, SLEEPER_LOOKS };

static enum left_out left_out;
static bool in_sleeper;

static int var_of(const volatile void *at);

static uint32_t
code_load(const volatile void *at)
{
	return (uint32_t)step_load((unsigned int)var_of(at));
}

static void
code_store(volatile void *at, uint32_t value)
{
	step_store((unsigned int)var_of(at), value);
}

static void
code_fence(void)
{
	if (left_out != (in_sleeper ? SLEEPER_FENCE : WAKER_FENCE))
		step_fence();
}

#undef atomic_load_explicit
#undef atomic_store_explicit
#undef atomic_thread_fence
#define atomic_load_explicit(at, order) code_load(at)
#define atomic_store_explicit(at, value, order) code_store((at), (value))
#define atomic_thread_fence(order) code_fence()

#include "tp_abi.h"

static struct tp_abi_bell bell;
static struct tp_abi_thread thread;

static int
var_of(const volatile void *at)
{
	if (at == &bell.sleeps)
		return SLEEPS;
	if (at == &thread.waiting)
		return WAITING;
	assert_true(!"a word of no scenario");
	return -1;
}

/* A worker that sleeps unless it finds the request. */
static void
actor_worker(void *ctx)
{
	bool found;

	in_sleeper = true;
	tp_abi_bell_arm(&bell);
	found = left_out != SLEEPER_LOOKS && step_load(REQUEST) != 0;
	if (!found)
		step_await(BELL, 1);
	in_sleeper = true;
	tp_abi_bell_disarm(&bell);
	/* Awake it looks at all rings. */
	step_await(REQUEST, 1);
}

static void
actor_client(void *ctx)
{
	in_sleeper = false;
	step_store(REQUEST, 1);
	/* A system call: it takes effect after all that this actor stored. */
	if (tp_abi_bell_asleep(&bell) != 0)
		step_remote_store(BELL, 1);
}

/* futex(2): in the queue first, then a look at the value; see kernel/futex/waitwake.c. */
static void
futex_wait(void)
{
	step_remote_store(ASLEEP, 1);
	step_fence();
	if (step_load(WAITING) != 1)
		step_remote_store(ASLEEP, 0);
	else
		step_await(ASLEEP, 0);
}

static void
futex_wake(void)
{
	step_fence();
	step_remote_store(ASLEEP, 0);
}

static bool
has_answers(uintptr_t wanted)
{
	if (left_out == SLEEPER_LOOKS)
		return false;
	return step_load(ANSWER_A) != 0 && (wanted == 1 || step_load(ANSWER_B) != 0);
}

/* A thread that waits for one answer, or for those of two workers. */
static void
actor_thread(void *ctx)
{
	uintptr_t wanted = (uintptr_t)ctx;
	uintptr_t sleeps;

	/* Then it stays awake: what counts is that each sleep ends. */
	for (sleeps = 0; sleeps < wanted; sleeps++) {
		in_sleeper = true;
		tp_abi_thread_wait_begin(&thread);
		if (has_answers(wanted))
			break;
		futex_wait();
		in_sleeper = true;
		tp_abi_thread_wait_end(&thread);
	}
	step_await(ANSWER_A, 1);
	if (wanted > 1)
		step_await(ANSWER_B, 1);
}

static void
actor_answers(void *ctx)
{
	in_sleeper = false;
	step_store((unsigned int)(uintptr_t)ctx, 1);
	in_sleeper = false;
	tp_abi_fence();
	in_sleeper = false;
	if (tp_abi_thread_wake_needed(&thread))
		futex_wake();
}

#define WORD(value) ((void *)(uintptr_t)(value))

static const struct scenario {
	const char *name;
	struct step_model model;
} scenarios[] = {
	{ "a request and a worker that goes to sleep",
	  { .actor_count = 2, .actor = { actor_worker, actor_client } } },
	{ "two requests and a worker that goes to sleep",
	  { .actor_count = 3, .actor = { actor_worker, actor_client, actor_client } } },
	{ "an answer and a thread that goes to sleep",
	  { .actor_count = 2, .actor = { actor_thread, actor_answers },
	    .ctx = { WORD(1), WORD(ANSWER_A) } } },
	{ "answers of two workers and a thread that waits for both",
	  { .actor_count = 3, .actor = { actor_thread, actor_answers, actor_answers },
	    .ctx = { WORD(2), WORD(ANSWER_A), WORD(ANSWER_B) } } },
};
#define SCENARIOS (sizeof(scenarios) / sizeof(scenarios[0]))

static void
explore(const struct scenario *scenario, struct step_outcome *outcome)
{
	struct step_model model = scenario->model;

	model.states_max = 1u << 20;
	step_explore(&model, outcome);
	assert_true(outcome->states < model.states_max);
	assert_false(outcome->violation);
}

static void
test_bell_no_wake_up_is_lost(void **state)
{
	struct step_outcome outcome;
	size_t i;

	left_out = NOTHING;
	for (i = 0; i < SCENARIOS; i++) {
		explore(&scenarios[i], &outcome);
		print_message("%s: %u states\n", scenarios[i].name, (unsigned int)outcome.states);
		if (outcome.stuck)
			fail_msg("%s: %s", scenarios[i].name, outcome.trace);
		assert_true(outcome.runs > 0);
	}
}

static void
test_bell_each_step_left_out_is_caught(void **state)
{
	static const enum left_out steps[] = { SLEEPER_FENCE, WAKER_FENCE, SLEEPER_LOOKS };
	struct step_outcome outcome;
	size_t s, i;

	for (s = 0; s < sizeof(steps) / sizeof(steps[0]); s++) {
		left_out = steps[s];
		for (i = 0; i < SCENARIOS; i++) {
			explore(&scenarios[i], &outcome);
			if (!outcome.stuck)
				fail_msg("without step %d: %s: not caught", steps[s],
					 scenarios[i].name);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bell_no_wake_up_is_lost),
		cmocka_unit_test(test_bell_each_step_left_out_is_caught),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
