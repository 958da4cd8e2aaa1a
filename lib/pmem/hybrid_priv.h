/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Inside of hybrid objects. docs/pmem.md, "Hybrid objects", says how it works.
 *
 * Terms: a frame is a place of the cache; published, its contents never change. The word
 * of an object says which frame has its newest version.
 *
 * Locks, outer first: write (one evicts, reclaims or writes back at a time), dirty, cache.
 * None is held while waiting for a bit of a word. Who holds the write lock knows that no
 * frame that was published is used for something else meanwhile.
 */
#ifndef HYBRID_PRIV_H
#define HYBRID_PRIV_H

#include <pthread.h>

#include "pmem_priv.h"
#include "tp_pmem_hybrid.h"

/*
 * On the medium.
 */
#define HYBRID_MAGIC UINT64_C(0x3144524259485054)	/* "TPHYBRD1" */

struct hybrid_head {
	rte_le64_t magic;
	rte_le32_t crc;			/* of what follows, seeded with the offset */
	rte_le32_t level;
	rte_le64_t table;		/* offset of the entries */
	rte_le32_t object_count;
	rte_le32_t object_bytes;
	uint8_t reserved[32];
};
PMEM_SIZE(struct hybrid_head, 64);
PMEM_FIELD(struct hybrid_head, table, 16);

/* Of an object; zeros: it never was. */
struct hybrid_entry {
	rte_le64_t block;		/* offset of its block; from bit 48 on a check of the entry */
	rte_le32_t bytes;		/* 0: there is no object */
	rte_le32_t crc;			/* of the contents, seeded with the id */
};
PMEM_SIZE(struct hybrid_entry, 16);

#define HYBRID_CHECK_SHIFT 48u
#define HYBRID_OFFSET_MASK ((UINT64_C(1) << HYBRID_CHECK_SHIFT) - 1)

static inline uint64_t
hybrid_entry_block(const struct hybrid_entry *entry)
{
	return rte_le_to_cpu_64(entry->block) & HYBRID_OFFSET_MASK;
}

/*
 * The word of an object, by bits:
 */
#define HYBRID_FRAME_BITS 28u
#define HYBRID_FRAME_MASK ((UINT64_C(1) << HYBRID_FRAME_BITS) - 1)	/* absent: ghost stamp */
#define HYBRID_BYTES_SHIFT HYBRID_FRAME_BITS
#define HYBRID_BYTES_MASK (UINT64_C(0xffffff) << HYBRID_BYTES_SHIFT)
#define HYBRID_RESIDENT (UINT64_C(1) << 52)	/* a frame has it */
#define HYBRID_DIRTY (UINT64_C(1) << 53)	/* newer than the persistent tier; RESIDENT */
#define HYBRID_WRITER (UINT64_C(1) << 54)	/* an edit owns it: not evicted, not published */
#define HYBRID_LOADING (UINT64_C(1) << 55)	/* being brought in, or made; not RESIDENT */
#define HYBRID_QUEUED (UINT64_C(1) << 56)	/* in the dirty queue, once; DIRTY or was */
#define HYBRID_BLOCK (UINT64_C(1) << 57)	/* known to have a block */
#define HYBRID_SPILLED (UINT64_C(1) << 58)	/* level NONE: its block has the version of the word */
#define HYBRID_FREQ_SHIFT 59u
#define HYBRID_FREQ_ONE (UINT64_C(1) << HYBRID_FREQ_SHIFT)
#define HYBRID_FREQ_MASK (UINT64_C(3) << HYBRID_FREQ_SHIFT)

#define HYBRID_BATCH_MAX 64u		/* objects in a write-back */
#define HYBRID_SPARES 32u		/* frames that a thread keeps, of each kind */

static inline uint32_t
hybrid_word_frame(uint64_t word)
{
	return (uint32_t)(word & HYBRID_FRAME_MASK);
}

static inline uint32_t
hybrid_word_bytes(uint64_t word)
{
	return (uint32_t)((word & HYBRID_BYTES_MASK) >> HYBRID_BYTES_SHIFT);
}

/* An object that is written to the persistent tier. */
struct hybrid_write {
	uint32_t id;
	uint32_t frame;
	uint32_t bytes;
	struct hybrid_entry entry;
};

struct tp_pmem_hybrid_thread {
	/* Frame + 1 of each pin; 0: none. Writer: owner; reader: who holds the write lock. */
	PMEM_LINE_ALIGNED _Atomic uint32_t hazards[TP_PMEM_HYBRID_PINS];

	PMEM_LINE_ALIGNED struct tp_pmem_hybrid *hybrid;	/* writer: owner */
	uint64_t pins_free;		/* a bit for each hazard */
	uint64_t hits;			/* pmem_count(): anybody may read them */
	uint64_t misses;
	uint64_t write_backs;
	uint64_t commits;
	uint32_t edit_count;
	uint32_t spare_count;
	uint32_t retired_count;
	uint32_t spares[HYBRID_SPARES];
	uint32_t retired[HYBRID_SPARES];
	struct hybrid_write edits[TP_PMEM_HYBRID_EDITS];

	PMEM_LINE_ALIGNED atomic_bool is_open;
};

/* Ids in order of arrival. */
struct hybrid_queue {
	uint32_t *ids;
	uint32_t capacity;
	uint32_t first;
	uint32_t count;
};

struct tp_pmem_hybrid {
	/* Constant while it is open. */
	struct tp_pmem_pool *pool;
	_Atomic uint64_t *words;
	uint8_t *frames;
	uint64_t frame_stride;
	uint64_t head_offset;
	uint64_t table;
	uint32_t object_count;
	uint32_t object_bytes;
	uint32_t frame_count;
	uint32_t spares_max;		/* that a thread keeps; 0 in a small cache */
	uint32_t thread_count;
	uint32_t dirty_max;		/* objects */
	uint32_t batch_max;		/* objects in a transaction of write-back */
	uint32_t lag_ms;
	enum tp_pmem_hybrid_level level;
	bool is_through;
	bool is_group;			/* a write-back is of all that is dirty, or nothing */
	bool full_fences;
	struct tp_pmem_hybrid_thread *threads;

	PMEM_LINE_ALIGNED struct pmem_lock write_lock;	/* guards: */
	uint8_t *pinned;		/* by frame: 1 while marked */
	uint32_t *marks;		/* frames marked */
	uint32_t mark_count;
	struct hybrid_write *batch;
	uint32_t *victims;
	uint64_t write_backs;
	uint32_t lost_count;		/* objects given up as their entry is damaged */
	uint32_t lost_id;		/* the last of them */
	uint64_t requeue_count;		/* batches that failed, and went to the queue's end */

	PMEM_LINE_ALIGNED struct pmem_lock dirty_lock;	/* guards: */
	struct hybrid_queue dirty;

	PMEM_LINE_ALIGNED struct pmem_lock cache_lock;	/* guards: */
	struct hybrid_queue small;	/* S3-FIFO's, of objects that are resident */
	struct hybrid_queue main;
	uint32_t *free;			/* frames */
	uint32_t free_count;
	uint32_t *limbo;		/* frames taken from their objects, perhaps pinned */
	uint32_t limbo_count;
	uint64_t ghost_stamp;		/* evictions from small */
	uint64_t evictions;
	struct tp_pmem_hybrid_stats base;	/* what was counted before the reset */

	PMEM_LINE_ALIGNED atomic_uint dirty_count;	/* objects dirty, and about to be */
	atomic_int lag_error;		/* of the lag thread's last flush; writer: it */

	pthread_mutex_t lag_lock;	/* guards is_closing */
	pthread_cond_t lag_wake;
	pthread_t lag_thread;
	bool is_closing;
};

static inline uint8_t *
hybrid_frame_at(const struct tp_pmem_hybrid *hybrid, uint32_t frame)
{
	return hybrid->frames + frame * hybrid->frame_stride;
}

static inline bool
hybrid_queue_push(struct hybrid_queue *queue, uint32_t id)
{
	uint32_t at = queue->first + queue->count;

	if (queue->count == queue->capacity)
		return false;
	queue->ids[at < queue->capacity ? at : at - queue->capacity] = id;
	queue->count++;
	return true;
}

static inline uint32_t
hybrid_queue_pop(struct hybrid_queue *queue)
{
	uint32_t id = queue->ids[queue->first];

	queue->first = queue->first + 1 == queue->capacity ? 0 : queue->first + 1;
	queue->count--;
	return id;
}

/** Note a hit, of a word just seen: once, as another thread's hit may count for this one. */
static inline void
hybrid_hit_note(_Atomic uint64_t *at, uint64_t seen)
{
	if ((seen & HYBRID_FREQ_MASK) != HYBRID_FREQ_MASK)
		atomic_compare_exchange_strong_explicit(at, &seen, seen + HYBRID_FREQ_ONE,
			memory_order_relaxed, memory_order_relaxed);
}

/** Wait a little for a bit of a word. */
void hybrid_relax(unsigned int *tries);

/*
 * hybrid_table.c: entries on the medium.
 */

/** Read and verify an entry. 0, -EBADMSG. */
int hybrid_entry_read(const struct tp_pmem_hybrid *hybrid, uint32_t id,
		      struct hybrid_entry *entry);

/** 0; -EINVAL: no store there; -EBADMSG. What is open is settled before. */
int hybrid_head_read(struct tp_pmem_pool *pool, uint64_t offset, struct hybrid_head *head);

/** Bring an object's contents to a frame. 0, -EBADMSG. */
int hybrid_contents_read(const struct tp_pmem_hybrid *hybrid, uint32_t id,
			 const struct hybrid_entry *entry, void *contents);

/** Give an object a block, if it has none. 0, -ENOSPC, ... of a commit. Owner of WRITER. */
int hybrid_block_ensure(struct tp_pmem_hybrid *hybrid, uint32_t id);

/**
 * Write objects to the persistent tier: one transaction, at level NONE without.
 * @param writes
 *   Entries are filled in; they and the frames stay until this returns.
 * @return 0, -EIO, -ENOMEM, -EBADMSG.
 */
int hybrid_store(struct tp_pmem_hybrid *hybrid, struct hybrid_write *writes, uint32_t count);

/*
 * hybrid_cache.c: frames, and S3-FIFO.
 */

/** A free frame; evicts when there is none. 0, -EBUSY, -EIO, ... of a write-back. */
int hybrid_frame_take(struct tp_pmem_hybrid_thread *thread, uint32_t *frame_out);

/** Give back a frame that was not published. */
void hybrid_frame_give(struct tp_pmem_hybrid_thread *thread, uint32_t frame);

/** Give back a frame that was: somebody may have it pinned. */
void hybrid_frame_retire(struct tp_pmem_hybrid_thread *thread, uint32_t frame);

/** All that a thread keeps. */
void hybrid_frames_return(struct tp_pmem_hybrid_thread *thread);

/** An object became resident; word: what it was before. */
void hybrid_cache_insert(struct tp_pmem_hybrid *hybrid, uint32_t id, uint64_t word);

/*
 * hybrid_access.c
 */

/** Bring an object in. 0: it was resident a moment ago; -ENOENT, -EBADMSG, -EBUSY, -EIO. */
int hybrid_load(struct tp_pmem_hybrid_thread *thread, uint32_t id);

/*
 * hybrid_flush.c
 */

/** Write back some objects that are resident. Write lock held. 0, -errno: they stay dirty. */
int hybrid_write_back(struct tp_pmem_hybrid *hybrid, const uint32_t *ids, uint32_t count);

/**
 * Write back the next batch of the dirty queue. Write lock held.
 * @return Objects taken from the queue; 0: it is empty; -errno: they are in it again.
 */
int hybrid_flush_batch(struct tp_pmem_hybrid *hybrid);

/** Account for objects that become dirty; writes back first if they would be too many. */
int hybrid_dirty_reserve(struct tp_pmem_hybrid *hybrid, uint32_t count);
int hybrid_lag_start(struct tp_pmem_hybrid *hybrid);
void hybrid_lag_stop(struct tp_pmem_hybrid *hybrid);

#endif /* HYBRID_PRIV_H */
