/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Between the files of lib/fabric that know ethdev.
 */
#ifndef PORT_PRIV_H
#define PORT_PRIV_H

#include <stdbool.h>
#include <stdint.h>

#include "tp_log.h"

struct rte_eth_dev_info;

TP_LOG_DECLARE(fabric);
#define TP_FABRIC_LOG(level, ...) TP_LOG(fabric, level, __VA_ARGS__)

/* port_software.c */
uint16_t fabric_port_software_mtu(const struct rte_eth_dev_info *info, uint16_t wanted);

/* port_pool.c: does the port give its buffers to the kernel, and what fits them at most? */
bool fabric_port_is_xdp(const struct rte_eth_dev_info *info);
uint16_t fabric_port_mtu_max(const struct rte_eth_dev_info *info);

/* port_bell.c: when a port has started; when it stops. A bell is good until then. */
struct fabric_port_bell;
void fabric_port_bells_open(uint16_t port, uint16_t queues, const struct rte_eth_dev_info *info);
void fabric_port_bells_close(uint16_t port);
/* NULL: that queue has none. */
const struct fabric_port_bell *fabric_port_bell(uint16_t port, uint16_t queue);
/* Wake the other side of the queue. The queue's lcore; one system call. */
void fabric_port_bell_ring(const struct fabric_port_bell *bell);

/* port_wake.c: after each queue of a port is set up; when it stops. */
void fabric_port_wake_learn(uint16_t port, uint16_t queue, const struct rte_eth_dev_info *info);
void fabric_port_wake_forget(uint16_t port);

/* port_interrupt.c: can queues interrupt us in time? How many were asked to; 0 when it stops. */
bool fabric_port_has_interrupts(const struct rte_eth_dev_info *info);
void fabric_port_interrupts_set(uint16_t port, uint16_t queues);

/* The driver's descriptors that frames arrive at, of every queue of the port. How many. */
unsigned int fabric_port_fds(const struct rte_eth_dev_info *info, int *fds, unsigned int fd_max);

/* port_signal.c: when a port stops. */
void fabric_port_signals_forget(uint16_t port);

/* port_ethdev.c: the MTU that tp_port_start() found, or else what the port says; 0: no port. */
uint16_t fabric_port_mtu(uint16_t port);

#endif /* PORT_PRIV_H */
