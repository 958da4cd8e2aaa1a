/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * bystander_lat: what the death of others costs a program that has nothing to do
 * with them. A client of node 1 reads pages of node 2, each a miss and then a
 * hit, while programs on node 1 are attached and killed, and while node 3 of the
 * same cluster is killed or stopped and comes back. Nodes 4 and 5 on the same
 * cores are a cluster of their own, to which the same is done in turn: that
 * costs processor time, too, and nothing else.
 *
 *	core of side 0: client, nodes 1 and 5; core of side 1: the others
 */
#include <errno.h>
#include <signal.h>
#include <time.h>

#include <rte_common.h>
#include <rte_cycles.h>
#include <rte_pause.h>

#include "disturb.h"

#define BYSTANDER_HUGEPAGES 400u
#define BYSTANDER_PAGES 256u
#define BYSTANDER_ROUNDS 4u
#define BYSTANDER_REST_S 4		/* until nodes forget that their cores were crowded */
#define BYSTANDER_SAMPLES (1u << 20)	/* of one kind, 10 s of them */
#define BYSTANDER_WAIT_NS UINT64_C(5000000000)
#define BYSTANDER_VICTIMS "victims"

enum bystander_node { NODE_HERE = 1, NODE_HOME, NODE_DIES, NODE_DIES_BESIDE, NODE_BESIDE };

/* Latencies of one kind of time. */
struct bystander_times {
	struct bench_samples miss;
	struct bench_samples hit;
};

struct bystander {
	struct bench *bench;
	struct bench_daemon here;
	struct bench_daemon home;
	struct bench_daemon beside;
	struct disturb_config config;
	struct disturb disturb;
	struct tp_client *client;
	struct tp_thread *thread;
	struct tp_client_region *region;
	uint64_t next;				/* page */
	struct bystander_times times[DISTURB_KIND_COUNT][2];
};

static int
bystander_void(const char *what, struct tp_result result)
{
	fprintf(stderr, "telepage-bench: %s: %s\n", what, tp_reason_name(result.reason));
	return -EIO;
}

static int
bystander_read(struct bystander *self, struct bench_samples *samples)
{
	uint64_t value, start = rte_rdtsc_precise();
	struct tp_result result = tp_read(self->thread, self->region,
		self->next * BENCH_PAGE_BYTES, &value, sizeof(value));
	uint64_t ticks = rte_rdtsc_precise() - start;

	if (!tp_result_is_ok(result))
		return bystander_void("a bystander's read", result);
	if (samples->count < samples->capacity)
		bench_samples_add(samples, ticks);
	return 0;
}

/* A miss and a hit. */
static int
bystander_once(struct bystander *self, struct bystander_times *times)
{
	struct tp_result result;
	int ret;

	if (self->next == BYSTANDER_PAGES) {
		self->next = 0;
		result = tp_clear(self->thread, self->region);
		if (!tp_result_is_ok(result))
			return bystander_void("clearing", result);
	}
	ret = bystander_read(self, &times->miss);
	if (ret == 0)
		ret = bystander_read(self, &times->hit);
	self->next++;
	return ret;
}

/* While others are disturbed once. */
static int
bystander_phase(struct bystander *self, enum disturb_kind kind, bool beside)
{
	int ret = 0, disturbed;

	disturb_begin(&self->disturb, kind, beside);
	while (ret == 0 && !disturb_is_over(&self->disturb))
		ret = bystander_once(self, &self->times[kind][beside]);
	disturbed = disturb_end(&self->disturb);
	return ret < 0 ? ret : disturbed;
}

static int
bystander_measure(struct bystander *self)
{
	const struct timespec rest = { .tv_sec = BYSTANDER_REST_S };
	int ret = 0;

	for (unsigned int round = 0; round < BYSTANDER_ROUNDS && ret == 0; round++) {
		nanosleep(&rest, NULL);
		ret = bystander_phase(self, DISTURB_NOTHING, false);
		for (int kind = DISTURB_CLIENTS; kind < DISTURB_KIND_COUNT && ret == 0; kind++) {
			ret = bystander_phase(self, (enum disturb_kind)kind, true);
			if (ret == 0)
				ret = bystander_phase(self, (enum disturb_kind)kind, false);
		}
	}
	return ret;
}

static void
bystander_row(struct bystander *self, const char *name, struct bench_samples *samples,
	      const char *baseline_name, struct bench_samples *baseline)
{
	bench_report(self->bench, &(struct bench_row){
		.name = name,
		.pmd = bench_pmd_name(self->bench->pmd),
		.unit = "ns",
		.scale = self->bench->ns_per_tick,
		.samples = samples,
		.baseline_name = baseline_name,
		.baseline_scale = self->bench->ns_per_tick,
		.baseline = baseline,
	});
}

/* Each kind against quiet times, and against the same beside this cluster. */
static void
bystander_report(struct bystander *self)
{
	static const char *const names[DISTURB_KIND_COUNT][4] = {
		[DISTURB_CLIENTS] = { "bystander_miss_clients", "bystander_miss_clients_net",
				      "bystander_hit_clients", "bystander_hit_clients_net" },
		[DISTURB_NODE_KILL] = { "bystander_miss_kill", "bystander_miss_kill_net",
					"bystander_hit_kill", "bystander_hit_kill_net" },
		[DISTURB_NODE_STOP] = { "bystander_miss_stop", "bystander_miss_stop_net",
					"bystander_hit_stop", "bystander_hit_stop_net" },
	};
	struct bystander_times *quiet = &self->times[DISTURB_NOTHING][0];

	for (int kind = DISTURB_CLIENTS; kind < DISTURB_KIND_COUNT; kind++) {
		struct bystander_times *here = &self->times[kind][0];
		struct bystander_times *beside = &self->times[kind][1];

		bystander_row(self, names[kind][0], &here->miss, "quiet", &quiet->miss);
		bystander_row(self, names[kind][1], &here->miss, "beside", &beside->miss);
		bystander_row(self, names[kind][2], &here->hit, "quiet", &quiet->hit);
		bystander_row(self, names[kind][3], &here->hit, "beside", &beside->hit);
	}
}

static int
bystander_samples_init(struct bystander *self)
{
	int ret = 0;

	for (int kind = DISTURB_NOTHING; kind < DISTURB_KIND_COUNT && ret == 0; kind++) {
		for (int beside = 0; beside < 2 && ret == 0; beside++) {
			struct bystander_times *times = &self->times[kind][beside];

			if (kind == DISTURB_NOTHING && beside)
				continue;
			ret = bench_samples_init(&times->miss, BYSTANDER_SAMPLES);
			if (ret == 0)
				ret = bench_samples_init(&times->hit, BYSTANDER_SAMPLES);
		}
	}
	return ret;
}

static void
bystander_samples_fini(struct bystander *self)
{
	for (int kind = 0; kind < DISTURB_KIND_COUNT; kind++) {
		for (int beside = 0; beside < 2; beside++) {
			bench_samples_fini(&self->times[kind][beside].miss);
			bench_samples_fini(&self->times[kind][beside].hit);
		}
	}
}

/* A region for the programs that are killed, at home where they attach. */
static int
bystander_victims_make(struct tp_client *client, uint16_t home)
{
	const struct tp_client_region_config config = {
		.name = BYSTANDER_VICTIMS,
		.bytes = 64 * BENCH_PAGE_BYTES,
		.distribution = TP_REGION_HOME,
		.nodes = &home,
		.node_count = 1,
	};
	struct tp_client_region *region;
	int ret = tp_client_region_create(client, &config, &region);

	if (ret == 0)
		tp_client_region_close(region);
	return ret;
}

/* memif: who comes and goes is the client, side 0. */
static int
bystander_nodes(struct bystander *self)
{
	static const struct bench_daemon_link here[] = { { 0, 1, NODE_HOME }, { 1, 1, NODE_DIES } };
	static const struct bench_daemon_link home[] = { { 0, 0, NODE_HERE }, { 2, 1, NODE_DIES } };
	static const struct bench_daemon_link dies[] = { { 1, 0, NODE_HERE }, { 2, 0, NODE_HOME } };
	static const struct bench_daemon_link beside[] = { { 3, 1, NODE_DIES_BESIDE } };
	static const struct bench_daemon_link dies_beside[] = { { 3, 0, NODE_BESIDE } };
	const struct bench_daemon_config configs[] = {
		{ .id = NODE_HERE, .core = 0, .links = here, .link_count = RTE_DIM(here) },
		{ .id = NODE_HOME, .core = 1, .links = home, .link_count = RTE_DIM(home) },
		{ .id = NODE_BESIDE, .core = 0, .links = beside, .link_count = RTE_DIM(beside),
		  .cluster = "beside" },
	};
	int ret;

	self->config.victim[0] = (struct bench_daemon_config){
		.id = NODE_DIES, .core = 1, .links = dies, .link_count = RTE_DIM(dies),
	};
	self->config.victim[1] = (struct bench_daemon_config){
		.id = NODE_DIES_BESIDE, .core = 1, .links = dies_beside,
		.link_count = RTE_DIM(dies_beside), .cluster = "beside",
	};
	ret = bench_daemon_launch(&self->here, self->bench, &configs[0]);
	if (ret == 0)
		ret = bench_daemon_launch(&self->home, self->bench, &configs[1]);
	if (ret == 0)
		ret = bench_daemon_launch(&self->beside, self->bench, &configs[2]);
	self->config.socket[0] = self->here.socket;
	self->config.socket[1] = self->beside.socket;
	self->config.region = BYSTANDER_VICTIMS;
	if (ret == 0)
		ret = disturb_open(&self->disturb, self->bench, &self->config);
	if (ret == 0)
		ret = bench_peer_await(&self->disturb.peer);
	return ret;
}

/* The nodes that will die, and the region of the programs that will. */
static int
bystander_victims(struct bystander *self)
{
	uint32_t epoch = 0, epoch_beside = 0;
	struct tp_client *beside;
	int ret;

	disturb_begin(&self->disturb, DISTURB_START, false);
	while (!disturb_is_over(&self->disturb))
		rte_pause();
	ret = disturb_end(&self->disturb);
	if (ret == 0)
		ret = bench_daemon_reach(self->client, NODE_DIES, &epoch);
	if (ret == 0)
		ret = bystander_victims_make(self->client, NODE_HERE);
	if (ret == 0)
		ret = bench_daemon_attach(&self->beside, &beside);
	if (ret < 0)
		return ret;
	ret = bench_daemon_reach(beside, NODE_DIES_BESIDE, &epoch_beside);
	if (ret == 0)
		ret = bystander_victims_make(beside, NODE_BESIDE);
	tp_client_detach(beside);
	return ret;
}

static int
bystander_fill(struct bystander *self)
{
	struct tp_result result = tp_result_ok(0);

	for (uint64_t page = 0; page < BYSTANDER_PAGES && tp_result_is_ok(result); page++)
		result = tp_write(self->thread, self->region, page * BENCH_PAGE_BYTES, &page,
				  sizeof(page));
	if (tp_result_is_ok(result))
		result = tp_clear(self->thread, self->region);
	return tp_result_is_ok(result) ? 0 : bystander_void("filling", result);
}

static int
bystander_open(struct bystander *self)
{
	const uint16_t home = NODE_HOME;
	const struct tp_client_region_config config = {
		.name = "bench",
		.bytes = BYSTANDER_PAGES * BENCH_PAGE_BYTES,
		.distribution = TP_REGION_HOME,
		.nodes = &home,
		.node_count = 1,
	};
	uint32_t epoch = 0;
	int ret;

	ret = bystander_nodes(self);
	if (ret == 0)
		ret = bench_daemon_attach(&self->here, &self->client);
	if (ret == 0)
		ret = bench_daemon_reach(self->client, NODE_HOME, &epoch);
	if (ret == 0)
		ret = tp_client_region_create(self->client, &config, &self->region);
	if (ret == 0)
		ret = tp_thread_register(self->client, &self->thread);
	if (ret == 0)
		ret = bystander_victims(self);
	if (ret < 0)
		return ret;
	tp_thread_timeout_set(self->thread, BYSTANDER_WAIT_NS);
	return bystander_fill(self);
}

int
bench_bystander(struct bench *bench)
{
	struct bystander self = { .bench = bench };
	int ret;

	if (bench->pmd == BENCH_PMD_TAP) {
		fprintf(stderr, "telepage-bench: bystander_lat: a tap device goes with its node\n");
		return -ENOTSUP;
	}
	bench_hugepages_reserve(bench, BYSTANDER_HUGEPAGES);
	ret = bystander_samples_init(&self);
	if (ret == 0)
		ret = bench_link_prepare(bench, 4);
	if (ret == 0)
		ret = bench_pin(bench, 0);
	if (ret == 0)
		ret = bystander_open(&self);
	if (ret == 0)
		ret = bystander_measure(&self);
	if (ret == 0)
		bystander_report(&self);
	disturb_close(&self.disturb);
	tp_client_detach(self.client);
	bench_daemon_end(&self.beside, SIGTERM);
	bench_daemon_end(&self.home, SIGTERM);
	bench_daemon_end(&self.here, SIGTERM);
	bystander_samples_fini(&self);
	return ret;
}
