/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tp_types.h"
#include "workload.h"

enum word_kind { WORD_REGISTER, WORD_COUNTER, WORD_BITS };

static enum word_kind
word_kind(uint32_t page, uint32_t word)
{
	static const enum word_kind kinds[] = { WORD_REGISTER, WORD_COUNTER, WORD_REGISTER,
		WORD_REGISTER, WORD_COUNTER, WORD_REGISTER, WORD_BITS };

	return kinds[(page * 3 + word) % (sizeof(kinds) / sizeof(kinds[0]))];
}

void
workload_init(struct workload *workload, uint64_t seed, uint32_t pages, uint32_t words)
{
	memset(workload, 0, sizeof(*workload));
	workload->rng.state = seed;
	workload->pages = pages;
	workload->words = words;
	workload->generations = 1;
	history_init(&workload->history);
}

void
workload_fini(struct workload *workload)
{
	history_fini(&workload->history);
}

void
workload_client_start(struct workload *workload, uint32_t client)
{
	memset(&workload->clients[client], 0, sizeof(workload->clients[client]));
	workload->clients[client].id = workload->client_ids++;
}

/* Values that tell who wrote them: never equal, far from zero. */
static uint64_t
unique_value(struct workload *workload)
{
	return ++workload->value * 1000 + 1;
}

static void
choose_atomic(struct workload *workload, struct workload_client *client, struct workload_op *op)
{
	struct sim_rng *rng = &workload->rng;

	op->want = WORKLOAD_ATOMIC;
	switch (word_kind(op->page, op->word)) {
	case WORD_COUNTER:
		op->atomic_op = TP_ATOMIC_ADD;
		op->operand = sim_rng_next(rng) >> 8 | 1;
		break;
	case WORD_BITS:
		op->operand = UINT64_C(1) << sim_rng_below(rng, 64);
		op->atomic_op = TP_ATOMIC_OR;
		if (sim_rng_chance(rng, 500)) {
			op->atomic_op = TP_ATOMIC_AND;
			op->operand = ~op->operand;
		}
		break;
	default:
		op->operand = unique_value(workload);
		op->compare = client->last_seen[op->page][op->word];
		op->atomic_op = sim_rng_chance(rng, 600) ? TP_ATOMIC_CAS :
			sim_rng_chance(rng, 600) ? TP_ATOMIC_EXCHANGE : TP_ATOMIC_STORE;
	}
}

static void
choose_access(struct workload *workload, struct workload_op *op, bool write)
{
	if (write && word_kind(op->page, op->word) == WORD_REGISTER) {
		op->want = WORKLOAD_WRITE;
		op->atomic_op = TP_ATOMIC_STORE;
		op->operand = unique_value(workload);
	} else {
		op->want = WORKLOAD_READ;
		op->atomic_op = TP_ATOMIC_LOAD;
	}
}

/* Two operations on two pages, the second at once after the first. */
static void
choose_pair(struct workload *workload, struct workload_client *client, struct workload_op *op)
{
	uint32_t shape = sim_rng_below(&workload->rng, 4);
	struct workload_op *second = &client->second;

	/* Word 0 of page 0 and of another page are registers. */
	*second = (struct workload_op){ 0 };
	op->page = 0;
	op->word = 0;
	second->page = workload->pages > 3 ? 3 : 1 % workload->pages;
	second->word = workload->pages > 3 ? 1 % workload->words : 0;
	if (sim_rng_chance(&workload->rng, 500)) {
		struct workload_op swap = *op;

		*op = *second;
		*second = swap;
	}
	choose_access(workload, op, shape & 1);
	choose_access(workload, second, shape & 2);
	client->pair = 1;
}

static void
begin(struct workload *workload, uint32_t client, uint32_t generation, struct workload_op *op)
{
	op->generation = generation;
	op->record = UINT32_MAX;
	workload->begun++;
	if (op->want == WORKLOAD_FLUSH || op->want == WORKLOAD_INVALIDATE)
		return;
	op->record = history_invoke(&workload->history, &(struct history_op){
		.invoke = ++workload->stamp,
		.response = HISTORY_NEVER,
		.outcome = HISTORY_UNKNOWN,
		.operand = op->operand,
		.compare = op->compare,
		.client = workload->clients[client].id,
		.word = workload_word(workload, generation, op->page, op->word),
		.kind = op->atomic_op,
	});
}

void
workload_begin(struct workload *workload, uint32_t client, uint32_t generation,
	       struct workload_op *op)
{
	struct workload_client *c = &workload->clients[client];
	struct sim_rng *rng = &workload->rng;
	uint32_t dice;

	*op = (struct workload_op){ 0 };
	if (c->pair != 0) {
		*op = c->second;
		c->pair = 0;
		begin(workload, client, generation, op);
		return;
	}
	op->page = sim_rng_below(rng, workload->pages);
	op->word = sim_rng_below(rng, workload->words);
	dice = sim_rng_below(rng, 1000);
	if (dice < 120)
		choose_pair(workload, c, op);
	else if (dice < 420)
		choose_atomic(workload, c, op);
	else if (dice < 450)
		op->want = WORKLOAD_FLUSH;
	else if (dice < 480)
		op->want = WORKLOAD_INVALIDATE;
	else
		choose_access(workload, op, dice < 740);
	if (op->want == WORKLOAD_READ || op->want == WORKLOAD_WRITE)
		op->pinned = sim_rng_chance(rng, 60);
	begin(workload, client, generation, op);
}

void
workload_begin_read(struct workload *workload, uint32_t client, uint32_t generation,
		    uint32_t page, uint32_t word, struct workload_op *op)
{
	*op = (struct workload_op){ .want = WORKLOAD_READ, .atomic_op = TP_ATOMIC_LOAD,
		.page = page, .word = word };
	begin(workload, client, generation, op);
}

void
workload_end(struct workload *workload, uint32_t client, const struct workload_op *op,
	     struct tp_result result, bool has_value, uint64_t value)
{
	struct history_op *record;

	workload->reasons[result.reason < TP_REASON_COUNT ? result.reason : 0]++;
	if (tp_result_is_ok(result))
		workload->done++;
	else if (result.effect == TP_EFFECT_UNKNOWN)
		workload->unknown++;
	else
		workload->voided++;
	if (op->record == UINT32_MAX)
		return;
	record = &workload->history.ops[op->record];
	if (!tp_result_is_ok(result)) {
		record->outcome = result.effect == TP_EFFECT_UNKNOWN ? HISTORY_UNKNOWN :
			HISTORY_NOT_DONE;
		return;
	}
	record->outcome = HISTORY_DONE;
	record->response = ++workload->stamp;
	record->has_result = has_value;
	record->result = value;
	if (has_value)
		workload->clients[client].last_seen[op->page][op->word] =
			history_apply(record, value);
}

void
workload_hand_on(struct workload *workload, const struct workload_op *op)
{
	workload->history.ops[op->record].client = workload->client_ids++;
}

void
workload_settle(struct workload *workload, const struct workload_op *op, bool done, uint64_t value)
{
	struct history_op *record = &workload->history.ops[op->record];

	workload->settled++;
	record->outcome = HISTORY_NOT_DONE;
	if (!done)
		return;
	record->outcome = HISTORY_DONE;
	record->response = ++workload->stamp;
	record->has_result = true;
	record->result = value;
}

bool
workload_is_paired(const struct workload *workload, uint32_t client)
{
	return workload->clients[client].pair != 0;
}

struct history_report
workload_check(const struct workload *workload)
{
	return history_check(&workload->history,
		workload->generations * workload->pages * workload->words);
}

void
workload_print(const struct workload *workload, uint32_t word)
{
	static const char *const outcomes[] = { "done", "unknown", "not done" };
	static const char *const kinds[] = { "?", "load", "store", "add", "cas", "exchange", "and",
		"or" };
	uint32_t i;

	for (i = 0; i < workload->history.count; i++) {
		const struct history_op *op = &workload->history.ops[i];

		if (op->word != word)
			continue;
		printf("  [%" PRIu64 ", %" PRId64 "] client %u %s operand %" PRIu64
		       " compare %" PRIu64 " result %" PRIu64 " %s\n", op->invoke,
		       (int64_t)op->response, op->client, kinds[op->kind & 7], op->operand,
		       op->compare, op->result, outcomes[op->outcome]);
	}
}
