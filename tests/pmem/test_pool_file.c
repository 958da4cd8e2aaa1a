/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What tests of pools promise of themselves: one that is killed leaves no file.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "pool_file.h"

#define WAITS_MAX 2000u		/* of 10 ms */

/* Makes two files, says where, and waits for its death. */
static void
victim(int pipe_end)
{
	char path[POOL_FILE_CHARS];

	for (const char *name = "ab"; *name != '\0'; name++) {
		pool_file_path(path, name);
		close(open(path, O_CREAT | O_WRONLY, 0600));
	}
	if (write(pipe_end, path, sizeof(path)) != sizeof(path))
		_exit(1);
	for (;;)
		pause();
}

static void
test_killed_test_leaves_no_file(void **state)
{
	static const struct timespec wait = { .tv_nsec = 10000000 };
	char path[POOL_FILE_CHARS];
	unsigned int waits = 0;
	int ends[2], status;
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		victim(ends[1]);
	assert_int_equal(read(ends[0], path, sizeof(path)), sizeof(path));
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	*strrchr(path, '/') = '\0';
	while (access(path, F_OK) == 0 && waits++ < WAITS_MAX)
		nanosleep(&wait, NULL);
	assert_in_range(waits, 0, WAITS_MAX - 1);
	close(ends[0]);
	close(ends[1]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_killed_test_leaves_no_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
