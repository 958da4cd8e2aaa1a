/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * From messages to packets: tp_endpoint_send() copies a message into frames, or
 * into the packet of the message before it, and queues them
 * (docs/protocol.md sections 3.4 and 3.5).
 *
 * Why no class can block one above it: each has its own queues and its own
 * bound on queued frames; requests leave two parts of the frames alone,
 * forwards one; and a message once begun is sent to its end, so that its
 * fragments have consecutive sequence numbers and fit in one window.
 */
#include <errno.h>
#include <string.h>

#include <rte_common.h>

#include "fabric_priv.h"

static uint32_t
packet_get(struct tp_endpoint *ep)
{
	uint32_t index = ep->packet_free;

	RTE_ASSERT(index != FABRIC_NONE);
	ep->packet_free = ep->packets[index].next;
	ep->packet_free_count--;
	return index;
}

static int
send_check(struct tp_endpoint *ep, const struct fabric_peer *peer, uint8_t worker,
	unsigned int class, unsigned int priority)
{
	if (unlikely(class >= TP_CLASS_COUNT || priority >= TP_PRIORITY_COUNT))
		return -EINVAL;
	if (unlikely(peer == NULL))
		return -ENOENT;
	if (unlikely(worker >= peer->worker_count))
		return -EINVAL;
	return peer->state == TP_PEER_DOWN ? -EHOSTDOWN : 0;
}

/** The session, if it may take this message now. */
static int
send_session(struct tp_endpoint *ep, struct fabric_peer *peer, uint8_t worker,
	unsigned int class, bool bulk, uint32_t length, struct fabric_session **session_out)
{
	struct fabric_session *s = fabric_session_get(ep, peer, worker);
	uint32_t frames;
	uint32_t keep;

	if (unlikely(s == NULL))
		return -ENOBUFS;
	if (unlikely(s->state != FABRIC_SESSION_ESTABLISHED)) {
		if (s->state == FABRIC_SESSION_CLOSED)
			fabric_session_open(ep, s);
		return -EAGAIN;
	}
	frames = length == 0 ? 1 : (length + s->fragment_bytes - 1) / s->fragment_bytes;
	if (unlikely(s->queued[bulk][class] + frames > ep->config.session_queue_frames))
		return -EAGAIN;
	keep = (TP_CLASS_RESPONSE - class) * ep->class_reserve + (bulk ? ep->bulk_reserve : 0);
	if (unlikely(ep->packet_free_count < frames + keep))
		return -ENOBUFS;
	*session_out = s;
	return 0;
}

/* Where the copy stands in the caller's vector. */
struct send_cursor {
	const struct iovec *iov;
	size_t offset;
};

static void
send_gather(struct send_cursor *cursor, uint8_t *dst, uint32_t length)
{
	while (length > 0) {
		size_t part = cursor->iov->iov_len - cursor->offset;

		if (part > length)
			part = length;
		if (part > 0)
			memcpy(dst, (const uint8_t *)cursor->iov->iov_base + cursor->offset, part);
		dst += part;
		length -= (uint32_t)part;
		cursor->offset += part;
		if (cursor->offset == cursor->iov->iov_len) {
			cursor->iov++;
			cursor->offset = 0;
		}
	}
}

static void
send_fragment_fill(struct fabric_session *s, struct tp_frame *frame, unsigned int class,
	unsigned int priority, uint32_t message_length, uint32_t offset, uint32_t length)
{
	struct tp_wire_data *data = (void *)((uint8_t *)frame->data + TP_WIRE_OUTER_BYTES);

	data->message_id = rte_cpu_to_le_32(s->message_id);
	data->message_length = rte_cpu_to_le_32(message_length);
	data->fragment_offset = rte_cpu_to_le_16((uint16_t)offset);
	data->fragment_length = rte_cpu_to_le_16((uint16_t)length);
	data->class = (uint8_t)class;
	data->priority = (uint8_t)priority;
	data->flags = 0;
	data->reserved = 0;
	frame->length = TP_WIRE_OUTER_BYTES + (uint32_t)sizeof(*data) + length;
}

static void
send_queue_append(struct tp_endpoint *ep, struct fabric_session *s, uint32_t q,
	uint32_t first, uint32_t last)
{
	struct fabric_queue *queue;

	RTE_ASSERT(q < FABRIC_QUEUES);
	queue = &s->queues[q];
	if (s->queue_mask & 1u << q)
		ep->packets[queue->tail].next = first;
	else
		queue->head = first;
	queue->tail = last;
	s->queue_mask |= 1u << q;
}

/** Copy the message into frames, which are there, and queue them. */
static void
send_fragments(struct tp_endpoint *ep, struct fabric_session *s, const struct tp_frame *frames,
	unsigned int class, unsigned int priority, const struct iovec *iov, uint32_t length)
{
	struct send_cursor cursor = { .iov = iov };
	uint32_t first = FABRIC_NONE;
	uint32_t last = FABRIC_NONE;
	uint32_t offset = 0;
	uint32_t i = 0;

	do {
		uint32_t part = RTE_MIN(length - offset, s->fragment_bytes);
		uint32_t index = packet_get(ep);
		struct fabric_packet *packet = &ep->packets[index];

		*packet = (struct fabric_packet){
			.frame = frames[i++],
			.next = FABRIC_NONE,
			.messages = part == length,
			.class = (uint8_t)class,
			.last = offset + part == length,
			.bulk = priority == TP_PRIORITY_BULK,
		};
		send_fragment_fill(s, &packet->frame, class, priority, length, offset, part);
		send_gather(&cursor, (uint8_t *)packet->frame.data + TP_WIRE_OUTER_BYTES +
			sizeof(struct tp_wire_data), part);
		if (first == FABRIC_NONE)
			first = index;
		else
			ep->packets[last].next = index;
		last = index;
		offset += part;
	} while (offset < length);
	s->message_id++;
	s->queued[priority == TP_PRIORITY_BULK][class] += i;
	send_queue_append(ep, s, fabric_queue_of(class, priority), first, last);
}

/* Joining the message before. */

/** What stands before the first message, now that it is not alone. */
static void
send_many_fill(const struct fabric_packet *packet, unsigned int class, unsigned int priority)
{
	struct tp_wire_many *many =
		(void *)((uint8_t *)packet->frame.data + TP_WIRE_OUTER_BYTES);
	struct tp_wire_part *part = (void *)(many + 1);
	uint32_t first = packet->frame.length - TP_WIRE_OUTER_BYTES -
		(uint32_t)sizeof(struct tp_wire_data);

	many->class = (uint8_t)class;
	many->priority = (uint8_t)priority;
	many->flags = 0;
	memset(many->reserved, 0, sizeof(many->reserved));
	part->length = rte_cpu_to_le_32(first);
	part->reserved = 0;
}

/**
 * Bulk is counted in packets, so that there is never much of it in front of a demand:
 * it is joined only where the link was seen to take several in the time that bulk has.
 */
static bool
send_join_wanted(const struct tp_endpoint *ep, const struct fabric_session *s,
	unsigned int priority)
{
	const struct fabric_swift *w = &s->bulk_cwnd;

	return priority != TP_PRIORITY_BULK || FABRIC_MUTANT(ep, bulk_always_joined) ||
		(w->window >= FABRIC_JOIN_BULK_WINDOW &&
		 (w->seen || w->window > FABRIC_CWND_FIRST / 2));
}

/**
 * Put a message into the packet of the one before it, if that still waits and has
 * room: they share header, checksum, ack and the driver's work. Nothing ever waits
 * for company.
 */
static bool
send_join(struct tp_endpoint *ep, struct fabric_session *s, unsigned int class,
	unsigned int priority, const struct iovec *iov, uint32_t length)
{
	uint32_t q = fabric_queue_of(class, priority);
	struct send_cursor cursor = { .iov = iov };
	struct fabric_packet *packet;
	struct tp_wire_many *many;
	struct tp_wire_part *part;
	uint32_t end;
	uint32_t at;

	if ((s->queue_mask & 1u << q) == 0 || ep->config.no_join ||
	    !send_join_wanted(ep, s, priority))
		return false;
	packet = &ep->packets[s->queues[q].tail];
	end = packet->frame.length - TP_WIRE_OUTER_BYTES;
	at = RTE_ALIGN_CEIL(end, TP_WIRE_PART_ALIGN);
	if (packet->messages == 0 || packet->messages >= fabric_join_max(s, class) ||
	    at + sizeof(*part) + length > sizeof(struct tp_wire_data) + s->fragment_bytes)
		return false;
	many = (void *)((uint8_t *)packet->frame.data + TP_WIRE_OUTER_BYTES);
	if (packet->messages == 1)
		send_many_fill(packet, class, priority);
	many->count = rte_cpu_to_le_16(++packet->messages);
	memset((uint8_t *)many + end, 0, at - end);
	part = (void *)((uint8_t *)many + at);
	part->length = rte_cpu_to_le_32(length);
	part->reserved = 0;
	send_gather(&cursor, (uint8_t *)(part + 1), length);
	packet->frame.length = TP_WIRE_OUTER_BYTES + at + (uint32_t)sizeof(*part) + length;
	RTE_ASSERT(packet->frame.length <= packet->frame.capacity);
	return true;
}

int
tp_endpoint_send(struct tp_endpoint *ep, uint16_t node, uint8_t worker,
	enum tp_class class, enum tp_priority priority, const struct iovec *iov, int iovcnt)
{
	struct fabric_peer *peer = fabric_peer_lookup(ep, node);
	struct tp_frame frames[TP_WIRE_FRAGMENTS_MAX];
	struct fabric_session *s;
	struct tp_link *link;
	size_t length = 0;
	uint32_t count;
	int ret;
	int i;

	ret = send_check(ep, peer, worker, class, priority);
	if (unlikely(ret < 0))
		return ret;
	for (i = 0; i < iovcnt; i++) {
		if (iov[i].iov_len > TP_WIRE_MESSAGE_MAX - length)
			return -EMSGSIZE;
		length += iov[i].iov_len;
	}
	s = fabric_session_find(ep, peer, worker);
	/* Most are alone in their turn. */
	if (s != NULL && unlikely(s->queue_mask != 0) &&
	    send_join(ep, s, class, priority, iov, (uint32_t)length)) {
		FABRIC_COUNT(ep, tx_messages);
		FABRIC_COUNT(ep, tx_joined);
		return 0;
	}
	ret = send_session(ep, peer, worker, class, priority == TP_PRIORITY_BULK, (uint32_t)length,
		&s);
	if (unlikely(ret < 0)) {
		FABRIC_COUNT(ep, sends_refused);
		return ret;
	}
	count = length == 0 ? 1 :
		((uint32_t)length + s->fragment_bytes - 1) / s->fragment_bytes;
	link = ep->links[peer->link_index].link;
	if (unlikely(link->ops->tx_alloc(link, frames, count) != count)) {
		FABRIC_COUNT(ep, sends_refused);
		return -ENOBUFS;
	}
	send_fragments(ep, s, frames, class, priority, iov, (uint32_t)length);
	fabric_session_ready(ep, s);
	FABRIC_COUNT(ep, tx_messages);
	return 0;
}
