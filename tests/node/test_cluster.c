/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Three whole nodes in virtual time: sharing, fencing, return, regions, heap.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cluster.h"
#include "inject_priv.h"
#include "tp_generation.h"
#include "tp_inject.h"
#include "tp_shard.h"

#define PAGE 4096u

static struct tp_client_region *
region_make(struct cluster_client *client, const char *name, uint32_t pages,
	enum tp_region_distribution distribution)
{
	struct tp_client_region_config config = {
		.name = name,
		.bytes = (uint64_t)pages * PAGE,
		.distribution = distribution,
	};
	struct tp_client_region *region;

	assert_int_equal(tp_client_region_create(client->client, &config, &region), 0);
	return region;
}

static struct tp_client_region *
region_open(struct cluster_client *client, const char *name)
{
	struct tp_client_region *region;

	assert_int_equal(tp_client_region_open(client->client, name, &region), 0);
	return region;
}

static void
write_ok(struct cluster_client *client, struct tp_client_region *region, uint64_t offset,
	uint64_t value)
{
	struct tp_result result = tp_write(client->thread, region, offset, &value, sizeof(value));

	if (!tp_result_is_ok(result))
		fail_msg("write at %#lx: %s", offset, tp_reason_name(result.reason));
}

static uint64_t
read_ok(struct cluster_client *client, struct tp_client_region *region, uint64_t offset)
{
	uint64_t value = 0;
	struct tp_result result = tp_read(client->thread, region, offset, &value, sizeof(value));

	if (!tp_result_is_ok(result))
		fail_msg("read at %#lx: %s", offset, tp_reason_name(result.reason));
	return value;
}

/*
 * Nothing is under way anywhere, but requests to a home that is down: those
 * wait for what becomes of it.
 */
static void
assert_idle_but_requests(struct cluster *cluster, bool requests)
{
	uint16_t id;
	uint16_t w;

	cluster_run(cluster, 300 * CLUSTER_MS);
	for (id = 1; id <= CLUSTER_NODES; id++) {
		for (w = 0; cluster->nodes[id].control != NULL && w < cluster->workers; w++) {
			struct tp_worker *worker =
				tp_control_worker(cluster->nodes[id].control, w);
			struct tp_coherence_usage engine;
			struct tp_worker_usage own;

			tp_worker_usage_get(worker, &own);
			tp_coherence_usage_get(worker->coherence, &engine);
			assert_int_equal(own.requests, 0);
			assert_int_equal(own.held, 0);
			assert_int_equal(own.stashed, 0);
			assert_int_equal(own.local, 0);
			assert_int_equal(own.guard_waits, 0);
			assert_int_equal(own.quarantined, 0);
			if (!requests)
				assert_int_equal(engine.requests, 0);
			assert_int_equal(engine.waiters, 0);
			assert_int_equal(engine.busy, 0);
			assert_int_equal(engine.deferred, 0);
		}
	}
}

static void
assert_idle(struct cluster *cluster)
{
	assert_idle_but_requests(cluster, false);
}

static void
share(uint16_t workers, uint32_t cache_slots)
{
	struct cluster *cluster = cluster_create(workers, cache_slots);
	struct cluster_client clients[3];
	struct tp_client_region *regions[3];
	uint64_t old;
	uint32_t i;
	uint32_t k;

	for (i = 0; i < 3; i++)
		cluster_attach(cluster, (uint16_t)(i + 1), &clients[i]);
	regions[0] = region_make(&clients[0], "shared", 96, TP_REGION_STRIPED);
	regions[1] = region_open(&clients[1], "shared");
	regions[2] = region_open(&clients[2], "shared");
	for (i = 0; i < 96; i++)
		write_ok(&clients[i % 3], regions[i % 3], i * PAGE + 8 * (i % 512), 1000 + i);
	for (k = 0; k < 3; k++)
		for (i = 0; i < 96; i++)
			assert_int_equal(read_ok(&clients[k], regions[k], i * PAGE + 8 * (i % 512)),
				1000 + i);
	for (i = 0; i < 300; i++)
		assert_true(tp_result_is_ok(tp_atomic_add64(clients[i % 3].thread, regions[i % 3],
			5 * PAGE + 16, 1, &old)));
	assert_int_equal(read_ok(&clients[0], regions[0], 5 * PAGE + 16), 300);
	assert_idle(cluster);
	for (i = 0; i < 3; i++)
		cluster_detach(&clients[i]);
	assert_idle(cluster);
	for (i = 1; i <= 3; i++)
		assert_int_equal(tp_control_client_count(cluster->nodes[i].control), 0);
	cluster_destroy(cluster);
}

static void
test_nodes_share_pages_and_atomics_are_exact(void **state)
{
	share(1, 64);
}

static void
test_nodes_share_pages_with_two_workers(void **state)
{
	share(2, 64);
}

static void
test_nodes_share_more_pages_than_cache(void **state)
{
	share(1, 16);
}

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

/* Whom it would be about does not fit: nothing of it remains. */
static void
test_fault_without_room_for_all_peers_is_not_added(void **state)
{
	struct cluster *cluster = cluster_create(1, 64);
	struct tp_control *control = cluster->nodes[1].control;
	struct control_call call = { .request.op = TP_CONTROL_INJECT };
	struct inject inject = { .peer_count = INJECT_PEERS_MAX - 1 };

	control->inject = &inject;
	call.request.inject = (struct tp_control_inject){ .kind = TP_INJECT_PARTITION,
		.node_count = 2, .nodes = { 2, 3 } };
	inject_call(control, &call);
	assert_int_equal(call.response.error, ENOSPC);
	assert_int_equal(inject.peer_count, INJECT_PEERS_MAX - 1);
	assert_int_equal(inject.count, 0);
	control->inject = NULL;
	cluster_destroy(cluster);
}

static void
test_call_cancelled_is_forgotten(void **state)
{
	struct cluster *cluster = cluster_create(1, 64);
	struct tp_control *control = cluster->nodes[1].control;
	struct tp_control_request request = {
		.magic = TP_CONTROL_MAGIC,
		.version = TP_CONTROL_VERSION,
		.op = TP_CONTROL_REGION_CREATE,
		.region = { .name = "x", .bytes = PAGE, .mode = TP_REGION_RW,
			.distribution = TP_REGION_STRIPED },
	};
	struct tp_control_response response;
	struct cluster_client client;
	int call;

	cluster_attach(cluster, 1, &client);
	/* A member that does not answer: the call waits for it. */
	cluster->nodes[2].control_paused = true;
	call = tp_control_call(control, client.id, &request, cluster->now);
	assert_true(call >= 0);
	assert_int_equal(tp_control_call_result(control, call, &response, NULL, 0), -EINPROGRESS);
	assert_int_equal(tp_control_call_cancel(control, call), 0);
	assert_int_equal(control->calls_used, 0);
	assert_int_equal(tp_control_call_result(control, call, &response, NULL, 0), -ENOENT);
	assert_int_equal(tp_control_call_cancel(control, call), -ENOENT);
	assert_int_equal(tp_control_call_cancel(control, -1), -ENOENT);
	assert_int_equal(tp_control_call_cancel(control, CONTROL_CALLS), -ENOENT);
	cluster->nodes[2].control_paused = false;
	cluster_detach(&client);
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

static void
test_region_created_destroyed_reset_seen_by_all(void **state)
{
	struct cluster *cluster = cluster_create(1, 64);
	struct cluster_client clients[2];
	struct tp_client_region *region;
	struct tp_client_region *other;
	struct tp_client_region_config config = { .name = "x", .bytes = PAGE };
	uint64_t value;
	uint32_t i;

	cluster_attach(cluster, 1, &clients[0]);
	cluster_attach(cluster, 2, &clients[1]);
	assert_int_equal(tp_client_region_open(clients[0].client, "x", &region), -ENOENT);
	region = region_make(&clients[0], "x", 4, TP_REGION_HOME);
	assert_int_equal(tp_client_region_create(clients[1].client, &config, &other), -EEXIST);
	other = region_open(&clients[1], "x");
	write_ok(&clients[1], other, 0, 5);
	assert_int_equal(tp_client_region_reset(clients[0].client, "x"), 0);
	assert_int_equal(tp_read(clients[1].thread, other, 0, &value, 8).reason, TP_GENERATION);
	tp_client_region_close(region);
	region = region_open(&clients[0], "x");
	assert_int_equal(read_ok(&clients[0], region, 0), 0);
	assert_int_equal(tp_client_region_destroy(clients[1].client, "x"), 0);
	assert_int_equal(tp_read(clients[0].thread, region, 0, &value, 8).reason, TP_GENERATION);
	assert_int_equal(tp_client_region_open(clients[0].client, "x", &other), -ENOENT);
	config.name = "heap.9";
	assert_int_equal(tp_client_region_create(clients[0].client, &config, &other), -EPERM);
	/* Addresses and slots come back: many times more than there is room for. */
	for (i = 0; i < 40; i++) {
		region = region_make(&clients[0], "many", 12, TP_REGION_STRIPED);
		write_ok(&clients[0], region, PAGE * (i % 12), i);
		assert_int_equal(tp_client_region_destroy(clients[0].client, "many"), 0);
		tp_client_region_close(region);
	}
	assert_idle(cluster);
	for (i = 1; i <= 3; i++) {
		struct tp_coherence_usage usage;

		tp_coherence_usage_get(tp_control_worker(cluster->nodes[i].control, 0)->coherence,
			&usage);
		assert_int_equal(usage.home_slots, 0);
		assert_int_equal(usage.cache_slots, 0);
	}
	cluster_detach(&clients[0]);
	cluster_detach(&clients[1]);
	cluster_destroy(cluster);
}

/* The old generation must not be opened with the new one's words: hits look at nothing else. */
static void
test_region_reset_before_open_is_fetched_refused(void **state)
{
	struct cluster *cluster = cluster_create(1, 64);
	struct cluster_client client;
	struct tp_control *control = cluster->nodes[1].control;
	struct tp_control_request request = { .magic = TP_CONTROL_MAGIC,
		.version = TP_CONTROL_VERSION, .op = TP_CONTROL_REGION_OPEN,
		.timeout_ns = 1000 * CLUSTER_MS, .region.name = "x" };
	struct tp_control_response response;
	int fds[3];
	int call;

	cluster_attach(cluster, 1, &client);
	tp_client_region_close(region_make(&client, "x", 4, TP_REGION_HOME));
	call = tp_control_call(control, client.id, &request, cluster->now);
	cluster_run(cluster, CLUSTER_MS);
	assert_int_equal(tp_client_region_reset(client.client, "x"), 0);
	cluster_run(cluster, 10 * CLUSTER_MS);
	assert_int_equal(tp_control_call_result(control, call, &response, fds, 3), 0);
	assert_int_equal(response.reason, TP_GENERATION);
	assert_int_equal(response.fd_count, 0);
	call = tp_control_call(control, client.id, &request, cluster->now);
	cluster_run(cluster, CLUSTER_MS);
	assert_int_equal(tp_control_call_result(control, call, &response, fds, 3), 0);
	assert_int_equal(response.reason, TP_OK);
	assert_int_equal(response.fd_count, 1);
	cluster_detach(&client);
	cluster_destroy(cluster);
}

static void
test_region_read_only_written_by_creator_alone(void **state)
{
	struct cluster *cluster = cluster_create(1, 64);
	struct cluster_client clients[2];
	struct tp_client_region_config config = { .name = "ro", .bytes = PAGE,
		.mode = TP_REGION_RO };
	struct tp_client_region *regions[2];
	uint64_t value = 9;

	cluster_attach(cluster, 1, &clients[0]);
	cluster_attach(cluster, 1, &clients[1]);
	assert_int_equal(tp_client_region_create(clients[0].client, &config, &regions[0]), 0);
	regions[1] = region_open(&clients[1], "ro");
	cluster_run(cluster, CLUSTER_MS);
	assert_int_equal(tp_write(clients[1].thread, regions[1], 0, &value, 8).reason,
		TP_PERMISSION);
	assert_int_equal(read_ok(&clients[1], regions[1], 0), 0);
	cluster_detach(&clients[0]);
	cluster_detach(&clients[1]);
	cluster_destroy(cluster);
}

static void
test_region_first_touch_homed_where_touched(void **state)
{
	struct cluster *cluster = cluster_create(1, 64);
	struct cluster_client clients[2];
	struct tp_client_region *regions[2];
	struct tp_coherence_page_info info;
	uint32_t id;

	cluster_attach(cluster, 1, &clients[0]);
	cluster_attach(cluster, 2, &clients[1]);
	regions[0] = region_make(&clients[0], "ft", 1024, TP_REGION_FIRST_TOUCH);
	regions[1] = region_open(&clients[1], "ft");
	write_ok(&clients[1], regions[1], 0, 3);
	write_ok(&clients[0], regions[0], 512 * PAGE, 4);
	id = tp_client_region_info(regions[0])->id;
	tp_coherence_page_info_get(tp_control_worker(cluster->nodes[2].control, 0)->coherence, id,
		0, &info);
	assert_string_not_equal(info.home_state, "");
	assert_int_equal(read_ok(&clients[0], regions[0], 0), 3);
	assert_int_equal(read_ok(&clients[1], regions[1], 512 * PAGE), 4);
	assert_idle(cluster);
	cluster_detach(&clients[0]);
	cluster_detach(&clients[1]);
	cluster_destroy(cluster);
}

static void
test_heap_here_and_on_another_node(void **state)
{
	struct cluster *cluster = cluster_create(1, 64);
	struct cluster_client client;
	struct tp_client_region *region;
	struct tp_ptr local;
	struct tp_ptr remote;
	uint64_t offset;

	cluster_attach(cluster, 1, &client);
	assert_int_equal(tp_client_alloc(client.client, TP_CONTROL_NODE_ANY, 100, &local), 0);
	assert_int_equal(tp_client_alloc(client.client, 3, 100, &remote), 0);
	assert_int_equal(tp_generation_node(local.generation), 1);
	assert_int_equal(tp_generation_node(remote.generation), 3);
	assert_int_equal(tp_client_region_open_at(client.client, remote.address, &region,
		&offset), 0);
	write_ok(&client, region, offset, 77);
	assert_int_equal(read_ok(&client, region, offset), 77);
	assert_int_equal(tp_client_generation_check(client.client, remote), 0);
	assert_int_equal(tp_client_free(client.client, remote), 0);
	assert_int_equal(tp_client_free(client.client, remote), -EINVAL);
	remote.generation++;
	assert_int_equal(tp_client_generation_check(client.client, remote), -ENOENT);
	assert_int_equal(tp_client_alloc(client.client, 3, 2 << 20, &remote), -ENOSPC);
	assert_int_equal(tp_client_alloc(client.client, 7, 64, &remote), -EHOSTUNREACH);
	local.generation++;
	assert_int_equal(tp_client_free(client.client, local), -ESTALE);
	local.generation--;
	assert_int_equal(tp_client_free(client.client, local), 0);
	cluster_detach(&client);
	cluster_destroy(cluster);
}

static void
test_call_random_bytes_refused(void **state)
{
	struct cluster *cluster = cluster_create(1, 64);
	struct tp_control *control = cluster->nodes[1].control;
	struct tp_control_request request;
	struct tp_control_response response;
	int client = tp_control_client_add(control, 1, cluster->now);
	uint64_t seed = 5;
	uint32_t i;
	uint32_t k;

	assert_true(client >= 0);
	for (i = 0; i < 3000; i++) {
		int fds[3];
		int call;

		for (k = 0; k < sizeof(request); k++) {
			seed = seed * UINT64_C(6364136223846793005) + 1;
			((uint8_t *)&request)[k] = (uint8_t)(seed >> 55);
		}
		request.magic = TP_CONTROL_MAGIC;
		request.version = TP_CONTROL_VERSION;
		request.op = (uint32_t)(seed >> 33) % (TP_CONTROL_OP_COUNT + 1);
		request.timeout_ns = 1;
		if (i % 2)
			request.region.name[i % 64] = '\0';
		call = tp_control_call(control, client, &request, cluster->now);
		assert_true(call >= 0);
		while (tp_control_call_result(control, call, &response, fds, 3) == -EINPROGRESS)
			cluster_step(cluster);
		if (response.op != TP_CONTROL_STATS && response.reason == TP_OK)
			assert_true(request.op == TP_CONTROL_ALLOC);
	}
	assert_int_equal(tp_control_call(control, 63, &request, cluster->now), -ENOENT);
	cluster_destroy(cluster);
}

/* The node whose heap it is dies with the question: the call ends when that is known. */
static void
test_alloc_node_dies_unknown_before_deadline(void **state)
{
	struct cluster *cluster = cluster_create(1, 32);
	struct tp_control *control = cluster->nodes[1].control;
	struct tp_control_request request = { .magic = TP_CONTROL_MAGIC,
		.version = TP_CONTROL_VERSION, .op = TP_CONTROL_ALLOC, .node = 3, .bytes = 64,
		.timeout_ns = 50000 * CLUSTER_MS };
	struct tp_control_response response;
	struct cluster_client client;
	uint64_t begun;
	int call;

	cluster_attach(cluster, 1, &client);
	begun = cluster->now;
	call = tp_control_call(control, client.id, &request, cluster->now);
	assert_true(call >= 0);
	cluster_node_kill(cluster, 3);
	while (tp_control_call_result(control, call, &response, NULL, 0) == -EINPROGRESS)
		cluster_step(cluster);
	assert_int_equal(response.reason, TP_UNREACHABLE);
	assert_int_equal(response.effect, TP_EFFECT_UNKNOWN);
	assert_true(cluster->now - begun < 1000 * CLUSTER_MS);
	/* One that was never sent is not done. */
	call = tp_control_call(control, client.id, &request, cluster->now);
	while (tp_control_call_result(control, call, &response, NULL, 0) == -EINPROGRESS)
		cluster_step(cluster);
	assert_int_equal(response.reason, TP_UNREACHABLE);
	assert_int_equal(response.effect, TP_EFFECT_NOT_DONE);
	cluster_detach(&client);
	cluster_destroy(cluster);
}

/* The home does not run for longer than an atomic waits. */
static void
test_atomic_home_stops_fate_is_learnt(void **state)
{
	struct cluster *cluster = cluster_create(1, 32);
	struct cluster_client client, owner;
	struct tp_client_region *region;
	uint32_t i, unknown = 0;
	uint64_t done = 0;
	struct tp_op op;

	cluster_attach(cluster, 1, &client);
	cluster_attach(cluster, 2, &owner);
	region_make(&owner, "fate", 1, TP_REGION_HOME);
	region = region_open(&client, "fate");
	for (i = 0; i < 40; i++) {
		tp_thread_timeout_set(client.thread, (i % 4 + 1) * CLUSTER_MS);
		cluster->nodes[2].paused = i % 2 == 0;
		tp_submit_atomic(client.thread, region, 8, TP_ATOMIC_ADD, 8, 1, 0, &op);
		tp_op_wait(client.thread, &op);
		cluster->nodes[2].paused = false;
		unknown += op.result.effect == TP_EFFECT_UNKNOWN;
		tp_thread_timeout_set(client.thread, 500 * CLUSTER_MS);
		tp_op_settle(client.thread, region, &op);
		assert_int_not_equal(op.result.effect, TP_EFFECT_UNKNOWN);
		if (!tp_result_is_ok(op.result))
			continue;
		assert_int_equal(op.value, done);
		done++;
	}
	assert_true(unknown > 0);
	assert_int_equal(read_ok(&client, region, 8), done);
	assert_idle(cluster);
	cluster_detach(&owner);
	cluster_detach(&client);
	cluster_destroy(cluster);
}

static void
test_nodes_share_under_loss_and_reordering(void **state)
{
	struct cluster *cluster = cluster_create(2, 32);
	struct cluster_client clients[3];
	struct tp_client_region *regions[3];
	uint64_t old;
	uint32_t i;

	for (i = 0; i < 3; i++)
		cluster_attach(cluster, (uint16_t)(i + 1), &clients[i]);
	regions[0] = region_make(&clients[0], "lossy", 24, TP_REGION_STRIPED);
	regions[1] = region_open(&clients[1], "lossy");
	regions[2] = region_open(&clients[2], "lossy");
	sim_net_faults(cluster->net)->loss_ppm = 20000;
	sim_net_faults(cluster->net)->duplicate_ppm = 20000;
	sim_net_faults(cluster->net)->corrupt_ppm = 5000;
	sim_net_faults(cluster->net)->jitter_ns = 50000;
	for (i = 0; i < 600; i++)
		assert_true(tp_result_is_ok(tp_atomic_add64(clients[i % 3].thread, regions[i % 3],
			(i % 8) * PAGE, 1, &old)));
	for (i = 0; i < 8; i++)
		assert_int_equal(read_ok(&clients[i % 3], regions[i % 3], i * PAGE), 75);
	assert_idle(cluster);
	for (i = 0; i < 3; i++)
		cluster_detach(&clients[i]);
	cluster_destroy(cluster);
}

static void
test_fault_injected_without_permission_refused(void **state)
{
	struct cluster *cluster = cluster_create(1, 64);
	struct tp_control_inject inject;
	struct cluster_client client;

	cluster_attach(cluster, 1, &client);
	assert_int_equal(tp_inject(client.client, &(struct tp_inject_spec){
		.kind = TP_INJECT_CRASH }), -EPERM);
	assert_int_equal(tp_inject_clear(client.client), -EPERM);
	assert_int_equal(tp_inject_get(client.client, 0, &inject), -EPERM);
	/* Links and store are those it was given. */
	assert_null(cluster->nodes[1].control->inject);
	assert_ptr_equal(cluster->nodes[1].control->config.links[0][0].link,
		cluster->nodes[1].link);
	cluster_detach(&client);
	cluster_destroy(cluster);
}

/* No frame arrives. */
static bool
drop_all(void *ctx, uint32_t from_port, const uint8_t *frame, uint32_t length)
{
	(void)ctx;
	(void)from_port;
	(void)frame;
	(void)length;
	return true;
}

/*
 * Where peers are patient a session outlives a long silence, and what was lost before is
 * sent again in it: it is not run, if somebody has been told that it never will be.
 */
static void
test_atomic_settled_elsewhere_is_not_run_after_long_silence(void **state)
{
	struct cluster *cluster = cluster_create_patient(40000 * CLUSTER_MS, 60000 * CLUSTER_MS);
	struct cluster_client two, three;
	struct tp_client_region *region, *here;
	struct tp_result result;
	struct tp_atomic_id id;
	struct tp_op op, asked;
	uint64_t until;
	uint16_t home = 1;
	struct tp_client_region_config config = {
		.name = "counter",
		.bytes = PAGE,
		.distribution = TP_REGION_HOME,
		.nodes = &home,
		.node_count = 1,
	};

	(void)state;
	cluster_attach(cluster, 2, &two);
	cluster_attach(cluster, 3, &three);
	assert_int_equal(tp_client_region_create(two.client, &config, &region), 0);
	here = region_open(&three, "counter");
	assert_true(tp_result_is_ok(tp_atomic_add64(two.thread, region, 0, 1, NULL)));

	/* It is sent, and lost; then its node stands still. */
	tp_thread_timeout_set(two.thread, 20 * CLUSTER_MS);
	sim_net_drop(cluster->net, drop_all, NULL);
	tp_submit_atomic(two.thread, region, 0, TP_ATOMIC_ADD, 8, 1, 0, &op);
	result = tp_op_wait(two.thread, &op);
	assert_int_equal(result.effect, TP_EFFECT_UNKNOWN);
	assert_true(tp_op_id_get(two.thread, &op, &id));
	cluster->nodes[2].paused = true;
	sim_net_drop(cluster->net, NULL, NULL);
	/* Somebody else is told that it never will be done. */
	assert_true(tp_op_from_id(three.thread, here, &id, &asked));
	result = tp_op_settle(three.thread, here, &asked);
	assert_int_equal(result.effect, TP_EFFECT_NOT_DONE);
	for (until = cluster->now + 15000 * CLUSTER_MS; cluster->now < until; ) {
		cluster->now += CLUSTER_MS / 2;
		cluster_step(cluster);
	}
	cluster->nodes[2].paused = false;
	cluster_run(cluster, 500 * CLUSTER_MS);
	assert_int_equal(read_ok(&three, here, 0), 1);
	cluster_detach(&two);
	cluster_detach(&three);
	cluster_destroy(cluster);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nodes_share_pages_and_atomics_are_exact),
		cmocka_unit_test(test_nodes_share_pages_with_two_workers),
		cmocka_unit_test(test_nodes_share_more_pages_than_cache),
		cmocka_unit_test(test_alloc_node_dies_unknown_before_deadline),
		cmocka_unit_test(test_atomic_home_stops_fate_is_learnt),
		cmocka_unit_test(test_nodes_share_under_loss_and_reordering),
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
		cmocka_unit_test(test_region_created_destroyed_reset_seen_by_all),
		cmocka_unit_test(test_region_reset_before_open_is_fetched_refused),
		cmocka_unit_test(test_region_read_only_written_by_creator_alone),
		cmocka_unit_test(test_region_first_touch_homed_where_touched),
		cmocka_unit_test(test_heap_here_and_on_another_node),
		cmocka_unit_test(test_call_random_bytes_refused),
		cmocka_unit_test(test_fence_that_waits_for_store_is_no_work),
		cmocka_unit_test(test_fault_without_room_for_all_peers_is_not_added),
		cmocka_unit_test(test_call_cancelled_is_forgotten),
		cmocka_unit_test(test_fault_injected_without_permission_refused),
		cmocka_unit_test(test_atomic_settled_elsewhere_is_not_run_after_long_silence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
