/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Durable regions in the pool of a node: docs/pmem.md, "The pool of a node".
 *
 * Each change is one transaction: a region is there with an entry for each page or not
 * at all, and a page is as it was before it was stored or as it was after that.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "keeper_region.h"

#define REGIONS_ROOT "telepage.regions"

static rte_be64_t
key_of(uint64_t base)
{
	return rte_cpu_to_be_64(base);
}

static int
tree_create(struct tp_pmem_pool *pool)
{
	struct tp_pmem_tx *tx;
	uint64_t offset;
	int ret = tp_pmem_tx_begin(pool, &tx);

	if (ret < 0)
		return ret;
	ret = tp_pmem_btree_create(tx, &offset);
	if (ret == 0)
		ret = tp_pmem_tx_root_set(tx, REGIONS_ROOT, offset);
	if (ret == 0)
		return tp_pmem_tx_commit(tx, 0);
	tp_pmem_tx_abort(tx);
	return ret;
}

int
keeper_pool_init(struct keeper_pool *pool)
{
	int ret = 0;

	if (tp_pmem_root_get(pool->pool, REGIONS_ROOT) == 0)
		ret = tree_create(pool->pool);
	if (ret < 0)
		return ret;
	return tp_pmem_btree_open(pool->pool, tp_pmem_root_get(pool->pool, REGIONS_ROOT),
		&pool->regions);
}

static int
record_get(struct keeper_pool *pool, uint64_t base, struct keeper_record *record)
{
	rte_be64_t key = key_of(base);
	int64_t bytes = tp_pmem_btree_get(pool->regions, NULL, &key, sizeof(key), record,
		sizeof(*record));

	if (bytes < 0)
		return (int)bytes;
	return bytes != (int64_t)sizeof(*record) ||
		rte_le_to_cpu_32(record->version) != KEEPER_RECORD_VERSION ? -EBADMSG : 0;
}

static uint32_t
entry_crc(uint64_t base, uint32_t page_bytes, uint32_t index, const struct keeper_entry *entry,
	const void *contents)
{
	rte_le64_t address = rte_cpu_to_le_64(base + (uint64_t)index * page_bytes);
	uint32_t crc = tp_pmem_crc(0, &address, sizeof(address));

	crc = tp_pmem_crc(crc, &entry->state, sizeof(*entry) - sizeof(entry->crc));
	return contents == NULL ? crc : tp_pmem_crc(crc, contents, page_bytes);
}

/* Blocks for entries and pages, and the record that names them. */
static int
record_make(struct keeper_pool *pool, struct tp_pmem_tx *tx, struct keeper_record *record)
{
	uint64_t base = rte_le_to_cpu_64(record->base);
	uint32_t page_bytes = rte_le_to_cpu_32(record->page_bytes);
	uint32_t page_count = rte_le_to_cpu_32(record->page_count);
	struct keeper_entry *entries;
	uint64_t entries_at, pages_at;
	rte_be64_t key = key_of(base);
	int ret;

	ret = tp_pmem_tx_alloc(tx, (size_t)page_count * sizeof(*entries), 0, &entries_at);
	if (ret < 0)
		return ret;
	ret = tp_pmem_tx_alloc(tx, (size_t)page_count * page_bytes, TP_PMEM_ALLOC_RAW, &pages_at);
	if (ret < 0)
		return ret;
	entries = tp_pmem_ptr(pool->pool, entries_at);
	for (uint32_t i = 0; i < page_count; i++) {
		entries[i] = (struct keeper_entry){
			.state = rte_cpu_to_le_32(KEEPER_ENTRY_NEVER),
		};
		entries[i].crc = rte_cpu_to_le_32(entry_crc(base, page_bytes, i, &entries[i],
			NULL));
	}
	record->entries = rte_cpu_to_le_64(entries_at);
	record->pages = rte_cpu_to_le_64(pages_at);
	return tp_pmem_btree_put(pool->regions, tx, &key, sizeof(key), record, sizeof(*record),
		TP_PMEM_BTREE_INSERT);
}

static int
region_create(struct keeper_pool *pool, const struct tp_region *region, uint32_t homed,
	uint16_t node_id, struct keeper_record *record)
{
	struct tp_pmem_tx *tx;
	int ret = tp_pmem_tx_begin(pool->pool, &tx);

	if (ret < 0)
		return ret;
	*record = (struct keeper_record){
		.version = rte_cpu_to_le_32(KEEPER_RECORD_VERSION),
		.page_bytes = rte_cpu_to_le_32(1u << region->page_shift),
		.base = rte_cpu_to_le_64(region->base),
		.created = rte_cpu_to_le_64(region->created != 0 ? region->created :
			region->generation),
		.bytes = rte_cpu_to_le_64(region->bytes),
		.page_count = rte_cpu_to_le_32(homed),
		.node_id = rte_cpu_to_le_16(node_id),
		.born_node = rte_cpu_to_le_16(region->born_node),
		.mode = region->mode,
		.distribution = region->distribution,
		.node_count = rte_cpu_to_le_16(region->node_count),
	};
	for (uint32_t i = 0; i < region->node_count; i++)
		record->nodes[i] = rte_cpu_to_le_16(region->nodes[i]);
	memcpy(record->name, region->name, sizeof(record->name));
	ret = record_make(pool, tx, record);
	if (ret == 0)
		return tp_pmem_tx_commit(tx, 0);
	tp_pmem_tx_abort(tx);
	return ret;
}

/* The record is of that region, and what it names are blocks of the pool that hold it. */
static bool
record_is_of(const struct keeper_pool *pool, const struct keeper_record *record,
	const struct tp_region *region, uint32_t homed, uint16_t node_id)
{
	uint64_t pages = tp_pmem_block_bytes(pool->pool, rte_le_to_cpu_64(record->pages));
	uint64_t entries = tp_pmem_block_bytes(pool->pool, rte_le_to_cpu_64(record->entries));

	return rte_le_to_cpu_32(record->page_bytes) == 1u << region->page_shift &&
		rte_le_to_cpu_64(record->base) == region->base &&
		rte_le_to_cpu_64(record->bytes) == region->bytes &&
		rte_le_to_cpu_32(record->page_count) == homed &&
		rte_le_to_cpu_16(record->node_id) == node_id &&
		(region->created == 0 || rte_le_to_cpu_64(record->created) == region->created) &&
		memcmp(record->name, region->name, sizeof(record->name)) == 0 &&
		pages >= (uint64_t)homed << region->page_shift &&
		entries >= (uint64_t)homed * sizeof(struct keeper_entry);
}

int
keeper_region_open(struct keeper_pool *pool, const struct tp_region *region, uint32_t homed,
	uint16_t node_id, bool create, struct keeper_region **kept_out)
{
	struct keeper_record record;
	struct keeper_region *kept;
	int ret = record_get(pool, region->base, &record);

	if (ret == -ENOENT && create)
		ret = region_create(pool, region, homed, node_id, &record);
	else if (ret == 0 && !record_is_of(pool, &record, region, homed, node_id))
		ret = -EEXIST;
	if (ret < 0)
		return ret;
	kept = malloc(sizeof(*kept));
	if (kept == NULL)
		return -ENOMEM;
	*kept = (struct keeper_region){
		.pool = pool->pool,
		.entries = tp_pmem_ptr(pool->pool, rte_le_to_cpu_64(record.entries)),
		.pages = tp_pmem_ptr(pool->pool, rte_le_to_cpu_64(record.pages)),
		.base = region->base,
		.page_bytes = 1u << region->page_shift,
		.page_count = homed,
	};
	*kept_out = kept;
	return 0;
}

void
keeper_region_close(struct keeper_region *kept)
{
	free(kept);
}

int
keeper_region_remove(struct keeper_pool *pool, uint64_t base)
{
	rte_be64_t key = key_of(base);
	struct keeper_record record;
	struct tp_pmem_tx *tx;
	int ret = record_get(pool, base, &record);

	if (ret < 0)
		return ret;
	ret = tp_pmem_tx_begin(pool->pool, &tx);
	if (ret < 0)
		return ret;
	ret = tp_pmem_btree_delete(pool->regions, tx, &key, sizeof(key));
	if (ret == 0)
		ret = tp_pmem_tx_free(tx, rte_le_to_cpu_64(record.pages));
	if (ret == 0)
		ret = tp_pmem_tx_free(tx, rte_le_to_cpu_64(record.entries));
	if (ret == 0)
		return tp_pmem_tx_commit(tx, 0);
	tp_pmem_tx_abort(tx);
	return ret;
}

static bool
region_decode(const void *value, uint32_t bytes, struct tp_region *region)
{
	struct keeper_record record;

	if (bytes != sizeof(record))
		return false;
	memcpy(&record, value, sizeof(record));
	if (rte_le_to_cpu_32(record.version) != KEEPER_RECORD_VERSION ||
	    rte_le_to_cpu_16(record.node_count) > TP_REGION_NODES_MAX)
		return false;
	*region = (struct tp_region){
		.state = TP_REGION_ACTIVE,
		.mode = record.mode,
		.distribution = record.distribution,
		.durability = TP_DURABILITY_LOCAL,
		.page_shift = (uint8_t)__builtin_ctz(rte_le_to_cpu_32(record.page_bytes) |
			1u << 31),
		.base = rte_le_to_cpu_64(record.base),
		.bytes = rte_le_to_cpu_64(record.bytes),
		.generation = rte_le_to_cpu_64(record.created),
		.created = rte_le_to_cpu_64(record.created),
		.born_node = rte_le_to_cpu_16(record.born_node),
		.node_count = rte_le_to_cpu_16(record.node_count),
	};
	for (uint32_t i = 0; i < region->node_count; i++)
		region->nodes[i] = rte_le_to_cpu_16(record.nodes[i]);
	memcpy(region->name, record.name, sizeof(region->name) - 1);
	return true;
}

int
keeper_region_list(struct keeper_pool *pool, struct tp_region *regions, uint32_t room)
{
	enum tp_pmem_btree_seek seek = TP_PMEM_BTREE_FIRST;
	struct tp_pmem_btree_cursor *cursor;
	struct tp_region region;
	const void *value;
	uint32_t bytes;
	uint32_t count = 0;
	int ret = tp_pmem_btree_cursor_open(pool->regions, &cursor);

	if (ret < 0)
		return ret;
	for (;; seek = TP_PMEM_BTREE_NEXT) {
		ret = tp_pmem_btree_cursor_move(cursor, seek, NULL, 0, NULL, NULL, &value, &bytes);
		if (ret == 0 && !region_decode(value, bytes, &region))
			ret = -EBADMSG;
		if (ret < 0)
			break;
		if (count < room)
			regions[count] = region;
		count++;
	}
	tp_pmem_btree_cursor_close(cursor);
	return ret == -ENOENT ? (int)count : ret;
}

int
keeper_page_store(struct keeper_region *kept, uint32_t index, const void *contents)
{
	struct keeper_entry *entry = &kept->entries[index];
	uint8_t *page = kept->pages + (size_t)index * kept->page_bytes;
	struct keeper_entry next = {
		.state = rte_cpu_to_le_32(KEEPER_ENTRY_PAGE),
		.count = rte_cpu_to_le_64(rte_le_to_cpu_64(entry->count) + 1),
	};
	struct tp_pmem_tx *tx;
	int ret = tp_pmem_tx_begin(kept->pool, &tx);

	if (ret < 0)
		return ret;
	next.crc = rte_cpu_to_le_32(entry_crc(kept->base, kept->page_bytes, index, &next,
		contents));
	ret = tp_pmem_tx_write(tx, entry, &next, sizeof(next));
	if (ret == 0)
		ret = tp_pmem_tx_write(tx, page, contents, kept->page_bytes);
	if (ret == 0)
		return tp_pmem_tx_commit(tx, TP_PMEM_COMMIT_DEFER);
	tp_pmem_tx_abort(tx);
	return ret;
}

const void *
keeper_page(const struct keeper_region *kept, uint32_t index)
{
	return kept->pages + (size_t)index * kept->page_bytes;
}

enum tp_persisted
keeper_page_look(const struct keeper_region *kept, uint32_t index)
{
	const struct keeper_entry *entry = &kept->entries[index];
	uint32_t state = rte_le_to_cpu_32(entry->state);
	const void *contents = state == KEEPER_ENTRY_PAGE ? keeper_page(kept, index) : NULL;

	if ((state != KEEPER_ENTRY_NEVER && state != KEEPER_ENTRY_PAGE) ||
	    rte_le_to_cpu_32(entry->crc) !=
	    entry_crc(kept->base, kept->page_bytes, index, entry, contents))
		return TP_PERSISTED_DAMAGED;
	return state == KEEPER_ENTRY_PAGE ? TP_PERSISTED_PAGE : TP_PERSISTED_NEVER;
}

uint32_t
keeper_region_verify(const struct keeper_region *kept)
{
	uint32_t damaged = 0;

	for (uint32_t i = 0; i < kept->page_count; i++)
		damaged += keeper_page_look(kept, i) == TP_PERSISTED_DAMAGED;
	return damaged;
}
