/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * See pmem_lru.h. The LRU is a ring through ids with one more member, its end.
 */
#include <errno.h>
#include <stdlib.h>

#include "bench.h"
#include "pmem_lru.h"

int
pmem_zipf_init(struct pmem_zipf *zipf, uint32_t count, uint64_t seed)
{
	double sum = 0;

	zipf->sums = malloc(count * sizeof(*zipf->sums));
	if (zipf->sums == NULL)
		return -ENOMEM;
	zipf->count = count;
	zipf->random = seed;
	for (uint32_t i = 0; i < count; i++) {
		sum += 1.0 / (i + 1);
		zipf->sums[i] = sum;
	}
	for (uint32_t i = 0; i < count; i++)
		zipf->sums[i] /= sum;
	return 0;
}

void
pmem_zipf_fini(struct pmem_zipf *zipf)
{
	free(zipf->sums);
}

uint32_t
pmem_zipf_next(struct pmem_zipf *zipf)
{
	double share = (double)(bench_random(&zipf->random) >> 11) / (double)(UINT64_C(1) << 53);
	uint32_t low = 0, high = zipf->count - 1;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (zipf->sums[middle] > share)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

double
pmem_zipf_share(const struct pmem_zipf *zipf, uint32_t count)
{
	return zipf->sums[count - 1];
}

int
pmem_lru_init(struct pmem_lru *lru, uint32_t count, uint32_t capacity)
{
	*lru = (struct pmem_lru){
		.newer = calloc(count + 1, sizeof(*lru->newer)),
		.older = calloc(count + 1, sizeof(*lru->older)),
		.resident = calloc(count + 1, sizeof(*lru->resident)),
		.count = count,
		.capacity = capacity,
	};
	if (lru->newer == NULL || lru->older == NULL || lru->resident == NULL)
		return -ENOMEM;
	lru->newer[count] = count;
	lru->older[count] = count;
	return 0;
}

void
pmem_lru_fini(struct pmem_lru *lru)
{
	free(lru->newer);
	free(lru->older);
	free(lru->resident);
}

static void
lru_unlink(struct pmem_lru *lru, uint32_t id)
{
	lru->older[lru->newer[id]] = lru->older[id];
	lru->newer[lru->older[id]] = lru->newer[id];
}

void
pmem_lru_access(struct pmem_lru *lru, uint32_t id)
{
	const uint32_t end = lru->count;

	if (lru->resident[id]) {
		lru->hits++;
		lru_unlink(lru, id);
	} else if (lru->used == lru->capacity) {
		uint32_t oldest = lru->newer[end];

		lru_unlink(lru, oldest);
		lru->resident[oldest] = false;
	} else {
		lru->used++;
	}
	/* The newest is the end's older one. */
	lru->resident[id] = true;
	lru->newer[id] = end;
	lru->older[id] = lru->older[end];
	lru->newer[lru->older[end]] = id;
	lru->older[end] = id;
}
