/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "store_dir.h"

static char store_dir_url_buffer[4200];
static char store_dir_file[4600];

const char *
store_dir_url(void)
{
	return store_dir_url_buffer;
}

const char *
store_dir_path(void)
{
	return store_dir_url_buffer + strlen("file:");
}

void
store_dir_make(void)
{
	const char *tmp = getenv("TMPDIR");
	char path[4096];

	snprintf(path, sizeof(path), "%s/tp-store-XXXXXX", tmp != NULL ? tmp : "/tmp");
	if (mkdtemp(path) == NULL) {
		perror("mkdtemp");
		abort();
	}
	snprintf(store_dir_url_buffer, sizeof(store_dir_url_buffer), "file:%s", path);
}

/* Visit the files: their number, the last one's path in store_dir_file. */
static uint32_t
store_dir_walk(int remove_all, int values_only)
{
	DIR *dir = opendir(store_dir_path());
	const struct dirent *item;
	uint32_t count = 0;

	while (dir != NULL && (item = readdir(dir)) != NULL) {
		if (item->d_name[0] == '.' || (values_only && strcmp(item->d_name, "index") == 0))
			continue;
		snprintf(store_dir_file, sizeof(store_dir_file), "%s/%s", store_dir_path(),
			item->d_name);
		count++;
		if (remove_all)
			unlink(store_dir_file);
	}
	if (dir != NULL)
		closedir(dir);
	return count;
}

void
store_dir_remove(void)
{
	store_dir_walk(1, 0);
	rmdir(store_dir_path());
}

uint32_t
store_dir_file_count(void)
{
	return store_dir_walk(0, 1);
}

const char *
store_dir_value_file(void)
{
	return store_dir_walk(0, 1) == 1 ? store_dir_file : NULL;
}

struct tp_store *
store_dir_open(void)
{
	struct tp_store *store = tp_store_open(store_dir_url());

	if (store == NULL) {
		perror("tp_store_open");
		abort();
	}
	return store;
}

uint64_t
random_next(uint64_t *seed)
{
	uint64_t x = *seed += UINT64_C(0x9E3779B97F4A7C15);

	x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
	x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
	return x ^ x >> 31;
}

void
die_with_parent(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}

int
store_dir_setup(void **state)
{
	store_dir_make();
	return 0;
}

int
store_dir_teardown(void **state)
{
	store_dir_remove();
	return 0;
}
