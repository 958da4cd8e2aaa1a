/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tp_codec_chooser.h"

#define PAGE 4096u

/* Each look at it takes 1600 ns. */
static uint64_t
clock_counts(void *context)
{
	return *(uint64_t *)context += 1600;
}

static void
test_calibrate_times_are_the_clocks(void **state)
{
	struct tp_codec *codec = tp_codec_create(PAGE);
	struct tp_codec_cost costs[TP_CODEC_COUNT];
	uint64_t now = 0;

	assert_int_equal(tp_codec_calibrate(codec, PAGE, clock_counts, &now, costs), 0);
	for (unsigned int id = 0; id < TP_CODEC_COUNT; id++) {
		/* 16 pages between two looks. */
		assert_int_equal(costs[id].encode_ns, 100);
		assert_int_equal(costs[id].decode_ns, 100);
	}
	assert_int_equal(costs[TP_CODEC_RAW].bytes, PAGE);
	/* One changed word: a run, a mask, eight bytes. */
	assert_int_equal(costs[TP_CODEC_DELTA].bytes, 2 + 1 + 8);
	assert_in_range(costs[TP_CODEC_LZ4].bytes, 1, 200);
	assert_in_range(costs[TP_CODEC_DEFLATE].bytes, 1, 200);
	tp_codec_destroy(codec);
}

static void
test_calibrate_bad_size_is_refused(void **state)
{
	struct tp_codec *codec = tp_codec_create(PAGE);
	struct tp_codec_cost costs[TP_CODEC_COUNT];
	uint64_t now = 0;

	assert_int_equal(tp_codec_calibrate(codec, 0, clock_counts, &now, costs), -EINVAL);
	assert_int_equal(tp_codec_calibrate(codec, 2 * PAGE, clock_counts, &now, costs), -EINVAL);
	assert_int_equal(tp_codec_calibrate(codec, 300, clock_counts, &now, costs), -EINVAL);
	tp_codec_destroy(codec);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calibrate_times_are_the_clocks),
		cmocka_unit_test(test_calibrate_bad_size_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
