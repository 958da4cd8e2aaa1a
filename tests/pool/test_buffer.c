/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <rte_errno.h>

#include "pool_helper.h"
#include "pool_priv.h"

#define SLOT_BYTES 1000
#define SLOT_COUNT 70
#define GIVER 0
#define TAKER 2

struct two_clients {
	struct pool_fixture fixture;	/* the giver's */
	struct tp_slot_pool *taker;
};

static int
clients_setup(void **state)
{
	struct two_clients *clients = calloc(1, sizeof(*clients));

	pool_fixture_open(&clients->fixture, SLOT_BYTES, SLOT_COUNT);
	clients->taker = tp_slot_pool_attach(clients->fixture.segment, 0, TAKER);
	assert_non_null(clients->taker);
	*state = clients;
	return 0;
}

static int
clients_teardown(void **state)
{
	struct two_clients *clients = *state;

	tp_slot_pool_detach(clients->taker);
	pool_check_whole(clients->fixture.pool, 0);
	pool_fixture_close(&clients->fixture);
	free(clients);
	return 0;
}

static void
test_buffer_alloc_release_gives_the_slot_back(void **state)
{
	struct tp_slot_pool *pool = ((struct two_clients *)*state)->fixture.pool;
	struct tp_buffer buffer;

	assert_int_equal(tp_buffer_alloc(pool, NULL, 0, &buffer), -EINVAL);
	assert_int_equal(tp_buffer_alloc(pool, NULL, SLOT_BYTES + 1, &buffer), -EINVAL);
	assert_int_equal(tp_buffer_alloc(pool, NULL, SLOT_BYTES, &buffer), 0);
	assert_int_equal(buffer.segment_id, 3);
	assert_int_equal(buffer.length, SLOT_BYTES);
	assert_int_equal(buffer.user, 0);
	memset(tp_buffer_data(pool, &buffer), 1, SLOT_BYTES);
	assert_int_equal(tp_buffer_release(pool, NULL, &buffer), 0);
	assert_int_equal(tp_buffer_release(pool, NULL, &buffer), -ESTALE);
	assert_null(tp_buffer_data(pool, &buffer));
	assert_int_equal(rte_errno, ESTALE);
}

static void
test_buffer_slices_and_clones_share_bytes_and_keep_the_slot(void **state)
{
	struct tp_slot_pool *pool = ((struct two_clients *)*state)->fixture.pool;
	struct tp_buffer whole, clone, part, inner;

	assert_int_equal(tp_buffer_alloc(pool, NULL, 100, &whole), 0);
	whole.user = 42;
	assert_int_equal(tp_buffer_clone(pool, &whole, &clone), 0);
	assert_memory_equal(&whole, &clone, sizeof(whole));
	assert_int_equal(tp_buffer_slice(pool, &whole, 10, 50, &part), 0);
	assert_int_equal(tp_buffer_slice(pool, &part, 49, 1, &inner), 0);
	assert_int_equal(inner.user, 42);
	assert_ptr_equal(tp_buffer_data(pool, &inner),
			 (uint8_t *)tp_buffer_data(pool, &whole) + 59);

	assert_int_equal(tp_buffer_slice(pool, &part, 0, 51, &inner), -EINVAL);
	assert_int_equal(tp_buffer_slice(pool, &part, 50, 1, &inner), -EINVAL);
	assert_int_equal(tp_buffer_slice(pool, &part, 51, UINT32_MAX - 50, &inner), -EINVAL);
	assert_int_equal(tp_buffer_slice(pool, &part, 0, 0, &inner), -EINVAL);

	assert_int_equal(tp_buffer_release(pool, NULL, &whole), 0);
	assert_int_equal(tp_buffer_release(pool, NULL, &clone), 0);
	assert_int_equal(tp_slot_pool_held(pool, GIVER), 1);
	assert_int_equal(tp_buffer_release(pool, NULL, &part), 0);
	assert_non_null(tp_buffer_data(pool, &inner));
	assert_int_equal(tp_buffer_release(pool, NULL, &inner), 0);
	assert_int_equal(tp_slot_pool_held(pool, GIVER), 0);
}

static void
test_buffer_stale_handle_does_not_reach_the_next_tenant(void **state)
{
	struct tp_slot_pool *pool = ((struct two_clients *)*state)->fixture.pool;
	struct tp_slot_cache cache;
	struct tp_buffer old, new, copy;

	assert_int_equal(tp_slot_cache_init(&cache, pool, 8), 0);
	for (int cached = 0; cached < 2; cached++) {
		struct tp_slot_cache *with = cached ? &cache : NULL;

		assert_int_equal(tp_buffer_alloc(pool, with, 10, &old), 0);
		assert_int_equal(tp_buffer_release(pool, with, &old), 0);
		assert_int_equal(tp_buffer_alloc(pool, with, 10, &new), 0);
		assert_int_equal(new.offset, old.offset);
		assert_int_not_equal(new.generation, old.generation);
		assert_null(tp_buffer_data(pool, &old));
		assert_int_equal(tp_buffer_release(pool, with, &old), -ESTALE);
		assert_int_equal(tp_buffer_clone(pool, &old, &copy), -ESTALE);
		assert_int_equal(tp_buffer_offer(pool, &old, &copy), -ESTALE);
		assert_int_equal(tp_buffer_accept(pool, &old, &copy), -ESTALE);
		assert_int_equal(tp_buffer_release(pool, with, &new), 0);
	}
	tp_slot_cache_flush(&cache);
}

static void
test_buffer_forged_handle_is_refused(void **state)
{
	struct two_clients *clients = *state;
	struct tp_slot_pool *pool = clients->fixture.pool;
	struct tp_buffer good, bad[8], out;
	uint64_t end = tp_slot_pool_slot_offset(pool, SLOT_COUNT - 1) + pool->stride;

	assert_int_equal(tp_buffer_alloc(pool, NULL, SLOT_BYTES, &good), 0);
	for (unsigned int i = 0; i < RTE_DIM(bad); i++)
		bad[i] = good;
	bad[0].segment_id++;
	bad[1].length = 0;
	bad[2].length++;			/* into the padding */
	bad[3].length = UINT32_MAX;
	bad[4].offset += 1;			/* the same */
	bad[5].offset = end;			/* behind the pool */
	bad[6].offset = UINT64_MAX;
	bad[7].offset = 0;			/* the header */
	for (unsigned int i = 0; i < RTE_DIM(bad); i++) {
		assert_null(tp_buffer_data(pool, &bad[i]));
		assert_int_equal(rte_errno, EINVAL);
		assert_int_equal(tp_buffer_accept(clients->taker, &bad[i], &out), -EINVAL);
		assert_int_equal(tp_buffer_release(pool, NULL, &bad[i]), -EINVAL);
		assert_int_equal(tp_buffer_offer(pool, &bad[i], &out), -EINVAL);
	}
	bad[0] = good;
	bad[0].generation++;
	assert_int_equal(tp_buffer_accept(clients->taker, &bad[0], &out), -ESTALE);
	assert_int_equal(tp_slot_pool_held(pool, TAKER), 0);
	assert_int_equal(tp_buffer_release(pool, NULL, &good), 0);
}

static void
test_buffer_of_a_loaned_slot_is_returned_by_either_name(void **state)
{
	struct tp_slot_pool *pool = ((struct two_clients *)*state)->fixture.pool;
	struct tp_buffer buffer;
	uint32_t index = tp_slot_pool_loan(pool);

	assert_int_equal(tp_buffer_from_slot(pool, index, 0, SLOT_BYTES + 1, &buffer), -EINVAL);
	assert_int_equal(tp_buffer_from_slot(pool, index, SLOT_BYTES, 1, &buffer), -EINVAL);
	assert_int_equal(tp_buffer_from_slot(pool, index, 0, 0, &buffer), -EINVAL);
	assert_int_equal(tp_buffer_from_slot(pool, SLOT_COUNT, 0, 1, &buffer), -EINVAL);
	assert_int_equal(tp_buffer_from_slot(pool, index + 1, 0, 1, &buffer), -ESTALE);
	assert_int_equal(tp_buffer_from_slot(pool, index, 8, 16, &buffer), 0);
	assert_ptr_equal(tp_buffer_data(pool, &buffer),
			 (uint8_t *)tp_slot_pool_slot_ptr(pool, index) + 8);
	assert_int_equal(tp_slot_pool_return(pool, index), 0);
	assert_int_equal(tp_buffer_release(pool, NULL, &buffer), -ESTALE);
}

static void
hand_over_once(struct two_clients *clients, uint64_t *offset)
{
	struct tp_slot_pool *giver = clients->fixture.pool;
	struct tp_buffer buffer, handle, taken;
	uint32_t index;

	assert_int_equal(tp_buffer_alloc(giver, NULL, 6, &buffer), 0);
	*offset = buffer.offset;
	memcpy(tp_buffer_data(giver, &buffer), "hello", 6);
	buffer.user = 17;
	assert_int_equal(tp_buffer_offer(giver, &buffer, &handle), 0);
	assert_int_equal(tp_buffer_release(giver, NULL, &buffer), 0);
	index = tp_slot_pool_slot_index(giver, tp_buffer_data(giver, &handle));
	assert_int_equal(tp_slot_pool_holders(giver, index), 1u << GIVER);

	assert_int_equal(tp_buffer_accept(clients->taker, &handle, &taken), 0);
	assert_int_equal(tp_slot_pool_holders(giver, index), 1u << GIVER | 1u << TAKER);
	assert_int_equal(tp_buffer_settle(giver, &handle), 0);
	assert_int_equal(tp_buffer_settle(giver, &handle), -ESTALE);
	assert_int_equal(tp_slot_pool_holders(giver, index), 1u << TAKER);
	assert_int_equal(taken.user, 17);
	assert_string_equal(tp_buffer_data(clients->taker, &taken), "hello");
	assert_int_equal(tp_buffer_release(clients->taker, NULL, &taken), 0);
}

static void
test_offer_accepted_then_settled_moves_the_holder(void **state)
{
	uint64_t first, second;

	/* The same slot again: the first time has left nothing behind. */
	hand_over_once(*state, &first);
	hand_over_once(*state, &second);
	assert_int_equal(first, second);
}

static void
test_offer_settled_before_accept_is_stale_even_after_reuse(void **state)
{
	struct two_clients *clients = *state;
	struct tp_slot_pool *giver = clients->fixture.pool;
	struct tp_slot_cache cache;
	struct tp_buffer buffer, handle, taken, next;

	assert_int_equal(tp_slot_cache_init(&cache, giver, 8), 0);
	for (int cached = 0; cached < 2; cached++) {
		assert_int_equal(tp_buffer_alloc(giver, cached ? &cache : NULL, 6, &buffer), 0);
		assert_int_equal(tp_buffer_offer(giver, &buffer, &handle), 0);
		assert_int_equal(tp_buffer_settle(giver, &handle), 0);
		assert_int_equal(tp_buffer_release(giver, &cache, &buffer), 0);
		assert_int_equal(tp_buffer_accept(clients->taker, &handle, &taken), -ESTALE);
		tp_slot_cache_flush(&cache);
		do {
			assert_int_equal(tp_buffer_alloc(giver, NULL, 6, &next), 0);
		} while (next.offset != handle.offset);
		assert_int_equal(tp_buffer_accept(clients->taker, &handle, &taken), -ESTALE);
		assert_int_equal(tp_slot_pool_held(giver, TAKER), 0);
		assert_int_equal(tp_slot_pool_reap(clients->taker, GIVER),
				 tp_slot_pool_capacity(giver) - tp_slot_pool_available(giver));
		tp_slot_pool_detach(giver);
		giver = clients->fixture.pool = tp_slot_pool_attach(clients->fixture.segment, 0, 0);
		assert_int_equal(tp_slot_cache_init(&cache, giver, 8), 0);
	}
}

static void
test_offer_accepted_twice_counts_twice(void **state)
{
	struct two_clients *clients = *state;
	struct tp_slot_pool *giver = clients->fixture.pool;
	struct tp_buffer buffer, handle, first, second;

	assert_int_equal(tp_buffer_alloc(giver, NULL, 6, &buffer), 0);
	assert_int_equal(tp_buffer_offer(giver, &buffer, &handle), 0);
	assert_int_equal(tp_buffer_accept(clients->taker, &handle, &first), 0);
	assert_int_equal(tp_buffer_accept(clients->taker, &handle, &second), 0);
	assert_int_equal(tp_buffer_settle(giver, &handle), 0);
	assert_int_equal(tp_buffer_release(giver, NULL, &buffer), 0);
	assert_int_equal(tp_buffer_release(clients->taker, NULL, &first), 0);
	assert_non_null(tp_buffer_data(clients->taker, &second));
	assert_int_equal(tp_buffer_release(clients->taker, NULL, &second), 0);
	assert_int_equal(tp_buffer_release(clients->taker, NULL, &second), -ESTALE);
}

static void
test_offer_within_one_process_is_accepted_by_another_thread(void **state)
{
	struct tp_slot_pool *pool = ((struct two_clients *)*state)->fixture.pool;
	struct tp_buffer buffer, handle, taken;

	assert_int_equal(tp_buffer_alloc(pool, NULL, 6, &buffer), 0);
	assert_int_equal(tp_buffer_accept(pool, &buffer, &taken), -ESTALE);
	assert_int_equal(tp_buffer_offer(pool, &buffer, &handle), 0);
	assert_int_equal(tp_buffer_accept(pool, &handle, &taken), 0);
	assert_int_equal(tp_buffer_settle(pool, &handle), 0);
	assert_int_equal(tp_buffer_release(pool, NULL, &buffer), 0);
	assert_int_equal(tp_buffer_release(pool, NULL, &taken), 0);
}

static void
test_offer_of_a_cached_slot_that_was_given_back_is_stale(void **state)
{
	struct two_clients *clients = *state;
	struct tp_slot_pool *giver = clients->fixture.pool;
	struct tp_slot_cache cache;
	struct tp_buffer buffer, taken;

	/* Never offered, so it rests in the cache with the giver's bit set: the
	 * giver itself must not get it back by the old handle.
	 */
	assert_int_equal(tp_slot_cache_init(&cache, giver, 8), 0);
	assert_int_equal(tp_buffer_alloc(giver, &cache, 6, &buffer), 0);
	assert_int_equal(tp_buffer_release(giver, &cache, &buffer), 0);
	assert_int_equal(tp_buffer_accept(giver, &buffer, &taken), -ESTALE);
	assert_int_equal(tp_buffer_release(giver, &cache, &buffer), -ESTALE);
	tp_slot_cache_flush(&cache);
}

static void
test_buffer_dead_giver_leaves_it_to_the_taker(void **state)
{
	struct two_clients *clients = *state;
	struct tp_slot_pool *giver = clients->fixture.pool;
	struct tp_buffer kept, handle, lost, taken, out;

	assert_int_equal(tp_buffer_alloc(giver, NULL, 6, &kept), 0);
	assert_int_equal(tp_buffer_offer(giver, &kept, &handle), 0);
	assert_int_equal(tp_buffer_alloc(giver, NULL, 6, &lost), 0);
	assert_int_equal(tp_buffer_offer(giver, &lost, &lost), 0);
	assert_int_equal(tp_buffer_accept(clients->taker, &handle, &taken), 0);
	assert_int_equal(tp_slot_pool_reap(clients->taker, GIVER), 1);
	assert_int_equal(tp_buffer_accept(clients->taker, &lost, &out), -ESTALE);
	assert_non_null(tp_buffer_data(clients->taker, &taken));
	assert_int_equal(tp_buffer_release(clients->taker, NULL, &taken), 0);
}

static void
test_buffer_references_do_not_overflow(void **state)
{
	struct tp_slot_pool *pool = ((struct two_clients *)*state)->fixture.pool;
	struct tp_buffer buffer, clone;
	uint32_t index;

	assert_int_equal(tp_buffer_alloc(pool, NULL, 6, &buffer), 0);
	index = tp_slot_pool_slot_index(pool, tp_buffer_data(pool, &buffer));
	atomic_store(&pool->refs[index], POOL_REF_COUNT_MASK);
	assert_int_equal(tp_buffer_clone(pool, &buffer, &clone), -EOVERFLOW);
	assert_int_equal(tp_buffer_offer(pool, &buffer, &clone), -EOVERFLOW);
	atomic_store(&pool->refs[index], 1);
	assert_int_equal(tp_buffer_release(pool, NULL, &buffer), 0);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, clients_setup, clients_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_buffer_alloc_release_gives_the_slot_back),
		TEST(test_buffer_slices_and_clones_share_bytes_and_keep_the_slot),
		TEST(test_buffer_stale_handle_does_not_reach_the_next_tenant),
		TEST(test_buffer_forged_handle_is_refused),
		TEST(test_buffer_of_a_loaned_slot_is_returned_by_either_name),
		TEST(test_offer_accepted_then_settled_moves_the_holder),
		TEST(test_offer_settled_before_accept_is_stale_even_after_reuse),
		TEST(test_offer_accepted_twice_counts_twice),
		TEST(test_offer_within_one_process_is_accepted_by_another_thread),
		TEST(test_offer_of_a_cached_slot_that_was_given_back_is_stale),
		TEST(test_buffer_dead_giver_leaves_it_to_the_taker),
		TEST(test_buffer_references_do_not_overflow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
