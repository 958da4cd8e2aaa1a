/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A link that wraps another one and loses, doubles, damages, delays, reorders and
 * cuts frames, per peer and direction, from a seed. It brings to real ports what
 * the simulated network does by itself. Without faults set it passes bursts on
 * unseen; where nobody will set any it need not be there at all.
 */
#ifndef TP_LINK_FAULT_H
#define TP_LINK_FAULT_H

#include <stdbool.h>
#include <stdint.h>

#include "tp_link.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TP_LINK_FAULT_RULES_MAX 64u
#define TP_LINK_FAULT_HELD_MAX 1024u	/* frames delayed at a time, each way; more are lost */
#define TP_LINK_FAULT_PPM 1000000u

/** Rates are per million frames. */
struct tp_link_faults {
	bool cut;			/* all are lost */
	uint32_t loss_ppm;
	uint32_t duplicate_ppm;
	uint32_t corrupt_ppm;		/* flips one to four bits, of a copy */
	uint32_t reorder_ppm;		/* held back by up to 200 us */
	uint64_t delay_ns;		/* of every frame */
};

enum tp_link_fault_way {
	TP_LINK_FAULT_TX = 1,		/* frames to the peer */
	TP_LINK_FAULT_RX = 2,		/* frames from it */
	TP_LINK_FAULT_BOTH = 3,
};

/* Counters, one list: name, help. */
#define TP_LINK_FAULT_STAT_LIST(STAT)						\
	STAT(cut,        "frames lost to a cut")				\
	STAT(lost,       "frames lost by chance")				\
	STAT(duplicated, "frames passed on twice")				\
	STAT(corrupted,  "frames with bits flipped")				\
	STAT(reordered,  "frames held back for others to overtake")		\
	STAT(delayed,    "frames delayed")					\
	STAT(overflowed, "frames lost because too many were held, or for want of a buffer")

struct tp_link_fault_stats {
#define TP_LINK_FAULT_STAT_AS_FIELD(name, help) uint64_t name;
	TP_LINK_FAULT_STAT_LIST(TP_LINK_FAULT_STAT_AS_FIELD)
#undef TP_LINK_FAULT_STAT_AS_FIELD
};

/**
 * Wrap a link.
 *
 * @param base
 *   Borrowed; used through the new link alone until that is destroyed.
 * @param now
 *   Where the owner's time stands, nanoseconds; read when a frame is delayed.
 *   NULL: tp_link_fault_clock_set() comes before the first fault.
 * @return
 *   The link, or NULL with rte_errno ENOMEM.
 * @threads Any; then it belongs to the endpoint's lcore.
 */
struct tp_link *tp_link_fault_create(struct tp_link *base, uint64_t seed, const uint64_t *now);

/** Free it and the frames it holds; base stays. NULL is ignored. @threads Owner lcore. */
void tp_link_fault_destroy(struct tp_link *link);

/** @threads Owner lcore. */
void tp_link_fault_clock_set(struct tp_link *link, const uint64_t *now);

/**
 * Set what happens to the frames of one peer, in place of what was set before.
 * Frames that are held already come through in time.
 *
 * @param ip
 *   Of the peer, host order: IPv4 and ARP frames to it or from it. 0: all frames
 *   that no other rule is for.
 * @param ways
 *   enum tp_link_fault_way.
 * @param faults
 *   Copied; all zero for none.
 * @return 0; -EINVAL: a rate or ways out of range; -ENOSPC: TP_LINK_FAULT_RULES_MAX peers.
 * @threads Owner lcore.
 */
int tp_link_fault_set(struct tp_link *link, uint32_t ip, unsigned int ways,
	const struct tp_link_faults *faults);

/** No faults any more. @threads Owner lcore. */
void tp_link_fault_clear(struct tp_link *link);

/** When the first frame held comes through, UINT64_MAX: none is held. @threads Owner lcore. */
uint64_t tp_link_fault_next(const struct tp_link *link);

/** Counters since creation. @threads Any (each counter is one word). */
const struct tp_link_fault_stats *tp_link_fault_stats_get(const struct tp_link *link);

#ifdef __cplusplus
}
#endif

#endif /* TP_LINK_FAULT_H */
