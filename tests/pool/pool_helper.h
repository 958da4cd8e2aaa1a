/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Shared by the tests of lib/pool: a pool in a segment of its own, and the check
 * that nothing is lost and nothing owned twice. Include after cmocka.h.
 */
#ifndef POOL_HELPER_H
#define POOL_HELPER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tp_pool.h"

struct pool_fixture {
	struct tp_segment *segment;
	struct tp_slot_pool *pool;	/* client 0 */
};

static inline void
pool_fixture_open(struct pool_fixture *fixture, uint32_t slot_bytes, uint32_t slot_count)
{
	struct tp_segment_config segment = {
		.type = TP_SEGMENT_HEAP, .bytes = tp_slot_pool_bytes(slot_bytes, slot_count),
	};
	struct tp_slot_pool_config pool = {
		.slot_bytes = slot_bytes, .slot_count = slot_count, .segment_id = 3,
	};

	assert_int_equal(tp_segment_create(&segment, &fixture->segment), 0);
	fixture->pool = tp_slot_pool_create(fixture->segment, &pool);
	assert_non_null(fixture->pool);
}

static inline void
pool_fixture_close(struct pool_fixture *fixture)
{
	tp_slot_pool_detach(fixture->pool);
	tp_segment_destroy(fixture->segment);
}

/* Every slot not held is free, can be found, once, and is marked so. */
static inline void
pool_check_whole(struct tp_slot_pool *pool, uint32_t held)
{
	uint32_t capacity = tp_slot_pool_capacity(pool);
	uint32_t *taken = calloc(capacity + 1, sizeof(*taken));
	bool *was_held = calloc(capacity, sizeof(*was_held));
	uint32_t count = 0, index;

	assert_int_equal(tp_slot_pool_available(pool), capacity - held);
	for (index = 0; index < capacity; index++)
		was_held[index] = tp_slot_pool_holders(pool, index) != 0;
	while ((index = tp_slot_pool_loan(pool)) != TP_SLOT_NONE) {
		assert_true(index < capacity);
		assert_false(was_held[index]);
		was_held[index] = true;
		taken[count++] = index;
	}
	assert_int_equal(count, capacity - held);
	for (index = 0; index < count; index++)
		assert_int_equal(tp_slot_pool_return(pool, taken[index]), 0);
	assert_int_equal(tp_slot_pool_available(pool), capacity - held);
	free(was_held);
	free(taken);
}

#endif /* POOL_HELPER_H */
