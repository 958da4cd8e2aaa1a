/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Hybrid objects: pins, edits, levels and policies, what a full cache or pool says, what
 * damage says.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <rte_common.h>

#include "hybrid_store.h"
#include "pool_file.h"
#include "tp_pmem_alloc.h"

#define POOL_BYTES (UINT64_C(16) << 20)
#define OBJECT_BYTES 200u
#define OBJECTS 400u
#define CACHE_OBJECTS 32u
#define STRIDE 256u		/* of an object in the cache */

struct fixture {
	char path[POOL_FILE_CHARS];
	struct tp_pmem_pool *pool;
	uint64_t offset;
	struct tp_pmem_hybrid *hybrid;
	struct tp_pmem_hybrid_thread *thread;
};

static void
handle_open(struct fixture *f, const struct tp_pmem_hybrid_config *config)
{
	assert_int_equal(tp_pmem_hybrid_open(f->pool, f->offset, config, &f->hybrid), 0);
	assert_int_equal(tp_pmem_hybrid_thread_open(f->hybrid, &f->thread), 0);
}

static struct tp_pmem_hybrid_config
small_cache(enum tp_pmem_hybrid_policy policy)
{
	return (struct tp_pmem_hybrid_config){ .cache_bytes = CACHE_OBJECTS * STRIDE,
		.policy = policy };
}

static void
fixture_open(struct fixture *f, enum tp_pmem_hybrid_level level, enum tp_pmem_hybrid_policy policy)
{
	const struct tp_pmem_hybrid_config config = small_cache(policy);

	pool_file_force_lines(true);
	pool_file_path(f->path, "hybrid");
	f->pool = pool_file_create(f->path, POOL_BYTES);
	f->offset = hybrid_store_create(f->pool, OBJECT_BYTES, OBJECTS, level);
	handle_open(f, &config);
}

static void
fixture_close(struct fixture *f)
{
	assert_int_equal(tp_pmem_hybrid_close(f->hybrid), 0);
	assert_true(hybrid_store_frees_all(f->pool, f->offset));
	pool_file_close(f->pool);
	assert_int_equal(tp_pmem_pool_check(f->path, false, NULL, NULL), 0);
	unlink(f->path);
	pool_file_force_lines(false);
}

/* Close and open all of it. */
static void
fixture_again(struct fixture *f, enum tp_pmem_hybrid_policy policy)
{
	const struct tp_pmem_hybrid_config config = small_cache(policy);

	assert_int_equal(tp_pmem_hybrid_close(f->hybrid), 0);
	pool_file_close(f->pool);
	f->pool = pool_file_open(f->path);
	handle_open(f, &config);
}

static struct tp_pmem_hybrid_stats
stats_of(struct fixture *f)
{
	struct tp_pmem_hybrid_stats stats;

	tp_pmem_hybrid_stats_get(f->hybrid, &stats);
	return stats;
}

static void
store_one(struct fixture *f, uint32_t id, uint64_t version)
{
	assert_int_equal(hybrid_store_set(f->thread, id, version, OBJECT_BYTES), 0);
	assert_int_equal(tp_pmem_hybrid_commit(f->thread), 0);
}

static uint64_t
version_of(struct fixture *f, uint32_t id)
{
	return hybrid_store_get(f->thread, id, OBJECT_BYTES);
}

/* Objects far more than the cache holds, in any order, are what was stored last. */
static void
turnover(enum tp_pmem_hybrid_level level, enum tp_pmem_hybrid_policy policy)
{
	static uint64_t versions[OBJECTS];
	struct fixture f;
	uint64_t random = 1;

	memset(versions, 0, sizeof(versions));
	fixture_open(&f, level, policy);
	for (unsigned int i = 0; i < 20000; i++) {
		uint32_t id;

		random = random * 6364136223846793005u + 1442695040888963407u;
		id = (uint32_t)(random >> 33) % OBJECTS;
		if ((random >> 20 & 3) == 0) {
			versions[id] = (random >> 24 & 7) == 0 ? 0 : i + 1;
			store_one(&f, id, versions[id]);
		}
		assert_int_equal(version_of(&f, id), versions[id]);
	}
	assert_true(stats_of(&f).evictions > 1000);
	assert_true(stats_of(&f).write_backs > 100);
	fixture_again(&f, policy);
	for (uint32_t id = 0; id < OBJECTS; id++)
		assert_int_equal(version_of(&f, id),
			level == TP_PMEM_HYBRID_NONE ? 0 : versions[id]);
	assert_int_equal(tp_pmem_hybrid_check(f.hybrid, NULL, NULL), 0);
	fixture_close(&f);
}

static void
test_hybrid_turnover(void **state)
{
	for (int level = TP_PMEM_HYBRID_NONE; level <= TP_PMEM_HYBRID_TRANSACTION; level++) {
		turnover(level, TP_PMEM_HYBRID_WRITE_BACK);
		turnover(level, TP_PMEM_HYBRID_WRITE_THROUGH);
	}
}

/* A pin shows one version, whatever is committed and evicted meanwhile. */
static void
test_hybrid_pin_stays(void **state)
{
	struct tp_pmem_hybrid_pin pin, newer;
	struct fixture f;

	fixture_open(&f, TP_PMEM_HYBRID_EVENTUAL, TP_PMEM_HYBRID_WRITE_BACK);
	store_one(&f, 7, 1);
	assert_int_equal(tp_pmem_hybrid_get(f.thread, 7, &pin), 0);
	assert_int_equal((uintptr_t)pin.data % 64, 0);
	store_one(&f, 7, 2);
	assert_int_equal(tp_pmem_hybrid_get(f.thread, 7, &newer), 0);
	for (uint32_t id = 0; id < OBJECTS; id++)
		store_one(&f, id, 10 + id);
	assert_int_equal(hybrid_store_version(pin.data, pin.bytes, 7, OBJECT_BYTES), 1);
	assert_int_equal(hybrid_store_version(newer.data, newer.bytes, 7, OBJECT_BYTES), 2);
	tp_pmem_hybrid_put(f.thread, &pin);
	tp_pmem_hybrid_put(f.thread, &newer);
	assert_int_equal(version_of(&f, 7), 17);
	fixture_close(&f);
}

static void
test_hybrid_edit_keeps_old_bytes_and_adds_zeros(void **state)
{
	static const uint8_t zeros[OBJECT_BYTES];
	struct tp_pmem_hybrid_pin pin;
	struct fixture f;
	void *data, *again;

	fixture_open(&f, TP_PMEM_HYBRID_TRANSACTION, TP_PMEM_HYBRID_WRITE_THROUGH);
	/* A frame that was used, so that zeros are not there by chance. */
	for (uint32_t id = 0; id < OBJECTS; id++)
		store_one(&f, id, 1 + id);
	assert_int_equal(tp_pmem_hybrid_edit(f.thread, 0, 8, TP_PMEM_HYBRID_WHOLE, &data), 0);
	memcpy(data, "12345678", 8);
	assert_int_equal(tp_pmem_hybrid_commit(f.thread), 0);
	assert_int_equal(tp_pmem_hybrid_edit(f.thread, 0, 10, 0, &data), 0);
	assert_int_equal(tp_pmem_hybrid_edit(f.thread, 0, 100, 0, &again), 0);
	assert_ptr_equal(data, again);
	assert_memory_equal(data, "12345678", 8);
	assert_memory_equal((uint8_t *)data + 8, zeros, 92);
	assert_int_equal(tp_pmem_hybrid_commit(f.thread), 0);
	assert_int_equal(tp_pmem_hybrid_get(f.thread, 0, &pin), 0);
	assert_int_equal(pin.bytes, 100);
	tp_pmem_hybrid_put(f.thread, &pin);
	assert_int_equal(tp_pmem_hybrid_edit(f.thread, 0, OBJECT_BYTES, TP_PMEM_HYBRID_WHOLE,
		&data), 0);
	assert_memory_equal(data, zeros, OBJECT_BYTES);
	tp_pmem_hybrid_abort(f.thread);
	fixture_close(&f);
}

static void
test_hybrid_abort_changes_nothing(void **state)
{
	struct fixture f;

	fixture_open(&f, TP_PMEM_HYBRID_TRANSACTION, TP_PMEM_HYBRID_WRITE_BACK);
	store_one(&f, 1, 5);
	assert_int_equal(hybrid_store_set(f.thread, 1, 6, OBJECT_BYTES), 0);
	assert_int_equal(hybrid_store_set(f.thread, 2, 7, OBJECT_BYTES), 0);
	/* What is edited is seen after the commit. */
	assert_int_equal(version_of(&f, 1), 5);
	tp_pmem_hybrid_abort(f.thread);
	assert_int_equal(version_of(&f, 1), 5);
	assert_int_equal(version_of(&f, 2), 0);
	assert_int_equal(tp_pmem_hybrid_remove(f.thread, 2), -ENOENT);
	assert_int_equal(tp_pmem_hybrid_remove(f.thread, 1), 0);
	assert_int_equal(tp_pmem_hybrid_remove(f.thread, 1), -ENOENT);
	tp_pmem_hybrid_abort(f.thread);
	assert_int_equal(version_of(&f, 1), 5);
	fixture_close(&f);
}

static void
test_hybrid_second_editor_is_refused(void **state)
{
	struct tp_pmem_hybrid_thread *other;
	struct fixture f;
	void *data;

	fixture_open(&f, TP_PMEM_HYBRID_EVENTUAL, TP_PMEM_HYBRID_WRITE_BACK);
	assert_int_equal(tp_pmem_hybrid_thread_open(f.hybrid, &other), 0);
	assert_int_equal(hybrid_store_set(f.thread, 1, 1, OBJECT_BYTES), 0);
	assert_int_equal(hybrid_store_set(other, 2, 1, OBJECT_BYTES), 0);
	assert_int_equal(tp_pmem_hybrid_edit(f.thread, 2, 8, 0, &data), -EAGAIN);
	assert_int_equal(tp_pmem_hybrid_remove(f.thread, 2), -EAGAIN);
	tp_pmem_hybrid_thread_close(other);
	assert_int_equal(tp_pmem_hybrid_edit(f.thread, 2, 8, 0, &data), 0);
	tp_pmem_hybrid_abort(f.thread);
	fixture_close(&f);
}

static void
test_hybrid_all_pinned_is_busy(void **state)
{
	struct tp_pmem_hybrid_pin pins[CACHE_OBJECTS], more;
	struct fixture f;
	void *data;

	fixture_open(&f, TP_PMEM_HYBRID_EVENTUAL, TP_PMEM_HYBRID_WRITE_BACK);
	for (uint32_t id = 0; id < OBJECTS; id++)
		store_one(&f, id, 1);
	for (uint32_t id = 0; id < CACHE_OBJECTS; id++)
		assert_int_equal(tp_pmem_hybrid_get(f.thread, id, &pins[id]), 0);
	assert_int_equal(tp_pmem_hybrid_get(f.thread, 100, &more), -EBUSY);
	assert_int_equal(tp_pmem_hybrid_edit(f.thread, 100, 8, 0, &data), -EBUSY);
	assert_int_equal(tp_pmem_hybrid_edit(f.thread, 1, 8, 0, &data), -EBUSY);
	for (uint32_t id = 0; id < CACHE_OBJECTS; id++) {
		assert_int_equal(hybrid_store_version(pins[id].data, pins[id].bytes, id,
			OBJECT_BYTES), 1);
		assert_int_equal(version_of(&f, id), 1);
	}
	tp_pmem_hybrid_put(f.thread, &pins[3]);
	assert_int_equal(version_of(&f, 100), 1);
	for (uint32_t id = 0; id < CACHE_OBJECTS; id++)
		if (id != 3)
			tp_pmem_hybrid_put(f.thread, &pins[id]);
	store_one(&f, 1, 2);
	fixture_close(&f);
}

static void
test_hybrid_pins_are_counted(void **state)
{
	struct tp_pmem_hybrid_pin pins[TP_PMEM_HYBRID_PINS], more;
	struct fixture f;

	fixture_open(&f, TP_PMEM_HYBRID_NONE, TP_PMEM_HYBRID_WRITE_BACK);
	store_one(&f, 0, 1);
	for (unsigned int i = 0; i < TP_PMEM_HYBRID_PINS; i++)
		assert_int_equal(tp_pmem_hybrid_get(f.thread, 0, &pins[i]), 0);
	assert_int_equal(tp_pmem_hybrid_get(f.thread, 0, &more), -ENOBUFS);
	for (unsigned int i = 0; i < TP_PMEM_HYBRID_PINS; i++)
		tp_pmem_hybrid_put(f.thread, &pins[i]);
	assert_int_equal(version_of(&f, 0), 1);
	fixture_close(&f);
}

/* A new object needs a block; what is there can be changed in a full pool. */
static void
test_hybrid_full_pool(void **state)
{
	struct tp_pmem_hybrid_config config = { .cache_bytes = 1 << 16 };
	uint32_t count = 0;
	struct fixture f;
	void *data;
	int ret = 0;

	fixture_open(&f, TP_PMEM_HYBRID_EVENTUAL, TP_PMEM_HYBRID_WRITE_BACK);
	assert_int_equal(tp_pmem_hybrid_close(f.hybrid), 0);
	assert_true(hybrid_store_frees_all(f.pool, f.offset));
	f.offset = hybrid_store_create(f.pool, 4096, 100000, TP_PMEM_HYBRID_EVENTUAL);
	handle_open(&f, &config);
	while (ret == 0) {
		ret = tp_pmem_hybrid_edit(f.thread, count, 4096, 0, &data);
		if (ret < 0)
			break;
		memset(data, (int)count, 4096);
		ret = tp_pmem_hybrid_commit(f.thread);
		count++;
	}
	assert_int_equal(ret, -ENOSPC);
	assert_true(count > 1000);
	for (uint32_t id = 0; id < count; id++) {
		assert_int_equal(tp_pmem_hybrid_edit(f.thread, id, 4096, 0, &data), 0);
		assert_int_equal(((uint8_t *)data)[4095], (uint8_t)id);
		memset(data, (int)id + 1, 4096);
		assert_int_equal(tp_pmem_hybrid_commit(f.thread), 0);
	}
	assert_int_equal(tp_pmem_hybrid_flush(f.hybrid), 0);
	assert_int_equal(tp_pmem_hybrid_check(f.hybrid, NULL, NULL), 0);
	fixture_close(&f);
}

static void
test_hybrid_limits(void **state)
{
	struct tp_pmem_hybrid_config config = small_cache(TP_PMEM_HYBRID_WRITE_BACK);
	struct fixture f;
	void *data;

	config.dirty_bytes_max = 4 * OBJECT_BYTES;
	fixture_open(&f, TP_PMEM_HYBRID_EVENTUAL, TP_PMEM_HYBRID_WRITE_BACK);
	assert_int_equal(tp_pmem_hybrid_close(f.hybrid), 0);
	handle_open(&f, &config);
	for (uint32_t id = 0; id < OBJECTS; id++) {
		store_one(&f, id, 1);
		assert_true(stats_of(&f).dirty_bytes <= config.dirty_bytes_max);
	}
	assert_true(stats_of(&f).write_backs >= OBJECTS - 4);
	for (uint32_t id = 0; id < 5; id++)
		assert_int_equal(hybrid_store_set(f.thread, id, 2, OBJECT_BYTES), 0);
	assert_int_equal(tp_pmem_hybrid_commit(f.thread), -E2BIG);
	assert_int_equal(version_of(&f, 0), 1);
	assert_int_equal(tp_pmem_hybrid_flush(f.hybrid), 0);
	assert_int_equal(stats_of(&f).dirty_bytes, 0);
	for (uint32_t id = 0; id < CACHE_OBJECTS - 1; id++)
		assert_int_equal(hybrid_store_set(f.thread, id, 2, OBJECT_BYTES), 0);
	tp_pmem_hybrid_abort(f.thread);
	assert_int_equal(tp_pmem_hybrid_edit(f.thread, 0, 8, 0, &data), 0);
	tp_pmem_hybrid_abort(f.thread);
	fixture_close(&f);
}

/* The handle's thread writes back by itself. */
static void
test_hybrid_lag(void **state)
{
	struct tp_pmem_hybrid_config config = small_cache(TP_PMEM_HYBRID_WRITE_BACK);
	struct fixture f;

	config.lag_ms = 5;
	fixture_open(&f, TP_PMEM_HYBRID_EVENTUAL, TP_PMEM_HYBRID_WRITE_BACK);
	assert_int_equal(tp_pmem_hybrid_close(f.hybrid), 0);
	handle_open(&f, &config);
	store_one(&f, 0, 1);
	for (unsigned int i = 0; i < 10000 && stats_of(&f).dirty_bytes > 0; i++)
		usleep(1000);
	assert_int_equal(stats_of(&f).dirty_bytes, 0);
	assert_int_equal(stats_of(&f).write_backs, 1);
	fixture_close(&f);
}

static atomic_bool fences_fail;
static int (*fence_of_device)(struct tp_pmem_device *device);

static int
fence_or_fail(struct tp_pmem_device *device)
{
	return atomic_load(&fences_fail) ? -EIO : fence_of_device(device);
}

/* The thread that writes back cannot: who commits on its promise hears of it. */
static void
failed_lag(uint32_t lag_ms)
{
	struct tp_pmem_hybrid_config config = small_cache(TP_PMEM_HYBRID_WRITE_BACK);
	struct tp_pmem_device_ops ops;
	struct tp_pmem_device *device;
	struct fixture f;
	int ret = 0;

	fixture_open(&f, TP_PMEM_HYBRID_EVENTUAL, TP_PMEM_HYBRID_WRITE_BACK);
	assert_int_equal(tp_pmem_hybrid_close(f.hybrid), 0);
	pool_file_close(f.pool);
	assert_int_equal(tp_pmem_device_open(f.path, POOL_BYTES, false, &device), 0);
	ops = *device->ops;
	fence_of_device = ops.fence;
	ops.fence = fence_or_fail;
	device->ops = &ops;
	assert_int_equal(tp_pmem_pool_open_on(device, 0, &f.pool), 0);
	config.lag_ms = lag_ms;
	handle_open(&f, &config);
	store_one(&f, 0, 1);
	assert_int_equal(tp_pmem_hybrid_flush(f.hybrid), 0);
	atomic_store(&fences_fail, true);
	for (unsigned int i = 0; i < 3000 && ret == 0; i++) {
		assert_int_equal(hybrid_store_set(f.thread, 0, 2 + i, OBJECT_BYTES), 0);
		ret = tp_pmem_hybrid_commit(f.thread);
		if (lag_ms == 0 && ret == 0)
			assert_int_equal(tp_pmem_hybrid_flush(f.hybrid), -EIO);
		usleep(1000);
	}
	assert_int_equal(ret, -EIO);
	assert_int_equal(hybrid_store_set(f.thread, 1, 1, OBJECT_BYTES), -EIO);
	tp_pmem_hybrid_abort(f.thread);
	assert_int_equal(tp_pmem_hybrid_close(f.hybrid), -EIO);
	assert_int_equal(tp_pmem_pool_close(f.pool), -EIO);
	atomic_store(&fences_fail, false);
	unlink(f.path);
	pool_file_force_lines(false);
}

static void
test_hybrid_failed_write_back_refuses_commits(void **state)
{
	failed_lag(2);
	failed_lag(0);
}

/* What commits returned without, and what they did not. */
static void
crash_leaves(enum tp_pmem_hybrid_level level, enum tp_pmem_hybrid_policy policy, uint64_t first,
	     uint64_t second)
{
	char copy[POOL_FILE_CHARS];
	struct tp_pmem_pool *kept;
	struct fixture f;

	fixture_open(&f, level, policy);
	store_one(&f, 0, 1);
	assert_int_equal(tp_pmem_hybrid_flush(f.hybrid), 0);
	store_one(&f, 0, 2);
	assert_int_equal(version_of(&f, 0), 2);
	pool_file_path(copy, "hybrid-crash");
	pool_file_copy(f.path, copy);
	assert_int_equal(tp_pmem_hybrid_close(f.hybrid), 0);
	kept = f.pool;
	f.pool = pool_file_open(copy);
	handle_open(&f, &(struct tp_pmem_hybrid_config){ .cache_bytes = 1 << 16 });
	assert_true(version_of(&f, 0) == first || version_of(&f, 0) == second);
	assert_int_equal(tp_pmem_hybrid_close(f.hybrid), 0);
	pool_file_close(f.pool);
	unlink(copy);
	f.pool = kept;
	handle_open(&f, &(struct tp_pmem_hybrid_config){ .cache_bytes = 1 << 16 });
	fixture_close(&f);
}

static void
test_hybrid_crash(void **state)
{
	crash_leaves(TP_PMEM_HYBRID_NONE, TP_PMEM_HYBRID_WRITE_BACK, 0, 0);
	crash_leaves(TP_PMEM_HYBRID_NONE, TP_PMEM_HYBRID_WRITE_THROUGH, 0, 0);
	crash_leaves(TP_PMEM_HYBRID_EVENTUAL, TP_PMEM_HYBRID_WRITE_BACK, 1, 2);
	crash_leaves(TP_PMEM_HYBRID_EVENTUAL, TP_PMEM_HYBRID_WRITE_THROUGH, 2, 2);
	crash_leaves(TP_PMEM_HYBRID_TRANSACTION, TP_PMEM_HYBRID_WRITE_BACK, 1, 2);
	crash_leaves(TP_PMEM_HYBRID_TRANSACTION, TP_PMEM_HYBRID_WRITE_THROUGH, 2, 2);
}

/* The view has nothing of the objects: giving it back changes nothing. */
static void
test_hybrid_trim(void **state)
{
	struct fixture f;

	fixture_open(&f, TP_PMEM_HYBRID_EVENTUAL, TP_PMEM_HYBRID_WRITE_BACK);
	for (uint32_t id = 0; id < OBJECTS; id++)
		store_one(&f, id, id + 1);
	assert_int_equal(tp_pmem_pool_trim(f.pool), 0);
	for (uint32_t id = 0; id < OBJECTS; id++)
		assert_int_equal(version_of(&f, id), id + 1);
	fixture_close(&f);
}

/* S3-FIFO's point: what is read once does not drive out what is read often. */
static void
test_hybrid_scan_spares_the_hot(void **state)
{
	struct tp_pmem_hybrid_stats stats;
	struct fixture f;

	fixture_open(&f, TP_PMEM_HYBRID_EVENTUAL, TP_PMEM_HYBRID_WRITE_BACK);
	for (uint32_t id = 0; id < OBJECTS; id++)
		store_one(&f, id, 1);
	for (unsigned int i = 0; i < 20; i++)
		for (uint32_t id = 0; id < CACHE_OBJECTS / 2; id++)
			assert_int_equal(version_of(&f, id), 1);
	tp_pmem_hybrid_stats_reset(f.hybrid);
	for (uint32_t id = CACHE_OBJECTS; id < OBJECTS; id++)
		assert_int_equal(version_of(&f, id), 1);
	stats = stats_of(&f);
	assert_int_equal(stats.hits + stats.misses, OBJECTS - CACHE_OBJECTS);
	tp_pmem_hybrid_stats_reset(f.hybrid);
	for (uint32_t id = 0; id < CACHE_OBJECTS / 2; id++)
		assert_int_equal(version_of(&f, id), 1);
	assert_true(stats_of(&f).hit_ratio >= 0.75);
	fixture_close(&f);
}

static void
test_hybrid_statistics(void **state)
{
	struct tp_pmem_hybrid_stats stats;
	struct fixture f;

	fixture_open(&f, TP_PMEM_HYBRID_EVENTUAL, TP_PMEM_HYBRID_WRITE_BACK);
	stats = stats_of(&f);
	assert_int_equal(stats.cache_count, CACHE_OBJECTS);
	assert_int_equal(stats.object_count, OBJECTS);
	assert_int_equal(stats.object_bytes, OBJECT_BYTES);
	assert_int_equal(stats.dirty_bytes_max, CACHE_OBJECTS / 2 * OBJECT_BYTES);
	assert_true(stats.hit_ratio == 0);
	store_one(&f, 0, 1);
	store_one(&f, 1, 1);
	assert_int_equal(stats_of(&f).dirty_bytes, 2 * OBJECT_BYTES);
	assert_int_equal(stats_of(&f).commits, 2);
	for (unsigned int i = 0; i < 10; i++)
		assert_int_equal(version_of(&f, i % 2), 1);
	assert_int_equal(stats_of(&f).hits, 10);
	assert_int_equal(tp_pmem_hybrid_flush(f.hybrid), 0);
	assert_int_equal(stats_of(&f).write_backs, 2);
	tp_pmem_hybrid_stats_reset(f.hybrid);
	stats = stats_of(&f);
	assert_int_equal(stats.hits + stats.misses + stats.evictions + stats.write_backs +
		stats.commits, 0);
	fixture_again(&f, TP_PMEM_HYBRID_WRITE_THROUGH);
	assert_int_equal(version_of(&f, 0), 1);
	assert_int_equal(version_of(&f, 0), 1);
	stats = stats_of(&f);
	assert_int_equal(stats.misses, 1);
	assert_int_equal(stats.hits, 1);
	assert_true(stats.hit_ratio == 0.5);
	assert_int_equal(stats.dirty_bytes_max, 0);
	fixture_close(&f);
}

static void
test_hybrid_bad_input(void **state)
{
	struct tp_pmem_hybrid_config config = small_cache(TP_PMEM_HYBRID_WRITE_BACK);
	struct tp_pmem_hybrid_thread *threads[16];
	struct tp_pmem_hybrid *other;
	struct tp_pmem_hybrid_pin pin;
	struct tp_pmem_tx *tx;
	struct fixture f;
	uint64_t offset;
	void *data;

	fixture_open(&f, TP_PMEM_HYBRID_EVENTUAL, TP_PMEM_HYBRID_WRITE_BACK);
	assert_int_equal(tp_pmem_hybrid_get(f.thread, OBJECTS, &pin), -EINVAL);
	assert_int_equal(tp_pmem_hybrid_get(f.thread, 0, &pin), -ENOENT);
	assert_int_equal(tp_pmem_hybrid_edit(f.thread, OBJECTS, 8, 0, &data), -EINVAL);
	assert_int_equal(tp_pmem_hybrid_edit(f.thread, 0, 0, 0, &data), -EINVAL);
	assert_int_equal(tp_pmem_hybrid_edit(f.thread, 0, OBJECT_BYTES + 1, 0, &data), -EINVAL);
	assert_int_equal(tp_pmem_hybrid_edit(f.thread, 0, 8, 2, &data), -EINVAL);
	assert_int_equal(tp_pmem_hybrid_remove(f.thread, OBJECTS), -EINVAL);
	assert_int_equal(tp_pmem_hybrid_remove(f.thread, 0), -ENOENT);
	assert_int_equal(tp_pmem_hybrid_commit(f.thread), 0);
	for (unsigned int i = 0; i < 15; i++)
		assert_int_equal(tp_pmem_hybrid_thread_open(f.hybrid, &threads[i]), 0);
	assert_int_equal(tp_pmem_hybrid_thread_open(f.hybrid, &threads[15]), -EUSERS);
	tp_pmem_hybrid_thread_close(threads[0]);
	tp_pmem_hybrid_thread_close(NULL);
	assert_int_equal(tp_pmem_hybrid_thread_open(f.hybrid, &threads[0]), 0);

	assert_int_equal(tp_pmem_hybrid_open(f.pool, f.offset + 64, &config, &other), -EINVAL);
	assert_int_equal(tp_pmem_hybrid_open(f.pool, 1, &config, &other), -EINVAL);
	assert_int_equal(tp_pmem_hybrid_open(f.pool, 0, &config, &other), -EINVAL);
	config.cache_bytes = 3 * STRIDE;
	assert_int_equal(tp_pmem_hybrid_open(f.pool, f.offset, &config, &other), -EINVAL);
	config = small_cache(2);
	assert_int_equal(tp_pmem_hybrid_open(f.pool, f.offset, &config, &other), -EINVAL);
	config = small_cache(0);
	config.thread_count = TP_PMEM_HYBRID_THREADS_MAX + 1;
	assert_int_equal(tp_pmem_hybrid_open(f.pool, f.offset, &config, &other), -EINVAL);
	config = small_cache(0);
	config.dirty_bytes_max = OBJECT_BYTES - 1;
	assert_int_equal(tp_pmem_hybrid_open(f.pool, f.offset, &config, &other), -EINVAL);

	assert_int_equal(tp_pmem_tx_begin(f.pool, &tx), 0);
	assert_int_equal(tp_pmem_hybrid_create(tx, 0, 1, 0, &offset), -EINVAL);
	assert_int_equal(tp_pmem_hybrid_create(tx, 1, 0, 0, &offset), -EINVAL);
	assert_int_equal(tp_pmem_hybrid_create(tx, 1, 1, 3, &offset), -EINVAL);
	assert_int_equal(tp_pmem_hybrid_create(tx, TP_PMEM_HYBRID_OBJECT_BYTES_MAX + 1, 1, 0,
		&offset), -EINVAL);
	assert_int_equal(tp_pmem_hybrid_create(tx, 64, 4000000, 0, &offset), -ENOSPC);
	assert_int_equal(tp_pmem_hybrid_create(tx, 64, 10, 0, &offset), 0);
	assert_int_equal(tp_pmem_hybrid_destroy(tx, offset), -EINVAL);
	tp_pmem_tx_abort(tx);
	fixture_close(&f);
}

static void
test_hybrid_object_larger_than_half_a_lane_is_refused(void **state)
{
	const struct tp_pmem_hybrid_config config = { .cache_bytes = 1 << 20 };
	struct tp_pmem_pool_info info;
	struct fixture f;

	fixture_open(&f, TP_PMEM_HYBRID_EVENTUAL, TP_PMEM_HYBRID_WRITE_BACK);
	assert_int_equal(tp_pmem_hybrid_close(f.hybrid), 0);
	assert_true(hybrid_store_frees_all(f.pool, f.offset));
	tp_pmem_pool_info_get(f.pool, &info);
	f.offset = hybrid_store_create(f.pool, info.lane_bytes / 2 + 8, 10,
		TP_PMEM_HYBRID_EVENTUAL);
	assert_int_equal(tp_pmem_hybrid_open(f.pool, f.offset, &config, &f.hybrid), -EINVAL);
	f.hybrid = NULL;
	fixture_close(&f);
}

/* The least cache, and pins that do not need the kernel's barrier. */
static void
test_hybrid_full_fences(void **state)
{
	struct tp_pmem_hybrid_config config = { .cache_bytes = 4 * STRIDE, .full_fences = true };
	struct fixture f;

	fixture_open(&f, TP_PMEM_HYBRID_TRANSACTION, TP_PMEM_HYBRID_WRITE_BACK);
	assert_int_equal(tp_pmem_hybrid_close(f.hybrid), 0);
	handle_open(&f, &config);
	for (uint32_t i = 0; i < 3 * OBJECTS; i++)
		store_one(&f, i % OBJECTS, i + 1);
	for (uint32_t id = 0; id < OBJECTS; id++)
		assert_int_equal(version_of(&f, id), 2 * OBJECTS + id + 1);
	fixture_close(&f);
}

static void
test_hybrid_read_only(void **state)
{
	const struct tp_pmem_hybrid_config config = small_cache(TP_PMEM_HYBRID_WRITE_BACK);
	struct fixture f;
	void *data;

	fixture_open(&f, TP_PMEM_HYBRID_TRANSACTION, TP_PMEM_HYBRID_WRITE_BACK);
	for (uint32_t id = 0; id < OBJECTS; id++)
		store_one(&f, id, id + 1);
	assert_int_equal(tp_pmem_hybrid_close(f.hybrid), 0);
	pool_file_close(f.pool);
	assert_int_equal(tp_pmem_pool_open(f.path, TP_PMEM_OPEN_READ_ONLY, &f.pool), 0);
	handle_open(&f, &config);
	for (uint32_t id = 0; id < OBJECTS; id++)
		assert_int_equal(version_of(&f, id), id + 1);
	assert_int_equal(tp_pmem_hybrid_edit(f.thread, 0, 8, 0, &data), -EROFS);
	assert_int_equal(tp_pmem_hybrid_remove(f.thread, 0), -EROFS);
	assert_int_equal(tp_pmem_hybrid_flush(f.hybrid), 0);
	fixture_again(&f, TP_PMEM_HYBRID_WRITE_BACK);
	fixture_close(&f);
}

/*
 * Damage.
 */

/* Flip a bit of the file while it is closed. */
static void
flip(const char *path, uint64_t offset, unsigned int bit)
{
	int fd = open(path, O_RDWR);
	uint8_t byte;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, (off_t)offset), 1);
	byte ^= (uint8_t)(1u << bit);
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)offset), 1);
	close(fd);
}

/* Where the newest version of an object is in the file. */
static uint64_t
contents_find(const char *path, uint32_t id, uint64_t version)
{
	static uint8_t all[POOL_BYTES];
	uint8_t contents[OBJECT_BYTES];
	uint32_t bytes = hybrid_store_bytes(id, version, OBJECT_BYTES);
	int fd = open(path, O_RDONLY);
	const uint8_t *at = all;
	uint64_t found = 0;

	assert_true(fd >= 0);
	assert_int_equal(read(fd, all, sizeof(all)), sizeof(all));
	close(fd);
	hybrid_store_fill(contents, bytes, id, version);
	/* The last one: the log comes first. */
	while ((at = memmem(at, sizeof(all) - (size_t)(at - all), contents, bytes)) != NULL)
		found = (uint64_t)(at++ - all);
	assert_true(found > 0);
	return found;
}

static void
findings_count(void *context, enum tp_pmem_check_verdict verdict, uint64_t offset, const char *text)
{
	assert_int_equal(verdict, TP_PMEM_CHECK_LOST);
	assert_true(strstr(text, "damaged") != NULL || strstr(text, "no block") != NULL);
	*(unsigned int *)context += 1;
}

/* One object is lost and said to be; the others are as they were; it can be written anew. */
static void
test_hybrid_damaged_contents(void **state)
{
	unsigned int findings = 0;
	struct fixture f;
	void *data;

	fixture_open(&f, TP_PMEM_HYBRID_EVENTUAL, TP_PMEM_HYBRID_WRITE_BACK);
	for (uint32_t id = 0; id < OBJECTS; id++)
		store_one(&f, id, 7 + id);
	assert_int_equal(tp_pmem_hybrid_close(f.hybrid), 0);
	pool_file_close(f.pool);
	flip(f.path, contents_find(f.path, 3, 10), 5);
	f.pool = pool_file_open(f.path);
	handle_open(&f, &(struct tp_pmem_hybrid_config){ .cache_bytes = 1 << 16 });
	for (uint32_t id = 0; id < OBJECTS; id++)
		assert_int_equal(version_of(&f, id), id == 3 ? UINT64_MAX : 7 + id);
	assert_non_null(strstr(tp_pmem_error(), "object 3 "));
	assert_int_equal(tp_pmem_hybrid_check(f.hybrid, findings_count, &findings), 1);
	assert_int_equal(findings, 1);
	assert_int_equal(tp_pmem_hybrid_edit(f.thread, 3, 8, 0, &data), -EBADMSG);
	store_one(&f, 3, 8);	/* even: as a whole */
	assert_int_equal(version_of(&f, 3), 8);
	assert_int_equal(tp_pmem_hybrid_flush(f.hybrid), 0);
	assert_int_equal(tp_pmem_hybrid_check(f.hybrid, NULL, NULL), 0);
	fixture_close(&f);
}

/* An entry that is damaged while it is open: its object is lost, and said to be, no other. */
static void
damaged_entry_when_dirty(enum tp_pmem_hybrid_level level)
{
	const struct tp_pmem_hybrid_config config = { .cache_bytes = 1 << 16 };
	struct fixture f;
	uint64_t table;

	fixture_open(&f, level, TP_PMEM_HYBRID_WRITE_BACK);
	for (uint32_t id = 0; id < 3; id++)
		store_one(&f, id, 2);
	assert_int_equal(tp_pmem_hybrid_flush(f.hybrid), 0);
	memcpy(&table, (const uint8_t *)tp_pmem_ptr(f.pool, f.offset) + 16, sizeof(table));
	for (uint32_t id = 0; id < 3; id++)
		store_one(&f, id, 4);
	flip(f.path, table + 16 + 8, 0);
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(tp_pmem_hybrid_flush(f.hybrid), -EBADMSG);
		assert_non_null(strstr(tp_pmem_error(), "object 1 "));
		assert_int_equal(stats_of(&f).dirty_bytes, 0);
	}
	assert_int_equal(hybrid_store_set(f.thread, 1, 6, OBJECT_BYTES), -EBADMSG);
	tp_pmem_hybrid_abort(f.thread);
	assert_int_equal(tp_pmem_hybrid_close(f.hybrid), -EIO);
	handle_open(&f, &config);
	for (uint32_t id = 0; id < 3; id++)
		assert_int_equal(version_of(&f, id), id == 1 ? UINT64_MAX : 4);
	assert_int_equal(tp_pmem_hybrid_close(f.hybrid), 0);
	f.hybrid = NULL;
	flip(f.path, table + 16 + 8, 0);
	fixture_close(&f);
}

static void
test_hybrid_damaged_entry_keeps_no_other_object(void **state)
{
	damaged_entry_when_dirty(TP_PMEM_HYBRID_EVENTUAL);
	damaged_entry_when_dirty(TP_PMEM_HYBRID_TRANSACTION);
}

/* Every bit of a head and of an entry. */
static void
test_hybrid_damaged_head_and_entry(void **state)
{
	const struct tp_pmem_hybrid_config config = { .cache_bytes = 1 << 16 };
	struct tp_pmem_hybrid *hybrid;
	struct tp_pmem_tx *tx;
	struct fixture f;
	uint64_t table;
	int ret;

	fixture_open(&f, TP_PMEM_HYBRID_TRANSACTION, TP_PMEM_HYBRID_WRITE_THROUGH);
	store_one(&f, 0, 1);
	store_one(&f, 1, 2);
	assert_int_equal(tp_pmem_hybrid_close(f.hybrid), 0);
	memcpy(&table, (const uint8_t *)tp_pmem_ptr(f.pool, f.offset) + 16, sizeof(table));
	pool_file_close(f.pool);
	for (unsigned int bit = 0; bit < (64 + 16) * 8; bit++) {
		uint64_t at = (bit < 512 ? f.offset : table + 16 - 64) + bit / 8;

		flip(f.path, at, bit % 8);
		f.pool = pool_file_open(f.path);
		ret = tp_pmem_hybrid_open(f.pool, f.offset, &config, &hybrid);
		if (bit < 64) {
			assert_int_equal(ret, -EINVAL);
		} else if (bit < 512) {
			assert_int_equal(ret, -EBADMSG);
		} else {
			assert_int_equal(ret, 0);
			f.hybrid = hybrid;
			assert_int_equal(tp_pmem_hybrid_thread_open(hybrid, &f.thread), 0);
			assert_int_equal(version_of(&f, 0), 1);
			assert_int_equal(version_of(&f, 1), UINT64_MAX);
			assert_int_equal(hybrid_store_set(f.thread, 1, 4, OBJECT_BYTES),
				-EBADMSG);
			assert_int_equal(tp_pmem_hybrid_check(hybrid, NULL, NULL), 1);
			assert_int_equal(tp_pmem_hybrid_close(hybrid), 0);
		}
		assert_int_equal(tp_pmem_tx_begin(f.pool, &tx), 0);
		assert_true(tp_pmem_hybrid_destroy(tx, f.offset) < 0);
		tp_pmem_tx_abort(tx);
		pool_file_close(f.pool);
		flip(f.path, at, bit % 8);
	}
	f.pool = pool_file_open(f.path);
	f.hybrid = NULL;
	fixture_close(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hybrid_abort_changes_nothing),
		cmocka_unit_test(test_hybrid_all_pinned_is_busy),
		cmocka_unit_test(test_hybrid_bad_input),
		cmocka_unit_test(test_hybrid_crash),
		cmocka_unit_test(test_hybrid_damaged_contents),
		cmocka_unit_test(test_hybrid_damaged_entry_keeps_no_other_object),
		cmocka_unit_test(test_hybrid_damaged_head_and_entry),
		cmocka_unit_test(test_hybrid_edit_keeps_old_bytes_and_adds_zeros),
		cmocka_unit_test(test_hybrid_failed_write_back_refuses_commits),
		cmocka_unit_test(test_hybrid_full_fences),
		cmocka_unit_test(test_hybrid_full_pool),
		cmocka_unit_test(test_hybrid_lag),
		cmocka_unit_test(test_hybrid_limits),
		cmocka_unit_test(test_hybrid_object_larger_than_half_a_lane_is_refused),
		cmocka_unit_test(test_hybrid_pin_stays),
		cmocka_unit_test(test_hybrid_pins_are_counted),
		cmocka_unit_test(test_hybrid_read_only),
		cmocka_unit_test(test_hybrid_scan_spares_the_hot),
		cmocka_unit_test(test_hybrid_second_editor_is_refused),
		cmocka_unit_test(test_hybrid_statistics),
		cmocka_unit_test(test_hybrid_trim),
		cmocka_unit_test(test_hybrid_turnover),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
