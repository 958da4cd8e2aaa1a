/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Three whole nodes in virtual time: sharing pages, atomics, faults.
 */
#include "cluster_setup.h"
#include "fabric_priv.h"
#include "inject_priv.h"
#include "tp_inject.h"

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

/* So little in flight that the last packet of each page asks for an ack at once. */
static void
window_set(struct tp_worker *worker, uint32_t packets)
{
	uint32_t i;

	for (i = 0; i < worker->endpoint->config.session_max; i++)
		if (worker->endpoint->sessions[i].state == FABRIC_SESSION_ESTABLISHED)
			worker->endpoint->sessions[i].cwnd.window = packets;
}

static void
test_ack_asked_for_by_an_answer_leaves_with_its_turn(void **state)
{
	struct cluster *cluster = calloc(1, sizeof(*cluster));
	struct cluster_client client;
	struct tp_client_region *region;
	struct tp_worker *worker;
	const uint16_t home = 1;
	const struct tp_client_region_config config = {
		.name = "acks",
		.bytes = 40 * PAGE,
		.distribution = TP_REGION_HOME,
		.nodes = &home,
		.node_count = 1,
	};
	uint64_t acks;
	uint32_t i, s;

	(void)state;
	assert_non_null(cluster);
	cluster->cache_slots = 64;
	cluster->mtu = 1500;
	cluster_begin(cluster, (const uint16_t[]){ 1, 1 });
	cluster_attach(cluster, 2, &client);
	assert_int_equal(tp_client_region_create(client.client, &config, &region), 0);
	for (i = 0; i < 40; i++)
		write_ok(&client, region, i * PAGE, i);
	assert_true(tp_result_is_ok(tp_clear(client.thread, region)));
	worker = tp_control_worker(cluster->nodes[2].control, 0);
	acks = tp_endpoint_counters(worker->endpoint)[TP_ENDPOINT_COUNTER_tx_acks];
	for (i = 0; i < 40; i++) {
		window_set(tp_control_worker(cluster->nodes[1].control, 0), 3);
		assert_int_equal(read_ok(&client, region, i * PAGE), i);
		/* The client has its answer, and may compute for long before the next turn. */
		for (s = 0; s < worker->endpoint->config.session_max; s++)
			assert_false(worker->endpoint->sessions[s].ack_now);
	}
	acks = tp_endpoint_counters(worker->endpoint)[TP_ENDPOINT_COUNTER_tx_acks] - acks;
	assert_in_range(acks, 30, 45);
	assert_idle(cluster);
	cluster_detach(&client);
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
		cmocka_unit_test(test_atomic_home_stops_fate_is_learnt),
		cmocka_unit_test(test_nodes_share_under_loss_and_reordering),
		cmocka_unit_test(test_fault_without_room_for_all_peers_is_not_added),
		cmocka_unit_test(test_ack_asked_for_by_an_answer_leaves_with_its_turn),
		cmocka_unit_test(test_fault_injected_without_permission_refused),
		cmocka_unit_test(test_atomic_settled_elsewhere_is_not_run_after_long_silence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
