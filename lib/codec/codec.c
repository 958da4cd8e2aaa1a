/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Pages to payloads and back (docs/protocol.md section 7). A codec is one
 * worker's: it holds the tables that the compressors work in.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_common.h>
#include <rte_errno.h>

#include "codec_priv.h"

static const struct {
	const char *name;
	bool needs_base;
} codecs[] = {
#define CODEC_AS_ROW(name, id, base, text) [id] = { text, base },
	TP_CODEC_LIST(CODEC_AS_ROW)
#undef CODEC_AS_ROW
};
static_assert(RTE_DIM(codecs) == TP_CODEC_COUNT, "a row per codec");

/* What LZ4 could save of a delta this short is less than its time is worth. */
#define DELTA_LZ4_BYTES_MIN 96

static bool
page_bytes_are_valid(uint32_t page_bytes, uint32_t max)
{
	return page_bytes > 0 && page_bytes <= max && page_bytes % TP_CODEC_PAGE_UNIT == 0;
}

bool
tp_codec_needs_base(unsigned int id)
{
	return id < TP_CODEC_COUNT && codecs[id].needs_base;
}

const char *
tp_codec_name(unsigned int id)
{
	return id < TP_CODEC_COUNT ? codecs[id].name : "unknown";
}

const char *
tp_codec_kernel_name(const struct tp_codec *codec)
{
	return codec->kernel->name;
}

struct tp_codec *
tp_codec_create(uint32_t page_bytes_max)
{
	const struct codec_kernel *const *kernel = codec_kernels;
	struct tp_codec *codec;

	if (!page_bytes_are_valid(page_bytes_max, TP_CODEC_PAGE_MAX)) {
		rte_errno = EINVAL;
		return NULL;
	}
	/* ISA-L and LZ4 want their state no more than naturally aligned. */
	codec = calloc(1, sizeof(*codec));
	if (codec == NULL)
		goto fail;
	codec->page_bytes_max = page_bytes_max;
	codec->delta = malloc(CODEC_DELTA_BYTES_MAX(page_bytes_max));
	codec->deflate_level = malloc(CODEC_DEFLATE_LEVEL_BYTES);
	if (codec->delta == NULL || codec->deflate_level == NULL)
		goto fail;
	while (!(*kernel)->supported())
		kernel++;
	codec->kernel = *kernel;
	return codec;

fail:
	tp_codec_destroy(codec);
	rte_errno = ENOMEM;
	return NULL;
}

void
tp_codec_destroy(struct tp_codec *codec)
{
	if (codec == NULL)
		return;
	free(codec->deflate_level);
	free(codec->delta);
	free(codec);
}

static int
delta_encode(struct tp_codec *codec, const uint8_t *page, const uint8_t *base,
	uint32_t page_bytes, uint8_t *out, enum tp_codec_id *id)
{
	int bytes = codec->kernel->delta_encode(page, base, page_bytes / CODEC_LINE, out,
		page_bytes - 1);

	*id = bytes == 0 ? TP_CODEC_SAME : TP_CODEC_DELTA;
	return bytes;
}

/* The delta may be larger than the page here: LZ4 makes it smaller, or it is not sent. */
static int
delta_lz4_encode(struct tp_codec *codec, const uint8_t *page, const uint8_t *base,
	uint32_t page_bytes, uint8_t *out, enum tp_codec_id *id)
{
	int delta = codec->kernel->delta_encode(page, base, page_bytes / CODEC_LINE, codec->delta,
		CODEC_DELTA_BYTES_MAX(page_bytes));
	int bytes = -ENOSPC;

	if (delta == 0) {
		*id = TP_CODEC_SAME;
		return 0;
	}
	if (delta >= DELTA_LZ4_BYTES_MIN)
		bytes = codec_lz4_encode(codec, codec->delta, (uint32_t)delta, out,
			RTE_MIN((uint32_t)delta, page_bytes) - 1);
	if (bytes > 0) {
		*id = TP_CODEC_DELTA_LZ4;
		return bytes;
	}
	if ((uint32_t)delta >= page_bytes)
		return -ENOSPC;
	memcpy(out, codec->delta, (size_t)delta);
	*id = TP_CODEC_DELTA;
	return delta;
}

/* Bytes, or -ENOSPC when it is not smaller than the page. */
static int
page_encode(struct tp_codec *codec, enum tp_codec_id want, const uint8_t *page,
	const uint8_t *base, uint32_t page_bytes, uint8_t *out, enum tp_codec_id *id)
{
	*id = want;
	switch (want) {
	case TP_CODEC_SAME:
		return memcmp(page, base, page_bytes) == 0 ? 0 : -ENOSPC;
	case TP_CODEC_DELTA:
		return delta_encode(codec, page, base, page_bytes, out, id);
	case TP_CODEC_DELTA_LZ4:
		return delta_lz4_encode(codec, page, base, page_bytes, out, id);
	case TP_CODEC_LZ4:
		return codec_lz4_encode(codec, page, page_bytes, out, page_bytes - 1);
	case TP_CODEC_DEFLATE:
		return codec_deflate_encode(codec, page, page_bytes, out, page_bytes - 1);
	default:
		return -ENOSPC;
	}
}

int
tp_codec_encode(struct tp_codec *codec, enum tp_codec_id want, const void *page,
	const void *base, uint32_t page_bytes, void *out, enum tp_codec_id *id)
{
	int bytes;

	if ((unsigned int)want >= TP_CODEC_COUNT || (codecs[want].needs_base && base == NULL) ||
			!page_bytes_are_valid(page_bytes, codec->page_bytes_max))
		return -EINVAL;
	if (want == TP_CODEC_RAW) {
		*id = TP_CODEC_RAW;
		return (int)page_bytes;
	}
	if (codec->kernel->is_zero(page, page_bytes)) {
		*id = TP_CODEC_ZERO;
		return 0;
	}
	bytes = page_encode(codec, want, page, base, page_bytes, out, id);
	if (bytes < 0) {
		*id = TP_CODEC_RAW;
		bytes = (int)page_bytes;
	}
	return bytes;
}

static int
delta_decode(struct tp_codec *codec, const uint8_t *in, uint32_t in_bytes, const uint8_t *base,
	uint8_t *page, uint32_t page_bytes)
{
	/* That nothing changed is said by SAME. */
	if (in_bytes == 0)
		return -EBADMSG;
	if (page != base)
		memcpy(page, base, page_bytes);
	return codec->kernel->delta_decode(page, page_bytes / CODEC_LINE, in, in_bytes);
}

static int
delta_lz4_decode(struct tp_codec *codec, const uint8_t *in, uint32_t in_bytes,
	const uint8_t *base, uint8_t *page, uint32_t page_bytes)
{
	int bytes = codec_lz4_decode(in, in_bytes, codec->delta, CODEC_DELTA_BYTES_MAX(page_bytes));

	if (bytes < 0)
		return bytes;
	return delta_decode(codec, codec->delta, (uint32_t)bytes, base, page, page_bytes);
}

static int
whole_decode(const void *from, bool valid, void *page, uint32_t page_bytes)
{
	if (!valid)
		return -EBADMSG;
	if (from == NULL)
		memset(page, 0, page_bytes);
	else if (from != page)
		memcpy(page, from, page_bytes);
	return 0;
}

int
tp_codec_decode(struct tp_codec *codec, unsigned int id, const void *in, uint32_t in_bytes,
	const void *base, void *page, uint32_t page_bytes)
{
	if (!page_bytes_are_valid(page_bytes, codec->page_bytes_max))
		return -EINVAL;
	if (tp_codec_needs_base(id) && base == NULL)
		return -EBADMSG;
	switch (id) {
	case TP_CODEC_RAW:
		return whole_decode(in, in_bytes == page_bytes, page, page_bytes);
	case TP_CODEC_ZERO:
		return whole_decode(NULL, in_bytes == 0, page, page_bytes);
	case TP_CODEC_SAME:
		return whole_decode(base, in_bytes == 0, page, page_bytes);
	case TP_CODEC_DELTA:
		return delta_decode(codec, in, in_bytes, base, page, page_bytes);
	case TP_CODEC_LZ4:
		return codec_lz4_decode(in, in_bytes, page, page_bytes) == (int)page_bytes ?
			0 : -EBADMSG;
	case TP_CODEC_DELTA_LZ4:
		return delta_lz4_decode(codec, in, in_bytes, base, page, page_bytes);
	case TP_CODEC_DEFLATE:
		return codec_deflate_decode(codec, in, in_bytes, page, page_bytes);
	default:
		return -EBADMSG;
	}
}
