/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The keeper: pages handed over last, in order, and are told; what is damaged is found.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "keeper_region.h"
#include "tp_address.h"

#define PAGE 4096u
#define PAGES 64u

static char path[64];

static struct tp_region
region_of(const char *name, uint32_t place, uint32_t pages)
{
	struct tp_region region = {
		.id = place + 1,
		.state = TP_REGION_ACTIVE,
		.mode = TP_REGION_RW,
		.distribution = TP_REGION_HOME,
		.durability = TP_DURABILITY_LOCAL,
		.page_shift = 12,
		.base = TP_ADDRESS_DURABLE_BASE + ((uint64_t)place + 1) * (64u << 20),
		.bytes = (uint64_t)pages * PAGE,
		.page_count = pages,
		.generation = 1,
		.node_count = 1,
		.nodes = { 1 },
	};

	strcpy(region.name, name);
	return region;
}

static struct keeper *
keeper_make(bool threaded)
{
	const struct keeper_config config = {
		.path = path,
		.bytes = 48 << 20,
		.node_id = 1,
		.worker_count = 2,
		.page_bytes = PAGE,
		.threaded = threaded,
	};
	struct keeper *keeper = NULL;

	assert_int_equal(keeper_open(&config, &keeper), 0);
	assert_int_equal(keeper_start(keeper), 0);
	return keeper;
}

static void
pause_ms(long ms)
{
	const struct timespec time = { .tv_nsec = ms * 1000000 };

	nanosleep(&time, NULL);
}

/* Ask, and wait for the answer. */
static struct keeper_call
call(struct keeper *keeper, struct keeper_call asked)
{
	assert_true(keeper_call(keeper, &asked));
	while (!keeper_answer(keeper, &asked))
		pause_ms(1);
	return asked;
}

static struct keeper_region *
region_open(struct keeper *keeper, const struct tp_region *region)
{
	struct keeper_call done = call(keeper, (struct keeper_call){ .type = KEEPER_OPEN,
		.create = true, .region = region });

	assert_int_equal(done.error, 0);
	return done.kept;
}

static void
persist(struct keeper *keeper, uint16_t worker, struct keeper_region *kept, uint32_t index,
	uint8_t fill, uint32_t txn)
{
	struct keeper_port *port = keeper_port(keeper, worker);
	struct keeper_job job = { .region = kept, .index = index, .node = 3,
		.reply = { .type = TP_MSG_PERSIST_RESULT, .txn = rte_cpu_to_le_32(txn) } };

	memset(keeper_buffer_take(port, &job.buffer), fill, PAGE);
	keeper_persist(port, &job);
}

static struct keeper_done
ended(struct keeper *keeper, uint16_t worker)
{
	struct keeper_done done;

	while (!keeper_ended(keeper_port(keeper, worker), &done))
		pause_ms(1);
	return done;
}

static void
page_is(const struct keeper_region *kept, uint32_t index, uint8_t fill)
{
	const uint8_t *page = keeper_page(kept, index);

	assert_int_equal(keeper_page_look(kept, index), TP_PERSISTED_PAGE);
	assert_int_equal(page[0], fill);
	assert_int_equal(page[PAGE - 1], fill);
}

static int
setup(void **state)
{
	snprintf(path, sizeof(path), "%s/tp-keeper-%d",
		access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", (int)getpid());
	unlink(path);
	return 0;
}

static int
teardown(void **state)
{
	unlink(path);
	return 0;
}

static void
test_keeper_pages_are_there_when_it_comes_back(void **state)
{
	struct tp_region region = region_of("r", 0, PAGES);
	struct keeper *keeper = keeper_make(true);
	struct keeper_region *kept = region_open(keeper, &region);

	assert_int_equal(keeper_page_look(kept, 5), TP_PERSISTED_NEVER);
	for (uint32_t i = 0; i < PAGES; i++) {
		if (i == 5)
			continue;
		persist(keeper, i % 2, kept, i, (uint8_t)(i + 1), i);
	}
	for (uint32_t i = 0; i < PAGES; i++) {
		struct keeper_done done;

		if (i == 5)
			continue;
		done = ended(keeper, i % 2);
		assert_int_equal(done.error, 0);
		assert_int_equal(done.node, 3);
		/* In the order of each worker. */
		assert_int_equal(rte_le_to_cpu_32(done.reply.txn), i);
	}
	assert_int_equal(keeper_stats_get(keeper)->pages, PAGES - 1);
	assert_int_equal(call(keeper, (struct keeper_call){ .type = KEEPER_CLOSE,
		.kept = kept }).error, 0);
	keeper_close(keeper);
	keeper = keeper_make(true);
	kept = region_open(keeper, &region);
	for (uint32_t i = 0; i < PAGES; i++)
		if (i != 5)
			page_is(kept, i, (uint8_t)(i + 1));
	assert_int_equal(keeper_page_look(kept, 5), TP_PERSISTED_NEVER);
	assert_int_equal(keeper_stats_get(keeper)->damaged, 0);
	keeper_region_close(kept);
	keeper_close(keeper);
}

static void
test_keeper_newest_of_a_page_counts(void **state)
{
	struct tp_region region = region_of("r", 0, PAGES);
	struct keeper *keeper = keeper_make(true);
	struct keeper_region *kept = region_open(keeper, &region);

	for (uint32_t round = 0; round < 50; round++) {
		for (uint32_t i = 0; i < KEEPER_JOBS; i++)
			persist(keeper, 0, kept, 7, (uint8_t)(round + i), i);
		for (uint32_t i = 0; i < KEEPER_JOBS; i++)
			assert_int_equal(ended(keeper, 0).error, 0);
		page_is(kept, 7, (uint8_t)(round + KEEPER_JOBS - 1));
	}
	keeper_region_close(kept);
	keeper_close(keeper);
}

static void
test_keeper_without_thread_stores_in_its_turn(void **state)
{
	struct tp_region region = region_of("r", 0, PAGES);
	struct keeper *keeper = keeper_make(false);
	struct keeper_call asked = { .type = KEEPER_OPEN, .create = true, .region = &region };
	struct keeper_done done;

	assert_true(keeper_call(keeper, &asked));
	assert_false(keeper_answer(keeper, &asked));
	assert_int_equal(keeper_turn(keeper), 1);
	assert_true(keeper_answer(keeper, &asked));
	persist(keeper, 1, asked.kept, 0, 9, 0);
	assert_false(keeper_ended(keeper_port(keeper, 1), &done));
	assert_int_equal(keeper_turn(keeper), 1);
	assert_true(keeper_ended(keeper_port(keeper, 1), &done));
	page_is(asked.kept, 0, 9);
	keeper_region_close(asked.kept);
	keeper_close(keeper);
}

/* A worker that hands a page over whenever one lasts, so that there is always one more. */
struct busy_worker {
	struct keeper *keeper;
	struct keeper_region *kept;
	uint32_t times;			/* that it was told */
	uint32_t when_answered;		/* how often until the call was */
};

static void
busy_wake(void *ctx, uint16_t worker)
{
	struct busy_worker *busy = ctx;
	struct keeper_done done;

	busy->times++;
	while (keeper_ended(keeper_port(busy->keeper, worker), &done))
		;
	if (busy->times < 100)
		persist(busy->keeper, worker, busy->kept, 0, (uint8_t)busy->times, 0);
}

static void
busy_answered(void *ctx)
{
	struct busy_worker *busy = ctx;

	busy->when_answered = busy->times;
}

/* What a worker hands over meanwhile is not waited for. */
static void
test_keeper_call_is_run_though_pages_keep_coming(void **state)
{
	struct tp_region region = region_of("r", 0, PAGES);
	struct tp_region second = region_of("s", 1, PAGES);
	struct busy_worker busy = { 0 };
	const struct keeper_config config = { .path = path, .bytes = 48 << 20, .node_id = 1,
		.worker_count = 2, .page_bytes = PAGE, .wake_worker = busy_wake,
		.wake_control = busy_answered, .wake_ctx = &busy };
	struct keeper_call asked = { .type = KEEPER_OPEN, .create = true, .region = &region };

	assert_int_equal(keeper_open(&config, &busy.keeper), 0);
	assert_int_equal(keeper_start(busy.keeper), 0);
	assert_true(keeper_call(busy.keeper, &asked));
	keeper_turn(busy.keeper);
	assert_true(keeper_answer(busy.keeper, &asked));
	busy.kept = asked.kept;
	persist(busy.keeper, 0, busy.kept, 0, 1, 0);
	asked = (struct keeper_call){ .type = KEEPER_OPEN, .create = true, .region = &second };
	assert_true(keeper_call(busy.keeper, &asked));
	keeper_turn(busy.keeper);
	assert_true(keeper_answer(busy.keeper, &asked));
	assert_int_equal(busy.when_answered, 1);
	keeper_region_close(asked.kept);
	keeper_region_close(busy.kept);
	keeper_close(busy.keeper);
}

static void
test_keeper_region_that_does_not_fit_is_refused(void **state)
{
	struct tp_region large = region_of("large", 0, 1 << 14);
	struct tp_region other = region_of("other", 1, 16);
	struct tp_region same = region_of("another", 1, 16);
	struct keeper *keeper = keeper_make(true);
	struct keeper_region *kept;
	struct tp_region listed[4];

	assert_int_equal(call(keeper, (struct keeper_call){ .type = KEEPER_OPEN, .create = true,
		.region = &large }).error, -ENOSPC);
	assert_int_equal(call(keeper, (struct keeper_call){ .type = KEEPER_OPEN,
		.region = &other }).error, -ENOENT);
	kept = region_open(keeper, &other);
	assert_int_equal(call(keeper, (struct keeper_call){ .type = KEEPER_OPEN, .create = true,
		.region = &same }).error, -EEXIST);
	keeper_region_close(kept);
	keeper_close(keeper);
	keeper = keeper_make(false);
	assert_int_equal(keeper_list(keeper, listed, 4), 1);
	assert_string_equal(listed[0].name, "other");
	assert_int_equal(listed[0].base, other.base);
	assert_int_equal(listed[0].bytes, other.bytes);
	assert_int_equal(listed[0].nodes[0], 1);
	assert_int_equal(keeper_forget(keeper, other.base), 0);
	assert_int_equal(keeper_forget(keeper, other.base), -ENOENT);
	assert_int_equal(keeper_list(keeper, listed, 4), 0);
	keeper_close(keeper);
}

static void
test_keeper_room_of_removed_regions_is_used_again(void **state)
{
	struct tp_region region = region_of("r", 0, 2048);
	struct keeper *keeper = keeper_make(true);

	for (int i = 0; i < 50; i++) {
		struct keeper_region *kept = region_open(keeper, &region);

		assert_int_equal(keeper_page_look(kept, 0), TP_PERSISTED_NEVER);
		persist(keeper, 0, kept, 0, 1, 0);
		/* What was handed over before the region goes is no harm to it. */
		assert_int_equal(call(keeper, (struct keeper_call){ .type = KEEPER_REMOVE,
			.kept = kept }).error, 0);
		assert_int_equal(ended(keeper, 0).error, 0);
	}
	keeper_close(keeper);
}

static void
test_keeper_pool_is_one_nodes_alone(void **state)
{
	const struct keeper_config config = { .path = path, .bytes = 48 << 20, .node_id = 2,
		.worker_count = 1, .page_bytes = PAGE };
	struct keeper *keeper = keeper_make(true);
	struct keeper *other = NULL;

	assert_int_equal(keeper_open(&config, &other), -EBUSY);
	assert_null(other);
	keeper_close(keeper);
}

/* Where in the file the pages are that are filled with a value. */
static off_t
file_find(int fd, uint8_t fill)
{
	uint8_t page[PAGE];

	for (off_t at = 0; pread(fd, page, PAGE, at) == (ssize_t)PAGE; at += PAGE) {
		uint32_t i;

		for (i = 0; i < PAGE && page[i] == fill; i++)
			;
		if (i == PAGE)
			return at;
	}
	return -1;
}

static void
test_keeper_damage_is_found(void **state)
{
	struct tp_region region = region_of("r", 0, PAGES);
	struct keeper *keeper = keeper_make(true);
	struct keeper_region *kept = region_open(keeper, &region);
	struct keeper_entry zero = { 0 };
	off_t entry;
	off_t page;
	int fd;

	for (uint32_t i = 0; i < PAGES; i++)
		persist(keeper, 0, kept, i, (uint8_t)(i + 1), 0);
	for (uint32_t i = 0; i < PAGES; i++)
		assert_int_equal(ended(keeper, 0).error, 0);
	entry = (off_t)tp_pmem_offset(kept->pool, &kept->entries[20]);
	keeper_region_close(kept);
	keeper_close(keeper);
	fd = open(path, O_RDWR);
	page = file_find(fd, 11);
	assert_true(page > 0);
	assert_int_equal(pwrite(fd, "x", 1, page + 1234), 1);
	/* An entry that was lost altogether, too. */
	assert_int_equal(pwrite(fd, &zero, sizeof(zero), entry), sizeof(zero));
	close(fd);
	keeper = keeper_make(true);
	kept = region_open(keeper, &region);
	for (uint32_t i = 0; i < PAGES; i++)
		assert_int_equal(keeper_page_look(kept, i), i == 10 || i == 20 ?
			TP_PERSISTED_DAMAGED : TP_PERSISTED_PAGE);
	assert_int_equal(keeper_stats_get(keeper)->damaged, 2);
	keeper_region_close(kept);
	keeper_close(keeper);
}

int
main(void)
{
#define KEEPER_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		KEEPER_TEST(test_keeper_pages_are_there_when_it_comes_back),
		KEEPER_TEST(test_keeper_newest_of_a_page_counts),
		KEEPER_TEST(test_keeper_without_thread_stores_in_its_turn),
		KEEPER_TEST(test_keeper_call_is_run_though_pages_keep_coming),
		KEEPER_TEST(test_keeper_region_that_does_not_fit_is_refused),
		KEEPER_TEST(test_keeper_room_of_removed_regions_is_used_again),
		KEEPER_TEST(test_keeper_pool_is_one_nodes_alone),
		KEEPER_TEST(test_keeper_damage_is_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
