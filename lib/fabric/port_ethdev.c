/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Starting an ethdev port whatever its PMD can do: each step asks first, and
 * what is missing but not needed costs one log line.
 */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include <rte_alarm.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "fabric_priv.h"
#include "port_priv.h"
#include "tp_link_ethdev.h"

TP_LOG_REGISTER(fabric);

#define PORT_DESCRIPTORS 1024u

/* By port id, 0 if not started by us; ethdev may know a smaller one. Main lcore. */
static uint16_t port_mtus[RTE_MAX_ETHPORTS];

uint16_t
fabric_port_mtu(uint16_t port)
{
	uint16_t mtu;

	if (rte_eth_dev_get_mtu(port, &mtu) != 0)
		return 0;
	return port_mtus[port] != 0 ? port_mtus[port] : mtu;
}

static int
port_check(const struct tp_port_config *config, const struct rte_eth_dev_info *info)
{
	uint16_t q;

	if (config->queues == 0 || config->mtu < TP_WIRE_MTU_MIN || config->mtu > TP_WIRE_MTU_MAX)
		return -EINVAL;
	if (info->max_rx_queues < config->queues || info->max_tx_queues < config->queues) {
		TP_FABRIC_LOG(ERR, "port %u has %u receive and %u transmit queues, %u wanted",
			config->port, info->max_rx_queues, info->max_tx_queues, config->queues);
		return -ENOTSUP;
	}
	for (q = 0; q < config->queues; q++) {
		uint32_t room = rte_pktmbuf_data_room_size(config->pools[q]);

		if (room < RTE_PKTMBUF_HEADROOM + TP_WIRE_ETHER_BYTES + config->mtu) {
			TP_FABRIC_LOG(ERR, "port %u queue %u: buffers of %u bytes, mtu %u needs %u",
				config->port, q, room, config->mtu,
				tp_port_mbuf_bytes(config->mtu));
			return -EINVAL;
		}
	}
	return 0;
}

static int
port_configure(const struct tp_port_config *config, const struct rte_eth_dev_info *info,
	uint16_t mtu)
{
	struct rte_eth_conf conf;
	int ret;

	memset(&conf, 0, sizeof(conf));
	conf.rxmode.mtu = mtu;
	if (config->queues > 1 && (info->flow_type_rss_offloads & RTE_ETH_RSS_NONFRAG_IPV4_UDP)) {
		conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		conf.rx_adv_conf.rss_conf.rss_hf = RTE_ETH_RSS_NONFRAG_IPV4_UDP;
	}
	conf.intr_conf.rxq = fabric_port_has_interrupts(info);
	/* No fast free: frames are referenced until acknowledged. */
	ret = rte_eth_dev_configure(config->port, config->queues, config->queues, &conf);
	if (ret < 0 && conf.intr_conf.rxq != 0) {
		/* The bus has too few of them, as with uio: they are not needed. */
		conf.intr_conf.rxq = 0;
		ret = rte_eth_dev_configure(config->port, config->queues, config->queues, &conf);
	}
	fabric_port_interrupts_set(config->port,
		ret == 0 && conf.intr_conf.rxq != 0 ? config->queues : 0);
	if (ret < 0)
		TP_FABRIC_LOG(ERR, "port %u: cannot configure %u queues at mtu %u: %s",
			config->port, config->queues, mtu, strerror(-ret));
	return ret;
}

/** Largest MTU that ethdev lets us configure. */
static uint16_t
port_mtu_reported(const struct rte_eth_dev_info *info)
{
	uint32_t overhead = RTE_ETHER_HDR_LEN + RTE_ETHER_CRC_LEN;
	uint32_t mtu = info->max_mtu;

	if (info->max_mtu != UINT16_MAX && info->max_rx_pktlen > info->max_mtu)
		overhead = info->max_rx_pktlen - info->max_mtu;
	if (info->max_rx_pktlen != 0 && info->max_rx_pktlen - overhead < mtu)
		mtu = info->max_rx_pktlen - overhead;
	return (uint16_t)mtu;
}

/** Configure with the wanted MTU, or else with the one the port has. */
static int
port_configure_mtu(const struct tp_port_config *config, const struct rte_eth_dev_info *info,
	uint16_t *mtu_out)
{
	uint16_t mtu = RTE_MAX(RTE_MIN(config->mtu, port_mtu_reported(info)), info->min_mtu);
	uint16_t own = RTE_ETHER_MTU;
	int ret;

	rte_eth_dev_get_mtu(config->port, &own);
	ret = port_configure(config, info, mtu);
	if (ret < 0)
		return ret;
	*mtu_out = mtu < config->mtu ? fabric_port_software_mtu(info, config->mtu) : 0;
	if (*mtu_out >= mtu)
		return 0;
	ret = rte_eth_dev_set_mtu(config->port, mtu);
	/* Ports without the operation hold what was configured. */
	if (ret < 0 && ret != -ENOTSUP) {
		mtu = RTE_MIN(own, mtu);
		ret = port_configure(config, info, mtu);
		if (ret < 0)
			return ret;
	}
	*mtu_out = mtu;
	return 0;
}

static int
port_mtu_check(const struct tp_port_config *config, uint16_t mtu)
{
	if (mtu < config->mtu)
		TP_FABRIC_LOG(NOTICE, "port %u: mtu %u is not to be had, it is %u", config->port,
			config->mtu, mtu);
	return mtu < TP_WIRE_MTU_MIN ? -EINVAL : 0;
}

static int
port_queues(const struct tp_port_config *config, const struct rte_eth_dev_info *info)
{
	uint16_t rx = config->rx_descriptors == 0 ? PORT_DESCRIPTORS : config->rx_descriptors;
	uint16_t tx = config->tx_descriptors == 0 ? PORT_DESCRIPTORS : config->tx_descriptors;
	struct rte_eth_txconf tx_conf = info->default_txconf;
	int socket = rte_eth_dev_socket_id(config->port);
	uint16_t q;
	int ret;

	tx_conf.offloads &= ~RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE;
	ret = rte_eth_dev_adjust_nb_rx_tx_desc(config->port, &rx, &tx);
	if (ret < 0)
		return ret;
	for (q = 0; q < config->queues; q++) {
		ret = rte_eth_rx_queue_setup(config->port, q, rx, (unsigned int)socket,
			&info->default_rxconf, config->pools[q]);
		if (ret < 0)
			break;
		fabric_port_wake_learn(config->port, q, info);
		ret = rte_eth_tx_queue_setup(config->port, q, tx, (unsigned int)socket, &tx_conf);
		if (ret < 0)
			break;
	}
	if (ret < 0)
		TP_FABRIC_LOG(ERR, "port %u: cannot set up queue %u: %s", config->port, q,
			strerror(-ret));
	return ret;
}

int
tp_port_start(const struct tp_port_config *config, uint16_t *mtu_out)
{
	struct tp_port_config possible = *config;
	struct rte_eth_dev_info info;
	uint16_t mtu;
	int ret;

	ret = rte_eth_dev_info_get(config->port, &info);
	if (ret < 0)
		return -ENODEV;
	possible.mtu = RTE_MIN(config->mtu, fabric_port_mtu_max(&info));
	ret = port_check(&possible, &info);
	if (ret < 0)
		return ret;
	ret = port_configure_mtu(&possible, &info, &mtu);
	if (ret == 0)
		ret = port_mtu_check(config, mtu);
	if (ret < 0)
		return ret;
	ret = port_queues(config, &info);
	if (ret < 0)
		return ret;
	tp_port_signals_stop(config->port);
	ret = rte_eth_dev_start(config->port);
	if (ret < 0) {
		TP_FABRIC_LOG(ERR, "port %u: cannot start: %s", config->port, strerror(-ret));
		return ret;
	}
	fabric_port_bells_open(config->port, config->queues, &info);
	port_mtus[config->port] = mtu;
	*mtu_out = mtu;
	return 0;
}

struct port_close {
	uint16_t port;
	int ret;
	_Atomic bool done;
};

static void
port_close(void *arg)
{
	struct port_close *close = arg;

	close->ret = rte_eth_dev_stop(close->port);
	if (close->ret == 0)
		close->ret = rte_eth_dev_close(close->port);
	/* Pairs with the acquire in port_close_in_interrupts(). */
	atomic_store_explicit(&close->done, true, memory_order_release);
}

/*
 * memif takes a connection down in EAL's interrupt thread when the other side
 * goes away, with nothing to keep a close on another thread out: both would free
 * the same rings. So close it on that thread, too.
 */
static int
port_close_in_interrupts(uint16_t port)
{
	struct port_close close = { .port = port };
	int ret = rte_eal_alarm_set(1, port_close, &close);

	if (ret < 0)
		return ret;
	/* Pairs with the release in port_close(). */
	while (!atomic_load_explicit(&close.done, memory_order_acquire))
		usleep(100);
	return close.ret;
}

int
tp_port_stop(uint16_t port)
{
	struct port_close close = { .port = port };
	struct rte_eth_dev_info info;

	if (port < RTE_MAX_ETHPORTS)
		port_mtus[port] = 0;
	fabric_port_wake_forget(port);
	fabric_port_interrupts_set(port, 0);
	fabric_port_signals_forget(port);
	fabric_port_bells_close(port);
	if (rte_eth_dev_info_get(port, &info) == 0 && strcmp(info.driver_name, "net_memif") == 0)
		return port_close_in_interrupts(port);
	port_close(&close);
	return close.ret;
}
