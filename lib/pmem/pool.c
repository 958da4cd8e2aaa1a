/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Pools on a device: make, open, close, grow, and what is known of them.
 * pool_file.c finds the device.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "heap.h"
#include "pmem_priv.h"

#define POOL_LANES_DEFAULT 32u
#define POOL_LANE_SHARE 64u		/* default log: one part in so many of the pool */
#define POOL_LANE_BYTES_DEFAULT_MAX (UINT32_C(512) << 10)
#define POOL_GROW_BYTES_MIN (UINT64_C(1) << 20)

/* Fill in what the configuration leaves open. 0, -EINVAL. */
static int
config_complete(const struct tp_pmem_pool_config *given, uint64_t bytes,
		struct tp_pmem_pool_config *config)
{
	uint64_t share;

	*config = given == NULL ? (struct tp_pmem_pool_config){ 0 } : *given;
	if (config->lane_count == 0)
		config->lane_count = POOL_LANES_DEFAULT;
	if (config->lane_bytes == 0) {
		share = bytes / POOL_LANE_SHARE / config->lane_count;
		share = RTE_MIN(share, POOL_LANE_BYTES_DEFAULT_MAX);
		config->lane_bytes = RTE_MAX((uint32_t)share & ~(PMEM_PAGE_BYTES - 1),
			PMEM_LANE_BYTES_MIN);
	}
	if (config->lane_count > TP_PMEM_LANES_MAX || config->lane_bytes < PMEM_LANE_BYTES_MIN ||
			config->lane_bytes > PMEM_LANE_BYTES_MAX ||
			config->lane_bytes % PMEM_PAGE_BYTES != 0)
		return pmem_error(EINVAL, "lanes: 1 to %u of 16 KiB to 64 MiB each",
			TP_PMEM_LANES_MAX);
	if (config->name != NULL && strlen(config->name) >= TP_PMEM_NAME_BYTES)
		return pmem_error(EINVAL, "name: at most %u bytes", TP_PMEM_NAME_BYTES - 1);
	return 0;
}

static int
super_make(struct pmem_super *super, uint64_t bytes, const struct tp_pmem_pool_config *config)
{
	uint64_t zone = RTE_ALIGN_CEIL(PMEM_LOG_OFFSET +
		(uint64_t)config->lane_count * config->lane_bytes, (uint64_t)PMEM_CHUNK_BYTES);
	uint32_t chunk_count = zone < bytes ? pmem_heap_zone_chunks(bytes - zone) : 0;

	if (chunk_count == 0)
		return pmem_error(EINVAL, "%llu bytes leave no room beside the log",
			(unsigned long long)bytes);
	*super = (struct pmem_super){
		.magic = rte_cpu_to_le_64(PMEM_MAGIC),
		.version = rte_cpu_to_le_32(TP_PMEM_VERSION),
		.pool_bytes = rte_cpu_to_le_64(bytes),
		.created_s = rte_cpu_to_le_64((uint64_t)time(NULL)),
		.log_offset = rte_cpu_to_le_64(PMEM_LOG_OFFSET),
		.lane_count = rte_cpu_to_le_32(config->lane_count),
		.lane_bytes = rte_cpu_to_le_32(config->lane_bytes),
		.chunk_bytes = rte_cpu_to_le_32(PMEM_CHUNK_BYTES),
		.zone_count = rte_cpu_to_le_32(1),
		.zones[0] = { rte_cpu_to_le_64(zone), rte_cpu_to_le_32(chunk_count), 0 },
	};
	if (config->name != NULL)
		memcpy(super->name, config->name, strlen(config->name));
	if (getrandom(super->uuid, sizeof(super->uuid), 0) != sizeof(super->uuid))
		return -EIO;
	return 0;
}

/* Zeros over a range; what is zero already is not touched, so that holes stay. */
static void
media_clear(struct tp_pmem_device *device, uint64_t offset, uint64_t bytes)
{
	static const uint8_t zeros[PMEM_PAGE_BYTES];

	for (uint64_t at = 0; at < bytes; at += sizeof(zeros)) {
		size_t part = RTE_MIN(sizeof(zeros), (size_t)(bytes - at));

		if (memcmp(device->media + offset + at, zeros, part) != 0)
			device->ops->store(device, device->media + offset + at, zeros, part);
	}
}

static int
zone_clear(struct tp_pmem_device *device, const struct pmem_zone_record *zone)
{
	media_clear(device, rte_le_to_cpu_64(zone->offset),
		heap_zone_head_bytes(rte_le_to_cpu_32(zone->chunk_count)));
	return device->ops->fence(device);
}

/* Superblock copy 0 comes last: until then it is no pool. */
static int
pool_format(struct tp_pmem_device *device, struct pmem_super *super)
{
	struct pmem_state state = { 0 };
	int ret;

	media_clear(device, 0, PMEM_LOG_OFFSET);
	for (uint32_t i = 0; i < rte_le_to_cpu_32(super->lane_count); i++)
		media_clear(device, PMEM_LOG_OFFSET + (uint64_t)i *
			rte_le_to_cpu_32(super->lane_bytes), sizeof(struct pmem_record));
	ret = zone_clear(device, &super->zones[0]);
	memcpy(state.uuid, super->uuid, sizeof(state.uuid));
	if (ret == 0)
		ret = pmem_state_store(device, &state);
	if (ret == 0)
		ret = pmem_super_store(device, super);
	return ret;
}

int
tp_pmem_pool_create_on(struct tp_pmem_device *device, const struct tp_pmem_pool_config *given,
		       struct tp_pmem_pool **pool_out)
{
	uint64_t bytes = device->bytes & ~(uint64_t)(PMEM_PAGE_BYTES - 1);
	struct tp_pmem_pool_config config;
	struct pmem_super super, old;
	const char *text;
	int ret;

	ret = config_complete(given, bytes, &config);
	if (ret == 0 && (bytes < TP_PMEM_POOL_BYTES_MIN || bytes > TP_PMEM_POOL_BYTES_MAX))
		ret = pmem_error(EINVAL, "size: 4 MiB to 8 TiB");
	if (ret == 0)
		ret = super_make(&super, bytes, &config);
	if (ret == 0) {
		memcpy(&old, device->media, sizeof(old));
		if (pmem_super_validate(&old, &text) == 0)
			ret = pmem_error(EEXIST, "there is a pool already");
	}
	if (ret == 0)
		ret = pool_format(device, &super);
	if (ret < 0) {
		device->ops->close(device);
		return ret;
	}
	return tp_pmem_pool_open_on(device, 0, pool_out);
}

/* The state of an open pool, or what was found: recovered, with the next epoch. */
static int
pool_recover(struct tp_pmem_pool *pool, uint32_t flags)
{
	uint64_t epoch = rte_le_to_cpu_64(pool->state.epoch);
	uint64_t watermark = rte_le_to_cpu_64(pool->state.watermark);
	int ret = 0;

	pool->was_clean = (rte_le_to_cpu_32(pool->state.flags) & PMEM_STATE_OPEN) == 0;
	if (!pool->was_clean)
		ret = pmem_recover(pool, epoch, (flags & TP_PMEM_OPEN_REPAIR) != 0, &watermark);
	if (ret < 0)
		return ret;
	pool->epoch = epoch + 1;
	atomic_init(&pool->next_seq, watermark + 1);
	if (pool->read_only)
		return 0;
	pool->state.flags = rte_cpu_to_le_32(PMEM_STATE_OPEN);
	pool->state.epoch = rte_cpu_to_le_64(pool->epoch);
	pool->state.watermark = rte_cpu_to_le_64(watermark);
	pool->state.open_count = rte_cpu_to_le_64(rte_le_to_cpu_64(pool->state.open_count) + 1);
	pool->state.unsafe_shutdowns = rte_cpu_to_le_64(pool->device->unsafe_shutdowns);
	if (!pool->was_clean)
		pool->state.bad_shutdown_count = rte_cpu_to_le_64(
			rte_le_to_cpu_64(pool->state.bad_shutdown_count) + 1);
	return pmem_state_store(pool->device, &pool->state);
}

/* The medium may have lost what it had promised, while it was in use. */
static int
shutdowns_compare(const struct tp_pmem_pool *pool, uint32_t flags)
{
	if (flags & TP_PMEM_OPEN_REPAIR || !pmem_state_lost_power(pool->device, &pool->state))
		return 0;
	return pmem_error(EBADMSG, "the medium lost power without writing its caches back "
		"while the pool was open: check it with repair");
}

static void
pool_free(struct tp_pmem_pool *pool)
{
	pmem_heap_destroy(pool->heap);
	pmem_lanes_destroy(pool);
	free(pool);
}

int
tp_pmem_pool_open_on(struct tp_pmem_device *device, uint32_t flags, struct tp_pmem_pool **pool_out)
{
	struct tp_pmem_pool *pool = NULL;
	int ret;

	if (flags > (TP_PMEM_OPEN_READ_ONLY | TP_PMEM_OPEN_REPAIR)) {
		ret = -EINVAL;
		goto close_device;
	}
	pool = aligned_alloc(64, RTE_ALIGN_CEIL(sizeof(*pool), 64));
	ret = -ENOMEM;
	if (pool == NULL)
		goto close_device;
	memset(pool, 0, sizeof(*pool));
	pool->device = device;
	pool->view.base = device->view;
	pool->lock_fd = -1;
	pool->read_only = device->read_only;
	ret = pmem_super_choose(device, &pool->super);
	if (ret < 0)
		goto close_device;
	ret = pmem_state_choose(device, &pool->super, &pool->state);
	if (ret < 0)
		goto close_device;
	pool->lane_count = rte_le_to_cpu_32(pool->super.lane_count);
	pool->lane_bytes = rte_le_to_cpu_32(pool->super.lane_bytes);
	ret = shutdowns_compare(pool, flags);
	if (ret == 0)
		ret = pmem_lanes_create(pool);
	if (ret == 0)
		ret = pool_recover(pool, flags);
	if (ret == 0)
		ret = pmem_heap_create(pool);
	if (ret < 0)
		goto close_device;
	*pool_out = pool;
	return 0;

close_device:
	if (pool != NULL)
		pool_free(pool);
	device->ops->close(device);
	return ret;
}

int
pmem_pool_close_device(struct tp_pmem_pool *pool)
{
	int ret = 0;

	if (!pool->read_only) {
		ret = pmem_checkpoint(pool, true);
		if (ret == 0) {
			pool->state.flags = 0;
			ret = pmem_state_store(pool->device, &pool->state);
		}
	}
	pool->device->ops->close(pool->device);
	pool_free(pool);
	return ret;
}

/* All lanes held. The zone's metadata lasts before the superblock names it. */
static int
pool_grow(struct tp_pmem_pool *pool, uint64_t bytes)
{
	struct tp_pmem_device *device = pool->device;
	uint64_t before = rte_le_to_cpu_64(pool->super.pool_bytes);
	uint32_t zone_count = rte_le_to_cpu_32(pool->super.zone_count);
	struct pmem_super super = pool->super;
	struct pmem_zone_record *zone = &super.zones[zone_count];
	uint64_t offset = RTE_ALIGN_CEIL(before, (uint64_t)PMEM_CHUNK_BYTES);
	int ret;

	if (bytes < before + POOL_GROW_BYTES_MIN || bytes > TP_PMEM_POOL_BYTES_MAX)
		return pmem_error(EINVAL, "size: at least 1 MiB more, at most 8 TiB");
	if (zone_count == PMEM_ZONES_MAX)
		return pmem_error(ENOSPC, "it has grown %u times", PMEM_ZONES_MAX - 1);
	*zone = (struct pmem_zone_record){
		.offset = rte_cpu_to_le_64(offset),
		.chunk_count = rte_cpu_to_le_32(pmem_heap_zone_chunks(bytes - offset)),
	};
	if (zone->chunk_count == 0)
		return pmem_error(EINVAL, "size: too little for one more chunk");
	super.zone_count = rte_cpu_to_le_32(zone_count + 1);
	super.pool_bytes = rte_cpu_to_le_64(bytes);
	ret = bytes > device->bytes ? device->ops->resize(device, bytes) : 0;
	if (ret == 0)
		ret = zone_clear(device, zone);
	if (ret == 0)
		ret = pmem_super_store(device, &super);
	if (ret == -EIO)
		atomic_store_explicit(&pool->failed, true, memory_order_relaxed);
	if (ret < 0)
		return ret;
	pool->super = super;
	return pmem_heap_zone_add(pool->heap, offset, rte_le_to_cpu_32(zone->chunk_count));
}

int
tp_pmem_pool_grow(struct tp_pmem_pool *pool, uint64_t bytes)
{
	int ret;

	if (pool->read_only)
		return pmem_error(EROFS, "opened for reading");
	pmem_lanes_take_all(pool);
	ret = pool_grow(pool, bytes & ~(uint64_t)(PMEM_PAGE_BYTES - 1));
	pmem_lanes_release_all(pool);
	return ret;
}

int
tp_pmem_pool_sync(struct tp_pmem_pool *pool)
{
	return pool->read_only ? 0 : pmem_settle(pool);
}

int
tp_pmem_pool_checkpoint(struct tp_pmem_pool *pool)
{
	return pool->read_only ? -EROFS : pmem_checkpoint(pool, true);
}

int
tp_pmem_pool_trim(struct tp_pmem_pool *pool)
{
	int ret;

	if (pool->read_only)
		return -EROFS;
	pmem_lanes_take_all(pool);
	ret = pmem_settle(pool);
	if (ret == 0)
		pool->device->ops->view_drop(pool->device, 0, pool->device->bytes);
	pmem_lanes_release_all(pool);
	return ret;
}

void
tp_pmem_pool_info_get(const struct tp_pmem_pool *pool, struct tp_pmem_pool_info *info)
{
	*info = (struct tp_pmem_pool_info){
		.version = rte_le_to_cpu_32(pool->super.version),
		.bytes = rte_le_to_cpu_64(pool->super.pool_bytes),
		.created_s = rte_le_to_cpu_64(pool->super.created_s),
		.granularity = pool->device->granularity,
		.is_dax = pool->device->is_dax,
		.read_only = pool->read_only,
		.was_clean = pool->was_clean,
		.open_count = rte_le_to_cpu_64(pool->state.open_count),
		.bad_shutdown_count = rte_le_to_cpu_64(pool->state.bad_shutdown_count),
		.epoch = pool->epoch,
		.lane_count = pool->lane_count,
		.lane_bytes = pool->lane_bytes,
		.zone_count = rte_le_to_cpu_32(pool->super.zone_count),
		.committed_seq = atomic_load_explicit(&pool->next_seq, memory_order_relaxed) - 1,
		.recovered_count = pool->recovered_count,
		.recovered_bytes = pool->recovered_bytes,
	};
	memcpy(info->uuid, pool->super.uuid, sizeof(info->uuid));
	memcpy(info->name, pool->super.name, sizeof(info->name));
}

void
tp_pmem_pool_stats_get(const struct tp_pmem_pool *pool, struct tp_pmem_pool_stats *stats)
{
	*stats = (struct tp_pmem_pool_stats){ 0 };
	for (uint32_t i = 0; i < pool->lane_count; i++) {
		const struct tp_pmem_pool_stats *lane = &pool->lanes[i].stats;

		stats->commits += __atomic_load_n(&lane->commits, __ATOMIC_RELAXED);
		stats->aborts += __atomic_load_n(&lane->aborts, __ATOMIC_RELAXED);
		stats->fences += __atomic_load_n(&lane->fences, __ATOMIC_RELAXED);
		stats->checkpoints += __atomic_load_n(&lane->checkpoints, __ATOMIC_RELAXED);
		stats->log_bytes += __atomic_load_n(&lane->log_bytes, __ATOMIC_RELAXED);
		stats->home_bytes += __atomic_load_n(&lane->home_bytes, __ATOMIC_RELAXED);
	}
}
