/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The way out: a flush gives queued packets their sequence numbers as credit and
 * window allow, sends what was found lost again, and acks where nothing carries
 * them (docs/protocol.md sections 4.3 to 4.6).
 */
#include <string.h>

#include <rte_common.h>

#include "fabric_priv.h"

bool
fabric_link_has_room(struct tp_endpoint *ep, struct fabric_link *link)
{
	if (likely(link->out_count < FABRIC_OUT_MAX))
		return true;
	fabric_link_flush(ep, link);
	return link->out_count < FABRIC_OUT_MAX;
}

/** Queue a frame for the link, which must have room; takes the reference. */
void
fabric_link_push(struct tp_endpoint *ep, struct fabric_link *link, struct tp_frame *frame)
{
	RTE_ASSERT(link->out_count < FABRIC_OUT_MAX);
	link->out[link->out_count++] = *frame;
	FABRIC_ADD(ep, tx_bytes, frame->length);
}

/** Offer what is queued; what the link does not take stays. */
uint32_t
fabric_link_flush(struct tp_endpoint *ep, struct fabric_link *link)
{
	uint32_t sent;

	if (link->out_count == 0)
		return 0;
	sent = link->link->ops->tx_burst(link->link, link->out, link->out_count);
	link->out_count -= sent;
	if (unlikely(link->out_count != 0 && sent != 0))
		memmove(link->out, link->out + sent, link->out_count * sizeof(link->out[0]));
	FABRIC_ADD(ep, tx_frames, sent);
	return sent;
}

void
fabric_packet_put(struct tp_endpoint *ep, uint32_t index)
{
	ep->packets[index].next = ep->packet_free;
	ep->packet_free = index;
	ep->packet_free_count++;
}

/** Every packet that is queued or in flight goes back. */
void
fabric_session_tx_clear(struct tp_endpoint *ep, struct fabric_session *s)
{
	uint32_t sequence;
	uint32_t q;

	for (sequence = s->send_first; sequence != s->send_next; sequence++) {
		uint32_t index = s->window[sequence % TP_WIRE_WINDOW];

		if (!ep->packets[index].sacked)
			tp_frame_free(&ep->packets[index].frame);
		fabric_packet_put(ep, index);
	}
	for (q = 0; q < FABRIC_QUEUES; q++) {
		while (s->queue_mask & 1u << q) {
			uint32_t index = s->queues[q].head;

			tp_frame_free(&ep->packets[index].frame);
			s->queues[q].head = ep->packets[index].next;
			if (s->queues[q].head == FABRIC_NONE)
				s->queue_mask &= ~(1u << q);
			fabric_packet_put(ep, index);
		}
	}
	memset(s->queued, 0, sizeof(s->queued));
	s->queue_current = FABRIC_NONE;
}

/** An ack rode along. */
static void
tx_acked(struct fabric_session *s)
{
	s->ack_now = false;
	s->ack_asked = false;
	s->ack_waiting = 0;
	s->ack_at = FABRIC_NEVER;
	s->echo_due = false;
}

static uint32_t
tx_in_flight(const struct fabric_session *s)
{
	return fabric_session_outstanding(s) - s->sacked_count - s->lost_count;
}

/** Credits that the first packet of a queue takes. */
static uint32_t
tx_credits_wanted(const struct tp_endpoint *ep, const struct fabric_session *s, uint32_t q)
{
	return RTE_MAX(ep->packets[s->queues[q].head].messages, 1u);
}

/**
 * Bulk queues that must wait now: bulk leaves a part of the window, of the
 * sequences and of the credits to what somebody waits for, and keeps within a
 * window of its own, and of that to half at a time: who asks meanwhile is heard
 * before the next burst.
 */
static uint32_t
tx_bulk_refused(const struct tp_endpoint *ep, struct fabric_session *s)
{
	uint32_t mask = 0;
	uint32_t class;

	if (FABRIC_MUTANT(ep, bulk_no_window))
		return 0;
	if (s->bulk_burst == 0)
		return FABRIC_QUEUES_BULK;
	if (s->bulk_in_flight >= s->bulk_cwnd.window) {
		s->limited |= FABRIC_LIMITED_BULK;
		return FABRIC_QUEUES_BULK;
	}
	if (fabric_session_outstanding(s) >= FABRIC_BULK_WINDOW ||
	    tx_in_flight(s) >= s->cwnd.window - RTE_MAX(s->cwnd.window / 4, 1u)) {
		s->limited |= FABRIC_LIMITED_ALL;
		return FABRIC_QUEUES_BULK;
	}
	for (class = 0; class < TP_CLASS_RESPONSE; class++) {
		uint32_t q = fabric_queue_of(class, TP_PRIORITY_BULK);
		uint32_t granted = s->credit_granted[class];
		uint32_t keep = granted == 1 ? 0 : RTE_MAX(granted / 4, 1u);

		if (FABRIC_MUTANT(ep, bulk_all_credits))
			keep = 0;

		if ((s->queue_mask & 1u << q) != 0 && s->credit_used[class] -
		    s->credit_returned[class] + tx_credits_wanted(ep, s, q) > granted - keep)
			mask |= 1u << q;
	}
	return mask;
}

/** Of these queues, those whose next message may begin. */
static uint32_t
tx_queues_allowed(const struct tp_endpoint *ep, struct fabric_session *s, uint32_t queues)
{
	uint32_t mask = s->queue_mask & queues;
	uint32_t class;
	uint32_t p;

	for (class = 0; class < TP_CLASS_RESPONSE; class++) {
		uint32_t left = s->credit_granted[class] -
			(s->credit_used[class] - s->credit_returned[class]);

		if (likely(left >= fabric_join_max(s, class)))
			continue;
		for (p = 0; p < TP_PRIORITY_COUNT; p++) {
			uint32_t q = fabric_queue_of(class, p);

			if ((mask & 1u << q) != 0 && tx_credits_wanted(ep, s, q) > left)
				mask &= ~(1u << q);
		}
	}
	if (unlikely((mask & FABRIC_QUEUES_BULK) != 0))
		mask &= ~tx_bulk_refused(ep, s);
	return mask;
}

/** The next new packet that may leave, FABRIC_NONE if none; uses up its credit. */
static __rte_always_inline uint32_t
tx_next_packet(struct tp_endpoint *ep, struct fabric_session *s, uint32_t queues)
{
	uint32_t q = s->queue_current;
	struct fabric_packet *packet;
	uint32_t index;

	if (q == FABRIC_NONE) {
		uint32_t allowed = tx_queues_allowed(ep, s, queues);

		if (allowed == 0)
			return FABRIC_NONE;
		q = (uint32_t)__builtin_ctz(allowed);
		packet = &ep->packets[s->queues[q].head];
		if (packet->class < TP_CLASS_RESPONSE)
			s->credit_used[packet->class] += RTE_MAX(packet->messages, 1u);
	}
	index = s->queues[q].head;
	packet = &ep->packets[index];
	s->queues[q].head = packet->next;
	if (packet->next == FABRIC_NONE)
		s->queue_mask &= ~(1u << q);
	s->queue_current = packet->last ? FABRIC_NONE : q;
	s->queued[packet->bulk][packet->class]--;
	return index;
}

static void
tx_packet_send(struct tp_endpoint *ep, struct fabric_session *s, struct fabric_link *link,
	struct fabric_packet *packet, uint32_t sequence)
{
	struct tp_link *l = link->link;

	/*
	 * A driver may still read an earlier transmission of this frame: then it
	 * goes out as it is, with older acks, which do no harm.
	 */
	if (likely(!packet->sent || !l->ops->frame_shared(l, &packet->frame))) {
		fabric_packet_finish(ep, s, &packet->frame,
			packet->messages > 1 ? TP_WIRE_MANY : TP_WIRE_DATA, sequence,
			packet->frame.length - TP_WIRE_OUTER_BYTES);
		tx_acked(s);
	}
	packet->again = packet->sent;
	packet->sent = true;
	packet->sent_ns = ep->now;
	s->bulk_in_flight += packet->bulk;
	tp_frame_ref(&packet->frame);
	fabric_link_push(ep, link, &packet->frame);
}

/** May a lost packet leave now? */
static bool
tx_lost_allowed(struct fabric_session *s, bool bulk)
{
	if (unlikely(s->probe_now))
		return true;
	if (tx_in_flight(s) >= s->cwnd.window) {
		s->limited |= FABRIC_LIMITED_ALL;
		return false;
	}
	if (bulk && s->bulk_in_flight >= s->bulk_cwnd.window) {
		s->limited |= FABRIC_LIMITED_BULK;
		return false;
	}
	return true;
}

/**
 * Send again what was found lost, bulk or all but bulk, oldest first. The oldest
 * message counts as neither: a receiver short of frames takes nothing but that.
 */
static bool
tx_lost(struct tp_endpoint *ep, struct fabric_session *s, struct fabric_link *link, bool bulk)
{
	bool oldest = true;
	uint32_t sequence;

	for (sequence = s->send_first; s->lost_count != 0 && sequence != s->send_next; sequence++) {
		struct fabric_packet *packet =
			&ep->packets[s->window[sequence % TP_WIRE_WINDOW]];

		bool of_oldest = oldest;

		oldest = oldest && !packet->last;
		if (!packet->lost || (packet->bulk != bulk && !of_oldest))
			continue;
		if (!tx_lost_allowed(s, packet->bulk && !of_oldest))
			return true;
		if (!fabric_link_has_room(ep, link))
			return false;
		s->probe_now = false;
		packet->lost = false;
		s->lost_count--;
		s->retransmits++;
		FABRIC_COUNT(ep, tx_retransmits);
		tx_packet_send(ep, s, link, packet, sequence);
	}
	return true;
}

/**
 * Ask for an ack at once where the window would be full, or bulk's half full:
 * one that waits to ride would hold up what is to follow.
 */
static void
tx_ack_ask(const struct tp_endpoint *ep, const struct fabric_packet *packet)
{
	void *head = (uint8_t *)packet->frame.data + TP_WIRE_OUTER_BYTES;

	if (FABRIC_MUTANT(ep, no_ack_asked))
		return;
	if (packet->messages > 1)
		((struct tp_wire_many *)head)->flags = TP_WIRE_DATA_ACK_NOW;
	else
		((struct tp_wire_data *)head)->flags = TP_WIRE_DATA_ACK_NOW;
}

static void
tx_bulk_begins(const struct tp_endpoint *ep, struct fabric_session *s,
	const struct fabric_packet *packet)
{
	/* Twice a window: at most half of it waits for an ack that nobody asked for. */
	if (++s->bulk_unasked >= RTE_MAX(s->bulk_cwnd.window / 2, 1u)) {
		s->bulk_unasked = 0;
		tx_ack_ask(ep, packet);
	}
	if (s->bulk_burst != 0)
		s->bulk_burst--;
}

/* Inline for the caller that knows the queues: 70 instructions less in a round trip. */
static __rte_always_inline bool
tx_new(struct tp_endpoint *ep, struct fabric_session *s, struct fabric_link *link, uint32_t queues)
{
	while ((s->queue_mask & queues) != 0) {
		uint32_t in_flight = tx_in_flight(s);
		struct fabric_packet *packet;
		uint32_t index;

		if (unlikely(in_flight >= s->cwnd.window ||
			     fabric_session_outstanding(s) >= TP_WIRE_WINDOW)) {
			s->limited |= FABRIC_LIMITED_ALL;
			break;
		}
		if (!fabric_link_has_room(ep, link))
			return false;
		index = tx_next_packet(ep, s, queues);
		if (index == FABRIC_NONE)
			break;
		if (fabric_session_outstanding(s) == 0) {
			s->alive_ns = ep->now;
			s->loss_timer = FABRIC_LOSS_PROBE;
			s->loss_at = ep->now + s->pto_ns;
		}
		s->window[s->send_next % TP_WIRE_WINDOW] = index;
		packet = &ep->packets[index];
		if (unlikely(in_flight + 1 >= s->cwnd.window))
			tx_ack_ask(ep, packet);
		if (unlikely(packet->bulk))
			tx_bulk_begins(ep, s, packet);
		tx_packet_send(ep, s, link, packet, s->send_next);
		s->send_next++;
		FABRIC_COUNT(ep, tx_data);
	}
	return true;
}

static __rte_noinline bool
tx_new_of(struct tp_endpoint *ep, struct fabric_session *s, struct fabric_link *link,
	uint32_t queues)
{
	return tx_new(ep, s, link, queues);
}

/** What was lost before what is new, but bulk after everything else. */
static __rte_noinline bool
tx_data_after_loss(struct tp_endpoint *ep, struct fabric_session *s, struct fabric_link *link)
{
	return tx_lost(ep, s, link, false) &&
		tx_new_of(ep, s, link, FABRIC_QUEUES_ALL & ~FABRIC_QUEUES_BULK) &&
		tx_lost(ep, s, link, true) && tx_new_of(ep, s, link, FABRIC_QUEUES_BULK);
}

static inline bool
tx_data(struct tp_endpoint *ep, struct fabric_session *s, struct fabric_link *link)
{
	bool done;

	s->limited = 0;
	s->bulk_burst = (s->bulk_cwnd.window + 1) / 2;
	if (likely(s->lost_count == 0))
		done = tx_new(ep, s, link, FABRIC_QUEUES_ALL);
	else
		done = tx_data_after_loss(ep, s, link);
	/* What is left of bulk comes with the next flush. */
	return done && (s->bulk_burst != 0 || (s->queue_mask & FABRIC_QUEUES_BULK) == 0);
}

static bool
tx_control(struct tp_endpoint *ep, struct fabric_session *s, struct fabric_link *link,
	enum tp_wire_type type, uint32_t bytes, struct tp_frame *frame)
{
	if (!fabric_link_has_room(ep, link) ||
	    link->link->ops->tx_alloc(link->link, frame, 1) != 1)
		return false;
	if (type == TP_WIRE_HELLO || type == TP_WIRE_HELLO_ACK) {
		struct tp_wire_hello *hello =
			(void *)((uint8_t *)frame->data + TP_WIRE_OUTER_BYTES);

		hello->request_credits = rte_cpu_to_le_16(ep->config.request_credits);
		hello->forward_credits = rte_cpu_to_le_16(ep->config.forward_credits);
		hello->window = rte_cpu_to_le_16(TP_WIRE_WINDOW);
		hello->mtu = rte_cpu_to_le_16(link->link->mtu);
	}
	fabric_packet_finish(ep, s, frame, type, s->send_next, bytes);
	fabric_link_push(ep, link, frame);
	return true;
}

static bool
tx_hello(struct tp_endpoint *ep, struct fabric_session *s, struct fabric_link *link)
{
	enum tp_wire_type type = s->hello_ack_now ? TP_WIRE_HELLO_ACK : TP_WIRE_HELLO;
	struct tp_frame frame;

	if (!tx_control(ep, s, link, type, sizeof(struct tp_wire_hello), &frame))
		return false;
	s->hello_ack_now = false;
	s->hello_now = false;
	FABRIC_COUNT(ep, tx_hellos);
	if (s->state == FABRIC_SESSION_CONNECTING) {
		s->hello_at = ep->now + s->hello_ns;
		s->hello_ns = RTE_MIN(2 * s->hello_ns, ep->config.heartbeat_ns);
	}
	return true;
}

static bool
tx_ack(struct tp_endpoint *ep, struct fabric_session *s, struct fabric_link *link)
{
	enum tp_wire_type type = s->ping_now ? TP_WIRE_PING : TP_WIRE_ACK;
	struct tp_frame frame;

	if (!tx_control(ep, s, link, type, sizeof(struct tp_wire_header), &frame))
		return false;
	if (s->ping_now)
		FABRIC_COUNT(ep, tx_pings);
	else
		FABRIC_COUNT(ep, tx_acks);
	s->ping_now = false;
	tx_acked(s);
	return true;
}

/** Ask again for credits while nothing but credits could move the queue. */
static void
tx_probe_update(struct tp_endpoint *ep, struct fabric_session *s)
{
	bool blocked = s->queue_mask != 0 && fabric_session_outstanding(s) == 0;

	if (!blocked) {
		s->probe_at = FABRIC_NEVER;
		s->probe_ns = s->rto_ns;
	} else if (s->probe_at == FABRIC_NEVER) {
		s->alive_ns = ep->now;
		s->probe_at = ep->now + s->probe_ns;
	}
}

/**
 * Send what a session may send now.
 *
 * @return
 *   false if the link took no more: call again at the next flush.
 */
bool
fabric_session_transmit(struct tp_endpoint *ep, struct fabric_session *s)
{
	const struct fabric_peer *peer = fabric_session_peer(ep, s);
	struct fabric_link *link = &ep->links[peer->link_index];
	bool done = true;

	if (unlikely(s->state == FABRIC_SESSION_CLOSED || !peer->mac_known))
		return true;
	if (unlikely(s->hello_now || s->hello_ack_now))
		done = tx_hello(ep, s, link);
	if (likely(done && s->state == FABRIC_SESSION_ESTABLISHED)) {
		done = tx_data(ep, s, link);
		if (s->ack_now || s->ping_now)
			done = tx_ack(ep, s, link) && done;
		tx_probe_update(ep, s);
	}
	fabric_session_rearm(ep, s);
	return done;
}

/** Answer a packet of a session that does not exist here (section 4.2). */
void
fabric_reset_send(struct tp_endpoint *ep, struct fabric_peer *peer,
	const struct tp_wire_header *offender)
{
	struct fabric_link *link = &ep->links[peer->link_index];
	struct fabric_session s = { .peer_index = peer->index, .worker = offender->src_worker };
	struct tp_frame frame;

	if (!peer->mac_known)
		return;
	s.local_epoch = rte_le_to_cpu_32(offender->dst_epoch);
	s.remote_epoch = rte_le_to_cpu_32(offender->src_epoch);
	fabric_template_build(ep, &s);
	s.template.header.dst_incarnation = offender->src_incarnation;
	if (tx_control(ep, &s, link, TP_WIRE_RESET, sizeof(struct tp_wire_header), &frame))
		FABRIC_COUNT(ep, tx_resets);
}
