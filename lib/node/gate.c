/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The gate for DPDK secondary processes: see gate_priv.h, docs/abi.md section 8.
 */
#include <errno.h>

#include "gate_priv.h"
#include "worker_priv.h"

void
gate_init(struct gate *gate)
{
	*gate = (struct gate){ .holder = -1 };
}

int
gate_enter(struct gate *gate, int who, pid_t pid)
{
	if (gate->closed) {
		gate->refused++;
		return -EOWNERDEAD;
	}
	if (gate->holder == who)
		return -EALREADY;
	if (gate->holder >= 0)
		return -EAGAIN;
	gate->holder = who;
	gate->pid = pid;
	gate->entered++;
	return 0;
}

int
gate_leave(struct gate *gate, int who)
{
	if (gate->holder != who)
		return -EPERM;
	gate->holder = -1;
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
