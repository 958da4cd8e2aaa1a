/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Names that the wire, the client ABI and the deciders share.
 */
#ifndef TP_TYPES_H
#define TP_TYPES_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TP_REGION_ID_MAX ((UINT32_C(1) << 30) - 1)	/* ids are 1 to this, never reused */
#define TP_REGION_NAME_BYTES 64		/* with the terminating 0 */
#define TP_REGION_NODES_MAX 64		/* nodes in one region's list */

/* The numbers are in the store and in the client ABI: never reuse one. */
enum tp_region_mode {
	TP_REGION_RW = 1,
	TP_REGION_RO = 2,		/* writes are VOID(permission) */
};

enum tp_region_distribution {
	TP_REGION_HOME = 1,		/* all pages on nodes[0] */
	TP_REGION_STRIPED = 2,		/* page i on nodes[i % node_count] */
	TP_REGION_FIRST_TOUCH = 3,	/* each 2 MiB extent where it was touched first */
};

/*
 * What outlives the nodes that a region's pages live on. Those of durable regions
 * are in a range of addresses of their own.
 */
enum tp_durability {
	TP_DURABILITY_NONE = 0,		/* nothing: a page dies with the last node that has it */
	TP_DURABILITY_LOCAL = 1,	/* what was persisted, in the persistent memory of its home */
	TP_DURABILITY_REPLICATED = 2,	/* ... of several nodes: refused, there is no replication yet */
};

/* What a node's clients may do with its copy of a page. */
enum tp_access {
	TP_ACCESS_NONE = 0,
	TP_ACCESS_READ = 1,
	TP_ACCESS_WRITE = 3,
};

/*
 * Atomic operations. The numbers are on the wire and in the client ABI: never
 * reuse one. Operands are zero-extended to 64 bits.
 */
#define TP_ATOMIC_LIST(OP)	\
	OP(LOAD,     1)		\
	OP(STORE,    2)		\
	OP(ADD,      3)		\
	OP(CAS,      4)		\
	OP(EXCHANGE, 5)		\
	OP(AND,      6)		\
	OP(OR,       7)

enum tp_atomic_op {
#define TP_ATOMIC_AS_ENUM(name, id) TP_ATOMIC_##name = (id),
	TP_ATOMIC_LIST(TP_ATOMIC_AS_ENUM)
#undef TP_ATOMIC_AS_ENUM
	TP_ATOMIC_COUNT
};

#ifdef __cplusplus
}
#endif

#endif /* TP_TYPES_H */
