/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The chooser on made-up codecs and links: over streams of pages its time is
 * held against that of each codec alone, and must be within 5 % of the best.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <rte_common.h>

#include "pages.h"
#include "tp_codec_chooser.h"

#define PAGE 4096u
#define STREAM_PAGES 8000u
#define POOL_PAGES 16u

/* As measured on one machine: time and size at best. */
static const struct tp_codec_cost best_case[TP_CODEC_COUNT] = {
	[TP_CODEC_RAW] = { 0, 60, PAGE },
	[TP_CODEC_ZERO] = { 10, 40, 0 },
	[TP_CODEC_SAME] = { 30, 60, 0 },
	[TP_CODEC_DELTA] = { 40, 80, 11 },
	[TP_CODEC_LZ4] = { 700, 300, 40 },
	[TP_CODEC_DELTA_LZ4] = { 50, 90, 11 },
	[TP_CODEC_DEFLATE] = { 5000, 2000, 60 },
};

/* Kinds of pages: what each codec makes of them. */
struct stream_kind {
	enum page_kind contents;
	bool has_base;
	struct tp_codec_cost costs[TP_CODEC_COUNT];
};

#define WITHOUT_BASE							\
	[TP_CODEC_RAW] = { 0, 60, PAGE },				\
	[TP_CODEC_ZERO] = { 10, 60, PAGE }

static const struct stream_kind text = { PAGE_TEXT, false, {
	WITHOUT_BASE,
	[TP_CODEC_LZ4] = { 8000, 1500, 2400 },
	[TP_CODEC_DEFLATE] = { 18000, 11000, 1500 },
} };

static const struct stream_kind noise = { PAGE_RANDOM, false, {
	WITHOUT_BASE,
	[TP_CODEC_LZ4] = { 1500, 60, PAGE },
	[TP_CODEC_DEFLATE] = { 22000, 60, PAGE },
} };

static const struct stream_kind few_changes = { PAGE_RECORDS, true, {
	WITHOUT_BASE,
	[TP_CODEC_LZ4] = { 7000, 1500, 2800 },
	[TP_CODEC_DEFLATE] = { 20000, 11000, 2500 },
	[TP_CODEC_DELTA] = { 120, 100, 250 },
	[TP_CODEC_DELTA_LZ4] = { 900, 300, 240 },
} };

static const struct stream_kind many_changes = { PAGE_TEXT, true, {
	WITHOUT_BASE,
	[TP_CODEC_LZ4] = { 8000, 1500, 2400 },
	[TP_CODEC_DEFLATE] = { 18000, 11000, 1500 },
	[TP_CODEC_DELTA] = { 200, 60, PAGE },
	[TP_CODEC_DELTA_LZ4] = { 8500, 1700, 2450 },
} };

static const uint32_t links_ns_per_kib[] = {
	10, 100, 440, 800, 2000, 8192, 20000, 81920, 819200,
};

struct stream {
	const struct stream_kind *kinds[2];
	uint32_t length;		/* pages of one kind in a row */
	uint64_t queue_ns;
};

static uint64_t
time_of(const struct tp_codec_cost *cost, uint32_t ns_per_kib)
{
	return cost->encode_ns + cost->decode_ns + ((uint64_t)cost->bytes * ns_per_kib >> 10);
}

/* A fifth more or less. */
static struct tp_codec_cost
cost_with_noise(struct tp_codec_cost cost, uint64_t *random)
{
	uint32_t percent = 80 + (uint32_t)(random_next(random) % 41);

	cost.encode_ns = cost.encode_ns * percent / 100;
	cost.bytes = RTE_MIN(cost.bytes * percent / 100, PAGE);
	return cost;
}

/* One of a few pages of a kind, made once. */
static const uint8_t *
stream_page(enum page_kind kind, uint32_t i)
{
	static uint8_t pages[PAGE_KIND_COUNT][POOL_PAGES][PAGE];
	static bool made[PAGE_KIND_COUNT];
	uint64_t random = 43 + kind;

	for (uint32_t p = 0; p < POOL_PAGES && !made[kind]; p++)
		page_fill(pages[kind][p], PAGE, kind, &random);
	made[kind] = true;
	return pages[kind][i % POOL_PAGES];
}

/* Time of the chooser as a share of that of the best codec alone. */
static double
stream_run(struct tp_codec_chooser *chooser, const struct stream *stream, uint32_t ns_per_kib)
{
	uint64_t alone[TP_CODEC_COUNT] = { 0 };
	uint64_t random = 23;
	uint64_t chosen = 0;
	uint64_t best = UINT64_MAX;

	for (uint32_t i = 0; i < STREAM_PAGES; i++) {
		const struct stream_kind *kind = stream->kinds[i / stream->length % 2];
		struct tp_codec_cost outcome[TP_CODEC_COUNT];
		struct tp_codec_choice choice;

		for (unsigned int id = 0; id < TP_CODEC_COUNT; id++) {
			outcome[id] = cost_with_noise(kind->costs[id], &random);
			alone[id] += time_of(&outcome[id], ns_per_kib);
		}
		choice = tp_codec_chooser_choose(chooser, stream_page(kind->contents, i),
			kind->has_base, 0);
		assert_true(kind->has_base || !tp_codec_needs_base(choice.id));
		chosen += time_of(&outcome[choice.id], ns_per_kib);
		/* An interrupt: nobody's fault, but it is measured. */
		if (random_next(&random) % 500 == 0)
			outcome[choice.id].encode_ns += 50000;
		tp_codec_chooser_learn(chooser, choice, &outcome[choice.id]);
	}
	for (unsigned int id = 0; id < TP_CODEC_COUNT; id++)
		if (stream->kinds[0]->costs[id].bytes != 0 &&
				stream->kinds[1]->costs[id].bytes != 0)
			best = RTE_MIN(best, alone[id]);
	return (double)chosen / (double)best;
}

static void
stream_check(const struct stream *stream)
{
	for (unsigned int i = 0; i < RTE_DIM(links_ns_per_kib); i++) {
		struct tp_codec_chooser chooser;
		double share;

		tp_codec_chooser_init(&chooser, PAGE, best_case);
		tp_codec_chooser_link_set(&chooser, links_ns_per_kib[i]);
		share = stream_run(&chooser, stream, links_ns_per_kib[i]);
		if (share > 1.05)
			fail_msg("%.3f of the best codec's time at %u ns per KiB", share,
				links_ns_per_kib[i]);
	}
}

static void
test_chooser_one_kind_near_the_best(void **state)
{
	static const struct stream_kind *const kinds[] = {
		&text, &noise, &few_changes, &many_changes,
	};

	for (unsigned int i = 0; i < RTE_DIM(kinds); i++)
		stream_check(&(struct stream){ { kinds[i], kinds[i] }, STREAM_PAGES });
}

static void
test_chooser_kinds_in_turn_near_the_best(void **state)
{
	stream_check(&(struct stream){ { &text, &noise }, 1 });
	stream_check(&(struct stream){ { &text, &noise }, 7 });
	stream_check(&(struct stream){ { &few_changes, &many_changes }, 1 });
	stream_check(&(struct stream){ { &few_changes, &noise }, 3 });
}

/* Pages that look alike and behave otherwise from one day to the next. */
static void
test_chooser_contents_change_is_noticed(void **state)
{
	stream_check(&(struct stream){ { &text, &many_changes }, STREAM_PAGES / 2 });
	stream_check(&(struct stream){ { &many_changes, &few_changes }, STREAM_PAGES / 4 });
}

/* What looks like text, but LZ4 gains nothing of it any more, and then does again. */
static void
test_chooser_is_not_stuck_with_old_experience(void **state)
{
	static struct stream_kind dull;

	dull = noise;
	dull.contents = PAGE_TEXT;
	stream_check(&(struct stream){ { &dull, &text }, STREAM_PAGES / 2 });
	stream_check(&(struct stream){ { &text, &dull }, STREAM_PAGES / 4 });
}

static void
test_chooser_fast_link_takes_raw_and_never_looks(void **state)
{
	struct tp_codec_chooser chooser;
	struct tp_codec_choice choice;

	tp_codec_chooser_init(&chooser, PAGE, best_case);
	tp_codec_chooser_link_set(&chooser, 100);
	for (unsigned int i = 0; i < 1000; i++) {
		/* A look at this page would fault. */
		choice = tp_codec_chooser_choose(&chooser, (const void *)16, false, 0);
		assert_int_equal(choice.id, TP_CODEC_RAW);
	}
	assert_int_equal(chooser.explored, 0);
	assert_int_equal(chooser.chosen[TP_CODEC_RAW], 1000);
}

static void
test_chooser_link_slows_down_lz4_is_taken(void **state)
{
	struct tp_codec_chooser chooser;
	struct tp_codec_choice choice;
	static uint8_t page[PAGE];
	uint64_t random = 29;

	page_fill(page, PAGE, PAGE_TEXT, &random);
	tp_codec_chooser_init(&chooser, PAGE, best_case);
	for (unsigned int i = 0; i < 200; i++) {
		tp_codec_chooser_link_set(&chooser, i < 100 ? 100 : 8192);
		choice = tp_codec_chooser_choose(&chooser, page, false, 0);
		tp_codec_chooser_learn(&chooser, choice, &text.costs[choice.id]);
	}
	assert_true(chooser.chosen[TP_CODEC_RAW] >= 100);
	assert_int_equal(choice.id, TP_CODEC_LZ4);
	assert_true(chooser.chosen[TP_CODEC_LZ4] > 90);
}

/* Behind a long queue encoding is free: the smallest wins, and without it the soonest. */
static void
test_chooser_queue_favours_the_smaller(void **state)
{
	struct tp_codec_chooser chooser;
	struct tp_codec_choice choice;
	static uint8_t page[PAGE];
	uint64_t random = 31;

	page_fill(page, PAGE, PAGE_TEXT, &random);
	tp_codec_chooser_init(&chooser, PAGE, best_case);
	tp_codec_chooser_link_set(&chooser, 8192);
	for (unsigned int i = 0; i < 300; i++) {
		choice = tp_codec_chooser_choose(&chooser, page, false, 0);
		tp_codec_chooser_learn(&chooser, choice, &text.costs[choice.id]);
	}
	assert_int_equal(tp_codec_chooser_choose(&chooser, page, false, 0).id, TP_CODEC_LZ4);
	assert_int_equal(tp_codec_chooser_choose(&chooser, page, false, 200000).id,
		TP_CODEC_DEFLATE);
	assert_int_equal(tp_codec_chooser_choose(&chooser, page, false, UINT64_MAX).id,
		TP_CODEC_DEFLATE);
}

/* One codec for all pages, whatever is known of it; without a base its like without one. */
static void
test_chooser_fixed_takes_no_other(void **state)
{
	static const uint8_t page[PAGE];
	struct tp_codec_chooser chooser;

	tp_codec_chooser_init(&chooser, PAGE, best_case);
	tp_codec_chooser_fix(&chooser, TP_CODEC_DELTA_LZ4);
	tp_codec_chooser_link_set(&chooser, 8);
	assert_int_equal(tp_codec_chooser_choose(&chooser, page, true, 0).id, TP_CODEC_DELTA_LZ4);
	assert_int_equal(tp_codec_chooser_choose(&chooser, page, false, 0).id, TP_CODEC_LZ4);
	tp_codec_chooser_fix(&chooser, TP_CODEC_DELTA);
	assert_int_equal(tp_codec_chooser_choose(&chooser, page, false, 0).id, TP_CODEC_ZERO);
	tp_codec_chooser_fix(&chooser, TP_CODEC_RAW);
	tp_codec_chooser_link_set(&chooser, 8192);
	assert_true(chooser.raw_wins[0] && chooser.raw_wins[1]);
	tp_codec_chooser_fix(&chooser, TP_CODEC_COUNT);
	assert_false(chooser.raw_wins[0]);
}

static void
test_chooser_unknown_times_keep_what_is_known(void **state)
{
	const struct tp_codec_cost outcome = { TP_CODEC_NS_UNKNOWN, TP_CODEC_NS_UNKNOWN, 1000 };
	const struct tp_codec_choice choice = { .id = TP_CODEC_LZ4, .page_class = 1 };
	struct tp_codec_chooser chooser;
	const struct tp_codec_estimate *estimate;

	tp_codec_chooser_init(&chooser, PAGE, best_case);
	tp_codec_chooser_learn(&chooser, choice, &outcome);
	estimate = &chooser.estimates[1][TP_CODEC_LZ4];
	assert_int_equal(estimate->encode_ns16, best_case[TP_CODEC_LZ4].encode_ns * 16);
	assert_int_equal(estimate->decode_ns16, best_case[TP_CODEC_LZ4].decode_ns * 16);
	/* The best case counts as one page. */
	assert_int_equal(estimate->bytes16, 16 * (1000 + best_case[TP_CODEC_LZ4].bytes) / 2);
}

/* Decoding is learnt from what comes in, and counts in what goes out. */
static void
test_chooser_slow_decoding_is_learnt_from_others(void **state)
{
	struct tp_codec_chooser chooser;
	struct tp_codec_choice choice;
	struct tp_codec_cost outcome = text.costs[TP_CODEC_LZ4];
	static uint8_t page[PAGE];
	uint64_t random = 41;

	page_fill(page, PAGE, PAGE_TEXT, &random);
	tp_codec_chooser_init(&chooser, PAGE, best_case);
	tp_codec_chooser_link_set(&chooser, 8192);
	for (unsigned int i = 0; i < 100; i++) {
		choice = tp_codec_chooser_choose(&chooser, page, false, 0);
		outcome = text.costs[choice.id];
		outcome.decode_ns = TP_CODEC_NS_UNKNOWN;
		tp_codec_chooser_learn(&chooser, choice, &outcome);
	}
	assert_int_equal(tp_codec_chooser_choose(&chooser, page, false, 0).id, TP_CODEC_LZ4);
	choice.page_class = 1;
	for (unsigned int i = 0; i < 100; i++) {
		choice.id = i % 2 == 0 ? TP_CODEC_LZ4 : TP_CODEC_DEFLATE;
		tp_codec_chooser_learn_decode(&chooser, choice, 30000);
	}
	assert_int_equal(tp_codec_chooser_choose(&chooser, page, false, 0).id, TP_CODEC_RAW);
}

static void
test_chooser_outlier_counts_little(void **state)
{
	const struct tp_codec_choice choice = { .id = TP_CODEC_LZ4, .page_class = 1 };
	struct tp_codec_chooser chooser;
	const struct tp_codec_estimate *estimate;

	tp_codec_chooser_init(&chooser, PAGE, best_case);
	for (unsigned int i = 0; i < 100; i++)
		tp_codec_chooser_learn(&chooser, choice, &text.costs[TP_CODEC_LZ4]);
	tp_codec_chooser_learn(&chooser, choice,
		&(struct tp_codec_cost){ UINT32_MAX - 1, UINT32_MAX - 1, UINT32_MAX });
	estimate = &chooser.estimates[1][TP_CODEC_LZ4];
	assert_true(estimate->encode_ns16 < 16 * 2 * text.costs[TP_CODEC_LZ4].encode_ns);
	assert_true(estimate->bytes16 <= 16 * TP_CODEC_PAGE_MAX);
}

static void
test_page_class_follows_contents(void **state)
{
	static uint8_t page[PAGE];
	uint64_t random = 37;

	for (unsigned int i = 0; i < 100; i++) {
		page_fill(page, PAGE, PAGE_ZERO, &random);
		assert_int_equal(tp_codec_page_class(page, PAGE), 0);
		page_fill(page, PAGE, PAGE_TEXT, &random);
		assert_int_equal(tp_codec_page_class(page, PAGE), 1);
		page_fill(page, PAGE, PAGE_RANDOM, &random);
		assert_int_equal(tp_codec_page_class(page, PAGE), TP_CODEC_CLASS_COUNT - 1);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chooser_one_kind_near_the_best),
		cmocka_unit_test(test_chooser_kinds_in_turn_near_the_best),
		cmocka_unit_test(test_chooser_contents_change_is_noticed),
		cmocka_unit_test(test_chooser_is_not_stuck_with_old_experience),
		cmocka_unit_test(test_chooser_fast_link_takes_raw_and_never_looks),
		cmocka_unit_test(test_chooser_link_slows_down_lz4_is_taken),
		cmocka_unit_test(test_chooser_queue_favours_the_smaller),
		cmocka_unit_test(test_chooser_fixed_takes_no_other),
		cmocka_unit_test(test_chooser_unknown_times_keep_what_is_known),
		cmocka_unit_test(test_chooser_slow_decoding_is_learnt_from_others),
		cmocka_unit_test(test_chooser_outlier_counts_little),
		cmocka_unit_test(test_page_class_follows_contents),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
