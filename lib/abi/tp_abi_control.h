/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The control channel between a client program and its node: docs/abi.md
 * section 8. One SOCK_SEQPACKET Unix socket, one fixed-size request, one
 * fixed-size response, fds by SCM_RIGHTS. The connection is the client's life:
 * when it ends, the node frees all that the client held.
 */
#ifndef TP_ABI_CONTROL_H
#define TP_ABI_CONTROL_H

#include <assert.h>
#include <stdint.h>

#include "tp_types.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TP_CONTROL_MAGIC 0x4354u	/* "TC" */
#define TP_CONTROL_VERSION 3u
#define TP_CONTROL_PATH_FMT "%s/telepage.sock"	/* in the node's DPDK runtime directory */

/* fds with the response in brackets. */
#define TP_CONTROL_OP_LIST(OP)									\
	OP(ATTACH,         1)	/* join [node header, slots, client segment, doorbells]; value: threads */ \
	OP(REGION_CREATE,  2)	/* returns once every member knows the region */		\
	OP(REGION_OPEN,    3)	/* by name, or by address if the name is empty [words] */	\
	OP(REGION_LIST,    4)	/* value: index of the first to return, 0, 1, ...; ends with NODE not found */ \
	OP(REGION_DESTROY, 5)									\
	OP(REGION_RESET,   6)	/* new generation, contents zero */				\
	OP(ALLOC,          7)	/* bytes, on node (TP_CONTROL_NODE_ANY: here) */		\
	OP(FREE,           8)	/* address + generation */					\
	OP(GENERATION,     9)	/* of the region or allocation at address */			\
	OP(STATS,         10)	/* TP_CONTROL_STATS_* counters of all workers, summed */	\
	OP(NODE_LIST,     11)	/* value: index */						\
	OP(GATE_ENTER,    20)	/* before rte_eal_init() as a secondary: one process at a time */ \
	OP(GATE_LEAVE,    21)	/* after it */							\
	OP(INJECT,        32)	/* one more fault, where the node's configuration allows it */	\
	OP(INJECT_CLEAR,  33)	/* none any more */						\
	OP(INJECT_LIST,   34)	/* value: index of the fault to return; ends with ENOENT */

enum tp_control_op {
#define TP_CONTROL_OP_AS_ENUM(name, id) TP_CONTROL_##name = (id),
	TP_CONTROL_OP_LIST(TP_CONTROL_OP_AS_ENUM)
#undef TP_CONTROL_OP_AS_ENUM
	TP_CONTROL_OP_COUNT
};

#define TP_CONTROL_NODE_ANY 0xffffu

struct tp_control_region {
	char name[TP_REGION_NAME_BYTES];
	uint64_t address;
	uint64_t bytes;
	uint64_t generation;
	uint32_t id;
	uint32_t page_bytes;
	uint16_t mode;		/* enum tp_region_mode */
	uint16_t distribution;	/* enum tp_region_distribution */
	uint16_t node_count;	/* 0 in REGION_CREATE: every member */
	uint16_t durability;	/* enum tp_durability */
	uint16_t nodes[TP_REGION_NODES_MAX];
};
static_assert(sizeof(struct tp_control_region) == 64 + 24 + 8 + 8 + 128, "layout");

/*
 * Faults that a node can be told to have (docs/prog_guide/inject.md says what
 * each does). The numbers are in the client ABI: never reuse one.
 */
#define TP_INJECT_LIST(KIND)			\
	KIND(UNREACHABLE, 1, "unreachable")	\
	KIND(TIMEOUT,     2, "timeout")		\
	KIND(PARTITION,   3, "partition")	\
	KIND(CRASH,       4, "crash")		\
	KIND(PERMISSION,  5, "permission")	\
	KIND(CORRUPTION,  6, "corruption")	\
	KIND(SLOW,        7, "slow")		\
	KIND(LOSS,        8, "loss")		\
	KIND(DUPLICATE,   9, "duplicate")	\
	KIND(REORDER,    10, "reorder")

enum tp_inject_kind {
#define TP_INJECT_AS_ENUM(name, id, text) TP_INJECT_##name = (id),
	TP_INJECT_LIST(TP_INJECT_AS_ENUM)
#undef TP_INJECT_AS_ENUM
	TP_INJECT_KIND_COUNT
};

#define TP_CONTROL_INJECT_ONE_WAY 1u	/* only what this node sends */

struct tp_control_inject {
	uint32_t kind;		/* enum tp_inject_kind */
	uint32_t flags;
	uint32_t rate_ppm;
	uint32_t node_count;	/* 0: all other members */
	uint64_t delay_ns;
	uint64_t count;		/* crash: client requests before it */
	char region[TP_REGION_NAME_BYTES];
	uint16_t nodes[TP_REGION_NODES_MAX];
};
static_assert(sizeof(struct tp_control_inject) == 32 + 64 + 128, "layout");

struct tp_control_node {
	uint16_t id;
	uint16_t worker_count;
	uint32_t epoch;
	uint32_t state;		/* enum tp_node_state of lib/directory */
	uint32_t ip;		/* network byte order */
	uint32_t reachable;	/* from this node: 1 or 0 */
	uint32_t reserved;
};

struct tp_control_request {
	uint16_t magic;
	uint16_t version;
	uint32_t op;		/* enum tp_control_op */
	uint64_t value;
	uint64_t address;
	uint64_t bytes;
	uint64_t generation;
	uint64_t timeout_ns;
	uint16_t node;
	uint16_t reserved[3];
	union {
		struct tp_control_region region;	/* REGION_*: what is set depends on op */
		struct tp_control_inject inject;	/* INJECT */
	};
};
static_assert(sizeof(struct tp_control_inject) <= sizeof(struct tp_control_region), "fits");

#define TP_CONTROL_STATS_MAX 96

struct tp_control_response {
	uint16_t magic;
	uint16_t version;
	uint32_t op;
	uint32_t reason;	/* enum tp_reason */
	uint32_t effect;	/* enum tp_effect */
	int32_t error;		/* errno behind the reason, 0 if none: for messages to people */
	uint32_t fd_count;
	uint64_t value;
	uint64_t address;
	uint64_t generation;
	union {
		struct tp_control_region region;
		struct tp_control_node node;
		struct tp_control_inject inject;
		uint64_t stats[TP_CONTROL_STATS_MAX];	/* order of tp_coherence_stats */
	};
};

#ifdef __cplusplus
}
#endif

#endif /* TP_ABI_CONTROL_H */
