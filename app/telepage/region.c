/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * telepage region create, ls, rm, reset.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"

struct region_name {
	const char *text;
	int value;
};

static const struct region_name distributions[] = {
	{ "home", TP_REGION_HOME },
	{ "striped", TP_REGION_STRIPED },
	{ "first-touch", TP_REGION_FIRST_TOUCH },
	{ NULL, 0 },
};

static const struct region_name modes[] = {
	{ "rw", TP_REGION_RW },
	{ "ro", TP_REGION_RO },
	{ NULL, 0 },
};

static const struct region_name durabilities[] = {
	{ "none", TP_DURABILITY_NONE },
	{ "local", TP_DURABILITY_LOCAL },
	{ "replicated-later", TP_DURABILITY_REPLICATED },
	{ NULL, -1 },
};

/* What the list ends with: there is no such name. */
static int
region_value(const struct region_name *names, const char *text)
{
	for (; names->text != NULL; names++)
		if (strcmp(names->text, text) == 0)
			break;
	return names->value;
}

static const char *
region_text(const struct region_name *names, int value)
{
	for (; names->text != NULL; names++)
		if (names->value == value)
			return names->text;
	return "unknown";
}

/* Returns an exit code, or -1: go on. */
static int
region_create_options(int argc, char **argv, struct tp_client_region_config *config,
		      uint16_t *nodes)
{
	static const struct option options[] = {
		{ "size", required_argument, NULL, 's' },
		{ "page", required_argument, NULL, 'p' },
		{ "distribution", required_argument, NULL, 'd' },
		{ "nodes", required_argument, NULL, 'n' },
		{ "mode", required_argument, NULL, 'm' },
		{ "durability", required_argument, NULL, 'u' },
		{ NULL, 0, NULL, 0 },
	};
	uint64_t page;
	int option, value;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 's':
			if (!cli_parse_size(optarg, &config->bytes) || config->bytes == 0)
				return cli_usage("--size %s: not a size", optarg);
			break;
		case 'p':
			if (!cli_parse_size(optarg, &page) || page < 4096 || page > 2097152 ||
			    (page & (page - 1)) != 0)
				return cli_usage("--page %s: not a power of two from 4K to 2M",
						 optarg);
			config->page_bytes = (uint32_t)page;
			break;
		case 'd':
			config->distribution = (enum tp_region_distribution)
				region_value(distributions, optarg);
			if (config->distribution == 0)
				return cli_usage("--distribution %s: not home, striped or "
						 "first-touch", optarg);
			break;
		case 'n':
			config->node_count = cli_parse_list(optarg, nodes, TP_REGION_NODES_MAX);
			if (config->node_count == 0)
				return cli_usage("--nodes %s: not a list of node ids", optarg);
			config->nodes = nodes;
			break;
		case 'm':
			config->mode = (enum tp_region_mode)region_value(modes, optarg);
			if (config->mode == 0)
				return cli_usage("--mode %s: not rw or ro", optarg);
			break;
		case 'u':
			value = region_value(durabilities, optarg);
			if (value < 0)
				return cli_usage("--durability %s: not none, local or "
						 "replicated-later", optarg);
			config->durability = (enum tp_durability)value;
			break;
		default:
			return cli_usage("region create NAME --size N [--page N] "
				"[--distribution home|striped|first-touch] [--nodes N,N,...] "
				"[--mode rw|ro] [--durability none|local]");
		}
	}
	return -1;
}

static int
region_create(struct cli *cli, int argc, char **argv)
{
	struct tp_client_region_config config = { 0 };
	uint16_t nodes[TP_REGION_NODES_MAX];
	struct tp_client_region *region;
	const struct tp_control_region *info;
	int ret = region_create_options(argc, argv, &config, nodes);

	if (ret >= 0)
		return ret;
	if (optind + 1 != argc)
		return cli_usage("region create takes one name");
	if (config.bytes == 0)
		return cli_usage("region create needs --size");
	config.name = argv[optind];
	ret = tp_client_region_create(cli->client, &config, &region);
	if (ret == -EINVAL)
		return cli_error("cannot create region %s: the node refuses its name, size, page "
				 "size or nodes", config.name);
	if (ret == -ENOTSUP)
		return cli_error("cannot create region %s: replicated regions are not built yet",
				 config.name);
	if (ret == -ENODEV)
		return cli_error("cannot create region %s: a node of it has no pool: see [pmem] "
				 "in its configuration", config.name);
	if (ret == -ENOSPC && config.durability != TP_DURABILITY_NONE)
		return cli_error("cannot create region %s: no room in a pool, or no addresses",
				 config.name);
	if (ret < 0)
		return cli_error("cannot create region %s: %s", config.name, cli_strerror(ret));
	info = tp_client_region_info(region);
	if (cli->json)
		printf("{\"name\": \"%s\", \"id\": %u, \"address\": %" PRIu64 ", \"bytes\": %"
		       PRIu64 "}\n", info->name, info->id, info->address, info->bytes);
	else
		printf("region %s: %" PRIu64 " bytes at 0x%" PRIx64 "\n", info->name, info->bytes,
		       info->address);
	return CLI_OK;
}

static void
region_print(const struct cli *cli, const struct tp_control_region *info, bool first)
{
	const char *mode = region_text(modes, info->mode);
	const char *distribution = region_text(distributions, info->distribution);
	const char *durability = region_text(durabilities, info->durability);
	uint32_t i, nodes = info->node_count < TP_REGION_NODES_MAX ?
		info->node_count : TP_REGION_NODES_MAX;

	if (cli->json) {
		printf("%s{\"name\": \"%s\", \"id\": %u, \"address\": %" PRIu64 ", \"bytes\": %"
		       PRIu64 ", \"page_bytes\": %u, \"generation\": %" PRIu64
		       ", \"mode\": \"%s\", \"distribution\": \"%s\", "
		       "\"durability\": \"%s\", \"nodes\": [",
		       first ? "" : ", ", info->name, info->id, info->address, info->bytes,
		       info->page_bytes, info->generation, mode, distribution, durability);
		for (i = 0; i < nodes; i++)
			printf("%s%u", i ? ", " : "", info->nodes[i]);
		printf("]}");
		return;
	}
	if (first)
		printf("%-20s %5s %14s %6s %4s %-12s %-10s %-18s nodes\n", "name", "id", "bytes",
		       "page", "mode", "distribution", "durability", "address");
	printf("%-20s %5u %14" PRIu64 " %6u %4s %-12s %-10s 0x%-16" PRIx64 " ", info->name,
	       info->id, info->bytes, info->page_bytes, mode, distribution, durability,
	       info->address);
	for (i = 0; i < nodes; i++)
		printf("%s%u", i ? "," : "", info->nodes[i]);
	putchar('\n');
}

static int
region_list(struct cli *cli, int argc, char **argv)
{
	struct tp_control_region info;
	uint32_t index;
	int ret = 0;

	if (argc != 1)
		return cli_usage("%s takes no argument", argv[0]);
	if (cli->json)
		putchar('[');
	for (index = 0; ret == 0; index++) {
		ret = tp_client_region_get(cli->client, index, &info);
		if (ret == 0)
			region_print(cli, &info, index == 0);
	}
	if (cli->json)
		puts("]");
	if (ret != -ENOENT)
		return cli_error("cannot list the regions: %s", cli_strerror(ret));
	return CLI_OK;
}

static int
region_by_name(struct cli *cli, int argc, char **argv,
	       int (*call)(struct tp_client *client, const char *name))
{
	int ret;

	if (argc != 2)
		return cli_usage("region %s takes one name", argv[0]);
	ret = call(cli->client, argv[1]);
	if (ret == -ENOENT)
		return cli_error("no region is named %s", argv[1]);
	if (ret < 0)
		return cli_error("region %s %s: %s", argv[0], argv[1], cli_strerror(ret));
	return CLI_OK;
}

int
cli_region(struct cli *cli, int argc, char **argv)
{
	if (argc < 2)
		return cli_usage("region needs create, ls, rm or reset");
	argc--;
	argv++;
	if (strcmp(argv[0], "create") == 0)
		return region_create(cli, argc, argv);
	if (strcmp(argv[0], "ls") == 0)
		return region_list(cli, argc, argv);
	if (strcmp(argv[0], "rm") == 0)
		return region_by_name(cli, argc, argv, tp_client_region_destroy);
	if (strcmp(argv[0], "reset") == 0)
		return region_by_name(cli, argc, argv, tp_client_region_reset);
	return cli_usage("region %s: not create, ls, rm or reset", argv[0]);
}
