/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Inside lib/node: the gate for DPDK secondary processes, and what dead ones
 * leave in the run directory. Owner: main lcore. Needs no EAL.
 */
#ifndef GATE_PRIV_H
#define GATE_PRIV_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * rte_eal_init() of a secondary takes locks in memory that it shares with us, and
 * one killed there leaves them taken. So one process at a time is inside, and
 * the end of its connection while it is there closes the gate for good. One that
 * stands still there holds them, too, perhaps: whoever waits for it does so for
 * GATE_LEASE_NS at most, and then nobody waits, until it goes on and leaves.
 */
#define GATE_LEASE_NS UINT64_C(2000000000)
#define GATE_LOOK_NS UINT64_C(100000000)	/* counted from one look to the next, at most */

struct gate {
	int holder;		/* who is inside, by the caller's number; -1: nobody */
	pid_t pid;		/* of the holder */
	bool closed;		/* a process died inside */
	bool overdue;		/* the holder's lease is over: others are refused */
	uint64_t waited_ns;	/* for the holder, by who was here to wait */
	uint64_t looked_at;
	uint64_t entered;
	uint64_t refused;
};

void gate_init(struct gate *gate);

/*
 * 0: inside; -EAGAIN: another one is, ask again; -EBUSY: it does not get on; -EALREADY;
 * -EOWNERDEAD: closed for good.
 */
int gate_enter(struct gate *gate, int who, pid_t pid, uint64_t now);

/* 0, or -EPERM: it is not inside. */
int gate_leave(struct gate *gate, int who);

/* The connection has ended. */
void gate_gone(struct gate *gate, int who);

/*
 * Remove the files of processes that are gone from EAL's run directory: the
 * sockets of its message channel, and secondaries' copies of page tables.
 * Returns how many of them could not be removed yet.
 */
unsigned int rundir_tidy(const char *path);

#endif /* GATE_PRIV_H */
