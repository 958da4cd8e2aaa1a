/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Memory for page sets, and the order in which they are walked.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"

void *
bench_memory(const struct bench *bench, size_t bytes)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS;
	void *memory = MAP_FAILED;

	if (bench->hugepages > 0)
		memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags | MAP_HUGETLB, -1, 0);
	if (memory == MAP_FAILED) {
		memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
		if (memory == MAP_FAILED)
			return NULL;
		madvise(memory, bytes, MADV_HUGEPAGE);
	}
	/* Not zero: all-zero pages may be one page to the kernel. */
	memset(memory, 0x5a, bytes);
	return memory;
}

uint64_t
bench_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(0x2545f4914f6cdd1d);
}

uint32_t *
bench_order(uint32_t count)
{
	uint64_t state = UINT64_C(0x9e3779b97f4a7c15);
	uint32_t *order = malloc(count * sizeof(*order));
	uint32_t other, swap;

	if (order == NULL)
		return NULL;
	for (uint32_t i = 0; i < count; i++)
		order[i] = i;
	for (uint32_t i = count; i > 1; i--) {
		other = (uint32_t)((bench_random(&state) >> 32) % i);
		swap = order[i - 1];
		order[i - 1] = order[other];
		order[other] = swap;
	}
	return order;
}
