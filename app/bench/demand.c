/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A page that somebody waits for, while pages that nobody waits for fill the
 * same link in the same direction; against the same fetch on an idle link. What
 * the bulk keeps is compared with what a stream of normal priority brings when
 * it has the link for itself.
 */
#include <errno.h>

#include <rte_common.h>
#include <rte_cycles.h>

#include "fabric.h"

#define DEMAND_ROUNDS 40u
#define DEMAND_FETCHES 500u		/* in each half of a round */
#define DEMAND_SETTLE_NS UINT64_C(3000000)
#define DEMAND_SLICE_NS UINT64_C(10000000)
#define DEMAND_PAUSE_NS 20000u		/* between fetches, and up to as much more */

struct demand_result {
	struct bench_samples idle;	/* ticks of a fetch */
	struct bench_samples loaded;
	struct bench_samples stream;	/* bytes a millisecond */
	struct bench_samples bulk;
};

static uint64_t
bytes_per_ms(const struct fabric_side *side, uint64_t start)
{
	double ns = (double)(rte_rdtsc() - start) * side->bench->ns_per_tick;

	return (uint64_t)((double)(side->streamed * BENCH_PAGE_BYTES) * 1e6 / ns);
}

/* Fetches with a pause of random length after each; what streams meanwhile is counted. */
static int
demand_slice(struct fabric_bench *fabric, struct bench_samples *fetches, struct bench_samples *bw)
{
	struct fabric_side *side = &fabric->side;
	uint64_t start;
	uint64_t ticks;
	int ret;

	fabric_side_run(side, DEMAND_SETTLE_NS);
	side->streamed = 0;
	start = rte_rdtsc();
	for (unsigned int i = 0; i < DEMAND_FETCHES; i++) {
		ret = fabric_fetch(fabric, &ticks);
		if (ret < 0)
			return ret;
		bench_samples_add(fetches, ticks);
		fabric_side_run(side, DEMAND_PAUSE_NS +
			side->order[side->next % side->page_count] % DEMAND_PAUSE_NS);
	}
	if (bw != NULL)
		bench_samples_add(bw, bytes_per_ms(side, start));
	return 0;
}

static void
stream_slice(struct fabric_bench *fabric, struct bench_samples *bw)
{
	struct fabric_side *side = &fabric->side;
	uint64_t start;

	fabric_stream_set(fabric, FABRIC_STREAM_NORMAL);
	fabric_side_run(side, DEMAND_SETTLE_NS);
	side->streamed = 0;
	start = rte_rdtsc();
	fabric_side_run(side, DEMAND_SLICE_NS);
	bench_samples_add(bw, bytes_per_ms(side, start));
}

static int
demand_measure(struct fabric_bench *fabric, struct demand_result *result)
{
	int ret = 0;

	for (unsigned int round = 0; round < DEMAND_ROUNDS && ret == 0; round++) {
		fabric_stream_set(fabric, FABRIC_STREAM_NONE);
		ret = demand_slice(fabric, &result->idle, NULL);
		if (ret < 0)
			break;
		stream_slice(fabric, &result->stream);
		fabric_stream_set(fabric, FABRIC_STREAM_BULK);
		ret = demand_slice(fabric, &result->loaded, &result->bulk);
	}
	return ret;
}

static void
demand_report(struct bench *bench, struct demand_result *result)
{
	bench_report(bench, &(struct bench_row){
		.name = "demand_under_bulk_lat",
		.pmd = bench_pmd_name(bench->pmd),
		.unit = "ns",
		.scale = bench->ns_per_tick,
		.samples = &result->loaded,
		.baseline_name = "demand_idle_lat",
		.baseline_scale = bench->ns_per_tick,
		.baseline = &result->idle,
	});
	bench_report(bench, &(struct bench_row){
		.name = "bulk_under_demand_bw",
		.pmd = bench_pmd_name(bench->pmd),
		.unit = "MB/s",
		.scale = 1e-3,
		.samples = &result->bulk,
		.baseline_name = "session_bw",
		.baseline_scale = 1e-3,
		.baseline = &result->stream,
	});
}

int
bench_demand(struct bench *bench)
{
	struct demand_result result = { 0 };
	struct fabric_bench fabric;
	int ret;

	ret = fabric_bench_init(&fabric, bench, 0);
	if (ret == 0)
		ret = bench_samples_init(&result.idle, DEMAND_ROUNDS * DEMAND_FETCHES);
	if (ret == 0)
		ret = bench_samples_init(&result.loaded, DEMAND_ROUNDS * DEMAND_FETCHES);
	if (ret == 0)
		ret = bench_samples_init(&result.stream, DEMAND_ROUNDS);
	if (ret == 0)
		ret = bench_samples_init(&result.bulk, DEMAND_ROUNDS);
	if (ret == 0)
		ret = demand_measure(&fabric, &result);
	if (ret == 0)
		demand_report(bench, &result);
	bench_samples_fini(&result.idle);
	bench_samples_fini(&result.loaded);
	bench_samples_fini(&result.stream);
	bench_samples_fini(&result.bulk);
	fabric_bench_fini(&fabric);
	return ret;
}
