/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Control calls of clients (docs/abi.md section 8). Owner: main lcore. A call
 * is a small state: begun, waiting for the cluster, done; nothing blocks.
 */
#include <errno.h>
#include <string.h>

#include "control_priv.h"
#include "inject_priv.h"

#define CALLS_TIMEOUT_MAX_NS UINT64_C(60000000000)

void
calls_end(struct tp_control *control, struct control_call *call, enum tp_reason reason,
	enum tp_effect effect, int error)
{
	call->response.reason = reason;
	call->response.effect = effect;
	call->response.error = error;
	call->state = CONTROL_CALL_DONE;
	if (reason != TP_OK)
		control->stats.calls_failed++;
}

/* Does the call change what is in the store? */
static bool
call_writes_store(const struct control_call *call)
{
	return call->request.op == TP_CONTROL_REGION_CREATE ||
		call->request.op == TP_CONTROL_REGION_DESTROY ||
		call->request.op == TP_CONTROL_REGION_RESET;
}

/*
 * The reason that stands for an errno, and whether the call had an effect: none
 * if it was refused; an error of the store itself may come after the change.
 */
void
calls_end_errno(struct tp_control *control, struct control_call *call, int error)
{
	enum tp_effect effect = TP_EFFECT_NOT_DONE;
	enum tp_reason reason;

	switch (error) {
	case EINVAL:
	case EEXIST:
	case ENOENT:
	case ENOTSUP:
	case ENODEV:
	case EALREADY:
		reason = TP_INVALID;
		break;
	case ENOSPC:
	case ENOMEM:
	case EOVERFLOW:
		reason = TP_EXHAUSTED;
		break;
	case ESTALE:
		reason = TP_GENERATION;
		break;
	case EPERM:
	case EACCES:
		reason = TP_PERMISSION;
		break;
	case EBADMSG:
		reason = TP_CORRUPTION;
		break;
	case EAGAIN:
	case EBUSY:
		/* Others changed the same all the time: ours was never taken. */
		reason = TP_UNREACHABLE;
		break;
	default:
		reason = TP_UNREACHABLE;
		if (call_writes_store(call))
			effect = TP_EFFECT_UNKNOWN;
		break;
	}
	calls_end(control, call, reason, effect, error);
}

/* Is there a session for messages between the control sides? */
bool
calls_reach(const struct tp_control *control, uint16_t node)
{
	return atomic_load_explicit(&control->shared.reachable[node], memory_order_relaxed) != 0;
}

static void
call_region_describe(struct control_call *call, const struct tp_region *region)
{
	struct tp_control_region *out = &call->response.region;

	memset(out, 0, sizeof(*out));
	memcpy(out->name, region->name, sizeof(out->name));
	out->address = region->base;
	out->bytes = region->bytes;
	out->generation = region->generation;
	out->id = region->id;
	out->page_bytes = 1u << region->page_shift;
	out->mode = region->mode;
	out->distribution = region->distribution;
	out->node_count = region->node_count;
	out->durability = region->durability;
	memcpy(out->nodes, region->nodes, sizeof(out->nodes));
	call->response.address = region->base;
	call->response.generation = region->generation;
}

/* The change is made: now every member must hear of it. */
static void
call_announce(struct tp_control *control, struct control_call *call, uint32_t region_id)
{
	int ret = regions_change_announce(control, &call->change);

	if (ret < 0) {
		calls_end(control, call, TP_UNREACHABLE, TP_EFFECT_UNKNOWN, -ret);
		return;
	}
	call->region_id = region_id;
	call->state = CONTROL_CALL_SEEN;
}

/* Nodes of a new region: those asked for, which must be members, or all members. */
static int
call_create_nodes(struct tp_control *control, const struct tp_control_region *region,
	uint16_t nodes[TP_REGION_NODES_MAX])
{
	uint32_t count = 0;
	uint32_t id;

	if (region->distribution == TP_REGION_FIRST_TOUCH)
		return 0;
	if (region->node_count > TP_REGION_NODES_MAX)
		return -EINVAL;
	if (region->node_count != 0) {
		for (count = 0; count < region->node_count; count++) {
			id = region->nodes[count];
			if (id > control->config.node_id_max ||
			    control->nodes[id].record.state != TP_NODE_MEMBER)
				return -ENOENT;
			nodes[count] = (uint16_t)id;
		}
		return (int)count;
	}
	if (region->distribution == TP_REGION_HOME) {
		nodes[0] = control->config.node_id;
		return 1;
	}
	for (id = 0; id <= control->config.node_id_max && count < TP_REGION_NODES_MAX; id++)
		if (control->nodes[id].record.state == TP_NODE_MEMBER)
			nodes[count++] = (uint16_t)id;
	return (int)count;
}

/* 0, or why no region of these nodes can be so durable. */
static int
call_create_durability(struct tp_control *control, const struct tp_control_region *region,
	const uint16_t *nodes, uint32_t count)
{
	switch (region->durability) {
	case TP_DURABILITY_NONE:
		return 0;
	case TP_DURABILITY_LOCAL:
		return durable_nodes_check(control, nodes, count);
	case TP_DURABILITY_REPLICATED:
		return -ENOTSUP;
	default:
		return -EINVAL;
	}
}

static void
call_create(struct tp_control *control, struct control_call *call)
{
	const struct tp_control_region *asked = &call->request.region;
	uint16_t nodes[TP_REGION_NODES_MAX];
	struct tp_region_spec spec = {
		.name = asked->name,
		.bytes = asked->bytes,
		.mode = (uint8_t)asked->mode,
		.distribution = (uint8_t)asked->distribution,
		.durability = (uint8_t)asked->durability,
		.born_node = control->config.node_id,
		.nodes = nodes,
	};
	struct tp_region region;
	uint32_t page_bytes = asked->page_bytes != 0 ? asked->page_bytes :
		control->config.page_bytes;
	int ret;

	if (!rte_is_power_of_2(page_bytes) || page_bytes > control->config.page_bytes ||
	    asked->mode > UINT8_MAX || asked->distribution > UINT8_MAX) {
		calls_end_errno(control, call, EINVAL);
		return;
	}
	if (strncmp(asked->name, "heap.", 5) == 0) {
		calls_end_errno(control, call, EPERM);
		return;
	}
	ret = call_create_nodes(control, asked, nodes);
	if (ret >= 0) {
		spec.node_count = (uint16_t)ret;
		ret = call_create_durability(control, asked, nodes, spec.node_count);
	}
	if (ret < 0) {
		calls_end_errno(control, call, -ret);
		return;
	}
	spec.page_shift = (uint8_t)__builtin_ctz(page_bytes);
	ret = tp_catalogue_region_create(control->catalogue, &spec, &region);
	if (ret < 0) {
		calls_end_errno(control, call, -ret);
		return;
	}
	call_announce(control, call, region.id);
}

/* The region a request names, by name or else by address. */
static int
call_region_find(struct tp_control *control, const struct tp_control_request *request,
	struct tp_region *region)
{
	uint64_t address = request->address != 0 ? request->address : request->region.address;

	if (request->region.name[0] != '\0')
		return tp_catalogue_region_open(control->catalogue, request->region.name, region);
	return tp_catalogue_region_find(control->catalogue, address, region);
}

static void
call_open(struct tp_control *control, struct control_call *call)
{
	struct control_region *entry;
	struct tp_region region;
	int ret = call_region_find(control, &call->request, &region);

	if (ret < 0) {
		calls_end_errno(control, call, -ret);
		return;
	}
	entry = regions_find(control, region.id);
	if (entry != NULL && entry->state == CONTROL_REGION_FAILED) {
		calls_end_errno(control, call, ENOMEM);
		return;
	}
	if (entry == NULL || entry->state != CONTROL_REGION_READY ||
	    entry->region->generation != region.generation)
		return;	/* it is on its way here */
	call->region_id = region.id;
	call_region_describe(call, entry->region);
	calls_end(control, call, TP_OK, TP_EFFECT_DONE, 0);
}

static void
call_destroy_or_reset(struct tp_control *control, struct control_call *call)
{
	bool destroy = call->request.op == TP_CONTROL_REGION_DESTROY;
	struct tp_region region;
	int ret = call_region_find(control, &call->request, &region);

	if (ret == 0 && strncmp(region.name, "heap.", 5) == 0)
		ret = -EPERM;
	if (ret == 0)
		ret = destroy ? tp_catalogue_region_destroy(control->catalogue, region.id) :
			tp_catalogue_region_reset(control->catalogue, region.id, NULL);
	if (ret < 0) {
		calls_end_errno(control, call, -ret);
		return;
	}
	call_announce(control, call, region.id);
}

/* A node that has no room in its pool for a new region destroys it again: durable.c. */
static bool
call_was_refused(struct tp_control *control, const struct control_call *call)
{
	struct tp_region region;

	return call->request.op == TP_CONTROL_REGION_CREATE &&
		call->request.region.durability != TP_DURABILITY_NONE &&
		(tp_catalogue_region_open(control->catalogue, call->request.region.name,
			&region) == -ENOENT || region.id != call->region_id);
}

/* Every member has heard of the change. */
static void
call_seen(struct tp_control *control, struct control_call *call)
{
	struct worker_command command = { .type = WORKER_CREATOR, .client = call->client };
	struct control_region *entry;

	if (!regions_all_seen(control, call->change))
		return;
	if (call->request.op == TP_CONTROL_REGION_DESTROY) {
		regions_reap_later(control, call->region_id);
		calls_end(control, call, TP_OK, TP_EFFECT_DONE, 0);
		return;
	}
	entry = regions_find(control, call->region_id);
	if (call_was_refused(control, call)) {
		calls_end(control, call, TP_EXHAUSTED, TP_EFFECT_NOT_DONE, ENOSPC);
		return;
	}
	if (entry == NULL || entry->state == CONTROL_REGION_FAILED) {
		calls_end(control, call, TP_EXHAUSTED, TP_EFFECT_DONE, ENOMEM);
		return;
	}
	if (!control_command_room(control))
		return;
	if (call->request.op == TP_CONTROL_REGION_CREATE && entry->region->mode == TP_REGION_RO) {
		entry->creator = call->client;
		command.region_id = entry->id;
		control_command_all(control, &command);
	}
	call_region_describe(call, entry->region);
	calls_end(control, call, TP_OK, TP_EFFECT_DONE, 0);
}

static void
call_region_list(struct tp_control *control, struct control_call *call)
{
	const struct tp_region *region = NULL;

	if (call->request.value < tp_region_table_count(control->table))
		region = tp_region_table_at(control->table, (uint32_t)call->request.value);
	if (region == NULL) {
		calls_end_errno(control, call, ENOENT);
		return;
	}
	call_region_describe(call, region);
	calls_end(control, call, TP_OK, TP_EFFECT_DONE, 0);
}

static void
call_node_list(struct tp_control *control, struct control_call *call)
{
	uint64_t index = call->request.value;
	uint32_t id;

	for (id = 0; id <= control->config.node_id_max; id++) {
		const struct tp_node_record *record = &control->nodes[id].record;

		if (record->state == 0 || index-- != 0)
			continue;
		call->response.node = (struct tp_control_node){
			.id = record->id,
			.worker_count = record->worker_count,
			.epoch = record->epoch,
			.state = record->state,
			.ip = rte_cpu_to_be_32(record->ip),
			.reachable = id == control->config.node_id ? 1 :
				atomic_load_explicit(&control->shared.reachable[id],
					memory_order_relaxed),
		};
		calls_end(control, call, TP_OK, TP_EFFECT_DONE, 0);
		return;
	}
	calls_end_errno(control, call, ENOENT);
}

/* Counters of all workers, summed: those of the engine, then those of the worker. */
static void
call_stats(struct tp_control *control, struct control_call *call)
{
	enum { ENGINE = sizeof(struct tp_coherence_stats) / sizeof(uint64_t),
	       WORKER = sizeof(struct tp_worker_stats) / sizeof(uint64_t) };
	uint16_t w;
	int i;

	static_assert((int)ENGINE + (int)WORKER <= TP_CONTROL_STATS_MAX, "they fit");
	for (w = 0; w < control->config.worker_count; w++) {
		const struct tp_worker *worker = control->workers[w];
		const volatile uint64_t *engine =
			(const uint64_t *)tp_coherence_stats_get(worker->coherence);
		const volatile uint64_t *own = (const uint64_t *)&worker->stats;

		for (i = 0; i < ENGINE; i++)
			call->response.stats[i] += engine[i];
		for (i = 0; i < WORKER; i++)
			call->response.stats[ENGINE + i] += own[i];
	}
	call->response.value = ENGINE + WORKER;
	calls_end(control, call, TP_OK, TP_EFFECT_DONE, 0);
}

static void
call_run(struct tp_control *control, struct control_call *call)
{
	switch (call->request.op) {
	case TP_CONTROL_REGION_LIST:
		call_region_list(control, call);
		return;
	case TP_CONTROL_NODE_LIST:
		call_node_list(control, call);
		return;
	case TP_CONTROL_STATS:
		call_stats(control, call);
		return;
	case TP_CONTROL_INJECT:
	case TP_CONTROL_INJECT_CLEAR:
	case TP_CONTROL_INJECT_LIST:
		inject_call(control, call);
		return;
	default:
		break;
	}
	/* The rest changes or relies on what the cluster agrees on: only a member may. */
	if (!membership_may_serve(control) || control->now < control->retry_at)
		return;
	switch (call->request.op) {
	case TP_CONTROL_REGION_CREATE:
		call_create(control, call);
		break;
	case TP_CONTROL_REGION_OPEN:
		call_open(control, call);
		break;
	case TP_CONTROL_REGION_DESTROY:
	case TP_CONTROL_REGION_RESET:
		call_destroy_or_reset(control, call);
		break;
	case TP_CONTROL_ALLOC:
	case TP_CONTROL_FREE:
	case TP_CONTROL_GENERATION:
		heap_call(control, call);
		break;
	default:
		calls_end_errno(control, call, EINVAL);
		break;
	}
}

/* The session that carried the question is lost: no answer will come. */
static void
call_remote(struct tp_control *control, struct control_call *call)
{
	if (calls_reach(control, call->node))
		return;
	calls_end(control, call, TP_UNREACHABLE, call->request.op == TP_CONTROL_GENERATION ?
		TP_EFFECT_NOT_DONE : TP_EFFECT_UNKNOWN, EHOSTUNREACH);
}

static void
call_timeout(struct tp_control *control, struct control_call *call)
{
	bool begun = call->state != CONTROL_CALL_RUN &&
		call->request.op != TP_CONTROL_GENERATION;

	if (call->state == CONTROL_CALL_RUN && !membership_may_serve(control))
		calls_end(control, call, TP_PARTITION, TP_EFFECT_NOT_DONE, EHOSTUNREACH);
	else
		calls_end(control, call, TP_TIMEOUT,
			begun ? TP_EFFECT_UNKNOWN : TP_EFFECT_NOT_DONE, ETIMEDOUT);
}

/* One stage of the turn. */
uint32_t
calls_poll(struct tp_control *control)
{
	uint32_t work = 0;
	uint32_t i;

	for (i = 0; i < CONTROL_CALLS; i++) {
		struct control_call *call = &control->calls[i];

		if (call->state == CONTROL_CALL_FREE || call->state == CONTROL_CALL_DONE)
			continue;
		if (call->state == CONTROL_CALL_RUN)
			call_run(control, call);
		else if (call->state == CONTROL_CALL_SEEN)
			call_seen(control, call);
		else if (call->state == CONTROL_CALL_REMOTE)
			call_remote(control, call);
		if (call->state != CONTROL_CALL_DONE && control->now >= call->deadline)
			call_timeout(control, call);
		work += call->state == CONTROL_CALL_DONE;
	}
	return work;
}

static bool
call_is_sound(const struct tp_control_request *request)
{
	return request->magic == TP_CONTROL_MAGIC && request->version == TP_CONTROL_VERSION &&
		request->op > TP_CONTROL_ATTACH && request->op < TP_CONTROL_OP_COUNT &&
		/* An injected fault is checked in inject.c. */
		(request->op == TP_CONTROL_INJECT ||
		memchr(request->region.name, '\0', sizeof(request->region.name)) != NULL);
}

int
tp_control_call(struct tp_control *control, int client, const struct tp_control_request *request,
	uint64_t now)
{
	struct control_call *call;
	uint64_t timeout;
	int i;

	if (tp_control_client_segment(control, client) == NULL)
		return -ENOENT;
	for (i = 0; i < CONTROL_CALLS && control->calls[i].state != CONTROL_CALL_FREE; i++)
		;
	if (i == CONTROL_CALLS)
		return -EAGAIN;
	call = &control->calls[i];
	memset(call, 0, sizeof(*call));
	control->calls_used++;
	control->stats.calls++;
	call->client = (int16_t)client;
	call->request = *request;
	call->state = CONTROL_CALL_RUN;
	call->response.magic = TP_CONTROL_MAGIC;
	call->response.version = TP_CONTROL_VERSION;
	call->response.op = request->op;
	timeout = request->timeout_ns == 0 ? CONTROL_TIMEOUT_NS : request->timeout_ns;
	call->since = now;
	call->deadline = now + RTE_MIN(timeout, CALLS_TIMEOUT_MAX_NS);
	if (!call_is_sound(request))
		calls_end_errno(control, call, EINVAL);
	else
		call_run(control, call);
	return i;
}

static void
call_forget(struct tp_control *control, struct control_call *call)
{
	call->state = CONTROL_CALL_FREE;
	control->calls_used--;
}

/* NULL: no such call. */
static struct control_call *
call_find(struct tp_control *control, int call)
{
	if (call < 0 || call >= CONTROL_CALLS || control->calls[call].state == CONTROL_CALL_FREE)
		return NULL;
	return &control->calls[call];
}

int
tp_control_call_cancel(struct tp_control *control, int call)
{
	struct control_call *entry = call_find(control, call);

	if (entry == NULL)
		return -ENOENT;
	call_forget(control, entry);
	return 0;
}

int
tp_control_call_result(struct tp_control *control, int call, struct tp_control_response *response,
	int *fds, unsigned int fd_max)
{
	struct control_region *entry;
	struct control_call *entry_call = call_find(control, call);

	if (entry_call == NULL)
		return -ENOENT;
	if (entry_call->state != CONTROL_CALL_DONE)
		return -EINPROGRESS;
	*response = entry_call->response;
	if (response->reason == TP_OK && response->op == TP_CONTROL_REGION_OPEN) {
		entry = regions_find(control, entry_call->region_id);
		/* The words must be of the generation that the answer speaks of. */
		if (entry != NULL && entry->words != NULL && fd_max > 0 &&
		    entry->region->generation == response->generation) {
			fds[0] = tp_segment_fd(entry->words);
			response->fd_count = 1;
		} else {
			/* Destroyed or reset between the answer and its being fetched. */
			response->reason = TP_GENERATION;
			response->effect = TP_EFFECT_NOT_DONE;
		}
	}
	call_forget(control, entry_call);
	return 0;
}

void
calls_cancel(struct tp_control *control, int client)
{
	uint32_t i;

	for (i = 0; i < CONTROL_CALLS; i++)
		if (control->calls[i].state != CONTROL_CALL_FREE &&
		    control->calls[i].client == client)
			call_forget(control, &control->calls[i]);
}

/* The call that waits for the result of a node message, NULL: it has ended. */
struct control_call *
calls_waiting(struct tp_control *control, uint32_t ticket)
{
	uint32_t i;

	for (i = 0; i < CONTROL_CALLS; i++)
		if (control->calls[i].state == CONTROL_CALL_REMOTE &&
		    control->calls[i].ticket == ticket)
			return &control->calls[i];
	return NULL;
}
