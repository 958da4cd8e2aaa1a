/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Many threads: transactions beside each other, blocks freed by another thread than
 * the one that allocated them, checkpoints and reports meanwhile.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "pool_file.h"
#include "tp_pmem_alloc.h"
#include "tp_pmem_tx.h"

#define POOL_BYTES (UINT64_C(32) << 20)
#define THREADS 4u
#define STEPS 3000u
#define SLOTS 64u

/* Shared by all threads, each slot under its lock from before the first store to the end. */
struct table {
	uint64_t sum[THREADS];
	uint64_t slots[SLOTS];
};

struct shared {
	struct tp_pmem_pool *pool;
	struct table *table;
	pthread_mutex_t locks[SLOTS];
	atomic_uint running;
	atomic_uint errors;
	atomic_uint numbers;
};

static int
step(struct shared *shared, unsigned int thread, unsigned int i)
{
	unsigned int slot = (i * 7 + thread * 13) % SLOTS;
	uint64_t *sum = &shared->table->sum[thread];
	uint64_t *at = &shared->table->slots[slot];
	struct tp_pmem_tx *tx;
	uint64_t block = 0;
	int ret = tp_pmem_tx_begin(shared->pool, &tx);

	if (ret < 0)
		return ret;
	ret = tp_pmem_tx_add_range(tx, sum, sizeof(*sum));
	if (ret == 0)
		ret = tp_pmem_tx_add_range(tx, at, sizeof(*at));
	if (ret == 0 && *at != 0)
		ret = tp_pmem_tx_free(tx, *at);
	if (ret == 0 && *at == 0)
		ret = tp_pmem_tx_alloc(tx, 64 + i % 1000, TP_PMEM_ALLOC_ZERO, &block);
	if (ret < 0 || i % 10 == 9) {
		tp_pmem_tx_abort(tx);
		return ret;
	}
	*at = block;
	*sum += 1;
	return tp_pmem_tx_commit(tx, i % 3 == 0 ? TP_PMEM_COMMIT_DEFER : 0);
}

static void *
thread_main(void *context)
{
	struct shared *shared = context;
	unsigned int thread = atomic_fetch_add(&shared->numbers, 1);

	for (unsigned int i = 0; i < STEPS; i++) {
		unsigned int slot = (i * 7 + thread * 13) % SLOTS;

		pthread_mutex_lock(&shared->locks[slot]);
		if (step(shared, thread, i) < 0)
			atomic_fetch_add(&shared->errors, 1);
		pthread_mutex_unlock(&shared->locks[slot]);
	}
	atomic_fetch_sub(&shared->running, 1);
	return NULL;
}

static void
run(const char *name)
{
	struct shared shared = { .running = THREADS };
	struct tp_pmem_heap_info info;
	struct tp_pmem_pool_stats stats;
	pthread_t threads[THREADS];
	char path[POOL_FILE_CHARS];
	struct tp_pmem_tx *tx;
	uint64_t root, used = 1;

	pool_file_path(path, name);
	shared.pool = pool_file_create(path, POOL_BYTES);
	assert_int_equal(tp_pmem_tx_begin(shared.pool, &tx), 0);
	assert_int_equal(tp_pmem_tx_alloc(tx, sizeof(struct table), TP_PMEM_ALLOC_ZERO, &root), 0);
	assert_int_equal(tp_pmem_tx_root_set(tx, "table", root), 0);
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	shared.table = tp_pmem_ptr(shared.pool, root);
	for (unsigned int i = 0; i < SLOTS; i++)
		pthread_mutex_init(&shared.locks[i], NULL);
	for (unsigned int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, thread_main, &shared), 0);
	while (atomic_load(&shared.running) > 0) {
		assert_int_equal(tp_pmem_pool_checkpoint(shared.pool), 0);
		tp_pmem_heap_info_get(shared.pool, &info);
		tp_pmem_pool_stats_get(shared.pool, &stats);
		usleep(1000);
	}
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&shared.errors), 0);
	pool_file_close(shared.pool);

	shared.pool = pool_file_open(path);
	shared.table = tp_pmem_ptr(shared.pool, root);
	for (unsigned int i = 0; i < SLOTS; i++) {
		used += shared.table->slots[i] != 0;
		pthread_mutex_destroy(&shared.locks[i]);
	}
	for (unsigned int i = 0; i < THREADS; i++)
		assert_int_equal(shared.table->sum[i], STEPS - STEPS / 10);
	tp_pmem_heap_info_get(shared.pool, &info);
	assert_int_equal(info.allocated_count, used);
	pool_file_close(shared.pool);
	assert_int_equal(tp_pmem_pool_check(path, false, NULL, NULL), 0);
	unlink(path);
}

static void
test_threads_lines(void **state)
{
	pool_file_force_lines(true);
	run("threads-lines");
	pool_file_force_lines(false);
}

static void
test_threads_pages(void **state)
{
	run("threads-pages");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads_lines),
		cmocka_unit_test(test_threads_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
