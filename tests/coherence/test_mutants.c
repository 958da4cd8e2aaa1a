/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Every deliberate fault is caught by the checks of the random scenarios, but for
 * the one of batches, which the scenarios do not send: sim_mutants catches it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "model.h"
#include "persist_random.h"
#include "tp_coherence_mutants.h"

#define SEEDS 20000

static const char *const names[] = {
#define AS_NAME(name, help) #name,
	TP_COHERENCE_MUTANT_LIST(AS_NAME)
};

static const char *
scenario_run(uint64_t seed, int mutant)
{
	static struct model_choices choices;
	static struct model model;

	if (mutant == MUTANT_persist_old_home || mutant == MUTANT_forget_pool)
		return persist_random(seed, mutant);
	model_random(&model, seed);
	model.mutant = mutant;
	choices.given = 0;
	choices.random = seed + 1;
	return model_run(&model, &choices, false);
}

static void
test_mutant_any_is_caught(void **state)
{
	int survivors = 0;

	for (int mutant = 1; mutant < TP_COHERENCE_MUTANT_COUNT; mutant++) {
		const char *failure = NULL;
		uint64_t seed;

		if (mutant == MUTANT_batch_first_only)
			continue;
		for (seed = 0; seed < SEEDS && failure == NULL; seed++)
			failure = scenario_run(seed, mutant);
		printf("%-22s %s (seed %lu)\n", names[mutant],
			failure != NULL ? failure : "SURVIVED", (unsigned long)seed - 1);
		if (failure == NULL)
			survivors++;
	}
	assert_int_equal(survivors, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mutant_any_is_caught),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
