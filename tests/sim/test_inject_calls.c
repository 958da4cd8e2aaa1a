/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Every call of the public API under every injected fault, in virtual time. For
 * each pair, on a cluster of its own: the call ends by its deadline with an outcome
 * that the pair allows, and once the fault is over the memory is as that outcome
 * said (done: changed; not done: not changed; unknown: either, and an atomic says
 * which when asked), and nothing of the caller's was touched after the return.
 *
 * The program is on node 1, where the faults are, but for one. Pages 1 and 4 of
 * the region live on node 2 and hold a word each; `warm` cells have both on node 1,
 * changed there. The calls are in inject_accesses.c and inject_controls.c.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <rte_log.h>

#include "inject_calls.h"
#include "tp_inject.h"

enum fault {
	NO_FAULT, UNREACHABLE, TIMED_OUT, PARTITION, PARTITION_ONE_WAY, PARTITION_ANSWERS,
	PARTITION_ALL, CRASH, CRASH_AFTER, PERMISSION, CORRUPTION, CORRUPTION_FRAMES, SLOW, LOSS,
	DUPLICATE, REORDER,
	FAULTS
};

static const uint16_t node_one[] = { 1 }, node_two[] = { 2 };
#define PEER .peers = node_two, .peer_count = 1

static const struct {
	const char *name;
	struct tp_inject_spec spec;
	bool there;			/* of node 2 instead of node 1 */
} faults[FAULTS] = {
	[NO_FAULT] = { "no fault", { 0 } },
	[UNREACHABLE] = { "unreachable", { .kind = TP_INJECT_UNREACHABLE, PEER } },
	[TIMED_OUT] = { "timeout", { .kind = TP_INJECT_TIMEOUT, PEER } },
	[PARTITION] = { "partition", { .kind = TP_INJECT_PARTITION, PEER } },
	[PARTITION_ONE_WAY] = { "partition one way", { .kind = TP_INJECT_PARTITION, PEER,
		.one_way = true } },
	/* What is asked for is done, and the answer does not come. */
	[PARTITION_ANSWERS] = { "partition of answers", { .kind = TP_INJECT_PARTITION,
		.peers = node_one, .peer_count = 1, .one_way = true }, true },
	[PARTITION_ALL] = { "partition from all", { .kind = TP_INJECT_PARTITION } },
	[CRASH] = { "crash", { .kind = TP_INJECT_CRASH } },
	[CRASH_AFTER] = { "crash with the request", { .kind = TP_INJECT_CRASH, .after = 1 } },
	[PERMISSION] = { "permission", { .kind = TP_INJECT_PERMISSION, .region = "r" } },
	[CORRUPTION] = { "corruption", { .kind = TP_INJECT_CORRUPTION, .region = "r" } },
	[CORRUPTION_FRAMES] = { "corruption of frames", { .kind = TP_INJECT_CORRUPTION,
		.rate_ppm = 200000 } },
	[SLOW] = { "slow", { .kind = TP_INJECT_SLOW, PEER, .delay_ns = 2 * MS } },
	[LOSS] = { "loss", { .kind = TP_INJECT_LOSS, .rate_ppm = 100000 } },
	[DUPLICATE] = { "duplicate", { .kind = TP_INJECT_DUPLICATE, .rate_ppm = 500000 } },
	[REORDER] = { "reorder", { .kind = TP_INJECT_REORDER, .rate_ppm = 500000 } },
};

#define R(reason) (1u << TP_##reason)
#define OF_DATA_FATE(reasons) [OF_DATA] = (reasons), [OF_COPIES] = (reasons) | R(OK)

/* What each class of call may end with under each fault; where it cannot reach, OK. */
static const uint32_t fates[FAULTS][CLASSES] = {
	[UNREACHABLE] = { OF_DATA_FATE(R(UNREACHABLE)), [OF_HEAP] = R(UNREACHABLE) | R(TIMEOUT) },
	[TIMED_OUT] = { OF_DATA_FATE(R(TIMEOUT)), [OF_HEAP] = R(TIMEOUT) },
	[PARTITION] = { OF_DATA_FATE(R(UNREACHABLE)), [OF_HEAP] = R(UNREACHABLE) | R(TIMEOUT) },
	[PARTITION_ONE_WAY] = { OF_DATA_FATE(R(UNREACHABLE)),
		[OF_HEAP] = R(UNREACHABLE) | R(TIMEOUT) },
	[PARTITION_ANSWERS] = { OF_DATA_FATE(R(UNREACHABLE)),
		[OF_HEAP] = R(UNREACHABLE) | R(TIMEOUT) },
	[PARTITION_ALL] = { OF_DATA_FATE(R(UNREACHABLE) | R(PARTITION) | R(TIMEOUT)),
		[OF_STORE] = R(OK) | R(UNREACHABLE) | R(PARTITION) | R(TIMEOUT),
		[OF_HEAP] = R(UNREACHABLE) | R(PARTITION) | R(TIMEOUT) },
	[CRASH] = { OF_DATA_FATE(R(NODE_CRASHED)), [OF_WORKER] = R(NODE_CRASHED),
		[OF_CONTROL] = R(NODE_CRASHED), [OF_STORE] = R(NODE_CRASHED),
		[OF_HEAP] = R(NODE_CRASHED) },
	[CRASH_AFTER] = { OF_DATA_FATE(R(NODE_CRASHED)), [OF_WORKER] = R(NODE_CRASHED) },
	[PERMISSION] = { OF_DATA_FATE(R(PERMISSION)) },
	[CORRUPTION] = { OF_DATA_FATE(R(CORRUPTION)) },
};

/* The reason behind an errno of a control call; TP_INVALID for one that none may give. */
static enum tp_reason
reason_of(int error)
{
	switch (error) {
	case 0:
		return TP_OK;
	case -ETIMEDOUT:
		return TP_TIMEOUT;
	case -ECONNRESET:
		return TP_NODE_CRASHED;
	case -ENETUNREACH:
		return TP_PARTITION;
	case -EHOSTUNREACH:
		return TP_UNREACHABLE;
	default:
		return TP_INVALID;
	}
}

static void
world_attach(struct world *w)
{
	w->client = tp_sim_attach(w->sim, 1, 4);
	assert_non_null(w->client);
	assert_int_equal(tp_thread_register(w->client, &w->thread), 0);
	assert_int_equal(tp_client_region_open(w->client, "r", &w->region), 0);
	tp_thread_timeout_set(w->thread, TIMEOUT);
}

static void
put(struct tp_thread *thread, struct tp_client_region *region, uint64_t offset, uint64_t value)
{
	assert_true(tp_result_is_ok(tp_write(thread, region, offset, &value, 8)));
}

static void
world_epochs(struct world *w, uint32_t epochs[3])
{
	struct tp_control_node node;
	uint32_t i;

	for (i = 0; i < 3; i++) {
		assert_int_equal(tp_client_node_get(w->judge, i, &node), 0);
		epochs[i] = node.epoch;
	}
}

static void
world_create(struct world *w, bool warm)
{
	const struct tp_sim_config config = { .seed = 1 };
	const uint16_t nodes[] = { 1, 2, 3 };
	struct tp_client_region_config region = {
		.name = "r", .bytes = 6 * PAGE, .nodes = nodes, .node_count = 3,
	};
	struct tp_client_region *spare;
	int n;

	w->sim = tp_sim_create(&config);
	for (n = 1; n <= 3; n++)
		assert_int_equal(tp_sim_node_add(w->sim, NULL), n);
	w->judge = tp_sim_attach(w->sim, 2, 1);
	w->extra = tp_sim_attach(w->sim, 1, 1);
	assert_int_equal(tp_thread_register(w->judge, &w->judge_thread), 0);
	tp_thread_timeout_set(w->judge_thread, 3000 * MS);
	w->client = tp_sim_attach(w->sim, 1, 1);
	assert_int_equal(tp_client_region_create(w->client, &region, &spare), 0);
	region.name = "spare";
	assert_int_equal(tp_client_region_create(w->client, &region, &spare), 0);
	tp_client_detach(w->client);
	assert_int_equal(tp_client_region_open(w->judge, "r", &w->judge_region), 0);
	assert_int_equal(tp_client_alloc(w->judge, 2, 64, &w->ptr), 0);
	put(w->judge_thread, w->judge_region, NEAR, OLD_NEAR);
	put(w->judge_thread, w->judge_region, FAR, OLD_FAR);
	world_attach(w);
	if (warm) {
		put(w->thread, w->region, NEAR + 64, 1);
		put(w->thread, w->region, FAR + 64, 1);
	}
	/* A home that is as old as the question cannot tell what was before it. */
	tp_sim_advance(w->sim, 100 * MS);
	world_epochs(w, w->epochs);
}

static bool
fault_is_crash(enum fault fault)
{
	return fault == CRASH || fault == CRASH_AFTER;
}

static void
world_inject(struct world *w, enum fault fault)
{
	int ret;

	if (fault == NO_FAULT)
		return;
	ret = tp_inject(faults[fault].there ? w->judge : w->client, &faults[fault].spec);
	assert_int_equal(ret, fault == CRASH ? -ECONNRESET : 0);
	tp_sim_advance(w->sim, MS / 10);
}

/* The fault is over, and the cluster has found itself again. */
static void
world_mend(struct world *w, enum fault fault)
{
	if (fault_is_crash(fault) && !tp_client_is_alive(w->client)) {
		assert_int_equal(tp_sim_node_restart(w->sim, 1), 0);
	} else {
		assert_int_equal(tp_inject_clear(w->client), 0);
		assert_int_equal(tp_inject_clear(w->judge), 0);
	}
	tp_sim_advance(w->sim, 2000 * MS);
	assert_true(tp_sim_node_is_serving(w->sim, 1));
	if (!tp_client_is_alive(w->client)) {
		tp_client_detach(w->client);
		world_attach(w);
	}
}

/* Did a node lose its copies? */
static bool
world_lost_copies(struct world *w)
{
	uint32_t epochs[3];

	world_epochs(w, epochs);
	return memcmp(epochs, w->epochs, sizeof(epochs)) != 0;
}

static void
check_fate(const struct world *w, const struct call *call, enum fault fault, bool warm,
	const struct outcome *outcome)
{
	enum tp_reason reason = outcome->control ? reason_of(outcome->error) :
		(enum tp_reason)outcome->result.reason;
	uint32_t allowed = fates[fault][call->class];

	if (allowed == 0)
		allowed = R(OK);
	/* What is here already needs nobody, unless it is taken from sight. */
	if (warm && (call->class == OF_DATA || call->class == OF_COPIES) &&
	    fault != PERMISSION && fault != CORRUPTION && fault != CRASH)
		allowed |= R(OK);
	if ((allowed & 1u << reason) == 0)
		fail_msg("%s: %s (error %d)", w->cell, tp_reason_name(reason),
			 outcome->control ? outcome->error : 0);
	if (outcome->control)
		return;
	if ((reason == TP_OK) != (outcome->result.effect == TP_EFFECT_DONE))
		fail_msg("%s: %s with effect %u", w->cell, tp_reason_name(reason),
			 outcome->result.effect);
}

/* Is a word as the outcome said? */
static void
check_word(struct world *w, const struct word *word, struct tp_result said)
{
	bool lost = world_lost_copies(w);
	struct tp_result result;
	uint64_t value;

	result = tp_read(w->judge_thread, w->judge_region, word->offset, &value, 8);
	if (!tp_result_is_ok(result)) {
		/* The only copy may have gone with its node. */
		if (lost && result.reason == TP_NODE_CRASHED)
			return;
		fail_msg("%s: the word is %s", w->cell, tp_reason_name(result.reason));
	}
	if (tp_result_is_ok(said) || (word->end != 0 && said.bytes_done >= word->end)) {
		if (value != word->after)
			fail_msg("%s: done, but the word is %lu", w->cell, value);
	} else if (said.effect == TP_EFFECT_NOT_DONE) {
		if (value != word->before)
			fail_msg("%s: not done, but the word is %lu", w->cell, value);
	} else if (value != word->before && value != word->after) {
		fail_msg("%s: the word is %lu", w->cell, value);
	}
}

/* An atomic whose fate is unknown is asked after, now that all is well. */
static struct tp_result
settle(struct world *w, enum fault fault, struct tp_result said)
{
	struct tp_result settled;

	if (!w->atomic || said.effect != TP_EFFECT_UNKNOWN)
		return said;
	settled = w->waited ? tp_atomic_settle(w->thread, w->region, NULL) :
		tp_op_settle(w->thread, w->region, &w->op);
	if (settled.effect == TP_EFFECT_UNKNOWN && !world_lost_copies(w))
		fail_msg("%s: its fate cannot be learnt: %s", w->cell,
			 tp_reason_name(settled.reason));
	return settled;
}

static void
run_cell(const struct call *call, enum fault fault, bool warm)
{
	uint64_t buffers[WORDS_MAX], began, limit;
	struct world *w = calloc(1, sizeof(*w));
	struct tp_result said;
	struct outcome outcome;
	char cell[128];
	uint32_t i;

	assert_non_null(w);
	snprintf(cell, sizeof(cell), "%s, %s%s", call->name, faults[fault].name,
		 warm ? ", warm" : "");
	w->cell = cell;
	world_create(w, warm);
	world_inject(w, fault);

	began = tp_sim_now(w->sim);
	outcome = call->run(w);
	limit = call->settles ? 2 * TIMEOUT : outcome.control ? CONTROL_TIMEOUT : TIMEOUT;
	if (tp_sim_now(w->sim) - began > limit + SLACK)
		fail_msg("%s: took %lu us", cell, (tp_sim_now(w->sim) - began) / 1000);
	memcpy(buffers, w->buffers, sizeof(buffers));
	check_fate(w, call, fault, warm, &outcome);

	world_mend(w, fault);
	assert_memory_equal(buffers, w->buffers, sizeof(buffers));
	said = settle(w, fault, outcome.result);
	for (i = 0; i < w->word_count; i++)
		check_word(w, &w->words[i], said);
	tp_sim_destroy(w->sim);
	free(w);
}

static void
run_calls(const struct call *call, enum fault fault)
{
	for (; call->name != NULL; call++) {
		run_cell(call, fault, false);
		if (call->class == OF_DATA || call->class == OF_COPIES)
			run_cell(call, fault, true);
	}
}

static void
run_fault(enum fault fault)
{
	run_calls(inject_accesses, fault);
	run_calls(inject_controls, fault);
}

#define CASE(name, fault)						\
static void								\
test_calls_under_##name##_keep_their_word(void **state)		\
{									\
	run_fault(fault);						\
}
CASE(no_fault, NO_FAULT)
CASE(unreachable, UNREACHABLE)
CASE(timeout, TIMED_OUT)
CASE(partition, PARTITION)
CASE(partition_one_way, PARTITION_ONE_WAY)
CASE(partition_of_answers, PARTITION_ANSWERS)
CASE(partition_from_all, PARTITION_ALL)
CASE(crash, CRASH)
CASE(crash_with_the_request, CRASH_AFTER)
CASE(permission, PERMISSION)
CASE(corruption, CORRUPTION)
CASE(corruption_of_frames, CORRUPTION_FRAMES)
CASE(slow_peer, SLOW)
CASE(loss, LOSS)
CASE(duplicates, DUPLICATE)
CASE(reordering, REORDER)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calls_under_no_fault_keep_their_word),
		cmocka_unit_test(test_calls_under_unreachable_keep_their_word),
		cmocka_unit_test(test_calls_under_timeout_keep_their_word),
		cmocka_unit_test(test_calls_under_partition_keep_their_word),
		cmocka_unit_test(test_calls_under_partition_one_way_keep_their_word),
		cmocka_unit_test(test_calls_under_partition_of_answers_keep_their_word),
		cmocka_unit_test(test_calls_under_partition_from_all_keep_their_word),
		cmocka_unit_test(test_calls_under_crash_keep_their_word),
		cmocka_unit_test(test_calls_under_crash_with_the_request_keep_their_word),
		cmocka_unit_test(test_calls_under_permission_keep_their_word),
		cmocka_unit_test(test_calls_under_corruption_keep_their_word),
		cmocka_unit_test(test_calls_under_corruption_of_frames_keep_their_word),
		cmocka_unit_test(test_calls_under_slow_peer_keep_their_word),
		cmocka_unit_test(test_calls_under_loss_keep_their_word),
		cmocka_unit_test(test_calls_under_duplicates_keep_their_word),
		cmocka_unit_test(test_calls_under_reordering_keep_their_word),
	};

	rte_log_set_global_level(RTE_LOG_CRIT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
