/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Every call of the public API under every injected fault, in virtual time. For
 * each pair, on a cluster of its own: the call ends by its deadline with an outcome
 * that the pair allows, and once the fault is over the memory is as that outcome
 * said (done: changed; not done: not changed; unknown: either, and an atomic says
 * which when asked), and nothing of the caller's was touched after the return.
 *
 * The program is on node 1, where the faults are, but for one. Pages 1 and 4 of the region live on node 2 and hold
 * a word each; `warm` cells have both on node 1, changed there.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <rte_log.h>

#include "tp_inject.h"
#include "tp_sim.h"

#define MS UINT64_C(1000000)
#define PAGE 4096u
#define NEAR (1 * PAGE)			/* of page 1 */
#define FAR (4 * PAGE)			/* of page 4 */
#define OLD_NEAR 11u
#define OLD_FAR 44u
#define NEW_NEAR 12u
#define NEW_FAR 45u
#define TIMEOUT (400 * MS)
#define CONTROL_TIMEOUT (10000 * MS)	/* of lib/client */
#define SLACK MS
#define WORDS_MAX 2

enum fault {
	NO_FAULT, UNREACHABLE, TIMED_OUT, PARTITION, PARTITION_ONE_WAY, PARTITION_ANSWERS,
	PARTITION_ALL, CRASH, CRASH_AFTER, PERMISSION, CORRUPTION, CORRUPTION_FRAMES, SLOW, LOSS, DUPLICATE, REORDER,
	FAULTS
};

static const uint16_t node_one[] = { 1 }, node_two[] = { 2 };
#define PEER .peers = node_two, .peer_count = 1

static const struct {
	const char *name;
	struct tp_inject_spec spec;
	bool there;			/* of node 2 instead of node 1 */
} faults[FAULTS] = {
	[NO_FAULT] = { "no fault", { 0 } },
	[UNREACHABLE] = { "unreachable", { .kind = TP_INJECT_UNREACHABLE, PEER } },
	[TIMED_OUT] = { "timeout", { .kind = TP_INJECT_TIMEOUT, PEER } },
	[PARTITION] = { "partition", { .kind = TP_INJECT_PARTITION, PEER } },
	[PARTITION_ONE_WAY] = { "partition one way", { .kind = TP_INJECT_PARTITION, PEER,
		.one_way = true } },
	/* What is asked for is done, and the answer does not come. */
	[PARTITION_ANSWERS] = { "partition of answers", { .kind = TP_INJECT_PARTITION,
		.peers = node_one, .peer_count = 1, .one_way = true }, true },
	[PARTITION_ALL] = { "partition from all", { .kind = TP_INJECT_PARTITION } },
	[CRASH] = { "crash", { .kind = TP_INJECT_CRASH } },
	[CRASH_AFTER] = { "crash with the request", { .kind = TP_INJECT_CRASH, .after = 1 } },
	[PERMISSION] = { "permission", { .kind = TP_INJECT_PERMISSION, .region = "r" } },
	[CORRUPTION] = { "corruption", { .kind = TP_INJECT_CORRUPTION, .region = "r" } },
	[CORRUPTION_FRAMES] = { "corruption of frames", { .kind = TP_INJECT_CORRUPTION,
		.rate_ppm = 200000 } },
	[SLOW] = { "slow", { .kind = TP_INJECT_SLOW, PEER, .delay_ns = 2 * MS } },
	[LOSS] = { "loss", { .kind = TP_INJECT_LOSS, .rate_ppm = 100000 } },
	[DUPLICATE] = { "duplicate", { .kind = TP_INJECT_DUPLICATE, .rate_ppm = 500000 } },
	[REORDER] = { "reorder", { .kind = TP_INJECT_REORDER, .rate_ppm = 500000 } },
};

/* What a call is about, hence what may become of it. */
enum call_class {
	OF_DATA,	/* needs a page of node 2 */
	OF_COPIES,	/* gives back what is here, if anything is */
	OF_WORKER,	/* a round trip to the own node */
	OF_CONTROL,	/* a control call that the own node answers alone */
	OF_STORE,	/* a control call that needs the store */
	OF_HEAP,	/* a control call that needs node 2 */
	OF_NOBODY,	/* cannot fail */
	CLASSES
};

struct world;

struct outcome {
	bool control;			/* error says it, else result does */
	int error;			/* 0 or -errno */
	struct tp_result result;
};

struct word {
	uint64_t offset;
	uint64_t before;
	uint64_t after;
	uint32_t end;			/* bytes done from which on it is done */
};

struct call {
	const char *name;
	enum call_class class;
	struct outcome (*run)(struct world *world);
};

struct world {
	struct tp_sim *sim;
	struct tp_client *client;	/* on node 1 */
	struct tp_client *extra;	/* likewise, to be detached */
	struct tp_client *judge;	/* on node 2 */
	struct tp_thread *thread;
	struct tp_thread *judge_thread;
	struct tp_client_region *region;
	struct tp_client_region *judge_region;
	struct tp_ptr ptr;		/* memory on node 2 */
	struct tp_op op;
	bool atomic;			/* op is an atomic that can be asked after */
	bool waited;			/* ... that was waited for: its thread knows it */
	uint64_t buffers[WORDS_MAX];
	struct word words[WORDS_MAX];	/* that the call changes */
	uint32_t word_count;
	uint32_t epochs[3];
	const char *cell;
};

/* Outcomes. */
static struct outcome
of_result(struct tp_result result)
{
	return (struct outcome){ .result = result };
}

static struct outcome
of_error(int error)
{
	return (struct outcome){ .control = true, .error = error };
}

static struct outcome
of_submit(struct world *w, bool done)
{
	struct tp_result result = tp_op_wait(w->thread, &w->op);

	assert_true(!done || memcmp(&result, &w->op.result, sizeof(result)) == 0);
	return of_result(result);
}

static void
will_change(struct world *w, uint64_t offset, uint64_t before, uint64_t after, uint32_t end)
{
	w->words[w->word_count++] = (struct word){ offset, before, after, end };
}

/* The calls: accesses. */
static struct outcome
call_read(struct world *w)
{
	return of_result(tp_read(w->thread, w->region, NEAR, &w->buffers[0], 8));
}

static struct outcome
call_write(struct world *w)
{
	w->buffers[0] = NEW_NEAR;
	will_change(w, NEAR, OLD_NEAR, NEW_NEAR, 8);
	return of_result(tp_write(w->thread, w->region, NEAR, &w->buffers[0], 8));
}

static void
vectors_fill(struct world *w, struct tp_vector vectors[2])
{
	vectors[0] = (struct tp_vector){ NEAR, &w->buffers[0], 8 };
	vectors[1] = (struct tp_vector){ FAR, &w->buffers[1], 8 };
}

static struct outcome
call_readv(struct world *w)
{
	struct tp_vector vectors[2];

	vectors_fill(w, vectors);
	return of_result(tp_readv(w->thread, w->region, vectors, 2));
}

static void
writev_prepare(struct world *w, struct tp_vector vectors[2])
{
	w->buffers[0] = NEW_NEAR;
	w->buffers[1] = NEW_FAR;
	will_change(w, NEAR, OLD_NEAR, NEW_NEAR, 8);
	will_change(w, FAR, OLD_FAR, NEW_FAR, 16);
	vectors_fill(w, vectors);
}

static struct outcome
call_writev(struct world *w)
{
	struct tp_vector vectors[2];

	writev_prepare(w, vectors);
	return of_result(tp_writev(w->thread, w->region, vectors, 2));
}

static struct outcome
call_invalidate(struct world *w)
{
	return of_result(tp_invalidate(w->thread, w->region, NEAR, PAGE));
}

static struct outcome
call_flush(struct world *w)
{
	return of_result(tp_flush(w->thread, w->region, NEAR, PAGE));
}

static struct outcome
call_clear(struct world *w)
{
	return of_result(tp_clear(w->thread, w->region));
}

static struct outcome
call_atomic_load(struct world *w)
{
	return of_result(tp_atomic_load64(w->thread, w->region, NEAR, &w->buffers[0]));
}

static struct outcome
call_atomic_add(struct world *w)
{
	will_change(w, NEAR, OLD_NEAR, NEW_NEAR, 8);
	return of_result(tp_atomic_add64(w->thread, w->region, NEAR, 1, &w->buffers[0]));
}

static struct outcome
call_atomic_cas(struct world *w)
{
	will_change(w, NEAR, OLD_NEAR, 77, 8);
	return of_result(tp_atomic_cas64(w->thread, w->region, NEAR, OLD_NEAR, 77,
		&w->buffers[0]));
}

static struct outcome
call_atomic(struct world *w)
{
	will_change(w, NEAR, OLD_NEAR, 5, 4);
	return of_result(tp_atomic(w->thread, w->region, NEAR, TP_ATOMIC_EXCHANGE, 4, 5, 0,
		&w->buffers[0]));
}

static struct outcome
call_pin_read(struct world *w)
{
	struct tp_pin pin;
	struct tp_result result = tp_pin(w->thread, w->region, NEAR, 8, TP_ACCESS_READ, &pin);

	if (!tp_result_is_ok(result))
		return of_result(result);
	assert_int_equal(*(uint64_t *)pin.address, OLD_NEAR);
	return of_result(tp_unpin(w->thread, &pin));
}

static struct outcome
call_pin_write(struct world *w)
{
	struct tp_pin pin;
	struct tp_result result = tp_pin(w->thread, w->region, NEAR, 8, TP_ACCESS_WRITE, &pin);

	will_change(w, NEAR, OLD_NEAR, NEW_NEAR, 0);
	if (!tp_result_is_ok(result))
		return of_result(result);
	*(uint64_t *)pin.address = NEW_NEAR;
	result = tp_unpin(w->thread, &pin);
	return of_result(tp_result_is_ok(result) ? result : tp_result_unknown(result.reason));
}

/* The same, submitted and waited for. */
static struct outcome
call_submit_read(struct world *w)
{
	return of_submit(w, tp_submit_read(w->thread, w->region, NEAR, &w->buffers[0], 8, &w->op));
}

static struct outcome
call_submit_write(struct world *w)
{
	w->buffers[0] = NEW_NEAR;
	will_change(w, NEAR, OLD_NEAR, NEW_NEAR, 8);
	return of_submit(w, tp_submit_write(w->thread, w->region, NEAR, &w->buffers[0], 8,
		&w->op));
}

static struct outcome
call_submit_readv(struct world *w)
{
	struct tp_vector vectors[2];

	vectors_fill(w, vectors);
	return of_submit(w, tp_submit_readv(w->thread, w->region, vectors, 2, &w->op));
}

static struct outcome
call_submit_writev(struct world *w)
{
	struct tp_vector vectors[2];

	writev_prepare(w, vectors);
	return of_submit(w, tp_submit_writev(w->thread, w->region, vectors, 2, &w->op));
}

static struct outcome
call_submit_atomic(struct world *w)
{
	will_change(w, NEAR, OLD_NEAR, NEW_NEAR, 8);
	w->atomic = true;
	return of_submit(w, tp_submit_atomic(w->thread, w->region, NEAR, TP_ATOMIC_ADD, 8, 1, 0,
		&w->op));
}

/* An unknown one is asked after while the fault goes on. */
static struct outcome
call_op_settle(struct world *w)
{
	call_submit_atomic(w);
	return of_result(tp_op_settle(w->thread, w->region, &w->op));
}

static struct outcome
call_atomic_settle(struct world *w)
{
	struct tp_result result;

	will_change(w, NEAR, OLD_NEAR, NEW_NEAR, 8);
	w->atomic = true;
	w->waited = true;
	result = tp_atomic_add64(w->thread, w->region, NEAR, 1, NULL);
	if (result.effect == TP_EFFECT_UNKNOWN)
		result = tp_atomic_settle(w->thread, w->region, NULL);
	return of_result(result);
}

static struct outcome
call_submit_settle(struct world *w)
{
	call_submit_atomic(w);
	return of_submit(w, tp_submit_settle(w->thread, NULL, &w->op));
}

static struct outcome
call_submit_pin(struct world *w)
{
	struct tp_pin pin;
	struct outcome outcome;

	outcome = of_submit(w, tp_submit_pin(w->thread, w->region, NEAR, 8, TP_ACCESS_READ, &pin,
		&w->op));
	if (tp_result_is_ok(outcome.result))
		outcome = of_result(tp_unpin(w->thread, &pin));
	return outcome;
}

static struct outcome
call_submit_invalidate(struct world *w)
{
	return of_submit(w, tp_submit_invalidate(w->thread, w->region, NEAR, PAGE, &w->op));
}

static struct outcome
call_submit_flush(struct world *w)
{
	return of_submit(w, tp_submit_flush(w->thread, w->region, NEAR, PAGE, &w->op));
}

static struct outcome
call_submit_clear(struct world *w)
{
	return of_submit(w, tp_submit_clear(w->thread, w->region, &w->op));
}

static struct outcome
call_submit_nop(struct world *w)
{
	return of_submit(w, tp_submit_nop(w->thread, 0, &w->op));
}

/* Polled by a program that lets time pass itself. */
static struct outcome
call_op_poll(struct world *w)
{
	w->buffers[0] = NEW_NEAR;
	will_change(w, NEAR, OLD_NEAR, NEW_NEAR, 8);
	tp_submit_write(w->thread, w->region, NEAR, &w->buffers[0], 8, &w->op);
	while (!tp_op_poll(w->thread, &w->op))
		tp_sim_advance(w->sim, MS / 10);
	return of_result(w->op.result);
}

/* Control calls. */
static struct outcome
call_node_get(struct world *w)
{
	struct tp_control_node node;

	return of_error(tp_client_node_get(w->client, 1, &node));
}

static struct outcome
call_stats_get(struct world *w)
{
	uint64_t stats[TP_CONTROL_STATS_MAX];

	return of_error(tp_client_stats_get(w->client, stats));
}

static struct outcome
call_region_get(struct world *w)
{
	struct tp_control_region info;

	return of_error(tp_client_region_get(w->client, 0, &info));
}

static struct outcome
call_inject_get(struct world *w)
{
	struct tp_control_inject inject;
	int ret = tp_inject_get(w->client, 0, &inject);

	return of_error(ret == -ENOENT ? 0 : ret);
}

static struct outcome
call_inject(struct world *w)
{
	return of_error(tp_inject(w->client, &(struct tp_inject_spec){
		.kind = TP_INJECT_DUPLICATE, .rate_ppm = 1 }));
}

static struct outcome
call_inject_clear(struct world *w)
{
	return of_error(tp_inject_clear(w->client));
}

static struct outcome
call_region_create(struct world *w)
{
	const struct tp_client_region_config config = { .name = "new", .bytes = PAGE };
	struct tp_client_region *region;
	int ret = tp_client_region_create(w->client, &config, &region);

	if (ret == 0)
		tp_client_region_close(region);
	return of_error(ret);
}

static struct outcome
call_region_open(struct world *w)
{
	struct tp_client_region *region;
	int ret = tp_client_region_open(w->client, "r", &region);

	if (ret == 0)
		tp_client_region_close(region);
	return of_error(ret);
}

static struct outcome
call_region_open_at(struct world *w)
{
	uint64_t address = tp_client_region_info(w->region)->address, offset;
	struct tp_client_region *region;
	int ret = tp_client_region_open_at(w->client, address + 5, &region, &offset);

	if (ret == 0) {
		assert_int_equal(offset, 5);
		tp_client_region_close(region);
	}
	return of_error(ret);
}

static struct outcome
call_range_open(struct world *w)
{
	/* The default split: 32 bits of offset. The region was born on node 1. */
	uint64_t offset = tp_client_region_info(w->region)->address & UINT32_MAX, start;
	struct tp_client_region *region;
	int ret = tp_client_range_open(w->client, 1, offset, 8, &region, &start);

	if (ret == 0)
		tp_client_region_close(region);
	return of_error(ret);
}

static struct outcome
call_region_destroy(struct world *w)
{
	return of_error(tp_client_region_destroy(w->client, "spare"));
}

static struct outcome
call_region_reset(struct world *w)
{
	return of_error(tp_client_region_reset(w->client, "spare"));
}

static struct outcome
call_alloc(struct world *w)
{
	struct tp_ptr ptr;

	return of_error(tp_client_alloc(w->client, 2, 64, &ptr));
}

static struct outcome
call_free(struct world *w)
{
	return of_error(tp_client_free(w->client, w->ptr));
}

static struct outcome
call_generation_get(struct world *w)
{
	uint64_t generation;

	return of_error(tp_client_generation_get(w->client, w->ptr.address, &generation));
}

static struct outcome
call_generation_check(struct world *w)
{
	return of_error(tp_client_generation_check(w->client, w->ptr));
}

/* Calls that ask nobody. */
static struct outcome
call_lookups(struct world *w)
{
	enum tp_access access = tp_lookup(w->region, NEAR);

	assert_true(access == TP_ACCESS_NONE || access == TP_ACCESS_WRITE);
	assert_string_equal(tp_client_region_info(w->region)->name, "r");
	assert_int_equal(tp_client_node(w->client)->node_id, 1);
	assert_true(tp_client_tsc(w->client) == tp_sim_now(w->sim));
	assert_non_null(tp_thread_stats_get(w->thread));
	tp_client_is_alive(w->client);
	return of_error(0);
}

static struct outcome
call_threads(struct world *w)
{
	struct tp_thread *thread;

	assert_int_equal(tp_thread_register(w->client, &thread), 0);
	tp_thread_timeout_set(thread, MS);
	tp_thread_unregister(thread);
	return of_error(0);
}

/* With an access in flight, whose buffer is the caller's again. */
static struct outcome
call_unregister_busy(struct world *w)
{
	static uint64_t buffer;
	struct tp_thread *thread;
	struct tp_op op;

	assert_int_equal(tp_thread_register(w->client, &thread), 0);
	tp_submit_read(thread, w->region, FAR, &buffer, 8, &op);
	tp_thread_unregister(thread);
	buffer = 99;
	tp_sim_advance(w->sim, 10 * MS);
	assert_int_equal(buffer, 99);
	return of_error(0);
}

static struct outcome
call_region_close(struct world *w)
{
	struct tp_client_region *region = w->region;

	tp_client_region_close(region);
	w->region = NULL;
	return of_error(0);
}

static struct outcome
call_detach(struct world *w)
{
	tp_client_detach(w->extra);
	w->extra = NULL;
	return of_error(0);
}

static const struct call calls[] = {
	{ "tp_read", OF_DATA, call_read },
	{ "tp_write", OF_DATA, call_write },
	{ "tp_readv", OF_DATA, call_readv },
	{ "tp_writev", OF_DATA, call_writev },
	{ "tp_atomic_load64", OF_DATA, call_atomic_load },
	{ "tp_atomic_add64", OF_DATA, call_atomic_add },
	{ "tp_atomic_cas64", OF_DATA, call_atomic_cas },
	{ "tp_atomic", OF_DATA, call_atomic },
	{ "tp_pin to read, tp_unpin", OF_DATA, call_pin_read },
	{ "tp_pin to write, tp_unpin", OF_DATA, call_pin_write },
	{ "tp_submit_read, tp_op_wait", OF_DATA, call_submit_read },
	{ "tp_submit_write, tp_op_wait", OF_DATA, call_submit_write },
	{ "tp_submit_readv, tp_op_wait", OF_DATA, call_submit_readv },
	{ "tp_submit_writev, tp_op_wait", OF_DATA, call_submit_writev },
	{ "tp_submit_atomic, tp_op_wait", OF_DATA, call_submit_atomic },
	{ "tp_submit_pin, tp_op_wait", OF_DATA, call_submit_pin },
	{ "tp_submit_write, tp_op_poll", OF_DATA, call_op_poll },
	{ "tp_op_settle", OF_DATA, call_op_settle },
	{ "tp_submit_settle", OF_DATA, call_submit_settle },
	{ "tp_atomic_settle", OF_DATA, call_atomic_settle },
	{ "tp_invalidate", OF_COPIES, call_invalidate },
	{ "tp_flush", OF_COPIES, call_flush },
	{ "tp_clear", OF_COPIES, call_clear },
	{ "tp_submit_invalidate", OF_COPIES, call_submit_invalidate },
	{ "tp_submit_flush", OF_COPIES, call_submit_flush },
	{ "tp_submit_clear", OF_COPIES, call_submit_clear },
	{ "tp_submit_nop", OF_WORKER, call_submit_nop },
	{ "tp_client_node_get", OF_CONTROL, call_node_get },
	{ "tp_client_stats_get", OF_CONTROL, call_stats_get },
	{ "tp_client_region_get", OF_CONTROL, call_region_get },
	{ "tp_inject_get", OF_CONTROL, call_inject_get },
	{ "tp_inject", OF_CONTROL, call_inject },
	{ "tp_inject_clear", OF_CONTROL, call_inject_clear },
	{ "tp_client_region_create", OF_STORE, call_region_create },
	{ "tp_client_region_open", OF_STORE, call_region_open },
	{ "tp_client_region_open_at", OF_STORE, call_region_open_at },
	{ "tp_client_range_open", OF_STORE, call_range_open },
	{ "tp_client_region_destroy", OF_STORE, call_region_destroy },
	{ "tp_client_region_reset", OF_STORE, call_region_reset },
	{ "tp_client_alloc", OF_HEAP, call_alloc },
	{ "tp_client_free", OF_HEAP, call_free },
	{ "tp_client_generation_get", OF_HEAP, call_generation_get },
	{ "tp_client_generation_check", OF_HEAP, call_generation_check },
	{ "tp_lookup and getters", OF_NOBODY, call_lookups },
	{ "tp_thread_register, _timeout_set, _unregister", OF_NOBODY, call_threads },
	{ "tp_thread_unregister with an access in flight", OF_NOBODY, call_unregister_busy },
	{ "tp_client_region_close", OF_NOBODY, call_region_close },
	{ "tp_client_detach", OF_NOBODY, call_detach },
};

#define R(reason) (1u << TP_##reason)
#define OF_DATA_FATE(reasons) [OF_DATA] = (reasons), [OF_COPIES] = (reasons) | R(OK)

/* What each class of call may end with under each fault; where it cannot reach, OK. */
static const uint32_t fates[FAULTS][CLASSES] = {
	[UNREACHABLE] = { OF_DATA_FATE(R(UNREACHABLE)), [OF_HEAP] = R(UNREACHABLE) | R(TIMEOUT) },
	[TIMED_OUT] = { OF_DATA_FATE(R(TIMEOUT)), [OF_HEAP] = R(TIMEOUT) },
	[PARTITION] = { OF_DATA_FATE(R(UNREACHABLE)), [OF_HEAP] = R(UNREACHABLE) | R(TIMEOUT) },
	[PARTITION_ONE_WAY] = { OF_DATA_FATE(R(UNREACHABLE)),
		[OF_HEAP] = R(UNREACHABLE) | R(TIMEOUT) },
	[PARTITION_ANSWERS] = { OF_DATA_FATE(R(UNREACHABLE)),
		[OF_HEAP] = R(UNREACHABLE) | R(TIMEOUT) },
	[PARTITION_ALL] = { OF_DATA_FATE(R(UNREACHABLE) | R(PARTITION) | R(TIMEOUT)),
		[OF_STORE] = R(OK) | R(UNREACHABLE) | R(PARTITION) | R(TIMEOUT),
		[OF_HEAP] = R(UNREACHABLE) | R(PARTITION) | R(TIMEOUT) },
	[CRASH] = { OF_DATA_FATE(R(NODE_CRASHED)), [OF_WORKER] = R(NODE_CRASHED),
		[OF_CONTROL] = R(NODE_CRASHED), [OF_STORE] = R(NODE_CRASHED),
		[OF_HEAP] = R(NODE_CRASHED) },
	[CRASH_AFTER] = { OF_DATA_FATE(R(NODE_CRASHED)), [OF_WORKER] = R(NODE_CRASHED) },
	[PERMISSION] = { OF_DATA_FATE(R(PERMISSION)) },
	[CORRUPTION] = { OF_DATA_FATE(R(CORRUPTION)) },
};

/* The reason behind an errno of a control call; TP_INVALID for one that none may give. */
static enum tp_reason
reason_of(int error)
{
	switch (error) {
	case 0:
		return TP_OK;
	case -ETIMEDOUT:
		return TP_TIMEOUT;
	case -ECONNRESET:
		return TP_NODE_CRASHED;
	case -ENETUNREACH:
		return TP_PARTITION;
	case -EHOSTUNREACH:
		return TP_UNREACHABLE;
	default:
		return TP_INVALID;
	}
}

static void
world_attach(struct world *w)
{
	w->client = tp_sim_attach(w->sim, 1, 4);
	assert_non_null(w->client);
	assert_int_equal(tp_thread_register(w->client, &w->thread), 0);
	assert_int_equal(tp_client_region_open(w->client, "r", &w->region), 0);
	tp_thread_timeout_set(w->thread, TIMEOUT);
}

static void
put(struct tp_thread *thread, struct tp_client_region *region, uint64_t offset, uint64_t value)
{
	assert_true(tp_result_is_ok(tp_write(thread, region, offset, &value, 8)));
}

static void
world_epochs(struct world *w, uint32_t epochs[3])
{
	struct tp_control_node node;
	uint32_t i;

	for (i = 0; i < 3; i++) {
		assert_int_equal(tp_client_node_get(w->judge, i, &node), 0);
		epochs[i] = node.epoch;
	}
}

static void
world_create(struct world *w, bool warm)
{
	const struct tp_sim_config config = { .seed = 1 };
	const uint16_t nodes[] = { 1, 2, 3 };
	struct tp_client_region_config region = {
		.name = "r", .bytes = 6 * PAGE, .nodes = nodes, .node_count = 3,
	};
	struct tp_client_region *spare;
	int n;

	w->sim = tp_sim_create(&config);
	for (n = 1; n <= 3; n++)
		assert_int_equal(tp_sim_node_add(w->sim, NULL), n);
	w->judge = tp_sim_attach(w->sim, 2, 1);
	w->extra = tp_sim_attach(w->sim, 1, 1);
	assert_int_equal(tp_thread_register(w->judge, &w->judge_thread), 0);
	tp_thread_timeout_set(w->judge_thread, 3000 * MS);
	w->client = tp_sim_attach(w->sim, 1, 1);
	assert_int_equal(tp_client_region_create(w->client, &region, &spare), 0);
	region.name = "spare";
	assert_int_equal(tp_client_region_create(w->client, &region, &spare), 0);
	tp_client_detach(w->client);
	assert_int_equal(tp_client_region_open(w->judge, "r", &w->judge_region), 0);
	assert_int_equal(tp_client_alloc(w->judge, 2, 64, &w->ptr), 0);
	put(w->judge_thread, w->judge_region, NEAR, OLD_NEAR);
	put(w->judge_thread, w->judge_region, FAR, OLD_FAR);
	world_attach(w);
	if (warm) {
		put(w->thread, w->region, NEAR + 64, 1);
		put(w->thread, w->region, FAR + 64, 1);
	}
	/* A home that is as old as the question cannot tell what was before it. */
	tp_sim_advance(w->sim, 100 * MS);
	world_epochs(w, w->epochs);
}

static bool
fault_is_crash(enum fault fault)
{
	return fault == CRASH || fault == CRASH_AFTER;
}

static void
world_inject(struct world *w, enum fault fault)
{
	int ret;

	if (fault == NO_FAULT)
		return;
	ret = tp_inject(faults[fault].there ? w->judge : w->client, &faults[fault].spec);
	assert_int_equal(ret, fault == CRASH ? -ECONNRESET : 0);
	tp_sim_advance(w->sim, MS / 10);
}

/* The fault is over, and the cluster has found itself again. */
static void
world_mend(struct world *w, enum fault fault)
{
	if (fault_is_crash(fault) && !tp_client_is_alive(w->client)) {
		assert_int_equal(tp_sim_node_restart(w->sim, 1), 0);
	} else {
		assert_int_equal(tp_inject_clear(w->client), 0);
		assert_int_equal(tp_inject_clear(w->judge), 0);
	}
	tp_sim_advance(w->sim, 2000 * MS);
	assert_true(tp_sim_node_is_serving(w->sim, 1));
	if (!tp_client_is_alive(w->client)) {
		tp_client_detach(w->client);
		world_attach(w);
	}
}

/* Did a node lose its copies? */
static bool
world_lost_copies(struct world *w)
{
	uint32_t epochs[3];

	world_epochs(w, epochs);
	return memcmp(epochs, w->epochs, sizeof(epochs)) != 0;
}

static void
check_fate(const struct world *w, const struct call *call, enum fault fault, bool warm,
	const struct outcome *outcome)
{
	enum tp_reason reason = outcome->control ? reason_of(outcome->error) :
		(enum tp_reason)outcome->result.reason;
	uint32_t allowed = fates[fault][call->class];

	if (allowed == 0)
		allowed = R(OK);
	/* What is here already needs nobody, unless it is taken from sight. */
	if (warm && (call->class == OF_DATA || call->class == OF_COPIES) &&
	    fault != PERMISSION && fault != CORRUPTION && fault != CRASH)
		allowed |= R(OK);
	if ((allowed & 1u << reason) == 0)
		fail_msg("%s: %s (error %d)", w->cell, tp_reason_name(reason),
			 outcome->control ? outcome->error : 0);
	if (outcome->control)
		return;
	if ((reason == TP_OK) != (outcome->result.effect == TP_EFFECT_DONE))
		fail_msg("%s: %s with effect %u", w->cell, tp_reason_name(reason),
			 outcome->result.effect);
}

/* Is a word as the outcome said? */
static void
check_word(struct world *w, const struct word *word, struct tp_result said)
{
	bool lost = world_lost_copies(w);
	struct tp_result result;
	uint64_t value;

	result = tp_read(w->judge_thread, w->judge_region, word->offset, &value, 8);
	if (!tp_result_is_ok(result)) {
		/* The only copy may have gone with its node. */
		if (lost && result.reason == TP_NODE_CRASHED)
			return;
		fail_msg("%s: the word is %s", w->cell, tp_reason_name(result.reason));
	}
	if (tp_result_is_ok(said) || (word->end != 0 && said.bytes_done >= word->end)) {
		if (value != word->after)
			fail_msg("%s: done, but the word is %lu", w->cell, value);
	} else if (said.effect == TP_EFFECT_NOT_DONE) {
		if (value != word->before)
			fail_msg("%s: not done, but the word is %lu", w->cell, value);
	} else if (value != word->before && value != word->after) {
		fail_msg("%s: the word is %lu", w->cell, value);
	}
}

/* An atomic whose fate is unknown is asked after, now that all is well. */
static struct tp_result
settle(struct world *w, enum fault fault, struct tp_result said)
{
	struct tp_result settled;

	if (!w->atomic || said.effect != TP_EFFECT_UNKNOWN)
		return said;
	settled = w->waited ? tp_atomic_settle(w->thread, w->region, NULL) :
		tp_op_settle(w->thread, w->region, &w->op);
	if (settled.effect == TP_EFFECT_UNKNOWN && !world_lost_copies(w))
		fail_msg("%s: its fate cannot be learnt: %s", w->cell,
			 tp_reason_name(settled.reason));
	return settled;
}

static void
run_cell(const struct call *call, enum fault fault, bool warm)
{
	uint64_t buffers[WORDS_MAX], began, limit;
	struct world *w = calloc(1, sizeof(*w));
	struct tp_result said;
	struct outcome outcome;
	char cell[128];
	uint32_t i;

	assert_non_null(w);
	snprintf(cell, sizeof(cell), "%s, %s%s", call->name, faults[fault].name,
		 warm ? ", warm" : "");
	w->cell = cell;
	world_create(w, warm);
	world_inject(w, fault);

	began = tp_sim_now(w->sim);
	outcome = call->run(w);
	limit = call->run == call_op_settle || call->run == call_submit_settle ||
		call->run == call_atomic_settle ? 2 * TIMEOUT :
		outcome.control ? CONTROL_TIMEOUT : TIMEOUT;
	if (tp_sim_now(w->sim) - began > limit + SLACK)
		fail_msg("%s: took %lu us", cell, (tp_sim_now(w->sim) - began) / 1000);
	memcpy(buffers, w->buffers, sizeof(buffers));
	check_fate(w, call, fault, warm, &outcome);

	world_mend(w, fault);
	assert_memory_equal(buffers, w->buffers, sizeof(buffers));
	said = settle(w, fault, outcome.result);
	for (i = 0; i < w->word_count; i++)
		check_word(w, &w->words[i], said);
	tp_sim_destroy(w->sim);
	free(w);
}

static void
run_fault(enum fault fault)
{
	size_t i;

	for (i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		run_cell(&calls[i], fault, false);
		if (calls[i].class == OF_DATA || calls[i].class == OF_COPIES)
			run_cell(&calls[i], fault, true);
	}
}

#define CASE(name, fault)						\
static void								\
test_calls_under_##name##_keep_their_word(void **state)		\
{									\
	run_fault(fault);						\
}
CASE(no_fault, NO_FAULT)
CASE(unreachable, UNREACHABLE)
CASE(timeout, TIMED_OUT)
CASE(partition, PARTITION)
CASE(partition_one_way, PARTITION_ONE_WAY)
CASE(partition_of_answers, PARTITION_ANSWERS)
CASE(partition_from_all, PARTITION_ALL)
CASE(crash, CRASH)
CASE(crash_with_the_request, CRASH_AFTER)
CASE(permission, PERMISSION)
CASE(corruption, CORRUPTION)
CASE(corruption_of_frames, CORRUPTION_FRAMES)
CASE(slow_peer, SLOW)
CASE(loss, LOSS)
CASE(duplicates, DUPLICATE)
CASE(reordering, REORDER)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calls_under_no_fault_keep_their_word),
		cmocka_unit_test(test_calls_under_unreachable_keep_their_word),
		cmocka_unit_test(test_calls_under_timeout_keep_their_word),
		cmocka_unit_test(test_calls_under_partition_keep_their_word),
		cmocka_unit_test(test_calls_under_partition_one_way_keep_their_word),
		cmocka_unit_test(test_calls_under_partition_of_answers_keep_their_word),
		cmocka_unit_test(test_calls_under_partition_from_all_keep_their_word),
		cmocka_unit_test(test_calls_under_crash_keep_their_word),
		cmocka_unit_test(test_calls_under_crash_with_the_request_keep_their_word),
		cmocka_unit_test(test_calls_under_permission_keep_their_word),
		cmocka_unit_test(test_calls_under_corruption_keep_their_word),
		cmocka_unit_test(test_calls_under_corruption_of_frames_keep_their_word),
		cmocka_unit_test(test_calls_under_slow_peer_keep_their_word),
		cmocka_unit_test(test_calls_under_loss_keep_their_word),
		cmocka_unit_test(test_calls_under_duplicates_keep_their_word),
		cmocka_unit_test(test_calls_under_reordering_keep_their_word),
	};

	rte_log_set_global_level(RTE_LOG_CRIT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
