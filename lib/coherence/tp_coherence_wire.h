/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Coherence messages on the wire: docs/coherence.md, "Messages", is the
 * authority. Little-endian, 64 bytes, then for some messages one page.
 */
#ifndef TP_COHERENCE_WIRE_H
#define TP_COHERENCE_WIRE_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include <rte_byteorder.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Ids are never reused.
 *   name        id  class    payload */
#define TP_COHERENCE_MSG_LIST(MSG)		\
	MSG(GET_S,       1, REQUEST,  0)	\
	MSG(GET_M,       2, REQUEST,  0)	\
	MSG(PUT_S,       3, REQUEST,  0)	\
	MSG(PUT_M,       4, REQUEST,  1)	\
	MSG(AMO,         5, REQUEST,  0)	\
	MSG(INV,         6, FORWARD,  0)	\
	MSG(FWD_S,       7, FORWARD,  0)	\
	MSG(FWD_M,       8, FORWARD,  0)	\
	MSG(RECALL,      9, FORWARD,  0)	\
	MSG(WB_ACK,     10, FORWARD,  0)	\
	MSG(DATA_S,     11, RESPONSE, 1)	\
	MSG(DATA_M,     12, RESPONSE, 1)	\
	MSG(GRANT_M,    13, RESPONSE, 0)	\
	MSG(NACK,       14, RESPONSE, 0)	\
	MSG(PUT_ACK,    15, RESPONSE, 0)	\
	MSG(AMO_RESULT, 16, RESPONSE, 0)	\
	MSG(INV_ACK,    17, RESPONSE, 0)	\
	MSG(WB,         18, RESPONSE, 1)	\
	MSG(UNBLOCK,    19, RESPONSE, 0)	\
	MSG(SETTLE,     20, REQUEST,  0)	\
	MSG(SETTLE_RESULT, 21, RESPONSE, 0)	\
	MSG(PERSIST,    22, REQUEST,  0)	\
	MSG(PERSIST_RESULT, 23, RESPONSE, 0)

enum tp_coherence_msg_type {
#define TP_COHERENCE_MSG_AS_ENUM(name, id, cls, payload) TP_MSG_##name = (id),
	TP_COHERENCE_MSG_LIST(TP_COHERENCE_MSG_AS_ENUM)
#undef TP_COHERENCE_MSG_AS_ENUM
	TP_MSG_COUNT
};

#define TP_MSG_F_ZERO      0x01u	/* the page is all zero: no payload */
#define TP_MSG_F_IN_PLACE  0x02u	/* sender = receiver: the home frame itself; never on the wire */
#define TP_MSG_F_RETRY     0x04u	/* repeat of an outstanding request; NACK: not now, ask again later */
#define TP_MSG_F_HAVE_COPY 0x08u	/* GET_M: the requester holds S */
#define TP_MSG_F_NO_DATA   0x10u	/* WB: the page is not here: its contents are lost */
#define TP_MSG_F_PROBE     0x20u	/* GET: only ask after one that was forwarded; never a new request */
#define TP_MSG_F_UNBLOCK   0x40u	/* DATA: tell the home with UNBLOCK that it arrived */
#define TP_MSG_F_MAYBE     0x80u	/* INV: the home is not sure that there is a copy */
#define TP_MSG_F_LEAVES    0x80u	/* PUT_M: the sender leaves, more of these follow */
#define TP_MSG_F_SENT      0x80u	/* SETTLE: the atomic may be on its way in this session */

#define TP_SETTLE_ASKERS 64u		/* programs of a node that a home tells apart */

struct tp_coherence_msg {
	uint8_t type;			/* enum tp_coherence_msg_type */
	uint8_t flags;			/* TP_MSG_F_*, others 0 */
	uint8_t reason;			/* NACK: enum tp_reason; SETTLE_RESULT: of its limit */
	union {
		uint8_t atomic_op;	/* AMO: enum tp_atomic_op */
		uint8_t codec;		/* with a page: docs/protocol.md section 7.1; else 0 */
	};
	uint8_t atomic_width;		/* AMO: 4 or 8 */
	uint8_t effect;			/* SETTLE_RESULT: enum tp_effect, DONE or NOT_DONE */
	rte_le16_t atomic_offset_words;	/* AMO: offset in the page in units of 4 bytes */
	rte_le16_t requester;		/* node that wants the page */
	rte_le16_t requester_worker;
	rte_le32_t txn;			/* requester's transaction */
	rte_le32_t region_id;
	rte_le32_t page_index;
	rte_le64_t generation;		/* of the region */
	rte_le64_t sequence;		/* home's transaction on this page; AMO, SETTLE: the atomic's */
	rte_le64_t operand;		/* AMO: operand; *_RESULT: old value; not done: ns, kept.c;
					 * SETTLE: which program asks; GET, FWD, DATA, WB: see below */
	rte_le64_t compare;		/* AMO: compare value of CAS; SETTLE: node of the atomic;
					 * FWD, RECALL: see below */
	rte_le64_t identity;		/* AMO, SETTLE: incarnation of the client << 16 | AMO: ms left */
};

/*
 * Bases of deltas (docs/protocol.md section 7.3), 0 for none. GET and FWD say in
 * operand which contents the requester holds still, FWD and RECALL in compare what
 * home memory is. In a DATA or WB that an engine sends, operand is what its receiver
 * said so: it is for whoever encodes the page, and not on the wire.
 */

/* Before a page the header ends here: what follows would be 0. So three packets of 1500 hold a page. */
#define TP_MSG_PAGE_HEADER 40u

/*
 * GET_S and GET_M without flags may name more pages of the same region, home and
 * worker: these follow, in place of a page. It means as much as one message each.
 */
struct tp_coherence_item {
	rte_le32_t page_index;
	rte_le32_t txn;			/* requester's transaction on that page */
};

static_assert(sizeof(struct tp_coherence_item) == 8, "wire size");
#define TP_BATCH_PAGES 32u		/* most pages that one message names */

#define TP_COHERENCE_FIELD(field, offset) \
	static_assert(offsetof(struct tp_coherence_msg, field) == (offset), "wire offset of " #field)
static_assert(sizeof(struct tp_coherence_msg) == 64, "wire size");
TP_COHERENCE_FIELD(effect, 5);
TP_COHERENCE_FIELD(atomic_offset_words, 6);
TP_COHERENCE_FIELD(requester, 8);
TP_COHERENCE_FIELD(txn, 12);
TP_COHERENCE_FIELD(region_id, 16);
TP_COHERENCE_FIELD(page_index, 20);
TP_COHERENCE_FIELD(generation, 24);
TP_COHERENCE_FIELD(sequence, 32);
TP_COHERENCE_FIELD(operand, 40);
TP_COHERENCE_FIELD(compare, 48);
TP_COHERENCE_FIELD(identity, 56);

#ifdef __cplusplus
}
#endif

#endif /* TP_COHERENCE_WIRE_H */
