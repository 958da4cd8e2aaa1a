/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A thread's side of its rings and hazard slots: docs/abi.md sections 4 to 6.
 * Only register and unregister take a lock; all else is the owner's alone.
 */
#include <errno.h>
#include <string.h>

#include "heir.h"

void
client_thread_init(struct tp_client *client, struct tp_thread *thread, uint32_t index)
{
	uint32_t worker;

	thread->client = client;
	thread->shared = &client->backend.segment->threads[index];
	atomic_init(&thread->timeout_tsc, client->timeout_tsc);
	thread->pending_free = UINT64_MAX;
	thread->guards_free = CLIENT_GUARDS_ACCESS | CLIENT_GUARDS_PIN;
	tp_crowd_init(&thread->crowd, client->geometry.tsc_hz);
	for (worker = 0; worker < client->geometry.worker_count; worker++) {
		struct client_ring *ring = &thread->rings[worker];
		struct tp_abi_ring *shared = &thread->shared->rings[worker];

		/* Our own indices: a segment may have been used before. */
		ring->request_head =
			atomic_load_explicit(&shared->request_head, memory_order_relaxed);
		ring->completion_tail =
			atomic_load_explicit(&shared->completion_tail, memory_order_relaxed);
	}
}

bool
client_thread_idle(const struct tp_thread *thread)
{
	return thread->pending_free == UINT64_MAX;
}

uint8_t
client_guard_take(struct tp_thread *thread, uint32_t from)
{
	uint32_t candidates = thread->guards_free & from;
	uint32_t index;

	if (candidates == 0)
		return CLIENT_GUARD_NONE;
	index = (uint32_t)__builtin_ctz(candidates);
	thread->guards_free &= ~(1u << index);
	if (index >= thread->guards_used_max) {
		thread->guards_used_max = index + 1;
		/* Ahead of the key: the node looks at no slot above this. */
		atomic_store_explicit(&thread->shared->guards.used_max, index + 1,
				      memory_order_release);
	}
	return (uint8_t)index;
}

/* The hazard slot names no page any more; it stays taken. */
void
client_guard_empty(struct tp_thread *thread, uint8_t guard)
{
	if (guard == CLIENT_GUARD_NONE)
		return;
	RTE_ASSERT(!(thread->guards_free & 1u << guard));
	/* pairs with the node's acquire load of the slot: it sees all we did to the page */
	atomic_store_explicit(&thread->shared->guards.key[guard], 0, memory_order_release);
}

void
client_guard_release(struct tp_thread *thread, uint8_t guard)
{
	if (guard == CLIENT_GUARD_NONE)
		return;
	client_guard_empty(thread, guard);
	thread->guards_free |= 1u << guard;
}

/*
 * Put a request into a worker's ring. guards: hazard slots one of which is to
 * announce the page, 0 for none. op NULL: nobody waits for the answer. 0, or
 *   -EAGAIN      no record or hazard slot is free now
 *   -ECONNRESET  the node is gone
 *   -EBADMSG     the node corrupted a ring of this thread
 */
int
client_request_send(struct tp_thread *thread, struct tp_op *op, uint32_t worker,
		    struct tp_abi_request *request, uint32_t guards)
{
	struct client_ring *ring = &thread->rings[worker];
	struct tp_abi_ring *shared = &thread->shared->rings[worker];
	struct client_pending *pending;
	uint8_t guard = CLIENT_GUARD_NONE;
	uint32_t index, asleep;

	if (unlikely(thread->corrupt))
		return -EBADMSG;
	if (unlikely(atomic_load_explicit(&thread->client->dead, memory_order_relaxed)))
		return -ECONNRESET;
	if (unlikely(thread->pending_free == 0))
		return -EAGAIN;
	if (guards != 0) {
		guard = client_guard_take(thread, guards);
		if (guard == CLIENT_GUARD_NONE)
			return -EAGAIN;
		atomic_store_explicit(&thread->shared->guards.key[guard],
			TP_GUARD_WAITING | tp_guard_key(request->region_id, request->page_index),
			memory_order_relaxed);
	}
	index = (uint32_t)__builtin_ctzll(thread->pending_free);
	thread->pending_free &= ~(1ull << index);
	pending = &thread->pending[index];
	pending->op = op;
	pending->cookie = thread->cookie_next++ << CLIENT_PENDING_BITS | index;
	pending->guard = guard;
	pending->worker = (uint8_t)worker;
	pending->late = false;
	if (op != NULL)
		op->pending = (uint8_t)index;

	request->guard = guard;
	request->cookie = pending->cookie;
	shared->requests[ring->request_head % TP_ABI_RING_ENTRIES] = *request;
	ring->in_flight++;
	ring->request_head++;
	/* pairs with the node's acquire: entry and announced page are visible */
	atomic_store_explicit(&shared->request_head, ring->request_head, memory_order_release);
	/* Nobody to be woken, so nothing to be fenced off from the look at the bell. */
	if (thread->client->bells[worker] < 0)
		return 0;
	asleep = tp_abi_bell_asleep(&thread->client->backend.node->bells[worker]);
	if (unlikely(asleep != 0 && asleep != ring->rung))
		client_bell_ring(thread, worker, asleep);
	return 0;
}

static void
thread_corrupted(struct tp_thread *thread)
{
	thread->corrupt = true;
	thread->stats.bad_answers++;
	TP_CLIENT_LOG(ERR, "the node's side of a ring makes no sense; its thread is out of use");
}

/* One answer. false: it fits no request of ours. */
static bool
thread_completion(struct tp_thread *thread, uint32_t worker,
		  const struct tp_abi_completion *completion)
{
	uint32_t index = completion->cookie & (CLIENT_PENDING - 1);
	struct client_pending *pending = &thread->pending[index];
	struct tp_op *op = pending->op;

	if ((thread->pending_free & 1ull << index) || pending->cookie != completion->cookie ||
	    pending->worker != worker)
		return false;
	thread->rings[worker].in_flight--;
	thread->pending_free |= 1ull << index;
	if (op == NULL) {
		thread->stats.late += pending->late;
		client_guard_release(thread, pending->guard);
		return true;
	}
	op->pending = CLIENT_PENDING_NONE;
	/* May put new requests into the rings, and so reuse the record. */
	client_op_completed(thread, op, pending->guard, completion);
	return true;
}

static uint32_t
thread_poll_ring(struct tp_thread *thread, uint32_t worker)
{
	struct client_ring *ring = &thread->rings[worker];
	struct tp_abi_ring *shared = &thread->shared->rings[worker];
	/* pairs with the node's release: the entries below are written */
	uint32_t head = atomic_load_explicit(&shared->completion_head, memory_order_acquire);
	uint32_t count = head - ring->completion_tail;
	uint32_t i;

	if (count == 0)
		return 0;
	if (unlikely(count > ring->in_flight)) {
		thread_corrupted(thread);
		return 0;
	}
	for (i = 0; i < count; i++) {
		struct tp_abi_completion completion =
			shared->completions[ring->completion_tail % TP_ABI_RING_ENTRIES];

		ring->completion_tail++;
		atomic_store_explicit(&shared->completion_tail, ring->completion_tail,
				      memory_order_release);
		if (unlikely(!thread_completion(thread, worker, &completion))) {
			thread_corrupted(thread);
			break;
		}
	}
	return i;
}

/* Take in what the node answered, and do it. Returns answers taken. */
uint32_t
client_thread_poll(struct tp_thread *thread)
{
	uint32_t worker, count = 0;

	for (worker = 0; worker < thread->client->geometry.worker_count; worker++)
		if (thread->rings[worker].in_flight != 0 && !thread->corrupt)
			count += thread_poll_ring(thread, worker);
	return count;
}

static bool
thread_is_available(struct tp_thread *thread)
{
	if (thread->state == CLIENT_THREAD_RETIRED) {
		client_thread_poll(thread);
		if (client_thread_idle(thread))
			thread->state = CLIENT_THREAD_FREE;
	}
	return thread->state == CLIENT_THREAD_FREE;
}

int
tp_thread_register(struct tp_client *client, struct tp_thread **thread_out)
{
	struct tp_thread *thread = NULL;
	uint32_t i;

	client = client_lock_live(client);
	for (i = 0; i < client->thread_count && thread == NULL; i++)
		if (thread_is_available(&client->threads[i]))
			thread = &client->threads[i];
	if (thread != NULL) {
		thread->state = CLIENT_THREAD_USED;
		atomic_store_explicit(&thread->timeout_tsc, client->timeout_tsc,
				      memory_order_relaxed);
	}
	pthread_mutex_unlock(&client->lock);
	if (thread == NULL)
		return -EAGAIN;

	memset(&thread->stats, 0, sizeof(thread->stats));
	thread->unknown = (struct tp_op){ 0 };
	thread->guards_used_max = RTE_MAX(thread->guards_used_max, 1u);
	atomic_store_explicit(&thread->shared->guards.used_max, thread->guards_used_max,
			      memory_order_relaxed);
	/* pairs with the node's acquire: from now on it looks at the rings and hazard slots */
	atomic_store_explicit(&thread->shared->active, 1, memory_order_release);
	*thread_out = thread;
	return 0;
}

void
tp_thread_unregister(struct tp_thread *thread)
{
	struct tp_client *client = thread->client;
	struct tp_thread *heir;
	uint32_t i;

	/* Whoever forgot an access or a pin: nothing of it may be touched again. */
	for (i = 0; i < CLIENT_PENDING; i++) {
		if (!(thread->pending_free & 1ull << i) && thread->pending[i].op != NULL)
			client_op_give_up(thread, thread->pending[i].op, TP_TIMEOUT);
	}
	for (i = 0; i < TP_ABI_GUARDS; i++)
		if (~thread->guards_free & 1u << i)
			client_guard_empty(thread, (uint8_t)i);
	client_thread_poll(thread);

	pthread_mutex_lock(&client->lock);
	if (client_thread_idle(thread)) {
		thread->guards_free = CLIENT_GUARDS_ACCESS | CLIENT_GUARDS_PIN;
		atomic_store_explicit(&thread->shared->active, 0, memory_order_release);
		thread->state = CLIENT_THREAD_FREE;
	} else {
		thread->state = CLIENT_THREAD_RETIRED;
	}
	/* Under the lock: from now on it gets no heir any more. */
	heir = client_thread_heir(thread);
	pthread_mutex_unlock(&client->lock);
	if (heir != NULL)
		tp_thread_unregister(heir);
}

void
tp_thread_timeout_set(struct tp_thread *thread, uint64_t timeout_ns)
{
	for (; thread != NULL; thread = client_thread_heir(thread))
		atomic_store_explicit(&thread->timeout_tsc,
				      client_tsc_from_ns(thread->client, timeout_ns),
				      memory_order_relaxed);
}

const struct tp_thread_stats *
tp_thread_stats_get(const struct tp_thread *thread)
{
	const struct tp_thread *heir;

	while ((heir = atomic_load_explicit(&thread->heir, memory_order_acquire)) != NULL)
		thread = heir;
	return &thread->stats;
}
