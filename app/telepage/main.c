/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * telepage: the options that all commands have, attaching, and the list of
 * commands.
 */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli.h"

#define CLI_TIMEOUT_NS 5000000000ull
#define CLI_EAL_ARGS_MAX 64

const struct cli_command cli_commands[] = {
	{ "status", "", "the node, its cluster and its regions", true, cli_status },
	{ "stats", "", "counters of the node", true, cli_stats },
	{ "region", "create|ls|rm|reset ...", "make, list, remove or empty regions", true,
	  cli_region },
	{ "put", "REGION FILE [--offset N] [--bytes N] [--latency]",
	  "copy a file (- for stdin) into a region", true, cli_put },
	{ "get", "REGION FILE [--offset N] [--bytes N] [--latency]",
	  "copy a region into a file (- for stdout)", true, cli_get },
	{ "persist", "REGION [--offset N] [--bytes N]",
	  "of a durable region: what is there now outlives every node", true, cli_persist },
	{ "atomic", "REGION OFFSET OP [VALUE [VALUE]] [--count N] [--spread N] [--width 4|8] "
	  "[--no-settle]",
	  "load, store, add, cas, exchange, and, or; where an answer is lost, ask what became\n"
	  "      of it, unless told not to", true, cli_atomic },
	{ "inject", "KIND [--peer N,...] [--region R] [--rate P] [--delay US] [--after N] "
	  "[--one-way] | list | clear",
	  "let the node fail: unreachable, timeout, partition, crash, permission, corruption,\n"
	  "      slow, loss, duplicate, reorder", true, cli_inject },
	{ "pmem", "create|info|ls|check|repair|grow|dump|checkpoint|restore|bench|destroy PATH\n"
	  "      [--size N] [--name T] [--lanes N] [--lane-bytes N] [--blocks]\n"
	  "      [--to PREFIX] [--list] [--from PREFIX] [--number N] [--replace] [--threads N]",
	  "pools of persistent memory in files; telepage-pmem(1)", false, cli_pmem },
	{ "protocol", "", "the state tables of the coherence protocol", false, cli_protocol },
	{ NULL, NULL, NULL, false, NULL },
};

static void
cli_help(FILE *out)
{
	const struct cli_command *command;

	fprintf(out, "usage: telepage [options] COMMAND ...\n\noptions:\n"
		"  --prefix NAME     the node's DPDK --file-prefix (default: rte)\n"
		"  --socket PATH     the node's socket, instead of --prefix\n"
		"  --secondary ARGS  attach as a DPDK secondary process with these EAL arguments\n"
		"                    (in one word, \"\" for none) besides --file-prefix\n"
		"  --timeout MS      deadline of one access (default: %llu)\n"
		"  --json            output for programs\n"
		"  --help\n\ncommands:\n", CLI_TIMEOUT_NS / 1000000);
	for (command = cli_commands; command->name != NULL; command++)
		fprintf(out, "  %s %s\n      %s\n", command->name, command->arguments,
			command->help);
	fprintf(out, "\nSizes and offsets may end in K, M, G or T (powers of 1024).\n"
		"Exit status: 0 done, 1 failed, 2 wrong command line.\n");
}

static void
cli_message(const char *format, va_list arguments)
{
	fputs("telepage: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
}

int
cli_error(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	cli_message(format, arguments);
	va_end(arguments);
	return CLI_FAILED;
}

int
cli_usage(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	cli_message(format, arguments);
	va_end(arguments);
	fputs("telepage: see telepage --help\n", stderr);
	return CLI_USAGE;
}

const char *
cli_strerror(int error)
{
	switch (error < 0 ? -error : error) {
	case ENOENT:
		return "there is none";
	case EEXIST:
		return "there is one already";
	case ECONNRESET:
		return "the node is gone";
	case EPROTO:
		return "the node answered something this program does not understand";
	case ENOSPC:
		return "no room is left";
	case EOWNERDEAD:
		return "another program died while it attached; restart the node, or attach "
			"without --secondary";
	default:
		return strerror(error < 0 ? -error : error);
	}
}

const char *
cli_result_text(struct tp_result result, char *text, size_t text_bytes)
{
	snprintf(text, text_bytes, "%s, %s", tp_reason_name(result.reason),
		 result.effect == TP_EFFECT_UNKNOWN ? "it may have taken effect" : "not done");
	return text;
}

bool
cli_may_repeat(const struct cli *cli, struct tp_result result, uint64_t *until_ns)
{
	static const struct timespec step = { .tv_nsec = 20000000 };
	uint64_t now = cli_now_ns();

	if (result.reason != TP_TIMEOUT && result.reason != TP_UNREACHABLE &&
	    result.reason != TP_PARTITION)
		return false;
	if (*until_ns == 0)
		*until_ns = now + cli->timeout_ns;
	if (now >= *until_ns)
		return false;
	nanosleep(&step, NULL);
	return true;
}

int
cli_region_open(struct cli *cli, const char *name, struct tp_client_region **region)
{
	int ret = tp_client_region_open(cli->client, name, region);

	if (ret == -ENOENT)
		return cli_error("no region is named %s", name);
	if (ret < 0)
		return cli_error("cannot open region %s: %s", name, cli_strerror(ret));
	return CLI_OK;
}

/* --secondary: become a DPDK secondary process first. */
static int
cli_eal_attach(struct cli *cli)
{
	static char program[] = "telepage", option[] = "--file-prefix", rte[] = "rte";
	static char quiet[] = "--log-level=lib.eal:warning";
	char *argv[CLI_EAL_ARGS_MAX + 1];
	char *words = strdup(cli->eal_arguments), *word, *rest = NULL;
	char *prefix = cli->prefix ? strdup(cli->prefix) : NULL;
	int argc = 0, ret;

	argv[argc++] = program;
	argv[argc++] = option;
	argv[argc++] = prefix ? prefix : rte;
	argv[argc++] = quiet;
	for (word = strtok_r(words, " ", &rest); word != NULL && argc < CLI_EAL_ARGS_MAX;
	     word = strtok_r(NULL, " ", &rest))
		argv[argc++] = word;
	argv[argc] = NULL;
	/* EAL keeps pointers into them: both live as long as the process. */
	ret = tp_eal_attach(argc, argv);
	if (ret == -ECONNREFUSED)
		return cli_error("no node runs with prefix %s", argv[2]);
	if (ret < 0)
		return cli_error("cannot attach as a secondary process: %s", cli_strerror(ret));
	return CLI_OK;
}

static int
cli_attach(struct cli *cli)
{
	struct tp_client_config config = {
		.socket_path = cli->socket,
		.file_prefix = cli->prefix,
		.thread_count = 1,
		.timeout_ns = cli->timeout_ns,
		.control_timeout_ns = cli->timeout_ns > 30000000000ull ?
			cli->timeout_ns : 30000000000ull,
	};
	int ret;

	if (cli->eal_arguments != NULL && cli_eal_attach(cli) != CLI_OK)
		return CLI_FAILED;
	/* As a secondary process if it has become one. */
	ret = tp_attach(&config, &cli->client);
	if (ret == -ENOENT || ret == -ECONNREFUSED)
		return cli_error("no node runs with %s %s", cli->socket ? "socket" : "prefix",
				 cli->socket ? cli->socket : (cli->prefix ? cli->prefix : "rte"));
	if (ret < 0)
		return cli_error("cannot attach to the node: %s", cli_strerror(ret));
	ret = tp_thread_register(cli->client, &cli->thread);
	if (ret < 0)
		return cli_error("cannot attach to the node: %s", cli_strerror(ret));
	return CLI_OK;
}

/* Options in front of the command. Returns an exit code, or -1: go on. */
static int
cli_options(struct cli *cli, int argc, char **argv)
{
	static const struct option options[] = {
		{ "prefix", required_argument, NULL, 'p' },
		{ "socket", required_argument, NULL, 's' },
		{ "secondary", required_argument, NULL, 'e' },
		{ "timeout", required_argument, NULL, 't' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	uint64_t ms;
	int option;

	while ((option = getopt_long(argc, argv, "+hj", options, NULL)) != -1) {
		switch (option) {
		case 'p':
			cli->prefix = optarg;
			break;
		case 's':
			cli->socket = optarg;
			break;
		case 'e':
			cli->eal_arguments = optarg;
			break;
		case 't':
			if (!cli_parse_number(optarg, 86400000, &ms) || ms == 0)
				return cli_usage("--timeout %s: not a number of milliseconds",
						 optarg);
			cli->timeout_ns = ms * 1000000;
			break;
		case 'j':
			cli->json = true;
			break;
		case 'h':
			cli_help(stdout);
			return CLI_OK;
		default:
			return cli_usage("options come before the command");
		}
	}
	return -1;
}

static const struct cli_command *
cli_command_find(const char *name)
{
	const struct cli_command *command;

	for (command = cli_commands; command->name != NULL; command++)
		if (strcmp(command->name, name) == 0)
			return command;
	return NULL;
}

int
main(int argc, char **argv)
{
	struct cli cli = { .timeout_ns = CLI_TIMEOUT_NS };
	const struct cli_command *command;
	int code = cli_options(&cli, argc, argv);

	if (code >= 0)
		return code;
	if (optind >= argc) {
		cli_help(stderr);
		return CLI_USAGE;
	}
	command = cli_command_find(argv[optind]);
	if (command == NULL)
		return cli_usage("no command is named %s", argv[optind]);
	argc -= optind;
	argv += optind;
	if (argc > 1 && strcmp(argv[1], "--help") == 0) {
		printf("usage: telepage [options] %s %s\n%s\n", command->name,
		       command->arguments, command->help);
		return CLI_OK;
	}
	code = command->needs_node ? cli_attach(&cli) : CLI_OK;
	if (code == CLI_OK) {
		/* 0 makes getopt start over, for the command's own options. */
		optind = 0;
		code = command->run(&cli, argc, argv);
	}
	if (code == CLI_OK && (fflush(stdout) != 0 || ferror(stdout)))
		code = cli_error("cannot write the output: %s", strerror(errno));
	tp_client_detach(cli.client);
	if (cli.eal_arguments != NULL)
		tp_client_exit(code);
	return code;
}
