/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The end of the daemon: what it leaves on the machine, and that it comes in time.
 */
#ifndef LEAVE_H
#define LEAVE_H

#include <signal.h>

/* Set by SIGTERM and SIGINT. */
extern volatile sig_atomic_t leave_wanted;

/*
 * Take SIGTERM and SIGINT, before rte_eal_init(): from the signal on the process
 * has milliseconds to end by itself; then it is ended from the signal handler
 * of a timer, which asks nobody for a lock. 0, or -errno.
 */
int leave_arm(unsigned int milliseconds);

/* After rte_eal_init(): find out which files are to go at the end. */
void leave_files_find(void);

/* Once the node listens at its control socket: likewise, whatever becomes of the others. */
void leave_socket_find(const char *path);

/* The cluster has been left in order: how a forced end is reported. */
void leave_in_order(void);

/* Remove those files and end the process; what was given to stdio is written. */
_Noreturn void leave(int status);

#endif /* LEAVE_H */
