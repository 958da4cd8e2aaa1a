/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Using memory that lives anywhere in the cluster, by handle. Every access
 * exists twice: tp_submit_x() starts it in a caller-owned struct tp_op, which
 * tp_op_poll() and tp_op_wait() bring to its end; tp_x() does all of it. A page
 * that is present is used in place, without leaving the core (a hit).
 *
 * Atomic unit: aligned 1, 2, 4 and 8 bytes; longer accesses may tear between
 * such words. All accesses of all threads have one total order (sequential
 * consistency); two accesses of one thread that are in flight at once have none.
 *
 * Every access ends by the thread's timeout. Its outcome is a struct tp_result:
 * bytes_done is the prefix that was done, effect says what is known of the rest.
 *
 * Who may call: a struct tp_thread belongs to the thread that registered it and
 * everything here is for that thread; client and region handles are shared.
 */
#ifndef TP_ACCESS_H
#define TP_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tp_result.h"
#include "tp_types.h"

#ifdef __cplusplus
extern "C" {
#endif

struct tp_thread;
struct tp_client_region;

/* A piece of a vectored access: bytes at offset of the region, and where they go or come from. */
struct tp_vector {
	uint64_t offset;
	void *buffer;		/* only read by tp_writev() */
	uint64_t bytes;
};

#define TP_VECTOR_MAX 1024	/* pieces of one access */
#define TP_ACCESS_BYTES_MAX UINT32_MAX

/*
 * A page held in place. Read address[0 .. bytes), write it if the pin was taken
 * for TP_ACCESS_WRITE, and give it back before valid_until_tsc: later the node
 * may take the page away, and tp_unpin() says so.
 */
struct tp_pin {
	void *address;
	uint64_t valid_until_tsc;
	/* private */
	uint64_t word;
	struct tp_client_region *region;
	uint32_t page_index;
	uint8_t access;
	uint8_t guard;
	uint8_t reserved[2];
};

/*
 * One access in flight. Caller-owned, needs no preparation, must stay where it
 * is until it is done; a zeroed or finished one may be reused.
 */
struct tp_op {
	/* outcome: valid once tp_op_poll() returned true */
	struct tp_result result;
	uint64_t value;			/* atomics: the old value */
	uint32_t misses;		/* times the node was asked */
	/* private */
	uint8_t kind;
	uint8_t state;
	uint8_t atomic_op;
	uint8_t width;
	uint8_t pending;		/* record of the request in flight */
	uint8_t access;			/* pin: access wanted */
	uint8_t settling;		/* asks after the atomic that it is, or was */
	uint8_t cause;			/* why that one ended unknown: enum tp_reason */
	uint32_t ahead_count;		/* pages asked for that it has not come to yet */
	uint32_t ahead_vector;		/* the next to be asked for: vector, page of it */
	uint32_t ahead_page;
	uint32_t vector_count;
	uint32_t vector_index;
	const struct tp_vector *vectors;
	struct tp_vector single;	/* the vector of an access that has one piece */
	uint64_t piece_done;		/* bytes done of vectors[vector_index] */
	uint64_t bytes_done;
	uint64_t deadline_tsc;
	uint64_t timeout_tsc;
	uint64_t retry_tsc;		/* asks the node again from then on */
	uint64_t heartbeat;		/* of the node when the access began */
	uint64_t operand;
	uint64_t compare;
	uint64_t origin;		/* which atomic; sequence 0: none that may be asked after */
	uint64_t sequence;
	uint64_t begun_tsc;
	uint64_t expires_tsc;		/* it may be under way until then; 0: it was answered */
	uint64_t generation;		/* of its region */
	struct tp_client_region *region;
	struct tp_pin *pin;
};

/**
 * Bring an access forward without blocking. Also takes in what the node
 * answered to the thread's other accesses, and does them.
 *
 * @return true once the access is done: result, value and misses are valid, and
 *         the library has no pointer to op or its buffers any more.
 * @threads Owner of thread.
 * @cost    No system call; copies what arrived.
 */
bool tp_op_poll(struct tp_thread *thread, struct tp_op *op);

/**
 * Wait for an access: spin shortly, then yield, then sleep in short steps.
 *
 * @return op->result. Comes at the latest at the deadline.
 * @threads Owner of thread.
 */
struct tp_result tp_op_wait(struct tp_thread *thread, struct tp_op *op);

/**
 * Start an access; its buffers belong to it until it is done.
 *
 * Results beside those of the cluster (timeout, unreachable, partition, node
 * crashed, generation, corruption):
 *   - TP_INVALID: range outside the region, more than TP_ACCESS_BYTES_MAX bytes
 *     or TP_VECTOR_MAX pieces, misaligned or unknown atomic, pin over a page's end.
 *   - TP_PERMISSION: a change of a read-only region.
 *   - TP_EXHAUSTED: no hazard slot is left for one more pin.
 *
 * tp_submit_read, tp_submit_write: bytes 0 is allowed and ends at once.
 * tp_submit_readv, tp_submit_writev: pieces are done in order; vectors must stay.
 * tp_submit_atomic: op->value is the value before. width 4 or 8, offset a
 *   multiple of it; compare is used by TP_ATOMIC_CAS alone.
 * tp_submit_pin: TP_ACCESS_READ or TP_ACCESS_WRITE of bytes inside one page.
 * tp_submit_invalidate: drop this node's copies of the pages that the range
 *   touches (modified ones are given back first). Pages at home stay.
 * tp_submit_flush: give modified copies of those pages back to their home.
 * tp_submit_persist: of a durable region. OK: each page that the range touches is in
 *   the persistent memory of its home as it was when this was asked for, or later. So all
 *   that any access that had ended before has written there outlives every node. Each page
 *   as a whole, one state of it; several pages not together. VOID: some may be, some not;
 *   contents are what they were, and it may be asked for again. TP_INVALID: the region is
 *   not durable. TP_CORRUPTION: what the home keeps it in has failed, or the page there
 *   cannot be read.
 *
 * @return true if it is done already.
 * @threads Owner of thread.
 * @cost    A hit is done here: no system call, no other core.
 */
bool tp_submit_read(struct tp_thread *thread, struct tp_client_region *region, uint64_t offset,
		    void *buffer, uint64_t bytes, struct tp_op *op);
bool tp_submit_write(struct tp_thread *thread, struct tp_client_region *region, uint64_t offset,
		     const void *buffer, uint64_t bytes, struct tp_op *op);
bool tp_submit_readv(struct tp_thread *thread, struct tp_client_region *region,
		     const struct tp_vector *vectors, uint32_t count, struct tp_op *op);
bool tp_submit_writev(struct tp_thread *thread, struct tp_client_region *region,
		      const struct tp_vector *vectors, uint32_t count, struct tp_op *op);
bool tp_submit_atomic(struct tp_thread *thread, struct tp_client_region *region, uint64_t offset,
		      enum tp_atomic_op atomic_op, unsigned int width, uint64_t operand,
		      uint64_t compare, struct tp_op *op);
bool tp_submit_pin(struct tp_thread *thread, struct tp_client_region *region, uint64_t offset,
		   uint64_t bytes, enum tp_access access, struct tp_pin *pin, struct tp_op *op);
bool tp_submit_invalidate(struct tp_thread *thread, struct tp_client_region *region,
			  uint64_t offset, uint64_t bytes, struct tp_op *op);
bool tp_submit_flush(struct tp_thread *thread, struct tp_client_region *region, uint64_t offset,
		     uint64_t bytes, struct tp_op *op);
bool tp_submit_persist(struct tp_thread *thread, struct tp_client_region *region,
		       uint64_t offset, uint64_t bytes, struct tp_op *op);

/** tp_submit_invalidate() of the whole region: its cache is empty afterwards. */
bool tp_submit_clear(struct tp_thread *thread, struct tp_client_region *region, struct tp_op *op);

/** A round trip to worker @p worker of the node and nothing else. */
bool tp_submit_nop(struct tp_thread *thread, uint32_t worker, struct tp_op *op);

/**
 * Ask after an atomic that ended TP_EFFECT_UNKNOWN. op is in flight again, with a
 * deadline of its own, and then says:
 *   - OK: it was done, once; op->value is the value before it.
 *   - VOID with TP_EFFECT_NOT_DONE and the reason of before: it was not done and
 *     never will be, whatever of it is still on its way.
 *   - VOID with TP_EFFECT_UNKNOWN still. tp_result_may_settle() tells whether asking
 *     again may help: TP_TIMEOUT, TP_UNREACHABLE (no answer of the page's home),
 *     TP_NODE_CRASHED (the own node or the home is gone), TP_EXHAUSTED (no room for
 *     the question). With TP_RESULT_FINAL in flags it never will: TP_EXHAUSTED (it
 *     was too long ago, the home knows no more), TP_NODE_CRASHED (the home was started
 *     anew since, and what it knew died), TP_GENERATION (the region was reset),
 *     TP_INVALID (no atomic has such a name), or the reason of before, for an atomic
 *     that was done on this node in a page that was being taken away: nobody knows.
 * Of any other op the outcome stays as it is. May be asked as often as wanted, by
 * any thread, at any node, and after attaching anew. An op whose node died before its
 * deadline is asked after from that deadline on.
 *
 * @param region  A handle to the same region; NULL: the one op was submitted with.
 * @return true if it is done already.
 * @threads Owner of thread.
 */
bool tp_submit_settle(struct tp_thread *thread, struct tp_client_region *region,
		      struct tp_op *op);

/** tp_submit_settle(), waited for. @return op->result. @threads Owner of thread. */
struct tp_result tp_op_settle(struct tp_thread *thread, struct tp_client_region *region,
			      struct tp_op *op);

/**
 * tp_op_settle() of the last tp_atomic() of this thread that ended
 * TP_EFFECT_UNKNOWN: to be called until it says something else, or later.
 *
 * @param region  A handle to the same region.
 * @param old     Value before; may be NULL. Written only on success.
 * @return As tp_op_settle(); VOID (TP_INVALID), not done, if none ever ended so.
 * @threads Owner of thread.
 */
struct tp_result tp_atomic_settle(struct tp_thread *thread, struct tp_client_region *region,
				  uint64_t *old);

/*
 * Names an atomic that ended TP_EFFECT_UNKNOWN: plain data, to be kept in a file or
 * handed to another program, which may be attached to another node of the cluster.
 */
struct tp_atomic_id {
	uint64_t origin;
	uint64_t sequence;
	uint64_t generation;
	uint64_t offset;	/* in its region */
	uint64_t begun_ns;	/* CLOCK_REALTIME */
	uint64_t expires_ns;	/* the same, or 0 */
	uint8_t width;
	uint8_t cause;
	uint8_t reserved[6];	/* 0 */
};

/**
 * What names op's atomic.
 *
 * @return false: it did not end unknown, or nobody can tell; id is not written.
 * @threads Owner of thread.
 */
bool tp_op_id_get(const struct tp_thread *thread, const struct tp_op *op,
		  struct tp_atomic_id *id);

/**
 * Make an op of a name, to be given to tp_op_settle() or tp_submit_settle(). The
 * clocks of the two machines must agree to a second.
 *
 * @param region  A handle to the same region.
 * @return false: it is no name of an atomic in this region; op ended TP_INVALID.
 * @threads Owner of thread.
 */
bool tp_op_from_id(struct tp_thread *thread, struct tp_client_region *region,
		   const struct tp_atomic_id *id, struct tp_op *op);

/** The same accesses, waited for. @threads Owner of thread. */
struct tp_result tp_read(struct tp_thread *thread, struct tp_client_region *region,
			 uint64_t offset, void *buffer, uint64_t bytes);
struct tp_result tp_write(struct tp_thread *thread, struct tp_client_region *region,
			  uint64_t offset, const void *buffer, uint64_t bytes);
struct tp_result tp_readv(struct tp_thread *thread, struct tp_client_region *region,
			  const struct tp_vector *vectors, uint32_t count);
struct tp_result tp_writev(struct tp_thread *thread, struct tp_client_region *region,
			   const struct tp_vector *vectors, uint32_t count);
struct tp_result tp_invalidate(struct tp_thread *thread, struct tp_client_region *region,
			       uint64_t offset, uint64_t bytes);
struct tp_result tp_flush(struct tp_thread *thread, struct tp_client_region *region,
			  uint64_t offset, uint64_t bytes);
/* Many pages at a time, where tp_submit_persist() takes one after the other. */
struct tp_result tp_persist(struct tp_thread *thread, struct tp_client_region *region,
			    uint64_t offset, uint64_t bytes);
struct tp_result tp_clear(struct tp_thread *thread, struct tp_client_region *region);

/**
 * An atomic, waited for. One that is not answered in time is TP_EFFECT_UNKNOWN
 * (TP_ATOMIC_LOAD: not done); tp_atomic_settle() asks after it. While there is time
 * an atomic whose answer was lost asks after itself, and is sent again if it was not
 * done.
 *
 * @param old  Value before; may be NULL. Written only on success.
 * @threads Owner of thread.
 * @cost    Where this node has the page exclusively: a lock instruction and two fences.
 */
struct tp_result tp_atomic(struct tp_thread *thread, struct tp_client_region *region,
			   uint64_t offset, enum tp_atomic_op atomic_op, unsigned int width,
			   uint64_t operand, uint64_t compare, uint64_t *old);

/* 64-bit atomics by name; *old (may be NULL) is the value before. */
static inline struct tp_result
tp_atomic_load64(struct tp_thread *thread, struct tp_client_region *region, uint64_t offset,
		 uint64_t *value)
{
	return tp_atomic(thread, region, offset, TP_ATOMIC_LOAD, 8, 0, 0, value);
}

static inline struct tp_result
tp_atomic_add64(struct tp_thread *thread, struct tp_client_region *region, uint64_t offset,
		uint64_t addend, uint64_t *old)
{
	return tp_atomic(thread, region, offset, TP_ATOMIC_ADD, 8, addend, 0, old);
}

/** Stores @p desired if the value is @p expected; it was if *old == expected. */
static inline struct tp_result
tp_atomic_cas64(struct tp_thread *thread, struct tp_client_region *region, uint64_t offset,
		uint64_t expected, uint64_t desired, uint64_t *old)
{
	return tp_atomic(thread, region, offset, TP_ATOMIC_CAS, 8, desired, expected, old);
}

/**
 * Hold bytes inside one page in place, for zero-copy access.
 *
 * @param pin  Written on success; give it back with tp_unpin().
 * @return OK, or VOID (TP_EXHAUSTED: too many pins of this thread).
 * @threads Owner of thread.
 */
struct tp_result tp_pin(struct tp_thread *thread, struct tp_client_region *region,
			uint64_t offset, uint64_t bytes, enum tp_access access,
			struct tp_pin *pin);

/**
 * Give a pin back, and learn whether it held to the end.
 *
 * @return OK: every access through it was valid. TP_TIMEOUT: it was held past
 *         valid_until_tsc, what was read may be stale, what was written is
 *         unknown. TP_PARTITION: the same, because the node's lease lapsed.
 * @threads Owner of thread.
 */
struct tp_result tp_unpin(struct tp_thread *thread, struct tp_pin *pin);

/**
 * What this node's copy of the page at @p offset may be used for right now.
 *
 * @return TP_ACCESS_NONE also for an offset outside the region.
 * @threads Any.
 */
enum tp_access tp_lookup(const struct tp_client_region *region, uint64_t offset);

/* Counters of a thread, one list: enum, name and help. */
#define TP_THREAD_STAT_LIST(STAT)						\
	STAT(hits,         "pages of accesses served in place")		\
	STAT(misses,       "times the node was asked")				\
	STAT(fetches_ahead, "pages asked for before a long access came to them") \
	STAT(retries,      "asked again: the page went away, or the node was full")	\
	STAT(voids,        "accesses that ended VOID")				\
	STAT(timeouts,     "accesses that ended at their deadline")		\
	STAT(late,         "answers that came after the deadline")		\
	STAT(guards_broken, "guards overdue at the end of an access")		\
	STAT(settled,      "atomics whose answer was lost and whose fate was learnt")	\
	STAT(lease_lapses, "hits refused because the node's lease had lapsed")	\
	STAT(bad_answers,  "answers of the node that made no sense")

struct tp_thread_stats {
#define TP_THREAD_STAT_AS_FIELD(name, help) uint64_t name;
	TP_THREAD_STAT_LIST(TP_THREAD_STAT_AS_FIELD)
#undef TP_THREAD_STAT_AS_FIELD
};

/** Counters since tp_thread_register(). @threads Owner of thread. */
const struct tp_thread_stats *tp_thread_stats_get(const struct tp_thread *thread);

#ifdef __cplusplus
}
#endif

#endif /* TP_ACCESS_H */
