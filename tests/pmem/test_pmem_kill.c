/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * kill -9 of a writer with two threads, over and over on the same pool. What is found
 * after a kill must fit itself (writer.h), and be no older than what the writer knew to
 * be committed.
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
#include "writer.h"

#define POOL_BYTES (UINT64_C(24) << 20)
#define KILLS 50u

struct oracle {
	_Atomic uint64_t committed[WRITERS];
};

static uint64_t
mix(uint64_t x)
{
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/* The writer of a thread: what it committed is told to the parent. */
struct task {
	struct writer writer;
	struct oracle *oracle;
};

static void *
writer_main(void *context)
{
	struct task *task = context;
	struct writer *writer = &task->writer;

	for (;;) {
		int ret = writer_step(writer);

		if (ret < 0) {
			fprintf(stderr, "writer %u, transaction %llu: %s\n", writer->index,
				(unsigned long long)writer->half->number, strerror(-ret));
			_exit(3);
		}
		atomic_store(&task->oracle->committed[writer->index], writer->half->number);
	}
	return NULL;
}

static void
writer_process(const char *path, struct oracle *oracle)
{
	struct task tasks[WRITERS];
	struct tp_pmem_pool *pool;
	pthread_t thread;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (tp_pmem_pool_open(path, 0, &pool) < 0) {
		fprintf(stderr, "writer: %s\n", tp_pmem_error());
		_exit(1);
	}
	for (unsigned int i = 0; i < WRITERS; i++) {
		tasks[i].oracle = oracle;
		if (writer_open(&tasks[i].writer, pool, i) < 0)
			_exit(2);
	}
	if (pthread_create(&thread, NULL, writer_main, &tasks[1]) != 0)
		_exit(2);
	writer_main(&tasks[0]);
}

static void
pool_check(const char *path, struct oracle *oracle, struct writer_model models[WRITERS])
{
	struct tp_pmem_pool *pool = pool_file_open(path);
	const struct writer_half *halves = tp_pmem_ptr(pool, tp_pmem_root_get(pool, "halves"));
	const char *wrong;

	for (unsigned int i = 0; i < WRITERS; i++) {
		uint64_t committed = atomic_load(&oracle->committed[i]);

		assert_in_range(halves[i].number, committed, committed + 1);
		/* Found is committed, though the writer did not live to say so. */
		atomic_store(&oracle->committed[i], halves[i].number);
	}
	wrong = writer_check(pool, models);
	if (wrong != NULL)
		fail_msg("%s", wrong);
	pool_file_close(pool);
}

static void
pool_prepare(const char *path)
{
	struct tp_pmem_pool *pool = pool_file_create(path, POOL_BYTES);

	assert_int_equal(writer_prepare(pool), 0);
	pool_file_close(pool);
}

static void
kill_often(const char *name)
{
	const char *text = getenv("TP_PMEM_KILLS");
	unsigned int kills = text == NULL ? KILLS : (unsigned int)strtoul(text, NULL, 10);
	struct writer_model *models = calloc(WRITERS, sizeof(*models));
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
		(unsigned long long)models[0].half.number, (unsigned long long)models[1].half.number, kills);
	assert_true(models[0].half.number > kills);
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
