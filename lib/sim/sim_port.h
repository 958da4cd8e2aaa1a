/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Inside lib/sim, and for tests: ports with several queues on the simulated
 * network. The queues have one MAC address, and each frame goes to one of them,
 * as receive-side scaling does.
 */
#ifndef SIM_PORT_H
#define SIM_PORT_H

#include <stdbool.h>
#include <stdint.h>

#include "sim_link.h"

/*
 * Make the links of one node the queues of one port. scatter: frames go to a
 * queue by a hash, so that workers have to steer; else each to its worker's.
 */
void sim_port_make(struct tp_link *const *links, uint32_t count, uint16_t base_port, bool scatter);

#endif /* SIM_PORT_H */
