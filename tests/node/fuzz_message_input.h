/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Coherence messages of a node that lies, out of the bytes of a fuzz target: any
 * bytes, and batches and changes of pages that are nearly right.
 */
#ifndef FUZZ_MESSAGE_INPUT_H
#define FUZZ_MESSAGE_INPUT_H

#include <string.h>

#include "worker_priv.h"

#define MESSAGE_BYTES 512u
#define MESSAGES_MAX 64u
#define LIAR 3
#define LIAR_PAGE 4096u

struct lie {
	uint8_t data[MESSAGE_BYTES];
	struct tp_message_piece piece;
	struct tp_message message;
};

static inline const struct worker_region *
lie_region(const struct tp_worker *worker)
{
	uint32_t i;

	for (i = 0; i < WORKER_REGIONS; i++)
		if (worker->regions[i].id != 0)
			return &worker->regions[i];
	return NULL;
}

/* Turn raw bytes into what gets past the first checks. */
static inline void
lie_mend(const struct worker_region *region, uint64_t bits, struct tp_coherence_msg *msg)
{
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
static inline uint32_t
lie_change(const struct tp_worker *worker, uint64_t bits, struct tp_coherence_msg *msg,
	uint8_t *data, uint32_t length)
{
	static const uint8_t types[] = { TP_MSG_DATA_S, TP_MSG_DATA_M, TP_MSG_WB, TP_MSG_PUT_M };
	static const uint8_t codecs[] = { TP_CODEC_SAME, TP_CODEC_DELTA, TP_CODEC_DELTA_LZ4,
		TP_CODEC_SAME };
	const struct worker_base *base = worker_base_find(&worker->codec.bases,
		rte_le_to_cpu_32(msg->region_id), rte_le_to_cpu_32(msg->page_index));
	uint32_t slot = tp_coherence_page_slot(worker->coherence,
		rte_le_to_cpu_32(msg->region_id), rte_le_to_cpu_32(msg->page_index));
	uint64_t sum = 0;

	msg->type = types[bits >> 11 & 3];
	msg->codec = codecs[bits >> 13 & 3];
	msg->flags &= TP_MSG_F_UNBLOCK;
	if (msg->type != TP_MSG_DATA_S && msg->type != TP_MSG_DATA_M)
		msg->flags = 0;
	if (base != NULL)
		sum = base->sum;
	if (msg->flags == 0 && slot != TP_SLOT_ABSENT && bits >> 11 & 2)
		sum = tp_codec_sum(worker_slot(worker, slot), LIAR_PAGE);
	memcpy(data + TP_MSG_PAGE_HEADER, &sum, sizeof(sum));
	if (bits >> 15 & 1)
		memcpy(data + TP_MSG_PAGE_HEADER + sizeof(sum), &sum, sizeof(sum));
	if (msg->codec == TP_CODEC_SAME)
		return TP_MSG_PAGE_HEADER + WORKER_BASE_HEADER;
	/* Such a payload would be that of a message without a page. */
	return length < TP_MSG_PAGE_HEADER || length == sizeof(*msg) ? MESSAGE_BYTES : length;
}

/* 16 bits that say what is mended, as many that say how long, then the message's bytes. */
static inline uint32_t
lie_make(struct lie *lie, const struct tp_worker *worker, uint64_t bits, uint32_t length,
	const uint8_t *bytes, size_t size)
{
	struct tp_coherence_msg msg;
	uint32_t used = (uint32_t)RTE_MIN((size_t)length, size);

	lie->piece = (struct tp_message_piece){ .data = lie->data, .length = length };
	lie->message = (struct tp_message){ .src_node = LIAR, .src_worker = bits >> 7 & 1,
		.class = (uint8_t)((bits >> 9) % TP_CLASS_COUNT), .piece_count = 1,
		.length = length, .pieces = &lie->piece };
	memset(lie->data, 0, sizeof(lie->data));
	memcpy(lie->data, bytes, used);
	memcpy(&msg, lie->data, sizeof(msg));
	lie_mend(lie_region(worker), bits, &msg);
	if (bits & 64) {
		length = lie_change(worker, bits, &msg, lie->data, length);
		lie->piece.length = length;
		lie->message.length = length;
	}
	/* Those of the control sides are another target's. */
	msg.type &= 63;
	memcpy(lie->data, &msg, bits & 64 ? TP_MSG_PAGE_HEADER : sizeof(msg));
	return used;
}

#endif /* FUZZ_MESSAGE_INPUT_H */
