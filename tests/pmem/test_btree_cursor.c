/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * B+tree: cursors across changes, and bulk loads.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "btree_fixture.h"
#include "tp_pmem_alloc.h"
#include "tp_pmem_btree.h"

#define POOL_BYTES (UINT64_C(64) << 20)

static struct tp_pmem_btree_cursor *cursor;

static int
setup(void **state)
{
	fixture_init(POOL_BYTES);
	assert_int_equal(tp_pmem_btree_cursor_open(fixture.tree, &cursor), 0);
	return 0;
}

static int
teardown(void **state)
{
	tp_pmem_btree_cursor_close(cursor);
	fixture_fini();
	return 0;
}

static uint32_t
key_make(char key[32], uint32_t number)
{
	return (uint32_t)snprintf(key, 32, "key %08u", number);
}

static void
put(uint32_t number, uint32_t value_bytes)
{
	static uint8_t value[4096];
	char key[32];
	uint32_t key_bytes = key_make(key, number);

	memset(value, (int)number, sizeof(value));
	assert_int_equal(tp_pmem_btree_put(fixture.tree, NULL, key, key_bytes, value, value_bytes,
		TP_PMEM_BTREE_UPSERT), 0);
	btree_model_put(&fixture.model, key, key_bytes, value, value_bytes);
}

static void
delete(uint32_t number)
{
	char key[32];
	uint32_t key_bytes = key_make(key, number);

	assert_int_equal(tp_pmem_btree_delete(fixture.tree, NULL, key, key_bytes),
		btree_model_delete(&fixture.model, key, key_bytes) ? 0 : -ENOENT);
}

/* Expected at an index of the model, or nothing there. */
static void
move(enum tp_pmem_btree_seek how, const char *seek, int64_t index)
{
	const void *key = NULL, *value = NULL;
	uint32_t key_bytes = 0, value_bytes = 0;
	int ret = tp_pmem_btree_cursor_move(cursor, how, seek,
		seek == NULL ? 0 : (uint32_t)strlen(seek), &key, &key_bytes, &value, &value_bytes);
	const struct btree_model_pair *pair;

	if (index < 0 || (size_t)index >= fixture.model.count) {
		assert_int_equal(ret, -ENOENT);
		return;
	}
	pair = &fixture.model.pairs[index];
	assert_int_equal(ret, 0);
	assert_int_equal(key_bytes, pair->key_bytes);
	assert_memory_equal(key, pair->key, key_bytes);
	assert_int_equal(value_bytes, pair->value_bytes);
	assert_memory_equal(value, pair->value, value_bytes);
}

static void
test_cursor_seeks_between_keys(void **state)
{
	char key[32];

	for (uint32_t i = 0; i < 2000; i++)
		put(2 * i + 1, i % 50 == 0 ? 3000 : i % 100);
	for (uint32_t i = 0; i <= 4000; i++) {
		key_make(key, i);
		move(TP_PMEM_BTREE_AT_OR_AFTER, key, i / 2);
		move(TP_PMEM_BTREE_PREVIOUS, NULL, (int64_t)(i < 4000 ? i / 2 - 1 : 1999));
		key_make(key, i);
		move(TP_PMEM_BTREE_AT_OR_BEFORE, key, (i + 1) / 2 - 1);
		move(TP_PMEM_BTREE_NEXT, NULL, i == 0 ? 0 : (i + 1) / 2);
	}
}

static void
test_cursor_turns_at_the_ends(void **state)
{
	for (uint32_t i = 0; i < 3; i++)
		put(i, 8);
	move(TP_PMEM_BTREE_LAST, NULL, 2);
	move(TP_PMEM_BTREE_NEXT, NULL, -1);
	move(TP_PMEM_BTREE_NEXT, NULL, -1);
	move(TP_PMEM_BTREE_PREVIOUS, NULL, 2);
	move(TP_PMEM_BTREE_PREVIOUS, NULL, 1);
	move(TP_PMEM_BTREE_PREVIOUS, NULL, 0);
	move(TP_PMEM_BTREE_PREVIOUS, NULL, -1);
	move(TP_PMEM_BTREE_PREVIOUS, NULL, -1);
	move(TP_PMEM_BTREE_NEXT, NULL, 0);
}

/* Turns at every place: in a leaf, at its ends, right after a change near by or far away. */
static void
test_cursor_turns_anywhere(void **state)
{
	int64_t at = 0;
	bool back = false;

	for (uint32_t i = 0; i < 1500; i++)
		put(2 * i, 20 + i % 200);
	move(TP_PMEM_BTREE_FIRST, NULL, 0);
	for (uint32_t i = 0; i < 30000; i++) {
		if (fixture_random_below(40) == 0 || at == 0 || at == (int64_t)fixture.model.count - 1)
			back = at == 0 ? false : at == (int64_t)fixture.model.count - 1 ? true : !back;
		if (fixture_random_below(100) == 0)
			put(2 * fixture_random_below(1500), fixture_random_below(600));
		if (fixture_random_below(100) == 0)
			put((uint32_t)(2 * at), fixture_random_below(600));
		at += back ? -1 : 1;
		move(back ? TP_PMEM_BTREE_PREVIOUS : TP_PMEM_BTREE_NEXT, NULL, at);
	}
}

/* Both ways, with changes between steps: the next key of the tree as it is now. */
static void
test_cursor_walks_while_the_tree_changes(void **state)
{
	char at[32];
	size_t next;
	bool equal;

	for (uint32_t i = 0; i < 1500; i++)
		put(fixture_random_below(3000), fixture_random_below(300));
	for (uint32_t round = 0; round < 4; round++) {
		bool back = round % 2 == 1;

		move(back ? TP_PMEM_BTREE_LAST : TP_PMEM_BTREE_FIRST, NULL,
			back ? (int64_t)fixture.model.count - 1 : 0);
		next = back ? fixture.model.count - 1 : 0;
		for (;;) {
			memcpy(at, fixture.model.pairs[next].key, 12);
			for (uint32_t i = fixture_random_below(4); i > 0; i--) {
				if (fixture_random_below(2) == 0)
					put(fixture_random_below(3000), fixture_random_below(600));
				else
					delete(fixture_random_below(3000));
			}
			if (fixture.model.count == 0)
				break;
			next = btree_model_find(&fixture.model, at, 12, &equal);
			if (back ? next == 0 : next + (equal ? 1 : 0) == fixture.model.count)
				break;
			next = back ? next - 1 : equal ? next + 1 : next;
			move(back ? TP_PMEM_BTREE_PREVIOUS : TP_PMEM_BTREE_NEXT, NULL,
				(int64_t)next);
		}
		move(back ? TP_PMEM_BTREE_PREVIOUS : TP_PMEM_BTREE_NEXT, NULL, -1);
	}
}

/*
 * Bulk loads.
 */
struct source {
	uint32_t next;
	uint32_t end;
	uint32_t stop;		/* fail there, with */
	int error;
	char key[32];
	uint8_t value[3000];
};

static int
source_next(void *context, const void **key, uint32_t *key_bytes, const void **value,
	    uint32_t *value_bytes)
{
	struct source *source = context;
	uint32_t number = source->next++;

	if (number == source->stop && source->error != 0)
		return source->error;
	if (number == source->end)
		return 0;
	*key = source->key;
	*key_bytes = key_make(source->key, number == source->stop ? 0 : number);
	memset(source->value, (int)number, sizeof(source->value));
	*value = source->value;
	*value_bytes = number % 100 == 0 ? 3000 : number % 90;
	return 1;
}

static int
load(uint32_t count, unsigned int fill, uint32_t stop, int error)
{
	struct source source = { .end = count, .stop = stop, .error = error };

	return tp_pmem_btree_bulk_load(fixture.tree, fill, source_next, &source);
}

static void
model_fill(uint32_t count)
{
	uint8_t value[3000];
	char key[32];

	btree_model_fini(&fixture.model);
	for (uint32_t i = 0; i < count; i++) {
		memset(value, (int)i, sizeof(value));
		btree_model_put(&fixture.model, key, key_make(key, i), value,
			i % 100 == 0 ? 3000 : i % 90);
	}
}

static void
test_bulk_load_makes_a_tree(void **state)
{
	static const struct { uint32_t count, fill; } loads[] = { { 0, 100 }, { 1, 50 },
		{ 50, 100 }, { 60, 70 }, { 5000, 50 }, { 30000, 100 }, { 20000, 90 } };

	assert_int_equal(load(1, 49, UINT32_MAX, 0), -EINVAL);
	assert_int_equal(load(1, 101, UINT32_MAX, 0), -EINVAL);
	for (size_t i = 0; i < sizeof(loads) / sizeof(loads[0]); i++) {
		assert_int_equal(load(loads[i].count, loads[i].fill, UINT32_MAX, 0), 0);
		model_fill(loads[i].count);
		btree_model_compare(&fixture.model, fixture.tree);
		assert_int_equal(load(1, 100, UINT32_MAX, 0), loads[i].count > 0 ? -ENOTEMPTY : 0);
		if (loads[i].count == 0)
			model_fill(1);
		/* As good a tree as any. */
		for (uint32_t j = 0; j < 200; j++) {
			put(fixture_random_below(40000), 100);
			delete(fixture_random_below(40000));
		}
		btree_model_compare(&fixture.model, fixture.tree);
		while (fixture.model.count > 0) {
			char key[32] = "";

			memcpy(key, fixture.model.pairs[fixture.model.count / 2].key, 12);
			delete((uint32_t)strtoul(key + 4, NULL, 10));
		}
		assert_int_equal(fixture_blocks(fixture.pool), 1);
	}
}

static void
test_bulk_load_that_fails_leaves_nothing(void **state)
{
	assert_int_equal(load(30000, 100, 29000, -EPIPE), -EPIPE);
	btree_model_compare(&fixture.model, fixture.tree);
	assert_int_equal(fixture_blocks(fixture.pool), 1);
	assert_int_equal(load(30000, 100, 15000, 0), -EINVAL);	/* does not rise */
	assert_int_equal(fixture_blocks(fixture.pool), 1);
	assert_int_equal(load(1000000, 100, UINT32_MAX, 0), -ENOSPC);
	btree_model_compare(&fixture.model, fixture.tree);
	assert_int_equal(fixture_blocks(fixture.pool), 1);
	assert_int_equal(load(3000, 100, UINT32_MAX, 0), 0);
	model_fill(3000);
	btree_model_compare(&fixture.model, fixture.tree);
}

/* A source that crashes: the file is copied in the middle of the load. */
static int
source_crash(void *context, const void **key, uint32_t *key_bytes, const void **value,
	     uint32_t *value_bytes)
{
	struct source *source = context;

	if (source->next == 20000)
		pool_file_copy(fixture.path, fixture.crash);
	return source_next(context, key, key_bytes, value, value_bytes);
}

static void
test_bulk_load_that_crashes_leaks_nothing(void **state)
{
	struct source source = { .end = 30000, .stop = UINT32_MAX };
	struct tp_pmem_btree *tree = NULL;
	struct tp_pmem_pool *pool;

	assert_int_equal(tp_pmem_btree_bulk_load(fixture.tree, 90, source_crash, &source), 0);
	pool = pool_file_open(fixture.crash);
	assert_true(fixture_blocks(pool) > 100);
	assert_int_equal(tp_pmem_btree_open(pool, fixture.offset, &tree), 0);
	btree_model_compare(&fixture.model, tree);
	assert_int_equal(fixture_blocks(pool), 1);
	tp_pmem_btree_close(tree);
	pool_file_close(pool);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_cursor_seeks_between_keys, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cursor_turns_at_the_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cursor_turns_anywhere, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cursor_walks_while_the_tree_changes, setup,
			teardown),
		cmocka_unit_test_setup_teardown(test_bulk_load_makes_a_tree, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bulk_load_that_fails_leaves_nothing, setup,
			teardown),
		cmocka_unit_test_setup_teardown(test_bulk_load_that_crashes_leaks_nothing, setup,
			teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
