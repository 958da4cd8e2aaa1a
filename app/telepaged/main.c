/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The node daemon:
 *	telepaged <EAL arguments> -- --config FILE
 * One worker lcore a worker runs it; with fewer lcores the main lcore polls the
 * rest. It says "ready" once it serves, and leaves the cluster in order on
 * SIGTERM or SIGINT, within a second whatever happened to EAL's locks: leave.c.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>

#include "leave.h"
#include "tp_node.h"

#define STOP_NS UINT64_C(500000000)	/* of which 400 ms are for what is given back */
#define END_MS 600		/* from the signal on; the kernel needs some of the second, too */

static void
main_usage(const char *program)
{
	fprintf(stderr, "usage: %s <EAL arguments> -- --config FILE\n", program);
}

/* A client takes a descriptor, a region another: the usual limit is for who calls select(). */
static void
main_files_raise(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		fprintf(stderr, "telepaged: the limit of open files stays: %s\n",
			strerror(errno));
}

static const char *
main_config_path(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	const char *path = NULL;
	int option;

	/* rte_eal_init() has used getopt before us. */
	optind = 1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option != 'c')
			return NULL;
		path = optarg;
	}
	return optind == argc ? path : NULL;
}

static int
main_workers_start(struct tp_node *node, uint16_t workers)
{
	unsigned int lcores[TP_ABI_WORKERS_MAX];
	unsigned int count = 0;
	unsigned int lcore;

	RTE_LCORE_FOREACH_WORKER(lcore)
		if (count < workers)
			lcores[count++] = lcore;
	return count == 0 ? 0 : tp_node_start_workers(node, lcores, count);
}

static void
main_run(struct tp_node *node, const struct tp_node_config *config)
{
	while (!leave_wanted && !tp_node_is_ready(node))
		tp_node_poll(node);
	if (leave_wanted)
		return;
	printf("telepaged: node %u ready, epoch %u, socket %s\n", config->id,
		tp_control_epoch(tp_node_control(node)), tp_node_socket_path(node));
	fflush(stdout);
	tp_node_run(node, &leave_wanted);
}

int
main(int argc, char **argv)
{
	struct tp_node_config config;
	struct tp_node *node;
	const char *program = argv[0];
	const char *path;
	char message[256];
	int ret;

	main_files_raise();
	ret = leave_arm(END_MS);
	if (ret < 0) {
		fprintf(stderr, "telepaged: no signal handlers: %s\n", strerror(-ret));
		return EXIT_FAILURE;
	}
	ret = rte_eal_init(argc, argv);
	if (ret < 0) {
		fprintf(stderr, "telepaged: EAL does not start: %s\n", rte_strerror(rte_errno));
		return EXIT_FAILURE;
	}
	leave_files_find();
	path = main_config_path(argc - ret, argv + ret);
	if (path == NULL) {
		main_usage(program);
		leave(EXIT_FAILURE);
	}
	if (tp_node_config_load(path, &config, message, sizeof(message)) < 0) {
		fprintf(stderr, "telepaged: %s\n", message);
		leave(EXIT_FAILURE);
	}
	node = tp_node_create(&config);
	if (node == NULL) {
		fprintf(stderr, "telepaged: the node does not start: %s\n",
			rte_strerror(rte_errno));
		leave(EXIT_FAILURE);
	}
	leave_socket_find(tp_node_socket_path(node));
	ret = main_workers_start(node, config.workers);
	if (ret < 0)
		fprintf(stderr, "telepaged: workers do not start: %s\n", strerror(-ret));
	else
		main_run(node, &config);
	if (tp_node_stop(node, STOP_NS) < 0)
		fprintf(stderr, "telepaged: the catalogue could not be left\n");
	else if (ret == 0)
		leave_in_order();
	tp_node_destroy(node);
	leave(ret < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}
