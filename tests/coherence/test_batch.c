/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Batches: what goes into one message, what comes out of one, and pages that are
 * fetched before anybody waits for them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "net.h"

static struct tp_action
get(uint8_t type, uint32_t page)
{
	return (struct tp_action){
		.type = TP_ACTION_SEND,
		.node = 2,
		.slot = TP_SLOT_ABSENT,
		.msg = {
			.type = type,
			.region_id = rte_cpu_to_le_32(NET_REGION_ID),
			.page_index = rte_cpu_to_le_32(page),
			.txn = rte_cpu_to_le_32(1000 + page),
		},
	};
}

static void
test_batch_pages_come_out_as_they_went_in(void **state)
{
	struct tp_coherence_batch batch = { 0 };
	struct tp_coherence_msg out;
	struct tp_action action;
	uint32_t i;

	for (i = 0; i < TP_BATCH_PAGES; i++) {
		action = get(TP_MSG_GET_S, 7 * i);
		assert_true(tp_coherence_batch_add(&batch, &action));
	}
	action = get(TP_MSG_GET_S, 1);
	assert_false(tp_coherence_batch_add(&batch, &action));
	assert_int_equal(batch.node, 2);
	assert_int_equal(tp_coherence_batch_count(&batch.msg, sizeof(batch.items)),
			 TP_BATCH_PAGES);
	for (i = 0; i < TP_BATCH_PAGES; i++) {
		action = get(TP_MSG_GET_S, 7 * i);
		tp_coherence_batch_get(NULL, &batch.msg, batch.items, i, &out);
		assert_memory_equal(&out, &action.msg, sizeof(out));
	}
}

static void
test_batch_only_what_belongs_together(void **state)
{
	struct tp_coherence_batch batch = { 0 };
	struct tp_action first = get(TP_MSG_GET_M, 0), other = get(TP_MSG_INV, 1);

	assert_false(tp_coherence_batch_add(&batch, &other));
	other = get(TP_MSG_GET_M, 1);
	other.msg.flags = TP_MSG_F_HAVE_COPY;
	assert_false(tp_coherence_batch_add(&batch, &other));
	assert_int_equal(batch.count, 0);
	assert_true(tp_coherence_batch_add(&batch, &first));
	assert_false(tp_coherence_batch_add(&batch, &other));
	other = get(TP_MSG_GET_S, 1);
	assert_false(tp_coherence_batch_add(&batch, &other));
	other = get(TP_MSG_GET_M, 1);
	other.node = 3;
	assert_false(tp_coherence_batch_add(&batch, &other));
	other = get(TP_MSG_GET_M, 1);
	other.worker = 1;
	assert_false(tp_coherence_batch_add(&batch, &other));
	other = get(TP_MSG_GET_M, 1);
	other.msg.region_id = rte_cpu_to_le_32(NET_REGION_ID + 1);
	assert_false(tp_coherence_batch_add(&batch, &other));
	other = get(TP_MSG_GET_M, 1);
	other.msg.generation = 1;
	assert_false(tp_coherence_batch_add(&batch, &other));
	assert_int_equal(batch.count, 1);
}

static void
test_batch_malformed_is_none(void **state)
{
	struct tp_action action = get(TP_MSG_GET_S, 0);

	assert_int_equal(tp_coherence_batch_count(&action.msg, 8), 2);
	assert_int_equal(tp_coherence_batch_count(&action.msg, 7), 0);
	assert_int_equal(tp_coherence_batch_count(&action.msg, 8 * TP_BATCH_PAGES), 0);
	assert_int_equal(tp_coherence_batch_count(&action.msg, 4096), 0);
	action.msg.flags = TP_MSG_F_RETRY;
	assert_int_equal(tp_coherence_batch_count(&action.msg, 8), 0);
	action = get(TP_MSG_PUT_M, 0);
	assert_int_equal(tp_coherence_batch_count(&action.msg, 8), 0);
}

static bool
fetch(struct net *net, uint16_t node, uint32_t page, enum tp_coherence_want want)
{
	struct tp_action actions[TP_ACTIONS_PER_EVENT];
	struct tp_outbox outbox = { .actions = actions, .capacity = TP_ACTIONS_PER_EVENT };
	bool asked = tp_coherence_fetch(net->node[node].engine, NET_REGION_ID, page,
		net->region.generation, want, net->now, &outbox);

	assert_int_equal(outbox.count, asked);
	return asked;
}

static void
test_fetch_asks_only_for_what_is_absent(void **state)
{
	struct net_config config = { .nodes = 2, .pages = 8, .home_count = 1 };
	struct net *net = net_create(&config);
	struct tp_coherence_usage usage;

	net_read(net, 1, 1);
	net_run(net);
	/* Here already, asked for already, at home, beyond the end, no fetch at all. */
	assert_false(fetch(net, 1, 1, TP_WANT_READ));
	assert_true(fetch(net, 1, 2, TP_WANT_READ));
	assert_false(fetch(net, 1, 2, TP_WANT_READ));
	assert_false(fetch(net, 0, 3, TP_WANT_WRITE));
	assert_false(fetch(net, 1, 8, TP_WANT_READ));
	assert_false(fetch(net, 1, 3, TP_WANT_FLUSH));
	assert_int_equal(tp_coherence_stats_get(net->node[1].engine)->fetches, 1);
	tp_coherence_usage_get(net->node[1].engine, &usage);
	assert_int_equal(usage.requests, 1);
	assert_int_equal(usage.waiters, 0);
	net_destroy(net);
}

/* Slots that are left go to those who wait. */
static void
test_fetch_leaves_slots(void **state)
{
	struct net_config config = { .nodes = 2, .pages = 16, .home_count = 1,
		.cache_slots = 4 };
	struct net *net = net_create(&config);
	uint32_t page, asked = 0;

	for (page = 0; page < 16; page++)
		asked += fetch(net, 1, page, TP_WANT_READ);
	assert_in_range(asked, 2, 4);
	net_destroy(net);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_batch_pages_come_out_as_they_went_in),
		cmocka_unit_test(test_batch_only_what_belongs_together),
		cmocka_unit_test(test_batch_malformed_is_none),
		cmocka_unit_test(test_fetch_asks_only_for_what_is_absent),
		cmocka_unit_test(test_fetch_leaves_slots),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
