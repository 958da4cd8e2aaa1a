/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Threads on one volume, also on the same blocks: what is read is one write as a whole;
 * a thread's own blocks have what it wrote last.
 */
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
#include "tp_pmem_volume.h"

#define THREADS 4u
#define STEPS 4000u
#define BLOCK TP_PMEM_VOLUME_BLOCK_BYTES
#define SHARED 8u		/* blocks, in front of those that belong to one */
#define OWN 24u
#define POOL_BYTES (UINT64_C(16) << 20)
#define VOLUME_BYTES (UINT64_C(1) << 20)

struct worker {
	struct tp_pmem_volume *volume;
	unsigned int index;
	uint8_t own[OWN];	/* what each own block is filled with */
	atomic_uint errors;
};

static bool
is_filled(const uint8_t *data)
{
	for (unsigned int i = 1; i < BLOCK; i++)
		if (data[i] != data[0])
			return false;
	return true;
}

static void
worker_step(struct worker *worker, uint64_t random)
{
	uint8_t data[BLOCK], got[BLOCK];
	unsigned int own = (unsigned int)(random >> 8) % OWN;
	uint64_t own_at = (uint64_t)(SHARED + worker->index * OWN + own) * BLOCK;
	uint64_t shared_at = (random >> 16) % SHARED * BLOCK;
	int ret = 0;

	memset(data, (int)(random >> 24), sizeof(data));
	switch (random % 8) {
	case 0:
	case 1:
		ret = tp_pmem_volume_write(worker->volume, shared_at, BLOCK, data, 0);
		break;
	case 2:
	case 3:
		ret = tp_pmem_volume_write(worker->volume, own_at, BLOCK, data,
			random % 16 == 2 ? TP_PMEM_VOLUME_FUA : 0);
		worker->own[own] = data[0];
		break;
	case 4:
		ret = tp_pmem_volume_trim(worker->volume, own_at, BLOCK, 0);
		worker->own[own] = 0;
		break;
	case 5:
		ret = tp_pmem_volume_flush(worker->volume);
		break;
	default:
		ret = tp_pmem_volume_read(worker->volume, shared_at, BLOCK, got);
		ret |= !is_filled(got);
		ret |= tp_pmem_volume_read(worker->volume, own_at, BLOCK, got);
		ret |= !is_filled(got) || got[0] != worker->own[own];
	}
	if (ret != 0)
		atomic_fetch_add(&worker->errors, 1);
}

static void *
worker_main(void *context)
{
	struct worker *worker = context;
	uint64_t random = 88172645463325252ull + worker->index * 977;

	for (unsigned int i = 0; i < STEPS; i++) {
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		worker_step(worker, random);
	}
	return NULL;
}

static void
threads_run(const char *name)
{
	struct worker workers[THREADS] = { 0 };
	pthread_t threads[THREADS];
	char path[POOL_FILE_CHARS];
	struct tp_pmem_volume *volume;
	struct tp_pmem_pool *pool;
	uint8_t got[BLOCK];

	pool_file_path(path, name);
	pool = pool_file_create(path, POOL_BYTES);
	assert_int_equal(tp_pmem_volume_create(pool, "disk", VOLUME_BYTES), 0);
	assert_int_equal(tp_pmem_volume_open(pool, "disk", &volume), 0);
	for (unsigned int i = 0; i < THREADS; i++) {
		workers[i].volume = volume;
		workers[i].index = i;
		assert_int_equal(pthread_create(&threads[i], NULL, worker_main, &workers[i]), 0);
	}
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(tp_pmem_volume_close(volume), 0);
	pool_file_close(pool);
	pool = pool_file_open(path);
	assert_int_equal(tp_pmem_volume_open(pool, "disk", &volume), 0);
	for (unsigned int i = 0; i < THREADS; i++) {
		assert_int_equal(atomic_load(&workers[i].errors), 0);
		for (unsigned int own = 0; own < OWN; own++) {
			assert_int_equal(tp_pmem_volume_read(volume,
				(uint64_t)(SHARED + i * OWN + own) * BLOCK, BLOCK, got), 0);
			assert_true(is_filled(got));
			assert_int_equal(got[0], workers[i].own[own]);
		}
	}
	assert_int_equal(tp_pmem_volume_close(volume), 0);
	pool_file_close(pool);
	unlink(path);
}

static void
test_volume_threads_lines(void **state)
{
	pool_file_force_lines(true);
	threads_run("volume-threads-lines");
	pool_file_force_lines(false);
}

static void
test_volume_threads_pages(void **state)
{
	threads_run("volume-threads-pages");
}

/*
 * More writers of one block than changes fit into a record: those that write it whole have
 * claimed room and want the block, those that write parts of it want both.
 */
#define CROWD 40u
#define CROWD_STEPS 300u

static void *
crowd_main(void *context)
{
	struct worker *worker = context;
	uint8_t data[BLOCK];
	int ret = 0;

	memset(data, (int)worker->index, sizeof(data));
	for (unsigned int i = 0; i < CROWD_STEPS && ret == 0; i++) {
		switch (worker->index % 4) {
		case 0:
			ret = tp_pmem_volume_write(worker->volume, 512, 512, data, 0);
			break;
		case 1:
			ret = tp_pmem_volume_trim(worker->volume, 0, BLOCK, 0);
			break;
		default:
			ret = tp_pmem_volume_write(worker->volume, 0, BLOCK, data, 0);
		}
	}
	if (ret != 0)
		atomic_fetch_add(&worker->errors, 1);
	return NULL;
}

static void
test_volume_threads_crowd_on_one_block(void **state)
{
	struct worker workers[CROWD] = { 0 };
	pthread_t threads[CROWD];
	char path[POOL_FILE_CHARS];
	struct tp_pmem_volume *volume;
	struct tp_pmem_pool *pool;
	uint8_t got[BLOCK];

	pool_file_path(path, "volume-threads-crowd");
	pool = pool_file_create(path, POOL_BYTES);
	assert_int_equal(tp_pmem_volume_create(pool, "disk", TP_PMEM_VOLUME_BYTES_MIN), 0);
	assert_int_equal(tp_pmem_volume_open(pool, "disk", &volume), 0);
	for (unsigned int i = 0; i < CROWD; i++) {
		workers[i].volume = volume;
		workers[i].index = i;
		assert_int_equal(pthread_create(&threads[i], NULL, crowd_main, &workers[i]), 0);
	}
	for (unsigned int i = 0; i < CROWD; i++)
		pthread_join(threads[i], NULL);
	for (unsigned int i = 0; i < CROWD; i++)
		assert_int_equal(atomic_load(&workers[i].errors), 0);
	assert_int_equal(tp_pmem_volume_read(volume, 0, BLOCK, got), 0);
	assert_int_equal(tp_pmem_volume_close(volume), 0);
	pool_file_close(pool);
	unlink(path);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_volume_threads_crowd_on_one_block),
		cmocka_unit_test(test_volume_threads_lines),
		cmocka_unit_test(test_volume_threads_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
