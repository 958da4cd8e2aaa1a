/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Writers of a pool that may be ended at any moment, and what must be there then. What each
 * transaction does follows from its number, which it also stores; so the number that is
 * found says what everything else must be.
 *
 * No cmocka: programs in virtual machines use it, too.
 */
#ifndef WRITER_H
#define WRITER_H

#include <stdbool.h>
#include <stdint.h>

#include "tp_pmem.h"
#include "tp_pmem_btree.h"

#define WRITERS 2u
#define WRITER_SLOTS 32u
#define WRITER_AREA_BYTES 4096u
#define WRITER_KEYS 512u

struct writer_slot {
	uint64_t block;		/* in a model: 1 */
	uint64_t bytes;
	uint64_t pattern;
};

/* What one writer changes. */
struct writer_half {
	uint64_t number;	/* of its last transaction */
	uint64_t tree;
	uint64_t tree_since;	/* transaction after which the tree was empty */
	struct writer_slot slots[WRITER_SLOTS];
	uint8_t area[WRITER_AREA_BYTES];
};

struct writer {
	struct tp_pmem_pool *pool;
	struct writer_half *half;
	struct tp_pmem_btree *tree;
	unsigned int index;
};

struct writer_model {
	struct writer_half half;	/* offsets do not count */
	uint64_t keys[WRITER_KEYS];	/* transaction that put it, 0: not there */
};

/** Make what the writers of a new pool change. 0, -errno. */
int writer_prepare(struct tp_pmem_pool *pool);

/** 0, -errno. */
int writer_open(struct writer *writer, struct tp_pmem_pool *pool, unsigned int index);
void writer_close(struct writer *writer);

/** The next transaction. 0, -errno. @threads One per writer. */
int writer_step(struct writer *writer);

/** Bring a model up to what a writer's half says: from where it is, or from the beginning. */
void writer_model_follow(struct writer_model *model, const struct writer *writer);

/**
 * Is everything as the models say, and no block leaked? Then the trees are emptied.
 * @return NULL: yes; else what is wrong.
 */
const char *writer_check(struct tp_pmem_pool *pool, struct writer_model models[WRITERS]);

#endif /* WRITER_H */
