/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Every cut: a device that records what is stored, flushed and fenced, and before
 * each fence tries the states that a crash may leave there. The states of a crash
 * between two fences are among those before the second: a store that had not been made
 * yet is one that was lost.
 *
 * Of each aligned 8-byte word that is not lasting a crash leaves the lasting value or
 * any of those stored since, whatever it leaves of others. That is more than machines do,
 * and covers torn words, lines, pages and any order of write-back.
 */
#ifndef CUT_H
#define CUT_H

#include <stdbool.h>
#include <stdint.h>

#include "tp_pmem.h"

/* A call that the code under test forgets. */
enum cut_mutant {
	CUT_NONE,
	CUT_NO_FLUSH,		/* flush() does nothing */
	CUT_NO_FENCE,		/* every third fence() does nothing */
	CUT_STORE_CACHED,	/* store() stays in the caches, as write() does */
	CUT_MUTANT_COUNT
};

struct cut;

/**
 * Look at a pool that was recovered from one state.
 *
 * @return True: it is as it must be.
 */
typedef bool cut_check_fn(void *context, struct tp_pmem_pool *pool);

/** A device of zeros; the pool that takes it owns it. Fails the test without memory. */
struct cut *cut_create(uint64_t bytes, enum tp_pmem_granularity granularity, uint64_t seed);
struct tp_pmem_device *cut_device(struct cut *cut);

/** Try states from now on, so many beyond the systematic ones at each fence; NULL: stop. */
void cut_watch(struct cut *cut, cut_check_fn *check, void *context, unsigned int samples);
void cut_mutant_set(struct cut *cut, enum cut_mutant mutant);

/** Try the states of a crash now. */
void cut_now(struct cut *cut);

/** Try also crashes in recovery itself, of every so many states; 0: none. */
void cut_recovery_every(struct cut *cut, unsigned int every);

/** States tried, and those that were not as they must be. */
uint64_t cut_states(const struct cut *cut);
uint64_t cut_failures(const struct cut *cut);

/** After the pool was closed. */
void cut_destroy(struct cut *cut);

#endif /* CUT_H */
