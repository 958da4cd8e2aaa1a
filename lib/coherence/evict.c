/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Eviction: CLOCK over the cache slots with the reference bit that the caller
 * keeps in the frame word. It starts before the last slot is gone, so that a
 * miss seldom waits for one.
 */
#include "coherence_priv.h"

#define EVICT_SCAN 64	/* slots looked at in one turn */
#define DRAIN_SCAN 1024	/* the same by who does nothing else any more */
#define DRAIN_PAUSE_NS UINT64_C(50000)	/* what is under way at the end of a round takes as long */

/* Slots that will be free without more evictions. */
static uint32_t
slots_coming(const struct tp_coherence *c)
{
	return c->cache_free_count + c->evicting;
}

static bool
frame_evict(struct tp_coherence *c, struct coherence_frame *frame)
{
	struct coherence_region *region;
	struct coherence_event ev;

	if (frame->state != FRAME_HELD)
		return false;
	region = &c->regions[frame->region];
	coherence_event_init(&ev, c, region, frame->page);
	if ((ev.page->state != CACHE_S && ev.page->state != CACHE_M) || ev.page->request != 0 ||
	    region->removing || !c->peers[ev.home].up)
		return false;
	if (c->config.referenced != NULL &&
	    c->config.referenced(c->config.referenced_ctx, region->id, ev.index))
		return false;
	coherence_cache_step(&ev, CE_EVICT);
	if (ev.page->state == CACHE_S || ev.page->state == CACHE_M)
		return false;
	c->stats.evictions++;
	return true;
}

/* One page on its way out, if one can be found. */
static bool
evict_one(struct tp_coherence *c)
{
	uint32_t count;

	for (count = 0; count < EVICT_SCAN && count < 2 * c->config.cache_slot_count; count++) {
		struct coherence_frame *frame =
			&c->frames[c->config.home_slot_count + c->clock_hand];

		c->clock_hand = (c->clock_hand + 1) % c->config.cache_slot_count;
		if (frame_evict(c, frame))
			return true;
	}
	return false;
}

/* Somebody waits for a slot: one more page goes at once. */
void
coherence_evict_start(struct tp_coherence *c)
{
	if (slots_coming(c) <= c->slot_low)
		evict_one(c);
}

void
tp_coherence_drain(struct tp_coherence *c)
{
	c->draining = true;
	c->drained = false;
	c->drain_cursor = 0;
	c->drain_found = false;
	c->drain_at = 0;
}

/* When to look at the slots again; with all requests under way an event comes first. */
uint64_t
coherence_drain_next(const struct tp_coherence *c)
{
	return c->draining && !c->drained && c->request_free != 0 ? c->drain_at : UINT64_MAX;
}

bool
tp_coherence_is_drained(const struct tp_coherence *c)
{
	return c->drained && !c->sweeping && c->persists == 0;
}

/* Is there something to give back, or under way? What is there begins to go. */
static bool
frame_drain(struct tp_coherence *c, const struct coherence_frame *frame)
{
	struct coherence_event ev;

	if (frame->state != FRAME_HELD || c->regions[frame->region].removing)
		return false;
	coherence_event_init(&ev, c, &c->regions[frame->region], frame->page);
	if (ev.page->state == CACHE_I || ev.page->state == CACHE_S || !c->peers[ev.home].up)
		return false;
	if (ev.page->state == CACHE_M && ev.page->request == 0) {
		coherence_cache_step(&ev, CE_EVICT);
		c->stats.evictions += ev.page->state != CACHE_M;
	}
	return true;
}

/*
 * All slots, again and again, until a round finds none. With all requests under way
 * the next slots could not go: they are not passed over, or they would have to wait
 * for the next round, through slots that others had no request for either.
 */
static uint32_t
drain_poll(struct tp_coherence *c)
{
	uint32_t count;

	if (c->now < c->drain_at)
		return 0;
	for (count = 0; count < DRAIN_SCAN && c->request_free != 0 && coherence_room(c);
	     count++) {
		if (c->drain_cursor == c->config.cache_slot_count) {
			c->drained = !c->drain_found;
			c->drain_cursor = 0;
			c->drain_found = false;
			c->drain_at = c->now + DRAIN_PAUSE_NS;
			break;
		}
		c->drain_found |= frame_drain(c,
			&c->frames[c->config.home_slot_count + c->drain_cursor++]);
	}
	return count;
}

uint32_t
coherence_evict_poll(struct tp_coherence *c)
{
	uint32_t work = 0;

	if (unlikely(c->draining && !c->drained))
		work += drain_poll(c);
	while (slots_coming(c) < c->slot_low && coherence_room(c)) {
		if (!evict_one(c))
			break;
		work++;
	}
	return work;
}
