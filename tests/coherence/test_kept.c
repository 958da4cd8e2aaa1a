/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Results of atomics that a home keeps: an id is run once at most, what is asked
 * after is known or known to be forgotten, and what was fenced is not run.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coherence_priv.h"
#include "net.h"

#define MS UINT64_C(1000000)

static struct tp_action actions[TP_ACTIONS_PER_EVENT];
static struct tp_outbox outbox = { .actions = actions, .capacity = TP_ACTIONS_PER_EVENT };

static int
setup(void **state)
{
	struct net_config config = { .nodes = 3, .pages = 2, .home_count = 1 };
	struct net *net = net_create(&config);

	net->now = 1000 * MS;
	net_poll_all(net);
	*state = net;
	return 0;
}

static int
teardown(void **state)
{
	net_destroy(*state);
	return 0;
}

static struct tp_coherence_msg
message(const struct net *net, uint8_t type, uint16_t from, uint64_t sequence)
{
	return (struct tp_coherence_msg){
		.type = type,
		.atomic_op = TP_ATOMIC_ADD,
		.atomic_width = 8,
		.requester = rte_cpu_to_le_16(from),
		.txn = rte_cpu_to_le_32(77),
		.region_id = rte_cpu_to_le_32(NET_REGION_ID),
		.generation = rte_cpu_to_le_64(net->region.generation),
		.sequence = rte_cpu_to_le_64(sequence),
		/* SETTLE: which program asks. */
		.operand = rte_cpu_to_le_64(1),
		.compare = type == TP_MSG_SETTLE ? rte_cpu_to_le_64(from) : 0,
		.identity = rte_cpu_to_le_64(UINT64_C(9) << 16 |
			(type == TP_MSG_AMO ? 100 : 0)),
	};
}

/* Give the home a message; its answer. Carries out what is to be stored. */
static struct tp_coherence_msg
told(struct net *net, uint16_t from, const struct tp_coherence_msg *msg, uint64_t old)
{
	struct tp_coherence_msg answer = { 0 };

	outbox.count = 0;
	tp_coherence_message(net->node[0].engine, from, 0, msg, 0, 5, net->now, &outbox);
	for (uint32_t i = 0; i < outbox.count; i++) {
		if (actions[i].type == TP_ACTION_ATOMIC) {
			*actions[i].kept = old;
			answer = actions[i].msg;
			answer.operand = rte_cpu_to_le_64(old);
		} else if (actions[i].type == TP_ACTION_SEND) {
			answer = actions[i].msg;
			if (actions[i].kept != NULL)
				answer.operand = rte_cpu_to_le_64(*actions[i].kept);
		}
	}
	outbox.count = 0;
	return answer;
}

static struct tp_coherence_msg
amo(struct net *net, uint64_t sequence, uint64_t old)
{
	struct tp_coherence_msg msg = message(net, TP_MSG_AMO, 1, sequence);

	return told(net, 1, &msg, old);
}

static struct tp_coherence_msg
settle(struct net *net, uint64_t sequence, uint8_t flags)
{
	struct tp_coherence_msg msg = message(net, TP_MSG_SETTLE, 1, sequence);

	msg.flags = flags;
	return told(net, 1, &msg, 0);
}

static void
test_kept_same_id_is_answered_not_run(void **state)
{
	struct net *net = *state;
	const struct tp_coherence_stats *stats = tp_coherence_stats_get(net->node[0].engine);
	struct tp_coherence_msg answer = amo(net, 1, 40);

	assert_int_equal(answer.type, TP_MSG_AMO_RESULT);
	assert_int_equal(stats->atomics_home, 1);
	answer = amo(net, 1, 41);
	assert_int_equal(answer.type, TP_MSG_AMO_RESULT);
	assert_int_equal(answer.operand, 40);
	assert_int_equal(stats->atomics_home, 1);
	assert_int_equal(stats->atomics_repeated, 1);
	/* Another one is another one: of the thread, of the client, of the node. */
	answer = amo(net, 2, 41);
	assert_int_equal(answer.operand, 41);
	assert_int_equal(stats->atomics_home, 2);
}

static void
test_kept_settle_says_old_value(void **state)
{
	struct net *net = *state;
	struct tp_coherence_msg answer;

	amo(net, 1, 40);
	answer = settle(net, 1, TP_MSG_F_SENT);
	assert_int_equal(answer.type, TP_MSG_SETTLE_RESULT);
	assert_int_equal(answer.effect, TP_EFFECT_DONE);
	assert_int_equal(answer.operand, 40);
	assert_int_equal(net->node[0].engine->fences.count, 0);
}

static void
test_kept_settle_not_run_fences_what_is_on_its_way(void **state)
{
	struct net *net = *state;
	const struct tp_coherence_stats *stats = tp_coherence_stats_get(net->node[0].engine);
	struct tp_coherence_msg answer = settle(net, 1, TP_MSG_F_SENT);

	assert_int_equal(answer.effect, TP_EFFECT_NOT_DONE);
	settle(net, 1, TP_MSG_F_SENT);
	assert_int_equal(net->node[0].engine->fences.count, 1);
	answer = amo(net, 1, 40);
	assert_int_equal(answer.type, TP_MSG_NACK);
	assert_int_equal(answer.reason, TP_TIMEOUT);
	assert_int_equal(stats->atomics_home, 0);
	assert_int_equal(stats->atomics_refused, 1);
	assert_int_equal(net->node[0].engine->fences.count, 0);
	/* Others are run. */
	answer = amo(net, 2, 40);
	assert_int_equal(answer.type, TP_MSG_AMO_RESULT);
}

/* Nothing of a session arrives after it: its fences go with it. */
static void
test_kept_fence_ends_with_session(void **state)
{
	struct net *net = *state;

	settle(net, 1, TP_MSG_F_SENT);
	settle(net, 2, 0);
	assert_int_equal(net->node[0].engine->fences.count, 1);
	net_session_down(net, 0, 1);
	net_session_up(net, 0, 1);
	amo(net, 3, 40);
	assert_int_equal(net->node[0].engine->fences.count, 0);
}

static void
run_for(struct net *net, uint32_t ms)
{
	for (; ms != 0; ms--) {
		net->now += MS;
		net_poll_all(net);
	}
}

static void
test_kept_fences_full_stays_unknown(void **state)
{
	struct net *net = *state;
	struct tp_coherence_msg answer, msg;
	uint64_t i;

	for (i = 1; i <= 1024; i++) {
		answer = settle(net, i, TP_MSG_F_SENT);
		if (answer.type != TP_MSG_SETTLE_RESULT)
			break;
		assert_int_equal(answer.effect, TP_EFFECT_NOT_DONE);
	}
	assert_in_range(i, 65, 1024);
	assert_int_equal(answer.type, TP_MSG_NACK);
	assert_int_equal(answer.reason, TP_EXHAUSTED);
	assert_int_equal(tp_coherence_stats_get(net->node[0].engine)->fences_refused, 1);
	/* That is one program. Another one of the same node is told what it asks. */
	msg = message(net, TP_MSG_SETTLE, 1, 5000);
	msg.flags = TP_MSG_F_SENT;
	msg.operand = rte_cpu_to_le_64(3);
	assert_int_equal(told(net, 1, &msg, 0).type, TP_MSG_SETTLE_RESULT);
	/* There is no such program. */
	msg.operand = rte_cpu_to_le_64(TP_SETTLE_ASKERS);
	assert_int_equal(told(net, 1, &msg, 0).type, 0);
	assert_int_equal(tp_coherence_stats_get(net->node[0].engine)->bad_messages, 1);
	/* Much later none of them can be on its way any more. */
	run_for(net, 11000);
	answer = settle(net, i, TP_MSG_F_SENT);
	assert_int_equal(answer.type, TP_MSG_SETTLE_RESULT);
	assert_int_equal(net->node[0].engine->fences.count, 1);
}

/* Node 2 asks after what node 1 sent. */
static struct tp_coherence_msg
settle_foreign(struct net *net, uint64_t sequence)
{
	struct tp_coherence_msg msg = message(net, TP_MSG_SETTLE, 2, sequence);

	msg.compare = rte_cpu_to_le_64(1);
	return told(net, 2, &msg, 0);
}

/* It asks after what never was, as fast as it can: others are answered all the same. */
static void
test_kept_greedy_node_starves_nobody(void **state)
{
	struct net *net = *state;
	struct tp_coherence_msg answer;
	uint64_t i = 1;

	do {
		answer = settle_foreign(net, ++i);
	} while (answer.type == TP_MSG_SETTLE_RESULT && i < 4096);
	assert_int_equal(answer.type, TP_MSG_NACK);
	assert_int_equal(answer.reason, TP_EXHAUSTED);
	answer = settle(net, 1, TP_MSG_F_SENT);
	assert_int_equal(answer.type, TP_MSG_SETTLE_RESULT);
	assert_int_equal(amo(net, 1, 40).type, TP_MSG_NACK);
	/* What was refused was not promised. */
	assert_int_equal(amo(net, i, 40).type, TP_MSG_AMO_RESULT);
}

/* The atomic's own node is up: the answer is the same, and what is on its way is fenced. */
static void
test_kept_settle_by_other_node_fences_what_is_on_its_way(void **state)
{
	struct net *net = *state;
	struct tp_coherence_msg answer = settle_foreign(net, 1);

	assert_int_equal(answer.type, TP_MSG_SETTLE_RESULT);
	assert_int_equal(answer.effect, TP_EFFECT_NOT_DONE);
	/* Not of the node that asked. */
	assert_int_equal(net->node[0].engine->fences.count, 1);
	answer = amo(net, 1, 40);
	assert_int_equal(answer.type, TP_MSG_NACK);
	assert_int_equal(answer.reason, TP_TIMEOUT);
	/* What was run is told to anybody. */
	amo(net, 2, 8);
	answer = settle_foreign(net, 2);
	assert_int_equal(answer.effect, TP_EFFECT_DONE);
	assert_int_equal(answer.operand, 8);
}

/*
 * The node may have sent it in a session that this home does not know to be made yet:
 * the fence holds in the next one, too, and in that alone.
 */
static void
test_kept_settle_by_other_node_while_down_fences_next_session(void **state)
{
	struct net *net = *state;

	net_session_down(net, 0, 1);
	assert_int_equal(settle_foreign(net, 1).effect, TP_EFFECT_NOT_DONE);
	assert_int_equal(settle_foreign(net, 2).effect, TP_EFFECT_NOT_DONE);
	net_session_up(net, 0, 1);
	assert_int_equal(amo(net, 1, 40).type, TP_MSG_NACK);
	assert_int_equal(net->node[0].engine->fences.count, 1);
	net_session_down(net, 0, 1);
	net_session_up(net, 0, 1);
	net_session_down(net, 0, 1);
	net_session_up(net, 0, 1);
	assert_int_equal(amo(net, 3, 40).type, TP_MSG_AMO_RESULT);
	assert_int_equal(net->node[0].engine->fences.count, 0);
}

/* Nothing is on its way for so long: who asks often does not slow atomics down for ever. */
static void
test_kept_fence_ends_with_age(void **state)
{
	struct net *net = *state;

	settle_foreign(net, 1);
	/* While this home stood still it received nothing: what came then is as young as it was. */
	net->now += 11000 * MS;
	net_poll_all(net);
	amo(net, 3, 40);
	assert_int_equal(net->node[0].engine->fences.count, 1);
	run_for(net, 11000);
	amo(net, 4, 40);
	assert_int_equal(net->node[0].engine->fences.count, 0);
}

/* In an earlier life the home may have run it, and nobody knows any more. */
static void
test_kept_limit_says_why_home_knows_no_more(void **state)
{
	struct net_config config = { .nodes = 3, .pages = 2, .home_count = 1, .home_lost = true };
	struct net *net = net_create(&config);
	struct tp_coherence_msg answer;

	net->now = 1000 * MS;
	net_poll_all(net);
	net->now += 500 * MS;
	net_poll_all(net);
	answer = settle(net, 1, 0);
	assert_int_equal(answer.effect, TP_EFFECT_NOT_DONE);
	assert_int_equal(answer.reason, TP_NODE_CRASHED);
	assert_int_equal(answer.operand, 500 * MS);
	net_destroy(net);
}

/* A region that is younger than the home: all that was ever run is known, at once. */
static void
test_kept_young_region_has_no_limit(void **state)
{
	struct net *net = *state;
	struct tp_coherence_msg answer;
	uint64_t i;

	answer = settle(net, 1, 0);
	assert_int_equal(answer.effect, TP_EFFECT_NOT_DONE);
	assert_int_equal(answer.reason, TP_OK);
	assert_true(answer.operand == UINT64_MAX);
	/* Until a result was let go of. */
	for (i = 2; i < 8192; i++)
		amo(net, i, i);
	answer = settle(net, 1, 0);
	assert_int_equal(answer.reason, TP_EXHAUSTED);
	assert_true(answer.operand < UINT64_MAX);
}

/* The home has joined, and not heard of the region yet: it is asked again. */
static void
test_kept_settle_before_region_is_known_is_asked_again(void **state)
{
	struct net *net = *state;
	struct tp_coherence_msg msg = message(net, TP_MSG_SETTLE, 1, 1);
	struct tp_coherence_msg answer;

	msg.region_id = rte_cpu_to_le_32(NET_REGION_ID + 1);
	answer = told(net, 1, &msg, 0);
	assert_int_equal(answer.type, TP_MSG_NACK);
	assert_int_equal(answer.flags, TP_MSG_F_RETRY);
	/* It is known, and another: what was in the old one is gone. */
	msg = message(net, TP_MSG_SETTLE, 1, 1);
	msg.generation = rte_cpu_to_le_64(net->region.generation + 1);
	answer = told(net, 1, &msg, 0);
	assert_int_equal(answer.type, TP_MSG_NACK);
	assert_int_equal(answer.flags, 0);
	assert_int_equal(answer.reason, TP_GENERATION);
}

static uint64_t
span_of(struct tp_coherence *engine, const struct coherence_id *id)
{
	uint8_t limit;

	return coherence_kept_span(engine, coherence_region_find(engine, NET_REGION_ID), id,
		&limit);
}

/* The home remembers as far back as it let go of a result. */
static void
test_kept_span_ends_at_what_was_replaced(void **state)
{
	struct net *net = *state;
	struct tp_coherence *engine = net->node[0].engine;
	struct coherence_id id = { .origin = UINT64_C(1) << 48 | 9, .sequence = 1 };
	uint64_t i, span;

	/* Thousands a millisecond apart, for room of 1024: every set has replaced some. */
	for (i = 2; i < 8192; i++) {
		net->now += MS;
		net_poll_all(net);
		amo(net, i, i);
	}
	span = settle(net, 1, 0).operand;
	assert_true(span < 8192 * MS);
	assert_true(span > 0);
	/* Those that are kept are younger than what was replaced, and known. */
	assert_non_null(coherence_kept_find(engine, &(struct coherence_id){ id.origin, 8191 }));
	for (i = 2; i < 8192; i++) {
		uint64_t age = (8191 - i) * MS;

		id.sequence = i;
		if (coherence_kept_find(engine, &id) == NULL)
			assert_true(age >= span_of(engine, &id));
	}
}

/* Threads and nodes that count in step have places of their own. */
static void
test_kept_ids_of_equal_count_are_spread(void **state)
{
	struct net *net = *state;
	struct tp_coherence_msg msg;
	uint64_t count, thread;
	uint32_t found = 0;
	uint16_t node;

	/* 128 results, and room for 1024. */
	for (count = 1; count <= 8; count++) {
		for (thread = 0; thread < 8; thread++) {
			for (node = 1; node <= 2; node++) {
				msg = message(net, TP_MSG_AMO, node, thread << 56 | count);
				told(net, node, &msg, 1);
			}
		}
	}
	for (count = 1; count <= 8; count++)
		for (thread = 0; thread < 8; thread++)
			for (node = 1; node <= 2; node++)
				found += coherence_kept_find(net->node[0].engine,
					&(struct coherence_id){ (uint64_t)node << 48 | 9,
						thread << 56 | count }) != NULL;
	assert_true(found >= 120);
}

/* A turn stood still: what it ran may have been run at the end of that. */
static void
test_kept_span_after_a_gap_ends_there(void **state)
{
	struct net *net = *state;
	struct coherence_id id = { .origin = UINT64_C(1) << 48 | 9 };
	uint64_t i;

	for (i = 1; i < 8192; i++)
		amo(net, i, i);
	net->now += 300 * MS;
	net_poll_all(net);
	net->now += MS / 2;
	net_poll_all(net);
	for (i = 1; i < 8192; i++) {
		id.sequence = i;
		if (coherence_kept_find(net->node[0].engine, &id) == NULL)
			assert_true(span_of(net->node[0].engine, &id) <= MS / 2);
	}
}

/* It waited here for longer than it had left: it is not run. */
static void
test_kept_spent_is_refused(void **state)
{
	struct net *net = *state;
	const struct tp_coherence_stats *stats = tp_coherence_stats_get(net->node[0].engine);
	struct tp_coherence_msg msg = message(net, TP_MSG_AMO, 1, 1);
	struct tp_coherence_msg get = message(net, TP_MSG_GET_M, 2, 0);
	struct tp_coherence_msg wb = message(net, TP_MSG_WB, 2, 0);
	struct tp_coherence_msg none = { 0 };

	get.identity = wb.identity = 0;
	get.atomic_op = get.atomic_width = wb.atomic_op = wb.atomic_width = 0;
	get.operand = wb.operand = 0;
	told(net, 2, &get, 0);
	none = told(net, 1, &msg, 0);
	assert_int_equal(none.type, TP_MSG_RECALL);
	net->now += 100 * MS;
	wb.sequence = none.sequence;
	wb.flags = TP_MSG_F_ZERO;
	none = told(net, 2, &wb, 0);
	assert_int_equal(none.type, TP_MSG_NACK);
	assert_int_equal(none.reason, TP_TIMEOUT);
	assert_int_equal(stats->atomics_home, 0);
	assert_int_equal(settle(net, 1, 0).effect, TP_EFFECT_NOT_DONE);
}

#define kept_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		kept_test(test_kept_same_id_is_answered_not_run),
		kept_test(test_kept_settle_says_old_value),
		kept_test(test_kept_settle_not_run_fences_what_is_on_its_way),
		kept_test(test_kept_fence_ends_with_session),
		kept_test(test_kept_fences_full_stays_unknown),
		kept_test(test_kept_greedy_node_starves_nobody),
		kept_test(test_kept_settle_by_other_node_fences_what_is_on_its_way),
		kept_test(test_kept_settle_by_other_node_while_down_fences_next_session),
		kept_test(test_kept_fence_ends_with_age),
		kept_test(test_kept_limit_says_why_home_knows_no_more),
		kept_test(test_kept_young_region_has_no_limit),
		kept_test(test_kept_settle_before_region_is_known_is_asked_again),
		kept_test(test_kept_span_ends_at_what_was_replaced),
		kept_test(test_kept_span_after_a_gap_ends_there),
		kept_test(test_kept_ids_of_equal_count_are_spread),
		kept_test(test_kept_spent_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
