/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * One worker of a node: it owns an endpoint, the coherence engine of its
 * shards, and the rings of all client threads towards it. A turn takes what
 * arrived, asks the deciders, and carries out what they decide. It needs no
 * EAL and reads no clock, so the simulator drives the same code.
 *
 * Workers are made, told about peers, regions and clients, and destroyed by
 * struct tp_control (tp_control.h).
 */
#ifndef TP_WORKER_H
#define TP_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "tp_coherence.h"
#include "tp_endpoint.h"

#ifdef __cplusplus
extern "C" {
#endif

struct tp_worker;

/**
 * How nanoseconds (`now` everywhere) and TSC ticks (the client ABI) relate:
 * a straight line through (ns_base, tsc_base).
 */
struct tp_clock {
	uint64_t tsc_hz;	/* ticks a second, 1 MHz to 2^34 */
	uint64_t tsc_base;
	uint64_t ns_base;
};

/** Time of a TSC value; before the base: the base. @threads Any. */
static inline uint64_t
tp_clock_ns(const struct tp_clock *clock, uint64_t tsc)
{
	if (tsc <= clock->tsc_base)
		return clock->ns_base;
	return clock->ns_base + (uint64_t)((unsigned __int128)(tsc - clock->tsc_base) *
		UINT64_C(1000000000) / clock->tsc_hz);
}

/** TSC value of a time, saturated; before the base: the base. @threads Any. */
static inline uint64_t
tp_clock_tsc(const struct tp_clock *clock, uint64_t ns)
{
	unsigned __int128 ticks;

	if (ns <= clock->ns_base)
		return clock->tsc_base;
	ticks = (unsigned __int128)(ns - clock->ns_base) * clock->tsc_hz / UINT64_C(1000000000) +
		clock->tsc_base;
	return ticks > UINT64_MAX ? UINT64_MAX : (uint64_t)ticks;
}

/* Counters of a worker, one list: name, help. Owner writes, any thread reads. */
#define TP_WORKER_STAT_LIST(STAT)							\
	STAT(requests,          "client requests taken from rings")			\
	STAT(requests_refused,  "client requests refused as invalid")			\
	STAT(completions,       "client requests answered")				\
	STAT(completions_held,  "answers held back because the lease had lapsed")	\
	STAT(rings_bad,         "rings whose indexes a client had spoilt")		\
	STAT(guards_waited,     "pages taken away that had to wait for a guard")	\
	STAT(guards_broken,     "guards broken because they were overdue")		\
	STAT(messages_in,       "coherence messages from other nodes")			\
	STAT(messages_out,      "coherence messages to other nodes")			\
	STAT(batches_out,       "messages that asked for several pages")		\
	STAT(batches_in,        "of other nodes")					\
	STAT(messages_local,    "coherence messages of this node to itself")		\
	STAT(messages_stashed,  "messages the endpoint refused at first")		\
	STAT(messages_dropped,  "messages to nodes that are down or unknown")		\
	STAT(messages_overflow, "messages dropped because the stash was full")		\
	STAT(messages_bad,      "messages that were no messages, dropped")		\
	STAT(pages_encoded,     "pages sent by a codec other than as they are")		\
	STAT(bytes_saved,       "bytes by which those were smaller")			\
	STAT(pages_decoded,     "pages that came so")					\
	STAT(changes_sent,      "of the encoded: changes of what the receiver holds")	\
	STAT(changes_unreadable, "changes of what is not held here, asked for again")	\
	STAT(pages_corrupt,     "uses of frames that had changed at rest")		\
	STAT(atomics_run,       "atomics executed on home memory")			\
	STAT(commands,          "commands of the control side carried out")		\
	STAT(gaps,              "times this worker had not run for a while")

struct tp_worker_stats {
#define TP_WORKER_STAT_AS_FIELD(name, help) uint64_t name;
	TP_WORKER_STAT_LIST(TP_WORKER_STAT_AS_FIELD)
#undef TP_WORKER_STAT_AS_FIELD
};

/**
 * One turn: receive, commands, local messages, client rings, guards, coherence,
 * timers, transmit. Every stage is bounded; the outbox of one event is carried
 * out before the next event.
 *
 * @param now
 *   Nanoseconds; never goes back; the clock of struct tp_clock.
 * @return
 *   Work done; 0: the worker was idle.
 * @threads Owner lcore of the worker.
 * @cost    Idle: a few loads per client thread. No lock, no system call.
 */
uint32_t tp_worker_poll(struct tp_worker *worker, uint64_t now);

/**
 * When the worker has something to do by time alone, at the latest.
 *
 * @return Nanoseconds; in the past if work waits; UINT64_MAX: never.
 * @threads Owner lcore.
 */
uint64_t tp_worker_next_timer(const struct tp_worker *worker);

/** A frame that another worker's port queue received for this worker. @threads Owner lcore. */
void tp_worker_rx_frame(struct tp_worker *worker, struct tp_frame *frame, uint64_t now);

/** Its coherence engine, for invariant checks and telemetry. @threads As its calls say. */
const struct tp_coherence *tp_worker_coherence(const struct tp_worker *worker);

/** Does the node leave, and this worker give back what it has changed? @threads Owner lcore. */
bool tp_worker_is_draining(const struct tp_worker *worker);

/** Its endpoint; another one after the node was fenced and joined again. @threads Owner lcore. */
struct tp_endpoint *tp_worker_endpoint(const struct tp_worker *worker);

/** Counters since creation. @threads Any (each counter is one word). */
const struct tp_worker_stats *tp_worker_stats_get(const struct tp_worker *worker);

/**
 * Counters of its endpoints, summed over the node's epochs, shape
 * [TP_ENDPOINT_COUNTER_COUNT]; a few milliseconds old.
 *
 * @threads Any (each counter is one word).
 */
const uint64_t *tp_worker_fabric_stats_get(const struct tp_worker *worker);

/* What the worker holds now; all 0 when nothing is under way. */
struct tp_worker_usage {
	uint32_t requests;	/* client requests taken and not answered */
	uint32_t held;		/* of these, waiting for the lease or a first-touch home */
	uint32_t stashed;	/* messages the endpoint has not taken yet */
	uint32_t local;		/* messages to this node under way */
	uint32_t guard_waits;	/* pages whose guards are waited for */
	uint32_t quarantined;	/* slots with a broken guard on them */
};

/** @threads Owner lcore. */
void tp_worker_usage_get(const struct tp_worker *worker, struct tp_worker_usage *usage);

/**
 * The frame word of a page as published now, 0 if the region is not known. For
 * invariant checks.
 *
 * @threads Owner lcore.
 */
uint64_t tp_worker_word(const struct tp_worker *worker, uint32_t region_id, uint32_t page_index);

/** Name and help of a counter by index, NULL past the end. @threads Any. */
const char *tp_worker_stat_name(unsigned int stat);
const char *tp_worker_stat_help(unsigned int stat);

#ifdef __cplusplus
}
#endif

#endif /* TP_WORKER_H */
