/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Linearizability of one word.
 *
 * How it works. A configuration is the set of operations already put in order
 * and the word's value. An operation may come next if it was invoked before
 * every one that is still left had responded. The search tries them depth
 * first and remembers configurations it has been in. Three rules keep it small:
 *   - an operation that may come next, leaves the value as it is and saw this
 *     value can be taken at once: no order is lost by that;
 *   - operations of unknown outcome are tried last and need not be taken;
 *   - where every written value is unique and no operation computes a value,
 *     an unknown write nobody saw is dropped, and one that was seen has happened
 *     before the first one that saw it responded.
 */
#include <stdlib.h>

#include "history.h"
#include "tp_types.h"

#define SEARCH_BUDGET 3000000u	/* configurations */

struct search_op {
	struct history_op op;
	uint64_t token;		/* stands for the operation in the hash of the set */
	uint32_t index;		/* in the caller's array */
	bool taken;
};

struct search {
	struct search_op *known;	/* by invoke */
	struct search_op *unknown;	/* by invoke */
	uint32_t known_count;
	uint32_t unknown_count;
	uint32_t left;			/* known ones not taken */
	uint64_t *seen;			/* pairs (set, value), open addressing */
	uint32_t seen_slots;		/* a power of two */
	uint32_t seen_count;
	struct search_op **order;
	uint32_t ordered;
	bool gave_up;
};

uint64_t
history_apply(const struct history_op *op, uint64_t value)
{
	switch (op->kind) {
	case TP_ATOMIC_STORE:
	case TP_ATOMIC_EXCHANGE:
		return op->operand;
	case TP_ATOMIC_ADD:
		return value + op->operand;
	case TP_ATOMIC_CAS:
		return value == op->compare ? op->operand : value;
	case TP_ATOMIC_AND:
		return value & op->operand;
	case TP_ATOMIC_OR:
		return value | op->operand;
	default:
		return value;
	}
}

static uint64_t
mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	return z ^ (z >> 31);
}

static bool
seen_insert(uint64_t *seen, uint32_t slots, uint64_t set, uint64_t value)
{
	uint32_t i = (uint32_t)mix(set ^ mix(value)) & (slots - 1);

	while (seen[2 * i] != 0) {
		if (seen[2 * i] == set && seen[2 * i + 1] == value)
			return false;
		i = (i + 1) & (slots - 1);
	}
	seen[2 * i] = set;
	seen[2 * i + 1] = value;
	return true;
}

/* Remember a configuration; false if it was known. */
static bool
search_visit(struct search *s, uint64_t set, uint64_t value)
{
	uint32_t i;

	if (set == 0)
		set = 1;	/* 0 marks a free place */
	if (s->seen_count * 2 >= s->seen_slots) {
		uint32_t slots = s->seen_slots * 2;
		uint64_t *bigger = calloc(slots, 2 * sizeof(*bigger));

		if (bigger == NULL)
			abort();
		for (i = 0; i < s->seen_slots; i++) {
			if (s->seen[2 * i] != 0)
				seen_insert(bigger, slots, s->seen[2 * i], s->seen[2 * i + 1]);
		}
		free(s->seen);
		s->seen = bigger;
		s->seen_slots = slots;
	}
	if (!seen_insert(s->seen, s->seen_slots, set, value))
		return false;
	if (++s->seen_count >= SEARCH_BUDGET)
		s->gave_up = true;
	return true;
}

static void
search_take(struct search *s, struct search_op *o, uint64_t *set)
{
	o->taken = true;
	*set ^= o->token;
	s->order[s->ordered++] = o;
}

/* The known operations that may come next: [first, end) less those taken. */
static uint32_t
search_window(struct search *s, uint32_t *first, uint64_t *horizon)
{
	uint32_t i = *first;

	while (i < s->known_count && s->known[i].taken)
		i++;
	*first = i;
	*horizon = HISTORY_NEVER;
	for (; i < s->known_count && s->known[i].op.invoke < *horizon; i++) {
		if (!s->known[i].taken && s->known[i].op.response < *horizon)
			*horizon = s->known[i].op.response;
	}
	return i;
}

static bool
op_fits(const struct history_op *op, uint64_t value)
{
	return !op->has_result || op->result == value;
}

/* Take what can be taken without a choice. */
static void
search_take_free(struct search *s, uint32_t *first, uint32_t *end, uint64_t *horizon,
		 uint64_t value, uint64_t *set)
{
	bool again = true;

	while (again) {
		uint32_t i;

		again = false;
		*end = search_window(s, first, horizon);
		for (i = *first; i < *end; i++) {
			struct search_op *o = &s->known[i];

			if (o->taken || o->op.invoke >= *horizon || !op_fits(&o->op, value) ||
			    history_apply(&o->op, value) != value)
				continue;
			search_take(s, o, set);
			s->left--;
			again = true;
		}
	}
}

static void
search_undo(struct search *s, uint32_t ordered, uint32_t left)
{
	while (s->ordered > ordered)
		s->order[--s->ordered]->taken = false;
	s->left = left;
}

static bool
search_run(struct search *s, uint32_t first, uint64_t value, uint64_t set)
{
	uint32_t ordered = s->ordered, left = s->left, end, i;
	uint64_t horizon;

	search_take_free(s, &first, &end, &horizon, value, &set);
	if (s->left == 0)
		return true;
	if (!search_visit(s, set, value) || s->gave_up)
		goto undo;
	for (i = first; i < end; i++) {
		struct search_op *o = &s->known[i];
		uint64_t next_set = set;

		if (o->taken || o->op.invoke >= horizon || !op_fits(&o->op, value))
			continue;
		search_take(s, o, &next_set);
		s->left--;
		if (search_run(s, first, history_apply(&o->op, value), next_set))
			return true;
		o->taken = false;
		s->ordered--;
		s->left++;
		if (s->gave_up)
			goto undo;
	}
	for (i = 0; i < s->unknown_count && s->unknown[i].op.invoke < horizon; i++) {
		struct search_op *o = &s->unknown[i];
		uint64_t next = history_apply(&o->op, value), next_set = set;

		if (o->taken || next == value)
			continue;
		search_take(s, o, &next_set);
		if (search_run(s, first, next, next_set))
			return true;
		o->taken = false;
		s->ordered--;
		if (s->gave_up)
			goto undo;
	}
undo:
	search_undo(s, ordered, left);
	return false;
}

static int
by_invoke(const void *a, const void *b)
{
	const struct search_op *x = a, *y = b;

	return x->op.invoke < y->op.invoke ? -1 : x->op.invoke > y->op.invoke;
}

static bool
is_mutation(const struct history_op *op)
{
	return op->kind != TP_ATOMIC_LOAD;
}

/* Values say which operation wrote them: none computes one, and all differ. */
static bool
values_are_unique(const struct history_op *ops, uint32_t count)
{
	uint32_t i, j;

	for (i = 0; i < count; i++) {
		if (ops[i].outcome == HISTORY_NOT_DONE || !is_mutation(&ops[i]))
			continue;
		if (ops[i].kind == TP_ATOMIC_ADD || ops[i].kind == TP_ATOMIC_AND ||
		    ops[i].kind == TP_ATOMIC_OR)
			return false;
		for (j = 0; j < i; j++) {
			if (is_mutation(&ops[j]) && ops[j].outcome != HISTORY_NOT_DONE &&
			    ops[j].operand == ops[i].operand)
				return false;
		}
	}
	return true;
}

/*
 * When an unknown write of a unique value must have happened by, or
 * HISTORY_NEVER: nobody saw it. The ops before it in the array have their bounds.
 */
static uint64_t
seen_by(const struct history_op *ops, const uint64_t *bounds, uint32_t count, uint64_t value)
{
	uint64_t first = HISTORY_NEVER;
	uint32_t i;

	for (i = 0; i < count; i++) {
		bool saw = ops[i].outcome == HISTORY_DONE ?
			ops[i].has_result && ops[i].result == value :
			ops[i].outcome == HISTORY_UNKNOWN && ops[i].kind == TP_ATOMIC_CAS &&
			ops[i].compare == value;

		if (saw && bounds[i] < first)
			first = bounds[i];
	}
	return first;
}

/*
 * bounds: the response of known operations, what was seen of unknown ones. A
 * CAS that was seen has seen its compare value, hence the repetition.
 */
static void
find_bounds(const struct history_op *ops, uint32_t count, uint64_t *bounds)
{
	bool changed = true;
	uint32_t i;

	for (i = 0; i < count; i++)
		bounds[i] = ops[i].outcome == HISTORY_DONE ? ops[i].response : HISTORY_NEVER;
	while (changed) {
		changed = false;
		for (i = 0; i < count; i++) {
			uint64_t bound;

			if (ops[i].outcome != HISTORY_UNKNOWN || !is_mutation(&ops[i]))
				continue;
			bound = seen_by(ops, bounds, count, ops[i].operand);
			changed |= bound < bounds[i];
			bounds[i] = bound;
		}
	}
}

static void
search_load(struct search *s, const struct history_op *ops, uint32_t count)
{
	bool unique = values_are_unique(ops, count);
	uint64_t *bounds = calloc(count + 1, sizeof(*bounds));
	uint32_t i;

	if (bounds == NULL)
		abort();
	find_bounds(ops, count, bounds);
	for (i = 0; i < count; i++) {
		struct search_op o = { .op = ops[i], .index = i, .token = mix(i + 1) };

		if (o.op.outcome == HISTORY_DONE) {
			s->known[s->known_count++] = o;
			continue;
		}
		if (o.op.outcome == HISTORY_NOT_DONE || !is_mutation(&o.op))
			continue;
		o.op.response = unique ? bounds[i] : HISTORY_NEVER;
		o.op.has_result = false;
		if (!unique) {
			s->unknown[s->unknown_count++] = o;
		} else if (bounds[i] != HISTORY_NEVER) {
			/* Its value was seen: a CAS succeeded, so it found its compare value. */
			o.op.has_result = o.op.kind == TP_ATOMIC_CAS;
			o.op.result = o.op.compare;
			s->known[s->known_count++] = o;
		}
	}
	free(bounds);
	qsort(s->known, s->known_count, sizeof(*s->known), by_invoke);
	qsort(s->unknown, s->unknown_count, sizeof(*s->unknown), by_invoke);
	s->left = s->known_count;
}

enum history_verdict
history_linearize(const struct history_op *ops, uint32_t count, uint64_t initial,
		  uint32_t *order, uint32_t *ordered)
{
	struct search s = { .seen_slots = 1024 };
	enum history_verdict verdict;

	s.known = calloc(count + 1, sizeof(*s.known));
	s.unknown = calloc(count + 1, sizeof(*s.unknown));
	s.order = calloc(count + 1, sizeof(*s.order));
	s.seen = calloc(s.seen_slots, 2 * sizeof(*s.seen));
	if (s.known == NULL || s.unknown == NULL || s.order == NULL || s.seen == NULL)
		abort();
	search_load(&s, ops, count);
	if (search_run(&s, 0, initial, 0))
		verdict = HISTORY_OK;
	else
		verdict = s.gave_up ? HISTORY_GAVE_UP : HISTORY_VIOLATION;
	if (order != NULL) {
		for (*ordered = 0; *ordered < s.ordered; ++*ordered)
			order[*ordered] = s.order[*ordered]->index;
	}
	free(s.known);
	free(s.unknown);
	free(s.order);
	free(s.seen);
	return verdict;
}
