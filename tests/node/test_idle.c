/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * When a poller without work does what, by a clock of the test; and that what
 * should end a sleep does.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "idle_priv.h"

#define START UINT64_C(1000000000)
#define LONG_NS (UINT64_C(1000) * IDLE_SLEEP_MAX_NS)

static struct idle idle;

static enum idle_step
next(uint64_t now, uint32_t work, uint64_t activity)
{
	const struct idle_turn turn = { .now = now, .work = work, .activity = activity };

	return idle_next(&idle, &turn);
}

/* Something was asked for, at START. */
static int
setup(void **state)
{
	idle_init(&idle);
	assert_int_equal(next(START, 1, 1), IDLE_POLL);
	return 0;
}

static void
test_idle_spins_yields_then_sleeps(void **state)
{
	assert_int_equal(next(START, 0, 1), IDLE_SPIN);
	assert_int_equal(next(START + IDLE_SPIN_NS - 1, 0, 1), IDLE_SPIN);
	assert_int_equal(next(START + IDLE_SPIN_NS, 0, 1), IDLE_YIELD);
	assert_int_equal(next(START + IDLE_AWAKE_NS - 1, 0, 1), IDLE_YIELD);
	assert_int_equal(next(START + IDLE_AWAKE_NS, 0, 1), IDLE_ARM);
	idle_arm(&idle);
	assert_int_equal(next(START + IDLE_AWAKE_NS, 0, 1), IDLE_SLEEP);
}

static void
test_idle_request_starts_anew(void **state)
{
	uint64_t now = START + IDLE_AWAKE_NS;

	assert_int_equal(next(now, 0, 1), IDLE_ARM);
	assert_int_equal(next(now, 1, 2), IDLE_POLL);
	assert_int_equal(next(now, 0, 2), IDLE_SPIN);
	assert_int_equal(next(now + IDLE_AWAKE_NS, 0, 2), IDLE_ARM);
}

static void
test_idle_work_without_requests_keeps_it_awake_no_longer(void **state)
{
	uint64_t now = START + IDLE_AWAKE_NS;

	assert_int_equal(next(now, 1, 1), IDLE_POLL);
	assert_int_equal(next(now, 0, 1), IDLE_ARM);
}

static void
test_idle_last_look_finds_work_then_awake(void **state)
{
	struct tp_abi_bell bell = { 0 };

	idle_bell_add(&idle, &bell, idle_bell_open());
	assert_int_equal(next(START + IDLE_AWAKE_NS, 0, 1), IDLE_ARM);
	idle_arm(&idle);
	assert_int_equal(tp_abi_bell_asleep(&bell), 1);
	assert_int_equal(next(START + IDLE_AWAKE_NS, 1, 2), IDLE_POLL);
	assert_int_equal(tp_abi_bell_asleep(&bell), 0);
	/* The next sleep has another number: who rang in this one rings again. */
	idle_arm(&idle);
	assert_int_equal(tp_abi_bell_asleep(&bell), 3);
	close(idle.fds[0].fd);
}

static void
test_idle_shared_core_yields_at_once(void **state)
{
	struct idle_turn turn = { .now = START, .activity = 1 };

	idle_yielded(&idle, START - IDLE_SWITCH_NS - 1, START);
	assert_true(idle_is_shared(&idle, START));
	assert_int_equal(idle_next(&idle, &turn), IDLE_YIELD);
	/* Another node's answer comes sooner than two switches. */
	turn.waiting = true;
	assert_int_equal(idle_next(&idle, &turn), IDLE_SPIN);
	turn.now += IDLE_ANSWER_NS;
	assert_int_equal(idle_next(&idle, &turn), IDLE_YIELD);
	turn.work = 1;
	turn.answered = true;
	assert_int_equal(idle_next(&idle, &turn), IDLE_YIELD);
	assert_false(idle_is_shared(&idle, START + IDLE_SHARED_NS));
}

/* Somebody computes: has the core for slices. */
static void
crowd(uint64_t now)
{
	idle_yielded(&idle, now - TP_CROWD_LOST_NS, now);
	idle_yielded(&idle, now - TP_CROWD_LATE_NS - 1, now);
}

/* A tick, now and then: nobody computes. */
static void
test_idle_long_yields_now_and_then_are_no_crowd(void **state)
{
	for (int i = 0; i < 100; i++) {
		uint64_t now = START + (uint64_t)i * (TP_CROWD_WINDOW_NS / 20);

		idle_yielded(&idle, now - TP_CROWD_LATE_NS - 1, now);
		assert_false(idle_is_realtime(&idle, now));
	}
}

static void
test_idle_crowded_core_sleeps_instead_of_yielding(void **state)
{
	struct idle_turn turn = { .now = START, .activity = 1 };

	crowd(START);
	assert_int_equal(idle_next(&idle, &turn), IDLE_ARM);
	turn.work = 1;
	turn.answered = true;
	assert_int_equal(idle_next(&idle, &turn), IDLE_POLL);
	turn = (struct idle_turn){ .now = START + TP_CROWD_SPAN_NS, .activity = 2 };
	assert_int_equal(idle_next(&idle, &turn), IDLE_SPIN);
	/* Crowded still: it finds out less often. */
	crowd(turn.now);
	assert_true(idle_is_shared(&idle, turn.now + TP_CROWD_SPAN_NS));
	assert_false(idle_is_shared(&idle, turn.now + 2 * TP_CROWD_SPAN_NS));
}

/*
 * A node leaves, and what it gives back comes page by page, each after the answer to
 * the one before: it and its homes do not sleep in between, but they do in the end.
 */
static void
test_idle_crowded_core_spins_while_pages_go_home(void **state)
{
	struct idle_turn turn = { .now = START, .activity = 1, .returning = true };

	crowd(START);
	assert_int_equal(idle_next(&idle, &turn), IDLE_SPIN);
	turn.now += IDLE_SPIN_NS - 1;
	assert_int_equal(idle_next(&idle, &turn), IDLE_SPIN);
	turn.now++;
	assert_int_equal(idle_next(&idle, &turn), IDLE_ARM);
	/* What comes starts it anew; and it gets no more than others for that. */
	turn = (struct idle_turn){ .now = START + IDLE_REALTIME_NS + 1, .work = 1, .activity = 2,
		.returning = true };
	assert_int_equal(idle_next(&idle, &turn), IDLE_POLL);
	assert_false(idle_is_realtime(&idle, turn.now));
	turn.work = 0;
	assert_int_equal(idle_next(&idle, &turn), IDLE_SPIN);
	turn.returning = false;
	assert_int_equal(idle_next(&idle, &turn), IDLE_ARM);
}

/* Whoever shares the core waits for us, perhaps: then giving it away is no loss. */
static void
test_idle_shared_core_yields_while_pages_go_home(void **state)
{
	struct idle_turn turn = { .now = START, .activity = 1, .returning = true };

	idle_yielded(&idle, START - IDLE_SWITCH_NS - 1, START);
	assert_int_equal(idle_next(&idle, &turn), IDLE_YIELD);
}

static void
test_idle_real_time_only_while_it_sleeps_now_and_then(void **state)
{
	uint64_t now = START;

	assert_false(idle_is_realtime(&idle, now));
	crowd(now);
	assert_true(idle_is_realtime(&idle, now));
	idle_arm(&idle);
	assert_int_equal(next(now, 0, 1), IDLE_SLEEP);
	idle_disarm(&idle);
	assert_int_equal(next(now + IDLE_REALTIME_NS, 1, 1), IDLE_POLL);
	assert_true(idle_is_realtime(&idle, now));
	now += IDLE_REALTIME_NS + 1;
	assert_int_equal(next(now, 1, 1), IDLE_POLL);
	assert_false(idle_is_realtime(&idle, now));
	assert_true(idle_is_realtime(&idle, now + IDLE_BUSY_NS));
	assert_false(idle_is_realtime(&idle, START + TP_CROWD_SPAN_NS));
}

static void
test_idle_sleep_that_ends_late_means_a_crowd(void **state)
{
	idle_overslept(&idle, START, START - TP_CROWD_LOST_NS - 1);
	idle_overslept(&idle, START - TP_CROWD_LOST_NS, START);
	assert_false(idle_is_realtime(&idle, START));
	idle_overslept(&idle, START - TP_CROWD_LATE_NS - 1, START);
	assert_true(idle_is_realtime(&idle, START));
	assert_int_equal(next(START, 0, 1), IDLE_ARM);
}

/* Who rang may be waiting for this core: nobody knows before the first yield. */
static void
test_idle_first_answer_after_a_ring_yields(void **state)
{
	struct tp_abi_bell bell = { 0 };
	struct idle_turn turn = { .now = START, .work = 1, .activity = 2, .answered = true };
	int own = idle_bell_open(), fd = idle_bell_open();

	idle_bell_add(&idle, &bell, own);
	idle_client_add(&idle, fd);
	assert_false(idle_is_shared(&idle, START));
	idle_bell_ring(fd);
	idle_arm(&idle);
	idle_sleep(&idle, START, START + LONG_NS, UINT64_MAX, 0);
	assert_true(idle_is_shared(&idle, START));
	assert_int_equal(idle_next(&idle, &turn), IDLE_YIELD);
	assert_false(idle_is_shared(&idle, START));
	close(fd);
	close(own);
}

static void
sleep_for(uint64_t timer)
{
	idle_arm(&idle);
	assert_int_equal(next(START, 0, 1), IDLE_SLEEP);
	idle_sleep(&idle, START, timer, UINT64_MAX, 0);
	assert_false(idle.armed);
}

static void
test_idle_bell_ends_sleep_and_is_cleared(void **state)
{
	struct tp_abi_bell bell = { 0 };
	struct pollfd look = { .events = POLLIN };
	int fd = idle_bell_open();

	idle_bell_add(&idle, &bell, fd);
	idle_bell_ring(fd);
	idle_bell_ring(fd);
	sleep_for(START + LONG_NS);
	look.fd = fd;
	assert_int_equal(poll(&look, 1, 0), 0);
	assert_int_equal(bell.sleeps, 2);
	close(fd);
}

/* The timer is over, or it never comes: the sleep ends in any case. */
static void
test_idle_sleep_ends_without_bells(void **state)
{
	idle_arm(&idle);
	assert_int_equal(idle_sleep(&idle, START, START, UINT64_MAX, 0),
		START + IDLE_SLEEP_MIN_NS);
	idle_arm(&idle);
	assert_int_equal(idle_sleep(&idle, START, UINT64_MAX, UINT64_MAX, 0),
		START + IDLE_SLEEP_MAX_NS);
	idle_arm(&idle);
	assert_int_equal(idle_sleep(&idle, START, UINT64_MAX, 70000, 0), START + 70000);
}

/* What another client did to the descriptor: made it block, and took the ring out. */
static void
test_idle_client_descriptor_changed_cannot_block(void **state)
{
	struct tp_abi_bell bell = { 0 };
	int own = idle_bell_open(), fd = idle_bell_open();
	int flags = fcntl(fd, F_GETFL);

	idle_bell_add(&idle, &bell, own);
	idle_client_add(&idle, fd);
	assert_int_equal(fcntl(fd, F_SETFL, flags & ~O_NONBLOCK), 0);
	idle_bell_ring(fd);
	sleep_for(START + LONG_NS);
	sleep_for(START + LONG_NS);
	close(fd);
	close(own);
}

static void
test_idle_client_ringing_in_vain_is_not_heard_for_a_while(void **state)
{
	struct tp_abi_bell bell = { 0 };
	struct pollfd look = { .events = POLLIN };
	int own = idle_bell_open(), fd = idle_bell_open();
	uint64_t now = START + IDLE_AWAKE_NS;
	int i;

	idle_bell_add(&idle, &bell, own);
	idle_client_add(&idle, fd);
	look.fd = fd;
	for (i = 0; i < IDLE_VAIN_MAX; i++) {
		assert_int_equal(next(now, 0, 1), IDLE_ARM);
		idle_bell_ring(fd);
		sleep_for(START + LONG_NS);
		assert_int_equal(poll(&look, 1, 0), 0);
	}
	assert_int_equal(next(now, 0, 1), IDLE_ARM);
	idle_bell_ring(fd);
	sleep_for(START + LONG_NS);
	/* It was not read, and is heard the next time. */
	assert_int_equal(poll(&look, 1, 0), 1);
	assert_int_equal(next(now, 0, 1), IDLE_ARM);
	sleep_for(START + LONG_NS);
	assert_int_equal(poll(&look, 1, 0), 0);
	/* Rings that bring work are never too many. */
	assert_int_equal(next(now, 1, 1), IDLE_POLL);
	for (i = 0; i < 2 * IDLE_VAIN_MAX; i++) {
		idle_bell_ring(fd);
		sleep_for(START + LONG_NS);
		assert_int_equal(poll(&look, 1, 0), 0);
		assert_int_equal(next(now, 1, 1), IDLE_POLL);
	}
	close(fd);
	close(own);
}

static void
test_idle_port_and_extra_descriptors_end_sleep(void **state)
{
	struct pollfd *extra;
	uint32_t room;
	int fds[2];
	int empty[2];

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(pipe(empty), 0);
	assert_int_equal(write(fds[1], "x", 1), 1);
	assert_true(idle_level_add(&idle, fds[0]));
	sleep_for(START + LONG_NS);
	idle.level_count = 0;
	assert_true(idle_level_add(&idle, empty[0]));
	extra = idle_extra(&idle, &room);
	assert_int_equal(room, IDLE_FDS_MAX - 1);
	*extra = (struct pollfd){ .fd = fds[0], .events = POLLIN };
	idle_arm(&idle);
	idle_sleep(&idle, START, UINT64_MAX, UINT64_MAX, 1);
	assert_true(extra->revents & POLLIN);
	close(fds[0]);
	close(fds[1]);
	close(empty[0]);
	close(empty[1]);
}

/* The other side of a port; what it does not ring for soon after a request we look for. */
static void
test_idle_doorbell_ends_sleep_and_is_cleared(void **state)
{
	uint64_t now = START + LONG_NS;
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, fds), 0);
	idle_doorbell_add(&idle, fds[0]);
	assert_int_equal(send(fds[1], "x", 1, 0), 1);
	idle_arm(&idle);
	assert_int_equal(idle_sleep(&idle, now, UINT64_MAX, UINT64_MAX, 0), 0);
	idle_arm(&idle);
	assert_int_equal(idle_sleep(&idle, now, UINT64_MAX, UINT64_MAX, 0),
		now + IDLE_SLEEP_MAX_NS);
	now = START + IDLE_AWAKE_NS;
	idle_arm(&idle);
	assert_int_equal(idle_sleep(&idle, now, UINT64_MAX, UINT64_MAX, 0),
		now + IDLE_SLEEP_MIN_NS);
	close(fds[0]);
	close(fds[1]);
}

/* A card: its eventfd is one more of ours, and it tells of every frame. */
static void
test_idle_interrupt_ends_sleep_and_is_cleared(void **state)
{
	uint64_t now = START + IDLE_AWAKE_NS;
	int fd = idle_bell_open();

	assert_true(fd >= 0);
	idle_interrupt_add(&idle, fd);
	idle_bell_ring(fd);
	idle_arm(&idle);
	assert_int_equal(idle_sleep(&idle, now, UINT64_MAX, UINT64_MAX, 0), 0);
	idle_arm(&idle);
	assert_int_equal(idle_sleep(&idle, now, UINT64_MAX, UINT64_MAX, 0),
		now + IDLE_SLEEP_MAX_NS);
	close(fd);
}

static bool
is_rung(int fd)
{
	struct pollfd look = { .fd = fd, .events = POLLIN };

	return poll(&look, 1, 0) == 1;
}

/* Rung while nobody slept, too: none of that ends the next sleep. */
static void
test_idle_doorbell_rung_often_ends_one_sleep(void **state)
{
	uint64_t now = START + LONG_NS;
	int fds[2];
	int i;

	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, fds), 0);
	idle_doorbell_add(&idle, fds[0]);
	for (i = 0; i < 5; i++)
		assert_int_equal(send(fds[1], "ring", i % 2 ? 4 : 0, 0), i % 2 ? 4 : 0);
	idle_arm(&idle);
	assert_int_equal(idle_sleep(&idle, now, UINT64_MAX, UINT64_MAX, 0), 0);
	assert_false(is_rung(fds[0]));
	close(fds[0]);
	close(fds[1]);
}

/* When does a sleep end that began at now, with the doorbell rung before? 0: at once. */
static uint64_t
rung_sleep(int fd, uint64_t now)
{
	assert_int_equal(next(now, 0, 1), IDLE_ARM);
	assert_true(send(fd, "x", 1, 0) == 1 || errno == EAGAIN);
	idle_arm(&idle);
	return idle_sleep(&idle, now, UINT64_MAX, UINT64_MAX, 0);
}

/* Somebody rings without end: one turn for each sleep that is not ended by that. */
static void
test_idle_doorbell_flood_is_not_heard_and_work_is(void **state)
{
	struct tp_abi_bell bell = { 0 };
	uint64_t now = START + LONG_NS;
	int own = idle_bell_open(), client = idle_bell_open();
	int fds[2];
	int i;

	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, fds), 0);
	idle_bell_add(&idle, &bell, own);
	idle_doorbell_add(&idle, fds[0]);
	idle_client_add(&idle, client);
	for (i = 0; i < IDLE_VAIN_MAX; i++)
		assert_int_equal(rung_sleep(fds[1], now), 0);
	for (i = 0; i < 3; i++) {
		assert_int_equal(rung_sleep(fds[1], now), now + IDLE_DEAF_NS);
		assert_int_equal(rung_sleep(fds[1], now), 0);
	}
	assert_int_equal(next(now, 0, 1), IDLE_ARM);
	assert_int_equal(idle.vain_count, IDLE_VAIN_MAX + 3);
	/* Clients are heard all the while. */
	idle_bell_ring(client);
	idle_arm(&idle);
	assert_int_equal(idle_sleep(&idle, now, UINT64_MAX, UINT64_MAX, 0), 0);
	assert_false(is_rung(client));
	/* One that brought work is worth being heard. */
	assert_int_equal(next(now, 1, 1), IDLE_POLL);
	for (i = 0; i < 2 * IDLE_VAIN_MAX; i++) {
		assert_int_equal(rung_sleep(fds[1], now), 0);
		assert_int_equal(next(now, 1, 1), IDLE_POLL);
	}
	close(fds[0]);
	close(fds[1]);
	close(client);
	close(own);
}

/* Its port does not wake us any more: we look ourselves, and listen again later. */
static void
test_idle_port_broken_for_good_sleeps_blind(void **state)
{
	uint64_t now = START;
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	assert_true(idle_level_add(&idle, fds[0]));
	close(fds[1]);
	while (now < START + IDLE_MUTE_NS) {
		idle_arm(&idle);
		assert_int_equal(idle_sleep(&idle, now, UINT64_MAX, UINT64_MAX, 0),
			now == START ? 0 : now + IDLE_SLEEP_BLIND_NS);
		now += 10 * IDLE_SLEEP_BLIND_NS;
	}
	idle_arm(&idle);
	assert_int_equal(idle_sleep(&idle, now, UINT64_MAX, UINT64_MAX, 0), 0);
	close(fds[0]);
}

/* As an interface that goes down: told once, and then frames wake us as before. */
static void
test_idle_port_error_is_taken_and_port_heard(void **state)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t bytes = sizeof(address);
	int nobody = socket(AF_INET, SOCK_DGRAM, 0);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(nobody, (struct sockaddr *)&address, sizeof(address)) < 0)
		skip();
	assert_int_equal(getsockname(nobody, (struct sockaddr *)&address, &bytes), 0);
	close(nobody);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(send(fd, "x", 1, 0), 1);
	assert_true(idle_level_add(&idle, fd));
	idle_arm(&idle);
	assert_int_equal(idle_sleep(&idle, START, UINT64_MAX, UINT64_MAX, 0), 0);
	idle_arm(&idle);
	assert_int_equal(idle_sleep(&idle, START, UINT64_MAX, UINT64_MAX, 0),
		START + IDLE_SLEEP_MAX_NS);
	close(fd);
}

static void
test_idle_port_without_descriptor_stays_awake_longer(void **state)
{
	assert_false(idle_level_add(&idle, -1));
	assert_int_equal(next(START + IDLE_AWAKE_NS, 0, 1), IDLE_SPIN);
	assert_int_equal(next(START + IDLE_AWAKE_NS + IDLE_SPIN_NS, 0, 1), IDLE_YIELD);
	assert_int_equal(next(START + IDLE_AWAKE_BLIND_NS, 0, 1), IDLE_ARM);
}

#define CASE(name) cmocka_unit_test_setup(name, setup)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_idle_spins_yields_then_sleeps),
		CASE(test_idle_request_starts_anew),
		CASE(test_idle_work_without_requests_keeps_it_awake_no_longer),
		CASE(test_idle_last_look_finds_work_then_awake),
		CASE(test_idle_shared_core_yields_at_once),
		CASE(test_idle_crowded_core_sleeps_instead_of_yielding),
		CASE(test_idle_long_yields_now_and_then_are_no_crowd),
		CASE(test_idle_crowded_core_spins_while_pages_go_home),
		CASE(test_idle_shared_core_yields_while_pages_go_home),
		CASE(test_idle_real_time_only_while_it_sleeps_now_and_then),
		CASE(test_idle_sleep_that_ends_late_means_a_crowd),
		CASE(test_idle_first_answer_after_a_ring_yields),
		CASE(test_idle_bell_ends_sleep_and_is_cleared),
		CASE(test_idle_sleep_ends_without_bells),
		CASE(test_idle_client_descriptor_changed_cannot_block),
		CASE(test_idle_client_ringing_in_vain_is_not_heard_for_a_while),
		CASE(test_idle_port_and_extra_descriptors_end_sleep),
		CASE(test_idle_interrupt_ends_sleep_and_is_cleared),
		CASE(test_idle_doorbell_ends_sleep_and_is_cleared),
		CASE(test_idle_doorbell_rung_often_ends_one_sleep),
		CASE(test_idle_doorbell_flood_is_not_heard_and_work_is),
		CASE(test_idle_port_broken_for_good_sleeps_blind),
		CASE(test_idle_port_error_is_taken_and_port_heard),
		CASE(test_idle_port_without_descriptor_stays_awake_longer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
