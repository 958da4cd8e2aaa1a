/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What a cache is measured with: accesses by Zipf's law, and an exact LRU to compare with.
 */
#ifndef BENCH_PMEM_LRU_H
#define BENCH_PMEM_LRU_H

#include <stdbool.h>
#include <stdint.h>

/* Ranks 0 .. count - 1, of which rank r comes with a probability that goes with 1 / (r + 1). */
struct pmem_zipf {
	double *sums;		/* of probabilities up to a rank */
	uint32_t count;
	uint64_t random;
};

/** 0, -ENOMEM. */
int pmem_zipf_init(struct pmem_zipf *zipf, uint32_t count, uint64_t seed);
void pmem_zipf_fini(struct pmem_zipf *zipf);
uint32_t pmem_zipf_next(struct pmem_zipf *zipf);

/**
 * Share of accesses to the so many most frequent: the hit ratio of who knows them, which no
 * cache exceeds when accesses are independent.
 */
double pmem_zipf_share(const struct pmem_zipf *zipf, uint32_t count);

struct pmem_lru {
	uint32_t *newer;	/* by id; the end is count */
	uint32_t *older;
	bool *resident;
	uint32_t count;
	uint32_t capacity;
	uint32_t used;
	uint64_t hits;
};

/** 0, -ENOMEM. */
int pmem_lru_init(struct pmem_lru *lru, uint32_t count, uint32_t capacity);
void pmem_lru_fini(struct pmem_lru *lru);
void pmem_lru_access(struct pmem_lru *lru, uint32_t id);

#endif /* BENCH_PMEM_LRU_H */
