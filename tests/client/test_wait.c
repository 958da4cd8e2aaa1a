/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Waiting for a node that serves in a thread of its own: the thread sleeps, and
 * the answer wakes it; a worker that sleeps is rung for, once a sleep.
 */
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "fake_node.h"

#define ROUNDS 200
#define TIMEOUT_NS 60000000000ull

struct server {
	struct fake_node *fake;
	pthread_t thread;
	_Atomic bool stop;
};

/* Serves only while the client's thread sleeps. */
static void *
server_main(void *arg)
{
	struct server *server = arg;
	struct tp_abi_thread *thread = &server->fake->client->threads[0];

	while (!atomic_load(&server->stop)) {
		if (atomic_load(&thread->waiting) != 0) {
			/* It says so before it does: most often it sleeps after this. */
			usleep(100);
			fake_node_poll(server->fake);
		} else {
			sched_yield();
		}
	}
	return NULL;
}

static struct tp_client_backend
backend_of(struct fake_node *fake)
{
	struct tp_client_backend backend = fake_node_backend(fake);

	backend.poll = NULL;
	backend.virtual_tsc = NULL;
	backend.timeout_ns = TIMEOUT_NS;
	return backend;
}

static void
test_wait_sleeping_thread_is_woken_by_each_answer(void **state)
{
	struct server server = { .fake = fake_node_create() };
	struct tp_client_backend backend = backend_of(server.fake);
	struct tp_client *client;
	struct tp_thread *thread;
	struct tp_op op;
	int i;

	assert_int_equal(tp_client_attach_backend(&backend, &client), 0);
	assert_int_equal(tp_thread_register(client, &thread), 0);
	assert_int_equal(pthread_create(&server.thread, NULL, server_main, &server), 0);
	for (i = 0; i < ROUNDS; i++) {
		tp_submit_nop(thread, (uint32_t)i % FAKE_WORKERS, &op);
		assert_true(tp_result_is_ok(tp_op_wait(thread, &op)));
		assert_int_equal(atomic_load(&server.fake->client->threads[0].waiting), 0);
	}
	atomic_store(&server.stop, true);
	pthread_join(server.thread, NULL);
	/* Not by the end of a sleep, after which it looks by itself. */
	assert_true(server.fake->woken > 0);
	tp_client_detach(client);
	fake_node_destroy(server.fake);
}

static uint64_t
bell_count(int fd)
{
	uint64_t count = 0;

	return read(fd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

static void
test_wait_sleeping_worker_is_rung_for_once(void **state)
{
	struct fake_node *fake = fake_node_create();
	struct tp_client_backend backend = backend_of(fake);
	int bells[FAKE_WORKERS] = { eventfd(0, EFD_NONBLOCK), eventfd(0, EFD_NONBLOCK) };
	struct tp_client *client;
	struct tp_thread *thread;
	struct tp_op ops[4];

	backend.bells = bells;
	backend.bell_count = FAKE_WORKERS;
	assert_int_equal(tp_client_attach_backend(&backend, &client), 0);
	assert_int_equal(tp_thread_register(client, &thread), 0);
	tp_submit_nop(thread, 1, &ops[0]);
	assert_int_equal(bell_count(bells[1]), 0);
	tp_abi_bell_arm(&fake->node->bells[1]);
	tp_submit_nop(thread, 0, &ops[1]);
	assert_int_equal(bell_count(bells[0]), 0);
	tp_submit_nop(thread, 1, &ops[2]);
	tp_submit_nop(thread, 1, &ops[3]);
	assert_int_equal(bell_count(bells[1]), 1);
	/* The next sleep is another one. */
	tp_abi_bell_disarm(&fake->node->bells[1]);
	tp_abi_bell_arm(&fake->node->bells[1]);
	fake_node_poll(fake);
	assert_true(tp_op_poll(thread, &ops[3]));
	tp_submit_nop(thread, 1, &ops[3]);
	assert_int_equal(bell_count(bells[1]), 1);
	fake_node_poll(fake);
	assert_true(tp_op_poll(thread, &ops[3]));
	tp_client_detach(client);
	close(bells[0]);
	close(bells[1]);
	fake_node_destroy(fake);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wait_sleeping_thread_is_woken_by_each_answer),
		cmocka_unit_test(test_wait_sleeping_worker_is_rung_for_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
