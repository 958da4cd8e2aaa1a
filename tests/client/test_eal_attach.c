/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The gate for secondary processes, with rte_eal_init() replaced: a primary is
 * whoever holds DPDK's lock on the configuration file.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fixture.h"

struct gate {
	char dir[64];		/* RUNTIME_DIRECTORY */
	char files[96];		/* where the files of the prefix are */
	pid_t primary;
};

enum init_behaviour { INIT_OK, INIT_FAILS, INIT_DIES, INIT_WAITS };
static enum init_behaviour init_behaviour;
static int init_argc;
static char init_args[4][64];
static int init_entered[2], init_leave[2];

int __wrap_rte_eal_init(int argc, char **argv);

int
__wrap_rte_eal_init(int argc, char **argv)
{
	char byte;
	int i;

	init_argc = argc;
	for (i = 0; i < argc && i < 4; i++)
		snprintf(init_args[i], sizeof(init_args[i]), "%s", argv[i]);
	switch (init_behaviour) {
	case INIT_FAILS:
		return -1;
	case INIT_DIES:
		kill(getpid(), SIGKILL);
		return -1;
	case INIT_WAITS:
		assert_int_equal(write(init_entered[1], "x", 1), 1);
		assert_int_equal(read(init_leave[0], &byte, 1), 1);
		return argc - 1;
	default:
		return argc - 1;
	}
}

/* A process that looks like a DPDK primary with prefix "gate". */
static void
gate_primary_start(struct gate *gate)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 8, .l_len = 100 };
	int ready[2];
	char byte;

	assert_int_equal(pipe(ready), 0);
	gate->primary = fork();
	if (gate->primary == 0) {
		char path[128];
		int fd;

		snprintf(path, sizeof(path), "%s/config", gate->files);
		fd = open(path, O_RDWR | O_CREAT, 0600);
		if (fd < 0 || ftruncate(fd, 4096) < 0 || fcntl(fd, F_SETLK, &lock) < 0)
			_exit(1);
		if (write(ready[1], "x", 1) == 1)
			pause();
		_exit(0);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	close(ready[1]);
}

static void
gate_primary_stop(struct gate *gate)
{
	kill(gate->primary, SIGKILL);
	waitpid(gate->primary, NULL, 0);
}

static int
gate_setup(void **state)
{
	struct gate *gate = calloc(1, sizeof(*gate));
	char path[80];

	strcpy(gate->dir, "/tmp/tp-gate-XXXXXX");
	assert_non_null(mkdtemp(gate->dir));
	setenv("RUNTIME_DIRECTORY", gate->dir, 1);
	snprintf(path, sizeof(path), "%s/dpdk", gate->dir);
	mkdir(path, 0700);
	snprintf(gate->files, sizeof(gate->files), "%s/gate", path);
	mkdir(gate->files, 0700);
	gate_primary_start(gate);
	init_behaviour = INIT_OK;
	*state = gate;
	return 0;
}

static int
gate_teardown(void **state)
{
	static const char * const names[] = { "config", "telepage.gate", "telepage.gate.inside" };
	struct gate *gate = *state;
	char path[128];
	unsigned int i;

	gate_primary_stop(gate);
	for (i = 0; i < RTE_DIM(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", gate->files, names[i]);
		unlink(path);
	}
	rmdir(gate->files);
	snprintf(path, sizeof(path), "%s/dpdk", gate->dir);
	rmdir(path);
	rmdir(gate->dir);
	free(gate);
	return 0;
}

static int
gate_attach(void)
{
	char *argv[] = { (char[]){ "program" }, (char[]){ "--file-prefix=gate" },
			 (char[]){ "--" }, (char[]){ "own" }, NULL };

	return tp_eal_attach(4, argv);
}

/* Attach in a child that does what init_behaviour says; its wait status. */
static int
gate_attach_in_child(enum init_behaviour behaviour)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		init_behaviour = behaviour;
		_exit(gate_attach() >= 0 ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static bool
gate_marker_exists(struct gate *gate)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/telepage.gate.inside", gate->files);
	return access(path, F_OK) == 0;
}

static void
test_gate_open_secondary_arguments_added(void **state)
{
	/* The last argument is the program's: EAL used all before. */
	assert_int_equal(gate_attach(), 3);
	assert_int_equal(init_argc, 5);
	assert_string_equal(init_args[0], "program");
	assert_string_equal(init_args[1], "--proc-type=secondary");
	assert_string_equal(init_args[2], "--file-prefix=gate");
	assert_false(gate_marker_exists(*state));
}

static void
test_gate_init_fails_gate_stays_open(void **state)
{
	init_behaviour = INIT_FAILS;
	assert_true(gate_attach() < 0);
	assert_false(gate_marker_exists(*state));
	init_behaviour = INIT_OK;
	assert_int_equal(gate_attach(), 3);
}

static void
test_gate_holder_killed_closed_until_new_primary(void **state)
{
	struct gate *gate = *state;

	assert_true(WIFSIGNALED(gate_attach_in_child(INIT_DIES)));
	assert_true(gate_marker_exists(gate));
	assert_int_equal(gate_attach(), -EOWNERDEAD);
	assert_int_equal(gate_attach(), -EOWNERDEAD);
	/* The node is restarted: new shared memory, and the old death means nothing. */
	gate_primary_stop(gate);
	gate_primary_start(gate);
	assert_int_equal(gate_attach(), 3);
	assert_false(gate_marker_exists(gate));
}

static void
test_gate_no_primary_refused(void **state)
{
	struct gate *gate = *state;

	gate_primary_stop(gate);
	assert_int_equal(gate_attach(), -ECONNREFUSED);
	setenv("RUNTIME_DIRECTORY", "/nonexistent", 1);
	assert_int_equal(gate_attach(), -ECONNREFUSED);
	setenv("RUNTIME_DIRECTORY", gate->dir, 1);
	gate_primary_start(gate);
}

/* While one is inside, the next one waits. */
static void
test_gate_one_inside_next_waits(void **state)
{
	pid_t first, second;
	int status;
	char byte;

	assert_int_equal(pipe(init_entered), 0);
	assert_int_equal(pipe(init_leave), 0);
	first = fork();
	if (first == 0) {
		init_behaviour = INIT_WAITS;
		_exit(gate_attach() >= 0 ? 0 : 1);
	}
	assert_int_equal(read(init_entered[0], &byte, 1), 1);
	second = fork();
	if (second == 0) {
		init_behaviour = INIT_OK;
		_exit(gate_attach() >= 0 ? 0 : 1);
	}
	usleep(30000);
	assert_int_equal(waitpid(second, &status, WNOHANG), 0);
	assert_int_equal(write(init_leave[1], "x", 1), 1);
	assert_int_equal(waitpid(first, &status, 0), first);
	assert_int_equal(status, 0);
	assert_int_equal(waitpid(second, &status, 0), second);
	assert_int_equal(status, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_gate_open_secondary_arguments_added,
						gate_setup, gate_teardown),
		cmocka_unit_test_setup_teardown(test_gate_init_fails_gate_stays_open,
						gate_setup, gate_teardown),
		cmocka_unit_test_setup_teardown(test_gate_holder_killed_closed_until_new_primary,
						gate_setup, gate_teardown),
		cmocka_unit_test_setup_teardown(test_gate_no_primary_refused,
						gate_setup, gate_teardown),
		cmocka_unit_test_setup_teardown(test_gate_one_inside_next_waits,
						gate_setup, gate_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
