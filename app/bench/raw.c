/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The raw ping-pong. A request is 64 bytes and names a page; the reply is 64
 * bytes, or 104 and the page, or frames of 104 and a part of it. Frames are of an Ethernet type that the kernel
 * knows nothing about.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_ether.h>
#include <rte_mbuf.h>

#include "raw.h"
#include "tp_link_ethdev.h"

#define RAW_ETHER_TYPE BENCH_RAW_PIECE_TYPE
#define RAW_PAYLOAD_OFFSET (BENCH_RAW_PAGE_BYTES - BENCH_PAGE_BYTES)
#define RAW_MBUF_COUNT 1023
#define RAW_MBUF_BYTES (RTE_PKTMBUF_HEADROOM + 10240)
#define RAW_MBUF_CACHE 64
#define RAW_RING 256
#define RAW_BURST 32
#define RAW_PARTS_MAX 3			/* at an MTU of 1500 */
#define RAW_LINK_SECONDS 10

struct raw_frame {
	struct rte_ether_hdr ether;
	uint16_t part;
	uint64_t sequence;
	uint32_t page;
	uint32_t reply_bytes;
	uint8_t pad[32];
};
static_assert(sizeof(struct raw_frame) == BENCH_RAW_SMALL_BYTES, "the small frame");

static int
port_start(struct bench_raw *raw)
{
	const struct rte_eth_conf conf = { 0 };
	uint16_t rx = RAW_RING;
	uint16_t tx = RAW_RING;
	int ret;

	ret = rte_eth_dev_configure(raw->port, 1, 1, &conf);
	if (ret < 0)
		return ret;
	ret = rte_eth_dev_adjust_nb_rx_tx_desc(raw->port, &rx, &tx);
	if (ret == 0)
		ret = rte_eth_rx_queue_setup(raw->port, 0, rx, SOCKET_ID_ANY, NULL, raw->mbufs);
	if (ret == 0)
		ret = rte_eth_tx_queue_setup(raw->port, 0, tx, SOCKET_ID_ANY, NULL);
	if (ret == 0)
		tp_port_signals_stop(raw->port);
	if (ret == 0)
		ret = rte_eth_dev_start(raw->port);
	raw->count = tp_port_count(raw->port);
	if (ret == 0)
		rte_eth_promiscuous_enable(raw->port);
	return ret;
}

int
bench_raw_open(struct bench_raw *raw, struct bench *bench, uint16_t port,
	       struct bench_peer *peer)
{
	uint16_t mtu = bench_mtu(bench);
	char name[24];

	*raw = (struct bench_raw){ .port = port, .peer = peer };
	raw->part_bytes = RTE_MIN(BENCH_PAGE_BYTES, mtu + RTE_ETHER_HDR_LEN - RAW_PAYLOAD_OFFSET);
	raw->part_count = (BENCH_PAGE_BYTES + raw->part_bytes - 1) / raw->part_bytes;
	snprintf(name, sizeof(name), "raw%u", port);
	if (bench->pmd == BENCH_PMD_AF_XDP)
		raw->mbufs = tp_port_pool_create(name, port, 1, mtu, RAW_MBUF_COUNT);
	else
		raw->mbufs = rte_pktmbuf_pool_create(name, RAW_MBUF_COUNT, RAW_MBUF_CACHE, 0,
						     RAW_MBUF_BYTES, SOCKET_ID_ANY);
	if (raw->mbufs == NULL)
		return -rte_errno;
	raw->page_count = BENCH_RAW_SET_BYTES / BENCH_PAGE_BYTES;
	raw->pages = bench_memory(bench, BENCH_RAW_SET_BYTES);
	raw->order = bench_order(raw->page_count);
	if (raw->pages == NULL || raw->order == NULL)
		return -ENOMEM;
	raw->timeout_ticks = rte_get_tsc_hz();
	return port_start(raw);
}

int
bench_raw_await(struct bench_raw *raw)
{
	const struct timespec step = { .tv_nsec = 10 * 1000 * 1000 };
	struct rte_eth_link link;

	for (unsigned int i = 0; i < RAW_LINK_SECONDS * 100; i++) {
		if (rte_eth_link_get_nowait(raw->port, &link) == 0 &&
		    link.link_status == RTE_ETH_LINK_UP)
			return 0;
		nanosleep(&step, NULL);
	}
	return -ETIMEDOUT;
}

uint16_t
bench_raw_receive(const struct bench_raw *raw, struct rte_mbuf **mbufs, uint16_t mbuf_max)
{
	if (raw->count != NULL)
		raw->count(0);
	return rte_eth_rx_burst(raw->port, 0, mbufs, mbuf_max);
}

static bool
raw_frame_is_ours(const struct rte_mbuf *mbuf)
{
	const struct raw_frame *frame = rte_pktmbuf_mtod(mbuf, const struct raw_frame *);

	return rte_pktmbuf_data_len(mbuf) >= sizeof(*frame) &&
	       frame->ether.ether_type == RTE_BE16(RAW_ETHER_TYPE);
}

/* One frame of a reply, of a request that was answered in place or a new one. */
static bool
raw_part_fill(const struct bench_raw *raw, struct rte_mbuf *mbuf, uint32_t part)
{
	struct raw_frame *frame = rte_pktmbuf_mtod(mbuf, struct raw_frame *);
	const uint8_t *page = raw->pages + (size_t)frame->page * BENCH_PAGE_BYTES;
	uint32_t from = part * raw->part_bytes;
	uint32_t bytes = RTE_MIN(raw->part_bytes, BENCH_PAGE_BYTES - from);

	if (rte_pktmbuf_append(mbuf, (uint16_t)(RAW_PAYLOAD_OFFSET + bytes -
						rte_pktmbuf_data_len(mbuf))) == NULL)
		return false;
	frame->part = (uint16_t)part;
	memcpy((uint8_t *)frame + RAW_PAYLOAD_OFFSET, page + from, bytes);
	/* The page's first word goes with every reply: the asker checks it. */
	memcpy(frame->pad, page, sizeof(uint64_t));
	return true;
}

/* The frames of a page after its first, whose head they share. How many. */
static uint16_t
raw_parts_make(struct bench_raw *raw, const struct rte_mbuf *first, struct rte_mbuf **replies)
{
	uint16_t count = 0;

	for (uint32_t part = 1; part < raw->part_count; part++) {
		struct rte_mbuf *mbuf = rte_pktmbuf_alloc(raw->mbufs);
		char *head = mbuf == NULL ? NULL :
			rte_pktmbuf_append(mbuf, sizeof(struct raw_frame));

		if (head == NULL)
			break;
		memcpy(head, rte_pktmbuf_mtod(first, const void *), sizeof(struct raw_frame));
		replies[count++] = mbuf;
		raw_part_fill(raw, mbuf, part);
	}
	return count;
}

/* Turn a request into its reply, the first frame in place. Frames; 0 when it is none. */
static uint16_t
raw_answer(struct bench_raw *raw, struct rte_mbuf *mbuf, struct rte_mbuf **replies)
{
	struct raw_frame *frame = rte_pktmbuf_mtod(mbuf, struct raw_frame *);
	struct rte_ether_addr asker;

	if (!raw_frame_is_ours(mbuf) || frame->page >= raw->page_count)
		return 0;
	asker = frame->ether.src_addr;
	frame->ether.src_addr = frame->ether.dst_addr;
	frame->ether.dst_addr = asker;
	replies[0] = mbuf;
	if (frame->reply_bytes != BENCH_RAW_PAGE_BYTES) {
		memcpy(frame->pad, raw->pages + (size_t)frame->page * BENCH_PAGE_BYTES,
		       sizeof(uint64_t));
		return 1;
	}
	if (!raw_part_fill(raw, mbuf, 0))
		return 0;
	return raw->part_count == 1 ? 1 : 1 + raw_parts_make(raw, mbuf, &replies[1]);
}

unsigned int
bench_raw_answer(struct bench_raw *raw)
{
	struct rte_mbuf *mbufs[RAW_BURST];
	struct rte_mbuf *replies[RAW_BURST * RAW_PARTS_MAX];
	uint16_t count = bench_raw_receive(raw, mbufs, RAW_BURST);
	unsigned int streamed = 0;
	uint16_t reply_count = 0;
	uint16_t sent;

	for (uint16_t i = 0; i < count; i++) {
		uint16_t made = 0;

		if (bench_raw_stream_is_request(mbufs[i]))
			streamed += bench_raw_stream_answer(raw, mbufs[i]);
		else
			made = raw_answer(raw, mbufs[i], &replies[reply_count]);
		if (made == 0)
			rte_pktmbuf_free(mbufs[i]);
		reply_count += made;
	}
	if (reply_count == 0)
		return streamed;
	sent = rte_eth_tx_burst(raw->port, 0, replies, reply_count);
	/* A lost reply is the asker's timeout. */
	for (uint16_t i = sent; i < reply_count; i++)
		rte_pktmbuf_free(replies[i]);
	return streamed + sent;
}

void
bench_raw_pages_mark(struct bench_raw *raw)
{
	for (uint64_t i = 0; i < raw->page_count; i++)
		memcpy(raw->pages + i * BENCH_PAGE_BYTES, &i, sizeof(i));
}

int
bench_raw_serve(struct bench *bench, struct bench_control *control, void *context)
{
	char vdev[1][BENCH_VDEV_CHARS];
	struct bench_raw raw;
	int ret;

	bench_link_vdev(bench, 0, 1, vdev[0]);
	ret = bench_eal_start(bench, 1, vdev, 1);
	if (ret == 0)
		ret = bench_raw_open(&raw, bench, 0, NULL);
	if (ret < 0)
		return ret;
	bench_raw_pages_mark(&raw);
	bench_peer_ready(control);
	while (bench_peer_may_run(control))
		bench_raw_answer(&raw);
	return 0;
}

static struct rte_mbuf *
raw_request(struct bench_raw *raw, uint32_t page, uint32_t reply_bytes)
{
	struct rte_mbuf *mbuf = rte_pktmbuf_alloc(raw->mbufs);
	struct raw_frame *frame;

	if (mbuf == NULL)
		return NULL;
	frame = (struct raw_frame *)rte_pktmbuf_append(mbuf, sizeof(*frame));
	*frame = (struct raw_frame){
		.ether = {
			.dst_addr.addr_bytes = { 0x02, 0x54, 0x50, 0, 0, 2 },
			.src_addr.addr_bytes = { 0x02, 0x54, 0x50, 0, 0, 1 },
			.ether_type = RTE_BE16(RAW_ETHER_TYPE),
		},
		.sequence = ++raw->sequence,
		.page = page,
		.reply_bytes = reply_bytes,
	};
	return mbuf;
}

/* Take the reply out of a frame: a bit for the part that it is, 0 when not awaited or wrong. */
static uint32_t
raw_take(struct bench_raw *raw, struct rte_mbuf *mbuf, uint32_t page, uint32_t reply_bytes)
{
	const struct raw_frame *frame = rte_pktmbuf_mtod(mbuf, const struct raw_frame *);
	uint64_t word;

	if (!raw_frame_is_ours(mbuf) || frame->sequence != raw->sequence ||
	    frame->part >= raw->part_count)
		return 0;
	if (reply_bytes == BENCH_RAW_PAGE_BYTES) {
		uint32_t from = frame->part * raw->part_bytes;
		uint32_t bytes = RTE_MIN(raw->part_bytes, BENCH_PAGE_BYTES - from);

		if (rte_pktmbuf_data_len(mbuf) < RAW_PAYLOAD_OFFSET + bytes)
			return 0;
		memcpy(raw->pages + (size_t)page * BENCH_PAGE_BYTES + from,
		       (const uint8_t *)frame + RAW_PAYLOAD_OFFSET, bytes);
	}
	memcpy(&word, frame->pad, sizeof(word));
	return word == page ? 1u << frame->part : 0;
}

int
bench_raw_fetch(void *context, uint64_t *ticks)
{
	const struct bench_raw_op *op = context;
	struct bench_raw *raw = op->raw;
	uint32_t page = raw->order[raw->next++ % raw->page_count];
	uint64_t start = rte_rdtsc_precise();
	struct rte_mbuf *mbuf = raw_request(raw, page, op->reply_bytes);
	struct rte_mbuf *mbufs[RAW_BURST];
	uint32_t wanted = op->reply_bytes == BENCH_RAW_PAGE_BYTES ? (1u << raw->part_count) - 1 : 1;
	uint32_t taken = 0;
	uint16_t count;

	if (mbuf == NULL)
		return -ENOBUFS;
	while (rte_eth_tx_burst(raw->port, 0, &mbuf, 1) != 1) {
		if (rte_rdtsc() - start > raw->timeout_ticks) {
			rte_pktmbuf_free(mbuf);
			return -ENETDOWN;
		}
	}
	while (taken != wanted) {
		count = bench_raw_receive(raw, mbufs, RAW_BURST);
		for (uint16_t i = 0; i < count; i++) {
			taken |= raw_take(raw, mbufs[i], page, op->reply_bytes);
			rte_pktmbuf_free(mbufs[i]);
		}
		if (count == 0 && rte_rdtsc() - start > raw->timeout_ticks)
			return -ETIMEDOUT;
	}
	*ticks = rte_rdtsc_precise() - start;
	return 0;
}

void
bench_raw_resume(void *context)
{
	const struct bench_raw_op *op = context;

	bench_peer_resume(op->raw->peer);
}

void
bench_raw_pause(void *context)
{
	const struct bench_raw_op *op = context;

	bench_peer_pause(op->raw->peer);
}

static void
raw_rtt_report(struct bench *bench, const char *name, struct bench_samples *samples)
{
	const struct bench_row row = {
		.name = name,
		.pmd = bench_pmd_name(bench->pmd),
		.unit = "ns",
		.scale = bench->ns_per_tick,
		.samples = samples,
	};

	bench_report(bench, &row);
	bench_samples_fini(samples);
}

static int
raw_rtt_measure(struct bench *bench, struct bench_raw *raw)
{
	const struct bench_plan plan = { .rounds = 64, .batch = 1024, .warmup = 64 };
	struct bench_raw_op small = { raw, BENCH_RAW_SMALL_BYTES };
	struct bench_raw_op page = { raw, BENCH_RAW_PAGE_BYTES };
	struct bench_op ops[] = {
		{ bench_raw_fetch, bench_raw_resume, bench_raw_pause, &small, { 0 } },
		{ bench_raw_fetch, bench_raw_resume, bench_raw_pause, &page, { 0 } },
	};
	static const char * const names[] = { "raw_rtt_64_64", "raw_rtt_64_4200" };
	int ret;

	ret = bench_interleave(ops, RTE_DIM(ops), &plan);
	if (ret < 0)
		return ret;
	for (unsigned int i = 0; i < RTE_DIM(ops); i++)
		raw_rtt_report(bench, names[i], &ops[i].samples);
	return 0;
}

int
bench_raw_rtt(struct bench *bench)
{
	char vdev[1][BENCH_VDEV_CHARS];
	struct bench_peer peer = { 0 };
	struct bench_raw raw;
	int ret;

	bench_hugepages_reserve(bench, 2 * BENCH_RAW_HUGEPAGES);
	ret = bench_link_prepare(bench, 1);
	if (ret == 0)
		ret = bench_peer_start(&peer, bench, 1, bench_raw_serve, NULL);
	if (ret < 0)
		return ret;
	bench_link_vdev(bench, 0, 0, vdev[0]);
	/* A memif client that starts before its server may never connect. */
	ret = bench_peer_await(&peer);
	if (ret == 0)
		ret = bench_eal_start(bench, 0, vdev, 1);
	if (ret == 0)
		ret = bench_raw_open(&raw, bench, 0, &peer);
	if (ret == 0)
		ret = bench_link_join(bench, 0);
	if (ret == 0)
		ret = bench_raw_await(&raw);
	if (ret == 0)
		ret = raw_rtt_measure(bench, &raw);
	bench_peer_stop(&peer);
	return ret;
}
