/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The Telepage packet as it is on the wire. docs/protocol.md is the authority;
 * this file restates it for the compiler and cites its sections.
 *
 * Everything is little-endian. Fields lie at their natural alignment within the
 * packet; the structs are packed because the packet itself starts at byte 42 of
 * an Ethernet frame.
 */
#ifndef TP_WIRE_H
#define TP_WIRE_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include <rte_byteorder.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TP_WIRE_SIZE(type, bytes) \
	static_assert(sizeof(type) == (bytes), "wire size of " #type)
#define TP_WIRE_FIELD(type, field, offset) \
	static_assert(offsetof(type, field) == (offset), "wire offset of " #type "." #field)
#define TP_WIRE_PACKED __attribute__((packed, aligned(2)))

/* Section 2: what stands before the packet in a frame. */
#define TP_WIRE_ETHER_BYTES 14u
#define TP_WIRE_IPV4_BYTES 20u
#define TP_WIRE_UDP_BYTES 8u
#define TP_WIRE_OUTER_BYTES (TP_WIRE_ETHER_BYTES + TP_WIRE_IPV4_BYTES + TP_WIRE_UDP_BYTES)
#define TP_WIRE_MTU_MIN 1500u
#define TP_WIRE_MTU_MAX 9600u

/* Section 3: the packet. The first two bytes read "Tp". */
#define TP_WIRE_MAGIC 0x7054u
#define TP_WIRE_VERSION 3u

/* Section 3.2: packet types. Numbers are never reused. */
#define TP_WIRE_TYPE_LIST(TYPE)							\
	/*   name       id  header bytes                    purpose */		\
	TYPE(DATA,       1, sizeof(struct tp_wire_data),    "one fragment")	\
	TYPE(ACK,        2, sizeof(struct tp_wire_header),  "acks and credits")	\
	TYPE(HELLO,      3, sizeof(struct tp_wire_hello),   "open a session")	\
	TYPE(HELLO_ACK,  4, sizeof(struct tp_wire_hello),   "answer to HELLO")	\
	TYPE(RESET,      5, sizeof(struct tp_wire_header),  "no such session")	\
	TYPE(PING,       6, sizeof(struct tp_wire_header),  "answer with ACK")	\
	TYPE(MANY,       7, sizeof(struct tp_wire_many),    "several messages")

enum tp_wire_type {
#define TP_WIRE_TYPE_AS_ENUM(name, id, bytes, text) TP_WIRE_##name = (id),
	TP_WIRE_TYPE_LIST(TP_WIRE_TYPE_AS_ENUM)
#undef TP_WIRE_TYPE_AS_ENUM
	TP_WIRE_TYPE_END
};

/* Section 3.4: message classes; the numbers are on the wire. */
enum tp_class {
	TP_CLASS_REQUEST = 0,	/* waits for a credit that the receiver's upper layer returns */
	TP_CLASS_FORWARD = 1,	/* waits for a credit that delivery returns */
	TP_CLASS_RESPONSE = 2,	/* never waits for a credit */
	TP_CLASS_COUNT
};

/* Section 3.4: a more urgent message starts before a less urgent one. */
enum tp_priority {
	TP_PRIORITY_BULK = 0,	/* prefetch, write-back, migration */
	TP_PRIORITY_NORMAL = 1,
	TP_PRIORITY_URGENT = 2,	/* somebody stands still until it is done */
	TP_PRIORITY_COUNT
};

#define TP_WIRE_MESSAGE_MAX 65536u	/* bytes of one message */
#define TP_WIRE_FRAGMENTS_MAX 48u	/* fragments of one message at the smallest MTU */
#define TP_WIRE_WINDOW 128u		/* packets in flight in one session */
#define TP_WIRE_SACK_WORDS 2u
#define TP_WIRE_CREDITS_MAX 4096u
#define TP_WIRE_SEQUENCE_FIRST 0xffffff00u	/* wraps early, so that wrapping is no rare case */

/** Section 3.1: common header, all packets. */
struct tp_wire_header {
	rte_le16_t magic;
	uint8_t version;
	uint8_t type;			/* enum tp_wire_type */
	rte_le16_t src_node;
	rte_le16_t dst_node;
	uint8_t src_worker;
	uint8_t dst_worker;
	rte_le16_t length;		/* of the packet, this header included */
	rte_le32_t crc;			/* CRC32C of the packet with this field zero */
	rte_le32_t src_incarnation;
	rte_le32_t dst_incarnation;	/* 0: not known yet, in HELLO only */
	rte_le32_t src_epoch;
	rte_le32_t dst_epoch;		/* 0: not known yet, in HELLO only */
	rte_le32_t sequence;		/* DATA: of this packet; others: the next one */
	rte_le32_t ack;			/* every sequence before this one has arrived */
	rte_le64_t sack[TP_WIRE_SACK_WORDS];	/* bit i: sequence ack + 1 + i has arrived */
	rte_le32_t timestamp;		/* sender's clock, units of 64 ns, never 0 */
	rte_le32_t timestamp_echo;	/* 0: none */
	rte_le32_t request_credit;	/* requests finished in this epoch */
	rte_le32_t forward_credit;	/* forwards delivered in this epoch */
} TP_WIRE_PACKED;

TP_WIRE_SIZE(struct tp_wire_header, 72);
TP_WIRE_FIELD(struct tp_wire_header, magic, 0);
TP_WIRE_FIELD(struct tp_wire_header, version, 2);
TP_WIRE_FIELD(struct tp_wire_header, type, 3);
TP_WIRE_FIELD(struct tp_wire_header, src_node, 4);
TP_WIRE_FIELD(struct tp_wire_header, dst_node, 6);
TP_WIRE_FIELD(struct tp_wire_header, src_worker, 8);
TP_WIRE_FIELD(struct tp_wire_header, dst_worker, 9);
TP_WIRE_FIELD(struct tp_wire_header, length, 10);
TP_WIRE_FIELD(struct tp_wire_header, crc, 12);
TP_WIRE_FIELD(struct tp_wire_header, src_incarnation, 16);
TP_WIRE_FIELD(struct tp_wire_header, dst_incarnation, 20);
TP_WIRE_FIELD(struct tp_wire_header, src_epoch, 24);
TP_WIRE_FIELD(struct tp_wire_header, dst_epoch, 28);
TP_WIRE_FIELD(struct tp_wire_header, sequence, 32);
TP_WIRE_FIELD(struct tp_wire_header, ack, 36);
TP_WIRE_FIELD(struct tp_wire_header, sack, 40);
TP_WIRE_FIELD(struct tp_wire_header, timestamp, 56);
TP_WIRE_FIELD(struct tp_wire_header, timestamp_echo, 60);
TP_WIRE_FIELD(struct tp_wire_header, request_credit, 64);
TP_WIRE_FIELD(struct tp_wire_header, forward_credit, 68);
static_assert(TP_WIRE_WINDOW == 64 * TP_WIRE_SACK_WORDS, "the sack covers the window");

/* Sections 3.4 and 3.5: flags of DATA and MANY. */
#define TP_WIRE_DATA_ACK_NOW 0x01u	/* the sender's window is full: acknowledge at once */

/** Section 3.4: DATA, followed by fragment_length bytes. */
struct tp_wire_data {
	struct tp_wire_header header;
	rte_le32_t message_id;		/* counts up within the epoch */
	rte_le32_t message_length;	/* 0 to TP_WIRE_MESSAGE_MAX */
	rte_le16_t fragment_offset;	/* multiple of the session's fragment size */
	rte_le16_t fragment_length;
	uint8_t class;			/* enum tp_class */
	uint8_t priority;		/* enum tp_priority */
	uint8_t flags;			/* TP_WIRE_DATA_* */
	uint8_t reserved;		/* 0 */
} TP_WIRE_PACKED;

TP_WIRE_SIZE(struct tp_wire_data, 88);
TP_WIRE_FIELD(struct tp_wire_data, message_id, 72);
TP_WIRE_FIELD(struct tp_wire_data, message_length, 76);
TP_WIRE_FIELD(struct tp_wire_data, fragment_offset, 80);
TP_WIRE_FIELD(struct tp_wire_data, fragment_length, 82);
TP_WIRE_FIELD(struct tp_wire_data, class, 84);
TP_WIRE_FIELD(struct tp_wire_data, priority, 85);
TP_WIRE_FIELD(struct tp_wire_data, flags, 86);
TP_WIRE_FIELD(struct tp_wire_data, reserved, 87);

/** Section 3.5: MANY, followed by count parts. */
struct tp_wire_many {
	struct tp_wire_header header;
	rte_le16_t count;		/* messages, at least 2 */
	uint8_t class;			/* of all: enum tp_class */
	uint8_t priority;		/* of all: enum tp_priority */
	uint8_t flags;			/* TP_WIRE_DATA_* */
	uint8_t reserved[3];		/* 0 */
} TP_WIRE_PACKED;

TP_WIRE_SIZE(struct tp_wire_many, 80);
TP_WIRE_FIELD(struct tp_wire_many, count, 72);
TP_WIRE_FIELD(struct tp_wire_many, class, 74);
TP_WIRE_FIELD(struct tp_wire_many, priority, 75);
TP_WIRE_FIELD(struct tp_wire_many, flags, 76);
TP_WIRE_FIELD(struct tp_wire_many, reserved, 77);

#define TP_WIRE_PART_ALIGN 8u

/** Section 3.5: one message of MANY, followed by its bytes and zeros up to a multiple of 8. */
struct tp_wire_part {
	rte_le32_t length;		/* of the message */
	rte_le32_t reserved;		/* 0 */
} TP_WIRE_PACKED;

TP_WIRE_SIZE(struct tp_wire_part, 8);
TP_WIRE_FIELD(struct tp_wire_part, length, 0);
TP_WIRE_FIELD(struct tp_wire_part, reserved, 4);
static_assert(sizeof(struct tp_wire_many) + sizeof(struct tp_wire_part) ==
	sizeof(struct tp_wire_data), "the first message stays where it is when another one joins");

/** Section 3.3: HELLO and HELLO_ACK. */
struct tp_wire_hello {
	struct tp_wire_header header;
	rte_le16_t request_credits;	/* granted to the receiver, 1 to TP_WIRE_CREDITS_MAX */
	rte_le16_t forward_credits;	/* likewise */
	rte_le16_t window;		/* TP_WIRE_WINDOW */
	rte_le16_t mtu;			/* IP MTU of the sender's link */
} TP_WIRE_PACKED;

TP_WIRE_SIZE(struct tp_wire_hello, 80);
TP_WIRE_FIELD(struct tp_wire_hello, request_credits, 72);
TP_WIRE_FIELD(struct tp_wire_hello, forward_credits, 74);
TP_WIRE_FIELD(struct tp_wire_hello, window, 76);
TP_WIRE_FIELD(struct tp_wire_hello, mtu, 78);

/**
 * Bytes of a message that one packet carries at an IP MTU (section 3.4).
 *
 * @param mtu
 *   IP MTU, TP_WIRE_MTU_MIN to TP_WIRE_MTU_MAX.
 * @return
 *   A multiple of 8.
 * @threads Any.
 */
static inline uint32_t
tp_wire_fragment_bytes(uint32_t mtu)
{
	return (mtu - TP_WIRE_IPV4_BYTES - TP_WIRE_UDP_BYTES -
		(uint32_t)sizeof(struct tp_wire_data)) & ~7u;
}

#ifdef __cplusplus
}
#endif

#endif /* TP_WIRE_H */
