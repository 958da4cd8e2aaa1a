/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * libFuzzer target: frames at one endpoint, which is the same before each input: with
 * an open session, messages of its own not acknowledged, and frames of its peer on the
 * way. Each frame lies in memory of just its length. Nothing is delivered that an own
 * check of the frame refuses, each frame is counted once, none is leaked, and what the
 * endpoint sends passes the check, too.
 *
 * Input: rows of (flags, bytes, that many bytes). Flags: which of the peer's frames,
 * what of it the bytes are laid over, what is mended afterwards.
 */
#include <stdlib.h>
#include <string.h>

#include "fabric_priv.h"
#include "snapshot.h"

#define FRAME_MAX 1514u
#define FRAMES_MAX 16u			/* of an input */
#define POOL_FRAMES 192u
#define WIRE_FRAMES 64u
#define SNAPSHOT_BYTES (80u * 1024)	/* what is taken apart in reassembly, whole */
#define US UINT64_C(1000)

/* Low two bits: which valid frame. */
enum { FUZZ_TEMPLATES = 4, FUZZ_TEMPLATE_MASK = 3, FUZZ_OUTER = 4, FUZZ_LATER = 8, FUZZ_LENGTH = 16,
	FUZZ_CRC = 32, FUZZ_FLUSH = 64, FUZZ_TIME = 128 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(bool holds)
{
	if (!holds)
		abort();
}

struct wire_frame {
	uint32_t length;
	uint8_t bytes[FRAME_MAX];
};

/* Frames on their way to one of the two. */
struct wire {
	uint32_t count;
	struct wire_frame frames[WIRE_FRAMES];
};

/* A link without a network: what is sent is put on the wire, or only looked at. */
struct fuzz_link {
	struct tp_link link;
	struct wire *wire;		/* NULL: only looked at */
	uint8_t (*buffers)[FRAME_MAX];
	uint16_t references[POOL_FRAMES];
	uint16_t free[POOL_FRAMES];
	uint32_t free_count;
};

/* A frame that came, of just its length. */
struct arrival {
	uint32_t references;
	uint8_t *bytes;
};

static struct {
	struct tp_endpoint *ep;		/* what is fuzzed: node 2, worker 0 of 2 */
	struct tp_endpoint *peer;	/* node 1 */
	struct wire_frame templates[FUZZ_TEMPLATES];
	struct arrival arrivals[2 * FRAMES_MAX];
	uint32_t frame_count;
	uint64_t now;
	uint64_t delivered;
} fuzz;

/* Bit by bit, and nothing of the library's: a CRC32C, of a packet with that field 0. */
__attribute__((no_sanitize("address", "undefined", "coverage")))
static uint32_t
own_crc(const uint8_t *packet, uint32_t length)
{
	static uint32_t table[256];
	uint32_t crc = UINT32_MAX;

	for (uint32_t i = 0; table[255] == 0 && i < 256; i++) {
		table[i] = i;
		for (int bit = 0; bit < 8; bit++)
			table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0x82f63b78 : 0);
	}
	for (uint32_t i = 0; i < length; i++)
		crc = crc >> 8 ^ table[(crc ^ (i >= 12 && i < 16 ? 0 : packet[i])) & 0xff];
	return ~crc;
}

static uint32_t
big16(const uint8_t *at)
{
	return (uint32_t)at[0] << 8 | at[1];
}

/*
 * docs/protocol.md sections 2 and 3.1, as far as a frame itself says. Of one that is
 * sent the library's checksum will do, which is the faster.
 */
static bool
frame_is_sound(const uint8_t *frame, uint32_t length, bool sent)
{
	const uint8_t *packet = frame + TP_WIRE_OUTER_BYTES;
	uint32_t bytes, crc, sum = 0;

	if (length < TP_WIRE_OUTER_BYTES + 72 || big16(frame + 12) != 0x0800 || frame[14] != 0x45 ||
	    frame[23] != 17 || (big16(frame + 20) & 0x3fff) != 0)
		return false;
	for (uint32_t i = 14; i < 34; i += 2)
		sum += big16(frame + i);
	bytes = big16(frame + 38);
	if (sum % 0xffff != 0 || big16(frame + 16) > length - 14 ||
	    big16(frame + 16) != bytes + 20 || bytes < 80)
		return false;
	bytes -= 8;
	memcpy(&crc, packet + 12, sizeof(crc));
	return packet[0] == 'T' && packet[1] == 'p' && packet[2] == TP_WIRE_VERSION &&
		packet[3] >= 1 && packet[3] < TP_WIRE_TYPE_END &&
		(packet[10] | (uint32_t)packet[11] << 8) == bytes &&
		(sent ? fabric_crc(packet, bytes) : own_crc(packet, bytes)) ==
			rte_le_to_cpu_32(crc);
}

static struct fuzz_link *
link_of(struct tp_link *link)
{
	return (struct fuzz_link *)link;
}

static uint32_t
link_rx_burst(struct tp_link *link, struct tp_frame *frames, uint32_t n)
{
	return 0;
}

static void
link_frame_free(struct tp_link *link, struct tp_frame *frame)
{
	struct fuzz_link *fl = link_of(link);
	uint32_t index;

	if (frame->capacity == 0) {
		struct arrival *arrival = frame->handle;

		check(arrival->references > 0);
		if (--arrival->references == 0) {
			snapshot_free(arrival->bytes);
			arrival->bytes = NULL;
		}
		return;
	}
	index = (uint32_t)((uint8_t (*)[FRAME_MAX])frame->data - fl->buffers);
	check(index < POOL_FRAMES && fl->references[index] > 0);
	if (--fl->references[index] == 0)
		fl->free[fl->free_count++] = (uint16_t)index;
}

static void
link_frame_ref(struct tp_link *link, struct tp_frame *frame)
{
	struct fuzz_link *fl = link_of(link);

	if (frame->capacity == 0)
		((struct arrival *)frame->handle)->references++;
	else
		fl->references[(uint8_t (*)[FRAME_MAX])frame->data - fl->buffers]++;
}

static bool
link_frame_shared(struct tp_link *link, const struct tp_frame *frame)
{
	return link_of(link)->references[(uint8_t (*)[FRAME_MAX])frame->data -
		link_of(link)->buffers] > 1;
}

static uint32_t
link_tx_alloc(struct tp_link *link, struct tp_frame *frames, uint32_t n)
{
	struct fuzz_link *fl = link_of(link);

	if (fl->free_count < n)
		return 0;
	for (uint32_t i = 0; i < n; i++) {
		uint16_t index = fl->free[--fl->free_count];

		fl->references[index] = 1;
		frames[i] = (struct tp_frame){ .data = fl->buffers[index], .link = link,
			.capacity = FRAME_MAX };
	}
	return n;
}

static uint32_t
link_tx_burst(struct tp_link *link, struct tp_frame *frames, uint32_t n)
{
	struct wire *wire = link_of(link)->wire;

	for (uint32_t i = 0; i < n; i++) {
		check(frames[i].length <= FRAME_MAX);
		check(big16((uint8_t *)frames[i].data + 12) == 0x0806 ||
			frame_is_sound(frames[i].data, frames[i].length, true));
		if (wire != NULL) {
			check(wire->count < WIRE_FRAMES);
			wire->frames[wire->count].length = frames[i].length;
			memcpy(wire->frames[wire->count++].bytes, frames[i].data, frames[i].length);
		}
		link_frame_free(link, &frames[i]);
	}
	return n;
}

static const struct tp_link_ops link_ops = {
	.rx_burst = link_rx_burst,
	.tx_burst = link_tx_burst,
	.tx_alloc = link_tx_alloc,
	.frame_ref = link_frame_ref,
	.frame_free = link_frame_free,
	.frame_shared = link_frame_shared,
};

static struct fuzz_link *
link_make(uint8_t number, void *buffers, struct wire *wire)
{
	struct fuzz_link *fl = calloc(1, sizeof(*fl));

	check(fl != NULL);
	fl->link = (struct tp_link){ .ops = &link_ops, .mac = { 2, 0, 0, 0, 0, number },
		.mtu = TP_WIRE_MTU_MIN, .max_frame = FRAME_MAX };
	fl->buffers = buffers;
	fl->wire = wire;
	while (fl->free_count < POOL_FRAMES) {
		fl->free[fl->free_count] = (uint16_t)fl->free_count;
		fl->free_count++;
	}
	return fl;
}

/* All that is promised is read; one request in two is answered, and each is done. */
static void
on_message(void *ctx, const struct tp_message *message)
{
	static const uint8_t answer[100];
	const struct iovec iov = { .iov_base = (void *)(uintptr_t)answer, .iov_len = sizeof(answer) };
	uint32_t length = 0;
	uint8_t sum = 0;

	check(message->class < TP_CLASS_COUNT && message->priority < TP_PRIORITY_COUNT);
	check(message->piece_count >= 1 && message->length <= TP_WIRE_MESSAGE_MAX);
	for (uint8_t i = 0; i < message->piece_count; i++) {
		const uint8_t *bytes = message->pieces[i].data;

		length += message->pieces[i].length;
		if (message->pieces[i].length != 0)
			sum ^= bytes[0] ^ bytes[message->pieces[i].length - 1];
	}
	check(length == message->length);
	fuzz.delivered++;
	if (ctx == NULL || message->class != TP_CLASS_REQUEST)
		return;
	if (sum & 1)
		tp_endpoint_send(fuzz.ep, 1, 0, TP_CLASS_RESPONSE, TP_PRIORITY_URGENT, &iov, 1);
	tp_endpoint_request_done(fuzz.ep, message->token);
}

static void
on_peer_up(void *ctx, uint16_t node, uint32_t incarnation)
{
	check(node == 1 || node == 2);
}

static void
on_peer_down(void *ctx, uint16_t node, uint32_t incarnation, enum tp_peer_down_reason reason)
{
	check(node == 1 && reason < TP_PEER_REASON_COUNT);
}

static void
on_steer(void *ctx, uint8_t worker, struct tp_frame *frame)
{
	check(worker == 1);
	tp_frame_free(frame);
}

static void
on_hint(void *ctx, const void *head, uint32_t length, bool next)
{
	static uint8_t seen[TP_ENDPOINT_HINT_BYTES];

	check(length >= sizeof(seen));
	memcpy(seen, head, sizeof(seen));
}

static const struct tp_endpoint_ops ops = {
	.message = on_message,
	.peer_up = on_peer_up,
	.peer_down = on_peer_down,
	.steer = on_steer,
	.hint = on_hint,
};

static struct tp_endpoint *
endpoint_make(uint8_t number, struct fuzz_link *link)
{
	const struct tp_endpoint_config config = {
		.node = number, .incarnation = 100, .link_count = 1, .peer_max = 1, .session_max = 2,
		.worker_count = number, .tx_frames = TP_ENDPOINT_TX_FRAMES_MIN,
		.rx_frames = TP_ENDPOINT_RX_FRAMES_MIN,
		.links = { { .link = &link->link, .ip = 0x0a000000u + number } },
	};
	/* Node 1 says nothing of what it gets. */
	struct tp_endpoint *ep = tp_endpoint_create(&config, &ops, number == 2 ? &fuzz : NULL);

	check(ep != NULL);
	tp_endpoint_timer_poll(ep, fuzz.now);
	return ep;
}

/* A frame at an endpoint, in memory that ends where it does. */
static void
frame_arrive(struct tp_endpoint *ep, const uint8_t *bytes, uint32_t length)
{
	struct arrival *arrival = fuzz.arrivals;
	struct tp_frame frame = { .length = length, .link = ep->links[0].link };

	while (arrival->references != 0)
		arrival++;
	check(arrival < fuzz.arrivals + RTE_DIM(fuzz.arrivals));
	frame.handle = arrival;
	arrival->references = 1;
	arrival->bytes = malloc(length);
	check(arrival->bytes != NULL);
	memcpy(arrival->bytes, bytes, length);
	frame.data = arrival->bytes;
	snapshot_watch(true);
	tp_endpoint_rx_frame(ep, &frame, fuzz.now);
	snapshot_watch(false);
}

static void
wire_deliver(struct wire *wire, struct tp_endpoint *ep)
{
	for (uint32_t i = 0; i < wire->count; i++)
		frame_arrive(ep, wire->frames[i].bytes, wire->frames[i].length);
	wire->count = 0;
}

static void
send(struct tp_endpoint *ep, uint16_t node, enum tp_class class, enum tp_priority priority,
	size_t bytes)
{
	static uint8_t data[4000];
	const struct iovec iov = { .iov_base = data, .iov_len = bytes };

	check(tp_endpoint_send(ep, node, 0, class, priority, &iov, 1) == 0);
}

/* Both as they are before each input; the peer's next frames become templates. */
static void
fuzz_begin(void)
{
	static uint8_t buffers[2][POOL_FRAMES][FRAME_MAX];
	static struct wire to_peer, to_ep;
	struct fuzz_link *links[2];

	fuzz.now = 1000000 * US;
	links[0] = link_make(1, buffers[0], &to_ep);
	fuzz.peer = endpoint_make(1, links[0]);
	snapshot_begin(SNAPSHOT_BYTES);
	links[1] = link_make(2, buffers[1], &to_peer);
	fuzz.ep = endpoint_make(2, links[1]);
	tp_endpoint_peer_set(fuzz.peer, 2, 100, 0x0a000002, links[1]->link.mac, 0, 2);
	tp_endpoint_peer_set(fuzz.ep, 1, 0, 0x0a000001, NULL, 0, 1);
	snapshot_end();
	for (int i = 0; i < 200; i++) {
		fuzz.now += 100 * US;
		tp_endpoint_timer_poll(fuzz.peer, fuzz.now);
		tp_endpoint_timer_poll(fuzz.ep, fuzz.now);
		/* Of each at least one message goes through. */
		if (i == 100) {
			send(fuzz.peer, 2, TP_CLASS_REQUEST, TP_PRIORITY_URGENT, 4000);
			send(fuzz.ep, 1, TP_CLASS_REQUEST, TP_PRIORITY_URGENT, 4000);
		}
		tp_endpoint_tx_flush(fuzz.peer, fuzz.now);
		tp_endpoint_tx_flush(fuzz.ep, fuzz.now);
		wire_deliver(&to_ep, fuzz.ep);
		wire_deliver(&to_peer, fuzz.peer);
	}
	check(fuzz.delivered == 2);
	send(fuzz.ep, 1, TP_CLASS_REQUEST, TP_PRIORITY_URGENT, 3000);
	send(fuzz.ep, 1, TP_CLASS_FORWARD, TP_PRIORITY_BULK, 64);
	tp_endpoint_tx_flush(fuzz.ep, fuzz.now);
	wire_deliver(&to_peer, fuzz.peer);
	send(fuzz.peer, 2, TP_CLASS_REQUEST, TP_PRIORITY_URGENT, 2000);
	for (int i = 0; i < 3; i++)
		send(fuzz.peer, 2, TP_CLASS_FORWARD, TP_PRIORITY_NORMAL, 64);
	send(fuzz.peer, 2, TP_CLASS_RESPONSE, TP_PRIORITY_BULK, 200);
	tp_endpoint_tx_flush(fuzz.peer, fuzz.now);
	/* Two fragments, one of many, one alone. */
	check(to_ep.count == FUZZ_TEMPLATES);
	memcpy(fuzz.templates, to_ep.frames, sizeof(fuzz.templates));
	links[1]->wire = NULL;
	snapshot_take();
}

/* Lengths and sums as they must be. */
static void
frame_mend(uint8_t *frame, uint32_t length, uint8_t flags)
{
	uint8_t *packet = frame + TP_WIRE_OUTER_BYTES;
	uint32_t bytes = length - TP_WIRE_OUTER_BYTES;
	uint32_t sum;

	if (length < TP_WIRE_OUTER_BYTES + 72)
		return;
	if (flags & FUZZ_LENGTH) {
		frame[16] = (uint8_t)((length - 14) >> 8);
		frame[17] = (uint8_t)(length - 14);
		frame[38] = (uint8_t)((length - 34) >> 8);
		frame[39] = (uint8_t)(length - 34);
		packet[10] = (uint8_t)bytes;
		packet[11] = (uint8_t)(bytes >> 8);
	}
	frame[24] = frame[25] = 0;
	sum = fabric_ip_checksum(frame + 14);
	frame[24] = (uint8_t)(sum >> 8);
	frame[25] = (uint8_t)sum;
	if (flags & FUZZ_CRC) {
		sum = rte_cpu_to_le_32(fabric_crc(packet, bytes));
		memcpy(packet + 12, &sum, sizeof(sum));
	}
}

/*
 * The bytes as they are, or a template with the bytes over it: from the start of its
 * packet, or from where the first two of them say, in the packet or the whole frame.
 */
static uint32_t
frame_make(uint8_t *frame, uint8_t flags, const uint8_t *data, uint32_t size)
{
	const struct wire_frame *from = &fuzz.templates[flags & FUZZ_TEMPLATE_MASK];
	uint32_t length = from->length;
	uint32_t at = 0;

	memcpy(frame, from->bytes, length);
	if (size == 0)
		return length;
	if ((flags & (FUZZ_OUTER | FUZZ_LATER)) == 0) {
		memcpy(frame, data, size);
		return size;
	}
	if (flags & FUZZ_LATER && size >= 2) {
		at = (data[0] | (uint32_t)data[1] << 8) % (length - TP_WIRE_OUTER_BYTES);
		data += 2;
		size -= 2;
	}
	if (flags & FUZZ_OUTER)
		at += TP_WIRE_OUTER_BYTES;
	size = RTE_MIN(size, FRAME_MAX - at);
	memcpy(frame + at, data, size);
	if (flags & FUZZ_LENGTH && (flags & FUZZ_LATER) == 0)
		length = at + size;
	frame_mend(frame, length, flags);
	return length;
}

static uint64_t
counter(enum tp_endpoint_counter which)
{
	return tp_endpoint_counters(fuzz.ep)[which];
}

static uint64_t
drops(void)
{
	uint64_t sum = 0;

	for (int i = TP_ENDPOINT_COUNTER_drop_short; i < TP_ENDPOINT_COUNTER_COUNT; i++)
		sum += counter(i);
	return sum;
}

static void
frame_run(uint8_t flags, const uint8_t *data, uint32_t size)
{
	static uint8_t frame[FRAME_MAX];
	uint64_t frames = counter(TP_ENDPOINT_COUNTER_rx_frames);
	uint64_t dropped = drops();
	uint64_t packets = counter(TP_ENDPOINT_COUNTER_rx_packets);
	uint64_t messages = fuzz.delivered;
	uint32_t length = frame_make(frame, flags, data, size);

	fuzz.now += US;
	frame_arrive(fuzz.ep, frame, length);
	/* One for another link is counted as such only. */
	check(counter(TP_ENDPOINT_COUNTER_rx_frames) - frames <= 1);
	check(drops() - dropped <= 1);
	if (counter(TP_ENDPOINT_COUNTER_rx_packets) != packets || fuzz.delivered != messages)
		check(frame_is_sound(frame, length, false));
	if (flags & FUZZ_FLUSH)
		tp_endpoint_tx_flush(fuzz.ep, fuzz.now);
	if (flags & FUZZ_TIME) {
		fuzz.now += 2000 * US;
		tp_endpoint_timer_poll(fuzz.ep, fuzz.now);
		tp_endpoint_tx_flush(fuzz.ep, fuzz.now);
	}
}

/* What waits for the rest of its message goes back, and nothing is left. */
static void
fuzz_end(uint64_t now)
{
	for (uint32_t i = 0; i < fuzz.ep->config.session_max; i++) {
		if (fuzz.ep->sessions[i].state == FABRIC_SESSION_ESTABLISHED)
			fabric_session_rx_clear(fuzz.ep, &fuzz.ep->sessions[i]);
	}
	check(fuzz.ep->rx_held == 0 && fuzz.ep->rx_reserved_held == 0);
	for (uint32_t i = 0; i < RTE_DIM(fuzz.arrivals); i++)
		check(fuzz.arrivals[i].references == 0);
	snapshot_restore();
	fuzz.now = now;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t now;

	if (fuzz.ep == NULL)
		fuzz_begin();
	now = fuzz.now;
	fuzz.frame_count = 0;
	while (size >= 2 && fuzz.frame_count++ < FRAMES_MAX) {
		uint8_t flags = data[0];
		uint32_t length = data[1];

		data += 2;
		size -= 2;
		/* The last row takes what is left. */
		if (length > size || fuzz.frame_count == FRAMES_MAX)
			length = (uint32_t)size;
		length = RTE_MIN(length, FRAME_MAX);
		frame_run(flags, data, length);
		data += length;
		size -= length;
	}
	fuzz_end(now);
	return 0;
}
