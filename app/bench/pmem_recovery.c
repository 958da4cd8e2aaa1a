/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * How long a pool takes to open: after a crash with its log full, per GiB of log; and after a
 * clean shutdown, of 10 GiB that are empty, and with 2 GiB of blocks. A crash is a
 * copy of the file while the pool is open.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <rte_common.h>
#include <rte_cycles.h>

#include "bench.h"
#include "pmem.h"
#include "tp_pmem.h"
#include "tp_pmem_alloc.h"
#include "tp_pmem_device.h"
#include "tp_pmem_tx.h"

#define RECOVERY_LANES 8u
#define RECOVERY_LANE_BYTES (UINT32_C(16) << 20)
#define RECOVERY_POOL_BYTES (UINT64_C(1) << 30)
#define RECOVERY_SET_BYTES (UINT64_C(256) << 20)
#define RECOVERY_ROUNDS 3u
#define RECOVERY_FILES 3u			/* the pool, its copy at the crash, the one to open */
#define RECOVERY_PLACE "/dev/shm"
#define CLEAN_POOL_BYTES (UINT64_C(10) << 30)
#define CLEAN_QUICK_BYTES (UINT64_C(512) << 20)
#define CLEAN_FILL_BYTES (UINT64_C(2) << 30)
#define CLEAN_BLOCK_BYTES (UINT64_C(16) << 10)
#define CLEAN_ROUNDS 10u
#define PATH_CHARS 128

static void
path_make(const struct bench *bench, char path[PATH_CHARS], const char *name)
{
	snprintf(path, PATH_CHARS, BENCH_FOLDER "-%s", bench->prefix, name);
	unlink(path);
}

/* Memory that is not there would end this process in the middle of a write. */
static int
room_check(uint64_t bytes)
{
	struct statvfs place;

	if (statvfs(RECOVERY_PLACE, &place) < 0)
		return -errno;
	if ((uint64_t)place.f_bavail * place.f_frsize >= bytes)
		return 0;
	fprintf(stderr, "telepage-bench: %s has %lu MiB left of %lu MiB that pools need\n",
		RECOVERY_PLACE, (unsigned long)(place.f_bavail * place.f_frsize >> 20),
		(unsigned long)(bytes >> 20));
	return -ENOSPC;
}

/* The bytes that are there; holes stay holes. */
static int
file_copy(const char *from, const char *to)
{
	int in = open(from, O_RDONLY | O_CLOEXEC);
	int out = open(to, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct stat st = { 0 };
	loff_t left = 0;
	ssize_t got = 1;

	if (in >= 0 && out >= 0 && fstat(in, &st) == 0)
		left = st.st_size;
	while (left > 0 && got > 0) {
		got = copy_file_range(in, NULL, out, NULL, (size_t)left, 0);
		left -= got > 0 ? got : 0;
	}
	if (in >= 0)
		close(in);
	if (out >= 0)
		close(out);
	return left == 0 && st.st_size > 0 ? 0 : -EIO;
}

/* One thread fills the log of its lane with transactions of so many bytes. */
static int
log_fill(struct tp_pmem_pool *pool, uint8_t *set, size_t bytes)
{
	struct tp_pmem_pool_stats before, now;
	uint64_t random = 1;
	int ret = 0;

	tp_pmem_pool_stats_get(pool, &before);
	do {
		uint8_t *at = set + bench_random(&random) % (RECOVERY_SET_BYTES / bytes) * bytes;
		struct tp_pmem_tx *tx;

		ret = tp_pmem_tx_begin(pool, &tx);
		if (ret < 0)
			return ret;
		ret = tp_pmem_tx_add_range(tx, at, bytes);
		if (ret < 0) {
			tp_pmem_tx_abort(tx);
			return ret;
		}
		memset(at, (int)random, bytes);
		ret = tp_pmem_tx_commit(tx, 0);
		tp_pmem_pool_stats_get(pool, &now);
	} while (ret == 0 && now.log_bytes - before.log_bytes < RECOVERY_LANE_BYTES - 2 * bytes - 4096);
	return ret;
}

/* Open and take lanes in turn: a transaction each stays open, so that the next has another. */
static int
logs_fill(struct tp_pmem_pool *pool, size_t bytes)
{
	struct tp_pmem_tx *open_tx[RECOVERY_LANES];
	struct tp_pmem_tx *tx;
	unsigned int count = 0;
	uint64_t offset = 0;
	int ret = tp_pmem_tx_begin(pool, &tx);

	if (ret < 0)
		return ret;
	ret = tp_pmem_tx_alloc(tx, RECOVERY_SET_BYTES, TP_PMEM_ALLOC_RAW, &offset);
	if (ret == 0)
		ret = tp_pmem_tx_root_set(tx, "set", offset);
	if (ret < 0) {
		tp_pmem_tx_abort(tx);
		return ret;
	}
	ret = tp_pmem_tx_commit(tx, 0);
	if (ret == 0)
		ret = tp_pmem_pool_checkpoint(pool);
	while (ret == 0 && count < RECOVERY_LANES) {
		ret = log_fill(pool, tp_pmem_ptr(pool, offset), bytes);
		if (ret == 0)
			ret = tp_pmem_tx_begin(pool, &open_tx[count]);
		count += ret == 0;
	}
	while (count > 0)
		tp_pmem_tx_abort(open_tx[--count]);
	return ret;
}

static int
open_timed(const char *path, uint64_t *ticks, uint64_t *log_bytes)
{
	struct tp_pmem_pool_info info;
	struct tp_pmem_pool *pool;
	uint64_t start = rte_rdtsc_precise();
	int ret = tp_pmem_pool_open(path, 0, &pool);

	*ticks = rte_rdtsc_precise() - start;
	if (ret < 0)
		return ret;
	tp_pmem_pool_info_get(pool, &info);
	*log_bytes = info.recovered_bytes;
	return tp_pmem_pool_close(pool);
}

static int
recovery_rounds(const char *crash, const char *copy, struct bench_samples *samples)
{
	int ret = 0;

	for (unsigned int i = 0; i < RECOVERY_ROUNDS && ret == 0; i++) {
		uint64_t ticks, log_bytes = 0;

		ret = file_copy(crash, copy);
		if (ret == 0)
			ret = open_timed(copy, &ticks, &log_bytes);
		/* A log that is not there would be recovered in no time. */
		if (ret == 0 && log_bytes < RECOVERY_LANES / 2 * (uint64_t)RECOVERY_LANE_BYTES)
			ret = -ENODATA;
		if (ret == 0)
			bench_samples_add(samples,
				(uint64_t)((double)ticks * (1 << 30) / (double)log_bytes));
	}
	return ret;
}

static int
recovery_figure(struct bench *bench, size_t bytes)
{
	static const struct tp_pmem_pool_config config = {
		.lane_count = RECOVERY_LANES, .lane_bytes = RECOVERY_LANE_BYTES,
	};
	char path[PATH_CHARS], crash[PATH_CHARS], copy[PATH_CHARS], name[64];
	struct bench_samples samples;
	struct tp_pmem_pool *pool = NULL;
	int ret = room_check(RECOVERY_FILES * RECOVERY_POOL_BYTES);

	if (ret == 0)
		ret = bench_samples_init(&samples, RECOVERY_ROUNDS);
	if (ret < 0)
		return ret;
	path_make(bench, path, "log");
	path_make(bench, crash, "crash");
	path_make(bench, copy, "copy");
	ret = tp_pmem_pool_create(path, RECOVERY_POOL_BYTES, &config, &pool);
	if (ret == 0)
		ret = logs_fill(pool, bytes);
	if (ret == 0)
		ret = file_copy(path, crash);
	tp_pmem_pool_close(pool);
	unlink(path);
	if (ret == 0)
		ret = recovery_rounds(crash, copy, &samples);
	unlink(crash);
	unlink(copy);
	snprintf(name, sizeof(name), "pmem_recovery_time_%zu", bytes);
	if (ret == 0)
		bench_report(bench, &(struct bench_row){
			.name = name, .unit = "ms/GiB", .scale = bench->ns_per_tick / 1e6,
			.samples = &samples,
		});
	bench_samples_fini(&samples);
	return ret;
}

static int
blocks_make(struct tp_pmem_pool *pool, uint64_t bytes)
{
	int ret = 0;

	while (bytes > 0 && ret == 0) {
		struct tp_pmem_tx *tx;

		ret = tp_pmem_tx_begin(pool, &tx);
		if (ret < 0)
			return ret;
		for (unsigned int i = 0; i < 64 && bytes > 0 && ret == 0; i++) {
			uint64_t offset;

			ret = tp_pmem_tx_alloc(tx, CLEAN_BLOCK_BYTES, TP_PMEM_ALLOC_ZERO, &offset);
			bytes -= CLEAN_BLOCK_BYTES;
		}
		if (ret == 0)
			ret = tp_pmem_tx_commit(tx, 0);
		else
			tp_pmem_tx_abort(tx);
	}
	return ret;
}

static int
clean_figure(struct bench *bench, const char *name, uint64_t pool_bytes, uint64_t fill)
{
	char path[PATH_CHARS];
	struct bench_samples samples;
	struct tp_pmem_device *device;
	struct tp_pmem_pool *pool = NULL;
	uint64_t ticks, log_bytes;
	int fd, ret = room_check(pool_bytes);

	if (ret == 0)
		ret = bench_samples_init(&samples, CLEAN_ROUNDS);
	if (ret < 0)
		return ret;
	/* A file is a device like any other; all of it is allocated when it is opened. */
	path_make(bench, path, "clean");
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	ret = fd < 0 || ftruncate(fd, (off_t)pool_bytes) < 0 ? -errno : 0;
	if (fd >= 0)
		close(fd);
	if (ret == 0)
		ret = tp_pmem_device_open(path, pool_bytes, false, &device);
	if (ret == 0)
		ret = tp_pmem_pool_create_on(device, NULL, &pool);
	if (ret == 0)
		ret = blocks_make(pool, fill);
	if (pool != NULL) {
		int closed = tp_pmem_pool_close(pool);

		ret = ret == 0 ? closed : ret;
	}
	for (unsigned int i = 0; i < CLEAN_ROUNDS && ret == 0; i++) {
		ret = open_timed(path, &ticks, &log_bytes);
		if (ret == 0)
			bench_samples_add(&samples, ticks);
	}
	unlink(path);
	if (ret == 0)
		bench_report(bench, &(struct bench_row){
			.name = name, .unit = "ms", .scale = bench->ns_per_tick / 1e6,
			.samples = &samples,
		});
	bench_samples_fini(&samples);
	return ret;
}

int
bench_pmem_recovery_time(struct bench *bench)
{
	int ret = bench_pmem_environment();

	if (ret == 0)
		ret = bench_pin(bench, 0);
	if (ret == 0)
		ret = recovery_figure(bench, 4096);
	if (ret == 0 && bench->quick)
		return clean_figure(bench, "pmem_open_clean_512m", CLEAN_QUICK_BYTES, 0);
	if (ret == 0)
		ret = recovery_figure(bench, 64);
	if (ret == 0)
		ret = clean_figure(bench, "pmem_open_clean_10g", CLEAN_POOL_BYTES, 0);
	if (ret == 0)
		ret = clean_figure(bench, "pmem_open_clean_10g_2g_used", CLEAN_POOL_BYTES,
			CLEAN_FILL_BYTES);
	return ret;
}
