/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Kernel for AVX-512, a register a line, whose word masks the comparison itself
 * yields. The compiler ends every function here that used them with vzeroupper.
 */
#include <immintrin.h>
#include <string.h>

#include "codec_priv.h"

#define GROUP_LINES 4u

static inline __m512i
line_load(const uint8_t *p)
{
	return _mm512_loadu_si512(p);
}

static inline __m512i
or_of_four(__m512i a, __m512i b, __m512i c, __m512i d)
{
	/* 0xfe: the truth table of a | b | c. */
	return _mm512_or_si512(_mm512_ternarylogic_epi64(a, b, c, 0xfe), d);
}

static inline uint64_t
block_masks(const uint8_t *page, const uint8_t *base, uint32_t count, uint8_t *masks)
{
	__m512i d[GROUP_LINES];
	__m512i any;

	_mm512_store_si512(masks, _mm512_setzero_si512());
	for (uint32_t line = 0; line < count; line += GROUP_LINES) {
		for (uint32_t i = 0; i < GROUP_LINES; i++)
			d[i] = _mm512_xor_si512(line_load(page + (line + i) * CODEC_LINE),
				line_load(base + (line + i) * CODEC_LINE));
		any = or_of_four(d[0], d[1], d[2], d[3]);
		if (_mm512_test_epi64_mask(any, any) == 0)
			continue;
		for (uint32_t i = 0; i < GROUP_LINES; i++)
			masks[line + i] = _mm512_test_epi64_mask(d[i], d[i]);
	}
	any = _mm512_load_si512(masks);
	return _mm512_test_epi8_mask(any, any);
}

static inline __mmask8
words_mask(uint8_t mask)
{
	return (__mmask8)((1u << __builtin_popcount(mask)) - 1);
}

static inline void
line_pack(uint8_t *out, const uint8_t *line, uint8_t mask)
{
	_mm512_mask_storeu_epi64(out, words_mask(mask),
		_mm512_maskz_compress_epi64(mask, line_load(line)));
}

static inline void
line_unpack(uint8_t *line, const uint8_t *in, uint8_t mask)
{
	__m512i words = _mm512_maskz_loadu_epi64(words_mask(mask), in);

	_mm512_storeu_si512(line, _mm512_mask_expand_epi64(line_load(line), mask, words));
}

#include "kernel_delta.h"

static bool
is_zero(const uint8_t *page, uint32_t bytes)
{
	__m512i any;

	for (uint32_t at = 0; at < bytes; at += GROUP_LINES * CODEC_LINE) {
		any = or_of_four(line_load(page + at), line_load(page + at + CODEC_LINE),
			line_load(page + at + 2 * CODEC_LINE), line_load(page + at + 3 * CODEC_LINE));
		if (_mm512_test_epi64_mask(any, any) != 0)
			return false;
	}
	return true;
}

static bool
supported(void)
{
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
}

const struct codec_kernel codec_kernel_avx512 = {
	.name = "avx512",
	.supported = supported,
	.is_zero = is_zero,
	.delta_encode = delta_encode,
	.delta_decode = delta_decode,
};
