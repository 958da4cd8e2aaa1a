/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Client programs: the client library attached by its backend, one thread each.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_common.h>

#include "cluster.h"
#ifdef TP_MUTANTS
#include "mutants.h"
#endif
#include "tp_types.h"

#define CLIENT_LOOK (10 * SIM_MS)	/* who waits looks at the node so often, as tp_op_wait() does */

static struct cluster_client *
client_of(struct cluster *cluster, uint32_t n, uint32_t c)
{
	return &cluster->nodes[n].clients[c];
}

void
cluster_client_wake(struct cluster *cluster, uint32_t n, uint32_t c, uint64_t delay)
{
	struct cluster_client *client = client_of(cluster, n, c);
	uint64_t at = cluster->now + delay;

	if (at >= client->wake_at)
		return;
	client->wake_at = at;
	cluster_event_add(cluster, delay, EVENT_CLIENT, n, cluster->nodes[n].boot, at << 4 | c);
}

static void
rest(struct cluster *cluster, uint32_t n, uint32_t c, uint64_t delay)
{
	client_of(cluster, n, c)->wake_at = UINT64_MAX;
	cluster_client_wake(cluster, n, c, delay);
}

/* A control call that the node can answer at once, or not now. */
static int
control(void *ctx, const struct tp_control_request *request,
	struct tp_control_response *response, int *fds, unsigned int fd_max)
{
	struct cluster_client *client = ctx;
	struct cluster_node *node = client->pin.address;
	int ret;
	uint32_t i;

	/* One that was begun before is still the same question. */
	if (client->call < 0)
		client->call = tp_control_call(node->control, client->id, request, node->tsc);
	if (client->call < 0)
		return client->call;
	tp_control_poll(node->control, node->tsc);
	ret = tp_control_call_result(node->control, client->call, response, fds, fd_max);
	if (ret == -EINPROGRESS)
		return ret;
	client->call = -1;
	for (i = 0; ret == 0 && i < response->fd_count && i < fd_max; i++)
		fds[i] = dup(fds[i]);
	return ret;
}

/* Attach and open the region; false: not now. */
static bool
attach(struct cluster *cluster, uint32_t n, struct cluster_client *client)
{
	struct cluster_node *node = &cluster->nodes[n];
	struct tp_client_backend backend = { .control = control, .ctx = client };

	if (client->client != NULL)
		return true;
	if (tp_control_state_get(node->control) != TP_CONTROL_MEMBER)
		return false;
	client->id = tp_control_client_add(node->control, 1, node->tsc);
	if (client->id < 0)
		return false;
	client->call = -1;
	backend.node = tp_control_abi_node(node->control);
	backend.slots = tp_control_slots(node->control, &backend.slot_bytes_total);
	backend.segment = tp_control_client_segment(node->control, client->id);
	backend.virtual_tsc = &node->tsc;
	if (tp_client_attach_backend(&backend, &client->client) != 0 ||
	    tp_thread_register(client->client, &client->thread) != 0)
		cluster_fail(cluster, "node %u: client cannot attach", n + 1);
	return true;
}

static bool
open_region(struct cluster *cluster, uint32_t n, struct cluster_client *client)
{
	struct tp_client_region *region;
	const struct tp_control_region *info;
	int ret;

	/* control() finds its node there; the pin is in use in another state only. */
	client->pin.address = &cluster->nodes[n];
	ret = tp_client_region_open(client->client, CLUSTER_REGION, &region);
	if (ret != 0)
		return false;
	info = tp_client_region_info(region);
	client->region = region;
	client->generation = cluster_generation(cluster, info->generation);
	return true;
}

static uint64_t
think_ns(struct cluster *cluster, uint32_t n, uint32_t c)
{
	if (workload_is_paired(&cluster->workload, n * SIM_CLIENTS_MAX + c))
		return 1;
	if (cluster->sweeping || sim_rng_chance(&cluster->rng, 850))
		return sim_rng_below(&cluster->rng, 60000);
	return sim_rng_between(&cluster->rng, SIM_MS, 80 * SIM_MS);
}

static void
end(struct cluster *cluster, uint32_t n, uint32_t c, struct tp_result result, bool has_value,
    uint64_t value)
{
	struct cluster_client *client = client_of(cluster, n, c);

	cluster_trace(cluster, "end", n << 8 | c, (uint64_t)result.reason << 8 | result.effect,
		      has_value ? value : 0);
	workload_end(&cluster->workload, n * SIM_CLIENTS_MAX + c, &client->op, result, has_value,
		value);
	client->state = CLIENT_THINKING;
	if (result.reason == TP_GENERATION) {
		/* The handle is of an older generation: open again. */
		tp_client_region_close(client->region);
		client->region = NULL;
		client->state = CLIENT_STARTING;
	}
	rest(cluster, n, c, think_ns(cluster, n, c));
}

/*
 * Whoever waits for a node that died, stands still or is cut off is told in time:
 * counted from when that began, or from the begin of the access if that was later.
 * In seeds of all kinds faults may hide the silence, or keep a node from acting on
 * it, so all of them put it off; so does that the asking node itself is no member, or
 * its client does not run.
 */
static void
check_notice(struct cluster *cluster, uint32_t n, const struct cluster_client *client)
{
	uint64_t since = RTE_MAX(RTE_MAX(client->begun_at, cluster->silent_at),
		client->expires_at);
	uint64_t excused = RTE_MAX(cluster->disturbed_until,
		RTE_MAX(cluster->nodes[n].apart_at, client->paused_until));

	if (cluster->now > RTE_MAX(since, excused) + CLUSTER_NOTICE)
		cluster_fail(cluster, "node %u: an access to page %u has waited %u ms, the last silence is "
			     "%u ms old", n + 1, client->op.page,
			     (unsigned int)((cluster->now - client->begun_at) / SIM_MS),
			     (unsigned int)((cluster->now - cluster->silent_at) / SIM_MS));
	if (since >= excused && cluster->now > since &&
	    cluster->now - since > cluster->result->notice_ns)
		cluster->result->notice_ns = cluster->now - since;
}

/* The access is over; a pin is held on for a while. */
static void
access_done(struct cluster *cluster, uint32_t n, uint32_t c)
{
	struct cluster_client *client = client_of(cluster, n, c);
	struct tp_result result = client->access.result;
	bool ok = tp_result_is_ok(result);

	check_notice(cluster, n, client);
	client->unknown = client->op.want == WORKLOAD_ATOMIC &&
		result.effect == TP_EFFECT_UNKNOWN && sim_rng_chance(&cluster->rng, 800);
	if (ok && client->op.pinned) {
		client->state = CLIENT_PINNED;
		rest(cluster, n, c, sim_rng_between(&cluster->rng, 0,
			sim_rng_chance(&cluster->rng, 150) ? 15 * SIM_MS : 2 * SIM_MS));
		return;
	}
	if (client->op.want == WORKLOAD_ATOMIC)
		end(cluster, n, c, result, ok, client->access.value);
	else
		end(cluster, n, c, result, ok && client->op.want == WORKLOAD_READ, client->buffer);
}

static void
unpin(struct cluster *cluster, uint32_t n, uint32_t c)
{
	struct cluster_client *client = client_of(cluster, n, c);
	uint64_t *at = (uint64_t *)client->pin.address + client->op.word, value = *at;
	struct tp_result result;

	if (client->op.want == WORKLOAD_WRITE)
		*at = client->op.operand;
	result = tp_unpin(client->thread, &client->pin);
	if (!tp_result_is_ok(result))
		result = client->op.want == WORKLOAD_WRITE ?
			tp_result_unknown(result.reason) : tp_result_void(result.reason);
	end(cluster, n, c, result, client->op.want == WORKLOAD_READ, value);
}

static void
settled(struct cluster *cluster, uint32_t n, uint32_t c)
{
	struct cluster_client *client = client_of(cluster, n, c);
	struct tp_result result = client->access.result;
	bool ok = tp_result_is_ok(result);

	check_notice(cluster, n, client);
	cluster_trace(cluster, "settled", n << 8 | c, (uint64_t)result.reason << 8 | result.effect,
		      ok ? client->access.value : 0);
	if (ok || result.effect == TP_EFFECT_NOT_DONE)
		workload_settle(&cluster->workload, &client->op, ok, client->access.value);
	/* Some ask again. */
	client->unknown = result.effect == TP_EFFECT_UNKNOWN && !cluster->sweeping &&
		sim_rng_chance(&cluster->rng, 300);
	client->state = CLIENT_THINKING;
	rest(cluster, n, c, think_ns(cluster, n, c));
}

/* The word, then others of any pages: a long access asks for those at once. */
static bool
submit_long(struct cluster *cluster, struct cluster_client *client, uint64_t offset)
{
	uint32_t count = 2 + sim_rng_below(&cluster->rng, SIM_PAGES_MAX - 1), i;

	client->vectors[0] = (struct tp_vector){ .offset = offset, .buffer = &client->buffer,
		.bytes = 8 };
	for (i = 1; i < count; i++)
		client->vectors[i] = (struct tp_vector){
			.offset = (uint64_t)sim_rng_below(&cluster->rng, cluster->workload.pages) *
				CLUSTER_PAGE,
			.buffer = &client->rest[i], .bytes = 8 };
	return tp_submit_readv(client->thread, client->region, client->vectors, count,
		&client->access);
}

static bool
submit(struct cluster *cluster, struct cluster_client *client)
{
	struct workload_op *op = &client->op;
	uint64_t page = (uint64_t)op->page * CLUSTER_PAGE, offset = page + op->word * 8;
	struct tp_op *access = &client->access;

	switch (op->want) {
	case WORKLOAD_READ:
	case WORKLOAD_WRITE:
		if (op->pinned)
			return tp_submit_pin(client->thread, client->region, page,
				SIM_WORDS * 8, op->want == WORKLOAD_READ ? TP_ACCESS_READ :
				TP_ACCESS_WRITE, &client->pin, access);
		client->buffer = op->operand;
		if (op->want == WORKLOAD_READ && !cluster->sweeping &&
		    sim_rng_chance(&cluster->rng, 250))
			return submit_long(cluster, client, offset);
		if (op->want == WORKLOAD_READ)
			return tp_submit_read(client->thread, client->region, offset,
				&client->buffer, 8, access);
		return tp_submit_write(client->thread, client->region, offset, &client->buffer, 8,
			access);
	case WORKLOAD_ATOMIC:
		return tp_submit_atomic(client->thread, client->region, offset,
			(enum tp_atomic_op)op->atomic_op, 8, op->operand, op->compare, access);
	case WORKLOAD_FLUSH:
		return tp_submit_flush(client->thread, client->region, page, CLUSTER_PAGE, access);
	default:
		return tp_submit_invalidate(client->thread, client->region, page, CLUSTER_PAGE,
			access);
	}
}

/* How long the next call may take. */
static void
deadline_set(struct cluster *cluster, uint32_t n, struct cluster_client *client, uint64_t timeout)
{
	tp_thread_timeout_set(client->thread, timeout);
	client->expires_at = 0;
	client->begun_at = cluster->now;
	client->deadline = cluster_global_time(cluster, n, cluster_local_now(cluster, n) + timeout);
}

static void
settle(struct cluster *cluster, uint32_t n, uint32_t c)
{
	struct cluster_client *client = client_of(cluster, n, c);
	/* Until then it may be sent yet: nobody can say that it never was. */
	uint64_t expires = cluster_global_time(cluster, n, client->access.expires_tsc);

	deadline_set(cluster, n, client, sim_rng_between(&cluster->rng, SIM_MS, 300 * SIM_MS));
	client->expires_at = expires;
	client->state = CLIENT_SETTLING;
	cluster_trace(cluster, "settle", n << 8 | c, client->op.page, client->access.sequence);
	if (tp_submit_settle(client->thread, client->region, &client->access)) {
		settled(cluster, n, c);
		return;
	}
	cluster_node_wake(cluster, n, cluster->now + sim_rng_below(&cluster->rng, 1000));
	rest(cluster, n, c, RTE_MIN(client->deadline - cluster->now, CLIENT_LOOK));
}

static void
begin(struct cluster *cluster, uint32_t n, uint32_t c)
{
	struct cluster_client *client = client_of(cluster, n, c);
	uint32_t index = n * SIM_CLIENTS_MAX + c, words = cluster->workload.words;
	uint64_t timeout = sim_rng_between(&cluster->rng, 30 * SIM_MS, 400 * SIM_MS);

	if (client->unknown) {
		settle(cluster, n, c);
		return;
	}
	if (client->ops_left == 0) {
		client->wake_at = UINT64_MAX;
		return;
	}
	client->ops_left--;
	/* Long enough to see whether the notice comes first. */
	if (cluster->theme != THEME_ALL)
		timeout = CLUSTER_NOTICE + timeout / 2;
	if (cluster->sweeping) {
		timeout = 1000 * SIM_MS;
		workload_begin_read(&cluster->workload, index, client->generation,
			client->ops_left / words, client->ops_left % words, &client->op);
	} else {
		workload_begin(&cluster->workload, index, client->generation, &client->op);
		/* Some do not wait: what they asked for is on its way when they ask after it. */
		if (client->op.want == WORKLOAD_ATOMIC && cluster->theme == THEME_ALL &&
		    sim_rng_chance(&cluster->rng, 100))
			timeout = 1 + sim_rng_below(&cluster->rng, 200 * SIM_US);
	}
	deadline_set(cluster, n, client, timeout);
	memset(&client->access, 0, sizeof(client->access));
	client->state = CLIENT_BUSY;
	cluster_trace(cluster, "begin", n << 8 | c, (uint64_t)client->op.want << 16 |
		      client->op.page << 8 | client->op.word, client->op.operand);
	if (submit(cluster, client)) {
		access_done(cluster, n, c);
		return;
	}
	cluster_node_wake(cluster, n, cluster->now + sim_rng_below(&cluster->rng, 1000));
	rest(cluster, n, c, RTE_MIN(client->deadline - cluster->now, CLIENT_LOOK));
}

static void
busy(struct cluster *cluster, uint32_t n, uint32_t c)
{
	struct cluster_client *client = client_of(cluster, n, c);

	client->wake_at = UINT64_MAX;
	if (tp_op_poll(client->thread, &client->access)) {
		if (client->state == CLIENT_SETTLING)
			settled(cluster, n, c);
		else
			access_done(cluster, n, c);
		return;
	}
	if (cluster->now > client->deadline + 10 * SIM_US)
		cluster_fail(cluster, "node %u client %u: an operation outlives its deadline",
			     n + 1, c);
	/* It may have asked again. */
	cluster_node_wake(cluster, n, cluster->now + sim_rng_below(&cluster->rng, 1000));
	rest(cluster, n, c, client->deadline >= cluster->now ?
	     RTE_MIN(client->deadline - cluster->now + 1, CLIENT_LOOK) : 1);
}

void
cluster_client_event(struct cluster *cluster, uint32_t n, uint32_t c)
{
	struct cluster_client *client = client_of(cluster, n, c);

	client->wake_at = UINT64_MAX;
	if (!cluster->nodes[n].alive)
		return;
	if (cluster->now < client->paused_until) {
		/* It does not run; its deadline passes meanwhile. */
		if (client->deadline < client->paused_until)
			client->deadline = client->paused_until;
		rest(cluster, n, c, client->paused_until - cluster->now);
		return;
	}
	cluster_clock_set(cluster, n);
#ifdef TP_MUTANTS
	if (sim_mutant == SIM_MUTANT_ignored_lease)
		tp_control_abi_node(cluster->nodes[n].control)->lease_until_tsc = UINT64_MAX;
#endif
	switch (client->state) {
	case CLIENT_OFF:
		break;
	case CLIENT_STARTING:
		/* The node's control side runs in these calls: not while it stands still. */
		if (!cluster->started || cluster->now < cluster->nodes[n].paused_until ||
		    !attach(cluster, n, client) || !open_region(cluster, n, client)) {
			rest(cluster, n, c, sim_rng_between(&cluster->rng, 500 * SIM_US, 2 * SIM_MS));
			break;
		}
		client->state = CLIENT_THINKING;
		rest(cluster, n, c, think_ns(cluster, n, c));
		break;
	case CLIENT_THINKING:
		begin(cluster, n, c);
		break;
	case CLIENT_BUSY:
	case CLIENT_SETTLING:
		busy(cluster, n, c);
		break;
	case CLIENT_PINNED:
		unpin(cluster, n, c);
		break;
	}
}

void
cluster_client_start(struct cluster *cluster, uint32_t n, uint32_t c, uint32_t ops)
{
	struct cluster_client *client = client_of(cluster, n, c);

	client->ops_left = ops;
	if (client->state == CLIENT_OFF) {
		workload_client_start(&cluster->workload, n * SIM_CLIENTS_MAX + c);
		client->state = CLIENT_STARTING;
		client->client = NULL;
		client->region = NULL;
		client->paused_until = 0;
	}
	rest(cluster, n, c, sim_rng_below(&cluster->rng, 1000000));
}

/*
 * Killed at this instant: its memory stays as it is (the library would tidy up),
 * and what it was doing may have been done.
 */
void
cluster_client_die(struct cluster *cluster, uint32_t n, uint32_t c, bool node_dies)
{
	struct cluster_client *client = client_of(cluster, n, c);
	struct cluster_node *node = &cluster->nodes[n];
	struct tp_abi_client *segment;
	size_t bytes = tp_abi_client_bytes(1);
	void *copy;

	if (client->state == CLIENT_BUSY || client->state == CLIENT_PINNED)
		workload_end(&cluster->workload, n * SIM_CLIENTS_MAX + c, &client->op,
			tp_result_unknown(TP_NODE_CRASHED), false, 0);
	if (client->client != NULL) {
		segment = tp_control_client_segment(node->control, client->id);
		copy = malloc(bytes);
		if (copy == NULL)
			abort();
		memcpy(copy, segment, bytes);
		tp_client_detach(client->client);
		memcpy(segment, copy, bytes);
		free(copy);
		if (!node_dies)
			tp_control_client_remove(node->control, client->id, node->tsc);
	}
	client->client = NULL;
	client->state = CLIENT_OFF;
	client->unknown = false;
	client->wake_at = UINT64_MAX;
}
