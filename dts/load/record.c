/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * record: reads, writes and compare-and-swaps of words that others use, too,
 * each noted with when it began and ended and what came of it. Every value
 * written is unique, so that a reader tells whose it saw.
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

struct recorder {
	struct load *load;
	struct record *records;
	uint64_t count;
	uint64_t value;		/* of the last write */
	uint64_t *seen;		/* shape [words]: what a CAS expects */
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
	uint64_t old = 0;
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
		result = tp_atomic_cas64(load->thread, load->region, offset, record->compare,
					 record->operand, &old);
		record->result = old;
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

/* Note what is known of it. */
static void
recorder_end(struct recorder *recorder, struct record *record, struct tp_result result)
{
	uint64_t generation = tp_client_region_info(recorder->load->region)->generation;

	record->outcome = tp_result_is_ok(result) ? RECORD_DONE : RECORD_UNKNOWN;
	if (generation != record->generation) {
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
}

static void
recorder_once(struct recorder *recorder)
{
	struct load *load = recorder->load;
	struct record record = recorder_choose(recorder);
	uint64_t misses = tp_thread_stats_get(load->thread)->misses;
	struct tp_result result;

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

void
load_record(struct load *load)
{
	struct recorder recorder = { .load = load };
	FILE *file = load->record_path != NULL ? fopen(load->record_path, "we") : NULL;

	recorder.seen = calloc(load->words, sizeof(*recorder.seen));
	if (file == NULL || recorder.seen == NULL) {
		load_fault(load, "record needs --record FILE and memory: %s", strerror(errno));
		return;
	}
	while (load_goes_on(load))
		recorder_once(&recorder);
	if (fwrite(recorder.records, sizeof(*recorder.records), recorder.count, file) !=
	    recorder.count || fclose(file) != 0)
		load_fault(load, "cannot write the records: %s", strerror(errno));
	free(recorder.records);
	free(recorder.seen);
}
