/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * One seed: what to run, and what came of it. Two harnesses exist:
 *   core     coherence engines and a message model with the semantics that
 *            sessions promise; clients are modelled. Fast: finds protocol bugs.
 *   cluster  whole nodes (control, workers, endpoints) and the real client
 *            library over a simulated network.
 */
#ifndef SIM_H
#define SIM_H

#include <stdbool.h>
#include <stdint.h>

#define SIM_NODES_MAX 8
#define SIM_PAGES_MAX 8
#define SIM_WORDS 4			/* per page that operations touch */
#define SIM_CLIENTS_MAX 3		/* of one node */
#define SIM_MS UINT64_C(1000000)
#define SIM_US UINT64_C(1000)

struct sim_options {
	uint64_t seed;
	uint32_t nodes;			/* 0: by seed, 3 to 8 */
	uint32_t ops;			/* 0: 2,000 */
	uint32_t faults;		/* 0: by seed, 20 to 40; SIM_NO_FAULTS: none */
	bool trace;			/* every event to stdout */
};
#define SIM_NO_FAULTS UINT32_MAX

struct sim_result {
	bool failed;
	char why[512];
	uint64_t trace_hash;
	uint64_t events;
	uint64_t virtual_ns;
	uint32_t nodes;
	uint32_t ops_done;
	uint32_t ops_unknown;
	uint32_t ops_void;
	uint32_t ops_settled;
	uint32_t faults;
	uint32_t crashes;
	uint32_t fences;
	uint32_t resets;
	uint32_t pages_lost;
	uint64_t notice_ns;		/* longest access after a death that nothing else hid */
};

void sim_core_run(const struct sim_options *options, struct sim_result *result);
void sim_cluster_run(const struct sim_options *options, struct sim_result *result);

#endif /* SIM_H */
