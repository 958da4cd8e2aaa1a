/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The shared memory between a node and its clients: docs/abi.md is the
 * authority, this header cites it. lib/node and lib/client include this and
 * never each other. Every struct is fixed-width, its offsets are asserted, and
 * what the other side wrote is checked before it is used.
 *
 * Four kinds of memory, each a memfd made and sized by the node:
 *   node      struct tp_abi_node           one, read by every client
 *   slots     page frames                  one, page_bytes each
 *   words     one frame word a page        one a region
 *   client    struct tp_abi_client, rings  one a client program
 */
#ifndef TP_ABI_H
#define TP_ABI_H

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tp_types.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TP_ABI_MAGIC 0x314942414554ull	/* "TEABI1" */
#define TP_ABI_VERSION 3u
#define TP_ABI_LINE 64
#define TP_ABI_CLIENTS_MAX 64		/* client programs a node */
#define TP_ABI_THREADS_MAX 32		/* threads a client program */
#define TP_ABI_WORKERS_MAX 16
#define TP_ABI_RING_ENTRIES 64		/* requests in flight per thread and worker */
#define TP_ABI_GUARDS 32		/* hazard slots a thread: accesses, then pins */

/* docs/abi.md section 9: does a worker sleep? Each on a line of its own. */
struct tp_abi_bell {
	/* writer: the worker, +1 when it is about to sleep and when it wakes: odd while it sleeps */
	alignas(TP_ABI_LINE) _Atomic uint32_t sleeps;
};

/* docs/abi.md section 2: the node header. */
struct tp_abi_node {
	uint64_t magic;
	uint32_t version;
	uint32_t length;		/* bytes of this struct */
	uint16_t node_id;
	uint16_t worker_count;
	uint32_t epoch;			/* of this node process */
	uint32_t page_bytes;
	uint32_t slot_count;
	uint64_t tsc_hz;
	uint8_t node_bits;
	uint8_t offset_bits;
	uint8_t reserved0[6];
	uint64_t guard_lease_tsc;	/* a guard older than this may be broken */
	uint64_t reserved1[1];
	/* writer: the node's main lcore, at each renewal; pairs with the acquire in tp_abi_lease_ok() */
	alignas(TP_ABI_LINE) _Atomic uint64_t lease_until_tsc;
	/* writer: the node's main lcore; counts its turns, so that clients see a dead or stopped node */
	alignas(TP_ABI_LINE) _Atomic uint64_t heartbeat;
	struct tp_abi_bell bells[TP_ABI_WORKERS_MAX];
};
static_assert(offsetof(struct tp_abi_node, tsc_hz) == 32, "layout");
static_assert(offsetof(struct tp_abi_node, lease_until_tsc) == 64, "own line");
static_assert(offsetof(struct tp_abi_node, heartbeat) == 128, "own line");
static_assert(offsetof(struct tp_abi_node, bells) == 192, "own line");
static_assert(sizeof(struct tp_abi_node) == 192 + TP_ABI_WORKERS_MAX * TP_ABI_LINE, "layout");

/*
 * docs/abi.md section 3: the frame word. Written by the worker that owns the
 * page's shard alone; clients may only set TP_WORD_REF.
 *   63..32 sequence, +1 at each store of the node
 *   31..4  slot
 *   2..1   access: 0 none, 1 read, 3 write
 *   0      referenced since the node last looked (CLOCK)
 */
#define TP_WORD_REF 1ull
#define TP_WORD_ACCESS_SHIFT 1
#define TP_WORD_SLOT_SHIFT 4
#define TP_WORD_SLOT_BITS 28
#define TP_WORD_SEQUENCE_SHIFT 32

static inline uint64_t
tp_word_make(uint32_t sequence, uint32_t slot, enum tp_access access)
{
	return (uint64_t)sequence << TP_WORD_SEQUENCE_SHIFT |
	       (uint64_t)slot << TP_WORD_SLOT_SHIFT | (uint64_t)access << TP_WORD_ACCESS_SHIFT;
}

static inline uint32_t
tp_word_slot(uint64_t word)
{
	return (uint32_t)(word >> TP_WORD_SLOT_SHIFT) & ((1u << TP_WORD_SLOT_BITS) - 1);
}

static inline enum tp_access
tp_word_access(uint64_t word)
{
	return (enum tp_access)(word >> TP_WORD_ACCESS_SHIFT & 3);
}

static inline uint32_t
tp_word_sequence(uint64_t word)
{
	return (uint32_t)(word >> TP_WORD_SEQUENCE_SHIFT);
}

/** The same publication: equal but for the reference bit. */
static inline bool
tp_word_same(uint64_t a, uint64_t b)
{
	return ((a ^ b) & ~TP_WORD_REF) == 0;
}

/*
 * docs/abi.md section 4: guards. A thread names the page it is about to touch;
 * the node does not take the page away while a guard names it, for at most
 * guard_lease_tsc. With TP_GUARD_WAITING the guard only announces a request:
 * it becomes a guard when the node completes that request.
 *   63 waiting, 61..32 region id (1 to 2^30 - 1), 31..0 page index; 0 empty
 */
#define TP_GUARD_WAITING (1ull << 63)

static inline uint64_t
tp_guard_key(uint32_t region_id, uint32_t page_index)
{
	return (uint64_t)region_id << 32 | page_index;
}

/* docs/abi.md section 5: requests and completions. Numbers are ABI: never reuse one. */
#define TP_ABI_OP_LIST(OP)							\
	/* name       id  what the node does */					\
	OP(READ,      1)  /* bring a readable copy here, grant a guard */	\
	OP(WRITE,     2)  /* bring the only copy here, grant a guard */		\
	OP(ATOMIC,    3)  /* run an atomic at the home, or grant for doing it here */ \
	OP(FLUSH,     4)  /* write a modified copy back to the home, drop it */	\
	OP(INVALIDATE, 5) /* drop the local copy (a modified one is written back) */ \
	OP(NOP,       6)  /* complete at once: ring test, latency floor */	\
	OP(SETTLE,    7)  /* ask after an atomic whose answer did not come */	\
	OP(FETCH,     8)  /* bring pages here that will be wanted; answered at once */ \
	OP(PERSIST,   9)  /* of a durable region: what was written before it lasts */

enum tp_abi_op {
#define TP_ABI_OP_AS_ENUM(name, id) TP_ABI_##name = (id),
	TP_ABI_OP_LIST(TP_ABI_OP_AS_ENUM)
#undef TP_ABI_OP_AS_ENUM
	TP_ABI_OP_COUNT
};

#define TP_ABI_FETCH_MAX 10		/* pages that a FETCH names */

struct tp_abi_request {
	uint8_t op;		/* enum tp_abi_op */
	uint8_t atomic_op;	/* ATOMIC: enum tp_atomic_op; FETCH: enum tp_access wanted */
	uint8_t width;		/* ATOMIC: 4 or 8; FETCH: how many of pages[] */
	uint8_t guard;		/* hazard slot of this thread that holds the WAITING key; 0xff none */
	uint32_t cookie;	/* returned in the completion */
	uint32_t region_id;
	uint32_t page_index;	/* FETCH: that of pages[0] */
	uint64_t generation;	/* of the region */
	union {
		struct {
			uint32_t offset;	/* ATOMIC: in the page, aligned to width */
			uint32_t reserved;
			uint64_t operand;	/* SETTLE: origin of the client that sent the atomic */
			uint64_t compare;
			uint64_t deadline_tsc;	/* the node answers VOID(timeout) at the latest then */
			uint64_t sequence;	/* ATOMIC: count of the thread's, 0: no id; SETTLE: its id */
		};
		uint32_t pages[TP_ABI_FETCH_MAX];	/* FETCH: all of this worker's shards */
	};
};
static_assert(offsetof(struct tp_abi_request, deadline_tsc) == 48, "layout");
static_assert(sizeof(struct tp_abi_request) == 64, "one line");

/*
 * Which atomic: the origin of its client (struct tp_abi_client), and the index of
 * its thread above the count of the thread's atomics.
 */
#define TP_ABI_SEQUENCE_BITS 56

static inline uint64_t
tp_abi_sequence(uint32_t thread, uint64_t count)
{
	return (uint64_t)thread << TP_ABI_SEQUENCE_BITS |
		(count & ((1ull << TP_ABI_SEQUENCE_BITS) - 1));
}

#define TP_COMPLETION_EXECUTED 1u	/* ATOMIC, SETTLE: value is the old value */
#define TP_COMPLETION_GUARDED 2u	/* slot and access are valid, the guard is granted */

struct tp_abi_completion {
	uint32_t cookie;
	uint8_t reason;		/* enum tp_reason */
	uint8_t effect;		/* enum tp_effect */
	uint8_t access;		/* enum tp_access granted */
	uint8_t flags;		/* TP_COMPLETION_* */
	uint32_t slot;
	uint8_t limit;		/* SETTLE, not executed: enum tp_reason why value is no longer */
	uint8_t reserved[3];
	uint64_t value;			/* SETTLE, not executed: ns, docs/abi.md section 5 */
	uint64_t guard_until_tsc;	/* an access that ends later may have been overtaken */
};
static_assert(sizeof(struct tp_abi_completion) == 32, "half a line");

/*
 * docs/abi.md section 6: one single-producer single-consumer ring each way per
 * (thread, worker). Indices run freely; entry = index % TP_ABI_RING_ENTRIES.
 * A client may have at most TP_ABI_RING_ENTRIES requests in flight on a ring,
 * so the completion ring never overflows.
 */
struct tp_abi_ring {
	/* writer: client */
	alignas(TP_ABI_LINE) _Atomic uint32_t request_head;	/* produced; pairs with the node's acquire */
	/* writer: node */
	alignas(TP_ABI_LINE) _Atomic uint32_t request_tail;	/* consumed */
	/* writer: node */
	alignas(TP_ABI_LINE) _Atomic uint32_t completion_head;	/* produced; pairs with the client's acquire */
	/* writer: client */
	alignas(TP_ABI_LINE) _Atomic uint32_t completion_tail;	/* consumed */
	alignas(TP_ABI_LINE) struct tp_abi_request requests[TP_ABI_RING_ENTRIES];
	struct tp_abi_completion completions[TP_ABI_RING_ENTRIES];
};
static_assert(sizeof(struct tp_abi_ring) == 4 * 64 + 64 * 64 + 64 * 32, "layout");

/* Hazard slots of one thread, written by that thread alone. */
struct tp_abi_guards {
	alignas(TP_ABI_LINE) _Atomic uint64_t key[TP_ABI_GUARDS];
	/* hazard slots in use are below this; grows only; written before key[used_max - 1] */
	alignas(TP_ABI_LINE) _Atomic uint32_t used_max;
};

/* One thread of a client: in use once active is 1. */
struct tp_abi_thread {
	alignas(TP_ABI_LINE) _Atomic uint32_t active;	/* writer: client */
	/* futex: 1 while the thread sleeps until an answer comes; writers: client 1, node 0 */
	_Atomic uint32_t waiting;
	struct tp_abi_guards guards;
	struct tp_abi_ring rings[TP_ABI_WORKERS_MAX];
};

/* docs/abi.md section 7: one a client program. */
struct tp_abi_client {
	uint64_t magic;
	uint32_t version;
	uint32_t length;		/* bytes of the whole segment */
	uint32_t client_id;		/* 0 to TP_ABI_CLIENTS_MAX - 1 */
	uint32_t thread_count;		/* threads that fit */
	uint64_t origin;		/* of this attach: node << 48 | a number no other has there */
	uint64_t reserved[4];
	alignas(TP_ABI_LINE) struct tp_abi_thread threads[];
};

static inline size_t
tp_abi_client_bytes(uint32_t thread_count)
{
	return sizeof(struct tp_abi_client) + (size_t)thread_count * sizeof(struct tp_abi_thread);
}

/*
 * docs/abi.md section 9: going to sleep. Both sides do what Dekker's algorithm
 * does: say so, full fence, look. Whoever sleeps says that it does and then looks
 * for work once more; whoever has work publishes it and then looks for sleepers.
 * At least one of the two sees the other. tests/sim/test_bell_code.c runs these
 * functions in every interleaving, and without each of the fences.
 */

/* TSan knows no fences, and refuses to compile them; what they order are atomics. */
static inline void
tp_abi_fence(void)
{
#ifdef __SANITIZE_THREAD__
	__asm__ volatile("mfence" ::: "memory");
#else
	atomic_thread_fence(memory_order_seq_cst);
#endif
}

/** Worker: about to sleep. It then looks at everything, and sleeps only if there is nothing. */
static inline void
tp_abi_bell_arm(struct tp_abi_bell *bell)
{
	atomic_store_explicit(&bell->sleeps,
		atomic_load_explicit(&bell->sleeps, memory_order_relaxed) + 1,
		memory_order_relaxed);
	/* pairs with the fence in tp_abi_bell_asleep() */
	tp_abi_fence();
}

/** Worker: awake again; the sleeps before are over for everybody. */
static inline void
tp_abi_bell_disarm(struct tp_abi_bell *bell)
{
	atomic_store_explicit(&bell->sleeps,
		atomic_load_explicit(&bell->sleeps, memory_order_relaxed) + 1,
		memory_order_relaxed);
}

/**
 * After work was published: 0, or the number of the sleep from which the worker
 * must be woken; once is enough for each number.
 */
static inline uint32_t
tp_abi_bell_asleep(const struct tp_abi_bell *bell)
{
	uint32_t sleeps;

	/* pairs with the fence in tp_abi_bell_arm() */
	tp_abi_fence();
	sleeps = atomic_load_explicit(&bell->sleeps, memory_order_relaxed);
	return sleeps % 2 != 0 ? sleeps : 0;
}

/** Client thread: about to sleep. It then looks at its rings, and sleeps if they are empty. */
static inline void
tp_abi_thread_wait_begin(struct tp_abi_thread *thread)
{
	atomic_store_explicit(&thread->waiting, 1, memory_order_relaxed);
	/* pairs with the node's fence before tp_abi_thread_wake_needed() */
	tp_abi_fence();
}

static inline void
tp_abi_thread_wait_end(struct tp_abi_thread *thread)
{
	atomic_store_explicit(&thread->waiting, 0, memory_order_relaxed);
}

/** Node, after answers and a full fence: must the thread be woken? Then its futex is ready for that. */
static inline bool
tp_abi_thread_wake_needed(struct tp_abi_thread *thread)
{
	if (atomic_load_explicit(&thread->waiting, memory_order_relaxed) == 0)
		return false;
	/* A thread that is about to wait on 1 finds 0 and does not. */
	atomic_store_explicit(&thread->waiting, 0, memory_order_relaxed);
	return true;
}

/** May a hit that ended at @p tsc be served? To be asked after the access. */
static inline bool
tp_abi_lease_ok(const struct tp_abi_node *node, uint64_t tsc)
{
	return tsc < atomic_load_explicit(&node->lease_until_tsc, memory_order_acquire);
}

#ifdef __cplusplus
}
#endif

#endif /* TP_ABI_H */
