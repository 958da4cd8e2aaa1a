/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Hybrid objects: write-back. Objects that became dirty wait in a queue, each once. A write-back
 * takes the version that each has then, and marks it clean unless a newer one came
 * meanwhile. Since published frames never change it needs no lock of the objects.
 *
 * At level TRANSACTION all that is dirty is one group: a state between two commits,
 * written by one transaction. So what is durable is always the state after some commit.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "hybrid_priv.h"

/* Its newest version, if that is dirty. Write lock held, so its frame stays. */
static bool
write_take(struct tp_pmem_hybrid *hybrid, uint32_t id, uint64_t word, struct hybrid_write *write)
{
	if ((word & HYBRID_DIRTY) == 0)
		return false;
	*write = (struct hybrid_write){
		.id = id,
		.frame = hybrid_word_frame(word),
		.bytes = hybrid_word_bytes(word),
	};
	return true;
}

/* It is clean, unless a newer version came meanwhile: that is dirty, and counted. */
static void
write_settle(struct tp_pmem_hybrid *hybrid, const struct hybrid_write *write, uint64_t take,
	     uint64_t give)
{
	_Atomic uint64_t *at = &hybrid->words[write->id];
	uint64_t word = atomic_load_explicit(at, memory_order_relaxed);

	do {
		if (hybrid_word_frame(word) != write->frame)
			return;
		/* release: pairs with the acquire of who brings it in again */
	} while (!atomic_compare_exchange_weak_explicit(at, &word,
		(word & ~(take | HYBRID_DIRTY)) | give, memory_order_release,
		memory_order_relaxed));
	atomic_fetch_sub_explicit(&hybrid->dirty_count, 1, memory_order_relaxed);
}

/*
 * One that cannot be written ever must not keep the others: its entry is damaged. It is given
 * up, which every flush says from then on, and the next edit of it; returns how many are left.
 */
static uint32_t
batch_sift(struct tp_pmem_hybrid *hybrid, uint32_t count)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < count; i++) {
		const struct hybrid_write *write = &hybrid->batch[i];
		struct hybrid_entry entry;

		if (hybrid_entry_read(hybrid, write->id, &entry) == 0) {
			hybrid->batch[kept++] = *write;
			continue;
		}
		hybrid->lost_count++;
		hybrid->lost_id = write->id;
		write_settle(hybrid, write, HYBRID_BLOCK, 0);
	}
	return kept;
}

/* count: of the batch; less when objects of it were given up. */
static int
batch_write(struct tp_pmem_hybrid *hybrid, uint32_t *count)
{
	uint64_t spilled = hybrid->level == TP_PMEM_HYBRID_NONE ? HYBRID_SPILLED : 0;
	int ret = hybrid_store(hybrid, hybrid->batch, *count);

	if (ret == -EBADMSG) {
		*count = batch_sift(hybrid, *count);
		ret = hybrid_store(hybrid, hybrid->batch, *count);
	}
	if (ret < 0)
		return ret;
	/* They are in the persistent tier. */
	for (uint32_t i = 0; i < *count; i++)
		write_settle(hybrid, &hybrid->batch[i], 0, spilled);
	pmem_count(&hybrid->write_backs, *count);
	return 0;
}

/*
 * Into the queue again, behind what came meanwhile: a later write-back may succeed. Write lock
 * held.
 */
static void
batch_requeue(struct tp_pmem_hybrid *hybrid, uint32_t count)
{
	hybrid->requeue_count++;
	pmem_lock_take(&hybrid->dirty_lock);
	for (uint32_t i = 0; i < count; i++) {
		uint32_t id = hybrid->batch[i].id;

		if ((atomic_fetch_or_explicit(&hybrid->words[id], HYBRID_QUEUED,
				memory_order_relaxed) & HYBRID_QUEUED) == 0)
			hybrid_queue_push(&hybrid->dirty, id);
	}
	pmem_lock_release(&hybrid->dirty_lock);
}

int
hybrid_flush_batch(struct tp_pmem_hybrid *hybrid)
{
	uint32_t taken = 0, count = 0;
	int ret;

	pmem_lock_take(&hybrid->dirty_lock);
	while (hybrid->dirty.count > 0 && count < hybrid->batch_max) {
		uint32_t id = hybrid_queue_pop(&hybrid->dirty);
		/*
		 * Out of the queue before its version is looked at, so that one that
		 * comes later is queued. acquire: pairs with its publication.
		 */
		uint64_t word = atomic_fetch_and_explicit(&hybrid->words[id], ~HYBRID_QUEUED,
			memory_order_acquire);

		count += write_take(hybrid, id, word, &hybrid->batch[count]);
		taken++;
	}
	pmem_lock_release(&hybrid->dirty_lock);
	ret = batch_write(hybrid, &count);
	if (ret < 0) {
		batch_requeue(hybrid, count);
		return ret;
	}
	return (int)taken;
}

int
hybrid_write_back(struct tp_pmem_hybrid *hybrid, const uint32_t *ids, uint32_t count)
{
	uint32_t writes = 0;
	int ret = 0;

	if (hybrid->is_group) {
		ret = hybrid_flush_batch(hybrid);
		return ret < 0 ? ret : 0;
	}
	for (uint32_t i = 0; i < count && ret == 0; i++) {
		/* acquire: pairs with its publication */
		uint64_t word = atomic_load_explicit(&hybrid->words[ids[i]], memory_order_acquire);

		writes += write_take(hybrid, ids[i], word, &hybrid->batch[writes]);
		if (writes == hybrid->batch_max) {
			ret = batch_write(hybrid, &writes);
			writes = 0;
		}
	}
	return ret < 0 ? ret : batch_write(hybrid, &writes);
}

static uint32_t
dirty_queued(struct tp_pmem_hybrid *hybrid)
{
	uint32_t count;

	pmem_lock_take(&hybrid->dirty_lock);
	count = hybrid->dirty.count;
	pmem_lock_release(&hybrid->dirty_lock);
	return count;
}

/* Write lock not held. As hybrid_flush_batch(). */
static int
flush_some(struct tp_pmem_hybrid *hybrid)
{
	int ret;

	pmem_lock_take(&hybrid->write_lock);
	ret = hybrid_flush_batch(hybrid);
	pmem_lock_release(&hybrid->write_lock);
	return ret;
}

int
hybrid_dirty_reserve(struct tp_pmem_hybrid *hybrid, uint32_t count)
{
	unsigned int dirty = atomic_load_explicit(&hybrid->dirty_count, memory_order_relaxed);
	unsigned int tries = 0;

	if (count > hybrid->dirty_max)
		return -E2BIG;
	for (;;) {
		int ret;

		if (dirty + count <= hybrid->dirty_max) {
			/* relaxed: counts, orders nothing */
			if (atomic_compare_exchange_weak_explicit(&hybrid->dirty_count, &dirty,
					dirty + count, memory_order_relaxed, memory_order_relaxed))
				return 0;
			continue;
		}
		ret = flush_some(hybrid);
		if (ret < 0)
			return ret;
		if (ret == 0)	/* the others are about to be queued */
			hybrid_relax(&tries);
		dirty = atomic_load_explicit(&hybrid->dirty_count, memory_order_relaxed);
	}
}

int
tp_pmem_hybrid_flush(struct tp_pmem_hybrid *hybrid)
{
	uint32_t left = UINT32_MAX;
	uint64_t requeues = 0;
	uint32_t lost, lost_id;
	int ret;

	if (hybrid->level == TP_PMEM_HYBRID_NONE || hybrid->pool->read_only)
		return 0;
	do {
		pmem_lock_take(&hybrid->write_lock);
		/*
		 * Under this lock, so that nobody else has some of them half written. What
		 * another one failed to write in between is behind those counted: all again.
		 */
		if (requeues != hybrid->requeue_count)
			left = UINT32_MAX;
		requeues = hybrid->requeue_count;
		left = RTE_MIN(left, dirty_queued(hybrid));
		ret = hybrid_flush_batch(hybrid);
		lost = hybrid->lost_count;
		lost_id = hybrid->lost_id;
		pmem_lock_release(&hybrid->write_lock);
		left -= RTE_MIN(left, (uint32_t)RTE_MAX(ret, 0));
	} while (ret > 0 && left > 0);
	if (ret >= 0 && lost > 0)
		return pmem_error(EBADMSG, "hybrid: entry of object %" PRIu32 " is damaged, and what "
			"was committed to it is lost (%" PRIu32 " in all)", lost_id, lost);
	return RTE_MIN(ret, 0);
}

/*
 * The limit in time.
 */

static void *
lag_main(void *context)
{
	struct tp_pmem_hybrid *hybrid = context;
	struct timespec next;
	int ret;

	pthread_mutex_lock(&hybrid->lag_lock);
	while (!hybrid->is_closing) {
		clock_gettime(CLOCK_MONOTONIC, &next);
		next.tv_sec += hybrid->lag_ms / 1000;
		next.tv_nsec += (long)(hybrid->lag_ms % 1000) * 1000000;
		if (next.tv_nsec >= 1000000000) {
			next.tv_nsec -= 1000000000;
			next.tv_sec++;
		}
		if (pthread_cond_timedwait(&hybrid->lag_wake, &hybrid->lag_lock, &next) == 0)
			continue;
		pthread_mutex_unlock(&hybrid->lag_lock);
		ret = tp_pmem_hybrid_flush(hybrid);
		/*
		 * What fails stays dirty, and whoever commits, flushes or closes hears of it.
		 * But an object that is lost must not keep the others. relaxed: orders nothing
		 */
		atomic_store_explicit(&hybrid->lag_error, ret == -EBADMSG ? 0 : ret,
			memory_order_relaxed);
		pthread_mutex_lock(&hybrid->lag_lock);
	}
	pthread_mutex_unlock(&hybrid->lag_lock);
	return NULL;
}

int
hybrid_lag_start(struct tp_pmem_hybrid *hybrid)
{
	pthread_condattr_t attr;
	int ret;

	if (hybrid->lag_ms == 0)
		return 0;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&hybrid->lag_lock, NULL);
	pthread_cond_init(&hybrid->lag_wake, &attr);
	pthread_condattr_destroy(&attr);
	ret = pthread_create(&hybrid->lag_thread, NULL, lag_main, hybrid);
	if (ret != 0)
		hybrid->lag_ms = 0;
	return -ret;
}

void
hybrid_lag_stop(struct tp_pmem_hybrid *hybrid)
{
	if (hybrid->lag_ms == 0)
		return;
	pthread_mutex_lock(&hybrid->lag_lock);
	hybrid->is_closing = true;
	pthread_cond_signal(&hybrid->lag_wake);
	pthread_mutex_unlock(&hybrid->lag_lock);
	pthread_join(hybrid->lag_thread, NULL);
	pthread_cond_destroy(&hybrid->lag_wake);
	pthread_mutex_destroy(&hybrid->lag_lock);
}
