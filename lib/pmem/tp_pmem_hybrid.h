/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Hybrid objects: a store of objects in a pool, read and changed in a cache in DRAM of a
 * fixed size. docs/pmem.md, "Hybrid objects".
 *
 *	tp_pmem_hybrid_get(thread, id, &pin);		a committed version, for reading
 *	sum = ((const struct account *)pin.data)->sum;
 *	tp_pmem_hybrid_put(thread, &pin);
 *
 *	tp_pmem_hybrid_edit(thread, id, sizeof(*a), 0, (void **)&a);	a copy of the own
 *	a->sum += 5;
 *	ret = tp_pmem_hybrid_commit(thread);		all objects edited, at once
 *
 * An object is named by its id, 0 to object_count - 1, and has 1 to object_bytes bytes; one
 * that was never written is not there. Keys of other kinds: a B+tree from key to id.
 *
 * Isolation, precisely:
 *  - What a pin shows never changes: a version that was committed as a whole. Later
 *    commits are other versions, in other memory.
 *  - An object that a thread edits is its own until it commits or aborts: others that want
 *    to edit it wait, or, when they hold edits themselves, are refused with -EAGAIN, so that
 *    nobody waits in a circle. Transactions that read what they depend on by
 *    tp_pmem_hybrid_edit() are serialisable.
 *  - Objects pinned one after another may be of before and after another thread's
 *    commit. A thread sees its own edits by editing again, not by pins.
 *
 * Calls on a handle make transactions of the pool inside, and wait for other threads that do:
 * none but tp_pmem_hybrid_create() and _destroy(), which take a transaction, may be made by a
 * thread with one open (tp_pmem_tx_begin()). With every lane taken so nobody could go on.
 */
#ifndef TP_PMEM_HYBRID_H
#define TP_PMEM_HYBRID_H

#include "tp_pmem_tx.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TP_PMEM_HYBRID_OBJECT_BYTES_MAX (UINT32_C(8) << 20)	/* and half of a lane's log */
#define TP_PMEM_HYBRID_OBJECTS_MAX (UINT32_C(1) << 30)
#define TP_PMEM_HYBRID_THREADS_MAX 64u
#define TP_PMEM_HYBRID_PINS 64u		/* of a thread, at once */
#define TP_PMEM_HYBRID_EDITS 64u	/* objects in a transaction */

struct tp_pmem_hybrid;
struct tp_pmem_hybrid_thread;

/* What a crash leaves. A property of the store. */
enum tp_pmem_hybrid_level {
	TP_PMEM_HYBRID_NONE = 0,	/* nothing, and so does closing: memory beyond DRAM */
	/*
	 * Each object as some commit left it, none older than at the last flush or, see
	 * lag_ms and dirty_bytes_max, the limits.
	 */
	TP_PMEM_HYBRID_EVENTUAL = 1,
	/*
	 * The state after a commit, objects changed together old or new together. With
	 * WRITE_THROUGH: after the last one that returned. With WRITE_BACK: after one not older
	 * than the last flush or the limits.
	 */
	TP_PMEM_HYBRID_TRANSACTION = 2,
};

/* When the persistent tier gets what was committed. A property of the handle. */
enum tp_pmem_hybrid_policy {
	TP_PMEM_HYBRID_WRITE_BACK = 0,	/* at eviction, at a flush, and within the limits */
	TP_PMEM_HYBRID_WRITE_THROUGH = 1,	/* before tp_pmem_hybrid_commit() returns */
};

/* Zero is the default everywhere but for cache_bytes. */
struct tp_pmem_hybrid_config {
	/* DRAM for objects, all of it taken at once: several for each thread at least. */
	uint64_t cache_bytes;
	enum tp_pmem_hybrid_policy policy;
	/*
	 * Write-back: as many bytes (whole objects) may be committed and not durable; who commits
	 * more writes back first. Default half of the cache, at level NONE all of it. At level
	 * TRANSACTION at most what one record of the log holds.
	 */
	uint64_t dirty_bytes_max;
	/*
	 * Write-back: a commit is durable so many ms later, plus what a flush takes. 0: no limit,
	 * else the handle has a thread that flushes. If it could not, commits are refused with
	 * what it got until it can; after -EIO that is when the pool was opened again.
	 */
	uint32_t lag_ms;
	uint32_t thread_count;		/* that may use it; default 16, THREADS_MAX at most */
	/*
	 * Pins by a fence each (some ns) rather than by membarrier() in the rare reclaim, which
	 * interrupts the other cores that run this process.
	 */
	bool full_fences;
};

/**
 * Make a store without objects; keep its offset somewhere, or it leaks.
 *
 * @param object_bytes
 *   Of the largest object, 1 to TP_PMEM_HYBRID_OBJECT_BYTES_MAX. Each object takes as much.
 * @param object_count
 *   1 to TP_PMEM_HYBRID_OBJECTS_MAX; 16 bytes each now, a block at the first edit.
 * @return 0; with offset_out untouched: -EINVAL, -ENOSPC, -ENOMEM.
 * @threads Owner of tx.
 */
int tp_pmem_hybrid_create(struct tp_pmem_tx *tx, uint32_t object_bytes, uint32_t object_count,
			  enum tp_pmem_hybrid_level level, uint64_t *offset_out);

/**
 * Free a store and its objects. No handle may be open.
 *
 * @return
 *   0; -EINVAL: no store there, or made by this very transaction; -EBADMSG: head damaged, or an
 *   object's block is not one (tp_pmem_error() says where); -ENOMEM. After -EBADMSG and
 *   -ENOMEM the transaction can only be aborted.
 * @threads Owner of tx.
 */
int tp_pmem_hybrid_destroy(struct tp_pmem_tx *tx, uint64_t offset);

/**
 * Open the store at an offset. One handle of a store at a time; close it before the pool.
 *
 * @return
 *   0; with hybrid_out untouched: -EINVAL: no store there, a field of config, a cache of less
 *   than 4 objects, or objects of more than half of a lane's log; -EBADMSG: damaged; -ENOMEM,
 *   -EAGAIN: no thread; -EIO.
 * @threads Any.
 * @cost    Takes the cache's memory, and 12 bytes for each object, by pages as ids are used.
 */
int tp_pmem_hybrid_open(struct tp_pmem_pool *pool, uint64_t offset,
			const struct tp_pmem_hybrid_config *config,
			struct tp_pmem_hybrid **hybrid_out);

/**
 * Flush, but at level NONE, and close; edits that are open are aborted. NULL is fine.
 *
 * @return 0; -EIO: closed, but what was not durable is lost.
 * @threads One, with no other call on the store.
 */
int tp_pmem_hybrid_close(struct tp_pmem_hybrid *hybrid);

/** What a thread needs to use the store. 0, -EUSERS: thread_count have one. @threads Any. */
int tp_pmem_hybrid_thread_open(struct tp_pmem_hybrid *hybrid,
			       struct tp_pmem_hybrid_thread **thread_out);

/** Its pins end, its edits are aborted. NULL is fine. @threads Owner. */
void tp_pmem_hybrid_thread_close(struct tp_pmem_hybrid_thread *thread);

/* A version of an object, and why its memory stays. */
struct tp_pmem_hybrid_pin {
	const void *data;	/* starts a cache line */
	uint32_t bytes;
	uint32_t slot;
};

/**
 * Pin the newest committed version of an object.
 *
 * @return
 *   0, or with pin untouched:
 *   - -ENOENT: there is no such object.
 *   - -EINVAL: id.
 *   - -EBADMSG: damaged on the medium; tp_pmem_error() says where.
 *   - -EBUSY: everything in the cache is pinned or being edited.
 *   - -ENOBUFS: the thread has TP_PMEM_HYBRID_PINS pins.
 *   - -EIO: the cache is full of what cannot be written back.
 * @threads Owner of thread.
 * @cost    A hit: no lock, no fence, no store that another thread reads but by eviction.
 *          A miss: a copy and its checksum; sometimes evictions, which may write back.
 */
int tp_pmem_hybrid_get(struct tp_pmem_hybrid_thread *thread, uint32_t id,
		       struct tp_pmem_hybrid_pin *pin);

/** End a pin. @threads Owner of thread. */
void tp_pmem_hybrid_put(struct tp_pmem_hybrid_thread *thread,
			const struct tp_pmem_hybrid_pin *pin);

enum tp_pmem_hybrid_edit_flags {
	TP_PMEM_HYBRID_WHOLE = 1 << 0,	/* all of it will be written: zeros, not what it was */
};

/**
 * Take an object into the thread's transaction, to change or to make it.
 *
 * @param bytes
 *   That it shall have, 1 to object_bytes; what is beyond its old end is zeros.
 * @param data_out
 *   The object as it is, or zeros: a copy of the thread's own until commit or abort. Of an
 *   object that is in the transaction already, the copy it has.
 * @return
 *   0, or with nothing changed:
 *   - -EINVAL: id, bytes or flags.
 *   - -EAGAIN: another thread is editing it, and this one has edits: abort, then try again.
 *   - -EOVERFLOW: TP_PMEM_HYBRID_EDITS objects are in the transaction.
 *   - -ENOSPC: the pool has no room for a new object.
 *   - -EBUSY, -EBADMSG, -EIO: as of tp_pmem_hybrid_get(). With WHOLE the contents may be damaged.
 *   - -EROFS, -ENOMEM.
 * @threads Owner of thread. Waits while another thread edits it, unless this one has edits.
 * @cost    A copy. The first edit of a new object commits its block: one fence.
 */
int tp_pmem_hybrid_edit(struct tp_pmem_hybrid_thread *thread, uint32_t id, uint32_t bytes,
			uint32_t flags, void **data_out);

/**
 * Remove an object in the thread's transaction. Its block stays for the next object of this
 * id.
 *
 * @return 0; -ENOENT; else as tp_pmem_hybrid_edit().
 * @threads Owner of thread.
 */
int tp_pmem_hybrid_remove(struct tp_pmem_hybrid_thread *thread, uint32_t id);

/**
 * End the thread's transaction: what it edited becomes the committed version of each object.
 * With WRITE_THROUGH durable before it is seen, else seen at once and durable by the level.
 *
 * @return
 *   0, or aborted: -E2BIG: more than dirty_bytes_max; -EIO, -ENOMEM: the persistent tier could
 *   not be written (after -EIO with WRITE_THROUGH the medium may have either state), now or when
 *   lag_ms wanted it; with WRITE_THROUGH also -ENOSPC: they are more than a lane's log
 *   holds, and the pool has no room for that; and -EBADMSG: the entry of one is damaged.
 * @threads Owner of thread. With WRITE_BACK waits for a write-back when the limit is reached.
 */
int tp_pmem_hybrid_commit(struct tp_pmem_hybrid_thread *thread);

/** End the thread's transaction: nothing happened. @threads Owner of thread. */
void tp_pmem_hybrid_abort(struct tp_pmem_hybrid_thread *thread);

/**
 * Make durable what was committed before the call. At level NONE there is nothing to do.
 *
 * @return
 *   0; -EIO, -ENOMEM: some of it is not, and stays to be written back; -EBADMSG: all of it is but
 *   objects whose entries were found damaged since opening, which are lost.
 * @threads Any.
 * @cost    A transaction for some 64 objects, at level TRANSACTION one for all.
 */
int tp_pmem_hybrid_flush(struct tp_pmem_hybrid *hybrid);

/**
 * Look at every object on the medium.
 *
 * @return Findings, 0: sound.
 * @threads Any, without changes meanwhile.
 */
int tp_pmem_hybrid_check(struct tp_pmem_hybrid *hybrid, tp_pmem_check_fn *found, void *context);

/* Counters since opening or the last reset, and what is there now. */
struct tp_pmem_hybrid_stats {
	uint64_t hits;			/* of pins, and of edits that need the old contents */
	uint64_t misses;		/* that brought an object in */
	uint64_t evictions;
	uint64_t write_backs;		/* objects written to the persistent tier, by any policy */
	uint64_t commits;
	double hit_ratio;		/* hits / (hits + misses); 0 before the first */
	/* Now: */
	uint64_t dirty_bytes;		/* committed and not durable, or at level NONE: only in DRAM */
	uint64_t dirty_bytes_max;	/* the limit, as taken */
	uint64_t cache_count;		/* objects that the cache has room for */
	uint32_t object_bytes;
	uint32_t object_count;
	enum tp_pmem_hybrid_level level;
};

/** Sums over the threads; not a snapshot. @threads Any. */
void tp_pmem_hybrid_stats_get(struct tp_pmem_hybrid *hybrid, struct tp_pmem_hybrid_stats *stats);

/** Counters begin at 0 again. @threads Any. */
void tp_pmem_hybrid_stats_reset(struct tp_pmem_hybrid *hybrid);

#ifdef __cplusplus
}
#endif

#endif /* TP_PMEM_HYBRID_H */
