/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 */
#include "pipe.h"

#include <stdlib.h>
#include <string.h>

#include <rte_common.h>

#define PIPE_BYTES 4096u
#define PIPE_MTU 9000u
#define PIPE_FRAME_BYTES (PIPE_BYTES + TP_WIRE_OUTER_BYTES + (uint32_t)sizeof(struct tp_wire_data))
#define PIPE_MESSAGES_MAX 65536u
#define PIPE_LIMIT_NS (10000 * SIM_MS)

struct pipe_head {
	uint64_t taken_at;
	uint32_t demand;
};

struct pipe_state {
	struct sim_cluster cluster;
	const struct pipe *pipe;
	struct pipe_result *result;
	uint32_t sent;
	uint32_t demands_sent;
	uint64_t next_at;
	uint8_t drops[PIPE_MESSAGES_MAX];	/* by id */
	uint8_t bytes[PIPE_BYTES];
};

void
pipe_message_ignore(struct sim_node *node, const struct tp_message *message)
{
	(void)node;
	(void)message;
}

static const struct tp_wire_data *
pipe_data(const uint8_t *frame, uint32_t length)
{
	const struct tp_wire_data *data = (const void *)(frame + TP_WIRE_OUTER_BYTES);

	if (length < TP_WIRE_OUTER_BYTES + sizeof(*data) || data->header.type != TP_WIRE_DATA)
		return NULL;
	return data;
}

/* Lost on the wire? */
static bool
pipe_drop(void *ctx, uint32_t from, const uint8_t *frame, uint32_t length)
{
	struct pipe_state *st = ctx;
	const struct pipe *pipe = st->pipe;
	const struct tp_wire_data *data = pipe_data(frame, length);
	uint32_t id;

	if (data != NULL && from == 0) {
		id = rte_le_to_cpu_32(data->message_id);
		assert_true(id < PIPE_MESSAGES_MAX);
		if (id - pipe->drop_first < pipe->drop_count &&
		    st->drops[id] <= pipe->drop_again) {
			st->drops[id]++;
			return true;
		}
		if (pipe->demand_safe && data->priority == TP_PRIORITY_URGENT)
			return false;
	}
	return pipe->loss_ppm != 0 && sim_net_random(st->cluster.net) % 1000000 < pipe->loss_ppm;
}

static void
pipe_message(struct sim_node *node, const struct tp_message *message)
{
	struct pipe_state *st = node->cluster->test;
	struct pipe_result *result = st->result;
	struct pipe_head head;
	uint64_t latency;

	assert_int_equal(node->index, 1);
	assert_int_equal(tp_message_copy(message, 0, &head, sizeof(head)), sizeof(head));
	latency = st->cluster.now - head.taken_at;
	if (head.demand != 0) {
		result->demands++;
		result->demand_max = RTE_MAX(result->demand_max, latency);
		return;
	}
	result->delivered++;
	/* Windows have grown by then. */
	if (result->delivered > st->pipe->messages / 4)
		result->latency_max = RTE_MAX(result->latency_max, latency);
}

/* What waited for the wire: the packet's own time and the way are not in it. */
static void
pipe_queue_seen(void *ctx, uint32_t from, const uint8_t *frame, uint32_t length)
{
	struct pipe_state *st = ctx;
	const struct tp_wire_data *data = pipe_data(frame, length);
	uint64_t backlog;

	if (data == NULL || from != 0 || st->sent < st->pipe->messages / 4)
		return;
	backlog = sim_link_busy_until(st->cluster.nodes[0].link) - st->cluster.now;
	backlog -= RTE_MIN(backlog, st->pipe->service_ns);
	st->result->queue_max_late = RTE_MAX(st->result->queue_max_late, backlog);
}

static bool
pipe_send(struct pipe_state *st, bool demand)
{
	struct sim_node *from = &st->cluster.nodes[0];
	struct pipe_head head = { .taken_at = st->cluster.now, .demand = demand };
	struct iovec iov[] = {
		{ &head, sizeof(head) },
		{ st->bytes, PIPE_BYTES - sizeof(head) },
	};
	enum tp_priority priority = demand ? TP_PRIORITY_URGENT :
		st->pipe->bulk ? TP_PRIORITY_BULK : TP_PRIORITY_NORMAL;

	return tp_endpoint_send(from->ep, 2, 0, TP_CLASS_RESPONSE, priority, iov, 2) == 0;
}

static void
pipe_feed(struct pipe_state *st)
{
	const struct pipe *pipe = st->pipe;

	while (st->sent < pipe->messages && st->cluster.now >= st->next_at) {
		if (!pipe_send(st, false))
			return;
		st->sent++;
		st->next_at = pipe->gap_ns == 0 ? 0 : st->cluster.now + pipe->gap_ns;
		if (pipe->demand_every != 0 && st->sent % pipe->demand_every == 0) {
			assert_true(pipe_send(st, true));
			st->demands_sent++;
		}
	}
}

static void
pipe_counters(struct pipe_state *st)
{
	const struct sim_node *from = &st->cluster.nodes[0];
	struct pipe_result *result = st->result;

	result->retransmits = SIM_COUNTER(from, tx_retransmits);
	result->probes = SIM_COUNTER(from, tx_probes);
	result->timeouts = SIM_COUNTER(from, rto_expired);
	result->cuts = SIM_COUNTER(from, window_cuts);
	assert_int_equal(tp_endpoint_session_info(from->ep, 0, &result->info), 0);
}

void
pipe_run(const struct pipe *pipe, struct pipe_result *result)
{
	/* Losses are chosen by message, so each has a packet of its own. */
	struct tp_endpoint_config config = { .no_join = true };
	struct sim_faults faults = { .delay_ns = PIPE_DELAY_NS };
	struct pipe_state *st = calloc(1, sizeof(*st));
	struct sim_cluster *c;
	uint64_t start;

	assert_non_null(st);
	c = &st->cluster;
	memset(result, 0, sizeof(*result));
	st->pipe = pipe;
	st->result = result;
	sim_cluster_init(c, 2, pipe->seed, &faults, &config, PIPE_MTU);
	c->test = st;
	c->message = pipe_message;
	sim_cluster_connect(c);
	/* The handshake's own acks are through. */
	sim_cluster_run(c, SIM_MS);
	sim_net_faults(c->net)->byte_ps = (uint32_t)(pipe->service_ns * 1000 / PIPE_FRAME_BYTES);
	sim_net_drop(c->net, pipe_drop, st);
	sim_net_tap(c->net, pipe_queue_seen, st);
	start = c->now;
	while (result->delivered < pipe->messages && c->now < start + PIPE_LIMIT_NS) {
		pipe_feed(st);
		sim_cluster_step(c, st->next_at > c->now ? st->next_at : c->now + SIM_MS);
	}
	result->span = c->now - start;
	pipe_counters(st);
	sim_net_drop(c->net, NULL, NULL);
	sim_net_tap(c->net, NULL, NULL);
	sim_cluster_run(c, 100 * SIM_MS);
	if (c->nodes[0].downs == 0 && c->nodes[1].downs == 0)
		assert_int_equal(result->demands, st->demands_sent);
	sim_cluster_fini(c);
	free(st);
}
