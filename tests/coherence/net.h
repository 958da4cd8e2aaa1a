/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A few coherence engines and a network in memory: how to drive lib/coherence.
 *
 * Rules a driver keeps, all in net.c:
 *   - one event goes in, then the whole outbox is carried out in order, then the
 *     next event;
 *   - what a node sends to itself comes back through tp_coherence_message();
 *   - REVOKE is answered by tp_coherence_guards_clear(), a new event, once no
 *     guard names the page;
 *   - COMPLETE with access grants a guard until the client is done;
 *   - a lost session is PEER_DOWN and PEER_UP at both ends, and nothing that was
 *     under way arrives afterwards.
 *
 * Pages have WORDS words that are really moved. The newest value of each word
 * is known, so every access is checked: a read that sees another value fails.
 */
#ifndef NET_H
#define NET_H

#include <stdbool.h>
#include <stdint.h>

#include "tp_coherence.h"
#include "tp_region.h"

#define NET_NODES_MAX 8
#define NET_PAGES_MAX 16
#define NET_WORDS 2
#define NET_SLOTS_MAX 64
#define NET_FLIGHTS_MAX 256
#define NET_OPS_MAX 256
#define NET_REGION_ID 7
#define NET_STAGED_MAX 16
#define NET_STATES_MAX 512		/* of a page, in a durable region */

struct net_config {
	uint16_t nodes;
	uint32_t pages;
	uint16_t home_count;		/* striped over nodes 0 .. home_count - 1 */
	uint32_t cache_slots;		/* 0: 8 */
	uint32_t home_slots;		/* 0: pages */
	uint32_t bitmaps;		/* of sharer sets; 0 and sharers_coarse: coarse at once */
	uint16_t node_id_max;		/* 0: nodes - 1 */
	bool home_lost;			/* the homes are new, the region is not */
	bool durable;
	uint32_t persist_count;		/* 0: NET_STAGED_MAX */
	/* As in tp_coherence_config. */
	void (*slot_hint)(void *ctx, uint32_t slot, uint32_t offset, uint32_t bytes, bool later);
	void *slot_hint_ctx;
	bool random;			/* deliver in random order */
	bool hold_guards;		/* accesses end only by net_finish() */
	uint64_t seed;
	int mutant;
};

struct net_op {
	bool used;
	bool completed;
	bool finished;		/* the access is over, the guard is cleared */
	uint16_t node;
	uint32_t page;
	uint32_t slot;
	uint8_t want;
	uint8_t access;
	uint8_t word;
	bool executed;
	struct tp_result result;
	uint64_t value;		/* to write, or what was read */
	uint64_t old;		/* of an atomic */
	uint32_t of;		/* settlement: of which op */
	uint8_t fate;		/* of an atomic that was settled: enum net_fate */
	uint32_t since;		/* persist: states of the page when it was asked for */
};

enum net_fate { FATE_UNKNOWN, FATE_RUN, FATE_NEVER };

struct net_flight {
	uint16_t from;
	uint16_t to;
	bool has_payload;
	bool request;
	uint64_t token;
	uint64_t payload[NET_WORDS];
	struct tp_coherence_msg msg;
};

/* What a node was told to persist and has not yet. */
struct net_staged {
	uint32_t page;
	bool contents;
	uint64_t words[NET_WORDS];
	uint16_t to;
	struct tp_coherence_msg msg;
};

struct net_node {
	struct net *net;
	struct net_staged staged[NET_STAGED_MAX];
	uint32_t staged_count;
	/* Outlive the node. */
	uint8_t pool_has[NET_PAGES_MAX];	/* enum tp_persisted */
	uint64_t pool[NET_PAGES_MAX][NET_WORDS];
	struct tp_coherence *engine;
	struct tp_directory *directory;
	uint64_t slots[NET_SLOTS_MAX][NET_WORDS];
	uint32_t word_slot[NET_PAGES_MAX];
	uint8_t word_access[NET_PAGES_MAX];
	bool revoking[NET_PAGES_MAX];
	uint8_t revoke_access[NET_PAGES_MAX];
	bool up;
};

struct net {
	struct net_config config;
	struct tp_region region;
	struct net_node node[NET_NODES_MAX];
	struct net_flight flight[NET_FLIGHTS_MAX];
	uint32_t flight_count;
	struct net_op op[NET_OPS_MAX];
	uint32_t op_count;
	uint64_t latest[NET_PAGES_MAX][NET_WORDS];
	bool page_lost[NET_PAGES_MAX];
	/* Durable: what each page was, one after the other, and how far that lasts for sure. */
	uint64_t states[NET_PAGES_MAX][NET_STATES_MAX][NET_WORDS];
	uint32_t state_count[NET_PAGES_MAX];
	uint32_t lasts[NET_PAGES_MAX];
	uint64_t now;
	uint64_t random_state;
	uint64_t value_next;
	uint64_t tokens_out;
	uint64_t token_next;
	uint32_t atomics_run;	/* at homes */
	uint32_t fences_asked;
	uint32_t delivered[TP_MSG_COUNT];
	const char *failure;	/* first broken invariant */
	bool quiet;		/* keep the failure, do not print it */
};

struct net *net_create(const struct net_config *config);
void net_destroy(struct net *net);

uint64_t net_random(struct net *net);

/* A client of node asks; the op's number is its cookie. */
uint32_t net_read(struct net *net, uint16_t node, uint32_t page);
uint32_t net_write(struct net *net, uint16_t node, uint32_t page);
uint32_t net_add(struct net *net, uint16_t node, uint32_t page);
/* Settle the node's last atomic on the page that has no result. false: there is none. */
bool net_settle(struct net *net, uint16_t node, uint32_t page);
/* The same for the last one that ended unknown at another node. */
bool net_settle_foreign(struct net *net, uint16_t node, uint32_t page);
uint32_t net_want(struct net *net, uint16_t node, uint32_t page, enum tp_coherence_want want);

/* The client of a completed op makes its access and clears its guard. */
void net_finish(struct net *net, uint32_t op);

/* Deliver flight i, and poll everybody. */
void net_deliver(struct net *net, uint32_t i);

/* Deliver until nothing is under way; advances time only if waiters are left. */
void net_run(struct net *net);

/* Lose the session of two nodes and all that is under way; make it again. */
void net_session_down(struct net *net, uint16_t a, uint16_t b);
void net_session_up(struct net *net, uint16_t a, uint16_t b);

/* A node is gone for good: its sessions, then its fence. */
void net_crash(struct net *net, uint16_t node);
void net_fence(struct net *net, uint16_t node);

/* Persist the first that a node was told to persist. false: there is nothing. */
bool net_persist(struct net *net, uint16_t node);

/*
 * A home that crashed and was fenced is there again, with nothing but its pool. What is
 * there must be no older than what was persisted for sure; it is the newest from now on.
 */
void net_restart(struct net *net, uint16_t node);

/* Take time to the next timer. false: there is none within ns_max. */
bool net_advance(struct net *net, uint64_t ns_max);

void net_poll_all(struct net *net);
void net_check(struct net *net);
bool net_is_idle(const struct net *net);
const char *net_cache_state(const struct net *net, uint16_t node, uint32_t page);
const char *net_home_state(const struct net *net, uint32_t page);
uint64_t net_stat_errors(const struct net *net);

#endif /* NET_H */
