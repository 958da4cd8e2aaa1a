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

/* Clean pages in between cost less than one more call. */
#define SYNC_GAP_BYTES ((uintptr_t)64 << 20)

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

/* Distance between a span and a range, 0 if they meet. */
static uintptr_t
span_gap(const struct device_sync_span *span, uintptr_t begin, uintptr_t end)
{
	return begin > span->end ? begin - span->end : end < span->begin ? span->begin - end : 0;
}

static void
span_add(struct device_sync *sync, uintptr_t begin, uintptr_t end)
{
	struct device_sync_span *nearest = NULL;

	for (unsigned int i = 0; i < sync->span_count; i++)
		if (nearest == NULL || span_gap(&sync->spans[i], begin, end) <
				span_gap(nearest, begin, end))
			nearest = &sync->spans[i];
	if (nearest == NULL || (span_gap(nearest, begin, end) > SYNC_GAP_BYTES &&
			sync->span_count < DEVICE_SYNC_SPANS)) {
		sync->spans[sync->span_count++] = (struct device_sync_span){ begin, end };
		return;
	}
	nearest->begin = RTE_MIN(nearest->begin, begin);
	nearest->end = RTE_MAX(nearest->end, end);
}

void
device_sync_note(struct device_sync *sync, const void *begin, size_t bytes)
{
	uintptr_t from = (uintptr_t)begin & ~(uintptr_t)(PMEM_PAGE_BYTES - 1);
	uintptr_t to = RTE_ALIGN_CEIL((uintptr_t)begin + bytes, (uintptr_t)PMEM_PAGE_BYTES);

	pthread_mutex_lock(&sync->mutex);
	span_add(sync, from, to);
	pthread_mutex_unlock(&sync->mutex);
}

/* Mutex held; given up while the kernel writes. */
static void
round_run(struct device_sync *sync)
{
	struct device_sync_span spans[DEVICE_SYNC_SPANS];
	unsigned int count = sync->span_count;
	uint64_t round = sync->open++;
	int ret = 0;

	memcpy(spans, sync->spans, sizeof(spans));
	sync->span_count = 0;
	sync->running = true;
	pthread_mutex_unlock(&sync->mutex);
	for (unsigned int i = 0; i < count && ret == 0; i++)
		ret = msync((void *)spans[i].begin, spans[i].end - spans[i].begin, MS_SYNC);
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
	round = sync->span_count > 0 ? sync->open : sync->open - 1;
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
