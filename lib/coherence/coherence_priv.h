/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Inside of lib/coherence. One struct tp_coherence is one worker's; all of it
 * belongs to that worker's lcore. docs/coherence.md says what the states mean.
 *
 * Records, and what points to what:
 *   page     one per page of a region, 16 bytes, zero at first (state I)
 *   frame    one per slot: which page holds it, the INV or FWD it will answer
 *   request  a page's outstanding GET or PUT and its waiters, or one AMO
 *   waiter   one client request
 *   busy     the home's transaction on one page, and what waits behind it
 *   deferred a request message that waits behind a busy record
 * All but pages come from pools of fixed size; indexes in records are 1 + index
 * where 0 means none.
 */
#ifndef COHERENCE_PRIV_H
#define COHERENCE_PRIV_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_byteorder.h>
#include <rte_debug.h>

#include "tp_coherence.h"
#include "tp_log.h"
#include "tp_region.h"
#include "tp_shard.h"
#ifdef TP_MUTANTS
#include "tp_coherence_mutants.h"
#endif

#define INDEX_NONE UINT32_MAX
#define COMPLETE_BATCH 8	/* waiters answered in one step */
#define INV_BATCH 8		/* INV sent in one step */
#define STEP_ACTIONS 16		/* room a step needs in the outbox */
#define AMO_LEFT_MAX 0xffffu	/* ms: that or more */
#define EVICT_RESERVE 16	/* requests that only evictions may take */

/* Cache-side states of a page: docs/coherence.md, "Cache side". */
#define CACHE_STATE_LIST(STATE)	\
	STATE(I)		\
	STATE(S)		\
	STATE(M)		\
	STATE(IS)		\
	STATE(IM)		\
	STATE(SM)		\
	STATE(IS_INV)		\
	STATE(IM_FWD)		\
	STATE(SM_FWD)		\
	STATE(S_REVOKE)		\
	STATE(SM_REVOKE)	\
	STATE(M_REVOKE)		\
	STATE(S_EVICT)		\
	STATE(M_EVICT)		\
	STATE(S_WB)		\
	STATE(I_WB)		\
	STATE(SI)		\
	STATE(MI)		\
	STATE(DROP)

#define CACHE_EVENT_LIST(EVENT)	\
	EVENT(LOAD)		\
	EVENT(STORE)		\
	EVENT(EVICT)		\
	EVENT(INV)		\
	EVENT(FWD_S)		\
	EVENT(FWD_M)		\
	EVENT(RECALL)		\
	EVENT(DATA_S)		\
	EVENT(DATA_M)		\
	EVENT(GRANT_M)		\
	EVENT(NACK)		\
	EVENT(WB_ACK)		\
	EVENT(PUT_ACK)		\
	EVENT(GUARDS_CLEAR)	\
	EVENT(LOSE)

/* Home-side states of an entry: docs/coherence.md, "Home". */
#define HOME_STATE_LIST(STATE)	\
	STATE(U)		\
	STATE(S)		\
	STATE(M)		\
	STATE(L)		\
	STATE(S_INV)		\
	STATE(L_INV)		\
	STATE(M_FWD_S)		\
	STATE(M_FWD_M)		\
	STATE(M_RECALL)		\
	STATE(S_UNB)		\
	STATE(M_UNB)

#define HOME_EVENT_LIST(EVENT)	\
	EVENT(GET_S)		\
	EVENT(GET_M)		\
	EVENT(AMO)		\
	EVENT(SETTLE)		\
	EVENT(PUT_S)		\
	EVENT(PUT_M)		\
	EVENT(INV_ACK)		\
	EVENT(WB)		\
	EVENT(WB_NONE)		\
	EVENT(UNBLOCK)		\
	EVENT(PERSIST)		\
	EVENT(FENCED)

#define AS_CACHE_STATE(name) CACHE_##name,
#define AS_CACHE_EVENT(name) CE_##name,
#define AS_HOME_STATE(name) HOME_##name,
#define AS_HOME_EVENT(name) HE_##name,
enum cache_state { CACHE_STATE_LIST(AS_CACHE_STATE) CACHE_STATE_COUNT };
enum cache_event { CACHE_EVENT_LIST(AS_CACHE_EVENT) CACHE_EVENT_COUNT };
enum home_state { HOME_STATE_LIST(AS_HOME_STATE) HOME_STATE_COUNT };
enum home_event { HOME_EVENT_LIST(AS_HOME_EVENT) HOME_EVENT_COUNT };

/* Where a step goes: as the cell says, its other way, or nowhere. */
enum coherence_way {
	WAY_NEXT,
	WAY_ALT,
	WAY_STAY,
};

#define PAGE_ZERO 0x01u		/* the home frame is reserved, its contents count as zero */
#define PAGE_READABLE 0x02u	/* M_REVOKE: the word says read already */
#define PAGE_DIRTY 0x04u	/* home memory has what was not handed over to be persisted */
#define PAGE_PERSISTED 0x08u	/* no home frame yet: its first contents are in the pool */

struct coherence_page {
	uint32_t frame;		/* 1 + frame */
	uint32_t request;	/* 1 + request: waiters, or a GET or PUT outstanding */
	uint32_t answered;	/* last sequence of the home that was answered, low bits */
	uint8_t state;		/* enum cache_state */
	uint8_t flags;		/* PAGE_* */
	uint16_t resets;	/* of the home, when answered was stored */
};
static_assert(sizeof(struct coherence_page) == 16, "16 bytes a page");

enum coherence_frame_state {
	FRAME_FREE,
	FRAME_HELD,
	FRAME_QUARANTINED,
};

struct coherence_frame {
	uint32_t region;	/* HELD: index of the region */
	uint32_t page;		/* HELD: page index */
	uint32_t next;		/* FREE: next free frame */
	uint8_t state;		/* enum coherence_frame_state */
	uint8_t pending;	/* enum tp_coherence_msg_type to answer: INV, FWD_S, FWD_M, RECALL; 0 none */
	bool leaves;		/* goes to quarantine when the page lets go of it */
	uint8_t reserved;
	uint16_t requester;	/* of the pending FWD */
	uint16_t requester_worker;
	uint32_t txn;
	uint64_t sequence;	/* of the pending INV or FWD; stays for a repeated WB */
	uint64_t granted;	/* sequence of the grant of the copy */
	uint64_t unblock;	/* sequence of the UNBLOCK that may have to be repeated; 0 none */
	rte_le64_t base;	/* of the pending FWD: what the requester holds still */
	rte_le64_t home_base;	/* and what home memory is */
};
static_assert(sizeof(struct coherence_frame) == 64, "a line");

struct coherence_region {
	const struct tp_region *region;
	struct coherence_page *pages;
	uint32_t id;
	uint32_t index;
	uint32_t directory_slot;
	uint32_t frames_held;
	uint32_t requests_held;
	uint32_t busy_held;
	uint32_t cursor;	/* of the removal */
	uint8_t stage;		/* of the removal */
	bool home_lost;
	bool durable;
	bool removing;
};

#define REQUEST_READY 0x01u	/* on the ready list */
#define REQUEST_NO_SLOT 0x02u	/* on the list of those that wait for a cache slot */
#define REQUEST_LATER 0x04u	/* refused for now: send afresh when the timer fires */
#define REQUEST_EVICT 0x08u	/* the page is on its way out */

struct coherence_request {
	uint32_t region;	/* index */
	uint32_t page;
	uint32_t txn;
	uint32_t waiter_first;	/* 1 + waiter */
	uint32_t waiter_last;
	uint32_t next;		/* free list or ready list, 1 + request */
	uint32_t slot_next;	/* slot list, 1 + request */
	uint32_t ups;		/* of the home when it was sent */
	uint32_t downs;
	uint16_t home;
	uint8_t sent;		/* message outstanding, 0: none */
	uint8_t flags;		/* REQUEST_* */
	bool used;
	uint8_t backoff;
	struct tp_coherence_atomic atomic;	/* sent == TP_MSG_AMO, TP_MSG_SETTLE: its id */
};

struct coherence_waiter {
	uint64_t cookie;
	uint64_t deadline;
	uint32_t next;		/* 1 + waiter */
	uint32_t previous;
	uint32_t request;	/* index */
	uint8_t want;		/* enum tp_coherence_want */
	bool used;
};

struct coherence_deferred {
	struct tp_coherence_msg msg;
	uint64_t token;
	uint64_t since;		/* when it came */
	uint32_t next;		/* 1 + deferred */
	uint32_t ups;		/* of the sender when it came */
	uint16_t from;
	uint16_t from_worker;
};

struct coherence_busy {
	struct tp_coherence_msg msg;	/* the request that is being done */
	uint64_t token;
	uint64_t since;		/* when it came */
	uint32_t region;	/* index */
	uint32_t page;
	uint32_t next;		/* free list or ready list, 1 + busy */
	uint32_t deferred_first;	/* 1 + deferred */
	uint32_t deferred_last;
	uint32_t pending_count;	/* INV not acknowledged */
	uint32_t inv_next;	/* node from which on INV are still to be sent */
	uint16_t requester;
	uint16_t requester_worker;
	uint16_t old_owner;	/* whose WB is awaited */
	bool used;
	bool ready;		/* on the ready list */
	bool active;		/* a transaction is on; else it only holds the deferred */
	bool upgrade;		/* the requester keeps its copy: GRANT_M */
	bool maybe;		/* the sharer set was coarse */
	bool unblocked;		/* the requester has the data */
	bool resupply;		/* it asked again: send the data when the WB is here */
	bool cancelled;		/* the requester was fenced */
	bool lost;		/* ... and may have been the owner */
};

#define ENTRY_SEEN 0x01u	/* the entry's first state was decided */
#define ENTRY_REVIVE 0x02u	/* L: owner may have got the page before its sender died */
#define ENTRY_DAMAGED 0x04u	/* L: it is what the pool has of the page that is lost */

struct coherence_peer {
	uint32_t ups;		/* sessions made or lost so far */
	uint32_t downs;		/* sessions lost: what was sent before does not arrive any more */
	uint16_t worker_count;	/* 0: not known */
	uint16_t resets;	/* its home side started anew, low bits */
	bool up;
	bool fenced;		/* has no copy and gets none before it is up again */
	bool fencing;		/* the walk that takes its copies off the books is on */
	bool up_after;		/* came up during that walk */
	bool fence_asked;
	bool muted;		/* this node was fenced: what comes of the old session is dropped */
};

enum coherence_job_kind {
	JOB_DOWN,
	JOB_UP,
	JOB_FENCED,
	JOB_HOME_RESET,
	JOB_SELF_FENCED,
};

struct coherence_job {
	uint8_t kind;		/* enum coherence_job_kind */
	uint8_t stage;
	uint16_t node;
	uint32_t region;
	uint32_t cursor;
};

/* Deadlines of waiters and repeats of requests: a binary heap of ids. */
struct coherence_heap {
	uint64_t *key;		/* shape [id] */
	uint32_t *place;	/* shape [id], 1 + position, 0: not in it */
	uint32_t *ids;		/* shape [position] */
	uint32_t count;
};

/* Which atomic; sequence 0: none. */
struct coherence_id {
	uint64_t origin;	/* as in struct tp_coherence_atomic */
	uint64_t sequence;
};

/* An atomic that must not be run when it comes. */
struct coherence_fence {
	struct coherence_id id;
	uint64_t since;
	uint32_t downs_end;	/* of the peer: the sessions it is for are over then */
	uint32_t next;		/* in its bucket, or on the free list: 1 + fence */
	uint32_t older;		/* 1 + fence */
	uint32_t younger;
	uint16_t node;		/* that sent the atomic */
	uint16_t asker_node;	/* whose program has asked first, and which */
	uint8_t asker;
};

/* All of them; indexes are 1 + fence, 0 none. */
struct coherence_fences {
	struct coherence_fence *items;	/* shape [total] */
	uint32_t *buckets;		/* shape [bucket_mask + 1], the first of each */
	uint16_t *by_asker;		/* shape [node_id_max + 1][TP_SETTLE_ASKERS], in use */
	uint16_t *common_by_node;	/* shape [node_id_max + 1] */
	uint32_t bucket_mask;
	uint32_t total;
	uint32_t count;			/* in use */
	uint32_t common;		/* of these, beyond the one that each asker may have */
	uint32_t used_max;		/* never used from here on */
	uint32_t free;
	uint32_t oldest;
	uint32_t youngest;
};

struct coherence_fifo {
	uint32_t first;		/* 1 + index */
	uint32_t last;
};

struct tp_coherence {
	struct tp_coherence_config config;
	struct tp_coherence_stats stats;
	struct tp_outbox *out;		/* during a call */
	uint64_t now;			/* during a call */

	struct coherence_region *regions;	/* shape [region_count_max] */
	uint32_t *region_hash;			/* 1 + index */
	uint32_t region_count;			/* ever used */

	struct coherence_frame *frames;	/* home slots, then cache slots */
	uint32_t frame_count;
	uint32_t drain_cursor;		/* cache slot to be looked at next */
	bool draining;
	bool drained;
	bool drain_found;		/* in this round */
	uint64_t drain_at;		/* when the next round may begin */
	uint32_t home_free;		/* 1 + frame */
	uint32_t cache_free;
	uint32_t cache_free_count;
	uint32_t home_used;
	uint32_t quarantined;
	uint32_t evicting;		/* pages on their way out for room */
	uint32_t clock_hand;
	uint32_t slot_low;

	struct coherence_request *requests;
	uint32_t request_total;
	uint32_t request_free;		/* 1 + request */
	uint32_t request_used;
	uint32_t txn_bits;		/* of the index in a transaction id */
	struct coherence_fifo request_ready;
	struct coherence_fifo slot_wait;

	struct coherence_waiter *waiters;
	uint32_t waiter_free;
	uint32_t waiter_used;

	struct coherence_busy *busy;
	uint64_t *pending;		/* shape [busy][pending_words] */
	uint32_t pending_words;
	uint32_t busy_free;
	uint32_t busy_used;
	struct coherence_fifo busy_ready;

	struct coherence_deferred *deferred;
	uint32_t deferred_free;
	uint32_t deferred_used;

	uint32_t persists;		/* PERSIST that have not ended */
	uint32_t sweep_cursor;		/* home slot to be looked at next */
	bool sweeping;			/* for what is to be persisted */

	struct coherence_kept_set *kept;	/* shape [kept_mask + 1] */
	uint32_t kept_mask;
	struct coherence_fences fences;
	uint64_t born_ns;		/* nothing was run here before */
	uint64_t turn_ns;		/* of the last turn */
	uint64_t gap_end_ns;		/* when the last turn began that came late */
	uint64_t awake_ns;		/* time so far, of which such gaps count hardly */
	uint32_t settling;		/* own SETTLE outstanding */

	struct coherence_heap heap;
	struct coherence_peer *peers;	/* shape [node_id_max + 1] */

	struct coherence_job *jobs;	/* ring */
	uint32_t job_capacity;
	uint32_t job_first;
	uint32_t job_count;

	uint64_t cache_cells[CACHE_STATE_COUNT];	/* bit: event met in that state */
	uint64_t home_cells[HOME_STATE_COUNT];
#ifdef TP_MUTANTS
	enum tp_coherence_mutant mutant;
#endif
};

/* What a step is about. */
struct coherence_event {
	struct tp_coherence *c;
	struct coherence_region *region;
	struct coherence_page *page;
	struct tp_directory_entry *entry;	/* home side only */
	const struct tp_coherence_msg *msg;	/* NULL: not a message */
	uint64_t token;
	uint64_t since;				/* when the message came */
	uint32_t index;				/* page index */
	uint16_t home;
	uint16_t from;
	uint16_t from_worker;
	bool has_payload;			/* COPY_IN is possible */
	bool has_token;
	bool unreadable;			/* a page belongs to it that could not be read */
	uint8_t reason;				/* LOSE: enum tp_reason */
};

#ifdef TP_MUTANTS
#define coherence_mutant(c, which) ((c)->mutant == (which))
#else
#define coherence_mutant(c, which) ((void)(c), false)
#endif

TP_LOG_DECLARE(coherence);
#define TP_COHERENCE_LOG(level, ...) TP_LOG(coherence, level, __VA_ARGS__)

/* engine.c */
struct coherence_region *coherence_region_find(const struct tp_coherence *c, uint32_t id);
struct tp_action *coherence_action(struct tp_coherence *c, enum tp_action_type type);
void coherence_action_page(struct coherence_event *ev, enum tp_action_type type,
	enum tp_access access);
bool coherence_room(const struct tp_coherence *c);
void coherence_token_done(struct coherence_event *ev);

/* page.c */
bool coherence_page_is_owned(const struct tp_coherence *c, const struct coherence_region *region,
	uint32_t page_index);
void coherence_event_init(struct coherence_event *ev, struct tp_coherence *c,
	struct coherence_region *region, uint32_t page_index);
uint32_t coherence_slot(const struct tp_coherence *c, uint32_t frame);
uint32_t coherence_page_slot(const struct coherence_event *ev);
struct coherence_frame *coherence_frame(const struct coherence_event *ev);
void coherence_slot_hint(const struct coherence_event *ev, uint32_t offset, uint32_t bytes,
	bool later);
bool coherence_page_is_home(const struct coherence_event *ev);
bool coherence_frame_take(struct coherence_event *ev);
void coherence_frame_release(struct coherence_event *ev);
void coherence_frame_drop(struct coherence_event *ev);
void coherence_home_frame_zero(struct coherence_event *ev);
uint16_t coherence_worker_of(const struct coherence_event *ev, uint16_t node);
void coherence_page_assert_state(const struct coherence_event *ev);

/* message.c */
void coherence_msg_init(const struct coherence_event *ev, struct tp_coherence_msg *msg,
	enum tp_coherence_msg_type type, uint64_t sequence, uint32_t txn);
void coherence_send(struct coherence_event *ev, uint16_t node, uint16_t worker,
	const struct tp_coherence_msg *msg, bool payload);

/* timer.c */
void coherence_heap_set(struct coherence_heap *heap, uint32_t id, uint64_t key);
void coherence_heap_clear(struct coherence_heap *heap, uint32_t id);

/* request.c */
struct coherence_request *coherence_request_get(struct coherence_event *ev, bool evict);
struct coherence_request *coherence_request_of(const struct coherence_event *ev);
void coherence_request_send(struct coherence_event *ev, struct coherence_request *request,
	enum tp_coherence_msg_type type, uint8_t flags);
void coherence_request_done(struct coherence_event *ev, struct coherence_request *request);
void coherence_request_later(struct coherence_event *ev, struct coherence_request *request);
void coherence_request_ready(struct tp_coherence *c, struct coherence_request *request);
void coherence_request_settle(struct tp_coherence *c, struct coherence_request *request);
void coherence_request_complete(struct coherence_event *ev, unsigned int state,
	uint32_t count_max);
bool coherence_request_fail(struct tp_coherence *c, struct coherence_request *request,
	uint8_t reason);
void coherence_request_no_slot(struct tp_coherence *c, struct coherence_request *request);
void coherence_request_slot_freed(struct tp_coherence *c);
uint32_t coherence_request_poll(struct tp_coherence *c);
struct coherence_request *coherence_request_alloc(struct tp_coherence *c,
	const struct coherence_event *ev, bool evict);
void coherence_request_free(struct tp_coherence *c, struct coherence_request *request);
bool coherence_request_void(struct tp_coherence *c, struct coherence_request *request,
	uint8_t reason);

/* atomic.c */
uint8_t coherence_atomic_request(struct coherence_event *ev,
	const struct tp_coherence_atomic *atomic, const struct tp_coherence_client *client);
uint8_t coherence_atomic_settle(struct coherence_event *ev,
	const struct tp_coherence_atomic *atomic, const struct tp_coherence_client *client);
void coherence_atomic_emit(struct tp_coherence *c, const struct coherence_request *request,
	struct tp_coherence_msg *msg);
void coherence_atomic_told(struct coherence_event *ev, struct coherence_request *request);
void coherence_atomic_wait_short(struct tp_coherence *c, struct coherence_request *request);
void coherence_atomic_back(struct coherence_event *ev, struct coherence_request *request);

/* waiter.c */
bool coherence_waiter_add(struct tp_coherence *c, struct coherence_request *request,
	const struct tp_coherence_client *client, enum tp_coherence_want want);
void coherence_waiter_remove(struct tp_coherence *c, uint32_t index);
void coherence_waiter_complete(struct coherence_event *ev, uint64_t cookie,
	enum tp_coherence_want want);
void coherence_waiter_void(struct tp_coherence *c, uint64_t cookie, struct tp_result result);
uint32_t coherence_waiter_poll(struct tp_coherence *c);

/* cache.c */
void coherence_cache_step(struct coherence_event *ev, enum cache_event event);
void coherence_cache_message(struct coherence_event *ev);
void coherence_cache_unreadable(struct coherence_event *ev);
void coherence_cache_repeat(struct coherence_event *ev);
bool coherence_cache_is_stable(unsigned int state);
struct coherence_cache_rule;

/* home.c */
void coherence_home_step(struct coherence_event *ev, enum home_event event);
void coherence_home_message(struct coherence_event *ev);
void coherence_home_unreadable(struct coherence_event *ev);
bool coherence_home_entry(struct coherence_event *ev);
bool coherence_home_is_stable(unsigned int state);
void coherence_home_nack(struct coherence_event *ev, uint16_t node, uint16_t worker, uint32_t txn,
	enum tp_reason reason, uint8_t flags);
void coherence_home_forward(struct coherence_event *ev);

/* home_atomic.c */
void coherence_home_run_atomic(struct coherence_event *ev, const struct tp_coherence_msg *amo,
	uint16_t node, uint16_t worker, uint64_t since);

/* persist.c */
uint8_t coherence_persist_request(struct coherence_event *ev,
	const struct tp_coherence_client *client);
void coherence_persist_seen(struct coherence_event *ev);
void coherence_persist_written_back(struct coherence_event *ev);
uint32_t coherence_persist_poll(struct tp_coherence *c);

/* busy.c */
struct coherence_busy *coherence_busy_of(const struct coherence_event *ev);
struct coherence_busy *coherence_busy_start(struct coherence_event *ev);
void coherence_busy_over(struct coherence_event *ev);
bool coherence_busy_has(const struct coherence_event *ev);
void coherence_fence_ask(struct tp_coherence *c, uint16_t node);
bool coherence_busy_has_atomic(const struct coherence_event *ev, const struct coherence_id *id);
bool coherence_defer(struct coherence_event *ev);
bool coherence_pending_test(const struct coherence_event *ev, uint16_t node);
bool coherence_pending_clear(struct coherence_event *ev, uint16_t node);
uint32_t coherence_pending_fill(struct coherence_event *ev, uint16_t but);
void coherence_pending_send(struct coherence_event *ev);
void coherence_busy_resend(struct coherence_event *ev, uint16_t node);
void coherence_busy_waits(struct coherence_event *ev, uint16_t node);
uint32_t coherence_busy_poll(struct tp_coherence *c);
bool coherence_busy_free(struct coherence_event *ev);

/* kept.c */
bool coherence_kept_init(struct tp_coherence *c);
void coherence_kept_fini(struct tp_coherence *c);
void coherence_kept_prefetch(const struct tp_coherence *c, const struct coherence_id *id);
uint64_t *coherence_kept_find(const struct tp_coherence *c, const struct coherence_id *id);
uint64_t *coherence_kept_add(struct tp_coherence *c, const struct coherence_id *id);
uint64_t coherence_kept_span(const struct tp_coherence *c, const struct coherence_region *region,
	const struct coherence_id *id, uint8_t *limit);
void coherence_kept_turn(struct tp_coherence *c);

/* kept_fence.c */
bool coherence_fences_init(struct tp_coherence *c);
void coherence_fences_fini(struct tp_coherence *c);
void coherence_fences_sessions_over(struct tp_coherence *c);
bool coherence_fence_add(struct coherence_event *ev, uint16_t node, uint32_t sessions,
	const struct coherence_id *id);
bool coherence_fence_take(struct coherence_event *ev, const struct coherence_id *id);

/* evict.c */
void coherence_evict_start(struct tp_coherence *c);
uint32_t coherence_evict_poll(struct tp_coherence *c);
uint64_t coherence_drain_next(const struct tp_coherence *c);

/* member.c */
uint32_t coherence_job_poll(struct tp_coherence *c);

/* The atomic that an AMO is, or that a SETTLE asks after. */
static inline struct coherence_id
coherence_msg_id(const struct tp_coherence_msg *msg)
{
	uint64_t node = msg->type == TP_MSG_SETTLE ? rte_le_to_cpu_64(msg->compare) :
		rte_le_to_cpu_16(msg->requester);

	return (struct coherence_id){
		.origin = node << 48 | rte_le_to_cpu_64(msg->identity) >> 16,
		.sequence = rte_le_to_cpu_64(msg->sequence),
	};
}

/* Its upper half is used: node and thread, in the highest bits, must get there from above. */
static inline uint64_t
coherence_id_hash(const struct coherence_id *id)
{
	uint64_t hash = id->origin ^ id->sequence * UINT64_C(0x9E3779B97F4A7C15);

	return (hash ^ hash >> 32) * UINT64_C(0xBF58476D1CE4E5B9);
}

/* An atomic or its settlement: what became of it may stay unknown. */
static inline bool
coherence_request_is_atomic(const struct coherence_request *request)
{
	return request->sent == TP_MSG_AMO || request->sent == TP_MSG_SETTLE;
}

/* It belongs to no state of its page; several may be outstanding for one. */
static inline bool
coherence_request_is_loose(const struct coherence_request *request)
{
	return coherence_request_is_atomic(request) || request->sent == TP_MSG_PERSIST;
}

/* Index of a 1 + index link. */
static inline uint32_t
coherence_link(uint32_t link)
{
	RTE_ASSERT(link != 0);
	return link - 1;
}

/* a is not after b, in the low bits of the home's sequence. */
static inline bool
coherence_sequence_not_after(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) <= 0;
}

#endif /* COHERENCE_PRIV_H */
