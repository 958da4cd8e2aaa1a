/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Hybrid objects on the medium: head, table of entries, blocks. All of it is read from the
 * media and written past the view, so that it has one copy in DRAM, the cache's, and
 * not one in the view too.
 */
#include <inttypes.h>
#include <string.h>

#include "heap.h"
#include "hybrid_priv.h"

static uint32_t
head_crc(const struct hybrid_head *head, uint64_t offset)
{
	return tp_pmem_crc((uint32_t)(offset / TP_PMEM_LINE_BYTES), &head->level,
		sizeof(*head) - offsetof(struct hybrid_head, level));
}

/* The check in an entry's block word; entry->block is the offset. */
static uint64_t
entry_seal(const struct hybrid_entry *entry, uint32_t id)
{
	uint64_t block = hybrid_entry_block(entry);
	struct hybrid_entry bare = { rte_cpu_to_le_64(block), entry->bytes, entry->crc };
	uint32_t crc = tp_pmem_crc(~id, &bare, sizeof(bare));

	return rte_cpu_to_le_64(block | (uint64_t)((crc ^ crc >> 16) & 0xffff) << HYBRID_CHECK_SHIFT);
}

static uint64_t
entry_offset(const struct tp_pmem_hybrid *hybrid, uint32_t id)
{
	return hybrid->table + (uint64_t)id * sizeof(struct hybrid_entry);
}

static bool
entry_is_sound(const struct hybrid_entry *entry, uint32_t id, uint32_t object_bytes,
	       uint64_t pool_bytes)
{
	uint64_t block = hybrid_entry_block(entry);

	if (entry->block == 0)
		return entry->bytes == 0 && entry->crc == 0;
	return entry->block == entry_seal(entry, id) && block % TP_PMEM_LINE_BYTES == 0 &&
		rte_le_to_cpu_32(entry->bytes) <= object_bytes && block <= pool_bytes &&
		pool_bytes - block >= object_bytes;
}

int
hybrid_entry_read(const struct tp_pmem_hybrid *hybrid, uint32_t id, struct hybrid_entry *entry)
{
	const struct tp_pmem_device *device = hybrid->pool->device;

	memcpy(entry, device->media + entry_offset(hybrid, id), sizeof(*entry));
	if (entry_is_sound(entry, id, hybrid->object_bytes, device->bytes))
		return 0;
	return pmem_error(EBADMSG, "hybrid: entry of object %" PRIu32 " at offset %" PRIu64
		" is damaged", id, entry_offset(hybrid, id));
}

int
hybrid_contents_read(const struct tp_pmem_hybrid *hybrid, uint32_t id,
		     const struct hybrid_entry *entry, void *contents)
{
	uint32_t bytes = rte_le_to_cpu_32(entry->bytes);
	uint64_t block = hybrid_entry_block(entry);

	memcpy(contents, hybrid->pool->device->media + block, bytes);
	/* Of the copy: what was verified is what is read. */
	if (bytes == 0 || hybrid->level == TP_PMEM_HYBRID_NONE ||
			tp_pmem_crc(id, contents, bytes) == rte_le_to_cpu_32(entry->crc))
		return 0;
	return pmem_error(EBADMSG, "hybrid: object %" PRIu32 " at offset %" PRIu64 " is damaged",
		id, block);
}

int
hybrid_block_ensure(struct tp_pmem_hybrid *hybrid, uint32_t id)
{
	struct hybrid_entry entry;
	struct tp_pmem_tx *tx;
	uint64_t offset;
	int ret = hybrid_entry_read(hybrid, id, &entry);

	if (ret < 0 || entry.block != 0)
		return ret;
	ret = tp_pmem_tx_begin(hybrid->pool, &tx);
	if (ret < 0)
		return ret;
	ret = tp_pmem_tx_alloc(tx, hybrid->object_bytes, TP_PMEM_ALLOC_RAW, &offset);
	if (ret == 0) {
		entry.block = rte_cpu_to_le_64(offset);
		entry.block = entry_seal(&entry, id);
		ret = pmem_tx_image(tx, entry_offset(hybrid, id), &entry, sizeof(entry));
	}
	if (ret == 0)
		return tp_pmem_tx_commit(tx, 0);
	tp_pmem_tx_abort(tx);
	return ret;
}

/* Not logged and not fenced: after a crash nobody asks for it. */
static int
store_spill(struct tp_pmem_hybrid *hybrid, const struct hybrid_write *write)
{
	struct tp_pmem_device *device = hybrid->pool->device;
	struct hybrid_entry entry;
	int ret = hybrid_entry_read(hybrid, write->id, &entry);

	if (ret == 0 && write->bytes > 0)
		device->ops->write(device, device->media + hybrid_entry_block(&entry),
			hybrid_frame_at(hybrid, write->frame), write->bytes);
	return ret;
}

static int
store_image(struct tp_pmem_hybrid *hybrid, struct tp_pmem_tx *tx, struct hybrid_write *write)
{
	const uint8_t *contents = hybrid_frame_at(hybrid, write->frame);
	struct hybrid_entry *entry = &write->entry;
	int ret = hybrid_entry_read(hybrid, write->id, entry);

	if (ret == 0 && write->bytes > 0)
		ret = pmem_tx_image(tx, hybrid_entry_block(entry), contents, write->bytes);
	if (ret < 0)
		return ret;
	entry->bytes = rte_cpu_to_le_32(write->bytes);
	entry->crc = rte_cpu_to_le_32(tp_pmem_crc(write->id, contents, write->bytes));
	entry->block = entry_seal(entry, write->id);
	return pmem_tx_image(tx, entry_offset(hybrid, write->id), entry, sizeof(*entry));
}

int
hybrid_store(struct tp_pmem_hybrid *hybrid, struct hybrid_write *writes, uint32_t count)
{
	struct tp_pmem_tx *tx;
	int ret = 0;

	if (count == 0)
		return 0;
	ret = tp_pmem_tx_begin(hybrid->pool, &tx);
	if (ret < 0)
		return ret;
	/* Not logged at level NONE, but who holds all lanes sees a media that stands still. */
	for (uint32_t i = 0; i < count && ret == 0; i++)
		ret = hybrid->level == TP_PMEM_HYBRID_NONE ? store_spill(hybrid, &writes[i]) :
			store_image(hybrid, tx, &writes[i]);
	if (ret == 0)
		return tp_pmem_tx_commit(tx, 0);
	tp_pmem_tx_abort(tx);
	return ret;
}

/*
 * Stores.
 */

int
tp_pmem_hybrid_create(struct tp_pmem_tx *tx, uint32_t object_bytes, uint32_t object_count,
		      enum tp_pmem_hybrid_level level, uint64_t *offset_out)
{
	struct hybrid_head *head;
	uint64_t offset, table;
	int ret;

	if (object_bytes == 0 || object_bytes > TP_PMEM_HYBRID_OBJECT_BYTES_MAX ||
			object_count == 0 || object_count > TP_PMEM_HYBRID_OBJECTS_MAX ||
			(unsigned int)level > TP_PMEM_HYBRID_TRANSACTION)
		return -EINVAL;
	ret = tp_pmem_tx_alloc(tx, sizeof(*head), TP_PMEM_ALLOC_ZERO, &offset);
	if (ret < 0)
		return ret;
	ret = tp_pmem_tx_alloc(tx, object_count * sizeof(struct hybrid_entry), TP_PMEM_ALLOC_ZERO,
		&table);
	if (ret < 0) {
		tp_pmem_tx_free(tx, offset);
		return ret;
	}
	head = tp_pmem_ptr(tp_pmem_tx_pool(tx), offset);
	*head = (struct hybrid_head){
		.magic = rte_cpu_to_le_64(HYBRID_MAGIC),
		.level = rte_cpu_to_le_32((uint32_t)level),
		.table = rte_cpu_to_le_64(table),
		.object_count = rte_cpu_to_le_32(object_count),
		.object_bytes = rte_cpu_to_le_32(object_bytes),
	};
	head->crc = rte_cpu_to_le_32(head_crc(head, offset));
	*offset_out = offset;
	return 0;
}

static bool
head_is_sound(const struct tp_pmem_pool *pool, const struct hybrid_head *head, uint64_t offset)
{
	uint32_t count = rte_le_to_cpu_32(head->object_count);
	uint32_t bytes = rte_le_to_cpu_32(head->object_bytes);

	return rte_le_to_cpu_32(head->crc) == head_crc(head, offset) && count > 0 &&
		count <= TP_PMEM_HYBRID_OBJECTS_MAX && bytes > 0 &&
		bytes <= TP_PMEM_HYBRID_OBJECT_BYTES_MAX &&
		rte_le_to_cpu_32(head->level) <= TP_PMEM_HYBRID_TRANSACTION &&
		tp_pmem_block_bytes(pool, rte_le_to_cpu_64(head->table)) >=
			count * sizeof(struct hybrid_entry);
}

int
hybrid_head_read(struct tp_pmem_pool *pool, uint64_t offset, struct hybrid_head *head)
{
	int ret = tp_pmem_pool_sync(pool);	/* what made it may have been deferred */

	if (ret < 0)
		return ret;
	if (offset % TP_PMEM_LINE_BYTES != 0 || tp_pmem_block_bytes(pool, offset) < sizeof(*head))
		return pmem_error(EINVAL, "hybrid: no block at offset %" PRIu64, offset);
	memcpy(head, pool->device->media + offset, sizeof(*head));
	if (rte_le_to_cpu_64(head->magic) != HYBRID_MAGIC)
		return pmem_error(EINVAL, "hybrid: no store at offset %" PRIu64, offset);
	if (!head_is_sound(pool, head, offset))
		return pmem_error(EBADMSG, "hybrid: head at offset %" PRIu64 " is damaged", offset);
	return 0;
}

/* What this transaction allocated is not on the media, which may hold an old head there. */
static bool
is_fresh(const struct tp_pmem_tx *tx, uint64_t offset)
{
	const struct pmem_block *fresh = (const void *)tx->fresh.data;

	for (size_t i = 0; i < tx->fresh.bytes / sizeof(*fresh); i++)
		if (fresh[i].offset == offset)
			return true;
	return false;
}

int
tp_pmem_hybrid_destroy(struct tp_pmem_tx *tx, uint64_t offset)
{
	struct tp_pmem_pool *pool = tp_pmem_tx_pool(tx);
	struct tp_pmem_hybrid store = { .pool = pool };
	struct hybrid_head head;
	int ret;

	if (is_fresh(tx, offset))
		return pmem_error(EINVAL, "hybrid: made by this transaction");
	ret = hybrid_head_read(pool, offset, &head);
	if (ret < 0)
		return ret;
	store.table = rte_le_to_cpu_64(head.table);
	store.object_bytes = rte_le_to_cpu_32(head.object_bytes);
	for (uint32_t id = 0; id < rte_le_to_cpu_32(head.object_count) && ret == 0; id++) {
		struct hybrid_entry entry;

		ret = hybrid_entry_read(&store, id, &entry);
		if (ret == 0 && entry.block != 0)
			ret = tp_pmem_tx_free(tx, hybrid_entry_block(&entry));
		if (ret == -EINVAL)
			ret = pmem_error(EBADMSG, "hybrid: object %" PRIu32 " has no block at "
				"offset %" PRIu64, id, hybrid_entry_block(&entry));
	}
	if (ret == 0)
		ret = tp_pmem_tx_free(tx, store.table);
	return ret < 0 ? ret : tp_pmem_tx_free(tx, offset);
}

/* Tell of one object; true: it is damaged. */
static bool
object_check(struct tp_pmem_hybrid *hybrid, uint32_t id, void *contents, tp_pmem_check_fn *found,
	     void *context)
{
	struct hybrid_entry entry;
	int ret = hybrid_entry_read(hybrid, id, &entry);
	uint64_t block = hybrid_entry_block(&entry);
	uint64_t at = ret < 0 ? entry_offset(hybrid, id) : block;

	if (ret == 0 && block == 0)
		return false;
	if (ret == 0 && tp_pmem_block_bytes(hybrid->pool, block) < hybrid->object_bytes)
		ret = pmem_error(EBADMSG, "hybrid: object %" PRIu32 " has no block at offset %"
			PRIu64, id, block);
	if (ret == 0)
		ret = hybrid_contents_read(hybrid, id, &entry, contents);
	if (ret < 0 && found != NULL)
		found(context, TP_PMEM_CHECK_LOST, at, tp_pmem_error());
	return ret < 0;
}

int
tp_pmem_hybrid_check(struct tp_pmem_hybrid *hybrid, tp_pmem_check_fn *found, void *context)
{
	struct pmem_buffer contents = { 0 };
	void *data = pmem_buffer_extend(&contents, hybrid->object_bytes);
	int findings = 0;

	if (data == NULL)
		return -ENOMEM;
	for (uint32_t id = 0; id < hybrid->object_count; id++)
		findings += object_check(hybrid, id, data, found, context);
	pmem_buffer_fini(&contents);
	return findings;
}
