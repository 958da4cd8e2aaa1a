/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Region handles: one per region and client, counted, found in a list under the
 * client's lock. Any thread.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "heir.h"
#include "tp_address.h"

/* What the node says of a region, before any of it is used. */
static bool
region_info_is_valid(const struct tp_client *client, const struct tp_control_region *info)
{
	return info->id >= 1 && info->id <= TP_REGION_ID_MAX &&
		memchr(info->name, '\0', sizeof(info->name)) != NULL &&
		info->page_bytes >= 1u << TP_PAGE_SHIFT_MIN &&
		info->page_bytes <= client->geometry.page_bytes &&
		rte_is_power_of_2(info->page_bytes) && info->bytes != 0 &&
		info->bytes % info->page_bytes == 0 &&
		info->bytes / info->page_bytes <= UINT32_MAX &&
		tp_address_is_global(info->address) &&
		info->address % info->page_bytes == 0 &&
		info->bytes - 1 <= TP_ADDRESS_LAST - info->address;
}

static struct tp_client_region *
region_find(struct tp_client *client, const struct tp_control_region *info)
{
	struct tp_client_region *region;

	LIST_FOREACH(region, &client->regions, next)
		if (region->id == info->id && region->info.generation == info->generation)
			return region;
	return NULL;
}

static int
region_map(struct tp_client *client, const struct tp_control_region *info, int words_fd,
	   struct tp_client_region **region_out)
{
	struct tp_segment_config config = {
		.bytes = info->bytes / info->page_bytes * sizeof(uint64_t),
	};
	struct tp_client_region *region;
	int ret;

	region = aligned_alloc(RTE_CACHE_LINE_SIZE,
			       RTE_ALIGN_CEIL(sizeof(*region), (size_t)RTE_CACHE_LINE_SIZE));
	if (region == NULL)
		return -ENOMEM;
	memset(region, 0, sizeof(*region));
	ret = tp_segment_import(words_fd, &config, &region->segment);
	if (ret < 0) {
		TP_CLIENT_LOG(ERR, "words of region %s cannot be used: %s", info->name,
			      strerror(-ret));
		free(region);
		return ret == -ENOMEM ? ret : -EPROTO;
	}
	/* The mapping is all that is used of it. */
	tp_segment_fd_close(region->segment);
	region->words = tp_segment_base(region->segment);
	region->slots = client->backend.slots;
	region->bytes = info->bytes;
	region->node = client->backend.node;
	region->virtual_tsc = client->backend.virtual_tsc;
	region->slot_count = client->geometry.slot_count;
	region->slot_bytes = client->geometry.page_bytes;
	region->id = info->id;
	region->page_shift = (uint8_t)__builtin_ctz(info->page_bytes);
	region->writable = info->mode != TP_REGION_RO;
	/* An eighth is left for the skew between when the TSC is read and when the access is. */
	region->guard_lease_tsc = client->geometry.guard_lease_tsc / 8 * 7;
	region->client = client;
	region->info = *info;
	region->references = 1;
	*region_out = region;
	return 0;
}

/* A REGION_OPEN request, checked. *client is what was asked. */
static int
region_request(struct tp_client **client, uint64_t deadline_ns, struct tp_control_request *request,
	       struct tp_control_response *response, int *words_fd)
{
	int ret;

	*client = client_live(*client);
	ret = client_control_until(*client, deadline_ns, request, response, words_fd, 1);
	if (ret < 0 || region_info_is_valid(*client, &response->region))
		return ret;
	TP_CLIENT_LOG(ERR, "the node's description of a region makes no sense");
	close(*words_fd);
	return -EPROTO;
}

/* A REGION_OPEN request, and the handle for what came back. */
static int
region_open(struct tp_client *client, uint64_t deadline_ns, struct tp_control_request *request,
	    struct tp_client_region **region_out)
{
	struct tp_control_response response;
	struct tp_client_region *region;
	struct tp_client *asked = client;
	int words_fd, ret;

	/* An answer of a node that has died since, and was replaced, is no use any more. */
	for (;;) {
		ret = region_request(&asked, deadline_ns, request, &response, &words_fd);
		if (ret < 0)
			return ret;
		client = client_lock_live(asked);
		if (client == asked)
			break;
		pthread_mutex_unlock(&client->lock);
		close(words_fd);
	}
	region = region_find(client, &response.region);
	if (region != NULL) {
		region->references++;
		close(words_fd);
	} else {
		ret = region_map(client, &response.region, words_fd, &region);
		if (ret == 0)
			LIST_INSERT_HEAD(&client->regions, region, next);
		else
			close(words_fd);
	}
	pthread_mutex_unlock(&client->lock);
	if (ret == 0)
		*region_out = region;
	return ret;
}

static int
region_name_copy(char to[TP_REGION_NAME_BYTES], const char *name)
{
	if (name == NULL || name[0] == '\0' || strlen(name) >= TP_REGION_NAME_BYTES)
		return -EINVAL;
	strcpy(to, name);
	return 0;
}

int
tp_client_region_create(struct tp_client *client, const struct tp_client_region_config *config,
			struct tp_client_region **region)
{
	struct tp_control_request request = { .op = TP_CONTROL_REGION_CREATE };
	struct tp_control_request open = { .op = TP_CONTROL_REGION_OPEN };
	uint64_t deadline_ns = client_control_deadline(client);
	struct tp_control_response response;
	uint64_t page_bytes = config->page_bytes ? config->page_bytes :
		client->geometry.page_bytes;
	int ret;

	ret = region_name_copy(request.region.name, config->name);
	if (ret < 0)
		return ret;
	if (config->bytes == 0 || config->bytes > TP_ADDRESS_MASK || page_bytes > UINT32_MAX ||
	    !rte_is_power_of_2((uint32_t)page_bytes) ||
	    config->node_count > TP_REGION_NODES_MAX ||
	    (config->node_count != 0 && config->nodes == NULL))
		return -EINVAL;
	request.region.page_bytes = (uint32_t)page_bytes;
	request.region.bytes = RTE_ALIGN_CEIL(config->bytes, page_bytes);
	request.region.mode = config->mode ? (uint16_t)config->mode : TP_REGION_RW;
	request.region.distribution = config->distribution ?
		(uint16_t)config->distribution : TP_REGION_STRIPED;
	request.region.node_count = (uint16_t)config->node_count;
	request.region.durability = (uint16_t)config->durability;
	if (config->node_count != 0)
		memcpy(request.region.nodes, config->nodes,
		       config->node_count * sizeof(config->nodes[0]));
	ret = client_control_until(client_live(client), deadline_ns, &request, &response, NULL, 0);
	if (ret < 0)
		return ret;
	region_name_copy(open.region.name, config->name);
	ret = region_open(client, deadline_ns, &open, region);
	if (ret < 0)
		/* It is there all the same: an error that says "not done" would be wrong. */
		return ret == -EINPROGRESS ? ret : -EREMOTE;
	/* Who creates a read-only region fills it; the node knows who that was. */
	(*region)->writable = true;
	return 0;
}

int
client_region_open_until(struct tp_client *client, uint64_t deadline_ns, const char *name,
			 struct tp_client_region **region)
{
	struct tp_control_request request = { .op = TP_CONTROL_REGION_OPEN };
	int ret = region_name_copy(request.region.name, name);

	return ret < 0 ? ret : region_open(client, deadline_ns, &request, region);
}

int
tp_client_region_open(struct tp_client *client, const char *name, struct tp_client_region **region)
{
	return client_region_open_until(client, client_control_deadline(client), name, region);
}

int
tp_client_region_open_at(struct tp_client *client, uint64_t address,
			 struct tp_client_region **region_out, uint64_t *offset)
{
	struct tp_control_request request = {
		.op = TP_CONTROL_REGION_OPEN,
		.address = address,
	};
	struct tp_client_region *region;
	int ret = region_open(client, client_control_deadline(client), &request, &region);

	if (ret < 0)
		return ret;
	if (address < region->info.address || address - region->info.address >= region->bytes) {
		tp_client_region_close(region);
		return -EPROTO;
	}
	if (offset != NULL)
		*offset = address - region->info.address;
	*region_out = region;
	return 0;
}

int
tp_client_range_open(struct tp_client *client, uint16_t node, uint64_t offset, uint64_t bytes,
		     struct tp_client_region **region_out, uint64_t *start)
{
	struct tp_address_split split = {
		.node_bits = client->geometry.node_bits,
		.offset_bits = client->geometry.offset_bits,
	};
	uint64_t address = tp_address_pack(split, node, offset);
	struct tp_client_region *region;
	int ret;

	if (address == TP_ADDRESS_NONE || bytes == 0)
		return -EINVAL;
	ret = tp_client_region_open_at(client, address, &region, start);
	if (ret < 0)
		return ret;
	if (bytes > region->bytes - (address - region->info.address)) {
		tp_client_region_close(region);
		return -EINVAL;
	}
	*region_out = region;
	return 0;
}

void
tp_client_region_close(struct tp_client_region *region)
{
	struct tp_client *client;
	bool last;

	if (region == NULL)
		return;
	client = region->client;
	pthread_mutex_lock(&client->lock);
	last = --region->references == 0;
	if (last)
		LIST_REMOVE(region, next);
	pthread_mutex_unlock(&client->lock);
	if (!last)
		return;
	tp_client_region_close(atomic_load_explicit(&region->heir, memory_order_acquire));
	tp_segment_destroy(region->segment);
	free(region);
}

static int
region_by_name(struct tp_client *client, const char *name, enum tp_control_op op)
{
	struct tp_control_request request = { .op = op };
	struct tp_control_response response;
	int ret = region_name_copy(request.region.name, name);

	return ret < 0 ? ret : client_control(client_live(client), &request, &response, NULL, 0);
}

int
tp_client_region_destroy(struct tp_client *client, const char *name)
{
	return region_by_name(client, name, TP_CONTROL_REGION_DESTROY);
}

int
tp_client_region_reset(struct tp_client *client, const char *name)
{
	return region_by_name(client, name, TP_CONTROL_REGION_RESET);
}

int
tp_client_region_get(struct tp_client *client, uint32_t index, struct tp_control_region *info)
{
	struct tp_control_request request = { .op = TP_CONTROL_REGION_LIST, .value = index };
	struct tp_control_response response;
	int ret = client_control(client_live(client), &request, &response, NULL, 0);

	if (ret < 0)
		return ret;
	if (!region_info_is_valid(client, &response.region))
		return -EPROTO;
	*info = response.region;
	return 0;
}

const struct tp_control_region *
tp_client_region_info(const struct tp_client_region *region)
{
	const struct tp_client_region *heir;

	while ((heir = atomic_load_explicit(&region->heir, memory_order_acquire)) != NULL)
		region = heir;
	return &region->info;
}
