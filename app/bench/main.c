/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * telepage-bench: the table of benchmarks, and the command line.
 */
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <rte_cycles.h>

#include "bench.h"

/* One row per benchmark; rows of one subject stand together. */
static const struct bench_case cases[] = {
	{ "raw_rtt", "round trip of two bare DPDK processes, 64 B to 64 and 4200 B", true,
	  bench_raw_rtt },
	{ "client_hit_lat", "tp_read of 8 bytes of a page that is here, against a plain load",
	  false, bench_client_hit },
	{ "node_miss_lat", "fetch of a page from another node, node embedded here", true,
	  bench_node_miss },
	{ "node_evict_lat", "the same with a cache so small that each page drives one out", true,
	  bench_node_evict },
	{ "node_atomic_lat", "fetch-add of a word of another node, node embedded here", true,
	  bench_node_atomic },
	{ "client_miss_lat", "fetch of a page by a client attached to a node on its core", true,
	  bench_client_miss },
	{ "client_atomic_lat", "fetch-add by a client attached to a node on its core", true,
	  bench_client_atomic },
	{ "node_fetch_lat", "64 B to 64 KiB of another node's pages into a buffer, node embedded",
	  true, bench_node_fetch },
	{ "client_fetch_lat", "the same by a client attached to a node on its core", true,
	  bench_client_fetch },
	{ "page_stream_bw", "pages of another node by long reads, node embedded here", true,
	  bench_page_stream },
	{ "client_stream_bw", "the same by a client attached to a node on its core", true,
	  bench_client_stream },
	{ "attach_lat", "attach to first read in a fresh process, both ways, idle and busy core",
	  true, bench_attach },
	{ "void_lat", "kill of a page's node to VOID at a program that waits for it", true,
	  bench_void },
	{ "void_lat_fast", "the same with fast detection configured", true, bench_void_fast },
	{ "void_lat_stop", "the node is stopped instead, and goes on later", true,
	  bench_void_stop },
	{ "void_lat_cut", "its way is cut instead, both ways, there, and back; then healed", true,
	  bench_void_cut },
	{ "bystander_lat", "misses and hits of a client while other clients and nodes die", true,
	  bench_bystander },
	{ "node_idle_cpu", "share of a core of a node without work, and what wakes it then", true,
	  bench_idle },
	{ "session_loss_bw", "pages streamed over a session at 0 to 1e-2 loss, and how long each took",
	  true, bench_session_loss },
	{ "fabric_small_msg_rate", "messages of 32 bytes a second, many to a packet", true,
	  bench_small_message },
	{ "fabric_small_msg_rate_alone", "the same, each in a packet of its own", true,
	  bench_small_message_alone },
	{ "demand_under_bulk_lat", "fetch of a page while bulk fills the link, and what bulk keeps",
	  true, bench_demand },
	{ "foreign_flood_lat", "fetch of a page while a neighbour floods with foreign frames", true,
	  bench_foreign_flood },
	{ "foreign_drop_cost", "dropping a foreign frame, by kind", false, bench_foreign_drop },
	{ "pool_loan_rate", "loan and return of a slot against rte_mempool, alone and contended",
	  false, bench_pool_loan_rate },
	{ "directory_bytes_per_page", "memory of a directory of a million pages", false,
	  bench_directory_bytes },
	{ "pmem_tx_rate", "transactions of 64 B, 256 B and 4 KiB, one and two threads, and libpmemobj",
		false, bench_pmem_tx_rate },
	{ "pmem_alloc_rate", "blocks allocated and freed, one and two threads, and libpmemobj",
		false, bench_pmem_alloc_rate },
	{ "pmem_block_iops", "4 KiB of a block volume over nbdkit, against its file plugin", false,
	  bench_pmem_block_iops },
	{ "pmem_btree_insert", "a durable insert into a B+tree, and 1000 at once, against LMDB", false,
	  bench_pmem_btree_insert },
	{ "pmem_btree_get", "reading a value of a B+tree of a million keys, against LMDB", false,
	  bench_pmem_btree_get },
	{ "pmem_btree_scan", "walking such a tree", false, bench_pmem_btree_scan },
	{ "pmem_btree_delete", "a durable delete, until such a tree is empty", false,
	  bench_pmem_btree_delete },
	{ "pmem_hybrid_hit_lat", "an object of the cache in front of persistent memory, against plain DRAM",
	  false, bench_pmem_hybrid_hit },
	{ "pmem_hybrid_miss_lat", "one that is not in it, against a copy", false,
	  bench_pmem_hybrid_miss },
	{ "pmem_hybrid_hit_ratio", "hits of accesses by Zipf's law, against LRU and the best there is",
	  false, bench_pmem_hybrid_ratio },
	{ "pmem_btree_obj", "inserts, gets, scans and deletes, against a B+tree on libpmemobj", false,
	  bench_pmem_btree_obj },
	{ "pmem_recovery_time", "opening a pool with a full log after a crash, 10 GiB after none", false,
	  bench_pmem_recovery_time },
	{ "codec_delta_rate", "a page against its base: unchanged, and 5 % of lines changed", false,
	  bench_codec_delta_rate },
	{ "codec_wire_bytes", "bytes of a delta by changed lines, and of the worst pages", false,
	  bench_codec_wire_bytes },
	{ "codec_adaptive_gain", "pages of real files at 1 Gbit/s: chosen codec against the best one",
	  false, bench_codec_adaptive_gain },
	{ "codec_link_gain", "the same between two nodes, over a link shaped to 1 Gbit/s", true,
	  bench_codec_link_gain },
};

static void
usage(FILE *out)
{
	fprintf(out, "usage: telepage-bench list\n"
		     "       telepage-bench NAME [--pmd memif|af_packet|af_xdp|tap] [--mtu N] "
		     "[--neighbour] [--quick] [--json]\n"
		     "                      [--netns A,B]   af_packet between devices net0, net1 "
		     "of two namespaces\n");
}

static int
cases_list(void)
{
	for (size_t i = 0; i < RTE_DIM(cases); i++)
		printf("%-28s %s%s\n", cases[i].name, cases[i].what,
		       cases[i].uses_pmd ? " [--pmd]" : "");
	return 0;
}

static const struct bench_case *
case_find(const char *name)
{
	for (size_t i = 0; i < RTE_DIM(cases); i++)
		if (strcmp(cases[i].name, name) == 0)
			return &cases[i];
	return NULL;
}

/* EAL's own measurement needs EAL; peers and some benchmarks run without. */
static double
ns_per_tick_measure(void)
{
	const struct timespec wait = { .tv_nsec = 50 * 1000 * 1000 };
	struct timespec before, after;
	uint64_t ticks;

	clock_gettime(CLOCK_MONOTONIC_RAW, &before);
	ticks = rte_rdtsc_precise();
	nanosleep(&wait, NULL);
	clock_gettime(CLOCK_MONOTONIC_RAW, &after);
	ticks = rte_rdtsc_precise() - ticks;
	return ((double)(after.tv_sec - before.tv_sec) * 1e9 +
		(double)(after.tv_nsec - before.tv_nsec)) / (double)ticks;
}

/* The first two cores this process may use. */
static void
cpus_choose(struct bench *bench)
{
	unsigned int found = 0;
	cpu_set_t set;

	CPU_ZERO(&set);
	sched_getaffinity(0, sizeof(set), &set);
	for (int cpu = 0; cpu < CPU_SETSIZE && found < 2; cpu++)
		if (CPU_ISSET(cpu, &set))
			bench->cpus[found++] = cpu;
	if (found < 2) {
		bench->cpus[1] = bench->cpus[0];
		fprintf(stderr, "telepage-bench: one core only, two pollers share it: the figures "
			"of benchmarks with a peer mean nothing\n");
	}
}

/* "model name" of the first processor, characters that JSON would escape left out. */
static void
machine_describe(struct bench *bench)
{
	char line[256];
	char model[64] = "unknown";
	struct utsname kernel;
	FILE *file = fopen("/proc/cpuinfo", "r");

	while (file != NULL && fgets(line, sizeof(line), file) != NULL)
		if (sscanf(line, "model name : %63[^\"\\\n]", model) == 1)
			break;
	if (file != NULL)
		fclose(file);
	uname(&kernel);
	snprintf(bench->machine, sizeof(bench->machine), "%s, %ld cores, Linux %.40s", model,
		 sysconf(_SC_NPROCESSORS_ONLN), kernel.release);
}

/* Two names with a comma between them; the ports are then af_packet's. */
static bool
netns_parse(struct bench *bench, char *names)
{
	char *comma = strchr(names, ',');

	if (comma == NULL || comma == names || comma[1] == '\0')
		return false;
	*comma = '\0';
	bench->netns[0] = names;
	bench->netns[1] = comma + 1;
	bench->pmd = BENCH_PMD_AF_PACKET;
	return true;
}

/* Name of the benchmark, NULL after one line on stderr. */
static const char *
options_parse(struct bench *bench, int argc, char **argv)
{
	static const struct option options[] = {
		{ "pmd", required_argument, NULL, 'p' },
		{ "mtu", required_argument, NULL, 'm' },
		{ "neighbour", no_argument, NULL, 'n' },
		{ "json", no_argument, NULL, 'j' },
		{ "quick", no_argument, NULL, 'q' },
		{ "netns", required_argument, NULL, 'N' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (option) {
		case 'p':
			bench->pmd = bench_pmd_find(optarg);
			if (bench->pmd == BENCH_PMD_COUNT) {
				fprintf(stderr, "telepage-bench: no PMD %s\n", optarg);
				return NULL;
			}
			break;
		case 'm':
			bench->mtu = (unsigned int)strtoul(optarg, NULL, 10);
			if (bench->mtu < 1500 || bench->mtu > 9000) {
				fprintf(stderr, "telepage-bench: the MTU is 1500 to 9000\n");
				return NULL;
			}
			break;
		case 'n':
			bench->neighbour = true;
			break;
		case 'j':
			bench->json = true;
			break;
		case 'q':
			bench->quick = true;
			break;
		case 'N':
			if (!netns_parse(bench, optarg)) {
				fprintf(stderr, "telepage-bench: --netns takes two names\n");
				return NULL;
			}
			break;
		default:
			usage(option == 'h' ? stdout : stderr);
			return NULL;
		}
	}
	if (optind + 1 != argc) {
		usage(stderr);
		return NULL;
	}
	if (bench->netns[0] != NULL && bench->pmd != BENCH_PMD_AF_PACKET) {
		fprintf(stderr, "telepage-bench: --netns is for af_packet\n");
		return NULL;
	}
	return argv[optind];
}

int
main(int argc, char **argv)
{
	struct bench bench = { .pmd = BENCH_PMD_MEMIF, .out = stdout };
	const char *name = options_parse(&bench, argc, argv);
	const struct bench_case *chosen;
	int ret;

	if (name == NULL)
		return 2;
	if (strcmp(name, "list") == 0)
		return cases_list();
	chosen = case_find(name);
	if (chosen == NULL) {
		fprintf(stderr, "telepage-bench: no benchmark %s, see telepage-bench list\n", name);
		return 2;
	}
	snprintf(bench.prefix, sizeof(bench.prefix), "tp-bench-%d", getpid());
	bench.ns_per_tick = ns_per_tick_measure();
	cpus_choose(&bench);
	machine_describe(&bench);
	bench.guard = bench_guard_start(bench.prefix);
	if (bench.guard == NULL) {
		fprintf(stderr, "telepage-bench: no guard process: %s\n", strerror(errno));
		return 1;
	}
	ret = chosen->run(&bench);
	if (ret < 0)
		fprintf(stderr, "telepage-bench: %s: %s\n", name, strerror(-ret));
	bench_guard_stop(bench.guard);
	return ret < 0;
}
