/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Results of atomics that were run at this home, kept so that one whose answer
 * was lost can be settled: docs/coherence.md, "Atomics that must be settled".
 *
 * How it works: a table of sets, one cache line each, of two results; the older
 * one of a set makes room for the next. A set remembers when the last result it
 * let go of was run, so it can say how far back its silence means "not run". A
 * set, not a ring with an index: one line an atomic, known as soon as the message
 * is seen, and for the next one of a thread even before: it costs 8 ns then,
 * and 100 if it is fetched when it is needed. Ids that must not be run any more are
 * in kept_fence.c.
 */
#include <sys/mman.h>

#include <rte_branch_prediction.h>
#include <rte_common.h>

#include "coherence_priv.h"

#define KEPT_WAYS 2
#define KEPT_TICK_BITS 20		/* stamps count 2^20 ns */
#define KEPT_TICK (UINT64_C(1) << KEPT_TICK_BITS)
#define KEPT_DEFAULT 1024		/* results */

struct coherence_kept_set {
	struct {
		uint64_t origin;
		uint64_t sequence;	/* 0: free */
		uint64_t value;		/* before the atomic */
	} result[KEPT_WAYS];
	uint32_t run_at[KEPT_WAYS];
	uint32_t replaced_at;		/* latest time at which one that is gone was run */
	uint32_t replaced;		/* 1: there was such a one */
};
static_assert(sizeof(struct coherence_kept_set) == 64, "one line an atomic");

/* Memory for count results. false: there is none. */
bool
coherence_kept_init(struct tp_coherence *c)
{
	uint32_t count = c->config.kept_count != 0 ? c->config.kept_count : KEPT_DEFAULT;
	size_t bytes;
	void *memory;

	c->kept_mask = rte_align32pow2(RTE_MAX(count / KEPT_WAYS, 1u)) - 1;
	bytes = ((size_t)c->kept_mask + 1) * sizeof(*c->kept);
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return false;
	/* Touched at random: fewer misses of the TLB. Without them it works as well. */
	madvise(memory, bytes, MADV_HUGEPAGE);
	c->kept = memory;
	return coherence_fences_init(c);
}

void
coherence_kept_fini(struct tp_coherence *c)
{
	if (c->kept != NULL)
		munmap(c->kept, ((size_t)c->kept_mask + 1) * sizeof(*c->kept));
	coherence_fences_fini(c);
}

static struct coherence_kept_set *
kept_set(const struct tp_coherence *c, const struct coherence_id *id)
{
	return &c->kept[(uint32_t)(coherence_id_hash(id) >> 32) & c->kept_mask];
}

static uint32_t
kept_stamp(uint64_t ns)
{
	return (uint32_t)(ns >> KEPT_TICK_BITS);
}

/* The id is about to be looked up. */
void
coherence_kept_prefetch(const struct tp_coherence *c, const struct coherence_id *id)
{
	__builtin_prefetch(kept_set(c, id), 1);
}

/* The result of an atomic that was run here. NULL: none is kept. */
uint64_t *
coherence_kept_find(const struct tp_coherence *c, const struct coherence_id *id)
{
	struct coherence_kept_set *set = kept_set(c, id);
	int i;

	if (coherence_mutant(c, MUTANT_forget_results) ||
	    coherence_mutant(c, MUTANT_double_atomic))
		return NULL;
	for (i = 0; i < KEPT_WAYS; i++)
		if (set->result[i].sequence == id->sequence && set->result[i].origin == id->origin)
			return &set->result[i].value;
	return NULL;
}

/* Make room for the result of an atomic that is run now. @return Where the old value goes. */
uint64_t *
coherence_kept_add(struct tp_coherence *c, const struct coherence_id *id)
{
	const struct coherence_id next = { id->origin, id->sequence + 1 };
	struct coherence_kept_set *set = kept_set(c, id);
	int way = 0;

	if (set->result[0].sequence != 0 &&
	    (set->result[1].sequence == 0 || (int32_t)(set->run_at[1] - set->run_at[0]) < 0))
		way = 1;
	if (set->result[way].sequence != 0) {
		set->replaced_at = set->run_at[way];
		set->replaced = 1;
	}
	set->result[way].origin = id->origin;
	set->result[way].sequence = id->sequence;
	set->run_at[way] = kept_stamp(c->now);
	/* Most likely the thread's next atomic comes here as well, and soon. */
	coherence_kept_prefetch(c, &next);
	return &set->result[way].value;
}

/*
 * How far back from now it is sure that an atomic of this id, were it run here,
 * would be found; UINT64_MAX: however long ago it was. Of a region that is older than
 * this home, which it was home of in an earlier life, what was run then is gone. A
 * stamp is the time at which its turn began, and the turn may have stood still before
 * the atomic was run: what was stamped before the last such gap counts as run at the
 * gap's end. limit: why it is no longer, TP_OK if nothing limits it.
 */
uint64_t
coherence_kept_span(const struct tp_coherence *c, const struct coherence_region *region,
	const struct coherence_id *id, uint8_t *limit)
{
	const struct coherence_kept_set *set = kept_set(c, id);
	uint64_t known_ns = c->born_ns;
	uint32_t age;

	*limit = region->home_lost ? TP_NODE_CRASHED : TP_OK;
	if (set->replaced) {
		/* The stamp is wrapped after 52 days: then it seems younger, which is safe. */
		age = kept_stamp(c->now) - set->replaced_at;
		known_ns = age < 2 ? c->now : c->now - (age - 2) * KEPT_TICK;
		known_ns = RTE_MAX(known_ns, c->gap_end_ns);
		*limit = TP_EXHAUSTED;
	}
	if (*limit == TP_OK)
		return UINT64_MAX;
	return c->now > known_ns ? c->now - known_ns : 0;
}

/* Once a turn: did this worker stand still since the last? */
void
coherence_kept_turn(struct tp_coherence *c)
{
	uint64_t past = c->now - c->turn_ns;

	if (unlikely(past > KEPT_TICK)) {
		if (c->born_ns == 0)
			c->born_ns = c->now;
		c->gap_end_ns = c->now;
		/* What waits to be received has not grown older meanwhile. */
		past = KEPT_TICK;
	}
	c->awake_ns += past;
	c->turn_ns = c->now;
}
