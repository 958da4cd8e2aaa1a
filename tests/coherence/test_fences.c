/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What a fence must not undo, and the state that waits for the last reader of a
 * page that died with its owner (L_INV).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <rte_byteorder.h>

#include "net.h"

#define MS UINT64_C(1000000)

static struct tp_action actions[TP_ACTIONS_PER_EVENT];
static struct tp_outbox outbox = { .actions = actions, .capacity = TP_ACTIONS_PER_EVENT };

static struct net *
four(void)
{
	struct net_config config = { .nodes = 4, .pages = 2, .home_count = 1 };

	outbox.count = 0;
	return net_create(&config);
}

static void
deliver_all(struct net *net)
{
	while (net->flight_count != 0)
		net_deliver(net, 0);
}

static void
deliver_first(struct net *net, enum tp_coherence_msg_type type)
{
	uint32_t i = 0;

	while (i < net->flight_count && net->flight[i].msg.type != type)
		i++;
	assert_true(i < net->flight_count);
	net_deliver(net, i);
}

/* It lives, does not know, and asks on in its old session. */
static void
test_request_of_fenced_node_waits_for_peer_up(void **state)
{
	struct net *net = four();
	uint32_t read, write, atomic;

	tp_coherence_peer_fenced(net->node[0].engine, 2, net->now, &outbox);
	net_poll_all(net);
	read = net_read(net, 2, 0);
	write = net_write(net, 2, 1);
	atomic = net_add(net, 2, 1);
	deliver_all(net);
	for (int i = 0; i < 8; i++) {
		assert_true(net_advance(net, 1000 * MS));
		deliver_all(net);
	}
	assert_string_equal(net_home_state(net, 0), "U");
	assert_string_equal(net_home_state(net, 1), "U");
	assert_int_equal(net->atomics_run, 0);
	assert_false(net->op[read].completed || net->op[write].completed ||
		net->op[atomic].completed);

	/* The node is back: what it asks now counts again. */
	net_session_down(net, 0, 2);
	net_session_up(net, 0, 2);
	read = net_read(net, 2, 0);
	net_run(net);
	assert_null(net->failure);
	assert_int_equal(net->op[read].result.reason, TP_OK);
	assert_string_equal(net_home_state(net, 0), "S");
	assert_true(net_is_idle(net));
	net_destroy(net);
}

/* Its epoch is over already: to ask for the end of it could only hit the next. */
static void
test_fenced_node_is_not_asked_to_be_fenced(void **state)
{
	struct net *net = four();
	uint32_t op;

	net_write(net, 2, 0);
	net_run(net);
	op = net_read(net, 1, 0);
	/* The walk has not come to the page when the read does. */
	tp_coherence_peer_fenced(net->node[0].engine, 2, net->now, &outbox);
	deliver_first(net, TP_MSG_GET_S);
	deliver_all(net);
	assert_int_equal(net->fences_asked, 0);
	assert_int_equal(net->op[op].result.reason, TP_NODE_CRASHED);
	assert_string_equal(net_home_state(net, 0), "L");
	net_destroy(net);
}

/* Node 2 died; node 1 has read from it, and does not answer. */
static struct net *
lost_but_for_a_reader(uint32_t *op)
{
	struct net *net = four();

	net_write(net, 2, 0);
	net_run(net);
	*op = net_read(net, 1, 0);
	deliver_first(net, TP_MSG_GET_S);
	deliver_first(net, TP_MSG_FWD_S);
	deliver_first(net, TP_MSG_DATA_S);
	net_crash(net, 2);
	net_session_down(net, 0, 1);
	net_fence(net, 2);
	assert_string_equal(net_home_state(net, 0), "L_INV");
	return net;
}

static void
back(struct net *net)
{
	net_session_up(net, 0, 1);
	net_run(net);
	assert_null(net->failure);
	assert_string_equal(net_home_state(net, 0), "L");
	assert_string_equal(net_cache_state(net, 1, 0), "I");
	assert_true(net_is_idle(net));
	net_destroy(net);
}

/* Hand node 0 a message of node n about page 0. @return what it answers to n, 0: nothing. */
static uint8_t
answer_to(struct net *net, uint16_t n, enum tp_coherence_msg_type type, uint8_t flags)
{
	struct tp_coherence_page_info info;
	struct tp_coherence_msg msg = {
		.type = (uint8_t)type,
		.flags = flags,
		.requester = rte_cpu_to_le_16(n),
		.txn = rte_cpu_to_le_32(77),
		.region_id = rte_cpu_to_le_32(NET_REGION_ID),
		.generation = rte_cpu_to_le_64(net->region.generation),
	};
	bool payload = (type == TP_MSG_WB || type == TP_MSG_PUT_M) && flags == 0;

	tp_coherence_page_info_get(net->node[0].engine, NET_REGION_ID, 0, &info);
	msg.sequence = rte_cpu_to_le_64(info.sequence);
	outbox.count = 0;
	tp_coherence_message(net->node[0].engine, n, 0, &msg,
		payload ? 1u << net->region.page_shift : 0, 1, net->now, &outbox);
	for (uint32_t i = 0; i < outbox.count; i++) {
		assert_int_not_equal(actions[i].type, TP_ACTION_COPY_IN);
		if (actions[i].type == TP_ACTION_SEND && actions[i].node == n)
			return actions[i].msg.type;
	}
	return 0;
}

static void
test_lost_page_requests_wait_until_the_reader_gave_it_up(void **state)
{
	uint32_t op, read, write, atomic;
	struct net *net = lost_but_for_a_reader(&op);

	read = net_read(net, 3, 0);
	deliver_all(net);
	atomic = net_add(net, 3, 0);
	deliver_all(net);
	write = net_write(net, 0, 0);
	deliver_all(net);
	assert_string_equal(net_home_state(net, 0), "L_INV");
	assert_false(net->op[read].completed || net->op[write].completed ||
		net->op[atomic].completed);
	net_session_up(net, 0, 1);
	net_run(net);
	assert_int_equal(net->op[read].result.reason, TP_NODE_CRASHED);
	assert_int_equal(net->op[write].result.reason, TP_NODE_CRASHED);
	assert_int_equal(net->op[atomic].result.reason, TP_NODE_CRASHED);
	assert_int_equal(net->atomics_run, 0);
	back(net);
}

static void
test_lost_page_late_messages_change_nothing(void **state)
{
	uint32_t op;
	struct net *net = lost_but_for_a_reader(&op);

	assert_int_equal(answer_to(net, 3, TP_MSG_PUT_S, 0), TP_MSG_PUT_ACK);
	assert_int_equal(answer_to(net, 3, TP_MSG_PUT_M, 0), TP_MSG_PUT_ACK);
	assert_int_equal(answer_to(net, 3, TP_MSG_WB, 0), TP_MSG_WB_ACK);
	assert_int_equal(answer_to(net, 3, TP_MSG_WB, TP_MSG_F_NO_DATA), TP_MSG_WB_ACK);
	assert_int_equal(answer_to(net, 1, TP_MSG_UNBLOCK, 0), 0);
	/* Only whose copy is waited for can end the wait. */
	assert_int_equal(answer_to(net, 3, TP_MSG_INV_ACK, 0), 0);
	assert_string_equal(net_home_state(net, 0), "L_INV");
	back(net);
}

/* The old owner's own answers, too: they come of an epoch that is over. */
static void
test_lost_page_write_back_after_all_is_not_taken(void **state)
{
	uint32_t op;
	struct net *net = lost_but_for_a_reader(&op);

	assert_int_equal(answer_to(net, 2, TP_MSG_WB, 0), TP_MSG_WB_ACK);
	assert_int_equal(answer_to(net, 2, TP_MSG_WB, TP_MSG_F_NO_DATA), TP_MSG_WB_ACK);
	assert_string_equal(net_home_state(net, 0), "L_INV");
	back(net);
}

static void
test_lost_page_reader_fenced_ends_the_wait(void **state)
{
	uint32_t op, read;
	struct net *net = lost_but_for_a_reader(&op);

	tp_coherence_peer_fenced(net->node[0].engine, 3, net->now, &outbox);
	net_poll_all(net);
	assert_string_equal(net_home_state(net, 0), "L_INV");
	read = net_read(net, 0, 0);
	deliver_all(net);
	assert_false(net->op[read].completed);
	net_crash(net, 1);
	net_fence(net, 1);
	net_run(net);
	assert_null(net->failure);
	assert_string_equal(net_home_state(net, 0), "L");
	assert_int_equal(net->op[read].result.reason, TP_NODE_CRASHED);
	assert_true(net_is_idle(net));
	net_destroy(net);
}

/*
 * A PUT_S waits at home while its session ends, and is sent again in the next one.
 * The refusal of the first, come before the second arrives, must not bring forth a
 * third: one of the two would end a copy that was fetched after the other.
 */
static void
test_put_deferred_when_its_session_ends_is_sent_once_more(void **state)
{
	struct net *net = four();
	uint32_t i, read;

	net_read(net, 1, 0);
	net_read(net, 2, 0);
	net_run(net);
	net_write(net, 3, 0);
	deliver_first(net, TP_MSG_GET_M);
	assert_string_equal(net_home_state(net, 0), "S_INV");
	net_want(net, 1, 0, TP_WANT_INVALIDATE);
	deliver_first(net, TP_MSG_PUT_S);
	net_session_down(net, 0, 1);
	net_session_up(net, 0, 1);
	/* All but the PUT_S of the new session. */
	for (i = 0; i < net->flight_count;) {
		if (net->flight[i].msg.type == TP_MSG_PUT_S) {
			i++;
			continue;
		}
		net_deliver(net, i);
		i = 0;
	}
	assert_int_equal(net->flight_count, 1);
	assert_int_equal(net->flight[0].msg.type, TP_MSG_PUT_S);
	assert_string_equal(net_cache_state(net, 1, 0), "SI");
	net_run(net);
	read = net_read(net, 1, 0);
	net_run(net);
	assert_null(net->failure);
	assert_int_equal(net->op[read].result.reason, TP_OK);
	assert_true(net_is_idle(net));
	net_destroy(net);
}

/* Sessions are made while a node is fenced, too; its peers come up after that. */
static void
test_message_of_peer_not_yet_up_is_dropped_not_malformed(void **state)
{
	struct net_config config = { .nodes = 3, .pages = 2, .home_count = 1, .node_id_max = 5 };
	struct net *net = net_create(&config);
	const struct tp_coherence_stats *stats = tp_coherence_stats_get(net->node[0].engine);
	uint64_t stale = stats->stale_messages;

	assert_int_equal(answer_to(net, 4, TP_MSG_GET_S, 0), 0);
	assert_int_equal(outbox.count, 1);
	assert_int_equal(actions[0].type, TP_ACTION_REQUEST_DONE);
	assert_int_equal(stats->stale_messages, stale + 1);
	assert_int_equal(stats->bad_messages, 0);
	assert_string_equal(net_home_state(net, 0), "U");
	outbox.count = 0;
	tp_coherence_peer_up(net->node[0].engine, 4, 1, net->now, &outbox);
	assert_int_equal(answer_to(net, 4, TP_MSG_GET_S, 0), TP_MSG_DATA_S);
	net_destroy(net);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_request_of_fenced_node_waits_for_peer_up),
		cmocka_unit_test(test_fenced_node_is_not_asked_to_be_fenced),
		cmocka_unit_test(test_lost_page_requests_wait_until_the_reader_gave_it_up),
		cmocka_unit_test(test_lost_page_late_messages_change_nothing),
		cmocka_unit_test(test_lost_page_write_back_after_all_is_not_taken),
		cmocka_unit_test(test_lost_page_reader_fenced_ends_the_wait),
		cmocka_unit_test(test_put_deferred_when_its_session_ends_is_sent_once_more),
		cmocka_unit_test(test_message_of_peer_not_yet_up_is_dropped_not_malformed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
