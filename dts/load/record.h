/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A recorded operation on an 8-byte word: what telepage-load writes and
 * telepage-linearize reads. Times are of the TSC, one clock for the machine.
 */
#ifndef RECORD_H
#define RECORD_H

#include <assert.h>
#include <stdint.h>

enum record_outcome {
	RECORD_DONE,
	RECORD_UNKNOWN,		/* may take effect later, or never */
	RECORD_NOT_DONE,	/* in no file: it never was there */
};

struct record {
	uint64_t invoke;
	uint64_t response;
	uint64_t operand;
	uint64_t compare;	/* CAS */
	uint64_t result;	/* value before, if has_result */
	uint64_t generation;	/* of the region */
	uint32_t client;
	uint32_t word;
	uint8_t kind;		/* enum tp_atomic_op: a read is LOAD, a write STORE */
	uint8_t outcome;	/* enum record_outcome */
	uint8_t has_result;
	uint8_t reserved[5];
};
static_assert(sizeof(struct record) == 64, "no padding");

#endif /* RECORD_H */
