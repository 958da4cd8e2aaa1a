/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What a B+tree should hold: a sorted array.
 */
#ifndef BTREE_MODEL_H
#define BTREE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tp_pmem_btree.h"

struct btree_model_pair {
	uint8_t *key;
	uint8_t *value;
	uint32_t key_bytes;
	uint32_t value_bytes;
};

struct btree_model {
	struct btree_model_pair *pairs;
	size_t count;
	size_t capacity;
};

void btree_model_fini(struct btree_model *model);

/** Make one a copy of the other. */
void btree_model_copy(struct btree_model *to, const struct btree_model *from);

/** First pair whose key is not below; *equal: it is the same. */
size_t btree_model_find(const struct btree_model *model, const void *key, uint32_t key_bytes,
			bool *equal);
void btree_model_put(struct btree_model *model, const void *key, uint32_t key_bytes,
		     const void *value, uint32_t value_bytes);
bool btree_model_delete(struct btree_model *model, const void *key, uint32_t key_bytes);

/** Fail the test unless the tree is sound and holds just this, by all ways of reading. */
void btree_model_compare(const struct btree_model *model, struct tp_pmem_btree *tree);

/** Next of a sequence that *state, not 0, begins. */
uint64_t btree_model_random(uint64_t *state);

#endif /* BTREE_MODEL_H */
