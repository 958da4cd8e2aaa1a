/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * kill -9 of a writer with two threads, over and over on the same pool. What each
 * transaction does follows from its number, which it also stores; so the number
 * found after a kill says what everything else must be, and the number the writer
 * knew to be committed says how small it may be.
 *	TP_PMEM_KILLS=1000 test_pmem_kill
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "pool_file.h"
#include "tp_pmem_alloc.h"
#include "tp_pmem_tx.h"

#define POOL_BYTES (UINT64_C(24) << 20)
#define KILLS 50u
#define WRITERS 2u
#define SLOTS 32u
#define AREA_BYTES 4096u

struct slot {
	uint64_t block;
	uint64_t bytes;
	uint64_t pattern;
};

/* Of one writer thread; the model has blocks of 1 instead of offsets. */
struct half {
	uint64_t number;
	struct slot slots[SLOTS];
	uint8_t area[AREA_BYTES];
};

struct oracle {
	_Atomic uint64_t committed[WRITERS];
};

struct writer {
	struct tp_pmem_pool *pool;
	struct oracle *oracle;
	struct half *half;
	unsigned int index;
};

static uint64_t
mix(uint64_t x)
{
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/* What transaction `number` of a writer does. */
struct step {
	unsigned int slot;
	uint64_t bytes;		/* of the new block; 0: none */
	uint64_t pattern;
	uint64_t area_at;
	uint64_t area_bytes;
};

static struct step
step_of(unsigned int writer, uint64_t number)
{
	uint64_t r = mix(number * WRITERS + writer + 1);
	struct step step = { .slot = r % SLOTS, .pattern = mix(r) };

	step.area_at = step.pattern % AREA_BYTES;
	step.area_bytes = 1 + (step.pattern >> 20) % (AREA_BYTES - step.area_at);
	if ((r >> 8) % 4 != 0)
		step.bytes = 1 + (r >> 16) % ((r >> 10) % 16 == 0 ? 300000 : 3000);
	return step;
}

static void
pattern_fill(uint8_t *at, uint64_t bytes, uint64_t pattern)
{
	for (uint64_t i = 0; i < bytes; i++)
		at[i] = (uint8_t)(pattern >> i % 8 * 8);
}

static int
step_do(struct writer *writer, uint64_t number)
{
	struct step step = step_of(writer->index, number);
	struct half *half = writer->half;
	struct slot *slot = &half->slots[step.slot];
	struct slot new = { 0, step.bytes, step.pattern };
	struct tp_pmem_tx *tx;
	int ret = tp_pmem_tx_begin(writer->pool, &tx);

	if (ret < 0)
		return ret;
	if (slot->block != 0)
		ret = tp_pmem_tx_free(tx, slot->block);
	if (ret == 0 && step.bytes != 0)
		ret = tp_pmem_tx_alloc(tx, step.bytes, 0, &new.block);
	if (ret == 0)
		ret = tp_pmem_tx_write(tx, slot, &new, sizeof(new));
	if (ret == 0)
		ret = tp_pmem_tx_write(tx, &half->number, &number, sizeof(number));
	if (ret == 0)
		ret = tp_pmem_tx_add_range(tx, half->area + step.area_at, step.area_bytes);
	if (ret < 0) {
		tp_pmem_tx_abort(tx);
		return ret;
	}
	if (new.block != 0)
		pattern_fill(tp_pmem_ptr(writer->pool, new.block), step.bytes, step.pattern);
	memset(half->area + step.area_at, (int)number, step.area_bytes);
	ret = tp_pmem_tx_commit(tx, 0);
	if (ret == 0)
		atomic_store(&writer->oracle->committed[writer->index], number);
	return ret;
}

static void *
writer_main(void *context)
{
	struct writer *writer = context;

	for (uint64_t number = writer->half->number + 1;; number++) {
		int ret = step_do(writer, number);

		if (ret < 0) {
			fprintf(stderr, "writer %u, transaction %llu: %s\n", writer->index,
				(unsigned long long)number, strerror(-ret));
			_exit(3);
		}
	}
	return NULL;
}

static void
writer_process(const char *path, struct oracle *oracle)
{
	struct writer writers[WRITERS];
	struct tp_pmem_pool *pool;
	struct half *halves;
	pthread_t thread;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (tp_pmem_pool_open(path, 0, &pool) < 0) {
		fprintf(stderr, "writer: %s\n", tp_pmem_error());
		_exit(1);
	}
	halves = tp_pmem_ptr(pool, tp_pmem_root_get(pool, "halves"));
	for (unsigned int i = 0; i < WRITERS; i++)
		writers[i] = (struct writer){ pool, oracle, &halves[i], i };
	if (pthread_create(&thread, NULL, writer_main, &writers[1]) != 0)
		_exit(2);
	writer_main(&writers[0]);
}

static void
model_step(struct half *model, unsigned int writer)
{
	struct step step = step_of(writer, ++model->number);

	model->slots[step.slot] = (struct slot){ step.bytes != 0, step.bytes, step.pattern };
	memset(model->area + step.area_at, (int)model->number, step.area_bytes);
}

/* Compare a half with its model; blocks in use. */
static uint64_t
half_check(struct tp_pmem_pool *pool, const struct half *half, const struct half *model)
{
	static uint8_t want[300001];
	uint64_t blocks = 0;

	assert_memory_equal(half->area, model->area, AREA_BYTES);
	for (unsigned int i = 0; i < SLOTS; i++) {
		const struct slot *slot = &half->slots[i];

		assert_int_equal(slot->block != 0, model->slots[i].block);
		assert_int_equal(slot->bytes, model->slots[i].bytes);
		if (slot->block == 0)
			continue;
		assert_true(tp_pmem_block_bytes(pool, slot->block) >= slot->bytes);
		pattern_fill(want, slot->bytes, model->slots[i].pattern);
		assert_memory_equal(tp_pmem_ptr(pool, slot->block), want, slot->bytes);
		blocks++;
	}
	return blocks;
}

static void
pool_check(const char *path, struct oracle *oracle, struct half models[WRITERS])
{
	struct tp_pmem_pool *pool = pool_file_open(path);
	const struct half *halves = tp_pmem_ptr(pool, tp_pmem_root_get(pool, "halves"));
	struct tp_pmem_heap_info info;
	uint64_t blocks = 1;

	for (unsigned int i = 0; i < WRITERS; i++) {
		uint64_t committed = atomic_load(&oracle->committed[i]);

		assert_in_range(halves[i].number, committed, committed + 1);
		/* Found is committed, though the writer did not live to say so. */
		atomic_store(&oracle->committed[i], halves[i].number);
		while (models[i].number < halves[i].number)
			model_step(&models[i], i);
		blocks += half_check(pool, &halves[i], &models[i]);
	}
	tp_pmem_heap_info_get(pool, &info);
	assert_int_equal(info.allocated_count, blocks);
	pool_file_close(pool);
}

static void
pool_prepare(const char *path)
{
	struct tp_pmem_pool *pool = pool_file_create(path, POOL_BYTES);
	struct tp_pmem_tx *tx;
	uint64_t offset;

	assert_int_equal(tp_pmem_tx_begin(pool, &tx), 0);
	assert_int_equal(tp_pmem_tx_alloc(tx, WRITERS * sizeof(struct half), TP_PMEM_ALLOC_ZERO,
		&offset), 0);
	assert_int_equal(tp_pmem_tx_root_set(tx, "halves", offset), 0);
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	pool_file_close(pool);
}

static void
kill_often(const char *name)
{
	const char *text = getenv("TP_PMEM_KILLS");
	unsigned int kills = text == NULL ? KILLS : (unsigned int)strtoul(text, NULL, 10);
	struct half *models = calloc(WRITERS, sizeof(*models));
	struct oracle *oracle = mmap(NULL, sizeof(*oracle), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char path[POOL_FILE_CHARS];
	uint64_t random = 88172645463325252ull;

	assert_non_null(models);
	assert_ptr_not_equal(oracle, MAP_FAILED);
	pool_file_path(path, name);
	pool_prepare(path);
	for (unsigned int i = 0; i < kills; i++) {
		struct timespec wait = { 0 };
		int status;
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0)
			writer_process(path, oracle);
		random = mix(random + i);
		/* Now and then in the opening. */
		wait.tv_nsec = (long)(random % (i % 4 == 0 ? 2000000 : 15000000));
		nanosleep(&wait, NULL);
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		pool_check(path, oracle, models);
	}
	print_message("%llu and %llu transactions, %u kills\n",
		(unsigned long long)models[0].number, (unsigned long long)models[1].number, kills);
	assert_true(models[0].number > kills);
	unlink(path);
	free(models);
	munmap(oracle, sizeof(*oracle));
}

static void
test_kill_lines(void **state)
{
	pool_file_force_lines(true);
	kill_often("kill-lines");
	pool_file_force_lines(false);
}

static void
test_kill_pages(void **state)
{
	kill_often("kill-pages");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kill_lines),
		cmocka_unit_test(test_kill_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
