/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * persist: words of a durable region, whose home is killed meanwhile. This program is the
 * only one to write to its words, and writes rising values. In the truth of a word
 * (struct load_truth) "begun" is the highest that it may be, "ended" the highest that is
 * persisted for sure: whatever happens, it reads from "ended" to "begun".
 */
#include <inttypes.h>
#include <unistd.h>

#include "load.h"

#define PERSIST_PAUSE_US 2000

/* Read a word; false: VOID. */
static bool
word_read(struct load *load, uint64_t word, uint64_t *value)
{
	uint64_t started = tp_client_tsc(load->client);
	uint64_t ended = atomic_load_explicit(&load->truth[word].ended, memory_order_seq_cst);
	uint64_t begun = atomic_load_explicit(&load->truth[word].begun, memory_order_seq_cst);

	if (!load_ended(load, tp_read(load->thread, load->region, load_word_offset(load, word),
			value, sizeof(*value)), started, 1))
		return false;
	if (*value < ended || *value > begun)
		load_fault(load, "word %" PRIu64 " is %" PRIu64 ", was persisted as %" PRIu64
			", written as %" PRIu64, word, *value, ended, begun);
	return true;
}

/* Write the next value. false: VOID, it may be there or not. */
static bool
word_write(struct load *load, uint64_t word, uint64_t *value)
{
	uint64_t started = tp_client_tsc(load->client);

	*value = atomic_fetch_add_explicit(&load->truth[word].begun, 1, memory_order_seq_cst) + 1;
	return load_ended(load, tp_write(load->thread, load->region,
		load_word_offset(load, word), value, sizeof(*value)), started, 1);
}

/*
 * Persist the word's page. What lasts is what the word is, which after a crash is not
 * what was written: so it counts only if it is that afterwards.
 */
static void
word_persist(struct load *load, uint64_t word, uint64_t written)
{
	uint64_t started = tp_client_tsc(load->client);
	uint64_t value;

	if (!load_ended(load, tp_persist(load->thread, load->region,
			load_word_offset(load, word), sizeof(value)), started, 1))
		return;
	load->done++;
	if (word_read(load, word, &value) && value == written)
		atomic_store_explicit(&load->truth[word].ended, written, memory_order_seq_cst);
}

void
load_persist(struct load *load)
{
	uint64_t value;

	if (load->truth == NULL) {
		load_fault(load, "persist needs --truth");
		return;
	}
	while (load_goes_on(load) && load->errors == 0) {
		uint64_t word = load_random(load, load->words);

		if (!word_read(load, word, &value) || !word_write(load, word, &value))
			usleep(PERSIST_PAUSE_US);
		else if (load_random(load, 2) == 0)
			word_persist(load, word, value);
	}
}
