/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Inside lib/codec: the kernels (delta and zero detection, one set per
 * instruction set, same bytes from all) and the outside compressors.
 */
#ifndef CODEC_PRIV_H
#define CODEC_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <lz4.h>
#include <isa-l/igzip_lib.h>

#include "tp_codec.h"

#define CODEC_LINE TP_CODEC_LINE_BYTES
#define CODEC_WORD 8u			/* what a bit of a line's mask stands for */
#define CODEC_BLOCK_LINES 64u		/* lines looked at together */
#define CODEC_RUN_MAX 255u

/*
 * Largest delta of a page: every word of every line, a mask a line; two bytes a
 * run, of which a block of 64 lines has at most 32 and the page's gaps add one
 * for each 255 lines.
 */
#define CODEC_DELTA_BYTES_MAX(page_bytes) \
	((page_bytes) + 3 * ((page_bytes) / CODEC_LINE) + 64u)

struct codec_kernel {
	const char *name;
	bool (*supported)(void);

	/** Whether all bytes are 0; bytes is a multiple of TP_CODEC_PAGE_UNIT. */
	bool (*is_zero)(const uint8_t *page, uint32_t bytes);

	/**
	 * Delta of a page against its base. Bytes written to out, 0 when they are
	 * equal; -ENOSPC when it would take more than room.
	 */
	int (*delta_encode)(const uint8_t *page, const uint8_t *base, uint32_t lines,
			    uint8_t *out, uint32_t room);

	/** Lay a delta over a page. 0, or -EBADMSG with the page half done. */
	int (*delta_decode)(uint8_t *page, uint32_t lines, const uint8_t *in, uint32_t in_bytes);
};

extern const struct codec_kernel codec_kernel_avx512;
extern const struct codec_kernel codec_kernel_avx2;
extern const struct codec_kernel codec_kernel_portable;

/** All that were built, best first, NULL at the end. */
extern const struct codec_kernel *const codec_kernels[];

struct tp_codec {
	const struct codec_kernel *kernel;
	uint32_t page_bytes_max;
	uint8_t *delta;			/* CODEC_DELTA_BYTES_MAX(page_bytes_max) */
	uint8_t *deflate_level;		/* ISA-L's working memory */
	LZ4_stream_t lz4;
	struct isal_zstream deflate;
	struct inflate_state inflate;
};

#define CODEC_DEFLATE_LEVEL_BYTES ISAL_DEF_LVL1_SMALL

/* ISA-L's AVX code leaves the upper halves dirty, which slows every SSE instruction after it. */
static inline void
codec_upper_halves_clear(void)
{
#ifdef __x86_64__
	if (__builtin_cpu_supports("avx"))
		__asm__ volatile("vzeroupper");
#endif
}

/** Bytes written to out, or -ENOSPC: not within room. */
int codec_lz4_encode(struct tp_codec *codec, const uint8_t *in, uint32_t in_bytes, uint8_t *out,
		     uint32_t room);

/** Bytes written to out, or -EBADMSG. */
int codec_lz4_decode(const uint8_t *in, uint32_t in_bytes, uint8_t *out, uint32_t room);

/** Bytes written to out, or -ENOSPC: not within room. */
int codec_deflate_encode(struct tp_codec *codec, const uint8_t *in, uint32_t in_bytes,
			 uint8_t *out, uint32_t room);

/** 0: exactly out_bytes came out of all of in; or -EBADMSG. */
int codec_deflate_decode(struct tp_codec *codec, const uint8_t *in, uint32_t in_bytes,
			 uint8_t *out, uint32_t out_bytes);

#endif /* CODEC_PRIV_H */
