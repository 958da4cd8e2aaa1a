/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Shards: the unit in which pages are given to worker lcores. The count is a
 * cluster constant, so that every node knows which shard a page is in whatever
 * its own number of workers is.
 */
#ifndef TP_SHARD_H
#define TP_SHARD_H

#include <stdint.h>

#include "tp_address.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TP_SHARD_COUNT 256

/**
 * Shard of a page. The top bits of a multiplicative hash of the page number:
 * its low bits would follow the striping (pages homed on one of two nodes are
 * all even), and leave workers idle.
 *
 * @param address     A global address in the page.
 * @param page_shift  Of the page's region.
 * @return 0 to TP_SHARD_COUNT - 1.
 * @threads Any.
 * @cost    One multiplication.
 */
static inline uint32_t
tp_shard_of(uint64_t address, unsigned int page_shift)
{
	/* 2^64 divided by the golden ratio: neighbours land far apart. */
	return (uint32_t)((tp_address_page_number(address, page_shift) *
		UINT64_C(0x9E3779B97F4A7C15)) >> 56);
}

/** Worker of a node with @p worker_count workers that owns the shard. @threads Any. */
static inline uint16_t
tp_shard_worker(uint32_t shard, uint16_t worker_count)
{
	return (uint16_t)(shard % worker_count);
}

#ifdef __cplusplus
}
#endif

#endif /* TP_SHARD_H */
