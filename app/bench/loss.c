/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What a session brings across a link that loses frames, against the same link
 * without loss: pages streamed by the peer, a slice of time at each rate in
 * turn. Frames are lost both ways, data and acknowledgements alike.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_common.h>
#include <rte_cycles.h>

#include "fabric.h"

#define LOSS_ROUNDS 30u
#define LOSS_SETTLE_NS UINT64_C(3000000)	/* what is under way still meets the last rate */
#define LOSS_SLICE_NS UINT64_C(20000000)
#define LOSS_LATENCIES (4u << 20)

/* Rates; the first is what the others are compared with. */
static const struct {
	const char *bw;
	const char *latency;
	const char *tail;
	uint32_t ppm;
} loss_rates[] = {
	{ "session_bw", "session_stream_lat", "session_stream_p999", 0 },
	{ "session_loss_bw_1e-4", "session_loss_lat_1e-4", "session_loss_p999_1e-4", 100 },
	{ "session_loss_bw_1e-3", "session_loss_lat_1e-3", "session_loss_p999_1e-3", 1000 },
	{ "session_loss_bw_1e-2", "session_loss_lat_1e-2", "session_loss_p999_1e-2", 10000 },
};

struct loss_result {
	struct bench_samples bw;	/* bytes a millisecond */
	struct bench_samples latency;
	struct bench_samples tail;	/* p99.9 of each slice's latencies */
	struct bench_samples rto;	/* of the streaming session, ns */
	uint64_t *scratch;		/* the latencies of a slice, to be sorted */
};

/*
 * The slowest of a slice. When another process gets a core for a few milliseconds, all
 * messages of that time are slow, lost or not: that is one slice of many then.
 */
static void
loss_tail(struct loss_result *result, size_t first)
{
	struct bench_samples slice = {
		.ticks = result->scratch,
		.count = result->latency.count - first,
		.capacity = result->latency.count - first,
	};

	if (slice.count == 0)
		return;
	memcpy(slice.ticks, result->latency.ticks + first, slice.count * sizeof(*slice.ticks));
	bench_samples_add(&result->tail, bench_samples_quantile(&slice, 0.999));
}

static void
loss_slice(struct fabric_bench *fabric, uint32_t ppm, struct loss_result *result)
{
	struct fabric_side *side = &fabric->side;
	size_t first = result->latency.count;
	uint64_t start, ns;

	fabric_loss_set(fabric, ppm);
	fabric_side_run(side, LOSS_SETTLE_NS);
	side->streamed = 0;
	side->latency = &result->latency;
	start = rte_rdtsc();
	fabric_side_run(side, LOSS_SLICE_NS);
	ns = (uint64_t)((double)(rte_rdtsc() - start) * side->bench->ns_per_tick);
	side->latency = NULL;
	loss_tail(result, first);
	bench_samples_add(&result->rto,
		atomic_load_explicit(&side->shared->rto_ns, memory_order_relaxed));
	bench_samples_add(&result->bw, side->streamed * BENCH_PAGE_BYTES * 1000000 / ns);
}

static void
loss_report(struct bench *bench, struct loss_result results[RTE_DIM(loss_rates)])
{
	unsigned int i;

	for (i = 0; i < RTE_DIM(loss_rates); i++)
		bench_report(bench, &(struct bench_row){
			.name = loss_rates[i].bw,
			.pmd = bench_pmd_name(bench->pmd),
			.unit = "MB/s",
			.scale = 1e-3,
			.samples = &results[i].bw,
			.baseline_name = i == 0 ? NULL : loss_rates[0].bw,
			.baseline_scale = 1e-3,
			.baseline = i == 0 ? NULL : &results[0].bw,
		});
	for (i = 0; i < RTE_DIM(loss_rates); i++)
		bench_report(bench, &(struct bench_row){
			.name = loss_rates[i].latency,
			.pmd = bench_pmd_name(bench->pmd),
			.unit = "us",
			.scale = bench->ns_per_tick / 1e3,
			.samples = &results[i].latency,
			.baseline_name = i == 0 ? NULL : loss_rates[0].latency,
			.baseline_scale = bench->ns_per_tick / 1e3,
			.baseline = i == 0 ? NULL : &results[0].latency,
		});
	for (i = 0; i < RTE_DIM(loss_rates); i++)
		bench_report(bench, &(struct bench_row){
			.name = loss_rates[i].tail,
			.pmd = bench_pmd_name(bench->pmd),
			.unit = "us",
			.scale = bench->ns_per_tick / 1e3,
			.samples = &results[i].tail,
			.baseline_name = i == 0 ? NULL : loss_rates[0].tail,
			.baseline_scale = bench->ns_per_tick / 1e3,
			.baseline = i == 0 ? NULL : &results[0].tail,
		});
	bench_report(bench, &(struct bench_row){
		.name = "session_rto",
		.pmd = bench_pmd_name(bench->pmd),
		.unit = "us",
		.scale = 1e-3,
		.samples = &results[0].rto,
	});
}

static int
loss_measure(struct fabric_bench *fabric, struct loss_result results[RTE_DIM(loss_rates)])
{
	struct bench *bench = fabric->side.bench;

	fabric_stream_set(fabric, FABRIC_STREAM_NORMAL);
	fabric_side_run(&fabric->side, LOSS_SLICE_NS);
	for (unsigned int round = 0; round < LOSS_ROUNDS; round++)
		for (unsigned int i = 0; i < RTE_DIM(loss_rates); i++)
			loss_slice(fabric, loss_rates[i].ppm, &results[i]);
	if (!fabric->side.up || results[0].latency.count == 0)
		return -ENOTCONN;
	loss_report(bench, results);
	return 0;
}

int
bench_session_loss(struct bench *bench)
{
	struct loss_result results[RTE_DIM(loss_rates)] = { 0 };
	struct fabric_bench fabric;
	uint64_t *scratch;
	unsigned int i;
	int ret;

	ret = fabric_bench_init(&fabric, bench, 0);
	scratch = malloc(LOSS_LATENCIES * sizeof(*scratch));
	if (ret == 0 && scratch == NULL)
		ret = -ENOMEM;
	for (i = 0; i < RTE_DIM(loss_rates) && ret == 0; i++) {
		ret = bench_samples_init(&results[i].bw, LOSS_ROUNDS);
		if (ret == 0)
			ret = bench_samples_init(&results[i].latency, LOSS_LATENCIES);
		if (ret == 0)
			ret = bench_samples_init(&results[i].tail, LOSS_ROUNDS);
		if (ret == 0)
			ret = bench_samples_init(&results[i].rto, LOSS_ROUNDS);
		results[i].scratch = scratch;
	}
	if (ret == 0)
		ret = loss_measure(&fabric, results);
	for (i = 0; i < RTE_DIM(loss_rates); i++) {
		bench_samples_fini(&results[i].bw);
		bench_samples_fini(&results[i].latency);
		bench_samples_fini(&results[i].tail);
		bench_samples_fini(&results[i].rto);
	}
	free(scratch);
	fabric_bench_fini(&fabric);
	return ret;
}
