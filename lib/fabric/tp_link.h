/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A link moves Ethernet frames in bursts. Two kinds exist: a queue pair of any
 * DPDK ethdev port (tp_link_ethdev.h) and the simulated network of the tests.
 * A link belongs to one endpoint, thus to one lcore; frames received from it may
 * be freed by any thread of the process if the link says so (frames_mt).
 */
#ifndef TP_LINK_H
#define TP_LINK_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct tp_link;

/**
 * One frame, by value: whoever holds the struct holds one reference.
 */
struct tp_frame {
	void *data;		/* first byte of the Ethernet header, contiguous */
	void *handle;		/* the link's own (an mbuf, for ethdev) */
	struct tp_link *link;	/* whose frame it is */
	uint32_t length;	/* bytes of the frame */
	uint32_t capacity;	/* bytes that fit at data; 0 in received frames */
};

/** What a link can do. All but frame_free and frame_ref: owner lcore only. */
struct tp_link_ops {
	/** Receive up to n frames; returns how many; each is one reference, read-only. */
	uint32_t (*rx_burst)(struct tp_link *link, struct tp_frame *frames, uint32_t n);
	/** Send; returns how many of the first frames were accepted, their references with them. */
	uint32_t (*tx_burst)(struct tp_link *link, struct tp_frame *frames, uint32_t n);
	/** Get n buffers to fill, all or none: returns n or 0. length is 0, capacity max_frame. */
	uint32_t (*tx_alloc)(struct tp_link *link, struct tp_frame *frames, uint32_t n);
	/** Take one more reference. */
	void (*frame_ref)(struct tp_link *link, struct tp_frame *frame);
	/** Give one reference back. */
	void (*frame_free)(struct tp_link *link, struct tp_frame *frame);
	/** Does anyone but the caller hold a reference (a driver that still reads it)? */
	bool (*frame_shared)(struct tp_link *link, const struct tp_frame *frame);
	/** Free the link itself; its frames must be back. */
	void (*destroy)(struct tp_link *link);
};

/** Embedded as first member by each implementation. */
struct tp_link {
	const struct tp_link_ops *ops;
	uint8_t mac[6];
	uint16_t mtu;		/* IP MTU */
	uint32_t max_frame;	/* bytes: mtu + 14 */
	bool frames_mt;		/* frame_ref and frame_free are safe from any thread */
	uint64_t rx_dropped;	/* frames the link itself refused (not linear, too long) */
};

/** Give a frame back. @threads As the link says. */
static inline void
tp_frame_free(struct tp_frame *frame)
{
	frame->link->ops->frame_free(frame->link, frame);
}

/** Take one more reference. @threads As the link says. */
static inline void
tp_frame_ref(struct tp_frame *frame)
{
	frame->link->ops->frame_ref(frame->link, frame);
}

#ifdef __cplusplus
}
#endif

#endif /* TP_LINK_H */
