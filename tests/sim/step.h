/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Every interleaving of a few actors on a machine with store buffers (x86-TSO).
 *
 * An actor is a C function that touches shared memory only through step_load(),
 * step_store(), step_exchange(), step_add(), step_or() and step_fence(). The explorer learns
 * what an actor does next by running it from the start with the values it has
 * read so far and leaving it at its first new access; what an actor knows is
 * therefore exactly the list of values it read. Between any two accesses any
 * other actor may step and any store buffer may drain its oldest entry.
 *
 * The actors may be step lists written down for a model, or the product's own
 * functions compiled with their atomics mapped to these calls.
 */
#ifndef SIM_STEP_H
#define SIM_STEP_H

#include <stdbool.h>
#include <stdint.h>

#include "history.h"

#define STEP_VARS 12
#define STEP_ACTORS 3
#define STEP_BUFFER 8		/* stores an actor can have undrained */
#define STEP_ACCESSES 28	/* of one actor */
#define STEP_OPS 8		/* operations recorded in one run */

struct step_model {
	unsigned int actor_count;
	void (*actor[STEP_ACTORS])(void *ctx);
	void *ctx[STEP_ACTORS];
	uint64_t initial[STEP_VARS];
	uint32_t history_words;		/* words the operations name, initially 0 */
	bool sequential;		/* no store buffers: an ablation */
	uint64_t states_max;
};

struct step_outcome {
	uint64_t states;		/* different states seen */
	uint64_t runs;			/* ends reached */
	bool violation;
	bool stuck;			/* a state that is no end and goes nowhere, or states_max */
	char trace[2048];		/* steps that lead to the violation */
};

/* Explore everything, or up to the first violation. */
void step_explore(const struct step_model *model, struct step_outcome *outcome);

/* Called by actors. */
uint64_t step_load(unsigned int var);
void step_store(unsigned int var, uint64_t value);
uint64_t step_exchange(unsigned int var, uint64_t value);
uint64_t step_add(unsigned int var, uint64_t operand);
uint64_t step_or(unsigned int var, uint64_t operand);
void step_fence(void);
/* A store that needs no turn of this actor's buffer: another machine made it. */
void step_remote_store(unsigned int var, uint64_t value);
/* An operation begins with the next access, and ends with the last one. */
void step_invoke(unsigned int op, const struct history_op *what);
void step_respond(unsigned int op, uint64_t result, uint8_t outcome);
/* An operation that is one instant after everything else: what is found at the end. */
void step_final(unsigned int op, const struct history_op *what);
/* Goes on only once the variable has the value: who sleeps, not who looks again. */
void step_await(unsigned int var, uint64_t value);
/* Forget what was read since step_mark() and begin there again. */
void step_mark(void);
_Noreturn void step_again(void);

#endif /* SIM_STEP_H */
