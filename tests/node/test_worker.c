/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A worker's turn with an engine that does what the test says: rings, guards
 * and the outbox, one step at a time.
 */
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
static uint32_t
null_burst(struct tp_link *link, struct tp_frame *frames, uint32_t n)
{
	return 0;
}

static void
null_frame(struct tp_link *link, struct tp_frame *frame)
{
}

static bool
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

static void
turn(struct setup *s)
{
	tp_worker_poll(s->worker, s->now);
}

static void
command(struct setup *s, struct worker_command command_in)
{
	assert_true(node_ring_push(&s->worker->commands, &command_in));
	turn(s);
}

static int
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
		.slot_count = SLOTS, .own_slots = SLOTS, .waiter_count = 64,
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

static int
setup_free(void **state)
{
	struct setup *s = *state;

	worker_destroy(s->worker);
	free(s->client);
	free(s->slots);
	free(s);
	return 0;
}

static struct tp_abi_ring *
ring(struct setup *s)
{
	return &s->client->threads[0].rings[0];
}

static void
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
static struct tp_abi_completion
completion(struct setup *s)
{
	struct tp_abi_ring *r = ring(s);
	uint32_t tail = atomic_load(&r->completion_tail);

	assert_int_equal(atomic_load(&r->completion_head) - tail, 1);
	atomic_store(&r->completion_tail, tail + 1);
	return r->completions[tail % TP_ABI_RING_ENTRIES];
}

static bool
is_answered(struct setup *s)
{
	return atomic_load(&ring(s)->completion_head) != atomic_load(&ring(s)->completion_tail);
}

static void
hazard(struct setup *s, uint32_t guard, uint64_t value)
{
	atomic_store(&s->client->threads[0].guards.key[guard], value);
}

/* Let the engine emit one action at the next event or poll. */
static void
emit(struct tp_action action)
{
	fake.actions[fake.action_count++] = action;
}

static void
emit_revoke(uint32_t page)
{
	emit((struct tp_action){ .type = TP_ACTION_REVOKE, .access = TP_ACCESS_NONE,
		.region_id = ID, .page_index = page });
}

static void
emit_publish(uint32_t page, uint32_t slot)
{
	emit((struct tp_action){ .type = TP_ACTION_PUBLISH, .access = TP_ACCESS_WRITE,
		.slot = slot, .region_id = ID, .page_index = page });
}

/* Submit a WRITE of the page with guard 2 announced, answer it with slot 4. */
static void
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

static void
test_request_valid_reaches_engine_and_is_answered(void **state)
{
	struct setup *s = *state;
	struct tp_abi_completion answer;

	hazard(s, 2, tp_guard_key(ID, 9) | TP_GUARD_WAITING);
	submit(s, (struct tp_abi_request){ .op = TP_ABI_READ, .guard = 2, .cookie = 0xabcd1234,
		.page_index = 9 });
	turn(s);
	assert_int_equal(fake.request_count, 1);
	assert_int_equal(fake.request.page_index, 9);
	assert_int_equal(fake.request.want, TP_WANT_READ);
	assert_int_equal(fake.request.client.deadline, s->now + 1000 * MS);
	assert_false(is_answered(s));
	emit((struct tp_action){ .type = TP_ACTION_COMPLETE, .access = TP_ACCESS_READ, .slot = 7,
		.region_id = ID, .page_index = 9, .cookie = fake.request.client.cookie,
		.result = tp_result_ok(0) });
	turn(s);
	answer = completion(s);
	assert_int_equal(answer.cookie, 0xabcd1234);
	assert_int_equal(answer.reason, TP_OK);
	assert_int_equal(answer.access, TP_ACCESS_READ);
	assert_int_equal(answer.slot, 7);
	assert_int_equal(answer.flags, TP_COMPLETION_GUARDED);
	assert_int_equal(answer.guard_until_tsc, s->now + 10 * MS);
}

static void
test_request_invalid_refused(void **state)
{
	struct setup *s = *state;
	static const struct {
		struct tp_abi_request request;
		enum tp_reason reason;
	} cases[] = {
		{ { .op = 0 }, TP_INVALID },
		{ { .op = TP_ABI_OP_COUNT }, TP_INVALID },
		{ { .op = TP_ABI_READ, .guard = TP_ABI_GUARDS }, TP_INVALID },
		{ { .op = TP_ABI_READ, .page_index = PAGES }, TP_INVALID },
		{ { .op = TP_ABI_READ, .page_index = UINT32_MAX }, TP_INVALID },
		{ { .op = TP_ABI_READ, .region_id = ID + 1 }, TP_GENERATION },
		{ { .op = TP_ABI_READ, .region_id = UINT32_MAX }, TP_GENERATION },
		{ { .op = TP_ABI_READ, .generation = GENERATION + 1 }, TP_GENERATION },
		{ { .op = TP_ABI_READ, .deadline_tsc = 1 }, TP_TIMEOUT },
		{ { .op = TP_ABI_ATOMIC, .atomic_op = 0, .width = 8 }, TP_INVALID },
		{ { .op = TP_ABI_ATOMIC, .atomic_op = TP_ATOMIC_COUNT, .width = 8 }, TP_INVALID },
		{ { .op = TP_ABI_ATOMIC, .atomic_op = TP_ATOMIC_ADD, .width = 2 }, TP_INVALID },
		{ { .op = TP_ABI_ATOMIC, .atomic_op = TP_ATOMIC_ADD, .width = 8,
			.offset = 4 }, TP_INVALID },
		{ { .op = TP_ABI_ATOMIC, .atomic_op = TP_ATOMIC_ADD, .width = 8,
			.offset = PAGE }, TP_INVALID },
		{ { .op = TP_ABI_ATOMIC, .atomic_op = TP_ATOMIC_ADD, .width = 8,
			.offset = 0xfffffff8 }, TP_INVALID },
	};
	size_t i;

	for (i = 0; i < RTE_DIM(cases); i++) {
		struct tp_abi_completion answer;

		submit(s, cases[i].request);
		turn(s);
		answer = completion(s);
		if (answer.reason != cases[i].reason || answer.effect != TP_EFFECT_NOT_DONE)
			fail_msg("case %zu: reason %u", i, answer.reason);
	}
	assert_int_equal(fake.request_count, 0);
	assert_int_equal(s->worker->stats.requests_refused, RTE_DIM(cases));
	assert_int_equal(s->worker->in_flight, 0);
}

static void
test_request_read_only_region_only_creator_writes(void **state)
{
	struct setup *s = *state;

	worker_region_find(s->worker, ID)->mode = TP_REGION_RO;
	submit(s, (struct tp_abi_request){ .op = TP_ABI_WRITE });
	turn(s);
	assert_int_equal(completion(s).reason, TP_PERMISSION);
	submit(s, (struct tp_abi_request){ .op = TP_ABI_ATOMIC, .atomic_op = TP_ATOMIC_LOAD,
		.width = 8 });
	turn(s);
	assert_int_equal(fake.request_count, 1);
	command(s, (struct worker_command){ .type = WORKER_CREATOR, .region_id = ID,
		.client = 3 });
	submit(s, (struct tp_abi_request){ .op = TP_ABI_WRITE });
	turn(s);
	assert_int_equal(fake.request_count, 2);
}

static void
test_ring_indexes_spoilt_client_reported(void **state)
{
	struct setup *s = *state;
	struct worker_event event;

	atomic_store(&ring(s)->request_head, TP_ABI_RING_ENTRIES + 1);
	turn(s);
	turn(s);
	assert_int_equal(s->worker->stats.requests, 0);
	assert_true(node_ring_pop(&s->worker->events, &event));	/* region added */
	assert_true(node_ring_pop(&s->worker->events, &event));
	assert_int_equal(event.type, WORKER_CLIENT_BAD);
	assert_int_equal(event.client, 3);
	assert_false(node_ring_pop(&s->worker->events, &event));
}

static void
test_ring_answers_unread_takes_no_more_than_fit(void **state)
{
	struct setup *s = *state;
	uint32_t i;

	for (i = 0; i < TP_ABI_RING_ENTRIES; i++)
		submit(s, (struct tp_abi_request){ .op = TP_ABI_NOP });
	for (i = 0; i < 20; i++)
		turn(s);
	assert_int_equal(atomic_load(&ring(s)->completion_head), TP_ABI_RING_ENTRIES);
	/* The client read nothing yet: the answer to one more has no room. */
	submit(s, (struct tp_abi_request){ .op = TP_ABI_NOP });
	turn(s);
	assert_int_equal(atomic_load(&ring(s)->completion_head), TP_ABI_RING_ENTRIES);
	atomic_store(&ring(s)->completion_tail, 1);
	turn(s);
	assert_int_equal(atomic_load(&ring(s)->completion_head), TP_ABI_RING_ENTRIES + 1);
}

static void
test_publish_word_has_slot_access_and_new_sequence(void **state)
{
	struct setup *s = *state;
	uint64_t first;
	uint64_t second;

	emit_publish(1, 4);
	turn(s);
	first = atomic_load(&s->words[1]);
	assert_int_equal(tp_word_slot(first), 4);
	assert_int_equal(tp_word_access(first), TP_ACCESS_WRITE);
	atomic_store(&s->words[1], UINT64_MAX);	/* a client scribbles */
	emit_publish(1, 4);
	turn(s);
	second = atomic_load(&s->words[1]);
	assert_int_equal(tp_word_slot(second), 4);
	assert_int_equal(tp_word_sequence(second), tp_word_sequence(first) + 1);
}

static void
test_revoke_nobody_there_clear_in_same_turn(void **state)
{
	struct setup *s = *state;

	emit_revoke(1);
	turn(s);
	assert_int_equal(fake.clear_count, 1);
	assert_int_equal(fake.clear_page, 1);
	assert_int_equal(tp_word_access(atomic_load(&s->words[1])), TP_ACCESS_NONE);
}

static void
test_revoke_guarded_waits_until_cleared(void **state)
{
	struct setup *s = *state;

	hazard(s, 31, tp_guard_key(ID, 1));
	emit_revoke(1);
	turn(s);
	turn(s);
	assert_int_equal(fake.clear_count, 0);
	assert_int_equal(s->worker->wait_count, 1);
	hazard(s, 31, tp_guard_key(ID, 2));
	turn(s);
	assert_int_equal(fake.clear_count, 1);
	assert_int_equal(s->worker->wait_count, 0);
}

static void
test_revoke_waiting_not_granted_is_no_guard(void **state)
{
	struct setup *s = *state;

	hazard(s, 2, tp_guard_key(ID, 1) | TP_GUARD_WAITING);
	emit_revoke(1);
	turn(s);
	assert_int_equal(fake.clear_count, 1);
}

static void
test_revoke_waiting_granted_is_a_guard(void **state)
{
	struct setup *s = *state;

	grant(s, 1);
	assert_int_equal(completion(s).flags, TP_COMPLETION_GUARDED);
	emit_revoke(1);
	turn(s);
	assert_int_equal(fake.clear_count, 0);
	hazard(s, 2, 0);
	turn(s);
	assert_int_equal(fake.clear_count, 1);
}

static void
test_grant_ends_when_slot_is_announced_again(void **state)
{
	struct setup *s = *state;

	grant(s, 1);
	completion(s);
	/* Cleared and announced again between two looks of the node. */
	submit(s, (struct tp_abi_request){ .op = TP_ABI_WRITE, .guard = 2, .page_index = 1 });
	turn(s);
	emit_revoke(1);
	turn(s);
	assert_int_equal(fake.clear_count, 1);
}

static void
test_grant_slot_not_announced_gives_no_access(void **state)
{
	struct setup *s = *state;
	struct tp_abi_completion answer;

	submit(s, (struct tp_abi_request){ .op = TP_ABI_READ, .guard = 2, .page_index = 1 });
	turn(s);
	emit((struct tp_action){ .type = TP_ACTION_COMPLETE, .access = TP_ACCESS_READ, .slot = 4,
		.region_id = ID, .page_index = 1, .cookie = fake.request.client.cookie,
		.result = tp_result_ok(0) });
	turn(s);
	answer = completion(s);
	assert_int_equal(answer.reason, TP_OK);
	assert_int_equal(answer.flags, 0);
	assert_int_equal(answer.access, TP_ACCESS_NONE);
}

static void
test_guard_overdue_broken_slot_rests_until_cleared(void **state)
{
	struct setup *s = *state;

	hazard(s, 2, tp_guard_key(ID, 1));
	fake.expired_slot = TP_SLOT_ABSENT;
	emit_revoke(1);
	turn(s);
	/* A guard is timed from the turn after the revocation. */
	s->now += 20 * MS;
	turn(s);
	s->now += 9 * MS;
	turn(s);
	assert_int_equal(fake.expired_count, 0);
	s->now += 2 * MS;
	turn(s);
	assert_int_equal(fake.expired_count, 1);	/* no free slot: asked again */
	fake.expired_slot = 6;
	turn(s);
	assert_int_equal(fake.expired_count, 2);
	assert_int_equal(s->worker->wait_count, 0);
	turn(s);
	assert_int_equal(fake.returned_count, 0);
	hazard(s, 2, 0);
	turn(s);
	assert_int_equal(fake.returned_count, 1);
	assert_int_equal(fake.returned_slot, 6);
}

static void
test_guard_broken_client_dies_slot_returned(void **state)
{
	struct setup *s = *state;
	struct worker_event event = { .type = 0xff };

	hazard(s, 2, tp_guard_key(ID, 1));
	hazard(s, 3, tp_guard_key(ID, 1));
	fake.expired_slot = 6;
	emit_revoke(1);
	turn(s);
	s->now += 1;
	turn(s);
	s->now += 11 * MS;
	turn(s);
	assert_int_equal(s->worker->quarantine_count, 2);
	hazard(s, 3, 0);
	turn(s);
	assert_int_equal(fake.returned_count, 0);	/* one holder left */
	command(s, (struct worker_command){ .type = WORKER_CLIENT_REMOVE, .client = 3 });
	assert_int_equal(fake.returned_count, 1);
	assert_int_equal(fake.gone_count, 1);
	while (node_ring_pop(&s->worker->events, &event))
		;
	assert_int_equal(event.type, WORKER_CLIENT_REMOVED);
}

static void
test_client_dies_its_guards_hold_nothing(void **state)
{
	struct setup *s = *state;

	hazard(s, 2, tp_guard_key(ID, 1));
	submit(s, (struct tp_abi_request){ .op = TP_ABI_READ, .page_index = 3 });
	emit_revoke(1);
	turn(s);
	assert_int_equal(fake.clear_count, 0);
	assert_int_equal(s->worker->in_flight, 1);
	command(s, (struct worker_command){ .type = WORKER_CLIENT_REMOVE, .client = 3 });
	assert_int_equal(fake.clear_count, 1);
	assert_int_equal(s->worker->in_flight, 0);
	assert_int_equal(s->worker->client_count, 0);
}

static void
test_lease_lapsed_grant_held_then_asked_again(void **state)
{
	struct setup *s = *state;

	atomic_store(&s->shared.lease_until_ns, s->now);
	grant(s, 1);
	assert_false(is_answered(s));
	assert_int_equal(s->threads[0].granted[2], 0);
	assert_int_equal(fake.request_count, 1);
	atomic_store(&s->shared.lease_until_ns, s->now + 60 * MS);
	turn(s);
	assert_int_equal(fake.request_count, 2);
	assert_int_equal(fake.request.want, TP_WANT_WRITE);
	assert_int_equal(fake.request.page_index, 1);
}

static void
test_lease_lapsed_then_fenced_held_is_void(void **state)
{
	struct setup *s = *state;
	struct tp_abi_completion answer;

	atomic_store(&s->shared.lease_until_ns, 0);
	grant(s, 1);
	assert_false(is_answered(s));
	command(s, (struct worker_command){ .type = WORKER_SELF_FENCED });
	answer = completion(s);
	assert_int_equal(answer.reason, TP_PARTITION);
	assert_int_equal(answer.effect, TP_EFFECT_NOT_DONE);
	assert_int_equal(fake.fenced_count, 1);
	/* Until the node has a new epoch nothing is taken. */
	submit(s, (struct tp_abi_request){ .op = TP_ABI_NOP });
	turn(s);
	assert_false(is_answered(s));
}

static void
test_drain_takes_no_request_and_is_answered_when_done(void **state)
{
	struct setup *s = *state;
	struct worker_event event;

	while (node_ring_pop(&s->worker->events, &event))
		;
	command(s, (struct worker_command){ .type = WORKER_DRAIN });
	assert_int_equal(fake.drains, 1);
	submit(s, (struct tp_abi_request){ .op = TP_ABI_NOP });
	turn(s);
	assert_false(is_answered(s));
	assert_false(node_ring_pop(&s->worker->events, &event));
	fake.drained = true;
	turn(s);
	turn(s);
	assert_true(node_ring_pop(&s->worker->events, &event));
	assert_int_equal(event.type, WORKER_DRAINED);
	assert_false(node_ring_pop(&s->worker->events, &event));
	assert_false(is_answered(s));
}

/* A session made again in the epoch that is over: the engine would listen again. */
static void
test_peer_up_while_fenced_not_told(void **state)
{
	struct setup *s = *state;

	command(s, (struct worker_command){ .type = WORKER_PEER_SET, .node = 2, .epoch = 1,
		.ip = 0x0a000002, .worker_count = 1 });
	worker_endpoint_ops.peer_up(s->worker, 2, 1);
	assert_int_equal(fake.peer_up_count, 1);
	command(s, (struct worker_command){ .type = WORKER_SELF_FENCED });
	worker_endpoint_ops.peer_down(s->worker, 2, 1, TP_PEER_TIMEOUT);
	worker_endpoint_ops.peer_up(s->worker, 2, 1);
	assert_int_equal(fake.peer_up_count, 1);
}

/* It lives on without knowing, and its session was lost and made again. */
static void
test_peer_up_after_its_fence_not_told_before_its_next_epoch(void **state)
{
	struct setup *s = *state;
	struct worker_command set = { .type = WORKER_PEER_SET, .node = 2, .epoch = 1,
		.ip = 0x0a000002, .worker_count = 1 };

	command(s, set);
	worker_endpoint_ops.peer_up(s->worker, 2, 1);
	assert_int_equal(fake.peer_up_count, 1);
	command(s, (struct worker_command){ .type = WORKER_PEER_FENCED, .node = 2 });
	worker_endpoint_ops.peer_down(s->worker, 2, 1, TP_PEER_RESET);
	worker_endpoint_ops.peer_up(s->worker, 2, 1);
	command(s, set);
	worker_endpoint_ops.peer_up(s->worker, 2, 1);
	assert_int_equal(fake.peer_up_count, 1);
	assert_false(s->worker->peers[2].up);
	set.epoch = 2;
	command(s, set);
	worker_endpoint_ops.peer_up(s->worker, 2, 2);
	assert_int_equal(fake.peer_up_count, 2);
}

static void
test_void_answered_without_a_lease(void **state)
{
	struct setup *s = *state;

	submit(s, (struct tp_abi_request){ .op = TP_ABI_READ, .page_index = 1 });
	turn(s);
	atomic_store(&s->shared.lease_until_ns, 0);
	emit((struct tp_action){ .type = TP_ACTION_COMPLETE, .region_id = ID, .page_index = 1,
		.cookie = fake.request.client.cookie,
		.result = tp_result_unknown(TP_NODE_CRASHED) });
	turn(s);
	assert_int_equal(completion(s).reason, TP_NODE_CRASHED);
}

static void
test_send_to_self_comes_back_as_message(void **state)
{
	struct setup *s = *state;

	emit((struct tp_action){ .type = TP_ACTION_SEND, .node = 1, .slot = TP_SLOT_ABSENT,
		.msg = { .type = TP_MSG_GET_S, .page_index = rte_cpu_to_le_32(9) } });
	turn(s);
	assert_int_equal(fake.message_count, 1);
	assert_int_equal(fake.message_from, 1);
	assert_int_equal(fake.message.type, TP_MSG_GET_S);
	assert_int_equal(rte_le_to_cpu_32(fake.message.page_index), 9);
}

static void
test_atomic_runs_on_slot_and_replies_old_value(void **state)
{
	struct setup *s = *state;
	uint64_t value = 40;

	memcpy(s->slots + 3 * PAGE + 16, &value, sizeof(value));
	emit((struct tp_action){ .type = TP_ACTION_ATOMIC, .node = 1, .slot = 3,
		.msg = { .type = TP_MSG_AMO, .atomic_op = TP_ATOMIC_ADD, .atomic_width = 8,
			.atomic_offset_words = rte_cpu_to_le_16(4),
			.operand = rte_cpu_to_le_64(2) } });
	turn(s);
	memcpy(&value, s->slots + 3 * PAGE + 16, sizeof(value));
	assert_int_equal(value, 42);
	assert_int_equal(fake.message.type, TP_MSG_AMO_RESULT);
	assert_int_equal(rte_le_to_cpu_64(fake.message.operand), 40);
}

/* What a client says of itself counts for nothing: only how many it has sent. */
static void
test_atomic_is_named_by_the_node(void **state)
{
	struct setup *s = *state;

	submit(s, (struct tp_abi_request){ .op = TP_ABI_ATOMIC, .atomic_op = TP_ATOMIC_ADD,
		.width = 8, .guard = 0xff, .sequence = UINT64_MAX - 2 });
	turn(s);
	assert_int_equal(fake.request.atomic.origin, ORIGIN);
	assert_int_equal(fake.request.atomic.sequence, tp_abi_sequence(0, UINT64_MAX - 2));
	submit(s, (struct tp_abi_request){ .op = TP_ABI_ATOMIC, .atomic_op = TP_ATOMIC_ADD,
		.width = 8, .guard = 0xff });
	turn(s);
	assert_int_equal(fake.request.atomic.sequence, 0);
}

static void
test_settle_reaches_engine_and_is_answered(void **state)
{
	struct setup *s = *state;
	struct tp_abi_completion answer;

	submit(s, (struct tp_abi_request){ .op = TP_ABI_SETTLE, .guard = 0xff, .operand = 17,
		.sequence = 18 });
	turn(s);
	assert_int_equal(fake.request.want, TP_WANT_SETTLE);
	assert_int_equal(fake.request.atomic.origin, 17);
	assert_int_equal(fake.request.atomic.sequence, 18);
	emit((struct tp_action){ .type = TP_ACTION_COMPLETE, .region_id = ID, .executed = true,
		.cookie = fake.request.client.cookie, .value = 5 });
	turn(s);
	answer = completion(s);
	assert_int_equal(answer.reason, TP_OK);
	assert_int_equal(answer.flags, TP_COMPLETION_EXECUTED);
	assert_int_equal(answer.value, 5);
	/* One that is refused has told nothing of the atomic. */
	submit(s, (struct tp_abi_request){ .op = TP_ABI_SETTLE, .guard = 0xff, .sequence = 18,
		.generation = GENERATION + 1 });
	turn(s);
	answer = completion(s);
	assert_int_equal(answer.reason, TP_GENERATION);
	assert_int_equal(answer.effect, TP_EFFECT_UNKNOWN);
}

/* Kept by one action, sent by the next one of the same turn. */
static void
test_atomic_result_is_kept_and_sent_from_there(void **state)
{
	struct setup *s = *state;
	uint64_t kept = 0, value = 40;

	memcpy(s->slots + 3 * PAGE, &value, sizeof(value));
	emit((struct tp_action){ .type = TP_ACTION_ATOMIC, .node = 1, .slot = 3, .kept = &kept,
		.msg = { .type = TP_MSG_AMO, .atomic_op = TP_ATOMIC_ADD, .atomic_width = 8,
			.operand = rte_cpu_to_le_64(2) } });
	emit((struct tp_action){ .type = TP_ACTION_SEND, .node = 1, .slot = TP_SLOT_ABSENT,
		.kept = &kept, .msg = { .type = TP_MSG_SETTLE_RESULT } });
	turn(s);
	assert_int_equal(kept, 40);
	assert_int_equal(fake.message.type, TP_MSG_SETTLE_RESULT);
	assert_int_equal(rte_le_to_cpu_64(fake.message.operand), 40);
}

static void
test_send_unknown_node_dropped(void **state)
{
	struct setup *s = *state;

	emit((struct tp_action){ .type = TP_ACTION_SEND, .node = 5, .slot = TP_SLOT_ABSENT,
		.msg = { .type = TP_MSG_INV } });
	emit((struct tp_action){ .type = TP_ACTION_SEND, .node = 9999, .slot = TP_SLOT_ABSENT,
		.msg = { .type = TP_MSG_INV } });
	turn(s);
	assert_int_equal(s->worker->stats.messages_dropped, 2);
	assert_true(worker_stash_is_empty(s->worker));
}

static void
send(struct setup *s, uint16_t node, enum tp_coherence_msg_type type, uint32_t txn, uint32_t slot)
{
	emit((struct tp_action){ .type = TP_ACTION_SEND, .node = node, .slot = slot,
		.msg = { .type = (uint8_t)type, .txn = rte_cpu_to_le_32(txn),
			.region_id = rte_cpu_to_le_32(ID) } });
}

static uint32_t
stashed(const struct setup *s)
{
	struct tp_worker_usage usage;

	tp_worker_usage_get(s->worker, &usage);
	return usage.stashed;
}

static const struct worker_message *
stash_first(const struct setup *s, uint16_t node, enum tp_class class)
{
	uint32_t first = s->worker->peers[node].stash[class].first;

	return first == 0 ? NULL : &s->worker->stash.items[first - 1];
}

static uint64_t
sends_refused(const struct setup *s)
{
	return tp_endpoint_counters(s->worker->endpoint)[TP_ENDPOINT_COUNTER_sends_refused];
}

static void
peers_set(struct setup *s)
{
	struct worker_command set = { .type = WORKER_PEER_SET, .epoch = 1, .worker_count = 1 };

	for (set.node = 2; set.node <= 3; set.node++) {
		set.ip = 0x0a000000u + set.node;
		command(s, set);
	}
}

/* Peers that have not answered: what goes to them waits, each in its order, and clients go on. */
static void
test_send_refused_waits_by_peer_and_requests_go_on(void **state)
{
	struct setup *s = *state;
	uint64_t refused;

	peers_set(s);
	send(s, 2, TP_MSG_INV_ACK, 1, TP_SLOT_ABSENT);
	send(s, 2, TP_MSG_INV_ACK, 2, TP_SLOT_ABSENT);
	send(s, 2, TP_MSG_GET_S, 3, TP_SLOT_ABSENT);
	send(s, 3, TP_MSG_INV_ACK, 4, TP_SLOT_ABSENT);
	turn(s);
	assert_int_equal(stashed(s), 4);
	assert_int_equal(rte_le_to_cpu_32(stash_first(s, 2, TP_CLASS_RESPONSE)->msg.txn), 1);
	assert_int_equal(rte_le_to_cpu_32(stash_first(s, 2, TP_CLASS_REQUEST)->msg.txn), 3);
	assert_int_equal(rte_le_to_cpu_32(stash_first(s, 3, TP_CLASS_RESPONSE)->msg.txn), 4);
	/* The first of each peer and class is offered again, and nothing behind it. */
	refused = sends_refused(s);
	turn(s);
	assert_int_equal(sends_refused(s) - refused, 3);
	submit(s, (struct tp_abi_request){ .op = TP_ABI_READ });
	turn(s);
	assert_int_equal(fake.request_count, 1);
	/* One peer goes: what waits for the other stays. */
	command(s, (struct worker_command){ .type = WORKER_PEER_REMOVE, .node = 2 });
	turn(s);
	assert_int_equal(stashed(s), 1);
	assert_int_equal(rte_le_to_cpu_32(stash_first(s, 3, TP_CLASS_RESPONSE)->msg.txn), 4);
	command(s, (struct worker_command){ .type = WORKER_PEER_REMOVE, .node = 3 });
	turn(s);
	assert_true(worker_stash_is_empty(s->worker));
}

static void
fetch(struct setup *s, uint8_t access, uint8_t count)
{
	struct tp_abi_request request = { .op = TP_ABI_FETCH, .atomic_op = access,
		.width = count, .guard = 0xff, .page_index = 4,
		.region_id = ID, .generation = GENERATION };
	static const uint32_t pages[] = { 4, 9, 2, 7 };
	struct tp_abi_ring *r = ring(s);
	uint32_t head = atomic_load(&r->request_head);

	memcpy(request.pages, pages, sizeof(pages));
	r->requests[head % TP_ABI_RING_ENTRIES] = request;
	atomic_store(&r->request_head, head + 1);
	turn(s);
}

/* Pages that are wanted together leave in one message; nobody waits for them. */
static void
test_fetch_leaves_as_one_message(void **state)
{
	struct setup *s = *state;
	const struct worker_message *message;
	struct tp_coherence_item items[3];

	peers_set(s);
	fetch(s, TP_ACCESS_READ, 4);
	assert_int_equal(fake.fetch_count, 4);
	assert_int_equal(fake.fetched[2], 2);
	assert_int_equal(fake.fetch_want, TP_WANT_READ);
	assert_int_equal(completion(s).reason, TP_OK);
	assert_int_equal(stashed(s), 1);
	assert_int_equal(s->worker->stats.batches_out, 1);
	message = stash_first(s, 2, TP_CLASS_REQUEST);
	assert_int_equal(rte_le_to_cpu_32(message->msg.page_index), 4);
	assert_int_equal(message->payload_bytes, sizeof(items));
	memcpy(items, s->worker->stash.payloads + (size_t)message->slot * PAGE, sizeof(items));
	assert_int_equal(rte_le_to_cpu_32(items[1].page_index), 2);
	assert_int_equal(rte_le_to_cpu_32(items[1].txn), 102);
	/* One page alone is a message as ever. */
	fetch(s, TP_ACCESS_WRITE, 1);
	assert_int_equal(fake.fetch_want, TP_WANT_WRITE);
	assert_int_equal(stashed(s), 2);
	assert_int_equal(s->worker->stats.batches_out, 1);
}

static void
test_fetch_invalid_refused(void **state)
{
	struct setup *s = *state;
	static const struct {
		uint8_t access, count;
	} wrong[] = { { TP_ACCESS_READ, 0 }, { TP_ACCESS_READ, TP_ABI_FETCH_MAX + 1 },
		{ TP_ACCESS_NONE, 1 }, { 2, 1 } };
	uint32_t i;

	for (i = 0; i < RTE_DIM(wrong); i++) {
		fetch(s, wrong[i].access, wrong[i].count);
		assert_int_equal(completion(s).reason, TP_INVALID);
	}
	assert_int_equal(fake.fetch_count, 0);
}

static void
batch_in(struct setup *s, uint32_t bytes, uint8_t type)
{
	uint8_t data[sizeof(struct tp_coherence_msg) + 8 * TP_BATCH_PAGES] = { 0 };
	struct tp_message_piece piece = { .data = data,
		.length = (uint32_t)sizeof(struct tp_coherence_msg) + bytes };
	struct tp_message message = { .src_node = 2, .class = TP_CLASS_REQUEST,
		.piece_count = 1, .length = piece.length, .token = 55, .pieces = &piece };
	struct tp_coherence_msg msg = { .type = type, .page_index = rte_cpu_to_le_32(3),
		.txn = rte_cpu_to_le_32(30) };
	struct tp_coherence_item item;
	uint32_t i;

	memcpy(data, &msg, sizeof(msg));
	for (i = 0; i < bytes / 8; i++) {
		item.page_index = rte_cpu_to_le_32(i + 4);
		item.txn = rte_cpu_to_le_32(i + 40);
		memcpy(data + sizeof(msg) + 8 * i, &item, sizeof(item));
	}
	worker_endpoint_ops.message(s->worker, &message);
}

/* Each page is an event of its own; the credit is one, and comes back with the last. */
static void
test_batch_pages_one_by_one_credit_with_the_last(void **state)
{
	struct setup *s = *state;
	struct tp_action done = { .type = TP_ACTION_REQUEST_DONE };
	uint32_t first = s->worker->batch_free;
	uint32_t i;

	peers_set(s);
	batch_in(s, 16, TP_MSG_GET_S);
	assert_int_equal(fake.message_count, 0);
	turn(s);
	assert_int_equal(fake.message_count, 3);
	assert_int_equal(fake.message_pages[0], 3);
	assert_int_equal(fake.message_pages[2], 5);
	assert_int_equal(fake.message_txns[0], 30);
	assert_int_equal(fake.message_txns[2], 41);
	done.token = fake.message_token;
	for (i = 0; i < 3; i++) {
		assert_int_equal(s->worker->batches[first - 1].left, 3 - i);
		assert_int_not_equal(s->worker->batch_free, first);
		emit(done);
		turn(s);
	}
	assert_int_equal(s->worker->batch_free, first);
}

/* So many a turn, in the order they came; a session that is lost takes the rest with it. */
static void
test_batch_some_pages_a_turn_until_the_session_is_lost(void **state)
{
	struct setup *s = *state;
	uint32_t first = s->worker->batch_free;

	peers_set(s);
	batch_in(s, 8 * 19, TP_MSG_GET_S);
	batch_in(s, 8, TP_MSG_GET_S);
	assert_true(tp_worker_next_timer(s->worker) <= s->now);
	turn(s);
	assert_int_equal(fake.message_count, WORKER_BATCH_PAGES_PER_TURN);
	turn(s);
	turn(s);
	assert_int_equal(fake.message_count, 22);
	assert_int_equal(fake.message_pages[19], 22);
	assert_int_equal(fake.message_pages[20], 3);
	turn(s);
	assert_int_equal(fake.message_count, 22);
	batch_in(s, 8 * 19, TP_MSG_GET_S);
	turn(s);
	assert_int_equal(fake.message_count, 22 + WORKER_BATCH_PAGES_PER_TURN);
	s->worker->peers[2].up = true;
	command(s, (struct worker_command){ .type = WORKER_PEER_REMOVE, .node = 2 });
	assert_in_range(fake.message_count, 30, 38);
	fake.message_count = 0;
	turn(s);
	assert_int_equal(fake.message_count, 0);
	assert_int_equal(s->worker->batch_waiting.first, 0);
	/* Those that were handed over are still to be answered. */
	assert_int_not_equal(s->worker->batch_free, first);
}

static void
test_batch_malformed_is_counted(void **state)
{
	struct setup *s = *state;

	peers_set(s);
	batch_in(s, 12, TP_MSG_GET_S);
	batch_in(s, 8 * TP_BATCH_PAGES, TP_MSG_GET_M);
	assert_int_equal(fake.message_count, 0);
	assert_int_equal(s->worker->stats.messages_bad, 2);
}

/* What comes with a page has a shorter header; one that is cut short is none. */
static void
test_message_with_page_has_short_header(void **state)
{
	struct setup *s = *state;
	uint8_t data[TP_MSG_PAGE_HEADER + PAGE];
	struct tp_message_piece piece = { .data = data, .length = sizeof(data) };
	struct tp_message message = { .src_node = 2, .class = TP_CLASS_RESPONSE,
		.piece_count = 1, .length = sizeof(data), .pieces = &piece };
	struct tp_coherence_msg msg = { .type = TP_MSG_DATA_S, .sequence = rte_cpu_to_le_64(9) };
	uint8_t *slot = s->slots + 5 * PAGE;

	peers_set(s);
	memset(data, 0x5c, sizeof(data));
	memcpy(data, &msg, TP_MSG_PAGE_HEADER);
	emit((struct tp_action){ .type = TP_ACTION_COPY_IN, .slot = 5 });
	worker_endpoint_ops.message(s->worker, &message);
	assert_memory_equal(&fake.message, &msg, sizeof(msg));
	assert_true(slot[0] == 0x5c && slot[PAGE - 1] == 0x5c);
	assert_true(slot[PAGE] == 0 && slot[-1] == 0);
	piece.length = message.length = TP_MSG_PAGE_HEADER - 1;
	worker_endpoint_ops.message(s->worker, &message);
	assert_int_equal(fake.message_count, 1);
	assert_int_equal(s->worker->stats.messages_bad, 1);
}

/* The page may have given up its slot by then. */
static void
test_send_refused_carries_the_contents_of_its_time(void **state)
{
	struct setup *s = *state;
	const struct worker_message *message;

	peers_set(s);
	memset(s->slots + 3 * PAGE, 0x5a, PAGE);
	send(s, 2, TP_MSG_WB, 1, 3);
	turn(s);
	memset(s->slots + 3 * PAGE, 0, PAGE);
	message = stash_first(s, 2, TP_CLASS_RESPONSE);
	assert_int_equal(message->payload_bytes, PAGE);
	assert_int_equal(s->worker->stash.payloads[message->slot * PAGE], 0x5a);
	assert_int_equal(s->worker->stash.payloads[message->slot * PAGE + PAGE - 1], 0x5a);
}

/*
 * More than there is room for: clients wait as long as it all fits, then one is lost
 * and with it the session, for a session delivers all or ends.
 */
static void
test_send_refused_stash_full_the_session_ends(void **state)
{
	struct setup *s = *state;
	uint32_t downs, i;

	peers_set(s);
	for (i = 0; i < 4096; i++) {
		send(s, 2, TP_MSG_INV, i, TP_SLOT_ABSENT);
		turn(s);
	}
	assert_int_equal(stashed(s), 4096);
	assert_int_equal(s->worker->stats.messages_overflow, 0);
	submit(s, (struct tp_abi_request){ .op = TP_ABI_READ });
	turn(s);
	assert_int_equal(fake.request_count, 0);
	/* Another class has its own room. */
	send(s, 2, TP_MSG_INV_ACK, 0, TP_SLOT_ABSENT);
	turn(s);
	assert_int_equal(stashed(s), 4097);
	downs = fake.peer_down_count;
	send(s, 2, TP_MSG_INV, i, TP_SLOT_ABSENT);
	turn(s);
	assert_int_equal(s->worker->stats.messages_overflow, 1);
	assert_int_equal(fake.peer_down_count, downs + 1);
	assert_int_equal(stashed(s), 0);
	turn(s);
	assert_int_equal(fake.request_count, 1);
	assert_int_equal(fake.peer_down_count, downs + 1);
}

/* No frames for anybody: whoever is asked refuses, so nobody is asked more. */
static void
test_send_no_frames_requests_stop_until_there_are(void **state)
{
	struct setup *s = *state;

	s->worker->stash.frames_short = true;
	submit(s, (struct tp_abi_request){ .op = TP_ABI_READ });
	assert_false(worker_stash_has_room(s->worker));
	/* The next turn tries again. */
	turn(s);
	assert_int_equal(fake.request_count, 1);
}

static void
test_region_removed_requests_refused_until_gone(void **state)
{
	struct setup *s = *state;
	struct worker_event event = { .type = 0xff };

	command(s, (struct worker_command){ .type = WORKER_REGION_REMOVE, .region_id = ID });
	submit(s, (struct tp_abi_request){ .op = TP_ABI_READ });
	turn(s);
	assert_int_equal(completion(s).reason, TP_GENERATION);
	fake.region_gone = true;
	turn(s);
	while (node_ring_pop(&s->worker->events, &event))
		;
	assert_int_equal(event.type, WORKER_REGION_REMOVED);
	assert_null(worker_region_find(s->worker, ID));
}

static void
test_regions_many_added_and_removed_stay_found(void **state)
{
	static struct tp_region many[1000];
	struct setup *s = *state;
	struct worker_event event;
	uint32_t i;

	fake.region_gone = true;
	/* Ids that collide in the hash. */
	for (i = 0; i < RTE_DIM(many); i++) {
		many[i] = s->region;
		many[i].id = 10 + i % 10 + i / 10 * WORKER_REGIONS;
		command(s, (struct worker_command){ .type = WORKER_REGION_ADD, .region = &many[i],
			.client = -1, .words = s->words });
	}
	for (i = 0; i < RTE_DIM(many); i += 3)
		command(s, (struct worker_command){ .type = WORKER_REGION_REMOVE,
			.region_id = many[i].id });
	turn(s);
	for (i = 0; i < RTE_DIM(many); i++) {
		struct worker_region *found = worker_region_find(s->worker, many[i].id);

		assert_int_equal(found == NULL, i % 3 == 0);
		assert_true(found == NULL || found->region == &many[i]);
	}
	while (node_ring_pop(&s->worker->events, &event))
		;
}

/* A client writes anything anywhere: nothing but its own answers suffers. */
static void
test_client_segment_random_bytes_do_no_harm(void **state)
{
	struct setup *s = *state;
	size_t bytes = tp_abi_client_bytes(THREADS);
	uint64_t seed = 7;
	struct worker_event event;
	uint32_t i;
	uint32_t k;

	for (i = 0; i < 20000; i++) {
		for (k = 0; k < 20; k++) {
			seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
			((uint8_t *)s->client)[(seed >> 20) % bytes] =
				(seed >> 15) % 3 == 0 ? 0xff : (uint8_t)(seed >> 50);
		}
		/* Now and then indexes that make sense, so that entries are read. */
		atomic_store(&s->client->threads[0].active, 1);
		atomic_store(&ring(s)->request_head, s->threads[0].request_tail + 3);
		atomic_store(&ring(s)->completion_tail, s->threads[0].completion_head);
		s->worker->clients[3].bad = false;
		if (i % 8 == 0)
			emit_revoke(i % PAGES);
		else if (i % 8 == 4)
			emit_publish(i % PAGES, i % SLOTS);
		if (fake.request_count != 0) {
			fake.request_count = 0;
			emit((struct tp_action){ .type = TP_ACTION_COMPLETE, .region_id = ID,
				.page_index = fake.request.page_index, .slot = 1,
				.access = TP_ACCESS_READ, .cookie = fake.request.client.cookie,
				.result = tp_result_ok(0) });
			fake.request.client.cookie = 0;
		}
		fake.expired_slot = i % SLOTS;
		s->now += MS / 2;
		turn(s);
		while (node_ring_pop(&s->worker->events, &event))
			;
	}
	assert_true(s->worker->stats.requests > 1000);
	assert_true(s->worker->stats.requests_refused > 1000);
}

int
main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup_make, setup_free)
	const struct CMUnitTest tests[] = {
		CASE(test_request_valid_reaches_engine_and_is_answered),
		CASE(test_request_invalid_refused),
		CASE(test_request_read_only_region_only_creator_writes),
		CASE(test_ring_indexes_spoilt_client_reported),
		CASE(test_ring_answers_unread_takes_no_more_than_fit),
		CASE(test_publish_word_has_slot_access_and_new_sequence),
		CASE(test_revoke_nobody_there_clear_in_same_turn),
		CASE(test_revoke_guarded_waits_until_cleared),
		CASE(test_revoke_waiting_not_granted_is_no_guard),
		CASE(test_revoke_waiting_granted_is_a_guard),
		CASE(test_grant_ends_when_slot_is_announced_again),
		CASE(test_grant_slot_not_announced_gives_no_access),
		CASE(test_guard_overdue_broken_slot_rests_until_cleared),
		CASE(test_guard_broken_client_dies_slot_returned),
		CASE(test_client_dies_its_guards_hold_nothing),
		CASE(test_lease_lapsed_grant_held_then_asked_again),
		CASE(test_lease_lapsed_then_fenced_held_is_void),
		CASE(test_drain_takes_no_request_and_is_answered_when_done),
		CASE(test_peer_up_while_fenced_not_told),
		CASE(test_peer_up_after_its_fence_not_told_before_its_next_epoch),
		CASE(test_void_answered_without_a_lease),
		CASE(test_send_to_self_comes_back_as_message),
		CASE(test_atomic_runs_on_slot_and_replies_old_value),
		CASE(test_atomic_is_named_by_the_node),
		CASE(test_settle_reaches_engine_and_is_answered),
		CASE(test_atomic_result_is_kept_and_sent_from_there),
		CASE(test_send_unknown_node_dropped),
		CASE(test_send_refused_waits_by_peer_and_requests_go_on),
		CASE(test_fetch_leaves_as_one_message),
		CASE(test_fetch_invalid_refused),
		CASE(test_batch_pages_one_by_one_credit_with_the_last),
		CASE(test_batch_some_pages_a_turn_until_the_session_is_lost),
		CASE(test_batch_malformed_is_counted),
		CASE(test_message_with_page_has_short_header),
		CASE(test_send_refused_carries_the_contents_of_its_time),
		CASE(test_send_refused_stash_full_the_session_ends),
		CASE(test_send_no_frames_requests_stop_until_there_are),
		CASE(test_region_removed_requests_refused_until_gone),
		CASE(test_regions_many_added_and_removed_stay_found),
		CASE(test_client_segment_random_bytes_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
