/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What comes back: acknowledgements, credits, round trip times; from them, what
 * was lost and how much may be in flight (docs/protocol.md sections 4.3 and 4.4). The
 * estimator is that of RFC 6298, the window that of NewReno, in packets.
 */
#include <rte_common.h>

#include "fabric_priv.h"

#define RTT_SAMPLE_MAX_NS (UINT64_C(10) * 1000 * 1000 * 1000)

/* What a header says, checked against what was sent. */
struct ack_view {
	uint32_t ack;
	uint32_t acked;		/* packets, 0 for an old ack */
	bool old;		/* overtaken: says nothing about packets */
	uint64_t sack[TP_WIRE_SACK_WORDS];
	uint32_t returned[2];	/* credits, counted as in the header */
	uint32_t fresh[2];	/* of these, new */
};

static bool
ack_sack_valid(const struct ack_view *view, uint32_t beyond)
{
	/* Bit i stands for ack + 1 + i; beyond packets were sent from ack on. */
	uint32_t bits = beyond == 0 ? 0 : beyond - 1;
	uint32_t i;

	for (i = 0; i < TP_WIRE_SACK_WORDS; i++) {
		uint32_t here = bits > 64 * i ? RTE_MIN(bits - 64 * i, 64u) : 0;
		uint64_t allowed = here == 64 ? UINT64_MAX : (UINT64_C(1) << here) - 1;

		if ((view->sack[i] & ~allowed) != 0)
			return false;
	}
	return true;
}

static bool
ack_view_packets(const struct fabric_session *s, const struct tp_wire_header *header,
	struct ack_view *view)
{
	uint32_t outstanding = fabric_session_outstanding(s);

	view->ack = rte_le_to_cpu_32(header->ack);
	view->acked = view->ack - s->send_first;
	view->old = fabric_before(view->ack, s->send_first);
	if (view->old) {
		view->acked = 0;
		return true;
	}
	view->sack[0] = rte_le_to_cpu_64(header->sack[0]);
	view->sack[1] = rte_le_to_cpu_64(header->sack[1]);
	return view->acked <= outstanding && ack_sack_valid(view, outstanding - view->acked);
}

static bool
ack_view_credits(const struct fabric_session *s, const struct tp_wire_header *header,
	struct ack_view *view)
{
	uint32_t class;

	view->returned[TP_CLASS_REQUEST] = rte_le_to_cpu_32(header->request_credit);
	view->returned[TP_CLASS_FORWARD] = rte_le_to_cpu_32(header->forward_credit);
	for (class = 0; class < TP_CLASS_RESPONSE; class++) {
		view->fresh[class] = view->returned[class] - s->credit_returned[class];
		if (fabric_before(view->returned[class], s->credit_returned[class]))
			view->fresh[class] = 0;
		if (view->fresh[class] > s->credit_used[class] - s->credit_returned[class])
			return false;
	}
	return true;
}

static void
ack_rtt_sample(struct tp_endpoint *ep, struct fabric_session *s, uint32_t echo)
{
	uint64_t rtt = (uint64_t)(uint32_t)(fabric_timestamp(ep->now) - echo) << 6;
	uint64_t delta;

	/* Begun before this worker stood still, or nonsense. */
	if (rtt > RTT_SAMPLE_MAX_NS || (ep->gap_end != 0 && ep->now - rtt < ep->gap_end))
		return;
	if (rtt == 0)
		rtt = 1;
	if (s->srtt_ns == 0) {
		s->srtt_ns = rtt;
		s->rttvar_ns = rtt / 2;
	} else {
		delta = rtt > s->srtt_ns ? rtt - s->srtt_ns : s->srtt_ns - rtt;
		s->rttvar_ns = s->rttvar_ns - s->rttvar_ns / 4 + delta / 4;
		s->srtt_ns = s->srtt_ns - s->srtt_ns / 8 + rtt / 8;
		if (s->srtt_ns == 0)
			s->srtt_ns = 1;
	}
	s->rto_ns = s->srtt_ns + 4 * s->rttvar_ns;
	s->rto_ns = RTE_MIN(RTE_MAX(s->rto_ns, ep->config.rto_min_ns), ep->config.rto_max_ns);
}

static void
ack_cwnd_grow(struct fabric_session *s, uint32_t acked)
{
	if (s->in_recovery) {
		if (!fabric_before(s->send_first, s->recover_sequence))
			s->in_recovery = false;
		else
			return;
	}
	if (s->cwnd < s->ssthresh) {
		s->cwnd = RTE_MIN(s->cwnd + acked, s->ssthresh);
		return;
	}
	s->cwnd_acked += acked;
	if (s->cwnd_acked >= s->cwnd && s->cwnd < TP_WIRE_WINDOW) {
		s->cwnd_acked -= s->cwnd;
		s->cwnd++;
	}
	s->cwnd_acked = RTE_MIN(s->cwnd_acked, s->cwnd);
}

static void
ack_packet_arrived(struct fabric_session *s, struct fabric_packet *packet)
{
	if (packet->lost) {
		packet->lost = false;
		s->lost_count--;
	}
	/* The receiver keeps what it has sacked, so the frame can go now. */
	tp_frame_free(&packet->frame);
}

static void
ack_cumulative(struct tp_endpoint *ep, struct fabric_session *s, uint32_t ack)
{
	uint32_t acked = ack - s->send_first;

	for (; s->send_first != ack; s->send_first++) {
		uint32_t index = s->window[s->send_first % TP_WIRE_WINDOW];
		struct fabric_packet *packet = &ep->packets[index];

		if (packet->sacked)
			s->sacked_count--;
		else
			ack_packet_arrived(s, packet);
		fabric_packet_put(ep, index);
	}
	ack_cwnd_grow(s, acked);
}

static bool
ack_selective(struct tp_endpoint *ep, struct fabric_session *s, const struct ack_view *view)
{
	bool fresh = false;
	uint32_t i;

	for (i = 0; i < TP_WIRE_SACK_WORDS; i++) {
		uint64_t bits = view->sack[i];

		while (bits != 0) {
			uint32_t bit = (uint32_t)__builtin_ctzll(bits);
			uint32_t sequence = view->ack + 1 + 64 * i + bit;
			struct fabric_packet *packet =
				&ep->packets[s->window[sequence % TP_WIRE_WINDOW]];

			bits &= bits - 1;
			if (packet->sacked)
				continue;
			ack_packet_arrived(s, packet);
			packet->sacked = true;
			s->sacked_count++;
			fresh = true;
		}
	}
	return fresh;
}

static void
ack_recovery_enter(struct fabric_session *s)
{
	if (s->in_recovery)
		return;
	s->in_recovery = true;
	s->recover_sequence = s->send_next;
	s->ssthresh = RTE_MAX(s->cwnd / 2, 2 * FABRIC_CWND_MIN);
	s->cwnd = s->ssthresh;
	s->cwnd_acked = 0;
}

/**
 * Of the packets not acknowledged, those with enough later ones sacked are
 * lost, unless they were sent (again) less than a round trip ago.
 */
static void
ack_find_lost(struct tp_endpoint *ep, struct fabric_session *s)
{
	uint32_t sequence = s->send_next;
	uint32_t sacked_above = 0;

	while (sequence != s->send_first && sacked_above < s->sacked_count + FABRIC_SACKS_LOST) {
		struct fabric_packet *packet =
			&ep->packets[s->window[--sequence % TP_WIRE_WINDOW]];

		if (packet->sacked) {
			sacked_above++;
			continue;
		}
		if (packet->lost || sacked_above < FABRIC_SACKS_LOST ||
		    ep->now - packet->sent_ns <= s->srtt_ns)
			continue;
		packet->lost = true;
		s->lost_count++;
		FABRIC_COUNT(ep, tx_fast_retransmits);
		ack_recovery_enter(s);
	}
}

/**
 * Take the acks and credits of a packet.
 *
 * @return
 *   false if they cannot be: counted, nothing was changed.
 */
bool
fabric_ack_rx(struct tp_endpoint *ep, struct fabric_session *s,
	const struct tp_wire_header *header)
{
	uint32_t echo = rte_le_to_cpu_32(header->timestamp_echo);
	struct ack_view view = { .ack = 0 };
	bool moved;
	uint32_t class;

	if (unlikely(!ack_view_packets(s, header, &view))) {
		FABRIC_COUNT(ep, drop_ack);
		return false;
	}
	if (unlikely(!ack_view_credits(s, header, &view))) {
		FABRIC_COUNT(ep, drop_credit);
		return false;
	}
	for (class = 0; class < TP_CLASS_RESPONSE; class++)
		s->credit_returned[class] += view.fresh[class];
	moved = view.acked != 0;
	if (moved) {
		if (echo != 0)
			ack_rtt_sample(ep, s, echo);
		ack_cumulative(ep, s, view.ack);
	}
	if (unlikely((view.sack[0] | view.sack[1]) != 0) && ack_selective(ep, s, &view)) {
		moved = true;
		ack_find_lost(ep, s);
	}
	if (moved) {
		s->rto_count = 0;
		s->rto_at = fabric_session_outstanding(s) == 0 ? FABRIC_NEVER :
			ep->now + s->rto_ns;
	}
	if (s->queue_mask != 0 || s->lost_count != 0)
		fabric_session_ready(ep, s);
	return true;
}

/** Nothing came back in time: everything not acknowledged counts as lost. */
void
fabric_rto_expired(struct tp_endpoint *ep, struct fabric_session *s)
{
	uint32_t sequence;

	FABRIC_COUNT(ep, rto_expired);
	for (sequence = s->send_first; sequence != s->send_next; sequence++) {
		struct fabric_packet *packet =
			&ep->packets[s->window[sequence % TP_WIRE_WINDOW]];

		if (packet->sacked || packet->lost)
			continue;
		packet->lost = true;
		s->lost_count++;
	}
	s->ssthresh = RTE_MAX(s->cwnd / 2, 2 * FABRIC_CWND_MIN);
	s->cwnd = FABRIC_CWND_MIN;
	s->cwnd_acked = 0;
	s->in_recovery = false;
	s->rto_ns = RTE_MIN(2 * s->rto_ns, ep->config.rto_max_ns);
	s->rto_at = ep->now + s->rto_ns;
	if (++s->rto_count >= FABRIC_RTO_ARP)
		fabric_peer_mac_doubt(ep, fabric_session_peer(ep, s));
	fabric_session_ready(ep, s);
}
