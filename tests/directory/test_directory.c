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

#include "tp_directory.h"
#include "tp_generation.h"

static const struct tp_directory_config config = {
	.region_count_max = 3,
	.worker_count_max = 1,
	.node_id_max = 100,
};

static void
test_directory_bad_configuration_is_refused(void **state)
{
	struct tp_directory_config bad = config;

	bad.region_count_max = 0;
	rte_errno = 0;
	assert_null(tp_directory_create(&bad));
	assert_int_equal(rte_errno, EINVAL);
	bad = config;
	bad.worker_count_max = 0;
	assert_null(tp_directory_create(&bad));
	bad = config;
	bad.node_id_max = TP_NODE_COUNT_MAX;
	assert_null(tp_directory_create(&bad));
	tp_directory_destroy(NULL);
}

static void
test_region_slots_are_found_reused_and_bounded(void **state)
{
	struct tp_directory *directory = tp_directory_create(&config);

	assert_int_equal(tp_directory_region_add(directory, 0, 1, 1), -EINVAL);
	assert_int_equal(tp_directory_region_add(directory, 1, 0, 1), -EINVAL);
	assert_int_equal(tp_directory_region_add(directory, 1, 1, 0), -EINVAL);
	assert_int_equal(tp_directory_region_add(directory, 10, 1, 5), 0);
	assert_int_equal(tp_directory_region_add(directory, 11, 1, 5), 1);
	assert_int_equal(tp_directory_region_add(directory, 11, 2, 5), -EEXIST);
	assert_int_equal(tp_directory_region_add(directory, 12, 1, 7), 2);
	assert_int_equal(tp_directory_region_add(directory, 13, 1, 5), -ENOSPC);
	assert_int_equal(tp_directory_region_slot(directory, 12), 2);
	assert_int_equal(tp_directory_region_pages(directory, 2), 7);
	assert_int_equal(tp_directory_region_remove(directory, 11), 0);
	assert_int_equal(tp_directory_region_remove(directory, 11), -ENOENT);
	assert_int_equal(tp_directory_region_slot(directory, 11), -ENOENT);
	assert_int_equal(tp_directory_region_add(directory, 13, 1, 5), 1);
	tp_directory_destroy(directory);
}

static void
test_entry_first_got_has_no_owner_and_the_generation(void **state)
{
	struct tp_directory *directory = tp_directory_create(&config);
	uint64_t generation = tp_generation_pack(3, 9);
	int slot = tp_directory_region_add(directory, 10, generation, 1000);
	struct tp_directory_entry *entry = tp_directory_entry_get(directory, (uint32_t)slot, 999);

	assert_int_equal(entry->owner, TP_NODE_NONE);
	assert_int_equal(entry->generation, generation);
	assert_int_equal(entry->sequence, 0);
	assert_int_equal(entry->state, 0);
	assert_int_equal((uintptr_t)entry % 64, 0);
	entry->owner = 5;
	assert_ptr_equal(tp_directory_entry_get(directory, (uint32_t)slot, 999), entry);
	assert_int_equal(entry->owner, 5);
	tp_directory_destroy(directory);
}

static void
test_entry_walk_finds_those_ever_got(void **state)
{
	static const uint32_t touched[] = { 0, 1, 63, 64, 4095, 4096, 100000, 299999 };
	struct tp_directory *directory = tp_directory_create(&config);
	uint32_t slot = (uint32_t)tp_directory_region_add(directory, 10, 1, 300000);
	uint32_t index = 0;

	assert_int_equal(tp_directory_entry_next(directory, slot, 0), TP_DIRECTORY_INDEX_NONE);
	for (size_t i = 0; i < RTE_DIM(touched); i++)
		tp_directory_entry_get(directory, slot, touched[i]);
	for (size_t i = 0; i < RTE_DIM(touched); i++) {
		index = tp_directory_entry_next(directory, slot, index);
		assert_int_equal(index, touched[i]);
		index++;
	}
	assert_int_equal(tp_directory_entry_next(directory, slot, index), TP_DIRECTORY_INDEX_NONE);
	assert_int_equal(tp_directory_entry_next(directory, slot, UINT32_MAX),
		TP_DIRECTORY_INDEX_NONE);
	tp_directory_destroy(directory);
}

static void
test_directory_untouched_region_costs_address_space_only(void **state)
{
	struct tp_directory *directory = tp_directory_create(&config);
	uint64_t before = tp_directory_bytes(directory);
	uint32_t slot = (uint32_t)tp_directory_region_add(directory, 10, 1, 1u << 30);
	uint64_t reserved = tp_directory_bytes(directory);

	assert_true(reserved - before <= (1u << 30) / 64 / 8);
	tp_directory_entry_get(directory, slot, 12345678);
	assert_int_equal(tp_directory_bytes(directory), reserved + 4096);
	tp_directory_entry_get(directory, slot, 12345679);
	assert_int_equal(tp_directory_bytes(directory), reserved + 4096);
	assert_int_equal(tp_directory_region_remove(directory, 10), 0);
	assert_int_equal(tp_directory_bytes(directory), before);
	tp_directory_destroy(directory);
}

static void
test_region_added_again_starts_empty(void **state)
{
	struct tp_directory *directory = tp_directory_create(&config);
	uint32_t slot = (uint32_t)tp_directory_region_add(directory, 10, 1, 64);

	tp_directory_entry_get(directory, slot, 3)->state = 9;
	assert_int_equal(tp_directory_region_remove(directory, 10), 0);
	assert_int_equal(tp_directory_region_add(directory, 10, 2, 64), slot);
	assert_int_equal(tp_directory_entry_get(directory, slot, 3)->state, 0);
	assert_int_equal(tp_directory_entry_get(directory, slot, 3)->generation, 2);
	tp_directory_destroy(directory);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_directory_bad_configuration_is_refused),
		cmocka_unit_test(test_region_slots_are_found_reused_and_bounded),
		cmocka_unit_test(test_entry_first_got_has_no_owner_and_the_generation),
		cmocka_unit_test(test_entry_walk_finds_those_ever_got),
		cmocka_unit_test(test_directory_untouched_region_costs_address_space_only),
		cmocka_unit_test(test_region_added_again_starts_empty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
