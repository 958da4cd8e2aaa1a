/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The way of an access through its pages. Owner: the calling thread.
 *
 * How it works: an access is a list of pieces, cut into chunks of one page. Each
 * chunk is tried in place; if the page is not here the node is asked and the
 * access rests (SENT) until the answer, which grants the page for that chunk.
 * A long read or write asks for the next pages too, without a hazard slot: they
 * are brought here, and the access finds them in place when it comes to them.
 * At its deadline an access ends though the answer is outstanding: its record
 * and hazard slot stay taken until the answer comes, and then only they are
 * freed, so that the caller's memory is never touched after the end. The hazard
 * slot names no page meanwhile: a thread that has nothing more to do looks at no
 * answer, and must not keep what the node grants it late.
 */
#include <errno.h>

#include "heir.h"
#include "hit.h"
#include "op.h"
#include "tp_shard.h"

#define OP_ALIVE_CHECK_NS 10000000ull	/* between looks at the node's socket */
#define OP_HEARTBEAT_NS 50000000ull	/* a node that stood still for so long is called dead */
#define OP_STILL_NS 100000000ull	/* one without a lease, too, is waited for no longer */
#define OP_RETRY_NS 100000ull		/* between requests that the node has no room for */
#define OP_CLOCK_CHUNKS 64		/* present pages between looks at the deadline */
#define OP_AHEAD 64			/* pages that a long access asks for ahead */
#define OP_AHEAD_LEAVES 16		/* records it leaves to other accesses */

static struct client_chunk
op_chunk(const struct tp_op *op)
{
	const struct tp_vector *piece = &op->vectors[op->vector_index];
	uint64_t offset = piece->offset + op->piece_done;
	uint32_t page_bytes = 1u << op->region->page_shift;
	uint32_t page_offset = (uint32_t)offset & (page_bytes - 1);

	return (struct client_chunk){
		.page_index = (uint32_t)(offset >> op->region->page_shift),
		.page_offset = page_offset,
		.bytes = (uint32_t)RTE_MIN(piece->bytes - op->piece_done,
					   (uint64_t)(page_bytes - page_offset)),
		.buffer = (void *)((uintptr_t)piece->buffer + op->piece_done),
	};
}

static void
op_skip_finished_pieces(struct tp_op *op)
{
	while (op->vector_index < op->vector_count &&
	       op->piece_done == op->vectors[op->vector_index].bytes) {
		op->vector_index++;
		op->piece_done = 0;
	}
}

/* What is needed to ask after an atomic, now or later, here or after attaching anew. */
static void
op_remember(const struct tp_thread *thread, struct tp_op *op, enum tp_reason reason)
{
	op->origin = thread->client->origin;
	op->generation = op->region->info.generation;
	op->begun_tsc = op->deadline_tsc - op->timeout_tsc;
	/* Nobody has said that it is over: it may be sent as long as it has time. */
	op->expires_tsc = op->state == CLIENT_OP_SENT ? op->deadline_tsc : 0;
	op->cause = (uint8_t)reason;
}

static void
op_finish(struct tp_thread *thread, struct tp_op *op, enum tp_reason reason, enum tp_effect effect)
{
	if (unlikely(effect == TP_EFFECT_UNKNOWN) && !op->settling)
		op_remember(thread, op, reason);
	op->result = (struct tp_result){
		.reason = (uint8_t)reason,
		.effect = (uint8_t)effect,
		.bytes_done = (uint32_t)RTE_MIN(op->bytes_done, (uint64_t)UINT32_MAX),
	};
	op->state = CLIENT_OP_DONE;
	op->vectors = NULL;
	op->settling = CLIENT_SETTLING_NO;
	if (reason != TP_OK)
		thread->stats.voids++;
}

/* Unknown for good: nobody can tell, now or later. */
static void
op_finish_final(struct tp_thread *thread, struct tp_op *op, enum tp_reason reason)
{
	op_finish(thread, op, reason, TP_EFFECT_UNKNOWN);
	op->result.flags = TP_RESULT_FINAL;
}

/* A change was made here, and perhaps too late: no home can tell. */
static void
op_finish_broken(struct tp_thread *thread, struct tp_op *op)
{
	op->sequence = 0;
	op_finish_final(thread, op, client_broken_reason(thread, op->region));
}

/* Why changes that came too late did: the lease, or a guard that the node broke. */
enum tp_reason
client_broken_reason(const struct tp_thread *thread, const struct tp_client_region *region)
{
	if (atomic_load_explicit(&thread->client->dead, memory_order_relaxed))
		return TP_NODE_CRASHED;
	return tp_abi_lease_ok(region->node, client_now(region->virtual_tsc)) ?
		TP_TIMEOUT : TP_PARTITION;
}

/* What the node is asked for, and the hazard slots that may announce it. */
static const struct {
	uint8_t op;
	uint32_t guards;
} op_requests[] = {
	[CLIENT_READ] = { TP_ABI_READ, CLIENT_GUARDS_ACCESS },
	[CLIENT_WRITE] = { TP_ABI_WRITE, CLIENT_GUARDS_ACCESS },
	[CLIENT_ATOMIC] = { TP_ABI_ATOMIC, CLIENT_GUARDS_ACCESS },
	[CLIENT_PIN] = { TP_ABI_READ, CLIENT_GUARDS_PIN },
	[CLIENT_INVALIDATE] = { TP_ABI_INVALIDATE, 0 },
	[CLIENT_FLUSH] = { TP_ABI_FLUSH, 0 },
	[CLIENT_PERSIST] = { TP_ABI_PERSIST, 0 },
};

static struct tp_abi_request
op_request(const struct tp_op *op, uint32_t page_index)
{
	return (struct tp_abi_request){
		.op = op->kind == CLIENT_PIN && op->access == TP_ACCESS_WRITE ?
			TP_ABI_WRITE : op_requests[op->kind].op,
		.region_id = op->region->id,
		.page_index = page_index,
		.generation = op->region->info.generation,
		/* Earlier than ours, so that the node's reason reaches us in time. */
		.deadline_tsc = op->deadline_tsc - op->timeout_tsc / 16,
	};
}

static uint32_t
op_worker(const struct tp_thread *thread, const struct tp_client_region *region,
	  uint32_t page_index)
{
	uint64_t address = region->info.address + ((uint64_t)page_index << region->page_shift);

	return tp_shard_worker(tp_shard_of(address, region->page_shift),
			       thread->client->geometry.worker_count);
}

/* Ask the node for the page of a chunk. */
static int
op_send(struct tp_thread *thread, struct tp_op *op, const struct client_chunk *chunk)
{
	const struct tp_client_backend *backend = &thread->client->backend;
	uint32_t worker = op_worker(thread, op->region, chunk->page_index);
	struct tp_abi_request request;
	int ret;

	/* The frame word is on its way from memory: this comes with it, not after it. */
	if (backend->hint != NULL)
		backend->hint(backend->ctx, worker, op->region->id, chunk->page_index);
	request = op_request(op, chunk->page_index);
	if (op->kind == CLIENT_ATOMIC) {
		op->sequence = tp_abi_sequence((uint32_t)(thread - thread->client->threads),
					       ++thread->atomics);
		request.sequence = thread->atomics;
		request.atomic_op = op->atomic_op;
		request.width = op->width;
		request.offset = chunk->page_offset;
		request.operand = op->operand;
		request.compare = op->compare;
	}
	ret = client_request_send(thread, op, worker, &request, op_requests[op->kind].guards);
	thread->stats.misses += ret == 0;
	return ret;
}

/* Pages that a vector touches. */
static uint32_t
op_vector_pages(const struct tp_op *op, const struct tp_vector *vector)
{
	uint8_t shift = op->region->page_shift;

	return vector->bytes == 0 ? 0 :
		(uint32_t)(((vector->offset + vector->bytes - 1) >> shift) -
			   (vector->offset >> shift)) + 1;
}

/* Put a page on its worker's list, and send the list if it is full. */
static int
ahead_add(struct tp_thread *thread, const struct tp_op *op, struct tp_abi_request *lists,
	  uint32_t page_index)
{
	uint32_t worker = op_worker(thread, op->region, page_index);
	struct tp_abi_request *list = &lists[worker];
	int ret = 0;

	if (list->width == 0)
		*list = (struct tp_abi_request){
			.op = TP_ABI_FETCH,
			.atomic_op = op->kind == CLIENT_WRITE ? TP_ACCESS_WRITE : TP_ACCESS_READ,
			.region_id = op->region->id,
			.page_index = page_index,
			.generation = op->region->info.generation,
		};
	list->pages[list->width++] = page_index;
	if (list->width == TP_ABI_FETCH_MAX) {
		ret = client_request_send(thread, NULL, worker, list, 0);
		list->width = 0;
	}
	return ret;
}

/* Where the next page to be asked for is, from what op stands at on. */
static void
ahead_restart(struct tp_op *op)
{
	const struct tp_vector *vector = &op->vectors[op->vector_index];
	uint8_t shift = op->region->page_shift;

	op->ahead_vector = op->vector_index;
	op->ahead_page = (uint32_t)(((vector->offset + op->piece_done) >> shift) -
				    (vector->offset >> shift)) + 1;
}

/*
 * Ask for the pages that op will come to next and that are not here: half of
 * what may be under way at a time, so that they go in few messages.
 */
static void
op_fetch_ahead(struct tp_thread *thread, struct tp_op *op)
{
	enum tp_access wanted = op->kind == CLIENT_WRITE ? TP_ACCESS_WRITE : TP_ACCESS_READ;
	struct tp_abi_request lists[TP_ABI_WORKERS_MAX];
	uint32_t workers = thread->client->geometry.worker_count;
	uint32_t w;
	int ret = 0;

	for (w = 0; w < workers; w++)
		lists[w].width = 0;
	if (op->ahead_count == 0)
		ahead_restart(op);
	while (op->ahead_count < OP_AHEAD && ret == 0 && op->ahead_vector < op->vector_count &&
	       __builtin_popcountll(thread->pending_free) > OP_AHEAD_LEAVES) {
		const struct tp_vector *vector = &op->vectors[op->ahead_vector];
		uint64_t page = (vector->offset >> op->region->page_shift) + op->ahead_page;

		if (op->ahead_page >= op_vector_pages(op, vector)) {
			op->ahead_vector++;
			op->ahead_page = 0;
			continue;
		}
		op->ahead_page++;
		op->ahead_count++;
		if ((tp_lookup(op->region, page << op->region->page_shift) & wanted) == wanted)
			continue;
		ret = ahead_add(thread, op, lists, (uint32_t)page);
		thread->stats.fetches_ahead++;
	}
	for (w = 0; w < workers; w++)
		if (lists[w].width != 0)
			client_request_send(thread, NULL, w, &lists[w], 0);
}

/* A read or write that goes on after this chunk: most do not. */
static bool
op_is_long(const struct tp_op *op, const struct client_chunk *chunk)
{
	return (op->kind == CLIENT_READ || op->kind == CLIENT_WRITE) &&
		(op->piece_done + chunk->bytes < op->vectors[op->vector_index].bytes ||
		 op->vector_index + 1 < op->vector_count);
}

/* A chunk is done. Once pages are asked for ahead there is something to keep up. */
static void
op_advance(struct tp_thread *thread, struct tp_op *op, const struct client_chunk *chunk)
{
	op->piece_done += chunk->bytes;
	op->bytes_done += chunk->bytes;
	if (unlikely(op->ahead_count != 0) && --op->ahead_count == OP_AHEAD / 2)
		op_fetch_ahead(thread, op);
}

static int
op_send_nop(struct tp_thread *thread, struct tp_op *op)
{
	struct tp_abi_request request = {
		.op = TP_ABI_NOP,
		.deadline_tsc = op->deadline_tsc,
	};

	return client_request_send(thread, op, (uint32_t)op->operand, &request, 0);
}

/* Ask the node after the atomic that op sent before. */
static int
op_send_settle(struct tp_thread *thread, struct tp_op *op)
{
	uint32_t page_index = (uint32_t)(op->single.offset >> op->region->page_shift);
	struct tp_abi_request request = op_request(op, page_index);
	uint64_t now = client_now(thread->client->backend.virtual_tsc);

	request.op = TP_ABI_SETTLE;
	request.operand = op->origin;
	request.sequence = op->sequence;
	/* There may be little time left: most of that is the node's. */
	if (now < op->deadline_tsc)
		request.deadline_tsc = op->deadline_tsc - (op->deadline_tsc - now) / 16;
	return client_request_send(thread, op, op_worker(thread, op->region, page_index),
				   &request, 0);
}

/* The request could not be sent, or waits for a place. */
static void
op_not_sent(struct tp_thread *thread, struct tp_op *op, int error)
{
	if (error == -EAGAIN)
		op->state = CLIENT_OP_QUEUED;
	else
		op_finish(thread, op, error == -ECONNRESET ? TP_NODE_CRASHED : TP_CORRUPTION,
			  op->settling ? TP_EFFECT_UNKNOWN : TP_EFFECT_NOT_DONE);
}

/* After so many chunks that were here: is it time to end, though nothing is waited for? */
static bool
op_is_late(const struct tp_thread *thread, const struct tp_op *op, uint32_t chunks)
{
	return unlikely(chunks != 0 && chunks % OP_CLOCK_CHUNKS == 0) &&
		client_now(thread->client->backend.virtual_tsc) >= op->deadline_tsc;
}

/* Go on until the access is done or has to wait. */
static void
op_run(struct tp_thread *thread, struct tp_op *op)
{
	struct client_chunk chunk = { 0 };
	uint32_t chunks = 0;
	enum client_hit hit;
	int ret;

	for (;;) {
		op_skip_finished_pieces(op);
		if (op->vector_index == op->vector_count) {
			op_finish(thread, op, TP_OK, TP_EFFECT_DONE);
			return;
		}
		if (op->kind == CLIENT_NOP) {
			ret = op_send_nop(thread, op);
			break;
		}
		if (unlikely(op->settling)) {
			ret = op_send_settle(thread, op);
			break;
		}
		if (unlikely(op_is_late(thread, op, chunks))) {
			thread->stats.timeouts++;
			op_finish(thread, op, TP_TIMEOUT, TP_EFFECT_NOT_DONE);
			return;
		}
		chunk = op_chunk(op);
		hit = client_access_try(thread, op, &chunk);
		if (hit == CLIENT_BROKEN) {
			op_finish_broken(thread, op);
			return;
		}
		if (hit == CLIENT_MISS) {
			ret = op_send(thread, op, &chunk);
			break;
		}
		op_advance(thread, op, &chunk);
		chunks++;
	}
	if (ret < 0) {
		op_not_sent(thread, op, ret);
		return;
	}
	op->state = CLIENT_OP_SENT;
	op->misses++;
	if (unlikely(op_is_long(op, &chunk)) && op->ahead_count < OP_AHEAD / 2)
		op_fetch_ahead(thread, op);
}

/* Start an access that is filled in but for its times. true: it is done. */
bool
client_op_begin(struct tp_thread *thread, struct tp_op *op)
{
	struct tp_client *client = thread->client;

	op->timeout_tsc = atomic_load_explicit(&thread->timeout_tsc, memory_order_relaxed);
	op->deadline_tsc = client_now(client->backend.virtual_tsc) + op->timeout_tsc;
	op->heartbeat = atomic_load_explicit(&client->backend.node->heartbeat,
					     memory_order_relaxed);
	op->pending = CLIENT_PENDING_NONE;
	op->state = CLIENT_OP_QUEUED;
	if (likely(op->retry_tsc == 0))
		op_run(thread, op);
	return op->state == CLIENT_OP_DONE;
}

/*
 * A node short of room for requests is so for moments, one short of memory for
 * good: ask again for an eighth of the time there is.
 */
static bool
op_retry_later(const struct tp_thread *thread, struct tp_op *op,
	       const struct tp_abi_completion *completion)
{
	uint64_t now;

	if (completion->reason != TP_EXHAUSTED || completion->effect != TP_EFFECT_NOT_DONE)
		return false;
	now = client_now(thread->client->backend.virtual_tsc);
	op->retry_tsc = now + client_tsc_from_ns(thread->client, OP_RETRY_NS);
	return op->retry_tsc < op->deadline_tsc - op->timeout_tsc / 8 * 7;
}

/*
 * The node does not know whether op's atomic was done. If that is so because an
 * answer was lost, and there is time, ask its home.
 */
static bool
op_settle_later(const struct tp_thread *thread, struct tp_op *op,
		const struct tp_abi_completion *completion)
{
	if (op->sequence == 0 || (completion->reason != TP_UNREACHABLE &&
				  completion->reason != TP_TIMEOUT) ||
	    client_now(thread->client->backend.virtual_tsc) >= op->deadline_tsc)
		return false;
	op_remember(thread, op, (enum tp_reason)completion->reason);
	op->settling = CLIENT_SETTLING_OWN;
	return true;
}

/* A completion that says VOID. */
static void
op_refused(struct tp_thread *thread, struct tp_op *op, const struct tp_abi_completion *completion)
{
	enum tp_effect effect = TP_EFFECT_NOT_DONE;

	if (op_retry_later(thread, op, completion)) {
		thread->stats.retries++;
		return;
	}
	if (op->kind == CLIENT_ATOMIC && completion->effect != TP_EFFECT_NOT_DONE) {
		effect = TP_EFFECT_UNKNOWN;
		if (op_settle_later(thread, op, completion)) {
			op_run(thread, op);
			return;
		}
	}
	op_finish(thread, op, completion->reason < TP_REASON_COUNT ?
		  (enum tp_reason)completion->reason : TP_CORRUPTION, effect);
}

/*
 * The home would know of an atomic that it ran within the last span_ns. Was this
 * one begun after that? Their clocks are measured to a percent at worst.
 */
static bool
op_is_within(const struct tp_thread *thread, const struct tp_op *op, uint64_t span_ns)
{
	uint64_t age = client_now(thread->client->backend.virtual_tsc) - op->begun_tsc;

	return age + age / 64 < client_tsc_from_ns(thread->client, span_ns);
}

/*
 * The question was not answered. A region that is another now, and a question that
 * cannot be asked, will be so the next time, too; what is short of room, gone or
 * forbidden need not be.
 */
static void
op_not_settled(struct tp_thread *thread, struct tp_op *op, uint8_t reason)
{
	if (reason == TP_GENERATION || reason == TP_INVALID)
		op_finish_final(thread, op, (enum tp_reason)reason);
	else
		op_finish(thread, op, reason < TP_REASON_COUNT ?
			  (enum tp_reason)reason : TP_CORRUPTION, TP_EFFECT_UNKNOWN);
}

/* What became of the atomic that op asked after. */
static void
op_settled(struct tp_thread *thread, struct tp_op *op, const struct tp_abi_completion *completion)
{
	uint8_t settling = op->settling;

	if (completion->reason != TP_OK) {
		op_not_settled(thread, op, completion->reason);
		return;
	}
	thread->stats.settled++;
	if (completion->flags & TP_COMPLETION_EXECUTED) {
		op->value = completion->value;
		op->bytes_done = op->width;
		op_finish(thread, op, TP_OK, TP_EFFECT_DONE);
	} else if (!op_is_within(thread, op, completion->value)) {
		/* It grows older as time passes, and what the home knows does not reach further back. */
		op_finish_final(thread, op, completion->limit != TP_OK &&
				completion->limit < TP_REASON_COUNT ?
				(enum tp_reason)completion->limit : TP_EXHAUSTED);
	} else if (settling == CLIENT_SETTLING_OWN) {
		/* Then it is another one that is tried again. */
		op->settling = CLIENT_SETTLING_NO;
		op->sequence = 0;
		thread->stats.retries++;
		op_run(thread, op);
	} else {
		op_finish(thread, op, (enum tp_reason)op->cause, TP_EFFECT_NOT_DONE);
	}
}

void
client_op_completed(struct tp_thread *thread, struct tp_op *op, uint8_t guard,
		    const struct tp_abi_completion *completion)
{
	struct client_chunk chunk = { .bytes = 1 };
	enum client_grant grant;

	RTE_ASSERT(op->state == CLIENT_OP_SENT);
	op->state = CLIENT_OP_QUEUED;
	if (unlikely(op->settling)) {
		op_settled(thread, op, completion);
		return;
	}
	if (completion->reason != TP_OK) {
		client_guard_release(thread, guard);
		op_refused(thread, op, completion);
		return;
	}
	if (op->kind != CLIENT_NOP)
		chunk = op_chunk(op);
	grant = client_access_granted(thread, op, &chunk, guard, completion);
	if (grant != CLIENT_GRANT_KEPT)
		client_guard_release(thread, guard);

	switch (grant) {
	case CLIENT_GRANT_BROKEN:
		op_finish_broken(thread, op);
		return;
	case CLIENT_GRANT_BAD:
		thread->stats.bad_answers++;
		op_finish(thread, op, TP_CORRUPTION, op->kind == CLIENT_ATOMIC ?
			  TP_EFFECT_UNKNOWN : TP_EFFECT_NOT_DONE);
		return;
	case CLIENT_GRANT_AGAIN:
		thread->stats.retries++;
		break;
	case CLIENT_GRANT_DONE:
	case CLIENT_GRANT_KEPT:
		op_advance(thread, op, &chunk);
		break;
	}
	op_run(thread, op);
}

/* End an access whose answer did not come; the answer may come later. */
void
client_op_give_up(struct tp_thread *thread, struct tp_op *op, enum tp_reason reason)
{
	enum tp_effect effect = op->settling ? TP_EFFECT_UNKNOWN : TP_EFFECT_NOT_DONE;

	if (op->state == CLIENT_OP_SENT) {
		/* Others only fetch: what they do here is done with the answer. */
		if (op->kind == CLIENT_ATOMIC)
			effect = TP_EFFECT_UNKNOWN;
		thread->pending[op->pending].op = NULL;
		thread->pending[op->pending].late = true;
		client_guard_empty(thread, thread->pending[op->pending].guard);
		op->pending = CLIENT_PENDING_NONE;
	}
	op_finish(thread, op, reason, effect);
}

static enum tp_reason
op_late_reason(const struct tp_thread *thread, const struct tp_op *op)
{
	const struct tp_client *client = thread->client;
	uint64_t heartbeat = atomic_load_explicit(&client->backend.node->heartbeat,
						  memory_order_relaxed);

	if (heartbeat == op->heartbeat &&
	    op->timeout_tsc >= client_tsc_from_ns(client, OP_HEARTBEAT_NS))
		return TP_NODE_CRASHED;
	return TP_TIMEOUT;
}

/*
 * How long the node has stood still as far as this thread has looked: what passed
 * while it did not look itself, perhaps as little on a core as the node, says
 * nothing.
 */
static void
op_heartbeat_look(struct tp_thread *thread, uint64_t now)
{
	const struct tp_client *client = thread->client;
	uint64_t heartbeat = atomic_load_explicit(&client->backend.node->heartbeat,
						  memory_order_relaxed);
	uint64_t passed = now - thread->still_looked_tsc;

	thread->still_looked_tsc = now;
	if (heartbeat != thread->still_heartbeat) {
		thread->still_heartbeat = heartbeat;
		thread->still_tsc = 0;
		return;
	}
	thread->still_tsc += RTE_MIN(passed, client_tsc_from_ns(client, 2 * OP_ALIVE_CHECK_NS));
}

/* A node whose lease is over grants nothing; one that stands still does not renew it. */
static bool
op_node_is_still(const struct tp_thread *thread, uint64_t now)
{
	const struct tp_client *client = thread->client;

	return thread->still_tsc >= client_tsc_from_ns(client, OP_STILL_NS) &&
		!tp_abi_lease_ok(client->backend.node, now);
}

static void
op_check_end(struct tp_thread *thread, struct tp_op *op)
{
	struct tp_client *client = thread->client;
	uint64_t now = client_now(client->backend.virtual_tsc);

	if (unlikely(now >= thread->alive_check_tsc)) {
		thread->alive_check_tsc = now + client_tsc_from_ns(client, OP_ALIVE_CHECK_NS);
		tp_client_is_alive(client);
		op_heartbeat_look(thread, now);
	}
	if (unlikely(thread->corrupt)) {
		client_op_give_up(thread, op, TP_CORRUPTION);
	} else if (unlikely(atomic_load_explicit(&client->dead, memory_order_relaxed))) {
		client_op_give_up(thread, op, TP_NODE_CRASHED);
	} else if (unlikely(op_node_is_still(thread, now))) {
		client_op_give_up(thread, op, TP_NODE_CRASHED);
	} else if (unlikely(now >= op->deadline_tsc)) {
		thread->stats.timeouts++;
		client_op_give_up(thread, op, op_late_reason(thread, op));
	}
}

bool
tp_op_poll(struct tp_thread *thread, struct tp_op *op)
{
	if (op->state == CLIENT_OP_DONE)
		return true;
	if (unlikely(client_thread_heir(thread) != NULL))
		thread = client_thread_of(thread, op);
	client_thread_poll(thread);
	if (op->state == CLIENT_OP_QUEUED &&
	    (op->retry_tsc == 0 ||
	     client_now(thread->client->backend.virtual_tsc) >= op->retry_tsc))
		op_run(thread, op);
	if (op->state != CLIENT_OP_DONE)
		op_check_end(thread, op);
	return op->state == CLIENT_OP_DONE;
}
