/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A get, as other systems offer it: bytes of pages that are on another node, read
 * into the caller's buffer, from 64 bytes to 16 pages, one size after the other.
 * As in miss.c the asking node has forgotten all pages before each size, and none
 * is asked for twice in one; up to 4 KiB every size brings one page.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_common.h>
#include <rte_cycles.h>

#include "miss.h"

#define FETCH_CACHE_MIB 272u		/* a cache that holds the whole set */
#define FETCH_BYTES_MAX (64u * 1024)
#define FETCH_PASS_PAGES 49152u		/* of the set's 65536, warm-up comes on top */
#define FETCH_WARMUP 8u
#define FETCH_BATCH 64u

static const uint32_t fetch_sizes[] = { 64, 256, 1024, 4096, 16384, FETCH_BYTES_MAX };

/* One size: context of fetch_once(). */
struct fetch_op {
	struct miss_bench *miss;
	uint32_t bytes;
	uint32_t span;			/* pages it touches */
	uint32_t *order;		/* of spans */
	uint32_t next;
};

static uint8_t fetch_buffer[FETCH_BYTES_MAX];

static int
fetch_once(void *context, uint64_t *ticks)
{
	struct fetch_op *op = context;
	uint64_t page = (uint64_t)op->order[op->next++] * op->span;
	struct tp_result result;
	uint64_t first, last;
	uint64_t start = rte_rdtsc_precise();

	result = tp_read(op->miss->thread, op->miss->region, page * BENCH_PAGE_BYTES,
			 fetch_buffer, op->bytes);
	*ticks = rte_rdtsc_precise() - start;
	memcpy(&first, fetch_buffer, sizeof(first));
	memcpy(&last, fetch_buffer + (size_t)(op->span - 1) * BENCH_PAGE_BYTES, sizeof(last));
	if (tp_result_is_ok(result) && first == page && last == page + op->span - 1)
		return 0;
	fprintf(stderr, "telepage-bench: %u bytes at page %lu: reason %u, pages %lu to %lu\n",
		op->bytes, page, result.reason, first, last);
	return -EIO;
}

static void
fetch_resume(void *context)
{
	struct fetch_op *op = context;

	miss_resume(op->miss);
}

static void
fetch_pause(void *context)
{
	struct fetch_op *op = context;

	miss_pause(op->miss);
}

static int
fetch_op_init(struct fetch_op *op, struct miss_bench *miss, uint32_t bytes)
{
	uint32_t span = RTE_MAX(bytes / BENCH_PAGE_BYTES, 1u);

	*op = (struct fetch_op){
		.miss = miss,
		.bytes = bytes,
		.span = span,
		.order = bench_order(miss->page_count / span),
	};
	return op->order == NULL ? -ENOMEM : 0;
}

static void
fetch_report(struct fetch_op *op, const char *name, struct bench_samples *samples)
{
	struct bench *bench = op->miss->bench;
	char text[48];

	snprintf(text, sizeof(text), "%s_%u", name, op->bytes);
	bench_report(bench, &(struct bench_row){
		.name = text,
		.pmd = bench_pmd_name(bench->pmd),
		.unit = "ns",
		.scale = bench->ns_per_tick,
		.samples = samples,
	});
}

/* All pages are at the other node: measure a size, and have them there again. */
static int
fetch_size_measure(struct miss_bench *miss, const char *name, uint32_t bytes, bool report)
{
	const struct tp_thread_stats *stats = tp_thread_stats_get(miss->thread);
	struct bench_op measured = { fetch_once, fetch_resume, fetch_pause, NULL, { 0 } };
	struct bench_plan plan = { .batch = FETCH_BATCH, .warmup = FETCH_WARMUP };
	struct fetch_op op;
	uint64_t misses = stats->misses;
	int ret = fetch_op_init(&op, miss, bytes);

	if (ret < 0)
		return ret;
	measured.context = &op;
	plan.rounds = RTE_MIN(FETCH_PASS_PAGES / op.span / FETCH_BATCH, 160u);
	ret = bench_interleave(&measured, 1, &plan);
	if (ret == 0 && stats->misses - misses < (uint64_t)op.next) {
		fprintf(stderr, "telepage-bench: %s_%u: %lu misses of %u reads\n", name, bytes,
			stats->misses - misses, op.next);
		ret = -EIO;
	}
	if (ret == 0 && report)
		fetch_report(&op, name, &measured.samples);
	bench_samples_fini(&measured.samples);
	free(op.order);
	/* They rest since the last batch. */
	miss_resume(miss);
	return ret == 0 ? miss_bench_clear(miss) : ret;
}

static int
fetch_run(struct bench *bench, const char *name, bool attached)
{
	struct miss_bench miss = { 0 };
	int ret;

	if (bench->pmd == BENCH_PMD_TAP) {
		fprintf(stderr, "telepage-bench: %s: tap carries no frame with a page\n", name);
		return -ENOTSUP;
	}
	ret = miss_bench_init(&miss, bench, attached, FETCH_CACHE_MIB);
	/* Once for nothing: frames of the cache and its index are touched. */
	for (unsigned int pass = 0; pass < 2; pass++)
		for (unsigned int i = 0; i < RTE_DIM(fetch_sizes) && ret == 0; i++)
			ret = fetch_size_measure(&miss, name, fetch_sizes[i], pass == 1);
	miss_bench_fini(&miss);
	return ret;
}

int
bench_node_fetch(struct bench *bench)
{
	return fetch_run(bench, "node_fetch_lat", false);
}

int
bench_client_fetch(struct bench *bench)
{
	return fetch_run(bench, "client_fetch_lat", true);
}
