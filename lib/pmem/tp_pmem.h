/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Pools of persistent memory: one file (or device DAX device) that holds a heap,
 * named roots and the log that makes its changes atomic. Usable alone: no NIC, no
 * EAL. Changes go through transactions (tp_pmem_tx.h).
 *
 * Memory of a pool is named by its offset, an uint64_t; 0 is "none". The address
 * of an offset, tp_pmem_ptr(), stays the same as long as the pool is open, also when
 * it grows.
 *
 * What is read and written there is the view (tp_pmem_device.h): stores to it last
 * only when a transaction that covers them commits. So a program that dies in
 * the middle of a change, or forgot tp_pmem_tx_add_range(), has changed nothing.
 *
 * docs/pmem.md is the authority on the format.
 */
#ifndef TP_PMEM_H
#define TP_PMEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tp_pmem_device.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TP_PMEM_VERSION 1u
#define TP_PMEM_UUID_BYTES 16u
#define TP_PMEM_NAME_BYTES 64u			/* with the terminating 0 */
#define TP_PMEM_POOL_BYTES_MIN (UINT64_C(4) << 20)
#define TP_PMEM_POOL_BYTES_MAX (UINT64_C(1) << 43)
#define TP_PMEM_ROOT_COUNT 128u
#define TP_PMEM_LANES_MAX 256u

/* Where the view begins: the first member of every pool. */
struct tp_pmem_pool_view {
	uint8_t *base;
};

struct tp_pmem_pool;

/** Address of an offset; NULL for 0. The offset is not checked. @threads Any. */
static inline void *
tp_pmem_ptr(const struct tp_pmem_pool *pool, uint64_t offset)
{
	const struct tp_pmem_pool_view *view = (const struct tp_pmem_pool_view *)(const void *)pool;

	/* As numbers: readers make addresses of what they look at only later. */
	return offset == 0 ? NULL : (void *)((uintptr_t)view->base + offset);
}

/** Offset of an address in the view; 0 for NULL. The address is not checked. @threads Any. */
static inline uint64_t
tp_pmem_offset(const struct tp_pmem_pool *pool, const void *ptr)
{
	const struct tp_pmem_pool_view *view = (const struct tp_pmem_pool_view *)(const void *)pool;

	return ptr == NULL ? 0 : (uint64_t)((const uint8_t *)ptr - view->base);
}

/* How to make a pool; zero is the default everywhere. */
struct tp_pmem_pool_config {
	const char *name;		/* of the pool, for people; NULL: none */
	uint32_t lane_count;		/* transactions at once, 1 to TP_PMEM_LANES_MAX; default 32 */
	uint32_t lane_bytes;		/* log of each, a multiple of 4096, 16 KiB to 64 MiB */
	uint32_t mode;			/* of the file; default 0600 */
};

enum tp_pmem_open_flags {
	TP_PMEM_OPEN_READ_ONLY = 1 << 0,	/* recovered in DRAM; the file is left as it is */
	TP_PMEM_OPEN_REPAIR = 1 << 1,		/* accept what check could repair */
};

/**
 * Make a pool file and open it.
 *
 * @param path
 *   Must not exist; a device DAX device must not hold a pool.
 * @param bytes
 *   TP_PMEM_POOL_BYTES_MIN to _MAX; rounded down to 4096. All of it is reserved on the disk.
 * @param config
 *   May be NULL.
 * @return
 *   0, or with pool_out untouched and no file left behind:
 *   - -EEXIST: there is a file, or a pool on the device.
 *   - -EINVAL: bytes, a field of config or the length of its name out of range.
 *   - -ENOSPC: the file system is full.
 *   - -EACCES, -EROFS, -ENOENT, ...: of open().
 *   - -ENOTSUP, -ENOMEM, -EIO.
 * @threads Any.
 * @cost    System calls; writes the metadata, about 0.3 % of bytes at most.
 */
int tp_pmem_pool_create(const char *path, uint64_t bytes, const struct tp_pmem_pool_config *config,
			struct tp_pmem_pool **pool_out);

/**
 * Open a pool and recover it: what committed is there, what did not is gone.
 * One process at a time may have it open for writing, and then no other for
 * reading.
 *
 * @param flags
 *   enum tp_pmem_open_flags.
 * @return
 *   0, or with pool_out untouched and the file as it was; tp_pmem_error() says more:
 *   - -EBUSY: another process has it open.
 *   - -ENOENT, -EACCES, -EROFS, ...: of open().
 *   - -ENODATA: the file is shorter than the pool.
 *   - -ENOSPC: the file has holes (it is a copy), and the disk no room for them.
 *   - -EMEDIUMTYPE: not a pool.
 *   - -EPROTONOSUPPORT: a pool of another version.
 *   - -EBADMSG: damaged; tp_pmem_pool_check() says where.
 *   - -EINVAL: flags.
 *   - -ENOTSUP, -ENOMEM, -EIO.
 * @threads Any.
 * @cost    System calls; reads 8 bytes per 256 KiB of a clean pool, else its log too.
 */
int tp_pmem_pool_open(const char *path, uint32_t flags, struct tp_pmem_pool **pool_out);

/**
 * Make or open a pool on any device, which the pool owns from then on, also on
 * failure. For tests, and for those who bring their own memory. Takes no lock.
 * Errors as above.
 */
int tp_pmem_pool_create_on(struct tp_pmem_device *device, const struct tp_pmem_pool_config *config,
			   struct tp_pmem_pool **pool_out);
int tp_pmem_pool_open_on(struct tp_pmem_device *device, uint32_t flags,
			 struct tp_pmem_pool **pool_out);

/**
 * Close a pool: everything that committed lasts, the pool is marked clean. NULL is
 * fine.
 *
 * @return
 *   0; -EIO: closed, but it will have to be recovered when opened.
 * @threads One, with no other call on the pool and no open transaction.
 */
int tp_pmem_pool_close(struct tp_pmem_pool *pool);

/**
 * Give a pool more memory. Addresses stay; open transactions go on.
 *
 * @param bytes
 *   New size, at least 1 MiB more than now; rounded down to 4096.
 * @return
 *   0, or with the pool as it was: -EINVAL: not larger, or over _MAX; -ENOSPC: file system
 *   full, or it grew 127 times; -EROFS: opened for reading; -ENOTSUP: cannot grow (device
 *   DAX); -ENOMEM. Or -EIO: the device failed, and the pool takes no more transactions.
 * @threads Any; waits for open transactions, so not from within one.
 */
int tp_pmem_pool_grow(struct tp_pmem_pool *pool, uint64_t bytes);

/**
 * Remove a pool file that nobody has open.
 *
 * @return 0, -EBUSY, -EMEDIUMTYPE: not a pool, so not touched; or an errno of open() and unlink().
 * @threads Any.
 */
int tp_pmem_pool_destroy(const char *path);

/**
 * Make everything last that was committed with TP_PMEM_COMMIT_DEFER.
 *
 * @return 0, -EIO.
 * @threads Any.
 * @cost One fence.
 */
int tp_pmem_pool_sync(struct tp_pmem_pool *pool);

/**
 * Bring everything that committed home from the log, and empty the log: the next
 * open has nothing to recover.
 *
 * @return 0, -EROFS, -EIO.
 * @threads Any.
 * @cost Two fences; at page granularity msync() of what changed.
 */
int tp_pmem_pool_checkpoint(struct tp_pmem_pool *pool);

/**
 * Give back the DRAM that holds copies of written pages. Contents and addresses stay.
 *
 * @return 0, -EROFS.
 * @threads Any; waits for open transactions, so not from within one.
 * @cost Later accesses to these pages fault.
 */
int tp_pmem_pool_trim(struct tp_pmem_pool *pool);

/**
 * Named roots: where a program finds its data again. Changed by
 * tp_pmem_tx_root_set().
 *
 * @param name
 *   1 to TP_PMEM_NAME_BYTES - 1 bytes.
 * @return
 *   Its offset; 0: no such root.
 * @threads Any; a root that another thread's open transaction set is seen.
 * @cost Looks at each of TP_PMEM_ROOT_COUNT entries.
 */
uint64_t tp_pmem_root_get(const struct tp_pmem_pool *pool, const char *name);

/**
 * The roots in turn.
 *
 * @param index
 *   From 0 to TP_PMEM_ROOT_COUNT - 1.
 * @return
 *   Its name, borrowed, and *offset; NULL: nothing at this index.
 */
const char *tp_pmem_root_at(const struct tp_pmem_pool *pool, uint32_t index, uint64_t *offset);

/* What is known of a pool without changing it. */
struct tp_pmem_pool_info {
	uint32_t version;
	uint8_t uuid[TP_PMEM_UUID_BYTES];
	char name[TP_PMEM_NAME_BYTES];
	uint64_t bytes;
	uint64_t created_s;		/* Unix time */
	enum tp_pmem_granularity granularity;
	bool is_dax;
	bool read_only;
	bool was_clean;			/* when it was opened */
	uint64_t open_count;
	uint64_t bad_shutdown_count;	/* times it was not closed */
	uint64_t epoch;
	uint32_t lane_count;
	uint32_t lane_bytes;
	uint32_t zone_count;
	uint64_t committed_seq;		/* of the last transaction */
	uint64_t recovered_count;	/* transactions rolled forward by this open */
	uint64_t recovered_bytes;	/* of log that were read */
};

/** @threads Any. */
void tp_pmem_pool_info_get(const struct tp_pmem_pool *pool, struct tp_pmem_pool_info *info);

/* Counters since the pool was opened. */
struct tp_pmem_pool_stats {
	uint64_t commits;
	uint64_t aborts;
	uint64_t fences;
	uint64_t checkpoints;
	uint64_t log_bytes;
	uint64_t home_bytes;
};

/** Sums over the lanes; not a snapshot. @threads Any. */
void tp_pmem_pool_stats_get(const struct tp_pmem_pool *pool, struct tp_pmem_pool_stats *stats);

/*
 * Check and repair.
 */
enum tp_pmem_check_verdict {
	TP_PMEM_CHECK_NOTE = 0,		/* not damage: what recovery will do */
	TP_PMEM_CHECK_REPAIRABLE = 1,	/* a copy is intact, or nothing is lost by resetting it */
	TP_PMEM_CHECK_LOST = 2,		/* there is no copy: the text says what is lost */
};

/**
 * Told of each finding.
 *
 * @param offset
 *   Of the damage in the file.
 * @param text
 *   One line, borrowed.
 */
typedef void tp_pmem_check_fn(void *context, enum tp_pmem_check_verdict verdict, uint64_t offset,
			      const char *text);

/**
 * Look at every structure of a pool file: superblocks, state, log, roots, heap.
 *
 * @param repair
 *   Put right what can be put right, then recover the pool.
 * @return
 *   Number of findings that are damage and remain, 0: the pool is sound; or -errno as
 *   tp_pmem_pool_open().
 * @threads Any.
 * @cost Reads all metadata.
 */
int tp_pmem_pool_check(const char *path, bool repair, tp_pmem_check_fn *found, void *context);

/**
 * The same on any device, which the check owns and closes. To look only, it must be one that
 * was opened for reading: recovery writes to its private copy.
 */
int tp_pmem_pool_check_on(struct tp_pmem_device *device, bool repair, tp_pmem_check_fn *found,
			  void *context);

/**
 * What the last call of this thread that failed had to say beyond its errno.
 *
 * @return One line, "" when there is nothing; valid until the next call.
 * @threads Any: each thread has its own.
 */
const char *tp_pmem_error(void);

/**
 * CRC32C, for structures that a program keeps in a pool.
 *
 * @param seed
 *   0, or the CRC of what came before.
 * @threads Any.
 */
uint32_t tp_pmem_crc(uint32_t seed, const void *data, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif /* TP_PMEM_H */
