/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Links over DPDK ethdev ports. The only part of lib/fabric that needs EAL.
 */
#ifndef TP_LINK_ETHDEV_H
#define TP_LINK_ETHDEV_H

#include <stdbool.h>
#include <stdint.h>

#include "tp_link.h"

#ifdef __cplusplus
extern "C" {
#endif

struct rte_mempool;

/** What tp_port_start() needs and what it found. */
struct tp_port_config {
	uint16_t port;
	uint16_t queues;		/* queue pairs */
	uint16_t mtu;			/* wanted IP MTU */
	uint16_t rx_descriptors;	/* 0: 1024, fitted to what the port can */
	uint16_t tx_descriptors;	/* 0: 1024, likewise */
	struct rte_mempool *const *pools;	/* [queues], receive buffers */
};

/**
 * Data room an mbuf of a link's pool needs for one frame at an MTU, headroom
 * included (the value for rte_pktmbuf_pool_create()).
 *
 * net_af_packet refuses buffers smaller than its framesz - 32. The framesz that
 * fits both the MTU and such buffers is mtu + 80 rounded up to a multiple of 512
 * (4608 for 4400), with blocksz a multiple of it and of 4096.
 *
 * @threads Any.
 */
uint16_t tp_port_mbuf_bytes(uint16_t mtu);

#define TP_PORT_POOL_CACHE 128u		/* buffers that each lcore may keep of a pool */

/**
 * Make a pool of buffers for all queues of a port, of the form that its driver
 * wants: net_af_xdp takes no other, needs buffers of its own besides, and holds
 * no frame of more than 3506 bytes and an Ethernet header.
 *
 * @param name
 *   Of the pool, unique.
 * @param port
 *   An ethdev port, not started.
 * @param queues
 *   Queue pairs that will be used.
 * @param mtu
 *   Wanted IP MTU; what the port cannot have needs no room.
 * @param frames
 *   Buffers beyond what the driver keeps for itself.
 * @return
 *   The pool, to be freed with rte_mempool_free() after tp_port_stop(); NULL with
 *   rte_errno ENODEV (no such port), ENOMEM, EEXIST, ENAMETOOLONG.
 * @threads Main lcore.
 */
struct rte_mempool *tp_port_pool_create(const char *name, uint16_t port, uint16_t queues,
	uint16_t mtu, uint32_t frames);

/**
 * Configure and start a port with any PMD: what a PMD cannot do (set the MTU,
 * all-multicast) costs one log line, not the start.
 *
 * @param config
 *   The port, its queues and pools; read only.
 * @param mtu_out
 *   IP MTU that holds: the wanted one, or the port's own if that is smaller.
 * @return
 *   0, or the port as it was:
 *   - -ENODEV: no such port.
 *   - -EINVAL: no queue, or a pool with buffers too small for the MTU.
 *   - -ENOTSUP: the port has fewer queues.
 *   - any error of the ethdev calls.
 * @threads Main lcore, before the workers start.
 */
int tp_port_start(const struct tp_port_config *config, uint16_t *mtu_out);

/**
 * Stop and close a port.
 *
 * @return 0 or the error of rte_eth_dev_stop().
 * @threads Main lcore, after the workers stopped.
 */
int tp_port_stop(uint16_t port);

/**
 * Descriptors to sleep on until a frame arrives at a queue: readable as long as
 * frames wait there, and perhaps while frames wait for other queues of the port.
 * The driver's own: only to be polled.
 *
 * @param fds
 *   Shape [fd_max].
 * @return
 *   How many; 0: none is known (net_memif, net_ring, drivers of real cards): see
 *   tp_port_doorbell() and tp_port_interrupt(), and look from time to time.
 * @threads Main lcore, after tp_port_start().
 */
unsigned int tp_port_wake_fds(uint16_t port, uint16_t queue, int *fds, unsigned int fd_max);

/**
 * A descriptor that becomes readable when the other side of a port whose driver
 * has none sends after a while of silence (net_memif): the other side rings it,
 * by a socket beside the driver's own. Whoever sleeps on it stays awake for
 * TP_PORT_AWAKE_NS after what it has sent, and looks sometimes while it sleeps.
 *
 * @return
 *   The descriptor, non-blocking, to be read from when it is readable; -1: none.
 * @threads Main lcore, after tp_port_start(); good until tp_port_stop().
 */
int tp_port_doorbell(uint16_t port, uint16_t queue);

#define TP_PORT_AWAKE_NS UINT64_C(200000)

/**
 * An eventfd that becomes readable when a frame arrives at a queue while its
 * interrupt is enabled, if the port's driver has good ones (net_virtio).
 *
 * @return
 *   The descriptor, non-blocking, the driver's, to be read from when it is
 *   readable; -1: none.
 * @threads Any, after tp_port_start(); good until tp_port_stop().
 */
int tp_port_interrupt(uint16_t port, uint16_t queue);

/**
 * Let a queue interrupt us, or not: off after tp_port_start(). Frames that came
 * before are not told of: look for them after this, before sleeping.
 *
 * @param queue
 *   For which tp_port_interrupt() has a descriptor.
 * @threads The queue's lcore.
 * @cost    A store, or a register of the card.
 */
void tp_port_interrupt_enable(uint16_t port, uint16_t queue, bool enable);

/**
 * Ask for no signal with each frame any more, which net_tap does: that interrupts who
 * receives and costs who sends several times what the frame does. tp_port_start()
 * does this; for who sets up a port himself: after its queues, before its start.
 *
 * @threads Main lcore.
 */
void tp_port_signals_stop(uint16_t port);

/** What the handler of such a signal did; its argument means nothing. */
typedef void (*tp_port_count_fn)(int number);

/**
 * What must be called before each receive burst of a port without its signals, or its
 * driver does not look. Links do so.
 *
 * @return
 *   NULL: nothing.
 * @threads Any, after tp_port_start() or tp_port_signals_stop(); good until tp_port_stop().
 * @cost    Of a call: some ns, and the driver then does a system call.
 */
tp_port_count_fn tp_port_count(uint16_t port);

/**
 * Make a link of one queue pair of a started port.
 *
 * Chained mbufs are copied into one of @p pool; such a frame longer than a
 * buffer is dropped and counted in rx_dropped.
 *
 * @param port
 *   A started ethdev port of any PMD.
 * @param rx_queue
 * @param tx_queue
 *   Queue indexes that no other lcore uses.
 * @param pool
 *   Where frames to send come from; buffers of tp_port_mbuf_bytes() at least.
 * @return
 *   The link, to be destroyed with tp_link_ethdev_destroy(); NULL with rte_errno
 *   ENODEV (no such port), EINVAL (buffers too small), ENOMEM.
 * @threads Main lcore; then the link is its endpoint's.
 */
struct tp_link *tp_link_ethdev_create(uint16_t port, uint16_t rx_queue, uint16_t tx_queue,
	struct rte_mempool *pool);

/** Free a link. @threads Main lcore, after its endpoint is gone. */
void tp_link_ethdev_destroy(struct tp_link *link);

#ifdef __cplusplus
}
#endif

#endif /* TP_LINK_ETHDEV_H */
