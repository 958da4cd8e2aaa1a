/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * libFuzzer target: coherence messages of another node, as the endpoint hands
 * them over: any bytes, and batches of pages that are nearly right. The sender
 * lies, so what its pages hold is of no interest; nothing may break.
 */
#include "fuzz_cluster.h"

#include "fuzz_message_input.h"

static void
message_step(struct input *input)
{
	uint64_t bits = input_take(input, 2);
	uint32_t length = (uint32_t)input_take(input, 2) % MESSAGE_BYTES;
	struct tp_worker *worker = tp_control_worker(fuzz_node(), bits >> 8 & 1);
	struct lie lie;
	uint32_t used;

	used = lie_make(&lie, worker, bits, length, input->data, input->size);
	input->data += used;
	input->size -= used;
	worker->now = fuzz.cluster->now;
	worker_endpoint_ops.message(worker, &lie.message);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };
	uint32_t count = 0;

	fuzz_begin();
	while (input.size > 0 && count++ < MESSAGES_MAX) {
		message_step(&input);
		if (count % 4 == 0)
			cluster_step(fuzz.cluster);
	}
	cluster_run(fuzz.cluster, CLUSTER_MS / 10);
	return 0;
}
