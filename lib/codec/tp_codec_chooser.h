/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Which codec a page should take: the one with which it is expected to be there
 * soonest. A decider: it reads no clock, times and link speed are told to it.
 * One per peer and direction.
 *
 * How it decides, and what it may cost: docs/prog_guide/codec.md.
 */
#ifndef TP_CODEC_CHOOSER_H
#define TP_CODEC_CHOOSER_H

#include <stdbool.h>
#include <stdint.h>

#include "tp_codec.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TP_CODEC_CLASS_COUNT 4u
#define TP_CODEC_NS_UNKNOWN UINT32_MAX

/** What a codec takes for a page. */
struct tp_codec_cost {
	uint32_t encode_ns;
	uint32_t decode_ns;
	uint32_t bytes;		/* of payload */
};

/* What is known of a codec for one class of pages. Sixteenths, for slow averages. */
struct tp_codec_estimate {
	uint32_t encode_ns16;
	uint32_t decode_ns16;
	uint32_t bytes16;
	uint32_t tries;
	uint32_t decodes;
	uint64_t credit_ns16;	/* time saved up for trying it again */
};

struct tp_codec_chooser {
	uint32_t page_bytes;
	uint32_t ns_per_kib;
	uint8_t only;		/* enum tp_codec_id: what every page takes; TP_CODEC_COUNT: it is chosen */
	bool raw_wins[2];	/* nothing can beat RAW on this link; [1]: not even with a base */
	struct tp_codec_cost best_case[TP_CODEC_COUNT];
	struct tp_codec_estimate estimates[TP_CODEC_CLASS_COUNT][TP_CODEC_COUNT];
	uint64_t chosen[TP_CODEC_COUNT];
	uint64_t explored;	/* choices made to learn, not to win */
};

/** A choice, handed back with its outcome. */
struct tp_codec_choice {
	uint8_t id;		/* enum tp_codec_id: what to ask of tp_codec_encode() */
	uint8_t page_class;	/* below TP_CODEC_CLASS_COUNT */
};

/**
 * Class of a page by a look at 128 of its bytes: how many different values they have.
 *
 * @param page_bytes
 *   A multiple of TP_CODEC_PAGE_UNIT.
 * @return
 *   0 (nearly all alike) to TP_CODEC_CLASS_COUNT - 1 (as random).
 * @threads Any.
 * @cost    About 50 ns and 16 cache lines.
 */
unsigned int tp_codec_page_class(const void *page, uint32_t page_bytes);

/**
 * Measure a codec on a page that is easy for it: times and sizes that real pages
 * will hardly beat.
 *
 * @param now_ns
 *   A clock; its resolution may be coarse, up to 100 ns.
 * @param costs
 *   Shape [TP_CODEC_COUNT], for tp_codec_chooser_init(). Written only on success.
 * @return
 *   0, -EINVAL: page_bytes out of the codec's range; or -ENOMEM.
 * @threads Owner of codec, at start.
 * @cost    About a millisecond.
 */
int tp_codec_calibrate(struct tp_codec *codec, uint32_t page_bytes,
		       uint64_t (*now_ns)(void *context), void *context,
		       struct tp_codec_cost *costs);

/**
 * Start without experience.
 *
 * @param page_bytes
 *   As for tp_codec_encode().
 * @param costs
 *   Shape [TP_CODEC_COUNT]: best cases, of tp_codec_calibrate().
 * @threads Owner of chooser.
 */
void tp_codec_chooser_init(struct tp_codec_chooser *chooser, uint32_t page_bytes,
			   const struct tp_codec_cost *costs);

/**
 * Say how fast the link is. What was learnt about pages stays.
 *
 * @param ns_per_kib
 *   Nanoseconds in which it takes 1024 bytes: 8192 at 1 Gbit/s.
 * @threads Owner of chooser.
 */
void tp_codec_chooser_link_set(struct tp_codec_chooser *chooser, uint32_t ns_per_kib);

/**
 * Choose no more: every page takes this codec, or without a base the like of it that needs
 * none. To know what choosing is worth.
 *
 * @param id
 *   enum tp_codec_id; TP_CODEC_COUNT: choose.
 * @threads Owner of chooser.
 */
void tp_codec_chooser_fix(struct tp_codec_chooser *chooser, uint8_t id);

/**
 * Choose for one page.
 *
 * @param page
 *   Looked at only where some codec might beat RAW.
 * @param has_base
 *   There is a base to encode against.
 * @param queue_ns
 *   Time the link needs for what is queued before this page. What is encoded meanwhile
 *   costs nothing.
 * @return
 *   The choice. Its id needs no base unless has_base.
 * @threads Owner of chooser.
 * @cost    RAW without a look where the link is so fast that nothing can beat it: 2 ns.
 *          Else about 70 ns, and what the page's lines take to come.
 */
struct tp_codec_choice tp_codec_chooser_choose(struct tp_codec_chooser *chooser,
					       const void *page, bool has_base,
					       uint64_t queue_ns);

/**
 * Tell what came of a choice.
 *
 * @param outcome
 *   bytes is what went out, whatever codec it became. A time may be TP_CODEC_NS_UNKNOWN.
 * @threads Owner of chooser.
 */
void tp_codec_chooser_learn(struct tp_codec_chooser *chooser, struct tp_codec_choice choice,
			    const struct tp_codec_cost *outcome);

/**
 * Tell what a page took to decode that came from elsewhere: who decodes what is sent
 * may be like us, and does not say.
 *
 * @param choice
 *   Codec and class of that page.
 * @threads Owner of chooser.
 */
void tp_codec_chooser_learn_decode(struct tp_codec_chooser *chooser,
				   struct tp_codec_choice choice, uint32_t decode_ns);

#ifdef __cplusplus
}
#endif

#endif /* TP_CODEC_CHOOSER_H */
