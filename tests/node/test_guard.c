/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Words, guards and grants: who may still be at a slot, and until when.
 */
#include "worker_setup.h"

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

int
main(void)
{
	const struct CMUnitTest tests[] = {
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
