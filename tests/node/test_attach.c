/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The control socket, driven by hand: a client that is a plain socket.
 */
#include <sys/resource.h>

#include "attach_setup.h"

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

int
main(void)
{
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
		CASE(test_listener_without_descriptors_is_left_out_for_a_while),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
