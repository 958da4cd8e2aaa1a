/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Sequential consistency by directory write-invalidate: docs/coherence.md.
 *
 * One struct tp_coherence per worker lcore holds both sides of the protocol for
 * the shards of that worker: the home side (directory entries) and the cache
 * side (this node's copies). It decides and does nothing else: an event and
 * `now` go in, actions come out in an outbox, and the caller (lib/node) carries
 * them out in order before the next event goes in. It reads no clock, sends
 * nothing, and never touches a page's contents.
 *
 * All calls: owner lcore.
 */
#ifndef TP_COHERENCE_H
#define TP_COHERENCE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tp_coherence_wire.h"
#include "tp_directory.h"
#include "tp_result.h"
#include "tp_types.h"

#ifdef __cplusplus
extern "C" {
#endif

struct tp_coherence;
struct tp_region;

#define TP_SLOT_ABSENT UINT32_MAX
#define TP_ACTIONS_PER_EVENT 32		/* most actions one event emits; more work waits for tp_coherence_poll() */

/* What persistent memory has of a page homed here. */
enum tp_persisted {
	TP_PERSISTED_NEVER,	/* nothing: it reads zero */
	TP_PERSISTED_PAGE,
	TP_PERSISTED_DAMAGED,	/* it was persisted, and that cannot be read */
};

struct tp_coherence_config {
	uint16_t node_id;
	uint16_t worker;		/* this worker, below worker_count */
	uint16_t worker_count;
	uint16_t node_id_max;		/* highest node id of the cluster */
	uint32_t epoch;			/* this node's epoch: seeds transaction ids */
	uint32_t home_slot_first;	/* this worker's home memory: slots [first, first + count) */
	uint32_t home_slot_count;
	uint32_t cache_slot_first;	/* this worker's cache slots */
	uint32_t cache_slot_count;	/* at least 4 */
	uint32_t cache_slot_low;	/* evict in the background below this many free; 0: count / 16 */
	uint32_t request_count;		/* own outstanding transactions (cache side) */
	uint32_t waiter_count;		/* client requests waiting or outstanding */
	uint32_t busy_count;		/* home entries busy at once */
	uint32_t deferred_count;	/* messages deferred at home at once */
	uint32_t kept_count;		/* results of atomics kept at home; 0: 1024 */
	uint64_t retry_ns;		/* first repeat of an unanswered request; 0: 20 ms */
	uint64_t fence_ns;		/* no message is on its way in a session for so long; 0: 10 s */
	struct tp_directory *directory;	/* shared by the node's workers */
	struct tp_directory_worker *directory_worker;
	/*
	 * Whether the copy of a page was used since it was last asked, and forget
	 * it (the reference bit of the frame word). NULL: eviction is FIFO.
	 */
	bool (*referenced)(void *ctx, uint32_t region_id, uint32_t page_index);
	void *referenced_ctx;
	/*
	 * A hint, may be NULL: these bytes of the slot are about to be used (an
	 * answer is made of them), or will be written later (a page was asked
	 * for). bytes 0: all of it. For prefetches.
	 */
	void (*slot_hint)(void *ctx, uint32_t slot, uint32_t offset, uint32_t bytes, bool later);
	void *slot_hint_ctx;
	/*
	 * Of a page of a durable region homed here, when it is first asked for: what the
	 * node's pool has of it. May be NULL where there are none.
	 */
	enum tp_persisted (*persisted)(void *ctx, uint32_t region_id, uint32_t page_index);
	void *persisted_ctx;
	uint32_t persist_count;		/* PERSIST without its tp_coherence_persisted() yet, at most */
};

/* A client request, as the node hands it in: what to complete, opaque here. */
struct tp_coherence_client {
	uint64_t cookie;		/* returned in the COMPLETE action */
	uint64_t deadline;		/* ns */
};

enum tp_coherence_want {
	TP_WANT_READ,		/* COMPLETE grants a guard on a readable copy */
	TP_WANT_WRITE,		/* ... on the only copy */
	TP_WANT_ATOMIC,		/* executed at the home, or a guard on the only copy if it is here */
	TP_WANT_FLUSH,		/* give a modified copy back to the home */
	TP_WANT_INVALIDATE,	/* drop the local copy, a modified one is given back */
	TP_WANT_SETTLE,		/* was that atomic run at the home? If not it never will be */
	TP_WANT_PERSIST,	/* of a durable region: what was written before lasts on completion */
};

/*
 * An atomic, and which one it is: no other ever has the same origin and
 * sequence. Sequence 0: it has no id, and cannot be settled.
 */
struct tp_coherence_atomic {
	uint8_t op;		/* enum tp_atomic_op */
	uint8_t width;		/* 4 or 8 */
	uint32_t offset;	/* in the page, bytes, aligned to width */
	uint64_t operand;
	uint64_t compare;
	uint64_t origin;	/* node << 48 | incarnation of the client there, 48 bits */
	uint64_t sequence;	/* thread << 56 | count of its atomics */
	uint8_t asker;		/* TP_WANT_SETTLE: the program that asks, below TP_SETTLE_ASKERS */
};

/* What the caller is to do. */
enum tp_action_type {
	TP_ACTION_SEND,		/* msg to node/worker, payload = contents of slot unless TP_SLOT_ABSENT;
				 * operand := *kept unless that is NULL */
	TP_ACTION_COPY_IN,	/* payload of the message being handled -> slot */
	TP_ACTION_ZERO,		/* zero slot */
	TP_ACTION_COPY_SLOT,	/* from_slot -> slot (broken guard: from_slot is quarantined) */
	TP_ACTION_PUBLISH,	/* frame word of page := slot, access (READ or WRITE) */
	TP_ACTION_REVOKE,	/* frame word := access (NONE or READ), full fence, then GUARDS_CLEAR once no
				 * guard names the page (access READ: only guards that may write count) */
	TP_ACTION_COMPLETE,	/* answer a client: result, access + slot granted if access != NONE, value if executed */
	TP_ACTION_ATOMIC,	/* run msg's atomic on slot, then reply msg (AMO_RESULT, operand := old value)
				 * to node/worker; to this node itself: through tp_coherence_message() as any message.
				 * The old value is stored in *kept as well, unless that is NULL */
	TP_ACTION_FENCE,	/* ask the control plane to fence node (its lease must lapse) */
	TP_ACTION_REQUEST_DONE,	/* give the fabric credit of token back */
	TP_ACTION_LOAD,		/* what the pool has of the page -> slot */
	TP_ACTION_PERSIST,	/* copy the contents of slot now, unless TP_SLOT_ABSENT, and persist them
				 * after all that was to be persisted before; then, unless its type is 0,
				 * send msg to node/worker (as for ATOMIC), or if that or anything before
				 * could not be persisted a NACK made of it; then tp_coherence_persisted() */
	TP_ACTION_TYPE_COUNT
};

struct tp_action {
	uint8_t type;			/* enum tp_action_type */
	uint8_t access;			/* enum tp_access */
	bool executed;			/* COMPLETE of an atomic run at the home: value is the old value */
	uint8_t limit;			/* COMPLETE of a settlement, not executed: enum tp_reason for value */
	uint16_t node;
	uint16_t worker;
	uint32_t slot;
	uint32_t from_slot;
	uint32_t region_id;
	uint32_t page_index;
	struct tp_result result;
	uint64_t cookie;		/* COMPLETE */
	uint64_t value;			/* COMPLETE */
	uint64_t token;			/* REQUEST_DONE */
	uint64_t *kept;			/* ATOMIC, SEND: valid until the next event */
	struct tp_coherence_msg msg;	/* SEND, ATOMIC */
};

struct tp_outbox {
	struct tp_action *actions;	/* shape [capacity] */
	uint32_t capacity;		/* at least TP_ACTIONS_PER_EVENT */
	uint32_t count;
};

/**
 * Create the coherence engine of one worker. Allocates everything it will use
 * except the per-region page tables.
 *
 * @return The engine, or NULL with rte_errno: EINVAL (configuration), ENOMEM.
 * @threads Any; afterwards the owner lcore alone.
 * @cost    Allocates.
 */
struct tp_coherence *tp_coherence_create(const struct tp_coherence_config *config);

/** Free the engine. NULL is ignored. @threads Owner lcore, or any once it stopped. */
void tp_coherence_destroy(struct tp_coherence *coherence);

/**
 * Make a region known. The node's directory has it already when this node is
 * home of pages of it (directory_slot from tp_directory_region_add()).
 *
 * @param region         Borrowed until tp_coherence_region_remove().
 * @param directory_slot Slot of the region in the node's directory, or UINT32_MAX.
 * @param home_lost      The region is older than this node process: what it was
 *                       home of is gone, and reads VOID (state L); of a durable one it
 *                       is what was persisted.
 * @return 0, -EEXIST, -ENOMEM; -ENODEV: durable, and home of pages without a pool.
 * @cost   Reserves address space; allocates.
 */
int tp_coherence_region_add(struct tp_coherence *coherence, const struct tp_region *region,
			    uint32_t directory_slot, bool home_lost);

/**
 * Forget a region (destroyed, or replaced by a new generation): waiters get
 * VOID(generation), words are revoked, slots freed when their guards are clear.
 * Work that does not fit in the outbox goes on in tp_coherence_poll();
 * @return true once nothing of the region is left (call again until then).
 */
bool tp_coherence_region_remove(struct tp_coherence *coherence, uint32_t region_id, uint64_t now,
				struct tp_outbox *outbox);

/**
 * Event: a client request for one page of this worker's shards. Invalid ones
 * are completed at once with VOID (generation, invalid, exhausted).
 *
 * TP_WANT_SETTLE is completed with OK once the fate of the atomic is known:
 * executed, and value the old value; or not executed, value then being the
 * nanoseconds back from the home's answer within which it would know (UINT64_MAX:
 * however long ago). One that is older may have been run after all, since limit
 * happened: only who submitted it can say. It is asked about only after its deadline,
 * if by another node or client than the one that submitted it.
 * Completed with VOID its fate stays unknown, for the reason given.
 *
 * @param atomic  Only for TP_WANT_ATOMIC and TP_WANT_SETTLE (its id), else NULL.
 */
void tp_coherence_request(struct tp_coherence *coherence, uint32_t region_id, uint32_t page_index,
			  uint64_t generation, enum tp_coherence_want want,
			  const struct tp_coherence_atomic *atomic,
			  const struct tp_coherence_client *client, uint64_t now,
			  struct tp_outbox *outbox);

/**
 * Event: a page will be wanted, though nobody waits for it yet. Asked for if it
 * is not here, nothing else is under way for it, and there is room; else, and of
 * a page that is not this worker's, nothing happens.
 *
 * @param want  TP_WANT_READ or TP_WANT_WRITE.
 * @return Whether the page was asked for.
 */
bool tp_coherence_fetch(struct tp_coherence *coherence, uint32_t region_id, uint32_t page_index,
			uint64_t generation, enum tp_coherence_want want, uint64_t now,
			struct tp_outbox *outbox);

/*
 * Messages that ask for pages, on their way to be one message. Zeroed it is
 * empty, and whoever has sent it empties it by setting count to 0.
 */
struct tp_coherence_batch {
	struct tp_coherence_msg msg;	/* that of the first page */
	uint16_t node;			/* to whom */
	uint16_t worker;
	uint32_t count;			/* pages: 1 and count - 1 items */
	struct tp_coherence_item items[TP_BATCH_PAGES - 1];
};

/**
 * Put a SEND into the batch instead of carrying it out.
 *
 * @return false: it is none that may go with others, or not with those that are
 *         there: send the batch, then try again or send it alone.
 * @threads Owner of batch. @cost A few stores.
 */
bool tp_coherence_batch_add(struct tp_coherence_batch *batch, const struct tp_action *action);

/**
 * How many pages a message asks for that came with so many bytes after it.
 *
 * @return 1 to TP_BATCH_PAGES; 0: it is malformed, or none that may have a list.
 * @threads Any.
 */
uint32_t tp_coherence_batch_count(const struct tp_coherence_msg *msg, uint32_t list_bytes);

/**
 * One page's message out of a batch: as if it had come alone, and as unchecked.
 *
 * @param items  Shape [count - 1] as it came, not aligned.
 * @param index  0 to tp_coherence_batch_count() - 1.
 * @threads Owner lcore.
 */
void tp_coherence_batch_get(const struct tp_coherence *coherence,
			    const struct tp_coherence_msg *msg, const void *items, uint32_t index,
			    struct tp_coherence_msg *out);

/**
 * Begin to give modified copies of other nodes' pages back to their homes, for
 * good: tp_coherence_poll() goes on with it, and nothing else starts afterwards if no
 * request of a client comes any more.
 */
void tp_coherence_drain(struct tp_coherence *coherence);

/** No modified copy is left whose home is up, and all that is to be persisted is. */
bool tp_coherence_is_drained(const struct tp_coherence *coherence);

/**
 * A request for this page comes next, perhaps: ask for the memory that deciding
 * on it takes. Any numbers may be given.
 *
 * @cost Nothing waits for memory here but the lookup of the region.
 */
void tp_coherence_request_hint(const struct tp_coherence *coherence, uint32_t region_id,
			       uint32_t page_index);

/**
 * The same for a message, of which nothing has been checked yet; asks for the
 * memory of the page, too.
 */
void tp_coherence_message_hint(struct tp_coherence *coherence,
			       const struct tp_coherence_msg *msg);

/**
 * A message of a batch comes soon whose home is here: ask for the page itself.
 * Any numbers may be given.
 */
void tp_coherence_page_hint(struct tp_coherence *coherence, uint32_t region_id,
			    uint32_t page_index);

/**
 * Event: a message. It may be anything: malformed ones, those from nodes that
 * may not send them, and impossible ones are counted and dropped.
 *
 * @param from           Node and worker that sent it (checked by the fabric).
 * @param payload_bytes  Bytes after the header: 0 or the page size.
 * @param token          Fabric credit of a request, handed back by REQUEST_DONE.
 */
void tp_coherence_message(struct tp_coherence *coherence, uint16_t from_node, uint16_t from_worker,
			  const struct tp_coherence_msg *msg, uint32_t payload_bytes,
			  uint64_t token, uint64_t now, struct tp_outbox *outbox);

/**
 * Event: a message with a page that cannot be read here, a change of contents that this
 * node does not hold (docs/protocol.md section 7.3). It counts as lost, but for sure and
 * alone: the page is asked for again, or asked to be sent again.
 *
 * @param msg  DATA_S, DATA_M, WB or PUT_M; anything else is counted as malformed.
 * Others as for tp_coherence_message().
 */
void tp_coherence_message_unreadable(struct tp_coherence *coherence, uint16_t from_node,
				     uint16_t from_worker, const struct tp_coherence_msg *msg,
				     uint64_t token, uint64_t now, struct tp_outbox *outbox);

/**
 * The slot that holds a page's contents here, as far as the engine needs them: its copy,
 * or home memory.
 *
 * @return TP_SLOT_ABSENT: none, or they count as zero. Any numbers may be given.
 * @threads Owner lcore. @cost Lookup of the region.
 */
uint32_t tp_coherence_page_slot(const struct tp_coherence *coherence, uint32_t region_id,
				uint32_t page_index);

/** Event: no guard names a page that was REVOKEd any more. */
void tp_coherence_guards_clear(struct tp_coherence *coherence, uint32_t region_id,
			       uint32_t page_index, uint64_t now, struct tp_outbox *outbox);

/**
 * Event: the guards of a REVOKEd page are overdue and broken. The engine moves
 * the contents (COPY_SLOT) and goes on; the old slot is the caller's until
 * tp_coherence_slot_return().
 *
 * @return The quarantined slot, or TP_SLOT_ABSENT: no free slot, ask again.
 */
uint32_t tp_coherence_guards_expired(struct tp_coherence *coherence, uint32_t region_id,
				     uint32_t page_index, uint64_t now, struct tp_outbox *outbox);

/** Event: what one PERSIST asked for has ended. */
void tp_coherence_persisted(struct tp_coherence *coherence);

/**
 * Event, in the turn of a PERSIST with contents: they are not handed over, so the page has
 * not been persisted. tp_coherence_persisted() comes as ever. Any numbers may be given.
 */
void tp_coherence_persist_refused(struct tp_coherence *coherence, uint32_t region_id,
				  uint32_t page_index);

/**
 * Begin to persist what home memory has and the pool has not yet, but for what others may
 * be writing to; tp_coherence_poll() goes on with it. Asked for again meanwhile it just goes
 * on. After tp_coherence_drain() it begins anew, and takes also what this node's own clients
 * may write to.
 */
void tp_coherence_persist_all(struct tp_coherence *coherence);

/** A quarantined slot is free again. */
void tp_coherence_slot_return(struct tp_coherence *coherence, uint32_t slot);

/** Event: drop waiters of a client that is gone; nothing is completed to it any more. */
void tp_coherence_client_gone(struct tp_coherence *coherence, uint64_t cookie_mask,
			      uint64_t cookie_value);

/* Events of membership; see docs/coherence.md for what each does. */
void tp_coherence_peer_down(struct tp_coherence *coherence, uint16_t node, uint64_t now,
			    struct tp_outbox *outbox);
void tp_coherence_peer_up(struct tp_coherence *coherence, uint16_t node, uint16_t worker_count,
			  uint64_t now, struct tp_outbox *outbox);
void tp_coherence_peer_fenced(struct tp_coherence *coherence, uint16_t node, uint64_t now,
			      struct tp_outbox *outbox);
void tp_coherence_home_reset(struct tp_coherence *coherence, uint16_t node, uint64_t now,
			     struct tp_outbox *outbox);
void tp_coherence_self_fenced(struct tp_coherence *coherence, uint64_t now,
			      struct tp_outbox *outbox);

/**
 * Work that waits: deferred and ready transactions, invalidations of a long
 * sharer list, waiters' deadlines, repeats, background eviction. Call each turn
 * and again while it returns non-zero.
 *
 * @return Work done.
 * @cost   Bounded by the outbox; nothing to do: a few loads.
 */
uint32_t tp_coherence_poll(struct tp_coherence *coherence, uint64_t now, struct tp_outbox *outbox);

/** When tp_coherence_poll() has something to do by time alone; UINT64_MAX: never. */
uint64_t tp_coherence_next_timer(const struct tp_coherence *coherence);

/* Counters, one list: enum, name and help. Owner lcore writes, any thread may read. */
#define TP_COHERENCE_STAT_LIST(STAT)								\
	STAT(misses,            "client requests that had to fetch")				\
	STAT(joined,            "client requests that joined an outstanding fetch")		\
	STAT(node_hits,         "client requests that found the page here")			\
	STAT(upgrades,          "GET_M sent with a copy held")					\
	STAT(forwards,          "requests forwarded to an owner")				\
	STAT(invalidations,     "INV sent")							\
	STAT(invalidations_extra, "INV sent to nodes a coarse vector could not rule out")	\
	STAT(recalls,           "RECALL sent")							\
	STAT(atomics_home,      "atomics run at this home")					\
	STAT(atomics_sent,      "atomics sent to another home")					\
	STAT(evictions,         "copies evicted for room")					\
	STAT(write_backs,       "modified copies given back (eviction, flush)")			\
	STAT(pages_in,          "pages received with payload")					\
	STAT(pages_out,         "pages sent with payload")					\
	STAT(deferred,          "requests deferred at a busy entry")				\
	STAT(repeats,           "requests sent again")						\
	STAT(resupplies,        "lost data given again")					\
	STAT(guards_broken,     "overdue guards broken")					\
	STAT(pages_lost,        "pages whose only copy died")					\
	STAT(voids,             "client requests answered VOID")				\
	STAT(bad_messages,      "malformed messages dropped")					\
	STAT(stale_messages,    "duplicate or stale messages dropped")				\
	STAT(protocol_errors,   "messages impossible in the state they met")		\
	STAT(atomics_refused,   "atomics not run: spent, or settled as not done")	\
	STAT(atomics_repeated,  "atomics answered from the results kept")		\
	STAT(settled,           "atomics whose fate was told")	\
	STAT(fetches,           "pages asked for before anybody waited for them")	\
	STAT(unreadable,        "pages that could not be read and were asked for again")	\
	STAT(returns,           "pages given back by nodes that leave")	\
	STAT(fences_refused,    "questions after atomics left open: who asks has asked too much") \
	STAT(persists,          "requests to persist a page homed here")	\
	STAT(pages_persisted,   "pages handed over to be persisted")		\
	STAT(pages_loaded,      "pages taken from the pool")			\
	STAT(pages_damaged,     "pages whose persisted contents cannot be read")

struct tp_coherence_stats {
#define TP_COHERENCE_STAT_AS_FIELD(name, help) uint64_t name;
	TP_COHERENCE_STAT_LIST(TP_COHERENCE_STAT_AS_FIELD)
#undef TP_COHERENCE_STAT_AS_FIELD
};

/** Counters since creation. @threads Any (each counter is one word). */
const struct tp_coherence_stats *tp_coherence_stats_get(const struct tp_coherence *coherence);

/** Print both state tables, as docs/coherence.md shows them. @threads Any. */
void tp_coherence_table_print(FILE *out);

/*
 * For invariant checks of the simulator and the tests: the state of one page on
 * this node, names as in docs/coherence.md; "" where there is no such side here.
 */
struct tp_coherence_page_info {
	const char *cache_state;
	const char *home_state;
	uint16_t owner;
	uint32_t sharer_count;
	uint32_t slot;
	uint64_t sequence;
	uint64_t generation;		/* of the region; 0: not known here */
};
void tp_coherence_page_info_get(const struct tp_coherence *coherence, uint32_t region_id,
				uint32_t page_index, struct tp_coherence_page_info *info);

/** Outstanding transactions, waiters, busy entries, deferred messages, used slots: all 0 (slots: pages held) when idle. */
struct tp_coherence_usage {
	uint32_t requests;
	uint32_t waiters;
	uint32_t busy;
	uint32_t deferred;
	uint32_t home_slots;
	uint32_t cache_slots;
	uint32_t quarantined;
};
void tp_coherence_usage_get(const struct tp_coherence *coherence, struct tp_coherence_usage *usage);

#ifdef __cplusplus
}
#endif

#endif /* TP_COHERENCE_H */
