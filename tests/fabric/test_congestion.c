/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Loss and congestion in virtual time: what is lost is found and sent again
 * without waiting for a timeout, windows follow delay and not single losses, and
 * bulk leaves room for what somebody waits for.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pipe.h"

#define US UINT64_C(1000)

static void
test_loss_of_one_packet_in_a_stream_is_found_without_a_timeout(void **state)
{
	struct pipe_result result;

	(void)state;
	pipe_run(&(struct pipe){ .messages = 400, .gap_ns = 2 * US, .drop_first = 100, .drop_count = 1 }, &result);
	assert_int_equal(result.delivered, 400);
	assert_int_equal(result.retransmits, 1);
	assert_int_equal(result.timeouts, 0);
	assert_int_equal(result.probes, 0);
	/* Two round trips more than without, and no more. */
	assert_in_range(result.latency_max, 60 * US, 110 * US);
}

static void
test_loss_in_a_dense_stream_is_found_by_order(void **state)
{
	struct pipe_result result;

	(void)state;
	pipe_run(&(struct pipe){ .messages = 1000, .gap_ns = US / 2, .drop_first = 600,
		.drop_count = 1 }, &result);
	assert_int_equal(result.delivered, 1000);
	assert_int_equal(result.retransmits, 1);
	/* Way, three packets, way back, way again; by time alone it is 10 us more. */
	assert_in_range(result.latency_max, 60 * US, 66 * US);
}

static void
test_loss_of_a_tail_is_probed_before_the_timeout(void **state)
{
	struct pipe_result result;

	(void)state;
	pipe_run(&(struct pipe){ .messages = 50, .gap_ns = 2 * US, .drop_first = 47, .drop_count = 3 }, &result);
	assert_int_equal(result.delivered, 50);
	assert_int_equal(result.timeouts, 0);
	assert_int_equal(result.probes, 1);
	assert_int_equal(result.retransmits, 3);
	assert_in_range(result.latency_max, 0, 1000 * US);
}

static void
test_loss_of_one_request_alone_is_repaired_within_a_millisecond(void **state)
{
	struct pipe_result result;

	(void)state;
	pipe_run(&(struct pipe){ .messages = 20, .gap_ns = SIM_MS, .drop_first = 19,
		.drop_count = 1 }, &result);
	assert_int_equal(result.delivered, 20);
	assert_int_equal(result.timeouts, 0);
	assert_in_range(result.latency_max, 0, 1000 * US);
}

static void
test_loss_of_a_packet_sent_again_is_found_without_a_timeout(void **state)
{
	struct pipe_result result;

	(void)state;
	pipe_run(&(struct pipe){ .messages = 600, .gap_ns = 2 * US, .drop_first = 100, .drop_count = 1,
		.drop_again = 1 }, &result);
	assert_int_equal(result.delivered, 600);
	assert_int_equal(result.timeouts, 0);
	assert_int_equal(result.retransmits, 2);
}

static void
test_loss_of_everything_for_a_while_ends_in_timeouts_and_recovers(void **state)
{
	struct pipe_result result;

	(void)state;
	pipe_run(&(struct pipe){ .messages = 300, .drop_first = 100, .drop_count = 200,
		.drop_again = 3 }, &result);
	assert_int_equal(result.delivered, 300);
	assert_true(result.timeouts >= 1);
}

static void
test_rto_is_a_millisecond_at_short_round_trips(void **state)
{
	struct pipe_result result;

	(void)state;
	pipe_run(&(struct pipe){ .messages = 200, .gap_ns = 50 * US }, &result);
	/* The simulated path takes 20 us each way; what an ack waits there is not part of it. */
	assert_in_range(result.info.srtt_ns, 39 * US, 60 * US);
	assert_in_range(result.info.rtt_path_ns, 39 * US, 45 * US);
	assert_int_equal(result.info.rto_ns, SIM_MS);
}

/*
 * A message comes at the end of a turn of the receiver that takes 24 us, and is
 * acknowledged 100 us later: as much of that is the path's as without a turn.
 */
static void
test_path_is_not_shortened_by_long_turns_of_the_receiver(void **state)
{
	const struct sim_faults calm = { .delay_ns = PIPE_DELAY_NS };
	struct tp_session_info info;
	struct sim_cluster c;
	struct tp_endpoint *receiver;
	uint8_t byte = 0;
	struct iovec iov = { &byte, 1 };
	uint32_t i;

	(void)state;
	sim_cluster_init(&c, 2, 1, &calm, NULL, 9000);
	c.message = pipe_message_ignore;
	sim_cluster_connect(&c);
	sim_cluster_run(&c, SIM_MS);
	receiver = c.nodes[1].ep;
	for (i = 0; i < 20; i++) {
		assert_int_equal(tp_endpoint_send(c.nodes[0].ep, 2, 0, TP_CLASS_RESPONSE,
			TP_PRIORITY_NORMAL, &iov, 1), 0);
		c.nodes[1].paused = true;
		sim_cluster_run(&c, 25 * US);
		sim_net_set_now(c.net, c.now);
		assert_int_equal(tp_endpoint_rx_poll(receiver, c.now - 24 * US), 1);
		tp_endpoint_tx_flush(receiver, c.now - 24 * US);
		tp_endpoint_timer_poll(receiver, c.now);
		c.nodes[1].paused = false;
		sim_cluster_run(&c, SIM_MS);
	}
	assert_int_equal(tp_endpoint_session_info(c.nodes[0].ep, 0, &info), 0);
	assert_in_range(info.rtt_path_ns, 39 * US, 60 * US);
	sim_cluster_fini(&c);
}

static void
test_window_survives_one_percent_of_random_loss(void **state)
{
	struct pipe_result calm;
	struct pipe_result lossy;

	(void)state;
	pipe_run(&(struct pipe){ .messages = 20000, .service_ns = US }, &calm);
	pipe_run(&(struct pipe){ .messages = 20000, .service_ns = US, .loss_ppm = 10000 }, &lossy);
	assert_int_equal(calm.delivered, 20000);
	assert_int_equal(lossy.delivered, 20000);
	/* The same work in at most a fifth more time. */
	assert_in_range(lossy.span, calm.span, calm.span + calm.span / 5);
	assert_true(lossy.retransmits >= 150);
	/* Few are sent again in vain. */
	assert_true(lossy.retransmits < 400);
}

static void
test_window_is_cut_where_a_tenth_is_lost(void **state)
{
	struct pipe_result result;

	(void)state;
	/* No wire that queues could grow on: timeouts and losses alone cut. */
	pipe_run(&(struct pipe){ .messages = 20000, .loss_ppm = 100000 }, &result);
	assert_int_equal(result.delivered, 20000);
	assert_true(result.cuts >= 20 + 2 * result.timeouts);
}

static void
test_window_keeps_the_queue_short_on_a_slow_link(void **state)
{
	struct pipe_result result;

	(void)state;
	/* 4 us a packet: the path holds 10, Swift allows some 25 us more. */
	pipe_run(&(struct pipe){ .messages = 20000, .service_ns = 4 * US }, &result);
	assert_int_equal(result.delivered, 20000);
	assert_true(result.cuts >= 1);
	assert_in_range(result.queue_max_late, 1, 100 * US);
	/* And the link is never idle for long. */
	assert_in_range(result.span, 20000 * 4 * US * 99 / 100, 20000 * 4 * US * 11 / 10);
}

static void
test_bulk_queue_is_at_most_twenty_microseconds_of_link(void **state)
{
	struct pipe_result result;

	(void)state;
	pipe_run(&(struct pipe){ .messages = 20000, .service_ns = 2 * US,
		.bulk = true }, &result);
	assert_int_equal(result.delivered, 20000);
	/* A packet or two more, for windows are whole packets. */
	assert_in_range(result.queue_max_late, 1, (20 + 2 * 2) * US);
	assert_in_range(result.span, 20000 * 2 * US * 99 / 100, 20000 * 2 * US * 5 / 4);
}

static void
test_bulk_with_a_short_window_does_not_wait_for_acks(void **state)
{
	struct pipe_result result;

	(void)state;
	/* Four packets fill the path and the queue: fewer than draw an ack unasked. */
	pipe_run(&(struct pipe){ .messages = 2000, .service_ns = 20 * US, .bulk = true },
		&result);
	assert_int_equal(result.delivered, 2000);
	assert_in_range(result.span, 2000 * 20 * US * 99 / 100, 2000 * 20 * US * 5 / 4);
}

static void
test_demand_overtakes_bulk_in_the_queue_and_in_the_window(void **state)
{
	struct pipe_result result;

	(void)state;
	pipe_run(&(struct pipe){ .messages = 10000, .service_ns = 2 * US,
		.bulk = true, .demand_every = 100 }, &result);
	assert_int_equal(result.delivered, 10000);
	assert_true(result.demands >= 90);
	/* The path, a bounded burst, its own time. */
	assert_in_range(result.demand_max, 20 * US, (20 + 20 + 20 + 2) * US);
}

static void
test_demand_overtakes_bulk_that_was_lost(void **state)
{
	struct pipe_result result;

	(void)state;
	pipe_run(&(struct pipe){ .messages = 10000, .service_ns = 2 * US, .loss_ppm = 20000,
		.demand_safe = true, .bulk = true, .demand_every = 50 }, &result);
	assert_int_equal(result.delivered, 10000);
	assert_true(result.demands >= 180);
	assert_in_range(result.demand_max, 20 * US, (20 + 20 + 20 + 2 * 8) * US);
}

static void
test_bulk_requests_leave_credits_to_demands(void **state)
{
	struct tp_endpoint_config config = { .request_credits = 8 };
	const struct sim_faults calm = { .delay_ns = 2000 };
	struct sim_cluster c;
	uint8_t byte = 0;
	struct iovec iov = { &byte, 1 };
	uint32_t i;

	(void)state;
	sim_cluster_init(&c, 2, 1, &calm, &config, 1500);
	sim_cluster_connect(&c);
	c.message = pipe_message_ignore;
	for (i = 0; i < 20; i++)
		assert_int_equal(tp_endpoint_send(c.nodes[0].ep, 2, 0, TP_CLASS_REQUEST,
			TP_PRIORITY_BULK, &iov, 1), 0);
	sim_cluster_run(&c, SIM_MS);
	assert_int_equal(c.nodes[1].messages, 6);
	for (i = 0; i < 4; i++)
		assert_int_equal(tp_endpoint_send(c.nodes[0].ep, 2, 0, TP_CLASS_REQUEST,
			TP_PRIORITY_URGENT, &iov, 1), 0);
	sim_cluster_run(&c, SIM_MS);
	assert_int_equal(c.nodes[1].messages, 8);
	sim_cluster_fini(&c);
}

static void
test_bulk_fills_its_queue_and_not_that_of_demands(void **state)
{
	const struct sim_faults calm = { .delay_ns = 2000 };
	struct sim_cluster c;
	uint8_t byte = 0;
	struct iovec iov = { &byte, 1 };
	int ret;

	(void)state;
	sim_cluster_init(&c, 2, 1, &calm, NULL, 1500);
	sim_cluster_connect(&c);
	do {
		ret = tp_endpoint_send(c.nodes[0].ep, 2, 0, TP_CLASS_RESPONSE, TP_PRIORITY_BULK,
			&iov, 1);
	} while (ret == 0);
	assert_int_equal(ret, -EAGAIN);
	assert_int_equal(tp_endpoint_send(c.nodes[0].ep, 2, 0, TP_CLASS_RESPONSE,
		TP_PRIORITY_URGENT, &iov, 1), 0);
	sim_cluster_run(&c, 5 * SIM_MS);
	sim_cluster_fini(&c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_loss_of_one_packet_in_a_stream_is_found_without_a_timeout),
		cmocka_unit_test(test_loss_in_a_dense_stream_is_found_by_order),
		cmocka_unit_test(test_loss_of_a_tail_is_probed_before_the_timeout),
		cmocka_unit_test(test_loss_of_one_request_alone_is_repaired_within_a_millisecond),
		cmocka_unit_test(test_loss_of_a_packet_sent_again_is_found_without_a_timeout),
		cmocka_unit_test(test_loss_of_everything_for_a_while_ends_in_timeouts_and_recovers),
		cmocka_unit_test(test_rto_is_a_millisecond_at_short_round_trips),
		cmocka_unit_test(test_path_is_not_shortened_by_long_turns_of_the_receiver),
		cmocka_unit_test(test_window_survives_one_percent_of_random_loss),
		cmocka_unit_test(test_window_is_cut_where_a_tenth_is_lost),
		cmocka_unit_test(test_window_keeps_the_queue_short_on_a_slow_link),
		cmocka_unit_test(test_bulk_queue_is_at_most_twenty_microseconds_of_link),
		cmocka_unit_test(test_bulk_with_a_short_window_does_not_wait_for_acks),
		cmocka_unit_test(test_demand_overtakes_bulk_in_the_queue_and_in_the_window),
		cmocka_unit_test(test_demand_overtakes_bulk_that_was_lost),
		cmocka_unit_test(test_bulk_requests_leave_credits_to_demands),
		cmocka_unit_test(test_bulk_fills_its_queue_and_not_that_of_demands),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
