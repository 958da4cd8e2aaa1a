/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Transactions as the program sees them: what they cover, allocate and free, and how
 * their levels end. commit.c makes the outermost one durable.
 */
#include <stdlib.h>
#include <string.h>

#include <rte_branch_prediction.h>

#include "heap.h"
#include "pmem_priv.h"

#define TX_RECENT 4u			/* ranges looked at for the same one again */
#define TX_FREED_RECENT 64u
#define TX_DIRECT_BYTES 1024u		/* new contents beyond this are not logged */
#define TX_SORT_FEW 16u
#define TX_PREFETCH_BYTES 4096u		/* of the view; of home up to what is not streamed there */
#define TX_PREFETCH_HOME_BYTES 512u

static struct pmem_range *
tx_ranges(const struct tp_pmem_tx *tx, size_t *count)
{
	*count = tx->ranges.bytes / sizeof(struct pmem_range);
	return (struct pmem_range *)(void *)tx->ranges.data;
}

static struct pmem_block *
blocks_of(const struct pmem_buffer *buffer, size_t *count)
{
	*count = buffer->bytes / sizeof(struct pmem_block);
	return (struct pmem_block *)(void *)buffer->data;
}

static int
tx_fail(struct tp_pmem_tx *tx)
{
	tx->failed = true;
	return -ENOMEM;
}

static void
level_mark(struct tp_pmem_tx *tx)
{
	tx->levels[tx->depth++] = (struct pmem_level){
		.ranges = tx->ranges.bytes,
		.fresh = tx->fresh.bytes,
		.freed = tx->freed.bytes,
		.ends = tx->ends.bytes,
		.undos = tx->undos.bytes,
		.undo_data = tx->undo_data.bytes,
		.images = tx->images.bytes,
	};
}

int
tp_pmem_tx_begin(struct tp_pmem_pool *pool, struct tp_pmem_tx **tx_out)
{
	struct pmem_lane *lane;

	if (pool->read_only)
		return -EROFS;
	if (unlikely(atomic_load_explicit(&pool->failed, memory_order_relaxed)))
		return -EIO;
	lane = pmem_lane_take(pool);
	level_mark(&lane->tx);
	*tx_out = &lane->tx;
	return 0;
}

int
tp_pmem_tx_nest(struct tp_pmem_tx *tx)
{
	if (tx->depth == TP_PMEM_TX_NEST_MAX)
		return -EOVERFLOW;
	level_mark(tx);
	return 0;
}

struct tp_pmem_pool *
tp_pmem_tx_pool(const struct tp_pmem_tx *tx)
{
	return tx->pool;
}

/* Did this level cover it a moment ago? */
static bool
range_is_recent(const struct tp_pmem_tx *tx, uint64_t offset, uint64_t bytes)
{
	size_t first = tx->levels[tx->depth - 1].ranges / sizeof(struct pmem_range);
	size_t count;
	const struct pmem_range *ranges = tx_ranges(tx, &count);

	for (size_t i = count; i > first && i + TX_RECENT > count; i--)
		if (offset >= ranges[i - 1].offset &&
		    offset + bytes <= ranges[i - 1].offset + ranges[i - 1].bytes)
			return true;
	return false;
}

/* For an inner abort, which cannot take the bytes from the media. */
static int
undo_save(struct tp_pmem_tx *tx, uint64_t offset, uint64_t bytes)
{
	size_t copy = tx->undo_data.bytes;
	void *data = pmem_buffer_extend(&tx->undo_data, bytes);
	struct pmem_undo *undo;

	/* What has no room leaves no entry that an abort would take for one. */
	undo = data != NULL ? pmem_buffer_extend(&tx->undos, sizeof(*undo)) : NULL;
	if (undo == NULL)
		return tx_fail(tx);
	*undo = (struct pmem_undo){ { offset, bytes }, copy };
	memcpy(data, tx->pool->view.base + offset, bytes);
	return 0;
}

/* The lines that the program and then the commit will store to begin to come. */
static void
range_prefetch(const struct tp_pmem_pool *pool, uint64_t offset, uint64_t bytes)
{
	if (bytes > TX_PREFETCH_BYTES)
		return;
	for (uint64_t at = offset & ~UINT64_C(63); at < offset + bytes; at += 64) {
		__builtin_prefetch(pool->view.base + at, 1);
		if (bytes <= TX_PREFETCH_HOME_BYTES)
			__builtin_prefetch(pool->device->media + at, 1);
	}
}

int
pmem_tx_cover(struct tp_pmem_tx *tx, uint64_t offset, uint64_t bytes)
{
	struct pmem_range *range;

	if (range_is_recent(tx, offset, bytes))
		return 0;
	if (tx->depth > 1 && undo_save(tx, offset, bytes) < 0)
		return -ENOMEM;
	range = pmem_buffer_extend(&tx->ranges, sizeof(*range));
	if (unlikely(range == NULL))
		return tx_fail(tx);
	*range = (struct pmem_range){ offset, bytes };
	range_prefetch(tx->pool, offset, bytes);
	return 0;
}

int
pmem_tx_image(struct tp_pmem_tx *tx, uint64_t offset, const void *src, uint64_t bytes)
{
	struct pmem_image *image = pmem_buffer_extend(&tx->images, sizeof(*image));

	if (unlikely(image == NULL))
		return tx_fail(tx);
	*image = (struct pmem_image){ { offset, bytes }, src };
	return 0;
}

int
tp_pmem_tx_add_range(struct tp_pmem_tx *tx, void *ptr, size_t bytes)
{
	uint64_t offset = tp_pmem_offset(tx->pool, ptr);

	if (unlikely(bytes == 0 || bytes > TP_PMEM_TX_RANGE_MAX ||
			!pmem_heap_covers(tx->pool->heap, offset, bytes)))
		return -EINVAL;
	return pmem_tx_cover(tx, offset, bytes);
}

int
tp_pmem_tx_write(struct tp_pmem_tx *tx, void *ptr, const void *src, size_t bytes)
{
	int ret = tp_pmem_tx_add_range(tx, ptr, bytes);

	if (ret == 0)
		memcpy(ptr, src, bytes);
	return ret;
}

int
tp_pmem_tx_alloc(struct tp_pmem_tx *tx, size_t bytes, uint32_t flags, uint64_t *offset_out)
{
	struct pmem_block *block;
	uint64_t offset;
	int ret;

	if (bytes == 0 || flags > (TP_PMEM_ALLOC_ZERO | TP_PMEM_ALLOC_RAW) ||
			flags == (TP_PMEM_ALLOC_ZERO | TP_PMEM_ALLOC_RAW))
		return -EINVAL;
	block = pmem_buffer_reserve(&tx->fresh, sizeof(*block));
	if (block == NULL)
		return -ENOMEM;
	ret = pmem_heap_reserve(tx->pool, tx->lane, bytes, &offset);
	if (ret < 0)
		return ret;
	tx->fresh.bytes += sizeof(*block);
	*block = (struct pmem_block){ .offset = offset, .bytes = bytes, .flags = flags };
	if (flags & TP_PMEM_ALLOC_ZERO)
		memset(tx->pool->view.base + offset, 0, bytes);
	*offset_out = offset;
	return 0;
}

int
tp_pmem_tx_free(struct tp_pmem_tx *tx, uint64_t offset)
{
	struct pmem_block *block;
	size_t count;

	if (pmem_heap_block_bytes(tx->pool->heap, offset) == 0)
		return -EINVAL;
	block = blocks_of(&tx->freed, &count);
	for (size_t i = count; i > 0 && i + TX_FREED_RECENT > count; i--)
		if (block[i - 1].offset == offset)
			return -EALREADY;
	if (pmem_heap_free_prepare(tx->pool->heap, offset) < 0)
		return tx_fail(tx);
	block = pmem_buffer_extend(&tx->freed, sizeof(*block));
	if (block == NULL)
		return tx_fail(tx);
	*block = (struct pmem_block){ .offset = offset };
	return 0;
}

int
tp_pmem_tx_on_end(struct tp_pmem_tx *tx, tp_pmem_tx_end_fn *function, void *context)
{
	struct pmem_end *end = pmem_buffer_extend(&tx->ends, sizeof(*end));

	if (end == NULL)
		return tx_fail(tx);
	*end = (struct pmem_end){ function, context };
	return 0;
}

/*
 * Ends.
 */

static void
ends_call(struct tp_pmem_tx *tx, size_t from, bool committed)
{
	while (tx->ends.bytes > from) {
		struct pmem_end end;

		tx->ends.bytes -= sizeof(end);
		memcpy(&end, tx->ends.data + tx->ends.bytes, sizeof(end));
		end.function(end.context, committed);
	}
}

/* The outermost level is over. */
static void
tx_close(struct tp_pmem_tx *tx, bool committed)
{
	tx->depth = 0;
	tx->failed = false;
	tx->ranges.bytes = 0;
	tx->fresh.bytes = 0;
	tx->freed.bytes = 0;
	tx->undos.bytes = 0;
	tx->undo_data.bytes = 0;
	tx->images.bytes = 0;
	if (committed)
		pmem_count(&tx->lane->stats.commits, 1);
	else
		pmem_count(&tx->lane->stats.aborts, 1);
	ends_call(tx, 0, committed);
	pmem_lane_release(tx->lane);
}

static void
fresh_release(struct tp_pmem_tx *tx, size_t from)
{
	size_t count;
	const struct pmem_block *fresh = blocks_of(&tx->fresh, &count);

	for (size_t i = from / sizeof(*fresh); i < count; i++)
		pmem_heap_release(tx->pool->heap, fresh[i].offset);
	tx->fresh.bytes = from;
}

/* Everything is as it was: the media has the last committed bytes. */
static void
tx_undo(struct tp_pmem_tx *tx)
{
	struct tp_pmem_pool *pool = tx->pool;
	size_t count;
	const struct pmem_range *ranges = tx_ranges(tx, &count);

	if (count > 0)
		pmem_settle(pool);
	for (size_t i = 0; i < count; i++)
		memcpy(pool->view.base + ranges[i].offset, pool->device->media + ranges[i].offset,
			ranges[i].bytes);
	fresh_release(tx, 0);
}

static void
level_abort(struct tp_pmem_tx *tx)
{
	struct pmem_level *level = &tx->levels[tx->depth - 1];
	struct pmem_undo *undos = (struct pmem_undo *)(void *)tx->undos.data;

	for (size_t i = tx->undos.bytes / sizeof(*undos); i > level->undos / sizeof(*undos); i--)
		memcpy(tx->pool->view.base + undos[i - 1].range.offset,
			tx->undo_data.data + undos[i - 1].copy, undos[i - 1].range.bytes);
	tx->undos.bytes = level->undos;
	tx->undo_data.bytes = level->undo_data;
	tx->ranges.bytes = level->ranges;
	tx->images.bytes = level->images;
	tx->freed.bytes = level->freed;
	fresh_release(tx, level->fresh);
	tx->depth--;
	ends_call(tx, level->ends, false);
}

void
tp_pmem_tx_abort(struct tp_pmem_tx *tx)
{
	if (tx->depth > 1) {
		level_abort(tx);
		return;
	}
	tx_undo(tx);
	tx_close(tx, false);
}

static int
range_compare(const void *a, const void *b)
{
	uint64_t x = ((const struct pmem_range *)a)->offset;
	uint64_t y = ((const struct pmem_range *)b)->offset;

	return x < y ? -1 : x > y;
}

/* In order, and no byte twice. */
static void
ranges_merge(struct tp_pmem_tx *tx)
{
	size_t count, kept = 0;
	struct pmem_range *ranges = tx_ranges(tx, &count);

	if (count < 2)
		return;
	if (count > TX_SORT_FEW)
		qsort(ranges, count, sizeof(*ranges), range_compare);
	for (size_t i = 1; i < count && count <= TX_SORT_FEW; i++) {
		struct pmem_range range = ranges[i];
		size_t at = i;

		for (; at > 0 && ranges[at - 1].offset > range.offset; at--)
			ranges[at] = ranges[at - 1];
		ranges[at] = range;
	}
	for (size_t i = 1; i < count; i++) {
		uint64_t end = ranges[kept].offset + ranges[kept].bytes;

		if (ranges[i].offset > end)
			ranges[++kept] = ranges[i];
		else if (ranges[i].offset + ranges[i].bytes > end)
			ranges[kept].bytes = ranges[i].offset + ranges[i].bytes - ranges[kept].offset;
	}
	tx->ranges.bytes = (kept + 1) * sizeof(*ranges);
}

static int
block_compare(const void *a, const void *b)
{
	uint64_t x = ((const struct pmem_block *)a)->offset;
	uint64_t y = ((const struct pmem_block *)b)->offset;

	return x < y ? -1 : x > y;
}

/* A block that was allocated and freed here is neither: both are gone. */
static void
blocks_cancel(struct tp_pmem_tx *tx)
{
	size_t fresh_count, freed_count;
	struct pmem_block *fresh = blocks_of(&tx->fresh, &fresh_count);
	struct pmem_block *freed = blocks_of(&tx->freed, &freed_count);

	if (fresh_count == 0 || freed_count == 0)
		return;
	qsort(fresh, fresh_count, sizeof(*fresh), block_compare);
	for (size_t i = 0; i < freed_count; i++) {
		struct pmem_block *both = bsearch(&freed[i], fresh, fresh_count, sizeof(*fresh),
			block_compare);

		if (both != NULL) {
			both->is_gone = true;
			freed[i].is_gone = true;
		}
	}
}

static int
stage_ranges(struct tp_pmem_tx *tx)
{
	size_t count;
	const struct pmem_range *ranges = tx_ranges(tx, &count);
	int ret = 0;

	for (size_t i = 0; i < count && ret == 0; i++)
		ret = pmem_entry_write(&tx->lane->stage, ranges[i].offset,
			tx->pool->view.base + ranges[i].offset, ranges[i].bytes);
	return ret;
}

static int
stage_images(struct tp_pmem_tx *tx)
{
	const struct pmem_image *images = (const void *)tx->images.data;
	int ret = 0;

	for (size_t i = 0; i < tx->images.bytes / sizeof(*images) && ret == 0; i++)
		ret = pmem_entry_write(&tx->lane->stage, images[i].range.offset, images[i].src,
			images[i].range.bytes);
	return ret;
}

/* Contents of new blocks: logged when few, else stored where they belong. */
static int
stage_fresh(struct tp_pmem_tx *tx)
{
	struct tp_pmem_device *device = tx->pool->device;
	size_t count;
	const struct pmem_block *fresh = blocks_of(&tx->fresh, &count);
	uint64_t total = 0;
	int ret = 0;

	for (size_t i = 0; i < count; i++)
		if (!fresh[i].is_gone && (fresh[i].flags & TP_PMEM_ALLOC_RAW) == 0)
			total += fresh[i].bytes;
	if (total == 0)
		return 0;
	for (size_t i = 0; i < count && ret == 0; i++) {
		const uint8_t *view = tx->pool->view.base + fresh[i].offset;

		if (fresh[i].is_gone || (fresh[i].flags & TP_PMEM_ALLOC_RAW) != 0)
			continue;
		if (total <= TX_DIRECT_BYTES) {
			ret = pmem_entry_write(&tx->lane->stage, fresh[i].offset, view,
				fresh[i].bytes);
			continue;
		}
		device->ops->store(device, device->media + fresh[i].offset, view, fresh[i].bytes);
		ret = pmem_entry_direct(&tx->lane->stage, fresh[i].offset, fresh[i].bytes);
	}
	if (ret == 0 && total > TX_DIRECT_BYTES)
		ret = pmem_fence(tx->pool, tx->lane);
	return ret;
}

static int
tx_stage(struct tp_pmem_tx *tx)
{
	struct pmem_heap *heap = tx->pool->heap;
	struct pmem_buffer *stage = &tx->lane->stage;
	size_t count;
	struct pmem_block *blocks;
	int ret;

	ranges_merge(tx);
	blocks_cancel(tx);
	ret = pmem_stage_start(tx->lane);
	if (ret == 0)
		ret = stage_fresh(tx);
	if (ret == 0)
		ret = stage_ranges(tx);
	if (ret == 0)
		ret = stage_images(tx);
	blocks = blocks_of(&tx->fresh, &count);
	if (ret == 0 && count > 0)
		ret = pmem_heap_entries(heap, stage, blocks, count, true);
	blocks = blocks_of(&tx->freed, &count);
	if (ret == 0 && count > 0)
		ret = pmem_heap_entries(heap, stage, blocks, count, false);
	return ret;
}

/* Durable: what was freed may be used again. */
static void
freed_release(struct tp_pmem_tx *tx)
{
	struct pmem_lane *lane = tx->lane;
	bool later = atomic_load_explicit(&tx->pool->deferred_count, memory_order_relaxed) > 0;
	size_t count;
	const struct pmem_block *blocks = blocks_of(&tx->freed, &count);

	if (later)
		pmem_lock_take(&lane->commit_lock);
	for (size_t i = 0; i < count; i++) {
		uint64_t *place;

		if (blocks[i].is_gone || !later) {
			pmem_heap_release(tx->pool->heap, blocks[i].offset);
			continue;
		}
		/* Without memory to remember it, it stays reserved until the pool is opened. */
		place = pmem_buffer_extend(&lane->deferred_frees, sizeof(*place));
		if (place != NULL)
			*place = blocks[i].offset;
	}
	if (later)
		pmem_lock_release(&lane->commit_lock);
}

int
tp_pmem_tx_commit(struct tp_pmem_tx *tx, uint32_t flags)
{
	bool is_empty;
	int ret;

	if (tx->depth > 1) {
		tx->depth--;
		return 0;
	}
	ret = tx->failed ? -ECANCELED : tx_stage(tx);
	is_empty = tx->lane->stage.bytes == sizeof(struct pmem_record);
	if (ret == 0 && !is_empty)
		ret = pmem_commit_stage(tx->pool, tx->lane, (flags & TP_PMEM_COMMIT_DEFER) != 0);
	if (unlikely(ret < 0)) {
		tx_undo(tx);
		tx_close(tx, false);
		return ret;
	}
	/* First: who reads beside changes must hear that blocks went before they are others'. */
	ends_call(tx, 0, true);
	freed_release(tx);
	tx_close(tx, true);
	return 0;
}
