/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Hybrid objects by several threads, with a cache of a fraction of them: readers see whole
 * versions that never go back, transfers between accounts keep the sum, and what was
 * committed is there after opening again. Flushes, statistics, trims and checkpoints meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "hybrid_store.h"
#include "pool_file.h"

#define POOL_BYTES (UINT64_C(16) << 20)
#define OBJECT_BYTES 120u
#define STRIDE 128u
#define ACCOUNTS 64u
#define OBJECTS 400u		/* accounts first, then versioned ones */
#define CACHE_OBJECTS 96u
#define WRITERS 3u
#define READERS 2u
#define STEPS 4000u
#define BALANCE 1000

struct shared {
	struct tp_pmem_hybrid *hybrid;
	atomic_uint running;
	atomic_uint errors;
	atomic_uint numbers;
	atomic_ullong versions[OBJECTS];	/* begun; of a writer's own objects */
};

static uint32_t
random_below(uint64_t *random, uint32_t end)
{
	*random = *random * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*random >> 33) % end;
}

/* 0, or an error but -EAGAIN, which is why it tries again. */
static int
transfer(struct tp_pmem_hybrid_thread *thread, uint32_t from, uint32_t to, int64_t amount)
{
	int64_t *a = NULL, *b = NULL;
	int ret;

	do {
		ret = tp_pmem_hybrid_edit(thread, from, OBJECT_BYTES, 0, (void **)&a);
		if (ret == 0)
			ret = tp_pmem_hybrid_edit(thread, to, OBJECT_BYTES, 0, (void **)&b);
		if (ret < 0)
			tp_pmem_hybrid_abort(thread);
		if (ret == -EAGAIN)
			usleep(1);
	} while (ret == -EAGAIN);
	if (ret < 0)
		return ret;
	*a -= amount;
	*b += amount;
	return tp_pmem_hybrid_commit(thread);
}

static void
writer(struct shared *shared, struct tp_pmem_hybrid_thread *thread, unsigned int number)
{
	uint64_t random = number + 1;

	for (unsigned int i = 0; i < STEPS; i++) {
		/* Each writer has versioned objects of its own. */
		uint32_t id = ACCOUNTS + number +
			random_below(&random, (OBJECTS - ACCOUNTS) / WRITERS) * WRITERS;
		uint32_t from = random_below(&random, ACCOUNTS);
		uint32_t to = random_below(&random, ACCOUNTS);
		uint64_t version = atomic_load(&shared->versions[id]) + 1;

		atomic_store(&shared->versions[id], version);
		if (hybrid_store_set(thread, id, version, OBJECT_BYTES) < 0 ||
				tp_pmem_hybrid_commit(thread) < 0)
			atomic_fetch_add(&shared->errors, 1);
		if (from != to && transfer(thread, from, to, 1 + (int64_t)(i % 7)) < 0)
			atomic_fetch_add(&shared->errors, 1);
	}
}

static void
reader(struct shared *shared, struct tp_pmem_hybrid_thread *thread, unsigned int number)
{
	uint64_t random = 100 + number;
	uint64_t seen[OBJECTS] = { 0 };

	while (atomic_load(&shared->running) > READERS) {
		uint32_t id = ACCOUNTS + random_below(&random, OBJECTS - ACCOUNTS);
		uint64_t version = hybrid_store_get(thread, id, OBJECT_BYTES);

		if (version == UINT64_MAX || version < seen[id] ||
				version > atomic_load(&shared->versions[id]))
			atomic_fetch_add(&shared->errors, 1);
		else
			seen[id] = version;
	}
}

static void *
thread_main(void *context)
{
	struct shared *shared = context;
	unsigned int number = atomic_fetch_add(&shared->numbers, 1);
	struct tp_pmem_hybrid_thread *thread;

	if (tp_pmem_hybrid_thread_open(shared->hybrid, &thread) < 0) {
		atomic_fetch_add(&shared->errors, 1);
	} else {
		if (number < WRITERS)
			writer(shared, thread, number);
		else
			reader(shared, thread, number);
		tp_pmem_hybrid_thread_close(thread);
	}
	atomic_fetch_sub(&shared->running, 1);
	return NULL;
}

static int64_t
balances_sum(struct tp_pmem_hybrid_thread *thread)
{
	struct tp_pmem_hybrid_pin pin;
	int64_t sum = 0, balance;

	for (uint32_t id = 0; id < ACCOUNTS; id++) {
		assert_int_equal(tp_pmem_hybrid_get(thread, id, &pin), 0);
		memcpy(&balance, pin.data, sizeof(balance));
		sum += balance;
		tp_pmem_hybrid_put(thread, &pin);
	}
	return sum;
}

static void
accounts_make(struct tp_pmem_hybrid *hybrid)
{
	struct tp_pmem_hybrid_thread *thread;
	int64_t *account = NULL;

	assert_int_equal(tp_pmem_hybrid_thread_open(hybrid, &thread), 0);
	for (uint32_t id = 0; id < ACCOUNTS; id++) {
		assert_int_equal(tp_pmem_hybrid_edit(thread, id, OBJECT_BYTES, 0,
			(void **)&account), 0);
		*account = BALANCE;
		assert_int_equal(tp_pmem_hybrid_commit(thread), 0);
	}
	tp_pmem_hybrid_thread_close(thread);
}

static void
check_all(struct shared *shared, bool kept)
{
	struct tp_pmem_hybrid_thread *thread;

	assert_int_equal(tp_pmem_hybrid_thread_open(shared->hybrid, &thread), 0);
	if (kept)
		assert_int_equal(balances_sum(thread), ACCOUNTS * BALANCE);
	for (uint32_t id = ACCOUNTS; id < OBJECTS; id++)
		assert_int_equal(hybrid_store_get(thread, id, OBJECT_BYTES),
			kept ? atomic_load(&shared->versions[id]) : 0);
	tp_pmem_hybrid_thread_close(thread);
}

static void
threads_run(struct shared *shared, struct tp_pmem_pool *pool)
{
	pthread_t threads[WRITERS + READERS];
	struct tp_pmem_hybrid_stats stats;

	atomic_store(&shared->running, WRITERS + READERS);
	for (unsigned int i = 0; i < WRITERS + READERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, thread_main, shared), 0);
	while (atomic_load(&shared->running) > 0) {
		tp_pmem_hybrid_stats_get(shared->hybrid, &stats);
		assert_true(stats.dirty_bytes <= stats.dirty_bytes_max);
		assert_int_equal(tp_pmem_hybrid_flush(shared->hybrid), 0);
		assert_int_equal(tp_pmem_pool_trim(pool), 0);
		assert_int_equal(tp_pmem_pool_checkpoint(pool), 0);
		usleep(1000);
	}
	for (unsigned int i = 0; i < WRITERS + READERS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&shared->errors), 0);
	tp_pmem_hybrid_stats_get(shared->hybrid, &stats);
	assert_true(stats.evictions > 0 && stats.hits > 0 && stats.misses > 0);
}

static void
run(enum tp_pmem_hybrid_level level, enum tp_pmem_hybrid_policy policy, bool full_fences)
{
	const struct tp_pmem_hybrid_config config = {
		.cache_bytes = CACHE_OBJECTS * STRIDE,
		.policy = policy,
		.lag_ms = 3,
		.thread_count = WRITERS + READERS + 1,
		.full_fences = full_fences,
	};
	struct shared shared = { 0 };
	struct tp_pmem_pool *pool;
	char path[POOL_FILE_CHARS];
	uint64_t offset;

	pool_file_force_lines(true);
	pool_file_path(path, "hybrid-threads");
	pool = pool_file_create(path, POOL_BYTES);
	offset = hybrid_store_create(pool, OBJECT_BYTES, OBJECTS, level);
	assert_int_equal(tp_pmem_hybrid_open(pool, offset, &config, &shared.hybrid), 0);
	accounts_make(shared.hybrid);
	threads_run(&shared, pool);
	check_all(&shared, true);
	assert_int_equal(tp_pmem_hybrid_close(shared.hybrid), 0);
	pool_file_close(pool);

	pool = pool_file_open(path);
	assert_int_equal(tp_pmem_hybrid_open(pool, offset, &config, &shared.hybrid), 0);
	check_all(&shared, level != TP_PMEM_HYBRID_NONE);
	assert_int_equal(tp_pmem_hybrid_check(shared.hybrid, NULL, NULL), 0);
	assert_int_equal(tp_pmem_hybrid_close(shared.hybrid), 0);
	assert_true(hybrid_store_frees_all(pool, offset));
	pool_file_close(pool);
	unlink(path);
	pool_file_force_lines(false);
}

static void
test_hybrid_threads_none(void **state)
{
	run(TP_PMEM_HYBRID_NONE, TP_PMEM_HYBRID_WRITE_BACK, false);
	run(TP_PMEM_HYBRID_NONE, TP_PMEM_HYBRID_WRITE_THROUGH, true);
}

static void
test_hybrid_threads_eventual(void **state)
{
	run(TP_PMEM_HYBRID_EVENTUAL, TP_PMEM_HYBRID_WRITE_BACK, false);
	run(TP_PMEM_HYBRID_EVENTUAL, TP_PMEM_HYBRID_WRITE_BACK, true);
	run(TP_PMEM_HYBRID_EVENTUAL, TP_PMEM_HYBRID_WRITE_THROUGH, false);
}

static void
test_hybrid_threads_transaction(void **state)
{
	run(TP_PMEM_HYBRID_TRANSACTION, TP_PMEM_HYBRID_WRITE_BACK, false);
	run(TP_PMEM_HYBRID_TRANSACTION, TP_PMEM_HYBRID_WRITE_THROUGH, false);
}

/*
 * Threads that change one object, each flushing what it committed: then the medium has it,
 * or a later one.
 */
#define FLUSHERS 16u
#define FLUSHER_STEPS 20000u

struct flusher {
	struct tp_pmem_hybrid *hybrid;
	int fd;			/* of the pool's file */
	off_t contents;		/* of the object, in it */
	atomic_uint lost;
	atomic_uint errors;
};

static uint64_t
word_read(int fd, off_t offset)
{
	uint64_t word = 0;

	assert_int_equal(pread(fd, &word, sizeof(word), offset), sizeof(word));
	return word;
}

static void *
flusher_main(void *context)
{
	struct flusher *flusher = context;
	struct tp_pmem_hybrid_thread *thread;
	uint64_t *counter = NULL, mine;
	int ret = tp_pmem_hybrid_thread_open(flusher->hybrid, &thread);

	for (unsigned int i = 0; i < FLUSHER_STEPS && ret == 0; i++) {
		ret = tp_pmem_hybrid_edit(thread, 0, sizeof(*counter), 0, (void **)&counter);
		if (ret < 0)
			break;
		mine = ++*counter;
		ret = tp_pmem_hybrid_commit(thread);
		if (ret == 0)
			ret = tp_pmem_hybrid_flush(flusher->hybrid);
		if (ret == 0 && word_read(flusher->fd, flusher->contents) < mine)
			atomic_fetch_add(&flusher->lost, 1);
	}
	if (ret < 0)
		atomic_fetch_add(&flusher->errors, 1);
	else
		tp_pmem_hybrid_thread_close(thread);
	return NULL;
}

static void
flushers_run(enum tp_pmem_hybrid_level level)
{
	const struct tp_pmem_hybrid_config config = { .cache_bytes = CACHE_OBJECTS * STRIDE };
	struct flusher flusher = { 0 };
	struct tp_pmem_hybrid_thread *thread;
	pthread_t threads[FLUSHERS];
	struct tp_pmem_pool *pool;
	char path[POOL_FILE_CHARS];
	uint64_t offset, table;
	void *data;

	pool_file_force_lines(true);
	pool_file_path(path, "hybrid-flushers");
	pool = pool_file_create(path, POOL_BYTES);
	offset = hybrid_store_create(pool, OBJECT_BYTES, OBJECTS, level);
	assert_int_equal(tp_pmem_hybrid_open(pool, offset, &config, &flusher.hybrid), 0);
	assert_int_equal(tp_pmem_hybrid_thread_open(flusher.hybrid, &thread), 0);
	assert_int_equal(tp_pmem_hybrid_edit(thread, 0, sizeof(uint64_t), 0, &data), 0);
	assert_int_equal(tp_pmem_hybrid_commit(thread), 0);
	tp_pmem_hybrid_thread_close(thread);
	assert_int_equal(tp_pmem_hybrid_flush(flusher.hybrid), 0);
	flusher.fd = open(path, O_RDONLY);
	assert_true(flusher.fd >= 0);
	/* docs/pmem.md, "Hybrid objects": head, entry. */
	table = word_read(flusher.fd, (off_t)offset + 16);
	flusher.contents = (off_t)(word_read(flusher.fd, (off_t)table) & ((UINT64_C(1) << 48) - 1));
	for (unsigned int i = 0; i < FLUSHERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, flusher_main, &flusher), 0);
	for (unsigned int i = 0; i < FLUSHERS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&flusher.errors), 0);
	assert_int_equal(atomic_load(&flusher.lost), 0);
	assert_int_equal(word_read(flusher.fd, flusher.contents), FLUSHERS * FLUSHER_STEPS);
	close(flusher.fd);
	assert_int_equal(tp_pmem_hybrid_close(flusher.hybrid), 0);
	pool_file_close(pool);
	unlink(path);
	pool_file_force_lines(false);
}

static void
test_hybrid_threads_flush_what_they_committed(void **state)
{
	flushers_run(TP_PMEM_HYBRID_EVENTUAL);
	flushers_run(TP_PMEM_HYBRID_TRANSACTION);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hybrid_threads_eventual),
		cmocka_unit_test(test_hybrid_threads_flush_what_they_committed),
		cmocka_unit_test(test_hybrid_threads_none),
		cmocka_unit_test(test_hybrid_threads_transaction),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
