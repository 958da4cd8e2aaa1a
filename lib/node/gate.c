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

/* Somebody wants to enter: for how long has the holder kept others waiting? */
static int
gate_wait(struct gate *gate, uint64_t now)
{
	/* Time in which this node did not look is not the holder's fault. */
	gate->waited_ns += RTE_MIN(now - gate->looked_at, GATE_LOOK_NS);
	gate->looked_at = now;
	if (gate->waited_ns < GATE_LEASE_NS)
		return -EAGAIN;
	gate->refused++;
	if (gate->overdue)
		return -EBUSY;
	gate->overdue = true;
	TP_NODE_LOG(WARNING, "process %d stands still while it attaches as a DPDK secondary "
		"process: no other may, until it goes on", gate->pid);
	return -EBUSY;
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
	gate->pid = pid;
	gate->overdue = false;
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
	if (gate->overdue)
		TP_NODE_LOG(NOTICE, "process %d has gone on: others may attach as DPDK secondary "
			"processes again", gate->pid);
	return 0;
}

void
gate_gone(struct gate *gate, int who)
{
	if (gate->holder != who)
		return;
	gate->holder = -1;
	gate->closed = true;
	TP_NODE_LOG(ERR, "process %d died while it attached as a DPDK secondary process: no other "
		"may, until this node is restarted", gate->pid);
}
