/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The simulated cluster that programs use: nodes, clients, faults, time.
 */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <rte_errno.h>
#include <rte_log.h>

#include "tp_sim.h"

#define MS UINT64_C(1000000)
#define PAGE 4096u
#define PAGES 8u

/* A cluster, a program on each of its first two nodes, and a region striped over both. */
struct fixture {
	struct tp_sim *sim;
	struct tp_client *clients[2];
	struct tp_thread *threads[2];
	struct tp_client_region *regions[2];
};

static void
fixture_attach(struct fixture *f, unsigned int i)
{
	f->clients[i] = tp_sim_attach(f->sim, i + 1, 2);
	assert_non_null(f->clients[i]);
	assert_int_equal(tp_thread_register(f->clients[i], &f->threads[i]), 0);
}

static struct fixture
fixture_make(const struct tp_sim_config *config, const struct tp_sim_node_config *node)
{
	const uint16_t nodes[] = { 1, 2 };
	const struct tp_client_region_config region = {
		.name = "r",
		.bytes = PAGES * PAGE,
		.nodes = nodes,
		.node_count = 2,
	};
	struct fixture f = { .sim = tp_sim_create(config) };

	assert_non_null(f.sim);
	assert_int_equal(tp_sim_node_add(f.sim, node), 1);
	assert_int_equal(tp_sim_node_add(f.sim, node), 2);
	assert_int_equal(tp_sim_node_add(f.sim, node), 3);
	fixture_attach(&f, 0);
	fixture_attach(&f, 1);
	assert_int_equal(tp_client_region_create(f.clients[0], &region, &f.regions[0]), 0);
	assert_int_equal(tp_client_region_open(f.clients[1], "r", &f.regions[1]), 0);
	return f;
}

static uint64_t
read_ok(struct fixture *f, unsigned int i, uint64_t offset)
{
	uint64_t value = 0;
	struct tp_result result = tp_read(f->threads[i], f->regions[i], offset, &value, 8);

	if (!tp_result_is_ok(result))
		fail_msg("program %u reads %s", i, tp_reason_name(result.reason));
	return value;
}

static void
write_ok(struct fixture *f, unsigned int i, uint64_t offset, uint64_t value)
{
	struct tp_result result = tp_write(f->threads[i], f->regions[i], offset, &value, 8);

	if (!tp_result_is_ok(result))
		fail_msg("program %u writes %s", i, tp_reason_name(result.reason));
}

static enum tp_reason
read_reason(struct fixture *f, unsigned int i, uint64_t offset)
{
	uint64_t value;

	return (enum tp_reason)tp_read(f->threads[i], f->regions[i], offset, &value, 8).reason;
}

static void
share(struct fixture *f)
{
	uint64_t old;
	uint32_t i;

	for (i = 0; i < PAGES; i++)
		write_ok(f, i % 2, i * PAGE, 100 + i);
	for (i = 0; i < PAGES; i++)
		assert_int_equal(read_ok(f, (i + 1) % 2, i * PAGE), 100 + i);
	for (i = 0; i < 100; i++)
		assert_true(tp_result_is_ok(tp_atomic_add64(f->threads[i % 2], f->regions[i % 2],
			8, 1, &old)));
	assert_int_equal(read_ok(f, 0, 8), 100);
}

static void
test_sim_nodes_share_memory(void **state)
{
	struct fixture f = fixture_make(NULL, NULL);

	share(&f);
	tp_sim_destroy(f.sim);
}

static void
test_sim_nodes_with_two_workers_share_memory_on_a_bad_network(void **state)
{
	const struct tp_sim_config config = {
		.seed = 3,
		.network = { .jitter_ns = 50000, .loss_ppm = 50000, .duplicate_ppm = 50000,
			     .corrupt_ppm = 20000 },
	};
	const struct tp_sim_node_config node = { .workers = 2 };
	struct fixture f = fixture_make(&config, &node);

	share(&f);
	tp_sim_destroy(f.sim);
}

static void
test_sim_allocation_and_pins_work(void **state)
{
	struct fixture f = fixture_make(NULL, NULL);
	struct tp_ptr ptr;
	struct tp_pin pin;
	uint64_t generation;

	assert_int_equal(tp_client_alloc(f.clients[0], 2, 100, &ptr), 0);
	assert_int_equal(tp_client_generation_check(f.clients[1], ptr), 0);
	assert_int_equal(tp_client_free(f.clients[1], ptr), 0);
	assert_true(tp_client_generation_check(f.clients[0], ptr) < 0);
	assert_int_equal(tp_client_generation_get(f.clients[0],
		tp_client_region_info(f.regions[0])->address, &generation), 0);
	assert_int_equal(generation, tp_client_region_info(f.regions[0])->generation);
	assert_true(tp_result_is_ok(tp_pin(f.threads[0], f.regions[0], PAGE, 8, TP_ACCESS_WRITE,
		&pin)));
	*(uint64_t *)pin.address = 77;
	assert_true(tp_result_is_ok(tp_unpin(f.threads[0], &pin)));
	assert_int_equal(read_ok(&f, 1, PAGE), 77);
	tp_sim_destroy(f.sim);
}

/* Everything that can be seen of a run, folded. */
static uint64_t
run_hash(uint64_t seed)
{
	const struct tp_sim_config config = {
		.seed = seed,
		.network = { .jitter_ns = 20000, .loss_ppm = 30000 },
	};
	struct fixture f = fixture_make(&config, NULL);
	uint64_t hash = 0, value = 0;
	uint32_t i;

	for (i = 0; i < 200; i++) {
		struct tp_result result;

		if (i == 50)
			tp_sim_node_offline(f.sim, 2);
		if (i == 100)
			tp_sim_node_online(f.sim, 2);
		if (i == 150)
			tp_sim_node_crash(f.sim, 3);
		tp_sim_advance(f.sim, MS);
		result = tp_atomic_add64(f.threads[i % 2], f.regions[i % 2], i % PAGES * PAGE, i,
			&value);
		hash = (hash ^ result.reason ^ value ^ tp_sim_now(f.sim)) * 0x9e3779b97f4a7c15u;
	}
	tp_sim_destroy(f.sim);
	return hash;
}

static void
test_sim_same_seed_runs_the_same(void **state)
{
	uint64_t hash = run_hash(7);

	assert_true(hash == run_hash(7));
	assert_true(hash != run_hash(8));
}

static void
test_sim_offline_node_reads_unreachable_until_it_is_back(void **state)
{
	struct fixture f = fixture_make(NULL, NULL);
	uint64_t began;

	write_ok(&f, 0, PAGE, 5);
	assert_true(tp_result_is_ok(tp_flush(f.threads[0], f.regions[0], 0, PAGES * PAGE)));
	assert_int_equal(tp_sim_node_offline(f.sim, 2), 0);
	began = tp_sim_now(f.sim);
	/* Page 3 lives on node 2 and is not here. */
	assert_int_equal(read_reason(&f, 0, 3 * PAGE), TP_UNREACHABLE);
	assert_true(tp_sim_now(f.sim) - began < 250 * MS);
	assert_int_equal(tp_sim_node_online(f.sim, 2), 0);
	tp_sim_advance(f.sim, 1000 * MS);
	assert_true(tp_sim_node_is_serving(f.sim, 2));
	assert_int_equal(read_ok(&f, 0, PAGE), 5);
	assert_int_equal(read_ok(&f, 0, 3 * PAGE), 0);
	assert_int_equal(read_ok(&f, 1, PAGE), 5);
	tp_sim_destroy(f.sim);
}

static void
test_sim_crashed_node_is_crashed_until_the_reset(void **state)
{
	struct fixture f = fixture_make(NULL, NULL);
	struct tp_client_region *region;
	uint64_t began;

	write_ok(&f, 1, PAGE, 5);
	assert_int_equal(tp_sim_node_crash(f.sim, 2), 0);
	assert_int_equal(tp_sim_node_crash(f.sim, 2), -ENOENT);
	/* Its own program: at once, not at the deadline. */
	began = tp_sim_now(f.sim);
	assert_int_equal(read_reason(&f, 1, 2 * PAGE), TP_NODE_CRASHED);
	assert_true(tp_sim_now(f.sim) - began < 50 * MS);
	assert_false(tp_client_is_alive(f.clients[1]));
	assert_int_equal(tp_client_region_open(f.clients[1], "r", &region), -ECONNRESET);
	assert_null(tp_sim_attach(f.sim, 2, 1));
	assert_int_equal(rte_errno, ECONNREFUSED);
	tp_client_detach(f.clients[1]);
	/* The others. */
	assert_int_not_equal(read_reason(&f, 0, PAGE), TP_OK);
	assert_int_equal(tp_sim_node_restart(f.sim, 2), 0);
	assert_int_equal(tp_sim_node_restart(f.sim, 2), -EALREADY);
	tp_sim_advance(f.sim, 500 * MS);
	assert_int_equal(read_reason(&f, 0, PAGE), TP_NODE_CRASHED);
	assert_int_equal(tp_client_region_reset(f.clients[0], "r"), 0);
	fixture_attach(&f, 1);
	tp_client_region_close(f.regions[0]);
	assert_int_equal(tp_client_region_open(f.clients[0], "r", &f.regions[0]), 0);
	assert_int_equal(tp_client_region_open(f.clients[1], "r", &f.regions[1]), 0);
	assert_int_equal(read_ok(&f, 0, PAGE), 0);
	share(&f);
	tp_sim_destroy(f.sim);
}

static void
test_sim_paused_node_ends_calls_at_their_deadline(void **state)
{
	struct fixture f = fixture_make(NULL, NULL);
	uint64_t began;

	assert_int_equal(tp_sim_node_pause(f.sim, 1), 0);
	tp_thread_timeout_set(f.threads[0], 100 * MS);
	began = tp_sim_now(f.sim);
	assert_int_equal(read_reason(&f, 0, PAGE), TP_NODE_CRASHED);
	assert_true(tp_sim_now(f.sim) - began >= 100 * MS);
	assert_true(tp_sim_now(f.sim) - began < 101 * MS);
	assert_int_equal(tp_sim_node_resume(f.sim, 1), 0);
	tp_sim_advance(f.sim, 1000 * MS);
	write_ok(&f, 0, PAGE, 6);
	assert_int_equal(read_ok(&f, 1, PAGE), 6);
	tp_sim_destroy(f.sim);
}

static void
test_sim_partition_one_way_and_healed(void **state)
{
	struct fixture f = fixture_make(NULL, NULL);

	assert_int_equal(tp_sim_partition(f.sim, 1, 1, true), -EINVAL);
	assert_int_equal(tp_sim_partition(f.sim, 1, 4, true), -ENOENT);
	assert_int_equal(tp_sim_partition(f.sim, 1, 2, true), 0);
	tp_sim_advance(f.sim, 300 * MS);
	assert_int_equal(read_reason(&f, 0, PAGE), TP_UNREACHABLE);
	/* Node 3 is on neither side. */
	assert_true(tp_sim_node_is_serving(f.sim, 3));
	assert_int_equal(tp_sim_heal(f.sim, 1, 2), 0);
	tp_sim_advance(f.sim, 1000 * MS);
	assert_int_equal(read_ok(&f, 0, PAGE), 0);
	tp_sim_destroy(f.sim);
}

static void
test_sim_node_without_store_reads_partition(void **state)
{
	struct fixture f = fixture_make(NULL, NULL);

	write_ok(&f, 0, 0, 1);
	assert_int_equal(tp_sim_store_cut(f.sim, 1, true), 0);
	tp_sim_advance(f.sim, 200 * MS);
	assert_false(tp_sim_node_is_serving(f.sim, 1));
	assert_int_not_equal(read_reason(&f, 0, 0), TP_OK);
	assert_int_equal(tp_sim_store_cut(f.sim, 1, false), 0);
	tp_sim_advance(f.sim, 1000 * MS);
	assert_int_equal(read_ok(&f, 0, 0), 1);
	tp_sim_destroy(f.sim);
}

static void
test_sim_argument_is_checked(void **state)
{
	const struct tp_sim_config bad = { .network = { .loss_ppm = 1000001 } };
	const struct tp_sim_node_config workers = { .workers = TP_SIM_WORKERS_MAX + 1 };
	const struct tp_sim_node_config pages = { .page_bytes = 5000 };
	const struct tp_sim_node_config cache = { .cache_bytes = 4096 };
	struct tp_sim *sim;

	assert_null(tp_sim_create(&bad));
	assert_int_equal(rte_errno, EINVAL);
	sim = tp_sim_create(NULL);
	assert_int_equal(tp_sim_network_set(sim, &bad.network), -EINVAL);
	assert_int_equal(tp_sim_node_add(sim, &workers), -EINVAL);
	assert_int_equal(tp_sim_node_add(sim, &pages), -EINVAL);
	assert_int_equal(tp_sim_node_add(sim, &cache), -EINVAL);
	assert_int_equal(tp_sim_node_offline(sim, 1), -ENOENT);
	assert_int_equal(tp_sim_node_restart(sim, 9), -ENOENT);
	assert_null(tp_sim_attach(sim, 9, 1));
	assert_int_equal(rte_errno, ENOENT);
	tp_sim_destroy(sim);
	tp_sim_destroy(NULL);
}

static unsigned int
fds_open(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int count = 0;

	assert_non_null(dir);
	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count;
}

static void
test_sim_destroy_leaves_no_descriptor(void **state)
{
	unsigned int before = fds_open();
	struct fixture f = fixture_make(NULL, NULL);
	struct tp_client *orphan = tp_sim_attach(f.sim, 3, 1);

	assert_true(fds_open() > before);
	tp_sim_node_crash(f.sim, 3);
	tp_client_detach(f.clients[1]);
	/* One client is gone, one attached, one an orphan: all at once. */
	assert_non_null(orphan);
	tp_sim_destroy(f.sim);
	assert_int_equal(fds_open(), before);
}

static void
test_sim_two_simulations_do_not_meet(void **state)
{
	const struct tp_sim_node_config node = { .workers = 2 };
	struct fixture f = fixture_make(NULL, &node);
	struct fixture g = fixture_make(NULL, NULL);

	write_ok(&f, 0, PAGE, 1);
	write_ok(&g, 0, PAGE, 2);
	assert_int_equal(read_ok(&f, 1, PAGE), 1);
	assert_int_equal(read_ok(&g, 1, PAGE), 2);
	tp_sim_destroy(g.sim);
	share(&f);
	tp_sim_destroy(f.sim);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sim_nodes_share_memory),
		cmocka_unit_test(test_sim_nodes_with_two_workers_share_memory_on_a_bad_network),
		cmocka_unit_test(test_sim_allocation_and_pins_work),
		cmocka_unit_test(test_sim_same_seed_runs_the_same),
		cmocka_unit_test(test_sim_offline_node_reads_unreachable_until_it_is_back),
		cmocka_unit_test(test_sim_crashed_node_is_crashed_until_the_reset),
		cmocka_unit_test(test_sim_paused_node_ends_calls_at_their_deadline),
		cmocka_unit_test(test_sim_partition_one_way_and_healed),
		cmocka_unit_test(test_sim_node_without_store_reads_partition),
		cmocka_unit_test(test_sim_argument_is_checked),
		cmocka_unit_test(test_sim_destroy_leaves_no_descriptor),
		cmocka_unit_test(test_sim_two_simulations_do_not_meet),
	};

	rte_log_set_global_level(RTE_LOG_CRIT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
