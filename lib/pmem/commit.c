/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * How a record becomes durable and comes home, and how the log becomes empty:
 * docs/pmem.md, "Transactions".
 *
 * Locks, outer first: commit of lane 0, 1, ..., then the heap's. Who holds the
 * commit lock of a lane has none of its records half home.
 */
#include <string.h>

#include <rte_branch_prediction.h>

#include "heap.h"
#include "pmem_priv.h"

#define COMMIT_LONG_BYTES 1024u		/* records that are stored in two parts */

int
pmem_stage_start(struct pmem_lane *lane)
{
	lane->stage.bytes = 0;
	return pmem_buffer_extend(&lane->stage, sizeof(struct pmem_record)) == NULL ? -ENOMEM : 0;
}

uint8_t *
pmem_lane_log(const struct tp_pmem_pool *pool, uint32_t lane)
{
	return pool->device->media + PMEM_LOG_OFFSET + (uint64_t)lane * pool->lane_bytes;
}

/* A device that failed once is not asked again: nobody knows what it kept. */
int
pmem_fence(struct tp_pmem_pool *pool, struct pmem_lane *lane)
{
	int ret = pool->device->ops->fence(pool->device);

	pmem_count(&lane->stats.fences, 1);
	if (unlikely(ret < 0))
		atomic_store_explicit(&pool->failed, true, memory_order_relaxed);
	return ret;
}

int
pmem_record_entries(const struct tp_pmem_pool *pool, const struct pmem_record *record,
		    const uint8_t **begin, const uint8_t **end)
{
	const uint8_t *at = (const uint8_t *)(record + 1);
	struct pmem_entry entry;

	*begin = at;
	*end = (const uint8_t *)record + rte_le_to_cpu_32(record->bytes);
	if ((rte_le_to_cpu_32(record->flags) & PMEM_RECORD_EXTERNAL) == 0)
		return 0;
	if (pmem_entry_next(pool, &at, *end, &entry) != 1 ||
			entry.kind != PMEM_ENTRY_DIRECT || *end - at != sizeof(uint64_t))
		return -EBADMSG;
	*begin = pool->device->media + entry.offset;
	*end = *begin + entry.bytes;
	return 0;
}

/* Remember what a checkpoint has to look after: the log would have to be read for it. */
static void
home_note(struct pmem_lane *lane, const struct tp_pmem_device *device,
	  const struct pmem_entry *entry)
{
	struct pmem_home *home = pmem_buffer_extend(&lane->homes, sizeof(*home));
	bool is_cached = entry->kind != PMEM_ENTRY_DIRECT && !pmem_entry_streams(device, entry);

	if (unlikely(home == NULL))
		lane->homes_are_lost = true;
	else
		*home = (struct pmem_home){ entry->offset,
			entry->bytes | (is_cached ? PMEM_HOME_FLUSH : 0) };
}

static void
entries_apply(struct tp_pmem_pool *pool, struct pmem_lane *lane, const uint8_t *at,
	      const uint8_t *end)
{
	bool streamed = false;
	struct pmem_entry entry;

	while (pmem_entry_next(pool, &at, end, &entry) == 1) {
		pmem_entry_apply(pool->device, &entry, &streamed);
		home_note(lane, pool->device, &entry);
		pmem_count(&lane->stats.home_bytes, entry.bytes);
	}
	/* Before others take the lock and believe that it is in the caches at least. */
	if (streamed)
		pmem_fence(pool, lane);
}

static int
external_reserve(struct tp_pmem_pool *pool, struct pmem_lane *lane, uint64_t bytes,
		 uint64_t *offset_out)
{
	struct pmem_external *external;
	uint64_t offset;
	int ret;

	pmem_lock_take(&lane->commit_lock);
	external = pmem_buffer_reserve(&lane->externals, sizeof(*external));
	ret = external == NULL ? -ENOMEM :
		pmem_heap_external_reserve(pool->heap, bytes, &external->chunk_count, &offset);
	if (ret == 0) {
		external->offset = offset;
		lane->externals.bytes += sizeof(*external);
		*offset_out = offset;
	}
	pmem_lock_release(&lane->commit_lock);
	return ret;
}

/*
 * Entries that no lane can hold go to a free extent; the record that remains names
 * it. 0, -ENOSPC, -ENOMEM, -EIO.
 */
static int
stage_externalise(struct tp_pmem_pool *pool, struct pmem_lane *lane, struct pmem_buffer *record)
{
	const uint8_t *entries = lane->stage.data + sizeof(struct pmem_record);
	uint64_t bytes = lane->stage.bytes - sizeof(struct pmem_record);
	uint64_t crc = tp_pmem_crc(0, entries, bytes);
	uint64_t offset = 0;
	int ret;

	if (pmem_buffer_extend(record, sizeof(struct pmem_record)) == NULL)
		return -ENOMEM;
	ret = external_reserve(pool, lane, bytes, &offset);
	if (ret == -ENOSPC) {
		/* Records before this one may hold what it needs. */
		ret = pmem_checkpoint(pool, false);
		if (ret == 0)
			ret = external_reserve(pool, lane, bytes, &offset);
	}
	if (ret < 0)
		return ret;
	pool->device->ops->store(pool->device, pool->device->media + offset, entries, bytes);
	ret = pmem_entry_direct(record, offset, bytes);
	if (ret == 0 && pmem_buffer_reserve(record, sizeof(crc)) == NULL)
		ret = -ENOMEM;
	if (ret == 0)
		memcpy(pmem_buffer_extend(record, sizeof(crc)), &crc, sizeof(crc));
	return ret;
}

/*
 * Commit lock of the lane held, room is there. Of a long record all but the first line is on
 * its way to the medium while the checksum, which stands in that line, is computed.
 */
static void
record_append(struct tp_pmem_pool *pool, struct pmem_lane *lane, struct pmem_buffer *from,
	      uint64_t lasting, uint32_t flags, size_t lines_bytes)
{
	struct pmem_record *record = (struct pmem_record *)(void *)from->data;
	uint8_t *media = pmem_lane_log(pool, lane->index) + lane->log_position;
	size_t head_bytes = lines_bytes < COMMIT_LONG_BYTES ? lines_bytes : PMEM_RECORD_ALIGN;

	memset(from->data + from->bytes, 0, lines_bytes - from->bytes);
	*record = (struct pmem_record){
		.bytes = rte_cpu_to_le_32((uint32_t)from->bytes),
		.seq = rte_cpu_to_le_64(atomic_fetch_add_explicit(&pool->next_seq, 1,
			memory_order_relaxed)),
		.epoch = rte_cpu_to_le_64(pool->epoch),
		.lasting = rte_cpu_to_le_32((uint32_t)lasting),
		.flags = rte_cpu_to_le_32(flags),
	};
	if (head_bytes < lines_bytes)
		pool->device->ops->store(pool->device, media + head_bytes,
			from->data + head_bytes, lines_bytes - head_bytes);
	record->crc = rte_cpu_to_le_32(pmem_record_crc(record, lane->index, lane->log_position));
	pool->device->ops->store(pool->device, media, record, head_bytes);
	lane->log_position += lines_bytes;
	pmem_count(&lane->stats.log_bytes, lines_bytes);
}

/* Take the commit lock of a lane that has room. 0; -EIO: not taken. */
static int
lane_make_room(struct tp_pmem_pool *pool, struct pmem_lane *lane, size_t bytes)
{
	int ret = 0;

	pmem_lock_take(&lane->commit_lock);
	while (ret == 0 && lane->log_position + bytes > pool->lane_bytes) {
		pmem_lock_release(&lane->commit_lock);
		ret = pmem_checkpoint(pool, false);
		pmem_lock_take(&lane->commit_lock);
	}
	if (ret == 0 && atomic_load_explicit(&pool->failed, memory_order_relaxed))
		ret = -EIO;
	if (ret < 0)
		pmem_lock_release(&lane->commit_lock);
	return ret;
}

/*
 * While deferred records wait, all go to one log: a log is read up to the first
 * record that is not whole, so what came later is found only with all before it.
 */
static int
record_defer(struct tp_pmem_pool *pool, struct pmem_buffer *from, uint32_t flags,
	     size_t lines_bytes)
{
	struct pmem_lane *lane = &pool->lanes[PMEM_DEFER_LANE];
	int ret = lane_make_room(pool, lane, lines_bytes);

	if (ret < 0)
		return ret;
	if (atomic_fetch_add_explicit(&pool->deferred_count, 1, memory_order_relaxed) == 0)
		pool->deferred_position = lane->log_position;
	record_append(pool, lane, from, pool->deferred_position, flags, lines_bytes);
	pmem_lock_release(&lane->commit_lock);
	return 0;
}

static int
record_commit(struct tp_pmem_pool *pool, struct pmem_lane *lane, struct pmem_buffer *from,
	      uint32_t flags, bool defer)
{
	size_t lines_bytes = RTE_ALIGN_CEIL(from->bytes, (size_t)PMEM_RECORD_ALIGN);
	int ret;

	if (pmem_buffer_reserve(from, PMEM_RECORD_ALIGN) == NULL)
		return -ENOMEM;
	/*
	 * relaxed: what this transaction builds on has committed before it began,
	 * and the caller's lock ordered that.
	 */
	if (defer || atomic_load_explicit(&pool->deferred_count, memory_order_relaxed) > 0) {
		ret = record_defer(pool, from, flags, lines_bytes);
		return ret < 0 || defer ? ret : pmem_settle(pool);
	}
	ret = lane_make_room(pool, lane, lines_bytes);
	if (ret < 0)
		return ret;
	record_append(pool, lane, from, lane->log_position, flags, lines_bytes);
	ret = pmem_fence(pool, lane);
	if (likely(ret == 0))
		entries_apply(pool, lane, lane->stage.data + sizeof(struct pmem_record),
			lane->stage.data + lane->stage.bytes);
	pmem_lock_release(&lane->commit_lock);
	return ret;
}

int
pmem_commit_stage(struct tp_pmem_pool *pool, struct pmem_lane *lane, bool defer)
{
	struct pmem_buffer small = { 0 };
	int ret;

	if (pool->device->granularity != TP_PMEM_GRANULARITY_PAGE)
		defer = false;
	if (RTE_ALIGN_CEIL(lane->stage.bytes, (size_t)PMEM_RECORD_ALIGN) <= pool->lane_bytes)
		return record_commit(pool, lane, &lane->stage, 0, defer);
	ret = stage_externalise(pool, lane, &small);
	if (ret == 0)
		ret = record_commit(pool, lane, &small, PMEM_RECORD_EXTERNAL, defer);
	pmem_buffer_fini(&small);
	return ret;
}

static void
commit_locks_take(struct tp_pmem_pool *pool)
{
	for (uint32_t i = 0; i < pool->lane_count; i++)
		pmem_lock_take(&pool->lanes[i].commit_lock);
}

static void
commit_locks_release(struct tp_pmem_pool *pool)
{
	for (uint32_t i = pool->lane_count; i-- > 0;)
		pmem_lock_release(&pool->lanes[i].commit_lock);
}

/* All commit locks held. */
static int
settle_locked(struct tp_pmem_pool *pool)
{
	struct pmem_lane *lane = &pool->lanes[PMEM_DEFER_LANE];
	uint64_t position = pool->deferred_position;
	int ret = pmem_fence(pool, lane);

	if (ret < 0)
		return ret;
	while (position < lane->log_position) {
		const struct pmem_record *record = (const void *)
			(pmem_lane_log(pool, lane->index) + position);
		const uint8_t *begin, *end;

		if (pmem_record_entries(pool, record, &begin, &end) == 0)
			entries_apply(pool, lane, begin, end);
		position += RTE_ALIGN_CEIL(rte_le_to_cpu_32(record->bytes), PMEM_RECORD_ALIGN);
	}
	for (uint32_t i = 0; i < pool->lane_count; i++) {
		struct pmem_buffer *frees = &pool->lanes[i].deferred_frees;

		for (size_t at = 0; at < frees->bytes; at += sizeof(uint64_t))
			pmem_heap_release(pool->heap,
				*(const uint64_t *)(const void *)(frees->data + at));
		frees->bytes = 0;
	}
	/* release: pairs with the acquire in pmem_settle() */
	atomic_store_explicit(&pool->deferred_count, 0, memory_order_release);
	return 0;
}

int
pmem_settle(struct tp_pmem_pool *pool)
{
	int ret;

	/* acquire: pairs with the release in settle_locked(): what it brought home is seen */
	if (atomic_load_explicit(&pool->deferred_count, memory_order_acquire) == 0)
		return 0;
	commit_locks_take(pool);
	/* Another one may have done it meanwhile. */
	ret = atomic_load_explicit(&pool->failed, memory_order_relaxed) ? -EIO :
		atomic_load_explicit(&pool->deferred_count, memory_order_relaxed) == 0 ? 0 :
		settle_locked(pool);
	commit_locks_release(pool);
	return ret;
}

static void
home_flush(struct tp_pmem_pool *pool, uint64_t offset, uint64_t bytes, bool is_cached)
{
	struct tp_pmem_device *device = pool->device;

	pmem_heap_wear_add(pool->heap, offset, bytes);
	if (is_cached && device->granularity != TP_PMEM_GRANULARITY_PAGE)
		device->ops->flush(device, device->media + offset, bytes);
}

/* The same from the log: nobody could remember it. */
static void
lane_flush_log(struct tp_pmem_pool *pool, struct pmem_lane *lane)
{
	uint64_t position = 0;

	while (position < lane->log_position) {
		const struct pmem_record *record = (const void *)
			(pmem_lane_log(pool, lane->index) + position);
		const uint8_t *at, *end;
		struct pmem_entry entry;

		if (pmem_record_entries(pool, record, &at, &end) == 0)
			while (pmem_entry_next(pool, &at, end, &entry) == 1)
				home_flush(pool, entry.offset, entry.bytes,
					entry.kind != PMEM_ENTRY_DIRECT &&
					!pmem_entry_streams(pool->device, &entry));
		position += RTE_ALIGN_CEIL(rte_le_to_cpu_32(record->bytes), PMEM_RECORD_ALIGN);
	}
}

/*
 * Home stores of a lane's records start their way to the medium, and are counted as
 * wear: here and not at commit, where it would wait for the stores just made.
 */
static void
lane_flush_home(struct tp_pmem_pool *pool, struct pmem_lane *lane)
{
	const struct pmem_home *homes = (const void *)lane->homes.data;
	size_t count = lane->homes.bytes / sizeof(*homes);

	if (lane->homes_are_lost) {
		lane_flush_log(pool, lane);
		return;
	}
	for (size_t i = 0; i < count; i++)
		home_flush(pool, homes[i].offset, homes[i].bytes & ~PMEM_HOME_FLUSH,
			(homes[i].bytes & PMEM_HOME_FLUSH) != 0);
}

static void
lanes_empty(struct tp_pmem_pool *pool)
{
	for (uint32_t i = 0; i < pool->lane_count; i++) {
		struct pmem_lane *lane = &pool->lanes[i];

		lane->log_position = 0;
		lane->homes.bytes = 0;
		lane->homes_are_lost = false;
		for (size_t at = 0; at < lane->externals.bytes; at += sizeof(struct pmem_external)) {
			const struct pmem_external *external =
				(const void *)(lane->externals.data + at);

			pmem_heap_external_release(pool->heap, external->offset,
				external->chunk_count);
		}
		lane->externals.bytes = 0;
	}
}

/* All commit locks held. */
static int
checkpoint_locked(struct tp_pmem_pool *pool, bool wear)
{
	struct tp_pmem_device *device = pool->device;
	int ret = 0;

	if (atomic_load_explicit(&pool->deferred_count, memory_order_relaxed) > 0)
		ret = settle_locked(pool);
	if (ret < 0)
		return ret;
	for (uint32_t i = 0; i < pool->lane_count; i++)
		lane_flush_home(pool, &pool->lanes[i]);
	if (device->granularity == TP_PMEM_GRANULARITY_PAGE)
		device->ops->flush(device, device->media + PMEM_ROOT_OFFSET,
			device->bytes - PMEM_ROOT_OFFSET);
	pmem_heap_wear_store(pool->heap, wear);
	ret = pmem_fence(pool, &pool->lanes[0]);
	if (ret < 0)
		return ret;
	pool->state.watermark = rte_cpu_to_le_64(atomic_load_explicit(&pool->next_seq,
		memory_order_relaxed) - 1);
	ret = pmem_state_store(device, &pool->state);
	if (ret < 0) {
		atomic_store_explicit(&pool->failed, true, memory_order_relaxed);
		return ret;
	}
	lanes_empty(pool);
	pmem_count(&pool->lanes[0].stats.fences, 1);
	pmem_count(&pool->lanes[0].stats.checkpoints, 1);
	return 0;
}

int
pmem_checkpoint(struct tp_pmem_pool *pool, bool wear)
{
	int ret = -EIO;

	commit_locks_take(pool);
	if (!atomic_load_explicit(&pool->failed, memory_order_relaxed))
		ret = checkpoint_locked(pool, wear);
	commit_locks_release(pool);
	return ret;
}
