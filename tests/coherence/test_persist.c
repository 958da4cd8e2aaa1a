/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Durable regions: what was persisted is there when its home comes back, and what is
 * read then was there before.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "persist_random.h"

#define HOME PERSIST_HOME

static struct net *
three(void)
{
	struct net_config config = { .nodes = 3, .pages = 2, .home_count = 1, .durable = true };

	return net_create(&config);
}

static void
settle(struct net *net)
{
	net_run(net);
	assert_null(net->failure);
	assert_true(net_is_idle(net));
	assert_int_equal(net_stat_errors(net), 0);
}

static uint8_t
outcome(struct net *net, uint32_t op)
{
	settle(net);
	assert_true(net->op[op].completed);
	return net->op[op].result.reason;
}

static uint32_t
persist(struct net *net, uint16_t node, uint32_t page)
{
	return net_want(net, node, page, TP_WANT_PERSIST);
}

static void
restart(struct net *net)
{
	net_crash(net, HOME);
	net_fence(net, HOME);
	net_restart(net, HOME);
	net_run(net);
	assert_null(net->failure);
}

static void
test_persist_of_other_nodes_write_lasts(void **state)
{
	struct net *net = three();
	uint32_t op;

	assert_int_equal(outcome(net, net_write(net, 1, 0)), TP_OK);
	assert_int_equal(outcome(net, persist(net, 2, 0)), TP_OK);
	assert_int_equal(net->delivered[TP_MSG_FWD_S], 1);
	assert_int_equal(net->delivered[TP_MSG_DATA_S], 0);
	assert_string_equal(net_home_state(net, 0), "S");
	assert_string_equal(net_cache_state(net, 1, 0), "S");
	restart(net);
	op = net_read(net, 2, 0);
	assert_int_equal(outcome(net, op), TP_OK);
	assert_int_equal(net->lasts[0], 2);
	net_destroy(net);
}

static void
test_persist_of_homes_own_write_lasts(void **state)
{
	struct net *net = three();

	assert_int_equal(outcome(net, net_write(net, HOME, 0)), TP_OK);
	assert_int_equal(outcome(net, persist(net, HOME, 0)), TP_OK);
	assert_string_equal(net_cache_state(net, HOME, 0), "S");
	assert_int_equal(outcome(net, net_write(net, HOME, 0)), TP_OK);
	assert_int_equal(outcome(net, persist(net, 1, 0)), TP_OK);
	assert_int_equal(net->lasts[0], 3);
	restart(net);
	assert_int_equal(outcome(net, net_write(net, HOME, 0)), TP_OK);
	net_destroy(net);
}

static void
test_persist_of_atomic_lasts(void **state)
{
	struct net *net = three();
	uint32_t op;

	assert_int_equal(outcome(net, net_add(net, 1, 0)), TP_OK);
	assert_int_equal(outcome(net, net_add(net, 2, 0)), TP_OK);
	assert_int_equal(outcome(net, persist(net, 1, 0)), TP_OK);
	restart(net);
	op = net_add(net, 1, 0);
	assert_int_equal(outcome(net, op), TP_OK);
	assert_int_equal(net->op[op].old, 2);
	net_destroy(net);
}

static void
test_persist_of_untouched_page_keeps_it_zero(void **state)
{
	struct net *net = three();
	uint32_t op;

	assert_int_equal(outcome(net, persist(net, 1, 1)), TP_OK);
	restart(net);
	op = net_read(net, 1, 1);
	assert_int_equal(outcome(net, op), TP_OK);
	assert_int_equal(net->op[op].value, 0);
	net_destroy(net);
}

/* It is told only when what was handed over before lasts, though nothing is new. */
static void
test_persist_of_clean_page_waits_for_the_one_before(void **state)
{
	struct net *net = three();
	uint32_t first, second;

	assert_int_equal(outcome(net, net_write(net, HOME, 0)), TP_OK);
	first = persist(net, HOME, 0);
	second = persist(net, HOME, 0);
	while (net->node[HOME].staged_count < 2 && net->flight_count != 0)
		net_deliver(net, 0);
	assert_int_equal(net->node[HOME].staged_count, 2);
	assert_true(net->node[HOME].staged[0].contents);
	assert_false(net->node[HOME].staged[1].contents);
	assert_false(net->op[first].completed || net->op[second].completed);
	assert_int_equal(outcome(net, first), TP_OK);
	assert_int_equal(outcome(net, second), TP_OK);
	net_destroy(net);
}

static void
test_persist_without_room_is_asked_again(void **state)
{
	struct net_config config = { .nodes = 2, .pages = 4, .home_count = 1, .durable = true,
				     .persist_count = 1 };
	struct net *net = net_create(&config);
	uint32_t op[4];

	for (uint32_t page = 0; page < 4; page++)
		assert_int_equal(outcome(net, net_write(net, 1, page)), TP_OK);
	for (uint32_t page = 0; page < 4; page++)
		op[page] = persist(net, 1, page);
	while (net->flight_count != 0)
		net_deliver(net, 0);
	assert_int_equal(net->node[HOME].staged_count, 1);
	for (uint32_t page = 0; page < 4; page++)
		assert_int_equal(outcome(net, op[page]), TP_OK);
	net_destroy(net);
}

static void
test_persist_of_damaged_page_is_void(void **state)
{
	struct net *net = three();

	assert_int_equal(outcome(net, net_write(net, 1, 0)), TP_OK);
	assert_int_equal(outcome(net, persist(net, 1, 0)), TP_OK);
	restart(net);
	net->node[HOME].pool_has[0] = TP_PERSISTED_DAMAGED;
	assert_int_equal(outcome(net, net_read(net, 1, 0)), TP_CORRUPTION);
	assert_int_equal(outcome(net, net_write(net, 2, 0)), TP_CORRUPTION);
	assert_int_equal(outcome(net, net_add(net, 2, 0)), TP_CORRUPTION);
	assert_int_equal(outcome(net, persist(net, 2, 0)), TP_CORRUPTION);
	assert_int_equal(outcome(net, net_read(net, 1, 1)), TP_OK);
	net_destroy(net);
}

static void
test_persist_of_region_that_is_not_durable_is_invalid(void **state)
{
	struct net_config config = { .nodes = 2, .pages = 2, .home_count = 1 };
	struct net *net = net_create(&config);

	assert_int_equal(outcome(net, persist(net, 1, 0)), TP_INVALID);
	assert_int_equal(outcome(net, persist(net, HOME, 0)), TP_INVALID);
	net_destroy(net);
}

static void
test_persist_of_lost_page_is_void(void **state)
{
	struct net *net = three();
	uint32_t op;

	assert_int_equal(outcome(net, net_write(net, 1, 0)), TP_OK);
	op = persist(net, 2, 0);
	net_crash(net, 1);
	net_fence(net, 1);
	net_run(net);
	assert_null(net->failure);
	assert_int_equal(net->op[op].result.reason, TP_NODE_CRASHED);
	/* What was persisted is no older copy in its place: not before the home says so. */
	op = net_read(net, 2, 0);
	net_run(net);
	assert_int_equal(net->op[op].result.reason, TP_NODE_CRASHED);
	net_destroy(net);
}

static void
test_persist_ends_with_the_session(void **state)
{
	struct net *net = three();
	uint32_t op;

	assert_int_equal(outcome(net, net_write(net, 1, 0)), TP_OK);
	op = persist(net, 1, 0);
	net_session_down(net, HOME, 1);
	assert_true(net->op[op].completed);
	assert_int_equal(net->op[op].result.reason, TP_UNREACHABLE);
	assert_int_equal(net->op[op].result.effect, TP_EFFECT_NOT_DONE);
	net_session_up(net, HOME, 1);
	assert_int_equal(outcome(net, persist(net, 1, 0)), TP_OK);
	net_destroy(net);
}

static void
test_persist_all_takes_what_was_written_back(void **state)
{
	struct net *net = three();
	assert_int_equal(outcome(net, net_write(net, 1, 0)), TP_OK);
	assert_int_equal(outcome(net, net_want(net, 1, 0, TP_WANT_FLUSH)), TP_OK);
	assert_int_equal(outcome(net, net_write(net, 1, 1)), TP_OK);
	tp_coherence_persist_all(net->node[HOME].engine);
	settle(net);
	assert_int_equal(net->node[HOME].pool_has[0], TP_PERSISTED_PAGE);
	/* That one may be written to by the other node. */
	assert_int_equal(net->node[HOME].pool_has[1], TP_PERSISTED_NEVER);
	net_destroy(net);
}

static void
test_persist_all_of_leaving_node_takes_its_own_writes(void **state)
{
	struct net *net = three();

	assert_int_equal(outcome(net, net_write(net, HOME, 0)), TP_OK);
	tp_coherence_drain(net->node[HOME].engine);
	tp_coherence_persist_all(net->node[HOME].engine);
	assert_false(tp_coherence_is_drained(net->node[HOME].engine));
	net_poll_all(net);
	while (net_persist(net, HOME))
		;
	while (!tp_coherence_is_drained(net->node[HOME].engine) && net_advance(net, 1000000))
		;
	assert_true(tp_coherence_is_drained(net->node[HOME].engine));
	net_crash(net, HOME);
	net->lasts[0] = net->state_count[0];
	net_fence(net, HOME);
	net_restart(net, HOME);
	assert_null(net->failure);
	net_destroy(net);
}

/* One page is changed again before each sweep, of which one has room for one page. */
static void
hot_page_run(uint32_t hot)
{
	struct net_config config = { .nodes = 2, .pages = 4, .home_count = 1, .durable = true,
				     .persist_count = 1 };
	struct net *net = net_create(&config);

	for (uint32_t page = 0; page < 4; page++)
		assert_int_equal(outcome(net, net_add(net, 1, page)), TP_OK);
	for (int i = 0; i < 8; i++) {
		net_add(net, 1, hot);
		while (net->flight_count != 0)
			net_deliver(net, 0);
		tp_coherence_persist_all(net->node[HOME].engine);
		net_poll_all(net);
		net_persist(net, HOME);
	}
	for (uint32_t page = 0; page < 4; page++)
		assert_int_equal(net->node[HOME].pool_has[page], TP_PERSISTED_PAGE);
	net_destroy(net);
}

/* However often it is asked for, a sweep comes to its end. */
static void
test_persist_all_asked_again_gets_to_all_pages(void **state)
{
	hot_page_run(0);
	hot_page_run(3);
}

static void
test_persist_random_crashes_lose_nothing_persisted(void **state)
{
	for (uint64_t seed = 1; seed <= 2000; seed++) {
		const char *failure = persist_random(seed, 0);

		if (failure != NULL)
			fail_msg("%s", failure);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_persist_of_other_nodes_write_lasts),
		cmocka_unit_test(test_persist_of_homes_own_write_lasts),
		cmocka_unit_test(test_persist_of_atomic_lasts),
		cmocka_unit_test(test_persist_of_untouched_page_keeps_it_zero),
		cmocka_unit_test(test_persist_of_clean_page_waits_for_the_one_before),
		cmocka_unit_test(test_persist_without_room_is_asked_again),
		cmocka_unit_test(test_persist_of_damaged_page_is_void),
		cmocka_unit_test(test_persist_of_region_that_is_not_durable_is_invalid),
		cmocka_unit_test(test_persist_of_lost_page_is_void),
		cmocka_unit_test(test_persist_ends_with_the_session),
		cmocka_unit_test(test_persist_all_takes_what_was_written_back),
		cmocka_unit_test(test_persist_all_of_leaving_node_takes_its_own_writes),
		cmocka_unit_test(test_persist_all_asked_again_gets_to_all_pages),
		cmocka_unit_test(test_persist_random_crashes_lose_nothing_persisted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
