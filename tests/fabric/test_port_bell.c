/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Two memif ports of one process, joined by a socket in a folder of their own:
 * who rings whom, and what is left behind.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "tp_link_ethdev.h"

#define MTU 1500u
#define FRAMES 2000u
#define FRAME_BYTES 100u
#define TRIES 1000u

struct end {
	uint16_t port;
	struct rte_mempool *pool;
	struct tp_link *link;
	char bell[64];			/* path of its doorbell */
};

static char folder[] = "/tmp/tp-bell-XXXXXX";
static struct end ends[2];

/* As a killed process leaves it. */
static void
bell_leave_behind(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
}

static void
end_start(struct end *end, const char *device, char role)
{
	struct tp_port_config config = { .queues = 1, .mtu = MTU, .pools = &end->pool };
	uint16_t mtu;

	snprintf(end->bell, sizeof(end->bell), "%s/link.7%c0", folder, role);
	bell_leave_behind(end->bell);
	assert_int_equal(rte_eth_dev_get_port_by_name(device, &end->port), 0);
	end->pool = tp_port_pool_create(device, end->port, 1, MTU, FRAMES);
	assert_non_null(end->pool);
	config.port = end->port;
	assert_int_equal(tp_port_doorbell(end->port, 0), -1);
	assert_int_equal(tp_port_start(&config, &mtu), 0);
	end->link = tp_link_ethdev_create(end->port, 0, 0, end->pool);
	assert_non_null(end->link);
}

static bool
ends_are_up(void)
{
	struct rte_eth_link links[2] = { { 0 } };
	unsigned int i;

	for (i = 0; i < 2; i++)
		rte_eth_link_get_nowait(ends[i].port, &links[i]);
	return links[0].link_status == RTE_ETH_LINK_UP && links[1].link_status == RTE_ETH_LINK_UP;
}

static int
group_setup(void **state)
{
	unsigned int i;

	(void)state;
	end_start(&ends[0], "net_memif0", 's');
	end_start(&ends[1], "net_memif1", 'c');
	for (i = 0; i < TRIES && !ends_are_up(); i++)
		usleep(10000);
	return ends_are_up() ? 0 : -1;
}

static int
group_teardown(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < 2; i++)
		rte_mempool_free(ends[i].pool);
	return rmdir(folder);
}

/* Send a frame to the other end: whether that end was rung. It takes frame and ring. */
static bool
frame_send(struct end *from, struct end *to)
{
	struct pollfd event = { .fd = tp_port_doorbell(to->port, 0), .events = POLLIN };
	struct tp_frame frame;
	uint32_t sent = 0;
	uint32_t got = 0;
	unsigned int i;
	char byte;

	assert_true(event.fd >= 0);
	assert_int_equal(from->link->ops->tx_alloc(from->link, &frame, 1), 1);
	memset(frame.data, 0, FRAME_BYTES);
	frame.length = FRAME_BYTES;
	/* Who receives as the client gives its buffers away the first time that it looks. */
	for (i = 0; i < TRIES && got == 0; i++) {
		if (sent == 0)
			sent = from->link->ops->tx_burst(from->link, &frame, 1);
		got = to->link->ops->rx_burst(to->link, &frame, 1);
	}
	assert_int_equal(got, 1);
	assert_int_equal(frame.length, FRAME_BYTES);
	tp_frame_free(&frame);
	if (poll(&event, 1, 0) == 0)
		return false;
	while (recv(event.fd, &byte, 1, MSG_DONTWAIT) == 1)
		;
	assert_int_equal(poll(&event, 1, 0), 0);
	return true;
}

static void
test_port_bell_is_rung_after_silence_alone(void **state)
{
	unsigned int silent = 0;
	unsigned int i;

	(void)state;
	/* Of who has never been heard, nobody knows whether it sleeps. */
	assert_true(frame_send(&ends[0], &ends[1]));
	for (i = 0; i < TRIES && silent < 3; i++) {
		frame_send(&ends[0], &ends[1]);
		/* Right after it was heard; other work may have kept us from that. */
		silent += !frame_send(&ends[1], &ends[0]);
	}
	assert_int_equal(silent, 3);
	usleep(TP_PORT_AWAKE_NS / 1000);
	assert_true(frame_send(&ends[1], &ends[0]));
	assert_int_equal(tp_port_doorbell(ends[0].port, 1), -1);
	assert_int_equal(tp_port_doorbell(99, 0), -1);
}

/* The last one: the ports stop. */
static void
test_port_bell_stopped_port_leaves_none(void **state)
{
	struct stat found;
	unsigned int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		assert_int_equal(stat(ends[i].bell, &found), 0);
		tp_link_ethdev_destroy(ends[i].link);
		assert_int_equal(tp_port_stop(ends[i].port), 0);
		assert_int_not_equal(stat(ends[i].bell, &found), 0);
		assert_int_equal(tp_port_doorbell(ends[i].port, 0), -1);
	}
}

int
main(void)
{
	char server[128], client[128];
	char *args[] = { (char[]){ "test" }, (char[]){ "--no-huge" }, (char[]){ "-m" },
		(char[]){ "64" }, (char[]){ "--no-pci" }, (char[]){ "--no-shconf" },
		(char[]){ "--log-level=lib.eal:warning" }, (char[]){ "-l" }, (char[]){ "0" },
		(char[]){ "--no-telemetry" }, server, client };
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_port_bell_is_rung_after_silence_alone),
		cmocka_unit_test(test_port_bell_stopped_port_leaves_none),
	};

	if (mkdtemp(folder) == NULL)
		return 1;
	snprintf(server, sizeof(server), "--vdev=net_memif0,role=server,id=7,socket=%s/link,"
		"socket-abstract=no", folder);
	snprintf(client, sizeof(client), "--vdev=net_memif1,role=client,id=7,socket=%s/link,"
		"socket-abstract=no", folder);
	if (rte_eal_init((int)(sizeof(args) / sizeof(args[0])), args) < 0)
		return 1;
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
