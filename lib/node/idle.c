/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A poller without work. Owner: the thread that polls.
 *
 * How it works: for a short time after a request it stays awake, spinning, or
 * yielding where the core is shared with clients who yield in turn. A yield that
 * takes long went to somebody who computes; from then on it sleeps instead,
 * because who sleeps is run at once when it is woken. To sleep it sets its bells
 * (odd: asleep), looks at everything once more, and waits on its descriptors: a
 * bell that was set is seen by whoever has work afterwards, and work from before
 * is found by that last look (tp_abi_bell_arm()). A client may ring for nothing,
 * or take another's ring out of the descriptor: so a sleep is never long, and
 * clients who ring in vain are not heard for a while. The same goes for the
 * doorbells of ports. Whoever rings without end so gets one turn out of us each
 * IDLE_DEAF_NS, and delays others by that at most.
 */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <rte_common.h>
#include <rte_debug.h>

#include "idle_priv.h"

#define IDLE_RINGS_TAKEN 64u	/* out of a doorbell's queue with one system call */
#define IDLE_BROKEN (POLLERR | POLLHUP | POLLNVAL)

int
idle_bell_open(void)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

void
idle_bell_ring(int fd)
{
	uint64_t one = 1;
	ssize_t ret = write(fd, &one, sizeof(one));

	/* Full: it has been rung. */
	RTE_SET_USED(ret);
}

/* Not read(): whoever shares the description may have made it a blocking one. */
static void
idle_bell_clear(int fd)
{
	uint64_t count;
	struct iovec iov = { .iov_base = &count, .iov_len = sizeof(count) };
	ssize_t ret = preadv2(fd, &iov, 1, -1, RWF_NOWAIT);

	RTE_SET_USED(ret);
}

/*
 * Rung while we were awake, too: each datagram that stays would end another
 * sleep. What they carry is not even looked at.
 */
static void
idle_doorbell_clear(int fd)
{
	struct mmsghdr rings[IDLE_RINGS_TAKEN];
	int ret;

	memset(rings, 0, sizeof(rings));
	ret = recvmmsg(fd, rings, IDLE_RINGS_TAKEN, MSG_DONTWAIT, NULL);
	RTE_SET_USED(ret);
}

void
idle_init(struct idle *idle)
{
	*idle = (struct idle){ .awake_ns = IDLE_AWAKE_NS };
	tp_crowd_init(&idle->crowd, UINT64_C(1000000000));
}

static uint32_t
idle_fd_count(const struct idle *idle)
{
	return idle->own_count + idle->doorbell_count + idle->client_count + idle->level_count;
}

static bool
idle_fd_add(struct idle *idle, int fd)
{
	uint32_t count = idle_fd_count(idle);

	if (fd < 0 || count == IDLE_FDS_MAX)
		return false;
	idle->fds[count] = (struct pollfd){ .fd = fd, .events = POLLIN };
	return true;
}

void
idle_bell_add(struct idle *idle, struct tp_abi_bell *bell, int fd)
{
	bool added;

	RTE_ASSERT(idle_fd_count(idle) == idle->own_count);
	RTE_ASSERT(idle->bell_count < IDLE_BELLS_MAX);
	added = idle_fd_add(idle, fd);
	RTE_ASSERT(added);
	RTE_SET_USED(added);
	idle->bells[idle->bell_count++] = bell;
	idle->own_count++;
}

void
idle_interrupt_add(struct idle *idle, int fd)
{
	bool added;

	RTE_ASSERT(idle_fd_count(idle) == idle->own_count);
	added = idle_fd_add(idle, fd);
	RTE_ASSERT(added);
	RTE_SET_USED(added);
	idle->own_count++;
}

void
idle_doorbell_add(struct idle *idle, int fd)
{
	bool added;

	RTE_ASSERT(idle->client_count == 0 && idle->level_count == 0);
	added = idle_fd_add(idle, fd);
	RTE_ASSERT(added);
	RTE_SET_USED(added);
	idle->doorbell_count++;
	/* Who heard of us a moment ago does not ring, but we may sleep already. */
	if (idle->blind_ns == 0)
		idle->blind_ns = IDLE_SLEEP_MAX_NS;
}

void
idle_client_add(struct idle *idle, int fd)
{
	RTE_ASSERT(idle->level_count == 0);
	if (idle_fd_add(idle, fd))
		idle->client_count++;
}

bool
idle_level_add(struct idle *idle, int fd)
{
	if (idle_fd_add(idle, fd)) {
		idle->level_count++;
		return true;
	}
	idle->blind_ns = IDLE_SLEEP_BLIND_NS;
	idle->awake_ns = IDLE_AWAKE_BLIND_NS;
	return false;
}

void
idle_arm(struct idle *idle)
{
	uint32_t i;

	RTE_ASSERT(!idle->armed);
	idle->armed = true;
	for (i = 0; i < idle->bell_count; i++)
		tp_abi_bell_arm(idle->bells[i]);
}

void
idle_disarm(struct idle *idle)
{
	uint32_t i;

	if (!idle->armed)
		return;
	idle->armed = false;
	for (i = 0; i < idle->bell_count; i++)
		tp_abi_bell_disarm(idle->bells[i]);
}

/* Time to spin before anything else is done. */
static uint64_t
idle_spin_ns(const struct idle *idle, const struct idle_turn *turn)
{
	/*
	 * A page that goes home is acknowledged at once and another one follows: who
	 * slept in between, at both ends, would give back little in the time there is.
	 */
	if (!idle_is_shared(idle, turn->now) ||
	    (turn->returning && tp_crowd_is(&idle->crowd, turn->now)))
		return IDLE_SPIN_NS;
	return turn->waiting ? IDLE_ANSWER_NS : 0;
}

/* A turn has found work, or not: was it worth being woken for? */
static void
idle_ringers_turn(struct idle *idle, struct idle_ringers *ringers, bool worked)
{
	if (worked) {
		ringers->vain = 0;
	} else if (ringers->rung) {
		ringers->vain++;
		idle->vain_count++;
	}
	ringers->rung = false;
}

enum idle_step
idle_next(struct idle *idle, const struct idle_turn *turn)
{
	bool crowded = tp_crowd_is(&idle->crowd, turn->now);

	if (turn->activity != idle->activity) {
		idle->activity = turn->activity;
		idle->active_at = turn->now;
	}
	idle_ringers_turn(idle, &idle->clients, turn->work != 0);
	idle_ringers_turn(idle, &idle->doorbells, turn->work != 0);
	if (turn->work != 0) {
		idle->since = 0;
		idle_disarm(idle);
		if (crowded && turn->now - idle->slept_at > IDLE_REALTIME_NS)
			idle->busy_until = turn->now + IDLE_BUSY_NS;
		if (!turn->answered)
			return IDLE_POLL;
		idle->woken = false;
		return crowded ? IDLE_POLL : IDLE_YIELD;
	}
	if (idle->armed) {
		idle->woken = false;
		idle->slept_at = turn->now;
		return IDLE_SLEEP;
	}
	if (idle->since == 0)
		idle->since = turn->now;
	/* What keeps sessions alive is no reason to stay awake. */
	if (turn->now - idle->active_at >= idle->awake_ns)
		return IDLE_ARM;
	if (turn->now - idle->since < idle_spin_ns(idle, turn))
		return IDLE_SPIN;
	return crowded ? IDLE_ARM : IDLE_YIELD;
}

/*
 * A yield that took longer than a bare system call let somebody run: a client on
 * this core most likely, who yields in turn while it waits for us. Spinning
 * would keep from working whom we wait for.
 */
void
idle_yielded(struct idle *idle, uint64_t before, uint64_t after)
{
	if (after - before > IDLE_SWITCH_NS)
		idle->shared_until = after + IDLE_SHARED_NS;
	tp_crowd_waited(&idle->crowd, after - before, after);
}

/* Who sleeps most of the time yields to nobody: the timer tells whether it had to wait. */
void
idle_overslept(struct idle *idle, uint64_t due, uint64_t now)
{
	tp_crowd_waited(&idle->crowd, now > due ? now - due : 0, now);
}

struct pollfd *
idle_extra(struct idle *idle, uint32_t *room)
{
	uint32_t count = idle_fd_count(idle);

	*room = IDLE_FDS_MAX - count;
	return &idle->fds[count];
}

static bool
idle_is_deaf(const struct idle_ringers *ringers)
{
	return ringers->vain >= IDLE_VAIN_MAX;
}

/* How long this sleep may be. */
static uint64_t
idle_sleep_ns(const struct idle *idle, uint64_t now, uint64_t timer, uint64_t max_ns)
{
	uint64_t ns = timer <= now ? IDLE_SLEEP_MIN_NS : timer - now;
	uint64_t blind_ns = idle->blind_ns;

	ns = RTE_MIN(ns, RTE_MIN(max_ns, IDLE_SLEEP_MAX_NS));
	/* The longer nobody came the less likely is the next one. */
	if (idle->muted_until != 0)
		blind_ns = IDLE_SLEEP_BLIND_NS;
	if (blind_ns != 0)
		ns = RTE_MIN(ns, RTE_MIN(RTE_MAX((now - idle->active_at) / 4, IDLE_SLEEP_MIN_NS),
			blind_ns));
	if (idle_is_deaf(&idle->clients) || idle_is_deaf(&idle->doorbells))
		ns = RTE_MIN(ns, IDLE_DEAF_NS);
	return ns;
}

/*
 * A descriptor in error ends every sleep at once. That a link went down is an
 * error of a socket until it is asked for; what stays even then is not listened
 * to for a while, in which we look ourselves. The complement of a descriptor is
 * negative, which poll() skips.
 */
static void
idle_levels_mute(struct idle *idle, uint64_t now)
{
	struct pollfd *level = &idle->fds[idle_fd_count(idle) - idle->level_count];
	uint32_t i;

	for (i = 0; i < idle->level_count; i++, level++) {
		socklen_t bytes = sizeof(int);
		int error;

		if (!(level->revents & IDLE_BROKEN))
			continue;
		if (getsockopt(level->fd, SOL_SOCKET, SO_ERROR, &error, &bytes) == 0 &&
		    poll(level, 1, 0) >= 0 && !(level->revents & IDLE_BROKEN))
			continue;
		level->fd = ~level->fd;
		idle->muted_until = now + IDLE_MUTE_NS;
	}
}

static void
idle_levels_unmute(struct idle *idle, uint64_t now)
{
	struct pollfd *level = &idle->fds[idle_fd_count(idle) - idle->level_count];
	uint32_t i;

	if (idle->muted_until == 0 || now < idle->muted_until)
		return;
	idle->muted_until = 0;
	for (i = 0; i < idle->level_count; i++)
		if (level[i].fd < 0)
			level[i].fd = ~level[i].fd;
}

/* Listen to these, or not: they have rung for nothing too often. */
static void
idle_ringers_hear(struct idle *idle, const struct idle_ringers *ringers, uint32_t first,
	uint32_t count)
{
	short events = idle_is_deaf(ringers) ? 0 : POLLIN;
	uint32_t i;

	for (i = first; i < first + count; i++)
		idle->fds[i].events = events;
}

/* The sleep is over: take the rings, by whom they were. */
static bool
idle_rings_take(struct idle *idle, uint32_t first, uint32_t count, void (*clear)(int fd))
{
	bool rung = false;
	uint32_t i;

	for (i = first; i < first + count; i++) {
		if (!(idle->fds[i].revents & POLLIN))
			continue;
		clear(idle->fds[i].fd);
		rung = true;
	}
	return rung;
}

/* Who was not heard in this sleep will not be in the next one, after one more for nothing. */
static void
idle_ringers_slept(struct idle_ringers *ringers)
{
	if (idle_is_deaf(ringers))
		ringers->vain = IDLE_VAIN_MAX - 1;
}

uint64_t
idle_sleep(struct idle *idle, uint64_t now, uint64_t timer, uint64_t max_ns,
	uint32_t extra_count)
{
	uint32_t doorbells = idle->own_count;
	uint32_t clients = doorbells + idle->doorbell_count;
	struct timespec timeout;
	uint64_t ns;
	int ret;

	RTE_ASSERT(idle->armed);
	idle_levels_unmute(idle, now);
	ns = idle_sleep_ns(idle, now, timer, max_ns);
	timeout.tv_sec = (time_t)(ns / 1000000000u);
	timeout.tv_nsec = (long)(ns % 1000000000u);
	idle_ringers_hear(idle, &idle->doorbells, doorbells, idle->doorbell_count);
	idle_ringers_hear(idle, &idle->clients, clients, idle->client_count);
	ret = ppoll(idle->fds, idle_fd_count(idle) + extra_count, &timeout, NULL);
	idle_disarm(idle);
	idle_ringers_slept(&idle->doorbells);
	idle_ringers_slept(&idle->clients);
	if (ret <= 0)
		return ret == 0 ? now + ns : 0;
	idle_rings_take(idle, 0, idle->own_count, idle_bell_clear);
	if (idle_rings_take(idle, doorbells, idle->doorbell_count, idle_doorbell_clear))
		idle->doorbells.rung = true;
	if (idle_rings_take(idle, clients, idle->client_count, idle_bell_clear))
		idle->clients.rung = idle->woken = true;
	idle_levels_mute(idle, now);
	return 0;
}
