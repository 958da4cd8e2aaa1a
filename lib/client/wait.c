/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * How a thread waits for the node: spin, give the core away, sleep. Owner: the
 * calling thread.
 */
#include <sched.h>
#include <time.h>

#include <rte_cycles.h>
#include <rte_pause.h>

#include "client_priv.h"

#define WAIT_SPINS 16			/* polls before the core is given away */
#define WAIT_YIELD_NS 500000ull		/* waiting before sleeps begin */
#define WAIT_SLEEP_NS 50000

/*
 * Leave the core. If that took longer than a bare system call somebody ran
 * meanwhile: the node, if it is on this core. Then the next wait does not spin.
 */
static void
wait_yield(struct tp_thread *thread)
{
	uint64_t before = rte_rdtsc();

	sched_yield();
	thread->core_shared = rte_rdtsc() - before > thread->client->switch_tsc;
}

struct tp_result
tp_op_wait(struct tp_thread *thread, struct tp_op *op)
{
	static const struct timespec step = { .tv_nsec = WAIT_SLEEP_NS };
	const struct tp_client_backend *backend = &thread->client->backend;
	uint64_t yield_until = 0;
	uint32_t spins = 0;

	while (!tp_op_poll(thread, op)) {
		if (backend->poll != NULL) {
			backend->poll(backend->ctx);
		} else if (spins < WAIT_SPINS && !thread->core_shared) {
			spins++;
			rte_pause();
		} else if (yield_until == 0) {
			yield_until = rte_rdtsc() +
				client_tsc_from_ns(thread->client, WAIT_YIELD_NS);
			wait_yield(thread);
		} else if (rte_rdtsc() < yield_until) {
			wait_yield(thread);
		} else {
			nanosleep(&step, NULL);
		}
	}
	return op->result;
}
