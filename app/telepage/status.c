/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * telepage status, stats.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "cli.h"
#include "tp_catalogue.h"
#include "tp_coherence.h"

static const char *
status_state_name(uint32_t state)
{
	switch (state) {
	case TP_NODE_JOINING:
		return "joining";
	case TP_NODE_MEMBER:
		return "member";
	case TP_NODE_FENCED:
		return "fenced";
	case TP_NODE_LEFT:
		return "left";
	default:
		return "unknown";
	}
}

static void
status_member_print(const struct cli *cli, const struct tp_control_node *member, bool first)
{
	char ip[INET_ADDRSTRLEN] = "";

	inet_ntop(AF_INET, &member->ip, ip, sizeof(ip));
	if (cli->json)
		printf("%s{\"id\": %u, \"state\": \"%s\", \"epoch\": %u, \"workers\": %u, "
		       "\"ip\": \"%s\", \"reachable\": %s}", first ? "" : ", ", member->id,
		       status_state_name(member->state), member->epoch, member->worker_count, ip,
		       member->reachable ? "true" : "false");
	else
		printf("  node %-5u %-8s epoch %-4u %2u workers  %-15s %s\n", member->id,
		       status_state_name(member->state), member->epoch, member->worker_count, ip,
		       member->reachable ? "reachable" : "not reachable");
}

static int
status_members(struct cli *cli)
{
	struct tp_control_node member;
	uint32_t index;
	int ret = 0;

	printf(cli->json ? ", \"members\": [" : "members:\n");
	for (index = 0; ret == 0; index++) {
		ret = tp_client_node_get(cli->client, index, &member);
		if (ret == 0)
			status_member_print(cli, &member, index == 0);
	}
	if (cli->json)
		printf("]");
	return ret == -ENOENT ? 0 : ret;
}

static int
status_region_count(struct cli *cli, uint32_t *count)
{
	struct tp_control_region info;
	int ret = 0;

	for (*count = 0; ret == 0; ) {
		ret = tp_client_region_get(cli->client, *count, &info);
		if (ret == 0)
			(*count)++;
	}
	return ret == -ENOENT ? 0 : ret;
}

int
cli_status(struct cli *cli, int argc, char **argv)
{
	const struct tp_abi_node *node = tp_client_node(cli->client);
	bool lease = tp_abi_lease_ok(node, tp_client_tsc(cli->client));
	uint32_t regions = 0;
	int ret;

	if (argc != 1)
		return cli_usage("status takes no argument");
	if (cli->json)
		printf("{\"node\": %u, \"epoch\": %u, \"workers\": %u, \"page_bytes\": %u, "
		       "\"slots\": %u, \"lease\": %s", node->node_id, node->epoch,
		       node->worker_count, node->page_bytes, node->slot_count,
		       lease ? "true" : "false");
	else
		printf("node %u, epoch %u, %u workers, %u slots of %u bytes, lease %s\n",
		       node->node_id, node->epoch, node->worker_count, node->slot_count,
		       node->page_bytes, lease ? "held" : "lapsed");
	ret = status_members(cli);
	if (ret == 0)
		ret = status_region_count(cli, &regions);
	if (ret < 0)
		return cli_error("the node does not answer in full: %s", cli_strerror(ret));
	printf(cli->json ? ", \"regions\": %u}\n" : "regions: %u\n", regions);
	return CLI_OK;
}

static const struct {
	const char *name;
	const char *help;
} stats_rows[] = {
#define AS_ROW(name, help) { #name, help },
	TP_COHERENCE_STAT_LIST(AS_ROW)
#undef AS_ROW
};
#define STATS_ROWS (sizeof(stats_rows) / sizeof(stats_rows[0]))
static_assert(STATS_ROWS <= TP_CONTROL_STATS_MAX, "all fit in one response");

int
cli_stats(struct cli *cli, int argc, char **argv)
{
	uint64_t stats[TP_CONTROL_STATS_MAX];
	uint32_t i;
	int ret;

	if (argc != 1)
		return cli_usage("stats takes no argument");
	ret = tp_client_stats_get(cli->client, stats);
	if (ret < 0)
		return cli_error("cannot get the counters: %s", cli_strerror(ret));
	for (i = 0; i < STATS_ROWS; i++) {
		if (cli->json)
			printf("%s\"%s\": %" PRIu64, i ? ", " : "{", stats_rows[i].name, stats[i]);
		else
			printf("%-20s %14" PRIu64 "  %s\n", stats_rows[i].name, stats[i],
			       stats_rows[i].help);
	}
	if (cli->json)
		puts("}");
	return CLI_OK;
}
