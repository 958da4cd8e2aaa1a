/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Persistent memory against libpmemobj: what both sides offer to the same loops.
 * pmem.c has ours, pmem_peer.c theirs, where it was there at build time.
 */
#ifndef BENCH_PMEM_H
#define BENCH_PMEM_H

#include <stddef.h>
#include <stdint.h>

#define BENCH_PMEM_POOL_BYTES (UINT64_C(512) << 20)
#define BENCH_PMEM_SET_BYTES (UINT64_C(64) << 20)	/* that updates go over */
#define BENCH_PMEM_SLOTS 4096u				/* places of blocks, of each thread */

/* One store of persistent memory, on a file in memory. All return 0 or -errno. */
struct bench_pmem_side {
	const char *name;
	int (*open)(const char *path, void **store);
	void (*close)(void *store);
	/* A transaction that changes a piece of the set. */
	int (*update)(void *store, uint64_t offset, size_t bytes, int value);
	/* Allocate a block and store where it is, both or none; and back. */
	int (*alloc)(void *store, unsigned int thread, unsigned int slot, size_t bytes);
	int (*free)(void *store, unsigned int thread, unsigned int slot);
};

/**
 * Let both sides take files in memory for DAX: begins the program anew where it was not
 * told so. 0, -errno.
 */
int bench_pmem_environment(void);

extern const struct bench_pmem_side bench_pmem_telepage;
/* Its open is NULL where libpmemobj was not there. */
extern const struct bench_pmem_side bench_pmem_libpmemobj;

#endif /* BENCH_PMEM_H */
