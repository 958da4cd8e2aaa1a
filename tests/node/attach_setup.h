/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A node with a control socket, by a clock of the test, and clients of it that are
 * plain sockets.
 */
#ifndef NODE_TEST_ATTACH_SETUP_H
#define NODE_TEST_ATTACH_SETUP_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
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

static inline int
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

static inline int
setup_free(void **state)
{
	struct setup *s = *state;

	attach_destroy(s->attach);
	assert_int_equal(access(s->path, F_OK), -1);
	cluster_destroy(s->cluster);
	free(s);
	return 0;
}

static inline void
run(struct setup *s, int turns)
{
	while (turns-- > 0) {
		cluster_step(s->cluster);
		attach_poll(s->attach, s->cluster->now);
	}
}

static inline int
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

static inline struct tp_control_request
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
static inline struct tp_control_response
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

static inline int
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

/* Ask without waiting for an answer. */
static inline void
ask_later(struct setup *s, int fd, uint32_t op)
{
	struct tp_control_request request = request_of(op);

	assert_int_equal(tp_fd_send(fd, &request, sizeof(request), NULL, 0), sizeof(request));
	run(s, 3);
}

/* The reason of an answer that is there, -1 if there is none. */
static inline int
answered(int fd, int32_t *error)
{
	struct tp_control_response response;

	if (recv(fd, &response, sizeof(response), MSG_DONTWAIT) != sizeof(response))
		return -1;
	if (error != NULL)
		*error = response.error;
	return (int)response.reason;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup_make, setup_free)

#endif /* NODE_TEST_ATTACH_SETUP_H */
