/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <rte_errno.h>

#include "pool_priv.h"

#define SLOT_BYTES 128
#define SLOT_COUNT 200

static int
segment_setup(void **state)
{
	struct tp_segment_config config = { .type = TP_SEGMENT_HEAP, .bytes = 256 * 1024 };
	struct tp_segment *segment;

	if (tp_segment_create(&config, &segment) < 0)
		return -1;
	*state = segment;
	return 0;
}

static int
segment_teardown(void **state)
{
	tp_segment_destroy(*state);
	return 0;
}

static struct tp_slot_pool *
pool_make(struct tp_segment *segment, uint32_t slot_bytes, uint32_t slot_count)
{
	struct tp_slot_pool_config config = {
		.slot_bytes = slot_bytes, .slot_count = slot_count, .segment_id = 7,
	};
	struct tp_slot_pool *pool = tp_slot_pool_create(segment, &config);

	assert_non_null(pool);
	return pool;
}

static void
test_pool_fresh_is_all_free_and_says_what_it_was_made_with(void **state)
{
	struct tp_slot_pool *pool = pool_make(*state, SLOT_BYTES, SLOT_COUNT);

	assert_int_equal(tp_slot_pool_capacity(pool), SLOT_COUNT);
	assert_int_equal(tp_slot_pool_available(pool), SLOT_COUNT);
	assert_int_equal(tp_slot_pool_slot_bytes(pool), SLOT_BYTES);
	assert_int_equal(tp_slot_pool_segment_id(pool), 7);
	assert_int_equal(tp_slot_pool_held(pool, 0), 0);
	assert_int_equal(tp_slot_pool_held(pool, 64), 0);
	assert_int_equal(tp_slot_pool_holders(pool, SLOT_COUNT), 0);
	tp_slot_pool_detach(pool);
	tp_slot_pool_detach(NULL);
}

static void
test_pool_slots_are_distinct_aligned_and_inside(void **state)
{
	static const uint32_t sizes[] = { 1, 8, 63, 64, 65, 1500, 4096, 8192 };
	uint8_t *base = tp_segment_base(*state);
	uint8_t *end = base + tp_segment_bytes(*state);

	for (unsigned int s = 0; s < RTE_DIM(sizes); s++) {
		struct tp_slot_pool *pool = pool_make(*state, sizes[s], 9);
		uint8_t *before = base;

		for (uint32_t i = 0; i < 9; i++) {
			uint8_t *slot = tp_slot_pool_slot_ptr(pool, i);

			assert_true(slot >= before && slot + sizes[s] <= end);
			assert_int_equal((uintptr_t)slot % (sizes[s] % 4096 ? 64 : 4096), 0);
			assert_int_equal(tp_slot_pool_slot_index(pool, slot), i);
			assert_int_equal(tp_slot_pool_slot_index(pool, slot + sizes[s] - 1), i);
			assert_int_equal(tp_slot_pool_slot_offset(pool, i), slot - base);
			before = slot + sizes[s];
		}
		assert_true(before <= base + tp_slot_pool_bytes(sizes[s], 9));
		assert_null(tp_slot_pool_slot_ptr(pool, 9));
		assert_int_equal(tp_slot_pool_slot_index(pool, base), TP_SLOT_NONE);
		assert_int_equal(tp_slot_pool_slot_index(pool, end), TP_SLOT_NONE);
		assert_int_equal(tp_slot_pool_slot_index(pool, NULL), TP_SLOT_NONE);
		tp_slot_pool_detach(pool);
	}
}

static void
test_pool_create_out_of_range_is_refused(void **state)
{
	const struct tp_slot_pool_config bad[] = {
		{ .slot_bytes = 0, .slot_count = 1 },
		{ .slot_bytes = 64, .slot_count = 0 },
		{ .slot_bytes = TP_SLOT_BYTES_MAX + 1, .slot_count = 1 },
		{ .slot_bytes = 64, .slot_count = TP_SLOT_COUNT_MAX + 1 },
		{ .slot_bytes = 64, .slot_count = 1, .client_id = 64 },
		{ .slot_bytes = 64, .slot_count = 1, .offset = 64 },
	};
	struct tp_slot_pool_config big = { .slot_bytes = 4096, .slot_count = 64 };

	for (unsigned int i = 0; i < RTE_DIM(bad); i++) {
		rte_errno = 0;
		assert_null(tp_slot_pool_create(*state, &bad[i]));
		assert_int_equal(rte_errno, EINVAL);
	}
	assert_null(tp_slot_pool_create(*state, &big));
	assert_int_equal(rte_errno, ENOSPC);
	big.slot_count = 1;
	big.offset = UINT64_MAX - 4095;
	assert_null(tp_slot_pool_create(*state, &big));
	assert_int_equal(rte_errno, ENOSPC);
	assert_int_equal(tp_slot_pool_bytes(0, 1), 0);
	assert_true(tp_slot_pool_bytes(TP_SLOT_BYTES_MAX, TP_SLOT_COUNT_MAX) > UINT32_MAX);
}

static void
test_pool_two_in_one_segment_do_not_meet(void **state)
{
	struct tp_slot_pool_config config = { .slot_bytes = 4096, .slot_count = 4 };
	struct tp_slot_pool *first = pool_make(*state, 4096, 4), *second;
	uint8_t *last;

	config.offset = RTE_ALIGN(tp_slot_pool_bytes(4096, 4), (uint64_t)TP_SLOT_POOL_ALIGN);
	second = tp_slot_pool_create(*state, &config);
	assert_non_null(second);
	last = tp_slot_pool_slot_ptr(first, 3);
	memset(last, 0xff, 4096);
	assert_int_equal(tp_slot_pool_available(second), 4);
	assert_int_equal(tp_slot_pool_slot_index(second, last), TP_SLOT_NONE);
	tp_slot_pool_detach(second);
	tp_slot_pool_detach(first);
}

static void
test_pool_attached_twice_shares_slots_and_ids_are_exclusive(void **state)
{
	struct tp_slot_pool *mine = pool_make(*state, SLOT_BYTES, SLOT_COUNT);
	struct tp_slot_pool *theirs = tp_slot_pool_attach(*state, 0, 5);
	uint32_t index;

	assert_non_null(theirs);
	assert_int_equal(tp_slot_pool_capacity(theirs), SLOT_COUNT);
	assert_int_equal(tp_slot_pool_segment_id(theirs), 7);
	index = tp_slot_pool_loan(theirs);
	assert_int_equal(tp_slot_pool_holders(mine, index), 1u << 5);
	assert_int_equal(tp_slot_pool_available(mine), SLOT_COUNT - 1);

	assert_null(tp_slot_pool_attach(*state, 0, 5));
	assert_int_equal(rte_errno, EBUSY);
	assert_null(tp_slot_pool_attach(*state, 0, 0));
	assert_int_equal(rte_errno, EBUSY);
	assert_null(tp_slot_pool_attach(*state, 0, 64));
	assert_int_equal(rte_errno, EINVAL);
	assert_null(tp_slot_pool_attach(*state, 1, 6));
	assert_int_equal(rte_errno, EINVAL);
	assert_null(tp_slot_pool_attach(*state, UINT64_C(1) << 40, 6));
	assert_int_equal(rte_errno, EINVAL);

	/* Detaching gives back what is held, and the id. */
	tp_slot_pool_detach(theirs);
	assert_int_equal(tp_slot_pool_available(mine), SLOT_COUNT);
	theirs = tp_slot_pool_attach(*state, 0, 5);
	assert_non_null(theirs);
	tp_slot_pool_detach(theirs);
	tp_slot_pool_detach(mine);
}

static void
test_pool_attach_to_corrupt_header_is_refused(void **state)
{
	/* Each 4-byte field before the writable part, with a value that is wrong
	 * in every place, and its own value plus or minus little.
	 */
	uint32_t *fields = tp_segment_base(*state);
	const unsigned int field_count = 72 / 4;
	const unsigned int segment_id_at = offsetof(struct pool_header, segment_id) / 4;

	tp_slot_pool_detach(pool_make(*state, SLOT_BYTES, SLOT_COUNT));
	for (unsigned int i = 0; i < field_count; i++) {
		const uint32_t good = fields[i];
		const uint32_t bad[] = { good ^ 1, good + 64, good - 64, good + 4096, ~good,
					 UINT32_MAX, 0x80000000 };

		if (i == segment_id_at)
			continue;	/* any number is right */
		for (unsigned int b = 0; b < RTE_DIM(bad); b++) {
			if (bad[b] == good)
				continue;
			fields[i] = bad[b];
			rte_errno = 0;
			assert_null(tp_slot_pool_attach(*state, 0, 1));
			assert_int_equal(rte_errno, i == 2 ? EPROTONOSUPPORT : EBADMSG);
		}
		fields[i] = good;
	}
	tp_slot_pool_detach(tp_slot_pool_attach(*state, 0, 1));
}

static void
test_pool_attach_where_none_is_or_cut_off_is_refused(void **state)
{
	struct tp_segment_config config = { .type = TP_SEGMENT_HEAP, .bytes = 4096 };
	struct tp_segment *cut;

	assert_null(tp_slot_pool_attach(*state, 0, 1));
	assert_int_equal(rte_errno, EBADMSG);
	tp_slot_pool_detach(pool_make(*state, SLOT_BYTES, SLOT_COUNT));
	assert_int_equal(tp_segment_create(&config, &cut), 0);
	memcpy(tp_segment_base(cut), tp_segment_base(*state), 4096);
	assert_null(tp_slot_pool_attach(cut, 0, 1));
	assert_int_equal(rte_errno, EBADMSG);
	tp_segment_destroy(cut);
}

static void
test_pool_on_readonly_segment_is_refused(void **state)
{
	struct tp_segment_config config = { .type = TP_SEGMENT_ANY, .readonly = true };
	struct tp_slot_pool_config pool_config = { .slot_bytes = 64, .slot_count = 1 };
	struct tp_segment *readonly;

	tp_slot_pool_detach(pool_make(*state, SLOT_BYTES, SLOT_COUNT));
	assert_int_equal(tp_segment_import(dup(tp_segment_fd(*state)), &config, &readonly), 0);
	assert_null(tp_slot_pool_attach(readonly, 0, 1));
	assert_int_equal(rte_errno, EACCES);
	assert_null(tp_slot_pool_create(readonly, &pool_config));
	assert_int_equal(rte_errno, EACCES);
	tp_segment_destroy(readonly);
}

static void
test_pool_in_file_survives_its_processes(void **state)
{
	char dir[] = "/tmp/tp_slot_pool_XXXXXX", path[64];
	struct tp_segment_config config = {
		.type = TP_SEGMENT_FILE, .path = path, .bytes = 64 * 1024,
	};
	struct tp_segment *segment;
	struct tp_slot_pool *pool;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/pool", dir);
	assert_int_equal(tp_segment_create(&config, &segment), 0);
	pool = pool_make(segment, SLOT_BYTES, SLOT_COUNT);
	strcpy(tp_slot_pool_slot_ptr(pool, 3), "kept");
	tp_slot_pool_detach(pool);
	tp_segment_destroy(segment);

	config.file_mode = TP_SEGMENT_FILE_OPEN;
	assert_int_equal(tp_segment_create(&config, &segment), 0);
	pool = tp_slot_pool_attach(segment, 0, 0);
	assert_non_null(pool);
	assert_string_equal(tp_slot_pool_slot_ptr(pool, 3), "kept");
	assert_int_equal(tp_slot_pool_available(pool), SLOT_COUNT);
	tp_slot_pool_detach(pool);
	tp_segment_destroy(segment);
	unlink(path);
	rmdir(dir);
}

int
main(void)
{
#define POOL_TEST(name) cmocka_unit_test_setup_teardown(name, segment_setup, segment_teardown)
	const struct CMUnitTest tests[] = {
		POOL_TEST(test_pool_fresh_is_all_free_and_says_what_it_was_made_with),
		POOL_TEST(test_pool_slots_are_distinct_aligned_and_inside),
		POOL_TEST(test_pool_create_out_of_range_is_refused),
		POOL_TEST(test_pool_two_in_one_segment_do_not_meet),
		POOL_TEST(test_pool_attached_twice_shares_slots_and_ids_are_exclusive),
		POOL_TEST(test_pool_attach_to_corrupt_header_is_refused),
		POOL_TEST(test_pool_attach_where_none_is_or_cut_off_is_refused),
		POOL_TEST(test_pool_on_readonly_segment_is_refused),
		POOL_TEST(test_pool_in_file_survives_its_processes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
