/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The checkers themselves: histories known to be good and known to be bad, and
 * random ones against a slow check that tries every order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "history.h"
#include "sim_rng.h"
#include "tp_types.h"

#define READ(c, i, r, v) { .client = (c), .invoke = (i), .response = (r), .result = (v), \
	.kind = TP_ATOMIC_LOAD, .has_result = true }
#define WRITE(c, i, r, v) { .client = (c), .invoke = (i), .response = (r), .operand = (v), \
	.kind = TP_ATOMIC_STORE }
#define ADD(c, i, r, v, old) { .client = (c), .invoke = (i), .response = (r), .operand = (v), \
	.result = (old), .kind = TP_ATOMIC_ADD, .has_result = true }
#define CAS(c, i, r, cmp, v, old) { .client = (c), .invoke = (i), .response = (r), \
	.compare = (cmp), .operand = (v), .result = (old), .kind = TP_ATOMIC_CAS, \
	.has_result = true }
#define LOST_WRITE(c, i, v) { .client = (c), .invoke = (i), .response = HISTORY_NEVER, \
	.operand = (v), .kind = TP_ATOMIC_STORE, .outcome = HISTORY_UNKNOWN }
#define LOST_ADD(c, i, v) { .client = (c), .invoke = (i), .response = HISTORY_NEVER, \
	.operand = (v), .kind = TP_ATOMIC_ADD, .outcome = HISTORY_UNKNOWN }
#define LOST_CAS(c, i, cmp, v) { .client = (c), .invoke = (i), .response = HISTORY_NEVER, \
	.compare = (cmp), .operand = (v), .kind = TP_ATOMIC_CAS, .outcome = HISTORY_UNKNOWN }

#define CHECK(ops) history_linearize(ops, sizeof(ops) / sizeof((ops)[0]), 0, NULL, NULL)

static void
test_linearize_sequential_history_passes(void **state)
{
	struct history_op ops[] = { READ(0, 1, 2, 0), WRITE(0, 3, 4, 7), READ(1, 5, 6, 7),
		CAS(1, 7, 8, 7, 9, 7), READ(0, 9, 10, 9) };

	assert_int_equal(CHECK(ops), HISTORY_OK);
}

static void
test_linearize_stale_read_fails(void **state)
{
	struct history_op ops[] = { WRITE(0, 1, 2, 7), READ(1, 3, 4, 0) };

	assert_int_equal(CHECK(ops), HISTORY_VIOLATION);
}

static void
test_linearize_concurrent_read_may_see_either(void **state)
{
	struct history_op old[] = { WRITE(0, 1, 5, 7), READ(1, 2, 3, 0) };
	struct history_op new[] = { WRITE(0, 1, 5, 7), READ(1, 2, 3, 7) };

	assert_int_equal(CHECK(old), HISTORY_OK);
	assert_int_equal(CHECK(new), HISTORY_OK);
}

static void
test_linearize_new_then_old_fails(void **state)
{
	struct history_op ops[] = { WRITE(0, 1, 9, 7), READ(1, 2, 3, 7), READ(2, 4, 5, 0) };

	assert_int_equal(CHECK(ops), HISTORY_VIOLATION);
}

static void
test_linearize_lost_update_fails(void **state)
{
	struct history_op ops[] = { ADD(0, 1, 4, 1, 0), ADD(1, 2, 3, 1, 0) };

	assert_int_equal(CHECK(ops), HISTORY_VIOLATION);
}

static void
test_linearize_double_add_fails(void **state)
{
	struct history_op ops[] = { ADD(0, 1, 2, 5, 0), READ(1, 3, 4, 10) };

	assert_int_equal(CHECK(ops), HISTORY_VIOLATION);
}

static void
test_linearize_value_from_nowhere_fails(void **state)
{
	struct history_op ops[] = { WRITE(0, 1, 4, 7), READ(1, 2, 3, 8) };

	assert_int_equal(CHECK(ops), HISTORY_VIOLATION);
}

static void
test_linearize_unknown_write_may_happen_later_or_never(void **state)
{
	struct history_op never[] = { LOST_WRITE(0, 1, 7), READ(1, 3, 4, 0), READ(1, 5, 6, 0) };
	struct history_op later[] = { LOST_WRITE(0, 1, 7), READ(1, 3, 4, 0), READ(1, 5, 6, 7) };
	struct history_op twice[] = { LOST_WRITE(0, 1, 7), READ(1, 3, 4, 7), WRITE(1, 5, 6, 8),
		READ(1, 7, 8, 7) };
	struct history_op early[] = { READ(1, 1, 2, 7), LOST_WRITE(0, 3, 7) };

	assert_int_equal(CHECK(never), HISTORY_OK);
	assert_int_equal(CHECK(later), HISTORY_OK);
	assert_int_equal(CHECK(twice), HISTORY_VIOLATION);
	assert_int_equal(CHECK(early), HISTORY_VIOLATION);
}

static void
test_linearize_unknown_adds_combine(void **state)
{
	struct history_op sum[] = { LOST_ADD(0, 1, 3), LOST_ADD(1, 2, 5), LOST_ADD(2, 3, 11),
		READ(3, 4, 5, 14) };
	struct history_op twice[] = { LOST_ADD(0, 1, 3), LOST_ADD(1, 2, 5), READ(3, 4, 5, 6) };

	assert_int_equal(CHECK(sum), HISTORY_OK);
	assert_int_equal(CHECK(twice), HISTORY_VIOLATION);
}

static void
test_linearize_unknown_cas_chain_is_followed(void **state)
{
	struct history_op ops[] = { LOST_WRITE(0, 1, 7), LOST_CAS(1, 2, 7, 8), READ(2, 3, 4, 8) };
	struct history_op gap[] = { LOST_CAS(1, 2, 7, 8), READ(2, 3, 4, 8) };

	assert_int_equal(CHECK(ops), HISTORY_OK);
	assert_int_equal(CHECK(gap), HISTORY_VIOLATION);
}

static void
test_linearize_not_done_that_shows_fails(void **state)
{
	struct history_op ops[] = {
		{ .invoke = 1, .response = 2, .operand = 7, .kind = TP_ATOMIC_STORE,
		  .outcome = HISTORY_NOT_DONE },
		READ(1, 3, 4, 7) };

	assert_int_equal(CHECK(ops), HISTORY_VIOLATION);
}

/* Every order of what is left: the definition itself. */
static bool
slow_run(const struct history_op *ops, uint32_t count, uint32_t taken, uint64_t value)
{
	uint64_t horizon = HISTORY_NEVER;
	bool left = false;
	uint32_t i;

	for (i = 0; i < count; i++) {
		if ((taken >> i & 1) == 0 && ops[i].outcome == HISTORY_DONE) {
			left = true;
			horizon = ops[i].response < horizon ? ops[i].response : horizon;
		}
	}
	if (!left)
		return true;
	for (i = 0; i < count; i++) {
		if ((taken >> i & 1) != 0 || ops[i].invoke >= horizon ||
		    ops[i].outcome == HISTORY_NOT_DONE)
			continue;
		if (ops[i].outcome == HISTORY_DONE && ops[i].has_result &&
		    ops[i].result != value)
			continue;
		if (slow_run(ops, count, taken | 1u << i, history_apply(&ops[i], value)))
			return true;
	}
	return false;
}

/* A short history of one word: sometimes a real one, sometimes with a wrong result. */
static uint32_t
make_history(struct sim_rng *rng, struct history_op *ops, bool computed)
{
	uint32_t count = 2 + sim_rng_below(rng, 6), i;
	uint64_t value = 0, stamp = 10;

	for (i = 0; i < count; i++) {
		struct history_op *op = &ops[i];
		uint32_t kind = sim_rng_below(rng, 3);

		/* Taken in this order, then stretched to both sides. */
		stamp += 10;
		*op = (struct history_op){ .client = i, .operand = 100 + i, .has_result = true };
		op->kind = kind == 0 ? TP_ATOMIC_LOAD : kind == 1 ? TP_ATOMIC_STORE :
			computed ? TP_ATOMIC_ADD : TP_ATOMIC_CAS;
		op->has_result = op->kind != TP_ATOMIC_STORE;
		op->compare = sim_rng_chance(rng, 700) ? value : 100 + sim_rng_below(rng, count);
		op->invoke = stamp * 100 - sim_rng_below(rng, 3000) - 1;
		op->response = stamp * 100 + sim_rng_below(rng, 3000);
		op->invoke = op->invoke * 16 + i;
		op->response = op->response * 16 + i;
		op->result = value;
		value = history_apply(op, value);
		if (sim_rng_chance(rng, 200)) {
			op->outcome = HISTORY_UNKNOWN;
			op->response = HISTORY_NEVER;
		}
		if (sim_rng_chance(rng, 150))
			op->result = sim_rng_chance(rng, 500) ? 0 : 100 + sim_rng_below(rng, count);
	}
	return count;
}

static void
test_linearize_random_histories_agree_with_definition(void **state)
{
	struct sim_rng rng = { .state = 42 };
	uint32_t bad = 0, round;

	for (round = 0; round < 20000; round++) {
		struct history_op ops[8];
		uint32_t count = make_history(&rng, ops, round % 2 == 0);
		bool good = slow_run(ops, count, 0, 0);

		assert_int_equal(history_linearize(ops, count, 0, NULL, NULL),
				 good ? HISTORY_OK : HISTORY_VIOLATION);
		bad += !good;
	}
	/* Both kinds must have come up, or this test shows nothing. */
	assert_in_range(bad, 2000, 18000);
}

static struct history_report
check_all(const struct history_op *ops, uint32_t count, uint32_t words)
{
	struct history h;
	struct history_report report;
	uint32_t i;

	history_init(&h);
	for (i = 0; i < count; i++)
		assert_int_equal(history_invoke(&h, &ops[i]), i);
	report = history_check(&h, words);
	history_fini(&h);
	return report;
}

/* Store buffering: both clients miss the other's write, which came before in real time. */
static void
test_check_store_buffering_fails(void **state)
{
	struct history_op ops[] = { WRITE(0, 1, 3, 1), WRITE(1, 2, 4, 1), READ(0, 5, 7, 0),
		READ(1, 6, 8, 0) };
	struct history_report report;

	ops[1].word = 1;
	ops[2].word = 1;
	report = check_all(ops, 4, 2);
	assert_int_equal(report.verdict, HISTORY_VIOLATION);
}

static void
test_check_message_passing_order_fails(void **state)
{
	struct history_op ops[] = { WRITE(0, 1, 2, 1), WRITE(0, 3, 4, 1), READ(1, 5, 6, 1),
		READ(1, 7, 8, 0) };

	ops[1].word = 1;
	ops[2].word = 1;
	assert_int_equal(check_all(ops, 4, 2).verdict, HISTORY_VIOLATION);
	ops[3].result = 1;
	assert_int_equal(check_all(ops, 4, 2).verdict, HISTORY_OK);
}

static void
test_check_total_order_of_many_words_passes(void **state)
{
	struct history h;
	struct sim_rng rng = { .state = 7 };
	uint64_t memory[16] = { 0 }, stamp = 1;
	uint32_t i;

	history_init(&h);
	for (i = 0; i < 5000; i++) {
		uint32_t word = sim_rng_below(&rng, 16);
		struct history_op op = { .client = sim_rng_below(&rng, 6), .word = word,
			.kind = sim_rng_chance(&rng, 500) ? TP_ATOMIC_LOAD : TP_ATOMIC_EXCHANGE,
			.operand = i + 1, .result = memory[word], .has_result = true };

		op.invoke = stamp++;
		op.response = stamp++;
		memory[word] = history_apply(&op, memory[word]);
		history_invoke(&h, &op);
	}
	assert_int_equal(history_check(&h, 16).verdict, HISTORY_OK);
	h.ops[2500].result ^= UINT64_C(1) << 40;
	assert_int_equal(history_check(&h, 16).verdict, HISTORY_VIOLATION);
	assert_int_equal(history_check(&h, 16).word, h.ops[2500].word);
	history_fini(&h);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_linearize_sequential_history_passes),
		cmocka_unit_test(test_linearize_stale_read_fails),
		cmocka_unit_test(test_linearize_concurrent_read_may_see_either),
		cmocka_unit_test(test_linearize_new_then_old_fails),
		cmocka_unit_test(test_linearize_lost_update_fails),
		cmocka_unit_test(test_linearize_double_add_fails),
		cmocka_unit_test(test_linearize_value_from_nowhere_fails),
		cmocka_unit_test(test_linearize_unknown_write_may_happen_later_or_never),
		cmocka_unit_test(test_linearize_unknown_adds_combine),
		cmocka_unit_test(test_linearize_unknown_cas_chain_is_followed),
		cmocka_unit_test(test_linearize_not_done_that_shows_fails),
		cmocka_unit_test(test_linearize_random_histories_agree_with_definition),
		cmocka_unit_test(test_check_store_buffering_fails),
		cmocka_unit_test(test_check_message_passing_order_fails),
		cmocka_unit_test(test_check_total_order_of_many_words_passes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
