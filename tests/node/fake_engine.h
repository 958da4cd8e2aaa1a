/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A coherence engine that decides what the test tells it to, and notes what it
 * was told. Included by one test, in place of the library.
 */
#ifndef FAKE_ENGINE_H
#define FAKE_ENGINE_H

#include <stdlib.h>
#include <string.h>

#include "tp_coherence.h"

struct fake_request {
	uint32_t region_id;
	uint32_t page_index;
	enum tp_coherence_want want;
	struct tp_coherence_client client;
	struct tp_coherence_atomic atomic;
};

static struct {
	/* What the next event emits; emptied by it. */
	struct tp_action actions[TP_ACTIONS_PER_EVENT];
	uint32_t action_count;
	struct fake_request request;		/* the last one */
	uint32_t request_count;
	uint32_t fetched[16];			/* pages */
	enum tp_coherence_want fetch_want;
	uint32_t fetch_count;
	struct tp_coherence_msg message;	/* the last one */
	uint32_t message_count;
	uint32_t message_pages[TP_BATCH_PAGES];	/* of the first ones, and their transactions */
	uint32_t message_txns[TP_BATCH_PAGES];
	uint64_t message_token;
	uint16_t message_from;
	uint32_t clear_count;
	uint32_t clear_page;
	uint32_t expired_count;
	uint32_t expired_slot;			/* what guards_expired() returns */
	uint32_t returned_slot;
	uint32_t returned_count;
	uint32_t gone_count;
	uint32_t fenced_count;
	uint32_t peer_up_count;
	uint32_t peer_down_count;
	uint32_t drains;
	bool drained;
	uint32_t persisted_count;
	uint32_t persist_alls;
	bool region_gone;
} fake;

static void
fake_emit(struct tp_outbox *outbox)
{
	uint32_t i;

	for (i = 0; i < fake.action_count; i++)
		outbox->actions[outbox->count++] = fake.actions[i];
	fake.action_count = 0;
}

struct tp_coherence *
tp_coherence_create(const struct tp_coherence_config *config)
{
	memset(&fake, 0, sizeof(fake));
	return malloc(1);
}

void
tp_coherence_destroy(struct tp_coherence *coherence)
{
	free(coherence);
}

int
tp_coherence_region_add(struct tp_coherence *coherence, const struct tp_region *region,
	uint32_t directory_slot, bool home_lost)
{
	return 0;
}

bool
tp_coherence_region_remove(struct tp_coherence *coherence, uint32_t region_id, uint64_t now,
	struct tp_outbox *outbox)
{
	fake_emit(outbox);
	return fake.region_gone;
}

void
tp_coherence_request(struct tp_coherence *coherence, uint32_t region_id, uint32_t page_index,
	uint64_t generation, enum tp_coherence_want want,
	const struct tp_coherence_atomic *atomic, const struct tp_coherence_client *client,
	uint64_t now, struct tp_outbox *outbox)
{
	fake.request = (struct fake_request){
		.region_id = region_id,
		.page_index = page_index,
		.want = want,
		.client = *client,
	};
	if (atomic != NULL)
		fake.request.atomic = *atomic;
	fake.request_count++;
	fake_emit(outbox);
}

bool
tp_coherence_fetch(struct tp_coherence *coherence, uint32_t region_id, uint32_t page_index,
	uint64_t generation, enum tp_coherence_want want, uint64_t now,
	struct tp_outbox *outbox)
{
	if (fake.fetch_count < 16)
		fake.fetched[fake.fetch_count] = page_index;
	fake.fetch_want = want;
	fake.fetch_count++;
	/* What a page that is not here would send. */
	outbox->actions[outbox->count++] = (struct tp_action){ .type = TP_ACTION_SEND, .node = 2,
		.slot = TP_SLOT_ABSENT, .msg = {
			.type = want == TP_WANT_WRITE ? TP_MSG_GET_M : TP_MSG_GET_S,
			.region_id = rte_cpu_to_le_32(region_id),
			.page_index = rte_cpu_to_le_32(page_index),
			.txn = rte_cpu_to_le_32(100 + page_index),
		} };
	return true;
}

void
tp_coherence_drain(struct tp_coherence *coherence)
{
	fake.drains++;
}

bool
tp_coherence_is_drained(const struct tp_coherence *coherence)
{
	return fake.drained;
}

void
tp_coherence_persisted(struct tp_coherence *coherence)
{
	fake.persisted_count++;
}

void
tp_coherence_persist_refused(struct tp_coherence *coherence, uint32_t region_id,
	uint32_t page_index)
{
}

void
tp_coherence_persist_all(struct tp_coherence *coherence)
{
	fake.persist_alls++;
}

/* Hints decide nothing. */
void
tp_coherence_request_hint(const struct tp_coherence *coherence, uint32_t region_id,
	uint32_t page_index)
{
}

void
tp_coherence_page_hint(struct tp_coherence *coherence, uint32_t region_id, uint32_t page_index)
{
}

void
tp_coherence_message_hint(struct tp_coherence *coherence, const struct tp_coherence_msg *msg)
{
}

void
tp_coherence_message(struct tp_coherence *coherence, uint16_t from_node, uint16_t from_worker,
	const struct tp_coherence_msg *msg, uint32_t payload_bytes, uint64_t token, uint64_t now,
	struct tp_outbox *outbox)
{
	if (fake.message_count < TP_BATCH_PAGES) {
		fake.message_pages[fake.message_count] = rte_le_to_cpu_32(msg->page_index);
		fake.message_txns[fake.message_count] = rte_le_to_cpu_32(msg->txn);
	}
	fake.message_token = token;
	fake.message = *msg;
	fake.message_from = from_node;
	fake.message_count++;
	fake_emit(outbox);
}

void
tp_coherence_message_unreadable(struct tp_coherence *coherence, uint16_t from_node,
	uint16_t from_worker, const struct tp_coherence_msg *msg, uint64_t token, uint64_t now,
	struct tp_outbox *outbox)
{
	tp_coherence_message(coherence, from_node, from_worker, msg, 0, token, now, outbox);
}

uint32_t
tp_coherence_page_slot(const struct tp_coherence *coherence, uint32_t region_id,
	uint32_t page_index)
{
	return TP_SLOT_ABSENT;
}

void
tp_coherence_guards_clear(struct tp_coherence *coherence, uint32_t region_id,
	uint32_t page_index, uint64_t now, struct tp_outbox *outbox)
{
	fake.clear_count++;
	fake.clear_page = page_index;
	fake_emit(outbox);
}

uint32_t
tp_coherence_guards_expired(struct tp_coherence *coherence, uint32_t region_id,
	uint32_t page_index, uint64_t now, struct tp_outbox *outbox)
{
	fake.expired_count++;
	return fake.expired_slot;
}

void
tp_coherence_slot_return(struct tp_coherence *coherence, uint32_t slot)
{
	fake.returned_slot = slot;
	fake.returned_count++;
}

void
tp_coherence_client_gone(struct tp_coherence *coherence, uint64_t cookie_mask,
	uint64_t cookie_value)
{
	fake.gone_count++;
}

void
tp_coherence_peer_down(struct tp_coherence *coherence, uint16_t node, uint64_t now,
	struct tp_outbox *outbox)
{
	fake.peer_down_count++;
}

void
tp_coherence_peer_up(struct tp_coherence *coherence, uint16_t node, uint16_t worker_count,
	uint64_t now, struct tp_outbox *outbox)
{
	fake.peer_up_count++;
}

void
tp_coherence_peer_fenced(struct tp_coherence *coherence, uint16_t node, uint64_t now,
	struct tp_outbox *outbox)
{
}

void
tp_coherence_home_reset(struct tp_coherence *coherence, uint16_t node, uint64_t now,
	struct tp_outbox *outbox)
{
}

void
tp_coherence_self_fenced(struct tp_coherence *coherence, uint64_t now, struct tp_outbox *outbox)
{
	fake.fenced_count++;
}

uint32_t
tp_coherence_poll(struct tp_coherence *coherence, uint64_t now, struct tp_outbox *outbox)
{
	uint32_t work = fake.action_count;

	fake_emit(outbox);
	return work;
}

uint64_t
tp_coherence_next_timer(const struct tp_coherence *coherence)
{
	return UINT64_MAX;
}

#endif /* FAKE_ENGINE_H */
