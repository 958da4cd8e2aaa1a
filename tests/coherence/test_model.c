/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Interleavings: all of some small scenarios, and random ones with faults.
 * MODEL_SEEDS and MODEL_RUNS in the environment make it longer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "model.h"

#ifdef MODEL_LONG
#define SEEDS 60000
#define RUNS 60000
#else
#define SEEDS 600
#define RUNS 400
#endif

static uint64_t
setting(const char *name, uint64_t value)
{
	const char *text = getenv(name);

	return text != NULL ? strtoull(text, NULL, 0) : value;
}

static void
walk(struct model model)
{
	static struct model_choices choices;
	uint64_t runs = setting("MODEL_RUNS", RUNS);
	const char *failure;

	choices = (struct model_choices){ .given = 0 };
	do {
		failure = model_run(&model, &choices, false);
		if (failure != NULL) {
			choices.given = choices.count;
			model_run(&model, &choices, true);
			fail_msg("%s", failure);
		}
	} while (--runs != 0 && model_next(&choices));
}

static const struct model two_writers = {
	.nodes = 3, .home_count = 1, .pages = 1, .cache_slots = 4, .hold_guards = true,
	.op_count = 3, .op = { { 1, 0, 'w' }, { 2, 0, 'w' }, { 0, 0, 'r' } },
};

static const struct model upgrade_race = {
	.nodes = 3, .home_count = 1, .pages = 1, .cache_slots = 4,
	.op_count = 4, .op = { { 1, 0, 'r' }, { 2, 0, 'r' }, { 1, 0, 'w' }, { 2, 0, 'w' } },
};

static const struct model home_takes_part = {
	.nodes = 2, .home_count = 1, .pages = 1, .cache_slots = 4, .hold_guards = true,
	.op_count = 3, .op = { { 0, 0, 'w' }, { 1, 0, 'w' }, { 0, 0, 'r' } },
};

static const struct model atomics = {
	.nodes = 3, .home_count = 1, .pages = 1, .cache_slots = 4,
	.op_count = 3, .op = { { 1, 0, 'w' }, { 2, 0, 'a' }, { 1, 0, 'a' } },
};

static const struct model flush_race = {
	.nodes = 3, .home_count = 1, .pages = 1, .cache_slots = 4,
	.op_count = 3, .op = { { 1, 0, 'w' }, { 1, 0, 'f' }, { 2, 0, 'w' } },
};

static const struct model coarse_sharers = {
	.nodes = 3, .home_count = 1, .pages = 1, .cache_slots = 4, .node_id_max = 300,
	.op_count = 3, .op = { { 1, 0, 'r' }, { 2, 0, 'w' }, { 1, 0, 'r' } },
};

static const struct model lost_session = {
	.nodes = 2, .home_count = 1, .pages = 1, .cache_slots = 4, .losses = 1,
	.op_count = 2, .op = { { 1, 0, 'w' }, { 0, 0, 'r' } },
};

static const struct model lost_forward = {
	.nodes = 3, .home_count = 1, .pages = 1, .cache_slots = 4, .losses = 1,
	.op_count = 2, .op = { { 1, 0, 'w' }, { 2, 0, 'w' } },
};

/* Node 1's answer is lost with its session; node 2 asks after it, and node 1 adds again. */
static const struct model settled_elsewhere = {
	.nodes = 3, .home_count = 1, .pages = 1, .cache_slots = 4, .losses = 1,
	.op_count = 3, .op = { { 1, 0, 'a' }, { 2, 0, 'S' }, { 1, 0, 'a' } },
};

static const struct model crash_of_owner = {
	.nodes = 3, .home_count = 1, .pages = 1, .cache_slots = 4, .crash = true,
	.op_count = 3, .op = { { 2, 0, 'w' }, { 1, 0, 'w' }, { 1, 0, 'r' } },
};

#define WALK(name)					\
	static void test_model_##name##_holds(void **state)	\
	{						\
		walk(name);				\
	}
WALK(two_writers)
WALK(upgrade_race)
WALK(home_takes_part)
WALK(atomics)
WALK(flush_race)
WALK(coarse_sharers)
WALK(lost_session)
WALK(lost_forward)
WALK(settled_elsewhere)
WALK(crash_of_owner)

static void
test_model_random_scenarios_hold(void **state)
{
	uint64_t seeds = setting("MODEL_SEEDS", SEEDS);
	static struct model_choices choices;
	static struct model model;

	for (uint64_t seed = 0; seed < seeds; seed++) {
		const char *failure;

		model_random(&model, seed);
		choices.given = 0;
		choices.random = seed + 1;
		failure = model_run(&model, &choices, false);
		if (failure == NULL)
			continue;
		model_run(&model, &choices, true);
		fail_msg("seed %lu: %s", (unsigned long)seed, failure);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_model_two_writers_holds),
		cmocka_unit_test(test_model_upgrade_race_holds),
		cmocka_unit_test(test_model_home_takes_part_holds),
		cmocka_unit_test(test_model_atomics_holds),
		cmocka_unit_test(test_model_flush_race_holds),
		cmocka_unit_test(test_model_coarse_sharers_holds),
		cmocka_unit_test(test_model_lost_session_holds),
		cmocka_unit_test(test_model_lost_forward_holds),
		cmocka_unit_test(test_model_settled_elsewhere_holds),
		cmocka_unit_test(test_model_crash_of_owner_holds),
		cmocka_unit_test(test_model_random_scenarios_hold),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
