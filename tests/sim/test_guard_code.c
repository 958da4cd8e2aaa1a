/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The race between a hit and a revocation, with the product's own functions:
 * lib/client/hit.h and lib/node/guard.c are compiled here with their atomics and
 * fences mapped to the step explorer, and run in every interleaving with store
 * buffers. What the model (test_guard_model.c) shows of the steps, this shows of
 * the code as it is; a change of either that breaks the race fails here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <rte_atomic.h>
#include <rte_cycles.h>

/* What it holds beside the race is not mapped. */
#include "client_priv.h"
#include "step.h"
#include "tp_types.h"

enum var { WORD, DATA, WORD_2, DATA_2, HAZARD_A, HAZARD_B, COPY, CLOCK };

enum left_out { NOTHING, CLIENT_FENCES, NODE_FENCES, NODE_LOOKS, SECOND_LOOK, LEASE_OF_GUARD };

static enum left_out left_out;
static bool in_node;		/* whose code runs: for what is left out */

static int var_of(const volatile void *at);

static uint64_t
code_load(const volatile void *at, size_t bytes)
{
	int var = var_of(at);

	if (var < 0)
		return bytes == 8 ? *(const volatile uint64_t *)at :
			*(const volatile uint32_t *)at;
	assert_int_equal(bytes, 8);
	if (in_node && left_out == NODE_LOOKS && (var == HAZARD_A || var == HAZARD_B))
		return 0;
	return step_load((unsigned int)var);
}

static void
code_store(volatile void *at, uint64_t value, size_t bytes)
{
	int var = var_of(at);

	assert_true(var >= 0);
	assert_int_equal(bytes, 8);
	step_store((unsigned int)var, value);
}

static void
code_or(volatile void *at, uint64_t operand)
{
	int var = var_of(at);

	assert_true(var >= 0);
	step_or((unsigned int)var, operand);
}

static void
code_fence(int order)
{
	/* On x86 only a full fence is an instruction. */
	if (order != __ATOMIC_SEQ_CST || left_out == (in_node ? NODE_FENCES : CLIENT_FENCES))
		return;
	step_fence();
}

#undef atomic_load_explicit
#undef atomic_store_explicit
#undef atomic_fetch_or_explicit
#undef atomic_fetch_and_explicit
#undef atomic_thread_fence
#undef rte_atomic_thread_fence
#undef rte_smp_mb
#undef rte_smp_rmb
#define atomic_load_explicit(at, order) code_load((at), sizeof(*(at)))
#define atomic_store_explicit(at, value, order) code_store((at), (value), sizeof(*(at)))
#define atomic_fetch_or_explicit(at, value, order) code_or((at), (value))
#define atomic_fetch_and_explicit(at, value, order) assert_true(!"in no scenario")
#define atomic_thread_fence(order) code_fence(order)
#define rte_atomic_thread_fence(order) code_fence(order)
#define rte_smp_mb() code_fence(__ATOMIC_SEQ_CST)
#define rte_smp_rmb() code_fence(__ATOMIC_ACQUIRE)
#define __atomic_load_n(at, order) code_load((at), sizeof(*(at)))
#define __atomic_store_n(at, value, order) code_store((at), (value), sizeof(*(at)))

#include "hit.h"

#define tp_coherence_guards_clear stub_guards_clear
#define tp_coherence_guards_expired stub_guards_expired
#define tp_coherence_slot_return stub_slot_return
#define worker_region_find stub_region_find
#define worker_outbox_run stub_outbox_run
#define worker_outbox_action stub_outbox_action
#include "worker_priv.h"

static enum { REVOKE_WAITS, REVOKE_CLEAR, REVOKE_BROKEN } revocation;

void
stub_guards_clear(struct tp_coherence *coherence, uint32_t region_id, uint32_t page_index,
		  uint64_t now, struct tp_outbox *outbox)
{
	revocation = REVOKE_CLEAR;
}

uint32_t
stub_guards_expired(struct tp_coherence *coherence, uint32_t region_id, uint32_t page_index,
		    uint64_t now, struct tp_outbox *outbox)
{
	revocation = REVOKE_BROKEN;
	return 0;
}

void
stub_slot_return(struct tp_coherence *coherence, uint32_t slot)
{
}

static struct worker_region node_region;

struct worker_region *
stub_region_find(struct tp_worker *worker, uint32_t region_id)
{
	return &node_region;
}

void
stub_outbox_run(struct tp_worker *worker)
{
}

void
stub_outbox_action(struct tp_worker *worker, const struct tp_action *action)
{
}

#include "guard.c"

#define REGION 5
#define PAGE_BYTES 4096
#define LEASE 50

/* The memory that is named; the values are in the explorer. */
static _Atomic uint64_t words[2];
alignas(64) static uint8_t slots[2 * PAGE_BYTES];
static struct tp_abi_node abi_node;
static _Atomic uint64_t virtual_clock;
static struct tp_abi_client *abi_client;
static struct tp_client_region region;
static struct tp_worker *worker;
static struct worker_thread worker_threads[2];

static int
var_of(const volatile void *at)
{
	if (at == &words[0])
		return WORD;
	if (at == &words[1])
		return WORD_2;
	if (at == slots)
		return DATA;
	if (at == slots + PAGE_BYTES)
		return DATA_2;
	if (at == &abi_client->threads[0].guards.key[CLIENT_GUARD_HIT])
		return HAZARD_A;
	if (at == &abi_client->threads[1].guards.key[CLIENT_GUARD_HIT])
		return HAZARD_B;
	if (at == &virtual_clock)
		return CLOCK;
	return -1;
}

struct client {
	unsigned int thread;
	unsigned int op;
	uint32_t write_page;
	uint32_t read_page;
	uint64_t value;
};

static void
write_hit(const struct client *c)
{
	struct tp_thread thread = { .shared = &abi_client->threads[c->thread] };
	struct history_op what = { .kind = TP_ATOMIC_STORE, .operand = c->value,
		.word = c->write_page, .client = c->op };
	enum client_hit hit;

	in_node = false;
	step_invoke(c->op, &what);
	hit = client_hit_write(&thread, &region, c->write_page, 0, &c->value, 8);
	if (left_out == LEASE_OF_GUARD && hit == CLIENT_BROKEN)
		hit = CLIENT_HIT;
	step_respond(c->op, 0, hit == CLIENT_HIT ? HISTORY_DONE :
		     hit == CLIENT_MISS ? HISTORY_NOT_DONE : HISTORY_UNKNOWN);
}

static void
read_hit(const struct client *c, unsigned int op)
{
	struct tp_thread thread = { .shared = &abi_client->threads[c->thread] };
	struct history_op what = { .kind = TP_ATOMIC_LOAD, .word = c->read_page,
		.client = c->op, .has_result = true };
	uint64_t value = 0;
	enum client_hit hit;

	in_node = false;
	step_invoke(op, &what);
	hit = client_hit_read(&thread, &region, c->read_page, 0, &value, 8);
	if (left_out == SECOND_LOOK && hit == CLIENT_MISS && thread.stats.retries != 0)
		hit = CLIENT_HIT;
	step_respond(op, value, hit == CLIENT_HIT ? HISTORY_DONE : HISTORY_NOT_DONE);
}

static void
actor_writer(void *ctx)
{
	write_hit(ctx);
}

static void
actor_reader(void *ctx)
{
	const struct client *c = ctx;

	read_hit(c, c->op);
}

static void
actor_write_then_read(void *ctx)
{
	const struct client *c = ctx;

	write_hit(c);
	read_hit(c, c->op + 1);
}

static void
actor_clock(void *ctx)
{
	/* The first turn that finds the guard starts its lease, a later one may break it. */
	step_remote_store(CLOCK, 2 * LEASE);
	step_remote_store(CLOCK, 4 * LEASE);
}

/* What the worker does with a REVOKE: store, fence, look; look again each turn. */
static void
node_revoke(void)
{
	struct tp_action action = { .type = TP_ACTION_REVOKE, .access = TP_ACCESS_NONE,
		.region_id = REGION, .page_index = 0, .slot = 0 };

	in_node = true;
	revocation = REVOKE_WAITS;
	worker->wait_count = worker->wait_new = worker->wait_next = 0;
	worker->quarantine_count = 0;
	worker->word_sequence = 1;
	memset(worker_threads, 0, sizeof(worker_threads));
	worker->now = step_load(CLOCK);
	worker_word_store(worker, &action, TP_ACCESS_NONE);
	worker_guard_wait_add(worker, &action);
	worker_guard_new_run(worker);
	while (revocation == REVOKE_WAITS) {
		bool timed = worker->waits[0].timed;

		step_mark();
		worker->now = step_load(CLOCK);
		worker_guard_poll(worker);
		/* A turn that changed nothing may as well not have been. */
		if (revocation == REVOKE_WAITS && timed == worker->waits[0].timed)
			step_again();
	}
}

static void
actor_node_takes(void *ctx)
{
	static const struct history_op final = { .kind = TP_ATOMIC_LOAD, .operand = COPY,
		.client = 7 };

	node_revoke();
	step_remote_store(COPY, step_load(DATA));
	step_final(7, &final);
}

static void
actor_node_reuses(void *ctx)
{
	static const struct history_op remote = { .kind = TP_ATOMIC_STORE, .operand = 9,
		.client = 7 };
	struct tp_action publish = { .type = TP_ACTION_PUBLISH, .access = TP_ACCESS_READ,
		.region_id = REGION, .page_index = 0, .slot = 0 };

	node_revoke();
	step_invoke(7, &remote);
	step_remote_store(COPY, 9);
	step_respond(7, 0, HISTORY_DONE);
	step_store(DATA, 55);
	step_store(DATA, 9);
	worker_word_store(worker, &publish, TP_ACCESS_READ);
}

static struct client client_a = { .thread = 0, .op = 0, .write_page = 0, .read_page = 1,
	.value = 1 };
static struct client client_b = { .thread = 1, .op = 2, .write_page = 1, .read_page = 0,
	.value = 2 };
static struct client client_c = { .thread = 1, .op = 4, .write_page = 0, .value = 3 };

static const struct scenario {
	const char *name;
	struct step_model model;
} scenarios[] = {
	{ "two writers, one node that takes the page",
	  { .actor_count = 3, .actor = { actor_writer, actor_writer, actor_node_takes },
	    .ctx = { &client_a, &client_c, NULL }, .history_words = 1 } },
	{ "a writer whose guard goes overdue",
	  { .actor_count = 3, .actor = { actor_writer, actor_clock, actor_node_takes },
	    .ctx = { &client_a, NULL, NULL }, .history_words = 1 } },
	{ "readers of a slot that is used again",
	  { .actor_count = 3, .actor = { actor_reader, actor_reader, actor_node_reuses },
	    .ctx = { &client_b, &client_c, NULL }, .history_words = 1 } },
	{ "store buffering between two clients of a node",
	  { .actor_count = 2, .actor = { actor_write_then_read, actor_write_then_read },
	    .ctx = { &client_a, &client_b }, .history_words = 2 } },
};
#define SCENARIOS (sizeof(scenarios) / sizeof(scenarios[0]))

static void
explore(const struct scenario *scenario, struct step_outcome *outcome)
{
	struct step_model model = scenario->model;

	model.initial[WORD] = tp_word_make(1, 0, TP_ACCESS_WRITE) | TP_WORD_REF;
	model.initial[WORD_2] = tp_word_make(1, 1, TP_ACCESS_WRITE) | TP_WORD_REF;
	model.states_max = 1u << 20;
	step_explore(&model, outcome);
}

static void
test_guard_code_is_right_in_every_interleaving(void **state)
{
	struct step_outcome outcome;
	size_t i;

	left_out = NOTHING;
	for (i = 0; i < SCENARIOS; i++) {
		explore(&scenarios[i], &outcome);
		print_message("%s: %u states\n", scenarios[i].name, (unsigned int)outcome.states);
		if (outcome.violation || outcome.stuck)
			fail_msg("%s: %s", scenarios[i].name, outcome.trace);
		assert_true(outcome.runs > 0);
	}
}

static void
test_guard_code_with_a_step_less_is_caught(void **state)
{
	enum left_out step;

	for (step = CLIENT_FENCES; step <= LEASE_OF_GUARD; step++) {
		const char *caught_by = NULL;
		struct step_outcome outcome;
		size_t i;

		left_out = step;
		for (i = 0; i < SCENARIOS && caught_by == NULL; i++) {
			explore(&scenarios[i], &outcome);
			if (outcome.violation)
				caught_by = scenarios[i].name;
		}
		print_message("step %d: %s\n", step, caught_by == NULL ? "NOT CAUGHT" : caught_by);
		assert_non_null(caught_by);
	}
}

static int
set_up(void **state)
{
	unsigned int t;

	abi_client = aligned_alloc(64, (tp_abi_client_bytes(2) + 63) & ~(size_t)63);
	worker = aligned_alloc(64, (sizeof(*worker) + 63) & ~(size_t)63);
	assert_non_null(abi_client);
	assert_non_null(worker);
	memset(abi_client, 0, tp_abi_client_bytes(2));
	memset(worker, 0, sizeof(*worker));
	/* The clients' hazard slots in use; read where no store is modelled. */
	for (t = 0; t < 2; t++)
		abi_client->threads[t].guards.used_max = 1;
	abi_node.lease_until_tsc = UINT64_MAX;
	region = (struct tp_client_region){ .words = words, .slots = slots, .bytes = sizeof(slots),
		.node = &abi_node, .virtual_tsc = &virtual_clock, .slot_count = 2,
		.slot_bytes = PAGE_BYTES, .id = REGION, .page_shift = 12, .writable = true,
		.guard_lease_tsc = LEASE };
	node_region = (struct worker_region){ .id = REGION, .page_count = 2,
		.page_bytes = PAGE_BYTES, .words = words };
	worker->config.slots = slots;
	worker->config.slot_bytes = PAGE_BYTES;
	worker->config.slot_count = 2;
	worker->config.guard_lease_ns = LEASE;
	worker->clients[0].abi = abi_client;
	worker->clients[0].thread_count = 2;
	worker->clients[0].threads = worker_threads;
	worker->client_list[0] = 0;
	worker->client_count = 1;
	worker->waits = calloc(4, sizeof(*worker->waits));
	worker->wait_max = 4;
	assert_non_null(worker->waits);
	return 0;
}

static int
tear_down(void **state)
{
	free(worker->waits);
	free(worker);
	free(abi_client);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_guard_code_is_right_in_every_interleaving),
		cmocka_unit_test(test_guard_code_with_a_step_less_is_caught),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
