/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Region handles, control requests, attaching to a backend: also with nonsense.
 */
#include <unistd.h>

#include "fixture.h"

static void
test_region_opened_twice_same_handle(void **state)
{
	struct fixture *f = *state;
	struct tp_client_region *again, *at;
	uint64_t offset, start, value;

	assert_int_equal(tp_client_region_open(f->client, "test", &again), 0);
	assert_ptr_equal(again, f->region);
	assert_int_equal(tp_client_region_open_at(f->client, FAKE_REGION_ADDRESS + 4097, &at,
						  &offset), 0);
	assert_ptr_equal(at, f->region);
	assert_int_equal(offset, 4097);
	tp_client_region_close(again);
	tp_client_region_close(at);
	assert_int_equal(tp_client_range_open(f->client, 0, 0x200000 + 8192, 4096, &at, &start), 0);
	assert_int_equal(f->fake->control_last.address, FAKE_REGION_ADDRESS + 8192);
	assert_int_equal(start, 8192);
	assert_int_equal(tp_client_range_open(f->client, 0, 0x200000 + 8192, FAKE_REGION_BYTES, &at,
					      &start), -EINVAL);
	assert_int_equal(tp_client_range_open(f->client, 16384, 0, 8, &at, &start), -EINVAL);
	assert_int_equal(tp_client_range_open(f->client, 0, 1ull << 32, 8, &at, &start), -EINVAL);
	tp_client_region_close(at);
	assert_ok(tp_read(f->thread, f->region, 0, &value, 8), 8);
	assert_string_equal(tp_client_region_info(f->region)->name, "test");
	tp_client_region_close(NULL);
}

/* The answer does not hold the address that was asked for. */
static void
test_region_at_wrong_address_protocol_error(void **state)
{
	struct fixture *f = *state;
	struct tp_client_region *at;

	assert_int_equal(tp_client_region_open_at(f->client, FAKE_REGION_ADDRESS - 1, &at, NULL),
			 -EPROTO);
	assert_int_equal(tp_client_region_open_at(f->client,
		FAKE_REGION_ADDRESS + FAKE_REGION_BYTES, &at, NULL), -EPROTO);
}

static void
test_region_create_request_complete(void **state)
{
	struct fixture *f = *state;
	const uint16_t nodes[] = { 3, 1, 2 };
	struct tp_client_region_config config = {
		.name = "fresh", .bytes = 10000, .nodes = nodes, .node_count = 3,
	};
	struct tp_client_region *region = NULL;

	assert_int_equal(tp_client_region_create(f->client, &config, &region), 0);
	assert_string_equal(f->fake->control_last.region.name, "fresh");
	tp_client_region_close(region);
	config.name = "";
	assert_int_equal(tp_client_region_create(f->client, &config, &region), -EINVAL);
	config.name = "0123456789012345678901234567890123456789012345678901234567890123";
	assert_int_equal(tp_client_region_create(f->client, &config, &region), -EINVAL);
	config.name = "fresh";
	config.bytes = 0;
	assert_int_equal(tp_client_region_create(f->client, &config, &region), -EINVAL);
	config.bytes = UINT64_MAX;
	assert_int_equal(tp_client_region_create(f->client, &config, &region), -EINVAL);
	config.bytes = 1;
	config.page_bytes = 5000;
	assert_int_equal(tp_client_region_create(f->client, &config, &region), -EINVAL);
	config.page_bytes = 0;
	config.nodes = NULL;
	assert_int_equal(tp_client_region_create(f->client, &config, &region), -EINVAL);
	config.node_count = 0;
	f->fake->control_reason = TP_INVALID;
	f->fake->control_errno = EEXIST;
	assert_int_equal(tp_client_region_create(f->client, &config, &region), -EEXIST);
	assert_int_equal(f->fake->control_last.region.bytes, FAKE_PAGE_BYTES);
	assert_int_equal(f->fake->control_last.region.mode, TP_REGION_RW);
	assert_int_equal(f->fake->control_last.region.distribution, TP_REGION_STRIPED);
}

/* Who creates a read-only region may fill it; others with their own handles may not. */
static void
test_region_created_readonly_creator_writes(void **state)
{
	struct fixture *f = *state;
	struct tp_client_region_config config = {
		.name = "test", .bytes = 4096, .mode = TP_REGION_RO,
	};
	struct tp_client_region *region;
	uint64_t value = 8;

	f->fake->region.mode = TP_REGION_RO;
	f->fake->region.generation++;
	assert_int_equal(tp_client_region_create(f->client, &config, &region), 0);
	assert_ok(tp_write(f->thread, region, 0, &value, 8), 8);
	tp_client_region_close(region);
	assert_int_equal(tp_client_region_open(f->client, "test", &region), 0);
	assert_void(tp_write(f->thread, region, 0, &value, 8), TP_PERMISSION, 1, 0);
}

/* Each field of a description wrong in turn: refused, and the fd is not leaked. */
static void
test_region_description_bad_protocol_error(void **state)
{
	struct fixture *f = *state;
	struct tp_control_region good = f->fake->region;
	struct tp_client_region *region;
	uint32_t i;
	int fd_before = dup(0), fd_after;

	close(fd_before);
	for (i = 0; i < 9; i++) {
		f->fake->region = good;
		switch (i) {
		case 0: f->fake->region.id = 0; break;
		case 1: f->fake->region.id = TP_REGION_ID_MAX + 1; break;
		case 2: f->fake->region.page_bytes = 2048; break;
		case 3: f->fake->region.page_bytes = 8192; break;
		case 4: f->fake->region.bytes = 0; break;
		case 5: f->fake->region.bytes++; break;
		case 6: f->fake->region.address = 0x1000; break;
		case 7: memset(f->fake->region.name, 'x', sizeof(good.name)); break;
		case 8:
			/* more pages than the word table has words */
			f->fake->region.id++;
			f->fake->region.bytes = 1 << 30;
			break;
		}
		assert_int_equal(tp_client_region_open(f->client, "test", &region), -EPROTO);
	}
	fd_after = dup(0);
	close(fd_after);
	assert_int_equal(fd_before, fd_after);
}

static void
control_bad(struct fake_node *fake, struct tp_control_response *response)
{
	static uint32_t turn;

	switch (turn++) {
	case 0: response->magic++; break;
	case 1: response->version++; break;
	case 2: response->op++; break;
	case 3: response->reason = 77; break;
	case 4: response->fd_count++; break;
	}
}

static void
test_control_answer_bad_protocol_error(void **state)
{
	struct fixture *f = *state;
	struct tp_control_region info;
	uint32_t i;

	f->fake->control_hook = control_bad;
	for (i = 0; i < 5; i++)
		assert_int_equal(tp_client_region_get(f->client, 0, &info), -EPROTO);
	assert_int_equal(tp_client_region_get(f->client, 0, &info), 0);
}

static void
test_control_errors_as_errno(void **state)
{
	struct fixture *f = *state;
	struct tp_client_region *region;
	struct tp_ptr ptr;
	uint64_t generation;

	f->fake->control_reason = TP_TIMEOUT;
	assert_int_equal(tp_client_region_open(f->client, "test", &region), -ETIMEDOUT);
	f->fake->control_reason = TP_EXHAUSTED;
	assert_int_equal(tp_client_alloc(f->client, TP_CONTROL_NODE_ANY, 64, &ptr), -ENOSPC);
	f->fake->control_errno = ENOENT;
	assert_int_equal(tp_client_region_destroy(f->client, "test"), -ENOENT);
	assert_int_equal(tp_client_region_reset(f->client, "test"), -ENOENT);
	assert_int_equal(tp_client_generation_get(f->client, 1, &generation), -ENOENT);
	f->fake->control_error = -EPIPE;
	assert_int_equal(tp_client_region_open(f->client, "test", &region), -EPIPE);
}

static struct {
	uint32_t op;			/* 0: all */
	enum tp_reason reason;
	enum tp_effect effect;
	int32_t error;
} refusal;

static void
hook_refuse(struct fake_node *fake, struct tp_control_response *response)
{
	if (refusal.op != 0 && response->op != refusal.op)
		return;
	response->reason = (uint32_t)refusal.reason;
	response->effect = (uint32_t)refusal.effect;
	response->error = refusal.error;
}

/* What may have been done never looks as if it was not. */
static void
test_control_effect_is_known_by_the_error(void **state)
{
	struct fixture *f = *state;
	struct tp_client_region_config config = { .name = "fresh", .bytes = 4096 };
	struct tp_client_region *region;
	int ret;

	assert_int_equal(tp_client_effect(0), TP_EFFECT_DONE);
	f->fake->control_error = -ECONNRESET;
	assert_int_equal(tp_client_effect(tp_client_region_destroy(f->client, "test")),
			 TP_EFFECT_UNKNOWN);
	f->fake->control_error = 0;
	f->fake->control_hook = hook_refuse;
	/* An error of the store, met after the change was made. */
	refusal.reason = TP_UNREACHABLE;
	refusal.effect = TP_EFFECT_UNKNOWN;
	refusal.error = EIO;
	ret = tp_client_region_reset(f->client, "test");
	assert_int_equal(ret, -ETIMEDOUT);
	assert_int_equal(tp_client_effect(ret), TP_EFFECT_UNKNOWN);
	refusal.effect = TP_EFFECT_NOT_DONE;
	ret = tp_client_region_reset(f->client, "test");
	assert_int_equal(ret, -EIO);
	assert_int_equal(tp_client_effect(ret), TP_EFFECT_NOT_DONE);
	/* Made, and then this node has no memory for it. */
	refusal.reason = TP_EXHAUSTED;
	refusal.effect = TP_EFFECT_DONE;
	refusal.error = ENOMEM;
	ret = tp_client_region_create(f->client, &config, &region);
	assert_int_equal(ret, -EREMOTE);
	assert_int_equal(tp_client_effect(ret), TP_EFFECT_DONE);
	refusal.op = TP_CONTROL_REGION_OPEN;
	refusal.effect = TP_EFFECT_NOT_DONE;
	assert_int_equal(tp_client_region_create(f->client, &config, &region), -EREMOTE);
	refusal.op = 0;
}

static void
test_alloc_and_generation_round_trip(void **state)
{
	struct fixture *f = *state;
	struct tp_ptr ptr;
	struct tp_control_node node;
	uint64_t stats[TP_CONTROL_STATS_MAX];

	assert_int_equal(tp_client_alloc(f->client, 2, 0, &ptr), -EINVAL);
	assert_int_equal(tp_client_alloc(f->client, 2, 100, &ptr), 0);
	assert_int_equal(f->fake->control_last.node, 2);
	assert_int_equal(f->fake->control_last.bytes, 100);
	assert_int_equal(ptr.address, FAKE_REGION_ADDRESS + 64);
	assert_int_equal(tp_client_generation_check(f->client, ptr), 0);
	ptr.generation++;
	assert_int_equal(tp_client_generation_check(f->client, ptr), -ESTALE);
	assert_int_equal(tp_client_free(f->client, ptr), 0);
	assert_int_equal(f->fake->control_last.generation, ptr.generation);
	assert_int_equal(tp_client_node_get(f->client, 0, &node), 0);
	assert_int_equal(node.worker_count, FAKE_WORKERS);
	assert_int_equal(tp_client_stats_get(f->client, stats), 0);
	assert_int_equal(stats[5], 15);
}

static void
test_backend_without_control_unsupported(void **state)
{
	struct fake_node *fake = fake_node_create();
	struct tp_client_backend backend = fake_node_backend(fake);
	struct tp_client_region *region;
	struct tp_client *client;

	backend.control = NULL;
	assert_int_equal(tp_client_attach_backend(&backend, &client), 0);
	assert_int_equal(tp_client_region_open(client, "test", &region), -EOPNOTSUPP);
	tp_client_detach(client);
	tp_client_detach(NULL);
	fake_node_destroy(fake);
}

static void
test_backend_headers_bad_refused(void **state)
{
	struct fake_node *fake = fake_node_create();
	struct tp_client_backend backend = fake_node_backend(fake);
	struct tp_abi_node node;
	struct tp_abi_client segment;
	struct tp_client *client;
	uint32_t i;

	memcpy(&node, fake->node, sizeof(node));
	memcpy(&segment, fake->client, sizeof(segment));
	assert_int_equal(tp_client_attach_backend(NULL, &client), -EINVAL);
	for (i = 0; i < 18; i++) {
		memcpy(fake->node, &node, sizeof(node));
		memcpy(fake->client, &segment, sizeof(segment));
		backend.slot_bytes_total = FAKE_SLOTS * FAKE_PAGE_BYTES;
		switch (i) {
		case 0: fake->node->magic++; break;
		case 1: fake->node->version++; break;
		case 2: fake->node->length--; break;
		case 3: fake->node->page_bytes = 1000; break;
		case 4: fake->node->page_bytes = 12288; break;
		case 5: fake->node->slot_count = 0; break;
		case 6: fake->node->slot_count++; break;
		case 7: fake->node->worker_count = 0; break;
		case 8: fake->node->worker_count = TP_ABI_WORKERS_MAX + 1; break;
		case 9: fake->node->tsc_hz = 0; break;
		case 10: fake->node->node_bits = 15; break;
		case 11: backend.slot_bytes_total--; break;
		case 12: fake->client->magic = 0; break;
		case 13: fake->client->version++; break;
		case 14: fake->client->client_id = TP_ABI_CLIENTS_MAX; break;
		case 15: fake->client->thread_count = 0; break;
		case 16: fake->client->thread_count = TP_ABI_THREADS_MAX + 1; break;
		case 17: fake->client->length--; break;
		}
		assert_int_equal(tp_client_attach_backend(&backend, &client), -EPROTO);
	}
	fake_node_destroy(fake);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		fixture_test(test_region_opened_twice_same_handle),
		fixture_test(test_region_at_wrong_address_protocol_error),
		fixture_test(test_region_create_request_complete),
		fixture_test(test_region_created_readonly_creator_writes),
		fixture_test(test_region_description_bad_protocol_error),
		fixture_test(test_control_answer_bad_protocol_error),
		fixture_test(test_control_errors_as_errno),
		fixture_test(test_control_effect_is_known_by_the_error),
		fixture_test(test_alloc_and_generation_round_trip),
		cmocka_unit_test(test_backend_without_control_unsupported),
		cmocka_unit_test(test_backend_headers_bad_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
