/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Kernel in plain C, for machines without wide vectors.
 */
#include <string.h>

#include "codec_priv.h"

#define LINE_WORDS (CODEC_LINE / CODEC_WORD)

static inline uint64_t
word_load(const uint8_t *p)
{
	uint64_t word;

	memcpy(&word, p, sizeof(word));
	return word;
}

static inline uint8_t
line_mask(const uint8_t *page, const uint8_t *base)
{
	uint32_t mask = 0;

	for (uint32_t i = 0; i < LINE_WORDS; i++)
		mask |= (uint32_t)(word_load(page + i * CODEC_WORD) !=
			word_load(base + i * CODEC_WORD)) << i;
	return (uint8_t)mask;
}

static inline uint64_t
block_masks(const uint8_t *page, const uint8_t *base, uint32_t count, uint8_t *masks)
{
	uint64_t changed = 0;
	uint64_t differ;

	memset(masks, 0, CODEC_BLOCK_LINES);
	for (uint32_t line = 0; line < count; line++) {
		differ = 0;
		for (uint32_t i = 0; i < CODEC_LINE; i += CODEC_WORD)
			differ |= word_load(page + i) ^ word_load(base + i);
		if (differ != 0) {
			masks[line] = line_mask(page, base);
			changed |= UINT64_C(1) << line;
		}
		page += CODEC_LINE;
		base += CODEC_LINE;
	}
	return changed;
}

static inline void
line_pack(uint8_t *out, const uint8_t *line, uint8_t mask)
{
	for (uint32_t left = mask; left != 0; left &= left - 1) {
		memcpy(out, line + CODEC_WORD * (uint32_t)__builtin_ctz(left), CODEC_WORD);
		out += CODEC_WORD;
	}
}

static inline void
line_unpack(uint8_t *line, const uint8_t *in, uint8_t mask)
{
	for (uint32_t left = mask; left != 0; left &= left - 1) {
		memcpy(line + CODEC_WORD * (uint32_t)__builtin_ctz(left), in, CODEC_WORD);
		in += CODEC_WORD;
	}
}

#include "kernel_delta.h"

static bool
is_zero(const uint8_t *page, uint32_t bytes)
{
	uint64_t any;

	for (uint32_t at = 0; at < bytes; at += CODEC_LINE) {
		any = 0;
		for (uint32_t i = 0; i < CODEC_LINE; i += CODEC_WORD)
			any |= word_load(page + at + i);
		if (any != 0)
			return false;
	}
	return true;
}

static bool
supported(void)
{
	return true;
}

const struct codec_kernel codec_kernel_portable = {
	.name = "portable",
	.supported = supported,
	.is_zero = is_zero,
	.delta_encode = delta_encode,
	.delta_decode = delta_decode,
};
