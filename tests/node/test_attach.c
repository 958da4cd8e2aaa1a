/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The control socket, driven by hand: a client that is a plain socket.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

#include "cluster.h"
#include "node_priv.h"

struct setup {
	struct cluster *cluster;
	struct tp_control *control;
	struct attach *attach;
	char path[100];
};

static int
setup_make(void **state)
{
	struct setup *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	s->cluster = cluster_create(1, 64);
	s->control = s->cluster->nodes[1].control;
	snprintf(s->path, sizeof(s->path), "%s.sock", s->cluster->directory);
	s->attach = attach_create(s->control, s->path);
	assert_non_null(s->attach);
	*state = s;
	return 0;
}

static int
setup_free(void **state)
{
	struct setup *s = *state;

	attach_destroy(s->attach);
	assert_int_equal(access(s->path, F_OK), -1);
	cluster_destroy(s->cluster);
	free(s);
	return 0;
}

static void
run(struct setup *s, int turns)
{
	while (turns-- > 0) {
		cluster_step(s->cluster);
		attach_poll(s->attach, s->cluster->now);
	}
}

static int
dial(struct setup *s)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	strcpy(address.sun_path, s->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	run(s, 2);
	return fd;
}

static struct tp_control_request
request_of(uint32_t op)
{
	return (struct tp_control_request){
		.magic = TP_CONTROL_MAGIC,
		.version = TP_CONTROL_VERSION,
		.op = op,
		.node = TP_CONTROL_NODE_ANY,
	};
}

/* Send, and wait for the answer; its descriptors are closed. */
static struct tp_control_response
ask(struct setup *s, int fd, const struct tp_control_request *request, unsigned int *fd_count)
{
	struct tp_control_response response;
	int fds[8];
	unsigned int count = 0;
	ssize_t ret;
	int turns = 100000;
	unsigned int i;

	assert_int_equal(tp_fd_send(fd, request, sizeof(*request), NULL, 0), sizeof(*request));
	do {
		run(s, 1);
		ret = tp_fd_recv(fd, &response, sizeof(response), fds, 8, &count);
	} while (ret == -EAGAIN && turns-- > 0);
	assert_int_equal(ret, sizeof(response));
	assert_int_equal(response.op, request->op);
	for (i = 0; i < count; i++)
		close(fds[i]);
	if (fd_count != NULL)
		*fd_count = count;
	return response;
}

static int
dial_and_attach(struct setup *s)
{
	struct tp_control_request request = request_of(TP_CONTROL_ATTACH);
	struct tp_control_response response;
	unsigned int count;
	int fd = dial(s);

	request.value = 2;
	response = ask(s, fd, &request, &count);
	assert_int_equal(response.reason, TP_OK);
	assert_int_equal(count, 3);
	return fd;
}

static void
test_attach_gives_memory_and_close_takes_it_back(void **state)
{
	struct setup *s = *state;
	int fd = dial_and_attach(s);

	assert_int_equal(tp_control_client_count(s->control), 1);
	close(fd);
	run(s, 10);
	assert_int_equal(tp_control_client_count(s->control), 0);
}

static void
test_attach_bad_thread_count_refused(void **state)
{
	struct setup *s = *state;
	struct tp_control_request request = request_of(TP_CONTROL_ATTACH);
	static const uint64_t counts[] = { 0, TP_ABI_THREADS_MAX + 1, UINT64_MAX, 1ull << 32 };
	int fd = dial(s);
	size_t i;

	for (i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		request.value = counts[i];
		assert_int_equal(ask(s, fd, &request, NULL).reason, TP_INVALID);
	}
	assert_int_equal(tp_control_client_count(s->control), 0);
	close(fd);
}

static void
test_attach_twice_or_not_at_all_refused(void **state)
{
	struct setup *s = *state;
	struct tp_control_request request = request_of(TP_CONTROL_ATTACH);
	int fd = dial_and_attach(s);
	int other = dial(s);

	request.value = 1;
	assert_int_equal(ask(s, fd, &request, NULL).reason, TP_INVALID);
	request = request_of(TP_CONTROL_STATS);
	assert_int_equal(ask(s, fd, &request, NULL).reason, TP_OK);
	assert_int_equal(ask(s, other, &request, NULL).reason, TP_INVALID);
	close(fd);
	close(other);
}

static void
test_attach_more_clients_than_fit_refused(void **state)
{
	struct setup *s = *state;
	struct tp_control_request request = request_of(TP_CONTROL_ATTACH);
	int fds[TP_ABI_CLIENTS_MAX];
	int fd;
	int i;

	for (i = 0; i < TP_ABI_CLIENTS_MAX; i++)
		fds[i] = dial_and_attach(s);
	fd = dial(s);
	request.value = 1;
	assert_int_equal(ask(s, fd, &request, NULL).reason, TP_EXHAUSTED);
	close(fds[17]);
	run(s, 10);
	assert_int_equal(ask(s, fd, &request, NULL).reason, TP_OK);
	for (i = 0; i < TP_ABI_CLIENTS_MAX; i++)
		if (i != 17)
			close(fds[i]);
	close(fd);
	run(s, 20);
	assert_int_equal(tp_control_client_count(s->control), 0);
}

static void
test_connection_malformed_requests_end_it(void **state)
{
	struct setup *s = *state;
	int fd = dial_and_attach(s);
	int other = dial_and_attach(s);
	char junk[3000] = "junk";
	int i;

	for (i = 0; i < 20; i++) {
		send(fd, junk, i % 2 ? 10 : sizeof(junk), MSG_NOSIGNAL);
		run(s, 2);
		while (recv(fd, junk, sizeof(junk), 0) > 0)
			;
	}
	assert_int_equal(send(fd, junk, 1, MSG_NOSIGNAL), -1);
	assert_int_equal(errno, EPIPE);
	assert_int_equal(tp_control_client_count(s->control), 1);
	close(fd);
	close(other);
}

static void
test_connection_ends_during_call_cancels_it(void **state)
{
	struct setup *s = *state;
	struct tp_control_request request = request_of(TP_CONTROL_REGION_CREATE);
	int fd = dial_and_attach(s);

	strcpy(request.region.name, "x");
	request.region.bytes = 4096;
	request.region.mode = TP_REGION_RW;
	request.region.distribution = TP_REGION_STRIPED;
	/* A member that does not answer: the call waits for it. */
	s->cluster->nodes[2].control_paused = true;
	assert_int_equal(tp_fd_send(fd, &request, sizeof(request), NULL, 0), sizeof(request));
	run(s, 10);
	assert_int_equal(s->control->calls_used, 1);
	close(fd);
	run(s, 10);
	assert_int_equal(s->control->calls_used, 0);
	assert_int_equal(tp_control_client_count(s->control), 0);
}

static void
test_call_waits_for_silent_member_until_it_is_fenced(void **state)
{
	struct setup *s = *state;
	struct tp_control_request request = request_of(TP_CONTROL_REGION_CREATE);
	struct tp_control_response response;
	uint64_t begun;
	int fd = dial_and_attach(s);

	strcpy(request.region.name, "x");
	request.region.bytes = 4096;
	request.region.mode = TP_REGION_RW;
	request.region.distribution = TP_REGION_STRIPED;
	s->cluster->nodes[2].control_paused = true;
	begun = s->cluster->now;
	response = ask(s, fd, &request, NULL);
	assert_int_equal(response.reason, TP_OK);
	assert_in_range(s->cluster->now - begun, 100 * CLUSTER_MS, 400 * CLUSTER_MS);
	assert_int_equal(s->control->stats.fences, 1);
	close(fd);
}

static void
test_client_spoils_ring_is_detached(void **state)
{
	struct setup *s = *state;
	int fd = dial_and_attach(s);
	struct tp_abi_client *segment = tp_control_client_segment(s->control, 0);
	char byte;

	assert_non_null(segment);
	atomic_store(&segment->threads[0].active, 1);
	atomic_store(&segment->threads[0].rings[0].request_head, 1000);
	run(s, 10);
	assert_int_equal(recv(fd, &byte, 1, 0), 0);
	assert_int_equal(tp_control_client_count(s->control), 0);
	assert_int_equal(s->control->stats.clients_bad, 1);
	close(fd);
}

static void
test_socket_of_dead_node_is_replaced_of_live_one_kept(void **state)
{
	struct setup *s = *state;
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct attach *second;
	char path[108];
	int fd;

	assert_null(attach_create(s->control, s->path));
	snprintf(path, sizeof(path), "%s.dead", s->path);
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	second = attach_create(s->control, path);
	assert_non_null(second);
	attach_destroy(second);
}

/* Ask without waiting for an answer. */
static void
ask_later(struct setup *s, int fd, uint32_t op)
{
	struct tp_control_request request = request_of(op);

	assert_int_equal(tp_fd_send(fd, &request, sizeof(request), NULL, 0), sizeof(request));
	run(s, 3);
}

/* The reason of an answer that is there, -1 if there is none. */
static int
answered(int fd, int32_t *error)
{
	struct tp_control_response response;

	if (recv(fd, &response, sizeof(response), MSG_DONTWAIT) != sizeof(response))
		return -1;
	if (error != NULL)
		*error = response.error;
	return (int)response.reason;
}

static void
test_gate_one_at_a_time(void **state)
{
	struct setup *s = *state;
	struct tp_control_request leave = request_of(TP_CONTROL_GATE_LEAVE);
	struct tp_control_request attach = request_of(TP_CONTROL_ATTACH);
	int first = dial(s);
	int second = dial(s);
	int third = dial(s);

	assert_int_equal(ask(s, first, &leave, NULL).reason, TP_INVALID);
	ask_later(s, first, TP_CONTROL_GATE_ENTER);
	assert_int_equal(answered(first, NULL), TP_OK);
	ask_later(s, second, TP_CONTROL_GATE_ENTER);
	ask_later(s, third, TP_CONTROL_GATE_ENTER);
	assert_int_equal(answered(second, NULL), -1);
	/* Who only waits may go: nothing was entered. */
	close(third);
	assert_int_equal(ask(s, first, &leave, NULL).reason, TP_OK);
	run(s, 3);
	assert_int_equal(answered(second, NULL), TP_OK);
	assert_int_equal(ask(s, second, &leave, NULL).reason, TP_OK);
	/* The connection goes on as a client's, and its end means nothing for the gate. */
	attach.value = 1;
	assert_int_equal(ask(s, first, &attach, NULL).reason, TP_OK);
	close(first);
	close(second);
	run(s, 10);
	first = dial(s);
	ask_later(s, first, TP_CONTROL_GATE_ENTER);
	assert_int_equal(answered(first, NULL), TP_OK);
	assert_int_equal(ask(s, first, &leave, NULL).reason, TP_OK);
	close(first);
}

static void
test_gate_holder_gone_closed_and_clients_served(void **state)
{
	struct setup *s = *state;
	int inside = dial(s);
	int waits = dial(s);
	int32_t error = 0;
	int fd;

	ask_later(s, inside, TP_CONTROL_GATE_ENTER);
	assert_int_equal(answered(inside, NULL), TP_OK);
	ask_later(s, waits, TP_CONTROL_GATE_ENTER);
	close(inside);
	run(s, 5);
	assert_int_equal(answered(waits, &error), TP_EXHAUSTED);
	assert_int_equal(error, EOWNERDEAD);
	close(waits);
	fd = dial_and_attach(s);
	ask_later(s, fd, TP_CONTROL_GATE_ENTER);
	assert_int_equal(answered(fd, &error), TP_EXHAUSTED);
	assert_int_equal(error, EOWNERDEAD);
	assert_int_equal(tp_control_client_count(s->control), 1);
	close(fd);
}

/* One that is stopped inside: others wait for it once, and not for long. */
static void
test_gate_holder_stands_still_others_are_refused(void **state)
{
	struct setup *s = *state;
	struct tp_control_request leave = request_of(TP_CONTROL_GATE_LEAVE);
	int inside = dial(s);
	int waits = dial(s);
	uint64_t begun;
	int32_t error = 0;
	int fd;

	ask_later(s, inside, TP_CONTROL_GATE_ENTER);
	assert_int_equal(answered(inside, NULL), TP_OK);
	/* Alone it may take its time. */
	s->cluster->now += 3000 * CLUSTER_MS;
	begun = s->cluster->now;
	ask_later(s, waits, TP_CONTROL_GATE_ENTER);
	while (answered(waits, &error) < 0) {
		s->cluster->now += 10 * CLUSTER_MS;
		attach_poll(s->attach, s->cluster->now);
		assert_true(s->cluster->now - begun < 3000 * CLUSTER_MS);
	}
	assert_int_equal(error, EBUSY);
	assert_true(s->cluster->now - begun > 1500 * CLUSTER_MS);
	/* The next ones are not kept waiting at all; programs without EAL are served. */
	ask_later(s, waits, TP_CONTROL_GATE_ENTER);
	assert_int_equal(answered(waits, &error), TP_EXHAUSTED);
	assert_int_equal(error, EBUSY);
	fd = dial_and_attach(s);
	close(fd);
	/* It goes on. */
	assert_int_equal(ask(s, inside, &leave, NULL).reason, TP_OK);
	ask_later(s, waits, TP_CONTROL_GATE_ENTER);
	assert_int_equal(answered(waits, NULL), TP_OK);
	assert_int_equal(ask(s, waits, &leave, NULL).reason, TP_OK);
	close(inside);
	close(waits);
}

/* The node itself did not look for a while: that is not the holder's time. */
static void
test_gate_node_stood_still_holder_is_not_charged(void **state)
{
	struct setup *s = *state;
	struct tp_control_request leave = request_of(TP_CONTROL_GATE_LEAVE);
	int inside = dial(s);
	int waits = dial(s);

	ask_later(s, inside, TP_CONTROL_GATE_ENTER);
	assert_int_equal(answered(inside, NULL), TP_OK);
	ask_later(s, waits, TP_CONTROL_GATE_ENTER);
	s->cluster->now += 10000 * CLUSTER_MS;
	attach_poll(s->attach, s->cluster->now);
	assert_int_equal(answered(waits, NULL), -1);
	assert_int_equal(ask(s, inside, &leave, NULL).reason, TP_OK);
	run(s, 3);
	assert_int_equal(answered(waits, NULL), TP_OK);
	close(inside);
	close(waits);
}

/* What stood still dies. */
static void
test_gate_holder_stands_still_and_dies_closed(void **state)
{
	struct setup *s = *state;
	int inside = dial(s);
	int waits = dial(s);
	int32_t error = 0;
	int i;

	ask_later(s, inside, TP_CONTROL_GATE_ENTER);
	assert_int_equal(answered(inside, NULL), TP_OK);
	ask_later(s, waits, TP_CONTROL_GATE_ENTER);
	for (i = 0; i < 300; i++) {
		s->cluster->now += 10 * CLUSTER_MS;
		attach_poll(s->attach, s->cluster->now);
	}
	assert_int_equal(answered(waits, &error), TP_EXHAUSTED);
	assert_int_equal(error, EBUSY);
	close(inside);
	run(s, 5);
	ask_later(s, waits, TP_CONTROL_GATE_ENTER);
	assert_int_equal(answered(waits, &error), TP_EXHAUSTED);
	assert_int_equal(error, EOWNERDEAD);
	close(waits);
}

static void
assert_gate_is_open(struct setup *s)
{
	int fd = dial(s);
	struct tp_control_request leave = request_of(TP_CONTROL_GATE_LEAVE);

	ask_later(s, fd, TP_CONTROL_GATE_ENTER);
	assert_int_equal(answered(fd, NULL), TP_OK);
	assert_int_equal(ask(s, fd, &leave, NULL).reason, TP_OK);
	close(fd);
}

/* The turn that sees its end is the one in which the gate becomes free. */
static void
test_gate_waiter_gone_gate_stays_open(void **state)
{
	struct setup *s = *state;
	struct tp_control_request leave = request_of(TP_CONTROL_GATE_LEAVE);
	int inside = dial(s);
	int waits = dial(s);

	ask_later(s, inside, TP_CONTROL_GATE_ENTER);
	assert_int_equal(answered(inside, NULL), TP_OK);
	ask_later(s, waits, TP_CONTROL_GATE_ENTER);
	assert_int_equal(tp_fd_send(inside, &leave, sizeof(leave), NULL, 0), sizeof(leave));
	close(waits);
	run(s, 3);
	assert_int_equal(answered(inside, NULL), TP_OK);
	assert_gate_is_open(s);
	close(inside);
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
	ask_later(s, fd, TP_CONTROL_GATE_ENTER);
	run(s, 10);
	assert_int_equal(tp_control_client_count(s->control), 0);
	close(fd);
	assert_gate_is_open(s);
}

/* No descriptor is left: nobody can be let in, and who sleeps is not woken for it. */
static void
test_listener_without_descriptors_is_left_out_for_a_while(void **state)
{
	struct setup *s = *state;
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct tp_control_request request = request_of(TP_CONTROL_ATTACH);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0);
	struct rlimit limit, low;
	struct pollfd fds[320];
	int copies[256];
	int count = 0;

	run(s, 2);
	assert_int_equal(attach_fds(s->attach, fds, 320), 1);
	strcpy(address.sun_path, s->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	low = (struct rlimit){ .rlim_cur = 256, .rlim_max = limit.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	while ((copies[count] = dup(fd)) >= 0)
		count++;
	attach_poll(s->attach, s->cluster->now);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	while (count-- > 0)
		close(copies[count]);
	assert_int_equal(attach_fds(s->attach, fds, 320), 0);
	assert_int_equal(attach_poll(s->attach, s->cluster->now + 99 * CLUSTER_MS), 0);
	cluster_run(s->cluster, 100 * CLUSTER_MS);
	run(s, 2);
	assert_int_equal(attach_fds(s->attach, fds, 320), 2);
	request.value = 1;
	assert_int_equal(ask(s, fd, &request, NULL).reason, TP_OK);
	close(fd);
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

	ask_later(s, inside, TP_CONTROL_GATE_ENTER);
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
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup_make, setup_free)
	const struct CMUnitTest tests[] = {
		CASE(test_attach_gives_memory_and_close_takes_it_back),
		CASE(test_attach_bad_thread_count_refused),
		CASE(test_attach_twice_or_not_at_all_refused),
		CASE(test_attach_more_clients_than_fit_refused),
		CASE(test_connection_malformed_requests_end_it),
		CASE(test_connection_ends_during_call_cancels_it),
		CASE(test_call_waits_for_silent_member_until_it_is_fenced),
		CASE(test_client_spoils_ring_is_detached),
		CASE(test_socket_of_dead_node_is_replaced_of_live_one_kept),
		CASE(test_gate_one_at_a_time),
		CASE(test_gate_holder_gone_closed_and_clients_served),
		CASE(test_gate_holder_stands_still_others_are_refused),
		CASE(test_gate_node_stood_still_holder_is_not_charged),
		CASE(test_gate_holder_stands_still_and_dies_closed),
		CASE(test_gate_waiter_gone_gate_stays_open),
		CASE(test_gate_entered_unknown_to_client_is_left),
		CASE(test_gate_waited_for_too_long_refused),
		CASE(test_listener_without_descriptors_is_left_out_for_a_while),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
