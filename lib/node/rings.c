/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The rings of client threads: requests are taken, checked and handed to the
 * coherence engine; answers go back (docs/abi.md sections 5 and 6). Owner: the
 * worker's lcore. A client may write anything anywhere in its segment at any
 * time: every field is read once, into memory of the node, then checked.
 */
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "inject_priv.h"
#include "tp_generation.h"
#include "tp_shard.h"
#include "worker_priv.h"

/* A request in the engine is known by client, thread, hazard slot and the client's own cookie. */
#define COOKIE_CLIENT_SHIFT 58
#define COOKIE_THREAD_SHIFT 53
#define COOKIE_GUARD_SHIFT 47

static_assert(TP_ABI_CLIENTS_MAX <= 1 << 6 && TP_ABI_THREADS_MAX <= 1 << 5 &&
	TP_ABI_GUARDS < WORKER_GUARD_NONE, "the cookie holds them");
static_assert(TP_ABI_CLIENTS_MAX <= TP_SETTLE_ASKERS, "each has quotas of its own at homes");

static uint64_t
cookie_make(uint32_t client, uint32_t thread, uint32_t guard, uint32_t cookie)
{
	return (uint64_t)client << COOKIE_CLIENT_SHIFT | (uint64_t)thread << COOKIE_THREAD_SHIFT |
		(uint64_t)guard << COOKIE_GUARD_SHIFT | cookie;
}

static uint32_t
cookie_client(uint64_t cookie)
{
	return (uint32_t)(cookie >> COOKIE_CLIENT_SHIFT);
}

static uint32_t
cookie_thread(uint64_t cookie)
{
	return cookie >> COOKIE_THREAD_SHIFT & 0x1f;
}

static uint32_t
cookie_guard(uint64_t cookie)
{
	return cookie >> COOKIE_GUARD_SHIFT & 0x3f;
}

static struct tp_abi_ring *
ring_of(struct tp_worker *worker, uint32_t client, uint32_t thread)
{
	return &worker->clients[client].abi->threads[thread].rings[worker->config.index];
}

static void
ring_is_bad(struct tp_worker *worker, uint32_t client)
{
	struct worker_event event = { .type = WORKER_CLIENT_BAD, .client = (int16_t)client };

	worker->stats.rings_bad++;
	if (worker->clients[client].bad)
		return;
	worker->clients[client].bad = true;
	worker_event_push(worker, &event);
}

/* Write one completion. There is room: see ring_room(). */
static void
ring_answer(struct tp_worker *worker, uint64_t cookie, const struct tp_abi_completion *completion)
{
	uint32_t client = cookie_client(cookie);
	struct worker_thread *thread =
		&worker->clients[client].threads[cookie_thread(cookie)];
	struct tp_abi_ring *ring = ring_of(worker, client, cookie_thread(cookie));
	struct tp_abi_completion *entry =
		&ring->completions[thread->completion_head % TP_ABI_RING_ENTRIES];

	RTE_ASSERT(thread->in_flight > 0 && worker->in_flight > 0);
	*entry = *completion;
	entry->cookie = (uint32_t)cookie;
	thread->in_flight--;
	worker->in_flight--;
	worker->stats.completions++;
	/* Pairs with the client's acquire: the completion and the slot are whole. */
	atomic_store_explicit(&ring->completion_head, ++thread->completion_head,
		memory_order_release);
	if (!thread->answered) {
		RTE_ASSERT(worker->answered_count < RTE_DIM(worker->answered));
		thread->answered = true;
		worker->answered[worker->answered_count].client = (uint8_t)client;
		worker->answered[worker->answered_count++].thread = (uint8_t)cookie_thread(cookie);
	}
}

/*
 * Last stage of the turn: threads that sleep until they have an answer, and got
 * one. One system call for each of those, however many answers it got.
 */
void
worker_sleepers_wake(struct tp_worker *worker)
{
	uint32_t i;

	/* Pairs with the one in tp_abi_thread_wait_begin(). */
	tp_abi_fence();
	for (i = 0; i < worker->answered_count; i++) {
		struct worker_client *client = &worker->clients[worker->answered[i].client];
		struct tp_abi_thread *thread;

		client->threads[worker->answered[i].thread].answered = false;
		thread = &client->abi->threads[worker->answered[i].thread];
		if (tp_abi_thread_wake_needed(thread))
			syscall(SYS_futex, &thread->waiting, FUTEX_WAKE, 1, NULL, NULL, 0);
	}
	worker->answered_count = 0;
}

static void
ring_answer_void(struct tp_worker *worker, uint64_t cookie, struct tp_result result)
{
	struct tp_abi_completion completion = {
		.reason = result.reason,
		.effect = result.effect,
	};

	ring_answer(worker, cookie, &completion);
}

static void
held_add(struct tp_worker *worker, const struct worker_held *held)
{
	/* One for each request in flight at most. */
	RTE_ASSERT(worker->held_count < worker->config.waiter_count);
	worker->held[worker->held_count++] = *held;
}

/*
 * An answer that grants access while the lease has lapsed: ask again when it
 * runs, by then the page may have gone.
 */
static void
complete_later(struct tp_worker *worker, const struct tp_action *action)
{
	struct worker_region *region = worker_region_find(worker, action->region_id);
	struct worker_held held = {
		.cookie = action->cookie,
		.deadline = worker->now + 16 * worker->config.lease_ns,
		.generation = region != NULL ? region->region->generation : 0,
		.region_id = action->region_id,
		.page_index = action->page_index,
		.want = action->access == TP_ACCESS_WRITE ? TP_WANT_WRITE : TP_WANT_READ,
	};

	worker->stats.completions_held++;
	held_add(worker, &held);
}

/* COMPLETE of the engine. */
void
worker_complete(struct tp_worker *worker, const struct tp_action *action)
{
	uint32_t client = cookie_client(action->cookie);
	uint32_t guard = cookie_guard(action->cookie);
	struct tp_abi_completion completion = {
		.reason = action->result.reason,
		.effect = action->result.effect,
		.value = action->value,
		.flags = action->executed ? TP_COMPLETION_EXECUTED : 0,
		.limit = action->limit,
	};

	RTE_ASSERT(worker->clients[client].abi != NULL);
	if (action->access != TP_ACCESS_NONE) {
		if (!worker_lease_ok(worker)) {
			complete_later(worker, action);
			return;
		}
		if (guard != WORKER_GUARD_NONE &&
		    worker_guard_grant(worker, client, cookie_thread(action->cookie), guard,
				tp_guard_key(action->region_id, action->page_index))) {
			completion.flags |= TP_COMPLETION_GUARDED;
			completion.access = action->access;
			completion.slot = action->slot;
			completion.guard_until_tsc = node_clock_tsc(&worker->clock,
				worker->now + worker->config.guard_lease_ns);
		}
	}
	ring_answer(worker, action->cookie, &completion);
}

/* Does this request go to the engine? Else what to answer. */
static enum tp_reason
request_check(struct tp_worker *worker, uint32_t client, const struct tp_abi_request *request,
	struct worker_region **region_out)
{
	struct worker_region *region;
	uint64_t address;
	bool mutates;

	if (request->op == 0 || request->op >= TP_ABI_OP_COUNT)
		return TP_INVALID;
	if (request->guard >= TP_ABI_GUARDS && request->guard != 0xff)
		return TP_INVALID;
	if (request->op == TP_ABI_NOP)
		return TP_OK;
	region = worker_region_find(worker, request->region_id);
	if (region == NULL || region->removing)
		return TP_GENERATION;
	if (request->page_index >= region->page_count)
		return TP_INVALID;
	if (request->generation != region->region->generation)
		return TP_GENERATION;
	address = tp_region_page_address(region->region, request->page_index);
	if (tp_shard_worker(tp_shard_of(address, region->region->page_shift),
			worker->config.worker_count) != worker->config.index)
		return TP_INVALID;
	/* To ask after an atomic may be what keeps it from being run. */
	mutates = request->op == TP_ABI_WRITE || request->op == TP_ABI_SETTLE;
	if (request->op == TP_ABI_SETTLE &&
	    tp_generation_node(request->operand) > worker->config.node_id_max)
		return TP_INVALID;
	if (request->op == TP_ABI_FETCH) {
		if (request->width == 0 || request->width > TP_ABI_FETCH_MAX ||
		    (request->atomic_op != TP_ACCESS_READ && request->atomic_op != TP_ACCESS_WRITE))
			return TP_INVALID;
		mutates = request->atomic_op == TP_ACCESS_WRITE;
	}
	if (request->op == TP_ABI_ATOMIC) {
		if (request->atomic_op == 0 || request->atomic_op >= TP_ATOMIC_COUNT ||
		    (request->width != 4 && request->width != 8) ||
		    request->offset % request->width != 0 ||
		    request->offset > region->page_bytes - request->width)
			return TP_INVALID;
		mutates = request->atomic_op != TP_ATOMIC_LOAD;
	}
	if (mutates && region->mode == TP_REGION_RO && region->creator != (int16_t)client)
		return TP_PERMISSION;
	if (unlikely(region->denied != TP_OK))
		return (enum tp_reason)region->denied;
	*region_out = region;
	return TP_OK;
}

static enum tp_coherence_want
request_want(uint8_t op)
{
	switch (op) {
	case TP_ABI_WRITE:
		return TP_WANT_WRITE;
	case TP_ABI_ATOMIC:
		return TP_WANT_ATOMIC;
	case TP_ABI_FLUSH:
		return TP_WANT_FLUSH;
	case TP_ABI_INVALIDATE:
		return TP_WANT_INVALIDATE;
	case TP_ABI_SETTLE:
		return TP_WANT_SETTLE;
	case TP_ABI_PERSIST:
		return TP_WANT_PERSIST;
	default:
		return TP_WANT_READ;
	}
}

static void
held_submit(struct tp_worker *worker, const struct worker_held *held)
{
	struct tp_coherence_client client = {
		.cookie = held->cookie,
		.deadline = held->deadline,
	};

	tp_coherence_request(worker->coherence, held->region_id, held->page_index,
		held->generation, (enum tp_coherence_want)held->want,
		held->want == TP_WANT_ATOMIC || held->want == TP_WANT_SETTLE ? &held->atomic : NULL,
		&client, worker->now,
		&worker->outbox);
	worker_outbox_run(worker);
}

/* VOID for one that did not get to the engine: what it asks after stays unknown. */
static struct tp_result
held_void(uint8_t want, enum tp_reason reason)
{
	return want == TP_WANT_SETTLE ? tp_result_unknown(reason) : tp_result_void(reason);
}

/* Which atomic it is: the client's own word counts for nothing but the count. */
static void
held_identify(struct tp_worker *worker, struct worker_held *held,
	const struct tp_abi_request *request)
{
	if (request->op == TP_ABI_SETTLE) {
		held->atomic.origin = request->operand;
		held->atomic.sequence = request->sequence;
		held->atomic.asker = (uint8_t)cookie_client(held->cookie);
	} else if (request->sequence != 0) {
		held->atomic.origin = worker->clients[cookie_client(held->cookie)].origin;
		held->atomic.sequence = tp_abi_sequence(cookie_thread(held->cookie),
			request->sequence);
	}
}

static void
place_ask(struct tp_worker *worker, const struct worker_region *region, uint32_t page_index)
{
	struct worker_event event = {
		.type = WORKER_PLACE,
		.region_id = region->id,
		.index = tp_region_extent_of(region->region, page_index),
	};

	/* Only a hint: it is repeated. Leave room for what is not. */
	if (node_ring_room(&worker->events) > WORKER_EVENTS / 2)
		worker_event_push(worker, &event);
}

/* FETCH: the list is the client's word, so each page of it is checked like a request's. */
static void
fetch_run(struct tp_worker *worker, const struct worker_region *region, uint64_t cookie,
	const struct tp_abi_request *request)
{
	enum tp_coherence_want want = request->atomic_op == TP_ACCESS_WRITE ?
		TP_WANT_WRITE : TP_WANT_READ;
	uint32_t i;

	worker_gather_begin(worker);
	for (i = 1; i < request->width; i++)
		tp_coherence_request_hint(worker->coherence, region->id, request->pages[i]);
	for (i = 0; i < request->width; i++) {
		if (tp_coherence_fetch(worker->coherence, region->id, request->pages[i],
				request->generation, want, worker->now, &worker->outbox))
			worker_outbox_run(worker);
	}
	ring_answer_void(worker, cookie, tp_result_ok(0));
}

static void
request_run(struct tp_worker *worker, uint32_t client, uint32_t thread,
	const struct tp_abi_request *request)
{
	uint32_t guard = request->guard == 0xff ? WORKER_GUARD_NONE : request->guard;
	struct worker_region *region = NULL;
	uint64_t cookie = cookie_make(client, thread, guard & 0x3f, request->cookie);
	enum tp_reason reason = request_check(worker, client, request, &region);
	struct worker_held held = {
		.cookie = cookie,
		.deadline = node_clock_ns(&worker->clock, request->deadline_tsc),
		.generation = request->generation,
		.region_id = request->region_id,
		.page_index = request->page_index,
		.want = request_want(request->op),
		.atomic = {
			.op = request->atomic_op,
			.width = request->width,
			.offset = request->offset,
			.operand = request->operand,
			.compare = request->compare,
		},
	};

	if (unlikely(worker->config.inject != NULL) && worker_inject_crash(worker))
		return;
	if (unlikely(request->op == TP_ABI_FETCH && reason == TP_OK)) {
		fetch_run(worker, region, cookie, request);
		return;
	}
	if (reason == TP_OK && request->op != TP_ABI_NOP && held.deadline <= worker->now)
		reason = TP_TIMEOUT;
	if (reason != TP_OK)
		worker->stats.requests_refused++;
	if (reason != TP_OK || request->op == TP_ABI_NOP) {
		ring_answer_void(worker, cookie, reason == TP_OK ? tp_result_ok(0) :
			held_void(held.want, reason));
		return;
	}
	held_identify(worker, &held, request);
	if (guard != WORKER_GUARD_NONE)
		worker_guard_reuse(worker, client, thread, guard);
	if (unlikely(tp_region_home(region->region, request->page_index) == TP_NODE_NONE)) {
		held.place = true;
		place_ask(worker, region, request->page_index);
		held_add(worker, &held);
		return;
	}
	held_submit(worker, &held);
}

/* Requests that may be taken from a ring now: every one needs room for its answer. */
static uint32_t
ring_room(struct tp_worker *worker, uint32_t client, uint32_t thread, struct tp_abi_ring *ring,
	uint32_t *count_out)
{
	struct worker_thread *own = &worker->clients[client].threads[thread];
	/* Pairs with the client's release: the requests are written. */
	uint32_t count = atomic_load_explicit(&ring->request_head, memory_order_acquire) -
		own->request_tail;
	uint32_t unread;

	*count_out = 0;
	if (likely(count == 0))
		return 0;
	/* Pairs with the client's release: it has read these completions. */
	unread = own->completion_head -
		atomic_load_explicit(&ring->completion_tail, memory_order_acquire);
	if (count > TP_ABI_RING_ENTRIES || unread > TP_ABI_RING_ENTRIES) {
		ring_is_bad(worker, client);
		return 0;
	}
	*count_out = count;
	return unread + own->in_flight >= TP_ABI_RING_ENTRIES ? 0 :
		TP_ABI_RING_ENTRIES - unread - own->in_flight;
}

static uint32_t
ring_poll(struct tp_worker *worker, uint32_t client, uint32_t thread, uint32_t budget)
{
	struct tp_abi_ring *ring = ring_of(worker, client, thread);
	struct worker_thread *own = &worker->clients[client].threads[thread];
	uint32_t count;
	uint32_t room = ring_room(worker, client, thread, ring, &count);
	uint32_t work = 0;

	if (count > room)
		count = room;
	if (count > budget)
		count = budget;
	if (count > WORKER_REQUESTS_PER_RING)
		count = WORKER_REQUESTS_PER_RING;
	/* What several requests ask for may go out together. */
	if (count > 1)
		worker_gather_begin(worker);
	while (work < count && worker->in_flight < worker->config.waiter_count) {
		/* One copy: the client may change the entry while it is checked. */
		struct tp_abi_request request =
			*(volatile struct tp_abi_request *)
				&ring->requests[own->request_tail % TP_ABI_RING_ENTRIES];

		tp_coherence_request_hint(worker->coherence, request.region_id, request.page_index);
		own->request_tail++;
		own->in_flight++;
		worker->in_flight++;
		work++;
		request_run(worker, client, thread, &request);
	}
	if (unlikely(worker->gathering))
		worker_gather_end(worker);
	if (work != 0) {
		worker->stats.requests += work;
		/* Pairs with the client's acquire: the entries may be written again. */
		atomic_store_explicit(&ring->request_tail, own->request_tail,
			memory_order_release);
	}
	return work;
}

/* One stage of the turn: every thread of every client gets its share, in turn the first one. */
uint32_t
worker_rings_poll(struct tp_worker *worker)
{
	uint32_t next = worker->client_next;
	uint32_t work = 0;
	uint32_t i;
	uint32_t t;

	if (next >= worker->client_count)
		next = 0;
	worker->client_next = next + 1;
	for (i = 0; i < worker->client_count; i++) {
		uint8_t id = worker->client_list[next];
		struct worker_client *client = &worker->clients[id];

		if (++next == worker->client_count)
			next = 0;

		for (t = 0; t < client->thread_count && !client->bad; t++) {
			if (atomic_load_explicit(&client->abi->threads[t].active,
					memory_order_relaxed) == 0)
				continue;
			work += ring_poll(worker, id, t, WORKER_REQUESTS_PER_TURN - work);
		}
		if (work >= WORKER_REQUESTS_PER_TURN)
			break;
	}
	return work;
}

/* May this one go on? Otherwise it stays held. */
static bool
held_is_ready(struct tp_worker *worker, struct worker_held *held)
{
	struct worker_region *region;

	if (!held->place)
		return worker_lease_ok(worker);
	region = worker_region_find(worker, held->region_id);
	if (region == NULL || region->removing ||
	    region->region->generation != held->generation)
		return true;	/* the engine says what is wrong */
	if (tp_region_home(region->region, held->page_index) != TP_NODE_NONE)
		return true;
	place_ask(worker, region, held->page_index);
	return false;
}

/* One stage of the turn: what waits for the lease or for a home. */
uint32_t
worker_held_poll(struct tp_worker *worker)
{
	uint32_t work = 0;
	uint32_t looked = 0;

	while (looked++ < WORKER_WAITS_PER_TURN && worker->held_count != 0) {
		struct worker_held held;

		if (worker->held_next >= worker->held_count)
			worker->held_next = 0;
		held = worker->held[worker->held_next];
		if (held.deadline > worker->now && !held_is_ready(worker, &held)) {
			worker->held_next++;
			continue;
		}
		worker->held[worker->held_next] = worker->held[--worker->held_count];
		if (held.deadline <= worker->now)
			ring_answer_void(worker, held.cookie, held_void(held.want, TP_TIMEOUT));
		else
			held_submit(worker, &held);
		work++;
	}
	return work;
}

/* Answer what is held: all of it, or forget that of one client that is gone. */
void
worker_held_void(struct tp_worker *worker, enum tp_reason reason, int client)
{
	uint32_t i = 0;

	while (i < worker->held_count) {
		uint64_t cookie = worker->held[i].cookie;
		uint8_t want = worker->held[i].want;

		if (client >= 0 && cookie_client(cookie) != (uint32_t)client) {
			i++;
			continue;
		}
		worker->held[i] = worker->held[--worker->held_count];
		if (client < 0)
			ring_answer_void(worker, cookie, held_void(want, reason));
	}
}

void
worker_client_gone(struct tp_worker *worker, uint32_t client)
{
	uint32_t t;

	tp_coherence_client_gone(worker->coherence, UINT64_MAX << COOKIE_CLIENT_SHIFT,
		(uint64_t)client << COOKIE_CLIENT_SHIFT);
	worker_held_void(worker, TP_OK, (int)client);
	for (t = 0; t < worker->clients[client].thread_count; t++)
		worker->in_flight -= worker->clients[client].threads[t].in_flight;
}
