/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * churn and mix: loads that are there to disturb others, not to be exact.
 */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "load.h"

#define CHURN_PAUSE_US 1000
#define MIX_BYTES_MAX 16384u
#define MIX_SLOTS 8

static uint64_t
churn_bytes(const struct load *load)
{
	uint64_t room = tp_client_region_info(load->region)->bytes - load->offset;

	return load->bytes != 0 && load->bytes < room ? load->bytes : room;
}

/* One word of a random page; dropping it from the cache sometimes, or writing it back. */
static struct tp_result
churn_page(struct load *load, uint64_t offset)
{
	uint64_t value = offset, kind = load_random(load, 16);

	switch (kind) {
	case 0:
		return tp_invalidate(load->thread, load->region, offset, 1);
	case 1:
		return tp_flush(load->thread, load->region, offset, 1);
	case 2:
	case 3:
	case 4:
	case 5:
		return tp_write(load->thread, load->region, offset, &value, sizeof(value));
	default:
		return tp_read(load->thread, load->region, offset, &value, sizeof(value));
	}
}

/*
 * Pages of the range at random; and the words' own pages are dropped from this
 * node's cache, for those who use them to fetch them again. Churned words lie
 * at the start of pages that hold nothing else.
 */
void
load_churn(struct load *load)
{
	uint32_t page_bytes = tp_client_region_info(load->region)->page_bytes;
	uint64_t pages = churn_bytes(load) / page_bytes;

	while (load_goes_on(load) && pages > 0) {
		uint64_t started = tp_client_tsc(load->client);
		uint64_t misses = tp_thread_stats_get(load->thread)->misses;
		struct tp_result result = churn_page(load, load->offset +
			load_random(load, pages) * page_bytes);

		if (load_ended(load, result, started,
			       tp_thread_stats_get(load->thread)->misses - misses))
			load->done++;
		else
			usleep(CHURN_PAUSE_US);
		if (load->words > 1 && load_random(load, 64) == 0)
			tp_invalidate(load->thread, load->region, 0, page_bytes);
	}
}

static void
mix_submit(struct load *load, struct tp_op *op, uint8_t *buffer)
{
	uint64_t range = churn_bytes(load) - MIX_BYTES_MAX;
	uint64_t offset = load->offset + load_random(load, range / 8) * 8;
	uint64_t bytes = 8 + load_random(load, MIX_BYTES_MAX - 8);

	switch (load_random(load, 4)) {
	case 0:
		tp_submit_write(load->thread, load->region, offset, buffer, bytes, op);
		break;
	case 1:
		tp_submit_atomic(load->thread, load->region, offset, TP_ATOMIC_ADD, 8, 1, 0, op);
		break;
	default:
		tp_submit_read(load->thread, load->region, offset, buffer, bytes, op);
	}
}

/* Pins for reading and for writing, written through, held while others want the page. */
static void
mix_pin(struct load *load)
{
	uint64_t offset = load->offset + load_random(load, churn_bytes(load) / 64) * 64;
	bool write = load_random(load, 2) == 0;
	struct tp_pin pin;

	if (!tp_result_is_ok(tp_pin(load->thread, load->region, offset, 64,
				    write ? TP_ACCESS_WRITE : TP_ACCESS_READ, &pin)))
		return;
	if (write)
		memset(pin.address, (int)load_random(load, 256), 64);
	usleep(100);
	tp_unpin(load->thread, &pin);
}

void
load_mix(struct load *load)
{
	static uint8_t buffers[MIX_SLOTS][MIX_BYTES_MAX];
	struct tp_op ops[MIX_SLOTS];
	uint64_t head = 0, tail = 0;

	if (churn_bytes(load) <= MIX_BYTES_MAX) {
		load_fault(load, "mix needs more than %u bytes", MIX_BYTES_MAX);
		return;
	}
	while (load_goes_on(load) || tail != head) {
		if (head - tail < MIX_SLOTS && load_goes_on(load)) {
			mix_submit(load, &ops[head % MIX_SLOTS], buffers[head % MIX_SLOTS]);
			head++;
			continue;
		}
		if (tp_result_is_ok(tp_op_wait(load->thread, &ops[tail++ % MIX_SLOTS])))
			load->done++;
		else
			load->void_count++;
		if (load_random(load, 32) == 0)
			mix_pin(load);
	}
}
