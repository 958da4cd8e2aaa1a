/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The raw stream: what a port carries if nobody decides anything. A request
 * names up to 32 pages, each comes back in frames of the sizes that a node
 * sends, and the asker keeps a window of pages under way. Nothing is checked,
 * acknowledged or sent again.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_ether.h>
#include <rte_mbuf.h>

#include "raw.h"

#define STREAM_BATCH 32u		/* pages of a request */
#define STREAM_WINDOW 64u		/* pages under way: less than the rings hold, in pieces too */
#define STREAM_BURST 32u
#define STREAM_HEAD_BYTES (BENCH_RAW_PAGE_BYTES - BENCH_PAGE_BYTES)

/* A request, or the head of a piece of one page. */
struct stream_frame {
	struct rte_ether_hdr ether;
	uint16_t count;			/* request: pages */
	uint16_t offset;		/* piece: in its page */
	uint16_t bytes;			/* piece; request: largest piece wanted */
	uint32_t pages[STREAM_BATCH];
};
static_assert(offsetof(struct stream_frame, pages) + sizeof(uint32_t) <= STREAM_HEAD_BYTES,
	"a piece has room for its page");

static bool
stream_frame_is(const struct rte_mbuf *mbuf, uint16_t ether_type)
{
	const struct stream_frame *frame = rte_pktmbuf_mtod(mbuf, const struct stream_frame *);

	return rte_pktmbuf_data_len(mbuf) >= BENCH_RAW_SMALL_BYTES &&
	       frame->ether.ether_type == ether_type;
}

bool
bench_raw_stream_is_request(const struct rte_mbuf *mbuf)
{
	return stream_frame_is(mbuf, RTE_BE16(BENCH_RAW_ASK_TYPE)) &&
	       rte_pktmbuf_data_len(mbuf) >= sizeof(struct stream_frame);
}

static uint16_t
stream_send(struct bench_raw *raw, struct rte_mbuf **mbufs, uint16_t count)
{
	uint64_t start = rte_rdtsc();
	uint16_t sent = 0;

	while (sent < count) {
		sent += rte_eth_tx_burst(raw->port, 0, mbufs + sent, count - sent);
		if (sent < count && rte_rdtsc() - start > raw->timeout_ticks)
			break;
	}
	/* A lost one is the asker's timeout. */
	for (uint16_t i = sent; i < count; i++)
		rte_pktmbuf_free(mbufs[i]);
	return sent;
}

static struct rte_mbuf *
stream_piece(struct bench_raw *raw, const struct stream_frame *request, uint32_t page,
	     uint16_t offset)
{
	struct rte_mbuf *mbuf = rte_pktmbuf_alloc(raw->mbufs);
	uint16_t bytes = RTE_MIN(request->bytes, (uint16_t)(BENCH_PAGE_BYTES - offset));
	struct stream_frame *frame;

	if (mbuf == NULL)
		return NULL;
	frame = (struct stream_frame *)rte_pktmbuf_append(mbuf, STREAM_HEAD_BYTES + bytes);
	frame->ether.dst_addr = request->ether.src_addr;
	frame->ether.src_addr = request->ether.dst_addr;
	frame->ether.ether_type = RTE_BE16(BENCH_RAW_PIECE_TYPE);
	frame->count = 1;
	frame->offset = offset;
	frame->bytes = bytes;
	frame->pages[0] = page;
	memcpy((uint8_t *)frame + STREAM_HEAD_BYTES,
	       raw->pages + (size_t)page * BENCH_PAGE_BYTES + offset, bytes);
	return mbuf;
}

unsigned int
bench_raw_stream_answer(struct bench_raw *raw, const struct rte_mbuf *request_mbuf)
{
	const struct stream_frame *request =
		rte_pktmbuf_mtod(request_mbuf, const struct stream_frame *);
	struct rte_mbuf *mbufs[STREAM_BURST];
	unsigned int sent = 0;
	uint16_t count = 0;

	if (request->count > STREAM_BATCH || request->bytes == 0)
		return 0;
	for (uint16_t i = 0; i < request->count; i++) {
		if (request->pages[i] >= raw->page_count)
			continue;
		for (uint32_t offset = 0; offset < BENCH_PAGE_BYTES; offset += request->bytes) {
			mbufs[count] = stream_piece(raw, request, request->pages[i],
						    (uint16_t)offset);
			if (mbufs[count] == NULL)
				break;
			if (++count == STREAM_BURST) {
				sent += stream_send(raw, mbufs, count);
				count = 0;
			}
		}
	}
	return sent + stream_send(raw, mbufs, count);
}

/* Ask for the next pages of the operation. */
static int
stream_ask(const struct bench_raw_stream *op, uint32_t count)
{
	struct bench_raw *raw = op->raw;
	struct rte_mbuf *mbuf = rte_pktmbuf_alloc(raw->mbufs);
	struct stream_frame *frame;

	if (mbuf == NULL)
		return -ENOBUFS;
	frame = (struct stream_frame *)rte_pktmbuf_append(mbuf, sizeof(*frame));
	*frame = (struct stream_frame){
		.ether = {
			.dst_addr.addr_bytes = { 0x02, 0x54, 0x50, 0, 0, 2 },
			.src_addr.addr_bytes = { 0x02, 0x54, 0x50, 0, 0, 1 },
			.ether_type = RTE_BE16(BENCH_RAW_ASK_TYPE),
		},
		.count = (uint16_t)count,
		.bytes = (uint16_t)op->piece_bytes,
	};
	for (uint32_t i = 0; i < count; i++) {
		uint32_t next = raw->next++ % raw->page_count;

		frame->pages[i] = op->random ? raw->order[next] : next;
	}
	return stream_send(raw, &mbuf, 1) == 1 ? 0 : -ENETDOWN;
}

/* Bytes of a page set that a frame brought, 0: none. */
static uint32_t
stream_take(struct bench_raw *raw, const struct rte_mbuf *mbuf)
{
	const struct stream_frame *frame = rte_pktmbuf_mtod(mbuf, const struct stream_frame *);

	if (!stream_frame_is(mbuf, RTE_BE16(BENCH_RAW_PIECE_TYPE)) ||
	    frame->pages[0] >= raw->page_count ||
	    frame->offset + frame->bytes > BENCH_PAGE_BYTES ||
	    rte_pktmbuf_data_len(mbuf) < STREAM_HEAD_BYTES + frame->bytes)
		return 0;
	memcpy(raw->pages + (size_t)frame->pages[0] * BENCH_PAGE_BYTES + frame->offset,
	       (const uint8_t *)frame + STREAM_HEAD_BYTES, frame->bytes);
	return frame->bytes;
}

int
bench_raw_stream(void *context, uint64_t *ticks)
{
	const struct bench_raw_stream *op = context;
	struct bench_raw *raw = op->raw;
	uint64_t start = rte_rdtsc_precise();
	uint64_t heard = start;
	uint32_t asked = 0;
	uint64_t got = 0;
	struct rte_mbuf *mbufs[STREAM_BURST];
	uint16_t count;
	int ret;

	while (got < (uint64_t)op->page_count * BENCH_PAGE_BYTES) {
		/* Half a window at a time, so that requests stay few. */
		while (asked < op->page_count &&
		       asked + STREAM_BATCH <= got / BENCH_PAGE_BYTES + STREAM_WINDOW) {
			uint32_t batch = RTE_MIN(STREAM_BATCH, op->page_count - asked);

			ret = stream_ask(op, batch);
			if (ret < 0)
				return ret;
			asked += batch;
		}
		count = bench_raw_receive(raw, mbufs, STREAM_BURST);
		for (uint16_t i = 0; i < count; i++) {
			got += stream_take(raw, mbufs[i]);
			rte_pktmbuf_free(mbufs[i]);
		}
		if (count != 0)
			heard = rte_rdtsc();
		else if (rte_rdtsc() - heard > raw->timeout_ticks)
			return -ETIMEDOUT;
	}
	*ticks = rte_rdtsc_precise() - start;
	return 0;
}

void
bench_raw_stream_resume(void *context)
{
	const struct bench_raw_stream *op = context;

	bench_peer_resume(op->raw->peer);
}

void
bench_raw_stream_pause(void *context)
{
	const struct bench_raw_stream *op = context;

	bench_peer_pause(op->raw->peer);
}
