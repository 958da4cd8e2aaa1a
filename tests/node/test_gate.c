/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The gate for DPDK secondary processes, over the control socket. Who is inside is
 * this process, busy whenever it is looked at, or another one that stands still.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attach_setup.h"
#include "gate_priv.h"

#define STEP (10 * CLUSTER_MS)

/* One inside, and one that waits. */
struct queue {
	int inside;
	int waits;
};

static void
enter(struct setup *s, int fd)
{
	ask_later(s, fd, TP_CONTROL_GATE_ENTER);
}

static void
assert_entered(int fd)
{
	assert_int_equal(answered(fd, NULL), TP_OK);
}

static void
assert_refused(int fd, int32_t wanted)
{
	int32_t error = 0;

	assert_int_equal(answered(fd, &error), TP_EXHAUSTED);
	assert_int_equal(error, wanted);
}

static void
leave(struct setup *s, int fd)
{
	struct tp_control_request request = request_of(TP_CONTROL_GATE_LEAVE);

	assert_int_equal(ask(s, fd, &request, NULL).reason, TP_OK);
}

static struct queue
queue_make(struct setup *s)
{
	struct queue queue = { .inside = dial(s), .waits = dial(s) };

	enter(s, queue.inside);
	assert_entered(queue.inside);
	enter(s, queue.waits);
	return queue;
}

static void
queue_free(const struct queue *queue)
{
	close(queue->inside);
	close(queue->waits);
}

static void
assert_gate_is_open(struct setup *s)
{
	int fd = dial(s);

	enter(s, fd);
	assert_entered(fd);
	leave(s, fd);
	close(fd);
}

/* Time passes, with a look every 10 ms, until there is an answer; how much. */
static uint64_t
refused_after(struct setup *s, int fd, int32_t wanted)
{
	uint64_t begun = s->cluster->now;
	int32_t error = 0;

	while (answered(fd, &error) < 0) {
		s->cluster->now += STEP;
		attach_poll(s->attach, s->cluster->now);
		assert_true(s->cluster->now - begun < 60000 * CLUSTER_MS);
	}
	assert_int_equal(error, wanted);
	return s->cluster->now - begun;
}

static void
test_gate_one_at_a_time(void **state)
{
	struct setup *s = *state;
	struct tp_control_request early = request_of(TP_CONTROL_GATE_LEAVE);
	struct tp_control_request attach = request_of(TP_CONTROL_ATTACH);
	int first = dial(s);
	int second = dial(s);
	int third = dial(s);

	assert_int_equal(ask(s, first, &early, NULL).reason, TP_INVALID);
	enter(s, first);
	assert_entered(first);
	enter(s, second);
	enter(s, third);
	assert_int_equal(answered(second, NULL), -1);
	/* Who only waits may go: nothing was entered. */
	close(third);
	leave(s, first);
	run(s, 3);
	assert_entered(second);
	leave(s, second);
	/* The connection goes on as a client's, and its end means nothing for the gate. */
	attach.value = 1;
	assert_int_equal(ask(s, first, &attach, NULL).reason, TP_OK);
	close(first);
	close(second);
	run(s, 10);
	assert_gate_is_open(s);
}

static void
test_gate_holder_gone_closed_and_clients_served(void **state)
{
	struct setup *s = *state;
	struct queue queue = queue_make(s);
	int fd;

	close(queue.inside);
	run(s, 5);
	assert_refused(queue.waits, EOWNERDEAD);
	close(queue.waits);
	fd = dial_and_attach(s);
	enter(s, fd);
	assert_refused(fd, EOWNERDEAD);
	assert_int_equal(tp_control_client_count(s->control), 1);
	close(fd);
}

/* However long it takes: others wait, as long as they like themselves. */
static void
test_gate_slow_holder_is_waited_for(void **state)
{
	struct setup *s = *state;
	struct queue queue = queue_make(s);
	uint64_t end = s->cluster->now + 25000 * CLUSTER_MS;

	while (s->cluster->now < end) {
		s->cluster->now += STEP;
		attach_poll(s->attach, s->cluster->now);
		assert_int_equal(answered(queue.waits, NULL), -1);
	}
	leave(s, queue.inside);
	run(s, 3);
	assert_entered(queue.waits);
	leave(s, queue.waits);
	queue_free(&queue);
}

/* -- another program inside */

enum program_life {
	PROGRAM_STOPS,		/* then it leaves */
	PROGRAM_SLEEPS,
	PROGRAM_FORKS,		/* it ends, and a child of its keeps the connection */
};

struct program {
	pid_t pid;
	int inside;	/* a byte comes when it is */
	int life;	/* closed: it ends */
};

static void
program_ask(int fd, uint32_t op)
{
	struct tp_control_request request = request_of(op);
	struct tp_control_response response;

	if (send(fd, &request, sizeof(request), 0) != sizeof(request) ||
	    recv(fd, &response, sizeof(response), 0) != sizeof(response) ||
	    response.reason != TP_OK)
		_exit(1);
}

static void
program_main(const struct setup *s, enum program_life life, int inside, int end)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	char byte = 0;

	strcpy(address.sun_path, s->path);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		_exit(1);
	program_ask(fd, TP_CONTROL_GATE_ENTER);
	if (write(inside, &byte, 1) != 1 || (life == PROGRAM_FORKS && fork() != 0))
		_exit(0);
	if (life == PROGRAM_STOPS) {
		raise(SIGSTOP);
		program_ask(fd, TP_CONTROL_GATE_LEAVE);
	}
	_exit(read(end, &byte, 1) == 0 ? 0 : 1);
}

/* Start a program that enters the gate, and wait until it is as it will stay. */
static struct program
program_start(struct setup *s, enum program_life life, enum process_state wanted)
{
	struct process process = { 0 };
	struct program program;
	int inside[2], end[2];
	char byte;

	assert_int_equal(pipe2(inside, O_NONBLOCK), 0);
	assert_int_equal(pipe(end), 0);
	program.pid = fork();
	if (program.pid == 0) {
		close(end[1]);
		program_main(s, life, inside[1], end[0]);
	}
	close(inside[1]);
	close(end[0]);
	program.inside = inside[0];
	program.life = end[1];
	while (read(program.inside, &byte, 1) != 1)
		run(s, 1);
	process.pid = program.pid;
	while (process_look(&process) != wanted)
		usleep(1000);
	return program;
}

static void
program_go_on(const struct program *program)
{
	struct process process = { .pid = program->pid };

	kill(program->pid, SIGCONT);
	while (process_look(&process) == PROCESS_STOPPED)
		usleep(1000);
}

static void
program_end(struct program *program)
{
	int status;

	close(program->inside);
	close(program->life);
	assert_int_equal(waitpid(program->pid, &status, 0), program->pid);
	assert_int_equal(status, 0);
}

/* One that is stopped inside: others wait for it once, and not for long. */
static void
test_gate_holder_stopped_others_are_refused(void **state)
{
	struct setup *s = *state;
	struct program program = program_start(s, PROGRAM_STOPS, PROCESS_STOPPED);
	int waits = dial(s);
	uint64_t waited;
	int32_t error = 0;
	int fd;

	/* Alone it may take its time. */
	s->cluster->now += 5000 * CLUSTER_MS;
	enter(s, waits);
	waited = refused_after(s, waits, EBUSY);
	assert_in_range(waited, 1500 * CLUSTER_MS, 2500 * CLUSTER_MS);
	/* The next ones are not kept waiting at all; programs without EAL are served. */
	enter(s, waits);
	assert_refused(waits, EBUSY);
	fd = dial_and_attach(s);
	close(fd);
	/* It goes on: it is waited for, and leaves. */
	program_go_on(&program);
	s->cluster->now += GATE_CHARGE_NS;
	enter(s, waits);
	while (answered(waits, &error) != TP_OK) {
		assert_int_equal(error, 0);
		run(s, 1);
	}
	leave(s, waits);
	close(waits);
	program_end(&program);
	assert_gate_is_open(s);
}

/* It may wait for something that comes: longer than for one that is stopped. */
static void
test_gate_holder_asleep_others_are_refused_later(void **state)
{
	struct setup *s = *state;
	struct program program = program_start(s, PROGRAM_SLEEPS, PROCESS_ASLEEP);
	int waits = dial(s);

	enter(s, waits);
	assert_in_range(refused_after(s, waits, EBUSY), 9000 * CLUSTER_MS, 12000 * CLUSTER_MS);
	enter(s, waits);
	assert_refused(waits, EBUSY);
	program_end(&program);
	run(s, 5);
	enter(s, waits);
	assert_refused(waits, EOWNERDEAD);
	close(waits);
}

/* It died inside, and what it shares its connection with lives. */
static void
test_gate_holder_gone_connection_kept_closed(void **state)
{
	struct setup *s = *state;
	struct program program = program_start(s, PROGRAM_FORKS, PROCESS_GONE);
	int waits = dial(s);

	s->cluster->now += GATE_CHARGE_NS;
	enter(s, waits);
	assert_refused(waits, EOWNERDEAD);
	close(waits);
	program_end(&program);
}

/* The node itself did not look for a while: that is not the holder's time. */
static void
test_gate_node_stood_still_holder_is_not_charged(void **state)
{
	struct setup *s = *state;
	struct program program = program_start(s, PROGRAM_STOPS, PROCESS_STOPPED);
	int waits = dial(s);

	enter(s, waits);
	s->cluster->now += 10000 * CLUSTER_MS;
	attach_poll(s->attach, s->cluster->now);
	assert_int_equal(answered(waits, NULL), -1);
	program_go_on(&program);
	while (answered(waits, NULL) != TP_OK)
		run(s, 1);
	leave(s, waits);
	close(waits);
	program_end(&program);
}

/* What stood still dies. */
static void
test_gate_holder_stopped_and_dies_closed(void **state)
{
	struct setup *s = *state;
	struct program program = program_start(s, PROGRAM_STOPS, PROCESS_STOPPED);
	int waits = dial(s);

	enter(s, waits);
	refused_after(s, waits, EBUSY);
	kill(program.pid, SIGKILL);
	waitpid(program.pid, NULL, 0);
	close(program.inside);
	close(program.life);
	run(s, 5);
	enter(s, waits);
	assert_refused(waits, EOWNERDEAD);
	close(waits);
}

/* The turn that sees its end is the one in which the gate becomes free. */
static void
test_gate_waiter_gone_gate_stays_open(void **state)
{
	struct setup *s = *state;
	struct tp_control_request request = request_of(TP_CONTROL_GATE_LEAVE);
	struct queue queue = queue_make(s);

	assert_int_equal(tp_fd_send(queue.inside, &request, sizeof(request), NULL, 0),
		sizeof(request));
	close(queue.waits);
	run(s, 3);
	assert_int_equal(answered(queue.inside, NULL), TP_OK);
	assert_gate_is_open(s);
	close(queue.inside);
}

/* Answers that fit into the socket of a client that reads none. */
static int
answers_that_fit(struct setup *s)
{
	int fd = dial_and_attach(s);
	int count = -1;

	while (tp_control_client_count(s->control) != 0) {
		assert_in_range(++count, 0, 10000);
		ask_later(s, fd, TP_CONTROL_STATS);
		run(s, 10);
	}
	close(fd);
	return count;
}

static void
test_gate_entered_unknown_to_client_is_left(void **state)
{
	struct setup *s = *state;
	int count = answers_that_fit(s);
	int fd = dial_and_attach(s);

	while (count-- > 0)
		ask_later(s, fd, TP_CONTROL_STATS);
	assert_int_equal(tp_control_client_count(s->control), 1);
	enter(s, fd);
	run(s, 10);
	assert_int_equal(tp_control_client_count(s->control), 0);
	close(fd);
	assert_gate_is_open(s);
}

static void
test_gate_waited_for_too_long_refused(void **state)
{
	struct setup *s = *state;
	struct tp_control_request request = request_of(TP_CONTROL_GATE_ENTER);
	struct tp_control_response response;
	int inside = dial(s);
	int waits = dial(s);
	uint64_t begun = s->cluster->now;

	enter(s, inside);
	request.timeout_ns = 100 * CLUSTER_MS;
	response = ask(s, waits, &request, NULL);
	assert_int_equal(response.error, ETIMEDOUT);
	assert_in_range(s->cluster->now - begun, 100 * CLUSTER_MS, 110 * CLUSTER_MS);
	close(waits);
	close(inside);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_gate_one_at_a_time),
		CASE(test_gate_holder_gone_closed_and_clients_served),
		CASE(test_gate_slow_holder_is_waited_for),
		CASE(test_gate_holder_stopped_others_are_refused),
		CASE(test_gate_holder_asleep_others_are_refused_later),
		CASE(test_gate_holder_gone_connection_kept_closed),
		CASE(test_gate_node_stood_still_holder_is_not_charged),
		CASE(test_gate_holder_stopped_and_dies_closed),
		CASE(test_gate_waiter_gone_gate_stays_open),
		CASE(test_gate_entered_unknown_to_client_is_left),
		CASE(test_gate_waited_for_too_long_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
