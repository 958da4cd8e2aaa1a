/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Disks that are full or read-only: a small tmpfs, mounted where only this process sees it.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "pool_file.h"
#include "tp_pmem_alloc.h"
#include "tp_pmem_tx.h"

#define DISK "size=12m"
#define POOL_BYTES (UINT64_C(8) << 20)
#define BLOCK_BYTES 3000u
#define BLOCKS_MAX 8192u

static char path[POOL_FILE_CHARS];
static char filler[POOL_FILE_CHARS];
static char folder[POOL_FILE_CHARS];
static bool is_mounted;

/* Mounts go with the process. */
static int
group_setup(void **state)
{
	pool_file_path(path, "pool");
	pool_file_path(filler, "filler");
	strcpy(folder, path);
	*strrchr(folder, '/') = '\0';
	is_mounted = unshare(CLONE_NEWNS) == 0 &&
		mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
		mount("disk", folder, "tmpfs", 0, DISK) == 0;
	return 0;
}

static int
setup(void **state)
{
	if (!is_mounted) {
		print_message("skipped: cannot mount a tmpfs here\n");
		skip();
	}
	pool_file_force_lines(true);
	return 0;
}

static int
teardown(void **state)
{
	unlink(path);
	unlink(filler);
	pool_file_force_lines(false);
	return 0;
}

/* Until nothing more fits. */
static void
disk_fill(void)
{
	static uint8_t bytes[4096];
	int fd = open(filler, O_CREAT | O_WRONLY, 0600);
	ssize_t got;

	assert_true(fd >= 0);
	memset(bytes, 1, sizeof(bytes));
	while ((got = write(fd, bytes, sizeof(bytes))) > 0)
		;
	assert_true(got < 0 && errno == ENOSPC);
	close(fd);
}

/* Blocks of one number each until the pool is full; how many. */
static unsigned int
pool_fill(struct tp_pmem_pool *pool, uint64_t blocks[BLOCKS_MAX])
{
	unsigned int count = 0;
	int ret = 0;

	while (ret == 0) {
		struct tp_pmem_tx *tx = NULL;

		assert_in_range(count, 0, BLOCKS_MAX - 1);
		assert_int_equal(tp_pmem_tx_begin(pool, &tx), 0);
		ret = tp_pmem_tx_alloc(tx, BLOCK_BYTES, 0, &blocks[count]);
		if (ret < 0) {
			tp_pmem_tx_abort(tx);
			break;
		}
		memset(tp_pmem_ptr(pool, blocks[count]), (int)count, BLOCK_BYTES);
		assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
		count++;
	}
	assert_int_equal(ret, -ENOSPC);
	return count;
}

static void
blocks_compare(const struct tp_pmem_pool *pool, const uint64_t *blocks, unsigned int count)
{
	uint8_t want[BLOCK_BYTES];

	for (unsigned int i = 0; i < count; i++) {
		memset(want, (int)i, sizeof(want));
		assert_memory_equal(tp_pmem_ptr(pool, blocks[i]), want, sizeof(want));
	}
}

static void
test_full_disk_refuses_to_create_and_grow(void **state)
{
	static uint64_t blocks[BLOCKS_MAX];
	struct tp_pmem_pool_info info;
	struct tp_pmem_pool *pool = NULL;
	unsigned int count;

	assert_int_equal(tp_pmem_pool_create(path, 2 * POOL_BYTES, NULL, &pool), -ENOSPC);
	assert_non_null(strstr(tp_pmem_error(), "no room"));
	assert_int_equal(access(path, F_OK), -1);
	pool = pool_file_create(path, POOL_BYTES);
	count = pool_fill(pool, blocks);
	assert_int_equal(tp_pmem_pool_grow(pool, 2 * POOL_BYTES), -ENOSPC);
	tp_pmem_pool_info_get(pool, &info);
	assert_int_equal(info.bytes, POOL_BYTES);
	blocks_compare(pool, blocks, count);
	/* What there is room for. */
	assert_int_equal(tp_pmem_pool_grow(pool, POOL_BYTES + (2 << 20)), 0);
	assert_true(pool_fill(pool, blocks + count) > 100);
	blocks_compare(pool, blocks, count);
	pool_file_close(pool);
	assert_int_equal(tp_pmem_pool_check(path, false, NULL, NULL), 0);
}

/* A full pool can be read, emptied and filled again; a full disk does not matter to it. */
static void
test_full_pool_on_a_full_disk_works(void **state)
{
	static uint64_t blocks[BLOCKS_MAX], again[BLOCKS_MAX];
	struct tp_pmem_pool *pool = pool_file_create(path, POOL_BYTES);
	unsigned int count;

	disk_fill();
	count = pool_fill(pool, blocks);
	assert_true(count > 1000);
	pool_file_close(pool);
	pool = pool_file_open(path);
	blocks_compare(pool, blocks, count);
	for (unsigned int i = 0; i < count; i++) {
		struct tp_pmem_tx *tx;

		assert_int_equal(tp_pmem_tx_begin(pool, &tx), 0);
		assert_int_equal(tp_pmem_tx_free(tx, blocks[i]), 0);
		assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	}
	assert_int_equal(pool_fill(pool, again), count);
	pool_file_close(pool);
}

/* A copy with holes: without room for them it is refused, and no store meets one later. */
static void
test_pool_with_holes_needs_room(void **state)
{
	static uint64_t blocks[BLOCKS_MAX];
	struct tp_pmem_pool *pool = pool_file_create(path, POOL_BYTES);
	unsigned int count;
	int fd;

	pool_file_close(pool);
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	/* Chunks that nothing is in. */
	assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 3 << 20, 4 << 20),
		0);
	close(fd);
	disk_fill();
	assert_int_equal(tp_pmem_pool_open(path, 0, &pool), -ENOSPC);
	assert_non_null(strstr(tp_pmem_error(), "holes"));
	assert_int_equal(tp_pmem_pool_open(path, TP_PMEM_OPEN_READ_ONLY, &pool), -ENOSPC);
	assert_int_equal(tp_pmem_pool_check(path, false, NULL, NULL), -ENOSPC);
	unlink(filler);
	assert_int_equal(tp_pmem_pool_open(path, TP_PMEM_OPEN_READ_ONLY, &pool), 0);
	pool_file_close(pool);
	pool = pool_file_open(path);
	disk_fill();
	count = pool_fill(pool, blocks);
	blocks_compare(pool, blocks, count);
	pool_file_close(pool);
}

static void
test_read_only_disk_can_be_read(void **state)
{
	static uint64_t blocks[BLOCKS_MAX];
	struct tp_pmem_pool *pool = pool_file_create(path, POOL_BYTES);
	unsigned int count = pool_fill(pool, blocks);

	pool_file_close(pool);
	assert_int_equal(mount(NULL, folder, NULL, MS_REMOUNT | MS_RDONLY, DISK), 0);
	assert_int_equal(tp_pmem_pool_open(path, 0, &pool), -EROFS);
	assert_int_not_equal(tp_pmem_error()[0], '\0');
	assert_int_equal(tp_pmem_pool_create(filler, POOL_BYTES, NULL, &pool), -EROFS);
	assert_int_equal(tp_pmem_pool_check(path, true, NULL, NULL), -EROFS);
	assert_int_equal(tp_pmem_pool_check(path, false, NULL, NULL), 0);
	assert_int_equal(tp_pmem_pool_open(path, TP_PMEM_OPEN_READ_ONLY, &pool), 0);
	blocks_compare(pool, blocks, count);
	pool_file_close(pool);
	assert_int_equal(mount(NULL, folder, NULL, MS_REMOUNT, DISK), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_full_disk_refuses_to_create_and_grow, setup,
			teardown),
		cmocka_unit_test_setup_teardown(test_full_pool_on_a_full_disk_works, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pool_with_holes_needs_room, setup, teardown),
		cmocka_unit_test_setup_teardown(test_read_only_disk_can_be_read, setup, teardown),
	};

	return cmocka_run_group_tests(tests, group_setup, NULL);
}
