/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * How much a session may have in flight (docs/protocol.md section 4.4): Swift
 * (Kumar et al., SIGCOMM 2020), windows in packets, without its parts for many
 * hops and for windows below one packet.
 *
 * How it works: a window grows by one packet a round trip while round trips stay
 * below a target, and is cut in proportion to how far they are above it, at most
 * to half and at most once a round trip. The target is the lowest round trip of
 * the last seconds and some queue: little for bulk, which so keeps out of the way
 * of who waits, more for the session as a whole. The lowest is measured afresh
 * from time to time with the queue drained, or a standing queue would in the end
 * be taken for the path. Lost packets say little about a queue where links are
 * bad: as in BBR version 2, only losing more than 2 % counts. A window that does
 * not bind is left alone.
 */
#include <rte_common.h>

#include "fabric_priv.h"

#define SWIFT_BETA_NUM 4u		/* cut by 0.8 of the excess, as published */
#define SWIFT_BETA_DEN 5u
#define SWIFT_DRAIN 4u			/* to this part, to measure the path */
#define SWIFT_LOW_NS UINT64_C(5000000000)	/* the lowest is of the last one or two such */
#define SWIFT_QUEUE_NS UINT64_C(50000)
#define SWIFT_BULK_QUEUE_MIN_NS UINT64_C(10000)	/* some packets, or no ack comes in time */
#define SWIFT_BULK_QUEUE_MAX_NS UINT64_C(20000)
#define SWIFT_LOSS_SPAN 512u		/* packets; more than 2 % of them lost is too much */
#define SWIFT_LOSS_MAX (SWIFT_LOSS_SPAN / 50)

static void
swift_init(struct fabric_swift *w, uint32_t window)
{
	*w = (struct fabric_swift){ .window = window };
}

static void
swift_cut(struct fabric_swift *w, uint32_t by, uint64_t now)
{
	w->window = RTE_MAX(w->window - RTE_MIN(by, w->window / 2), FABRIC_CWND_MIN);
	w->acked = 0;
	w->cut_at = now;
	w->seen = true;
}

/** One acknowledgement while the window binds; returns whether it was cut. */
static bool
swift_acked(struct fabric_swift *w, uint32_t acked, uint64_t rtt, uint64_t path,
	uint64_t queue, uint64_t round, uint64_t now)
{
	uint64_t target = path + queue;

	if (rtt <= target) {
		if (!w->seen && rtt <= path + queue / 2) {
			/* Nothing is known yet: double. */
			w->window = RTE_MIN(w->window + acked, TP_WIRE_WINDOW);
			return false;
		}
		w->seen = true;
		w->acked += acked;
		if (w->acked >= w->window) {
			w->acked = 0;
			w->window = RTE_MIN(w->window + 1, TP_WIRE_WINDOW);
		}
		return false;
	}
	if (w->cut_at != 0 && now - w->cut_at < round)
		return false;
	swift_cut(w, RTE_MAX((uint32_t)(w->window * SWIFT_BETA_NUM * (rtt - target) /
		(SWIFT_BETA_DEN * rtt)), 1u), now);
	return true;
}

void
fabric_congestion_init(struct fabric_session *s)
{
	swift_init(&s->cwnd, FABRIC_CWND_FIRST);
	swift_init(&s->bulk_cwnd, FABRIC_CWND_FIRST / 2);
	s->limited = 0;
	s->rtt_low[0] = UINT64_MAX;
	s->rtt_low[1] = UINT64_MAX;
	s->rtt_low_until = 0;
	s->loss_first = s->send_next;
	s->loss_count = 0;
}

/** What the path alone takes. */
uint64_t
fabric_congestion_path(const struct fabric_session *s)
{
	uint64_t low = RTE_MIN(s->rtt_low[0], s->rtt_low[1]);

	return low == UINT64_MAX ? s->srtt_ns : low;
}

/** The lowest round trip is to be measured afresh. */
static void
congestion_low_renew(struct tp_endpoint *ep, struct fabric_session *s, uint64_t rtt)
{
	bool known = s->rtt_low_until != 0;

	s->rtt_low[1] = known ? s->rtt_low[0] : UINT64_MAX;
	s->rtt_low[0] = rtt;
	s->rtt_low_until = ep->now + SWIFT_LOW_NS;
	if (!known)
		return;
	if (s->limited & FABRIC_LIMITED_ALL)
		s->cwnd.window = RTE_MAX(s->cwnd.window / SWIFT_DRAIN, FABRIC_CWND_MIN);
	if (s->limited & FABRIC_LIMITED_BULK)
		s->bulk_cwnd.window = RTE_MAX(s->bulk_cwnd.window / SWIFT_DRAIN, FABRIC_CWND_MIN);
}

/** A round trip that took no longer than rtt. */
void
fabric_congestion_low(struct tp_endpoint *ep, struct fabric_session *s, uint64_t rtt)
{
	s->rtt_low[0] = RTE_MIN(s->rtt_low[0], rtt);
	if (unlikely(ep->now >= s->rtt_low_until))
		congestion_low_renew(ep, s, rtt);
}

/** Packets were acknowledged while a window kept others back. */
void
fabric_congestion_acked(struct tp_endpoint *ep, struct fabric_session *s, uint32_t acked,
	uint64_t rtt)
{
	uint64_t path = fabric_congestion_path(s);
	uint64_t queue = RTE_MAX(path / 2, SWIFT_QUEUE_NS);
	bool cut = false;

	if (FABRIC_MUTANT(ep, deaf_to_delay))
		rtt = path;

	if (s->limited & FABRIC_LIMITED_ALL)
		cut = swift_acked(&s->cwnd, acked, rtt, path, queue, s->srtt_ns, ep->now);
	queue = RTE_MIN(RTE_MAX(path, SWIFT_BULK_QUEUE_MIN_NS), SWIFT_BULK_QUEUE_MAX_NS);
	if (s->limited & FABRIC_LIMITED_BULK)
		cut |= swift_acked(&s->bulk_cwnd, acked, rtt, path, queue, s->srtt_ns, ep->now);
	FABRIC_ADD(ep, window_cuts, cut);
}

static void
congestion_halve(struct tp_endpoint *ep, struct fabric_session *s)
{
	if (s->cwnd.cut_at != 0 && ep->now - s->cwnd.cut_at < s->srtt_ns)
		return;
	swift_cut(&s->cwnd, s->cwnd.window / 2, ep->now);
	swift_cut(&s->bulk_cwnd, s->bulk_cwnd.window / 2, ep->now);
	FABRIC_COUNT(ep, window_cuts);
}

/** A packet was found lost. */
void
fabric_congestion_lost(struct tp_endpoint *ep, struct fabric_session *s)
{
	if (s->send_next - s->loss_first > SWIFT_LOSS_SPAN) {
		s->loss_first = s->send_next;
		s->loss_count = 0;
	}
	if (FABRIC_MUTANT(ep, deaf_to_loss))
		return;
	if (++s->loss_count <= SWIFT_LOSS_MAX && !FABRIC_MUTANT(ep, halve_each_loss))
		return;
	s->loss_first = s->send_next;
	s->loss_count = 0;
	congestion_halve(ep, s);
}

/** Nothing came back for a whole timeout; again is for a second one in a row. */
void
fabric_congestion_timeout(struct tp_endpoint *ep, struct fabric_session *s, bool again)
{
	congestion_halve(ep, s);
	if (!again)
		return;
	s->cwnd.window = FABRIC_CWND_MIN;
	s->bulk_cwnd.window = FABRIC_CWND_MIN;
}
