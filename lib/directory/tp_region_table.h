/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The active regions a node knows, found by address or id by any lcore while
 * the main lcore follows the catalogue. A refresh publishes a new immutable
 * list; what it replaced stays readable until tp_region_table_reclaim().
 */
#ifndef TP_REGION_TABLE_H
#define TP_REGION_TABLE_H

#include <stdint.h>

#include "tp_catalogue.h"
#include "tp_region.h"

#ifdef __cplusplus
extern "C" {
#endif

struct tp_region_table;

/* A reader's memory of its last hit; zeroed at first. Each reader has its own. */
struct tp_region_cache {
	uint64_t sequence;	/* of the list it was found in */
	const struct tp_region *region;
};

/* What a refresh found, called one by one after the new list was published. */
struct tp_region_table_ops {
	void (*added)(void *ctx, const struct tp_region *region);
	void (*removed)(void *ctx, const struct tp_region *region);
	void (*reset)(void *ctx, const struct tp_region *before, const struct tp_region *after);
};

/**
 * Create an empty table.
 *
 * @param catalogue  Borrowed until tp_region_table_destroy().
 * @return The table, or NULL with rte_errno ENOMEM.
 * @threads Any; afterwards see each call.
 */
struct tp_region_table *tp_region_table_create(struct tp_catalogue *catalogue);

/** Free the table and every region in it. NULL is ignored. @threads Main lcore, no reader left. */
void tp_region_table_destroy(struct tp_region_table *table);

/**
 * Follow the catalogue. Regions that did not change keep their address; one
 * that was reset is another struct from then on.
 *
 * @param ops  May be NULL, or any of its members.
 * @return Regions added, removed and reset; 0 also when nothing changed in the
 *   store; or -ENOMEM, -EBADMSG or another error of tp_store_get(), with the
 *   table as it was.
 * @threads Main lcore.
 * @cost    Nothing changed: as tp_store_revision() twice.
 */
int tp_region_table_refresh(struct tp_region_table *table, const struct tp_region_table_ops *ops,
	void *ctx);

/**
 * Free what refreshes have replaced. Afterwards no pointer got before the last
 * refresh to a removed or reset region may be used.
 *
 * @threads Main lcore, when every reader has made a turn since the last refresh
 *   and holds no such pointer (caches may: they are checked before use).
 */
void tp_region_table_reclaim(struct tp_region_table *table);

/**
 * The region that holds an address.
 *
 * @param cache  The caller's own, may be NULL.
 * @return The region, good until it is reclaimed; NULL: none.
 * @threads Any.
 * @cost    Cache hit: three loads; else a binary search.
 */
const struct tp_region *tp_region_table_find_address(const struct tp_region_table *table,
	uint64_t address, struct tp_region_cache *cache);

/** The region of an id; as tp_region_table_find_address(). @threads Any. */
const struct tp_region *tp_region_table_find_id(const struct tp_region_table *table, uint32_t id,
	struct tp_region_cache *cache);

/**
 * The regions in ascending order of address.
 *
 * @return The region at index, or NULL past the last.
 * @threads Main lcore.
 */
const struct tp_region *tp_region_table_at(const struct tp_region_table *table, uint32_t index);

/** Regions in the table. @threads Any. */
uint32_t tp_region_table_count(const struct tp_region_table *table);

#ifdef __cplusplus
}
#endif

#endif /* TP_REGION_TABLE_H */
