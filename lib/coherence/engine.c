/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The engine of one worker: its pools, its regions, the outbox. Owner: the
 * worker's lcore. See docs/coherence.md.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <rte_branch_prediction.h>
#include <rte_errno.h>

#include "coherence_priv.h"

#define REGION_COUNT_MAX 1024
#define REGION_HASH_COUNT 4096	/* a power of 2 */
#define NODE_ID_LIMIT 16384

TP_LOG_REGISTER(coherence);

static void *
map_zeroed(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static size_t
pending_bytes(const struct tp_coherence *c)
{
	return (size_t)c->config.busy_count * c->pending_words * sizeof(uint64_t);
}

static bool
config_is_valid(const struct tp_coherence_config *config)
{
	uint64_t home_end, cache_end;

	if (config->worker_count == 0 || config->worker >= config->worker_count ||
	    config->node_id_max >= NODE_ID_LIMIT || config->node_id > config->node_id_max)
		return false;
	if (config->cache_slot_count < 4 || config->request_count == 0 ||
	    config->waiter_count == 0 || config->busy_count == 0 || config->deferred_count == 0)
		return false;
	if (config->request_count > 1u << 24 || config->waiter_count > 1u << 24 ||
	    config->busy_count > 1u << 20 || config->deferred_count > 1u << 24)
		return false;
	if (config->directory == NULL || config->directory_worker == NULL ||
	    (config->persisted == NULL) != (config->persist_count == 0))
		return false;
	home_end = (uint64_t)config->home_slot_first + config->home_slot_count;
	cache_end = (uint64_t)config->cache_slot_first + config->cache_slot_count;
	if (home_end >= TP_SLOT_ABSENT || cache_end >= TP_SLOT_ABSENT)
		return false;
	return home_end <= config->cache_slot_first || cache_end <= config->home_slot_first ||
		config->home_slot_count == 0;
}

/* Zeroed, and each item of a line's size in one line. */
static void *
lines_alloc(size_t bytes)
{
	void *memory = aligned_alloc(RTE_CACHE_LINE_SIZE,
		RTE_ALIGN_CEIL(bytes, (size_t)RTE_CACHE_LINE_SIZE));

	return memory == NULL ? NULL : memset(memory, 0, bytes);
}

static bool
pools_alloc(struct tp_coherence *c)
{
	const struct tp_coherence_config *config = &c->config;
	uint32_t timers = config->waiter_count + c->request_total;

	c->regions = calloc(REGION_COUNT_MAX, sizeof(*c->regions));
	c->region_hash = calloc(REGION_HASH_COUNT, sizeof(*c->region_hash));
	c->frames = lines_alloc(c->frame_count * sizeof(*c->frames));
	c->requests = calloc(c->request_total, sizeof(*c->requests));
	c->waiters = calloc(config->waiter_count, sizeof(*c->waiters));
	c->busy = calloc(config->busy_count, sizeof(*c->busy));
	c->deferred = calloc(config->deferred_count, sizeof(*c->deferred));
	c->peers = calloc(config->node_id_max + 1u, sizeof(*c->peers));
	c->jobs = calloc(c->job_capacity, sizeof(*c->jobs));
	c->heap.key = calloc(timers, sizeof(*c->heap.key));
	c->heap.place = calloc(timers, sizeof(*c->heap.place));
	c->heap.ids = calloc(timers, sizeof(*c->heap.ids));
	c->pending = map_zeroed(pending_bytes(c));
	return coherence_kept_init(c) && c->regions != NULL && c->region_hash != NULL && c->frames != NULL &&
		c->requests != NULL && c->waiters != NULL && c->busy != NULL &&
		c->deferred != NULL && c->peers != NULL && c->jobs != NULL &&
		c->heap.key != NULL && c->heap.place != NULL && c->heap.ids != NULL &&
		c->pending != NULL;
}

/* Every free list in ascending order: runs of the same events are the same. */
static void
pools_link(struct tp_coherence *c)
{
	const struct tp_coherence_config *config = &c->config;
	uint32_t i;

	for (i = c->frame_count; i-- > config->home_slot_count;) {
		c->frames[i].next = c->cache_free;
		c->cache_free = i + 1;
	}
	for (i = config->home_slot_count; i-- > 0;) {
		c->frames[i].next = c->home_free;
		c->home_free = i + 1;
	}
	c->cache_free_count = config->cache_slot_count;
	for (i = c->request_total; i-- > 0;) {
		/* The high bits of the first ids differ between epochs. */
		c->requests[i].txn = (config->epoch * 2654435761u << c->txn_bits) | i;
		c->requests[i].next = c->request_free;
		c->request_free = i + 1;
	}
	for (i = config->waiter_count; i-- > 0;) {
		c->waiters[i].next = c->waiter_free;
		c->waiter_free = i + 1;
	}
	for (i = config->busy_count; i-- > 0;) {
		c->busy[i].next = c->busy_free;
		c->busy_free = i + 1;
	}
	for (i = config->deferred_count; i-- > 0;) {
		c->deferred[i].next = c->deferred_free;
		c->deferred_free = i + 1;
	}
}

struct tp_coherence *
tp_coherence_create(const struct tp_coherence_config *config)
{
	struct tp_coherence *c;

	if (!config_is_valid(config)) {
		rte_errno = EINVAL;
		return NULL;
	}
	c = calloc(1, sizeof(*c));
	if (c == NULL) {
		rte_errno = ENOMEM;
		return NULL;
	}
	c->config = *config;
	if (c->config.retry_ns == 0)
		c->config.retry_ns = 20 * 1000 * 1000;
	if (c->config.fence_ns == 0)
		c->config.fence_ns = UINT64_C(10000000000);
	c->slot_low = config->cache_slot_low;
	if (c->slot_low == 0)
		c->slot_low = config->cache_slot_count / 16 + 1;
	if (c->slot_low > config->cache_slot_count / 2)
		c->slot_low = config->cache_slot_count / 2;
	c->frame_count = config->home_slot_count + config->cache_slot_count;
	c->request_total = config->request_count + EVICT_RESERVE;
	while (1u << c->txn_bits < c->request_total)
		c->txn_bits++;
	c->pending_words = config->node_id_max / 64 + 1;
	c->job_capacity = 8 * (config->node_id_max + 2u);
	if (!pools_alloc(c)) {
		tp_coherence_destroy(c);
		rte_errno = ENOMEM;
		return NULL;
	}
	pools_link(c);
	c->peers[config->node_id].worker_count = config->worker_count;
	c->peers[config->node_id].up = true;
	return c;
}

static void
region_unmap(struct coherence_region *region)
{
	munmap(region->pages, (size_t)region->region->page_count * sizeof(*region->pages));
	region->pages = NULL;
}

void
tp_coherence_destroy(struct tp_coherence *c)
{
	uint32_t i;

	if (c == NULL)
		return;
	for (i = 0; i < c->region_count; i++)
		if (c->regions[i].region != NULL)
			region_unmap(&c->regions[i]);
	coherence_kept_fini(c);
	if (c->pending != NULL)
		munmap(c->pending, pending_bytes(c));
	free(c->heap.ids);
	free(c->heap.place);
	free(c->heap.key);
	free(c->jobs);
	free(c->peers);
	free(c->deferred);
	free(c->busy);
	free(c->waiters);
	free(c->requests);
	free(c->frames);
	free(c->region_hash);
	free(c->regions);
	free(c);
}

static uint32_t
region_hash(uint32_t id)
{
	return (id * 2654435761u) >> 20 & (REGION_HASH_COUNT - 1);
}

/* The region of that id that is not being removed, or NULL. */
struct coherence_region *
coherence_region_find(const struct tp_coherence *c, uint32_t id)
{
	uint32_t i;

	for (i = region_hash(id); c->region_hash[i] != 0; i = (i + 1) & (REGION_HASH_COUNT - 1)) {
		struct coherence_region *region = &c->regions[c->region_hash[i] - 1];

		if (region->id == id)
			return region;
	}
	return NULL;
}

/* Open addressing without tombstones: rebuilt when a region goes, which is rare. */
static void
region_hash_rebuild(struct tp_coherence *c)
{
	uint32_t i, at;

	memset(c->region_hash, 0, REGION_HASH_COUNT * sizeof(*c->region_hash));
	for (i = 0; i < c->region_count; i++) {
		if (c->regions[i].region == NULL)
			continue;
		for (at = region_hash(c->regions[i].id); c->region_hash[at] != 0;)
			at = (at + 1) & (REGION_HASH_COUNT - 1);
		c->region_hash[at] = i + 1;
	}
}

int
tp_coherence_region_add(struct tp_coherence *c, const struct tp_region *region,
	uint32_t directory_slot, bool home_lost)
{
	struct coherence_region *added;
	struct coherence_page *pages;
	uint32_t i;

	if (coherence_region_find(c, region->id) != NULL)
		return -EEXIST;
	if (region->durability != TP_DURABILITY_NONE && directory_slot != UINT32_MAX &&
	    c->config.persisted == NULL)
		return -ENODEV;
	for (i = 0; i < c->region_count && c->regions[i].region != NULL; i++)
		;
	if (i == REGION_COUNT_MAX)
		return -ENOMEM;
	pages = map_zeroed((size_t)region->page_count * sizeof(*pages));
	if (pages == NULL)
		return -ENOMEM;
	added = &c->regions[i];
	*added = (struct coherence_region){
		.region = region,
		.pages = pages,
		.id = region->id,
		.index = i,
		.directory_slot = directory_slot,
		.home_lost = home_lost,
		.durable = region->durability != TP_DURABILITY_NONE,
	};
	if (i == c->region_count)
		c->region_count++;
	region_hash_rebuild(c);
	return 0;
}

/*
 * One frame, request or entry of a region that goes. Waiters get VOID, copies
 * are unpublished, and what nobody guards is freed.
 */
static void
region_frame_remove(struct tp_coherence *c, struct coherence_region *region, uint32_t i)
{
	struct coherence_frame *frame = &c->frames[i];
	struct coherence_event ev;

	if (frame->state != FRAME_HELD || frame->region != region->index)
		return;
	coherence_event_init(&ev, c, region, frame->page);
	ev.reason = TP_GENERATION;
	if (ev.page->state != CACHE_I && ev.page->state != CACHE_DROP)
		coherence_cache_step(&ev, CE_LOSE);
	if (ev.page->state == CACHE_I)
		coherence_frame_drop(&ev);
}

static bool
region_entry_remove(struct tp_coherence *c, struct coherence_region *region)
{
	struct tp_directory_entry *entry;
	struct coherence_event ev;
	uint32_t home_index, page;

	home_index = tp_directory_entry_next(c->config.directory, region->directory_slot,
		region->cursor);
	if (home_index == TP_DIRECTORY_INDEX_NONE)
		return false;
	region->cursor = home_index + 1;
	page = tp_region_page_of(region->region, c->config.node_id, home_index);
	if (page == TP_REGION_PAGE_NONE || !coherence_page_is_owned(c, region, page))
		return true;
	entry = tp_directory_entry_get(c->config.directory, region->directory_slot, home_index);
	tp_directory_sharer_clear(c->config.directory_worker, entry);
	coherence_event_init(&ev, c, region, page);
	ev.entry = entry;
	if (entry->transient != 0 && !coherence_busy_free(&ev))
		region->cursor--;
	return true;
}

enum region_removal {
	REMOVE_REQUESTS,	/* waiters, and the copies they wait for */
	REMOVE_FRAMES,		/* all other copies, home memory */
	REMOVE_ENTRIES,		/* what is deferred, bitmaps of sharers */
	REMOVE_WAIT,		/* for guards */
};

static bool
region_remove_step(struct tp_coherence *c, struct coherence_region *region)
{
	struct coherence_request *request;
	bool more = false;

	switch (region->stage) {
	case REMOVE_REQUESTS:
		more = region->cursor < c->request_total && region->requests_held != 0;
		if (!more)
			break;
		request = &c->requests[region->cursor];
		if (!request->used || request->region != region->index ||
		    coherence_request_void(c, request, TP_GENERATION))
			region->cursor++;
		break;
	case REMOVE_ENTRIES:
		more = region->directory_slot != UINT32_MAX && region_entry_remove(c, region);
		break;
	default:
		more = region->cursor < c->frame_count && region->frames_held != 0;
		if (more)
			region_frame_remove(c, region, region->cursor++);
		break;
	}
	if (more)
		return true;
	region->cursor = 0;
	if (region->stage == REMOVE_WAIT)
		return false;
	region->stage++;
	return true;
}

bool
tp_coherence_region_remove(struct tp_coherence *c, uint32_t region_id, uint64_t now,
	struct tp_outbox *outbox)
{
	struct coherence_region *region = coherence_region_find(c, region_id);

	if (region == NULL)
		return true;
	c->out = outbox;
	c->now = now;
	region->removing = true;
	while (coherence_room(c) && region_remove_step(c, region))
		;
	if (region->stage != REMOVE_WAIT || region->frames_held != 0 ||
	    region->requests_held != 0 || region->busy_held != 0)
		return false;
	region_unmap(region);
	region->region = NULL;
	region->id = 0;
	region_hash_rebuild(c);
	return true;
}

bool
coherence_room(const struct tp_coherence *c)
{
	return c->out->capacity - c->out->count >= STEP_ACTIONS;
}

struct tp_action *
coherence_action(struct tp_coherence *c, enum tp_action_type type)
{
	struct tp_action *action;

	RTE_ASSERT(c->out->count < c->out->capacity);
	action = &c->out->actions[c->out->count++];
	memset(action, 0, sizeof(*action));
	action->type = (uint8_t)type;
	action->slot = TP_SLOT_ABSENT;
	action->from_slot = TP_SLOT_ABSENT;
	return action;
}

/* An action on the page and its slot. */
void
coherence_action_page(struct coherence_event *ev, enum tp_action_type type, enum tp_access access)
{
	struct tp_action *action = coherence_action(ev->c, type);

	action->access = (uint8_t)access;
	action->slot = coherence_page_slot(ev);
	action->region_id = ev->region->id;
	action->page_index = ev->index;
}

/* The request of this event is over: its credit goes back, once. */
void
coherence_token_done(struct coherence_event *ev)
{
	struct tp_action *action;

	if (!ev->has_token)
		return;
	ev->has_token = false;
	action = coherence_action(ev->c, TP_ACTION_REQUEST_DONE);
	action->token = ev->token;
	action->node = ev->from;
	action->worker = ev->from_worker;
}

const struct tp_coherence_stats *
tp_coherence_stats_get(const struct tp_coherence *c)
{
	return &c->stats;
}

void
tp_coherence_usage_get(const struct tp_coherence *c, struct tp_coherence_usage *usage)
{
	*usage = (struct tp_coherence_usage){
		.requests = c->request_used,
		.waiters = c->waiter_used,
		.busy = c->busy_used,
		.deferred = c->deferred_used,
		.home_slots = c->home_used,
		.cache_slots = c->config.cache_slot_count - c->cache_free_count,
		.quarantined = c->quarantined,
	};
}

uint32_t
tp_coherence_poll(struct tp_coherence *c, uint64_t now, struct tp_outbox *outbox)
{
	uint32_t work = 0;

	c->out = outbox;
	c->now = now;
	coherence_kept_turn(c);
	work += coherence_waiter_poll(c);
	work += coherence_busy_poll(c);
	work += coherence_request_poll(c);
	work += coherence_job_poll(c);
	work += coherence_evict_poll(c);
	if (unlikely(c->sweeping))
		work += coherence_persist_poll(c);
	return work;
}

uint64_t
tp_coherence_next_timer(const struct tp_coherence *c)
{
	uint64_t next = coherence_drain_next(c);

	return c->heap.count == 0 ? next : RTE_MIN(next, c->heap.key[c->heap.ids[0]]);
}
