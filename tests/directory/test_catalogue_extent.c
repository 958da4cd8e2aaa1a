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
#include "tp_catalogue.h"

static const struct tp_address_split split = { .node_bits = 14, .offset_bits = 32 };

struct rig {
	struct tp_store *store;
	struct tp_catalogue *catalogue;
};

static int
setup(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	store_dir_make();
	rig->store = store_dir_open();
	rig->catalogue = tp_catalogue_open(rig->store, split);
	*state = rig;
	return rig->catalogue == NULL;
}

static int
teardown(void **state)
{
	struct rig *rig = *state;

	tp_catalogue_close(rig->catalogue);
	tp_store_close(rig->store);
	free(rig);
	store_dir_remove();
	return 0;
}

static struct tp_region
create_first_touch(struct rig *rig, const char *name, uint32_t extents)
{
	struct tp_region_spec spec = {
		.name = name, .bytes = (uint64_t)extents << TP_EXTENT_SHIFT, .page_shift = 16,
		.mode = TP_REGION_RW, .distribution = TP_REGION_FIRST_TOUCH, .born_node = 1,
	};
	struct tp_region region;

	assert_int_equal(tp_catalogue_region_create(rig->catalogue, &spec, &region), 0);
	assert_int_equal(region.extent_count, extents);
	return region;
}

static _Atomic uint16_t *
no_placements(uint32_t count)
{
	_Atomic uint16_t *extents = malloc(count * sizeof(extents[0]));

	for (uint32_t i = 0; i < count; i++)
		atomic_init(&extents[i], TP_NODE_NONE);
	return extents;
}

static void
test_extent_first_placement_wins(void **state)
{
	struct rig *rig = *state;
	struct tp_region region = create_first_touch(rig, "data", 4);
	uint16_t winner = TP_NODE_NONE;

	assert_int_equal(tp_catalogue_extent_place(rig->catalogue, &region, 2, 7, &winner), 0);
	assert_int_equal(winner, 7);
	assert_int_equal(tp_catalogue_extent_place(rig->catalogue, &region, 2, 8, &winner), 0);
	assert_int_equal(winner, 7);
	assert_int_equal(tp_catalogue_extent_place(rig->catalogue, &region, 3, 8, &winner), 0);
	assert_int_equal(winner, 8);
}

static void
test_extent_placement_is_noted_in_the_region(void **state)
{
	struct rig *rig = *state;
	struct tp_region region = create_first_touch(rig, "data", 4);
	uint16_t winner;

	region.extents = no_placements(4);
	assert_int_equal(tp_region_home(&region, 32), TP_NODE_NONE);
	assert_int_equal(tp_catalogue_extent_place(rig->catalogue, &region, 1, 7, &winner), 0);
	assert_int_equal(tp_region_home(&region, 31), TP_NODE_NONE);
	assert_int_equal(tp_region_home(&region, 32), 7);
	assert_int_equal(tp_region_home(&region, 63), 7);
	assert_int_equal(tp_region_home(&region, 64), TP_NODE_NONE);
	free(region.extents);
}

static void
test_extent_bad_arguments_are_refused(void **state)
{
	struct rig *rig = *state;
	struct tp_region region = create_first_touch(rig, "data", 4);
	uint16_t winner;

	assert_int_equal(tp_catalogue_extent_place(rig->catalogue, &region, 4, 7, &winner),
		-EINVAL);
	assert_int_equal(tp_catalogue_extent_place(rig->catalogue, &region, 0, 16384, &winner),
		-EINVAL);
	assert_int_equal(tp_catalogue_extents_read(rig->catalogue, &region), -EINVAL);
	region.distribution = TP_REGION_HOME;
	assert_int_equal(tp_catalogue_extent_place(rig->catalogue, &region, 0, 7, &winner),
		-EINVAL);
}

/* Over several records, at their borders. */
static void
test_extents_read_gives_all_placements(void **state)
{
	static const uint32_t places[] = { 0, 511, 512, 1023, 1024, 1535 };
	struct rig *rig = *state;
	struct tp_region region = create_first_touch(rig, "data", 1536);
	uint16_t winner;

	for (size_t i = 0; i < RTE_DIM(places); i++)
		assert_int_equal(tp_catalogue_extent_place(rig->catalogue, &region, places[i],
			(uint16_t)(i + 1), &winner), 0);
	region.extents = no_placements(1536);
	assert_int_equal(tp_catalogue_extents_read(rig->catalogue, &region), RTE_DIM(places));
	for (uint32_t i = 0, next = 0; i < 1536; i++) {
		bool placed = next < RTE_DIM(places) && places[next] == i;

		next += placed;
		assert_int_equal(region.extents[i], placed ? next : TP_NODE_NONE);
	}
	free(region.extents);
}

static void
test_extents_of_an_older_generation_are_forgotten_and_cannot_be_placed(void **state)
{
	struct rig *rig = *state;
	struct tp_region region = create_first_touch(rig, "data", 4);
	struct tp_region old = region;
	uint16_t winner;

	assert_int_equal(tp_catalogue_extent_place(rig->catalogue, &region, 0, 7, &winner), 0);
	assert_int_equal(tp_catalogue_region_reset(rig->catalogue, region.id, &region.generation),
		0);
	region.extents = no_placements(4);
	assert_int_equal(tp_catalogue_extents_read(rig->catalogue, &region), 0);
	assert_int_equal(tp_catalogue_extent_place(rig->catalogue, &region, 0, 9, &winner), 0);
	assert_int_equal(winner, 9);
	assert_int_equal(tp_catalogue_extent_place(rig->catalogue, &old, 0, 7, &winner), -ESTALE);
	assert_int_equal(tp_region_home(&region, 0), 9);
	free(region.extents);
}

/* Keys are bounded: a thousand regions one after another use those of one. */
static void
test_extents_of_later_regions_use_the_same_keys(void **state)
{
	struct rig *rig = *state;
	uint16_t winner;

	for (uint16_t i = 0; i < 50; i++) {
		struct tp_region region = create_first_touch(rig, "data", 4);

		assert_int_equal(region.extent_bank, 0);
		assert_int_equal(tp_catalogue_extent_place(rig->catalogue, &region, 1, i, &winner),
			0);
		assert_int_equal(winner, i);
		assert_int_equal(tp_catalogue_region_destroy(rig->catalogue, region.id), 0);
		assert_int_equal(tp_catalogue_region_reap(rig->catalogue, region.id), 0);
	}
	assert_int_equal(create_first_touch(rig, "a", 1).extent_bank, 0);
	assert_int_equal(create_first_touch(rig, "b", 1).extent_bank, 1);
	/* cluster, region/all, and one record of extents */
	assert_int_equal(store_dir_file_count(), 3);
}

#define EXTENT_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		EXTENT_TEST(test_extent_first_placement_wins),
		EXTENT_TEST(test_extent_placement_is_noted_in_the_region),
		EXTENT_TEST(test_extent_bad_arguments_are_refused),
		EXTENT_TEST(test_extents_read_gives_all_placements),
		EXTENT_TEST(test_extents_of_an_older_generation_are_forgotten_and_cannot_be_placed),
		EXTENT_TEST(test_extents_of_later_regions_use_the_same_keys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
