/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Transactions and blocks of persistent memory against libpmemobj. Both have a pool in
 * a file in memory (/dev/shm), and both are told to take it for DAX: what is durable
 * is what was written back line by line and fenced.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_common.h>
#include <rte_cycles.h>
#include <rte_pause.h>

#include "bench.h"
#include "pmem.h"
#include "tp_pmem_alloc.h"
#include "tp_pmem_tx.h"

#define PMEM_BATCH 256u		/* operations in a sample, of each thread */
#define PMEM_ROUNDS 30u
#define PMEM_SAMPLES 20u
#define PMEM_PATH_CHARS 96
#define PMEM_ARGUMENTS_BYTES 4096

struct telepage_root {
	uint64_t slots[2][BENCH_PMEM_SLOTS];
	uint8_t set[BENCH_PMEM_SET_BYTES];
};

struct telepage_store {
	struct tp_pmem_pool *pool;
	struct telepage_root *root;
};

static void
telepage_close(void *store)
{
	struct telepage_store *telepage = store;

	tp_pmem_pool_close(telepage->pool);
	free(telepage);
}

static int
telepage_open(const char *path, void **store)
{
	struct telepage_store *telepage = calloc(1, sizeof(*telepage));
	struct tp_pmem_tx *tx;
	uint64_t offset;
	int ret;

	if (telepage == NULL)
		return -ENOMEM;
	ret = tp_pmem_pool_create(path, BENCH_PMEM_POOL_BYTES, NULL, &telepage->pool);
	if (ret < 0) {
		free(telepage);
		return ret;
	}
	*store = telepage;
	ret = tp_pmem_tx_begin(telepage->pool, &tx);
	if (ret < 0)
		return ret;
	ret = tp_pmem_tx_alloc(tx, sizeof(*telepage->root), TP_PMEM_ALLOC_RAW, &offset);
	if (ret == 0)
		ret = tp_pmem_tx_root_set(tx, "bench", offset);
	if (ret < 0) {
		tp_pmem_tx_abort(tx);
		return ret;
	}
	telepage->root = tp_pmem_ptr(telepage->pool, offset);
	return tp_pmem_tx_commit(tx, 0);
}

static int
telepage_update(void *store, uint64_t offset, size_t bytes, int value)
{
	struct telepage_store *telepage = store;
	uint8_t *at = telepage->root->set + offset;
	struct tp_pmem_tx *tx;
	int ret = tp_pmem_tx_begin(telepage->pool, &tx);

	if (ret < 0)
		return ret;
	ret = tp_pmem_tx_add_range(tx, at, bytes);
	if (ret < 0) {
		tp_pmem_tx_abort(tx);
		return ret;
	}
	memset(at, value, bytes);
	return tp_pmem_tx_commit(tx, 0);
}

static int
telepage_alloc(void *store, unsigned int thread, unsigned int slot, size_t bytes)
{
	struct telepage_store *telepage = store;

	return tp_pmem_alloc(telepage->pool, bytes, TP_PMEM_ALLOC_RAW,
		&telepage->root->slots[thread][slot]);
}

static int
telepage_free(void *store, unsigned int thread, unsigned int slot)
{
	struct telepage_store *telepage = store;

	return tp_pmem_free(telepage->pool, &telepage->root->slots[thread][slot]);
}

const struct bench_pmem_side bench_pmem_telepage = {
	"telepage", telepage_open, telepage_close, telepage_update, telepage_alloc, telepage_free,
};

/*
 * What is measured: a batch, by one thread, or by two at once in halves of the set.
 */
struct pmem_op;

struct pmem_kind {
	const char *name;
	unsigned int operations;	/* per turn of the batch */
	int (*run)(struct pmem_op *op, unsigned int thread);
};

struct pmem_op {
	const struct bench_pmem_side *side;
	void *store;
	const struct pmem_kind *kind;
	size_t bytes;
	unsigned int threads;
	uint64_t random[2];
	pthread_t helper;
	atomic_uint go;			/* batches that the helper shall have done */
	atomic_uint done;
	atomic_bool stop;
	atomic_int error;
	int cpu;
};

static int
run_updates(struct pmem_op *op, unsigned int thread)
{
	const uint64_t half = BENCH_PMEM_SET_BYTES / 2;
	int ret = 0;

	for (unsigned int i = 0; i < PMEM_BATCH && ret == 0; i++) {
		uint64_t at = bench_random(&op->random[thread]) % (half / op->bytes) * op->bytes;

		ret = op->side->update(op->store, thread * half + at, op->bytes, (int)i);
	}
	return ret;
}

/* Allocate a batch, free it in another order. */
static int
run_blocks(struct pmem_op *op, unsigned int thread)
{
	int ret = 0;

	for (unsigned int i = 0; i < PMEM_BATCH && ret == 0; i++)
		ret = op->side->alloc(op->store, thread, i, op->bytes);
	for (unsigned int i = 0; i < PMEM_BATCH && ret == 0; i++)
		ret = op->side->free(op->store, thread, i * 97 % PMEM_BATCH);
	return ret;
}

static const struct pmem_kind updates = { "tx_rate", 1, run_updates };
static const struct pmem_kind blocks = { "alloc_rate", 2, run_blocks };

static void *
helper_main(void *context)
{
	struct pmem_op *op = context;
	unsigned int done = 0;

	while (!atomic_load_explicit(&op->stop, memory_order_relaxed)) {
		/* acquire: pairs with the release in pmem_once() */
		if (atomic_load_explicit(&op->go, memory_order_acquire) == done) {
			rte_pause();
			continue;
		}
		if (op->kind->run(op, 1) < 0)
			atomic_store(&op->error, -EIO);
		/* release: pairs with the acquire in pmem_once() */
		atomic_store_explicit(&op->done, ++done, memory_order_release);
	}
	return NULL;
}

static int
pmem_once(void *context, uint64_t *ticks)
{
	struct pmem_op *op = context;
	uint64_t start = rte_rdtsc_precise();
	unsigned int turn = 0;
	int ret;

	if (op->threads == 2)
		turn = atomic_fetch_add_explicit(&op->go, 1, memory_order_release) + 1;
	ret = op->kind->run(op, 0);
	while (op->threads == 2 && atomic_load_explicit(&op->done, memory_order_acquire) != turn)
		rte_pause();
	*ticks = rte_rdtsc_precise() - start;
	return ret < 0 ? ret : atomic_load(&op->error);
}

/* The helper spins: it runs only while its side is measured. */
static void
pmem_resume(void *context)
{
	struct pmem_op *op = context;
	cpu_set_t set;

	if (op->threads != 2)
		return;
	atomic_store(&op->stop, false);
	atomic_store(&op->go, 0);
	atomic_store(&op->done, 0);
	if (pthread_create(&op->helper, NULL, helper_main, op) != 0) {
		atomic_store(&op->error, -EAGAIN);
		op->threads = 1;
		return;
	}
	CPU_ZERO(&set);
	CPU_SET(op->cpu, &set);
	pthread_setaffinity_np(op->helper, sizeof(set), &set);
}

static void
pmem_pause(void *context)
{
	struct pmem_op *op = context;

	if (op->threads != 2)
		return;
	atomic_store(&op->stop, true);
	pthread_join(op->helper, NULL);
}

static int
pmem_compare(struct bench *bench, void *const stores[2], const struct pmem_kind *kind,
	     size_t bytes, unsigned int threads)
{
	const struct bench_pmem_side *const sides[2] = {
		&bench_pmem_telepage, &bench_pmem_libpmemobj,
	};
	const struct bench_plan plan = {
		.rounds = PMEM_ROUNDS, .batch = PMEM_SAMPLES, .warmup = 2,
	};
	const double scale = bench->ns_per_tick / (PMEM_BATCH * kind->operations * threads);
	unsigned int count = stores[1] == NULL ? 1 : 2;
	struct pmem_op contexts[2];
	struct bench_op ops[2];
	char name[64];
	int ret;

	for (unsigned int i = 0; i < count; i++) {
		contexts[i] = (struct pmem_op){
			.side = sides[i], .store = stores[i], .kind = kind, .bytes = bytes,
			.threads = threads, .random = { 1, 2 }, .cpu = bench->cpus[1],
		};
		ops[i] = (struct bench_op){ pmem_once, pmem_resume, pmem_pause, &contexts[i], { 0 } };
	}
	ret = bench_interleave(ops, count, &plan);
	if (ret < 0)
		return ret;
	snprintf(name, sizeof(name), "pmem_%s_%zu_%u", kind->name, bytes, threads);
	bench_report(bench, &(struct bench_row){
		.name = name,
		.unit = "ns",
		.scale = scale,
		.samples = &ops[0].samples,
		.baseline_name = count == 2 ? sides[1]->name : NULL,
		.baseline_scale = scale,
		.baseline = count == 2 ? &ops[1].samples : NULL,
	});
	for (unsigned int i = 0; i < count; i++)
		bench_samples_fini(&ops[i].samples);
	return 0;
}

/*
 * libpmem reads its environment before main() begins: where the variables are not
 * there, the program starts itself again with them.
 */
int
bench_pmem_environment(void)
{
	static char arguments[PMEM_ARGUMENTS_BYTES];
	char *argv[64];
	FILE *file;
	size_t got;
	int argc = 0;

	if (getenv("PMEM_IS_PMEM_FORCE") != NULL)
		return 0;
	setenv("PMEM_IS_PMEM_FORCE", "1", 1);
	setenv("PMEM2_FORCE_GRANULARITY", "CACHE_LINE", 1);
	file = fopen("/proc/self/cmdline", "r");
	if (file == NULL)
		return -errno;
	got = fread(arguments, 1, sizeof(arguments) - 1, file);
	fclose(file);
	for (size_t at = 0; at < got && argc < 63; at += strlen(arguments + at) + 1)
		argv[argc++] = arguments + at;
	argv[argc] = NULL;
	execv("/proc/self/exe", argv);
	return -errno;
}

static int
store_open(const struct bench *bench, const struct bench_pmem_side *side, void **store)
{
	char path[PMEM_PATH_CHARS];
	int ret;

	snprintf(path, sizeof(path), BENCH_FOLDER "-%s", bench->prefix, side->name);
	ret = side->open(path, store);
	/* Open it stays usable; dead, the program leaves nothing. */
	unlink(path);
	if (ret < 0)
		fprintf(stderr, "telepage-bench: %s: cannot make a pool\n", side->name);
	return ret;
}

static int
pmem_run(struct bench *bench, const struct pmem_kind *kind, const size_t *sizes,
	 unsigned int size_count)
{
	void *stores[2] = { NULL, NULL };
	int ret = bench_pmem_environment();

	if (ret == 0)
		ret = bench_pin(bench, 0);
	if (ret == 0)
		ret = store_open(bench, &bench_pmem_telepage, &stores[0]);
	if (bench_pmem_libpmemobj.open == NULL)
		fprintf(stderr, "telepage-bench: built without libpmemobj-dev: nothing to compare with\n");
	else if (ret == 0)
		ret = store_open(bench, &bench_pmem_libpmemobj, &stores[1]);
	for (unsigned int threads = 1; threads <= 2; threads++)
		for (unsigned int i = 0; i < size_count && ret == 0; i++)
			ret = pmem_compare(bench, stores, kind, sizes[i], threads);
	if (stores[0] != NULL)
		bench_pmem_telepage.close(stores[0]);
	if (stores[1] != NULL)
		bench_pmem_libpmemobj.close(stores[1]);
	return ret;
}

int
bench_pmem_tx_rate(struct bench *bench)
{
	static const size_t sizes[] = { 64, 256, 4096 };

	return pmem_run(bench, &updates, sizes, RTE_DIM(sizes));
}

int
bench_pmem_alloc_rate(struct bench *bench)
{
	static const size_t sizes[] = { 64, 1024, 16384 };

	return pmem_run(bench, &blocks, sizes, RTE_DIM(sizes));
}
