/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Commands of the control side. Owner: the worker's lcore.
 */
#include "inject_priv.h"
#include "worker_priv.h"

static void
region_hash_insert(struct tp_worker *worker, const struct worker_region *region)
{
	uint32_t i = region->id % WORKER_REGIONS;

	while (worker->regions[i].id != 0)
		i = (i + 1) % WORKER_REGIONS;
	worker->regions[i] = *region;
}

/* Take one out, and put those behind it in the same run where a search finds them. */
static void
region_hash_remove(struct tp_worker *worker, struct worker_region *region)
{
	uint32_t i = (uint32_t)(region - worker->regions);

	worker->region_last = NULL;
	region->id = 0;
	for (i = (i + 1) % WORKER_REGIONS; worker->regions[i].id != 0;
	     i = (i + 1) % WORKER_REGIONS) {
		struct worker_region moved = worker->regions[i];

		worker->regions[i].id = 0;
		region_hash_insert(worker, &moved);
	}
}

static void
region_add(struct tp_worker *worker, const struct worker_command *command)
{
	const struct tp_region *region = command->region;
	struct worker_region entry = {
		.id = region->id,
		.page_count = region->page_count,
		.page_bytes = 1u << region->page_shift,
		.mode = region->mode,
		.creator = command->client,
		.region = region,
		.words = command->words,
		.kept = command->kept,
	};
	struct worker_event event = { .type = WORKER_REGION_ADDED, .region_id = region->id };

	if (worker_region_find(worker, region->id) != NULL)
		event.error = EEXIST;
	else
		event.error = -tp_coherence_region_add(worker->coherence, region,
			command->directory_slot, command->home_lost);
	if (event.error == 0)
		region_hash_insert(worker, &entry);
	worker_event_push(worker, &event);
}

/* Go on with regions being given up: one step each a turn. */
static uint32_t
regions_remove_run(struct tp_worker *worker)
{
	uint32_t work = 0;
	uint32_t i;

	for (i = 0; i < WORKER_REGIONS && worker->regions_removing != 0; i++) {
		struct worker_region *region = &worker->regions[i];
		struct worker_event event = { .type = WORKER_REGION_REMOVED };
		bool gone;

		if (region->id == 0 || !region->removing)
			continue;
		event.region_id = region->id;
		gone = tp_coherence_region_remove(worker->coherence, region->id, worker->now,
			&worker->outbox);
		worker_outbox_run(worker);
		work++;
		if (!gone)
			continue;
		worker_inject_region_gone(region);
		region_hash_remove(worker, region);
		worker->regions_removing--;
		worker_event_push(worker, &event);
	}
	return work;
}

static void
region_remove(struct tp_worker *worker, uint32_t region_id)
{
	struct worker_region *region = worker_region_find(worker, region_id);
	struct worker_event event = { .type = WORKER_REGION_REMOVED, .region_id = region_id };

	if (region == NULL) {
		worker_event_push(worker, &event);
		return;
	}
	if (!region->removing) {
		region->removing = true;
		worker->regions_removing++;
	}
}

static void
client_add(struct tp_worker *worker, const struct worker_command *command)
{
	struct worker_client *client = &worker->clients[command->client];

	RTE_ASSERT(client->abi == NULL);
	*client = (struct worker_client){
		.abi = command->abi,
		.origin = command->origin,
		.thread_count = command->thread_count,
		.threads = command->threads,
	};
	worker->client_list[worker->client_count++] = (uint8_t)command->client;
}

static void
client_remove(struct tp_worker *worker, int16_t client)
{
	struct worker_event event = { .type = WORKER_CLIENT_REMOVED, .client = client };
	uint32_t i;

	if (worker->clients[client].abi != NULL) {
		worker_client_gone(worker, (uint32_t)client);
		/* Before its place is another's. */
		worker_sleepers_wake(worker);
		for (i = 0; worker->client_list[i] != client; i++)
			;
		worker->client_list[i] = worker->client_list[--worker->client_count];
		/* Its guards hold nothing any more: waits and quarantine see that this turn. */
		worker->clients[client].abi = NULL;
	}
	worker_event_push(worker, &event);
}

static void
region_creator_forget(struct tp_worker *worker, int16_t client)
{
	uint32_t i;

	for (i = 0; i < WORKER_REGIONS; i++)
		if (worker->regions[i].id != 0 && worker->regions[i].creator == client)
			worker->regions[i].creator = -1;
}

static void
region_creator_set(struct tp_worker *worker, uint32_t region_id, int16_t client)
{
	struct worker_region *region = worker_region_find(worker, region_id);

	if (region != NULL)
		region->creator = client;
}

static void
self_fenced(struct tp_worker *worker)
{
	worker->fencing = WORKER_FENCING_RUNS;
	worker_stash_drop(worker, 0, true);
	worker_held_void(worker, TP_PARTITION, -1);
	tp_coherence_self_fenced(worker->coherence, worker->now, &worker->outbox);
	worker_outbox_run(worker);
}

static void
drain(struct tp_worker *worker)
{
	worker->draining = WORKER_DRAINING_RUNS;
	worker->swept_again = false;
	worker_held_void(worker, TP_UNREACHABLE, -1);
	tp_coherence_drain(worker->coherence);
	if (worker->config.keeper != NULL)
		tp_coherence_persist_all(worker->coherence);
}

static void
node_message_send(struct tp_worker *worker, const struct worker_command *command)
{
	struct iovec iov = {
		.iov_base = (void *)(uintptr_t)command->bytes,
		.iov_len = sizeof(command->bytes),
	};

	if (worker->config.inject != NULL &&
	    worker_inject_vanishes(worker, command->node, command->class))
		return;
	/* Refused ones are lost: whoever waits for the answer has a deadline. */
	if (tp_endpoint_send(worker->endpoint, command->node, 0, (enum tp_class)command->class,
			TP_PRIORITY_NORMAL, &iov, 1) < 0)
		worker->stats.messages_dropped++;
}

static void
command_run(struct tp_worker *worker, const struct worker_command *command)
{
	switch ((enum worker_command_type)command->type) {
	case WORKER_PEER_SET:
		worker_peer_set(worker, command);
		break;
	case WORKER_PEER_REMOVE:
		worker_peer_remove(worker, command->node);
		break;
	case WORKER_PEER_FENCED:
		worker_peer_fenced(worker, command->node);
		break;
	case WORKER_HOME_RESET:
		worker_home_reset(worker, command->node);
		break;
	case WORKER_SELF_FENCED:
		self_fenced(worker);
		break;
	case WORKER_ENDPOINT:
		worker_endpoint_change(worker, command->endpoint);
		worker->fencing = WORKER_FENCING_NO;
		break;
	case WORKER_REGION_ADD:
		region_add(worker, command);
		break;
	case WORKER_REGION_REMOVE:
		region_remove(worker, command->region_id);
		break;
	case WORKER_CREATOR:
		region_creator_set(worker, command->region_id, command->client);
		break;
	case WORKER_CLIENT_ADD:
		client_add(worker, command);
		break;
	case WORKER_CLIENT_REMOVE:
		region_creator_forget(worker, command->client);
		client_remove(worker, command->client);
		break;
	case WORKER_NEIGHBOUR:
		tp_endpoint_neighbour_set(worker->endpoint, command->link, command->ip,
			command->mac);
		break;
	case WORKER_NODE_MESSAGE:
		node_message_send(worker, command);
		break;
	case WORKER_INJECT_PEERS:
		worker_inject_peers(worker, command->table);
		break;
	case WORKER_INJECT_REGION:
		worker_inject_region(worker, command);
		break;
	case WORKER_INJECT_CLEAR:
		worker_inject_clear(worker);
		break;
	case WORKER_DRAIN:
		drain(worker);
		break;
	}
}

/* One stage of the turn. */
uint32_t
worker_commands_run(struct tp_worker *worker)
{
	struct worker_command command;
	uint32_t work = 0;

	while (work < WORKER_COMMANDS_PER_TURN && node_ring_pop(&worker->commands, &command)) {
		worker->stats.commands++;
		command_run(worker, &command);
		work++;
	}
	if (unlikely(worker->regions_removing != 0))
		work += regions_remove_run(worker);
	return work;
}
