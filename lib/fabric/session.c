/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Sessions: the handshake, epochs, and what time does to them
 * (docs/protocol.md section 4).
 *
 * How a session opens: each side picks an epoch larger than any it used
 * before and sends HELLO until a packet comes back that names that epoch. A
 * HELLO alone may be an old duplicate, so it only makes the other epoch known
 * for now; a packet that names our epoch proves that the other side is there
 * now, and establishes. Who takes another remote epoch for a new one takes a
 * new epoch itself, so a pair of epochs is never used twice.
 */
#include <string.h>

#include <rte_common.h>

#include "fabric_priv.h"

static uint32_t *
session_slot(const struct tp_endpoint *ep, const struct fabric_peer *peer, uint8_t worker)
{
	return &ep->session_of[peer->index * TP_ENDPOINT_WORKERS_MAX + worker];
}

struct fabric_session *
fabric_session_find(const struct tp_endpoint *ep, const struct fabric_peer *peer, uint8_t worker)
{
	uint32_t index = *session_slot(ep, peer, worker);

	return index == 0 ? NULL : &ep->sessions[index - 1];
}

/** Find or make the session with one worker of a peer; NULL if none is left. */
struct fabric_session *
fabric_session_get(struct tp_endpoint *ep, struct fabric_peer *peer, uint8_t worker)
{
	struct fabric_session *s = fabric_session_find(ep, peer, worker);
	uint32_t index;

	if (likely(s != NULL))
		return s;
	if (ep->session_free_count == 0)
		return NULL;
	index = ep->session_free[--ep->session_free_count];
	s = &ep->sessions[index];
	memset(s, 0, sizeof(*s));
	s->index = index;
	s->peer_index = peer->index;
	s->worker = worker;
	s->ready_next = FABRIC_NONE;
	s->queue_current = FABRIC_NONE;
	s->reassembly = FABRIC_NONE;
	s->timer.kind = FABRIC_TIMER_SESSION;
	s->timer.deadline = FABRIC_NEVER;
	*session_slot(ep, peer, worker) = index + 1;
	return s;
}

static void
session_unready(struct tp_endpoint *ep, struct fabric_session *s)
{
	uint32_t *link = &ep->ready_head;
	uint32_t last = FABRIC_NONE;

	if (!s->ready)
		return;
	while (*link != s->index) {
		last = *link;
		link = &ep->sessions[last].ready_next;
	}
	*link = s->ready_next;
	if (ep->ready_tail == s->index)
		ep->ready_tail = last;
	s->ready = false;
	s->ready_next = FABRIC_NONE;
}

/** Forget a session for good. */
void
fabric_session_put(struct tp_endpoint *ep, struct fabric_session *s)
{
	fabric_session_drop(ep, s);
	session_unready(ep, s);
	fabric_timer_cancel(ep, &s->timer);
	*session_slot(ep, fabric_session_peer(ep, s), s->worker) = 0;
	ep->session_free[ep->session_free_count++] = s->index;
}

/** Let the next flush look at a session. */
void
fabric_session_ready(struct tp_endpoint *ep, struct fabric_session *s)
{
	if (s->ready)
		return;
	s->ready = true;
	s->ready_next = FABRIC_NONE;
	if (ep->ready_head == FABRIC_NONE)
		ep->ready_head = s->index;
	else
		ep->sessions[ep->ready_tail].ready_next = s->index;
	ep->ready_tail = s->index;
}

static bool
session_waits(const struct fabric_session *s)
{
	return fabric_session_outstanding(s) != 0 || s->probe_at != FABRIC_NEVER;
}

/** Put the session's earliest deadline into the heap. */
void
fabric_session_rearm(struct tp_endpoint *ep, struct fabric_session *s)
{
	uint64_t silent = s->alive_ns + ep->config.peer_timeout_ns;
	uint64_t deadline = FABRIC_NEVER;

	switch (s->state) {
	case FABRIC_SESSION_CONNECTING:
		deadline = s->hello_at;
		if (fabric_session_peer(ep, s)->state == TP_PEER_UP)
			deadline = RTE_MIN(deadline, silent);
		break;
	case FABRIC_SESSION_ESTABLISHED:
		deadline = RTE_MIN(RTE_MIN(s->loss_at, s->ack_at), s->probe_at);
		if (session_waits(s))
			deadline = RTE_MIN(deadline, silent);
		break;
	default:
		break;
	}
	fabric_timer_set(ep, &s->timer, deadline);
}

static void
session_epoch_renew(struct tp_endpoint *ep, struct fabric_session *s)
{
	if (++ep->epoch == 0)
		ep->epoch = 1;
	s->local_epoch = ep->epoch;
}

static void
session_state_init(struct tp_endpoint *ep, struct fabric_session *s)
{
	s->ack_now = false;
	s->ack_asked = false;
	s->ping_now = false;
	s->hello_ack_now = false;
	s->hello_now = false;
	s->probe_now = false;
	s->loss_timer = FABRIC_LOSS_PROBE;
	s->send_first = TP_WIRE_SEQUENCE_FIRST;
	s->send_next = TP_WIRE_SEQUENCE_FIRST;
	s->receive_next = TP_WIRE_SEQUENCE_FIRST;
	s->receive_bits = 0;
	s->sacked_count = 0;
	s->lost_count = 0;
	s->rto_count = 0;
	s->sacked_bits = 0;
	s->delivered_ns = 0;
	s->bulk_in_flight = 0;
	s->bulk_unasked = 0;
	fabric_congestion_init(s);
	s->message_id = 0;
	memset(s->credit_used, 0, sizeof(s->credit_used));
	memset(s->credit_returned, 0, sizeof(s->credit_returned));
	memset(s->delivered, 0, sizeof(s->delivered));
	s->requests_done = 0;
	s->ack_waiting = 0;
	s->echo = 0;
	s->echo_due = false;
	s->echo_fresh = false;
	s->srtt_ns = 0;
	s->rttvar_ns = 0;
	s->rtt_fresh = 0;
	s->rto_ns = RTE_MIN(RTE_MAX(FABRIC_RTO_FIRST_NS, ep->config.rto_min_ns),
		ep->config.rto_max_ns);
	s->pto_ns = s->rto_ns;
	s->probe_ns = s->rto_ns;
	s->loss_at = FABRIC_NEVER;
	s->ack_at = FABRIC_NEVER;
	s->probe_at = FABRIC_NEVER;
	s->hello_at = FABRIC_NEVER;
	s->alive_ns = ep->now;
}

/** Start to greet. */
void
fabric_session_open(struct tp_endpoint *ep, struct fabric_session *s)
{
	RTE_ASSERT(s->state == FABRIC_SESSION_CLOSED);
	session_epoch_renew(ep, s);
	session_state_init(ep, s);
	s->state = FABRIC_SESSION_CONNECTING;
	s->remote_epoch = 0;
	s->hello_ns = FABRIC_HELLO_FIRST_NS;
	s->hello_now = true;
	fabric_template_build(ep, s);
	fabric_session_ready(ep, s);
	fabric_session_rearm(ep, s);
}

/** Everything in flight and half arrived is gone; the session is closed. */
void
fabric_session_drop(struct tp_endpoint *ep, struct fabric_session *s)
{
	if (s->state == FABRIC_SESSION_CLOSED)
		return;
	if (s->state == FABRIC_SESSION_ESTABLISHED) {
		s->closed_epoch = s->remote_epoch;
		FABRIC_COUNT(ep, sessions_reset);
	}
	fabric_session_tx_clear(ep, s);
	fabric_session_rx_clear(ep, s);
	session_state_init(ep, s);
	s->state = FABRIC_SESSION_CLOSED;
	s->remote_epoch = 0;
	fabric_session_rearm(ep, s);
}

static void
session_establish(struct tp_endpoint *ep, struct fabric_session *s)
{
	struct fabric_peer *peer = fabric_session_peer(ep, s);

	s->state = FABRIC_SESSION_ESTABLISHED;
	s->hello_now = false;
	s->hello_at = FABRIC_NEVER;
	s->alive_ns = ep->now;
	peer->last_heard = ep->now;
	fabric_template_build(ep, s);
	fabric_session_ready(ep, s);
	fabric_session_rearm(ep, s);
	fabric_peer_up(ep, peer);
}

/** The other side lost its half: ours is of no use, and the upper layer must know. */
static void
session_reset_by_peer(struct tp_endpoint *ep, struct fabric_session *s)
{
	fabric_peer_down(ep, fabric_session_peer(ep, s), TP_PEER_RESET);
	if (s->state == FABRIC_SESSION_CLOSED)
		fabric_session_open(ep, s);
}

static bool
hello_valid(const struct tp_wire_hello *hello)
{
	uint32_t request = rte_le_to_cpu_16(hello->request_credits);
	uint32_t forward = rte_le_to_cpu_16(hello->forward_credits);
	uint32_t mtu = rte_le_to_cpu_16(hello->mtu);

	return hello->header.src_epoch != 0 && request >= 1 && request <= TP_WIRE_CREDITS_MAX &&
		forward >= 1 && forward <= TP_WIRE_CREDITS_MAX &&
		rte_le_to_cpu_16(hello->window) == TP_WIRE_WINDOW &&
		mtu >= TP_WIRE_MTU_MIN && mtu <= TP_WIRE_MTU_MAX;
}

static void
hello_adopt(struct tp_endpoint *ep, struct fabric_session *s, const struct tp_wire_hello *hello)
{
	const struct fabric_peer *peer = fabric_session_peer(ep, s);
	uint32_t mtu = rte_le_to_cpu_16(hello->mtu);

	s->remote_epoch = rte_le_to_cpu_32(hello->header.src_epoch);
	s->credit_granted[TP_CLASS_REQUEST] = rte_le_to_cpu_16(hello->request_credits);
	s->credit_granted[TP_CLASS_FORWARD] = rte_le_to_cpu_16(hello->forward_credits);
	s->fragment_bytes = tp_wire_fragment_bytes(
		RTE_MIN(mtu, (uint32_t)ep->links[peer->link_index].link->mtu));
	fabric_template_build(ep, s);
}

static bool
hello_is_stale(const struct fabric_session *s, uint32_t epoch)
{
	return (s->remote_epoch != 0 && fabric_before(epoch, s->remote_epoch)) ||
		(s->closed_epoch != 0 && !fabric_before(s->closed_epoch, epoch));
}

static void
hello_answer(struct tp_endpoint *ep, struct fabric_session *s, uint8_t type)
{
	if (type == TP_WIRE_HELLO)
		s->hello_ack_now = true;
	else
		s->ack_now = s->ack_asked = true;	/* names its epoch, which it waits for */
	fabric_session_ready(ep, s);
}

/** HELLO or HELLO_ACK of the peer's present incarnation. */
void
fabric_session_hello_rx(struct tp_endpoint *ep, struct fabric_session *s,
	const struct tp_wire_hello *hello)
{
	uint32_t src = rte_le_to_cpu_32(hello->header.src_epoch);
	uint32_t dst = rte_le_to_cpu_32(hello->header.dst_epoch);
	uint8_t type = hello->header.type;

	if (!hello_valid(hello)) {
		FABRIC_COUNT(ep, drop_hello);
		return;
	}
	if (hello_is_stale(s, src) || (type == TP_WIRE_HELLO_ACK && dst != s->local_epoch)) {
		FABRIC_COUNT(ep, drop_epoch);
		return;
	}
	if (s->state == FABRIC_SESSION_ESTABLISHED) {
		if (src == s->remote_epoch) {
			if (type == TP_WIRE_HELLO)
				hello_answer(ep, s, type);
			return;
		}
		session_reset_by_peer(ep, s);
	}
	if (s->state == FABRIC_SESSION_CLOSED)
		fabric_session_open(ep, s);
	FABRIC_COUNT(ep, rx_packets);
	if (dst == s->local_epoch) {
		hello_adopt(ep, s, hello);
		session_establish(ep, s);
	} else {
		if (s->remote_epoch != 0 && s->remote_epoch != src)
			session_epoch_renew(ep, s);
		hello_adopt(ep, s, hello);
	}
	hello_answer(ep, s, type);
}

/** The peer has no such session: if it means the present one, start over. */
void
fabric_session_reset_rx(struct tp_endpoint *ep, struct fabric_session *s,
	const struct tp_wire_header *header)
{
	if (s->state != FABRIC_SESSION_ESTABLISHED ||
	    rte_le_to_cpu_32(header->dst_epoch) != s->local_epoch ||
	    rte_le_to_cpu_32(header->src_epoch) != s->remote_epoch) {
		FABRIC_COUNT(ep, drop_epoch);
		return;
	}
	session_reset_by_peer(ep, s);
}

/** Does a packet belong to the session's epoch? Counts, and answers, if not. */
bool
fabric_session_admit(struct tp_endpoint *ep, struct fabric_session *s,
	const struct tp_wire_header *header)
{
	if (likely(s->state != FABRIC_SESSION_CLOSED && s->remote_epoch != 0 &&
		   rte_le_to_cpu_32(header->dst_epoch) == s->local_epoch &&
		   rte_le_to_cpu_32(header->src_epoch) == s->remote_epoch)) {
		struct fabric_peer *peer = fabric_session_peer(ep, s);

		if (unlikely(s->state == FABRIC_SESSION_CONNECTING))
			session_establish(ep, s);
		s->alive_ns = ep->now;
		peer->last_heard = ep->now;
		FABRIC_COUNT(ep, rx_packets);
		return true;
	}
	FABRIC_COUNT(ep, drop_epoch);
	if (header->type == TP_WIRE_DATA || header->type == TP_WIRE_MANY ||
	    header->type == TP_WIRE_PING)
		fabric_reset_send(ep, fabric_session_peer(ep, s), header);
	return false;
}

void
fabric_session_timer(struct tp_endpoint *ep, struct fabric_session *s)
{
	struct fabric_peer *peer = fabric_session_peer(ep, s);
	uint64_t now = ep->now;
	bool silent = now >= s->alive_ns + ep->config.peer_timeout_ns;

	if (s->state == FABRIC_SESSION_CLOSED)
		return;
	if (silent && (s->state == FABRIC_SESSION_ESTABLISHED ? session_waits(s) :
		       peer->state == TP_PEER_UP)) {
		fabric_peer_down(ep, peer, TP_PEER_TIMEOUT);
		return;
	}
	if (now >= s->hello_at) {
		s->hello_at = FABRIC_NEVER;
		s->hello_now = true;
		fabric_session_ready(ep, s);
		if (s->hello_ns >= FABRIC_HELLO_DOUBT_NS)
			fabric_peer_mac_doubt(ep, peer);
	}
	if (now >= s->ack_at) {
		s->ack_at = FABRIC_NEVER;
		s->ack_now = true;
		fabric_session_ready(ep, s);
	}
	if (now >= s->probe_at) {
		s->probe_at = now + s->probe_ns;
		s->probe_ns = RTE_MIN(2 * s->probe_ns, ep->config.rto_max_ns);
		s->ping_now = true;
		fabric_session_ready(ep, s);
	}
	if (now >= s->loss_at)
		fabric_loss_timer_expired(ep, s);
	fabric_session_rearm(ep, s);
}
