/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The heap of a pool, beyond tp_pmem_tx_alloc() and _free(): one-call forms, walking
 * over all blocks, and what it says about itself. docs/pmem.md, "Heap".
 */
#ifndef TP_PMEM_ALLOC_H
#define TP_PMEM_ALLOC_H

#include "tp_pmem.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TP_PMEM_CHUNK_BYTES (UINT32_C(256) << 10)
#define TP_PMEM_BLOCK_BYTES_MIN 64u
#define TP_PMEM_BLOCK_BYTES_MAX (UINT32_C(128) << 10)	/* larger ones are whole chunks */

/**
 * Allocate a block and store its offset, both or none: nothing leaks however the
 * program dies. A transaction of its own.
 *
 * @param flags
 *   enum tp_pmem_alloc_flags; RAW is usual here, since nothing was stored yet.
 * @param place
 *   Aligned, in the view: gets the offset.
 * @return
 *   0, or with nothing changed: -ENOSPC, -EINVAL, -EROFS, -ENOMEM, -EIO.
 * @threads Any; the place belongs to the caller.
 * @cost    One fence.
 */
int tp_pmem_alloc(struct tp_pmem_pool *pool, size_t bytes, uint32_t flags, uint64_t *place);

/**
 * Free the block whose offset is at a place, and store 0 there, both or none. 0 is
 * fine.
 *
 * @return
 *   0, or with nothing changed: -EINVAL: no block begins there; -EROFS, -ENOMEM, -EIO.
 * @threads Any; the place belongs to the caller.
 * @cost    One fence.
 */
int tp_pmem_free(struct tp_pmem_pool *pool, uint64_t *place);

/**
 * Bytes that a block holds, at least what was asked for.
 *
 * @return 0: no block begins there.
 * @threads Any.
 */
uint64_t tp_pmem_block_bytes(const struct tp_pmem_pool *pool, uint64_t offset);

/**
 * The allocated blocks in order of their offset.
 *
 * @param offset
 *   Of a block, or 0 for the first.
 * @return Offset of the next block; 0: there is none.
 * @threads Any; blocks that other threads allocate or free meanwhile may or may not be seen.
 */
uint64_t tp_pmem_block_next(const struct tp_pmem_pool *pool, uint64_t offset);

struct tp_pmem_heap_info {
	uint64_t bytes;			/* of all chunks */
	uint64_t allocated_bytes;	/* in blocks, as rounded up */
	uint64_t allocated_count;
	uint64_t free_chunk_bytes;	/* in chunks with nothing in them */
	uint64_t free_block_bytes;	/* in chunks with something in them */
	uint64_t free_extent_bytes_max;	/* the largest extent that could be allocated */
	uint32_t chunk_count;
	uint32_t chunk_free_count;
	uint32_t chunk_run_count;	/* that hold small blocks */
	/* Share of the free memory that no allocation of a whole extent can use, 0 to 1. */
	double fragmentation;
	uint64_t wear_min;		/* lines written home, over chunks */
	uint64_t wear_max;
	uint64_t wear_sum;
};

/** @threads Any; not a snapshot. @cost Reads all heap metadata. */
void tp_pmem_heap_info_get(struct tp_pmem_pool *pool, struct tp_pmem_heap_info *info);

struct tp_pmem_chunk_info {
	uint64_t offset;
	uint64_t bytes;			/* of the chunk; of an extent: all of it */
	uint32_t block_bytes;		/* 0: free, or an extent */
	uint32_t block_count;
	uint32_t allocated_count;
	bool is_extent;
	uint64_t wear;			/* lines written home */
};

/**
 * The chunks in turn, an extent as one.
 *
 * @param index
 *   In: 0, then what the last call left. Out: for the next call.
 * @return False: there are no more.
 * @threads Any; not a snapshot.
 */
bool tp_pmem_chunk_info_next(const struct tp_pmem_pool *pool, uint64_t *index,
			     struct tp_pmem_chunk_info *info);

#ifdef __cplusplus
}
#endif

#endif /* TP_PMEM_ALLOC_H */
