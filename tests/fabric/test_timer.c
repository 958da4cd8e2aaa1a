/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

#include "fabric_priv.h"

#define TIMERS 64u

static void
test_timer_set_moved_and_cancelled_at_random_runs_when_due(void **state)
{
	struct fabric_timer timers[TIMERS] = { { .deadline = 0 } };
	struct fabric_timer *heap[TIMERS];
	struct tp_endpoint *ep = calloc(1, sizeof(*ep));
	uint64_t due[TIMERS];
	uint32_t random = 1;
	uint64_t now;
	uint32_t i;

	(void)state;
	ep->heap = heap;
	for (i = 0; i < TIMERS; i++)
		due[i] = FABRIC_NEVER;
	for (now = 1; now < 20000; now++) {
		struct fabric_timer *timer;

		for (i = 0; i < 4; i++) {
			uint32_t t;

			random = random * 1664525u + 1013904223u;
			t = random >> 26;
			if ((random >> 20 & 7) == 0) {
				fabric_timer_cancel(ep, &timers[t]);
				due[t] = FABRIC_NEVER;
			} else {
				due[t] = now + 1 + (random >> 8 & 0xff);
				fabric_timer_set(ep, &timers[t], due[t]);
			}
		}
		while ((timer = fabric_timer_pop(ep, now)) != NULL) {
			i = (uint32_t)(timer - timers);
			assert_int_equal(due[i], timer->deadline);
			assert_true(due[i] <= now);
			due[i] = FABRIC_NEVER;
		}
		for (i = 0; i < TIMERS; i++)
			assert_true(due[i] > now);
	}
	free(ep);
}

static void
test_timer_moved_later_runs_once_at_the_later_time(void **state)
{
	struct fabric_timer timer = { .deadline = FABRIC_NEVER };
	struct fabric_timer *heap[1];
	struct tp_endpoint *ep = calloc(1, sizeof(*ep));

	(void)state;
	ep->heap = heap;
	fabric_timer_set(ep, &timer, 10);
	fabric_timer_set(ep, &timer, 30);
	assert_null(fabric_timer_pop(ep, 20));
	assert_ptr_equal(fabric_timer_pop(ep, 30), &timer);
	assert_null(fabric_timer_pop(ep, 40));
	fabric_timer_set(ep, &timer, FABRIC_NEVER);
	assert_int_equal(ep->heap_count, 0);
	free(ep);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_timer_set_moved_and_cancelled_at_random_runs_when_due),
		cmocka_unit_test(test_timer_moved_later_runs_once_at_the_later_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
