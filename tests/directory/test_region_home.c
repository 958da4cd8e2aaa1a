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

#include "tp_region.h"

static struct tp_region
striped(uint16_t nodes, uint32_t pages)
{
	struct tp_region region = {
		.id = 1,
		.distribution = TP_REGION_STRIPED,
		.page_shift = 12,
		.base = TP_ADDRESS_BASE + (1 << 21),
		.bytes = (uint64_t)pages << 12,
		.page_count = pages,
		.node_count = nodes,
	};

	for (uint16_t i = 0; i < nodes; i++)
		region.nodes[i] = (uint16_t)(1000 - 7 * i);
	return region;
}

/* Every page has one place, and places of a node are dense. */
static void
check_places(const struct tp_region *region)
{
	uint32_t sum = 0;

	for (uint32_t page = 0; page < region->page_count; page++) {
		uint16_t home = tp_region_home(region, page);
		uint32_t index = tp_region_home_index(region, page);

		assert_true(index < tp_region_home_count(region, home));
		assert_int_equal(tp_region_page_of(region, home, index), page);
	}
	for (uint16_t i = 0; i < region->node_count; i++) {
		uint32_t count = tp_region_home_count(region, region->nodes[i]);

		sum += count;
		assert_int_equal(tp_region_page_of(region, region->nodes[i], count),
			TP_REGION_PAGE_NONE);
	}
	assert_int_equal(sum, region->page_count);
}

static void
test_region_striped_places_are_dense_and_invert(void **state)
{
	for (uint16_t nodes = 1; nodes <= TP_REGION_NODES_MAX; nodes++)
		for (uint32_t pages = 1; pages < 200; pages += 13) {
			struct tp_region region = striped(nodes, pages);

			check_places(&region);
		}
}

static void
test_region_striped_stranger_homes_nothing(void **state)
{
	struct tp_region region = striped(3, 10);

	assert_int_equal(tp_region_home_count(&region, 5), 0);
	assert_int_equal(tp_region_page_of(&region, 5, 0), TP_REGION_PAGE_NONE);
	/* More nodes than pages: the last ones have none. */
	region = striped(10, 3);
	assert_int_equal(tp_region_home_count(&region, region.nodes[3]), 0);
	assert_int_equal(tp_region_home_count(&region, region.nodes[2]), 1);
}

static void
test_region_home_has_all_pages_on_its_node(void **state)
{
	struct tp_region region = striped(1, 77);

	region.distribution = TP_REGION_HOME;
	check_places(&region);
	assert_int_equal(tp_region_home(&region, 76), 1000);
	assert_int_equal(tp_region_home_count(&region, 7), 0);
}

static void
test_region_first_touch_is_none_until_placed(void **state)
{
	_Atomic uint16_t extents[2] = { TP_NODE_NONE, 9 };
	struct tp_region region = striped(1, 600);

	region.distribution = TP_REGION_FIRST_TOUCH;
	region.node_count = 0;
	region.extents = extents;
	region.extent_count = 2;
	assert_int_equal(tp_region_extent_of(&region, 511), 0);
	assert_int_equal(tp_region_extent_of(&region, 512), 1);
	assert_int_equal(tp_region_home(&region, 511), TP_NODE_NONE);
	assert_int_equal(tp_region_home(&region, 512), 9);
	assert_int_equal(tp_region_home_index(&region, 512), 512);
	assert_int_equal(tp_region_home_count(&region, 3), 600);
	assert_int_equal(tp_region_page_of(&region, 9, 512), 512);
	assert_int_equal(tp_region_page_of(&region, 9, 511), TP_REGION_PAGE_NONE);
	assert_int_equal(tp_region_page_of(&region, 9, 600), TP_REGION_PAGE_NONE);
}

static void
test_region_addresses_and_pages_agree(void **state)
{
	struct tp_region region = striped(3, 10);

	assert_false(tp_region_contains(&region, region.base - 1));
	assert_true(tp_region_contains(&region, region.base));
	assert_true(tp_region_contains(&region, region.base + region.bytes - 1));
	assert_false(tp_region_contains(&region, region.base + region.bytes));
	assert_int_equal(tp_region_page_index(&region, tp_region_page_address(&region, 9) + 5), 9);
}

static void
test_region_names_of_unknown_numbers_are_unknown(void **state)
{
	assert_string_equal(tp_region_distribution_name(TP_REGION_STRIPED), "striped");
	assert_string_equal(tp_region_distribution_name(0), "unknown");
	assert_string_equal(tp_region_distribution_name(77), "unknown");
	assert_string_equal(tp_region_mode_name(TP_REGION_RO), "ro");
	assert_string_equal(tp_region_mode_name(9), "unknown");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_region_striped_places_are_dense_and_invert),
		cmocka_unit_test(test_region_striped_stranger_homes_nothing),
		cmocka_unit_test(test_region_home_has_all_pages_on_its_node),
		cmocka_unit_test(test_region_first_touch_is_none_until_placed),
		cmocka_unit_test(test_region_addresses_and_pages_agree),
		cmocka_unit_test(test_region_names_of_unknown_numbers_are_unknown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
