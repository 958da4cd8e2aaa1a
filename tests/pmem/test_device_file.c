/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Pools in files on a disk, where stores are system calls, or copies where they are small
 * and many: whichever it was, it is in the file, and the mappings show it.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "pool_file.h"
#include "tp_pmem_alloc.h"
#include "tp_pmem_tx.h"

#define POOL_BYTES (UINT64_C(8) << 20)
#define WORDS 512u
#define LARGE_BYTES 40000u

static bool fsync_fails;

int __real_fsync(int fd);
int __wrap_fsync(int fd);

int
__wrap_fsync(int fd)
{
	if (!fsync_fails)
		return __real_fsync(fd);
	errno = EIO;
	return -1;
}

struct root {
	uint64_t words[WORDS];
	uint8_t large[LARGE_BYTES];
};

static struct root *
root_of(struct tp_pmem_pool *pool)
{
	return tp_pmem_ptr(pool, tp_pmem_root_get(pool, "root"));
}

static void
word_set(struct tp_pmem_pool *pool, unsigned int index, uint64_t value, uint32_t flags)
{
	struct tp_pmem_tx *tx;

	assert_int_equal(tp_pmem_tx_begin(pool, &tx), 0);
	assert_int_equal(tp_pmem_tx_write(tx, &root_of(pool)->words[index], &value,
		sizeof(value)), 0);
	assert_int_equal(tp_pmem_tx_commit(tx, flags), 0);
}

/* What a killed process leaves is what the file has. */
static void
copy_check(const char *path, const char *copy, uint64_t first, uint8_t fill)
{
	struct tp_pmem_pool *pool;
	const struct root *root;

	pool_file_copy(path, copy);
	pool = pool_file_open(copy);
	root = root_of(pool);
	for (unsigned int i = 0; i < WORDS; i++)
		assert_int_equal(root->words[i], first + i);
	for (unsigned int i = 0; i < LARGE_BYTES; i++)
		assert_int_equal(root->large[i], fill);
	pool_file_close(pool);
	assert_int_equal(tp_pmem_pool_check(copy, false, NULL, NULL), 0);
	unlink(copy);
}

static void
test_device_file_has_what_was_stored(void **state)
{
	char path[POOL_FILE_CHARS], copy[POOL_FILE_CHARS];
	struct tp_pmem_pool *pool;
	struct tp_pmem_tx *tx;
	uint64_t offset;

	snprintf(path, sizeof(path), "/var/tmp/tp-pmem-%d-device", (int)getpid());
	snprintf(copy, sizeof(copy), "/var/tmp/tp-pmem-%d-device-copy", (int)getpid());
	pool = pool_file_create(path, POOL_BYTES);
	assert_int_equal(tp_pmem_tx_begin(pool, &tx), 0);
	assert_int_equal(tp_pmem_tx_alloc(tx, sizeof(struct root), TP_PMEM_ALLOC_ZERO, &offset), 0);
	assert_int_equal(tp_pmem_tx_root_set(tx, "root", offset), 0);
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	/* Far more small stores than are system calls between two fences. */
	for (unsigned int i = 0; i < WORDS; i++)
		word_set(pool, i, i, TP_PMEM_COMMIT_DEFER);
	assert_int_equal(tp_pmem_pool_sync(pool), 0);
	copy_check(path, copy, 0, 0);
	/* Few, each with its fence, and large ones, over pages that were copied to. */
	for (unsigned int i = 0; i < WORDS; i++)
		word_set(pool, i, 1000 + i, i % 16 == 0 ? 0 : TP_PMEM_COMMIT_DEFER);
	assert_int_equal(tp_pmem_tx_begin(pool, &tx), 0);
	assert_int_equal(tp_pmem_tx_add_range(tx, root_of(pool)->large, LARGE_BYTES), 0);
	memset(root_of(pool)->large, 7, LARGE_BYTES);
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	copy_check(path, copy, 1000, 7);
	assert_int_equal(tp_pmem_pool_checkpoint(pool), 0);
	assert_int_equal(tp_pmem_pool_trim(pool), 0);
	copy_check(path, copy, 1000, 7);
	pool_file_close(pool);
	unlink(path);
}

/* The kernel says once that it lost something: whoever asked must not be the only one to know. */
static void
test_device_file_fails_when_a_growth_heard_of_it(void **state)
{
	char path[POOL_FILE_CHARS];
	struct tp_pmem_pool *pool;
	struct tp_pmem_device *device;
	struct tp_pmem_tx *tx;

	snprintf(path, sizeof(path), "/var/tmp/tp-pmem-%d-growth", (int)getpid());
	pool = pool_file_create(path, POOL_BYTES);
	fsync_fails = true;
	assert_int_equal(tp_pmem_pool_grow(pool, 2 * POOL_BYTES), -EIO);
	fsync_fails = false;
	assert_int_equal(tp_pmem_tx_begin(pool, &tx), -EIO);
	assert_int_equal(tp_pmem_pool_grow(pool, 2 * POOL_BYTES), -EIO);
	assert_int_equal(tp_pmem_pool_close(pool), -EIO);

	assert_int_equal(tp_pmem_device_open(path, POOL_BYTES, false, &device), 0);
	fsync_fails = true;
	assert_int_equal(device->ops->resize(device, device->bytes + POOL_BYTES), -EIO);
	fsync_fails = false;
	assert_int_equal(device->ops->fence(device), -EIO);
	device->ops->close(device);
	unlink(path);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_device_file_fails_when_a_growth_heard_of_it),
		cmocka_unit_test(test_device_file_has_what_was_stored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
