/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A region in memory: what the catalogue says of it, and the arithmetic of
 * where its pages are homed. Pure, but for the table of first-touch extents,
 * whose words are atomic.
 *
 * Homed pages have a dense index per node, so that a home keeps their
 * directory entries in an array: a region striped over n nodes homes its page
 * i as entry i / n of its node.
 */
#ifndef TP_REGION_H
#define TP_REGION_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "tp_address.h"
#include "tp_types.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TP_REGION_PAGES_MAX (UINT32_MAX - 1)
#define TP_REGION_PAGE_NONE UINT32_MAX
#define TP_EXTENT_SHIFT 21		/* first touch places 2 MiB at once */

/* The numbers are in the store: never reuse one. */
enum tp_region_state {
	TP_REGION_ACTIVE = 1,
	TP_REGION_DESTROYED = 2,	/* gone for users; keeps its addresses until reaped */
};

struct tp_region {
	uint32_t id;
	uint8_t state;			/* enum tp_region_state */
	uint8_t mode;			/* enum tp_region_mode */
	uint8_t distribution;		/* enum tp_region_distribution */
	uint8_t page_shift;
	uint64_t base;			/* global address, aligned to 2 MiB */
	uint64_t bytes;			/* a multiple of the page size */
	uint64_t generation;
	uint64_t created;		/* generation it was created with; 0: not known */
	uint32_t page_count;
	uint32_t extent_count;		/* 0 unless first touch */
	_Atomic uint16_t *extents;	/* first touch: home or TP_NODE_NONE; set once */
	uint16_t extent_bank;		/* catalogue: where the placements are kept */
	uint8_t durability;		/* enum tp_durability */
	uint16_t born_node;		/* whose address space it is in */
	uint16_t node_count;		/* of nodes, 0 for first touch */
	uint16_t nodes[TP_REGION_NODES_MAX];	/* all different */
	char name[TP_REGION_NAME_BYTES];
};

/** Global address of the start of a page. @threads Any. */
static inline uint64_t
tp_region_page_address(const struct tp_region *region, uint32_t page_index)
{
	return region->base + ((uint64_t)page_index << region->page_shift);
}

/** The address lies in the region. @threads Any. */
static inline bool
tp_region_contains(const struct tp_region *region, uint64_t address)
{
	return address >= region->base && address - region->base < region->bytes;
}

/** Page index of an address that lies in the region. @threads Any. */
static inline uint32_t
tp_region_page_index(const struct tp_region *region, uint64_t address)
{
	return (uint32_t)((address - region->base) >> region->page_shift);
}

/** First-touch extent that holds a page. @threads Any. */
static inline uint32_t
tp_region_extent_of(const struct tp_region *region, uint32_t page_index)
{
	return page_index >> (TP_EXTENT_SHIFT - region->page_shift);
}

/**
 * Home of a page.
 *
 * @param page_index  Below region->page_count.
 * @return The node, or TP_NODE_NONE: a first-touch extent nobody has placed yet
 *   (as far as this node knows; tp_catalogue_extent_place() settles it).
 * @threads Any.
 * @cost    Striped: one division. First touch: one load.
 */
static inline uint16_t
tp_region_home(const struct tp_region *region, uint32_t page_index)
{
	switch (region->distribution) {
	case TP_REGION_STRIPED:
		return region->nodes[page_index % region->node_count];
	case TP_REGION_FIRST_TOUCH:
		/* The word is all there is to know: nothing else is read through it. */
		return atomic_load_explicit(
			&region->extents[tp_region_extent_of(region, page_index)],
			memory_order_relaxed);
	default:
		return region->nodes[0];
	}
}

/**
 * Dense index of a page among those homed on the same node. First touch: the
 * page index itself, since where other extents go is not known beforehand.
 *
 * @return Below tp_region_home_count() of the page's home.
 * @threads Any.
 */
static inline uint32_t
tp_region_home_index(const struct tp_region *region, uint32_t page_index)
{
	return region->distribution == TP_REGION_STRIPED ? page_index / region->node_count :
		page_index;
}

/**
 * Size of the index space of tp_region_home_index() on a node: how many entries
 * its directory reserves.
 *
 * @return Pages, 0: the node is not and will not be a home in this region.
 * @threads Any.
 */
uint32_t tp_region_home_count(const struct tp_region *region, uint16_t node);

/**
 * Inverse of tp_region_home_index().
 *
 * @return The page index, or TP_REGION_PAGE_NONE: home_index is not below
 *   tp_region_home_count(), or that page is homed elsewhere.
 * @threads Any.
 */
uint32_t tp_region_page_of(const struct tp_region *region, uint16_t node, uint32_t home_index);

/** Text of a distribution ("home", "striped", "first_touch") or "unknown". @threads Any. */
const char *tp_region_distribution_name(unsigned int distribution);

/** Text of a mode ("rw", "ro") or "unknown". @threads Any. */
const char *tp_region_mode_name(unsigned int mode);

/** Text of a durability ("none", "local", "replicated-later") or "unknown". @threads Any. */
const char *tp_region_durability_name(unsigned int durability);

#ifdef __cplusplus
}
#endif

#endif /* TP_REGION_H */
