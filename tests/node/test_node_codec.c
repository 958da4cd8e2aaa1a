/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Contents of pages between nodes on slow links: encoded and whole; as they are
 * on fast ones; and what a peer may send instead is refused.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cluster.h"
#include "worker_priv.h"

#define PAGE 4096u
#define PAGES 48u
#define SLOW_NS_PER_KIB 8192u
/* Encoding half a page takes as long here as it saves, by the costs of cluster.h. */
#define EVEN_NS_PER_KIB 300u

static const uint16_t one_each[2] = { 1, 1 };
static const uint16_t two_each[2] = { 2, 2 };

static struct cluster *
cluster_make(const uint16_t workers[2], uint32_t cache_slots, uint32_t link_ns_per_kib,
	uint32_t base_slots)
{
	struct cluster *cluster = calloc(1, sizeof(*cluster));

	assert_non_null(cluster);
	cluster->cache_slots = cache_slots;
	cluster->link_ns_per_kib = link_ns_per_kib;
	cluster->base_slots = base_slots;
	return cluster_begin(cluster, workers);
}

/* Sum of a counter over all workers. */
static uint64_t
stat_sum(struct cluster *cluster, size_t offset)
{
	uint64_t sum = 0;

	for (uint16_t id = 1; id <= CLUSTER_NODES; id++)
		for (uint16_t w = 0; w < cluster->nodes[id].workers; w++)
			sum += *(const uint64_t *)((const uint8_t *)tp_worker_stats_get(
				tp_control_worker(cluster->nodes[id].control, w)) + offset);
	return sum;
}

#define STAT_SUM(cluster, name) stat_sum(cluster, offsetof(struct tp_worker_stats, name))

/* A third text, a third zeros but for a word, a third noise. */
static void
page_fill(uint8_t *page, uint32_t index, uint64_t round)
{
	uint64_t random = (index + 1) * UINT64_C(0x9e3779b97f4a7c15) + round;

	memset(page, 0, PAGE);
	memcpy(page + 8 * index, &random, sizeof(random));
	for (uint32_t i = 0; i < PAGE && index % 3 != 1; i++) {
		random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
		page[i] = index % 3 == 0 ? (uint8_t)("page of the node"[(i + round) % 16]) :
			(uint8_t)(random >> 56);
	}
}

static void
pages_write(struct cluster_client *client, struct tp_client_region *region, uint64_t round)
{
	uint8_t page[PAGE];

	for (uint32_t i = 0; i < PAGES; i++) {
		page_fill(page, i, round);
		assert_true(tp_result_is_ok(tp_write(client->thread, region, (uint64_t)i * PAGE,
			page, PAGE)));
	}
}

static void
pages_check(struct cluster_client *client, struct tp_client_region *region, uint64_t round)
{
	uint8_t page[PAGE], expected[PAGE];

	for (uint32_t i = 0; i < PAGES; i++) {
		page_fill(expected, i, round);
		assert_true(tp_result_is_ok(tp_read(client->thread, region, (uint64_t)i * PAGE,
			page, PAGE)));
		assert_memory_equal(page, expected, PAGE);
	}
}

/* Every node writes all pages in turn and all read them; the cache holds a few only. */
static void
share(struct cluster *cluster)
{
	struct cluster_client clients[CLUSTER_NODES];
	struct tp_client_region *regions[CLUSTER_NODES];
	struct tp_client_region_config config = {
		.name = "shared",
		.bytes = (uint64_t)PAGES * PAGE,
		.distribution = TP_REGION_STRIPED,
	};

	for (uint16_t i = 0; i < CLUSTER_NODES; i++)
		cluster_attach(cluster, (uint16_t)(i + 1), &clients[i]);
	assert_int_equal(tp_client_region_create(clients[0].client, &config, &regions[0]), 0);
	for (uint16_t i = 1; i < CLUSTER_NODES; i++)
		assert_int_equal(tp_client_region_open(clients[i].client, "shared", &regions[i]), 0);
	for (uint64_t round = 0; round < 2 * CLUSTER_NODES; round++) {
		pages_write(&clients[round % CLUSTER_NODES], regions[round % CLUSTER_NODES], round);
		for (uint16_t i = 0; i < CLUSTER_NODES; i++)
			pages_check(&clients[i], regions[i], round);
	}
	for (uint16_t i = 0; i < CLUSTER_NODES; i++)
		cluster_detach(&clients[i]);
}

static void
test_pages_on_slow_link_are_encoded_and_whole(void **state)
{
	struct cluster *cluster = cluster_make(one_each, 16, SLOW_NS_PER_KIB, 0);

	share(cluster);
	/* Two thirds of them become smaller, most by far more than half. */
	assert_true(STAT_SUM(cluster, pages_encoded) > 200);
	assert_int_equal(STAT_SUM(cluster, pages_decoded), STAT_SUM(cluster, pages_encoded));
	assert_true(STAT_SUM(cluster, bytes_saved) >
		STAT_SUM(cluster, pages_encoded) * PAGE * 3 / 4);
	assert_int_equal(STAT_SUM(cluster, messages_bad), 0);
	cluster_destroy(cluster);
}

static void
test_pages_of_two_workers_are_encoded_and_whole(void **state)
{
	struct cluster *cluster = cluster_make(two_each, 32, SLOW_NS_PER_KIB, 0);

	share(cluster);
	assert_true(STAT_SUM(cluster, pages_encoded) > 200);
	assert_int_equal(STAT_SUM(cluster, messages_bad), 0);
	cluster_destroy(cluster);
}

/* Alone each would be there sooner as it is; behind others encoding is free. */
static void
test_pages_that_wait_for_the_link_are_encoded(void **state)
{
	const uint16_t home = 1;
	const struct tp_client_region_config config = { .name = "stream", .bytes = PAGES * PAGE,
		.distribution = TP_REGION_HOME, .nodes = &home, .node_count = 1 };
	struct cluster *cluster = cluster_make(one_each, 64, EVEN_NS_PER_KIB, 0);
	static uint8_t pages[PAGES * PAGE], copy[PAGES * PAGE];
	struct tp_client_region *regions[2];
	struct cluster_client clients[2];

	for (uint32_t i = 0; i < PAGES; i++) {
		page_fill(pages + i * PAGE, 2, i);
		memset(pages + i * PAGE, 0, PAGE / 2);
	}
	for (uint16_t i = 0; i < 2; i++)
		cluster_attach(cluster, (uint16_t)(i + 1), &clients[i]);
	assert_int_equal(tp_client_region_create(clients[0].client, &config, &regions[0]), 0);
	assert_int_equal(tp_client_region_open(clients[1].client, "stream", &regions[1]), 0);
	assert_true(tp_result_is_ok(tp_write(clients[0].thread, regions[0], 0, pages, sizeof(pages))));
	assert_true(tp_result_is_ok(tp_read(clients[1].thread, regions[1], 0, copy, sizeof(copy))));
	assert_memory_equal(copy, pages, sizeof(pages));
	assert_true(STAT_SUM(cluster, pages_encoded) > PAGES / 2);
	for (uint16_t i = 0; i < 2; i++)
		cluster_detach(&clients[i]);
	cluster_destroy(cluster);
}

static void
test_pages_on_fast_link_go_as_they_are(void **state)
{
	struct cluster *cluster = cluster_make(one_each, 16, 0, 0);

	share(cluster);
	assert_int_equal(STAT_SUM(cluster, pages_encoded), 0);
	assert_int_equal(STAT_SUM(cluster, pages_decoded), 0);
	cluster_destroy(cluster);
	/* A link of 80 GB/s: there is a chooser, and it does not look at a page. */
	cluster = cluster_make(one_each, 16, 12, 0);
	share(cluster);
	assert_int_equal(STAT_SUM(cluster, pages_encoded), 0);
	cluster_destroy(cluster);
}

/* A region, opened at every node. */
struct shared {
	struct cluster_client clients[CLUSTER_NODES];
	struct tp_client_region *regions[CLUSTER_NODES];
};

static void
shared_begin_as(struct cluster *cluster, struct shared *shared,
	enum tp_region_distribution distribution)
{
	struct tp_client_region_config config = {
		.name = "shared",
		.bytes = (uint64_t)PAGES * PAGE,
		.distribution = distribution,
	};

	for (uint16_t i = 0; i < CLUSTER_NODES; i++)
		cluster_attach(cluster, (uint16_t)(i + 1), &shared->clients[i]);
	assert_int_equal(tp_client_region_create(shared->clients[0].client, &config,
		&shared->regions[0]), 0);
	for (uint16_t i = 1; i < CLUSTER_NODES; i++)
		assert_int_equal(tp_client_region_open(shared->clients[i].client, "shared",
			&shared->regions[i]), 0);
}

static void
shared_begin(struct cluster *cluster, struct shared *shared)
{
	shared_begin_as(cluster, shared, TP_REGION_STRIPED);
}

static void
shared_end(struct shared *shared)
{
	for (uint16_t i = 0; i < CLUSTER_NODES; i++)
		cluster_detach(&shared->clients[i]);
}

/* All pages full of noise, seen by all; then one word of each, by each node in turn. */
static void
words_change(struct shared *shared, uint32_t first, uint32_t rounds)
{
	static uint8_t pages[PAGES][PAGE];
	uint8_t page[PAGE];

	for (uint32_t i = 0; i < PAGES; i++) {
		page_fill(pages[i], 2, i);
		assert_true(tp_result_is_ok(tp_write(shared->clients[0].thread, shared->regions[0],
			(uint64_t)i * PAGE, pages[i], PAGE)));
	}
	for (uint32_t round = first; round < first + rounds; round++) {
		uint32_t writer = (round - first) % CLUSTER_NODES;

		for (uint32_t i = 0; i < PAGES; i++) {
			uint32_t at = (i * 64 + (round - first) * 8) % PAGE;

			memcpy(&pages[i][at], &round, sizeof(round));
			assert_true(tp_result_is_ok(tp_write(shared->clients[writer].thread,
				shared->regions[writer], (uint64_t)i * PAGE + at, &round,
				sizeof(round))));
		}
		for (uint32_t i = 0; i < PAGES * CLUSTER_NODES; i++) {
			uint32_t reader = i % CLUSTER_NODES;

			assert_true(tp_result_is_ok(tp_read(shared->clients[reader].thread,
				shared->regions[reader], (uint64_t)(i / CLUSTER_NODES) * PAGE,
				page, PAGE)));
			assert_memory_equal(page, pages[i / CLUSTER_NODES], PAGE);
		}
	}
}

static void
test_words_of_pages_held_before_go_as_changes(void **state)
{
	struct cluster *cluster = cluster_make(one_each, 128, SLOW_NS_PER_KIB, 256);
	struct shared shared;

	shared_begin(cluster, &shared);
	words_change(&shared, 1, 12);
	/* Each round some 50 pages change hands, after the first all as changes. */
	assert_true(STAT_SUM(cluster, changes_sent) > 8 * PAGES);
	assert_true(STAT_SUM(cluster, bytes_saved) >
		STAT_SUM(cluster, changes_sent) * (PAGE - 100));
	assert_int_equal(STAT_SUM(cluster, changes_unreadable), 0);
	assert_int_equal(STAT_SUM(cluster, messages_bad), 0);
	shared_end(&shared);
	cluster_destroy(cluster);
}

static void
test_changes_of_evicted_pages_are_whole(void **state)
{
	struct cluster *cluster = cluster_make(two_each, 32, SLOW_NS_PER_KIB, 64);
	struct shared shared;

	shared_begin(cluster, &shared);
	words_change(&shared, 1, 12);
	assert_true(STAT_SUM(cluster, changes_sent) > 0);
	assert_int_equal(STAT_SUM(cluster, messages_bad), 0);
	shared_end(&shared);
	cluster_destroy(cluster);
}

/* What is remembered rots, or it is a peer that lies: never data, and nothing is lost. */
static void
test_change_of_other_contents_is_never_data(void **state)
{
	struct cluster *cluster = cluster_make(one_each, 128, SLOW_NS_PER_KIB, 256);
	const uint32_t next = 100;
	struct worker_bases *bases;
	struct shared shared;

	shared_begin(cluster, &shared);
	words_change(&shared, 1, 4);
	/*
	 * Of the writer: what it remembers has its sum still, and is something else, just
	 * where it will write, and what it will write: so it says nothing of that.
	 */
	bases = &tp_control_worker(cluster->nodes[1].control, 0)->codec.bases;
	for (uint32_t i = 0; i < bases->count; i++)
		memcpy(&bases->entries[i].page[bases->entries[i].page_index * 64 % PAGE], &next,
			sizeof(next));
	words_change(&shared, next, 4);
	assert_true(STAT_SUM(cluster, changes_unreadable) > 0);
	assert_int_equal(STAT_SUM(cluster, messages_bad), 0);
	shared_end(&shared);
	cluster_destroy(cluster);
}

/* Many pages at a time, and back: what is queued shows how fast the link is. */
static void
pages_stream(struct cluster *cluster, struct shared *shared, uint64_t ns)
{
	static uint8_t pages[PAGES * PAGE], read[PAGES * PAGE];
	uint64_t until = cluster->now + ns;
	uint32_t round = 0;

	for (; cluster->now < until; round++) {
		for (uint32_t i = 0; i < PAGES; i++)
			page_fill(pages + i * PAGE, i, round);
		assert_true(tp_result_is_ok(tp_write(shared->clients[0].thread,
			shared->regions[0], 0, pages, sizeof(pages))));
		assert_true(tp_result_is_ok(tp_read(shared->clients[1].thread,
			shared->regions[1], 0, read, sizeof(read))));
		assert_memory_equal(pages, read, sizeof(pages));
	}
}

static uint32_t
link_ns_per_kib(struct cluster *cluster, uint16_t id)
{
	return tp_control_worker(cluster->nodes[id].control, 0)->codec.choosers[0].ns_per_kib;
}

static void
test_speed_of_link_is_found_out(void **state)
{
	struct cluster *cluster = calloc(1, sizeof(*cluster));
	struct shared shared;

	assert_non_null(cluster);
	cluster->cache_slots = 128;
	cluster->base_slots = 256;
	cluster->link_measured = true;
	cluster->mtu = 1500;
	cluster_begin(cluster, one_each);
	shared_begin_as(cluster, &shared, TP_REGION_HOME);
	pages_stream(cluster, &shared, 600 * CLUSTER_MS);
	/* Of this net nothing is slow. */
	assert_int_equal(link_ns_per_kib(cluster, 1), 0);
	assert_int_equal(STAT_SUM(cluster, pages_encoded), 0);
	/* 1 Gbit/s, half of which is found in headers, acks and waits. */
	sim_net_faults(cluster->net)->byte_ps = 8000;
	pages_stream(cluster, &shared, 4000 * CLUSTER_MS);
	assert_true(link_ns_per_kib(cluster, 1) > 8192 / 2);
	assert_true(link_ns_per_kib(cluster, 1) < 8192 * 2);
	assert_true(STAT_SUM(cluster, pages_encoded) > 0);
	assert_int_equal(STAT_SUM(cluster, messages_bad), 0);
	shared_end(&shared);
	cluster_destroy(cluster);
}

struct payload {
	struct tp_coherence_msg msg;
	uint8_t bytes[PAGE];
};

/* Whether a worker of node 1 refuses DATA_S from node 2. */
static bool
is_refused(struct cluster *cluster, const struct payload *payload, uint32_t bytes)
{
	struct tp_worker *worker = tp_control_worker(cluster->nodes[1].control, 0);
	static uint8_t data[TP_MSG_PAGE_HEADER + PAGE + 1];
	/* Two pieces, as from a small MTU. */
	const struct tp_message_piece pieces[2] = {
		{ data, TP_MSG_PAGE_HEADER + bytes / 2 },
		{ data + TP_MSG_PAGE_HEADER + bytes / 2, bytes - bytes / 2 },
	};
	const struct tp_message message = {
		.src_node = 2,
		.class = TP_CLASS_RESPONSE,
		.length = TP_MSG_PAGE_HEADER + bytes,
		.piece_count = 2,
		.pieces = pieces,
	};
	uint64_t bad = worker->stats.messages_bad;

	memcpy(data, &payload->msg, TP_MSG_PAGE_HEADER);
	memcpy(data + TP_MSG_PAGE_HEADER, payload->bytes, bytes);
	worker_endpoint_ops.message(worker, &message);
	return worker->stats.messages_bad != bad;
}

static void
test_payload_that_is_no_page_is_refused(void **state)
{
	struct cluster *cluster = cluster_make(one_each, 16, 0, 0);
	struct tp_codec *codec = tp_codec_create(PAGE);
	struct cluster_client client;
	struct tp_client_region *region;
	struct tp_client_region_config config = { .name = "r", .bytes = PAGES * PAGE };
	static struct payload good, sent;
	uint8_t page[PAGE];
	enum tp_codec_id id;
	int bytes;

	cluster_attach(cluster, 1, &client);
	assert_int_equal(tp_client_region_create(client.client, &config, &region), 0);
	page_fill(page, 0, 1);
	bytes = tp_codec_encode(codec, TP_CODEC_LZ4, page, NULL, PAGE, good.bytes, &id);
	assert_int_equal(id, TP_CODEC_LZ4);
	good.msg = (struct tp_coherence_msg){ .type = TP_MSG_DATA_S, .codec = TP_CODEC_LZ4,
		.requester = rte_cpu_to_le_16(1), .region_id = rte_cpu_to_le_32(1) };
	/* A region made by this node has a number from 1 on. */
	while (worker_region_find(tp_control_worker(cluster->nodes[1].control, 0),
			rte_le_to_cpu_32(good.msg.region_id)) == NULL)
		good.msg.region_id = rte_cpu_to_le_32(rte_le_to_cpu_32(good.msg.region_id) + 1);
	assert_false(is_refused(cluster, &good, (uint32_t)bytes));
	assert_int_equal(STAT_SUM(cluster, pages_decoded), 1);

	assert_true(is_refused(cluster, &good, (uint32_t)bytes - 1));
	assert_true(is_refused(cluster, &good, (uint32_t)bytes + 1));
	for (unsigned int other = TP_CODEC_ZERO; other <= UINT8_MAX; other++) {
		sent = good;
		sent.msg.codec = (uint8_t)other;
		/* A change of something: that is not here, and the engine is told so. */
		assert_int_equal(is_refused(cluster, &sent, (uint32_t)bytes),
			other != TP_CODEC_LZ4 && !tp_codec_needs_base(other));
	}
	assert_int_equal(STAT_SUM(cluster, changes_unreadable), 3);
	sent = good;
	sent.msg.codec = TP_CODEC_SAME;
	assert_true(is_refused(cluster, &sent, WORKER_BASE_HEADER - 1));
	assert_false(is_refused(cluster, &sent, WORKER_BASE_HEADER));
	/* What says that there is no page has none, and no codec. */
	sent = good;
	sent.msg.flags = TP_MSG_F_ZERO;
	assert_true(is_refused(cluster, &sent, (uint32_t)bytes));
	/* Of a region that is not known here the engine knows what to say. */
	sent = good;
	sent.msg.region_id = rte_cpu_to_le_32(999);
	assert_false(is_refused(cluster, &sent, (uint32_t)bytes));
	assert_int_equal(STAT_SUM(cluster, pages_decoded), 2);
	cluster_detach(&client);
	tp_codec_destroy(codec);
	cluster_destroy(cluster);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pages_on_slow_link_are_encoded_and_whole),
		cmocka_unit_test(test_pages_of_two_workers_are_encoded_and_whole),
		cmocka_unit_test(test_pages_that_wait_for_the_link_are_encoded),
		cmocka_unit_test(test_pages_on_fast_link_go_as_they_are),
		cmocka_unit_test(test_words_of_pages_held_before_go_as_changes),
		cmocka_unit_test(test_changes_of_evicted_pages_are_whole),
		cmocka_unit_test(test_change_of_other_contents_is_never_data),
		cmocka_unit_test(test_speed_of_link_is_found_out),
		cmocka_unit_test(test_payload_that_is_no_page_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
