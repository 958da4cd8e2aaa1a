/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * ALLOC, FREE and GENERATION: here, or by a node message at the node whose heap
 * it is (docs/protocol.md, "Node messages"). Owner: main lcore.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <rte_errno.h>

#include "control_priv.h"
#include "tp_generation.h"

#define HEAP_REACH_NS UINT64_C(100000000)	/* for the session with a member */
#define HEAP_BOOT_SHIFT 24	/* generations of one process life before the next one's */

/* Make this node's heap region, or take the old one over with nothing in it. */
static int
heap_region_make(struct tp_control *control, struct tp_region *region)
{
	const struct tp_control_config *config = &control->config;
	char name[TP_REGION_NAME_BYTES];
	struct tp_region_spec spec = {
		.name = name,
		.bytes = config->heap_bytes,
		.page_shift = (uint8_t)__builtin_ctz(config->page_bytes),
		.mode = TP_REGION_RW,
		.distribution = TP_REGION_HOME,
		.born_node = config->node_id,
		.node_count = 1,
		.nodes = &config->node_id,
	};
	int ret;

	snprintf(name, sizeof(name), "heap.%u", config->node_id);
	ret = tp_catalogue_region_open(control->catalogue, name, region);
	if (ret == 0 && region->bytes == config->heap_bytes &&
	    region->page_shift == spec.page_shift)
		return tp_catalogue_region_reset(control->catalogue, region->id, NULL);
	if (ret == 0) {
		ret = tp_catalogue_region_destroy(control->catalogue, region->id);
		regions_reap_later(control, region->id);
	}
	if (ret < 0 && ret != -ENOENT)
		return ret;
	return tp_catalogue_region_create(control->catalogue, &spec, region);
}

int
heap_start(struct tp_control *control)
{
	struct tp_region region;
	uint64_t change;
	int ret;

	if (control->config.heap_bytes == 0)
		return 0;
	ret = heap_region_make(control, &region);
	if (ret < 0)
		return ret;
	control->heap = heap_create(region.bytes, tp_generation_pack(control->config.node_id,
		((uint64_t)control->boot << HEAP_BOOT_SHIFT) + 1));
	if (control->heap == NULL)
		return -rte_errno;
	control->heap_region_id = region.id;
	return regions_change_announce(control, &change);
}

static bool
heap_is_heap(const struct tp_region *region)
{
	return strncmp(region->name, "heap.", 5) == 0;
}

/* The operation itself, here. */
static int
heap_run(struct tp_control *control, uint8_t type, uint64_t *address, uint64_t bytes,
	uint64_t *generation)
{
	struct control_region *entry = regions_find(control, control->heap_region_id);
	uint64_t offset;
	int ret;

	if (entry == NULL || entry->state != CONTROL_REGION_READY)
		return -EAGAIN;
	if (type == NODE_MSG_ALLOC) {
		ret = heap_alloc(control->heap, bytes, &offset, generation);
		if (ret == 0)
			*address = entry->region->base + offset;
		return ret;
	}
	if (!tp_region_contains(entry->region, *address))
		return -EINVAL;
	offset = *address - entry->region->base;
	return type == NODE_MSG_FREE ? heap_free(control->heap, offset, *generation) :
		heap_generation(control->heap, offset, generation);
}

static void
heap_send(struct tp_control *control, uint16_t node, enum tp_class class,
	const struct node_msg *msg)
{
	struct worker_command command = {
		.type = WORKER_NODE_MESSAGE,
		.node = node,
		.class = (uint8_t)class,
	};

	static_assert(sizeof(*msg) == sizeof(command.bytes), "fits");
	memcpy(command.bytes, msg, sizeof(*msg));
	if (control_command_room(control))
		control_command(control, 0, &command);
}

static void
heap_call_remote(struct tp_control *control, struct control_call *call, uint16_t node,
	uint8_t type)
{
	struct node_msg msg = {
		.type = type,
		.epoch = rte_cpu_to_le_32(control->epoch),
		.address = rte_cpu_to_le_64(call->request.address),
		.bytes = rte_cpu_to_le_64(call->request.bytes),
		.generation = rte_cpu_to_le_64(call->request.generation),
	};

	if (node > control->config.node_id_max ||
	    control->nodes[node].record.state != TP_NODE_MEMBER || !control->nodes[node].told) {
		calls_end(control, call, TP_UNREACHABLE, TP_EFFECT_NOT_DONE, EHOSTUNREACH);
		return;
	}
	/* A member that has only just come has no session yet: it is tried again. */
	if (!calls_reach(control, node)) {
		if (control->now >= call->since + HEAP_REACH_NS)
			calls_end(control, call, TP_UNREACHABLE, TP_EFFECT_NOT_DONE, EHOSTUNREACH);
		return;
	}
	call->node = node;
	call->ticket = ++control->call_ticket;
	msg.call = rte_cpu_to_le_32(call->ticket);
	call->state = CONTROL_CALL_REMOTE;
	heap_send(control, node, TP_CLASS_REQUEST, &msg);
}

static void
heap_call_end(struct tp_control *control, struct control_call *call, int ret, uint64_t address,
	uint64_t generation)
{
	if (ret < 0) {
		calls_end_errno(control, call, -ret);
		return;
	}
	call->response.address = address;
	call->response.generation = generation;
	calls_end(control, call, TP_OK, TP_EFFECT_DONE, 0);
}

/* Begin or finish a call of one of the three. */
void
heap_call(struct tp_control *control, struct control_call *call)
{
	const struct tp_control_request *request = &call->request;
	const struct tp_region *region = NULL;
	uint64_t address = request->address;
	uint64_t generation = request->generation;
	uint16_t node = request->node;
	uint8_t type = request->op == TP_CONTROL_ALLOC ? NODE_MSG_ALLOC :
		request->op == TP_CONTROL_FREE ? NODE_MSG_FREE : NODE_MSG_GENERATION;
	int ret;

	if (type != NODE_MSG_ALLOC) {
		region = tp_region_table_find_address(control->table, address, NULL);
		if (region == NULL || (type == NODE_MSG_FREE && !heap_is_heap(region))) {
			calls_end_errno(control, call, region == NULL ? ENOENT : EINVAL);
			return;
		}
		if (!heap_is_heap(region)) {
			heap_call_end(control, call, 0, region->base, region->generation);
			return;
		}
		node = region->nodes[0];
	} else if (node == TP_CONTROL_NODE_ANY) {
		node = control->config.node_id;
	}
	if (node != control->config.node_id) {
		heap_call_remote(control, call, node, type);
		return;
	}
	if (control->heap == NULL) {
		calls_end_errno(control, call, ENOSPC);
		return;
	}
	ret = heap_run(control, type, &address, request->bytes, &generation);
	if (ret != -EAGAIN)
		heap_call_end(control, call, ret, address, generation);
}

static void
heap_serve(struct tp_control *control, uint16_t from, const struct node_msg *msg)
{
	uint64_t address = rte_le_to_cpu_64(msg->address);
	uint64_t generation = rte_le_to_cpu_64(msg->generation);
	struct node_msg result = {
		.type = NODE_MSG_HEAP_RESULT,
		.call = msg->call,
		.epoch = msg->epoch,
	};
	int ret = -ENOSPC;

	if (control->heap != NULL)
		ret = heap_run(control, msg->type, &address, rte_le_to_cpu_64(msg->bytes),
			&generation);
	result.error = rte_cpu_to_le_32((uint32_t)-ret);
	result.address = rte_cpu_to_le_64(address);
	result.generation = rte_cpu_to_le_64(generation);
	heap_send(control, from, TP_CLASS_RESPONSE, &result);
}

/* A node message; it may hold anything. */
void
heap_message(struct tp_control *control, uint16_t from, const struct node_msg *msg)
{
	struct control_call *call;
	uint32_t error;

	if (!membership_may_serve(control))
		return;
	switch (msg->type) {
	case NODE_MSG_ALLOC:
	case NODE_MSG_FREE:
	case NODE_MSG_GENERATION:
		heap_serve(control, from, msg);
		return;
	case NODE_MSG_HEAP_RESULT:
		break;
	default:
		return;
	}
	call = calls_waiting(control, rte_le_to_cpu_32(msg->call));
	if (call == NULL || rte_le_to_cpu_32(msg->epoch) != control->epoch)
		return;
	error = rte_le_to_cpu_32(msg->error);
	if (error > 4095)
		error = EPROTO;
	heap_call_end(control, call, -(int)error, rte_le_to_cpu_64(msg->address),
		rte_le_to_cpu_64(msg->generation));
}
