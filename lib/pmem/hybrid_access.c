/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Hybrid objects: pins, and bringing objects in.
 */
#include <sched.h>
#include <string.h>

#include <rte_atomic.h>
#include <rte_branch_prediction.h>
#include <rte_pause.h>

#include "hybrid_priv.h"

#define ACCESS_SPINS 64u

void
hybrid_relax(unsigned int *tries)
{
	rte_pause();
	if (++*tries % ACCESS_SPINS == 0)
		sched_yield();
}

/*
 * Bringing in.
 */

/* Take LOADING: 1; 0: it is resident; -ENOENT: nothing to bring in. */
static int
loading_take(struct tp_pmem_hybrid *hybrid, uint32_t id)
{
	_Atomic uint64_t *at = &hybrid->words[id];
	unsigned int tries = 0;
	uint64_t word;

	for (;;) {
		word = atomic_load_explicit(at, memory_order_acquire);
		if (word & HYBRID_RESIDENT)
			return 0;
		if (word & HYBRID_LOADING) {
			hybrid_relax(&tries);
			continue;
		}
		if (hybrid->level == TP_PMEM_HYBRID_NONE && (word & HYBRID_SPILLED) == 0)
			return -ENOENT;
		/* acquire: pairs with the release of who evicted it: the block has it */
		if (atomic_compare_exchange_weak_explicit(at, &word, word | HYBRID_LOADING,
				memory_order_acquire, memory_order_relaxed))
			return 1;
	}
}

/* LOADING is ours. 0, with a frame and what it holds; -errno. */
static int
object_bring(struct tp_pmem_hybrid_thread *thread, uint32_t id, uint32_t *frame_out,
	     uint32_t *bytes_out)
{
	struct tp_pmem_hybrid *hybrid = thread->hybrid;
	struct hybrid_entry entry;
	uint32_t frame;
	int ret = hybrid_entry_read(hybrid, id, &entry);

	if (ret < 0)
		return ret;
	if (hybrid->level == TP_PMEM_HYBRID_NONE)
		entry.bytes = rte_cpu_to_le_32(hybrid_word_bytes(
			atomic_load_explicit(&hybrid->words[id], memory_order_relaxed)));
	if (entry.bytes == 0)
		return -ENOENT;
	ret = hybrid_frame_take(thread, &frame);
	if (ret < 0)
		return ret;
	ret = hybrid_contents_read(hybrid, id, &entry, hybrid_frame_at(hybrid, frame));
	if (ret < 0) {
		hybrid_frame_give(thread, frame);
		return ret;
	}
	*frame_out = frame;
	*bytes_out = rte_le_to_cpu_32(entry.bytes);
	return 0;
}

int
hybrid_load(struct tp_pmem_hybrid_thread *thread, uint32_t id)
{
	struct tp_pmem_hybrid *hybrid = thread->hybrid;
	_Atomic uint64_t *at = &hybrid->words[id];
	uint32_t frame = 0, bytes = 0;
	uint64_t word, resident;
	int ret = loading_take(hybrid, id);

	if (ret <= 0)
		return ret;
	ret = object_bring(thread, id, &frame, &bytes);
	if (ret < 0) {
		atomic_fetch_and_explicit(at, ~HYBRID_LOADING, memory_order_release);
		return ret;
	}
	pmem_count(&thread->misses, 1);
	word = atomic_load_explicit(at, memory_order_relaxed);
	do {
		resident = (word & (HYBRID_WRITER | HYBRID_QUEUED | HYBRID_SPILLED)) |
			HYBRID_RESIDENT | HYBRID_BLOCK | frame |
			(uint64_t)bytes << HYBRID_BYTES_SHIFT;
		/* release: pairs with the acquire of a pin: the contents come first */
	} while (!atomic_compare_exchange_weak_explicit(at, &word, resident, memory_order_release,
		memory_order_relaxed));
	hybrid_cache_insert(hybrid, id, word);
	return 0;
}

/*
 * Pins.
 */

static inline void
hazard_set(const struct tp_pmem_hybrid *hybrid, _Atomic uint32_t *hazard, uint32_t value)
{
	if (unlikely(hybrid->full_fences)) {
		atomic_store_explicit(hazard, value, memory_order_seq_cst);
		return;
	}
	atomic_store_explicit(hazard, value, memory_order_release);
	/* The rest of the fence is in barrier_all(): hybrid_cache.c. */
	rte_compiler_barrier();
}

/*
 * Note the frame, then look whether the object still has it: who takes it away from now
 * on sees the note.
 */
static inline bool
pin_try(struct tp_pmem_hybrid_thread *thread, _Atomic uint64_t *at, uint32_t slot, uint64_t *word_out)
{
	uint64_t word = atomic_load_explicit(at, memory_order_acquire);

	while (likely(word & HYBRID_RESIDENT)) {
		uint64_t before = word;

		hazard_set(thread->hybrid, &thread->hazards[slot], hybrid_word_frame(word) + 1);
		/* acquire: pairs with the release that published the frame */
		word = atomic_load_explicit(at, memory_order_acquire);
		if (likely(((word ^ before) & (HYBRID_RESIDENT | HYBRID_FRAME_MASK)) == 0)) {
			*word_out = word;
			return true;
		}
	}
	return false;
}

static inline void
pin_drop(struct tp_pmem_hybrid_thread *thread, uint32_t slot)
{
	/* release: pairs with the acquire in pins_mark(): what was read there is read */
	atomic_store_explicit(&thread->hazards[slot], 0, memory_order_release);
}

/* The way of a pin when the object is not there. */
static __attribute__((noinline)) int
pin_miss(struct tp_pmem_hybrid_thread *thread, uint32_t id, uint32_t slot, uint64_t *word_out)
{
	unsigned int tries = 0;

	for (;;) {
		int ret;

		pin_drop(thread, slot);
		ret = hybrid_load(thread, id);
		if (ret < 0 || pin_try(thread, &thread->hybrid->words[id], slot, word_out))
			return ret;
		/* Gone again before it could be pinned. */
		hybrid_relax(&tries);
	}
}

int
tp_pmem_hybrid_get(struct tp_pmem_hybrid_thread *thread, uint32_t id,
		   struct tp_pmem_hybrid_pin *pin)
{
	struct tp_pmem_hybrid *hybrid = thread->hybrid;
	uint64_t free = thread->pins_free;
	uint32_t slot;
	uint64_t word;

	if (unlikely(id >= hybrid->object_count))
		return -EINVAL;
	if (unlikely(free == 0))
		return -ENOBUFS;
	slot = (uint32_t)__builtin_ctzll(free);
	if (likely(pin_try(thread, &hybrid->words[id], slot, &word))) {
		pmem_count(&thread->hits, 1);
	} else {
		int ret = pin_miss(thread, id, slot, &word);

		if (ret < 0)
			return ret;
	}
	if (unlikely(hybrid_word_bytes(word) == 0)) {
		pin_drop(thread, slot);
		return -ENOENT;
	}
	hybrid_hit_note(&hybrid->words[id], word);
	thread->pins_free = free & (free - 1);
	*pin = (struct tp_pmem_hybrid_pin){
		.data = hybrid_frame_at(hybrid, hybrid_word_frame(word)),
		.bytes = hybrid_word_bytes(word),
		.slot = slot,
	};
	return 0;
}

void
tp_pmem_hybrid_put(struct tp_pmem_hybrid_thread *thread, const struct tp_pmem_hybrid_pin *pin)
{
	pin_drop(thread, pin->slot);
	thread->pins_free |= UINT64_C(1) << pin->slot;
}
