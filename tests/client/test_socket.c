/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Attaching over a real socket to a node in another thread, honest or not.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "fixture.h"

enum lie {
	HONEST,
	LIE_NO_FDS,		/* two descriptors instead of three */
	LIE_UNSEALED,		/* the node header is a plain file */
	LIE_SHORT,		/* the client segment is too small for its threads */
	LIE_VERSION,
	LIE_REFUSE,
	LIE_SILENT,		/* never answers */
	LIE_HANG_UP,
	LIE_TRUNCATED,		/* half a response */
	LIE_LATE_ONCE,		/* REGION_LIST is answered only when the next request comes */
	LIE_SURPLUS_FDS,	/* descriptors with a response that has none */
	LIE_POLL_FAILS,		/* as LATE_ONCE, and the one who waits for it cannot any more */
};

struct server {
	struct fake_node *fake;
	char path[64];
	int listener;
	int connection;
	enum lie lie;
	bool held;
	pthread_t waiter;
	struct tp_control_request held_request;
	pthread_t thread;
};

static int
server_small_segment(void)
{
	struct tp_segment_config config = { .type = TP_SEGMENT_SHARED, .bytes = 4096 };
	struct tp_segment *segment;
	struct tp_abi_client *client;
	int fd;

	assert_int_equal(tp_segment_create(&config, &segment), 0);
	client = tp_segment_base(segment);
	client->magic = TP_ABI_MAGIC;
	client->version = TP_ABI_VERSION;
	client->thread_count = FAKE_THREADS;
	client->length = (uint32_t)tp_abi_client_bytes(FAKE_THREADS);
	fd = dup(tp_segment_fd(segment));
	tp_segment_destroy(segment);
	return fd;
}

static void
server_lie(struct server *server, struct tp_control_response *response, int *fds,
	   unsigned int *count, size_t *length)
{
	switch (server->lie) {
	case LIE_NO_FDS:
		close(fds[--*count]);
		response->fd_count--;
		break;
	case LIE_UNSEALED:
		close(fds[0]);
		fds[0] = open("/proc/self/exe", O_RDONLY);
		break;
	case LIE_SHORT:
		close(fds[2]);
		fds[2] = server_small_segment();
		break;
	case LIE_VERSION:
		response->version++;
		break;
	case LIE_REFUSE:
		response->reason = TP_EXHAUSTED;
		break;
	case LIE_TRUNCATED:
		*length /= 2;
		break;
	case LIE_SURPLUS_FDS:
		if (*count == 0) {
			fds[(*count)++] = dup(0);
			response->fd_count = 1;
		}
		break;
	default:
		break;
	}
}

static void
server_respond(struct server *server, const struct tp_control_request *request)
{
	struct tp_control_response response;
	size_t length = sizeof(response);
	unsigned int count;
	int fds[4];

	fake_node_control(server->fake, request, &response, fds, 4);
	count = response.fd_count;
	server_lie(server, &response, fds, &count, &length);
	tp_fd_send(server->connection, &response, length, fds, count);
	while (count > 0)
		close(fds[--count]);
}

/* poll() fails at once where no descriptors are allowed; the signal makes it be called again. */
static void
server_poll_break(struct server *server)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = 0;
	setrlimit(RLIMIT_NOFILE, &limit);
	pthread_kill(server->waiter, SIGUSR1);
}

static bool
server_holds(struct server *server, const struct tp_control_request *request)
{
	if ((server->lie != LIE_LATE_ONCE && server->lie != LIE_POLL_FAILS) || server->held ||
	    request->op != TP_CONTROL_REGION_LIST)
		return false;
	server->held = true;
	server->held_request = *request;
	if (server->lie == LIE_POLL_FAILS)
		server_poll_break(server);
	return true;
}

static void *
server_run(void *argument)
{
	struct server *server = argument;
	struct tp_control_request request;
	unsigned int count;

	server->connection = accept(server->listener, NULL, NULL);
	while (tp_fd_recv(server->connection, &request, sizeof(request), NULL, 0, &count) ==
	       (ssize_t)sizeof(request)) {
		if (server->lie == LIE_SILENT)
			continue;
		if (server->lie == LIE_HANG_UP)
			break;
		if (server_holds(server, &request))
			continue;
		if (server->held) {
			server->held = false;
			server->lie = HONEST;
			server_respond(server, &server->held_request);
		}
		server_respond(server, &request);
	}
	close(server->connection);
	return NULL;
}

static void
server_start(struct server *server, enum lie lie)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	*server = (struct server){ .fake = fake_node_create(), .lie = lie };
	/* Real processes count with the TSC. */
	server->fake->node->tsc_hz = 2000000000;
	snprintf(server->path, sizeof(server->path), "/tmp/tp-client-test-%d.sock", getpid());
	unlink(server->path);
	strcpy(address.sun_path, server->path);
	server->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(server->listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(server->listener, 4), 0);
	assert_int_equal(pthread_create(&server->thread, NULL, server_run, server), 0);
}

static void
server_stop(struct server *server)
{
	pthread_join(server->thread, NULL);
	close(server->listener);
	unlink(server->path);
	fake_node_destroy(server->fake);
}

static int
server_attach(struct server *server, struct tp_client **client)
{
	struct tp_client_config config = {
		.socket_path = server->path,
		.timeout_ns = 100000000,
		.control_timeout_ns = 200000000,
	};

	return tp_client_attach(&config, client);
}

static void
test_attach_region_and_detach(void **state)
{
	struct tp_client_region *region;
	struct tp_thread *thread;
	struct tp_client *client;
	struct server server;
	uint64_t value;

	server_start(&server, HONEST);
	assert_int_equal(server_attach(&server, &client), 0);
	assert_int_equal(server.fake->control_last.value, TP_CLIENT_THREADS);
	assert_true(tp_client_is_alive(client));
	assert_int_equal(tp_client_node(client)->node_id, 1);
	assert_int_equal(tp_client_region_open(client, "test", &region), 0);
	assert_int_equal(tp_thread_register(client, &thread), 0);
	fake_page_publish(server.fake, 0, TP_ACCESS_READ);
	assert_ok(tp_read(thread, region, 0, &value, 8), 8);
	assert_memory_equal(&value, server.fake->pages[0].home, 8);
	tp_client_detach(client);
	/* The node saw the end of the connection, or this would not return. */
	server_stop(&server);
}

static void
attach_fails(enum lie lie, int error)
{
	struct tp_client *client;
	struct server server;
	int before = dup(0), after;

	close(before);
	server_start(&server, lie);
	assert_int_equal(server_attach(&server, &client), error);
	server_stop(&server);
	after = dup(0);
	close(after);
	assert_int_equal(before, after);
}

static void
test_attach_node_lies_refused(void **state)
{
	attach_fails(LIE_NO_FDS, -EPROTO);
	attach_fails(LIE_UNSEALED, -EPROTO);
	attach_fails(LIE_SHORT, -EPROTO);
	attach_fails(LIE_VERSION, -EPROTO);
	attach_fails(LIE_TRUNCATED, -EPROTO);
	attach_fails(LIE_REFUSE, -ENOSPC);
	attach_fails(LIE_HANG_UP, -ECONNRESET);
	attach_fails(LIE_SILENT, -ETIMEDOUT);
}

static void
test_attach_nobody_there_errno(void **state)
{
	struct tp_client_config config = { .socket_path = "/tmp/no such socket" };
	struct tp_client *client;
	char path[200];

	assert_int_equal(tp_client_attach(&config, &client), -ENOENT);
	config.thread_count = TP_ABI_THREADS_MAX + 1;
	assert_int_equal(tp_client_attach(&config, &client), -EINVAL);
	config.thread_count = 0;
	memset(path, 'p', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	config.socket_path = path;
	assert_int_equal(tp_client_attach(&config, &client), -ENAMETOOLONG);
	config.socket_path = NULL;
	config.file_prefix = path;
	assert_int_equal(tp_client_attach(&config, &client), -ENAMETOOLONG);
}

/* The answer to a request that was given up is not taken for the next one's. */
static void
test_control_late_answer_dropped(void **state)
{
	struct tp_control_region info;
	struct tp_control_node node;
	struct tp_client *client;
	struct server server;

	server_start(&server, LIE_LATE_ONCE);
	assert_int_equal(server_attach(&server, &client), 0);
	assert_int_equal(tp_client_region_get(client, 0, &info), -ETIMEDOUT);
	assert_int_equal(tp_client_node_get(client, 0, &node), 0);
	assert_int_equal(node.worker_count, FAKE_WORKERS);
	assert_int_equal(tp_client_region_get(client, 0, &info), 0);
	tp_client_detach(client);
	server_stop(&server);
}

static void
signal_ignored(int number)
{
}

/* It was sent and may be done, whatever went wrong after that. */
static void
test_control_wait_fails_effect_unknown(void **state)
{
	struct sigaction action = { .sa_handler = signal_ignored };
	struct tp_control_region info;
	struct tp_control_node node;
	struct tp_client *client;
	struct rlimit limit;
	struct server server;
	int ret;

	assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	server_start(&server, LIE_POLL_FAILS);
	server.waiter = pthread_self();
	assert_int_equal(server_attach(&server, &client), 0);
	ret = tp_client_region_get(client, 0, &info);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(ret, -ETIMEDOUT);
	/* The answer that nobody waited for is not taken for the next one's. */
	assert_int_equal(tp_client_node_get(client, 0, &node), 0);
	assert_int_equal(node.worker_count, FAKE_WORKERS);
	tp_client_detach(client);
	server_stop(&server);
}

static void
test_control_surplus_fds_protocol_error(void **state)
{
	struct tp_control_node node;
	struct tp_client *client;
	struct server server;
	int before, after;

	server_start(&server, LIE_SURPLUS_FDS);
	assert_int_equal(server_attach(&server, &client), 0);
	before = dup(0);
	close(before);
	assert_int_equal(tp_client_node_get(client, 0, &node), -EPROTO);
	/* The server closes its copy after it has sent it. */
	assert_int_equal(tp_client_node_get(client, 0, &node), -EPROTO);
	after = dup(0);
	close(after);
	assert_true(after <= before + 1);
	tp_client_detach(client);
	server_stop(&server);
}

/* The node dies while an access waits for it: VOID at once, not at the deadline. */
static void
test_node_dies_waiting_access_node_crashed(void **state)
{
	struct tp_client_region *region;
	struct tp_control_node info;
	struct tp_thread *thread;
	struct tp_client *client;
	struct server server;
	struct tp_op op;
	uint64_t value;

	server_start(&server, HONEST);
	assert_int_equal(server_attach(&server, &client), 0);
	assert_int_equal(tp_client_region_open(client, "test", &region), 0);
	assert_int_equal(tp_thread_register(client, &thread), 0);
	tp_thread_timeout_set(thread, 3600ull * 1000000000u);
	assert_false(tp_submit_atomic(thread, region, 0, TP_ATOMIC_ADD, 8, 1, 0, &op));
	shutdown(server.connection, SHUT_RDWR);
	assert_void(tp_op_wait(thread, &op), TP_NODE_CRASHED, TP_EFFECT_UNKNOWN, 0);
	assert_void(tp_read(thread, region, 0, &value, 8), TP_NODE_CRASHED, TP_EFFECT_NOT_DONE, 0);
	assert_int_equal(tp_client_node_get(client, 0, &info), -ECONNRESET);
	assert_false(tp_client_is_alive(client));
	tp_client_detach(client);
	server_stop(&server);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_attach_region_and_detach),
		cmocka_unit_test(test_attach_node_lies_refused),
		cmocka_unit_test(test_attach_nobody_there_errno),
		cmocka_unit_test(test_control_late_answer_dropped),
		cmocka_unit_test(test_control_wait_fails_effect_unknown),
		cmocka_unit_test(test_control_surplus_fds_protocol_error),
		cmocka_unit_test(test_node_dies_waiting_access_node_crashed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
