/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Programs attached to simulated nodes: lib/client on mappings of its own, as a
 * program that came by the socket has them, so that a node may crash under it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <rte_errno.h>

#include "sim_priv.h"

/* A call that waits looks again after so long at the latest: its deadline may come. */
#define CLIENT_LOOK_NS (20 * SIM_US)
#define CLIENT_NOTICE_NS 200		/* from a request in its ring to the node's look */
#define CLIENT_GRACE_NS (100 * SIM_MS)	/* for the node's own word that it is too late */

enum { CLIENT_NODE, CLIENT_SLOTS, CLIENT_RINGS, CLIENT_FDS };

/* The process it attached to still runs. */
static bool
client_is_alive(void *ctx)
{
	const struct sim_client *client = ctx;

	return client->node->control != NULL && client->node->boot == client->boot;
}

/* Requests ever put into rings. */
static uint32_t
client_requests(const struct sim_client *client)
{
	const struct tp_abi_client *rings = tp_segment_base(client->segments[CLIENT_RINGS]);
	uint32_t count = 0, t;
	uint16_t w;

	for (t = 0; t < rings->thread_count; t++)
		for (w = 0; w < client->node->config.workers; w++)
			count += atomic_load_explicit(&rings->threads[t].rings[w].request_head,
				memory_order_relaxed);
	return count;
}

static void
client_drive(void *ctx)
{
	struct sim_client *client = ctx;
	struct tp_sim *sim = client->node->sim;
	uint32_t requests = client_requests(client);

	if (requests != client->requests) {
		client->requests = requests;
		sim_wake(client->node, sim->now + CLIENT_NOTICE_NS);
	}
	sim_step(sim, sim->now + CLIENT_LOOK_NS);
}

static int
client_fds_dup(int *fds, unsigned int count)
{
	unsigned int i;
	int ret;

	for (i = 0; i < count; i++) {
		fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
		if (fds[i] < 0)
			goto close_fds;
	}
	return 0;

close_fds:
	ret = -errno;
	while (i-- > 0)
		close(fds[i]);
	return ret;
}

static int
client_control(void *ctx, const struct tp_control_request *request,
	struct tp_control_response *response, int *fds, unsigned int fd_max)
{
	struct sim_client *client = ctx;
	struct tp_sim *sim = client->node->sim;
	uint64_t begun = sim->now;
	int call, ret;

	if (!client_is_alive(client))
		return -ECONNRESET;
	call = tp_control_call(client->node->control, client->id, request, sim->now);
	if (call < 0)
		return call;
	if (client->node->crashing) {
		/* The call was that of a crash. */
		sim_node_kill(client->node);
		return -ECONNRESET;
	}
	sim_wake(client->node, sim->now + CLIENT_NOTICE_NS);
	for (;;) {
		/* The node may crash while we wait. */
		if (!client_is_alive(client))
			return -ECONNRESET;
		ret = tp_control_call_result(client->node->control, call, response, fds, fd_max);
		if (ret != -EINPROGRESS)
			break;
		/* A node that stands still answers nothing: nor would its socket. */
		if (sim->now > begun + request->timeout_ns + CLIENT_GRACE_NS) {
			tp_control_call_cancel(client->node->control, call);
			return -ETIMEDOUT;
		}
		client_drive(client);
	}
	return ret < 0 ? ret : client_fds_dup(fds, response->fd_count);
}

/* tp_client_detach() is done with the memory. */
static void
client_detached(void *ctx)
{
	sim_client_forget(ctx);
}

void
sim_client_forget(struct sim_client *client)
{
	int i;

	if (client_is_alive(client))
		tp_control_client_remove(client->node->control, client->id, client->node->sim->now);
	for (i = 0; i < CLIENT_FDS; i++)
		tp_segment_destroy(client->segments[i]);
	LIST_REMOVE(client, next);
	free(client);
}

/* The client's own mappings of what the node shares with it. */
static int
client_map(struct sim_client *client)
{
	const struct tp_segment_config configs[CLIENT_FDS] = {
		[CLIENT_NODE] = { .bytes = sizeof(struct tp_abi_node), .readonly = true },
		[CLIENT_SLOTS] = { .bytes = 1u << 12 },
		[CLIENT_RINGS] = { .bytes = sizeof(struct tp_abi_client) },
	};
	int fds[CLIENT_FDS];
	int i, ret;

	ret = tp_control_attach_fds(client->node->control, client->id, fds);
	if (ret == 0)
		ret = client_fds_dup(fds, CLIENT_FDS);
	if (ret < 0)
		return ret;
	for (i = 0; i < CLIENT_FDS; i++) {
		if (ret == 0)
			ret = tp_segment_import(fds[i], &configs[i], &client->segments[i]);
		if (client->segments[i] == NULL)
			close(fds[i]);
	}
	return ret;
}

static int
client_attach(struct sim_client *client, uint32_t thread_count)
{
	struct tp_sim *sim = client->node->sim;
	struct tp_client_backend backend = {
		.control = client_control,
		.poll = client_drive,
		.is_alive = client_is_alive,
		.detach = client_detached,
		.ctx = client,
		.virtual_tsc = &sim->tsc,
	};
	int ret;

	do {
		client->id = tp_control_client_add(client->node->control, thread_count, sim->now);
		if (client->id == -EAGAIN)
			sim_step(sim, sim->now + CLIENT_LOOK_NS);
	} while (client->id == -EAGAIN && client_is_alive(client));
	if (client->id < 0)
		return client->id;
	ret = client_map(client);
	if (ret < 0)
		return ret;
	backend.node = tp_segment_base(client->segments[CLIENT_NODE]);
	backend.slots = tp_segment_base(client->segments[CLIENT_SLOTS]);
	backend.slot_bytes_total = tp_segment_bytes(client->segments[CLIENT_SLOTS]);
	backend.segment = tp_segment_base(client->segments[CLIENT_RINGS]);
	return tp_client_attach_backend(&backend, &client->client);
}

struct tp_client *
tp_sim_attach(struct tp_sim *sim, unsigned int number, uint32_t thread_count)
{
	struct sim_node *node = sim_node_find(sim, number);
	struct sim_client *client;
	int ret;

	if (node == NULL || node->control == NULL) {
		rte_errno = node == NULL ? ENOENT : ECONNREFUSED;
		return NULL;
	}
	client = calloc(1, sizeof(*client));
	if (client == NULL) {
		rte_errno = ENOMEM;
		return NULL;
	}
	client->node = node;
	client->boot = node->boot;
	client->id = -1;
	LIST_INSERT_HEAD(&sim->clients, client, next);
	ret = client_attach(client, thread_count != 0 ? thread_count : TP_CLIENT_THREADS);
	if (ret < 0) {
		sim_client_forget(client);
		rte_errno = -ret;
		return NULL;
	}
	return client->client;
}
