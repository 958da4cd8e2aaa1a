/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Volumes: made, opened, closed, removed. volume_io.c reads and writes them.
 */
#include <stdlib.h>
#include <string.h>

#include "heap.h"
#include "volume_priv.h"

/* Of this process: a second handle would know nothing of the first one's map. */
static TAILQ_HEAD(, tp_pmem_volume) volumes = TAILQ_HEAD_INITIALIZER(volumes);
static pthread_mutex_t volumes_lock = PTHREAD_MUTEX_INITIALIZER;

static uint64_t
clamp(uint64_t value, uint64_t least, uint64_t most)
{
	return value < least ? least : value > most ? most : value;
}

/*
 * More places than blocks: one for each change that a journal, its successor, and the writers
 * of the moment may hold.
 */
static struct volume_head
head_make(uint64_t bytes)
{
	uint64_t blocks = (bytes + VOLUME_BLOCK - 1) / VOLUME_BLOCK;
	uint64_t pending = clamp(blocks / 64, VOLUME_PENDING_MIN, VOLUME_PENDING_MAX);
	uint64_t quarantine = clamp(blocks / 32, VOLUME_QUARANTINE_MIN, VOLUME_QUARANTINE_MAX);
	uint64_t journal = RTE_ALIGN_CEIL(quarantine * 64 + pending * 16 + 64,
		(uint64_t)PMEM_PAGE_BYTES);
	uint64_t map = RTE_ALIGN_CEIL(blocks * sizeof(uint64_t), (uint64_t)PMEM_PAGE_BYTES);

	return (struct volume_head){
		.magic = rte_cpu_to_le_64(VOLUME_MAGIC),
		.block_bytes = rte_cpu_to_le_32(VOLUME_BLOCK),
		.bytes = rte_cpu_to_le_64(bytes),
		.block_count = rte_cpu_to_le_64(blocks),
		.place_count = rte_cpu_to_le_64(blocks + quarantine + 2 * pending + VOLUME_SPARE),
		.journal_bytes = rte_cpu_to_le_32((uint32_t)journal),
		.quarantine_max = rte_cpu_to_le_32((uint32_t)(quarantine + pending)),
		.pending_max = rte_cpu_to_le_32((uint32_t)pending),
		.map_offset = rte_cpu_to_le_64(VOLUME_JOURNAL_OFFSET + journal),
		.data_offset = rte_cpu_to_le_64(VOLUME_JOURNAL_OFFSET + journal + map),
	};
}

static uint32_t
head_crc(const struct volume_head *head, uint64_t offset)
{
	return tp_pmem_crc((uint32_t)(offset / PMEM_PAGE_BYTES), &head->block_bytes,
		sizeof(*head) - offsetof(struct volume_head, block_bytes));
}

static uint64_t
head_footprint(const struct volume_head *head)
{
	return rte_le_to_cpu_64(head->data_offset) + rte_le_to_cpu_64(head->place_count) *
		VOLUME_BLOCK;
}

uint64_t
tp_pmem_volume_footprint(uint64_t bytes)
{
	struct volume_head head = head_make(bytes);

	return RTE_ALIGN_CEIL(head_footprint(&head), (uint64_t)PMEM_CHUNK_BYTES);
}

/* In the media, of an extent that no transaction knows yet. */
static int
volume_format(struct tp_pmem_pool *pool, uint64_t offset, struct volume_head *head)
{
	static const uint8_t zeros[PMEM_PAGE_BYTES];
	struct tp_pmem_device *device = pool->device;
	struct tp_pmem_volume volume = {
		.pool = pool, .device = device, .offset = offset, .media = device->media + offset,
	};

	for (uint64_t at = 0; at < rte_le_to_cpu_64(head->data_offset); at += sizeof(zeros))
		device->ops->store(device, volume.media + at, zeros, sizeof(zeros));
	head->crc = rte_cpu_to_le_32(head_crc(head, offset));
	device->ops->store(device, volume.media, head, sizeof(*head));
	return volume_state_store(&volume);
}

int
tp_pmem_volume_create(struct tp_pmem_pool *pool, const char *name, uint64_t bytes)
{
	struct volume_head head;
	struct tp_pmem_tx *tx;
	uint64_t offset;
	int ret;

	if (bytes < TP_PMEM_VOLUME_BYTES_MIN || bytes > TP_PMEM_POOL_BYTES_MAX ||
			bytes % TP_PMEM_VOLUME_SECTOR_BYTES != 0)
		return pmem_error(EINVAL, "volume: 64 KiB to 8 TiB, a multiple of 512");
	if (tp_pmem_root_get(pool, name) != 0)
		return pmem_error(EEXIST, "volume: there is a root %s", name);
	head = head_make(bytes);
	ret = tp_pmem_tx_begin(pool, &tx);
	if (ret < 0)
		return ret;
	ret = tp_pmem_tx_alloc(tx, head_footprint(&head), TP_PMEM_ALLOC_RAW, &offset);
	if (ret == -ENOSPC)
		pmem_error(ENOSPC, "volume: no piece of %llu bytes is free",
			(unsigned long long)head_footprint(&head));
	/* The log may hold stores to what was here before: they must not come back. */
	if (ret == 0)
		ret = tp_pmem_pool_checkpoint(pool);
	if (ret == 0)
		ret = volume_format(pool, offset, &head);
	if (ret == 0)
		ret = tp_pmem_tx_root_set(tx, name, offset);
	if (ret < 0) {
		tp_pmem_tx_abort(tx);
		return ret;
	}
	return tp_pmem_tx_commit(tx, 0);
}

/* Offset of a volume's extent, its head checked; or -errno. */
static int
head_find(struct tp_pmem_pool *pool, const char *name, uint64_t *offset, struct volume_head *head)
{
	struct volume_head wanted;
	uint64_t bytes;

	*offset = tp_pmem_root_get(pool, name);
	if (*offset == 0)
		return pmem_error(ENOENT, "volume: no root %s", name);
	bytes = tp_pmem_block_bytes(pool, *offset);
	if (bytes < sizeof(*head))
		return pmem_error(EMEDIUMTYPE, "volume: root %s is something else", name);
	memcpy(head, pool->device->media + *offset, sizeof(*head));
	if (rte_le_to_cpu_64(head->magic) != VOLUME_MAGIC)
		return pmem_error(EMEDIUMTYPE, "volume: root %s is something else", name);
	if (rte_le_to_cpu_32(head->crc) != head_crc(head, *offset))
		return pmem_error(EBADMSG, "volume: head at %#llx: checksum is wrong",
			(unsigned long long)*offset);
	/* All numbers follow from the size. */
	wanted = head_make(rte_le_to_cpu_64(head->bytes) <= TP_PMEM_POOL_BYTES_MAX ?
		rte_le_to_cpu_64(head->bytes) : 0);
	wanted.crc = head->crc;
	if (memcmp(&wanted, head, sizeof(wanted)) != 0 || head_footprint(head) > bytes ||
			*offset % PMEM_CHUNK_BYTES != 0)
		return pmem_error(EBADMSG, "volume: head at %#llx: numbers make no sense",
			(unsigned long long)*offset);
	return 0;
}

static bool
place_is_right(const struct tp_pmem_volume *volume, uint64_t block, uint64_t value)
{
	return volume_crc(block, volume_data(volume, volume_place(value))) == value >> 32;
}

/*
 * Two blocks at one place: the medium changed one of the words. Which one, the contents
 * say.
 */
static void
map_settle(struct tp_pmem_volume *volume, uint64_t block)
{
	uint64_t value = volume->map[block];

	if (!place_is_right(volume, block, value)) {
		volume->map[block] = VOLUME_LOST;
		return;
	}
	for (uint64_t i = 0; i < block; i++)
		if (volume_place(volume->map[i]) == volume_place(value))
			volume->map[i] = VOLUME_LOST;
}

/* The map as the medium has it; what is not mapped is free. */
static void
map_load(struct tp_pmem_volume *volume)
{
	memcpy(volume->map, volume->media + volume->map_offset,
		volume->block_count * sizeof(uint64_t));
	for (uint64_t i = volume->place_count; i % 64 != 0; i++)
		volume->taken[i / 64] |= UINT64_C(1) << i % 64;
	for (uint64_t i = 0; i < volume->block_count; i++) {
		uint64_t value = volume->map[i];
		uint32_t place = volume_place(value);

		if (value == VOLUME_NOWHERE)
			continue;
		if (place >= volume->place_count) {
			volume->map[i] = VOLUME_LOST;
		} else if ((volume->taken[place / 64] >> place % 64 & 1) != 0) {
			map_settle(volume, i);
		} else {
			volume->taken[place / 64] |= UINT64_C(1) << place % 64;
			volume->taken_count++;
		}
	}
}

static void
volume_free(struct tp_pmem_volume *volume)
{
	for (unsigned int i = 0; i < VOLUME_STRIPES; i++)
		pthread_mutex_destroy(&volume->stripes[i]);
	pthread_mutex_destroy(&volume->journal_lock);
	pthread_mutex_destroy(&volume->pending_lock);
	free(volume->map);
	free(volume->batch);
	free(volume->pending);
	free(volume->stage);
	free(volume->quarantine);
	free(volume->taken);
	free(volume);
}

static struct tp_pmem_volume *
volume_make(struct tp_pmem_pool *pool, uint64_t offset, const struct volume_head *head)
{
	struct tp_pmem_volume *volume = aligned_alloc(64, RTE_ALIGN_CEIL(sizeof(*volume), 64));

	if (volume == NULL)
		return NULL;
	memset(volume, 0, sizeof(*volume));
	volume->pool = pool;
	volume->device = pool->device;
	volume->offset = offset;
	volume->media = pool->device->media + offset;
	volume->bytes = rte_le_to_cpu_64(head->bytes);
	volume->block_count = rte_le_to_cpu_64(head->block_count);
	volume->place_count = rte_le_to_cpu_64(head->place_count);
	volume->map_offset = rte_le_to_cpu_64(head->map_offset);
	volume->data_offset = rte_le_to_cpu_64(head->data_offset);
	volume->journal_bytes = rte_le_to_cpu_32(head->journal_bytes);
	volume->quarantine_max = rte_le_to_cpu_32(head->quarantine_max);
	volume->pending_max = rte_le_to_cpu_32(head->pending_max);
	for (unsigned int i = 0; i < VOLUME_STRIPES; i++)
		pthread_mutex_init(&volume->stripes[i], NULL);
	pthread_mutex_init(&volume->journal_lock, NULL);
	pthread_mutex_init(&volume->pending_lock, NULL);
	volume->map = malloc(volume->block_count * sizeof(*volume->map));
	volume->batch = malloc(volume->pending_max * sizeof(*volume->batch));
	volume->pending = malloc(volume->pending_max * sizeof(*volume->pending));
	volume->stage = malloc(volume->journal_bytes);
	volume->quarantine = malloc(volume->quarantine_max * sizeof(*volume->quarantine));
	volume->taken = calloc((volume->place_count + 63) / 64, sizeof(*volume->taken));
	if (volume->map == NULL || volume->batch == NULL || volume->pending == NULL ||
			volume->stage == NULL || volume->quarantine == NULL || volume->taken == NULL) {
		volume_free(volume);
		return NULL;
	}
	return volume;
}

static bool
volume_is_open(const struct tp_pmem_pool *pool, uint64_t offset)
{
	const struct tp_pmem_volume *volume;
	bool found = false;

	pthread_mutex_lock(&volumes_lock);
	TAILQ_FOREACH(volume, &volumes, item)
		found = found || (volume->pool == pool && volume->offset == offset);
	pthread_mutex_unlock(&volumes_lock);
	return found;
}

static void
volume_forget(struct tp_pmem_volume *volume)
{
	pthread_mutex_lock(&volumes_lock);
	TAILQ_REMOVE(&volumes, volume, item);
	pthread_mutex_unlock(&volumes_lock);
	volume_free(volume);
}

/* Without the journal's lock no record is written, and no place that one names is used again. */
void
volumes_freeze(struct tp_pmem_pool *pool)
{
	struct tp_pmem_volume *volume;

	pthread_mutex_lock(&volumes_lock);
	TAILQ_FOREACH(volume, &volumes, item)
		if (volume->pool == pool)
			pthread_mutex_lock(&volume->journal_lock);
}

void
volumes_thaw(struct tp_pmem_pool *pool)
{
	struct tp_pmem_volume *volume;

	TAILQ_FOREACH(volume, &volumes, item)
		if (volume->pool == pool)
			pthread_mutex_unlock(&volume->journal_lock);
	pthread_mutex_unlock(&volumes_lock);
}

/*
 * Who is in the list first, has it: before it is recovered. The journal's lock is held from then
 * on, so that a snapshot waits for the recovery, or comes before it.
 */
static int
volume_announce(struct tp_pmem_volume *volume)
{
	struct tp_pmem_volume *other;
	int ret = 0;

	pthread_mutex_lock(&volumes_lock);
	TAILQ_FOREACH(other, &volumes, item)
		if (other->pool == volume->pool && other->offset == volume->offset)
			ret = -EBUSY;
	if (ret == 0) {
		TAILQ_INSERT_TAIL(&volumes, volume, item);
		pthread_mutex_lock(&volume->journal_lock);
	}
	pthread_mutex_unlock(&volumes_lock);
	return ret;
}

int
tp_pmem_volume_open(struct tp_pmem_pool *pool, const char *name, struct tp_pmem_volume **volume_out)
{
	struct tp_pmem_volume *volume;
	struct volume_head head;
	uint64_t offset;
	int ret = head_find(pool, name, &offset, &head);

	if (ret < 0)
		return ret;
	volume = volume_make(pool, offset, &head);
	if (volume == NULL)
		return -ENOMEM;
	if (volume_announce(volume) < 0) {
		volume_free(volume);
		return pmem_error(EBUSY, "volume: %s is open", name);
	}
	ret = volume_recover(volume);
	if (ret == 0)
		map_load(volume);
	pthread_mutex_unlock(&volume->journal_lock);
	if (ret < 0) {
		volume_forget(volume);
		return ret;
	}
	*volume_out = volume;
	return 0;
}

int
tp_pmem_volume_close(struct tp_pmem_volume *volume)
{
	int ret = 0;

	if (volume == NULL)
		return 0;
	if (!volume->device->read_only)
		ret = volume_checkpoint(volume);
	volume_forget(volume);
	return ret;
}

int
tp_pmem_volume_destroy(struct tp_pmem_pool *pool, const char *name)
{
	struct volume_head head;
	struct tp_pmem_tx *tx;
	uint64_t offset;
	int ret = head_find(pool, name, &offset, &head);

	/* A damaged one can go, too. */
	if (ret < 0 && ret != -EBADMSG)
		return ret;
	if (volume_is_open(pool, offset))
		return pmem_error(EBUSY, "volume: %s is open", name);
	ret = tp_pmem_tx_begin(pool, &tx);
	if (ret < 0)
		return ret;
	ret = tp_pmem_tx_free(tx, offset);
	if (ret == 0)
		ret = tp_pmem_tx_root_set(tx, name, 0);
	if (ret < 0) {
		tp_pmem_tx_abort(tx);
		return ret;
	}
	return tp_pmem_tx_commit(tx, 0);
}

uint64_t
tp_pmem_volume_bytes(const struct tp_pmem_volume *volume)
{
	return volume->bytes;
}

void
tp_pmem_volume_info_get(struct tp_pmem_volume *volume, struct tp_pmem_volume_info *info)
{
	uint64_t mapped = 0;

	for (uint64_t i = 0; i < volume->block_count; i++)
		if (__atomic_load_n(&volume->map[i], __ATOMIC_RELAXED) != VOLUME_NOWHERE)
			mapped++;
	pthread_mutex_lock(&volume->journal_lock);
	*info = (struct tp_pmem_volume_info){
		.bytes = volume->bytes,
		.mapped_bytes = mapped * VOLUME_BLOCK,
		.footprint_bytes = tp_pmem_volume_footprint(volume->bytes),
		.flushes = volume->record_count,
		.checkpoints = volume->checkpoint_count,
		.recovered_records = volume->recovered_count,
	};
	pthread_mutex_unlock(&volume->journal_lock);
}
