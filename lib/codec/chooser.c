/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Choosing a codec. Owner: the lcore of the worker whose peer it is about.
 *
 * How it works. For each class of pages and each codec there are running
 * averages of encoding time, decoding time and size, which start at the best
 * case as if it had been one page: so a codec that might win is tried until it
 * is known not to, and one that cannot never is.
 * A page takes the codec with the least expected time until it is there.
 *
 * Contents change, so the others are tried again. What a try is expected to
 * lose is saved up before: each page puts 1/256 of its expected time aside for
 * each codec that did not win. There are at most four of those, so all tries
 * together cost at most 1.6 %, whatever a codec costs.
 */
#include <string.h>

#include <rte_branch_prediction.h>
#include <rte_common.h>
#include <rte_debug.h>

#include "tp_codec_chooser.h"

#define AVERAGE_OF 16u			/* an average forgets at this rate */
#define OUTLIER 4u			/* a time counts as at most this many averages */
#define CREDIT_SHIFT 8			/* a page's share for trying one other codec */
#define CREDIT_MIN_SHIFT 4		/* at least this share of a page between two tries */
#define CLASS_WORDS 16u

/* SAME is what DELTA finds, ZERO what all of them find: nothing to choose. */
static const uint8_t candidates[] = {
	TP_CODEC_RAW, TP_CODEC_LZ4, TP_CODEC_DEFLATE, TP_CODEC_DELTA, TP_CODEC_DELTA_LZ4,
};
#define CANDIDATES_WITHOUT_BASE 3u	/* the first ones of these */

unsigned int
tp_codec_page_class(const void *page, uint32_t page_bytes)
{
	/* Of 128 bytes: English about 30 values, machine code 50, random 100. */
	static const uint32_t limits[TP_CODEC_CLASS_COUNT - 1] = { 8, 40, 80 };
	const uint32_t stride = page_bytes / CLASS_WORDS;
	/* A byte per value: stores that do not wait for each other. */
	union {
		uint8_t values[256];
		uint64_t words[32];
	} seen = { { 0 } };
	unsigned int class = 0;
	uint64_t sums = 0;
	uint32_t values;
	uint64_t word;

	for (uint32_t i = 0; i < CLASS_WORDS; i++) {
		memcpy(&word, (const uint8_t *)page + i * stride, sizeof(word));
		for (uint32_t b = 0; b < sizeof(word); b++)
			seen.values[(word >> (8 * b)) & 0xff] = 1;
	}
	/* Eight sums side by side, each at most 32; then the sum of those, at most 128. */
	for (uint32_t i = 0; i < RTE_DIM(seen.words); i++)
		sums += seen.words[i];
	values = (uint32_t)((sums * UINT64_C(0x0101010101010101)) >> 56);
	while (class < RTE_DIM(limits) && values > limits[class])
		class++;
	return class;
}

/* Time until a page is there, in sixteenths of a nanosecond. */
static inline uint64_t
finish_ns16(const struct tp_codec_estimate *estimate, uint32_t ns_per_kib, uint64_t queue_ns16)
{
	uint64_t wire = ((uint64_t)estimate->bytes16 * ns_per_kib) >> 10;
	uint64_t decode = estimate->decode_ns16;

	/*
	 * A queue means that a stream is on: pages are encoded while others wait,
	 * and decoded while others are on the wire.
	 */
	decode -= RTE_MIN(decode, queue_ns16);
	return RTE_MAX(estimate->encode_ns16, queue_ns16) + wire + decode;
}

static struct tp_codec_estimate
estimate_best_case(const struct tp_codec_cost *cost)
{
	return (struct tp_codec_estimate){
		.encode_ns16 = cost->encode_ns * 16,
		.decode_ns16 = cost->decode_ns * 16,
		.bytes16 = cost->bytes * 16,
	};
}

void
tp_codec_chooser_init(struct tp_codec_chooser *chooser, uint32_t page_bytes,
	const struct tp_codec_cost *costs)
{
	*chooser = (struct tp_codec_chooser){ .page_bytes = page_bytes, .only = TP_CODEC_COUNT };
	memcpy(chooser->best_case, costs, sizeof(chooser->best_case));
	for (unsigned int class = 0; class < TP_CODEC_CLASS_COUNT; class++)
		for (unsigned int id = 0; id < TP_CODEC_COUNT; id++)
			chooser->estimates[class][id] = estimate_best_case(&costs[id]);
	tp_codec_chooser_link_set(chooser, 0);
}

/* Whether RAW is there before any other codec at its best, on an idle link. */
static bool
raw_wins(const struct tp_codec_chooser *chooser, unsigned int count)
{
	struct tp_codec_estimate best = estimate_best_case(&chooser->best_case[TP_CODEC_RAW]);
	uint64_t raw = finish_ns16(&best, chooser->ns_per_kib, 0);

	for (unsigned int i = 1; i < count; i++) {
		best = estimate_best_case(&chooser->best_case[candidates[i]]);
		if (finish_ns16(&best, chooser->ns_per_kib, 0) < raw)
			return false;
	}
	return true;
}

void
tp_codec_chooser_link_set(struct tp_codec_chooser *chooser, uint32_t ns_per_kib)
{
	chooser->ns_per_kib = ns_per_kib;
	if (chooser->only != TP_CODEC_COUNT) {
		chooser->raw_wins[0] = chooser->only == TP_CODEC_RAW;
		chooser->raw_wins[1] = chooser->raw_wins[0];
		return;
	}
	chooser->raw_wins[0] = raw_wins(chooser, CANDIDATES_WITHOUT_BASE);
	chooser->raw_wins[1] = raw_wins(chooser, RTE_DIM(candidates));
}

void
tp_codec_chooser_fix(struct tp_codec_chooser *chooser, uint8_t id)
{
	chooser->only = RTE_MIN(id, TP_CODEC_COUNT);
	tp_codec_chooser_link_set(chooser, chooser->ns_per_kib);
}

/* Without a base a change is what it would be made of otherwise. */
static uint8_t
only_choice(const struct tp_codec_chooser *chooser, bool has_base)
{
	if (has_base || !tp_codec_needs_base(chooser->only))
		return chooser->only;
	return chooser->only == TP_CODEC_DELTA_LZ4 ? TP_CODEC_LZ4 : TP_CODEC_ZERO;
}

/*
 * Index of a candidate whose turn it is to be tried although it is not expected
 * to win, or the winner's.
 */
static unsigned int
candidate_explore(struct tp_codec_chooser *chooser, struct tp_codec_estimate *estimates,
	const uint64_t *finish, unsigned int count, unsigned int winner, uint64_t queue_ns16)
{
	struct tp_codec_estimate best_case;
	struct tp_codec_estimate *estimate;
	uint64_t page = finish[winner] - queue_ns16;
	uint64_t price;

	for (unsigned int i = 0; i < count; i++) {
		if (i == winner)
			continue;
		estimate = &estimates[candidates[i]];
		estimate->credit_ns16 += page >> CREDIT_SHIFT;
		price = RTE_MAX(finish[i] - finish[winner], page >> CREDIT_MIN_SHIFT);
		if (likely(estimate->credit_ns16 < price))
			continue;
		estimate->credit_ns16 = 0;
		best_case = estimate_best_case(&chooser->best_case[candidates[i]]);
		if (finish_ns16(&best_case, chooser->ns_per_kib, queue_ns16) < finish[winner]) {
			chooser->explored++;
			return i;
		}
	}
	return winner;
}

struct tp_codec_choice
tp_codec_chooser_choose(struct tp_codec_chooser *chooser, const void *page, bool has_base,
	uint64_t queue_ns)
{
	const unsigned int count = has_base ? RTE_DIM(candidates) : CANDIDATES_WITHOUT_BASE;
	/* More than a page's worth of queue tells no more, and does not overflow. */
	const uint64_t queue_ns16 = RTE_MIN(queue_ns, UINT32_MAX) * 16;
	struct tp_codec_choice choice = { .id = TP_CODEC_RAW };
	struct tp_codec_estimate *estimates;
	uint64_t finish[RTE_DIM(candidates)];
	unsigned int winner = 0;

	if (likely(chooser->raw_wins[has_base])) {
		chooser->chosen[TP_CODEC_RAW]++;
		return choice;
	}
	if (unlikely(chooser->only != TP_CODEC_COUNT)) {
		choice.id = only_choice(chooser, has_base);
		chooser->chosen[choice.id]++;
		return choice;
	}
	choice.page_class = (uint8_t)tp_codec_page_class(page, chooser->page_bytes);
	estimates = chooser->estimates[choice.page_class];
	for (unsigned int i = 0; i < count; i++) {
		finish[i] = finish_ns16(&estimates[candidates[i]], chooser->ns_per_kib, queue_ns16);
		if (finish[i] < finish[winner])
			winner = i;
	}
	winner = candidate_explore(chooser, estimates, finish, count, winner, queue_ns16);
	choice.id = candidates[winner];
	chooser->chosen[choice.id]++;
	return choice;
}

static void
average_move(uint32_t *average16, uint32_t value, uint32_t tries)
{
	const int64_t step = (int64_t)value * 16 - *average16;
	/* The best case counts as one page. */
	const int64_t weight = RTE_MIN((uint64_t)tries + 1, AVERAGE_OF);

	*average16 = (uint32_t)((int64_t)*average16 + step / weight);
}

/* Of a time: an interrupt in the middle of it says nothing about the codec. */
static void
average_move_time(uint32_t *average16, uint32_t ns, uint32_t tries)
{
	const uint32_t limit = UINT32_MAX / 16;

	if (ns == TP_CODEC_NS_UNKNOWN)
		return;
	ns = RTE_MIN(ns, limit);
	if (tries > 1)
		ns = (uint32_t)RTE_MIN((uint64_t)ns, (uint64_t)OUTLIER * (*average16 / 16 + 1));
	average_move(average16, ns, tries);
}

void
tp_codec_chooser_learn(struct tp_codec_chooser *chooser, struct tp_codec_choice choice,
	const struct tp_codec_cost *outcome)
{
	struct tp_codec_estimate *estimate;

	RTE_ASSERT(choice.id < TP_CODEC_COUNT);
	RTE_ASSERT(choice.page_class < TP_CODEC_CLASS_COUNT);
	estimate = &chooser->estimates[choice.page_class][choice.id];
	/* RAW is known from the start: its size, and no time to encode. */
	if (estimate->tries < UINT32_MAX)
		estimate->tries++;
	average_move_time(&estimate->encode_ns16, outcome->encode_ns, estimate->tries);
	average_move(&estimate->bytes16, RTE_MIN(outcome->bytes, TP_CODEC_PAGE_MAX),
		estimate->tries);
	if (outcome->decode_ns != TP_CODEC_NS_UNKNOWN)
		tp_codec_chooser_learn_decode(chooser, choice, outcome->decode_ns);
}

void
tp_codec_chooser_learn_decode(struct tp_codec_chooser *chooser, struct tp_codec_choice choice,
	uint32_t decode_ns)
{
	struct tp_codec_estimate *estimate;

	RTE_ASSERT(choice.id < TP_CODEC_COUNT);
	RTE_ASSERT(choice.page_class < TP_CODEC_CLASS_COUNT);
	estimate = &chooser->estimates[choice.page_class][choice.id];
	if (estimate->decodes < UINT32_MAX)
		estimate->decodes++;
	average_move_time(&estimate->decode_ns16, decode_ns, estimate->decodes);
}
