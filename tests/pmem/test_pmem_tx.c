/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Transactions on real files, by cache lines and by pages. A crash is a copy of the
 * file while the pool is open: kill -9 leaves just that.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "pool_file.h"
#include "tp_pmem_alloc.h"
#include "tp_pmem_tx.h"

#define POOL_BYTES (UINT64_C(16) << 20)

struct fixture {
	char path[POOL_FILE_CHARS];
	char crash[POOL_FILE_CHARS];
	struct tp_pmem_pool *pool;
	struct tp_pmem_pool *other;	/* opened from the crash copy */
};

static struct fixture fixture;

static int
setup(void **state)
{
	pool_file_force_lines(*state == NULL);
	pool_file_path(fixture.path, "tx");
	pool_file_path(fixture.crash, "tx-crash");
	fixture.pool = pool_file_create(fixture.path, POOL_BYTES);
	fixture.other = NULL;
	return 0;
}

static int
teardown(void **state)
{
	tp_pmem_pool_close(fixture.pool);
	tp_pmem_pool_close(fixture.other);
	unlink(fixture.path);
	unlink(fixture.crash);
	pool_file_force_lines(false);
	return 0;
}

/* What recovery makes of a crash now. */
static struct tp_pmem_pool *
crashed(void)
{
	if (fixture.other != NULL)
		pool_file_close(fixture.other);
	pool_file_copy(fixture.path, fixture.crash);
	fixture.other = pool_file_open(fixture.crash);
	return fixture.other;
}

static struct tp_pmem_tx *
begin(void)
{
	struct tp_pmem_tx *tx = NULL;

	assert_int_equal(tp_pmem_tx_begin(fixture.pool, &tx), 0);
	return tx;
}

/* A root block of so many bytes, zeros, committed. */
static uint64_t
root_make(size_t bytes)
{
	struct tp_pmem_tx *tx = begin();
	uint64_t offset = 0;

	assert_int_equal(tp_pmem_tx_alloc(tx, bytes, TP_PMEM_ALLOC_ZERO, &offset), 0);
	assert_int_equal(tp_pmem_tx_root_set(tx, "root", offset), 0);
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	return offset;
}

static uint64_t
allocated_count(struct tp_pmem_pool *pool)
{
	struct tp_pmem_heap_info info;

	tp_pmem_heap_info_get(pool, &info);
	return info.allocated_count;
}

static void
test_commit_is_there_after_a_crash(void **state)
{
	uint64_t root = root_make(4096);
	uint8_t *p = tp_pmem_ptr(fixture.pool, root);
	struct tp_pmem_tx *tx = begin();

	assert_int_equal(tp_pmem_tx_add_range(tx, p + 100, 1000), 0);
	memset(p + 100, 7, 1000);
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);

	crashed();
	assert_int_equal(tp_pmem_root_get(fixture.other, "root"), root);
	assert_memory_equal(tp_pmem_ptr(fixture.other, root), p, 4096);
	assert_int_equal(((uint8_t *)tp_pmem_ptr(fixture.other, root))[1099], 7);
	assert_int_equal(((uint8_t *)tp_pmem_ptr(fixture.other, root))[1100], 0);
}

static void
test_open_transaction_is_gone_after_a_crash(void **state)
{
	uint64_t root = root_make(4096), offset;
	uint64_t *p = tp_pmem_ptr(fixture.pool, root);
	struct tp_pmem_tx *tx = begin();

	assert_int_equal(tp_pmem_tx_add_range(tx, p, 8), 0);
	*p = 1;
	p[1] = 2;	/* not even covered */
	assert_int_equal(tp_pmem_tx_alloc(tx, 100, 0, &offset), 0);

	crashed();
	p = tp_pmem_ptr(fixture.other, root);
	assert_int_equal(p[0], 0);
	assert_int_equal(p[1], 0);
	assert_int_equal(allocated_count(fixture.other), 1);
	tp_pmem_tx_abort(tx);
}

static void
test_abort_puts_everything_back(void **state)
{
	uint64_t root = root_make(4096), before = allocated_count(fixture.pool), offset, again;
	uint64_t *p = tp_pmem_ptr(fixture.pool, root);
	struct tp_pmem_tx *tx = begin();

	assert_int_equal(tp_pmem_tx_write(tx, p, &root, 8), 0);
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	tx = begin();
	assert_int_equal(tp_pmem_tx_add_range(tx, p, 4096), 0);
	memset(p, 0xff, 4096);
	assert_int_equal(tp_pmem_tx_alloc(tx, 64, 0, &offset), 0);
	assert_int_equal(tp_pmem_tx_free(tx, root), 0);
	tp_pmem_tx_abort(tx);
	assert_int_equal(p[0], root);
	assert_int_equal(p[1], 0);
	assert_int_equal(allocated_count(fixture.pool), before);
	assert_int_equal(tp_pmem_block_bytes(fixture.pool, offset), 0);
	tx = begin();
	assert_int_equal(tp_pmem_tx_alloc(tx, 64, 0, &again), 0);
	tp_pmem_tx_abort(tx);
}

static void
ended(void *context, bool committed)
{
	char *log = context;

	log[strlen(log)] = committed ? 'c' : 'a';
}

static void
test_nested_abort_undoes_its_level_only(void **state)
{
	uint64_t root = root_make(256), outer_block, inner_block;
	uint64_t *p = tp_pmem_ptr(fixture.pool, root);
	struct tp_pmem_tx *tx = begin();
	char outer_log[8] = "", inner_log[8] = "";

	assert_int_equal(tp_pmem_tx_add_range(tx, p, 64), 0);
	assert_int_equal(tp_pmem_tx_on_end(tx, ended, outer_log), 0);
	p[0] = 1;
	assert_int_equal(tp_pmem_tx_alloc(tx, 64, TP_PMEM_ALLOC_ZERO, &outer_block), 0);
	assert_int_equal(tp_pmem_tx_nest(tx), 0);
	assert_int_equal(tp_pmem_tx_on_end(tx, ended, inner_log), 0);
	assert_int_equal(tp_pmem_tx_add_range(tx, p, 128), 0);
	p[0] = 2;
	p[9] = 2;
	assert_int_equal(tp_pmem_tx_alloc(tx, 64, TP_PMEM_ALLOC_ZERO, &inner_block), 0);
	assert_int_equal(tp_pmem_tx_free(tx, outer_block), 0);
	tp_pmem_tx_abort(tx);
	assert_int_equal(p[0], 1);
	assert_int_equal(p[9], 0);
	assert_string_equal(inner_log, "a");
	assert_int_equal(tp_pmem_tx_nest(tx), 0);
	assert_int_equal(tp_pmem_tx_add_range(tx, p + 2, 8), 0);
	p[2] = 3;
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	assert_string_equal(outer_log, "c");

	crashed();
	p = tp_pmem_ptr(fixture.other, root);
	assert_int_equal(p[0], 1);
	assert_int_equal(p[2], 3);
	assert_int_equal(p[9], 0);
	assert_int_not_equal(tp_pmem_block_bytes(fixture.other, outer_block), 0);
	assert_int_equal(tp_pmem_block_bytes(fixture.other, inner_block), 0);
}

static void
test_free_and_alloc_in_one_transaction(void **state)
{
	uint64_t root = root_make(64), first, second;
	struct tp_pmem_tx *tx = begin();

	assert_int_equal(tp_pmem_tx_alloc(tx, 5000, 0, &first), 0);
	assert_int_equal(tp_pmem_tx_free(tx, first), 0);
	assert_int_equal(tp_pmem_tx_free(tx, first), -EALREADY);
	assert_int_equal(tp_pmem_tx_alloc(tx, 5000, 0, &second), 0);
	assert_int_not_equal(first, second);
	assert_int_equal(tp_pmem_tx_free(tx, root), 0);
	assert_int_equal(tp_pmem_tx_free(tx, root + 64), -EINVAL);
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	assert_int_equal(tp_pmem_block_bytes(fixture.pool, first), 0);
	assert_int_equal(tp_pmem_block_next(fixture.pool, 0), second);
	assert_int_equal(tp_pmem_block_next(fixture.pool, second), 0);
	crashed();
	assert_int_equal(tp_pmem_block_next(fixture.other, 0), second);
	assert_int_equal(tp_pmem_block_next(fixture.other, second), 0);
}

/* More than a lane's log: external; several: the log fills up and is emptied. */
static void
test_large_transactions(void **state)
{
	const size_t bytes = 2 << 20;
	uint64_t root = root_make(bytes);
	uint8_t *p = tp_pmem_ptr(fixture.pool, root);
	struct tp_pmem_tx *tx;

	for (uint8_t i = 1; i < 10; i++) {
		tx = begin();
		assert_int_equal(tp_pmem_tx_add_range(tx, p + i, bytes - i), 0);
		memset(p + i, i, bytes - i);
		assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
		crashed();
		assert_memory_equal(tp_pmem_ptr(fixture.other, root), p, bytes);
	}
	tx = begin();
	assert_int_equal(tp_pmem_tx_add_range(tx, p, bytes), 0);
	memset(p, 0xee, bytes);
	tp_pmem_tx_abort(tx);
	assert_memory_equal(tp_pmem_ptr(fixture.other, root), p, bytes);
}

static void
test_full_pool_is_refused_and_usable(void **state)
{
	uint64_t root = root_make(1 << 17), offset, block, count = 0;
	uint64_t *slots = tp_pmem_ptr(fixture.pool, root);
	struct tp_pmem_tx *tx;
	int ret;

	while ((ret = tp_pmem_alloc(fixture.pool, 1 << (6 + count % 12), TP_PMEM_ALLOC_RAW,
			&slots[count])) == 0)
		count++;
	assert_int_equal(ret, -ENOSPC);
	assert_true(count > 100);
	assert_int_equal(slots[count], 0);
	tx = begin();
	assert_int_equal(tp_pmem_tx_alloc(tx, 1 << 20, 0, &offset), -ENOSPC);
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	assert_int_equal(allocated_count(fixture.pool), count + 1);
	crashed();
	assert_int_equal(allocated_count(fixture.other), count + 1);
	for (uint64_t i = 0; i < count; i++)
		assert_int_equal(tp_pmem_free(fixture.pool, &slots[i]), 0);
	assert_int_equal(allocated_count(fixture.pool), 1);
	/* What runs held is in one piece again. */
	tx = begin();
	assert_int_equal(tp_pmem_tx_alloc(tx, 8 << 20, TP_PMEM_ALLOC_RAW, &block), 0);
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	crashed();
	assert_int_equal(allocated_count(fixture.other), 2);
}

static void
test_reopen_keeps_all_and_counts(void **state)
{
	uint64_t root = root_make(64), other = 0;
	struct tp_pmem_pool_info info;

	for (unsigned int i = 0; i < 3; i++) {
		pool_file_close(fixture.pool);
		fixture.pool = pool_file_open(fixture.path);
		assert_int_equal(tp_pmem_root_get(fixture.pool, "root"), root);
		assert_int_equal(tp_pmem_alloc(fixture.pool, 64, TP_PMEM_ALLOC_RAW,
			tp_pmem_ptr(fixture.pool, root)), 0);
		assert_int_equal(allocated_count(fixture.pool), 2 + i);
		assert_int_not_equal(*(uint64_t *)tp_pmem_ptr(fixture.pool, root), other);
		other = *(uint64_t *)tp_pmem_ptr(fixture.pool, root);
	}
	tp_pmem_pool_info_get(fixture.pool, &info);
	assert_true(info.was_clean);
	assert_int_equal(info.open_count, 4);
	assert_int_equal(info.bad_shutdown_count, 0);
	tp_pmem_pool_info_get(crashed(), &info);
	assert_false(info.was_clean);
	assert_int_equal(info.bad_shutdown_count, 1);
	assert_int_equal(info.recovered_count, 1);
}

static void
test_deferred_commits_come_in_order(void **state)
{
	uint64_t root = root_make(4096);
	uint64_t *p = tp_pmem_ptr(fixture.pool, root);
	struct tp_pmem_tx *txs[2];

	/* Two lanes in turn write the same word. */
	for (uint64_t i = 1; i <= 20; i++) {
		txs[0] = begin();
		txs[1] = begin();
		assert_int_equal(tp_pmem_tx_write(txs[i & 1], p, &i, 8), 0);
		assert_int_equal(tp_pmem_tx_commit(txs[i & 1], TP_PMEM_COMMIT_DEFER), 0);
		tp_pmem_tx_abort(txs[!(i & 1)]);
	}
	txs[0] = begin();
	assert_int_equal(tp_pmem_tx_add_range(txs[0], p, 8), 0);
	*p = 1000;
	tp_pmem_tx_abort(txs[0]);
	assert_int_equal(*p, 20);
	assert_int_equal(tp_pmem_pool_sync(fixture.pool), 0);
	assert_int_equal(*(uint64_t *)tp_pmem_ptr(crashed(), root), 20);
}

#define BOTH(test)								\
	{ #test " lines", test, setup, teardown, NULL },			\
	{ #test " pages", test, setup, teardown, (void *)fixture.path }

int
main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(test_commit_is_there_after_a_crash),
		BOTH(test_open_transaction_is_gone_after_a_crash),
		BOTH(test_abort_puts_everything_back),
		BOTH(test_nested_abort_undoes_its_level_only),
		BOTH(test_free_and_alloc_in_one_transaction),
		BOTH(test_large_transactions),
		BOTH(test_full_pool_is_refused_and_usable),
		BOTH(test_reopen_keeps_all_and_counts),
		BOTH(test_deferred_commits_come_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
