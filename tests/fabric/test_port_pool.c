/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Ports of net_af_xdp at the two ends of a veth pair, in a network namespace of
 * this process: their buffers, their MTU, and what wakes who waits for them.
 */
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
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
#include <rte_mbuf.h>
#include <rte_mempool.h>

#include "tp_link_ethdev.h"

#define MTU_WANTED 9000u
#define MTU_XDP 3506u
#define FRAMES 600u
#define FRAME_BYTES 1000u
#define BURST 32u
#define SKIPPED 77

struct end {
	uint16_t port;
	struct rte_mempool *pool;
	struct tp_link *link;
};

static struct end ends[2];

static void
end_start(struct end *end, const char *device)
{
	struct tp_port_config config = { .queues = 1, .mtu = MTU_WANTED, .pools = &end->pool,
		.rx_descriptors = 512, .tx_descriptors = 512 };
	uint16_t mtu = 0;

	assert_int_equal(rte_eth_dev_get_port_by_name(device, &end->port), 0);
	end->pool = tp_port_pool_create(device, end->port, 1, MTU_WANTED, FRAMES);
	assert_non_null(end->pool);
	config.port = end->port;
	assert_int_equal(tp_port_start(&config, &mtu), 0);
	assert_int_equal(mtu, MTU_XDP);
	end->link = tp_link_ethdev_create(end->port, 0, 0, end->pool);
	assert_non_null(end->link);
}

static int
group_setup(void **state)
{
	(void)state;
	end_start(&ends[0], "net_af_xdp0");
	end_start(&ends[1], "net_af_xdp1");
	return 0;
}

static int
group_teardown(void **state)
{
	unsigned int i;
	int ret = 0;

	(void)state;
	for (i = 0; i < 2; i++) {
		tp_link_ethdev_destroy(ends[i].link);
		ret |= tp_port_stop(ends[i].port);
		rte_mempool_free(ends[i].pool);
	}
	return ret;
}

static void
object_note(struct rte_mempool *pool, void *opaque, void *object, unsigned int index)
{
	uintptr_t *objects = opaque;

	(void)pool;
	objects[index] = (uintptr_t)object;
}

/* What the driver tells the kernel: so many objects of that size, side by side. */
static void
test_port_pool_xdp_is_one_row_of_objects_no_larger_than_a_page(void **state)
{
	static const uint16_t mtus[] = { 1500, 1700, 2900, 3400, 3506, 9600 };
	unsigned int m, i;

	(void)state;
	for (m = 0; m < RTE_DIM(mtus); m++) {
		struct rte_mempool *pool = tp_port_pool_create("row", ends[0].port, 1, mtus[m], 100);
		unsigned int room = RTE_MIN(mtus[m], MTU_XDP) + RTE_ETHER_HDR_LEN;
		uint32_t bytes = rte_mempool_calc_obj_size(pool->elt_size, pool->flags, NULL);
		uintptr_t *objects = calloc(pool->size, sizeof(*objects));

		assert_non_null(objects);
		assert_int_equal(pool->nb_mem_chunks, 1);
		assert_in_range(bytes, 2048, 4096);
		/* The kernel keeps 256 bytes before each frame for itself. */
		assert_true(rte_pktmbuf_data_room_size(pool) >= RTE_PKTMBUF_HEADROOM + 256 + room);
		assert_int_equal(rte_mempool_obj_iter(pool, object_note, objects), pool->size);
		for (i = 1; i < pool->size; i++)
			assert_int_equal(objects[i] - objects[i - 1], bytes);
		free(objects);
		rte_mempool_free(pool);
	}
	assert_null(tp_port_pool_create("none", 99, 1, 1500, 100));
	assert_int_equal(rte_errno, ENODEV);
}

static void
frames_send(struct tp_frame *frames, unsigned int count)
{
	unsigned int sent = 0;
	unsigned int tries = 0;

	while (sent < count && tries++ < 1000)
		sent += ends[0].link->ops->tx_burst(ends[0].link, &frames[sent],
			RTE_MIN(count - sent, BURST));
	assert_int_equal(sent, count);
}

static unsigned int
frames_receive(uint32_t number)
{
	struct tp_frame frames[BURST];
	struct pollfd event = { .events = POLLIN };
	unsigned int count, i;

	assert_int_equal(tp_port_wake_fds(ends[1].port, 0, &event.fd, 1), 1);
	poll(&event, 1, 1000);
	count = ends[1].link->ops->rx_burst(ends[1].link, frames, BURST);
	for (i = 0; i < count; i++) {
		assert_int_equal(frames[i].length, FRAME_BYTES);
		assert_memory_equal((const char *)frames[i].data + 20, &number, sizeof(number));
		number++;
		tp_frame_free(&frames[i]);
	}
	return count;
}

/* The last ones of the pool, too, which an ordinary pool puts where the kernel sees none. */
static void
test_port_pool_xdp_frame_in_any_buffer_arrives(void **state)
{
	static struct tp_frame frames[8192];
	unsigned int count = 0;
	unsigned int sent, got;
	uint32_t i;

	(void)state;
	while (count < RTE_DIM(frames) &&
	       ends[0].link->ops->tx_alloc(ends[0].link, &frames[count], 1) == 1)
		count++;
	assert_true(count >= FRAMES);
	for (i = 0; i < count; i++) {
		memset(frames[i].data, 0, FRAME_BYTES);
		memset(frames[i].data, 0xff, RTE_ETHER_ADDR_LEN);
		memcpy((char *)frames[i].data + 20, &i, sizeof(i));
		frames[i].length = FRAME_BYTES;
	}
	for (sent = 0, got = 0; sent < count; ) {
		unsigned int burst = RTE_MIN(count - sent, BURST);
		unsigned int here;

		frames_send(&frames[sent], burst);
		sent += burst;
		while (got < sent && (here = frames_receive(got)) != 0)
			got += here;
		assert_int_equal(got, sent);
	}
}

static void
test_port_wake_xdp_socket_is_the_one_of_the_port(void **state)
{
	struct pollfd events[2] = { { .events = POLLIN }, { .events = POLLIN } };
	struct tp_frame frame;
	socklen_t bytes = sizeof(int);
	uint32_t none = 0;
	int domain = 0;
	unsigned int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		assert_int_equal(tp_port_wake_fds(ends[i].port, 0, &events[i].fd, 1), 1);
		assert_int_equal(getsockopt(events[i].fd, SOL_SOCKET, SO_DOMAIN, &domain, &bytes), 0);
		assert_int_equal(domain, AF_XDP);
	}
	assert_int_not_equal(events[0].fd, events[1].fd);
	assert_int_equal(poll(events, 2, 0), 0);
	assert_int_equal(ends[0].link->ops->tx_alloc(ends[0].link, &frame, 1), 1);
	memset(frame.data, 0, FRAME_BYTES);
	memset(frame.data, 0xff, RTE_ETHER_ADDR_LEN);
	frame.length = FRAME_BYTES;
	frames_send(&frame, 1);
	assert_int_equal(poll(events, 2, 1000), 1);
	assert_true(events[1].revents & POLLIN);
	assert_int_equal(frames_receive(none), 1);
	assert_int_equal(poll(events, 2, 0), 0);
}

/* false: this machine cannot have such ports. */
static bool
machine_prepare(void)
{
	int fd = socket(AF_XDP, SOCK_RAW, 0);

	if (fd < 0 || unshare(CLONE_NEWNET) < 0)
		return false;
	close(fd);
	return system("ip link add tpt0 type veth peer name tpt1 2>/dev/null && "
		"sysctl -qw net.ipv6.conf.all.disable_ipv6=1 && "
		"ip link set tpt0 up && ip link set tpt1 up") == 0;
}

int
main(void)
{
	char *args[] = { (char[]){ "test" }, (char[]){ "--no-huge" }, (char[]){ "-m" },
		(char[]){ "128" }, (char[]){ "--no-pci" }, (char[]){ "--no-shconf" },
		(char[]){ "--log-level=lib.eal:warning" }, (char[]){ "-l" }, (char[]){ "0" },
		(char[]){ "--no-telemetry" },
		(char[]){ "--vdev=net_af_xdp0,iface=tpt0,busy_budget=0" },
		(char[]){ "--vdev=net_af_xdp1,iface=tpt1,busy_budget=0" } };
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_port_pool_xdp_is_one_row_of_objects_no_larger_than_a_page),
		cmocka_unit_test(test_port_pool_xdp_frame_in_any_buffer_arrives),
		cmocka_unit_test(test_port_wake_xdp_socket_is_the_one_of_the_port),
	};

	if (!machine_prepare()) {
		printf("no AF_XDP sockets or no veth for us here: skipped\n");
		return SKIPPED;
	}
	if (rte_eal_init((int)(sizeof(args) / sizeof(args[0])), args) < 0)
		return 1;
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
