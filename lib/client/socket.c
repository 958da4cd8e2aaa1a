/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Attaching by the node's Unix socket, and control requests over it: docs/abi.md
 * section 8. The connection is the client's life. Any thread, under the
 * client's control lock.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "heir.h"

/* The descriptors of an ATTACH response, in this order; then a doorbell for each worker. */
enum { SOCKET_NODE, SOCKET_SLOTS, SOCKET_CLIENT, SOCKET_SEGMENTS };
#define SOCKET_FDS (SOCKET_SEGMENTS + TP_ABI_WORKERS_MAX)

static uint64_t
socket_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* False once the other side closed it, also while answers that nobody wants are unread. */
bool
client_socket_is_open(int sock)
{
	struct pollfd event = { .fd = sock, .events = POLLRDHUP };

	return poll(&event, 1, 0) <= 0;
}

static void
socket_close_fds(int *fds, unsigned int count)
{
	while (count-- > 0)
		close(fds[count]);
}

int
client_socket_connect(const char *path, uint64_t timeout_ns)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct timeval timeout = {
		.tv_sec = (time_t)(timeout_ns / 1000000000u),
		.tv_usec = (suseconds_t)(timeout_ns % 1000000000u / 1000u),
	};
	int sock, ret;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (sock < 0)
		return -errno;
	/* Bounds connect() too, while the node's queue of connections is full. */
	if (setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0 ||
	    connect(sock, (struct sockaddr *)&address, sizeof(address)) < 0) {
		ret = errno == EAGAIN ? -ETIMEDOUT : -errno;
		close(sock);
		return ret;
	}
	return sock;
}

/* Wait until it can be sent to, or received from. 0, -ETIMEDOUT or another errno. */
static int
socket_await(int sock, short events, uint64_t deadline_ns)
{
	struct pollfd event = { .fd = sock, .events = events };
	uint64_t now = socket_now_ns();
	int ret;

	do {
		ret = poll(&event, 1, now >= deadline_ns ? 0 :
			   (int)((deadline_ns - now + 999999u) / 1000000u));
		now = socket_now_ns();
	} while (ret < 0 && errno == EINTR);
	if (ret < 0)
		return -errno;
	return ret == 0 ? -ETIMEDOUT : 0;
}

/*
 * One request and its response. Requests are answered in order, so responses to
 * those that were given up (unanswered of them) come first and are dropped.
 */
static int
socket_exchange(int sock, uint32_t *unanswered, uint64_t timeout_ns,
		const struct tp_control_request *request, struct tp_control_response *response,
		int fds[SOCKET_FDS], unsigned int *fd_count)
{
	uint64_t deadline_ns = socket_now_ns() + timeout_ns;
	ssize_t ret = socket_await(sock, POLLOUT, deadline_ns);

	if (ret < 0)
		return (int)ret;
	ret = tp_fd_send(sock, request, sizeof(*request), NULL, 0);
	if (ret < 0)
		return ret == -EPIPE ? -ECONNRESET : (ret == -EAGAIN ? -ETIMEDOUT : (int)ret);
	for (;;) {
		ret = socket_await(sock, POLLIN, deadline_ns);
		if (ret == 0)
			ret = tp_fd_recv(sock, response, sizeof(*response), fds, SOCKET_FDS,
					 fd_count);
		if (ret == 0 || ret == -ECONNRESET)
			return -ECONNRESET;
		if (ret < 0 && ret != -E2BIG && ret != -EMSGSIZE) {
			/* It was sent: an error that says "not done" would be wrong. */
			(*unanswered)++;
			return -ETIMEDOUT;
		}
		if (*unanswered == 0)
			break;
		(*unanswered)--;
		socket_close_fds(fds, *fd_count);
	}
	if (ret == sizeof(*response) && response->fd_count == *fd_count)
		return 0;
	socket_close_fds(fds, *fd_count);
	return -EPROTO;
}

/* A request that needs no client yet. 0, or -errno of the channel or of the refusal. */
static int
socket_ask(int sock, uint64_t timeout_ns, enum tp_control_op op, uint64_t value,
	   int fds[SOCKET_FDS], unsigned int *fd_count)
{
	struct tp_control_request request = {
		.magic = TP_CONTROL_MAGIC,
		.version = TP_CONTROL_VERSION,
		.op = op,
		.value = value,
		.timeout_ns = timeout_ns - timeout_ns / 16,
		.node = TP_CONTROL_NODE_ANY,
	};
	struct tp_control_response response;
	uint32_t unanswered = 0;
	int ret;

	ret = socket_exchange(sock, &unanswered, timeout_ns, &request, &response, fds, fd_count);
	if (ret < 0)
		return ret;
	if (response.magic != TP_CONTROL_MAGIC || response.version != TP_CONTROL_VERSION ||
	    response.op != op) {
		TP_CLIENT_LOG(ERR, "the node speaks version %u of the control channel, not %u",
			      response.version, TP_CONTROL_VERSION);
		ret = -EPROTO;
	} else if (response.reason != TP_OK) {
		ret = response.error != 0 ? -abs(response.error) :
			-tp_reason_errno(response.reason);
	}
	if (ret < 0)
		socket_close_fds(fds, *fd_count);
	return ret;
}

/* Into the gate for secondary processes, or out of it: docs/abi.md section 8. */
int
client_socket_gate(int sock, enum tp_control_op op, uint64_t timeout_ns)
{
	unsigned int count = 0;
	int fds[SOCKET_FDS];
	int ret = socket_ask(sock, timeout_ns, op, 0, fds, &count);

	if (ret < 0 || count == 0)
		return ret;
	socket_close_fds(fds, count);
	return -EPROTO;
}

int
client_socket_control(void *ctx, const struct tp_control_request *request,
		      struct tp_control_response *response, int *fds, unsigned int fd_max)
{
	struct tp_client *client = ctx;
	unsigned int count = 0;
	int received[SOCKET_FDS];
	int ret;

	/* The node has a sixteenth less: see client_control_until(). */
	ret = socket_exchange(client->socket, &client->control_unanswered,
			      request->timeout_ns + request->timeout_ns / 15, request, response,
			      received, &count);
	if (ret == -ECONNRESET)
		tp_client_is_alive(client);
	if (ret < 0)
		return ret;
	if (count > fd_max) {
		socket_close_fds(received, count);
		return -EPROTO;
	}
	if (count != 0)
		memcpy(fds, received, count * sizeof(*fds));
	return 0;
}

/* Map what came with the ATTACH response. Descriptors are used up in any case. */
static int
socket_import(const int fds[SOCKET_SEGMENTS], struct tp_segment *segments[SOCKET_SEGMENTS])
{
	const struct tp_segment_config configs[SOCKET_SEGMENTS] = {
		[SOCKET_NODE] = { .bytes = sizeof(struct tp_abi_node), .readonly = true },
		[SOCKET_SLOTS] = { .bytes = 1u << 12 },
		[SOCKET_CLIENT] = { .bytes = sizeof(struct tp_abi_client) },
	};
	int i, ret = 0;

	for (i = 0; i < SOCKET_SEGMENTS; i++) {
		segments[i] = NULL;
		if (ret == 0) {
			ret = tp_segment_import(fds[i], &configs[i], &segments[i]);
			if (ret < 0)
				TP_CLIENT_LOG(ERR, "memory %d of the node cannot be used: %s", i,
					      strerror(-ret));
		}
		/* The mappings are all that is used of them. */
		if (segments[i] == NULL)
			close(fds[i]);
		else
			tp_segment_fd_close(segments[i]);
	}
	if (ret == -ENOMEM || ret == 0)
		return ret;
	return -EPROTO;
}

/* Ask to join, and map what the node gives. bells: shape [TP_ABI_WORKERS_MAX], all or none. */
static int
socket_attach(int sock, const struct tp_client_config *config, uint64_t timeout_ns,
	      struct tp_segment *segments[SOCKET_SEGMENTS], int *bells, uint32_t *bell_count)
{
	unsigned int count = 0;
	int fds[SOCKET_FDS];
	int ret;

	ret = socket_ask(sock, timeout_ns, TP_CONTROL_ATTACH, config->thread_count, fds, &count);
	if (ret < 0)
		return ret;
	if (count < SOCKET_SEGMENTS) {
		socket_close_fds(fds, count);
		return -EPROTO;
	}
	ret = socket_import(fds, segments);
	if (ret < 0) {
		socket_close_fds(fds + SOCKET_SEGMENTS, count - SOCKET_SEGMENTS);
		return ret;
	}
	*bell_count = count - SOCKET_SEGMENTS;
	memcpy(bells, fds + SOCKET_SEGMENTS, *bell_count * sizeof(*bells));
	return 0;
}

static int
socket_config(const struct tp_client_config *from, struct tp_client_config *config, char *path,
	      size_t path_bytes)
{
	char dir[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	int ret;

	*config = from != NULL ? *from : (struct tp_client_config){ 0 };
	if (config->thread_count == 0)
		config->thread_count = TP_CLIENT_THREADS;
	if (config->thread_count > TP_ABI_THREADS_MAX)
		return -EINVAL;
	if (config->control_timeout_ns == 0)
		config->control_timeout_ns = CLIENT_CONTROL_TIMEOUT_NS;
	if (config->socket_path != NULL)
		return 0;
	ret = tp_client_runtime_dir(config->file_prefix, dir, sizeof(dir));
	if (ret < 0)
		return ret;
	if (snprintf(path, path_bytes, TP_CONTROL_PATH_FMT, dir) >= (int)path_bytes)
		return -ENAMETOOLONG;
	config->socket_path = path;
	return 0;
}

int
client_socket_attach(int sock, const struct tp_client_config *config_in,
		     struct tp_client **client_out)
{
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	struct tp_segment *segments[SOCKET_SEGMENTS] = { NULL };
	int bells[TP_ABI_WORKERS_MAX];
	struct tp_client_backend backend = { .bells = bells };
	struct tp_client_config config;
	uint64_t begun_ns = socket_now_ns(), left_ns, used_ns;
	struct tp_client *client;
	int i, ret;

	ret = socket_config(config_in, &config, path, sizeof(path));
	if (ret == 0 && sock < 0)
		ret = sock = client_socket_connect(config.socket_path, config.control_timeout_ns);
	used_ns = socket_now_ns() - begun_ns;
	left_ns = config.control_timeout_ns > used_ns ? config.control_timeout_ns - used_ns : 1;
	if (ret >= 0)
		ret = socket_attach(sock, &config, left_ns, segments, bells, &backend.bell_count);
	if (ret < 0)
		goto fail;
	backend.node = tp_segment_base(segments[SOCKET_NODE]);
	backend.slots = tp_segment_base(segments[SOCKET_SLOTS]);
	backend.slot_bytes_total = tp_segment_bytes(segments[SOCKET_SLOTS]);
	backend.segment = tp_segment_base(segments[SOCKET_CLIENT]);
	backend.control = client_socket_control;
	backend.timeout_ns = config.timeout_ns;
	ret = -EPROTO;
	if (backend.segment->length > tp_segment_bytes(segments[SOCKET_CLIENT]))
		goto fail;
	ret = client_create(&backend, &client);
	if (ret < 0)
		goto fail;
	client->backend.ctx = client;
	client->socket = sock;
	client->bells_owned = true;
	client->control_timeout_ns = config.control_timeout_ns;
	memcpy(client->segments, segments, sizeof(segments));
	client->socket_path = strdup(config.socket_path);
	ret = client->socket_path == NULL ? -ENOMEM : 0;
	if (ret == 0 && config.reattach)
		ret = client_keeper_start(client);
	if (ret < 0) {
		tp_client_detach(client);
		return ret;
	}
	*client_out = client;
	return 0;

fail:
	socket_close_fds(bells, backend.bell_count);
	for (i = 0; i < SOCKET_SEGMENTS; i++)
		tp_segment_destroy(segments[i]);
	if (sock >= 0)
		close(sock);
	return ret;
}

int
tp_client_attach(const struct tp_client_config *config, struct tp_client **client)
{
	return client_socket_attach(-1, config, client);
}
