/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What choosing a codec per page is worth between two nodes whose link is really
 * shaped to 1 Gbit/s (tbf on both ends of a veth): pages of real files read through
 * by a node that does not hold them, then again after the home changed one line in
 * twenty. Nodes are started anew for each fixed codec and for the chooser.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <rte_common.h>
#include <rte_cycles.h>

#include "bench.h"
#include "cluster.h"
#include "codec_pages.h"
#include "tp_access.h"
#include "tp_codec.h"

#define LINK_MBIT 1000u
#define LINK_PAGES 1024u			/* of a set, 4 MiB */
#define LINK_SET_BYTES ((size_t)LINK_PAGES * BENCH_PAGE_BYTES)
#define LINK_READ_BYTES (256u * 1024)
#define LINK_PASSES 5u
#define LINK_ROUNDS 3u				/* of nodes */
#define LINK_CHANGE_STRIDE (20u * 64)		/* bytes from one changed line to the next */
#define LINK_REACH_TRIES 5000u
#define LINK_WAIT_NS UINT64_C(60000000000)

enum link_phase { LINK_COLD, LINK_CHANGED, LINK_PHASES };

/* 1 + codec, as nodes are told; 0, the chooser, last. */
static const uint8_t choices[] = {
	1 + TP_CODEC_RAW, 1 + TP_CODEC_ZERO, 1 + TP_CODEC_LZ4, 1 + TP_CODEC_DELTA,
	1 + TP_CODEC_DELTA_LZ4, 1 + TP_CODEC_DEFLATE, 0,
};
#define LINK_CHOICES RTE_DIM(choices)
#define LINK_CHOOSER (LINK_CHOICES - 1)

/* Between the processes. */
struct link_shared {
	_Atomic uint32_t wanted;		/* number of the change that the home is to make */
	_Atomic uint32_t made;
	_Atomic uint32_t finished;
	_Atomic int error;
	uint64_t ticks[CODEC_PAGES_SETS][LINK_PHASES][LINK_PASSES];
};

struct link_bench {
	struct bench *bench;
	struct link_shared *shared;
	uint8_t *pages;				/* as both have them: shape [sets][LINK_SET_BYTES] */
	uint8_t codec_only;
	char region[TP_REGION_NAME_BYTES];
	struct bench_samples samples[LINK_CHOICES][CODEC_PAGES_SETS][LINK_PHASES];
};

/* The changes of a set's pass: the same on both sides. */
static void
link_change(uint8_t *pages, uint32_t number)
{
	for (size_t at = number % 8 * 8; at < LINK_SET_BYTES; at += LINK_CHANGE_STRIDE) {
		uint64_t word = (at + number) * UINT64_C(0x9E3779B97F4A7C15);

		memcpy(pages + at, &word, sizeof(word));
	}
}

static int
link_node_start(struct link_bench *lb, struct bench_node *node, unsigned int side, uint16_t id)
{
	const struct bench_node_config config = {
		.id = id,
		.device = "net_af_packet0",
		.home_mib = id == BENCH_NODE_HOME ? CODEC_PAGES_SETS * (LINK_SET_BYTES >> 20) + 1 : 1,
		.cache_mib = CODEC_PAGES_SETS * (LINK_SET_BYTES >> 20) + 2,
		.link_mbit = LINK_MBIT,
		/* They are in sets of four: so much that all pages have room. */
		.codec_base_mib = 64,
		.codec_only = lb->codec_only,
	};
	char vdevs[1][BENCH_VDEV_CHARS];
	int ret;

	bench_link_vdev(lb->bench, 0, side, vdevs[0]);
	/* The driver goes past the queue that shapes the link by default. */
	strncat(vdevs[0], ",qdisc_bypass=0", sizeof(vdevs[0]) - strlen(vdevs[0]) - 1);
	ret = bench_eal_start(lb->bench, side, (const char (*)[BENCH_VDEV_CHARS])vdevs, 1);
	if (ret == 0)
		ret = bench_node_open(node, lb->bench, &config);
	if (ret == 0)
		ret = bench_node_await(node);
	return ret == 0 ? bench_node_client_open(node) : ret;
}

/* A set as it is now, into its place of the region. */
static int
link_set_write(struct link_bench *lb, struct tp_thread *thread, struct tp_client_region *region,
	       uint32_t set)
{
	const uint8_t *pages = lb->pages + set * LINK_SET_BYTES;

	for (size_t at = 0; at < LINK_SET_BYTES; at += BENCH_PAGE_BYTES) {
		if (!tp_result_is_ok(tp_write(thread, region, set * LINK_SET_BYTES + at, pages + at,
				BENCH_PAGE_BYTES)))
			return -EIO;
	}
	return 0;
}

/* Change 1 to the number of sets: a set is written; later ones: one of them is changed. */
static int
link_home_make(struct link_bench *lb, struct bench_node *node, struct tp_thread **thread,
	       struct tp_client_region **region, uint32_t number)
{
	uint32_t set = (number - 1) % CODEC_PAGES_SETS;
	int ret = 0;

	if (*region == NULL)
		ret = tp_client_region_open(node->client, lb->region, region);
	if (ret == 0 && *thread == NULL)
		ret = tp_thread_register(node->client, thread);
	if (ret < 0)
		return ret;
	if (number > CODEC_PAGES_SETS)
		link_change(lb->pages + set * LINK_SET_BYTES, number);
	return link_set_write(lb, *thread, *region, set);
}

static int
link_home_main(struct bench *bench, struct bench_control *control, void *context)
{
	struct link_bench *lb = context;
	struct bench_node node = { 0 };
	struct tp_thread *thread = NULL;
	struct tp_client_region *region = NULL;
	uint32_t made = 0;
	int ret = link_node_start(lb, &node, 1, BENCH_NODE_HOME);

	if (ret < 0)
		return ret;
	bench_peer_ready(control);
	while (bench_peer_may_run(control)) {
		tp_node_poll(node.node);
		if (atomic_load_explicit(&lb->shared->wanted, memory_order_acquire) == made)
			continue;
		ret = link_home_make(lb, &node, &thread, &region, ++made);
		if (ret < 0)
			atomic_store(&lb->shared->error, ret);
		atomic_store_explicit(&lb->shared->made, made, memory_order_release);
	}
	bench_node_close(&node);
	return 0;
}

/* The home's next change; this node serves meanwhile. */
static int
link_home_ask(struct link_bench *lb, struct bench_node *node, uint32_t number)
{
	uint64_t until = tp_node_now(node->node) + LINK_WAIT_NS;

	atomic_store_explicit(&lb->shared->wanted, number, memory_order_release);
	while (atomic_load_explicit(&lb->shared->made, memory_order_acquire) != number) {
		tp_node_poll(node->node);
		if (tp_node_now(node->node) > until)
			return -ETIMEDOUT;
	}
	if (number > CODEC_PAGES_SETS)
		link_change(lb->pages + (number - 1) % CODEC_PAGES_SETS * LINK_SET_BYTES, number);
	return atomic_load(&lb->shared->error);
}

/* A set once through; it must be what it should be. */
static int
link_read(struct link_bench *lb, struct tp_thread *thread, struct tp_client_region *region,
	  uint32_t set, uint8_t *buffer, uint64_t *ticks)
{
	uint64_t start = rte_rdtsc_precise();

	for (size_t at = 0; at < LINK_SET_BYTES; at += LINK_READ_BYTES) {
		if (!tp_result_is_ok(tp_read(thread, region, set * LINK_SET_BYTES + at, buffer + at,
				LINK_READ_BYTES)))
			return -EIO;
	}
	start = rte_rdtsc_precise() - start;
	if (memcmp(buffer, lb->pages + set * LINK_SET_BYTES, LINK_SET_BYTES) != 0) {
		fprintf(stderr, "telepage-bench: %s is not what was written\n",
			codec_pages_name(set));
		return -EIO;
	}
	*ticks = start;
	return 0;
}

static int
link_passes(struct link_bench *lb, struct bench_node *node, struct tp_thread *thread,
	    struct tp_client_region *region, uint8_t *buffer)
{
	uint32_t number = 0;
	int ret = 0;

	while (ret == 0 && number < CODEC_PAGES_SETS)
		ret = link_home_ask(lb, node, ++number);
	for (unsigned int pass = 0; pass < LINK_PASSES && ret == 0; pass++) {
		/* Later the nodes remember what they sent and got. */
		for (uint32_t set = 0; set < CODEC_PAGES_SETS && pass == 0 && ret == 0; set++)
			ret = link_read(lb, thread, region, set, buffer,
				&lb->shared->ticks[set][LINK_COLD][pass]);
		for (uint32_t set = 0; set < CODEC_PAGES_SETS && ret == 0; set++) {
			ret = link_home_ask(lb, node, ++number);
			if (ret == 0)
				ret = link_read(lb, thread, region, set, buffer,
					&lb->shared->ticks[set][LINK_CHANGED][pass]);
		}
	}
	return ret;
}

static int
link_region_make(struct link_bench *lb, struct bench_node *node, struct tp_thread **thread,
		 struct tp_client_region **region)
{
	const uint16_t home = BENCH_NODE_HOME;
	const struct tp_client_region_config config = {
		.name = lb->region,
		.bytes = CODEC_PAGES_SETS * LINK_SET_BYTES,
		.distribution = TP_REGION_HOME,
		.nodes = &home,
		.node_count = 1,
	};
	const struct timespec step = { .tv_nsec = 1000 * 1000 };
	struct tp_result result = { 0 };
	uint64_t word = 0;
	int ret = tp_client_region_create(node->client, &config, region);

	if (ret == 0)
		ret = tp_thread_register(node->client, thread);
	if (ret < 0)
		return ret;
	/* A home of which nobody has heard yet is waited for. */
	for (unsigned int i = 0; i < LINK_REACH_TRIES; i++) {
		result = tp_write(*thread, *region, 0, &word, sizeof(word));
		if (result.reason != TP_UNREACHABLE)
			break;
		tp_node_poll(node->node);
		nanosleep(&step, NULL);
	}
	tp_thread_timeout_set(*thread, LINK_WAIT_NS);
	return tp_result_is_ok(result) ? 0 : -EHOSTUNREACH;
}

static int
link_asker_main(struct bench *bench, struct bench_control *control, void *context)
{
	struct link_bench *lb = context;
	struct bench_node node = { 0 };
	struct tp_thread *thread = NULL;
	struct tp_client_region *region = NULL;
	uint8_t *buffer = bench_memory(bench, LINK_SET_BYTES);
	int ret = buffer == NULL ? -ENOMEM : link_node_start(lb, &node, 0, BENCH_NODE_ASKER);

	if (ret < 0)
		return ret;
	bench_peer_ready(control);
	ret = link_region_make(lb, &node, &thread, &region);
	if (ret == 0)
		ret = link_passes(lb, &node, thread, region, buffer);
	if (ret < 0)
		atomic_store(&lb->shared->error, ret);
	/* After the error: who sees it looks for one. */
	atomic_store(&lb->shared->finished, 1);
	while (bench_peer_may_run(control))
		tp_node_poll(node.node);
	bench_node_close(&node);
	return ret;
}

/* Both nodes' lives with one choice. */
static int
link_run(struct link_bench *lb, unsigned int choice, unsigned int round)
{
	const struct timespec step = { .tv_nsec = 10 * 1000 * 1000 };
	struct bench_peer home = { 0 }, asker = { 0 };
	int ret;

	memset(lb->shared, 0, sizeof(*lb->shared));
	lb->codec_only = choices[choice];
	snprintf(lb->region, sizeof(lb->region), "codec%u.%u", round, choice);
	ret = bench_peer_start(&home, lb->bench, 1, link_home_main, lb);
	if (ret == 0)
		ret = bench_peer_await(&home);
	if (ret == 0)
		bench_peer_resume(&home);
	if (ret == 0)
		ret = bench_peer_start(&asker, lb->bench, 0, link_asker_main, lb);
	if (ret == 0)
		ret = bench_peer_await(&asker);
	if (ret == 0)
		bench_peer_resume(&asker);
	for (uint64_t i = 0; ret == 0 && !atomic_load(&lb->shared->finished); i++) {
		nanosleep(&step, NULL);
		if (i > LINK_WAIT_NS / 10000000)
			ret = -ETIMEDOUT;
	}
	if (ret == 0)
		ret = atomic_load(&lb->shared->error);
	bench_peer_stop(&asker);
	bench_peer_stop(&home);
	for (unsigned int i = 0; ret == 0 && i < CODEC_PAGES_SETS * LINK_PHASES * LINK_PASSES; i++) {
		uint64_t ticks = (&lb->shared->ticks[0][0][0])[i];

		if (ticks == 0)
			continue;
		bench_samples_add(&lb->samples[choice][i / LINK_PASSES / LINK_PHASES]
			[i / LINK_PASSES % LINK_PHASES], ticks / LINK_PAGES);
	}
	return ret;
}

static void
link_report(struct link_bench *lb, unsigned int set, unsigned int phase)
{
	char name[64];
	unsigned int best = 0;

	for (unsigned int c = 0; c < LINK_CHOICES; c++) {
		snprintf(name, sizeof(name), "codec_link_%s%s_%s", codec_pages_name(set),
			 phase == LINK_CHANGED ? "_changed" : "",
			 c == LINK_CHOOSER ? "chosen" : tp_codec_name(choices[c] - 1u));
		if (c != LINK_CHOOSER)
			bench_report(lb->bench, &(struct bench_row){
				.name = name,
				.pmd = bench_pmd_name(lb->bench->pmd),
				.unit = "ns",
				.scale = lb->bench->ns_per_tick,
				.samples = &lb->samples[c][set][phase],
			});
		if (c != LINK_CHOOSER && bench_samples_quantile(&lb->samples[c][set][phase], 0.5) <
		    bench_samples_quantile(&lb->samples[best][set][phase], 0.5))
			best = c;
	}
	snprintf(name, sizeof(name), "codec_adaptive_gain_link_%s%s", codec_pages_name(set),
		 phase == LINK_CHANGED ? "_changed" : "");
	bench_report(lb->bench, &(struct bench_row){
		.name = name,
		.pmd = bench_pmd_name(lb->bench->pmd),
		.unit = "ns",
		.scale = lb->bench->ns_per_tick,
		.samples = &lb->samples[LINK_CHOOSER][set][phase],
		.baseline_name = tp_codec_name(choices[best] - 1u),
		.baseline_scale = lb->bench->ns_per_tick,
		.baseline = &lb->samples[best][set][phase],
	});
}

static int
link_measure(struct link_bench *lb)
{
	int ret = 0;

	for (unsigned int round = 0; round < (lb->bench->quick ? 1 : LINK_ROUNDS) && ret == 0;
	     round++)
		for (unsigned int c = 0; c < LINK_CHOICES && ret == 0; c++)
			ret = link_run(lb, c, round);
	for (unsigned int set = 0; set < CODEC_PAGES_SETS && ret == 0; set++)
		for (unsigned int phase = 0; phase < LINK_PHASES; phase++)
			link_report(lb, set, phase);
	return ret;
}

int
bench_codec_link_gain(struct bench *bench)
{
	static struct link_bench lb;
	int ret = 0;

	lb.bench = bench;
	if (bench->pmd != BENCH_PMD_AF_PACKET || bench->netns[0] != NULL) {
		fprintf(stderr, "telepage-bench: codec_link_gain shapes devices of its own: it needs "
			"--pmd af_packet, without --netns\n");
		return -ENOTSUP;
	}
	bench_hugepages_reserve(bench, 160);
	lb.pages = bench_memory(bench, CODEC_PAGES_SETS * LINK_SET_BYTES);
	lb.shared = mmap(NULL, sizeof(*lb.shared), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (lb.pages == NULL || lb.shared == MAP_FAILED)
		return -ENOMEM;
	for (unsigned int i = 0; i < CODEC_PAGES_SETS && ret == 0; i++)
		ret = codec_pages_fill(bench, i, lb.pages + i * LINK_SET_BYTES, LINK_PAGES);
	for (unsigned int i = 0; i < LINK_CHOICES * CODEC_PAGES_SETS * LINK_PHASES && ret == 0; i++)
		ret = bench_samples_init(&lb.samples[0][0][0] + i, LINK_PASSES * LINK_ROUNDS);
	if (ret == 0)
		ret = bench_link_prepare(bench, 1);
	if (ret == 0)
		ret = bench_link_shape(bench, 0, LINK_MBIT);
	if (ret == 0)
		ret = link_measure(&lb);
	for (unsigned int i = 0; i < LINK_CHOICES * CODEC_PAGES_SETS * LINK_PHASES; i++)
		bench_samples_fini(&lb.samples[0][0][0] + i);
	return ret;
}
