/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Peer processes. The control word lies in shared memory, so that a peer that
 * serves pays one cached load a turn; a peer that rests sleeps on it.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <rte_pause.h>

#include "bench.h"

#define READY_SECONDS 30

enum peer_command {
	PEER_PAUSE = 0,
	PEER_RUN = 1,
	PEER_END = 2,
};

enum peer_state {
	PEER_STARTING = 0,
	PEER_RESTING = 1,
	PEER_RUNNING = 2,
};

struct bench_control {
	_Atomic uint32_t command;	/* writer: measuring process */
	_Atomic uint32_t state;		/* writer: peer */
};

static void
word_wait(_Atomic uint32_t *word, uint32_t value)
{
	const struct timespec second = { .tv_sec = 1 };

	syscall(SYS_futex, word, FUTEX_WAIT, value, &second, NULL, 0);
}

static void
word_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static void
state_set(struct bench_control *control, enum peer_state state)
{
	/* pairs with the acquire in state_await() and bench_peer_await() */
	atomic_store_explicit(&control->state, state, memory_order_release);
}

static void
peer_rest(struct bench_control *control)
{
	state_set(control, PEER_RESTING);
	while (atomic_load_explicit(&control->command, memory_order_acquire) == PEER_PAUSE)
		word_wait(&control->command, PEER_PAUSE);
	state_set(control, PEER_RUNNING);
}

void
bench_peer_ready(struct bench_control *control)
{
	peer_rest(control);
}

bool
bench_peer_may_run(struct bench_control *control)
{
	/* pairs with the release in command_give() */
	uint32_t command = atomic_load_explicit(&control->command, memory_order_acquire);

	if (command == PEER_PAUSE) {
		peer_rest(control);
		command = atomic_load_explicit(&control->command, memory_order_acquire);
	}
	return command != PEER_END;
}

static void
peer_child(struct bench *bench, unsigned int side, struct bench_control *control,
	   bench_peer_main *function, void *context, pid_t parent)
{
	int ret;

	/* Die with the measuring process, also when it died before this line. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	bench_guard_forget(bench->guard);
	ret = bench_pin(bench, side);
	if (ret == 0)
		ret = bench_link_enter(bench, side);
	if (ret == 0)
		ret = function(bench, control, context);
	if (ret < 0)
		fprintf(stderr, "telepage-bench: peer: %s\n", strerror(-ret));
	_exit(ret < 0);
}

int
bench_peer_start(struct bench_peer *peer, struct bench *bench, unsigned int side,
		 bench_peer_main *function, void *context)
{
	pid_t parent = getpid();
	int ret;

	peer->pid = 0;
	peer->control = mmap(NULL, sizeof(*peer->control), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (peer->control == MAP_FAILED)
		return -errno;
	fflush(NULL);
	peer->pid = fork();
	if (peer->pid < 0) {
		ret = -errno;
		peer->pid = 0;
		munmap(peer->control, sizeof(*peer->control));
		return ret;
	}
	if (peer->pid == 0)
		peer_child(bench, side, peer->control, function, context, parent);
	return 0;
}

static bool
peer_has_ended(struct bench_peer *peer)
{
	if (waitpid(peer->pid, NULL, WNOHANG) == 0)
		return false;
	peer->pid = 0;
	return true;
}

int
bench_peer_await(struct bench_peer *peer)
{
	const struct timespec step = { .tv_nsec = 10 * 1000 * 1000 };

	for (unsigned int i = 0; i < READY_SECONDS * 100; i++) {
		if (atomic_load_explicit(&peer->control->state, memory_order_acquire) !=
		    PEER_STARTING)
			return 0;
		if (peer_has_ended(peer))
			return -ECHILD;
		nanosleep(&step, NULL);
	}
	return -ETIMEDOUT;
}

static void
command_give(struct bench_peer *peer, enum peer_command command)
{
	atomic_store_explicit(&peer->control->command, command, memory_order_release);
	word_wake(&peer->control->command);
}

/* Until the peer has followed; a dead one is noticed by who talks to it. */
static void
state_await(struct bench_peer *peer, enum peer_state state)
{
	while (atomic_load_explicit(&peer->control->state, memory_order_acquire) != state) {
		for (unsigned int i = 0; i < 1000; i++)
			rte_pause();
		/* It may be on this core. */
		sched_yield();
		if (peer->pid == 0 || kill(peer->pid, 0) < 0 || peer_has_ended(peer))
			return;
	}
}

void
bench_peer_resume(struct bench_peer *peer)
{
	command_give(peer, PEER_RUN);
	state_await(peer, PEER_RUNNING);
}

void
bench_peer_pause(struct bench_peer *peer)
{
	command_give(peer, PEER_PAUSE);
	state_await(peer, PEER_RESTING);
}

void
bench_peer_stop(struct bench_peer *peer)
{
	const struct timespec step = { .tv_nsec = 10 * 1000 * 1000 };

	if (peer->control == NULL)
		return;
	command_give(peer, PEER_END);
	for (unsigned int i = 0; i < 300 && peer->pid != 0 && !peer_has_ended(peer); i++)
		nanosleep(&step, NULL);
	if (peer->pid != 0) {
		kill(peer->pid, SIGKILL);
		waitpid(peer->pid, NULL, 0);
	}
	munmap(peer->control, sizeof(*peer->control));
	*peer = (struct bench_peer){ 0 };
}
