/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * ARP. There is no cache beside the peer table: only next hops of peers are
 * ever asked for, so each peer keeps the address of its own, and nothing a
 * stranger sends can fill anything. What waits for an address waits in the
 * sessions, which do not open before.
 */
#include <string.h>

#include "fabric_priv.h"

#define ARP_BYTES 28u
#define ARP_FRAME_BYTES (TP_WIRE_ETHER_BYTES + ARP_BYTES)
#define ARP_REQUEST 1
#define ARP_REPLY 2

static const uint8_t arp_fixed[6] = { 0, 1, 8, 0, 6, 4 };	/* ethernet, ipv4, sizes */
static const uint8_t arp_broadcast[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

static uint32_t
arp_read_ip(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void
arp_write_ip(uint8_t *p, uint32_t ip)
{
	uint32_t i;

	for (i = 0; i < 4; i++)
		p[i] = (uint8_t)(ip >> (24 - 8 * i));
}

static void
arp_send(struct tp_endpoint *ep, struct fabric_link *link, uint8_t operation,
	const uint8_t *target_mac, uint32_t target_ip)
{
	const uint8_t *dst = operation == ARP_REPLY ? target_mac : arp_broadcast;
	struct tp_frame frame;
	uint8_t *p;

	if (!fabric_link_has_room(ep, link) ||
	    link->link->ops->tx_alloc(link->link, &frame, 1) != 1)
		return;
	p = frame.data;
	memset(p, 0, ARP_FRAME_BYTES);
	memcpy(p, dst, 6);
	memcpy(p + 6, link->link->mac, 6);
	p[12] = 0x08;
	p[13] = 0x06;
	p += TP_WIRE_ETHER_BYTES;
	memcpy(p, arp_fixed, sizeof(arp_fixed));
	p[7] = operation;
	memcpy(p + 8, link->link->mac, 6);
	arp_write_ip(p + 14, link->ip);
	if (operation == ARP_REPLY)
		memcpy(p + 18, target_mac, 6);
	arp_write_ip(p + 24, target_ip);
	frame.length = ARP_FRAME_BYTES;
	fabric_link_push(ep, link, &frame);
	FABRIC_COUNT(ep, tx_arp);
}

/** Ask for the next hop of a peer, once. */
void
fabric_arp_ask(struct tp_endpoint *ep, struct fabric_peer *peer)
{
	arp_send(ep, &ep->links[peer->link_index], ARP_REQUEST, NULL, peer->next_hop);
}

/** Say our addresses, so that switches and peers know where we are now. */
void
fabric_arp_announce(struct tp_endpoint *ep)
{
	uint32_t i;

	for (i = 0; i < ep->config.link_count; i++)
		arp_send(ep, &ep->links[i], ARP_REQUEST, NULL, ep->links[i].ip);
}

static void
neighbour_peer_set(struct tp_endpoint *ep, struct fabric_peer *peer, const uint8_t *mac)
{
	uint32_t worker;

	memcpy(peer->mac, mac, 6);
	peer->arp_at = FABRIC_NEVER;
	if (peer->mac_known)
		return;
	peer->mac_known = true;
	/* Those that could not greet so far may now. */
	for (worker = 0; worker < peer->worker_count; worker++) {
		struct fabric_session *s = fabric_session_find(ep, peer, (uint8_t)worker);

		if (s != NULL && s->state == FABRIC_SESSION_CONNECTING) {
			s->hello_now = true;
			fabric_session_ready(ep, s);
		}
	}
}

/** Take a MAC address for every peer behind an IP address. */
void
fabric_neighbour_learn(struct tp_endpoint *ep, uint8_t link_index, uint32_t ip,
	const uint8_t *mac)
{
	uint32_t i;

	for (i = 0; i < ep->config.peer_max; i++) {
		struct fabric_peer *peer = &ep->peers[i];

		if (peer->used && !peer->mac_static && peer->link_index == link_index &&
		    peer->next_hop == ip)
			neighbour_peer_set(ep, peer, mac);
	}
}

void
tp_endpoint_neighbour_set(struct tp_endpoint *ep, uint8_t link_index, uint32_t ip,
	const uint8_t mac[6])
{
	if ((mac[0] & 1) == 0)
		fabric_neighbour_learn(ep, link_index, ip, mac);
}

static bool
arp_valid(const struct fabric_link *link, const struct tp_frame *frame)
{
	const uint8_t *arp = (const uint8_t *)frame->data + TP_WIRE_ETHER_BYTES;

	if (frame->length < ARP_FRAME_BYTES || memcmp(arp, arp_fixed, sizeof(arp_fixed)) != 0)
		return false;
	if (arp[6] != 0 || (arp[7] != ARP_REQUEST && arp[7] != ARP_REPLY))
		return false;
	/* A group address is nobody's; our own IP from elsewhere is a conflict. */
	return (arp[8] & 1) == 0 && arp_read_ip(arp + 14) != link->ip;
}

/** One ARP frame: answer it if it asks for us, learn from it if it is for us. */
void
fabric_arp_rx(struct tp_endpoint *ep, uint8_t link_index, const struct tp_frame *frame)
{
	struct fabric_link *link = &ep->links[link_index];
	const uint8_t *arp = (const uint8_t *)frame->data + TP_WIRE_ETHER_BYTES;
	uint32_t sender;
	uint32_t target;

	if (!arp_valid(link, frame)) {
		FABRIC_COUNT(ep, drop_arp);
		return;
	}
	sender = arp_read_ip(arp + 14);
	target = arp_read_ip(arp + 24);
	if (target != link->ip && target != sender) {
		FABRIC_COUNT(ep, drop_arp);
		return;
	}
	FABRIC_COUNT(ep, rx_arp);
	if (sender == 0)
		return;		/* a probe: its sender has no address yet */
	fabric_neighbour_learn(ep, link_index, sender, arp + 8);
	if (ep->ops.neighbour != NULL)
		ep->ops.neighbour(ep->ctx, link_index, sender, arp + 8);
	if (arp[7] == ARP_REQUEST && target == link->ip)
		arp_send(ep, link, ARP_REPLY, arp + 8, sender);
}
