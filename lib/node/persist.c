/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Pages of durable regions, between the coherence engine and the keeper. Owner: the
 * worker's lcore.
 */
#include "worker_priv.h"

#define PERSIST_PER_TURN 64u

static uint32_t
home_index(const struct worker_region *region, uint32_t page_index)
{
	return tp_region_home_index(region->region, page_index);
}

/* A region whose pages are not in this pool, though they should be, is damaged as a whole. */
enum tp_persisted
worker_persisted(void *ctx, uint32_t region_id, uint32_t page_index)
{
	const struct worker_region *region = worker_region_find(ctx, region_id);

	if (region == NULL || region->kept == NULL)
		return TP_PERSISTED_DAMAGED;
	return keeper_page_look(region->kept, home_index(region, page_index));
}

/* The engine has just been told that it is there. */
void
worker_page_load(struct tp_worker *worker, const struct tp_action *action)
{
	const struct worker_region *region = worker_region_find(worker, action->region_id);

	RTE_ASSERT(region != NULL && region->kept != NULL);
	memcpy(worker_slot(worker, action->slot),
		keeper_page(region->kept, home_index(region, action->page_index)),
		region->page_bytes);
}

static void
persist_answer(struct tp_worker *worker, const struct keeper_done *done)
{
	struct tp_action reply = {
		.type = TP_ACTION_SEND,
		.node = done->node,
		.worker = done->worker,
		.slot = TP_SLOT_ABSENT,
		.region_id = rte_le_to_cpu_32(done->reply.region_id),
		.page_index = rte_le_to_cpu_32(done->reply.page_index),
		.msg = done->reply,
	};

	if (done->reply.type == 0)
		return;
	if (done->error != 0) {
		reply.msg.type = TP_MSG_NACK;
		reply.msg.reason = done->error == -ENOSPC ? TP_EXHAUSTED : TP_CORRUPTION;
	}
	worker_outbox_action(worker, &reply);
}

/* Copied now: the page may be written to as soon as the outbox is done. */
void
worker_page_persist(struct tp_worker *worker, const struct tp_action *action)
{
	const struct worker_region *region = worker_region_find(worker, action->region_id);
	struct keeper_job job = {
		.buffer = KEEPER_NO_BUFFER,
		.node = action->node,
		.worker = action->worker,
		.reply = action->msg,
	};
	uint8_t *buffer;

	RTE_ASSERT(region != NULL && worker->keeping < KEEPER_JOBS);
	if (region->kept == NULL) {
		/* Nothing of it could be read, so nothing was written. */
		persist_answer(worker, &(struct keeper_done){ .error = -EIO, .node = job.node,
			.worker = job.worker, .reply = job.reply });
		tp_coherence_persisted(worker->coherence);
		return;
	}
	job.region = (struct keeper_region *)(uintptr_t)region->kept;
	job.index = home_index(region, action->page_index);
	if (action->slot != TP_SLOT_ABSENT) {
		buffer = keeper_buffer_take(worker->config.keeper, &job.buffer);
		memcpy(buffer, worker_slot(worker, action->slot), region->page_bytes);
	}
	worker->keeping++;
	keeper_persist(worker->config.keeper, &job);
}

/* One stage of the turn: what lasts by now, and from time to time what should. */
uint32_t
worker_persist_poll(struct tp_worker *worker)
{
	struct keeper_done done;
	uint32_t work = 0;

	while (worker->keeping != 0 && work < PERSIST_PER_TURN &&
	       keeper_ended(worker->config.keeper, &done)) {
		worker->keeping--;
		work++;
		tp_coherence_persisted(worker->coherence);
		persist_answer(worker, &done);
	}
	if (worker->config.sweep_ns != 0 && worker->now >= worker->sweep_at &&
	    worker->draining == WORKER_DRAINING_NO) {
		worker->sweep_at = worker->now + worker->config.sweep_ns;
		tp_coherence_persist_all(worker->coherence);
	}
	return work;
}
