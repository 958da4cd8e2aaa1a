/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Messages between the control sides of two nodes: docs/protocol.md, "Node
 * messages". They go from worker 0 to worker 0. The first byte of every message
 * tells whose it is: coherence below NODE_MSG_FIRST, node messages from there.
 */
#ifndef NODE_WIRE_PRIV_H
#define NODE_WIRE_PRIV_H

#include <assert.h>
#include <stddef.h>

#include <rte_byteorder.h>

#define NODE_MSG_FIRST 64u

/* Ids are never reused. */
#define NODE_MSG_LIST(MSG)						\
	/*  name             id  class */				\
	MSG(ALLOC,           64, REQUEST)  /* bytes of your heap */	\
	MSG(FREE,            65, REQUEST)  /* address + generation */	\
	MSG(GENERATION,      66, REQUEST)  /* of the allocation at address */ \
	MSG(HEAP_RESULT,     67, RESPONSE)

enum node_msg_type {
#define NODE_MSG_AS_ENUM(name, id, cls) NODE_MSG_##name = (id),
	NODE_MSG_LIST(NODE_MSG_AS_ENUM)
#undef NODE_MSG_AS_ENUM
	NODE_MSG_END
};

struct node_msg {
	uint8_t type;		/* enum node_msg_type */
	uint8_t reason;		/* HEAP_RESULT: enum tp_reason */
	uint8_t effect;		/* HEAP_RESULT: enum tp_effect */
	uint8_t reserved0;
	rte_le32_t call;	/* of the asking node, echoed in the result */
	rte_le32_t epoch;	/* of the asking node, echoed */
	rte_le32_t error;	/* HEAP_RESULT: errno behind the reason */
	rte_le64_t address;
	rte_le64_t bytes;
	rte_le64_t generation;
	rte_le64_t reserved1[3];
};
static_assert(sizeof(struct node_msg) == 64, "wire size");
static_assert(offsetof(struct node_msg, call) == 4, "wire offset");
static_assert(offsetof(struct node_msg, epoch) == 8, "wire offset");
static_assert(offsetof(struct node_msg, error) == 12, "wire offset");
static_assert(offsetof(struct node_msg, address) == 16, "wire offset");
static_assert(offsetof(struct node_msg, bytes) == 24, "wire offset");
static_assert(offsetof(struct node_msg, generation) == 32, "wire offset");

#endif /* NODE_WIRE_PRIV_H */
