/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * B+tree: flipped bytes in the file, in every part of head, inner node, leaf and
 * value. What is read is right or refused, never something else; the check says where.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "btree_model.h"
#include "btree_priv.h"
#include "pool_file.h"

#define POOL_BYTES (UINT64_C(8) << 20)
#define KEYS 2000u

struct fixture {
	char path[POOL_FILE_CHARS];
	struct btree_model model;
	uint64_t tree;
	uint64_t root;		/* inner */
	uint64_t leaf;
	uint64_t value;		/* of 3000 bytes */
};

static struct fixture fixture;

static void
places_find(struct tp_pmem_pool *pool)
{
	const struct btree_head *head = tp_pmem_ptr(pool, fixture.tree);
	const struct btree_node *node;
	struct btree_item item;
	struct btree_out out;

	fixture.root = head->main.offset;
	node = tp_pmem_ptr(pool, fixture.root);
	assert_true(node->level == 1 && node->count > 2);
	fixture.leaf = btree_node_child(node, 1);
	node = tp_pmem_ptr(pool, fixture.leaf);
	for (uint32_t i = 0; i < node->count && fixture.value == 0; i++) {
		assert_true(btree_node_item(node, i, &item));
		if (item.word & BTREE_WORD_OUT) {
			memcpy(&out, item.tail, sizeof(out));
			fixture.value = out.offset;
		}
	}
	assert_int_not_equal(fixture.value, 0);
}

static int
setup(void **state)
{
	struct tp_pmem_btree *tree = NULL;
	struct tp_pmem_tx *tx = NULL;
	struct tp_pmem_pool *pool;
	uint8_t value[3000];
	char key[16];

	memset(&fixture, 0, sizeof(fixture));
	pool_file_force_lines(true);
	pool_file_path(fixture.path, "damage");
	pool = pool_file_create(fixture.path, POOL_BYTES);
	assert_int_equal(tp_pmem_tx_begin(pool, &tx), 0);
	assert_int_equal(tp_pmem_btree_create(tx, &fixture.tree), 0);
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	assert_int_equal(tp_pmem_btree_open(pool, fixture.tree, &tree), 0);
	for (uint32_t i = 0; i < KEYS; i++) {
		uint32_t bytes = i % 16 == 0 ? 3000 : i % 60;

		snprintf(key, sizeof(key), "key %06u", i * 7 % KEYS);
		memset(value, (int)i, sizeof(value));
		assert_int_equal(tp_pmem_btree_put(tree, NULL, key, 10, value, bytes, 0), 0);
		btree_model_put(&fixture.model, key, 10, value, bytes);
	}
	for (uint32_t i = 0; i < KEYS; i += 9) {	/* some garbage */
		snprintf(key, sizeof(key), "key %06u", i);
		assert_int_equal(tp_pmem_btree_delete(tree, NULL, key, 10), 0);
		btree_model_delete(&fixture.model, key, 10);
	}
	places_find(pool);
	tp_pmem_btree_close(tree);
	pool_file_close(pool);
	return 0;
}

static int
teardown(void **state)
{
	btree_model_fini(&fixture.model);
	unlink(fixture.path);
	pool_file_force_lines(false);
	return 0;
}

static void
file_flip(uint64_t offset, uint8_t bits)
{
	int fd = open(fixture.path, O_RDWR);
	uint8_t byte;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, (off_t)offset), 1);
	byte ^= bits;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)offset), 1);
	close(fd);
}

struct finding {
	uint64_t offset;
	unsigned int count;
};

static void
found(void *context, enum tp_pmem_check_verdict verdict, uint64_t offset, const char *text)
{
	struct finding *finding = context;

	assert_int_equal(verdict, TP_PMEM_CHECK_LOST);
	assert_true(strlen(text) > 0);
	finding->offset = offset;
	finding->count++;
}

/* Read all: how many keys are refused. None is missing, and none has another value. */
static uint32_t
refused_count(struct tp_pmem_btree *tree)
{
	uint8_t value[3000];
	uint32_t refused = 0;

	for (size_t i = 0; i < fixture.model.count; i++) {
		const struct btree_model_pair *pair = &fixture.model.pairs[i];
		int64_t ret = tp_pmem_btree_get(tree, NULL, pair->key, pair->key_bytes, value,
			sizeof(value));

		if (ret == -EBADMSG) {
			refused++;
			continue;
		}
		assert_int_equal(ret, pair->value_bytes);
		assert_memory_equal(value, pair->value, pair->value_bytes);
	}
	return refused;
}

/* Flip a byte of a block; so many keys at least, and at most, are lost. */
static void
flip(uint64_t block, uint32_t at, uint8_t bits, uint32_t least, uint32_t most)
{
	struct finding finding = { 0 };
	struct tp_pmem_btree *tree = NULL;
	struct tp_pmem_pool *pool;
	uint32_t refused;

	file_flip(block + at, bits);
	pool = pool_file_open(fixture.path);
	assert_int_equal(tp_pmem_btree_open(pool, fixture.tree, &tree), 0);
	refused = refused_count(tree);
	assert_in_range(refused, least, most);
	assert_int_equal(tp_pmem_btree_check(tree, found, &finding), 1);
	assert_int_equal(finding.count, 1);
	assert_int_equal(finding.offset, block);
	tp_pmem_btree_close(tree);
	pool_file_close(pool);
	file_flip(block + at, bits);
}

static void
test_damaged_leaf_is_refused(void **state)
{
	/* Each byte of the header and the first slots, then some of all: free, garbage, records. */
	for (uint32_t at = 0; at < 64; at++)
		flip(fixture.leaf, at, (uint8_t)(1 << at % 8), 5, 200);
	for (uint32_t at = 64; at < BTREE_NODE_BYTES; at += 61)
		flip(fixture.leaf, at, 0xff, 5, 200);
}

static void
test_damaged_inner_node_is_refused(void **state)
{
	for (uint32_t at = 0; at < 48; at++)
		flip(fixture.root, at, (uint8_t)(1 << at % 8), (uint32_t)fixture.model.count,
			(uint32_t)fixture.model.count);
	for (uint32_t at = 48; at < BTREE_NODE_BYTES; at += 197)
		flip(fixture.root, at, 0x10, (uint32_t)fixture.model.count,
			(uint32_t)fixture.model.count);
}

static void
test_damaged_value_is_refused(void **state)
{
	for (uint32_t at = 0; at < 3000; at += 149)
		flip(fixture.value, at, 0x80, 1, 1);
}

static void
test_damaged_head_is_refused(void **state)
{
	for (uint32_t at = 0; at < sizeof(struct btree_head); at++) {
		struct tp_pmem_btree *tree = NULL;
		struct tp_pmem_pool *pool;

		file_flip(fixture.tree + at, 4);
		pool = pool_file_open(fixture.path);
		assert_int_equal(tp_pmem_btree_open(pool, fixture.tree, &tree),
			at < 8 ? -EINVAL : -EBADMSG);
		pool_file_close(pool);
		file_flip(fixture.tree + at, 4);
	}
}

/* What is not damaged can be read, changed and walked up to the damage. */
static void
test_damaged_tree_is_still_of_use(void **state)
{
	struct tp_pmem_btree_cursor *cursor = NULL;
	enum tp_pmem_btree_seek how = TP_PMEM_BTREE_FIRST;
	struct tp_pmem_btree *tree = NULL;
	struct tp_pmem_tx *tx = NULL;
	struct tp_pmem_pool *pool;
	unsigned int steps = 0;
	int ret;

	file_flip(fixture.leaf + 3000, 1);
	pool = pool_file_open(fixture.path);
	assert_int_equal(tp_pmem_btree_open(pool, fixture.tree, &tree), 0);
	assert_int_equal(tp_pmem_btree_cursor_open(tree, &cursor), 0);
	while ((ret = tp_pmem_btree_cursor_move(cursor, how, NULL, 0, NULL, NULL, NULL, NULL)) == 0) {
		how = TP_PMEM_BTREE_NEXT;
		steps++;
	}
	assert_int_equal(ret, -EBADMSG);
	assert_in_range(steps, 5, 200);
	assert_non_null(strstr(tp_pmem_error(), "damaged"));
	tp_pmem_btree_cursor_close(cursor);
	assert_int_equal(tp_pmem_btree_put(tree, NULL, "zzz", 3, "1", 1, 0), 0);
	assert_int_equal(tp_pmem_btree_delete(tree, NULL, "zzz", 3), 0);
	/* Nothing is freed of a tree that cannot be read. */
	tp_pmem_btree_close(tree);
	assert_int_equal(tp_pmem_tx_begin(pool, &tx), 0);
	assert_int_equal(tp_pmem_btree_destroy(tx, fixture.tree), -EBADMSG);
	tp_pmem_tx_abort(tx);
	pool_file_close(pool);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_damaged_leaf_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged_inner_node_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged_value_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged_head_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged_tree_is_still_of_use, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
