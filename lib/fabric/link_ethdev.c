/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A link over one queue pair of any DPDK ethdev port. A frame's handle is its
 * mbuf. Received mbufs are only read: over rings the sender still holds the
 * same one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_cycles.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "fabric_priv.h"
#include "port_priv.h"
#include "tp_link_ethdev.h"

#define ETHDEV_BURST 64u
/* After so much silence the other side may sleep: well before it does. */
#define ETHDEV_QUIET_NS (TP_PORT_AWAKE_NS / 2)

struct ethdev_link {
	struct tp_link link;	/* first: a link is cast to this */
	uint16_t port;
	uint16_t rx_queue;
	uint16_t tx_queue;
	struct rte_mempool *pool;
	const struct fabric_port_bell *bell;	/* of who receives what we send; or NULL */
	tp_port_count_fn count;		/* before each burst of a port that has one */
	uint64_t quiet_ticks;
	uint64_t heard;			/* when a frame came last, in ticks */
	uint16_t counted_burst;		/* frames to ask for next of a port that counts */
};

static struct ethdev_link *
ethdev_link_of(struct tp_link *link)
{
	return (struct ethdev_link *)link;
}

/** A chained mbuf as one; consumes it. NULL if no buffer holds it. */
static struct rte_mbuf *
ethdev_linear(struct ethdev_link *e, struct rte_mbuf *m)
{
	struct rte_mbuf *copy = rte_pktmbuf_alloc(e->pool);
	uint32_t length = rte_pktmbuf_pkt_len(m);
	char *data = NULL;
	const void *from;

	if (copy != NULL && length <= rte_pktmbuf_tailroom(copy))
		data = rte_pktmbuf_append(copy, (uint16_t)length);
	if (data != NULL) {
		from = rte_pktmbuf_read(m, 0, length, data);
		if (from != NULL && from != data)
			memcpy(data, from, length);
	} else {
		rte_pktmbuf_free(copy);
		copy = NULL;
	}
	rte_pktmbuf_free(m);
	return copy;
}

static uint32_t
ethdev_rx_burst(struct tp_link *link, struct tp_frame *frames, uint32_t n)
{
	struct ethdev_link *e = ethdev_link_of(link);
	struct rte_mbuf *mbufs[ETHDEV_BURST];
	uint32_t count = 0;
	uint16_t got;
	uint16_t i;

	got = rte_eth_rx_burst(e->port, e->rx_queue, mbufs,
		(uint16_t)RTE_MIN(n, ETHDEV_BURST));
	for (i = 0; i < got; i++) {
		struct rte_mbuf *m = mbufs[i];

		if (unlikely(m->nb_segs > 1)) {
			m = ethdev_linear(e, m);
			if (m == NULL) {
				link->rx_dropped++;
				continue;
			}
		}
		frames[count++] = (struct tp_frame){
			.data = rte_pktmbuf_mtod(m, void *),
			.handle = m,
			.link = link,
			.length = rte_pktmbuf_data_len(m),
		};
	}
	return count;
}

static uint32_t
ethdev_tx_burst(struct tp_link *link, struct tp_frame *frames, uint32_t n)
{
	struct ethdev_link *e = ethdev_link_of(link);
	struct rte_mbuf *mbufs[ETHDEV_BURST];
	uint32_t i;

	n = RTE_MIN(n, ETHDEV_BURST);
	for (i = 0; i < n; i++) {
		struct rte_mbuf *m = frames[i].handle;

		/* A frame sent again has its length already, and others may read it. */
		if (m->pkt_len != frames[i].length) {
			m->data_len = (uint16_t)frames[i].length;
			m->pkt_len = frames[i].length;
		}
		mbufs[i] = m;
	}
	return rte_eth_tx_burst(e->port, e->tx_queue, mbufs, (uint16_t)n);
}

/*
 * Such a driver asks the kernel until it has as many as it may, or there are no more:
 * a system call in vain, while the frame that it has is waited for. So one at first,
 * and twice as many each time that all of them came.
 */
static uint32_t
ethdev_rx_burst_counted(struct tp_link *link, struct tp_frame *frames, uint32_t n)
{
	struct ethdev_link *e = ethdev_link_of(link);
	uint32_t burst = RTE_MIN(n, e->counted_burst);
	uint32_t count;

	e->count(0);
	count = ethdev_rx_burst(link, frames, burst);
	e->counted_burst = count < burst ? 1 : (uint16_t)RTE_MIN(2 * burst, ETHDEV_BURST);
	return count;
}

static uint32_t
ethdev_rx_burst_belled(struct tp_link *link, struct tp_frame *frames, uint32_t n)
{
	uint32_t count = ethdev_rx_burst(link, frames, n);

	if (count != 0)
		ethdev_link_of(link)->heard = rte_rdtsc();
	return count;
}

static uint32_t
ethdev_tx_burst_belled(struct tp_link *link, struct tp_frame *frames, uint32_t n)
{
	struct ethdev_link *e = ethdev_link_of(link);
	uint32_t count = ethdev_tx_burst(link, frames, n);

	if (unlikely(rte_rdtsc() - e->heard > e->quiet_ticks) && count != 0)
		fabric_port_bell_ring(e->bell);
	return count;
}

static uint32_t
ethdev_tx_alloc(struct tp_link *link, struct tp_frame *frames, uint32_t n)
{
	struct ethdev_link *e = ethdev_link_of(link);
	struct rte_mbuf *mbufs[ETHDEV_BURST];
	uint32_t i;

	if (unlikely(n > ETHDEV_BURST || rte_pktmbuf_alloc_bulk(e->pool, mbufs, n) != 0))
		return 0;
	for (i = 0; i < n; i++) {
		frames[i] = (struct tp_frame){
			.data = rte_pktmbuf_mtod(mbufs[i], void *),
			.handle = mbufs[i],
			.link = link,
			.capacity = link->max_frame,
		};
	}
	return n;
}

static void
ethdev_frame_ref(struct tp_link *link, struct tp_frame *frame)
{
	rte_mbuf_refcnt_update(frame->handle, 1);
}

static void
ethdev_frame_free(struct tp_link *link, struct tp_frame *frame)
{
	rte_pktmbuf_free(frame->handle);
}

static bool
ethdev_frame_shared(struct tp_link *link, const struct tp_frame *frame)
{
	return rte_mbuf_refcnt_read(frame->handle) > 1;
}

void
tp_link_ethdev_destroy(struct tp_link *link)
{
	if (link != NULL)
		free(ethdev_link_of(link));
}

static const struct tp_link_ops ethdev_link_ops = {
	.rx_burst = ethdev_rx_burst,
	.tx_burst = ethdev_tx_burst,
	.tx_alloc = ethdev_tx_alloc,
	.frame_ref = ethdev_frame_ref,
	.frame_free = ethdev_frame_free,
	.frame_shared = ethdev_frame_shared,
	.destroy = tp_link_ethdev_destroy,
};

/* The same for a port whose other side must be rung. */
static const struct tp_link_ops ethdev_link_belled_ops = {
	.rx_burst = ethdev_rx_burst_belled,
	.tx_burst = ethdev_tx_burst_belled,
	.tx_alloc = ethdev_tx_alloc,
	.frame_ref = ethdev_frame_ref,
	.frame_free = ethdev_frame_free,
	.frame_shared = ethdev_frame_shared,
	.destroy = tp_link_ethdev_destroy,
};

/* For a port whose driver does not look before it is told that there may be something. */
static const struct tp_link_ops ethdev_link_counted_ops = {
	.rx_burst = ethdev_rx_burst_counted,
	.tx_burst = ethdev_tx_burst,
	.tx_alloc = ethdev_tx_alloc,
	.frame_ref = ethdev_frame_ref,
	.frame_free = ethdev_frame_free,
	.frame_shared = ethdev_frame_shared,
	.destroy = tp_link_ethdev_destroy,
};

static const struct tp_link_ops *
ethdev_ops(const struct ethdev_link *e)
{
	if (e->bell != NULL)
		return &ethdev_link_belled_ops;
	return e->count != NULL ? &ethdev_link_counted_ops : &ethdev_link_ops;
}

struct tp_link *
tp_link_ethdev_create(uint16_t port, uint16_t rx_queue, uint16_t tx_queue,
	struct rte_mempool *pool)
{
	struct rte_ether_addr mac;
	uint16_t mtu = fabric_port_mtu(port);
	struct ethdev_link *e;

	if (mtu == 0 || rte_eth_macaddr_get(port, &mac) != 0) {
		rte_errno = ENODEV;
		return NULL;
	}
	/* A PMD may say the largest it could ever do. */
	mtu = RTE_MIN(mtu, TP_WIRE_MTU_MAX);
	if (mtu > rte_pktmbuf_data_room_size(pool) - RTE_PKTMBUF_HEADROOM - TP_WIRE_ETHER_BYTES)
		mtu = rte_pktmbuf_data_room_size(pool) - RTE_PKTMBUF_HEADROOM -
			TP_WIRE_ETHER_BYTES;
	if (mtu < TP_WIRE_MTU_MIN) {
		rte_errno = EINVAL;
		return NULL;
	}
	e = calloc(1, sizeof(*e));
	if (e == NULL) {
		rte_errno = ENOMEM;
		return NULL;
	}
	e->bell = fabric_port_bell(port, tx_queue);
	e->quiet_ticks = ETHDEV_QUIET_NS * rte_get_tsc_hz() / NS_PER_S;
	e->count = tp_port_count(port);
	e->counted_burst = 1;
	e->link.ops = ethdev_ops(e);
	memcpy(e->link.mac, mac.addr_bytes, sizeof(e->link.mac));
	e->link.mtu = mtu;
	e->link.max_frame = mtu + TP_WIRE_ETHER_BYTES;
	e->link.frames_mt = true;
	e->port = port;
	e->rx_queue = rx_queue;
	e->tx_queue = tx_queue;
	e->pool = pool;
	return &e->link;
}
