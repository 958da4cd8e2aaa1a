/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Buffers for a port: as many and as large as its driver wants them.
 *
 * net_af_xdp gives the whole pool to the kernel, as a row of objects that it
 * believes to lie side by side. Pools as they usually are do not: no object
 * crosses a page there, and the last ones would lie beyond what the kernel knows.
 * The kernel wants no object larger than a page, and puts room before each frame.
 */
#include <errno.h>
#include <string.h>

#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

#include "fabric_priv.h"
#include "port_priv.h"
#include "tp_link_ethdev.h"

#define POOL_ROOM_STEP 512u
/* net_af_packet wants buffers that hold a whole frame of its ring, head included. */
#define POOL_PACKET_HEAD 66u

#define POOL_XDP_HEAD 256u		/* of the kernel, before each frame received */
#define POOL_XDP_OBJECT 4096u		/* the smallest page there is */
#define POOL_XDP_OBJECT_MIN 2048u
#define POOL_XDP_OBJECT_HEAD (RTE_CACHE_LINE_SIZE + sizeof(struct rte_mbuf))
#define POOL_XDP_FILL 2048u		/* buffers of a queue that wait for frames */
#define POOL_XDP_SENT 64u		/* and that have been sent, until it sends again */

bool
fabric_port_is_xdp(const struct rte_eth_dev_info *info)
{
	return strcmp(info->driver_name, "net_af_xdp") == 0;
}

/** Data room of a buffer, its headroom included. */
static uint16_t
pool_xdp_room(uint16_t mtu)
{
	uint32_t room = RTE_PKTMBUF_HEADROOM + POOL_XDP_HEAD + TP_WIRE_ETHER_BYTES + mtu;

	room = RTE_MAX(room, POOL_XDP_OBJECT_MIN);
	room = RTE_MIN(room, (uint32_t)(POOL_XDP_OBJECT - POOL_XDP_OBJECT_HEAD));
	return (uint16_t)RTE_ALIGN_FLOOR(room + RTE_CACHE_LINE_SIZE - 1, RTE_CACHE_LINE_SIZE);
}

uint16_t
fabric_port_mtu_max(const struct rte_eth_dev_info *info)
{
	if (!fabric_port_is_xdp(info))
		return TP_WIRE_MTU_MAX;
	return (uint16_t)(POOL_XDP_OBJECT - POOL_XDP_OBJECT_HEAD - RTE_PKTMBUF_HEADROOM -
		POOL_XDP_HEAD - TP_WIRE_ETHER_BYTES);
}

static struct rte_mempool *
pool_xdp_create(const char *name, uint32_t frames, uint16_t mtu)
{
	struct rte_pktmbuf_pool_private private = { .mbuf_data_room_size = pool_xdp_room(mtu) };
	struct rte_mempool *pool;
	int ret;

	/* Objects of which none need be in one piece for a device: none is moved to a new page. */
	pool = rte_mempool_create_empty(name, frames,
		(unsigned int)sizeof(struct rte_mbuf) + private.mbuf_data_room_size,
		TP_PORT_POOL_CACHE, sizeof(private), (int)rte_socket_id(),
		RTE_MEMPOOL_F_NO_SPREAD | RTE_MEMPOOL_F_NO_IOVA_CONTIG);
	if (pool == NULL)
		return NULL;
	rte_pktmbuf_pool_init(pool, &private);
	ret = rte_mempool_populate_default(pool);
	/* The driver tells the kernel of the first piece alone. */
	if (ret >= 0 && pool->nb_mem_chunks != 1)
		ret = -ENOMEM;
	if (ret < 0) {
		rte_mempool_free(pool);
		rte_errno = -ret;
		return NULL;
	}
	rte_mempool_obj_iter(pool, rte_pktmbuf_init, NULL);
	return pool;
}

uint16_t
tp_port_mbuf_bytes(uint16_t mtu)
{
	uint32_t room = RTE_ALIGN_CEIL(mtu + TP_WIRE_ETHER_BYTES + POOL_PACKET_HEAD,
		POOL_ROOM_STEP);

	return (uint16_t)(RTE_PKTMBUF_HEADROOM + RTE_MAX(room, RTE_MBUF_DEFAULT_DATAROOM));
}

struct rte_mempool *
tp_port_pool_create(const char *name, uint16_t port, uint16_t queues, uint16_t mtu,
	uint32_t frames)
{
	struct rte_eth_dev_info info;

	if (rte_eth_dev_info_get(port, &info) != 0) {
		rte_errno = ENODEV;
		return NULL;
	}
	if (fabric_port_is_xdp(&info))
		return pool_xdp_create(name, frames + queues * (POOL_XDP_FILL + POOL_XDP_SENT),
			RTE_MIN(mtu, fabric_port_mtu_max(&info)));
	return rte_pktmbuf_pool_create(name, frames, TP_PORT_POOL_CACHE, 0,
		tp_port_mbuf_bytes(mtu), (int)rte_socket_id());
}
