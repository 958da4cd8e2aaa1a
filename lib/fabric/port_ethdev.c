/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Starting an ethdev port whatever its PMD can do: each step asks first, and
 * what is missing but not needed costs one log line.
 */
#include <errno.h>
#include <string.h>

#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "fabric_priv.h"
#include "tp_link_ethdev.h"
#include "tp_log.h"

TP_LOG_DECLARE(fabric);
#define TP_FABRIC_LOG(level, ...) TP_LOG(fabric, level, __VA_ARGS__)
TP_LOG_REGISTER(fabric);

#define PORT_DESCRIPTORS 1024u

uint16_t
tp_port_mbuf_bytes(uint16_t mtu)
{
	uint32_t bytes = RTE_PKTMBUF_HEADROOM + mtu + TP_WIRE_ETHER_BYTES;

	/* Whole cache lines; some PMDs want what a 2 KiB buffer gives. */
	bytes = RTE_ALIGN_CEIL(bytes, RTE_CACHE_LINE_SIZE);
	return (uint16_t)RTE_MAX(bytes, (uint32_t)RTE_MBUF_DEFAULT_BUF_SIZE);
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
	/* No fast free: frames are referenced until acknowledged. */
	ret = rte_eth_dev_configure(config->port, config->queues, config->queues, &conf);
	if (ret < 0)
		TP_FABRIC_LOG(ERR, "port %u: cannot configure %u queues at mtu %u: %s",
			config->port, config->queues, mtu, strerror(-ret));
	return ret;
}

/** Configure with the wanted MTU, or else with the one the port has. */
static int
port_configure_mtu(const struct tp_port_config *config, const struct rte_eth_dev_info *info,
	uint16_t *mtu_out)
{
	uint16_t mtu = RTE_MAX(RTE_MIN(config->mtu, info->max_mtu), info->min_mtu);
	uint16_t own = RTE_ETHER_MTU;
	int ret;

	rte_eth_dev_get_mtu(config->port, &own);
	ret = port_configure(config, info, mtu);
	if (ret < 0)
		return ret;
	ret = rte_eth_dev_set_mtu(config->port, mtu);
	/* Ports without the operation hold what was configured. */
	if (ret < 0 && ret != -ENOTSUP) {
		TP_FABRIC_LOG(NOTICE, "port %u: cannot set mtu %u (%s), staying at %u",
			config->port, mtu, strerror(-ret), RTE_MIN(own, mtu));
		mtu = RTE_MIN(own, mtu);
		ret = port_configure(config, info, mtu);
		if (ret < 0)
			return ret;
	}
	if (mtu < TP_WIRE_MTU_MIN) {
		TP_FABRIC_LOG(ERR, "port %u: mtu %u is less than %u", config->port, mtu,
			TP_WIRE_MTU_MIN);
		return -EINVAL;
	}
	*mtu_out = mtu;
	return 0;
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
	struct rte_eth_dev_info info;
	uint16_t mtu;
	int ret;

	ret = rte_eth_dev_info_get(config->port, &info);
	if (ret < 0)
		return -ENODEV;
	ret = port_check(config, &info);
	if (ret < 0)
		return ret;
	ret = port_configure_mtu(config, &info, &mtu);
	if (ret < 0)
		return ret;
	ret = port_queues(config, &info);
	if (ret < 0)
		return ret;
	ret = rte_eth_dev_start(config->port);
	if (ret < 0) {
		TP_FABRIC_LOG(ERR, "port %u: cannot start: %s", config->port, strerror(-ret));
		return ret;
	}
	*mtu_out = mtu;
	return 0;
}

int
tp_port_stop(uint16_t port)
{
	int ret = rte_eth_dev_stop(port);

	if (ret == 0)
		ret = rte_eth_dev_close(port);
	return ret;
}
