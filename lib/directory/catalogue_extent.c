/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Placements of first-touch extents, 512 in a record. Keys are used again by
 * later regions and generations: a record says whose it is, and one of an
 * earlier generation counts as empty (counters only grow, over all regions).
 */
#include <errno.h>
#include <stdio.h>

#include <rte_common.h>

#include "catalogue_priv.h"
#include "tp_generation.h"

#define EXTENT_KEY_BYTES 32

static void
extent_chunk_clear(struct extent_chunk *chunk, const struct tp_region *region, uint32_t index)
{
	chunk->region_id = region->id;
	chunk->chunk = index;
	chunk->generation = region->generation;
	for (uint32_t i = 0; i < RECORD_EXTENTS; i++)
		chunk->nodes[i] = TP_NODE_NONE;
}

/*
 * Read a chunk of a region, empty if there is none of its generation yet.
 *
 * @return 0, -ESTALE (a later generation has the record), or an error.
 */
static int
extent_chunk_read(struct tp_catalogue *catalogue, const struct tp_region *region, uint32_t index,
	struct extent_chunk *chunk, uint64_t *version)
{
	struct record_extents record;
	char key[EXTENT_KEY_BYTES];
	size_t bytes;
	int ret;

	*version = 0;
	snprintf(key, sizeof(key), "extent/%03x/%04x", region->extent_bank, index);
	ret = tp_store_get(catalogue->store, key, &record, sizeof(record), &bytes, version);
	if (ret == -ENOENT) {
		*version = 0;
		extent_chunk_clear(chunk, region, index);
		return 0;
	}
	if (ret == -EMSGSIZE)
		return -EBADMSG;
	if (ret < 0)
		return ret;
	ret = record_extents_decode(&record, bytes, chunk);
	if (ret < 0)
		return ret;
	if (tp_generation_counter(chunk->generation) > tp_generation_counter(region->generation))
		return -ESTALE;
	if (chunk->generation != region->generation)
		extent_chunk_clear(chunk, region, index);
	return chunk->region_id == region->id && chunk->chunk == index ? 0 : -EBADMSG;
}

static int
extent_chunk_write(struct tp_catalogue *catalogue, const struct tp_region *region,
	const struct extent_chunk *chunk, uint64_t version)
{
	struct record_extents record;
	char key[EXTENT_KEY_BYTES];

	snprintf(key, sizeof(key), "extent/%03x/%04x", region->extent_bank, chunk->chunk);
	record_extents_encode(chunk, &record);
	return tp_store_cas(catalogue->store, key, version, &record, sizeof(record), NULL);
}

static void
extent_note(const struct tp_region *region, uint32_t extent_index, uint16_t node)
{
	if (region->extents != NULL)
		atomic_store_explicit(&region->extents[extent_index], node, memory_order_relaxed);
}

int
tp_catalogue_extent_place(struct tp_catalogue *catalogue, const struct tp_region *region,
	uint32_t extent_index, uint16_t node, uint16_t *winner)
{
	uint32_t place = extent_index % RECORD_EXTENTS;
	struct extent_chunk chunk;
	uint64_t version;
	int ret;

	if (region->distribution != TP_REGION_FIRST_TOUCH ||
			extent_index >= region->extent_count ||
			node >= tp_address_node_count(catalogue->split))
		return -EINVAL;
	for (int i = 0; i < CATALOGUE_TRIES; i++) {
		ret = extent_chunk_read(catalogue, region, extent_index / RECORD_EXTENTS, &chunk,
			&version);
		if (ret < 0)
			return ret;
		if (chunk.nodes[place] == TP_NODE_NONE) {
			chunk.nodes[place] = node;
			ret = extent_chunk_write(catalogue, region, &chunk, version);
		}
		if (ret == 0) {
			extent_note(region, extent_index, chunk.nodes[place]);
			*winner = chunk.nodes[place];
		}
		if (ret != -EAGAIN)
			return ret;
	}
	return -EBUSY;
}

int
tp_catalogue_extents_read(struct tp_catalogue *catalogue, const struct tp_region *region)
{
	uint32_t chunk_count = (region->extent_count + RECORD_EXTENTS - 1) / RECORD_EXTENTS;
	int placed = 0;

	if (region->distribution != TP_REGION_FIRST_TOUCH || region->extents == NULL)
		return -EINVAL;
	for (uint32_t c = 0; c < chunk_count; c++) {
		uint32_t first = c * RECORD_EXTENTS;
		struct extent_chunk chunk;
		uint64_t version;
		int ret;

		ret = extent_chunk_read(catalogue, region, c, &chunk, &version);
		/* Another generation already: what this one had stays as it is. */
		if (ret == -ESTALE)
			continue;
		if (ret < 0)
			return ret;
		for (uint32_t i = first; i < RTE_MIN(first + RECORD_EXTENTS, region->extent_count);
				i++) {
			if (chunk.nodes[i - first] == TP_NODE_NONE)
				continue;
			extent_note(region, i, chunk.nodes[i - first]);
			placed++;
		}
	}
	return placed;
}
