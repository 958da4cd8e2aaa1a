/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The calls of the public API that test_inject_calls makes under every fault: each
 * makes one on a world, and says what it would change and what came of it.
 */
#ifndef SIM_INJECT_CALLS_H
#define SIM_INJECT_CALLS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tp_sim.h"

#define MS UINT64_C(1000000)
#define PAGE 4096u
#define NEAR (1 * PAGE)			/* of page 1 */
#define FAR (4 * PAGE)			/* of page 4 */
#define OLD_NEAR 11u
#define OLD_FAR 44u
#define NEW_NEAR 12u
#define NEW_FAR 45u
#define TIMEOUT (400 * MS)
#define CONTROL_TIMEOUT (10000 * MS)	/* of lib/client */
#define SLACK MS
#define WORDS_MAX 2

/* What a call is about, hence what may become of it. */
enum call_class {
	OF_DATA,	/* needs a page of node 2 */
	OF_COPIES,	/* gives back what is here, if anything is */
	OF_WORKER,	/* a round trip to the own node */
	OF_CONTROL,	/* a control call that the own node answers alone */
	OF_STORE,	/* a control call that needs the store */
	OF_HEAP,	/* a control call that needs node 2 */
	OF_NOBODY,	/* cannot fail */
	CLASSES
};

struct world;

struct outcome {
	bool control;			/* error says it, else result does */
	int error;			/* 0 or -errno */
	struct tp_result result;
};

struct word {
	uint64_t offset;
	uint64_t before;
	uint64_t after;
	uint32_t end;			/* bytes done from which on it is done */
};

struct call {
	const char *name;
	enum call_class class;
	struct outcome (*run)(struct world *world);
	bool settles;			/* what has timed out before */
};

struct world {
	struct tp_sim *sim;
	struct tp_client *client;	/* on node 1 */
	struct tp_client *extra;	/* likewise, to be detached */
	struct tp_client *judge;	/* on node 2 */
	struct tp_thread *thread;
	struct tp_thread *judge_thread;
	struct tp_client_region *region;
	struct tp_client_region *judge_region;
	struct tp_ptr ptr;		/* memory on node 2 */
	struct tp_op op;
	bool atomic;			/* op is an atomic that can be asked after */
	bool waited;			/* ... that was waited for: its thread knows it */
	uint64_t buffers[WORDS_MAX];
	struct word words[WORDS_MAX];	/* that the call changes */
	uint32_t word_count;
	uint32_t epochs[3];
	const char *cell;
};

/* Outcomes. */
static inline struct outcome
of_result(struct tp_result result)
{
	return (struct outcome){ .result = result };
}

static inline struct outcome
of_error(int error)
{
	return (struct outcome){ .control = true, .error = error };
}

static inline struct outcome
of_submit(struct world *w, bool done)
{
	struct tp_result result = tp_op_wait(w->thread, &w->op);

	assert_true(!done || memcmp(&result, &w->op.result, sizeof(result)) == 0);
	return of_result(result);
}

static inline void
will_change(struct world *w, uint64_t offset, uint64_t before, uint64_t after, uint32_t end)
{
	w->words[w->word_count++] = (struct word){ offset, before, after, end };
}

/* Ended by one without a name. */
extern const struct call inject_accesses[];
extern const struct call inject_controls[];

#endif /* SIM_INJECT_CALLS_H */
