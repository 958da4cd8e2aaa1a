/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * telepage-bench: what a benchmark is made of. A subject is one file with a run
 * function per benchmark and a row for each in the table of main.c; everything
 * it needs (peer processes, links, huge pages) it takes from here, and nothing
 * is left behind when the program ends, however it ends.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define BENCH_PAGE_BYTES 4096u
#define BENCH_VDEV_CHARS 192
#define BENCH_PREFIX_CHARS 48
/* Files of a run begin so, of its prefix, or are in a folder of that name: the guard removes them. */
#define BENCH_FOLDER "/dev/shm/%.47s"	/* in memory */
#define BENCH_DISK_FOLDER "/var/tmp"	/* on a disk: PREFIX-* in it */

enum bench_pmd {
	BENCH_PMD_MEMIF,
	BENCH_PMD_AF_PACKET,
	BENCH_PMD_AF_XDP,
	BENCH_PMD_TAP,
	BENCH_PMD_COUNT
};

/*
 * Samples: clock ticks of single measurements, exact.
 */
struct bench_samples {
	uint64_t *ticks;
	size_t count;
	size_t capacity;
	bool sorted;
};

/** 0, or -ENOMEM. */
int bench_samples_init(struct bench_samples *samples, size_t capacity);
void bench_samples_fini(struct bench_samples *samples);

/** Record one; there must be room. */
void bench_samples_add(struct bench_samples *samples, uint64_t ticks);

/** Sample at a share of all, 0.0 smallest to 1.0 largest; sorts on first use. */
uint64_t bench_samples_quantile(struct bench_samples *samples, double share);

/** There must be samples. */
double bench_samples_mean(const struct bench_samples *samples);

/*
 * The context of one run. Owned by main.
 */
struct bench {
	enum bench_pmd pmd;
	unsigned int mtu;	/* asked for; 0: what the PMD carries */
	bool json;
	bool quick;		/* a tenth of the samples, where there are many that take long */
	bool neighbour;		/* also with a computing process on the measuring core */
	const char *netns[2];	/* of each side, by name; NULL: one made for the run */
	FILE *out;
	double ns_per_tick;
	int cpus[2];		/* measuring process, peer; equal when there is one only */
	char machine[128];
	char prefix[BENCH_PREFIX_CHARS];
	struct bench_guard *guard;
	unsigned int hugepages;	/* reserved for this run; 0: on small pages */
	unsigned int rows;	/* reported so far */
};

struct bench_case {
	const char *name;
	const char *what;
	bool uses_pmd;
	/* 0, or -errno after one line on stderr */
	int (*run)(struct bench *bench);
};

/*
 * Measuring: several operations in the same run, a batch of each in turn, so
 * that a disturbance of the machine meets all of them.
 */
struct bench_op {
	/* One measured operation; -errno ends the benchmark. */
	int (*once)(void *context, uint64_t *ticks);
	/* Around each batch, may be NULL: wake and rest who serves the operation. */
	void (*resume)(void *context);
	void (*pause)(void *context);
	void *context;
	struct bench_samples samples;	/* filled by bench_interleave() */
};

struct bench_plan {
	unsigned int rounds;	/* batches of each operation that count */
	unsigned int batch;	/* operations in a batch */
	unsigned int warmup;	/* operations before each batch that do not count */
};

/**
 * Run the plan, A B C A B C ...
 *
 * @return
 *   0 with samples in every operation (the caller's to fini), or -errno of an
 *   operation or -ENOMEM, without.
 */
int bench_interleave(struct bench_op *ops, unsigned int count, const struct bench_plan *plan);

/* One line of output. */
struct bench_row {
	const char *name;
	const char *pmd;		/* NULL when there is no link */
	const char *unit;
	double scale;			/* units per tick */
	uint64_t bytes;			/* that a measurement moved: print GB/s; 0: print times */
	struct bench_samples *samples;
	const char *baseline_name;	/* NULL when it is compared with nothing */
	double baseline_scale;
	struct bench_samples *baseline;
};

void bench_report(struct bench *bench, const struct bench_row *row);

/** One line for a figure that is not a distribution. */
void bench_report_value(struct bench *bench, const char *name, const char *unit, double value);

/*
 * Peer processes: forked from the measuring one, resting until told to run. They
 * die with it.
 */
struct bench_control;

struct bench_peer {
	pid_t pid;
	struct bench_control *control;
};

/*
 * What a peer does: set itself up, call bench_peer_ready(), then serve while
 * bench_peer_may_run(). 0, or -errno.
 */
typedef int bench_peer_main(struct bench *bench, struct bench_control *control, void *context);

/**
 * Fork a peer onto the core of a side. 0, or -errno. EAL must not run yet if the
 * peer starts its own.
 */
int bench_peer_start(struct bench_peer *peer, struct bench *bench, unsigned int side,
		     bench_peer_main *function, void *context);

/** Wait until it is ready. 0, -ECHILD: it ended; -ETIMEDOUT. */
int bench_peer_await(struct bench_peer *peer);
void bench_peer_resume(struct bench_peer *peer);
void bench_peer_pause(struct bench_peer *peer);

/** End it. May be called twice, and on one that was never started (zeroed). */
void bench_peer_stop(struct bench_peer *peer);

/** In the peer: set-up is done; rests until the first resume. */
void bench_peer_ready(struct bench_control *control);

/** In the peer, every turn: rests while paused; false when it should end. */
bool bench_peer_may_run(struct bench_control *control);

/*
 * The guard: a process that gives back what the run took from the machine
 * (reserved huge pages, run-time folders of EAL) when the run is over or dead.
 */

/** NULL and errno on failure. Before any peer. */
struct bench_guard *bench_guard_start(const char *prefix);

/** Reserve 2 MiB pages, or give a negative count back; the change achieved. */
int bench_guard_hugepages(struct bench_guard *guard, int count);

/** Reserve for the run, or say that it goes on with small pages. Before any peer. */
void bench_hugepages_reserve(struct bench *bench, unsigned int count);
void bench_guard_stop(struct bench_guard *guard);

/** In a peer: it has no share in the guard. */
void bench_guard_forget(struct bench_guard *guard);

/*
 * Links between the measuring process (side 0) and a peer (side 1). Pairs of
 * ports are numbered from 0.
 */
const char *bench_pmd_name(enum bench_pmd pmd);

/** PMD by name, BENCH_PMD_COUNT when unknown. */
enum bench_pmd bench_pmd_find(const char *name);

/** MTU of its ports. */
uint16_t bench_pmd_mtu(enum bench_pmd pmd);

/** The same, or what the run asked for if that is less. */
uint16_t bench_mtu(const struct bench *bench);

/**
 * Make what the PMD stands on: for all but memif a private network namespace. Where
 * the command line names namespaces, this process enters the one of side 0; their
 * devices net0, net1, ... are the pairs. 0, or -errno after one line on stderr.
 */
int bench_link_prepare(struct bench *bench, unsigned int pair_count);

/** Enter the namespace that the command line names for a side, if it names any. 0, or -errno. */
int bench_link_enter(const struct bench *bench, unsigned int side);

/** The --vdev argument of one end. */
void bench_link_vdev(const struct bench *bench, unsigned int pair, unsigned int side,
		     char vdev[BENCH_VDEV_CHARS]);

/** After both ends exist: what joins them, where the PMD does not. */
int bench_link_join(const struct bench *bench, unsigned int pair);

/** Limit both devices of a pair (AF_PACKET) to a rate, with tc-tbf(8). 0, or -errno. */
int bench_link_shape(const struct bench *bench, unsigned int pair, unsigned int mbit);

/** The same for one end, whose port has started: it may come back later. */
int bench_link_join_side(const struct bench *bench, unsigned int pair, unsigned int side);

/**
 * Start EAL in this process, on the core of a side, with these ports. 0, or -errno after a
 * line on stderr; -ENODEV: a port is not there.
 */
int bench_eal_start(struct bench *bench, unsigned int side,
		    const char (*vdevs)[BENCH_VDEV_CHARS], unsigned int vdev_count);

/**
 * Memory for page sets, touched: on huge pages when the run has some, else on
 * what the kernel gives. Lives as long as the process. NULL when there is none.
 */
void *bench_memory(const struct bench *bench, size_t bytes);

/** Next number of a sequence (xorshift64*) that the state, not 0, begins. */
uint64_t bench_random(uint64_t *state);

/** 0 .. count-1 in random order, the same in every run. NULL without memory. */
uint32_t *bench_order(uint32_t count);

/** Pin this process to the core of a side. */
int bench_pin(const struct bench *bench, unsigned int side);

/* Subjects: the run functions that the table of main.c names. */
int bench_raw_rtt(struct bench *bench);
int bench_pool_loan_rate(struct bench *bench);
int bench_directory_bytes(struct bench *bench);
int bench_client_hit(struct bench *bench);
int bench_node_miss(struct bench *bench);
int bench_node_evict(struct bench *bench);
int bench_node_atomic(struct bench *bench);
int bench_node_fetch(struct bench *bench);
int bench_client_fetch(struct bench *bench);
int bench_client_miss(struct bench *bench);
int bench_client_atomic(struct bench *bench);
int bench_page_stream(struct bench *bench);
int bench_client_stream(struct bench *bench);
int bench_attach(struct bench *bench);
int bench_void(struct bench *bench);
int bench_void_fast(struct bench *bench);
int bench_void_stop(struct bench *bench);
int bench_void_cut(struct bench *bench);
int bench_idle(struct bench *bench);
int bench_session_loss(struct bench *bench);
int bench_small_message(struct bench *bench);
int bench_small_message_alone(struct bench *bench);
int bench_demand(struct bench *bench);
int bench_bystander(struct bench *bench);
int bench_pmem_tx_rate(struct bench *bench);
int bench_pmem_alloc_rate(struct bench *bench);
int bench_pmem_block_iops(struct bench *bench);
int bench_pmem_btree_insert(struct bench *bench);
int bench_pmem_btree_get(struct bench *bench);
int bench_pmem_btree_scan(struct bench *bench);
int bench_pmem_btree_delete(struct bench *bench);
int bench_pmem_hybrid_hit(struct bench *bench);
int bench_pmem_hybrid_miss(struct bench *bench);
int bench_pmem_hybrid_ratio(struct bench *bench);
int bench_pmem_btree_obj(struct bench *bench);
int bench_pmem_recovery_time(struct bench *bench);
int bench_codec_delta_rate(struct bench *bench);
int bench_codec_wire_bytes(struct bench *bench);
int bench_codec_adaptive_gain(struct bench *bench);
int bench_codec_link_gain(struct bench *bench);
int bench_foreign_flood(struct bench *bench);
int bench_foreign_drop(struct bench *bench);

#endif /* BENCH_H */
