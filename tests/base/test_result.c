/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tp_result.h"

static void
test_reason_every_one_has_name_and_errno(void **state)
{
	for (unsigned int i = 0; i < TP_REASON_COUNT; i++) {
		assert_non_null(tp_reason_name(i));
		assert_true(strlen(tp_reason_name(i)) > 1);
		if (i == TP_OK)
			assert_int_equal(tp_reason_errno(i), 0);
		else
			assert_true(tp_reason_errno(i) > 0);
	}
}

static void
test_reason_out_of_range_is_refused(void **state)
{
	assert_string_equal(tp_reason_name(TP_REASON_COUNT), "unknown reason");
	assert_string_equal(tp_reason_name(~0u), "unknown reason");
	assert_int_equal(tp_reason_errno(TP_REASON_COUNT), EINVAL);
}

static void
test_result_constructors_state_the_effect(void **state)
{
	struct tp_result ok = tp_result_ok(7);
	struct tp_result refused = tp_result_void(TP_PERMISSION);
	struct tp_result lost = tp_result_unknown(TP_TIMEOUT);

	assert_true(tp_result_is_ok(ok));
	assert_int_equal(ok.bytes_done, 7);
	assert_int_equal(ok.effect, TP_EFFECT_DONE);
	assert_false(tp_result_is_ok(refused));
	assert_int_equal(refused.effect, TP_EFFECT_NOT_DONE);
	assert_int_equal(lost.effect, TP_EFFECT_UNKNOWN);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reason_every_one_has_name_and_errno),
		cmocka_unit_test(test_reason_out_of_range_is_refused),
		cmocka_unit_test(test_result_constructors_state_the_effect),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
