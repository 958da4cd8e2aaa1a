/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 */
#ifndef STORE_DIR_H
#define STORE_DIR_H

#include <stdint.h>

#include "tp_catalogue.h"
#include "tp_store.h"

/* A store in a new directory under TMPDIR or /tmp; one at a time. */
void store_dir_make(void);
void store_dir_remove(void);

/* "file:..." and the plain path. */
const char *store_dir_url(void);
const char *store_dir_path(void);

/* Open, or abort. */
struct tp_store *store_dir_open(void);

/* Path of the only value file of the store, for tests that damage it. */
const char *store_dir_value_file(void);

/* Value files in the directory. */
uint32_t store_dir_file_count(void);

/* Deterministic random numbers (splitmix64). */
uint64_t random_next(uint64_t *seed);

/* In a child just forked: it does not outlive a test that is killed. */
void die_with_parent(void);

/* cmocka setup and teardown: a fresh directory for each test. */
int store_dir_setup(void **state);
int store_dir_teardown(void **state);

#endif /* STORE_DIR_H */
