/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * An endpoint's life and its turn: frames in, timers, frames out.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_common.h>
#include <rte_errno.h>
#include <rte_prefetch.h>

#include "fabric_priv.h"

#define ENDPOINT_MS UINT64_C(1000000)

#define ENDPOINT_DEFAULT(field, value) do {		\
	if ((field) == 0)				\
		(field) = (value);			\
} while (0)

static void
endpoint_defaults(struct tp_endpoint_config *config)
{
	ENDPOINT_DEFAULT(config->base_port, TP_ENDPOINT_PORT_DEFAULT);
	ENDPOINT_DEFAULT(config->worker_count, 1);
	ENDPOINT_DEFAULT(config->peer_max, 64);
	ENDPOINT_DEFAULT(config->session_max, 4u * config->peer_max);
	ENDPOINT_DEFAULT(config->request_credits, 32);
	ENDPOINT_DEFAULT(config->forward_credits, 64);
	ENDPOINT_DEFAULT(config->tx_frames, 2048);
	ENDPOINT_DEFAULT(config->rx_frames, 1024);
	ENDPOINT_DEFAULT(config->session_queue_frames, 256);
	ENDPOINT_DEFAULT(config->peer_timeout_ns, 150 * ENDPOINT_MS);
	ENDPOINT_DEFAULT(config->heartbeat_ns, config->peer_timeout_ns / 5);
	ENDPOINT_DEFAULT(config->ack_delay_ns, ENDPOINT_MS / 10);
	ENDPOINT_DEFAULT(config->rto_min_ns, ENDPOINT_MS);
	ENDPOINT_DEFAULT(config->rto_max_ns,
		RTE_MAX(config->peer_timeout_ns / 4, config->rto_min_ns));
}

static bool
endpoint_links_valid(const struct tp_endpoint_config *config)
{
	uint32_t i;

	if (config->link_count == 0 || config->link_count > TP_ENDPOINT_LINKS_MAX)
		return false;
	for (i = 0; i < config->link_count; i++) {
		const struct tp_endpoint_link *l = &config->links[i];

		if (l->link == NULL || l->ip == 0 || l->prefix_length > 32 ||
		    l->link->mtu < TP_WIRE_MTU_MIN || l->link->mtu > TP_WIRE_MTU_MAX ||
		    l->link->max_frame < l->link->mtu + TP_WIRE_ETHER_BYTES)
			return false;
	}
	return true;
}

static bool
endpoint_config_valid(const struct tp_endpoint_config *config)
{
	return config->incarnation != 0 &&
		config->worker < config->worker_count &&
		config->worker_count <= TP_ENDPOINT_WORKERS_MAX &&
		config->base_port <= UINT16_MAX - TP_ENDPOINT_WORKERS_MAX &&
		config->session_max >= config->peer_max &&
		config->request_credits <= TP_WIRE_CREDITS_MAX &&
		config->forward_credits <= TP_WIRE_CREDITS_MAX &&
		config->tx_frames >= TP_ENDPOINT_TX_FRAMES_MIN &&
		config->rx_frames >= TP_ENDPOINT_RX_FRAMES_MIN &&
		config->session_queue_frames >= TP_WIRE_FRAGMENTS_MAX &&
		config->heartbeat_ns < config->peer_timeout_ns &&
		config->rto_min_ns <= config->rto_max_ns &&
		endpoint_links_valid(config);
}

static bool
endpoint_memory_take(struct tp_endpoint *ep)
{
	const struct tp_endpoint_config *c = &ep->config;

	ep->peers = calloc(c->peer_max, sizeof(*ep->peers));
	ep->peer_of_node = calloc(FABRIC_NODES, sizeof(*ep->peer_of_node));
	ep->session_of = calloc((size_t)c->peer_max * TP_ENDPOINT_WORKERS_MAX,
		sizeof(*ep->session_of));
	/* Pages of sessions never used are never touched. */
	ep->sessions = calloc(c->session_max, sizeof(*ep->sessions));
	ep->session_free = calloc(c->session_max, sizeof(*ep->session_free));
	ep->packets = calloc(c->tx_frames, sizeof(*ep->packets));
	ep->reassemblies = calloc(c->rx_frames, sizeof(*ep->reassemblies));
	ep->heap = calloc((size_t)c->peer_max + c->session_max, sizeof(*ep->heap));
	return ep->peers != NULL && ep->peer_of_node != NULL && ep->session_of != NULL &&
		ep->sessions != NULL && ep->session_free != NULL && ep->packets != NULL &&
		ep->reassemblies != NULL && ep->heap != NULL;
}

static void
endpoint_memory_give(struct tp_endpoint *ep)
{
	free(ep->peers);
	free(ep->peer_of_node);
	free(ep->session_of);
	free(ep->sessions);
	free(ep->session_free);
	free(ep->packets);
	free(ep->reassemblies);
	free(ep->heap);
	free(ep);
}

static void
endpoint_lists_init(struct tp_endpoint *ep)
{
	const struct tp_endpoint_config *c = &ep->config;
	uint32_t i;

	ep->ready_head = FABRIC_NONE;
	ep->ready_tail = FABRIC_NONE;
	ep->privileged = FABRIC_NONE;
	for (i = 0; i < c->session_max; i++)
		ep->session_free[i] = c->session_max - 1 - i;
	ep->session_free_count = c->session_max;
	ep->packet_free = FABRIC_NONE;
	for (i = c->tx_frames; i-- > 0;)
		fabric_packet_put(ep, i);
	ep->class_reserve = RTE_MAX(TP_WIRE_FRAGMENTS_MAX, c->tx_frames / 8);
	ep->bulk_reserve = RTE_MIN(TP_WIRE_FRAGMENTS_MAX, c->tx_frames - TP_ENDPOINT_TX_FRAMES_MIN);
	for (i = 0; i < c->rx_frames; i++)
		ep->reassemblies[i].next = i + 1 < c->rx_frames ? i + 1 : FABRIC_NONE;
	ep->reassembly_free = 0;
	ep->rx_ordinary_max = c->rx_frames - TP_WIRE_FRAGMENTS_MAX;
}

static void
endpoint_links_init(struct tp_endpoint *ep)
{
	uint32_t i;

	for (i = 0; i < ep->config.link_count; i++) {
		const struct tp_endpoint_link *from = &ep->config.links[i];
		struct fabric_link *to = &ep->links[i];

		to->link = from->link;
		to->ip = from->ip;
		to->gateway = from->gateway;
		to->netmask = from->prefix_length == 0 ? 0 :
			UINT32_MAX << (32 - from->prefix_length);
	}
}

struct tp_endpoint *
tp_endpoint_create(const struct tp_endpoint_config *config, const struct tp_endpoint_ops *ops,
	void *ctx)
{
	struct tp_endpoint_config filled = *config;
	struct tp_endpoint *ep;

	endpoint_defaults(&filled);
	if (!endpoint_config_valid(&filled) || ops->message == NULL || ops->peer_up == NULL ||
	    ops->peer_down == NULL) {
		rte_errno = EINVAL;
		return NULL;
	}
	ep = calloc(1, sizeof(*ep));
	if (ep == NULL) {
		rte_errno = ENOMEM;
		return NULL;
	}
	ep->config = filled;
	/* Twice as long as it sleeps; where silence is short that is short enough. */
	ep->gap_min_ns = RTE_MAX(filled.peer_timeout_ns / 8,
		RTE_MIN(filled.peer_timeout_ns / 4, 5u * ENDPOINT_MS));
	ep->ops = *ops;
	ep->ctx = ctx;
	ep->epoch = (uint32_t)(filled.seed & 0xffff);
	if (!endpoint_memory_take(ep)) {
		endpoint_memory_give(ep);
		rte_errno = ENOMEM;
		return NULL;
	}
	endpoint_lists_init(ep);
	endpoint_links_init(ep);
	return ep;
}

void
tp_endpoint_destroy(struct tp_endpoint *ep)
{
	uint32_t i;
	uint32_t k;

	if (ep == NULL)
		return;
	for (i = 0; i < ep->config.peer_max; i++) {
		if (ep->peers[i].used)
			tp_endpoint_peer_remove(ep, ep->peers[i].node);
	}
	for (i = 0; i < ep->config.link_count; i++) {
		for (k = 0; k < ep->links[i].out_count; k++)
			tp_frame_free(&ep->links[i].out[k]);
	}
	endpoint_memory_give(ep);
}

/*
 * The gap rule: a worker that did not run for a while does not charge that to
 * its peers, so everything that waits for time waits that much longer. As long as
 * a worker that is on time may sleep counts: one that always comes too late finds
 * out about a death, too, a few turns later.
 */

static void
endpoint_time_shift(uint64_t *when, uint64_t gap)
{
	if (*when != FABRIC_NEVER)
		*when += gap;
}

static void
endpoint_gap(struct tp_endpoint *ep, uint64_t gap)
{
	uint32_t i;

	for (i = 0; i < ep->heap_count; i++) {
		ep->heap[i]->armed += gap;
		endpoint_time_shift(&ep->heap[i]->deadline, gap);
	}
	for (i = 0; i < ep->config.peer_max; i++) {
		struct fabric_peer *peer = &ep->peers[i];
		uint32_t worker;

		if (!peer->used)
			continue;
		peer->last_heard += gap;
		peer->ping_at += gap;
		endpoint_time_shift(&peer->arp_at, gap);
		for (worker = 0; worker < TP_ENDPOINT_WORKERS_MAX; worker++) {
			struct fabric_session *s = fabric_session_find(ep, peer, (uint8_t)worker);

			if (s == NULL)
				continue;
			s->alive_ns += gap;
			endpoint_time_shift(&s->loss_at, gap);
			endpoint_time_shift(&s->ack_at, gap);
			endpoint_time_shift(&s->hello_at, gap);
			endpoint_time_shift(&s->probe_at, gap);
		}
	}
}

/**
 * The turn in which time stamps came is over: from then on they wait. If it took long,
 * the thread did not run for a part of it, and nobody knows when they came. An ack may
 * have come as late as now: only so does its round trip count as one of the lowest.
 */
static void
endpoint_turn_end(struct tp_endpoint *ep, uint64_t end)
{
	uint32_t turn = fabric_timestamp(end) - fabric_timestamp(ep->now);
	bool known = end - ep->now <= FABRIC_TURN_MAX_NS;
	uint32_t i;

	for (i = 0; i < ep->fresh_count; i++) {
		struct fabric_session *s = &ep->sessions[ep->fresh[i]];

		s->fresh = false;
		if (s->echo_fresh) {
			s->echo -= turn;
			s->echo_due = s->echo_due && known;
		}
		s->echo_fresh = false;
		if (s->rtt_fresh != 0)
			fabric_congestion_low(ep, s, s->rtt_fresh + (end - ep->now));
		s->rtt_fresh = 0;
	}
	ep->fresh_count = 0;
}

static __rte_noinline void
endpoint_clock_jumped(struct tp_endpoint *ep, uint64_t now)
{
	uint64_t gap = now - ep->now;

	endpoint_gap(ep, ep->clock_started ? gap - ep->gap_min_ns / 2 : gap);
	if (ep->clock_started) {
		FABRIC_COUNT(ep, gaps);
		ep->gap_end = now;
	}
	ep->clock_started = true;
}

static __rte_always_inline void
endpoint_clock(struct tp_endpoint *ep, uint64_t now)
{
	if (unlikely(now < ep->now))
		return;
	if (unlikely(now - ep->now > ep->gap_min_ns || !ep->clock_started))
		endpoint_clock_jumped(ep, now);
	if (unlikely(ep->fresh_count != 0) && now != ep->now)
		endpoint_turn_end(ep, now);
	ep->now = now;
}

/* Frames in. */

static void
endpoint_packet(struct tp_endpoint *ep, struct fabric_session *s,
	const struct tp_wire_header *header, struct tp_frame *frame, bool *kept_out)
{
	switch (header->type) {
	case TP_WIRE_HELLO:
	case TP_WIRE_HELLO_ACK:
		fabric_session_hello_rx(ep, s, (const void *)header);
		return;
	case TP_WIRE_RESET:
		fabric_session_reset_rx(ep, s, header);
		return;
	default:
		break;
	}
	if (unlikely(!fabric_session_admit(ep, s, header)) ||
	    unlikely(!fabric_ack_rx(ep, s, header)))
		return;
	if (likely(header->type == TP_WIRE_DATA)) {
		*kept_out = fabric_data_rx(ep, s, (const void *)header, frame);
	} else if (header->type == TP_WIRE_MANY) {
		*kept_out = fabric_many_rx(ep, s, (const void *)header);
	} else if (header->type == TP_WIRE_PING) {
		s->ack_now = s->ack_asked = true;
		fabric_session_ready(ep, s);
	}
}

/**
 * A valid packet shows its sender's address: take it if none is known; if it is
 * another one than we use, one of the two is wrong.
 */
static void
endpoint_source_mac(struct tp_endpoint *ep, struct fabric_peer *peer, const uint8_t *mac)
{
	if (unlikely(!peer->mac_known))
		fabric_neighbour_learn(ep, peer->link_index, peer->next_hop, mac);
	else if (unlikely(memcmp(peer->mac, mac, 6) != 0))
		fabric_peer_mac_doubt(ep, peer);
}

/** A packet for this worker whose CRC is right; returns whether the frame was kept. */
static bool
endpoint_header(struct tp_endpoint *ep, struct fabric_link *link,
	const struct tp_wire_header *header, struct tp_frame *frame)
{
	struct fabric_peer *peer = fabric_peer_lookup(ep, rte_le_to_cpu_16(header->src_node));
	struct fabric_session *s;
	bool kept = false;

	if (unlikely(rte_le_to_cpu_16(header->dst_node) != ep->config.node ||
		     header->dst_worker != ep->config.worker)) {
		FABRIC_COUNT(ep, drop_node);
		return false;
	}
	if (unlikely(peer == NULL || header->src_worker >= peer->worker_count)) {
		FABRIC_COUNT(ep, drop_peer);
		return false;
	}
	if (unlikely(!fabric_peer_admit(ep, peer, header, link)))
		return false;
	endpoint_source_mac(ep, peer, (const uint8_t *)frame->data + 6);
	s = fabric_session_get(ep, peer, header->src_worker);
	if (unlikely(s == NULL)) {
		FABRIC_COUNT(ep, drop_no_session);
		return false;
	}
	endpoint_packet(ep, s, header, frame, &kept);
	return kept;
}

static void
endpoint_steer(struct tp_endpoint *ep, uint8_t worker, struct tp_frame *frame)
{
	if (ep->ops.steer == NULL) {
		FABRIC_COUNT(ep, drop_steer);
		tp_frame_free(frame);
		return;
	}
	FABRIC_COUNT(ep, steered);
	ep->ops.steer(ep->ctx, worker, frame);
}

static void
endpoint_frame(struct tp_endpoint *ep, uint8_t link_index, struct tp_frame *frame)
{
	struct fabric_link *link = &ep->links[link_index];
	const uint8_t *ether = frame->data;
	const struct tp_wire_header *header;
	uint8_t worker;

	FABRIC_COUNT(ep, rx_frames);
	FABRIC_ADD(ep, rx_bytes, frame->length);
	if (unlikely(frame->length < TP_WIRE_ETHER_BYTES)) {
		FABRIC_COUNT(ep, drop_short);
	} else if (likely(ether[12] == 0x08 && ether[13] == 0x00)) {
		header = fabric_packet_check(ep, link, frame, &worker);
		if (header != NULL && unlikely(worker != ep->config.worker)) {
			endpoint_steer(ep, worker, frame);
			return;
		}
		if (likely(header != NULL) && endpoint_header(ep, link, header, frame))
			return;
	} else if (ether[12] == 0x08 && ether[13] == 0x06) {
		fabric_arp_rx(ep, link_index, frame);
	} else {
		FABRIC_COUNT(ep, drop_ethertype);
	}
	tp_frame_free(frame);
}

/** Does a message begin at the first byte that may be one, and is it long enough to show? */
static bool
endpoint_hint_shows(const struct tp_wire_data *data)
{
	const struct tp_wire_part *part =
		(const void *)((const struct tp_wire_many *)(const void *)data + 1);

	if (data->header.type == TP_WIRE_DATA)
		return data->fragment_offset == 0;
	return data->header.type == TP_WIRE_MANY &&
		rte_le_to_cpu_32(part->length) >= TP_ENDPOINT_HINT_BYTES;
}

/** What a frame, or its first message, is about, as far as that shows before it is checked. */
static void
endpoint_hint(struct tp_endpoint *ep, const struct tp_frame *frame, bool next)
{
	const struct tp_wire_data *data =
		(const void *)((const uint8_t *)frame->data + TP_WIRE_OUTER_BYTES);
	uint32_t before = TP_WIRE_OUTER_BYTES + (uint32_t)sizeof(*data);

	if (frame->length >= before + TP_ENDPOINT_HINT_BYTES &&
	    ep->ops.hint != NULL && endpoint_hint_shows(data))
		ep->ops.hint(ep->ctx, data + 1, frame->length - before, next);
}

uint32_t
tp_endpoint_rx_poll(struct tp_endpoint *ep, uint64_t now)
{
	struct tp_frame frames[FABRIC_BURST];
	uint32_t total = 0;
	uint8_t l;

	endpoint_clock(ep, now);
	for (l = 0; l < ep->config.link_count; l++) {
		struct tp_link *link = ep->links[l].link;
		uint32_t n = link->ops->rx_burst(link, frames, FABRIC_BURST);
		uint32_t i;

		for (i = 0; i < n; i++)
			rte_prefetch0((const uint8_t *)frames[i].data + TP_WIRE_ETHER_BYTES);
		for (i = 0; i < n; i++)
			endpoint_hint(ep, &frames[i], false);
		for (i = 0; i < n; i++) {
			if (i + 1 < n)
				endpoint_hint(ep, &frames[i + 1], true);
			endpoint_frame(ep, l, &frames[i]);
			if (unlikely(ep->flush_soon) && i + 1 < n)
				tp_endpoint_tx_flush(ep, now);
		}
		total += n;
	}
	return total;
}

void
tp_endpoint_rx_frame(struct tp_endpoint *ep, struct tp_frame *frame, uint64_t now)
{
	const uint8_t *ether = frame->data;
	uint8_t l;

	endpoint_clock(ep, now);
	/*
	 * The frame's link is another worker's queue of the same port: ours is
	 * the one with the same address.
	 */
	for (l = 0; l < ep->config.link_count; l++) {
		if (frame->length >= TP_WIRE_ETHER_BYTES &&
		    memcmp(ep->links[l].link->mac, ether, 6) == 0) {
			endpoint_hint(ep, frame, false);
			endpoint_frame(ep, l, frame);
			return;
		}
	}
	FABRIC_COUNT(ep, drop_mac);
	tp_frame_free(frame);
}

uint32_t
tp_endpoint_timer_poll(struct tp_endpoint *ep, uint64_t now)
{
	struct fabric_timer *timer;
	uint32_t count = 0;

	endpoint_clock(ep, now);
	if (unlikely(!ep->announced)) {
		ep->announced = true;
		fabric_arp_announce(ep);
	}
	/* Each can be due once: what runs again within the turn waits for the next. */
	while (count < ep->config.peer_max + ep->config.session_max &&
	       (timer = fabric_timer_pop(ep, ep->now)) != NULL) {
		if (timer->kind == FABRIC_TIMER_SESSION)
			fabric_session_timer(ep, (struct fabric_session *)timer);
		else
			fabric_peer_timer(ep, (struct fabric_peer *)timer);
		count++;
	}
	return count;
}

uint32_t
tp_endpoint_tx_flush(struct tp_endpoint *ep, uint64_t now)
{
	uint64_t before = ep->counters[TP_ENDPOINT_COUNTER_tx_frames];
	uint32_t index = ep->ready_head;
	uint32_t i;

	endpoint_clock(ep, now);
	ep->flush_soon = false;
	ep->ready_head = FABRIC_NONE;
	ep->ready_tail = FABRIC_NONE;
	while (index != FABRIC_NONE) {
		struct fabric_session *s = &ep->sessions[index];

		index = s->ready_next;
		s->ready = false;
		s->ready_next = FABRIC_NONE;
		if (unlikely(!fabric_session_transmit(ep, s)))
			fabric_session_ready(ep, s);
	}
	for (i = 0; i < ep->config.link_count; i++)
		fabric_link_flush(ep, &ep->links[i]);
	return (uint32_t)(ep->counters[TP_ENDPOINT_COUNTER_tx_frames] - before);
}

uint64_t
tp_endpoint_next_timer(struct tp_endpoint *ep)
{
	uint64_t next = FABRIC_NEVER;

	endpoint_turn_end(ep, ep->now);
	if (tp_endpoint_tx_pending(ep) || (!ep->announced && ep->peer_count > 0))
		return ep->now;
	if (ep->heap_count > 0)
		next = ep->heap[0]->armed;
	/* Often enough that being on time never looks like a gap. */
	if (ep->peer_count > 0)
		next = RTE_MIN(next, ep->now + ep->gap_min_ns / 2);
	return next;
}

bool
tp_endpoint_tx_is_acks(const struct tp_endpoint *ep)
{
	uint32_t index;
	uint32_t i;

	for (i = 0; i < ep->config.link_count; i++) {
		if (ep->links[i].out_count != 0)
			return false;
	}
	for (index = ep->ready_head; index != FABRIC_NONE; index = ep->sessions[index].ready_next) {
		const struct fabric_session *s = &ep->sessions[index];

		if (s->queue_mask != 0 || s->lost_count != 0 || s->hello_now || s->hello_ack_now ||
		    s->ping_now || s->ack_asked)
			return false;
	}
	return true;
}

bool
tp_endpoint_tx_pending(const struct tp_endpoint *ep)
{
	uint32_t i;

	if (ep->ready_head != FABRIC_NONE)
		return true;
	for (i = 0; i < ep->config.link_count; i++) {
		if (ep->links[i].out_count > 0)
			return true;
	}
	return false;
}
