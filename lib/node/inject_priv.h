/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Inside lib/node: fault injection (docs/prog_guide/inject.md). It exists only
 * where the configuration says so; all others have a NULL pointer.
 *   inject.c         the control side: what is injected, and the calls
 *   inject_worker.c  what a worker does about it
 *   inject_store.c   a store that can be cut off
 */
#ifndef INJECT_PRIV_H
#define INJECT_PRIV_H

#include <stdatomic.h>
#include <stdbool.h>

#include "tp_abi.h"
#include "tp_abi_control.h"
#include "tp_endpoint.h"
#include "tp_link_fault.h"

struct control_call;
struct tp_control;
struct tp_store;
struct tp_worker;
struct worker_command;
struct worker_region;

#define INJECT_MAX 32u				/* faults at a time */
#define INJECT_PEERS_MAX (TP_LINK_FAULT_RULES_MAX - 1)
#define INJECT_PAGES_MAX (UINT32_C(1) << 20)	/* of a region whose pages are taken from sight */

#define INJECT_STATS (sizeof(struct tp_link_fault_stats) / sizeof(uint64_t))

/* What happens to the frames of one peer. */
struct inject_peer {
	uint16_t node;
	uint32_t ip;
	bool silence;			/* the endpoint is to take it for silent at once */
	struct tp_link_faults tx;
	struct tp_link_faults rx;
};

/* All of them, for the workers: the last one that has read it frees it. */
struct inject_table {
	_Atomic uint32_t references;
	uint32_t count;
	struct inject_peer peers[INJECT_PEERS_MAX];
};

struct inject {
	/* the control side's */
	uint32_t count;
	struct tp_control_inject list[INJECT_MAX];
	uint32_t peer_count;
	struct inject_peer peers[INJECT_PEERS_MAX];
	struct tp_store *store;		/* in place of the real one */
	/* any worker's; writer: control, and who counts down */
	void (*crash)(void *ctx);
	void *crash_ctx;
	_Atomic uint64_t crash_in;	/* client requests until it; 0: never */
	_Atomic uint8_t *vanish;	/* by node: requests to it disappear */
};

/* inject.c */
int inject_start(struct tp_control *control);
void inject_stop(struct tp_control *control);
void inject_call(struct tp_control *control, struct control_call *call);

/* What the fault links did, summed; order of TP_LINK_FAULT_STAT_LIST. Any thread. */
void inject_stats_sum(const struct tp_control *control, uint64_t *sums);

/* inject_store.c: wraps a store, which stays the caller's. NULL: out of memory. */
struct tp_store *inject_store_create(struct tp_store *base);
void inject_store_destroy(struct tp_store *store);
void inject_store_cut(struct tp_store *store, bool cut);

/* inject_worker.c */
void worker_inject_init(struct tp_worker *worker);
void worker_inject_peers(struct tp_worker *worker, struct inject_table *table);
void worker_inject_region(struct tp_worker *worker, const struct worker_command *command);
void worker_inject_clear(struct tp_worker *worker);
void worker_inject_region_gone(struct worker_region *region);
void worker_inject_command_drop(const struct worker_command *command);
bool worker_inject_crash(struct tp_worker *worker);
bool worker_inject_vanishes(struct tp_worker *worker, uint16_t node, unsigned int class);
uint64_t worker_inject_next(const struct tp_worker *worker);

/* A frame word that is hidden: slot << 2 | access. */
static inline uint32_t
inject_hidden_make(uint32_t slot, enum tp_access access)
{
	return slot << 2 | (uint32_t)access;
}
static_assert(TP_WORD_SLOT_BITS <= 30, "they fit");

#endif /* INJECT_PRIV_H */
