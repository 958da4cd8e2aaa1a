/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * void_lat: from kill -9 of the node that owns a page to the VOID of a program
 * that waits for the page on another node. Each sample is the death of a real
 * telepaged, at a random instant, and its restart. With the default times, and
 * with times that a small cluster of good links can have. The program is on its
 * node's core: the other one is busy with taking the dead process apart.
 *
 * The same where the node does not die: it is stopped and goes on, or frames are
 * lost in both directions or in one and then pass again (tp_inject).
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <rte_common.h>
#include <rte_cycles.h>

#include "daemon.h"
#include "tp_inject.h"

#define VOID_ASKER 1
#define VOID_OWNER 2
#define VOID_PAGES 64u
#define VOID_SAMPLES 60u
#define VOID_HUGEPAGES 128u
#define VOID_TRIES 2000u		/* 1 ms apart */
#define VOID_WAIT_NS UINT64_C(5000000000)
#define VOID_REGION "bench"
#define VOID_FAST "peer_timeout_ms = 10\nlease_ms = 20\nfence_margin_ms = 5\nguard_lease_ms = 5\n"

/* What happens to the owner, or to the frames between it and the asker. */
enum void_fault {
	VOID_KILL,
	VOID_STOP,
	VOID_CUT,
	VOID_CUT_THERE,		/* what the asker sends is lost */
	VOID_CUT_BACK,		/* what the owner sends is lost */
};

struct void_bench {
	struct bench *bench;
	enum void_fault fault;
	const char *settings;
	struct bench_daemon asker;
	struct bench_daemon owner;
	uint32_t owner_epoch;
	struct tp_client *client;
	struct tp_thread *thread;
	struct tp_client *at_owner;	/* VOID_CUT_BACK: who injects there */
	struct bench_samples samples;
};

/* In a network of tap devices its end is joined as soon as it is there. */
static int
void_daemon_start(struct void_bench *bench, struct bench_daemon *daemon, uint16_t id)
{
	const struct bench_daemon_config config = {
		.id = id,
		.core = id == VOID_OWNER,
		/* memif: who comes and goes is the client, side 0. */
		.link_side = id == VOID_ASKER,
		.settings = bench->settings,
	};
	int ret;

	if (bench->bench->pmd != BENCH_PMD_TAP)
		return bench_daemon_start(daemon, bench->bench, &config);
	ret = bench_daemon_launch(daemon, bench->bench, &config);
	return ret == 0 ? bench_link_join_side(bench->bench, 0, config.link_side) : ret;
}

/*
 * Every page written at its home, and none here. Nodes that have just met, with
 * short leases, may lose each other again: try again.
 */
static int
void_fill(struct void_bench *bench, struct tp_client_region *region)
{
	const struct timespec step = { .tv_nsec = 1000 * 1000 };
	struct tp_result result;
	uint64_t page, value = 1;

	for (unsigned int i = 0; i < VOID_TRIES; i++) {
		result = tp_result_ok(0);
		for (page = 0; page < VOID_PAGES && tp_result_is_ok(result); page++)
			result = tp_write(bench->thread, region, page * BENCH_PAGE_BYTES, &value,
					  sizeof(value));
		if (tp_result_is_ok(result))
			result = tp_clear(bench->thread, region);
		if (tp_result_is_ok(result))
			return 0;
		nanosleep(&step, NULL);
	}
	fprintf(stderr, "telepage-bench: the pages cannot be written: %s\n",
		tp_reason_name(result.reason));
	return -EIO;
}

/* The owner anew, the region empty and filled again. */
static int
void_owner_start(struct void_bench *bench, struct tp_client_region **region)
{
	int ret;

	ret = void_daemon_start(bench, &bench->owner, VOID_OWNER);
	if (ret == 0)
		ret = bench_daemon_reach(bench->client, VOID_OWNER, &bench->owner_epoch);
	if (ret == 0)
		ret = tp_client_region_reset(bench->client, VOID_REGION);
	if (ret == 0)
		ret = tp_client_region_open(bench->client, VOID_REGION, region);
	return ret == 0 ? void_fill(bench, *region) : ret;
}

static int
void_cut(struct tp_client *client, uint16_t peer, bool one_way)
{
	const struct tp_inject_spec spec = {
		.kind = TP_INJECT_PARTITION,
		.peers = &peer,
		.peer_count = 1,
		.one_way = one_way,
	};

	return tp_inject(client, &spec);
}

static int
void_fault_begin(struct void_bench *bench)
{
	switch (bench->fault) {
	case VOID_KILL:
		return kill(bench->owner.pid, SIGKILL) < 0 ? -errno : 0;
	case VOID_STOP:
		return kill(bench->owner.pid, SIGSTOP) < 0 ? -errno : 0;
	case VOID_CUT_BACK:
		return void_cut(bench->at_owner, VOID_ASKER, true);
	default:
		return void_cut(bench->client, VOID_OWNER, bench->fault == VOID_CUT_THERE);
	}
}

static int
void_fault_end(struct void_bench *bench)
{
	switch (bench->fault) {
	case VOID_KILL:
		bench_daemon_end(&bench->owner, SIGKILL);
		return 0;
	case VOID_STOP:
		return kill(bench->owner.pid, SIGCONT) < 0 ? -errno : 0;
	case VOID_CUT_BACK:
		return tp_inject_clear(bench->at_owner);
	default:
		return tp_inject_clear(bench->client);
	}
}

/* Let the fault begin, then ask for pages until one is VOID. */
static int
void_once(struct void_bench *bench, struct tp_client_region *region, uint64_t *ticks)
{
	const struct timespec wait = { .tv_nsec = rand() % 200000000 };
	struct tp_result result = tp_result_ok(0);
	uint64_t value, start;
	int ret;

	nanosleep(&wait, NULL);
	start = rte_rdtsc_precise();
	ret = void_fault_begin(bench);
	for (uint64_t page = 0; page < VOID_PAGES && tp_result_is_ok(result); page++)
		result = tp_read(bench->thread, region, page * BENCH_PAGE_BYTES, &value,
				 sizeof(value));
	*ticks = rte_rdtsc_precise() - start;
	if (ret == 0)
		ret = void_fault_end(bench);
	if (ret < 0 || (!tp_result_is_ok(result) && result.reason != TP_TIMEOUT))
		return ret;
	fprintf(stderr, "telepage-bench: the owner is out of reach, and a read ends with %s\n",
		tp_reason_name(result.reason));
	return -EIO;
}

static int
void_measure(struct void_bench *bench)
{
	struct tp_client_region *region = NULL;
	int ret = bench_samples_init(&bench->samples, VOID_SAMPLES);

	if (ret == 0 && bench->fault != VOID_KILL)
		ret = void_owner_start(bench, &region);
	if (ret == 0 && bench->fault == VOID_CUT_BACK)
		ret = bench_daemon_attach(&bench->owner, &bench->at_owner);
	for (unsigned int i = 0; i < VOID_SAMPLES && ret == 0; i++) {
		uint64_t ticks;

		if (bench->fault == VOID_KILL) {
			tp_client_region_close(region);
			region = NULL;
			ret = void_owner_start(bench, &region);
		} else {
			/* It comes back with all it had, perhaps in another epoch. */
			ret = void_fill(bench, region);
		}
		if (ret == 0)
			ret = void_once(bench, region, &ticks);
		if (ret == 0)
			bench_samples_add(&bench->samples, ticks);
	}
	tp_client_region_close(region);
	return ret;
}

static int
void_open(struct void_bench *bench)
{
	const uint16_t home = VOID_OWNER;
	const struct tp_client_region_config config = {
		.name = VOID_REGION,
		.bytes = VOID_PAGES * BENCH_PAGE_BYTES,
		.distribution = TP_REGION_HOME,
		.nodes = &home,
		.node_count = 1,
	};
	struct tp_client_region *region;
	uint32_t epoch = 0;
	int ret;

	ret = void_daemon_start(bench, &bench->asker, VOID_ASKER);
	if (ret == 0)
		ret = bench_daemon_attach(&bench->asker, &bench->client);
	if (ret == 0)
		ret = bench_daemon_reach(bench->client, VOID_ASKER, &epoch);
	if (ret == 0)
		ret = tp_thread_register(bench->client, &bench->thread);
	if (ret < 0)
		return ret;
	tp_thread_timeout_set(bench->thread, VOID_WAIT_NS);
	/* Its home must have been there once. */
	ret = void_daemon_start(bench, &bench->owner, VOID_OWNER);
	if (ret == 0)
		ret = bench_daemon_reach(bench->client, VOID_OWNER, &bench->owner_epoch);
	if (ret == 0)
		ret = tp_client_region_create(bench->client, &config, &region);
	if (ret == 0)
		tp_client_region_close(region);
	else if (ret == -EEXIST)
		/* Of a run before this one. */
		ret = 0;
	bench_daemon_end(&bench->owner, SIGKILL);
	return ret;
}

static void
void_close(struct void_bench *bench)
{
	bench_samples_fini(&bench->samples);
	tp_client_detach(bench->at_owner);
	tp_client_detach(bench->client);
	bench_daemon_end(&bench->owner, SIGKILL);
	bench_daemon_end(&bench->asker, SIGTERM);
}

static int
void_run(struct bench *bench, const char *name, enum void_fault fault, const char *settings)
{
	struct void_bench void_bench = { .bench = bench, .fault = fault, .settings = settings };
	int ret;

	ret = void_open(&void_bench);
	if (ret == 0)
		ret = void_measure(&void_bench);
	if (ret == 0)
		bench_report(bench, &(struct bench_row){
			.name = name,
			.pmd = bench_pmd_name(bench->pmd),
			.unit = "ms",
			.scale = bench->ns_per_tick / 1e6,
			.samples = &void_bench.samples,
		});
	void_close(&void_bench);
	return ret;
}

static int
void_prepare(struct bench *bench)
{
	int ret;

	srand(1);
	bench_hugepages_reserve(bench, VOID_HUGEPAGES);
	ret = bench_link_prepare(bench, 1);
	return ret == 0 ? bench_pin(bench, 0) : ret;
}

int
bench_void(struct bench *bench)
{
	int ret = void_prepare(bench);

	return ret == 0 ? void_run(bench, "void_lat", VOID_KILL, NULL) : ret;
}

int
bench_void_fast(struct bench *bench)
{
	int ret = void_prepare(bench);

	return ret == 0 ? void_run(bench, "void_lat_fast", VOID_KILL, VOID_FAST) : ret;
}

int
bench_void_stop(struct bench *bench)
{
	int ret = void_prepare(bench);

	return ret == 0 ? void_run(bench, "void_lat_stop", VOID_STOP, NULL) : ret;
}

/* One after the other; who comes later finds the catalogue of who was before. */
int
bench_void_cut(struct bench *bench)
{
	static const struct {
		const char *name;
		enum void_fault fault;
	} cuts[] = {
		{ "void_lat_cut", VOID_CUT },
		{ "void_lat_cut_there", VOID_CUT_THERE },
		{ "void_lat_cut_back", VOID_CUT_BACK },
	};
	int ret = void_prepare(bench);

	for (unsigned int i = 0; i < RTE_DIM(cuts) && ret == 0; i++)
		ret = void_run(bench, cuts[i].name, cuts[i].fault, "inject = yes\n");
	return ret;
}
