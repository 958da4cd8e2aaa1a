/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What suite vm_nvdimm runs in its virtual machine, on a file or a device of
 * persistent memory:
 *	telepage-nvdimm probe FILE	says with which granularity stores become durable
 *	telepage-nvdimm count FILE	writes records without end, says which are durable
 *	telepage-nvdimm check FILE	says which record is the newest, and checks it
 *
 * A record is written whole and flushed before its number is, and never over the
 * one before it: whenever the power goes, the number names a whole record.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <libpmem2.h>

#define FILE_BYTES (2u << 20)
#define RECORD_WORDS 509u		/* no multiple of a line: neighbours must not matter */
#define SAY_EVERY 64u

/* The whole file; what is not used stays as it is. */
struct media {
	uint64_t newest;		/* 0: no record yet */
	uint64_t reserved[7];
	uint64_t records[2][RECORD_WORDS];
};

static struct media *media;
static pmem2_persist_fn persist;
static enum pmem2_granularity granularity;

static int
fail(const char *what)
{
	fprintf(stderr, "telepage-nvdimm: %s: %s\n", what, pmem2_errormsg());
	return EXIT_FAILURE;
}

static bool
is_device(int fd)
{
	struct stat stat;

	return fstat(fd, &stat) == 0 && S_ISCHR(stat.st_mode);
}

static int
media_open(const char *path)
{
	struct pmem2_config *config;
	struct pmem2_source *source;
	struct pmem2_map *map;
	int fd = open(path, O_RDWR | O_CREAT, 0600);

	if (fd < 0 || (!is_device(fd) && posix_fallocate(fd, 0, FILE_BYTES) != 0)) {
		perror(path);
		return EXIT_FAILURE;
	}
	if (pmem2_config_new(&config) != 0 ||
	    pmem2_config_set_required_store_granularity(config, PMEM2_GRANULARITY_PAGE) != 0 ||
	    pmem2_source_from_fd(&source, fd) != 0 || pmem2_map_new(&map, config, source) != 0)
		return fail(path);
	media = pmem2_map_get_address(map);
	persist = pmem2_get_persist_fn(map);
	granularity = pmem2_map_get_store_granularity(map);
	return EXIT_SUCCESS;
}

static int
probe(void)
{
	static const char *const names[] = {
		[PMEM2_GRANULARITY_BYTE] = "byte",
		[PMEM2_GRANULARITY_CACHE_LINE] = "cache line",
		[PMEM2_GRANULARITY_PAGE] = "page",
	};

	printf("granularity: %s\n", names[granularity]);
	return EXIT_SUCCESS;
}

static uint64_t
record_word(uint64_t number, uint32_t index)
{
	return (number << 16 | index) * UINT64_C(0x9e3779b97f4a7c15);
}

static int
count(void)
{
	uint64_t number = media->newest;

	while (number++ < UINT64_MAX) {
		uint64_t *record = media->records[number % 2];
		uint32_t i;

		for (i = 0; i < RECORD_WORDS; i++)
			record[i] = record_word(number, i);
		persist(record, sizeof(media->records[0]));
		media->newest = number;
		persist(&media->newest, sizeof(media->newest));
		if (number % SAY_EVERY == 0) {
			printf("durable: %" PRIu64 "\n", number);
			fflush(stdout);
		}
	}
	return EXIT_SUCCESS;
}

static int
check(void)
{
	uint64_t number = media->newest;
	uint32_t i;

	for (i = 0; number != 0 && i < RECORD_WORDS; i++)
		if (media->records[number % 2][i] != record_word(number, i)) {
			fprintf(stderr, "record %" PRIu64 " is wrong at word %u\n", number, i);
			return EXIT_FAILURE;
		}
	printf("newest: %" PRIu64 "\n", number);
	return EXIT_SUCCESS;
}

int
main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(void);
	} modes[] = { { "probe", probe }, { "count", count }, { "check", check } };
	size_t i;

	for (i = 0; argc == 3 && i < sizeof(modes) / sizeof(modes[0]); i++)
		if (strcmp(argv[1], modes[i].name) == 0)
			return media_open(argv[2]) == EXIT_SUCCESS ? modes[i].run() : EXIT_FAILURE;
	fprintf(stderr, "usage: telepage-nvdimm probe|count|check FILE\n");
	return EXIT_FAILURE;
}
