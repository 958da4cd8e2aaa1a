/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Shared between the files of lib/pool: the log type, the layout of a slot pool
 * in shared memory, and the kill points.
 */
#ifndef POOL_PRIV_H
#define POOL_PRIV_H

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <rte_common.h>
#include <rte_debug.h>

#include "tp_log.h"
#include "tp_slot_pool.h"

TP_LOG_DECLARE(pool);
#define TP_POOL_LOG(level, ...) TP_LOG(pool, level, __VA_ARGS__)

/*
 * A kill point stands after every store to shared memory, and where others may
 * change what was just read. tests/pool compiles these files with
 * POOL_KILL_POINTS, kills a process at each point in turn, and switches between
 * threads at each.
 */
#ifdef POOL_KILL_POINTS
void pool_step_hook(const char *step);
#define POOL_STEP(step) pool_step_hook(#step)
#else
#define POOL_STEP(step) do { } while (0)
#endif

#define POOL_MAGIC UINT64_C(0x314c4f4f504c5054)	/* "TPLPOOL1" */
#define POOL_VERSION 1
#define POOL_WORD_NONE UINT32_MAX

/*
 * At the pool's offset in the segment. Everything up to data_offset is written
 * once by the creator, copied by whoever attaches after a check, and never read
 * again: a process that scribbles here harms nobody who is attached.
 */
struct pool_header {
	_Atomic uint64_t magic;		/* last store of the creator */
	uint32_t version;
	uint32_t header_bytes;
	uint64_t total_bytes;
	uint32_t slot_bytes;
	uint32_t slot_count;
	uint32_t segment_id;
	uint32_t reserved;
	uint64_t summary_offset;	/* offsets from the header */
	uint64_t words_offset;
	uint64_t slots_offset;
	uint64_t data_offset;
	/* writer: whoever attaches, detaches, reaps */
	alignas(RTE_CACHE_LINE_SIZE) _Atomic uint64_t attached;
	/* writer: who waits for a slot, who returns one to a waiter */
	alignas(RTE_CACHE_LINE_SIZE) _Atomic uint32_t waiting;
	_Atomic uint32_t wake_sequence;	/* futex */
};
static_assert(sizeof(struct pool_header) == 256, "layout is shared");
static_assert(offsetof(struct pool_header, slot_bytes) == 24, "layout is shared");
static_assert(offsetof(struct pool_header, summary_offset) == 40, "layout is shared");
static_assert(offsetof(struct pool_header, attached) == 128, "layout is shared");
static_assert(offsetof(struct pool_header, waiting) == 192, "layout is shared");

/* 64 bits of the bitmap, 1 is perhaps free. A line each, so that processes working in
 * different words do not touch each other's lines.
 */
struct pool_word {
	alignas(RTE_CACHE_LINE_SIZE) _Atomic uint64_t bits;
};
static_assert(sizeof(struct pool_word) == 64, "layout is shared");

/* The truth about one slot; both words change together where tenure begins. */
struct pool_slot {
	alignas(16) _Atomic uint64_t holders;	/* bit per client id; 0 is free */
	_Atomic uint64_t generation;		/* counts tenures */
};
static_assert(sizeof(struct pool_slot) == 16, "layout is shared");

/*
 * refs[index], private to a process: how many references of its own stand
 * behind its one bit in the slot's holders.
 */
#define POOL_REF_SHARED (UINT32_C(1) << 31)	/* was offered or accepted in this tenure */
#define POOL_REF_BUSY (UINT32_C(1) << 30)	/* a thread is setting or clearing the bit */
#define POOL_REF_COUNT_MASK (POOL_REF_BUSY - 1)

struct tp_slot_pool {
	struct pool_header *header;
	_Atomic uint64_t *summary;
	struct pool_word *words;
	struct pool_slot *slots;
	uint8_t *data;
	_Atomic uint32_t *refs;
	uint64_t client_bit;
	uint64_t stride;
	uint64_t data_offset;		/* from the start of the segment */
	uint64_t word_last_valid;	/* bits of the last word that stand for slots */
	uint32_t slot_bytes;
	uint32_t slot_count;
	uint32_t word_count;
	uint32_t summary_count;
	uint32_t segment_id;
	uint32_t client_id;
	uint32_t hint_first;
	_Atomic uint32_t hint;		/* slot where callers without a cache look first */
};

/* slot_loan.c, for the other files */

/* Take up to want free slots for this client; their refs stay 0. Returns how many. */
uint32_t pool_claim(struct tp_slot_pool *pool, uint32_t *hint, uint32_t *indices, uint32_t want);

/* Give up this client's bit of slots that it holds without a reference. */
void pool_unclaim(struct tp_slot_pool *pool, const uint32_t *indices, uint32_t count);

/* See to it that slots of one word, which nobody holds, are found; wakes nobody. */
void pool_word_put(struct tp_slot_pool *pool, uint32_t word, uint64_t bits);

/* Say in the summary that a word may have free slots, unless it says so. */
void pool_summary_set(struct tp_slot_pool *pool, uint32_t word);

/* Wake whoever waits for a slot; call after the last pool_word_put(). */
void pool_wake(struct tp_slot_pool *pool);

/* slot_reap.c: take a client's bit out of every slot; returns slots freed. */
int pool_release_all(struct tp_slot_pool *pool, uint64_t client_bit);

static inline uint64_t
pool_word_valid(const struct tp_slot_pool *pool, uint32_t word)
{
	return word + 1 < pool->word_count ? UINT64_MAX : pool->word_last_valid;
}

#endif /* POOL_PRIV_H */
