/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The way through the node's gate for secondary processes, with rte_eal_init()
 * and the node replaced: a process that keeps the gate as lib/node/gate.c does.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fixture.h"

#define KEEPER_CONNECTIONS 8

struct gate {
	char dir[64];		/* RUNTIME_DIRECTORY */
	char files[96];		/* where the files of the prefix are */
	pid_t node;
};

enum init_behaviour { INIT_OK, INIT_FAILS, INIT_DIES, INIT_WAITS, INIT_EXITS };
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
	case INIT_EXITS:
		exit(0);
	case INIT_WAITS:
		assert_int_equal(write(init_entered[1], "x", 1), 1);
		assert_int_equal(read(init_leave[0], &byte, 1), 1);
		return argc - 1;
	default:
		return argc - 1;
	}
}

/* The node: listens, and answers as long as it is not killed. */
struct keeper {
	int fds[KEEPER_CONNECTIONS];	/* 0 free */
	bool waits[KEEPER_CONNECTIONS];
	int holder;			/* connection, -1 none */
	bool closed;
};

static void
keeper_answer(int fd, uint32_t op, int error)
{
	struct tp_control_response response = {
		.magic = TP_CONTROL_MAGIC,
		.version = TP_CONTROL_VERSION,
		.op = op,
		.reason = error == 0 ? TP_OK : TP_EXHAUSTED,
		.error = error,
	};

	if (send(fd, &response, sizeof(response), MSG_NOSIGNAL) < 0)
		_exit(2);
}

static void
keeper_enter(struct keeper *keeper, int who)
{
	keeper->waits[who] = !keeper->closed && keeper->holder >= 0;
	if (keeper->waits[who])
		return;
	if (!keeper->closed)
		keeper->holder = who;
	keeper_answer(keeper->fds[who], TP_CONTROL_GATE_ENTER, keeper->closed ? EOWNERDEAD : 0);
}

static void
keeper_take(struct keeper *keeper, int who)
{
	struct tp_control_request request;
	ssize_t got = recv(keeper->fds[who], &request, sizeof(request), 0);
	int i;

	if (got <= 0) {
		keeper->closed |= keeper->holder == who;
		close(keeper->fds[who]);
		keeper->fds[who] = 0;
		keeper->waits[who] = false;
	} else if (request.op == TP_CONTROL_GATE_ENTER) {
		keeper_enter(keeper, who);
		return;
	} else if (request.op == TP_CONTROL_GATE_LEAVE) {
		keeper_answer(keeper->fds[who], request.op, keeper->holder == who ? 0 : EPERM);
	} else {
		keeper_answer(keeper->fds[who], request.op, ENOSPC);
	}
	if (keeper->holder == who)
		keeper->holder = -1;
	for (i = 0; i < KEEPER_CONNECTIONS; i++)
		if (keeper->waits[i])
			keeper_enter(keeper, i);
}

static void
keeper_main(int listener)
{
	struct keeper keeper = { .holder = -1 };
	int i;

	for (;;) {
		struct pollfd polls[KEEPER_CONNECTIONS + 1];

		for (i = 0; i < KEEPER_CONNECTIONS; i++)
			polls[i] = (struct pollfd){
				.fd = keeper.fds[i] != 0 ? keeper.fds[i] : -1,
				.events = POLLIN,
			};
		polls[i] = (struct pollfd){ .fd = listener, .events = POLLIN };
		poll(polls, KEEPER_CONNECTIONS + 1, -1);
		for (i = 0; i < KEEPER_CONNECTIONS; i++)
			if (polls[i].revents != 0)
				keeper_take(&keeper, i);
		for (i = 0; i < KEEPER_CONNECTIONS && keeper.fds[i] != 0; i++)
			;
		if ((polls[KEEPER_CONNECTIONS].revents & POLLIN) && i < KEEPER_CONNECTIONS)
			keeper.fds[i] = accept(listener, NULL, NULL);
	}
}

static void
gate_node_start(struct gate *gate)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int listener = socket(AF_UNIX, SOCK_SEQPACKET, 0);

	assert_true(listener >= 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%.80s/telepage.sock", gate->files);
	unlink(address.sun_path);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(listener, 8), 0);
	gate->node = fork();
	if (gate->node == 0)
		keeper_main(listener);
	close(listener);
}

static void
gate_node_stop(struct gate *gate)
{
	kill(gate->node, SIGKILL);
	waitpid(gate->node, NULL, 0);
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
	gate_node_start(gate);
	init_behaviour = INIT_OK;
	init_argc = 0;
	*state = gate;
	return 0;
}

static int
gate_teardown(void **state)
{
	struct gate *gate = *state;
	char path[128];

	gate_node_stop(gate);
	snprintf(path, sizeof(path), "%s/telepage.sock", gate->files);
	unlink(path);
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

static int
gate_attach_for_help(void)
{
	char *argv[] = { (char[]){ "program" }, (char[]){ "--file-prefix=gate" },
			 (char[]){ "--help" }, NULL };

	return tp_eal_attach(3, argv);
}

/* Attach in a child that does what init_behaviour says; its wait status. */
static int
gate_attach_in_child(enum init_behaviour behaviour, int (*attach)(void))
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		init_behaviour = behaviour;
		_exit(attach() >= 0 ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
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
	/* It was left: there is room for the next. */
	assert_int_equal(gate_attach(), 3);
}

static void
test_gate_init_fails_gate_stays_open(void **state)
{
	init_behaviour = INIT_FAILS;
	assert_true(gate_attach() < 0);
	init_behaviour = INIT_OK;
	assert_int_equal(gate_attach(), 3);
}

static void
test_gate_holder_killed_closed_until_new_node(void **state)
{
	struct gate *gate = *state;

	assert_true(WIFSIGNALED(gate_attach_in_child(INIT_DIES, gate_attach)));
	init_argc = 0;
	assert_int_equal(gate_attach(), -EOWNERDEAD);
	assert_int_equal(gate_attach(), -EOWNERDEAD);
	/* EAL was not even entered. */
	assert_int_equal(init_argc, 0);
	gate_node_stop(gate);
	gate_node_start(gate);
	assert_int_equal(gate_attach(), 3);
}

static void
test_gate_exit_inside_closed_unless_for_help(void **state)
{
	assert_int_equal(gate_attach_in_child(INIT_EXITS, gate_attach_for_help), 0);
	assert_int_equal(gate_attach(), 3);
	assert_int_equal(gate_attach_in_child(INIT_EXITS, gate_attach), 0);
	assert_int_equal(gate_attach(), -EOWNERDEAD);
	/* Help is for everybody. */
	assert_int_equal(gate_attach_in_child(INIT_EXITS, gate_attach_for_help), 0);
}

static void
test_gate_no_node_refused(void **state)
{
	struct gate *gate = *state;

	gate_node_stop(gate);
	assert_int_equal(gate_attach(), -ECONNREFUSED);
	setenv("RUNTIME_DIRECTORY", "/nonexistent", 1);
	assert_int_equal(gate_attach(), -ECONNREFUSED);
	setenv("RUNTIME_DIRECTORY", gate->dir, 1);
	assert_int_equal(init_argc, 0);
	gate_node_start(gate);
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

/* EAL does not run here: by itself tp_attach() asks for no gate, and no EAL. */
static void
test_attach_way_chosen(void **state)
{
	struct tp_client_config config = { .file_prefix = "gate", .thread_count = 1 };
	struct tp_client *client;

	assert_int_equal(tp_attach(&config, &client), -ENOSPC);
	assert_int_equal(init_argc, 0);
	config.way = TP_ATTACH_SOCKET;
	assert_int_equal(tp_attach(&config, &client), -ENOSPC);
	assert_int_equal(init_argc, 0);
	config.way = TP_ATTACH_SECONDARY;
	init_behaviour = INIT_FAILS;
	assert_true(tp_attach(&config, &client) < 0);
	assert_int_equal(init_argc, 4);
	assert_string_equal(init_args[2], "--file-prefix");
	assert_string_equal(init_args[3], "gate");
	config.way = TP_ATTACH_SECONDARY + 1;
	assert_int_equal(tp_attach(&config, &client), -EINVAL);
}

int
main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, gate_setup, gate_teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_gate_open_secondary_arguments_added),
		CASE(test_gate_init_fails_gate_stays_open),
		CASE(test_gate_holder_killed_closed_until_new_node),
		CASE(test_gate_exit_inside_closed_unless_for_help),
		CASE(test_gate_no_node_refused),
		CASE(test_gate_one_inside_next_waits),
		CASE(test_attach_way_chosen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
