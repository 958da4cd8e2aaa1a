/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What comes back: acknowledgements, credits, round trip times; from them, what
 * was lost (docs/protocol.md sections 4.3 and 4.4). The estimator is that of
 * RFC 6298; losses are found as in RFC 9002 and RFC 8985.
 *
 * How losses are found: a packet is lost when three later ones have arrived, or
 * when a later one has and it is late by more than an eighth of a round trip; the
 * latter alone holds for packets sent again, whose order says nothing, and only
 * against packets sent after that. One timer per session waits for what comes
 * next: a packet to be late (REORDER); an ack, after whose absence the last packet
 * goes again, so that its ack shows what else is missing (PROBE); and, when that
 * brought nothing, the retransmission timeout (RTO).
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

/** A round trip without what the ack waited there; 0: none. */
static uint64_t
ack_rtt(const struct tp_endpoint *ep, uint32_t echo)
{
	uint64_t rtt = (uint64_t)(uint32_t)(fabric_timestamp(ep->now) - echo) << 6;

	/* Begun before this worker stood still, or nonsense. */
	if (echo == 0 || rtt > RTT_SAMPLE_MAX_NS ||
	    (ep->gap_end != 0 && ep->now - rtt < ep->gap_end))
		return 0;
	return RTE_MAX(rtt, 1u);
}

static void
ack_rtt_sample(struct tp_endpoint *ep, struct fabric_session *s, uint64_t rtt)
{
	uint64_t delta;

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
	if (fabric_session_fresh(ep, s))
		s->rtt_fresh = s->rtt_fresh == 0 ? rtt : RTE_MIN(s->rtt_fresh, rtt);
	/* The peer may wait as long with its ack as we may. */
	s->rto_ns = s->srtt_ns + 4 * s->rttvar_ns + ep->config.ack_delay_ns;
	s->rto_ns = RTE_MIN(RTE_MAX(s->rto_ns, ep->config.rto_min_ns), ep->config.rto_max_ns);
	s->pto_ns = RTE_MIN(2 * (s->srtt_ns + ep->config.ack_delay_ns), s->rto_ns);
}

static void
ack_packet_lost(struct tp_endpoint *ep, struct fabric_session *s, struct fabric_packet *packet)
{
	packet->lost = true;
	s->lost_count++;
	s->bulk_in_flight -= packet->bulk;
	fabric_session_ready(ep, s);
}

static void
ack_packet_arrived(struct fabric_session *s, struct fabric_packet *packet)
{
	if (unlikely(packet->lost)) {
		packet->lost = false;
		s->lost_count--;
	} else {
		s->bulk_in_flight -= packet->bulk;
	}
	/* Of one sent again it is not known which of the two arrived. */
	if (packet->sent_ns > s->delivered_ns && !packet->again)
		s->delivered_ns = packet->sent_ns;
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

		if (unlikely(packet->sacked))
			s->sacked_count--;
		else
			ack_packet_arrived(s, packet);
		fabric_packet_put(ep, index);
	}
	if (unlikely(s->sacked_bits != 0))
		s->sacked_bits = acked < TP_WIRE_WINDOW ? s->sacked_bits >> acked : 0;
}

static void
ack_selective(struct tp_endpoint *ep, struct fabric_session *s, const struct ack_view *view)
{
	unsigned __int128 all = (unsigned __int128)view->sack[1] << 64 | view->sack[0];
	unsigned __int128 fresh = all & ~s->sacked_bits;
	uint32_t i;

	s->sacked_bits |= all;
	for (i = 0; i < TP_WIRE_SACK_WORDS; i++) {
		uint64_t bits = (uint64_t)(fresh >> 64 * i);

		while (bits != 0) {
			uint32_t bit = (uint32_t)__builtin_ctzll(bits);
			uint32_t sequence = view->ack + 1 + 64 * i + bit;
			struct fabric_packet *packet =
				&ep->packets[s->window[sequence % TP_WIRE_WINDOW]];

			bits &= bits - 1;
			ack_packet_arrived(s, packet);
			packet->sacked = true;
			s->sacked_count++;
		}
	}
}

/** Sacked packets in a row from bit i on. */
static uint32_t
ack_sacked_run(const struct fabric_session *s, uint32_t i)
{
	unsigned __int128 rest = ~(s->sacked_bits >> i);
	uint64_t low = (uint64_t)rest;

	/* Not all 128 are set: bit 127 stands for a packet beyond the window. */
	return low != 0 ? (uint32_t)__builtin_ctzll(low) :
		64 + (uint32_t)__builtin_ctzll((uint64_t)(rest >> 64));
}

/** When a packet that was overtaken counts as lost. */
static uint64_t
ack_late_at(const struct fabric_session *s, const struct fabric_packet *packet)
{
	return packet->sent_ns + s->srtt_ns + RTE_MAX(s->srtt_ns / 8, FABRIC_REORDER_MIN_NS);
}

/**
 * Look at the holes below what is sacked. Those that later packets have left too
 * far behind are lost; the timer waits for the others to be so.
 */
static void
ack_find_lost(struct tp_endpoint *ep, struct fabric_session *s)
{
	uint32_t above = s->sacked_count;
	uint64_t next = FABRIC_NEVER;
	uint32_t i = 0;

	while (above > 0) {
		uint32_t sequence = s->send_first + i;
		struct fabric_packet *packet =
			&ep->packets[s->window[sequence % TP_WIRE_WINDOW]];
		uint64_t late = FABRIC_MUTANT(ep, no_time_rule) ? FABRIC_NEVER :
			ack_late_at(s, packet);
		uint32_t enough = FABRIC_MUTANT(ep, no_order_rule) ? FABRIC_NONE :
			FABRIC_SACKS_LOST;
		uint32_t run = ack_sacked_run(s, i);

		if (packet->lost || (packet->again && packet->sent_ns >= s->delivered_ns)) {
			/* Known, or sent again after all that has arrived. */
		} else if (ep->now >= late || (!packet->again && above >= enough)) {
			ack_packet_lost(ep, s, packet);
			FABRIC_COUNT(ep, tx_fast_retransmits);
			fabric_congestion_lost(ep, s);
		} else {
			next = RTE_MIN(next, late);
		}
		above -= RTE_MIN(run, above);
		i += run + 1;
	}
	if (next < s->loss_at) {
		s->loss_timer = FABRIC_LOSS_REORDER;
		s->loss_at = next;
	}
}

/** Something arrived there: wait anew for what is still outstanding. */
static void
ack_progress(struct tp_endpoint *ep, struct fabric_session *s)
{
	s->rto_count = 0;
	s->loss_timer = FABRIC_LOSS_PROBE;
	s->loss_at = fabric_session_outstanding(s) == 0 ? FABRIC_NEVER : ep->now + s->pto_ns;
	if (unlikely(s->sacked_count != 0))
		ack_find_lost(ep, s);
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
	struct ack_view view = { .ack = 0 };
	uint32_t before;	/* packets known to have arrived, as a sequence */
	uint32_t arrived;
	uint64_t rtt;
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
	before = s->send_first + s->sacked_count;
	if (view.acked != 0)
		ack_cumulative(ep, s, view.ack);
	if (unlikely((view.sack[0] | view.sack[1]) != 0))
		ack_selective(ep, s, &view);
	/* What was sacked and is now acknowledged counts in neither. */
	arrived = s->send_first + s->sacked_count - before;
	if (arrived != 0) {
		rtt = ack_rtt(ep, rte_le_to_cpu_32(header->timestamp_echo));
		if (likely(rtt != 0)) {
			ack_rtt_sample(ep, s, rtt);
			if (unlikely(s->limited != 0))
				fabric_congestion_acked(ep, s, arrived, rtt);
		}
		ack_progress(ep, s);
	}
	if (s->queue_mask != 0 || s->lost_count != 0)
		fabric_session_ready(ep, s);
	return true;
}

/** Send the last packet that is not accounted for again; false: there is none. */
static bool
loss_probe(struct tp_endpoint *ep, struct fabric_session *s)
{
	uint32_t sequence = s->send_next;

	while (sequence != s->send_first) {
		struct fabric_packet *packet =
			&ep->packets[s->window[--sequence % TP_WIRE_WINDOW]];

		if (packet->sacked || packet->lost)
			continue;
		ack_packet_lost(ep, s, packet);
		s->probe_now = true;
		FABRIC_COUNT(ep, tx_probes);
		return true;
	}
	return false;
}

/** Nothing came back in time: everything not acknowledged counts as lost. */
static void
loss_timeout(struct tp_endpoint *ep, struct fabric_session *s)
{
	uint32_t sequence;

	FABRIC_COUNT(ep, rto_expired);
	for (sequence = s->send_first; sequence != s->send_next; sequence++) {
		struct fabric_packet *packet =
			&ep->packets[s->window[sequence % TP_WIRE_WINDOW]];

		if (!packet->sacked && !packet->lost)
			ack_packet_lost(ep, s, packet);
	}
	fabric_congestion_timeout(ep, s, s->rto_count != 0);
	s->rto_ns = RTE_MIN(2 * s->rto_ns, ep->config.rto_max_ns);
	if (++s->rto_count >= FABRIC_RTO_ARP)
		fabric_peer_mac_doubt(ep, fabric_session_peer(ep, s));
	fabric_session_ready(ep, s);
}

void
fabric_loss_timer_expired(struct tp_endpoint *ep, struct fabric_session *s)
{
	switch (s->loss_timer) {
	case FABRIC_LOSS_REORDER:
		s->loss_timer = FABRIC_LOSS_PROBE;
		s->loss_at = ep->now + s->pto_ns;
		ack_find_lost(ep, s);
		return;
	case FABRIC_LOSS_PROBE:
		s->loss_timer = FABRIC_LOSS_RTO;
		s->loss_at = ep->now + s->rto_ns;
		if (!FABRIC_MUTANT(ep, no_probe) && loss_probe(ep, s))
			return;
		break;
	default:
		break;
	}
	loss_timeout(ep, s);
	s->loss_timer = FABRIC_LOSS_RTO;
	s->loss_at = ep->now + s->rto_ns;
}
