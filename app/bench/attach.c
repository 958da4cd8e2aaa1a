/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * attach_lat: from a program's decision to use shared memory to its first value.
 * Each sample is a process of its own, without EAL until then; the time of fork
 * is left out. Both ways of attaching, with the node's core to itself and with a
 * program computing on it.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <rte_common.h>
#include <rte_cycles.h>

#include "daemon.h"

#define ATTACH_NODE 1
#define ATTACH_HUGEPAGES 64u
#define ATTACH_REGION "bench"

struct attach_sample {
	_Atomic uint64_t ticks;
	_Atomic int error;
};

struct attach_bench {
	struct bench *bench;
	struct bench_daemon daemon;
	struct bench_peer hog;
	struct tp_client *client;		/* keeps the region's first page here */
	struct attach_sample *sample;		/* shared with the process that is measured */
};

/* In a fresh process: the whole way to the first value. */
static int
attach_first_read(const struct attach_bench *attach, enum tp_attach_way way)
{
	char lcores[24], prefix[sizeof(attach->daemon.prefix)];
	char *eal[] = { (char[]){ "telepage-bench" }, (char[]){ "--file-prefix" }, prefix,
			(char[]){ "--no-pci" }, (char[]){ "--log-level=*:4" },
			(char[]){ "--lcores" }, lcores, NULL };
	const struct tp_client_config config = {
		.socket_path = attach->daemon.socket,
		.thread_count = 1,
		.way = way,
		.eal_argc = (int)RTE_DIM(eal) - 1,
		.eal_argv = eal,
	};
	struct tp_client_region *region;
	struct tp_thread *thread;
	struct tp_client *client;
	uint64_t value, start;
	int ret;

	strcpy(prefix, attach->daemon.prefix);
	snprintf(lcores, sizeof(lcores), "0@%d", attach->bench->cpus[1]);
	start = rte_rdtsc_precise();
	ret = tp_attach(&config, &client);
	if (ret == 0)
		ret = tp_thread_register(client, &thread);
	if (ret == 0)
		ret = tp_client_region_open(client, ATTACH_REGION, &region);
	if (ret == 0 && !tp_result_is_ok(tp_read(thread, region, 0, &value, sizeof(value))))
		ret = -EIO;
	attach->sample->ticks = rte_rdtsc_precise() - start;
	return ret;
}

static int
attach_once(struct attach_bench *attach, enum tp_attach_way way, uint64_t *ticks)
{
	int status;
	pid_t child;

	attach->sample->error = -ECHILD;
	fflush(NULL);
	child = fork();
	if (child < 0)
		return -errno;
	if (child == 0) {
		bench_guard_forget(attach->bench->guard);
		bench_pin(attach->bench, 1);
		attach->sample->error = attach_first_read(attach, way);
		tp_client_exit(0);
	}
	if (waitpid(child, &status, 0) < 0)
		return -errno;
	*ticks = attach->sample->ticks;
	return attach->sample->error;
}

static int
attach_socket_once(void *context, uint64_t *ticks)
{
	return attach_once(context, TP_ATTACH_SOCKET, ticks);
}

static int
attach_secondary_once(void *context, uint64_t *ticks)
{
	return attach_once(context, TP_ATTACH_SECONDARY, ticks);
}

static int
attach_hog_main(struct bench *bench, struct bench_control *control, void *context)
{
	volatile uint64_t sum = 0;

	bench_peer_ready(control);
	while (bench_peer_may_run(control))
		for (unsigned int i = 0; i < 100000; i++)
			sum = sum + i;
	return 0;
}

static void
attach_hog_resume(void *context)
{
	bench_peer_resume(&((struct attach_bench *)context)->hog);
}

static void
attach_hog_pause(void *context)
{
	bench_peer_pause(&((struct attach_bench *)context)->hog);
}

static int
attach_measure(struct attach_bench *attach)
{
	static const char *const names[] = {
		"attach_lat_socket", "attach_lat_secondary", "attach_lat_socket_busy",
		"attach_lat_secondary_busy",
	};
	const struct bench_plan plan = { .rounds = 20, .batch = 5 };
	struct bench_op ops[] = {
		{ attach_socket_once, NULL, NULL, attach, { 0 } },
		{ attach_secondary_once, NULL, NULL, attach, { 0 } },
		{ attach_socket_once, attach_hog_resume, attach_hog_pause, attach, { 0 } },
		{ attach_secondary_once, attach_hog_resume, attach_hog_pause, attach, { 0 } },
	};
	int ret = bench_interleave(ops, RTE_DIM(ops), &plan);

	for (unsigned int i = 0; i < RTE_DIM(ops) && ret == 0; i++)
		bench_report(attach->bench, &(struct bench_row){
			.name = names[i],
			.pmd = bench_pmd_name(attach->bench->pmd),
			.unit = "us",
			.scale = attach->bench->ns_per_tick / 1000,
			.samples = &ops[i].samples,
		});
	for (unsigned int i = 0; i < RTE_DIM(ops) && ret == 0; i++)
		bench_samples_fini(&ops[i].samples);
	return ret;
}

/* A node of one, its region, and a page that is here. */
static int
attach_open(struct attach_bench *attach)
{
	const struct bench_daemon_config config = {
		.id = ATTACH_NODE,
		.link_side = 1,
		.shared = true,
	};
	const struct tp_client_region_config region_config = {
		.name = ATTACH_REGION,
		.bytes = BENCH_PAGE_BYTES,
	};
	struct tp_client_region *region;
	struct tp_thread *thread;
	uint64_t value = 1;
	uint32_t epoch = 0;
	int ret;

	ret = bench_daemon_start(&attach->daemon, attach->bench, &config);
	if (ret == 0)
		ret = bench_daemon_attach(&attach->daemon, &attach->client);
	if (ret == 0)
		ret = bench_daemon_reach(attach->client, ATTACH_NODE, &epoch);
	if (ret == 0)
		ret = tp_client_region_create(attach->client, &region_config, &region);
	if (ret == 0)
		ret = tp_thread_register(attach->client, &thread);
	if (ret == 0 && !tp_result_is_ok(tp_write(thread, region, 0, &value, sizeof(value))))
		ret = -EIO;
	return ret;
}

int
bench_attach(struct bench *bench)
{
	struct attach_bench attach = { .bench = bench };
	int ret;

	bench_hugepages_reserve(bench, ATTACH_HUGEPAGES);
	if (bench->hugepages == 0)
		/* Secondary processes map the node's memory from a hugetlbfs. */
		return -ENOMEM;
	attach.sample = mmap(NULL, sizeof(*attach.sample), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (attach.sample == MAP_FAILED)
		return -errno;
	ret = bench_link_prepare(bench, 1);
	if (ret == 0)
		ret = bench_daemon_huge_mount(bench);
	if (ret == 0)
		ret = bench_peer_start(&attach.hog, bench, 0, attach_hog_main, NULL);
	if (ret == 0)
		ret = bench_peer_await(&attach.hog);
	if (ret == 0)
		ret = attach_open(&attach);
	if (ret == 0)
		ret = attach_measure(&attach);
	tp_client_detach(attach.client);
	bench_daemon_end(&attach.daemon, SIGTERM);
	bench_peer_stop(&attach.hog);
	return ret;
}
