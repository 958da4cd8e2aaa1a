/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Which cells of the two tables random scenarios meet; the rest is printed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "table_priv.h"
#include "model.h"

#define AS_NAME(name) #name,
static const char *const cache_states[] = { CACHE_STATE_LIST(AS_NAME) };
static const char *const cache_events[] = { CACHE_EVENT_LIST(AS_NAME) };
static const char *const home_states[] = { HOME_STATE_LIST(AS_NAME) };
static const char *const home_events[] = { HOME_EVENT_LIST(AS_NAME) };

static void
scenarios_run(void)
{
	static struct model_choices choices;
	static struct model model;

	for (uint64_t seed = 0; seed < 500; seed++) {
		model_random(&model, seed);
		if (seed % 4 == 0)
			model.node_id_max = 300;	/* coarse sets of sharers */
		choices.given = 0;
		choices.random = seed + 1;
		assert_null(model_run(&model, &choices, false));
	}
}

static void
test_table_scenarios_visit_its_cells(void **state)
{
	uint32_t cells = 0, met = 0;

	scenarios_run();
	for (int s = 0; s < CACHE_STATE_COUNT; s++) {
		for (int e = 0; e < CACHE_EVENT_COUNT; e++) {
			bool is_met = model_cache_cells[s] >> e & 1;

			if (coherence_cache_rule_get(s, e)->action == NULL) {
				assert_false(is_met);
				continue;
			}
			cells++;
			met += is_met;
			if (!is_met)
				printf("not met: cache %s %s\n", cache_states[s],
					cache_events[e]);
		}
	}
	for (int s = 0; s < HOME_STATE_COUNT; s++) {
		for (int e = 0; e < HOME_EVENT_COUNT; e++) {
			bool is_met = model_home_cells[s] >> e & 1;

			assert_non_null(coherence_home_rule_get(s, e)->action);
			cells++;
			met += is_met;
			if (!is_met)
				printf("not met: home %s %s\n", home_states[s], home_events[e]);
		}
	}
	printf("%u of %u cells met\n", met, cells);
	/* Every state is entered; those two, too rare here, in test_events. */
	for (int s = 0; s < CACHE_STATE_COUNT; s++)
		assert_true(model_cache_cells[s] != 0 || s == CACHE_DROP);
	for (int s = 0; s < HOME_STATE_COUNT; s++)
		assert_true(model_home_cells[s] != 0 || s == HOME_L_INV);
}

static void
test_table_print_names_every_cell(void **state)
{
	char *text = NULL;
	size_t bytes = 0;
	FILE *out = open_memstream(&text, &bytes);
	uint32_t lines = 0;

	tp_coherence_table_print(out);
	fclose(out);
	for (size_t i = 0; i < bytes; i++)
		lines += text[i] == '\n';
	assert_int_equal(lines, CACHE_STATE_COUNT * CACHE_EVENT_COUNT +
		HOME_STATE_COUNT * HOME_EVENT_COUNT + 5);
	assert_null(strstr(text, "(null)"));
	free(text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table_scenarios_visit_its_cells),
		cmocka_unit_test(test_table_print_names_every_cell),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
