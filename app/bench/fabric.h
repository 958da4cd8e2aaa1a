/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Two endpoints, this process and a peer process on the other core, over one pair
 * of ports: sessions without nodes above them. The peer is the home of a page
 * set: it answers requests for pages, and streams pages without being asked as
 * long as it is told to. This side's link can lose frames, both ways.
 */
#ifndef BENCH_FABRIC_H
#define BENCH_FABRIC_H

#include "bench.h"
#include "tp_endpoint.h"

/* What the peer streams beside its answers. */
enum fabric_stream {
	FABRIC_STREAM_NONE,
	FABRIC_STREAM_NORMAL,	/* as fast as the session takes it */
	FABRIC_STREAM_BULK,	/* the same, at the priority of migration */
	FABRIC_STREAM_SMALL,	/* messages of FABRIC_SMALL_BYTES, with no page */
};

#define FABRIC_SMALL_BYTES 32u

/* How fabric_bench_init() makes both sides. */
#define FABRIC_NO_FAULT 0x1u	/* nothing that could lose frames around the link */
#define FABRIC_NO_JOIN 0x2u	/* each message in a packet of its own */

/* Owner: the measuring process; the peer reads stream and writes rto_ns. */
struct fabric_shared {
	_Atomic uint32_t stream;	/* enum fabric_stream */
	_Atomic uint64_t rto_ns;	/* of the peer's session, now */
};

/* One side. */
struct fabric_side {
	struct bench *bench;
	struct fabric_shared *shared;
	unsigned int flags;		/* FABRIC_NO_* */
	struct tp_link *link;		/* of the port */
	struct tp_link *fault;		/* around it; the asking side only */
	struct tp_endpoint *ep;
	uint64_t now;			/* nanoseconds, of this turn */
	uint8_t *pages;
	uint32_t *order;
	uint32_t page_count;
	uint32_t next;
	bool up;

	uint32_t wanted;		/* page asked for last */
	bool answered;

	/* the asking side */
	uint64_t streamed;		/* pages or small messages that were not asked for */
	struct bench_samples *latency;	/* of each of these; NULL: not recorded */
};

struct fabric_bench {
	struct fabric_shared *shared;
	struct bench_peer peer;
	struct fabric_side side;
};

/** Start both sides and their session; flags: FABRIC_NO_*. Fini also after a failure. 0, or -errno. */
int fabric_bench_init(struct fabric_bench *fabric, struct bench *bench, unsigned int flags);
void fabric_bench_fini(struct fabric_bench *fabric);

/** One turn of this side. */
void fabric_side_poll(struct fabric_side *side);

/** Poll for a time. */
void fabric_side_run(struct fabric_side *side, uint64_t span_ns);

/** What the peer streams from now on; takes effect within its next turn. */
void fabric_stream_set(struct fabric_bench *fabric, enum fabric_stream stream);

/** Lose frames of this side's link, both ways. */
void fabric_loss_set(struct fabric_bench *fabric, uint32_t loss_ppm);

/** Fetch a page at the priority of a demand. 0 with the ticks it took, or -errno. */
int fabric_fetch(struct fabric_bench *fabric, uint64_t *ticks);

#endif /* BENCH_FABRIC_H */
