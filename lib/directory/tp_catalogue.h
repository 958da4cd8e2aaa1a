/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The catalogue of nodes and regions, over the store. It decides nothing alone:
 * every change is one compare-and-swap, so any number of nodes may make them at
 * once.
 *
 * The lease argument. A node renews its record at a time it read *before* the
 * renewal, renewed_at, and serves hits only until renewed_at + lease. Fencing is
 * a change of the same record from MEMBER to FENCED. The two are ordered by the
 * store: a renewal after the fence fails (-ESTALE), and every renewal before it
 * began before it. So once a fencer has waited lease + margin after its fence
 * returned, on its own clock, the fenced node serves nothing any more, whatever
 * it does. On one machine (one CLOCK_BOOTTIME) the lease_stamp that
 * tp_catalogue_node_fence() gives lets the fencer wait less: until lease_stamp +
 * lease + margin.
 */
#ifndef TP_CATALOGUE_H
#define TP_CATALOGUE_H

#include <stdint.h>

#include "tp_address.h"
#include "tp_region.h"
#include "tp_store.h"

#ifdef __cplusplus
extern "C" {
#endif

struct tp_catalogue;

#define TP_CATALOGUE_REGIONS_MAX 1024
#define TP_CATALOGUE_RANGE_ALIGN (UINT64_C(1) << 21)	/* of a region's base; the first of a
							 * node's space is never given out */

/* The numbers are in the store: never reuse one. */
enum tp_node_state {
	TP_NODE_JOINING = 1,	/* has its epoch, serves nothing yet */
	TP_NODE_MEMBER = 2,
	TP_NODE_FENCED = 3,	/* may not serve; comes back by joining */
	TP_NODE_LEFT = 4,	/* left by itself */
};

struct tp_node_record {
	uint16_t id;
	uint8_t state;		/* enum tp_node_state */
	uint8_t has_mac;
	uint32_t epoch;		/* incarnation, +1 at each join */
	uint32_t ip;		/* IPv4, host byte order */
	uint16_t udp_port;	/* of worker 0; worker w has udp_port + w */
	uint16_t worker_count;
	uint8_t mac[6];
	uint64_t lease_stamp;	/* CLOCK_BOOTTIME ns when the last renewal began */
	uint64_t lease_ns;
};

/**
 * Open the catalogue of a cluster. The first to do so writes the cluster's
 * settings; later ones must agree.
 *
 * @param store  Borrowed until tp_catalogue_close().
 * @return The catalogue, or NULL with rte_errno: EINVAL (bad split, or not the
 *   cluster's), ENOMEM, or an errno of tp_store_get() and tp_store_cas().
 * @threads Any; afterwards one user at a time, as the store.
 */
struct tp_catalogue *tp_catalogue_open(struct tp_store *store, struct tp_address_split split);

/**
 * The split that the first node gave the cluster, for tools that join nothing.
 *
 * @return 0, -ENOENT (no cluster yet), -EBADMSG, or an error of tp_store_get().
 * @threads One user at a time.
 */
int tp_catalogue_split_read(struct tp_store *store, struct tp_address_split *split);

/** Close it; the store stays open. NULL is ignored. @threads One user at a time. */
void tp_catalogue_close(struct tp_catalogue *catalogue);

/** The cluster's split. @threads Any. */
struct tp_address_split tp_catalogue_split(const struct tp_catalogue *catalogue);

/** The store below. @threads Any. */
struct tp_store *tp_catalogue_store(const struct tp_catalogue *catalogue);

/*
 * All calls below: one user at a time per catalogue, and besides what they list
 * any error of tp_store_get() and tp_store_cas(). Instead of -EAGAIN they repeat
 * until their change is in or impossible; -EBUSY: others were faster 10,000
 * times in a row.
 */

/**
 * Take part with a new epoch.
 *
 * @param self      id, ip, udp_port, worker_count (at least 1), has_mac, mac,
 *   lease_ns given; state TP_NODE_JOINING or TP_NODE_MEMBER; epoch and
 *   lease_stamp are written.
 * @param now       Read before the call.
 * @param previous  The record this replaces, state 0 if there was none; may be
 *   NULL. If it was MEMBER or JOINING the earlier process may still serve
 *   hits until its lease lapses: wait that out before serving.
 * @return 0, -EINVAL (a field of self), -EOVERFLOW (epochs exhausted).
 */
int tp_catalogue_node_join(struct tp_catalogue *catalogue, struct tp_node_record *self,
	uint64_t now, struct tp_node_record *previous);

/**
 * JOINING to MEMBER.
 *
 * @return 0 (also when MEMBER already), or -ESTALE: fenced, or the epoch is not current.
 */
int tp_catalogue_node_activate(struct tp_catalogue *catalogue, uint16_t id, uint32_t epoch);

/**
 * Renew the lease.
 *
 * @param now  Read before the call; the lease runs from it.
 * @return 0, or -ESTALE: fenced, left, or the epoch is not current. Serve nothing more.
 */
int tp_catalogue_node_renew(struct tp_catalogue *catalogue, uint16_t id, uint32_t epoch,
	uint64_t now);

/**
 * Fence a node: from the return on it cannot renew.
 *
 * @param lease_stamp  Of its last renewal; may be NULL.
 * @param lease_ns     Its lease; may be NULL.
 * @return 0 (also when fenced already), or
 *   - -ENOENT: no such node.
 *   - -ESTALE: it left, or has a newer epoch.
 */
int tp_catalogue_node_fence(struct tp_catalogue *catalogue, uint16_t id, uint32_t epoch,
	uint64_t *lease_stamp, uint64_t *lease_ns);

/** Leave in order, serving nothing any more. @return 0, or -ESTALE as node_renew. */
int tp_catalogue_node_leave(struct tp_catalogue *catalogue, uint16_t id, uint32_t epoch);

/** Read one record. @return 0, -ENOENT, -EBADMSG. */
int tp_catalogue_node_get(struct tp_catalogue *catalogue, uint16_t id,
	struct tp_node_record *record);

/**
 * Read all records, ascending by id.
 *
 * @param records  Shape [capacity].
 * @return Nodes there are (the first capacity of them were written), or -EBADMSG.
 */
int tp_catalogue_node_list(struct tp_catalogue *catalogue, struct tp_node_record *records,
	uint32_t capacity);

/** Changes when any node record does. @cost As tp_store_revision(). */
uint64_t tp_catalogue_node_revision(struct tp_catalogue *catalogue);

/** Changes when any region does, placements excepted. @cost As tp_store_revision(). */
uint64_t tp_catalogue_region_revision(struct tp_catalogue *catalogue);

/** Changes when any first-touch extent is placed. @cost As tp_store_revision(). */
uint64_t tp_catalogue_extent_revision(struct tp_catalogue *catalogue);

/* What a new region is to be. */
struct tp_region_spec {
	const char *name;	/* 1 to 63 of [A-Za-z0-9._-], not starting with '.' or '-' */
	uint64_t bytes;		/* rounded up to whole pages */
	uint8_t page_shift;	/* TP_PAGE_SHIFT_MIN to TP_PAGE_SHIFT_MAX */
	uint8_t mode;		/* enum tp_region_mode */
	uint8_t distribution;	/* enum tp_region_distribution */
	uint8_t durability;	/* enum tp_durability; LOCAL not with FIRST_TOUCH */
	uint16_t born_node;	/* whose address space it takes */
	uint16_t node_count;	/* HOME 1, STRIPED 1 to TP_REGION_NODES_MAX, FIRST_TOUCH 0 */
	const uint16_t *nodes;	/* shape [node_count], all different */
};

/**
 * Create a region: id, name, addresses and generation are taken in one step.
 *
 * @param region  Written on success; its extents are NULL (see tp_region_table.h).
 * @return 0, or
 *   - -EINVAL: the specification.
 *   - -EEXIST: an active region has the name.
 *   - -ENOSPC: no free range in born_node's space, or TP_CATALOGUE_REGIONS_MAX.
 *   - -EOVERFLOW: ids or generations exhausted.
 */
int tp_catalogue_region_create(struct tp_catalogue *catalogue, const struct tp_region_spec *spec,
	struct tp_region *region);

/**
 * Create a region again at the addresses that it had, as one that a pool has kept while
 * the store was lost: with a new id, and a generation after the one it had.
 *
 * @param before  As it was; its id and page_count are not looked at.
 * @return 0, or as tp_catalogue_region_create(); -EEXIST also: its addresses are taken.
 */
int tp_catalogue_region_restore(struct tp_catalogue *catalogue, const struct tp_region *before,
	struct tp_region *region);

/** The active region of that name; extents NULL. @return 0, -EINVAL, -ENOENT, -EBADMSG. */
int tp_catalogue_region_open(struct tp_catalogue *catalogue, const char *name,
	struct tp_region *region);

/** The active region that holds an address; extents NULL. @return 0, -ENOENT, -EBADMSG. */
int tp_catalogue_region_find(struct tp_catalogue *catalogue, uint64_t address,
	struct tp_region *region);

/**
 * All regions, ascending by id, destroyed ones not yet reaped included.
 *
 * @param regions  Shape [capacity]; extents NULL.
 * @return Regions there are (the first capacity of them were written), or -EBADMSG.
 */
int tp_catalogue_region_list(struct tp_catalogue *catalogue, struct tp_region *regions,
	uint32_t capacity);

/**
 * Destroy a region: its name is free at once, its addresses when it is reaped.
 * @return 0, or -ENOENT: no active region of that id.
 */
int tp_catalogue_region_destroy(struct tp_catalogue *catalogue, uint32_t id);

/**
 * Free the addresses of a destroyed region. For when no node can use its old
 * table any more: a lease and margin after the destruction. Any node may do it.
 * @return 0, -ENOENT, or -EBUSY: it is active.
 */
int tp_catalogue_region_reap(struct tp_catalogue *catalogue, uint32_t id);

/**
 * Give a region a new generation: what was in it is void, placements of first
 * touch are forgotten.
 *
 * @param generation_new  May be NULL.
 * @return 0, -ENOENT (no active region of that id), -EOVERFLOW.
 */
int tp_catalogue_region_reset(struct tp_catalogue *catalogue, uint32_t id,
	uint64_t *generation_new);

/**
 * Place a first-touch extent. The first of several callers wins; all get the winner.
 *
 * @param region  If it has extents, the winner is noted there too.
 * @param node    Who wants to be its home.
 * @param winner  Who is.
 * @return 0, or
 *   - -EINVAL: not first touch, extent or node out of range.
 *   - -ESTALE: the region was reset or destroyed meanwhile.
 */
int tp_catalogue_extent_place(struct tp_catalogue *catalogue, const struct tp_region *region,
	uint32_t extent_index, uint16_t node, uint16_t *winner);

/**
 * Read the placements of a first-touch region into its extents.
 * @return Extents placed, -EINVAL (not first touch, or without extents), -EBADMSG.
 */
int tp_catalogue_extents_read(struct tp_catalogue *catalogue, const struct tp_region *region);

#ifdef __cplusplus
}
#endif

#endif /* TP_CATALOGUE_H */
