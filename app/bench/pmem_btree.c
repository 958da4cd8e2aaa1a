/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The B+tree of persistent memory against LMDB, and against one on libpmemobj: keys of 16 bytes
 * in random order, values of 64, both in files of one file system, each insert and delete
 * a transaction that is durable on return. With LMDB that is msync(); with
 * libpmemobj both sides take the files for DAX.
 *
 * TP_BENCH_PMEM names the folder, the run's in /dev/shm otherwise; TP_BENCH_MILLIONS says how
 * many keys, 1 to 10.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <rte_byteorder.h>
#include <rte_common.h>
#include <rte_cycles.h>

#include "bench.h"
#include "pmem.h"
#include "pmem_btree.h"
#include "tp_pmem_btree.h"

#define BTREE_LOAD 1000u	/* pairs of a transaction that loads */
#define BTREE_GETS 16u		/* in one sample */
#define BTREE_STEPS 1000u
#define BTREE_BATCH 1000u
#define BTREE_BATCH_INSERT 10000u	/* the first ones after the other side's turn are slow */

struct store {
	struct tp_pmem_pool *pool;
	struct tp_pmem_btree *tree;
	struct tp_pmem_btree_cursor *cursor;
};

struct btree_op {
	const struct bench_btree_side *side;
	void *store;
	char path[PATH_MAX];
	uint64_t next;		/* key */
	uint64_t random;
	uint64_t key_count;
	uint64_t sum;
};

/*
 * Ours.
 */

static void
store_close(void *context)
{
	struct store *store = context;

	tp_pmem_btree_cursor_close(store->cursor);
	tp_pmem_btree_close(store->tree);
	tp_pmem_pool_close(store->pool);
	free(store);
}

static int
store_tree_make(struct store *store)
{
	struct tp_pmem_tx *tx;
	uint64_t offset;
	int ret = tp_pmem_tx_begin(store->pool, &tx);

	if (ret < 0)
		return ret;
	ret = tp_pmem_btree_create(tx, &offset);
	if (ret == 0)
		ret = tp_pmem_tx_commit(tx, 0);
	else
		tp_pmem_tx_abort(tx);
	if (ret == 0)
		ret = tp_pmem_btree_open(store->pool, offset, &store->tree);
	return ret < 0 ? ret : tp_pmem_btree_cursor_open(store->tree, &store->cursor);
}

static int
store_open(const char *path, uint64_t key_count, void **store_out)
{
	struct store *store = calloc(1, sizeof(*store));
	int ret;

	if (store == NULL)
		return -ENOMEM;
	ret = tp_pmem_pool_create(path, key_count * 512, NULL, &store->pool);
	if (ret == 0)
		ret = store_tree_make(store);
	if (ret == 0)
		*store_out = store;
	else
		store_close(store);
	return ret;
}

static int
store_insert(void *context, const uint8_t (*keys)[BENCH_BTREE_KEY_BYTES], unsigned int count,
	     const void *value)
{
	struct store *store = context;
	struct tp_pmem_tx *tx;
	int ret;

	if (count == 1)
		return tp_pmem_btree_put(store->tree, NULL, keys[0], BENCH_BTREE_KEY_BYTES, value,
			BENCH_BTREE_VALUE_BYTES, TP_PMEM_BTREE_INSERT);
	ret = tp_pmem_tx_begin(store->pool, &tx);
	if (ret < 0)
		return ret;
	for (unsigned int i = 0; i < count && ret == 0; i++)
		ret = tp_pmem_btree_put(store->tree, tx, keys[i], BENCH_BTREE_KEY_BYTES, value,
			BENCH_BTREE_VALUE_BYTES, TP_PMEM_BTREE_INSERT);
	if (ret == 0)
		return tp_pmem_tx_commit(tx, 0);
	tp_pmem_tx_abort(tx);
	return ret;
}

static int
store_delete(void *context, const void *key)
{
	struct store *store = context;

	return tp_pmem_btree_delete(store->tree, NULL, key, BENCH_BTREE_KEY_BYTES);
}

static int
store_get(void *context, const uint8_t (*keys)[BENCH_BTREE_KEY_BYTES], unsigned int count,
	  void *value)
{
	struct store *store = context;

	for (unsigned int i = 0; i < count; i++)
		if (tp_pmem_btree_get(store->tree, NULL, keys[i], BENCH_BTREE_KEY_BYTES, value,
				BENCH_BTREE_VALUE_BYTES) != BENCH_BTREE_VALUE_BYTES)
			return -EIO;
	return 0;
}

static int
store_scan(void *context, unsigned int count, uint64_t *sum)
{
	struct store *store = context;
	enum tp_pmem_btree_seek how = *sum == 0 ? TP_PMEM_BTREE_FIRST : TP_PMEM_BTREE_NEXT;
	const void *key, *value;
	uint32_t key_bytes, value_bytes;
	int ret = 0;

	for (unsigned int i = 0; i < count && ret == 0; i++) {
		ret = tp_pmem_btree_cursor_move(store->cursor, how, NULL, 0, &key, &key_bytes, &value,
			&value_bytes);
		if (ret == -ENOENT)
			ret = tp_pmem_btree_cursor_move(store->cursor, TP_PMEM_BTREE_FIRST, NULL, 0,
				&key, &key_bytes, &value, &value_bytes);
		how = TP_PMEM_BTREE_NEXT;
		if (ret == 0)
			*sum += ((const uint8_t *)key)[0] + ((const uint8_t *)value)[0];
	}
	return ret;
}

const struct bench_btree_side bench_btree_telepage = {
	.name = "telepage",
	.open = store_open,
	.close = store_close,
	.insert = store_insert,
	.delete = store_delete,
	.get = store_get,
	.scan = store_scan,
};

/*
 * Operations.
 */

/* The keys of a run in an order that is none (splitmix64's mixing step). */
static void
key_make(uint8_t key[BENCH_BTREE_KEY_BYTES], uint64_t number)
{
	uint64_t mixed = number * UINT64_C(0x9e3779b97f4a7c15);

	mixed = (mixed ^ mixed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94d049bb133111eb);
	mixed = rte_cpu_to_be_64(mixed ^ mixed >> 31);
	number = rte_cpu_to_be_64(number);
	memcpy(key, &mixed, sizeof(mixed));
	memcpy(key + 8, &number, sizeof(number));
}

static const uint8_t btree_value[BENCH_BTREE_VALUE_BYTES] = { 1 };

static int
insert_once(void *context, uint64_t *ticks)
{
	struct btree_op *op = context;
	uint8_t key[1][BENCH_BTREE_KEY_BYTES];
	uint64_t start;
	int ret;

	key_make(key[0], op->next++);
	start = rte_rdtsc_precise();
	ret = op->side->insert(op->store, key, 1, btree_value);
	*ticks = rte_rdtsc_precise() - start;
	return ret;
}

static int
load_once(void *context, uint64_t *ticks)
{
	struct btree_op *op = context;
	uint8_t keys[BTREE_LOAD][BENCH_BTREE_KEY_BYTES];
	uint64_t start;
	int ret;

	for (unsigned int i = 0; i < BTREE_LOAD; i++)
		key_make(keys[i], op->next++);
	start = rte_rdtsc_precise();
	ret = op->side->insert(op->store, keys, BTREE_LOAD, btree_value);
	*ticks = rte_rdtsc_precise() - start;
	return ret;
}

static int
get_once(void *context, uint64_t *ticks)
{
	struct btree_op *op = context;
	uint8_t keys[BTREE_GETS][BENCH_BTREE_KEY_BYTES], value[BENCH_BTREE_VALUE_BYTES];
	uint64_t start;
	int ret;

	for (unsigned int i = 0; i < BTREE_GETS; i++)
		key_make(keys[i], bench_random(&op->random) % op->key_count);
	start = rte_rdtsc_precise();
	ret = op->side->get(op->store, keys, BTREE_GETS, value);
	*ticks = rte_rdtsc_precise() - start;
	return ret;
}

static int
scan_once(void *context, uint64_t *ticks)
{
	struct btree_op *op = context;
	uint64_t start = rte_rdtsc_precise();
	int ret = op->side->scan(op->store, BTREE_STEPS, &op->sum);

	*ticks = rte_rdtsc_precise() - start;
	return ret;
}

static int
delete_once(void *context, uint64_t *ticks)
{
	struct btree_op *op = context;
	uint8_t key[BENCH_BTREE_KEY_BYTES];
	uint64_t start;
	int ret;

	key_make(key, op->next++);
	start = rte_rdtsc_precise();
	ret = op->side->delete(op->store, key);
	*ticks = rte_rdtsc_precise() - start;
	return ret;
}

static uint64_t
key_count(void)
{
	const char *millions = getenv("TP_BENCH_MILLIONS");
	unsigned long count = millions == NULL ? 1 : strtoul(millions, NULL, 10);

	return UINT64_C(1000000) * RTE_MIN(RTE_MAX(count, 1ul), 10ul);
}

static int
side_open(const struct bench *bench, struct btree_op *op, const struct bench_btree_side *side,
	  bool loaded)
{
	const char *folder = getenv("TP_BENCH_PMEM");
	char own[PATH_MAX / 2];
	uint64_t ticks;
	int ret;

	snprintf(own, sizeof(own), BENCH_FOLDER, bench->prefix);
	if (folder == NULL && mkdir(own, 0700) < 0 && errno != EEXIST)
		return -errno;
	snprintf(op->path, sizeof(op->path), "%.2000s/btree-%d-%.16s", folder != NULL ? folder : own,
		(int)getpid(), side->name);
	unlink(op->path);
	op->side = side;
	op->key_count = key_count();
	op->random = 4711;
	op->next = 0;
	ret = side->open(op->path, op->key_count, &op->store);
	while (ret == 0 && loaded && op->next < op->key_count)
		ret = load_once(op, &ticks);
	op->next = 0;
	return ret;
}

static void
side_close(struct btree_op *op)
{
	char lock[PATH_MAX + 8];

	if (op->store != NULL)
		op->side->close(op->store);
	op->store = NULL;
	unlink(op->path);
	snprintf(lock, sizeof(lock), "%s-lock", op->path);
	unlink(lock);
}

struct btree_figure {
	const char *name;
	int (*once)(void *context, uint64_t *ticks);
	bool loaded;			/* with all keys before */
	unsigned int operations;	/* of a sample */
	unsigned int samples;		/* 0: one for each key */
	unsigned int batch;
	const char *tail_name;		/* of a row for the p99; NULL: none */
	const struct bench_btree_side *peer;
};

/* How far the slowest hundredth is from the middle, where that has a goal. */
static void
tail_report(struct bench *bench, const struct btree_figure *figure, struct bench_samples *samples)
{
	uint64_t p99 = bench_samples_quantile(samples, 0.99);
	uint64_t p50 = bench_samples_quantile(samples, 0.5);
	struct bench_samples tail = { &p99, 1, 1, true };
	struct bench_samples middle = { &p50, 1, 1, true };

	bench_report(bench, &(struct bench_row){
		.name = figure->tail_name,
		.unit = "ns",
		.scale = bench->ns_per_tick,
		.samples = &tail,
		.baseline_name = "its p50",
		.baseline_scale = bench->ns_per_tick,
		.baseline = &middle,
	});
}

static void
figure_report(struct bench *bench, const struct btree_figure *figure, struct bench_op *ops,
	      unsigned int count)
{
	double scale = bench->ns_per_tick / figure->operations;
	struct bench_row row = { .name = figure->name, .unit = "ns", .scale = scale,
		.samples = &ops[0].samples };

	if (count == 2) {
		row.baseline_name = figure->peer->name;
		row.baseline_scale = scale;
		row.baseline = &ops[1].samples;
	}
	bench_report(bench, &row);
	if (figure->tail_name != NULL)
		tail_report(bench, figure, &ops[0].samples);
	for (unsigned int i = 0; i < count; i++)
		bench_samples_fini(&ops[i].samples);
}

static int
figure_run(struct bench *bench, const struct btree_figure *figure)
{
	const struct bench_btree_side *sides[] = { &bench_btree_telepage, figure->peer };
	unsigned int count = figure->peer->open == NULL ? 1 : 2;
	uint64_t samples = figure->samples > 0 ? figure->samples : key_count() / figure->operations;
	const struct bench_plan plan = { .rounds = (unsigned int)(samples / figure->batch),
		.batch = figure->batch };
	struct btree_op contexts[2] = { 0 };
	struct bench_op ops[2] = { 0 };
	int ret = bench_pin(bench, 0);

	if (count == 1)
		fprintf(stderr, "telepage-bench: built without %s, nothing to compare with\n",
			figure->peer->name);
	for (unsigned int i = 0; i < count && ret == 0; i++) {
		ret = side_open(bench, &contexts[i], sides[i], figure->loaded);
		ops[i] = (struct bench_op){ .once = figure->once, .context = &contexts[i] };
	}
	if (ret == 0)
		ret = bench_interleave(ops, count, &plan);
	if (ret == 0)
		figure_report(bench, figure, ops, count);
	for (unsigned int i = 0; i < count; i++)
		side_close(&contexts[i]);
	return ret;
}

int
bench_pmem_btree_insert(struct bench *bench)
{
	static const struct btree_figure single = { "pmem_btree_insert", insert_once, false, 1, 0,
		BTREE_BATCH_INSERT, "pmem_btree_insert_p99", &bench_btree_lmdb };
	static const struct btree_figure thousand = { "pmem_btree_insert_1000", load_once, false,
		BTREE_LOAD, 0, 10, NULL, &bench_btree_lmdb };
	int ret = figure_run(bench, &single);

	return ret < 0 ? ret : figure_run(bench, &thousand);
}

int
bench_pmem_btree_get(struct bench *bench)
{
	static const struct btree_figure figure = { "pmem_btree_get", get_once, true, BTREE_GETS,
		100000, BTREE_BATCH, NULL, &bench_btree_lmdb };

	return figure_run(bench, &figure);
}

int
bench_pmem_btree_scan(struct bench *bench)
{
	static const struct btree_figure figure = { "pmem_btree_scan", scan_once, true, BTREE_STEPS,
		5000, 100, NULL, &bench_btree_lmdb };

	return figure_run(bench, &figure);
}

int
bench_pmem_btree_delete(struct bench *bench)
{
	static const struct btree_figure figure = { "pmem_btree_delete", delete_once, true, 1, 0,
		BTREE_BATCH, NULL, &bench_btree_lmdb };

	return figure_run(bench, &figure);
}

int
bench_pmem_btree_obj(struct bench *bench)
{
	static const struct btree_figure figures[] = {
		{ "pmem_btree_obj_insert", insert_once, false, 1, 0, BTREE_BATCH, NULL,
			&bench_btree_libpmemobj },
		{ "pmem_btree_obj_get", get_once, true, BTREE_GETS, 100000, BTREE_BATCH, NULL,
			&bench_btree_libpmemobj },
		{ "pmem_btree_obj_scan", scan_once, true, BTREE_STEPS, 5000, 100, NULL,
			&bench_btree_libpmemobj },
		{ "pmem_btree_obj_delete", delete_once, true, 1, 0, BTREE_BATCH, NULL,
			&bench_btree_libpmemobj },
	};
	int ret = bench_pmem_environment();

	for (unsigned int i = 0; i < RTE_DIM(figures) && ret == 0; i++)
		ret = figure_run(bench, &figures[i]);
	return ret;
}
