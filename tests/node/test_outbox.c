/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What the engine decided on its way out: messages, atomics, batches, and those that
 * were refused and wait.
 */
#include "worker_setup.h"

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
	/* There is no such node: nobody could know. */
	submit(s, (struct tp_abi_request){ .op = TP_ABI_SETTLE, .guard = 0xff, .sequence = 18,
		.operand = 9ull << 48 | 17 });
	turn(s);
	answer = completion(s);
	assert_int_equal(answer.reason, TP_INVALID);
	assert_int_equal(answer.effect, TP_EFFECT_UNKNOWN);
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

int
main(void)
{
	const struct CMUnitTest tests[] = {
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
