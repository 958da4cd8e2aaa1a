/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Block volumes: what is read is what was written, what is damaged is not read.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "pool_file.h"
#include "tp_pmem_alloc.h"
#include "tp_pmem_tx.h"
#include "tp_pmem_volume.h"

#define POOL_BYTES (UINT64_C(24) << 20)
#define VOLUME_BYTES (UINT64_C(1) << 20)
#define BLOCK TP_PMEM_VOLUME_BLOCK_BYTES

static char path[POOL_FILE_CHARS];

static struct tp_pmem_volume *
volume_open(struct tp_pmem_pool *pool)
{
	struct tp_pmem_volume *volume = NULL;
	int ret = tp_pmem_volume_open(pool, "disk", &volume);

	if (ret != 0)
		fail_msg("open: %d %s", ret, tp_pmem_error());
	return volume;
}

static struct tp_pmem_pool *
volume_create(struct tp_pmem_volume **volume)
{
	struct tp_pmem_pool *pool = pool_file_create(path, POOL_BYTES);

	assert_int_equal(tp_pmem_volume_create(pool, "disk", VOLUME_BYTES), 0);
	*volume = volume_open(pool);
	return pool;
}

static void
volume_reopen(struct tp_pmem_pool **pool, struct tp_pmem_volume **volume)
{
	assert_int_equal(tp_pmem_volume_close(*volume), 0);
	pool_file_close(*pool);
	*pool = pool_file_open(path);
	*volume = volume_open(*pool);
}

static void
both_close(struct tp_pmem_pool *pool, struct tp_pmem_volume *volume)
{
	assert_int_equal(tp_pmem_volume_close(volume), 0);
	pool_file_close(pool);
	unlink(path);
}

static uint64_t
random_next(uint64_t *random)
{
	*random ^= *random << 13;
	*random ^= *random >> 7;
	*random ^= *random << 17;
	return *random;
}

/* One write, zero or trim of any range, in the volume and in the model. */
static void
step_do(struct tp_pmem_volume *volume, uint8_t *model, uint64_t *random)
{
	static uint8_t data[5 * BLOCK];
	uint64_t kind = random_next(random) % 8;
	uint64_t bytes = 1 + random_next(random) % sizeof(data);
	uint64_t offset = random_next(random) % (VOLUME_BYTES - bytes);
	uint64_t first = (offset + BLOCK - 1) / BLOCK * BLOCK;
	uint64_t last = (offset + bytes) / BLOCK * BLOCK;
	uint32_t flags = random_next(random) % 8 == 0 ? TP_PMEM_VOLUME_FUA : 0;

	if (kind == 0) {
		assert_int_equal(tp_pmem_volume_zero(volume, offset, bytes, flags), 0);
		memset(model + offset, 0, bytes);
	} else if (kind == 1) {
		assert_int_equal(tp_pmem_volume_trim(volume, offset, bytes, flags), 0);
		if (last > first)
			memset(model + first, 0, last - first);
	} else {
		for (size_t i = 0; i < bytes; i++)
			data[i] = (uint8_t)random_next(random);
		if (kind < 5) {
			offset = first % VOLUME_BYTES;
			bytes = BLOCK;
		}
		assert_int_equal(tp_pmem_volume_write(volume, offset, bytes, data, flags), 0);
		memcpy(model + offset, data, bytes);
	}
}

static void
model_check(struct tp_pmem_volume *volume, const uint8_t *model)
{
	static uint8_t data[VOLUME_BYTES];

	assert_int_equal(tp_pmem_volume_read(volume, 0, VOLUME_BYTES, data), 0);
	assert_memory_equal(data, model, VOLUME_BYTES);
	assert_int_equal(tp_pmem_volume_read(volume, 777, 12345, data), 0);
	assert_memory_equal(data, model + 777, 12345);
}

static void
random_steps(const char *name)
{
	uint8_t *model = calloc(1, VOLUME_BYTES);
	struct tp_pmem_volume *volume;
	struct tp_pmem_volume_info info;
	struct tp_pmem_pool *pool;
	uint64_t random = 4711;

	assert_non_null(model);
	pool_file_path(path, name);
	pool = volume_create(&volume);
	model_check(volume, model);
	for (unsigned int i = 0; i < 3000; i++) {
		step_do(volume, model, &random);
		if (i % 7 == 0)
			assert_int_equal(tp_pmem_volume_flush(volume), 0);
		if (i % 500 == 0)
			model_check(volume, model);
	}
	tp_pmem_volume_info_get(volume, &info);
	assert_int_equal(info.bytes, VOLUME_BYTES);
	/* Each place was used often: quarantined ones came back. */
	assert_true(info.checkpoints > 5);
	volume_reopen(&pool, &volume);
	model_check(volume, model);
	both_close(pool, volume);
	free(model);
}

static void
test_volume_random_steps_lines(void **state)
{
	pool_file_force_lines(true);
	random_steps("volume-lines");
	pool_file_force_lines(false);
}

static void
test_volume_random_steps_pages(void **state)
{
	random_steps("volume-pages");
}

/* What a killed process leaves is what the file has at some moment. */
static void
test_volume_not_closed_has_what_was_flushed(void **state)
{
	char copy[POOL_FILE_CHARS];
	struct tp_pmem_volume *volume, *found;
	struct tp_pmem_volume_info info;
	struct tp_pmem_pool *pool, *pool_found;
	uint8_t data[BLOCK], got[BLOCK];

	pool_file_path(path, "volume-kill");
	pool_file_path(copy, "volume-kill-copy");
	pool = volume_create(&volume);
	for (unsigned int i = 0; i < 10; i++) {
		memset(data, (int)(i + 1), sizeof(data));
		assert_int_equal(tp_pmem_volume_write(volume, i * BLOCK, BLOCK, data, 0), 0);
		assert_int_equal(tp_pmem_volume_flush(volume), 0);
	}
	memset(data, 99, sizeof(data));
	assert_int_equal(tp_pmem_volume_write(volume, 0, BLOCK, data, 0), 0);
	pool_file_copy(path, copy);
	pool_found = pool_file_open(copy);
	found = volume_open(pool_found);
	tp_pmem_volume_info_get(found, &info);
	assert_int_equal(info.recovered_records, 10);
	assert_int_equal(info.mapped_bytes, 10 * BLOCK);
	for (unsigned int i = 0; i < 10; i++) {
		memset(data, (int)(i + 1), sizeof(data));
		assert_int_equal(tp_pmem_volume_read(found, i * BLOCK, BLOCK, got), 0);
		assert_memory_equal(got, data, BLOCK);
	}
	assert_int_equal(tp_pmem_volume_close(found), 0);
	pool_file_close(pool_found);
	unlink(copy);
	both_close(pool, volume);
}

static void
test_volume_extents_follow_writes(void **state)
{
	struct tp_pmem_volume *volume;
	struct tp_pmem_pool *pool;
	uint8_t data[3 * BLOCK];
	uint64_t bytes = UINT64_MAX / 2;

	pool_file_path(path, "volume-extents");
	pool = volume_create(&volume);
	memset(data, 1, sizeof(data));
	assert_false(tp_pmem_volume_is_mapped(volume, 0, &bytes));
	assert_int_equal(bytes, VOLUME_BYTES);
	assert_int_equal(tp_pmem_volume_write(volume, 5 * BLOCK, sizeof(data), data, 0), 0);
	bytes = VOLUME_BYTES;
	assert_false(tp_pmem_volume_is_mapped(volume, 100, &bytes));
	assert_int_equal(bytes, 5 * BLOCK - 100);
	bytes = VOLUME_BYTES;
	assert_true(tp_pmem_volume_is_mapped(volume, 5 * BLOCK, &bytes));
	assert_int_equal(bytes, 3 * BLOCK);
	/* Of a trim only whole blocks go. */
	assert_int_equal(tp_pmem_volume_trim(volume, 5 * BLOCK + 1, 2 * BLOCK, 0), 0);
	bytes = VOLUME_BYTES;
	assert_true(tp_pmem_volume_is_mapped(volume, 5 * BLOCK, &bytes));
	assert_int_equal(bytes, BLOCK);
	bytes = 10;
	assert_false(tp_pmem_volume_is_mapped(volume, VOLUME_BYTES, &bytes));
	assert_int_equal(bytes, 0);
	both_close(pool, volume);
}

static void
test_volume_wrong_calls_are_refused(void **state)
{
	struct tp_pmem_volume *volume, *other = NULL;
	struct tp_pmem_heap_info before, after;
	struct tp_pmem_pool *pool;
	struct tp_pmem_tx *tx;
	uint8_t data[BLOCK] = { 0 };
	uint64_t offset;

	pool_file_path(path, "volume-wrong");
	pool = volume_create(&volume);
	tp_pmem_heap_info_get(pool, &before);
	assert_int_equal(tp_pmem_volume_create(pool, "disk", VOLUME_BYTES), -EEXIST);
	assert_int_equal(tp_pmem_volume_create(pool, "a", 4096), -EINVAL);
	assert_int_equal(tp_pmem_volume_create(pool, "a", VOLUME_BYTES + 1), -EINVAL);
	assert_int_equal(tp_pmem_volume_create(pool, "a", POOL_BYTES), -ENOSPC);
	assert_int_equal(tp_pmem_volume_create(pool, "", VOLUME_BYTES), -EINVAL);
	tp_pmem_heap_info_get(pool, &after);
	assert_int_equal(after.allocated_bytes, before.allocated_bytes);
	assert_int_equal(tp_pmem_volume_open(pool, "disk", &other), -EBUSY);
	assert_int_equal(tp_pmem_volume_open(pool, "no", &other), -ENOENT);
	assert_int_equal(tp_pmem_volume_destroy(pool, "disk"), -EBUSY);
	assert_int_equal(tp_pmem_tx_begin(pool, &tx), 0);
	assert_int_equal(tp_pmem_tx_alloc(tx, 4096, TP_PMEM_ALLOC_ZERO, &offset), 0);
	assert_int_equal(tp_pmem_tx_root_set(tx, "thing", offset), 0);
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	assert_int_equal(tp_pmem_volume_open(pool, "thing", &other), -EMEDIUMTYPE);
	assert_int_equal(tp_pmem_volume_destroy(pool, "thing"), -EMEDIUMTYPE);
	assert_int_equal(tp_pmem_volume_read(volume, VOLUME_BYTES, 1, data), -EINVAL);
	assert_int_equal(tp_pmem_volume_read(volume, UINT64_MAX, 2, data), -EINVAL);
	assert_int_equal(tp_pmem_volume_write(volume, VOLUME_BYTES - 1, 2, data, 0), -EINVAL);
	assert_int_equal(tp_pmem_volume_write(volume, 0, 1, data, 2), -EINVAL);
	assert_int_equal(tp_pmem_volume_close(volume), 0);
	assert_int_equal(tp_pmem_volume_destroy(pool, "disk"), 0);
	assert_int_equal(tp_pmem_volume_open(pool, "disk", &other), -ENOENT);
	/* Its memory came back, and what was there before does not shine through. */
	assert_int_equal(tp_pmem_volume_create(pool, "disk", VOLUME_BYTES), 0);
	pool_file_close(pool);
	unlink(path);
}

static void
test_volume_read_only_pool_is_read(void **state)
{
	struct tp_pmem_volume *volume;
	struct tp_pmem_pool *pool;
	uint8_t data[BLOCK], got[BLOCK];

	pool_file_path(path, "volume-ro");
	pool = volume_create(&volume);
	memset(data, 5, sizeof(data));
	assert_int_equal(tp_pmem_volume_write(volume, 0, BLOCK, data, 0), 0);
	assert_int_equal(tp_pmem_volume_close(volume), 0);
	pool_file_close(pool);
	assert_int_equal(tp_pmem_pool_open(path, TP_PMEM_OPEN_READ_ONLY, &pool), 0);
	volume = volume_open(pool);
	assert_int_equal(tp_pmem_volume_read(volume, 0, BLOCK, got), 0);
	assert_memory_equal(got, data, BLOCK);
	assert_int_equal(tp_pmem_volume_write(volume, 0, BLOCK, data, 0), -EROFS);
	assert_int_equal(tp_pmem_volume_trim(volume, 0, BLOCK, 0), -EROFS);
	assert_int_equal(tp_pmem_volume_flush(volume), 0);
	both_close(pool, volume);
}

/*
 * Damage.
 */

static uint64_t
file_word(uint64_t offset)
{
	int fd = open(path, O_RDONLY);
	uint64_t word = 0;

	assert_int_equal(pread(fd, &word, sizeof(word), (off_t)offset), sizeof(word));
	close(fd);
	return word;
}

static void
file_flip(uint64_t offset)
{
	int fd = open(path, O_RDWR);
	uint8_t byte;

	assert_int_equal(pread(fd, &byte, 1, (off_t)offset), 1);
	byte ^= 0x10;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)offset), 1);
	close(fd);
}

struct places {
	uint64_t head;
	uint64_t map;
	uint64_t data;
};

/* A closed pool with 8 blocks written, in order of place. */
static struct places
damage_prepare(void)
{
	struct tp_pmem_volume *volume;
	struct tp_pmem_pool *pool = volume_create(&volume);
	struct places places = { .head = tp_pmem_root_get(pool, "disk") };
	uint8_t data[BLOCK];

	for (unsigned int i = 0; i < 8; i++) {
		memset(data, (int)(i + 1), sizeof(data));
		assert_int_equal(tp_pmem_volume_write(volume, i * BLOCK, BLOCK, data, 0), 0);
	}
	assert_int_equal(tp_pmem_volume_close(volume), 0);
	pool_file_close(pool);
	places.map = places.head + file_word(places.head + 56);
	places.data = places.head + file_word(places.head + 64);
	return places;
}

static void
count_found(void *context, enum tp_pmem_check_verdict verdict, uint64_t offset, const char *text)
{
	uint64_t *last = context;

	assert_int_equal(verdict, TP_PMEM_CHECK_LOST);
	assert_true(strstr(text, "checksum") != NULL);
	*last = offset;
}

/* Flip a byte: so many blocks must be lost, block `lost` at least, the others right. */
static void
damage_expect(uint64_t flip, int count, uint64_t offset)
{
	struct tp_pmem_volume *volume;
	struct tp_pmem_pool *pool;
	uint8_t data[BLOCK], got[BLOCK];
	uint64_t last = 0;
	int lost = 0;

	file_flip(flip);
	pool = pool_file_open(path);
	volume = volume_open(pool);
	assert_int_equal(tp_pmem_volume_check(volume, count_found, &last), count);
	assert_int_equal(last, offset);
	for (unsigned int i = 0; i < 8; i++) {
		int ret = tp_pmem_volume_read(volume, i * BLOCK, BLOCK, got);

		memset(data, (int)(i + 1), sizeof(data));
		if (ret == 0) {
			assert_memory_equal(got, data, BLOCK);
			continue;
		}
		lost++;
		assert_int_equal(ret, -EBADMSG);
		/* A part of it cannot be written, for the rest is not known; all of it can. */
		assert_int_equal(tp_pmem_volume_write(volume, i * BLOCK, 512, data, 0), -EBADMSG);
		assert_int_equal(tp_pmem_volume_write(volume, i * BLOCK, BLOCK, data, 0), 0);
	}
	assert_int_equal(lost, count);
	assert_int_equal(tp_pmem_volume_check(volume, count_found, &last), 0);
	both_close(pool, volume);
}

static void
test_volume_damaged_block_is_not_read(void **state)
{
	struct places places;

	pool_file_path(path, "volume-damage");
	places = damage_prepare();
	damage_expect(places.data + 2 * BLOCK + 100, 1, places.data + 2 * BLOCK);
	/* Map: the CRC of a block; a place out of all; a place that another block has. */
	places = damage_prepare();
	damage_expect(places.map + 3 * 8 + 5, 1, places.data + 3 * BLOCK);
	places = damage_prepare();
	damage_expect(places.map + 3 * 8 + 3, 1, places.map + 3 * 8);
	for (unsigned int byte = 0; byte < 8; byte++) {
		places = damage_prepare();
		file_flip(places.map + 8 + byte);
		pool_file_close(pool_file_open(path));
		unlink(path);
	}
}

/* Any two blocks at one place: the contents say whose it is. */
static void
test_volume_doubled_place_goes_to_its_owner(void **state)
{
	for (unsigned int from = 0; from < 8; from += 7) {
		struct tp_pmem_volume *volume;
		struct tp_pmem_pool *pool;
		struct places places;
		uint8_t data[BLOCK], got[BLOCK];
		uint64_t word;
		unsigned int to = from == 0 ? 7 : 0;
		int fd;

		pool_file_path(path, "volume-double");
		places = damage_prepare();
		word = file_word(places.map + from * 8);
		fd = open(path, O_RDWR);
		assert_int_equal(pwrite(fd, &word, 8, (off_t)(places.map + to * 8)), 8);
		close(fd);
		pool = pool_file_open(path);
		volume = volume_open(pool);
		assert_int_equal(tp_pmem_volume_read(volume, to * BLOCK, BLOCK, got), -EBADMSG);
		/* Its place must not be freed under the right owner. */
		memset(data, 77, sizeof(data));
		for (unsigned int i = 0; i < 2000; i++)
			assert_int_equal(tp_pmem_volume_write(volume, to * BLOCK, BLOCK, data, 0), 0);
		memset(data, (int)(from + 1), sizeof(data));
		assert_int_equal(tp_pmem_volume_read(volume, from * BLOCK, BLOCK, got), 0);
		assert_memory_equal(got, data, BLOCK);
		both_close(pool, volume);
	}
}

static int
open_damaged(uint64_t flip)
{
	struct tp_pmem_volume *volume = NULL;
	struct tp_pmem_pool *pool;
	int ret;

	file_flip(flip);
	pool = pool_file_open(path);
	ret = tp_pmem_volume_open(pool, "disk", &volume);
	assert_int_equal(tp_pmem_volume_close(volume), 0);
	pool_file_close(pool);
	return ret;
}

static void
test_volume_damaged_head_is_refused(void **state)
{
	struct tp_pmem_volume *volume = NULL;
	struct tp_pmem_pool *pool;
	struct places places;

	pool_file_path(path, "volume-head");
	for (unsigned int byte = 0; byte < 72; byte++) {
		places = damage_prepare();
		assert_int_equal(open_damaged(places.head + byte), byte < 8 ? -EMEDIUMTYPE : -EBADMSG);
		assert_true(strstr(tp_pmem_error(), "volume") != NULL);
		unlink(path);
	}
	/* One copy of the state of the four: another one counts. All: refused. */
	places = damage_prepare();
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(open_damaged(places.head + 4096 + i * 2048 + 8), 0);
	unlink(path);
	places = damage_prepare();
	for (unsigned int i = 0; i < 4; i++)
		file_flip(places.head + 4096 + i * 2048 + 8);
	pool = pool_file_open(path);
	assert_int_equal(tp_pmem_volume_open(pool, "disk", &volume), -EBADMSG);
	assert_int_equal(tp_pmem_volume_destroy(pool, "disk"), 0);
	pool_file_close(pool);
	unlink(path);
}

/* Records that were lasting once: the loss is seen, unless it is the last one. */
static void
test_volume_damaged_journal_is_refused(void **state)
{
	char copy[POOL_FILE_CHARS];
	struct tp_pmem_volume *volume, *found = NULL;
	struct tp_pmem_pool *pool, *pool_found;
	uint8_t data[BLOCK];
	uint64_t head;

	pool_file_path(path, "volume-journal");
	pool_file_path(copy, "volume-journal-copy");
	pool = volume_create(&volume);
	head = tp_pmem_root_get(pool, "disk");
	for (unsigned int i = 0; i < 3; i++) {
		memset(data, (int)(i + 1), sizeof(data));
		assert_int_equal(tp_pmem_volume_write(volume, i * BLOCK, BLOCK, data,
			TP_PMEM_VOLUME_FUA), 0);
	}
	pool_file_copy(path, copy);
	both_close(pool, volume);
	memcpy(path, copy, sizeof(copy));
	for (unsigned int record = 0; record < 3; record++) {
		for (unsigned int byte = 0; byte < 48; byte += 5) {
			char again[POOL_FILE_CHARS];

			pool_file_path(again, "volume-journal-again");
			pool_file_copy(copy, again);
			memcpy(path, again, sizeof(again));
			file_flip(head + 12288 + record * 64 + byte);
			pool_found = pool_file_open(path);
			assert_int_equal(tp_pmem_volume_open(pool_found, "disk", &found),
				record < 2 ? -EBADMSG : 0);
			if (record == 2)
				assert_int_equal(tp_pmem_volume_close(found), 0);
			pool_file_close(pool_found);
			unlink(again);
		}
	}
	unlink(copy);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_volume_random_steps_lines),
		cmocka_unit_test(test_volume_random_steps_pages),
		cmocka_unit_test(test_volume_not_closed_has_what_was_flushed),
		cmocka_unit_test(test_volume_extents_follow_writes),
		cmocka_unit_test(test_volume_wrong_calls_are_refused),
		cmocka_unit_test(test_volume_read_only_pool_is_read),
		cmocka_unit_test(test_volume_damaged_block_is_not_read),
		cmocka_unit_test(test_volume_doubled_place_goes_to_its_owner),
		cmocka_unit_test(test_volume_damaged_head_is_refused),
		cmocka_unit_test(test_volume_damaged_journal_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
