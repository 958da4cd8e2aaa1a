/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What the endpoint tells a worker, and what the control side tells it about
 * other nodes. Owner: the worker's lcore.
 *
 * The endpoint knows whether a peer answers; the control side knows which epoch
 * of it is a member. PEER_DOWN and PEER_UP of the coherence engine come from the
 * first, PEER_FENCED and HOME_RESET from the second.
 */
#include <errno.h>

#include "node_wire_priv.h"
#include "worker_priv.h"

static void
peer_set_up(struct tp_worker *worker, uint16_t node, bool up)
{
	worker->peers[node].up = up;
	if (worker->config.index == 0)
		/* For people only: nothing else is read through it. */
		atomic_store_explicit(&worker->config.shared->reachable[node], up,
			memory_order_relaxed);
}

static void
peer_down(struct tp_worker *worker, uint16_t node)
{
	if (!worker->peers[node].up)
		return;
	peer_set_up(worker, node, false);
	worker_stash_drop(worker, node, false);
	worker_batch_drop(worker, node, false);
	tp_coherence_peer_down(worker->coherence, node, worker->now, &worker->outbox);
	worker_outbox_run(worker);
}

static void
peer_come_up(struct tp_worker *worker, uint16_t node)
{
	/*
	 * The sessions of an epoch that is over stay as SELF_FENCED left them: what a
	 * home repeats over a new one is about copies that were dropped here. Nor is a
	 * peer back that makes a session in an epoch that is over: what it got then
	 * the next epoch would not take off the books.
	 */
	if (worker->fencing != WORKER_FENCING_NO || worker->peers[node].over)
		return;
	peer_set_up(worker, node, true);
	tp_coherence_peer_up(worker->coherence, node, worker->peers[node].worker_count,
		worker->now, &worker->outbox);
	worker_outbox_run(worker);
}

static void
ep_peer_up(void *ctx, uint16_t node, uint32_t incarnation)
{
	struct tp_worker *worker = ctx;

	if (node > worker->config.node_id_max || worker->peers[node].epoch != incarnation)
		return;
	peer_come_up(worker, node);
}

static void
ep_peer_down(void *ctx, uint16_t node, uint32_t incarnation, enum tp_peer_down_reason reason)
{
	struct tp_worker *worker = ctx;

	if (node > worker->config.node_id_max)
		return;
	/* One that never answered is down, too: what waits for it must hear that. */
	worker->peers[node].up = true;
	peer_down(worker, node);
}

static void
message_bad(struct tp_worker *worker, const struct tp_message *message)
{
	worker->stats.messages_bad++;
	if (message->class == TP_CLASS_REQUEST)
		tp_endpoint_request_done(worker->endpoint, message->token);
}

static void
message_coherence(struct tp_worker *worker, const struct tp_message *message)
{
	const uint8_t *type = tp_message_head(message, 1);
	uint32_t bytes = worker_message_header(*type, message->length);
	const void *head = tp_message_head(message, bytes);
	struct tp_coherence_msg msg;
	int payload_bytes = (int)(message->length - bytes);

	if (head == NULL || message->length - bytes > worker->config.slot_bytes) {
		message_bad(worker, message);
		return;
	}
	/* Frames are not aligned for its fields. */
	if (likely(bytes == TP_MSG_PAGE_HEADER)) {
		memset(&msg, 0, sizeof(msg));
		memcpy(&msg, head, TP_MSG_PAGE_HEADER);
	} else {
		memcpy(&msg, head, sizeof(msg));
	}
	if (unlikely(worker->codec.bases_on || worker_codec_is_encoded(&msg))) {
		payload_bytes = worker_codec_receive(worker, message, &msg, bytes);
		if (payload_bytes == -ESTALE) {
			worker_codec_unreadable(worker, message, &msg);
			return;
		}
		if (payload_bytes < 0) {
			message_bad(worker, message);
			return;
		}
	}
	worker->stats.messages_in++;
	if (unlikely(message->length > sizeof(msg) && message->class == TP_CLASS_REQUEST &&
		     (msg.type == TP_MSG_GET_S || msg.type == TP_MSG_GET_M))) {
		worker_batch_message(worker, message, &msg);
		return;
	}
	worker->rx_message = message;
	tp_coherence_message(worker->coherence, message->src_node, message->src_worker, &msg,
		(uint32_t)payload_bytes, message->token, worker->now, &worker->outbox);
	worker_outbox_run(worker);
}

static void
message_node(struct tp_worker *worker, const struct tp_message *message)
{
	struct worker_event event = { .type = WORKER_NODE_RECEIVED, .node = message->src_node };
	bool room = node_ring_room(&worker->events) > WORKER_EVENTS / 2;

	if (message->length != NODE_MSG_BYTES || !room) {
		message_bad(worker, message);
		return;
	}
	tp_message_copy(message, 0, event.bytes, NODE_MSG_BYTES);
	worker_event_push(worker, &event);
	if (message->class == TP_CLASS_REQUEST)
		tp_endpoint_request_done(worker->endpoint, message->token);
}

static void
ep_message(void *ctx, const struct tp_message *message)
{
	struct tp_worker *worker = ctx;
	const uint8_t *head = tp_message_head(message, 1);

	/* A node that the control side does not know (any more) has no say. */
	if (head == NULL || message->src_node > worker->config.node_id_max ||
	    worker->peers[message->src_node].epoch == 0) {
		message_bad(worker, message);
		return;
	}
	if (head[0] >= NODE_MSG_FIRST)
		message_node(worker, message);
	else
		message_coherence(worker, message);
}

static void
ep_steer(void *ctx, uint8_t to_worker, struct tp_frame *frame)
{
	struct tp_worker *worker = ctx;

	if (worker->config.steer == NULL || to_worker >= worker->config.worker_count) {
		tp_frame_free(frame);
		return;
	}
	worker->config.steer(worker->config.steer_ctx, worker->config.index, to_worker, frame);
}

static void
ep_neighbour(void *ctx, uint8_t link_index, uint32_t ip, const uint8_t mac[6])
{
	struct tp_worker *worker = ctx;
	struct worker_event event = { .type = WORKER_LEARNED, .link = link_index, .ip = ip };

	/* A hint: the others can ask themselves. */
	if (worker->config.worker_count == 1 || node_ring_room(&worker->events) < WORKER_EVENTS / 2)
		return;
	memcpy(event.mac, mac, sizeof(event.mac));
	worker_event_push(worker, &event);
}

/* Nothing of it is checked: a wrong guess costs a few lines of cache. */
static void
ep_hint(void *ctx, const void *head, uint32_t length, bool next)
{
	struct tp_worker *worker = ctx;
	struct tp_coherence_msg msg;

	static_assert(sizeof(msg) <= TP_ENDPOINT_HINT_BYTES, "it is all there");
	memcpy(&msg, head, sizeof(msg));
	if (next)
		tp_coherence_page_hint(worker->coherence, rte_le_to_cpu_32(msg.region_id),
			rte_le_to_cpu_32(msg.page_index));
	else
		tp_coherence_message_hint(worker->coherence, &msg);
}

const struct tp_endpoint_ops worker_endpoint_ops = {
	.message = ep_message,
	.peer_up = ep_peer_up,
	.peer_down = ep_peer_down,
	.steer = ep_steer,
	.neighbour = ep_neighbour,
	.hint = ep_hint,
};

void
worker_peer_set(struct tp_worker *worker, const struct worker_command *command)
{
	struct worker_peer *peer = &worker->peers[command->node];
	int ret;

	if (peer->epoch != 0 && peer->epoch != command->epoch)
		/* The endpoint drops the old epoch's sessions without a word. */
		peer_down(worker, command->node);
	if (peer->epoch != command->epoch)
		peer->over = false;
	peer->epoch = command->epoch;
	peer->worker_count = command->worker_count;
	peer->link = command->link;
	ret = tp_endpoint_peer_set(worker->endpoint, command->node, command->epoch, command->ip,
		command->has_mac ? command->mac : NULL, command->link, command->worker_count);
	if (ret < 0)
		TP_NODE_LOG(ERR, "worker %u cannot take node %u as a peer: %s",
			worker->config.index, command->node, strerror(-ret));
}

void
worker_peer_remove(struct tp_worker *worker, uint16_t node)
{
	peer_down(worker, node);
	worker->peers[node].epoch = 0;
	tp_endpoint_peer_remove(worker->endpoint, node);
}

void
worker_peer_fenced(struct tp_worker *worker, uint16_t node)
{
	peer_down(worker, node);
	worker->peers[node].over = true;
	tp_coherence_peer_fenced(worker->coherence, node, worker->now, &worker->outbox);
	worker_outbox_run(worker);
}

void
worker_home_reset(struct tp_worker *worker, uint16_t node)
{
	tp_coherence_home_reset(worker->coherence, node, worker->now, &worker->outbox);
	worker_outbox_run(worker);
}

/* A new epoch of this node: its sessions are new, its peers are told again. */
void
worker_endpoint_change(struct tp_worker *worker, struct tp_endpoint *endpoint)
{
	uint32_t node;

	for (node = 0; node <= worker->config.node_id_max; node++) {
		if (worker->peers[node].up)
			peer_down(worker, (uint16_t)node);
		worker->peers[node].epoch = 0;
	}
	worker_stash_drop(worker, 0, true);
	worker_batch_drop(worker, 0, true);
	worker_fabric_stats_copy(worker);
	memcpy(worker->fabric_base, worker->fabric, sizeof(worker->fabric_base));
	tp_endpoint_destroy(worker->endpoint);
	worker->endpoint = endpoint;
	worker->codec.probe.on = false;
}

/* Rare leftovers: fences the event ring had no room for, messages lost for want of a stash. */
uint32_t
worker_peers_retry(struct tp_worker *worker)
{
	uint32_t work = 0;
	uint32_t node;

	if (worker->fence_retry) {
		worker->fence_retry = false;
		for (node = 0; node <= worker->config.node_id_max; node++)
			if (worker->peers[node].fence_wanted)
				worker_fence_ask(worker, (uint16_t)node);
		work++;
	}
	/*
	 * Messages of a session arrive, all of them, or it ends on both sides: what
	 * the engines make of a repeated message depends on it.
	 */
	if (worker->lost_retry) {
		worker->lost_retry = false;
		for (node = 0; node <= worker->config.node_id_max; node++) {
			if (!worker->peers[node].lost)
				continue;
			worker->peers[node].lost = false;
			tp_endpoint_peer_silence(worker->endpoint, (uint16_t)node);
		}
		work++;
	}
	return work;
}
