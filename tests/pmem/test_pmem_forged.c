/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Pools that somebody else wrote: checksums hold, but what they cover makes no sense.
 * Each case is one that fuzz_pool found first.
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

#include "btree_priv.h"
#include "heap.h"
#include "pmem_priv.h"
#include "pool_file.h"

#define POOL_BYTES TP_PMEM_POOL_BYTES_MIN
#define LANES 2u
#define LANE_BYTES PMEM_LANE_BYTES_MIN
#define ZONE (PMEM_LOG_OFFSET + PMEM_CHUNK_BYTES)	/* the lanes have less than a chunk */

static char path[POOL_FILE_CHARS];

static int
setup(void **state)
{
	pool_file_force_lines(true);
	pool_file_path(path, "forged");
	return 0;
}

static int
teardown(void **state)
{
	unlink(path);
	pool_file_force_lines(false);
	return 0;
}

/* With a root block of 64 bytes. */
static struct tp_pmem_pool *
pool_make(void)
{
	const struct tp_pmem_pool_config config = { .lane_count = LANES, .lane_bytes = LANE_BYTES };
	struct tp_pmem_pool *pool;
	struct tp_pmem_tx *tx;
	uint64_t block;

	assert_int_equal(tp_pmem_pool_create(path, POOL_BYTES, &config, &pool), 0);
	assert_int_equal(pool->heap->zones[0].offset, ZONE);
	assert_int_equal(tp_pmem_tx_begin(pool, &tx), 0);
	assert_int_equal(tp_pmem_tx_alloc(tx, 64, TP_PMEM_ALLOC_ZERO, &block), 0);
	assert_int_equal(tp_pmem_tx_root_set(tx, "root", block), 0);
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	return pool;
}

static void
file_put(uint64_t offset, const void *data, size_t bytes)
{
	int fd = open(path, O_RDWR);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, data, bytes, (off_t)offset), bytes);
	close(fd);
}

/* Kinds that cannot be: the chunk is set aside, reports pass over it. */
static void
test_forged_kinds_are_damage(void **state)
{
	static const struct pmem_kind kinds[] = {
		{ .kind = PMEM_CHUNK_BODY + 1 },
		{ .kind = PMEM_CHUNK_RUN, .class = PMEM_CLASS_COUNT },
		{ .kind = PMEM_CHUNK_EXTENT, .number = 0 },
		{ .kind = PMEM_CHUNK_EXTENT, .number = 1000 },
		{ .kind = PMEM_CHUNK_EXTENT, .number = UINT32_MAX },
	};

	pool_file_close(pool_make());
	for (unsigned int i = 0; i < RTE_DIM(kinds); i++) {
		uint64_t word = pmem_kind_word(kinds[i]);
		struct tp_pmem_chunk_info chunk;
		struct tp_pmem_heap_info heap;
		struct tp_pmem_pool *pool;
		uint64_t index = 0;

		file_put(ZONE + 8, &word, sizeof(word));
		assert_int_equal(tp_pmem_pool_check(path, false, NULL, NULL), 1);
		pool = pool_file_open(path);
		tp_pmem_heap_info_get(pool, &heap);
		assert_int_equal(heap.chunk_count, pool->heap->zones[0].chunk_count);
		assert_int_equal(heap.allocated_count, 1);
		while (tp_pmem_chunk_info_next(pool, &index, &chunk))
			assert_int_equal(chunk.bytes, PMEM_CHUNK_BYTES);
		assert_int_equal(index, heap.chunk_count);
		pool_file_close(pool);
	}
}

static struct tp_pmem_tx *
begin(struct tp_pmem_pool *pool)
{
	struct tp_pmem_tx *tx = NULL;

	assert_int_equal(tp_pmem_tx_begin(pool, &tx), 0);
	return tx;
}

struct finding {
	unsigned int count;
	uint64_t offset;
};

static void
found(void *context, enum tp_pmem_check_verdict verdict, uint64_t offset, const char *text)
{
	struct finding *finding = context;

	if (verdict != TP_PMEM_CHECK_NOTE) {
		finding->count++;
		finding->offset = offset;
	}
}

/* A tree of one inner node a level, all of whose children are the one below it. */
static uint64_t
tower_make(struct tp_pmem_pool *pool, uint32_t height)
{
	struct tp_pmem_tx *tx = begin(pool);
	struct btree_item items[100];
	uint64_t tree, below = 0, offset;
	struct btree_head *head;
	char keys[100][4];

	assert_int_equal(tp_pmem_btree_create(tx, &tree), 0);
	for (uint32_t level = 0; level < height; level++) {
		uint32_t count = level == 0 ? 0 : RTE_DIM(items);

		for (uint32_t i = 0; i < count; i++) {
			snprintf(keys[i], sizeof(keys[i]), "%03u", i);
			items[i] = (struct btree_item){ below, (uint8_t *)keys[i], NULL, 3, 0 };
		}
		assert_int_equal(tp_pmem_tx_alloc(tx, BTREE_NODE_BYTES, 0, &offset), 0);
		btree_node_build(tp_pmem_ptr(pool, offset), level, tree, below, items, count);
		btree_node_seal(tp_pmem_ptr(pool, offset), offset);
		below = offset;
	}
	head = tp_pmem_ptr(pool, tree);
	assert_int_equal(tp_pmem_tx_add_range(tx, head, sizeof(*head)), 0);
	head->main = (struct btree_root){ .offset = below, .height = height };
	head->crc = tp_pmem_crc((uint32_t)(tree / 64), &head->reserved, 52);
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	return tree;
}

/* 100^10 ways lead to the leaf: neither the check nor the destruction walks them all. */
static void
test_forged_tree_with_shared_nodes_is_damage(void **state)
{
	struct tp_pmem_pool *pool = pool_make();
	uint64_t offset = tower_make(pool, 11);
	struct finding finding = { 0 };
	struct tp_pmem_btree *tree;
	struct tp_pmem_tx *tx;

	assert_int_equal(tp_pmem_btree_open(pool, offset, &tree), 0);
	assert_true(tp_pmem_btree_check(tree, found, &finding) > 0);
	assert_true(finding.count > 0);
	tp_pmem_btree_close(tree);
	tx = begin(pool);
	assert_int_equal(tp_pmem_btree_destroy(tx, offset), -EBADMSG);
	tp_pmem_tx_abort(tx);
	/* Two ways to one leaf: found before the first block is freed. */
	offset = tower_make(pool, 2);
	tx = begin(pool);
	assert_int_equal(tp_pmem_btree_destroy(tx, offset), -EBADMSG);
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	assert_int_not_equal(tp_pmem_block_bytes(pool, offset), 0);
	assert_int_equal(tp_pmem_block_bytes(pool,
		((struct btree_head *)tp_pmem_ptr(pool, offset))->main.offset), BTREE_NODE_BYTES);
	pool_file_close(pool);
}

/* Separators out of order, and empty leaves: a cursor that looks for a key gives up. */
static void
test_forged_separators_end_a_search(void **state)
{
	static const char * const keys[] = { "m", "c", "x" };
	struct tp_pmem_pool *pool = pool_make();
	uint64_t offset = tower_make(pool, 2);
	const struct btree_head *head = tp_pmem_ptr(pool, offset);
	struct btree_node *root = tp_pmem_ptr(pool, head->main.offset);
	struct tp_pmem_btree_cursor *cursor;
	uint64_t leaf = root->child;
	struct btree_item items[RTE_DIM(keys)];
	struct tp_pmem_btree *tree;
	unsigned int refused = 0;
	struct tp_pmem_tx *tx = begin(pool);

	for (uint32_t i = 0; i < RTE_DIM(keys); i++)
		items[i] = (struct btree_item){ leaf, (const uint8_t *)keys[i], NULL, 1, 0 };
	assert_int_equal(tp_pmem_tx_add_range(tx, root, sizeof(*root)), 0);
	btree_node_build(root, 1, offset, leaf, items, RTE_DIM(keys));
	btree_node_seal(root, head->main.offset);
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	assert_int_equal(tp_pmem_btree_open(pool, offset, &tree), 0);
	assert_int_equal(tp_pmem_btree_cursor_open(tree, &cursor), 0);
	for (char key = 'a'; key <= 'z'; key++)
		for (int how = TP_PMEM_BTREE_AT_OR_AFTER; how <= TP_PMEM_BTREE_AT_OR_BEFORE; how++) {
			int ret = tp_pmem_btree_cursor_move(cursor, how, &key, 1, NULL, NULL, NULL,
				NULL);

			assert_true(ret == -ENOENT || ret == -EBADMSG);
			refused += ret == -EBADMSG;
		}
	assert_true(refused > 0);
	tp_pmem_btree_cursor_close(cursor);
	tp_pmem_btree_close(tree);
	pool_file_close(pool);
}

/* A child at the end of the address space: no address is made of it that overflows. */
static void
test_forged_child_nowhere_is_damage(void **state)
{
	struct tp_pmem_pool *pool = pool_make();
	uint64_t offset = tower_make(pool, 2);
	const struct btree_head *head = tp_pmem_ptr(pool, offset);
	struct btree_node *root = tp_pmem_ptr(pool, head->main.offset);
	struct tp_pmem_btree_cursor *cursor;
	struct tp_pmem_btree *tree;
	struct tp_pmem_tx *tx = begin(pool);
	uint8_t value[8];

	assert_int_equal(tp_pmem_tx_add_range(tx, root, sizeof(*root)), 0);
	root->child = -(uint64_t)BTREE_NODE_BYTES;
	btree_node_seal(root, head->main.offset);
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	assert_int_equal(tp_pmem_btree_open(pool, offset, &tree), 0);
	assert_int_equal(tp_pmem_btree_get(tree, NULL, "000", 3, value, 8), -ENOENT);
	assert_int_equal(tp_pmem_btree_get(tree, NULL, "!", 1, value, 8), -EBADMSG);
	assert_int_equal(tp_pmem_btree_put(tree, NULL, "!", 1, value, 8, 0), -EBADMSG);
	assert_int_equal(tp_pmem_btree_cursor_open(tree, &cursor), 0);
	assert_int_equal(tp_pmem_btree_cursor_move(cursor, TP_PMEM_BTREE_FIRST, NULL, 0, NULL, NULL,
		NULL, NULL), -EBADMSG);
	tp_pmem_btree_cursor_close(cursor);
	assert_true(tp_pmem_btree_check(tree, NULL, NULL) > 0);
	tp_pmem_btree_close(tree);
	tx = begin(pool);
	assert_int_equal(tp_pmem_btree_destroy(tx, offset), -EBADMSG);
	tp_pmem_tx_abort(tx);
	pool_file_close(pool);
}

/* A long value that is nowhere, of no bytes: named at the leaf, and never freed. */
static void
test_forged_value_nowhere_is_damage(void **state)
{
	struct tp_pmem_pool *pool = pool_make();
	const struct btree_out out = { .offset = -(uint64_t)TP_PMEM_LINE_BYTES };
	struct btree_item item = { BTREE_WORD_OUT | UINT64_C(3) << 48, (const uint8_t *)"key",
		(const uint8_t *)&out, 3, sizeof(out) };
	struct tp_pmem_tx *tx;
	uint64_t offset = tower_make(pool, 1);
	struct btree_head *head = tp_pmem_ptr(pool, offset);
	struct finding finding = { 0 };
	struct tp_pmem_btree *tree;
	uint8_t value[8];

	tx = begin(pool);
	assert_int_equal(tp_pmem_tx_add_range(tx, tp_pmem_ptr(pool, head->main.offset),
		BTREE_NODE_BYTES), 0);
	btree_node_build(tp_pmem_ptr(pool, head->main.offset), 0, offset, 0, &item, 1);
	btree_node_seal(tp_pmem_ptr(pool, head->main.offset), head->main.offset);
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	assert_int_equal(tp_pmem_btree_open(pool, offset, &tree), 0);
	assert_int_equal(tp_pmem_btree_check(tree, found, &finding), 1);
	assert_int_equal(finding.offset, head->main.offset);
	assert_int_equal(tp_pmem_btree_get(tree, NULL, "key", 3, value, 8), -EBADMSG);
	tp_pmem_btree_close(tree);
	tx = begin(pool);
	assert_int_equal(tp_pmem_btree_destroy(tx, offset), -EBADMSG);
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	assert_int_equal(tp_pmem_block_bytes(pool, head->main.offset), BTREE_NODE_BYTES);
	pool_file_close(pool);
}

/* A record of the lane at a position, with a checksum that holds. */
static void
record_forge(const char *name, uint64_t position, uint64_t seq, uint64_t epoch,
	     const struct pmem_buffer *entries)
{
	struct pmem_record *record = calloc(1, sizeof(*record) + entries->bytes);
	int fd = open(name, O_RDWR);

	assert_non_null(record);
	*record = (struct pmem_record){
		.bytes = (uint32_t)(sizeof(*record) + entries->bytes),
		.seq = seq,
		.epoch = epoch,
	};
	memcpy(record + 1, entries->data, entries->bytes);
	record->crc = pmem_record_crc(record, 0, position);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, record, record->bytes, (off_t)(PMEM_LOG_OFFSET + position)),
		record->bytes);
	close(fd);
	free(record);
}

/*
 * Redo would make the second record longer after it was looked at, so that what lies behind it
 * counts, which is an entry that reaches over the end of the pool.
 */
static void
test_forged_record_cannot_change_the_log(void **state)
{
	static const uint32_t longer = 8192;
	const uint64_t behind[2] = { ZONE | (uint64_t)PMEM_ENTRY_WRITE << PMEM_ENTRY_OFFSET_BITS,
		POOL_BYTES - ZONE };
	struct tp_pmem_pool *pool = pool_make();
	uint64_t root = tp_pmem_root_get(pool, "root"), epoch = pool->epoch;
	uint64_t seq = UINT64_C(1) << 20, value = 1;
	struct pmem_buffer entries = { 0 };
	char copy[POOL_FILE_CHARS];
	int fd;

	pool_file_path(copy, "forged-log");
	assert_int_equal(tp_pmem_pool_checkpoint(pool), 0);
	pool_file_copy(path, copy);
	pool_file_close(pool);
	assert_int_equal(pmem_entry_write(&entries, PMEM_LOG_OFFSET + 128 + 4, &longer, 4), 0);
	record_forge(copy, 0, seq, epoch, &entries);
	entries.bytes = 0;
	assert_int_equal(pmem_entry_write(&entries, root, &value, sizeof(value)), 0);
	record_forge(copy, 128, seq + 1, epoch, &entries);
	fd = open(copy, O_RDWR);
	assert_int_equal(pwrite(fd, behind, sizeof(behind), PMEM_LOG_OFFSET + 128 +
		sizeof(struct pmem_record) + (off_t)entries.bytes), sizeof(behind));
	close(fd);
	pool = pool_file_open(copy);
	assert_int_equal(pool->recovered_count, 0);
	assert_int_equal(*(uint64_t *)tp_pmem_ptr(pool, root), 0);
	pool_file_close(pool);
	pmem_buffer_fini(&entries);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_forged_kinds_are_damage, setup, teardown),
		cmocka_unit_test_setup_teardown(test_forged_tree_with_shared_nodes_is_damage, setup,
			teardown),
		cmocka_unit_test_setup_teardown(test_forged_separators_end_a_search, setup, teardown),
		cmocka_unit_test_setup_teardown(test_forged_record_cannot_change_the_log, setup,
			teardown),
		cmocka_unit_test_setup_teardown(test_forged_child_nowhere_is_damage, setup, teardown),
		cmocka_unit_test_setup_teardown(test_forged_value_nowhere_is_damage, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
