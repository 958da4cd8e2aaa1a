/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The raw baseline: a ping-pong of two bare DPDK processes, the least that any
 * protocol on the same port could cost, and a stream of pages, the most that it
 * carries. Both sides copy payloads from and to a page set, as a node does, and
 * do nothing else. Where the MTU is less than a page's frame the page goes in as
 * many as it takes, with headers each.
 */
#ifndef BENCH_RAW_H
#define BENCH_RAW_H

#include "bench.h"
#include "tp_link_ethdev.h"

#define BENCH_RAW_SMALL_BYTES 64u
#define BENCH_RAW_PAGE_BYTES 4200u	/* a page and 104 bytes of headers, in one frame */
#define BENCH_RAW_SET_BYTES (256u << 20)
#define BENCH_RAW_ASK_TYPE 0x88b6	/* IEEE: local experiments, the other one */
#define BENCH_RAW_PIECE_TYPE 0x88b5

/* 2 MiB pages for one side: the page set, and the heap of EAL. */
#define BENCH_RAW_HUGEPAGES 160u

struct rte_mbuf;
struct rte_mempool;

struct bench_raw {
	struct bench_peer *peer;	/* who answers; NULL in the peer */
	struct rte_mempool *mbufs;
	uint8_t *pages;
	uint32_t *order;
	uint32_t page_count;
	uint32_t next;
	uint64_t sequence;
	uint64_t timeout_ticks;
	uint32_t part_bytes;		/* of a page in one frame */
	uint32_t part_count;
	uint16_t port;
	tp_port_count_fn count;		/* before each burst; or NULL */
};

/* An operation of bench_interleave(): context of bench_raw_fetch(). */
struct bench_raw_op {
	struct bench_raw *raw;
	uint32_t reply_bytes;		/* BENCH_RAW_SMALL_BYTES or BENCH_RAW_PAGE_BYTES */
};

/* The same of bench_raw_stream(). */
struct bench_raw_stream {
	struct bench_raw *raw;
	uint32_t page_count;		/* of one operation */
	uint32_t piece_bytes;		/* of a page, in one frame */
	bool random;
};

/** Main of the peer that answers on its port 0. @p context is not used. */
int bench_raw_serve(struct bench *bench, struct bench_control *control, void *context);

/** A burst of what has come in. */
uint16_t bench_raw_receive(const struct bench_raw *raw, struct rte_mbuf **mbufs,
			   uint16_t mbuf_max);

/** Answer what has come in; the turn of a peer that also does other things. */
unsigned int bench_raw_answer(struct bench_raw *raw);

/** Make the answering side's pages such that the asker can tell them apart. */
void bench_raw_pages_mark(struct bench_raw *raw);

/** Set the asking side up; EAL runs and has the port. 0, or -errno. */
int bench_raw_open(struct bench_raw *raw, struct bench *bench, uint16_t port,
		   struct bench_peer *peer);

/** Wait until the link is up. 0, or -ETIMEDOUT. */
int bench_raw_await(struct bench_raw *raw);

/** One round trip, of the bench_op form. */
int bench_raw_fetch(void *context, uint64_t *ticks);
void bench_raw_resume(void *context);
void bench_raw_pause(void *context);

/** Pages of a stream, of the bench_op form; resume and pause as above. */
int bench_raw_stream(void *context, uint64_t *ticks);
void bench_raw_stream_resume(void *context);
void bench_raw_stream_pause(void *context);

/* The answering side of it, for bench_raw_answer(): does it ask for pages? Send them. */
bool bench_raw_stream_is_request(const struct rte_mbuf *mbuf);
unsigned int bench_raw_stream_answer(struct bench_raw *raw, const struct rte_mbuf *request);

#endif /* BENCH_RAW_H */
