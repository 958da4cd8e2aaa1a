/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A process that kills, stops and restarts others while somebody measures: those
 * of the measured cluster, or the same programs of a cluster beside it. What the
 * second does to a figure is the price of sharing two cores with it.
 */
#ifndef BENCH_DISTURB_H
#define BENCH_DISTURB_H

#include "daemon.h"

enum disturb_kind {
	DISTURB_START,		/* no disturbance: start the nodes that will die */
	DISTURB_NOTHING,	/* let some time pass */
	DISTURB_CLIENTS,	/* attach programs, kill them at any instant */
	DISTURB_NODE_KILL,	/* kill -9 of a node, start it again */
	DISTURB_NODE_STOP,	/* SIGSTOP, SIGCONT */
	DISTURB_KIND_COUNT
};

/* What there is to disturb, here and in the cluster beside it. */
struct disturb_config {
	struct bench_daemon_config victim[2];	/* nodes that die and come back; [1]: beside */
	const char *socket[2];			/* of the nodes that programs attach to */
	const char *region;			/* that those programs use */
};

struct disturb_order;

/* Owner: the measuring process. */
struct disturb {
	struct bench_peer peer;
	struct disturb_order *order;		/* shared with the process */
	const struct disturb_config *config;
};

/** Fork the process, onto the core of side 1. 0, or -errno. */
int disturb_open(struct disturb *disturb, struct bench *bench,
		 const struct disturb_config *config);

/** Let it disturb once; disturb_is_over() tells when that is done. */
void disturb_begin(struct disturb *disturb, enum disturb_kind kind, bool beside);

/** A load. */
bool disturb_is_over(const struct disturb *disturb);

/** After it is over: rest. 0, or -errno of what it did. */
int disturb_end(struct disturb *disturb);

/** End the process and its nodes. May be called on a zeroed one. */
void disturb_close(struct disturb *disturb);

#endif /* BENCH_DISTURB_H */
