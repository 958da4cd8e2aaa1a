/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The control socket: client programs attach, call, and leave by closing it,
 * dead or alive (docs/abi.md section 8). Owner: main lcore; nothing blocks, a
 * call that takes several turns is a state of its connection, and requests behind
 * it stay in the socket. Needs no EAL.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <rte_errno.h>

#include "gate_priv.h"
#include "node_priv.h"
#include "tp_segment.h"

#define ATTACH_CONNECTIONS (TP_ABI_CLIENTS_MAX + 16)
#define ATTACH_BAD_MAX 16		/* malformed requests before the connection ends */
#define ATTACH_FDS 3
#define ATTACH_TIDY_NS UINT64_C(10000000000)
#define ATTACH_TIDY_SOON_NS UINT64_C(50000000)
#define ATTACH_ACCEPT_NS UINT64_C(100000000)	/* after an accept() that failed */
#define ATTACH_GATE_NS UINT64_C(30000000000)	/* to wait for who is inside */

struct attach_connection {
	int fd;			/* -1: free */
	int client;		/* -1: not attached */
	int call;		/* -1: none under way */
	bool attaching;		/* ATTACH waits for room in the command rings */
	bool secondary;		/* it has been inside the gate */
	uint64_t gate_until;	/* GATE_ENTER waits until then; 0: it does not */
	uint32_t bad;
	struct tp_control_request request;	/* of the attach that waits */
};

struct attach {
	struct tp_control *control;
	const int *bells;
	uint32_t bell_count;
	int listener;
	uint64_t accept_at;	/* nobody can be let in before; 0: now */
	bool accept_failed;	/* and that has been said */
	char path[108];
	struct gate gate;
	char rundir[256];	/* EAL's, "": none */
	uint64_t tidy_at;
	struct attach_connection connections[ATTACH_CONNECTIONS];
};

static void
attach_close(struct attach *attach, struct attach_connection *connection)
{
	if (connection->client >= 0)
		tp_control_client_remove(attach->control, connection->client,
			attach->control->now);
	gate_gone(&attach->gate, (int)(connection - attach->connections));
	/* The process may be about to end: its files go when it has. */
	if (connection->secondary)
		attach->tidy_at = attach->control->now + ATTACH_TIDY_SOON_NS;
	close(connection->fd);
	*connection = (struct attach_connection){ .fd = -1, .client = -1, .call = -1 };
}

static void
attach_send(struct attach *attach, struct attach_connection *connection,
	const struct tp_control_response *response, const int *fds)
{
	ssize_t ret = tp_fd_send(connection->fd, response, sizeof(*response), fds,
		response->fd_count);

	if (ret >= 0)
		return;
	/* Who is not told that it is inside is not. */
	if (response->op == TP_CONTROL_GATE_ENTER && response->reason == TP_OK)
		gate_leave(&attach->gate, (int)(connection - attach->connections));
	/* One answer a request: a client that does not read them is no client. */
	attach_close(attach, connection);
}

static void
attach_refuse(struct attach *attach, struct attach_connection *connection, uint32_t op,
	enum tp_reason reason, int error)
{
	struct tp_control_response response = {
		.magic = TP_CONTROL_MAGIC,
		.version = TP_CONTROL_VERSION,
		.op = op,
		.reason = reason,
		.effect = TP_EFFECT_NOT_DONE,
		.error = error,
	};

	if (reason == TP_INVALID && ++connection->bad >= ATTACH_BAD_MAX) {
		attach_close(attach, connection);
		return;
	}
	attach_send(attach, connection, &response, NULL);
}

static void
attach_ok(struct attach *attach, struct attach_connection *connection, uint32_t op)
{
	struct tp_control_response response = {
		.magic = TP_CONTROL_MAGIC,
		.version = TP_CONTROL_VERSION,
		.op = op,
	};

	attach_send(attach, connection, &response, NULL);
}

static pid_t
attach_pid(const struct attach_connection *connection)
{
	struct ucred peer = { .pid = 0 };
	socklen_t bytes = sizeof(peer);

	getsockopt(connection->fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes);
	return peer.pid;
}

/* Into the gate, or wait for who is inside. */
static void
attach_gate_enter(struct attach *attach, struct attach_connection *connection, uint64_t now)
{
	int ret = gate_enter(&attach->gate, (int)(connection - attach->connections),
		attach_pid(connection), now);

	if (ret == -EAGAIN && now < connection->gate_until)
		return;
	connection->gate_until = 0;
	if (ret == 0) {
		connection->secondary = true;
		attach_ok(attach, connection, TP_CONTROL_GATE_ENTER);
	} else if (ret == -EAGAIN) {
		attach_refuse(attach, connection, TP_CONTROL_GATE_ENTER, TP_TIMEOUT, ETIMEDOUT);
	} else {
		attach_refuse(attach, connection, TP_CONTROL_GATE_ENTER,
			ret == -EALREADY ? TP_INVALID : TP_EXHAUSTED, -ret);
	}
}

static void
attach_gate(struct attach *attach, struct attach_connection *connection,
	const struct tp_control_request *request, uint64_t now)
{
	uint64_t timeout = request->timeout_ns;

	if (request->op == TP_CONTROL_GATE_ENTER) {
		if (timeout == 0 || timeout > ATTACH_GATE_NS)
			timeout = ATTACH_GATE_NS;
		connection->gate_until = now + timeout;
		attach_gate_enter(attach, connection, now);
	} else if (gate_leave(&attach->gate, (int)(connection - attach->connections)) == 0) {
		attach_ok(attach, connection, request->op);
	} else {
		attach_refuse(attach, connection, request->op, TP_INVALID, EPERM);
	}
}

static void
attach_join(struct attach *attach, struct attach_connection *connection, uint64_t now)
{
	struct tp_control_response response = {
		.magic = TP_CONTROL_MAGIC,
		.version = TP_CONTROL_VERSION,
		.op = TP_CONTROL_ATTACH,
		.fd_count = ATTACH_FDS + attach->bell_count,
	};
	int fds[ATTACH_FDS + TP_ABI_WORKERS_MAX];
	int client = -EINVAL;

	connection->attaching = false;
	if (connection->client < 0 && connection->request.value <= TP_ABI_THREADS_MAX)
		client = tp_control_client_add(attach->control,
			(uint32_t)connection->request.value, now);
	if (client == -EAGAIN) {
		connection->attaching = true;
		return;
	}
	if (client < 0) {
		attach_refuse(attach, connection, TP_CONTROL_ATTACH,
			client == -EINVAL ? TP_INVALID : TP_EXHAUSTED, -client);
		return;
	}
	connection->client = client;
	response.value = (uint64_t)client;
	tp_control_attach_fds(attach->control, client, fds);
	if (attach->bell_count != 0)
		memcpy(fds + ATTACH_FDS, attach->bells, attach->bell_count * sizeof(*fds));
	attach_send(attach, connection, &response, fds);
}

static void
attach_request(struct attach *attach, struct attach_connection *connection,
	const struct tp_control_request *request, uint64_t now)
{
	int call;

	if (request->magic != TP_CONTROL_MAGIC || request->version != TP_CONTROL_VERSION) {
		attach_refuse(attach, connection, request->op, TP_INVALID, EPROTO);
		return;
	}
	if (request->op == TP_CONTROL_ATTACH) {
		connection->request = *request;
		attach_join(attach, connection, now);
		return;
	}
	if (request->op == TP_CONTROL_GATE_ENTER || request->op == TP_CONTROL_GATE_LEAVE) {
		attach_gate(attach, connection, request, now);
		return;
	}
	if (connection->client < 0) {
		attach_refuse(attach, connection, request->op, TP_INVALID, ENOTCONN);
		return;
	}
	call = tp_control_call(attach->control, connection->client, request, now);
	if (call < 0)
		attach_refuse(attach, connection, request->op, TP_EXHAUSTED, -call);
	else
		connection->call = call;
}

/* Take one request. */
static uint32_t
attach_receive(struct attach *attach, struct attach_connection *connection, uint64_t now)
{
	struct tp_control_request request;
	unsigned int fd_count;
	int fds[1];
	ssize_t ret = tp_fd_recv(connection->fd, &request, sizeof(request), fds, 0, &fd_count);

	if (ret == -EAGAIN || ret == -EINTR)
		return 0;
	if (ret == 0 || (ret < 0 && ret != -EMSGSIZE && ret != -E2BIG)) {
		attach_close(attach, connection);
		return 1;
	}
	if (ret != sizeof(request))
		attach_refuse(attach, connection, 0, TP_INVALID, EMSGSIZE);
	else
		attach_request(attach, connection, &request, now);
	return 1;
}

/* Answer the call under way if it has ended. */
static uint32_t
attach_answer(struct attach *attach, struct attach_connection *connection)
{
	struct tp_control_response response;
	int fds[ATTACH_FDS];
	int ret = tp_control_call_result(attach->control, connection->call, &response, fds,
		ATTACH_FDS);

	if (ret == -EINPROGRESS)
		return 0;
	connection->call = -1;
	if (ret < 0) {
		attach_close(attach, connection);
		return 1;
	}
	if (response.reason == TP_INVALID && response.error == EINVAL &&
	    ++connection->bad >= ATTACH_BAD_MAX) {
		attach_close(attach, connection);
		return 1;
	}
	attach_send(attach, connection, &response, fds);
	return 1;
}

/* Out of descriptors or memory: who is not let in keeps the listener readable. */
static void
attach_accept_failed(struct attach *attach, int error, uint64_t now)
{
	if (error == EAGAIN || error == EINTR || error == ECONNABORTED)
		return;
	attach->accept_at = now + ATTACH_ACCEPT_NS;
	if (!attach->accept_failed)
		TP_NODE_LOG(ERR, "no client can be let in: %s", strerror(error));
	attach->accept_failed = true;
}

static uint32_t
attach_accept(struct attach *attach, uint64_t now)
{
	int fd = accept4(attach->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	int i;

	if (fd < 0) {
		attach_accept_failed(attach, errno, now);
		return 0;
	}
	attach->accept_failed = false;
	for (i = 0; i < ATTACH_CONNECTIONS; i++) {
		if (attach->connections[i].fd >= 0)
			continue;
		attach->connections[i].fd = fd;
		return 1;
	}
	close(fd);
	return 1;
}

static uint32_t
attach_connection_poll(struct attach *attach, struct attach_connection *connection,
	short events, uint64_t now)
{
	uint32_t work = 0;

	/* Gone, dead or alive: what it asked for last must not be given to it any more. */
	if ((events & (POLLHUP | POLLERR)) || (connection->client >= 0 &&
	    tp_control_client_is_bad(attach->control, connection->client))) {
		attach_close(attach, connection);
		return 1;
	}
	if (connection->call >= 0)
		work += attach_answer(attach, connection);
	else if (connection->attaching)
		attach_join(attach, connection, now);
	else if (connection->gate_until != 0)
		attach_gate_enter(attach, connection, now);
	if (connection->fd < 0)
		return work;
	if ((events & POLLIN) && connection->call < 0 && !connection->attaching &&
	    connection->gate_until == 0)
		work += attach_receive(attach, connection, now);
	return work;
}

/* What is still held is looked at again soon. */
static void
attach_tidy(struct attach *attach, uint64_t now)
{
	if (now < attach->tidy_at || attach->rundir[0] == '\0')
		return;
	attach->tidy_at = now + (rundir_tidy(attach->rundir) != 0 ?
		ATTACH_TIDY_SOON_NS : ATTACH_TIDY_NS);
}

/* One turn: one system call when nothing is going on. */
uint32_t
attach_poll(struct attach *attach, uint64_t now)
{
	struct pollfd fds[ATTACH_CONNECTIONS + 1];
	uint32_t work = 0;
	int i;

	attach_tidy(attach, now);
	for (i = 0; i < ATTACH_CONNECTIONS; i++)
		/* A negative descriptor is skipped. */
		fds[i] = (struct pollfd){ .fd = attach->connections[i].fd, .events = POLLIN };
	if (now >= attach->accept_at)
		attach->accept_at = 0;
	fds[ATTACH_CONNECTIONS] = (struct pollfd){
		.fd = attach->accept_at == 0 ? attach->listener : -1,
		.events = POLLIN,
	};
	if (poll(fds, ATTACH_CONNECTIONS + 1, 0) < 0)
		return 0;
	for (i = 0; i < ATTACH_CONNECTIONS; i++)
		if (attach->connections[i].fd >= 0)
			work += attach_connection_poll(attach, &attach->connections[i],
				fds[i].revents, now);
	if (fds[ATTACH_CONNECTIONS].revents & POLLIN)
		work += attach_accept(attach, now);
	return work;
}

/* Does somebody listen at the address? */
static bool
attach_is_alive(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool alive;

	if (fd < 0)
		return true;
	alive = connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 ||
		(errno != ECONNREFUSED && errno != ENOENT);
	close(fd);
	return alive;
}

static int
attach_listen(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd;
	int ret;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		goto listen;
	ret = -errno;
	/* The file of a node that died stays behind. */
	if (ret != -EADDRINUSE || attach_is_alive(&address))
		goto close_fd;
	unlink(path);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		ret = -errno;
		goto close_fd;
	}
listen:
	if (listen(fd, ATTACH_CONNECTIONS) == 0)
		return fd;
	ret = -errno;
	unlink(path);
close_fd:
	close(fd);
	return ret;
}

/* NULL with rte_errno: EADDRINUSE (another node listens there), ENOMEM, of the socket. */
struct attach *
attach_create(struct tp_control *control, const char *path)
{
	struct attach *attach = calloc(1, sizeof(*attach));
	int i;

	if (attach == NULL) {
		rte_errno = ENOMEM;
		return NULL;
	}
	attach->control = control;
	gate_init(&attach->gate);
	for (i = 0; i < ATTACH_CONNECTIONS; i++)
		attach->connections[i] =
			(struct attach_connection){ .fd = -1, .client = -1, .call = -1 };
	attach->listener = attach_listen(path);
	if (attach->listener < 0) {
		rte_errno = -attach->listener;
		TP_NODE_LOG(ERR, "cannot listen at %s: %s", path, strerror(rte_errno));
		free(attach);
		return NULL;
	}
	strcpy(attach->path, path);
	return attach;
}

void
attach_rundir_set(struct attach *attach, const char *rundir)
{
	if (strlen(rundir) < sizeof(attach->rundir))
		strcpy(attach->rundir, rundir);
}

/* Clients see the end of their connection. */
void
attach_destroy(struct attach *attach)
{
	int i;

	if (attach == NULL)
		return;
	gate_init(&attach->gate);
	for (i = 0; i < ATTACH_CONNECTIONS; i++)
		if (attach->connections[i].fd >= 0)
			attach_close(attach, &attach->connections[i]);
	unlink(attach->path);
	close(attach->listener);
	free(attach);
}

const char *
attach_path(const struct attach *attach)
{
	return attach->path;
}

void
attach_bells_set(struct attach *attach, const int *fds, uint32_t count)
{
	attach->bells = fds;
	attach->bell_count = count;
}

/* Those whose call is under way are not read until it has ended. */
uint32_t
attach_fds(const struct attach *attach, struct pollfd *fds, uint32_t room)
{
	uint32_t count = 0;
	int i;

	if (room < ATTACH_CONNECTIONS + 1)
		return 0;
	if (attach->accept_at == 0)
		fds[count++] = (struct pollfd){ .fd = attach->listener, .events = POLLIN };
	for (i = 0; i < ATTACH_CONNECTIONS; i++) {
		const struct attach_connection *connection = &attach->connections[i];

		if (connection->fd >= 0)
			fds[count++] = (struct pollfd){
				.fd = connection->fd,
				.events = connection->call < 0 && !connection->attaching &&
					connection->gate_until == 0 ? POLLIN : 0,
			};
	}
	return count;
}
