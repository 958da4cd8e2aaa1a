/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Generations: 16 bits of node, 48 bits of that node's counter. A region gets a
 * new one when it is created and at each reset; access with a stale one reads
 * VOID. Counters start at 1, so 0 is no generation.
 */
#ifndef TP_GENERATION_H
#define TP_GENERATION_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TP_GENERATION_NONE UINT64_C(0)
#define TP_GENERATION_COUNTER_BITS 48
#define TP_GENERATION_COUNTER_MAX ((UINT64_C(1) << TP_GENERATION_COUNTER_BITS) - 1)

enum tp_generation_order {
	TP_GENERATION_SAME,
	TP_GENERATION_OLDER,
	TP_GENERATION_NEWER,
	TP_GENERATION_UNRELATED,	/* of two nodes: their counters do not compare */
};

/**
 * @return The generation, or TP_GENERATION_NONE: counter is 0 or above
 *   TP_GENERATION_COUNTER_MAX.
 * @threads Any.
 */
static inline uint64_t
tp_generation_pack(uint16_t node, uint64_t counter)
{
	if (counter == 0 || counter > TP_GENERATION_COUNTER_MAX)
		return TP_GENERATION_NONE;
	return (uint64_t)node << TP_GENERATION_COUNTER_BITS | counter;
}

/** Node whose counter it is. @threads Any. */
static inline uint16_t
tp_generation_node(uint64_t generation)
{
	return (uint16_t)(generation >> TP_GENERATION_COUNTER_BITS);
}

/** The counter alone. @threads Any. */
static inline uint64_t
tp_generation_counter(uint64_t generation)
{
	return generation & TP_GENERATION_COUNTER_MAX;
}

/** A counter is there. @threads Any. */
static inline bool
tp_generation_is_valid(uint64_t generation)
{
	return tp_generation_counter(generation) != 0;
}

/** How @p a stands to @p b. @threads Any. */
static inline enum tp_generation_order
tp_generation_compare(uint64_t a, uint64_t b)
{
	if (a == b)
		return TP_GENERATION_SAME;
	if (tp_generation_node(a) != tp_generation_node(b))
		return TP_GENERATION_UNRELATED;
	return a < b ? TP_GENERATION_OLDER : TP_GENERATION_NEWER;
}

/**
 * The generation after @p generation of the same node.
 *
 * @param next  Written only on success.
 * @return 0, or -EOVERFLOW: the node's counter is exhausted. It never wraps: a
 *   stale generation would be current again.
 * @threads Any.
 */
static inline int
tp_generation_next(uint64_t generation, uint64_t *next)
{
	if (tp_generation_counter(generation) == TP_GENERATION_COUNTER_MAX)
		return -EOVERFLOW;
	*next = generation + 1;
	return 0;
}

#ifdef __cplusplus
}
#endif

#endif /* TP_GENERATION_H */
