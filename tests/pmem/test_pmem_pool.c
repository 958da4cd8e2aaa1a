/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Pools as files: made, locked, grown, refused, damaged and repaired.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "pool_file.h"
#include "tp_pmem_alloc.h"
#include "tp_pmem_tx.h"

#define POOL_BYTES (UINT64_C(8) << 20)
#define SUPER_1 65536
#define LOG_OFFSET (1 << 20)

static char path[POOL_FILE_CHARS];
static char damaged[POOL_FILE_CHARS];

static int
setup(void **state)
{
	pool_file_force_lines(true);
	pool_file_path(path, "pool");
	pool_file_path(damaged, "damaged");
	return 0;
}

static int
teardown(void **state)
{
	unlink(path);
	unlink(damaged);
	pool_file_force_lines(false);
	return 0;
}

static void
file_flip(const char *name, uint64_t offset, uint8_t bits)
{
	int fd = open(name, O_RDWR);
	uint8_t byte;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, (off_t)offset), 1);
	byte ^= bits;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)offset), 1);
	close(fd);
}

/* A pool with a root block that holds a number, and some more blocks. */
static struct tp_pmem_pool *
pool_with_root(uint64_t number)
{
	struct tp_pmem_pool *pool = pool_file_create(path, POOL_BYTES);
	struct tp_pmem_tx *tx;
	uint64_t offset;

	assert_int_equal(tp_pmem_tx_begin(pool, &tx), 0);
	assert_int_equal(tp_pmem_tx_alloc(tx, 64, TP_PMEM_ALLOC_ZERO, &offset), 0);
	*(uint64_t *)tp_pmem_ptr(pool, offset) = number;
	assert_int_equal(tp_pmem_tx_root_set(tx, "root", offset), 0);
	assert_int_equal(tp_pmem_tx_alloc(tx, 600000, TP_PMEM_ALLOC_RAW, &offset), 0);
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	return pool;
}

static uint64_t
root_number(const struct tp_pmem_pool *pool)
{
	const uint64_t *root = tp_pmem_ptr(pool, tp_pmem_root_get(pool, "root"));

	return root == NULL ? 0 : *root;
}

static void
root_number_set(struct tp_pmem_pool *pool, uint64_t number)
{
	struct tp_pmem_tx *tx;

	assert_int_equal(tp_pmem_tx_begin(pool, &tx), 0);
	assert_int_equal(tp_pmem_tx_write(tx, tp_pmem_ptr(pool, tp_pmem_root_get(pool, "root")),
		&number, sizeof(number)), 0);
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
}

static int
open_error(const char *name, uint32_t flags)
{
	struct tp_pmem_pool *pool = NULL;
	int ret = tp_pmem_pool_open(name, flags, &pool);

	if (ret == 0)
		tp_pmem_pool_close(pool);
	else
		assert_int_not_equal(tp_pmem_error()[0], '\0');
	return ret;
}

static void
test_create_refuses_what_it_must(void **state)
{
	struct tp_pmem_pool_config config = { .lane_count = 1000 };
	struct tp_pmem_pool *pool = NULL;

	assert_int_equal(tp_pmem_pool_create(path, 1 << 20, NULL, &pool), -EINVAL);
	assert_int_equal(tp_pmem_pool_create(path, POOL_BYTES, &config, &pool), -EINVAL);
	config = (struct tp_pmem_pool_config){ .lane_count = 200, .lane_bytes = 1 << 20 };
	assert_int_equal(tp_pmem_pool_create(path, POOL_BYTES, &config, &pool), -EINVAL);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(tp_pmem_pool_create("/no/such/folder", POOL_BYTES, NULL, &pool), -ENOENT);
	assert_int_equal(tp_pmem_pool_create(path, UINT64_C(1) << 42, NULL, &pool), -ENOSPC);
	assert_int_equal(access(path, F_OK), -1);
	pool_file_close(pool_file_create(path, POOL_BYTES));
	assert_int_equal(tp_pmem_pool_create(path, POOL_BYTES, NULL, &pool), -EEXIST);
	assert_null(pool);
	assert_int_equal(open_error(path, 0), 0);
	assert_int_equal(open_error(path, 64), -EINVAL);
}

static void
test_second_process_is_refused(void **state)
{
	struct tp_pmem_pool *pool = pool_with_root(7);
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(open_error(path, 0) == -EBUSY &&
			open_error(path, TP_PMEM_OPEN_READ_ONLY) == -EBUSY &&
			tp_pmem_pool_destroy(path) == -EBUSY ? 0 : 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(open_error(path, 0), -EBUSY);
	pool_file_close(pool);
	assert_int_equal(open_error(path, 0), 0);
}

static void
test_read_only_recovers_in_memory(void **state)
{
	struct tp_pmem_pool *pool = pool_with_root(7), *reader, *second;
	struct tp_pmem_pool_info info;
	struct tp_pmem_tx *tx;

	root_number_set(pool, 8);
	pool_file_copy(path, damaged);
	pool_file_close(pool);
	assert_int_equal(tp_pmem_pool_open(damaged, TP_PMEM_OPEN_READ_ONLY, &reader), 0);
	assert_int_equal(tp_pmem_pool_open(damaged, TP_PMEM_OPEN_READ_ONLY, &second), 0);
	assert_int_equal(open_error(damaged, 0), -EBUSY);
	assert_int_equal(root_number(reader), 8);
	tp_pmem_pool_info_get(reader, &info);
	assert_false(info.was_clean);
	assert_true(info.read_only);
	assert_true(info.recovered_count > 0);
	assert_int_equal(tp_pmem_tx_begin(reader, &tx), -EROFS);
	assert_int_equal(tp_pmem_pool_grow(reader, 2 * POOL_BYTES), -EROFS);
	pool_file_close(reader);
	pool_file_close(second);
	/* The file is as it was: it still has to be recovered. */
	assert_int_equal(tp_pmem_pool_open(damaged, 0, &reader), 0);
	tp_pmem_pool_info_get(reader, &info);
	assert_int_equal(info.bad_shutdown_count, 1);
	assert_int_equal(root_number(reader), 8);
	pool_file_close(reader);
}

static void
test_grow_keeps_addresses(void **state)
{
	struct tp_pmem_pool *pool = pool_with_root(7);
	uint64_t *root = tp_pmem_ptr(pool, tp_pmem_root_get(pool, "root"));
	struct tp_pmem_heap_info before, after;
	struct tp_pmem_tx *tx;
	uint64_t block = 0;

	assert_int_equal(tp_pmem_pool_grow(pool, POOL_BYTES), -EINVAL);
	tp_pmem_heap_info_get(pool, &before);
	for (unsigned int i = 1; i < 4; i++) {
		assert_int_equal(tp_pmem_pool_grow(pool, POOL_BYTES * (i + 1)), 0);
		assert_int_equal(tp_pmem_tx_begin(pool, &tx), 0);
		assert_int_equal(tp_pmem_tx_alloc(tx, 7 << 20, TP_PMEM_ALLOC_RAW, &block), 0);
		assert_int_equal(tp_pmem_tx_write(tx, tp_pmem_ptr(pool, block), &i, sizeof(i)), 0);
		assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
		assert_int_equal(*root, 7);
	}
	tp_pmem_heap_info_get(pool, &after);
	assert_true(after.bytes >= before.bytes + (21u << 20));
	/* A crash after it has grown. */
	pool_file_copy(path, damaged);
	pool_file_close(pool);
	pool = pool_file_open(damaged);
	assert_int_equal(*(uint32_t *)tp_pmem_ptr(pool, block), 3);
	assert_int_equal(root_number(pool), 7);
	pool_file_close(pool);
	assert_int_equal(tp_pmem_pool_check(path, false, NULL, NULL), 0);
}

static void
test_truncated_and_foreign_files_are_refused(void **state)
{
	pool_file_close(pool_with_root(7));
	pool_file_copy(path, damaged);
	assert_int_equal(truncate(damaged, POOL_BYTES - 4096), 0);
	assert_int_equal(open_error(damaged, 0), -ENODATA);
	assert_non_null(strstr(tp_pmem_error(), "truncated"));
	assert_int_equal(truncate(damaged, 100), 0);
	assert_int_equal(open_error(damaged, 0), -ENODATA);
	assert_int_equal(tp_pmem_pool_destroy(damaged), -EMEDIUMTYPE);
	assert_int_equal(truncate(damaged, 0), 0);
	assert_int_equal(truncate(damaged, 2 << 20), 0);
	assert_int_equal(open_error(damaged, 0), -EMEDIUMTYPE);
	assert_int_equal(tp_pmem_pool_destroy(damaged), -EMEDIUMTYPE);
	assert_int_equal(access(damaged, F_OK), 0);
	assert_int_equal(tp_pmem_pool_destroy(path), 0);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(open_error(path, 0), -ENOENT);
}

/* As a program of another version would have made it: right, but not for us. */
static void
super_patch(const char *name, uint64_t at, uint32_t value)
{
	uint8_t super[4096];
	uint32_t crc;
	int fd = open(name, O_RDWR);

	assert_int_equal(pread(fd, super, sizeof(super), 0), sizeof(super));
	memcpy(super + at, &value, sizeof(value));
	memset(super + 12, 0, 4);
	crc = tp_pmem_crc(0, super, sizeof(super));
	memcpy(super + 12, &crc, sizeof(crc));
	assert_int_equal(pwrite(fd, super, sizeof(super), 0), sizeof(super));
	assert_int_equal(pwrite(fd, super, sizeof(super), SUPER_1), sizeof(super));
	close(fd);
}

static void
test_other_version_and_uuid_are_refused(void **state)
{
	pool_file_close(pool_with_root(7));
	pool_file_copy(path, damaged);
	super_patch(damaged, 8, 2);
	assert_int_equal(open_error(damaged, 0), -EPROTONOSUPPORT);
	pool_file_copy(path, damaged);
	super_patch(damaged, 48, 1);
	assert_int_equal(open_error(damaged, 0), -EPROTONOSUPPORT);
	/* The state is of another pool. */
	pool_file_copy(path, damaged);
	super_patch(damaged, 16, 0x12345678);
	assert_int_equal(open_error(damaged, 0), -EBADMSG);
	/* Numbers that would lead out of the pool. */
	pool_file_copy(path, damaged);
	super_patch(damaged, 264, 0x7fffffff);
	assert_int_equal(open_error(damaged, 0), -EBADMSG);
}

struct findings {
	unsigned int count[3];
	uint64_t offset;	/* of the last that is damage */
};

static void
finding(void *context, enum tp_pmem_check_verdict verdict, uint64_t offset, const char *text)
{
	struct findings *findings = context;

	findings->count[verdict]++;
	if (verdict != TP_PMEM_CHECK_NOTE)
		findings->offset = offset;
}

/* Any bit of a superblock or of a state that counts: found at its place, repaired. */
static void
test_damaged_heads_are_repaired(void **state)
{
	static const uint64_t copies[] = { 0, SUPER_1, 4096, 4096 + 2048, 8192, 8192 + 2048 };
	struct findings findings;

	pool_file_close(pool_with_root(7));
	for (unsigned int c = 0; c < 6; c++) {
		uint64_t bytes = c < 2 ? 300 : 72;

		for (uint64_t at = 0; at < bytes; at += 1 + at % 3) {
			pool_file_copy(path, damaged);
			file_flip(damaged, copies[c] + at, (uint8_t)(1 << at % 8));
			memset(&findings, 0, sizeof(findings));
			assert_int_equal(tp_pmem_pool_check(damaged, false, finding, &findings), 1);
			assert_int_equal(findings.count[TP_PMEM_CHECK_REPAIRABLE], 1);
			assert_int_equal(findings.offset, copies[c]);
		}
		assert_int_equal(open_error(damaged, 0), 0);
		assert_int_equal(tp_pmem_pool_check(damaged, true, finding, &findings), 0);
		assert_int_equal(tp_pmem_pool_check(damaged, false, NULL, NULL), 0);
	}
	file_flip(damaged, 100, 1);
	file_flip(damaged, SUPER_1 + 100, 1);
	assert_int_equal(open_error(damaged, 0), -EBADMSG);
	assert_int_equal(tp_pmem_pool_check(damaged, true, NULL, NULL), -EBADMSG);
}

static void
test_damaged_record_is_refused_until_repaired(void **state)
{
	struct tp_pmem_pool *pool = pool_with_root(7);
	struct findings findings = { 0 };
	uint64_t lane;
	uint8_t head[64];
	int fd;

	assert_int_equal(tp_pmem_pool_checkpoint(pool), 0);
	for (uint64_t i = 1; i <= 10; i++)
		root_number_set(pool, i);
	pool_file_copy(path, damaged);
	pool_file_close(pool);
	/* The lane of this thread: records of one line each from its start. */
	fd = open(damaged, O_RDONLY);
	for (lane = 0; lane < 32; lane++) {
		assert_int_equal(pread(fd, head, sizeof(head), (off_t)(LOG_OFFSET + lane * 16384)), 64);
		if (head[4] == 48)
			break;
	}
	close(fd);
	assert_true(lane < 32);
	for (unsigned int at = 0; at < 48; at++) {
		char copy[POOL_FILE_CHARS];

		pool_file_path(copy, "damaged-record");
		pool_file_copy(damaged, copy);
		file_flip(copy, LOG_OFFSET + lane * 16384 + 64 * 4 + at, (uint8_t)(1 << at % 8));
		assert_int_equal(open_error(copy, 0), -EBADMSG);
		memset(&findings, 0, sizeof(findings));
		assert_int_equal(tp_pmem_pool_check(copy, false, finding, &findings), 1);
		assert_int_equal(findings.count[TP_PMEM_CHECK_LOST], 1);
		assert_int_equal(findings.offset, LOG_OFFSET + lane * 16384 + 64 * 4);
		unlink(copy);
	}
	file_flip(damaged, LOG_OFFSET + lane * 16384 + 64 * 4 + 40, 1);
	assert_int_equal(tp_pmem_pool_check(damaged, true, finding, &findings), 1);
	pool = pool_file_open(damaged);
	/* Home stores of those behind it may have come home already: they did here. */
	assert_in_range(root_number(pool), 4, 10);
	pool_file_close(pool);
	assert_int_equal(tp_pmem_pool_check(damaged, false, NULL, NULL), 0);
}

static void
test_damaged_heap_and_roots_are_found(void **state)
{
	struct tp_pmem_pool *pool = pool_with_root(7);
	struct tp_pmem_chunk_info chunk;
	uint64_t index = 0, first, zone, chunks = 0, block = 0;
	struct findings findings = { 0 };
	struct tp_pmem_tx *tx;

	assert_true(tp_pmem_chunk_info_next(pool, &index, &chunk));
	first = chunk.offset;
	for (index = 0; tp_pmem_chunk_info_next(pool, &index, &chunk);)
		chunks = index;
	zone = first - ((chunks * 656 + 262143) & ~UINT64_C(262143));
	pool_file_close(pool);

	/* A root entry. */
	pool_file_copy(path, damaged);
	file_flip(damaged, 16384 + 9, 4);
	assert_int_equal(tp_pmem_pool_check(damaged, false, finding, &findings), 1);
	assert_int_equal(findings.count[TP_PMEM_CHECK_LOST], 1);
	pool = pool_file_open(damaged);
	assert_int_equal(tp_pmem_root_get(pool, "root"), 0);
	pool_file_close(pool);

	/* A bitmap word: nothing of its blocks is given out, repair makes it right. */
	for (unsigned int bit = 0; bit < 64; bit++) {
		pool_file_copy(path, damaged);
		file_flip(damaged, zone + chunks * 16 + bit / 8, (uint8_t)(1 << bit % 8));
		assert_int_equal(tp_pmem_pool_check(damaged, false, NULL, NULL), 1);
	}
	assert_int_equal(tp_pmem_pool_check(damaged, true, NULL, NULL), 0);
	assert_int_equal(tp_pmem_pool_check(damaged, false, NULL, NULL), 0);
	pool = pool_file_open(damaged);
	assert_int_equal(root_number(pool), 7);
	pool_file_close(pool);

	/* A kind word: the chunk is set aside, what is in it can be read. */
	for (unsigned int bit = 0; bit < 64; bit++) {
		pool_file_copy(path, damaged);
		file_flip(damaged, zone + bit / 8, (uint8_t)(1 << bit % 8));
		assert_int_equal(tp_pmem_pool_check(damaged, false, NULL, NULL), 1);
	}
	pool = pool_file_open(damaged);
	assert_int_equal(root_number(pool), 7);
	assert_int_equal(tp_pmem_tx_begin(pool, &tx), 0);
	assert_int_equal(tp_pmem_tx_free(tx, tp_pmem_root_get(pool, "root")), -EINVAL);
	assert_int_equal(tp_pmem_tx_alloc(tx, 64, 0, &block), 0);
	assert_true(block < first || block >= first + TP_PMEM_CHUNK_BYTES);
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	pool_file_close(pool);
}

/* Opened as on a medium that lost power so often without writing its caches back. */
static int
open_on_medium(const char *name, uint64_t unsafe_shutdowns, uint32_t flags,
	       struct tp_pmem_pool **pool)
{
	struct tp_pmem_device *device = NULL;

	assert_int_equal(tp_pmem_device_open(name, 0, flags & TP_PMEM_OPEN_READ_ONLY, &device), 0);
	device->unsafe_shutdowns = unsafe_shutdowns;
	return tp_pmem_pool_open_on(device, flags, pool);
}

static void
test_unsafe_shutdown_is_refused_until_repaired(void **state)
{
	struct findings findings = { 0 };
	struct tp_pmem_device *device = NULL;
	struct tp_pmem_pool *pool;

	pool_file_close(pool_with_root(7));
	/* While it was closed nothing can have been lost. */
	assert_int_equal(open_on_medium(path, 3, 0, &pool), 0);
	root_number_set(pool, 8);
	pool_file_copy(path, damaged);
	pool_file_close(pool);
	/* It crashed, and the medium kept its promise. */
	assert_int_equal(open_on_medium(damaged, 3, TP_PMEM_OPEN_READ_ONLY, &pool), 0);
	assert_int_equal(root_number(pool), 8);
	pool_file_close(pool);
	/* It crashed, and the medium did not. */
	assert_int_equal(open_on_medium(damaged, 4, 0, &pool), -EBADMSG);
	assert_non_null(strstr(tp_pmem_error(), "lost power"));
	assert_int_equal(open_on_medium(damaged, 4, TP_PMEM_OPEN_READ_ONLY, &pool), -EBADMSG);
	for (unsigned int repair = 0; repair < 2; repair++) {
		assert_int_equal(tp_pmem_device_open(damaged, 0, !repair, &device), 0);
		device->unsafe_shutdowns = 4;
		assert_int_equal(tp_pmem_pool_check_on(device, repair, finding, &findings), 1);
		assert_int_equal(findings.count[TP_PMEM_CHECK_LOST], repair + 1);
		assert_true(findings.offset >= 4096 && findings.offset < 3 * 4096);	/* the state */
	}
	/* Looked at as a whole, it is taken as it is. */
	assert_int_equal(open_on_medium(damaged, 4, 0, &pool), 0);
	assert_int_equal(root_number(pool), 8);
	pool_file_close(pool);
	assert_int_equal(tp_pmem_pool_check(damaged, false, NULL, NULL), 0);
}

static void
test_wear_is_counted_and_spread(void **state)
{
	struct tp_pmem_pool *pool = pool_with_root(7);
	struct tp_pmem_heap_info info;
	struct tp_pmem_chunk_info chunk;
	uint64_t index = 0, worn = 0;
	struct tp_pmem_tx *tx;

	for (uint64_t i = 0; i < 2000; i++) {
		uint64_t block;

		/* A chunk each: all chunks in turn take part. */
		assert_int_equal(tp_pmem_tx_begin(pool, &tx), 0);
		assert_int_equal(tp_pmem_tx_alloc(tx, 200000, TP_PMEM_ALLOC_RAW, &block), 0);
		assert_int_equal(tp_pmem_tx_write(tx, tp_pmem_ptr(pool, block), &i, sizeof(i)), 0);
		assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
		assert_int_equal(tp_pmem_tx_begin(pool, &tx), 0);
		assert_int_equal(tp_pmem_tx_free(tx, block), 0);
		assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	}
	pool_file_close(pool);
	pool = pool_file_open(path);
	tp_pmem_heap_info_get(pool, &info);
	assert_true(info.wear_sum >= 2000);
	while (tp_pmem_chunk_info_next(pool, &index, &chunk))
		if (!chunk.is_extent && chunk.allocated_count == 0) {
			assert_in_range(chunk.wear, 2000 / info.chunk_count / 2,
				2 * 2000 / (info.chunk_count - 4));
			worn++;
		}
	assert_true(worn > 10);
	pool_file_close(pool);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_create_refuses_what_it_must, setup, teardown),
		cmocka_unit_test_setup_teardown(test_second_process_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_read_only_recovers_in_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_grow_keeps_addresses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_truncated_and_foreign_files_are_refused, setup,
			teardown),
		cmocka_unit_test_setup_teardown(test_other_version_and_uuid_are_refused, setup,
			teardown),
		cmocka_unit_test_setup_teardown(test_damaged_heads_are_repaired, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged_record_is_refused_until_repaired, setup,
			teardown),
		cmocka_unit_test_setup_teardown(test_damaged_heap_and_roots_are_found, setup,
			teardown),
		cmocka_unit_test_setup_teardown(test_unsafe_shutdown_is_refused_until_repaired, setup,
			teardown),
		cmocka_unit_test_setup_teardown(test_wear_is_counted_and_spread, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
