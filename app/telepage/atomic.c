/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * telepage atomic: one operation, or many for a test or a measurement.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"

struct atomic_name {
	const char *name;
	enum tp_atomic_op op;
	int values;		/* how many it takes */
};

static const struct atomic_name atomic_names[] = {
	{ "load", TP_ATOMIC_LOAD, 0 },
	{ "store", TP_ATOMIC_STORE, 1 },
	{ "add", TP_ATOMIC_ADD, 1 },
	{ "cas", TP_ATOMIC_CAS, 2 },		/* expected, desired */
	{ "exchange", TP_ATOMIC_EXCHANGE, 1 },
	{ "and", TP_ATOMIC_AND, 1 },
	{ "or", TP_ATOMIC_OR, 1 },
};

struct atomic_job {
	const struct atomic_name *name;
	struct tp_client_region *region;
	uint64_t offset;
	uint64_t operand;
	uint64_t compare;
	uint64_t count;
	uint64_t spread;	/* call i goes to word i % spread */
	uint64_t width;
	uint64_t old;		/* of the last call */
	bool no_settle;		/* one that ended unknown stays so */
	struct cli_latency *latency;
};

/* Returns an exit code, or -1: go on. */
static int
atomic_options(struct atomic_job *job, int argc, char **argv)
{
	static const struct option options[] = {
		{ "count", required_argument, NULL, 'c' },
		{ "spread", required_argument, NULL, 's' },
		{ "width", required_argument, NULL, 'w' },
		{ "latency", no_argument, NULL, 'l' },
		{ "no-settle", no_argument, NULL, 'n' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	job->count = job->spread = 1;
	job->width = 8;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			if (!cli_parse_number(optarg, UINT64_MAX, &job->count) || job->count == 0)
				return cli_usage("--count %s: not a number above 0", optarg);
			break;
		case 's':
			if (!cli_parse_number(optarg, 1u << 20, &job->spread) || job->spread == 0)
				return cli_usage("--spread %s: not a number of words", optarg);
			break;
		case 'w':
			if (!cli_parse_number(optarg, 8, &job->width) ||
			    (job->width != 4 && job->width != 8))
				return cli_usage("--width %s: not 4 or 8", optarg);
			break;
		case 'l':
			job->latency = cli_latency_create();
			break;
		case 'n':
			job->no_settle = true;
			break;
		default:
			return cli_usage("atomic REGION OFFSET OP [VALUE [VALUE]] [--count N] "
					 "[--spread N] [--width 4|8] [--latency] [--no-settle]");
		}
	}
	return -1;
}

/* What is left of the command line: REGION OFFSET OP VALUES. */
static int
atomic_arguments(struct atomic_job *job, int argc, char **argv)
{
	uint64_t values[2] = { 0, 0 }, max = job->width == 4 ? UINT32_MAX : UINT64_MAX;
	unsigned int i;
	int v;

	if (argc < 3)
		return cli_usage("atomic takes a region, an offset and an operation");
	if (!cli_parse_size(argv[1], &job->offset))
		return cli_usage("%s: not an offset", argv[1]);
	for (i = 0; i < sizeof(atomic_names) / sizeof(atomic_names[0]); i++)
		if (strcmp(atomic_names[i].name, argv[2]) == 0)
			job->name = &atomic_names[i];
	if (job->name == NULL)
		return cli_usage("%s: not load, store, add, cas, exchange, and, or", argv[2]);
	if (argc != 3 + job->name->values)
		return cli_usage("atomic %s takes %d values", job->name->name, job->name->values);
	for (v = 0; v < job->name->values; v++)
		if (!cli_parse_number(argv[3 + v], max, &values[v]))
			return cli_usage("%s: not a number of %" PRIu64 " bytes", argv[3 + v],
					 job->width);
	job->operand = values[0];
	if (job->name->op == TP_ATOMIC_CAS) {
		job->compare = values[0];
		job->operand = values[1];
	}
	return CLI_OK;
}

/* One attempt; if its answer was lost, what its home says became of it. */
static struct tp_result
atomic_attempt(struct cli *cli, struct atomic_job *job, uint64_t offset, uint64_t *until_ns)
{
	struct tp_result result;
	struct tp_op op;

	tp_submit_atomic(cli->thread, job->region, offset, job->name->op,
			 (unsigned int)job->width, job->operand, job->compare, &op);
	result = tp_op_wait(cli->thread, &op);
	while (tp_result_may_settle(result) && !job->no_settle &&
	       cli_may_repeat(cli, result, until_ns))
		result = tp_op_settle(cli->thread, NULL, &op);
	job->old = op.value;
	return result;
}

/* One call, again while it is known not to have been done. */
static struct tp_result
atomic_call(struct cli *cli, struct atomic_job *job, uint64_t offset)
{
	struct tp_result result;
	uint64_t until_ns = 0;

	do {
		result = atomic_attempt(cli, job, offset, &until_ns);
	} while (!tp_result_is_ok(result) && result.effect == TP_EFFECT_NOT_DONE &&
		 cli_may_repeat(cli, result, &until_ns));
	return result;
}

static int
atomic_run(struct cli *cli, struct atomic_job *job)
{
	const struct tp_thread_stats *stats = tp_thread_stats_get(cli->thread);
	struct tp_result result;
	uint64_t i;
	char text[96];

	for (i = 0; i < job->count; i++) {
		uint64_t started = tp_client_tsc(cli->client), misses = stats->misses;

		result = atomic_call(cli, job, job->offset + i % job->spread * job->width);
		if (!tp_result_is_ok(result))
			return cli_error("atomic %s stops after %" PRIu64 " calls: %s",
					 job->name->name, i,
					 cli_result_text(result, text, sizeof(text)));
		if (job->latency != NULL)
			cli_latency_add(job->latency, stats->misses == misses ? CLI_LATENCY_HIT :
					CLI_LATENCY_MISS, cli_elapsed_ns(cli, started));
	}
	return CLI_OK;
}

static void
atomic_print(const struct cli *cli, const struct atomic_job *job, double seconds)
{
	static const char * const names[] = { "hit", "miss" };
	int kind;

	if (cli->json)
		printf("{\"op\": \"%s\", \"old\": %" PRIu64 ", \"count\": %" PRIu64
		       ", \"seconds\": %.6f", job->name->name, job->old, job->count, seconds);
	else
		printf("%" PRIu64 "\n", job->old);
	if (!cli->json && job->count > 1)
		fprintf(stderr, "%" PRIu64 " calls in %.2f s, %.2f us each\n", job->count, seconds,
			seconds * 1e6 / (double)job->count);
	for (kind = 0; job->latency != NULL && kind < CLI_LATENCY_KINDS; kind++) {
		uint64_t p50 = cli_latency_quantile(job->latency, kind, 500);
		uint64_t p99 = cli_latency_quantile(job->latency, kind, 990);
		uint64_t count = cli_latency_count(job->latency, kind);

		if (cli->json)
			printf(", \"%s\": {\"n\": %" PRIu64 ", \"p50_ns\": %" PRIu64
			       ", \"p99_ns\": %" PRIu64 "}", names[kind], count, p50, p99);
		else
			fprintf(stderr, "%-4s %10" PRIu64 " calls, p50 %.2f us, p99 %.2f us\n",
				names[kind], count, (double)p50 / 1e3, (double)p99 / 1e3);
	}
	if (cli->json)
		puts("}");
}

int
cli_atomic(struct cli *cli, int argc, char **argv)
{
	struct atomic_job job = { 0 };
	uint64_t started;
	int code;

	code = atomic_options(&job, argc, argv);
	if (code < 0)
		code = atomic_arguments(&job, argc - optind, argv + optind);
	if (code == CLI_OK)
		code = cli_region_open(cli, argv[optind], &job.region);
	if (code == CLI_OK) {
		started = cli_now_ns();
		code = atomic_run(cli, &job);
		if (code == CLI_OK)
			atomic_print(cli, &job, (double)(cli_now_ns() - started) / 1e9);
	}
	cli_latency_destroy(job.latency);
	return code;
}
