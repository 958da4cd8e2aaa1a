/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Recovery: find the records that count, and bring them home again in order.
 * docs/pmem.md, "Recovery", says why that is right.
 */
#include <stdlib.h>
#include <string.h>

#include "pmem_priv.h"

/* A record that counts. */
struct found {
	uint64_t seq;
	const struct pmem_record *record;
};

/* A range that was stored home directly: older stores must not come back over it. */
struct direct {
	struct pmem_range range;
	uint64_t seq;
	uint64_t end_max;	/* of this and all before it in order of offset */
};

struct recovery {
	struct tp_pmem_pool *pool;
	struct pmem_buffer found;
	struct pmem_buffer direct;
	size_t direct_count;
};

static struct direct *
directs_of(const struct recovery *recovery)
{
	return (struct direct *)(void *)recovery->direct.data;
}

/* Are the entries of a record whose own CRC is right all there? */
static bool
entries_are_sound(const struct tp_pmem_pool *pool, const struct pmem_record *record)
{
	const uint8_t *at, *end;
	struct pmem_entry entry;
	uint64_t crc;
	int ret;

	if (pmem_record_entries(pool, record, &at, &end) < 0)
		return false;
	if (rte_le_to_cpu_32(record->flags) & PMEM_RECORD_EXTERNAL) {
		memcpy(&crc, (const uint8_t *)record + rte_le_to_cpu_32(record->bytes) - sizeof(crc),
			sizeof(crc));
		if (crc != tp_pmem_crc(0, at, (size_t)(end - at)))
			return false;
	}
	while ((ret = pmem_entry_next(pool, &at, end, &entry)) == 1)
		;
	return ret == 0;
}

const struct pmem_record *
pmem_record_at(const struct tp_pmem_pool *pool, uint32_t lane, uint64_t position, uint64_t epoch,
	       uint64_t after_seq)
{
	const struct pmem_record *record = (const void *)(pmem_lane_log(pool, lane) + position);
	uint64_t bytes;

	if (position + sizeof(*record) > pool->lane_bytes)
		return NULL;
	bytes = rte_le_to_cpu_32(record->bytes);
	if (bytes < sizeof(*record) || bytes % 8 != 0 || bytes > pool->lane_bytes - position ||
			rte_le_to_cpu_64(record->epoch) != epoch ||
			rte_le_to_cpu_64(record->seq) <= after_seq ||
			rte_le_to_cpu_32(record->crc) != pmem_record_crc(record, lane, position) ||
			!entries_are_sound(pool, record))
		return NULL;
	return record;
}

/*
 * A lane ends at a position. A record behind it that was written when more than
 * that was lasting says that the one there was whole once: the medium lost it.
 */
static bool
lane_is_damaged(const struct tp_pmem_pool *pool, uint32_t lane, uint64_t position, uint64_t epoch,
		uint64_t seq)
{
	for (uint64_t at = position + PMEM_RECORD_ALIGN; at < pool->lane_bytes;
			at += PMEM_RECORD_ALIGN) {
		const struct pmem_record *record = pmem_record_at(pool, lane, at, epoch, seq);

		if (record != NULL && rte_le_to_cpu_32(record->lasting) > position)
			return true;
	}
	return false;
}

static int
lane_analyse(struct recovery *recovery, uint32_t lane, uint64_t epoch, uint64_t watermark)
{
	struct tp_pmem_pool *pool = recovery->pool;
	const struct pmem_record *record;
	uint64_t position = 0;
	uint64_t seq = watermark;

	while ((record = pmem_record_at(pool, lane, position, epoch, seq)) != NULL) {
		struct found *found = pmem_buffer_extend(&recovery->found, sizeof(*found));

		if (found == NULL)
			return -ENOMEM;
		seq = rte_le_to_cpu_64(record->seq);
		*found = (struct found){ seq, record };
		position += RTE_ALIGN_CEIL(rte_le_to_cpu_32(record->bytes), PMEM_RECORD_ALIGN);
		pool->recovered_bytes += rte_le_to_cpu_32(record->bytes);
	}
	if (pool->log_damage_offset == 0 && lane_is_damaged(pool, lane, position, epoch, seq))
		pool->log_damage_offset = PMEM_LOG_OFFSET + (uint64_t)lane * pool->lane_bytes + position;
	return 0;
}

static int
found_compare(const void *a, const void *b)
{
	uint64_t x = ((const struct found *)a)->seq;
	uint64_t y = ((const struct found *)b)->seq;

	return x < y ? -1 : x > y;
}

/* By offset, length, and the latest first. */
static int
direct_compare(const void *a, const void *b)
{
	const struct direct *x = a;
	const struct direct *y = b;

	if (x->range.offset != y->range.offset)
		return x->range.offset < y->range.offset ? -1 : 1;
	if (x->range.bytes != y->range.bytes)
		return x->range.bytes < y->range.bytes ? -1 : 1;
	return x->seq > y->seq ? -1 : x->seq < y->seq;
}

static int
directs_collect(struct recovery *recovery, const struct found *found, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const uint8_t *at, *end;
		struct pmem_entry entry;

		if (pmem_record_entries(recovery->pool, found[i].record, &at, &end) < 0)
			continue;
		while (pmem_entry_next(recovery->pool, &at, end, &entry) == 1) {
			struct direct *direct;

			if (entry.kind != PMEM_ENTRY_DIRECT)
				continue;
			direct = pmem_buffer_extend(&recovery->direct, sizeof(*direct));
			if (direct == NULL)
				return -ENOMEM;
			*direct = (struct direct){ { entry.offset, entry.bytes }, found[i].seq, 0 };
		}
	}
	return 0;
}

/* Sorted, the same range once, so that a search finds few. */
static void
directs_sort(struct recovery *recovery)
{
	size_t count = recovery->direct.bytes / sizeof(struct direct);
	struct direct *directs = directs_of(recovery);
	uint64_t end_max = 0;
	size_t kept = 0;

	if (count == 0)
		return;
	qsort(directs, count, sizeof(*directs), direct_compare);
	for (size_t i = 0; i < count; i++)
		if (i == 0 || directs[i].range.offset != directs[kept - 1].range.offset ||
				directs[i].range.bytes != directs[kept - 1].range.bytes)
			directs[kept++] = directs[i];
	for (size_t i = 0; i < kept; i++) {
		end_max = RTE_MAX(end_max, directs[i].range.offset + directs[i].range.bytes);
		directs[i].end_max = end_max;
	}
	recovery->direct_count = kept;
}

/* A direct range of a later record that overlaps; NULL: none does. */
static const struct direct *
direct_over(const struct recovery *recovery, uint64_t offset, uint64_t bytes, uint64_t seq)
{
	const struct direct *directs = directs_of(recovery);
	size_t low = 0, high = recovery->direct_count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (directs[middle].range.offset < offset + bytes)
			low = middle + 1;
		else
			high = middle;
	}
	while (low-- > 0 && directs[low].end_max > offset)
		if (directs[low].seq > seq &&
				directs[low].range.offset + directs[low].range.bytes > offset)
			return &directs[low];
	return NULL;
}

static void
entry_redo(const struct recovery *recovery, struct pmem_entry entry, uint64_t seq)
{
	struct tp_pmem_device *device = recovery->pool->device;
	const uint8_t *media = device->media + entry.offset;
	const struct direct *over = NULL;

	/* A record that stores over itself is none of ours. */
	if (entry.kind == PMEM_ENTRY_WRITE && entry.payload < media + entry.bytes &&
			media < entry.payload + entry.bytes)
		return;
	if (entry.kind == PMEM_ENTRY_WRITE)
		over = direct_over(recovery, entry.offset, entry.bytes, seq);
	while (over != NULL) {
		struct pmem_entry left = entry;
		uint64_t over_end = over->range.offset + over->range.bytes;
		uint64_t end = entry.offset + entry.bytes;

		if (over->range.offset > entry.offset) {
			left.bytes = over->range.offset - entry.offset;
			entry_redo(recovery, left, seq);
		}
		if (over_end >= end)
			return;
		entry.payload += over_end - entry.offset;
		entry.offset = over_end;
		entry.bytes = end - over_end;
		over = direct_over(recovery, entry.offset, entry.bytes, seq);
	}
	pmem_entry_apply(device, &entry, NULL);
	if (entry.kind != PMEM_ENTRY_DIRECT)
		device->ops->flush(device, device->media + entry.offset, entry.bytes);
}

static int
redo(struct recovery *recovery)
{
	size_t count = recovery->found.bytes / sizeof(struct found);
	struct found *found = (struct found *)(void *)recovery->found.data;
	int ret;

	if (count == 0)
		return 0;
	qsort(found, count, sizeof(*found), found_compare);
	ret = directs_collect(recovery, found, count);
	if (ret < 0)
		return ret;
	directs_sort(recovery);
	for (size_t i = 0; i < count; i++) {
		const uint8_t *at, *end;
		struct pmem_entry entry;

		if (pmem_record_entries(recovery->pool, found[i].record, &at, &end) < 0)
			continue;
		while (pmem_entry_next(recovery->pool, &at, end, &entry) == 1)
			entry_redo(recovery, entry, found[i].seq);
	}
	recovery->pool->recovered_count = count;
	return recovery->pool->device->ops->fence(recovery->pool->device);
}

int
pmem_recover(struct tp_pmem_pool *pool, uint64_t epoch, bool accept_damage, uint64_t *watermark)
{
	struct recovery recovery = { .pool = pool };
	size_t count;
	int ret = 0;

	for (uint32_t i = 0; i < pool->lane_count && ret == 0; i++)
		ret = lane_analyse(&recovery, i, epoch, *watermark);
	if (ret == 0 && pool->log_damage_offset != 0 && !accept_damage)
		ret = pmem_error(EBADMSG, "log: the record at %#llx is damaged; it and those behind "
			"it in its lane are lost", (unsigned long long)pool->log_damage_offset);
	if (ret == 0)
		ret = redo(&recovery);
	count = recovery.found.bytes / sizeof(struct found);
	if (ret == 0 && count > 0)
		*watermark = ((struct found *)(void *)recovery.found.data)[count - 1].seq;
	pmem_buffer_fini(&recovery.found);
	pmem_buffer_fini(&recovery.direct);
	return ret;
}
