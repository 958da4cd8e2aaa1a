/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * How changes of a volume's map become lasting: docs/pmem.md, "Block volume".
 *
 * A record vouches for the contents of the places it names by their CRCs: only with all of
 * them right it counts. So contents and record need one fence together. The price: a
 * place that a record names keeps its contents until the record is void, also when the block
 * has moved on: it is quarantined until the next checkpoint.
 */
#include <string.h>

#include "volume_priv.h"

#define RECORD_ALIGN 64u

static uint32_t
record_bytes(uint32_t count)
{
	return (uint32_t)(sizeof(struct volume_record) + count * sizeof(struct volume_entry));
}

static uint32_t
record_lines(uint32_t count)
{
	return RTE_ALIGN_CEIL(record_bytes(count), RECORD_ALIGN);
}

static uint8_t *
record_place(const struct tp_pmem_volume *volume, uint32_t position)
{
	return volume->media + VOLUME_JOURNAL_OFFSET + position;
}

static uint32_t
record_crc(const struct tp_pmem_volume *volume, const struct volume_record *record,
	   uint32_t position)
{
	uint64_t at = volume->offset + VOLUME_JOURNAL_OFFSET + position;

	return tp_pmem_crc((uint32_t)(at / RECORD_ALIGN), &record->count,
		record_bytes(rte_le_to_cpu_32(record->count)) -
		offsetof(struct volume_record, count));
}

static const struct volume_entry *
record_entries(const struct volume_record *record)
{
	return (const struct volume_entry *)(const void *)(record + 1);
}

/*
 * State.
 */

static uint32_t
state_crc(const struct tp_pmem_volume *volume, const struct volume_state *state)
{
	return tp_pmem_crc(volume_seed(volume), &state->reserved,
		sizeof(*state) - offsetof(struct volume_state, reserved));
}

static uint8_t *
state_place(const struct tp_pmem_volume *volume, unsigned int copy)
{
	return volume->media + VOLUME_STATE_OFFSET + (uint64_t)(copy / 2) * PMEM_PAGE_BYTES +
		copy % 2 * PMEM_STATE_COPY_BYTES;
}

int
volume_state_store(struct tp_pmem_volume *volume)
{
	struct tp_pmem_device *device = volume->device;
	uint64_t generation = rte_le_to_cpu_64(volume->state.generation) + 1;

	volume->state.generation = rte_cpu_to_le_64(generation);
	volume->state.crc = rte_cpu_to_le_32(state_crc(volume, &volume->state));
	for (unsigned int i = 0; i < 2; i++)
		device->ops->store(device, state_place(volume, (unsigned int)(generation & 1) * 2 + i),
			&volume->state, sizeof(volume->state));
	return device->ops->fence(device);
}

static int
state_choose(struct tp_pmem_volume *volume)
{
	bool found = false;

	for (unsigned int i = 0; i < PMEM_STATE_COPIES; i++) {
		struct volume_state copy;

		memcpy(&copy, state_place(volume, i), sizeof(copy));
		if (rte_le_to_cpu_32(copy.crc) != state_crc(volume, &copy) ||
				rte_le_to_cpu_64(copy.generation) == 0)
			continue;
		if (!found || rte_le_to_cpu_64(copy.generation) >
				rte_le_to_cpu_64(volume->state.generation))
			volume->state = copy;
		found = true;
	}
	return found ? 0 : pmem_error(EBADMSG, "volume: state at %#llx: checksum is wrong (all copies)",
		(unsigned long long)(volume->offset + VOLUME_STATE_OFFSET));
}

/*
 * Recovery.
 */

/* A record of this generation whose own CRC is right; NULL: none. */
static const struct volume_record *
record_at(const struct tp_pmem_volume *volume, uint32_t position)
{
	const struct volume_record *record = (const void *)record_place(volume, position);
	uint32_t count;

	if (position + sizeof(*record) > volume->journal_bytes)
		return NULL;
	count = rte_le_to_cpu_32(record->count);
	if (record->generation != volume->state.generation || count == 0 ||
			count > volume->pending_max ||
			record_bytes(count) > volume->journal_bytes - position ||
			rte_le_to_cpu_32(record->crc) != record_crc(volume, record, position))
		return NULL;
	return record;
}

/* Are the places it names as it says? */
static bool
record_is_whole(const struct tp_pmem_volume *volume, const struct volume_record *record)
{
	const struct volume_entry *entries = record_entries(record);

	for (uint32_t i = 0; i < rte_le_to_cpu_32(record->count); i++) {
		uint64_t block = rte_le_to_cpu_64(entries[i].block);
		uint64_t value = rte_le_to_cpu_64(entries[i].value);
		uint32_t place = volume_place(value);

		if (block >= volume->block_count)
			return false;
		if (value == VOLUME_NOWHERE)
			continue;
		if (place >= volume->place_count ||
				volume_crc(block, volume_data(volume, place)) != value >> 32)
			return false;
	}
	return true;
}

/*
 * A record is written when all before it are lasting. So one that is right behind
 * one that is not says that the medium lost that.
 */
static int
journal_end_check(const struct tp_pmem_volume *volume, uint32_t end, uint64_t seq)
{
	for (uint32_t at = end + RECORD_ALIGN; at < volume->journal_bytes; at += RECORD_ALIGN) {
		const struct volume_record *record = record_at(volume, at);

		if (record != NULL && rte_le_to_cpu_64(record->seq) > seq)
			return pmem_error(EBADMSG, "volume: the journal's record at %#llx, or a block it "
				"names, is damaged", (unsigned long long)(volume->offset +
				VOLUME_JOURNAL_OFFSET + end));
	}
	return 0;
}

/* What the journal has up to a position comes home: idempotent. */
static void
journal_apply(struct tp_pmem_volume *volume, uint32_t end)
{
	struct tp_pmem_device *device = volume->device;
	uint32_t at = 0;

	while (at < end) {
		const struct volume_record *record = (const void *)record_place(volume, at);
		const struct volume_entry *entries = record_entries(record);
		uint32_t count = rte_le_to_cpu_32(record->count);

		for (uint32_t i = 0; i < count; i++) {
			uint8_t *home = volume->media + volume->map_offset +
				rte_le_to_cpu_64(entries[i].block) * sizeof(uint64_t);

			device->ops->write(device, home, &entries[i].value, sizeof(uint64_t));
			device->ops->flush(device, home, sizeof(uint64_t));
		}
		at += record_lines(count);
	}
}

int
volume_recover(struct tp_pmem_volume *volume)
{
	const struct volume_record *record;
	uint32_t end = 0;
	uint64_t seq = 0;
	int ret = state_choose(volume);

	if (ret < 0)
		return ret;
	while ((record = record_at(volume, end)) != NULL &&
			rte_le_to_cpu_64(record->seq) == seq + 1 && record_is_whole(volume, record)) {
		seq++;
		end += record_lines(rte_le_to_cpu_32(record->count));
	}
	ret = journal_end_check(volume, end, seq + 1);
	if (ret < 0)
		return ret;
	journal_apply(volume, end);
	volume->recovered_count = seq;
	volume->seq = 1;
	if (volume->device->read_only)
		return 0;
	ret = seq > 0 ? volume->device->ops->fence(volume->device) : 0;
	/*
	 * Also without a record: one that did not count must not come to count when its places
	 * get new contents.
	 */
	return ret < 0 ? ret : volume_state_store(volume);
}

/*
 * Commit.
 */

/* Journal lock held. */
static int
volume_fail(struct tp_pmem_volume *volume)
{
	atomic_store_explicit(&volume->failed, true, memory_order_relaxed);
	return pmem_error(EIO, "volume: the device failed");
}

/* Journal lock held. */
static int
checkpoint_locked(struct tp_pmem_volume *volume)
{
	if (volume->position == 0)
		return 0;
	journal_apply(volume, volume->position);
	if (volume->device->ops->fence(volume->device) < 0 || volume_state_store(volume) < 0)
		return volume_fail(volume);
	volume->position = 0;
	volume->seq = 1;
	volume->checkpoint_count++;
	pthread_mutex_lock(&volume->pending_lock);
	for (uint32_t i = 0; i < volume->quarantine_count; i++) {
		uint32_t place = volume->quarantine[i];

		volume->taken[place / 64] &= ~(UINT64_C(1) << place % 64);
	}
	volume->taken_count -= volume->quarantine_count;
	pthread_mutex_unlock(&volume->pending_lock);
	volume->quarantine_count = 0;
	return 0;
}

/* Journal lock held: what is pending becomes the batch. */
static uint32_t
batch_take(struct tp_pmem_volume *volume)
{
	struct volume_change *changes = volume->batch;
	uint32_t count;

	pthread_mutex_lock(&volume->pending_lock);
	count = volume->pending_count;
	volume->batch = volume->pending;
	volume->pending = changes;
	volume->pending_count = 0;
	pthread_mutex_unlock(&volume->pending_lock);
	return count;
}

static void
record_make(struct tp_pmem_volume *volume, uint32_t count)
{
	struct volume_record *record = (void *)volume->stage;
	struct volume_entry *entries = (void *)(record + 1);

	memset(volume->stage, 0, record_lines(count));
	record->count = rte_cpu_to_le_32(count);
	record->generation = volume->state.generation;
	record->seq = rte_cpu_to_le_64(volume->seq);
	for (uint32_t i = 0; i < count; i++)
		entries[i] = (struct volume_entry){
			rte_cpu_to_le_64(volume->batch[i].block),
			rte_cpu_to_le_64(volume->batch[i].value),
		};
	record->crc = rte_cpu_to_le_32(record_crc(volume, record, volume->position));
}

/* Journal lock held. */
static int
commit_locked(struct tp_pmem_volume *volume)
{
	struct tp_pmem_device *device = volume->device;
	uint32_t count;
	int ret = 0;

	if (atomic_load_explicit(&volume->failed, memory_order_relaxed))
		return volume_fail(volume);
	/* Before the batch is taken: the checkpoint is of what is in the journal. */
	if (volume->position + record_lines(volume->pending_max) > volume->journal_bytes ||
			volume->quarantine_count + volume->pending_max > volume->quarantine_max)
		ret = checkpoint_locked(volume);
	if (ret < 0)
		return ret;
	count = batch_take(volume);
	if (count == 0)
		return 0;
	record_make(volume, count);
	device->ops->store(device, record_place(volume, volume->position), volume->stage,
		record_lines(count));
	if (device->ops->fence(device) < 0)
		return volume_fail(volume);
	volume->position += record_lines(count);
	volume->seq++;
	volume->record_count++;
	for (uint32_t i = 0; i < count; i++)
		if (volume->batch[i].place_before != VOLUME_NO_PLACE)
			volume->quarantine[volume->quarantine_count++] = volume->batch[i].place_before;
	return 0;
}

int
volume_commit(struct tp_pmem_volume *volume)
{
	int ret;

	pthread_mutex_lock(&volume->journal_lock);
	ret = commit_locked(volume);
	pthread_mutex_unlock(&volume->journal_lock);
	return ret;
}

int
volume_checkpoint(struct tp_pmem_volume *volume)
{
	int ret;

	pthread_mutex_lock(&volume->journal_lock);
	ret = commit_locked(volume);
	if (ret == 0)
		ret = checkpoint_locked(volume);
	pthread_mutex_unlock(&volume->journal_lock);
	return ret;
}
