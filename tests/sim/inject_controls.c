/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Calls to the node, and those that need nobody.
 */
#include <errno.h>
#include <stdlib.h>

#include "inject_calls.h"
#include "tp_inject.h"

static struct outcome
call_node_get(struct world *w)
{
	struct tp_control_node node;

	return of_error(tp_client_node_get(w->client, 1, &node));
}

static struct outcome
call_stats_get(struct world *w)
{
	uint64_t stats[TP_CONTROL_STATS_MAX];

	return of_error(tp_client_stats_get(w->client, stats));
}

static struct outcome
call_region_get(struct world *w)
{
	struct tp_control_region info;

	return of_error(tp_client_region_get(w->client, 0, &info));
}

static struct outcome
call_inject_get(struct world *w)
{
	struct tp_control_inject inject;
	int ret = tp_inject_get(w->client, 0, &inject);

	return of_error(ret == -ENOENT ? 0 : ret);
}

static struct outcome
call_inject(struct world *w)
{
	return of_error(tp_inject(w->client, &(struct tp_inject_spec){
		.kind = TP_INJECT_DUPLICATE, .rate_ppm = 1 }));
}

static struct outcome
call_inject_clear(struct world *w)
{
	return of_error(tp_inject_clear(w->client));
}

static struct outcome
call_region_create(struct world *w)
{
	const struct tp_client_region_config config = { .name = "new", .bytes = PAGE };
	struct tp_client_region *region;
	int ret = tp_client_region_create(w->client, &config, &region);

	if (ret == 0)
		tp_client_region_close(region);
	return of_error(ret);
}

static struct outcome
call_region_open(struct world *w)
{
	struct tp_client_region *region;
	int ret = tp_client_region_open(w->client, "r", &region);

	if (ret == 0)
		tp_client_region_close(region);
	return of_error(ret);
}

static struct outcome
call_region_open_at(struct world *w)
{
	uint64_t address = tp_client_region_info(w->region)->address, offset;
	struct tp_client_region *region;
	int ret = tp_client_region_open_at(w->client, address + 5, &region, &offset);

	if (ret == 0) {
		assert_int_equal(offset, 5);
		tp_client_region_close(region);
	}
	return of_error(ret);
}

static struct outcome
call_range_open(struct world *w)
{
	/* The default split: 32 bits of offset. The region was born on node 1. */
	uint64_t offset = tp_client_region_info(w->region)->address & UINT32_MAX, start;
	struct tp_client_region *region;
	int ret = tp_client_range_open(w->client, 1, offset, 8, &region, &start);

	if (ret == 0)
		tp_client_region_close(region);
	return of_error(ret);
}

static struct outcome
call_region_destroy(struct world *w)
{
	return of_error(tp_client_region_destroy(w->client, "spare"));
}

static struct outcome
call_region_reset(struct world *w)
{
	return of_error(tp_client_region_reset(w->client, "spare"));
}

static struct outcome
call_alloc(struct world *w)
{
	struct tp_ptr ptr;

	return of_error(tp_client_alloc(w->client, 2, 64, &ptr));
}

static struct outcome
call_free(struct world *w)
{
	return of_error(tp_client_free(w->client, w->ptr));
}

static struct outcome
call_generation_get(struct world *w)
{
	uint64_t generation;

	return of_error(tp_client_generation_get(w->client, w->ptr.address, &generation));
}

static struct outcome
call_generation_check(struct world *w)
{
	return of_error(tp_client_generation_check(w->client, w->ptr));
}

/* Calls that ask nobody. */
static struct outcome
call_lookups(struct world *w)
{
	enum tp_access access = tp_lookup(w->region, NEAR);

	assert_true(access == TP_ACCESS_NONE || access == TP_ACCESS_WRITE);
	assert_string_equal(tp_client_region_info(w->region)->name, "r");
	assert_int_equal(tp_client_node(w->client)->node_id, 1);
	assert_true(tp_client_tsc(w->client) == tp_sim_now(w->sim));
	assert_non_null(tp_thread_stats_get(w->thread));
	tp_client_is_alive(w->client);
	return of_error(0);
}

static struct outcome
call_threads(struct world *w)
{
	struct tp_thread *thread;

	assert_int_equal(tp_thread_register(w->client, &thread), 0);
	tp_thread_timeout_set(thread, MS);
	tp_thread_unregister(thread);
	return of_error(0);
}

/* With an access in flight, whose buffer is the caller's again. */
static struct outcome
call_unregister_busy(struct world *w)
{
	static uint64_t buffer;
	struct tp_thread *thread;
	struct tp_op op;

	assert_int_equal(tp_thread_register(w->client, &thread), 0);
	tp_submit_read(thread, w->region, FAR, &buffer, 8, &op);
	tp_thread_unregister(thread);
	buffer = 99;
	tp_sim_advance(w->sim, 10 * MS);
	assert_int_equal(buffer, 99);
	return of_error(0);
}

static struct outcome
call_region_close(struct world *w)
{
	struct tp_client_region *region = w->region;

	tp_client_region_close(region);
	w->region = NULL;
	return of_error(0);
}

static struct outcome
call_detach(struct world *w)
{
	tp_client_detach(w->extra);
	w->extra = NULL;
	return of_error(0);
}

const struct call inject_controls[] = {
	{ "tp_client_node_get", OF_CONTROL, call_node_get },
	{ "tp_client_stats_get", OF_CONTROL, call_stats_get },
	{ "tp_client_region_get", OF_CONTROL, call_region_get },
	{ "tp_inject_get", OF_CONTROL, call_inject_get },
	{ "tp_inject", OF_CONTROL, call_inject },
	{ "tp_inject_clear", OF_CONTROL, call_inject_clear },
	{ "tp_client_region_create", OF_STORE, call_region_create },
	{ "tp_client_region_open", OF_STORE, call_region_open },
	{ "tp_client_region_open_at", OF_STORE, call_region_open_at },
	{ "tp_client_range_open", OF_STORE, call_range_open },
	{ "tp_client_region_destroy", OF_STORE, call_region_destroy },
	{ "tp_client_region_reset", OF_STORE, call_region_reset },
	{ "tp_client_alloc", OF_HEAP, call_alloc },
	{ "tp_client_free", OF_HEAP, call_free },
	{ "tp_client_generation_get", OF_HEAP, call_generation_get },
	{ "tp_client_generation_check", OF_HEAP, call_generation_check },
	{ "tp_lookup and getters", OF_NOBODY, call_lookups },
	{ "tp_thread_register, _timeout_set, _unregister", OF_NOBODY, call_threads },
	{ "tp_thread_unregister with an access in flight", OF_NOBODY, call_unregister_busy },
	{ "tp_client_region_close", OF_NOBODY, call_region_close },
	{ "tp_client_detach", OF_NOBODY, call_detach },
	{ .name = NULL },
};
