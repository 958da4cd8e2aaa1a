/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A worker with an engine that does what the test says, one region and one client,
 * whose turns the test takes one at a time.
 */
#ifndef NODE_TEST_WORKER_SETUP_H
#define NODE_TEST_WORKER_SETUP_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fake_engine.h"
#include "tp_generation.h"
#include "tp_shard.h"
#include "worker_priv.h"

#define SLOTS 16u
#define PAGE 4096u
#define PAGES 64u
#define THREADS 2u
#define MS UINT64_C(1000000)
#define GENERATION 77u
#define ORIGIN 0x0001000002000003ull
#define ID 5u

/* A link that carries nothing. */
static inline uint32_t
null_burst(struct tp_link *link, struct tp_frame *frames, uint32_t n)
{
	return 0;
}

static inline void
null_frame(struct tp_link *link, struct tp_frame *frame)
{
}

static inline bool
null_shared(struct tp_link *link, const struct tp_frame *frame)
{
	return false;
}

static const struct tp_link_ops null_ops = {
	.rx_burst = null_burst,
	.tx_burst = null_burst,
	.tx_alloc = null_burst,
	.frame_ref = null_frame,
	.frame_free = null_frame,
	.frame_shared = null_shared,
};

struct setup {
	struct tp_link link;
	struct node_shared shared;
	_Atomic uint8_t reachable[9];
	struct tp_worker *worker;
	struct tp_region region;
	_Atomic uint64_t words[PAGES];
	struct tp_abi_client *client;
	struct worker_thread threads[THREADS];
	uint8_t *slots;
	uint64_t now;
};

static inline void
turn(struct setup *s)
{
	tp_worker_poll(s->worker, s->now);
}

static inline void
command(struct setup *s, struct worker_command command_in)
{
	assert_true(node_ring_push(&s->worker->commands, &command_in));
	turn(s);
}

static inline int
setup_make(void **state)
{
	struct setup *s = aligned_alloc(64, RTE_ALIGN_CEIL(sizeof(*s), 64));
	struct worker_config config;

	assert_non_null(s);
	memset(s, 0, sizeof(*s));
	s->now = 1000 * MS;
	s->link = (struct tp_link){ .ops = &null_ops, .mac = { 2, 0, 0, 0, 0, 1 }, .mtu = 9000,
		.max_frame = 9014 };
	s->shared.reachable = s->reachable;
	atomic_store(&s->shared.lease_until_ns, UINT64_MAX);
	s->slots = aligned_alloc(PAGE, SLOTS * PAGE);
	assert_non_null(s->slots);
	memset(s->slots, 0, SLOTS * PAGE);
	config = (struct worker_config){
		.node_id = 1, .node_id_max = 8, .worker_count = 1, .slot_bytes = PAGE,
		.slot_count = SLOTS, .own_slots = SLOTS, .waiter_count = 64, .stash_count = 4096,
		.guard_lease_ns = 10 * MS, .lease_ns = 60 * MS, .slots = s->slots,
		.shared = &s->shared,
		.clock = { .tsc_hz = 1000000000 },
		.endpoint = { .node = 1, .link_count = 1, .incarnation = 1,
			.links = { { .link = &s->link, .ip = 0x0a000001 } } },
		.coherence = { .request_count = 16, .busy_count = 16 },
	};
	s->worker = worker_create(&config);
	assert_non_null(s->worker);
	s->region = (struct tp_region){ .id = ID, .mode = TP_REGION_RW,
		.distribution = TP_REGION_HOME, .page_shift = 12, .base = TP_ADDRESS_BASE,
		.bytes = PAGES * PAGE, .page_count = PAGES, .generation = GENERATION,
		.node_count = 1, .nodes = { 1 } };
	s->client = aligned_alloc(64, tp_abi_client_bytes(THREADS));
	assert_non_null(s->client);
	memset(s->client, 0, tp_abi_client_bytes(THREADS));
	command(s, (struct worker_command){ .type = WORKER_REGION_ADD, .region = &s->region,
		.client = -1, .words = s->words });
	command(s, (struct worker_command){ .type = WORKER_CLIENT_ADD, .client = 3,
		.thread_count = THREADS, .abi = s->client, .threads = s->threads,
		.origin = ORIGIN });
	atomic_store(&s->client->threads[0].active, 1);
	atomic_store(&s->client->threads[0].guards.used_max, TP_ABI_GUARDS);
	*state = s;
	return 0;
}

static inline int
setup_free(void **state)
{
	struct setup *s = *state;

	worker_destroy(s->worker);
	free(s->client);
	free(s->slots);
	free(s);
	return 0;
}

static inline struct tp_abi_ring *
ring(struct setup *s)
{
	return &s->client->threads[0].rings[0];
}

static inline void
submit(struct setup *s, struct tp_abi_request request)
{
	struct tp_abi_ring *r = ring(s);
	uint32_t head = atomic_load(&r->request_head);

	if (request.region_id == 0)
		request.region_id = ID;
	if (request.generation == 0)
		request.generation = GENERATION;
	if (request.deadline_tsc == 0)
		request.deadline_tsc = s->now + 1000 * MS;
	r->requests[head % TP_ABI_RING_ENTRIES] = request;
	atomic_store(&r->request_head, head + 1);
}

/* The one completion there is; fails when there is none. */
static inline struct tp_abi_completion
completion(struct setup *s)
{
	struct tp_abi_ring *r = ring(s);
	uint32_t tail = atomic_load(&r->completion_tail);

	assert_int_equal(atomic_load(&r->completion_head) - tail, 1);
	atomic_store(&r->completion_tail, tail + 1);
	return r->completions[tail % TP_ABI_RING_ENTRIES];
}

static inline bool
is_answered(struct setup *s)
{
	return atomic_load(&ring(s)->completion_head) != atomic_load(&ring(s)->completion_tail);
}

static inline void
hazard(struct setup *s, uint32_t guard, uint64_t value)
{
	atomic_store(&s->client->threads[0].guards.key[guard], value);
}

/* Let the engine emit one action at the next event or poll. */
static inline void
emit(struct tp_action action)
{
	fake.actions[fake.action_count++] = action;
}

static inline void
emit_revoke(uint32_t page)
{
	emit((struct tp_action){ .type = TP_ACTION_REVOKE, .access = TP_ACCESS_NONE,
		.region_id = ID, .page_index = page });
}

static inline void
emit_publish(uint32_t page, uint32_t slot)
{
	emit((struct tp_action){ .type = TP_ACTION_PUBLISH, .access = TP_ACCESS_WRITE,
		.slot = slot, .region_id = ID, .page_index = page });
}

/* Submit a WRITE of the page with guard 2 announced, answer it with slot 4. */
static inline void
grant(struct setup *s, uint32_t page)
{
	hazard(s, 2, tp_guard_key(ID, page) | TP_GUARD_WAITING);
	submit(s, (struct tp_abi_request){ .op = TP_ABI_WRITE, .guard = 2, .page_index = page });
	turn(s);
	emit_publish(page, 4);
	emit((struct tp_action){ .type = TP_ACTION_COMPLETE, .access = TP_ACCESS_WRITE, .slot = 4,
		.region_id = ID, .page_index = page, .cookie = fake.request.client.cookie,
		.result = tp_result_ok(0) });
	turn(s);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup_make, setup_free)

#endif /* NODE_TEST_WORKER_SETUP_H */
