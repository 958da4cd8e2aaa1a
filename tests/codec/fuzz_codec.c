/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * libFuzzer target: any bytes as a payload of any codec, by every kernel, in
 * memory that faults at its end; all kernels must agree. Then the same bytes as
 * a page: what was encoded must come back.
 *
 * Input: a byte for codec and page size, then the payload or page.
 */
#include <stdlib.h>
#include <string.h>

#include <rte_common.h>

#include "codec_priv.h"
#include "pages.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PAYLOAD_MAX 70000u

static const uint32_t page_sizes[] = { 256, 1024, 4096, 8192 };

#define PAGE_BYTES_MAX 8192u
#define ENCODE_BITS 0xa0u		/* in one of four: it takes ten times as long */

struct fuzz_state {
	struct tp_codec *codec;
	uint8_t *base;
	uint8_t *page;			/* ends where it faults, as do these: */
	uint8_t *payload_end;
	uint8_t *result[4];
};

static void
state_init(struct fuzz_state *state)
{
	uint64_t random = 41;

	state->codec = tp_codec_create(TP_CODEC_PAGE_MAX);
	state->base = guarded_alloc(PAGE_BYTES_MAX);
	state->page = guarded_alloc(PAGE_BYTES_MAX);
	state->payload_end = guarded_alloc(PAYLOAD_MAX) + PAYLOAD_MAX;
	for (unsigned int i = 0; i < RTE_DIM(state->result); i++)
		state->result[i] = guarded_alloc(PAGE_BYTES_MAX) + PAGE_BYTES_MAX;
	page_fill(state->base, PAGE_BYTES_MAX, PAGE_RECORDS, &random);
}

static void
decode_by_all(struct fuzz_state *state, unsigned int id, const uint8_t *data, size_t size,
	uint32_t page_bytes)
{
	uint8_t *payload = state->payload_end - size;
	unsigned int n = 0;
	int first = 0;
	int ret;

	memcpy(payload, data, size);
	for (const struct codec_kernel *const *k = codec_kernels; *k != NULL; k++) {
		if (!(*k)->supported())
			continue;
		state->codec->kernel = *k;
		ret = tp_codec_decode(state->codec, id, payload, (uint32_t)size, state->base,
			state->result[n] - page_bytes, page_bytes);
		if (n == 0)
			first = ret;
		if (ret != first || (ret == 0 && memcmp(state->result[n] - page_bytes,
				state->result[0] - page_bytes, page_bytes) != 0))
			abort();
		n++;
	}
}

/* The input over the base, as changes of it: where it is not 0. */
static void
encode_by_all(struct fuzz_state *state, unsigned int want, const uint8_t *data, size_t size,
	uint32_t page_bytes)
{
	uint8_t *page = state->page + PAGE_BYTES_MAX - page_bytes;
	uint8_t *out = state->result[0] - page_bytes;
	uint8_t *result = state->result[1] - page_bytes;
	enum tp_codec_id id;
	int bytes;

	memcpy(page, state->base, page_bytes);
	for (uint32_t i = 0; i < page_bytes && i < size; i++)
		page[i] ^= data[i];
	for (const struct codec_kernel *const *k = codec_kernels; *k != NULL; k++) {
		if (!(*k)->supported())
			continue;
		state->codec->kernel = *k;
		bytes = tp_codec_encode(state->codec, want, page, state->base, page_bytes, out, &id);
		if (bytes < 0 || (uint32_t)bytes > page_bytes)
			abort();
		if (tp_codec_decode(state->codec, id, id == TP_CODEC_RAW ? page : out,
				(uint32_t)bytes, state->base, result, page_bytes) < 0 ||
				memcmp(result, page, page_bytes) != 0)
			abort();
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fuzz_state state;
	unsigned int id;
	uint32_t page_bytes;

	if (state.codec == NULL)
		state_init(&state);
	if (size == 0 || size > PAYLOAD_MAX)
		return 0;
	id = data[0] & 7;
	page_bytes = page_sizes[data[0] >> 3 & 3];
	decode_by_all(&state, id, data + 1, size - 1, page_bytes);
	if (id < TP_CODEC_COUNT && (data[0] & ENCODE_BITS) == ENCODE_BITS)
		encode_by_all(&state, id, data + 1, size - 1, page_bytes);
	return 0;
}
