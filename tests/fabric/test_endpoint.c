/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_errno.h>

#include "sim_cluster.h"

static const struct sim_faults calm = { .delay_ns = 2000 };

/* Remembers the last message whole. */
struct inbox {
	uint8_t bytes[TP_WIRE_MESSAGE_MAX];
	struct tp_message last;
	uint64_t token;
};

static void
inbox_message(struct sim_node *node, const struct tp_message *message)
{
	struct inbox *inbox = node->cluster->test;

	inbox->last = *message;
	inbox->token = message->token;
	assert_int_equal(tp_message_copy(message, 0, inbox->bytes, sizeof(inbox->bytes)),
		message->length);
}

static void
test_endpoint_message_of_every_size_arrives_whole(void **state)
{
	static const uint32_t sizes[] = { 0, 1, 64, 1383, 1384, 1385, 4096, 4160, 9000, 65535,
		65536 };
	static const uint16_t mtus[] = { 1500, 1501, 4200, 9000 };
	static uint8_t data[TP_WIRE_MESSAGE_MAX];
	struct inbox *inbox = malloc(sizeof(*inbox));
	struct sim_cluster c;
	uint32_t i;
	uint32_t m;

	(void)state;
	for (i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + i / 256);
	for (m = 0; m < 4; m++) {
		sim_cluster_init(&c, 2, 1, &calm, NULL, mtus[m]);
		c.test = inbox;
		c.message = inbox_message;
		sim_cluster_connect(&c);
		for (i = 0; i < 11; i++) {
			memset(inbox, 0xee, sizeof(*inbox));
			assert_int_equal(sim_send(&c.nodes[0], &c.nodes[1], TP_CLASS_RESPONSE,
				data, sizes[i]), 0);
			sim_cluster_run(&c, 5 * SIM_MS);
			assert_int_equal(c.nodes[1].messages, i + 1);
			assert_int_equal(inbox->last.length, sizes[i]);
			assert_int_equal(inbox->last.src_node, 1);
			assert_int_equal(inbox->last.class, TP_CLASS_RESPONSE);
			assert_memory_equal(inbox->bytes, data, sizes[i]);
		}
		sim_cluster_fini(&c);
	}
	free(inbox);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_endpoint_message_of_every_size_arrives_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
