/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Encoding and parsing of the catalogue's records.
 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include <rte_common.h>

#include "record_priv.h"
#include "store_priv.h"
#include "tp_generation.h"

#define RECORD_VERSION 1
#define RECORD_MAGIC_CLUSTER UINT32_C(0x4c435054)	/* "TPCL" */
#define RECORD_MAGIC_NODE UINT32_C(0x444e5054)		/* "TPND" */
#define RECORD_MAGIC_REGIONS UINT32_C(0x47525054)	/* "TPRG" */
#define RECORD_MAGIC_EXTENTS UINT32_C(0x54585054)	/* "TPXT" */

static void
record_seal(struct record_head *head, uint32_t magic, size_t bytes)
{
	head->magic = rte_cpu_to_le_32(magic);
	head->version = rte_cpu_to_le_16(RECORD_VERSION);
	head->reserved = 0;
	head->bytes = rte_cpu_to_le_32((uint32_t)bytes);
	head->crc = 0;
	head->crc = rte_cpu_to_le_32(store_crc(0, head, bytes));
}

static bool
record_is_sealed(const void *data, size_t bytes, uint32_t magic, size_t bytes_min)
{
	struct record_head head;
	uint32_t crc;

	if (bytes < bytes_min || bytes < sizeof(head))
		return false;
	memcpy(&head, data, sizeof(head));
	if (head.magic != rte_cpu_to_le_32(magic) ||
			head.version != rte_cpu_to_le_16(RECORD_VERSION) || head.reserved != 0 ||
			head.bytes != rte_cpu_to_le_32((uint32_t)bytes))
		return false;
	crc = rte_le_to_cpu_32(head.crc);
	head.crc = 0;
	return store_crc(store_crc(0, &head, sizeof(head)),
		(const char *)data + sizeof(head), bytes - sizeof(head)) == crc;
}

static bool
record_is_zero(const uint8_t *data, size_t bytes)
{
	uint8_t any = 0;

	for (size_t i = 0; i < bytes; i++)
		any |= data[i];
	return any == 0;
}

void
record_cluster_encode(struct tp_address_split split, struct record_cluster *record)
{
	*record = (struct record_cluster){
		.node_bits = split.node_bits,
		.offset_bits = split.offset_bits,
	};
	record_seal(&record->head, RECORD_MAGIC_CLUSTER, sizeof(*record));
}

int
record_cluster_decode(const void *data, size_t bytes, struct tp_address_split *split)
{
	struct record_cluster record;
	struct tp_address_split read;

	if (bytes != sizeof(record) ||
			!record_is_sealed(data, bytes, RECORD_MAGIC_CLUSTER, sizeof(record)))
		return -EBADMSG;
	memcpy(&record, data, sizeof(record));
	read.node_bits = record.node_bits;
	read.offset_bits = record.offset_bits;
	if (!tp_address_split_is_valid(read) ||
			!record_is_zero(record.reserved, sizeof(record.reserved)))
		return -EBADMSG;
	*split = read;
	return 0;
}

void
record_node_encode(const struct tp_node_record *node, struct record_node *record)
{
	*record = (struct record_node){
		.id = rte_cpu_to_le_16(node->id),
		.state = node->state,
		.has_mac = node->has_mac,
		.epoch = rte_cpu_to_le_32(node->epoch),
		.ip = rte_cpu_to_le_32(node->ip),
		.udp_port = rte_cpu_to_le_16(node->udp_port),
		.worker_count = rte_cpu_to_le_16(node->worker_count),
		.lease_stamp = rte_cpu_to_le_64(node->lease_stamp),
		.lease_ns = rte_cpu_to_le_64(node->lease_ns),
	};
	memcpy(record->mac, node->mac, sizeof(record->mac));
	record_seal(&record->head, RECORD_MAGIC_NODE, sizeof(*record));
}

int
record_node_decode(const void *data, size_t bytes, struct tp_node_record *node)
{
	struct record_node record;

	if (bytes != sizeof(record) ||
			!record_is_sealed(data, bytes, RECORD_MAGIC_NODE, sizeof(record)))
		return -EBADMSG;
	memcpy(&record, data, sizeof(record));
	if (rte_le_to_cpu_16(record.id) >= TP_NODE_COUNT_MAX || record.state < TP_NODE_JOINING ||
			record.state > TP_NODE_LEFT || record.has_mac > 1 || record.epoch == 0 ||
			record.worker_count == 0 ||
			!record_is_zero(record.reserved, sizeof(record.reserved)))
		return -EBADMSG;
	*node = (struct tp_node_record){
		.id = rte_le_to_cpu_16(record.id),
		.state = record.state,
		.has_mac = record.has_mac,
		.epoch = rte_le_to_cpu_32(record.epoch),
		.ip = rte_le_to_cpu_32(record.ip),
		.udp_port = rte_le_to_cpu_16(record.udp_port),
		.worker_count = rte_le_to_cpu_16(record.worker_count),
		.lease_stamp = rte_le_to_cpu_64(record.lease_stamp),
		.lease_ns = rte_le_to_cpu_64(record.lease_ns),
	};
	memcpy(node->mac, record.mac, sizeof(node->mac));
	return 0;
}

bool
record_name_is_valid(const char *name)
{
	size_t i;

	if (name[0] == '.' || name[0] == '-')
		return false;
	for (i = 0; name[i] != '\0'; i++) {
		char c = name[i];

		if (i == TP_REGION_NAME_BYTES - 1)
			return false;
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
				c == '.' || c == '_' || c == '-'))
			return false;
	}
	return i > 0;
}

static bool
record_region_nodes_check(const struct tp_region *region, struct tp_address_split split)
{
	uint16_t count = region->node_count;

	switch (region->distribution) {
	case TP_REGION_HOME:
		if (count != 1)
			return false;
		break;
	case TP_REGION_STRIPED:
		if (count < 1 || count > TP_REGION_NODES_MAX)
			return false;
		break;
	case TP_REGION_FIRST_TOUCH:
		if (count != 0)
			return false;
		break;
	default:
		return false;
	}
	for (uint32_t i = 0; i < count; i++) {
		if (region->nodes[i] >= tp_address_node_count(split))
			return false;
		for (uint32_t j = 0; j < i; j++)
			if (region->nodes[j] == region->nodes[i])
				return false;
	}
	return true;
}

bool
record_region_check(struct tp_region *region, struct tp_address_split split)
{
	uint64_t page_bytes;
	uint64_t pages;

	if (region->page_shift < TP_PAGE_SHIFT_MIN || region->page_shift > TP_PAGE_SHIFT_MAX ||
			(region->mode != TP_REGION_RW && region->mode != TP_REGION_RO) ||
			(region->state != TP_REGION_ACTIVE && region->state != TP_REGION_DESTROYED))
		return false;
	/* Where a page of first touch was persisted would have to be placed for good. */
	if (region->durability > TP_DURABILITY_LOCAL ||
			(region->durability != TP_DURABILITY_NONE &&
			 region->distribution == TP_REGION_FIRST_TOUCH) ||
			tp_address_is_durable(region->base) !=
			(region->durability != TP_DURABILITY_NONE))
		return false;
	page_bytes = UINT64_C(1) << region->page_shift;
	pages = region->bytes / page_bytes;
	if (pages == 0 || pages > TP_REGION_PAGES_MAX || region->bytes % page_bytes != 0)
		return false;
	if (region->base % TP_CATALOGUE_RANGE_ALIGN != 0 ||
			tp_address_offset(split, region->base) < TP_CATALOGUE_RANGE_ALIGN ||
			!tp_address_range_is_valid(split, region->base, region->bytes) ||
			tp_address_node(split, region->base) != region->born_node)
		return false;
	if (!record_region_nodes_check(region, split))
		return false;
	region->page_count = (uint32_t)pages;
	region->extent_count = region->distribution != TP_REGION_FIRST_TOUCH ? 0 :
		tp_region_extent_of(region, (uint32_t)pages - 1) + 1;
	return true;
}

static void
record_region_encode(const struct tp_region *region, struct record_region *record)
{
	*record = (struct record_region){
		.id = rte_cpu_to_le_32(region->id),
		.state = region->state,
		.mode = region->mode,
		.distribution = region->distribution,
		.page_shift = region->page_shift,
		.base = rte_cpu_to_le_64(region->base),
		.bytes = rte_cpu_to_le_64(region->bytes),
		.generation = rte_cpu_to_le_64(region->generation),
		.created = rte_cpu_to_le_64(region->created),
		.born_node = rte_cpu_to_le_16(region->born_node),
		.node_count = rte_cpu_to_le_16(region->node_count),
		.extent_bank = rte_cpu_to_le_16(region->extent_bank),
		.durability = region->durability,
	};
	memcpy(record->name, region->name, strnlen(region->name, TP_REGION_NAME_BYTES - 1));
	for (uint32_t i = 0; i < region->node_count; i++)
		record->nodes[i] = rte_cpu_to_le_16(region->nodes[i]);
}

static bool
record_region_decode(const struct record_region *record, struct tp_address_split split,
	struct tp_region *region)
{
	uint16_t node_count = rte_le_to_cpu_16(record->node_count);

	if (node_count > TP_REGION_NODES_MAX || record->name[TP_REGION_NAME_BYTES - 1] != '\0' ||
			!record_name_is_valid(record->name) ||
			record->reserved != 0 ||
			!record_is_zero(record->reserved2, sizeof(record->reserved2)) ||
			rte_le_to_cpu_16(record->extent_bank) >= TP_CATALOGUE_REGIONS_MAX)
		return false;
	*region = (struct tp_region){
		.id = rte_le_to_cpu_32(record->id),
		.state = record->state,
		.mode = record->mode,
		.distribution = record->distribution,
		.page_shift = record->page_shift,
		.base = rte_le_to_cpu_64(record->base),
		.bytes = rte_le_to_cpu_64(record->bytes),
		.generation = rte_le_to_cpu_64(record->generation),
		.created = rte_le_to_cpu_64(record->created),
		.born_node = rte_le_to_cpu_16(record->born_node),
		.node_count = node_count,
		.extent_bank = rte_le_to_cpu_16(record->extent_bank),
		.durability = record->durability,
	};
	memcpy(region->name, record->name, sizeof(region->name));
	for (uint32_t i = 0; i < node_count; i++)
		region->nodes[i] = rte_le_to_cpu_16(record->nodes[i]);
	return tp_generation_is_valid(region->generation) &&
		tp_generation_counter(region->created) <=
		tp_generation_counter(region->generation) && record_region_check(region, split);
}

size_t
record_regions_encode(const struct region_set *set, struct record_regions *record)
{
	size_t bytes = sizeof(*record) + set->count * sizeof(record->regions[0]);

	record->id_last = rte_cpu_to_le_32(set->id_last);
	record->count = rte_cpu_to_le_32(set->count);
	record->generation_last = rte_cpu_to_le_64(set->generation_last);
	for (uint32_t i = 0; i < set->count; i++)
		record_region_encode(&set->regions[i], &record->regions[i]);
	record_seal(&record->head, RECORD_MAGIC_REGIONS, bytes);
	return bytes;
}

int
record_regions_decode(const void *data, size_t bytes, struct tp_address_split split,
	struct region_set *set)
{
	struct record_regions head;
	uint32_t id_before = 0;

	if (!record_is_sealed(data, bytes, RECORD_MAGIC_REGIONS, sizeof(head)))
		return -EBADMSG;
	memcpy(&head, data, sizeof(head));
	set->id_last = rte_le_to_cpu_32(head.id_last);
	set->count = rte_le_to_cpu_32(head.count);
	set->generation_last = rte_le_to_cpu_64(head.generation_last);
	if (set->count > TP_CATALOGUE_REGIONS_MAX || set->id_last > TP_REGION_ID_MAX ||
			set->generation_last > TP_GENERATION_COUNTER_MAX ||
			bytes != sizeof(head) + set->count * sizeof(struct record_region))
		return -EBADMSG;
	for (uint32_t i = 0; i < set->count; i++) {
		struct tp_region *region = &set->regions[i];
		struct record_region record;

		memcpy(&record, (const char *)data + sizeof(head) + i * sizeof(record),
			sizeof(record));
		if (!record_region_decode(&record, split, region) || region->id <= id_before ||
				region->id > set->id_last ||
				tp_generation_counter(region->generation) > set->generation_last)
			return -EBADMSG;
		id_before = region->id;
	}
	return 0;
}

void
record_extents_encode(const struct extent_chunk *chunk, struct record_extents *record)
{
	record->region_id = rte_cpu_to_le_32(chunk->region_id);
	record->chunk = rte_cpu_to_le_32(chunk->chunk);
	record->generation = rte_cpu_to_le_64(chunk->generation);
	for (uint32_t i = 0; i < RECORD_EXTENTS; i++)
		record->nodes[i] = rte_cpu_to_le_16(chunk->nodes[i]);
	record_seal(&record->head, RECORD_MAGIC_EXTENTS, sizeof(*record));
}

int
record_extents_decode(const void *data, size_t bytes, struct extent_chunk *chunk)
{
	struct record_extents record;

	if (bytes != sizeof(record) ||
			!record_is_sealed(data, bytes, RECORD_MAGIC_EXTENTS, sizeof(record)))
		return -EBADMSG;
	memcpy(&record, data, sizeof(record));
	chunk->region_id = rte_le_to_cpu_32(record.region_id);
	chunk->chunk = rte_le_to_cpu_32(record.chunk);
	chunk->generation = rte_le_to_cpu_64(record.generation);
	if (!tp_generation_is_valid(chunk->generation))
		return -EBADMSG;
	for (uint32_t i = 0; i < RECORD_EXTENTS; i++) {
		chunk->nodes[i] = rte_le_to_cpu_16(record.nodes[i]);
		if (chunk->nodes[i] >= TP_NODE_COUNT_MAX && chunk->nodes[i] != TP_NODE_NONE)
			return -EBADMSG;
	}
	return 0;
}
