/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Pages of real files, see codec_pages.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "codec_pages.h"

struct page_set {
	const char *name;
	int (*fill)(struct bench *bench, uint8_t *pages, uint32_t count);	/* 0 or -errno */
};

/* Whole pages of a file, from its start again when it is too short. */
static int
file_read(const char *path, uint8_t *pages, uint32_t count)
{
	const size_t wanted = (size_t)count * BENCH_PAGE_BYTES;
	size_t done = 0;
	ssize_t got = -1;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	while (done < wanted) {
		got = read(fd, pages + done, wanted - done);
		if (got < 0)
			break;
		done += (size_t)got;
		if (got > 0)
			continue;
		/* The end: go on with copies, in whole pages. */
		size_t whole = done / BENCH_PAGE_BYTES * BENCH_PAGE_BYTES;

		if (whole == 0)
			break;
		for (size_t at = whole; at < wanted; at++)
			pages[at] = pages[at - whole];
		done = wanted;
	}
	close(fd);
	return done == wanted ? 0 : got < 0 ? -errno : -ENODATA;
}

/* The first of some files that is there. */
static int
files_read(const char *const *paths, uint8_t *pages, uint32_t count)
{
	int ret = -ENOENT;

	for (; *paths != NULL && ret < 0; paths++)
		ret = file_read(*paths, pages, count);
	return ret;
}

static int
fill_binary(struct bench *bench, uint8_t *pages, uint32_t count)
{
	static const char *const paths[] = { "/usr/bin/python3", "/proc/self/exe", NULL };

	return files_read(paths, pages, count);
}

static int
fill_text(struct bench *bench, uint8_t *pages, uint32_t count)
{
	static const char *const paths[] = {
		"/var/lib/dpkg/status", "/usr/share/common-licenses/GPL-3", NULL,
	};

	return files_read(paths, pages, count);
}

/* A file of SQLite: every package's files, with an index. */
static int
fill_database(struct bench *bench, uint8_t *pages, uint32_t count)
{
	static const char script[] =
		"python3 -c 'import glob, os, sqlite3, sys\n"
		"db = sqlite3.connect(sys.argv[1])\n"
		"db.execute(\"create table f(id integer primary key, p text, n text, s int, m real)\")\n"
		"for l in sorted(glob.glob(\"/var/lib/dpkg/info/*.list\")):\n"
		"    for n in open(l).read().split(chr(10)):\n"
		"        if os.path.isfile(n):\n"
		"            s = os.stat(n)\n"
		"            db.execute(\"insert into f(p, n, s, m) values(?, ?, ?, ?)\", "
		"(os.path.basename(l), n, s.st_size, s.st_mtime))\n"
		"db.execute(\"create index i on f(n)\")\n"
		"db.commit()' %s";
	char path[BENCH_PREFIX_CHARS + 32];
	char command[sizeof(script) + sizeof(path)];
	int ret;

	snprintf(path, sizeof(path), BENCH_FOLDER, bench->prefix);
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return -errno;
	snprintf(path, sizeof(path), BENCH_FOLDER "/sqlite.db", bench->prefix);
	snprintf(command, sizeof(command), script, path);
	if (system(command) != 0)
		return -ENOENT;
	ret = file_read(path, pages, count);
	unlink(path);
	return ret;
}

static int
fill_random(struct bench *bench, uint8_t *pages, uint32_t count)
{
	return file_read("/dev/urandom", pages, count);
}

static const struct page_set sets[CODEC_PAGES_SETS] = {
	{ "binary", fill_binary },
	{ "text", fill_text },
	{ "database", fill_database },
	{ "random", fill_random },
};

const char *
codec_pages_name(unsigned int set)
{
	return sets[set].name;
}

int
codec_pages_fill(struct bench *bench, unsigned int set, uint8_t *pages, uint32_t count)
{
	int ret = sets[set].fill(bench, pages, count);

	if (ret < 0)
		fprintf(stderr, "telepage-bench: pages of a %s: %s\n", sets[set].name,
			strerror(-ret));
	return ret;
}
