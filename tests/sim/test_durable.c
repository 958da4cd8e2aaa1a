/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Durable regions of whole nodes: what was persisted is there after its home crashed,
 * after all nodes did, and after the store was lost with the machine.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tp_sim.h"

#define MS UINT64_C(1000000)
#define PAGE 4096u
#define PAGES 16u
#define HOME 1u

struct fixture {
	struct tp_sim *sim;
	char pool[2][64];
	struct tp_client *clients[2];
	struct tp_thread *threads[2];
	struct tp_client_region *regions[2];
};

static const char *
pool_dir(void)
{
	return access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
}

static void
nodes_add(struct fixture *f, uint16_t workers)
{
	for (unsigned int i = 0; i < 2; i++) {
		const struct tp_sim_node_config node = {
			.workers = workers,
			.pool_path = f->pool[i],
			.pool_bytes = 48 << 20,
		};

		assert_int_equal(tp_sim_node_add(f->sim, &node), i + 1);
	}
}

static void
attach(struct fixture *f, unsigned int i)
{
	f->clients[i] = tp_sim_attach(f->sim, i + 1, 2);
	assert_non_null(f->clients[i]);
	assert_int_equal(tp_thread_register(f->clients[i], &f->threads[i]), 0);
}

static void
reattach(struct fixture *f, unsigned int i)
{
	tp_client_detach(f->clients[i]);
	attach(f, i);
	assert_int_equal(tp_client_region_open(f->clients[i], "d", &f->regions[i]), 0);
}

static int
region_create(struct fixture *f, const char *name, uint32_t pages, uint32_t homes,
	enum tp_durability durability, struct tp_client_region **region)
{
	const uint16_t nodes[] = { 1, 2 };
	const struct tp_client_region_config config = {
		.name = name,
		.bytes = (uint64_t)pages * PAGE,
		.nodes = nodes,
		.node_count = homes,
		.durability = durability,
	};

	return tp_client_region_create(f->clients[0], &config, region);
}

static struct fixture
fixture_make(uint64_t seed, uint16_t workers, uint32_t homes)
{
	const struct tp_sim_config config = {
		.seed = seed,
		.network = { .jitter_ns = seed % 2 * 20000, .loss_ppm = seed % 3 * 2000 },
	};
	struct fixture f = { .sim = tp_sim_create(&config) };

	assert_non_null(f.sim);
	for (unsigned int i = 0; i < 2; i++) {
		snprintf(f.pool[i], sizeof(f.pool[i]), "%s/tp-durable-%d-%u", pool_dir(),
			(int)getpid(), i + 1);
		unlink(f.pool[i]);
	}
	nodes_add(&f, workers);
	attach(&f, 0);
	attach(&f, 1);
	assert_int_equal(region_create(&f, "d", PAGES, homes, TP_DURABILITY_LOCAL,
		&f.regions[0]), 0);
	assert_int_equal(tp_client_region_open(f.clients[1], "d", &f.regions[1]), 0);
	return f;
}

static void
fixture_free(struct fixture *f)
{
	tp_sim_destroy(f->sim);
	unlink(f->pool[0]);
	unlink(f->pool[1]);
}

static struct tp_result
read_value(struct fixture *f, unsigned int i, uint32_t page, uint64_t *value)
{
	return tp_read(f->threads[i], f->regions[i], (uint64_t)page * PAGE, value, 8);
}

static void
read_is(struct fixture *f, unsigned int i, uint32_t page, uint64_t expected)
{
	uint64_t value = 0;
	struct tp_result result = read_value(f, i, page, &value);

	if (!tp_result_is_ok(result))
		fail_msg("program %u reads %s", i, tp_reason_name(result.reason));
	assert_int_equal(value, expected);
}

static void
write_ok(struct fixture *f, unsigned int i, uint32_t page, uint64_t value)
{
	struct tp_result result = tp_write(f->threads[i], f->regions[i], (uint64_t)page * PAGE,
		&value, 8);

	if (!tp_result_is_ok(result))
		fail_msg("program %u writes %s", i, tp_reason_name(result.reason));
}

static void
persist_ok(struct fixture *f, unsigned int i, uint32_t page, uint32_t pages)
{
	struct tp_result result = tp_persist(f->threads[i], f->regions[i], (uint64_t)page * PAGE,
		(uint64_t)pages * PAGE);

	if (!tp_result_is_ok(result))
		fail_msg("program %u persists %s", i, tp_reason_name(result.reason));
	assert_int_equal(result.bytes_done, pages * PAGE);
}

static void
home_restart(struct fixture *f)
{
	assert_int_equal(tp_sim_node_crash(f->sim, HOME), 0);
	tp_sim_advance(f->sim, 300 * MS);
	assert_int_equal(tp_sim_node_restart(f->sim, HOME), 0);
	reattach(f, 0);
	tp_sim_advance(f->sim, 300 * MS);
}

static void
test_durable_region_is_there_after_its_home_crashed(void **state)
{
	struct fixture f = fixture_make(2, 1, 1);
	uint64_t value;

	assert_true(tp_client_region_info(f.regions[0])->address < UINT64_C(0xC00000000000));
	for (uint32_t page = 0; page < PAGES; page++)
		write_ok(&f, page % 2, page, 100 + page);
	persist_ok(&f, 1, 0, PAGES - 1);
	/* Written since, or never persisted: it may be lost, and is read as one or the other. */
	write_ok(&f, 1, 0, 1000);
	home_restart(&f);
	for (uint32_t page = 1; page < PAGES - 1; page++)
		read_is(&f, page % 2, page, 100 + page);
	assert_true(tp_result_is_ok(read_value(&f, 1, 0, &value)));
	assert_true(value == 100 || value == 1000);
	assert_true(tp_result_is_ok(read_value(&f, 1, PAGES - 1, &value)));
	assert_true(value == 0 || value == 100 + PAGES - 1);
	write_ok(&f, 1, 3, 7);
	read_is(&f, 0, 3, 7);
	fixture_free(&f);
}

static void
test_durable_region_striped_is_there_after_all_crashed(void **state)
{
	struct fixture f = fixture_make(3, 2, 2);

	for (uint32_t page = 0; page < PAGES; page++)
		write_ok(&f, (page / 2) % 2, page, 100 + page);
	persist_ok(&f, 0, 0, PAGES);
	assert_int_equal(tp_sim_node_crash(f.sim, 1), 0);
	assert_int_equal(tp_sim_node_crash(f.sim, 2), 0);
	tp_sim_advance(f.sim, 300 * MS);
	assert_int_equal(tp_sim_node_restart(f.sim, 1), 0);
	assert_int_equal(tp_sim_node_restart(f.sim, 2), 0);
	reattach(&f, 0);
	reattach(&f, 1);
	tp_sim_advance(f.sim, 300 * MS);
	for (uint32_t page = 0; page < PAGES; page++)
		read_is(&f, page % 2, page, 100 + page);
	fixture_free(&f);
}

static void
test_durable_region_is_in_a_new_store_again(void **state)
{
	struct fixture f = fixture_make(2, 1, 1);
	uint64_t address = tp_client_region_info(f.regions[0])->address;
	uint64_t generation = tp_client_region_info(f.regions[0])->generation;

	for (uint32_t page = 0; page < PAGES; page++)
		write_ok(&f, 1, page, 100 + page);
	persist_ok(&f, 0, 0, PAGES);
	tp_sim_destroy(f.sim);
	f.sim = tp_sim_create(NULL);
	nodes_add(&f, 1);
	attach(&f, 0);
	attach(&f, 1);
	for (unsigned int i = 0; i < 2; i++)
		assert_int_equal(tp_client_region_open(f.clients[i], "d", &f.regions[i]), 0);
	assert_int_equal(tp_client_region_info(f.regions[0])->address, address);
	assert_true(tp_client_region_info(f.regions[0])->generation > generation);
	for (uint32_t page = 0; page < PAGES; page++)
		read_is(&f, page % 2, page, 100 + page);
	fixture_free(&f);
}

static void
test_durable_region_reset_goes_back_to_what_was_persisted(void **state)
{
	struct fixture f = fixture_make(2, 1, 1);

	write_ok(&f, 0, 0, 5);
	persist_ok(&f, 0, 0, 1);
	write_ok(&f, 0, 0, 6);
	assert_int_equal(tp_client_region_reset(f.clients[0], "d"), 0);
	assert_int_equal(tp_client_region_open(f.clients[0], "d", &f.regions[0]), 0);
	read_is(&f, 0, 0, 5);
	fixture_free(&f);
}

static void
test_durable_region_destroyed_leaves_its_room(void **state)
{
	struct fixture f = fixture_make(2, 1, 1);
	struct tp_client_region *region;

	for (int i = 0; i < 20; i++) {
		assert_int_equal(region_create(&f, "big", 4096, 1, TP_DURABILITY_LOCAL, &region),
			-ENOSPC);
		assert_int_equal(region_create(&f, "half", 1024, 1, TP_DURABILITY_LOCAL, &region),
			0);
		tp_client_region_close(region);
		assert_int_equal(tp_client_region_destroy(f.clients[0], "half"), 0);
		tp_sim_advance(f.sim, 200 * MS);
	}
	/* One destroyed while its home is away is gone when that comes back. */
	assert_int_equal(tp_sim_node_crash(f.sim, HOME), 0);
	tp_sim_advance(f.sim, 300 * MS);
	assert_int_equal(tp_client_region_destroy(f.clients[1], "d"), 0);
	assert_int_equal(tp_sim_node_restart(f.sim, HOME), 0);
	tp_client_detach(f.clients[0]);
	attach(&f, 0);
	assert_int_equal(region_create(&f, "d", PAGES, 1, TP_DURABILITY_LOCAL, &f.regions[0]), 0);
	read_is(&f, 0, 0, 0);
	fixture_free(&f);
}

static void
test_durable_region_refused_where_it_cannot_be(void **state)
{
	struct fixture f = fixture_make(2, 1, 1);
	struct tp_client_region *region;
	const uint16_t poor[] = { 3 };
	const struct tp_client_region_config config = {
		.name = "poor", .bytes = PAGE, .nodes = poor, .node_count = 1,
		.durability = TP_DURABILITY_LOCAL,
	};
	const struct tp_client_region_config touch = {
		.name = "touch", .bytes = PAGE, .distribution = TP_REGION_FIRST_TOUCH,
		.durability = TP_DURABILITY_LOCAL,
	};

	assert_int_equal(tp_sim_node_add(f.sim, NULL), 3);
	assert_int_equal(region_create(&f, "r", PAGES, 1, TP_DURABILITY_REPLICATED, &region),
		-ENOTSUP);
	assert_int_equal(tp_client_region_create(f.clients[0], &config, &region), -ENODEV);
	assert_int_equal(tp_client_region_create(f.clients[0], &touch, &region), -EINVAL);
	assert_int_equal(region_create(&f, "n", PAGES, 1, TP_DURABILITY_NONE, &region), 0);
	assert_int_equal(tp_persist(f.threads[0], region, 0, PAGE).reason, TP_INVALID);
	assert_int_equal(tp_persist(f.threads[0], f.regions[0], 1, PAGES * PAGE).reason,
		TP_INVALID);
	fixture_free(&f);
}

/* A home that is gone is VOID meanwhile: never an older copy from anywhere. */
static void
test_durable_region_is_void_while_its_home_is_away(void **state)
{
	struct fixture f = fixture_make(2, 1, 1);
	uint64_t value;

	write_ok(&f, 1, 0, 5);
	persist_ok(&f, 1, 0, 1);
	assert_int_equal(tp_sim_node_crash(f.sim, HOME), 0);
	tp_sim_advance(f.sim, 1000 * MS);
	assert_false(tp_result_is_ok(tp_persist(f.threads[1], f.regions[1], 0, PAGE)));
	assert_false(tp_result_is_ok(read_value(&f, 1, 2, &value)));
	fixture_free(&f);
}

/* Change a byte of each page in the file that is filled with a value. */
static uint32_t
pool_damage(const char *path, uint64_t fill)
{
	uint64_t page[PAGE / 8];
	uint32_t count = 0;
	int fd = open(path, O_RDWR);

	assert_true(fd >= 0);
	for (off_t at = 0; pread(fd, page, PAGE, at) == (ssize_t)PAGE; at += PAGE) {
		if (page[0] != fill || page[1] != fill)
			continue;
		assert_int_equal(pwrite(fd, "?", 1, at + 2000), 1);
		count++;
	}
	close(fd);
	return count;
}

static void
test_durable_page_damaged_is_void_and_no_other(void **state)
{
	const uint64_t fill[2] = { UINT64_C(0x1122334455667788), UINT64_C(0x1122334455667788) };
	struct fixture f = fixture_make(2, 1, 1);
	uint64_t value;

	assert_true(tp_result_is_ok(tp_write(f.threads[1], f.regions[1], 5 * PAGE, fill,
		sizeof(fill))));
	write_ok(&f, 1, 6, 60);
	persist_ok(&f, 1, 0, PAGES);
	assert_int_equal(tp_sim_node_crash(f.sim, HOME), 0);
	assert_true(pool_damage(f.pool[0], fill[0]) > 0);
	tp_sim_advance(f.sim, 300 * MS);
	assert_int_equal(tp_sim_node_restart(f.sim, HOME), 0);
	reattach(&f, 0);
	tp_sim_advance(f.sim, 300 * MS);
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(read_value(&f, i, 5, &value).reason, TP_CORRUPTION);
		read_is(&f, i, 6, 60);
	}
	assert_int_equal(tp_write(f.threads[1], f.regions[1], 5 * PAGE, fill, 8).reason,
		TP_CORRUPTION);
	assert_int_equal(tp_persist(f.threads[1], f.regions[1], 0, PAGES * PAGE).reason,
		TP_CORRUPTION);
	fixture_free(&f);
}

/* A node does not go on with an empty pool as if nothing had been in the other one. */
static void
test_durable_pool_that_is_another_is_refused(void **state)
{
	struct fixture f = fixture_make(2, 1, 1);
	char aside[80];

	write_ok(&f, 1, 0, 5);
	persist_ok(&f, 1, 0, 1);
	assert_int_equal(tp_sim_node_crash(f.sim, HOME), 0);
	snprintf(aside, sizeof(aside), "%s.aside", f.pool[0]);
	assert_int_equal(rename(f.pool[0], aside), 0);
	tp_sim_advance(f.sim, 300 * MS);
	assert_int_equal(tp_sim_node_restart(f.sim, HOME), -EEXIST);
	assert_int_equal(rename(aside, f.pool[0]), 0);
	assert_int_equal(tp_sim_node_restart(f.sim, HOME), 0);
	reattach(&f, 0);
	tp_sim_advance(f.sim, 300 * MS);
	read_is(&f, 0, 0, 5);
	fixture_free(&f);
}

static struct tp_client_region *
region_striped(struct fixture *f, const uint16_t *nodes, uint16_t count)
{
	const struct tp_client_region_config config = {
		.name = "e",
		.bytes = PAGES * PAGE,
		.nodes = nodes,
		.node_count = count,
		.durability = TP_DURABILITY_LOCAL,
	};
	struct tp_client_region *region = NULL;

	assert_int_equal(tp_client_region_create(f->clients[1], &config, &region), 0);
	return region;
}

/* While one of its homes was away it was destroyed, and others of its name made since. */
static void
test_durable_region_made_anew_has_nothing_of_the_one_before(void **state)
{
	const uint16_t nodes[] = { HOME, 2 };
	struct fixture f = fixture_make(2, 1, 1);
	struct tp_client_region *region = region_striped(&f, nodes, 2);
	uint64_t address = tp_client_region_info(region)->address;
	uint64_t value = 5;

	assert_true(tp_result_is_ok(tp_write(f.threads[1], region, 0, &value, 8)));
	assert_true(tp_result_is_ok(tp_persist(f.threads[1], region, 0, PAGE)));
	assert_int_equal(tp_sim_node_crash(f.sim, HOME), 0);
	tp_sim_advance(f.sim, 300 * MS);
	assert_int_equal(tp_client_region_destroy(f.clients[1], "e"), 0);
	tp_sim_advance(f.sim, 1000 * MS);
	region = region_striped(&f, &nodes[1], 1);
	assert_int_equal(tp_client_region_info(region)->address, address);
	assert_int_equal(tp_sim_node_restart(f.sim, HOME), 0);
	tp_sim_advance(f.sim, 300 * MS);
	assert_int_equal(tp_client_region_destroy(f.clients[1], "e"), 0);
	tp_sim_advance(f.sim, 1000 * MS);
	region = region_striped(&f, nodes, 2);
	assert_int_equal(tp_client_region_info(region)->address, address);
	assert_true(tp_result_is_ok(tp_read(f.threads[1], region, 0, &value, 8)));
	assert_int_equal(value, 0);
	fixture_free(&f);
}

static void
file_copy(const char *from, const char *to)
{
	static uint8_t buffer[1 << 20];
	int in = open(from, O_RDONLY);
	int out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	ssize_t bytes;

	assert_true(in >= 0 && out >= 0);
	while ((bytes = read(in, buffer, sizeof(buffer))) > 0)
		assert_int_equal(write(out, buffer, (size_t)bytes), bytes);
	close(in);
	close(out);
}

/* The store was lost, and the pool of one of two homes: no zeros in the place of its pages. */
static void
test_durable_pages_of_a_lost_pool_are_void(void **state)
{
	struct fixture f = fixture_make(2, 1, 2);
	uint64_t value;

	for (uint32_t page = 0; page < PAGES; page++)
		write_ok(&f, 1, page, 100 + page);
	persist_ok(&f, 0, 0, PAGES);
	tp_sim_destroy(f.sim);
	assert_int_equal(unlink(f.pool[0]), 0);
	f.sim = tp_sim_create(NULL);
	nodes_add(&f, 1);
	for (int i = 0; i < 2; i++) {
		attach(&f, 0);
		attach(&f, 1);
		for (unsigned int n = 0; n < 2; n++)
			assert_int_equal(tp_client_region_open(f.clients[n], "d",
				&f.regions[n]), 0);
		for (uint32_t page = 0; page < PAGES; page += 2) {
			assert_int_equal(read_value(&f, 1, page, &value).reason, TP_CORRUPTION);
			read_is(&f, 0, page + 1, 100 + page + 1);
		}
		assert_int_equal(tp_sim_node_crash(f.sim, 1), 0);
		tp_sim_advance(f.sim, 300 * MS);
		assert_int_equal(tp_sim_node_restart(f.sim, 1), 0);
		tp_sim_advance(f.sim, 300 * MS);
		tp_client_detach(f.clients[0]);
		tp_client_detach(f.clients[1]);
	}
	attach(&f, 0);
	attach(&f, 1);
	fixture_free(&f);
}

/* The pool was put back from before the region was created. */
static void
test_durable_pages_of_an_older_pool_are_void(void **state)
{
	struct fixture f = fixture_make(2, 1, 1);
	struct tp_client_region *region;
	const uint16_t nodes[] = { HOME };
	uint64_t value = 5;
	char aside[80];

	write_ok(&f, 1, 0, 7);
	persist_ok(&f, 1, 0, 1);
	assert_int_equal(tp_sim_node_crash(f.sim, HOME), 0);
	snprintf(aside, sizeof(aside), "%s.aside", f.pool[0]);
	file_copy(f.pool[0], aside);
	tp_sim_advance(f.sim, 300 * MS);
	assert_int_equal(tp_sim_node_restart(f.sim, HOME), 0);
	region = region_striped(&f, nodes, 1);
	assert_true(tp_result_is_ok(tp_write(f.threads[1], region, 0, &value, 8)));
	assert_true(tp_result_is_ok(tp_persist(f.threads[1], region, 0, PAGE)));
	assert_int_equal(tp_sim_node_crash(f.sim, HOME), 0);
	assert_int_equal(rename(aside, f.pool[0]), 0);
	tp_sim_advance(f.sim, 300 * MS);
	assert_int_equal(tp_sim_node_restart(f.sim, HOME), 0);
	reattach(&f, 0);
	tp_sim_advance(f.sim, 300 * MS);
	assert_int_equal(tp_read(f.threads[1], region, 0, &value, 8).reason, TP_CORRUPTION);
	read_is(&f, 0, 0, 7);
	fixture_free(&f);
}

/* Nobody knew yet that its home had crashed: nothing of it can have been lost. */
static void
test_durable_region_made_while_its_home_is_away_is_whole(void **state)
{
	struct fixture f = fixture_make(2, 1, 1);
	struct tp_client_region *region;
	const uint16_t nodes[] = { HOME };
	uint64_t value = 5;

	assert_int_equal(tp_sim_node_crash(f.sim, HOME), 0);
	region = region_striped(&f, nodes, 1);
	assert_int_equal(tp_sim_node_restart(f.sim, HOME), 0);
	tp_sim_advance(f.sim, 300 * MS);
	assert_true(tp_result_is_ok(tp_write(f.threads[1], region, 0, &value, 8)));
	assert_true(tp_result_is_ok(tp_persist(f.threads[1], region, 0, PAGE)));
	home_restart(&f);
	assert_true(tp_result_is_ok(tp_read(f.threads[1], region, 0, &value, 8)));
	assert_int_equal(value, 5);
	fixture_free(&f);
}

/* In a new store with a wrong, empty pool; then, and once more, with the right one. */
static void
test_durable_pool_that_comes_after_a_wrong_one_is_taken(void **state)
{
	struct fixture f = fixture_make(2, 1, 1);
	char aside[80];

	write_ok(&f, 1, 0, 5);
	persist_ok(&f, 1, 0, 1);
	tp_sim_destroy(f.sim);
	snprintf(aside, sizeof(aside), "%s.aside", f.pool[0]);
	assert_int_equal(rename(f.pool[0], aside), 0);
	f.sim = tp_sim_create(NULL);
	nodes_add(&f, 1);
	attach(&f, 0);
	attach(&f, 1);
	assert_int_equal(tp_client_region_open(f.clients[1], "d", &f.regions[1]), -ENOENT);
	assert_int_equal(tp_sim_node_crash(f.sim, HOME), 0);
	assert_int_equal(rename(aside, f.pool[0]), 0);
	tp_sim_advance(f.sim, 300 * MS);
	assert_int_equal(tp_sim_node_restart(f.sim, HOME), 0);
	for (int i = 0; i < 2; i++) {
		reattach(&f, 0);
		tp_sim_advance(f.sim, 300 * MS);
		read_is(&f, 0, 0, 5);
		home_restart(&f);
	}
	read_is(&f, 0, 0, 5);
	fixture_free(&f);
}

/*
 * The home crashes at any time under load. Of each page: the newest value that was
 * persisted for sure, and the newest that was written; what is read after a crash is
 * between the two, and stays.
 */
static void
crash_run(uint64_t seed)
{
	struct fixture f = fixture_make(seed, 1 + seed % 2, 1);
	uint64_t lasts[PAGES] = { 0 }, written[PAGES] = { 0 }, value = 0;
	uint64_t random = seed * UINT64_C(0x9E3779B97F4A7C15);

	for (int life = 0; life < 4; life++) {
		for (int i = 0; i < 60; i++) {
			unsigned int who;
			uint32_t page;

			random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
			who = random >> 40 & 1;
			page = (random >> 48) % PAGES;
			if (random >> 60 < 11) {
				write_ok(&f, who, page, ++value);
				written[page] = value;
			} else {
				persist_ok(&f, who, page, 1);
				lasts[page] = written[page];
			}
		}
		home_restart(&f);
		for (uint32_t page = 0; page < PAGES; page++) {
			uint64_t is = 0;
			struct tp_result result = read_value(&f, page % 2, page, &is);

			if (!tp_result_is_ok(result))
				fail_msg("seed %u: page %u reads %s", (unsigned int)seed, page,
					tp_reason_name(result.reason));
			if (is < lasts[page] || is > written[page])
				fail_msg("seed %u: page %u was persisted as %u and is %u",
					(unsigned int)seed, page, (unsigned int)lasts[page],
					(unsigned int)is);
			/* It may be older than what was written, but does not change any more. */
			lasts[page] = written[page] = is;
		}
	}
	fixture_free(&f);
}

static void
test_durable_region_random_crashes_lose_nothing_persisted(void **state)
{
	for (uint64_t seed = 1; seed <= 12; seed++)
		crash_run(seed);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_durable_region_is_there_after_its_home_crashed),
		cmocka_unit_test(test_durable_region_striped_is_there_after_all_crashed),
		cmocka_unit_test(test_durable_region_is_in_a_new_store_again),
		cmocka_unit_test(test_durable_region_reset_goes_back_to_what_was_persisted),
		cmocka_unit_test(test_durable_region_destroyed_leaves_its_room),
		cmocka_unit_test(test_durable_region_refused_where_it_cannot_be),
		cmocka_unit_test(test_durable_region_is_void_while_its_home_is_away),
		cmocka_unit_test(test_durable_page_damaged_is_void_and_no_other),
		cmocka_unit_test(test_durable_pool_that_is_another_is_refused),
		cmocka_unit_test(test_durable_region_made_anew_has_nothing_of_the_one_before),
		cmocka_unit_test(test_durable_pages_of_a_lost_pool_are_void),
		cmocka_unit_test(test_durable_pages_of_an_older_pool_are_void),
		cmocka_unit_test(test_durable_region_made_while_its_home_is_away_is_whole),
		cmocka_unit_test(test_durable_pool_that_comes_after_a_wrong_one_is_taken),
		cmocka_unit_test(test_durable_region_random_crashes_lose_nothing_persisted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
