/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Pages to payloads and back: what was encoded is what is decoded, for every
 * codec, size and kind of page; payloads are never larger than the page; and
 * nothing that is decoded touches memory outside of its page.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <rte_common.h>
#include <rte_errno.h>

#include "codec_priv.h"
#include "pages.h"

#define PAGE 4096u

static const uint32_t sizes[] = { 256, 4096, 8192 + 768, 65536 };

static struct tp_codec *
codec_new(void)
{
	struct tp_codec *codec = tp_codec_create(TP_CODEC_PAGE_MAX);

	assert_non_null(codec);
	return codec;
}

static void
test_create_bad_size_is_refused(void **state)
{
	static const uint32_t bad[] = { 0, 255, 257, TP_CODEC_PAGE_MAX + 256 };

	for (unsigned int i = 0; i < RTE_DIM(bad); i++) {
		rte_errno = 0;
		assert_null(tp_codec_create(bad[i]));
		assert_int_equal(rte_errno, EINVAL);
	}
	tp_codec_destroy(NULL);
}

static void
test_create_takes_best_kernel(void **state)
{
	struct tp_codec *codec = codec_new();
	const struct codec_kernel *const *kernel = codec_kernels;

	while (!(*kernel)->supported())
		kernel++;
	assert_string_equal(tp_codec_kernel_name(codec), (*kernel)->name);
	tp_codec_destroy(codec);
}

static void
test_name_every_id_has_one(void **state)
{
	assert_string_equal(tp_codec_name(TP_CODEC_RAW), "raw");
	assert_string_equal(tp_codec_name(TP_CODEC_DEFLATE), "deflate");
	for (unsigned int id = 0; id < TP_CODEC_COUNT; id++)
		assert_non_null(tp_codec_name(id));
	assert_string_equal(tp_codec_name(TP_CODEC_COUNT), "unknown");
	assert_true(tp_codec_needs_base(TP_CODEC_DELTA_LZ4));
	assert_false(tp_codec_needs_base(TP_CODEC_LZ4));
	assert_false(tp_codec_needs_base(TP_CODEC_COUNT));
}

static void
test_encode_bad_argument_is_refused(void **state)
{
	struct tp_codec *codec = tp_codec_create(PAGE);
	static uint8_t page[2 * PAGE], out[2 * PAGE];
	enum tp_codec_id id = TP_CODEC_COUNT;

	assert_int_equal(tp_codec_encode(codec, TP_CODEC_COUNT, page, page, PAGE, out, &id),
		-EINVAL);
	assert_int_equal(tp_codec_encode(codec, TP_CODEC_DELTA, page, NULL, PAGE, out, &id),
		-EINVAL);
	assert_int_equal(tp_codec_encode(codec, TP_CODEC_LZ4, page, NULL, 2 * PAGE, out, &id),
		-EINVAL);
	assert_int_equal(tp_codec_encode(codec, TP_CODEC_LZ4, page, NULL, 100, out, &id), -EINVAL);
	assert_int_equal(tp_codec_decode(codec, TP_CODEC_RAW, page, 0, NULL, out, 0), -EINVAL);
	assert_int_equal(id, TP_CODEC_COUNT);
	tp_codec_destroy(codec);
}

/* Encode, then decode with the base apart and in place. */
static enum tp_codec_id
round_trip(struct tp_codec *codec, enum tp_codec_id want, const uint8_t *page,
	const uint8_t *base, uint32_t bytes)
{
	uint8_t *out = guarded_alloc(bytes);
	uint8_t *result = guarded_alloc(bytes);
	enum tp_codec_id id = TP_CODEC_COUNT;
	int length = tp_codec_encode(codec, want, page, base, bytes, out, &id);
	uint8_t *in;

	assert_in_range(length, 0, bytes);
	assert_int_equal(id == TP_CODEC_RAW, length == (int)bytes);
	in = guarded_alloc((size_t)length);
	memcpy(in, id == TP_CODEC_RAW ? page : out, (size_t)length);
	memset(result, 0xee, bytes);
	assert_int_equal(tp_codec_decode(codec, id, in, (uint32_t)length, base, result, bytes), 0);
	assert_memory_equal(result, page, bytes);
	if (base != NULL) {
		memcpy(result, base, bytes);
		assert_int_equal(tp_codec_decode(codec, id, in, (uint32_t)length, result, result,
			bytes), 0);
		assert_memory_equal(result, page, bytes);
	}
	guarded_free(in, (size_t)length);
	guarded_free(result, bytes);
	guarded_free(out, bytes);
	return id;
}

static void
test_page_every_codec_kind_and_size_comes_back(void **state)
{
	struct tp_codec *codec = codec_new();
	uint64_t random = 3;

	for (unsigned int s = 0; s < RTE_DIM(sizes); s++) {
		uint8_t *page = guarded_alloc(sizes[s]);
		uint8_t *base = guarded_alloc(sizes[s]);

		for (unsigned int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
			for (unsigned int changes = 0; changes <= 64; changes = changes * 3 + 1) {
				page_fill(base, sizes[s], kind, &random);
				memcpy(page, base, sizes[s]);
				page_scribble(page, sizes[s], changes, &random);
				for (unsigned int id = 0; id < TP_CODEC_COUNT; id++) {
					round_trip(codec, id, page, base, sizes[s]);
					if (!tp_codec_needs_base(id))
						round_trip(codec, id, page, NULL, sizes[s]);
				}
			}
		}
		guarded_free(base, sizes[s]);
		guarded_free(page, sizes[s]);
	}
	tp_codec_destroy(codec);
}

static void
test_encode_falls_back_to_the_cheaper(void **state)
{
	struct tp_codec *codec = codec_new();
	uint8_t *page = guarded_alloc(PAGE);
	uint8_t *base = guarded_alloc(PAGE);
	uint64_t random = 5;

	/* Zeros are zeros, whatever was asked for; but RAW looks at nothing. */
	page_fill(page, PAGE, PAGE_ZERO, &random);
	page_fill(base, PAGE, PAGE_TEXT, &random);
	for (unsigned int id = TP_CODEC_ZERO; id < TP_CODEC_COUNT; id++)
		assert_int_equal(round_trip(codec, id, page, base, PAGE), TP_CODEC_ZERO);
	assert_int_equal(round_trip(codec, TP_CODEC_RAW, page, base, PAGE), TP_CODEC_RAW);

	memcpy(page, base, PAGE);
	assert_int_equal(round_trip(codec, TP_CODEC_DELTA, page, base, PAGE), TP_CODEC_SAME);
	assert_int_equal(round_trip(codec, TP_CODEC_DELTA_LZ4, page, base, PAGE), TP_CODEC_SAME);
	assert_int_equal(round_trip(codec, TP_CODEC_SAME, page, base, PAGE), TP_CODEC_SAME);
	assert_int_equal(round_trip(codec, TP_CODEC_LZ4, page, base, PAGE), TP_CODEC_LZ4);

	page_scribble(page, PAGE, 1, &random);
	assert_int_equal(round_trip(codec, TP_CODEC_DELTA_LZ4, page, base, PAGE), TP_CODEC_DELTA);
	assert_int_equal(round_trip(codec, TP_CODEC_SAME, page, base, PAGE), TP_CODEC_RAW);

	/* All words of a text changed: no delta, but LZ4 of it. */
	page_fill(page, PAGE, PAGE_TEXT, &random);
	page_fill(base, PAGE, PAGE_RANDOM, &random);
	assert_int_equal(round_trip(codec, TP_CODEC_DELTA, page, base, PAGE), TP_CODEC_RAW);
	assert_int_equal(round_trip(codec, TP_CODEC_DELTA_LZ4, page, base, PAGE),
		TP_CODEC_DELTA_LZ4);

	page_fill(page, PAGE, PAGE_RANDOM, &random);
	for (unsigned int id = TP_CODEC_ZERO; id < TP_CODEC_COUNT; id++)
		assert_int_equal(round_trip(codec, id, page, base, PAGE), TP_CODEC_RAW);
	guarded_free(base, PAGE);
	guarded_free(page, PAGE);
	tp_codec_destroy(codec);
}

/* The figure codec_wire_bytes, as a property. */
static void
test_delta_size_follows_changed_lines(void **state)
{
	struct tp_codec *codec = codec_new();
	static uint8_t page[PAGE], base[PAGE], out[PAGE];
	uint64_t random = 9;
	enum tp_codec_id id;

	for (unsigned int round = 0; round < 2000; round++) {
		uint32_t changed = 0;
		int length;

		page_fill(base, PAGE, PAGE_RANDOM, &random);
		memcpy(page, base, PAGE);
		for (uint32_t line = 0; line < PAGE / CODEC_LINE; line++) {
			if (random_next(&random) % 64 >= round % 65)
				continue;
			page_fill(page + line * CODEC_LINE, CODEC_LINE, PAGE_RANDOM, &random);
			changed++;
		}
		length = tp_codec_encode(codec, TP_CODEC_DELTA, page, base, PAGE, out, &id);
		assert_true(length * 100 <= (int)changed * 64 * 115 + 3200);
		assert_true(length <= (int)PAGE);
	}
	tp_codec_destroy(codec);
}

static void
test_decode_wrong_length_or_base_is_refused(void **state)
{
	struct tp_codec *codec = codec_new();
	static uint8_t page[PAGE], base[PAGE], in[PAGE + 1];
	unsigned int id;

	assert_int_equal(tp_codec_decode(codec, TP_CODEC_RAW, in, PAGE - 1, NULL, page, PAGE),
		-EBADMSG);
	assert_int_equal(tp_codec_decode(codec, TP_CODEC_RAW, in, PAGE + 1, NULL, page, PAGE),
		-EBADMSG);
	assert_int_equal(tp_codec_decode(codec, TP_CODEC_ZERO, in, 1, NULL, page, PAGE), -EBADMSG);
	assert_int_equal(tp_codec_decode(codec, TP_CODEC_SAME, in, 1, base, page, PAGE), -EBADMSG);
	for (id = 0; id < TP_CODEC_COUNT; id++)
		if (tp_codec_needs_base(id))
			assert_int_equal(tp_codec_decode(codec, id, in, 0, NULL, page, PAGE),
				-EBADMSG);
	/* Nothing at all is a payload of ZERO and SAME only. */
	for (id = TP_CODEC_DELTA; id < TP_CODEC_COUNT; id++)
		assert_int_equal(tp_codec_decode(codec, id, in, 0, base, page, PAGE), -EBADMSG);
	assert_int_equal(tp_codec_decode(codec, TP_CODEC_COUNT, in, 0, base, page, PAGE), -EBADMSG);
	assert_int_equal(tp_codec_decode(codec, UINT32_MAX, in, 0, base, page, PAGE), -EBADMSG);
	tp_codec_destroy(codec);
}

/* A page of another size is not what was encoded. */
static void
test_decode_other_page_size_is_refused(void **state)
{
	struct tp_codec *codec = codec_new();
	uint8_t *page = guarded_alloc(PAGE);
	uint8_t *out = guarded_alloc(PAGE);
	uint64_t random = 11;
	enum tp_codec_id id;
	int length;

	page_fill(page, PAGE, PAGE_TEXT, &random);
	for (unsigned int want = TP_CODEC_LZ4; want < TP_CODEC_COUNT; want++) {
		uint8_t *small = guarded_alloc(PAGE / 2);
		uint8_t *large = guarded_alloc(2 * PAGE);

		if (tp_codec_needs_base(want))
			continue;
		length = tp_codec_encode(codec, want, page, NULL, PAGE, out, &id);
		assert_int_equal(id, want);
		assert_int_equal(tp_codec_decode(codec, id, out, (uint32_t)length, NULL, small,
			PAGE / 2), -EBADMSG);
		assert_int_equal(tp_codec_decode(codec, id, out, (uint32_t)length, NULL, large,
			2 * PAGE), -EBADMSG);
		guarded_free(large, 2 * PAGE);
		guarded_free(small, PAGE / 2);
	}
	guarded_free(out, PAGE);
	guarded_free(page, PAGE);
	tp_codec_destroy(codec);
}

/* Payloads with bytes changed, cut off or added: any result, no fault. */
static void
test_decode_damaged_payload_stays_in_bounds(void **state)
{
	struct tp_codec *codec = codec_new();
	uint8_t *page = guarded_alloc(PAGE);
	uint8_t *base = guarded_alloc(PAGE);
	uint8_t *out = guarded_alloc(PAGE);
	unsigned int refused = 0;
	uint64_t random = 13;

	for (unsigned int round = 0; round < 6000; round++) {
		enum tp_codec_id want = TP_CODEC_DELTA + round % 4;
		enum tp_codec_id id;
		uint32_t length;
		uint8_t *in;

		page_fill(base, PAGE, PAGE_TEXT + round / 4 % 2, &random);
		memcpy(page, base, PAGE);
		page_scribble(page, PAGE, 1 + (uint32_t)(random_next(&random) % 40), &random);
		length = (uint32_t)tp_codec_encode(codec, want, page, base, PAGE, out, &id);
		if (id == TP_CODEC_RAW)
			continue;
		if (random_next(&random) % 4 == 0)
			length -= 1 + (uint32_t)(random_next(&random) % length);
		in = guarded_alloc(length);
		memcpy(in, out, length);
		for (unsigned int i = 0; length > 0 && i < 1 + round % 5; i++)
			in[random_next(&random) % length] ^= (uint8_t)(1 + random_next(&random) % 255);
		refused += tp_codec_decode(codec, id, in, length, base, page, PAGE) < 0;
		guarded_free(in, length);
	}
	assert_true(refused > 1000);
	guarded_free(out, PAGE);
	guarded_free(base, PAGE);
	guarded_free(page, PAGE);
	tp_codec_destroy(codec);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_create_bad_size_is_refused),
		cmocka_unit_test(test_create_takes_best_kernel),
		cmocka_unit_test(test_name_every_id_has_one),
		cmocka_unit_test(test_encode_bad_argument_is_refused),
		cmocka_unit_test(test_page_every_codec_kind_and_size_comes_back),
		cmocka_unit_test(test_encode_falls_back_to_the_cheaper),
		cmocka_unit_test(test_delta_size_follows_changed_lines),
		cmocka_unit_test(test_decode_wrong_length_or_base_is_refused),
		cmocka_unit_test(test_decode_other_page_size_is_refused),
		cmocka_unit_test(test_decode_damaged_payload_stays_in_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
