/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Real telepaged processes, from the folder of this program, for benchmarks of
 * what happens between processes: attaching to one, and the death of one.
 */
#ifndef BENCH_DAEMON_H
#define BENCH_DAEMON_H

#include "bench.h"
#include "tp_client.h"

#define BENCH_DAEMON_LINKS 3

/* One port: its end of a pair, and the node at the other end. */
struct bench_daemon_link {
	uint8_t pair;
	uint8_t side;
	uint16_t peer;
};

struct bench_daemon_config {
	uint16_t id;		/* of the node; no two in a run have the same */
	unsigned int core;	/* side whose core it runs on */
	unsigned int link_side;	/* its end of pair 0, where links is NULL */
	const struct bench_daemon_link *links;	/* shape [link_count] */
	unsigned int link_count;
	const char *cluster;	/* name of its store; NULL: the one of the run */
	bool shared;		/* open to secondary processes; needs bench_daemon_huge_mount() */
	const char *settings;	/* lines for section [node]; NULL: none */
};

struct bench_daemon {
	pid_t pid;
	char prefix[BENCH_PREFIX_CHARS + 16];	/* DPDK's */
	char socket[96];
};

/** A hugetlbfs of this process and its children alone. 0, or -errno. */
int bench_daemon_huge_mount(const struct bench *bench);

/** Start one; it may still be joining on return. 0, or -errno. */
int bench_daemon_start(struct bench_daemon *daemon, struct bench *bench,
		       const struct bench_daemon_config *config);

/** Attach to it by its socket, waiting until there is one. 0, or -errno. */
int bench_daemon_attach(const struct bench_daemon *daemon, struct tp_client **client);

/** Start one and wait for its socket: then its ends of the links are there, too. 0, or -errno. */
int bench_daemon_launch(struct bench_daemon *daemon, struct bench *bench,
			const struct bench_daemon_config *config);

/**
 * Wait until node id is a member that this client's node reaches, in a later epoch
 * than *epoch (0: any), which becomes that one. 0, or -errno.
 */
int bench_daemon_reach(struct tp_client *client, uint16_t id, uint32_t *epoch);

/** End it by a signal and wait for that. NULL pid: nothing. */
void bench_daemon_end(struct bench_daemon *daemon, int signum);

#endif /* BENCH_DAEMON_H */
