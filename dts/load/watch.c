/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * watch and write: words that only ever grow, seen by readers that check them
 * against what they saw before and against the truth.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "load.h"

#define WATCH_PAUSE_US 1000	/* after a VOID: the cluster is busy with itself */

/* One look at a word. */
static void
watch_word(struct load *load, uint64_t word, uint64_t *seen)
{
	uint64_t misses = tp_thread_stats_get(load->thread)->misses;
	uint64_t started = tp_client_tsc(load->client);
	uint64_t value = 0, low = 0, high = UINT64_MAX;
	struct tp_result result;

	if (load->truth != NULL)
		low = atomic_load_explicit(&load->truth[word].ended, memory_order_seq_cst);
	result = tp_read(load->thread, load->region, load_word_offset(load, word), &value,
			 sizeof(value));
	if (!load_ended(load, result, started,
			tp_thread_stats_get(load->thread)->misses - misses)) {
		usleep(WATCH_PAUSE_US);
		return;
	}
	if (load->truth != NULL)
		high = atomic_load_explicit(&load->truth[word].begun, memory_order_seq_cst);
	load->done++;
	if (value < *seen)
		load_fault(load, "word %" PRIu64 " went from %" PRIu64 " to %" PRIu64, word, *seen,
			   value);
	else if (value < low || value > high)
		load_fault(load, "word %" PRIu64 " reads %" PRIu64 ", not %" PRIu64 " to %" PRIu64,
			   word, value, low, high);
	*seen = value;
}

void
load_watch(struct load *load)
{
	uint64_t *seen = calloc(load->words, sizeof(*seen));
	uint64_t word = 0;

	if (seen == NULL) {
		load_fault(load, "no memory");
		return;
	}
	while (load_goes_on(load)) {
		watch_word(load, word, &seen[word]);
		word = (word + 1) % load->words;
	}
	free(seen);
}

/* Read the own word back: nobody else writes it. */
static void
write_check(struct load *load, uint64_t word, uint64_t wanted)
{
	uint64_t value = 0;
	struct tp_result result = tp_read(load->thread, load->region,
		load_word_offset(load, word), &value, sizeof(value));

	if (tp_result_is_ok(result) && value != wanted)
		load_fault(load, "own word %" PRIu64 " reads %" PRIu64 ", not %" PRIu64, word,
			   value, wanted);
}

/* The same value until it is known to be there: a second write of it changes nothing. */
static bool
write_word(struct load *load, uint64_t word, uint64_t value)
{
	struct tp_result result;

	load_truth_begin(load, word);
	do {
		uint64_t misses = tp_thread_stats_get(load->thread)->misses;
		uint64_t started = tp_client_tsc(load->client);

		result = tp_write(load->thread, load->region, load_word_offset(load, word), &value,
				  sizeof(value));
		if (load_ended(load, result, started,
			       tp_thread_stats_get(load->thread)->misses - misses)) {
			load_truth_end(load, word);
			load->done++;
			return true;
		}
		usleep(WATCH_PAUSE_US);
	} while (load_goes_on(load));
	load->unknown++;
	return false;
}

void
load_write(struct load *load)
{
	uint64_t word, value;

	for (value = 1; load_goes_on(load); value++) {
		for (word = 0; word < load->words && load_goes_on(load); word++) {
			if (!write_word(load, word, value))
				return;
			write_check(load, word, value);
		}
	}
}
