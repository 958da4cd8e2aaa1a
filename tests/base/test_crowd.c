/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tp_crowd.h"

#define MS UINT64_C(1000000)
#define START (1000 * MS)
#define SLICE (3 * MS)

/* Who computes has the core for a slice of every nine milliseconds. */
static uint64_t
compute_until_noticed(struct tp_crowd *crowd, uint64_t now)
{
	for (int i = 0; i < 10; i++) {
		now += 3 * SLICE;
		if (tp_crowd_waited(crowd, SLICE, now))
			return now;
	}
	fail();
	return 0;
}

static void
test_crowd_neighbour_computing_is_noticed_and_forgotten(void **state)
{
	struct tp_crowd crowd;
	uint64_t now;

	(void)state;
	tp_crowd_init(&crowd, 1000 * MS);
	assert_false(tp_crowd_is(&crowd, START));
	now = compute_until_noticed(&crowd, START);
	assert_true(tp_crowd_is(&crowd, now));
	assert_true(tp_crowd_is(&crowd, now + TP_CROWD_SPAN_NS - 1));
	assert_false(tp_crowd_is(&crowd, now + TP_CROWD_SPAN_NS));
}

static void
test_crowd_that_goes_on_is_looked_for_less_often(void **state)
{
	uint64_t span = TP_CROWD_SPAN_NS;
	struct tp_crowd crowd;
	uint64_t now;

	(void)state;
	tp_crowd_init(&crowd, 1000 * MS);
	now = compute_until_noticed(&crowd, START);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(crowd.until - now, span);
		now = compute_until_noticed(&crowd, crowd.until);
		span = 2 * span < TP_CROWD_SPAN_MAX_NS ? 2 * span : TP_CROWD_SPAN_MAX_NS;
	}
	/* After a while without one the next is the first again. */
	now = compute_until_noticed(&crowd, crowd.until + 2 * TP_CROWD_WINDOW_NS);
	assert_int_equal(crowd.until - now, TP_CROWD_SPAN_NS);
}

static void
test_crowd_short_disturbances_are_none(void **state)
{
	struct tp_crowd crowd;
	uint64_t now = START;

	(void)state;
	tp_crowd_init(&crowd, 1000 * MS);
	/* A tick of the host every four milliseconds, and a long one each window. */
	for (int i = 0; i < 1000; i++) {
		now += 4 * MS;
		assert_false(tp_crowd_waited(&crowd, TP_CROWD_LATE_NS + 50000, now));
		if (i % 13 == 0)
			assert_false(tp_crowd_waited(&crowd, 2 * MS, now));
	}
	/* What two threads that wait for each other take, however often. */
	for (int i = 0; i < 100000; i++) {
		now += 2000;
		assert_false(tp_crowd_waited(&crowd, TP_CROWD_LATE_NS, now));
	}
	assert_false(tp_crowd_is(&crowd, now));
}

static void
test_crowd_unit_of_time_is_the_owners(void **state)
{
	const uint64_t hz = UINT64_C(2299998000);
	struct tp_crowd crowd;

	(void)state;
	tp_crowd_init(&crowd, hz);
	assert_false(tp_crowd_waited(&crowd, hz / 1000000 * 199, 10 * hz));
	assert_int_equal(crowd.lost, 0);
	assert_false(tp_crowd_waited(&crowd, hz / 1000 * 700, 10 * hz));
	assert_true(tp_crowd_waited(&crowd, hz / 1000, 10 * hz));
	assert_true(tp_crowd_is(&crowd, 10 * hz + hz / 1000 * 99));
	assert_false(tp_crowd_is(&crowd, 10 * hz + hz / 1000 * 101));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crowd_neighbour_computing_is_noticed_and_forgotten),
		cmocka_unit_test(test_crowd_that_goes_on_is_looked_for_less_often),
		cmocka_unit_test(test_crowd_short_disturbances_are_none),
		cmocka_unit_test(test_crowd_unit_of_time_is_the_owners),
	};

	return cmocka_run_group_tests_name("crowd", tests, NULL, NULL);
}
