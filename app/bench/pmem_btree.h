/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The B+tree of persistent memory against LMDB and one on libpmemobj: what all sides offer
 * to the same loops. pmem_btree.c has ours, pmem_lmdb.c and pmem_objtree.c theirs, where
 * it was there at build time.
 */
#ifndef BENCH_PMEM_BTREE_H
#define BENCH_PMEM_BTREE_H

#include <stddef.h>
#include <stdint.h>

#define BENCH_BTREE_KEY_BYTES 16u
#define BENCH_BTREE_VALUE_BYTES 64u

/* A tree in a file. All return 0 or -errno. */
struct bench_btree_side {
	const char *name;
	int (*open)(const char *path, uint64_t key_count, void **store);
	void (*close)(void *store);
	/* Pairs in one transaction, durable on return. */
	int (*insert)(void *store, const uint8_t (*keys)[BENCH_BTREE_KEY_BYTES], unsigned int count,
		      const void *value);
	int (*delete)(void *store, const void *key);
	/* Each as committed when it is called, or later. */
	int (*get)(void *store, const uint8_t (*keys)[BENCH_BTREE_KEY_BYTES], unsigned int count,
		   void *value);
	/* Walk on from where the last call ended, from the end to the begin; adds what it sees. */
	int (*scan)(void *store, unsigned int count, uint64_t *sum);
};

extern const struct bench_btree_side bench_btree_telepage;
/* Its open is NULL where LMDB was not there. */
extern const struct bench_btree_side bench_btree_lmdb;
/* The same, without libpmemobj. */
extern const struct bench_btree_side bench_btree_libpmemobj;

#endif /* BENCH_PMEM_BTREE_H */
