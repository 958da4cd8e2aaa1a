/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 */
/*
 * What several lcores do at once: workers on neighbouring entries of shared
 * arrays, readers of the region table while it is refreshed. For TSan above all.
 */
#include <pthread.h>
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
#include "tp_directory.h"
#include "tp_region_table.h"

#define WORKERS 3
#define PAGES 30000
#define READERS 2
#define REFRESHES 150

struct worker_arg {
	struct tp_directory *directory;
	struct tp_directory_worker *worker;
	uint32_t slot;
	uint32_t index;
};

/* Worker w has the pages that are w modulo WORKERS: every line has a neighbour's. */
static void *
work(void *ctx)
{
	struct worker_arg *arg = ctx;

	for (uint32_t page = arg->index; page < PAGES; page += WORKERS) {
		struct tp_directory_entry *entry = tp_directory_entry_get(arg->directory,
			arg->slot, page);
		uint32_t transient = tp_directory_transient_get(arg->worker);

		for (uint16_t i = 0; i < 20; i++)
			tp_directory_sharer_add(arg->worker, entry, (uint16_t)(page % 1000 + i));
		tp_directory_transient_put(arg->worker, transient);
		if (page % 1024 == arg->index)
			tp_directory_entry_next(arg->directory, arg->slot, page / 2);
	}
	return NULL;
}

static void
test_workers_on_neighbouring_entries_do_not_disturb(void **state)
{
	struct tp_directory *directory = tp_directory_create(&(struct tp_directory_config){
		.region_count_max = 1, .worker_count_max = WORKERS, .node_id_max = 16383 });
	int slot = tp_directory_region_add(directory, 1, 1, PAGES);
	struct worker_arg args[WORKERS];
	pthread_t threads[WORKERS];
	uint32_t found = 0;

	for (uint32_t i = 0; i < WORKERS; i++) {
		args[i] = (struct worker_arg){ directory, NULL, (uint32_t)slot, i };
		args[i].worker = tp_directory_worker_create(directory,
			&(struct tp_directory_worker_config){
				.bitmap_count_max = 5000,
				.transient_count_max = 4,
				.transient_bytes = 8,
			});
		assert_int_equal(pthread_create(&threads[i], NULL, work, &args[i]), 0);
	}
	for (int i = 0; i < 20; i++) {
		struct tp_directory_stats stats;

		tp_directory_stats_get(args[0].worker, &stats);
		assert_true(tp_directory_bytes(directory) > 0);
		assert_true(stats.bitmaps_used <= 5000);
	}
	for (uint32_t i = 0; i < WORKERS; i++)
		pthread_join(threads[i], NULL);
	for (uint32_t page = 0; page < PAGES; page++) {
		const struct tp_directory_entry *entry = tp_directory_entry_get(directory,
			(uint32_t)slot, page);
		struct tp_directory_worker *owner = args[page % WORKERS].worker;

		assert_int_equal(tp_directory_entry_next(directory, (uint32_t)slot, page), page);
		for (uint16_t i = 0; i < 20; i++)
			found += tp_directory_sharer_contains(owner, entry,
				(uint16_t)(page % 1000 + i));
	}
	assert_int_equal(found, 20 * PAGES);
	tp_directory_destroy(directory);
}

struct reader_arg {
	struct tp_region_table *table;
	uint64_t base;
	_Atomic uint32_t turns;
	_Atomic bool stop;
	_Atomic uint32_t wrong;
};

static void *
read_table(void *ctx)
{
	struct reader_arg *arg = ctx;
	struct tp_region_cache cache = { 0 };
	uint32_t id = 1;

	while (!atomic_load_explicit(&arg->stop, memory_order_relaxed)) {
		const struct tp_region *region = tp_region_table_find_address(arg->table,
			arg->base, &cache);

		if (region != NULL && (!tp_region_contains(region, arg->base) ||
				strcmp(region->name, "moving") != 0))
			atomic_fetch_add(&arg->wrong, 1);
		region = tp_region_table_find_id(arg->table, id++ % 8 + 1, &cache);
		if (region != NULL && region->distribution == TP_REGION_FIRST_TOUCH) {
			/* Once: it may be placed between two looks. */
			uint16_t home = tp_region_home(region, 0);

			if (home > 9 && home != TP_NODE_NONE)
				atomic_fetch_add(&arg->wrong, 1);
		}
		/* A turn: no pointer is held here. pairs with the acquire in wait_turn() */
		atomic_fetch_add_explicit(&arg->turns, 1, memory_order_release);
	}
	return NULL;
}

static void
wait_turn(struct reader_arg *arg)
{
	uint32_t before = atomic_load_explicit(&arg->turns, memory_order_acquire);

	/* Two: the first may have begun before the refresh. */
	while (atomic_load_explicit(&arg->turns, memory_order_acquire) - before < 2)
		sched_yield();
}

static void
test_table_readers_run_through_refreshes(void **state)
{
	struct tp_store *store = store_dir_open();
	struct tp_catalogue *catalogue = tp_catalogue_open(store, TP_ADDRESS_SPLIT_DEFAULT);
	struct tp_region_table *table = tp_region_table_create(catalogue);
	struct tp_region_spec spec = {
		.name = "moving", .bytes = 8 << 20, .page_shift = 12, .mode = TP_REGION_RW,
		.distribution = TP_REGION_FIRST_TOUCH, .born_node = 1,
	};
	struct reader_arg args[READERS] = { 0 };
	pthread_t threads[READERS];
	struct tp_region region;
	uint16_t winner;

	assert_int_equal(tp_catalogue_region_create(catalogue, &spec, &region), 0);
	for (int i = 0; i < READERS; i++) {
		args[i].table = table;
		args[i].base = region.base;
		assert_int_equal(pthread_create(&threads[i], NULL, read_table, &args[i]), 0);
	}
	for (int i = 0; i < REFRESHES; i++) {
		if (i % 3 == 0) {
			tp_catalogue_region_destroy(catalogue, region.id);
			tp_catalogue_region_reap(catalogue, region.id);
			assert_int_equal(tp_catalogue_region_create(catalogue, &spec, &region), 0);
		} else if (i % 3 == 1) {
			assert_int_equal(tp_catalogue_region_reset(catalogue, region.id,
				&region.generation), 0);
		} else {
			assert_int_equal(tp_catalogue_extent_place(catalogue, &region, 0, 9,
				&winner), 0);
		}
		assert_true(tp_region_table_refresh(table, NULL, NULL) >= 0);
		for (int r = 0; r < READERS; r++)
			wait_turn(&args[r]);
		tp_region_table_reclaim(table);
	}
	for (int i = 0; i < READERS; i++) {
		atomic_store_explicit(&args[i].stop, true, memory_order_relaxed);
		pthread_join(threads[i], NULL);
		assert_int_equal(args[i].wrong, 0);
	}
	tp_region_table_destroy(table);
	tp_catalogue_close(catalogue);
	tp_store_close(store);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_workers_on_neighbouring_entries_do_not_disturb),
		cmocka_unit_test_setup_teardown(test_table_readers_run_through_refreshes,
			store_dir_setup, store_dir_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
