/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What miss.h describes: pair 0 of the ports joins the nodes, pair 1 is raw.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <rte_ethdev.h>

#include "flood.h"
#include "miss.h"

#define MISS_SET_BYTES BENCH_RAW_SET_BYTES
#define MISS_NODE_PAIR 0
#define MISS_RAW_PAIR 1
#define MISS_FLOOD_FROM "tpb0.1"		/* devices of pair 0 */
#define MISS_FLOOD_TO "tpb0.0"
#define MISS_TIMEOUT_NS UINT64_C(30000000000)
#define MISS_OP_NS UINT64_C(1000000000)
#define MISS_REACH_TRIES 5000u		/* a millisecond apart */
#define MISS_EAL_HUGEPAGES 96u		/* heap of an EAL: buffers of two ports */

/* Name of the port on a pair of links, as EAL knows it. */
static const char *
miss_device(const struct bench *bench, unsigned int pair)
{
	static const char * const names[BENCH_PMD_COUNT][2] = {
		[BENCH_PMD_MEMIF] = { "net_memif0", "net_memif1" },
		[BENCH_PMD_AF_PACKET] = { "net_af_packet0", "net_af_packet1" },
		[BENCH_PMD_AF_XDP] = { "net_af_xdp0", "net_af_xdp1" },
		[BENCH_PMD_TAP] = { "net_tap0", "net_tap1" },
	};

	return names[bench->pmd][pair];
}

static int
miss_raw_open(struct miss_bench *miss, struct bench_raw *raw, struct bench_peer *peer)
{
	uint16_t port;

	if (rte_eth_dev_get_port_by_name(miss_device(miss->bench, MISS_RAW_PAIR), &port) < 0)
		return -ENODEV;
	return bench_raw_open(raw, miss->bench, port, peer);
}

/* The other core: home of all pages, and the raw answerer. */
static int
miss_home_main(struct bench *bench, struct bench_control *control, void *context)
{
	struct miss_bench *miss = context;
	const struct bench_node_config config = {
		.id = BENCH_NODE_HOME,
		.device = miss_device(bench, MISS_NODE_PAIR),
		.home_mib = (MISS_SET_BYTES >> 20) + 1,
		.cache_mib = 8,
	};
	char vdevs[2][BENCH_VDEV_CHARS];
	struct bench_node node = { 0 };
	struct flood flood = { .fd = -1 };
	struct bench_raw raw;
	int ret;

	bench_link_vdev(bench, MISS_NODE_PAIR, 1, vdevs[0]);
	bench_link_vdev(bench, MISS_RAW_PAIR, 1, vdevs[1]);
	ret = bench_eal_start(bench, 1, (const char (*)[BENCH_VDEV_CHARS])vdevs, 2);
	if (ret == 0)
		ret = miss_raw_open(miss, &raw, NULL);
	if (ret == 0)
		ret = bench_node_open(&node, bench, &config);
	if (ret == 0)
		ret = bench_node_await(&node);
	if (ret == 0 && miss->floods)
		ret = flood_open(&flood, MISS_FLOOD_FROM, MISS_FLOOD_TO,
			bench_node_ip(BENCH_NODE_ASKER));
	if (ret < 0)
		return ret;
	bench_raw_pages_mark(&raw);
	bench_peer_ready(control);
	while (bench_peer_may_run(control)) {
		if (atomic_load_explicit(&miss->shared->raw, memory_order_relaxed)) {
			bench_raw_answer(&raw);
			continue;
		}
		tp_node_poll(node.node);
		if (atomic_load_explicit(&miss->shared->flood, memory_order_relaxed)) {
			flood_burst(&flood);
			/* For people only. */
			atomic_store_explicit(&miss->shared->flooded, flood.sent,
				memory_order_relaxed);
		}
	}
	return 0;
}

static struct bench_node_config
miss_asker_config(const struct miss_bench *miss, bool attach)
{
	return (struct bench_node_config){
		.id = BENCH_NODE_ASKER,
		.device = miss_device(miss->bench, MISS_NODE_PAIR),
		.home_mib = 1,
		.cache_mib = miss->cache_mib,
		.attach = attach,
	};
}

/* The asking node by itself, as telepaged runs it. */
static int
miss_asker_main(struct bench *bench, struct bench_control *control, void *context)
{
	struct miss_bench *miss = context;
	const struct bench_node_config config = miss_asker_config(miss, true);
	char vdevs[1][BENCH_VDEV_CHARS];
	struct bench_node node = { 0 };
	int ret;

	bench_link_vdev(bench, MISS_NODE_PAIR, 0, vdevs[0]);
	ret = bench_eal_start(bench, 0, (const char (*)[BENCH_VDEV_CHARS])vdevs, 1);
	if (ret == 0)
		ret = bench_node_open(&node, bench, &config);
	if (ret == 0)
		ret = bench_node_await(&node);
	if (ret < 0)
		return ret;
	bench_peer_ready(control);
	while (bench_peer_may_run(control))
		tp_node_run(node.node, &miss->shared->node_stop);
	return 0;
}

void
miss_resume(void *context)
{
	struct miss_bench *miss = context;

	/* published to the peer by the release of its command word */
	atomic_store_explicit(&miss->shared->raw, false, memory_order_relaxed);
	bench_peer_resume(&miss->home);
	miss->shared->node_stop = 0;
	if (miss->asker.pid != 0)
		bench_peer_resume(&miss->asker);
}

void
miss_pause(void *context)
{
	struct miss_bench *miss = context;

	miss->shared->node_stop = 1;
	if (miss->asker.pid != 0)
		bench_peer_pause(&miss->asker);
	bench_peer_pause(&miss->home);
	atomic_store_explicit(&miss->shared->raw, true, memory_order_relaxed);
}

/* An ordinary process, whatever this one was made. */
static int
miss_neighbour_main(struct bench *bench, struct bench_control *control, void *context)
{
	const struct sched_param none = { .sched_priority = 0 };
	volatile uint64_t sum = 0;

	if (sched_setscheduler(0, SCHED_OTHER, &none) < 0)
		return -errno;
	bench_peer_ready(control);
	while (bench_peer_may_run(control))
		for (unsigned int i = 0; i < 1000; i++)
			sum += i;
	return 0;
}

int
miss_neighbour_start(struct miss_bench *miss)
{
	int ret = bench_peer_start(&miss->neighbour, miss->bench, 0, miss_neighbour_main, miss);

	return ret == 0 ? bench_peer_await(&miss->neighbour) : ret;
}

void
miss_crowd_resume(void *context)
{
	struct miss_bench *miss = context;

	miss_resume(miss);
	bench_peer_resume(&miss->neighbour);
}

void
miss_crowd_pause(void *context)
{
	struct miss_bench *miss = context;

	bench_peer_pause(&miss->neighbour);
	miss_pause(miss);
}

static int
miss_attach(struct miss_bench *miss)
{
	char path[108];
	const struct tp_client_config config = { .socket_path = path };

	bench_node_socket_path(miss->bench, BENCH_NODE_ASKER, path, sizeof(path));
	return tp_client_attach(&config, &miss->client);
}

static int
miss_embed(struct miss_bench *miss)
{
	const struct bench_node_config config = miss_asker_config(miss, false);
	int ret;

	ret = bench_node_open(&miss->node, miss->bench, &config);
	if (ret == 0)
		ret = bench_node_await(&miss->node);
	if (ret == 0)
		ret = bench_node_client_open(&miss->node);
	miss->client = miss->node.client;
	return ret;
}

static int
miss_processes_start(struct miss_bench *miss, bool attached)
{
	struct bench *bench = miss->bench;
	char vdevs[2][BENCH_VDEV_CHARS];
	unsigned int count = 0;
	int ret;

	miss->shared = mmap(NULL, sizeof(*miss->shared), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (miss->shared == MAP_FAILED)
		return -errno;
	ret = bench_peer_start(&miss->home, bench, 1, miss_home_main, miss);
	if (ret == 0)
		ret = bench_peer_await(&miss->home);
	if (ret < 0)
		return ret;
	/* Members hear of each other only while they run. */
	miss_resume(miss);
	if (attached)
		ret = bench_peer_start(&miss->asker, bench, 0, miss_asker_main, miss);
	if (ret == 0 && attached)
		ret = bench_peer_await(&miss->asker);
	if (ret < 0)
		return ret;
	miss_resume(miss);
	bench_link_vdev(bench, MISS_RAW_PAIR, 0, vdevs[count++]);
	if (!attached)
		bench_link_vdev(bench, MISS_NODE_PAIR, 0, vdevs[count++]);
	ret = bench_eal_start(bench, 0, (const char (*)[BENCH_VDEV_CHARS])vdevs, count);
	if (ret == 0)
		ret = miss_raw_open(miss, &miss->raw, &miss->home);
	if (ret == 0)
		ret = bench_link_join(bench, MISS_RAW_PAIR);
	return ret == 0 ? bench_raw_await(&miss->raw) : ret;
}

/* A write; a home of which nobody has heard yet is waited for. */
static int
miss_page_write(struct miss_bench *miss, uint64_t page)
{
	const struct timespec step = { .tv_nsec = 1000 * 1000 };
	struct tp_result result;

	for (unsigned int i = 0; i < MISS_REACH_TRIES; i++) {
		result = tp_write(miss->thread, miss->region, page * BENCH_PAGE_BYTES, &page,
				  sizeof(page));
		if (result.reason != TP_UNREACHABLE)
			break;
		if (miss->node.node != NULL)
			tp_node_poll(miss->node.node);
		nanosleep(&step, NULL);
	}
	if (tp_result_is_ok(result))
		return 0;
	fprintf(stderr, "telepage-bench: write of page %lu: %s\n", page,
		tp_reason_name(result.reason));
	return -EIO;
}

/* Every page holds its number, at the home alone. */
static int
miss_region_fill(struct miss_bench *miss)
{
	const uint16_t home = BENCH_NODE_HOME;
	const struct tp_client_region_config config = {
		.name = "bench",
		.bytes = MISS_SET_BYTES,
		.distribution = TP_REGION_HOME,
		.nodes = &home,
		.node_count = 1,
	};
	int ret;

	ret = tp_client_region_create(miss->client, &config, &miss->region);
	if (ret == 0)
		ret = tp_thread_register(miss->client, &miss->thread);
	for (uint64_t i = 0; i < miss->page_count && ret == 0; i++)
		ret = miss_page_write(miss, i);
	return ret == 0 ? miss_bench_clear(miss) : ret;
}

int
miss_bench_clear(struct miss_bench *miss)
{
	struct tp_result result;

	tp_thread_timeout_set(miss->thread, MISS_TIMEOUT_NS);
	result = tp_clear(miss->thread, miss->region);
	tp_thread_timeout_set(miss->thread, MISS_OP_NS);
	if (tp_result_is_ok(result))
		return 0;
	fprintf(stderr, "telepage-bench: clearing: %s\n", tp_reason_name(result.reason));
	return -EIO;
}

int
miss_bench_init(struct miss_bench *miss, struct bench *bench, bool attached, uint32_t cache_mib)
{
	const bool floods = miss->floods;
	int ret;

	*miss = (struct miss_bench){
		.bench = bench,
		.floods = floods,
		.page_count = MISS_SET_BYTES / BENCH_PAGE_BYTES,
		.cache_mib = cache_mib,
	};
	miss->order = bench_order(miss->page_count);
	miss->adds = calloc(miss->page_count, sizeof(*miss->adds));
	if (miss->order == NULL || miss->adds == NULL)
		return -ENOMEM;
	bench_hugepages_reserve(bench, 4 * (MISS_SET_BYTES >> 21) + 3 * MISS_EAL_HUGEPAGES);
	ret = bench_link_prepare(bench, 2);
	if (ret == 0)
		ret = miss_processes_start(miss, attached);
	if (ret == 0)
		ret = attached ? miss_attach(miss) : miss_embed(miss);
	if (ret == 0)
		ret = bench_link_join(bench, MISS_NODE_PAIR);
	if (ret == 0)
		ret = miss_region_fill(miss);
	return ret;
}

void
miss_bench_fini(struct miss_bench *miss)
{
	if (miss->asker.pid != 0) {
		tp_client_detach(miss->client);
		miss->shared->node_stop = 1;
	}
	if (miss->node.node != NULL)
		miss_resume(miss);
	bench_peer_stop(&miss->neighbour);
	bench_node_close(&miss->node);
	bench_peer_stop(&miss->asker);
	bench_peer_stop(&miss->home);
	free(miss->order);
	free(miss->adds);
}
