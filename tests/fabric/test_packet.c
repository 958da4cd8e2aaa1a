/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 */
#include <stdlib.h>
#include <string.h>

#include "fabric_priv.h"
#include "sim_cluster.h"
#include "golden.h"

#define CAPTURE_MAX 64u
#define PACKET TP_WIRE_OUTER_BYTES	/* where the packet begins in a frame */

static const struct sim_faults calm = { .delay_ns = 2000 };

struct capture {
	uint32_t count;
	struct {
		uint32_t from;
		uint32_t length;
		uint8_t bytes[256];
	} frames[CAPTURE_MAX];
};

static void
capture_frame(void *ctx, uint32_t from, const uint8_t *frame, uint32_t length)
{
	struct capture *capture = ctx;

	assert_true(capture->count < CAPTURE_MAX && length <= 256);
	capture->frames[capture->count].from = from;
	capture->frames[capture->count].length = length;
	memcpy(capture->frames[capture->count++].bytes, frame, length);
}

/* One of every packet, on a network where nothing is left to chance. */
static void
golden_scenario(struct sim_cluster *c)
{
	sim_cluster_connect(c);
	sim_cluster_run(c, SIM_MS);
	assert_int_equal(sim_send(&c->nodes[0], &c->nodes[1], TP_CLASS_REQUEST,
		"hello, wire", 11), 0);
	sim_cluster_run(c, SIM_MS);
	/* Two silent nodes ping. */
	sim_cluster_run(c, 40 * SIM_MS);
	/* The first of two messages is lost. */
	sim_net_cut(c->net, 0, 1, true);
	assert_int_equal(sim_send(&c->nodes[0], &c->nodes[1], TP_CLASS_REQUEST, "1", 1), 0);
	sim_cluster_run(c, SIM_MS / 100);
	sim_net_cut(c->net, 0, 1, false);
	assert_int_equal(sim_send(&c->nodes[0], &c->nodes[1], TP_CLASS_REQUEST, "2", 1), 0);
	sim_cluster_run(c, 5 * SIM_MS);
	/* One side forgets the other. */
	assert_int_equal(tp_endpoint_peer_remove(c->nodes[1].ep, 1), 0);
	sim_node_peer(&c->nodes[1], &c->nodes[0], 100);
	assert_int_equal(sim_send(&c->nodes[0], &c->nodes[1], TP_CLASS_REQUEST, "3", 1), 0);
	sim_cluster_run(c, SIM_MS);
	/* Two messages in one turn. */
	assert_int_equal(sim_send(&c->nodes[1], &c->nodes[0], TP_CLASS_FORWARD, "five", 4), 0);
	assert_int_equal(sim_send(&c->nodes[1], &c->nodes[0], TP_CLASS_FORWARD, "words", 5), 0);
	sim_cluster_run(c, SIM_MS);
}

static const uint8_t *
capture_find(const struct capture *capture, const uint8_t *packet, uint32_t length)
{
	uint32_t i;

	for (i = 0; i < capture->count; i++) {
		if (capture->frames[i].length == PACKET + length &&
		    memcmp(capture->frames[i].bytes + PACKET, packet, length) == 0)
			return capture->frames[i].bytes;
	}
	return NULL;
}

static void
test_packet_of_every_type_has_golden_bytes(void **state)
{
	static const struct {
		const char *name;
		const uint8_t *bytes;
		uint32_t length;
	} golden[] = {
		{ "data", golden_data, sizeof(golden_data) },
		{ "ack", golden_ack, sizeof(golden_ack) },
		{ "ack, selective", golden_ack_selective, sizeof(golden_ack_selective) },
		{ "hello", golden_hello, sizeof(golden_hello) },
		{ "hello ack", golden_hello_ack, sizeof(golden_hello_ack) },
		{ "reset", golden_reset, sizeof(golden_reset) },
		{ "ping", golden_ping, sizeof(golden_ping) },
		{ "many", golden_many, sizeof(golden_many) },
	};
	struct capture capture = { .count = 0 };
	struct sim_cluster c;
	uint32_t i;

	(void)state;
	sim_cluster_init(&c, 2, 0, &calm, NULL, 1500);
	sim_net_tap(c.net, capture_frame, &capture);
	golden_scenario(&c);
	for (i = 0; i < sizeof(golden) / sizeof(golden[0]); i++) {
		if (capture_find(&capture, golden[i].bytes, golden[i].length) == NULL)
			fail_msg("no such packet was sent: %s", golden[i].name);
	}
	assert_memory_equal(capture_find(&capture, golden_hello, sizeof(golden_hello)),
		golden_outer, sizeof(golden_outer));
	sim_cluster_fini(&c);
}

static void
test_packet_crc_is_crc32c(void **state)
{
	/* Bytes 12 to 15 count as zeros. The numbers are another implementation's. */
	uint8_t packet[25];

	(void)state;
	memcpy(packet, "0123456789ab----123456789", 25);
	assert_int_equal(fabric_crc(packet, 25), 0x5a7ec7f1);
	memset(packet, 0, 25);
	assert_int_equal(fabric_crc(packet, 25), 0x1db1bf80);
}

/* What to repair after a change, so that only the change is wrong. */
enum fix { FIX_NONE = 0, FIX_IP = 1, FIX_CRC = 2 };

struct malformed {
	const char *what;
	uint32_t offset;
	uint32_t length;	/* of bytes */
	uint8_t bytes[8];
	int fix;
	enum tp_endpoint_counter counter;
};

#define DROP(name) TP_ENDPOINT_COUNTER_drop_##name

static const struct malformed malformed_data[] = {
	{ "other mac", 0, 1, { 0x06 }, FIX_NONE, DROP(mac) },
	{ "ethertype", 12, 2, { 0x86, 0xdd }, FIX_NONE, DROP(ethertype) },
	{ "arp that is none", 12, 2, { 0x08, 0x06 }, FIX_NONE, DROP(arp) },
	{ "ip version", 14, 1, { 0x65 }, FIX_IP, DROP(ipv4) },
	{ "ip options", 14, 1, { 0x46 }, FIX_IP, DROP(ipv4) },
	{ "ip longer than frame", 16, 2, { 0x05, 0x00 }, FIX_IP, DROP(ipv4) },
	{ "ip shorter than header", 16, 2, { 0x00, 0x13 }, FIX_IP, DROP(ipv4) },
	{ "ip more fragments", 20, 1, { 0x60 }, FIX_IP, DROP(ipv4) },
	{ "ip fragment offset", 21, 1, { 0x01 }, FIX_IP, DROP(ipv4) },
	{ "ip checksum", 24, 1, { 0xee }, FIX_NONE, DROP(ip_checksum) },
	{ "ip time to live", 22, 1, { 0x01 }, FIX_NONE, DROP(ip_checksum) },
	{ "ip protocol", 23, 1, { 0x06 }, FIX_IP, DROP(protocol) },
	{ "ip source", 29, 1, { 0x09 }, FIX_IP, DROP(source) },
	{ "ip destination", 33, 1, { 0x09 }, FIX_IP, DROP(ip_address) },
	{ "udp port below", 36, 2, { 0x50, 0x4f }, FIX_NONE, DROP(port) },
	{ "udp port above", 36, 2, { 0x50, 0x51 }, FIX_NONE, DROP(port) },
	{ "udp length", 38, 2, { 0x00, 0x09 }, FIX_NONE, DROP(udp_length) },
	{ "udp length less than itself", 38, 2, { 0x00, 0x07 }, FIX_NONE, DROP(udp_length) },
	{ "magic", PACKET + 0, 1, { 0x55 }, FIX_CRC, DROP(magic) },
	{ "version", PACKET + 2, 1, { 0x01 }, FIX_CRC, DROP(version) },
	{ "type 0", PACKET + 3, 1, { 0 }, FIX_CRC, DROP(type) },
	{ "type past the last", PACKET + 3, 1, { TP_WIRE_TYPE_END }, FIX_CRC, DROP(type) },
	{ "type 255", PACKET + 3, 1, { 0xff }, FIX_CRC, DROP(type) },
	{ "data as ack", PACKET + 3, 1, { TP_WIRE_ACK }, FIX_CRC, DROP(length) },
	{ "length", PACKET + 10, 2, { 0x62, 0x00 }, FIX_CRC, DROP(length) },
	{ "crc", PACKET + 12, 1, { 0x00 }, FIX_NONE, DROP(crc) },
	{ "payload", PACKET + 88, 1, { 0x00 }, FIX_NONE, DROP(crc) },
	{ "unknown source node", PACKET + 4, 1, { 0x07 }, FIX_CRC, DROP(peer) },
	{ "ourselves", PACKET + 4, 1, { 0x02 }, FIX_CRC, DROP(peer) },
	{ "unknown source worker", PACKET + 8, 1, { 0x01 }, FIX_CRC, DROP(peer) },
	{ "other node", PACKET + 6, 1, { 0x07 }, FIX_CRC, DROP(node) },
	{ "other worker", PACKET + 9, 1, { 0x01 }, FIX_CRC, DROP(node) },
	{ "older source incarnation", PACKET + 16, 1, { 0x01 }, FIX_CRC, DROP(incarnation) },
	{ "newer source incarnation", PACKET + 16, 1, { 0x7f }, FIX_CRC, DROP(incarnation) },
	{ "no source incarnation", PACKET + 16, 1, { 0x00 }, FIX_CRC, DROP(incarnation) },
	{ "older incarnation of ours", PACKET + 20, 1, { 0x01 }, FIX_CRC, DROP(incarnation) },
	{ "newer incarnation of ours", PACKET + 20, 1, { 0x7f }, FIX_CRC, DROP(incarnation) },
	{ "no incarnation of ours", PACKET + 20, 1, { 0x00 }, FIX_CRC, DROP(incarnation) },
	{ "source epoch", PACKET + 24, 1, { 0x77 }, FIX_CRC, DROP(epoch) },
	{ "source epoch 0", PACKET + 24, 1, { 0x00 }, FIX_CRC, DROP(epoch) },
	{ "destination epoch", PACKET + 28, 1, { 0x77 }, FIX_CRC, DROP(epoch) },
	{ "sequence far ahead", PACKET + 33, 1, { 0x00 }, FIX_CRC, DROP(window) },
	{ "sequence at the window's end", PACKET + 32, 1, { 0x80 }, FIX_CRC, DROP(window) },
	{ "sequence far behind", PACKET + 33, 1, { 0xfe }, FIX_CRC, DROP(window) },
	{ "ack of what was not sent", PACKET + 36, 1, { 0x01 }, FIX_CRC, DROP(ack) },
	{ "selective ack, first", PACKET + 40, 1, { 0x01 }, FIX_CRC, DROP(ack) },
	{ "selective ack, last", PACKET + 55, 1, { 0x80 }, FIX_CRC, DROP(ack) },
	{ "request credit never used", PACKET + 64, 1, { 0x01 }, FIX_CRC, DROP(credit) },
	{ "forward credit never used", PACKET + 68, 1, { 0x01 }, FIX_CRC, DROP(credit) },
	{ "message length", PACKET + 76, 1, { 0x0c }, FIX_CRC, DROP(fragment) },
	{ "message length past 64 KiB", PACKET + 76, 4, { 0x01, 0x00, 0x01, 0x00 }, FIX_CRC,
		DROP(fragment) },
	{ "message length 4 GiB", PACKET + 76, 4, { 0xff, 0xff, 0xff, 0xff }, FIX_CRC,
		DROP(fragment) },
	{ "fragment offset odd", PACKET + 80, 1, { 0x08 }, FIX_CRC, DROP(fragment) },
	{ "fragment offset past the end", PACKET + 80, 2, { 0x68, 0x05 }, FIX_CRC,
		DROP(fragment) },
	{ "fragment length", PACKET + 82, 1, { 0x0a }, FIX_CRC, DROP(fragment) },
	{ "class", PACKET + 84, 1, { TP_CLASS_COUNT }, FIX_CRC, DROP(fragment) },
	{ "priority", PACKET + 85, 1, { TP_PRIORITY_COUNT }, FIX_CRC, DROP(fragment) },
	{ "flags", PACKET + 86, 1, { 0x02 }, FIX_CRC, DROP(fragment) },
	{ "reserved", PACKET + 87, 1, { 0x01 }, FIX_CRC, DROP(fragment) },
};

/* Two messages: 5 bytes at 88, padded to 96; the head of the other, and 3 bytes. */
static const struct malformed malformed_many[] = {
	{ "no message", PACKET + 72, 2, { 0x00, 0x00 }, FIX_CRC, DROP(fragment) },
	{ "one message", PACKET + 72, 2, { 0x01, 0x00 }, FIX_CRC, DROP(fragment) },
	{ "more messages than bytes", PACKET + 72, 2, { 0x03, 0x00 }, FIX_CRC, DROP(fragment) },
	{ "65535 messages", PACKET + 72, 2, { 0xff, 0xff }, FIX_CRC, DROP(fragment) },
	{ "class", PACKET + 74, 1, { TP_CLASS_COUNT }, FIX_CRC, DROP(fragment) },
	{ "priority", PACKET + 75, 1, { TP_PRIORITY_COUNT }, FIX_CRC, DROP(fragment) },
	{ "flags", PACKET + 76, 1, { 0x02 }, FIX_CRC, DROP(fragment) },
	{ "reserved, first", PACKET + 77, 1, { 0x01 }, FIX_CRC, DROP(fragment) },
	{ "reserved, last", PACKET + 79, 1, { 0x80 }, FIX_CRC, DROP(fragment) },
	{ "length of the first", PACKET + 80, 1, { 0x0d }, FIX_CRC, DROP(fragment) },
	{ "length of the first, short", PACKET + 80, 1, { 0x04 }, FIX_CRC, DROP(fragment) },
	{ "length of the first, all", PACKET + 80, 1, { 0x13 }, FIX_CRC, DROP(fragment) },
	{ "length of the first, 4 GiB", PACKET + 80, 4, { 0xff, 0xff, 0xff, 0xff }, FIX_CRC,
		DROP(fragment) },
	{ "reserved of the first", PACKET + 84, 1, { 0x01 }, FIX_CRC, DROP(fragment) },
	{ "padding", PACKET + 93, 1, { 0x01 }, FIX_CRC, DROP(fragment) },
	{ "padding, last", PACKET + 95, 1, { 0x01 }, FIX_CRC, DROP(fragment) },
	{ "length of the last", PACKET + 96, 1, { 0x04 }, FIX_CRC, DROP(fragment) },
	{ "length of the last, short", PACKET + 96, 1, { 0x02 }, FIX_CRC, DROP(fragment) },
	{ "length of the last, 4 GiB", PACKET + 96, 4, { 0xf8, 0xff, 0xff, 0xff }, FIX_CRC,
		DROP(fragment) },
	{ "reserved of the last", PACKET + 103, 1, { 0x01 }, FIX_CRC, DROP(fragment) },
	{ "as data", PACKET + 3, 1, { TP_WIRE_DATA }, FIX_CRC, DROP(fragment) },
	{ "as ack", PACKET + 3, 1, { TP_WIRE_ACK }, FIX_CRC, DROP(length) },
};

static const struct malformed malformed_hello[] = {
	{ "no epoch", PACKET + 24, 1, { 0x00 }, FIX_CRC, DROP(hello) },
	{ "no request credits", PACKET + 72, 2, { 0x00, 0x00 }, FIX_CRC, DROP(hello) },
	{ "too many request credits", PACKET + 72, 2, { 0x01, 0x10 }, FIX_CRC, DROP(hello) },
	{ "no forward credits", PACKET + 74, 2, { 0x00, 0x00 }, FIX_CRC, DROP(hello) },
	{ "window", PACKET + 76, 2, { 0x40, 0x00 }, FIX_CRC, DROP(hello) },
	{ "small mtu", PACKET + 78, 2, { 0xdb, 0x05 }, FIX_CRC, DROP(hello) },
	{ "large mtu", PACKET + 78, 2, { 0xff, 0xff }, FIX_CRC, DROP(hello) },
	{ "length", PACKET + 10, 2, { 0x48, 0x00 }, FIX_CRC, DROP(length) },
	{ "older epoch", PACKET + 24, 4, { 0xff, 0xff, 0xff, 0xff }, FIX_CRC, DROP(epoch) },
};

static void
malformed_make(uint8_t *frame, uint32_t length, const struct malformed *m)
{
	uint32_t crc;
	uint16_t sum;

	memcpy(frame + m->offset, m->bytes, m->length);
	if (m->fix == FIX_IP) {
		frame[24] = 0;
		frame[25] = 0;
		sum = fabric_ip_checksum(frame + 14);
		frame[24] = (uint8_t)(sum >> 8);
		frame[25] = (uint8_t)sum;
	} else if (m->fix == FIX_CRC) {
		crc = rte_cpu_to_le_32(fabric_crc(frame + PACKET, length - PACKET));
		memcpy(frame + PACKET + 12, &crc, sizeof(crc));
	}
}

static uint64_t
drops(const struct sim_node *node)
{
	uint64_t sum = 0;
	unsigned int k;

	for (k = DROP(short); k < TP_ENDPOINT_COUNTER_COUNT; k++)
		sum += sim_counter(node, k);
	return sum;
}

/* A frame from node 1 that node 2 has not seen, for the test to spoil. */
static uint32_t
frame_unseen(struct sim_cluster *c, struct capture *capture, uint8_t *frame)
{
	sim_cluster_run(c, SIM_MS);
	sim_net_tap(c->net, capture_frame, capture);
	sim_net_cut(c->net, 0, 1, true);
	assert_int_equal(sim_send(&c->nodes[0], &c->nodes[1], TP_CLASS_REQUEST,
		"hello, wire", 11), 0);
	sim_cluster_step(c, c->now + 1000);
	sim_net_cut(c->net, 0, 1, false);
	sim_net_tap(c->net, NULL, NULL);
	assert_int_equal(capture->count, 1);
	memcpy(frame, capture->frames[0].bytes, capture->frames[0].length);
	return capture->frames[0].length;
}

static void
inject(struct sim_cluster *c, const uint8_t *frame, uint32_t length)
{
	struct sim_node *node = &c->nodes[1];

	sim_net_set_now(c->net, c->now);
	sim_link_inject(node->link, frame, length);
	assert_int_equal(tp_endpoint_rx_poll(node->ep, c->now), 1);
}

static void
malformed_check(struct sim_cluster *c, const uint8_t *good, uint32_t length,
	const struct malformed *m)
{
	struct sim_node *node = &c->nodes[1];
	uint64_t before = sim_counter(node, m->counter);
	uint64_t drops_before = drops(node);
	uint8_t frame[256];

	memcpy(frame, good, length);
	malformed_make(frame, length, m);
	inject(c, frame, length);
	if (sim_counter(node, m->counter) != before + 1 || drops(node) != drops_before + 1)
		fail_msg("%s: not dropped as %s", m->what, tp_endpoint_counter_name(m->counter));
	assert_int_equal(node->messages, 0);
	assert_int_equal(node->downs, 0);
}

static void
test_packet_with_any_bad_field_is_dropped_and_counted(void **state)
{
	struct capture capture = { .count = 0 };
	uint8_t frame[256];
	struct sim_cluster c;
	uint32_t length;
	uint32_t i;

	(void)state;
	sim_cluster_init(&c, 2, 0, &calm, NULL, 1500);
	sim_cluster_connect(&c);
	length = frame_unseen(&c, &capture, frame);
	for (i = 0; i < sizeof(malformed_data) / sizeof(malformed_data[0]); i++)
		malformed_check(&c, frame, length, &malformed_data[i]);
	/* The good one is still taken, once. */
	inject(&c, frame, length);
	inject(&c, frame, length);
	assert_int_equal(c.nodes[1].messages, 1);
	assert_int_equal(SIM_COUNTER(&c.nodes[1], rx_duplicates), 1);
	sim_cluster_fini(&c);
}

static void
test_packet_many_with_any_bad_field_is_dropped_and_counted(void **state)
{
	struct capture capture = { .count = 0 };
	struct sim_cluster c;
	uint32_t length;
	uint32_t i;

	(void)state;
	sim_cluster_init(&c, 2, 0, &calm, NULL, 1500);
	sim_cluster_connect(&c);
	sim_cluster_run(&c, SIM_MS);
	sim_net_tap(c.net, capture_frame, &capture);
	sim_net_cut(c.net, 0, 1, true);
	sim_send(&c.nodes[0], &c.nodes[1], TP_CLASS_REQUEST, "first", 5);
	sim_send(&c.nodes[0], &c.nodes[1], TP_CLASS_REQUEST, "two", 3);
	sim_cluster_step(&c, c.now + 1000);
	sim_net_cut(c.net, 0, 1, false);
	sim_net_tap(c.net, NULL, NULL);
	assert_int_equal(capture.count, 1);
	length = capture.frames[0].length;
	assert_int_equal(length, PACKET + 107);
	for (i = 0; i < sizeof(malformed_many) / sizeof(malformed_many[0]); i++)
		malformed_check(&c, capture.frames[0].bytes, length, &malformed_many[i]);
	/* The good one is still taken, once. */
	inject(&c, capture.frames[0].bytes, length);
	inject(&c, capture.frames[0].bytes, length);
	assert_int_equal(c.nodes[1].messages, 2);
	assert_int_equal(SIM_COUNTER(&c.nodes[1], rx_duplicates), 1);
	sim_cluster_fini(&c);
}

static void
test_packet_hello_with_any_bad_field_is_dropped_and_counted(void **state)
{
	struct capture capture = { .count = 0 };
	struct sim_cluster c;
	uint32_t hello = 0;
	uint32_t i;

	(void)state;
	sim_cluster_init(&c, 2, 0, &calm, NULL, 1500);
	sim_net_tap(c.net, capture_frame, &capture);
	sim_cluster_connect(&c);
	sim_net_tap(c.net, NULL, NULL);
	while (capture.frames[hello].length != PACKET + 80 ||
	       capture.frames[hello].bytes[PACKET + 3] != TP_WIRE_HELLO)
		assert_true(++hello < capture.count);
	assert_int_equal(capture.frames[hello].from, 0);
	sim_cluster_run(&c, SIM_MS);
	for (i = 0; i < sizeof(malformed_hello) / sizeof(malformed_hello[0]); i++)
		malformed_check(&c, capture.frames[hello].bytes, PACKET + 80,
			&malformed_hello[i]);
	sim_cluster_fini(&c);
}

static void
test_packet_cut_short_anywhere_is_dropped(void **state)
{
	struct capture capture = { .count = 0 };
	uint8_t frame[256];
	struct sim_cluster c;
	uint64_t before;
	uint32_t length;
	uint32_t n;

	(void)state;
	sim_cluster_init(&c, 2, 0, &calm, NULL, 1500);
	sim_cluster_connect(&c);
	length = frame_unseen(&c, &capture, frame);
	for (n = 0; n < length; n++) {
		before = drops(&c.nodes[1]);
		inject(&c, frame, n);
		assert_int_equal(drops(&c.nodes[1]), before + 1);
	}
	assert_int_equal(c.nodes[1].messages, 0);
	/* Padding behind the packet, as Ethernet adds it, does no harm. */
	memset(frame + length, 0xaa, 20);
	inject(&c, frame, length + 20);
	assert_int_equal(c.nodes[1].messages, 1);
	sim_cluster_fini(&c);
}

static void
test_packet_any_single_bit_flipped_is_never_delivered(void **state)
{
	struct capture capture = { .count = 0 };
	uint8_t frame[256];
	struct sim_cluster c;
	uint32_t length;
	uint32_t bit;

	(void)state;
	sim_cluster_init(&c, 2, 0, &calm, NULL, 1500);
	sim_cluster_connect(&c);
	length = frame_unseen(&c, &capture, frame);
	/* From the packet on; before, some bits (the sender's MAC) mean nothing to us. */
	for (bit = 8 * PACKET; bit < 8 * length; bit++) {
		frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
		inject(&c, frame, length);
		frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	assert_int_equal(c.nodes[1].messages, 0);
	assert_int_equal(c.nodes[1].downs, 0);
	sim_cluster_fini(&c);
}

/* Random frames, and good ones with random damage and the CRC put right again. */
static void
test_packet_random_and_mutated_frames_do_no_harm(void **state)
{
	struct capture capture = { .count = 0 };
	struct malformed fix = { .length = 0, .fix = FIX_CRC };
	uint8_t frame[256];
	uint8_t bad[256];
	struct sim_cluster c;
	uint32_t length;
	uint32_t i;

	(void)state;
	sim_cluster_init(&c, 2, 7, &calm, NULL, 1500);
	sim_cluster_connect(&c);
	length = frame_unseen(&c, &capture, frame);
	for (i = 0; i < 200000; i++) {
		uint64_t random = sim_net_random(c.net);
		uint32_t k;

		if (i % 4 == 0) {
			for (k = 0; k < sizeof(bad); k++)
				bad[k] = (uint8_t)sim_net_random(c.net);
			memcpy(bad, frame, random % (PACKET + 8));
			inject(&c, bad, (uint32_t)(random >> 32) % sizeof(bad));
		} else {
			memcpy(bad, frame, sizeof(bad));
			for (k = 0; k < 1 + random % 3; k++)
				bad[PACKET + 3 + sim_net_random(c.net) % (length - PACKET - 3)] =
					(uint8_t)sim_net_random(c.net);
			malformed_make(bad, length, &fix);
			inject(&c, bad, length);
		}
		if (i % 64 == 0)
			tp_endpoint_tx_flush(c.nodes[1].ep, c.now);
		sim_net_set_now(c.net, c.now);
	}
	/* Valid damage may have reset the session; the two find each other again. */
	sim_cluster_run(&c, 400 * SIM_MS);
	assert_int_equal(tp_endpoint_peer_state(c.nodes[0].ep, 2, NULL), TP_PEER_UP);
	sim_cluster_fini(&c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_packet_of_every_type_has_golden_bytes),
		cmocka_unit_test(test_packet_crc_is_crc32c),
		cmocka_unit_test(test_packet_with_any_bad_field_is_dropped_and_counted),
		cmocka_unit_test(test_packet_many_with_any_bad_field_is_dropped_and_counted),
		cmocka_unit_test(test_packet_hello_with_any_bad_field_is_dropped_and_counted),
		cmocka_unit_test(test_packet_cut_short_anywhere_is_dropped),
		cmocka_unit_test(test_packet_any_single_bit_flipped_is_never_delivered),
		cmocka_unit_test(test_packet_random_and_mutated_frames_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
