/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Recording histories, and the check of a whole one.
 */
#include <stdlib.h>
#include <string.h>

#include "history.h"
#include "tp_types.h"

/* Where an operation stands in the total order. */
struct placed_op {
	uint64_t point;		/* stamp at which it took effect */
	const struct history_op *op;
	uint32_t position;	/* in the order of its word */
};

void
history_init(struct history *history)
{
	memset(history, 0, sizeof(*history));
}

void
history_fini(struct history *history)
{
	free(history->ops);
	history_init(history);
}

uint32_t
history_invoke(struct history *history, const struct history_op *op)
{
	if (history->count == history->capacity) {
		uint32_t capacity = history->capacity == 0 ? 4096 : history->capacity * 2;
		struct history_op *ops = realloc(history->ops, capacity * sizeof(*ops));

		if (ops == NULL)
			abort();
		history->ops = ops;
		history->capacity = capacity;
	}
	history->ops[history->count] = *op;
	return history->count++;
}

static int
by_point(const void *a, const void *b)
{
	const struct placed_op *x = a, *y = b;

	if (x->point != y->point)
		return x->point < y->point ? -1 : 1;
	if (x->op->word != y->op->word)
		return x->op->word < y->op->word ? -1 : 1;
	return x->position < y->position ? -1 : x->position > y->position;
}

/*
 * Each operation takes effect at its own invocation, or where the one before it
 * in its word did if that is later; a witness order keeps that before its
 * response.
 */
static void
place_word(const struct history_op *ops, const uint32_t *order, uint32_t ordered,
	   struct placed_op *placed)
{
	uint64_t point = 0;
	uint32_t i;

	for (i = 0; i < ordered; i++) {
		const struct history_op *op = &ops[order[i]];

		if (op->invoke > point)
			point = op->invoke;
		placed[i] = (struct placed_op){ .point = point, .op = op, .position = i };
	}
}

/* Run the total order: every result must come out, every program order hold. */
static bool
total_order_holds(struct placed_op *placed, uint32_t count, uint32_t word_count,
		  uint32_t client_count)
{
	uint64_t *memory = calloc(word_count + 1, sizeof(*memory));
	uint64_t *last = calloc(client_count + 1, sizeof(*last));
	bool holds = true;
	uint32_t i;

	if (memory == NULL || last == NULL)
		abort();
	qsort(placed, count, sizeof(*placed), by_point);
	for (i = 0; i < count && holds; i++) {
		const struct history_op *op = placed[i].op;
		uint64_t value = memory[op->word];

		if (op->outcome == HISTORY_DONE) {
			/* Invocations of one client follow each other: stamps say in which order. */
			holds = op->invoke > last[op->client] || last[op->client] == 0;
			last[op->client] = op->invoke;
			if (op->has_result && op->result != value)
				holds = false;
			if (placed[i].point > op->response)
				holds = false;
		}
		memory[op->word] = history_apply(op, value);
	}
	free(memory);
	free(last);
	return holds;
}

static int
by_word(const void *a, const void *b)
{
	const struct history_op *x = a, *y = b;

	if (x->word != y->word)
		return x->word < y->word ? -1 : 1;
	return x->invoke < y->invoke ? -1 : x->invoke > y->invoke;
}

struct history_report
history_check(const struct history *history, uint32_t word_count)
{
	struct history_report report = { .verdict = HISTORY_OK };
	uint32_t count = history->count, client_count = 0, placed_count = 0, i, end;
	struct history_op *ops = calloc(count + 1, sizeof(*ops));
	struct placed_op *placed = calloc(count + 1, sizeof(*placed));
	uint32_t *order = calloc(count + 1, sizeof(*order));

	if (ops == NULL || placed == NULL || order == NULL)
		abort();
	if (count > 0)
		memcpy(ops, history->ops, count * sizeof(*ops));
	qsort(ops, count, sizeof(*ops), by_word);
	for (i = 0; i < count && report.verdict == HISTORY_OK; i = end) {
		uint32_t ordered;

		for (end = i; end < count && ops[end].word == ops[i].word; end++) {
			if (ops[end].client >= client_count)
				client_count = ops[end].client + 1;
		}
		report.word = ops[i].word;
		report.verdict = history_linearize(&ops[i], end - i, 0, order, &ordered);
		place_word(&ops[i], order, ordered, &placed[placed_count]);
		placed_count += ordered;
	}
	if (report.verdict == HISTORY_OK &&
	    !total_order_holds(placed, placed_count, word_count, client_count)) {
		report.verdict = HISTORY_VIOLATION;
		report.total_order = true;
	}
	free(ops);
	free(placed);
	free(order);
	return report;
}
