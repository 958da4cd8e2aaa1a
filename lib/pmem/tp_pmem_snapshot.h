/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Checkpoint files: the pool as it is at one moment, in a file beside it, from which it
 * can be made again when it is lost. (Not to be confused with tp_pmem_pool_checkpoint(), which
 * empties the log.) `telepage pmem checkpoint` and `restore` are these functions.
 *
 * The files of a pool are numbered: PREFIX.ckpt-000001 and so on. Each is whole or not
 * there, whatever happens while it is written. docs/pmem.md, "Checkpoint files".
 */
#ifndef TP_PMEM_SNAPSHOT_H
#define TP_PMEM_SNAPSHOT_H

#include "tp_pmem.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TP_PMEM_SNAPSHOT_VERSION 1u
#define TP_PMEM_SNAPSHOT_NUMBER_MAX UINT64_C(999999)

/**
 * Write a checkpoint file of an open pool: everything that has committed, and what was
 * flushed to its volumes.
 *
 * @param prefix
 *   Of the file's path; usually the path of the pool, if that is a file.
 * @param number_out
 *   Of the file: one more than the highest there. May be NULL.
 * @return
 *   0, or with no file left behind, unless its folder could not be synced (-EIO, rarely): then
 *   it is there and whole, and a power failure may take it away. tp_pmem_error() says more:
 *   - -ENOSPC: no room in the file system; or all numbers are used.
 *   - -ENAMETOOLONG, -EACCES, -EROFS, -ENOENT, ...: of open().
 *   - -EINVAL: prefix is a device.
 *   - -ENOMEM, -EIO.
 * @threads Any; not from within a transaction: those that are open are waited for, and new
 *          ones wait until it is done. One at a time for a prefix.
 * @cost    Reads what is allocated; writes those 256 KiB of it that are not all zero.
 */
int tp_pmem_snapshot_save(struct tp_pmem_pool *pool, const char *prefix, uint64_t *number_out);

/* What was found out of a checkpoint file. */
struct tp_pmem_snapshot_info {
	uint64_t number;
	uint8_t uuid[TP_PMEM_UUID_BYTES];	/* of the pool */
	uint64_t pool_bytes;
	uint64_t bytes;				/* of the pool that are in it */
	uint64_t created_s;			/* Unix time */
	uint64_t committed_seq;
};

/**
 * Told of each file that is looked at.
 *
 * @param error
 *   0: it is good, and info is set; else -errno: why it is refused.
 * @param text
 *   One line, borrowed; "" if it is good.
 */
typedef void tp_pmem_snapshot_fn(void *context, const char *path, int error, const char *text,
				 const struct tp_pmem_snapshot_info *info);

/**
 * Verify all checkpoint files of a prefix, the newest first: every byte.
 *
 * @param found
 *   May be NULL.
 * @return Number of good ones, or -ENOENT: no such folder, -ENOMEM, ...
 * @threads Any.
 */
int tp_pmem_snapshot_list(const char *prefix, tp_pmem_snapshot_fn *found, void *context);

enum tp_pmem_restore_flags {
	TP_PMEM_RESTORE_REPLACE = 1 << 0,	/* a pool that is there, and nobody has open */
};

/**
 * Make a pool again from the newest good checkpoint file. What is damaged is passed
 * over, and said. The pool is there as a whole or as it was before.
 *
 * @param number
 *   This file and no other, also if the pool was damaged when it was written; 0: the newest
 *   good one.
 * @param path
 *   Of the pool, which will be a file. It must not exist, unless flags say so.
 * @param flags
 *   enum tp_pmem_restore_flags.
 * @param found
 *   Told of each file that was looked at; may be NULL.
 * @return
 *   0, or with the pool as it was, unless its folder could not be synced (-EIO, rarely): then
 *   the new one is there, and a power failure may bring back the old. tp_pmem_error() says more:
 *   - -ENOENT: no checkpoint file, or none that is good.
 *   - -EEXIST: there is a file of that name.
 *   - -EBUSY: the pool that is there is in use.
 *   - -EXDEV: what is there is a pool with another UUID.
 *   - -EMEDIUMTYPE: what is there is not a pool.
 *   - -ENOTSUP: what is there is a device.
 *   - -ENOSPC, -EINVAL: flags; -EACCES, -EROFS, -ENOMEM, -EIO.
 * @threads Any.
 */
int tp_pmem_snapshot_restore(const char *prefix, uint64_t number, const char *path, uint32_t flags,
			     tp_pmem_snapshot_fn *found, void *context);

#ifdef __cplusplus
}
#endif

#endif /* TP_PMEM_SNAPSHOT_H */
