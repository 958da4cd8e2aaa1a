/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What each injected fault does to the node it is injected on, and that all is
 * well after it is cleared. Page 0 of the region lives on node 1, where the
 * program is, page 1 on node 2, page 2 on node 3, and so on.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <rte_log.h>

#include "tp_inject.h"
#include "tp_sim.h"

#define MS UINT64_C(1000000)
#define PAGE 4096u
#define PAGES 12u
#define TIMEOUT (400 * MS)

struct fixture {
	struct tp_sim *sim;
	struct tp_client *client;	/* on node 1 */
	struct tp_client *other;	/* on node 2 */
	struct tp_thread *thread;
	struct tp_client_region *region;
	uint64_t took;			/* of the last call */
};

static struct fixture
setup(uint16_t workers)
{
	const struct tp_sim_node_config node = { .workers = workers };
	const uint16_t nodes[] = { 1, 2, 3 };
	const struct tp_client_region_config region = {
		.name = "r", .bytes = PAGES * PAGE, .nodes = nodes, .node_count = 3,
	};
	struct fixture f = { .sim = tp_sim_create(NULL) };
	int n;

	for (n = 1; n <= 3; n++)
		assert_int_equal(tp_sim_node_add(f.sim, &node), n);
	f.client = tp_sim_attach(f.sim, 1, 1);
	f.other = tp_sim_attach(f.sim, 2, 1);
	assert_non_null(f.client);
	assert_int_equal(tp_thread_register(f.client, &f.thread), 0);
	assert_int_equal(tp_client_region_create(f.client, &region, &f.region), 0);
	tp_thread_timeout_set(f.thread, TIMEOUT);
	return f;
}

static void
teardown(struct fixture *f)
{
	tp_sim_destroy(f->sim);
}

static struct tp_result
read_page(struct fixture *f, uint32_t page)
{
	uint64_t value, began = tp_sim_now(f->sim);
	struct tp_result result = tp_read(f->thread, f->region, page * PAGE, &value, 8);

	f->took = tp_sim_now(f->sim) - began;
	return result;
}

static struct tp_result
add(struct fixture *f, uint32_t page)
{
	uint64_t began = tp_sim_now(f->sim);
	struct tp_result result = tp_atomic_add64(f->thread, f->region, page * PAGE, 1, NULL);

	f->took = tp_sim_now(f->sim) - began;
	return result;
}

static void
inject(struct fixture *f, const struct tp_inject_spec *spec)
{
	assert_int_equal(tp_inject(f->client, spec), 0);
}

/* After it every page can be read and written again. */
static void
clear_and_check(struct fixture *f)
{
	struct tp_control_inject left;
	uint32_t page;

	assert_int_equal(tp_inject_clear(f->client), 0);
	assert_int_equal(tp_inject_get(f->client, 0, &left), -ENOENT);
	tp_sim_advance(f->sim, 1500 * MS);
	for (page = 0; page < PAGES; page++) {
		struct tp_result added = add(f, page), got = read_page(f, page);

		if (!tp_result_is_ok(added) || !tp_result_is_ok(got))
			fail_msg("page %u: add %s, read %s", page, tp_reason_name(added.reason),
				 tp_reason_name(got.reason));
	}
}

static void
assert_void(struct tp_result result, enum tp_reason reason, enum tp_effect effect)
{
	if (result.reason != reason || result.effect != effect)
		fail_msg("%s, effect %u; not %s, effect %u", tp_reason_name(result.reason),
			 result.effect, tp_reason_name(reason), effect);
}

static void
test_inject_unreachable_is_said_at_once(void **state)
{
	const uint16_t two = 2;
	struct fixture f = setup(1);

	inject(&f, &(struct tp_inject_spec){ .kind = TP_INJECT_UNREACHABLE, .peers = &two,
		.peer_count = 1 });
	tp_sim_advance(f.sim, MS);
	assert_void(read_page(&f, 1), TP_UNREACHABLE, TP_EFFECT_NOT_DONE);
	assert_true(f.took < MS);
	assert_void(add(&f, 4), TP_UNREACHABLE, TP_EFFECT_NOT_DONE);
	assert_true(f.took < MS);
	assert_int_equal(read_page(&f, 0).reason, TP_OK);
	assert_int_equal(read_page(&f, 2).reason, TP_OK);
	clear_and_check(&f);
	teardown(&f);
}

static void
test_inject_timeout_keeps_requests_to_their_deadline(void **state)
{
	const uint16_t two = 2;
	struct fixture f = setup(1);
	struct tp_ptr ptr;

	inject(&f, &(struct tp_inject_spec){ .kind = TP_INJECT_TIMEOUT, .peers = &two,
		.peer_count = 1 });
	assert_void(read_page(&f, 1), TP_TIMEOUT, TP_EFFECT_NOT_DONE);
	assert_in_range(f.took, TIMEOUT - TIMEOUT / 8, TIMEOUT);
	assert_void(add(&f, 1), TP_TIMEOUT, TP_EFFECT_UNKNOWN);
	assert_int_equal(read_page(&f, 2).reason, TP_OK);
	assert_int_equal(tp_client_alloc(f.client, 2, 64, &ptr), -ETIMEDOUT);
	clear_and_check(&f);
	assert_int_equal(tp_client_alloc(f.client, 2, 64, &ptr), 0);
	teardown(&f);
}

static void
partition(bool one_way)
{
	const uint16_t two = 2;
	struct fixture f = setup(1);

	inject(&f, &(struct tp_inject_spec){ .kind = TP_INJECT_PARTITION, .peers = &two,
		.peer_count = 1, .one_way = one_way });
	assert_void(read_page(&f, 1), TP_UNREACHABLE, TP_EFFECT_NOT_DONE);
	/* Found out by silence. */
	assert_in_range(f.took, 60 * MS, 250 * MS);
	assert_int_equal(read_page(&f, 2).reason, TP_OK);
	clear_and_check(&f);
	teardown(&f);
}

static void
test_inject_partition_is_found_by_silence(void **state)
{
	partition(false);
}

static void
test_inject_partition_one_way_is_one(void **state)
{
	partition(true);
}

static void
test_inject_partition_from_all_reads_partition(void **state)
{
	struct fixture f = setup(1);

	inject(&f, &(struct tp_inject_spec){ .kind = TP_INJECT_PARTITION });
	tp_sim_advance(f.sim, 300 * MS);
	assert_false(tp_sim_node_is_serving(f.sim, 1));
	assert_true(tp_sim_node_is_serving(f.sim, 2));
	assert_int_not_equal(read_page(&f, 0).reason, TP_OK);
	clear_and_check(&f);
	teardown(&f);
}

static void
test_inject_crash_ends_the_node(void **state)
{
	struct fixture f = setup(1);

	assert_int_equal(tp_inject(f.client, &(struct tp_inject_spec){
		.kind = TP_INJECT_CRASH }), -ECONNRESET);
	assert_false(tp_sim_node_is_serving(f.sim, 1));
	assert_void(read_page(&f, 2), TP_NODE_CRASHED, TP_EFFECT_NOT_DONE);
	assert_true(f.took < 50 * MS);
	assert_int_equal(tp_sim_node_restart(f.sim, 1), 0);
	tp_client_detach(f.client);
	f.client = tp_sim_attach(f.sim, 1, 1);
	assert_int_equal(tp_thread_register(f.client, &f.thread), 0);
	assert_int_equal(tp_client_region_reset(f.client, "r"), 0);
	assert_int_equal(tp_client_region_open(f.client, "r", &f.region), 0);
	/* The new process knows of no fault. */
	clear_and_check(&f);
	teardown(&f);
}

static void
test_inject_crash_comes_with_the_request_it_was_told(void **state)
{
	struct fixture f = setup(1);

	inject(&f, &(struct tp_inject_spec){ .kind = TP_INJECT_CRASH, .after = 3 });
	assert_int_equal(read_page(&f, 1).reason, TP_OK);
	assert_int_equal(read_page(&f, 2).reason, TP_OK);
	/* Hits are no requests. */
	assert_int_equal(read_page(&f, 2).reason, TP_OK);
	assert_void(add(&f, 4), TP_NODE_CRASHED, TP_EFFECT_UNKNOWN);
	assert_false(tp_sim_node_is_serving(f.sim, 1));
	teardown(&f);
}

static void
deny(uint16_t workers, enum tp_inject_kind kind, enum tp_reason reason)
{
	struct fixture f = setup(workers);
	struct tp_client_region *spare;
	const struct tp_client_region_config config = { .name = "spare", .bytes = PAGE };
	uint64_t value = 7;
	uint32_t page;

	assert_int_equal(tp_client_region_create(f.client, &config, &spare), 0);
	/* Some pages are here for writing, some for reading, some not at all. */
	for (page = 0; page < PAGES / 2; page++) {
		assert_true(tp_result_is_ok(tp_write(f.thread, f.region, page * PAGE, &value, 8)));
		assert_true(tp_result_is_ok(read_page(&f, page + 3)));
	}
	inject(&f, &(struct tp_inject_spec){ .kind = kind, .region = "r" });
	tp_sim_advance(f.sim, MS);
	for (page = 0; page < PAGES; page++) {
		assert_void(read_page(&f, page), reason, TP_EFFECT_NOT_DONE);
		assert_true(f.took < MS);
		value = 8;
		assert_void(tp_write(f.thread, f.region, page * PAGE, &value, 8), reason,
			TP_EFFECT_NOT_DONE);
		assert_int_equal(add(&f, page).reason, reason);
		assert_int_equal(tp_lookup(f.region, page * PAGE), TP_ACCESS_NONE);
	}
	assert_true(tp_result_is_ok(tp_write(f.thread, spare, 0, &value, 8)));
	/* Other nodes are not concerned, and take pages away meanwhile. */
	{
		struct tp_client_region *region;
		struct tp_thread *thread;

		assert_int_equal(tp_thread_register(f.other, &thread), 0);
		assert_int_equal(tp_client_region_open(f.other, "r", &region), 0);
		for (page = 0; page < PAGES; page += 2) {
			value = 100;
			assert_true(tp_result_is_ok(tp_write(thread, region, page * PAGE, &value,
				8)));
		}
	}
	assert_int_equal(tp_inject_clear(f.client), 0);
	tp_sim_advance(f.sim, MS);
	for (page = 0; page < PAGES; page++) {
		assert_true(tp_result_is_ok(tp_read(f.thread, f.region, page * PAGE, &value, 8)));
		assert_int_equal(value, page % 2 == 0 ? 100 : (page < PAGES / 2 ? 7 : 0));
	}
	clear_and_check(&f);
	teardown(&f);
}

static void
test_inject_permission_refuses_a_region_and_changes_nothing(void **state)
{
	deny(1, TP_INJECT_PERMISSION, TP_PERMISSION);
}

static void
test_inject_permission_with_two_workers(void **state)
{
	deny(2, TP_INJECT_PERMISSION, TP_PERMISSION);
}

static void
test_inject_corruption_of_a_region_reads_corruption(void **state)
{
	deny(1, TP_INJECT_CORRUPTION, TP_CORRUPTION);
}

static void
test_inject_denied_region_may_be_reset_and_destroyed(void **state)
{
	struct fixture f = setup(1);
	struct tp_client_region *region;
	uint64_t value;

	assert_int_equal(read_page(&f, 0).reason, TP_OK);
	inject(&f, &(struct tp_inject_spec){ .kind = TP_INJECT_PERMISSION, .region = "r" });
	assert_int_equal(tp_client_region_reset(f.client, "r"), 0);
	assert_int_equal(tp_client_region_open(f.client, "r", &region), 0);
	assert_true(tp_result_is_ok(tp_read(f.thread, region, 0, &value, 8)));
	inject(&f, &(struct tp_inject_spec){ .kind = TP_INJECT_PERMISSION, .region = "r" });
	assert_int_equal(tp_client_region_destroy(f.client, "r"), 0);
	assert_int_equal(tp_inject_clear(f.client), 0);
	teardown(&f);
}

static void
test_inject_damaged_frames_are_never_delivered(void **state)
{
	struct fixture f = setup(1);
	uint8_t data[PAGE], got[PAGE];
	uint32_t i, page;

	inject(&f, &(struct tp_inject_spec){ .kind = TP_INJECT_CORRUPTION, .rate_ppm = 200000 });
	inject(&f, &(struct tp_inject_spec){ .kind = TP_INJECT_DUPLICATE, .rate_ppm = 100000 });
	inject(&f, &(struct tp_inject_spec){ .kind = TP_INJECT_REORDER, .rate_ppm = 200000 });
	inject(&f, &(struct tp_inject_spec){ .kind = TP_INJECT_LOSS, .rate_ppm = 50000 });
	tp_thread_timeout_set(f.thread, 5000 * MS);
	for (i = 0; i < 10; i++) {
		for (page = 0; page < PAGES; page++) {
			memset(data, (int)(1 + i * PAGES + page), PAGE);
			assert_true(tp_result_is_ok(tp_write(f.thread, f.region, page * PAGE, data,
				PAGE)));
		}
		assert_true(tp_result_is_ok(tp_clear(f.thread, f.region)));
		for (page = 0; page < PAGES; page++) {
			assert_true(tp_result_is_ok(tp_read(f.thread, f.region, page * PAGE, got,
				PAGE)));
			memset(data, (int)(1 + i * PAGES + page), PAGE);
			assert_memory_equal(data, got, PAGE);
		}
	}
	for (i = 0; i < 50; i++)
		assert_true(tp_result_is_ok(add(&f, 1)));
	clear_and_check(&f);
	teardown(&f);
}

static void
test_inject_slow_peer_takes_longer_by_the_delay(void **state)
{
	const uint16_t two = 2;
	struct fixture f = setup(1);

	assert_int_equal(read_page(&f, 4).reason, TP_OK);
	assert_true(f.took < MS);
	inject(&f, &(struct tp_inject_spec){ .kind = TP_INJECT_SLOW, .peers = &two,
		.peer_count = 1, .delay_ns = 5 * MS });
	tp_sim_advance(f.sim, 20 * MS);
	assert_int_equal(read_page(&f, 1).reason, TP_OK);
	assert_in_range(f.took, 5 * MS, 7 * MS);
	assert_int_equal(read_page(&f, 2).reason, TP_OK);
	assert_true(f.took < MS);
	clear_and_check(&f);
	teardown(&f);
}

static void
test_inject_list_says_what_was_injected(void **state)
{
	const uint16_t peers[] = { 2, 3 };
	struct fixture f = setup(1);
	struct tp_control_inject inject_got;

	assert_int_equal(tp_inject_get(f.client, 0, &inject_got), -ENOENT);
	inject(&f, &(struct tp_inject_spec){ .kind = TP_INJECT_LOSS, .peers = peers,
		.peer_count = 2, .rate_ppm = 5, .one_way = true });
	inject(&f, &(struct tp_inject_spec){ .kind = TP_INJECT_PERMISSION, .region = "r" });
	assert_int_equal(tp_inject_get(f.client, 0, &inject_got), 0);
	assert_int_equal(inject_got.kind, TP_INJECT_LOSS);
	assert_int_equal(inject_got.node_count, 2);
	assert_int_equal(inject_got.nodes[1], 3);
	assert_int_equal(inject_got.rate_ppm, 5);
	assert_int_equal(inject_got.flags, TP_CONTROL_INJECT_ONE_WAY);
	assert_int_equal(tp_inject_get(f.client, 1, &inject_got), 0);
	assert_string_equal(inject_got.region, "r");
	assert_int_equal(tp_inject_get(f.client, 2, &inject_got), -ENOENT);
	/* It is this node's: the other one has none. */
	assert_int_equal(tp_inject_get(f.other, 0, &inject_got), -ENOENT);
	clear_and_check(&f);
	assert_string_equal(tp_inject_kind_name(TP_INJECT_SLOW), "slow");
	assert_string_equal(tp_inject_kind_name(99), "unknown");
	teardown(&f);
}

static void
test_inject_argument_is_checked(void **state)
{
	static const uint16_t self = 1, stranger = 9;
	static const struct {
		struct tp_inject_spec spec;
		int error;
	} cases[] = {
		{ { .kind = (enum tp_inject_kind)0 }, -EINVAL },
		{ { .kind = TP_INJECT_KIND_COUNT }, -EINVAL },
		{ { .kind = TP_INJECT_LOSS }, -EINVAL },
		{ { .kind = TP_INJECT_LOSS, .rate_ppm = 1000001 }, -EINVAL },
		{ { .kind = TP_INJECT_SLOW }, -EINVAL },
		{ { .kind = TP_INJECT_SLOW, .delay_ns = 11000 * MS }, -EINVAL },
		{ { .kind = TP_INJECT_SLOW, .delay_ns = 1, .one_way = true }, -EINVAL },
		{ { .kind = TP_INJECT_PERMISSION }, -EINVAL },
		{ { .kind = TP_INJECT_PERMISSION, .region = "none" }, -ENOENT },
		{ { .kind = TP_INJECT_CORRUPTION }, -EINVAL },
		{ { .kind = TP_INJECT_CORRUPTION, .region = "r", .rate_ppm = 1 }, -EINVAL },
		{ { .kind = TP_INJECT_CRASH, .rate_ppm = 1 }, -EINVAL },
		{ { .kind = TP_INJECT_UNREACHABLE, .after = 1 }, -EINVAL },
		{ { .kind = TP_INJECT_UNREACHABLE, .peer_count = 1 }, -EINVAL },
		{ { .kind = TP_INJECT_UNREACHABLE, .peers = &self, .peer_count = 1 }, -ENOENT },
		{ { .kind = TP_INJECT_UNREACHABLE, .peers = &stranger, .peer_count = 1 },
		  -ENOENT },
	};
	struct fixture f = setup(1);
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (tp_inject(f.client, &cases[i].spec) != cases[i].error)
			fail_msg("case %zu is not refused as it should be", i);
	for (i = 0; i < 32; i++)
		inject(&f, &(struct tp_inject_spec){ .kind = TP_INJECT_LOSS, .rate_ppm = 1 });
	assert_int_equal(tp_inject(f.client, &(struct tp_inject_spec){ .kind = TP_INJECT_LOSS,
		.rate_ppm = 1 }), -ENOSPC);
	clear_and_check(&f);
	teardown(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_inject_unreachable_is_said_at_once),
		cmocka_unit_test(test_inject_timeout_keeps_requests_to_their_deadline),
		cmocka_unit_test(test_inject_partition_is_found_by_silence),
		cmocka_unit_test(test_inject_partition_one_way_is_one),
		cmocka_unit_test(test_inject_partition_from_all_reads_partition),
		cmocka_unit_test(test_inject_crash_ends_the_node),
		cmocka_unit_test(test_inject_crash_comes_with_the_request_it_was_told),
		cmocka_unit_test(test_inject_permission_refuses_a_region_and_changes_nothing),
		cmocka_unit_test(test_inject_permission_with_two_workers),
		cmocka_unit_test(test_inject_corruption_of_a_region_reads_corruption),
		cmocka_unit_test(test_inject_denied_region_may_be_reset_and_destroyed),
		cmocka_unit_test(test_inject_damaged_frames_are_never_delivered),
		cmocka_unit_test(test_inject_slow_peer_takes_longer_by_the_delay),
		cmocka_unit_test(test_inject_list_says_what_was_injected),
		cmocka_unit_test(test_inject_argument_is_checked),
	};

	rte_log_set_global_level(RTE_LOG_CRIT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
