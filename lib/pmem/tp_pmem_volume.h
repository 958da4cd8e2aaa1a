/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Block volumes: a pool as a disk. A volume is an array of bytes that are read and
 * written by offset, and lasting after a flush, as on a disk; app/nbdkit serves one to
 * any NBD client. docs/pmem.md, "Block volume".
 *
 * What a crash leaves, precisely. Of each aligned block of 4096 bytes:
 *  - all of it as it was at some moment after the last write to it that a flush
 *    (or TP_PMEM_VOLUME_FUA) covered; never parts of two writes of 4096 bytes;
 *  - a write of less than a block changes it as a whole, too: the bytes around stay.
 * A write that covers several blocks may last in some of them only. Every read verifies
 * a CRC32C of its blocks: what the medium changed is -EBADMSG, not data.
 */
#ifndef TP_PMEM_VOLUME_H
#define TP_PMEM_VOLUME_H

#include "tp_pmem.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TP_PMEM_VOLUME_BLOCK_BYTES 4096u
#define TP_PMEM_VOLUME_SECTOR_BYTES 512u
#define TP_PMEM_VOLUME_BYTES_MIN (UINT64_C(64) << 10)

struct tp_pmem_volume;

enum tp_pmem_volume_flags {
	TP_PMEM_VOLUME_FUA = 1 << 0,	/* lasting when the call returns */
};

/**
 * Bytes of the pool that a volume takes: about 1.04 times its size, in multiples of
 * 256 KiB, in one piece.
 *
 * @threads Any.
 */
uint64_t tp_pmem_volume_footprint(uint64_t bytes);

/**
 * Make a volume of zeros. It is there after a crash, or not at all.
 *
 * @param name
 *   Of a root that does not exist, 1 to TP_PMEM_NAME_BYTES - 1 bytes.
 * @param bytes
 *   At least TP_PMEM_VOLUME_BYTES_MIN, a multiple of TP_PMEM_VOLUME_SECTOR_BYTES.
 * @return
 *   0, or with nothing changed; tp_pmem_error() says more:
 *   - -EEXIST: there is a root of that name.
 *   - -EINVAL: bytes, or the length of name.
 *   - -ENOSPC: no piece of the pool is that large; no root is free.
 *   - -EROFS, -ENOMEM, -EIO.
 * @threads One thread at a time may change roots: the caller sees to that.
 * @cost    Writes 8 bytes per block.
 */
int tp_pmem_volume_create(struct tp_pmem_pool *pool, const char *name, uint64_t bytes);

/**
 * Open a volume and recover it. Of a pool opened for reading it can only be read.
 *
 * @param volume_out
 *   Close it before the pool.
 * @return
 *   0, or with volume_out untouched; tp_pmem_error() says more:
 *   - -ENOENT: no root of that name.
 *   - -EMEDIUMTYPE: the root is not a volume.
 *   - -EBADMSG: head, state or journal are damaged.
 *   - -EBUSY: this process has it open.
 *   - -ENOMEM, -EIO.
 * @threads Any.
 * @cost    Reads 8 bytes per block, and the blocks that the journal names.
 */
int tp_pmem_volume_open(struct tp_pmem_pool *pool, const char *name,
			struct tp_pmem_volume **volume_out);

/**
 * Flush and close. NULL is fine.
 *
 * @return 0; -EIO: closed, but what was written since the last flush may be lost.
 * @threads One, with no other call on the volume.
 */
int tp_pmem_volume_close(struct tp_pmem_volume *volume);

/**
 * Remove a volume: its memory goes back to the pool.
 *
 * @return 0, -ENOENT, -EMEDIUMTYPE, -EBUSY: it is open; -EROFS, -ENOMEM, -EIO.
 * @threads As tp_pmem_volume_create().
 */
int tp_pmem_volume_destroy(struct tp_pmem_pool *pool, const char *name);

/** Size of the volume. @threads Any. */
uint64_t tp_pmem_volume_bytes(const struct tp_pmem_volume *volume);

/**
 * Read. Concurrent writes to the same block are seen as a whole or not at all.
 *
 * @param offset
 *   With bytes inside of the volume; no alignment is asked for.
 * @return
 *   0; -EBADMSG: a block is damaged, tp_pmem_error() says which, the buffer is undefined;
 *   -EINVAL: outside of the volume.
 * @threads Any.
 * @cost    A copy and a CRC; no system call.
 */
int tp_pmem_volume_read(struct tp_pmem_volume *volume, uint64_t offset, uint64_t bytes,
			void *buffer);

/**
 * Write. Lasting after the next tp_pmem_volume_flush() that begins after this returned, or
 * a flush of anybody else; or on return with TP_PMEM_VOLUME_FUA.
 *
 * @param flags
 *   enum tp_pmem_volume_flags.
 * @return
 *   0; -EINVAL: outside of the volume, flags; -EROFS; -EBADMSG: a block of which only a
 *   part is written is damaged; -EIO: the device failed. On failure some blocks may
 *   be written.
 * @threads Any.
 * @cost    A copy, a CRC and an allocation of a block; parts of blocks are read first. FUA: as
 *          tp_pmem_volume_flush().
 */
int tp_pmem_volume_write(struct tp_pmem_volume *volume, uint64_t offset, uint64_t bytes,
			 const void *buffer, uint32_t flags);

/**
 * Make a range read as zeros; otherwise as tp_pmem_volume_write(). Whole blocks lose their
 * memory.
 */
int tp_pmem_volume_zero(struct tp_pmem_volume *volume, uint64_t offset, uint64_t bytes,
			uint32_t flags);

/** The same for whole blocks inside of the range; what else is in it stays as it is. */
int tp_pmem_volume_trim(struct tp_pmem_volume *volume, uint64_t offset, uint64_t bytes,
			uint32_t flags);

/**
 * Make all writes that have returned lasting.
 *
 * @return 0; -EIO: the device failed, the volume takes no more writes.
 * @threads Any; those who wait at the same time share one fence.
 * @cost    One fence, none when nothing was written; now and then a checkpoint: two more.
 */
int tp_pmem_volume_flush(struct tp_pmem_volume *volume);

/**
 * How far from an offset the blocks are alike.
 *
 * @param bytes
 *   In: how far to look. Out: up to there, cut off at the volume's end.
 * @return True: written; false: never written, or trimmed: zeros.
 * @threads Any; not a snapshot.
 */
bool tp_pmem_volume_is_mapped(const struct tp_pmem_volume *volume, uint64_t offset,
			      uint64_t *bytes);

/**
 * Read every block.
 *
 * @return Number of damaged blocks, each of which was told of; -EINTR never.
 * @threads Any.
 */
int tp_pmem_volume_check(struct tp_pmem_volume *volume, tp_pmem_check_fn *found, void *context);

struct tp_pmem_volume_info {
	uint64_t bytes;
	uint64_t mapped_bytes;
	uint64_t footprint_bytes;
	uint64_t flushes;		/* since it was opened: records written */
	uint64_t checkpoints;
	uint64_t recovered_records;	/* by this open */
};

/** @threads Any; not a snapshot. */
void tp_pmem_volume_info_get(struct tp_pmem_volume *volume, struct tp_pmem_volume_info *info);

#ifdef __cplusplus
}
#endif

#endif /* TP_PMEM_VOLUME_H */
