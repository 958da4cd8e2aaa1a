/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Views of media that cannot be mapped privately: filled page by page, by faults of
 * many threads and of the kernel, and dropped.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "device_view.h"
#include "pmem_priv.h"

#define PAGES 2000u
#define BYTES ((uint64_t)PAGES * PMEM_PAGE_BYTES)
#define THREADS 4u

static struct device_view view;
static uint64_t *media;
static uint64_t *at;

static uint64_t
word_of(uint64_t index)
{
	return index * UINT64_C(0x9e3779b97f4a7c15);
}

static int
setup(void **state)
{
	int ret;

	media = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	at = mmap(NULL, BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(media != MAP_FAILED && at != MAP_FAILED);
	for (uint64_t i = 0; i < BYTES / 8; i++)
		media[i] = word_of(i);
	ret = device_view_open(&view, at, media, BYTES);
	if (ret == -EPERM) {
		print_message("skipped: %s\n", tp_pmem_error());
		skip();
	}
	assert_int_equal(ret, 0);
	return 0;
}

static int
teardown(void **state)
{
	device_view_close(&view);
	munmap(at, BYTES);
	munmap(media, BYTES);
	return 0;
}

/* Each thread begins elsewhere, so that they meet on some pages and not on others. */
static void *
reader_main(void *context)
{
	uint64_t first = (uint64_t)(uintptr_t)context * PAGES / THREADS, wrong = 0;

	for (uint64_t i = 0; i < PAGES; i++) {
		uint64_t index = (first + i) % PAGES * (PMEM_PAGE_BYTES / 8) + i % 512;

		wrong += __atomic_load_n(&at[index], __ATOMIC_RELAXED) != word_of(index);
	}
	return (void *)(uintptr_t)wrong;
}

static void
test_view_shows_the_media_to_all_threads(void **state)
{
	pthread_t threads[THREADS];
	void *wrong;

	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, reader_main, (void *)i), 0);
	for (unsigned int i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(threads[i], &wrong), 0);
		assert_null(wrong);
	}
}

static void
test_view_keeps_stores_until_it_is_dropped(void **state)
{
	for (uint64_t i = 0; i < BYTES / 8; i += 1000)
		at[i] = ~word_of(i);
	for (uint64_t i = 0; i < BYTES / 8; i++)
		assert_int_equal(at[i], i % 1000 == 0 ? ~word_of(i) : word_of(i));
	for (uint64_t i = 0; i < BYTES / 8; i++)
		assert_int_equal(media[i], word_of(i));
	assert_int_equal(madvise(at, BYTES, MADV_DONTNEED), 0);
	for (uint64_t i = 0; i < BYTES / 8; i++)
		assert_int_equal(at[i], word_of(i));
}

/* System calls touch it, too. */
static void
test_view_is_filled_for_the_kernel(void **state)
{
	uint64_t words[1024];
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	assert_int_equal(write(ends[1], at + 100000, sizeof(words)), sizeof(words));
	assert_int_equal(read(ends[0], words, sizeof(words)), sizeof(words));
	for (uint64_t i = 0; i < 1024; i++)
		assert_int_equal(words[i], word_of(100000 + i));
	close(ends[0]);
	close(ends[1]);
}

/* Better than zeros that look like data. */
static void
test_view_is_not_there_in_a_child(void **state)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		/* cmocka, and sanitizers, would go on after the fault. */
		signal(SIGSEGV, SIG_DFL);
		_exit(at[5000] == word_of(5000) ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	assert_int_equal(at[5000], word_of(5000));
}

static sigjmp_buf after_fault;

static void
fault_note(int signal)
{
	siglongjmp(after_fault, signal);
}

/* What reading a word of the view raises; 0: nothing. */
static int
fault_of(uint64_t index)
{
	struct sigaction note = { .sa_handler = fault_note }, before;
	int got;

	assert_int_equal(sigaction(SIGBUS, &note, &before), 0);
	got = sigsetjmp(after_fault, 1);
	if (got == 0)
		(void)*(volatile uint64_t *)&at[index];
	assert_int_equal(sigaction(SIGBUS, &before, NULL), 0);
	return got;
}

/* As a mapping of the media would do; and nobody waits for ever. */
static void
test_view_of_media_that_cannot_be_read_is_a_bus_error(void **state)
{
	uint64_t page = PMEM_PAGE_BYTES / 8, bad = 37 * page;
	int ends[2];

	assert_int_equal(mprotect(&media[bad], PMEM_PAGE_BYTES, PROT_NONE), 0);
	for (unsigned int i = 0; i < 2; i++)
		assert_int_equal(fault_of(bad + 5), SIGBUS);
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(write(ends[1], &at[bad], 8), -1);
	assert_int_equal(errno, EFAULT);
	close(ends[0]);
	close(ends[1]);
	for (uint64_t i = 0; i < BYTES / 8; i++)
		if (i / page != 37)
			assert_int_equal(at[i], word_of(i));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_view_shows_the_media_to_all_threads, setup,
			teardown),
		cmocka_unit_test_setup_teardown(test_view_keeps_stores_until_it_is_dropped, setup,
			teardown),
		cmocka_unit_test_setup_teardown(test_view_is_filled_for_the_kernel, setup, teardown),
		cmocka_unit_test_setup_teardown(test_view_is_not_there_in_a_child, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_view_of_media_that_cannot_be_read_is_a_bus_error, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
