/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Every cut of the B+tree: whatever a crash leaves, the tree is sound and holds
 * just what it did before or after the transaction, and no block leaks. Splits and
 * merges at three levels, values in and out of nodes, several changes in a
 * transaction.
 *	TP_PMEM_CUT_STEPS=2000 TP_PMEM_CUT_SEED=7 test_btree_cut	runs longer
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

#include "btree_model.h"
#include "cut.h"
#include "tp_pmem_alloc.h"
#include "tp_pmem_btree.h"

#define POOL_BYTES (UINT64_C(8) << 20)
#define KEYS 60u
#define STEPS 150u
#define SAMPLES 2u
#define BULK_KEYS 3000u
#define BULK_VALUE 500u

struct workload {
	struct cut *cut;
	struct tp_pmem_pool *pool;
	struct tp_pmem_btree *tree;
	uint64_t offset;
	uint64_t random;
	struct btree_model before;	/* committed */
	struct btree_model after;	/* with what commits now */
};

static uint64_t
setting(const char *name, uint64_t otherwise)
{
	const char *value = getenv(name);

	return value == NULL ? otherwise : strtoull(value, NULL, 10);
}

static uint32_t
random_below(struct workload *w, uint32_t end)
{
	return (uint32_t)(btree_model_random(&w->random) >> 33) % end;
}

/* Does a cursor see just the pairs of a model? */
static bool
tree_is(struct tp_pmem_btree *tree, const struct btree_model *model)
{
	struct tp_pmem_btree_cursor *cursor;
	enum tp_pmem_btree_seek how = TP_PMEM_BTREE_FIRST;
	const void *key, *value;
	uint32_t key_bytes, value_bytes;
	size_t i = 0;

	if (tp_pmem_btree_count(tree) != model->count ||
			tp_pmem_btree_cursor_open(tree, &cursor) < 0)
		return false;
	while (tp_pmem_btree_cursor_move(cursor, how, NULL, 0, &key, &key_bytes, &value,
			&value_bytes) == 0) {
		const struct btree_model_pair *pair = &model->pairs[i];

		if (i == model->count || pair->key_bytes != key_bytes ||
				pair->value_bytes != value_bytes ||
				memcmp(pair->key, key, key_bytes) != 0 ||
				memcmp(pair->value, value, value_bytes) != 0)
			break;
		i++;
		how = TP_PMEM_BTREE_NEXT;
	}
	tp_pmem_btree_cursor_close(cursor);
	return i == model->count;
}

static uint64_t
blocks_count(const struct tp_pmem_pool *pool)
{
	uint64_t count = 0;

	for (uint64_t at = 0; (at = tp_pmem_block_next(pool, at)) != 0;)
		count++;
	return count;
}

/* Freeing the tree leaves nothing: so no block leaked, and none was used twice. */
static bool
tree_frees_all(struct tp_pmem_pool *pool, uint64_t offset)
{
	struct tp_pmem_tx *tx;

	if (tp_pmem_tx_begin(pool, &tx) < 0)
		return false;
	if (tp_pmem_btree_destroy(tx, offset) < 0 || tp_pmem_tx_root_set(tx, "tree", 0) < 0) {
		tp_pmem_tx_abort(tx);
		return false;
	}
	return tp_pmem_tx_commit(tx, 0) == 0 && blocks_count(pool) == 0;
}

static bool
state_check(void *context, struct tp_pmem_pool *pool)
{
	const struct workload *w = context;
	struct tp_pmem_btree *tree = NULL;
	uint64_t offset = tp_pmem_root_get(pool, "tree");
	bool ok;

	if (offset != w->offset || tp_pmem_btree_open(pool, offset, &tree) < 0)
		return false;
	ok = tp_pmem_btree_check(tree, NULL, NULL) == 0 &&
		(tree_is(tree, &w->before) || tree_is(tree, &w->after));
	tp_pmem_btree_close(tree);
	return ok && tree_frees_all(pool, offset);
}

static void
workload_start(struct workload *w, enum tp_pmem_granularity granularity, uint64_t seed)
{
	const struct tp_pmem_pool_config config = { .lane_count = 2, .lane_bytes = 65536 };
	struct tp_pmem_tx *tx = NULL;

	memset(w, 0, sizeof(*w));
	w->random = seed * 0x9e3779b97f4a7c15 + 1;
	w->cut = cut_create(POOL_BYTES, granularity, seed);
	assert_int_equal(tp_pmem_pool_create_on(cut_device(w->cut), &config, &w->pool), 0);
	assert_int_equal(tp_pmem_tx_begin(w->pool, &tx), 0);
	assert_int_equal(tp_pmem_btree_create(tx, &w->offset), 0);
	assert_int_equal(tp_pmem_tx_root_set(tx, "tree", w->offset), 0);
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	assert_int_equal(tp_pmem_btree_open(w->pool, w->offset, &w->tree), 0);
	cut_watch(w->cut, state_check, w, SAMPLES);
}

static void
workload_end(struct workload *w)
{
	tp_pmem_btree_close(w->tree);
	assert_int_equal(tp_pmem_pool_close(w->pool), 0);
	cut_now(w->cut);
	btree_model_fini(&w->before);
	btree_model_fini(&w->after);
}

/* Long keys: three to a node, so that the tree is high. */
static uint32_t
key_make(uint8_t key[TP_PMEM_BTREE_KEY_MAX], uint32_t number)
{
	uint32_t key_bytes = number % 3 == 0 ? 12 : 900 + number % 100;

	memset(key, 'k', key_bytes);
	snprintf((char *)key, 8, "%07u", number);
	return key_bytes;
}

static void
change(struct workload *w, struct tp_pmem_tx *tx, uint32_t deletes)
{
	static const uint32_t sizes[] = { 10, 100, 500, 2000, 9000 };
	uint8_t key[TP_PMEM_BTREE_KEY_MAX], value[9000];
	uint32_t key_bytes = key_make(key, random_below(w, KEYS));
	uint32_t value_bytes = random_below(w, sizes[random_below(w, 5)]);
	int ret;

	if (random_below(w, 100) < deletes) {
		ret = tp_pmem_btree_delete(w->tree, tx, key, key_bytes);
		assert_int_equal(ret, btree_model_delete(&w->after, key, key_bytes) ? 0 : -ENOENT);
		return;
	}
	memset(value, (int)random_below(w, 256), value_bytes);
	assert_int_equal(tp_pmem_btree_put(w->tree, tx, key, key_bytes, value, value_bytes,
		TP_PMEM_BTREE_UPSERT), 0);
	btree_model_put(&w->after, key, key_bytes, value, value_bytes);
}

/* After is known when the commit comes: changes are made in a transaction, not on their own. */
static void
step(struct workload *w, uint32_t deletes)
{
	struct tp_pmem_tx *tx = NULL;

	assert_int_equal(tp_pmem_tx_begin(w->pool, &tx), 0);
	for (uint32_t i = random_below(w, 4) == 0 ? random_below(w, 12) : 1; i > 0; i--)
		change(w, tx, deletes);
	if (random_below(w, 10) == 0) {
		tp_pmem_tx_abort(tx);
		btree_model_copy(&w->after, &w->before);
		return;
	}
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	btree_model_copy(&w->before, &w->after);
}

static void
every_cut(enum tp_pmem_granularity granularity)
{
	struct workload *w = calloc(1, sizeof(*w));
	unsigned int steps = (unsigned int)setting("TP_PMEM_CUT_STEPS", STEPS);

	assert_non_null(w);
	workload_start(w, granularity, setting("TP_PMEM_CUT_SEED", 1));
	for (unsigned int i = 0; i < steps; i++)
		step(w, i / 50 % 2 == 0 ? 15 : 80);
	workload_end(w);
	print_message("%lu states\n", cut_states(w->cut));
	assert_int_equal(cut_failures(w->cut), 0);
	assert_true(cut_states(w->cut) > steps);
	cut_destroy(w->cut);
	free(w);
}

static void
test_btree_every_cut_lines(void **state)
{
	every_cut(TP_PMEM_GRANULARITY_CACHE_LINE);
}

static void
test_btree_every_cut_pages(void **state)
{
	every_cut(TP_PMEM_GRANULARITY_PAGE);
}

/* A fence that is left out is found: these tests can fail. */
static void
test_btree_missing_fence_is_found(void **state)
{
	struct workload *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	workload_start(w, TP_PMEM_GRANULARITY_CACHE_LINE, 1);
	cut_mutant_set(w->cut, CUT_NO_FENCE);
	for (unsigned int i = 0; i < STEPS && cut_failures(w->cut) == 0; i++)
		step(w, 15);
	assert_true(cut_failures(w->cut) > 0);
	cut_watch(w->cut, NULL, NULL, 0);
	workload_end(w);
	cut_destroy(w->cut);
	free(w);
}

struct bulk_source {
	const struct btree_model *model;
	size_t next;
};

static int
bulk_next(void *context, const void **key, uint32_t *key_bytes, const void **value,
	  uint32_t *value_bytes)
{
	struct bulk_source *source = context;
	const struct btree_model_pair *pair = &source->model->pairs[source->next];

	if (source->next == source->model->count)
		return 0;
	source->next++;
	*key = pair->key;
	*key_bytes = pair->key_bytes;
	*value = pair->value;
	*value_bytes = pair->value_bytes;
	return 1;
}

/* Several transactions: empty until the last, then everything, and never a leak. */
static void
bulk_cut(enum tp_pmem_granularity granularity)
{
	struct workload *w = calloc(1, sizeof(*w));
	static const uint8_t value[BULK_VALUE];
	uint8_t key[TP_PMEM_BTREE_KEY_MAX];
	struct bulk_source source;

	assert_non_null(w);
	workload_start(w, granularity, setting("TP_PMEM_CUT_SEED", 1));
	for (uint32_t i = 0; i < BULK_KEYS; i++)
		btree_model_put(&w->after, key, key_make(key, i), value, BULK_VALUE);
	source = (struct bulk_source){ .model = &w->after };
	assert_int_equal(tp_pmem_btree_bulk_load(w->tree, 80, bulk_next, &source), 0);
	workload_end(w);
	print_message("%lu states\n", cut_states(w->cut));
	assert_int_equal(cut_failures(w->cut), 0);
	assert_true(cut_states(w->cut) > 10);
	cut_destroy(w->cut);
	free(w);
}

static void
test_btree_bulk_load_every_cut_lines(void **state)
{
	bulk_cut(TP_PMEM_GRANULARITY_CACHE_LINE);
}

static void
test_btree_bulk_load_every_cut_pages(void **state)
{
	bulk_cut(TP_PMEM_GRANULARITY_PAGE);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_btree_bulk_load_every_cut_lines),
		cmocka_unit_test(test_btree_bulk_load_every_cut_pages),
		cmocka_unit_test(test_btree_every_cut_lines),
		cmocka_unit_test(test_btree_every_cut_pages),
		cmocka_unit_test(test_btree_missing_fence_is_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
