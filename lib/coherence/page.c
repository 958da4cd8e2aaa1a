/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Pages and the slots they hold. A page of a remote home holds a cache slot
 * while it has or awaits a copy; a page homed here holds a home slot from its
 * first need until its region goes, and that slot is home memory and local copy
 * in one.
 */
#include <rte_branch_prediction.h>
#include <rte_prefetch.h>

#include "coherence_priv.h"

/* The page is in a shard of this worker. */
bool
coherence_page_is_owned(const struct tp_coherence *c, const struct coherence_region *region,
	uint32_t page_index)
{
	uint32_t shard = tp_shard_of(tp_region_page_address(region->region, page_index),
		region->region->page_shift);

	return tp_shard_worker(shard, c->config.worker_count) == c->config.worker;
}

/* page_index is in the region and of this worker. */
void
coherence_event_init(struct coherence_event *ev, struct tp_coherence *c,
	struct coherence_region *region, uint32_t page_index)
{
	*ev = (struct coherence_event){
		.c = c,
		.region = region,
		.page = &region->pages[page_index],
		.index = page_index,
		.home = tp_region_home(region->region, page_index),
		.from = c->config.node_id,
		.from_worker = c->config.worker,
	};
}

bool
coherence_page_is_home(const struct coherence_event *ev)
{
	return ev->home == ev->c->config.node_id;
}

/* Worker of a node that owns the page's shard there. */
uint16_t
coherence_worker_of(const struct coherence_event *ev, uint16_t node)
{
	const struct coherence_peer *peer = &ev->c->peers[node];
	uint32_t shard = tp_shard_of(tp_region_page_address(ev->region->region, ev->index),
		ev->region->region->page_shift);

	RTE_ASSERT(peer->worker_count != 0);
	return tp_shard_worker(shard, peer->worker_count);
}

uint32_t
coherence_slot(const struct tp_coherence *c, uint32_t frame)
{
	return frame < c->config.home_slot_count ? c->config.home_slot_first + frame :
		c->config.cache_slot_first + frame - c->config.home_slot_count;
}

/* The page's frame, NULL: it has none. */
struct coherence_frame *
coherence_frame(const struct coherence_event *ev)
{
	return ev->page->frame == 0 ? NULL : &ev->c->frames[ev->page->frame - 1];
}

uint32_t
coherence_page_slot(const struct coherence_event *ev)
{
	return ev->page->frame == 0 ? TP_SLOT_ABSENT : coherence_slot(ev->c, ev->page->frame - 1);
}

uint32_t
tp_coherence_page_slot(const struct tp_coherence *c, uint32_t region_id, uint32_t page_index)
{
	const struct coherence_region *region = coherence_region_find(c, region_id);
	const struct coherence_page *page;

	if (region == NULL || page_index >= region->region->page_count)
		return TP_SLOT_ABSENT;
	page = &region->pages[page_index];
	if (page->frame == 0 || page->flags & PAGE_ZERO)
		return TP_SLOT_ABSENT;
	return coherence_slot(c, page->frame - 1);
}

/* Tell who keeps the slots what comes. */
void
coherence_slot_hint(const struct coherence_event *ev, uint32_t offset, uint32_t bytes, bool later)
{
	const struct tp_coherence_config *config = &ev->c->config;
	uint32_t slot = coherence_page_slot(ev);

	if (config->slot_hint != NULL && slot != TP_SLOT_ABSENT)
		config->slot_hint(config->slot_hint_ctx, slot, offset, bytes, later);
}

void
tp_coherence_request_hint(const struct tp_coherence *c, uint32_t region_id, uint32_t page_index)
{
	const struct coherence_region *region = coherence_region_find(c, region_id);

	if (region != NULL && page_index < region->region->page_count)
		rte_prefetch0(&region->pages[page_index]);
}

static uint32_t
frame_pop(struct tp_coherence *c, bool home)
{
	uint32_t *list = home ? &c->home_free : &c->cache_free;
	uint32_t link = *list;

	if (link == 0)
		return 0;
	*list = c->frames[link - 1].next;
	/* The next one's turn comes with the next miss. */
	if (*list != 0)
		rte_prefetch0(&c->frames[*list - 1]);
	if (home)
		c->home_used++;
	else
		c->cache_free_count--;
	return link;
}

static void
frame_push(struct tp_coherence *c, uint32_t link)
{
	struct coherence_frame *frame = &c->frames[link - 1];
	bool home = link - 1 < c->config.home_slot_count;
	uint32_t *list = home ? &c->home_free : &c->cache_free;

	*frame = (struct coherence_frame){ .state = FRAME_FREE, .next = *list };
	*list = link;
	if (home) {
		c->home_used--;
		return;
	}
	c->cache_free_count++;
	coherence_request_slot_freed(c);
}

/* Give the page a frame if it has none. false: none is free. */
bool
coherence_frame_take(struct coherence_event *ev)
{
	uint32_t link;

	if (ev->page->frame != 0)
		return true;
	link = frame_pop(ev->c, coherence_page_is_home(ev));
	if (link == 0)
		return false;
	ev->c->frames[link - 1] = (struct coherence_frame){
		.region = ev->region->index,
		.page = ev->index,
		.state = FRAME_HELD,
	};
	ev->region->frames_held++;
	ev->page->frame = link;
	if (!coherence_page_is_home(ev))
		return true;
	/* This node's own client may be the first to come here: what has the pool? */
	if (unlikely(ev->region->durable) && ev->entry == NULL)
		coherence_home_entry(ev);
	if (likely(!(ev->page->flags & PAGE_PERSISTED))) {
		ev->page->flags |= PAGE_ZERO;
		return true;
	}
	ev->page->flags &= (uint8_t)~PAGE_PERSISTED;
	coherence_action_page(ev, TP_ACTION_LOAD, TP_ACCESS_NONE);
	ev->c->stats.pages_loaded++;
	return true;
}

/* Take the frame off the page, home memory or not. */
void
coherence_frame_drop(struct coherence_event *ev)
{
	struct coherence_frame *frame = coherence_frame(ev);

	if (frame == NULL)
		return;
	RTE_ASSERT(frame->state == FRAME_HELD);
	ev->region->frames_held--;
	if (frame->leaves) {
		*frame = (struct coherence_frame){ .state = FRAME_QUARANTINED };
		ev->c->quarantined++;
	} else {
		frame_push(ev->c, ev->page->frame);
	}
	ev->page->frame = 0;
	ev->page->flags &= (uint8_t)~PAGE_ZERO;
}

/* The page has no copy any more: home memory stays. */
void
coherence_frame_release(struct coherence_event *ev)
{
	struct coherence_frame *frame = coherence_frame(ev);

	if (frame == NULL)
		return;
	if (!coherence_page_is_home(ev)) {
		coherence_frame_drop(ev);
		return;
	}
	frame->pending = 0;
	frame->unblock = 0;
}

/* Before home memory is read in place: what counts as zero is zeroed. */
void
coherence_home_frame_zero(struct coherence_event *ev)
{
	RTE_ASSERT(ev->page->frame != 0);
	if (!(ev->page->flags & PAGE_ZERO))
		return;
	coherence_action_page(ev, TP_ACTION_ZERO, TP_ACCESS_NONE);
	ev->page->flags &= (uint8_t)~PAGE_ZERO;
}

/*
 * What holds in each state between steps:
 *   S M SM SM_FWD S_WB, all *_REVOKE, *_EVICT, I_WB, MI: there is a copy, so a frame
 *   IS IM IS_INV IM_FWD: a frame for the copy to come
 *   IS_INV IM_FWD SM_FWD *_REVOKE: the frame knows what is to be answered
 *   IS IM SM IS_INV IM_FWD SM_FWD SM_REVOKE: a GET is outstanding
 *   SI MI: a PUT is outstanding
 */
void
coherence_page_assert_state(const struct coherence_event *ev)
{
#ifdef RTE_ENABLE_ASSERT
	const struct coherence_page *page = ev->page;
	const struct coherence_frame *frame = coherence_frame(ev);
	uint8_t sent = page->request == 0 ? 0 : ev->c->requests[page->request - 1].sent;

	switch (page->state) {
	case CACHE_IS:
	case CACHE_IS_INV:
		RTE_ASSERT(sent == TP_MSG_GET_S);
		break;
	case CACHE_IM:
	case CACHE_SM:
	case CACHE_IM_FWD:
	case CACHE_SM_FWD:
	case CACHE_SM_REVOKE:
		RTE_ASSERT(sent == TP_MSG_GET_M);
		break;
	case CACHE_SI:
		RTE_ASSERT(sent == TP_MSG_PUT_S);
		break;
	case CACHE_MI:
		RTE_ASSERT(sent == TP_MSG_PUT_M);
		break;
	default:
		RTE_ASSERT(sent == 0);
		break;
	}
	if (page->state == CACHE_I || page->state == CACHE_SI)
		RTE_ASSERT(frame == NULL || coherence_page_is_home(ev));
	else
		RTE_ASSERT(frame != NULL && frame->state == FRAME_HELD);
	if (page->state == CACHE_IS_INV || page->state == CACHE_IM_FWD ||
	    page->state == CACHE_SM_FWD || page->state == CACHE_S_REVOKE ||
	    page->state == CACHE_SM_REVOKE || page->state == CACHE_M_REVOKE)
		RTE_ASSERT(frame->pending != 0);
#endif
}

/*
 * The client that held a guard too long loses the slot, not the node: the page
 * moves on with another frame, or without one where no copy is needed.
 */
uint32_t
tp_coherence_guards_expired(struct tp_coherence *c, uint32_t region_id, uint32_t page_index,
	uint64_t now, struct tp_outbox *outbox)
{
	struct coherence_region *region = coherence_region_find(c, region_id);
	struct coherence_event ev;
	struct tp_action *action;
	uint32_t old, link;
	bool readable;

	if (region == NULL || page_index >= region->region->page_count ||
	    !coherence_page_is_owned(c, region, page_index))
		return TP_SLOT_ABSENT;
	c->out = outbox;
	c->now = now;
	coherence_event_init(&ev, c, region, page_index);
	switch (ev.page->state) {
	case CACHE_S_REVOKE:
	case CACHE_S_EVICT:
	case CACHE_DROP:
		if (coherence_page_is_home(&ev))
			break;
		old = ev.page->frame;
		coherence_frame(&ev)->leaves = true;
		c->stats.guards_broken++;
		coherence_cache_step(&ev, CE_GUARDS_CLEAR);
		return coherence_slot(c, old - 1);
	case CACHE_SM_REVOKE:
	case CACHE_M_REVOKE:
	case CACHE_M_EVICT:
		break;
	default:
		return TP_SLOT_ABSENT;
	}
	old = ev.page->frame;
	link = frame_pop(c, coherence_page_is_home(&ev));
	if (link == 0) {
		coherence_evict_start(c);
		return TP_SLOT_ABSENT;
	}
	c->frames[link - 1] = c->frames[old - 1];
	c->frames[old - 1] = (struct coherence_frame){ .state = FRAME_QUARANTINED };
	c->quarantined++;
	c->stats.guards_broken++;
	/*
	 * A downgrade leaves the word at read: it must not name the old slot, which
	 * is still written to, from before the copy on.
	 */
	readable = ev.page->state == CACHE_M_REVOKE &&
		c->frames[link - 1].pending == TP_MSG_FWD_S;
	if (readable)
		coherence_action_page(&ev, TP_ACTION_PUBLISH, TP_ACCESS_NONE);
	ev.page->frame = link;
	coherence_action_page(&ev, TP_ACTION_COPY_SLOT, TP_ACCESS_NONE);
	action = &outbox->actions[outbox->count - 1];
	action->from_slot = coherence_slot(c, old - 1);
	if (readable)
		coherence_action_page(&ev, TP_ACTION_PUBLISH, TP_ACCESS_READ);
	coherence_cache_step(&ev, CE_GUARDS_CLEAR);
	return coherence_slot(c, old - 1);
}

void
tp_coherence_slot_return(struct tp_coherence *c, uint32_t slot)
{
	uint32_t frame;

	if (slot - c->config.home_slot_first < c->config.home_slot_count)
		frame = slot - c->config.home_slot_first;
	else if (slot - c->config.cache_slot_first < c->config.cache_slot_count)
		frame = slot - c->config.cache_slot_first + c->config.home_slot_count;
	else
		return;
	RTE_ASSERT(c->frames[frame].state == FRAME_QUARANTINED);
	if (c->frames[frame].state != FRAME_QUARANTINED)
		return;
	c->quarantined--;
	frame_push(c, frame + 1);
}
