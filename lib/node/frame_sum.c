/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Sums of frames at rest. Owner: the worker's lcore. Only with frame_crc.
 *
 * A frame rests while nobody may write to it: home memory that no node owns, and
 * copies to read. Its sum is taken when its contents come or are sent for the first
 * time, checked whenever they are used (sent, published, granted to a client, given
 * up), and forgotten when somebody may write. Contents that are not what they were are
 * given to nobody: VOID(corruption).
 *
 * A slot of a frame that was let go of keeps its sum; the next one that gets it begins
 * with contents that come, are copied or are zeroed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "worker_priv.h"

/* 0 or -ENOMEM. */
int
worker_sums_init(struct tp_worker *worker)
{
	if (!worker->config.frame_crc)
		return 0;
	worker->sums = calloc(worker->config.slot_count, sizeof(*worker->sums));
	return worker->sums == NULL ? -ENOMEM : 0;
}

static uint64_t
sum_of(struct tp_worker *worker, const struct tp_action *action)
{
	const struct worker_region *region = worker_region_find(worker, action->region_id);
	uint32_t bytes = region == NULL ? worker->config.slot_bytes : region->page_bytes;

	return tp_codec_sum(worker_slot(worker, action->slot), bytes);
}

void
worker_sum_set(struct tp_worker *worker, const struct tp_action *action)
{
	worker->sums[action->slot] = sum_of(worker, action);
}

static bool
sum_is_wrong(struct tp_worker *worker, const struct tp_action *action)
{
	if (action->slot == TP_SLOT_ABSENT || worker->sums[action->slot] == 0 ||
	    worker->sums[action->slot] == sum_of(worker, action))
		return false;
	worker->stats.pages_corrupt++;
	return true;
}

/* To another node: what rests from now on has a sum. */
static void
sum_send(struct tp_worker *worker, struct tp_action *action)
{
	bool home = action->msg.type == TP_MSG_DATA_S || action->msg.type == TP_MSG_DATA_M;

	if (action->slot == TP_SLOT_ABSENT || action->node == worker->config.node_id)
		return;
	/* Only home memory is sent while it rests: an owner's copy has no sum. */
	if (home && sum_is_wrong(worker, action)) {
		action->msg.type = TP_MSG_NACK;
		action->msg.flags = 0;
		action->msg.reason = TP_CORRUPTION;
		action->msg.operand = 0;
		action->slot = TP_SLOT_ABSENT;
	} else if (worker->sums[action->slot] == 0 &&
		   (action->msg.type == TP_MSG_DATA_S || action->msg.type == TP_MSG_WB)) {
		worker_sum_set(worker, action);
	}
}

static void
sum_publish(struct tp_worker *worker, struct tp_action *action)
{
	if (action->slot == TP_SLOT_ABSENT || action->access == TP_ACCESS_NONE)
		return;
	if (sum_is_wrong(worker, action))
		action->access = TP_ACCESS_NONE;
	else if (action->access == TP_ACCESS_WRITE)
		worker->sums[action->slot] = 0;
}

static void
sum_complete(struct tp_worker *worker, struct tp_action *action)
{
	if (action->access == TP_ACCESS_NONE || !sum_is_wrong(worker, action))
		return;
	action->access = TP_ACCESS_NONE;
	action->result.reason = TP_CORRUPTION;
	action->result.effect = TP_EFFECT_NOT_DONE;
}

/* The home's atomic: it is refused, or the frame rests no more. */
static void
sum_atomic(struct tp_worker *worker, struct tp_action *action)
{
	if (!sum_is_wrong(worker, action)) {
		worker->sums[action->slot] = 0;
		return;
	}
	action->type = TP_ACTION_SEND;
	action->slot = TP_SLOT_ABSENT;
	action->kept = NULL;
	action->msg.type = TP_MSG_NACK;
	action->msg.flags = 0;
	action->msg.reason = TP_CORRUPTION;
	action->msg.atomic_op = 0;
	action->msg.effect = 0;
	action->msg.identity = 0;
}

/* What has changed at rest is not made to last in the place of what was right. */
static void
sum_persist(struct tp_worker *worker, struct tp_action *action)
{
	if (action->slot == TP_SLOT_ABSENT || !sum_is_wrong(worker, action))
		return;
	action->slot = TP_SLOT_ABSENT;
	/* Nor does who asks again hear that it lasts. */
	tp_coherence_persist_refused(worker->coherence, action->region_id, action->page_index);
	if (action->msg.type == 0)
		return;
	action->msg.type = TP_MSG_NACK;
	action->msg.reason = TP_CORRUPTION;
}

/* Before an action is carried out; it may become another one. */
void
worker_sum_action(struct tp_worker *worker, struct tp_action *action)
{
	switch ((enum tp_action_type)action->type) {
	case TP_ACTION_SEND:
		sum_send(worker, action);
		break;
	case TP_ACTION_ZERO:
	case TP_ACTION_LOAD:
	case TP_ACTION_COPY_SLOT:
		worker->sums[action->slot] = 0;
		break;
	case TP_ACTION_PUBLISH:
		sum_publish(worker, action);
		break;
	case TP_ACTION_REVOKE:
		/* Given up, or on its way home: counted, for nobody reads it any more. */
		sum_is_wrong(worker, action);
		break;
	case TP_ACTION_COMPLETE:
		sum_complete(worker, action);
		break;
	case TP_ACTION_ATOMIC:
		sum_atomic(worker, action);
		break;
	case TP_ACTION_PERSIST:
		sum_persist(worker, action);
		break;
	default:
		break;
	}
}
