/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The outside compressors: LZ4 blocks by liblz4, raw deflate by ISA-L. Both are
 * told the room they have and keep to it.
 */
#include <errno.h>

#include "codec_priv.h"

int
codec_lz4_encode(struct tp_codec *codec, const uint8_t *in, uint32_t in_bytes, uint8_t *out,
	uint32_t room)
{
	int bytes = LZ4_compress_fast_extState(&codec->lz4, (const char *)in, (char *)out,
		(int)in_bytes, (int)room, 1);

	return bytes > 0 ? bytes : -ENOSPC;
}

int
codec_lz4_decode(const uint8_t *in, uint32_t in_bytes, uint8_t *out, uint32_t room)
{
	int bytes;

	/* No block is empty, and none of ours is as large as what it holds. */
	if (in_bytes == 0 || in_bytes > TP_CODEC_PAGE_MAX)
		return -EBADMSG;
	bytes = LZ4_decompress_safe((const char *)in, (char *)out, (int)in_bytes, (int)room);
	return bytes >= 0 ? bytes : -EBADMSG;
}

int
codec_deflate_encode(struct tp_codec *codec, const uint8_t *in, uint32_t in_bytes, uint8_t *out,
	uint32_t room)
{
	struct isal_zstream *stream = &codec->deflate;
	int ret;

	isal_deflate_stateless_init(stream);
	stream->level = 1;
	stream->level_buf = codec->deflate_level;
	stream->level_buf_size = CODEC_DEFLATE_LEVEL_BYTES;
	stream->flush = NO_FLUSH;
	stream->end_of_stream = 1;
	/* ISA-L takes a plain pointer, but only reads. */
	stream->next_in = (uint8_t *)(uintptr_t)in;
	stream->avail_in = in_bytes;
	stream->next_out = out;
	stream->avail_out = room;
	ret = isal_deflate_stateless(stream);
	codec_upper_halves_clear();
	return ret == COMP_OK && stream->avail_in == 0 ? (int)stream->total_out : -ENOSPC;
}

int
codec_deflate_decode(struct tp_codec *codec, const uint8_t *in, uint32_t in_bytes, uint8_t *out,
	uint32_t out_bytes)
{
	struct inflate_state *state = &codec->inflate;
	int ret;

	isal_inflate_init(state);
	state->next_in = (uint8_t *)(uintptr_t)in;
	state->avail_in = in_bytes;
	state->next_out = out;
	state->avail_out = out_bytes;
	ret = isal_inflate_stateless(state);
	codec_upper_halves_clear();
	if (ret != ISAL_DECOMP_OK || state->total_out != out_bytes || state->avail_in != 0)
		return -EBADMSG;
	return 0;
}
