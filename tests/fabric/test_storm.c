/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A few seeds of each storm; test_storm_seeds runs many.
 */
#include "storm.h"

static void
test_storm_on_calm_network_delivers_all_once(void **state)
{
	struct storm storm = { .nodes = 3, .requests = 300, .message_max = 65536, .mtu = 9000,
		.seed = 5, .faults = { .delay_ns = 2000 }, .deadline_ns = 5000 * SIM_MS };

	(void)state;
	storm_run(&storm);
}

static void
test_storm_on_bad_network_delivers_all_once(void **state)
{
	struct storm storm = { .nodes = 3, .requests = 150, .message_max = 20000, .mtu = 1500,
		.faults = storm_faults, .deadline_ns = 60000 * SIM_MS,
		.config = { .peer_timeout_ns = 2000 * SIM_MS, .rto_max_ns = 50 * SIM_MS } };

	(void)state;
	for (storm.seed = 1; storm.seed <= 4; storm.seed++)
		storm_run(&storm);
}

static void
test_storm_with_everything_at_its_minimum_does_not_stall(void **state)
{
	struct storm storm = { .nodes = 4, .requests = 30, .message_max = 65536, .mtu = 1500,
		.buffers = TP_ENDPOINT_TX_FRAMES_MIN + TP_ENDPOINT_RX_FRAMES_MIN + 64,
		.faults = storm_faults, .deadline_ns = 60000 * SIM_MS,
		.config = { .peer_timeout_ns = 2000 * SIM_MS, .rto_max_ns = 50 * SIM_MS,
			.peer_max = 3, .session_max = 3,
			.request_credits = 1, .forward_credits = 1,
			.tx_frames = TP_ENDPOINT_TX_FRAMES_MIN,
			.rx_frames = TP_ENDPOINT_RX_FRAMES_MIN,
			.session_queue_frames = TP_WIRE_FRAGMENTS_MAX } };

	(void)state;
	for (storm.seed = 1; storm.seed <= 3; storm.seed++)
		storm_run(&storm);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_storm_on_calm_network_delivers_all_once),
		cmocka_unit_test(test_storm_on_bad_network_delivers_all_once),
		cmocka_unit_test(test_storm_with_everything_at_its_minimum_does_not_stall),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
