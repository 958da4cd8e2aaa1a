/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Several processes, several threads, and kill -9, on pools small enough that
 * they meet all the time. Whoever gets a slot writes its stamp there and must
 * find it again: a slot owned twice shows at once.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <rte_common.h>

#include "pool_helper.h"

#define WORKERS 4
#define SLOT_COUNT 150
#define ROUNDS 4000
#define BATCH_MAX 40
#define KILLS 60
#define STAMPS 256

/* Which stamps belong to dead processes; shared. */
struct morgue {
	_Atomic uint32_t dead[STAMPS];
};

static uint32_t
random_next(uint64_t *seed)
{
	*seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(*seed >> 33);
}

/* 0, or -1 when somebody alive owns the slot. */
static int
slot_enter(struct tp_slot_pool *pool, uint32_t index, uint32_t stamp, struct morgue *morgue)
{
	_Atomic uint32_t *owner = tp_slot_pool_slot_ptr(pool, index);
	uint32_t old = atomic_exchange_explicit(owner, stamp, memory_order_relaxed);

	if (old == 0)
		return 0;
	return old < STAMPS && morgue != NULL && atomic_load(&morgue->dead[old]) ? 0 : -1;
}

static int
slot_leave(struct tp_slot_pool *pool, uint32_t index, uint32_t stamp)
{
	_Atomic uint32_t *owner = tp_slot_pool_slot_ptr(pool, index);

	return atomic_exchange_explicit(owner, 0, memory_order_relaxed) == stamp ? 0 : -1;
}

/* One turn: take some slots one way, mark them, give them back one way. */
static int
worker_turn(struct tp_slot_pool *pool, struct tp_slot_cache *cache, uint32_t stamp,
	    struct morgue *morgue, uint64_t *seed)
{
	uint32_t indices[BATCH_MAX], count, got = 0;
	uint32_t way = random_next(seed) % 3;

	count = 1 + random_next(seed) % BATCH_MAX;
	if (way == 0)
		got = tp_slot_pool_loan_bulk(pool, indices, count) == 0 ? count : 0;
	for (; way != 0 && got < count; got++) {
		indices[got] = way == 1 ? tp_slot_cache_loan(cache) : tp_slot_pool_loan(pool);
		if (indices[got] == TP_SLOT_NONE)
			break;
	}
	for (uint32_t i = 0; i < got; i++)
		if (slot_enter(pool, indices[i], stamp, morgue) < 0)
			return -1;
	for (uint32_t i = 0; i < got; i++)
		if (slot_leave(pool, indices[i], stamp) < 0)
			return -1;
	way = random_next(seed) % 3;
	if (way == 0)
		return tp_slot_pool_return_bulk(pool, indices, got);
	for (uint32_t i = 0; i < got; i++)
		if ((way == 1 ? tp_slot_cache_return(cache, indices[i]) :
				tp_slot_pool_return(pool, indices[i])) < 0)
			return -1;
	return 0;
}

static int
worker_run(struct tp_slot_pool *pool, uint32_t stamp, struct morgue *morgue, uint32_t rounds)
{
	struct tp_slot_cache cache;
	uint64_t seed = stamp;

	if (tp_slot_cache_init(&cache, pool, 16) < 0)
		return -1;
	for (uint32_t i = 0; i < rounds; i++)
		if (worker_turn(pool, &cache, stamp, morgue, &seed) < 0)
			return -1;
	tp_slot_cache_flush(&cache);
	return 0;
}

/* A process with a client id of its own; rounds are many when it is to be killed. */
static pid_t
worker_fork(struct pool_fixture *fixture, uint32_t client_id, uint32_t stamp,
	    struct morgue *morgue, uint32_t rounds)
{
	pid_t pid = fork();

	if (pid == 0) {
		struct tp_slot_pool *pool = tp_slot_pool_attach(fixture->segment, 0, client_id);

		if (pool == NULL || worker_run(pool, stamp, morgue, rounds) < 0)
			_exit(1);
		tp_slot_pool_detach(pool);
		_exit(0);
	}
	return pid;
}

static void
test_processes_sharing_a_pool_never_own_a_slot_twice(void **state)
{
	struct pool_fixture fixture;
	pid_t pids[WORKERS];
	int status;

	pool_fixture_open(&fixture, 64, SLOT_COUNT);
	for (uint32_t i = 0; i < WORKERS; i++)
		pids[i] = worker_fork(&fixture, 1 + i, 1 + i, NULL, ROUNDS);
	assert_int_equal(worker_run(fixture.pool, 1 + WORKERS, NULL, ROUNDS), 0);
	for (uint32_t i = 0; i < WORKERS; i++) {
		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_int_equal(status, 0);
	}
	pool_check_whole(fixture.pool, 0);
	pool_fixture_close(&fixture);
}

static void
test_processes_killed_at_random_lose_nothing_and_harm_nobody(void **state)
{
	struct morgue *morgue = mmap(NULL, sizeof(*morgue), PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct pool_fixture fixture;
	pid_t pids[WORKERS];
	uint32_t stamps[WORKERS], stamp = 0;
	uint64_t seed = 12345;
	int status;

	assert_ptr_not_equal(morgue, MAP_FAILED);
	pool_fixture_open(&fixture, 64, SLOT_COUNT);
	for (uint32_t i = 0; i < WORKERS; i++) {
		stamps[i] = ++stamp;
		pids[i] = worker_fork(&fixture, 1 + i, stamps[i], morgue, UINT32_MAX);
	}
	for (int k = 0; k < KILLS; k++) {
		uint32_t i = random_next(&seed) % WORKERS;

		usleep(random_next(&seed) % 4000);
		kill(pids[i], SIGKILL);
		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		/* Not by its own doing: an exit would be a slot owned twice. */
		assert_true(WIFSIGNALED(status));
		atomic_store(&morgue->dead[stamps[i]], 1);
		assert_true(tp_slot_pool_reap(fixture.pool, 1 + i) >= 0);
		assert_int_equal(tp_slot_pool_held(fixture.pool, 1 + i), 0);
		stamps[i] = ++stamp;
		pids[i] = worker_fork(&fixture, 1 + i, stamps[i], morgue, UINT32_MAX);
	}
	for (uint32_t i = 0; i < WORKERS; i++) {
		kill(pids[i], SIGKILL);
		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_true(WIFSIGNALED(status));
	}
	for (uint32_t i = 0; i < WORKERS; i++)
		assert_true(tp_slot_pool_reap(fixture.pool, 1 + i) >= 0);
	pool_check_whole(fixture.pool, 0);
	pool_fixture_close(&fixture);
	munmap(morgue, sizeof(*morgue));
}

struct thread_work {
	struct tp_slot_pool *pool;
	uint32_t stamp;
	int ret;
};

static void *
thread_run(void *arg)
{
	struct thread_work *work = arg;

	work->ret = worker_run(work->pool, work->stamp, NULL, ROUNDS);
	return NULL;
}

static void
test_threads_sharing_a_pool_never_own_a_slot_twice(void **state)
{
	struct pool_fixture fixture;
	struct thread_work work[WORKERS];
	pthread_t threads[WORKERS];

	pool_fixture_open(&fixture, 64, SLOT_COUNT);
	for (uint32_t i = 0; i < WORKERS; i++) {
		work[i] = (struct thread_work){ fixture.pool, 1 + i, 0 };
		assert_int_equal(pthread_create(&threads[i], NULL, thread_run, &work[i]), 0);
	}
	for (uint32_t i = 0; i < WORKERS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(work[i].ret, 0);
	}
	pool_check_whole(fixture.pool, 0);
	pool_fixture_close(&fixture);
}

/* Waiters against returners: with more threads than slots all get their turns. */
static void *
thread_wait(void *arg)
{
	struct thread_work *work = arg;

	for (uint32_t i = 0; i < ROUNDS / 4 && work->ret == 0; i++) {
		uint32_t index = tp_slot_pool_loan_wait(work->pool, UINT64_MAX);

		if (slot_enter(work->pool, index, work->stamp, NULL) < 0 ||
		    slot_leave(work->pool, index, work->stamp) < 0 ||
		    tp_slot_pool_return(work->pool, index) < 0)
			work->ret = -1;
	}
	return NULL;
}

static void
test_threads_waiting_for_two_slots_all_get_their_turns(void **state)
{
	struct pool_fixture fixture;
	struct thread_work work[WORKERS];
	pthread_t threads[WORKERS];

	pool_fixture_open(&fixture, 64, 2);
	for (uint32_t i = 0; i < WORKERS; i++) {
		work[i] = (struct thread_work){ fixture.pool, 1 + i, 0 };
		assert_int_equal(pthread_create(&threads[i], NULL, thread_wait, &work[i]), 0);
	}
	for (uint32_t i = 0; i < WORKERS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(work[i].ret, 0);
	}
	pool_check_whole(fixture.pool, 0);
	pool_fixture_close(&fixture);
}

/*
 * Two clients of two threads each hand buffers to one another; both live in
 * this process so that ThreadSanitizer sees all of it. A buffer is plain bytes
 * written by the giver and read by the taker.
 */
#define MAIL_SLOTS 8

struct mailbox {
	pthread_mutex_t lock;
	struct tp_buffer handles[MAIL_SLOTS];
	uint32_t count;
};

struct trade {
	struct tp_slot_pool *pools[2];
	struct mailbox boxes[2];
	_Atomic uint32_t traded;
};

struct trader {
	struct trade *trade;
	uint32_t side;
	uint64_t seed;
	int ret;
};

static int
mail_put(struct mailbox *box, const struct tp_buffer *handle)
{
	int ret = -1;

	pthread_mutex_lock(&box->lock);
	if (box->count < MAIL_SLOTS) {
		box->handles[box->count++] = *handle;
		ret = 0;
	}
	pthread_mutex_unlock(&box->lock);
	return ret;
}

static int
mail_get(struct mailbox *box, struct tp_buffer *handle)
{
	int ret = -1;

	pthread_mutex_lock(&box->lock);
	if (box->count > 0) {
		*handle = box->handles[--box->count];
		ret = 0;
	}
	pthread_mutex_unlock(&box->lock);
	return ret;
}

/* Offer one buffer twice, so that both threads of the other side may take it. */
static int
trader_give(struct trader *trader, struct tp_slot_cache *cache)
{
	struct tp_slot_pool *pool = trader->trade->pools[trader->side];
	struct mailbox *box = &trader->trade->boxes[1 - trader->side];
	struct tp_buffer buffer, handle;

	if (tp_buffer_alloc(pool, cache, 32, &buffer) < 0)
		return 0;
	buffer.user = random_next(&trader->seed);
	memset(tp_buffer_data(pool, &buffer), (int)(buffer.user & 0xff), 32);
	for (int i = 0; i < 2; i++) {
		if (tp_buffer_offer(pool, &buffer, &handle) < 0)
			return -1;
		if (mail_put(box, &handle) < 0 && tp_buffer_settle(pool, &handle) < 0)
			return -1;
	}
	return tp_buffer_release(pool, cache, &buffer);
}

static int
trader_take(struct trader *trader, struct tp_slot_cache *cache)
{
	struct tp_slot_pool *pool = trader->trade->pools[trader->side];
	struct tp_buffer handle, taken;
	const uint8_t *bytes;
	int ret;

	if (mail_get(&trader->trade->boxes[trader->side], &handle) < 0)
		return 0;
	do {
		ret = tp_buffer_accept(pool, &handle, &taken);
	} while (ret == -EAGAIN);
	if (ret < 0 || tp_buffer_settle(trader->trade->pools[1 - trader->side], &handle) < 0)
		return -1;
	bytes = tp_buffer_data(pool, &taken);
	if (bytes == NULL)
		return -1;
	for (int i = 0; i < 32; i++)
		if (bytes[i] != (handle.user & 0xff))
			return -1;
	atomic_fetch_add(&trader->trade->traded, 1);
	return tp_buffer_release(pool, cache, &taken);
}

static void *
trader_run(void *arg)
{
	struct trader *trader = arg;
	struct tp_slot_cache cache;

	tp_slot_cache_init(&cache, trader->trade->pools[trader->side], 8);
	while (atomic_load(&trader->trade->traded) < ROUNDS && trader->ret == 0) {
		trader->ret = trader_give(trader, &cache);
		for (int j = 0; j < 3 && trader->ret == 0; j++)
			trader->ret = trader_take(trader, &cache);
		/* The other side needs a turn now and then to have mail for us. */
		if (trader->ret == 0)
			sched_yield();
	}
	if (trader->ret < 0)
		atomic_store(&trader->trade->traded, ROUNDS);
	tp_slot_cache_flush(&cache);
	return NULL;
}

static void
test_threads_of_two_clients_hand_buffers_over_whole(void **state)
{
	struct pool_fixture fixture;
	struct trade trade = { 0 };
	struct trader traders[WORKERS];
	pthread_t threads[WORKERS];
	struct tp_buffer handle;

	pool_fixture_open(&fixture, 64, 20);
	trade.pools[0] = fixture.pool;
	trade.pools[1] = tp_slot_pool_attach(fixture.segment, 0, 1);
	for (int side = 0; side < 2; side++)
		pthread_mutex_init(&trade.boxes[side].lock, NULL);
	for (uint32_t i = 0; i < WORKERS; i++) {
		traders[i] = (struct trader){ &trade, i % 2, i, 0 };
		assert_int_equal(pthread_create(&threads[i], NULL, trader_run, &traders[i]), 0);
	}
	for (uint32_t i = 0; i < WORKERS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(traders[i].ret, 0);
	}
	/* What nobody took is settled, and then all is back. */
	for (int side = 0; side < 2; side++)
		while (mail_get(&trade.boxes[side], &handle) == 0)
			assert_int_equal(tp_buffer_settle(trade.pools[1 - side], &handle), 0);
	pool_check_whole(fixture.pool, 0);
	tp_slot_pool_detach(trade.pools[1]);
	pool_fixture_close(&fixture);
}

/* A taker process: accepts, acknowledges, checks, releases, until killed. */
static void
taker_run(struct pool_fixture *fixture, uint32_t client_id, int sock)
{
	struct tp_slot_pool *pool = tp_slot_pool_attach(fixture->segment, 0, client_id);
	struct tp_buffer handle, taken;

	if (pool == NULL)
		_exit(1);
	while (recv(sock, &handle, sizeof(handle), 0) == sizeof(handle)) {
		if (tp_buffer_accept(pool, &handle, &taken) < 0)
			_exit(2);
		send(sock, &handle, sizeof(handle), 0);
		if (memcmp(tp_buffer_data(pool, &taken), &handle.user, 8) != 0)
			_exit(3);
		if (tp_buffer_release(pool, NULL, &taken) < 0)
			_exit(4);
	}
	_exit(0);
}

#define OFFERS 16

/* Offer a batch, collect acknowledgements until the taker is killed in the
 * middle, settle everything, reap.
 */
static void
giver_round(struct pool_fixture *fixture, uint64_t *seed)
{
	struct tp_buffer offers[OFFERS], ack;
	uint32_t acks_wanted = random_next(seed) % (OFFERS + 1);
	int socks[2], status;
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, socks), 0);
	pid = fork();
	if (pid == 0) {
		close(socks[0]);
		taker_run(fixture, 1, socks[1]);
	}
	close(socks[1]);
	for (int i = 0; i < OFFERS; i++) {
		assert_int_equal(tp_buffer_alloc(fixture->pool, NULL, 8, &ack), 0);
		ack.user = random_next(seed);
		memcpy(tp_buffer_data(fixture->pool, &ack), &ack.user, 8);
		assert_int_equal(tp_buffer_offer(fixture->pool, &ack, &offers[i]), 0);
		assert_int_equal(tp_buffer_release(fixture->pool, NULL, &ack), 0);
		assert_int_equal(send(socks[0], &offers[i], sizeof(ack), 0), sizeof(ack));
	}
	for (uint32_t i = 0; i < acks_wanted; i++) {
		assert_int_equal(recv(socks[0], &ack, sizeof(ack), 0), sizeof(ack));
		assert_memory_equal(&ack, &offers[i], sizeof(ack));
		assert_int_equal(tp_buffer_settle(fixture->pool, &offers[i]), 0);
	}
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	for (uint32_t i = acks_wanted; i < OFFERS; i++)
		assert_int_equal(tp_buffer_settle(fixture->pool, &offers[i]), 0);
	assert_true(tp_slot_pool_reap(fixture->pool, 1) >= 0);
	pool_check_whole(fixture->pool, 0);
	close(socks[0]);
}

static void
test_takers_killed_at_random_lose_no_buffer(void **state)
{
	struct pool_fixture fixture;
	uint64_t seed = 99;

	pool_fixture_open(&fixture, 64, OFFERS + 2);
	for (int i = 0; i < KILLS; i++)
		giver_round(&fixture, &seed);
	pool_fixture_close(&fixture);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_processes_sharing_a_pool_never_own_a_slot_twice),
		cmocka_unit_test(test_processes_killed_at_random_lose_nothing_and_harm_nobody),
		cmocka_unit_test(test_threads_sharing_a_pool_never_own_a_slot_twice),
		cmocka_unit_test(test_threads_waiting_for_two_slots_all_get_their_turns),
		cmocka_unit_test(test_threads_of_two_clients_hand_buffers_over_whole),
		cmocka_unit_test(test_takers_killed_at_random_lose_no_buffer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
