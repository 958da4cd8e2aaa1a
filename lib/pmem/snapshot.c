/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Writing a checkpoint file. With all lanes held nothing changes in the pool but free
 * places of volumes, and counts of wear.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "heap.h"
#include "snapshot_priv.h"
#include "volume_priv.h"

#define SNAPSHOT_FILE_MODE 0600

struct snapshot {
	struct tp_pmem_pool *pool;
	int fd;
	uint64_t bytes;			/* of the pieces so far */
	struct pmem_buffer table;
	uint8_t *data;
};

/* What is in the bounce buffer, unless it is zeros: its memory may change any time. */
static int
piece_write(struct snapshot *snapshot, uint64_t offset, uint32_t bytes)
{
	struct snapshot_piece *piece;
	int ret;

	if (snapshot->data[0] == 0 && memcmp(snapshot->data, snapshot->data + 1, bytes - 1) == 0)
		return 0;
	piece = pmem_buffer_extend(&snapshot->table, sizeof(*piece));
	if (piece == NULL)
		return -ENOMEM;
	*piece = (struct snapshot_piece){
		rte_cpu_to_le_64(offset), rte_cpu_to_le_32(bytes),
		rte_cpu_to_le_32(tp_pmem_crc(0, snapshot->data, bytes)),
	};
	ret = snapshot_write(snapshot->fd, snapshot->data, bytes,
		SNAPSHOT_HEAD_BYTES + snapshot->bytes);
	snapshot->bytes += bytes;
	return ret;
}

static int
range_write(struct snapshot *snapshot, uint64_t offset, uint64_t bytes)
{
	int ret = 0;

	while (bytes > 0 && ret == 0) {
		uint32_t part = (uint32_t)RTE_MIN(bytes, (uint64_t)SNAPSHOT_PIECE_BYTES);

		memcpy(snapshot->data, snapshot->pool->device->media + offset, part);
		ret = piece_write(snapshot, offset, part);
		offset += part;
		bytes -= part;
	}
	return ret;
}

/* Superblock, state and roots, as those of a pool that was closed. */
static int
pool_head_write(struct snapshot *snapshot)
{
	struct tp_pmem_pool *pool = snapshot->pool;
	struct pmem_state state;
	int ret = pmem_state_choose(pool->device, &pool->super, &state);

	if (ret < 0)
		return ret;
	state.flags = 0;
	state.epoch = rte_cpu_to_le_64(pool->epoch);
	state.watermark = rte_cpu_to_le_64(atomic_load_explicit(&pool->next_seq,
		memory_order_relaxed) - 1);
	state.crc = rte_cpu_to_le_32(tp_pmem_crc(0, &state.flags,
		sizeof(state) - offsetof(struct pmem_state, flags)));
	memcpy(snapshot->data, pool->device->media, SNAPSHOT_POOL_HEAD_BYTES);
	memcpy(snapshot->data + PMEM_SUPER_OFFSET_0, &pool->super, sizeof(pool->super));
	memcpy(snapshot->data + PMEM_SUPER_OFFSET_1, &pool->super, sizeof(pool->super));
	for (unsigned int i = 0; i < PMEM_STATE_COPIES; i++)
		memcpy(snapshot->data + pmem_state_offset(i), &state, sizeof(state));
	return piece_write(snapshot, 0, SNAPSHOT_POOL_HEAD_BYTES);
}

static int
zone_write(struct snapshot *snapshot, const struct heap_zone *zone)
{
	int ret = range_write(snapshot, zone->offset, heap_zone_head_bytes(zone->chunk_count));

	for (uint32_t i = 0; i < zone->chunk_count && ret == 0; i++)
		if (zone->chunks[i].state != HEAP_FREE && zone->chunks[i].state != HEAP_EXTERNAL)
			ret = range_write(snapshot, zone->chunks[i].offset, PMEM_CHUNK_BYTES);
	return ret;
}

/* Last the head: until then it is no checkpoint file. */
static int
head_write(struct snapshot *snapshot, uint64_t number)
{
	const struct tp_pmem_pool *pool = snapshot->pool;
	struct snapshot_head head = {
		.magic = rte_cpu_to_le_64(SNAPSHOT_MAGIC),
		.version = rte_cpu_to_le_32(TP_PMEM_SNAPSHOT_VERSION),
		.number = rte_cpu_to_le_64(number),
		.pool_bytes = pool->super.pool_bytes,
		.bytes = rte_cpu_to_le_64(snapshot->bytes),
		.piece_count = rte_cpu_to_le_64(snapshot->table.bytes / sizeof(struct snapshot_piece)),
		.created_s = rte_cpu_to_le_64((uint64_t)time(NULL)),
		.committed_seq = rte_cpu_to_le_64(atomic_load_explicit(&pool->next_seq,
			memory_order_relaxed) - 1),
		.table_crc = rte_cpu_to_le_32(tp_pmem_crc(0, snapshot->table.data,
			snapshot->table.bytes)),
	};
	int ret;

	memcpy(head.uuid, pool->super.uuid, sizeof(head.uuid));
	head.crc = rte_cpu_to_le_32(snapshot_head_crc(&head));
	ret = snapshot_write(snapshot->fd, snapshot->table.data, snapshot->table.bytes,
		SNAPSHOT_HEAD_BYTES + snapshot->bytes);
	return ret < 0 ? ret : snapshot_write(snapshot->fd, &head, sizeof(head), 0);
}

/* All lanes held, volumes frozen. */
static int
pool_write(struct snapshot *snapshot, uint64_t number)
{
	const struct pmem_heap *heap = snapshot->pool->heap;
	int ret = pool_head_write(snapshot);

	for (uint32_t i = 0; i < atomic_load_explicit(&heap->zone_count, memory_order_relaxed) &&
			ret == 0; i++)
		ret = zone_write(snapshot, &heap->zones[i]);
	return ret < 0 ? ret : head_write(snapshot, number);
}

static int
snapshot_fill(struct snapshot *snapshot, uint64_t number)
{
	struct tp_pmem_pool *pool = snapshot->pool;
	int ret;

	snapshot->data = malloc(SNAPSHOT_PIECE_BYTES);
	if (snapshot->data == NULL)
		return -ENOMEM;
	pmem_lanes_take_all(pool);
	ret = pool->read_only ? 0 : tp_pmem_pool_checkpoint(pool);
	if (ret == 0) {
		volumes_freeze(pool);
		ret = pool_write(snapshot, number);
		volumes_thaw(pool);
	}
	pmem_lanes_release_all(pool);
	if (ret == 0 && fsync(snapshot->fd) < 0)
		ret = -errno;
	pmem_buffer_fini(&snapshot->table);
	free(snapshot->data);
	return ret;
}

static int
number_next(const char *prefix, uint64_t *number)
{
	uint64_t *numbers = NULL;
	int count = snapshot_numbers(prefix, &numbers);

	if (count < 0)
		return count;
	*number = count == 0 ? 1 : numbers[count - 1] + 1;
	free(numbers);
	return *number > TP_PMEM_SNAPSHOT_NUMBER_MAX ?
		pmem_error(ENOSPC, "%s: all numbers of checkpoint files are used", prefix) : 0;
}

int
tp_pmem_snapshot_save(struct tp_pmem_pool *pool, const char *prefix, uint64_t *number_out)
{
	struct snapshot snapshot = { .pool = pool };
	char path[PATH_MAX], temporary[PATH_MAX];
	uint64_t number;
	int ret;

	/* A folder of devices is in memory, and keeps no file. */
	if (pmem_is_device(prefix))
		return pmem_error(EINVAL, "%s: a device: name another place for its checkpoint files",
			prefix);
	ret = number_next(prefix, &number);
	if (ret == 0)
		ret = snapshot_path(path, prefix, number, "");
	if (ret == 0)
		ret = snapshot_path(temporary, prefix, number, ".tmp");
	if (ret < 0)
		return ret;
	/* One that is there was left by somebody who died. */
	snapshot.fd = open(temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, SNAPSHOT_FILE_MODE);
	if (snapshot.fd < 0)
		return pmem_error(errno, "%s: %s", temporary, strerror(errno));
	ret = snapshot_fill(&snapshot, number);
	close(snapshot.fd);
	if (ret == 0 && rename(temporary, path) < 0)
		ret = -errno;
	if (ret < 0) {
		unlink(temporary);
		return pmem_error(-ret, "%s: %s", temporary, strerror(-ret));
	}
	ret = pmem_directory_sync(path);
	if (ret == 0 && number_out != NULL)
		*number_out = number;
	return ret;
}
