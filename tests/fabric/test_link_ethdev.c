/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Two endpoints in one process over two net_ring ports, joined crosswise: the
 * real link, the real mbufs, the real clock.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_ring.h>

#include "tp_endpoint.h"
#include "tp_link_ethdev.h"

#define MESSAGES 2000u
#define MTU 4400u

struct side {
	struct tp_link *link;
	struct tp_endpoint *ep;
	uint16_t port;
	uint32_t requests;
	uint32_t responses;
	uint64_t bad;
	uint8_t *scratch;
};

static struct rte_mempool *pool;
static struct side sides[2];

static uint64_t
clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void
pattern(uint8_t *data, uint32_t length, uint32_t salt)
{
	uint32_t i;

	for (i = 0; i < length; i++)
		data[i] = (uint8_t)(i * 31 + salt + i / 251);
}

/* A request names the length it wants back; the answer is a pattern of it. */
static void
side_message(void *ctx, const struct tp_message *message)
{
	struct side *side = ctx;
	struct iovec iov = { .iov_base = side->scratch };
	uint8_t *copy;
	uint32_t want;

	if (message->class == TP_CLASS_REQUEST) {
		assert_int_equal(tp_message_copy(message, 0, &want, sizeof(want)), sizeof(want));
		iov.iov_len = want;
		pattern(side->scratch, want, want);
		assert_int_equal(tp_endpoint_send(side->ep, message->src_node, 0,
			TP_CLASS_RESPONSE, TP_PRIORITY_URGENT, &iov, 1), 0);
		tp_endpoint_request_done(side->ep, message->token);
		side->requests++;
		return;
	}
	copy = side->scratch + TP_WIRE_MESSAGE_MAX;
	tp_message_copy(message, 0, copy, message->length);
	pattern(side->scratch, message->length, message->length);
	side->bad += memcmp(copy, side->scratch, message->length) != 0;
	side->responses++;
}

static void
side_peer_up(void *ctx, uint16_t node, uint32_t incarnation)
{
}

static void
side_peer_down(void *ctx, uint16_t node, uint32_t incarnation, enum tp_peer_down_reason reason)
{
}

static void
side_start(uint32_t i)
{
	static const struct tp_endpoint_ops ops = {
		.message = side_message,
		.peer_up = side_peer_up,
		.peer_down = side_peer_down,
	};
	struct tp_port_config port = { .port = sides[i].port, .queues = 1, .mtu = MTU,
		.pools = &pool };
	struct tp_endpoint_config config = {
		.node = (uint16_t)(i + 1),
		.incarnation = 1,
		.link_count = 1,
		.tx_frames = 512,
		.rx_frames = 256,
	};
	uint16_t mtu = 0;

	assert_int_equal(tp_port_start(&port, &mtu), 0);
	assert_int_equal(mtu, MTU);
	sides[i].link = tp_link_ethdev_create(sides[i].port, 0, 0, pool);
	assert_non_null(sides[i].link);
	assert_int_equal(sides[i].link->mtu, MTU);
	config.links[0].link = sides[i].link;
	config.links[0].ip = 0x0a000001 + i;
	sides[i].ep = tp_endpoint_create(&config, &ops, &sides[i]);
	assert_non_null(sides[i].ep);
	sides[i].scratch = malloc(2 * TP_WIRE_MESSAGE_MAX);
	assert_non_null(sides[i].scratch);
}

static void
turn(void)
{
	uint32_t i;

	for (i = 0; i < 2; i++) {
		uint64_t now = clock_ns();

		tp_endpoint_rx_poll(sides[i].ep, now);
		tp_endpoint_timer_poll(sides[i].ep, now);
		tp_endpoint_tx_flush(sides[i].ep, now);
	}
}

static int
group_setup(void **state)
{
	unsigned int flags = RING_F_SP_ENQ | RING_F_SC_DEQ;
	struct rte_ring *a = rte_ring_create("a", 256, SOCKET_ID_ANY, flags);
	struct rte_ring *b = rte_ring_create("b", 256, SOCKET_ID_ANY, flags);
	int port;

	(void)state;
	pool = rte_pktmbuf_pool_create("frames", 4095, 0, 0, tp_port_mbuf_bytes(MTU),
		SOCKET_ID_ANY);
	assert_non_null(pool);
	assert_non_null(a);
	assert_non_null(b);
	port = rte_eth_from_rings("net_ring_a", &a, 1, &b, 1, 0);
	assert_true(port >= 0);
	sides[0].port = (uint16_t)port;
	port = rte_eth_from_rings("net_ring_b", &b, 1, &a, 1, 0);
	assert_true(port >= 0);
	sides[1].port = (uint16_t)port;
	side_start(0);
	side_start(1);
	return 0;
}

/* net_ring ports have no MAC address of their own: all zeros on both. */
static void
test_link_ethdev_requests_over_rings_are_answered(void **state)
{
	static const uint32_t sizes[] = { 8, 64, 4096, 4400, 20000, 65536 };
	uint64_t end = clock_ns() + UINT64_C(20000000000);
	uint32_t sent = 0;

	(void)state;
	assert_int_equal(tp_endpoint_peer_set(sides[0].ep, 2, 0, 0x0a000002, NULL, 0, 1), 0);
	assert_int_equal(tp_endpoint_peer_set(sides[1].ep, 1, 1, 0x0a000001, NULL, 0, 1), 0);
	while (sides[0].responses < MESSAGES && clock_ns() < end) {
		uint32_t want = sizes[sent % 6];
		struct iovec iov = { .iov_base = &want, .iov_len = sizeof(want) };

		if (sent < MESSAGES && sent - sides[0].responses < 4 &&
		    tp_endpoint_send(sides[0].ep, 2, 0, TP_CLASS_REQUEST, TP_PRIORITY_NORMAL,
				     &iov, 1) == 0)
			sent++;
		turn();
	}
	assert_int_equal(sides[0].responses, MESSAGES);
	assert_int_equal(sides[1].requests, MESSAGES);
	assert_int_equal(sides[0].bad, 0);
	assert_int_equal(tp_endpoint_counters(sides[0].ep)[TP_ENDPOINT_COUNTER_drop_crc], 0);
}

static void
test_link_ethdev_chained_mbuf_is_linear_or_dropped(void **state)
{
	struct rte_mempool *small = rte_pktmbuf_pool_create("small", 63, 0, 0,
		RTE_PKTMBUF_HEADROOM + 256, SOCKET_ID_ANY);
	struct rte_mbuf *head = rte_pktmbuf_alloc(small);
	struct rte_mbuf *tail = rte_pktmbuf_alloc(small);
	struct tp_frame frame;
	uint16_t i;

	(void)state;
	memset(rte_pktmbuf_append(head, 200), 0x11, 200);
	memset(rte_pktmbuf_append(tail, 100), 0x22, 100);
	assert_int_equal(rte_pktmbuf_chain(head, tail), 0);
	while (sides[1].link->ops->rx_burst(sides[1].link, &frame, 1) == 1)
		tp_frame_free(&frame);
	assert_int_equal(rte_eth_tx_burst(sides[0].port, 0, &head, 1), 1);
	assert_int_equal(sides[1].link->ops->rx_burst(sides[1].link, &frame, 1), 1);
	assert_int_equal(frame.length, 300);
	for (i = 0; i < 300; i++)
		assert_int_equal(((const uint8_t *)frame.data)[i], i < 200 ? 0x11 : 0x22);
	tp_frame_free(&frame);

	/* Longer than any of our buffers: dropped and counted. */
	head = rte_pktmbuf_alloc(small);
	rte_pktmbuf_append(head, 256);
	for (i = 0; i < 20; i++) {
		tail = rte_pktmbuf_alloc(small);
		rte_pktmbuf_append(tail, 256);
		assert_int_equal(rte_pktmbuf_chain(head, tail), 0);
	}
	assert_int_equal(rte_eth_tx_burst(sides[0].port, 0, &head, 1), 1);
	assert_int_equal(sides[1].link->ops->rx_burst(sides[1].link, &frame, 1), 0);
	assert_int_equal(sides[1].link->rx_dropped, 1);
	assert_int_equal(rte_mempool_avail_count(small), 63);
	rte_mempool_free(small);
}

static void
test_port_start_that_cannot_be_is_refused(void **state)
{
	struct tp_port_config config = { .port = sides[0].port, .queues = 2, .mtu = MTU,
		.pools = &pool };
	uint16_t mtu;

	(void)state;
	assert_int_equal(tp_port_start(&config, &mtu), -ENOTSUP);
	config.queues = 1;
	config.mtu = 9000;
	assert_int_equal(tp_port_start(&config, &mtu), -EINVAL);
	config.port = 99;
	assert_int_equal(tp_port_start(&config, &mtu), -ENODEV);
	assert_null(tp_link_ethdev_create(99, 0, 0, pool));
	assert_int_equal(rte_errno, ENODEV);
}

static int
group_teardown(void **state)
{
	uint32_t i;

	(void)state;
	for (i = 0; i < 2; i++)
		tp_endpoint_destroy(sides[i].ep);
	for (i = 0; i < 2; i++) {
		struct tp_frame frame;

		while (sides[i].link->ops->rx_burst(sides[i].link, &frame, 1) == 1)
			tp_frame_free(&frame);
	}
	for (i = 0; i < 2; i++) {
		tp_link_ethdev_destroy(sides[i].link);
		tp_port_stop(sides[i].port);
		free(sides[i].scratch);
	}
	return rte_mempool_avail_count(pool) == 4095 ? 0 : -1;
}

int
main(void)
{
	char *args[] = { (char[]){ "test" }, (char[]){ "--no-huge" }, (char[]){ "-m" },
		(char[]){ "64" }, (char[]){ "--no-pci" }, (char[]){ "--no-shconf" },
		(char[]){ "--log-level=lib.eal:warning" }, (char[]){ "-l" }, (char[]){ "0" },
		(char[]){ "--no-telemetry" } };
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_link_ethdev_requests_over_rings_are_answered),
		cmocka_unit_test(test_link_ethdev_chained_mbuf_is_linear_or_dropped),
		cmocka_unit_test(test_port_start_that_cannot_be_is_refused),
	};

	if (rte_eal_init((int)(sizeof(args) / sizeof(args[0])), args) < 0)
		return 1;
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
