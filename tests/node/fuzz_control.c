/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * libFuzzer target: requests of a client's control socket, and messages between
 * control sides. The input is a row of (kind, fields): a request that is nearly
 * right, its raw bytes, a message of another node, or time that passes.
 */
#include "fuzz_cluster.h"

/* What was answered last is what is asked for next: addresses, generations. */
static void
request_step(int client, struct input *input, struct tp_control_response *last)
{
	struct tp_control_request request = {
		.magic = TP_CONTROL_MAGIC,
		.version = TP_CONTROL_VERSION,
	};
	uint64_t bits = input_take(input, 4);

	request.op = bits & 63;
	/* Calls of one step or more; never for ever. */
	request.timeout_ns = 1 + (bits >> 6 & 0xff) * 100000;
	request.value = bits >> 14 & 7;
	request.bytes = (bits >> 17 & 15) * 777;
	request.address = (bits >> 21 & 1) != 0 ? last->address : last->region.address;
	request.generation = (bits >> 22 & 1) != 0 ? last->generation : last->region.generation;
	request.node = (uint16_t)(bits >> 23 & 3);
	snprintf(request.region.name, sizeof(request.region.name), "f%u",
		(unsigned int)(bits >> 25 & 3));
	request.region.bytes = 4096 * (bits >> 27 & 15);
	request.region.distribution = (uint16_t)(bits >> 31 & 1);
	/* The honest client's is not for others to name here, nor a fault that ends us. */
	if (request.address == tp_client_region_info(fuzz.region)->address)
		request.address++;
	fuzz_call(client, &request, last);
}

static void
raw_step(int client, struct input *input, struct tp_control_response *last)
{
	struct tp_control_request request;

	input_bytes(input, &request, sizeof(request));
	request.magic = TP_CONTROL_MAGIC;
	request.version = TP_CONTROL_VERSION;
	if (request.timeout_ns == 0 || request.timeout_ns > 50 * CLUSTER_MS)
		request.timeout_ns = 50 * CLUSTER_MS;
	fuzz_call(client, &request, last);
}

static void
message_step(struct input *input)
{
	struct node_msg msg;
	uint16_t from = (uint16_t)(2 + input_take(input, 1) % 2);

	input_bytes(input, &msg, sizeof(msg));
	heap_message(fuzz_node(), from, &msg);
}

/* Regions that the input made go, or the catalogue would be full some time. */
static void
regions_clear(int client)
{
	struct tp_control_request request = {
		.magic = TP_CONTROL_MAGIC,
		.version = TP_CONTROL_VERSION,
		.op = TP_CONTROL_REGION_LIST,
	};
	struct tp_control_response response;

	for (;;) {
		memset(&response, 0, sizeof(response));
		request.op = TP_CONTROL_REGION_LIST;
		fuzz_call(client, &request, &response);
		if (response.reason != TP_OK)
			return;
		if (strcmp(response.region.name, "honest") == 0 ||
		    strncmp(response.region.name, "heap.", 5) == 0) {
			request.value++;
			continue;
		}
		request.op = TP_CONTROL_REGION_DESTROY;
		request.address = response.region.address;
		fuzz_call(client, &request, &response);
		assert_int_equal(response.reason, TP_OK);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tp_control_response last = { 0 };
	struct input input = { data, size };
	uint32_t count = 0;
	int client;

	fuzz_begin();
	client = tp_control_client_add(fuzz_node(), 1, fuzz.cluster->now);
	assert_true(client >= 0);
	cluster_step(fuzz.cluster);
	while (input.size > 0 && count++ < 32) {
		uint8_t kind = (uint8_t)input_take(&input, 1);

		if (kind % 8 < 5)
			request_step(client, &input, &last);
		else if (kind % 8 == 5)
			raw_step(client, &input, &last);
		else if (kind % 8 == 6)
			message_step(&input);
		else
			fuzz_honest(kind >> 3);
	}
	regions_clear(client);
	fuzz_client_end(client);
	return 0;
}
