/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * telepage inject KIND, inject list, inject clear.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "tp_inject.h"

#define INJECT_PPM 1000000u
#define INJECT_DELAY_US_MAX 10000000u

/* 0: there is no such kind. */
static enum tp_inject_kind
inject_kind(const char *text)
{
	unsigned int kind;

	for (kind = 1; kind < TP_INJECT_KIND_COUNT; kind++)
		if (strcmp(tp_inject_kind_name(kind), text) == 0)
			return (enum tp_inject_kind)kind;
	return 0;
}

/* A fraction above 0, at most 1. */
static bool
inject_rate(const char *text, uint32_t *ppm)
{
	char *end;
	double rate = strtod(text, &end);

	if (end == text || *end != '\0' || !(rate > 0 && rate <= 1))
		return false;
	*ppm = (uint32_t)(rate * INJECT_PPM + 0.5);
	return *ppm != 0;
}

/* Returns an exit code, or -1: go on. */
static int
inject_options(int argc, char **argv, struct tp_inject_spec *spec, uint16_t *peers)
{
	static const struct option options[] = {
		{ "peer", required_argument, NULL, 'p' },
		{ "region", required_argument, NULL, 'r' },
		{ "rate", required_argument, NULL, 'R' },
		{ "delay", required_argument, NULL, 'd' },
		{ "after", required_argument, NULL, 'a' },
		{ "one-way", no_argument, NULL, 'o' },
		{ NULL, 0, NULL, 0 },
	};
	uint64_t us;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'p':
			spec->peer_count = cli_parse_list(optarg, peers, TP_REGION_NODES_MAX);
			if (spec->peer_count == 0)
				return cli_usage("--peer %s: not node numbers", optarg);
			spec->peers = peers;
			break;
		case 'r':
			spec->region = optarg;
			break;
		case 'R':
			if (!inject_rate(optarg, &spec->rate_ppm))
				return cli_usage("--rate %s: not a number above 0, at most 1",
						 optarg);
			break;
		case 'd':
			if (!cli_parse_number(optarg, INJECT_DELAY_US_MAX, &us) || us == 0)
				return cli_usage("--delay %s: not a number of microseconds",
						 optarg);
			spec->delay_ns = us * 1000;
			break;
		case 'a':
			if (!cli_parse_number(optarg, UINT64_MAX, &spec->after) ||
			    spec->after == 0)
				return cli_usage("--after %s: not a number of requests", optarg);
			break;
		case 'o':
			spec->one_way = true;
			break;
		default:
			return CLI_USAGE;
		}
	}
	return optind == argc ? -1 : cli_usage("inject: %s is one word too many", argv[optind]);
}

static int
inject_failed(int error)
{
	switch (error) {
	case -EPERM:
		return cli_error("the node lets nobody inject faults: it needs inject = yes in "
				 "its configuration");
	case -EINVAL:
		return cli_error("the node refused it: an option is missing, or does not go "
				 "with this kind");
	case -ENOENT:
		return cli_error("there is no such node or region");
	case -ENOTSUP:
		return cli_error("the region has too many pages");
	default:
		return cli_error("cannot inject: %s", cli_strerror(error));
	}
}

static void
inject_print(const struct cli *cli, const struct tp_control_inject *inject, bool first)
{
	const char *before = cli->json ? "" : " --peer ";
	uint32_t i;

	if (cli->json)
		printf("%s{\"kind\": \"%s\", \"region\": \"%s\", \"rate_ppm\": %u, "
		       "\"delay_ns\": %" PRIu64 ", \"after\": %" PRIu64 ", \"one_way\": %s, "
		       "\"peers\": [", first ? "" : ", ", tp_inject_kind_name(inject->kind),
		       inject->region, inject->rate_ppm, inject->delay_ns, inject->count,
		       inject->flags & TP_CONTROL_INJECT_ONE_WAY ? "true" : "false");
	else
		printf("%s", tp_inject_kind_name(inject->kind));
	for (i = 0; i < inject->node_count; i++, before = cli->json ? ", " : ",")
		printf("%s%u", before, inject->nodes[i]);
	if (cli->json) {
		printf("]}");
		return;
	}
	if (inject->region[0] != '\0')
		printf(" --region %s", inject->region);
	if (inject->rate_ppm != 0)
		printf(" --rate %g", (double)inject->rate_ppm / INJECT_PPM);
	if (inject->delay_ns != 0)
		printf(" --delay %" PRIu64, inject->delay_ns / 1000);
	if (inject->count != 0)
		printf(" --after %" PRIu64, inject->count);
	printf("%s\n", inject->flags & TP_CONTROL_INJECT_ONE_WAY ? " --one-way" : "");
}

static int
inject_list(struct cli *cli)
{
	struct tp_control_inject inject;
	uint32_t index;
	int ret = 0;

	if (cli->json)
		printf("[");
	for (index = 0; ret == 0; index++) {
		ret = tp_inject_get(cli->client, index, &inject);
		if (ret == 0)
			inject_print(cli, &inject, index == 0);
	}
	if (cli->json)
		printf("]\n");
	return ret == -ENOENT ? CLI_OK : inject_failed(ret);
}

int
cli_inject(struct cli *cli, int argc, char **argv)
{
	uint16_t peers[TP_REGION_NODES_MAX];
	struct tp_inject_spec spec = { 0 };
	int code, ret;

	if (argc < 2)
		return cli_usage("inject: which fault? Or list, or clear");
	spec.kind = inject_kind(argv[1]);
	code = inject_options(argc - 1, argv + 1, &spec, peers);
	if (code >= 0)
		return code;
	if (strcmp(argv[1], "list") == 0)
		return inject_list(cli);
	if (strcmp(argv[1], "clear") == 0) {
		ret = tp_inject_clear(cli->client);
		return ret < 0 ? inject_failed(ret) : CLI_OK;
	}
	if (spec.kind == 0)
		return cli_usage("inject: there is no fault named %s", argv[1]);
	ret = tp_inject(cli->client, &spec);
	/* A node that crashes at once has no time for an answer. */
	if (ret == -ECONNRESET && spec.kind == TP_INJECT_CRASH && spec.after == 0)
		return CLI_OK;
	return ret < 0 ? inject_failed(ret) : CLI_OK;
}
