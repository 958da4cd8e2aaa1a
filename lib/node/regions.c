/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Following the catalogue of regions. Owner: main lcore.
 *
 * How it works. Whoever creates, destroys or resets a region adds one to the
 * counter `change/counter` in the store. Every node reads the counter, then the
 * catalogue, tells its workers, and once they have all answered writes the
 * counter it had read to `seen/<node>`. So a change that counted to c is known
 * to a node that has seen c, and the call that made it returns when that holds
 * for every member. The same record says in which epoch the process began, which
 * tells a node that came back from one that was restarted and lost its memory.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "control_priv.h"

#define SEEN_MAGIC 0x4e534554u	/* "TESN" */
#define SEEN_VERSION 1u
#define REGIONS_REPEAT_MAX 1000

/* `seen/<node>`; little-endian. */
struct seen_record {
	rte_le32_t magic;
	rte_le32_t version;
	rte_le32_t epoch;
	rte_le32_t boot;	/* epoch in which this process began */
	rte_le64_t seen;
};
static_assert(sizeof(struct seen_record) == 24, "stored");

static void
seen_key(char key[32], uint16_t node)
{
	snprintf(key, 32, "seen/%u", node);
}

/* What another node has written; 0, or an error of the store. */
int
regions_seen_read(struct tp_control *control, uint16_t node, uint32_t *epoch_out,
	uint32_t *boot_out, uint64_t *seen_out)
{
	struct seen_record record;
	size_t bytes;
	char key[32];
	int ret;

	seen_key(key, node);
	ret = tp_store_get(control->config.store, key, &record, sizeof(record), &bytes, NULL);
	if (ret < 0)
		return ret;
	if (bytes != sizeof(record) || rte_le_to_cpu_32(record.magic) != SEEN_MAGIC ||
	    rte_le_to_cpu_32(record.version) != SEEN_VERSION)
		return -EBADMSG;
	*epoch_out = rte_le_to_cpu_32(record.epoch);
	*boot_out = rte_le_to_cpu_32(record.boot);
	*seen_out = rte_le_to_cpu_64(record.seen);
	return 0;
}

/* Nobody else writes our record, but an earlier process of this node may have. */
int
regions_seen_write(struct tp_control *control)
{
	struct seen_record record = {
		.magic = rte_cpu_to_le_32(SEEN_MAGIC),
		.version = rte_cpu_to_le_32(SEEN_VERSION),
		.epoch = rte_cpu_to_le_32(control->epoch),
		.boot = rte_cpu_to_le_32(control->boot),
		.seen = rte_cpu_to_le_64(control->seen),
	};
	struct seen_record old;
	uint64_t version;
	char key[32];
	int ret;
	int i;

	seen_key(key, control->config.node_id);
	for (i = 0; i < REGIONS_REPEAT_MAX; i++) {
		ret = tp_store_get(control->config.store, key, &old, sizeof(old), NULL, &version);
		if (ret == -ENOENT)
			version = 0;
		else if (ret < 0)
			return ret;
		ret = tp_store_cas(control->config.store, key, version, &record, sizeof(record),
			NULL);
		if (ret != -EAGAIN)
			break;
	}
	if (ret == 0)
		control->seen_written = control->seen;
	return ret;
}

static int
change_read(struct tp_control *control, uint64_t *change_out, uint64_t *version_out)
{
	rte_le64_t value = 0;
	size_t bytes;
	int ret = tp_store_get(control->config.store, "change/counter", &value, sizeof(value),
		&bytes, version_out);

	if (ret == -ENOENT) {
		*change_out = 0;
		*version_out = 0;
		return 0;
	}
	if (ret == 0 && bytes != sizeof(value))
		return -EBADMSG;
	*change_out = rte_le_to_cpu_64(value);
	return ret;
}

/* A change of the catalogue was made: number it. */
int
regions_change_announce(struct tp_control *control, uint64_t *change_out)
{
	uint64_t version;
	uint64_t change;
	int ret;
	int i;

	for (i = 0; i < REGIONS_REPEAT_MAX; i++) {
		rte_le64_t value;

		ret = change_read(control, &change, &version);
		if (ret < 0)
			return ret;
		value = rte_cpu_to_le_64(change + 1);
		ret = tp_store_cas(control->config.store, "change/counter", version, &value,
			sizeof(value), NULL);
		if (ret != -EAGAIN)
			break;
	}
	if (ret == 0)
		*change_out = change + 1;
	return ret;
}

/* Do all members know the change? One that does not even renew is to be fenced. */
bool
regions_all_seen(struct tp_control *control, uint64_t change)
{
	uint64_t silent = 2 * control->config.lease_ns + control->config.fence_margin_ns;
	uint64_t revision = tp_store_revision(control->config.store, "seen");
	bool changed = revision != control->seen_revision;
	bool all = control->seen_written != UINT64_MAX && control->seen_written >= change;
	uint32_t id;

	for (id = 0; id <= control->config.node_id_max; id++) {
		struct control_node *node = &control->nodes[id];
		uint32_t epoch;
		uint32_t boot;
		uint64_t seen;

		if (node->record.state != TP_NODE_MEMBER || id == control->config.node_id)
			continue;
		if (changed && regions_seen_read(control, (uint16_t)id, &epoch, &boot, &seen) == 0)
			node->seen = seen;
		if (node->seen >= change)
			continue;
		all = false;
		if (control->now - node->renewed_at > silent + node->record.lease_ns)
			membership_fence_wanted(control, (uint16_t)id, 0);
	}
	control->seen_revision = revision;
	return all;
}

struct control_region *
regions_find(struct tp_control *control, uint32_t id)
{
	uint32_t i;

	for (i = 0; i < CONTROL_REGIONS; i++)
		if (id != 0 && control->regions[i].id == id)
			return &control->regions[i];
	return NULL;
}

static void
table_added(void *ctx, const struct tp_region *region)
{
	struct tp_control *control = ctx;
	uint32_t i;

	for (i = 0; i < CONTROL_REGIONS && control->regions[i].id != 0; i++)
		;
	if (i == CONTROL_REGIONS) {
		TP_NODE_LOG(ERR, "no room for region %s", region->name);
		return;
	}
	control->regions[i] = (struct control_region){
		.id = region->id,
		.state = CONTROL_REGION_ADD,
		.region = region,
		.home_lost = control->starting,
		.fresh = !control->starting,
		.creator = -1,
		.directory_slot = -1,
	};
	control->regions_dirty = true;
}

static void
table_removed(void *ctx, const struct tp_region *region)
{
	struct tp_control *control = ctx;
	struct control_region *entry = regions_find(control, region->id);

	if (entry == NULL)
		return;
	entry->next = NULL;
	/* Taken away again as soon as the workers, or the keeper, have answered. */
	if (entry->state == CONTROL_REGION_ADDING || entry->state == CONTROL_REGION_STORING)
		entry->failed = true;
	else if (entry->state != CONTROL_REGION_REMOVING)
		entry->state = CONTROL_REGION_REMOVE;
	control->regions_dirty = true;
	control->regions_retired++;
}

static void
table_reset(void *ctx, const struct tp_region *before, const struct tp_region *after)
{
	struct control_region *entry;

	table_removed(ctx, before);
	entry = regions_find(ctx, after->id);
	if (entry != NULL)
		entry->next = after;
}

static const struct tp_region_table_ops table_ops = {
	.added = table_added,
	.removed = table_removed,
	.reset = table_reset,
};

static int
region_memory_take(struct tp_control *control, struct control_region *entry)
{
	const struct tp_region *region = entry->region;
	struct tp_segment_config config = {
		.type = TP_SEGMENT_SHARED,
		.sparse = true,
		.bytes = (size_t)region->page_count * sizeof(uint64_t),
		.name = "telepage-words",
	};
	uint32_t homed = tp_region_home_count(region, control->config.node_id);
	int ret;

	if (1u << region->page_shift > control->config.page_bytes)
		return -ENOTSUP;
	ret = tp_segment_create(&config, &entry->words);
	if (ret < 0)
		return ret;
	if (homed == 0)
		return 0;
	ret = tp_directory_region_add(control->directory, region->id, region->generation, homed);
	if (ret < 0)
		return ret;
	entry->directory_slot = ret;
	return 0;
}

static void
region_memory_return(struct tp_control *control, struct control_region *entry)
{
	if (entry->directory_slot >= 0)
		tp_directory_region_remove(control->directory, entry->id);
	entry->directory_slot = -1;
	tp_segment_destroy(entry->words);
	entry->words = NULL;
}

static void
region_add(struct tp_control *control, struct control_region *entry)
{
	struct worker_command command = {
		.type = WORKER_REGION_ADD,
		.region = entry->region,
		.client = entry->creator,
		.home_lost = entry->home_lost,
	};
	int ret = region_memory_take(control, entry);

	if (ret < 0) {
		TP_NODE_LOG(ERR, "node %u cannot use region %s: %s", control->config.node_id,
			entry->region->name, strerror(-ret));
		region_memory_return(control, entry);
		entry->state = CONTROL_REGION_FAILED;
		return;
	}
	command.words = tp_segment_base(entry->words);
	command.kept = entry->kept;
	command.directory_slot = entry->directory_slot < 0 ? UINT32_MAX :
		(uint32_t)entry->directory_slot;
	entry->acks = control->config.worker_count;
	entry->state = CONTROL_REGION_ADDING;
	control->stats.regions_added++;
	control_command_all(control, &command);
}

static void
region_gone(struct tp_control *control, struct control_region *entry)
{
	const struct tp_region *next = entry->next;
	int16_t creator = entry->creator;

	if (!durable_end(control, entry))
		return;
	region_memory_return(control, entry);
	control->stats.regions_removed++;
	if (next == NULL) {
		*entry = (struct control_region){ .id = 0 };
		return;
	}
	*entry = (struct control_region){
		.id = next->id,
		.state = CONTROL_REGION_ADD,
		.region = next,
		.creator = creator,
		.directory_slot = -1,
	};
}

static void
region_remove(struct tp_control *control, struct control_region *entry)
{
	struct worker_command command = {
		.type = WORKER_REGION_REMOVE,
		.region_id = entry->id,
	};

	entry->acks = control->config.worker_count;
	entry->state = CONTROL_REGION_REMOVING;
	control_command_all(control, &command);
}

/* Go on with one entry; true once it is at rest. */
static bool
region_run(struct tp_control *control, struct control_region *entry)
{
	bool room = control_command_room(control);

	switch ((enum control_region_state)entry->state) {
	case CONTROL_REGION_FREE:
	case CONTROL_REGION_READY:
	case CONTROL_REGION_FAILED:
		return true;
	case CONTROL_REGION_ADD:
		if (!entry->stored && durable_is_here(control, entry->region))
			durable_open(control, entry);
		else if (room)
			region_add(control, entry);
		return entry->state == CONTROL_REGION_FAILED;
	case CONTROL_REGION_STORING:
		return false;
	case CONTROL_REGION_ADDING:
		if (entry->acks != 0)
			return false;
		entry->state = entry->failed ? CONTROL_REGION_REMOVE : CONTROL_REGION_READY;
		return !entry->failed;
	case CONTROL_REGION_REMOVE:
		if (entry->words == NULL)
			region_gone(control, entry);
		else if (room)
			region_remove(control, entry);
		return entry->state == CONTROL_REGION_FREE;
	case CONTROL_REGION_REMOVING:
		if (entry->acks == 0)
			region_gone(control, entry);
		return entry->state == CONTROL_REGION_FREE;
	}
	return true;
}

static bool
regions_run(struct tp_control *control)
{
	bool settled = true;
	uint32_t i;

	for (i = 0; i < CONTROL_REGIONS; i++)
		if (control->regions[i].state != CONTROL_REGION_FREE &&
		    !region_run(control, &control->regions[i]))
			settled = false;
	control->regions_dirty = !settled;
	if (settled && control->regions_retired != 0) {
		/* No worker holds a replaced struct any more. */
		tp_region_table_reclaim(control->table);
		control->regions_retired = 0;
	}
	return settled;
}

void
regions_added_ack(struct tp_control *control, uint32_t id, int error)
{
	struct control_region *entry = regions_find(control, id);

	if (entry == NULL || entry->acks == 0)
		return;
	entry->acks--;
	if (error != 0) {
		TP_NODE_LOG(ERR, "a worker cannot use region %s: %s", entry->region->name,
			strerror(error));
		entry->failed = true;
	}
}

void
regions_removed_ack(struct tp_control *control, uint32_t id)
{
	struct control_region *entry = regions_find(control, id);

	if (entry != NULL && entry->acks > 0)
		entry->acks--;
}

/* The extent has no home yet: it is to be here. */
void
regions_place(struct tp_control *control, uint32_t id, uint32_t extent)
{
	struct control_region *entry = regions_find(control, id);
	uint16_t winner;
	int ret;

	if (entry == NULL || entry->state != CONTROL_REGION_READY ||
	    extent >= entry->region->extent_count || !membership_may_serve(control))
		return;
	if (atomic_load_explicit(&entry->region->extents[extent], memory_order_relaxed) !=
	    TP_NODE_NONE)
		return;
	ret = tp_catalogue_extent_place(control->catalogue, entry->region, extent,
		control->config.node_id, &winner);
	if (ret < 0 && control->stats.store_errors++ % 1000 == 0)
		TP_NODE_LOG(ERR, "cannot place an extent of region %s: %s", entry->region->name,
			strerror(-ret));
}

void
regions_reap_later(struct tp_control *control, uint32_t id)
{
	uint32_t i;

	for (i = 0; i < CONTROL_REAPS; i++) {
		if (control->reaps[i].id != 0)
			continue;
		control->reaps[i].id = id;
		control->reaps[i].at = control->now + control->config.lease_ns +
			control->config.fence_margin_ns;
		return;
	}
}

static void
regions_reap_run(struct tp_control *control)
{
	uint32_t i;

	for (i = 0; i < CONTROL_REAPS; i++) {
		struct control_reap *reap = &control->reaps[i];

		if (reap->id == 0 || control->now < reap->at)
			continue;
		/* Whatever it says, another node or a later start does it if this fails. */
		tp_catalogue_region_reap(control->catalogue, reap->id);
		reap->id = 0;
	}
}

void
regions_creator_forget(struct tp_control *control, int client)
{
	uint32_t i;

	for (i = 0; i < CONTROL_REGIONS; i++)
		if (control->regions[i].creator == client)
			control->regions[i].creator = -1;
}

bool
regions_is_ready(struct tp_control *control, uint64_t change)
{
	return !control->regions_dirty && control->seen >= change;
}

static int
regions_refresh(struct tp_control *control)
{
	uint64_t version;
	uint64_t revision = tp_store_revision(control->config.store, "change");
	uint64_t change = control->change;
	int ret = 0;

	/* The counter first: what it counts is in the catalogue by then. */
	if (revision != control->change_revision)
		ret = change_read(control, &change, &version);
	if (ret < 0)
		return ret;
	ret = tp_region_table_refresh(control->table, &table_ops, control);
	if (ret < 0)
		return ret;
	control->change_revision = revision;
	control->change = change;
	return ret;
}

/* One stage of the turn. */
uint32_t
regions_poll(struct tp_control *control)
{
	uint32_t work;
	int ret;

	if (control->now < control->retry_at)
		return 0;
	ret = regions_refresh(control);
	if (ret < 0) {
		if (control->stats.store_errors++ % 1000 == 0)
			TP_NODE_LOG(ERR, "cannot read the catalogue: %s", strerror(-ret));
		return 0;
	}
	work = (uint32_t)ret;
	if (control->regions_dirty) {
		work++;
		if (!regions_run(control))
			return work;
	}
	control->seen = control->change;
	if (control->state == TP_CONTROL_MEMBER && control->seen_written != control->seen) {
		regions_seen_write(control);
		work++;
	}
	regions_reap_run(control);
	return work;
}

/* The first look: what is there already lost the pages that were homed here. */
int
regions_start(struct tp_control *control)
{
	int count;
	int ret;
	int i;
	struct tp_region *all;

	control->table = tp_region_table_create(control->catalogue);
	if (control->table == NULL)
		return -ENOMEM;
	control->starting = true;
	ret = regions_refresh(control);
	control->starting = false;
	if (ret < 0)
		return ret;
	all = calloc(TP_CATALOGUE_REGIONS_MAX, sizeof(*all));
	if (all == NULL)
		return -ENOMEM;
	count = tp_catalogue_region_list(control->catalogue, all, TP_CATALOGUE_REGIONS_MAX);
	for (i = 0; i < count && i < TP_CATALOGUE_REGIONS_MAX; i++)
		if (all[i].state == TP_REGION_DESTROYED)
			regions_reap_later(control, all[i].id);
	free(all);
	return count < 0 ? count : 0;
}

void
regions_stop(struct tp_control *control)
{
	uint32_t i;

	for (i = 0; i < CONTROL_REGIONS; i++)
		tp_segment_destroy(control->regions[i].words);
	tp_region_table_destroy(control->table);
}
