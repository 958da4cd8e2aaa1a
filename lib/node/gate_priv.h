/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Inside lib/node: the gate for DPDK secondary processes, what they are seen to
 * do, and what dead ones leave in the run directory. Owner: main lcore. Needs no EAL.
 */
#ifndef GATE_PRIV_H
#define GATE_PRIV_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* A process and what it had done when it was looked at last; .pid alone to begin with. */
struct process {
	pid_t pid;		/* 0: it is none that we can see */
	uint64_t started;	/* another process with that number began at another time */
	uint64_t done;
};

enum process_state {
	PROCESS_GONE,		/* or only what its parent has not fetched yet */
	PROCESS_STOPPED,	/* by a signal, or a debugger */
	PROCESS_ASLEEP,		/* it has done nothing since the last look; or nobody knows */
	PROCESS_BUSY,
};

/* Some 20 us. */
enum process_state process_look(struct process *process);

/*
 * rte_eal_init() of a secondary takes locks in memory that it shares with us, and
 * one killed there leaves them taken. So one process at a time is inside, and
 * its end while it is there closes the gate for good. However long it takes, others
 * wait for it as long as it gets on. One that is stopped holds those locks, too,
 * perhaps: whoever waits for it does so for GATE_STOPPED_NS at most, and for one
 * that only sleeps for GATE_ASLEEP_NS, longer than anything that EAL waits for.
 * Then nobody waits, until it goes on.
 */
#define GATE_STOPPED_NS UINT64_C(2000000000)
#define GATE_ASLEEP_NS UINT64_C(10000000000)
#define GATE_LOOK_NS UINT64_C(20000000)		/* from one look at the holder to the next */
#define GATE_CHARGE_NS UINT64_C(100000000)	/* of that, counted at most */

struct gate {
	int holder;		/* who is inside, by the caller's number; -1: nobody */
	struct process process;	/* likewise */
	bool closed;		/* a process died inside */
	bool overdue;		/* it has not got on for too long: others are refused */
	uint64_t waited_ns;	/* by who was here to wait, since it last got on */
	uint64_t looked_at;
	uint64_t entered;
	uint64_t refused;
};

void gate_init(struct gate *gate);

/*
 * 0: inside; -EAGAIN: another one is, ask again; -EBUSY: that one does not get on; -EALREADY;
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
