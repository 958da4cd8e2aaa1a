/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "pool_file.h"

void
pool_file_path(char path[POOL_FILE_CHARS], const char *name)
{
	snprintf(path, POOL_FILE_CHARS, "/dev/shm/tp-pmem-%d-%s", (int)getpid(), name);
	unlink(path);
}

void
pool_file_force_lines(bool on)
{
	if (on)
		setenv("PMEM2_FORCE_GRANULARITY", "CACHE_LINE", 1);
	else
		unsetenv("PMEM2_FORCE_GRANULARITY");
}

struct tp_pmem_pool *
pool_file_create(const char *path, uint64_t bytes)
{
	struct tp_pmem_pool *pool = NULL;
	int ret = tp_pmem_pool_create(path, bytes, NULL, &pool);

	if (ret != 0)
		fail_msg("create %s: %d %s", path, ret, tp_pmem_error());
	return pool;
}

struct tp_pmem_pool *
pool_file_open(const char *path)
{
	struct tp_pmem_pool *pool = NULL;
	int ret = tp_pmem_pool_open(path, 0, &pool);

	if (ret != 0)
		fail_msg("open %s: %d %s", path, ret, tp_pmem_error());
	return pool;
}

void
pool_file_close(struct tp_pmem_pool *pool)
{
	assert_int_equal(tp_pmem_pool_close(pool), 0);
}

void
pool_file_copy(const char *from, const char *to)
{
	static char buffer[1 << 16];
	int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	ssize_t got;

	assert_true(in >= 0 && out >= 0);
	while ((got = read(in, buffer, sizeof(buffer))) > 0)
		assert_int_equal(write(out, buffer, (size_t)got), got);
	close(in);
	close(out);
}
