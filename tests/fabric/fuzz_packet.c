/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * libFuzzer target: frames at an endpoint with an open session. The input is a
 * row of (flags, length, bytes); flags say how much of a valid frame stands
 * around the bytes, so that the fuzzer reaches what lies behind the CRC.
 */
#include <string.h>

#include "fabric_priv.h"
#include "sim_cluster.h"

#define FRAME_MAX 1514u

enum { FUZZ_OUTER = 1, FUZZ_HEADER = 2, FUZZ_CRC = 4, FUZZ_FLUSH = 8, FUZZ_TIME = 16,
	FUZZ_MANY = 32 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct last {
	uint32_t length;
	uint8_t bytes[FRAME_MAX];
};

static void
last_tap(void *ctx, uint32_t from, const uint8_t *frame, uint32_t length)
{
	struct last *last = ctx;

	if (from != 0 || length > FRAME_MAX)
		return;
	last->length = length;
	memcpy(last->bytes, frame, length);
}

/* A frame of the session with the input laid over it. */
static uint32_t
frame_make(uint8_t *frame, const struct last *valid, uint8_t flags, const uint8_t *data,
	uint32_t size)
{
	uint32_t at = (flags & FUZZ_HEADER) != 0 ? TP_WIRE_OUTER_BYTES + 32 :
		(flags & FUZZ_OUTER) != 0 ? TP_WIRE_OUTER_BYTES : 0;
	uint32_t length = at + size;
	uint32_t crc;

	if (length > FRAME_MAX)
		length = FRAME_MAX;
	memcpy(frame, valid->bytes, FRAME_MAX);
	memcpy(frame + at, data, length - at);
	if (at == 0)
		return length;
	if ((flags & FUZZ_MANY) != 0 && length >= TP_WIRE_OUTER_BYTES + 72)
		frame[TP_WIRE_OUTER_BYTES + 3] = TP_WIRE_MANY;
	/* Lengths and the IP checksum as they must be. */
	frame[16] = (uint8_t)((length - 14) >> 8);
	frame[17] = (uint8_t)(length - 14);
	frame[24] = frame[25] = 0;
	crc = fabric_ip_checksum(frame + 14);
	frame[24] = (uint8_t)(crc >> 8);
	frame[25] = (uint8_t)crc;
	frame[38] = (uint8_t)((length - 34) >> 8);
	frame[39] = (uint8_t)(length - 34);
	if ((flags & FUZZ_CRC) != 0 && length >= TP_WIRE_OUTER_BYTES + 72) {
		frame[TP_WIRE_OUTER_BYTES + 10] = (uint8_t)(length - TP_WIRE_OUTER_BYTES);
		frame[TP_WIRE_OUTER_BYTES + 11] = (uint8_t)((length - TP_WIRE_OUTER_BYTES) >> 8);
		crc = rte_cpu_to_le_32(fabric_crc(frame + TP_WIRE_OUTER_BYTES,
			length - TP_WIRE_OUTER_BYTES));
		memcpy(frame + TP_WIRE_OUTER_BYTES + 12, &crc, sizeof(crc));
	}
	return length;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct sim_faults calm = { .delay_ns = 2000 };
	/* As little memory as there can be: an endpoint is made for each input. */
	static const struct tp_endpoint_config small = {
		.peer_max = 2,
		.tx_frames = TP_ENDPOINT_TX_FRAMES_MIN,
		.rx_frames = TP_ENDPOINT_RX_FRAMES_MIN,
	};
	static uint8_t message[4000];
	struct last valid = { .length = 0 };
	struct sim_cluster c;
	uint8_t frame[FRAME_MAX];

	sim_cluster_init(&c, 2, 1, &calm, &small, 1500);
	sim_cluster_connect(&c);
	sim_net_tap(c.net, last_tap, &valid);
	sim_send(&c.nodes[0], &c.nodes[1], TP_CLASS_REQUEST, message, sizeof(message));
	sim_send(&c.nodes[1], &c.nodes[0], TP_CLASS_REQUEST, message, sizeof(message));
	sim_cluster_run(&c, SIM_MS);
	sim_net_tap(c.net, NULL, NULL);
	while (size >= 3) {
		uint8_t flags = data[0];
		uint32_t length = data[1] | (uint32_t)data[2] << 8;

		data += 3;
		size -= 3;
		if (length > size)
			length = (uint32_t)size;
		length = length > FRAME_MAX ? FRAME_MAX : length;
		sim_net_set_now(c.net, c.now);
		data += length;
		size -= length;
		length = frame_make(frame, &valid, flags, data - length, length);
		sim_link_inject(c.nodes[1].link, frame, length);
		if ((flags & FUZZ_FLUSH) != 0)
			sim_cluster_step(&c, c.now + 1000);
		else
			tp_endpoint_rx_poll(c.nodes[1].ep, c.now);
		if ((flags & FUZZ_TIME) != 0)
			sim_cluster_run(&c, 10 * SIM_MS);
	}
	sim_cluster_fini(&c);
	return 0;
}
