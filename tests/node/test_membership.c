/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Three whole nodes in virtual time: death, fencing, return, leaving.
 */
#include "cluster_setup.h"
#include "tp_shard.h"

static void
test_node_killed_its_waiters_hear_within_bound(void **state)
{
	struct cluster *cluster = cluster_create(1, 64);
	struct cluster_client clients[2];
	struct tp_client_region *regions[2];
	struct tp_result result;
	uint64_t begun;
	uint64_t value = 0;

	cluster_attach(cluster, 1, &clients[0]);
	cluster_attach(cluster, 2, &clients[1]);
	regions[0] = region_make(&clients[0], "r", 12, TP_REGION_STRIPED);
	regions[1] = region_open(&clients[1], "r");
	/* Page 0 is homed on node 1; node 2 takes it and dies with it. */
	write_ok(&clients[1], regions[1], 0, 7);
	/* Page 1 is homed on node 2. */
	write_ok(&clients[0], regions[0], PAGE, 8);
	tp_client_detach(clients[1].client);
	cluster_node_kill(cluster, 2);
	begun = cluster->now;
	result = tp_read(clients[0].thread, regions[0], 4 * PAGE, &value, sizeof(value));
	assert_int_equal(result.reason, TP_UNREACHABLE);
	assert_true(cluster->now - begun < 250 * CLUSTER_MS);
	begun = cluster->now;
	result = tp_read(clients[0].thread, regions[0], 0, &value, sizeof(value));
	assert_int_equal(result.reason, TP_NODE_CRASHED);
	assert_true(cluster->now - begun < 250 * CLUSTER_MS);
	/* What node 1 holds itself it goes on with. */
	assert_int_equal(read_ok(&clients[0], regions[0], PAGE), 8);
	write_ok(&clients[0], regions[0], 3 * PAGE, 9);
	assert_idle_but_requests(cluster, true);
	/* A new generation: all works but what the dead node was home of. */
	cluster_node_start(cluster, 2);
	cluster_node_await(cluster, 2);
	assert_int_equal(tp_client_region_reset(clients[0].client, "r"), 0);
	tp_client_region_close(regions[0]);
	regions[0] = region_open(&clients[0], "r");
	assert_int_equal(read_ok(&clients[0], regions[0], 0), 0);
	assert_int_equal(read_ok(&clients[0], regions[0], PAGE), 0);
	write_ok(&clients[0], regions[0], PAGE, 10);
	assert_int_equal(read_ok(&clients[0], regions[0], PAGE), 10);
	assert_idle(cluster);
	cluster_detach(&clients[0]);
	cluster_destroy(cluster);
}

/* Offset of the nth page homed on that node, of worker 0 of three and worker 1 of two. */
static uint64_t
offset_of(const struct tp_client_region *region, uint16_t node, uint32_t nth)
{
	uint64_t page, address = tp_client_region_info(region)->address;

	for (page = (uint64_t)node - 2; page < 64; page += 2) {
		uint32_t shard = tp_shard_of(address + page * PAGE, 12);

		if (tp_shard_worker(shard, 3) == 0 && tp_shard_worker(shard, 2) == 1 && nth-- == 0)
			return page * PAGE;
	}
	fail_msg("no such page of node %u", node);
	return 0;
}

/*
 * Those two workers have no session before they use it, so what goes to the dead
 * node's waits until the node is known to be dead. Nobody else waits with it.
 */
static void
test_node_killed_pages_elsewhere_go_on(void **state)
{
	struct cluster *cluster = cluster_create_mixed((const uint16_t[]){ 3, 2 }, 64);
	struct tp_client_region_config config = { .name = "r", .bytes = 64 * PAGE,
		.distribution = TP_REGION_STRIPED, .nodes = (const uint16_t[]){ 2, 3 },
		.node_count = 2 };
	struct cluster_client client;
	struct tp_client_region *region;
	struct tp_op op = { 0 };
	uint64_t value = 0, begun;
	struct tp_worker_usage usage;

	cluster_attach(cluster, 1, &client);
	assert_int_equal(tp_client_region_create(client.client, &config, &region), 0);
	write_ok(&client, region, offset_of(region, 2, 0), 1);
	cluster_node_kill(cluster, 3);
	begun = cluster->now;
	assert_false(tp_submit_read(client.thread, region, offset_of(region, 3, 0), &value, 8, &op));
	cluster_run(cluster, CLUSTER_MS);
	tp_worker_usage_get(tp_control_worker(cluster->nodes[1].control, 0), &usage);
	assert_int_equal(usage.stashed, 1);
	write_ok(&client, region, offset_of(region, 2, 1), 2);
	write_ok(&client, region, offset_of(region, 2, 2), 3);
	assert_true(cluster->now - begun < 5 * CLUSTER_MS);
	assert_false(tp_op_poll(client.thread, &op));
	assert_int_equal(tp_op_wait(client.thread, &op).reason, TP_UNREACHABLE);
	assert_true(cluster->now - begun < 250 * CLUSTER_MS);
	cluster_detach(&client);
	cluster_destroy(cluster);
}

#define PROGRAMS 8u
#define CROWD 15u	/* accesses at once of one; of all, more than there is room for */

/*
 * Copies of a node that stands still are called back, more than their home has
 * frames and room to keep: a message is lost, and with it the session, at once. Who
 * waits gets what it wants as if the node were silent; it goes on, and sees no old
 * value.
 */
static void
test_stash_full_session_ends_nothing_stale_nothing_left(void **state)
{
	struct cluster *cluster = cluster_create(1, 128);
	static struct tp_op ops[PROGRAMS][CROWD];
	struct cluster_client clients[PROGRAMS], sharer;
	struct tp_client_region *regions[PROGRAMS], *copies;
	uint64_t value, begun, values[PROGRAMS];
	uint32_t i, k;

	(void)state;
	cluster_node_kill(cluster, 1);
	cluster->short_of_room = true;
	cluster_node_start(cluster, 1);
	for (i = 1; i <= CLUSTER_NODES; i++)
		cluster_node_await(cluster, (uint16_t)i);
	for (k = 0; k < PROGRAMS; k++) {
		values[k] = 7 + k;
		cluster_attach(cluster, 1, &clients[k]);
		regions[k] = k != 0 ? region_open(&clients[k], "r") :
			region_make(&clients[k], "r", PROGRAMS * CROWD, TP_REGION_HOME);
	}
	cluster_attach(cluster, 3, &sharer);
	copies = region_open(&sharer, "r");
	for (i = 0; i < PROGRAMS * CROWD; i++)
		assert_int_equal(read_ok(&sharer, copies, i * PAGE), 0);
	cluster->nodes[3].paused = true;
	begun = cluster->now;
	for (k = 0; k < PROGRAMS; k++) {
		for (i = 0; i < CROWD; i++)
			assert_false(tp_submit_write(clients[k].thread, regions[k],
				(k * CROWD + i) * PAGE, &values[k], 8, &ops[k][i]));
		/* So that frames run out amid the requests of a turn: after it none is taken. */
		if (k == 0)
			cluster_step(cluster);
	}
	for (k = 0; k < PROGRAMS; k++)
		for (i = 0; i < CROWD; i++)
			assert_int_equal(tp_op_wait(clients[k].thread, &ops[k][i]).reason, TP_OK);
	assert_true(cluster->now - begun < 250 * CLUSTER_MS);
	assert_true(tp_worker_stats_get(tp_control_worker(cluster->nodes[1].control, 0))->
		messages_overflow > 0);
	cluster->nodes[3].paused = false;
	for (i = 0; i < PROGRAMS * CROWD; i++) {
		/* It finds that it was fenced, and joins again. */
		while (!tp_result_is_ok(tp_read(sharer.thread, copies, i * PAGE, &value, 8)))
			assert_true(cluster->now - begun < 2000 * CLUSTER_MS);
		assert_int_equal(value, values[i / CROWD]);
	}
	assert_idle(cluster);
	cluster_detach(&sharer);
	for (k = 0; k < PROGRAMS; k++)
		cluster_detach(&clients[k]);
	cluster_destroy(cluster);
}

static void
test_node_restarted_its_home_memory_is_lost_not_zero(void **state)
{
	struct cluster *cluster = cluster_create(1, 64);
	struct cluster_client client;
	struct tp_client_region *region;
	struct tp_result result;
	uint64_t value = 0;

	cluster_attach(cluster, 1, &client);
	region = region_make(&client, "r", 12, TP_REGION_STRIPED);
	write_ok(&client, region, PAGE, 8);
	cluster_node_kill(cluster, 2);
	cluster_node_start(cluster, 2);
	cluster_node_await(cluster, 2);
	/* Node 1 drops what it held of the old one, a few pages each turn. */
	cluster_run(cluster, 20 * CLUSTER_MS);
	result = tp_read(client.thread, region, PAGE, &value, sizeof(value));
	assert_int_equal(result.reason, TP_NODE_CRASHED);
	result = tp_read(client.thread, region, 4 * PAGE, &value, sizeof(value));
	assert_int_equal(result.reason, TP_NODE_CRASHED);
	assert_idle(cluster);
	cluster_detach(&client);
	cluster_destroy(cluster);
}

static void
test_node_stopped_serves_no_stale_hit_and_comes_back(void **state)
{
	struct cluster *cluster = cluster_create(1, 64);
	struct cluster_client clients[2];
	struct tp_client_region *regions[2];
	uint32_t epoch;
	uint64_t value = 0;
	struct tp_result result;

	cluster_attach(cluster, 1, &clients[0]);
	cluster_attach(cluster, 3, &clients[1]);
	regions[0] = region_make(&clients[0], "r", 12, TP_REGION_STRIPED);
	regions[1] = region_open(&clients[1], "r");
	write_ok(&clients[0], regions[0], 0, 1);
	assert_int_equal(read_ok(&clients[1], regions[1], 0), 1);
	epoch = tp_control_epoch(cluster->nodes[3].control);
	/* Node 3 holds a copy and stops; node 1 writes meanwhile. */
	cluster->nodes[3].paused = true;
	write_ok(&clients[0], regions[0], 0, 2);
	cluster_run(cluster, 500 * CLUSTER_MS);
	assert_true(tp_control_lease_until(cluster->nodes[3].control) <= cluster->now);
	cluster->nodes[3].paused = false;
	/* Whatever it answers, it is not the old value. */
	result = tp_read(clients[1].thread, regions[1], 0, &value, sizeof(value));
	if (tp_result_is_ok(result))
		assert_int_equal(value, 2);
	cluster_node_await(cluster, 3);
	assert_true(tp_control_epoch(cluster->nodes[3].control) > epoch);
	assert_int_equal(read_ok(&clients[1], regions[1], 0), 2);
	write_ok(&clients[1], regions[1], 0, 3);
	assert_int_equal(read_ok(&clients[0], regions[0], 0), 3);
	assert_idle(cluster);
	cluster_detach(&clients[0]);
	cluster_detach(&clients[1]);
	cluster_destroy(cluster);
}

static void
test_node_fenced_keeps_its_home_memory(void **state)
{
	struct cluster *cluster = cluster_create(1, 64);
	struct cluster_client client;
	struct tp_client_region *region;

	cluster_attach(cluster, 1, &client);
	region = region_make(&client, "r", 12, TP_REGION_STRIPED);
	write_ok(&client, region, PAGE, 11);
	write_ok(&client, region, 4 * PAGE, 12);
	assert_true(tp_result_is_ok(tp_flush(client.thread, region, PAGE, 8)));
	assert_int_equal(tp_catalogue_node_fence(cluster->nodes[1].control->catalogue, 2,
		tp_control_epoch(cluster->nodes[2].control), NULL, NULL), 0);
	cluster_run(cluster, 50 * CLUSTER_MS);
	assert_int_equal(cluster->nodes[2].control->stats.fenced, 1);
	cluster_node_await(cluster, 2);
	cluster_node_await(cluster, 1);
	/* In its memory, and what node 1 held of it all the time. */
	assert_int_equal(read_ok(&client, region, PAGE), 11);
	assert_int_equal(read_ok(&client, region, 4 * PAGE), 12);
	assert_idle(cluster);
	cluster_detach(&client);
	cluster_destroy(cluster);
}

static void
test_node_fenced_while_joining_joins_again(void **state)
{
	struct cluster *cluster = cluster_create(1, 64);
	struct cluster_client client;
	struct tp_client_region *region;
	uint32_t epoch;

	/* Killed, so that the next one has to wait for its lease. */
	cluster_node_kill(cluster, 2);
	cluster_node_start(cluster, 2);
	epoch = tp_control_epoch(cluster->nodes[2].control);
	cluster_run(cluster, CLUSTER_MS);
	assert_int_equal(tp_control_state_get(cluster->nodes[2].control), TP_CONTROL_JOINING);
	assert_int_equal(tp_catalogue_node_fence(cluster->nodes[1].control->catalogue, 2, epoch,
		NULL, NULL), 0);
	cluster_node_await(cluster, 2);
	assert_int_equal(tp_control_epoch(cluster->nodes[2].control), epoch + 1);
	cluster_attach(cluster, 1, &client);
	region = region_make(&client, "r", 12, TP_REGION_STRIPED);
	write_ok(&client, region, PAGE, 8);
	assert_int_equal(read_ok(&client, region, PAGE), 8);
	cluster_detach(&client);
	cluster_destroy(cluster);
}

static void
test_control_paused_lease_lapses_and_is_renewed(void **state)
{
	struct cluster *cluster = cluster_create(1, 64);
	struct tp_control *control = cluster->nodes[2].control;
	uint64_t renewals = control->stats.renewals;

	cluster_run(cluster, 60 * CLUSTER_MS);
	assert_in_range(control->stats.renewals - renewals, 3, 6);
	cluster->nodes[2].control_paused = true;
	cluster_run(cluster, 61 * CLUSTER_MS);
	assert_true(tp_control_lease_until(control) <= cluster->now);
	assert_int_equal(control->stats.gaps, 0);
	cluster->nodes[2].control_paused = false;
	cluster_step(cluster);
	assert_int_equal(control->stats.gaps, 1);
	assert_int_equal(control->stats.renewals_late, 1);
	assert_true(tp_control_lease_until(control) > cluster->now);
	assert_int_equal(control->stats.fenced, 0);
	cluster_destroy(cluster);
}

static void
test_fence_that_waits_for_store_is_no_work(void **state)
{
	struct cluster *cluster = cluster_create(1, 64);
	struct tp_control *control = cluster->nodes[1].control;

	cluster_run(cluster, 50 * CLUSTER_MS);
	while (membership_poll(control) != 0)
		cluster_step(cluster);
	control->retry_at = control->now + 10 * CLUSTER_MS;
	membership_fence_wanted(control, 2, 0);
	assert_int_equal(membership_poll(control), 0);
	control->retry_at = 0;
	assert_int_equal(membership_poll(control), 1);
	assert_int_equal(control->stats.fences, 1);
	cluster_destroy(cluster);
}

/* In order, and at once where nothing is in the way. */
static void
node_leave(struct cluster *cluster, uint16_t id)
{
	uint64_t begun = cluster->now;

	tp_control_stop(cluster->nodes[id].control, cluster->now);
	while (tp_control_state_get(cluster->nodes[id].control) != TP_CONTROL_STOPPED) {
		cluster_step(cluster);
		assert_true(cluster->now - begun < 100 * CLUSTER_MS);
	}
	cluster_node_kill(cluster, id);
}

static void
test_node_left_in_order_its_changes_stay(void **state)
{
	struct cluster *cluster = cluster_create(2, 64);
	struct cluster_client clients[2];
	struct tp_client_region *regions[2];
	uint64_t value;
	uint32_t i;

	cluster_attach(cluster, 1, &clients[0]);
	cluster_attach(cluster, 2, &clients[1]);
	regions[0] = region_make(&clients[0], "r", 12, TP_REGION_STRIPED);
	assert_int_equal(tp_client_region_open(clients[1].client, "r", &regions[1]), 0);
	for (i = 0; i < 12; i++) {
		value = 100 + i;
		assert_true(tp_result_is_ok(tp_write(clients[1].thread, regions[1], i * PAGE,
			&value, 8)));
	}
	cluster_detach(&clients[1]);
	node_leave(cluster, 2);
	/* What is at home on the others is whole; what left with its home is VOID. */
	for (i = 0; i < 12; i++) {
		struct tp_result result = tp_read(clients[0].thread, regions[0], i * PAGE,
			&value, 8);

		assert_int_equal(tp_result_is_ok(result), i % 3 != 1);
		if (i % 3 != 1)
			assert_int_equal(value, 100 + i);
	}
	cluster_detach(&clients[0]);
	cluster_destroy(cluster);
}

static void
test_node_left_in_order_without_its_homes_in_bounded_time(void **state)
{
	struct cluster *cluster = cluster_create(1, 64);
	struct cluster_client client;
	struct tp_client_region *region;
	uint64_t value = 7;
	uint64_t begun;

	cluster_attach(cluster, 2, &client);
	region = region_make(&client, "r", 3, TP_REGION_STRIPED);
	assert_true(tp_result_is_ok(tp_write(client.thread, region, 0, &value, 8)));
	cluster_detach(&client);
	cluster_node_kill(cluster, 1);
	begun = cluster->now;
	tp_control_stop(cluster->nodes[2].control, cluster->now);
	while (tp_control_state_get(cluster->nodes[2].control) != TP_CONTROL_STOPPED)
		cluster_step(cluster);
	assert_true(cluster->now - begun < 350 * CLUSTER_MS);
	cluster_node_kill(cluster, 2);
	cluster_destroy(cluster);
}

static void
test_node_left_in_order_nobody_waits(void **state)
{
	struct cluster *cluster = cluster_create(1, 64);
	struct cluster_client client;
	struct tp_client_region *region;
	uint64_t value;
	uint64_t begun;

	cluster_attach(cluster, 1, &client);
	region = region_make(&client, "r", 12, TP_REGION_STRIPED);
	node_leave(cluster, 2);
	cluster_run(cluster, CLUSTER_MS);
	begun = cluster->now;
	assert_false(tp_result_is_ok(tp_read(client.thread, region, PAGE, &value, 8)));
	assert_true(cluster->now - begun < 250 * CLUSTER_MS);
	/* It can come back at once. */
	cluster_node_start(cluster, 2);
	begun = cluster->now;
	cluster_node_await(cluster, 2);
	assert_true(cluster->now - begun < 10 * CLUSTER_MS);
	cluster_detach(&client);
	cluster_destroy(cluster);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_control_paused_lease_lapses_and_is_renewed),
		cmocka_unit_test(test_node_fenced_while_joining_joins_again),
		cmocka_unit_test(test_node_left_in_order_nobody_waits),
		cmocka_unit_test(test_node_left_in_order_its_changes_stay),
		cmocka_unit_test(test_node_left_in_order_without_its_homes_in_bounded_time),
		cmocka_unit_test(test_node_killed_its_waiters_hear_within_bound),
		cmocka_unit_test(test_node_killed_pages_elsewhere_go_on),
		cmocka_unit_test(test_stash_full_session_ends_nothing_stale_nothing_left),
		cmocka_unit_test(test_node_restarted_its_home_memory_is_lost_not_zero),
		cmocka_unit_test(test_node_stopped_serves_no_stale_hit_and_comes_back),
		cmocka_unit_test(test_node_fenced_keeps_its_home_memory),
		cmocka_unit_test(test_fence_that_waits_for_store_is_no_work),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
