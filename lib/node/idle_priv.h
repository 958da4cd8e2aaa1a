/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Inside lib/node: when a poller that finds nothing to do spins, gives its core
 * away or sleeps, and how it is woken (docs/prog_guide/node.md, "Idle"). The
 * policy reads no clock; nothing here needs EAL.
 */
#ifndef IDLE_PRIV_H
#define IDLE_PRIV_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "tp_abi.h"
#include "tp_crowd.h"

#define IDLE_SPIN_NS UINT64_C(20000)
#define IDLE_ANSWER_NS UINT64_C(10000)	/* another node's answer comes sooner than two switches */
#define IDLE_SWITCH_NS UINT64_C(700)	/* a yield to nobody takes less */
#define IDLE_SHARED_NS UINT64_C(2000000)
#define IDLE_REALTIME_NS UINT64_C(1000000)	/* without a sleep, and it is too busy for that */
#define IDLE_BUSY_NS UINT64_C(10000000)		/* then it is an ordinary thread */
#define IDLE_AWAKE_NS UINT64_C(200000)	/* after the last request, where frames wake us */
#define IDLE_AWAKE_BLIND_NS UINT64_C(1000000)
#define IDLE_SLEEP_MIN_NS UINT64_C(50000)
#define IDLE_SLEEP_BLIND_NS UINT64_C(1800000)
#define IDLE_SLEEP_MAX_NS UINT64_C(10000000)
#define IDLE_VAIN_MAX 16		/* rings for nothing in a row, then they are not heard */
#define IDLE_DEAF_NS UINT64_C(1000000)

#define IDLE_MUTE_NS UINT64_C(100000000)	/* a port whose descriptor is broken is not listened to */

#define IDLE_BELLS_MAX (TP_ABI_WORKERS_MAX + 1)
#define IDLE_FDS_MAX 320

enum idle_step {
	IDLE_POLL,	/* take the next turn at once */
	IDLE_SPIN,
	IDLE_YIELD,
	IDLE_ARM,	/* say that we sleep, and look at everything once more */
	IDLE_SLEEP,
};

/* What came of a turn. */
struct idle_turn {
	uint64_t now;		/* ns */
	uint32_t work;
	uint64_t activity;	/* requests and messages so far: what others may repeat soon */
	bool waiting;		/* requests of clients are under way; only if the core is shared */
	bool answered;		/* clients got their answers and none waits; likewise */
	bool returning;		/* a node that leaves gives back what it has changed: this, or to this */
};

/* Those whose rings may be for nothing: clients, or who sends to a port with a doorbell. */
struct idle_ringers {
	uint32_t vain;		/* rings in a row that brought no work */
	bool rung;		/* one ended the last sleep */
};

/* One poller: a thread with the workers that it polls, or the control side. Its own. */
struct idle {
	uint64_t awake_ns;	/* after the last activity */
	uint64_t blind_ns;	/* longest sleep where some port cannot wake us, or not always; 0 */

	uint64_t since;		/* of having nothing to do; 0: there was work */
	uint64_t activity;
	uint64_t active_at;
	uint64_t shared_until;	/* others run on this core */
	struct tp_crowd crowd;	/* and they compute: who yields to them waits for long */
	uint64_t slept_at;
	uint64_t busy_until;
	struct idle_ringers clients;
	struct idle_ringers doorbells;
	uint64_t vain_count;	/* rings for nothing so far */
	bool armed;
	bool woken;		/* by a client that has no answer yet: it may wait for this core */

	struct tp_abi_bell *bells[IDLE_BELLS_MAX];
	uint32_t bell_count;
	/* Ours; then of ports; then those that clients ring; then those only waited for. */
	uint32_t own_count;
	uint32_t doorbell_count;
	uint32_t client_count;
	uint32_t level_count;
	uint64_t muted_until;	/* some of these are broken and not listened to; 0: none is */
	struct pollfd fds[IDLE_FDS_MAX];
};

/* An eventfd for a bell. -errno. */
int idle_bell_open(void);

/* Any thread; never blocks for long, whatever clients did to the descriptor. */
void idle_bell_ring(int fd);

void idle_init(struct idle *idle);

/* First every bell with its own descriptor, then interrupts, doorbells, clients', those of ports. */
void idle_bell_add(struct idle *idle, struct tp_abi_bell *bell, int fd);
/* After the bells: an eventfd that a port counts up while its interrupt is enabled. */
void idle_interrupt_add(struct idle *idle, int fd);
/*
 * A datagram socket, rung by who sends to a port after a silence of less than
 * IDLE_AWAKE_NS, or by anybody else who can reach it.
 */
void idle_doorbell_add(struct idle *idle, int fd);
void idle_client_add(struct idle *idle, int fd);
/* Readable as long as there is something to do. false: no room, or fd < 0: we are blind there. */
bool idle_level_add(struct idle *idle, int fd);

/* What to do now. IDLE_ARM: idle_arm(), take a turn that looks at everything, ask again. */
enum idle_step idle_next(struct idle *idle, const struct idle_turn *turn);

static inline bool
idle_is_shared(const struct idle *idle, uint64_t now)
{
	return now < idle->shared_until || tp_crowd_is(&idle->crowd, now) || idle->woken;
}

/*
 * Should it run before who computes here? Only while it sleeps every now and
 * then: others keep what they have a right to.
 */
static inline bool
idle_is_realtime(const struct idle *idle, uint64_t now)
{
	return tp_crowd_is(&idle->crowd, now) && now >= idle->busy_until;
}

/* After IDLE_YIELD. */
void idle_yielded(struct idle *idle, uint64_t before, uint64_t after);

/* After a sleep that should have ended at @p due. */
void idle_overslept(struct idle *idle, uint64_t due, uint64_t now);

void idle_arm(struct idle *idle);
void idle_disarm(struct idle *idle);

/* Descriptors for this sleep alone: where to put them, and how many fit. */
struct pollfd *idle_extra(struct idle *idle, uint32_t *room);

/*
 * Sleep until timer (ns, may be over), for IDLE_SLEEP_MAX_NS at most, or until
 * something is to be done; then awake again. extra_count: of idle_extra().
 * When it should have ended if nothing but time ended it, else 0.
 */
uint64_t idle_sleep(struct idle *idle, uint64_t now, uint64_t timer, uint64_t max_ns,
	uint32_t extra_count);

#endif /* IDLE_PRIV_H */
