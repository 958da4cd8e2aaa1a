/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Carrying out what the coherence engine decided. Owner: the worker's lcore.
 *
 * Messages that the endpoint does not take at once wait in the stash (stash.c).
 */
#include "atomic_priv.h"
#include "inject_priv.h"
#include "worker_priv.h"

/* Class and priority of each coherence message. */
static const uint8_t outbox_class[TP_MSG_COUNT] = {
#define OUTBOX_CLASS(name, id, cls, payload) [TP_MSG_##name] = TP_CLASS_##cls,
	TP_COHERENCE_MSG_LIST(OUTBOX_CLASS)
#undef OUTBOX_CLASS
};

/* Which of them a page follows, unless a flag says otherwise. */
static const bool outbox_page[TP_MSG_COUNT] = {
#define OUTBOX_PAGE(name, id, cls, payload) [TP_MSG_##name] = (payload),
	TP_COHERENCE_MSG_LIST(OUTBOX_PAGE)
#undef OUTBOX_PAGE
};

/* Bytes of the header, of a message of that type and length. */
uint32_t
worker_message_header(uint8_t type, uint32_t length)
{
	return type < TP_MSG_COUNT && outbox_page[type] &&
		length != sizeof(struct tp_coherence_msg) ?
		TP_MSG_PAGE_HEADER : (uint32_t)sizeof(struct tp_coherence_msg);
}

static enum tp_priority
outbox_priority(uint8_t type)
{
	if (type == TP_MSG_PUT_S || type == TP_MSG_PUT_M || type == TP_MSG_PUT_ACK)
		return TP_PRIORITY_BULK;
	return TP_PRIORITY_URGENT;
}

/* 0, or what tp_endpoint_send() says. */
int
worker_message_send(struct tp_worker *worker, const struct worker_message *message,
	const void *payload)
{
	struct iovec iov[2];
	int count = 1;
	uint8_t type = message->msg.type;
	int ret;

	if (worker->endpoint == NULL)
		return -ENOENT;
	if (unlikely(worker->config.inject != NULL) &&
	    worker_inject_vanishes(worker, message->node, outbox_class[type]))
		return 0;
	iov[0].iov_base = (void *)(uintptr_t)&message->msg;
	iov[0].iov_len = sizeof(message->msg);
	if (payload != NULL) {
		if (outbox_page[type])
			iov[0].iov_len = TP_MSG_PAGE_HEADER;
		iov[1].iov_base = (void *)(uintptr_t)payload;
		iov[1].iov_len = message->payload_bytes;
		count = 2;
	}
	ret = tp_endpoint_send(worker->endpoint, message->node, (uint8_t)message->worker,
		(enum tp_class)outbox_class[type], outbox_priority(type), iov, count);
	if (ret == 0)
		worker->stats.messages_out++;
	return ret;
}

/* Try again later? Any other error: the node is down or unknown, the engine hears PEER_DOWN. */
static bool
outbox_is_refusal(int ret)
{
	return ret == -EAGAIN || ret == -ENOBUFS;
}

static void
outbox_stash(struct tp_worker *worker, const struct worker_message *message, const void *payload)
{
	enum tp_class class = (enum tp_class)outbox_class[message->msg.type];

	if (!worker_stash_add(worker, class, message, payload)) {
		/* One is lost, so the session is: worker_peers_retry(). */
		worker->stats.messages_overflow++;
		worker->peers[message->node].lost = true;
		worker->lost_retry = true;
		return;
	}
	worker->stats.messages_stashed++;
}

/* To another node: now, or as soon as the endpoint takes it. */
void
worker_outbox_send(struct tp_worker *worker, const struct worker_message *message,
	const void *payload)
{
	int ret;

	if (worker_stash_holds(worker, message->node,
			(enum tp_class)outbox_class[message->msg.type])) {
		outbox_stash(worker, message, payload);
		return;
	}
	ret = worker_message_send(worker, message, payload);
	if (likely(ret == 0))
		return;
	if (ret == -ENOBUFS)
		worker->stash.frames_short = true;
	if (outbox_is_refusal(ret))
		outbox_stash(worker, message, payload);
	else
		worker->stats.messages_dropped++;
}

static void
outbox_send_local(struct tp_worker *worker, const struct worker_message *message)
{
	struct worker_message *room = worker_fifo_add(&worker->local);

	worker->stats.messages_local++;
	if (room == NULL) {
		/* Sized for all that can be outstanding: see worker_create(). */
		RTE_ASSERT(!"local queue overflow");
		worker->stats.messages_overflow++;
		return;
	}
	*room = *message;
}

static void
outbox_send_action(struct tp_worker *worker, const struct tp_action *action)
{
	struct worker_message message = {
		.msg = action->msg,
		.slot = action->slot,
		.node = action->node,
		.worker = action->worker,
	};
	struct worker_region *region;
	const void *payload;
	bool told = false;

	if (unlikely(action->kept != NULL))
		message.msg.operand = rte_cpu_to_le_64(*action->kept);
	if (action->slot != TP_SLOT_ABSENT) {
		region = worker_region_find(worker, rte_le_to_cpu_32(action->msg.region_id));
		if (region == NULL)
			return;
		message.payload_bytes = region->page_bytes;
	}
	if (action->node == worker->config.node_id) {
		outbox_send_local(worker, &message);
		return;
	}
	if (action->node > worker->config.node_id_max) {
		worker->stats.messages_dropped++;
		return;
	}
	if (unlikely(worker->codec.bases_on) && message.slot == TP_SLOT_ABSENT)
		told = worker_codec_tell(worker, &message);
	if (unlikely(worker->gathering) && !told && worker_gather_add(worker, action))
		return;
	payload = message.slot == TP_SLOT_ABSENT ? NULL : worker_slot(worker, message.slot);
	if (unlikely(worker->codec.on) && payload != NULL)
		payload = worker_codec_encode(worker, &message, payload);
	worker_outbox_send(worker, &message, payload);
}

static void
outbox_copy_in(struct tp_worker *worker, const struct tp_action *action)
{
	uint8_t *slot = worker_slot(worker, action->slot);

	if (unlikely(worker->rx_page != NULL)) {
		memcpy(slot, worker->rx_page, worker->rx_page_bytes);
		return;
	}
	if (worker->rx_message != NULL) {
		tp_message_copy(worker->rx_message, TP_MSG_PAGE_HEADER, slot,
			worker->rx_message->length - TP_MSG_PAGE_HEADER);
		return;
	}
	if (worker->rx_slot != TP_SLOT_ABSENT && worker->rx_slot != action->slot)
		memcpy(slot, worker_slot(worker, worker->rx_slot), worker->config.slot_bytes);
}

static void
outbox_atomic(struct tp_worker *worker, const struct tp_action *action)
{
	struct tp_action reply = *action;
	uint32_t offset = 4u * rte_le_to_cpu_16(action->msg.atomic_offset_words);
	uint64_t old;

	RTE_ASSERT(offset + action->msg.atomic_width <= worker->config.slot_bytes);
	RTE_ASSERT(action->msg.atomic_width == 4 || action->msg.atomic_width == 8);
	old = node_atomic_run(worker_slot(worker, action->slot) + offset, action->msg.atomic_width,
		(enum tp_atomic_op)action->msg.atomic_op, rte_le_to_cpu_64(action->msg.operand),
		rte_le_to_cpu_64(action->msg.compare));
	if (action->kept != NULL)
		*action->kept = old;
	worker->stats.atomics_run++;
	reply.msg.type = TP_MSG_AMO_RESULT;
	reply.msg.operand = rte_cpu_to_le_64(old);
	reply.slot = TP_SLOT_ABSENT;
	reply.kept = NULL;
	outbox_send_action(worker, &reply);
}

static void
outbox_action(struct tp_worker *worker, const struct tp_action *action)
{
	switch ((enum tp_action_type)action->type) {
	case TP_ACTION_SEND:
		outbox_send_action(worker, action);
		break;
	case TP_ACTION_COPY_IN:
		outbox_copy_in(worker, action);
		break;
	case TP_ACTION_ZERO:
		memset(worker_slot(worker, action->slot), 0, worker->config.slot_bytes);
		break;
	case TP_ACTION_COPY_SLOT:
		/* No hit that reads the old slot may be found good once it is copied. */
		atomic_thread_fence(memory_order_seq_cst);
		memcpy(worker_slot(worker, action->slot), worker_slot(worker, action->from_slot),
			worker->config.slot_bytes);
		break;
	case TP_ACTION_PUBLISH:
		worker_word_store(worker, action, (enum tp_access)action->access);
		break;
	case TP_ACTION_REVOKE:
		worker_word_store(worker, action, (enum tp_access)action->access);
		worker_guard_wait_add(worker, action);
		break;
	case TP_ACTION_COMPLETE:
		worker_complete(worker, action);
		break;
	case TP_ACTION_ATOMIC:
		outbox_atomic(worker, action);
		break;
	case TP_ACTION_FENCE:
		worker_fence_ask(worker, action->node);
		break;
	case TP_ACTION_REQUEST_DONE:
		if (action->token == WORKER_TOKEN_LOCAL)
			break;
		if (action->token & WORKER_TOKEN_BATCH)
			worker_batch_done(worker, action->token);
		else if (worker->endpoint != NULL)
			tp_endpoint_request_done(worker->endpoint, action->token);
		break;
	case TP_ACTION_LOAD:
		worker_page_load(worker, action);
		break;
	case TP_ACTION_PERSIST:
		worker_page_persist(worker, action);
		break;
	default:
		RTE_ASSERT(!"unknown action");
	}
}

void
worker_outbox_action(struct tp_worker *worker, const struct tp_action *action)
{
	struct tp_action checked;

	if (likely(worker->sums == NULL)) {
		outbox_action(worker, action);
		return;
	}
	checked = *action;
	worker_sum_action(worker, &checked);
	outbox_action(worker, &checked);
	if (checked.type == TP_ACTION_COPY_IN)
		worker_sum_set(worker, &checked);
}

/* Carry out one event's actions, then those of the guards it found clear. */
void
worker_outbox_run(struct tp_worker *worker)
{
	uint32_t i;

	for (i = 0; i < worker->outbox.count; i++)
		worker_outbox_action(worker, &worker->outbox.actions[i]);
	worker->outbox.count = 0;
	worker->rx_message = NULL;
	worker->rx_page = NULL;
	worker->rx_slot = TP_SLOT_ABSENT;
	worker_guard_new_run(worker);
}

/* Messages of this node to itself: cache side to home side and back. */
uint32_t
worker_local_run(struct tp_worker *worker)
{
	uint32_t work = 0;

	while (work < WORKER_LOCAL_PER_TURN && worker_fifo_first(&worker->local) != NULL) {
		struct worker_message message = *worker_fifo_first(&worker->local);

		worker->local.tail++;
		worker->rx_slot = message.slot;
		tp_coherence_message(worker->coherence, worker->config.node_id,
			worker->config.index, &message.msg,
			message.slot == TP_SLOT_ABSENT ? 0 : message.payload_bytes,
			WORKER_TOKEN_LOCAL, worker->now, &worker->outbox);
		worker_outbox_run(worker);
		work++;
	}
	return work;
}
