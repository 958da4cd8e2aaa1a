/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The outside compressors, as they are called: payloads are what other
 * implementations of the formats read, rooms are kept to.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "codec_priv.h"
#include "pages.h"

#define PAGE 4096u

static void
test_lz4_literals_block_is_read(void **state)
{
	/* The block format by hand: 5 literals, and a match of 251 bytes is not allowed last. */
	static const uint8_t block[] = { 0x50, 'p', 'a', 'g', 'e', 's' };
	uint8_t out[5];

	assert_int_equal(codec_lz4_decode(block, sizeof(block), out, sizeof(out)), 5);
	assert_memory_equal(out, "pages", 5);
	assert_int_equal(codec_lz4_decode(block, sizeof(block), out, 4), -EBADMSG);
	assert_int_equal(codec_lz4_decode(block, sizeof(block) - 1, out, sizeof(out)), -EBADMSG);
	assert_int_equal(codec_lz4_decode(block, 0, out, sizeof(out)), -EBADMSG);
}

static void
test_deflate_stored_block_is_read(void **state)
{
	/* RFC 1951 by hand: last block, stored, length 5. */
	static const uint8_t block[] = { 0x01, 5, 0, 0xfa, 0xff, 'p', 'a', 'g', 'e', 's' };
	struct tp_codec *codec = tp_codec_create(PAGE);
	uint8_t out[5];

	assert_int_equal(codec_deflate_decode(codec, block, sizeof(block), out, sizeof(out)), 0);
	assert_memory_equal(out, "pages", 5);
	assert_int_equal(codec_deflate_decode(codec, block, sizeof(block), out, 4), -EBADMSG);
	assert_int_equal(codec_deflate_decode(codec, block, sizeof(block) - 1, out, 5), -EBADMSG);
	tp_codec_destroy(codec);
}

static void
test_deflate_bytes_behind_the_end_are_refused(void **state)
{
	static const uint8_t block[] = { 0x01, 5, 0, 0xfa, 0xff, 'p', 'a', 'g', 'e', 's', 0 };
	struct tp_codec *codec = tp_codec_create(PAGE);
	uint8_t out[5];

	assert_int_equal(codec_deflate_decode(codec, block, sizeof(block), out, sizeof(out)),
		-EBADMSG);
	tp_codec_destroy(codec);
}

/* Every room from none to enough: an error or a whole block, never a byte too far. */
static void
test_encode_room_is_kept_to(void **state)
{
	struct tp_codec *codec = tp_codec_create(PAGE);
	uint8_t *page = guarded_alloc(PAGE);
	uint64_t random = 17;
	int lz4, deflate;
	uint8_t *out;

	page_fill(page, PAGE, PAGE_TEXT, &random);
	for (uint32_t room = 1; room < PAGE; room += room < 64 ? 1 : 37) {
		out = guarded_alloc(room);
		lz4 = codec_lz4_encode(codec, page, PAGE, out, room);
		assert_true(lz4 == -ENOSPC || (lz4 > 0 && lz4 <= (int)room));
		deflate = codec_deflate_encode(codec, page, PAGE, out, room);
		assert_true(deflate == -ENOSPC || (deflate > 0 && deflate <= (int)room));
		guarded_free(out, room);
	}
	assert_true(lz4 > 0 && deflate > 0);
	guarded_free(page, PAGE);
	tp_codec_destroy(codec);
}

/* What one page leaves in the tables must not be seen in the next one's bytes. */
static void
test_encode_does_not_depend_on_the_page_before(void **state)
{
	struct tp_codec *codec = tp_codec_create(PAGE);
	struct tp_codec *fresh = tp_codec_create(PAGE);
	uint8_t *page = guarded_alloc(PAGE);
	static uint8_t out[PAGE], expected[PAGE];
	uint64_t random = 19;
	int bytes;

	for (unsigned int round = 0; round < 50; round++) {
		page_fill(page, PAGE, PAGE_TEXT + round % 2, &random);
		bytes = codec_lz4_encode(codec, page, PAGE, out, PAGE);
		memset(&fresh->lz4, 0, sizeof(fresh->lz4));
		assert_int_equal(codec_lz4_encode(fresh, page, PAGE, expected, PAGE), bytes);
		assert_memory_equal(out, expected, (size_t)bytes);
		bytes = codec_deflate_encode(codec, page, PAGE, out, PAGE);
		memset(&fresh->deflate, 0, sizeof(fresh->deflate));
		memset(fresh->deflate_level, 0, CODEC_DEFLATE_LEVEL_BYTES);
		assert_int_equal(codec_deflate_encode(fresh, page, PAGE, expected, PAGE), bytes);
		assert_memory_equal(out, expected, (size_t)bytes);
	}
	guarded_free(page, PAGE);
	tp_codec_destroy(fresh);
	tp_codec_destroy(codec);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lz4_literals_block_is_read),
		cmocka_unit_test(test_deflate_stored_block_is_read),
		cmocka_unit_test(test_deflate_bytes_behind_the_end_are_refused),
		cmocka_unit_test(test_encode_room_is_kept_to),
		cmocka_unit_test(test_encode_does_not_depend_on_the_page_before),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
