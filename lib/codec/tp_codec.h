/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Codecs: what a page looks like on the way to another node. Pure computation:
 * no clock, no socket, no EAL, no memory taken after tp_codec_create(). Which
 * codec is worth its time is said by tp_codec_chooser.h.
 *
 * docs/protocol.md section 7 is the authority on the bytes.
 */
#ifndef TP_CODEC_H
#define TP_CODEC_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TP_CODEC_PAGE_UNIT 256u		/* page sizes are multiples of this */
#define TP_CODEC_PAGE_MAX 65536u
#define TP_CODEC_LINE_BYTES 64u

/* Section 7.1. The numbers are on the wire: never reuse one. */
#define TP_CODEC_LIST(CODEC)					\
	/*    name        id  base    text */			\
	CODEC(RAW,        0,  false, "raw")			\
	CODEC(ZERO,       1,  false, "zero")			\
	CODEC(SAME,       2,  true,  "same")			\
	CODEC(DELTA,      3,  true,  "delta")			\
	CODEC(LZ4,        4,  false, "lz4")			\
	CODEC(DELTA_LZ4,  5,  true,  "delta_lz4")		\
	CODEC(DEFLATE,    6,  false, "deflate")

enum tp_codec_id {
#define TP_CODEC_AS_ENUM(name, id, base, text) TP_CODEC_##name = (id),
	TP_CODEC_LIST(TP_CODEC_AS_ENUM)
#undef TP_CODEC_AS_ENUM
	TP_CODEC_COUNT
};

struct tp_codec;

/**
 * Make a codec: the tables and buffers that encoding and decoding need.
 *
 * @param page_bytes_max
 *   Largest page it will see, a multiple of TP_CODEC_PAGE_UNIT up to TP_CODEC_PAGE_MAX.
 * @return
 *   The codec, destroy with tp_codec_destroy(); or NULL and rte_errno:
 *   - EINVAL: page_bytes_max out of range.
 *   - ENOMEM.
 * @threads Any. A codec is one thread's: make one per worker.
 * @cost    About 400 KiB.
 */
struct tp_codec *tp_codec_create(uint32_t page_bytes_max);

/** May be NULL. @threads Owner. */
void tp_codec_destroy(struct tp_codec *codec);

/**
 * Instructions the codec was built on: "avx512", "avx2" or "portable".
 *
 * @return A constant string.
 * @threads Any.
 */
const char *tp_codec_kernel_name(const struct tp_codec *codec);

/**
 * Encode a page.
 *
 * What comes out may be of a cheaper codec than the one asked for: a page of
 * zeros becomes ZERO and one equal to its base SAME; DELTA_LZ4 becomes DELTA
 * where LZ4 gains nothing; and whatever would not be smaller than the page
 * becomes RAW.
 *
 * @param want
 *   Codec to try. RAW looks at nothing.
 * @param page
 *   The page; not written by anybody meanwhile.
 * @param base
 *   Contents the receiver holds, same size; NULL: none.
 * @param page_bytes
 *   A multiple of TP_CODEC_PAGE_UNIT up to the codec's maximum.
 * @param out
 *   Room for page_bytes. Written except for RAW, ZERO and SAME: the payload of RAW is
 *   the page itself, the others have none. Undefined behind the payload's end.
 * @param id
 *   Codec of the payload; written on success.
 * @return
 *   Bytes of payload, at most page_bytes; or
 *   - -EINVAL: want unknown or without its base, or page_bytes out of range.
 * @threads Owner of codec.
 * @cost    No lock, no allocation. 4 KiB: delta of an unchanged page 30 ns hot, LZ4 2 to
 *          9 us, deflate 10 to 40 us (docs/benchmarks.md).
 * @source  docs/protocol.md section 7.
 */
int tp_codec_encode(struct tp_codec *codec, enum tp_codec_id want, const void *page,
		    const void *base, uint32_t page_bytes, void *out, enum tp_codec_id *id);

/**
 * Decode a payload that came from outside. Safe on any bytes, also on bytes that
 * somebody changes meanwhile: never reads outside of the payload and base, never
 * writes outside of the page.
 *
 * @param id
 *   As the sender said, any number.
 * @param in
 *   The payload.
 * @param base
 *   What the sender was told we hold; NULL: none. May be the page itself, which is then
 *   changed in place.
 * @param page
 *   Result. Undefined after an error.
 * @param page_bytes
 *   A multiple of TP_CODEC_PAGE_UNIT up to the codec's maximum.
 * @return
 *   0, or
 *   - -EBADMSG: the payload is not what this codec makes of a page of this size, id is
 *     unknown, or it needs a base and there is none.
 *   - -EINVAL: page_bytes out of range.
 * @threads Owner of codec.
 * @cost    No lock, no allocation.
 * @source  docs/protocol.md section 7.
 */
int tp_codec_decode(struct tp_codec *codec, unsigned int id, const void *in, uint32_t in_bytes,
		    const void *base, void *page, uint32_t page_bytes);

/**
 * A number that tells contents of a page from others: by it two nodes know that they
 * hold the same, and a receiver that what it has decoded is what was sent.
 *
 * @return
 *   CRC-64 (ECMA-182, reflected), and 1 where that is 0: never 0.
 * @threads Any.
 * @cost    4 KiB: 53 ns hot, 460 ns from memory.
 * @source  docs/protocol.md section 7.3.
 */
uint64_t tp_codec_sum(const void *page, uint32_t page_bytes);

/**
 * Whether a codec needs the receiver's contents.
 *
 * @return false for unknown ids.
 * @threads Any.
 */
bool tp_codec_needs_base(unsigned int id);

/**
 * Name of a codec, for counters and logs.
 *
 * @return A constant string, "unknown" for a number out of range.
 * @threads Any.
 */
const char *tp_codec_name(unsigned int id);

#ifdef __cplusplus
}
#endif

#endif /* TP_CODEC_H */
