/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Entries and records of the log: docs/pmem.md, "Log". Commit and recovery bring
 * entries home by the same function, so what one does the other does.
 */
#include <string.h>

#include "pmem_priv.h"

/* Pieces of at least this go past the caches: cheaper than writing lines back. */
#define LOG_STREAM_BYTES 1024u

static size_t
padded(uint64_t bytes)
{
	return (size_t)((bytes + 7) & ~UINT64_C(7));
}

/* Head of an entry with room for a payload behind it; where that begins. */
static uint8_t *
entry_start(struct pmem_buffer *buffer, enum pmem_entry_kind kind, uint64_t offset,
	    uint64_t bytes, uint64_t payload_bytes)
{
	bool is_short = bytes <= PMEM_ENTRY_BYTES_MAX;
	uint64_t head[2] = { offset | (uint64_t)kind << PMEM_ENTRY_OFFSET_BITS, bytes };
	size_t head_bytes = is_short ? 8 : 16;
	uint8_t *at = pmem_buffer_extend(buffer, head_bytes + padded(payload_bytes));

	if (at == NULL)
		return NULL;
	if (is_short)
		head[0] |= bytes << PMEM_ENTRY_BYTES_SHIFT;
	memcpy(at, head, head_bytes);
	return at + head_bytes;
}

int
pmem_entry_write(struct pmem_buffer *buffer, uint64_t offset, const void *src, uint64_t bytes)
{
	uint8_t *at = entry_start(buffer, PMEM_ENTRY_WRITE, offset, bytes, bytes);

	if (at == NULL)
		return -ENOMEM;
	memcpy(at, src, bytes);
	memset(at + bytes, 0, padded(bytes) - bytes);
	return 0;
}

int
pmem_entry_word(struct pmem_buffer *buffer, enum pmem_entry_kind kind, uint64_t offset,
		uint64_t bytes, uint64_t value)
{
	uint8_t *at = entry_start(buffer, kind, offset, bytes, sizeof(value));

	if (at == NULL)
		return -ENOMEM;
	memcpy(at, &value, sizeof(value));
	return 0;
}

int
pmem_entry_direct(struct pmem_buffer *buffer, uint64_t offset, uint64_t bytes)
{
	return entry_start(buffer, PMEM_ENTRY_DIRECT, offset, bytes, 0) == NULL ? -ENOMEM : 0;
}

/* In the root table, or from the first zone on: nobody logs a store to the log. */
static bool
range_is_logged(const struct tp_pmem_pool *pool, uint64_t offset, uint64_t bytes)
{
	uint64_t begin = PMEM_ROOT_OFFSET;
	uint64_t end = begin + TP_PMEM_ROOT_COUNT * sizeof(struct pmem_root);

	if (offset >= end) {
		begin = rte_le_to_cpu_64(pool->super.zones[0].offset);
		end = pool->device->bytes;
	}
	return bytes > 0 && offset >= begin && offset <= end && bytes <= end - offset;
}

static bool
entry_is_sound(const struct tp_pmem_pool *pool, const struct pmem_entry *entry)
{
	if (!range_is_logged(pool, entry->offset, entry->bytes))
		return false;
	switch (entry->kind) {
	case PMEM_ENTRY_SET:
	case PMEM_ENTRY_CLEAR:
		return entry->offset % 8 == 0 && entry->bytes == 8;
	case PMEM_ENTRY_FILL:
		return entry->offset % 8 == 0 && entry->bytes % 8 == 0;
	case PMEM_ENTRY_WRITE:
	case PMEM_ENTRY_DIRECT:
		return true;
	}
	return false;
}

int
pmem_entry_next(const struct tp_pmem_pool *pool, const uint8_t **at, const uint8_t *end,
		struct pmem_entry *entry)
{
	const uint8_t *p = *at;
	uint64_t head, payload_bytes;

	if (p == end)
		return 0;
	if (end - p < 8)
		return -EBADMSG;
	memcpy(&head, p, 8);
	p += 8;
	entry->offset = head & ((UINT64_C(1) << PMEM_ENTRY_OFFSET_BITS) - 1);
	entry->kind = head >> PMEM_ENTRY_OFFSET_BITS & 0xf;
	entry->bytes = head >> PMEM_ENTRY_BYTES_SHIFT;
	if (entry->bytes == 0) {
		if (end - p < 8)
			return -EBADMSG;
		memcpy(&entry->bytes, p, 8);
		p += 8;
	}
	if (!entry_is_sound(pool, entry))
		return -EBADMSG;
	payload_bytes = entry->kind == PMEM_ENTRY_DIRECT ? 0 :
		entry->kind == PMEM_ENTRY_WRITE ? padded(entry->bytes) : 8;
	if ((uint64_t)(end - p) < payload_bytes)
		return -EBADMSG;
	entry->payload = p;
	*at = p + payload_bytes;
	return 1;
}

/* A damaged word counts as all set: better a leak that check reports than a block twice. */
static bool
bitmap_change(struct tp_pmem_device *device, uint64_t *media, uint64_t mask, bool set)
{
	uint64_t old, bits;
	bool sound;

	do {
		old = __atomic_load_n(media, __ATOMIC_RELAXED);
		sound = pmem_bitmap_word_is_sound(old);
		bits = sound ? old : PMEM_BITMAP_MASK;
		bits = set ? bits | mask : bits & ~mask;
	} while (!device->ops->replace(device, media, old, pmem_bitmap_word(bits)));
	return sound;
}

/* Words of the heap, which reports read meanwhile: one by one. */
static void
fill(struct tp_pmem_device *device, uint8_t *media, uint64_t bytes, uint64_t value)
{
	for (uint64_t at = 0; at < bytes; at += sizeof(value))
		device->ops->write(device, media + at, &value, sizeof(value));
}

bool
pmem_entry_streams(const struct tp_pmem_device *device, const struct pmem_entry *entry)
{
	return device->granularity != TP_PMEM_GRANULARITY_PAGE &&
		entry->kind == PMEM_ENTRY_WRITE && entry->bytes >= LOG_STREAM_BYTES;
}

bool
pmem_entry_apply(struct tp_pmem_device *device, const struct pmem_entry *entry, bool *streamed)
{
	uint8_t *media = device->media + entry->offset;
	uint64_t value = 0;

	if (entry->kind == PMEM_ENTRY_DIRECT)
		return true;
	if (entry->kind == PMEM_ENTRY_WRITE) {
		if (streamed != NULL && pmem_entry_streams(device, entry)) {
			device->ops->store(device, media, entry->payload, entry->bytes);
			*streamed = true;
		} else {
			device->ops->write(device, media, entry->payload, entry->bytes);
		}
		return true;
	}
	memcpy(&value, entry->payload, sizeof(value));
	if (entry->kind == PMEM_ENTRY_FILL) {
		fill(device, media, entry->bytes, value);
		return true;
	}
	return bitmap_change(device, (uint64_t *)(void *)media, value,
		entry->kind == PMEM_ENTRY_SET);
}

uint32_t
pmem_record_crc(const struct pmem_record *record, uint32_t lane, uint64_t position)
{
	const uint64_t salt[2] = { lane, position };

	return tp_pmem_crc(tp_pmem_crc(0, salt, sizeof(salt)), &record->bytes,
		rte_le_to_cpu_32(record->bytes) - offsetof(struct pmem_record, bytes));
}
