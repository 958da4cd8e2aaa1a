/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Peers: who they are, whether they answer, and which of their lives they are
 * in (docs/protocol.md sections 4.1 and 4.7). A peer is heard when a packet of
 * a session with it arrives whose epochs are right; greetings alone do not
 * count, or a node that cannot be reached but still talks would look alive.
 */
#include <errno.h>
#include <string.h>

#include <rte_common.h>

#include "fabric_priv.h"

struct fabric_peer *
fabric_peer_lookup(const struct tp_endpoint *ep, uint16_t node)
{
	uint32_t index = ep->peer_of_node[node];

	return index == 0 ? NULL : &ep->peers[index - 1];
}

/** The session that carries a peer's heartbeats. */
static struct fabric_session *
peer_heartbeat_session(struct tp_endpoint *ep, struct fabric_peer *peer)
{
	return fabric_session_get(ep, peer, ep->config.worker % peer->worker_count);
}

static void
peer_greet(struct tp_endpoint *ep, struct fabric_peer *peer)
{
	struct fabric_session *s = peer_heartbeat_session(ep, peer);

	if (s != NULL && s->state == FABRIC_SESSION_CLOSED)
		fabric_session_open(ep, s);
}

void
fabric_peer_rearm(struct tp_endpoint *ep, struct fabric_peer *peer)
{
	uint64_t deadline = peer->arp_at;

	if (peer->state != TP_PEER_DOWN)
		deadline = RTE_MIN(deadline, peer->last_heard + ep->config.peer_timeout_ns);
	if (peer->state == TP_PEER_UP)
		deadline = RTE_MIN(deadline, RTE_MAX(peer->ping_at,
			peer->last_heard + ep->config.heartbeat_ns));
	fabric_timer_set(ep, &peer->timer, deadline);
}

/** The address may be wrong: go on with it, but ask again. */
void
fabric_peer_mac_doubt(struct tp_endpoint *ep, struct fabric_peer *peer)
{
	if (peer->mac_static || peer->arp_at != FABRIC_NEVER)
		return;
	/* Whoever answers with one address and sends from another is not asked all the time. */
	peer->arp_at = RTE_MAX(ep->now, peer->arp_asked + ep->config.heartbeat_ns);
	fabric_peer_rearm(ep, peer);
}

void
fabric_peer_up(struct tp_endpoint *ep, struct fabric_peer *peer)
{
	if (peer->state == TP_PEER_UP)
		return;
	peer->state = TP_PEER_UP;
	peer->last_heard = ep->now;
	peer->ping_at = 0;
	fabric_peer_rearm(ep, peer);
	FABRIC_COUNT(ep, peers_up);
	ep->ops.peer_up(ep->ctx, peer->node, peer->incarnation);
}

static void
peer_sessions_drop(struct tp_endpoint *ep, struct fabric_peer *peer)
{
	uint32_t worker;

	for (worker = 0; worker < TP_ENDPOINT_WORKERS_MAX; worker++) {
		struct fabric_session *s = fabric_session_find(ep, peer, (uint8_t)worker);

		if (s != NULL)
			fabric_session_drop(ep, s);
	}
}

/**
 * A peer is gone: all sessions with it go, also those of its other workers
 * after a RESET of one, and the peer is greeted anew. So peer_down means that
 * whatever was under way between this endpoint and that node is over, and what
 * comes after peer_up is new: the layers above count on both.
 */
void
fabric_peer_down(struct tp_endpoint *ep, struct fabric_peer *peer,
	enum tp_peer_down_reason reason)
{
	uint32_t incarnation = peer->incarnation;
	bool was_down = peer->state == TP_PEER_DOWN;

	peer->state = TP_PEER_DOWN;
	peer_sessions_drop(ep, peer);
	peer_greet(ep, peer);
	fabric_peer_mac_doubt(ep, peer);
	fabric_peer_rearm(ep, peer);
	if (was_down)
		return;
	FABRIC_COUNT(ep, peers_down);
	ep->ops.peer_down(ep->ctx, peer->node, incarnation, reason);
}

static void
peer_incarnation_set(struct tp_endpoint *ep, struct fabric_peer *peer, uint32_t incarnation)
{
	uint32_t worker;

	peer->incarnation = incarnation;
	for (worker = 0; worker < TP_ENDPOINT_WORKERS_MAX; worker++) {
		struct fabric_session *s = fabric_session_find(ep, peer, (uint8_t)worker);

		if (s == NULL)
			continue;
		/* Its epochs start over. */
		s->closed_epoch = 0;
		s->remote_epoch = 0;
		fabric_template_build(ep, s);
	}
}

/** A packet speaks with an incarnation that is not the one we know. */
static bool
peer_incarnation_differs(struct tp_endpoint *ep, struct fabric_peer *peer,
	uint32_t incarnation, uint8_t type)
{
	bool greets = type == TP_WIRE_HELLO || type == TP_WIRE_HELLO_ACK;

	if (incarnation == 0)
		return false;
	if (peer->incarnation == 0) {
		if (!greets)
			return false;
		peer_incarnation_set(ep, peer, incarnation);
		return true;
	}
	if (fabric_before(incarnation, peer->incarnation) || (!greets && type != TP_WIRE_RESET))
		return false;
	/* Known already: to greet it again now would draw the next RESET at once. */
	if (peer->state == TP_PEER_DOWN && !peer->learn)
		return false;
	/* Only a restart makes a newer one: the old life is over. */
	fabric_peer_down(ep, peer, TP_PEER_RESTARTED);
	if (!peer->learn)
		return false;
	peer_incarnation_set(ep, peer, incarnation);
	return true;
}

/** Is a packet from this peer, in its present life, to us in ours? Counts if not. */
bool
fabric_peer_admit(struct tp_endpoint *ep, struct fabric_peer *peer,
	const struct tp_wire_header *header, struct fabric_link *link)
{
	const uint8_t *ip = (const uint8_t *)header - TP_WIRE_UDP_BYTES - TP_WIRE_IPV4_BYTES;
	uint32_t src = rte_le_to_cpu_32(header->src_incarnation);
	uint32_t dst = rte_le_to_cpu_32(header->dst_incarnation);
	uint32_t src_ip = (uint32_t)ip[12] << 24 | (uint32_t)ip[13] << 16 |
		(uint32_t)ip[14] << 8 | ip[15];

	if (unlikely(src_ip != peer->ip || link != &ep->links[peer->link_index])) {
		FABRIC_COUNT(ep, drop_source);
		return false;
	}
	if (unlikely(src != peer->incarnation) &&
	    !peer_incarnation_differs(ep, peer, src, header->type)) {
		FABRIC_COUNT(ep, drop_incarnation);
		return false;
	}
	if (likely(dst == ep->config.incarnation) || (dst == 0 && header->type == TP_WIRE_HELLO))
		return true;
	FABRIC_COUNT(ep, drop_incarnation);
	/* It talks to a life of ours that is over: tell it. */
	if (dst != 0 && header->type != TP_WIRE_RESET &&
	    fabric_before(dst, ep->config.incarnation))
		fabric_reset_send(ep, peer, header);
	return false;
}

void
fabric_peer_timer(struct tp_endpoint *ep, struct fabric_peer *peer)
{
	uint64_t now = ep->now;

	if (peer->state != TP_PEER_DOWN && now >= peer->last_heard + ep->config.peer_timeout_ns)
		fabric_peer_down(ep, peer, TP_PEER_TIMEOUT);
	if (peer->state == TP_PEER_UP && now >= peer->ping_at &&
	    now >= peer->last_heard + ep->config.heartbeat_ns) {
		struct fabric_session *s = peer_heartbeat_session(ep, peer);

		peer->ping_at = now + ep->config.heartbeat_ns;
		if (s != NULL && s->state == FABRIC_SESSION_ESTABLISHED) {
			s->ping_now = true;
			fabric_session_ready(ep, s);
		} else if (s != NULL && s->state == FABRIC_SESSION_CLOSED) {
			fabric_session_open(ep, s);
		}
	}
	if (now >= peer->arp_at) {
		fabric_arp_ask(ep, peer);
		peer->arp_asked = now;
		peer->arp_at = now + (peer->state == TP_PEER_DOWN ?
			4 * ep->config.heartbeat_ns : FABRIC_ARP_NS);
	}
	fabric_peer_rearm(ep, peer);
}

static void
peer_forget_sessions(struct tp_endpoint *ep, struct fabric_peer *peer)
{
	uint32_t worker;

	for (worker = 0; worker < TP_ENDPOINT_WORKERS_MAX; worker++) {
		struct fabric_session *s = fabric_session_find(ep, peer, (uint8_t)worker);

		if (s != NULL)
			fabric_session_put(ep, s);
	}
}

static struct fabric_peer *
peer_claim(struct tp_endpoint *ep, uint16_t node)
{
	uint32_t i;

	for (i = 0; i < ep->config.peer_max; i++) {
		struct fabric_peer *peer = &ep->peers[i];

		if (peer->used)
			continue;
		memset(peer, 0, sizeof(*peer));
		peer->used = true;
		peer->index = i;
		peer->node = node;
		peer->timer.kind = FABRIC_TIMER_PEER;
		peer->timer.deadline = FABRIC_NEVER;
		ep->peer_of_node[node] = (uint16_t)(i + 1);
		ep->peer_count++;
		return peer;
	}
	return NULL;
}

static uint32_t
peer_next_hop(const struct fabric_link *link, uint32_t ip)
{
	if (link->gateway == 0 || ((ip ^ link->ip) & link->netmask) == 0)
		return ip;
	return link->gateway;
}

static void
peer_mac_set(struct tp_endpoint *ep, struct fabric_peer *peer, const uint8_t *mac)
{
	peer->mac_static = mac != NULL;
	peer->arp_at = FABRIC_NEVER;
	if (mac != NULL) {
		memcpy(peer->mac, mac, 6);
		peer->mac_known = true;
	} else if (!peer->mac_known) {
		peer->arp_at = ep->now;
	}
}

static void
peer_restart(struct tp_endpoint *ep, struct fabric_peer *peer, uint32_t incarnation)
{
	peer_forget_sessions(ep, peer);
	peer->incarnation = incarnation;
	peer->state = TP_PEER_CONNECTING;
	peer->last_heard = ep->now;
	peer->ping_at = 0;
	peer_greet(ep, peer);
}

int
tp_endpoint_peer_set(struct tp_endpoint *ep, uint16_t node, uint32_t incarnation,
	uint32_t ip, const uint8_t mac[6], uint8_t link_index, uint8_t worker_count)
{
	struct fabric_peer *peer = fabric_peer_lookup(ep, node);
	bool same;

	if (node == ep->config.node || link_index >= ep->config.link_count || ip == 0 ||
	    worker_count == 0 || worker_count > TP_ENDPOINT_WORKERS_MAX ||
	    (mac != NULL && (mac[0] & 1) != 0))
		return -EINVAL;
	same = peer != NULL && peer->ip == ip && peer->link_index == link_index &&
		peer->worker_count == worker_count && peer->learn == (incarnation == 0) &&
		(incarnation == 0 || incarnation == peer->incarnation);
	if (peer == NULL)
		peer = peer_claim(ep, node);
	if (peer == NULL)
		return -ENOSPC;
	if (!same && peer->ip != ip)
		peer->mac_known = false;
	peer->ip = ip;
	peer->link_index = link_index;
	peer->next_hop = peer_next_hop(&ep->links[link_index], ip);
	peer->worker_count = worker_count;
	peer->learn = incarnation == 0;
	peer_mac_set(ep, peer, mac);
	if (!same)
		peer_restart(ep, peer, incarnation);
	fabric_peer_rearm(ep, peer);
	return 0;
}

int
tp_endpoint_peer_remove(struct tp_endpoint *ep, uint16_t node)
{
	struct fabric_peer *peer = fabric_peer_lookup(ep, node);

	if (peer == NULL)
		return -ENOENT;
	peer_forget_sessions(ep, peer);
	fabric_timer_cancel(ep, &peer->timer);
	ep->peer_of_node[node] = 0;
	ep->peer_count--;
	peer->used = false;
	return 0;
}

int
tp_endpoint_peer_silence(struct tp_endpoint *ep, uint16_t node)
{
	struct fabric_peer *peer = fabric_peer_lookup(ep, node);

	if (peer == NULL)
		return -ENOENT;
	fabric_peer_down(ep, peer, TP_PEER_TIMEOUT);
	return 0;
}

int
tp_endpoint_peer_state(const struct tp_endpoint *ep, uint16_t node, uint32_t *incarnation_out)
{
	const struct fabric_peer *peer = fabric_peer_lookup(ep, node);

	if (peer == NULL)
		return -ENOENT;
	if (incarnation_out != NULL)
		*incarnation_out = peer->incarnation;
	return peer->state;
}
