/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The way of an access through its pages. Owner: the calling thread.
 *
 * How it works: an access is a list of pieces, cut into chunks of one page. Each
 * chunk is tried in place; if the page is not here the node is asked and the
 * access rests (SENT) until the answer, which grants the page for that chunk.
 * At its deadline an access ends though the answer is outstanding: its record
 * and hazard slot stay taken until the answer comes, and then only they are
 * freed, so that the caller's memory is never touched after the end.
 */
#include <errno.h>
#include <sched.h>
#include <time.h>

#include <rte_pause.h>

#include "hit.h"
#include "op.h"
#include "tp_shard.h"

#define OP_ALIVE_CHECK_NS 10000000ull	/* between looks at the node's socket */
#define OP_HEARTBEAT_NS 50000000ull	/* a node that stood still for so long is called dead */
#define OP_SPINS 16			/* polls before the core is given away */
#define OP_YIELD_NS 500000ull		/* waiting before sleeps begin */
#define OP_SLEEP_NS 50000

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
		.buffer = (uint8_t *)piece->buffer + op->piece_done,
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

static void
op_finish(struct tp_thread *thread, struct tp_op *op, enum tp_reason reason, enum tp_effect effect)
{
	op->result = (struct tp_result){
		.reason = (uint8_t)reason,
		.effect = (uint8_t)effect,
		.bytes_done = (uint32_t)RTE_MIN(op->bytes_done, (uint64_t)UINT32_MAX),
	};
	op->state = CLIENT_OP_DONE;
	op->vectors = NULL;
	if (reason != TP_OK)
		thread->stats.voids++;
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

/* Ask the node for the page of a chunk. */
static int
op_send(struct tp_thread *thread, struct tp_op *op, const struct client_chunk *chunk)
{
	static const struct {
		uint8_t op;
		uint32_t guards;
	} requests[] = {
		[CLIENT_READ] = { TP_ABI_READ, CLIENT_GUARDS_ACCESS },
		[CLIENT_WRITE] = { TP_ABI_WRITE, CLIENT_GUARDS_ACCESS },
		[CLIENT_ATOMIC] = { TP_ABI_ATOMIC, CLIENT_GUARDS_ACCESS },
		[CLIENT_PIN] = { TP_ABI_READ, CLIENT_GUARDS_PIN },
		[CLIENT_INVALIDATE] = { TP_ABI_INVALIDATE, 0 },
		[CLIENT_FLUSH] = { TP_ABI_FLUSH, 0 },
	};
	const struct tp_client_region *region = op->region;
	uint16_t worker_count = thread->client->geometry.worker_count;
	uint64_t address = region->info.address +
		((uint64_t)chunk->page_index << region->page_shift);
	struct tp_abi_request request = {
		.op = requests[op->kind].op,
		.region_id = region->id,
		.page_index = chunk->page_index,
		.generation = region->info.generation,
		/* Earlier than ours, so that the node's reason reaches us in time. */
		.deadline_tsc = op->deadline_tsc - op->timeout_tsc / 16,
	};

	if (op->kind == CLIENT_PIN && op->access == TP_ACCESS_WRITE)
		request.op = TP_ABI_WRITE;
	if (op->kind == CLIENT_ATOMIC) {
		request.atomic_op = op->atomic_op;
		request.width = op->width;
		request.offset = chunk->page_offset;
		request.operand = op->operand;
		request.compare = op->compare;
	}
	return client_request_send(thread, op,
		tp_shard_worker(tp_shard_of(address, region->page_shift), worker_count),
		&request, requests[op->kind].guards);
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

/* The request could not be sent, or waits for a place. */
static void
op_not_sent(struct tp_thread *thread, struct tp_op *op, int error)
{
	if (error == -EAGAIN)
		op->state = CLIENT_OP_QUEUED;
	else
		op_finish(thread, op, error == -ECONNRESET ? TP_NODE_CRASHED : TP_CORRUPTION,
			  TP_EFFECT_NOT_DONE);
}

/* Go on until the access is done or has to wait. */
static void
op_run(struct tp_thread *thread, struct tp_op *op)
{
	struct client_chunk chunk;
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
		chunk = op_chunk(op);
		hit = client_access_try(thread, op, &chunk);
		if (hit == CLIENT_BROKEN) {
			op_finish(thread, op, client_broken_reason(thread, op->region),
				  TP_EFFECT_UNKNOWN);
			return;
		}
		if (hit == CLIENT_MISS) {
			ret = op_send(thread, op, &chunk);
			break;
		}
		op->piece_done += chunk.bytes;
		op->bytes_done += chunk.bytes;
	}
	if (ret < 0) {
		op_not_sent(thread, op, ret);
		return;
	}
	op->state = CLIENT_OP_SENT;
	op->misses++;
}

bool
client_op_begin(struct tp_thread *thread, struct tp_op *op)
{
	struct tp_client *client = thread->client;

	op->timeout_tsc = thread->timeout_tsc;
	op->deadline_tsc = client_now(client->backend.virtual_tsc) + op->timeout_tsc;
	op->heartbeat = atomic_load_explicit(&client->backend.node->heartbeat,
					     memory_order_relaxed);
	op->pending = CLIENT_PENDING_NONE;
	op->state = CLIENT_OP_QUEUED;
	op_run(thread, op);
	return op->state == CLIENT_OP_DONE;
}

/* A completion that says VOID. */
static void
op_refused(struct tp_thread *thread, struct tp_op *op, const struct tp_abi_completion *completion)
{
	enum tp_effect effect = TP_EFFECT_NOT_DONE;

	if (op->kind == CLIENT_ATOMIC && completion->effect != TP_EFFECT_NOT_DONE)
		effect = TP_EFFECT_UNKNOWN;
	op_finish(thread, op, completion->reason < TP_REASON_COUNT ?
		  (enum tp_reason)completion->reason : TP_CORRUPTION, effect);
}

void
client_op_completed(struct tp_thread *thread, struct tp_op *op, uint8_t guard,
		    const struct tp_abi_completion *completion)
{
	struct client_chunk chunk = { .bytes = 1 };
	enum client_grant grant;

	RTE_ASSERT(op->state == CLIENT_OP_SENT);
	op->state = CLIENT_OP_QUEUED;
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
		op_finish(thread, op, client_broken_reason(thread, op->region), TP_EFFECT_UNKNOWN);
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
		op->piece_done += chunk.bytes;
		op->bytes_done += chunk.bytes;
		break;
	}
	op_run(thread, op);
}

/* End an access whose answer did not come; the answer may come later. */
static void
op_give_up(struct tp_thread *thread, struct tp_op *op, enum tp_reason reason)
{
	enum tp_effect effect = TP_EFFECT_NOT_DONE;

	if (op->state == CLIENT_OP_SENT) {
		/* Others only fetch: what they do here is done with the answer. */
		if (op->kind == CLIENT_ATOMIC)
			effect = TP_EFFECT_UNKNOWN;
		thread->pending[op->pending].op = NULL;
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

static void
op_check_end(struct tp_thread *thread, struct tp_op *op)
{
	struct tp_client *client = thread->client;
	uint64_t now = client_now(client->backend.virtual_tsc);

	if (unlikely(now >= thread->alive_check_tsc)) {
		thread->alive_check_tsc = now + client_tsc_from_ns(client, OP_ALIVE_CHECK_NS);
		tp_client_is_alive(client);
	}
	if (unlikely(thread->corrupt)) {
		op_give_up(thread, op, TP_CORRUPTION);
	} else if (unlikely(atomic_load_explicit(&client->dead, memory_order_relaxed))) {
		op_give_up(thread, op, TP_NODE_CRASHED);
	} else if (unlikely(now >= op->deadline_tsc)) {
		thread->stats.timeouts++;
		op_give_up(thread, op, op_late_reason(thread, op));
	}
}

bool
tp_op_poll(struct tp_thread *thread, struct tp_op *op)
{
	if (op->state == CLIENT_OP_DONE)
		return true;
	client_thread_poll(thread);
	if (op->state == CLIENT_OP_QUEUED)
		op_run(thread, op);
	if (op->state != CLIENT_OP_DONE)
		op_check_end(thread, op);
	return op->state == CLIENT_OP_DONE;
}

struct tp_result
tp_op_wait(struct tp_thread *thread, struct tp_op *op)
{
	static const struct timespec step = { .tv_nsec = OP_SLEEP_NS };
	const struct tp_client_backend *backend = &thread->client->backend;
	uint64_t yield_until = 0;
	uint32_t spins = 0;

	while (!tp_op_poll(thread, op)) {
		if (backend->poll != NULL) {
			backend->poll(backend->ctx);
		} else if (spins < OP_SPINS) {
			spins++;
			rte_pause();
		} else if (yield_until == 0) {
			yield_until = rte_rdtsc() +
				client_tsc_from_ns(thread->client, OP_YIELD_NS);
			sched_yield();
		} else if (rte_rdtsc() < yield_until) {
			sched_yield();
		} else {
			nanosleep(&step, NULL);
		}
	}
	return op->result;
}
