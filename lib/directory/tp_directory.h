/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The page directory of a node: one 64-byte entry per page homed here, in one
 * array per region; sharer sets that grow from inline ids to an exact bitmap
 * and, when the bitmaps run out, to a coarse vector; a bounded table of
 * transients. It knows nothing of the protocol: state, flags and the transient
 * payload belong to lib/coherence.
 *
 * One struct tp_directory per node, one struct tp_directory_worker per worker
 * lcore. The arrays are shared, each worker touches only entries of pages in
 * its own shards; bitmaps, transients and counters are per worker.
 *
 * Which calls exclude which:
 *   tp_directory_region_remove()   everything on that region, by any thread
 *   tp_directory_region_add()      other add and remove calls
 *   calls on an entry or a worker  only other calls on the same
 */
#ifndef TP_DIRECTORY_H
#define TP_DIRECTORY_H

#include <assert.h>
#include <stdbool.h>
#include <stdalign.h>
#include <stddef.h>
#include <stdint.h>

#include "tp_address.h"

#ifdef __cplusplus
extern "C" {
#endif

struct tp_directory;
struct tp_directory_worker;

#define TP_DIRECTORY_INLINE_MAX 16	/* sharers an entry holds itself */
#define TP_DIRECTORY_INDEX_NONE UINT32_MAX

enum tp_sharer_kind {
	TP_SHARERS_INLINE = 0,	/* sharers[]: ids, ascending */
	TP_SHARERS_BITMAP = 1,	/* overflow: 1 + index of a bitmap in the worker's pool */
	TP_SHARERS_COARSE = 2,	/* sharers[]: 256 bits, each stands for a group of nodes */
};

/*
 * One homed page. An entry is made when it is first got: owner TP_NODE_NONE,
 * generation of the region, all else 0.
 */
struct tp_directory_entry {
	alignas(64) uint64_t sequence;	/* coherence: order of the page's transactions */
	uint64_t generation;	/* of the region; 0: never got */
	uint8_t state;		/* coherence */
	uint8_t sharer_kind;	/* enum tp_sharer_kind; this library */
	uint16_t owner;		/* coherence; TP_NODE_NONE: none */
	uint32_t transient;	/* coherence: 1 + index of a transient, 0: none */
	uint32_t overflow;	/* this library */
	uint16_t sharer_count;	/* this library: sharers, or bits of a coarse vector; use
				 * tp_directory_sharer_count() */
	uint16_t flags;		/* coherence */
	uint16_t sharers[TP_DIRECTORY_INLINE_MAX];	/* this library */
};
static_assert(sizeof(struct tp_directory_entry) == 64, "one cache line");
static_assert(offsetof(struct tp_directory_entry, generation) == 8, "layout");
static_assert(offsetof(struct tp_directory_entry, state) == 16, "layout");
static_assert(offsetof(struct tp_directory_entry, owner) == 18, "layout");
static_assert(offsetof(struct tp_directory_entry, transient) == 20, "layout");
static_assert(offsetof(struct tp_directory_entry, overflow) == 24, "layout");
static_assert(offsetof(struct tp_directory_entry, sharer_count) == 28, "layout");
static_assert(offsetof(struct tp_directory_entry, flags) == 30, "layout");
static_assert(offsetof(struct tp_directory_entry, sharers) == 32, "layout");

struct tp_directory_config {
	uint32_t region_count_max;	/* regions with homed pages here, 1 to 65,536 */
	uint16_t worker_count_max;	/* 1 to 256 */
	uint16_t node_id_max;		/* highest node id of the cluster */
};

struct tp_directory_worker_config {
	uint32_t bitmap_count_max;	/* sharer sets kept exact beyond 16; 0: coarse at once */
	uint32_t transient_count_max;	/* outstanding transactions */
	uint32_t transient_bytes;	/* payload of each, for the caller's use */
};

/* Counters of a worker, one list: enum, name and help. Owner writes, any thread reads. */
#define TP_DIRECTORY_STAT_LIST(STAT)							\
	STAT(sharers_added,       "sharers added")					\
	STAT(sharers_removed,     "sharers removed")					\
	STAT(bitmaps_taken,       "sharer sets grown to a bitmap")			\
	STAT(bitmaps_returned,    "bitmaps given back")					\
	STAT(bitmaps_exhausted,   "sharer sets made coarse since no bitmap was free")	\
	STAT(coarse_extra,        "nodes a coarse vector took in that are no sharers")	\
	STAT(coarse_stuck,        "sharers removed that a coarse vector could not forget")	\
	STAT(transients_taken,    "transients taken")					\
	STAT(transients_exhausted, "transients refused since none was free")

struct tp_directory_stats {
#define TP_DIRECTORY_STAT_AS_FIELD(name, help) uint64_t name;
	TP_DIRECTORY_STAT_LIST(TP_DIRECTORY_STAT_AS_FIELD)
#undef TP_DIRECTORY_STAT_AS_FIELD
	uint64_t bitmaps_used;		/* now */
	uint64_t transients_used;	/* now */
};

/**
 * Create the directory of a node.
 *
 * @return The directory, or NULL with rte_errno: EINVAL (configuration), ENOMEM.
 * @threads Any.
 * @cost    Allocates; an index of 16 bytes a region.
 */
struct tp_directory *tp_directory_create(const struct tp_directory_config *config);

/** Free it with its regions and workers. NULL is ignored. @threads Any, nobody uses it. */
void tp_directory_destroy(struct tp_directory *directory);

/**
 * Create the part of one worker; destroyed with the directory.
 *
 * @return The worker, or NULL with rte_errno: EINVAL (configuration), ENOSPC
 *   (worker_count_max reached), ENOMEM.
 * @threads Main lcore; afterwards the worker is its lcore's alone.
 * @cost    Reserves address space; memory is taken when it is first used.
 */
struct tp_directory_worker *tp_directory_worker_create(struct tp_directory *directory,
	const struct tp_directory_worker_config *config);

/**
 * Make room for the entries of a region's homed pages. Pages that are never
 * touched cost address space only.
 *
 * @param region_id   Not 0, not known to the directory.
 * @param generation  Of the region, valid.
 * @param page_count  tp_region_home_count() of this node, at least 1.
 * @return The slot, 0 or more, or
 *   - -EINVAL: an argument is out of range.
 *   - -EEXIST: the region is known; remove it first.
 *   - -ENOSPC: region_count_max reached.
 *   - -ENOMEM.
 * @threads Main lcore. Workers may use the slot once they were told of it.
 */
int tp_directory_region_add(struct tp_directory *directory, uint32_t region_id,
	uint64_t generation, uint32_t page_count);

/**
 * Forget a region and free its entries. Bitmaps of its entries must have been
 * given back first by their workers: tp_directory_sharer_clear() on every entry
 * that tp_directory_entry_next() finds.
 *
 * @return 0, or -ENOENT.
 * @threads Main lcore, when no worker uses the slot any more.
 */
int tp_directory_region_remove(struct tp_directory *directory, uint32_t region_id);

/**
 * Slot of a region.
 *
 * @return The slot, or -ENOENT.
 * @threads Any, excluded by add and remove of any region; a worker that was told
 *   the slot does not need this.
 */
int tp_directory_region_slot(const struct tp_directory *directory, uint32_t region_id);

/** Entries reserved for the slot, its homed pages. @threads Any. */
uint32_t tp_directory_region_pages(const struct tp_directory *directory, uint32_t slot);

/**
 * Ask for the memory of a page's entry, which tp_directory_entry_get() then finds
 * in the cache.
 *
 * @threads Owner lcore of the page's shard.
 */
void tp_directory_entry_prefetch(const struct tp_directory *directory, uint32_t slot,
	uint32_t home_index);

/**
 * The entry of a page. The pointer stays good until the region is removed.
 *
 * @param slot        From tp_directory_region_add().
 * @param home_index  Below the region's page_count: tp_region_home_index().
 * @threads Owner lcore of the page's shard.
 * @cost    Array index; the first touch of 64 neighbours takes a page fault.
 */
struct tp_directory_entry *tp_directory_entry_get(struct tp_directory *directory, uint32_t slot,
	uint32_t home_index);

/**
 * Walk the entries that were ever got, without touching the others.
 *
 * @param from  First home_index to look at.
 * @return The next home_index at or after from, of any shard, or
 *   TP_DIRECTORY_INDEX_NONE. Entries of other shards are their owners': skip
 *   them by tp_shard_of().
 * @threads A worker of the node. An entry another worker makes meanwhile may be
 *   seen or not.
 * @cost    One bit per 64 untouched entries.
 */
uint32_t tp_directory_entry_next(const struct tp_directory *directory, uint32_t slot,
	uint32_t from);

/**
 * Memory the directory has taken: index, touched entries, bitmaps, transients.
 * Address space that was only reserved is not counted.
 *
 * @threads Any, excluded by region add and remove.
 */
uint64_t tp_directory_bytes(const struct tp_directory *directory);

/** Copy the counters of a worker. @threads Any. */
void tp_directory_stats_get(const struct tp_directory_worker *worker,
	struct tp_directory_stats *stats);

/*
 * Sharer sets. A set never misses a sharer. It may name nodes that are none
 * once it is coarse: tp_directory_sharer_is_exact(). All: owner lcore of the
 * worker and of the entry.
 */

/**
 * Add a sharer; one that is there already is left.
 *
 * @param node  Up to node_id_max.
 * @cost    At most 17 ids moved, or one bit set. Never fails: without a free
 *   bitmap the set turns coarse.
 */
void tp_directory_sharer_add(struct tp_directory_worker *worker, struct tp_directory_entry *entry,
	uint16_t node);

/**
 * Remove a sharer if it is there. A coarse set keeps naming it, since its group
 * may hold others; clear it when every node it names has dropped its copy.
 *
 * @return true if the set does not name the node any more.
 */
bool tp_directory_sharer_remove(struct tp_directory_worker *worker,
	struct tp_directory_entry *entry, uint16_t node);

/** The set names the node. */
bool tp_directory_sharer_contains(const struct tp_directory_worker *worker,
	const struct tp_directory_entry *entry, uint16_t node);

/**
 * Walk a set in ascending order:
 *	for (n = next(w, e, 0); n != TP_NODE_NONE; n = next(w, e, n + 1))
 * The node just visited may be removed on the way.
 *
 * @return The first node named at or after from, or TP_NODE_NONE.
 */
uint16_t tp_directory_sharer_next(const struct tp_directory_worker *worker,
	const struct tp_directory_entry *entry, uint32_t from);

/** Nodes the set names: exact, or an upper bound when coarse. */
uint32_t tp_directory_sharer_count(const struct tp_directory_worker *worker,
	const struct tp_directory_entry *entry);

/** Empty the set and give its bitmap back. */
void tp_directory_sharer_clear(struct tp_directory_worker *worker,
	struct tp_directory_entry *entry);

/** The set names sharers alone. */
bool tp_directory_sharer_is_exact(const struct tp_directory_worker *worker,
	const struct tp_directory_entry *entry);

/*
 * Transients: a bounded table of payloads for what is outstanding. All: owner
 * lcore of the worker.
 */

/**
 * Take a transient; its payload is not cleared.
 *
 * @return Its index, or TP_DIRECTORY_INDEX_NONE: all are taken (counted).
 * @cost    O(1).
 */
uint32_t tp_directory_transient_get(struct tp_directory_worker *worker);

/** Give a transient back. @cost O(1). */
void tp_directory_transient_put(struct tp_directory_worker *worker, uint32_t index);

/** Payload of a taken transient, aligned to 64 bytes. @cost O(1). */
void *tp_directory_transient_payload(const struct tp_directory_worker *worker, uint32_t index);

/** The first taken transient at or after from, or TP_DIRECTORY_INDEX_NONE. */
uint32_t tp_directory_transient_next(const struct tp_directory_worker *worker, uint32_t from);

#ifdef __cplusplus
}
#endif

#endif /* TP_DIRECTORY_H */
