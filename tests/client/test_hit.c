/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The hit paths of hit.h, stopped at every step while the node does its worst.
 * (What store buffers add is the model's business: tests/sim.)
 */
#include "fixture.h"

static void test_step(int step);
#define CLIENT_STEP(step) test_step(step)
#include "hit.h"

static struct {
	struct fixture *f;
	int stop;		/* step at which to act, once */
	bool reached;
	bool revoked;		/* the page was gone when the client went on */
	void (*act)(struct fixture *f);
} script;

static void
test_step(int step)
{
	if (step != script.stop || script.reached)
		return;
	script.reached = true;
	script.act(script.f);
}

static void
script_start(struct fixture *f, int step, void (*act)(struct fixture *f))
{
	script.f = f;
	script.stop = step;
	script.reached = false;
	script.revoked = false;
	script.act = act;
}

static void
act_revoke(struct fixture *f)
{
	script.revoked = fake_page_revoke(f->fake, 0);
}

/* The page goes, is changed elsewhere, and comes back in the same slot. */
static void
act_revoke_change_return(struct fixture *f)
{
	if (!fake_page_revoke(f->fake, 0))
		return;
	script.revoked = true;
	memset(f->fake->pages[0].home, 0x77, 64);
	fake_page_publish(f->fake, 0, TP_ACCESS_WRITE);
}

static void
act_revoke_too_long(struct fixture *f)
{
	act_revoke(f);
	f->fake->tsc += FAKE_GUARD_LEASE;
}

static void
act_lease_lapses(struct fixture *f)
{
	f->fake->node->lease_until_tsc = f->fake->tsc;
}

static uint64_t
home_word(struct fixture *f)
{
	uint64_t value;

	assert_true(fake_page_revoke(f->fake, 0));
	memcpy(&value, f->fake->pages[0].home, 8);
	return value;
}

/* A write that says done is in what the node takes away; one that says miss is not. */
static void
write_at_step(struct fixture *f, int step, void (*act)(struct fixture *f))
{
	const uint64_t old = 0x1111111111111111, new_value = 0x2222222222222222;
	enum client_hit hit;
	uint64_t after;

	f->fake->node->lease_until_tsc = UINT64_MAX;
	assert_true(fake_page_revoke(f->fake, 0));
	memcpy(f->fake->pages[0].home, &old, 8);
	fake_page_publish(f->fake, 0, TP_ACCESS_WRITE);
	script_start(f, step, act);
	hit = client_hit_write(f->thread, f->region, 0, 0, &new_value, 8);
	assert_false(fake_node_guarded(f->fake));
	after = home_word(f);
	if (hit == CLIENT_HIT)
		assert_int_equal(after, new_value);
	if (hit == CLIENT_MISS)
		assert_int_not_equal(after, new_value);
	/* The page was gone: there was nothing to write to. */
	if (script.revoked && act == act_revoke)
		assert_int_equal(hit, CLIENT_MISS);
}

static void
test_write_page_taken_at_each_step_done_or_not(void **state)
{
	int step;

	for (step = CLIENT_STEP_GUARD_ASK; step < CLIENT_STEP_COUNT; step++) {
		write_at_step(*state, step, act_revoke);
		assert_true(script.reached);
		/* From the announcement on the node waits. */
		if (step > CLIENT_STEP_GUARD_ASK)
			assert_false(script.revoked);
		write_at_step(*state, step, act_revoke_change_return);
		assert_true(script.reached);
	}
}

static void
test_write_guard_overdue_broken(void **state)
{
	struct fixture *f = *state;
	uint64_t value = 3;

	fake_page_publish(f->fake, 0, TP_ACCESS_WRITE);
	script_start(f, CLIENT_STEP_WRITE_COPY, act_revoke_too_long);
	assert_int_equal(client_hit_write(f->thread, f->region, 0, 0, &value, 8), CLIENT_BROKEN);
	assert_false(fake_node_guarded(f->fake));
	/* As long, but the page was not asked for: it was ours all the time. */
	assert_true(fake_page_revoke(f->fake, 0));
	fake_page_publish(f->fake, 0, TP_ACCESS_WRITE);
	script_start(f, -1, NULL);
	assert_int_equal(client_hit_write(f->thread, f->region, 0, 0, &value, 8), CLIENT_HIT);
}

static void
test_write_lease_lapses_at_each_step_never_a_hit(void **state)
{
	struct fixture *f = *state;
	int step;

	for (step = CLIENT_STEP_GUARD_ASK; step <= CLIENT_STEP_WRITE_COPY; step++) {
		uint64_t value = 3;

		f->fake->node->lease_until_tsc = UINT64_MAX;
		fake_page_publish(f->fake, 0, TP_ACCESS_WRITE);
		script_start(f, step, act_lease_lapses);
		assert_int_equal(client_hit_write(f->thread, f->region, 0, 0, &value, 8),
				 CLIENT_BROKEN);
		assert_false(fake_node_guarded(f->fake));
	}
}

static void
test_read_page_taken_at_each_step_never_stale(void **state)
{
	struct fixture *f = *state;
	int step;

	for (step = CLIENT_STEP_READ_WORD; step <= CLIENT_STEP_READ_COPY; step++) {
		uint64_t value;

		fake_page_publish(f->fake, 0, TP_ACCESS_READ);
		script_start(f, step, act_revoke_change_return);
		assert_int_equal(client_hit_read(f->thread, f->region, 0, 0, &value, 8),
				 CLIENT_MISS);
		assert_true(script.revoked);
		script_start(f, step, act_lease_lapses);
		assert_int_equal(client_hit_read(f->thread, f->region, 0, 0, &value, 8),
				 CLIENT_MISS);
		f->fake->node->lease_until_tsc = UINT64_MAX;
		script_start(f, -1, NULL);
		assert_int_equal(client_hit_read(f->thread, f->region, 0, 0, &value, 8),
				 CLIENT_HIT);
		assert_int_equal(value, 0x7777777777777777);
	}
}

/* A reference bit set by another reader is no other publication. */
static void
act_reference(struct fixture *f)
{
	atomic_fetch_xor(&f->fake->words[0], TP_WORD_REF);
}

static void
test_hit_reference_bit_changes_still_a_hit(void **state)
{
	struct fixture *f = *state;
	uint64_t value = 0;
	uint32_t i;

	fake_page_publish(f->fake, 0, TP_ACCESS_WRITE);
	for (i = 0; i < 2; i++) {
		script_start(f, CLIENT_STEP_READ_COPY, act_reference);
		assert_int_equal(client_hit_read(f->thread, f->region, 0, 0, &value, 8),
				 CLIENT_HIT);
		assert_true(script.reached);
		script_start(f, CLIENT_STEP_WRITE_COPY, act_reference);
		assert_int_equal(client_hit_write(f->thread, f->region, 0, 0, &value, 8),
				 CLIENT_HIT);
		assert_true(script.reached);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		fixture_test(test_write_page_taken_at_each_step_done_or_not),
		fixture_test(test_write_guard_overdue_broken),
		fixture_test(test_write_lease_lapses_at_each_step_never_a_hit),
		fixture_test(test_read_page_taken_at_each_step_never_stale),
		fixture_test(test_hit_reference_bit_changes_still_a_hit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
