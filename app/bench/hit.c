/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A hit: tp_read() of 8 bytes of a page that is here, lease checked, against a
 * plain load of the same memory. Each load gives the address of the next, so
 * that what is measured is how long one takes, not how many overlap. The pages
 * hold two chains through the same lines in the same order: word 0 of a line is
 * the region offset of the next one, word 1 its offset in the slots.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_cycles.h>

#include "cluster.h"

#define HIT_SET_BYTES (64u << 20)
#define HIT_LINE 64u
#define HIT_LINES (HIT_SET_BYTES / HIT_LINE)
#define HIT_READS 256u			/* in one sample */
#define HIT_POLL_EVERY 256u		/* accesses between turns of the node */
#define HIT_HUGEPAGES 96u

struct hit_chain {
	uint64_t offset;		/* next line in the region */
	uint64_t slot_offset;		/* next line in the slots */
};

struct hit_bench {
	struct bench_node node;
	struct tp_thread *thread;
	struct tp_client_region *region;
	const uint8_t *slots;
	uint64_t offset;		/* where the chain by handle is */
	uint64_t slot_offset;		/* where the plain one is */
};

/* Where each page lies. 0, or -EIO. */
static int
hit_slots_find(struct hit_bench *hit, uint64_t *slot_offsets)
{
	struct tp_pin pin;

	for (uint32_t i = 0; i < HIT_SET_BYTES / BENCH_PAGE_BYTES; i++) {
		if (i % HIT_POLL_EVERY == 0)
			tp_node_poll(hit->node.node);
		if (!tp_result_is_ok(tp_pin(hit->thread, hit->region,
				(uint64_t)i * BENCH_PAGE_BYTES, 8, TP_ACCESS_WRITE, &pin)))
			return -EIO;
		slot_offsets[i] = (uint64_t)((uint8_t *)pin.address - hit->slots);
		tp_unpin(hit->thread, &pin);
	}
	return 0;
}

/* Write both chains: one ring through all lines, or, of one line, to itself. */
static int
hit_chains_write(struct hit_bench *hit, const uint32_t *order, uint32_t count,
		 const uint64_t *slot_offsets)
{
	uint64_t opposite;

	for (uint32_t i = 0; i < count; i++) {
		uint64_t at = (uint64_t)order[i] * HIT_LINE;
		uint64_t next = (uint64_t)order[(i + 1) % count] * HIT_LINE;
		struct hit_chain chain = {
			.offset = next,
			.slot_offset = slot_offsets[next / BENCH_PAGE_BYTES] +
				next % BENCH_PAGE_BYTES,
		};

		if (i % HIT_POLL_EVERY == 0)
			tp_node_poll(hit->node.node);
		if (!tp_result_is_ok(tp_write(hit->thread, hit->region, at, &chain,
					      sizeof(chain))))
			return -EIO;
	}
	hit->offset = (uint64_t)order[0] * HIT_LINE;
	/* Half a ring apart: neither finds in the cache what the other has just read. */
	opposite = (uint64_t)order[count / 2] * HIT_LINE;
	hit->slot_offset = slot_offsets[opposite / BENCH_PAGE_BYTES] +
		opposite % BENCH_PAGE_BYTES;
	return 0;
}

static int
hit_read(void *context, uint64_t *ticks)
{
	struct hit_bench *hit = context;
	uint64_t offset = hit->offset;
	struct tp_result result = tp_result_ok(0);
	uint64_t start;

	/* The node renews its lease between samples. */
	tp_node_poll(hit->node.node);
	start = rte_rdtsc_precise();
	for (unsigned int i = 0; i < HIT_READS && result.reason == TP_OK; i++)
		result = tp_read(hit->thread, hit->region, offset, &offset, sizeof(offset));
	*ticks = rte_rdtsc_precise() - start;
	hit->offset = offset;
	return result.reason == TP_OK ? 0 : -EIO;
}

static int
hit_plain(void *context, uint64_t *ticks)
{
	struct hit_bench *hit = context;
	uint64_t offset = hit->slot_offset;
	uint64_t start;

	tp_node_poll(hit->node.node);
	start = rte_rdtsc_precise();
	for (unsigned int i = 0; i < HIT_READS; i++)
		offset = *(const volatile uint64_t *)(hit->slots + offset + sizeof(uint64_t));
	*ticks = rte_rdtsc_precise() - start;
	hit->slot_offset = offset;
	return 0;
}

static int
hit_measure(struct bench *bench, struct hit_bench *hit, const char *name)
{
	const struct bench_plan plan = { .rounds = 200, .batch = 20, .warmup = 4 };
	const double scale = bench->ns_per_tick / HIT_READS;
	const struct tp_thread_stats *stats = tp_thread_stats_get(hit->thread);
	uint64_t misses = stats->misses;
	struct bench_op ops[] = {
		{ hit_read, NULL, NULL, hit, { 0 } },
		{ hit_plain, NULL, NULL, hit, { 0 } },
	};
	int ret;

	ret = bench_interleave(ops, RTE_DIM(ops), &plan);
	if (ret < 0)
		return ret;
	if (stats->misses != misses) {
		fprintf(stderr, "telepage-bench: %s: some reads were no hits\n", name);
		ret = -EIO;
	} else {
		bench_report(bench, &(struct bench_row){
			.name = name,
			.unit = "ns",
			.scale = scale,
			.samples = &ops[0].samples,
			.baseline_name = "plain_load",
			.baseline_scale = scale,
			.baseline = &ops[1].samples,
		});
	}
	for (unsigned int i = 0; i < RTE_DIM(ops); i++)
		bench_samples_fini(&ops[i].samples);
	return ret;
}

static int
hit_run(struct bench *bench, struct hit_bench *hit)
{
	uint64_t *slot_offsets = calloc(HIT_SET_BYTES / BENCH_PAGE_BYTES, sizeof(*slot_offsets));
	uint32_t *order = bench_order(HIT_LINES);
	int ret = slot_offsets == NULL || order == NULL ? -ENOMEM : 0;

	if (ret == 0)
		ret = hit_slots_find(hit, slot_offsets);
	if (ret == 0)
		ret = hit_chains_write(hit, order, 1, slot_offsets);
	if (ret == 0)
		ret = hit_measure(bench, hit, "client_hit_lat_hot");
	if (ret == 0)
		ret = hit_chains_write(hit, order, HIT_LINES, slot_offsets);
	if (ret == 0)
		ret = hit_measure(bench, hit, "client_hit_lat_64m");
	free(slot_offsets);
	free(order);
	return ret;
}

static int
hit_open(struct bench *bench, struct hit_bench *hit)
{
	const struct bench_node_config config = {
		.id = BENCH_NODE_HOME,
		.device = "net_null0",
		.home_mib = (HIT_SET_BYTES >> 20) + 1,
		.cache_mib = 8,
	};
	const uint16_t home = BENCH_NODE_HOME;
	const struct tp_client_region_config region = {
		.name = "bench",
		.bytes = HIT_SET_BYTES,
		.distribution = TP_REGION_HOME,
		.nodes = &home,
		.node_count = 1,
	};
	int ret;

	ret = bench_node_open(&hit->node, bench, &config);
	if (ret == 0)
		ret = bench_node_await(&hit->node);
	if (ret == 0)
		ret = bench_node_client_open(&hit->node);
	if (ret == 0)
		ret = tp_client_region_create(hit->node.client, &region, &hit->region);
	if (ret == 0)
		ret = tp_thread_register(hit->node.client, &hit->thread);
	hit->slots = hit->node.slot.slots;
	return ret;
}

int
bench_client_hit(struct bench *bench)
{
	/* A node needs a port; nobody is on this one. */
	static const char vdev[1][BENCH_VDEV_CHARS] = { "--vdev=net_null0,no-rx=1" };
	struct hit_bench hit = { 0 };
	int ret;

	bench_hugepages_reserve(bench, HIT_HUGEPAGES);
	ret = bench_eal_start(bench, 0, vdev, 1);
	if (ret == 0)
		ret = hit_open(bench, &hit);
	if (ret == 0)
		ret = hit_run(bench, &hit);
	bench_node_close(&hit.node);
	return ret;
}
