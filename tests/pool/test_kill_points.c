/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A process dies after each of its stores to shared memory in turn, in every
 * operation of a pool. Then it is reaped, and nothing may be lost or owned
 * twice, and what others hold must be as it was.
 *
 * The library's files are compiled here once more, with a hook after each store;
 * the archive's members of the same names are then not linked.
 */
#define POOL_KILL_POINTS
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "slot_pool.c"
#include "slot_loan.c"
#include "slot_cache.c"
#include "slot_reap.c"
#include "buffer.c"

#include "pool_helper.h"

#define SLOT_COUNT 150		/* three bitmap words, the last one partly used */
#define VICTIM 1
#define BYSTANDER 0
#define OTHER 2
#define EXIT_KILLED 77
#define EXIT_DONE 78

/* 0 in the bystander: it never dies. */
static unsigned int kill_at;
static unsigned int step_count;

void
pool_step_hook(const char *step)
{
	if (kill_at != 0 && ++step_count == kill_at)
		_exit(EXIT_KILLED);
}

/* What the bystander set up for the victim and holds itself. */
struct scene {
	struct pool_fixture fixture;
	struct tp_buffer own;		/* stamped; must survive */
	struct tp_buffer offered;	/* by the bystander, to the victim */
	int handles[2];			/* pipe, victim to bystander */
};

#define SURE(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "victim: line %d: %s\n", __LINE__, #condition); \
			_exit(1); \
		} \
	} while (0)

static struct tp_slot_pool *
victim_attach(struct scene *scene)
{
	struct tp_slot_pool *pool = tp_slot_pool_attach(scene->fixture.segment, 0, VICTIM);

	SURE(pool != NULL);
	return pool;
}

static void
victim_loans_and_returns_one(struct scene *scene)
{
	struct tp_slot_pool *pool = victim_attach(scene);
	uint32_t first = tp_slot_pool_loan(pool), second = tp_slot_pool_loan(pool);

	SURE(first != TP_SLOT_NONE && second != TP_SLOT_NONE);
	SURE(tp_slot_pool_return(pool, first) == 0);
	SURE(tp_slot_pool_return(pool, second) == 0);
	SURE(tp_slot_pool_return(pool, second) == -EALREADY);
}

static void
victim_loans_and_returns_in_bulk(struct scene *scene)
{
	struct tp_slot_pool *pool = victim_attach(scene);
	uint32_t indices[SLOT_COUNT];

	SURE(tp_slot_pool_loan_bulk(pool, indices, 70) == 0);
	SURE(tp_slot_pool_loan_bulk(pool, indices + 70, SLOT_COUNT - 70) == -ENOSPC);
	SURE(tp_slot_pool_return_bulk(pool, indices, 70) == 0);
}

static void
victim_exhausts_and_refills(struct scene *scene)
{
	struct tp_slot_pool *pool = victim_attach(scene);
	uint32_t indices[SLOT_COUNT], count = 0;

	while ((indices[count] = tp_slot_pool_loan(pool)) != TP_SLOT_NONE)
		count++;
	SURE(count > 100);
	while (count > 0)
		SURE(tp_slot_pool_return(pool, indices[--count]) == 0);
}

static void
victim_works_through_a_cache(struct scene *scene)
{
	struct tp_slot_pool *pool = victim_attach(scene);
	struct tp_slot_cache cache;
	uint32_t indices[20];

	SURE(tp_slot_cache_init(&cache, pool, 8) == 0);
	for (int i = 0; i < 20; i++) {
		indices[i] = tp_slot_cache_loan(&cache);
		SURE(indices[i] != TP_SLOT_NONE);
	}
	for (int i = 0; i < 20; i++)
		SURE(tp_slot_cache_return(&cache, indices[i]) == 0);
	tp_slot_cache_flush(&cache);
}

static void
victim_waits_in_vain_then_returns(struct scene *scene)
{
	struct tp_slot_pool *pool = victim_attach(scene);
	uint32_t indices[SLOT_COUNT], count = 0;

	while ((indices[count] = tp_slot_pool_loan(pool)) != TP_SLOT_NONE)
		count++;
	/* A deadline that is over by the second look. */
	SURE(tp_slot_pool_loan_wait(pool, clock_now_ns() + 100000) == TP_SLOT_NONE);
	SURE(tp_slot_pool_return_bulk(pool, indices, count) == 0);
}

static void
victim_clones_and_slices(struct scene *scene)
{
	struct tp_slot_pool *pool = victim_attach(scene);
	struct tp_buffer buffer, clone, slice;

	SURE(tp_buffer_alloc(pool, NULL, 64, &buffer) == 0);
	SURE(tp_buffer_clone(pool, &buffer, &clone) == 0);
	SURE(tp_buffer_slice(pool, &clone, 8, 8, &slice) == 0);
	SURE(tp_buffer_release(pool, NULL, &buffer) == 0);
	SURE(tp_buffer_release(pool, NULL, &slice) == 0);
	SURE(tp_buffer_release(pool, NULL, &clone) == 0);
}

static void
victim_gives(struct scene *scene)
{
	struct tp_slot_pool *pool = victim_attach(scene);
	struct tp_buffer buffer, handle;

	for (int i = 0; i < 2; i++) {
		SURE(tp_buffer_alloc(pool, NULL, 64, &buffer) == 0);
		memcpy(tp_buffer_data(pool, &buffer), "given", 6);
		SURE(tp_buffer_offer(pool, &buffer, &handle) == 0);
		SURE(write(scene->handles[1], &handle, sizeof(handle)) == sizeof(handle));
		SURE(tp_buffer_release(pool, NULL, &buffer) == 0);
		SURE(tp_buffer_settle(pool, &handle) == 0);
	}
}

static void
victim_takes(struct scene *scene)
{
	struct tp_slot_pool *pool = victim_attach(scene);
	struct tp_buffer first, second;

	SURE(tp_buffer_accept(pool, &scene->offered, &first) == 0);
	SURE(tp_buffer_accept(pool, &scene->offered, &second) == 0);
	SURE(strcmp(tp_buffer_data(pool, &first), "offered") == 0);
	SURE(tp_buffer_release(pool, NULL, &first) == 0);
	SURE(tp_buffer_release(pool, NULL, &second) == 0);
}

static void
victim_attaches_and_detaches(struct scene *scene)
{
	struct tp_slot_pool *pool = victim_attach(scene);

	SURE(tp_slot_pool_loan(pool) != TP_SLOT_NONE);
	SURE(tp_slot_pool_loan(pool) != TP_SLOT_NONE);
	tp_slot_pool_detach(pool);
}

/* Reaping is no safer a place to die. */
static void
victim_reaps_another(struct scene *scene)
{
	unsigned int at = kill_at;
	struct tp_slot_pool *pool, *other;
	uint32_t indices[40];

	kill_at = 0;
	other = tp_slot_pool_attach(scene->fixture.segment, 0, OTHER);
	SURE(other != NULL);
	SURE(tp_slot_pool_loan_bulk(other, indices, 40) == 0);
	kill_at = at;
	pool = victim_attach(scene);
	SURE(tp_slot_pool_reap(pool, OTHER) == 40);
}

static void
scene_open(struct scene *scene)
{
	struct tp_buffer buffer;

	pool_fixture_open(&scene->fixture, 64, SLOT_COUNT);
	assert_int_equal(pipe(scene->handles), 0);
	assert_int_equal(tp_buffer_alloc(scene->fixture.pool, NULL, 64, &scene->own), 0);
	memset(tp_buffer_data(scene->fixture.pool, &scene->own), 0x5a, 64);
	assert_int_equal(tp_buffer_alloc(scene->fixture.pool, NULL, 64, &buffer), 0);
	strcpy(tp_buffer_data(scene->fixture.pool, &buffer), "offered");
	assert_int_equal(tp_buffer_offer(scene->fixture.pool, &buffer, &scene->offered), 0);
	assert_int_equal(tp_buffer_release(scene->fixture.pool, NULL, &buffer), 0);
}

static void
scene_close(struct scene *scene)
{
	close(scene->handles[0]);
	pool_fixture_close(&scene->fixture);
}

/* Take what the victim gave, before or after it is reaped: either it is whole
 * or it is refused. Returns how many were taken.
 */
static unsigned int
scene_accept(struct scene *scene, struct tp_buffer *taken, unsigned int max)
{
	struct tp_slot_pool *pool = scene->fixture.pool;
	struct tp_buffer handle;
	unsigned int count = 0;

	while (count < max && read(scene->handles[0], &handle, sizeof(handle)) == sizeof(handle)) {
		int ret = tp_buffer_accept(pool, &handle, &taken[count]);

		assert_true(ret == 0 || ret == -ESTALE);
		if (ret < 0)
			continue;
		assert_string_equal(tp_buffer_data(pool, &taken[count]), "given");
		count++;
	}
	return count;
}

/* The bystander's view once the victim is dead. */
static void
scene_check(struct scene *scene, bool accept_first)
{
	struct tp_slot_pool *pool = scene->fixture.pool, *successor;
	struct tp_buffer taken[2];
	unsigned int taken_count = 0;
	uint8_t stamp[64];
	uint32_t index;

	/* A death blocks nobody, reaped or not. */
	index = tp_slot_pool_loan(pool);
	if (index != TP_SLOT_NONE)
		assert_int_equal(tp_slot_pool_return(pool, index), 0);
	if (accept_first)
		taken_count = scene_accept(scene, taken, 2);
	assert_true(tp_slot_pool_reap(pool, VICTIM) >= 0);
	assert_true(tp_slot_pool_reap(pool, OTHER) >= 0);
	assert_int_equal(tp_slot_pool_held(pool, VICTIM), 0);
	assert_int_equal(tp_slot_pool_held(pool, OTHER), 0);
	if (!accept_first)
		taken_count = scene_accept(scene, taken, 2);
	if (!accept_first)
		assert_int_equal(taken_count, 0);
	assert_int_equal(tp_slot_pool_held(pool, BYSTANDER), 2 + taken_count);
	pool_check_whole(pool, 2 + taken_count);
	for (unsigned int i = 0; i < taken_count; i++)
		assert_int_equal(tp_buffer_release(pool, NULL, &taken[i]), 0);

	/* The bystander's own are as they were. */
	memset(stamp, 0x5a, sizeof(stamp));
	assert_memory_equal(tp_buffer_data(pool, &scene->own), stamp, sizeof(stamp));
	assert_string_equal(tp_buffer_data(pool, &scene->offered), "offered");
	assert_int_equal(tp_buffer_settle(pool, &scene->offered), 0);
	assert_int_equal(tp_buffer_release(pool, NULL, &scene->own), 0);
	pool_check_whole(pool, 0);

	/* The victim's successor gets its id. */
	successor = tp_slot_pool_attach(scene->fixture.segment, 0, VICTIM);
	assert_non_null(successor);
	tp_slot_pool_detach(successor);
}

/* Run a victim that dies at step k, for every k until it lives to the end. */
static unsigned int
kill_everywhere(void (*victim)(struct scene *scene), bool accept_first)
{
	int status = 0;
	unsigned int k;

	for (k = 1; status != EXIT_DONE; k++) {
		struct scene scene;
		pid_t pid;

		scene_open(&scene);
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			kill_at = k;
			victim(&scene);
			_exit(EXIT_DONE);
		}
		close(scene.handles[1]);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		status = WEXITSTATUS(status);
		if (status != EXIT_KILLED)
			assert_int_equal(status, EXIT_DONE);
		scene_check(&scene, accept_first);
		scene_close(&scene);
	}
	return k - 2;
}

static void
test_kill_in_loan_and_return_loses_nothing(void **state)
{
	/* attach; per slot: bits, claim; release, bits */
	assert_true(kill_everywhere(victim_loans_and_returns_one, false) >= 9);
}

static void
test_kill_in_bulk_loses_nothing(void **state)
{
	assert_true(kill_everywhere(victim_loans_and_returns_in_bulk, false) >= 2 * 70);
}

static void
test_kill_around_exhaustion_loses_nothing(void **state)
{
	assert_true(kill_everywhere(victim_exhausts_and_refills, false) >= 4 * 100);
}

static void
test_kill_in_cache_loses_nothing(void **state)
{
	assert_true(kill_everywhere(victim_works_through_a_cache, false) >= 50);
}

static void
test_kill_in_wait_loses_nothing(void **state)
{
	assert_true(kill_everywhere(victim_waits_in_vain_then_returns, false) >= 4 * 100);
}

static void
test_kill_in_clone_and_slice_loses_nothing(void **state)
{
	assert_true(kill_everywhere(victim_clones_and_slices, false) >= 6);
}

static void
test_kill_of_giver_leaves_the_buffer_to_the_taker_or_to_nobody(void **state)
{
	assert_true(kill_everywhere(victim_gives, true) >= 11);
	assert_true(kill_everywhere(victim_gives, false) >= 11);
}

static void
test_kill_of_taker_leaves_the_buffer_to_the_giver(void **state)
{
	assert_true(kill_everywhere(victim_takes, false) >= 3);
}

static void
test_kill_in_attach_and_detach_loses_nothing(void **state)
{
	assert_true(kill_everywhere(victim_attaches_and_detaches, false) >= 8);
}

static void
test_kill_of_reaper_is_completed_by_the_next(void **state)
{
	assert_true(kill_everywhere(victim_reaps_another, false) >= 42);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kill_in_loan_and_return_loses_nothing),
		cmocka_unit_test(test_kill_in_bulk_loses_nothing),
		cmocka_unit_test(test_kill_around_exhaustion_loses_nothing),
		cmocka_unit_test(test_kill_in_cache_loses_nothing),
		cmocka_unit_test(test_kill_in_wait_loses_nothing),
		cmocka_unit_test(test_kill_in_clone_and_slice_loses_nothing),
		cmocka_unit_test(test_kill_of_giver_leaves_the_buffer_to_the_taker_or_to_nobody),
		cmocka_unit_test(test_kill_of_taker_leaves_the_buffer_to_the_giver),
		cmocka_unit_test(test_kill_in_attach_and_detach_loses_nothing),
		cmocka_unit_test(test_kill_of_reaper_is_completed_by_the_next),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
