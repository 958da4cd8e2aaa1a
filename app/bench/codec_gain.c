/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What choosing a codec per page is worth: pages of real files, sent over a link
 * of 1 Gbit/s by each codec alone and by the chooser. Encoding, choosing and
 * decoding are measured, the link's share is computed from the bytes.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <rte_common.h>
#include <rte_cycles.h>

#include "bench.h"
#include "codec_pages.h"
#include "tp_codec.h"
#include "tp_codec_chooser.h"

#define GAIN_PAGES 2048u		/* of a set, 8 MiB */
#define GAIN_PASSES 7u
#define GAIN_NS_PER_KIB 8192u		/* 1 Gbit/s */
#define GAIN_NAME_CHARS 48

/* The choices without a base, and after them the chooser. */
static const uint8_t fixed[] = { TP_CODEC_RAW, TP_CODEC_LZ4, TP_CODEC_DEFLATE };
#define GAIN_OPS (RTE_DIM(fixed) + 1)

struct gain_bench {
	struct tp_codec *codec;
	struct tp_codec_cost best_case[TP_CODEC_COUNT];
	double ns_per_tick;
	const uint8_t *pages;
	uint32_t page_count;
	uint8_t out[BENCH_PAGE_BYTES];
	uint8_t result[BENCH_PAGE_BYTES];
};

struct gain_op {
	struct gain_bench *gain;
	int fixed;			/* codec, -1: the chooser */
};

static uint64_t
clock_ns(void *context)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_RAW, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint32_t
ticks_to_ns(const struct gain_bench *gain, uint64_t ticks)
{
	return (uint32_t)((double)ticks * gain->ns_per_tick);
}

/*
 * One page there: ns, or -EIO. The time to choose and to learn is in it, as what
 * the page takes beside its encoding.
 */
static int
page_send(struct gain_bench *gain, struct tp_codec_chooser *chooser, int want,
	  const uint8_t *page, uint64_t *total_ns)
{
	struct tp_codec_choice choice = { .id = (uint8_t)want };
	struct tp_codec_cost outcome;
	enum tp_codec_id id = TP_CODEC_COUNT;
	uint64_t start = rte_rdtsc_precise();
	uint64_t chosen = start;
	uint64_t encoded, decoded;
	int bytes;

	if (chooser != NULL) {
		choice = tp_codec_chooser_choose(chooser, page, false, 0);
		chosen = rte_rdtsc_precise();
	}
	bytes = tp_codec_encode(gain->codec, choice.id, page, NULL, BENCH_PAGE_BYTES, gain->out,
		&id);
	encoded = rte_rdtsc_precise();
	if (bytes < 0 || tp_codec_decode(gain->codec, id, id == TP_CODEC_RAW ? page : gain->out,
			(uint32_t)bytes, NULL, gain->result, BENCH_PAGE_BYTES) < 0)
		return -EIO;
	decoded = rte_rdtsc_precise();
	outcome.encode_ns = ticks_to_ns(gain, encoded - chosen);
	outcome.decode_ns = ticks_to_ns(gain, decoded - encoded);
	outcome.bytes = (uint32_t)bytes;
	if (chooser != NULL) {
		tp_codec_chooser_learn(chooser, choice, &outcome);
		decoded = rte_rdtsc_precise();
	}
	*total_ns += ticks_to_ns(gain, decoded - start) +
		((uint64_t)bytes * GAIN_NS_PER_KIB >> 10);
	return memcmp(gain->result, page, BENCH_PAGE_BYTES) == 0 ? 0 : -EIO;
}

/* All pages once, by a chooser without experience. Picoseconds as ticks. */
static int
gain_once(void *context, uint64_t *ticks)
{
	struct gain_op *op = context;
	struct gain_bench *gain = op->gain;
	struct tp_codec_chooser chooser;
	uint64_t total = 0;
	int ret = 0;

	tp_codec_chooser_init(&chooser, BENCH_PAGE_BYTES, gain->best_case);
	tp_codec_chooser_link_set(&chooser, GAIN_NS_PER_KIB);
	for (uint32_t i = 0; i < gain->page_count && ret == 0; i++)
		ret = page_send(gain, op->fixed < 0 ? &chooser : NULL, op->fixed,
				gain->pages + (size_t)i * BENCH_PAGE_BYTES, &total);
	*ticks = total * 1000 / gain->page_count;
	return ret;
}

static int
gain_measure(struct bench *bench, struct gain_bench *gain, const char *set)
{
	const struct bench_plan plan = { .rounds = GAIN_PASSES, .batch = 1 };
	struct gain_op contexts[GAIN_OPS];
	struct bench_op ops[GAIN_OPS];
	char name[GAIN_NAME_CHARS];
	unsigned int best = 0;
	int ret;

	for (unsigned int i = 0; i < GAIN_OPS; i++) {
		contexts[i] = (struct gain_op){ gain, i < RTE_DIM(fixed) ? fixed[i] : -1 };
		ops[i] = (struct bench_op){ gain_once, NULL, NULL, &contexts[i], { 0 } };
	}
	ret = bench_interleave(ops, GAIN_OPS, &plan);
	if (ret < 0)
		return ret;
	for (unsigned int i = 1; i < RTE_DIM(fixed); i++)
		if (bench_samples_quantile(&ops[i].samples, 0.5) <
		    bench_samples_quantile(&ops[best].samples, 0.5))
			best = i;
	snprintf(name, sizeof(name), "codec_adaptive_gain_%s", set);
	bench_report(bench, &(struct bench_row){
		.name = name,
		.unit = "ns",
		.scale = 1e-3,
		.samples = &ops[RTE_DIM(fixed)].samples,
		.baseline_name = tp_codec_name(fixed[best]),
		.baseline_scale = 1e-3,
		.baseline = &ops[best].samples,
	});
	for (unsigned int i = 0; i < GAIN_OPS; i++)
		bench_samples_fini(&ops[i].samples);
	return 0;
}

/* Pages of all sets, one of each in turn. */
static void
mix_fill(uint8_t *mix, const uint8_t *pages)
{
	for (uint32_t i = 0; i < GAIN_PAGES; i++) {
		uint32_t from = i % CODEC_PAGES_SETS * GAIN_PAGES + i;

		memcpy(mix + (size_t)i * BENCH_PAGE_BYTES,
			pages + (size_t)from * BENCH_PAGE_BYTES, BENCH_PAGE_BYTES);
	}
}

static int
gain_sets_measure(struct bench *bench, struct gain_bench *gain, uint8_t *pages, uint8_t *mix)
{
	int ret;

	for (unsigned int i = 0; i < CODEC_PAGES_SETS; i++) {
		gain->pages = pages + (size_t)i * GAIN_PAGES * BENCH_PAGE_BYTES;
		ret = codec_pages_fill(bench, i, (uint8_t *)(uintptr_t)gain->pages, GAIN_PAGES);
		if (ret == 0)
			ret = gain_measure(bench, gain, codec_pages_name(i));
		if (ret < 0)
			return ret;
	}
	mix_fill(mix, pages);
	gain->pages = mix;
	return gain_measure(bench, gain, "mix");
}

int
bench_codec_adaptive_gain(struct bench *bench)
{
	const size_t set_bytes = (size_t)GAIN_PAGES * BENCH_PAGE_BYTES;
	static struct gain_bench gain;
	uint8_t *pages = bench_memory(bench, set_bytes * (CODEC_PAGES_SETS + 1));
	int ret = bench_pin(bench, 0);

	gain.ns_per_tick = bench->ns_per_tick;
	gain.page_count = GAIN_PAGES;
	gain.codec = tp_codec_create(BENCH_PAGE_BYTES);
	if (pages == NULL || gain.codec == NULL)
		ret = -ENOMEM;
	if (ret == 0)
		ret = tp_codec_calibrate(gain.codec, BENCH_PAGE_BYTES, clock_ns, NULL,
			gain.best_case);
	if (ret == 0)
		ret = gain_sets_measure(bench, &gain, pages, pages + CODEC_PAGES_SETS * set_bytes);
	tp_codec_destroy(gain.codec);
	return ret;
}
