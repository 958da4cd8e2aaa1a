/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tp_segment.h"

/* Descriptors this process has open: the way to see a leak. */
static unsigned int
fd_open_count(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int count = 0;

	assert_non_null(dir);
	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count;
}

static void
pair_open(int type, int socks[2])
{
	assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, socks), 0);
}

static void
pair_close(const int socks[2])
{
	close(socks[0]);
	close(socks[1]);
}

static void
test_fd_sent_to_another_process_maps_the_same_bytes(void **state)
{
	struct tp_segment_config config = { .type = TP_SEGMENT_SHARED, .bytes = 4096 };
	struct tp_segment *segment;
	int socks[2], fd, status;
	char word[8];
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, socks), 0);
	pid = fork();
	if (pid == 0) {
		unsigned int count;

		if (tp_fd_recv(socks[1], word, sizeof(word), &fd, 1, &count) != 5 || count != 1 ||
		    tp_segment_import(fd, &config, &segment) != 0)
			_exit(1);
		strcpy(tp_segment_base(segment), "reply");
		_exit(0);
	}
	assert_int_equal(tp_segment_create(&config, &segment), 0);
	fd = tp_segment_fd(segment);
	assert_int_equal(tp_fd_send(socks[0], "hello", 5, &fd, 1), 5);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_string_equal(tp_segment_base(segment), "reply");
	tp_segment_destroy(segment);
	pair_close(socks);
}

static void
test_fd_received_is_close_on_exec(void **state)
{
	int socks[2], fd, null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	unsigned int count;
	char byte;

	pair_open(SOCK_STREAM, socks);
	assert_int_equal(tp_fd_send(socks[0], "x", 1, &null, 1), 1);
	assert_int_equal(tp_fd_recv(socks[1], &byte, 1, &fd, 1, &count), 1);
	assert_int_equal(count, 1);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	close(fd);
	close(null);
	pair_close(socks);
}

static void
test_fd_most_allowed_arrive(void **state)
{
	int socks[2], fds[TP_FD_MAX], got[TP_FD_MAX], null = open("/dev/null", O_RDONLY);
	unsigned int count, open_before;
	char byte;

	for (unsigned int i = 0; i < TP_FD_MAX; i++)
		fds[i] = null;
	pair_open(SOCK_SEQPACKET, socks);
	open_before = fd_open_count();
	assert_int_equal(tp_fd_send(socks[0], "x", 1, fds, TP_FD_MAX), 1);
	assert_int_equal(tp_fd_recv(socks[1], &byte, 1, got, TP_FD_MAX, &count), 1);
	assert_int_equal(count, TP_FD_MAX);
	assert_int_equal(fd_open_count(), open_before + TP_FD_MAX);
	for (unsigned int i = 0; i < count; i++)
		close(got[i]);
	close(null);
	pair_close(socks);
}

static void
test_fd_surplus_is_an_error_and_none_stays_open(void **state)
{
	int socks[2], got[2], null = open("/dev/null", O_RDONLY);
	int fds[3] = { null, null, null };
	unsigned int count = 77, open_before;
	char byte;

	pair_open(SOCK_SEQPACKET, socks);
	open_before = fd_open_count();
	assert_int_equal(tp_fd_send(socks[0], "x", 1, fds, 3), 1);
	assert_int_equal(tp_fd_recv(socks[1], &byte, 1, got, 2, &count), -E2BIG);
	assert_int_equal(count, 0);
	assert_int_equal(fd_open_count(), open_before);
	/* Nobody expected any. */
	assert_int_equal(tp_fd_send(socks[0], "x", 1, fds, 1), 1);
	assert_int_equal(tp_fd_recv(socks[1], &byte, 1, NULL, 0, &count), -E2BIG);
	assert_int_equal(fd_open_count(), open_before);
	close(null);
	pair_close(socks);
}

static void
test_fd_long_datagram_is_an_error_and_none_stays_open(void **state)
{
	int socks[2], got[2], null = open("/dev/null", O_RDONLY);
	unsigned int count, open_before;
	char bytes[4];

	pair_open(SOCK_SEQPACKET, socks);
	open_before = fd_open_count();
	assert_int_equal(tp_fd_send(socks[0], "longer", 6, &null, 1), 6);
	assert_int_equal(tp_fd_recv(socks[1], bytes, 4, got, 2, &count), -EMSGSIZE);
	assert_int_equal(fd_open_count(), open_before);
	close(null);
	pair_close(socks);
}

static void
test_fd_no_room_in_the_process_is_an_error_and_none_stays_open(void **state)
{
	int socks[2], got[4], null = open("/dev/null", O_RDONLY);
	int fds[4] = { null, null, null, null };
	unsigned int count, open_before;
	struct rlimit old, tight;
	int next;
	char byte;

	pair_open(SOCK_SEQPACKET, socks);
	assert_int_equal(tp_fd_send(socks[0], "x", 1, fds, 4), 1);
	open_before = fd_open_count();
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	next = dup(null);
	close(next);
	/* Room for one more: the kernel cuts the other three off. */
	tight = old;
	tight.rlim_cur = (rlim_t)next + 1;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	assert_int_equal(tp_fd_recv(socks[1], &byte, 1, got, 4, &count), -EMSGSIZE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(count, 0);
	assert_int_equal(fd_open_count(), open_before);
	close(null);
	pair_close(socks);
}

static void
test_fd_bad_arguments_and_lost_peer_are_errors(void **state)
{
	int socks[2], fds[1] = { 0 };
	unsigned int count;
	char byte;

	pair_open(SOCK_STREAM, socks);
	assert_int_equal(tp_fd_send(socks[0], "x", 0, fds, 1), -EINVAL);
	assert_int_equal(tp_fd_send(socks[0], "x", 1, fds, TP_FD_MAX + 1), -EINVAL);
	assert_int_equal(tp_fd_recv(socks[1], &byte, 0, fds, 1, &count), -EINVAL);
	assert_int_equal(tp_fd_recv(socks[1], &byte, 1, fds, 1, &count), -EAGAIN);
	fds[0] = -1;
	assert_int_equal(tp_fd_send(socks[0], "x", 1, fds, 1), -EBADF);
	close(socks[0]);
	assert_int_equal(tp_fd_recv(socks[1], &byte, 1, fds, 1, &count), 0);
	assert_int_equal(tp_fd_send(socks[1], "x", 1, NULL, 0), -EPIPE);
	close(socks[1]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fd_sent_to_another_process_maps_the_same_bytes),
		cmocka_unit_test(test_fd_received_is_close_on_exec),
		cmocka_unit_test(test_fd_most_allowed_arrive),
		cmocka_unit_test(test_fd_surplus_is_an_error_and_none_stays_open),
		cmocka_unit_test(test_fd_long_datagram_is_an_error_and_none_stays_open),
		cmocka_unit_test(test_fd_no_room_in_the_process_is_an_error_and_none_stays_open),
		cmocka_unit_test(test_fd_bad_arguments_and_lost_peer_are_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
