/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * struct tp_clock without divisions: the datapath converts twice a request, and
 * a 128-bit division costs 30 ns.
 */
#ifndef NODE_CLOCK_PRIV_H
#define NODE_CLOCK_PRIV_H

#include <stdint.h>

#include "tp_worker.h"

#define NODE_CLOCK_NS_HZ UINT64_C(1000000000)
#define NODE_CLOCK_TSC_SHIFT 56

struct node_clock {
	struct tp_clock clock;
	uint64_t ns_mult;	/* ns a tick, times 2^64; 0: a tick is longer than 1 ns */
	uint64_t tsc_mult;	/* ticks a ns, times 2^NODE_CLOCK_TSC_SHIFT; 0: too many */
};

static inline void
node_clock_init(struct node_clock *fast, const struct tp_clock *clock)
{
	unsigned __int128 ticks = (unsigned __int128)clock->tsc_hz << NODE_CLOCK_TSC_SHIFT;

	fast->clock = *clock;
	fast->ns_mult = clock->tsc_hz <= NODE_CLOCK_NS_HZ ? 0 :
		(uint64_t)(((unsigned __int128)NODE_CLOCK_NS_HZ << 64) / clock->tsc_hz);
	ticks /= NODE_CLOCK_NS_HZ;
	fast->tsc_mult = ticks > UINT64_MAX ? 0 : (uint64_t)ticks;
}

/* As tp_clock_ns(); at most 1 ns less in centuries. */
static inline uint64_t
node_clock_ns(const struct node_clock *fast, uint64_t tsc)
{
	if (fast->ns_mult == 0 || tsc <= fast->clock.tsc_base)
		return tp_clock_ns(&fast->clock, tsc);
	return fast->clock.ns_base + (uint64_t)((unsigned __int128)(tsc - fast->clock.tsc_base) *
		fast->ns_mult >> 64);
}

/* As tp_clock_tsc(). */
static inline uint64_t
node_clock_tsc(const struct node_clock *fast, uint64_t ns)
{
	/* Beyond 2^56 ns, two years of running, the product could overflow. */
	if (fast->tsc_mult == 0 || ns <= fast->clock.ns_base ||
	    (ns - fast->clock.ns_base) >> NODE_CLOCK_TSC_SHIFT != 0)
		return tp_clock_tsc(&fast->clock, ns);
	return fast->clock.tsc_base + (uint64_t)((unsigned __int128)(ns - fast->clock.ns_base) *
		fast->tsc_mult >> NODE_CLOCK_TSC_SHIFT);
}

#endif /* NODE_CLOCK_PRIV_H */
