/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Packets as bytes: outer headers and CRC on the way out (docs/protocol.md
 * sections 2 and 3.1), validation on the way in. Nothing read here is trusted,
 * and received frames are never written: over some links the sender still
 * holds the same memory.
 */
#include <string.h>

#ifdef __SSE4_2__
#include <nmmintrin.h>
#endif

#include <isa-l/crc.h>

#include "fabric_priv.h"

#define PACKET_CRC_OFFSET offsetof(struct tp_wire_header, crc)
#define PACKET_CRC_SHORT 256u
#define PACKET_CRC_HEAD 16u	/* bytes up to and with the CRC */

#ifdef __SSE4_2__
/*
 * Headers and small messages: the instruction itself, 3 cycles for 8 bytes,
 * is done before ISA-L's wide kernels have set up (9 against 40 ns for 72 bytes).
 */
static uint32_t
packet_crc_short(const uint8_t *data, uint32_t length, uint32_t crc)
{
	uint64_t wide = crc;
	uint64_t word;

	for (; length >= sizeof(word); length -= sizeof(word), data += sizeof(word)) {
		memcpy(&word, data, sizeof(word));
		wide = _mm_crc32_u64(wide, word);
	}
	crc = (uint32_t)wide;
	while (length-- > 0)
		crc = _mm_crc32_u8(crc, *data++);
	return crc;
}
#endif

static uint32_t
packet_crc_part(const void *data, uint32_t length, uint32_t crc)
{
#ifdef __SSE4_2__
	if (length <= PACKET_CRC_SHORT)
		return packet_crc_short(data, length, crc);
#endif
	/* ISA-L takes a plain pointer, but only reads. */
	crc = crc32_iscsi((unsigned char *)(uintptr_t)data, (int)length, crc);
#ifdef __SSE4_2__
	/*
	 * Its AVX kernels leave the upper halves dirty, which slows every SSE
	 * instruction after them: 400 ns in a round trip with a 4 KiB answer.
	 */
	if (likely(__builtin_cpu_supports("avx")))
		__asm__ volatile("vzeroupper");
#endif
	return crc;
}

#ifdef __SSE4_2__
/*
 * Through registers: a load of bytes that two stores wrote waits until those
 * have left the store buffer, behind all stores of the page before.
 */
static uint32_t
packet_crc_head(const uint8_t *packet)
{
	uint64_t first;
	uint32_t second;

	memcpy(&first, packet, sizeof(first));
	memcpy(&second, packet + sizeof(first), sizeof(second));
	return _mm_crc32_u32(_mm_crc32_u32((uint32_t)_mm_crc32_u64(UINT32_MAX, first), second), 0);
}
static_assert(PACKET_CRC_OFFSET == 12 && PACKET_CRC_HEAD == 16, "8 + 4 + 4 bytes");
#else
static uint32_t
packet_crc_head(const uint8_t *packet)
{
	uint8_t head[PACKET_CRC_HEAD];

	memcpy(head, packet, sizeof(head));
	memset(head + PACKET_CRC_OFFSET, 0, sizeof(uint32_t));
	return packet_crc_part(head, sizeof(head), UINT32_MAX);
}
#endif

/** CRC32C of a packet as if its CRC field were zero. */
uint32_t
fabric_crc(const void *packet, uint32_t length)
{
	uint32_t crc = packet_crc_head(packet);

	return ~packet_crc_part((const uint8_t *)packet + PACKET_CRC_HEAD,
		length - PACKET_CRC_HEAD, crc);
}

static uint16_t
packet_read16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t
packet_read32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void
packet_write16(uint8_t *p, uint32_t value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
}

static void
packet_write32(uint8_t *p, uint32_t value)
{
	packet_write16(p, value >> 16);
	packet_write16(p + 2, value & 0xffff);
}

static uint32_t
packet_sum(const uint8_t *p)
{
	uint32_t sum = 0;
	uint32_t i;

	for (i = 0; i < TP_WIRE_IPV4_BYTES; i += 2)
		sum += packet_read16(p + i);
	return sum;
}

static uint16_t
packet_fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/** Checksum of an IPv4 header without options; 0 if the one in it is right. */
uint16_t
fabric_ip_checksum(const void *header)
{
	return packet_fold(packet_sum(header));
}

static void
packet_outer_build(struct tp_endpoint *ep, struct fabric_session *s)
{
	const struct fabric_peer *peer = fabric_session_peer(ep, s);
	const struct fabric_link *link = &ep->links[peer->link_index];
	uint8_t *ether = s->template.outer;
	uint8_t *ip = ether + TP_WIRE_ETHER_BYTES;
	uint8_t *udp = ip + TP_WIRE_IPV4_BYTES;

	memset(ether, 0, TP_WIRE_OUTER_BYTES);
	memcpy(ether + 6, link->link->mac, 6);
	packet_write16(ether + 12, 0x0800);
	ip[0] = 0x45;
	ip[6] = 0x40;	/* do not fragment */
	ip[8] = 64;	/* time to live */
	ip[9] = 17;	/* udp */
	packet_write32(ip + 12, link->ip);
	packet_write32(ip + 16, peer->ip);
	packet_write16(udp, ep->config.base_port + ep->config.worker);
	packet_write16(udp + 2, ep->config.base_port + s->worker);
	s->ip_sum = packet_sum(ip);
}

/** Prepare what all packets of a session's epoch have in common. */
void
fabric_template_build(struct tp_endpoint *ep, struct fabric_session *s)
{
	const struct fabric_peer *peer = fabric_session_peer(ep, s);
	struct tp_wire_header *header = &s->template.header;

	packet_outer_build(ep, s);
	memset(header, 0, sizeof(*header));
	header->magic = rte_cpu_to_le_16(TP_WIRE_MAGIC);
	header->version = TP_WIRE_VERSION;
	header->src_node = rte_cpu_to_le_16(ep->config.node);
	header->dst_node = rte_cpu_to_le_16(peer->node);
	header->src_worker = ep->config.worker;
	header->dst_worker = s->worker;
	header->src_incarnation = rte_cpu_to_le_32(ep->config.incarnation);
	header->dst_incarnation = rte_cpu_to_le_32(peer->incarnation);
	header->src_epoch = rte_cpu_to_le_32(s->local_epoch);
	header->dst_epoch = rte_cpu_to_le_32(s->remote_epoch);
}

/**
 * Fill in everything but the payload and what follows the common header, which
 * stand in the frame already.
 *
 * @param length
 *   Of the packet.
 */
void
fabric_packet_finish(struct tp_endpoint *ep, struct fabric_session *s, struct tp_frame *frame,
	enum tp_wire_type type, uint32_t sequence, uint32_t length)
{
	const struct fabric_peer *peer = fabric_session_peer(ep, s);
	uint8_t *ether = frame->data;
	uint8_t *ip = ether + TP_WIRE_ETHER_BYTES;
	uint32_t ip_bytes = TP_WIRE_IPV4_BYTES + TP_WIRE_UDP_BYTES + length;
	struct tp_wire_header *header = (void *)(ether + TP_WIRE_OUTER_BYTES);
	uint32_t stamp = fabric_timestamp(ep->now);

	memcpy(ether, &s->template, sizeof(s->template));
	memcpy(ether, peer->mac, 6);
	packet_write16(ip + 2, ip_bytes);
	packet_write16(ip + 10, packet_fold(s->ip_sum + ip_bytes));
	packet_write16(ip + TP_WIRE_IPV4_BYTES + 4, TP_WIRE_UDP_BYTES + length);

	header->type = (uint8_t)type;
	header->length = rte_cpu_to_le_16((uint16_t)length);
	header->sequence = rte_cpu_to_le_32(sequence);
	header->ack = rte_cpu_to_le_32(s->receive_next);
	header->sack[0] = rte_cpu_to_le_64((uint64_t)s->receive_bits);
	header->sack[1] = rte_cpu_to_le_64((uint64_t)(s->receive_bits >> 64));
	header->timestamp = rte_cpu_to_le_32(stamp);
	/* What it waited here is no time on the way. */
	header->timestamp_echo = rte_cpu_to_le_32(s->echo_due ? s->echo + stamp : 0);
	header->request_credit = rte_cpu_to_le_32(s->requests_done);
	header->forward_credit = rte_cpu_to_le_32(s->delivered[TP_CLASS_FORWARD]);
	header->crc = rte_cpu_to_le_32(~packet_crc_part(header, length, UINT32_MAX));
	frame->length = TP_WIRE_OUTER_BYTES + length;
}

/* Header bytes per type, 0 for a type that does not exist. */
static const uint8_t packet_header_bytes[TP_WIRE_TYPE_END] = {
#define PACKET_AS_BYTES(name, id, bytes, text) [id] = (bytes),
	TP_WIRE_TYPE_LIST(PACKET_AS_BYTES)
#undef PACKET_AS_BYTES
};

static bool
packet_ipv4_check(struct tp_endpoint *ep, const struct fabric_link *link, const uint8_t *ip,
	uint32_t length)
{
	uint32_t total;

	if (unlikely(length < TP_WIRE_IPV4_BYTES)) {
		FABRIC_COUNT(ep, drop_short);
		return false;
	}
	total = packet_read16(ip + 2);
	if (unlikely(ip[0] != 0x45 || total > length || total < TP_WIRE_IPV4_BYTES ||
		     (packet_read16(ip + 6) & 0x3fff) != 0)) {
		FABRIC_COUNT(ep, drop_ipv4);
		return false;
	}
	if (unlikely(packet_read32(ip + 16) != link->ip)) {
		FABRIC_COUNT(ep, drop_ip_address);
		return false;
	}
	if (unlikely(ip[9] != 17)) {
		FABRIC_COUNT(ep, drop_protocol);
		return false;
	}
	if (unlikely(fabric_ip_checksum(ip) != 0)) {
		FABRIC_COUNT(ep, drop_ip_checksum);
		return false;
	}
	return true;
}

/** The UDP datagram of an IPv4 packet, NULL if it is not for this node. */
static const uint8_t *
packet_udp_check(struct tp_endpoint *ep, const uint8_t *ip, uint8_t *worker_out)
{
	uint32_t bytes = packet_read16(ip + 2) - TP_WIRE_IPV4_BYTES;
	const uint8_t *udp = ip + TP_WIRE_IPV4_BYTES;
	uint32_t worker;

	if (unlikely(bytes < TP_WIRE_UDP_BYTES || packet_read16(udp + 4) != bytes)) {
		FABRIC_COUNT(ep, drop_udp_length);
		return NULL;
	}
	worker = (uint32_t)packet_read16(udp + 2) - ep->config.base_port;
	if (unlikely(worker >= ep->config.worker_count)) {
		FABRIC_COUNT(ep, drop_port);
		return NULL;
	}
	*worker_out = (uint8_t)worker;
	return udp;
}

static const struct tp_wire_header *
packet_header_check(struct tp_endpoint *ep, const uint8_t *udp)
{
	uint32_t bytes = packet_read16(udp + 4) - TP_WIRE_UDP_BYTES;
	const struct tp_wire_header *header = (const void *)(udp + TP_WIRE_UDP_BYTES);
	uint32_t need;

	if (unlikely(bytes < sizeof(*header))) {
		FABRIC_COUNT(ep, drop_short);
		return NULL;
	}
	if (unlikely(rte_le_to_cpu_16(header->magic) != TP_WIRE_MAGIC)) {
		FABRIC_COUNT(ep, drop_magic);
		return NULL;
	}
	if (unlikely(header->version != TP_WIRE_VERSION)) {
		FABRIC_COUNT(ep, drop_version);
		return NULL;
	}
	if (unlikely(header->type >= TP_WIRE_TYPE_END || packet_header_bytes[header->type] == 0)) {
		FABRIC_COUNT(ep, drop_type);
		return NULL;
	}
	need = packet_header_bytes[header->type];
	if (unlikely(rte_le_to_cpu_16(header->length) != bytes || bytes < need ||
		     (bytes != need && header->type != TP_WIRE_DATA &&
		      header->type != TP_WIRE_MANY))) {
		FABRIC_COUNT(ep, drop_length);
		return NULL;
	}
	if (unlikely(rte_le_to_cpu_32(header->crc) != fabric_crc(header, bytes))) {
		FABRIC_COUNT(ep, drop_crc);
		return NULL;
	}
	return header;
}

/**
 * Validate an IPv4 frame down to the CRC.
 *
 * @param worker_out
 *   Which worker of this node it names. If it is another one, the frame is
 *   checked no further and the return value is not a header to look into.
 * @return
 *   The header, or NULL: counted, to be dropped.
 */
const struct tp_wire_header *
fabric_packet_check(struct tp_endpoint *ep, struct fabric_link *link, struct tp_frame *frame,
	uint8_t *worker_out)
{
	const uint8_t *ether = frame->data;
	const uint8_t *udp;

	if (unlikely(memcmp(ether, link->link->mac, 6) != 0)) {
		FABRIC_COUNT(ep, drop_mac);
		return NULL;
	}
	if (!packet_ipv4_check(ep, link, ether + TP_WIRE_ETHER_BYTES,
			       frame->length - TP_WIRE_ETHER_BYTES))
		return NULL;
	udp = packet_udp_check(ep, ether + TP_WIRE_ETHER_BYTES, worker_out);
	if (udp == NULL)
		return NULL;
	if (unlikely(*worker_out != ep->config.worker))
		return (const void *)(udp + TP_WIRE_UDP_BYTES);
	return packet_header_check(ep, udp);
}
