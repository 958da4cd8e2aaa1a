/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 */
/* Several processes change the store and the catalogue at once. */
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

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

#define PROCESSES 4
#define COUNTS 1500
#define CREATIONS 40
#define EXTENTS 256

/* Run fn in processes at once; each ends by returning 0. */
static void
run_processes(int (*fn)(int index))
{
	pid_t pids[PROCESSES];

	for (int i = 0; i < PROCESSES; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			die_with_parent();
			_exit(fn(i));
		}
	}
	for (int i = 0; i < PROCESSES; i++) {
		int status = -1;

		waitpid(pids[i], &status, 0);
		assert_int_equal(status, 0);
	}
}

static int
count_up(int index)
{
	struct tp_store *store = store_dir_open();

	for (int i = 0; i < COUNTS; i++) {
		int ret;

		do {
			uint64_t version = 0;
			uint64_t number = 0;
			size_t bytes = 0;

			ret = tp_store_get(store, "counter", &number, sizeof(number), &bytes,
				&version);
			if (ret == -ENOENT)
				version = 0;
			else if (ret != 0 || bytes != sizeof(number))
				return 1;
			number++;
			ret = tp_store_cas(store, "counter", version, &number, sizeof(number),
				NULL);
		} while (ret == -EAGAIN);
		if (ret != 0)
			return 2;
	}
	tp_store_close(store);
	return 0;
}

static void
test_store_counted_by_processes_is_exact(void **state)
{
	struct tp_store *store;
	uint64_t number = 0;

	run_processes(count_up);
	store = store_dir_open();
	assert_int_equal(tp_store_get(store, "counter", &number, sizeof(number), NULL, NULL), 0);
	assert_int_equal(number, PROCESSES * COUNTS);
	assert_int_equal(store_dir_file_count(), 1);
	tp_store_close(store);
}

/* All keys are new to all: who makes a slot must not lose another's. */
static int
create_keys(int index)
{
	struct tp_store *store = store_dir_open();
	int won = 0;

	for (int i = 0; i < 300; i++) {
		char key[32];
		int ret;

		snprintf(key, sizeof(key), "key/%d", i);
		ret = tp_store_cas(store, key, 0, &index, sizeof(index), NULL);
		if (ret != 0 && ret != -EAGAIN)
			return 1;
		won += ret == 0;
	}
	do {
		uint64_t version = 0;
		int total = 0;
		int ret = tp_store_get(store, "won", &total, sizeof(total), NULL, &version);

		if (ret != 0 && ret != -ENOENT)
			return 2;
		total += won;
		ret = tp_store_cas(store, "won", version, &total, sizeof(total), NULL);
		if (ret == 0)
			break;
		if (ret != -EAGAIN)
			return 3;
	} while (1);
	tp_store_close(store);
	return 0;
}

static void
test_store_keys_created_by_all_have_one_creator_each(void **state)
{
	struct tp_store *store;
	int total = 0;

	run_processes(create_keys);
	store = store_dir_open();
	assert_int_equal(tp_store_get(store, "won", &total, sizeof(total), NULL, NULL), 0);
	assert_int_equal(total, 300);
	tp_store_close(store);
}

static int
open_store(int index)
{
	for (int i = 0; i < 50; i++) {
		struct tp_store *store = tp_store_open(store_dir_url());

		if (store == NULL)
			return 1;
		tp_store_close(store);
	}
	return 0;
}

static void
test_store_opened_by_all_at_once_is_one(void **state)
{
	run_processes(open_store);
	assert_int_equal(store_dir_file_count(), 0);
	run_processes(count_up);
}

static int
create_regions(int index)
{
	struct tp_store *store = store_dir_open();
	struct tp_catalogue *catalogue = tp_catalogue_open(store, TP_ADDRESS_SPLIT_DEFAULT);
	uint64_t seed = (uint64_t)index;
	const uint16_t home = (uint16_t)index;

	if (catalogue == NULL)
		return 1;
	for (int i = 0; i < CREATIONS; i++) {
		struct tp_region_spec spec = {
			.bytes = 1 + random_next(&seed) % (32 << 20), .page_shift = 12,
			.mode = TP_REGION_RW, .distribution = TP_REGION_HOME, .born_node = 9,
			.node_count = 1, .nodes = &home,
		};
		struct tp_region region;
		char name[32];

		snprintf(name, sizeof(name), "r-%d-%d", index, i);
		spec.name = name;
		if (tp_catalogue_region_create(catalogue, &spec, &region) != 0)
			return 2;
		if (i % 4 == 3 && (tp_catalogue_region_destroy(catalogue, region.id) != 0 ||
				tp_catalogue_region_reap(catalogue, region.id) != 0))
			return 3;
	}
	tp_catalogue_close(catalogue);
	tp_store_close(store);
	return 0;
}

static void
test_regions_created_by_all_never_overlap(void **state)
{
	enum { LEFT = PROCESSES * CREATIONS * 3 / 4 };
	struct tp_store *store;
	struct tp_catalogue *catalogue;
	struct tp_region *regions = calloc(LEFT, sizeof(*regions));

	run_processes(create_regions);
	store = store_dir_open();
	catalogue = tp_catalogue_open(store, TP_ADDRESS_SPLIT_DEFAULT);
	assert_int_equal(tp_catalogue_region_list(catalogue, regions, LEFT), LEFT);
	for (int i = 0; i < LEFT; i++)
		for (int j = 0; j < i; j++) {
			assert_int_not_equal(regions[i].id, regions[j].id);
			assert_int_not_equal(regions[i].generation, regions[j].generation);
			assert_true(regions[i].base + regions[i].bytes <= regions[j].base ||
				regions[j].base + regions[j].bytes <= regions[i].base);
		}
	tp_catalogue_close(catalogue);
	tp_store_close(store);
	free(regions);
}

/* Each process joins under one id again and again: every epoch is given once. */
static int
join_often(int index)
{
	struct tp_store *store = store_dir_open();
	struct tp_catalogue *catalogue = tp_catalogue_open(store, TP_ADDRESS_SPLIT_DEFAULT);

	for (int i = 0; i < 100; i++) {
		struct tp_node_record self = {
			.id = 1, .state = TP_NODE_MEMBER, .worker_count = 1,
		};
		uint32_t before = self.epoch;
		char key[32];

		if (tp_catalogue_node_join(catalogue, &self, 1, NULL) != 0 || self.epoch <= before)
			return 1;
		snprintf(key, sizeof(key), "epoch/%u", self.epoch);
		if (tp_store_cas(store, key, 0, &index, sizeof(index), NULL) != 0)
			return 2;
	}
	tp_catalogue_close(catalogue);
	tp_store_close(store);
	return 0;
}

static void
test_node_joined_by_all_gives_each_epoch_once(void **state)
{
	struct tp_store *store;
	struct tp_catalogue *catalogue;
	struct tp_node_record node;

	run_processes(join_often);
	store = store_dir_open();
	catalogue = tp_catalogue_open(store, TP_ADDRESS_SPLIT_DEFAULT);
	assert_int_equal(tp_catalogue_node_get(catalogue, 1, &node), 0);
	assert_int_equal(node.epoch, PROCESSES * 100);
	tp_catalogue_close(catalogue);
	tp_store_close(store);
}

/* One process renews, the others fence: after the fence no renewal succeeds. */
static int
renew_or_fence(int index)
{
	struct tp_store *store = store_dir_open();
	struct tp_catalogue *catalogue = tp_catalogue_open(store, TP_ADDRESS_SPLIT_DEFAULT);
	uint64_t now = 1;
	uint64_t stamp = 0;
	uint64_t told = 0;
	int ret;

	if (index == 0) {
		while ((ret = tp_catalogue_node_renew(catalogue, 1, 1, ++now)) == 0)
			;
		now--;
		return ret != -ESTALE ||
			tp_store_cas(store, "renewed", 0, &now, sizeof(now), NULL) != 0;
	}
	usleep(3000);
	if (tp_catalogue_node_fence(catalogue, 1, 1, &stamp, NULL) != 0)
		return 1;
	/* All fencers are told the one stamp that was last. */
	ret = tp_store_cas(store, "stamp", 0, &stamp, sizeof(stamp), NULL);
	if (ret == -EAGAIN)
		ret = tp_store_get(store, "stamp", &told, sizeof(told), NULL, NULL) != 0 ||
			told != stamp;
	return ret;
}

static void
test_node_fenced_while_renewing_has_one_last_stamp(void **state)
{
	struct tp_store *store = store_dir_open();
	struct tp_catalogue *catalogue = tp_catalogue_open(store, TP_ADDRESS_SPLIT_DEFAULT);
	struct tp_node_record self = { .id = 1, .state = TP_NODE_MEMBER, .worker_count = 1 };
	uint64_t renewed = 0;
	uint64_t stamp = 0;

	assert_int_equal(tp_catalogue_node_join(catalogue, &self, 1, NULL), 0);
	run_processes(renew_or_fence);
	assert_int_equal(tp_store_get(store, "renewed", &renewed, 8, NULL, NULL), 0);
	assert_int_equal(tp_store_get(store, "stamp", &stamp, 8, NULL, NULL), 0);
	assert_int_equal(renewed, stamp);
	tp_catalogue_close(catalogue);
	tp_store_close(store);
}

/* All place all extents: one winner each, and all are told the same. */
static int
place_extents(int index)
{
	struct tp_store *store = store_dir_open();
	struct tp_catalogue *catalogue = tp_catalogue_open(store, TP_ADDRESS_SPLIT_DEFAULT);
	uint16_t winners[EXTENTS];
	uint16_t told[EXTENTS];
	struct tp_region region;
	int ret;

	if (tp_catalogue_region_open(catalogue, "touched", &region) != 0)
		return 1;
	for (uint32_t i = 0; i < EXTENTS; i++)
		if (tp_catalogue_extent_place(catalogue, &region, i, (uint16_t)index,
				&winners[i]) != 0)
			return 2;
	ret = tp_store_cas(store, "winners", 0, winners, sizeof(winners), NULL);
	if (ret == -EAGAIN)
		ret = tp_store_get(store, "winners", told, sizeof(told), NULL, NULL) != 0 ||
			memcmp(told, winners, sizeof(told)) != 0;
	return ret;
}

static void
test_extents_placed_by_all_have_one_home_each(void **state)
{
	struct tp_store *store = store_dir_open();
	struct tp_catalogue *catalogue = tp_catalogue_open(store, TP_ADDRESS_SPLIT_DEFAULT);
	struct tp_region_spec spec = {
		.name = "touched", .bytes = (uint64_t)EXTENTS << TP_EXTENT_SHIFT, .page_shift = 12,
		.mode = TP_REGION_RW, .distribution = TP_REGION_FIRST_TOUCH, .born_node = 1,
	};
	struct tp_region region;

	assert_int_equal(tp_catalogue_region_create(catalogue, &spec, &region), 0);
	run_processes(place_extents);
	tp_catalogue_close(catalogue);
	tp_store_close(store);
}

#define RACE_TEST(name) cmocka_unit_test_setup_teardown(name, store_dir_setup, store_dir_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		RACE_TEST(test_store_counted_by_processes_is_exact),
		RACE_TEST(test_store_keys_created_by_all_have_one_creator_each),
		RACE_TEST(test_store_opened_by_all_at_once_is_one),
		RACE_TEST(test_regions_created_by_all_never_overlap),
		RACE_TEST(test_node_joined_by_all_gives_each_epoch_once),
		RACE_TEST(test_node_fenced_while_renewing_has_one_last_stamp),
		RACE_TEST(test_extents_placed_by_all_have_one_home_each),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
