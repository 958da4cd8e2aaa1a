/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * libFuzzer target: coherence messages of another node, as the endpoint hands
 * them over: any bytes, and batches of pages that are nearly right. The sender
 * lies, so what its pages hold is of no interest; nothing may break.
 */
#include "fuzz_cluster.h"

#include "worker_priv.h"

#define MESSAGE_BYTES 512u
#define MESSAGES_MAX 64u
#define LIAR 3

static const struct worker_region *
region_of(const struct tp_worker *worker)
{
	uint32_t i;

	for (i = 0; i < WORKER_REGIONS; i++)
		if (worker->regions[i].id != 0)
			return &worker->regions[i];
	return NULL;
}

/* Turn raw bytes into what gets past the first checks. */
static void
message_mend(const struct tp_worker *worker, uint64_t bits, struct tp_coherence_msg *msg)
{
	const struct worker_region *region = region_of(worker);

	if (bits & 1)
		msg->type = bits & 2 ? TP_MSG_GET_M : TP_MSG_GET_S;
	if (bits & 4)
		msg->flags = 0;
	if (bits & 8 && region != NULL) {
		msg->region_id = rte_cpu_to_le_32(region->id);
		msg->generation = rte_cpu_to_le_64(region->region->generation);
		msg->page_index = rte_cpu_to_le_32(rte_le_to_cpu_32(msg->page_index) %
						   (region->page_count + 1));
	}
	if (bits & 16) {
		msg->requester = rte_cpu_to_le_16(LIAR);
		msg->requester_worker = rte_cpu_to_le_16((uint16_t)(bits >> 7 & 1));
	}
	if (bits & 32) {
		msg->effect = 0;
		msg->identity = 0;
	}
}

/* A page as a change of what is held, all but true. @return Bytes of the message. */
static uint32_t
message_change(const struct tp_worker *worker, uint64_t bits, struct tp_coherence_msg *msg,
	uint8_t *data, uint32_t length)
{
	static const uint8_t types[] = { TP_MSG_DATA_S, TP_MSG_DATA_M, TP_MSG_WB, TP_MSG_PUT_M };
	static const uint8_t codecs[] = { TP_CODEC_SAME, TP_CODEC_DELTA, TP_CODEC_DELTA_LZ4,
		TP_CODEC_SAME };
	const struct worker_base *base = worker_base_find(&worker->codec.bases,
		rte_le_to_cpu_32(msg->region_id), rte_le_to_cpu_32(msg->page_index));
	uint32_t slot = tp_coherence_page_slot(worker->coherence,
		rte_le_to_cpu_32(msg->region_id), rte_le_to_cpu_32(msg->page_index));
	uint64_t sums[2] = { 0, 0 };

	msg->type = types[bits >> 11 & 3];
	msg->codec = codecs[bits >> 13 & 3];
	msg->flags &= TP_MSG_F_UNBLOCK;
	if (msg->type != TP_MSG_DATA_S && msg->type != TP_MSG_DATA_M)
		msg->flags = 0;
	if (base != NULL)
		sums[0] = base->sum;
	if (msg->flags == 0 && slot != TP_SLOT_ABSENT && bits >> 11 & 2)
		sums[0] = tp_codec_sum(worker_slot(worker, slot), FUZZ_PAGE);
	memcpy(data + TP_MSG_PAGE_HEADER, &sums[0], sizeof(sums[0]));
	if (bits >> 15 & 1)
		memcpy(data + TP_MSG_PAGE_HEADER + sizeof(sums[0]), &sums[0], sizeof(sums[0]));
	if (msg->codec == TP_CODEC_SAME)
		return TP_MSG_PAGE_HEADER + WORKER_BASE_HEADER;
	/* Such a payload would be that of a message without a page. */
	return length < TP_MSG_PAGE_HEADER || length == sizeof(*msg) ? MESSAGE_BYTES : length;
}

static void
message_step(struct input *input)
{
	uint64_t bits = input_take(input, 2);
	uint32_t length = (uint32_t)input_take(input, 2) % MESSAGE_BYTES;
	struct tp_worker *worker = tp_control_worker(fuzz_node(), bits >> 8 & 1);
	uint8_t data[MESSAGE_BYTES] = { 0 };
	struct tp_message_piece piece = { .data = data, .length = length };
	struct tp_message message = { .src_node = LIAR, .src_worker = bits >> 7 & 1,
		.class = (uint8_t)((bits >> 9) % TP_CLASS_COUNT), .piece_count = 1,
		.length = length, .pieces = &piece };
	struct tp_coherence_msg msg;
	size_t part = RTE_MIN((size_t)length, input->size);

	memcpy(data, input->data, part);
	input->data += part;
	input->size -= part;
	memcpy(&msg, data, sizeof(msg));
	message_mend(worker, bits, &msg);
	if (bits & 64) {
		length = message_change(worker, bits, &msg, data, length);
		piece.length = length;
		message.length = length;
	}
	/* Those of the control sides are another target's. */
	msg.type &= 63;
	memcpy(data, &msg, bits & 64 ? TP_MSG_PAGE_HEADER : sizeof(msg));
	worker->now = fuzz.cluster->now;
	worker_endpoint_ops.message(worker, &message);
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
