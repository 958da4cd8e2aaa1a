/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The fault link, between two ports of a simulated network that has no faults of
 * its own.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <rte_byteorder.h>

#include "sim_link.h"
#include "tp_link_fault.h"

#define FRAME 200u
#define IP_HERE 0x0a000001u
#define IP_PEER 0x0a000002u
#define IP_OTHER 0x0a000003u
#define US UINT64_C(1000)

struct wire {
	struct sim_net *net;
	struct tp_link *base;	/* this side's, and the fault link on it */
	struct tp_link *fault;
	struct tp_link *peer;
	uint64_t now;
};

static struct wire *
wire_create(uint64_t seed)
{
	static struct wire wire;

	wire.now = 1000 * US;
	wire.net = sim_net_create(1, NULL);
	wire.base = sim_net_link(wire.net, 1500, 0);
	wire.peer = sim_net_link(wire.net, 1500, 0);
	wire.fault = tp_link_fault_create(wire.base, seed, &wire.now);
	assert_non_null(wire.fault);
	sim_net_set_now(wire.net, wire.now);
	return &wire;
}

/* Every buffer is back, also those held. */
static void
wire_destroy(struct wire *wire)
{
	struct tp_frame frame;

	tp_link_fault_destroy(wire->fault);
	while (wire->base->ops->rx_burst(wire->base, &frame, 1) == 1 ||
	       wire->peer->ops->rx_burst(wire->peer, &frame, 1) == 1)
		tp_frame_free(&frame);
	assert_int_equal(sim_net_buffers(wire->net), 0);
	sim_net_destroy(wire->net);
}

static void
wire_time(struct wire *wire, uint64_t now)
{
	wire->now = now;
	sim_net_set_now(wire->net, now);
}

/* An IPv4 frame with a number in it. */
static void
send_ip(struct tp_link *from, const struct tp_link *to, uint32_t source, uint32_t target,
	uint32_t number)
{
	rte_be32_t ips[2] = { rte_cpu_to_be_32(source), rte_cpu_to_be_32(target) };
	struct tp_frame frame;
	uint8_t *bytes;

	assert_int_equal(from->ops->tx_alloc(from, &frame, 1), 1);
	bytes = frame.data;
	memset(bytes, 0, FRAME);
	memcpy(bytes, to->mac, 6);
	bytes[12] = 0x08;
	memcpy(bytes + 26, ips, sizeof(ips));
	memcpy(bytes + 100, &number, sizeof(number));
	frame.length = FRAME;
	assert_int_equal(from->ops->tx_burst(from, &frame, 1), 1);
}

static void
send_out(struct wire *wire, uint32_t ip, uint32_t number)
{
	send_ip(wire->fault, wire->peer, IP_HERE, ip, number);
}

static void
send_in(struct wire *wire, uint32_t ip, uint32_t number)
{
	send_ip(wire->peer, wire->base, ip, IP_HERE, number);
}

/* Numbers of the frames that have arrived; a burst may be empty because all of it was lost. */
static uint32_t
receive(struct tp_link *link, uint32_t *numbers, uint32_t n)
{
	struct tp_frame frames[32];
	uint32_t count = 0, got, i;

	do {
		got = link->ops->rx_burst(link, frames, n - count < 32 ? n - count : 32);
		for (i = 0; i < got; i++) {
			memcpy(&numbers[count++], (uint8_t *)frames[i].data + 100,
				sizeof(*numbers));
			assert_int_equal(frames[i].length, FRAME);
			assert_int_equal(frames[i].capacity, 0);
			tp_frame_free(&frames[i]);
		}
	} while (got != 0 && count < n);
	return count;
}

/* What came out at the peer; the fault link is polled for what it holds. */
static uint32_t
receive_out(struct wire *wire, uint32_t *numbers, uint32_t n)
{
	uint32_t none;

	assert_int_equal(receive(wire->fault, &none, 1), 0);
	return receive(wire->peer, numbers, n);
}

static void
test_fault_link_without_faults_passes_all_on(void **state)
{
	struct wire *wire = wire_create(1);
	uint32_t numbers[8], i;

	assert_memory_equal(wire->fault->mac, wire->base->mac, 6);
	assert_int_equal(wire->fault->mtu, 1500);
	for (i = 0; i < 5; i++) {
		send_out(wire, IP_PEER, i);
		send_in(wire, IP_PEER, 10 + i);
	}
	assert_int_equal(receive(wire->peer, numbers, 8), 5);
	assert_int_equal(numbers[4], 4);
	assert_int_equal(receive(wire->fault, numbers, 8), 5);
	assert_int_equal(numbers[4], 14);
	wire_destroy(wire);
}

static void
test_fault_link_cut_is_of_one_peer_and_way(void **state)
{
	const struct tp_link_faults cut = { .cut = true };
	const struct tp_link_faults none = { 0 };
	struct wire *wire = wire_create(1);
	uint32_t numbers[8];

	assert_int_equal(tp_link_fault_set(wire->fault, IP_PEER, TP_LINK_FAULT_TX, &cut), 0);
	send_out(wire, IP_PEER, 1);
	send_out(wire, IP_OTHER, 2);
	send_in(wire, IP_PEER, 3);
	assert_int_equal(receive(wire->peer, numbers, 8), 1);
	assert_int_equal(numbers[0], 2);
	assert_int_equal(receive(wire->fault, numbers, 8), 1);
	assert_int_equal(numbers[0], 3);

	assert_int_equal(tp_link_fault_set(wire->fault, IP_PEER, TP_LINK_FAULT_RX, &cut), 0);
	send_in(wire, IP_PEER, 4);
	send_in(wire, IP_OTHER, 5);
	assert_int_equal(receive(wire->fault, numbers, 8), 1);
	assert_int_equal(numbers[0], 5);
	assert_int_equal(tp_link_fault_stats_get(wire->fault)->cut, 2);

	/* All but the peers that have a rule. */
	assert_int_equal(tp_link_fault_set(wire->fault, IP_PEER, TP_LINK_FAULT_BOTH, &none), 0);
	assert_int_equal(tp_link_fault_set(wire->fault, 0, TP_LINK_FAULT_BOTH, &cut), 0);
	send_out(wire, IP_OTHER, 6);
	send_out(wire, IP_PEER, 7);
	assert_int_equal(receive(wire->peer, numbers, 8), 1);
	assert_int_equal(numbers[0], 7);
	tp_link_fault_clear(wire->fault);
	send_out(wire, IP_OTHER, 8);
	assert_int_equal(receive(wire->peer, numbers, 8), 1);
	wire_destroy(wire);
}

static uint32_t
lost_of(uint64_t seed)
{
	const struct tp_link_faults loss = { .loss_ppm = 300000 };
	struct wire *wire = wire_create(seed);
	uint32_t numbers[1000], i, hash = 0, count;

	assert_int_equal(tp_link_fault_set(wire->fault, IP_PEER, TP_LINK_FAULT_BOTH, &loss), 0);
	for (i = 0; i < 1000; i++)
		send_out(wire, IP_PEER, i);
	count = receive(wire->peer, numbers, 1000);
	assert_in_range(count, 600, 800);
	for (i = 0; i < count; i++)
		hash = hash * 31 + numbers[i];
	wire_destroy(wire);
	return hash;
}

static void
test_fault_link_loss_is_near_its_rate_and_of_its_seed(void **state)
{
	uint32_t hash = lost_of(5);

	assert_true(hash == lost_of(5));
	assert_true(hash != lost_of(6));
}

static void
test_fault_link_duplicates_come_later(void **state)
{
	const struct tp_link_faults twice = { .duplicate_ppm = TP_LINK_FAULT_PPM };
	struct wire *wire = wire_create(1);
	uint32_t numbers[20], i;

	assert_int_equal(tp_link_fault_set(wire->fault, 0, TP_LINK_FAULT_BOTH, &twice), 0);
	for (i = 0; i < 5; i++) {
		send_out(wire, IP_PEER, i);
		send_in(wire, IP_PEER, i);
	}
	assert_int_equal(receive(wire->fault, numbers, 20), 5);
	wire_time(wire, wire->now + 300 * US);
	assert_int_equal(receive(wire->fault, numbers, 20), 5);
	assert_int_equal(receive(wire->peer, numbers, 20), 10);
	assert_int_equal(tp_link_fault_stats_get(wire->fault)->duplicated, 10);
	wire_destroy(wire);
}

static void
test_fault_link_flips_bits_of_a_copy(void **state)
{
	const struct tp_link_faults damage = { .corrupt_ppm = TP_LINK_FAULT_PPM };
	struct wire *wire = wire_create(1);
	struct tp_frame mine, got;
	uint8_t before[FRAME];
	uint32_t i, changed = 0, arrived = 0;

	assert_int_equal(tp_link_fault_set(wire->fault, 0, TP_LINK_FAULT_TX, &damage), 0);
	assert_int_equal(wire->fault->ops->tx_alloc(wire->fault, &mine, 1), 1);
	memset(mine.data, 0x5a, FRAME);
	memcpy(mine.data, wire->peer->mac, 6);
	memcpy(before, mine.data, FRAME);
	mine.length = FRAME;
	for (i = 0; i < 50; i++) {
		/* The sender keeps it, as sessions do until it is acknowledged. */
		wire->fault->ops->frame_ref(wire->fault, &mine);
		assert_int_equal(wire->fault->ops->tx_burst(wire->fault, &mine, 1), 1);
		assert_memory_equal(mine.data, before, FRAME);
	}
	while (wire->peer->ops->rx_burst(wire->peer, &got, 1) == 1) {
		arrived++;
		changed += memcmp(got.data, before, FRAME) != 0;
		tp_frame_free(&got);
	}
	/* Some had their address damaged; two flips may meet in one bit. */
	assert_true(arrived >= 30 && changed >= arrived - 2);
	tp_frame_free(&mine);
	wire_destroy(wire);
}

static void
test_fault_link_delays_to_the_nanosecond(void **state)
{
	const struct tp_link_faults slow = { .delay_ns = 500 * US };
	struct wire *wire = wire_create(1);
	uint64_t sent = wire->now;
	uint32_t numbers[8];

	assert_true(tp_link_fault_next(wire->fault) == UINT64_MAX);
	assert_int_equal(tp_link_fault_set(wire->fault, IP_PEER, TP_LINK_FAULT_TX, &slow), 0);
	send_out(wire, IP_PEER, 1);
	send_out(wire, IP_OTHER, 2);
	assert_int_equal(receive_out(wire, numbers, 8), 1);
	assert_int_equal(numbers[0], 2);
	assert_true(tp_link_fault_next(wire->fault) == sent + 500 * US);
	wire_time(wire, sent + 500 * US - 1);
	assert_int_equal(receive_out(wire, numbers, 8), 0);
	/* Clearing lets nothing out early, and loses nothing. */
	tp_link_fault_clear(wire->fault);
	wire_time(wire, sent + 500 * US);
	assert_int_equal(receive_out(wire, numbers, 8), 1);
	assert_int_equal(numbers[0], 1);
	assert_true(tp_link_fault_next(wire->fault) == UINT64_MAX);
	wire_destroy(wire);
}

static void
test_fault_link_reorders_and_loses_none(void **state)
{
	const struct tp_link_faults mix = { .reorder_ppm = 500000 };
	struct wire *wire = wire_create(1);
	uint32_t numbers[100], i, count = 0, backwards = 0;
	uint64_t sum = 0;

	assert_int_equal(tp_link_fault_set(wire->fault, IP_PEER, TP_LINK_FAULT_RX, &mix), 0);
	for (i = 0; i < 100; i++) {
		send_in(wire, IP_PEER, i);
		wire_time(wire, wire->now + 5 * US);
		count += receive(wire->fault, numbers + count, 100 - count);
	}
	wire_time(wire, wire->now + 300 * US);
	count += receive(wire->fault, numbers + count, 100 - count);
	assert_int_equal(count, 100);
	for (i = 0; i < 100; i++) {
		sum += numbers[i];
		backwards += i > 0 && numbers[i] < numbers[i - 1];
	}
	assert_int_equal(sum, 99 * 100 / 2);
	assert_true(backwards > 5);
	wire_destroy(wire);
}

static void
test_fault_link_holds_no_more_than_its_bound(void **state)
{
	const struct tp_link_faults slow = { .delay_ns = 1000 * US };
	struct wire *wire = wire_create(1);
	uint32_t i;

	assert_int_equal(tp_link_fault_set(wire->fault, IP_PEER, TP_LINK_FAULT_BOTH, &slow), 0);
	for (i = 0; i < TP_LINK_FAULT_HELD_MAX + 10; i++)
		send_out(wire, IP_PEER, i);
	assert_int_equal(tp_link_fault_stats_get(wire->fault)->overflowed, 10);
	assert_int_equal(sim_net_buffers(wire->net), TP_LINK_FAULT_HELD_MAX);
	/* Destroyed with all of them held. */
	wire_destroy(wire);
}

static void
test_fault_link_argument_is_checked(void **state)
{
	const struct tp_link_faults too_often = { .loss_ppm = TP_LINK_FAULT_PPM + 1 };
	const struct tp_link_faults cut = { .cut = true };
	struct wire *wire = wire_create(1);
	uint32_t i;

	assert_int_equal(tp_link_fault_set(wire->fault, 1, TP_LINK_FAULT_TX, &too_often), -EINVAL);
	assert_int_equal(tp_link_fault_set(wire->fault, 1, 0, &cut), -EINVAL);
	assert_int_equal(tp_link_fault_set(wire->fault, 1, 4, &cut), -EINVAL);
	for (i = 1; i < TP_LINK_FAULT_RULES_MAX; i++)
		assert_int_equal(tp_link_fault_set(wire->fault, i, TP_LINK_FAULT_TX, &cut), 0);
	assert_int_equal(tp_link_fault_set(wire->fault, i, TP_LINK_FAULT_TX, &cut), -ENOSPC);
	assert_int_equal(tp_link_fault_set(wire->fault, 1, TP_LINK_FAULT_RX, &cut), 0);
	wire_destroy(wire);
	tp_link_fault_destroy(NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fault_link_without_faults_passes_all_on),
		cmocka_unit_test(test_fault_link_cut_is_of_one_peer_and_way),
		cmocka_unit_test(test_fault_link_loss_is_near_its_rate_and_of_its_seed),
		cmocka_unit_test(test_fault_link_duplicates_come_later),
		cmocka_unit_test(test_fault_link_flips_bits_of_a_copy),
		cmocka_unit_test(test_fault_link_delays_to_the_nanosecond),
		cmocka_unit_test(test_fault_link_reorders_and_loses_none),
		cmocka_unit_test(test_fault_link_holds_no_more_than_its_bound),
		cmocka_unit_test(test_fault_link_argument_is_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
