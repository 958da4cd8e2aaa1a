/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * telepage pmem bench: what the place of a path is good for. It makes a pool there, which
 * must not exist, measures, and removes it.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pmem.h"
#include "tp_pmem_alloc.h"
#include "tp_pmem_tx.h"
#include "tp_pmem_volume.h"

#define BENCH_BYTES (UINT64_C(64) << 20)
#define BENCH_BYTES_MIN (UINT64_C(32) << 20)
#define BENCH_NS 300000000u	/* of each measurement */
#define BENCH_AREA_BYTES (UINT64_C(4) << 20)
#define BENCH_VOLUME_BYTES (UINT64_C(8) << 20)
#define BENCH_THREADS_MAX 16u
#define BENCH_BATCH 32u		/* operations between two looks at the clock */

struct bench {
	struct tp_pmem_pool *pool;
	struct tp_pmem_volume *volume;
	uint8_t *area;			/* one part a thread */
	uint64_t *slots;
	unsigned int threads;
};

struct worker {
	struct bench *bench;
	const struct bench_kind *kind;
	unsigned int index;
	uint64_t random;
	uint64_t operations;
	int error;
};

struct bench_kind {
	const char *name;
	size_t bytes;
	uint32_t flags;			/* of the commit */
	int (*once)(struct worker *worker);
};

static uint64_t
random_next(struct worker *worker)
{
	worker->random ^= worker->random << 13;
	worker->random ^= worker->random >> 7;
	worker->random ^= worker->random << 17;
	return worker->random;
}

static int
update_once(struct worker *worker)
{
	const struct bench_kind *kind = worker->kind;
	uint64_t part = BENCH_AREA_BYTES / worker->bench->threads / kind->bytes;
	uint8_t *at = worker->bench->area + (worker->index * part + random_next(worker) % part) *
		kind->bytes;
	struct tp_pmem_tx *tx;
	int ret = tp_pmem_tx_begin(worker->bench->pool, &tx);

	if (ret < 0)
		return ret;
	ret = tp_pmem_tx_add_range(tx, at, kind->bytes);
	if (ret < 0) {
		tp_pmem_tx_abort(tx);
		return ret;
	}
	memset(at, (int)worker->random, kind->bytes);
	return tp_pmem_tx_commit(tx, kind->flags);
}

static int
alloc_once(struct worker *worker)
{
	uint64_t *slot = &worker->bench->slots[worker->index * 8];
	int ret = tp_pmem_alloc(worker->bench->pool, worker->kind->bytes, TP_PMEM_ALLOC_RAW, slot);

	return ret < 0 ? ret : tp_pmem_free(worker->bench->pool, slot);
}

static int
volume_once(struct worker *worker)
{
	uint8_t data[TP_PMEM_VOLUME_BLOCK_BYTES];
	uint64_t blocks = BENCH_VOLUME_BYTES / sizeof(data);

	memset(data, (int)worker->random, sizeof(data));
	return tp_pmem_volume_write(worker->bench->volume, random_next(worker) % blocks * sizeof(data),
		sizeof(data), data, TP_PMEM_VOLUME_FUA);
}

static const struct bench_kind kinds[] = {
	{ "update_64", 64, 0, update_once },
	{ "update_4096", 4096, 0, update_once },
	{ "update_64_deferred", 64, TP_PMEM_COMMIT_DEFER, update_once },
	{ "alloc_free_64", 64, 0, alloc_once },
	{ "alloc_free_4096", 4096, 0, alloc_once },
	{ "volume_write_4096", 4096, 0, volume_once },
};

static void *
worker_main(void *context)
{
	struct worker *worker = context;
	uint64_t until = cli_now_ns() + BENCH_NS;

	do {
		for (unsigned int i = 0; i < BENCH_BATCH && worker->error == 0; i++)
			worker->error = worker->kind->once(worker);
		worker->operations += BENCH_BATCH;
	} while (worker->error == 0 && cli_now_ns() < until);
	return NULL;
}

static void
kind_print(const struct cli *cli, const struct bench *bench, const struct bench_kind *kind,
	   uint64_t operations, uint64_t ns, uint64_t fences)
{
	double rate = (double)operations * 1e9 / (double)ns;
	double each = (double)ns * bench->threads / (double)operations;

	if (cli->json)
		printf("{\"name\": \"%s\", \"threads\": %u, \"per_s\": %.0f, \"ns\": %.0f, "
		       "\"fences\": %.3f}\n", kind->name, bench->threads, rate, each,
		       (double)fences / (double)operations);
	else
		printf("%-20s %12.0f /s  %10.0f ns each  %6.3f fences\n", kind->name, rate, each,
		       (double)fences / (double)operations);
}

static int
kind_run(struct cli *cli, struct bench *bench, const struct bench_kind *kind)
{
	struct worker workers[BENCH_THREADS_MAX];
	pthread_t threads[BENCH_THREADS_MAX];
	struct tp_pmem_pool_stats before, after;
	uint64_t start, operations = 0;
	unsigned int started = 0;
	int ret = 0;

	tp_pmem_pool_stats_get(bench->pool, &before);
	start = cli_now_ns();
	for (unsigned int i = 0; i < bench->threads && ret == 0; i++) {
		workers[i] = (struct worker){ .bench = bench, .kind = kind, .index = i,
			.random = 88172645463325252ull + i };
		ret = -pthread_create(&threads[i], NULL, worker_main, &workers[i]);
		started += ret == 0;
	}
	for (unsigned int i = 0; i < started; i++) {
		pthread_join(threads[i], NULL);
		operations += workers[i].operations;
		ret = ret < 0 ? ret : workers[i].error;
	}
	if (ret == 0)
		ret = tp_pmem_pool_sync(bench->pool);
	start = cli_now_ns() - start;
	tp_pmem_pool_stats_get(bench->pool, &after);
	if (ret == 0)
		kind_print(cli, bench, kind, operations, start, after.fences - before.fences);
	return ret;
}

static int
bench_prepare(struct bench *bench)
{
	uint64_t area, slots;
	struct tp_pmem_tx *tx;
	int ret = tp_pmem_tx_begin(bench->pool, &tx);

	if (ret < 0)
		return ret;
	ret = tp_pmem_tx_alloc(tx, BENCH_AREA_BYTES, TP_PMEM_ALLOC_ZERO, &area);
	if (ret == 0)
		ret = tp_pmem_tx_alloc(tx, BENCH_THREADS_MAX * 64, TP_PMEM_ALLOC_ZERO, &slots);
	if (ret < 0) {
		tp_pmem_tx_abort(tx);
		return ret;
	}
	ret = tp_pmem_tx_commit(tx, 0);
	if (ret == 0)
		ret = tp_pmem_volume_create(bench->pool, "bench", BENCH_VOLUME_BYTES);
	if (ret == 0)
		ret = tp_pmem_volume_open(bench->pool, "bench", &bench->volume);
	if (ret < 0)
		return ret;
	bench->area = tp_pmem_ptr(bench->pool, area);
	bench->slots = tp_pmem_ptr(bench->pool, slots);
	return 0;
}

int
cli_pmem_bench(struct cli *cli, const struct pmem_options *options)
{
	struct bench bench = { .threads = options->threads > 0 ? (unsigned int)options->threads : 1 };
	uint64_t bytes = options->bytes > 0 ? options->bytes : BENCH_BYTES;
	struct tp_pmem_pool_info info;
	int ret;

	if (bench.threads > BENCH_THREADS_MAX)
		return cli_usage("--threads: at most %u", BENCH_THREADS_MAX);
	if (bytes < BENCH_BYTES_MIN)
		return cli_usage("--size: at least 32M");
	ret = tp_pmem_pool_create(options->path, bytes, &options->config, &bench.pool);
	if (ret < 0)
		return cli_pmem_error("create", options->path, ret);
	tp_pmem_pool_info_get(bench.pool, &info);
	ret = bench_prepare(&bench);
	if (ret == 0 && !cli->json)
		printf("granularity          %s\n", tp_pmem_granularity_name(info.granularity));
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]) && ret == 0; i++)
		ret = kind_run(cli, &bench, &kinds[i]);
	if (ret < 0)
		cli_pmem_error("measure", options->path, ret);
	tp_pmem_volume_close(bench.volume);
	tp_pmem_pool_close(bench.pool);
	if (tp_pmem_pool_destroy(options->path) < 0 && ret == 0)
		ret = cli_pmem_error("remove", options->path, -EIO);
	return ret == 0 ? CLI_OK : CLI_FAILED;
}
