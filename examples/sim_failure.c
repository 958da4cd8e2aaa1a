/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A program that tests its own failure handling, on a simulated cluster: no
 * root, no DPDK port, nothing to clean up, the same every time.
 *
 * The code under test is store_add(): it counts, and where the cluster fails it,
 * tells its caller whether the count may have changed. The test takes nodes
 * away and brings them back, and looks whether it told the truth.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <rte_log.h>

#include <tp_client.h>
#include <tp_sim.h>

#define MS UINT64_C(1000000)
#define PAGE 4096u

/* The code under test. */
enum store_outcome { STORE_DONE, STORE_TRY_AGAIN, STORE_ASK_SOMEBODY, STORE_LOST };

static enum store_outcome
store_add(struct tp_thread *thread, struct tp_client_region *region, uint64_t offset,
	  uint64_t addend)
{
	struct tp_result result = tp_atomic_add64(thread, region, offset, addend, NULL);

	printf("  add: %s\n", tp_reason_name(result.reason));
	if (tp_result_is_ok(result))
		return STORE_DONE;
	if (result.reason == TP_NODE_CRASHED || result.reason == TP_GENERATION)
		return STORE_LOST;
	return result.effect == TP_EFFECT_NOT_DONE ? STORE_TRY_AGAIN : STORE_ASK_SOMEBODY;
}

/* The test. */
static void
check(bool ok, const char *what)
{
	printf("%s %s\n", ok ? "ok  " : "FAIL", what);
	if (!ok)
		exit(EXIT_FAILURE);
}

static struct tp_client_region *
counters_create(struct tp_client *client)
{
	/* Page 0 lives on node 1, where this program is, page 1 on node 2. */
	const uint16_t nodes[] = { 1, 2 };
	const struct tp_client_region_config config = {
		.name = "counters",
		.bytes = 2 * PAGE,
		.nodes = nodes,
		.node_count = 2,
	};
	struct tp_client_region *region = NULL;

	check(tp_client_region_create(client, &config, &region) == 0, "the counters are there");
	return region;
}

static uint64_t
counter_read(struct tp_thread *thread, struct tp_client_region *region, uint64_t offset)
{
	uint64_t value = 0;
	struct tp_result result = tp_read(thread, region, offset, &value, sizeof(value));

	check(tp_result_is_ok(result), "the counter can be read");
	return value;
}

static void
test_offline(struct tp_sim *sim, struct tp_thread *thread, struct tp_client_region *region)
{
	uint64_t before = counter_read(thread, region, PAGE);
	uint64_t began = tp_sim_now(sim);

	printf("node 2 goes offline\n");
	tp_invalidate(thread, region, PAGE, PAGE);
	tp_sim_node_offline(sim, 2);
	tp_sim_advance(sim, 300 * MS);
	check(store_add(thread, region, PAGE, 1) == STORE_TRY_AGAIN, "it is said to be retried");
	check(store_add(thread, region, 0, 1) == STORE_DONE, "what is here goes on");
	tp_sim_node_online(sim, 2);
	tp_sim_advance(sim, 1000 * MS);
	check(store_add(thread, region, PAGE, 1) == STORE_DONE, "the retry works");
	check(counter_read(thread, region, PAGE) == before + 1, "it was counted once");
	printf("%" PRIu64 " ms of virtual time\n", (tp_sim_now(sim) - began) / MS);
}

static void
test_crash(struct tp_sim *sim, struct tp_client *client, struct tp_thread *thread,
	   struct tp_client_region *region)
{
	printf("node 2 crashes\n");
	tp_invalidate(thread, region, PAGE, PAGE);
	tp_sim_node_crash(sim, 2);
	tp_sim_node_restart(sim, 2);
	check(store_add(thread, region, PAGE, 1) == STORE_LOST, "its counter is lost for good");
	check(tp_client_region_reset(client, "counters") == 0, "the counters are set up anew");
	check(store_add(thread, region, PAGE, 1) == STORE_LOST, "the old handle is of no use");
	tp_client_region_close(region);
	check(tp_client_region_open(client, "counters", &region) == 0, "a new one is");
	check(store_add(thread, region, PAGE, 1) == STORE_DONE, "counting goes on");
	check(counter_read(thread, region, PAGE) == 1, "from nothing");
	tp_client_region_close(region);
}

int
main(void)
{
	const struct tp_sim_config config = { .seed = 42 };
	struct tp_sim *sim = tp_sim_create(&config);
	struct tp_client_region *region;
	struct tp_client *client;
	struct tp_thread *thread;

	/* What simulated nodes say of each other is not this program's output. */
	rte_log_set_level_pattern("tp.*", RTE_LOG_ERR);
	check(sim != NULL && tp_sim_node_add(sim, NULL) == 1 && tp_sim_node_add(sim, NULL) == 2,
	      "two nodes");
	client = tp_sim_attach(sim, 1, 1);
	check(client != NULL && tp_thread_register(client, &thread) == 0, "attached to node 1");
	region = counters_create(client);
	test_offline(sim, thread, region);
	test_crash(sim, client, thread, region);
	tp_client_detach(client);
	tp_sim_destroy(sim);
	return EXIT_SUCCESS;
}
