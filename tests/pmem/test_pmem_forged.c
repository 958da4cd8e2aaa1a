/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Pools that somebody else wrote: checksums hold, but what they cover makes no sense.
 * Each case is one that fuzz_pool found first.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "heap.h"
#include "pmem_priv.h"
#include "pool_file.h"

#define POOL_BYTES TP_PMEM_POOL_BYTES_MIN
#define LANES 2u
#define LANE_BYTES PMEM_LANE_BYTES_MIN
#define ZONE (PMEM_LOG_OFFSET + PMEM_CHUNK_BYTES)	/* the lanes have less than a chunk */

static char path[POOL_FILE_CHARS];

static int
setup(void **state)
{
	pool_file_force_lines(true);
	pool_file_path(path, "forged");
	return 0;
}

static int
teardown(void **state)
{
	unlink(path);
	pool_file_force_lines(false);
	return 0;
}

/* With a root block of 64 bytes. */
static struct tp_pmem_pool *
pool_make(void)
{
	const struct tp_pmem_pool_config config = { .lane_count = LANES, .lane_bytes = LANE_BYTES };
	struct tp_pmem_pool *pool;
	struct tp_pmem_tx *tx;
	uint64_t block;

	assert_int_equal(tp_pmem_pool_create(path, POOL_BYTES, &config, &pool), 0);
	assert_int_equal(pool->heap->zones[0].offset, ZONE);
	assert_int_equal(tp_pmem_tx_begin(pool, &tx), 0);
	assert_int_equal(tp_pmem_tx_alloc(tx, 64, TP_PMEM_ALLOC_ZERO, &block), 0);
	assert_int_equal(tp_pmem_tx_root_set(tx, "root", block), 0);
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	return pool;
}

static void
file_put(uint64_t offset, const void *data, size_t bytes)
{
	int fd = open(path, O_RDWR);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, data, bytes, (off_t)offset), bytes);
	close(fd);
}

/* Kinds that cannot be: the chunk is set aside, reports pass over it. */
static void
test_forged_kinds_are_damage(void **state)
{
	static const struct pmem_kind kinds[] = {
		{ .kind = PMEM_CHUNK_BODY + 1 },
		{ .kind = PMEM_CHUNK_RUN, .class = PMEM_CLASS_COUNT },
		{ .kind = PMEM_CHUNK_EXTENT, .number = 0 },
		{ .kind = PMEM_CHUNK_EXTENT, .number = 1000 },
		{ .kind = PMEM_CHUNK_EXTENT, .number = UINT32_MAX },
	};

	pool_file_close(pool_make());
	for (unsigned int i = 0; i < RTE_DIM(kinds); i++) {
		uint64_t word = pmem_kind_word(kinds[i]);
		struct tp_pmem_chunk_info chunk;
		struct tp_pmem_heap_info heap;
		struct tp_pmem_pool *pool;
		uint64_t index = 0;

		file_put(ZONE + 8, &word, sizeof(word));
		assert_int_equal(tp_pmem_pool_check(path, false, NULL, NULL), 1);
		pool = pool_file_open(path);
		tp_pmem_heap_info_get(pool, &heap);
		assert_int_equal(heap.chunk_count, pool->heap->zones[0].chunk_count);
		assert_int_equal(heap.allocated_count, 1);
		while (tp_pmem_chunk_info_next(pool, &index, &chunk))
			assert_int_equal(chunk.bytes, PMEM_CHUNK_BYTES);
		assert_int_equal(index, heap.chunk_count);
		pool_file_close(pool);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_forged_kinds_are_damage, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
