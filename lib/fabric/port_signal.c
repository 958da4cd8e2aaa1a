/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Takes from net_tap the signal that it asks the kernel for with every frame.
 *
 * How it works: the driver reads from the kernel only after its signal handler
 * has counted one up, so that an empty poll costs no system call. But the kernel
 * then interrupts us for each frame, whether we spin or sleep, and whoever
 * sends it pays for that: 75 us of the 160 us that a page took from a node that
 * slept. A poller spins for moments only, and its descriptor wakes it. So the
 * kernel is told to send none (O_ASYNC off), and who receives counts up himself
 * by calling that handler, which does nothing else. The count is one for all
 * ports of this process: those of others may go on with signals.
 */
#include <fcntl.h>
#include <signal.h>
#include <string.h>

#include <rte_common.h>
#include <rte_ethdev.h>

#include "port_priv.h"
#include "tp_link_ethdev.h"

#define SIGNAL_FDS_MAX 64

/* Main lcore; the links of a port read its own. */
static tp_port_count_fn port_counts[RTE_MAX_ETHPORTS];

/* The handler of the signal that comes with frames; NULL: none comes. */
static tp_port_count_fn
signal_handler(int fd)
{
	int number = fcntl(fd, F_GETSIG);
	struct sigaction action;

	/* Without a number it would be SIGIO, which is not what the driver does. */
	if (number <= 0 || sigaction(number, NULL, &action) < 0 ||
	    (action.sa_flags & SA_SIGINFO) || action.sa_handler == SIG_DFL ||
	    action.sa_handler == SIG_IGN)
		return NULL;
	return action.sa_handler;
}

void
tp_port_signals_stop(uint16_t port)
{
	struct rte_eth_dev_info info;
	int fds[SIGNAL_FDS_MAX];
	unsigned int count, i;

	if (rte_eth_dev_info_get(port, &info) < 0 || strcmp(info.driver_name, "net_tap") != 0)
		return;
	count = fabric_port_fds(&info, fds, RTE_DIM(fds));
	for (i = 0; i < count; i++) {
		int flags = fcntl(fds[i], F_GETFL);
		tp_port_count_fn handler = signal_handler(fds[i]);

		if (flags < 0 || !(flags & O_ASYNC) || handler == NULL)
			continue;
		if (fcntl(fds[i], F_SETFL, flags & ~O_ASYNC) == 0)
			port_counts[port] = handler;
	}
}

void
fabric_port_signals_forget(uint16_t port)
{
	if (port < RTE_MAX_ETHPORTS)
		port_counts[port] = NULL;
}

tp_port_count_fn
tp_port_count(uint16_t port)
{
	return port < RTE_MAX_ETHPORTS ? port_counts[port] : NULL;
}
