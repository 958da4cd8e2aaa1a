/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The control-plane store in memory: one store, a handle per node, and a switch
 * that cuts a node off from it.
 */
#ifndef SIM_STORE_H
#define SIM_STORE_H

#include <stdbool.h>

#include "tp_store.h"

struct sim_store;

struct sim_store *sim_store_create(void);
void sim_store_destroy(struct sim_store *store);

/* A handle, closed by tp_store_close(). */
struct tp_store *sim_store_open(struct sim_store *store);

/* While cut, every call of the handle fails with -EHOSTUNREACH. */
void sim_store_cut(struct tp_store *handle, bool cut);

#endif /* SIM_STORE_H */
