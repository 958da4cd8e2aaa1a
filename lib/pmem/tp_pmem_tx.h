/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Transactions: a set of changes to a pool of which, after any crash, all are
 * there or none. Redo log, one fence per commit; docs/pmem.md, "Transactions".
 *
 *	tp_pmem_tx_begin(pool, &tx);
 *	tp_pmem_tx_add_range(tx, &account->sum, sizeof(account->sum));
 *	account->sum += 5;
 *	ret = tp_pmem_tx_commit(tx, 0);
 *
 * Isolation, precisely:
 *  - Atomicity and durability are given to each transaction whatever others do.
 *  - Stores to the view are seen by all threads of the process at once, before
 *    commit too. Two open transactions must not cover the same byte: who
 *    shares data between threads holds a lock of his own from before the first store
 *    until tp_pmem_tx_commit() or _abort() has returned. Then transactions are
 *    serialisable, and what a thread read under the lock is durable (with
 *    TP_PMEM_COMMIT_DEFER: becomes durable no later than anything based on it).
 *  - A byte that no open transaction covers may be read at any time.
 *  - Blocks and freed blocks are isolated by the allocator: a block freed is not
 *    given out again before the commit that freed it is durable, one allocated in a
 *    transaction that aborts never was.
 *  - Other processes see nothing: they cannot open the pool.
 */
#ifndef TP_PMEM_TX_H
#define TP_PMEM_TX_H

#include "tp_pmem.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TP_PMEM_TX_NEST_MAX 32u
#define TP_PMEM_TX_RANGE_MAX (UINT32_C(1) << 30)	/* bytes of one range */

struct tp_pmem_tx;

enum tp_pmem_commit_flags {
	/*
	 * Return before it is durable. It becomes so by the next commit without this
	 * flag, of any thread, or tp_pmem_pool_sync(); in the order of commits. Gains much
	 * at page granularity, nothing at the others, where it is ignored.
	 */
	TP_PMEM_COMMIT_DEFER = 1 << 0,
};

enum tp_pmem_alloc_flags {
	TP_PMEM_ALLOC_ZERO = 1 << 0,	/* filled with zeros */
	/*
	 * Its contents do not become durable with the commit, unless covered by
	 * tp_pmem_tx_add_range(); until something is stored there in a later transaction,
	 * they are whatever was there. For large blocks that are filled bit by bit. Not with ZERO.
	 */
	TP_PMEM_ALLOC_RAW = 1 << 1,
};

/**
 * Begin a transaction. One thread may have several open, but must not begin one
 * when it holds every lane of the pool.
 *
 * @param tx_out
 *   Valid until its outermost commit or abort.
 * @return
 *   0, or with tx_out untouched: -EROFS: opened for reading; -EIO: the device failed; -ENOMEM.
 * @threads Any. A transaction is its thread's; it may be handed over, not shared.
 * @cost    One atomic exchange; waits while all lanes are taken.
 */
int tp_pmem_tx_begin(struct tp_pmem_pool *pool, struct tp_pmem_tx **tx_out);

/**
 * Begin a transaction in this one. Its end is the next commit or abort: abort undoes
 * what was done since, commit leaves it to the outer one, and so does durability.
 *
 * @return
 *   0; -EOVERFLOW: TP_PMEM_TX_NEST_MAX deep; -ENOMEM.
 * @cost In nested levels tp_pmem_tx_add_range() copies the range.
 */
int tp_pmem_tx_nest(struct tp_pmem_tx *tx);

/**
 * Cover a range: what is stored there until the end of the transaction becomes
 * durable by its commit, and is undone by its abort. Call it before the first
 * store. Ranges may overlap; the same range again costs little. Blocks allocated
 * in the transaction are covered already (but see TP_PMEM_ALLOC_RAW).
 *
 * @param ptr
 *   In the view, in an allocated block.
 * @param bytes
 *   1 to TP_PMEM_TX_RANGE_MAX. Only these bytes are logged: name few.
 * @return
 *   0; -EINVAL: not in the heap; -ENOMEM: then the transaction can only be aborted.
 * @cost    About 10 ns; no fence.
 */
int tp_pmem_tx_add_range(struct tp_pmem_tx *tx, void *ptr, size_t bytes);

/** tp_pmem_tx_add_range(), then memcpy(). Nothing is copied on failure. */
int tp_pmem_tx_write(struct tp_pmem_tx *tx, void *ptr, const void *src, size_t bytes);

/**
 * Allocate a block. It starts at a multiple of 64, of 4096 when bytes is a multiple of
 * 4096, and shares no cache line with another block.
 *
 * @param bytes
 *   1 up to what the largest zone holds.
 * @param flags
 *   enum tp_pmem_alloc_flags. Without any, contents are undefined and become durable as the
 *   program leaves them at commit.
 * @param offset_out
 *   Of the block; tp_pmem_ptr() gives its address.
 * @return
 *   0, or with offset_out untouched and the transaction usable: -ENOSPC: the pool is full, or
 *   too fragmented for it; -EINVAL: bytes is 0, or flags; -ENOMEM.
 * @cost    About 50 ns; no fence, but one per 256 KiB of small blocks.
 */
int tp_pmem_tx_alloc(struct tp_pmem_tx *tx, size_t bytes, uint32_t flags, uint64_t *offset_out);

/**
 * Free a block. It stays as it is, and is not given out again, until the
 * commit is durable. Freeing one that this transaction allocated is fine.
 *
 * @return
 *   0; -EINVAL: no block begins there; -EALREADY: freed by this transaction before; -ENOMEM.
 */
int tp_pmem_tx_free(struct tp_pmem_tx *tx, uint64_t offset);

/**
 * Set, change or (offset 0) remove a named root.
 *
 * @return
 *   0; -EINVAL: length of name; -ENOSPC: TP_PMEM_ROOT_COUNT roots are there; -ENOENT: nothing
 *   to remove; -ENOMEM.
 * @threads One transaction at a time may set roots: the caller sees to that.
 */
int tp_pmem_tx_root_set(struct tp_pmem_tx *tx, const char *name, uint64_t offset);

/**
 * Told once how a transaction ended.
 *
 * @param committed
 *   True: durable (with TP_PMEM_COMMIT_DEFER: ordered). False: undone.
 */
typedef void tp_pmem_tx_end_fn(void *context, bool committed);

/**
 * Call a function when the outermost transaction ends, or when the level in which this
 * is called aborts; last registered, first called. It is the place to unlock what was locked
 * for the transaction, or to bring DRAM structures after. It must not use the transaction.
 *
 * @return 0, -ENOMEM.
 */
int tp_pmem_tx_on_end(struct tp_pmem_tx *tx, tp_pmem_tx_end_fn *function, void *context);

/**
 * End the innermost level; of the outermost one, make it durable.
 *
 * @param flags
 *   enum tp_pmem_commit_flags; nested: ignored.
 * @return
 *   0, or the whole transaction was undone and ended:
 *   - -ENOSPC: larger than a lane's log, and no room in the heap to log it.
 *   - -ECANCELED: a call on it failed with -ENOMEM before.
 *   - -EIO: the device failed: what a crash now leaves is the state before or after. The
 *     pool takes no more transactions; close and open it.
 * @threads Owner of tx.
 * @cost    One fence; two when new blocks have more than 1 KiB together. No fence when nothing
 *          was changed.
 */
int tp_pmem_tx_commit(struct tp_pmem_tx *tx, uint32_t flags);

/** End the innermost level and undo it. @threads Owner of tx. @cost No fence. */
void tp_pmem_tx_abort(struct tp_pmem_tx *tx);

/** Pool of a transaction. */
struct tp_pmem_pool *tp_pmem_tx_pool(const struct tp_pmem_tx *tx);

#ifdef __cplusplus
}
#endif

#endif /* TP_PMEM_TX_H */
