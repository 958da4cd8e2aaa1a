/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "btree_model.h"

static void *
bytes_copy(const void *from, uint32_t bytes)
{
	void *to = malloc(bytes > 0 ? bytes : 1);

	assert_non_null(to);
	memcpy(to, from, bytes);
	return to;
}

void
btree_model_fini(struct btree_model *model)
{
	for (size_t i = 0; i < model->count; i++) {
		free(model->pairs[i].key);
		free(model->pairs[i].value);
	}
	free(model->pairs);
	*model = (struct btree_model){ 0 };
}

void
btree_model_copy(struct btree_model *to, const struct btree_model *from)
{
	btree_model_fini(to);
	for (size_t i = 0; i < from->count; i++)
		btree_model_put(to, from->pairs[i].key, from->pairs[i].key_bytes,
			from->pairs[i].value, from->pairs[i].value_bytes);
}

static int
order(const struct btree_model_pair *pair, const void *key, uint32_t key_bytes)
{
	int ret = memcmp(pair->key, key, pair->key_bytes < key_bytes ? pair->key_bytes : key_bytes);

	return ret != 0 ? ret : (int)pair->key_bytes - (int)key_bytes;
}

size_t
btree_model_find(const struct btree_model *model, const void *key, uint32_t key_bytes, bool *equal)
{
	size_t low = 0, high = model->count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (order(&model->pairs[middle], key, key_bytes) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	*equal = low < model->count && order(&model->pairs[low], key, key_bytes) == 0;
	return low;
}

void
btree_model_put(struct btree_model *model, const void *key, uint32_t key_bytes, const void *value,
		uint32_t value_bytes)
{
	bool equal;
	size_t at = btree_model_find(model, key, key_bytes, &equal);

	if (equal) {
		free(model->pairs[at].value);
	} else {
		if (model->count == model->capacity) {
			model->capacity = model->capacity > 0 ? 2 * model->capacity : 64;
			model->pairs = realloc(model->pairs,
				model->capacity * sizeof(*model->pairs));
			assert_non_null(model->pairs);
		}
		memmove(model->pairs + at + 1, model->pairs + at,
			(model->count - at) * sizeof(*model->pairs));
		model->count++;
		model->pairs[at].key = bytes_copy(key, key_bytes);
		model->pairs[at].key_bytes = key_bytes;
	}
	model->pairs[at].value = bytes_copy(value, value_bytes);
	model->pairs[at].value_bytes = value_bytes;
}

bool
btree_model_delete(struct btree_model *model, const void *key, uint32_t key_bytes)
{
	bool equal;
	size_t at = btree_model_find(model, key, key_bytes, &equal);

	if (!equal)
		return false;
	free(model->pairs[at].key);
	free(model->pairs[at].value);
	model->count--;
	memmove(model->pairs + at, model->pairs + at + 1,
		(model->count - at) * sizeof(*model->pairs));
	return true;
}

static void
print_finding(void *context, enum tp_pmem_check_verdict verdict, uint64_t offset, const char *text)
{
	print_message("offset %lu: %s\n", offset, text);
}

static void
scan_compare(const struct btree_model *model, struct tp_pmem_btree *tree, bool back)
{
	struct tp_pmem_btree_cursor *cursor = NULL;
	const void *key = NULL, *value = NULL;
	uint32_t key_bytes = 0, value_bytes = 0;

	assert_int_equal(tp_pmem_btree_cursor_open(tree, &cursor), 0);
	for (size_t i = 0; i <= model->count; i++) {
		const struct btree_model_pair *pair;
		int ret = tp_pmem_btree_cursor_move(cursor,
			i == 0 ? (back ? TP_PMEM_BTREE_LAST : TP_PMEM_BTREE_FIRST) :
			back ? TP_PMEM_BTREE_PREVIOUS : TP_PMEM_BTREE_NEXT,
			NULL, 0, &key, &key_bytes, &value, &value_bytes);

		if (i == model->count) {
			assert_int_equal(ret, -ENOENT);
			break;
		}
		pair = &model->pairs[back ? model->count - 1 - i : i];
		assert_int_equal(ret, 0);
		assert_int_equal(key_bytes, pair->key_bytes);
		assert_memory_equal(key, pair->key, key_bytes);
		assert_int_equal(value_bytes, pair->value_bytes);
		assert_memory_equal(value, pair->value, value_bytes);
	}
	tp_pmem_btree_cursor_close(cursor);
}

void
btree_model_compare(const struct btree_model *model, struct tp_pmem_btree *tree)
{
	uint8_t *value = malloc(1 << 16);

	assert_non_null(value);
	assert_int_equal(tp_pmem_btree_check(tree, print_finding, NULL), 0);
	assert_int_equal(tp_pmem_btree_count(tree), model->count);
	scan_compare(model, tree, false);
	scan_compare(model, tree, true);
	for (size_t i = 0; i < model->count; i++) {
		const struct btree_model_pair *pair = &model->pairs[i];

		assert_int_equal(tp_pmem_btree_get(tree, NULL, pair->key, pair->key_bytes, value,
			1 << 16), pair->value_bytes);
		assert_memory_equal(value, pair->value, pair->value_bytes);
	}
	free(value);
}

/* xorshift64* */
uint64_t
btree_model_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(0x2545f4914f6cdd1d);
}
