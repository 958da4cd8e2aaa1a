/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 */
/*
 * kill -9 and SIGSTOP of processes inside the file store: at every system call
 * that a change makes (counted through --wrap), and at random instants.
 */
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <rte_common.h>
#include <rte_errno.h>

#include "store_dir.h"

#define POINTS_MAX 64
#define RANDOM_ROUNDS 120
#define WRITERS 3

int __real_openat(int dir_fd, const char *path, int flags, unsigned int mode);
ssize_t __real_writev(int fd, const struct iovec *iov, int count);
int __real_close(int fd);
int __real_unlinkat(int dir_fd, const char *path, int flags);
int __wrap_openat(int dir_fd, const char *path, int flags, unsigned int mode);
ssize_t __wrap_writev(int fd, const struct iovec *iov, int count);
int __wrap_close(int fd);
int __wrap_unlinkat(int dir_fd, const char *path, int flags);

/* In a child: the signal is raised before the call that takes this to 0. */
static int points_left = -1;
static int point_signal = SIGKILL;
static int points_then_kill = -1;	/* how many more until SIGKILL, after the signal */

static void
point(void)
{
	if (points_left <= 0 || --points_left > 0)
		return;
	kill(getpid(), point_signal);
	points_left = points_then_kill;
	points_then_kill = -1;
	point_signal = SIGKILL;
}

int
__wrap_openat(int dir_fd, const char *path, int flags, unsigned int mode)
{
	point();
	return __real_openat(dir_fd, path, flags, mode);
}

/* Half a value first, so that death can come between the halves. */
ssize_t
__wrap_writev(int fd, const struct iovec *iov, int count)
{
	point();
	if (points_left == 1 && point_signal == SIGKILL)
		__real_writev(fd, iov, 1);
	point();
	return __real_writev(fd, iov, count);
}

int
__wrap_close(int fd)
{
	point();
	return __real_close(fd);
}

int
__wrap_unlinkat(int dir_fd, const char *path, int flags)
{
	point();
	return __real_unlinkat(dir_fd, path, flags);
}

struct counter {
	uint64_t number;
	unsigned char fill[4000];	/* all of the number's low byte */
};

/* Read a counter, whole. @return the number, 0 if there is none. */
static uint64_t
counter_read(struct tp_store *store, const char *key, uint64_t *version)
{
	static struct counter counter;
	size_t bytes;
	int ret = tp_store_get(store, key, &counter, sizeof(counter), &bytes, version);

	if (ret == -ENOENT) {
		*version = 0;
		return 0;
	}
	assert_int_equal(ret, 0);
	assert_int_equal(bytes, sizeof(counter));
	for (size_t i = 0; i < sizeof(counter.fill); i++)
		assert_int_equal(counter.fill[i], (unsigned char)counter.number);
	return counter.number;
}

static int
counter_write(struct tp_store *store, const char *key, uint64_t number, uint64_t version)
{
	static struct counter counter;

	counter.number = number;
	memset(counter.fill, (int)(unsigned char)number, sizeof(counter.fill));
	return tp_store_cas(store, key, version, &counter, sizeof(counter), NULL);
}

/* A child that is to count once, and meets the signal at its n-th point. */
static pid_t
count_once(int n, int signal_at_point)
{
	pid_t pid = fork();

	if (pid == 0) {
		struct tp_store *store = store_dir_open();
		uint64_t version;
		uint64_t number = counter_read(store, "node/1", &version);

		die_with_parent();
		point_signal = signal_at_point;
		points_left = n;
		counter_write(store, "node/1", number + 1, version);
		points_left = -1;
		_exit(0);
	}
	assert_true(pid > 0);
	return pid;
}

static void
test_store_killed_at_every_step_holds_old_or_new(void **state)
{
	struct tp_store *store = store_dir_open();
	uint64_t revision = tp_store_revision(store, "node");
	uint64_t number = 0;
	uint64_t version;
	int killed = 0;
	int status = 0;

	for (int n = 1; n < POINTS_MAX; n++) {
		uint64_t after;

		waitpid(count_once(n, SIGKILL), &status, 0);
		after = counter_read(store, "node/1", &version);
		assert_true(after == number || after == number + 1);
		/* The watch tells it, whatever step the writer died in. */
		if (after != number)
			assert_int_not_equal(tp_store_revision(store, "node"), revision);
		revision = tp_store_revision(store, "node");
		/* Nobody is held up, and the next change works. */
		assert_int_equal(counter_write(store, "node/1", after + 1, version), 0);
		assert_int_not_equal(tp_store_revision(store, "node"), revision);
		revision = tp_store_revision(store, "node");
		number = after + 1;
		if (WIFEXITED(status))
			break;
		assert_int_equal(WTERMSIG(status), SIGKILL);
		killed++;
	}
	assert_true(WIFEXITED(status));
	assert_true(killed >= 4);
	tp_store_close(store);
	/* What the dead left is removed. */
	store = store_dir_open();
	assert_int_equal(store_dir_file_count(), 1);
	assert_int_equal(counter_read(store, "node/1", &version), number);
	tp_store_close(store);
}

/* The node that must be fenced is stopped just while it renews. */
static void
test_store_stopped_at_every_step_holds_up_nobody(void **state)
{
	struct tp_store *store = store_dir_open();
	uint64_t version;
	int stopped = 0;
	int status = 0;

	for (int n = 1; n < POINTS_MAX; n++) {
		pid_t pid = count_once(n, SIGSTOP);
		uint64_t number;

		waitpid(pid, &status, WUNTRACED);
		if (WIFEXITED(status))
			break;
		assert_true(WIFSTOPPED(status));
		stopped++;
		number = counter_read(store, "node/1", &version);
		assert_int_equal(counter_write(store, "node/1", number + 100, version), 0);
		/* Going on, it must not undo what was done meanwhile. */
		kill(pid, SIGCONT);
		waitpid(pid, &status, 0);
		assert_true(WIFEXITED(status));
		assert_int_equal(counter_read(store, "node/1", &version), number + 100);
	}
	assert_true(stopped >= 4);
	assert_true(WIFEXITED(status));
	assert_int_equal(store_dir_file_count(), 1);
	tp_store_close(store);
}

/*
 * A watcher looks while the change is under way, then the writer makes it and
 * dies before it can say so.
 */
static void
test_store_change_of_a_dying_writer_is_seen_by_who_watched_it(void **state)
{
	struct tp_store *store = store_dir_open();
	uint64_t version;
	int died = 0;

	counter_write(store, "node/1", 1, 0);
	for (int n = 1; n < 8; n++)
		for (int then = 1; then < 8; then++) {
			uint64_t revision;
			uint64_t number;
			int status;
			pid_t pid;

			points_then_kill = then;
			pid = count_once(n, SIGSTOP);
			points_then_kill = -1;
			waitpid(pid, &status, WUNTRACED);
			if (!WIFSTOPPED(status))
				continue;
			number = counter_read(store, "node/1", &version);
			revision = tp_store_revision(store, "node");
			kill(pid, SIGCONT);
			waitpid(pid, &status, 0);
			died += WIFSIGNALED(status) &&
				counter_read(store, "node/1", &version) != number;
			if (counter_read(store, "node/1", &version) != number)
				assert_int_not_equal(tp_store_revision(store, "node"), revision);
			else
				assert_int_equal(tp_store_revision(store, "node"), revision);
		}
	/* Some did die between the change and the word of it. */
	assert_true(died > 0);
	tp_store_close(store);
}

static void
count_for_ever(_Atomic uint64_t *done)
{
	struct tp_store *store = store_dir_open();

	for (;;) {
		uint64_t version;
		uint64_t number = counter_read(store, "node/1", &version);

		if (counter_write(store, "node/1", number + 1, version) == 0)
			atomic_fetch_add(done, 1);
	}
}

static void
test_store_killed_at_random_loses_and_repeats_nothing(void **state)
{
	_Atomic uint64_t *done = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct tp_store *store = store_dir_open();
	uint64_t seed = 31;
	pid_t pids[WRITERS];
	uint64_t number;
	uint64_t version;

	for (int i = 0; i < WRITERS; i++)
		pids[i] = 0;
	for (int round = 0; round < RANDOM_ROUNDS; round++) {
		struct timespec pause = { 0, (long)(random_next(&seed) % 4000000) };
		int victim = (int)(random_next(&seed) % WRITERS);

		for (int i = 0; i < WRITERS; i++) {
			if (pids[i] != 0)
				continue;
			pids[i] = fork();
			if (pids[i] == 0) {
				die_with_parent();
				count_for_ever(done);
			}
		}
		nanosleep(&pause, NULL);
		kill(pids[victim], SIGKILL);
		waitpid(pids[victim], NULL, 0);
		pids[victim] = 0;
		counter_read(store, "node/1", &version);
	}
	for (int i = 0; i < WRITERS; i++) {
		if (pids[i] == 0)
			continue;
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
	/* A killed writer may have counted and not said so: at most one each. */
	number = counter_read(store, "node/1", &version);
	assert_true(number > 0);
	assert_true(number >= *done);
	assert_true(number <= *done + RANDOM_ROUNDS + WRITERS);
	assert_int_equal(counter_write(store, "node/1", number + 1, version), 0);
	tp_store_close(store);
	store = store_dir_open();
	assert_int_equal(store_dir_file_count(), 1);
	tp_store_close(store);
	munmap(done, 4096);
}

#define CRASH_TEST(name) cmocka_unit_test_setup_teardown(name, store_dir_setup, store_dir_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		CRASH_TEST(test_store_killed_at_every_step_holds_old_or_new),
		CRASH_TEST(test_store_stopped_at_every_step_holds_up_nobody),
		CRASH_TEST(test_store_change_of_a_dying_writer_is_seen_by_who_watched_it),
		CRASH_TEST(test_store_killed_at_random_loses_and_repeats_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
