/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * telepage-load MODE [options]: the command line, and one JSON object at the end.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_common.h>

#include "load.h"

static volatile sig_atomic_t main_stop;

static const struct {
	const char *name;
	const char *help;
	void (*run)(struct load *load);
} modes[] = {
	{ "increment", "add 1 to the words, --window of them in flight", load_increment },
	{ "watch", "read the words: never less than before, never but the truth", load_watch },
	{ "write", "count the words up by writing them, the only one to do so", load_write },
	{ "churn", "read, write and drop pages of --bytes, so that caches overflow", load_churn },
	{ "mix", "everything at once, with pins and accesses in flight: made to be killed",
	  load_mix },
	{ "record", "read, write and swap words, each noted in --record for telepage-linearize",
	  load_record },
	{ "persist", "write words of a durable region and persist some, the only one to do so",
	  load_persist },
};
#define MODES (sizeof(modes) / sizeof(modes[0]))

static void
main_signal(int number)
{
	main_stop = 1;
}

bool
load_goes_on(const struct load *load)
{
	return !main_stop && (load->count == 0 || load->done + load->unknown < load->count) &&
		(load->until_void == 0 || load->void_count < load->until_void);
}

uint64_t
load_random(struct load *load, uint64_t bound)
{
	/* xorshift64: its state is never 0 */
	load->random ^= load->random << 13;
	load->random ^= load->random >> 7;
	load->random ^= load->random << 17;
	return load->random % bound;
}

uint64_t
load_word_offset(const struct load *load, uint64_t word)
{
	return load->offset + word * load->stride;
}

void
load_fault(struct load *load, const char *format, ...)
{
	va_list arguments;

	if (load->errors++ != 0)
		return;
	va_start(arguments, format);
	vsnprintf(load->error, sizeof(load->error), format, arguments);
	va_end(arguments);
}

uint64_t
load_ns_since(const struct load *load, uint64_t start_tsc)
{
	uint64_t ticks = tp_client_tsc(load->client) - start_tsc;

	return (uint64_t)((unsigned __int128)ticks * 1000000000u /
			  tp_client_node(load->client)->tsc_hz);
}

bool
load_ended(struct load *load, struct tp_result result, uint64_t start_tsc, uint64_t misses)
{
	uint64_t ns = load_ns_since(load, start_tsc);

	if (ns > load->longest_ns)
		load->longest_ns = ns;
	if (tp_result_is_ok(result)) {
		cli_latency_add(load->latency, misses == 0 ? CLI_LATENCY_HIT : CLI_LATENCY_MISS,
				ns);
		return true;
	}
	if (ns > load->void_longest_ns)
		load->void_longest_ns = ns;
	load->void_count++;
	load->voids[result.reason < TP_REASON_COUNT ? result.reason : TP_CORRUPTION]++;
	return false;
}

static void
main_usage(FILE *out)
{
	unsigned int i;

	fprintf(out, "usage: telepage-load MODE --prefix NAME --region NAME [--offset N]\n"
		"  [--words N] [--stride N] [--count N] [--window N] [--bytes N] [--timeout MS]\n"
		"  [--until-void N] [--seed N] [--truth FILE] [--secondary]\n"
		"  [--record FILE] [--reattach]\n\nmodes:\n");
	for (i = 0; i < MODES; i++)
		fprintf(out, "  %-10s %s\n", modes[i].name, modes[i].help);
}

static bool
main_options(struct load *load, int argc, char **argv)
{
	static const struct option options[] = {
		{ "prefix", required_argument, NULL, 0 },
		{ "region", required_argument, NULL, 0 },
		{ "truth", required_argument, NULL, 0 },
		{ "record", required_argument, NULL, 0 },
		{ "offset", required_argument, NULL, 1 },
		{ "words", required_argument, NULL, 1 },
		{ "stride", required_argument, NULL, 1 },
		{ "count", required_argument, NULL, 1 },
		{ "window", required_argument, NULL, 1 },
		{ "bytes", required_argument, NULL, 1 },
		{ "timeout", required_argument, NULL, 1 },
		{ "until-void", required_argument, NULL, 1 },
		{ "seed", required_argument, NULL, 1 },
		{ "secondary", no_argument, NULL, 2 },
		{ "reattach", no_argument, NULL, 3 },
		{ NULL, 0, NULL, 0 },
	};
	const char **texts[] = { &load->prefix, &load->region_name, &load->truth_path,
		&load->record_path };
	uint64_t *numbers[] = { NULL, NULL, NULL, NULL, &load->offset, &load->words, &load->stride,
		&load->count, &load->window, &load->bytes, &load->timeout_ns, &load->until_void,
		&load->seed };
	int kind, index;

	while ((kind = getopt_long(argc, argv, "", options, &index)) != -1) {
		if (kind == 2)
			load->secondary = true;
		else if (kind == 3)
			load->reattach = true;
		else if (kind == 0)
			*texts[index] = optarg;
		else if (kind != 1 || !cli_parse_size(optarg, numbers[index]))
			return false;
	}
	if (optind + 1 != argc || load->region_name == NULL || load->words == 0 ||
	    load->words > LOAD_WORDS_MAX || load->stride < 8 || load->stride % 8 != 0 ||
	    load->window == 0 || load->window > LOAD_WINDOW_MAX)
		return false;
	/* Milliseconds, of the user. */
	load->timeout_ns *= 1000000;
	load->random = load->seed * 2 + 0x9e3779b97f4a7c15u;
	return true;
}

static bool
main_attach(struct load *load)
{
	/* EAL keeps pointers into its arguments. */
	static char eal[][64] = { "telepage-load", "--file-prefix", "rte", "--no-pci",
				  "--log-level=lib.eal:warning" };
	char *eal_argv[] = { eal[0], eal[1], eal[2], eal[3], eal[4], NULL };
	struct tp_client_config config = {
		.file_prefix = load->prefix,
		.thread_count = 1,
		.timeout_ns = load->timeout_ns,
		.reattach = load->reattach,
		.way = load->secondary ? TP_ATTACH_SECONDARY : TP_ATTACH_AUTO,
		.eal_argc = (int)RTE_DIM(eal_argv) - 1,
		.eal_argv = eal_argv,
	};
	int ret;

	if (load->prefix != NULL)
		snprintf(eal[2], sizeof(eal[2]), "%s", load->prefix);
	ret = tp_attach(&config, &load->client);
	if (ret == 0)
		ret = tp_thread_register(load->client, &load->thread);
	if (ret == 0)
		ret = tp_client_region_open(load->client, load->region_name, &load->region);
	if (ret < 0) {
		fprintf(stderr, "telepage-load: cannot %s %s: %s\n",
			load->thread == NULL ? "attach for" : "open", load->region_name,
			strerror(-ret));
		return false;
	}
	load->latency = cli_latency_create();
	return load->latency != NULL && load_truth_map(load);
}

static void
main_latency_print(const struct load *load, enum cli_latency_kind kind, const char *name)
{
	printf(", \"%s\": {\"n\": %" PRIu64 ", \"p50_ns\": %" PRIu64 ", \"p99_ns\": %" PRIu64 "}",
	       name, cli_latency_count(load->latency, kind),
	       cli_latency_quantile(load->latency, kind, 500),
	       cli_latency_quantile(load->latency, kind, 990));
}

static void
main_print(const struct load *load, const char *mode, double seconds)
{
	const struct tp_thread_stats *stats = tp_thread_stats_get(load->thread);
	unsigned int i;
	bool first = true;

	printf("{\"mode\": \"%s\", \"done\": %" PRIu64 ", \"unknown\": %" PRIu64
	       ", \"errors\": %" PRIu64 ", \"error\": \"%s\", \"seconds\": %.6f", mode, load->done,
	       load->unknown, load->errors, load->error, seconds);
	printf(", \"settled_done\": %" PRIu64 ", \"settled_never\": %" PRIu64
	       ", \"settled_open\": %" PRIu64, load->settled_done, load->settled_never,
	       load->settled_open);
	printf(", \"longest_ns\": %" PRIu64 ", \"void_longest_ns\": %" PRIu64 ", \"reasons\": {",
	       load->longest_ns, load->void_longest_ns);
	for (i = 0; i < TP_REASON_COUNT; i++) {
		if (load->voids[i] == 0)
			continue;
		printf("%s\"%s\": %" PRIu64, first ? "" : ", ", tp_reason_name(i), load->voids[i]);
		first = false;
	}
	printf("}");
#define AS_FIELD(name, help) printf(", \"" #name "\": %" PRIu64, (uint64_t)stats->name);
	TP_THREAD_STAT_LIST(AS_FIELD)
#undef AS_FIELD
	main_latency_print(load, CLI_LATENCY_HIT, "hit");
	main_latency_print(load, CLI_LATENCY_MISS, "miss");
	printf("}\n");
}

int
main(int argc, char **argv)
{
	/* Once: a program that hangs after a signal can be ended by a second one. */
	struct sigaction action = { .sa_handler = main_signal, .sa_flags = (int)SA_RESETHAND };
	struct load load = { .words = 1, .stride = 8, .window = 1, .timeout_ns = 5000, .seed = 1 };
	uint64_t started;
	unsigned int i;

	if (!main_options(&load, argc, argv)) {
		main_usage(stderr);
		return 2;
	}
	for (i = 0; i < MODES && strcmp(argv[optind], modes[i].name) != 0; i++)
		;
	if (i == MODES) {
		main_usage(stderr);
		return 2;
	}
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	if (!main_attach(&load))
		tp_client_exit(1);
	/* A test waits for this line; the object of the end is the last one. */
	fprintf(stderr, "running\n");
	started = cli_now_ns();
	modes[i].run(&load);
	main_print(&load, modes[i].name, (double)(cli_now_ns() - started) / 1e9);
	cli_latency_destroy(load.latency);
	tp_client_detach(load.client);
	tp_client_exit(load.errors == 0 ? 0 : 1);
}
