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
#include "tp_directory.h"

#define COUNT 100

static struct tp_directory *
make_directory(void)
{
	return tp_directory_create(&(struct tp_directory_config){
		.region_count_max = 1, .worker_count_max = 1, .node_id_max = 1000 });
}

static struct tp_directory_worker *
make_worker(struct tp_directory *directory, uint32_t count, uint32_t bytes)
{
	return tp_directory_worker_create(directory, &(struct tp_directory_worker_config){
		.transient_count_max = count, .transient_bytes = bytes });
}

static void
test_worker_too_many_or_bad_is_refused(void **state)
{
	struct tp_directory *directory = make_directory();

	assert_null(make_worker(directory, UINT32_MAX, 8));
	assert_int_equal(rte_errno, EINVAL);
	assert_null(make_worker(directory, 1, UINT32_MAX));
	assert_int_equal(rte_errno, EINVAL);
	assert_non_null(make_worker(directory, 1, 8));
	assert_null(make_worker(directory, 1, 8));
	assert_int_equal(rte_errno, ENOSPC);
	tp_directory_destroy(directory);
}

static void
test_transient_exhausted_is_refused_and_counted(void **state)
{
	struct tp_directory *directory = make_directory();
	struct tp_directory_worker *worker = make_worker(directory, COUNT, 100);
	struct tp_directory_stats stats;
	bool seen[COUNT] = { false };

	for (uint32_t i = 0; i < COUNT; i++) {
		uint32_t index = tp_directory_transient_get(worker);

		assert_true(index < COUNT);
		assert_false(seen[index]);
		seen[index] = true;
		memset(tp_directory_transient_payload(worker, index), (int)index, 100);
	}
	assert_int_equal(tp_directory_transient_get(worker), TP_DIRECTORY_INDEX_NONE);
	tp_directory_stats_get(worker, &stats);
	assert_int_equal(stats.transients_used, COUNT);
	assert_int_equal(stats.transients_taken, COUNT);
	assert_int_equal(stats.transients_exhausted, 1);
	for (uint32_t i = 0; i < COUNT; i++) {
		const unsigned char *payload = tp_directory_transient_payload(worker, i);

		assert_int_equal((uintptr_t)payload % 64, 0);
		assert_int_equal(payload[0], i);
		assert_int_equal(payload[99], i);
	}
	tp_directory_transient_put(worker, 42);
	assert_int_equal(tp_directory_transient_get(worker), 42);
	tp_directory_destroy(directory);
}

static void
test_transient_table_of_none_is_always_exhausted(void **state)
{
	struct tp_directory *directory = make_directory();
	struct tp_directory_worker *worker = make_worker(directory, 0, 0);

	assert_int_equal(tp_directory_transient_get(worker), TP_DIRECTORY_INDEX_NONE);
	assert_int_equal(tp_directory_transient_next(worker, 0), TP_DIRECTORY_INDEX_NONE);
	tp_directory_destroy(directory);
}

static void
test_transient_random_steps_match_model(void **state)
{
	struct tp_directory *directory = make_directory();
	struct tp_directory_worker *worker = make_worker(directory, COUNT, 8);
	bool taken[COUNT] = { false };
	uint64_t seed = 5;

	for (int step = 0; step < 20000; step++) {
		uint32_t index = (uint32_t)(random_next(&seed) % COUNT);

		if (taken[index]) {
			tp_directory_transient_put(worker, index);
			taken[index] = false;
		} else if (random_next(&seed) % 2) {
			index = tp_directory_transient_get(worker);
			assert_true(index < COUNT && !taken[index]);
			taken[index] = true;
		}
		if (step % 64 != 0)
			continue;
		index = tp_directory_transient_next(worker, 0);
		for (uint32_t i = 0; i < COUNT; i++) {
			assert_int_equal(taken[i], index == i);
			if (index == i)
				index = tp_directory_transient_next(worker, i + 1);
		}
		assert_int_equal(index, TP_DIRECTORY_INDEX_NONE);
	}
	tp_directory_destroy(directory);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_worker_too_many_or_bad_is_refused),
		cmocka_unit_test(test_transient_exhausted_is_refused_and_counted),
		cmocka_unit_test(test_transient_table_of_none_is_always_exhausted),
		cmocka_unit_test(test_transient_random_steps_match_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
