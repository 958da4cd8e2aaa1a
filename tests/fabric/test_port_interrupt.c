/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A net_virtio_user port whose device is a net_vhost port of the same process:
 * the interrupts of a card, without one.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "tp_link_ethdev.h"

#define MTU 1500u
#define FRAMES 2000u
#define FRAME_BYTES 100u
#define TRIES 1000u
#define SOON_MS 5000		/* far more than it takes */

struct end {
	uint16_t port;
	struct rte_mempool *pool;
	struct tp_link *link;
};

static char folder[] = "/tmp/tp-interrupt-XXXXXX";
static char socket_path[64];
static struct end device, driver;

static void
end_start(struct end *end, const char *name)
{
	struct tp_port_config config = { .queues = 1, .mtu = MTU, .pools = &end->pool };
	uint16_t mtu;

	assert_int_equal(rte_eth_dev_get_port_by_name(name, &end->port), 0);
	end->pool = tp_port_pool_create(name, end->port, 1, MTU, FRAMES);
	assert_non_null(end->pool);
	config.port = end->port;
	assert_int_equal(tp_port_start(&config, &mtu), 0);
	end->link = tp_link_ethdev_create(end->port, 0, 0, end->pool);
	assert_non_null(end->link);
}

static int
group_setup(void **state)
{
	char arguments[128];

	(void)state;
	end_start(&device, "net_vhost0");
	/* It asks the other one for its features when it is made. */
	snprintf(arguments, sizeof(arguments), "path=%s,queues=1", socket_path);
	if (rte_eal_hotplug_add("vdev", "net_virtio_user0", arguments) < 0)
		return -1;
	end_start(&driver, "net_virtio_user0");
	return 0;
}

static int
group_teardown(void **state)
{
	(void)state;
	tp_link_ethdev_destroy(driver.link);
	tp_link_ethdev_destroy(device.link);
	assert_int_equal(tp_port_stop(driver.port), 0);
	assert_int_equal(tp_port_interrupt(driver.port, 0), -1);
	assert_int_equal(tp_port_stop(device.port), 0);
	rte_mempool_free(driver.pool);
	rte_mempool_free(device.pool);
	unlink(socket_path);
	return rmdir(folder);
}

/* The device puts a frame into the driver's memory; at first it may not be ready. */
static void
frame_send(void)
{
	struct tp_frame frame;
	unsigned int i;

	assert_int_equal(device.link->ops->tx_alloc(device.link, &frame, 1), 1);
	memset(frame.data, 0, FRAME_BYTES);
	frame.length = FRAME_BYTES;
	for (i = 0; i < TRIES; i++) {
		if (device.link->ops->tx_burst(device.link, &frame, 1) == 1)
			return;
		usleep(1000);
	}
	fail_msg("the device takes no frame");
}

static void
frame_take(void)
{
	struct tp_frame frame;

	assert_int_equal(driver.link->ops->rx_burst(driver.link, &frame, 1), 1);
	assert_int_equal(frame.length, FRAME_BYTES);
	tp_frame_free(&frame);
}

/* Has the queue interrupted us within a time? Takes that. */
static bool
is_interrupted(int milliseconds)
{
	struct pollfd event = { .fd = tp_port_interrupt(driver.port, 0), .events = POLLIN };
	uint64_t count;

	assert_true(event.fd >= 0);
	if (poll(&event, 1, milliseconds) == 0)
		return false;
	assert_int_equal(read(event.fd, &count, sizeof(count)), sizeof(count));
	return true;
}

static void
test_port_interrupt_comes_while_enabled_alone(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < 3; i++) {
		frame_send();
		assert_false(is_interrupted(0));
		frame_take();
		tp_port_interrupt_enable(driver.port, 0, true);
		frame_send();
		assert_true(is_interrupted(SOON_MS));
		frame_take();
		tp_port_interrupt_enable(driver.port, 0, false);
	}
}

static void
test_port_interrupt_is_known_where_it_is_good(void **state)
{
	(void)state;
	assert_int_equal(tp_port_interrupt(driver.port, 1), -1);
	assert_int_equal(tp_port_interrupt(device.port, 0), -1);
	assert_int_equal(tp_port_interrupt(UINT16_MAX, 0), -1);
}

int
main(void)
{
	char vhost[128];
	char *args[] = { (char[]){ "test" }, (char[]){ "--no-huge" }, (char[]){ "-m" },
		(char[]){ "64" }, (char[]){ "--no-pci" }, (char[]){ "--no-shconf" },
		(char[]){ "--log-level=lib.eal:warning" }, (char[]){ "-l" }, (char[]){ "0" },
		(char[]){ "--no-telemetry" }, (char[]){ "--log-level=lib.vhost:error" }, vhost };
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_port_interrupt_comes_while_enabled_alone),
		cmocka_unit_test(test_port_interrupt_is_known_where_it_is_good),
	};

	if (mkdtemp(folder) == NULL)
		return 1;
	snprintf(socket_path, sizeof(socket_path), "%s/vhost", folder);
	snprintf(vhost, sizeof(vhost), "--vdev=net_vhost0,iface=%s", socket_path);
	if (rte_eal_init((int)(sizeof(args) / sizeof(args[0])), args) < 0)
		return 1;
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
