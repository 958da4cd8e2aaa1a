/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 */
#include <string.h>

#include "sim_cluster.h"

static const struct sim_faults calm = { .delay_ns = 2000 };

/* A stranger's ARP frame to node 1 (10.0.0.1, 02:..:01). */
static const uint8_t arp_request[42] = {
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0, 0x77, 0x08, 0x06,
	0, 1, 0x08, 0, 6, 4, 0, 1,
	0x02, 0, 0, 0, 0, 0x77, 10, 0, 0, 77, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1,
};

struct last_frame {
	uint32_t count;
	uint32_t length;
	uint8_t bytes[64];
};

static void
last_frame_tap(void *ctx, uint32_t from, const uint8_t *frame, uint32_t length)
{
	struct last_frame *last = ctx;

	(void)from;
	last->count++;
	last->length = length;
	memcpy(last->bytes, frame, length < 64 ? length : 64);
}

static void
test_neighbour_request_for_us_is_answered(void **state)
{
	static const uint8_t reply[42] = {
		0x02, 0, 0, 0, 0, 0x77, 0x02, 0, 0, 0, 0, 0x01, 0x08, 0x06,
		0, 1, 0x08, 0, 6, 4, 0, 2,
		0x02, 0, 0, 0, 0, 0x01, 10, 0, 0, 1, 0x02, 0, 0, 0, 0, 0x77, 10, 0, 0, 77,
	};
	struct last_frame last = { .count = 0 };
	struct sim_cluster c;

	(void)state;
	sim_cluster_init(&c, 1, 1, &calm, NULL, 1500);
	sim_cluster_run(&c, SIM_MS);
	sim_net_tap(c.net, last_frame_tap, &last);
	sim_link_inject(c.nodes[0].link, arp_request, sizeof(arp_request));
	sim_cluster_run(&c, SIM_MS);
	assert_int_equal(last.count, 1);
	assert_int_equal(last.length, sizeof(reply));
	assert_memory_equal(last.bytes, reply, sizeof(reply));
	sim_cluster_fini(&c);
}

static void
test_neighbour_bad_or_foreign_arp_is_dropped(void **state)
{
	static const struct {
		uint32_t offset;
		uint8_t value;
	} bad[] = {
		{ 15, 2 },	/* hardware type */
		{ 16, 0x86 },	/* protocol */
		{ 18, 8 },	/* hardware size */
		{ 19, 16 },	/* protocol size */
		{ 21, 3 },	/* operation */
		{ 22, 0x03 },	/* sender is a group */
		{ 31, 1 },	/* sender has our address */
		{ 41, 9 },	/* asks for somebody else */
	};
	struct last_frame last = { .count = 0 };
	struct sim_cluster c;
	uint8_t frame[42];
	uint32_t i;

	(void)state;
	sim_cluster_init(&c, 1, 1, &calm, NULL, 1500);
	sim_cluster_run(&c, SIM_MS);
	sim_net_tap(c.net, last_frame_tap, &last);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memcpy(frame, arp_request, sizeof(frame));
		frame[bad[i].offset] = bad[i].value;
		sim_link_inject(c.nodes[0].link, frame, sizeof(frame));
	}
	sim_link_inject(c.nodes[0].link, arp_request, 41);
	sim_cluster_run(&c, SIM_MS);
	assert_int_equal(SIM_COUNTER(&c.nodes[0], drop_arp), i + 1);
	assert_int_equal(SIM_COUNTER(&c.nodes[0], rx_arp), 0);
	assert_int_equal(last.count, 0);
	sim_cluster_fini(&c);
}

static void
test_neighbour_static_needs_no_arp(void **state)
{
	struct sim_cluster c;
	uint64_t before[2];
	uint32_t i;

	(void)state;
	sim_cluster_init(&c, 2, 1, &calm, NULL, 1500);
	sim_cluster_run(&c, SIM_MS);
	for (i = 0; i < 2; i++) {
		before[i] = SIM_COUNTER(&c.nodes[i], tx_arp);
		assert_int_equal(tp_endpoint_peer_set(c.nodes[i].ep, (uint16_t)(2 - i), 0,
			0x0a000002 - i, c.nodes[1 - i].link->mac, 0, 1), 0);
	}
	SIM_RUN_UNTIL(&c, 5 * SIM_MS, c.nodes[0].ups == 1 && c.nodes[1].ups == 1);
	for (i = 0; i < 2; i++)
		assert_int_equal(SIM_COUNTER(&c.nodes[i], tx_arp), before[i]);
	sim_cluster_fini(&c);
}

static void
test_neighbour_that_changed_its_mac_is_found_again(void **state)
{
	struct sim_cluster c;

	(void)state;
	sim_cluster_init(&c, 2, 1, &calm, NULL, 1500);
	sim_cluster_connect(&c);
	sim_cluster_run(&c, 100 * SIM_MS);
	c.nodes[1].link->mac[4] = 0x55;
	/* A sender in doubt asks: before it would count as gone. */
	assert_int_equal(sim_send(&c.nodes[0], &c.nodes[1], TP_CLASS_REQUEST, "x", 1), 0);
	sim_cluster_run(&c, 200 * SIM_MS);
	assert_int_equal(c.nodes[1].messages, 1);
	assert_int_equal(c.nodes[0].downs, 0);
	sim_cluster_fini(&c);
}

static void
test_neighbour_learned_wrong_is_put_right_by_the_peers_packets(void **state)
{
	uint8_t lie[42];
	struct sim_cluster c;

	(void)state;
	sim_cluster_init(&c, 2, 1, &calm, NULL, 1500);
	sim_cluster_connect(&c);
	sim_cluster_run(&c, 50 * SIM_MS);
	/* Node 2 is told that 10.0.0.1 is elsewhere; it has nothing to send itself. */
	memcpy(lie, arp_request, sizeof(lie));
	lie[31] = 1;
	sim_net_set_now(c.net, c.now);
	sim_link_inject(c.nodes[1].link, lie, sizeof(lie));
	sim_cluster_run(&c, 500 * SIM_MS);
	assert_int_equal(c.nodes[0].downs + c.nodes[1].downs, 0);
	assert_int_equal(sim_send(&c.nodes[1], &c.nodes[0], TP_CLASS_REQUEST, "x", 1), 0);
	sim_cluster_run(&c, SIM_MS);
	assert_int_equal(c.nodes[0].messages, 1);
	sim_cluster_fini(&c);
}

static void
test_neighbour_behind_gateway_is_reached_through_it(void **state)
{
	struct last_frame last = { .count = 0 };
	struct tp_endpoint_config config = { .peer_max = 4 };
	uint8_t reply[42];
	struct sim_cluster c;

	(void)state;
	config.links[0].gateway = 0x0a0000fe;
	config.links[0].prefix_length = 24;
	sim_cluster_init(&c, 1, 1, &calm, &config, 1500);
	assert_int_equal(tp_endpoint_peer_set(c.nodes[0].ep, 9, 0, 0xc0a80101, NULL, 0, 1), 0);
	sim_cluster_run(&c, SIM_MS);
	sim_net_tap(c.net, last_frame_tap, &last);
	sim_cluster_run(&c, 30 * SIM_MS);
	/* It asks for the gateway, not for the peer. */
	assert_int_equal(last.bytes[13], 0x06);
	assert_memory_equal(last.bytes + 38, ((uint8_t[]){ 10, 0, 0, 0xfe }), 4);
	memcpy(reply, arp_request, sizeof(reply));
	reply[21] = 2;
	reply[31] = 0xfe;
	sim_link_inject(c.nodes[0].link, reply, sizeof(reply));
	sim_cluster_run(&c, SIM_MS);
	/* Then greets the peer at the gateway's address. */
	assert_int_equal(last.bytes[13], 0x00);
	assert_memory_equal(last.bytes, arp_request + 6, 6);
	assert_memory_equal(last.bytes + 30, ((uint8_t[]){ 0xc0, 0xa8, 1, 1 }), 4);
	sim_cluster_fini(&c);
}

static void
test_neighbour_peers_on_two_links_are_each_on_theirs(void **state)
{
	struct tp_endpoint_config config;
	struct tp_link *second;
	struct sim_cluster c;

	(void)state;
	sim_cluster_init(&c, 3, 1, &calm, NULL, 1500);
	/* Node 1 gets a second port; each peer is cut off from the other port. */
	second = sim_net_link(c.net, 9000, 0);
	config = c.nodes[0].config;
	config.incarnation++;
	config.link_count = 2;
	config.links[1].link = second;
	config.links[1].ip = 0x0a010001;
	sim_node_kill(&c.nodes[0]);
	c.nodes[0].config = config;
	sim_node_restart(&c.nodes[0]);
	sim_net_cut(c.net, 0, 2, true);
	sim_net_cut(c.net, 2, 0, true);
	sim_net_cut(c.net, sim_link_port(second), 1, true);
	sim_net_cut(c.net, 1, sim_link_port(second), true);
	assert_int_equal(tp_endpoint_peer_set(c.nodes[0].ep, 2, 0, 0x0a000002, NULL, 0, 1), 0);
	assert_int_equal(tp_endpoint_peer_set(c.nodes[0].ep, 3, 0, 0x0a000003, NULL, 1, 1), 0);
	assert_int_equal(tp_endpoint_peer_set(c.nodes[1].ep, 1, 0, 0x0a000001, NULL, 0, 1), 0);
	assert_int_equal(tp_endpoint_peer_set(c.nodes[2].ep, 1, 0, 0x0a010001, NULL, 0, 1), 0);
	SIM_RUN_UNTIL(&c, 50 * SIM_MS, c.nodes[0].ups == 2 && c.nodes[1].ups == 1 &&
		c.nodes[2].ups == 1);
	assert_int_equal(sim_send(&c.nodes[0], &c.nodes[1], TP_CLASS_REQUEST, "x", 1), 0);
	assert_int_equal(sim_send(&c.nodes[0], &c.nodes[2], TP_CLASS_REQUEST, "x", 1), 0);
	sim_cluster_run(&c, SIM_MS);
	assert_int_equal(c.nodes[1].messages, 1);
	assert_int_equal(c.nodes[2].messages, 1);
	sim_node_kill(&c.nodes[0]);
	sim_link_unplug(second);
	sim_cluster_fini(&c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_neighbour_request_for_us_is_answered),
		cmocka_unit_test(test_neighbour_bad_or_foreign_arp_is_dropped),
		cmocka_unit_test(test_neighbour_static_needs_no_arp),
		cmocka_unit_test(test_neighbour_that_changed_its_mac_is_found_again),
		cmocka_unit_test(test_neighbour_learned_wrong_is_put_right_by_the_peers_packets),
		cmocka_unit_test(test_neighbour_behind_gateway_is_reached_through_it),
		cmocka_unit_test(test_neighbour_peers_on_two_links_are_each_on_theirs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
