/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Does somebody compute on the core that a polling thread gives away? The thread
 * tells how long it waited to have the core back. A tick, a kernel's thread or
 * the host of a virtual machine takes it for long now and then; who computes
 * takes a large share of the time. Only that is a crowd: it is taken to go on
 * for a while, and for longer each time that it was found to have gone on.
 *
 * All times are in one unit, which the owner chooses. Owner: one thread.
 */
#ifndef TP_CROWD_H
#define TP_CROWD_H

#include <stdbool.h>
#include <stdint.h>

#define TP_CROWD_LATE_NS UINT64_C(200000)	/* a yield to who waits for us takes less */
#define TP_CROWD_WINDOW_NS UINT64_C(50000000)
#define TP_CROWD_LOST_NS UINT64_C(6000000)	/* of a window: two slices of who computes */
#define TP_CROWD_SPAN_NS UINT64_C(100000000)
#define TP_CROWD_SPAN_MAX_NS UINT64_C(3200000000)

struct tp_crowd {
	uint64_t late;		/* a wait for the core that counts is longer */
	uint64_t window;
	uint64_t lost_max;	/* waited in a window */
	uint64_t span_min;	/* how long a crowd is taken to last, at first */
	uint64_t span_max;

	uint64_t until;		/* 0: there was none yet */
	uint64_t span;		/* of the last one */
	uint64_t since;		/* start of this window */
	uint64_t lost;
};

/**
 * Make one.
 * @param hz units of time in a second
 * @threads Owner.
 * @cost Some divisions.
 */
static inline void
tp_crowd_init(struct tp_crowd *crowd, uint64_t hz)
{
	const uint64_t in_us = 1000000;

	*crowd = (struct tp_crowd){
		.late = TP_CROWD_LATE_NS / 1000 * hz / in_us,
		.window = TP_CROWD_WINDOW_NS / 1000 * hz / in_us,
		.lost_max = TP_CROWD_LOST_NS / 1000 * hz / in_us,
		.span_min = TP_CROWD_SPAN_NS / 1000 * hz / in_us,
		.span_max = TP_CROWD_SPAN_MAX_NS / 1000 * hz / in_us,
	};
}

/** Is there a crowd? @threads Owner. @cost A comparison. */
static inline bool
tp_crowd_is(const struct tp_crowd *crowd, uint64_t now)
{
	return now < crowd->until;
}

/**
 * The thread was off the core for @p took, until @p now.
 * @return true: this shows that there is a crowd
 * @threads Owner.
 * @cost A comparison, as a rule.
 */
static inline bool
tp_crowd_waited(struct tp_crowd *crowd, uint64_t took, uint64_t now)
{
	bool goes_on;

	if (took <= crowd->late)
		return false;
	if (now - crowd->since > crowd->window) {
		crowd->since = now;
		crowd->lost = 0;
	}
	/* However long it was, one alone is no crowd. */
	crowd->lost += took < crowd->lost_max ? took : crowd->lost_max;
	if (crowd->lost <= crowd->lost_max)
		return false;
	/* Found again soon after it was taken to be over: look less and less often. */
	goes_on = crowd->until != 0 && now < crowd->until + 2 * crowd->window;
	crowd->span = goes_on ? 2 * crowd->span : crowd->span_min;
	if (crowd->span > crowd->span_max)
		crowd->span = crowd->span_max;
	crowd->until = now + crowd->span;
	crowd->lost = 0;
	return true;
}

#endif /* TP_CROWD_H */
