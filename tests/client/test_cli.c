/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The parts of app/telepage that need no node: numbers, sizes, latency classes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../app/telepage/latency.c"
#include "../../app/telepage/parse.c"

static void
test_number_text_value_or_refused(void **state)
{
	static const char * const bad[] = { "", " 1", "-1", "+1", "1 ", "x", "0x", "1e3", "11",
					    "18446744073709551616" };
	uint64_t value;
	size_t i;

	assert_true(cli_parse_number("0", 10, &value));
	assert_int_equal(value, 0);
	assert_true(cli_parse_number("0xa", 10, &value));
	assert_int_equal(value, 10);
	assert_true(cli_parse_number("18446744073709551615", UINT64_MAX, &value));
	assert_true(value == UINT64_MAX);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(cli_parse_number(bad[i], 10, &value));
}

static void
test_size_unit_scaled_or_refused(void **state)
{
	static const char * const bad[] = { "", "K", "1KB", "1P", "-1K", "16777216T", "1.5M" };
	uint64_t bytes;
	size_t i;

	assert_true(cli_parse_size("4096", &bytes));
	assert_int_equal(bytes, 4096);
	assert_true(cli_parse_size("64M", &bytes));
	assert_int_equal(bytes, 64 << 20);
	assert_true(cli_parse_size("3k", &bytes));
	assert_int_equal(bytes, 3072);
	assert_true(cli_parse_size("16777215T", &bytes));
	assert_true(bytes == UINT64_C(16777215) << 40);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(cli_parse_size(bad[i], &bytes));
}

static void
test_list_of_nodes_parsed_or_refused(void **state)
{
	uint16_t values[3];

	assert_int_equal(cli_parse_list("7", values, 3), 1);
	assert_int_equal(cli_parse_list("1,2,65535", values, 3), 3);
	assert_int_equal(values[2], 65535);
	assert_int_equal(cli_parse_list("1,2,3,4", values, 3), 0);
	assert_int_equal(cli_parse_list("1,,2", values, 3), 0);
	assert_int_equal(cli_parse_list("1,", values, 3), 0);
	assert_int_equal(cli_parse_list("65536", values, 3), 0);
	assert_int_equal(cli_parse_list("", values, 3), 0);
}

/* Classes are in order, and a value is at most 1/32 above the start of its class. */
static void
test_latency_class_close_and_monotonic(void **state)
{
	uint64_t ns, value;
	uint32_t last = 0, class;

	for (ns = 0; ns < UINT64_C(1) << 62; ns += 1 + ns / 50) {
		class = latency_class(ns);
		value = latency_value(class);
		assert_true(class >= last && class < LATENCY_CLASSES);
		assert_true(value <= ns && ns - value <= ns / 32);
		last = class;
	}
	assert_true(latency_class(UINT64_MAX) < LATENCY_CLASSES);
}

static void
test_latency_quantile_of_known_values(void **state)
{
	struct cli_latency *latency = cli_latency_create();
	uint64_t i;

	assert_int_equal(cli_latency_quantile(latency, CLI_LATENCY_HIT, 500), 0);
	for (i = 0; i < 1000; i++)
		cli_latency_add(latency, CLI_LATENCY_HIT, i < 985 ? 16 : 1024);
	cli_latency_add(latency, CLI_LATENCY_MISS, 4096);
	assert_int_equal(cli_latency_count(latency, CLI_LATENCY_HIT), 1000);
	assert_int_equal(cli_latency_quantile(latency, CLI_LATENCY_HIT, 500), 16);
	assert_int_equal(cli_latency_quantile(latency, CLI_LATENCY_HIT, 990), 1024);
	assert_int_equal(cli_latency_quantile(latency, CLI_LATENCY_MISS, 990), 4096);
	cli_latency_destroy(latency);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_number_text_value_or_refused),
		cmocka_unit_test(test_size_unit_scaled_or_refused),
		cmocka_unit_test(test_list_of_nodes_parsed_or_refused),
		cmocka_unit_test(test_latency_class_close_and_monotonic),
		cmocka_unit_test(test_latency_quantile_of_known_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
