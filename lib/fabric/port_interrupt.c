/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Interrupts of a port's receive queues: what ends a sleep where a card puts
 * frames into memory by itself. They are on only while somebody sleeps.
 *
 * Not every driver that has them is good for that: net_e1000_em lets a card hold
 * an interrupt back for 16 ms, ten times as long as nodes sleep without. So those
 * are listed here with which it was tried.
 */
#include <stdbool.h>
#include <string.h>

#include <rte_common.h>
#include <rte_ethdev.h>

#include "port_priv.h"
#include "tp_link_ethdev.h"

/* Queues that are asked to interrupt us, by port; 0: none. Main lcore. */
static uint16_t interrupt_queues[RTE_MAX_ETHPORTS];

bool
fabric_port_has_interrupts(const struct rte_eth_dev_info *info)
{
	static const char *const drivers[] = { "net_virtio", "net_virtio_user" };
	size_t i;

	for (i = 0; i < RTE_DIM(drivers); i++)
		if (strcmp(info->driver_name, drivers[i]) == 0)
			return true;
	return false;
}

void
fabric_port_interrupts_set(uint16_t port, uint16_t queues)
{
	if (port < RTE_MAX_ETHPORTS)
		interrupt_queues[port] = queues;
}

int
tp_port_interrupt(uint16_t port, uint16_t queue)
{
	if (port >= RTE_MAX_ETHPORTS || queue >= interrupt_queues[port])
		return -1;
	return rte_eth_dev_rx_intr_ctl_q_get_fd(port, queue);
}

void
tp_port_interrupt_enable(uint16_t port, uint16_t queue, bool enable)
{
	/* What it returns says whether the driver can, which we know. */
	if (enable)
		rte_eth_dev_rx_intr_enable(port, queue);
	else
		rte_eth_dev_rx_intr_disable(port, queue);
}
