/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The table of active regions. The main lcore makes lists, every lcore reads
 * the one that is published. A list never changes; what a later one replaced is
 * kept until the owner says that nobody can be reading it.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <rte_branch_prediction.h>
#include <rte_errno.h>

#include "tp_region_table.h"

/* A region of the table, its extents behind it. */
struct region_item {
	struct tp_region region;
	struct region_item *retired_next;
	_Atomic uint16_t extents[];
};

struct region_list {
	uint64_t sequence;		/* unique: a cache tells lists apart by it */
	struct region_list *retired_next;
	uint32_t count;
	struct region_item **by_id;	/* shape [count] */
	struct region_item *by_base[];	/* shape [2 * count]: by_id is its second half */
};

struct tp_region_table {
	struct tp_catalogue *catalogue;
	_Atomic(struct region_list *) list;
	struct region_list *retired_lists;
	struct region_item *retired_items;
	struct tp_region *scratch;	/* shape [TP_CATALOGUE_REGIONS_MAX] */
	uint64_t sequence_last;
	uint64_t region_revision;	/* the list is this recent */
	uint64_t extent_revision;
};

static struct region_list *
region_list_create(struct tp_region_table *table, uint32_t count)
{
	struct region_list *list = calloc(1, sizeof(*list) +
		2 * (size_t)count * sizeof(list->by_base[0]));

	if (list == NULL)
		return NULL;
	list->sequence = ++table->sequence_last;
	list->count = count;
	list->by_id = list->by_base + count;
	return list;
}

static struct region_item *
region_item_create(const struct tp_region *region)
{
	struct region_item *item = malloc(sizeof(*item) +
		region->extent_count * sizeof(item->extents[0]));

	if (item == NULL)
		return NULL;
	item->region = *region;
	item->retired_next = NULL;
	item->region.extents = region->extent_count > 0 ? item->extents : NULL;
	for (uint32_t i = 0; i < region->extent_count; i++)
		atomic_init(&item->extents[i], TP_NODE_NONE);
	return item;
}

struct tp_region_table *
tp_region_table_create(struct tp_catalogue *catalogue)
{
	struct tp_region_table *table = calloc(1, sizeof(*table));
	struct region_list *list = NULL;

	if (table == NULL)
		goto no_memory;
	table->catalogue = catalogue;
	table->scratch = malloc(TP_CATALOGUE_REGIONS_MAX * sizeof(table->scratch[0]));
	list = region_list_create(table, 0);
	if (table->scratch == NULL || list == NULL)
		goto free_table;
	atomic_init(&table->list, list);
	return table;

free_table:
	free(list);
	free(table->scratch);
	free(table);
no_memory:
	rte_errno = ENOMEM;
	return NULL;
}

void
tp_region_table_reclaim(struct tp_region_table *table)
{
	while (table->retired_lists != NULL) {
		struct region_list *list = table->retired_lists;

		table->retired_lists = list->retired_next;
		free(list);
	}
	while (table->retired_items != NULL) {
		struct region_item *item = table->retired_items;

		table->retired_items = item->retired_next;
		free(item);
	}
}

/* The list as its only writer sees it. */
static struct region_list *
region_table_own_list(const struct tp_region_table *table)
{
	return atomic_load_explicit(&table->list, memory_order_relaxed);
}

void
tp_region_table_destroy(struct tp_region_table *table)
{
	struct region_list *list;

	if (table == NULL)
		return;
	tp_region_table_reclaim(table);
	list = region_table_own_list(table);
	for (uint32_t i = 0; i < list->count; i++)
		free(list->by_id[i]);
	free(list);
	free(table->scratch);
	free(table);
}

/* Place of the first region whose id is not below id. */
static uint32_t
region_list_place_id(const struct region_list *list, uint32_t id)
{
	uint32_t low = 0;
	uint32_t high = list->count;

	while (low < high) {
		uint32_t middle = (low + high) / 2;

		if (list->by_id[middle]->region.id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct region_item *
region_list_find_id(const struct region_list *list, uint32_t id)
{
	uint32_t place = region_list_place_id(list, id);

	if (place == list->count || list->by_id[place]->region.id != id)
		return NULL;
	return list->by_id[place];
}

static struct region_item *
region_list_find_address(const struct region_list *list, uint64_t address)
{
	uint32_t low = 0;
	uint32_t high = list->count;

	/* low ends as the number of regions that start at or before the address */
	while (low < high) {
		uint32_t middle = (low + high) / 2;

		if (list->by_base[middle]->region.base <= address)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0 || !tp_region_contains(&list->by_base[low - 1]->region, address))
		return NULL;
	return list->by_base[low - 1];
}

static int
region_item_compare_base(const void *a, const void *b)
{
	const struct region_item *const *left = a;
	const struct region_item *const *right = b;

	return (*left)->region.base < (*right)->region.base ? -1 :
		(*left)->region.base > (*right)->region.base;
}

/* Item of the old list that still holds for a region. */
static struct region_item *
region_item_kept(const struct region_list *before, const struct tp_region *region)
{
	struct region_item *item = region_list_find_id(before, region->id);

	return item != NULL && item->region.generation == region->generation ? item : NULL;
}

/* Throw a list away that was not published, with the items only it has. */
static void
region_list_drop(struct region_list *list, const struct region_list *before)
{
	for (uint32_t i = 0; i < list->count; i++)
		if (list->by_id[i] != NULL &&
				region_item_kept(before, &list->by_id[i]->region) == NULL)
			free(list->by_id[i]);
	free(list);
}

/* Make the list of count active regions in table->scratch, ascending by id. */
static struct region_list *
region_list_build(struct tp_region_table *table, uint32_t count)
{
	const struct region_list *before = region_table_own_list(table);
	struct region_list *list = region_list_create(table, count);

	if (list == NULL)
		return NULL;
	for (uint32_t i = 0; i < count; i++) {
		list->by_id[i] = region_item_kept(before, &table->scratch[i]);
		if (list->by_id[i] == NULL)
			list->by_id[i] = region_item_create(&table->scratch[i]);
		if (list->by_id[i] == NULL) {
			region_list_drop(list, before);
			return NULL;
		}
	}
	if (count > 0) {
		memcpy(list->by_base, list->by_id, count * sizeof(list->by_base[0]));
		qsort(list->by_base, count, sizeof(list->by_base[0]), region_item_compare_base);
	}
	return list;
}

/* Keep the active ones of scratch; their number. */
static uint32_t
region_scratch_filter(struct tp_region_table *table, uint32_t count)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < count; i++) {
		if (table->scratch[i].state != TP_REGION_ACTIVE)
			continue;
		if (kept != i)
			table->scratch[kept] = table->scratch[i];
		kept++;
	}
	return kept;
}

/* Read the placements of every first-touch region of a list. */
static int
region_list_read_extents(struct tp_region_table *table, const struct region_list *list)
{
	for (uint32_t i = 0; i < list->count; i++) {
		int ret;

		if (list->by_id[i]->region.extents == NULL)
			continue;
		ret = tp_catalogue_extents_read(table->catalogue, &list->by_id[i]->region);
		if (ret < 0)
			return ret;
	}
	return 0;
}

/* Retire what after lacks; report it, and what changed generation. */
static int
region_table_report_old(struct tp_region_table *table, const struct region_list *before,
	const struct region_list *after, const struct tp_region_table_ops *ops, void *ctx)
{
	int changes = 0;

	for (uint32_t i = 0; i < before->count; i++) {
		struct region_item *item = before->by_id[i];
		struct region_item *now = region_list_find_id(after, item->region.id);

		if (now == item)
			continue;
		changes++;
		item->retired_next = table->retired_items;
		table->retired_items = item;
		if (now == NULL && ops != NULL && ops->removed != NULL)
			ops->removed(ctx, &item->region);
		if (now != NULL && ops != NULL && ops->reset != NULL)
			ops->reset(ctx, &item->region, &now->region);
	}
	return changes;
}

static int
region_table_report_new(const struct region_list *before, const struct region_list *after,
	const struct tp_region_table_ops *ops, void *ctx)
{
	int changes = 0;

	for (uint32_t i = 0; i < after->count; i++) {
		const struct tp_region *region = &after->by_id[i]->region;

		if (region_list_find_id(before, region->id) != NULL)
			continue;
		changes++;
		if (ops != NULL && ops->added != NULL)
			ops->added(ctx, region);
	}
	return changes;
}

static int
region_table_publish(struct tp_region_table *table, struct region_list *after,
	const struct tp_region_table_ops *ops, void *ctx)
{
	struct region_list *before = region_table_own_list(table);
	int changes;

	/* pairs with the acquire in region_table_list() */
	atomic_store_explicit(&table->list, after, memory_order_release);
	before->retired_next = table->retired_lists;
	table->retired_lists = before;
	changes = region_table_report_old(table, before, after, ops, ctx);
	return changes + region_table_report_new(before, after, ops, ctx);
}

int
tp_region_table_refresh(struct tp_region_table *table, const struct tp_region_table_ops *ops,
	void *ctx)
{
	/* Read first: a change while the list is being read is found next time. */
	uint64_t region_revision = tp_catalogue_region_revision(table->catalogue);
	uint64_t extent_revision = tp_catalogue_extent_revision(table->catalogue);
	struct region_list *list = NULL;
	int ret;

	if (region_revision == table->region_revision && extent_revision == table->extent_revision)
		return 0;
	if (region_revision != table->region_revision) {
		ret = tp_catalogue_region_list(table->catalogue, table->scratch,
			TP_CATALOGUE_REGIONS_MAX);
		if (ret < 0)
			return ret;
		list = region_list_build(table, region_scratch_filter(table, (uint32_t)ret));
		if (list == NULL)
			return -ENOMEM;
	}
	ret = region_list_read_extents(table, list != NULL ? list : region_table_own_list(table));
	if (ret < 0) {
		if (list != NULL)
			region_list_drop(list, region_table_own_list(table));
		return ret;
	}
	table->region_revision = region_revision;
	table->extent_revision = extent_revision;
	return list != NULL ? region_table_publish(table, list, ops, ctx) : 0;
}

static const struct region_list *
region_table_list(const struct tp_region_table *table)
{
	/* pairs with the release in region_table_publish() */
	return atomic_load_explicit(&table->list, memory_order_acquire);
}

static const struct tp_region *
region_cache_fill(const struct region_list *list, const struct region_item *item,
	struct tp_region_cache *cache)
{
	if (item == NULL)
		return NULL;
	if (cache != NULL) {
		cache->sequence = list->sequence;
		cache->region = &item->region;
	}
	return &item->region;
}

const struct tp_region *
tp_region_table_find_address(const struct tp_region_table *table, uint64_t address,
	struct tp_region_cache *cache)
{
	const struct region_list *list = region_table_list(table);

	if (cache != NULL && likely(cache->sequence == list->sequence) &&
			tp_region_contains(cache->region, address))
		return cache->region;
	return region_cache_fill(list, region_list_find_address(list, address), cache);
}

const struct tp_region *
tp_region_table_find_id(const struct tp_region_table *table, uint32_t id,
	struct tp_region_cache *cache)
{
	const struct region_list *list = region_table_list(table);

	if (cache != NULL && likely(cache->sequence == list->sequence) && cache->region->id == id)
		return cache->region;
	return region_cache_fill(list, region_list_find_id(list, id), cache);
}

const struct tp_region *
tp_region_table_at(const struct tp_region_table *table, uint32_t index)
{
	const struct region_list *list = region_table_own_list(table);

	return index < list->count ? &list->by_base[index]->region : NULL;
}

uint32_t
tp_region_table_count(const struct tp_region_table *table)
{
	return region_table_list(table)->count;
}
