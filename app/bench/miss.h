/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Two nodes and the raw ping-pong side by side. One peer process on the other
 * core is the home of all pages, and answers the raw one too. Here is who asks:
 * a node embedded in this process, or a client attached to a node in a process
 * of its own on the same core.
 */
#ifndef BENCH_MISS_H
#define BENCH_MISS_H

#include <signal.h>

#include "cluster.h"
#include "raw.h"

struct miss_shared {
	_Atomic bool raw;			/* what the home side serves */
	_Atomic bool flood;			/* it sends foreign frames, too */
	_Atomic uint64_t flooded;		/* how many */
	volatile sig_atomic_t node_stop;	/* the asking node leaves its loop */
};

struct miss_bench {
	struct bench *bench;
	struct miss_shared *shared;
	struct bench_peer home;
	struct bench_peer asker;		/* the asking node, when a client is attached */
	struct bench_peer neighbour;		/* computes on the asking core */
	struct bench_raw raw;
	struct bench_node node;			/* embedded, else zeroed */
	struct tp_client *client;
	struct tp_client_region *region;
	struct tp_thread *thread;
	uint32_t *order;
	uint32_t page_count;
	uint32_t next;
	uint64_t *adds;				/* done so far, a page */
	uint32_t cache_mib;
	bool floods;				/* set before init: flood may be switched on */
};

/** Start everything, but what was set before by a field that says so; fill the region. Fini also after a failure. 0, or -errno. */
/* miss: zeroed, but for what is set before. */
int miss_bench_init(struct miss_bench *miss, struct bench *bench, bool attached,
		    uint32_t cache_mib);
void miss_bench_fini(struct miss_bench *miss);

/** The asking node forgets all pages. 0, or -EIO. */
int miss_bench_clear(struct miss_bench *miss);

/* Of struct bench_op, context a struct miss_bench. */
void miss_resume(void *context);
void miss_pause(void *context);

/** Start a process that computes on the core that asks, resting at first. 0, or -errno. */
int miss_neighbour_start(struct miss_bench *miss);

/* The same beside it. */
void miss_crowd_resume(void *context);
void miss_crowd_pause(void *context);

#endif /* BENCH_MISS_H */
