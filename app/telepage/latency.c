/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Latencies in logarithmic classes: 32 to each power of two.
 */
#include <stdlib.h>

#include "cli.h"

#define LATENCY_SUB_BITS 5
#define LATENCY_SUB (1u << LATENCY_SUB_BITS)
#define LATENCY_CLASSES (64 * LATENCY_SUB)

struct cli_latency {
	uint64_t count[CLI_LATENCY_KINDS];
	uint64_t classes[CLI_LATENCY_KINDS][LATENCY_CLASSES];
};

struct cli_latency *
cli_latency_create(void)
{
	return calloc(1, sizeof(struct cli_latency));
}

void
cli_latency_destroy(struct cli_latency *latency)
{
	free(latency);
}

/* Values below LATENCY_SUB are classes of their own. */
static uint32_t
latency_class(uint64_t ns)
{
	uint32_t shift;

	if (ns < LATENCY_SUB)
		return (uint32_t)ns;
	shift = 63 - (uint32_t)__builtin_clzll(ns) - LATENCY_SUB_BITS;
	return (shift + 1) * LATENCY_SUB + (uint32_t)(ns >> shift) - LATENCY_SUB;
}

static uint64_t
latency_value(uint32_t class)
{
	uint32_t shift = class / LATENCY_SUB;

	if (shift == 0)
		return class;
	return (uint64_t)(class % LATENCY_SUB + LATENCY_SUB) << (shift - 1);
}

void
cli_latency_add(struct cli_latency *latency, enum cli_latency_kind kind, uint64_t ns)
{
	latency->count[kind]++;
	latency->classes[kind][latency_class(ns)]++;
}

uint64_t
cli_latency_count(const struct cli_latency *latency, enum cli_latency_kind kind)
{
	return latency->count[kind];
}

uint64_t
cli_latency_quantile(const struct cli_latency *latency, enum cli_latency_kind kind,
		     uint32_t permille)
{
	uint64_t rank = latency->count[kind] * permille / 1000, seen = 0;
	uint32_t i;

	for (i = 0; i < LATENCY_CLASSES; i++) {
		seen += latency->classes[kind][i];
		if (seen > rank)
			return latency_value(i);
	}
	return 0;
}

uint64_t
cli_elapsed_ns(const struct cli *cli, uint64_t start)
{
	uint64_t ticks = tp_client_tsc(cli->client) - start;

	return (uint64_t)((unsigned __int128)ticks * 1000000000u /
			  tp_client_node(cli->client)->tsc_hz);
}
