/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Loans of slots against rte_mempool: one thread with a cache on both sides,
 * and two processes that contend without one. Bursts of 32 loans and their
 * returns, slot by slot, as a node's receive path does.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <rte_cycles.h>
#include <rte_errno.h>
#include <rte_mempool.h>

#include "bench.h"
#include "tp_slot_pool.h"

#define POOL_SLOTS 16384u
#define POOL_SLOT_BYTES 64u		/* nobody touches the slots themselves */
#define POOL_CACHE 256u
#define POOL_BURST 32u
#define POOL_BURSTS 64u			/* in one sample */
#define POOL_OVERLAP_TRIES 10000u
#define POOL_HUGEPAGES 48u

struct pool_bench;

/* One of the things compared: a burst of loans and returns. */
struct pool_subject {
	const char *name;
	int (*burst)(struct pool_bench *pools);
};

struct pool_contention {
	_Atomic(const struct pool_subject *) subject;
	_Atomic uint64_t bursts;	/* done by the peer */
};

/* Everything; the peer has a copy, and shares what lies in shared memory. */
struct pool_bench {
	struct tp_segment *segment;
	struct tp_slot_pool *slots;
	struct tp_slot_cache cache;		/* POOL_CACHE slots */
	struct tp_slot_cache hint;		/* no slots: where to look first */
	struct rte_mempool *cached;
	struct rte_mempool *uncached;
	struct pool_contention *contention;	/* shared with the peer */
	struct bench_peer peer;
};

/* Context of one operation. */
struct pool_op {
	struct pool_bench *pools;
	const struct pool_subject *subject;
};

static int
burst_slot_cache(struct tp_slot_cache *cache)
{
	uint32_t slots[POOL_BURST];
	int ret = 0;

	for (unsigned int i = 0; i < POOL_BURST; i++) {
		slots[i] = tp_slot_cache_loan(cache);
		if (unlikely(slots[i] == TP_SLOT_NONE))
			return -rte_errno;
	}
	for (unsigned int i = 0; i < POOL_BURST; i++)
		ret |= tp_slot_cache_return(cache, slots[i]);
	return ret;
}

static int
burst_slots_cached(struct pool_bench *pools)
{
	return burst_slot_cache(&pools->cache);
}

static int
burst_slots_hinted(struct pool_bench *pools)
{
	return burst_slot_cache(&pools->hint);
}

static int
burst_slots_plain(struct pool_bench *pools)
{
	uint32_t slots[POOL_BURST];
	int ret = 0;

	for (unsigned int i = 0; i < POOL_BURST; i++) {
		slots[i] = tp_slot_pool_loan(pools->slots);
		if (unlikely(slots[i] == TP_SLOT_NONE))
			return -rte_errno;
	}
	for (unsigned int i = 0; i < POOL_BURST; i++)
		ret |= tp_slot_pool_return(pools->slots, slots[i]);
	return ret;
}

static int
burst_mempool(struct rte_mempool *mempool)
{
	void *objects[POOL_BURST];
	int ret = 0;

	for (unsigned int i = 0; i < POOL_BURST; i++)
		ret |= rte_mempool_get(mempool, &objects[i]);
	if (unlikely(ret < 0))
		return -ENOBUFS;
	for (unsigned int i = 0; i < POOL_BURST; i++)
		rte_mempool_put(mempool, objects[i]);
	return 0;
}

static int
burst_mempool_cached(struct pool_bench *pools)
{
	return burst_mempool(pools->cached);
}

static int
burst_mempool_uncached(struct pool_bench *pools)
{
	return burst_mempool(pools->uncached);
}

static const struct pool_subject slots_cached = { "slot_cache", burst_slots_cached };
static const struct pool_subject slots_hinted = { "slot_pool", burst_slots_hinted };
static const struct pool_subject slots_plain = { "slot_pool_plain", burst_slots_plain };
static const struct pool_subject mempool_cached = { "rte_mempool_cache", burst_mempool_cached };
static const struct pool_subject mempool_uncached = { "rte_mempool", burst_mempool_uncached };

static int
pool_once(void *context, uint64_t *ticks)
{
	const struct pool_op *op = context;
	uint64_t start = rte_rdtsc_precise();
	int ret = 0;

	for (unsigned int i = 0; i < POOL_BURSTS && ret == 0; i++)
		ret = op->subject->burst(op->pools);
	*ticks = rte_rdtsc_precise() - start;
	return ret;
}

/* The same while the peer does it, too: not while the kernel lets one run only. */
static int
contend_once(void *context, uint64_t *ticks)
{
	const struct pool_op *op = context;
	_Atomic uint64_t *bursts = &op->pools->contention->bursts;
	uint64_t before;
	int ret;

	for (unsigned int i = 0; i < POOL_OVERLAP_TRIES; i++) {
		before = atomic_load_explicit(bursts, memory_order_relaxed);
		ret = pool_once(context, ticks);
		if (ret < 0 || atomic_load_explicit(bursts, memory_order_relaxed) - before >=
		    POOL_BURSTS / 2)
			return ret;
	}
	fprintf(stderr, "telepage-bench: the other process does not run beside this one\n");
	return -EBUSY;
}

static void
contend_resume(void *context)
{
	const struct pool_op *op = context;

	/* published to the peer by the release of its command word */
	atomic_store_explicit(&op->pools->contention->subject, op->subject, memory_order_relaxed);
	bench_peer_resume(&op->pools->peer);
}

static void
contend_pause(void *context)
{
	const struct pool_op *op = context;

	bench_peer_pause(&op->pools->peer);
}

static int
pools_caches_init(struct pool_bench *pools)
{
	int ret;

	ret = tp_slot_cache_init(&pools->cache, pools->slots, POOL_CACHE);
	return ret < 0 ? ret : tp_slot_cache_init(&pools->hint, pools->slots, 0);
}

/* The peer contends for whatever is being measured. */
static int
pool_peer(struct bench *bench, struct bench_control *control, void *context)
{
	struct pool_bench *pools = context;
	int ret;

	pools->slots = tp_slot_pool_attach(pools->segment, 0, 1);
	if (pools->slots == NULL)
		return -rte_errno;
	ret = pools_caches_init(pools);
	if (ret < 0)
		return ret;
	bench_peer_ready(control);
	while (ret == 0 && bench_peer_may_run(control)) {
		ret = atomic_load_explicit(&pools->contention->subject,
					   memory_order_relaxed)->burst(pools);
		atomic_fetch_add_explicit(&pools->contention->bursts, 1, memory_order_relaxed);
	}
	tp_slot_pool_detach(pools->slots);
	return ret;
}

static int
pools_make(struct pool_bench *pools, struct bench *bench)
{
	const struct tp_segment_config segment = {
		.type = bench->hugepages > 0 ? TP_SEGMENT_HUGE : TP_SEGMENT_SHARED,
		.bytes = tp_slot_pool_bytes(POOL_SLOT_BYTES, POOL_SLOTS),
		.name = "bench",
	};
	const struct tp_slot_pool_config slots = {
		.slot_bytes = POOL_SLOT_BYTES,
		.slot_count = POOL_SLOTS,
	};
	int ret;

	pools->contention = mmap(NULL, sizeof(*pools->contention), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (pools->contention == MAP_FAILED)
		return -errno;
	ret = tp_segment_create(&segment, &pools->segment);
	if (ret < 0)
		return ret;
	pools->slots = tp_slot_pool_create(pools->segment, &slots);
	/* In memory that a forked process shares: EAL maps its memory so. */
	pools->cached = rte_mempool_create("cached", POOL_SLOTS - 1, POOL_SLOT_BYTES, POOL_CACHE, 0,
					   NULL, NULL, NULL, NULL, SOCKET_ID_ANY, 0);
	pools->uncached = rte_mempool_create("uncached", POOL_SLOTS - 1, POOL_SLOT_BYTES, 0, 0,
					     NULL, NULL, NULL, NULL, SOCKET_ID_ANY, 0);
	if (pools->slots == NULL || pools->cached == NULL || pools->uncached == NULL)
		return -rte_errno;
	return pools_caches_init(pools);
}

/* Measure subjects against the last one of them, and report. */
static int
pools_compare(struct bench *bench, struct pool_bench *pools, const char *prefix,
	      const struct pool_subject *const *subjects, unsigned int count, bool contended)
{
	const struct bench_plan plan = { .rounds = 40, .batch = 100, .warmup = 10 };
	const double scale = bench->ns_per_tick / (POOL_BURST * POOL_BURSTS);
	struct pool_op contexts[3];
	struct bench_op ops[3];
	char name[64];
	int ret;

	RTE_ASSERT(count <= RTE_DIM(ops));
	for (unsigned int i = 0; i < count; i++) {
		contexts[i] = (struct pool_op){ pools, subjects[i] };
		ops[i] = (struct bench_op){
			.once = contended ? contend_once : pool_once,
			.resume = contended ? contend_resume : NULL,
			.pause = contended ? contend_pause : NULL,
			.context = &contexts[i],
		};
	}
	ret = bench_interleave(ops, count, &plan);
	if (ret < 0)
		return ret;
	for (unsigned int i = 0; i + 1 < count; i++) {
		snprintf(name, sizeof(name), "%s_%s", prefix, subjects[i]->name);
		bench_report(bench, &(struct bench_row){
			.name = name,
			.unit = "ns",
			.scale = scale,
			.samples = &ops[i].samples,
			.baseline_name = subjects[count - 1]->name,
			.baseline_scale = scale,
			.baseline = &ops[count - 1].samples,
		});
	}
	for (unsigned int i = 0; i < count; i++)
		bench_samples_fini(&ops[i].samples);
	return 0;
}

int
bench_pool_loan_rate(struct bench *bench)
{
	static const struct pool_subject * const alone[] = { &slots_cached, &mempool_cached };
	static const struct pool_subject * const contended[] = {
		&slots_hinted, &slots_plain, &mempool_uncached,
	};
	struct pool_bench pools = { 0 };
	int ret;

	bench_hugepages_reserve(bench, POOL_HUGEPAGES);
	ret = bench_eal_start(bench, 0, NULL, 0);
	if (ret == 0)
		ret = pools_make(&pools, bench);
	if (ret == 0)
		ret = pools_compare(bench, &pools, "pool_loan_rate_1", alone, RTE_DIM(alone),
				    false);
	/* Forked now that both pools exist: it shares their memory. */
	if (ret == 0)
		ret = bench_peer_start(&pools.peer, bench, 1, pool_peer, &pools);
	if (ret == 0)
		ret = bench_peer_await(&pools.peer);
	if (ret == 0)
		ret = pools_compare(bench, &pools, "pool_loan_rate_2", contended,
				    RTE_DIM(contended), true);
	bench_peer_stop(&pools.peer);
	tp_slot_pool_detach(pools.slots);
	tp_segment_destroy(pools.segment);
	return ret;
}
