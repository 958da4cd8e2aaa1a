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
#include "tp_catalogue.h"
#include "tp_generation.h"

#define MIB (UINT64_C(1) << 20)

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

static const uint16_t three_nodes[] = { 1, 2, 3 };

static struct tp_region_spec
spec_of(const char *name, uint64_t bytes)
{
	return (struct tp_region_spec){
		.name = name, .bytes = bytes, .page_shift = 12, .mode = TP_REGION_RW,
		.distribution = TP_REGION_STRIPED, .born_node = 5,
		.node_count = 3, .nodes = three_nodes,
	};
}

static int
create(struct rig *rig, const char *name, uint64_t bytes, struct tp_region *region)
{
	struct tp_region_spec spec = spec_of(name, bytes);

	return tp_catalogue_region_create(rig->catalogue, &spec, region);
}

static void
test_region_created_is_found_by_name_address_and_list(void **state)
{
	struct rig *rig = *state;
	struct tp_region made;
	struct tp_region read;

	assert_int_equal(tp_catalogue_region_open(rig->catalogue, "data", &read), -ENOENT);
	assert_int_equal(tp_catalogue_region_list(rig->catalogue, &read, 1), 0);
	assert_int_equal(create(rig, "data", 5 * MIB + 1, &made), 0);
	assert_int_equal(made.id, 1);
	assert_int_equal(made.bytes, 5 * MIB + 4096);
	assert_int_equal(made.page_count, 5 * 256 + 1);
	assert_int_equal(tp_address_node(split, made.base), 5);
	assert_int_equal(tp_address_offset(split, made.base), 2 * MIB);
	assert_int_equal(tp_generation_node(made.generation), 5);
	assert_true(tp_generation_is_valid(made.generation));
	assert_int_equal(tp_catalogue_region_open(rig->catalogue, "data", &read), 0);
	assert_memory_equal(&read, &made, sizeof(read));
	assert_int_equal(tp_catalogue_region_find(rig->catalogue, made.base + made.bytes - 1,
		&read), 0);
	assert_int_equal(read.id, 1);
	assert_int_equal(tp_catalogue_region_find(rig->catalogue, made.base + made.bytes, &read),
		-ENOENT);
	assert_int_equal(tp_catalogue_region_list(rig->catalogue, &read, 1), 1);
	assert_string_equal(read.name, "data");
}

static void
test_region_bad_specification_is_refused(void **state)
{
	struct rig *rig = *state;
	static const uint16_t twice[] = { 1, 1 };
	static const uint16_t outside[] = { 16384 };
	struct tp_region region;
	struct tp_region_spec bad[14];

	for (size_t i = 0; i < RTE_DIM(bad); i++)
		bad[i] = spec_of("data", MIB);
	bad[0].name = "";
	bad[1].name = "a/b";
	bad[2].bytes = 0;
	bad[3].page_shift = 11;
	bad[4].page_shift = 22;
	bad[5].mode = 0;
	bad[6].distribution = 4;
	bad[7].node_count = 0;
	bad[8].distribution = TP_REGION_HOME;
	bad[9].distribution = TP_REGION_FIRST_TOUCH;
	bad[10].nodes = twice;
	bad[10].node_count = 2;
	bad[11].nodes = outside;
	bad[11].node_count = 1;
	bad[12].born_node = 16384;
	bad[13].bytes = UINT64_MAX;
	for (size_t i = 0; i < RTE_DIM(bad); i++)
		assert_int_equal(tp_catalogue_region_create(rig->catalogue, &bad[i], &region),
			-EINVAL);
	assert_int_equal(tp_catalogue_region_open(rig->catalogue, "-x", &region), -EINVAL);
	assert_int_equal(tp_catalogue_region_list(rig->catalogue, &region, 1), 0);
}

static void
test_region_name_is_unique_until_destroyed(void **state)
{
	struct rig *rig = *state;
	struct tp_region first;
	struct tp_region second;

	assert_int_equal(create(rig, "data", MIB, &first), 0);
	assert_int_equal(create(rig, "data", MIB, &second), -EEXIST);
	assert_int_equal(tp_catalogue_region_destroy(rig->catalogue, first.id), 0);
	assert_int_equal(tp_catalogue_region_destroy(rig->catalogue, first.id), -ENOENT);
	assert_int_equal(tp_catalogue_region_open(rig->catalogue, "data", &second), -ENOENT);
	assert_int_equal(tp_catalogue_region_find(rig->catalogue, first.base, &second), -ENOENT);
	assert_int_equal(create(rig, "data", MIB, &second), 0);
	assert_int_equal(second.id, first.id + 1);
	assert_true(second.base != first.base);
}

static void
test_region_range_is_used_again_after_reaping_with_new_generation(void **state)
{
	struct rig *rig = *state;
	struct tp_region first;
	struct tp_region second;
	struct tp_region again;

	assert_int_equal(create(rig, "a", 3 * MIB, &first), 0);
	assert_int_equal(create(rig, "b", MIB, &second), 0);
	/* Ranges are whole 2 MiB: 3 MiB takes two. */
	assert_int_equal(second.base, first.base + 4 * MIB);
	assert_int_equal(tp_catalogue_region_reap(rig->catalogue, first.id), -EBUSY);
	assert_int_equal(tp_catalogue_region_destroy(rig->catalogue, first.id), 0);
	assert_int_equal(tp_catalogue_region_reap(rig->catalogue, first.id), 0);
	assert_int_equal(tp_catalogue_region_reap(rig->catalogue, first.id), -ENOENT);
	assert_int_equal(create(rig, "c", 4 * MIB, &again), 0);
	assert_int_equal(again.base, first.base);
	assert_true(again.id > second.id);
	assert_int_equal(tp_generation_compare(again.generation, first.generation),
		TP_GENERATION_NEWER);
}

static void
test_region_space_of_a_node_runs_out_and_comes_back(void **state)
{
	struct rig *rig = *state;
	uint64_t space = tp_address_space_bytes(split);
	struct tp_region_spec elsewhere = spec_of("elsewhere", 16 * MIB);
	struct tp_region region;
	struct tp_region other;

	assert_int_equal(create(rig, "all", space, &region), -ENOSPC);
	assert_int_equal(create(rig, "all", space - 2 * MIB, &region), 0);
	assert_int_equal(create(rig, "more", 1, &other), -ENOSPC);
	elsewhere.born_node = 6;
	assert_int_equal(tp_catalogue_region_create(rig->catalogue, &elsewhere, &other), 0);
	assert_int_equal(tp_catalogue_region_destroy(rig->catalogue, region.id), 0);
	assert_int_equal(create(rig, "more", 1, &other), -ENOSPC);
	assert_int_equal(tp_catalogue_region_reap(rig->catalogue, region.id), 0);
	assert_int_equal(create(rig, "more", 1, &other), 0);
}

static void
test_region_count_is_bounded(void **state)
{
	struct rig *rig = *state;
	struct tp_region region;
	char name[16];

	for (int i = 0; i < TP_CATALOGUE_REGIONS_MAX; i++) {
		snprintf(name, sizeof(name), "r%d", i);
		assert_int_equal(create(rig, name, 1, &region), 0);
	}
	assert_int_equal(create(rig, "more", 1, &region), -ENOSPC);
	assert_int_equal(tp_catalogue_region_destroy(rig->catalogue, 100), 0);
	assert_int_equal(tp_catalogue_region_reap(rig->catalogue, 100), 0);
	assert_int_equal(create(rig, "more", 1, &region), 0);
	assert_int_equal(tp_catalogue_region_list(rig->catalogue, &region, 1),
		TP_CATALOGUE_REGIONS_MAX);
}

static void
test_region_reset_gives_a_newer_generation(void **state)
{
	struct rig *rig = *state;
	struct tp_region region;
	struct tp_region read;
	uint64_t generation = 0;

	assert_int_equal(create(rig, "data", MIB, &region), 0);
	assert_int_equal(tp_catalogue_region_reset(rig->catalogue, region.id, &generation), 0);
	assert_int_equal(tp_generation_compare(generation, region.generation),
		TP_GENERATION_NEWER);
	assert_int_equal(tp_catalogue_region_open(rig->catalogue, "data", &read), 0);
	assert_int_equal(read.generation, generation);
	assert_int_equal(read.base, region.base);
	assert_int_equal(tp_catalogue_region_reset(rig->catalogue, 99, NULL), -ENOENT);
	assert_int_equal(tp_catalogue_region_destroy(rig->catalogue, region.id), 0);
	assert_int_equal(tp_catalogue_region_reset(rig->catalogue, region.id, NULL), -ENOENT);
}

/* Random creations and destructions: never two regions on one address. */
static void
test_region_random_life_never_overlaps(void **state)
{
	struct rig *rig = *state;
	struct tp_region *regions = calloc(64, sizeof(*regions));
	uint64_t seed = 21;
	uint32_t id_last = 0;

	for (int step = 0; step < 400; step++) {
		int count = tp_catalogue_region_list(rig->catalogue, regions, 64);
		struct tp_region region;
		char name[16];

		assert_true(count >= 0);
		if (count > 0 && (count == 64 || random_next(&seed) % 5 < 2)) {
			uint32_t id = regions[random_next(&seed) % (uint32_t)count].id;

			assert_int_equal(tp_catalogue_region_destroy(rig->catalogue, id), 0);
			assert_int_equal(tp_catalogue_region_reap(rig->catalogue, id), 0);
			continue;
		}
		snprintf(name, sizeof(name), "r%d", step);
		if (create(rig, name, 1 + random_next(&seed) % (300 * MIB), &region) == -ENOSPC)
			continue;
		assert_true(region.id > id_last);
		id_last = region.id;
		for (int i = 0; i < count; i++)
			assert_true(region.base + region.bytes <= regions[i].base ||
				regions[i].base + regions[i].bytes <= region.base);
	}
	assert_true(id_last > 100);
	free(regions);
}

static void
test_region_record_of_garbage_is_refused(void **state)
{
	struct rig *rig = *state;
	struct tp_region region;

	assert_int_equal(tp_store_cas(rig->store, "region/all", 0, "garbage", 7, NULL), 0);
	assert_int_equal(create(rig, "data", 1, &region), -EBADMSG);
	assert_int_equal(tp_catalogue_region_open(rig->catalogue, "data", &region), -EBADMSG);
	assert_int_equal(tp_catalogue_region_list(rig->catalogue, &region, 1), -EBADMSG);
}

#define REGION_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* The two ranges of addresses are two spaces: neither takes room in the other. */
static void
test_region_durable_has_its_own_addresses(void **state)
{
	struct rig *rig = *state;
	struct tp_region_spec spec = spec_of("lasts", MIB);
	struct tp_region durable, other, found;

	spec.durability = TP_DURABILITY_LOCAL;
	assert_int_equal(tp_catalogue_region_create(rig->catalogue, &spec, &durable), 0);
	assert_true(tp_address_is_durable(durable.base));
	assert_int_equal(tp_address_node(split, durable.base), durable.born_node);
	spec = spec_of("does-not", MIB);
	assert_int_equal(tp_catalogue_region_create(rig->catalogue, &spec, &other), 0);
	assert_false(tp_address_is_durable(other.base));
	assert_int_equal(tp_address_offset(split, durable.base),
		tp_address_offset(split, other.base));
	assert_int_equal(tp_catalogue_region_find(rig->catalogue, durable.base, &found), 0);
	assert_int_equal(found.durability, TP_DURABILITY_LOCAL);
	assert_string_equal(found.name, "lasts");
}

/* Out of a pool, into a store that knows nothing of it. */
static void
test_region_restored_has_its_addresses_and_a_later_generation(void **state)
{
	struct rig *rig = *state;
	struct tp_region_spec spec = spec_of("lasts", MIB);
	struct tp_region before, other, restored;

	spec.durability = TP_DURABILITY_LOCAL;
	assert_int_equal(tp_catalogue_region_create(rig->catalogue, &spec, &before), 0);
	/* As long as it is there it cannot come back, nor under another name. */
	assert_int_equal(tp_catalogue_region_restore(rig->catalogue, &before, &restored), -EEXIST);
	other = before;
	strcpy(other.name, "another");
	assert_int_equal(tp_catalogue_region_restore(rig->catalogue, &other, &restored), -EEXIST);
	assert_int_equal(tp_catalogue_region_destroy(rig->catalogue, before.id), 0);
	assert_int_equal(tp_catalogue_region_reap(rig->catalogue, before.id), 0);
	before.generation = tp_generation_pack(before.born_node, 1000);
	assert_int_equal(tp_catalogue_region_restore(rig->catalogue, &before, &restored), 0);
	assert_int_equal(restored.base, before.base);
	assert_int_equal(restored.page_count, before.page_count);
	assert_true(restored.id > before.id);
	assert_true(tp_generation_counter(restored.generation) > 1000);
	assert_true(restored.created == before.created && before.created != 0);
	/* What makes no sense stays where it is. */
	other.base = TP_ADDRESS_BASE + (UINT64_C(5) << 21);
	assert_int_equal(tp_catalogue_region_restore(rig->catalogue, &other, &restored), -EINVAL);
	other = before;
	other.page_shift = 31;
	assert_int_equal(tp_catalogue_region_restore(rig->catalogue, &other, &restored), -EINVAL);
}

static void
test_region_durable_refuses_what_cannot_last(void **state)
{
	struct rig *rig = *state;
	struct tp_region_spec spec = spec_of("lasts", MIB);
	struct tp_region region;

	spec.durability = TP_DURABILITY_REPLICATED;
	assert_int_equal(tp_catalogue_region_create(rig->catalogue, &spec, &region), -EINVAL);
	spec.durability = TP_DURABILITY_LOCAL;
	spec.distribution = TP_REGION_FIRST_TOUCH;
	spec.node_count = 0;
	assert_int_equal(tp_catalogue_region_create(rig->catalogue, &spec, &region), -EINVAL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		REGION_TEST(test_region_created_is_found_by_name_address_and_list),
		REGION_TEST(test_region_bad_specification_is_refused),
		REGION_TEST(test_region_name_is_unique_until_destroyed),
		REGION_TEST(test_region_range_is_used_again_after_reaping_with_new_generation),
		REGION_TEST(test_region_space_of_a_node_runs_out_and_comes_back),
		REGION_TEST(test_region_count_is_bounded),
		REGION_TEST(test_region_reset_gives_a_newer_generation),
		REGION_TEST(test_region_random_life_never_overlaps),
		REGION_TEST(test_region_record_of_garbage_is_refused),
		REGION_TEST(test_region_durable_has_its_own_addresses),
		REGION_TEST(test_region_durable_refuses_what_cannot_last),
		REGION_TEST(test_region_restored_has_its_addresses_and_a_later_generation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
