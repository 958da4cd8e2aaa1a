/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Client threads against a node in its own thread that takes pages away all the
 * time: no write lost, no stale read, sums exact.
 */
#include <stdatomic.h>

#include <rte_pause.h>

#include "fixture.h"

#define THREADS 3
#define ROUNDS 1600
#define COUNTERS 8	/* one a page */

struct worker {
	struct fixture *f;
	struct tp_thread *thread;
	uint32_t index;
	uint32_t voids;
	pthread_t pthread;
};

struct node_loop {
	struct fake_node *fake;
	_Atomic bool stop;
	pthread_t pthread;
};

/* Serve, and take one page after the other away whatever its users do. */
static void *
node_run(void *argument)
{
	struct node_loop *loop = argument;
	uint32_t page = 0;

	while (!atomic_load(&loop->stop)) {
		fake_node_poll(loop->fake);
		if (fake_page_revoke(loop->fake, page))
			page = (page + 1) % FAKE_PAGES;
	}
	return NULL;
}

/*
 * Each thread adds to all counters, and writes a word of its own next to each
 * counter that it must read back, whichever way the page moved meanwhile.
 */
static void *
worker_run(void *argument)
{
	struct worker *worker = argument;
	struct tp_client_region *region = worker->f->region;
	uint64_t own = 64 + worker->index * 8, value;
	uint32_t i;

	for (i = 0; i < ROUNDS; i++) {
		uint64_t page = (uint64_t)(i % COUNTERS) * FAKE_PAGE_BYTES;
		uint64_t written = (uint64_t)worker->index << 32 | i;
		struct tp_pin pin;

		worker->voids += !tp_result_is_ok(tp_atomic_add64(worker->thread, region, page, 1,
								  NULL));
		worker->voids += !tp_result_is_ok(tp_write(worker->thread, region, page + own,
							   &written, 8));
		value = 0;
		worker->voids += !tp_result_is_ok(tp_read(worker->thread, region, page + own,
							  &value, 8));
		worker->voids += value != written;
		if (i % 16 != 0)
			continue;
		worker->voids += !tp_result_is_ok(tp_pin(worker->thread, region, page + own, 8,
							 TP_ACCESS_WRITE, &pin));
		worker->voids += __atomic_load_n((uint64_t *)pin.address, __ATOMIC_RELAXED) !=
			written;
		worker->voids += !tp_result_is_ok(tp_unpin(worker->thread, &pin));
	}
	return NULL;
}

static void
test_threads_pages_taken_away_nothing_lost(void **state)
{
	struct fixture f = { .fake = fake_node_create() };
	struct tp_client_backend backend = fake_node_backend(f.fake);
	struct worker workers[THREADS];
	struct node_loop loop = { .fake = f.fake };
	uint64_t before[COUNTERS], after;
	uint32_t i;

	/* Long leases: this is about order, not about time, on a machine under load. */
	f.fake->node->guard_lease_tsc = UINT64_MAX / 16;
	f.fake->tsc_step = 0;
	backend.poll = NULL;
	backend.timeout_ns = 1ull << 62;
	assert_int_equal(tp_client_attach_backend(&backend, &f.client), 0);
	assert_int_equal(tp_client_region_open(f.client, "test", &f.region), 0);
	for (i = 0; i < COUNTERS; i++)
		memcpy(&before[i], f.fake->pages[i].home, 8);
	for (i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){ .f = &f, .index = i };
		assert_int_equal(tp_thread_register(f.client, &workers[i].thread), 0);
	}
	pthread_create(&loop.pthread, NULL, node_run, &loop);
	for (i = 0; i < THREADS; i++)
		pthread_create(&workers[i].pthread, NULL, worker_run, &workers[i]);
	for (i = 0; i < THREADS; i++)
		pthread_join(workers[i].pthread, NULL);
	atomic_store(&loop.stop, true);
	pthread_join(loop.pthread, NULL);

	for (i = 0; i < THREADS; i++)
		assert_int_equal(workers[i].voids, 0);
	for (i = 0; i < COUNTERS; i++) {
		memcpy(&after, fake_page_data(f.fake, i), 8);
		assert_int_equal(after - before[i], THREADS * ROUNDS / COUNTERS);
	}
	assert_false(fake_node_guarded(f.fake));
	tp_client_detach(f.client);
	fake_node_destroy(f.fake);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads_pages_taken_away_nothing_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
