/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Where the pages of a region are homed. Pure arithmetic.
 */
#include <rte_common.h>

#include "tp_region.h"

/* Place of a node in the stripe, or node_count. */
static uint32_t
region_stripe_of(const struct tp_region *region, uint16_t node)
{
	uint32_t i;

	for (i = 0; i < region->node_count; i++)
		if (region->nodes[i] == node)
			break;
	return i;
}

uint32_t
tp_region_home_count(const struct tp_region *region, uint16_t node)
{
	uint32_t stripe;

	switch (region->distribution) {
	case TP_REGION_STRIPED:
		stripe = region_stripe_of(region, node);
		if (stripe == region->node_count || stripe >= region->page_count)
			return 0;
		return (region->page_count - 1 - stripe) / region->node_count + 1;
	case TP_REGION_FIRST_TOUCH:
		return region->page_count;
	default:
		return region->nodes[0] == node ? region->page_count : 0;
	}
}

uint32_t
tp_region_page_of(const struct tp_region *region, uint16_t node, uint32_t home_index)
{
	if (home_index >= tp_region_home_count(region, node))
		return TP_REGION_PAGE_NONE;
	switch (region->distribution) {
	case TP_REGION_STRIPED:
		return home_index * region->node_count + region_stripe_of(region, node);
	case TP_REGION_FIRST_TOUCH:
		return tp_region_home(region, home_index) == node ? home_index :
			TP_REGION_PAGE_NONE;
	default:
		return home_index;
	}
}

const char *
tp_region_distribution_name(unsigned int distribution)
{
	static const char *const names[] = {
		[TP_REGION_HOME] = "home",
		[TP_REGION_STRIPED] = "striped",
		[TP_REGION_FIRST_TOUCH] = "first_touch",
	};

	if (distribution >= RTE_DIM(names) || names[distribution] == NULL)
		return "unknown";
	return names[distribution];
}

const char *
tp_region_mode_name(unsigned int mode)
{
	switch (mode) {
	case TP_REGION_RW:
		return "rw";
	case TP_REGION_RO:
		return "ro";
	default:
		return "unknown";
	}
}

const char *
tp_region_durability_name(unsigned int durability)
{
	static const char *const names[] = {
		[TP_DURABILITY_NONE] = "none",
		[TP_DURABILITY_LOCAL] = "local",
		[TP_DURABILITY_REPLICATED] = "replicated-later",
	};

	return durability < RTE_DIM(names) ? names[durability] : "unknown";
}
