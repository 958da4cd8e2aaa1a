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

#define CODEC_QUEUE_MAX_NS UINT64_C(1000000)	/* the link may be faster than is thought */
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

/* How fast a link is; 0: pages go as they are. */
void
worker_codec_link_set(struct tp_worker *worker, uint8_t link, uint32_t ns_per_kib)
{
	struct worker_codec *codec = &worker->codec;

	tp_codec_chooser_link_set(&codec->choosers[link], ns_per_kib);
	codec->on = false;
	for (uint32_t i = 0; i < TP_ENDPOINT_LINKS_MAX; i++)
		codec->on |= codec->choosers[i].ns_per_kib != 0;
	codec->bases_on = codec->on && codec->bases.count != 0;
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
	codec->payload = malloc(bytes + WORKER_BASE_HEADER);
	codec->decoded = malloc(bytes);
	if (codec->codec == NULL || codec->page == NULL || codec->payload == NULL ||
	    codec->decoded == NULL || worker_bases_init(&codec->bases, config->base_count, bytes) < 0)
		return -ENOMEM;
	for (i = 0; config->codec_costs != NULL && i < TP_ENDPOINT_LINKS_MAX; i++) {
		tp_codec_chooser_init(&codec->choosers[i], WORKER_CODEC_PAGE, config->codec_costs);
		if (config->codec_only != 0)
			tp_codec_chooser_fix(&codec->choosers[i], config->codec_only - 1);
		codec->measures |= config->link_measured[i];
		worker_codec_link_set(worker, (uint8_t)i, config->link_ns_per_kib[i]);
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
	worker_bases_fini(&worker->codec.bases);
}

static uint64_t
codec_now(const struct worker_config *config)
{
	return config->codec_now_ns == NULL ? 0 : config->codec_now_ns(config->codec_now_ctx);
}

/* Time for what the link still has to do: a clock, or where there is none this turn. */
static uint64_t
codec_queue_now(const struct tp_worker *worker)
{
	return worker->config.codec_now_ns == NULL ? worker->now : codec_now(&worker->config);
}

/* How long the link needs for the pages that it was given, by what is known of it. */
static uint64_t
codec_queue_ns(const struct tp_worker *worker, uint8_t link, uint64_t now)
{
	uint64_t until = worker->codec.busy_until[link];

	return until > now ? until - now : 0;
}

static void
codec_queue_add(struct tp_worker *worker, uint8_t link, uint64_t now, uint32_t bytes)
{
	struct worker_codec *codec = &worker->codec;
	uint64_t until = RTE_MAX(codec->busy_until[link], now) +
		(((uint64_t)bytes * codec->choosers[link].ns_per_kib) >> 10);

	codec->busy_until[link] = RTE_MIN(until, now + CODEC_QUEUE_MAX_NS);
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

/* Changes of pages may pay on the link to that node. */
static bool
codec_bases_on(const struct tp_worker *worker, uint16_t node)
{
	const struct worker_codec *codec = &worker->codec;

	return codec->bases_on && !codec->choosers[worker->peers[node].link].raw_wins[1];
}

static bool
codec_is_get(const struct tp_coherence_msg *msg)
{
	return (msg->type == TP_MSG_GET_S || msg->type == TP_MSG_GET_M) && msg->flags == 0;
}

/* The copy of a message's page here, or home memory; NULL: none, or it counts as zero. */
static const uint8_t *
codec_slot(const struct tp_worker *worker, const struct tp_coherence_msg *msg)
{
	uint32_t slot = tp_coherence_page_slot(worker->coherence,
		rte_le_to_cpu_32(msg->region_id), rte_le_to_cpu_32(msg->page_index));

	return slot == TP_SLOT_ABSENT ? NULL : worker_slot(worker, slot);
}

/* Say in a message without a page what is held here. @return It is in a GET. */
bool
worker_codec_tell(struct tp_worker *worker, struct worker_message *message)
{
	struct tp_coherence_msg *msg = &message->msg;
	const struct worker_region *region;
	const uint8_t *home;

	if (worker->codec.bases.hushed)
		return false;
	if (codec_is_get(msg) && codec_bases_on(worker, message->node)) {
		msg->operand = rte_cpu_to_le_64(worker_base_tell(worker, msg));
		return msg->operand != 0;
	}
	if (msg->type != TP_MSG_FWD_S && msg->type != TP_MSG_FWD_M && msg->type != TP_MSG_RECALL)
		return false;
	region = worker_region_find(worker, rte_le_to_cpu_32(msg->region_id));
	home = codec_slot(worker, msg);
	if (region != NULL && home != NULL && region->page_bytes <= codec_page_max(worker) &&
	    codec_bases_on(worker, message->node))
		msg->compare = rte_cpu_to_le_64(tp_codec_sum(home, region->page_bytes));
	return false;
}

/* The contents that the receiver of a page has said to hold and that are here, too. */
static const struct worker_base *
codec_base(struct tp_worker *worker, const struct worker_message *message)
{
	const struct worker_base *base = worker_base_find(&worker->codec.bases,
		rte_le_to_cpu_32(message->msg.region_id),
		rte_le_to_cpu_32(message->msg.page_index));

	if (base == NULL || !codec_bases_on(worker, message->node))
		return NULL;
	/* Who granted it to us holds it, until we give it back. */
	if (message->msg.type == TP_MSG_PUT_M)
		return base->home && !worker->codec.bases.hushed ? base : NULL;
	return base->sum == rte_le_to_cpu_64(message->msg.operand) ? base : NULL;
}

/*
 * Encode codec->page. Bytes of the payload, which begins at *payload, or -ENOSPC:
 * the page goes as it is.
 */
static int
codec_page_encode(struct tp_worker *worker, struct tp_codec_choice choice, uint32_t page_bytes,
	const struct worker_base *base, uint64_t sum, enum tp_codec_id *id, uint8_t **payload)
{
	struct worker_codec *codec = &worker->codec;
	uint8_t *out = codec->payload + WORKER_BASE_HEADER;
	rte_le64_t header[2];
	int bytes;

	bytes = tp_codec_encode(codec->codec, (enum tp_codec_id)choice.id, codec->page,
		base == NULL ? NULL : base->page, page_bytes, out, id);
	RTE_ASSERT(bytes >= 0);
	*payload = out;
	if (tp_codec_needs_base(*id)) {
		header[0] = rte_cpu_to_le_64(base->sum);
		header[1] = rte_cpu_to_le_64(sum);
		memcpy(codec->payload, header, sizeof(header));
		*payload = codec->payload;
		bytes += (int)WORKER_BASE_HEADER;
	}
	/* With such a payload it would be as long as a message without one. */
	if (*id == TP_CODEC_RAW || (uint32_t)bytes >= page_bytes ||
	    bytes == sizeof(struct tp_coherence_msg) - TP_MSG_PAGE_HEADER)
		return -ENOSPC;
	return bytes;
}

/*
 * What is to be sent for a page: it itself, or a payload that stays until the
 * next call, NULL when it needs none. The message is told.
 */
const void *
worker_codec_encode(struct tp_worker *worker, struct worker_message *message, const void *page)
{
	struct worker_codec *codec = &worker->codec;
	const uint8_t link = worker->peers[message->node].link;
	struct tp_codec_chooser *chooser = &codec->choosers[link];
	bool bases = codec_bases_on(worker, message->node);
	uint32_t page_bytes = message->payload_bytes;
	const struct worker_base *base;
	struct tp_codec_choice choice;
	enum tp_codec_id id = TP_CODEC_RAW;
	uint8_t *payload = NULL;
	uint64_t sum = 0;
	uint64_t start, now;
	int bytes;

	if (chooser->ns_per_kib == 0 || page_bytes > codec_page_max(worker))
		return page;
	base = bases ? codec_base(worker, message) : NULL;
	now = codec_queue_now(worker);
	choice = tp_codec_chooser_choose(chooser, page, base != NULL,
		codec_scale(chooser, codec_queue_ns(worker, link, now), page_bytes));
	if (choice.id == TP_CODEC_RAW && !bases) {
		codec_queue_add(worker, link, now, page_bytes);
		return page;
	}
	start = codec_now(&worker->config);
	/*
	 * A copy: who was told to stop writing and did not, a client with a broken
	 * guard, must not make a payload that nobody can read.
	 */
	memcpy(codec->page, page, page_bytes);
	if (bases)
		sum = tp_codec_sum(codec->page, page_bytes);
	bytes = choice.id == TP_CODEC_RAW ? -ENOSPC :
		codec_page_encode(worker, choice, page_bytes, base, sum, &id, &payload);
	if (choice.id != TP_CODEC_RAW)
		codec_learn(worker, chooser, choice, codec_now(&worker->config) - start,
			bytes < 0 ? page_bytes : (uint32_t)bytes, page_bytes);
	if (bases)
		worker_base_save(worker, rte_le_to_cpu_32(message->msg.region_id),
			rte_le_to_cpu_32(message->msg.page_index), codec->page, page_bytes, sum,
			false);
	message->msg.operand = 0;
	codec_queue_add(worker, link, now, bytes < 0 ? page_bytes : (uint32_t)bytes);
	if (bytes < 0)
		return codec->page;
	message->msg.codec = (uint8_t)id;
	message->payload_bytes = (uint32_t)bytes;
	worker->stats.pages_encoded++;
	worker->stats.changes_sent += tp_codec_needs_base(id);
	worker->stats.bytes_saved += page_bytes - (uint32_t)bytes;
	return bytes == 0 ? NULL : payload;
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

/* The contents a payload says it is a change of, NULL: they are not here. */
static const uint8_t *
codec_base_held(struct tp_worker *worker, const struct tp_coherence_msg *msg, uint64_t sum,
	uint32_t page_bytes)
{
	const struct worker_base *base;
	const uint8_t *home;

	if (msg->type == TP_MSG_WB || msg->type == TP_MSG_PUT_M) {
		home = codec_slot(worker, msg);
		return home != NULL && tp_codec_sum(home, page_bytes) == sum ? home : NULL;
	}
	base = worker_base_find(&worker->codec.bases, rte_le_to_cpu_32(msg->region_id),
		rte_le_to_cpu_32(msg->page_index));
	return base != NULL && base->sum == sum ? base->page : NULL;
}

/* 0, -EBADMSG, or -ESTALE: a change of what is not held here. */
static int
codec_page_decode(struct tp_worker *worker, const struct tp_coherence_msg *msg,
	const uint8_t *payload, uint32_t bytes, uint32_t page_bytes)
{
	struct worker_codec *codec = &worker->codec;
	const uint8_t *base;
	rte_le64_t header[2];

	if (!tp_codec_needs_base(msg->codec))
		return tp_codec_decode(codec->codec, msg->codec, payload, bytes, NULL,
			codec->decoded, page_bytes) < 0 ? -EBADMSG : 0;
	if (bytes < WORKER_BASE_HEADER || page_bytes > codec_page_max(worker))
		return -EBADMSG;
	memcpy(header, payload, sizeof(header));
	base = codec_base_held(worker, msg, rte_le_to_cpu_64(header[0]), page_bytes);
	if (base == NULL)
		return -ESTALE;
	if (tp_codec_decode(codec->codec, msg->codec, payload + WORKER_BASE_HEADER,
			bytes - WORKER_BASE_HEADER, base, codec->decoded, page_bytes) < 0)
		return -EBADMSG;
	return tp_codec_sum(codec->decoded, page_bytes) == rte_le_to_cpu_64(header[1]) ?
		0 : -ESTALE;
}

/* The page that came, in codec->decoded, is what the sender holds now, and this node. */
static void
codec_received(struct tp_worker *worker, uint16_t node, const struct tp_coherence_msg *msg,
	const struct worker_region *region)
{
	uint32_t page_index = rte_le_to_cpu_32(msg->page_index);

	if (page_index >= region->page_count)
		return;
	worker_base_save(worker, region->id, page_index, worker->codec.decoded, region->page_bytes,
		tp_codec_sum(worker->codec.decoded, region->page_bytes),
		(msg->type == TP_MSG_DATA_S || msg->type == TP_MSG_DATA_M) &&
		tp_region_home(region->region, page_index) == node);
}

/* What messages without a page say of what is held here and elsewhere. */
static void
codec_told(struct tp_worker *worker, const struct tp_coherence_msg *msg,
	const struct worker_region *region)
{
	uint32_t page_index = rte_le_to_cpu_32(msg->page_index);
	uint8_t *copy = worker->codec.page;
	struct worker_base *base;
	const uint8_t *page;

	if (msg->type == TP_MSG_GRANT_M && region->page_bytes <= codec_page_max(worker)) {
		/* The copy that may be written to from now on is home memory still. */
		page = codec_slot(worker, msg);
		if (page == NULL)
			return;
		memcpy(copy, page, region->page_bytes);
		worker_base_save(worker, region->id, page_index, copy, region->page_bytes,
			tp_codec_sum(copy, region->page_bytes), true);
	} else if (msg->flags & TP_MSG_F_ZERO) {
		worker_base_forget(worker, region->id, page_index);
	} else if (msg->type == TP_MSG_NACK) {
		base = worker_base_find(&worker->codec.bases, region->id, page_index);
		if (base != NULL)
			base->home = false;
	}
}

/* One that came as it is, and is worth remembering. */
static void
codec_raw_receive(struct tp_worker *worker, const struct tp_message *message,
	const struct tp_coherence_msg *msg, uint32_t header_bytes)
{
	struct worker_codec *codec = &worker->codec;
	const struct worker_region *region =
		worker_region_find(worker, rte_le_to_cpu_32(msg->region_id));

	if (region == NULL || !codec_bases_on(worker, message->src_node))
		return;
	if (message->length == header_bytes) {
		codec_told(worker, msg, region);
		return;
	}
	if (msg->type >= TP_MSG_COUNT || !codec_carries_page[msg->type] ||
	    msg->flags & CODEC_NO_PAGE || region->page_bytes > codec_page_max(worker) ||
	    message->length - header_bytes != region->page_bytes)
		return;
	tp_message_copy(message, header_bytes, codec->decoded, region->page_bytes);
	worker->rx_page = codec->decoded;
	worker->rx_page_bytes = region->page_bytes;
	codec_received(worker, message->src_node, msg, region);
}

/*
 * A message before the engine hears of it: one with an encoded page becomes one with
 * the page, where COPY_IN finds it. Nothing of it was checked before.
 *
 * @return Bytes after the header, of the page if there was one; 0 when its region is
 *   not known here (the engine says so); -EBADMSG; -ESTALE: it is a change of what is
 *   not held here.
 */
int
worker_codec_receive(struct tp_worker *worker, const struct tp_message *message,
	struct tp_coherence_msg *msg, uint32_t header_bytes)
{
	struct worker_codec *codec = &worker->codec;
	struct worker_region *region;
	uint64_t start;
	uint32_t bytes;
	int ret;

	if (!worker_codec_is_encoded(msg)) {
		codec_raw_receive(worker, message, msg, header_bytes);
		return (int)(message->length - header_bytes);
	}
	if (msg->flags & CODEC_NO_PAGE)
		return -EBADMSG;
	region = worker_region_find(worker, rte_le_to_cpu_32(msg->region_id));
	if (region == NULL) {
		msg->codec = TP_CODEC_RAW;
		return 0;
	}
	bytes = tp_message_copy(message, header_bytes, codec->payload, codec_page_max(worker));
	start = codec_now(&worker->config);
	ret = codec_page_decode(worker, msg, codec->payload, bytes, region->page_bytes);
	if (ret < 0)
		return ret;
	if (worker->config.codec_now_ns != NULL)
		codec_learn_decode(worker, message->src_node, msg->codec,
			codec_now(&worker->config) - start, region->page_bytes);
	msg->codec = TP_CODEC_RAW;
	worker->rx_page = codec->decoded;
	worker->rx_page_bytes = region->page_bytes;
	worker->stats.pages_decoded++;
	if (codec_bases_on(worker, message->src_node))
		codec_received(worker, message->src_node, msg, region);
	return (int)region->page_bytes;
}

/* A change of what is not held here: the engine asks for the page, which comes whole. */
void
worker_codec_unreadable(struct tp_worker *worker, const struct tp_message *message,
	struct tp_coherence_msg *msg)
{
	worker->stats.changes_unreadable++;
	worker_base_forget(worker, rte_le_to_cpu_32(msg->region_id),
		rte_le_to_cpu_32(msg->page_index));
	msg->codec = TP_CODEC_RAW;
	worker->codec.bases.hushed = true;
	tp_coherence_message_unreadable(worker->coherence, message->src_node, message->src_worker,
		msg, message->token, worker->now, &worker->outbox);
	worker_outbox_run(worker);
	worker->codec.bases.hushed = false;
}

bool
worker_codec_is_encoded(const struct tp_coherence_msg *msg)
{
	return msg->codec != TP_CODEC_RAW && msg->type < TP_MSG_COUNT &&
		codec_carries_page[msg->type];
}
