/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * One page: hits, misses, guards, leases, atomics, pins.
 */
#include "fixture.h"

static uint64_t
page_word(struct fixture *f, uint32_t page, uint32_t offset)
{
	uint64_t value;

	memcpy(&value, fake_page_data(f->fake, page) + offset, sizeof(value));
	return value;
}

static void
test_read_absent_page_fetched_then_hit(void **state)
{
	struct fixture *f = *state;
	uint64_t value = 0, wanted = page_word(f, 3, 64);
	uint32_t i;

	for (i = 0; i < 10; i++) {
		assert_ok(tp_read(f->thread, f->region, 3 * FAKE_PAGE_BYTES + 64, &value, 8), 8);
		assert_int_equal(value, wanted);
	}
	assert_int_equal(f->fake->served[TP_ABI_READ], 1);
	assert_int_equal(tp_thread_stats_get(f->thread)->hits, 9);
	assert_int_equal(tp_thread_stats_get(f->thread)->misses, 1);
	assert_true(f->fake->words[3] & TP_WORD_REF);
	assert_false(fake_node_guarded(f->fake));
	assert_int_equal(tp_lookup(f->region, 3 * FAKE_PAGE_BYTES), TP_ACCESS_READ);
	assert_int_equal(tp_lookup(f->region, 4 * FAKE_PAGE_BYTES), TP_ACCESS_NONE);
	assert_int_equal(tp_lookup(f->region, FAKE_REGION_BYTES), TP_ACCESS_NONE);
}

static void
test_write_readable_page_upgraded_then_hit(void **state)
{
	struct fixture *f = *state;
	uint64_t value = 0x1122334455667788;

	fake_page_publish(f->fake, 2, TP_ACCESS_READ);
	assert_ok(tp_write(f->thread, f->region, 2 * FAKE_PAGE_BYTES + 8, &value, 8), 8);
	assert_int_equal(page_word(f, 2, 8), value);
	value++;
	assert_ok(tp_write(f->thread, f->region, 2 * FAKE_PAGE_BYTES + 8, &value, 8), 8);
	assert_int_equal(page_word(f, 2, 8), value);
	assert_int_equal(f->fake->served[TP_ABI_WRITE], 1);
	assert_false(fake_node_guarded(f->fake));
}

static void
test_access_over_pages_whole_range(void **state)
{
	struct fixture *f = *state;
	static uint8_t data[3 * FAKE_PAGE_BYTES + 77], back[sizeof(data)];
	uint64_t offset = FAKE_PAGE_BYTES - 39;
	uint32_t i;

	for (i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + i / 255);
	assert_ok(tp_write(f->thread, f->region, offset, data, sizeof(data)), sizeof(data));
	/* One is waited for, the others were asked for ahead. */
	assert_int_equal(f->fake->served[TP_ABI_WRITE], 1);
	for (i = 0; i < 6; i++)
		assert_int_equal(f->fake->fetched[i], i >= 1 && i <= 4);
	assert_ok(tp_read(f->thread, f->region, offset, back, sizeof(back)), sizeof(back));
	assert_memory_equal(data, back, sizeof(data));
	/* The bytes around it are as they were. */
	assert_int_equal(fake_page_data(f->fake, 0)[FAKE_PAGE_BYTES - 40],
			 f->fake->pages[0].home[FAKE_PAGE_BYTES - 40]);
}

static void
test_vectors_scattered_in_order(void **state)
{
	struct fixture *f = *state;
	uint8_t a[100], b[FAKE_PAGE_BYTES], c[3];
	struct tp_vector vectors[] = {
		{ 5000, a, sizeof(a) }, { 0, NULL, 0 }, { 4000, b, sizeof(b) }, { 1, c, sizeof(c) },
	};
	struct tp_vector overlap[] = { { 16, a, 8 }, { 16, b, 8 } };
	uint64_t value;

	assert_ok(tp_readv(f->thread, f->region, vectors, 4), 100 + FAKE_PAGE_BYTES + 3);
	assert_memory_equal(a, f->fake->pages[1].home + 904, sizeof(a));
	assert_memory_equal(b, f->fake->pages[0].home + 4000, 96);
	assert_memory_equal(b + 96, f->fake->pages[1].home, 4000);
	assert_memory_equal(c, f->fake->pages[0].home + 1, 3);
	memset(a, 1, sizeof(a));
	memset(b, 2, sizeof(b));
	assert_ok(tp_writev(f->thread, f->region, overlap, 2), 16);
	assert_ok(tp_read(f->thread, f->region, 16, &value, 8), 8);
	assert_int_equal(value, 0x0202020202020202);
	assert_ok(tp_readv(f->thread, f->region, NULL, 0), 0);
}

static void
test_arguments_bad_invalid(void **state)
{
	struct fixture *f = *state;
	struct tp_vector vector = { FAKE_REGION_BYTES - 1, NULL, 2 };
	struct tp_pin pin;
	struct tp_op op;
	uint8_t b[16];
	unsigned int width;

	assert_void(tp_read(f->thread, f->region, FAKE_REGION_BYTES, b, 1), TP_INVALID, 1, 0);
	assert_void(tp_read(f->thread, f->region, UINT64_MAX, b, 2), TP_INVALID, 1, 0);
	assert_void(tp_write(f->thread, f->region, FAKE_REGION_BYTES - 7, b, 8), TP_INVALID, 1, 0);
	assert_void(tp_read(f->thread, f->region, 0, b, UINT64_MAX), TP_INVALID, 1, 0);
	assert_void(tp_readv(f->thread, f->region, &vector, 1), TP_INVALID, 1, 0);
	assert_void(tp_readv(f->thread, f->region, &vector, TP_VECTOR_MAX + 1), TP_INVALID, 1, 0);
	assert_ok(tp_read(f->thread, f->region, FAKE_REGION_BYTES, b, 0), 0);
	for (width = 0; width <= 16; width++)
		assert_void(tp_atomic(f->thread, f->region, width == 4 || width == 8 ? 2 : 0,
				TP_ATOMIC_ADD, width, 1, 0, NULL), TP_INVALID, 1, 0);
	assert_void(tp_atomic(f->thread, f->region, 0, 0, 8, 1, 0, NULL), TP_INVALID, 1, 0);
	assert_void(tp_atomic(f->thread, f->region, 0, TP_ATOMIC_COUNT, 8, 1, 0, NULL),
		    TP_INVALID, 1, 0);
	assert_void(tp_pin(f->thread, f->region, 1, FAKE_PAGE_BYTES, TP_ACCESS_READ, &pin),
		    TP_INVALID, 1, 0);
	assert_void(tp_pin(f->thread, f->region, 1, 0, TP_ACCESS_READ, &pin), TP_INVALID, 1, 0);
	assert_void(tp_pin(f->thread, f->region, 0, 8, TP_ACCESS_NONE, &pin), TP_INVALID, 1, 0);
	assert_void(tp_invalidate(f->thread, f->region, 1, FAKE_REGION_BYTES), TP_INVALID, 1, 0);
	assert_true(tp_submit_nop(f->thread, FAKE_WORKERS, &op));
	assert_void(op.result, TP_INVALID, 1, 0);
	assert_int_equal(f->fake->polls, 0);
}

static void
test_write_readonly_region_permission(void **state)
{
	struct fixture *f = *state;
	struct tp_client_region *region;
	uint8_t b[8] = { 0 };
	struct tp_pin pin;

	f->fake->region.mode = TP_REGION_RO;
	f->fake->region.generation++;
	assert_int_equal(tp_client_region_open(f->client, "test", &region), 0);
	fake_page_publish(f->fake, 0, TP_ACCESS_WRITE);
	assert_void(tp_write(f->thread, region, 0, b, 8), TP_PERMISSION, 1, 0);
	assert_void(tp_atomic_add64(f->thread, region, 0, 1, NULL), TP_PERMISSION, 1, 0);
	assert_void(tp_pin(f->thread, region, 0, 8, TP_ACCESS_WRITE, &pin), TP_PERMISSION, 1, 0);
	assert_ok(tp_read(f->thread, region, 0, b, 8), 8);
	assert_ok(tp_atomic_load64(f->thread, region, 0, (uint64_t *)(void *)b), 8);
	tp_client_region_close(region);
}

/* Each operation, at the home (executed) and in place, 4 and 8 bytes wide. */
static void
atomic_check(struct fixture *f, unsigned int width, bool local)
{
	uint64_t mask = width == 4 ? UINT32_MAX : UINT64_MAX, at = 5 * FAKE_PAGE_BYTES + 40;
	static const struct {
		enum tp_atomic_op op;
		uint64_t operand, compare, wanted;
	} steps[] = {
		{ TP_ATOMIC_STORE, 0xf0f0f0f0f0f0f0f0, 0, 0xf0f0f0f0f0f0f0f0 },
		{ TP_ATOMIC_ADD, 0x0f0f0f0f0f0f0f10, 0, 0 },
		{ TP_ATOMIC_ADD, UINT64_MAX, 0, UINT64_MAX },
		{ TP_ATOMIC_AND, 0xffff0000ffff, 0, 0xffff0000ffff },
		{ TP_ATOMIC_OR, 0xff0000, 0, 0xffff00ffffff },
		{ TP_ATOMIC_CAS, 7, 6, 0xffff00ffffff },
		{ TP_ATOMIC_CAS, 7, 0xffff00ffffff, 7 },
		{ TP_ATOMIC_EXCHANGE, 9, 0, 9 },
	};
	uint64_t old = 0, before = 0;
	uint32_t i;

	/* 4-byte sums wrap differently; start both widths from the same value. */
	for (i = 0; i < RTE_DIM(steps); i++) {
		if (local)
			fake_page_publish(f->fake, 5, TP_ACCESS_WRITE);
		else
			assert_true(fake_page_revoke(f->fake, 5));
		assert_ok(tp_atomic(f->thread, f->region, at, steps[i].op, width,
			steps[i].operand & mask, steps[i].compare & mask, &old), width);
		if (i > 0)
			assert_int_equal(old, before & mask);
		before = steps[i].wanted;
		assert_ok(tp_atomic(f->thread, f->region, at, TP_ATOMIC_LOAD, width, 0, 0, &old),
			  width);
		assert_int_equal(old, before & mask);
	}
}

static void
test_atomic_each_op_at_home_and_in_place(void **state)
{
	struct fixture *f = *state;
	uint64_t neighbour = page_word(f, 5, 48);

	atomic_check(f, 8, false);
	assert_int_equal(f->fake->served[TP_ABI_ATOMIC], 8);
	atomic_check(f, 8, true);
	assert_int_equal(f->fake->served[TP_ABI_ATOMIC], 8);
	atomic_check(f, 4, false);
	atomic_check(f, 4, true);
	assert_int_equal(f->fake->served[TP_ABI_ATOMIC], 16);
	assert_int_equal(page_word(f, 5, 48), neighbour);
	assert_false(fake_node_guarded(f->fake));
}

static bool
hook_publish_write(struct fake_node *fake, const struct tp_abi_request *request,
		   struct tp_abi_completion *completion)
{
	fake_page_publish(fake, request->page_index, TP_ACCESS_WRITE);
	return true;
}

static void
test_atomic_granted_done_here(void **state)
{
	struct fixture *f = *state;
	uint64_t old = 0, before = page_word(f, 1, 8);

	f->fake->hook = hook_publish_write;
	assert_ok(tp_atomic_add64(f->thread, f->region, FAKE_PAGE_BYTES + 8, 5, &old), 8);
	assert_int_equal(old, before);
	assert_int_equal(page_word(f, 1, 8), before + 5);
	assert_false(fake_node_guarded(f->fake));
}

/* The lease has lapsed: nothing may be served in place, the node has to be asked. */
static void
test_hit_lease_lapsed_asks_node(void **state)
{
	struct fixture *f = *state;
	uint64_t value;

	fake_page_publish(f->fake, 0, TP_ACCESS_WRITE);
	f->fake->node->lease_until_tsc = f->fake->tsc;
	f->fake->stopped = true;
	assert_void(tp_read(f->thread, f->region, 0, &value, 8), TP_NODE_CRASHED, 1, 0);
	assert_void(tp_write(f->thread, f->region, 0, &value, 8), TP_NODE_CRASHED, 1, 0);
	assert_void(tp_atomic_add64(f->thread, f->region, 0, 1, NULL), TP_NODE_CRASHED,
		    TP_EFFECT_UNKNOWN, 0);
	assert_int_equal(tp_thread_stats_get(f->thread)->hits, 0);
	assert_true(tp_thread_stats_get(f->thread)->lease_lapses >= 3);
	f->fake->stopped = false;
	f->fake->node->lease_until_tsc = UINT64_MAX;
	fake_node_poll(f->fake);
	assert_ok(tp_read(f->thread, f->region, 0, &value, 8), 8);
}

static bool
hook_partition(struct fake_node *fake, const struct tp_abi_request *request,
	       struct tp_abi_completion *completion)
{
	completion->reason = TP_PARTITION;
	completion->effect = TP_EFFECT_NOT_DONE;
	return true;
}

static void
test_miss_refused_reason_of_node(void **state)
{
	struct fixture *f = *state;
	static uint8_t data[2 * FAKE_PAGE_BYTES];

	f->fake->hook = hook_partition;
	assert_void(tp_read(f->thread, f->region, 0, data, 8), TP_PARTITION, 1, 0);
	assert_void(tp_atomic_add64(f->thread, f->region, 0, 1, NULL), TP_PARTITION, 1, 0);
	/* The first page is here: that much of the write is done. */
	fake_page_publish(f->fake, 0, TP_ACCESS_WRITE);
	assert_void(tp_write(f->thread, f->region, 96, data, 5000), TP_PARTITION, 1, 4000);
	assert_false(fake_node_guarded(f->fake));
}

/* The grant has run out before the client looks: a fetch is repeated, nothing is touched. */
static bool
hook_late_once(struct fake_node *fake, const struct tp_abi_request *request,
	       struct tp_abi_completion *completion)
{
	fake->hook = NULL;
	completion->flags = TP_COMPLETION_GUARDED;
	completion->access = TP_ACCESS_WRITE;
	completion->slot = request->page_index;
	completion->guard_until_tsc = fake->tsc - 1;
	return true;
}

static void
test_grant_late_asked_again(void **state)
{
	struct fixture *f = *state;
	uint64_t value = 77, stale;

	memset(f->fake->slots, 0xee, FAKE_PAGE_BYTES);
	f->fake->hook = hook_late_once;
	assert_ok(tp_read(f->thread, f->region, 0, &stale, 8), 8);
	assert_int_equal(stale, page_word(f, 0, 0));
	assert_int_equal(f->fake->served[TP_ABI_READ], 2);

	f->fake->hook = hook_late_once;
	assert_ok(tp_write(f->thread, f->region, FAKE_PAGE_BYTES, &value, 8), 8);
	assert_int_equal(page_word(f, 1, 0), 77);
	assert_int_equal(f->fake->served[TP_ABI_WRITE], 2);
	assert_int_equal(tp_thread_stats_get(f->thread)->guards_broken, 2);
}

static bool
hook_nonsense(struct fake_node *fake, const struct tp_abi_request *request,
	      struct tp_abi_completion *completion)
{
	static uint32_t turn;

	completion->flags = TP_COMPLETION_GUARDED;
	completion->access = TP_ACCESS_WRITE;
	completion->slot = FAKE_SLOTS;
	completion->guard_until_tsc = UINT64_MAX;
	switch (turn++ % 4) {
	case 0:
		break;
	case 1:
		completion->slot = UINT32_MAX;
		break;
	case 2:
		completion->slot = 0;
		completion->access = TP_ACCESS_NONE;
		break;
	case 3:
		completion->reason = 200;
		break;
	}
	return true;
}

static void
test_answer_nonsense_corruption(void **state)
{
	struct fixture *f = *state;
	uint64_t value = 1;
	uint32_t i;

	f->fake->hook = hook_nonsense;
	for (i = 0; i < 4; i++)
		assert_void(tp_read(f->thread, f->region, 0, &value, 8), TP_CORRUPTION, 1, 0);
	for (i = 0; i < 4; i++)
		assert_void(tp_write(f->thread, f->region, 0, &value, 8), TP_CORRUPTION, 1, 0);
	for (i = 0; i < 4; i++)
		assert_void(tp_atomic_add64(f->thread, f->region, 0, 1, NULL), TP_CORRUPTION,
			    TP_EFFECT_UNKNOWN, 0);
	assert_false(fake_node_guarded(f->fake));
}

/* Any client can scribble on a word: a slot out of range is never followed. */
static void
test_word_slot_out_of_range_asks_node(void **state)
{
	struct fixture *f = *state;
	uint64_t value = 5;

	f->fake->words[0] = tp_word_make(9, FAKE_SLOTS, TP_ACCESS_WRITE);
	assert_ok(tp_read(f->thread, f->region, 0, &value, 8), 8);
	f->fake->words[1] = tp_word_make(9, (1u << TP_WORD_SLOT_BITS) - 1, TP_ACCESS_WRITE);
	assert_ok(tp_write(f->thread, f->region, FAKE_PAGE_BYTES, &value, 8), 8);
	assert_int_equal(f->fake->served[TP_ABI_READ] + f->fake->served[TP_ABI_WRITE], 2);
}

static void
test_generation_stale_void(void **state)
{
	struct fixture *f = *state;
	uint64_t value;

	f->fake->region.generation++;
	assert_void(tp_read(f->thread, f->region, 0, &value, 8), TP_GENERATION, 1, 0);
}

static void
test_pin_hit_and_miss_in_place(void **state)
{
	struct fixture *f = *state;
	struct tp_pin pin, other;
	uint64_t value;

	assert_ok(tp_pin(f->thread, f->region, 4 * FAKE_PAGE_BYTES + 16, 8, TP_ACCESS_WRITE, &pin),
		  8);
	*(uint64_t *)pin.address = 123;
	assert_false(fake_page_revoke(f->fake, 4));
	assert_ok(tp_unpin(f->thread, &pin), 0);
	assert_true(fake_page_revoke(f->fake, 4));
	assert_int_equal(page_word(f, 4, 16), 123);

	fake_page_publish(f->fake, 4, TP_ACCESS_READ);
	assert_ok(tp_pin(f->thread, f->region, 4 * FAKE_PAGE_BYTES, FAKE_PAGE_BYTES,
			 TP_ACCESS_READ, &pin), FAKE_PAGE_BYTES);
	assert_ok(tp_pin(f->thread, f->region, 4 * FAKE_PAGE_BYTES + 16, 8, TP_ACCESS_READ, &other),
		  8);
	assert_int_equal(*(uint64_t *)other.address, 123);
	assert_int_equal(f->fake->served[TP_ABI_READ], 0);
	assert_ok(tp_unpin(f->thread, &pin), 0);
	assert_false(fake_page_revoke(f->fake, 4));
	assert_ok(tp_unpin(f->thread, &other), 0);
	assert_true(fake_page_revoke(f->fake, 4));
	assert_void(tp_unpin(f->thread, &other), TP_INVALID, 1, 0);
	assert_ok(tp_read(f->thread, f->region, 4 * FAKE_PAGE_BYTES + 16, &value, 8), 8);
	assert_int_equal(value, 123);
}

static void
test_pin_held_too_long_unknown_only_if_taken(void **state)
{
	struct fixture *f = *state;
	struct tp_result result;
	struct tp_pin pin;

	fake_page_publish(f->fake, 0, TP_ACCESS_WRITE);
	assert_ok(tp_pin(f->thread, f->region, 0, 8, TP_ACCESS_WRITE, &pin), 8);
	f->fake->tsc = pin.valid_until_tsc + 1;
	/* Overdue, but nobody asked for the page. */
	assert_ok(tp_unpin(f->thread, &pin), 0);

	assert_ok(tp_pin(f->thread, f->region, 0, 8, TP_ACCESS_WRITE, &pin), 8);
	f->fake->tsc = pin.valid_until_tsc + 1;
	fake_page_revoke(f->fake, 0);
	result = tp_unpin(f->thread, &pin);
	assert_void(result, TP_TIMEOUT, TP_EFFECT_UNKNOWN, 0);
	/* Nobody can tell. */
	assert_false(tp_result_may_settle(result));

	assert_ok(tp_pin(f->thread, f->region, 0, 8, TP_ACCESS_READ, &pin), 8);
	f->fake->node->lease_until_tsc = f->fake->tsc;
	assert_void(tp_unpin(f->thread, &pin), TP_PARTITION, TP_EFFECT_NOT_DONE, 0);
}

static void
test_pin_too_many_exhausted_accesses_go_on(void **state)
{
	struct fixture *f = *state;
	struct tp_pin pins[17];
	uint64_t value;
	uint32_t i;

	for (i = 0; i < 16; i++)
		assert_ok(tp_pin(f->thread, f->region, i * FAKE_PAGE_BYTES, 8, TP_ACCESS_READ,
				 &pins[i]), 8);
	assert_void(tp_pin(f->thread, f->region, 0, 8, TP_ACCESS_READ, &pins[16]), TP_EXHAUSTED,
		    1, 0);
	value = 3;
	assert_ok(tp_write(f->thread, f->region, 0, &value, 8), 8);
	for (i = 0; i < 16; i++)
		assert_ok(tp_unpin(f->thread, &pins[i]), 0);
	assert_ok(tp_pin(f->thread, f->region, 0, 8, TP_ACCESS_READ, &pins[16]), 8);
	assert_ok(tp_unpin(f->thread, &pins[16]), 0);
	assert_false(fake_node_guarded(f->fake));
}

static void
test_flush_and_invalidate_ask_for_present_pages_only(void **state)
{
	struct fixture *f = *state;

	fake_page_publish(f->fake, 1, TP_ACCESS_READ);
	fake_page_publish(f->fake, 2, TP_ACCESS_WRITE);
	fake_page_publish(f->fake, 9, TP_ACCESS_WRITE);
	assert_ok(tp_flush(f->thread, f->region, 100, 5 * FAKE_PAGE_BYTES), 5 * FAKE_PAGE_BYTES);
	assert_int_equal(f->fake->served[TP_ABI_FLUSH], 1);
	assert_int_equal(f->fake->pages[2].access, TP_ACCESS_NONE);
	assert_int_equal(f->fake->pages[9].access, TP_ACCESS_WRITE);
	assert_ok(tp_invalidate(f->thread, f->region, FAKE_PAGE_BYTES, 1), 1);
	assert_int_equal(f->fake->pages[1].access, TP_ACCESS_NONE);
	assert_ok(tp_clear(f->thread, f->region), FAKE_REGION_BYTES);
	assert_int_equal(f->fake->pages[9].access, TP_ACCESS_NONE);
	assert_int_equal(f->fake->served[TP_ABI_INVALIDATE], 2);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		fixture_test(test_read_absent_page_fetched_then_hit),
		fixture_test(test_write_readable_page_upgraded_then_hit),
		fixture_test(test_access_over_pages_whole_range),
		fixture_test(test_vectors_scattered_in_order),
		fixture_test(test_arguments_bad_invalid),
		fixture_test(test_write_readonly_region_permission),
		fixture_test(test_atomic_each_op_at_home_and_in_place),
		fixture_test(test_atomic_granted_done_here),
		fixture_test(test_hit_lease_lapsed_asks_node),
		fixture_test(test_miss_refused_reason_of_node),
		fixture_test(test_grant_late_asked_again),
		fixture_test(test_answer_nonsense_corruption),
		fixture_test(test_word_slot_out_of_range_asks_node),
		fixture_test(test_generation_stale_void),
		fixture_test(test_pin_hit_and_miss_in_place),
		fixture_test(test_pin_held_too_long_unknown_only_if_taken),
		fixture_test(test_pin_too_many_exhausted_accesses_go_on),
		fixture_test(test_flush_and_invalidate_ask_for_present_pages_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
