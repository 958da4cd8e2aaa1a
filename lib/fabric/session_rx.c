/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The way in: each data packet of an epoch is taken once, fragments wait in
 * the frames they came in until their message is whole, and whole messages go
 * to the upper layer (docs/protocol.md sections 3.4 and 4.3).
 *
 * Why reassembly cannot get stuck when frames are short: a message of one
 * fragment is never held. Of the frames that may be held, enough for one
 * largest message are a reserve. The first session that is refused a frame is
 * given the privilege to use it, for the one message that holds its next
 * missing sequence; the sender can always send the rest of that, because a
 * message has consecutive sequence numbers and fits in the window. When a
 * message of that session is whole, the privilege is free for the next one.
 */
#include <rte_common.h>

#include "fabric_priv.h"

static void
rx_message_deliver(struct tp_endpoint *ep, struct fabric_session *s, uint8_t class,
	uint8_t priority, uint32_t length, const struct tp_message_piece *pieces, uint8_t count)
{
	struct tp_message message = {
		.src_node = fabric_session_peer(ep, s)->node,
		.src_worker = s->worker,
		.class = class,
		.priority = priority,
		.piece_count = count,
		.length = length,
		.pieces = pieces,
	};

	if (class == TP_CLASS_REQUEST)
		message.token = (uint64_t)(s->index + 1) << 32 | s->local_epoch;
	s->delivered[class]++;
	FABRIC_COUNT(ep, rx_messages);
	ep->ops.message(ep->ctx, &message);
}

void
tp_endpoint_request_done(struct tp_endpoint *ep, uint64_t token)
{
	uint64_t index = (token >> 32) - 1;
	struct fabric_session *s;

	if (index >= ep->config.session_max)
		return;
	s = &ep->sessions[index];
	if (s->state != FABRIC_SESSION_ESTABLISHED || s->local_epoch != (uint32_t)token ||
	    s->requests_done == s->delivered[TP_CLASS_REQUEST])
		return;
	s->requests_done++;
	if (s->ack_at == FABRIC_NEVER) {
		s->ack_at = ep->now + ep->config.ack_delay_ns;
		fabric_session_rearm(ep, s);
	}
}

/* Reassembly. */

static void
reassembly_put(struct tp_endpoint *ep, struct fabric_session *s, struct fabric_reassembly *r)
{
	uint32_t index = (uint32_t)(r - ep->reassemblies);
	uint32_t *link = &s->reassembly;
	uint32_t i;

	while (*link != index)
		link = &ep->reassemblies[*link].next;
	*link = r->next;
	for (i = 0; i < r->need; i++) {
		if (r->seen & UINT64_C(1) << i)
			tp_frame_free(&r->frames[i]);
	}
	ep->rx_held -= r->have - r->reserved_frames;
	ep->rx_reserved_held -= r->reserved_frames;
	if (ep->privileged == s->index)
		ep->privileged = FABRIC_NONE;
	r->next = ep->reassembly_free;
	ep->reassembly_free = index;
}

/** Everything half arrived goes back. */
void
fabric_session_rx_clear(struct tp_endpoint *ep, struct fabric_session *s)
{
	while (s->reassembly != FABRIC_NONE)
		reassembly_put(ep, s, &ep->reassemblies[s->reassembly]);
	if (ep->privileged == s->index)
		ep->privileged = FABRIC_NONE;
}

static struct fabric_reassembly *
reassembly_find(struct tp_endpoint *ep, const struct fabric_session *s, uint32_t message_id)
{
	uint32_t index = s->reassembly;

	while (index != FABRIC_NONE && ep->reassemblies[index].message_id != message_id)
		index = ep->reassemblies[index].next;
	return index == FABRIC_NONE ? NULL : &ep->reassemblies[index];
}

/* One fragment, taken apart and checked. */
struct rx_fragment {
	uint32_t sequence;
	uint32_t first_sequence;	/* of its message */
	uint32_t message_id;
	uint32_t message_length;
	uint32_t length;
	uint8_t index;
	uint8_t count;			/* of its message */
	uint8_t class;
	uint8_t priority;
	uint8_t flags;
	const uint8_t *payload;
};

static bool
rx_fragment_parse(const struct fabric_session *s, const struct tp_wire_data *data,
	struct rx_fragment *f)
{
	uint32_t offset = rte_le_to_cpu_16(data->fragment_offset);
	uint32_t packet_length = rte_le_to_cpu_16(data->header.length);

	f->sequence = rte_le_to_cpu_32(data->header.sequence);
	f->message_id = rte_le_to_cpu_32(data->message_id);
	f->message_length = rte_le_to_cpu_32(data->message_length);
	f->length = rte_le_to_cpu_16(data->fragment_length);
	f->class = data->class;
	f->priority = data->priority;
	f->flags = data->flags;
	f->payload = (const uint8_t *)(data + 1);
	if (f->length != packet_length - sizeof(*data) || data->reserved != 0 ||
	    (data->flags & ~TP_WIRE_DATA_ACK_NOW) != 0 ||
	    f->class >= TP_CLASS_COUNT || f->priority >= TP_PRIORITY_COUNT ||
	    f->message_length > TP_WIRE_MESSAGE_MAX)
		return false;
	if (offset % s->fragment_bytes != 0 || (offset != 0 && offset >= f->message_length) ||
	    f->length != RTE_MIN(s->fragment_bytes, f->message_length - offset))
		return false;
	f->index = (uint8_t)(offset / s->fragment_bytes);
	f->count = f->message_length == 0 ? 1 :
		(uint8_t)((f->message_length + s->fragment_bytes - 1) / s->fragment_bytes);
	f->first_sequence = f->sequence - f->index;
	return true;
}

/** May one more frame be held for this fragment? Says whether from the reserve. */
static bool
reassembly_room(struct tp_endpoint *ep, struct fabric_session *s, const struct rx_fragment *f,
	bool *reserved_out)
{
	*reserved_out = false;
	if (likely(ep->rx_held < ep->rx_ordinary_max))
		return true;
	if (ep->privileged == FABRIC_NONE)
		ep->privileged = s->index;
	*reserved_out = true;
	return ep->privileged == s->index && s->receive_next - f->first_sequence < f->count;
}

static struct fabric_reassembly *
reassembly_begin(struct tp_endpoint *ep, struct fabric_session *s, const struct rx_fragment *f)
{
	uint32_t index = ep->reassembly_free;
	struct fabric_reassembly *r = &ep->reassemblies[index];

	/* As many as frames that may be held, and each holds one: never short. */
	RTE_ASSERT(index != FABRIC_NONE);
	ep->reassembly_free = r->next;
	r->message_id = f->message_id;
	r->first_sequence = f->first_sequence;
	r->length = f->message_length;
	r->class = f->class;
	r->priority = f->priority;
	r->have = 0;
	r->need = f->count;
	r->reserved_frames = 0;
	r->seen = 0;
	r->next = s->reassembly;
	s->reassembly = index;
	return r;
}

static bool
reassembly_matches(const struct fabric_reassembly *r, const struct rx_fragment *f)
{
	return r->first_sequence == f->first_sequence && r->length == f->message_length &&
		r->class == f->class && r->priority == f->priority &&
		(r->seen & UINT64_C(1) << f->index) == 0;
}

static void
reassembly_deliver(struct tp_endpoint *ep, struct fabric_session *s, struct fabric_reassembly *r)
{
	struct tp_message_piece pieces[TP_WIRE_FRAGMENTS_MAX];
	uint32_t left = r->length;
	uint32_t i;

	for (i = 0; i < r->need; i++) {
		pieces[i].data = (const uint8_t *)r->frames[i].data + TP_WIRE_OUTER_BYTES +
			sizeof(struct tp_wire_data);
		pieces[i].length = RTE_MIN(left, s->fragment_bytes);
		left -= pieces[i].length;
	}
	rx_message_deliver(ep, s, r->class, r->priority, r->length, pieces, r->need);
	reassembly_put(ep, s, r);
}

/* Sequence numbers. */

static bool
rx_sequence_fresh(struct tp_endpoint *ep, const struct fabric_session *s, uint32_t sequence,
	bool *duplicate_out)
{
	uint32_t ahead = sequence - s->receive_next;

	*duplicate_out = false;
	if (likely(ahead == 0))
		return true;
	if (ahead < TP_WIRE_WINDOW && (s->receive_bits >> (ahead - 1) & 1) == 0)
		return true;
	if (ahead < TP_WIRE_WINDOW || -ahead <= TP_WIRE_WINDOW) {
		FABRIC_COUNT(ep, rx_duplicates);
		*duplicate_out = true;
	} else {
		FABRIC_COUNT(ep, drop_window);
	}
	return false;
}

/**
 * A time stamp to echo. When in this turn it came is not known, the turn's own time
 * is that of its begin: what it waits counts from the turn's end on, or a round trip
 * would seem shorter than it was by as much as a turn of many packets takes.
 */
static void
rx_echo_take(struct tp_endpoint *ep, struct fabric_session *s, uint32_t timestamp)
{
	s->echo_due = true;
	s->echo = timestamp - fabric_timestamp(ep->now);
	if (!FABRIC_MUTANT(ep, echo_early))
		s->echo_fresh = fabric_session_fresh(ep, s);
}

/** Has this packet not arrived before? From then on its time stamp counts. */
static bool
rx_packet_is_new(struct tp_endpoint *ep, struct fabric_session *s,
	const struct tp_wire_header *header)
{
	bool duplicate;

	if (unlikely(!rx_sequence_fresh(ep, s, rte_le_to_cpu_32(header->sequence), &duplicate))) {
		/* Our ack was lost, or was too slow: say it again. */
		if (duplicate) {
			s->ack_now = s->ack_asked = true;
			fabric_session_ready(ep, s);
		}
		return false;
	}
	if (!s->echo_due)
		rx_echo_take(ep, s, rte_le_to_cpu_32(header->timestamp));
	return true;
}

/** Mark a packet as arrived, and see to its ack. */
static void
rx_sequence_take(struct tp_endpoint *ep, struct fabric_session *s, uint32_t sequence,
	uint8_t flags)
{
	uint32_t ahead = sequence - s->receive_next;
	bool in_order = ahead == 0 && s->receive_bits == 0;

	if (ahead == 0) {
		bool more;

		do {
			s->receive_next++;
			more = (s->receive_bits & 1) != 0;
			s->receive_bits >>= 1;
		} while (more);
	} else {
		s->receive_bits |= (unsigned __int128)1 << (ahead - 1);
	}
	s->ack_waiting++;
	if (unlikely(s->ack_waiting >= FABRIC_ACK_EVERY || flags != 0)) {
		/* The sender's next ones are to be under way while we work on these. */
		s->ack_now = true;
		s->ack_asked |= flags != 0 || !in_order;
		ep->flush_soon = true;
		fabric_session_ready(ep, s);
	} else if (unlikely(!in_order)) {
		/* A gap is told at once: the sender finds its losses by it. */
		s->ack_now = s->ack_asked = true;
		fabric_session_ready(ep, s);
	} else if (s->ack_at == FABRIC_NEVER) {
		s->ack_at = ep->now + ep->config.ack_delay_ns;
		fabric_session_rearm(ep, s);
	}
}

/** Has the peer kept to the credits it was granted, with so many messages more? */
static bool
rx_credit_valid(const struct tp_endpoint *ep, const struct fabric_session *s, uint8_t class,
	uint32_t count)
{
	return class != TP_CLASS_REQUEST ||
		s->delivered[TP_CLASS_REQUEST] - s->requests_done + count <=
			ep->config.request_credits;
}

static void
rx_single(struct tp_endpoint *ep, struct fabric_session *s, const struct rx_fragment *f)
{
	struct tp_message_piece piece = { .data = f->payload, .length = f->length };

	if (unlikely(!rx_credit_valid(ep, s, f->class, 1))) {
		FABRIC_COUNT(ep, drop_credit);
		return;
	}
	rx_sequence_take(ep, s, f->sequence, f->flags);
	rx_message_deliver(ep, s, f->class, f->priority, f->length, &piece, 1);
}

/** One fragment of several; returns whether the frame was kept. */
static bool
rx_fragment(struct tp_endpoint *ep, struct fabric_session *s, const struct rx_fragment *f,
	struct tp_frame *frame)
{
	struct fabric_reassembly *r = reassembly_find(ep, s, f->message_id);
	bool reserved;

	if (unlikely(r != NULL && !reassembly_matches(r, f))) {
		FABRIC_COUNT(ep, drop_fragment);
		return false;
	}
	if (unlikely(!reassembly_room(ep, s, f, &reserved))) {
		FABRIC_COUNT(ep, drop_rx_budget);
		return false;
	}
	if (unlikely(r != NULL && r->have + 1 == r->need &&
		     !rx_credit_valid(ep, s, f->class, 1))) {
		FABRIC_COUNT(ep, drop_credit);
		return false;
	}
	if (r == NULL)
		r = reassembly_begin(ep, s, f);
	r->frames[f->index] = *frame;
	r->seen |= UINT64_C(1) << f->index;
	r->have++;
	if (unlikely(reserved)) {
		r->reserved_frames++;
		ep->rx_reserved_held++;
		RTE_ASSERT(ep->rx_reserved_held <= TP_WIRE_FRAGMENTS_MAX);
	} else {
		ep->rx_held++;
	}
	rx_sequence_take(ep, s, f->sequence, f->flags);
	if (r->have == r->need)
		reassembly_deliver(ep, s, r);
	return true;
}

/**
 * Take a data packet of the session's epoch.
 *
 * @return
 *   Whether the frame was kept; if not, the caller frees it.
 */
bool
fabric_data_rx(struct tp_endpoint *ep, struct fabric_session *s,
	const struct tp_wire_data *data, struct tp_frame *frame)
{
	struct rx_fragment f;

	if (unlikely(!rx_fragment_parse(s, data, &f))) {
		FABRIC_COUNT(ep, drop_fragment);
		return false;
	}
	if (unlikely(!rx_packet_is_new(ep, s, &data->header)))
		return false;
	if (likely(f.count == 1)) {
		rx_single(ep, s, &f);
		return false;
	}
	return rx_fragment(ep, s, &f, frame);
}

/* Several messages in one packet. */

static bool
rx_padding_is_zero(const uint8_t *packet, uint32_t from, uint32_t to)
{
	for (; from < to; from++) {
		if (packet[from] != 0)
			return false;
	}
	return true;
}

/** Does each part lie within the packet, and do they fill it? */
static bool
rx_parts_valid(const struct tp_wire_many *many, uint32_t count)
{
	const uint8_t *packet = (const uint8_t *)many;
	uint32_t bytes = rte_le_to_cpu_16(many->header.length);
	uint32_t at = sizeof(*many);

	while (count-- > 0) {
		const struct tp_wire_part *part = (const void *)(packet + at);
		uint32_t length;
		uint32_t end;

		if (at + sizeof(*part) > bytes)
			return false;
		at += sizeof(*part);
		length = rte_le_to_cpu_32(part->length);
		if (part->reserved != 0 || length > bytes - at)
			return false;
		end = at + length;
		/* The last one is not padded. */
		at = count == 0 ? end : RTE_ALIGN_CEIL(end, TP_WIRE_PART_ALIGN);
		if (at > bytes || !rx_padding_is_zero(packet, end, at))
			return false;
	}
	return at == bytes;
}

static bool
rx_many_valid(const struct fabric_session *s, const struct tp_wire_many *many)
{
	uint32_t count = rte_le_to_cpu_16(many->count);

	return count >= 2 && many->class < TP_CLASS_COUNT && many->priority < TP_PRIORITY_COUNT &&
		(many->flags & ~TP_WIRE_DATA_ACK_NOW) == 0 &&
		(many->reserved[0] | many->reserved[1] | many->reserved[2]) == 0 &&
		rte_le_to_cpu_16(many->header.length) <=
			sizeof(struct tp_wire_data) + s->fragment_bytes &&
		rx_parts_valid(many, count);
}

static const struct tp_wire_part *
rx_part_next(const struct tp_wire_part *part)
{
	return (const void *)((const uint8_t *)(part + 1) +
		RTE_ALIGN_CEIL(rte_le_to_cpu_32(part->length), TP_WIRE_PART_ALIGN));
}

static void
rx_part_hint(struct tp_endpoint *ep, const struct tp_wire_part *part, bool next)
{
	uint32_t length = rte_le_to_cpu_32(part->length);

	if (ep->ops.hint != NULL && length >= TP_ENDPOINT_HINT_BYTES)
		ep->ops.hint(ep->ctx, part + 1, length, next);
}

static void
rx_parts_deliver(struct tp_endpoint *ep, struct fabric_session *s,
	const struct tp_wire_many *many)
{
	const struct tp_wire_part *first = (const void *)(many + 1);
	const struct tp_wire_part *part = first;
	uint32_t count = FABRIC_MUTANT(ep, many_first_only) ? 1 : rte_le_to_cpu_16(many->count);
	uint32_t i;

	/* Of the first one that was done with the frame. */
	for (i = 1; i < count; i++) {
		part = rx_part_next(part);
		rx_part_hint(ep, part, false);
	}
	part = first;
	for (i = 0; i < count; i++) {
		struct tp_message_piece piece = {
			.data = part + 1,
			.length = rte_le_to_cpu_32(part->length),
		};

		if (i + 1 < count) {
			part = rx_part_next(part);
			rx_part_hint(ep, part, true);
		}
		rx_message_deliver(ep, s, many->class, many->priority, piece.length, &piece, 1);
	}
}

/**
 * Take a packet of several messages of the session's epoch: all of them, or none.
 *
 * @return
 *   Whether the frame was kept: never.
 */
bool
fabric_many_rx(struct tp_endpoint *ep, struct fabric_session *s, const struct tp_wire_many *many)
{
	if (unlikely(!rx_many_valid(s, many))) {
		FABRIC_COUNT(ep, drop_fragment);
		return false;
	}
	if (unlikely(!rx_packet_is_new(ep, s, &many->header)))
		return false;
	if (unlikely(!rx_credit_valid(ep, s, many->class, rte_le_to_cpu_16(many->count)))) {
		FABRIC_COUNT(ep, drop_credit);
		return false;
	}
	rx_sequence_take(ep, s, rte_le_to_cpu_32(many->header.sequence), many->flags);
	rx_parts_deliver(ep, s, many);
	return false;
}
