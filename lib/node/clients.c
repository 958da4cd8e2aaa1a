/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The client programs of a node: their segments, and telling the workers about
 * them. Owner: main lcore. A client is in use until every worker has let go of
 * it; its id and its segment are not used again before.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "control_priv.h"

#define CLIENT_ORIGIN_BITS 24	/* of the boot, and of the attaches in it */

enum client_state {
	CLIENT_FREE = 0,
	CLIENT_IN,
	CLIENT_LEAVING,
};

static bool
client_is_in(const struct tp_control *control, int client)
{
	return client >= 0 && client < TP_ABI_CLIENTS_MAX &&
		control->clients[client].state == CLIENT_IN;
}

/*
 * Names the atomics of this attach, in all lives of this node: the epoch in which
 * its process began, and the number of the attach in it.
 */
static uint64_t
client_origin(struct tp_control *control)
{
	const uint32_t mask = (1u << CLIENT_ORIGIN_BITS) - 1;

	return (uint64_t)control->config.node_id << 48 |
		(uint64_t)(control->boot & mask) << CLIENT_ORIGIN_BITS |
		(++control->attaches & mask);
}

static int
client_segment_create(struct control_client *client, uint32_t id, uint32_t thread_count,
	uint64_t origin)
{
	struct tp_segment_config config = {
		.type = TP_SEGMENT_SHARED,
		.bytes = tp_abi_client_bytes(thread_count),
		.name = "telepage-client",
	};
	struct tp_abi_client *abi;
	int ret;

	ret = tp_segment_create(&config, &client->segment);
	if (ret < 0)
		return ret;
	abi = tp_segment_base(client->segment);
	abi->version = TP_ABI_VERSION;
	abi->length = (uint32_t)config.bytes;
	abi->client_id = id;
	abi->thread_count = thread_count;
	abi->origin = origin;
	abi->magic = TP_ABI_MAGIC;
	return 0;
}

static void
client_free(struct control_client *client)
{
	tp_segment_destroy(client->segment);
	free(client->threads);
	*client = (struct control_client){ .state = CLIENT_FREE };
}

int
tp_control_client_add(struct tp_control *control, uint32_t thread_count, uint64_t now)
{
	struct worker_command command = {
		.type = WORKER_CLIENT_ADD,
		.thread_count = thread_count,
	};
	struct control_client *client;
	uint16_t i;
	int id;
	int ret;

	if (thread_count == 0 || thread_count > TP_ABI_THREADS_MAX)
		return -EINVAL;
	for (id = 0; id < TP_ABI_CLIENTS_MAX && control->clients[id].state != CLIENT_FREE; id++)
		;
	if (id == TP_ABI_CLIENTS_MAX)
		return -ENOSPC;
	if (!control_command_room(control))
		return -EAGAIN;
	client = &control->clients[id];
	client->threads = calloc((size_t)control->config.worker_count * thread_count,
		sizeof(*client->threads));
	if (client->threads == NULL)
		return -ENOMEM;
	command.origin = client_origin(control);
	ret = client_segment_create(client, (uint32_t)id, thread_count, command.origin);
	if (ret < 0) {
		client_free(client);
		return ret;
	}
	client->state = CLIENT_IN;
	client->thread_count = thread_count;
	command.client = (int16_t)id;
	command.abi = tp_segment_base(client->segment);
	for (i = 0; i < control->config.worker_count; i++) {
		command.threads = client->threads + (size_t)i * thread_count;
		control_command(control, i, &command);
	}
	control->stats.clients_added++;
	return id;
}

struct tp_abi_client *
tp_control_client_segment(const struct tp_control *control, int client)
{
	return client_is_in(control, client) ?
		tp_segment_base(control->clients[client].segment) : NULL;
}

int
tp_control_attach_fds(const struct tp_control *control, int client, int fds[3])
{
	if (!client_is_in(control, client))
		return -ENOENT;
	fds[0] = tp_segment_fd(control->node_segment);
	fds[1] = tp_segment_fd(control->slots_segment);
	fds[2] = tp_segment_fd(control->clients[client].segment);
	return 0;
}

int
tp_control_client_remove(struct tp_control *control, int client, uint64_t now)
{
	if (!client_is_in(control, client))
		return -ENOENT;
	calls_cancel(control, client);
	regions_creator_forget(control, client);
	control->clients[client].state = CLIENT_LEAVING;
	control->clients[client].acks = 0;
	control->stats.clients_removed++;
	clients_poll(control);
	return 0;
}

/* Tell the workers of clients that are gone, as their rings have room. */
uint32_t
clients_poll(struct tp_control *control)
{
	uint32_t work = 0;
	int id;

	for (id = 0; id < TP_ABI_CLIENTS_MAX; id++) {
		struct worker_command command = {
			.type = WORKER_CLIENT_REMOVE,
			.client = (int16_t)id,
		};

		if (control->clients[id].state != CLIENT_LEAVING ||
		    control->clients[id].acks != 0 || !control_command_room(control))
			continue;
		control->clients[id].acks = control->config.worker_count;
		control_command_all(control, &command);
		work++;
	}
	return work;
}

void
clients_removed_ack(struct tp_control *control, int client)
{
	if (control->clients[client].state == CLIENT_LEAVING &&
	    --control->clients[client].acks == 0)
		client_free(&control->clients[client]);
}

void
clients_bad(struct tp_control *control, int client)
{
	if (!client_is_in(control, client) || control->clients[client].bad)
		return;
	control->clients[client].bad = true;
	control->stats.clients_bad++;
	TP_NODE_LOG(WARNING, "client %d has spoilt its rings", client);
}

bool
tp_control_client_is_bad(const struct tp_control *control, int client)
{
	return client_is_in(control, client) && control->clients[client].bad;
}

uint32_t
tp_control_client_count(const struct tp_control *control)
{
	uint32_t count = 0;
	int id;

	for (id = 0; id < TP_ABI_CLIENTS_MAX; id++)
		count += control->clients[id].state != CLIENT_FREE;
	return count;
}

void
clients_destroy(struct tp_control *control)
{
	int id;

	for (id = 0; id < TP_ABI_CLIENTS_MAX; id++)
		if (control->clients[id].state != CLIENT_FREE)
			client_free(&control->clients[id]);
}
