/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A worker's turn: requests of clients, the lease, regions, fencing.
 */
#include "worker_setup.h"

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
	assert_int_equal(atomic_load(&ring(s)->completion_head), 1);
	/* What may keep another program's atomic from being run is no read. */
	submit(s, (struct tp_abi_request){ .op = TP_ABI_SETTLE, .guard = 0xff, .operand = 17,
		.sequence = 18 });
	turn(s);
	assert_int_equal(completion(s).reason, TP_PERMISSION);
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

/* What others give back while it drains comes behind the sweep that began with it. */
static void
test_drain_with_pool_persists_once_more_at_its_end(void **state)
{
	struct setup *s = *state;
	struct worker_event event;
	char keeper;

	while (node_ring_pop(&s->worker->events, &event))
		;
	/* No page is handed over, so it is not looked at. */
	s->worker->config.keeper = (struct keeper_port *)(void *)&keeper;
	command(s, (struct worker_command){ .type = WORKER_DRAIN });
	assert_int_equal(fake.persist_alls, 1);
	fake.drained = true;
	turn(s);
	turn(s);
	turn(s);
	assert_int_equal(fake.persist_alls, 2);
	assert_true(node_ring_pop(&s->worker->events, &event));
	assert_int_equal(event.type, WORKER_DRAINED);
	assert_false(node_ring_pop(&s->worker->events, &event));
	s->worker->config.keeper = NULL;
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
	const struct CMUnitTest tests[] = {
		CASE(test_request_valid_reaches_engine_and_is_answered),
		CASE(test_request_invalid_refused),
		CASE(test_request_read_only_region_only_creator_writes),
		CASE(test_ring_indexes_spoilt_client_reported),
		CASE(test_ring_answers_unread_takes_no_more_than_fit),
		CASE(test_lease_lapsed_grant_held_then_asked_again),
		CASE(test_lease_lapsed_then_fenced_held_is_void),
		CASE(test_drain_takes_no_request_and_is_answered_when_done),
		CASE(test_drain_with_pool_persists_once_more_at_its_end),
		CASE(test_peer_up_while_fenced_not_told),
		CASE(test_peer_up_after_its_fence_not_told_before_its_next_epoch),
		CASE(test_void_answered_without_a_lease),
		CASE(test_region_removed_requests_refused_until_gone),
		CASE(test_regions_many_added_and_removed_stay_found),
		CASE(test_client_segment_random_bytes_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
