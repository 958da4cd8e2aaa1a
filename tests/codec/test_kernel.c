/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Every kernel that this machine can run: the delta is that of the protocol,
 * byte for byte the same from all, and no byte outside of its buffers is
 * touched whatever the delta says.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <rte_common.h>

#include "codec_priv.h"
#include "pages.h"

#define PAGE 4096u
#define LINES (PAGE / CODEC_LINE)
#define ROUNDS 400u

static const uint32_t sizes[] = { 256, 4096, 4096 + 256, 16384 + 512, 65536 };

static void
test_kernels_best_first_portable_last(void **state)
{
	const struct codec_kernel *const *kernel = codec_kernels;

	for (; kernel[1] != NULL; kernel++)
		assert_ptr_not_equal(*kernel, &codec_kernel_portable);
	assert_ptr_equal(*kernel, &codec_kernel_portable);
	assert_true(codec_kernel_portable.supported());
}

/* docs/protocol.md section 7.2: the example there. */
static void
test_delta_two_runs_is_golden(void **state)
{
	static const uint8_t golden[] = {
		2, 2,					/* after 2 lines, 2 lines */
		0x01, 0x82,				/* word 0; words 1 and 7 */
		1, 0, 0, 0, 0, 0, 0, 0,
		2, 0, 0, 0, 0, 0, 0, 0,
		3, 0, 0, 0, 0, 0, 0, 0,
		59, 1,					/* 59 lines on, the last one */
		0x80,
		0, 0, 0, 0, 0, 0, 0, 4,
	};
	uint8_t *base = guarded_alloc(PAGE);
	uint8_t *page = guarded_alloc(PAGE);
	uint8_t *out = guarded_alloc(sizeof(golden));

	memset(base, 0, PAGE);
	memset(page, 0, PAGE);
	page[2 * CODEC_LINE] = 1;
	page[3 * CODEC_LINE + 8] = 2;
	page[3 * CODEC_LINE + 56] = 3;
	page[PAGE - 1] = 4;
	for (const struct codec_kernel *const *k = codec_kernels; *k != NULL; k++) {
		if (!(*k)->supported())
			continue;
		memset(out, 0xee, sizeof(golden));
		assert_int_equal((*k)->delta_encode(page, base, LINES, out, sizeof(golden)),
			sizeof(golden));
		assert_memory_equal(out, golden, sizeof(golden));
		assert_int_equal((*k)->delta_encode(page, base, LINES, out, sizeof(golden) - 1),
			-ENOSPC);
		memset(base, 0, PAGE);
		assert_int_equal((*k)->delta_decode(base, LINES, golden, sizeof(golden)), 0);
		assert_memory_equal(base, page, PAGE);
		memset(base, 0, PAGE);
	}
	guarded_free(out, sizeof(golden));
	guarded_free(page, PAGE);
	guarded_free(base, PAGE);
}

/* Gaps at and around what one run can say. */
static void
test_delta_long_gap_is_said_by_empty_runs(void **state)
{
	static const uint32_t gaps[] = { 254, 255, 256, 509, 510, 511, 1023 };
	const uint32_t bytes = 65536;
	uint8_t *base = guarded_alloc(bytes);
	uint8_t *page = guarded_alloc(bytes);
	uint8_t out[64];

	memset(base, 7, bytes);
	for (const struct codec_kernel *const *k = codec_kernels; *k != NULL; k++) {
		if (!(*k)->supported())
			continue;
		for (unsigned int i = 0; i < RTE_DIM(gaps); i++) {
			uint32_t fillers = (gaps[i] - 1) / CODEC_RUN_MAX;
			uint32_t expected = 2 * fillers + 2 + 1 + 8;

			memset(page, 7, bytes);
			page[gaps[i] * CODEC_LINE]++;
			assert_int_equal((*k)->delta_encode(page, base, bytes / CODEC_LINE, out,
				expected), expected);
			assert_int_equal((*k)->delta_encode(page, base, bytes / CODEC_LINE, out,
				expected - 1), -ENOSPC);
			assert_int_equal(out[2 * fillers], gaps[i] - fillers * CODEC_RUN_MAX);
			assert_int_equal((*k)->delta_decode(page, bytes / CODEC_LINE, out,
				expected), 0);
			memset(page, 7, bytes);
			assert_int_equal((*k)->delta_decode(page, bytes / CODEC_LINE, out,
				expected), 0);
			assert_int_equal(page[gaps[i] * CODEC_LINE], 8);
		}
	}
	guarded_free(page, bytes);
	guarded_free(base, bytes);
}

/* A delta by every kernel against the portable one, and back by every kernel. */
static void
delta_check(const uint8_t *page, const uint8_t *base, uint32_t bytes)
{
	const uint32_t lines = bytes / CODEC_LINE;
	uint8_t *expected = guarded_alloc(CODEC_DELTA_BYTES_MAX(bytes));
	int length = codec_kernel_portable.delta_encode(page, base, lines, expected,
		CODEC_DELTA_BYTES_MAX(bytes));
	uint8_t *result = guarded_alloc(bytes);
	uint8_t *out;

	assert_true(length >= 0);
	assert_int_equal(length == 0, memcmp(page, base, bytes) == 0);
	/* Room for exactly what it takes: a store too wide would fault. */
	out = guarded_alloc((size_t)length);
	for (const struct codec_kernel *const *k = codec_kernels; *k != NULL; k++) {
		if (!(*k)->supported())
			continue;
		assert_int_equal((*k)->delta_encode(page, base, lines, out, (uint32_t)length),
			length);
		assert_memory_equal(out, expected, (size_t)length);
		if (length > 0)
			assert_int_equal((*k)->delta_encode(page, base, lines, result,
				(uint32_t)RTE_MIN(length - 1, (int)bytes)), -ENOSPC);
		memcpy(result, base, bytes);
		assert_int_equal((*k)->delta_decode(result, lines, out, (uint32_t)length), 0);
		assert_memory_equal(result, page, bytes);
	}
	guarded_free(out, (size_t)length);
	guarded_free(result, bytes);
	guarded_free(expected, CODEC_DELTA_BYTES_MAX(bytes));
}

static void
test_delta_random_changes_same_bytes_from_all(void **state)
{
	uint64_t random = 42;

	for (unsigned int round = 0; round < ROUNDS; round++) {
		uint32_t bytes = sizes[random_next(&random) % RTE_DIM(sizes)];
		uint32_t changes = (uint32_t)(random_next(&random) % (bytes / 4));
		uint8_t *base = guarded_alloc(bytes);
		uint8_t *page = guarded_alloc(bytes);

		page_fill(base, bytes, PAGE_RECORDS, &random);
		memcpy(page, base, bytes);
		/* Often few, sometimes so many that nearly every word is hit. */
		page_scribble(page, bytes, changes >> (random_next(&random) % 12), &random);
		delta_check(page, base, bytes);
		guarded_free(page, bytes);
		guarded_free(base, bytes);
	}
}

/* The two extremes of runs: every other line, and all words of all lines. */
static void
test_delta_worst_cases_stay_in_bound(void **state)
{
	uint64_t random = 7;

	for (unsigned int i = 0; i < RTE_DIM(sizes); i++) {
		uint32_t bytes = sizes[i];
		uint8_t *base = guarded_alloc(bytes);
		uint8_t *page = guarded_alloc(bytes);

		page_fill(base, bytes, PAGE_RANDOM, &random);
		page_fill(page, bytes, PAGE_RANDOM, &random);
		delta_check(page, base, bytes);
		for (uint32_t at = 0; at < bytes; at += 2 * CODEC_LINE)
			memcpy(page + at, base + at, CODEC_LINE);
		delta_check(page, base, bytes);
		memcpy(page, base, bytes);
		delta_check(page, base, bytes);
		guarded_free(page, bytes);
		guarded_free(base, bytes);
	}
}

static void
test_delta_malformed_is_refused(void **state)
{
	static const struct {
		uint8_t bytes[24];
		uint32_t length;
	} cases[] = {
		{ { 1 }, 1 },				/* half a head */
		{ { 1, 1 }, 2 },			/* mask missing */
		{ { 1, 1, 1 }, 3 },			/* word missing */
		{ { 1, 1, 1, 0, 0, 0, 0, 0, 0, 0 }, 10 },	/* a byte of it missing */
		{ { 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0 }, 11 },	/* a line that did not change */
		{ { 64, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0 }, 11 },	/* a line past the page */
		{ { 63, 2, 1, 1 }, 20 },		/* the second of two lines is */
		{ { 255, 0 }, 2 },			/* a gap past the page */
		{ { 3, 0 }, 2 },			/* a run of nothing */
		{ { 0, 255, 1 }, 24 },			/* more masks than bytes */
	};

	for (const struct codec_kernel *const *k = codec_kernels; *k != NULL; k++) {
		if (!(*k)->supported())
			continue;
		for (unsigned int i = 0; i < RTE_DIM(cases); i++) {
			uint8_t *in = guarded_alloc(cases[i].length);
			uint8_t *page = guarded_alloc(PAGE);

			memset(page, 0, PAGE);
			memcpy(in, cases[i].bytes, cases[i].length);
			assert_int_equal((*k)->delta_decode(page, LINES, in, cases[i].length),
				-EBADMSG);
			guarded_free(page, PAGE);
			guarded_free(in, cases[i].length);
		}
	}
}

static void
test_is_zero_any_byte_tells(void **state)
{
	uint8_t *page = guarded_alloc(PAGE);

	memset(page, 0, PAGE);
	for (const struct codec_kernel *const *k = codec_kernels; *k != NULL; k++) {
		if (!(*k)->supported())
			continue;
		assert_true((*k)->is_zero(page, PAGE));
		assert_true((*k)->is_zero(page + PAGE - TP_CODEC_PAGE_UNIT, TP_CODEC_PAGE_UNIT));
		for (uint32_t at = 0; at < PAGE; at++) {
			page[at] = 0x80;
			assert_false((*k)->is_zero(page, PAGE));
			page[at] = 0;
		}
	}
	guarded_free(page, PAGE);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kernels_best_first_portable_last),
		cmocka_unit_test(test_delta_two_runs_is_golden),
		cmocka_unit_test(test_delta_long_gap_is_said_by_empty_runs),
		cmocka_unit_test(test_delta_random_changes_same_bytes_from_all),
		cmocka_unit_test(test_delta_worst_cases_stay_in_bound),
		cmocka_unit_test(test_delta_malformed_is_refused),
		cmocka_unit_test(test_is_zero_any_byte_tells),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
