/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * record: reads, writes and compare-and-swaps of words that others use, too,
 * each noted with when it began and ended and what came of it. Every value
 * written is unique, so that a reader tells whose it saw. A swap that ended unknown
 * is asked after until its fate is known: then that is noted, and must fit, too.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_common.h>
#include <rte_cycles.h>

#include "load.h"
#include "record.h"

#define RECORD_PAUSE_US 300
#define RECORD_VOID_PAUSE_US 2000
#define RECORD_CHUNK 4096u
#define RECORD_OPEN_MAX 32		/* unknown swaps that are asked after */
#define RECORD_ASK_NS 20000000u		/* from one question to the next */
#define RECORD_ASKS_MAX 50

/* A swap that ended unknown. */
struct recorder_open {
	struct tp_op op;
	uint64_t index;		/* of its record */
	uint32_t asks;
};

struct recorder {
	struct load *load;
	struct record *records;
	uint64_t count;
	uint64_t value;		/* of the last write */
	uint64_t *seen;		/* shape [words]: what a CAS expects */
	struct tp_op op;	/* of the last swap */
	struct recorder_open open[RECORD_OPEN_MAX];
	uint32_t open_count;
	uint64_t asked_tsc;
};

static void
recorder_add(struct recorder *recorder, const struct record *record)
{
	if (recorder->count % RECORD_CHUNK == 0) {
		struct record *bigger = realloc(recorder->records,
			(recorder->count + RECORD_CHUNK) * sizeof(*bigger));

		if (bigger == NULL) {
			load_fault(recorder->load, "no memory");
			return;
		}
		recorder->records = bigger;
	}
	recorder->records[recorder->count++] = *record;
}

static struct tp_result
recorder_run(struct recorder *recorder, struct record *record)
{
	struct load *load = recorder->load;
	uint64_t offset = load_word_offset(load, record->word);
	struct tp_result result;

	switch (record->kind) {
	case TP_ATOMIC_LOAD:
		result = tp_read(load->thread, load->region, offset, &record->result, 8);
		record->has_result = 1;
		break;
	case TP_ATOMIC_STORE:
		result = tp_write(load->thread, load->region, offset, &record->operand, 8);
		break;
	default:
		tp_submit_atomic(load->thread, load->region, offset, TP_ATOMIC_CAS, 8,
				 record->operand, record->compare, &recorder->op);
		result = tp_op_wait(load->thread, &recorder->op);
		record->result = recorder->op.value;
		record->has_result = 1;
		break;
	}
	return result;
}

static struct record
recorder_choose(struct recorder *recorder)
{
	struct load *load = recorder->load;
	uint64_t dice = load_random(load, 20);
	struct record record = {
		.kind = dice < 10 ? TP_ATOMIC_LOAD : dice < 16 ? TP_ATOMIC_STORE : TP_ATOMIC_CAS,
		.word = (uint32_t)load_random(load, load->words),
		.client = (uint32_t)load->seed,
		.generation = tp_client_region_info(load->region)->generation,
	};

	if (record.kind != TP_ATOMIC_LOAD)
		record.operand = load->seed << 40 | ++recorder->value;
	if (record.kind == TP_ATOMIC_CAS)
		record.compare = recorder->seen[record.word];
	return record;
}

/* The region was reset: what its words hold now is another history. */
static void
recorder_reopen(struct recorder *recorder)
{
	struct load *load = recorder->load;
	struct tp_client_region *again;

	if (tp_client_region_open(load->client, load->region_name, &again) < 0)
		return;
	tp_client_region_close(load->region);
	load->region = again;
	memset(recorder->seen, 0, load->words * sizeof(*recorder->seen));
}

/* The last record is that of a swap that ended unknown. */
static void
recorder_open_add(struct recorder *recorder)
{
	if (recorder->open_count == RECORD_OPEN_MAX)
		return;
	recorder->open[recorder->open_count++] = (struct recorder_open){
		.op = recorder->op,
		.index = recorder->count - 1,
	};
}

/* What was asked after is known, or never will be. @return true: one of the two. */
static bool
recorder_settled(struct recorder *recorder, struct recorder_open *open, struct tp_result result)
{
	struct record *record = &recorder->records[open->index];

	if (tp_result_is_ok(result)) {
		record->outcome = RECORD_DONE;
		record->response = rte_rdtsc_precise();
		record->result = open->op.value;
		recorder->load->settled_done++;
		return true;
	}
	if (result.effect == TP_EFFECT_NOT_DONE) {
		record->outcome = RECORD_NOT_DONE;
		recorder->load->settled_never++;
		return true;
	}
	return !tp_result_may_settle(result) || ++open->asks == RECORD_ASKS_MAX;
}

/* Ask after one of them. */
static void
recorder_ask(struct recorder *recorder)
{
	struct load *load = recorder->load;
	struct recorder_open *open = &recorder->open[0];
	uint64_t started = tp_client_tsc(load->client), ns;
	struct tp_result result = tp_op_settle(load->thread, load->region, &open->op);

	ns = load_ns_since(load, started);
	load->longest_ns = RTE_MAX(load->longest_ns, ns);
	if (!recorder_settled(recorder, open, result)) {
		/* The others first, before it is asked again. */
		struct recorder_open again = *open;

		memmove(open, open + 1, (recorder->open_count - 1) * sizeof(*open));
		recorder->open[recorder->open_count - 1] = again;
	} else {
		memmove(open, open + 1, --recorder->open_count * sizeof(*open));
	}
	recorder->asked_tsc = tp_client_tsc(load->client);
}

/* Note what is known of it. */
static void
recorder_end(struct recorder *recorder, struct record *record, struct tp_result result)
{
	uint64_t generation = tp_client_region_info(recorder->load->region)->generation;
	bool one_generation = generation == record->generation;

	record->outcome = tp_result_is_ok(result) ? RECORD_DONE : RECORD_UNKNOWN;
	if (!one_generation) {
		/* Attached again meanwhile: it was in the one generation or in the other. */
		record->outcome = RECORD_UNKNOWN;
		if (record->kind != TP_ATOMIC_LOAD)
			recorder_add(recorder, record);
		record->generation = generation;
	}
	if (record->outcome == RECORD_UNKNOWN &&
	    (record->kind == TP_ATOMIC_LOAD || result.effect == TP_EFFECT_NOT_DONE))
		return;
	if (record->outcome == RECORD_DONE)
		recorder->seen[record->word] = record->kind == TP_ATOMIC_LOAD ? record->result :
			record->operand;
	recorder_add(recorder, record);
	if (one_generation && record->outcome == RECORD_UNKNOWN &&
	    record->kind == TP_ATOMIC_CAS)
		recorder_open_add(recorder);
}

static void
recorder_once(struct recorder *recorder)
{
	struct load *load = recorder->load;
	struct tp_result result;
	struct record record;
	uint64_t misses;

	if (recorder->open_count != 0 &&
	    load_ns_since(load, recorder->asked_tsc) > RECORD_ASK_NS)
		recorder_ask(recorder);
	record = recorder_choose(recorder);
	misses = tp_thread_stats_get(load->thread)->misses;
	record.invoke = rte_rdtsc_precise();
	result = recorder_run(recorder, &record);
	record.response = rte_rdtsc_precise();
	recorder_end(recorder, &record, result);
	if (load_ended(load, result, record.invoke,
		       tp_thread_stats_get(load->thread)->misses - misses)) {
		load->done++;
		usleep(RECORD_PAUSE_US);
		return;
	}
	load->unknown += result.effect == TP_EFFECT_UNKNOWN;
	if (result.reason == TP_GENERATION)
		recorder_reopen(recorder);
	usleep(RECORD_VOID_PAUSE_US);
}

/* All but those that were not done. */
static bool
recorder_write(const struct recorder *recorder, FILE *file)
{
	uint64_t i;

	for (i = 0; i < recorder->count; i++)
		if (recorder->records[i].outcome != RECORD_NOT_DONE &&
		    fwrite(&recorder->records[i], sizeof(recorder->records[i]), 1, file) != 1)
			return false;
	return true;
}

void
load_record(struct load *load)
{
	static struct recorder recorder;
	FILE *file = load->record_path != NULL ? fopen(load->record_path, "we") : NULL;
	uint32_t left;

	recorder.load = load;
	recorder.seen = calloc(load->words, sizeof(*recorder.seen));
	if (file == NULL || recorder.seen == NULL) {
		load_fault(load, "record needs --record FILE and memory: %s", strerror(errno));
		return;
	}
	while (load_goes_on(load))
		recorder_once(&recorder);
	for (left = recorder.open_count; left > 0; left--)
		recorder_ask(&recorder);
	load->settled_open = recorder.open_count;
	if (!recorder_write(&recorder, file) || fclose(file) != 0)
		load_fault(load, "cannot write the records: %s", strerror(errno));
	free(recorder.records);
	free(recorder.seen);
}
