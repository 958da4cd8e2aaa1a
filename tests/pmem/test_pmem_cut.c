/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Every cut of log, transactions and heap: whatever a crash leaves, recovery makes of it
 * exactly the state before or after the transaction, without a leak. With one call
 * removed, it does not, and the test sees that.
 *
 * The workload: a table of slots, each with a block or none, and an area of bytes.
 * Transactions of two lanes are open at once; each has half of both.
 *	TP_PMEM_CUT_STEPS=5000 TP_PMEM_CUT_SEED=7 test_pmem_cut	runs longer
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cut.h"
#include "tp_pmem_alloc.h"
#include "tp_pmem_tx.h"

#define POOL_BYTES (UINT64_C(8) << 20)
#define SLOTS 24u			/* of each half */
#define AREA_BYTES 20000u		/* of each half: more than a lane's log */
#define STEPS 50u
#define MUTANT_STEPS 100u
#define SAMPLES 3u

struct slot {
	uint64_t block;
	uint64_t bytes;
	uint64_t pattern;
};

struct half {
	struct slot slots[SLOTS];
	uint8_t area[AREA_BYTES];
};

struct table {
	struct half halves[2];
};

struct workload {
	struct cut *cut;
	struct tp_pmem_pool *pool;
	uint64_t root;
	uint64_t random;
	struct tp_pmem_tx *txs[2];
	struct table before;		/* committed */
	struct table after;		/* with what commits now */
	bool has_root;
	struct table deferred[8];	/* since then, in order */
	unsigned int deferred_count;
};

static uint64_t
random_next(struct workload *w)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return w->random;
}

static uint8_t
pattern_byte(uint64_t pattern, uint64_t i)
{
	return (uint8_t)((pattern >> i % 8 * 8) + i / 8);
}

static void
pattern_fill(uint8_t *at, const struct slot *slot)
{
	for (uint64_t i = 0; i < slot->bytes; i++)
		at[i] = pattern_byte(slot->pattern, i);
}

static bool
slot_is_right(const struct tp_pmem_pool *pool, const struct slot *slot)
{
	const uint8_t *at = tp_pmem_ptr(pool, slot->block);

	if (slot->block == 0)
		return true;
	if (tp_pmem_block_bytes(pool, slot->block) < slot->bytes)
		return false;
	for (uint64_t i = 0; i < slot->bytes; i++)
		if (at[i] != pattern_byte(slot->pattern, i))
			return false;
	return true;
}

static bool
table_is_one_of_those(const struct workload *w, const struct table *table)
{
	if (memcmp(table, &w->before, sizeof(*table)) == 0 ||
			memcmp(table, &w->after, sizeof(*table)) == 0)
		return true;
	for (unsigned int i = 0; i < w->deferred_count; i++)
		if (memcmp(table, &w->deferred[i], sizeof(*table)) == 0)
			return true;
	return false;
}

/* Blocks that are allocated and in no slot: leaked; the other way round: lost. */
static bool
blocks_are_those_of(const struct tp_pmem_pool *pool, const struct table *table)
{
	uint64_t blocks = 0, slots = 1;	/* the table itself */
	const struct slot *slot;

	for (uint64_t at = 0; (at = tp_pmem_block_next(pool, at)) != 0;)
		blocks++;
	for (unsigned int i = 0; i < 2 * SLOTS; i++) {
		slot = &table->halves[i / SLOTS].slots[i % SLOTS];
		slots += slot->block != 0;
		if (!slot_is_right(pool, slot))
			return false;
	}
	return blocks == slots + (tp_pmem_root_get(pool, "used") != 0);
}

/* The heap's free memory can be had: what recovery says is free can be allocated. */
static bool
pool_is_usable(struct tp_pmem_pool *pool)
{
	struct tp_pmem_tx *tx;
	uint64_t offset;
	bool ok;

	if (tp_pmem_tx_begin(pool, &tx) < 0)
		return false;
	ok = tp_pmem_tx_alloc(tx, 200, TP_PMEM_ALLOC_ZERO, &offset) == 0 &&
		tp_pmem_tx_root_set(tx, "used", offset) == 0;
	return ok ? tp_pmem_tx_commit(tx, 0) == 0 : (tp_pmem_tx_abort(tx), false);
}

static bool
state_check(void *context, struct tp_pmem_pool *pool)
{
	const struct workload *w = context;
	uint64_t root = tp_pmem_root_get(pool, "table");
	const struct table *table = tp_pmem_ptr(pool, root);

	if (root == 0)
		return !w->has_root && tp_pmem_block_next(pool, 0) == 0 && pool_is_usable(pool);
	if (root != w->root && w->has_root)
		return false;
	return table_is_one_of_those(w, table) && blocks_are_those_of(pool, table) &&
		pool_is_usable(pool);
}

static struct table *
table_of(const struct workload *w)
{
	return tp_pmem_ptr(w->pool, w->root);
}

static void
workload_start(struct workload *w, enum tp_pmem_granularity granularity, uint64_t seed)
{
	const struct tp_pmem_pool_config config = { .lane_count = 3, .lane_bytes = 16384 };
	struct tp_pmem_tx *tx;

	memset(w, 0, sizeof(*w));
	w->random = seed * 0x9e3779b97f4a7c15 + 1;
	w->cut = cut_create(POOL_BYTES, granularity, seed);
	assert_int_equal(tp_pmem_pool_create_on(cut_device(w->cut), &config, &w->pool), 0);
	cut_watch(w->cut, state_check, w, SAMPLES);
	assert_int_equal(tp_pmem_tx_begin(w->pool, &tx), 0);
	assert_int_equal(tp_pmem_tx_alloc(tx, sizeof(struct table), TP_PMEM_ALLOC_ZERO, &w->root), 0);
	assert_int_equal(tp_pmem_tx_root_set(tx, "table", w->root), 0);
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	w->has_root = true;
}

static void
workload_end(struct workload *w)
{
	for (unsigned int i = 0; i < 2; i++)
		if (w->txs[i] != NULL)
			tp_pmem_tx_abort(w->txs[i]);
	w->after = w->before;
	assert_int_equal(tp_pmem_pool_close(w->pool), 0);
	cut_now(w->cut);
}

/* One change in a transaction; false: the pool is full. */
static bool
half_change(struct workload *w, unsigned int h)
{
	static const uint32_t sizes[] = { 40, 64, 700, 1500, 5000, 300000 };
	struct half *half = &table_of(w)->halves[h];
	struct slot *slot = &half->slots[random_next(w) % SLOTS];
	struct tp_pmem_tx *tx = w->txs[h];
	uint64_t at = random_next(w) % AREA_BYTES;
	uint64_t bytes = random_next(w) % 8 == 0 ? AREA_BYTES : 1 + random_next(w) % 200;
	struct slot new = { .pattern = random_next(w) };

	if (random_next(w) % 3 == 0) {
		bytes = bytes < AREA_BYTES - at ? bytes : AREA_BYTES - at;
		assert_int_equal(tp_pmem_tx_add_range(tx, half->area + at, bytes), 0);
		memset(half->area + at, (int)random_next(w), bytes);
		return true;
	}
	if (slot->block != 0)
		assert_int_equal(tp_pmem_tx_free(tx, slot->block), 0);
	assert_int_equal(tp_pmem_tx_add_range(tx, slot, sizeof(*slot)), 0);
	if (slot->block == 0 || random_next(w) % 2 == 0) {
		new.bytes = 1 + random_next(w) % sizes[random_next(w) % 6];
		if (tp_pmem_tx_alloc(tx, new.bytes, 0, &new.block) < 0)
			return false;
		pattern_fill(tp_pmem_ptr(w->pool, new.block), &new);
	} else {
		new.pattern = 0;
	}
	*slot = new;
	return true;
}

/* A level that is undone leaves no trace. */
static void
half_nest(struct workload *w, unsigned int h)
{
	struct half *half = &table_of(w)->halves[h];
	struct half *copy = malloc(sizeof(*copy));

	assert_non_null(copy);
	*copy = *half;
	assert_int_equal(tp_pmem_tx_nest(w->txs[h]), 0);
	half_change(w, h);
	tp_pmem_tx_abort(w->txs[h]);
	assert_memory_equal(copy, half, sizeof(*half));
	free(copy);
}

static void
half_abort(struct workload *w, unsigned int h)
{
	struct half *half = &table_of(w)->halves[h];

	tp_pmem_tx_abort(w->txs[h]);
	w->txs[h] = NULL;
	assert_memory_equal(half, &w->after.halves[h], sizeof(*half));
}

static void
half_commit(struct workload *w, unsigned int h, uint32_t flags)
{
	w->after.halves[h] = table_of(w)->halves[h];
	assert_int_equal(tp_pmem_tx_commit(w->txs[h], flags), 0);
	w->txs[h] = NULL;
	if (flags != 0 && w->deferred_count < 8) {
		w->deferred[w->deferred_count++] = w->after;
		return;
	}
	w->before = w->after;
	w->deferred_count = 0;
}

static void
workload_step(struct workload *w, uint32_t commit_flags)
{
	unsigned int h = random_next(w) % 2;

	if (w->txs[h] == NULL)
		assert_int_equal(tp_pmem_tx_begin(w->pool, &w->txs[h]), 0);
	if (!half_change(w, h)) {
		half_abort(w, h);
		return;
	}
	switch (random_next(w) % 16) {
	case 0:
		half_abort(w, h);
		break;
	case 1:
	case 2:
		half_nest(w, h);
		break;
	case 3:
		assert_int_equal(tp_pmem_pool_checkpoint(w->pool), 0);
		w->before = w->after;
		w->deferred_count = 0;
		break;
	case 4:
	case 5:
	case 6:
		break;
	default:
		half_commit(w, h, w->deferred_count == 8 || random_next(w) % 4 == 0 ? 0 :
			commit_flags);
	}
}

static unsigned int
number_from(const char *name, unsigned int otherwise)
{
	const char *text = getenv(name);

	return text == NULL ? otherwise : (unsigned int)strtoul(text, NULL, 10);
}

static void
run(enum tp_pmem_granularity granularity, uint32_t commit_flags)
{
	struct workload *w = malloc(sizeof(*w));

	assert_non_null(w);
	workload_start(w, granularity, number_from("TP_PMEM_CUT_SEED", 1));
	cut_recovery_every(w->cut, 61);
	for (unsigned int i = 0; i < number_from("TP_PMEM_CUT_STEPS", STEPS); i++)
		workload_step(w, commit_flags);
	workload_end(w);
	print_message("%llu states\n", (unsigned long long)cut_states(w->cut));
	assert_int_equal(cut_failures(w->cut), 0);
	assert_true(cut_states(w->cut) > 1000);
	cut_destroy(w->cut);
	free(w);
}

static void
test_every_cut_lines(void **state)
{
	run(TP_PMEM_GRANULARITY_CACHE_LINE, 0);
}

static void
test_every_cut_bytes(void **state)
{
	run(TP_PMEM_GRANULARITY_BYTE, 0);
}

static void
test_every_cut_pages(void **state)
{
	run(TP_PMEM_GRANULARITY_PAGE, 0);
}

static void
test_every_cut_deferred(void **state)
{
	run(TP_PMEM_GRANULARITY_PAGE, TP_PMEM_COMMIT_DEFER);
}

static void
mutant_is_caught(enum cut_mutant mutant, enum tp_pmem_granularity granularity)
{
	struct workload *w = malloc(sizeof(*w));

	assert_non_null(w);
	workload_start(w, granularity, 3);
	cut_mutant_set(w->cut, mutant);
	for (unsigned int i = 0; i < MUTANT_STEPS && cut_failures(w->cut) == 0; i++)
		workload_step(w, 0);
	workload_end(w);
	assert_int_not_equal(cut_failures(w->cut), 0);
	cut_destroy(w->cut);
	free(w);
}

static void
test_removed_flush_is_caught(void **state)
{
	mutant_is_caught(CUT_NO_FLUSH, TP_PMEM_GRANULARITY_CACHE_LINE);
	mutant_is_caught(CUT_NO_FLUSH, TP_PMEM_GRANULARITY_PAGE);
}

static void
test_removed_fence_is_caught(void **state)
{
	mutant_is_caught(CUT_NO_FENCE, TP_PMEM_GRANULARITY_CACHE_LINE);
	mutant_is_caught(CUT_NO_FENCE, TP_PMEM_GRANULARITY_PAGE);
}

static void
test_cached_store_is_caught(void **state)
{
	mutant_is_caught(CUT_STORE_CACHED, TP_PMEM_GRANULARITY_CACHE_LINE);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_cut_lines),
		cmocka_unit_test(test_every_cut_bytes),
		cmocka_unit_test(test_every_cut_pages),
		cmocka_unit_test(test_every_cut_deferred),
		cmocka_unit_test(test_removed_flush_is_caught),
		cmocka_unit_test(test_removed_fence_is_caught),
		cmocka_unit_test(test_cached_store_is_caught),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
