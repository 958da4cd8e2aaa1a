/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Attach to a node's memory and detach: docs/abi.md sections 2 and 7. What the
 * node wrote is checked here once and copied; later only the copies are used.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "heir.h"
#include "hit.h"
#include "tp_address.h"

TP_LOG_REGISTER(client);

uint64_t
client_tsc_from_ns(const struct tp_client *client, uint64_t ns)
{
	unsigned __int128 ticks = (unsigned __int128)ns * client->geometry.tsc_hz / 1000000000u;

	/* "For ever" must not wrap when it is added to now. */
	return (uint64_t)RTE_MIN(ticks, (unsigned __int128)(UINT64_MAX / 4));
}

uint64_t
client_ns_from_tsc(const struct tp_client *client, uint64_t tsc)
{
	return (uint64_t)((unsigned __int128)tsc * 1000000000u / client->geometry.tsc_hz);
}

static int
client_node_check(const struct tp_client_backend *backend, struct client_geometry *geometry)
{
	const struct tp_abi_node *node = backend->node;
	struct tp_address_split split = {
		.node_bits = node->node_bits,
		.offset_bits = node->offset_bits,
	};

	*geometry = (struct client_geometry){
		.tsc_hz = node->tsc_hz,
		.guard_lease_tsc = node->guard_lease_tsc,
		.page_bytes = node->page_bytes,
		.slot_count = node->slot_count,
		.worker_count = node->worker_count,
		.node_bits = split.node_bits,
		.offset_bits = split.offset_bits,
	};
	if (node->magic != TP_ABI_MAGIC || node->version != TP_ABI_VERSION ||
	    node->length != sizeof(*node)) {
		TP_CLIENT_LOG(ERR, "the node's header has version %u and length %u, not %u and %zu",
			      node->version, node->length, TP_ABI_VERSION, sizeof(*node));
		return -EPROTO;
	}
	if (geometry->page_bytes < 1u << TP_PAGE_SHIFT_MIN ||
	    geometry->page_bytes > 1u << TP_PAGE_SHIFT_MAX ||
	    !rte_is_power_of_2(geometry->page_bytes) || geometry->slot_count == 0 ||
	    geometry->slot_count > 1u << TP_WORD_SLOT_BITS ||
	    backend->slot_bytes_total / geometry->page_bytes < geometry->slot_count ||
	    geometry->worker_count == 0 || geometry->worker_count > TP_ABI_WORKERS_MAX ||
	    geometry->tsc_hz < 1000 || !tp_address_split_is_valid(split)) {
		TP_CLIENT_LOG(ERR, "the node's header makes no sense: %u slots of %u bytes in %zu, "
			      "%u workers, clock %" PRIu64 " Hz", geometry->slot_count,
			      geometry->page_bytes, backend->slot_bytes_total,
			      geometry->worker_count, geometry->tsc_hz);
		return -EPROTO;
	}
	return 0;
}

static int
client_segment_check(const struct tp_abi_client *segment, uint32_t *thread_count)
{
	*thread_count = segment->thread_count;
	if (segment->magic == TP_ABI_MAGIC && segment->version == TP_ABI_VERSION &&
	    segment->client_id < TP_ABI_CLIENTS_MAX && *thread_count >= 1 &&
	    *thread_count <= TP_ABI_THREADS_MAX &&
	    segment->length >= tp_abi_client_bytes(*thread_count))
		return 0;
	TP_CLIENT_LOG(ERR, "the client segment's header makes no sense: version %u, client %u, "
		      "%u threads in %u bytes", segment->version, segment->client_id,
		      *thread_count, segment->length);
	return -EPROTO;
}

int
client_create(const struct tp_client_backend *backend, struct tp_client **client_out)
{
	struct client_geometry geometry;
	struct tp_client *client;
	uint32_t thread_count, i;
	int ret;

	ret = client_node_check(backend, &geometry);
	if (ret == 0)
		ret = client_segment_check(backend->segment, &thread_count);
	if (ret < 0)
		return ret;
	client = aligned_alloc(RTE_CACHE_LINE_SIZE,
		RTE_ALIGN_CEIL(sizeof(*client) + thread_count * sizeof(struct tp_thread),
			       (size_t)RTE_CACHE_LINE_SIZE));
	if (client == NULL)
		return -ENOMEM;
	memset(client, 0, sizeof(*client) + thread_count * sizeof(struct tp_thread));
	client->backend = *backend;
	client->geometry = geometry;
	client->origin = backend->segment->origin;
	client->thread_count = thread_count;
	client->timeout_tsc = client_tsc_from_ns(client,
		backend->timeout_ns ? backend->timeout_ns : TP_CLIENT_TIMEOUT_NS);
	/* Divisions that take longer than what waits for them. */
	client->switch_tsc = client_tsc_from_ns(client, CLIENT_SWITCH_NS);
	client->yield_tsc = client_tsc_from_ns(client, CLIENT_YIELD_NS);
	client->control_timeout_ns = CLIENT_CONTROL_TIMEOUT_NS;
	client->socket = -1;
	for (i = 0; i < TP_ABI_WORKERS_MAX; i++)
		client->bells[i] = i < backend->bell_count ? backend->bells[i] : -1;
	pthread_mutex_init(&client->control_lock, NULL);
	pthread_mutex_init(&client->lock, NULL);
	LIST_INIT(&client->regions);
	for (i = 0; i < thread_count; i++)
		client_thread_init(client, &client->threads[i], i);
	*client_out = client;
	return 0;
}

int
tp_client_attach_backend(const struct tp_client_backend *backend, struct tp_client **client)
{
	if (backend == NULL || backend->node == NULL || backend->slots == NULL ||
	    backend->segment == NULL)
		return -EINVAL;
	return client_create(backend, client);
}

static void
client_fds_close(struct tp_client *client)
{
	uint32_t i;

	/* The end of the connection is what tells the node. */
	if (client->socket >= 0)
		close(client->socket);
	for (i = 0; i < TP_ABI_WORKERS_MAX; i++)
		if (client->bells_owned && client->bells[i] >= 0)
			close(client->bells[i]);
}

void
tp_client_detach(struct tp_client *client)
{
	struct tp_client *heir;
	struct tp_client_region *region;
	struct tp_client_backend backend;
	uint32_t i;

	if (client == NULL)
		return;
	client_keeper_stop(client);
	for (i = 0; i < client->thread_count; i++)
		if (client->threads[i].state == CLIENT_THREAD_USED)
			tp_thread_unregister(&client->threads[i]);
	while ((region = LIST_FIRST(&client->regions)) != NULL) {
		region->references = 1;
		tp_client_region_close(region);
	}
	heir = atomic_load_explicit(&client->heir, memory_order_acquire);
	if (heir != NULL)
		/* It has our descriptors: reattach_fds_take(). */
		tp_client_detach(heir);
	else
		client_fds_close(client);
	for (i = 0; i < RTE_DIM(client->segments); i++)
		tp_segment_destroy(client->segments[i]);
	pthread_mutex_destroy(&client->control_lock);
	pthread_mutex_destroy(&client->lock);
	backend = client->backend;
	free(client->socket_path);
	free(client);
	if (backend.detach != NULL)
		backend.detach(backend.ctx);
}

bool
tp_client_is_alive(struct tp_client *client)
{
	client = client_live(client);
	if (atomic_load_explicit(&client->dead, memory_order_relaxed))
		return false;
	if (client->socket < 0) {
		if (client->backend.is_alive == NULL ||
		    client->backend.is_alive(client->backend.ctx))
			return true;
	} else if (client_socket_is_open(client->socket)) {
		return true;
	}
	if (!atomic_exchange_explicit(&client->dead, true, memory_order_relaxed))
		TP_CLIENT_LOG(WARNING, "node %u is gone", client->backend.node->node_id);
	return false;
}

const struct tp_abi_node *
tp_client_node(const struct tp_client *client)
{
	const struct tp_client *heir;

	while ((heir = atomic_load_explicit(&client->heir, memory_order_acquire)) != NULL)
		client = heir;
	return client->backend.node;
}

uint64_t
tp_client_tsc(const struct tp_client *client)
{
	return client_now(client->backend.virtual_tsc);
}

#ifdef TP_MUTANTS
void
tp_client_mutant_set(struct tp_client *client, enum tp_client_mutant mutant)
{
	client->mutant = mutant;
}
#endif
