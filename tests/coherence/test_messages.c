/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Anything may come from the wire: random and mutated messages into engines.
 * Nothing breaks, every credit comes back, and what is malformed is counted.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <rte_byteorder.h>

#include "net.h"

#define PAGES 4

static struct tp_action actions[TP_ACTIONS_PER_EVENT];
static struct tp_outbox outbox = { .actions = actions, .capacity = TP_ACTIONS_PER_EVENT };

static bool
is_request(uint8_t type)
{
	return (type >= 1 && type <= TP_MSG_AMO) || type == TP_MSG_SETTLE ||
		type == TP_MSG_PERSIST;
}

static uint32_t
tokens_done(void)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < outbox.count; i++)
		count += actions[i].type == TP_ACTION_REQUEST_DONE;
	return count;
}

static void
message_make(struct net *net, struct tp_coherence_msg *msg, uint16_t from)
{
	static const uint8_t flags[] = { 0, 0, 0, 0x04, 0x24, 0x08, 0x10, 0x01, 0x40, 0x41, 0x80 };

	*msg = (struct tp_coherence_msg){
		.type = (uint8_t)(1 + net_random(net) % (TP_MSG_COUNT - 1)),
		.flags = flags[net_random(net) % sizeof(flags)],
		.reason = (uint8_t)(net_random(net) % TP_REASON_COUNT),
		.atomic_op = TP_ATOMIC_ADD,
		.atomic_width = 8,
		.requester = rte_cpu_to_le_16(net_random(net) % 4 != 0 ? from :
			(uint16_t)(net_random(net) % 3)),
		.txn = rte_cpu_to_le_32((uint32_t)net_random(net)),
		.region_id = rte_cpu_to_le_32(NET_REGION_ID),
		.page_index = rte_cpu_to_le_32((uint32_t)(net_random(net) % PAGES)),
		.generation = rte_cpu_to_le_64(net->region.generation),
		.sequence = rte_cpu_to_le_64(net_random(net) % 16),
	};
	if (net_random(net) % 16 == 0)
		((uint8_t *)msg)[net_random(net) % sizeof(*msg)] ^= (uint8_t)net_random(net);
}

/* A client asks now and then, so that every state is met. */
static void
client_ask(struct net *net, struct tp_coherence *engine)
{
	struct tp_coherence_client client = { .cookie = 0, .deadline = net->now + 1000 };

	tp_coherence_request(engine, NET_REGION_ID, (uint32_t)(net_random(net) % PAGES),
		net->region.generation, net_random(net) % 2 ? TP_WANT_READ : TP_WANT_WRITE, NULL,
		&client, net->now, &outbox);
	outbox.count = 0;
}

static void
test_message_random_never_breaks(void **state)
{
	const char *text = getenv("MESSAGES");
	uint64_t count = text != NULL ? strtoull(text, NULL, 0) : 200000;
	struct net_config config = { .nodes = 3, .pages = PAGES, .home_count = 2, .seed = 5 };
	struct net *net = net_create(&config);
	uint64_t accepted = 0, returned = 0;

	for (uint64_t i = 0; i < count; i++) {
		struct tp_coherence *engine = net->node[net_random(net) % 3].engine;
		uint16_t from = (uint16_t)(net_random(net) % 4);
		struct tp_coherence_msg msg;

		net->now += 10;
		message_make(net, &msg, from);
		tp_coherence_message_hint(engine, &msg);
		tp_coherence_request_hint(engine, (uint32_t)net_random(net) % 9,
			(uint32_t)net_random(net) % 8);
		tp_coherence_message(engine, from, 0, &msg, net_random(net) % 2 ? 4096 : 0, i,
			net->now, &outbox);
		accepted += is_request(msg.type);
		returned += tokens_done();
		outbox.count = 0;
		tp_coherence_guards_clear(engine, NET_REGION_ID,
			(uint32_t)(net_random(net) % PAGES), net->now, &outbox);
		outbox.count = 0;
		if (net_random(net) % 8 == 0)
			client_ask(net, engine);
		while (tp_coherence_poll(engine, net->now, &outbox) != 0) {
			returned += tokens_done();
			outbox.count = 0;
		}
		assert_true(returned <= accepted);
	}
	/* What is not back is held by a transaction or waits behind one. */
	for (uint16_t n = 0; n < 3; n++) {
		struct tp_coherence_usage usage;

		tp_coherence_usage_get(net->node[n].engine, &usage);
		returned += usage.deferred + usage.busy;
	}
	assert_true(returned >= accepted);
	assert_true(tp_coherence_stats_get(net->node[0].engine)->bad_messages > 0);
	net_destroy(net);
}

static void
bad(struct net *net, uint16_t from, const struct tp_coherence_msg *msg, uint32_t payload)
{
	struct tp_coherence *engine = net->node[0].engine;
	uint64_t before = tp_coherence_stats_get(engine)->bad_messages;

	outbox.count = 0;
	tp_coherence_message(engine, from, 0, msg, payload, 1, net->now, &outbox);
	assert_int_equal(tp_coherence_stats_get(engine)->bad_messages, before + 1);
	assert_int_equal(tokens_done(), is_request(msg->type));
	outbox.count = 0;
}

static void
test_message_malformed_is_counted(void **state)
{
	struct net_config config = { .nodes = 2, .pages = 2, .home_count = 1 };
	struct net *net = net_create(&config);
	const struct tp_coherence_msg good = {
		.type = TP_MSG_GET_S,
		.requester = rte_cpu_to_le_16(1),
		.region_id = rte_cpu_to_le_32(NET_REGION_ID),
		.generation = rte_cpu_to_le_64(net->region.generation),
	};
	struct tp_coherence_msg msg;

#define BAD(field, value)		\
	msg = good;			\
	msg.field = (value);		\
	bad(net, 1, &msg, 0)
	BAD(flags, TP_MSG_F_ZERO);
	BAD(flags, TP_MSG_F_PROBE);
	BAD(flags, TP_MSG_F_IN_PLACE);
	BAD(effect, 1);
	BAD(identity, 1);
	BAD(requester, 0);
	BAD(requester, rte_cpu_to_le_16(9));
	BAD(requester_worker, rte_cpu_to_le_16(1));
	BAD(page_index, rte_cpu_to_le_32(2));
	BAD(type, TP_MSG_INV);
	BAD(type, TP_MSG_AMO);
	BAD(type, TP_MSG_NACK);
	BAD(type, TP_MSG_SETTLE);	/* without an id */
	msg = good;
	bad(net, 1, &msg, 4096);
	bad(net, 9, &msg, 0);
	msg.type = TP_MSG_PUT_M;
	bad(net, 1, &msg, 0);
	net_destroy(net);
}

static void
test_message_other_generation_is_refused(void **state)
{
	struct net_config config = { .nodes = 2, .pages = 2, .home_count = 1 };
	struct net *net = net_create(&config);
	struct tp_coherence_msg msg = {
		.type = TP_MSG_GET_S,
		.requester = rte_cpu_to_le_16(1),
		.txn = rte_cpu_to_le_32(77),
		.region_id = rte_cpu_to_le_32(NET_REGION_ID),
		.generation = rte_cpu_to_le_64(net->region.generation + 1),
	};

	outbox.count = 0;
	tp_coherence_message(net->node[0].engine, 1, 0, &msg, 0, 5, net->now, &outbox);
	assert_int_equal(outbox.count, 2);
	assert_int_equal(actions[0].type, TP_ACTION_SEND);
	assert_int_equal(actions[0].msg.type, TP_MSG_NACK);
	assert_int_equal(actions[0].msg.reason, TP_GENERATION);
	assert_int_equal(rte_le_to_cpu_32(actions[0].msg.txn), 77);
	assert_int_equal(actions[1].type, TP_ACTION_REQUEST_DONE);
	assert_int_equal(actions[1].token, 5);
	outbox.count = 0;
	net_destroy(net);
}

struct hints {
	uint32_t count;
	uint32_t slot;
	uint32_t offset;
	uint32_t bytes;
};

static void
slot_hint(void *ctx, uint32_t slot, uint32_t offset, uint32_t bytes, bool later)
{
	struct hints *hints = ctx;

	if (!later)
		*hints = (struct hints){ hints->count + 1, slot, offset, bytes };
}

static void
test_message_hint_atomic_asks_for_its_word(void **state)
{
	struct hints hints = { 0 };
	struct net_config config = { .nodes = 2, .pages = 2, .home_count = 1,
		.slot_hint = slot_hint, .slot_hint_ctx = &hints };
	struct net *net = net_create(&config);
	struct tp_coherence_msg msg = {
		.type = TP_MSG_AMO,
		.atomic_offset_words = rte_cpu_to_le_16(6),
		.region_id = rte_cpu_to_le_32(NET_REGION_ID),
		.page_index = rte_cpu_to_le_32(1),
	};

	/* No memory yet: nothing to ask for. */
	tp_coherence_message_hint(net->node[0].engine, &msg);
	assert_int_equal(hints.count, 0);
	net_write(net, 0, 1);
	net_run(net);
	hints.count = 0;
	tp_coherence_message_hint(net->node[0].engine, &msg);
	assert_int_equal(hints.count, 1);
	assert_int_equal(hints.offset, 24);
	assert_int_equal(hints.bytes, 8);
	/* Not the home; no such page, region or word. */
	tp_coherence_message_hint(net->node[1].engine, &msg);
	msg.page_index = rte_cpu_to_le_32(2);
	tp_coherence_message_hint(net->node[0].engine, &msg);
	msg.page_index = rte_cpu_to_le_32(1);
	msg.region_id = rte_cpu_to_le_32(NET_REGION_ID + 1);
	tp_coherence_message_hint(net->node[0].engine, &msg);
	msg.region_id = rte_cpu_to_le_32(NET_REGION_ID);
	msg.atomic_offset_words = rte_cpu_to_le_16(1024);
	tp_coherence_message_hint(net->node[0].engine, &msg);
	assert_int_equal(hints.count, 1);
	net_destroy(net);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_message_random_never_breaks),
		cmocka_unit_test(test_message_malformed_is_counted),
		cmocka_unit_test(test_message_other_generation_is_refused),
		cmocka_unit_test(test_message_hint_atomic_asks_for_its_word),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
