/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Randomness and trace hash of the simulator. Everything random comes from one
 * seed through these; libc's generators, addresses and clocks are never used,
 * so that a seed replays exactly.
 */
#ifndef SIM_RNG_H
#define SIM_RNG_H

#include <stdbool.h>
#include <stdint.h>

/* splitmix64: every seed, also 0 and neighbours, gives an unrelated stream. */
struct sim_rng {
	uint64_t state;
};

static inline uint64_t
sim_rng_next(struct sim_rng *rng)
{
	uint64_t z = rng->state += UINT64_C(0x9E3779B97F4A7C15);

	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	return z ^ (z >> 31);
}

/* An independent stream: the order of draws in one does not move another. */
static inline struct sim_rng
sim_rng_fork(struct sim_rng *rng)
{
	return (struct sim_rng){ .state = sim_rng_next(rng) };
}

/* 0 to bound - 1; bound at least 1. The bias of a 64-bit multiply is below 2^-32. */
static inline uint32_t
sim_rng_below(struct sim_rng *rng, uint32_t bound)
{
	return (uint32_t)(((sim_rng_next(rng) >> 32) * bound) >> 32);
}

/* lo to hi, both included. */
static inline uint64_t
sim_rng_between(struct sim_rng *rng, uint64_t lo, uint64_t hi)
{
	return lo + sim_rng_next(rng) % (hi - lo + 1);
}

static inline bool
sim_rng_chance(struct sim_rng *rng, uint32_t per_mille)
{
	return sim_rng_below(rng, 1000) < per_mille;
}

/* What happened, folded into one number: equal runs have equal hashes. */
struct sim_trace {
	uint64_t hash;
	uint64_t events;
};

static inline void
sim_trace_add(struct sim_trace *trace, uint64_t value)
{
	uint64_t z = trace->hash ^ (value + UINT64_C(0x9E3779B97F4A7C15) +
				    (trace->hash << 6) + (trace->hash >> 2));

	trace->hash = (z ^ (z >> 29)) * UINT64_C(0xBF58476D1CE4E5B9);
	trace->events++;
}

#endif /* SIM_RNG_H */
