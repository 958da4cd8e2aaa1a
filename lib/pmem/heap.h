/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The heap in DRAM: which chunks and blocks are free, reserved or taken. The media has
 * what is taken by transactions that committed: docs/pmem.md, "Heap".
 *
 * Who writes a chunk:
 *  - bits are set by the lane that owns the chunk only, cleared by anybody;
 *  - the rest is written under the heap's lock.
 */
#ifndef HEAP_H
#define HEAP_H

#include <sys/queue.h>

#include "pmem_priv.h"

enum heap_state {
	HEAP_FREE,		/* as the bitmap of free chunks says, too */
	HEAP_RUN,
	HEAP_EXTENT,		/* first chunk; reserved or taken */
	HEAP_BODY,
	HEAP_EXTERNAL,		/* lent to the log */
	HEAP_DAMAGED,		/* never allocated from */
};

struct heap_chunk {
	TAILQ_ENTRY(heap_chunk) item;	/* of the list of its class */
	_Atomic uint64_t *bits;		/* 1: taken or reserved; NULL: not read yet */
	_Atomic uint64_t wear;		/* lines written home; writer: who holds all commit locks */
	uint64_t offset;		/* in the pool */
	atomic_uint free_count;		/* blocks; only when bits are there */
	uint32_t extent_chunks;		/* of an extent */
	uint32_t cursor;		/* block to look at next */
	uint8_t state;			/* enum heap_state */
	uint8_t class;
	atomic_bool is_owned;		/* by a lane */
	atomic_bool is_listed;
};

struct heap_zone {
	uint64_t offset;		/* kind words begin here */
	uint64_t wear_offset;
	uint64_t bitmap_offset;
	uint64_t chunks_offset;
	uint32_t chunk_count;
	struct heap_chunk *chunks;
	uint64_t *free_words;		/* 1: free chunk */
	uint64_t *worn_words;		/* 1: wear changed since it was stored */
};

TAILQ_HEAD(heap_list, heap_chunk);

struct pmem_heap {
	struct tp_pmem_pool *pool;
	struct pmem_lock lock;
	struct heap_zone zones[PMEM_ZONES_MAX];
	atomic_uint zone_count;
	struct heap_list lists[PMEM_CLASS_COUNT];	/* runs with free blocks that no lane owns */
	uint64_t worn_lines;		/* counted since it was stored; as wear */
	uint32_t rotor;			/* where the search for a free chunk begins */
	atomic_uint external_count;	/* chunks lent to the log */
};

/* Sizes of blocks: 64, 128, 192, 256, then four steps per doubling up to 128 KiB. */
static inline uint32_t
heap_class_bytes(uint32_t class)
{
	uint32_t doubling;

	if (class < 4)
		return 64 * (class + 1);
	doubling = (class - 4) / 4;
	return (256u << doubling) + ((class - 4) % 4 + 1) * (64u << doubling);
}

/* Smallest class that holds bytes, 1 to TP_PMEM_BLOCK_BYTES_MAX. */
static inline uint32_t
heap_class_of(size_t bytes)
{
	uint32_t last = (uint32_t)bytes - 1;
	uint32_t doubling;

	if (bytes <= 256)
		return last / 64;
	doubling = 31u - 8u - (uint32_t)__builtin_clz(last);
	return 4 + doubling * 4 + ((last >> (6 + doubling)) & 3);
}

static inline uint32_t
heap_class_blocks(uint32_t class)
{
	return PMEM_CHUNK_BYTES / heap_class_bytes(class);
}

static inline uint32_t
heap_class_words(uint32_t class)
{
	return (heap_class_blocks(class) + PMEM_BITS_PER_WORD - 1) / PMEM_BITS_PER_WORD;
}

/* Metadata of a zone of so many chunks, up to its first chunk. */
static inline uint64_t
heap_zone_head_bytes(uint64_t chunk_count)
{
	return RTE_ALIGN_CEIL(chunk_count * (8 + 8 + PMEM_BITMAP_BYTES), (uint64_t)PMEM_CHUNK_BYTES);
}

/* Of a run; NULL: not read from the media yet. */
static inline _Atomic uint64_t *
heap_chunk_bits(const struct heap_chunk *chunk)
{
	/* acquire: pairs with the release in run_load() */
	return __atomic_load_n(&chunk->bits, __ATOMIC_ACQUIRE);
}

/** Read the heap of a pool that is recovered. 0, -ENOMEM. */
int pmem_heap_create(struct tp_pmem_pool *pool);
void pmem_heap_destroy(struct pmem_heap *heap);

/** Take up a zone that the superblock has got. 0, -ENOMEM. */
int pmem_heap_zone_add(struct pmem_heap *heap, uint64_t offset, uint32_t chunk_count);

/** Chunks of a zone that has so many bytes. */
uint32_t pmem_heap_zone_chunks(uint64_t bytes);

/** Chunk and zone of an offset; NULL: not in a chunk. */
struct heap_chunk *heap_chunk_find(const struct pmem_heap *heap, uint64_t offset,
				   const struct heap_zone **zone);

/** Is this range inside of chunks of one zone? */
bool pmem_heap_covers(const struct pmem_heap *heap, uint64_t offset, uint64_t bytes);

/** Where a chunk's metadata is. */
uint64_t heap_kind_offset(const struct heap_zone *zone, const struct heap_chunk *chunk);
uint64_t heap_bitmap_offset(const struct heap_zone *zone, const struct heap_chunk *chunk);

/**
 * Reserve a block for the transaction of a lane. 0, -ENOSPC, -ENOMEM, -EIO. May commit the
 * kind of a new run, so the lane's stage must not be in use.
 */
int pmem_heap_reserve(struct tp_pmem_pool *pool, struct pmem_lane *lane, uint64_t bytes,
		      uint64_t *offset_out);

/**
 * A block will be freed: its run is read before the media says so, or who reads it in between
 * would give the block out, and the release take it from him. 0, -ENOMEM.
 */
int pmem_heap_free_prepare(struct pmem_heap *heap, uint64_t offset);

/** A block is free from now on: its reservation is over, or who freed it has committed. */
void pmem_heap_release(struct pmem_heap *heap, uint64_t offset);

/** Bytes of the block that begins there; 0: none does. */
uint64_t pmem_heap_block_bytes(const struct pmem_heap *heap, uint64_t offset);

/** Append the entries that mark blocks as taken (or free) on the media. Sorts. 0, -ENOMEM. */
int pmem_heap_entries(struct pmem_heap *heap, struct pmem_buffer *stage, struct pmem_block *blocks,
		      size_t count, bool taken);

/** Free chunks in a row, for the log. 0, -ENOSPC. */
int pmem_heap_external_reserve(struct pmem_heap *heap, uint64_t bytes, uint32_t *chunk_count,
			       uint64_t *offset);
void pmem_heap_external_release(struct pmem_heap *heap, uint64_t offset, uint32_t chunk_count);

/** Count what was written home. All commit locks held. */
void pmem_heap_wear_add(struct pmem_heap *heap, uint64_t offset, uint64_t bytes);

/**
 * Write and flush the counts that changed, if that is worth it: a checkpoint may come
 * every hundred transactions. All commit locks held.
 * @param all  However little it is.
 */
void pmem_heap_wear_store(struct pmem_heap *heap, bool all);

/*
 * heap_extent.c; the heap's lock held.
 */

/** Take free chunks in a row, the least worn of those looked at. NULL: there are none. */
struct heap_chunk *heap_chunks_take(struct pmem_heap *heap, uint32_t count, enum heap_state state);
void heap_chunks_give(struct pmem_heap *heap, struct heap_chunk *first, uint32_t count);

/** A lane gives back the runs it owns. Its open lock held. */
void pmem_heap_lane_leave(struct pmem_heap *heap, struct pmem_lane *lane);

#endif /* HEAP_H */
