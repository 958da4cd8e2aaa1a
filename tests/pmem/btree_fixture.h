/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What tests of the B+tree begin with: a pool with an empty tree, and its model.
 */
#ifndef BTREE_FIXTURE_H
#define BTREE_FIXTURE_H

#include "btree_model.h"
#include "pool_file.h"

struct btree_fixture {
	char path[POOL_FILE_CHARS];
	char crash[POOL_FILE_CHARS];
	struct tp_pmem_pool *pool;
	struct tp_pmem_btree *tree;	/* root "tree" of the pool */
	uint64_t offset;
	struct btree_model model;
	uint64_t random;
};

extern struct btree_fixture fixture;

/** Empty; its pool is in cache lines. The lanes are so large that no delete logs into the heap. */
void fixture_init(uint64_t pool_bytes);
void fixture_fini(void);

/** Begin anew with a pool of another size. */
void fixture_resize(uint64_t pool_bytes);

struct tp_pmem_tx *fixture_begin(void);

uint32_t fixture_random_below(uint32_t end);

/** Blocks in use. */
uint64_t fixture_blocks(struct tp_pmem_pool *pool);

/** What recovery makes of a crash now is what the model says, and no block leaks. */
void fixture_crash_compare(void);

#endif /* BTREE_FIXTURE_H */
