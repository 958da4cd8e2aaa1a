/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Delta encoding, once for all instruction sets (docs/protocol.md section 7.2).
 * The file of a kernel defines, before it includes this one,
 *	block_masks()	masks of a block's lines: bit i of masks[l] says that word i
 *			of line l differs; masks past count are 0. Returns a bit per
 *			line whose mask is not 0.
 *	line_pack()	the words of a line that a mask names, one after the other
 *	line_unpack()	the reverse
 * and the functions below are compiled into it, with its instructions. So the
 * order of the bytes is decided in one place.
 *
 * How it works: a block of 64 lines is compared into 64 masks, a register wide.
 * Their bitmap tells runs of changed lines and what lies between them; the
 * population counts of masks and bitmap tell the size before a byte is written.
 */
#ifndef CODEC_KERNEL_DELTA_H
#define CODEC_KERNEL_DELTA_H

#include <errno.h>
#include <stdalign.h>
#include <string.h>

#include <rte_common.h>

#include "codec_priv.h"

struct delta_writer {
	uint8_t *out;
	uint32_t at;
	uint32_t skip;		/* unchanged lines since the last run */
};

static inline uint32_t
masks_words(const uint8_t *masks)
{
	uint64_t word;
	uint32_t sum = 0;

	for (uint32_t i = 0; i < CODEC_BLOCK_LINES; i += sizeof(word)) {
		memcpy(&word, masks + i, sizeof(word));
		sum += (uint32_t)__builtin_popcountll(word);
	}
	return sum;
}

/* What delta_block_write() will write. */
static inline uint32_t
delta_block_bytes(uint64_t changed, const uint8_t *masks, uint32_t skip)
{
	uint32_t runs = (uint32_t)__builtin_popcountll(changed & ~(changed << 1));
	uint32_t lines = (uint32_t)__builtin_popcountll(changed);
	uint32_t gap = skip + (uint32_t)__builtin_ctzll(changed);

	/* Only the first gap can be longer than what one run says. */
	runs += gap > CODEC_RUN_MAX ? (gap - 1) / CODEC_RUN_MAX : 0;
	return 2 * runs + lines + CODEC_WORD * masks_words(masks);
}

static inline void
delta_run_write(struct delta_writer *writer, const uint8_t *page, const uint8_t *masks,
	uint32_t count)
{
	while (writer->skip > CODEC_RUN_MAX) {
		writer->out[writer->at++] = CODEC_RUN_MAX;
		writer->out[writer->at++] = 0;
		writer->skip -= CODEC_RUN_MAX;
	}
	writer->out[writer->at++] = (uint8_t)writer->skip;
	writer->out[writer->at++] = (uint8_t)count;
	writer->skip = 0;
	for (uint32_t i = 0; i < count; i++)
		writer->out[writer->at++] = masks[i];
	for (uint32_t i = 0; i < count; i++) {
		line_pack(writer->out + writer->at, page + i * CODEC_LINE, masks[i]);
		writer->at += CODEC_WORD * (uint32_t)__builtin_popcount(masks[i]);
	}
}

static inline void
delta_block_write(struct delta_writer *writer, const uint8_t *page, const uint8_t *masks,
	uint64_t changed, uint32_t lines)
{
	uint32_t line = 0;
	uint32_t count;

	while (changed != 0) {
		count = (uint32_t)__builtin_ctzll(changed);
		changed >>= count;
		line += count;
		writer->skip += count;
		count = ~changed == 0 ? CODEC_BLOCK_LINES : (uint32_t)__builtin_ctzll(~changed);
		delta_run_write(writer, page + line * CODEC_LINE, masks + line, count);
		changed = count < CODEC_BLOCK_LINES ? changed >> count : 0;
		line += count;
	}
	writer->skip += lines - line;
}

static int
delta_encode(const uint8_t *page, const uint8_t *base, uint32_t lines, uint8_t *out, uint32_t room)
{
	alignas(64) uint8_t masks[CODEC_BLOCK_LINES];
	struct delta_writer writer = { .out = out };
	uint64_t changed;
	uint32_t count;

	for (uint32_t first = 0; first < lines; first += count) {
		count = RTE_MIN(lines - first, CODEC_BLOCK_LINES);
		changed = block_masks(page + first * CODEC_LINE, base + first * CODEC_LINE, count,
			masks);
		if (changed == 0) {
			writer.skip += count;
			continue;
		}
		if (delta_block_bytes(changed, masks, writer.skip) > room - writer.at)
			return -ENOSPC;
		delta_block_write(&writer, page + first * CODEC_LINE, masks, changed, count);
	}
	return (int)writer.at;
}

/* Lines of one run; the masks are read once: in may change while we look. */
static inline int
delta_run_apply(uint8_t *page, const uint8_t *in, uint32_t in_bytes, uint32_t count,
	uint32_t *used)
{
	uint8_t masks[CODEC_RUN_MAX];
	uint32_t words = 0;
	uint32_t at = count;

	if (count > in_bytes)
		return -EBADMSG;
	for (uint32_t i = 0; i < count; i++) {
		masks[i] = ((const volatile uint8_t *)in)[i];
		if (masks[i] == 0)
			return -EBADMSG;
		words += (uint32_t)__builtin_popcount(masks[i]);
	}
	if (words * CODEC_WORD > in_bytes - count)
		return -EBADMSG;
	for (uint32_t i = 0; i < count; i++) {
		line_unpack(page + i * CODEC_LINE, in + at, masks[i]);
		at += CODEC_WORD * (uint32_t)__builtin_popcount(masks[i]);
	}
	*used = at;
	return 0;
}

static int
delta_decode(uint8_t *page, uint32_t lines, const uint8_t *in, uint32_t in_bytes)
{
	uint32_t line = 0;
	uint32_t at = 0;
	uint32_t skip, count, used;
	int ret;

	while (at < in_bytes) {
		if (in_bytes - at < 2)
			return -EBADMSG;
		/* Read once, see above. */
		skip = ((const volatile uint8_t *)in)[at];
		count = ((const volatile uint8_t *)in)[at + 1];
		at += 2;
		/* A run of no lines only lengthens a gap. */
		if ((count == 0 && skip != CODEC_RUN_MAX) || skip + count > lines - line)
			return -EBADMSG;
		line += skip;
		ret = delta_run_apply(page + line * CODEC_LINE, in + at, in_bytes - at, count, &used);
		if (ret < 0)
			return ret;
		line += count;
		at += used;
	}
	return 0;
}

#endif /* CODEC_KERNEL_DELTA_H */
