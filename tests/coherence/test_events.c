/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Events that are no messages: guards that are overdue, deadlines, clients and
 * regions that go, nodes lost, fenced and started anew.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <string.h>

#include <cmocka.h>

#include "net.h"

static struct tp_action actions[TP_ACTIONS_PER_EVENT];
static struct tp_outbox outbox = { .actions = actions, .capacity = TP_ACTIONS_PER_EVENT };

static struct net *
three(bool hold_guards)
{
	struct net_config config = { .nodes = 3, .pages = 2, .home_count = 1,
				     .hold_guards = hold_guards };

	outbox.count = 0;
	return net_create(&config);
}

static uint32_t
completed(uint64_t cookie)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < outbox.count; i++)
		count += actions[i].type == TP_ACTION_COMPLETE && actions[i].cookie == cookie;
	return count;
}

/* Poll node 1 until it has nothing to do, dropping its actions. */
static void
drain(struct net *net)
{
	do
		outbox.count = 0;
	while (tp_coherence_poll(net->node[1].engine, net->now, &outbox) != 0);
	outbox.count = 0;
}

static void
test_guard_overdue_is_broken_and_the_page_goes_on(void **state)
{
	struct net *net = three(true);
	uint32_t held = net_write(net, 1, 0);
	uint32_t wanted;
	struct tp_coherence_usage usage;
	uint32_t old;

	net_run(net);
	assert_int_equal(net->op[held].access, TP_ACCESS_WRITE);
	net->op[held].finished = false;
	wanted = net_write(net, 2, 0);
	while (net->flight_count != 0)
		net_deliver(net, 0);
	assert_string_equal(net_cache_state(net, 1, 0), "M_REVOKE");
	assert_false(net->op[wanted].completed);

	old = tp_coherence_guards_expired(net->node[1].engine, NET_REGION_ID, 0, net->now,
		&outbox);
	assert_int_equal(old, net->op[held].slot);
	assert_int_equal(actions[0].type, TP_ACTION_COPY_SLOT);
	assert_int_equal(actions[0].from_slot, old);
	assert_int_not_equal(actions[0].slot, old);
	assert_int_equal(actions[1].msg.type, TP_MSG_DATA_M);
	assert_int_equal(actions[1].slot, actions[0].slot);
	assert_string_equal(net_cache_state(net, 1, 0), "I_WB");
	tp_coherence_usage_get(net->node[1].engine, &usage);
	assert_int_equal(usage.quarantined, 1);
	tp_coherence_slot_return(net->node[1].engine, old);
	tp_coherence_usage_get(net->node[1].engine, &usage);
	assert_int_equal(usage.quarantined, 0);
	assert_int_equal(tp_coherence_guards_expired(net->node[1].engine, NET_REGION_ID, 0,
		net->now, &outbox), TP_SLOT_ABSENT);
	net_destroy(net);
}

static void
test_deadline_answers_void_and_forgets_nothing(void **state)
{
	struct net *net = three(false);
	struct tp_coherence *engine = net->node[1].engine;
	struct tp_coherence_client client = { .cookie = 5, .deadline = 100 };
	struct tp_coherence_usage usage;

	tp_coherence_request(engine, NET_REGION_ID, 0, net->region.generation, TP_WANT_READ, NULL,
		&client, 1, &outbox);
	assert_int_equal(actions[0].type, TP_ACTION_SEND);
	outbox.count = 0;
	tp_coherence_poll(engine, 99, &outbox);
	assert_int_equal(completed(5), 0);
	tp_coherence_poll(engine, 100, &outbox);
	assert_int_equal(completed(5), 1);
	assert_int_equal(actions[0].result.reason, TP_TIMEOUT);
	assert_int_equal(actions[0].result.effect, TP_EFFECT_NOT_DONE);
	/* The home may have granted: the page still waits. */
	assert_string_equal(net_cache_state(net, 1, 0), "IS");
	tp_coherence_usage_get(engine, &usage);
	assert_int_equal(usage.waiters, 0);
	assert_int_equal(usage.requests, 1);
	net_destroy(net);
}

static void
test_atomic_deadline_is_unknown(void **state)
{
	struct net *net = three(false);
	struct tp_coherence *engine = net->node[1].engine;
	struct tp_coherence_client client = { .cookie = 5, .deadline = 100 };
	struct tp_coherence_atomic atomic = { .op = TP_ATOMIC_ADD, .width = 8, .operand = 1 };

	tp_coherence_request(engine, NET_REGION_ID, 0, net->region.generation, TP_WANT_ATOMIC,
		&atomic, &client, 1, &outbox);
	outbox.count = 0;
	tp_coherence_poll(engine, 100, &outbox);
	assert_int_equal(completed(5), 1);
	assert_int_equal(actions[0].result.effect, TP_EFFECT_UNKNOWN);
	net_destroy(net);
}

static void
test_client_gone_is_answered_nothing(void **state)
{
	struct net *net = three(false);
	uint32_t op = net_read(net, 1, 0);

	tp_coherence_client_gone(net->node[1].engine, UINT64_MAX, op);
	net_run(net);
	assert_null(net->failure);
	assert_false(net->op[op].completed);
	assert_string_equal(net_cache_state(net, 1, 0), "S");
	net_destroy(net);
}

static void
test_home_down_is_unreachable_not_done(void **state)
{
	struct net *net = three(false);
	uint32_t waiting = net_write(net, 1, 0);
	uint32_t atomic = net_add(net, 1, 1);
	uint32_t late;

	net_session_down(net, 0, 1);
	assert_int_equal(net->op[waiting].result.reason, TP_UNREACHABLE);
	assert_int_equal(net->op[waiting].result.effect, TP_EFFECT_NOT_DONE);
	assert_int_equal(net->op[atomic].result.effect, TP_EFFECT_UNKNOWN);
	late = net_read(net, 1, 1);
	assert_int_equal(net->op[late].result.reason, TP_UNREACHABLE);
	net_session_up(net, 0, 1);
	net_run(net);
	assert_null(net->failure);
	assert_true(net_is_idle(net));
	net_destroy(net);
}

/* The timer comes due in the new session before PEER_UP was worked off. */
static void
test_probe_before_peer_up_runs_still_asked_again(void **state)
{
	struct net *net = three(false);

	net_write(net, 1, 0);
	net_session_down(net, 0, 1);
	net->now += UINT64_C(1000000000);
	net_session_up(net, 0, 1);
	while (net->flight_count != 0)
		net_deliver(net, 0);
	assert_null(net->failure);
	assert_true(net_is_idle(net));
	net_destroy(net);
}

static void
test_owner_fenced_page_is_lost(void **state)
{
	struct net *net = three(false);
	uint32_t op;

	net_write(net, 2, 0);
	net_run(net);
	net_crash(net, 2);
	op = net_read(net, 1, 0);
	while (net->flight_count != 0)
		net_deliver(net, 0);
	assert_false(net->op[op].completed);
	assert_true(net->fences_asked & 1u << 2);
	net_fence(net, 2);
	net_run(net);
	assert_int_equal(net->op[op].result.reason, TP_NODE_CRASHED);
	assert_string_equal(net_home_state(net, 0), "L");
	op = net_add(net, 0, 0);
	net_run(net);
	assert_int_equal(net->op[op].result.reason, TP_NODE_CRASHED);
	net_destroy(net);
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

/* The owner's data is there, its WB is not: lost is lost for the reader, too. */
static void
test_owner_fenced_reader_gives_up_its_copy(void **state)
{
	struct net *net = three(false);

	net_write(net, 2, 0);
	net_run(net);
	net_read(net, 1, 0);
	deliver_first(net, TP_MSG_GET_S);
	deliver_first(net, TP_MSG_FWD_S);
	deliver_first(net, TP_MSG_DATA_S);
	assert_string_equal(net_cache_state(net, 1, 0), "S");
	net_crash(net, 2);
	net_session_down(net, 0, 1);
	net_fence(net, 2);
	assert_string_equal(net_home_state(net, 0), "L_INV");
	net_session_up(net, 0, 1);
	net_run(net);
	assert_null(net->failure);
	assert_string_equal(net_home_state(net, 0), "L");
	assert_string_equal(net_cache_state(net, 1, 0), "I");
	assert_true(net_is_idle(net));
	net_destroy(net);
}

static void
test_self_fenced_drops_what_is_not_homed_here(void **state)
{
	struct net *net = three(false);
	struct tp_coherence *engine = net->node[1].engine;
	struct tp_coherence_usage usage;

	net_write(net, 1, 0);
	net_read(net, 1, 1);
	net_run(net);
	tp_coherence_self_fenced(engine, net->now, &outbox);
	drain(net);
	assert_string_equal(net_cache_state(net, 1, 0), "DROP");
	tp_coherence_guards_clear(engine, NET_REGION_ID, 0, net->now, &outbox);
	tp_coherence_guards_clear(engine, NET_REGION_ID, 1, net->now, &outbox);
	drain(net);
	assert_string_equal(net_cache_state(net, 1, 0), "I");
	tp_coherence_usage_get(engine, &usage);
	assert_int_equal(usage.cache_slots, 0);
	net_destroy(net);
}

/* What would go out in a session whose answers are dropped is refused at once. */
static void
test_self_fenced_asks_no_other_home(void **state)
{
	struct net *net = three(false);
	struct tp_coherence *engine = net->node[1].engine;
	struct tp_coherence_usage usage;
	uint32_t ops[3];

	tp_coherence_self_fenced(engine, net->now, &outbox);
	drain(net);
	ops[0] = net_read(net, 1, 0);
	ops[1] = net_write(net, 1, 0);
	ops[2] = net_add(net, 1, 0);
	for (int i = 0; i < 3; i++) {
		assert_true(net->op[ops[i]].completed);
		assert_int_equal(net->op[ops[i]].result.reason, TP_PARTITION);
		assert_int_equal(net->op[ops[i]].result.effect, TP_EFFECT_NOT_DONE);
	}
	assert_false(tp_coherence_fetch(engine, NET_REGION_ID, 1, net->region.generation,
		TP_WANT_READ, net->now, &outbox));
	tp_coherence_usage_get(engine, &usage);
	assert_int_equal(usage.requests, 0);
	assert_int_equal(net->flight_count, 0);
	net_session_down(net, 0, 1);
	net_session_up(net, 0, 1);
	ops[0] = net_read(net, 1, 0);
	net_run(net);
	assert_int_equal(net->op[ops[0]].access, TP_ACCESS_READ);
	net_destroy(net);
}

static void
test_home_reset_drops_its_pages(void **state)
{
	struct net *net = three(false);
	struct tp_coherence *engine = net->node[1].engine;

	net_read(net, 1, 0);
	net_run(net);
	tp_coherence_home_reset(engine, 0, net->now, &outbox);
	drain(net);
	tp_coherence_guards_clear(engine, NET_REGION_ID, 0, net->now, &outbox);
	drain(net);
	assert_string_equal(net_cache_state(net, 1, 0), "I");
	net_destroy(net);
}

static void
test_region_removed_leaves_nothing(void **state)
{
	struct net *net = three(false);
	struct tp_coherence_usage usage;

	net_write(net, 0, 0);
	net_read(net, 1, 1);
	net_run(net);
	net_read(net, 2, 0);	/* under way, and busy at home */
	while (net->flight_count > 1)
		net_deliver(net, 0);
	for (uint16_t n = 0; n < 3; n++) {
		struct tp_coherence *engine = net->node[n].engine;
		int turns = 0;

		do {
			outbox.count = 0;
			for (uint32_t page = 0; page < 2; page++)
				tp_coherence_guards_clear(engine, NET_REGION_ID, page, net->now,
					&outbox);
			do
				outbox.count = 0;
			while (tp_coherence_poll(engine, net->now, &outbox) != 0);
			outbox.count = 0;
			assert_true(++turns < 10);
		} while (!tp_coherence_region_remove(engine, NET_REGION_ID, net->now, &outbox));
		outbox.count = 0;
		tp_coherence_usage_get(engine, &usage);
		assert_int_equal(usage.home_slots + usage.cache_slots + usage.requests +
			usage.waiters + usage.busy + usage.deferred, 0);
		assert_int_equal(tp_coherence_region_add(engine, &net->region, UINT32_MAX, false),
			0);
		assert_int_equal(tp_coherence_region_add(engine, &net->region, UINT32_MAX, false),
			-EEXIST);
	}
	net_destroy(net);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_guard_overdue_is_broken_and_the_page_goes_on),
		cmocka_unit_test(test_deadline_answers_void_and_forgets_nothing),
		cmocka_unit_test(test_atomic_deadline_is_unknown),
		cmocka_unit_test(test_client_gone_is_answered_nothing),
		cmocka_unit_test(test_home_down_is_unreachable_not_done),
		cmocka_unit_test(test_probe_before_peer_up_runs_still_asked_again),
		cmocka_unit_test(test_owner_fenced_page_is_lost),
		cmocka_unit_test(test_owner_fenced_reader_gives_up_its_copy),
		cmocka_unit_test(test_self_fenced_drops_what_is_not_homed_here),
		cmocka_unit_test(test_self_fenced_asks_no_other_home),
		cmocka_unit_test(test_home_reset_drops_its_pages),
		cmocka_unit_test(test_region_removed_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
