/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * B+tree: readers beside a writer. A value says which key it is of and which of the
 * key's changes made it, over its whole length; changes of transactions that will abort are
 * marked. Readers must see no marked value, no torn one, none older than one they
 * saw before, and every key that is never removed.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "btree_model.h"
#include "pool_file.h"
#include "tp_pmem_btree.h"

#define POOL_BYTES (UINT64_C(64) << 20)
#define KEYS 1500u			/* even ones are never removed */
#define READERS 2u
#define WRITES 12000u
#define MARK (UINT32_C(1) << 31)
#define WORDS_MAX 512u
#define KEY_BYTES_MAX 128u

struct shared {
	struct tp_pmem_pool *pool;
	struct tp_pmem_btree *tree;
	atomic_bool done;
	atomic_uint failures;
	atomic_ulong reads;
};

static uint32_t
key_make(uint8_t key[KEY_BYTES_MAX], uint32_t number)
{
	uint32_t bytes = 8 + number * 7 % (KEY_BYTES_MAX - 8);

	memset(key, 'x', bytes);
	snprintf((char *)key, 8, "%07u", number);
	return bytes;
}

/* In the node or in a block of its own, by the change. */
static uint32_t
value_words(uint32_t change)
{
	return change % 4 == 0 ? WORDS_MAX - change % 300 : 2 + change % 30;
}

static void
report(struct shared *shared, const char *what, uint32_t number)
{
	atomic_fetch_add(&shared->failures, 1);
	print_message("key %u: %s\n", number, what);
}

static void
value_look(struct shared *shared, uint32_t number, const uint32_t *value, uint32_t bytes,
	   uint32_t *seen)
{
	uint32_t change = bytes >= 8 ? value[1] : 0;

	if (bytes < 8 || value[0] != number || bytes != 4 * value_words(change & ~MARK))
		report(shared, "not its value", number);
	else if (change & MARK)
		report(shared, "not committed", number);
	else if (change < *seen)
		report(shared, "older than before", number);
	for (uint32_t i = 2; i < bytes / 4; i++)
		if (value[i] != number * 31 + change) {
			report(shared, "torn", number);
			break;
		}
	*seen = change & ~MARK;
}

static void
reader_get(struct shared *shared, uint32_t number, uint32_t *seen)
{
	uint32_t value[WORDS_MAX];
	uint8_t key[KEY_BYTES_MAX];
	uint32_t key_bytes = key_make(key, number);
	int64_t ret = tp_pmem_btree_get(shared->tree, NULL, key, key_bytes, value, sizeof(value));

	if (ret > 0)
		value_look(shared, number, value, (uint32_t)ret, &seen[number]);
	else if (ret != -ENOENT || number % 2 == 0)
		report(shared, ret == -ENOENT ? "not found" : "damaged", number);
}

static void
reader_scan(struct shared *shared, struct tp_pmem_btree_cursor *cursor, bool back, uint32_t *seen)
{
	enum tp_pmem_btree_seek how = back ? TP_PMEM_BTREE_LAST : TP_PMEM_BTREE_FIRST;
	uint32_t next = back ? KEYS - 2 : 0, key_bytes, value_bytes, value[WORDS_MAX];
	const void *key, *data;

	while (tp_pmem_btree_cursor_move(cursor, how, NULL, 0, &key, &key_bytes, &data,
			&value_bytes) == 0) {
		unsigned int number = KEYS;

		how = back ? TP_PMEM_BTREE_PREVIOUS : TP_PMEM_BTREE_NEXT;
		sscanf(key, "%7u", &number);
		if (number >= KEYS || value_bytes > sizeof(value)) {
			report(shared, "no such key", number);
			return;
		}
		memcpy(value, data, value_bytes);
		value_look(shared, number, value, value_bytes, &seen[number]);
		if (number % 2 == 1)
			continue;
		if (number != next)
			report(shared, "out of turn", number);
		next = back ? number - 2 : number + 2;
	}
	if (next != (back ? UINT32_MAX - 1 : KEYS))
		report(shared, "scan ended", next);
}

static void *
reader_main(void *context)
{
	struct shared *shared = context;
	struct tp_pmem_btree_cursor *cursor = NULL;
	uint64_t random = (uintptr_t)&random | 1;
	uint32_t seen[KEYS] = { 0 };

	if (tp_pmem_btree_cursor_open(shared->tree, &cursor) < 0)
		report(shared, "no cursor", 0);
	for (uint32_t i = 0; !atomic_load(&shared->done) && atomic_load(&shared->failures) == 0;
			i++) {
		if (i % 500 == 499)
			reader_scan(shared, cursor, i % 1000 == 999, seen);
		else
			reader_get(shared, (uint32_t)(btree_model_random(&random) >> 33) % KEYS,
				seen);
		atomic_fetch_add(&shared->reads, 1);
	}
	tp_pmem_btree_cursor_close(cursor);
	return NULL;
}

static void
put(struct shared *shared, struct tp_pmem_tx *tx, uint32_t number, uint32_t change)
{
	uint32_t value[WORDS_MAX];
	uint8_t key[KEY_BYTES_MAX];
	uint32_t key_bytes = key_make(key, number), words = value_words(change & ~MARK);

	value[0] = number;
	value[1] = change;
	for (uint32_t i = 2; i < words; i++)
		value[i] = number * 31 + change;
	assert_int_equal(tp_pmem_btree_put(shared->tree, tx, key, key_bytes, value, 4 * words,
		TP_PMEM_BTREE_UPSERT), 0);
}

static void
change_some(struct shared *shared, struct tp_pmem_tx *tx, uint64_t *random, uint32_t change)
{
	uint32_t number = (uint32_t)(btree_model_random(random) >> 33) % KEYS;
	uint8_t key[KEY_BYTES_MAX];
	uint32_t key_bytes = key_make(key, number);

	/* Odd keys by stretches, so that nodes come and go. */
	if (number % 2 == 1 && (change / 1000 + number / 100) % 2 == 0)
		tp_pmem_btree_delete(shared->tree, tx, key, key_bytes);
	else
		put(shared, tx, number, change);
}

static void
writer(struct shared *shared, uint32_t writes)
{
	uint64_t random = 4711;
	struct tp_pmem_tx *tx = NULL;

	for (uint32_t i = 1; i < writes && atomic_load(&shared->failures) == 0; i++) {
		if (i % 8 != 0) {
			change_some(shared, NULL, &random, i);
			continue;
		}
		assert_int_equal(tp_pmem_tx_begin(shared->pool, &tx), 0);
		for (uint32_t j = 0; j < i % 50; j++)
			change_some(shared, tx, &random, i % 16 == 0 ? i | MARK : i);
		if (i % 16 == 0)
			tp_pmem_tx_abort(tx);
		else
			assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	}
}

static void
test_btree_readers_beside_a_writer(void **state)
{
	char path[POOL_FILE_CHARS];
	struct shared shared = { 0 };
	pthread_t readers[READERS];
	uint64_t offset = 0;
	struct tp_pmem_tx *tx = NULL;

	pool_file_force_lines(true);
	pool_file_path(path, "btree-threads");
	shared.pool = pool_file_create(path, POOL_BYTES);
	assert_int_equal(tp_pmem_tx_begin(shared.pool, &tx), 0);
	assert_int_equal(tp_pmem_btree_create(tx, &offset), 0);
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	assert_int_equal(tp_pmem_btree_open(shared.pool, offset, &shared.tree), 0);
	for (uint32_t i = 0; i < KEYS; i += 2)
		put(&shared, NULL, i, 0);
	for (unsigned int i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&readers[i], NULL, reader_main, &shared), 0);
	writer(&shared, WRITES);
	while (atomic_load(&shared.reads) < 1000 && atomic_load(&shared.failures) == 0)
		usleep(1000);
	atomic_store(&shared.done, true);
	for (unsigned int i = 0; i < READERS; i++)
		pthread_join(readers[i], NULL);
	assert_int_equal(atomic_load(&shared.failures), 0);
	assert_int_equal(tp_pmem_btree_check(shared.tree, NULL, NULL), 0);
	print_message("%lu reads\n", atomic_load(&shared.reads));
	tp_pmem_btree_close(shared.tree);
	pool_file_close(shared.pool);
	unlink(path);
	pool_file_force_lines(false);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_btree_readers_beside_a_writer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
