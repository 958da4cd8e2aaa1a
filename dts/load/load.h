/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * telepage-load: programs that use shared memory hard and check what they see,
 * for the end-to-end suites and the quickstart. One file a kind of load, one row
 * a mode in main.c; all state is in struct load.
 */
#ifndef LOAD_H
#define LOAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "cli.h"
#include "tp_client.h"

#define LOAD_WINDOW_MAX 24
#define LOAD_WORDS_MAX 65536

/*
 * What is true of a word by the machine's own memory, in a file that all
 * programs of a test map: how many changes of it were begun, and how many have
 * ended. A read that begins when "ended" is e and ends when "begun" is b must
 * yield a value of e to b, whatever nodes and networks did meanwhile.
 */
struct load_truth {
	_Atomic uint64_t begun;
	_Atomic uint64_t ended;
};

struct load {
	/* the command line */
	const char *prefix;
	const char *region_name;
	uint64_t offset;	/* of word 0 */
	uint64_t words;
	uint64_t stride;	/* bytes from word to word */
	uint64_t count;		/* operations, 0: until a signal */
	uint64_t window;	/* accesses in flight */
	uint64_t bytes;		/* of the range that churn walks */
	uint64_t timeout_ns;
	uint64_t until_void;	/* end at this many VOIDs, 0: never */
	uint64_t seed;
	const char *truth_path;
	const char *record_path;
	bool secondary;		/* attach as a DPDK secondary process */
	bool reattach;		/* go on with the node's successor */

	struct tp_client *client;
	struct tp_thread *thread;
	struct tp_client_region *region;
	struct load_truth *truth;	/* shape [words], NULL: none given */
	struct cli_latency *latency;
	uint64_t random;

	/* what came out */
	uint64_t done;
	uint64_t unknown;
	uint64_t settled_done;	/* of the unknown: they were done, as was learnt later */
	uint64_t settled_never;	/* they were not, and never will be */
	uint64_t settled_open;	/* still asked after at the end */
	uint64_t errors;	/* values that no correct memory yields */
	uint64_t void_count;
	uint64_t voids[TP_REASON_COUNT];
	uint64_t longest_ns;	/* access that took longest, whatever its outcome */
	uint64_t void_longest_ns;
	char error[160];	/* the first of errors */
};

/* main.c */
bool load_goes_on(const struct load *load);
uint64_t load_random(struct load *load, uint64_t bound);
uint64_t load_word_offset(const struct load *load, uint64_t word);
void load_fault(struct load *load, const char *format, ...) __attribute__((format(printf, 2, 3)));
uint64_t load_ns_since(const struct load *load, uint64_t start_tsc);
/* Note how an access begun at start_tsc ended. True: it was done. */
bool load_ended(struct load *load, struct tp_result result, uint64_t start_tsc, uint64_t misses);

/* truth.c */
bool load_truth_map(struct load *load);
void load_truth_begin(struct load *load, uint64_t word);
void load_truth_end(struct load *load, uint64_t word);

/* The modes. */
void load_increment(struct load *load);
void load_watch(struct load *load);
void load_write(struct load *load);
void load_churn(struct load *load);
void load_mix(struct load *load);
void load_record(struct load *load);
void load_persist(struct load *load);

#endif /* LOAD_H */
