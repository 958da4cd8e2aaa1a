/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * See device_sync.h.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "device_sync.h"
#include "pmem_priv.h"

void
device_sync_init(struct device_sync *sync)
{
	memset(sync, 0, sizeof(*sync));
	pthread_mutex_init(&sync->mutex, NULL);
	pthread_cond_init(&sync->done_cond, NULL);
	sync->open = 1;
}

void
device_sync_fini(struct device_sync *sync)
{
	pthread_cond_destroy(&sync->done_cond);
	pthread_mutex_destroy(&sync->mutex);
}

void
device_sync_note(struct device_sync *sync, const void *begin, size_t bytes)
{
	uintptr_t from = (uintptr_t)begin & ~(uintptr_t)(PMEM_PAGE_BYTES - 1);
	uintptr_t to = RTE_ALIGN_CEIL((uintptr_t)begin + bytes, (uintptr_t)PMEM_PAGE_BYTES);

	pthread_mutex_lock(&sync->mutex);
	sync->begin = sync->begin == 0 ? from : RTE_MIN(sync->begin, from);
	sync->end = RTE_MAX(sync->end, to);
	atomic_store_explicit(&sync->notes, atomic_load_explicit(&sync->notes,
		memory_order_relaxed) + 1, memory_order_relaxed);
	pthread_mutex_unlock(&sync->mutex);
}

unsigned int
device_sync_notes(struct device_sync *sync)
{
	return atomic_load_explicit(&sync->notes, memory_order_relaxed);
}

void
device_sync_fail(struct device_sync *sync)
{
	pthread_mutex_lock(&sync->mutex);
	sync->failed = true;
	pthread_cond_broadcast(&sync->done_cond);
	pthread_mutex_unlock(&sync->mutex);
}

/*
 * Mutex held; given up while the kernel writes. One call, however far apart the ranges are: it
 * waits for the disk's cache once, which takes longer than all else; clean pages in between
 * cost nothing.
 */
static void
round_run(struct device_sync *sync)
{
	uintptr_t begin = sync->begin, end = sync->end;
	uint64_t round = sync->open++;
	int ret;

	sync->begin = 0;
	sync->end = 0;
	atomic_store_explicit(&sync->notes, 0, memory_order_relaxed);
	sync->running = true;
	pthread_mutex_unlock(&sync->mutex);
	ret = msync((void *)begin, end - begin, MS_SYNC);
	pthread_mutex_lock(&sync->mutex);
	sync->running = false;
	/* The kernel tells of an error once, and forgets which pages it lost. */
	if (ret < 0)
		sync->failed = true;
	sync->done = round;
	pthread_cond_broadcast(&sync->done_cond);
}

int
device_sync_fence(struct device_sync *sync)
{
	uint64_t round;
	int ret;

	pthread_mutex_lock(&sync->mutex);
	/* What was noted before this call is in the open round, or in one that runs. */
	round = sync->end > 0 ? sync->open : sync->open - 1;
	while (sync->done < round && !sync->failed) {
		if (sync->running)
			pthread_cond_wait(&sync->done_cond, &sync->mutex);
		else
			round_run(sync);
	}
	ret = sync->failed ? -EIO : 0;
	pthread_mutex_unlock(&sync->mutex);
	return ret;
}
