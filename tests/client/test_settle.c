/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Atomics that ended unknown, and what can be learnt of them later.
 */
#include "fixture.h"
#include "tp_shard.h"

#define ORIGIN 0x0001000002000003ull
#define LONG_AGO 1000000000000ull	/* ns that a home remembers, more than any test takes */

/* What the node says of each op: the next answer, and how many it gave. */
static struct {
	struct tp_abi_completion atomic;
	struct tp_abi_completion settle;
	bool hold_atomics;
	bool hold_settles;
	uint32_t atomics;
	uint32_t settles;
	struct tp_abi_request last_atomic;
	struct tp_abi_request last_settle;
	uint64_t settle_tsc;		/* when it came */
} node;

static bool
hook(struct fake_node *fake, const struct tp_abi_request *request,
     struct tp_abi_completion *completion)
{
	const struct tp_abi_completion *answer;

	if (request->op == TP_ABI_ATOMIC) {
		node.atomics++;
		node.last_atomic = *request;
		if (node.hold_atomics)
			return false;
		answer = &node.atomic;
	} else if (request->op == TP_ABI_SETTLE) {
		node.settles++;
		node.last_settle = *request;
		node.settle_tsc = fake->tsc;
		if (node.hold_settles)
			return false;
		answer = &node.settle;
	} else {
		return true;
	}
	*completion = *answer;
	completion->cookie = request->cookie;
	/* The fake does nothing of its own with an answer that says something. */
	if (completion->reason == TP_OK && completion->flags == 0 && request->op == TP_ABI_SETTLE)
		completion->flags = TP_COMPLETION_GUARDED;
	return true;
}

static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct tp_client_backend backend;

	memset(&node, 0, sizeof(node));
	f->fake = fake_node_create();
	f->fake->client->origin = ORIGIN;
	f->fake->hook = hook;
	backend = fake_node_backend(f->fake);
	assert_int_equal(tp_client_attach_backend(&backend, &f->client), 0);
	assert_int_equal(tp_thread_register(f->client, &f->thread), 0);
	assert_int_equal(tp_client_region_open(f->client, "test", &f->region), 0);
	*state = f;
	return 0;
}

/* An atomic that nobody answers. */
static void
unknown_make(struct fixture *f, struct tp_op *op)
{
	node.hold_atomics = true;
	tp_submit_atomic(f->thread, f->region, 16, TP_ATOMIC_ADD, 8, 5, 0, op);
	assert_void(tp_op_wait(f->thread, op), TP_TIMEOUT, TP_EFFECT_UNKNOWN, 0);
	node.hold_atomics = false;
}

static void
settle_says_done(uint64_t old)
{
	node.settle = (struct tp_abi_completion){ .flags = TP_COMPLETION_EXECUTED, .value = old };
}

static void
settle_says_not_done(uint64_t span_ns)
{
	node.settle = (struct tp_abi_completion){ .value = span_ns };
}

static void
settle_says_unknown(enum tp_reason reason)
{
	node.settle = (struct tp_abi_completion){ .reason = (uint8_t)reason,
		.effect = TP_EFFECT_UNKNOWN };
}

/* In vain or not: what a program that asks until it knows goes by. */
static void
assert_may_settle(const struct tp_op *op, bool may)
{
	assert_int_equal(op->result.effect, TP_EFFECT_UNKNOWN);
	assert_true(tp_result_may_settle(op->result) == may);
}

/* The same reason, once from who is short of room and once from who has forgotten. */
static void
test_settle_exhausted_tells_passing_from_final(void **state)
{
	struct fixture *f = *state;
	struct tp_op op;

	unknown_make(f, &op);
	assert_may_settle(&op, true);
	settle_says_unknown(TP_EXHAUSTED);
	assert_void(tp_op_settle(f->thread, NULL, &op), TP_EXHAUSTED, TP_EFFECT_UNKNOWN, 0);
	assert_may_settle(&op, true);
	settle_says_not_done(TP_CLIENT_TIMEOUT_NS / 2);
	node.settle.limit = TP_EXHAUSTED;
	assert_void(tp_op_settle(f->thread, NULL, &op), TP_EXHAUSTED, TP_EFFECT_UNKNOWN, 0);
	assert_may_settle(&op, false);
	/* Asked all the same, each answer stands for itself. */
	settle_says_unknown(TP_EXHAUSTED);
	assert_void(tp_op_settle(f->thread, NULL, &op), TP_EXHAUSTED, TP_EFFECT_UNKNOWN, 0);
	assert_may_settle(&op, true);
	settle_says_done(3);
	assert_ok(tp_op_settle(f->thread, NULL, &op), 8);
	assert_false(tp_result_may_settle(op.result));
	assert_int_equal(op.result.flags, 0);
}

/* Of every reason that a node can give. */
static void
test_settle_refused_for_good_is_final(void **state)
{
	struct fixture *f = *state;
	unsigned int reason;
	struct tp_op op;

	unknown_make(f, &op);
	for (reason = TP_OK + 1; reason < 256; reason++) {
		settle_says_unknown((enum tp_reason)reason);
		/* The node's word for the effect counts for nothing. */
		node.settle.effect = (uint8_t)(reason % 4);
		tp_op_settle(f->thread, NULL, &op);
		assert_may_settle(&op, reason != TP_GENERATION && reason != TP_INVALID);
	}
}

static void
test_settle_done_says_old_value(void **state)
{
	struct fixture *f = *state;
	struct tp_op op;

	unknown_make(f, &op);
	settle_says_done(77);
	assert_ok(tp_op_settle(f->thread, NULL, &op), 8);
	assert_int_equal(op.value, 77);
	assert_int_equal(node.last_settle.operand, ORIGIN);
	assert_int_equal(node.last_settle.sequence, node.last_atomic.sequence);
	assert_int_equal(node.last_settle.generation, node.last_atomic.generation);
	assert_int_equal(node.last_settle.page_index, 0);
	/* It is known now: nobody is asked. */
	assert_ok(tp_op_settle(f->thread, NULL, &op), 8);
	assert_int_equal(node.settles, 1);
}

static void
test_settle_not_done_keeps_reason(void **state)
{
	struct fixture *f = *state;
	struct tp_op op;

	unknown_make(f, &op);
	settle_says_not_done(LONG_AGO);
	assert_void(tp_op_settle(f->thread, NULL, &op), TP_TIMEOUT, TP_EFFECT_NOT_DONE, 0);
}

/* A home that would not know any more cannot say that it was not done. */
static void
test_settle_older_than_what_is_kept_stays_unknown(void **state)
{
	struct fixture *f = *state;
	struct tp_op op;

	unknown_make(f, &op);
	settle_says_not_done(TP_CLIENT_TIMEOUT_NS / 2);
	assert_void(tp_op_settle(f->thread, NULL, &op), TP_EXHAUSTED, TP_EFFECT_UNKNOWN, 0);
	/* Asked again, of one that does. */
	settle_says_done(3);
	assert_ok(tp_op_settle(f->thread, NULL, &op), 8);
}

/* It was run in an earlier life of its home, or not: that is another reason than age. */
static void
test_settle_home_was_started_anew_says_so(void **state)
{
	struct fixture *f = *state;
	struct tp_op op;

	unknown_make(f, &op);
	settle_says_not_done(TP_CLIENT_TIMEOUT_NS / 2);
	node.settle.limit = TP_NODE_CRASHED;
	assert_void(tp_op_settle(f->thread, NULL, &op), TP_NODE_CRASHED, TP_EFFECT_UNKNOWN, 0);
	assert_may_settle(&op, false);
	/* Not a reason. */
	node.settle.limit = 200;
	assert_void(tp_op_settle(f->thread, NULL, &op), TP_EXHAUSTED, TP_EFFECT_UNKNOWN, 0);
	settle_says_not_done(UINT64_MAX);
	assert_void(tp_op_settle(f->thread, NULL, &op), TP_TIMEOUT, TP_EFFECT_NOT_DONE, 0);
}

/* Its node may send it as long as it has time: no home is asked before. */
static void
test_settle_of_unanswered_waits_for_its_deadline(void **state)
{
	struct fixture *f = *state;
	uint64_t expires;
	struct tp_op op;

	unknown_make(f, &op);
	assert_int_equal(op.expires_tsc, op.deadline_tsc);
	expires = op.expires_tsc = f->fake->tsc + TP_CLIENT_TIMEOUT_NS / 2;
	settle_says_done(1);
	assert_ok(tp_op_settle(f->thread, NULL, &op), 8);
	assert_true(node.settle_tsc >= expires);
	/* Not to be waited for in the time that there is. */
	unknown_make(f, &op);
	op.expires_tsc = f->fake->tsc + 2 * TP_CLIENT_TIMEOUT_NS;
	assert_void(tp_op_settle(f->thread, NULL, &op), TP_TIMEOUT, TP_EFFECT_UNKNOWN, 0);
	assert_int_equal(node.settles, 1);
}

static void
test_settle_of_answered_asks_at_once(void **state)
{
	struct fixture *f = *state;
	uint64_t began = f->fake->tsc;
	struct tp_op op;

	node.atomic = (struct tp_abi_completion){ .reason = TP_UNREACHABLE,
		.effect = TP_EFFECT_UNKNOWN };
	settle_says_unknown(TP_UNREACHABLE);
	tp_submit_atomic(f->thread, f->region, 16, TP_ATOMIC_ADD, 8, 5, 0, &op);
	tp_op_wait(f->thread, &op);
	assert_int_equal(op.expires_tsc, 0);
	/* The wait itself has asked once. */
	assert_int_equal(node.settles, 1);
	assert_void(tp_op_settle(f->thread, NULL, &op), TP_UNREACHABLE, TP_EFFECT_UNKNOWN, 0);
	assert_int_equal(node.settles, 2);
	assert_in_range(node.settle_tsc, began, began + 1000000);
}

/* The waited form keeps what is needed to ask. */
static void
test_atomic_settle_asks_after_last_unknown(void **state)
{
	struct fixture *f = *state;
	uint64_t old = 3;

	assert_void(tp_atomic_settle(f->thread, f->region, &old), TP_INVALID, TP_EFFECT_NOT_DONE, 0);
	node.hold_atomics = true;
	assert_void(tp_atomic_add64(f->thread, f->region, 16, 1, &old), TP_TIMEOUT,
		    TP_EFFECT_UNKNOWN, 0);
	node.hold_atomics = false;
	settle_says_unknown(TP_UNREACHABLE);
	assert_void(tp_atomic_settle(f->thread, f->region, &old), TP_UNREACHABLE,
		    TP_EFFECT_UNKNOWN, 0);
	assert_int_equal(old, 3);
	/* Others that succeed do not come between. */
	node.atomic = (struct tp_abi_completion){ .flags = TP_COMPLETION_EXECUTED, .value = 7 };
	assert_ok(tp_atomic_add64(f->thread, f->region, 16, 1, NULL), 8);
	settle_says_done(41);
	assert_ok(tp_atomic_settle(f->thread, f->region, &old), 8);
	assert_int_equal(old, 41);
	assert_int_equal(node.last_settle.sequence, 1);
	/* It is known now. */
	assert_ok(tp_atomic_settle(f->thread, f->region, NULL), 8);
	assert_int_equal(node.settles, 2);
}

/* The name is written down; somebody else reads it and asks. */
static void
test_settle_by_name(void **state)
{
	struct fixture *f = *state;
	struct tp_atomic_id id, wrong;
	struct tp_thread *second;
	struct tp_op op, again;

	unknown_make(f, &op);
	assert_true(tp_op_id_get(f->thread, &op, &id));
	assert_int_equal(tp_thread_register(f->client, &second), 0);
	assert_true(tp_op_from_id(second, f->region, &id, &again));
	settle_says_done(9);
	assert_ok(tp_op_settle(second, f->region, &again), 8);
	assert_int_equal(again.value, 9);
	assert_int_equal(node.last_settle.operand, ORIGIN);
	assert_int_equal(node.last_settle.sequence, op.sequence);
	assert_int_equal(node.last_settle.page_index, 0);
	/* What it says is known has no name any more. */
	assert_false(tp_op_id_get(second, &again, &id));

	assert_true(tp_op_id_get(f->thread, &op, &id));
	settle_says_not_done(LONG_AGO);
	assert_true(tp_op_from_id(second, f->region, &id, &again));
	assert_void(tp_op_settle(second, f->region, &again), TP_TIMEOUT, TP_EFFECT_NOT_DONE, 0);
	/* It is a second older for who asks: the clocks may differ by that. */
	settle_says_not_done(TP_CLIENT_TIMEOUT_NS * 2);
	assert_true(tp_op_from_id(second, f->region, &id, &again));
	assert_void(tp_op_settle(second, f->region, &again), TP_EXHAUSTED, TP_EFFECT_UNKNOWN, 0);

	wrong = id;
	wrong.offset = UINT64_C(1) << 40;
	assert_false(tp_op_from_id(second, f->region, &wrong, &again));
	assert_void(tp_op_settle(second, f->region, &again), TP_INVALID, TP_EFFECT_NOT_DONE, 0);
	wrong = id;
	wrong.cause = TP_OK;
	assert_false(tp_op_from_id(second, f->region, &wrong, &again));
	wrong = id;
	wrong.reserved[5] = 1;
	assert_false(tp_op_from_id(second, f->region, &wrong, &again));
	wrong = id;
	wrong.expires_ns = UINT64_MAX;
	assert_false(tp_op_from_id(second, f->region, &wrong, &again));
	wrong = id;
	wrong.width = 16;
	assert_false(tp_op_from_id(second, f->region, &wrong, &again));
	wrong = id;
	wrong.generation++;
	assert_true(tp_op_from_id(second, f->region, &wrong, &again));
	assert_void(tp_op_settle(second, f->region, &again), TP_GENERATION, TP_EFFECT_UNKNOWN, 0);
}

/* Its time is not over where it was begun, by the other machine's clock. */
static void
test_settle_by_name_waits_for_its_deadline(void **state)
{
	struct fixture *f = *state;
	struct tp_atomic_id id;
	struct tp_op op;

	unknown_make(f, &op);
	op.expires_tsc = f->fake->tsc + TP_CLIENT_TIMEOUT_NS;
	assert_true(tp_op_id_get(f->thread, &op, &id));
	assert_true(id.expires_ns > id.begun_ns);
	assert_true(tp_op_from_id(f->thread, f->region, &id, &op));
	assert_true(op.expires_tsc >= f->fake->tsc + TP_CLIENT_TIMEOUT_NS + 1000000000);
}

static void
test_settle_unknown_still_then_known(void **state)
{
	struct fixture *f = *state;
	struct tp_op op;

	unknown_make(f, &op);
	settle_says_unknown(TP_NODE_CRASHED);
	assert_void(tp_op_settle(f->thread, NULL, &op), TP_NODE_CRASHED, TP_EFFECT_UNKNOWN, 0);
	assert_may_settle(&op, true);
	node.hold_settles = true;
	assert_void(tp_op_settle(f->thread, NULL, &op), TP_TIMEOUT, TP_EFFECT_UNKNOWN, 0);
	node.hold_settles = false;
	settle_says_not_done(LONG_AGO);
	/* The reason is that of the atomic, not of the question that failed. */
	assert_void(tp_op_settle(f->thread, NULL, &op), TP_TIMEOUT, TP_EFFECT_NOT_DONE, 0);
	assert_int_equal(node.settles, 3);
}

/* Each atomic has a name of its own, in its thread. */
static void
test_settle_ids_differ(void **state)
{
	struct fixture *f = *state;
	struct tp_thread *second;
	struct tp_op op;
	uint64_t first;

	unknown_make(f, &op);
	first = op.sequence;
	unknown_make(f, &op);
	assert_true(op.sequence != first);
	assert_int_equal(tp_thread_register(f->client, &second), 0);
	node.hold_atomics = true;
	tp_submit_atomic(second, f->region, 16, TP_ATOMIC_ADD, 8, 5, 0, &op);
	assert_void(tp_op_wait(second, &op), TP_TIMEOUT, TP_EFFECT_UNKNOWN, 0);
	assert_int_equal(op.sequence >> TP_ABI_SEQUENCE_BITS, 1);
	assert_true(op.sequence != first);
}

/*
 * What was done here under a broken guard is known to no home, so it has no id
 * any more (test_hit.c breaks guards). Nobody is asked.
 */
static void
test_settle_without_id_stays_unknown(void **state)
{
	struct fixture *f = *state;
	struct tp_op op;

	unknown_make(f, &op);
	op.sequence = 0;
	assert_void(tp_op_settle(f->thread, NULL, &op), TP_TIMEOUT, TP_EFFECT_UNKNOWN, 0);
	assert_int_equal(node.settles, 0);
}

static void
test_settle_other_ops_stay_as_they_are(void **state)
{
	struct fixture *f = *state;
	struct tp_op op;
	uint64_t value;

	tp_submit_read(f->thread, f->region, 8, &value, 8, &op);
	assert_ok(tp_op_wait(f->thread, &op), 8);
	assert_ok(tp_op_settle(f->thread, NULL, &op), 8);
	tp_submit_atomic(f->thread, f->region, 3, TP_ATOMIC_ADD, 8, 1, 0, &op);
	assert_void(tp_op_settle(f->thread, NULL, &op), TP_INVALID, TP_EFFECT_NOT_DONE, 0);
	assert_int_equal(node.settles, 0);
}

static void
test_settle_region_was_reset_stays_unknown(void **state)
{
	struct fixture *f = *state;
	struct tp_client_region *again;
	struct tp_op op;

	unknown_make(f, &op);
	f->fake->region.generation++;
	assert_int_equal(tp_client_region_open(f->client, "test", &again), 0);
	assert_void(tp_op_settle(f->thread, again, &op), TP_GENERATION, TP_EFFECT_UNKNOWN, 0);
	assert_may_settle(&op, false);
	assert_int_equal(node.settles, 0);
	tp_client_region_close(again);
}

/* The program attaches anew, and asks after what it did before. */
static void
test_settle_after_attaching_anew(void **state)
{
	struct fixture *f = *state;
	struct tp_client_backend backend = fake_node_backend(f->fake);
	struct tp_op op;

	unknown_make(f, &op);
	tp_client_detach(f->client);
	f->fake->client->origin = ORIGIN + 1;
	memset(f->fake->client->threads, 0, FAKE_THREADS * sizeof(f->fake->client->threads[0]));
	memset(f->fake->request_tail, 0, sizeof(f->fake->request_tail));
	memset(f->fake->completion_head, 0, sizeof(f->fake->completion_head));
	assert_int_equal(tp_client_attach_backend(&backend, &f->client), 0);
	assert_int_equal(tp_thread_register(f->client, &f->thread), 0);
	assert_int_equal(tp_client_region_open(f->client, "test", &f->region), 0);
	settle_says_done(9);
	assert_ok(tp_op_settle(f->thread, f->region, &op), 8);
	assert_int_equal(node.last_settle.operand, ORIGIN);
}

/* The session to the home was lost: the atomic asks after itself. */
static void
test_atomic_answer_lost_done_is_found_out(void **state)
{
	struct fixture *f = *state;
	uint64_t old = 0;

	node.atomic = (struct tp_abi_completion){ .reason = TP_UNREACHABLE,
		.effect = TP_EFFECT_UNKNOWN };
	settle_says_done(41);
	assert_ok(tp_atomic_add64(f->thread, f->region, 8, 1, &old), 8);
	assert_int_equal(old, 41);
	assert_int_equal(node.atomics, 1);
	assert_int_equal(node.settles, 1);
	assert_int_equal(tp_thread_stats_get(f->thread)->settled, 1);
}

static bool
hook_lost_once(struct fake_node *fake, const struct tp_abi_request *request,
	       struct tp_abi_completion *completion)
{
	if (request->op == TP_ABI_ATOMIC && node.atomics == 1)
		node.atomic = (struct tp_abi_completion){ .flags = TP_COMPLETION_EXECUTED,
			.value = 12 };
	return hook(fake, request, completion);
}

static void
test_atomic_answer_lost_not_done_is_sent_again(void **state)
{
	struct fixture *f = *state;
	struct tp_abi_request first;
	uint64_t old = 0;

	node.atomic = (struct tp_abi_completion){ .reason = TP_UNREACHABLE,
		.effect = TP_EFFECT_UNKNOWN };
	f->fake->hook = hook_lost_once;
	settle_says_not_done(LONG_AGO);
	assert_ok(tp_atomic_add64(f->thread, f->region, 8, 1, &old), 8);
	first = node.last_settle;
	assert_int_equal(old, 12);
	assert_int_equal(node.atomics, 2);
	assert_int_equal(node.settles, 1);
	/* The first can never be run: the second is another one. */
	assert_true(node.last_atomic.sequence != first.sequence);
}

static void
test_atomic_answer_lost_home_dead_is_unknown(void **state)
{
	struct fixture *f = *state;
	struct tp_op op;

	node.atomic = (struct tp_abi_completion){ .reason = TP_UNREACHABLE,
		.effect = TP_EFFECT_UNKNOWN };
	settle_says_unknown(TP_UNREACHABLE);
	tp_submit_atomic(f->thread, f->region, 16, TP_ATOMIC_ADD, 8, 5, 0, &op);
	assert_void(tp_op_wait(f->thread, &op), TP_UNREACHABLE, TP_EFFECT_UNKNOWN, 0);
	/* It can be asked after all the same. */
	settle_says_done(1);
	assert_ok(tp_op_settle(f->thread, NULL, &op), 8);
}

/* No time is left for the answer to its own question: unknown, and at the deadline. */
static void
test_atomic_asks_no_longer_than_its_deadline(void **state)
{
	struct fixture *f = *state;
	uint64_t begun = f->fake->tsc, late;

	node.atomic = (struct tp_abi_completion){ .reason = TP_TIMEOUT,
		.effect = TP_EFFECT_UNKNOWN };
	node.hold_settles = true;
	assert_void(tp_atomic_add64(f->thread, f->region, 8, 1, NULL), TP_TIMEOUT,
		    TP_EFFECT_UNKNOWN, 0);
	late = f->fake->tsc - begun - TP_CLIENT_TIMEOUT_NS;
	assert_true(late < 2 * f->fake->tsc_step);
	assert_int_equal(node.settles, 1);
	assert_true(node.last_settle.deadline_tsc <= begun + TP_CLIENT_TIMEOUT_NS);
}

#define settle_test(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		settle_test(test_settle_exhausted_tells_passing_from_final),
		settle_test(test_settle_refused_for_good_is_final),
		settle_test(test_settle_done_says_old_value),
		settle_test(test_settle_not_done_keeps_reason),
		settle_test(test_settle_older_than_what_is_kept_stays_unknown),
		settle_test(test_settle_home_was_started_anew_says_so),
		settle_test(test_settle_of_unanswered_waits_for_its_deadline),
		settle_test(test_settle_of_answered_asks_at_once),
		settle_test(test_atomic_settle_asks_after_last_unknown),
		settle_test(test_settle_by_name),
		settle_test(test_settle_by_name_waits_for_its_deadline),
		settle_test(test_settle_unknown_still_then_known),
		settle_test(test_settle_ids_differ),
		settle_test(test_settle_without_id_stays_unknown),
		settle_test(test_settle_other_ops_stay_as_they_are),
		settle_test(test_settle_region_was_reset_stays_unknown),
		settle_test(test_settle_after_attaching_anew),
		settle_test(test_atomic_answer_lost_done_is_found_out),
		settle_test(test_atomic_answer_lost_not_done_is_sent_again),
		settle_test(test_atomic_answer_lost_home_dead_is_unknown),
		settle_test(test_atomic_asks_no_longer_than_its_deadline),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
