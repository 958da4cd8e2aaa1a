/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Hybrid objects: transactions. An edit owns its object by the word's WRITER bit, and
 * changes a frame that nobody else knows; a commit puts the frame in the place of the
 * one before.
 */
#include <string.h>

#include <rte_branch_prediction.h>

#include "hybrid_priv.h"

static struct hybrid_write *
edit_find(struct tp_pmem_hybrid_thread *thread, uint32_t id)
{
	for (uint32_t i = 0; i < thread->edit_count; i++)
		if (thread->edits[i].id == id)
			return &thread->edits[i];
	return NULL;
}

/* Own the object. Waits only with nothing in hand that another could wait for. */
static int
writer_take(struct tp_pmem_hybrid_thread *thread, uint32_t id)
{
	_Atomic uint64_t *at = &thread->hybrid->words[id];
	uint64_t word = atomic_load_explicit(at, memory_order_relaxed);
	unsigned int tries = 0;

	for (;;) {
		if (unlikely(word & HYBRID_WRITER)) {
			if (thread->edit_count > 0)
				return -EAGAIN;
			hybrid_relax(&tries);
			word = atomic_load_explicit(at, memory_order_relaxed);
			continue;
		}
		/* acquire: pairs with the release of the commit before */
		if (atomic_compare_exchange_weak_explicit(at, &word, word | HYBRID_WRITER,
				memory_order_acquire, memory_order_relaxed))
			return 0;
	}
}

static void
writer_release(struct tp_pmem_hybrid *hybrid, uint32_t id)
{
	atomic_fetch_and_explicit(&hybrid->words[id], ~HYBRID_WRITER, memory_order_release);
}

/* What is not there is not brought in while its entry or block may be half written. */
static void
absent_close(struct tp_pmem_hybrid *hybrid, uint32_t id)
{
	_Atomic uint64_t *at = &hybrid->words[id];
	unsigned int tries = 0;

	for (;;) {
		uint64_t word = atomic_load_explicit(at, memory_order_acquire);

		if (word & HYBRID_RESIDENT)
			return;
		if (word & HYBRID_LOADING)
			hybrid_relax(&tries);
		else if (atomic_compare_exchange_weak_explicit(at, &word, word | HYBRID_LOADING,
				memory_order_acquire, memory_order_relaxed))
			return;
	}
}

/* It is not published, or not yet. */
static void
absent_open(struct tp_pmem_hybrid *hybrid, uint32_t id)
{
	if ((atomic_load_explicit(&hybrid->words[id], memory_order_relaxed) & HYBRID_RESIDENT) == 0)
		atomic_fetch_and_explicit(&hybrid->words[id], ~HYBRID_LOADING,
			memory_order_release);
}

/*
 * Contents to begin with: 0; -ENOENT, with zeros: there are none. Owned, a resident object
 * stays where it is.
 */
static int
contents_copy(struct tp_pmem_hybrid_thread *thread, uint32_t id, uint32_t bytes, uint8_t *to)
{
	struct tp_pmem_hybrid *hybrid = thread->hybrid;
	uint64_t word = atomic_load_explicit(&hybrid->words[id], memory_order_acquire);
	uint32_t old;

	if (word & HYBRID_RESIDENT) {
		pmem_count(&thread->hits, 1);
	} else {
		int ret = hybrid_load(thread, id);

		if (ret < 0) {
			memset(to, 0, bytes);
			return ret;
		}
		word = atomic_load_explicit(&hybrid->words[id], memory_order_acquire);
	}
	hybrid_hit_note(&hybrid->words[id], word);
	old = RTE_MIN(hybrid_word_bytes(word), bytes);
	memcpy(to, hybrid_frame_at(hybrid, hybrid_word_frame(word)), old);
	memset(to + old, 0, bytes - old);
	return hybrid_word_bytes(word) == 0 ? -ENOENT : 0;
}

/* What is resident has one. */
static int
block_ensure(struct tp_pmem_hybrid *hybrid, uint32_t id)
{
	int ret;

	absent_close(hybrid, id);
	ret = hybrid_block_ensure(hybrid, id);
	if (ret == 0)
		atomic_fetch_or_explicit(&hybrid->words[id], HYBRID_BLOCK, memory_order_relaxed);
	absent_open(hybrid, id);
	return ret;
}

/* Of an object that is owned. 0: there is one; -ENOENT: there was none. */
static int
edit_start(struct tp_pmem_hybrid_thread *thread, uint32_t id, uint32_t bytes, uint32_t flags,
	   uint32_t *frame_out)
{
	struct tp_pmem_hybrid *hybrid = thread->hybrid;
	uint8_t *data;
	int ret = 0;

	if ((atomic_load_explicit(&hybrid->words[id], memory_order_relaxed) & HYBRID_BLOCK) == 0)
		ret = block_ensure(hybrid, id);
	if (ret < 0)
		return ret;
	ret = hybrid_frame_take(thread, frame_out);
	if (ret < 0)
		return ret;
	data = hybrid_frame_at(hybrid, *frame_out);
	if (flags & TP_PMEM_HYBRID_WHOLE)
		memset(data, 0, bytes);
	else
		ret = contents_copy(thread, id, bytes, data);
	if (ret < 0 && ret != -ENOENT)
		hybrid_frame_give(thread, *frame_out);
	return ret;
}

/* A new edit: 0; -ENOENT: there was no object, which is one now; -errno. */
static int
edit_add(struct tp_pmem_hybrid_thread *thread, uint32_t id, uint32_t bytes, uint32_t flags)
{
	struct hybrid_write *edit = &thread->edits[thread->edit_count];
	uint32_t frame = 0;
	int ret;

	if (thread->edit_count == TP_PMEM_HYBRID_EDITS)
		return -EOVERFLOW;
	ret = writer_take(thread, id);
	if (ret < 0)
		return ret;
	ret = edit_start(thread, id, bytes, flags, &frame);
	if (ret < 0 && ret != -ENOENT) {
		writer_release(thread->hybrid, id);
		return ret;
	}
	*edit = (struct hybrid_write){ .id = id, .frame = frame, .bytes = bytes };
	thread->edit_count++;
	return ret;
}

static int
edit_check(const struct tp_pmem_hybrid *hybrid, uint32_t id, uint32_t bytes, uint32_t flags)
{
	if (id >= hybrid->object_count || bytes == 0 || bytes > hybrid->object_bytes ||
			flags > TP_PMEM_HYBRID_WHOLE)
		return -EINVAL;
	return hybrid->pool->read_only ? -EROFS : 0;
}

int
tp_pmem_hybrid_edit(struct tp_pmem_hybrid_thread *thread, uint32_t id, uint32_t bytes,
		    uint32_t flags, void **data_out)
{
	struct tp_pmem_hybrid *hybrid = thread->hybrid;
	struct hybrid_write *edit = edit_find(thread, id);
	int ret = edit_check(hybrid, id, bytes, flags);

	if (ret < 0)
		return ret;
	if (edit == NULL) {
		ret = edit_add(thread, id, bytes, flags);
		if (ret < 0 && ret != -ENOENT)
			return ret;
		edit = &thread->edits[thread->edit_count - 1];
	} else if (bytes > edit->bytes) {
		memset(hybrid_frame_at(hybrid, edit->frame) + edit->bytes, 0, bytes - edit->bytes);
	}
	edit->bytes = bytes;
	*data_out = hybrid_frame_at(hybrid, edit->frame);
	return 0;
}

/* The last edit goes. */
static void
edit_undo(struct tp_pmem_hybrid_thread *thread)
{
	const struct hybrid_write *edit = &thread->edits[--thread->edit_count];

	hybrid_frame_give(thread, edit->frame);
	writer_release(thread->hybrid, edit->id);
}

int
tp_pmem_hybrid_remove(struct tp_pmem_hybrid_thread *thread, uint32_t id)
{
	struct hybrid_write *edit = edit_find(thread, id);
	int ret = edit_check(thread->hybrid, id, 1, 0);

	if (ret < 0)
		return ret;
	if (edit == NULL) {
		ret = edit_add(thread, id, 1, 0);
		if (ret == -ENOENT)
			edit_undo(thread);
		if (ret < 0)
			return ret;
		edit = &thread->edits[thread->edit_count - 1];
	}
	if (edit->bytes == 0)
		return -ENOENT;
	edit->bytes = 0;
	return 0;
}

void
tp_pmem_hybrid_abort(struct tp_pmem_hybrid_thread *thread)
{
	while (thread->edit_count > 0)
		edit_undo(thread);
}

/*
 * Commit.
 */

/*
 * The frame becomes the newest version, and the object is nobody's again. Who finds it QUEUED
 * may rely on it: the dirty lock is held from there until it is in the queue, so that
 * a flush after the next commit of the object finds it.
 */
static uint64_t
word_publish(struct tp_pmem_hybrid *hybrid, const struct hybrid_write *edit)
{
	_Atomic uint64_t *at = &hybrid->words[edit->id];
	uint64_t word = atomic_load_explicit(at, memory_order_relaxed);
	uint64_t fresh = HYBRID_RESIDENT | edit->frame |
		(uint64_t)edit->bytes << HYBRID_BYTES_SHIFT;
	bool locks = !hybrid->is_through && !hybrid->is_group;
	bool locked = false;
	uint64_t next;

	if (!hybrid->is_through)
		fresh |= HYBRID_DIRTY | HYBRID_QUEUED;
	else if (hybrid->level == TP_PMEM_HYBRID_NONE)
		fresh |= HYBRID_SPILLED;
	do {
		if (locks && !locked && (word & HYBRID_QUEUED) == 0) {
			pmem_lock_take(&hybrid->dirty_lock);
			locked = true;
		}
		next = fresh | (word & (HYBRID_QUEUED | HYBRID_BLOCK));
		if (word & HYBRID_RESIDENT)
			next |= word & HYBRID_FREQ_MASK;
		/* acq_rel: release: pairs with the acquire of pins; acquire: the version before */
	} while (!atomic_compare_exchange_weak_explicit(at, &word, next, memory_order_acq_rel,
		memory_order_relaxed));
	if (!hybrid->is_through && (word & HYBRID_QUEUED) == 0)
		hybrid_queue_push(&hybrid->dirty, edit->id);
	if (locked)
		pmem_lock_release(&hybrid->dirty_lock);
	return word;
}

static void
edit_publish(struct tp_pmem_hybrid_thread *thread, const struct hybrid_write *edit)
{
	struct tp_pmem_hybrid *hybrid = thread->hybrid;
	uint64_t before = word_publish(hybrid, edit);

	if (before & HYBRID_DIRTY)	/* counted when it became so */
		atomic_fetch_sub_explicit(&hybrid->dirty_count, 1, memory_order_relaxed);
	if (before & HYBRID_RESIDENT)
		hybrid_frame_retire(thread, hybrid_word_frame(before));
	else
		hybrid_cache_insert(hybrid, edit->id, before);
}

/* Write-back: will what is promised now be kept? 0; -errno of what was not. */
static int
promise_check(const struct tp_pmem_hybrid *hybrid)
{
	if (hybrid->level != TP_PMEM_HYBRID_NONE &&
			atomic_load_explicit(&hybrid->pool->failed, memory_order_relaxed))
		return -EIO;
	return atomic_load_explicit(&hybrid->lag_error, memory_order_relaxed);
}

/* 0: the edits may be seen. */
static int
edits_settle(struct tp_pmem_hybrid_thread *thread)
{
	struct tp_pmem_hybrid *hybrid = thread->hybrid;
	int ret = 0;

	if (!hybrid->is_through)
		ret = promise_check(hybrid);
	if (ret == 0 && !hybrid->is_through)
		ret = hybrid_dirty_reserve(hybrid, thread->edit_count);
	if (ret < 0)
		return ret;
	for (uint32_t i = 0; i < thread->edit_count; i++)
		absent_close(hybrid, thread->edits[i].id);
	if (hybrid->is_through)
		ret = hybrid_store(hybrid, thread->edits, thread->edit_count);
	if (ret == 0 && hybrid->is_through)
		pmem_count(&thread->write_backs, thread->edit_count);
	for (uint32_t i = 0; i < thread->edit_count && ret < 0; i++)
		absent_open(hybrid, thread->edits[i].id);
	return ret;
}

int
tp_pmem_hybrid_commit(struct tp_pmem_hybrid_thread *thread)
{
	struct tp_pmem_hybrid *hybrid = thread->hybrid;
	int ret;

	if (thread->edit_count == 0)
		return 0;
	ret = edits_settle(thread);
	if (unlikely(ret < 0)) {
		tp_pmem_hybrid_abort(thread);
		return ret;
	}
	/* A group is cut between transactions: hybrid_flush.c takes the lock for that. */
	if (hybrid->is_group)
		pmem_lock_take(&hybrid->dirty_lock);
	for (uint32_t i = 0; i < thread->edit_count; i++)
		edit_publish(thread, &thread->edits[i]);
	if (hybrid->is_group)
		pmem_lock_release(&hybrid->dirty_lock);
	thread->edit_count = 0;
	pmem_count(&thread->commits, 1);
	return 0;
}
