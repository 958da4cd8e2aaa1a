/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What is seen of a process that works, sleeps, is stopped, has ended.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "gate_priv.h"

static pid_t
child_start(void)
{
	pid_t pid = fork();

	if (pid == 0)
		for (;;)
			pause();
	assert_true(pid > 0);
	return pid;
}

static void
child_end(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void
await(struct process *process, enum process_state wanted)
{
	while (process_look(process) != wanted)
		usleep(100);
}

static void
test_process_of_each_kind_is_told(void **state)
{
	struct process self = { .pid = getpid() };
	struct process child = { .pid = child_start() };
	struct process nobody = { .pid = 0 };

	assert_int_equal(process_look(&self), PROCESS_BUSY);
	assert_int_equal(process_look(&nobody), PROCESS_ASLEEP);
	await(&child, PROCESS_ASLEEP);
	kill(child.pid, SIGSTOP);
	await(&child, PROCESS_STOPPED);
	assert_int_equal(process_look(&child), PROCESS_STOPPED);
	kill(child.pid, SIGCONT);
	await(&child, PROCESS_ASLEEP);
	/* Nobody has fetched it yet; then somebody has. */
	kill(child.pid, SIGKILL);
	await(&child, PROCESS_GONE);
	assert_int_equal(waitpid(child.pid, NULL, 0), child.pid);
	assert_int_equal(process_look(&child), PROCESS_GONE);
}

/* It slept whenever it was looked at, and has worked in between. */
static void
test_process_that_worked_meanwhile_is_busy(void **state)
{
	struct process child = { .pid = child_start() };

	await(&child, PROCESS_ASLEEP);
	assert_int_equal(process_look(&child), PROCESS_ASLEEP);
	child.done--;
	assert_int_equal(process_look(&child), PROCESS_BUSY);
	assert_int_equal(process_look(&child), PROCESS_ASLEEP);
	child_end(child.pid);
}

static void
test_process_number_used_again_is_gone(void **state)
{
	struct process child = { .pid = child_start() };

	await(&child, PROCESS_ASLEEP);
	child.started++;
	assert_int_equal(process_look(&child), PROCESS_GONE);
	child_end(child.pid);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_process_of_each_kind_is_told),
		cmocka_unit_test(test_process_that_worked_meanwhile_is_busy),
		cmocka_unit_test(test_process_number_used_again_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
