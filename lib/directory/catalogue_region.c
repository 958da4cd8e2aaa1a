/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Regions in the catalogue. All are in one record, so that a name, an id, a
 * range of addresses and a generation are taken or freed by one change: there
 * is no half-made region for a crash to leave.
 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include <rte_common.h>

#include "catalogue_priv.h"
#include "tp_generation.h"

#define REGION_KEY "region/all"

static int
region_set_read(struct tp_catalogue *catalogue)
{
	size_t bytes;
	int ret;

	ret = tp_store_get(catalogue->store, REGION_KEY, catalogue->record,
		RECORD_REGIONS_BYTES_MAX, &bytes, &catalogue->set_version);
	if (ret == -ENOENT) {
		catalogue->set->id_last = 0;
		catalogue->set->count = 0;
		catalogue->set->generation_last = 0;
		catalogue->set_version = 0;
		return 0;
	}
	if (ret == -EMSGSIZE)
		return -EBADMSG;
	if (ret < 0)
		return ret;
	return record_regions_decode(catalogue->record, bytes, catalogue->split, catalogue->set);
}

static int
region_set_write(struct tp_catalogue *catalogue)
{
	size_t bytes = record_regions_encode(catalogue->set, catalogue->record);

	return tp_store_cas(catalogue->store, REGION_KEY, catalogue->set_version,
		catalogue->record, bytes, NULL);
}

/* What a change makes of the set: 0 or -errno. */
typedef int (*region_change_fn)(struct tp_catalogue *catalogue, void *arg);

static int
region_set_change(struct tp_catalogue *catalogue, region_change_fn change, void *arg)
{
	int ret;

	for (int i = 0; i < CATALOGUE_TRIES; i++) {
		ret = region_set_read(catalogue);
		if (ret < 0)
			return ret;
		ret = change(catalogue, arg);
		if (ret < 0)
			return ret;
		ret = region_set_write(catalogue);
		if (ret != -EAGAIN)
			return ret;
	}
	return -EBUSY;
}

static struct tp_region *
region_by_name(struct region_set *set, const char *name)
{
	for (uint32_t i = 0; i < set->count; i++)
		if (set->regions[i].state == TP_REGION_ACTIVE &&
				strcmp(set->regions[i].name, name) == 0)
			return &set->regions[i];
	return NULL;
}

static struct tp_region *
region_by_id(struct region_set *set, uint32_t id)
{
	for (uint32_t i = 0; i < set->count; i++)
		if (set->regions[i].id == id)
			return &set->regions[i];
	return NULL;
}

/* Bytes of address space that a region takes. */
static uint64_t
region_range_bytes(uint64_t bytes)
{
	return RTE_ALIGN_CEIL(bytes, TP_CATALOGUE_RANGE_ALIGN);
}

/* A region of the node that overlaps [offset, offset + bytes) of one of its spaces. */
static const struct tp_region *
region_overlapping(const struct region_set *set, struct tp_address_split split, uint16_t node,
	bool durable, uint64_t offset, uint64_t bytes)
{
	for (uint32_t i = 0; i < set->count; i++) {
		const struct tp_region *region = &set->regions[i];
		uint64_t start = tp_address_offset(split, region->base);

		if (region->born_node == node && tp_address_is_durable(region->base) == durable &&
				start < offset + bytes &&
				offset < start + region_range_bytes(region->bytes))
			return region;
	}
	return NULL;
}

/* First fit in the node's space for such regions. */
static int
region_range_find(const struct region_set *set, struct tp_address_split split, uint16_t node,
	bool durable, uint64_t bytes, uint64_t *base)
{
	uint64_t space = tp_address_space_bytes(split);
	uint64_t need = region_range_bytes(bytes);
	uint64_t offset = TP_CATALOGUE_RANGE_ALIGN;

	while (need <= space && offset <= space - need) {
		const struct tp_region *other = region_overlapping(set, split, node, durable,
			offset, need);

		if (other == NULL) {
			*base = durable ? tp_address_pack_durable(split, node, offset) :
				tp_address_pack(split, node, offset);
			return 0;
		}
		offset = tp_address_offset(split, other->base) + region_range_bytes(other->bytes);
	}
	return -ENOSPC;
}

/* A bank of extent records that no region has. */
static uint16_t
region_bank_find(const struct region_set *set)
{
	for (uint16_t bank = 0;; bank++) {
		uint32_t i;

		for (i = 0; i < set->count; i++)
			if (set->regions[i].distribution == TP_REGION_FIRST_TOUCH &&
					set->regions[i].extent_bank == bank)
				break;
		if (i == set->count)
			return bank;
	}
}

/* The next generation of the cluster, as one of the node's. */
static int
region_generation_take(struct region_set *set, uint16_t node, uint64_t *generation)
{
	if (set->generation_last >= TP_GENERATION_COUNTER_MAX)
		return -EOVERFLOW;
	*generation = tp_generation_pack(node, ++set->generation_last);
	return 0;
}

/* What the specification says by itself. */
static int
region_from_spec(const struct tp_region_spec *spec, struct tp_address_split split,
	struct tp_region *region)
{
	uint64_t page_bytes;

	if (spec->name == NULL || !record_name_is_valid(spec->name) ||
			spec->page_shift < TP_PAGE_SHIFT_MIN ||
			spec->page_shift > TP_PAGE_SHIFT_MAX ||
			spec->bytes == 0 || spec->bytes > TP_ADDRESS_MASK ||
			spec->node_count > TP_REGION_NODES_MAX ||
			(spec->node_count > 0 && spec->nodes == NULL) ||
			spec->born_node >= tp_address_node_count(split))
		return -EINVAL;
	page_bytes = UINT64_C(1) << spec->page_shift;
	*region = (struct tp_region){
		.state = TP_REGION_ACTIVE,
		.mode = spec->mode,
		.distribution = spec->distribution,
		.durability = spec->durability,
		.page_shift = spec->page_shift,
		.bytes = RTE_ALIGN_CEIL(spec->bytes, page_bytes),
		.born_node = spec->born_node,
		.node_count = spec->node_count,
	};
	memcpy(region->name, spec->name, strlen(spec->name) + 1);
	for (uint32_t i = 0; i < spec->node_count; i++)
		region->nodes[i] = spec->nodes[i];
	return 0;
}

/* The one that is to be there, its addresses given or 0. */
static int
region_range_take(const struct tp_catalogue *catalogue, struct tp_region *region)
{
	bool durable = region->durability != TP_DURABILITY_NONE;

	if (region->base == TP_ADDRESS_NONE)
		return region_range_find(catalogue->set, catalogue->split, region->born_node,
			durable, region->bytes, &region->base);
	return region_overlapping(catalogue->set, catalogue->split, region->born_node, durable,
		tp_address_offset(catalogue->split, region->base), region->bytes) == NULL ?
		0 : -EEXIST;
}

static int
region_insert(struct tp_catalogue *catalogue, struct tp_region *region)
{
	struct region_set *set = catalogue->set;
	int ret;

	if (region_by_name(set, region->name) != NULL)
		return -EEXIST;
	if (set->count == TP_CATALOGUE_REGIONS_MAX)
		return -ENOSPC;
	if (set->id_last == TP_REGION_ID_MAX)
		return -EOVERFLOW;
	ret = region_range_take(catalogue, region);
	if (ret < 0)
		return ret;
	if (!record_region_check(region, catalogue->split))
		return -EINVAL;
	ret = region_generation_take(set, region->born_node, &region->generation);
	if (ret < 0)
		return ret;
	if (region->created == TP_GENERATION_NONE)
		region->created = region->generation;
	region->extent_bank = region->distribution == TP_REGION_FIRST_TOUCH ?
		region_bank_find(set) : 0;
	region->id = ++set->id_last;
	set->regions[set->count++] = *region;
	return 0;
}

static int
region_change_create(struct tp_catalogue *catalogue, void *arg)
{
	struct tp_region *region = arg;

	/* It may be tried again. */
	region->base = TP_ADDRESS_NONE;
	region->created = TP_GENERATION_NONE;
	return region_insert(catalogue, region);
}

int
tp_catalogue_region_create(struct tp_catalogue *catalogue, const struct tp_region_spec *spec,
	struct tp_region *region)
{
	struct tp_region made;
	int ret;

	ret = region_from_spec(spec, catalogue->split, &made);
	if (ret < 0)
		return ret;
	ret = region_set_change(catalogue, region_change_create, &made);
	if (ret == 0)
		*region = made;
	return ret;
}

static int
region_change_restore(struct tp_catalogue *catalogue, void *arg)
{
	struct region_set *set = catalogue->set;
	struct tp_region *region = arg;
	uint64_t counter = RTE_MAX(tp_generation_counter(region->generation),
		tp_generation_counter(region->created));

	set->generation_last = RTE_MAX(set->generation_last, counter);
	return region_insert(catalogue, region);
}

int
tp_catalogue_region_restore(struct tp_catalogue *catalogue, const struct tp_region *before,
	struct tp_region *region)
{
	struct tp_region made = *before;
	struct tp_region tried;
	int ret;

	if (!record_name_is_valid(before->name) ||
			before->born_node >= tp_address_node_count(catalogue->split) ||
			before->node_count > TP_REGION_NODES_MAX ||
			tp_generation_counter(before->generation) > TP_GENERATION_COUNTER_MAX)
		return -EINVAL;
	made.state = TP_REGION_ACTIVE;
	tried = made;
	if (!record_region_check(&tried, catalogue->split))
		return -EINVAL;
	ret = region_set_change(catalogue, region_change_restore, &made);
	if (ret == 0)
		*region = made;
	return ret;
}

int
tp_catalogue_region_open(struct tp_catalogue *catalogue, const char *name,
	struct tp_region *region)
{
	const struct tp_region *found;
	int ret;

	if (!record_name_is_valid(name))
		return -EINVAL;
	ret = region_set_read(catalogue);
	if (ret < 0)
		return ret;
	found = region_by_name(catalogue->set, name);
	if (found == NULL)
		return -ENOENT;
	*region = *found;
	return 0;
}

int
tp_catalogue_region_find(struct tp_catalogue *catalogue, uint64_t address,
	struct tp_region *region)
{
	int ret = region_set_read(catalogue);

	if (ret < 0)
		return ret;
	for (uint32_t i = 0; i < catalogue->set->count; i++) {
		const struct tp_region *found = &catalogue->set->regions[i];

		if (found->state == TP_REGION_ACTIVE && tp_region_contains(found, address)) {
			*region = *found;
			return 0;
		}
	}
	return -ENOENT;
}

int
tp_catalogue_region_list(struct tp_catalogue *catalogue, struct tp_region *regions,
	uint32_t capacity)
{
	int ret = region_set_read(catalogue);
	uint32_t count;

	if (ret < 0)
		return ret;
	count = RTE_MIN(capacity, catalogue->set->count);
	if (count > 0)
		memcpy(regions, catalogue->set->regions, count * sizeof(regions[0]));
	return (int)catalogue->set->count;
}

static int
region_change_destroy(struct tp_catalogue *catalogue, void *arg)
{
	struct tp_region *region = region_by_id(catalogue->set, *(const uint32_t *)arg);

	if (region == NULL || region->state != TP_REGION_ACTIVE)
		return -ENOENT;
	region->state = TP_REGION_DESTROYED;
	return 0;
}

int
tp_catalogue_region_destroy(struct tp_catalogue *catalogue, uint32_t id)
{
	return region_set_change(catalogue, region_change_destroy, &id);
}

static int
region_change_reap(struct tp_catalogue *catalogue, void *arg)
{
	struct region_set *set = catalogue->set;
	struct tp_region *region = region_by_id(set, *(const uint32_t *)arg);
	size_t after;

	if (region == NULL)
		return -ENOENT;
	if (region->state == TP_REGION_ACTIVE)
		return -EBUSY;
	after = (size_t)(&set->regions[set->count] - (region + 1));
	memmove(region, region + 1, after * sizeof(*region));
	set->count--;
	return 0;
}

int
tp_catalogue_region_reap(struct tp_catalogue *catalogue, uint32_t id)
{
	return region_set_change(catalogue, region_change_reap, &id);
}

struct region_reset {
	uint32_t id;
	uint64_t generation;
};

static int
region_change_reset(struct tp_catalogue *catalogue, void *arg)
{
	struct region_reset *reset = arg;
	struct tp_region *region = region_by_id(catalogue->set, reset->id);
	int ret;

	if (region == NULL || region->state != TP_REGION_ACTIVE)
		return -ENOENT;
	ret = region_generation_take(catalogue->set, region->born_node, &reset->generation);
	if (ret < 0)
		return ret;
	region->generation = reset->generation;
	return 0;
}

int
tp_catalogue_region_reset(struct tp_catalogue *catalogue, uint32_t id, uint64_t *generation_new)
{
	struct region_reset reset = { .id = id };
	int ret = region_set_change(catalogue, region_change_reset, &reset);

	if (ret == 0 && generation_new != NULL)
		*generation_new = reset.generation;
	return ret;
}
