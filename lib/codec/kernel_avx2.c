/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Kernel for AVX2, two registers a line. The compiler ends every function here
 * that used them with vzeroupper.
 */
#include <immintrin.h>
#include <string.h>

#include "codec_priv.h"

#define GROUP_LINES 4u
#define HALF 32u

static inline __m256i
half_load(const uint8_t *p)
{
	return _mm256_loadu_si256((const __m256i *)p);
}

static inline uint32_t
half_mask(const uint8_t *page, const uint8_t *base)
{
	__m256i equal = _mm256_cmpeq_epi64(half_load(page), half_load(base));

	return ~(uint32_t)_mm256_movemask_pd(_mm256_castsi256_pd(equal)) & 0xf;
}

static inline uint8_t
line_mask(const uint8_t *page, const uint8_t *base)
{
	return (uint8_t)(half_mask(page, base) | half_mask(page + HALF, base + HALF) << 4);
}

/* Whether any of four lines differs: the usual answer is no. */
static inline bool
group_differs(const uint8_t *page, const uint8_t *base)
{
	__m256i any = _mm256_setzero_si256();

	for (uint32_t at = 0; at < GROUP_LINES * CODEC_LINE; at += HALF)
		any = _mm256_or_si256(any, _mm256_xor_si256(half_load(page + at),
			half_load(base + at)));
	return !_mm256_testz_si256(any, any);
}

static inline uint64_t
block_masks(const uint8_t *page, const uint8_t *base, uint32_t count, uint8_t *masks)
{
	uint64_t changed = 0;
	const uint8_t *a, *b;

	memset(masks, 0, CODEC_BLOCK_LINES);
	for (uint32_t line = 0; line < count; line += GROUP_LINES) {
		a = page + line * CODEC_LINE;
		b = base + line * CODEC_LINE;
		if (!group_differs(a, b))
			continue;
		for (uint32_t i = 0; i < GROUP_LINES; i++) {
			masks[line + i] = line_mask(a + i * CODEC_LINE, b + i * CODEC_LINE);
			changed |= (uint64_t)(masks[line + i] != 0) << (line + i);
		}
	}
	return changed;
}

static inline void
line_copy(uint8_t *to, const uint8_t *from)
{
	__m256i low = half_load(from);
	__m256i high = half_load(from + HALF);

	_mm256_storeu_si256((__m256i *)to, low);
	_mm256_storeu_si256((__m256i *)(to + HALF), high);
}

static inline void
line_pack(uint8_t *out, const uint8_t *line, uint8_t mask)
{
	if (mask == 0xff) {
		line_copy(out, line);
		return;
	}
	for (uint32_t left = mask; left != 0; left &= left - 1) {
		memcpy(out, line + CODEC_WORD * (uint32_t)__builtin_ctz(left), CODEC_WORD);
		out += CODEC_WORD;
	}
}

static inline void
line_unpack(uint8_t *line, const uint8_t *in, uint8_t mask)
{
	if (mask == 0xff) {
		line_copy(line, in);
		return;
	}
	for (uint32_t left = mask; left != 0; left &= left - 1) {
		memcpy(line + CODEC_WORD * (uint32_t)__builtin_ctz(left), in, CODEC_WORD);
		in += CODEC_WORD;
	}
}

#include "kernel_delta.h"

static bool
is_zero(const uint8_t *page, uint32_t bytes)
{
	__m256i any;

	for (uint32_t at = 0; at < bytes; at += GROUP_LINES * CODEC_LINE) {
		any = _mm256_setzero_si256();
		for (uint32_t i = 0; i < GROUP_LINES * CODEC_LINE; i += HALF)
			any = _mm256_or_si256(any, half_load(page + at + i));
		if (!_mm256_testz_si256(any, any))
			return false;
	}
	return true;
}

static bool
supported(void)
{
	return __builtin_cpu_supports("avx2");
}

const struct codec_kernel codec_kernel_avx2 = {
	.name = "avx2",
	.supported = supported,
	.is_zero = is_zero,
	.delta_encode = delta_encode,
	.delta_decode = delta_decode,
};
