/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Three whole nodes in virtual time: what their tests have in common.
 */
#ifndef NODE_TEST_CLUSTER_SETUP_H
#define NODE_TEST_CLUSTER_SETUP_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cluster.h"

#define PAGE 4096u

static inline struct tp_client_region *
region_make(struct cluster_client *client, const char *name, uint32_t pages,
	enum tp_region_distribution distribution)
{
	struct tp_client_region_config config = {
		.name = name,
		.bytes = (uint64_t)pages * PAGE,
		.distribution = distribution,
	};
	struct tp_client_region *region;

	assert_int_equal(tp_client_region_create(client->client, &config, &region), 0);
	return region;
}

static inline struct tp_client_region *
region_open(struct cluster_client *client, const char *name)
{
	struct tp_client_region *region;

	assert_int_equal(tp_client_region_open(client->client, name, &region), 0);
	return region;
}

static inline void
write_ok(struct cluster_client *client, struct tp_client_region *region, uint64_t offset,
	uint64_t value)
{
	struct tp_result result = tp_write(client->thread, region, offset, &value, sizeof(value));

	if (!tp_result_is_ok(result))
		fail_msg("write at %#lx: %s", offset, tp_reason_name(result.reason));
}

static inline uint64_t
read_ok(struct cluster_client *client, struct tp_client_region *region, uint64_t offset)
{
	uint64_t value = 0;
	struct tp_result result = tp_read(client->thread, region, offset, &value, sizeof(value));

	if (!tp_result_is_ok(result))
		fail_msg("read at %#lx: %s", offset, tp_reason_name(result.reason));
	return value;
}

/*
 * Nothing is under way anywhere, but requests to a home that is down: those
 * wait for what becomes of it.
 */
static inline void
assert_idle_but_requests(struct cluster *cluster, bool requests)
{
	uint16_t id;
	uint16_t w;

	cluster_run(cluster, 300 * CLUSTER_MS);
	for (id = 1; id <= CLUSTER_NODES; id++) {
		for (w = 0; cluster->nodes[id].control != NULL && w < cluster->workers; w++) {
			struct tp_worker *worker =
				tp_control_worker(cluster->nodes[id].control, w);
			struct tp_coherence_usage engine;
			struct tp_worker_usage own;

			tp_worker_usage_get(worker, &own);
			tp_coherence_usage_get(worker->coherence, &engine);
			assert_int_equal(own.requests, 0);
			assert_int_equal(own.held, 0);
			assert_int_equal(own.stashed, 0);
			assert_int_equal(own.local, 0);
			assert_int_equal(own.guard_waits, 0);
			assert_int_equal(own.quarantined, 0);
			if (!requests)
				assert_int_equal(engine.requests, 0);
			assert_int_equal(engine.waiters, 0);
			assert_int_equal(engine.busy, 0);
			assert_int_equal(engine.deferred, 0);
		}
	}
}

static inline void
assert_idle(struct cluster *cluster)
{
	assert_idle_but_requests(cluster, false);
}

#endif /* NODE_TEST_CLUSTER_SETUP_H */
