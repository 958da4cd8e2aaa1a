/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Buffers: 32-byte handles to bytes in a slot pool. A handle is plain data: copy
 * it, put it into a ring, send it to another program. Cloning and slicing copy no
 * bytes. Every handle got from alloc, clone, slice or accept is one reference
 * that its process gives back with tp_buffer_release(). Works without EAL.
 *
 * Handing a buffer over to another program takes two steps, so that it always
 * has a holder, and at any instant either program may die:
 *
 *   giver                                   taker
 *   tp_buffer_offer(buffer, &handle)
 *   sends handle            ------------->  tp_buffer_accept(handle, &buffer)
 *   tp_buffer_settle(handle)  <-----------  says so
 *   (may release its own reference before or after)
 *
 * The giver settles when the taker accepted or refused, or when it is told that
 * the taker died; a dead giver's references are taken back by
 * tp_slot_pool_reap(), and an accept that comes after that may get -ESTALE.
 * A handle that was not offered must not be accepted by another process.
 */
#ifndef TP_BUFFER_H
#define TP_BUFFER_H

#include <assert.h>
#include <stdint.h>

#include "tp_slot_pool.h"

/* The same layout in every program; part of the client ABI. */
struct tp_buffer {
	uint64_t offset;	/* of the first byte, from the start of the segment */
	uint32_t segment_id;	/* tp_slot_pool_segment_id() of its pool */
	uint32_t length;	/* bytes */
	uint64_t generation;	/* tenure of the slot; a handle of an older one is stale */
	uint64_t user;		/* the caller's, carried along untouched */
};
static_assert(sizeof(struct tp_buffer) == 32, "layout is shared");

/**
 * Take a slot for a new buffer.
 *
 * @param cache
 *   Cache of this thread for pool, or NULL.
 * @param length
 *   1 to tp_slot_pool_slot_bytes().
 * @param buffer
 *   Written only on success; user is 0.
 * @return
 *   0, or:
 *   - -EINVAL: length out of range, or cache is for another pool.
 *   - -ENOSPC: no free slot.
 * @threads Any; the cache is its owner's.
 * @cost    That of the loan.
 */
int tp_buffer_alloc(struct tp_slot_pool *pool, struct tp_slot_cache *cache, uint32_t length,
		    struct tp_buffer *buffer);

/**
 * A handle for bytes of a slot that this process has on loan. It takes no
 * reference: releasing it is returning the slot.
 *
 * @param offset
 *   From the start of the slot; offset + length must not leave it, length is at least 1.
 * @param buffer
 *   Written only on success; user is 0.
 * @return
 *   0, -EINVAL (no such slot or range) or -ESTALE (not on loan to this process).
 * @threads Any.
 * @cost    Two cache lines of metadata.
 */
int tp_buffer_from_slot(struct tp_slot_pool *pool, uint32_t index, uint32_t offset,
			uint32_t length, struct tp_buffer *buffer);

/**
 * One more reference to the same bytes.
 *
 * @param buffer
 *   A handle this process has a reference for.
 * @return
 *   0, or with clone untouched:
 *   - -EINVAL: not a handle of this pool, or its range leaves its slot.
 *   - -ESTALE: its slot has been given back; or this process does not hold it.
 *   - -EOVERFLOW: 2^30 references.
 * @threads Any.
 * @cost    One locked instruction.
 */
int tp_buffer_clone(struct tp_slot_pool *pool, const struct tp_buffer *buffer,
		    struct tp_buffer *clone);

/**
 * One more reference, to a part of the bytes.
 *
 * @param offset
 *   From the start of buffer.
 * @param length
 *   At least 1; offset + length must not leave buffer.
 * @return As tp_buffer_clone().
 * @threads Any.
 * @cost    One locked instruction.
 */
int tp_buffer_slice(struct tp_slot_pool *pool, const struct tp_buffer *buffer, uint32_t offset,
		    uint32_t length, struct tp_buffer *slice);

/**
 * Give one reference back; with the last one of the last holder the slot is free.
 *
 * @param cache
 *   Cache of this thread for pool, or NULL.
 * @return
 *   0, or with nothing changed:
 *   - -EINVAL: as tp_buffer_clone(), or cache is for another pool.
 *   - -ESTALE: released already, and the slot given back or loaned anew since.
 * @threads Any; the cache is its owner's.
 * @cost    That of the return.
 */
int tp_buffer_release(struct tp_slot_pool *pool, struct tp_slot_cache *cache,
		      const struct tp_buffer *buffer);

/**
 * The bytes of a buffer.
 *
 * @return
 *   Its first byte, valid until this reference is released; or NULL and rte_errno
 *   EINVAL or ESTALE as tp_buffer_clone().
 * @threads Any.
 * @cost    Two cache lines of metadata.
 */
void *tp_buffer_data(struct tp_slot_pool *pool, const struct tp_buffer *buffer);

/**
 * First step of handing over: keep the buffer for whoever gets the handle.
 *
 * @param handle
 *   A copy of buffer to send; it carries one reference of this process, which
 *   tp_buffer_settle() gives back.
 * @return As tp_buffer_clone().
 * @threads Any.
 * @cost    One locked instruction, none in shared memory.
 */
int tp_buffer_offer(struct tp_slot_pool *pool, const struct tp_buffer *buffer,
		    struct tp_buffer *handle);

/**
 * Second step: become a holder of a buffer that another process offered (or
 * another thread of this one).
 *
 * @param handle
 *   As received; nothing in it is trusted.
 * @param buffer
 *   Written only on success.
 * @return
 *   0, or:
 *   - -EINVAL: not a handle of this pool, or its range leaves its slot.
 *   - -ESTALE: the giver settled, or died and was reaped, before.
 *   - -EAGAIN: another thread of this process is just taking or giving back the
 *     same slot, or its holders change all the time; try again.
 *   - -EOVERFLOW: 2^30 references.
 * @threads Any.
 * @cost    Two locked instructions.
 */
int tp_buffer_accept(struct tp_slot_pool *pool, const struct tp_buffer *handle,
		     struct tp_buffer *buffer);

/**
 * Last step: the giver lets go of an offer, accepted or not.
 *
 * @param handle
 *   As tp_buffer_offer() wrote it.
 * @return As tp_buffer_release().
 * @threads Any of the process that offered.
 */
int tp_buffer_settle(struct tp_slot_pool *pool, const struct tp_buffer *handle);

#endif /* TP_BUFFER_H */
