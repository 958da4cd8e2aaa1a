/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * How many messages of 32 bytes a second a session carries one way, with one core
 * that sends and one that receives: as they come, many to a packet, and each in a
 * packet of its own. Nobody does anything with them.
 */
#include <errno.h>

#include <rte_common.h>
#include <rte_cycles.h>

#include "fabric.h"

#define MESSAGE_ROUNDS 50u
#define MESSAGE_SLICE_NS UINT64_C(20000000)

static void
message_slice(struct fabric_side *side, struct bench_samples *samples)
{
	uint64_t start = rte_rdtsc();
	double ns;

	side->streamed = 0;
	fabric_side_run(side, MESSAGE_SLICE_NS);
	ns = (double)(rte_rdtsc() - start) * side->bench->ns_per_tick;
	/* Messages a millisecond. */
	bench_samples_add(samples, (uint64_t)((double)side->streamed * 1e6 / ns));
}

static int
message_measure(struct fabric_bench *fabric, const char *name)
{
	struct bench *bench = fabric->side.bench;
	struct bench_samples samples;
	int ret;

	ret = bench_samples_init(&samples, MESSAGE_ROUNDS);
	if (ret < 0)
		return ret;
	fabric_stream_set(fabric, FABRIC_STREAM_SMALL);
	fabric_side_run(&fabric->side, MESSAGE_SLICE_NS);
	for (unsigned int round = 0; round < MESSAGE_ROUNDS; round++)
		message_slice(&fabric->side, &samples);
	if (!fabric->side.up || fabric->side.streamed == 0)
		ret = -ENOTCONN;
	else
		bench_report(bench, &(struct bench_row){
			.name = name,
			.pmd = bench_pmd_name(bench->pmd),
			.unit = "M/s",
			.scale = 1e-3,
			.samples = &samples,
		});
	bench_samples_fini(&samples);
	return ret;
}

static int
message_run(struct bench *bench, const char *name, unsigned int flags)
{
	struct fabric_bench fabric;
	int ret;

	ret = fabric_bench_init(&fabric, bench, FABRIC_NO_FAULT | flags);
	if (ret == 0)
		ret = message_measure(&fabric, name);
	fabric_bench_fini(&fabric);
	return ret;
}

int
bench_small_message(struct bench *bench)
{
	return message_run(bench, "fabric_small_msg_rate", 0);
}

int
bench_small_message_alone(struct bench *bench)
{
	return message_run(bench, "fabric_small_msg_rate_alone", FABRIC_NO_JOIN);
}
