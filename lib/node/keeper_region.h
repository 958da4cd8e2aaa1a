/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What the pool of a node holds of its durable regions: docs/pmem.md, "The pool of a node".
 * Used by the keeper's thread alone, but for keeper_page_look() and keeper_page().
 */
#ifndef KEEPER_REGION_H
#define KEEPER_REGION_H

#include <assert.h>
#include <stddef.h>

#include <rte_byteorder.h>

#include "keeper_priv.h"
#include "tp_pmem.h"
#include "tp_pmem_alloc.h"
#include "tp_pmem_btree.h"
#include "tp_pmem_tx.h"

#define KEEPER_RECORD_VERSION 1u

/* Value of the tree of regions; its key is the base, big-endian. Little-endian. */
struct keeper_record {
	rte_le32_t version;
	rte_le32_t page_bytes;
	rte_le64_t base;
	rte_le64_t created;		/* generation the region was created with */
	rte_le64_t bytes;
	rte_le32_t page_count;		/* homed here */
	rte_le16_t node_id;		/* whose pool it is */
	rte_le16_t born_node;
	uint8_t mode;			/* enum tp_region_mode */
	uint8_t distribution;		/* enum tp_region_distribution */
	rte_le16_t node_count;
	uint8_t reserved[4];		/* 0 */
	rte_le64_t entries;		/* offset of a struct keeper_entry each */
	rte_le64_t pages;		/* offset of their contents */
	char name[TP_REGION_NAME_BYTES];
	rte_le16_t nodes[TP_REGION_NODES_MAX];
};
static_assert(sizeof(struct keeper_record) == 256, "on the medium");
static_assert(offsetof(struct keeper_record, entries) == 48, "on the medium");
static_assert(offsetof(struct keeper_record, nodes) == 128, "on the medium");

enum keeper_entry_state {
	KEEPER_ENTRY_NEVER = 1,
	KEEPER_ENTRY_PAGE = 2,
};

/* Of each page. Zeros are none of the states: what was lost is not taken for "never". */
struct keeper_entry {
	rte_le32_t crc;			/* CRC32C of what follows and of the page, seeded with its address */
	rte_le32_t state;		/* enum keeper_entry_state */
	rte_le64_t count;		/* times that it was persisted */
};
static_assert(sizeof(struct keeper_entry) == 16, "on the medium");

struct keeper_region {
	struct tp_pmem_pool *pool;
	struct keeper_entry *entries;	/* shape [page_count] */
	uint8_t *pages;
	uint64_t base;
	uint32_t page_bytes;
	uint32_t page_count;
};

struct keeper_pool {
	struct tp_pmem_pool *pool;
	struct tp_pmem_btree *regions;
};

/* Find or make the tree of regions. 0 or -errno. */
int keeper_pool_init(struct keeper_pool *pool);

/*
 * Open a region's pages, or make them.
 *
 * @param homed  Pages homed here.
 * @return 0; -ENOENT: they are not there, and create is false; -EEXIST: another region is
 *         at that base; -ENOSPC; -ENOMEM; -EBADMSG, -EIO, ... of the pool.
 */
int keeper_region_open(struct keeper_pool *pool, const struct tp_region *region, uint32_t homed,
	uint16_t node_id, bool create, struct keeper_region **kept_out);

void keeper_region_close(struct keeper_region *kept);

/* Free the pages of the region at a base. 0, -ENOENT, or an error of the pool. */
int keeper_region_remove(struct keeper_pool *pool, uint64_t base);

/* All regions. How many, the first room of them written; or -errno. */
int keeper_region_list(struct keeper_pool *pool, struct tp_region *regions, uint32_t room);

/* Store a page, to last with the next tp_pmem_pool_sync(). 0 or -errno. */
int keeper_page_store(struct keeper_region *kept, uint32_t index, const void *contents);

/* Look at all pages, so that they are in memory and what is damaged is known. How many are. */
uint32_t keeper_region_verify(const struct keeper_region *kept);

#endif /* KEEPER_REGION_H */
