/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Two embedded nodes in one process on real ethdev ports (net_ring), in real
 * time: polled by one thread, and with one and two workers.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>
#include <rte_eal.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_ring.h>

#include "node_priv.h"
#include "tp_abi_control.h"
#include "tp_access.h"
#include "tp_client.h"
#include "tp_node.h"

#define PAGE 4096u
#define COUNTERS 300
#define ATTACH_LATEST_NS UINT64_C(8000000)

static char directory[] = "/tmp/tp_embedded_XXXXXX";
static struct tp_node *nodes[2];
static char devices[2][RTE_ETH_NAME_MAX_LEN];

struct program {
	unsigned int index;
	struct tp_node_client ids;
	struct tp_client *client;
	struct tp_thread *thread;
	uint64_t hints;			/* pages that were told to be asked for */
};

static void
poll_all(void *ctx)
{
	tp_node_poll(nodes[0]);
	tp_node_poll(nodes[1]);
}

/* Both nodes are this thread's: a call must poll the other one, too. */
static int
control(void *ctx, const struct tp_control_request *request,
	struct tp_control_response *response, int *fds, unsigned int fd_max)
{
	struct program *program = ctx;
	struct tp_node *node = nodes[program->index];
	int call = tp_control_call(tp_node_control(node), program->ids.id, request,
		tp_node_now(node));
	unsigned int i;
	int ret;

	if (call < 0)
		return call;
	while ((ret = tp_control_call_result(tp_node_control(node), call, response, fds,
			fd_max)) == -EINPROGRESS)
		poll_all(NULL);
	for (i = 0; ret == 0 && i < response->fd_count; i++)
		fds[i] = dup(fds[i]);
	return ret;
}

static void
hint(void *ctx, uint32_t worker, uint32_t region_id, uint32_t page_index)
{
	struct program *program = ctx;

	program->hints++;
	assert_in_range(worker, 0, nodes[program->index]->config.workers - 1);
	assert_in_range(page_index, 0, 599);
	tp_node_page_hint(nodes[program->index], worker, region_id, page_index);
	/* None of these is known. */
	tp_node_page_hint(nodes[program->index], UINT32_MAX, region_id, page_index);
	tp_node_page_hint(nodes[program->index], worker, region_id + 1000, page_index);
	tp_node_page_hint(nodes[program->index], worker, region_id, UINT32_MAX);
}

static void
program_start(struct program *program, unsigned int index)
{
	struct tp_client_backend backend = {
		.control = control,
		.poll = poll_all,
		.hint = hint,
		.ctx = program,
		.timeout_ns = 5000000000u,
	};

	program->index = index;
	program->hints = 0;
	assert_int_equal(tp_node_client_add(nodes[index], 1, &program->ids), 0);
	backend.node = program->ids.node;
	backend.slots = program->ids.slots;
	backend.slot_bytes_total = program->ids.slots_bytes;
	backend.segment = program->ids.segment;
	assert_int_equal(tp_client_attach_backend(&backend, &program->client), 0);
	assert_int_equal(tp_thread_register(program->client, &program->thread), 0);
}

static void
program_end(struct program *program)
{
	tp_client_detach(program->client);
	assert_int_equal(tp_node_client_remove(nodes[program->index], program->ids.id), 0);
}

static void
node_start(unsigned int index, uint16_t workers, const char *run)
{
	struct tp_node_config config;

	tp_node_config_init(&config);
	config.id = (uint16_t)(index + 1);
	config.workers = workers;
	snprintf(config.store, sizeof(config.store), "file:%s/%s", directory, run);
	config.cache_mib = 1;
	config.home_mib = 2;
	config.heap_mib = 1;
	config.huge_pages = false;
	config.tx_frames = 512;
	config.rx_frames = 512;
	/* The test's machine may be busy: silence is no failure here. */
	config.peer_timeout_ms = 5000;
	config.lease_ms = 2000;
	config.fence_margin_ms = 100;
	config.port_count = 1;
	strcpy(config.ports[0].device, devices[index]);
	config.ports[0].ip = 0x0a000001 + index;
	config.ports[0].prefix_length = 24;
	config.ports[0].mtu = 9000;
	snprintf(config.socket_path, sizeof(config.socket_path), "%s/%s%u.sock", directory, run,
		index);
	nodes[index] = tp_node_create(&config);
	assert_non_null(nodes[index]);
}

static void
ports_make(const char *run)
{
	unsigned int flags = RING_F_SP_ENQ | RING_F_SC_DEQ;
	struct rte_ring *rings[2];
	char name[32];
	unsigned int i;
	int port;

	for (i = 0; i < 2; i++) {
		snprintf(name, sizeof(name), "wire_%s%u", run, i);
		rings[i] = rte_ring_create(name, 256, SOCKET_ID_ANY, flags);
		assert_non_null(rings[i]);
	}
	for (i = 0; i < 2; i++) {
		snprintf(name, sizeof(name), "net_ring_%s%u", run, i);
		port = rte_eth_from_rings(name, &rings[i], 1, &rings[1 - i], 1, 0);
		assert_true(port >= 0);
		assert_int_equal(rte_eth_dev_get_name_by_port((uint16_t)port, devices[i]), 0);
	}
}

static void
share(uint16_t workers, const char *run)
{
	struct tp_client_region_config config = { .name = "r", .bytes = 600 * PAGE };
	struct tp_client_region *regions[2];
	struct program programs[2];
	uint64_t value;
	uint64_t old;
	uint32_t i;

	ports_make(run);
	node_start(0, workers, run);
	node_start(1, workers, run);
	while (!tp_node_is_ready(nodes[0]) || !tp_node_is_ready(nodes[1]))
		poll_all(NULL);
	program_start(&programs[0], 0);
	program_start(&programs[1], 1);
	assert_int_equal(tp_client_region_create(programs[0].client, &config, &regions[0]), 0);
	assert_int_equal(tp_client_region_open(programs[1].client, "r", &regions[1]), 0);
	/* More than the cache holds. */
	for (i = 0; i < 600; i++) {
		value = 1000 + i;
		assert_true(tp_result_is_ok(tp_write(programs[i % 2].thread, regions[i % 2],
			(uint64_t)i * PAGE + 8, &value, sizeof(value))));
	}
	for (i = 0; i < 600; i++) {
		assert_true(tp_result_is_ok(tp_read(programs[(i + 1) % 2].thread,
			regions[(i + 1) % 2], (uint64_t)i * PAGE + 8, &value, sizeof(value))));
		assert_int_equal(value, 1000 + i);
	}
	for (i = 0; i < COUNTERS; i++)
		assert_true(tp_result_is_ok(tp_atomic_add64(programs[i % 2].thread,
			regions[i % 2], 16, 1, &old)));
	assert_true(tp_result_is_ok(tp_atomic_load64(programs[0].thread, regions[0], 16, &value)));
	assert_int_equal(value, COUNTERS);
	for (i = 0; i < 2; i++) {
		assert_int_not_equal(tp_thread_stats_get(programs[i].thread)->misses, 0);
		assert_true(programs[i].hints >= tp_thread_stats_get(programs[i].thread)->misses);
	}
	program_end(&programs[0]);
	program_end(&programs[1]);
	assert_int_equal(tp_node_stop(nodes[0], 1000000000), 0);
	assert_int_equal(tp_node_stop(nodes[1], 1000000000), 0);
	tp_node_destroy(nodes[0]);
	tp_node_destroy(nodes[1]);
}

static void
test_two_embedded_nodes_share_pages(void **state)
{
	share(1, "a");
}

/* net_ring has one queue here: worker 0 receives and sends for worker 1. */
static void
test_two_embedded_nodes_two_workers_one_queue(void **state)
{
	share(2, "b");
}

/* A program that waits for the gate, for so long as it says. */
struct waiter {
	pthread_t thread;
	volatile sig_atomic_t answered;
	struct tp_control_response inside;
	struct tp_control_response waits;
};

static int
waiter_enter(uint64_t timeout_ns, struct tp_control_response *response)
{
	const struct tp_control_request request = { .magic = TP_CONTROL_MAGIC,
		.version = TP_CONTROL_VERSION, .op = TP_CONTROL_GATE_ENTER,
		.timeout_ns = timeout_ns };
	const struct timeval patience = { .tv_sec = 10 };
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

	strcpy(address.sun_path, tp_node_socket_path(nodes[0]));
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
	    send(fd, &request, sizeof(request), 0) != sizeof(request) ||
	    recv(fd, response, sizeof(*response), 0) != sizeof(*response))
		response->error = -1;
	return fd;
}

static void *
waiter_run(void *arg)
{
	struct waiter *waiter = arg;
	int inside = waiter_enter(0, &waiter->inside);
	int waits = waiter_enter(50000000, &waiter->waits);

	waiter->answered = 1;
	close(waits);
	close(inside);
	return NULL;
}

/* Nothing happens but that time passes: connections are looked at all the same. */
static void
test_idle_node_ends_wait_for_gate_in_time(void **state)
{
	struct waiter waiter = { .answered = 0 };
	struct node_poller poller;

	ports_make("g");
	node_start(0, 1, "g");
	while (!tp_node_is_ready(nodes[0]))
		tp_node_poll(nodes[0]);
	assert_int_equal(pthread_create(&waiter.thread, NULL, waiter_run, &waiter), 0);
	node_poller_init(&poller, nodes[0], nodes[0]->worker_first, 1, true);
	while (!waiter.answered) {
		node_poller_idle(&poller, tp_node_poll(nodes[0]));
		/* Of however many sleeps since the last look, none puts the next one off. */
		assert_true(nodes[0]->attach_at <= nodes[0]->attached_at + ATTACH_LATEST_NS);
	}
	node_poller_fini(&poller);
	assert_int_equal(pthread_join(waiter.thread, NULL), 0);
	assert_int_equal(waiter.inside.error, 0);
	assert_int_equal(waiter.waits.error, ETIMEDOUT);
	assert_int_equal(tp_node_stop(nodes[0], 1000000000), 0);
	tp_node_destroy(nodes[0]);
}

static void
test_node_create_bad_configuration_refused(void **state)
{
	struct tp_node_config config;

	tp_node_config_init(&config);
	assert_null(tp_node_create(&config));
	config.id = 1;
	strcpy(config.store, "file:/nonexistent\001");
	config.port_count = 1;
	strcpy(config.ports[0].device, "no_such_port");
	config.ports[0].ip = 1;
	config.ports[0].mtu = 1500;
	snprintf(config.store, sizeof(config.store), "file:%s/c", directory);
	assert_null(tp_node_create(&config));
}

static int
group_teardown(void **state)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -rf %s", directory);
	return system(command);
}

int
main(void)
{
	char *args[] = { (char[]){ "test" }, (char[]){ "--no-huge" }, (char[]){ "-m" },
		(char[]){ "192" }, (char[]){ "--no-pci" }, (char[]){ "--no-shconf" },
		(char[]){ "--log-level=lib.eal:warning" }, (char[]){ "-l" }, (char[]){ "0" },
		(char[]){ "--no-telemetry" } };
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_two_embedded_nodes_share_pages),
		cmocka_unit_test(test_two_embedded_nodes_two_workers_one_queue),
		cmocka_unit_test(test_idle_node_ends_wait_for_gate_in_time),
		cmocka_unit_test(test_node_create_bad_configuration_refused),
	};

	if (mkdtemp(directory) == NULL)
		return 1;
	if (rte_eal_init((int)(sizeof(args) / sizeof(args[0])), args) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, group_teardown);
}
