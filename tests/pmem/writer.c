/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * See writer.h.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tp_pmem_alloc.h"
#include "tp_pmem_tx.h"
#include "writer.h"

#define BLOCK_BYTES_MAX 300000u
#define VALUE_BYTES_MAX 700u	/* over 512 they have blocks of their own */
#define TEXT_CHARS 160

/* What a transaction does. */
struct step {
	unsigned int slot;
	uint64_t bytes;		/* of the new block; 0: none */
	uint64_t pattern;
	uint64_t area_at;
	uint64_t area_bytes;
	uint32_t key;
	bool delete;
};

static uint64_t
mix(uint64_t x)
{
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static struct step
step_of(unsigned int writer, uint64_t number)
{
	uint64_t r = mix(number * WRITERS + writer + 1);
	struct step step = { .slot = r % WRITER_SLOTS, .pattern = mix(r) };

	step.area_at = step.pattern % WRITER_AREA_BYTES;
	step.area_bytes = 1 + (step.pattern >> 20) % (WRITER_AREA_BYTES - step.area_at);
	if ((r >> 8) % 4 != 0)
		step.bytes = 1 + (r >> 16) % ((r >> 10) % 16 == 0 ? BLOCK_BYTES_MAX : 3000);
	step.key = (r >> 40) % WRITER_KEYS;
	step.delete = (r >> 52) % 3 == 0;
	return step;
}

static void
pattern_fill(uint8_t *at, uint64_t bytes, uint64_t pattern)
{
	for (uint64_t i = 0; i < bytes; i++)
		at[i] = (uint8_t)(pattern >> i % 8 * 8);
}

static uint32_t
key_make(char text[16], uint32_t key)
{
	return (uint32_t)snprintf(text, 16, "key %u", key);
}

static uint32_t
value_make(uint8_t value[VALUE_BYTES_MAX], uint64_t number)
{
	uint32_t bytes = (uint32_t)(number * 37 % VALUE_BYTES_MAX);

	pattern_fill(value, bytes, mix(number));
	return bytes;
}

int
writer_prepare(struct tp_pmem_pool *pool)
{
	struct writer_half *halves;
	struct tp_pmem_tx *tx;
	uint64_t offset;
	int ret = tp_pmem_tx_begin(pool, &tx);

	if (ret < 0)
		return ret;
	ret = tp_pmem_tx_alloc(tx, WRITERS * sizeof(*halves), TP_PMEM_ALLOC_ZERO, &offset);
	if (ret == 0)
		ret = tp_pmem_tx_root_set(tx, "halves", offset);
	halves = ret == 0 ? tp_pmem_ptr(pool, offset) : NULL;
	for (unsigned int i = 0; i < WRITERS && ret == 0; i++)
		ret = tp_pmem_btree_create(tx, &halves[i].tree);
	if (ret == 0)
		return tp_pmem_tx_commit(tx, 0);
	tp_pmem_tx_abort(tx);
	return ret;
}

int
writer_open(struct writer *writer, struct tp_pmem_pool *pool, unsigned int index)
{
	struct writer_half *halves = tp_pmem_ptr(pool, tp_pmem_root_get(pool, "halves"));

	if (halves == NULL)
		return -ENOENT;
	*writer = (struct writer){ .pool = pool, .half = &halves[index], .index = index };
	return tp_pmem_btree_open(pool, halves[index].tree, &writer->tree);
}

void
writer_close(struct writer *writer)
{
	tp_pmem_btree_close(writer->tree);
	writer->tree = NULL;
}

static int
tree_step(struct writer *writer, struct tp_pmem_tx *tx, const struct step *step, uint64_t number)
{
	uint8_t value[VALUE_BYTES_MAX];
	char key[16];
	uint32_t key_bytes = key_make(key, step->key);
	int ret;

	if (!step->delete)
		return tp_pmem_btree_put(writer->tree, tx, key, key_bytes, value,
			value_make(value, number), TP_PMEM_BTREE_UPSERT);
	ret = tp_pmem_btree_delete(writer->tree, tx, key, key_bytes);
	return ret == -ENOENT ? 0 : ret;
}

int
writer_step(struct writer *writer)
{
	uint64_t number = writer->half->number + 1;
	struct step step = step_of(writer->index, number);
	struct writer_half *half = writer->half;
	struct writer_slot *slot = &half->slots[step.slot];
	struct writer_slot new = { 0, step.bytes, step.pattern };
	struct tp_pmem_tx *tx;
	int ret = tp_pmem_tx_begin(writer->pool, &tx);

	if (ret < 0)
		return ret;
	if (slot->block != 0)
		ret = tp_pmem_tx_free(tx, slot->block);
	if (ret == 0 && step.bytes != 0)
		ret = tp_pmem_tx_alloc(tx, step.bytes, 0, &new.block);
	if (ret == 0)
		ret = tp_pmem_tx_write(tx, slot, &new, sizeof(new));
	if (ret == 0)
		ret = tp_pmem_tx_write(tx, &half->number, &number, sizeof(number));
	if (ret == 0)
		ret = tp_pmem_tx_add_range(tx, half->area + step.area_at, step.area_bytes);
	if (ret == 0)
		ret = tree_step(writer, tx, &step, number);
	if (ret < 0) {
		tp_pmem_tx_abort(tx);
		return ret;
	}
	if (new.block != 0)
		pattern_fill(tp_pmem_ptr(writer->pool, new.block), step.bytes, step.pattern);
	memset(half->area + step.area_at, (int)number, step.area_bytes);
	return tp_pmem_tx_commit(tx, 0);
}

static void
model_step(struct writer_model *model, unsigned int writer)
{
	struct step step = step_of(writer, ++model->half.number);

	model->half.slots[step.slot] = (struct writer_slot){ step.bytes != 0, step.bytes,
		step.pattern };
	memset(model->half.area + step.area_at, (int)model->half.number, step.area_bytes);
	model->keys[step.key] = step.delete ? 0 : model->half.number;
}

void
writer_model_follow(struct writer_model *model, const struct writer *writer)
{
	while (model->half.number < writer->half->number) {
		if (model->half.number == writer->half->tree_since)
			memset(model->keys, 0, sizeof(model->keys));
		model_step(model, writer->index);
	}
	if (model->half.number == writer->half->tree_since)
		memset(model->keys, 0, sizeof(model->keys));
}

static const char *wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));

static const char *
wrong(const char *format, ...)
{
	static char text[TEXT_CHARS];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return text;
}

/* Adds to blocks those of the slots. */
static const char *
slots_check(const struct writer *writer, const struct writer_model *model, uint64_t *blocks)
{
	static uint8_t want[BLOCK_BYTES_MAX + 1];
	const struct writer_half *half = writer->half;

	if (memcmp(half->area, model->half.area, WRITER_AREA_BYTES) != 0)
		return wrong("writer %u: its area is wrong", writer->index);
	for (unsigned int i = 0; i < WRITER_SLOTS; i++) {
		const struct writer_slot *slot = &half->slots[i], *right = &model->half.slots[i];

		if ((slot->block != 0) != (right->block != 0) || slot->bytes != right->bytes)
			return wrong("writer %u: slot %u is wrong", writer->index, i);
		if (slot->block == 0)
			continue;
		if (tp_pmem_block_bytes(writer->pool, slot->block) < slot->bytes)
			return wrong("writer %u: no block of slot %u", writer->index, i);
		pattern_fill(want, slot->bytes, right->pattern);
		if (memcmp(tp_pmem_ptr(writer->pool, slot->block), want, slot->bytes) != 0)
			return wrong("writer %u: block of slot %u is wrong", writer->index, i);
		(*blocks)++;
	}
	return NULL;
}

static const char *
tree_check(const struct writer *writer, const struct writer_model *model)
{
	uint8_t value[VALUE_BYTES_MAX], want[VALUE_BYTES_MAX];
	uint64_t count = 0;
	char key[16];

	if (tp_pmem_btree_check(writer->tree, NULL, NULL) != 0)
		return wrong("writer %u: its tree is damaged", writer->index);
	for (uint32_t i = 0; i < WRITER_KEYS; i++) {
		uint32_t key_bytes = key_make(key, i);
		int64_t got = tp_pmem_btree_get(writer->tree, NULL, key, key_bytes, value,
			sizeof(value));

		if (model->keys[i] == 0 ? got != -ENOENT :
				got != (int64_t)value_make(want, model->keys[i]) ||
				memcmp(value, want, (size_t)got) != 0)
			return wrong("writer %u: key %u is wrong", writer->index, i);
		count += got >= 0;
	}
	return count == tp_pmem_btree_count(writer->tree) ? NULL :
		wrong("writer %u: keys are not counted right", writer->index);
}

/* A new tree in place of the old one, with nothing that was in that one left. */
static int
tree_empty(struct writer *writer)
{
	struct writer_half *half = writer->half;
	struct tp_pmem_tx *tx;
	int ret = tp_pmem_tx_begin(writer->pool, &tx);

	if (ret < 0)
		return ret;
	ret = tp_pmem_btree_destroy(tx, half->tree);
	if (ret == 0)
		ret = tp_pmem_tx_add_range(tx, &half->tree, 2 * sizeof(uint64_t));
	if (ret == 0)
		ret = tp_pmem_btree_create(tx, &half->tree);
	half->tree_since = half->number;
	if (ret == 0)
		return tp_pmem_tx_commit(tx, 0);
	tp_pmem_tx_abort(tx);
	return ret;
}

const char *
writer_check(struct tp_pmem_pool *pool, struct writer_model models[WRITERS])
{
	uint64_t blocks = 1 + WRITERS;	/* the halves, the heads of empty trees */
	struct tp_pmem_heap_info info;
	const char *text = NULL;
	struct writer writer;
	int ret;

	for (unsigned int i = 0; i < WRITERS && text == NULL; i++) {
		ret = writer_open(&writer, pool, i);
		if (ret < 0)
			return wrong("writer %u: cannot be opened: %s", i, strerror(-ret));
		writer_model_follow(&models[i], &writer);
		text = slots_check(&writer, &models[i], &blocks);
		if (text == NULL)
			text = tree_check(&writer, &models[i]);
		writer_close(&writer);
		ret = text == NULL ? tree_empty(&writer) : 0;
		if (ret < 0)
			return wrong("writer %u: cannot empty its tree: %s", i, strerror(-ret));
		writer_model_follow(&models[i], &writer);
	}
	tp_pmem_heap_info_get(pool, &info);
	if (text == NULL && info.allocated_count != blocks)
		text = wrong("%llu blocks are allocated, not %llu",
			(unsigned long long)info.allocated_count, (unsigned long long)blocks);
	return text;
}
