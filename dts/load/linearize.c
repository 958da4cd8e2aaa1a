/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * telepage-linearize FILE...: is what the programs of a test saw together
 * linearizable? Reads their records, and gives the history of each word of each
 * generation to the checker of the simulator. One JSON object; status 1 if a
 * word has a history that no correct memory has.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "history.h"
#include "record.h"

/* The TSCs of two cores, and the reading of them, differ by less. */
#define SKEW_TICKS 500u
#define CHUNK 65536u

struct records {
	struct record *all;
	size_t count;
};

struct verdict {
	uint64_t words;
	uint64_t unknown;
	uint64_t violations;
	uint64_t gave_up;
	uint64_t operations_max;	/* of a word */
};

static bool
records_read(struct records *records, const char *path)
{
	FILE *file = fopen(path, "re");
	struct record *bigger;
	size_t got = 1;

	while (file != NULL && got > 0) {
		bigger = realloc(records->all, (records->count + CHUNK) * sizeof(*bigger));
		if (bigger == NULL)
			break;
		records->all = bigger;
		got = fread(bigger + records->count, sizeof(*bigger), CHUNK, file);
		records->count += got;
	}
	if (file == NULL || got != 0 || ferror(file)) {
		fprintf(stderr, "telepage-linearize: %s: %s\n", path, strerror(errno));
		return false;
	}
	fclose(file);
	return true;
}

/* By generation, word, and begin. */
static int
record_compare(const void *a, const void *b)
{
	const struct record *x = a, *y = b;

	if (x->generation != y->generation)
		return x->generation < y->generation ? -1 : 1;
	if (x->word != y->word)
		return x->word < y->word ? -1 : 1;
	return x->invoke < y->invoke ? -1 : x->invoke > y->invoke;
}

static struct history_op
record_operation(const struct record *record)
{
	bool done = record->outcome == RECORD_DONE;

	return (struct history_op){
		.invoke = record->invoke - SKEW_TICKS,
		.response = done ? record->response + SKEW_TICKS : HISTORY_NEVER,
		.operand = record->operand,
		.compare = record->compare,
		.result = record->result,
		.client = record->client,
		.kind = record->kind,
		.outcome = done ? HISTORY_DONE : HISTORY_UNKNOWN,
		.has_result = done && record->has_result,
	};
}

/* One word: shape [count], by begin. */
static void
word_check(const struct record *records, uint32_t count, struct history_op *operations,
	   struct verdict *verdict)
{
	enum history_verdict result;
	uint32_t i;

	for (i = 0; i < count; i++) {
		operations[i] = record_operation(&records[i]);
		verdict->unknown += records[i].outcome == RECORD_UNKNOWN;
	}
	result = history_linearize(operations, count, 0, NULL, NULL);
	verdict->words++;
	verdict->violations += result == HISTORY_VIOLATION;
	verdict->gave_up += result == HISTORY_GAVE_UP;
	if (count > verdict->operations_max)
		verdict->operations_max = count;
	if (result != HISTORY_OK)
		fprintf(stderr, "word %u of generation %#" PRIx64 ", %u operations: %s\n",
			records[0].word, records[0].generation, count,
			result == HISTORY_VIOLATION ? "not linearizable" : "gave up");
}

int
main(int argc, char **argv)
{
	struct records records = { 0 };
	struct verdict verdict = { 0 };
	struct history_op *operations;
	size_t first, end;
	int i;

	for (i = 1; i < argc; i++)
		if (!records_read(&records, argv[i]))
			return 2;
	operations = calloc(records.count + 1, sizeof(*operations));
	if (operations == NULL)
		return 2;
	if (records.count > 0)
		qsort(records.all, records.count, sizeof(*records.all), record_compare);
	for (first = 0; first < records.count; first = end) {
		for (end = first; end < records.count &&
		     records.all[end].generation == records.all[first].generation &&
		     records.all[end].word == records.all[first].word; end++)
			;
		word_check(records.all + first, (uint32_t)(end - first), operations, &verdict);
	}
	printf("{\"operations\": %zu, \"words\": %" PRIu64 ", \"unknown\": %" PRIu64
	       ", \"operations_max\": %" PRIu64 ", \"violations\": %" PRIu64 ", \"gave_up\": %"
	       PRIu64 "}\n", records.count, verdict.words, verdict.unknown,
	       verdict.operations_max, verdict.violations, verdict.gave_up);
	free(operations);
	free(records.all);
	return verdict.violations != 0;
}
