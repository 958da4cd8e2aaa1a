/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Checkpoint files: what is in them. docs/pmem.md, "Checkpoint files", is the authority.
 */
#ifndef SNAPSHOT_PRIV_H
#define SNAPSHOT_PRIV_H

#include <limits.h>

#include "pmem_priv.h"
#include "tp_pmem_snapshot.h"

#define SNAPSHOT_MAGIC UINT64_C(0x54504b434d505054)	/* "TPPMCKPT" */
#define SNAPSHOT_PIECE_BYTES PMEM_CHUNK_BYTES
#define SNAPSHOT_HEAD_BYTES PMEM_PAGE_BYTES
/* Superblocks, state and roots. */
#define SNAPSHOT_POOL_HEAD_BYTES (PMEM_SUPER_OFFSET_1 + PMEM_PAGE_BYTES)

struct snapshot_head {
	rte_le64_t magic;
	rte_le32_t version;
	rte_le32_t crc;			/* of the 4096 bytes with this field 0 */
	uint8_t uuid[TP_PMEM_UUID_BYTES];
	rte_le64_t number;
	rte_le64_t pool_bytes;
	rte_le64_t bytes;		/* of all pieces */
	rte_le64_t piece_count;
	rte_le64_t created_s;
	rte_le64_t committed_seq;
	rte_le32_t table_crc;
	uint8_t reserved[4012];
};
PMEM_SIZE(struct snapshot_head, SNAPSHOT_HEAD_BYTES);
PMEM_FIELD(struct snapshot_head, crc, 12);
PMEM_FIELD(struct snapshot_head, uuid, 16);
PMEM_FIELD(struct snapshot_head, number, 32);
PMEM_FIELD(struct snapshot_head, pool_bytes, 40);
PMEM_FIELD(struct snapshot_head, bytes, 48);
PMEM_FIELD(struct snapshot_head, piece_count, 56);
PMEM_FIELD(struct snapshot_head, created_s, 64);
PMEM_FIELD(struct snapshot_head, committed_seq, 72);
PMEM_FIELD(struct snapshot_head, table_crc, 80);

/* Head, pieces one after the other, table. */
struct snapshot_piece {
	rte_le64_t offset;		/* in the pool, rising */
	rte_le32_t bytes;
	rte_le32_t crc;
};
PMEM_SIZE(struct snapshot_piece, 16);

/** Path of a file. 0, -ENAMETOOLONG. */
int snapshot_path(char path[PATH_MAX], const char *prefix, uint64_t number, const char *suffix);

/** Numbers of the files that are there, rising; to be freed. How many, or -errno. */
int snapshot_numbers(const char *prefix, uint64_t **numbers);

uint32_t snapshot_head_crc(const struct snapshot_head *head);

/** Write or read all. 0, -errno; -ENODATA: the file is shorter. */
int snapshot_write(int fd, const void *data, size_t bytes, uint64_t offset);
int snapshot_read(int fd, void *data, size_t bytes, uint64_t offset);

/** Told of each piece that is good: 0, or -errno, which ends it. */
typedef int snapshot_piece_fn(void *context, uint64_t offset, const void *data, size_t bytes);

/** Read and verify a file as a whole. 0, or -errno with tp_pmem_error(). */
int snapshot_verify(const char *path, uint64_t number, struct tp_pmem_snapshot_info *info,
		    int (*begin)(void *context, const struct tp_pmem_snapshot_info *info),
		    snapshot_piece_fn *piece, void *context);

#endif /* SNAPSHOT_PRIV_H */
