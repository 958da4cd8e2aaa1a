/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Histories of operations on 8-byte words, and what they must satisfy:
 *   - each word is linearizable (Wing and Gong's search, with the memory of
 *     visited configurations that Lowe added);
 *   - all words together have one total order that every client's program
 *     order agrees with (locality makes that follow; it is checked all the same
 *     by building the order and running it).
 */
#ifndef SIM_HISTORY_H
#define SIM_HISTORY_H

#include <stdbool.h>
#include <stdint.h>

#define HISTORY_NEVER UINT64_MAX

enum history_outcome {
	HISTORY_DONE,		/* took effect between invoke and response */
	HISTORY_UNKNOWN,	/* may take effect once, at any time after invoke, or never */
	HISTORY_NOT_DONE,	/* has no effect: not part of any order */
};

/* One operation. Stamps are unique and increase with time over all clients. */
struct history_op {
	uint64_t invoke;
	uint64_t response;	/* HISTORY_NEVER unless DONE */
	uint64_t operand;
	uint64_t compare;	/* CAS */
	uint64_t result;	/* value read, or the old value, if has_result */
	uint32_t client;
	uint32_t word;		/* which word of which generation: the caller's numbering */
	uint8_t kind;		/* enum tp_atomic_op: a read is LOAD, a write STORE */
	uint8_t outcome;	/* enum history_outcome */
	bool has_result;
	uint8_t reserved[5];	/* no padding: histories are hashed */
};

enum history_verdict {
	HISTORY_OK,
	HISTORY_VIOLATION,
	HISTORY_GAVE_UP,	/* the search passed its budget: nothing is known */
};

struct history {
	struct history_op *ops;
	uint32_t count;
	uint32_t capacity;
};

void history_init(struct history *history);
void history_fini(struct history *history);

/* Append an operation that was invoked; the index stays good. */
uint32_t history_invoke(struct history *history, const struct history_op *op);

/*
 * Is the history of one word linearizable?
 *
 * ops      Shape [count], all of one word, in any order.
 * initial  Value of the word before.
 * order    Shape [count]: indices into ops of a witness order; NULL: not wanted.
 * ordered  Length of the witness.
 */
enum history_verdict history_linearize(const struct history_op *ops, uint32_t count,
	uint64_t initial, uint32_t *order, uint32_t *ordered);

/* First thing that is wrong with a history. */
struct history_report {
	enum history_verdict verdict;
	uint32_t word;
	bool total_order;	/* each word is fine, the whole is not */
};

/*
 * Check every word (initial value 0), then the whole.
 *
 * word_count  Words are 0 to word_count - 1.
 */
struct history_report history_check(const struct history *history, uint32_t word_count);

/* Value of a word after an operation on a value. */
uint64_t history_apply(const struct history_op *op, uint64_t value);

#endif /* SIM_HISTORY_H */
