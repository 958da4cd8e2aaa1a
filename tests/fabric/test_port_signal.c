/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A tap port in a network of its own: frames arrive and wake us, and no signal
 * comes with them, whatever other ports of the process do. Needs root.
 */
#include <arpa/inet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>

#include "tp_link_ethdev.h"

#define DEVICE "tpsignal"
#define ETHER_TYPE 0x88b5
#define FRAME_BYTES 100u
#define MTU 1500u
#define SKIPPED 77			/* what meson takes for that */
#define WAIT_MS 5000
#define WAKE_FDS 8

static uint16_t port;
static struct rte_mempool *pool;
static struct tp_link *port_link;
static int sender = -1;
static volatile sig_atomic_t signals;

static void
on_signal(int number)
{
	signals++;
}

/* The signal that the driver has chosen. */
static int
signal_number(void)
{
	struct sigaction action;
	int number;

	for (number = SIGRTMIN + 1; number < SIGRTMAX; number++)
		if (sigaction(number, NULL, &action) == 0 &&
		    action.sa_handler == tp_port_count(port))
			return number;
	fail_msg("the driver has no signal");
	return -1;
}

static int
group_setup(void **state)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(ETHER_TYPE) };
	struct tp_port_config config = { .queues = 1, .mtu = MTU, .pools = &pool };
	uint16_t mtu;

	assert_int_equal(rte_eth_dev_get_port_by_name("net_tap0", &port), 0);
	pool = tp_port_pool_create("signal", port, 1, MTU, 2000);
	assert_non_null(pool);
	config.port = port;
	assert_null(tp_port_count(port));
	assert_int_equal(tp_port_start(&config, &mtu), 0);
	port_link = tp_link_ethdev_create(port, 0, 0, pool);
	assert_non_null(port_link);
	address.sll_ifindex = (int)if_nametoindex(DEVICE);
	sender = socket(AF_PACKET, SOCK_RAW, htons(ETHER_TYPE));
	return bind(sender, (struct sockaddr *)&address, sizeof(address));
}

static int
group_teardown(void **state)
{
	tp_link_ethdev_destroy(port_link);
	assert_int_equal(tp_port_stop(port), 0);
	assert_null(tp_port_count(port));
	close(sender);
	rte_mempool_free(pool);
	return 0;
}

/* One of the test's own: the kernel says hello on new devices, too. */
static bool
is_ours(const struct tp_frame *frame)
{
	const struct ether_header *header = frame->data;

	return frame->length == FRAME_BYTES && header->ether_type == htons(ETHER_TYPE);
}

static void
frame_send(void)
{
	uint8_t frame[FRAME_BYTES] = { 2, [6] = 2, [12] = ETHER_TYPE >> 8, ETHER_TYPE & 0xff };

	assert_int_equal(send(sender, frame, sizeof(frame), 0), sizeof(frame));
}

/* Sleep until something arrives, and take it: whether ours was among it. */
static bool
frame_receive(void)
{
	struct pollfd events[WAKE_FDS];
	struct tp_frame frame;
	int fds[WAKE_FDS];
	unsigned int count = tp_port_wake_fds(port, 0, fds, WAKE_FDS);
	unsigned int i;
	bool ours = false;

	assert_int_not_equal(count, 0);
	for (i = 0; i < count; i++)
		events[i] = (struct pollfd){ .fd = fds[i], .events = POLLIN };
	while (!ours && poll(events, count, WAIT_MS) > 0) {
		/* They say that there is something. */
		if (port_link->ops->rx_burst(port_link, &frame, 1) == 0)
			return false;
		ours = is_ours(&frame);
		tp_frame_free(&frame);
	}
	return ours;
}

static void
test_port_signal_frames_come_without_one(void **state)
{
	const struct sigaction action = { .sa_handler = on_signal };
	struct sigaction before;
	int number = signal_number();
	int i;

	assert_int_equal(sigaction(number, &action, &before), 0);
	for (i = 0; i < 10; i++) {
		frame_send();
		assert_true(frame_receive());
	}
	assert_int_equal(sigaction(number, &before, NULL), 0);
	assert_int_equal(signals, 0);
}

/* The driver counts for all of its ports: what it counts for others is none of ours. */
static void
test_port_signal_of_another_port_stops_nothing(void **state)
{
	struct tp_frame frame;
	int i;

	for (i = 0; i < 10; i++) {
		raise(signal_number());
		/* The driver has looked since then, and found nothing. */
		while (port_link->ops->rx_burst(port_link, &frame, 1) == 1)
			tp_frame_free(&frame);
		frame_send();
		assert_true(frame_receive());
	}
}

/* So that a frame that comes alone is not waited with for a look in vain. */
static void
burst_receive(uint32_t expected)
{
	struct tp_frame frames[8];
	uint32_t count = port_link->ops->rx_burst(port_link, frames, 8);

	assert_int_equal(count, expected);
	while (count-- > 0)
		tp_frame_free(&frames[count]);
}

static void
test_port_signal_burst_doubles_while_it_is_full(void **state)
{
	struct tp_frame frame;
	int i;

	/* The kernel's own first, if there are any; then it begins anew. */
	while (port_link->ops->rx_burst(port_link, &frame, 1) == 1)
		tp_frame_free(&frame);
	for (i = 0; i < 8; i++)
		frame_send();
	burst_receive(1);
	burst_receive(2);
	burst_receive(4);
	burst_receive(1);
	for (i = 0; i < 2; i++)
		frame_send();
	burst_receive(1);
	burst_receive(1);
	burst_receive(0);
}

int
main(void)
{
	char *args[] = { (char[]){ "test" }, (char[]){ "--no-huge" }, (char[]){ "-m" },
		(char[]){ "64" }, (char[]){ "--no-pci" }, (char[]){ "--no-shconf" },
		(char[]){ "--log-level=*:4" }, (char[]){ "-l" }, (char[]){ "0" },
		(char[]){ "--no-telemetry" }, (char[]){ "--vdev=net_tap0,iface=" DEVICE } };
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_port_signal_frames_come_without_one),
		cmocka_unit_test(test_port_signal_of_another_port_stops_nothing),
		cmocka_unit_test(test_port_signal_burst_doubles_while_it_is_full),
	};

	if (unshare(CLONE_NEWNET) < 0 || access("/dev/net/tun", R_OK | W_OK) < 0)
		return SKIPPED;
	if (rte_eal_init((int)(sizeof(args) / sizeof(args[0])), args) < 0)
		return 1;
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
