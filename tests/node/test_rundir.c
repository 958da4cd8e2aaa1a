/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Tidying EAL's run directory: what is of the dead goes, all else stays.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "gate_priv.h"

static char folder[] = "/tmp/tp_rundir_XXXXXX";
static pid_t dead;	/* of a process that was there */

static void
name_of(char *path, const char *format, pid_t pid)
{
	const char *number = strstr(format, "%d");

	if (number == NULL)
		snprintf(path, 128, "%s/%s", folder, format);
	else
		snprintf(path, 128, "%s/%.*s%d%s", folder, (int)(number - format), format, pid,
			 number + 2);
}

static int
make(const char *format, pid_t pid)
{
	char path[128];
	int fd;

	name_of(path, format, pid);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	assert_true(fd >= 0);
	return fd;
}

static bool
is_there(const char *format, pid_t pid)
{
	char path[128];

	name_of(path, format, pid);
	return access(path, F_OK) == 0;
}

static const char *const of_processes[] = {
	"mp_socket_%d_1f3ab", "fbarray_memseg-2048k-0-0_%d",
};
static const char *const of_nobody[] = {
	"config", "mp_socket", "fbarray_memzone", "fbarray_memseg-2048k-0-0", "mp_socket_%d",
	"mp_socket_%d_xyz", "other_%d_1f3ab", "fbarray_x%d", "fbarray_%d", "mp_socket_0_1f3ab",
	"fbarray_x_0x%d", "mp_socket_ %d_1", "mp_socket_-%d_1",
};

static int
setup(void **state)
{
	int status;

	assert_non_null(mkdtemp(folder));
	dead = fork();
	if (dead == 0)
		_exit(0);
	assert_int_equal(waitpid(dead, &status, 0), dead);
	return 0;
}

static int
teardown(void **state)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

static void
test_rundir_files_of_dead_go_others_stay(void **state)
{
	pid_t live = getppid();
	size_t i;

	for (i = 0; i < 2; i++) {
		close(make(of_processes[i], dead));
		close(make(of_processes[i], live));
		close(make(of_processes[i], getpid()));
	}
	for (i = 0; i < sizeof(of_nobody) / sizeof(of_nobody[0]); i++)
		close(make(of_nobody[i], dead));
	assert_int_equal(rundir_tidy(folder), 0);
	for (i = 0; i < 2; i++) {
		assert_false(is_there(of_processes[i], dead));
		assert_true(is_there(of_processes[i], live));
		assert_true(is_there(of_processes[i], getpid()));
	}
	for (i = 0; i < sizeof(of_nobody) / sizeof(of_nobody[0]); i++)
		assert_true(is_there(of_nobody[i], dead));
}

static void
test_rundir_locked_file_stays_until_it_is_let_go(void **state)
{
	int fd = make(of_processes[1], dead);

	assert_int_equal(flock(fd, LOCK_SH), 0);
	assert_int_equal(rundir_tidy(folder), 1);
	assert_true(is_there(of_processes[1], dead));
	close(fd);
	assert_int_equal(rundir_tidy(folder), 0);
	assert_false(is_there(of_processes[1], dead));
}

/* Killed, and its parent has not asked for its status. */
static void
test_rundir_file_of_zombie_goes(void **state)
{
	pid_t zombie = fork();
	siginfo_t info;

	if (zombie == 0)
		_exit(0);
	close(make(of_processes[0], zombie));
	assert_int_equal(waitid(P_PID, (id_t)zombie, &info, WEXITED | WNOWAIT), 0);
	assert_int_equal(rundir_tidy(folder), 0);
	assert_false(is_there(of_processes[0], zombie));
	waitpid(zombie, NULL, 0);
}

/* Of another PID namespace: its number says nothing here, but its socket lives. */
static void
test_rundir_socket_of_living_process_stays(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	char path[128];

	name_of(path, "mp_socket_%d_2", dead);
	strcpy(address.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(rundir_tidy(folder), 0);
	assert_true(is_there("mp_socket_%d_2", dead));
	close(fd);
	assert_int_equal(rundir_tidy(folder), 0);
	assert_false(is_there("mp_socket_%d_2", dead));
}

static void
test_rundir_absent_is_nothing_to_do(void **state)
{
	assert_int_equal(rundir_tidy("/tmp/there/is/no/such/folder"), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rundir_files_of_dead_go_others_stay),
		cmocka_unit_test(test_rundir_locked_file_stays_until_it_is_let_go),
		cmocka_unit_test(test_rundir_file_of_zombie_goes),
		cmocka_unit_test(test_rundir_socket_of_living_process_stays),
		cmocka_unit_test(test_rundir_absent_is_nothing_to_do),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
