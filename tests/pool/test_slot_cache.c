/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <rte_errno.h>

#include "pool_helper.h"
#include "pool_priv.h"

static void
test_cache_of_any_capacity_loans_every_slot_and_then_none(void **state)
{
	static const uint32_t capacities[] = { 0, 1, 2, 3, 32, 255, 256 };

	for (unsigned int c = 0; c < RTE_DIM(capacities); c++) {
		struct pool_fixture fixture;
		struct tp_slot_cache cache;
		uint32_t indices[300];

		pool_fixture_open(&fixture, 64, 300);
		assert_int_equal(tp_slot_cache_init(&cache, fixture.pool, capacities[c]), 0);
		for (int round = 0; round < 3; round++) {
			for (uint32_t i = 0; i < 300; i++) {
				indices[i] = tp_slot_cache_loan(&cache);
				assert_true(indices[i] < 300);
			}
			rte_errno = 0;
			assert_int_equal(tp_slot_cache_loan(&cache), TP_SLOT_NONE);
			assert_int_equal(rte_errno, ENOSPC);
			assert_int_equal(tp_slot_pool_held(fixture.pool, 0), 300);
			for (uint32_t i = 0; i < 300; i++) {
				assert_int_equal(tp_slot_cache_return(&cache, indices[i]), 0);
				assert_true(cache.count <= capacities[c]);
				assert_int_equal(tp_slot_cache_return(&cache, indices[i]),
						 -EALREADY);
			}
			assert_int_equal(tp_slot_pool_held(fixture.pool, 0), cache.count);
		}
		tp_slot_cache_flush(&cache);
		assert_int_equal(cache.count, 0);
		pool_check_whole(fixture.pool, 0);
		pool_fixture_close(&fixture);
	}
}

static void
test_cache_bad_arguments_are_refused(void **state)
{
	struct pool_fixture fixture;
	struct tp_slot_cache cache;

	pool_fixture_open(&fixture, 64, 10);
	assert_int_equal(tp_slot_cache_init(&cache, fixture.pool, TP_SLOT_CACHE_MAX + 1), -EINVAL);
	assert_int_equal(tp_slot_cache_init(&cache, fixture.pool, 4), 0);
	assert_int_equal(tp_slot_cache_return(&cache, 10), -EINVAL);
	assert_int_equal(tp_slot_cache_return(&cache, TP_SLOT_NONE), -EINVAL);
	assert_int_equal(tp_slot_cache_return(&cache, 0), -EALREADY);
	pool_fixture_close(&fixture);
}

static void
test_cache_takes_slots_of_another_cache_and_of_none(void **state)
{
	struct pool_fixture fixture;
	struct tp_slot_cache first, second;
	uint32_t index;

	pool_fixture_open(&fixture, 64, 100);
	assert_int_equal(tp_slot_cache_init(&first, fixture.pool, 8), 0);
	assert_int_equal(tp_slot_cache_init(&second, fixture.pool, 8), 0);
	index = tp_slot_cache_loan(&first);
	assert_int_equal(tp_slot_cache_return(&second, index), 0);
	assert_int_equal(tp_slot_cache_return(&first, index), -EALREADY);
	index = tp_slot_pool_loan(fixture.pool);
	assert_int_equal(tp_slot_cache_return(&second, index), 0);
	assert_int_equal(tp_slot_pool_return(fixture.pool, index), -EALREADY);
	tp_slot_cache_flush(&first);
	tp_slot_cache_flush(&second);
	pool_check_whole(fixture.pool, 0);
	pool_fixture_close(&fixture);
}

static void
test_cache_lost_with_its_process_is_reaped(void **state)
{
	struct pool_fixture fixture;
	struct tp_slot_pool *other;
	struct tp_slot_cache cache;

	pool_fixture_open(&fixture, 64, 100);
	other = tp_slot_pool_attach(fixture.segment, 0, 63);
	assert_int_equal(tp_slot_cache_init(&cache, other, 32), 0);
	assert_int_equal(tp_slot_cache_return(&cache, tp_slot_cache_loan(&cache)), 0);
	assert_int_equal(tp_slot_pool_held(fixture.pool, 63), 16);
	assert_int_equal(tp_slot_pool_reap(fixture.pool, 63), 16);
	pool_check_whole(fixture.pool, 0);
	assert_int_equal(tp_slot_pool_reap(fixture.pool, 0), -EINVAL);
	assert_int_equal(tp_slot_pool_reap(fixture.pool, 64), -EINVAL);
	assert_int_equal(tp_slot_pool_reap(fixture.pool, 63), 0);
	/* The id is free again; what its old owner still tries takes nothing. */
	tp_slot_pool_detach(other);
	other = tp_slot_pool_attach(fixture.segment, 0, 63);
	assert_non_null(other);
	tp_slot_pool_detach(other);
	pool_fixture_close(&fixture);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cache_of_any_capacity_loans_every_slot_and_then_none),
		cmocka_unit_test(test_cache_bad_arguments_are_refused),
		cmocka_unit_test(test_cache_takes_slots_of_another_cache_and_of_none),
		cmocka_unit_test(test_cache_lost_with_its_process_is_reaped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
