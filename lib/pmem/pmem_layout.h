/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What is on the medium. docs/pmem.md, "Layout of a pool", is the authority.
 */
#ifndef PMEM_LAYOUT_H
#define PMEM_LAYOUT_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include <rte_byteorder.h>

#include "tp_pmem.h"
#include "tp_pmem_alloc.h"

#define PMEM_MAGIC UINT64_C(0x0a0d4d454d505054)	/* "TPPMEM\r\n" */
#define PMEM_PAGE_BYTES 4096u
#define PMEM_SUPER_OFFSET_0 UINT64_C(0)
#define PMEM_SUPER_OFFSET_1 UINT64_C(65536)
#define PMEM_STATE_OFFSET_0 UINT64_C(4096)
#define PMEM_STATE_OFFSET_1 UINT64_C(8192)
#define PMEM_STATE_COPY_BYTES 2048u	/* from one copy in a slot to the other */
#define PMEM_STATE_COPIES 4u
#define PMEM_ROOT_OFFSET UINT64_C(16384)
#define PMEM_LOG_OFFSET (UINT64_C(1) << 20)
#define PMEM_ZONES_MAX 128u
#define PMEM_LANE_BYTES_MIN (UINT32_C(16) << 10)
#define PMEM_LANE_BYTES_MAX (UINT32_C(64) << 20)

#define PMEM_SIZE(type, bytes) static_assert(sizeof(type) == (bytes), "layout")
#define PMEM_FIELD(type, field, at) static_assert(offsetof(type, field) == (at), "layout")

struct pmem_zone_record {
	rte_le64_t offset;
	rte_le32_t chunk_count;
	rte_le32_t reserved;
};
PMEM_SIZE(struct pmem_zone_record, 16);

struct pmem_super {
	rte_le64_t magic;
	rte_le32_t version;
	rte_le32_t crc;			/* of all with this field 0 */
	uint8_t uuid[TP_PMEM_UUID_BYTES];
	rte_le64_t generation;
	rte_le64_t pool_bytes;
	rte_le64_t features;
	rte_le64_t created_s;
	char name[TP_PMEM_NAME_BYTES];
	rte_le64_t log_offset;
	rte_le32_t lane_count;
	rte_le32_t lane_bytes;
	rte_le32_t chunk_bytes;
	rte_le32_t zone_count;
	uint8_t reserved[104];
	struct pmem_zone_record zones[PMEM_ZONES_MAX];
	uint8_t reserved_end[1792];
};
PMEM_SIZE(struct pmem_super, PMEM_PAGE_BYTES);
PMEM_FIELD(struct pmem_super, version, 8);
PMEM_FIELD(struct pmem_super, crc, 12);
PMEM_FIELD(struct pmem_super, uuid, 16);
PMEM_FIELD(struct pmem_super, generation, 32);
PMEM_FIELD(struct pmem_super, pool_bytes, 40);
PMEM_FIELD(struct pmem_super, features, 48);
PMEM_FIELD(struct pmem_super, created_s, 56);
PMEM_FIELD(struct pmem_super, name, 64);
PMEM_FIELD(struct pmem_super, log_offset, 128);
PMEM_FIELD(struct pmem_super, lane_count, 136);
PMEM_FIELD(struct pmem_super, lane_bytes, 140);
PMEM_FIELD(struct pmem_super, chunk_bytes, 144);
PMEM_FIELD(struct pmem_super, zone_count, 148);
PMEM_FIELD(struct pmem_super, zones, 256);

#define PMEM_STATE_OPEN 1u		/* of flags */

struct pmem_state {
	rte_le32_t crc;			/* of what follows */
	rte_le32_t flags;
	rte_le64_t generation;
	rte_le64_t epoch;
	rte_le64_t watermark;
	rte_le64_t open_count;
	rte_le64_t bad_shutdown_count;
	rte_le64_t unsafe_shutdowns;
	uint8_t uuid[TP_PMEM_UUID_BYTES];
	uint8_t reserved[56];
};
PMEM_SIZE(struct pmem_state, 128);
PMEM_FIELD(struct pmem_state, generation, 8);
PMEM_FIELD(struct pmem_state, epoch, 16);
PMEM_FIELD(struct pmem_state, watermark, 24);
PMEM_FIELD(struct pmem_state, open_count, 32);
PMEM_FIELD(struct pmem_state, bad_shutdown_count, 40);
PMEM_FIELD(struct pmem_state, unsafe_shutdowns, 48);
PMEM_FIELD(struct pmem_state, uuid, 56);

struct pmem_root {
	rte_le32_t crc;			/* of what follows */
	rte_le32_t reserved;
	rte_le64_t offset;
	char name[TP_PMEM_NAME_BYTES];
	uint8_t reserved_end[48];
};
PMEM_SIZE(struct pmem_root, 128);
PMEM_FIELD(struct pmem_root, offset, 8);
PMEM_FIELD(struct pmem_root, name, 16);

/*
 * Log.
 */
#define PMEM_RECORD_ALIGN 64u
#define PMEM_RECORD_EXTERNAL 1u		/* of flags */

struct pmem_record {
	rte_le32_t crc;			/* of what follows, seeded with lane and position */
	rte_le32_t bytes;
	rte_le64_t seq;
	rte_le64_t epoch;
	rte_le32_t lasting;		/* bytes of the lane that were so when it was written */
	rte_le32_t flags;
};
PMEM_SIZE(struct pmem_record, 32);
PMEM_FIELD(struct pmem_record, seq, 8);
PMEM_FIELD(struct pmem_record, epoch, 16);
PMEM_FIELD(struct pmem_record, lasting, 24);
PMEM_FIELD(struct pmem_record, flags, 28);

/* The numbers are on the medium: never reuse one. */
enum pmem_entry_kind {
	PMEM_ENTRY_WRITE = 1,
	PMEM_ENTRY_SET = 2,
	PMEM_ENTRY_CLEAR = 3,
	PMEM_ENTRY_FILL = 4,
	PMEM_ENTRY_DIRECT = 5,
};

#define PMEM_ENTRY_OFFSET_BITS 44
#define PMEM_ENTRY_BYTES_SHIFT 48
#define PMEM_ENTRY_BYTES_MAX 65535u	/* that fit the first word */

/*
 * Heap.
 */
#define PMEM_CHUNK_BYTES TP_PMEM_CHUNK_BYTES
#define PMEM_BITS_PER_WORD 56u
#define PMEM_BITMAP_WORDS 74u		/* of a chunk of the smallest blocks */
#define PMEM_BITMAP_BYTES 640u
static_assert(PMEM_BITMAP_WORDS * PMEM_BITS_PER_WORD >= PMEM_CHUNK_BYTES / TP_PMEM_BLOCK_BYTES_MIN,
	"a bit a block");
static_assert(PMEM_BITMAP_WORDS * 8 <= PMEM_BITMAP_BYTES, "layout");

enum pmem_chunk_kind {
	PMEM_CHUNK_FREE = 0,
	PMEM_CHUNK_RUN = 1,
	PMEM_CHUNK_EXTENT = 2,
	PMEM_CHUNK_BODY = 3,
};

#endif /* PMEM_LAYOUT_H */
