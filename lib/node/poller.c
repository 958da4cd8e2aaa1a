/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The bells of a node, and what its pollers do when there is nothing to do. A
 * worker has two descriptors: one that its clients share, and one that only this
 * process knows and that therefore always works.
 */
#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <rte_branch_prediction.h>
#include <rte_common.h>

#include "node_priv.h"
#include "tp_coherence.h"

#define POLLER_SLACK_NS 1000		/* of timers of this thread */
#define POLLER_ATTACH_NS UINT64_C(8000000)	/* connections are looked at so often in any case */
#define POLLER_WAKE_FDS 64

static_assert(IDLE_AWAKE_NS >= TP_PORT_AWAKE_NS, "who is taken for awake is awake");

int
node_bells_open(struct tp_node *node)
{
	uint16_t w;

	node->control_fd = -1;
	for (w = 0; w < node->config.workers; w++)
		node->worker_fds[w] = node->client_fds[w] = -1;
	node->control_fd = idle_bell_open();
	if (node->control_fd < 0)
		return node->control_fd;
	for (w = 0; w < node->config.workers; w++) {
		node->worker_fds[w] = idle_bell_open();
		if (node->worker_fds[w] < 0)
			return node->worker_fds[w];
		node->client_fds[w] = idle_bell_open();
		if (node->client_fds[w] < 0)
			return node->client_fds[w];
	}
	return 0;
}

static void
bell_close(int fd)
{
	if (fd >= 0)
		close(fd);
}

void
node_bells_close(struct tp_node *node)
{
	uint16_t w;

	bell_close(node->control_fd);
	for (w = 0; w < node->config.workers; w++) {
		bell_close(node->worker_fds[w]);
		bell_close(node->client_fds[w]);
	}
}

/* Something was put into a ring of this worker. Any thread. */
void
node_wake_worker(void *ctx, uint16_t worker)
{
	struct tp_node *node = ctx;

	/* While the node is being made nobody sleeps. */
	if (node->control != NULL &&
	    tp_abi_bell_asleep(&tp_control_abi_node(node->control)->bells[worker]) != 0)
		idle_bell_ring(node->worker_fds[worker]);
}

void
node_wake_control(void *ctx)
{
	struct tp_node *node = ctx;

	if (tp_abi_bell_asleep(&node->control_bell) != 0)
		idle_bell_ring(node->control_fd);
}

/* Ports of worker w: its own queue, or else worker 0's looks after it. */
static void
poller_port_add(struct node_poller *poller, const struct node_port *port, uint16_t worker)
{
	int fds[POLLER_WAKE_FDS];
	unsigned int count;
	unsigned int i;

	if (worker >= port->queues)
		return;
	if (tp_port_doorbell(port->port, worker) >= 0 ||
	    tp_port_interrupt(port->port, worker) >= 0)
		return;
	count = tp_port_wake_fds(port->port, worker, fds, RTE_DIM(fds));
	if (count == 0)
		idle_level_add(&poller->idle, -1);
	for (i = 0; i < count; i++)
		idle_level_add(&poller->idle, fds[i]);
}

/*
 * The C library registers each thread for restartable sequences, which we do not
 * use: the kernel then writes to the thread's memory at each switch, 60 ns.
 */
static void
poller_rseq_set(int flags)
{
	void *area = (uint8_t *)__builtin_thread_pointer() + __rseq_offset;

	/* The size it was registered with: of Linux 4.18, if no larger is known. */
	if (__rseq_size != 0)
		syscall(SYS_rseq, area, RTE_MAX(__rseq_size, 32u), flags, RSEQ_SIG);
}

static void
poller_doorbell_add(struct node_poller *poller, const struct node_port *port, uint16_t worker)
{
	int fd = worker < port->queues ? tp_port_doorbell(port->port, worker) : -1;

	if (fd >= 0)
		idle_doorbell_add(&poller->idle, fd);
}

static void
poller_interrupt_add(struct node_poller *poller, const struct node_port *port, uint16_t worker)
{
	int fd = worker < port->queues ? tp_port_interrupt(port->port, worker) : -1;

	if (fd < 0)
		return;
	idle_interrupt_add(&poller->idle, fd);
	poller->has_interrupts = true;
}

/* Cards interrupt only who is about to sleep, or does. */
static void
poller_interrupts_set(struct node_poller *poller, bool enable)
{
	struct tp_node *node = poller->node;
	uint16_t w;
	uint16_t p;

	if (!poller->has_interrupts || poller->interrupts == enable)
		return;
	poller->interrupts = enable;
	for (w = poller->worker_first; w < poller->worker_end; w++)
		for (p = 0; p < node->port_count; p++)
			if (w < node->ports[p].queues &&
			    tp_port_interrupt(node->ports[p].port, w) >= 0)
				tp_port_interrupt_enable(node->ports[p].port, w, enable);
}

/* Owner: the thread that is going to poll; the node is complete. */
void
node_poller_init(struct node_poller *poller, struct tp_node *node, uint16_t first, uint16_t end,
	bool control)
{
	uint16_t w;
	uint16_t p;

	poller->node = node;
	poller->worker_first = first;
	poller->worker_end = end;
	poller->control = control;
	poller->completions = 0;
	poller->vain_count = 0;
	poller->returns = 0;
	poller->returned_at = 0;
	poller->has_interrupts = false;
	poller->interrupts = false;
	poller->realtime = false;
	/* Somebody may have given this thread another class: then it is theirs. */
	poller->realtime_allowed = node->config.realtime && sched_getscheduler(0) == SCHED_OTHER;
	idle_init(&poller->idle);
	if (control)
		idle_bell_add(&poller->idle, &node->control_bell, node->control_fd);
	for (w = first; w < end; w++)
		idle_bell_add(&poller->idle, &tp_control_abi_node(node->control)->bells[w],
			node->worker_fds[w]);
	for (w = first; w < end; w++)
		for (p = 0; p < node->port_count; p++)
			poller_interrupt_add(poller, &node->ports[p], w);
	for (w = first; w < end; w++)
		for (p = 0; p < node->port_count; p++)
			poller_doorbell_add(poller, &node->ports[p], w);
	for (w = first; w < end; w++)
		idle_client_add(&poller->idle, node->client_fds[w]);
	for (w = first; w < end; w++)
		for (p = 0; p < node->port_count; p++)
			poller_port_add(poller, &node->ports[p], w);
	poller_rseq_set(RSEQ_FLAG_UNREGISTER);
	prctl(PR_SET_TIMERSLACK, POLLER_SLACK_NS, 0, 0, 0);
}

/* Does a node that leaves give its pages back, this one or another to this one? */
static void
poller_returning_fill(struct node_poller *poller, struct idle_turn *turn)
{
	uint64_t returns = 0;
	uint16_t w;

	for (w = poller->worker_first; w < poller->worker_end; w++) {
		const struct tp_worker *worker = tp_control_worker(poller->node->control, w);

		turn->returning |= tp_worker_is_draining(worker);
		returns += tp_coherence_stats_get(tp_worker_coherence(worker))->returns;
	}
	if (returns != poller->returns) {
		poller->returns = returns;
		poller->returned_at = turn->now;
	}
	turn->returning |= turn->now - poller->returned_at < IDLE_SPIN_NS;
}

static void
poller_turn_fill(struct node_poller *poller, struct idle_turn *turn)
{
	bool shared = idle_is_shared(&poller->idle, turn->now);
	struct tp_worker_usage usage;
	uint64_t completions = 0;
	uint32_t requests = 0;
	uint16_t w;

	for (w = poller->worker_first; w < poller->worker_end; w++) {
		const struct tp_worker *worker = tp_control_worker(poller->node->control, w);
		const struct tp_worker_stats *stats = tp_worker_stats_get(worker);

		turn->activity += stats->requests + stats->messages_in;
		completions += stats->completions;
		if (!shared)
			continue;
		tp_worker_usage_get(worker, &usage);
		requests += usage.requests;
	}
	turn->waiting = requests != 0;
	turn->answered = shared && requests == 0 && completions != poller->completions;
	poller->completions = completions;
}

/*
 * An ordinary thread that wakes up does not take the core from one that computes
 * before that one's slice is over, 1 to 4 ms. So where there is such a one it
 * becomes a real-time thread of the lowest priority for a while; it spins for
 * no more than some microseconds there, and see idle_is_realtime().
 */
static void
poller_realtime_set(struct node_poller *poller, bool realtime)
{
	struct sched_param param = { .sched_priority = realtime ? 1 : 0 };

	if (poller->realtime == realtime || !poller->realtime_allowed)
		return;
	if (sched_setscheduler(0, realtime ? SCHED_FIFO : SCHED_OTHER, &param) == 0)
		poller->realtime = realtime;
	else
		poller->realtime_allowed = false;
}

static void
poller_rings_count(struct node_poller *poller)
{
	uint64_t count = poller->idle.vain_count - poller->vain_count;

	if (count == 0)
		return;
	poller->vain_count += count;
	atomic_fetch_add_explicit(&poller->node->rings_vain, count, memory_order_relaxed);
}

static void
poller_sleep(struct node_poller *poller, uint64_t now)
{
	struct tp_node *node = poller->node;
	uint64_t max = node->config.lease_ms * UINT64_C(1000000) / 4;
	uint64_t timer = UINT64_MAX;
	struct pollfd *extra = NULL;
	uint64_t due;
	uint32_t room;
	uint32_t count = 0;
	uint32_t i;
	uint16_t w;

	poller_rings_count(poller);
	for (w = poller->worker_first; w < poller->worker_end; w++)
		timer = RTE_MIN(timer,
			tp_worker_next_timer(tp_control_worker(node->control, w)));
	if (poller->control) {
		timer = RTE_MIN(timer, tp_control_next_timer(node->control));
		if (node->attach != NULL) {
			extra = idle_extra(&poller->idle, &room);
			count = attach_fds(node->attach, extra, room);
		}
	}
	due = idle_sleep(&poller->idle, now, timer, max, count);
	if (due != 0)
		idle_overslept(&poller->idle, due, tp_node_now(node));
	if (!poller->control)
		return;
	node->control_at = 0;
	/*
	 * A look at all connections costs as much as the rest of such a turn. Counted
	 * from the last one: sleeps that follow each other must not put it off for ever.
	 */
	node->attach_at = node->attached_at + POLLER_ATTACH_NS;
	for (i = 0; i < count; i++)
		if (extra[i].revents != 0)
			node->attach_at = 0;
	if (node->control->calls_used != 0)
		node->attach_at = 0;
}

void
node_poller_idle(struct node_poller *poller, uint32_t work)
{
	struct idle_turn turn = {
		.now = tp_node_now(poller->node),
		.work = work,
	};
	enum idle_step step;

	poller_turn_fill(poller, &turn);
	if (tp_crowd_is(&poller->idle.crowd, turn.now))
		poller_returning_fill(poller, &turn);
	step = idle_next(&poller->idle, &turn);
	if (unlikely(poller->realtime) && !idle_is_realtime(&poller->idle, turn.now))
		poller_realtime_set(poller, false);
	switch (step) {
	case IDLE_POLL:
		break;
	case IDLE_SPIN:
		/*
		 * A pause would take as long as a turn, and this is never for long. Only
		 * another poller of this core is let in, which whom we wait for may need.
		 */
		if (unlikely(poller->realtime))
			sched_yield();
		break;
	case IDLE_YIELD:
		sched_yield();
		idle_yielded(&poller->idle, turn.now, tp_node_now(poller->node));
		break;
	case IDLE_ARM:
		if (idle_is_realtime(&poller->idle, turn.now))
			poller_realtime_set(poller, true);
		idle_arm(&poller->idle);
		poller_interrupts_set(poller, true);
		if (poller->control)
			poller->node->control_at = 0;
		break;
	case IDLE_SLEEP:
		poller_sleep(poller, turn.now);
		break;
	}
	if (unlikely(poller->interrupts) && !poller->idle.armed)
		poller_interrupts_set(poller, false);
}

/* What comes after polls without rest: not as a real-time thread. */
void
node_poller_fini(struct node_poller *poller)
{
	idle_disarm(&poller->idle);
	poller_interrupts_set(poller, false);
	poller_realtime_set(poller, false);
	poller_rseq_set(0);
}
