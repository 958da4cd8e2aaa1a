/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Between the files of lib/fabric that know ethdev.
 */
#ifndef PORT_PRIV_H
#define PORT_PRIV_H

#include <stdint.h>

#include "tp_log.h"

struct rte_eth_dev_info;

TP_LOG_DECLARE(fabric);
#define TP_FABRIC_LOG(level, ...) TP_LOG(fabric, level, __VA_ARGS__)

/* port_software.c */
uint16_t fabric_port_software_mtu(const struct rte_eth_dev_info *info, uint16_t wanted);

/* port_ethdev.c: the MTU that tp_port_start() found, or else what the port says; 0: no port. */
uint16_t fabric_port_mtu(uint16_t port);

#endif /* PORT_PRIV_H */
