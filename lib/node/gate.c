/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The gate for DPDK secondary processes: see gate_priv.h, docs/abi.md section 8.
 */
#include <errno.h>

#include <rte_common.h>

#include "gate_priv.h"
#include "worker_priv.h"

void
gate_init(struct gate *gate)
{
	*gate = (struct gate){ .holder = -1 };
}

static void
gate_close(struct gate *gate)
{
	gate->holder = -1;
	gate->closed = true;
	TP_NODE_LOG(ERR, "process %d died while it attached as a DPDK secondary process: no other "
		"may, until this node is restarted", gate->process.pid);
}

static void
gate_overdue_set(struct gate *gate, bool overdue)
{
	if (gate->overdue == overdue)
		return;
	gate->overdue = overdue;
	if (overdue)
		TP_NODE_LOG(WARNING, "process %d stands still while it attaches as a DPDK "
			"secondary process: no other may, until it goes on", gate->process.pid);
	else
		TP_NODE_LOG(NOTICE, "process %d has gone on: others may attach as DPDK secondary "
			"processes again", gate->process.pid);
}

/* For how long has the holder kept others waiting, and got on with nothing? */
static void
gate_look(struct gate *gate, uint64_t now)
{
	enum process_state state = process_look(&gate->process);

	/* Time in which this node did not look is not the holder's fault. */
	gate->waited_ns += RTE_MIN(now - gate->looked_at, GATE_CHARGE_NS);
	gate->looked_at = now;
	if (state == PROCESS_BUSY)
		gate->waited_ns = 0;
	if (state == PROCESS_GONE)
		/* Its connection is still there: it has given that to another process. */
		gate_close(gate);
	else
		gate_overdue_set(gate, gate->waited_ns >=
			(state == PROCESS_STOPPED ? GATE_STOPPED_NS : GATE_ASLEEP_NS));
}

/* Somebody wants to enter, and another one is inside. */
static int
gate_wait(struct gate *gate, uint64_t now)
{
	if (now - gate->looked_at >= GATE_LOOK_NS)
		gate_look(gate, now);
	if (!gate->closed && !gate->overdue)
		return -EAGAIN;
	gate->refused++;
	return gate->closed ? -EOWNERDEAD : -EBUSY;
}

int
gate_enter(struct gate *gate, int who, pid_t pid, uint64_t now)
{
	if (gate->closed) {
		gate->refused++;
		return -EOWNERDEAD;
	}
	if (gate->holder == who)
		return -EALREADY;
	if (gate->holder >= 0)
		return gate_wait(gate, now);
	gate->holder = who;
	gate->process = (struct process){ .pid = pid };
	process_look(&gate->process);
	gate->waited_ns = 0;
	gate->looked_at = now;
	gate->entered++;
	return 0;
}

int
gate_leave(struct gate *gate, int who)
{
	if (gate->holder != who)
		return -EPERM;
	gate->holder = -1;
	gate_overdue_set(gate, false);
	return 0;
}

void
gate_gone(struct gate *gate, int who)
{
	if (gate->holder == who)
		gate_close(gate);
}
