/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Frames that change while they rest, as by a fault of memory: they read VOID, at
 * home and elsewhere, and all others are well.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cluster.h"
#include "worker_priv.h"

#define PAGE 4096u
#define PAGES 16u

static const uint16_t one_each[2] = { 1, 1 };

struct rest {
	struct cluster *cluster;
	struct cluster_client clients[CLUSTER_NODES];
	struct tp_client_region *regions[CLUSTER_NODES];
};

/* A region at home on node 1, whose words node 2 has written and given back. */
static void
rest_begin_pool(struct rest *rest, bool frame_crc, const char *pool_path)
{
	struct tp_client_region_config config = { .name = "rest", .bytes = PAGES * PAGE,
		.distribution = TP_REGION_HOME,
		.durability = pool_path == NULL ? TP_DURABILITY_NONE : TP_DURABILITY_LOCAL };
	struct cluster *cluster = calloc(1, sizeof(*cluster));

	assert_non_null(cluster);
	cluster->cache_slots = 32;
	cluster->frame_crc = frame_crc;
	cluster->pool_path = pool_path;
	rest->cluster = cluster_begin(cluster, one_each);
	for (uint16_t i = 0; i < CLUSTER_NODES; i++)
		cluster_attach(cluster, (uint16_t)(i + 1), &rest->clients[i]);
	assert_int_equal(tp_client_region_create(rest->clients[0].client, &config,
		&rest->regions[0]), 0);
	for (uint16_t i = 1; i < CLUSTER_NODES; i++)
		assert_int_equal(tp_client_region_open(rest->clients[i].client, "rest",
			&rest->regions[i]), 0);
	for (uint64_t page = 0; page < PAGES; page++)
		assert_true(tp_result_is_ok(tp_write(rest->clients[1].thread, rest->regions[1],
			page * PAGE, &page, sizeof(page))));
	assert_true(tp_result_is_ok(tp_clear(rest->clients[1].thread, rest->regions[1])));
}

static void
rest_begin(struct rest *rest, bool frame_crc)
{
	rest_begin_pool(rest, frame_crc, NULL);
}

static void
rest_end(struct rest *rest)
{
	for (uint16_t i = 0; i < CLUSTER_NODES; i++)
		cluster_detach(&rest->clients[i]);
	cluster_destroy(rest->cluster);
}

static struct tp_worker *
worker_of(struct rest *rest, uint16_t node)
{
	return tp_control_worker(rest->cluster->nodes[node].control, 0);
}

static uint64_t
corrupt(struct rest *rest)
{
	uint64_t sum = 0;

	for (uint16_t node = 1; node <= CLUSTER_NODES; node++)
		sum += worker_of(rest, node)->stats.pages_corrupt;
	return sum;
}

/* One bit of a page in a node's memory; the region is the only one. */
static void
rot(struct rest *rest, uint16_t node, uint32_t page)
{
	struct tp_worker *worker = worker_of(rest, node);
	uint32_t slot = TP_SLOT_ABSENT;

	for (uint32_t i = 0; i < WORKER_REGIONS; i++)
		if (worker->regions[i].id != 0 && worker->regions[i].page_count == PAGES)
			slot = tp_coherence_page_slot(worker->coherence, worker->regions[i].id,
				page);
	assert_int_not_equal(slot, TP_SLOT_ABSENT);
	worker_slot(worker, slot)[1234] ^= 0x10;
}

static struct tp_result
page_read(struct rest *rest, uint16_t node, uint64_t page, uint64_t *value)
{
	return tp_read(rest->clients[node - 1].thread, rest->regions[node - 1], page * PAGE,
		value, sizeof(*value));
}

static void
pages_check(struct rest *rest, uint16_t node, uint64_t but)
{
	uint64_t value;

	for (uint64_t page = 0; page < PAGES; page++) {
		if (page == but)
			continue;
		assert_true(tp_result_is_ok(page_read(rest, node, page, &value)));
		assert_int_equal(value, page);
	}
}

static void
test_home_memory_that_rots_reads_void_everywhere(void **state)
{
	struct rest rest;
	uint64_t value;

	rest_begin(&rest, true);
	rot(&rest, 1, 5);
	for (uint16_t node = 1; node <= CLUSTER_NODES; node++) {
		struct tp_result result = page_read(&rest, node, 5, &value);

		assert_int_equal(result.reason, TP_CORRUPTION);
		assert_int_equal(result.effect, TP_EFFECT_NOT_DONE);
		pages_check(&rest, node, 5);
	}
	assert_true(corrupt(&rest) >= CLUSTER_NODES);
	/* Who writes learns of it, too, and so does an atomic. */
	value = 1;
	assert_int_equal(tp_write(rest.clients[0].thread, rest.regions[0], 5 * PAGE, &value,
		sizeof(value)).reason, TP_CORRUPTION);
	rot(&rest, 1, 7);
	assert_int_equal(tp_atomic_add64(rest.clients[2].thread, rest.regions[2], 7 * PAGE, 1,
		&value).reason, TP_CORRUPTION);
	rest_end(&rest);
}

/* The copy of a reader: nobody gets it from there, and it is noticed when it goes. */
static void
test_copy_that_rots_is_noticed_when_it_goes(void **state)
{
	struct rest rest;
	uint64_t value;

	rest_begin(&rest, true);
	pages_check(&rest, 2, PAGES);
	assert_int_equal(corrupt(&rest), 0);
	rot(&rest, 2, 3);
	assert_true(tp_result_is_ok(tp_clear(rest.clients[1].thread, rest.regions[1])));
	assert_int_equal(corrupt(&rest), 1);
	assert_true(tp_result_is_ok(page_read(&rest, 2, 3, &value)));
	assert_int_equal(value, 3);
	rest_end(&rest);
}

static void
test_frames_in_use_have_no_faults(void **state)
{
	struct rest rest;
	uint64_t value, old;

	rest_begin(&rest, true);
	for (uint64_t round = 1; round <= 12; round++) {
		uint16_t writer = round % CLUSTER_NODES;

		for (uint64_t page = 0; page < PAGES; page++) {
			value = round * 1000 + page;
			assert_true(tp_result_is_ok(tp_write(rest.clients[writer].thread,
				rest.regions[writer], page * PAGE + 8, &value, sizeof(value))));
			assert_true(tp_result_is_ok(tp_atomic_add64(
				rest.clients[(writer + 1) % CLUSTER_NODES].thread,
				rest.regions[(writer + 1) % CLUSTER_NODES], page * PAGE + 16, 1,
				&old)));
			assert_int_equal(old, round - 1);
			assert_true(tp_result_is_ok(tp_read(
				rest.clients[(writer + 2) % CLUSTER_NODES].thread,
				rest.regions[(writer + 2) % CLUSTER_NODES], page * PAGE + 8,
				&old, sizeof(old))));
			assert_int_equal(old, value);
		}
	}
	assert_int_equal(corrupt(&rest), 0);
	rest_end(&rest);
}

/* It has not been persisted, however often that is asked for. */
static void
test_page_that_rots_is_never_said_to_last(void **state)
{
	char path[64];
	struct rest rest;

	snprintf(path, sizeof(path), "%s/tp-frame-sum-%d",
		access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", (int)getpid());
	unlink(path);
	rest_begin_pool(&rest, true, path);
	rot(&rest, 1, 5);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(tp_persist(rest.clients[i % 2].thread, rest.regions[i % 2],
			5 * PAGE, PAGE).reason, TP_CORRUPTION);
		assert_true(tp_result_is_ok(tp_persist(rest.clients[1].thread, rest.regions[1],
			6 * PAGE, PAGE)));
	}
	rest_end(&rest);
	unlink(path);
}

static void
test_without_sums_nothing_is_noticed(void **state)
{
	struct rest rest;
	uint64_t value;

	rest_begin(&rest, false);
	rot(&rest, 1, 5);
	assert_true(tp_result_is_ok(page_read(&rest, 2, 5, &value)));
	assert_int_equal(corrupt(&rest), 0);
	rest_end(&rest);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_home_memory_that_rots_reads_void_everywhere),
		cmocka_unit_test(test_copy_that_rots_is_noticed_when_it_goes),
		cmocka_unit_test(test_frames_in_use_have_no_faults),
		cmocka_unit_test(test_page_that_rots_is_never_said_to_last),
		cmocka_unit_test(test_without_sums_nothing_is_noticed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
