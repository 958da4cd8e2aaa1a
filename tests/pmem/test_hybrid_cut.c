/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Every cut of hybrid objects, by what their level promises:
 *  transaction, write-through: the state before or after the commit under way;
 *  transaction, write-back: the state after some commit since the last flush;
 *  eventual: each object as some commit since the last flush left it;
 *  none: no object;
 * and never an object that is a mixture, or a block that leaks. A cache of few objects, so
 * that they are evicted all the time.
 *	TP_PMEM_CUT_STEPS=2000 TP_PMEM_CUT_SEED=7 test_hybrid_cut	runs longer
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cut.h"
#include "hybrid_store.h"

#define POOL_BYTES (UINT64_C(4) << 20)
#define OBJECT_BYTES 300u
#define OBJECTS 12u
#define STRIDE 320u
#define CACHE_OBJECTS 7u
#define STEPS 150u
#define SAMPLES 2u
#define STATES_MAX 64u		/* since the last flush */

struct states {
	uint64_t versions[STATES_MAX][OBJECTS];
	unsigned int count;
};

struct workload {
	struct cut *cut;
	struct tp_pmem_pool *pool;
	struct tp_pmem_hybrid *hybrid;
	struct tp_pmem_hybrid_thread *thread;
	uint64_t offset;
	uint64_t random;
	uint64_t version;
	enum tp_pmem_hybrid_level level;
	enum tp_pmem_hybrid_policy policy;
	struct states states;	/* the first: flushed; the last: of the commit under way */
};

static uint64_t
setting(const char *name, uint64_t otherwise)
{
	const char *value = getenv(name);

	return value == NULL ? otherwise : strtoull(value, NULL, 10);
}

static uint32_t
random_below(struct workload *w, uint32_t end)
{
	w->random = w->random * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(w->random >> 33) % end;
}

static bool
object_is_one_of(const struct states *states, uint32_t id, uint64_t version)
{
	for (unsigned int i = 0; i < states->count; i++)
		if (states->versions[i][id] == version)
			return true;
	return false;
}

static bool
is_one_of(const struct states *states, const uint64_t versions[OBJECTS])
{
	for (unsigned int i = 0; i < states->count; i++)
		if (memcmp(states->versions[i], versions, sizeof(states->versions[i])) == 0)
			return true;
	return false;
}

static bool
versions_are_right(const struct workload *w, const uint64_t versions[OBJECTS])
{
	static const uint64_t none[OBJECTS];

	if (w->level == TP_PMEM_HYBRID_NONE)
		return memcmp(versions, none, sizeof(none)) == 0;
	if (w->level == TP_PMEM_HYBRID_TRANSACTION)
		return is_one_of(&w->states, versions);
	for (uint32_t id = 0; id < OBJECTS; id++)
		if (!object_is_one_of(&w->states, id, versions[id]))
			return false;
	return true;
}

static bool
state_check(void *context, struct tp_pmem_pool *pool)
{
	static const struct tp_pmem_hybrid_config config = { .cache_bytes = 5 * STRIDE,
		.thread_count = 1 };
	const struct workload *w = context;
	struct tp_pmem_hybrid_thread *thread;
	struct tp_pmem_hybrid *hybrid;
	uint64_t versions[OBJECTS];
	bool ok;

	if (tp_pmem_root_get(pool, "store") != w->offset ||
			tp_pmem_hybrid_open(pool, w->offset, &config, &hybrid) < 0)
		return false;
	ok = tp_pmem_hybrid_check(hybrid, NULL, NULL) == 0 &&
		tp_pmem_hybrid_thread_open(hybrid, &thread) == 0;
	for (uint32_t id = 0; id < OBJECTS && ok; id++)
		versions[id] = hybrid_store_get(thread, id, OBJECT_BYTES);
	ok = ok && versions_are_right(w, versions);
	tp_pmem_hybrid_close(hybrid);
	return ok && hybrid_store_frees_all(pool, w->offset);
}

static void
workload_start(struct workload *w, enum tp_pmem_granularity granularity, uint64_t seed)
{
	const struct tp_pmem_pool_config config = { .lane_count = 2, .lane_bytes = 16384 };
	const struct tp_pmem_hybrid_config cache = {
		.cache_bytes = CACHE_OBJECTS * STRIDE,
		.policy = w->policy,
		.dirty_bytes_max = 4 * OBJECT_BYTES,
		.thread_count = 1,
	};

	w->random = seed * 0x9e3779b97f4a7c15 + 1;
	w->states.count = 1;
	w->cut = cut_create(POOL_BYTES, granularity, seed);
	assert_int_equal(tp_pmem_pool_create_on(cut_device(w->cut), &config, &w->pool), 0);
	w->offset = hybrid_store_create(w->pool, OBJECT_BYTES, OBJECTS, w->level);
	assert_int_equal(tp_pmem_hybrid_open(w->pool, w->offset, &cache, &w->hybrid), 0);
	assert_int_equal(tp_pmem_hybrid_thread_open(w->hybrid, &w->thread), 0);
	cut_watch(w->cut, state_check, w, SAMPLES);
}

/* What a crash may leave from now on is the newest state alone. */
static void
states_flushed(struct workload *w)
{
	struct states *states = &w->states;

	memmove(states->versions[0], states->versions[states->count - 1],
		sizeof(states->versions[0]));
	states->count = 1;
}

static void
workload_end(struct workload *w)
{
	assert_int_equal(tp_pmem_hybrid_close(w->hybrid), 0);
	states_flushed(w);
	assert_int_equal(tp_pmem_pool_close(w->pool), 0);
	cut_now(w->cut);
}

/* The next state is known before the commit that makes it. */
static void
step(struct workload *w)
{
	struct states *states = &w->states;
	uint64_t *next = states->versions[states->count];
	uint32_t edits = 1 + random_below(w, 3);

	memcpy(next, states->versions[states->count - 1], sizeof(states->versions[0]));
	for (uint32_t i = 0; i < edits; i++) {
		uint32_t id = random_below(w, OBJECTS);

		next[id] = random_below(w, 6) == 0 ? 0 : ++w->version;
		assert_int_equal(hybrid_store_set(w->thread, id, next[id], OBJECT_BYTES), 0);
	}
	if (random_below(w, 10) == 0) {
		tp_pmem_hybrid_abort(w->thread);
		return;
	}
	states->count++;
	assert_int_equal(tp_pmem_hybrid_commit(w->thread), 0);
	if (w->policy == TP_PMEM_HYBRID_WRITE_THROUGH)
		states_flushed(w);
	for (uint32_t i = random_below(w, 6); i > 0; i--) {
		uint32_t id = random_below(w, OBJECTS);

		assert_int_equal(hybrid_store_get(w->thread, id, OBJECT_BYTES),
			states->versions[states->count - 1][id]);
	}
	if (random_below(w, 12) == 0 || states->count == STATES_MAX) {
		assert_int_equal(tp_pmem_hybrid_flush(w->hybrid), 0);
		states_flushed(w);
	}
}

static struct workload *
workload_make(enum tp_pmem_hybrid_level level, enum tp_pmem_hybrid_policy policy)
{
	struct workload *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->level = level;
	w->policy = policy;
	return w;
}

static void
every_cut(enum tp_pmem_hybrid_level level, enum tp_pmem_hybrid_policy policy,
	  enum tp_pmem_granularity granularity)
{
	struct workload *w = workload_make(level, policy);
	unsigned int steps = (unsigned int)setting("TP_PMEM_CUT_STEPS", STEPS);

	workload_start(w, granularity, setting("TP_PMEM_CUT_SEED", 1));
	for (unsigned int i = 0; i < steps; i++)
		step(w);
	workload_end(w);
	print_message("%lu states\n", cut_states(w->cut));
	assert_int_equal(cut_failures(w->cut), 0);
	assert_true(cut_states(w->cut) > (level == TP_PMEM_HYBRID_NONE ? OBJECTS : steps));
	cut_destroy(w->cut);
	free(w);
}

static void
both_granularities(enum tp_pmem_hybrid_level level, enum tp_pmem_hybrid_policy policy)
{
	every_cut(level, policy, TP_PMEM_GRANULARITY_CACHE_LINE);
	every_cut(level, policy, TP_PMEM_GRANULARITY_PAGE);
}

static void
test_hybrid_every_cut_transaction_write_through(void **state)
{
	both_granularities(TP_PMEM_HYBRID_TRANSACTION, TP_PMEM_HYBRID_WRITE_THROUGH);
}

static void
test_hybrid_every_cut_transaction_write_back(void **state)
{
	both_granularities(TP_PMEM_HYBRID_TRANSACTION, TP_PMEM_HYBRID_WRITE_BACK);
}

static void
test_hybrid_every_cut_eventual_write_through(void **state)
{
	both_granularities(TP_PMEM_HYBRID_EVENTUAL, TP_PMEM_HYBRID_WRITE_THROUGH);
}

static void
test_hybrid_every_cut_eventual_write_back(void **state)
{
	both_granularities(TP_PMEM_HYBRID_EVENTUAL, TP_PMEM_HYBRID_WRITE_BACK);
}

static void
test_hybrid_every_cut_none(void **state)
{
	both_granularities(TP_PMEM_HYBRID_NONE, TP_PMEM_HYBRID_WRITE_BACK);
	both_granularities(TP_PMEM_HYBRID_NONE, TP_PMEM_HYBRID_WRITE_THROUGH);
}

/* Does the test see what is wrong with a workload until then? */
static bool
is_found(struct workload *w)
{
	bool found;

	for (unsigned int i = 0; i < STEPS && cut_failures(w->cut) == 0; i++)
		step(w);
	found = cut_failures(w->cut) > 0;
	cut_watch(w->cut, NULL, NULL, 0);
	assert_int_equal(tp_pmem_hybrid_close(w->hybrid), 0);
	assert_int_equal(tp_pmem_pool_close(w->pool), 0);
	cut_destroy(w->cut);
	free(w);
	return found;
}

static void
test_hybrid_missing_fence_is_found(void **state)
{
	for (int level = TP_PMEM_HYBRID_EVENTUAL; level <= TP_PMEM_HYBRID_TRANSACTION; level++) {
		struct workload *w = workload_make(level, TP_PMEM_HYBRID_WRITE_THROUGH);

		workload_start(w, TP_PMEM_GRANULARITY_CACHE_LINE, 1);
		cut_mutant_set(w->cut, CUT_NO_FENCE);
		assert_true(is_found(w));
	}
}

/* Eventual is not enough where transaction is promised. */
static void
test_hybrid_objects_one_by_one_are_found(void **state)
{
	struct workload *w = workload_make(TP_PMEM_HYBRID_EVENTUAL, TP_PMEM_HYBRID_WRITE_BACK);

	workload_start(w, TP_PMEM_GRANULARITY_CACHE_LINE, 1);
	w->level = TP_PMEM_HYBRID_TRANSACTION;
	assert_true(is_found(w));
}

/* Write-back does not keep what write-through promises. */
static void
test_hybrid_lag_is_found(void **state)
{
	struct workload *w = workload_make(TP_PMEM_HYBRID_TRANSACTION, TP_PMEM_HYBRID_WRITE_BACK);

	workload_start(w, TP_PMEM_GRANULARITY_CACHE_LINE, 1);
	w->policy = TP_PMEM_HYBRID_WRITE_THROUGH;
	assert_true(is_found(w));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hybrid_every_cut_eventual_write_back),
		cmocka_unit_test(test_hybrid_every_cut_eventual_write_through),
		cmocka_unit_test(test_hybrid_every_cut_none),
		cmocka_unit_test(test_hybrid_every_cut_transaction_write_back),
		cmocka_unit_test(test_hybrid_every_cut_transaction_write_through),
		cmocka_unit_test(test_hybrid_lag_is_found),
		cmocka_unit_test(test_hybrid_missing_fence_is_found),
		cmocka_unit_test(test_hybrid_objects_one_by_one_are_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
