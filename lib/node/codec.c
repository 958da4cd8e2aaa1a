/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Page contents between a worker's slots and the wire (docs/protocol.md section
 * 7). Owner: the worker's lcore.
 *
 * Pages go as they are unless the control side has named a link so slow that
 * something else may pay: then a chooser per link decides for each page. What
 * comes in is decoded whatever this node sends itself.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_common.h>

#include "worker_priv.h"

#define CODEC_NO_PAGE (TP_MSG_F_ZERO | TP_MSG_F_IN_PLACE | TP_MSG_F_NO_DATA)

static const bool codec_carries_page[TP_MSG_COUNT] = {
#define CODEC_CARRIES(name, id, cls, payload) [TP_MSG_##name] = (payload) != 0,
	TP_COHERENCE_MSG_LIST(CODEC_CARRIES)
#undef CODEC_CARRIES
};

static uint32_t
codec_page_max(const struct tp_worker *worker)
{
	return RTE_MIN(worker->config.slot_bytes, TP_CODEC_PAGE_MAX);
}

/* 0 or -ENOMEM. */
int
worker_codec_init(struct tp_worker *worker)
{
	const struct worker_config *config = &worker->config;
	struct worker_codec *codec = &worker->codec;
	uint32_t bytes = codec_page_max(worker);
	uint32_t i;

	codec->codec = tp_codec_create(bytes);
	codec->page = malloc(bytes);
	codec->payload = malloc(bytes);
	codec->decoded = malloc(bytes);
	if (codec->codec == NULL || codec->page == NULL || codec->payload == NULL ||
	    codec->decoded == NULL)
		return -ENOMEM;
	for (i = 0; i < TP_ENDPOINT_LINKS_MAX; i++) {
		if (config->link_ns_per_kib[i] == 0)
			continue;
		codec->on = true;
		tp_codec_chooser_init(&codec->choosers[i], WORKER_CODEC_PAGE, config->codec_costs);
		tp_codec_chooser_link_set(&codec->choosers[i], config->link_ns_per_kib[i]);
	}
	return 0;
}

void
worker_codec_fini(struct tp_worker *worker)
{
	tp_codec_destroy(worker->codec.codec);
	free(worker->codec.page);
	free(worker->codec.payload);
	free(worker->codec.decoded);
}

static uint64_t
codec_now(const struct worker_config *config)
{
	return config->codec_now_ns == NULL ? 0 : config->codec_now_ns(config->codec_now_ctx);
}

/* Regions may have pages of other sizes than the chooser: it hears of shares of its own. */
static uint32_t
codec_scale(const struct tp_codec_chooser *chooser, uint64_t value, uint32_t page_bytes)
{
	return (uint32_t)RTE_MIN(value * chooser->page_bytes / page_bytes,
		(uint64_t)TP_CODEC_NS_UNKNOWN - 1);
}

static void
codec_learn(struct tp_worker *worker, struct tp_codec_chooser *chooser,
	struct tp_codec_choice choice, uint64_t ns, uint32_t bytes, uint32_t page_bytes)
{
	const struct tp_codec_cost outcome = {
		.encode_ns = worker->config.codec_now_ns == NULL ? TP_CODEC_NS_UNKNOWN :
			codec_scale(chooser, ns, page_bytes),
		.decode_ns = TP_CODEC_NS_UNKNOWN,
		.bytes = codec_scale(chooser, bytes, page_bytes),
	};

	tp_codec_chooser_learn(chooser, choice, &outcome);
}

/*
 * What is to be sent for a page: it itself, or a payload that stays until the
 * next call, NULL when it needs none. The message is told.
 */
const void *
worker_codec_encode(struct tp_worker *worker, struct worker_message *message, const void *page)
{
	struct worker_codec *codec = &worker->codec;
	struct tp_codec_chooser *chooser = &codec->choosers[worker->peers[message->node].link];
	uint32_t page_bytes = message->payload_bytes;
	struct tp_codec_choice choice;
	enum tp_codec_id id;
	uint64_t start;
	int bytes;

	if (chooser->ns_per_kib == 0 || page_bytes > codec_page_max(worker))
		return page;
	choice = tp_codec_chooser_choose(chooser, page, false, 0);
	if (choice.id == TP_CODEC_RAW)
		return page;
	start = codec_now(&worker->config);
	/*
	 * A copy: who was told to stop writing and did not, a client with a broken
	 * guard, must not make a payload that nobody can read.
	 */
	memcpy(codec->page, page, page_bytes);
	bytes = tp_codec_encode(codec->codec, (enum tp_codec_id)choice.id, codec->page, NULL,
		page_bytes, codec->payload, &id);
	RTE_ASSERT(bytes >= 0);
	codec_learn(worker, chooser, choice, codec_now(&worker->config) - start, (uint32_t)bytes,
		page_bytes);
	/* With such a payload it would be as long as a message without one. */
	if (id == TP_CODEC_RAW || bytes == sizeof(message->msg) - TP_MSG_PAGE_HEADER)
		return page;
	message->msg.codec = (uint8_t)id;
	message->payload_bytes = (uint32_t)bytes;
	worker->stats.pages_encoded++;
	worker->stats.bytes_saved += page_bytes - (uint32_t)bytes;
	return bytes == 0 ? NULL : codec->payload;
}

/* What decoding takes here, it takes the peer that decodes what is sent to it. */
static void
codec_learn_decode(struct tp_worker *worker, uint16_t node, uint8_t id, uint64_t ns,
	uint32_t page_bytes)
{
	struct tp_codec_chooser *chooser = &worker->codec.choosers[worker->peers[node].link];
	struct tp_codec_choice choice = { .id = id };

	if (chooser->ns_per_kib == 0)
		return;
	choice.page_class = (uint8_t)tp_codec_page_class(worker->codec.decoded, WORKER_CODEC_PAGE);
	tp_codec_chooser_learn_decode(chooser, choice, codec_scale(chooser, ns, page_bytes));
}

/*
 * Decode the payload of a message, to where COPY_IN finds it; the message then is
 * one with the page itself. Nothing of it was checked before.
 *
 * @return Bytes of the page; 0 when the region is not known here (the engine says
 *   so); -EBADMSG.
 */
int
worker_codec_decode(struct tp_worker *worker, const struct tp_message *message,
	struct tp_coherence_msg *msg, uint32_t header_bytes)
{
	struct worker_codec *codec = &worker->codec;
	struct worker_region *region;
	uint64_t start;
	uint32_t bytes;
	int ret;

	if (msg->flags & CODEC_NO_PAGE)
		return -EBADMSG;
	region = worker_region_find(worker, rte_le_to_cpu_32(msg->region_id));
	if (region == NULL) {
		msg->codec = TP_CODEC_RAW;
		return 0;
	}
	bytes = tp_message_copy(message, header_bytes, codec->payload, codec_page_max(worker));
	start = codec_now(&worker->config);
	ret = tp_codec_decode(codec->codec, msg->codec, codec->payload, bytes, NULL,
		codec->decoded, region->page_bytes);
	if (ret < 0)
		return -EBADMSG;
	if (worker->config.codec_now_ns != NULL)
		codec_learn_decode(worker, message->src_node, msg->codec,
			codec_now(&worker->config) - start, region->page_bytes);
	msg->codec = TP_CODEC_RAW;
	worker->rx_page = codec->decoded;
	worker->rx_page_bytes = region->page_bytes;
	worker->stats.pages_decoded++;
	return (int)region->page_bytes;
}

bool
worker_codec_is_encoded(const struct tp_coherence_msg *msg)
{
	return msg->codec != TP_CODEC_RAW && msg->type < TP_MSG_COUNT &&
		codec_carries_page[msg->type];
}
