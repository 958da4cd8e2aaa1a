/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A page, or a word, that is on another node. Each measurement is a pass over
 * all pages in random order, so that a page is asked for once; the asking node
 * forgets them between passes, outside of what is timed. The same operation is
 * also one of the ping-pong of raw.h, a batch of each in turn.
 */
#include <errno.h>
#include <string.h>

#include <rte_cycles.h>

#include "miss.h"

#define MISS_ROOM_MIB 272u		/* a cache that holds the whole set */
#define MISS_SMALL_MIB 64u		/* a quarter of it: each page drives one out */
#define MISS_BATCH 256u
#define MISS_WARMUP 16u
#define MISS_ROUNDS 240u		/* all of them: less than the pages of the set */
#define MISS_CROWD_BATCH 3000u		/* longer than the slices of who computes */
#define MISS_CROWD_ROUNDS 10u		/* twice that is less than the pages of the set */
#define MISS_WORD 8u			/* of a page: word 0 is its number */

static int
miss_fetch(void *context, uint64_t *ticks)
{
	struct miss_bench *miss = context;
	uint64_t page = miss->order[miss->next++ % miss->page_count];
	struct tp_result result;
	uint64_t value;
	uint64_t start = rte_rdtsc_precise();

	result = tp_read(miss->thread, miss->region, page * BENCH_PAGE_BYTES, &value,
			 sizeof(value));
	*ticks = rte_rdtsc_precise() - start;
	if (tp_result_is_ok(result) && value == page)
		return 0;
	fprintf(stderr, "telepage-bench: page %lu: reason %u, value %lu\n", page, result.reason,
		value);
	return -EIO;
}

static int
miss_add(void *context, uint64_t *ticks)
{
	struct miss_bench *miss = context;
	uint64_t page = miss->order[miss->next++ % miss->page_count];
	struct tp_result result;
	uint64_t old;
	uint64_t start = rte_rdtsc_precise();

	result = tp_atomic_add64(miss->thread, miss->region,
				 page * BENCH_PAGE_BYTES + MISS_WORD, 1, &old);
	*ticks = rte_rdtsc_precise() - start;
	if (tp_result_is_ok(result) && old == miss->adds[page]++)
		return 0;
	fprintf(stderr, "telepage-bench: page %lu: reason %u, old %lu\n", page, result.reason, old);
	return -EIO;
}

struct miss_kind {
	const char *name;
	int (*once)(void *context, uint64_t *ticks);
	uint32_t reply_bytes;		/* of raw */
	const char *raw_name;
	bool attached;
	uint32_t cache_mib;
	unsigned int passes;		/* that do not count, before the one that does */
};

/* Batches of ours and of raw; checks that none was served by a copy that is here. */
static int
miss_pass(struct miss_bench *miss, const struct miss_kind *kind, struct bench_op ops[2])
{
	const struct bench_plan plan = {
		.rounds = MISS_ROUNDS,
		.batch = MISS_BATCH,
		.warmup = MISS_WARMUP,
	};
	const struct tp_thread_stats *stats = tp_thread_stats_get(miss->thread);
	uint64_t expected = stats->misses + MISS_ROUNDS * (MISS_BATCH + MISS_WARMUP);
	int ret;

	ret = bench_interleave(ops, 2, &plan);
	if (ret < 0)
		return ret;
	/* What was not measured went on while the raw side had its turn. */
	miss_resume(miss);
	/* Some may have been repeated. */
	if (stats->misses >= expected)
		return 0;
	fprintf(stderr, "telepage-bench: %s: %lu operations were no misses\n", kind->name,
		expected - stats->misses);
	for (unsigned int i = 0; i < 2; i++)
		bench_samples_fini(&ops[i].samples);
	return -EIO;
}

static int
miss_measure(struct miss_bench *miss, const struct miss_kind *kind)
{
	struct bench *bench = miss->bench;
	struct bench_raw_op raw = { &miss->raw, kind->reply_bytes };
	struct bench_op ops[] = {
		{ kind->once, miss_resume, miss_pause, miss, { 0 } },
		{ bench_raw_fetch, bench_raw_resume, bench_raw_pause, &raw, { 0 } },
	};
	int ret = 0;

	for (unsigned int pass = 0; pass <= kind->passes && ret == 0; pass++) {
		ret = miss_pass(miss, kind, ops);
		if (ret < 0)
			return ret;
		if (pass == kind->passes)
			bench_report(bench, &(struct bench_row){
				.name = kind->name,
				.pmd = bench_pmd_name(bench->pmd),
				.unit = "ns",
				.scale = bench->ns_per_tick,
				.samples = &ops[0].samples,
				.baseline_name = kind->raw_name,
				.baseline_scale = bench->ns_per_tick,
				.baseline = &ops[1].samples,
			});
		for (unsigned int i = 0; i < RTE_DIM(ops); i++)
			bench_samples_fini(&ops[i].samples);
		ret = miss_bench_clear(miss);
	}
	return ret;
}

static int
miss_run(struct bench *bench, const struct miss_kind *kind)
{
	struct miss_bench miss = { 0 };
	int ret;

	ret = miss_bench_init(&miss, bench, kind->attached, kind->cache_mib);
	if (ret == 0)
		ret = miss_measure(&miss, kind);
	miss_bench_fini(&miss);
	return ret;
}

static void
miss_flood_resume(void *context)
{
	struct miss_bench *miss = context;

	/* Read by the home in its next turn; nothing else is read through it. */
	atomic_store_explicit(&miss->shared->flood, true, memory_order_relaxed);
	miss_resume(miss);
}

static void
miss_flood_pause(void *context)
{
	struct miss_bench *miss = context;

	atomic_store_explicit(&miss->shared->flood, false, memory_order_relaxed);
	miss_pause(miss);
}

static void
miss_flood_report(struct miss_bench *miss, struct bench_op ops[2], double fetch_s)
{
	uint64_t frames = atomic_load_explicit(&miss->shared->flooded, memory_order_relaxed);

	bench_report(miss->bench, &(struct bench_row){
		.name = "foreign_flood_lat",
		.pmd = bench_pmd_name(miss->bench->pmd),
		.unit = "ns",
		.scale = miss->bench->ns_per_tick,
		.samples = &ops[0].samples,
		.baseline_name = "node_miss_lat",
		.baseline_scale = miss->bench->ns_per_tick,
		.baseline = &ops[1].samples,
	});
	bench_report_value(miss->bench, "foreign_flood_frames", "frames/s",
		(double)frames / fetch_s);
	bench_report_value(miss->bench, "foreign_flood_goodput", "pages/s",
		1e9 / (bench_samples_mean(&ops[0].samples) * miss->bench->ns_per_tick));
}

/* While the neighbour sends foreign frames between its turns, against the same without. */
static int
miss_flood_measure(struct miss_bench *miss)
{
	const struct bench_plan plan = {
		.rounds = MISS_ROUNDS / 3,
		.batch = MISS_BATCH,
		.warmup = MISS_WARMUP,
	};
	struct bench_op ops[] = {
		{ miss_fetch, miss_flood_resume, miss_flood_pause, miss, { 0 } },
		{ miss_fetch, miss_resume, miss_pause, miss, { 0 } },
	};
	int ret = bench_interleave(ops, RTE_DIM(ops), &plan);

	if (ret < 0)
		return ret;
	miss_flood_report(miss, ops, bench_samples_mean(&ops[0].samples) *
		(double)ops[0].samples.count * miss->bench->ns_per_tick / 1e9);
	for (unsigned int i = 0; i < RTE_DIM(ops); i++)
		bench_samples_fini(&ops[i].samples);
	miss_resume(miss);
	return miss_bench_clear(miss);
}

int
bench_foreign_flood(struct bench *bench)
{
	struct miss_bench miss = { .floods = true };
	int ret;

	if (bench->pmd != BENCH_PMD_AF_PACKET || bench->netns[0] != NULL) {
		fprintf(stderr, "telepage-bench: a flood needs --pmd af_packet and its own "
			"namespace\n");
		return -ENOTSUP;
	}
	ret = miss_bench_init(&miss, bench, false, MISS_ROOM_MIB);
	if (ret == 0)
		ret = miss_flood_measure(&miss);
	miss_bench_fini(&miss);
	return ret;
}

int
bench_node_miss(struct bench *bench)
{
	return miss_run(bench, &(const struct miss_kind){
		.name = "node_miss_lat", .once = miss_fetch,
		.reply_bytes = BENCH_RAW_PAGE_BYTES, .raw_name = "raw_rtt_64_4200",
		.cache_mib = MISS_ROOM_MIB, .passes = 1,
	});
}

int
bench_node_evict(struct bench *bench)
{
	return miss_run(bench, &(const struct miss_kind){
		.name = "node_evict_lat", .once = miss_fetch,
		.reply_bytes = BENCH_RAW_PAGE_BYTES, .raw_name = "raw_rtt_64_4200",
		.cache_mib = MISS_SMALL_MIB, .passes = 1,
	});
}

/* Beside a computing process, against the same without it. */
static int
miss_crowd_measure(struct miss_bench *miss)
{
	const struct bench_plan plan = {
		.rounds = MISS_CROWD_ROUNDS,
		.batch = MISS_CROWD_BATCH,
		.warmup = MISS_WARMUP,
	};
	struct bench_op ops[] = {
		{ miss_fetch, miss_crowd_resume, miss_crowd_pause, miss, { 0 } },
		{ miss_fetch, miss_resume, miss_pause, miss, { 0 } },
	};
	int ret = bench_interleave(ops, RTE_DIM(ops), &plan);

	if (ret < 0)
		return ret;
	bench_report(miss->bench, &(struct bench_row){
		.name = "client_miss_lat_neighbour",
		.pmd = bench_pmd_name(miss->bench->pmd),
		.unit = "ns",
		.scale = miss->bench->ns_per_tick,
		.samples = &ops[0].samples,
		.baseline_name = "client_miss_lat",
		.baseline_scale = miss->bench->ns_per_tick,
		.baseline = &ops[1].samples,
	});
	for (unsigned int i = 0; i < RTE_DIM(ops); i++)
		bench_samples_fini(&ops[i].samples);
	miss_resume(miss);
	return miss_bench_clear(miss);
}

static int
miss_crowd_run(struct bench *bench)
{
	struct miss_bench miss = { 0 };
	int ret;

	ret = miss_bench_init(&miss, bench, true, MISS_ROOM_MIB);
	if (ret == 0)
		ret = miss_neighbour_start(&miss);
	if (ret == 0)
		ret = miss_crowd_measure(&miss);
	miss_bench_fini(&miss);
	return ret;
}

int
bench_client_miss(struct bench *bench)
{
	if (bench->neighbour)
		return miss_crowd_run(bench);
	return miss_run(bench, &(const struct miss_kind){
		.name = "client_miss_lat", .once = miss_fetch,
		.reply_bytes = BENCH_RAW_PAGE_BYTES, .raw_name = "raw_rtt_64_4200",
		.attached = true, .cache_mib = MISS_ROOM_MIB, .passes = 1,
	});
}

int
bench_node_atomic(struct bench *bench)
{
	return miss_run(bench, &(const struct miss_kind){
		.name = "node_atomic_lat", .once = miss_add,
		.reply_bytes = BENCH_RAW_SMALL_BYTES, .raw_name = "raw_rtt_64_64",
		.cache_mib = MISS_ROOM_MIB,
	});
}

int
bench_client_atomic(struct bench *bench)
{
	return miss_run(bench, &(const struct miss_kind){
		.name = "client_atomic_lat", .once = miss_add,
		.reply_bytes = BENCH_RAW_SMALL_BYTES, .raw_name = "raw_rtt_64_64",
		.attached = true, .cache_mib = MISS_ROOM_MIB,
	});
}
