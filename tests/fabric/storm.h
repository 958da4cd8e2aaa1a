/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A storm: nodes ask each other, the asked defer, forward to a third node or
 * answer, all over a network at its worst; every message is marked and checked.
 */
#ifndef STORM_H
#define STORM_H

#include "sim_cluster.h"

struct storm {
	uint32_t nodes;			/* 2 to SIM_NODES_MAX */
	uint32_t requests;		/* by each node */
	uint32_t message_max;		/* bytes */
	uint16_t mtu;
	uint32_t buffers;		/* of each link, 0 no bound */
	uint64_t seed;
	struct sim_faults faults;
	struct tp_endpoint_config config;
	uint64_t deadline_ns;		/* virtual time after which it counts as stalled */
};

/** Run it; asserts that each message arrived once, whole, and that nothing is held after. */
void storm_run(const struct storm *storm);

/** The usual bad network. */
extern const struct sim_faults storm_faults;

#endif /* STORM_H */
