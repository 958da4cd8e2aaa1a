/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What the clients do, and the record of it. A client does one operation after
 * the other. Words are of three kinds: registers (every value written is
 * unique), counters (added to by unique amounts) and bits. Some operations come
 * in the pairs of the litmus tests (store buffering, message passing, load
 * buffering, independent reads), back to back on two pages.
 */
#ifndef SIM_WORKLOAD_H
#define SIM_WORKLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "history.h"
#include "sim.h"
#include "sim_rng.h"
#include "tp_result.h"

#define WORKLOAD_CLIENTS (SIM_NODES_MAX * SIM_CLIENTS_MAX)

enum workload_want {
	WORKLOAD_READ,
	WORKLOAD_WRITE,
	WORKLOAD_ATOMIC,
	WORKLOAD_FLUSH,
	WORKLOAD_INVALIDATE,
};

struct workload_op {
	uint8_t want;		/* enum workload_want */
	uint8_t atomic_op;	/* enum tp_atomic_op, for all kinds */
	bool pinned;		/* READ, WRITE: through a pin held for a while */
	uint32_t page;
	uint32_t word;		/* in the page */
	uint64_t operand;
	uint64_t compare;
	uint32_t generation;	/* index of the region's generation */
	uint32_t record;	/* in the history */
};

struct workload_client {
	uint32_t id;		/* in the history: another one after each restart */
	uint8_t pair;		/* second operation of a litmus pair is due */
	struct workload_op second;
	uint64_t last_seen[SIM_PAGES_MAX][SIM_WORDS];
};

struct workload {
	struct sim_rng rng;
	struct history history;
	uint32_t pages;
	uint32_t words;			/* per page in use */
	uint32_t generations;		/* of the region so far */
	uint32_t client_ids;
	uint64_t stamp;
	uint64_t value;			/* last unique value */
	uint32_t begun;			/* operations */
	uint32_t done, unknown, voided;
	uint32_t settled;		/* of the unknown: their fate was learnt later */
	uint32_t reasons[TP_REASON_COUNT];
	struct workload_client clients[WORKLOAD_CLIENTS];
};

void workload_init(struct workload *workload, uint64_t seed, uint32_t pages, uint32_t words);
void workload_fini(struct workload *workload);

/* A client program starts, or starts again. */
void workload_client_start(struct workload *workload, uint32_t client);

/* Choose and begin the client's next operation, in a generation of the region. */
void workload_begin(struct workload *workload, uint32_t client, uint32_t generation,
	struct workload_op *op);
/* Begin a read of one word: the sweeps at the end. */
void workload_begin_read(struct workload *workload, uint32_t client, uint32_t generation,
	uint32_t page, uint32_t word, struct workload_op *op);
/* The operation is over. value: what was read, or the old value, if has_value. */
void workload_end(struct workload *workload, uint32_t client, const struct workload_op *op,
	struct tp_result result, bool has_value, uint64_t value);

/*
 * Another client will learn what became of op: until then its own does other things,
 * and no program order holds between them and it.
 */
void workload_hand_on(struct workload *workload, const struct workload_op *op);

/* The fate of one that ended unknown: it was done and found value, or never will be. */
void workload_settle(struct workload *workload, const struct workload_op *op, bool done,
	uint64_t value);

/* Is the next operation to follow at once? */
bool workload_is_paired(const struct workload *workload, uint32_t client);

/* Value of a word in the middle of the run, for CAS and for the trace. */
struct history_report workload_check(const struct workload *workload);

/* Words of the history: by generation, page and word. */
static inline uint32_t
workload_word(const struct workload *workload, uint32_t generation, uint32_t page, uint32_t word)
{
	return (generation * workload->pages + page) * workload->words + word;
}

/* Print the history of one word. */
void workload_print(const struct workload *workload, uint32_t word);

#endif /* SIM_WORKLOAD_H */
