/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The fault link. Owner: the endpoint's lcore.
 *
 * How it works: each frame is judged by the rule of its peer. It is dropped, or
 * passed on, or held in a queue ordered by when it is due; rx_burst(), which its
 * owner calls every turn, lets go of what has become due both ways. Bits are
 * flipped in a copy: the frame itself may be the sender's for sending it again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_branch_prediction.h>
#include <rte_byteorder.h>
#include <rte_debug.h>
#include <rte_errno.h>

#include "tp_link_fault.h"

#define FAULT_REORDER_NS 200000u
#define FAULT_BITS_MAX 4u

#define ETHER_TYPE_AT 12
#define ETHER_IPV4 0x0800
#define ETHER_ARP 0x0806
#define IPV4_SOURCE_AT 26
#define IPV4_TARGET_AT 30
#define ARP_SENDER_AT 28
#define ARP_TARGET_AT 38
#define ADDRESSES_END 42

enum { FAULT_OUT, FAULT_IN, FAULT_WAYS };

struct fault_rule {
	uint32_t ip;
	struct tp_link_faults faults[FAULT_WAYS];
};

struct fault_held {
	uint64_t due;
	struct tp_frame frame;
};

/* Oldest due first; equals in order of arrival. */
struct fault_queue {
	uint32_t count;
	struct fault_held held[TP_LINK_FAULT_HELD_MAX];
};

struct fault_link {
	struct tp_link link;		/* first: a link is cast to it */
	struct tp_link *base;
	const uint64_t *now;
	uint64_t random;
	bool active;			/* a rule is set, or a frame is held */
	uint32_t rule_count;
	struct fault_rule rules[TP_LINK_FAULT_RULES_MAX];	/* [0] is for all others */
	struct fault_queue queues[FAULT_WAYS];
	struct tp_link_fault_stats stats;
};

static struct fault_link *
fault_link_of(struct tp_link *link)
{
	return (struct fault_link *)link;
}

/* splitmix64 */
static uint64_t
fault_random(struct fault_link *fault)
{
	uint64_t z = fault->random += UINT64_C(0x9E3779B97F4A7C15);

	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	return z ^ (z >> 31);
}

static bool
fault_chance(struct fault_link *fault, uint32_t ppm)
{
	return ppm != 0 && fault_random(fault) % TP_LINK_FAULT_PPM < ppm;
}

static uint32_t
frame_ip(const struct tp_frame *frame, int way)
{
	const uint8_t *bytes = frame->data;
	rte_be16_t type;
	rte_be32_t ip;
	int at;

	if (frame->length < ADDRESSES_END)
		return 0;
	memcpy(&type, bytes + ETHER_TYPE_AT, sizeof(type));
	if (type == rte_cpu_to_be_16(ETHER_IPV4))
		at = way == FAULT_OUT ? IPV4_TARGET_AT : IPV4_SOURCE_AT;
	else if (type == rte_cpu_to_be_16(ETHER_ARP))
		at = way == FAULT_OUT ? ARP_TARGET_AT : ARP_SENDER_AT;
	else
		return 0;
	memcpy(&ip, bytes + at, sizeof(ip));
	return rte_be_to_cpu_32(ip);
}

static const struct tp_link_faults *
fault_of(const struct fault_link *fault, const struct tp_frame *frame, int way)
{
	uint32_t ip = frame_ip(frame, way);
	uint32_t i;

	for (i = 1; i < fault->rule_count; i++)
		if (fault->rules[i].ip == ip)
			return &fault->rules[i].faults[way];
	return &fault->rules[0].faults[way];
}

/* Takes the frame. */
static void
fault_hold(struct fault_link *fault, int way, struct tp_frame *frame, uint64_t delay)
{
	struct fault_queue *queue = &fault->queues[way];
	uint64_t due = *fault->now + delay;
	uint32_t i = queue->count;

	if (queue->count == TP_LINK_FAULT_HELD_MAX) {
		fault->stats.overflowed++;
		tp_frame_free(frame);
		return;
	}
	queue->count++;
	for (; i > 0 && queue->held[i - 1].due > due; i--)
		queue->held[i] = queue->held[i - 1];
	queue->held[i] = (struct fault_held){ .due = due, .frame = *frame };
	fault->active = true;
}

/* A frame of its own with the same bytes; false: no buffer. */
static bool
fault_copy(struct fault_link *fault, const struct tp_frame *frame, int way, struct tp_frame *copy)
{
	if (frame->length > fault->base->max_frame ||
	    fault->base->ops->tx_alloc(fault->base, copy, 1) == 0) {
		fault->stats.overflowed++;
		return false;
	}
	memcpy(copy->data, frame->data, frame->length);
	copy->length = frame->length;
	if (way == FAULT_IN)
		copy->capacity = 0;
	return true;
}

/* Put a damaged copy in the frame's place; false: it is lost. */
static bool
fault_corrupt(struct fault_link *fault, struct tp_frame *frame, int way)
{
	uint32_t flips = 1 + (uint32_t)(fault_random(fault) % FAULT_BITS_MAX);
	struct tp_frame copy;
	uint8_t *bytes;

	if (!fault_copy(fault, frame, way, &copy)) {
		tp_frame_free(frame);
		return false;
	}
	tp_frame_free(frame);
	bytes = copy.data;
	while (flips-- > 0) {
		uint64_t bit = fault_random(fault) % (8 * (uint64_t)copy.length);

		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	fault->stats.corrupted++;
	*frame = copy;
	return true;
}

/*
 * What becomes of a frame: true: pass it on, which may be another one now.
 * false: it is gone, or held.
 */
static bool
fault_judge(struct fault_link *fault, struct tp_frame *frame, int way)
{
	const struct tp_link_faults *faults = fault_of(fault, frame, way);
	uint64_t delay = faults->delay_ns;
	struct tp_frame twin;

	if (faults->cut || fault_chance(fault, faults->loss_ppm)) {
		fault->stats.cut += faults->cut;
		fault->stats.lost += !faults->cut;
		tp_frame_free(frame);
		return false;
	}
	/* The twin comes a little later: at once it could not be told apart. */
	if (fault_chance(fault, faults->duplicate_ppm) && fault_copy(fault, frame, way, &twin)) {
		fault->stats.duplicated++;
		fault_hold(fault, way, &twin, delay + fault_random(fault) % FAULT_REORDER_NS);
	}
	if (fault_chance(fault, faults->corrupt_ppm) && !fault_corrupt(fault, frame, way))
		return false;
	if (fault_chance(fault, faults->reorder_ppm)) {
		fault->stats.reordered++;
		delay += 1 + fault_random(fault) % FAULT_REORDER_NS;
	}
	fault->stats.delayed += faults->delay_ns != 0;
	if (delay == 0)
		return true;
	fault_hold(fault, way, frame, delay);
	return false;
}

/* The first frame of a queue if it is due. */
static bool
fault_take_due(struct fault_link *fault, int way, struct tp_frame *frame)
{
	struct fault_queue *queue = &fault->queues[way];

	if (queue->count == 0 || queue->held[0].due > *fault->now)
		return false;
	*frame = queue->held[0].frame;
	queue->count--;
	memmove(&queue->held[0], &queue->held[1], queue->count * sizeof(queue->held[0]));
	return true;
}

static void
fault_send_due(struct fault_link *fault)
{
	struct tp_frame frame;

	/* A full port loses it: it has been late for long enough. */
	while (fault_take_due(fault, FAULT_OUT, &frame))
		if (fault->base->ops->tx_burst(fault->base, &frame, 1) == 0)
			tp_frame_free(&frame);
}

static bool
faults_any(const struct tp_link_faults *faults)
{
	return faults->cut || faults->delay_ns != 0 || (faults->loss_ppm | faults->duplicate_ppm |
		faults->corrupt_ppm | faults->reorder_ppm) != 0;
}

static bool
fault_is_active(const struct fault_link *fault)
{
	uint32_t i;
	int way;

	for (way = 0; way < FAULT_WAYS; way++) {
		if (fault->queues[way].count != 0)
			return true;
		for (i = 0; i < fault->rule_count; i++)
			if (faults_any(&fault->rules[i].faults[way]))
				return true;
	}
	return false;
}

static uint32_t
fault_rx_burst(struct tp_link *link, struct tp_frame *frames, uint32_t n)
{
	struct fault_link *fault = fault_link_of(link);
	uint32_t count = 0, got, i;

	if (likely(!fault->active))
		return fault->base->ops->rx_burst(fault->base, frames, n);
	fault_send_due(fault);
	while (count < n && fault_take_due(fault, FAULT_IN, &frames[count]))
		count++;
	got = fault->base->ops->rx_burst(fault->base, frames + count, n - count);
	for (i = count, got += count; i < got; i++) {
		struct tp_frame frame = frames[i];

		if (fault_judge(fault, &frame, FAULT_IN))
			frames[count++] = frame;
	}
	fault->active = fault_is_active(fault);
	return count;
}

static uint32_t
fault_tx_burst(struct tp_link *link, struct tp_frame *frames, uint32_t n)
{
	struct fault_link *fault = fault_link_of(link);
	uint32_t i;

	if (likely(!fault->active))
		return fault->base->ops->tx_burst(fault->base, frames, n);
	for (i = 0; i < n; i++) {
		struct tp_frame frame = frames[i];

		if (!fault_judge(fault, &frame, FAULT_OUT))
			continue;
		if (fault->base->ops->tx_burst(fault->base, &frame, 1) == 1)
			continue;
		/* Of a frame that was judged the caller must not keep a reference. */
		fault->stats.overflowed++;
		tp_frame_free(&frame);
	}
	return n;
}

static uint32_t
fault_tx_alloc(struct tp_link *link, struct tp_frame *frames, uint32_t n)
{
	struct tp_link *base = fault_link_of(link)->base;

	return base->ops->tx_alloc(base, frames, n);
}

static void
fault_frame_ref(struct tp_link *link, struct tp_frame *frame)
{
	struct tp_link *base = fault_link_of(link)->base;

	base->ops->frame_ref(base, frame);
}

static void
fault_frame_free(struct tp_link *link, struct tp_frame *frame)
{
	struct tp_link *base = fault_link_of(link)->base;

	base->ops->frame_free(base, frame);
}

static bool
fault_frame_shared(struct tp_link *link, const struct tp_frame *frame)
{
	struct tp_link *base = fault_link_of(link)->base;

	return base->ops->frame_shared(base, frame);
}

static const struct tp_link_ops fault_link_ops = {
	.rx_burst = fault_rx_burst,
	.tx_burst = fault_tx_burst,
	.tx_alloc = fault_tx_alloc,
	.frame_ref = fault_frame_ref,
	.frame_free = fault_frame_free,
	.frame_shared = fault_frame_shared,
	.destroy = tp_link_fault_destroy,
};

struct tp_link *
tp_link_fault_create(struct tp_link *base, uint64_t seed, const uint64_t *now)
{
	struct fault_link *fault = calloc(1, sizeof(*fault));

	if (fault == NULL) {
		rte_errno = ENOMEM;
		return NULL;
	}
	fault->link = *base;
	fault->link.ops = &fault_link_ops;
	fault->base = base;
	fault->now = now;
	fault->random = seed;
	fault->rule_count = 1;
	return &fault->link;
}

void
tp_link_fault_destroy(struct tp_link *link)
{
	struct fault_link *fault = fault_link_of(link);
	uint32_t i;
	int way;

	if (link == NULL)
		return;
	for (way = 0; way < FAULT_WAYS; way++)
		for (i = 0; i < fault->queues[way].count; i++)
			tp_frame_free(&fault->queues[way].held[i].frame);
	free(fault);
}

void
tp_link_fault_clock_set(struct tp_link *link, const uint64_t *now)
{
	fault_link_of(link)->now = now;
}

/* The rule of a peer, made if it is new. NULL: no room. */
static struct fault_rule *
fault_rule_get(struct fault_link *fault, uint32_t ip)
{
	uint32_t i;

	if (ip == 0)
		return &fault->rules[0];
	for (i = 1; i < fault->rule_count; i++)
		if (fault->rules[i].ip == ip)
			return &fault->rules[i];
	if (i == TP_LINK_FAULT_RULES_MAX)
		return NULL;
	fault->rules[i] = (struct fault_rule){ .ip = ip };
	fault->rule_count++;
	return &fault->rules[i];
}

int
tp_link_fault_set(struct tp_link *link, uint32_t ip, unsigned int ways,
	const struct tp_link_faults *faults)
{
	struct fault_link *fault = fault_link_of(link);
	struct fault_rule *rule;
	int way;

	RTE_ASSERT(fault->now != NULL);
	if (ways == 0 || ways > TP_LINK_FAULT_BOTH || faults->loss_ppm > TP_LINK_FAULT_PPM ||
	    faults->duplicate_ppm > TP_LINK_FAULT_PPM || faults->corrupt_ppm > TP_LINK_FAULT_PPM ||
	    faults->reorder_ppm > TP_LINK_FAULT_PPM)
		return -EINVAL;
	rule = fault_rule_get(fault, ip);
	if (rule == NULL)
		return -ENOSPC;
	for (way = 0; way < FAULT_WAYS; way++)
		if (ways & 1u << way)
			rule->faults[way] = *faults;
	fault->active = fault_is_active(fault);
	return 0;
}

void
tp_link_fault_clear(struct tp_link *link)
{
	struct fault_link *fault = fault_link_of(link);

	memset(fault->rules, 0, sizeof(fault->rules));
	fault->rule_count = 1;
	fault->active = fault_is_active(fault);
}

uint64_t
tp_link_fault_next(const struct tp_link *link)
{
	const struct fault_link *fault = (const struct fault_link *)link;
	uint64_t next = UINT64_MAX;
	int way;

	for (way = 0; way < FAULT_WAYS; way++)
		if (fault->queues[way].count != 0 && fault->queues[way].held[0].due < next)
			next = fault->queues[way].held[0].due;
	return next;
}

const struct tp_link_fault_stats *
tp_link_fault_stats_get(const struct tp_link *link)
{
	return &((const struct fault_link *)link)->stats;
}
