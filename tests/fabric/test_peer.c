/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 */
#include <errno.h>

#include "sim_cluster.h"

#define NOTICE_MS 250u	/* promised */

static const struct sim_faults calm = { .delay_ns = 2000 };

static void
cut_both(struct sim_cluster *c, bool cut)
{
	sim_net_cut(c->net, 0, 1, cut);
	sim_net_cut(c->net, 1, 0, cut);
}

static void
test_peer_partitioned_is_down_in_time_and_up_again(void **state)
{
	struct sim_cluster c;
	uint32_t busy;
	uint64_t cut_at;
	uint32_t i;

	(void)state;
	for (busy = 0; busy < 2; busy++) {
		sim_cluster_init(&c, 2, 1, &calm, NULL, 1500);
		sim_cluster_connect(&c);
		sim_cluster_run(&c, 500 * SIM_MS);
		cut_both(&c, true);
		cut_at = c.now;
		if (busy)
			assert_int_equal(sim_send(&c.nodes[0], &c.nodes[1], TP_CLASS_REQUEST,
				"lost", 4), 0);
		sim_cluster_run(&c, 1000 * SIM_MS);
		for (i = 0; i < 2; i++) {
			assert_int_equal(c.nodes[i].downs, 1);
			assert_int_equal(c.nodes[i].last_down_reason, TP_PEER_TIMEOUT);
			assert_in_range(c.nodes[i].last_down_at - cut_at, 100 * SIM_MS,
				NOTICE_MS * SIM_MS);
			assert_int_equal(sim_send(&c.nodes[i], &c.nodes[1 - i],
				TP_CLASS_RESPONSE, "x", 1), -EHOSTDOWN);
		}
		cut_both(&c, false);
		SIM_RUN_UNTIL(&c, 200 * SIM_MS, c.nodes[0].ups == 2 && c.nodes[1].ups == 2);
		/* What was in flight then is not delivered now. */
		assert_int_equal(c.nodes[1].messages, 0);
		assert_int_equal(sim_send(&c.nodes[0], &c.nodes[1], TP_CLASS_REQUEST, "new", 3), 0);
		sim_cluster_run(&c, SIM_MS);
		assert_int_equal(c.nodes[1].messages, 1);
		assert_int_equal(c.nodes[0].downs + c.nodes[1].downs, 2);
		sim_cluster_fini(&c);
	}
}

static void
test_peer_cut_off_in_one_direction_is_down_on_both_sides(void **state)
{
	struct sim_cluster c;
	uint32_t way;
	uint64_t cut_at;
	uint32_t i;

	(void)state;
	for (way = 0; way < 2; way++) {
		sim_cluster_init(&c, 2, 1 + way, &calm, NULL, 1500);
		sim_cluster_connect(&c);
		sim_cluster_run(&c, 333 * SIM_MS);
		sim_net_cut(c.net, way, 1 - way, true);
		cut_at = c.now;
		sim_cluster_run(&c, 2000 * SIM_MS);
		for (i = 0; i < 2; i++) {
			assert_int_equal(c.nodes[i].downs, 1);
			assert_true(c.nodes[i].last_down_at - cut_at <= NOTICE_MS * SIM_MS);
			assert_int_equal(tp_endpoint_peer_state(c.nodes[i].ep,
				c.nodes[1 - i].config.node, NULL), TP_PEER_DOWN);
		}
		sim_net_cut(c.net, way, 1 - way, false);
		SIM_RUN_UNTIL(&c, 200 * SIM_MS, c.nodes[0].ups == 2 && c.nodes[1].ups == 2);
		sim_cluster_fini(&c);
	}
}

static void
test_peer_that_never_answered_is_down_once_then_up(void **state)
{
	struct sim_cluster c;

	(void)state;
	sim_cluster_init(&c, 2, 1, &calm, NULL, 1500);
	sim_node_kill(&c.nodes[1]);
	sim_node_peer(&c.nodes[0], &c.nodes[1], 0);
	sim_cluster_run(&c, 3000 * SIM_MS);
	assert_int_equal(c.nodes[0].downs, 1);
	assert_int_equal(c.nodes[0].ups, 0);
	sim_node_restart(&c.nodes[1]);
	sim_node_peer(&c.nodes[1], &c.nodes[0], 0);
	SIM_RUN_UNTIL(&c, 200 * SIM_MS, c.nodes[0].ups == 1 && c.nodes[1].ups == 1);
	assert_int_equal(c.nodes[1].downs, 0);
	sim_cluster_fini(&c);
}

static void
test_peer_restarted_is_noticed_by_its_new_incarnation(void **state)
{
	struct sim_cluster c;
	uint32_t incarnation;

	(void)state;
	sim_cluster_init(&c, 2, 1, &calm, NULL, 1500);
	sim_cluster_connect(&c);
	assert_int_equal(sim_send(&c.nodes[0], &c.nodes[1], TP_CLASS_REQUEST, "x", 1), 0);
	sim_cluster_run(&c, 200 * SIM_MS);
	sim_node_restart(&c.nodes[1]);
	sim_node_peer(&c.nodes[1], &c.nodes[0], 100);
	SIM_RUN_UNTIL(&c, 20 * SIM_MS, c.nodes[0].ups == 2 && c.nodes[1].ups == 1);
	assert_int_equal(c.nodes[0].downs, 1);
	assert_int_equal(c.nodes[0].last_down_reason, TP_PEER_RESTARTED);
	assert_int_equal(tp_endpoint_peer_state(c.nodes[0].ep, 2, &incarnation), TP_PEER_UP);
	assert_int_equal(incarnation, c.nodes[1].config.incarnation);
	assert_int_equal(c.nodes[1].downs, 0);
	sim_cluster_fini(&c);
}

static void
test_peer_restarted_while_traffic_goes_to_it_tells_by_reset(void **state)
{
	struct sim_cluster c;

	(void)state;
	sim_cluster_init(&c, 2, 1, &calm, NULL, 1500);
	sim_cluster_connect(&c);
	/* It knows nobody's address, and nobody's but its name, yet: it does not greet. */
	sim_node_restart(&c.nodes[1]);
	sim_net_cut(c.net, 1, 0, true);
	sim_node_peer(&c.nodes[1], &c.nodes[0], 100);
	sim_cluster_run(&c, 10 * SIM_MS);
	sim_net_cut(c.net, 1, 0, false);
	assert_int_equal(sim_send(&c.nodes[0], &c.nodes[1], TP_CLASS_REQUEST, "x", 1), 0);
	SIM_RUN_UNTIL(&c, 20 * SIM_MS, c.nodes[0].downs == 1);
	assert_int_equal(c.nodes[0].last_down_reason, TP_PEER_RESTARTED);
	SIM_RUN_UNTIL(&c, 100 * SIM_MS, c.nodes[0].ups == 2);
	assert_int_equal(c.nodes[1].messages, 0);
	sim_cluster_fini(&c);
}

static void
test_peer_with_set_incarnation_takes_no_other(void **state)
{
	struct sim_cluster c;
	uint64_t resets;

	(void)state;
	sim_cluster_init(&c, 2, 1, &calm, NULL, 1500);
	sim_node_peer(&c.nodes[0], &c.nodes[1], c.nodes[1].config.incarnation);
	sim_node_peer(&c.nodes[1], &c.nodes[0], c.nodes[0].config.incarnation);
	SIM_RUN_UNTIL(&c, 50 * SIM_MS, c.nodes[0].ups == 1 && c.nodes[1].ups == 1);
	sim_node_restart(&c.nodes[1]);
	sim_node_peer(&c.nodes[1], &c.nodes[0], c.nodes[0].config.incarnation);
	sim_cluster_run(&c, 1000 * SIM_MS);
	assert_int_equal(c.nodes[0].downs, 1);
	assert_int_equal(c.nodes[0].last_down_reason, TP_PEER_RESTARTED);
	assert_int_equal(c.nodes[0].ups, 1);
	assert_int_equal(sim_send(&c.nodes[0], &c.nodes[1], TP_CLASS_REQUEST, "x", 1),
		-EHOSTDOWN);
	/* The two do not answer each other without end. */
	resets = SIM_COUNTER(&c.nodes[1], tx_resets);
	assert_true(resets < 100);
	sim_node_peer(&c.nodes[0], &c.nodes[1], c.nodes[1].config.incarnation);
	SIM_RUN_UNTIL(&c, 50 * SIM_MS, c.nodes[0].ups == 2);
	assert_int_equal(c.nodes[0].downs, 1);
	sim_cluster_fini(&c);
}

static void
test_peer_set_again_unchanged_keeps_its_sessions(void **state)
{
	struct sim_cluster c;

	(void)state;
	sim_cluster_init(&c, 2, 1, &calm, NULL, 1500);
	sim_cluster_connect(&c);
	sim_cluster_peers(&c);
	assert_int_equal(sim_send(&c.nodes[0], &c.nodes[1], TP_CLASS_REQUEST, "x", 1), 0);
	sim_cluster_run(&c, SIM_MS);
	assert_int_equal(c.nodes[1].messages, 1);
	assert_int_equal(SIM_COUNTER(&c.nodes[0], sessions_reset), 0);
	sim_cluster_fini(&c);
}

static void
test_peer_removed_gives_back_all_it_held(void **state)
{
	static uint8_t data[30000];
	struct sim_cluster c;
	uint32_t tx;
	uint32_t rx;

	(void)state;
	sim_cluster_init(&c, 2, 1, &calm, NULL, 1500);
	sim_cluster_connect(&c);
	while (sim_send(&c.nodes[0], &c.nodes[1], TP_CLASS_FORWARD, data, sizeof(data)) == 0)
		;
	sim_cluster_step(&c, c.now + 1000);
	sim_cluster_step(&c, c.now + 2000);
	sim_cluster_step(&c, c.now + 2000);
	tp_endpoint_frames_held(c.nodes[0].ep, &tx, &rx);
	assert_true(tx > 0);
	tp_endpoint_frames_held(c.nodes[1].ep, &tx, &rx);
	assert_true(rx > 0);
	assert_int_equal(tp_endpoint_peer_remove(c.nodes[0].ep, 2), 0);
	assert_int_equal(tp_endpoint_peer_remove(c.nodes[0].ep, 2), -ENOENT);
	assert_int_equal(tp_endpoint_peer_remove(c.nodes[1].ep, 1), 0);
	tp_endpoint_frames_held(c.nodes[0].ep, &tx, &rx);
	assert_int_equal(tx + rx, 0);
	tp_endpoint_frames_held(c.nodes[1].ep, &tx, &rx);
	assert_int_equal(tx + rx, 0);
	sim_cluster_run(&c, 10 * SIM_MS);
	assert_int_equal(c.nodes[0].downs + c.nodes[1].downs, 0);
	sim_cluster_fini(&c);
}

static void
test_peer_set_that_cannot_be_is_refused(void **state)
{
	struct tp_endpoint_config config = { .peer_max = 2 };
	static const uint8_t group[6] = { 1, 0, 0, 0, 0, 1 };
	struct sim_cluster c;
	struct tp_endpoint *ep;

	(void)state;
	sim_cluster_init(&c, 1, 1, &calm, &config, 1500);
	ep = c.nodes[0].ep;
	assert_int_equal(tp_endpoint_peer_set(ep, 1, 0, 1, NULL, 0, 1), -EINVAL);
	assert_int_equal(tp_endpoint_peer_set(ep, 2, 0, 0, NULL, 0, 1), -EINVAL);
	assert_int_equal(tp_endpoint_peer_set(ep, 2, 0, 1, NULL, 1, 1), -EINVAL);
	assert_int_equal(tp_endpoint_peer_set(ep, 2, 0, 1, NULL, 0, 0), -EINVAL);
	assert_int_equal(tp_endpoint_peer_set(ep, 2, 0, 1, NULL, 0, 65), -EINVAL);
	assert_int_equal(tp_endpoint_peer_set(ep, 2, 0, 1, group, 0, 1), -EINVAL);
	assert_int_equal(tp_endpoint_peer_set(ep, 2, 0, 1, NULL, 0, 1), 0);
	assert_int_equal(tp_endpoint_peer_set(ep, 3, 0, 2, NULL, 0, 1), 0);
	assert_int_equal(tp_endpoint_peer_set(ep, 65535, 0, 3, NULL, 0, 1), -ENOSPC);
	assert_int_equal(tp_endpoint_peer_state(ep, 65535, NULL), -ENOENT);
	sim_cluster_fini(&c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_peer_partitioned_is_down_in_time_and_up_again),
		cmocka_unit_test(test_peer_cut_off_in_one_direction_is_down_on_both_sides),
		cmocka_unit_test(test_peer_that_never_answered_is_down_once_then_up),
		cmocka_unit_test(test_peer_restarted_is_noticed_by_its_new_incarnation),
		cmocka_unit_test(test_peer_restarted_while_traffic_goes_to_it_tells_by_reset),
		cmocka_unit_test(test_peer_with_set_incarnation_takes_no_other),
		cmocka_unit_test(test_peer_set_again_unchanged_keeps_its_sessions),
		cmocka_unit_test(test_peer_removed_gives_back_all_it_held),
		cmocka_unit_test(test_peer_set_that_cannot_be_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
