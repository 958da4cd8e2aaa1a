/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * telepage pmem checkpoint, restore: files from which a pool can be made again.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "pmem.h"
#include "tp_pmem_snapshot.h"

static const char *
prefix_of(const struct pmem_options *options)
{
	return options->prefix != NULL ? options->prefix : options->path;
}

/* One line a file; what is refused goes to stderr, too, when a pool is being restored. */
static void
file_print(void *context, const char *path, int error, const char *text,
	   const struct tp_pmem_snapshot_info *info)
{
	const struct cli *cli = context;
	time_t created = (time_t)info->created_s;
	char when[32] = "";
	struct tm tm;

	if (cli->json) {
		printf("{\"path\": ");
		cli_pmem_json_text(path);
		printf(", \"good\": %s, \"number\": %" PRIu64 ", \"pool_bytes\": %" PRIu64
		       ", \"bytes\": %" PRIu64 ", \"created_s\": %" PRIu64 ", \"text\": ",
		       error == 0 ? "true" : "false", info->number, info->pool_bytes, info->bytes,
		       info->created_s);
		cli_pmem_json_text(text);
		puts("}");
		return;
	}
	if (error != 0) {
		printf("refused  %s: %s\n", path, text);
		return;
	}
	if (gmtime_r(&created, &tm) != NULL)
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S UTC", &tm);
	printf("good     %s: %s, %" PRIu64 " bytes of a pool of %" PRIu64 "\n", path, when,
	       info->bytes, info->pool_bytes);
}

int
cli_pmem_checkpoint(struct cli *cli, const struct pmem_options *options)
{
	const char *prefix = prefix_of(options);
	struct tp_pmem_pool *pool;
	uint64_t number = 0;
	int ret;

	if (options->list) {
		ret = tp_pmem_snapshot_list(prefix, file_print, cli);
		return ret < 0 ? cli_pmem_error("list checkpoints of", prefix, ret) : CLI_OK;
	}
	ret = tp_pmem_pool_open(options->path, TP_PMEM_OPEN_READ_ONLY, &pool);
	if (ret < 0)
		return cli_pmem_error("open", options->path, ret);
	ret = tp_pmem_snapshot_save(pool, prefix, &number);
	if (ret < 0)
		cli_pmem_error("write a checkpoint of", options->path, ret);
	tp_pmem_pool_close(pool);
	if (ret < 0)
		return CLI_FAILED;
	if (cli->json)
		printf("{\"number\": %" PRIu64 "}\n", number);
	else
		printf("%s.ckpt-%06" PRIu64 "\n", prefix, number);
	return CLI_OK;
}

int
cli_pmem_restore(struct cli *cli, const struct pmem_options *options)
{
	int ret = tp_pmem_snapshot_restore(prefix_of(options), options->number, options->path,
		options->replace ? TP_PMEM_RESTORE_REPLACE : 0, file_print, cli);

	return ret < 0 ? cli_pmem_error("restore", options->path, ret) : CLI_OK;
}
