/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The heap allocator against a plain list of allocations.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "heap_priv.h"
#include "tp_generation.h"

#define BYTES (64u * 1024)
#define UNITS (BYTES / 64)
#define STEPS 100000

struct model {
	uint64_t offset;
	uint64_t units;
	uint64_t generation;
};

static uint64_t random_state = 1;

static uint32_t
random_below(uint32_t bound)
{
	random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)((random_state >> 33) % bound);
}

static struct heap *
heap_new(void)
{
	struct heap *heap = heap_create(BYTES, tp_generation_pack(7, 100));

	assert_non_null(heap);
	return heap;
}

static void
test_heap_bad_size_refused(void **state)
{
	assert_null(heap_create(0, tp_generation_pack(1, 1)));
	assert_null(heap_create(63, tp_generation_pack(1, 1)));
	assert_null(heap_create(BYTES, 0));
}

static void
test_alloc_bad_size_refused(void **state)
{
	struct heap *heap = heap_new();
	uint64_t offset = 5;
	uint64_t generation = 6;

	assert_int_equal(heap_alloc(heap, 0, &offset, &generation), -EINVAL);
	assert_int_equal(heap_alloc(heap, BYTES + 1, &offset, &generation), -ENOSPC);
	assert_int_equal(heap_alloc(heap, UINT64_MAX, &offset, &generation), -ENOSPC);
	assert_int_equal(offset, 5);
	assert_int_equal(generation, 6);
	assert_int_equal(heap_bytes_free(heap), BYTES);
	heap_destroy(heap);
}

static void
test_alloc_whole_heap_fits_once(void **state)
{
	struct heap *heap = heap_new();
	uint64_t offset;
	uint64_t generation;

	assert_int_equal(heap_alloc(heap, BYTES, &offset, &generation), 0);
	assert_int_equal(offset, 0);
	assert_int_equal(tp_generation_node(generation), 7);
	assert_int_equal(heap_alloc(heap, 1, &offset, &generation), -ENOSPC);
	assert_int_equal(heap_bytes_free(heap), 0);
	heap_destroy(heap);
}

static void
test_free_twice_or_elsewhere_refused(void **state)
{
	struct heap *heap = heap_new();
	uint64_t offset;
	uint64_t generation;
	uint64_t other;
	uint64_t other_generation;

	assert_int_equal(heap_alloc(heap, 200, &offset, &generation), 0);
	assert_int_equal(heap_alloc(heap, 200, &other, &other_generation), 0);
	assert_int_equal(heap_free(heap, offset + 64, generation), -EINVAL);
	assert_int_equal(heap_free(heap, offset + 1, generation), -EINVAL);
	assert_int_equal(heap_free(heap, BYTES, generation), -EINVAL);
	assert_int_equal(heap_free(heap, UINT64_MAX & ~63ull, generation), -EINVAL);
	assert_int_equal(heap_free(heap, offset, other_generation), -ESTALE);
	assert_int_equal(heap_free(heap, offset, generation), 0);
	assert_int_equal(heap_free(heap, offset, generation), -EINVAL);
	heap_destroy(heap);
}

static void
test_free_reused_place_stale_generation_refused(void **state)
{
	struct heap *heap = heap_new();
	uint64_t offset;
	uint64_t again;
	uint64_t old;
	uint64_t generation;

	assert_int_equal(heap_alloc(heap, 64, &offset, &old), 0);
	assert_int_equal(heap_free(heap, offset, old), 0);
	assert_int_equal(heap_alloc(heap, 64, &again, &generation), 0);
	assert_int_equal(again, offset);
	assert_int_not_equal(old, generation);
	assert_int_equal(heap_free(heap, offset, old), -ESTALE);
	heap_destroy(heap);
}

static void
test_generation_inside_allocation_found(void **state)
{
	struct heap *heap = heap_new();
	uint64_t offset;
	uint64_t generation;
	uint64_t found;

	assert_int_equal(heap_alloc(heap, 1000, &offset, &generation), 0);
	assert_int_equal(heap_generation(heap, offset + 999, &found), 0);
	assert_int_equal(found, generation);
	assert_int_equal(heap_generation(heap, offset + 1024, &found), -ENOENT);
	assert_int_equal(heap_generation(heap, BYTES, &found), -ENOENT);
	heap_destroy(heap);
}

static void
test_alloc_generations_exhausted_refused(void **state)
{
	struct heap *heap = heap_create(BYTES,
		tp_generation_pack(7, TP_GENERATION_COUNTER_MAX));
	uint64_t offset;
	uint64_t generation;

	assert_non_null(heap);
	assert_int_equal(heap_alloc(heap, 64, &offset, &generation), -EOVERFLOW);
	heap_destroy(heap);
}

/* One random step on heap and model. */
static void
model_step(struct heap *heap, struct model *model, uint32_t *count, uint8_t *taken)
{
	struct model *entry;
	uint64_t u;

	if (random_below(100) < 55) {
		uint64_t bytes = 1 + random_below(random_below(10) == 0 ? BYTES / 4 : 600);
		struct model made = { .units = (bytes + 63) / 64 };
		int ret = heap_alloc(heap, bytes, &made.offset, &made.generation);

		if (ret == -ENOSPC)
			return;
		assert_int_equal(ret, 0);
		assert_int_equal(made.offset % 64, 0);
		for (u = 0; u < made.units; u++) {
			assert_int_equal(taken[made.offset / 64 + u], 0);
			taken[made.offset / 64 + u] = 1;
		}
		model[(*count)++] = made;
		return;
	}
	if (*count == 0)
		return;
	entry = &model[random_below(*count)];
	assert_int_equal(heap_free(heap, entry->offset, entry->generation), 0);
	for (u = 0; u < entry->units; u++)
		taken[entry->offset / 64 + u] = 0;
	*entry = model[--*count];
}

static void
test_heap_random_steps_match_model(void **state)
{
	struct heap *heap = heap_new();
	static struct model model[UNITS];
	static uint8_t taken[UNITS];
	uint32_t count = 0;
	uint64_t offset;
	uint64_t generation;
	uint32_t i;
	uint32_t u;

	for (i = 0; i < STEPS; i++) {
		model_step(heap, model, &count, taken);
		if (i % 1000 == 0) {
			uint64_t used = 0;

			for (u = 0; u < UNITS; u++)
				used += taken[u];
			assert_int_equal(heap_bytes_free(heap), BYTES - used * 64);
		}
	}
	while (count > 0) {
		count--;
		assert_int_equal(heap_free(heap, model[count].offset, model[count].generation), 0);
	}
	/* All of it merged again. */
	assert_int_equal(heap_alloc(heap, BYTES, &offset, &generation), 0);
	heap_destroy(heap);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_heap_bad_size_refused),
		cmocka_unit_test(test_alloc_bad_size_refused),
		cmocka_unit_test(test_alloc_whole_heap_fits_once),
		cmocka_unit_test(test_free_twice_or_elsewhere_refused),
		cmocka_unit_test(test_free_reused_place_stale_generation_refused),
		cmocka_unit_test(test_generation_inside_allocation_found),
		cmocka_unit_test(test_alloc_generations_exhausted_refused),
		cmocka_unit_test(test_heap_random_steps_match_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
