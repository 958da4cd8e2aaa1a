/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * increment: remote fetch-add, several in flight. An outcome that is not known
 * counts as such; one that was not done is tried again.
 */
#include "load.h"

struct increment_slot {
	struct tp_op op;
	uint64_t word;
	uint64_t started_tsc;
};

static void
increment_begin(struct load *load, struct increment_slot *slot, uint64_t word)
{
	slot->word = word;
	slot->started_tsc = tp_client_tsc(load->client);
	load_truth_begin(load, word);
	tp_submit_atomic(load->thread, load->region, load_word_offset(load, word), TP_ATOMIC_ADD,
			 8, 1, 0, &slot->op);
}

/* True: done, or not known to be; false: it is to be done again. */
static bool
increment_end(struct load *load, struct increment_slot *slot)
{
	struct tp_result result = tp_op_wait(load->thread, &slot->op);

	if (load_ended(load, result, slot->started_tsc, slot->op.misses)) {
		load_truth_end(load, slot->word);
		load->done++;
		return true;
	}
	if (result.effect == TP_EFFECT_UNKNOWN) {
		load->unknown++;
		return true;
	}
	if (load->truth != NULL)
		atomic_fetch_sub_explicit(&load->truth[slot->word].begun, 1, memory_order_seq_cst);
	return false;
}

void
load_increment(struct load *load)
{
	struct increment_slot slots[LOAD_WINDOW_MAX];
	uint64_t head = 0, tail = 0, next = 0, left = load->count;

	while (load_goes_on(load) || tail != head) {
		if (head - tail < load->window && load_goes_on(load) &&
		    (load->count == 0 || left > 0)) {
			increment_begin(load, &slots[head++ % load->window], next++ % load->words);
			left--;
			continue;
		}
		if (!increment_end(load, &slots[tail++ % load->window]))
			left++;
	}
}
