/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Asking after atomics that ended unknown: docs/coherence.md, "Atomics that must be
 * settled". Owner: the calling thread.
 */
#include <string.h>
#include <time.h>

#include "heir.h"
#include "hit.h"
#include "op.h"

#define SETTLE_CLOCKS_NS UINT64_C(1000000000)	/* that the clocks of two machines may differ */

bool
tp_submit_settle(struct tp_thread *thread, struct tp_client_region *region, struct tp_op *op)
{
	enum tp_reason reason;
	uint64_t now;

	if (op->state != CLIENT_OP_DONE)
		return false;
	if (op->result.reason == TP_OK || op->result.effect != TP_EFFECT_UNKNOWN ||
	    op->kind != CLIENT_ATOMIC || op->sequence == 0)
		return true;
	if (region == NULL)
		region = op->region;
	reason = client_follow(&thread, &region);
	if (reason != TP_OK) {
		op->result.reason = (uint8_t)reason;
		return true;
	}
	op->region = region;
	if (op->region->info.generation != op->generation) {
		op->result.reason = TP_GENERATION;
		op->result.flags = TP_RESULT_FINAL;
		return true;
	}
	op->vectors = &op->single;
	op->vector_count = 1;
	op->vector_index = 0;
	op->piece_done = 0;
	/* Before its deadline it may be sent yet, and then no home can say "never". */
	now = client_now(thread->client->backend.virtual_tsc);
	op->retry_tsc = now < op->expires_tsc ? op->expires_tsc : 0;
	op->settling = CLIENT_SETTLING_ASKED;
	return client_op_begin(thread, op);
}

struct tp_result
tp_op_settle(struct tp_thread *thread, struct tp_client_region *region, struct tp_op *op)
{
	tp_submit_settle(thread, region, op);
	return tp_op_wait(thread, op);
}

struct tp_result
tp_atomic_settle(struct tp_thread *thread, struct tp_client_region *region, uint64_t *old)
{
	struct tp_op *op = &thread->unknown;
	struct tp_result result;

	if (op->kind != CLIENT_ATOMIC)
		return tp_result_void(TP_INVALID);
	result = tp_op_settle(thread, region, op);
	if (old != NULL && tp_result_is_ok(result))
		*old = op->value;
	return result;
}

/* A clock that other machines have, too: in the simulator its own. */
static uint64_t
settle_clock_ns(const struct tp_client *client)
{
	struct timespec ts;

	if (client->backend.virtual_tsc != NULL)
		return client_ns_from_tsc(client, client_now(client->backend.virtual_tsc));
	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

bool
tp_op_id_get(const struct tp_thread *thread, const struct tp_op *op, struct tp_atomic_id *id)
{
	const struct tp_client *client = thread->client;
	uint64_t now_tsc = client_now(client->backend.virtual_tsc);
	uint64_t now_ns = settle_clock_ns(client);

	if (op->state != CLIENT_OP_DONE || op->kind != CLIENT_ATOMIC || op->sequence == 0 ||
	    op->result.effect != TP_EFFECT_UNKNOWN)
		return false;
	*id = (struct tp_atomic_id){
		.origin = op->origin,
		.sequence = op->sequence,
		.generation = op->generation,
		.offset = op->single.offset,
		.begun_ns = now_ns - client_ns_from_tsc(client, now_tsc - op->begun_tsc),
		.expires_ns = op->expires_tsc <= now_tsc ? 0 :
			now_ns + client_ns_from_tsc(client, op->expires_tsc - now_tsc),
		.width = op->width,
		.cause = op->cause,
	};
	return true;
}

/* It comes from a file or another program, perhaps damaged. */
static bool
id_is_valid(const struct tp_client_region *region, const struct tp_atomic_id *id)
{
	static const uint8_t none[sizeof(id->reserved)];

	/* A time that wraps when it is added to would be over at once. */
	if (id->expires_ns > UINT64_MAX / 2 || memcmp(id->reserved, none, sizeof(none)) != 0)
		return false;
	return id->sequence != 0 && (id->width == 4 || id->width == 8) &&
		id->offset % id->width == 0 && id->offset < region->bytes &&
		id->width <= region->bytes - id->offset &&
		id->cause != TP_OK && id->cause < TP_REASON_COUNT;
}

bool
tp_op_from_id(struct tp_thread *thread, struct tp_client_region *region,
	      const struct tp_atomic_id *id, struct tp_op *op)
{
	const struct tp_client *client = thread->client;
	uint64_t now_tsc = client_now(client->backend.virtual_tsc);
	uint64_t now_ns = settle_clock_ns(client);
	uint64_t age_ns = now_ns > id->begun_ns ? now_ns - id->begun_ns : 0;

	*op = (struct tp_op){
		.result = tp_result_void(TP_INVALID),
		.pending = CLIENT_PENDING_NONE,
	};
	if (!id_is_valid(client_region_live(region), id))
		return false;
	op->result = tp_result_unknown((enum tp_reason)id->cause);
	op->kind = CLIENT_ATOMIC;
	op->width = id->width;
	op->cause = id->cause;
	op->single = (struct tp_vector){ .offset = id->offset, .bytes = id->width };
	op->origin = id->origin;
	op->sequence = id->sequence;
	op->generation = id->generation;
	op->region = region;
	op->begun_tsc = now_tsc - client_tsc_from_ns(client, age_ns + SETTLE_CLOCKS_NS);
	if (id->expires_ns + SETTLE_CLOCKS_NS > now_ns && id->expires_ns != 0)
		op->expires_tsc = now_tsc + client_tsc_from_ns(client,
			id->expires_ns + SETTLE_CLOCKS_NS - now_ns);
	return true;
}
