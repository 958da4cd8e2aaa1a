/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Inside of lib/pmem. Who writes what:
 *  - A lane belongs to the transaction that took it; its log to who holds its commit
 *    lock. A checkpoint holds all commit locks, growing and trimming hold all
 *    lanes.
 *  - Chunks: see heap.h.
 */
#ifndef PMEM_PRIV_H
#define PMEM_PRIV_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <rte_common.h>

#include "pmem_layout.h"
#include "tp_pmem.h"
#include "tp_pmem_alloc.h"
#include "tp_pmem_tx.h"

#define PMEM_LINE_ALIGNED __attribute__((aligned(64)))

struct heap_chunk;
struct pmem_heap;
struct pmem_lane;

#define PMEM_CLASS_COUNT 40u
#define PMEM_DEFER_LANE 0u

/*
 * crc.c
 */
#define PMEM_BITMAP_MASK ((UINT64_C(1) << PMEM_BITS_PER_WORD) - 1)

struct pmem_kind {
	uint8_t kind;		/* enum pmem_chunk_kind */
	uint8_t class;
	uint32_t number;
};

/** A bitmap word with its check; bits over PMEM_BITMAP_MASK are dropped. */
uint64_t pmem_bitmap_word(uint64_t bits);
bool pmem_bitmap_word_is_sound(uint64_t word);
uint64_t pmem_kind_word(struct pmem_kind kind);
/**
 * @param chunks  From this one to the end of its zone.
 * @return False: damaged, or what cannot be.
 */
bool pmem_kind_decode(uint64_t word, uint32_t chunks, struct pmem_kind *kind);

/*
 * error.c
 */

/** Set what tp_pmem_error() says, return -error. */
int pmem_error(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * lock.c: for sections of some hundred instructions, and now and then a msync().
 */
struct pmem_lock {
	atomic_uint state;	/* 0 free, 1 taken, 2 taken and waited for */
};

bool pmem_lock_try(struct pmem_lock *lock);
void pmem_lock_take(struct pmem_lock *lock);
void pmem_lock_release(struct pmem_lock *lock);

/*
 * buffer.c: bytes in DRAM that grow.
 */
struct pmem_buffer {
	uint8_t *data;
	size_t bytes;
	size_t capacity;
};

/** Room for more bytes behind the used ones: where they begin; NULL: no memory. */
void *pmem_buffer_reserve(struct pmem_buffer *buffer, size_t more);
/** The same, and take them as used. */
void *pmem_buffer_extend(struct pmem_buffer *buffer, size_t more);
void pmem_buffer_fini(struct pmem_buffer *buffer);

/*
 * log.c: records.
 */

/* An entry, decoded. */
struct pmem_entry {
	enum pmem_entry_kind kind;
	uint64_t offset;
	uint64_t bytes;			/* of the range in the pool */
	const uint8_t *payload;
};

/* Append entries to a buffer: 0, -ENOMEM. */
int pmem_entry_write(struct pmem_buffer *buffer, uint64_t offset, const void *src, uint64_t bytes);
int pmem_entry_word(struct pmem_buffer *buffer, enum pmem_entry_kind kind, uint64_t offset,
		    uint64_t bytes, uint64_t value);
int pmem_entry_direct(struct pmem_buffer *buffer, uint64_t offset, uint64_t bytes);

/**
 * Take the next entry. 1; 0: no more; -EBADMSG: not an entry, or its range is not in the root
 * table or the heap.
 */
int pmem_entry_next(const struct tp_pmem_pool *pool, const uint8_t **at, const uint8_t *end,
		    struct pmem_entry *entry);

/** Does a commit bring it home past the caches, and wait for that? */
bool pmem_entry_streams(const struct tp_pmem_device *device, const struct pmem_entry *entry);

/**
 * Bring an entry home.
 * @param streamed
 *   Set if part of it went past the caches, so that a fence of this thread must follow; NULL:
 *   none may.
 * @return False: a bitmap word was damaged (its blocks are all taken now).
 */
bool pmem_entry_apply(struct tp_pmem_device *device, const struct pmem_entry *entry,
		      bool *streamed);

/** CRC of a record whose fields but crc are set. */
uint32_t pmem_record_crc(const struct pmem_record *record, uint32_t lane, uint64_t position);

/*
 * super.c: superblock and state.
 */
void pmem_super_seal(struct pmem_super *super);

/** Why it is not one: 0, -EMEDIUMTYPE, -EPROTONOSUPPORT, -EBADMSG; *text says more. */
int pmem_super_validate(const struct pmem_super *super, const char **text);

/** Choose the copy that counts: 0 or 1, or -errno as above; -ENODATA: truncated. */
#define PMEM_SUPER_COPIES 2u
uint64_t pmem_super_offset(unsigned int copy);
int pmem_super_choose(const struct tp_pmem_device *device, struct pmem_super *super);

/** Write both copies. 0, -EIO. */
int pmem_super_store(struct tp_pmem_device *device, struct pmem_super *super);

/** Choose the copy that counts, of the slots' 4; -EBADMSG: none is valid. */
int pmem_state_choose(const struct tp_pmem_device *device, const struct pmem_super *super,
		      struct pmem_state *state);

/** Read one copy; false: damaged, or of another pool. */
bool pmem_state_copy_read(const struct tp_pmem_device *device, const struct pmem_super *super,
			  unsigned int copy, struct pmem_state *state);
uint64_t pmem_state_offset(unsigned int copy);

/** Has the medium lost power with its caches full while the pool was open? */
bool pmem_state_lost_power(const struct tp_pmem_device *device, const struct pmem_state *state);

/** Write the next generation into the other slot, with a fence after it. 0, -EIO. */
int pmem_state_store(struct tp_pmem_device *device, struct pmem_state *state);

/*
 * The pool.
 */
struct tp_pmem_pool {
	struct tp_pmem_pool_view view;		/* first: tp_pmem_ptr() */
	struct tp_pmem_device *device;
	struct pmem_heap *heap;
	struct pmem_lane *lanes;
	uint32_t lane_count;
	uint32_t lane_bytes;
	int lock_fd;				/* -1: none */
	bool read_only;
	bool was_clean;
	uint64_t recovered_count;
	uint64_t recovered_bytes;
	uint64_t log_damage_offset;		/* of a record that was lasting and is not sound; 0: none */
	uint64_t epoch;

	struct pmem_super super;		/* writer: who holds all lanes */
	struct pmem_state state;		/* writer: who holds all commit locks */
	uint64_t deferred_position;		/* in the log of PMEM_DEFER_LANE, guarded by its lock */

	PMEM_LINE_ALIGNED _Atomic uint64_t next_seq;	/* writers: all committers */
	PMEM_LINE_ALIGNED atomic_uint deferred_count;	/* records not brought home */
	atomic_bool failed;				/* the device did: no more transactions */
};

static inline uint64_t
pmem_media_offset(const struct tp_pmem_pool *pool, const void *media)
{
	return (uint64_t)((const uint8_t *)media - pool->device->media);
}

/** Descriptor of a file with its lock, or -errno: -EBUSY, of open(). */
int pmem_lock_open(const char *path, bool read_only);

/** Is it a character device, as device DAX is? */
bool pmem_is_device(const char *path);

/** Make the name of a file last. 0, -errno. */
int pmem_directory_sync(const char *path);

/** What tp_pmem_pool_close() does without the lock. 0, -EIO: closed all the same. */
int pmem_pool_close_device(struct tp_pmem_pool *pool);

/*
 * root.c
 */
struct pmem_root *pmem_root_table(const struct tp_pmem_pool *pool);
bool pmem_root_is_sound(const struct pmem_root *root);
bool pmem_root_is_free(const struct pmem_root *root);

/** Cover any range of the view, also outside of blocks. 0, -ENOMEM. */
int pmem_tx_cover(struct tp_pmem_tx *tx, uint64_t offset, uint64_t bytes);

/**
 * Let the commit bring home bytes that are not in the view, and leave the view as it is. For
 * memory that nobody reads there.
 * @param src
 *   Stays until the commit.
 * @return 0, -ENOMEM.
 */
int pmem_tx_image(struct tp_pmem_tx *tx, uint64_t offset, const void *src, uint64_t bytes);

/*
 * lane.c
 */
struct pmem_range {
	uint64_t offset;
	uint64_t bytes;
};

/* A block that the transaction allocated or freed. */
struct pmem_block {
	uint64_t offset;
	uint64_t bytes;		/* asked for */
	uint32_t flags;		/* enum tp_pmem_alloc_flags */
	bool is_gone;		/* allocated, and freed or undone again */
};

struct pmem_end {
	tp_pmem_tx_end_fn *function;
	void *context;
};

/* Bytes that an inner abort puts back; the copy is in undo_data. */
struct pmem_undo {
	struct pmem_range range;
	size_t copy;
};

/* Where a level began. */
struct pmem_level {
	size_t ranges;		/* bytes of each buffer */
	size_t fresh;
	size_t freed;
	size_t ends;
	size_t undos;
	size_t undo_data;
	size_t images;
};

/* Bytes that come home from elsewhere than the view. */
struct pmem_image {
	struct pmem_range range;
	const void *src;
};

struct tp_pmem_tx {
	struct tp_pmem_pool *pool;
	struct pmem_lane *lane;
	uint32_t depth;			/* 0: none is open */
	bool failed;			/* -ENOMEM: can only be aborted */
	struct pmem_level levels[TP_PMEM_TX_NEST_MAX];
	struct pmem_buffer ranges;	/* struct pmem_range */
	struct pmem_buffer fresh;	/* struct pmem_block */
	struct pmem_buffer freed;
	struct pmem_buffer ends;	/* struct pmem_end */
	struct pmem_buffer undos;	/* struct pmem_undo */
	struct pmem_buffer undo_data;
	struct pmem_buffer images;	/* struct pmem_image */
};

/* What a commit wrote home, until the next checkpoint. */
#define PMEM_HOME_FLUSH (UINT64_C(1) << 63)	/* with bytes: lies in the caches */

struct pmem_home {
	uint64_t offset;
	uint64_t bytes;
};

/* What a lane logged outside of itself, until the next checkpoint. */
struct pmem_external {
	uint64_t offset;
	uint32_t chunk_count;
};

struct pmem_lane {
	PMEM_LINE_ALIGNED struct pmem_lock open_lock;	/* held from begin to end */
	uint32_t index;
	struct tp_pmem_tx tx;
	struct pmem_buffer stage;	/* the record being made */
	struct heap_chunk *runs[PMEM_CLASS_COUNT];	/* that it allocates from; NULL: none */

	PMEM_LINE_ALIGNED struct pmem_lock commit_lock;	/* guards what follows */
	uint64_t log_position;
	struct pmem_buffer homes;	/* struct pmem_home, of the records in its log */
	bool homes_are_lost;		/* no memory for one: the log itself says what they are */
	struct pmem_buffer externals;	/* struct pmem_external */
	struct pmem_buffer deferred_frees;	/* uint64_t: blocks to give back when settled */
	struct tp_pmem_pool_stats stats;
};

/* A counter of a lane: its holder adds, anybody may read. */
static inline void
pmem_count(uint64_t *counter, uint64_t more)
{
	__atomic_store_n(counter, __atomic_load_n(counter, __ATOMIC_RELAXED) + more, __ATOMIC_RELAXED);
}

int pmem_lanes_create(struct tp_pmem_pool *pool);
void pmem_lanes_destroy(struct tp_pmem_pool *pool);

/** Take a free lane; waits for one. */
struct pmem_lane *pmem_lane_take(struct tp_pmem_pool *pool);
void pmem_lane_release(struct pmem_lane *lane);
void pmem_lanes_take_all(struct tp_pmem_pool *pool);
void pmem_lanes_release_all(struct tp_pmem_pool *pool);

/** Where a lane's log begins in the media. */
uint8_t *pmem_lane_log(const struct tp_pmem_pool *pool, uint32_t lane);

/*
 * commit.c
 */

/**
 * Log the entries in a lane's stage (behind room for a record's head), make them durable
 * and bring them home.
 * @return 0, -ENOSPC, -ENOMEM: nothing happened; -EIO.
 */
int pmem_commit_stage(struct tp_pmem_pool *pool, struct pmem_lane *lane, bool defer);

/** Wait until it is lasting; a pool whose device failed takes no more. 0, -EIO. */
int pmem_fence(struct tp_pmem_pool *pool, struct pmem_lane *lane);

/** Empty stage, with room for the head. 0, -ENOMEM. */
int pmem_stage_start(struct pmem_lane *lane);

/** Bring home what was deferred, in order, after a fence. 0, -EIO. */
int pmem_settle(struct tp_pmem_pool *pool);

/**
 * Where the entries of a sound record are: in it, or in the extent it names. 0, -EBADMSG.
 */
int pmem_record_entries(const struct tp_pmem_pool *pool, const struct pmem_record *record,
			const uint8_t **begin, const uint8_t **end);

/**
 * Empty the log. 0, -EIO.
 * @param wear  Store what was counted of it, however little that is.
 */
int pmem_checkpoint(struct tp_pmem_pool *pool, bool wear);

/*
 * recovery.c
 */

/**
 * The record at a position of a lane, if it is one of an epoch with a number over after_seq;
 * else NULL.
 */
const struct pmem_record *pmem_record_at(const struct tp_pmem_pool *pool, uint32_t lane,
					 uint64_t position, uint64_t epoch, uint64_t after_seq);

/**
 * Redo what is in the log, on media of a device that is open.
 * @param accept_damage
 *   Go on without the records of a lane behind one that the medium lost.
 * @param watermark
 *   In: of the state. Out: the highest number found.
 * @return 0, -EBADMSG: damaged, nothing was redone; -EIO, -ENOMEM.
 */
int pmem_recover(struct tp_pmem_pool *pool, uint64_t epoch, bool accept_damage,
		 uint64_t *watermark);

#endif /* PMEM_PRIV_H */
