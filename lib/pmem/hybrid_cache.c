/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The frames of the cache and which object has to leave: docs/pmem.md, "Hybrid
 * objects".
 *
 * How it works. S3-FIFO (Yang et al., SOSP 2023): new objects enter a small queue, a tenth
 * of the cache; what was hit more than once when it comes to its end goes on to the main
 * queue, the rest leaves and is remembered as a ghost; a ghost that comes back enters the
 * main queue. There the end goes round as long as it was hit. A hit is two bits in the object's
 * word, which is no store once they are full.
 *
 * A frame taken from its object goes through the limbo: a reader may just have pinned
 * it. A pin is a hazard pointer (Michael, IEEE TPDS 2004): the reader notes the frame and
 * looks at the object's word again. It does so without a fence: before a frame leaves
 * the limbo, one membarrier() makes all cores do theirs, and who still has it pinned is seen
 * (as in liburcu: Desnoyers et al., IEEE TPDS 2012).
 */
#include <linux/membarrier.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <rte_atomic.h>
#include <rte_branch_prediction.h>

#include "hybrid_priv.h"

#define CACHE_SMALL_SHARE 10u		/* one part in so many of the cache */
#define CACHE_EVICT_SHARE 16u		/* at most so many at once, and HYBRID_BATCH_MAX */
#define CACHE_ROUNDS 6u			/* looks at each object before giving up: its bits, and one */
#define CACHE_TRIES 8u

/*
 * Pairs with the compiler's barrier in a pin; with full fences, with the fence there. False:
 * the kernel had no memory for it, and pins may not be seen yet.
 */
static bool
barrier_all(const struct tp_pmem_hybrid *hybrid)
{
	rte_smp_mb();
	return hybrid->full_fences ||
		syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0;
}

/* Write lock held. */
static void
pins_mark(struct tp_pmem_hybrid *hybrid)
{
	hybrid->mark_count = 0;
	for (uint32_t t = 0; t < hybrid->thread_count; t++) {
		struct tp_pmem_hybrid_thread *thread = &hybrid->threads[t];

		/* Its hazards are 0 before it is closed: pairs with the release there. */
		if (!atomic_load_explicit(&thread->is_open, memory_order_acquire))
			continue;
		for (uint32_t i = 0; i < RTE_DIM(thread->hazards); i++) {
			/* acquire: pairs with the release of a put: its reads came before */
			uint32_t hazard = atomic_load_explicit(&thread->hazards[i],
				memory_order_acquire);

			if (hazard == 0 || hybrid->pinned[hazard - 1])
				continue;
			hybrid->pinned[hazard - 1] = 1;
			hybrid->marks[hybrid->mark_count++] = hazard - 1;
		}
	}
}

static void
pins_unmark(struct tp_pmem_hybrid *hybrid)
{
	for (uint32_t i = 0; i < hybrid->mark_count; i++)
		hybrid->pinned[hybrid->marks[i]] = 0;
}

/* What is not pinned leaves the limbo. Write lock held. */
static void
limbo_reclaim(struct tp_pmem_hybrid *hybrid)
{
	uint32_t count, kept = 0;

	pmem_lock_take(&hybrid->cache_lock);
	count = hybrid->limbo_count;
	pmem_lock_release(&hybrid->cache_lock);
	/* Without the barrier all of it waits for the next time. */
	if (count == 0 || !barrier_all(hybrid))
		return;
	pins_mark(hybrid);
	pmem_lock_take(&hybrid->cache_lock);
	for (uint32_t i = 0; i < hybrid->limbo_count; i++) {
		uint32_t frame = hybrid->limbo[i];

		/* Those that came after the barrier wait for the next. */
		if (i >= count || hybrid->pinned[frame])
			hybrid->limbo[kept++] = frame;
		else
			hybrid->free[hybrid->free_count++] = frame;
	}
	hybrid->limbo_count = kept;
	pmem_lock_release(&hybrid->cache_lock);
	pins_unmark(hybrid);
}

/*
 * S3-FIFO. Cache lock held.
 */

static bool
is_ghost(const struct tp_pmem_hybrid *hybrid, uint64_t word)
{
	uint64_t stamp = word & HYBRID_FRAME_MASK;

	return stamp != 0 && ((hybrid->ghost_stamp - stamp) & HYBRID_FRAME_MASK) <
		hybrid->frame_count - hybrid->frame_count / CACHE_SMALL_SHARE;
}

/* Next object to leave, if it may. It is in no queue then. */
static uint32_t
candidate_take(struct tp_pmem_hybrid *hybrid, bool *from_small)
{
	uint32_t share = RTE_MAX(hybrid->frame_count / CACHE_SMALL_SHARE, 1u);

	/* Bounded, as hits may come faster than this takes them away. */
	for (uint64_t steps = (uint64_t)CACHE_ROUNDS * hybrid->frame_count;; steps--) {
		bool small = hybrid->main.count == 0 || hybrid->small.count >= share;
		uint32_t id = hybrid_queue_pop(small ? &hybrid->small : &hybrid->main);
		uint64_t freq = atomic_load_explicit(&hybrid->words[id], memory_order_relaxed) &
			HYBRID_FREQ_MASK;

		*from_small = small;
		if (steps == 0)
			return id;
		if (small && freq > HYBRID_FREQ_ONE)
			atomic_fetch_and_explicit(&hybrid->words[id], ~HYBRID_FREQ_MASK,
				memory_order_relaxed);
		else if (!small && freq > 0)
			/* Nobody else takes away, and 3 is not exceeded: no borrow, no carry. */
			atomic_fetch_sub_explicit(&hybrid->words[id], HYBRID_FREQ_ONE,
				memory_order_relaxed);
		else
			return id;
		hybrid_queue_push(&hybrid->main, id);
	}
}

/* Take the frame from an object that is clean. False: it is not, or is an edit's. */
static bool
object_evict(struct tp_pmem_hybrid *hybrid, uint32_t id, bool from_small)
{
	uint64_t word = atomic_load_explicit(&hybrid->words[id], memory_order_relaxed);
	uint64_t stamp = 0, absent;

	if (from_small) {
		if ((++hybrid->ghost_stamp & HYBRID_FRAME_MASK) == 0)
			hybrid->ghost_stamp++;
		stamp = hybrid->ghost_stamp & HYBRID_FRAME_MASK;
	}
	do {
		if (word & (HYBRID_DIRTY | HYBRID_WRITER))
			return false;
		absent = (word & (HYBRID_QUEUED | HYBRID_BLOCK | HYBRID_SPILLED |
			HYBRID_BYTES_MASK)) | stamp;
		/* acq_rel: pairs with the acquire of who loads it again, and barrier_all() */
	} while (!atomic_compare_exchange_weak_explicit(&hybrid->words[id], &word, absent,
		memory_order_acq_rel, memory_order_relaxed));
	hybrid->limbo[hybrid->limbo_count++] = hybrid_word_frame(word);
	hybrid->evictions++;
	return true;
}

/*
 * Evict up to so many; those that are dirty are handed to the caller.
 */
static uint32_t
candidates_evict(struct tp_pmem_hybrid *hybrid, uint32_t want, uint32_t *evicted)
{
	uint32_t dirty = 0;
	uint64_t steps = (uint64_t)CACHE_ROUNDS * (hybrid->small.count + hybrid->main.count);

	*evicted = 0;
	while (*evicted + dirty < want && steps-- > 0 &&
			hybrid->small.count + hybrid->main.count > 0) {
		bool from_small;
		uint32_t id = candidate_take(hybrid, &from_small);
		uint64_t word = atomic_load_explicit(&hybrid->words[id], memory_order_relaxed);

		if ((word & HYBRID_WRITER) || hybrid->pinned[hybrid_word_frame(word)])
			hybrid_queue_push(&hybrid->main, id);
		else if (word & HYBRID_DIRTY)
			hybrid->victims[dirty++] = id;
		else if (object_evict(hybrid, id, from_small))
			(*evicted)++;
		else
			hybrid_queue_push(&hybrid->main, id);
	}
	return dirty;
}

/* Make room. Write lock held. 0: perhaps there is; -EBUSY, or -errno of a write-back. */
static int
evict(struct tp_pmem_hybrid *hybrid)
{
	uint32_t want = RTE_MIN(RTE_MAX(hybrid->frame_count / CACHE_EVICT_SHARE, 1u),
		HYBRID_BATCH_MAX);
	uint32_t dirty, evicted;
	int ret = 0;

	pins_mark(hybrid);
	pmem_lock_take(&hybrid->cache_lock);
	dirty = candidates_evict(hybrid, want, &evicted);
	pmem_lock_release(&hybrid->cache_lock);
	pins_unmark(hybrid);
	if (dirty > 0)
		ret = hybrid_write_back(hybrid, hybrid->victims, dirty);
	pmem_lock_take(&hybrid->cache_lock);
	/* They count as ghosts wherever they came from: what is written will be again. */
	for (uint32_t i = 0; i < dirty; i++) {
		if (object_evict(hybrid, hybrid->victims[i], true))
			evicted++;
		else
			hybrid_queue_push(&hybrid->main, hybrid->victims[i]);
	}
	pmem_lock_release(&hybrid->cache_lock);
	if (evicted > 0)
		return 0;
	return ret < 0 ? ret : -EBUSY;
}

void
hybrid_cache_insert(struct tp_pmem_hybrid *hybrid, uint32_t id, uint64_t word)
{
	pmem_lock_take(&hybrid->cache_lock);
	hybrid_queue_push(is_ghost(hybrid, word) ? &hybrid->main : &hybrid->small, id);
	pmem_lock_release(&hybrid->cache_lock);
}

/*
 * Frames.
 */

/* Some free frames for a thread: one that it returns, and its spares. */
static bool
frames_get(struct tp_pmem_hybrid_thread *thread, uint32_t *frame_out)
{
	struct tp_pmem_hybrid *hybrid = thread->hybrid;
	bool ok;

	pmem_lock_take(&hybrid->cache_lock);
	ok = hybrid->free_count > 0;
	if (ok)
		*frame_out = hybrid->free[--hybrid->free_count];
	while (hybrid->free_count > 0 && thread->spare_count < hybrid->spares_max / 2)
		thread->spares[thread->spare_count++] = hybrid->free[--hybrid->free_count];
	pmem_lock_release(&hybrid->cache_lock);
	return ok;
}

/* Write lock held. 1: got one; 0: not this time; -errno of a write-back. */
static int
frames_make(struct tp_pmem_hybrid_thread *thread, uint32_t *frame_out)
{
	struct tp_pmem_hybrid *hybrid = thread->hybrid;
	int ret;

	/* Others that waited for the lock too may have left some. */
	if (frames_get(thread, frame_out))
		return 1;
	limbo_reclaim(hybrid);
	if (frames_get(thread, frame_out))
		return 1;
	ret = evict(hybrid);
	limbo_reclaim(hybrid);
	if (frames_get(thread, frame_out))
		return 1;
	return ret == -EBUSY ? 0 : ret;
}

int
hybrid_frame_take(struct tp_pmem_hybrid_thread *thread, uint32_t *frame_out)
{
	struct tp_pmem_hybrid *hybrid = thread->hybrid;
	int ret = 0;

	if (thread->spare_count > 0) {
		*frame_out = thread->spares[--thread->spare_count];
		return 0;
	}
	if (frames_get(thread, frame_out))
		return 0;
	for (unsigned int i = 0; i < CACHE_TRIES && ret == 0; i++) {
		pmem_lock_take(&hybrid->write_lock);
		ret = frames_make(thread, frame_out);
		pmem_lock_release(&hybrid->write_lock);
	}
	return ret == 0 ? -EBUSY : RTE_MIN(ret, 0);
}

/* Give the frames a thread keeps to one of the lists. */
static void
frames_pass(struct tp_pmem_hybrid *hybrid, const uint32_t *frames, uint32_t count, uint32_t *list,
	    uint32_t *list_count)
{
	pmem_lock_take(&hybrid->cache_lock);
	for (uint32_t i = 0; i < count; i++)
		list[(*list_count)++] = frames[i];
	pmem_lock_release(&hybrid->cache_lock);
}

void
hybrid_frame_give(struct tp_pmem_hybrid_thread *thread, uint32_t frame)
{
	struct tp_pmem_hybrid *hybrid = thread->hybrid;

	if (thread->spare_count < hybrid->spares_max)
		thread->spares[thread->spare_count++] = frame;
	else
		frames_pass(hybrid, &frame, 1, hybrid->free, &hybrid->free_count);
}

void
hybrid_frame_retire(struct tp_pmem_hybrid_thread *thread, uint32_t frame)
{
	struct tp_pmem_hybrid *hybrid = thread->hybrid;

	if (thread->retired_count < hybrid->spares_max) {
		thread->retired[thread->retired_count++] = frame;
		return;
	}
	frames_pass(hybrid, thread->retired, thread->retired_count, hybrid->limbo,
		&hybrid->limbo_count);
	frames_pass(hybrid, &frame, 1, hybrid->limbo, &hybrid->limbo_count);
	thread->retired_count = 0;
}

void
hybrid_frames_return(struct tp_pmem_hybrid_thread *thread)
{
	struct tp_pmem_hybrid *hybrid = thread->hybrid;

	frames_pass(hybrid, thread->retired, thread->retired_count, hybrid->limbo,
		&hybrid->limbo_count);
	frames_pass(hybrid, thread->spares, thread->spare_count, hybrid->free,
		&hybrid->free_count);
	thread->retired_count = 0;
	thread->spare_count = 0;
}
