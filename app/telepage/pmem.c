/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * telepage pmem create, info, ls, check, repair, grow, dump, destroy: pools of
 * persistent memory in files. No node is needed. The rest is in pmem_*.c.
 */
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "pmem.h"
#include "tp_pmem_alloc.h"
#include "tp_pmem_snapshot.h"
#include "tp_pmem_volume.h"

#define PMEM_PATH_CHARS 4096

int
cli_pmem_error(const char *what, const char *path, int error)
{
	const char *more = tp_pmem_error();

	return cli_error("cannot %s %s: %s", what, path,
			 more[0] != '\0' ? more : strerror(-error));
}

void
cli_pmem_json_text(const char *text)
{
	putchar('"');
	for (; *text != '\0'; text++)
		if (*text == '"' || *text == '\\')
			printf("\\%c", *text);
		else if ((unsigned char)*text < ' ')
			printf("\\u%04x", (unsigned int)*text);
		else
			putchar(*text);
	putchar('"');
}

/* Returns an exit code, or -1: go on. */
static int
pmem_options_parse(int argc, char **argv, struct pmem_options *options)
{
	static const struct option long_options[] = {
		{ "size", required_argument, NULL, 's' },
		{ "name", required_argument, NULL, 'n' },
		{ "lanes", required_argument, NULL, 'l' },
		{ "lane-bytes", required_argument, NULL, 'b' },
		{ "blocks", no_argument, NULL, 'B' },
		{ "to", required_argument, NULL, 'p' },
		{ "from", required_argument, NULL, 'p' },
		{ "number", required_argument, NULL, 'N' },
		{ "threads", required_argument, NULL, 't' },
		{ "replace", no_argument, NULL, 'R' },
		{ "list", no_argument, NULL, 'L' },
		{ NULL, 0, NULL, 0 },
	};
	uint64_t value;
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (option) {
		case 's':
			if (!cli_parse_size(optarg, &options->bytes) || options->bytes == 0)
				return cli_usage("--size %s: not a size", optarg);
			break;
		case 'n':
			options->config.name = optarg;
			break;
		case 'l':
			if (!cli_parse_number(optarg, TP_PMEM_LANES_MAX, &value) || value == 0)
				return cli_usage("--lanes %s: not 1 to %u", optarg, TP_PMEM_LANES_MAX);
			options->config.lane_count = (uint32_t)value;
			break;
		case 'b':
			if (!cli_parse_size(optarg, &value) || value == 0 || value > UINT32_MAX)
				return cli_usage("--lane-bytes %s: not a size", optarg);
			options->config.lane_bytes = (uint32_t)value;
			break;
		case 'B':
			options->blocks = true;
			break;
		case 'p':
			options->prefix = optarg;
			break;
		case 'N':
			if (!cli_parse_number(optarg, TP_PMEM_SNAPSHOT_NUMBER_MAX, &options->number) ||
					options->number == 0)
				return cli_usage("--number %s: not 1 to %" PRIu64, optarg,
						 TP_PMEM_SNAPSHOT_NUMBER_MAX);
			break;
		case 't':
			if (!cli_parse_number(optarg, TP_PMEM_LANES_MAX, &options->threads) ||
					options->threads == 0)
				return cli_usage("--threads %s: not a number", optarg);
			break;
		case 'R':
			options->replace = true;
			break;
		case 'L':
			options->list = true;
			break;
		default:
			return cli_usage("pmem %s: unknown option, or without its value: %s", argv[0],
					 argv[optind - 1]);
		}
	}
	if (optind + 1 < argc)
		return cli_usage("pmem %s takes one path", argv[0]);
	options->path = optind < argc ? argv[optind] : NULL;
	return -1;
}

static int
pmem_create(struct cli *cli, const struct pmem_options *options)
{
	struct tp_pmem_pool *pool;
	int ret;

	if (options->bytes == 0)
		return cli_usage("pmem create needs --size");
	ret = tp_pmem_pool_create(options->path, options->bytes, &options->config, &pool);
	if (ret == 0)
		ret = tp_pmem_pool_close(pool);
	return ret < 0 ? cli_pmem_error("create", options->path, ret) : CLI_OK;
}

static int
pmem_grow(struct cli *cli, const struct pmem_options *options)
{
	struct tp_pmem_pool *pool;
	int ret, closed;

	if (options->bytes == 0)
		return cli_usage("pmem grow needs --size");
	ret = tp_pmem_pool_open(options->path, 0, &pool);
	if (ret < 0)
		return cli_pmem_error("open", options->path, ret);
	ret = tp_pmem_pool_grow(pool, options->bytes);
	if (ret < 0)
		cli_pmem_error("grow", options->path, ret);
	closed = tp_pmem_pool_close(pool);
	return ret < 0 || closed < 0 ? CLI_FAILED : CLI_OK;
}

static int
pmem_destroy(struct cli *cli, const struct pmem_options *options)
{
	int ret = tp_pmem_pool_destroy(options->path);

	return ret < 0 ? cli_pmem_error("destroy", options->path, ret) : CLI_OK;
}

/* What stores to the medium need: known only where it may be written. */
static const char *
granularity_of(const char *path)
{
	struct tp_pmem_device *device;
	const char *name;

	if (tp_pmem_device_open(path, 0, false, &device) < 0)
		return "unknown (it cannot be written)";
	name = tp_pmem_granularity_name(device->granularity);
	device->ops->close(device);
	return name;
}

static void
uuid_text(const uint8_t *uuid, char text[40])
{
	char *at = text;

	for (unsigned int i = 0; i < TP_PMEM_UUID_BYTES; i++)
		at += sprintf(at, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", uuid[i]);
}

static void
info_print_json(const char *path, const struct tp_pmem_pool_info *info,
		const struct tp_pmem_heap_info *heap, const char *uuid)
{
	printf("{\"path\": ");
	cli_pmem_json_text(path);
	printf(", \"name\": ");
	cli_pmem_json_text(info->name);
	printf(", \"uuid\": \"%s\", \"version\": %u, \"bytes\": %" PRIu64 ", \"granularity\": \"%s\""
	       ", \"clean\": %s, \"open_count\": %" PRIu64 ", \"bad_shutdown_count\": %" PRIu64
	       ", \"log_transactions\": %" PRIu64 ", \"lane_count\": %u, \"lane_bytes\": %u"
	       ", \"zone_count\": %u, \"heap_bytes\": %" PRIu64 ", \"allocated_bytes\": %" PRIu64
	       ", \"allocated_count\": %" PRIu64 ", \"free_extent_bytes_max\": %" PRIu64
	       ", \"fragmentation\": %.4f, \"wear_lines_min\": %" PRIu64 ", \"wear_lines_max\": %"
	       PRIu64 ", \"wear_lines_sum\": %" PRIu64 "}\n", uuid, info->version, info->bytes,
	       granularity_of(path), info->was_clean ? "true" : "false", info->open_count,
	       info->bad_shutdown_count, info->recovered_count, info->lane_count, info->lane_bytes,
	       info->zone_count, heap->bytes, heap->allocated_bytes, heap->allocated_count,
	       heap->free_extent_bytes_max, heap->fragmentation, heap->wear_min, heap->wear_max,
	       heap->wear_sum);
}

static void
info_print(const char *path, const struct tp_pmem_pool_info *info,
	   const struct tp_pmem_heap_info *heap, const char *uuid)
{
	time_t created = (time_t)info->created_s;
	char when[32] = "";
	struct tm tm;

	if (gmtime_r(&created, &tm) != NULL)
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S UTC", &tm);
	printf("pool          %s\nname          %s\nuuid          %s\nversion       %u\n"
	       "created       %s\nbytes         %" PRIu64 "\ngranularity   %s\n", path, info->name,
	       uuid, info->version, when, info->bytes, granularity_of(path));
	printf("closed        %s\nopened        %" PRIu64 " times, not closed %" PRIu64 " times\n"
	       "log           %u lanes of %u bytes, %" PRIu64 " transactions to bring home\n",
	       info->was_clean ? "yes" : "no: opening it recovers it", info->open_count,
	       info->bad_shutdown_count, info->lane_count, info->lane_bytes, info->recovered_count);
	printf("heap          %" PRIu64 " bytes in %u zones, %" PRIu64 " allocated in %" PRIu64
	       " blocks\nfree          %" PRIu64 " bytes in free chunks, %" PRIu64
	       " in used ones, %" PRIu64 " in one piece\n", heap->bytes, info->zone_count,
	       heap->allocated_bytes, heap->allocated_count, heap->free_chunk_bytes,
	       heap->free_block_bytes, heap->free_extent_bytes_max);
	printf("fragmentation %.1f %%\nwear          %" PRIu64 " to %" PRIu64
	       " lines a chunk, %" PRIu64 " in all\n", 100 * heap->fragmentation, heap->wear_min,
	       heap->wear_max, heap->wear_sum);
}

static int
pmem_info(struct cli *cli, const struct pmem_options *options)
{
	struct tp_pmem_pool_info info;
	struct tp_pmem_heap_info heap;
	struct tp_pmem_pool *pool;
	char uuid[40];
	int ret = tp_pmem_pool_open(options->path, TP_PMEM_OPEN_READ_ONLY, &pool);

	if (ret < 0)
		return cli_pmem_error("open", options->path, ret);
	tp_pmem_pool_info_get(pool, &info);
	tp_pmem_heap_info_get(pool, &heap);
	tp_pmem_pool_close(pool);
	uuid_text(info.uuid, uuid);
	if (cli->json)
		info_print_json(options->path, &info, &heap, uuid);
	else
		info_print(options->path, &info, &heap, uuid);
	return CLI_OK;
}

/* One line for a file that is a pool, or was one; others are passed over. */
static void
ls_print(const struct cli *cli, const char *path)
{
	struct tp_pmem_pool_info info;
	struct tp_pmem_pool *pool;
	struct stat st;
	int ret;

	if (stat(path, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < (1 << 20))
		return;
	ret = tp_pmem_pool_open(path, TP_PMEM_OPEN_READ_ONLY, &pool);
	if (ret == -EMEDIUMTYPE || ret == -ENODATA || ret == -EACCES)
		return;
	memset(&info, 0, sizeof(info));
	if (ret == 0) {
		tp_pmem_pool_info_get(pool, &info);
		tp_pmem_pool_close(pool);
	}
	if (cli->json) {
		printf("{\"path\": ");
		cli_pmem_json_text(path);
		printf(", \"name\": ");
		cli_pmem_json_text(info.name);
		printf(", \"bytes\": %" PRIu64 ", \"state\": \"%s\"}\n", (uint64_t)st.st_size,
		       ret == -EBUSY ? "open" : ret < 0 ? "damaged" : info.was_clean ? "clean" :
		       "not closed");
		return;
	}
	printf("%12" PRIu64 "  %-10s  %s  %s\n", (uint64_t)st.st_size, ret == -EBUSY ? "open" :
	       ret < 0 ? "damaged" : info.was_clean ? "clean" : "not closed", path, info.name);
}

static int
pmem_ls(struct cli *cli, const struct pmem_options *options)
{
	const char *folder = options->path != NULL ? options->path : ".";
	DIR *dir = opendir(folder);
	const struct dirent *item;
	char path[PMEM_PATH_CHARS];

	if (dir == NULL)
		return cli_error("%s: %s", folder, strerror(errno));
	while ((item = readdir(dir)) != NULL)
		if (snprintf(path, sizeof(path), "%s/%s", folder, item->d_name) < (int)sizeof(path))
			ls_print(cli, path);
	closedir(dir);
	return CLI_OK;
}

static void
finding_print(void *context, enum tp_pmem_check_verdict verdict, uint64_t offset, const char *text)
{
	static const char * const names[] = { "note", "repairable", "lost" };
	const struct cli *cli = context;

	if (cli->json) {
		printf("{\"verdict\": \"%s\", \"offset\": %" PRIu64 ", \"text\": ", names[verdict],
		       offset);
		cli_pmem_json_text(text);
		puts("}");
		return;
	}
	printf("%-10s  0x%010" PRIx64 "  %s\n", names[verdict], offset, text);
}

/* Every block of every volume; what the pool's check cannot know. Findings, or -errno. */
static int
volumes_check(struct cli *cli, const char *path)
{
	struct tp_pmem_pool *pool;
	int damaged = 0;
	int ret = tp_pmem_pool_open(path, TP_PMEM_OPEN_READ_ONLY | TP_PMEM_OPEN_REPAIR, &pool);

	if (ret < 0)
		return ret;
	for (uint32_t i = 0; i < TP_PMEM_ROOT_COUNT && ret >= 0; i++) {
		struct tp_pmem_volume *volume;
		uint64_t offset = 0;
		const char *name = tp_pmem_root_at(pool, i, &offset);

		ret = name == NULL ? -EMEDIUMTYPE : tp_pmem_volume_open(pool, name, &volume);
		if (ret == 0) {
			damaged += tp_pmem_volume_check(volume, finding_print, cli);
			tp_pmem_volume_close(volume);
		} else if (ret == -EBADMSG) {
			finding_print(cli, TP_PMEM_CHECK_LOST, offset, tp_pmem_error());
			damaged++;
		}
		/* Other roots are no volumes. */
		ret = ret == -EMEDIUMTYPE || ret == -EBADMSG ? 0 : ret;
	}
	tp_pmem_pool_close(pool);
	return ret < 0 ? ret : damaged;
}

static int
check_or_repair(struct cli *cli, const struct pmem_options *options, bool repair)
{
	int ret = tp_pmem_pool_check(options->path, repair, finding_print, cli);
	int volumes = ret < 0 ? 0 : volumes_check(cli, options->path);

	if (ret < 0 || volumes < 0)
		return cli_pmem_error(repair ? "repair" : "check", options->path,
			ret < 0 ? ret : volumes);
	ret += volumes;
	if (!cli->json)
		printf("%s: %s\n", options->path, ret == 0 ? "sound" : "damaged");
	return ret == 0 ? CLI_OK : CLI_FAILED;
}

static int
pmem_check(struct cli *cli, const struct pmem_options *options)
{
	return check_or_repair(cli, options, false);
}

static int
pmem_repair(struct cli *cli, const struct pmem_options *options)
{
	return check_or_repair(cli, options, true);
}

static void
dump_chunks(const struct tp_pmem_pool *pool)
{
	struct tp_pmem_chunk_info chunk;
	uint64_t index = 0;

	puts("chunk             bytes  kind      blocks of     bytes   taken   lines written");
	while (tp_pmem_chunk_info_next(pool, &index, &chunk))
		printf("0x%010" PRIx64 "  %10" PRIu64 "  %-8s  %6u of  %8u  %6u  %14" PRIu64 "\n",
		       chunk.offset, chunk.bytes, chunk.is_extent ? "extent" :
		       chunk.block_bytes != 0 ? "run" : "free", chunk.block_count,
		       chunk.block_bytes, chunk.allocated_count, chunk.wear);
}

static int
pmem_dump(struct cli *cli, const struct pmem_options *options)
{
	struct tp_pmem_pool *pool;
	uint64_t offset = 0;
	const char *name;
	int ret = tp_pmem_pool_open(options->path, TP_PMEM_OPEN_READ_ONLY | TP_PMEM_OPEN_REPAIR,
				    &pool);

	if (ret < 0)
		return cli_pmem_error("open", options->path, ret);
	for (uint32_t i = 0; i < TP_PMEM_ROOT_COUNT; i++) {
		name = tp_pmem_root_at(pool, i, &offset);
		if (name != NULL)
			printf("root              0x%010" PRIx64 "  %s\n", offset, name);
	}
	dump_chunks(pool);
	offset = 0;
	while (options->blocks && (offset = tp_pmem_block_next(pool, offset)) != 0)
		printf("block             0x%010" PRIx64 "  %" PRIu64 "\n", offset,
		       tp_pmem_block_bytes(pool, offset));
	tp_pmem_pool_close(pool);
	return CLI_OK;
}

static const struct pmem_command {
	const char *name;
	bool needs_path;
	int (*run)(struct cli *cli, const struct pmem_options *options);
} pmem_commands[] = {
	{ "create", true, pmem_create },
	{ "info", true, pmem_info },
	{ "ls", false, pmem_ls },
	{ "check", true, pmem_check },
	{ "repair", true, pmem_repair },
	{ "grow", true, pmem_grow },
	{ "dump", true, pmem_dump },
	{ "checkpoint", true, cli_pmem_checkpoint },
	{ "restore", true, cli_pmem_restore },
	{ "bench", true, cli_pmem_bench },
	{ "destroy", true, pmem_destroy },
};

int
cli_pmem(struct cli *cli, int argc, char **argv)
{
	struct pmem_options options = { 0 };
	int ret;

	for (size_t i = 0; argc > 1 && i < sizeof(pmem_commands) / sizeof(pmem_commands[0]); i++) {
		if (strcmp(argv[1], pmem_commands[i].name) != 0)
			continue;
		optind = 0;	/* begin anew */
		ret = pmem_options_parse(argc - 1, argv + 1, &options);
		if (ret >= 0)
			return ret;
		if (pmem_commands[i].needs_path && options.path == NULL)
			return cli_usage("pmem %s needs a path", argv[1]);
		return pmem_commands[i].run(cli, &options);
	}
	return cli_usage("pmem create|info|ls|check|repair|grow|dump|checkpoint|restore|bench|destroy "
			 "PATH");
}
