/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Deltas: how fast a page is compared with its base and put on the wire, hot and
 * over sets of 256 MiB against memcmp, and how many bytes that makes.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_common.h>
#include <rte_cycles.h>

#include "bench.h"
#include "tp_codec.h"

#define LINES (BENCH_PAGE_BYTES / TP_CODEC_LINE_BYTES)
#define SET_PAGES 65536u		/* 256 MiB, and as much of bases */
#define SET_BYTES ((size_t)SET_PAGES * BENCH_PAGE_BYTES)
#define HOT_PAGES 4u
#define SAMPLE_PAGES 256u		/* 1 MiB: a timer's call is nothing beside it */
#define CHANGED_PERCENT 5u
#define WIRE_TRIALS 200u

struct delta_bench {
	struct tp_codec *codec;
	uint8_t *pages;
	uint8_t *bases;
	const uint32_t *order;		/* of pages in the set */
	uint64_t random;
	uint64_t bytes;			/* of payload, for checks */
	uint8_t out[BENCH_PAGE_BYTES];
	uint8_t result[BENCH_PAGE_BYTES];
};

/* An operation: SAMPLE_PAGES pages of a set, then the next ones. */
struct delta_op {
	struct delta_bench *delta;
	uint32_t set_pages;
	uint32_t at;
	bool is_random;			/* in the set's random order, else ascending */
	bool expect_same;
};

static size_t
op_offset(const struct delta_op *op, uint32_t i)
{
	uint32_t page = (op->at + i) % op->set_pages;

	return (size_t)(op->is_random ? op->delta->order[page] : page) * BENCH_PAGE_BYTES;
}

static int
delta_once(void *context, uint64_t *ticks)
{
	struct delta_op *op = context;
	struct delta_bench *delta = op->delta;
	enum tp_codec_id id = TP_CODEC_COUNT;
	uint64_t bytes = 0;
	uint64_t start = rte_rdtsc_precise();

	for (uint32_t i = 0; i < SAMPLE_PAGES; i++) {
		size_t offset = op_offset(op, i);

		bytes += (uint64_t)tp_codec_encode(delta->codec, TP_CODEC_DELTA,
			delta->pages + offset, delta->bases + offset, BENCH_PAGE_BYTES,
			delta->out, &id);
	}
	*ticks = rte_rdtsc_precise() - start;
	op->at = (op->at + SAMPLE_PAGES) % op->set_pages;
	delta->bytes += bytes;
	return op->expect_same == (bytes == 0) ? 0 : -EIO;
}

/* All at once where the order allows it: the fastest way to compare. */
static int
memcmp_once(void *context, uint64_t *ticks)
{
	struct delta_op *op = context;
	const struct delta_bench *delta = op->delta;
	int differs = 0;
	uint64_t start = rte_rdtsc_precise();

	if (!op->is_random && op->set_pages >= SAMPLE_PAGES) {
		size_t offset = op_offset(op, 0);

		differs = memcmp(delta->pages + offset, delta->bases + offset,
			(size_t)SAMPLE_PAGES * BENCH_PAGE_BYTES);
	} else {
		for (uint32_t i = 0; i < SAMPLE_PAGES; i++) {
			size_t offset = op_offset(op, i);

			differs |= memcmp(delta->pages + offset, delta->bases + offset,
				BENCH_PAGE_BYTES);
		}
	}
	*ticks = rte_rdtsc_precise() - start;
	op->at = (op->at + SAMPLE_PAGES) % op->set_pages;
	return differs == 0 ? 0 : -EIO;
}

/* The way back: one delta, laid over its base again and again. */
static int
apply_once(void *context, uint64_t *ticks)
{
	struct delta_op *op = context;
	struct delta_bench *delta = op->delta;
	enum tp_codec_id id;
	int ret = 0;
	int bytes = tp_codec_encode(delta->codec, TP_CODEC_DELTA, delta->pages, delta->bases,
		BENCH_PAGE_BYTES, delta->out, &id);
	uint64_t start = rte_rdtsc_precise();

	for (uint32_t i = 0; i < SAMPLE_PAGES; i++)
		ret |= tp_codec_decode(delta->codec, id, delta->out, (uint32_t)bytes, delta->bases,
			delta->result, BENCH_PAGE_BYTES);
	*ticks = rte_rdtsc_precise() - start;
	if (memcmp(delta->result, delta->pages, BENCH_PAGE_BYTES) != 0)
		return -EIO;
	return ret;
}

/* Nanoseconds per page; against the second operation if there is one. */
static int
delta_measure(struct bench *bench, const char *name, struct bench_op *ops, unsigned int count)
{
	const struct bench_plan plan = { .rounds = 30, .batch = 32, .warmup = 2 };
	const double scale = bench->ns_per_tick / SAMPLE_PAGES;
	int ret = bench_interleave(ops, count, &plan);

	if (ret < 0)
		return ret;
	bench_report(bench, &(struct bench_row){
		.name = name,
		.unit = "ns",
		.scale = scale,
		.samples = &ops[0].samples,
		.baseline_name = count > 1 ? "memcmp" : NULL,
		.baseline_scale = scale,
		.baseline = count > 1 ? &ops[1].samples : NULL,
	});
	for (unsigned int i = 0; i < count; i++)
		bench_samples_fini(&ops[i].samples);
	return 0;
}

/* Half a set apart, so that neither finds what the other has just read. */
static int
unchanged_measure(struct bench *bench, struct delta_bench *delta, const char *name,
		  uint32_t set_pages, bool is_random)
{
	struct delta_op ours = { delta, set_pages, 0, is_random, true };
	struct delta_op theirs = { delta, set_pages, set_pages / 2, is_random, true };
	struct bench_op ops[] = {
		{ delta_once, NULL, NULL, &ours, { 0 } },
		{ memcmp_once, NULL, NULL, &theirs, { 0 } },
	};

	return delta_measure(bench, name, ops, RTE_DIM(ops));
}

static int
changed_measure(struct bench *bench, struct delta_bench *delta, const char *name,
		uint32_t set_pages, int (*once)(void *context, uint64_t *ticks))
{
	struct delta_op ours = { delta, set_pages, 0, false, false };
	struct bench_op ops[] = { { once, NULL, NULL, &ours, { 0 } } };

	return delta_measure(bench, name, ops, RTE_DIM(ops));
}

static void
line_change(struct delta_bench *delta, uint8_t *line, unsigned int words)
{
	uint64_t word;

	for (unsigned int i = 0; i < words; i++) {
		memcpy(&word, line + i * sizeof(word), sizeof(word));
		word ^= bench_random(&delta->random) | 1;
		memcpy(line + i * sizeof(word), &word, sizeof(word));
	}
}

/* Each line with this chance, all of its words. */
static void
pages_change(struct delta_bench *delta, uint32_t count, uint32_t percent)
{
	for (uint64_t line = 0; line < (uint64_t)count * LINES; line++)
		if (bench_random(&delta->random) % 100 < percent)
			line_change(delta, delta->pages + line * TP_CODEC_LINE_BYTES, 8);
}

static int
delta_rate_measure(struct bench *bench, struct delta_bench *delta)
{
	int ret = unchanged_measure(bench, delta, "codec_delta_same_hot", HOT_PAGES, false);

	if (ret == 0)
		ret = unchanged_measure(bench, delta, "codec_delta_same_256m", SET_PAGES, false);
	if (ret == 0)
		ret = unchanged_measure(bench, delta, "codec_delta_same_256m_random", SET_PAGES,
					true);
	if (ret < 0)
		return ret;
	pages_change(delta, SET_PAGES, CHANGED_PERCENT);
	/* As many different pages as fit into the level 2 cache. */
	ret = changed_measure(bench, delta, "codec_delta_5pct_hot", 64, delta_once);
	if (ret == 0)
		ret = changed_measure(bench, delta, "codec_delta_5pct_256m", SET_PAGES, delta_once);
	if (ret == 0)
		ret = changed_measure(bench, delta, "codec_delta_5pct_apply", HOT_PAGES, apply_once);
	return ret;
}

static int
delta_bench_init(struct bench *bench, struct delta_bench *delta, uint32_t set_pages)
{
	const size_t bytes = (size_t)set_pages * BENCH_PAGE_BYTES;

	*delta = (struct delta_bench){ .random = UINT64_C(0x9e3779b97f4a7c15) };
	delta->codec = tp_codec_create(BENCH_PAGE_BYTES);
	delta->pages = bench_memory(bench, bytes);
	delta->bases = bench_memory(bench, bytes);
	delta->order = bench_order(set_pages);
	if (delta->codec == NULL || delta->pages == NULL || delta->bases == NULL ||
	    delta->order == NULL)
		return -ENOMEM;
	fprintf(stderr, "telepage-bench: kernel %s\n", tp_codec_kernel_name(delta->codec));
	return bench_pin(bench, 0);
}

static void
delta_bench_fini(struct delta_bench *delta)
{
	free((void *)(uintptr_t)delta->order);
	tp_codec_destroy(delta->codec);
}

int
bench_codec_delta_rate(struct bench *bench)
{
	static struct delta_bench delta;
	int ret;

	bench_hugepages_reserve(bench, 2 * (SET_BYTES >> 21));
	ret = delta_bench_init(bench, &delta, SET_PAGES);
	if (ret == 0)
		ret = delta_rate_measure(bench, &delta);
	delta_bench_fini(&delta);
	return ret;
}

/* Bytes of one page with some lines changed; -EIO if they do not decode. */
static int
wire_page(struct delta_bench *delta, enum tp_codec_id want, uint32_t lines, unsigned int words)
{
	enum tp_codec_id id;
	int bytes;

	memcpy(delta->pages, delta->bases, BENCH_PAGE_BYTES);
	for (uint32_t left = lines, line = 0; line < LINES; line++) {
		if (bench_random(&delta->random) % (LINES - line) >= left)
			continue;
		line_change(delta, delta->pages + line * TP_CODEC_LINE_BYTES, words);
		left--;
	}
	bytes = tp_codec_encode(delta->codec, want, delta->pages, delta->bases, BENCH_PAGE_BYTES,
		delta->out, &id);
	if (bytes < 0 || tp_codec_decode(delta->codec, id,
			id == TP_CODEC_RAW ? delta->pages : delta->out, (uint32_t)bytes,
			delta->bases, delta->result, BENCH_PAGE_BYTES) < 0 ||
	    memcmp(delta->result, delta->pages, BENCH_PAGE_BYTES) != 0)
		return -EIO;
	return bytes;
}

/*
 * Each number of changed lines, one word and all words of each: the worst share
 * of 1.15 x lines + 32 bytes among deltas, the largest payload of all codecs.
 */
static int
wire_bytes_measure(struct bench *bench, struct delta_bench *delta)
{
	uint64_t five_percent = 0;
	double worst = 0;
	int largest = 0;
	int bytes;

	for (uint32_t lines = 1; lines <= LINES; lines++) {
		for (unsigned int i = 0; i < WIRE_TRIALS; i++) {
			bytes = wire_page(delta, TP_CODEC_DELTA, lines, i % 2 == 0 ? 8 : 1);
			if (bytes < 0)
				return bytes;
			worst = RTE_MAX(worst, bytes / (1.15 * TP_CODEC_LINE_BYTES * lines + 32));
			if (lines == 3)
				five_percent += (uint64_t)bytes;
		}
		for (unsigned int id = 0; id < TP_CODEC_COUNT; id++)
			largest = RTE_MAX(largest, wire_page(delta, id, lines, 8));
	}
	bench_report_value(bench, "codec_wire_bytes_3_lines", "B",
			   (double)five_percent / WIRE_TRIALS);
	bench_report_value(bench, "codec_wire_bytes_worst", "x", worst);
	bench_report_value(bench, "codec_wire_bytes_largest", "x raw",
			   (double)largest / BENCH_PAGE_BYTES);
	return 0;
}

int
bench_codec_wire_bytes(struct bench *bench)
{
	static struct delta_bench delta;
	int ret = delta_bench_init(bench, &delta, 1);

	if (ret == 0) {
		/* Nothing here helps LZ4 and deflate. */
		for (uint32_t at = 0; at < BENCH_PAGE_BYTES; at += TP_CODEC_LINE_BYTES)
			line_change(&delta, delta.bases + at, 8);
		ret = wire_bytes_measure(bench, &delta);
	}
	delta_bench_fini(&delta);
	return ret;
}
