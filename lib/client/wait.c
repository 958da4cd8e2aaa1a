/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * How a thread waits for the node: docs/abi.md section 9. Owner: the calling
 * thread.
 *
 * How it works: it spins for a moment, then gives its core away for a while, as
 * the node may need it to answer, then sleeps until the node wakes it. Where a
 * yield takes long somebody computes on this core, who would run at each of the
 * next yields too: then it sleeps at once, because who sleeps is run when it is
 * woken.
 */
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_pause.h>

#include "heir.h"

#define WAIT_SPINS 16			/* polls before the core is given away */
#define WAIT_SLICE_NS 100000ull		/* the shortest there is */
#define WAIT_RETRY_NS 100000ull		/* an access that waits for no answer */
#define WAIT_SLEEP_NS 10000000ull	/* then it looks whether the node is there */

void
client_bell_ring(struct tp_thread *thread, uint32_t worker, uint32_t asleep)
{
	uint64_t one = 1;
	ssize_t ret;

	thread->rings[worker].rung = asleep;
	ret = write(thread->client->bells[worker], &one, sizeof(one));
	/* Full: it has been rung. */
	RTE_SET_USED(ret);
}

/* struct sched_attr of sched_setattr(2), which has no wrapper here. */
struct wait_sched_attr {
	uint32_t size;
	uint32_t policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime;		/* of an ordinary thread: its slice, from Linux 6.12 on */
	uint64_t deadline;
	uint64_t period;
	uint32_t util_min;
	uint32_t util_max;
};

/*
 * Ask for short slices while somebody computes here: a thread that has its answer
 * then takes the core from that one at once. Its share of the core stays what it
 * was, and so does everything that older kernels know of. But who has short slices
 * goes on after most of its yields: they would not reach the node, so where only
 * the two share the core the slice is what it was before.
 */
static void
wait_slice_set(struct tp_thread *thread, bool brief)
{
	struct wait_sched_attr attr = { .size = sizeof(attr) };

	if (thread->slice_brief == brief)
		return;
	thread->slice_brief = brief;
	if (syscall(SYS_sched_getattr, 0, &attr, sizeof(attr), 0) < 0 ||
	    attr.policy != SCHED_OTHER)
		return;
	if (brief)
		thread->slice_before = attr.runtime;
	attr.runtime = brief ? WAIT_SLICE_NS : thread->slice_before;
	syscall(SYS_sched_setattr, 0, &attr, 0);
}

/*
 * Leave the core. If that took longer than a bare system call somebody ran
 * meanwhile: the node, if it is on this core. Then the next wait does not spin.
 */
static void
wait_yield(struct tp_thread *thread)
{
	const struct tp_client *client = thread->client;
	uint64_t before = rte_rdtsc(), after;

	sched_yield();
	after = rte_rdtsc();
	thread->core_shared = after - before > client->switch_tsc;
	if (unlikely(tp_crowd_waited(&thread->crowd, after - before, after)))
		wait_slice_set(thread, true);
}

static uint64_t
wait_ns(const struct tp_thread *thread, const struct tp_op *op)
{
	uint64_t now = rte_rdtsc();
	uint64_t left = op->deadline_tsc <= now ? 0 : op->deadline_tsc - now;
	unsigned __int128 ns = (unsigned __int128)left * 1000000000u /
		thread->client->geometry.tsc_hz;

	/* No answer is on its way: it waits for others of this thread, or for a while. */
	if (op->state == CLIENT_OP_QUEUED)
		return RTE_MIN((uint64_t)ns, WAIT_RETRY_NS);
	return (uint64_t)RTE_MIN(ns, (unsigned __int128)WAIT_SLEEP_NS);
}

/* Sleep until the node has answered something; true: the access is done. */
static bool
wait_sleep(struct tp_thread *thread, struct tp_op *op)
{
	uint64_t ns;
	struct timespec timeout;
	bool done;

	/* Answers come to the thread that asked. */
	if (unlikely(client_thread_heir(thread) != NULL))
		thread = client_thread_of(thread, op);
	tp_abi_thread_wait_begin(thread->shared);
	/* What came before the node could see that we sleep. */
	done = tp_op_poll(thread, op);
	if (!done) {
		ns = wait_ns(thread, op);
		timeout = (struct timespec){ .tv_nsec = (long)ns };
		/* Shared with another process: not a private one. */
		syscall(SYS_futex, &thread->shared->waiting, FUTEX_WAIT, 1, &timeout, NULL, 0);
	}
	tp_abi_thread_wait_end(thread->shared);
	return done;
}

struct tp_result
tp_op_wait(struct tp_thread *thread, struct tp_op *op)
{
	const struct tp_client_backend *backend;
	uint64_t yield_until = 0;
	uint32_t spins = 0;

	/* What was refused belongs to no thread and region that it could be looked for by. */
	if (op->state == CLIENT_OP_DONE)
		return op->result;
	if (unlikely(client_thread_heir(thread) != NULL))
		thread = client_thread_of(thread, op);
	backend = &thread->client->backend;
	while (!tp_op_poll(thread, op)) {
		if (backend->poll != NULL) {
			backend->poll(backend->ctx);
		} else if (spins < WAIT_SPINS && !thread->core_shared) {
			spins++;
			rte_pause();
		} else if (tp_crowd_is(&thread->crowd, rte_rdtsc())) {
			if (wait_sleep(thread, op))
				break;
		} else if (yield_until == 0) {
			wait_slice_set(thread, false);
			yield_until = rte_rdtsc() + thread->client->yield_tsc;
			wait_yield(thread);
		} else if (rte_rdtsc() < yield_until) {
			wait_yield(thread);
		} else if (wait_sleep(thread, op)) {
			break;
		}
	}
	return op->result;
}
