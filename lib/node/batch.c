/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Many pages in one message (docs/coherence.md, "Batches"). Owner: the worker's
 * lcore.
 *
 * Out: while requests are taken from a ring that holds several, what they send
 * for pages is gathered, and leaves in the same turn. In: each page of a batch
 * is an event of its own, and the fabric's credit comes back with the last.
 */
#include <errno.h>
#include <stdlib.h>

#include "worker_priv.h"

int
worker_batch_init(struct tp_worker *worker)
{
	uint32_t i;

	worker->batches = calloc(WORKER_BATCHES, sizeof(*worker->batches));
	if (worker->batches == NULL)
		return -ENOMEM;
	for (i = WORKER_BATCHES; i-- > 0;) {
		worker->batches[i].next = worker->batch_free;
		worker->batch_free = i + 1;
	}
	return 0;
}

static void
gather_flush(struct tp_worker *worker)
{
	struct tp_coherence_batch *batch = &worker->gathered;
	struct worker_message message = {
		.msg = batch->msg,
		.slot = TP_SLOT_ABSENT,
		.node = batch->node,
		.worker = batch->worker,
		.payload_bytes = (batch->count - 1) * (uint32_t)sizeof(batch->items[0]),
	};

	worker_outbox_send(worker, &message, batch->count == 1 ? NULL : batch->items);
	worker->stats.batches_out += batch->count > 1;
	batch->count = 0;
}

void
worker_gather_begin(struct tp_worker *worker)
{
	worker->gathering = true;
}

/* true: it leaves with others, at the latest at the end of gathering. */
bool
worker_gather_add(struct tp_worker *worker, const struct tp_action *action)
{
	if (tp_coherence_batch_add(&worker->gathered, action))
		return true;
	if (worker->gathered.count == 0)
		return false;
	gather_flush(worker);
	return tp_coherence_batch_add(&worker->gathered, action);
}

void
worker_gather_end(struct tp_worker *worker)
{
	worker->gathering = false;
	if (worker->gathered.count != 0)
		gather_flush(worker);
}

/* REQUEST_DONE of one page. */
void
worker_batch_done(struct tp_worker *worker, uint64_t token)
{
	uint32_t index = (uint32_t)(token & ~WORKER_TOKEN_BATCH);
	struct worker_batch *batch = &worker->batches[index];

	RTE_ASSERT(index < WORKER_BATCHES);
	/* One that was given back already counts for nothing, as with the endpoint's own. */
	if (batch->left == 0 || --batch->left != 0)
		return;
	if (worker->endpoint != NULL)
		tp_endpoint_request_done(worker->endpoint, batch->token);
	batch->next = worker->batch_free;
	worker->batch_free = index + 1;
}

/*
 * A checked header that a list of pages follows; nothing of the list is checked.
 * Their turn comes in worker_batch_poll().
 */
void
worker_batch_message(struct tp_worker *worker, const struct tp_message *message,
	const struct tp_coherence_msg *msg)
{
	uint32_t bytes = message->length - (uint32_t)sizeof(*msg);
	uint32_t count = tp_coherence_batch_count(msg, bytes);
	struct worker_list *waiting = &worker->batch_waiting;
	uint32_t link = worker->batch_free;
	struct worker_batch *batch;

	if (count == 0 || link == 0) {
		if (count == 0) {
			worker->stats.messages_bad++;
		} else {
			/* One is lost, so the session is: worker_peers_retry(). */
			worker->stats.messages_overflow++;
			worker->peers[message->src_node].lost = true;
			worker->lost_retry = true;
		}
		tp_endpoint_request_done(worker->endpoint, message->token);
		return;
	}
	batch = &worker->batches[link - 1];
	worker->batch_free = batch->next;
	batch->token = message->token;
	batch->left = count;
	batch->count = count;
	batch->done = 0;
	batch->next = 0;
	batch->node = message->src_node;
	batch->worker = message->src_worker;
	batch->msg = *msg;
	tp_message_copy(message, sizeof(*msg), batch->items, bytes);
	if (waiting->first == 0)
		waiting->first = link;
	else
		worker->batches[waiting->last - 1].next = link;
	waiting->last = link;
	worker->stats.batches_in++;
}

static void
batch_pop(struct tp_worker *worker)
{
	struct worker_list *waiting = &worker->batch_waiting;

	waiting->first = worker->batches[waiting->first - 1].next;
	if (waiting->first == 0)
		waiting->last = 0;
}

/* The next pages of the first batch, each an event. @return pages. */
static uint32_t
batch_run(struct tp_worker *worker, struct worker_batch *batch, uint32_t budget)
{
	uint64_t token = WORKER_TOKEN_BATCH | (uint64_t)(batch - worker->batches);
	uint32_t count = RTE_MIN(budget, batch->count - batch->done);
	struct tp_coherence_msg pages[WORKER_BATCH_PAGES_PER_TURN];
	uint32_t i;

	for (i = 0; i < count; i++) {
		tp_coherence_batch_get(worker->coherence, &batch->msg, batch->items,
			batch->done + i, &pages[i]);
		tp_coherence_message_hint(worker->coherence, &pages[i]);
	}
	batch->done += count;
	if (batch->done == batch->count)
		batch_pop(worker);
	for (i = 0; i < count; i++) {
		/* Memory brings the next page while this one is copied and summed up. */
		if (i + 1 < count)
			tp_coherence_page_hint(worker->coherence,
				rte_le_to_cpu_32(pages[i + 1].region_id),
				rte_le_to_cpu_32(pages[i + 1].page_index));
		tp_coherence_message(worker->coherence, batch->node, batch->worker, &pages[i], 0,
			token, worker->now, &worker->outbox);
		worker_outbox_run(worker);
	}
	return count;
}

/* One stage of the turn: some pages of what others asked for. */
uint32_t
worker_batch_poll(struct tp_worker *worker)
{
	uint32_t work = 0;

	while (worker->batch_waiting.first != 0 && work < WORKER_BATCH_PAGES_PER_TURN)
		work += batch_run(worker, &worker->batches[worker->batch_waiting.first - 1],
			WORKER_BATCH_PAGES_PER_TURN - work);
	return work;
}

/*
 * The session with the node, or each, is lost: what was asked for in it is not to
 * be answered in the next.
 */
void
worker_batch_drop(struct tp_worker *worker, uint16_t node, bool all)
{
	uint32_t link = worker->batch_waiting.first;

	worker->batch_waiting = (struct worker_list){ 0 };
	while (link != 0) {
		struct worker_batch *batch = &worker->batches[link - 1];
		uint32_t next = batch->next;
		uint32_t rest = batch->count - batch->done;

		batch->next = 0;
		if (batch->node != node && !all) {
			if (worker->batch_waiting.first == 0)
				worker->batch_waiting.first = link;
			else
				worker->batches[worker->batch_waiting.last - 1].next = link;
			worker->batch_waiting.last = link;
		} else {
			batch->done = batch->count;
			while (rest-- > 0)
				worker_batch_done(worker, WORKER_TOKEN_BATCH | (link - 1));
		}
		link = next;
	}
}
