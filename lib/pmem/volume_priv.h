/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Inside of block volumes. docs/pmem.md, "Block volume", is the authority on the format and on
 * why one fence is enough.
 *
 * Locks, outer first: a stripe (the map of its blocks, and their contents), journal
 * (records, quarantine), pending (what the next record takes, free blocks). Room for a change
 * is claimed before the stripe is locked: who holds a claim may wait for a stripe, and
 * nobody waits for a claim with one.
 */
#ifndef VOLUME_PRIV_H
#define VOLUME_PRIV_H

#include <pthread.h>
#include <sys/queue.h>

#include "pmem_priv.h"
#include "tp_pmem_volume.h"

#define VOLUME_MAGIC UINT64_C(0x314b434f4c425054)	/* "TPBLOCK1" */
#define VOLUME_BLOCK TP_PMEM_VOLUME_BLOCK_BYTES
#define VOLUME_STATE_OFFSET UINT64_C(4096)		/* two slots of a page, two copies in each */
#define VOLUME_JOURNAL_OFFSET UINT64_C(12288)
#define VOLUME_STRIPES 64u
#define VOLUME_PENDING_MIN 16u
#define VOLUME_PENDING_MAX 1024u
#define VOLUME_QUARANTINE_MIN 64u
#define VOLUME_QUARANTINE_MAX 8192u
#define VOLUME_SPARE 64u		/* blocks that writers hold before they publish them */

/*
 * On the medium. Offsets from the begin of the volume's extent.
 */
struct volume_head {
	rte_le64_t magic;
	rte_le32_t crc;			/* of what follows, seeded with the extent's offset / 4096 */
	rte_le32_t block_bytes;
	rte_le64_t bytes;
	rte_le64_t block_count;
	rte_le64_t place_count;
	rte_le32_t journal_bytes;
	rte_le32_t quarantine_max;
	rte_le32_t pending_max;
	rte_le32_t reserved;
	rte_le64_t map_offset;
	rte_le64_t data_offset;
};
PMEM_SIZE(struct volume_head, 72);
PMEM_FIELD(struct volume_head, crc, 8);
PMEM_FIELD(struct volume_head, block_bytes, 12);
PMEM_FIELD(struct volume_head, bytes, 16);
PMEM_FIELD(struct volume_head, block_count, 24);
PMEM_FIELD(struct volume_head, place_count, 32);
PMEM_FIELD(struct volume_head, journal_bytes, 40);
PMEM_FIELD(struct volume_head, quarantine_max, 44);
PMEM_FIELD(struct volume_head, pending_max, 48);
PMEM_FIELD(struct volume_head, map_offset, 56);
PMEM_FIELD(struct volume_head, data_offset, 64);

struct volume_state {
	rte_le32_t crc;			/* of what follows, seeded as the head's */
	rte_le32_t reserved;
	rte_le64_t generation;		/* of the records that count */
};
PMEM_SIZE(struct volume_state, 16);
PMEM_FIELD(struct volume_state, generation, 8);

struct volume_record {
	rte_le32_t crc;			/* of what follows, seeded with its offset in the pool / 64 */
	rte_le32_t count;		/* entries */
	rte_le64_t generation;
	rte_le64_t seq;			/* from 1 in each generation */
	rte_le64_t reserved;
};
PMEM_SIZE(struct volume_record, 32);
PMEM_FIELD(struct volume_record, generation, 8);
PMEM_FIELD(struct volume_record, seq, 16);

struct volume_entry {
	rte_le64_t block;
	rte_le64_t value;
};
PMEM_SIZE(struct volume_entry, 16);

/*
 * Where a block is: 0, nowhere; else its place plus 1 (bits 0-31) and CRC32C of its
 * contents, seeded with its number (32-63).
 */
#define VOLUME_NOWHERE UINT64_C(0)
/* In DRAM only: the medium changed where it was. */
#define VOLUME_LOST (UINT64_C(1) << 32)
#define VOLUME_NO_PLACE UINT32_MAX

static inline uint32_t
volume_place(uint64_t value)
{
	return (uint32_t)value - 1;	/* VOLUME_NO_PLACE for nowhere and lost */
}

static inline uint64_t
volume_value(uint32_t place, uint32_t crc)
{
	return (uint64_t)crc << 32 | (place + 1);
}

struct volume_change {
	uint64_t block;
	uint64_t value;
	uint32_t place_before;		/* VOLUME_NO_PLACE: none */
};

struct tp_pmem_volume {
	struct tp_pmem_pool *pool;
	struct tp_pmem_device *device;
	uint64_t offset;		/* of the extent in the pool */
	uint8_t *media;			/* of the extent */
	uint64_t bytes;
	uint64_t block_count;
	uint64_t place_count;
	uint64_t map_offset;
	uint64_t data_offset;
	uint32_t journal_bytes;
	uint32_t quarantine_max;
	uint32_t pending_max;
	uint64_t *map;			/* what reads see; word: its stripe */
	pthread_mutex_t stripes[VOLUME_STRIPES];
	atomic_bool failed;
	TAILQ_ENTRY(tp_pmem_volume) item;

	PMEM_LINE_ALIGNED pthread_mutex_t journal_lock;	/* guards what follows */
	struct volume_change *batch;	/* what the record being written takes */
	uint8_t *stage;			/* that record */
	uint32_t *quarantine;		/* places that records of the journal vouch for */
	uint32_t quarantine_count;
	uint32_t position;		/* in the journal, bytes */
	uint64_t seq;			/* of the next record */
	struct volume_state state;
	uint64_t record_count;
	uint64_t checkpoint_count;
	uint64_t recovered_count;

	PMEM_LINE_ALIGNED pthread_mutex_t pending_lock;	/* guards what follows */
	struct volume_change *pending;
	uint32_t pending_count;
	uint32_t claim_count;		/* changes that were promised room */
	uint64_t *taken;		/* 1: place in use, or quarantined */
	uint64_t taken_count;
	uint64_t cursor;		/* word of taken to look at next */
};

static inline uint8_t *
volume_data(const struct tp_pmem_volume *volume, uint32_t place)
{
	return volume->media + volume->data_offset + (uint64_t)place * VOLUME_BLOCK;
}

static inline uint32_t
volume_crc(uint64_t block, const void *data)
{
	return tp_pmem_crc((uint32_t)block, data, VOLUME_BLOCK);
}

static inline uint32_t
volume_seed(const struct tp_pmem_volume *volume)
{
	return (uint32_t)(volume->offset / PMEM_PAGE_BYTES);
}

/*
 * volume.c
 */

/** What is flushed to the open volumes of a pool stays as it is on the medium, until thawed. */
void volumes_freeze(struct tp_pmem_pool *pool);
void volumes_thaw(struct tp_pmem_pool *pool);

/*
 * volume_journal.c
 */

/** Write the next state. 0, -EIO. */
int volume_state_store(struct tp_pmem_volume *volume);

/** Find the state, bring home what the journal has. Journal lock held. 0, -EBADMSG, -EIO. */
int volume_recover(struct tp_pmem_volume *volume);

/** Make what is pending lasting: one record, one fence. 0, -EIO. */
int volume_commit(struct tp_pmem_volume *volume);

/** The same, and empty the journal: quarantined places are free. 0, -EIO. */
int volume_checkpoint(struct tp_pmem_volume *volume);

#endif /* VOLUME_PRIV_H */
