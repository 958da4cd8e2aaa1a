/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <rte_errno.h>

#include "pool_helper.h"
#include "pool_priv.h"

/* Sizes around the borders of a bitmap word and of a summary word. */
static const uint32_t counts[] = { 1, 2, 63, 64, 65, 128, 4095, 4096, 4097, 5000 };

static uint64_t
clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void
test_pool_of_any_size_loans_every_slot_once_and_then_none(void **state)
{
	for (unsigned int i = 0; i < RTE_DIM(counts); i++) {
		struct pool_fixture fixture;

		pool_fixture_open(&fixture, 8, counts[i]);
		pool_check_whole(fixture.pool, 0);
		pool_check_whole(fixture.pool, 0);
		rte_errno = 0;
		for (uint32_t n = 0; n < counts[i]; n++)
			assert_true(tp_slot_pool_loan(fixture.pool) < counts[i]);
		assert_int_equal(tp_slot_pool_loan(fixture.pool), TP_SLOT_NONE);
		assert_int_equal(rte_errno, ENOSPC);
		assert_int_equal(tp_slot_pool_available(fixture.pool), 0);
		/* Any single slot put back is found again, wherever it is. */
		for (uint32_t n = 0; n < counts[i]; n += counts[i] / 7 + 1) {
			assert_int_equal(tp_slot_pool_return(fixture.pool, n), 0);
			assert_int_equal(tp_slot_pool_loan(fixture.pool), n);
		}
		pool_fixture_close(&fixture);
	}
}

static void
test_slot_returned_twice_or_never_loaned_is_detected(void **state)
{
	struct pool_fixture fixture;
	uint32_t index;

	pool_fixture_open(&fixture, 64, 100);
	assert_int_equal(tp_slot_pool_return(fixture.pool, 5), -EALREADY);
	assert_int_equal(tp_slot_pool_return(fixture.pool, 100), -EINVAL);
	assert_int_equal(tp_slot_pool_return(fixture.pool, TP_SLOT_NONE), -EINVAL);
	index = tp_slot_pool_loan(fixture.pool);
	assert_int_equal(tp_slot_pool_return(fixture.pool, index), 0);
	assert_int_equal(tp_slot_pool_return(fixture.pool, index), -EALREADY);
	pool_check_whole(fixture.pool, 0);
	pool_fixture_close(&fixture);
}

static void
test_slot_of_another_client_cannot_be_returned(void **state)
{
	struct pool_fixture fixture;
	struct tp_slot_pool *other;
	uint32_t index;

	pool_fixture_open(&fixture, 64, 100);
	other = tp_slot_pool_attach(fixture.segment, 0, 9);
	index = tp_slot_pool_loan(other);
	assert_int_equal(tp_slot_pool_return(fixture.pool, index), -EALREADY);
	assert_int_equal(tp_slot_pool_held(fixture.pool, 9), 1);
	tp_slot_pool_detach(other);
	pool_fixture_close(&fixture);
}

static void
test_bulk_is_all_or_none(void **state)
{
	struct pool_fixture fixture;
	uint32_t indices[200], again[3];

	pool_fixture_open(&fixture, 64, 150);
	assert_int_equal(tp_slot_pool_loan_bulk(fixture.pool, indices, 0), 0);
	assert_int_equal(tp_slot_pool_loan_bulk(fixture.pool, indices, 151), -ENOSPC);
	pool_check_whole(fixture.pool, 0);
	assert_int_equal(tp_slot_pool_loan_bulk(fixture.pool, indices, 150), 0);
	assert_int_equal(tp_slot_pool_held(fixture.pool, 0), 150);
	assert_int_equal(tp_slot_pool_loan_bulk(fixture.pool, again, 1), -ENOSPC);

	/* One bad index in the middle, a repeated one, or too many: nothing happens. */
	indices[70] = 150;
	assert_int_equal(tp_slot_pool_return_bulk(fixture.pool, indices, 150), -EINVAL);
	indices[70] = indices[69];
	assert_int_equal(tp_slot_pool_return_bulk(fixture.pool, indices, 150), -EALREADY);
	assert_int_equal(tp_slot_pool_return_bulk(fixture.pool, indices, TP_SLOT_BULK_MAX + 1),
			 -EINVAL);
	assert_int_equal(tp_slot_pool_held(fixture.pool, 0), 150);
	assert_int_equal(tp_slot_pool_available(fixture.pool), 0);
	for (uint32_t i = 0; i < 150; i++)
		indices[i] = 149 - i;
	assert_int_equal(tp_slot_pool_return_bulk(fixture.pool, indices, 150), 0);
	assert_int_equal(tp_slot_pool_return_bulk(fixture.pool, indices, 1), -EALREADY);
	pool_check_whole(fixture.pool, 0);
	pool_fixture_close(&fixture);
}

static void
test_wait_without_a_slot_ends_at_the_deadline(void **state)
{
	struct pool_fixture fixture;
	uint64_t deadline;

	pool_fixture_open(&fixture, 64, 1);
	assert_int_equal(tp_slot_pool_loan_wait(fixture.pool, 0), 0);
	rte_errno = 0;
	assert_int_equal(tp_slot_pool_loan_wait(fixture.pool, 0), TP_SLOT_NONE);
	assert_int_equal(rte_errno, ETIMEDOUT);
	deadline = clock_ns() + 30000000;
	assert_int_equal(tp_slot_pool_loan_wait(fixture.pool, deadline), TP_SLOT_NONE);
	assert_true(clock_ns() >= deadline);
	pool_fixture_close(&fixture);
}

static void *
wait_for_slot(void *arg)
{
	uint32_t index = tp_slot_pool_loan_wait(arg, clock_ns() + UINT64_C(20000000000));

	return (void *)(uintptr_t)index;
}

static void
test_wait_ends_when_a_slot_comes_back(void **state)
{
	struct pool_fixture fixture;
	struct tp_slot_cache cache;
	pthread_t thread;
	void *got;
	uint32_t index;

	pool_fixture_open(&fixture, 64, 1);
	assert_int_equal(tp_slot_cache_init(&cache, fixture.pool, 8), 0);
	for (int round = 0; round < 2; round++) {
		index = tp_slot_cache_loan(&cache);
		assert_int_equal(pthread_create(&thread, NULL, wait_for_slot, fixture.pool), 0);
		while (atomic_load(&fixture.pool->header->waiting) == 0)
			usleep(100);
		/* A cache keeps nothing back while somebody waits. */
		if (round == 0)
			assert_int_equal(tp_slot_pool_return(fixture.pool, index), 0);
		else
			assert_int_equal(tp_slot_cache_return(&cache, index), 0);
		pthread_join(thread, &got);
		assert_int_equal((uintptr_t)got, index);
		assert_int_equal(tp_slot_pool_return(fixture.pool, index), 0);
	}
	pool_fixture_close(&fixture);
}

static void
test_wait_of_a_killed_process_harms_nobody(void **state)
{
	struct pool_fixture fixture;
	uint32_t index;
	pid_t pid;

	pool_fixture_open(&fixture, 64, 1);
	index = tp_slot_pool_loan(fixture.pool);
	pid = fork();
	if (pid == 0) {
		tp_slot_pool_loan_wait(tp_slot_pool_attach(fixture.segment, 0, 1), UINT64_MAX);
		_exit(0);
	}
	while (atomic_load(&fixture.pool->header->waiting) == 0)
		usleep(100);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(tp_slot_pool_reap(fixture.pool, 1), 0);
	assert_int_equal(tp_slot_pool_return(fixture.pool, index), 0);
	assert_int_equal(atomic_load(&fixture.pool->header->waiting), 0);
	pool_check_whole(fixture.pool, 0);
	pool_fixture_close(&fixture);
}

static void
test_pool_with_scribbled_bitmap_hands_out_no_slot_twice(void **state)
{
	struct pool_fixture fixture;
	uint32_t indices[100];

	pool_fixture_open(&fixture, 64, 100);
	assert_int_equal(tp_slot_pool_loan_bulk(fixture.pool, indices, 60), 0);
	for (int i = 0; i < 2; i++)
		atomic_store(&fixture.pool->words[i].bits, UINT64_MAX);
	atomic_store(fixture.pool->summary, UINT64_MAX);
	assert_int_equal(tp_slot_pool_loan_bulk(fixture.pool, indices + 60, 41), -ENOSPC);
	assert_int_equal(tp_slot_pool_loan_bulk(fixture.pool, indices + 60, 40), 0);
	assert_int_equal(tp_slot_pool_return_bulk(fixture.pool, indices, 100), 0);
	pool_check_whole(fixture.pool, 0);
	pool_fixture_close(&fixture);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pool_of_any_size_loans_every_slot_once_and_then_none),
		cmocka_unit_test(test_slot_returned_twice_or_never_loaned_is_detected),
		cmocka_unit_test(test_slot_of_another_client_cannot_be_returned),
		cmocka_unit_test(test_bulk_is_all_or_none),
		cmocka_unit_test(test_wait_without_a_slot_ends_at_the_deadline),
		cmocka_unit_test(test_wait_ends_when_a_slot_comes_back),
		cmocka_unit_test(test_wait_of_a_killed_process_harms_nobody),
		cmocka_unit_test(test_pool_with_scribbled_bitmap_hands_out_no_slot_twice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
