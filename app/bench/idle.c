/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Two telepaged processes that nobody asks for anything: what they cost, and how
 * long the first request takes that wakes them. The client is on the core of its
 * node and sleeps between requests, too.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include <rte_common.h>
#include <rte_cycles.h>

#include "daemon.h"

#define IDLE_ASKER 1
#define IDLE_HOME 2
#define IDLE_HUGEPAGES 192u		/* heaps of two EAL */
#define IDLE_PAGES 400u			/* they fit the cache */
#define IDLE_WINDOWS 10u
#define IDLE_WINDOW_NS 500000000
#define IDLE_SETTLE_NS 500000000
#define IDLE_REST_NS 10000000		/* before each request: all sleep */
#define IDLE_REST_STEP_NS 10007		/* and each time a little longer, up to */
#define IDLE_REST_STEPS 400u

struct idle_bench {
	struct bench *bench;
	struct bench_daemon asker;
	struct bench_daemon home;
	struct tp_client *client;
	struct tp_client_region *region;
	struct tp_thread *thread;
	uint32_t *order;
	uint32_t next;
	clockid_t clock;			/* of the asking node's processor time */
};

static void
idle_rest(uint64_t ns)
{
	const struct timespec rest = {
		.tv_sec = (time_t)(ns / 1000000000u),
		.tv_nsec = (long)(ns % 1000000000u),
	};

	nanosleep(&rest, NULL);
}

static uint64_t
idle_clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* One window: processor time in millionths of it. */
static int
idle_cpu(void *context, uint64_t *ticks)
{
	struct idle_bench *idle = context;
	uint64_t used = idle_clock_ns(idle->clock);
	uint64_t from = idle_clock_ns(CLOCK_MONOTONIC);

	idle_rest(IDLE_WINDOW_NS);
	used = idle_clock_ns(idle->clock) - used;
	*ticks = used * 1000000u / (idle_clock_ns(CLOCK_MONOTONIC) - from);
	return 0;
}

static int
idle_nop(void *context, uint64_t *ticks)
{
	struct idle_bench *idle = context;
	struct tp_result result;
	struct tp_op op;
	uint64_t start;

	idle_rest(IDLE_REST_NS + idle->next++ % IDLE_REST_STEPS * IDLE_REST_STEP_NS);
	start = rte_rdtsc_precise();
	tp_submit_nop(idle->thread, 0, &op);
	result = tp_op_wait(idle->thread, &op);
	*ticks = rte_rdtsc_precise() - start;
	return tp_result_is_ok(result) ? 0 : -EIO;
}

static int
idle_miss(void *context, uint64_t *ticks)
{
	struct idle_bench *idle = context;
	uint64_t page = idle->order[idle->next % IDLE_PAGES];
	struct tp_result result;
	uint64_t value, start;

	idle_rest(IDLE_REST_NS + idle->next++ % IDLE_REST_STEPS * IDLE_REST_STEP_NS);
	start = rte_rdtsc_precise();
	result = tp_read(idle->thread, idle->region, page * BENCH_PAGE_BYTES, &value,
			 sizeof(value));
	*ticks = rte_rdtsc_precise() - start;
	if (tp_result_is_ok(result) && value == page)
		return 0;
	fprintf(stderr, "telepage-bench: page %lu: %s, value %lu\n", page,
		tp_reason_name(result.reason), value);
	return -EIO;
}

static int
idle_row(struct idle_bench *idle, const char *name, const char *unit, double scale,
	 int (*once)(void *context, uint64_t *ticks), unsigned int count)
{
	const struct bench_plan plan = {
		.rounds = 1,
		.batch = idle->bench->quick ? count / 10 : count,
	};
	struct bench_op op = { .once = once, .context = idle };
	int ret = bench_interleave(&op, 1, &plan);

	if (ret < 0)
		return ret;
	bench_report(idle->bench, &(struct bench_row){
		.name = name,
		.pmd = bench_pmd_name(idle->bench->pmd),
		.unit = unit,
		.scale = scale,
		.samples = &op.samples,
	});
	bench_samples_fini(&op.samples);
	return 0;
}

static int
idle_region_fill(struct idle_bench *idle)
{
	const uint16_t home = IDLE_HOME;
	const struct tp_client_region_config config = {
		.name = "bench",
		.bytes = IDLE_PAGES * BENCH_PAGE_BYTES,
		.distribution = TP_REGION_HOME,
		.nodes = &home,
		.node_count = 1,
	};
	struct tp_result result = tp_result_ok(0);
	int ret;

	ret = tp_client_region_create(idle->client, &config, &idle->region);
	for (uint64_t page = 0; ret == 0 && page < IDLE_PAGES && tp_result_is_ok(result); page++)
		result = tp_write(idle->thread, idle->region, page * BENCH_PAGE_BYTES, &page,
				  sizeof(page));
	if (ret == 0 && tp_result_is_ok(result))
		result = tp_clear(idle->thread, idle->region);
	if (ret < 0 || tp_result_is_ok(result))
		return ret;
	fprintf(stderr, "telepage-bench: filling: %s\n", tp_reason_name(result.reason));
	return -EIO;
}

static int
idle_start(struct idle_bench *idle)
{
	struct bench *bench = idle->bench;
	const struct bench_daemon_config home = { .id = IDLE_HOME, .core = 1, .link_side = 1 };
	const struct bench_daemon_config asker = { .id = IDLE_ASKER };
	uint32_t epoch = 0;
	int ret;

	idle->order = bench_order(IDLE_PAGES);
	if (idle->order == NULL)
		return -ENOMEM;
	bench_hugepages_reserve(bench, IDLE_HUGEPAGES);
	ret = bench_link_prepare(bench, 1);
	if (ret == 0)
		ret = bench_daemon_launch(&idle->home, bench, &home);
	if (ret == 0)
		ret = bench_daemon_start(&idle->asker, bench, &asker);
	if (ret == 0)
		ret = bench_daemon_attach(&idle->asker, &idle->client);
	if (ret == 0)
		ret = bench_link_join(bench, 0);
	if (ret == 0)
		ret = bench_daemon_reach(idle->client, IDLE_HOME, &epoch);
	if (ret == 0)
		ret = -clock_getcpuclockid(idle->asker.pid, &idle->clock);
	if (ret == 0)
		ret = tp_thread_register(idle->client, &idle->thread);
	return ret == 0 ? bench_pin(bench, 0) : ret;
}

int
bench_idle(struct bench *bench)
{
	struct idle_bench idle = { .bench = bench };
	double us = bench->ns_per_tick / 1000;
	int ret;

	ret = idle_start(&idle);
	if (ret == 0) {
		idle_rest(IDLE_SETTLE_NS);
		ret = idle_row(&idle, "node_idle_cpu", "%", 1e-4, idle_cpu, IDLE_WINDOWS);
	}
	if (ret == 0)
		ret = idle_row(&idle, "node_wake_local_lat", "us", us, idle_nop, IDLE_PAGES);
	if (ret == 0)
		ret = idle_region_fill(&idle);
	if (ret == 0)
		ret = idle_row(&idle, "node_wake_remote_lat", "us", us, idle_miss, IDLE_PAGES);
	tp_client_detach(idle.client);
	bench_daemon_end(&idle.asker, SIGTERM);
	bench_daemon_end(&idle.home, SIGTERM);
	free(idle.order);
	return ret;
}
