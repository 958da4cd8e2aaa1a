/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <rte_common.h>
#include <rte_errno.h>

#include "store_dir.h"
#include "tp_address.h"
#include "tp_generation.h"
#include "tp_shard.h"

static const struct tp_address_split small = { .node_bits = 6, .offset_bits = 40 };

static void
test_address_pack_round_trips_in_every_split(void **state)
{
	uint64_t seed = 1;

	for (unsigned int bits = 1; bits <= TP_NODE_BITS_MAX; bits++) {
		struct tp_address_split split;

		assert_int_equal(tp_address_split_init(&split, bits), 0);
		assert_true(tp_address_split_is_valid(split));
		for (int i = 0; i < 1000; i++) {
			uint16_t node = (uint16_t)(random_next(&seed) %
				tp_address_node_count(split));
			uint64_t offset = random_next(&seed) % tp_address_space_bytes(split);
			uint64_t address = tp_address_pack(split, node, offset);

			assert_true(tp_address_is_global(address));
			assert_int_equal(tp_address_node(split, address), node);
			assert_int_equal(tp_address_offset(split, address), offset);
		}
	}
}

static void
test_address_limits_are_the_published_range(void **state)
{
	struct tp_address_split split = TP_ADDRESS_SPLIT_DEFAULT;

	assert_int_equal(tp_address_pack(split, 0, 0), UINT64_C(0x0000C00000000000));
	assert_int_equal(tp_address_pack(split, 16383, UINT32_MAX), UINT64_C(0x0000FFFFFFFFFFFF));
	assert_int_equal(tp_address_pack(split, 1, 0), UINT64_C(0x0000C00100000000));
	assert_int_equal(tp_address_pack(small, 1, 0), UINT64_C(0x0000C10000000000));
	assert_int_equal(tp_address_pack_durable(split, 0, 0), UINT64_C(0x0000800000000000));
	assert_int_equal(tp_address_pack_durable(split, 16383, UINT32_MAX),
		UINT64_C(0x0000BFFFFFFFFFFF));
	assert_int_equal(tp_address_pack_durable(split, 0, UINT64_MAX), TP_ADDRESS_NONE);
	assert_true(tp_address_is_durable(TP_ADDRESS_BASE - 1));
	assert_false(tp_address_is_durable(TP_ADDRESS_BASE));
	assert_int_equal(tp_address_node(split, tp_address_pack_durable(split, 7, 4096)), 7);
	assert_false(tp_address_is_same_node(split, tp_address_pack(split, 7, 0),
		tp_address_pack_durable(split, 7, 0)));
	assert_false(tp_address_is_global(TP_ADDRESS_DURABLE_BASE - 1));
	assert_false(tp_address_is_global(TP_ADDRESS_LAST + 1));
	assert_false(tp_address_is_global(TP_ADDRESS_NONE));
}

static void
test_address_pack_out_of_range_gives_none(void **state)
{
	struct tp_address_split split = TP_ADDRESS_SPLIT_DEFAULT;

	assert_int_equal(tp_address_pack(split, 16384, 0), TP_ADDRESS_NONE);
	assert_int_equal(tp_address_pack(split, TP_NODE_NONE, 0), TP_ADDRESS_NONE);
	assert_int_equal(tp_address_pack(split, 0, UINT64_C(1) << 32), TP_ADDRESS_NONE);
	assert_int_equal(tp_address_pack(small, 64, 0), TP_ADDRESS_NONE);
}

static void
test_address_split_bad_is_refused(void **state)
{
	struct tp_address_split split = { 0 };

	assert_int_equal(tp_address_split_init(&split, 0), -EINVAL);
	assert_int_equal(tp_address_split_init(&split, 15), -EINVAL);
	assert_int_equal(split.node_bits, 0);
	assert_false(tp_address_split_is_valid(split));
	assert_false(tp_address_split_is_valid((struct tp_address_split){ 14, 33 }));
}

static void
test_address_add_stops_at_the_end_of_the_space(void **state)
{
	struct tp_address_split split = TP_ADDRESS_SPLIT_DEFAULT;
	uint64_t base = tp_address_pack(split, 3, 0);
	uint64_t last = tp_address_pack(split, 3, UINT32_MAX);
	uint64_t sum = 7;

	assert_int_equal(tp_address_add(split, base, UINT32_MAX, &sum), 0);
	assert_int_equal(sum, last);
	assert_int_equal(tp_address_add(split, last, 0, &sum), 0);
	assert_int_equal(tp_address_add(split, last, 1, &sum), -EOVERFLOW);
	assert_int_equal(tp_address_add(split, base, UINT64_C(1) << 32, &sum), -EOVERFLOW);
	assert_int_equal(tp_address_add(split, last, UINT64_MAX, &sum), -EOVERFLOW);
	assert_int_equal(tp_address_add(split, 4096, 1, &sum), -EINVAL);
	assert_int_equal(sum, last);
	assert_true(tp_address_range_is_valid(split, base, UINT64_C(1) << 32));
	assert_false(tp_address_range_is_valid(split, base + 1, UINT64_C(1) << 32));
	assert_true(tp_address_range_is_valid(split, last, 0));
	assert_false(tp_address_range_is_valid(split, 0, 0));
}

static void
test_address_same_node_compares_the_node_part(void **state)
{
	uint64_t a = tp_address_pack(small, 5, 1);

	assert_true(tp_address_is_same_node(small, a, tp_address_pack(small, 5, 1ull << 39)));
	assert_false(tp_address_is_same_node(small, a, tp_address_pack(small, 6, 1)));
	assert_false(tp_address_is_same_node(small, a, 1));
}

static void
test_address_pages_are_counted_by_touch(void **state)
{
	uint64_t base = tp_address_pack(small, 2, 0x10000);

	assert_int_equal(tp_address_page_start(base + 4097, 12), base + 4096);
	assert_int_equal(tp_address_page_offset(base + 4097, 12), 1);
	assert_int_equal(tp_address_page_number(base, 12), (2ull << 28) + 0x10);
	assert_int_equal(tp_address_page_span(base, 0, 12), 0);
	assert_int_equal(tp_address_page_span(base, 4096, 12), 1);
	assert_int_equal(tp_address_page_span(base + 4095, 2, 12), 2);
	assert_int_equal(tp_address_page_span(base + 1, 8192, 12), 3);
	assert_int_equal(tp_address_page_span(TP_ADDRESS_LAST, 1, 21), 1);
}

static void
test_generation_fields_round_trip(void **state)
{
	uint64_t generation = tp_generation_pack(16383, TP_GENERATION_COUNTER_MAX);

	assert_int_equal(tp_generation_node(generation), 16383);
	assert_int_equal(tp_generation_counter(generation), TP_GENERATION_COUNTER_MAX);
	assert_true(tp_generation_is_valid(generation));
	assert_int_equal(tp_generation_pack(1, 0), TP_GENERATION_NONE);
	assert_int_equal(tp_generation_pack(1, TP_GENERATION_COUNTER_MAX + 1), TP_GENERATION_NONE);
	assert_false(tp_generation_is_valid(UINT64_C(5) << 48));
}

static void
test_generation_order_holds_within_a_node_only(void **state)
{
	uint64_t a = tp_generation_pack(4, 10);
	uint64_t b = tp_generation_pack(4, 11);
	uint64_t next = 0;

	assert_int_equal(tp_generation_compare(a, a), TP_GENERATION_SAME);
	assert_int_equal(tp_generation_compare(a, b), TP_GENERATION_OLDER);
	assert_int_equal(tp_generation_compare(b, a), TP_GENERATION_NEWER);
	assert_int_equal(tp_generation_compare(a, tp_generation_pack(5, 10)),
		TP_GENERATION_UNRELATED);
	assert_int_equal(tp_generation_next(a, &next), 0);
	assert_int_equal(next, b);
}

static void
test_generation_exhausted_is_an_error(void **state)
{
	uint64_t next = 42;

	assert_int_equal(tp_generation_next(tp_generation_pack(4, TP_GENERATION_COUNTER_MAX),
		&next), -EOVERFLOW);
	assert_int_equal(next, 42);
}

/* Pages of one home of a striped region must still spread over all workers. */
static void
test_shard_striped_pages_spread_over_workers(void **state)
{
	static const unsigned int strides[] = { 1, 2, 3, 4, 8, 16, 64, 512 };
	uint64_t base = tp_address_pack(small, 1, 1 << 21);

	for (size_t s = 0; s < RTE_DIM(strides); s++) {
		uint32_t counts[TP_SHARD_COUNT] = { 0 };

		for (uint64_t i = 0; i < 256 * 64; i++)
			counts[tp_shard_of(base + (i * strides[s] << 12), 12)]++;
		for (uint16_t workers = 2; workers <= 8; workers++) {
			uint32_t load[8] = { 0 };

			for (uint32_t i = 0; i < TP_SHARD_COUNT; i++)
				load[tp_shard_worker(i, workers)] += counts[i];
			for (uint16_t w = 0; w < workers; w++) {
				assert_true(load[w] > 256u * 64 / workers * 8 / 10);
				assert_true(load[w] < 256u * 64 / workers * 12 / 10);
			}
		}
	}
}

static void
test_shard_is_the_same_for_the_whole_page(void **state)
{
	uint64_t base = tp_address_pack(small, 1, 1 << 21);

	assert_int_equal(tp_shard_of(base, 16), tp_shard_of(base + 65535, 16));
	assert_true(tp_shard_of(base, 12) < TP_SHARD_COUNT);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_address_pack_round_trips_in_every_split),
		cmocka_unit_test(test_address_limits_are_the_published_range),
		cmocka_unit_test(test_address_pack_out_of_range_gives_none),
		cmocka_unit_test(test_address_split_bad_is_refused),
		cmocka_unit_test(test_address_add_stops_at_the_end_of_the_space),
		cmocka_unit_test(test_address_same_node_compares_the_node_part),
		cmocka_unit_test(test_address_pages_are_counted_by_touch),
		cmocka_unit_test(test_generation_fields_round_trip),
		cmocka_unit_test(test_generation_order_holds_within_a_node_only),
		cmocka_unit_test(test_generation_exhausted_is_an_error),
		cmocka_unit_test(test_shard_striped_pages_spread_over_workers),
		cmocka_unit_test(test_shard_is_the_same_for_the_whole_page),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
