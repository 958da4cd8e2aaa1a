/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Accesses in flight: deadlines, late answers, a node that dies or lies, full
 * rings, and what happens between threads of one node.
 */
#include "fixture.h"
#include "tp_shard.h"

#define OPS_MANY 100

static bool
hook_hold(struct fake_node *fake, const struct tp_abi_request *request,
	  struct tp_abi_completion *completion)
{
	return false;
}

static uint32_t
worker_of(uint32_t page)
{
	return tp_shard_worker(tp_shard_of(FAKE_REGION_ADDRESS + (uint64_t)page * FAKE_PAGE_BYTES,
					   12), FAKE_WORKERS);
}

/* Past the deadline the access ends and names no page; what it took is free after the answer. */
static void
test_op_no_answer_timeout_then_late_answer_frees(void **state)
{
	struct fixture *f = *state;
	struct tp_abi_completion late = { .flags = TP_COMPLETION_GUARDED };
	uint64_t value = 0x5555555555555555;

	f->fake->hook = hook_hold;
	assert_void(tp_read(f->thread, f->region, 0, &value, 8), TP_TIMEOUT, TP_EFFECT_NOT_DONE, 0);
	assert_false(fake_node_guarded(f->fake));
	assert_true(f->fake->last.deadline_tsc < f->fake->tsc);

	f->fake->hook = NULL;
	late.cookie = f->fake->last.cookie;
	late.access = TP_ACCESS_READ;
	late.guard_until_tsc = UINT64_MAX;
	fake_node_answer(f->fake, 0, worker_of(0), &late);
	assert_ok(tp_read(f->thread, f->region, FAKE_PAGE_BYTES * 3, &value, 0), 0);
	assert_int_equal(value, 0x5555555555555555);
	assert_ok(tp_read(f->thread, f->region, FAKE_PAGE_BYTES * 3, &value, 8), 8);
	assert_int_equal(tp_thread_stats_get(f->thread)->late, 1);
	assert_false(fake_node_guarded(f->fake));
}

static void
test_op_mutations_no_answer_effect_known_or_not(void **state)
{
	struct fixture *f = *state;
	struct tp_pin pin;
	uint64_t value = 1;

	f->fake->hook = hook_hold;
	tp_thread_timeout_set(f->thread, 1000000);
	/* A write only fetches before it is granted: nothing can have happened. */
	assert_void(tp_write(f->thread, f->region, 0, &value, 8), TP_TIMEOUT, 1, 0);
	assert_void(tp_atomic_load64(f->thread, f->region, 0, &value), TP_TIMEOUT, 1, 0);
	assert_void(tp_pin(f->thread, f->region, 0, 8, TP_ACCESS_WRITE, &pin), TP_TIMEOUT, 1, 0);
	assert_void(tp_flush(f->thread, f->region, 0, 8), TP_OK, TP_EFFECT_DONE, 8);
	assert_void(tp_atomic_add64(f->thread, f->region, 0, 1, NULL), TP_TIMEOUT,
		    TP_EFFECT_UNKNOWN, 0);
	assert_int_equal(value, 1);
}

/* A write whose answer is late must not be carried out by that answer. */
static void
test_op_late_grant_after_end_touches_nothing(void **state)
{
	struct fixture *f = *state;
	struct tp_abi_completion late = { .access = TP_ACCESS_WRITE, .guard_until_tsc = UINT64_MAX,
					  .flags = TP_COMPLETION_GUARDED };
	uint64_t value = 0xdeadbeef, before;

	f->fake->hook = hook_hold;
	assert_void(tp_write(f->thread, f->region, 0, &value, 8), TP_TIMEOUT, 1, 0);
	late.cookie = f->fake->last.cookie;
	fake_page_publish(f->fake, 0, TP_ACCESS_READ);
	memcpy(&before, fake_page_data(f->fake, 0), 8);
	fake_node_answer(f->fake, 0, worker_of(0), &late);
	f->fake->hook = NULL;
	/* The thread looks at its answers when the next access asks. */
	assert_ok(tp_write(f->thread, f->region, FAKE_PAGE_BYTES, &value, 8), 8);
	assert_ok(tp_invalidate(f->thread, f->region, FAKE_PAGE_BYTES, 8), 8);
	assert_memory_equal(fake_page_data(f->fake, 0), &before, 8);
}

static bool
hook_hold_third(struct fake_node *fake, const struct tp_abi_request *request,
		struct tp_abi_completion *completion)
{
	uint32_t i;

	if (request->op != TP_ABI_FETCH)
		return request->page_index != 2;
	for (i = 0; i < request->width && request->pages[i] != 2; i++)
		;
	return i == request->width;
}

/* What was done is told, of the rest nothing comes later. */
static void
test_op_ends_midway_prefix_is_told(void **state)
{
	struct fixture *f = *state;
	struct tp_abi_completion late = { .access = TP_ACCESS_READ, .slot = 2,
		.guard_until_tsc = UINT64_MAX, .flags = TP_COMPLETION_GUARDED };
	static uint8_t buffer[4 * FAKE_PAGE_BYTES];
	uint32_t prefix = 2 * FAKE_PAGE_BYTES - 100, i;
	struct tp_vector pieces[2] = {
		{ .offset = 0, .buffer = buffer, .bytes = 8 },
		{ .offset = FAKE_PAGE_BYTES, .buffer = buffer + 8, .bytes = 3 * FAKE_PAGE_BYTES },
	};

	f->fake->hook = hook_hold_third;
	memset(buffer, 0xa5, sizeof(buffer));
	assert_void(tp_read(f->thread, f->region, 100, buffer, 3 * FAKE_PAGE_BYTES), TP_TIMEOUT,
		    TP_EFFECT_NOT_DONE, prefix);
	assert_memory_equal(buffer, f->fake->pages[0].home + 100, FAKE_PAGE_BYTES - 100);
	late.cookie = f->fake->last.cookie;
	fake_node_answer(f->fake, 0, worker_of(2), &late);
	assert_void(tp_readv(f->thread, f->region, pieces, 2), TP_TIMEOUT, TP_EFFECT_NOT_DONE,
		    8 + FAKE_PAGE_BYTES);
	for (i = prefix; i < sizeof(buffer); i++)
		assert_int_equal(buffer[i], 0xa5);
	assert_void(tp_write(f->thread, f->region, 100, buffer, 3 * FAKE_PAGE_BYTES), TP_TIMEOUT,
		    TP_EFFECT_NOT_DONE, prefix);
	assert_memory_equal(fake_page_data(f->fake, 1), buffer + FAKE_PAGE_BYTES - 100,
			    FAKE_PAGE_BYTES);
}

/* Pages that are there are no reason to go on past the deadline: 64 pieces, then the clock. */
static void
test_op_many_hits_deadline_ends_them(void **state)
{
	struct fixture *f = *state;
	struct tp_vector vectors[OPS_MANY];
	uint64_t value = 7;
	int i;

	fake_page_publish(f->fake, 0, TP_ACCESS_WRITE);
	for (i = 0; i < OPS_MANY; i++)
		vectors[i] = (struct tp_vector){ .offset = 8 * (uint64_t)i, .buffer = &value,
						 .bytes = 8 };
	tp_thread_timeout_set(f->thread, 0);
	assert_ok(tp_readv(f->thread, f->region, vectors, 64), 64 * 8);
	assert_void(tp_readv(f->thread, f->region, vectors, OPS_MANY), TP_TIMEOUT,
		    TP_EFFECT_NOT_DONE, 64 * 8);
	value = 7;
	assert_void(tp_writev(f->thread, f->region, vectors, OPS_MANY), TP_TIMEOUT,
		    TP_EFFECT_NOT_DONE, 64 * 8);
	assert_int_equal(fake_page_data(f->fake, 0)[63 * 8], 7);
	assert_int_equal(fake_page_data(f->fake, 0)[64 * 8], f->fake->pages[0].home[64 * 8]);
	assert_int_equal(tp_thread_stats_get(f->thread)->timeouts, 2);
	tp_thread_timeout_set(f->thread, 1000000);
	assert_ok(tp_readv(f->thread, f->region, vectors, OPS_MANY), OPS_MANY * 8);
}

static void
test_op_node_stopped_node_crashed(void **state)
{
	struct fixture *f = *state;
	uint64_t value;

	f->fake->stopped = true;
	assert_void(tp_read(f->thread, f->region, 0, &value, 8), TP_NODE_CRASHED, 1, 0);
	/* Too short a time to call it dead. */
	tp_thread_timeout_set(f->thread, 1000000);
	assert_void(tp_read(f->thread, f->region, 0, &value, 8), TP_TIMEOUT, 1, 0);
}

/* The node stands still from now on, and each look at the clock takes so long. When that was. */
static uint64_t
node_stand_still(struct fixture *f, uint64_t step_ticks)
{
	uint64_t value;

	tp_thread_timeout_set(f->thread, 5000000000u);
	assert_ok(tp_read(f->thread, f->region, 0, &value, 8), 8);
	f->fake->stopped = true;
	f->fake->tsc_step = step_ticks;
	return f->fake->tsc;
}

/* A read is told that the node has crashed: after how many ticks. */
static uint64_t
crash_heard_after(struct fixture *f)
{
	uint64_t from = f->fake->tsc;
	uint64_t value;

	assert_void(tp_read(f->thread, f->region, FAKE_PAGE_BYTES, &value, 8), TP_NODE_CRASHED, 1,
		    0);
	return f->fake->tsc - from;
}

/* Long before the deadline: without a lease it grants nothing, and it renews none. */
static void
test_op_node_still_without_lease_node_crashed_soon(void **state)
{
	struct fixture *f = *state;
	uint64_t ms = f->fake->node->tsc_hz / 1000;
	uint64_t value, from;

	f->fake->node->lease_until_tsc = node_stand_still(f, ms) + 60 * ms;
	assert_in_range(crash_heard_after(f), 60 * ms, 200 * ms);
	/* It is the same node: nobody waits for it again. */
	from = f->fake->tsc;
	assert_void(tp_atomic_add64(f->thread, f->region, FAKE_PAGE_BYTES, 1, &value),
		    TP_NODE_CRASHED, TP_EFFECT_UNKNOWN, 0);
	assert_in_range(f->fake->tsc - from, 0, 20 * ms);
	/* It goes on. */
	f->fake->stopped = false;
	f->fake->tsc_step = 1000;
	f->fake->node->lease_until_tsc = UINT64_MAX;
	assert_ok(tp_read(f->thread, f->region, 2 * FAKE_PAGE_BYTES, &value, 8), 8);
}

/* What passes while the thread does not look itself is not charged to the node. */
static void
test_op_thread_off_its_core_node_is_not_called_still(void **state)
{
	struct fixture *f = *state;
	uint64_t ms = f->fake->node->tsc_hz / 1000;

	f->fake->node->lease_until_tsc = node_stand_still(f, 300 * ms);
	assert_in_range(crash_heard_after(f), 1200 * ms, 4000 * ms);
	/* While the lease runs it may grant something yet. */
	f->fake->node->lease_until_tsc = UINT64_MAX;
	assert_true(crash_heard_after(f) >= 5000 * ms);
}

/* No deadline at all is not one that has passed. */
static void
test_op_timeout_endless_not_expired(void **state)
{
	struct fixture *f = *state;
	uint64_t value;

	f->fake->tsc = UINT64_MAX / 2;
	tp_thread_timeout_set(f->thread, UINT64_MAX);
	assert_ok(tp_read(f->thread, f->region, 0, &value, 8), 8);
}

/* More accesses than records: the rest waits its turn, all end, indices wrap many times. */
static void
test_op_more_than_ring_all_done(void **state)
{
	struct fixture *f = *state;
	static struct tp_op ops[200];
	uint64_t values[200];
	uint32_t round, i;

	for (round = 0; round < 20; round++) {
		for (i = 0; i < FAKE_PAGES; i++)
			assert_true(fake_page_revoke(f->fake, i));
		for (i = 0; i < 200; i++) {
			uint64_t offset = i % FAKE_PAGES * FAKE_PAGE_BYTES + i / FAKE_PAGES * 8;

			if (i % 3 == 0)
				tp_submit_atomic(f->thread, f->region, offset, TP_ATOMIC_ADD, 8, 1,
						 0, &ops[i]);
			else
				tp_submit_read(f->thread, f->region, offset, &values[i], 8,
					       &ops[i]);
		}
		for (i = 0; i < 200; i++)
			assert_ok(tp_op_wait(f->thread, &ops[199 - i]), 8);
	}
	assert_false(fake_node_guarded(f->fake));
	assert_int_equal(tp_thread_stats_get(f->thread)->voids, 0);
}

static void
test_op_nops_fill_rings_and_wrap(void **state)
{
	struct fixture *f = *state;
	static struct tp_op ops[100];
	uint32_t round, i;

	for (round = 0; round < 50; round++) {
		for (i = 0; i < 100; i++)
			tp_submit_nop(f->thread, 1, &ops[i]);
		for (i = 0; i < 100; i++)
			assert_true(tp_result_is_ok(tp_op_wait(f->thread, &ops[i])));
	}
	assert_int_equal(f->fake->served[TP_ABI_NOP], 5000);
}

/* Queued for want of a record, with no answer ever: ends at its deadline too. */
static void
test_op_queued_no_answer_timeout(void **state)
{
	struct fixture *f = *state;
	static struct tp_op ops[OPS_MANY];
	uint64_t values[OPS_MANY];
	uint32_t i;

	f->fake->hook = hook_hold;
	for (i = 0; i < OPS_MANY; i++)
		assert_false(tp_submit_read(f->thread, f->region, 0, &values[i], 8, &ops[i]));
	for (i = 0; i < OPS_MANY; i++)
		assert_void(tp_op_wait(f->thread, &ops[i]), TP_TIMEOUT, 1, 0);
	assert_int_equal(f->fake->served[TP_ABI_READ], 15);
}

/* A long access asks ahead: one turn of the node brings many pages, each asked for once. */
static void
test_op_long_read_asks_ahead(void **state)
{
	struct fixture *f = *state;
	static uint8_t data[FAKE_REGION_BYTES];
	const struct tp_thread_stats *stats = tp_thread_stats_get(f->thread);
	uint32_t page;

	fake_page_publish(f->fake, 3, TP_ACCESS_READ);
	assert_ok(tp_read(f->thread, f->region, 100, data, sizeof(data) - 200),
		  sizeof(data) - 200);
	for (page = 1; page < FAKE_PAGES - 1; page++)
		assert_memory_equal(data + page * FAKE_PAGE_BYTES - 100,
				    f->fake->pages[page].home, FAKE_PAGE_BYTES);
	for (page = 1; page < FAKE_PAGES; page++)
		assert_int_equal(f->fake->fetched[page], page != 3);
	assert_int_equal(f->fake->served[TP_ABI_READ], 1);
	assert_int_equal(stats->misses, 1);
	assert_int_equal(stats->fetches_ahead, FAKE_PAGES - 2);
	assert_int_equal(f->fake->polls, 1);
	/* Not past the end of what is wanted, and not for what is present. */
	assert_true(fake_page_revoke(f->fake, 8) && fake_page_revoke(f->fake, 9));
	assert_ok(tp_read(f->thread, f->region, 7 * FAKE_PAGE_BYTES, data, FAKE_PAGE_BYTES * 2),
		  FAKE_PAGE_BYTES * 2);
	assert_int_equal(f->fake->served[TP_ABI_READ], 2);
	assert_int_equal(f->fake->fetched[9], 1);
	assert_false(fake_node_guarded(f->fake));
}

/* Many pieces are one long access: their pages are asked for together, wherever they are. */
static void
test_op_scattered_read_asks_ahead(void **state)
{
	struct fixture *f = *state;
	static const uint32_t pages[] = { 9, 2, 14, 2, 5, 11 };
	struct tp_vector vectors[RTE_DIM(pages) + 1];
	uint64_t values[RTE_DIM(pages)];
	uint32_t i;

	for (i = 0; i < RTE_DIM(pages); i++)
		vectors[i] = (struct tp_vector){ pages[i] * FAKE_PAGE_BYTES + 8, &values[i], 8 };
	/* An empty piece touches no page. */
	vectors[i] = vectors[i - 1];
	vectors[i - 1] = (struct tp_vector){ 3 * FAKE_PAGE_BYTES, NULL, 0 };
	vectors[i].buffer = &values[i - 1];
	assert_ok(tp_readv(f->thread, f->region, vectors, RTE_DIM(vectors)), 8 * RTE_DIM(pages));
	for (i = 0; i < RTE_DIM(pages); i++)
		assert_memory_equal(&values[i], f->fake->pages[pages[i]].home + 8, 8);
	assert_int_equal(f->fake->served[TP_ABI_READ], 1);
	assert_int_equal(f->fake->fetched[9] + f->fake->fetched[3], 0);
	assert_int_equal(f->fake->fetched[14] + f->fake->fetched[5] + f->fake->fetched[11], 3);
	assert_int_equal(f->fake->polls, 1);
}

/* Pages that were fetched ahead and went away again are asked for in earnest. */
static bool
hook_steal_ahead(struct fake_node *fake, const struct tp_abi_request *request,
		 struct tp_abi_completion *completion)
{
	if (request->guard != 0xff)
		return true;
	/* Answered, but somebody else took the page at once. */
	completion->flags = 0;
	completion->reason = TP_UNREACHABLE;
	completion->effect = TP_EFFECT_NOT_DONE;
	return true;
}

static void
test_op_ahead_fails_access_goes_on(void **state)
{
	struct fixture *f = *state;
	static uint8_t data[FAKE_REGION_BYTES];

	memset(data, 0x3c, sizeof(data));
	f->fake->hook = hook_steal_ahead;
	assert_ok(tp_write(f->thread, f->region, 0, data, sizeof(data)), sizeof(data));
	assert_memory_equal(fake_page_data(f->fake, 15), data, FAKE_PAGE_BYTES);
	assert_int_equal(tp_thread_stats_get(f->thread)->misses, FAKE_PAGES);
	assert_int_equal(tp_thread_stats_get(f->thread)->late, 0);
	assert_false(fake_node_guarded(f->fake));
}

static bool
hook_exhausted(struct fake_node *fake, const struct tp_abi_request *request,
	       struct tp_abi_completion *completion)
{
	if (fake->served[request->op] > 3 && fake->tsc_step == 1000)
		return true;
	completion->reason = TP_EXHAUSTED;
	completion->effect = TP_EFFECT_NOT_DONE;
	return true;
}

/* A node that is full for a moment is asked again; one that stays full has the last word. */
static void
test_op_node_full_asked_again_for_a_while(void **state)
{
	struct fixture *f = *state;
	uint64_t value = 6, began;

	f->fake->hook = hook_exhausted;
	assert_ok(tp_write(f->thread, f->region, 0, &value, 8), 8);
	assert_int_equal(f->fake->served[TP_ABI_WRITE], 4);
	assert_ok(tp_atomic_add64(f->thread, f->region, FAKE_PAGE_BYTES, 1, NULL), 8);
	assert_int_equal(f->fake->served[TP_ABI_ATOMIC], 4);
	f->fake->tsc_step = 1001;
	began = f->fake->tsc;
	assert_void(tp_read(f->thread, f->region, 4 * FAKE_PAGE_BYTES, &value, 8), TP_EXHAUSTED,
		    1, 0);
	assert_true(f->fake->tsc - began < TP_CLIENT_TIMEOUT_NS / 7);
	assert_true(f->fake->tsc - began > TP_CLIENT_TIMEOUT_NS / 9);
}

/* Polling one access also brings the others to their end. */
static void
test_op_polled_others_done_too(void **state)
{
	struct fixture *f = *state;
	struct tp_op a, b;
	uint64_t va, vb = 42;

	assert_false(tp_submit_read(f->thread, f->region, 0, &va, 8, &a));
	assert_false(tp_submit_write(f->thread, f->region, FAKE_PAGE_BYTES, &vb, 8, &b));
	assert_ok(tp_op_wait(f->thread, &a), 8);
	assert_int_equal(b.state, 0);
	assert_memory_equal(fake_page_data(f->fake, 1), &vb, 8);
	assert_false(fake_node_guarded(f->fake));
	assert_true(tp_op_poll(f->thread, &b));
}

static void
thread_corrupt_check(struct fixture *f, const struct tp_abi_completion *bad, uint32_t count)
{
	struct tp_op op;
	uint64_t value;
	uint32_t i;

	assert_false(tp_submit_read(f->thread, f->region, 0, &value, 8, &op));
	f->fake->hook = hook_hold;
	fake_node_poll(f->fake);
	for (i = 0; i < count; i++)
		fake_node_answer(f->fake, 0, worker_of(0), bad);
	assert_void(tp_op_wait(f->thread, &op), TP_CORRUPTION, 1, 0);
	/* The thread is out of use, and says so at once. */
	assert_void(tp_read(f->thread, f->region, 0, &value, 8), TP_CORRUPTION, 1, 0);
	assert_int_equal(tp_thread_stats_get(f->thread)->bad_answers, 1);
}

static void
test_ring_unknown_cookie_corruption(void **state)
{
	struct fixture *f = *state;
	struct tp_abi_completion bad = { .cookie = 0x12345678 };

	thread_corrupt_check(f, &bad, 1);
}

static void
test_ring_more_answers_than_requests_corruption(void **state)
{
	struct fixture *f = *state;
	struct tp_abi_completion bad = { .cookie = 0 };

	thread_corrupt_check(f, &bad, 2);
}

static void
test_thread_registered_until_all_taken_and_again(void **state)
{
	struct fixture *f = *state;
	struct tp_thread *threads[FAKE_THREADS], *one_more;
	uint64_t value;
	uint32_t i;

	for (i = 1; i < FAKE_THREADS; i++)
		assert_int_equal(tp_thread_register(f->client, &threads[i]), 0);
	assert_int_equal(tp_thread_register(f->client, &one_more), -EAGAIN);
	assert_int_equal(f->fake->client->threads[2].active, 1);
	tp_thread_unregister(threads[2]);
	assert_int_equal(f->fake->client->threads[2].active, 0);
	assert_int_equal(tp_thread_register(f->client, &one_more), 0);
	assert_ptr_equal(one_more, threads[2]);
	assert_ok(tp_read(one_more, f->region, 0, &value, 8), 8);
}

/* Given back while an answer is outstanding: not used again before it came. */
static void
test_thread_retired_reused_after_late_answer(void **state)
{
	struct fixture *f = *state;
	struct tp_thread *threads[FAKE_THREADS], *again;
	struct tp_abi_completion late = { .reason = TP_TIMEOUT, .effect = TP_EFFECT_NOT_DONE };
	struct tp_op op;
	uint64_t value;
	uint32_t i;

	for (i = 1; i < FAKE_THREADS; i++)
		assert_int_equal(tp_thread_register(f->client, &threads[i]), 0);
	f->fake->hook = hook_hold;
	assert_false(tp_submit_read(threads[1], f->region, 0, &value, 8, &op));
	fake_node_poll(f->fake);
	tp_thread_unregister(threads[1]);
	assert_void(op.result, TP_TIMEOUT, TP_EFFECT_NOT_DONE, 0);
	assert_int_equal(tp_thread_register(f->client, &again), -EAGAIN);
	late.cookie = f->fake->last.cookie;
	fake_node_answer(f->fake, 1, worker_of(0), &late);
	assert_int_equal(tp_thread_register(f->client, &again), 0);
	assert_false(fake_node_guarded(f->fake));
}

/*
 * A revocation in the middle of a write hit cannot be staged in one thread; what
 * follows from it can: the hazard slot is seen while the access is on.
 */
static void
test_guard_waiting_not_a_guard_until_granted(void **state)
{
	struct fixture *f = *state;
	struct tp_op op;
	uint64_t value = 1;

	fake_page_publish(f->fake, 0, TP_ACCESS_READ);
	assert_false(tp_submit_write(f->thread, f->region, 0, &value, 8, &op));
	/* Announced only: the page may still be taken away. */
	assert_true(fake_node_guarded(f->fake));
	assert_true(fake_page_revoke(f->fake, 0));
	fake_node_poll(f->fake);
	/* Granted: now it may not, until the access is done. */
	assert_false(fake_page_revoke(f->fake, 0));
	assert_true(tp_op_poll(f->thread, &op));
	assert_ok(op.result, 8);
	assert_true(fake_page_revoke(f->fake, 0));
	assert_memory_equal(f->fake->pages[0].home, &value, 8);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		fixture_test(test_op_no_answer_timeout_then_late_answer_frees),
		fixture_test(test_op_mutations_no_answer_effect_known_or_not),
		fixture_test(test_op_late_grant_after_end_touches_nothing),
		fixture_test(test_op_ends_midway_prefix_is_told),
		fixture_test(test_op_many_hits_deadline_ends_them),
		fixture_test(test_op_node_stopped_node_crashed),
		fixture_test(test_op_node_still_without_lease_node_crashed_soon),
		fixture_test(test_op_thread_off_its_core_node_is_not_called_still),
		fixture_test(test_op_timeout_endless_not_expired),
		fixture_test(test_op_more_than_ring_all_done),
		fixture_test(test_op_nops_fill_rings_and_wrap),
		fixture_test(test_op_queued_no_answer_timeout),
		fixture_test(test_op_long_read_asks_ahead),
		fixture_test(test_op_scattered_read_asks_ahead),
		fixture_test(test_op_ahead_fails_access_goes_on),
		fixture_test(test_op_node_full_asked_again_for_a_while),
		fixture_test(test_op_polled_others_done_too),
		fixture_test(test_ring_unknown_cookie_corruption),
		fixture_test(test_ring_more_answers_than_requests_corruption),
		fixture_test(test_thread_registered_until_all_taken_and_again),
		fixture_test(test_thread_retired_reused_after_late_answer),
		fixture_test(test_guard_waiting_not_a_guard_until_granted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
