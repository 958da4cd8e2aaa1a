/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Sums of pages (docs/protocol.md section 7.3), by ISA-L.
 */
#include <isa-l/crc64.h>

#include "codec_priv.h"

uint64_t
tp_codec_sum(const void *page, uint32_t page_bytes)
{
	uint64_t sum = crc64_ecma_refl(0, page, page_bytes);

	codec_upper_halves_clear();
	return sum == 0 ? 1 : sum;
}
