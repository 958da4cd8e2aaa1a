/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * How many pages of another node come in a second when a program wants many:
 * long reads, one at a time or many at once, in order and in random order. Each
 * kind is one pass over all pages, a share of it in turn with the stream of
 * raw_stream.c; the asking node forgets the pages between passes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_cycles.h>

#include "miss.h"

#define STREAM_ROOM_MIB 272u		/* a cache that holds the whole set */
#define STREAM_STEP_PAGES 1024u		/* of one measurement */
#define STREAM_ROUNDS 16u
#define STREAM_BATCH 3u
#define STREAM_WARMUP 1u		/* rounds * (batch + warmup) steps: the pages of the set */
#define STREAM_OPS_MAX 16u
#define STREAM_OP_PAGES_MAX 256u
#define STREAM_HEAD_BYTES 116u		/* of an MTU, for what is not page */

struct stream_kind {
	const char *name;
	uint32_t op_pages;		/* of one access */
	uint32_t ops;			/* outstanding at once */
	bool random;
};

struct stream_op {
	struct tp_op op;
	uint32_t first;			/* of its pages, in the pass */
	uint64_t (*buffer)[BENCH_PAGE_BYTES / sizeof(uint64_t)];
	struct tp_vector vectors[STREAM_OP_PAGES_MAX];
};

struct stream {
	struct miss_bench *miss;
	const struct stream_kind *kind;
	struct stream_op *ops;		/* shape [STREAM_OPS_MAX] */
};

static uint64_t
stream_page(const struct stream *stream, uint32_t at)
{
	at %= stream->miss->page_count;
	return stream->kind->random ? stream->miss->order[at] : at;
}

static void
stream_submit(struct stream *stream, struct stream_op *op)
{
	struct miss_bench *miss = stream->miss;
	uint32_t pages = stream->kind->op_pages;

	op->first = miss->next;
	miss->next += pages;
	if (!stream->kind->random) {
		tp_submit_read(miss->thread, miss->region,
			       stream_page(stream, op->first) * BENCH_PAGE_BYTES, op->buffer,
			       (uint64_t)pages * BENCH_PAGE_BYTES, &op->op);
		return;
	}
	for (uint32_t i = 0; i < pages; i++)
		op->vectors[i] = (struct tp_vector){
			.offset = stream_page(stream, op->first + i) * BENCH_PAGE_BYTES,
			.buffer = op->buffer[i],
			.bytes = BENCH_PAGE_BYTES,
		};
	tp_submit_readv(miss->thread, miss->region, op->vectors, pages, &op->op);
}

static int
stream_check(const struct stream *stream, const struct stream_op *op)
{
	for (uint32_t i = 0; i < stream->kind->op_pages; i++) {
		uint64_t page = stream_page(stream, op->first + i);

		if (tp_result_is_ok(op->op.result) && op->buffer[i][0] == page)
			continue;
		fprintf(stderr, "telepage-bench: page %lu: reason %u, value %lu\n", page,
			op->op.result.reason, op->buffer[i][0]);
		return -EIO;
	}
	return 0;
}

/* One step: all accesses are begun in it and end in it. */
static int
stream_step(void *context, uint64_t *ticks)
{
	struct stream *stream = context;
	struct miss_bench *miss = stream->miss;
	uint32_t count = STREAM_STEP_PAGES / stream->kind->op_pages;
	uint32_t begun = 0;
	uint64_t start = rte_rdtsc_precise();
	int ret = 0;

	for (; begun < RTE_MIN(count, stream->kind->ops); begun++)
		stream_submit(stream, &stream->ops[begun]);
	for (uint32_t ended = 0; ended < count; ended++) {
		struct stream_op *op = &stream->ops[ended % stream->kind->ops];

		tp_op_wait(miss->thread, &op->op);
		ret = stream_check(stream, op);
		if (ret < 0)
			return ret;
		if (begun < count) {
			stream_submit(stream, op);
			begun++;
		}
	}
	*ticks = rte_rdtsc_precise() - start;
	return 0;
}

static void
stream_resume(void *context)
{
	const struct stream *stream = context;

	miss_resume(stream->miss);
}

static void
stream_pause(void *context)
{
	const struct stream *stream = context;

	miss_pause(stream->miss);
}

static int
stream_pass(struct stream *stream)
{
	struct miss_bench *miss = stream->miss;
	struct bench *bench = miss->bench;
	const struct bench_plan plan = {
		.rounds = STREAM_ROUNDS,
		.batch = STREAM_BATCH,
		.warmup = STREAM_WARMUP,
	};
	struct bench_raw_stream raw = {
		.raw = &miss->raw,
		.page_count = STREAM_STEP_PAGES,
		.piece_bytes = RTE_MIN(BENCH_PAGE_BYTES,
			RTE_ALIGN_FLOOR(bench_mtu(bench) - STREAM_HEAD_BYTES, 8)),
		.random = stream->kind->random,
	};
	struct bench_op ops[] = {
		{ stream_step, stream_resume, stream_pause, stream, { 0 } },
		{ bench_raw_stream, bench_raw_stream_resume, bench_raw_stream_pause, &raw, { 0 } },
	};
	int ret = bench_interleave(ops, RTE_DIM(ops), &plan);

	if (ret < 0)
		return ret;
	/* What was not measured went on while the raw side had its turn. */
	miss_resume(miss);
	bench_report(bench, &(struct bench_row){
		.name = stream->kind->name,
		.pmd = bench_pmd_name(bench->pmd),
		.unit = "GB/s",
		.scale = bench->ns_per_tick,
		.bytes = (uint64_t)STREAM_STEP_PAGES * BENCH_PAGE_BYTES,
		.samples = &ops[0].samples,
		.baseline_name = stream->kind->random ? "raw_stream_random" : "raw_stream",
		.baseline_scale = bench->ns_per_tick,
		.baseline = &ops[1].samples,
	});
	for (unsigned int i = 0; i < RTE_DIM(ops); i++)
		bench_samples_fini(&ops[i].samples);
	return miss_bench_clear(miss);
}

static int
stream_measure(struct miss_bench *miss, const struct stream_kind *kinds, unsigned int count)
{
	struct stream stream = { .miss = miss };
	uint8_t *buffers = bench_memory(miss->bench, (size_t)STREAM_OPS_MAX *
					STREAM_OP_PAGES_MAX * BENCH_PAGE_BYTES);
	int ret = 0;

	stream.ops = calloc(STREAM_OPS_MAX, sizeof(*stream.ops));
	if (stream.ops == NULL || buffers == NULL)
		ret = -ENOMEM;
	for (unsigned int k = 0; k < count && ret == 0; k++) {
		stream.kind = &kinds[k];
		miss->next = 0;
		/* Together, so that few accesses use little memory. */
		for (unsigned int i = 0; i < kinds[k].ops; i++)
			stream.ops[i].buffer = (void *)(buffers + (size_t)i *
				kinds[k].op_pages * BENCH_PAGE_BYTES);
		ret = stream_pass(&stream);
	}
	free(stream.ops);
	return ret;
}

static int
stream_run(struct bench *bench, bool attached, const struct stream_kind *kinds,
	   unsigned int count)
{
	struct miss_bench miss = { 0 };
	int ret;

	ret = miss_bench_init(&miss, bench, attached, STREAM_ROOM_MIB);
	if (ret == 0)
		ret = stream_measure(&miss, kinds, count);
	miss_bench_fini(&miss);
	return ret;
}

int
bench_page_stream(struct bench *bench)
{
	static const struct stream_kind kinds[] = {
		{ "page_stream_bw", 256, 1, false },
		{ "page_stream_bw_64k_x8", 16, 8, false },
		{ "page_stream_bw_random", 256, 1, true },
	};

	return stream_run(bench, false, kinds, RTE_DIM(kinds));
}

int
bench_client_stream(struct bench *bench)
{
	static const struct stream_kind kinds[] = {
		{ "client_stream_bw_64k", 16, 1, false },
		{ "client_stream_bw_1m", 256, 1, false },
		{ "client_stream_bw_64k_x8", 16, 8, false },
		{ "client_stream_bw_random", 256, 1, true },
	};

	return stream_run(bench, true, kinds, RTE_DIM(kinds));
}
