/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "pool_file.h"

#define FOLDER_CHARS 32

/* Waits for the last process that has the pipe, then removes what it left. */
static void
folder_keep(int pipe_end, const char *folder)
{
	const struct dirent *item;
	char byte;
	DIR *dir;

	setsid();
	/* Who reads what the test prints must not wait for this process. */
	dup2(pipe_end, 0);
	close_range(1, ~0u, 0);
	while (read(0, &byte, 1) < 0 && errno == EINTR)
		;
	dir = opendir(folder);
	while (dir != NULL && (item = readdir(dir)) != NULL)
		unlinkat(dirfd(dir), item->d_name, 0);
	rmdir(folder);
	_exit(0);
}

/* A folder of this process. */
static const char *
folder_get(void)
{
	static char folder[FOLDER_CHARS];
	static pid_t owner;
	int ends[2], status;
	pid_t pid;

	if (owner == getpid())
		return folder;
	strcpy(folder, "/dev/shm/tp-pmem-XXXXXX");
	assert_non_null(mkdtemp(folder));
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		/* Nobody's child, so that no test waits for it. */
		close(ends[1]);
		if (fork() == 0)
			folder_keep(ends[0], folder);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(ends[0]);		/* the other end stays open as long as this process is there */
	owner = getpid();
	return folder;
}

void
pool_file_path(char path[POOL_FILE_CHARS], const char *name)
{
	snprintf(path, POOL_FILE_CHARS, "%s/%s", folder_get(), name);
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
