/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Fences: ids of atomics that must not be run any more, because their home has said
 * that they were not. docs/coherence.md, "Atomics that must be settled". Not those of
 * nodes, which are in member.c. Owner: the worker's lcore.
 *
 * How it works: none may be forgotten while its atomic may still arrive: in the
 * session it was sent in, by whose end or by whose age it goes. So there is room for
 * a number of them, and who has put up many gets no more: a program that asks after
 * what never was cannot keep others from learning what became of theirs. Every
 * program of every node may have one, always. More come out of a common pool, as long
 * as the program and its node together have fewer of those than are left: each taker
 * leaves room for the next. A hash finds them by id: while there are any, every atomic
 * that comes looks there. A list by age, oldest first, tells which are over.
 */
#include <stdlib.h>

#include <rte_common.h>

#include "coherence_priv.h"

#define FENCE_COMMON 1024

bool
coherence_fences_init(struct tp_coherence *c)
{
	struct coherence_fences *fences = &c->fences;
	uint32_t nodes = c->config.node_id_max + 1u;

	fences->total = FENCE_COMMON + nodes * TP_SETTLE_ASKERS;
	fences->bucket_mask = rte_align32pow2(fences->total) - 1;
	/* Touched as they are used, the lowest first: most of this is never memory. */
	fences->items = calloc(fences->total, sizeof(*fences->items));
	fences->buckets = calloc(fences->bucket_mask + 1u, sizeof(*fences->buckets));
	fences->by_asker = calloc(nodes * TP_SETTLE_ASKERS, sizeof(*fences->by_asker));
	fences->common_by_node = calloc(nodes, sizeof(*fences->common_by_node));
	return fences->items != NULL && fences->buckets != NULL && fences->by_asker != NULL &&
		fences->common_by_node != NULL;
}

void
coherence_fences_fini(struct tp_coherence *c)
{
	free(c->fences.common_by_node);
	free(c->fences.by_asker);
	free(c->fences.buckets);
	free(c->fences.items);
}

static uint16_t *
fence_held(struct coherence_fences *fences, uint16_t node, uint8_t asker)
{
	return &fences->by_asker[node * TP_SETTLE_ASKERS + asker];
}

/* One more for this program. false: it has, or its node has, as many as it may. */
static bool
fence_quota_take(struct coherence_fences *fences, uint16_t node, uint8_t asker)
{
	uint16_t *held = fence_held(fences, node, asker);

	if (*held != 0) {
		uint32_t common = *held - 1u + fences->common_by_node[node];

		if (common >= FENCE_COMMON - fences->common)
			return false;
		fences->common++;
		fences->common_by_node[node]++;
	}
	(*held)++;
	return true;
}

static void
fence_quota_give(struct coherence_fences *fences, uint16_t node, uint8_t asker)
{
	uint16_t *held = fence_held(fences, node, asker);

	RTE_ASSERT(*held != 0);
	if (--*held == 0)
		return;
	RTE_ASSERT(fences->common != 0 && fences->common_by_node[node] != 0);
	fences->common--;
	fences->common_by_node[node]--;
}

static uint32_t *
fence_bucket(const struct coherence_fences *fences, const struct coherence_id *id)
{
	return &fences->buckets[(uint32_t)(coherence_id_hash(id) >> 32) & fences->bucket_mask];
}

/* What points to the fence of an id sent by that node: 0 there is none. */
static uint32_t *
fence_find(const struct coherence_fences *fences, uint16_t node, const struct coherence_id *id)
{
	uint32_t *link = fence_bucket(fences, id);

	while (*link != 0) {
		struct coherence_fence *fence = &fences->items[*link - 1];

		if (fence->node == node && fence->id.origin == id->origin &&
		    fence->id.sequence == id->sequence)
			break;
		link = &fence->next;
	}
	return link;
}

static void
fence_age_add(struct coherence_fences *fences, uint32_t index)
{
	struct coherence_fence *fence = &fences->items[index - 1];

	fence->older = fences->youngest;
	fence->younger = 0;
	if (fences->youngest != 0)
		fences->items[fences->youngest - 1].younger = index;
	else
		fences->oldest = index;
	fences->youngest = index;
}

static void
fence_age_remove(struct coherence_fences *fences, const struct coherence_fence *fence)
{
	if (fence->older != 0)
		fences->items[fence->older - 1].younger = fence->younger;
	else
		fences->oldest = fence->younger;
	if (fence->younger != 0)
		fences->items[fence->younger - 1].older = fence->older;
	else
		fences->youngest = fence->older;
}

/* link: what points to it. */
static void
fence_remove(struct coherence_fences *fences, uint32_t *link)
{
	uint32_t index = *link;
	struct coherence_fence *fence = &fences->items[index - 1];

	*link = fence->next;
	fence_age_remove(fences, fence);
	fence_quota_give(fences, fence->asker_node, fence->asker);
	fence->next = fences->free;
	fences->free = index;
	fences->count--;
}

static uint32_t
fence_alloc(struct coherence_fences *fences)
{
	uint32_t index = fences->free;

	if (index != 0)
		fences->free = fences->items[index - 1].next;
	else
		index = ++fences->used_max;
	/* As many as all quotas together. */
	RTE_ASSERT(index <= fences->total);
	fences->count++;
	return index;
}

/* They are in the order of their age, so only the oldest are looked at. */
static void
fences_expire(struct tp_coherence *c)
{
	struct coherence_fences *fences = &c->fences;

	while (fences->oldest != 0) {
		const struct coherence_fence *fence = &fences->items[fences->oldest - 1];

		if (c->awake_ns - fence->since <= c->config.fence_ns)
			break;
		fence_remove(fences, fence_find(fences, fence->node, &fence->id));
	}
}

/* Sessions were lost: what was fenced in them cannot arrive any more. Rare. */
void
coherence_fences_sessions_over(struct tp_coherence *c)
{
	struct coherence_fences *fences = &c->fences;
	uint32_t index, next;

	for (index = fences->oldest; index != 0; index = next) {
		const struct coherence_fence *fence = &fences->items[index - 1];

		next = fence->younger;
		if ((int32_t)(c->peers[fence->node].downs - fence->downs_end) >= 0)
			fence_remove(fences, fence_find(fences, fence->node, &fence->id));
	}
}

/* false: who asks for it has as many as it may. */
static bool
fence_new(struct tp_coherence *c, uint32_t *link, const struct coherence_fence *fence)
{
	struct coherence_fences *fences = &c->fences;

	if (!fence_quota_take(fences, fence->asker_node, fence->asker)) {
		c->stats.fences_refused++;
		return false;
	}
	*link = fence_alloc(fences);
	fences->items[*link - 1] = *fence;
	fence_age_add(fences, *link);
	return true;
}

/*
 * Refuse the atomic when it arrives from that node, in this session and so many
 * after it. false: no room to remember it.
 */
bool
coherence_fence_add(struct coherence_event *ev, uint16_t node, uint32_t sessions,
	const struct coherence_id *id)
{
	struct tp_coherence *c = ev->c;
	const struct coherence_fence wanted = {
		.id = *id,
		.since = c->awake_ns,
		.downs_end = c->peers[node].downs + 1 + sessions,
		.node = node,
		.asker_node = ev->from,
		.asker = (uint8_t)rte_le_to_cpu_64(ev->msg->operand),
	};
	struct coherence_fence *fence;
	uint32_t *link;

	if (coherence_mutant(c, MUTANT_settle_without_fence) ||
	    (coherence_mutant(c, MUTANT_settle_without_foreign_fence) && node != ev->from))
		return true;
	fences_expire(c);
	link = fence_find(&c->fences, node, id);
	if (*link == 0)
		return fence_new(c, link, &wanted);
	/* Asked for once more: it stays who asked first's. */
	fence = &c->fences.items[*link - 1];
	fence->since = wanted.since;
	if ((int32_t)(wanted.downs_end - fence->downs_end) > 0)
		fence->downs_end = wanted.downs_end;
	fence_age_remove(&c->fences, fence);
	fence_age_add(&c->fences, *link);
	return true;
}

/* The atomic has come. @return true: it was fenced; it comes but once. */
bool
coherence_fence_take(struct coherence_event *ev, const struct coherence_id *id)
{
	struct coherence_fences *fences = &ev->c->fences;
	uint32_t *link;

	fences_expire(ev->c);
	link = fence_find(fences, ev->from, id);
	if (*link == 0)
		return false;
	fence_remove(fences, link);
	return true;
}
