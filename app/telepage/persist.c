/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * telepage persist: a range of a durable region is to outlive its nodes.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>

#include "cli.h"

#define PERSIST_CHUNK (UINT64_C(16) << 20)	/* one call, with a deadline of its own */

static int
persist_options(int argc, char **argv, uint64_t *offset, uint64_t *bytes)
{
	static const struct option options[] = {
		{ "offset", required_argument, NULL, 'o' },
		{ "bytes", required_argument, NULL, 'b' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == '?')
			return cli_usage("persist REGION [--offset N] [--bytes N]");
		if (!cli_parse_size(optarg, option == 'o' ? offset : bytes))
			return cli_usage("%s: not a size", optarg);
	}
	return optind + 1 == argc ? CLI_OK : cli_usage("persist takes one region");
}

/* The cluster may be busy finding out that a node is gone: what is VOID is asked for again. */
static struct tp_result
persist_range(struct cli *cli, struct tp_client_region *region, uint64_t offset, uint64_t bytes)
{
	uint64_t until_ns = 0, done = 0;
	struct tp_result result = tp_result_ok(0);

	while (done < bytes) {
		uint64_t part = bytes - done < PERSIST_CHUNK ? bytes - done : PERSIST_CHUNK;

		result = tp_persist(cli->thread, region, offset + done, part);
		if (tp_result_is_ok(result)) {
			done += part;
			until_ns = 0;
		} else if (!cli_may_repeat(cli, result, &until_ns)) {
			break;
		}
	}
	return result;
}

int
cli_persist(struct cli *cli, int argc, char **argv)
{
	struct tp_client_region *region;
	uint64_t offset = 0, bytes = 0, room, started;
	struct tp_result result;
	double seconds;
	char text[96];
	int code;

	code = persist_options(argc, argv, &offset, &bytes);
	if (code == CLI_OK)
		code = cli_region_open(cli, argv[optind], &region);
	if (code != CLI_OK)
		return code;
	room = tp_client_region_info(region)->bytes;
	if (offset > room || bytes > room - offset)
		return cli_error("region %s ends at %" PRIu64, argv[optind], room);
	if (bytes == 0)
		bytes = room - offset;
	if (tp_client_region_info(region)->durability == TP_DURABILITY_NONE)
		return cli_error("region %s is not durable", argv[optind]);
	started = cli_now_ns();
	result = persist_range(cli, region, offset, bytes);
	if (!tp_result_is_ok(result))
		return cli_error("cannot persist region %s: %s", argv[optind],
				 cli_result_text(result, text, sizeof(text)));
	seconds = (double)(cli_now_ns() - started) / 1e9;
	if (cli->json)
		printf("{\"bytes\": %" PRIu64 ", \"seconds\": %.6f}\n", bytes, seconds);
	else
		printf("%" PRIu64 " bytes persisted in %.3f s\n", bytes, seconds);
	return CLI_OK;
}
