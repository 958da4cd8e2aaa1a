/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Every cut of a block volume: whatever a crash leaves, each block is as it was at some
 * moment since the last flush that covered it, as a whole. Contents of a block are its
 * number and a version in each word, but for pieces of 512 bytes with versions of their
 * own; so the model keeps all contents that a block has had since its last flush.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cut.h"
#include "tp_pmem_alloc.h"
#include "tp_pmem_volume.h"

#define POOL_BYTES (UINT64_C(6) << 20)
#define BLOCKS 16u
#define VOLUME_BYTES (BLOCKS * BLOCK)
#define BLOCK TP_PMEM_VOLUME_BLOCK_BYTES
#define VERSIONS 64u
#define STEPS 160u		/* fill blocks with their number: less than the probe */
#define PROBE_BLOCK 3u
#define PROBE_FILL 0xee

struct model {
	uint8_t contents[BLOCKS][VERSIONS][BLOCK];
	unsigned int count[BLOCKS];	/* versions that a crash may leave; the last is now */
	bool created;
	uint64_t random;
};

static uint64_t
random_next(struct model *model)
{
	model->random ^= model->random << 13;
	model->random ^= model->random >> 7;
	model->random ^= model->random << 17;
	return model->random;
}

static uint8_t *
model_now(struct model *model, unsigned int block)
{
	return model->contents[block][model->count[block] - 1];
}

/* A copy of what the block is now, to be changed. */
static uint8_t *
model_next(struct model *model, unsigned int block)
{
	unsigned int last = model->count[block] - 1;

	assert_true(last + 1 < VERSIONS);
	memcpy(model->contents[block][last + 1], model->contents[block][last], BLOCK);
	model->count[block]++;
	return model->contents[block][last + 1];
}

static void
model_flushed(struct model *model, unsigned int block)
{
	if (model->count[block] > 1)
		memcpy(model->contents[block][0], model_now(model, block), BLOCK);
	model->count[block] = 1;
}

static bool
block_is_possible(const struct model *model, unsigned int block, const uint8_t *data)
{
	uint8_t probe[BLOCK];

	/* What state_check() itself writes, where recovery is cut, too. */
	memset(probe, PROBE_FILL, sizeof(probe));
	if (block == PROBE_BLOCK && memcmp(data, probe, BLOCK) == 0)
		return true;
	for (unsigned int i = 0; i < model->count[block]; i++)
		if (memcmp(model->contents[block][i], data, BLOCK) == 0)
			return true;
	return false;
}

static bool
state_check(void *context, struct tp_pmem_pool *pool)
{
	const struct model *model = context;
	struct tp_pmem_heap_info heap;
	struct tp_pmem_volume *volume;
	uint8_t data[BLOCK];
	bool right = true;

	tp_pmem_heap_info_get(pool, &heap);
	if (!model->created && tp_pmem_root_get(pool, "disk") == 0)
		return heap.allocated_count == 0;
	if (heap.allocated_count != 1 || tp_pmem_volume_open(pool, "disk", &volume) < 0)
		return false;
	for (unsigned int i = 0; i < BLOCKS && right; i++)
		right = tp_pmem_volume_read(volume, i * BLOCK, BLOCK, data) == 0 &&
			block_is_possible(model, i, data);
	/* It goes on: what is written now is what is read then. */
	memset(data, PROBE_FILL, sizeof(data));
	right = right && tp_pmem_volume_write(volume, PROBE_BLOCK * BLOCK, BLOCK, data,
		TP_PMEM_VOLUME_FUA) == 0;
	memset(data, 0, sizeof(data));
	right = right && tp_pmem_volume_read(volume, PROBE_BLOCK * BLOCK, BLOCK, data) == 0 &&
		data[0] == PROBE_FILL && data[BLOCK - 1] == PROBE_FILL;
	return tp_pmem_volume_close(volume) == 0 && right;
}

static void
step_do(struct tp_pmem_volume *volume, struct model *model, unsigned int number)
{
	unsigned int block = (unsigned int)(random_next(model) % BLOCKS);
	unsigned int kind = (unsigned int)(random_next(model) % 10);
	uint32_t flags = random_next(model) % 6 == 0 ? TP_PMEM_VOLUME_FUA : 0;
	unsigned int sector = (unsigned int)(random_next(model) % 8) * 512;
	uint8_t *next = model_next(model, block);

	if (kind < 6) {
		memset(next, (int)number, BLOCK);
		memcpy(next, &number, sizeof(number));
		assert_int_equal(tp_pmem_volume_write(volume, block * BLOCK, BLOCK, next, flags), 0);
	} else if (kind < 8) {
		memset(next + sector, (int)number, 512);
		assert_int_equal(tp_pmem_volume_write(volume, block * BLOCK + sector, 512,
			next + sector, flags), 0);
	} else if (kind == 8) {
		memset(next, 0, BLOCK);
		assert_int_equal(tp_pmem_volume_trim(volume, block * BLOCK, BLOCK, flags), 0);
	} else {
		memset(next + sector, 0, 512);
		assert_int_equal(tp_pmem_volume_zero(volume, block * BLOCK + sector, 512, flags), 0);
	}
	if (flags != 0)
		model_flushed(model, block);
	if (random_next(model) % 4 != 0)
		return;
	assert_int_equal(tp_pmem_volume_flush(volume), 0);
	for (unsigned int i = 0; i < BLOCKS; i++)
		model_flushed(model, i);
}

struct result {
	uint64_t states;
	uint64_t failures;
};

static struct result
volume_cut(enum tp_pmem_granularity granularity, enum cut_mutant mutant, unsigned int samples,
	   unsigned int recovery_every)
{
	const struct tp_pmem_pool_config config = { .lane_count = 2 };
	struct cut *cut = cut_create(POOL_BYTES, granularity, 3);
	struct model *model = calloc(1, sizeof(*model));
	struct tp_pmem_volume_info info;
	struct tp_pmem_volume *volume;
	struct tp_pmem_pool *pool;
	struct result result;

	assert_non_null(model);
	model->random = 991;
	for (unsigned int i = 0; i < BLOCKS; i++)
		model->count[i] = 1;
	assert_int_equal(tp_pmem_pool_create_on(cut_device(cut), &config, &pool), 0);
	cut_watch(cut, state_check, model, samples);
	cut_mutant_set(cut, mutant);
	cut_recovery_every(cut, recovery_every);
	assert_int_equal(tp_pmem_volume_create(pool, "disk", VOLUME_BYTES), 0);
	model->created = true;
	assert_int_equal(tp_pmem_volume_open(pool, "disk", &volume), 0);
	for (unsigned int i = 1; i <= STEPS; i++)
		step_do(volume, model, i);
	tp_pmem_volume_info_get(volume, &info);
	assert_true(info.checkpoints >= 1);
	assert_int_equal(tp_pmem_volume_close(volume), 0);
	for (unsigned int i = 0; i < BLOCKS; i++)
		model_flushed(model, i);
	cut_now(cut);
	cut_watch(cut, NULL, NULL, 0);
	assert_int_equal(tp_pmem_pool_close(pool), 0);
	result = (struct result){ cut_states(cut), cut_failures(cut) };
	cut_destroy(cut);
	free(model);
	return result;
}

static void
cut_and_expect_none(enum tp_pmem_granularity granularity)
{
	struct result result = volume_cut(granularity, CUT_NONE, 5, 100);

	print_message("%llu states\n", (unsigned long long)result.states);
	assert_int_equal(result.failures, 0);
	assert_true(result.states > 1000);
}

static void
test_volume_cut_lines(void **state)
{
	cut_and_expect_none(TP_PMEM_GRANULARITY_CACHE_LINE);
}

static void
test_volume_cut_pages(void **state)
{
	cut_and_expect_none(TP_PMEM_GRANULARITY_PAGE);
}

/* What is forgotten is seen: otherwise the above says nothing. */
static void
test_volume_cut_mutants_are_caught(void **state)
{
	static const enum tp_pmem_granularity granularities[] = {
		TP_PMEM_GRANULARITY_CACHE_LINE, TP_PMEM_GRANULARITY_PAGE,
	};

	for (unsigned int i = 0; i < 2; i++)
		for (unsigned int mutant = CUT_NONE + 1; mutant < CUT_MUTANT_COUNT; mutant++)
			assert_true(volume_cut(granularities[i], (enum cut_mutant)mutant, 2,
				0).failures > 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_volume_cut_lines),
		cmocka_unit_test(test_volume_cut_pages),
		cmocka_unit_test(test_volume_cut_mutants_are_caught),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
