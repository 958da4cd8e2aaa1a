/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The cluster of the tests for fuzz targets: made once, for all inputs. Node 1 is
 * what is fuzzed, and serves an honest client meanwhile.
 */
#ifndef FUZZ_CLUSTER_H
#define FUZZ_CLUSTER_H

#include <stdlib.h>
#include <string.h>

/* What cluster.h checks with, where no test is that could fail. */
#define assert_true(condition) do { if (!(condition)) abort(); } while (0)
#define assert_non_null(pointer) assert_true((pointer) != NULL)
#define assert_int_equal(a, b) assert_true((a) == (b))

#include "cluster.h"

#include <rte_log.h>

#define FUZZ_WORDS 4u
#define FUZZ_PAGE 4096u
#define FUZZ_STEPS_MAX 20000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz {
	struct cluster *cluster;
	struct cluster_client honest;
	struct tp_client_region *region;
	uint64_t added[FUZZ_WORDS];
};

static struct fuzz fuzz;

static void
fuzz_end(void)
{
	cluster_destroy(fuzz.cluster);
}

static inline void
fuzz_begin_with(bool inject)
{
	struct tp_client_region_config config = {
		.name = "honest",
		.bytes = FUZZ_WORDS * FUZZ_PAGE,
		.distribution = TP_REGION_STRIPED,
	};

	if (fuzz.cluster != NULL)
		return;
	rte_log_set_global_level(RTE_LOG_EMERG);
	fuzz.cluster = calloc(1, sizeof(*fuzz.cluster));
	assert_non_null(fuzz.cluster);
	fuzz.cluster->cache_slots = 16;
	fuzz.cluster->inject = inject;
	/* So that pages are encoded, and changes of them sent and taken. */
	fuzz.cluster->link_ns_per_kib = 8192;
	fuzz.cluster->base_slots = 32;
	cluster_begin(fuzz.cluster, (const uint16_t[]){ 2, 2 });
	atexit(fuzz_end);
	cluster_attach(fuzz.cluster, 1, &fuzz.honest);
	assert_int_equal(tp_client_region_create(fuzz.honest.client, &config, &fuzz.region), 0);
}

static inline void
fuzz_begin(void)
{
	fuzz_begin_with(false);
}

/* Whatever the others do: exact, and never VOID. */
static inline void
fuzz_honest(uint32_t word)
{
	uint64_t old;
	struct tp_result result = tp_atomic_add64(fuzz.honest.thread, fuzz.region,
		word % FUZZ_WORDS * FUZZ_PAGE, 1, &old);

	assert_true(tp_result_is_ok(result));
	assert_true(old == fuzz.added[word % FUZZ_WORDS]++);
}

static inline struct tp_control *
fuzz_node(void)
{
	return fuzz.cluster->nodes[1].control;
}

/* A client is gone with all that it held, and everything goes on. */
static inline void
fuzz_client_end(int id)
{
	struct tp_worker_usage usage;
	uint64_t until;
	uint16_t w;

	until = fuzz.cluster->now + 1000 * CLUSTER_MS;
	while (tp_control_client_remove(fuzz_node(), id, fuzz.cluster->now) == -EAGAIN)
		cluster_step(fuzz.cluster);
	while (tp_control_client_count(fuzz_node()) != 1) {
		assert_true(fuzz.cluster->now < until);
		cluster_step(fuzz.cluster);
	}
	for (w = 0; w < FUZZ_WORDS; w++)
		fuzz_honest(w);
	for (w = 0; w < 2; w++) {
		do {
			assert_true(fuzz.cluster->now < until);
			cluster_step(fuzz.cluster);
			tp_worker_usage_get(tp_control_worker(fuzz_node(), w), &usage);
		} while (usage.requests != 0 || usage.held != 0 || usage.quarantined != 0 ||
			 usage.guard_waits != 0);
	}
}

/* What is left of an input. */
struct input {
	const uint8_t *data;
	size_t size;
};

static inline uint64_t
input_take(struct input *input, size_t bytes)
{
	uint64_t value = 0;
	size_t part = bytes < input->size ? bytes : input->size;

	memcpy(&value, input->data, part);
	input->data += part;
	input->size -= part;
	return value;
}

static inline void
input_bytes(struct input *input, void *to, size_t bytes)
{
	size_t part = bytes < input->size ? bytes : input->size;

	memset(to, 0, bytes);
	memcpy(to, input->data, part);
	input->data += part;
	input->size -= part;
}

/* A request for the control side of node 1, to its end. */
static inline void
fuzz_call(int client, const struct tp_control_request *request,
	struct tp_control_response *response)
{
	uint32_t steps = 0;
	int fds[8];
	int number;
	int ret;

	number = tp_control_call(fuzz_node(), client, request, fuzz.cluster->now);
	assert_true(number >= 0 || number == -EAGAIN);
	if (number < 0)
		return;
	while ((ret = tp_control_call_result(fuzz_node(), number, response, fds, 8)) ==
	       -EINPROGRESS) {
		assert_true(steps++ < FUZZ_STEPS_MAX);
		cluster_step(fuzz.cluster);
	}
	assert_int_equal(ret, 0);
	assert_true(response->reason < TP_REASON_COUNT && response->fd_count <= 8);
}

#endif /* FUZZ_CLUSTER_H */
