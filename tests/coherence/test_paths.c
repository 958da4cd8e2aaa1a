/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Every plain path of the protocol, messages in order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "net.h"

static struct net *
three(void)
{
	struct net_config config = { .nodes = 3, .pages = 2, .home_count = 1 };

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

static void
done(struct net *net, uint32_t op)
{
	settle(net);
	assert_true(net->op[op].completed);
	assert_int_equal(net->op[op].result.reason, TP_OK);
}

static void
test_read_untouched_zero(void **state)
{
	struct net *net = three();
	uint32_t op = net_read(net, 1, 0);

	done(net, op);
	assert_int_equal(net->op[op].value, 0);
	assert_string_equal(net_cache_state(net, 1, 0), "S");
	assert_string_equal(net_home_state(net, 0), "S");
	assert_int_equal(net->delivered[TP_MSG_GET_S], 1);
	assert_int_equal(net->delivered[TP_MSG_DATA_S], 1);
	net_destroy(net);
}

static void
test_write_then_read_forwards(void **state)
{
	struct net *net = three();
	uint32_t op = net_write(net, 1, 0);

	done(net, op);
	assert_string_equal(net_cache_state(net, 1, 0), "M");
	done(net, net_read(net, 2, 0));
	assert_int_equal(net->delivered[TP_MSG_FWD_S], 1);
	assert_int_equal(net->delivered[TP_MSG_UNBLOCK], 1);
	assert_string_equal(net_cache_state(net, 1, 0), "S");
	assert_string_equal(net_cache_state(net, 2, 0), "S");
	assert_string_equal(net_home_state(net, 0), "S");
	net_destroy(net);
}

static void
test_write_then_write_forwards(void **state)
{
	struct net *net = three();

	done(net, net_write(net, 1, 0));
	done(net, net_write(net, 2, 0));
	assert_int_equal(net->delivered[TP_MSG_FWD_M], 1);
	assert_string_equal(net_cache_state(net, 1, 0), "I");
	assert_string_equal(net_cache_state(net, 2, 0), "M");
	net_destroy(net);
}

static void
test_upgrade_invalidates_sharers(void **state)
{
	struct net *net = three();

	done(net, net_read(net, 0, 0));
	done(net, net_read(net, 1, 0));
	done(net, net_read(net, 2, 0));
	done(net, net_write(net, 1, 0));
	assert_int_equal(net->delivered[TP_MSG_GRANT_M], 1);
	assert_int_equal(net->delivered[TP_MSG_INV_ACK], 2);
	assert_string_equal(net_cache_state(net, 0, 0), "I");
	assert_string_equal(net_cache_state(net, 2, 0), "I");
	net_destroy(net);
}

static void
test_home_itself_needs_no_payload(void **state)
{
	struct net *net = three();
	uint64_t out;

	done(net, net_write(net, 0, 0));
	done(net, net_read(net, 0, 0));
	done(net, net_add(net, 0, 0));
	out = tp_coherence_stats_get(net->node[0].engine)->pages_out;
	assert_int_equal(out, 0);
	done(net, net_read(net, 1, 0));
	done(net, net_write(net, 1, 0));
	done(net, net_read(net, 0, 0));
	done(net, net_write(net, 1, 0));
	done(net, net_write(net, 0, 0));
	assert_string_equal(net_cache_state(net, 0, 0), "M");
	net_destroy(net);
}

static void
test_atomic_recalls_and_invalidates(void **state)
{
	struct net *net = three();
	uint32_t op;

	done(net, net_add(net, 2, 0));
	done(net, net_read(net, 1, 0));
	done(net, net_read(net, 0, 0));
	done(net, net_add(net, 2, 0));
	assert_string_equal(net_home_state(net, 0), "U");
	done(net, net_write(net, 1, 0));
	op = net_add(net, 2, 0);
	done(net, op);
	assert_int_equal(net->delivered[TP_MSG_RECALL], 1);
	assert_true(net->op[op].executed);
	op = net_write(net, 1, 0);
	done(net, op);
	op = net_add(net, 1, 0);
	done(net, op);
	assert_false(net->op[op].executed);
	assert_int_equal(net->op[op].access, TP_ACCESS_WRITE);
	net_destroy(net);
}

static void
test_flush_gives_the_copy_back(void **state)
{
	struct net *net = three();

	done(net, net_write(net, 1, 0));
	done(net, net_want(net, 1, 0, TP_WANT_FLUSH));
	assert_string_equal(net_cache_state(net, 1, 0), "I");
	assert_string_equal(net_home_state(net, 0), "U");
	assert_int_equal(net->delivered[TP_MSG_PUT_M], 1);
	/* Not because node 1 leaves. */
	assert_int_equal(tp_coherence_stats_get(net->node[0].engine)->returns, 0);
	done(net, net_read(net, 2, 0));
	done(net, net_want(net, 2, 0, TP_WANT_FLUSH));
	assert_string_equal(net_cache_state(net, 2, 0), "S");
	done(net, net_want(net, 2, 0, TP_WANT_INVALIDATE));
	assert_string_equal(net_cache_state(net, 2, 0), "I");
	assert_int_equal(net->delivered[TP_MSG_PUT_S], 1);
	net_destroy(net);
}

static void
test_eviction_makes_room(void **state)
{
	struct net_config config = { .nodes = 2, .pages = 12, .home_count = 1, .cache_slots = 4 };
	struct net *net = net_create(&config);
	struct tp_coherence_usage usage;

	for (uint32_t round = 0; round < 3; round++)
		for (uint32_t page = 0; page < 12; page++)
			done(net, page % 2 == 0 ? net_write(net, 1, page) :
				net_read(net, 1, page));
	for (uint32_t page = 0; page < 12; page++)
		net_write(net, 1, page);
	settle(net);
	assert_true(net->delivered[TP_MSG_PUT_M] > 0 && net->delivered[TP_MSG_PUT_S] > 0);
	tp_coherence_usage_get(net->node[1].engine, &usage);
	assert_true(usage.cache_slots <= 4);
	for (uint32_t page = 0; page < 12; page++)
		done(net, net_read(net, 0, page));
	net_destroy(net);
}

/* All that is modified goes home; what others gave to read may stay. */
static void
test_drain_gives_everything_back(void **state)
{
	struct net_config config = { .nodes = 3, .pages = 12, .home_count = 1, .cache_slots = 16 };
	struct net *net = net_create(&config);
	uint64_t next;
	uint32_t page;

	for (page = 0; page < 12; page++)
		done(net, page % 4 == 0 ? net_read(net, 1, page) : net_write(net, 1, page));
	tp_coherence_drain(net->node[1].engine);
	assert_false(tp_coherence_is_drained(net->node[1].engine));
	assert_true(tp_coherence_next_timer(net->node[1].engine) <= net->now);
	net_poll_all(net);
	/* They are all on their way, none is there; and it says when to look again. */
	assert_false(tp_coherence_is_drained(net->node[1].engine));
	next = tp_coherence_next_timer(net->node[1].engine);
	assert_in_range(next, net->now + 1, net->now + 100000);
	settle(net);
	net->now = net->now > next ? net->now : next;
	net_poll_all(net);
	assert_true(tp_coherence_is_drained(net->node[1].engine));
	assert_true(tp_coherence_next_timer(net->node[1].engine) == UINT64_MAX);
	assert_int_equal(net->delivered[TP_MSG_PUT_M], 9);
	assert_int_equal(tp_coherence_stats_get(net->node[0].engine)->returns, 9);
	for (page = 0; page < 12; page++)
		assert_string_equal(net_home_state(net, page), page % 4 == 0 ? "S" : "U");
	for (page = 0; page < 12; page++)
		done(net, net_read(net, 2, page));
	net_destroy(net);
}

/* It leaves before all is there: what its home did not get is lost, not old. */
static void
test_drain_cut_short_loses_what_is_under_way(void **state)
{
	struct net_config config = { .nodes = 3, .pages = 4, .home_count = 1 };
	struct net *net = net_create(&config);
	uint32_t page, lost = 0, op;

	for (page = 0; page < 4; page++)
		done(net, net_write(net, 1, page));
	tp_coherence_drain(net->node[1].engine);
	net_poll_all(net);
	net_deliver(net, 0);
	net_crash(net, 1);
	net_fence(net, 1);
	net_run(net);
	for (page = 0; page < 4; page++) {
		op = net_read(net, 2, page);
		net_run(net);
		lost += net->op[op].result.reason == TP_NODE_CRASHED;
		assert_true(net->op[op].result.reason == TP_NODE_CRASHED ||
			net->op[op].result.reason == TP_OK);
	}
	assert_int_equal(lost, 3);
	net_destroy(net);
}

/* A home that is down takes nothing, and is not waited for. */
static void
test_drain_does_not_wait_for_home_that_is_down(void **state)
{
	struct net_config config = { .nodes = 2, .pages = 4, .home_count = 1 };
	struct net *net = net_create(&config);

	done(net, net_write(net, 1, 0));
	net_session_down(net, 0, 1);
	tp_coherence_drain(net->node[1].engine);
	net_poll_all(net);
	net_poll_all(net);
	assert_true(tp_coherence_is_drained(net->node[1].engine));
	net_destroy(net);
}

static void
test_home_memory_exhausted_is_refused(void **state)
{
	struct net_config config = { .nodes = 2, .pages = 4, .home_count = 1, .home_slots = 2 };
	struct net *net = net_create(&config);
	uint32_t op;

	done(net, net_write(net, 1, 0));
	done(net, net_write(net, 1, 1));
	op = net_write(net, 1, 2);
	settle(net);
	assert_int_equal(net->op[op].result.reason, TP_EXHAUSTED);
	assert_int_equal(net->op[op].result.effect, TP_EFFECT_NOT_DONE);
	op = net_add(net, 1, 3);
	settle(net);
	assert_int_equal(net->op[op].result.reason, TP_EXHAUSTED);
	done(net, net_read(net, 1, 3));
	op = net_read(net, 0, 3);
	settle(net);
	assert_int_equal(net->op[op].result.reason, TP_EXHAUSTED);
	net_destroy(net);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read_untouched_zero),
		cmocka_unit_test(test_write_then_read_forwards),
		cmocka_unit_test(test_write_then_write_forwards),
		cmocka_unit_test(test_upgrade_invalidates_sharers),
		cmocka_unit_test(test_home_itself_needs_no_payload),
		cmocka_unit_test(test_atomic_recalls_and_invalidates),
		cmocka_unit_test(test_flush_gives_the_copy_back),
		cmocka_unit_test(test_eviction_makes_room),
		cmocka_unit_test(test_drain_gives_everything_back),
		cmocka_unit_test(test_drain_cut_short_loses_what_is_under_way),
		cmocka_unit_test(test_drain_does_not_wait_for_home_that_is_down),
		cmocka_unit_test(test_home_memory_exhausted_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
