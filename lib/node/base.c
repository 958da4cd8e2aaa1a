/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What other nodes have of a page, as far as this worker remembers it
 * (docs/protocol.md section 7.3). Owner: the worker's lcore.
 *
 * One entry a page: the contents that were last sent or received, or granted for
 * writing. They are found by their sum, so an old entry is never wrong, only of no
 * use. What a request has told its receiver of stays until the answer is here.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_common.h>

#include "worker_priv.h"

#define BASE_WAYS 4u			/* entries that a page may be in */
#define BASE_TOLD_NS UINT64_C(1000000000)	/* an answer that takes longer comes whole */

/* 0 or -ENOMEM. count 0: no base is ever used. */
int
worker_bases_init(struct worker_bases *bases, uint32_t count, uint32_t page_bytes)
{
	uint32_t i;

	count = count == 0 ? 0 : rte_align32pow2(RTE_MAX(count, BASE_WAYS));
	bases->count = count;
	if (count == 0)
		return 0;
	bases->entries = calloc(count, sizeof(*bases->entries));
	/* Touched when it is used: that is paid for by a link that is slow. */
	bases->pages = malloc((size_t)count * page_bytes);
	if (bases->entries == NULL || bases->pages == NULL)
		return -ENOMEM;
	for (i = 0; i < count; i++)
		bases->entries[i].page = bases->pages + (size_t)i * page_bytes;
	return 0;
}

void
worker_bases_fini(struct worker_bases *bases)
{
	free(bases->entries);
	free(bases->pages);
}

static struct worker_base *
base_set(const struct worker_bases *bases, uint32_t region_id, uint32_t page_index)
{
	uint32_t hash = (region_id * 0x9e3779b1u) ^ (page_index * 0x85ebca6bu);

	hash ^= hash >> 15;
	return &bases->entries[(hash * BASE_WAYS) & (bases->count - 1)];
}

/* NULL: nothing is known of the page. */
struct worker_base *
worker_base_find(const struct worker_bases *bases, uint32_t region_id, uint32_t page_index)
{
	struct worker_base *set;
	uint32_t i;

	if (bases->count == 0)
		return NULL;
	set = base_set(bases, region_id, page_index);
	for (i = 0; i < BASE_WAYS; i++)
		if (set[i].sum != 0 && set[i].region_id == region_id &&
		    set[i].page_index == page_index)
			return &set[i];
	return NULL;
}

/* The one that was used longest ago and that nobody was told of; NULL: none. */
static struct worker_base *
base_victim(struct worker_bases *bases, uint32_t region_id, uint32_t page_index, uint64_t now)
{
	struct worker_base *set = base_set(bases, region_id, page_index);
	struct worker_base *victim = NULL;
	uint32_t i;

	for (i = 0; i < BASE_WAYS; i++) {
		if (set[i].sum == 0)
			return &set[i];
		if (set[i].told_until <= now &&
		    (victim == NULL || (int32_t)(set[i].used - victim->used) < 0))
			victim = &set[i];
	}
	return victim;
}

/*
 * Remember contents of a page. home: home memory is this, until this node gives the
 * page back.
 */
void
worker_base_save(struct tp_worker *worker, uint32_t region_id, uint32_t page_index,
	const void *page, uint32_t page_bytes, uint64_t sum, bool home)
{
	struct worker_bases *bases = &worker->codec.bases;
	struct worker_base *base = worker_base_find(bases, region_id, page_index);

	if (base == NULL && bases->count != 0)
		base = base_victim(bases, region_id, page_index, worker->now);
	if (base == NULL)
		return;
	if (base->sum != sum || base->region_id != region_id || base->page_index != page_index)
		memcpy(base->page, page, page_bytes);
	base->region_id = region_id;
	base->page_index = page_index;
	base->sum = sum;
	base->home = home;
	base->told_until = 0;
	base->used = ++bases->clock;
}

/* A request says what is held here. 0: nothing. */
uint64_t
worker_base_tell(struct tp_worker *worker, const struct tp_coherence_msg *msg)
{
	struct worker_base *base = worker_base_find(&worker->codec.bases,
		rte_le_to_cpu_32(msg->region_id), rte_le_to_cpu_32(msg->page_index));

	if (base == NULL)
		return 0;
	base->told_until = worker->now + BASE_TOLD_NS;
	return base->sum;
}

void
worker_base_forget(struct tp_worker *worker, uint32_t region_id, uint32_t page_index)
{
	struct worker_base *base = worker_base_find(&worker->codec.bases, region_id, page_index);

	if (base != NULL)
		*base = (struct worker_base){ .page = base->page };
}
