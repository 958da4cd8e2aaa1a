/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Several messages in one packet (docs/protocol.md section 3.5).
 */
#include <string.h>

#include "fabric_priv.h"
#include "sim_cluster.h"

#define MANY_MAX 1024u

static const struct sim_faults calm = { .delay_ns = 2000 };

/* What node 2 got; each message is a fill of the number it was sent with. */
struct inbox {
	uint32_t count;
	uint64_t tokens[MANY_MAX];
	uint32_t lengths[MANY_MAX];
	uint8_t fills[MANY_MAX];
	uint8_t classes[MANY_MAX];
};

static void
inbox_message(struct sim_node *node, const struct tp_message *message)
{
	struct inbox *inbox = node->cluster->test;
	uint8_t bytes[9000];
	uint32_t i;

	if (node->index != 1)
		return;
	assert_true(inbox->count < MANY_MAX && message->length <= sizeof(bytes));
	assert_int_equal(tp_message_copy(message, 0, bytes, sizeof(bytes)), message->length);
	for (i = 1; i < message->length; i++)
		assert_int_equal(bytes[i], bytes[0]);
	inbox->tokens[inbox->count] = message->token;
	inbox->lengths[inbox->count] = message->length;
	inbox->classes[inbox->count] = message->class;
	inbox->fills[inbox->count++] = message->length == 0 ? 0 : bytes[0];
}

static void
many_init(struct sim_cluster *c, struct inbox *inbox, const struct tp_endpoint_config *config,
	uint16_t mtu)
{
	memset(inbox, 0, sizeof(*inbox));
	sim_cluster_init(c, 2, 1, &calm, config, mtu);
	c->test = inbox;
	c->message = inbox_message;
	sim_cluster_connect(c);
	/* The handshake is over. */
	sim_cluster_run(c, SIM_MS);
}

static int
many_send(struct sim_cluster *c, enum tp_class class, enum tp_priority priority, uint8_t fill,
	uint32_t length)
{
	uint8_t bytes[9000];
	struct iovec iov = { .iov_base = bytes, .iov_len = length };

	memset(bytes, fill, length);
	return tp_endpoint_send(c->nodes[0].ep, 2, 0, class, priority, &iov, 1);
}

static void
test_many_messages_of_one_turn_share_a_packet(void **state)
{
	static const uint32_t lengths[] = { 5, 0, 64, 1, 7, 8, 9, 0, 100, 3 };
	struct inbox inbox;
	struct sim_cluster c;
	uint32_t i;

	(void)state;
	many_init(&c, &inbox, NULL, 1500);
	for (i = 0; i < 10; i++)
		assert_int_equal(many_send(&c, TP_CLASS_RESPONSE, TP_PRIORITY_NORMAL,
			(uint8_t)(i + 1), lengths[i]), 0);
	sim_cluster_run(&c, SIM_MS);
	assert_int_equal(inbox.count, 10);
	for (i = 0; i < 10; i++) {
		assert_int_equal(inbox.lengths[i], lengths[i]);
		assert_int_equal(inbox.fills[i], lengths[i] == 0 ? 0 : i + 1);
		assert_int_equal(inbox.classes[i], TP_CLASS_RESPONSE);
	}
	assert_int_equal(SIM_COUNTER(&c.nodes[0], tx_data), 1);
	assert_int_equal(SIM_COUNTER(&c.nodes[0], tx_joined), 9);
	assert_int_equal(SIM_COUNTER(&c.nodes[0], tx_messages), 10);
	assert_int_equal(SIM_COUNTER(&c.nodes[1], rx_messages), 10);
	sim_cluster_fini(&c);
}

static void
test_many_messages_of_different_turns_wait_for_nobody(void **state)
{
	struct inbox inbox;
	struct sim_cluster c;
	uint32_t i;

	(void)state;
	many_init(&c, &inbox, NULL, 1500);
	for (i = 0; i < 10; i++) {
		assert_int_equal(many_send(&c, TP_CLASS_RESPONSE, TP_PRIORITY_NORMAL, 1, 8), 0);
		tp_endpoint_tx_flush(c.nodes[0].ep, c.now);
	}
	assert_int_equal(SIM_COUNTER(&c.nodes[0], tx_data), 10);
	assert_int_equal(SIM_COUNTER(&c.nodes[0], tx_joined), 0);
	sim_cluster_run(&c, SIM_MS);
	assert_int_equal(inbox.count, 10);
	sim_cluster_fini(&c);
}

static void
test_many_messages_fill_a_packet_to_its_end_and_no_further(void **state)
{
	static const uint16_t mtus[] = { 1500, 9000 };
	struct inbox inbox;
	struct sim_cluster c;
	uint32_t m;

	(void)state;
	for (m = 0; m < 2; m++) {
		uint32_t most = tp_wire_fragment_bytes(mtus[m]);

		many_init(&c, &inbox, NULL, mtus[m]);
		/* 16 bytes, a head of 8, and what is left. */
		many_send(&c, TP_CLASS_RESPONSE, TP_PRIORITY_NORMAL, 1, 16);
		many_send(&c, TP_CLASS_RESPONSE, TP_PRIORITY_NORMAL, 2, most - 24);
		sim_cluster_run(&c, SIM_MS);
		assert_int_equal(SIM_COUNTER(&c.nodes[0], tx_data), 1);
		many_send(&c, TP_CLASS_RESPONSE, TP_PRIORITY_NORMAL, 3, 16);
		many_send(&c, TP_CLASS_RESPONSE, TP_PRIORITY_NORMAL, 4, most - 23);
		sim_cluster_run(&c, SIM_MS);
		assert_int_equal(SIM_COUNTER(&c.nodes[0], tx_data), 3);
		/* Nothing joins a message of several fragments. */
		many_send(&c, TP_CLASS_RESPONSE, TP_PRIORITY_NORMAL, 5, RTE_MIN(most + 1, 9000u));
		many_send(&c, TP_CLASS_RESPONSE, TP_PRIORITY_NORMAL, 6, 1);
		sim_cluster_run(&c, SIM_MS);
		assert_int_equal(SIM_COUNTER(&c.nodes[0], tx_data), 6);
		assert_int_equal(inbox.count, 6);
		sim_cluster_fini(&c);
	}
}

static void
test_many_messages_of_other_kinds_or_unwanted_stay_alone(void **state)
{
	static const struct tp_endpoint_config alone = { .no_join = true };
	struct inbox inbox;
	struct sim_cluster c;
	uint32_t i;

	(void)state;
	many_init(&c, &inbox, NULL, 9000);
	for (i = 0; i < TP_CLASS_COUNT; i++) {
		many_send(&c, (enum tp_class)i, TP_PRIORITY_NORMAL, 1, 8);
		many_send(&c, (enum tp_class)i, TP_PRIORITY_URGENT, 2, 8);
		many_send(&c, (enum tp_class)i, TP_PRIORITY_BULK, 3, 8);
	}
	sim_cluster_run(&c, SIM_MS);
	assert_int_equal(inbox.count, 9);
	assert_int_equal(SIM_COUNTER(&c.nodes[0], tx_joined), 0);
	sim_cluster_fini(&c);

	many_init(&c, &inbox, &alone, 9000);
	for (i = 0; i < 5; i++)
		many_send(&c, TP_CLASS_RESPONSE, TP_PRIORITY_NORMAL, 1, 8);
	sim_cluster_run(&c, SIM_MS);
	assert_int_equal(inbox.count, 5);
	assert_int_equal(SIM_COUNTER(&c.nodes[0], tx_data), 5);
	sim_cluster_fini(&c);
}

/* Bulk sent as fast as it is taken, so that its window binds; on a wire of so many bytes a us. */
static void
bulk_run(struct sim_cluster *c, struct inbox *inbox, uint32_t bytes_us)
{
	uint32_t i;

	many_init(c, inbox, NULL, 9000);
	sim_net_faults(c->net)->byte_ps = 1000000 / bytes_us;
	for (i = 0; i < 1000;) {
		if (many_send(c, TP_CLASS_RESPONSE, TP_PRIORITY_BULK, (uint8_t)i, 4000) == 0)
			i++;
		else
			sim_cluster_run(c, 10000);
	}
	sim_cluster_run(c, 200 * SIM_MS);
	assert_int_equal(inbox->count, 1000);
}

static void
test_many_bulk_messages_share_packets_where_the_link_is_fast(void **state)
{
	struct inbox inbox;
	struct sim_cluster c;

	(void)state;
	/* What is taken before the window was seen to grow stays alone. */
	bulk_run(&c, &inbox, 10000);
	assert_in_range(SIM_COUNTER(&c.nodes[0], tx_joined), 300, 500);
	sim_cluster_fini(&c);
	/* Here one packet is 40 us: two pages in it would be twice that in front of a demand. */
	bulk_run(&c, &inbox, 100);
	assert_in_range(SIM_COUNTER(&c.nodes[0], tx_joined), 0, 100);
	sim_cluster_fini(&c);
}

/* Credits bound what is open, whatever the packets; and none can be stuck for want of them. */
static void
test_many_requests_take_a_credit_each_and_all_get_through(void **state)
{
	static const uint16_t credits[] = { 1, 2, 3, 4, 8, 30 };
	struct inbox inbox;
	struct sim_cluster c;
	uint32_t finished;
	uint32_t i;
	uint32_t k;

	(void)state;
	for (k = 0; k < RTE_DIM(credits); k++) {
		struct tp_endpoint_config config = {
			.request_credits = credits[k],
			.forward_credits = credits[k],
		};

		many_init(&c, &inbox, &config, 9000);
		for (i = 0; i < 100; i++) {
			many_send(&c, TP_CLASS_REQUEST, TP_PRIORITY_NORMAL, (uint8_t)i, 8);
			many_send(&c, TP_CLASS_FORWARD, TP_PRIORITY_NORMAL, (uint8_t)i, 8);
		}
		sim_cluster_run(&c, 20 * SIM_MS);
		assert_true(SIM_COUNTER(&c.nodes[0], tx_joined) > 0 || credits[k] < 8);
		finished = 0;
		for (i = 0; i < inbox.count; i++) {
			if (inbox.classes[i] != TP_CLASS_REQUEST)
				continue;
			/* One comes back, others may follow; never more open than granted. */
			tp_endpoint_request_done(c.nodes[1].ep, inbox.tokens[i]);
			finished++;
			sim_cluster_run(&c, 2 * SIM_MS);
			assert_true(inbox.count <= 100 + finished + credits[k]);
		}
		assert_int_equal(inbox.count, 200);
		assert_int_equal(SIM_COUNTER(&c.nodes[1], drop_credit), 0);
		sim_cluster_fini(&c);
	}
}

static bool
drop_first_two(void *ctx, uint32_t from, const uint8_t *frame, uint32_t length)
{
	uint32_t *left = ctx;

	(void)frame;
	if (from != 0 || length < TP_WIRE_OUTER_BYTES + sizeof(struct tp_wire_many) || *left == 0)
		return false;
	(*left)--;
	return true;
}

static void
test_many_messages_lost_with_their_packet_come_once(void **state)
{
	uint32_t left = 2;
	uint32_t times[21] = { 0 };
	struct inbox inbox;
	struct sim_cluster c;
	uint32_t i;

	(void)state;
	many_init(&c, &inbox, NULL, 9000);
	sim_net_drop(c.net, drop_first_two, &left);
	for (i = 0; i < 20; i++)
		many_send(&c, TP_CLASS_FORWARD, TP_PRIORITY_NORMAL, (uint8_t)(i + 1), 40);
	sim_cluster_run(&c, 50 * SIM_MS);
	assert_int_equal(left, 0);
	assert_int_equal(inbox.count, 20);
	for (i = 0; i < 20; i++)
		times[RTE_MIN(inbox.fills[i], 20u)]++;
	for (i = 1; i <= 20; i++)
		assert_int_equal(times[i], 1);
	sim_net_drop(c.net, NULL, NULL);
	sim_cluster_fini(&c);
}

static void
test_many_messages_each_show_their_heads(void **state)
{
	struct inbox inbox;
	struct sim_cluster c;
	uint32_t before;

	(void)state;
	many_init(&c, &inbox, NULL, 9000);
	before = c.nodes[1].hints;
	many_send(&c, TP_CLASS_RESPONSE, TP_PRIORITY_NORMAL, 1, TP_ENDPOINT_HINT_BYTES - 1);
	many_send(&c, TP_CLASS_RESPONSE, TP_PRIORITY_NORMAL, 2, TP_ENDPOINT_HINT_BYTES);
	many_send(&c, TP_CLASS_RESPONSE, TP_PRIORITY_NORMAL, 3, 4136);
	sim_cluster_run(&c, SIM_MS);
	assert_int_equal(inbox.count, 3);
	/* Once for the message, once more as the next one. */
	assert_int_equal(c.nodes[1].hints - before, 4);
	assert_int_equal(c.nodes[1].hinted[0], 3);
	sim_cluster_fini(&c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many_messages_of_one_turn_share_a_packet),
		cmocka_unit_test(test_many_messages_of_different_turns_wait_for_nobody),
		cmocka_unit_test(test_many_messages_fill_a_packet_to_its_end_and_no_further),
		cmocka_unit_test(test_many_messages_of_other_kinds_or_unwanted_stay_alone),
		cmocka_unit_test(test_many_bulk_messages_share_packets_where_the_link_is_fast),
		cmocka_unit_test(test_many_requests_take_a_credit_each_and_all_get_through),
		cmocka_unit_test(test_many_messages_lost_with_their_packet_come_once),
		cmocka_unit_test(test_many_messages_each_show_their_heads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
