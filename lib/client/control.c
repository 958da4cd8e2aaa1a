/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Control requests: one at a time, checked, their outcome as an errno. Any thread.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "heir.h"

static int
control_check(const struct tp_control_request *request,
	      const struct tp_control_response *response, unsigned int fd_count)
{
	if (response->magic != TP_CONTROL_MAGIC || response->version != TP_CONTROL_VERSION ||
	    response->op != request->op || response->reason >= TP_REASON_COUNT) {
		TP_CLIENT_LOG(ERR, "the node's answer to control request %u makes no sense",
			      request->op);
		return -EPROTO;
	}
	if (response->reason == TP_OK)
		return response->fd_count == fd_count ? 0 : -EPROTO;
	/* What may have been done must not look as if it was not: tp_client_effect(). */
	if (response->effect == TP_EFFECT_DONE)
		return -EREMOTE;
	if (response->effect != TP_EFFECT_NOT_DONE)
		return -ETIMEDOUT;
	return response->error != 0 ? -abs(response->error) : -tp_reason_errno(response->reason);
}

static uint64_t
control_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t
client_control_deadline(const struct tp_client *client)
{
	return control_now_ns() + client->control_timeout_ns;
}

/* TSan knows no pthread_mutex_clocklock(), and would see an unlock without a lock. */
static int
control_lock_until(pthread_mutex_t *lock, const struct timespec *until)
{
#ifdef __SANITIZE_THREAD__
	while (pthread_mutex_trylock(lock) != 0) {
		if (control_now_ns() >= (uint64_t)until->tv_sec * 1000000000u +
		    (uint64_t)until->tv_nsec)
			return ETIMEDOUT;
		sched_yield();
	}
	return 0;
#else
	return pthread_mutex_clocklock(lock, CLOCK_MONOTONIC, until);
#endif
}

int
client_lock_until(pthread_mutex_t *lock, uint64_t deadline_ns, uint64_t *left_ns)
{
	struct timespec until = {
		.tv_sec = (time_t)(deadline_ns / 1000000000u),
		.tv_nsec = (long)(deadline_ns % 1000000000u),
	};
	uint64_t now;

	if (control_lock_until(lock, &until) != 0)
		return -EBUSY;
	now = control_now_ns();
	*left_ns = deadline_ns > now ? deadline_ns - now : 1;
	return 0;
}

int
client_control(struct tp_client *client, struct tp_control_request *request,
	       struct tp_control_response *response, int *fds, unsigned int fd_count)
{
	return client_control_until(client, client_control_deadline(client), request, response, fds,
				    fd_count);
}

int
client_control_until(struct tp_client *client, uint64_t deadline_ns,
		     struct tp_control_request *request, struct tp_control_response *response,
		     int *fds, unsigned int fd_count)
{
	const struct tp_client_backend *backend = &client->backend;
	uint64_t left_ns;
	unsigned int i;
	int ret;

	if (backend->control == NULL)
		return -EOPNOTSUPP;
	if (atomic_load_explicit(&client->dead, memory_order_relaxed))
		return -ECONNRESET;
	request->magic = TP_CONTROL_MAGIC;
	request->version = TP_CONTROL_VERSION;
	memset(response, 0, sizeof(*response));

	/* One request at a time on the channel; who waits for the others does not wait longer. */
	ret = client_lock_until(&client->control_lock, deadline_ns, &left_ns);
	if (ret < 0)
		return ret;
	/* Its socket may be that of the successor by now: reattach_fds_take(). */
	if (atomic_load_explicit(&client->dead, memory_order_relaxed)) {
		pthread_mutex_unlock(&client->control_lock);
		return -ECONNRESET;
	}
	/* A little less than we wait, so that the node's reason arrives. */
	request->timeout_ns = left_ns - left_ns / 16;
	ret = backend->control(backend->ctx, request, response, fds, fd_count);
	pthread_mutex_unlock(&client->control_lock);
	if (ret < 0)
		return ret;
	ret = control_check(request, response, fd_count);
	if (ret < 0)
		for (i = 0; i < RTE_MIN(response->fd_count, fd_count); i++)
			close(fds[i]);
	return ret;
}

int
tp_client_node_get(struct tp_client *client, uint32_t index, struct tp_control_node *node)
{
	struct tp_control_request request = { .op = TP_CONTROL_NODE_LIST, .value = index };
	struct tp_control_response response;
	int ret = client_control(client_live(client), &request, &response, NULL, 0);

	if (ret == 0)
		*node = response.node;
	return ret;
}

int
tp_client_stats_get(struct tp_client *client, uint64_t stats[TP_CONTROL_STATS_MAX])
{
	struct tp_control_request request = { .op = TP_CONTROL_STATS };
	struct tp_control_response response;
	int ret = client_control(client_live(client), &request, &response, NULL, 0);

	if (ret == 0)
		memcpy(stats, response.stats, sizeof(response.stats));
	return ret;
}

int
tp_client_alloc(struct tp_client *client, uint16_t node, uint64_t bytes, struct tp_ptr *ptr)
{
	struct tp_control_request request = {
		.op = TP_CONTROL_ALLOC,
		.node = node,
		.bytes = bytes,
	};
	struct tp_control_response response;
	int ret;

	if (bytes == 0)
		return -EINVAL;
	ret = client_control(client_live(client), &request, &response, NULL, 0);
	if (ret == 0)
		*ptr = (struct tp_ptr){
			.address = response.address,
			.generation = response.generation,
		};
	return ret;
}

int
tp_client_free(struct tp_client *client, struct tp_ptr ptr)
{
	struct tp_control_request request = {
		.op = TP_CONTROL_FREE,
		.address = ptr.address,
		.generation = ptr.generation,
	};
	struct tp_control_response response;

	return client_control(client_live(client), &request, &response, NULL, 0);
}

int
tp_client_generation_get(struct tp_client *client, uint64_t address, uint64_t *generation)
{
	struct tp_control_request request = {
		.op = TP_CONTROL_GENERATION,
		.address = address,
	};
	struct tp_control_response response;
	int ret = client_control(client_live(client), &request, &response, NULL, 0);

	if (ret == 0)
		*generation = response.generation;
	return ret;
}

int
tp_client_generation_check(struct tp_client *client, struct tp_ptr ptr)
{
	uint64_t generation;
	int ret = tp_client_generation_get(client, ptr.address, &generation);

	if (ret < 0)
		return ret;
	return generation == ptr.generation ? 0 : -ESTALE;
}
