/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Hybrid objects: a hit against plain DRAM, a miss against a copy, and how many hits there are.
 *
 * A hit is a pin, the object's bytes, and its end. DRAM is an array of pointers by id to objects in
 * one piece of memory: the same ids in the same order, the same bytes read, pages of the
 * same kind. In rows of latency each object says which is next, so that what is measured is how
 * long one takes; in those of rate the ids are known before, and accesses overlap.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <rte_common.h>
#include <rte_cycles.h>

#include "bench.h"
#include "pmem_lru.h"
#include "tp_pmem_hybrid.h"

#define HYBRID_ACCESSES 256u		/* in a sample */
#define HYBRID_SET_BYTES (UINT64_C(64) << 20)
#define HYBRID_HOT_BYTES (UINT64_C(64) << 10)
#define HYBRID_POOL_BYTES (UINT64_C(320) << 20)
#define HYBRID_WRITE_EVERY 10u
#define HYBRID_SPARE_SHARE 16u		/* of the cache, beside what it has to hold */
#define HYBRID_MISS_BYTES 4096u

/* What is measured on both sides. */
struct hybrid_case {
	const char *name;
	uint32_t object_bytes;
	uint64_t set_bytes;
	enum tp_pmem_hybrid_level level;
	bool is_chain;		/* else ids are known before */
	bool has_writes;	/* every HYBRID_WRITE_EVERY-th access */
};

struct hybrid_bench {
	const struct hybrid_case *what;
	struct tp_pmem_pool *pool;
	uint64_t offset;
	struct tp_pmem_hybrid *hybrid;
	struct tp_pmem_hybrid_thread *thread;
	uint32_t *order;	/* all ids, in the order of accesses */
	uint64_t **plain;	/* objects by id */
	uint64_t *plain_objects;
	uint32_t count;
	uint32_t at[2];		/* in order, of each side */
	uint32_t next[2];	/* id */
	uint64_t sum;
	uint8_t copy[HYBRID_MISS_BYTES];
};

/* Memory as the cache's: on large pages where the kernel gives them. */
static void *
plain_map(size_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		return NULL;
	madvise(at, bytes, MADV_HUGEPAGE);
	return at;
}

static inline uint64_t
words_sum(const uint64_t *words, uint32_t bytes)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < bytes / sizeof(*words); i++)
		sum += words[i];
	return sum;
}

/* Id of the next access: in word 0 of the object, or in the order. */
static inline uint32_t
next_id(struct hybrid_bench *bench, unsigned int side, uint64_t word)
{
	if (bench->what->is_chain)
		return (uint32_t)word;
	bench->at[side] = bench->at[side] + 1 == bench->count ? 0 : bench->at[side] + 1;
	return bench->order[bench->at[side]];
}

static int
cache_write(struct hybrid_bench *bench, uint32_t id, uint64_t *word)
{
	uint64_t *words;
	int ret = tp_pmem_hybrid_edit(bench->thread, id, bench->what->object_bytes, 0,
		(void **)&words);

	if (ret < 0)
		return ret;
	*word = words[0];
	words[1]++;
	return tp_pmem_hybrid_commit(bench->thread);
}

static int
cache_once(void *context, uint64_t *ticks)
{
	struct hybrid_bench *bench = context;
	const uint32_t bytes = bench->what->object_bytes;
	const bool has_writes = bench->what->has_writes;
	uint32_t id = bench->next[0];
	uint64_t start = rte_rdtsc_precise(), sum = 0, word = 0;
	int ret = 0;

	for (unsigned int i = 0; i < HYBRID_ACCESSES && ret == 0; i++) {
		struct tp_pmem_hybrid_pin pin;

		if (has_writes && i % HYBRID_WRITE_EVERY == 0) {
			ret = cache_write(bench, id, &word);
		} else {
			ret = tp_pmem_hybrid_get(bench->thread, id, &pin);
			if (unlikely(ret < 0))
				break;
			word = *(const uint64_t *)pin.data;
			sum += words_sum(pin.data, bytes);
			tp_pmem_hybrid_put(bench->thread, &pin);
		}
		id = next_id(bench, 0, word);
	}
	*ticks = rte_rdtsc_precise() - start;
	bench->next[0] = id;
	bench->sum += sum;
	return ret;
}

static int
plain_once(void *context, uint64_t *ticks)
{
	struct hybrid_bench *bench = context;
	const uint32_t bytes = bench->what->object_bytes;
	const bool has_writes = bench->what->has_writes;
	uint32_t id = bench->next[1];
	uint64_t start = rte_rdtsc_precise(), sum = 0;

	for (unsigned int i = 0; i < HYBRID_ACCESSES; i++) {
		uint64_t *object = bench->plain[id];

		if (has_writes && i % HYBRID_WRITE_EVERY == 0)
			object[1]++;
		else
			sum += words_sum(object, bytes);
		id = next_id(bench, 1, object[0]);
	}
	*ticks = rte_rdtsc_precise() - start;
	bench->next[1] = id;
	bench->sum += sum;
	return 0;
}

/*
 * Set-up.
 */

static int
store_make(struct hybrid_bench *bench, uint32_t object_bytes, enum tp_pmem_hybrid_level level)
{
	struct tp_pmem_tx *tx;
	int ret = tp_pmem_tx_begin(bench->pool, &tx);

	if (ret < 0)
		return ret;
	ret = tp_pmem_hybrid_create(tx, object_bytes, bench->count, level, &bench->offset);
	if (ret == 0)
		return tp_pmem_tx_commit(tx, 0);
	tp_pmem_tx_abort(tx);
	return ret;
}

static int
pool_make(const struct bench *run, struct hybrid_bench *bench)
{
	char path[96];
	int ret;

	/* Both sides are memory: what is durable is written back by lines. */
	setenv("PMEM2_FORCE_GRANULARITY", "CACHE_LINE", 1);
	snprintf(path, sizeof(path), BENCH_FOLDER "-hybrid", run->prefix);
	ret = tp_pmem_pool_create(path, HYBRID_POOL_BYTES, NULL, &bench->pool);
	/* Open it stays usable; dead, the program leaves nothing. */
	unlink(path);
	return ret;
}

static int
handle_open(struct hybrid_bench *bench, uint64_t cache_bytes)
{
	const struct tp_pmem_hybrid_config config = { .cache_bytes = cache_bytes,
		.thread_count = 1 };
	int ret = tp_pmem_hybrid_open(bench->pool, bench->offset, &config, &bench->hybrid);

	return ret < 0 ? ret : tp_pmem_hybrid_thread_open(bench->hybrid, &bench->thread);
}

/* Each object: the id of the next in the ring, and some bytes. */
static void
plain_fill(struct hybrid_bench *bench)
{
	const size_t words = bench->what->object_bytes / sizeof(uint64_t);

	for (uint32_t i = 0; i < bench->count; i++) {
		uint32_t id = bench->order[i];

		bench->plain[id] = bench->plain_objects + id * words;
		bench->plain[id][0] = bench->order[(i + 1) % bench->count];
		bench->plain[id][2] = i;
	}
}

/* The same in the cache: in order of ids, so that they lie there as on the other side. */
static int
objects_fill(struct hybrid_bench *bench)
{
	const uint32_t bytes = bench->what->object_bytes;

	plain_fill(bench);
	for (uint32_t id = 0; id < bench->count; id++) {
		void *words;
		int ret = tp_pmem_hybrid_edit(bench->thread, id, bytes, TP_PMEM_HYBRID_WHOLE,
			&words);

		if (ret < 0)
			return ret;
		memcpy(words, bench->plain[id], bytes);
		ret = tp_pmem_hybrid_commit(bench->thread);
		if (ret < 0)
			return ret;
	}
	return 0;
}

/* Everything a few times: objects are in the cache, and known to be in use. */
static int
objects_warm(struct hybrid_bench *bench)
{
	struct tp_pmem_hybrid_pin pin;

	for (uint32_t i = 0; i < 4 * bench->count; i++) {
		int ret = tp_pmem_hybrid_get(bench->thread, i % bench->count, &pin);

		if (ret < 0)
			return ret;
		tp_pmem_hybrid_put(bench->thread, &pin);
	}
	tp_pmem_hybrid_stats_reset(bench->hybrid);
	return 0;
}

static int
case_open(const struct bench *run, struct hybrid_bench *bench, const struct hybrid_case *what)
{
	int ret;

	memset(bench, 0, sizeof(*bench));
	bench->what = what;
	bench->count = (uint32_t)(what->set_bytes / what->object_bytes);
	bench->order = bench_order(bench->count);
	bench->plain = plain_map(bench->count * sizeof(*bench->plain));
	bench->plain_objects = plain_map(what->set_bytes);
	if (bench->order == NULL || bench->plain == NULL || bench->plain_objects == NULL)
		return -ENOMEM;
	ret = pool_make(run, bench);
	if (ret == 0)
		ret = store_make(bench, what->object_bytes, what->level);
	if (ret == 0)
		ret = handle_open(bench, what->set_bytes + what->set_bytes / HYBRID_SPARE_SHARE);
	if (ret == 0)
		ret = objects_fill(bench);
	/* Half a ring apart: neither finds in the processor's caches what the other read. */
	bench->next[0] = bench->order[0];
	bench->at[1] = bench->count / 2;
	bench->next[1] = bench->order[bench->at[1]];
	return ret < 0 ? ret : objects_warm(bench);
}

static void
case_close(struct hybrid_bench *bench)
{
	tp_pmem_hybrid_close(bench->hybrid);
	if (bench->pool != NULL)
		tp_pmem_pool_close(bench->pool);
	if (bench->plain != NULL)
		munmap(bench->plain, bench->count * sizeof(*bench->plain));
	if (bench->plain_objects != NULL)
		munmap(bench->plain_objects, bench->what->set_bytes);
	free(bench->order);
}

static void
case_report(struct bench *run, const struct hybrid_case *what, struct bench_op ops[2],
	    const char *baseline, unsigned int accesses)
{
	const double scale = run->ns_per_tick / accesses;

	bench_report(run, &(struct bench_row){
		.name = what->name,
		.unit = "ns",
		.scale = scale,
		.samples = &ops[0].samples,
		.baseline_name = baseline,
		.baseline_scale = scale,
		.baseline = &ops[1].samples,
	});
}

static int
case_measure(struct bench *run, struct hybrid_bench *bench, const struct hybrid_case *what)
{
	const struct bench_plan plan = { .rounds = 150, .batch = 20, .warmup = 4 };
	struct bench_op ops[] = {
		{ cache_once, NULL, NULL, bench, { 0 } },
		{ plain_once, NULL, NULL, bench, { 0 } },
	};
	struct tp_pmem_hybrid_stats stats;
	int ret = case_open(run, bench, what);

	if (ret == 0)
		ret = bench_interleave(ops, RTE_DIM(ops), &plan);
	if (ret < 0)
		return ret;
	tp_pmem_hybrid_stats_get(bench->hybrid, &stats);
	if (stats.misses > 0) {
		fprintf(stderr, "telepage-bench: %s: some accesses were no hits\n", what->name);
		ret = -EIO;
	} else {
		case_report(run, what, ops, "dram", HYBRID_ACCESSES);
	}
	for (unsigned int i = 0; i < RTE_DIM(ops); i++)
		bench_samples_fini(&ops[i].samples);
	return ret;
}

int
bench_pmem_hybrid_hit(struct bench *run)
{
	static const struct hybrid_case cases[] = {
		{ "pmem_hybrid_hit_lat_64", 64, HYBRID_SET_BYTES, TP_PMEM_HYBRID_EVENTUAL, true, false },
		{ "pmem_hybrid_hit_lat_4096", 4096, HYBRID_SET_BYTES, TP_PMEM_HYBRID_EVENTUAL, true,
			false },
		{ "pmem_hybrid_hit_lat_64_hot", 64, HYBRID_HOT_BYTES, TP_PMEM_HYBRID_EVENTUAL, true,
			false },
		{ "pmem_hybrid_hit_rate_64", 64, HYBRID_SET_BYTES, TP_PMEM_HYBRID_EVENTUAL, false,
			false },
		{ "pmem_hybrid_hit_lat_64_w10_none", 64, HYBRID_SET_BYTES, TP_PMEM_HYBRID_NONE, true,
			true },
		{ "pmem_hybrid_hit_lat_64_w10_eventual", 64, HYBRID_SET_BYTES,
			TP_PMEM_HYBRID_EVENTUAL, true, true },
	};
	static struct hybrid_bench bench;
	int ret = bench_pin(run, 0);

	for (unsigned int i = 0; i < RTE_DIM(cases) && ret == 0; i++) {
		ret = case_measure(run, &bench, &cases[i]);
		case_close(&bench);
	}
	return ret;
}

/*
 * Misses: the cache has a sixteenth of the set, and each object comes when all others came.
 */

static int
miss_once(void *context, uint64_t *ticks)
{
	struct hybrid_bench *bench = context;
	uint64_t start = rte_rdtsc_precise();
	int ret = 0;

	for (unsigned int i = 0; i < HYBRID_ACCESSES && ret == 0; i++) {
		struct tp_pmem_hybrid_pin pin;

		ret = tp_pmem_hybrid_get(bench->thread, next_id(bench, 0, 0), &pin);
		if (ret == 0)
			tp_pmem_hybrid_put(bench->thread, &pin);
	}
	*ticks = rte_rdtsc_precise() - start;
	return ret;
}

static int
copy_once(void *context, uint64_t *ticks)
{
	struct hybrid_bench *bench = context;
	uint64_t start = rte_rdtsc_precise();

	for (unsigned int i = 0; i < HYBRID_ACCESSES; i++) {
		memcpy(bench->copy, bench->plain[next_id(bench, 1, 0)], HYBRID_MISS_BYTES);
		bench->sum += bench->copy[0];
	}
	*ticks = rte_rdtsc_precise() - start;
	return 0;
}

int
bench_pmem_hybrid_miss(struct bench *run)
{
	static const struct hybrid_case what = { "pmem_hybrid_miss_lat_4096", HYBRID_MISS_BYTES,
		HYBRID_SET_BYTES, TP_PMEM_HYBRID_EVENTUAL, false, false };
	const struct bench_plan plan = { .rounds = 100, .batch = 10, .warmup = 64 };
	static struct hybrid_bench bench;
	struct bench_op ops[] = {
		{ miss_once, NULL, NULL, &bench, { 0 } },
		{ copy_once, NULL, NULL, &bench, { 0 } },
	};
	struct tp_pmem_hybrid_stats stats;
	int ret = bench_pin(run, 0);

	if (ret == 0)
		ret = case_open(run, &bench, &what);
	if (ret == 0) {
		ret = tp_pmem_hybrid_close(bench.hybrid);
		bench.hybrid = NULL;
	}
	if (ret == 0)
		ret = handle_open(&bench, HYBRID_SET_BYTES / 16);
	if (ret == 0)
		ret = bench_interleave(ops, RTE_DIM(ops), &plan);
	if (ret == 0) {
		tp_pmem_hybrid_stats_get(bench.hybrid, &stats);
		if (stats.hits == 0)
			case_report(run, &what, ops, "copy", HYBRID_ACCESSES);
		else
			ret = -EIO;
		for (unsigned int i = 0; i < RTE_DIM(ops); i++)
			bench_samples_fini(&ops[i].samples);
	}
	case_close(&bench);
	return ret;
}

/*
 * Hit ratio: the same accesses by our cache and by an exact LRU of as many objects.
 */

#define RATIO_OBJECTS 100000u
#define RATIO_OBJECT_BYTES 64u
#define RATIO_WARM 1000000u
#define RATIO_ACCESSES 2000000u
#define RATIO_SCALE 1e-4	/* samples are millionths, rows per cent */

static int
ratio_accesses(struct hybrid_bench *bench, struct pmem_lru *lru, struct pmem_zipf *zipf,
	       unsigned int scan_every, unsigned int count)
{
	static uint32_t scanned;
	int ret = 0;

	for (unsigned int i = 0; i < count && ret == 0; i++) {
		struct tp_pmem_hybrid_pin pin;
		uint32_t id = bench->order[pmem_zipf_next(zipf)];

		if (scan_every > 0 && i % scan_every == 0)
			id = scanned++ % RATIO_OBJECTS;
		pmem_lru_access(lru, id);
		ret = tp_pmem_hybrid_get(bench->thread, id, &pin);
		if (ret == 0)
			tp_pmem_hybrid_put(bench->thread, &pin);
	}
	return ret;
}

static int
ratio_report(struct bench *run, const char *name, double ratio, double baseline,
	     const char *baseline_name)
{
	struct bench_samples samples[2] = { 0 };
	int ret = bench_samples_init(&samples[0], 1);

	if (ret == 0)
		ret = bench_samples_init(&samples[1], 1);
	if (ret == 0) {
		bench_samples_add(&samples[0], (uint64_t)(ratio * 1e6));
		bench_samples_add(&samples[1], (uint64_t)(baseline * 1e6));
		bench_report(run, &(struct bench_row){
			.name = name,
			.unit = "%",
			.scale = RATIO_SCALE,
			.samples = &samples[0],
			.baseline_name = baseline_name,
			.baseline_scale = RATIO_SCALE,
			.baseline = &samples[1],
		});
	}
	bench_samples_fini(&samples[0]);
	bench_samples_fini(&samples[1]);
	return ret;
}

/* With a cache of a share of the objects. */
static int
ratio_measure(struct bench *run, struct hybrid_bench *bench, unsigned int percent,
	      unsigned int scan_every)
{
	const uint32_t capacity = RATIO_OBJECTS / 100 * percent;
	struct tp_pmem_hybrid_stats stats;
	struct pmem_zipf zipf = { 0 };
	struct pmem_lru lru = { 0 };
	char name[64];
	int ret;

	ret = pmem_zipf_init(&zipf, RATIO_OBJECTS, 4711);
	if (ret == 0)
		ret = pmem_lru_init(&lru, RATIO_OBJECTS, capacity);
	if (ret == 0)
		ret = handle_open(bench, (uint64_t)capacity * RATIO_OBJECT_BYTES);
	if (ret == 0)
		ret = ratio_accesses(bench, &lru, &zipf, scan_every, RATIO_WARM);
	if (ret == 0) {
		tp_pmem_hybrid_stats_reset(bench->hybrid);
		lru.hits = 0;
		ret = ratio_accesses(bench, &lru, &zipf, scan_every, RATIO_ACCESSES);
		tp_pmem_hybrid_stats_get(bench->hybrid, &stats);
	}
	snprintf(name, sizeof(name), "pmem_hybrid_hit_ratio_%u%s", percent,
		scan_every > 0 ? "_scan" : "");
	if (ret == 0)
		ret = ratio_report(run, name, stats.hit_ratio, (double)lru.hits / RATIO_ACCESSES,
			"lru");
	snprintf(name, sizeof(name), "pmem_hybrid_hit_ratio_%u_of_best", percent);
	if (ret == 0 && scan_every == 0)
		ret = ratio_report(run, name, stats.hit_ratio, pmem_zipf_share(&zipf, capacity),
			"the most frequent");
	tp_pmem_hybrid_close(bench->hybrid);
	bench->hybrid = NULL;
	pmem_lru_fini(&lru);
	pmem_zipf_fini(&zipf);
	return ret;
}

int
bench_pmem_hybrid_ratio(struct bench *run)
{
	static const struct hybrid_case what = { "pmem_hybrid_hit_ratio", RATIO_OBJECT_BYTES,
		(uint64_t)RATIO_OBJECTS * RATIO_OBJECT_BYTES, TP_PMEM_HYBRID_EVENTUAL, true, false };
	static const unsigned int percents[] = { 1, 10, 50 };
	static struct hybrid_bench bench;
	int ret = bench_pin(run, 0);

	if (ret == 0)
		ret = case_open(run, &bench, &what);
	if (ret == 0) {
		ret = tp_pmem_hybrid_close(bench.hybrid);
		bench.hybrid = NULL;
	}
	for (unsigned int i = 0; i < RTE_DIM(percents) && ret == 0; i++)
		ret = ratio_measure(run, &bench, percents[i], 0);
	if (ret == 0)
		ret = ratio_measure(run, &bench, 10, 4);
	case_close(&bench);
	return ret;
}
