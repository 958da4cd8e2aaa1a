/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Three whole nodes in virtual time: regions, heap, calls.
 */
#include "cluster_setup.h"
#include "tp_generation.h"

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

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_alloc_node_dies_unknown_before_deadline),
		cmocka_unit_test(test_region_created_destroyed_reset_seen_by_all),
		cmocka_unit_test(test_region_reset_before_open_is_fetched_refused),
		cmocka_unit_test(test_region_read_only_written_by_creator_alone),
		cmocka_unit_test(test_region_first_touch_homed_where_touched),
		cmocka_unit_test(test_heap_here_and_on_another_node),
		cmocka_unit_test(test_call_random_bytes_refused),
		cmocka_unit_test(test_call_cancelled_is_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
