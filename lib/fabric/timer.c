/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * One binary heap of deadlines per endpoint.
 *
 * How it works: a timer that moves to later, which every packet does, only
 * stores its deadline; its key in the heap (armed) stays. When the old key
 * comes up, the timer goes back in with the new one. Only a move to earlier
 * touches the heap.
 */
#include "fabric_priv.h"

static void
timer_place(struct tp_endpoint *ep, uint32_t slot, struct fabric_timer *timer)
{
	ep->heap[slot] = timer;
	timer->slot = slot + 1;
}

static void
timer_sift_up(struct tp_endpoint *ep, uint32_t slot)
{
	struct fabric_timer *timer = ep->heap[slot];

	while (slot > 0) {
		uint32_t parent = (slot - 1) / 2;

		if (ep->heap[parent]->armed <= timer->armed)
			break;
		timer_place(ep, slot, ep->heap[parent]);
		slot = parent;
	}
	timer_place(ep, slot, timer);
}

static void
timer_sift_down(struct tp_endpoint *ep, uint32_t slot)
{
	struct fabric_timer *timer = ep->heap[slot];

	for (;;) {
		uint32_t child = 2 * slot + 1;

		if (child >= ep->heap_count)
			break;
		if (child + 1 < ep->heap_count &&
		    ep->heap[child + 1]->armed < ep->heap[child]->armed)
			child++;
		if (timer->armed <= ep->heap[child]->armed)
			break;
		timer_place(ep, slot, ep->heap[child]);
		slot = child;
	}
	timer_place(ep, slot, timer);
}

static void
timer_remove(struct tp_endpoint *ep, struct fabric_timer *timer)
{
	uint32_t slot = timer->slot - 1;
	struct fabric_timer *last = ep->heap[--ep->heap_count];

	RTE_ASSERT(ep->heap[slot] == timer);
	timer->slot = 0;
	if (last == timer)
		return;
	timer_place(ep, slot, last);
	timer_sift_down(ep, slot);
	timer_sift_up(ep, last->slot - 1);
}

void
fabric_timer_set(struct tp_endpoint *ep, struct fabric_timer *timer, uint64_t deadline)
{
	timer->deadline = deadline;
	if (timer->slot != 0) {
		if (deadline >= timer->armed)
			return;
		timer->armed = deadline;
		timer_sift_up(ep, timer->slot - 1);
		return;
	}
	if (deadline == FABRIC_NEVER)
		return;
	timer->armed = deadline;
	ep->heap[ep->heap_count] = timer;
	timer_sift_up(ep, ep->heap_count++);
}

void
fabric_timer_cancel(struct tp_endpoint *ep, struct fabric_timer *timer)
{
	timer->deadline = FABRIC_NEVER;
	if (timer->slot != 0)
		timer_remove(ep, timer);
}

/** Take out the next timer that is due; NULL if none is. */
struct fabric_timer *
fabric_timer_pop(struct tp_endpoint *ep, uint64_t now)
{
	while (ep->heap_count > 0 && ep->heap[0]->armed <= now) {
		struct fabric_timer *timer = ep->heap[0];

		timer_remove(ep, timer);
		if (timer->deadline <= now)
			return timer;
		fabric_timer_set(ep, timer, timer->deadline);
	}
	return NULL;
}
