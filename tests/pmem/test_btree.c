/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * B+tree against a sorted array, alone: all operations and sizes, transactions
 * that abort, crashes (a copy of the file), full pools.
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
#define VALUE_MAX 65536u

static uint8_t bytes[VALUE_MAX];	/* contents of values */

static int
setup(void **state)
{
	fixture_init(POOL_BYTES);
	for (uint32_t i = 0; i < VALUE_MAX; i++)
		bytes[i] = (uint8_t)btree_model_random(&fixture.random);
	return 0;
}

static int
teardown(void **state)
{
	fixture_fini();
	return 0;
}

/* A key of one of many: short, long, with long common beginnings, prefixes of each other. */
static uint32_t
key_make(uint8_t key[TP_PMEM_BTREE_KEY_MAX], uint32_t which)
{
	uint32_t kind = which % 5, key_bytes;

	which /= 5;
	switch (kind) {
	case 0:
		key_bytes = (uint32_t)snprintf((char *)key, 32, "%u", which);
		break;
	case 1:
		key_bytes = 8;
		memset(key, 0, 8);
		key[6] = (uint8_t)(which >> 8);
		key[7] = (uint8_t)which;
		break;
	case 2:
		key_bytes = TP_PMEM_BTREE_KEY_MAX - which % 7;
		memset(key, 'p', key_bytes);
		memcpy(key + 900, &which, sizeof(which));
		break;
	case 3:
		key_bytes = 1 + which % 600;
		memset(key, 0xff, key_bytes);
		break;
	default:
		key_bytes = 40;
		memset(key, 's', key_bytes);
		memcpy(key + which % 30, &which, sizeof(which));
		break;
	}
	return key_bytes;
}

static uint32_t
value_bytes_random(void)
{
	switch (fixture_random_below(8)) {
	case 0:
		return 0;
	case 1:
		return fixture_random_below(1024);
	case 2:
		return 500 + fixture_random_below(30);
	case 3:
		return fixture_random_below(fixture_random_below(20) == 0 ? VALUE_MAX + 1 : 4096);
	default:
		return fixture_random_below(64);
	}
}

static void
put(struct tp_pmem_tx *tx, const void *key, uint32_t key_bytes, uint32_t value_bytes)
{
	const uint8_t *value = bytes + fixture_random_below(VALUE_MAX - value_bytes + 1);

	assert_int_equal(tp_pmem_btree_put(fixture.tree, tx, key, key_bytes, value, value_bytes,
		TP_PMEM_BTREE_UPSERT), 0);
	btree_model_put(&fixture.model, key, key_bytes, value, value_bytes);
}

static void
delete(struct tp_pmem_tx *tx, const void *key, uint32_t key_bytes)
{
	bool was_there = btree_model_delete(&fixture.model, key, key_bytes);

	assert_int_equal(tp_pmem_btree_delete(fixture.tree, tx, key, key_bytes),
		was_there ? 0 : -ENOENT);
}

/* Of its own changes a transaction sees all, others none. */
static void
own_compare(struct tp_pmem_tx *tx, const struct btree_model *before, const void *key,
	    uint32_t key_bytes)
{
	uint8_t got[16];
	bool equal;
	size_t at = btree_model_find(&fixture.model, key, key_bytes, &equal);

	assert_int_equal(tp_pmem_btree_get(fixture.tree, tx, key, key_bytes, got, sizeof(got)),
		equal ? (int64_t)fixture.model.pairs[at].value_bytes : -ENOENT);
	at = btree_model_find(before, key, key_bytes, &equal);
	assert_int_equal(tp_pmem_btree_get(fixture.tree, NULL, key, key_bytes, got, sizeof(got)),
		equal ? (int64_t)before->pairs[at].value_bytes : -ENOENT);
}

static void
change(struct tp_pmem_tx *tx, uint32_t keys, uint32_t deletes)
{
	uint8_t key[TP_PMEM_BTREE_KEY_MAX];
	uint32_t key_bytes = key_make(key, fixture_random_below(keys));

	if (fixture_random_below(100) < deletes)
		delete(tx, key, key_bytes);
	else
		put(tx, key, key_bytes, value_bytes_random());
}

/* Several changes in a transaction with inner levels, which commit or abort. */
static void
transaction(uint32_t keys, uint32_t deletes)
{
	struct btree_model before = { 0 }, outer = { 0 };
	uint8_t key[TP_PMEM_BTREE_KEY_MAX];
	struct tp_pmem_tx *tx = fixture_begin();
	uint32_t key_bytes;

	btree_model_copy(&before, &fixture.model);
	for (uint32_t i = fixture_random_below(4); i > 0; i--)
		change(tx, keys, deletes);
	btree_model_copy(&outer, &fixture.model);
	assert_int_equal(tp_pmem_tx_nest(tx), 0);
	for (uint32_t i = fixture_random_below(10); i > 0; i--)
		change(tx, keys, deletes);
	if (fixture_random_below(2) == 0) {
		tp_pmem_tx_abort(tx);
		btree_model_copy(&fixture.model, &outer);
	} else {
		assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	}
	for (uint32_t i = fixture_random_below(4); i > 0; i--)
		change(tx, keys, deletes);
	if (fixture.model.count > 0) {
		key_bytes = key_make(key, fixture_random_below(keys));
		own_compare(tx, &before, key, key_bytes);
	}
	if (fixture_random_below(3) == 0) {
		tp_pmem_tx_abort(tx);
		btree_model_copy(&fixture.model, &before);
	} else {
		assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	}
	btree_model_fini(&before);
	btree_model_fini(&outer);
}

static void
test_btree_random_is_like_the_model(void **state)
{
	uint64_t blocks = fixture_blocks(fixture.pool);
	uint32_t steps = *state == NULL ? 6000 : 60000;

	for (uint32_t i = 0; i < steps; i++) {
		/* Now it grows, now it shrinks. */
		uint32_t deletes = i / 1500 % 2 == 0 ? 20 : 75;

		if (i % 16 == 0)
			transaction(2000, deletes);
		else
			change(NULL, 2000, deletes);
		if (i % 1000 == 999)
			btree_model_compare(&fixture.model, fixture.tree);
		if (i % 3000 == 2999)
			fixture_crash_compare();
	}
	while (fixture.model.count > 0) {
		struct btree_model_pair pair = fixture.model.pairs[fixture_random_below(
			(uint32_t)fixture.model.count)];
		uint8_t key[TP_PMEM_BTREE_KEY_MAX];

		memcpy(key, pair.key, pair.key_bytes);
		delete(NULL, key, pair.key_bytes);
	}
	btree_model_compare(&fixture.model, fixture.tree);
	assert_int_equal(fixture_blocks(fixture.pool), blocks);
	fixture_crash_compare();
}

/* Long keys make it high; both ends, up and down: splits and merges at every level. */
static void
test_btree_rises_and_falls(void **state)
{
	static const bool down[][2] = { { false, false }, { false, true }, { true, false },
		{ true, true } };
	uint64_t blocks = fixture_blocks(fixture.pool);
	uint8_t key[TP_PMEM_BTREE_KEY_MAX];

	memset(key, 'k', sizeof(key));
	for (uint32_t way = 0; way < 4; way++) {
		for (uint32_t i = 0; i < 2 * 700; i++) {
			bool is_down = down[way][i / 700];
			uint32_t number = is_down ? 699 - i % 700 : i % 700;

			snprintf((char *)key + sizeof(key) - 8, 8, "%07u", number);
			if (i < 700)
				put(NULL, key, sizeof(key), 3);
			else
				delete(NULL, key, sizeof(key));
			if (i % 350 == 349)
				btree_model_compare(&fixture.model, fixture.tree);
		}
		assert_int_equal(fixture_blocks(fixture.pool), blocks);
	}
}

static void
test_btree_empty_has_nothing(void **state)
{
	struct tp_pmem_btree_cursor *cursor = NULL;
	uint8_t key[TP_PMEM_BTREE_KEY_MAX + 1] = { 0 };

	btree_model_compare(&fixture.model, fixture.tree);
	assert_int_equal(tp_pmem_btree_get(fixture.tree, NULL, "a", 1, key, 1), -ENOENT);
	assert_int_equal(tp_pmem_btree_delete(fixture.tree, NULL, "a", 1), -ENOENT);
	assert_int_equal(tp_pmem_btree_cursor_open(fixture.tree, &cursor), 0);
	assert_int_equal(tp_pmem_btree_cursor_move(cursor, TP_PMEM_BTREE_NEXT, NULL, 0, NULL, NULL,
		NULL, NULL), -EINVAL);
	assert_int_equal(tp_pmem_btree_cursor_move(cursor, TP_PMEM_BTREE_AT_OR_AFTER, "a", 1, NULL,
		NULL, NULL, NULL), -ENOENT);
	tp_pmem_btree_cursor_close(cursor);
	assert_int_equal(tp_pmem_btree_get(fixture.tree, NULL, key, 0, key, 1), -EINVAL);
	assert_int_equal(tp_pmem_btree_get(fixture.tree, NULL, key, sizeof(key), key, 1), -EINVAL);
	assert_int_equal(tp_pmem_btree_put(fixture.tree, NULL, key, 0, key, 1, 0), -EINVAL);
	assert_int_equal(tp_pmem_btree_put(fixture.tree, NULL, key, sizeof(key), key, 1, 0), -EINVAL);
	assert_int_equal(tp_pmem_btree_put(fixture.tree, NULL, key, 1, key,
		TP_PMEM_BTREE_VALUE_MAX + 1, 0), -EINVAL);
	assert_int_equal(tp_pmem_btree_put(fixture.tree, NULL, key, 1, key, 1, 3), -EINVAL);
	assert_int_equal(tp_pmem_btree_delete(fixture.tree, NULL, key, 0), -EINVAL);
	btree_model_compare(&fixture.model, fixture.tree);
}

static void
test_btree_put_modes(void **state)
{
	uint8_t got[8] = "";

	assert_int_equal(tp_pmem_btree_put(fixture.tree, NULL, "a", 1, "1", 1,
		TP_PMEM_BTREE_UPDATE), -ENOENT);
	assert_int_equal(tp_pmem_btree_put(fixture.tree, NULL, "a", 1, "1", 1,
		TP_PMEM_BTREE_INSERT), 0);
	assert_int_equal(tp_pmem_btree_put(fixture.tree, NULL, "a", 1, "2", 1,
		TP_PMEM_BTREE_INSERT), -EEXIST);
	assert_int_equal(tp_pmem_btree_get(fixture.tree, NULL, "a", 1, got, 8), 1);
	assert_int_equal(got[0], '1');
	assert_int_equal(tp_pmem_btree_put(fixture.tree, NULL, "a", 1, "three", 5,
		TP_PMEM_BTREE_UPDATE), 0);
	/* As much as fits, and how much it is. */
	memset(got, 0, sizeof(got));
	assert_int_equal(tp_pmem_btree_get(fixture.tree, NULL, "a", 1, got, 2), 5);
	assert_string_equal((char *)got, "th");
	assert_int_equal(tp_pmem_btree_count(fixture.tree), 1);
}

static void
test_btree_aborted_changes_are_never_seen(void **state)
{
	struct btree_model before = { 0 };
	uint8_t key[TP_PMEM_BTREE_KEY_MAX];
	struct tp_pmem_tx *tx;

	for (uint32_t i = 0; i < 500; i++)
		change(NULL, 3000, 0);
	btree_model_copy(&before, &fixture.model);
	tx = fixture_begin();
	for (uint32_t i = 0; i < 1000; i++) {
		change(tx, 3000, i < 500 ? 90 : 10);
		own_compare(tx, &before, key, key_make(key, fixture_random_below(3000)));
	}
	/* Others see the tree as it was, cursors too. */
	assert_int_equal(tp_pmem_btree_count(fixture.tree), before.count);
	for (size_t i = 0; i < before.count; i++)
		own_compare(tx, &before, before.pairs[i].key, before.pairs[i].key_bytes);
	tp_pmem_tx_abort(tx);
	btree_model_copy(&fixture.model, &before);
	btree_model_compare(&fixture.model, fixture.tree);
	fixture_crash_compare();
	btree_model_fini(&before);
}

static void
test_btree_survives_reopening(void **state)
{
	for (uint32_t round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < 300; i++)
			change(NULL, 2000, 20);
		tp_pmem_btree_close(fixture.tree);
		pool_file_close(fixture.pool);
		fixture.pool = pool_file_open(fixture.path);
		fixture.offset = tp_pmem_root_get(fixture.pool, "tree");
		assert_int_equal(tp_pmem_btree_open(fixture.pool, fixture.offset, &fixture.tree), 0);
		btree_model_compare(&fixture.model, fixture.tree);
	}
}

static void
test_btree_destroy_frees_everything(void **state)
{
	struct tp_pmem_tx *tx;

	for (uint32_t i = 0; i < 500; i++)
		change(NULL, 2000, 10);
	tp_pmem_btree_close(fixture.tree);
	fixture.tree = NULL;
	tx = fixture_begin();
	assert_int_equal(tp_pmem_btree_destroy(tx, fixture.offset + 64), -EINVAL);
	assert_int_equal(tp_pmem_btree_destroy(tx, fixture.offset), 0);
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	assert_int_equal(fixture_blocks(fixture.pool), 0);
	assert_int_equal(tp_pmem_btree_open(fixture.pool, fixture.offset, &fixture.tree), -EINVAL);
}

/* What a full pool refuses leaves the transaction as it was, and usable. */
static void
test_btree_full_pool(void **state)
{
	struct tp_pmem_tx *tx;
	uint8_t key[TP_PMEM_BTREE_KEY_MAX];
	uint32_t refused = 0;

	fixture_resize(UINT64_C(16) << 20);
	for (uint32_t i = 0; refused < 200; i++) {
		uint32_t key_bytes = key_make(key, i * 7 % 15000);
		uint32_t value_bytes = i % 3 == 0 ? 3000 : 100;
		int ret;

		tx = fixture_begin();
		ret = tp_pmem_btree_put(fixture.tree, tx, key, key_bytes, bytes, value_bytes,
			TP_PMEM_BTREE_UPSERT);
		if (ret == 0)
			btree_model_put(&fixture.model, key, key_bytes, bytes, value_bytes);
		else
			assert_int_equal(ret, -ENOSPC);
		refused += ret != 0;
		ret = tp_pmem_tx_commit(tx, 0);
		assert_int_equal(ret, 0);
	}
	btree_model_compare(&fixture.model, fixture.tree);
	fixture_crash_compare();
	while (fixture.model.count > 0) {
		const struct btree_model_pair *pair = &fixture.model.pairs[0];

		memcpy(key, pair->key, pair->key_bytes);
		delete(NULL, key, pair->key_bytes);
	}
	assert_int_equal(fixture_blocks(fixture.pool), 1);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_btree_empty_has_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_btree_put_modes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_btree_rises_and_falls, setup, teardown),
		cmocka_unit_test_setup_teardown(test_btree_random_is_like_the_model, setup, teardown),
		cmocka_unit_test_setup_teardown(test_btree_aborted_changes_are_never_seen, setup,
			teardown),
		cmocka_unit_test_setup_teardown(test_btree_survives_reopening, setup, teardown),
		cmocka_unit_test_setup_teardown(test_btree_destroy_frees_everything, setup, teardown),
		cmocka_unit_test_setup_teardown(test_btree_full_pool, setup, teardown),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
