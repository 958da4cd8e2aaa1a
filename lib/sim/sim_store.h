/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Inside lib/sim, and for tests: the control-plane store in memory. One store, a
 * handle per node, and a switch that cuts a node off from it.
 */
#ifndef SIM_STORE_H
#define SIM_STORE_H

#include <stdbool.h>

#include "tp_store.h"

struct sim_store;

/* NULL with rte_errno ENOMEM. */
struct sim_store *sim_store_create(void);

/* All handles are closed. NULL is ignored. */
void sim_store_destroy(struct sim_store *store);

/* A handle, closed by tp_store_close(); NULL with rte_errno ENOMEM. */
struct tp_store *sim_store_open(struct sim_store *store);

/* While cut, every call of the handle fails with -EHOSTUNREACH. */
void sim_store_cut(struct tp_store *handle, bool cut);

#endif /* SIM_STORE_H */
