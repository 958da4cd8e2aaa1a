/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Interleavings of a few client operations, messages in any order, the loss of
 * sessions, a crash: each choice is a number, so that a run is replayed from
 * its choices and all runs can be walked through.
 */
#ifndef MODEL_H
#define MODEL_H

#include <stdbool.h>
#include <stdint.h>

#define MODEL_OPS_MAX 64
#define MODEL_CHOICES_MAX 4096

/* An operation: who, which page, what (r, w, a, s, S: of another node, f, i). */
struct model_op {
	uint8_t node;
	uint8_t page;
	char what;
};

struct model {
	uint16_t nodes;
	uint16_t home_count;
	uint32_t pages;
	uint32_t cache_slots;
	uint32_t bitmaps;
	uint16_t node_id_max;
	bool hold_guards;	/* when a client ends its access is a choice, too */
	uint32_t losses;	/* sessions lost at most */
	bool crash;		/* the last node may crash */
	uint32_t timers;	/* times that a timer may fire early */
	int mutant;
	uint32_t op_count;
	struct model_op op[MODEL_OPS_MAX];
};

/* The choices of a run: taken as far as given, then 0 or random. */
struct model_choices {
	uint16_t taken[MODEL_CHOICES_MAX];
	uint16_t of[MODEL_CHOICES_MAX];
	uint32_t given;
	uint32_t count;
	uint64_t random;	/* 0: none */
};

/* Run once. @return NULL, or what went wrong. */
const char *model_run(const struct model *model, struct model_choices *choices, bool trace);

/* The next run of a walk through all of them. false: there is none. */
bool model_next(struct model_choices *choices);

/* A scenario made up from a seed. */
void model_random(struct model *model, uint64_t seed);

/* Which cells were met in all runs so far, for test_table. */
extern uint64_t model_cache_cells[32];
extern uint64_t model_home_cells[32];

#endif /* MODEL_H */
