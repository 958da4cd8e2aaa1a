/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * LMDB for comparison, as it comes: each commit is synchronised to the file, as each of
 * ours is. A get has its own snapshot, renewed as cheaply as LMDB can.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pmem_btree.h"

#ifdef BENCH_LMDB
#include <lmdb.h>

struct lmdb {
	MDB_env *env;
	MDB_dbi dbi;
	MDB_txn *reader;		/* reset between calls */
	MDB_cursor *cursor;
};

/* LMDB's own errors are negative, those of the system positive. */
static int
lmdb_error(int ret)
{
	return ret == 0 ? 0 : ret > 0 ? -ret : ret == MDB_MAP_FULL ? -ENOSPC : -EIO;
}

static void
lmdb_close(void *store)
{
	struct lmdb *lmdb = store;

	if (lmdb->cursor != NULL)
		mdb_cursor_close(lmdb->cursor);
	if (lmdb->reader != NULL)
		mdb_txn_abort(lmdb->reader);
	mdb_env_close(lmdb->env);
	free(lmdb);
}

static int
lmdb_tree_open(struct lmdb *lmdb)
{
	MDB_txn *txn;
	int ret = mdb_txn_begin(lmdb->env, NULL, 0, &txn);

	if (ret == 0)
		ret = mdb_dbi_open(txn, NULL, 0, &lmdb->dbi);
	if (ret == 0)
		ret = mdb_txn_commit(txn);
	if (ret == 0)
		ret = mdb_txn_begin(lmdb->env, NULL, MDB_RDONLY, &lmdb->reader);
	if (ret == 0)
		ret = mdb_cursor_open(lmdb->reader, lmdb->dbi, &lmdb->cursor);
	if (ret == 0)
		mdb_txn_reset(lmdb->reader);
	return ret;
}

static int
lmdb_open(const char *path, uint64_t key_count, void **store)
{
	struct lmdb *lmdb = calloc(1, sizeof(*lmdb));
	int ret;

	if (lmdb == NULL)
		return -ENOMEM;
	ret = mdb_env_create(&lmdb->env);
	if (ret != 0) {
		free(lmdb);
		return lmdb_error(ret);
	}
	ret = mdb_env_set_mapsize(lmdb->env, key_count * 512);
	if (ret == 0)
		ret = mdb_env_open(lmdb->env, path, MDB_NOSUBDIR, 0600);
	if (ret == 0)
		ret = lmdb_tree_open(lmdb);
	if (ret == 0)
		*store = lmdb;
	else
		lmdb_close(lmdb);
	return lmdb_error(ret);
}

static int
lmdb_insert(void *store, const uint8_t (*keys)[BENCH_BTREE_KEY_BYTES], unsigned int count,
	    const void *value)
{
	struct lmdb *lmdb = store;
	MDB_val data = { BENCH_BTREE_VALUE_BYTES, (void *)(uintptr_t)value };
	MDB_txn *txn;
	int ret = mdb_txn_begin(lmdb->env, NULL, 0, &txn);

	if (ret != 0)
		return lmdb_error(ret);
	for (unsigned int i = 0; i < count && ret == 0; i++) {
		MDB_val key = { BENCH_BTREE_KEY_BYTES, (void *)(uintptr_t)keys[i] };

		ret = mdb_put(txn, lmdb->dbi, &key, &data, MDB_NOOVERWRITE);
	}
	if (ret == 0)
		return lmdb_error(mdb_txn_commit(txn));
	mdb_txn_abort(txn);
	return lmdb_error(ret);
}

static int
lmdb_delete(void *store, const void *data)
{
	struct lmdb *lmdb = store;
	MDB_val key = { BENCH_BTREE_KEY_BYTES, (void *)(uintptr_t)data };
	MDB_txn *txn;
	int ret = mdb_txn_begin(lmdb->env, NULL, 0, &txn);

	if (ret == 0)
		ret = mdb_del(txn, lmdb->dbi, &key, NULL);
	if (ret == 0)
		ret = mdb_txn_commit(txn);
	return lmdb_error(ret);
}

static int
lmdb_get(void *store, const uint8_t (*keys)[BENCH_BTREE_KEY_BYTES], unsigned int count, void *value)
{
	struct lmdb *lmdb = store;
	int ret = mdb_txn_renew(lmdb->reader);

	for (unsigned int i = 0; i < count && ret == 0; i++) {
		MDB_val key = { BENCH_BTREE_KEY_BYTES, (void *)(uintptr_t)keys[i] }, data;

		ret = mdb_get(lmdb->reader, lmdb->dbi, &key, &data);
		if (ret == 0)
			memcpy(value, data.mv_data, BENCH_BTREE_VALUE_BYTES);
	}
	mdb_txn_reset(lmdb->reader);
	return lmdb_error(ret);
}

/* One snapshot over the whole walk. */
static int
lmdb_scan(void *store, unsigned int count, uint64_t *sum)
{
	struct lmdb *lmdb = store;
	MDB_val key, data;
	int ret = 0;

	if (*sum == 0) {
		ret = mdb_txn_renew(lmdb->reader);
		if (ret == 0)
			ret = mdb_cursor_renew(lmdb->reader, lmdb->cursor);
	}
	for (unsigned int i = 0; i < count && ret == 0; i++) {
		ret = mdb_cursor_get(lmdb->cursor, &key, &data, MDB_NEXT);
		if (ret == MDB_NOTFOUND)
			ret = mdb_cursor_get(lmdb->cursor, &key, &data, MDB_FIRST);
		if (ret == 0)
			*sum += ((const uint8_t *)key.mv_data)[0] +
				((const uint8_t *)data.mv_data)[0];
	}
	return lmdb_error(ret);
}

const struct bench_btree_side bench_btree_lmdb = {
	.name = "lmdb",
	.open = lmdb_open,
	.close = lmdb_close,
	.insert = lmdb_insert,
	.delete = lmdb_delete,
	.get = lmdb_get,
	.scan = lmdb_scan,
};

#else
const struct bench_btree_side bench_btree_lmdb = { .name = "lmdb" };
#endif
