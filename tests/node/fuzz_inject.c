/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * libFuzzer target: faults that a client injects into its node. The input is a row
 * of faults, nearly right or not at all, with some time and accesses after each.
 * Whatever happened, the node works again once they are cleared.
 */
#include "fuzz_cluster.h"

#define FAULTS_MAX 16u
#define HEAL_EVERY 64u		/* inputs: healing takes long */

static struct tp_control_request
request_make(uint32_t op)
{
	return (struct tp_control_request){
		.magic = TP_CONTROL_MAGIC,
		.version = TP_CONTROL_VERSION,
		.op = op,
		.timeout_ns = 50 * CLUSTER_MS,
	};
}

static void
fault_make(struct input *input, struct tp_control_inject *spec)
{
	uint64_t bits = input_take(input, 4);

	memset(spec, 0, sizeof(*spec));
	spec->kind = bits & 15;
	spec->flags = bits >> 4 & 1;
	spec->rate_ppm = (bits >> 5 & 7) * 150000;
	spec->delay_ns = (bits >> 8 & 15) * 100000;
	spec->count = bits >> 12 & 7;
	spec->node_count = bits >> 15 & 3;
	spec->nodes[0] = bits >> 17 & 7;
	spec->nodes[1] = bits >> 20 & 7;
	if ((bits >> 23 & 1) != 0)
		snprintf(spec->region, sizeof(spec->region), "honest");
}

static void
fault_step(int client, struct input *input, bool raw)
{
	struct tp_control_request request = request_make(TP_CONTROL_INJECT);
	struct tp_control_response response = { 0 };
	uint64_t old;

	if (raw)
		input_bytes(input, &request.inject, sizeof(request.inject));
	else
		fault_make(input, &request.inject);
	fuzz_call(client, &request, &response);
	/* None of these ends the node: it cannot crash. */
	assert_true(response.reason != TP_OK || request.inject.kind != TP_INJECT_CRASH);
	request = request_make(TP_CONTROL_INJECT_LIST);
	request.value = request.inject.kind;
	fuzz_call(client, &request, &response);
	/* What comes of it is VOID or not; it comes. */
	tp_thread_timeout_set(fuzz.honest.thread, 300000);
	tp_atomic_add64(fuzz.honest.thread, fuzz.region, 0, 1, &old);
	tp_thread_timeout_set(fuzz.honest.thread, 2000 * CLUSTER_MS);
}

static void
faults_clear(int client)
{
	struct tp_control_request request = request_make(TP_CONTROL_INJECT_CLEAR);
	struct tp_control_response response = { 0 };

	fuzz_call(client, &request, &response);
	assert_int_equal(response.reason, TP_OK);
	request = request_make(TP_CONTROL_INJECT_LIST);
	fuzz_call(client, &request, &response);
	assert_true(response.reason != TP_OK);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint32_t inputs;
	struct input input = { data, size };
	uint32_t count = 0;
	uint64_t old;
	int client;

	fuzz_begin_with(true);
	client = tp_control_client_add(fuzz_node(), 1, fuzz.cluster->now);
	assert_true(client >= 0);
	cluster_step(fuzz.cluster);
	while (input.size > 0 && count++ < FAULTS_MAX) {
		uint8_t kind = (uint8_t)input_take(&input, 1);

		fault_step(client, &input, kind % 8 == 0);
		if (kind % 16 == 1)
			faults_clear(client);
	}
	faults_clear(client);
	while (tp_control_client_remove(fuzz_node(), client, fuzz.cluster->now) == -EAGAIN)
		cluster_step(fuzz.cluster);
	while (tp_control_client_count(fuzz_node()) != 1)
		cluster_step(fuzz.cluster);
	if (++inputs % HEAL_EVERY != 0)
		return 0;
	cluster_run(fuzz.cluster, 1500 * CLUSTER_MS);
	assert_true(tp_result_is_ok(tp_atomic_add64(fuzz.honest.thread, fuzz.region, 0, 1, &old)));
	return 0;
}
