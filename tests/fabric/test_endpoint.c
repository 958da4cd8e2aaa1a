/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_errno.h>

#include "fabric_priv.h"
#include "sim_cluster.h"

static const struct sim_faults calm = { .delay_ns = 2000 };

/* Remembers the last message whole. */
struct inbox {
	uint8_t bytes[TP_WIRE_MESSAGE_MAX];
	struct tp_message last;
	uint64_t token;
};

static void
inbox_message(struct sim_node *node, const struct tp_message *message)
{
	struct inbox *inbox = node->cluster->test;

	inbox->last = *message;
	inbox->token = message->token;
	assert_int_equal(tp_message_copy(message, 0, inbox->bytes, sizeof(inbox->bytes)),
		message->length);
}

static void
test_endpoint_message_of_every_size_arrives_whole(void **state)
{
	static const uint32_t sizes[] = { 0, 1, 64, 1383, 1384, 1385, 4096, 4160, 9000, 65535,
		65536 };
	static const uint16_t mtus[] = { 1500, 1501, 4200, 9000 };
	static uint8_t data[TP_WIRE_MESSAGE_MAX];
	struct inbox *inbox = malloc(sizeof(*inbox));
	struct sim_cluster c;
	uint32_t i;
	uint32_t m;

	(void)state;
	for (i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + i / 256);
	for (m = 0; m < 4; m++) {
		sim_cluster_init(&c, 2, 1, &calm, NULL, mtus[m]);
		c.test = inbox;
		c.message = inbox_message;
		sim_cluster_connect(&c);
		for (i = 0; i < 11; i++) {
			memset(inbox, 0xee, sizeof(*inbox));
			assert_int_equal(sim_send(&c.nodes[0], &c.nodes[1], TP_CLASS_RESPONSE,
				data, sizes[i]), 0);
			sim_cluster_run(&c, 5 * SIM_MS);
			assert_int_equal(c.nodes[1].messages, i + 1);
			assert_int_equal(inbox->last.length, sizes[i]);
			assert_int_equal(inbox->last.src_node, 1);
			assert_int_equal(inbox->last.class, TP_CLASS_RESPONSE);
			assert_memory_equal(inbox->bytes, data, sizes[i]);
		}
		sim_cluster_fini(&c);
	}
	free(inbox);
}


static void
test_endpoint_hint_shows_the_head_of_each_message_once(void **state)
{
	static uint8_t data[4160];
	struct sim_cluster c;
	uint32_t i;

	(void)state;
	for (i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 5 + 1);
	sim_cluster_init(&c, 2, 1, &calm, NULL, 1500);
	sim_cluster_connect(&c);
	/* Too short for a head, just long enough, three frames. */
	for (i = 0; i < 3; i++) {
		static const uint32_t sizes[] = { 63, 64, 4160 };

		assert_int_equal(sim_send(&c.nodes[0], &c.nodes[1], TP_CLASS_RESPONSE, data,
			sizes[i]), 0);
		sim_cluster_run(&c, 5 * SIM_MS);
		assert_int_equal(c.nodes[1].messages, i + 1);
		assert_int_equal(c.nodes[1].hints, i);
	}
	assert_memory_equal(c.nodes[1].hinted, data, TP_ENDPOINT_HINT_BYTES);
	sim_cluster_fini(&c);
}

/* Answers each request with as many bytes; the asker asks again until it has enough. */
static void
ping_pong_message(struct sim_node *node, const struct tp_message *message)
{
	uint8_t data[64];
	struct sim_node *peer = &node->cluster->nodes[1 - node->index];

	tp_message_copy(message, 0, data, sizeof(data));
	if (message->class == TP_CLASS_REQUEST) {
		assert_int_equal(sim_send(node, peer, TP_CLASS_RESPONSE, data, 64), 0);
		tp_endpoint_request_done(node->ep, message->token);
	} else {
		assert_int_equal(sim_send(node, peer, TP_CLASS_REQUEST, data, 64), 0);
	}
}

static void
test_endpoint_ping_pong_costs_one_packet_each_way(void **state)
{
	uint8_t data[64] = { 1 };
	struct sim_cluster c;
	uint64_t frames[2];
	uint32_t messages[2];
	uint32_t i;

	(void)state;
	sim_cluster_init(&c, 2, 1, &calm, NULL, 1500);
	c.message = ping_pong_message;
	sim_cluster_connect(&c);
	sim_cluster_run(&c, SIM_MS);
	assert_int_equal(sim_send(&c.nodes[0], &c.nodes[1], TP_CLASS_REQUEST, data, 64), 0);
	sim_cluster_run(&c, SIM_MS);
	for (i = 0; i < 2; i++) {
		frames[i] = SIM_COUNTER(&c.nodes[i], tx_frames);
		messages[i] = c.nodes[i].messages;
	}
	sim_cluster_run(&c, 10 * SIM_MS);
	for (i = 0; i < 2; i++) {
		messages[i] = c.nodes[i].messages - messages[i];
		frames[i] = SIM_COUNTER(&c.nodes[i], tx_frames) - frames[i];
		assert_true(messages[i] >= 2000);
		assert_in_range(frames[i], messages[i] - 1, messages[i] + 1);
		assert_int_equal(SIM_COUNTER(&c.nodes[i], tx_retransmits), 0);
	}
	sim_cluster_fini(&c);
}

static void
test_endpoint_only_acks_unasked_to_send_is_told(void **state)
{
	uint8_t data[64] = { 1 };
	struct tp_endpoint *ep;
	struct sim_cluster c;

	(void)state;
	sim_cluster_init(&c, 2, 1, &calm, NULL, 1500);
	sim_cluster_connect(&c);
	sim_cluster_run(&c, SIM_MS);
	ep = c.nodes[0].ep;
	assert_false(tp_endpoint_tx_pending(ep));
	assert_true(tp_endpoint_tx_is_acks(ep));
	ep->sessions[0].ack_now = true;
	fabric_session_ready(ep, &ep->sessions[0]);
	assert_true(tp_endpoint_tx_pending(ep));
	assert_true(tp_endpoint_tx_is_acks(ep));
	/* The peer waits for this one. */
	ep->sessions[0].ack_asked = true;
	assert_false(tp_endpoint_tx_is_acks(ep));
	assert_int_equal(tp_endpoint_tx_flush(ep, c.now), 1);
	assert_true(tp_endpoint_tx_is_acks(ep));
	ep->sessions[0].ack_now = true;
	fabric_session_ready(ep, &ep->sessions[0]);
	assert_true(tp_endpoint_tx_is_acks(ep));
	assert_int_equal(sim_send(&c.nodes[0], &c.nodes[1], TP_CLASS_RESPONSE, data, 64), 0);
	assert_false(tp_endpoint_tx_is_acks(ep));
	/* The ack rides along. */
	assert_int_equal(tp_endpoint_tx_flush(ep, c.now), 1);
	assert_false(tp_endpoint_tx_pending(ep));
	assert_true(tp_endpoint_tx_is_acks(ep));
	ep->sessions[0].ping_now = true;
	fabric_session_ready(ep, &ep->sessions[0]);
	assert_false(tp_endpoint_tx_is_acks(ep));
	sim_cluster_fini(&c);
}

/* Keeps the tokens of requests. */
struct deferred {
	uint64_t tokens[64];
	uint32_t count;
	uint32_t responses;
};

static void
deferring_message(struct sim_node *node, const struct tp_message *message)
{
	struct deferred *d = node->cluster->test;

	if (message->class == TP_CLASS_REQUEST)
		d->tokens[d->count++] = message->token;
	else
		d->responses++;
}

static void
test_endpoint_request_without_credit_waits_until_one_is_done(void **state)
{
	/* No heartbeat within the test: it would bring the credits, too. */
	struct tp_endpoint_config config = { .request_credits = 2,
		.peer_timeout_ns = 8000 * SIM_MS, .heartbeat_ns = 4000 * SIM_MS,
		.rto_max_ns = 40 * SIM_MS };
	struct deferred d = { .count = 0 };
	struct sim_cluster c;
	uint32_t i;

	(void)state;
	sim_cluster_init(&c, 2, 1, &calm, &config, 1500);
	c.test = &d;
	c.message = deferring_message;
	sim_cluster_connect(&c);
	for (i = 0; i < 5; i++)
		assert_int_equal(sim_send(&c.nodes[0], &c.nodes[1], TP_CLASS_REQUEST, "r", 1), 0);
	sim_cluster_run(&c, 20 * SIM_MS);
	assert_int_equal(d.count, 2);
	/* A response does not wait behind them. */
	assert_int_equal(sim_send(&c.nodes[0], &c.nodes[1], TP_CLASS_RESPONSE, "a", 1), 0);
	sim_cluster_run(&c, SIM_MS);
	assert_int_equal(d.responses, 1);

	tp_endpoint_request_done(c.nodes[1].ep, d.tokens[0]);
	sim_cluster_run(&c, SIM_MS);
	assert_int_equal(d.count, 3);
	/* A credit whose only carrier is lost is asked for again. */
	sim_net_cut(c.net, 1, 0, true);
	tp_endpoint_request_done(c.nodes[1].ep, d.tokens[1]);
	sim_cluster_run(&c, 10 * SIM_MS);
	sim_net_cut(c.net, 1, 0, false);
	sim_cluster_run(&c, 80 * SIM_MS);
	assert_int_equal(d.count, 4);
	for (i = 2; i < 5; i++) {
		tp_endpoint_request_done(c.nodes[1].ep, d.tokens[i]);
		sim_cluster_run(&c, SIM_MS);
	}
	assert_int_equal(d.count, 5);
	/* Done twice, or never given: ignored. */
	tp_endpoint_request_done(c.nodes[1].ep, d.tokens[4]);
	tp_endpoint_request_done(c.nodes[1].ep, 0);
	tp_endpoint_request_done(c.nodes[1].ep, UINT64_MAX);
	sim_cluster_run(&c, SIM_MS);
	assert_int_equal(SIM_COUNTER(&c.nodes[0], drop_credit), 0);
	assert_int_equal(c.nodes[0].downs + c.nodes[1].downs, 0);
	sim_cluster_fini(&c);
}

static void
test_endpoint_forward_credit_returns_on_delivery(void **state)
{
	struct tp_endpoint_config config = { .forward_credits = 1 };
	struct deferred d = { .count = 0 };
	struct sim_cluster c;
	uint32_t i;

	(void)state;
	sim_cluster_init(&c, 2, 1, &calm, &config, 1500);
	c.test = &d;
	c.message = deferring_message;
	sim_cluster_connect(&c);
	for (i = 0; i < 20; i++)
		assert_int_equal(sim_send(&c.nodes[0], &c.nodes[1], TP_CLASS_FORWARD, "f", 1), 0);
	sim_cluster_run(&c, 20 * SIM_MS);
	assert_int_equal(d.responses, 20);
	sim_cluster_fini(&c);
}

static void
test_endpoint_requests_never_take_the_last_frames(void **state)
{
	static uint8_t data[TP_WIRE_MESSAGE_MAX];
	struct tp_endpoint_config config = { .tx_frames = TP_ENDPOINT_TX_FRAMES_MIN,
		.session_queue_frames = 4096, .no_join = true };
	struct sim_cluster c;
	uint32_t tx;
	uint32_t rx;

	(void)state;
	sim_cluster_init(&c, 2, 1, &calm, &config, 1500);
	sim_cluster_connect(&c);
	while (sim_send(&c.nodes[0], &c.nodes[1], TP_CLASS_REQUEST, data, 1000) == 0)
		;
	assert_int_equal(sim_send(&c.nodes[0], &c.nodes[1], TP_CLASS_REQUEST, data, 1), -ENOBUFS);
	tp_endpoint_frames_held(c.nodes[0].ep, &tx, &rx);
	assert_int_equal(tx, TP_WIRE_FRAGMENTS_MAX);
	/* The largest forward and the largest response still fit. */
	assert_int_equal(sim_send(&c.nodes[0], &c.nodes[1], TP_CLASS_FORWARD, data,
		sizeof(data)), 0);
	assert_int_equal(sim_send(&c.nodes[0], &c.nodes[1], TP_CLASS_FORWARD, data, 1), -ENOBUFS);
	assert_int_equal(sim_send(&c.nodes[0], &c.nodes[1], TP_CLASS_RESPONSE, data,
		sizeof(data)), 0);
	assert_int_equal(sim_send(&c.nodes[0], &c.nodes[1], TP_CLASS_RESPONSE, data, 1),
		-ENOBUFS);
	sim_cluster_run(&c, 20 * SIM_MS);
	assert_int_equal(c.nodes[1].messages, TP_WIRE_FRAGMENTS_MAX + 2);
	sim_cluster_fini(&c);
}

static void
test_endpoint_send_that_cannot_be_is_refused(void **state)
{
	static uint8_t data[TP_WIRE_MESSAGE_MAX + 1];
	struct iovec huge[2] = { { data, 16 }, { data, SIZE_MAX - 8 } };
	struct iovec one = { data, 1 };
	struct sim_cluster c;
	struct tp_endpoint *ep;

	(void)state;
	sim_cluster_init(&c, 2, 1, &calm, NULL, 1500);
	ep = c.nodes[0].ep;
	assert_int_equal(sim_send(&c.nodes[0], &c.nodes[1], TP_CLASS_REQUEST, data, 1), -ENOENT);
	sim_node_peer(&c.nodes[0], &c.nodes[1], 0);
	assert_int_equal(sim_send(&c.nodes[0], &c.nodes[1], TP_CLASS_REQUEST, data, 1), -EAGAIN);
	sim_cluster_connect(&c);
	assert_int_equal(sim_send(&c.nodes[0], &c.nodes[1], TP_CLASS_REQUEST, data,
		sizeof(data)), -EMSGSIZE);
	assert_int_equal(tp_endpoint_send(ep, 2, 0, TP_CLASS_REQUEST, TP_PRIORITY_NORMAL,
		huge, 2), -EMSGSIZE);
	assert_int_equal(tp_endpoint_send(ep, 2, 1, TP_CLASS_REQUEST, TP_PRIORITY_NORMAL,
		&one, 1), -EINVAL);
	assert_int_equal(tp_endpoint_send(ep, 2, 0, TP_CLASS_COUNT, TP_PRIORITY_NORMAL,
		&one, 1), -EINVAL);
	assert_int_equal(tp_endpoint_send(ep, 2, 0, TP_CLASS_REQUEST, TP_PRIORITY_COUNT,
		&one, 1), -EINVAL);
	sim_cluster_fini(&c);
}

static void
test_endpoint_create_with_bad_config_fails(void **state)
{
	static const struct tp_endpoint_ops none = { .message = NULL };
	struct tp_endpoint_config good;
	struct tp_endpoint_config bad;
	struct sim_cluster c;

	(void)state;
	sim_cluster_init(&c, 1, 1, &calm, NULL, 1500);
	good = c.nodes[0].config;
	assert_null(tp_endpoint_create(&good, &none, NULL));
	assert_int_equal(rte_errno, EINVAL);
#define BAD(field, value) do {							\
	bad = good;								\
	bad.field = (value);							\
	rte_errno = 0;								\
	assert_null(tp_endpoint_create(&bad, &(struct tp_endpoint_ops){		\
		.message = (void (*)(void *, const struct tp_message *))1,	\
		.peer_up = (void (*)(void *, uint16_t, uint32_t))1,		\
		.peer_down = (void (*)(void *, uint16_t, uint32_t,		\
			enum tp_peer_down_reason))1 }, NULL));			\
	assert_int_equal(rte_errno, EINVAL);					\
} while (0)
	BAD(incarnation, 0);
	BAD(link_count, 0);
	BAD(link_count, TP_ENDPOINT_LINKS_MAX + 1);
	BAD(links[0].link, NULL);
	BAD(links[0].ip, 0);
	BAD(worker, 1);
	BAD(worker_count, TP_ENDPOINT_WORKERS_MAX + 1);
	BAD(tx_frames, TP_ENDPOINT_TX_FRAMES_MIN - 1);
	BAD(rx_frames, TP_ENDPOINT_RX_FRAMES_MIN - 1);
	BAD(session_queue_frames, TP_WIRE_FRAGMENTS_MAX - 1);
	BAD(session_max, 1);
	BAD(request_credits, TP_WIRE_CREDITS_MAX + 1);
	BAD(heartbeat_ns, 150 * SIM_MS);
#undef BAD
	sim_cluster_fini(&c);
}

/* Node 2 has a second worker, whose frames all come to the first. */
struct steering {
	struct tp_endpoint *second;
	uint32_t delivered;
	uint8_t byte;
};

static void
steering_message(void *ctx, const struct tp_message *message)
{
	struct steering *st = ctx;

	st->delivered++;
	st->byte = *(const uint8_t *)tp_message_head(message, 1);
}

static void
steering_up(void *ctx, uint16_t node, uint32_t incarnation)
{
}

static void
steering_down(void *ctx, uint16_t node, uint32_t incarnation, enum tp_peer_down_reason reason)
{
}

static void
steering_steer(struct sim_node *node, uint8_t worker, struct tp_frame *frame)
{
	struct steering *st = node->cluster->test;

	assert_int_equal(worker, 1);
	tp_endpoint_rx_frame(st->second, frame, node->cluster->now);
}

static void
test_endpoint_frame_for_another_worker_is_steered_to_it(void **state)
{
	static const struct tp_endpoint_ops ops = { .message = steering_message,
		.peer_up = steering_up, .peer_down = steering_down };
	struct tp_endpoint_config config = { .worker_count = 2 };
	struct iovec iov = { .iov_base = (uint8_t[]){ 77 }, .iov_len = 1 };
	struct steering st = { .delivered = 0 };
	struct tp_link *link;
	struct sim_cluster c;
	uint32_t i;
	int ret = -1;

	(void)state;
	sim_cluster_init(&c, 2, 1, &calm, &config, 1500);
	c.test = &st;
	c.steer = steering_steer;
	link = sim_net_link(c.net, 1500, 0);
	memcpy(link->mac, c.nodes[1].link->mac, 6);
	for (i = 0; i < 2; i++)
		sim_net_cut(c.net, i, sim_link_port(link), true);
	config = c.nodes[1].config;
	config.worker = 1;
	config.links[0].link = link;
	st.second = tp_endpoint_create(&config, &ops, &st);
	assert_non_null(st.second);
	tp_endpoint_timer_poll(st.second, c.now);
	assert_int_equal(tp_endpoint_peer_set(st.second, 1, 100, 0x0a000001,
		c.nodes[0].link->mac, 0, 2), 0);
	sim_cluster_connect(&c);
	for (i = 0; i < 20000 && st.delivered == 0; i++) {
		if (ret != 0)
			ret = tp_endpoint_send(c.nodes[0].ep, 2, 1, TP_CLASS_REQUEST,
				TP_PRIORITY_NORMAL, &iov, 1);
		sim_cluster_step(&c, c.now + 1000);
		tp_endpoint_timer_poll(st.second, c.now);
		tp_endpoint_tx_flush(st.second, c.now);
	}
	assert_int_equal(st.delivered, 1);
	assert_int_equal(st.byte, 77);
	assert_int_equal(c.nodes[1].messages, 0);
	assert_true(SIM_COUNTER(&c.nodes[1], steered) >= 2);

	/* The second worker dies, the first still answers: the node is not whole. */
	sim_cluster_run(&c, 50 * SIM_MS);
	assert_int_equal(c.nodes[0].downs, 0);
	c.steer = NULL;
	assert_int_equal(tp_endpoint_send(c.nodes[0].ep, 2, 1, TP_CLASS_REQUEST,
		TP_PRIORITY_NORMAL, &iov, 1), 0);
	sim_cluster_run(&c, 250 * SIM_MS);
	assert_int_equal(c.nodes[0].downs, 1);
	assert_int_equal(c.nodes[0].last_down_reason, TP_PEER_TIMEOUT);
	tp_endpoint_destroy(st.second);
	sim_link_unplug(link);
	sim_cluster_fini(&c);
}

struct order {
	uint8_t first[8];
	uint32_t count;
};

static void
order_message(struct sim_node *node, const struct tp_message *message)
{
	struct order *order = node->cluster->test;

	order->first[order->count++] = *(const uint8_t *)tp_message_head(message, 1);
}

static void
test_endpoint_urgent_message_overtakes_queued_bulk(void **state)
{
	static uint8_t bulk[50000];
	struct order order = { .count = 0 };
	struct iovec iov = { .iov_base = bulk, .iov_len = sizeof(bulk) };
	struct sim_cluster c;
	uint32_t i;

	(void)state;
	sim_cluster_init(&c, 2, 1, &calm, NULL, 1500);
	c.test = &order;
	c.message = order_message;
	sim_cluster_connect(&c);
	for (i = 1; i <= 3; i++) {
		bulk[0] = (uint8_t)i;
		assert_int_equal(tp_endpoint_send(c.nodes[0].ep, 2, 0, TP_CLASS_RESPONSE,
			TP_PRIORITY_BULK, &iov, 1), 0);
	}
	sim_cluster_step(&c, c.now + 1000);	/* the first has begun */
	bulk[0] = 9;
	iov.iov_len = 100;
	assert_int_equal(tp_endpoint_send(c.nodes[0].ep, 2, 0, TP_CLASS_REQUEST,
		TP_PRIORITY_URGENT, &iov, 1), 0);
	sim_cluster_run(&c, 20 * SIM_MS);
	assert_int_equal(order.count, 4);
	assert_memory_equal(order.first, ((uint8_t[]){ 1, 9, 2, 3 }), 4);
	sim_cluster_fini(&c);
}

/* Loses one sequence number of node 1, so many times. */
struct hole {
	uint32_t sequence;
	uint32_t times;
	uint32_t lost;		/* times it was sent */
};

static bool
hole_drop(void *ctx, uint32_t from, const uint8_t *frame, uint32_t length)
{
	struct hole *hole = ctx;
	const struct tp_wire_header *header = (const void *)(frame + TP_WIRE_OUTER_BYTES);

	if (from != 0 || length < TP_WIRE_OUTER_BYTES + sizeof(struct tp_wire_data) ||
	    header->type != TP_WIRE_DATA || rte_le_to_cpu_32(header->sequence) != hole->sequence)
		return false;
	return ++hole->lost <= hole->times;
}

static void
test_endpoint_window_with_one_packet_lost_again_and_again_holds(void **state)
{
	struct tp_endpoint_config config = { .no_join = true };
	struct tp_session_info info;
	struct hole hole = { .times = UINT32_MAX };
	struct sim_cluster c;
	uint32_t accepted = 0;
	uint32_t before;
	uint64_t end;

	(void)state;
	sim_cluster_init(&c, 2, 1, &calm, &config, 1500);
	sim_cluster_connect(&c);
	/* Let the congestion window grow as far as it may. */
	for (end = c.now + 50 * SIM_MS; c.now < end;) {
		while (sim_send(&c.nodes[0], &c.nodes[1], TP_CLASS_RESPONSE, "x", 1) == 0)
			accepted++;
		sim_cluster_step(&c, c.now + 100000);
	}
	sim_cluster_run(&c, 20 * SIM_MS);
	assert_int_equal(c.nodes[1].messages, accepted);
	assert_int_equal(tp_endpoint_session_info(c.nodes[0].ep, 0, &info), 0);
	assert_int_equal(info.window_packets, TP_WIRE_WINDOW);

	hole.sequence = TP_WIRE_SEQUENCE_FIRST + accepted + 5;
	sim_net_drop(c.net, hole_drop, &hole);
	before = c.nodes[1].messages;
	for (end = c.now + 60 * SIM_MS; c.now < end;) {
		while (sim_send(&c.nodes[0], &c.nodes[1], TP_CLASS_RESPONSE, "x", 1) == 0)
			accepted++;
		sim_cluster_step(&c, c.now + 100000);
		assert_int_equal(tp_endpoint_session_info(c.nodes[0].ep, 0, &info), 0);
		assert_true(info.outstanding <= TP_WIRE_WINDOW);
	}
	assert_true(hole.lost >= 3);
	/* All of the window but the one. */
	assert_int_equal(c.nodes[1].messages - before, 5 + TP_WIRE_WINDOW - 1);
	sim_net_drop(c.net, NULL, NULL);
	sim_cluster_run(&c, 100 * SIM_MS);
	assert_int_equal(c.nodes[1].messages, accepted);
	assert_int_equal(SIM_COUNTER(&c.nodes[1], drop_window), 0);
	assert_int_equal(c.nodes[0].downs, 0);
	sim_cluster_fini(&c);
}

static void
test_endpoint_single_loss_is_repaired_before_the_timeout(void **state)
{
	static uint8_t data[TP_WIRE_MESSAGE_MAX];
	struct hole hole = { .sequence = TP_WIRE_SEQUENCE_FIRST + 5, .times = 1 };
	struct sim_cluster c;
	uint32_t i;

	(void)state;
	sim_cluster_init(&c, 2, 1, &calm, NULL, 1500);
	sim_cluster_connect(&c);
	sim_net_drop(c.net, hole_drop, &hole);
	for (i = 0; i < 4; i++)
		assert_int_equal(sim_send(&c.nodes[0], &c.nodes[1], TP_CLASS_RESPONSE, data,
			sizeof(data)), 0);
	sim_cluster_run(&c, SIM_MS);
	assert_int_equal(c.nodes[1].messages, 4);
	assert_int_equal(hole.lost, 2);
	assert_int_equal(SIM_COUNTER(&c.nodes[0], tx_fast_retransmits), 1);
	assert_int_equal(SIM_COUNTER(&c.nodes[0], rto_expired), 0);
	sim_cluster_fini(&c);
}

static void
test_endpoint_that_did_not_run_does_not_blame_its_peers(void **state)
{
	struct sim_cluster c;
	uint32_t i;

	(void)state;
	sim_cluster_init(&c, 3, 1, &calm, NULL, 1500);
	sim_cluster_connect(&c);
	sim_cluster_run(&c, 1000 * SIM_MS);
	for (i = 0; i < 3; i++)
		assert_int_equal(SIM_COUNTER(&c.nodes[i], gaps), 0);
	/* The whole machine stands still with requests under way, then goes on. */
	for (i = 0; i < 3; i++)
		assert_int_equal(sim_send(&c.nodes[i], &c.nodes[(i + 1) % 3], TP_CLASS_REQUEST,
			"x", 1), 0);
	sim_cluster_step(&c, c.now + 1000);
	for (i = 0; i < 3; i++)
		while (tp_endpoint_rx_poll(c.nodes[i].ep, c.now) != 0)
			;
	c.now += 700 * SIM_MS;
	for (i = 0; i < 3; i++)
		tp_endpoint_timer_poll(c.nodes[i].ep, c.now);
	sim_cluster_run(&c, 1000 * SIM_MS);
	for (i = 0; i < 3; i++) {
		assert_int_equal(SIM_COUNTER(&c.nodes[i], gaps), 1);
		assert_int_equal(c.nodes[i].downs, 0);
		assert_int_equal(c.nodes[i].messages, 1);
	}
	sim_cluster_fini(&c);
}

/* Turns of node 0, the other one silent; when it is given up, from now on. */
static uint64_t
silence_found_after(struct sim_cluster *c, uint64_t first, uint64_t step)
{
	uint64_t begun = c->now;

	for (c->now += first; c->nodes[0].downs == 0; c->now += step) {
		assert_true(c->now < begun + 10000 * SIM_MS);
		tp_endpoint_rx_poll(c->nodes[0].ep, c->now);
		tp_endpoint_timer_poll(c->nodes[0].ep, c->now);
		tp_endpoint_tx_flush(c->nodes[0].ep, c->now);
		if (c->nodes[0].downs != 0)
			break;
	}
	return c->now - begun;
}

static void
test_endpoint_short_of_a_core_charges_little_of_it(void **state)
{
	/* Of a timeout of 150 ms: on time, one short gap, late every time. */
	static const struct {
		uint64_t first, step, from, to;
	} cases[] = {
		{ SIM_MS, SIM_MS, 110 * SIM_MS, 151 * SIM_MS },
		{ 25 * SIM_MS, SIM_MS, 125 * SIM_MS, 167 * SIM_MS },
		{ 100 * SIM_MS, SIM_MS, 200 * SIM_MS, 242 * SIM_MS },
		{ 25 * SIM_MS, 25 * SIM_MS, 250 * SIM_MS, 450 * SIM_MS },
	};
	uint32_t i;

	(void)state;
	for (i = 0; i < RTE_DIM(cases); i++) {
		struct sim_cluster c;
		uint64_t found;

		sim_cluster_init(&c, 2, 1, &calm, NULL, 1500);
		sim_cluster_connect(&c);
		sim_cluster_run(&c, 100 * SIM_MS);
		found = silence_found_after(&c, cases[i].first, cases[i].step);
		assert_in_range(found, cases[i].from, cases[i].to);
		sim_cluster_fini(&c);
	}
}

static void
test_endpoint_counters_have_names_and_help(void **state)
{
	unsigned int k;

	(void)state;
	for (k = 0; k < TP_ENDPOINT_COUNTER_COUNT; k++) {
		assert_non_null(tp_endpoint_counter_name(k));
		assert_non_null(tp_endpoint_counter_help(k));
	}
	assert_null(tp_endpoint_counter_name(k));
	assert_null(tp_endpoint_counter_help(k));
	assert_string_equal(tp_endpoint_counter_name(TP_ENDPOINT_COUNTER_drop_crc), "drop_crc");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_endpoint_message_of_every_size_arrives_whole),
		cmocka_unit_test(test_endpoint_hint_shows_the_head_of_each_message_once),
		cmocka_unit_test(test_endpoint_ping_pong_costs_one_packet_each_way),
		cmocka_unit_test(test_endpoint_only_acks_unasked_to_send_is_told),
		cmocka_unit_test(test_endpoint_request_without_credit_waits_until_one_is_done),
		cmocka_unit_test(test_endpoint_forward_credit_returns_on_delivery),
		cmocka_unit_test(test_endpoint_requests_never_take_the_last_frames),
		cmocka_unit_test(test_endpoint_send_that_cannot_be_is_refused),
		cmocka_unit_test(test_endpoint_create_with_bad_config_fails),
		cmocka_unit_test(test_endpoint_frame_for_another_worker_is_steered_to_it),
		cmocka_unit_test(test_endpoint_urgent_message_overtakes_queued_bulk),
		cmocka_unit_test(test_endpoint_window_with_one_packet_lost_again_and_again_holds),
		cmocka_unit_test(test_endpoint_single_loss_is_repaired_before_the_timeout),
		cmocka_unit_test(test_endpoint_that_did_not_run_does_not_blame_its_peers),
		cmocka_unit_test(test_endpoint_short_of_a_core_charges_little_of_it),
		cmocka_unit_test(test_endpoint_counters_have_names_and_help),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
