/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 */
/*
 * Sharer sets of directory entries against a plain array of bools, and the
 * memory a directory of a million pages takes.
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
#include "tp_generation.h"

#define PAGES 24
#define GENERATION tp_generation_pack(1, 1)

struct rig {
	struct tp_directory *directory;
	struct tp_directory_worker *worker;
	int slot;
	uint16_t node_id_max;
	bool model[PAGES][TP_NODE_COUNT_MAX];	/* the truth */
};

static struct rig *
rig_create(uint16_t node_id_max, uint32_t bitmaps)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	assert_non_null(rig);
	rig->node_id_max = node_id_max;
	rig->directory = tp_directory_create(&(struct tp_directory_config){
		.region_count_max = 4, .worker_count_max = 2, .node_id_max = node_id_max });
	assert_non_null(rig->directory);
	rig->worker = tp_directory_worker_create(rig->directory,
		&(struct tp_directory_worker_config){ .bitmap_count_max = bitmaps });
	assert_non_null(rig->worker);
	rig->slot = tp_directory_region_add(rig->directory, 7, GENERATION, PAGES);
	assert_true(rig->slot >= 0);
	return rig;
}

static void
rig_destroy(struct rig *rig)
{
	tp_directory_destroy(rig->directory);
	free(rig);
}

static struct tp_directory_entry *
rig_entry(struct rig *rig, uint32_t page)
{
	return tp_directory_entry_get(rig->directory, (uint32_t)rig->slot, page);
}

static struct tp_directory_stats
rig_stats(struct rig *rig)
{
	struct tp_directory_stats stats;

	tp_directory_stats_get(rig->worker, &stats);
	return stats;
}

/* No sharer is missing; an exact set names nobody else; walk and count agree. */
static void
check_set(struct rig *rig, uint32_t page)
{
	const struct tp_directory_entry *entry = rig_entry(rig, page);
	bool exact = tp_directory_sharer_is_exact(rig->worker, entry);
	uint16_t next = tp_directory_sharer_next(rig->worker, entry, 0);
	uint32_t count = 0;

	for (uint32_t node = 0; node <= rig->node_id_max; node++) {
		bool named = next == node;

		if (named) {
			count++;
			next = tp_directory_sharer_next(rig->worker, entry, node + 1);
		}
		if (rig->model[page][node])
			assert_true(named);
		else if (exact)
			assert_false(named);
		assert_int_equal(named,
			tp_directory_sharer_contains(rig->worker, entry, (uint16_t)node));
	}
	assert_int_equal(next, TP_NODE_NONE);
	assert_int_equal(count, tp_directory_sharer_count(rig->worker, entry));
}

static void
step(struct rig *rig, uint64_t *seed, uint32_t page)
{
	struct tp_directory_entry *entry = rig_entry(rig, page);
	/* Pages differ in how many nodes use them, so that sets of all kinds arise. */
	uint32_t nodes = RTE_MIN((uint32_t)rig->node_id_max + 1, 4u << page % 13);
	uint16_t node = (uint16_t)(random_next(seed) % nodes * (((uint32_t)rig->node_id_max + 1) /
		nodes));
	uint32_t dice = (uint32_t)(random_next(seed) % 1000);

	if (dice < 2) {
		tp_directory_sharer_clear(rig->worker, entry);
		memset(rig->model[page], 0, sizeof(rig->model[page]));
	} else if (dice < 550) {
		tp_directory_sharer_add(rig->worker, entry, node);
		rig->model[page][node] = true;
	} else {
		bool gone = tp_directory_sharer_remove(rig->worker, entry, node);

		assert_int_equal(gone, !tp_directory_sharer_contains(rig->worker, entry, node));
		rig->model[page][node] = false;
	}
}

static void
run_model(uint16_t node_id_max, uint32_t bitmaps, uint32_t steps)
{
	struct rig *rig = rig_create(node_id_max, bitmaps);
	uint64_t seed = node_id_max * 1000u + bitmaps;

	for (uint32_t i = 0; i < steps; i++) {
		uint32_t page = (uint32_t)(random_next(&seed) % PAGES);

		step(rig, &seed, page);
		if (i % 512 == 0)
			check_set(rig, page);
	}
	for (uint32_t page = 0; page < PAGES; page++) {
		check_set(rig, page);
		tp_directory_sharer_clear(rig->worker, rig_entry(rig, page));
		assert_int_equal(tp_directory_sharer_count(rig->worker, rig_entry(rig, page)), 0);
	}
	assert_int_equal(rig_stats(rig).bitmaps_used, 0);
	assert_int_equal(rig_stats(rig).bitmaps_taken, rig_stats(rig).bitmaps_returned);
	rig_destroy(rig);
}

static void
test_sharers_random_steps_match_model(void **state)
{
	run_model(16383, 64, 60000);
	run_model(16383, 3, 60000);
	run_model(16383, 0, 60000);
	run_model(1000, 2, 60000);
	run_model(999, 0, 60000);
	run_model(255, 8, 60000);
	run_model(256, 0, 60000);
	run_model(2, 8, 20000);
}

static void
test_sharers_grow_and_shrink_between_kinds(void **state)
{
	struct rig *rig = rig_create(16383, 1);
	struct tp_directory_entry *entry = rig_entry(rig, 0);

	for (uint16_t i = 0; i < 16; i++)
		tp_directory_sharer_add(rig->worker, entry, (uint16_t)(i * 1000));
	assert_int_equal(entry->sharer_kind, TP_SHARERS_INLINE);
	tp_directory_sharer_add(rig->worker, entry, 3000);
	assert_int_equal(entry->sharer_kind, TP_SHARERS_INLINE);
	tp_directory_sharer_add(rig->worker, entry, 16383);
	assert_int_equal(entry->sharer_kind, TP_SHARERS_BITMAP);
	assert_int_equal(rig_stats(rig).bitmaps_used, 1);
	for (uint16_t i = 0; i < 9; i++)
		assert_true(tp_directory_sharer_remove(rig->worker, entry, (uint16_t)(i * 1000)));
	assert_int_equal(entry->sharer_kind, TP_SHARERS_INLINE);
	assert_int_equal(entry->sharer_count, 8);
	assert_int_equal(entry->overflow, 0);
	assert_int_equal(rig_stats(rig).bitmaps_used, 0);
	assert_int_equal(tp_directory_sharer_next(rig->worker, entry, 0), 9000);
	assert_int_equal(tp_directory_sharer_next(rig->worker, entry, 15001), 16383);
	rig_destroy(rig);
}

static void
test_sharers_without_bitmap_turn_coarse_and_forget_by_clear(void **state)
{
	struct rig *rig = rig_create(16383, 0);
	struct tp_directory_entry *entry = rig_entry(rig, 0);

	for (uint16_t i = 0; i < 17; i++)
		tp_directory_sharer_add(rig->worker, entry, (uint16_t)(i * 64));
	assert_int_equal(entry->sharer_kind, TP_SHARERS_COARSE);
	assert_false(tp_directory_sharer_is_exact(rig->worker, entry));
	assert_int_equal(tp_directory_sharer_count(rig->worker, entry), 17 * 64);
	assert_int_equal(rig_stats(rig).bitmaps_exhausted, 1);
	assert_int_equal(rig_stats(rig).coarse_extra, 17 * 63);
	assert_false(tp_directory_sharer_remove(rig->worker, entry, 64));
	assert_true(tp_directory_sharer_contains(rig->worker, entry, 64));
	assert_int_equal(rig_stats(rig).coarse_stuck, 1);
	assert_true(tp_directory_sharer_remove(rig->worker, entry, 16000));
	tp_directory_sharer_clear(rig->worker, entry);
	assert_true(tp_directory_sharer_is_exact(rig->worker, entry));
	assert_int_equal(tp_directory_sharer_next(rig->worker, entry, 0), TP_NODE_NONE);
	rig_destroy(rig);
}

static void
test_sharers_of_a_small_cluster_stay_exact_without_bitmaps(void **state)
{
	struct rig *rig = rig_create(255, 0);
	struct tp_directory_entry *entry = rig_entry(rig, 0);

	for (uint16_t i = 0; i < 256; i++)
		tp_directory_sharer_add(rig->worker, entry, i);
	assert_true(tp_directory_sharer_is_exact(rig->worker, entry));
	assert_int_equal(tp_directory_sharer_count(rig->worker, entry), 256);
	for (uint16_t i = 0; i < 255; i++)
		assert_true(tp_directory_sharer_remove(rig->worker, entry, i));
	assert_int_equal(entry->sharer_kind, TP_SHARERS_INLINE);
	assert_int_equal(tp_directory_sharer_next(rig->worker, entry, 0), 255);
	assert_int_equal(rig_stats(rig).coarse_extra, 0);
	rig_destroy(rig);
}

static void
test_sharers_walk_allows_removal_on_the_way(void **state)
{
	struct rig *rig = rig_create(16383, 1);
	struct tp_directory_entry *entry = rig_entry(rig, 0);
	uint32_t visited = 0;
	uint16_t node;

	for (uint16_t i = 0; i < 100; i++)
		tp_directory_sharer_add(rig->worker, entry, (uint16_t)(i * 163));
	for (node = tp_directory_sharer_next(rig->worker, entry, 0); node != TP_NODE_NONE;
			node = tp_directory_sharer_next(rig->worker, entry, node + 1u)) {
		assert_int_equal(node, visited * 163);
		assert_true(tp_directory_sharer_remove(rig->worker, entry, node));
		visited++;
	}
	assert_int_equal(visited, 100);
	assert_int_equal(tp_directory_sharer_count(rig->worker, entry), 0);
	rig_destroy(rig);
}

static void
test_sharers_unknown_node_is_not_contained(void **state)
{
	struct rig *rig = rig_create(1000, 1);
	struct tp_directory_entry *entry = rig_entry(rig, 0);

	assert_false(tp_directory_sharer_contains(rig->worker, entry, TP_NODE_NONE));
	assert_true(tp_directory_sharer_remove(rig->worker, entry, TP_NODE_NONE));
	assert_int_equal(tp_directory_sharer_next(rig->worker, entry, 1001), TP_NODE_NONE);
	assert_int_equal(tp_directory_sharer_next(rig->worker, entry, 70000), TP_NODE_NONE);
	rig_destroy(rig);
}

/*
 * The figure directory_bytes_per_page of issue 2: 90 % of the pages with up to
 * 2 sharers, 9.9 % with 16, 0.1 % with all 16,384.
 */
static void
test_directory_million_pages_take_at_most_72_bytes_each(void **state)
{
	enum { MILLION = 1000000 };
	struct tp_directory *directory = tp_directory_create(&(struct tp_directory_config){
		.region_count_max = 64, .worker_count_max = 1, .node_id_max = 16383 });
	struct tp_directory_worker *worker = tp_directory_worker_create(directory,
		&(struct tp_directory_worker_config){
			.bitmap_count_max = 65536,
			.transient_count_max = 1024,
			.transient_bytes = 256,
		});
	int slot = tp_directory_region_add(directory, 1, GENERATION, MILLION);
	uint64_t empty = tp_directory_bytes(directory);
	double figure;

	assert_true(slot >= 0);
	/* What is only reserved costs next to nothing. */
	assert_true(empty < 512 * 1024);
	for (uint32_t page = 0; page < MILLION; page++) {
		struct tp_directory_entry *entry = tp_directory_entry_get(directory,
			(uint32_t)slot, page);
		uint32_t sharers = page % 1000 == 0 ? 16384 : page % 1000 < 100 ? 16 : page % 3;

		for (uint32_t i = 0; i < sharers; i++)
			tp_directory_sharer_add(worker, entry, (uint16_t)(sharers == 16384 ? i :
				(page + i * 911) % 16384));
		assert_int_equal(tp_directory_sharer_count(worker, entry), sharers);
		assert_true(tp_directory_sharer_is_exact(worker, entry));
	}
	figure = (double)tp_directory_bytes(directory) / MILLION;
	print_message("directory_bytes_per_page %.2f\n", figure);
	assert_true(figure > 64.0);
	assert_true(figure <= 72.0);
	tp_directory_destroy(directory);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sharers_random_steps_match_model),
		cmocka_unit_test(test_sharers_grow_and_shrink_between_kinds),
		cmocka_unit_test(test_sharers_without_bitmap_turn_coarse_and_forget_by_clear),
		cmocka_unit_test(test_sharers_of_a_small_cluster_stay_exact_without_bitmaps),
		cmocka_unit_test(test_sharers_walk_allows_removal_on_the_way),
		cmocka_unit_test(test_sharers_unknown_node_is_not_contained),
		cmocka_unit_test(test_directory_million_pages_take_at_most_72_bytes_each),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
