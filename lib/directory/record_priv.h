/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What the catalogue keeps in the store: fixed-width little-endian records with
 * magic, version, length and CRC32C. A parser takes any bytes and gives a valid
 * value or -EBADMSG.
 */
#ifndef RECORD_PRIV_H
#define RECORD_PRIV_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <rte_byteorder.h>

#include "tp_catalogue.h"

struct record_head {
	rte_le32_t magic;
	rte_le16_t version;
	rte_le16_t reserved;	/* 0 */
	rte_le32_t bytes;	/* of the whole record */
	rte_le32_t crc;		/* CRC32C of the whole record with this field 0 */
};
static_assert(sizeof(struct record_head) == 16, "layout");

struct record_cluster {
	struct record_head head;
	uint8_t node_bits;
	uint8_t offset_bits;
	uint8_t reserved[6];	/* 0 */
};
static_assert(sizeof(struct record_cluster) == 24, "layout");

struct record_node {
	struct record_head head;
	rte_le16_t id;
	uint8_t state;
	uint8_t has_mac;
	rte_le32_t epoch;
	rte_le32_t ip;
	rte_le16_t udp_port;
	rte_le16_t worker_count;
	uint8_t mac[6];
	uint8_t reserved[2];	/* 0 */
	rte_le64_t lease_stamp;
	rte_le64_t lease_ns;
};
static_assert(sizeof(struct record_node) == 56, "layout");
static_assert(offsetof(struct record_node, epoch) == 20, "layout");
static_assert(offsetof(struct record_node, mac) == 32, "layout");
static_assert(offsetof(struct record_node, lease_stamp) == 40, "layout");

struct record_region {
	rte_le32_t id;
	uint8_t state;
	uint8_t mode;
	uint8_t distribution;
	uint8_t page_shift;
	rte_le64_t base;
	rte_le64_t bytes;
	rte_le64_t generation;
	rte_le16_t born_node;
	rte_le16_t node_count;
	rte_le16_t extent_bank;
	uint8_t durability;
	uint8_t reserved;	/* 0 */
	rte_le64_t created;	/* generation; 0: not known */
	uint8_t reserved2[16];	/* 0 */
	char name[TP_REGION_NAME_BYTES];	/* filled up with 0 */
	rte_le16_t nodes[TP_REGION_NODES_MAX];	/* filled up with 0 */
};
static_assert(sizeof(struct record_region) == 256, "layout");
static_assert(offsetof(struct record_region, generation) == 24, "layout");
static_assert(offsetof(struct record_region, name) == 64, "layout");
static_assert(offsetof(struct record_region, nodes) == 128, "layout");

/* All regions in one record: a change of several facts is one change. */
struct record_regions {
	struct record_head head;
	rte_le32_t id_last;
	rte_le32_t count;
	rte_le64_t generation_last;	/* counter, over all nodes */
	struct record_region regions[];	/* ascending by id */
};
static_assert(sizeof(struct record_regions) == 32, "layout");

#define RECORD_EXTENTS 512	/* placements in one record: 1 GiB of a region */

struct record_extents {
	struct record_head head;
	rte_le32_t region_id;
	rte_le32_t chunk;
	rte_le64_t generation;
	rte_le16_t nodes[RECORD_EXTENTS];
};
static_assert(sizeof(struct record_extents) == 32 + 2 * RECORD_EXTENTS, "layout");

#define RECORD_REGIONS_BYTES_MAX (sizeof(struct record_regions) + \
	TP_CATALOGUE_REGIONS_MAX * sizeof(struct record_region))
static_assert(RECORD_REGIONS_BYTES_MAX <= TP_STORE_VALUE_MAX, "fits the store");

/* The regions, parsed. */
struct region_set {
	uint32_t id_last;
	uint32_t count;
	uint64_t generation_last;
	struct tp_region regions[TP_CATALOGUE_REGIONS_MAX];	/* ascending by id */
};

/* Placements of one chunk, parsed. */
struct extent_chunk {
	uint32_t region_id;
	uint32_t chunk;
	uint64_t generation;
	uint16_t nodes[RECORD_EXTENTS];
};

/* Check the name of a region: the rule is in struct tp_region_spec. */
bool record_name_is_valid(const char *name);

/*
 * What must hold of a region by itself, whether it is to be made or was read:
 * pages, place, nodes. Derives page_count and extent_count on success.
 */
bool record_region_check(struct tp_region *region, struct tp_address_split split);

void record_cluster_encode(struct tp_address_split split, struct record_cluster *record);
int record_cluster_decode(const void *data, size_t bytes, struct tp_address_split *split);

void record_node_encode(const struct tp_node_record *node, struct record_node *record);
int record_node_decode(const void *data, size_t bytes, struct tp_node_record *node);

/* Returns the record's length. */
size_t record_regions_encode(const struct region_set *set, struct record_regions *record);
int record_regions_decode(const void *data, size_t bytes, struct tp_address_split split,
	struct region_set *set);

void record_extents_encode(const struct extent_chunk *chunk, struct record_extents *record);
int record_extents_decode(const void *data, size_t bytes, struct extent_chunk *chunk);

#endif /* RECORD_PRIV_H */
