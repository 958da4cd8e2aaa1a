/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "btree_fixture.h"
#include "tp_pmem_alloc.h"
#include "tp_pmem_tx.h"

struct btree_fixture fixture;

static void
tree_make(uint64_t pool_bytes)
{
	const struct tp_pmem_pool_config config = { .lane_count = 4, .lane_bytes = 128 << 10 };
	struct tp_pmem_tx *tx;

	assert_int_equal(tp_pmem_pool_create(fixture.path, pool_bytes, &config, &fixture.pool), 0);
	tx = fixture_begin();
	assert_int_equal(tp_pmem_btree_create(tx, &fixture.offset), 0);
	assert_int_equal(tp_pmem_tx_root_set(tx, "tree", fixture.offset), 0);
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	assert_int_equal(tp_pmem_btree_open(fixture.pool, fixture.offset, &fixture.tree), 0);
}

static void
tree_drop(void)
{
	tp_pmem_btree_close(fixture.tree);
	tp_pmem_pool_close(fixture.pool);
	unlink(fixture.path);
}

void
fixture_init(uint64_t pool_bytes)
{
	memset(&fixture, 0, sizeof(fixture));
	fixture.random = 88172645463325252;
	pool_file_force_lines(true);
	pool_file_path(fixture.path, "btree");
	pool_file_path(fixture.crash, "btree-crash");
	tree_make(pool_bytes);
}

void
fixture_fini(void)
{
	tree_drop();
	unlink(fixture.crash);
	btree_model_fini(&fixture.model);
	pool_file_force_lines(false);
}

void
fixture_resize(uint64_t pool_bytes)
{
	tree_drop();
	btree_model_fini(&fixture.model);
	tree_make(pool_bytes);
}

struct tp_pmem_tx *
fixture_begin(void)
{
	struct tp_pmem_tx *tx = NULL;

	assert_int_equal(tp_pmem_tx_begin(fixture.pool, &tx), 0);
	return tx;
}

uint32_t
fixture_random_below(uint32_t end)
{
	return (uint32_t)(btree_model_random(&fixture.random) >> 33) % end;
}

uint64_t
fixture_blocks(struct tp_pmem_pool *pool)
{
	struct tp_pmem_heap_info info;

	tp_pmem_heap_info_get(pool, &info);
	return info.allocated_count;
}

void
fixture_crash_compare(void)
{
	struct tp_pmem_btree *tree = NULL;
	struct tp_pmem_pool *pool;

	pool_file_copy(fixture.path, fixture.crash);
	pool = pool_file_open(fixture.crash);
	assert_int_equal(tp_pmem_btree_open(pool, tp_pmem_root_get(pool, "tree"), &tree), 0);
	btree_model_compare(&fixture.model, tree);
	assert_int_equal(fixture_blocks(pool), fixture_blocks(fixture.pool));
	tp_pmem_btree_close(tree);
	pool_file_close(pool);
}
