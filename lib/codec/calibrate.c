/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Best cases of all codecs on this machine, for the chooser. Reads the clock it
 * is given, at start only.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_common.h>

#include "codec_priv.h"
#include "tp_codec_chooser.h"

#define ROUNDS 8u		/* the best one counts */
#define PAGES_PER_ROUND 16u	/* for clocks of coarse resolution */

struct calibration {
	struct tp_codec *codec;
	uint32_t page_bytes;
	uint64_t (*now_ns)(void *context);
	void *context;
	uint8_t *page;
	uint8_t *base;
	uint8_t *payload;
	uint8_t *result;
};

/* One short text again and again, and a base that differs in one word. */
static void
pages_fill(struct calibration *cal)
{
	static const char text[16] = "an easy page ...";

	for (uint32_t at = 0; at < cal->page_bytes; at += sizeof(text))
		memcpy(cal->page + at, text, sizeof(text));
	memcpy(cal->base, cal->page, cal->page_bytes);
	cal->base[cal->page_bytes / 2] ^= 1;
	memset(cal->payload, 0, cal->page_bytes);
	memset(cal->result, 0, cal->page_bytes);
}

static uint32_t
per_page(uint64_t ns)
{
	return (uint32_t)RTE_MIN(ns / PAGES_PER_ROUND, UINT32_MAX / 16);
}

static void
codec_measure(const struct calibration *cal, enum tp_codec_id want, struct tp_codec_cost *best)
{
	uint64_t start, middle, end;
	enum tp_codec_id id = want;
	int bytes = 0;

	*best = (struct tp_codec_cost){ UINT32_MAX, UINT32_MAX, 0 };
	for (unsigned int round = 0; round < ROUNDS; round++) {
		start = cal->now_ns(cal->context);
		for (unsigned int i = 0; i < PAGES_PER_ROUND; i++)
			bytes = tp_codec_encode(cal->codec, want, cal->page, cal->base,
				cal->page_bytes, cal->payload, &id);
		middle = cal->now_ns(cal->context);
		for (unsigned int i = 0; i < PAGES_PER_ROUND; i++)
			tp_codec_decode(cal->codec, id,
				id == TP_CODEC_RAW ? cal->page : cal->payload, (uint32_t)bytes,
				cal->base, cal->result, cal->page_bytes);
		end = cal->now_ns(cal->context);
		best->encode_ns = RTE_MIN(best->encode_ns, per_page(middle - start));
		best->decode_ns = RTE_MIN(best->decode_ns, per_page(end - middle));
	}
	best->bytes = (uint32_t)bytes;
}

int
tp_codec_calibrate(struct tp_codec *codec, uint32_t page_bytes,
	uint64_t (*now_ns)(void *context), void *context, struct tp_codec_cost *costs)
{
	struct calibration cal = {
		.codec = codec,
		.page_bytes = page_bytes,
		.now_ns = now_ns,
		.context = context,
	};

	if (page_bytes == 0 || page_bytes > codec->page_bytes_max ||
			page_bytes % TP_CODEC_PAGE_UNIT != 0)
		return -EINVAL;
	cal.page = malloc(4 * (size_t)page_bytes);
	if (cal.page == NULL)
		return -ENOMEM;
	cal.base = cal.page + page_bytes;
	cal.payload = cal.base + page_bytes;
	cal.result = cal.payload + page_bytes;
	pages_fill(&cal);
	for (unsigned int id = 0; id < TP_CODEC_COUNT; id++)
		codec_measure(&cal, id, &costs[id]);
	free(cal.page);
	return 0;
}
