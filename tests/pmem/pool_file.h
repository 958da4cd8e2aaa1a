/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Pools in files for tests: on tmpfs, by cache lines unless a test asks for pages.
 */
#ifndef POOL_FILE_H
#define POOL_FILE_H

#include "tp_pmem.h"

#define POOL_FILE_CHARS 96

/**
 * A path that no other test has; nothing is there yet. What will be there goes with this process
 * and its children, however they end.
 */
void pool_file_path(char path[POOL_FILE_CHARS], const char *name);

/** Whether what is opened next is taken for DAX (cache lines) or for what it is (pages). */
void pool_file_force_lines(bool on);

/** Make a pool; fails the test if that fails. */
struct tp_pmem_pool *pool_file_create(const char *path, uint64_t bytes);
struct tp_pmem_pool *pool_file_open(const char *path);
void pool_file_close(struct tp_pmem_pool *pool);

/** Copy a file as a crash would leave it: what is in the page cache now. */
void pool_file_copy(const char *from, const char *to);

#endif /* POOL_FILE_H */
