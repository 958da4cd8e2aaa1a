/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Many pages in one message: docs/coherence.md, "Batches". A batch is a way of
 * writing several messages down; both state machines know nothing of it.
 */
#include <string.h>

#include "coherence_priv.h"

static bool
batch_is_for(const struct tp_coherence_batch *batch, const struct tp_action *action)
{
	return batch->node == action->node && batch->worker == action->worker &&
		batch->msg.type == action->msg.type &&
		batch->msg.region_id == action->msg.region_id &&
		batch->msg.generation == action->msg.generation &&
		batch->count < TP_BATCH_PAGES;
}

bool
tp_coherence_batch_add(struct tp_coherence_batch *batch, const struct tp_action *action)
{
	const struct tp_coherence_msg *msg = &action->msg;

	if ((msg->type != TP_MSG_GET_S && msg->type != TP_MSG_GET_M) || msg->flags != 0 ||
	    msg->operand != 0 || action->type != TP_ACTION_SEND)
		return false;
	if (batch->count == 0) {
		batch->msg = *msg;
		batch->node = action->node;
		batch->worker = action->worker;
	} else if (batch_is_for(batch, action)) {
		batch->items[batch->count - 1].page_index = msg->page_index;
		batch->items[batch->count - 1].txn = msg->txn;
	} else {
		return false;
	}
	batch->count++;
	return true;
}

uint32_t
tp_coherence_batch_count(const struct tp_coherence_msg *msg, uint32_t list_bytes)
{
	uint32_t items = list_bytes / (uint32_t)sizeof(struct tp_coherence_item);

	if ((msg->type != TP_MSG_GET_S && msg->type != TP_MSG_GET_M) || msg->flags != 0 ||
	    list_bytes % sizeof(struct tp_coherence_item) != 0 || items >= TP_BATCH_PAGES)
		return 0;
	return 1 + items;
}

void
tp_coherence_batch_get(const struct tp_coherence *c, const struct tp_coherence_msg *msg,
	const void *items, uint32_t index, struct tp_coherence_msg *out)
{
	struct tp_coherence_item item;

	*out = *msg;
	if (index == 0 || coherence_mutant(c, MUTANT_batch_first_only))
		return;
	memcpy(&item, (const uint8_t *)items + (index - 1) * sizeof(item), sizeof(item));
	out->page_index = item.page_index;
	out->txn = item.txn;
}
