/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 */
#include "storm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STORM_MAGIC 0x53544f52u
#define STORM_MESSAGES_MAX 65536u

const struct sim_faults storm_faults = {
	.loss_ppm = 50000,
	.duplicate_ppm = 30000,
	.corrupt_ppm = 20000,
	.delay_ns = 3000,
	.jitter_ns = 30000,
	.tx_refuse_ppm = 30000,
	.tx_hold = 8,
};

/* Head of each message; the rest is a pattern of its id. */
struct storm_head {
	uint32_t magic;
	uint32_t id;
	uint32_t length;
	uint16_t asker;
	uint8_t class;
	uint8_t reserved;
};

/* A message waiting to be accepted, or a request waiting to be finished. */
struct storm_item {
	struct storm_item *next;
	uint64_t token;		/* request to finish once this is sent, 0 none */
	uint32_t not_before;	/* turn */
	uint16_t to;
	struct storm_head head;
	uint8_t bytes[];
};

struct storm_state {
	const struct storm *storm;
	struct sim_cluster cluster;
	struct storm_item *outbox[SIM_NODES_MAX];
	uint32_t asked[SIM_NODES_MAX];
	uint32_t answered;
	uint32_t next_id;
	uint8_t delivered[STORM_MESSAGES_MAX];	/* by id */
	uint32_t expected_to[STORM_MESSAGES_MAX];
	uint8_t bytes[TP_WIRE_MESSAGE_MAX];
	uint8_t check[TP_WIRE_MESSAGE_MAX];
};

static void
storm_fill(uint8_t *data, const struct storm_head *head)
{
	uint32_t x = head->id * 2654435761u + 1;
	uint32_t i;

	memcpy(data, head, sizeof(*head));
	for (i = sizeof(*head); i < head->length; i++) {
		x = x * 1664525u + 1013904223u;
		data[i] = (uint8_t)(x >> 24);
	}
}

static uint64_t
storm_random(struct storm_state *st)
{
	return sim_net_random(st->cluster.net);
}

static uint32_t
storm_length(struct storm_state *st)
{
	uint32_t max = st->storm->message_max - (uint32_t)sizeof(struct storm_head);

	switch (storm_random(st) % 4) {
	case 0:
		return sizeof(struct storm_head);
	case 1:
		return sizeof(struct storm_head) + (uint32_t)(storm_random(st) % 200);
	case 2:
		return sizeof(struct storm_head) + (uint32_t)(storm_random(st) % 4400) % max;
	default:
		return sizeof(struct storm_head) + (uint32_t)(storm_random(st) % (max + 1));
	}
}

static void
storm_post(struct storm_state *st, struct sim_node *from, uint16_t to, enum tp_class class,
	uint16_t asker, uint64_t token)
{
	uint32_t length = storm_length(st);
	struct storm_item *item = calloc(1, sizeof(*item) + length);
	struct storm_item **tail = &st->outbox[from->index];

	assert_non_null(item);
	item->to = to;
	item->token = token;
	item->not_before = (uint32_t)st->cluster.turns +
		(token != 0 ? (uint32_t)(storm_random(st) % 8) : 0);
	item->head = (struct storm_head){
		.magic = STORM_MAGIC,
		.id = st->next_id++,
		.length = length,
		.asker = asker,
		.class = (uint8_t)class,
	};
	assert_true(st->next_id < STORM_MESSAGES_MAX);
	st->expected_to[item->head.id] = to;
	storm_fill(item->bytes, &item->head);
	while (*tail != NULL)
		tail = &(*tail)->next;
	*tail = item;
}

/* Who asked gets the answer from whoever has it. */
static void
storm_message(struct sim_node *node, const struct tp_message *message)
{
	struct storm_state *st = node->cluster->test;
	const struct storm_head *head = tp_message_head(message, sizeof(*head));
	struct storm_head copy;
	uint16_t self = node->config.node;

	assert_non_null(head);
	memcpy(&copy, head, sizeof(copy));
	assert_int_equal(copy.magic, STORM_MAGIC);
	assert_int_equal(copy.length, message->length);
	assert_int_equal(copy.class, message->class);
	assert_int_equal(st->expected_to[copy.id], self);
	assert_int_equal(tp_message_copy(message, 0, st->bytes, message->length), message->length);
	storm_fill(st->check, &copy);
	assert_memory_equal(st->bytes, st->check, message->length);
	assert_int_equal(st->delivered[copy.id], 0);
	st->delivered[copy.id] = 1;

	if (message->class == TP_CLASS_REQUEST) {
		uint16_t third = (uint16_t)(1 + storm_random(st) % st->storm->nodes);

		if (third != self && third != copy.asker)
			storm_post(st, node, third, TP_CLASS_FORWARD, copy.asker, message->token);
		else
			storm_post(st, node, copy.asker, TP_CLASS_RESPONSE, copy.asker,
				message->token);
	} else if (message->class == TP_CLASS_FORWARD) {
		storm_post(st, node, copy.asker, TP_CLASS_RESPONSE, copy.asker, 0);
	} else {
		st->answered++;
	}
}

/** Try everything in a node's outbox once; what is refused stays. */
static void
storm_outbox(struct storm_state *st, struct sim_node *node)
{
	struct storm_item **link = &st->outbox[node->index];

	while (*link != NULL) {
		struct storm_item *item = *link;
		struct iovec iov[2];
		int ret = -EAGAIN;

		if (item->not_before <= st->cluster.turns) {
			iov[0] = (struct iovec){ item->bytes, item->head.length / 3 };
			iov[1] = (struct iovec){ item->bytes + item->head.length / 3,
				item->head.length - item->head.length / 3 };
			ret = tp_endpoint_send(node->ep, item->to, 0, item->head.class,
				item->head.id % TP_PRIORITY_COUNT, iov, 2);
		}
		if (ret == -EAGAIN || ret == -ENOBUFS) {
			link = &item->next;
			continue;
		}
		assert_int_equal(ret, 0);
		/* The bytes are the caller's again at once. */
		memset(item->bytes, 0xdd, item->head.length);
		if (item->token != 0)
			tp_endpoint_request_done(node->ep, item->token);
		*link = item->next;
		free(item);
	}
}

static void
storm_ask(struct storm_state *st, struct sim_node *node)
{
	uint16_t to;

	/* A few at a time, so that the outbox stays short. */
	while (st->asked[node->index] < st->storm->requests && storm_random(st) % 3 == 0) {
		do {
			to = (uint16_t)(1 + storm_random(st) % st->storm->nodes);
		} while (to == node->config.node);
		st->asked[node->index]++;
		storm_post(st, node, to, TP_CLASS_REQUEST, node->config.node, 0);
	}
}

static void
storm_check_end(struct storm_state *st)
{
	uint32_t i;

	for (i = 0; i < st->next_id; i++)
		assert_int_equal(st->delivered[i], 1);
	/*
	 * Nothing may be held once the last acks are through; a credit whose
	 * packet was lost comes with the next heartbeat.
	 */
	*sim_net_faults(st->cluster.net) = (struct sim_faults){ .delay_ns = 1000 };
	sim_cluster_run(&st->cluster, 500 * SIM_MS + st->storm->config.peer_timeout_ns);
	for (i = 0; i < st->storm->nodes; i++) {
		struct sim_node *node = &st->cluster.nodes[i];
		struct tp_session_info info;
		uint32_t tx;
		uint32_t rx;
		uint32_t k;
		int ret;

		tp_endpoint_frames_held(node->ep, &tx, &rx);
		assert_int_equal(tx, 0);
		assert_int_equal(rx, 0);
		assert_int_equal(node->downs, 0);
		assert_int_equal(SIM_COUNTER(node, sessions_reset), 0);
		for (k = 0; (ret = tp_endpoint_session_info(node->ep, k, &info)) != -ERANGE; k++) {
			if (ret != 0)
				continue;
			assert_true(info.established);
			assert_int_equal(info.outstanding, 0);
			assert_int_equal(info.queued, 0);
			/* No credit is lost. */
			assert_int_equal(info.request_credit, st->storm->config.request_credits ?
				st->storm->config.request_credits : 32);
			assert_int_equal(info.forward_credit, st->storm->config.forward_credits ?
				st->storm->config.forward_credits : 64);
		}
	}
}

static void
storm_print(const struct storm_state *st)
{
	unsigned int k;

	print_message("seed %llu: %u messages, %llu turns, %llu us\n",
		(unsigned long long)st->storm->seed, st->next_id,
		(unsigned long long)st->cluster.turns,
		(unsigned long long)(st->cluster.now - SIM_START_NS) / 1000);
	for (k = 0; k < TP_ENDPOINT_COUNTER_COUNT; k++) {
		uint64_t value = sim_counter(&st->cluster.nodes[0], k);

		if (value != 0)
			print_message("  %s %llu\n", tp_endpoint_counter_name(k),
				(unsigned long long)value);
	}
}

void
storm_run(const struct storm *storm)
{
	struct storm_state *st = calloc(1, sizeof(*st));
	struct sim_cluster *c;
	uint64_t end;
	uint32_t i;

	assert_non_null(st);
	st->storm = storm;
	c = &st->cluster;
	sim_cluster_init(c, storm->nodes, storm->seed, &storm->faults, &storm->config, storm->mtu);
	for (i = 0; i < storm->nodes; i++)
		sim_link_bound(c->nodes[i].link, storm->buffers);
	c->test = st;
	c->message = storm_message;
	sim_cluster_connect(c);
	for (i = 0; i < storm->nodes; i++)
		c->nodes[i].downs = 0;
	end = c->now + storm->deadline_ns;
	while (st->answered < storm->nodes * storm->requests) {
		if (c->now >= end)
			fail_msg("stalled: seed %llu, %u of %u answered",
				(unsigned long long)storm->seed, st->answered,
				storm->nodes * storm->requests);
		for (i = 0; i < storm->nodes; i++) {
			storm_ask(st, &c->nodes[i]);
			storm_outbox(st, &c->nodes[i]);
		}
		sim_cluster_step(c, c->now + 100000);
	}
	storm_check_end(st);
	if (getenv("STORM_VERBOSE") != NULL)
		storm_print(st);
	sim_cluster_fini(c);
	free(st);
}
