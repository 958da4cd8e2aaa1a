/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * No memory: each call is tried with its first allocation failing, then its second, and so
 * on until none is left to fail. It must say -ENOMEM and have changed nothing, or do
 * without; afterwards everything works, nothing leaked, and what was promised lasts.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cut.h"
#include "pool_file.h"
#include "tp_pmem_alloc.h"
#include "tp_pmem_btree.h"
#include "tp_pmem_device.h"
#include "tp_pmem_tx.h"

#define POOL_BYTES (UINT64_C(32) << 20)
#define BLOCK_BYTES (UINT64_C(3) << 20)	/* more than a lane's log */
#define TRIES_MAX 2000u

static bool armed;
static bool failed;		/* the one that was to fail has */
static bool forever;		/* and those after it, too */
static unsigned int left;	/* allocations before it */

static bool
allocation_fails(void)
{
	if (!armed || (failed && !forever))
		return false;
	if (!failed && left > 0) {
		left--;
		return false;
	}
	failed = true;
	return true;
}

void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);

void *
__wrap_malloc(size_t bytes)
{
	return allocation_fails() ? NULL : __real_malloc(bytes);
}

void *
__wrap_calloc(size_t count, size_t bytes)
{
	return allocation_fails() ? NULL : __real_calloc(count, bytes);
}

void *
__wrap_realloc(void *old, size_t bytes)
{
	return allocation_fails() ? NULL : __real_realloc(old, bytes);
}

void *
__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
	return allocation_fails() ? NULL : __real_aligned_alloc(alignment, bytes);
}

static void
arm(unsigned int allocations)
{
	left = allocations;
	failed = false;
	armed = true;
}

struct fixture {
	char path[POOL_FILE_CHARS];
	char crash[POOL_FILE_CHARS];
	struct tp_pmem_pool *pool;
	struct tp_pmem_btree *tree;
	uint64_t block;
	uint64_t offset;	/* of the tree */
	uint64_t blocks;	/* allocated before a try */
	uint32_t number;	/* of the try */
};

static struct fixture fixture;

static uint64_t
allocated_count(struct tp_pmem_pool *pool)
{
	struct tp_pmem_heap_info info;

	tp_pmem_heap_info_get(pool, &info);
	return info.allocated_count;
}

static int
setup(void **state)
{
	struct tp_pmem_tx *tx = NULL;

	memset(&fixture, 0, sizeof(fixture));
	forever = *state != NULL;
	pool_file_force_lines(true);
	pool_file_path(fixture.path, "memory");
	pool_file_path(fixture.crash, "memory-crash");
	fixture.pool = pool_file_create(fixture.path, POOL_BYTES);
	assert_int_equal(tp_pmem_tx_begin(fixture.pool, &tx), 0);
	assert_int_equal(tp_pmem_tx_alloc(tx, BLOCK_BYTES, TP_PMEM_ALLOC_ZERO, &fixture.block), 0);
	assert_int_equal(tp_pmem_tx_root_set(tx, "block", fixture.block), 0);
	assert_int_equal(tp_pmem_btree_create(tx, &fixture.offset), 0);
	assert_int_equal(tp_pmem_tx_root_set(tx, "tree", fixture.offset), 0);
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	return 0;
}

static int
teardown(void **state)
{
	tp_pmem_btree_close(fixture.tree);
	tp_pmem_pool_close(fixture.pool);
	unlink(fixture.path);
	unlink(fixture.crash);
	pool_file_force_lines(false);
	return 0;
}

/* Drop what DRAM the pool has got hold of, so that it must ask for it again. */
static void
pool_reopen(void)
{
	tp_pmem_btree_close(fixture.tree);
	fixture.tree = NULL;
	assert_int_equal(tp_pmem_pool_close(fixture.pool), 0);
	fixture.pool = pool_file_open(fixture.path);
}

/* What is tried: 0, or -ENOMEM with nothing changed. */
typedef int try_fn(void);

/*
 * Fail one allocation after the other. With reopen each begins with a pool that has no
 * memory yet. Returns how many of the tries met a failure.
 */
static unsigned int
try_all(try_fn *function, bool reopen)
{
	unsigned int refused = 0;

	for (fixture.number = 0; fixture.number < TRIES_MAX; fixture.number++) {
		int ret;

		if (reopen)
			pool_reopen();
		fixture.blocks = allocated_count(fixture.pool);
		arm(fixture.number);
		ret = function();
		armed = false;
		if (ret != 0 && ret != -ECANCELED)
			assert_int_equal(ret, -ENOMEM);
		if (ret != 0) {
			assert_true(failed);
			assert_int_equal(allocated_count(fixture.pool), fixture.blocks);
			refused++;
		}
		if (!failed)
			break;
	}
	assert_true(fixture.number < TRIES_MAX);
	return refused;
}

/*
 * Pools.
 */

static void
test_pool_open_without_memory_is_refused(void **state)
{
	struct tp_pmem_pool *pool = NULL;
	unsigned int refused = 0;

	assert_int_equal(tp_pmem_pool_close(fixture.pool), 0);
	fixture.pool = NULL;
	for (unsigned int i = 0;; i++) {
		int ret;

		arm(i);
		ret = tp_pmem_pool_open(fixture.path, 0, &pool);
		armed = false;
		if (ret == 0)
			break;
		assert_int_equal(ret, -ENOMEM);
		assert_true(failed);
		assert_null(pool);
		refused++;
	}
	assert_false(failed);
	assert_true(refused >= 5);	/* device, pool, lanes, heap, zone */
	fixture.pool = pool;
}

/* The log is not touched by an opening that fails: the next one finds everything. */
static void
test_recovery_without_memory_loses_nothing(void **state)
{
	struct tp_pmem_pool *pool = NULL;
	unsigned int refused = 0;
	const uint64_t *words;

	for (uint64_t i = 0; i < 300; i++) {
		uint64_t *word = (uint64_t *)tp_pmem_ptr(fixture.pool, fixture.block) + i;
		struct tp_pmem_tx *tx = NULL;

		assert_int_equal(tp_pmem_tx_begin(fixture.pool, &tx), 0);
		assert_int_equal(tp_pmem_tx_add_range(tx, word, sizeof(*word)), 0);
		*word = i + 1;
		assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	}
	pool_file_copy(fixture.path, fixture.crash);
	for (unsigned int i = 0;; i++) {
		int ret;

		arm(i);
		ret = tp_pmem_pool_open(fixture.crash, 0, &pool);
		armed = false;
		if (ret == 0)
			break;
		assert_int_equal(ret, -ENOMEM);
		refused++;
	}
	assert_true(refused >= 6);	/* and the list of records */
	words = tp_pmem_ptr(pool, fixture.block);
	for (uint64_t i = 0; i < 300; i++)
		assert_int_equal(words[i], i + 1);
	pool_file_close(pool);
}

static int
try_grow(void)
{
	return tp_pmem_pool_grow(fixture.pool, POOL_BYTES + (UINT64_C(8) << 20));
}

static void
test_pool_growth_without_memory_is_refused(void **state)
{
	int ret;

	arm(0);
	ret = try_grow();
	armed = false;
	if (ret < 0)
		assert_int_equal(ret, -ENOMEM);
	/* What the medium says counts: opened again, it has grown, or can. */
	pool_reopen();
	ret = try_grow();
	assert_true(ret == 0 || ret == -EINVAL);
	pool_file_close(fixture.pool);
	fixture.pool = pool_file_open(fixture.path);
}

/*
 * Transactions.
 */

static void
end_noted(void *context, bool committed)
{
	*(bool *)context = committed;
}

/* The calls of a transaction, the first error ends it. */
static int
tx_calls(struct tp_pmem_tx *tx, bool *committed, bool *nested)
{
	uint64_t *words = tp_pmem_ptr(fixture.pool, fixture.block);
	uint64_t offset = 0;
	int ret = tp_pmem_tx_on_end(tx, end_noted, committed);

	for (unsigned int i = 0; i < 200 && ret == 0; i++) {
		ret = tp_pmem_tx_add_range(tx, &words[i * 1000], sizeof(*words));
		if (ret == 0)
			words[i * 1000] = fixture.number + 1000 + i;
	}
	for (unsigned int i = 0; i < 50 && ret == 0; i++)
		ret = tp_pmem_tx_alloc(tx, 64u << i % 8, 0, &offset);
	if (ret == 0)
		ret = tp_pmem_tx_free(tx, offset);
	if (ret == 0)
		ret = tp_pmem_tx_root_set(tx, "other", fixture.block);
	if (ret == 0)
		ret = tp_pmem_tx_nest(tx);
	*nested = ret == 0;
	if (ret == 0)
		ret = tp_pmem_tx_add_range(tx, &words[1], BLOCK_BYTES - 8);
	if (ret == 0)
		words[1] = fixture.number + 1000;
	return ret;
}

static int
try_tx(void)
{
	const uint64_t *words = tp_pmem_ptr(fixture.pool, fixture.block);
	uint64_t before[3] = { words[0], words[1], words[199000] };
	struct tp_pmem_tx *tx = NULL;
	bool committed = true, nested = false;
	int ret = tp_pmem_tx_begin(fixture.pool, &tx);

	if (ret < 0)
		return ret;
	ret = tx_calls(tx, &committed, &nested);
	if (nested && ret == 0)
		assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	else if (nested)
		tp_pmem_tx_abort(tx);
	if (ret == 0)
		ret = tp_pmem_tx_commit(tx, 0);
	else
		tp_pmem_tx_abort(tx);
	armed = false;
	if (ret == 0) {
		assert_true(committed);
		return 0;
	}
	assert_int_equal(words[0], before[0]);
	assert_int_equal(words[1], before[1]);
	assert_int_equal(words[199000], before[2]);
	return ret;
}

static void
test_tx_without_memory_changes_nothing(void **state)
{
	assert_true(try_all(try_tx, true) >= 8);
	pool_reopen();
	assert_int_equal(((uint64_t *)tp_pmem_ptr(fixture.pool, fixture.block))[0],
		fixture.number + 1000);
}

/* What is remembered for the next checkpoint cannot be: then it reads the log. */
struct lasting {
	uint64_t offset;
	uint64_t value;
};

static bool
word_lasts(void *context, struct tp_pmem_pool *pool)
{
	const struct lasting *lasting = context;

	return *(const uint64_t *)tp_pmem_ptr(pool, lasting->offset) >= lasting->value;
}

static void
word_set(struct tp_pmem_pool *pool, uint64_t *word, uint64_t value, bool fail)
{
	struct tp_pmem_tx *tx = NULL;

	assert_int_equal(tp_pmem_tx_begin(pool, &tx), 0);
	assert_int_equal(tp_pmem_tx_add_range(tx, word, sizeof(*word)), 0);
	*word = value;
	if (fail)
		arm(0);
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	armed = false;
}

static void
test_checkpoint_flushes_what_could_not_be_remembered(void **state)
{
	struct cut *cut = cut_create(UINT64_C(4) << 20, TP_PMEM_GRANULARITY_CACHE_LINE, 1);
	struct tp_pmem_pool *pool = NULL;
	struct lasting lasting = { 0 };
	struct tp_pmem_tx *tx = NULL;
	unsigned int missed = 0;

	assert_int_equal(tp_pmem_pool_create_on(cut_device(cut), NULL, &pool), 0);
	assert_int_equal(tp_pmem_tx_begin(pool, &tx), 0);
	assert_int_equal(tp_pmem_tx_alloc(tx, 65536, TP_PMEM_ALLOC_ZERO, &lasting.offset), 0);
	assert_int_equal(tp_pmem_tx_root_set(tx, "word", lasting.offset), 0);
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	for (uint64_t i = 1; i <= 300; i++) {
		word_set(pool, tp_pmem_ptr(pool, lasting.offset), i, true);
		missed += failed;
		lasting.value = i;
		if (i % 100 != 0)
			continue;
		/* A checkpoint voids the log: only what it flushed is left. */
		cut_watch(cut, word_lasts, &lasting, 2);
		assert_int_equal(tp_pmem_pool_checkpoint(pool), 0);
		cut_now(cut);
		cut_watch(cut, NULL, NULL, 0);
	}
	assert_true(missed > 0);
	assert_true(cut_states(cut) > 0);
	assert_int_equal(cut_failures(cut), 0);
	assert_int_equal(tp_pmem_pool_close(pool), 0);
	cut_destroy(cut);
}

/*
 * The B+tree.
 */

static uint32_t
key_make(char key[32], uint32_t number)
{
	return (uint32_t)snprintf(key, 32, "key %08u", number);
}

static int
tree_open(void)
{
	return fixture.tree != NULL ? 0 :
		tp_pmem_btree_open(fixture.pool, fixture.offset, &fixture.tree);
}

static void
tree_fill(uint32_t count)
{
	char key[32];

	assert_int_equal(tree_open(), 0);
	for (uint32_t i = 0; i < count; i++) {
		uint32_t bytes = key_make(key, i);

		assert_int_equal(tp_pmem_btree_put(fixture.tree, NULL, key, bytes, key, bytes, 0), 0);
	}
}

/* 200 changes in one transaction: many images, long values, splits and merges. */
static int
try_tree(void)
{
	static uint8_t value[2000];
	uint64_t count = 0;
	struct tp_pmem_tx *tx = NULL;
	char key[32];
	int ret = tree_open();

	if (ret < 0)
		return ret;
	count = tp_pmem_btree_count(fixture.tree);
	ret = tp_pmem_tx_begin(fixture.pool, &tx);
	if (ret < 0)
		return ret;
	for (uint32_t i = 0; i < 200 && ret == 0; i++) {
		uint32_t bytes = key_make(key, i * 37 % 500);

		if (i % 3 == 2)
			ret = tp_pmem_btree_delete(fixture.tree, tx, key, bytes);
		else
			ret = tp_pmem_btree_put(fixture.tree, tx, key, bytes, value,
				i % 5 == 0 ? sizeof(value) : i % 64, TP_PMEM_BTREE_UPSERT);
		if (ret == -ENOENT)
			ret = 0;
	}
	if (ret == 0)
		return tp_pmem_tx_commit(tx, 0);
	tp_pmem_tx_abort(tx);
	armed = false;
	assert_int_equal(tp_pmem_btree_count(fixture.tree), count);
	assert_int_equal(tp_pmem_btree_check(fixture.tree, NULL, NULL), 0);
	return ret;
}

static void
test_btree_without_memory_changes_nothing(void **state)
{
	tree_fill(500);
	assert_true(try_all(try_tree, true) >= 8);
	assert_int_equal(tp_pmem_btree_check(fixture.tree, NULL, NULL), 0);
}

static int
source_next(void *context, const void **key, uint32_t *key_bytes, const void **value,
	    uint32_t *value_bytes)
{
	static char text[32];
	uint32_t *number = context;

	if (*number == 3000)
		return 0;
	*key_bytes = key_make(text, (*number)++);
	*key = text;
	*value = text;
	*value_bytes = *key_bytes;
	return 1;
}

static int
try_load(void)
{
	uint32_t number = 0;
	int ret = tree_open();

	if (ret == 0)
		ret = tp_pmem_btree_bulk_load(fixture.tree, 90, source_next, &number);
	armed = false;
	if (ret < 0 && fixture.tree != NULL)
		assert_int_equal(tp_pmem_btree_count(fixture.tree), 0);
	/* It did without: the next one needs an empty tree again. */
	for (uint32_t i = 0; i < 3000 && ret == 0 && failed; i++) {
		char key[32];
		uint32_t bytes = key_make(key, i);

		assert_int_equal(tp_pmem_btree_delete(fixture.tree, NULL, key, bytes), 0);
	}
	return ret;
}

static void
test_bulk_load_without_memory_leaves_nothing(void **state)
{
	assert_true(try_all(try_load, true) >= 5);
	assert_int_equal(tp_pmem_btree_count(fixture.tree), 3000);
	assert_int_equal(tp_pmem_btree_check(fixture.tree, NULL, NULL), 0);
}

static int
try_look(void)
{
	struct tp_pmem_btree_cursor *cursor = NULL;
	int ret = tree_open();

	if (ret == 0)
		ret = tp_pmem_btree_cursor_open(fixture.tree, &cursor);
	for (uint32_t i = 0; i < 600 && ret == 0; i++) {
		const void *value = NULL;
		uint32_t bytes = 0;

		ret = tp_pmem_btree_cursor_move(cursor, i == 0 ? TP_PMEM_BTREE_FIRST :
			TP_PMEM_BTREE_NEXT, NULL, 0, NULL, NULL, &value, &bytes);
	}
	tp_pmem_btree_cursor_close(cursor);
	if (ret == 0 || ret == -ENOENT) {
		ret = tp_pmem_btree_check(fixture.tree, NULL, NULL);
		assert_true(ret <= 0);
	}
	return ret;
}

/* Reading: a long value has to have a place, a check its list. */
static void
test_btree_reading_without_memory_is_refused(void **state)
{
	tree_fill(500);
	assert_int_equal(try_tree(), 0);
	assert_true(try_all(try_look, true) >= 4);
}

#define BOTH(test) \
	cmocka_unit_test_prestate_setup_teardown(test, setup, teardown, NULL), \
	{ #test " for good", test, setup, teardown, (void *)(uintptr_t)1 }

int
main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(test_pool_open_without_memory_is_refused),
		BOTH(test_recovery_without_memory_loses_nothing),
		BOTH(test_pool_growth_without_memory_is_refused),
		BOTH(test_tx_without_memory_changes_nothing),
		BOTH(test_checkpoint_flushes_what_could_not_be_remembered),
		BOTH(test_btree_without_memory_changes_nothing),
		BOTH(test_bulk_load_without_memory_leaves_nothing),
		BOTH(test_btree_reading_without_memory_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
