/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Two actors on one pool, and every order their steps can take: at each point
 * where the library's POOL_STEP stands the running actor may be stopped and the
 * other one go on, up to SWITCHES_MAX times in a run. All choices are tried in
 * turn, so a failing one is found every time. The points order stores as x86
 * and the atomics here keep them; store buffering is not modelled.
 */
#define POOL_KILL_POINTS
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "slot_pool.c"
#include "slot_loan.c"
#include "slot_cache.c"
#include "slot_reap.c"
#include "buffer.c"

#include "pool_helper.h"

#define ACTORS 2
#define SWITCHES_MAX 4
#define POINTS_MAX 4096
#define RUNS_MIN 100

/* The choices of one run: at point i, 1 is "switch". */
struct schedule {
	pthread_mutex_t lock;
	pthread_cond_t turned;
	uint8_t choices[POINTS_MAX];
	unsigned int given;		/* choices set by the search; 0 follows */
	unsigned int points;		/* passed in this run */
	unsigned int switches;
	int turn;			/* actor that may run */
	bool finished[ACTORS];
};

static struct schedule schedule = {
	.lock = PTHREAD_MUTEX_INITIALIZER, .turned = PTHREAD_COND_INITIALIZER,
};
static _Thread_local int actor_self = -1;

/* Let the other one run, if it has anything left to do, until it lets us. */
static void
actor_yield(void)
{
	int other = 1 - actor_self;

	if (schedule.finished[other])
		return;
	schedule.turn = other;
	pthread_cond_broadcast(&schedule.turned);
	while (schedule.turn != actor_self)
		pthread_cond_wait(&schedule.turned, &schedule.lock);
}

/* The lock is held by whoever runs: only one actor ever does. */
void
pool_step_hook(const char *step)
{
	unsigned int at = schedule.points;

	if (actor_self < 0)
		return;
	if (schedule.switches >= SWITCHES_MAX || schedule.finished[1 - actor_self] ||
	    at >= POINTS_MAX)
		return;
	schedule.points++;
	if (at >= schedule.given)
		schedule.choices[at] = 0;
	if (schedule.choices[at] == 0)
		return;
	schedule.switches++;
	actor_yield();
}

/* Both actors' world; each scenario uses what it needs. */
struct world {
	struct pool_fixture fixture;		/* client 0: reaper */
	struct tp_slot_pool *pools[ACTORS];	/* clients 1 and 2 */
	struct tp_buffer handles[2];
	uint32_t got[ACTORS];
	int ret[ACTORS];
	_Atomic uint32_t owned;			/* slots an actor believes to own */
};

struct scenario {
	void (*set_up)(struct world *world);
	void (*actors[ACTORS])(struct world *world);
	void (*check)(struct world *world);
};

struct actor {
	const struct scenario *scenario;
	struct world *world;
	int index;
};

static void *
actor_run(void *arg)
{
	struct actor *actor = arg;

	pthread_mutex_lock(&schedule.lock);
	actor_self = actor->index;
	while (schedule.turn != actor_self)
		pthread_cond_wait(&schedule.turned, &schedule.lock);
	actor->scenario->actors[actor->index](actor->world);
	schedule.finished[actor_self] = true;
	schedule.turn = 1 - actor_self;
	pthread_cond_broadcast(&schedule.turned);
	pthread_mutex_unlock(&schedule.lock);
	return NULL;
}

static void
schedule_run_once(const struct scenario *scenario)
{
	struct actor actors[ACTORS];
	pthread_t threads[ACTORS];
	struct world world = { 0 };

	scenario->set_up(&world);
	schedule.points = 0;
	schedule.switches = 0;
	schedule.turn = 0;
	memset(schedule.finished, 0, sizeof(schedule.finished));
	for (int i = 0; i < ACTORS; i++) {
		actors[i] = (struct actor){ scenario, &world, i };
		assert_int_equal(pthread_create(&threads[i], NULL, actor_run, &actors[i]), 0);
	}
	for (int i = 0; i < ACTORS; i++)
		pthread_join(threads[i], NULL);
	scenario->check(&world);
	for (int i = 0; i < ACTORS; i++)
		tp_slot_pool_detach(world.pools[i]);
	pool_check_whole(world.fixture.pool, 0);
	pool_fixture_close(&world.fixture);
}

/* Depth first over the choices: turn the last 0 into a 1, forget what follows. */
static bool
schedule_next(void)
{
	unsigned int at = schedule.points;

	while (at > 0 && schedule.choices[at - 1] == 1)
		at--;
	if (at == 0)
		return false;
	schedule.choices[at - 1] = 1;
	schedule.given = at;
	return true;
}

static void
schedule_run_all(const struct scenario *scenario)
{
	unsigned int runs = 0;

	schedule.given = 0;
	do {
		schedule_run_once(scenario);
		runs++;
	} while (schedule_next());
	print_message("           %u orders\n", runs);
	assert_true(runs >= RUNS_MIN);
}

static void
world_open(struct world *world, uint32_t slot_count)
{
	pool_fixture_open(&world->fixture, 64, slot_count);
	for (uint32_t i = 0; i < ACTORS; i++) {
		world->pools[i] = tp_slot_pool_attach(world->fixture.segment, 0, 1 + i);
		assert_non_null(world->pools[i]);
	}
}

/* Loan, and see that nobody else has it, by a word in the slot. */
static void
loan_and_mark(struct world *world, int self)
{
	uint32_t index = tp_slot_pool_loan(world->pools[self]);

	world->got[self] = index;
	if (index == TP_SLOT_NONE)
		return;
	if (atomic_fetch_or(&world->owned, 1u << index) & (1u << index))
		world->ret[self] = -EBUSY;
}

static void
unmark_and_return(struct world *world, int self)
{
	uint32_t index = world->got[self];

	if (index == TP_SLOT_NONE)
		return;
	atomic_fetch_and(&world->owned, ~(1u << index));
	if (tp_slot_pool_return(world->pools[self], index) != 0)
		world->ret[self] = -EIO;
}

static void
first_loans_and_returns(struct world *world)
{
	loan_and_mark(world, 0);
	POOL_STEP(in_use);
	unmark_and_return(world, 0);
}

static void
second_loans_and_returns(struct world *world)
{
	loan_and_mark(world, 1);
	POOL_STEP(in_use);
	unmark_and_return(world, 1);
}

static void
check_no_error(struct world *world)
{
	assert_int_equal(world->ret[0], 0);
	assert_int_equal(world->ret[1], 0);
}

static void
set_up_two_slots(struct world *world)
{
	world_open(world, 2);
}

static void
set_up_one_slot(struct world *world)
{
	world_open(world, 1);
}

static void
test_loan_against_loan_in_every_order_is_exclusive(void **state)
{
	static const struct scenario one = {
		set_up_one_slot, { first_loans_and_returns, second_loans_and_returns },
		check_no_error,
	};
	static const struct scenario two = {
		set_up_two_slots, { first_loans_and_returns, second_loans_and_returns },
		check_no_error,
	};

	schedule_run_all(&one);
	schedule_run_all(&two);
}

/* Somebody died after taking bits and before claiming: those slots are lost. */
static void
set_up_lost_slot(struct world *world)
{
	world_open(world, 2);
	atomic_fetch_and(&world->pools[0]->words[0].bits, ~UINT64_C(1));
}

static void
second_reaps(struct world *world)
{
	world->ret[1] = tp_slot_pool_reap(world->fixture.pool, 9);
}

static void
first_loans_two_and_returns(struct world *world)
{
	uint32_t other;

	first_loans_and_returns(world);
	loan_and_mark(world, 0);
	other = world->got[0];
	loan_and_mark(world, 0);
	unmark_and_return(world, 0);
	world->got[0] = other;
	unmark_and_return(world, 0);
}

static void
test_loan_against_reap_in_every_order_is_exclusive(void **state)
{
	static const struct scenario lost = {
		set_up_lost_slot, { first_loans_two_and_returns, second_reaps }, check_no_error,
	};

	schedule_run_all(&lost);
}

/* 65 slots, all but the last one held by the reaper: the summary gets its work. */
static void
set_up_last_word(struct world *world)
{
	uint32_t indices[65];

	world_open(world, 65);
	assert_int_equal(tp_slot_pool_loan_bulk(world->fixture.pool, indices, 65), 0);
	assert_int_equal(tp_slot_pool_return(world->fixture.pool, 64), 0);
}

static void
first_loans_in_last_word(struct world *world)
{
	for (int i = 0; i < 2; i++) {
		uint32_t index = tp_slot_pool_loan(world->pools[0]);

		if (index != TP_SLOT_NONE && tp_slot_pool_return(world->pools[0], index) != 0)
			world->ret[0] = -EIO;
	}
}

static void
second_loans_in_last_word(struct world *world)
{
	for (int i = 0; i < 2; i++) {
		uint32_t index = tp_slot_pool_loan(world->pools[1]);

		if (index != TP_SLOT_NONE && tp_slot_pool_return(world->pools[1], index) != 0)
			world->ret[1] = -EIO;
	}
}

static void
check_last_word_is_found(struct world *world)
{
	/* One who starts in the first word, so that only the summary helps. */
	struct tp_slot_pool *stranger = tp_slot_pool_attach(world->fixture.segment, 0, 4);

	check_no_error(world);
	assert_non_null(stranger);
	assert_int_equal(stranger->hint_first, 0);
	assert_int_equal(tp_slot_pool_loan(stranger), 64);
	tp_slot_pool_detach(stranger);
	for (uint32_t i = 0; i < 64; i++)
		assert_int_equal(tp_slot_pool_return(world->fixture.pool, i), 0);
}

static void
test_search_against_return_in_every_order_hides_no_slot(void **state)
{
	static const struct scenario search = {
		set_up_last_word, { first_loans_in_last_word, second_loans_in_last_word },
		check_last_word_is_found,
	};

	schedule_run_all(&search);
}

/* The second client offers its only slot to the first. */
static void
set_up_offer(struct world *world)
{
	struct tp_buffer buffer;

	world_open(world, 1);
	assert_int_equal(tp_buffer_alloc(world->pools[1], NULL, 8, &buffer), 0);
	memcpy(tp_buffer_data(world->pools[1], &buffer), "offered", 8);
	assert_int_equal(tp_buffer_offer(world->pools[1], &buffer, &world->handles[0]), 0);
	assert_int_equal(tp_buffer_release(world->pools[1], NULL, &buffer), 0);
}

static void
first_accepts_and_looks(struct world *world)
{
	struct tp_buffer taken;

	world->ret[0] = tp_buffer_accept(world->pools[0], &world->handles[0], &taken);
	POOL_STEP(accepted);
	if (world->ret[0] == 0 &&
	    strcmp(tp_buffer_data(world->pools[0], &taken), "offered") != 0)
		world->ret[0] = -EIO;
	POOL_STEP(looked);
	if (world->ret[0] == 0)
		world->ret[0] = tp_buffer_release(world->pools[0], NULL, &taken);
}

static void
second_settles_and_uses_the_slot_anew(struct world *world)
{
	struct tp_buffer buffer;

	world->ret[1] = tp_buffer_settle(world->pools[1], &world->handles[0]);
	if (tp_buffer_alloc(world->pools[1], NULL, 8, &buffer) < 0)
		return;
	memcpy(tp_buffer_data(world->pools[1], &buffer), "another", 8);
	POOL_STEP(written);
	if (tp_slot_pool_holders(world->pools[1], 0) != world->pools[1]->client_bit)
		world->ret[1] = -EIO;
	if (tp_buffer_release(world->pools[1], NULL, &buffer) < 0)
		world->ret[1] = -EIO;
}

static void
check_taken_whole_or_stale(struct world *world)
{
	assert_true(world->ret[0] == 0 || world->ret[0] == -ESTALE);
	assert_int_equal(world->ret[1], 0);
}

static void
second_is_reaped(struct world *world)
{
	int freed = tp_slot_pool_reap(world->fixture.pool, 2);

	world->ret[1] = freed == 0 || freed == 1 ? 0 : -EIO;
}

static void
test_accept_against_settle_in_every_order_takes_whole_or_nothing(void **state)
{
	static const struct scenario settle = {
		set_up_offer, { first_accepts_and_looks, second_settles_and_uses_the_slot_anew },
		check_taken_whole_or_stale,
	};
	static const struct scenario reap = {
		set_up_offer, { first_accepts_and_looks, second_is_reaped },
		check_taken_whole_or_stale,
	};

	schedule_run_all(&settle);
	schedule_run_all(&reap);
}

/* Two threads of the taker get one offer each of the same buffer. */
static void
set_up_offer_twice(struct world *world)
{
	struct tp_buffer buffer;

	world_open(world, 1);
	assert_int_equal(tp_buffer_alloc(world->fixture.pool, NULL, 8, &buffer), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(tp_buffer_offer(world->fixture.pool, &buffer, &world->handles[i]),
				 0);
	assert_int_equal(tp_buffer_release(world->fixture.pool, NULL, &buffer), 0);
}

/* Accept, let the giver go, release: all as client 1. */
static int
taker_thread(struct world *world, const struct tp_buffer *handle)
{
	struct tp_buffer taken;
	int ret;

	while ((ret = tp_buffer_accept(world->pools[0], handle, &taken)) == -EAGAIN)
		actor_yield();
	if (ret < 0)
		return ret;
	POOL_STEP(accepted);
	ret = tp_buffer_settle(world->fixture.pool, handle);
	if (ret < 0)
		return ret;
	POOL_STEP(settled);
	if (tp_buffer_data(world->pools[0], &taken) == NULL)
		return -EIO;
	return tp_buffer_release(world->pools[0], NULL, &taken);
}

static void
first_takes(struct world *world)
{
	world->ret[0] = taker_thread(world, &world->handles[0]);
}

static void
second_takes(struct world *world)
{
	world->ret[1] = taker_thread(world, &world->handles[1]);
}

static void
test_two_threads_of_one_taker_in_every_order_take_both_offers(void **state)
{
	static const struct scenario both = {
		set_up_offer_twice, { first_takes, second_takes }, check_no_error,
	};

	schedule_run_all(&both);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_loan_against_loan_in_every_order_is_exclusive),
		cmocka_unit_test(test_loan_against_reap_in_every_order_is_exclusive),
		cmocka_unit_test(test_search_against_return_in_every_order_hides_no_slot),
		cmocka_unit_test(test_accept_against_settle_in_every_order_takes_whole_or_nothing),
		cmocka_unit_test(test_two_threads_of_one_taker_in_every_order_take_both_offers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
