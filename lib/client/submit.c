/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The calls of tp_access.h: check the arguments, fill in the access, start it.
 * The synchronous ones try a hit before they make an access at all.
 */
#include "heir.h"
#include "hit.h"
#include "op.h"

#define SUBMIT_PERSISTS 32	/* pages that tp_persist() has under way */

static bool
submit_refuse(struct tp_thread *thread, struct tp_op *op, enum tp_reason reason)
{
	op->result = tp_result_void(reason);
	op->state = CLIENT_OP_DONE;
	thread->stats.voids++;
	return true;
}

static bool
submit_range_is_valid(const struct tp_client_region *region, uint64_t offset, uint64_t bytes)
{
	return offset <= region->bytes && bytes <= region->bytes - offset;
}

/* The thread and region of an access are what they stand for now; else it ends. */
static bool
submit_follow(struct tp_thread **thread, struct tp_client_region **region, struct tp_op *op)
{
	enum tp_reason reason = client_follow(thread, region);

	if (likely(reason == TP_OK))
		return true;
	/* Not filled in: it has no region, and is not to be asked after. */
	*op = (struct tp_op){ .pending = CLIENT_PENDING_NONE };
	submit_refuse(*thread, op, reason);
	return false;
}

/* An access of one piece; op is overwritten. */
static void
submit_fill(struct tp_op *op, enum client_kind kind, struct tp_client_region *region,
	    uint64_t offset, void *buffer, uint64_t bytes)
{
	*op = (struct tp_op){
		.kind = (uint8_t)kind,
		.region = region,
		.vector_count = 1,
		.single = { .offset = offset, .buffer = buffer, .bytes = bytes },
	};
	op->vectors = &op->single;
}

static bool
submit_piece(struct tp_thread *thread, struct tp_op *op, uint64_t bytes_max)
{
	if (!submit_range_is_valid(op->region, op->single.offset, op->single.bytes) ||
	    op->single.bytes > bytes_max)
		return submit_refuse(thread, op, TP_INVALID);
	return client_op_begin(thread, op);
}

bool
tp_submit_read(struct tp_thread *thread, struct tp_client_region *region, uint64_t offset,
	       void *buffer, uint64_t bytes, struct tp_op *op)
{
	if (!submit_follow(&thread, &region, op))
		return true;
	submit_fill(op, CLIENT_READ, region, offset, buffer, bytes);
	return submit_piece(thread, op, TP_ACCESS_BYTES_MAX);
}

bool
tp_submit_write(struct tp_thread *thread, struct tp_client_region *region, uint64_t offset,
		const void *buffer, uint64_t bytes, struct tp_op *op)
{
	if (!submit_follow(&thread, &region, op))
		return true;
	/* Only ever read through: see CLIENT_WRITE in access.c. */
	submit_fill(op, CLIENT_WRITE, region, offset, (void *)(uintptr_t)buffer, bytes);
	if (!region->writable)
		return submit_refuse(thread, op, TP_PERMISSION);
	return submit_piece(thread, op, TP_ACCESS_BYTES_MAX);
}

static bool
submit_vectors(struct tp_thread *thread, struct tp_op *op, const struct tp_vector *vectors,
	       uint32_t count)
{
	uint64_t total = 0;
	uint32_t i;

	op->vectors = vectors;
	op->vector_count = count;
	if (count > TP_VECTOR_MAX)
		return submit_refuse(thread, op, TP_INVALID);
	for (i = 0; i < count; i++) {
		/* Each is at most the region, so the sum of 1024 cannot wrap. */
		if (!submit_range_is_valid(op->region, vectors[i].offset, vectors[i].bytes))
			return submit_refuse(thread, op, TP_INVALID);
		total += vectors[i].bytes;
	}
	if (total > TP_ACCESS_BYTES_MAX)
		return submit_refuse(thread, op, TP_INVALID);
	return client_op_begin(thread, op);
}

bool
tp_submit_readv(struct tp_thread *thread, struct tp_client_region *region,
		const struct tp_vector *vectors, uint32_t count, struct tp_op *op)
{
	if (!submit_follow(&thread, &region, op))
		return true;
	submit_fill(op, CLIENT_READ, region, 0, NULL, 0);
	return submit_vectors(thread, op, vectors, count);
}

bool
tp_submit_writev(struct tp_thread *thread, struct tp_client_region *region,
		 const struct tp_vector *vectors, uint32_t count, struct tp_op *op)
{
	if (!submit_follow(&thread, &region, op))
		return true;
	submit_fill(op, CLIENT_WRITE, region, 0, NULL, 0);
	if (!region->writable)
		return submit_refuse(thread, op, TP_PERMISSION);
	return submit_vectors(thread, op, vectors, count);
}

static bool
submit_atomic_is_valid(const struct tp_client_region *region, uint64_t offset,
		       enum tp_atomic_op atomic_op, unsigned int width)
{
	return (width == 4 || width == 8) && (offset & (width - 1)) == 0 &&
		atomic_op >= TP_ATOMIC_LOAD && atomic_op < TP_ATOMIC_COUNT &&
		submit_range_is_valid(region, offset, width);
}

bool
tp_submit_atomic(struct tp_thread *thread, struct tp_client_region *region, uint64_t offset,
		 enum tp_atomic_op atomic_op, unsigned int width, uint64_t operand,
		 uint64_t compare, struct tp_op *op)
{
	if (!submit_follow(&thread, &region, op))
		return true;
	submit_fill(op, CLIENT_ATOMIC, region, offset, NULL, width);
	if (!submit_atomic_is_valid(region, offset, atomic_op, width))
		return submit_refuse(thread, op, TP_INVALID);
	op->atomic_op = (uint8_t)atomic_op;
	op->width = (uint8_t)width;
	op->operand = operand;
	op->compare = compare;
	if (atomic_op == TP_ATOMIC_LOAD) {
		/* A load is a read: the copy it fetches serves the next ones in place. */
		op->kind = CLIENT_READ;
		op->single.buffer = &op->value;
	} else if (!region->writable) {
		return submit_refuse(thread, op, TP_PERMISSION);
	}
	return client_op_begin(thread, op);
}

bool
tp_submit_pin(struct tp_thread *thread, struct tp_client_region *region, uint64_t offset,
	      uint64_t bytes, enum tp_access access, struct tp_pin *pin, struct tp_op *op)
{
	uint64_t page_bytes;

	if (!submit_follow(&thread, &region, op))
		return true;
	page_bytes = 1ull << region->page_shift;
	submit_fill(op, CLIENT_PIN, region, offset, NULL, bytes);
	op->access = (uint8_t)access;
	op->pin = pin;
	if ((access != TP_ACCESS_READ && access != TP_ACCESS_WRITE) || bytes == 0 ||
	    bytes > page_bytes - (offset & (page_bytes - 1)))
		return submit_refuse(thread, op, TP_INVALID);
	if (access == TP_ACCESS_WRITE && !region->writable)
		return submit_refuse(thread, op, TP_PERMISSION);
	if ((thread->guards_free & CLIENT_GUARDS_PIN) == 0)
		return submit_refuse(thread, op, TP_EXHAUSTED);
	return submit_piece(thread, op, page_bytes);
}

bool
tp_submit_invalidate(struct tp_thread *thread, struct tp_client_region *region,
		     uint64_t offset, uint64_t bytes, struct tp_op *op)
{
	if (!submit_follow(&thread, &region, op))
		return true;
	submit_fill(op, CLIENT_INVALIDATE, region, offset, NULL, bytes);
	return submit_piece(thread, op, UINT64_MAX);
}

bool
tp_submit_flush(struct tp_thread *thread, struct tp_client_region *region, uint64_t offset,
		uint64_t bytes, struct tp_op *op)
{
	if (!submit_follow(&thread, &region, op))
		return true;
	submit_fill(op, CLIENT_FLUSH, region, offset, NULL, bytes);
	return submit_piece(thread, op, UINT64_MAX);
}

bool
tp_submit_persist(struct tp_thread *thread, struct tp_client_region *region, uint64_t offset,
		  uint64_t bytes, struct tp_op *op)
{
	if (!submit_follow(&thread, &region, op))
		return true;
	submit_fill(op, CLIENT_PERSIST, region, offset, NULL, bytes);
	if (region->info.durability == TP_DURABILITY_NONE)
		return submit_refuse(thread, op, TP_INVALID);
	return submit_piece(thread, op, UINT64_MAX);
}

bool
tp_submit_clear(struct tp_thread *thread, struct tp_client_region *region, struct tp_op *op)
{
	return tp_submit_invalidate(thread, region, 0, client_region_live(region)->bytes, op);
}

bool
tp_submit_nop(struct tp_thread *thread, uint32_t worker, struct tp_op *op)
{
	while (client_thread_heir(thread) != NULL)
		thread = client_thread_heir(thread);
	submit_fill(op, CLIENT_NOP, NULL, 0, NULL, 1);
	op->operand = worker;
	if (worker >= thread->client->geometry.worker_count)
		return submit_refuse(thread, op, TP_INVALID);
	return client_op_begin(thread, op);
}

/* Within one page of the region: the only case that is tried without an access. */
static inline bool
submit_is_one_page(const struct tp_client_region *region, uint64_t offset, uint64_t bytes)
{
	uint64_t page_bytes = 1ull << region->page_shift;

	/* bytes 0 wraps and is not. */
	return offset < region->bytes &&
		bytes - 1 < page_bytes - (offset & (page_bytes - 1));
}

struct tp_result
tp_read(struct tp_thread *thread, struct tp_client_region *region, uint64_t offset, void *buffer,
	uint64_t bytes)
{
	struct tp_op op;

	if (likely(client_follow(&thread, &region) == TP_OK) &&
	    likely(submit_is_one_page(region, offset, bytes)) &&
	    likely(client_hit_read(thread, region, (uint32_t)(offset >> region->page_shift),
			(uint32_t)offset & ((1u << region->page_shift) - 1), buffer,
			(uint32_t)bytes) == CLIENT_HIT))
		return tp_result_ok((uint32_t)bytes);
	if (tp_submit_read(thread, region, offset, buffer, bytes, &op))
		return op.result;
	return tp_op_wait(thread, &op);
}

struct tp_result
tp_write(struct tp_thread *thread, struct tp_client_region *region, uint64_t offset,
	 const void *buffer, uint64_t bytes)
{
	struct tp_op op;

	if (likely(client_follow(&thread, &region) == TP_OK) &&
	    likely(submit_is_one_page(region, offset, bytes)) && likely(region->writable)) {
		enum client_hit hit = client_hit_write(thread, region,
			(uint32_t)(offset >> region->page_shift),
			(uint32_t)offset & ((1u << region->page_shift) - 1), buffer,
			(uint32_t)bytes);

		if (likely(hit == CLIENT_HIT))
			return tp_result_ok((uint32_t)bytes);
		if (hit == CLIENT_BROKEN) {
			thread->stats.voids++;
			return tp_result_unknown_final(client_broken_reason(thread, region));
		}
	}
	if (tp_submit_write(thread, region, offset, buffer, bytes, &op))
		return op.result;
	return tp_op_wait(thread, &op);
}

struct tp_result
tp_readv(struct tp_thread *thread, struct tp_client_region *region,
	 const struct tp_vector *vectors, uint32_t count)
{
	struct tp_op op;

	tp_submit_readv(thread, region, vectors, count, &op);
	return tp_op_wait(thread, &op);
}

struct tp_result
tp_writev(struct tp_thread *thread, struct tp_client_region *region,
	  const struct tp_vector *vectors, uint32_t count)
{
	struct tp_op op;

	tp_submit_writev(thread, region, vectors, count, &op);
	return tp_op_wait(thread, &op);
}

struct tp_result
tp_invalidate(struct tp_thread *thread, struct tp_client_region *region, uint64_t offset,
	      uint64_t bytes)
{
	struct tp_op op;

	tp_submit_invalidate(thread, region, offset, bytes, &op);
	return tp_op_wait(thread, &op);
}

struct tp_result
tp_flush(struct tp_thread *thread, struct tp_client_region *region, uint64_t offset,
	 uint64_t bytes)
{
	struct tp_op op;

	tp_submit_flush(thread, region, offset, bytes, &op);
	return tp_op_wait(thread, &op);
}

/* A range that is persisted page by page, many at a time. */
struct submit_persists {
	struct tp_op ops[SUBMIT_PERSISTS];
	uint64_t offset;		/* of what was not asked for yet */
	uint64_t end;
	uint64_t page_bytes;
	uint64_t deadline_tsc;		/* all of them are one call */
	uint32_t first;			/* of those under way */
	uint32_t next;
};

static void
submit_next_persist(struct tp_thread *thread, struct tp_client_region *region,
		    struct submit_persists *all)
{
	struct tp_op *op = &all->ops[all->next % SUBMIT_PERSISTS];
	uint64_t bytes = RTE_MIN(all->end - all->offset,
				 all->page_bytes - (all->offset & (all->page_bytes - 1)));

	tp_submit_persist(thread, region, all->offset, bytes, op);
	if (all->next++ == 0)
		all->deadline_tsc = op->deadline_tsc;
	else
		op->deadline_tsc = RTE_MIN(op->deadline_tsc, all->deadline_tsc);
	all->offset += bytes;
}

/* What is under way together lasts by the same fence. */
struct tp_result
tp_persist(struct tp_thread *thread, struct tp_client_region *region, uint64_t offset,
	   uint64_t bytes)
{
	const struct tp_control_region *info = tp_client_region_info(region);
	struct tp_result result = tp_result_ok(0);
	uint64_t done = 0;
	struct submit_persists all = {
		.offset = offset,
		.end = offset + bytes,
		.page_bytes = info->page_bytes,
	};

	if (bytes == 0 || offset > info->bytes || bytes > info->bytes - offset) {
		tp_submit_persist(thread, region, offset, bytes, &all.ops[0]);
		return tp_op_wait(thread, &all.ops[0]);
	}
	while (all.first != all.next || (all.offset < all.end && tp_result_is_ok(result))) {
		struct tp_result one;

		while (all.offset < all.end && tp_result_is_ok(result) &&
		       all.next - all.first < SUBMIT_PERSISTS)
			submit_next_persist(thread, region, &all);
		one = tp_op_wait(thread, &all.ops[all.first++ % SUBMIT_PERSISTS]);
		if (!tp_result_is_ok(result))
			continue;
		result = one;
		done += one.bytes_done;
	}
	result.bytes_done = (uint32_t)RTE_MIN(done, (uint64_t)UINT32_MAX);
	return result;
}

struct tp_result
tp_clear(struct tp_thread *thread, struct tp_client_region *region)
{
	struct tp_op op;

	tp_submit_clear(thread, region, &op);
	return tp_op_wait(thread, &op);
}

/* In place, without filling in a whole access. op->value is the value before. */
static enum client_hit
submit_atomic_hit(struct tp_thread *thread, struct tp_client_region *region, uint64_t offset,
		  struct tp_op *op)
{
	struct client_chunk chunk = {
		.page_index = (uint32_t)(offset >> region->page_shift),
		.page_offset = (uint32_t)offset & ((1u << region->page_shift) - 1),
		.bytes = op->width,
	};

	op->region = region;
	op->value = 0;
	if (op->atomic_op == TP_ATOMIC_LOAD)
		return client_hit_read(thread, region, chunk.page_index, chunk.page_offset,
				       &op->value, chunk.bytes);
	return region->writable ? client_atomic_try(thread, op, &chunk) : CLIENT_MISS;
}

struct tp_result
tp_atomic(struct tp_thread *thread, struct tp_client_region *region, uint64_t offset,
	  enum tp_atomic_op atomic_op, unsigned int width, uint64_t operand, uint64_t compare,
	  uint64_t *old)
{
	struct tp_thread *self = thread;
	enum client_hit hit = CLIENT_MISS;
	struct tp_result result;
	struct tp_op op;

	if (likely(client_follow(&thread, &region) == TP_OK) &&
	    likely(submit_atomic_is_valid(region, offset, atomic_op, width))) {
		op.atomic_op = (uint8_t)atomic_op;
		op.width = (uint8_t)width;
		op.operand = operand;
		op.compare = compare;
		hit = submit_atomic_hit(thread, region, offset, &op);
	}
	if (likely(hit == CLIENT_HIT)) {
		result = tp_result_ok(width);
	} else if (hit == CLIENT_BROKEN) {
		thread->stats.voids++;
		result = tp_result_unknown_final(client_broken_reason(thread, region));
		self->unknown = (struct tp_op){ .result = result, .kind = CLIENT_ATOMIC };
	} else {
		tp_submit_atomic(thread, region, offset, atomic_op, width, operand, compare, &op);
		result = tp_op_wait(thread, &op);
		if (unlikely(result.effect == TP_EFFECT_UNKNOWN))
			self->unknown = op;
	}
	if (old != NULL && tp_result_is_ok(result))
		*old = op.value;
	return result;
}

struct tp_result
tp_pin(struct tp_thread *thread, struct tp_client_region *region, uint64_t offset,
       uint64_t bytes, enum tp_access access, struct tp_pin *pin)
{
	struct tp_op op;

	tp_submit_pin(thread, region, offset, bytes, access, pin, &op);
	return tp_op_wait(thread, &op);
}
