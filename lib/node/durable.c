/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Durable regions on the control side: which of them have pages in this node's pool.
 * Owner: main lcore; docs/coherence.md, "Durable regions".
 *
 * How it works. A node with a pool says which one in `pool/<node>` of the store. When it
 * comes back, the store knows that pool: a region of the pool that is not in the catalogue
 * was destroyed meanwhile. A store that knows no pool of this node is a new one, say after
 * the machine was started anew: then the catalogue gets the pool's regions. So it does if
 * the store knows another pool, of which no region is left. What the keeper is asked for
 * is a state of the region, nothing waits.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control_priv.h"
#include "tp_generation.h"

#define POOL_MAGIC 0x4c504554u	/* "TEPL" */
#define POOL_VERSION 2u
#define DURABLE_REPEAT_MAX 1000

/* `pool/<node>`; little-endian. */
struct pool_record {
	rte_le32_t magic;
	rte_le32_t version;
	uint8_t uuid[16];
	rte_le64_t taken;	/* counter of the last generation whose region got its pages */
};
static_assert(sizeof(struct pool_record) == 32, "stored");
#define POOL_RECORD_BYTES_1 24	/* version 1: without taken */

/* 0; -ENOENT: the node has none; -EBADMSG, or an error of the store. */
static int
pool_read(struct tp_control *control, uint16_t node, struct pool_record *record,
	uint64_t *version)
{
	size_t bytes;
	char key[32];
	int ret;

	snprintf(key, sizeof(key), "pool/%u", node);
	ret = tp_store_get(control->config.store, key, record, sizeof(*record), &bytes, version);
	if (ret < 0)
		return ret;
	if (bytes < POOL_RECORD_BYTES_1 || rte_le_to_cpu_32(record->magic) != POOL_MAGIC)
		return -EBADMSG;
	if (bytes == POOL_RECORD_BYTES_1 && rte_le_to_cpu_32(record->version) == 1) {
		record->taken = 0;
		return 0;
	}
	return bytes != sizeof(*record) ||
		rte_le_to_cpu_32(record->version) != POOL_VERSION ? -EBADMSG : 0;
}

/* Nobody else writes it, but an earlier process of this node may have. */
static int
pool_write(struct tp_control *control)
{
	struct pool_record record = {
		.magic = rte_cpu_to_le_32(POOL_MAGIC),
		.version = rte_cpu_to_le_32(POOL_VERSION),
		.taken = rte_cpu_to_le_64(control->pool_taken),
	};
	struct pool_record before;
	uint64_t version;
	char key[32];
	int ret = -EBUSY;

	keeper_uuid(control->keeper, record.uuid);
	snprintf(key, sizeof(key), "pool/%u", control->config.node_id);
	for (int i = 0; i < DURABLE_REPEAT_MAX; i++) {
		ret = pool_read(control, control->config.node_id, &before, &version);
		if (ret == -ENOENT)
			version = 0;
		else if (ret < 0)
			return ret;
		ret = tp_store_cas(control->config.store, key, version, &record, sizeof(record),
			NULL);
		if (ret != -EAGAIN)
			break;
	}
	return ret;
}

/* The active region of the catalogue at that base, NULL: none. */
static const struct tp_region *
catalogue_at(const struct tp_region *all, int count, uint64_t base)
{
	for (int i = 0; i < count; i++)
		if (all[i].state == TP_REGION_ACTIVE && all[i].base == base)
			return &all[i];
	return NULL;
}

/* Is the region of the pool the one of the catalogue, and not one before it? */
static bool
region_is(const struct tp_region *own, const struct tp_region *listed)
{
	return strcmp(listed->name, own->name) == 0 && listed->bytes == own->bytes &&
		listed->page_shift == own->page_shift &&
		listed->distribution == own->distribution &&
		listed->durability == own->durability &&
		listed->node_count == own->node_count &&
		memcmp(listed->nodes, own->nodes,
			own->node_count * sizeof(own->nodes[0])) == 0 &&
		(listed->created == 0 || listed->created == own->created);
}

/* A region of the pool and what the catalogue says; known: it has had this pool before. */
static int
region_match(struct tp_control *control, const struct tp_region *own,
	const struct tp_region *listed, bool known)
{
	struct tp_region made;
	int ret;

	if (listed != NULL && region_is(own, listed))
		return 0;
	if (known) {
		TP_NODE_LOG(NOTICE, "region %s was destroyed while node %u was away", own->name,
			control->config.node_id);
		return keeper_forget(control->keeper, own->base);
	}
	ret = tp_catalogue_region_restore(control->catalogue, own, &made);
	/* Another node with pages of it may have been faster. */
	if (ret == -EEXIST && tp_catalogue_region_open(control->catalogue, own->name, &made) == 0 &&
	    made.base == own->base && region_is(own, &made))
		return 0;
	if (ret == 0)
		TP_NODE_LOG(NOTICE, "region %s is in the catalogue again, from the pool of node %u",
			own->name, control->config.node_id);
	else
		TP_NODE_LOG(ERR, "region %s stays in the pool of node %u alone: its name or "
			"addresses are another region's: %s", own->name, control->config.node_id,
			strerror(-ret));
	return 0;
}

static int
regions_match(struct tp_control *control, bool known)
{
	struct tp_region *all = calloc(TP_CATALOGUE_REGIONS_MAX, sizeof(*all));
	struct tp_region *own = calloc(TP_CATALOGUE_REGIONS_MAX, sizeof(*own));
	int own_count = -ENOMEM;
	int ret = -ENOMEM;

	if (all != NULL && own != NULL)
		own_count = keeper_list(control->keeper, own, TP_CATALOGUE_REGIONS_MAX);
	if (own_count >= 0)
		ret = tp_catalogue_region_list(control->catalogue, all, TP_CATALOGUE_REGIONS_MAX);
	else
		ret = own_count;
	for (int i = 0, count = ret; ret >= 0 && i < own_count && i < TP_CATALOGUE_REGIONS_MAX;
	     i++)
		ret = region_match(control, &own[i], catalogue_at(all, count, own[i].base), known);
	free(own);
	free(all);
	return ret < 0 ? ret : 0;
}

/* Does the catalogue have a region with pages that were in a pool of this node? */
static int
regions_here(struct tp_control *control)
{
	struct tp_region *all = calloc(TP_CATALOGUE_REGIONS_MAX, sizeof(*all));
	int here = 0;
	int count;

	if (all == NULL)
		return -ENOMEM;
	count = tp_catalogue_region_list(control->catalogue, all, TP_CATALOGUE_REGIONS_MAX);
	for (int i = 0; i < count && i < TP_CATALOGUE_REGIONS_MAX; i++)
		here += all[i].state == TP_REGION_ACTIVE &&
			all[i].durability != TP_DURABILITY_NONE &&
			tp_region_home_count(&all[i], control->config.node_id) != 0;
	free(all);
	return count < 0 ? count : here;
}

/* Another pool than the last one: fine, unless regions would lose their pages by that. */
static int
pool_replaced(struct tp_control *control)
{
	int here = regions_here(control);

	if (here < 0)
		return here;
	if (here == 0)
		return 0;
	TP_NODE_LOG(ERR, "%s is not the pool that node %u had before, which has pages of %d regions: "
		"give that back, or start without a pool and destroy them",
		control->config.pool_path, control->config.node_id, here);
	return -EEXIST;
}

/* Before the first look at the catalogue. */
int
durable_start(struct tp_control *control)
{
	const struct tp_control_config *config = &control->config;
	const struct keeper_config keeper = {
		.path = config->pool_path,
		.bytes = config->pool_bytes,
		.node_id = config->node_id,
		.worker_count = config->worker_count,
		.page_bytes = config->page_bytes,
		.threaded = config->pool_threaded,
		.wake_worker = config->wake_worker,
		.wake_control = config->wake_control,
		.wake_ctx = config->wake_ctx,
	};
	struct pool_record record;
	uint8_t uuid[16];
	bool known;
	int ret;

	if (config->pool_path == NULL)
		return 0;
	ret = keeper_open(&keeper, &control->keeper);
	if (ret < 0)
		return ret;
	ret = pool_read(control, config->node_id, &record, NULL);
	if (ret < 0 && ret != -ENOENT)
		return ret;
	keeper_uuid(control->keeper, uuid);
	known = ret == 0 && memcmp(record.uuid, uuid, sizeof(uuid)) == 0;
	control->pool_taken = known ? rte_le_to_cpu_64(record.taken) : 0;
	ret = ret == 0 && !known ? pool_replaced(control) : 0;
	/* One that comes in the place of another may be the right one after a wrong one. */
	if (ret == 0)
		ret = regions_match(control, known);
	if (ret == 0 && !known)
		ret = pool_write(control);
	return ret < 0 ? ret : keeper_start(control->keeper);
}

/* Before workers and regions go. */
void
durable_stop(struct tp_control *control)
{
	uint32_t i;

	keeper_close(control->keeper);
	control->keeper = NULL;
	for (i = 0; i < CONTROL_REGIONS; i++)
		free(control->regions[i].kept);
}

/* 0; -ENODEV: a node has no pool; or an error of the store. */
int
durable_nodes_check(struct tp_control *control, const uint16_t *nodes, uint32_t count)
{
	struct pool_record record;

	for (uint32_t i = 0; i < count; i++) {
		int ret = pool_read(control, nodes[i], &record, NULL);

		if (ret < 0)
			return ret == -ENOENT ? -ENODEV : ret;
	}
	return 0;
}

bool
durable_is_here(const struct tp_control *control, const struct tp_region *region)
{
	return region->durability != TP_DURABILITY_NONE &&
		tp_region_home_count(region, control->config.node_id) != 0;
}

/*
 * The region cannot be what it was created to be: its creator learns that when it looks
 * for it. That happens before anybody may think that this node has taken it up.
 */
static void
region_refuse(struct tp_control *control, struct control_region *entry)
{
	uint64_t change;
	int ret = tp_catalogue_region_destroy(control->catalogue, entry->id);

	if (ret == 0)
		ret = regions_change_announce(control, &change);
	if (ret < 0 && ret != -ENOENT)
		TP_NODE_LOG(ERR, "cannot destroy region %s, which has no room here: %s",
			entry->region->name, strerror(-ret));
	regions_reap_later(control, entry->id);
	entry->state = CONTROL_REGION_FAILED;
}

/*
 * Nothing of the region can have been persisted here: it is as it was created, and since
 * it was this node has not had pages of it. Else pages that are not in the pool are lost.
 */
static bool
region_is_new(const struct tp_control *control, const struct tp_region *region)
{
	if (region->created == TP_GENERATION_NONE)
		return true;	/* of a store from before that was kept */
	return region->created == region->generation &&
		tp_generation_counter(region->created) > control->pool_taken;
}

/* It has pages now: if they are not in the pool one day they are lost. */
static void
region_taken(struct tp_control *control, const struct tp_region *region)
{
	uint64_t counter = tp_generation_counter(region->created);
	int ret;

	if (counter <= control->pool_taken)
		return;
	control->pool_taken = counter;
	ret = pool_write(control);
	if (ret < 0)
		TP_NODE_LOG(ERR, "cannot say in the store that region %s has pages here: %s",
			region->name, strerror(-ret));
}

static void
region_stored(struct tp_control *control, struct control_region *entry, int error,
	struct keeper_region *kept, bool is_new)
{
	entry->kept = kept;
	entry->stored = true;
	entry->state = entry->failed ? CONTROL_REGION_REMOVE : CONTROL_REGION_ADD;
	if (error == 0) {
		region_taken(control, entry->region);
		return;
	}
	TP_NODE_LOG(ERR, "node %u has no pages of region %s in its pool: %s",
		control->config.node_id, entry->region->name, strerror(-error));
	/* One that was there before is not destroyed by this: its pages read VOID. */
	if (entry->fresh && is_new && !entry->failed)
		region_refuse(control, entry);
}

/* Ask the keeper for the region's pages. false: it has no room, try again. */
bool
durable_open(struct tp_control *control, struct control_region *entry)
{
	struct keeper_call call = {
		.type = KEEPER_OPEN,
		.create = region_is_new(control, entry->region),
		.region_id = entry->id,
		.region = entry->region,
	};

	if (control->keeper == NULL) {
		region_stored(control, entry, -ENODEV, NULL, call.create);
		return true;
	}
	if (!keeper_call(control->keeper, &call))
		return false;
	entry->state = CONTROL_REGION_STORING;
	return true;
}

/* The region goes, for good or to come again. false: the keeper has no room, try again. */
bool
durable_end(struct tp_control *control, struct control_region *entry)
{
	struct keeper_call call = {
		.type = entry->next == NULL ? KEEPER_REMOVE : KEEPER_CLOSE,
		.region_id = entry->id,
		.kept = entry->kept,
	};

	if (entry->kept == NULL)
		return true;
	if (!keeper_call(control->keeper, &call))
		return false;
	entry->kept = NULL;
	return true;
}

/* One stage of the turn: what the keeper answers. */
uint32_t
durable_poll(struct tp_control *control)
{
	struct keeper_call call;
	uint32_t work = 0;

	if (!control->config.pool_threaded)
		work += keeper_turn(control->keeper);
	while (keeper_answer(control->keeper, &call)) {
		struct control_region *entry = regions_find(control, call.region_id);

		work++;
		if (call.type != KEEPER_OPEN) {
			if (call.error != 0)
				TP_NODE_LOG(ERR, "the pool keeps a region that is gone: %s",
					strerror(-call.error));
			continue;
		}
		/* It waits for this in its state. */
		RTE_ASSERT(entry != NULL && entry->state == CONTROL_REGION_STORING);
		region_stored(control, entry, call.error, call.kept, call.create);
		control->regions_dirty = true;
	}
	return work;
}
