/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Samples, and the loop that takes them from several operations in turn. A
 * sorted array instead of a histogram: a run has some 10^5 samples, and the
 * quantiles are exact.
 */
#include <errno.h>
#include <stdlib.h>

#include <rte_debug.h>

#include "bench.h"

int
bench_samples_init(struct bench_samples *samples, size_t capacity)
{
	samples->ticks = malloc(capacity * sizeof(*samples->ticks));
	if (samples->ticks == NULL)
		return -ENOMEM;
	samples->count = 0;
	samples->capacity = capacity;
	samples->sorted = false;
	/* Touch it all now, not in the measured loop. */
	for (size_t i = 0; i < capacity; i++)
		samples->ticks[i] = 0;
	return 0;
}

void
bench_samples_fini(struct bench_samples *samples)
{
	free(samples->ticks);
	*samples = (struct bench_samples){ 0 };
}

void
bench_samples_add(struct bench_samples *samples, uint64_t ticks)
{
	RTE_ASSERT(samples->count < samples->capacity);
	samples->ticks[samples->count++] = ticks;
	samples->sorted = false;
}

static int
ticks_compare(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a;
	uint64_t right = *(const uint64_t *)b;

	return (left > right) - (left < right);
}

uint64_t
bench_samples_quantile(struct bench_samples *samples, double share)
{
	RTE_ASSERT(samples->count > 0);
	RTE_ASSERT(share >= 0.0 && share <= 1.0);
	if (!samples->sorted) {
		qsort(samples->ticks, samples->count, sizeof(*samples->ticks), ticks_compare);
		samples->sorted = true;
	}
	return samples->ticks[(size_t)(share * (double)(samples->count - 1) + 0.5)];
}

double
bench_samples_mean(const struct bench_samples *samples)
{
	double sum = 0;

	for (size_t i = 0; i < samples->count; i++)
		sum += (double)samples->ticks[i];
	return sum / (double)samples->count;
}

static int
op_batch(struct bench_op *op, const struct bench_plan *plan)
{
	uint64_t ticks;
	int ret = 0;

	if (op->resume != NULL)
		op->resume(op->context);
	for (unsigned int i = 0; i < plan->warmup && ret == 0; i++)
		ret = op->once(op->context, &ticks);
	for (unsigned int i = 0; i < plan->batch && ret == 0; i++) {
		ret = op->once(op->context, &ticks);
		if (ret == 0)
			bench_samples_add(&op->samples, ticks);
	}
	if (op->pause != NULL)
		op->pause(op->context);
	return ret;
}

int
bench_interleave(struct bench_op *ops, unsigned int count, const struct bench_plan *plan)
{
	int ret = 0;

	for (unsigned int i = 0; i < count; i++)
		ops[i].samples = (struct bench_samples){ 0 };
	for (unsigned int i = 0; i < count && ret == 0; i++)
		ret = bench_samples_init(&ops[i].samples, (size_t)plan->rounds * plan->batch);
	for (unsigned int round = 0; round < plan->rounds; round++)
		for (unsigned int i = 0; i < count && ret == 0; i++)
			ret = op_batch(&ops[i], plan);
	if (ret < 0)
		for (unsigned int i = 0; i < count; i++)
			bench_samples_fini(&ops[i].samples);
	return ret;
}
