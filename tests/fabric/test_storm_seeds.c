/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Many seeds of the storms, each with other sizes and faults. TP_STORM_SEED
 * replays one seed, TP_STORM_SEEDS sets how many run, TP_STORM_FIRST from where.
 */
#include <stdlib.h>

#include "storm.h"

static uint32_t
storm_seeds(void)
{
	const char *text = getenv("TP_STORM_SEEDS");

	return text != NULL ? (uint32_t)atoi(text) : 200;
}

static void
storm_vary(struct storm *storm, uint64_t seed)
{
	storm->seed = seed;
	storm->nodes = 2 + (uint32_t)(seed % 4);
	storm->mtu = seed % 3 == 0 ? 9000 : seed % 3 == 1 ? 1500 : 4200;
	storm->faults.loss_ppm = 20000 * (uint32_t)(seed % 11);
	storm->faults.jitter_ns = 1000 + 30000 * (seed % 7);
}

static void
storm_series(struct storm *storm)
{
	const char *one = getenv("TP_STORM_SEED");
	const char *first = getenv("TP_STORM_FIRST");
	uint64_t from = 1;
	uint64_t seed;

	if (one != NULL) {
		storm_vary(storm, strtoull(one, NULL, 10));
		storm_run(storm);
		return;
	}
	if (first != NULL)
		from = strtoull(first, NULL, 10);
	for (seed = from; seed < from + storm_seeds(); seed++) {
		storm_vary(storm, seed);
		storm_run(storm);
	}
}

static void
test_storm_of_many_seeds_delivers_all_once(void **state)
{
	struct storm storm = { .requests = 60, .message_max = 40000, .faults = storm_faults,
		.deadline_ns = 120000 * SIM_MS,
		.config = { .peer_timeout_ns = 4000 * SIM_MS, .heartbeat_ns = 30 * SIM_MS,
			.rto_max_ns = 50 * SIM_MS } };

	(void)state;
	storm_series(&storm);
}

static void
test_storm_of_many_seeds_at_the_minimum_does_not_stall(void **state)
{
	struct storm storm = { .requests = 15, .message_max = 65536, .faults = storm_faults,
		.buffers = TP_ENDPOINT_TX_FRAMES_MIN + TP_ENDPOINT_RX_FRAMES_MIN + 64,
		.deadline_ns = 120000 * SIM_MS,
		.config = { .peer_timeout_ns = 4000 * SIM_MS, .heartbeat_ns = 30 * SIM_MS,
			.rto_max_ns = 50 * SIM_MS,
			.peer_max = 4, .session_max = 4,
			.request_credits = 1, .forward_credits = 1,
			.tx_frames = TP_ENDPOINT_TX_FRAMES_MIN,
			.rx_frames = TP_ENDPOINT_RX_FRAMES_MIN,
			.session_queue_frames = TP_WIRE_FRAGMENTS_MAX } };

	(void)state;
	storm_series(&storm);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_storm_of_many_seeds_delivers_all_once),
		cmocka_unit_test(test_storm_of_many_seeds_at_the_minimum_does_not_stall),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
