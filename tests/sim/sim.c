/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Runs seeds. A seed that fails prints the one command that replays it.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"
#ifdef TP_MUTANTS
#include "mutants.h"
#endif

struct run_options {
	struct sim_options sim;
	void (*harness)(const struct sim_options *options, struct sim_result *result);
	const char *harness_name;
	const char *mutant;
	uint64_t first, last;
	bool hashes;
	bool all_mutants;
};

static void
usage(FILE *out)
{
	fputs("usage: sim [options]\n"
	      "  --seed N            one seed (default 1)\n"
	      "  --seeds FROM..TO    all of these\n"
	      "  --harness NAME      core or cluster\n"
	      "  --nodes N           3 to 8 (default: by seed)\n"
	      "  --ops N             operations (default 2000)\n"
	      "  --faults N          faults (default: by seed, 20 to 40)\n"
	      "  --no-faults\n"
	      "  --trace             print every event\n"
	      "  --hash              print the trace hash of each seed\n"
#ifdef TP_MUTANTS
	      "  --mutant NAME       switch on one mutant; succeeds if a seed catches it\n"
	      "  --all-mutants       the same for each of them\n"
#endif
	      , out);
}

static bool
parse_seeds(const char *text, uint64_t *first, uint64_t *last)
{
	char *end;

	*first = strtoull(text, &end, 0);
	if (strncmp(end, "..", 2) != 0)
		return false;
	*last = strtoull(end + 2, &end, 0);
	return *end == '\0' && *first <= *last;
}

static bool
set_harness(struct run_options *o, const char *name)
{
	o->harness_name = name;
	if (strcmp(name, "core") == 0)
		o->harness = sim_core_run;
	else if (strcmp(name, "cluster") == 0)
		o->harness = sim_cluster_run;
	else
		return false;
	return true;
}

enum { OPT_SEED = 1, OPT_SEEDS, OPT_HARNESS, OPT_NODES, OPT_OPS, OPT_FAULTS, OPT_NO_FAULTS,
	OPT_TRACE, OPT_HASH, OPT_MUTANT, OPT_ALL_MUTANTS, OPT_HELP };

static const struct option long_options[] = {
	{ "seed", required_argument, NULL, OPT_SEED },
	{ "seeds", required_argument, NULL, OPT_SEEDS },
	{ "harness", required_argument, NULL, OPT_HARNESS },
	{ "nodes", required_argument, NULL, OPT_NODES },
	{ "ops", required_argument, NULL, OPT_OPS },
	{ "faults", required_argument, NULL, OPT_FAULTS },
	{ "no-faults", no_argument, NULL, OPT_NO_FAULTS },
	{ "trace", no_argument, NULL, OPT_TRACE },
	{ "hash", no_argument, NULL, OPT_HASH },
#ifdef TP_MUTANTS
	{ "mutant", required_argument, NULL, OPT_MUTANT },
	{ "all-mutants", no_argument, NULL, OPT_ALL_MUTANTS },
#endif
	{ "help", no_argument, NULL, OPT_HELP },
	{ 0 },
};

/* false: unknown or malformed. */
static bool
take_option(struct run_options *o, int option, const char *value)
{
	switch (option) {
	case OPT_SEED:
		o->first = o->last = strtoull(value, NULL, 0);
		return true;
	case OPT_SEEDS:
		return parse_seeds(value, &o->first, &o->last);
	case OPT_HARNESS:
		return set_harness(o, value);
	case OPT_NODES:
		o->sim.nodes = (uint32_t)strtoul(value, NULL, 0);
		return o->sim.nodes >= 2 && o->sim.nodes <= SIM_NODES_MAX;
	case OPT_OPS:
		o->sim.ops = (uint32_t)strtoul(value, NULL, 0);
		return o->sim.ops > 0;
	case OPT_FAULTS:
		o->sim.faults = (uint32_t)strtoul(value, NULL, 0);
		return o->sim.faults > 0;
	case OPT_NO_FAULTS:
		o->sim.faults = SIM_NO_FAULTS;
		return true;
	case OPT_TRACE:
		o->sim.trace = true;
		return true;
	case OPT_HASH:
		o->hashes = true;
		return true;
	case OPT_MUTANT:
		o->mutant = value;
		return true;
	case OPT_ALL_MUTANTS:
		o->all_mutants = true;
		return true;
	default:
		return false;
	}
}

static void
print_replay(const struct run_options *o, uint64_t seed)
{
	printf("replay: sim --harness %s --seed %" PRIu64, o->harness_name, seed);
	if (o->sim.nodes != 0)
		printf(" --nodes %u", o->sim.nodes);
	if (o->sim.ops != 0)
		printf(" --ops %u", o->sim.ops);
	if (o->sim.faults == SIM_NO_FAULTS)
		printf(" --no-faults");
	else if (o->sim.faults != 0)
		printf(" --faults %u", o->sim.faults);
	if (o->mutant != NULL)
		printf(" --mutant %s", o->mutant);
	printf(" --trace\n");
}

/* Failed seeds, at most stop_after. */
static uint64_t
run_seeds(struct run_options *o, uint64_t stop_after)
{
	uint64_t seed, failed = 0, done = 0, ops = 0, unknown = 0, voids = 0, faults = 0,
		crashes = 0, fences = 0, lost = 0, settled = 0, notice_ns = 0;

	for (seed = o->first; seed <= o->last && failed < stop_after; seed++) {
		struct sim_result r;

		o->sim.seed = seed;
		o->harness(&o->sim, &r);
		done++;
		ops += r.ops_done;
		unknown += r.ops_unknown;
		voids += r.ops_void;
		settled += r.ops_settled;
		faults += r.faults;
		crashes += r.crashes;
		fences += r.fences;
		lost += r.pages_lost;
		if (r.notice_ns > notice_ns)
			notice_ns = r.notice_ns;
		if (o->hashes)
			printf("seed %" PRIu64 " hash %016" PRIx64 "\n", seed, r.trace_hash);
		if (!r.failed)
			continue;
		failed++;
		printf("seed %" PRIu64 " FAILED at %.3f ms: %s\n", seed,
		       (double)r.virtual_ns / 1e6, r.why);
		print_replay(o, seed);
		fflush(stdout);
	}
	printf("%s: %" PRIu64 " seeds, %" PRIu64 " failed; %" PRIu64 " operations done, %"
		       PRIu64 " unknown (%" PRIu64 " settled), %" PRIu64 " void; %" PRIu64 " faults, %" PRIu64
		       " crashes, %" PRIu64 " fences, %" PRIu64 " pages lost", o->harness_name,
		       done, failed, ops, unknown, settled, voids, faults, crashes, fences, lost);
	if (notice_ns != 0)
		printf("; waits for the silent up to %.1f ms", (double)notice_ns / 1e6);
	printf("\n");
	return failed;
}

#ifdef TP_MUTANTS
static const struct {
	const char *name;
	const char *harness;
	const char *help;
} mutants[SIM_MUTANT_COUNT] = {
#define AS_PROTOCOL(name, help) [MUTANT_##name] = { #name, "core", help },
	TP_COHERENCE_MUTANT_LIST(AS_PROTOCOL)
#define AS_SIM(name, harness, help) [SIM_MUTANT_##name] = { #name, #harness, help },
	SIM_MUTANT_LIST(AS_SIM)
};

/* Seeds until one fails with the mutant and passes without it; 0: none did. */
static uint64_t
mutant_seeds(struct run_options *o, unsigned int mutant)
{
	uint64_t seed;

	for (seed = o->first; seed <= o->last; seed++) {
		struct sim_result with, without;

		o->sim.seed = seed;
		sim_mutant = mutant;
		sim_mutants_reset();
		o->harness(&o->sim, &with);
		if (!with.failed)
			continue;
		sim_mutant = MUTANT_none;
		o->harness(&o->sim, &without);
		if (without.failed)
			continue;
		printf("mutant %-20s caught by seed %" PRIu64 ": %s\n", mutants[mutant].name, seed,
		       with.why);
		fflush(stdout);
		return seed - o->first + 1;
	}
	printf("mutant %-20s SURVIVES %" PRIu64 " seeds (%s)\n", mutants[mutant].name,
	       o->last - o->first + 1, mutants[mutant].help);
	fflush(stdout);
	return 0;
}

/* No harness has durable regions: tests/coherence/test_mutants.c catches these. */
static bool
mutant_needs_pool(unsigned int mutant)
{
	return mutant == MUTANT_persist_old_home || mutant == MUTANT_forget_pool;
}

/* Protocol mutants in the core harness, which is fast; those at the borders need whole nodes. */
static int
run_mutants(struct run_options *o)
{
	unsigned int mutant, survivors = 0, done = 0;

	for (mutant = MUTANT_none + 1; mutant < SIM_MUTANT_COUNT; mutant++) {
		if (o->mutant != NULL && strcmp(o->mutant, mutants[mutant].name) != 0)
			continue;
		if (o->mutant == NULL && mutant_needs_pool(mutant))
			continue;
		if (o->mutant == NULL)
			set_harness(o, mutants[mutant].harness);
		survivors += mutant_seeds(o, mutant) == 0;
		done++;
	}
	if (done == 0)
		fprintf(stderr, "sim: no such mutant: %s\n", o->mutant);
	printf("%u mutants, %u survive\n", done, survivors);
	return done != 0 && survivors == 0 ? 0 : 1;
}
#endif

int
main(int argc, char **argv)
{
	struct run_options o = { .first = 1, .last = 1 };
	int option;

	set_harness(&o, "core");
	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (option == OPT_HELP) {
			usage(stdout);
			return 0;
		}
		if (!take_option(&o, option, optarg)) {
			usage(stderr);
			return 2;
		}
	}
#ifdef TP_MUTANTS
	if (o.mutant != NULL || o.all_mutants)
		return run_mutants(&o);
#endif
	return run_seeds(&o, 5) == 0 ? 0 : 1;
}
