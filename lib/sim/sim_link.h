/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Inside lib/sim, and for tests: the simulated network. One Ethernet segment in
 * memory, in virtual time, that loses, duplicates, delays, reorders (by default)
 * and corrupts frames and cuts directions between ports, all from one seed. One
 * thread uses a network and all its links.
 */
#ifndef SIM_LINK_H
#define SIM_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "tp_link.h"

#define SIM_PORTS_MAX 64u
#define SIM_HOLD_MAX 16u

/** May be changed at any time. Rates are per million frames and receiver. */
struct sim_faults {
	uint32_t loss_ppm;
	uint32_t duplicate_ppm;
	uint32_t corrupt_ppm;	/* flips one to four bits */
	uint64_t delay_ns;	/* least time on the way */
	uint64_t jitter_ns;	/* more, evenly: reorders where it exceeds the spacing */
	uint32_t byte_ps;	/* picoseconds a byte takes on its sender's wire; others queue */
	uint32_t tx_refuse_ppm;	/* a burst is cut short, as by a full transmit ring */
	uint32_t tx_hold;	/* frames a port still reads after it took them, to SIM_HOLD_MAX */
};

struct sim_net;

typedef void sim_tap(void *ctx, uint32_t from_port, const uint8_t *frame, uint32_t length);

/** NULL with rte_errno ENOMEM. faults: copied; NULL for none. */
struct sim_net *sim_net_create(uint64_t seed, const struct sim_faults *faults);

/** Unplugs what is left. NULL is ignored. */
void sim_net_destroy(struct sim_net *net);

typedef bool sim_drop(void *ctx, uint32_t from_port, const uint8_t *frame, uint32_t length);

struct sim_faults *sim_net_faults(struct sim_net *net);

/** Virtual time; frames arrive when it has come. */
void sim_net_set_now(struct sim_net *net, uint64_t now);

/** When the next frame arrives at a port, UINT64_MAX if none is on the way. */
uint64_t sim_link_next_arrival(const struct tp_link *link);

/** When all that a port was given has left it, with byte_ps set. */
uint64_t sim_link_busy_until(const struct tp_link *link);

/**
 * A new port. MAC is 02:00:00:00:00:<index + 1>. buffers: frames it may have, 0 no
 * bound. NULL with rte_errno ENOMEM or ENOSPC: SIM_PORTS_MAX were made.
 */
struct tp_link *sim_net_link(struct sim_net *net, uint16_t mtu, uint32_t buffers);

/** Change the bound on a port's buffers; 0: none. */
void sim_link_bound(struct tp_link *link, uint32_t buffers);

/* What sim_port.c keeps of a link that is one queue of a port. */
struct sim_queue {
	const struct tp_link_ops *base;
	struct tp_link_ops ops;
	uint32_t index;
	uint32_t count;
	uint16_t base_port;
	bool scatter;
};

struct sim_queue *sim_link_queue(struct tp_link *link);

/** Index of a link's port. */
uint32_t sim_link_port(const struct tp_link *link);

/** Unplug a port and free it: frames on the way to it are gone. */
void sim_link_unplug(struct tp_link *link);

/** Cut or mend the way from one port to another. */
void sim_net_cut(struct sim_net *net, uint32_t from, uint32_t to, bool cut);

/** Let a frame arrive at a port now, past all faults. */
void sim_link_inject(struct tp_link *link, const void *frame, uint32_t length);

/** See every frame sent, before faults. */
void sim_net_tap(struct sim_net *net, sim_tap *tap, void *ctx);

/** Lose exactly the frames that a test picks; NULL: none. */
void sim_net_drop(struct sim_net *net, sim_drop *drop, void *ctx);

/** Buffers that somebody holds: frames held by endpoints and frames on the way. */
uint32_t sim_net_buffers(const struct sim_net *net);

/** The network's random source, for tests that want to share it. */
uint64_t sim_net_random(struct sim_net *net);

#endif /* SIM_LINK_H */
