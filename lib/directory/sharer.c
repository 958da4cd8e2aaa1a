/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Sharer sets of directory entries. How they grow and shrink:
 *
 *	inline, up to 16 ids  --17th-->  bitmap  --down to 8-->  inline
 *	                      --17th, no bitmap free-->  coarse
 *
 * Inline ids are kept ascending, so that a walk is in order in every form. The
 * gap between 17 and 8 keeps a set at the limit from flapping. A coarse vector
 * has 256 bits, each for a group of 1 << coarse_shift nodes: exact in clusters
 * of up to 256 nodes, which take it instead of a bitmap. With larger groups a
 * bit cannot be taken back for one node, since which others of the group share
 * is not known; the whole set is cleared once every node it names has answered
 * an invalidation.
 */
#include <string.h>

#include <rte_branch_prediction.h>

#include "directory_priv.h"

#define SHARER_SHRINK 8		/* a set of this many goes back inline */
#define SHARER_COARSE_BITS 256

/* A coarse vector is in sharers[] as 16 words of 16 bits. */
static inline bool
sharer_coarse_test(const struct tp_directory_entry *entry, uint32_t group)
{
	return entry->sharers[group / 16] >> group % 16 & 1;
}

static inline uint32_t
sharer_group(const struct tp_directory_worker *worker, uint16_t node)
{
	return (uint32_t)node >> worker->directory->coarse_shift;
}

/* Nodes of the cluster in a group: the last may be cut short. */
static uint32_t
sharer_group_nodes(const struct tp_directory_worker *worker, uint32_t group)
{
	uint32_t shift = worker->directory->coarse_shift;
	uint32_t node_count = (uint32_t)worker->directory->config.node_id_max + 1;

	return RTE_MIN(UINT32_C(1) << shift, node_count - (group << shift));
}

static void
sharer_coarse_add(struct tp_directory_worker *worker, struct tp_directory_entry *entry,
	uint16_t node)
{
	uint32_t group = sharer_group(worker, node);

	if (sharer_coarse_test(entry, group))
		return;
	entry->sharers[group / 16] |= (uint16_t)(1u << group % 16);
	entry->sharer_count++;
	DIRECTORY_COUNT(worker, coarse_extra, sharer_group_nodes(worker, group) - 1);
}

static void
sharer_bitmap_add(struct tp_directory_worker *worker, struct tp_directory_entry *entry,
	uint16_t node)
{
	uint64_t *word = &directory_bitmap_words(worker, entry->overflow)[node / 64];
	uint64_t bit = UINT64_C(1) << node % 64;

	if (*word & bit)
		return;
	*word |= bit;
	entry->sharer_count++;
}

/* The entry is full: give its ids a larger home. */
static void
sharer_grow(struct tp_directory_worker *worker, struct tp_directory_entry *entry)
{
	uint16_t ids[TP_DIRECTORY_INLINE_MAX];
	uint32_t handle = directory_bitmap_get(worker);

	memcpy(ids, entry->sharers, sizeof(ids));
	memset(entry->sharers, 0, sizeof(entry->sharers));
	entry->sharer_count = 0;
	entry->overflow = handle;
	if (handle != 0) {
		entry->sharer_kind = TP_SHARERS_BITMAP;
		for (uint32_t i = 0; i < TP_DIRECTORY_INLINE_MAX; i++)
			sharer_bitmap_add(worker, entry, ids[i]);
		return;
	}
	if (worker->directory->coarse_shift != 0)
		DIRECTORY_COUNT(worker, bitmaps_exhausted, 1);
	entry->sharer_kind = TP_SHARERS_COARSE;
	for (uint32_t i = 0; i < TP_DIRECTORY_INLINE_MAX; i++)
		sharer_coarse_add(worker, entry, ids[i]);
}

/* Few are left of an exact set: back into the entry. */
static void
sharer_shrink(struct tp_directory_worker *worker, struct tp_directory_entry *entry)
{
	uint16_t ids[SHARER_SHRINK];
	uint16_t count = entry->sharer_count;
	uint16_t node = tp_directory_sharer_next(worker, entry, 0);

	RTE_ASSERT(count <= SHARER_SHRINK);
	for (uint32_t i = 0; i < count; i++) {
		RTE_ASSERT(node != TP_NODE_NONE);
		ids[i] = node;
		node = tp_directory_sharer_next(worker, entry, (uint32_t)node + 1);
	}
	tp_directory_sharer_clear(worker, entry);
	memcpy(entry->sharers, ids, count * sizeof(ids[0]));
	entry->sharer_count = count;
}

/* Place of the first inline id at or after node. */
static inline uint32_t
sharer_inline_place(const struct tp_directory_entry *entry, uint32_t node)
{
	uint32_t i = 0;

	while (i < entry->sharer_count && entry->sharers[i] < node)
		i++;
	return i;
}

void
tp_directory_sharer_add(struct tp_directory_worker *worker, struct tp_directory_entry *entry,
	uint16_t node)
{
	uint32_t place;

	RTE_ASSERT(node <= worker->directory->config.node_id_max);
	if (tp_directory_sharer_contains(worker, entry, node))
		return;
	DIRECTORY_COUNT(worker, sharers_added, 1);
	if (entry->sharer_kind == TP_SHARERS_INLINE &&
			entry->sharer_count == TP_DIRECTORY_INLINE_MAX)
		sharer_grow(worker, entry);
	switch (entry->sharer_kind) {
	case TP_SHARERS_BITMAP:
		sharer_bitmap_add(worker, entry, node);
		break;
	case TP_SHARERS_COARSE:
		sharer_coarse_add(worker, entry, node);
		break;
	default:
		place = sharer_inline_place(entry, node);
		memmove(&entry->sharers[place + 1], &entry->sharers[place],
			(entry->sharer_count - place) * sizeof(entry->sharers[0]));
		entry->sharers[place] = node;
		entry->sharer_count++;
	}
}

static void
sharer_inline_remove(struct tp_directory_entry *entry, uint16_t node)
{
	uint32_t place = sharer_inline_place(entry, node);

	entry->sharer_count--;
	memmove(&entry->sharers[place], &entry->sharers[place + 1],
		(entry->sharer_count - place) * sizeof(entry->sharers[0]));
	entry->sharers[entry->sharer_count] = 0;
}

bool
tp_directory_sharer_remove(struct tp_directory_worker *worker, struct tp_directory_entry *entry,
	uint16_t node)
{
	uint32_t group;

	if (!tp_directory_sharer_contains(worker, entry, node))
		return true;
	switch (entry->sharer_kind) {
	case TP_SHARERS_BITMAP:
		directory_bitmap_words(worker, entry->overflow)[node / 64] &=
			~(UINT64_C(1) << node % 64);
		entry->sharer_count--;
		break;
	case TP_SHARERS_COARSE:
		group = sharer_group(worker, node);
		if (sharer_group_nodes(worker, group) != 1) {
			DIRECTORY_COUNT(worker, coarse_stuck, 1);
			return false;
		}
		entry->sharers[group / 16] &= (uint16_t)~(1u << group % 16);
		entry->sharer_count--;
		break;
	default:
		sharer_inline_remove(entry, node);
	}
	DIRECTORY_COUNT(worker, sharers_removed, 1);
	if (entry->sharer_kind != TP_SHARERS_INLINE && entry->sharer_count <= SHARER_SHRINK &&
			tp_directory_sharer_is_exact(worker, entry))
		sharer_shrink(worker, entry);
	return true;
}

bool
tp_directory_sharer_contains(const struct tp_directory_worker *worker,
	const struct tp_directory_entry *entry, uint16_t node)
{
	uint32_t place;

	if (node > worker->directory->config.node_id_max)
		return false;
	switch (entry->sharer_kind) {
	case TP_SHARERS_BITMAP:
		return directory_bitmap_words(worker, entry->overflow)[node / 64] >> node % 64 & 1;
	case TP_SHARERS_COARSE:
		return sharer_coarse_test(entry, sharer_group(worker, node));
	default:
		place = sharer_inline_place(entry, node);
		return place < entry->sharer_count && entry->sharers[place] == node;
	}
}

static uint16_t
sharer_bitmap_next(const struct tp_directory_worker *worker,
	const struct tp_directory_entry *entry, uint32_t from)
{
	const uint64_t *words = directory_bitmap_words(worker, entry->overflow);
	uint32_t word_count = worker->directory->bitmap_words;
	uint64_t mask = ~UINT64_C(0) << from % 64;

	for (uint32_t i = from / 64; i < word_count; i++) {
		uint64_t word = words[i] & mask;

		if (word != 0)
			return (uint16_t)(i * 64 + (uint32_t)__builtin_ctzll(word));
		mask = ~UINT64_C(0);
	}
	return TP_NODE_NONE;
}

static uint16_t
sharer_coarse_next(const struct tp_directory_worker *worker,
	const struct tp_directory_entry *entry, uint32_t from)
{
	uint32_t shift = worker->directory->coarse_shift;

	for (uint32_t group = from >> shift; group < SHARER_COARSE_BITS; group++) {
		if (!sharer_coarse_test(entry, group))
			continue;
		/* Within the group of from the walk goes on where it is. */
		return (uint16_t)RTE_MAX(from, group << shift);
	}
	return TP_NODE_NONE;
}

uint16_t
tp_directory_sharer_next(const struct tp_directory_worker *worker,
	const struct tp_directory_entry *entry, uint32_t from)
{
	uint32_t place;

	if (unlikely(from > worker->directory->config.node_id_max))
		return TP_NODE_NONE;
	switch (entry->sharer_kind) {
	case TP_SHARERS_BITMAP:
		return sharer_bitmap_next(worker, entry, from);
	case TP_SHARERS_COARSE:
		return sharer_coarse_next(worker, entry, from);
	default:
		place = sharer_inline_place(entry, from);
		return place < entry->sharer_count ? entry->sharers[place] : TP_NODE_NONE;
	}
}

uint32_t
tp_directory_sharer_count(const struct tp_directory_worker *worker,
	const struct tp_directory_entry *entry)
{
	uint32_t shift = worker->directory->coarse_shift;
	uint32_t group_last = worker->directory->config.node_id_max >> shift;
	uint32_t count;

	if (entry->sharer_kind != TP_SHARERS_COARSE)
		return entry->sharer_count;
	count = (uint32_t)entry->sharer_count << shift;
	if (sharer_coarse_test(entry, group_last))
		count -= (UINT32_C(1) << shift) - sharer_group_nodes(worker, group_last);
	return count;
}

void
tp_directory_sharer_clear(struct tp_directory_worker *worker, struct tp_directory_entry *entry)
{
	if (entry->sharer_kind == TP_SHARERS_BITMAP)
		directory_bitmap_put(worker, entry->overflow);
	entry->sharer_kind = TP_SHARERS_INLINE;
	entry->sharer_count = 0;
	entry->overflow = 0;
	memset(entry->sharers, 0, sizeof(entry->sharers));
}

bool
tp_directory_sharer_is_exact(const struct tp_directory_worker *worker,
	const struct tp_directory_entry *entry)
{
	return entry->sharer_kind != TP_SHARERS_COARSE || worker->directory->coarse_shift == 0;
}
