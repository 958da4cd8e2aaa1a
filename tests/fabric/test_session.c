/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Epochs: what belongs to an old one is never delivered, and the two sides
 * always find a new one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sim_cluster.h"

#define RECORD_MAX 4096u
#define RECORD_BYTES 256u

static const struct sim_faults calm = { .delay_ns = 2000 };

/* Every frame ever sent, to be sent again later. */
struct record {
	uint32_t count;
	struct {
		uint32_t from;
		uint32_t length;
		uint8_t bytes[RECORD_BYTES];
	} frames[RECORD_MAX];
};

static void
record_frame(void *ctx, uint32_t from, const uint8_t *frame, uint32_t length)
{
	struct record *record = ctx;

	if (record->count == RECORD_MAX)
		return;
	assert_true(length <= RECORD_BYTES);
	record->frames[record->count].from = from;
	record->frames[record->count].length = length;
	memcpy(record->frames[record->count++].bytes, frame, length);
}

/* The network spits out everything again, to both nodes. */
static void
replay(struct sim_cluster *c, const struct record *record)
{
	uint32_t i;

	for (i = 0; i < record->count; i++) {
		sim_net_set_now(c->net, c->now);
		sim_link_inject(c->nodes[1 - record->frames[i].from].link,
			record->frames[i].bytes, record->frames[i].length);
		if (i % 16 == 0)
			sim_cluster_step(c, c->now + 1000);
	}
	sim_cluster_run(c, 5 * SIM_MS);
}

static void
talk(struct sim_cluster *c, uint32_t messages)
{
	uint32_t i;

	for (i = 0; i < messages; i++) {
		assert_int_equal(sim_send(&c->nodes[i % 2], &c->nodes[1 - i % 2],
			(enum tp_class)(i % TP_CLASS_COUNT), &i, sizeof(i)), 0);
		sim_cluster_run(c, SIM_MS / 10);
	}
	sim_cluster_run(c, SIM_MS);
}

static void
test_session_old_packets_are_refused_in_every_later_epoch(void **state)
{
	struct record *record = calloc(1, sizeof(*record));
	struct sim_cluster c;
	uint32_t messages[2];
	uint32_t downs;

	(void)state;
	sim_cluster_init(&c, 2, 1, &calm, NULL, 1500);
	sim_net_tap(c.net, record_frame, record);
	sim_cluster_connect(&c);
	talk(&c, 60);
	sim_net_tap(c.net, NULL, NULL);
	assert_int_equal(c.nodes[0].messages + c.nodes[1].messages, 60);

	/* Within the epoch: duplicates. */
	replay(&c, record);
	assert_int_equal(c.nodes[0].messages + c.nodes[1].messages, 60);
	assert_int_equal(c.nodes[0].downs + c.nodes[1].downs, 0);

	/* In a new epoch of the same two lives. */
	sim_net_cut(c.net, 0, 1, true);
	sim_net_cut(c.net, 1, 0, true);
	sim_cluster_run(&c, 400 * SIM_MS);
	sim_net_cut(c.net, 0, 1, false);
	sim_net_cut(c.net, 1, 0, false);
	SIM_RUN_UNTIL(&c, 200 * SIM_MS, c.nodes[0].ups == 2 && c.nodes[1].ups == 2);
	downs = c.nodes[0].downs + c.nodes[1].downs;
	replay(&c, record);
	assert_int_equal(c.nodes[0].messages + c.nodes[1].messages, 60);
	assert_int_equal(c.nodes[0].downs + c.nodes[1].downs, downs);
	assert_true(SIM_COUNTER(&c.nodes[1], drop_epoch) >= 30);
	talk(&c, 30);
	assert_int_equal(c.nodes[0].messages + c.nodes[1].messages, 90);

	/* In a new life of one of them. */
	messages[0] = c.nodes[0].messages;
	messages[1] = c.nodes[1].messages;
	sim_node_restart(&c.nodes[1]);
	sim_node_peer(&c.nodes[1], &c.nodes[0], 0);
	SIM_RUN_UNTIL(&c, 200 * SIM_MS, c.nodes[0].ups == 3 && c.nodes[1].ups == 1);
	downs = c.nodes[0].downs;
	replay(&c, record);
	assert_int_equal(c.nodes[0].messages, messages[0]);
	assert_int_equal(c.nodes[1].messages, messages[1]);
	assert_int_equal(c.nodes[0].downs, downs);
	assert_int_equal(c.nodes[1].downs, 0);
	assert_true(SIM_COUNTER(&c.nodes[1], drop_incarnation) >= 30);
	sim_cluster_fini(&c);
	free(record);
}

static void
test_session_replayed_while_it_opens_is_not_established(void **state)
{
	struct record *record = calloc(1, sizeof(*record));
	struct sim_cluster c;

	(void)state;
	sim_cluster_init(&c, 2, 1, &calm, NULL, 1500);
	sim_net_tap(c.net, record_frame, record);
	sim_cluster_connect(&c);
	talk(&c, 20);
	sim_net_tap(c.net, NULL, NULL);
	/* One side forgets, and then hears nothing but the past. */
	sim_net_cut(c.net, 0, 1, true);
	assert_int_equal(tp_endpoint_peer_remove(c.nodes[1].ep, 1), 0);
	sim_node_peer(&c.nodes[1], &c.nodes[0], 0);
	replay(&c, record);
	replay(&c, record);
	assert_int_equal(c.nodes[1].messages, 10);
	assert_int_equal(tp_endpoint_peer_state(c.nodes[1].ep, 1, NULL), TP_PEER_CONNECTING);
	sim_net_cut(c.net, 0, 1, false);
	SIM_RUN_UNTIL(&c, 200 * SIM_MS,
		tp_endpoint_peer_state(c.nodes[1].ep, 1, NULL) == TP_PEER_UP &&
		tp_endpoint_peer_state(c.nodes[0].ep, 2, NULL) == TP_PEER_UP);
	sim_cluster_fini(&c);
	free(record);
}

static void
test_session_forgotten_by_one_side_is_reset_and_reopened(void **state)
{
	struct sim_cluster c;

	(void)state;
	sim_cluster_init(&c, 2, 1, &calm, NULL, 1500);
	sim_cluster_connect(&c);
	assert_int_equal(tp_endpoint_peer_remove(c.nodes[1].ep, 1), 0);
	sim_node_peer(&c.nodes[1], &c.nodes[0], 0);
	SIM_RUN_UNTIL(&c, 20 * SIM_MS, c.nodes[0].ups == 2 && c.nodes[1].ups == 2);
	assert_int_equal(c.nodes[0].downs, 1);
	assert_int_equal(c.nodes[0].last_down_reason, TP_PEER_RESET);
	assert_int_equal(c.nodes[1].downs, 0);
	talk(&c, 4);
	assert_int_equal(c.nodes[0].messages + c.nodes[1].messages, 4);
	sim_cluster_fini(&c);
}

static void
test_session_opens_when_half_of_all_packets_are_lost(void **state)
{
	struct sim_faults bad = { .loss_ppm = 500000, .duplicate_ppm = 200000, .delay_ns = 2000,
		.jitter_ns = 3 * SIM_MS };
	struct tp_endpoint_config config = { .peer_timeout_ns = 2000 * SIM_MS,
		.heartbeat_ns = 30 * SIM_MS };
	struct sim_cluster c;
	uint64_t seed;

	(void)state;
	for (seed = 0; seed < 50; seed++) {
		sim_cluster_init(&c, 3, seed, &bad, &config, 1500);
		sim_cluster_connect(&c);
		sim_cluster_fini(&c);
	}
}

/*
 * Chaos: cuts come and go, nodes die and return or stand still, everything is
 * lost, doubled and late. Nothing may come twice, and in the end all is well.
 */
#define CHAOS_MESSAGES 40000u

struct chaos {
	struct sim_cluster cluster;
	uint32_t next;
	uint8_t delivered[CHAOS_MESSAGES];
};

static void
chaos_message(struct sim_node *node, const struct tp_message *message)
{
	struct chaos *chaos = node->cluster->test;
	uint32_t id;

	assert_int_equal(tp_message_copy(message, 0, &id, sizeof(id)), sizeof(id));
	assert_true(id < chaos->next);
	assert_int_equal(chaos->delivered[id], 0);
	chaos->delivered[id] = 1;
	if (message->class == TP_CLASS_REQUEST)
		tp_endpoint_request_done(node->ep, message->token);
}

static void
chaos_send(struct chaos *chaos, uint32_t from, uint32_t to)
{
	struct sim_node *a = &chaos->cluster.nodes[from];
	static uint8_t data[5000];
	uint64_t random = sim_net_random(chaos->cluster.net);
	int ret;

	if (a->ep == NULL)
		return;
	memcpy(data, &chaos->next, sizeof(chaos->next));
	ret = sim_send(a, &chaos->cluster.nodes[to], (enum tp_class)(random % TP_CLASS_COUNT),
		data, 4 + (random >> 8) % (sizeof(data) - 4));
	if (ret == 0)
		chaos->next++;
	assert_true(chaos->next < CHAOS_MESSAGES);
}

static void
chaos_disturb(struct chaos *chaos)
{
	struct sim_cluster *c = &chaos->cluster;
	uint64_t random = sim_net_random(c->net);
	uint32_t a = (uint32_t)(random >> 8) % c->node_count;
	uint32_t b = (uint32_t)(random >> 16) % c->node_count;
	uint32_t i;

	switch (random % 8) {
	case 0:
	case 1:
		sim_net_cut(c->net, a, b, true);
		break;
	case 2:
	case 3:
	case 4:
		sim_net_cut(c->net, a, b, false);
		break;
	case 5:
		sim_node_restart(&c->nodes[a]);
		for (i = 0; i < c->node_count; i++) {
			if (i != a)
				sim_node_peer(&c->nodes[a], &c->nodes[i], 0);
		}
		break;
	default:
		c->nodes[a].paused = !c->nodes[a].paused;
		break;
	}
}

static void
chaos_heal(struct chaos *chaos)
{
	struct sim_cluster *c = &chaos->cluster;
	uint32_t first = chaos->next;
	uint32_t a;
	uint32_t b;

	for (a = 0; a < c->node_count; a++) {
		c->nodes[a].paused = false;
		for (b = 0; b < c->node_count; b++)
			sim_net_cut(c->net, a, b, false);
	}
	*sim_net_faults(c->net) = calm;
	sim_cluster_run(c, 1000 * SIM_MS);
	sim_cluster_connect(c);
	sim_cluster_run(c, 100 * SIM_MS);
	for (a = 0; a < c->node_count; a++) {
		for (b = 0; b < c->node_count; b++) {
			if (a != b)
				chaos_send(chaos, a, b);
		}
	}
	assert_int_equal(chaos->next, first + c->node_count * (c->node_count - 1));
	sim_cluster_run(c, 50 * SIM_MS);
	for (; first < chaos->next; first++)
		assert_int_equal(chaos->delivered[first], 1);
}

static void
test_session_in_chaos_delivers_at_most_once_and_recovers(void **state)
{
	struct sim_faults bad = { .loss_ppm = 50000, .duplicate_ppm = 50000, .delay_ns = 5000,
		.jitter_ns = 20 * SIM_MS };
	struct chaos *chaos = calloc(1, sizeof(*chaos));
	const char *more = getenv("TP_CHAOS_SEEDS");
	uint32_t seeds = more != NULL ? (uint32_t)atoi(more) : 12;
	uint32_t seed;
	uint32_t i;

	(void)state;
	for (seed = 1; seed <= seeds; seed++) {
		struct sim_cluster *c = &chaos->cluster;

		memset(chaos, 0, sizeof(*chaos));
		sim_cluster_init(c, 4, seed, &bad, NULL, 1500);
		c->test = chaos;
		c->message = chaos_message;
		sim_cluster_peers(c);
		for (i = 0; i < 400; i++) {
			uint64_t random = sim_net_random(c->net);

			if (random % 4 == 0)
				chaos_disturb(chaos);
			if (random % 4 != 1)
				chaos_send(chaos, (random >> 8) % 4, (random >> 16) % 4);
			sim_cluster_run(c, (random >> 24) % (20 * SIM_MS));
		}
		chaos_heal(chaos);
		sim_cluster_fini(c);
	}
	free(chaos);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_session_old_packets_are_refused_in_every_later_epoch),
		cmocka_unit_test(test_session_replayed_while_it_opens_is_not_established),
		cmocka_unit_test(test_session_forgotten_by_one_side_is_reset_and_reopened),
		cmocka_unit_test(test_session_opens_when_half_of_all_packets_are_lost),
		cmocka_unit_test(test_session_in_chaos_delivers_at_most_once_and_recovers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
