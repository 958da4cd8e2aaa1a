/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Fences of atomics: who asks much leaves room for others, none is forgotten before
 * its time, and looking for one takes as long with many as with one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "coherence_priv.h"
#include "net.h"

#define MS UINT64_C(1000000)
#define NODES 6
#define HOME 0
#define CHAIN_MAX 8	/* no more fences than buckets: longer ones mean a bad hash */

static int
setup(void **state)
{
	struct net_config config = { .nodes = NODES, .pages = 2, .home_count = 1 };
	struct net *net = net_create(&config);

	net->now = 1000 * MS;
	net_poll_all(net);
	*state = net;
	return 0;
}

static int
teardown(void **state)
{
	net_destroy(*state);
	return 0;
}

static struct tp_coherence *
home(struct net *net)
{
	return net->node[HOME].engine;
}

/* A program of a node asks after what node sent. */
static bool
add(struct net *net, uint16_t from, uint8_t asker, uint16_t node, uint32_t sessions,
	uint64_t sequence)
{
	const struct tp_coherence_msg msg = { .operand = rte_cpu_to_le_64(asker) };
	const struct coherence_id id = { .origin = (uint64_t)node << 48, .sequence = sequence };
	struct coherence_event ev = { .c = home(net), .from = from, .msg = &msg };

	return coherence_fence_add(&ev, node, sessions, &id);
}

/* The atomic comes. */
static bool
take(struct net *net, uint16_t node, uint64_t sequence)
{
	const struct coherence_id id = { .origin = (uint64_t)node << 48, .sequence = sequence };
	struct coherence_event ev = { .c = home(net), .from = node };

	return coherence_fence_take(&ev, &id);
}

/* Ask until it is refused. @return How many were taken. */
static uint32_t
add_all(struct net *net, uint16_t from, uint8_t asker)
{
	static uint64_t sequence;
	uint32_t count = 0;

	while (add(net, from, asker, 1, 1, ++sequence))
		count++;
	return count;
}

static void
test_fence_is_taken_once_from_its_node(void **state)
{
	struct net *net = *state;

	assert_true(add(net, 2, 0, 1, 1, 7));
	assert_false(take(net, 1, 8));
	assert_false(take(net, 2, 7));
	assert_true(take(net, 1, 7));
	assert_false(take(net, 1, 7));
	assert_int_equal(home(net)->fences.count, 0);
}

static void
test_fence_greedy_node_leaves_room_for_others(void **state)
{
	struct net *net = *state;
	uint32_t first = 0, second = 0, asker;

	for (asker = 0; asker < TP_SETTLE_ASKERS; asker++)
		first += add_all(net, 2, (uint8_t)asker);
	assert_true(first > 256);
	for (asker = 0; asker < TP_SETTLE_ASKERS; asker++)
		second += add_all(net, 3, (uint8_t)asker);
	/* As many as the first has left, but for itself: not a crumb. */
	assert_true(second > 256);
	assert_true(add_all(net, 4, 0) > 64);
	assert_int_equal(tp_coherence_stats_get(home(net))->fences_refused,
		2 * TP_SETTLE_ASKERS + 1);
}

static void
test_fence_greedy_program_leaves_room_for_others_of_its_node(void **state)
{
	struct net *net = *state;

	assert_true(add_all(net, 2, 5) > 256);
	assert_true(add_all(net, 2, 6) > 64);
}

/* Whatever all the others do. */
static void
test_fence_every_program_may_have_one(void **state)
{
	struct net *net = *state;
	uint32_t node, asker, round;

	for (round = 0; round < 4; round++)
		for (node = 1; node < NODES; node++)
			for (asker = round == 3 ? 0 : 1; asker < TP_SETTLE_ASKERS; asker++) {
				uint32_t count = add_all(net, (uint16_t)node, (uint8_t)asker);

				assert_true(count >= (round == 0 ||
					(round == 3 && asker == 0) ? 1 : 0));
			}
	assert_true(home(net)->fences.common <= 1024);
	assert_true(home(net)->fences.used_max <= home(net)->fences.total);
}

/* What a program got is given back in full. */
static void
test_fence_quota_comes_back(void **state)
{
	struct net *net = *state;
	uint32_t count = add_all(net, 2, 5), i;

	/* Its own are taken one by one, others' are none of its business. */
	assert_true(add(net, 3, 5, 4, 1, 1));
	assert_true(take(net, 4, 1));
	assert_int_equal(add_all(net, 2, 5), 0);
	/* Node 1 is gone: nothing of its session arrives any more, or of the next. */
	for (i = 0; i < 2; i++) {
		net_session_down(net, HOME, 1);
		net_session_up(net, HOME, 1);
		assert_int_equal(home(net)->fences.count, i == 0 ? count : 0);
	}
	assert_int_equal(home(net)->fences.common, 0);
	assert_int_equal(add_all(net, 2, 5), count);
}

/* Asked for twice: one fence, on the account of who asked first, for the longer time. */
static void
test_fence_asked_for_again_is_the_same(void **state)
{
	struct net *net = *state;

	assert_true(add(net, 2, 5, 1, 1, 7));
	assert_true(add(net, 2, 5, 1, 1, 8));
	assert_true(add(net, 1, 0, 1, 0, 7));
	assert_int_equal(home(net)->fences.count, 2);
	assert_int_equal(home(net)->fences.by_asker[2 * TP_SETTLE_ASKERS + 5], 2);
	assert_int_equal(home(net)->fences.by_asker[1 * TP_SETTLE_ASKERS], 0);
	net_session_down(net, HOME, 1);
	net_session_up(net, HOME, 1);
	assert_true(take(net, 1, 7));
	assert_true(take(net, 1, 8));
}

/* While there are any every atomic looks there: at a few, however many there are. */
static void
test_fence_chains_stay_short(void **state)
{
	struct net *net = *state;
	const struct coherence_fences *fences = &home(net)->fences;
	uint32_t node, asker, thread;
	uint64_t sequence;

	/* As clients count: threads in the high bits, atomics from 1. */
	for (node = 1; node < NODES; node++)
		for (asker = 0; asker < TP_SETTLE_ASKERS; asker++)
			for (thread = 0; thread < 4; thread++)
				for (sequence = 1; sequence < 16; sequence++)
					add(net, (uint16_t)node, (uint8_t)asker, (uint16_t)node, 0,
						(uint64_t)(asker * 4 + thread) << 56 | sequence);
	assert_true(fences->count > 1024);
	for (uint32_t b = 0; b <= fences->bucket_mask; b++) {
		uint32_t length = 0;

		for (uint32_t i = fences->buckets[b]; i != 0; i = fences->items[i - 1].next)
			length++;
		assert_true(length <= CHAIN_MAX);
	}
}

/* The same by a list: all there is to know of them. */
struct twin {
	uint64_t sequence;
	uint64_t since;
	uint32_t end;		/* count of sessions of node */
	uint16_t node;
	uint16_t from;
	uint8_t asker;
};

#define TWINS 4096
static struct twin twins[TWINS];
static uint32_t twin_count;

static struct twin *
twin_find(uint16_t node, uint64_t sequence)
{
	for (uint32_t i = 0; i < twin_count; i++)
		if (twins[i].node == node && twins[i].sequence == sequence)
			return &twins[i];
	return NULL;
}

static void
twins_expire(struct net *net)
{
	const struct tp_coherence *c = home(net);
	uint32_t i = 0;

	while (i < twin_count) {
		if ((int32_t)(c->peers[twins[i].node].downs - twins[i].end) >= 0 ||
		    c->awake_ns - twins[i].since > c->config.fence_ns)
			twins[i] = twins[--twin_count];
		else
			i++;
	}
}

static void
twin_add(struct net *net, unsigned int *seed)
{
	uint16_t from = (uint16_t)(1 + rand_r(seed) % (NODES - 1));
	uint16_t node = (uint16_t)(1 + rand_r(seed) % (NODES - 1));
	uint8_t asker = (uint8_t)(rand_r(seed) % 3);
	uint32_t sessions = (uint32_t)rand_r(seed) % 2;
	uint64_t sequence = 1 + (uint64_t)rand_r(seed) % 600;
	uint32_t end = home(net)->peers[node].downs + 1 + sessions;
	bool added = add(net, from, asker, node, sessions, sequence);
	struct twin *twin;

	twins_expire(net);
	twin = twin_find(node, sequence);
	if (twin != NULL) {
		assert_true(added);
		twin->since = home(net)->awake_ns;
		if ((int32_t)(end - twin->end) > 0)
			twin->end = end;
	} else if (added) {
		assert_true(twin_count < TWINS);
		twins[twin_count++] = (struct twin){ sequence, home(net)->awake_ns, end, node,
			from, asker };
	}
}

static void
twin_take(struct net *net, unsigned int *seed)
{
	uint16_t node = (uint16_t)(1 + rand_r(seed) % (NODES - 1));
	uint64_t sequence = 1 + (uint64_t)rand_r(seed) % 600;
	bool taken = take(net, node, sequence);
	struct twin *twin;

	twins_expire(net);
	twin = twin_find(node, sequence);
	assert_true(taken == (twin != NULL));
	if (twin != NULL)
		*twin = twins[--twin_count];
}

/* Accounts add up to what is there. */
static void
twins_check(struct net *net)
{
	const struct coherence_fences *fences = &home(net)->fences;
	uint32_t held[NODES][TP_SETTLE_ASKERS] = { { 0 } }, common = 0, node, asker;

	assert_int_equal(fences->count, twin_count);
	for (uint32_t i = 0; i < twin_count; i++)
		held[twins[i].from][twins[i].asker]++;
	for (node = 0; node < NODES; node++) {
		uint32_t beyond = 0;

		for (asker = 0; asker < TP_SETTLE_ASKERS; asker++) {
			assert_int_equal(fences->by_asker[node * TP_SETTLE_ASKERS + asker],
				held[node][asker]);
			beyond += held[node][asker] > 1 ? held[node][asker] - 1 : 0;
		}
		assert_int_equal(fences->common_by_node[node], beyond);
		common += beyond;
	}
	assert_int_equal(fences->common, common);
	assert_true(common <= 1024);
}

static void
test_fence_random_events_are_as_by_a_list(void **state)
{
	struct net *net = *state;
	unsigned int seed = 4711;
	uint32_t step;

	twin_count = 0;
	for (step = 0; step < 40000; step++) {
		uint32_t what = (uint32_t)rand_r(&seed) % 1000;

		if (what < 700) {
			twin_add(net, &seed);
		} else if (what < 990) {
			twin_take(net, &seed);
		} else if (what < 998) {
			net->now += 500 * MS;
			for (uint32_t i = 0; i < 200; i++) {
				net->now += MS;
				net_poll_all(net);
			}
		} else {
			uint16_t node = (uint16_t)(1 + rand_r(&seed) % (NODES - 1));

			net_session_down(net, HOME, node);
			net_session_up(net, HOME, node);
		}
		if (step % 50 != 0)
			continue;
		add(net, 1, 0, 1, 0, UINT64_MAX);
		take(net, 1, UINT64_MAX);
		twins_expire(net);
		twins_check(net);
	}
}

#define fence_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		fence_test(test_fence_is_taken_once_from_its_node),
		fence_test(test_fence_greedy_node_leaves_room_for_others),
		fence_test(test_fence_greedy_program_leaves_room_for_others_of_its_node),
		fence_test(test_fence_every_program_may_have_one),
		fence_test(test_fence_quota_comes_back),
		fence_test(test_fence_asked_for_again_is_the_same),
		fence_test(test_fence_chains_stay_short),
		fence_test(test_fence_random_events_are_as_by_a_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
