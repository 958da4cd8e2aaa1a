/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Requests: what a page has outstanding at its home and who waits for it. An
 * atomic is a request of its own, several may be outstanding for one page.
 */
#include "coherence_priv.h"

#define BACKOFF_MAX 3	/* repeats come after retry_ns, doubled so often */

static uint32_t
request_timer_id(const struct tp_coherence *c, const struct coherence_request *request)
{
	return c->config.waiter_count + (uint32_t)(request - c->requests);
}

struct coherence_request *
coherence_request_alloc(struct tp_coherence *c, const struct coherence_event *ev, bool evict)
{
	struct coherence_request *request;
	uint32_t link = c->request_free;
	uint32_t txn;

	if (link == 0 || (!evict && c->request_used >= c->config.request_count))
		return NULL;
	request = &c->requests[link - 1];
	c->request_free = request->next;
	c->request_used++;
	txn = request->txn;
	*request = (struct coherence_request){
		.region = ev->region->index,
		.page = ev->index,
		.txn = txn,
		.home = ev->home,
		.used = true,
	};
	ev->region->requests_held++;
	return request;
}

void
coherence_request_free(struct tp_coherence *c, struct coherence_request *request)
{
	uint32_t txn = request->txn;

	RTE_ASSERT(request->used && request->waiter_first == 0);
	coherence_heap_clear(&c->heap, request_timer_id(c, request));
	c->regions[request->region].requests_held--;
	if (request->sent == TP_MSG_SETTLE)
		c->settling--;
	*request = (struct coherence_request){ .txn = txn, .next = c->request_free };
	c->request_free = (uint32_t)(request - c->requests) + 1;
	c->request_used--;
}

/* The page's request, NULL: it has none. */
struct coherence_request *
coherence_request_of(const struct coherence_event *ev)
{
	return ev->page->request == 0 ? NULL : &ev->c->requests[ev->page->request - 1];
}

/* The page's request, made if it has none. NULL: none is free. */
struct coherence_request *
coherence_request_get(struct coherence_event *ev, bool evict)
{
	struct coherence_request *request = coherence_request_of(ev);

	if (request != NULL)
		return request;
	request = coherence_request_alloc(ev->c, ev, evict);
	if (request != NULL)
		ev->page->request = (uint32_t)(request - ev->c->requests) + 1;
	return request;
}

/* Let go of a request that nothing needs any more. */
void
coherence_request_settle(struct tp_coherence *c, struct coherence_request *request)
{
	if (coherence_request_is_loose(request)) {
		/* An atomic on its way stays: that it may arrive yet must be known. */
		if (request->waiter_first == 0 &&
		    (request->sent != TP_MSG_AMO || request->flags & REQUEST_LATER))
			coherence_request_free(c, request);
		return;
	}
	if (request->waiter_first != 0 || request->sent != 0 ||
	    request->flags & (REQUEST_READY | REQUEST_NO_SLOT | REQUEST_EVICT))
		return;
	c->regions[request->region].pages[request->page].request = 0;
	coherence_request_free(c, request);
}

static void
fifo_push(struct coherence_fifo *fifo, uint32_t link, uint32_t *next_of_last)
{
	if (fifo->first == 0)
		fifo->first = link;
	else
		*next_of_last = link;
	fifo->last = link;
}

/* Look at the request again in tp_coherence_poll(). */
void
coherence_request_ready(struct tp_coherence *c, struct coherence_request *request)
{
	struct coherence_fifo *fifo = &c->request_ready;

	if (request->flags & REQUEST_READY)
		return;
	request->flags |= REQUEST_READY;
	request->next = 0;
	fifo_push(fifo, (uint32_t)(request - c->requests) + 1,
		fifo->last == 0 ? NULL : &c->requests[fifo->last - 1].next);
}

static struct coherence_request *
ready_pop(struct tp_coherence *c)
{
	struct coherence_fifo *fifo = &c->request_ready;
	struct coherence_request *request;

	if (fifo->first == 0)
		return NULL;
	request = &c->requests[fifo->first - 1];
	fifo->first = request->next;
	if (fifo->first == 0)
		fifo->last = 0;
	request->flags &= (uint8_t)~REQUEST_READY;
	return request;
}

/* No cache slot is free: wait for one, and make one free. */
void
coherence_request_no_slot(struct tp_coherence *c, struct coherence_request *request)
{
	struct coherence_fifo *fifo = &c->slot_wait;

	if (!(request->flags & REQUEST_NO_SLOT)) {
		request->flags |= REQUEST_NO_SLOT;
		request->slot_next = 0;
		fifo_push(fifo, (uint32_t)(request - c->requests) + 1,
			fifo->last == 0 ? NULL : &c->requests[fifo->last - 1].slot_next);
	}
	coherence_evict_start(c);
}

/* A cache slot is free: the first that waits for one tries again. */
void
coherence_request_slot_freed(struct tp_coherence *c)
{
	struct coherence_fifo *fifo = &c->slot_wait;
	struct coherence_request *request;

	if (fifo->first == 0)
		return;
	request = &c->requests[fifo->first - 1];
	fifo->first = request->slot_next;
	if (fifo->first == 0)
		fifo->last = 0;
	request->flags &= (uint8_t)~REQUEST_NO_SLOT;
	coherence_request_ready(c, request);
}

static void
request_emit(struct coherence_event *ev, struct coherence_request *request, uint8_t flags)
{
	struct tp_coherence_msg msg;
	uint64_t sequence = 0;

	if (request->sent == TP_MSG_PUT_M)
		sequence = coherence_frame(ev)->granted;
	coherence_msg_init(ev, &msg, request->sent, sequence, request->txn);
	msg.flags = flags;
	if (request->sent == TP_MSG_GET_M && ev->page->state == CACHE_SM)
		msg.flags |= TP_MSG_F_HAVE_COPY;
	if (coherence_request_is_atomic(request))
		coherence_atomic_emit(ev->c, request, &msg);
	coherence_send(ev, request->home, coherence_worker_of(ev, request->home), &msg,
		request->sent == TP_MSG_PUT_M);
	if (request->sent == TP_MSG_GET_S || request->sent == TP_MSG_GET_M)
		coherence_slot_hint(ev, 0, 0, true);
}

/*
 * Send the request to the home: a new transaction, or with RETRY the outstanding
 * one again in a new session, or with RETRY and PROBE a question after it.
 */
void
coherence_request_send(struct coherence_event *ev, struct coherence_request *request,
	enum tp_coherence_msg_type type, uint8_t flags)
{
	struct tp_coherence *c = ev->c;

	if (!(flags & TP_MSG_F_RETRY)) {
		request->txn += 1u << c->txn_bits;
		request->sent = (uint8_t)type;
		request->backoff = 0;
	} else {
		c->stats.repeats++;
	}
	request->flags &= (uint8_t)~REQUEST_LATER;
	/* A question is no repeat: the new session's JOB_UP still owes one. */
	if (!(flags & TP_MSG_F_PROBE)) {
		request->ups = c->peers[request->home].ups;
		request->downs = c->peers[request->home].downs;
	}
	/*
	 * To a home that is down nothing is sent: PEER_UP sends it again. Nor is a
	 * settlement to one whose answers are dropped: it could overtake the atomic,
	 * which is on its way in that session still.
	 */
	if (c->peers[request->home].up &&
	    !(type == TP_MSG_SETTLE && c->peers[request->home].muted))
		request_emit(ev, request, flags);
	if (request->sent == TP_MSG_GET_S || request->sent == TP_MSG_GET_M)
		coherence_heap_set(&c->heap, request_timer_id(c, request),
			c->now + (c->config.retry_ns << request->backoff));
}

/* The outstanding message was answered. */
void
coherence_request_done(struct coherence_event *ev, struct coherence_request *request)
{
	request->sent = 0;
	request->flags &= (uint8_t)~REQUEST_LATER;
	coherence_heap_clear(&ev->c->heap, request_timer_id(ev->c, request));
}

/*
 * The timer fired. What the home refused for now is sent afresh: the refusal
 * says that the first one is gone. Else the first may still be on its way, so
 * it is only asked after.
 */
void
coherence_request_later(struct coherence_event *ev, struct coherence_request *request)
{
	struct tp_coherence *c = ev->c;

	if (!request->used || request->sent == 0)
		return;
	if (request->backoff < BACKOFF_MAX)
		request->backoff++;
	if (!c->peers[request->home].up) {
		/* PEER_UP sends it again; what was refused is not outstanding there. */
		coherence_heap_set(&c->heap, request_timer_id(c, request),
			c->now + (c->config.retry_ns << request->backoff));
		return;
	}
	if (request->flags & REQUEST_LATER)
		coherence_request_send(ev, request, request->sent, 0);
	else if (request->sent == TP_MSG_GET_S || request->sent == TP_MSG_GET_M)
		coherence_request_send(ev, request, request->sent,
			TP_MSG_F_RETRY | TP_MSG_F_PROBE);
}

/* Answer waiters whom the page's stable state satisfies, at most count_max. */
void
coherence_request_complete(struct coherence_event *ev, unsigned int state, uint32_t count_max)
{
	struct coherence_request *request = coherence_request_of(ev);
	struct tp_coherence *c = ev->c;
	uint32_t link, next, count = 0;

	if (request == NULL)
		return;
	for (link = request->waiter_first; link != 0 && count < count_max; link = next) {
		struct coherence_waiter *waiter = &c->waiters[link - 1];
		bool met = false;

		next = waiter->next;
		switch (waiter->want) {
		case TP_WANT_READ:
			met = state == CACHE_S || state == CACHE_M;
			break;
		case TP_WANT_WRITE:
			met = state == CACHE_M;
			break;
		case TP_WANT_FLUSH:
			met = state != CACHE_M;
			break;
		case TP_WANT_INVALIDATE:
			met = state == CACHE_I;
			break;
		default:
			break;
		}
		if (!met)
			continue;
		coherence_waiter_complete(ev, waiter->cookie, waiter->want);
		coherence_waiter_remove(c, link - 1);
		count++;
	}
	if (count == count_max)
		coherence_request_ready(c, request);
}

/* Answer waiters with VOID, a batch at a time. @return true: none is left. */
bool
coherence_request_fail(struct tp_coherence *c, struct coherence_request *request, uint8_t reason)
{
	bool loose = coherence_request_is_loose(request);
	uint32_t count;

	for (count = 0; request->waiter_first != 0 && count < COMPLETE_BATCH; count++) {
		uint32_t index = request->waiter_first - 1;

		coherence_waiter_void(c, c->waiters[index].cookie,
			coherence_request_is_atomic(request) ? tp_result_unknown(reason) :
			tp_result_void(reason));
		coherence_waiter_remove(c, index);
	}
	if (request->waiter_first != 0)
		return false;
	if (loose)
		coherence_request_free(c, request);
	return true;
}

/* As coherence_request_fail(), and the page is lost. @return true: all done. */
bool
coherence_request_void(struct tp_coherence *c, struct coherence_request *request, uint8_t reason)
{
	struct coherence_event ev;
	bool loose = coherence_request_is_loose(request);

	coherence_event_init(&ev, c, &c->regions[request->region], request->page);
	ev.reason = reason;
	if (!coherence_request_fail(c, request, reason))
		return false;
	if (loose)
		return true;
	if (ev.page->state != CACHE_I && ev.page->state != CACHE_DROP)
		coherence_cache_step(&ev, CE_LOSE);
	if (ev.page->request != 0)
		coherence_request_settle(c, request);
	return true;
}

/* Why the page's home cannot be asked anything new. */
static uint8_t
home_check(const struct coherence_event *ev)
{
	const struct coherence_peer *home = &ev->c->peers[ev->home];

	/* This node was fenced: what is sent in the old session is never answered. */
	if (home->muted)
		return TP_PARTITION;
	return home->up ? TP_OK : TP_UNREACHABLE;
}

/* Stable page: answer who can be answered, then go for what the first left wants. */
static void
request_serve(struct coherence_event *ev, struct coherence_request *request)
{
	unsigned int state = ev->page->state;
	enum cache_event event;
	uint8_t reason;

	if (!coherence_cache_is_stable(state))
		return;
	coherence_request_complete(ev, state, COMPLETE_BATCH);
	if (request->flags & REQUEST_READY)
		return;
	if (request->waiter_first == 0) {
		coherence_request_settle(ev->c, request);
		return;
	}
	reason = home_check(ev);
	if (reason != TP_OK) {
		if (coherence_request_fail(ev->c, request, reason))
			coherence_request_settle(ev->c, request);
		else
			coherence_request_ready(ev->c, request);
		return;
	}
	switch (ev->c->waiters[request->waiter_first - 1].want) {
	case TP_WANT_READ:
		event = CE_LOAD;
		break;
	case TP_WANT_WRITE:
		event = CE_STORE;
		break;
	default:
		event = CE_EVICT;
		break;
	}
	coherence_cache_step(ev, event);
}

uint32_t
coherence_request_poll(struct tp_coherence *c)
{
	struct coherence_request *request;
	struct coherence_event ev;
	uint32_t work = 0;

	/* Whose waiters are gone needs no slot any more. */
	while (c->slot_wait.first != 0 &&
	       c->requests[c->slot_wait.first - 1].waiter_first == 0)
		coherence_request_slot_freed(c);
	while (coherence_room(c) && (request = ready_pop(c)) != NULL) {
		coherence_event_init(&ev, c, &c->regions[request->region], request->page);
		if (coherence_cache_is_stable(ev.page->state))
			request_serve(&ev, request);
		else
			coherence_request_settle(c, request);
		work++;
	}
	return work;
}

static uint8_t
atomic_check(const struct coherence_region *region, const struct tp_coherence_atomic *atomic)
{
	if (atomic == NULL || atomic->op == 0 || atomic->op >= TP_ATOMIC_COUNT)
		return TP_INVALID;
	if (atomic->width != 4 && atomic->width != 8)
		return TP_INVALID;
	if (atomic->offset % atomic->width != 0 ||
	    atomic->offset >= 1u << region->region->page_shift)
		return TP_INVALID;
	return TP_OK;
}

/* Why a client request cannot even be tried. */
static uint8_t
request_check(const struct tp_coherence *c, const struct coherence_region *region,
	uint32_t page_index, uint64_t generation, enum tp_coherence_want want,
	const struct tp_coherence_atomic *atomic)
{
	if (region == NULL || region->removing || generation != region->region->generation)
		return TP_GENERATION;
	if (page_index >= region->region->page_count ||
	    !coherence_page_is_owned(c, region, page_index) || want > TP_WANT_PERSIST ||
	    (want == TP_WANT_PERSIST && !region->durable))
		return TP_INVALID;
	if (tp_region_home(region->region, page_index) > c->config.node_id_max)
		return TP_UNREACHABLE;
	if (want == TP_WANT_SETTLE)
		return atomic == NULL || atomic->sequence == 0 ||
			atomic->origin >> 48 > c->config.node_id_max ? TP_INVALID : TP_OK;
	return want == TP_WANT_ATOMIC ? atomic_check(region, atomic) : TP_OK;
}

/* Nothing needs to be fetched. */
static bool
request_is_met(const struct coherence_event *ev, enum tp_coherence_want want)
{
	unsigned int state = ev->page->state;

	switch (want) {
	case TP_WANT_READ:
		return state == CACHE_S || state == CACHE_M || state == CACHE_SM ||
			state == CACHE_S_WB || state == CACHE_SM_FWD;
	case TP_WANT_WRITE:
	case TP_WANT_ATOMIC:
		return state == CACHE_M;
	case TP_WANT_SETTLE:
	case TP_WANT_PERSIST:
		return false;
	default:
		/* At home the copy is the home memory: there is nothing to give back. */
		return coherence_page_is_home(ev) || state == CACHE_I;
	}
}

static uint8_t
request_wait(struct coherence_event *ev, enum tp_coherence_want want,
	const struct tp_coherence_client *client)
{
	struct tp_coherence *c = ev->c;
	struct coherence_request *request;

	if (c->waiter_free == 0)
		return TP_EXHAUSTED;
	request = coherence_request_get(ev, false);
	if (request == NULL)
		return TP_EXHAUSTED;
	if (request->waiter_first != 0)
		c->stats.joined++;
	else if (want == TP_WANT_READ || want == TP_WANT_WRITE)
		c->stats.misses++;
	coherence_waiter_add(c, request, client, want);
	if (coherence_cache_is_stable(ev->page->state) &&
	    !(request->flags & (REQUEST_READY | REQUEST_NO_SLOT)))
		request_serve(ev, request);
	return TP_OK;
}

static uint8_t
request_begin(struct coherence_event *ev, enum tp_coherence_want want,
	const struct tp_coherence_atomic *atomic, const struct tp_coherence_client *client)
{
	uint8_t reason;

	if (want == TP_WANT_SETTLE)
		return coherence_atomic_settle(ev, atomic, client);
	reason = home_check(ev);
	if (reason != TP_OK)
		return reason;
	if (want == TP_WANT_PERSIST)
		return coherence_persist_request(ev, client);
	return want == TP_WANT_ATOMIC ? coherence_atomic_request(ev, atomic, client) :
		request_wait(ev, want, client);
}

bool
tp_coherence_fetch(struct tp_coherence *c, uint32_t region_id, uint32_t page_index,
	uint64_t generation, enum tp_coherence_want want, uint64_t now,
	struct tp_outbox *outbox)
{
	struct coherence_region *region = coherence_region_find(c, region_id);
	struct coherence_event ev;

	c->out = outbox;
	c->now = now;
	if (request_check(c, region, page_index, generation, want, NULL) != TP_OK ||
	    want > TP_WANT_WRITE)
		return false;
	coherence_event_init(&ev, c, region, page_index);
	/* At home there is nothing to be brought; the last records and slots are for who waits. */
	if (ev.page->state != CACHE_I || ev.page->request != 0 || coherence_page_is_home(&ev) ||
	    home_check(&ev) != TP_OK || c->cache_free_count <= c->slot_low / 2 ||
	    c->request_used >= c->config.request_count / 2 ||
	    coherence_request_get(&ev, false) == NULL)
		return false;
	c->stats.fetches++;
	coherence_cache_step(&ev, want == TP_WANT_WRITE ? CE_STORE : CE_LOAD);
	return true;
}

void
tp_coherence_request(struct tp_coherence *c, uint32_t region_id, uint32_t page_index,
	uint64_t generation, enum tp_coherence_want want,
	const struct tp_coherence_atomic *atomic, const struct tp_coherence_client *client,
	uint64_t now, struct tp_outbox *outbox)
{
	struct coherence_region *region = coherence_region_find(c, region_id);
	struct coherence_event ev;
	uint8_t reason;

	c->out = outbox;
	c->now = now;
	reason = request_check(c, region, page_index, generation, want, atomic);
	if (reason != TP_OK) {
		coherence_waiter_void(c, client->cookie, want == TP_WANT_SETTLE ?
			tp_result_unknown(reason) : tp_result_void(reason));
		return;
	}
	coherence_event_init(&ev, c, region, page_index);
	if (request_is_met(&ev, want)) {
		c->stats.node_hits++;
		coherence_waiter_complete(&ev, client->cookie, want);
		return;
	}
	reason = client->deadline <= now ? TP_TIMEOUT : request_begin(&ev, want, atomic, client);
	if (reason != TP_OK)
		coherence_waiter_void(c, client->cookie, want == TP_WANT_SETTLE ?
			tp_result_unknown(reason) : tp_result_void(reason));
}
