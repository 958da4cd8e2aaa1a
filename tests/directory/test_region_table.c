/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 */
#include <stdio.h>

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
#include "tp_region_table.h"

#define MIB (UINT64_C(1) << 20)

static const struct tp_address_split split = { .node_bits = 14, .offset_bits = 32 };

/* One node that changes the catalogue, another with a table. */
struct rig {
	struct tp_store *stores[2];
	struct tp_catalogue *changer;
	struct tp_catalogue *follower;
	struct tp_region_table *table;
	char log[1024];
};

static int
setup(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	store_dir_make();
	rig->stores[0] = store_dir_open();
	rig->stores[1] = store_dir_open();
	rig->changer = tp_catalogue_open(rig->stores[0], split);
	rig->follower = tp_catalogue_open(rig->stores[1], split);
	rig->table = tp_region_table_create(rig->follower);
	*state = rig;
	return rig->table == NULL;
}

static int
teardown(void **state)
{
	struct rig *rig = *state;

	tp_region_table_destroy(rig->table);
	tp_catalogue_close(rig->changer);
	tp_catalogue_close(rig->follower);
	tp_store_close(rig->stores[0]);
	tp_store_close(rig->stores[1]);
	free(rig);
	store_dir_remove();
	return 0;
}

static void
note(struct rig *rig, char what, const struct tp_region *region)
{
	char text[80];

	snprintf(text, sizeof(text), "%c%s ", what, region->name);
	strcat(rig->log, text);
}

static void
on_added(void *ctx, const struct tp_region *region)
{
	note(ctx, '+', region);
}

static void
on_removed(void *ctx, const struct tp_region *region)
{
	note(ctx, '-', region);
}

static void
on_reset(void *ctx, const struct tp_region *before, const struct tp_region *after)
{
	assert_ptr_not_equal(before, after);
	assert_true(before->generation < after->generation);
	note(ctx, '*', after);
}

static const struct tp_region_table_ops ops = { on_added, on_removed, on_reset };

static int
refresh(struct rig *rig)
{
	rig->log[0] = '\0';
	return tp_region_table_refresh(rig->table, &ops, rig);
}

static struct tp_region
create(struct rig *rig, const char *name, uint16_t born_node, uint8_t distribution)
{
	static const uint16_t home = 1;
	struct tp_region_spec spec = {
		.name = name, .bytes = 8 * MIB, .page_shift = 12, .mode = TP_REGION_RW,
		.distribution = distribution, .born_node = born_node,
		.node_count = distribution == TP_REGION_HOME, .nodes = &home,
	};
	struct tp_region region;

	assert_int_equal(tp_catalogue_region_create(rig->changer, &spec, &region), 0);
	return region;
}

static void
test_table_follows_and_reports_each_change_once(void **state)
{
	struct rig *rig = *state;
	struct tp_region a = create(rig, "a", 1, TP_REGION_HOME);
	struct tp_region b = create(rig, "b", 2, TP_REGION_HOME);
	const struct tp_region *kept;

	assert_int_equal(refresh(rig), 2);
	assert_string_equal(rig->log, "+a +b ");
	assert_int_equal(refresh(rig), 0);
	assert_string_equal(rig->log, "");
	kept = tp_region_table_find_id(rig->table, b.id, NULL);
	assert_non_null(kept);

	assert_int_equal(tp_catalogue_region_reset(rig->changer, a.id, NULL), 0);
	create(rig, "c", 0, TP_REGION_HOME);
	assert_int_equal(refresh(rig), 2);
	assert_string_equal(rig->log, "*a +c ");
	assert_ptr_equal(tp_region_table_find_id(rig->table, b.id, NULL), kept);

	assert_int_equal(tp_catalogue_region_destroy(rig->changer, a.id), 0);
	assert_int_equal(refresh(rig), 1);
	assert_string_equal(rig->log, "-a ");
	assert_int_equal(tp_catalogue_region_reap(rig->changer, a.id), 0);
	assert_int_equal(refresh(rig), 0);
	assert_int_equal(tp_region_table_count(rig->table), 2);
	tp_region_table_reclaim(rig->table);
	assert_string_equal(kept->name, "b");
}

static void
test_table_finds_by_address_and_id_at_the_borders(void **state)
{
	struct rig *rig = *state;
	struct tp_region regions[20];
	struct tp_region_cache cache = { 0 };

	for (uint16_t i = 0; i < RTE_DIM(regions); i++) {
		char name[8];

		/* Ids and addresses in opposite order. */
		snprintf(name, sizeof(name), "r%u", i);
		regions[i] = create(rig, name, (uint16_t)(100 - i), TP_REGION_HOME);
	}
	assert_int_equal(tp_region_table_refresh(rig->table, NULL, NULL), RTE_DIM(regions));
	for (size_t i = 0; i < RTE_DIM(regions) * 2; i++) {
		const struct tp_region *region = &regions[i % RTE_DIM(regions)];
		struct tp_region_cache *used = i % 3 == 0 ? NULL : &cache;
		uint64_t end = region->base + region->bytes;

		assert_int_equal(tp_region_table_find_address(rig->table, region->base, used)->id,
			region->id);
		assert_int_equal(tp_region_table_find_address(rig->table, end - 1, used)->id,
			region->id);
		assert_null(tp_region_table_find_address(rig->table, end, used));
		assert_null(tp_region_table_find_address(rig->table, region->base - 1, used));
		assert_int_equal(tp_region_table_find_id(rig->table, region->id, used)->base,
			region->base);
	}
	assert_null(tp_region_table_find_id(rig->table, 0, &cache));
	assert_null(tp_region_table_find_id(rig->table, 21, &cache));
	assert_null(tp_region_table_find_address(rig->table, 0, NULL));
	assert_int_equal(tp_region_table_at(rig->table, 0)->id, regions[19].id);
	assert_null(tp_region_table_at(rig->table, 20));
}

/* A cache filled before a removal must not find the region after it. */
static void
test_table_cache_of_an_old_list_is_not_used(void **state)
{
	struct rig *rig = *state;
	struct tp_region a = create(rig, "a", 1, TP_REGION_HOME);
	struct tp_region_cache cache = { 0 };

	assert_int_equal(refresh(rig), 1);
	assert_non_null(tp_region_table_find_address(rig->table, a.base, &cache));
	assert_int_equal(tp_catalogue_region_destroy(rig->changer, a.id), 0);
	assert_int_equal(refresh(rig), 1);
	tp_region_table_reclaim(rig->table);
	assert_null(tp_region_table_find_address(rig->table, a.base, &cache));
	assert_null(tp_region_table_find_id(rig->table, a.id, &cache));
}

static void
test_table_learns_placements_of_others(void **state)
{
	struct rig *rig = *state;
	struct tp_region made = create(rig, "a", 1, TP_REGION_FIRST_TOUCH);
	const struct tp_region *region;
	uint16_t winner;

	assert_int_equal(tp_catalogue_extent_place(rig->changer, &made, 0, 3, &winner), 0);
	assert_int_equal(refresh(rig), 1);
	region = tp_region_table_find_id(rig->table, made.id, NULL);
	assert_int_equal(tp_region_home(region, 0), 3);
	assert_int_equal(tp_region_home(region, 512), TP_NODE_NONE);
	assert_int_equal(tp_catalogue_extent_place(rig->changer, &made, 1, 4, &winner), 0);
	assert_int_equal(refresh(rig), 0);
	assert_int_equal(tp_region_home(region, 512), 4);
	/* After a reset nothing is placed in the new region, the old one keeps its homes. */
	assert_int_equal(tp_catalogue_region_reset(rig->changer, made.id, NULL), 0);
	assert_int_equal(refresh(rig), 1);
	assert_int_equal(tp_region_home(region, 512), 4);
	region = tp_region_table_find_id(rig->table, made.id, NULL);
	assert_int_equal(tp_region_home(region, 512), TP_NODE_NONE);
}

static void
test_table_refresh_that_fails_changes_nothing(void **state)
{
	struct rig *rig = *state;
	struct tp_region a = create(rig, "a", 1, TP_REGION_HOME);
	static char saved[1024];
	uint64_t version;
	size_t bytes;

	assert_int_equal(refresh(rig), 1);
	assert_int_equal(tp_store_get(rig->stores[0], "region/all", saved, sizeof(saved), &bytes,
		&version), 0);
	assert_int_equal(tp_store_cas(rig->stores[0], "region/all", version, "x", 1, &version), 0);
	assert_int_equal(refresh(rig), -EBADMSG);
	assert_int_equal(refresh(rig), -EBADMSG);
	assert_non_null(tp_region_table_find_id(rig->table, a.id, NULL));
	/* Not given up: once the record is right again it is followed. */
	assert_int_equal(tp_store_cas(rig->stores[0], "region/all", version, saved, bytes, NULL),
		0);
	create(rig, "b", 1, TP_REGION_HOME);
	assert_int_equal(refresh(rig), 1);
	assert_string_equal(rig->log, "+b ");
}

/* The placements of a new region cannot be read: it is not published half known. */
static void
test_table_refresh_with_bad_placements_changes_nothing(void **state)
{
	struct rig *rig = *state;
	uint64_t version;

	create(rig, "a", 1, TP_REGION_FIRST_TOUCH);
	assert_int_equal(tp_store_cas(rig->stores[0], "extent/000/0000", 0, "x", 1, &version), 0);
	assert_int_equal(refresh(rig), -EBADMSG);
	assert_int_equal(tp_region_table_count(rig->table), 0);
	assert_int_equal(tp_store_delete(rig->stores[0], "extent/000/0000", version), 0);
	assert_int_equal(refresh(rig), 1);
}

#define TABLE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TABLE_TEST(test_table_follows_and_reports_each_change_once),
		TABLE_TEST(test_table_finds_by_address_and_id_at_the_borders),
		TABLE_TEST(test_table_cache_of_an_old_list_is_not_used),
		TABLE_TEST(test_table_learns_placements_of_others),
		TABLE_TEST(test_table_refresh_that_fails_changes_nothing),
		TABLE_TEST(test_table_refresh_with_bad_placements_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
