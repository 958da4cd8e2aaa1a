/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * This node's place in the cluster, and what it makes of the others'. Owner:
 * main lcore. The lease argument is in tp_catalogue.h.
 *
 *   state    what holds
 *   JOINING  a new epoch is in the catalogue, the one before can renew no more
 *            but may still serve hits until ready_at; no lease
 *   MEMBER   the record says MEMBER as of the last renewal; hits are served
 *            until lease_until, which is over before anybody who fences us
 *            acts on it
 *   FENCED   somebody fenced us: no lease; the workers drop every copy, then
 *            we join again. Home memory stays: nobody else could write it
 *   LEAVING  as MEMBER while changes go home; no request of a client is taken
 *   STOPPED  no lease
 *
 * Another node's epoch is over for sure (PEER_FENCED) when its lease plus margin
 * has lapsed since it could renew no more, or when it is back as a member with a
 * newer epoch (it waited itself), or has left in order.
 */
#include <errno.h>
#include <string.h>

#include "control_priv.h"

#define MEMBERSHIP_REJOIN_NS UINT64_C(10000000)
#define MEMBERSHIP_REJOIN_MAX_NS UINT64_C(1000000000)
#define MEMBERSHIP_RETRY_NS UINT64_C(2000000)
/* What is modified here goes home. telepaged gives its end 600 ms in all (watchdog of SIGTERM). */
#define MEMBERSHIP_DRAIN_NS UINT64_C(400000000)

static void
membership_lease_set(struct tp_control *control, uint64_t until)
{
	control->lease_until = until;
	/* Pairs with the acquire in worker_lease_ok(). */
	atomic_store_explicit(&control->shared.lease_until_ns, until, memory_order_release);
	/* Pairs with the acquire in tp_abi_lease_ok(). */
	atomic_store_explicit(&control->abi_node->lease_until_tsc,
		until == 0 ? 0 : tp_clock_tsc(&control->config.clock, until),
		memory_order_release);
}

bool
membership_may_serve(const struct tp_control *control)
{
	return control->state == TP_CONTROL_MEMBER && control->now < control->lease_until;
}

/* An error that may pass: try again a little later. */
static void
membership_store_error(struct tp_control *control, const char *what, int error)
{
	if (control->stats.store_errors++ % 1000 == 0)
		TP_NODE_LOG(ERR, "node %u: store: %s: %s", control->config.node_id, what,
			strerror(-error));
	control->retry_at = control->now + MEMBERSHIP_RETRY_NS;
}

/* Take a new epoch. */
int
membership_join(struct tp_control *control, uint64_t now)
{
	struct tp_node_record previous;
	struct tp_node_record self = {
		.id = control->config.node_id,
		.state = TP_NODE_JOINING,
		.ip = control->config.links[0][0].ip,
		.udp_port = control->config.base_port,
		.worker_count = control->config.worker_count,
		.lease_ns = control->config.lease_ns,
	};
	int ret;

	ret = tp_catalogue_node_join(control->catalogue, &self, now, &previous);
	if (ret < 0)
		return ret;
	control->stats.joins++;
	control->epoch = self.epoch;
	control->ready_at = now;
	if (control->boot == 0) {
		control->boot = self.epoch;
		if (previous.state != 0 && previous.state != TP_NODE_LEFT)
			/* An earlier process of this node: its clients may be served yet. */
			control->ready_at = now + control->config.fence_margin_ns +
				RTE_MAX(previous.lease_ns, control->config.lease_ns);
	}
	control->abi_node->epoch = self.epoch;
	control->state = TP_CONTROL_JOINING;
	control->seen_written = UINT64_MAX;
	return 0;
}

static void
membership_self_fence(struct tp_control *control)
{
	struct worker_command command = { .type = WORKER_SELF_FENCED };

	membership_lease_set(control, 0);
	control->stats.fenced++;
	control->state = TP_CONTROL_FENCED;
	control->fenced_acks = control->config.worker_count;
	control->rejoin_delay = RTE_MIN(2 * control->rejoin_delay, MEMBERSHIP_REJOIN_MAX_NS);
	control->ready_at = control->now + control->rejoin_delay;
	TP_NODE_LOG(WARNING, "node %u was fenced in epoch %u: copies are dropped",
		control->config.node_id, control->epoch);
	control_command_all(control, &command);
}

static void
membership_activate(struct tp_control *control)
{
	int ret;

	if (control->now < control->ready_at || control->now < control->retry_at ||
	    !regions_is_ready(control, 0) || !control_command_room(control))
		return;
	ret = regions_seen_write(control);
	if (ret == 0)
		ret = tp_catalogue_node_activate(control->catalogue, control->config.node_id,
			control->epoch);
	if (ret == -ESTALE) {
		/* Fenced before it began. The endpoints speak with this epoch: all anew. */
		membership_self_fence(control);
		return;
	}
	if (ret < 0) {
		membership_store_error(control, "activate", ret);
		return;
	}
	control->state = TP_CONTROL_MEMBER;
	control->renew_at = control->now;
	control->member_since = control->now;
	control->nodes_dirty = true;
	TP_NODE_LOG(INFO, "node %u is a member, epoch %u", control->config.node_id,
		control->epoch);
}

static uint32_t
membership_renew(struct tp_control *control)
{
	uint64_t begun = control->now;
	int ret;

	if (control->now < control->renew_at || control->now < control->retry_at ||
	    !control_command_room(control))
		return 0;
	if (control->lease_until != 0 && begun >= control->lease_until)
		control->stats.renewals_late++;
	ret = tp_catalogue_node_renew(control->catalogue, control->config.node_id, control->epoch,
		begun);
	if (ret == -ESTALE) {
		membership_self_fence(control);
		return 1;
	}
	if (ret < 0) {
		membership_store_error(control, "renew", ret);
		return 0;
	}
	control->stats.renewals++;
	control->renew_at = begun + control->config.lease_ns / 4;
	if (control->stats.renewals % 64 == 0)
		control->rejoin_delay = MEMBERSHIP_REJOIN_NS;
	membership_lease_set(control, begun + control->config.lease_ns);
	return 1;
}

void
membership_fenced_ack(struct tp_control *control)
{
	if (control->fenced_acks > 0)
		control->fenced_acks--;
}

/* Every copy is dropped: come back with a new epoch and new sessions. */
static void
membership_rejoin(struct tp_control *control)
{
	struct worker_command command = { .type = WORKER_ENDPOINT };
	uint16_t i;
	uint32_t node;
	int ret;

	if (control->fenced_acks != 0 || control->now < control->ready_at ||
	    control->now < control->retry_at || !control_command_room(control))
		return;
	ret = membership_join(control, control->now);
	if (ret < 0) {
		membership_store_error(control, "join", ret);
		return;
	}
	for (i = 0; i < control->config.worker_count; i++) {
		struct tp_endpoint_config config = control_endpoint_config(control, i);

		command.endpoint = tp_endpoint_create(&config, &worker_endpoint_ops,
			control->workers[i]);
		if (command.endpoint == NULL) {
			/* Left in JOINING without sessions it would do harm: fence and retry. */
			membership_self_fence(control);
			return;
		}
		control_command(control, i, &command);
	}
	for (node = 0; node <= control->config.node_id_max; node++)
		control->nodes[node].told = false;
}

/*
 * The other nodes.
 */

static void
node_command(struct tp_control *control, uint16_t node, enum worker_command_type type)
{
	struct worker_command command = { .type = (uint8_t)type, .node = node };

	control_command_all(control, &command);
}

/* The epoch the workers know is over for sure. */
static void
node_lapsed(struct tp_control *control, struct control_node *node, uint16_t id)
{
	node->fence_until = 0;
	node->fence_wanted = false;
	if (node->epoch == 0 || node->lapsed)
		return;
	node->lapsed = true;
	node_command(control, id, WORKER_PEER_FENCED);
}

static void
node_tell(struct tp_control *control, struct control_node *node, uint16_t id)
{
	struct worker_command command = {
		.type = WORKER_PEER_SET,
		.node = id,
		.epoch = node->epoch,
		.ip = node->record.ip,
		.worker_count = (uint8_t)node->record.worker_count,
	};
	const uint8_t *mac = NULL;

	if (control->config.route != NULL)
		command.link = control->config.route(control->config.route_ctx, id,
			node->record.ip, &mac);
	if (mac == NULL && node->record.has_mac)
		mac = node->record.mac;
	if (mac != NULL) {
		command.has_mac = true;
		memcpy(command.mac, mac, sizeof(command.mac));
	}
	node->told = true;
	control_command_all(control, &command);
}

/* A member: known, or with a new epoch. false: ask again. */
static bool
node_is_member(struct tp_control *control, struct control_node *node, uint16_t id)
{
	uint32_t epoch;
	uint32_t boot;
	uint64_t seen;

	if (node->epoch != node->record.epoch) {
		/* Which process is it? It writes that down before it becomes a member. */
		if (regions_seen_read(control, id, &epoch, &boot, &seen) < 0 ||
		    epoch != node->record.epoch)
			return false;
		node_lapsed(control, node, id);
		if (node->epoch != 0 && node->boot != boot)
			node_command(control, id, WORKER_HOME_RESET);
		node->epoch = epoch;
		node->boot = boot;
		node->seen = seen;
		node->told = false;
		node->lapsed = false;
	}
	if (!node->told)
		node_tell(control, node, id);
	return true;
}

static void
node_has_left(struct tp_control *control, struct control_node *node, uint16_t id)
{
	if (node->epoch == 0)
		return;
	node_lapsed(control, node, id);
	/* Its memory went with it. */
	node_command(control, id, WORKER_HOME_RESET);
	node_command(control, id, WORKER_PEER_REMOVE);
	node->epoch = 0;
	node->told = false;
}

/* Its record says that it can renew no more: start the wait. */
static void
node_is_fenced(struct tp_control *control, struct control_node *node)
{
	if (node->epoch == 0 || node->lapsed || node->fence_until != 0)
		return;
	node->fence_wanted = false;
	node->fence_until = control->now + control->config.fence_margin_ns +
		RTE_MAX(node->record.lease_ns, control->config.lease_ns);
}

static bool
node_follow(struct tp_control *control, const struct tp_node_record *record)
{
	struct control_node *node = &control->nodes[record->id];
	bool settled = true;

	if (node->record.lease_stamp != record->lease_stamp ||
	    node->record.epoch != record->epoch || node->record.state != record->state)
		node->renewed_at = control->now;
	node->record = *record;
	switch (record->state) {
	case TP_NODE_MEMBER:
		settled = node_is_member(control, node, record->id);
		break;
	case TP_NODE_LEFT:
		node_has_left(control, node, record->id);
		break;
	default:
		/* Fenced, or a new epoch began to join: the one we know cannot renew. */
		node_is_fenced(control, node);
		break;
	}
	return settled;
}

static uint32_t
membership_follow(struct tp_control *control)
{
	uint64_t revision = tp_catalogue_node_revision(control->catalogue);
	uint32_t capacity = (uint32_t)control->config.node_id_max + 1;
	int count;
	int i;

	if (revision == control->nodes_revision && !control->nodes_dirty)
		return 0;
	if (control->now < control->retry_at)
		return 0;
	count = tp_catalogue_node_list(control->catalogue, control->records, capacity);
	if (count < 0) {
		membership_store_error(control, "list nodes", count);
		return 0;
	}
	control->nodes_revision = revision;
	control->nodes_dirty = false;
	for (i = 0; i < count && i < (int)capacity; i++) {
		const struct tp_node_record *record = &control->records[i];

		if (record->id > control->config.node_id_max)
			continue;
		if (record->id == control->config.node_id) {
			control->nodes[record->id].record = *record;
			continue;
		}
		if (!control_command_room(control) || !node_follow(control, record))
			control->nodes_dirty = true;
	}
	return 1;
}

/* A worker cannot go on without knowing that this epoch of the node is over. */
void
membership_fence_wanted(struct tp_control *control, uint16_t id, uint32_t epoch)
{
	struct control_node *node = &control->nodes[id];

	if (node->epoch == 0 || (epoch != 0 && node->epoch != epoch) ||
	    node->lapsed || node->fence_until != 0)
		return;
	node->fence_wanted = true;
}

/* false: not now. */
static bool
node_fence(struct tp_control *control, struct control_node *node, uint16_t id)
{
	int ret;

	/* Only who is a member may say who is not. */
	if (!membership_may_serve(control) || control->now < control->retry_at)
		return false;
	ret = tp_catalogue_node_fence(control->catalogue, id, node->epoch, NULL, NULL);
	if (ret == 0) {
		TP_NODE_LOG(WARNING, "node %u fenced node %u, epoch %u", control->config.node_id,
			id, node->epoch);
		control->stats.fences++;
		node_is_fenced(control, node);
		node->fence_wanted = false;
	} else if (ret == -ESTALE || ret == -ENOENT) {
		/* It left or joined anew: its record says so. */
		control->nodes_dirty = true;
		node->fence_wanted = false;
	} else {
		membership_store_error(control, "fence", ret);
	}
	return true;
}

static uint32_t
membership_fences_run(struct tp_control *control)
{
	uint32_t work = 0;
	uint32_t id;

	for (id = 0; id <= control->config.node_id_max; id++) {
		struct control_node *node = &control->nodes[id];

		if (unlikely(node->fence_wanted))
			work += node_fence(control, node, (uint16_t)id);
		if (node->fence_until != 0 && control->now >= node->fence_until &&
		    control_command_room(control)) {
			node_lapsed(control, node, (uint16_t)id);
			work++;
		}
	}
	return work;
}

bool
tp_control_is_settled(const struct tp_control *control)
{
	uint32_t id;

	if (control->state != TP_CONTROL_MEMBER || control->nodes_dirty)
		return false;
	if (control->now - control->member_since > control->config.peer_timeout_ns)
		return true;
	for (id = 0; id <= control->config.node_id_max; id++)
		/* For people only: nothing else is read through it. */
		if (control->nodes[id].told &&
		    !atomic_load_explicit(&control->shared.reachable[id], memory_order_relaxed))
			return false;
	return true;
}

/*
 * In order: what was changed here and is at home elsewhere goes home first, for as
 * long as that may take. Until then the lease is renewed: the homes must take it.
 */
void
membership_leave_begin(struct tp_control *control)
{
	if (control->state >= TP_CONTROL_LEAVING)
		return;
	/* Without a lease there is nothing that a home would take. */
	control->drain_left = membership_may_serve(control) ? control->config.worker_count : 0;
	control->drain_asked = control->drain_left == 0;
	control->leave_at = control->now + MEMBERSHIP_DRAIN_NS;
	control->state = TP_CONTROL_LEAVING;
}

void
membership_drained_ack(struct tp_control *control)
{
	if (control->drain_left > 0)
		control->drain_left--;
}

/* Nothing is served from here on, so nobody need wait for our lease. */
static void
membership_leave(struct tp_control *control)
{
	int ret;

	membership_lease_set(control, 0);
	ret = tp_catalogue_node_leave(control->catalogue, control->config.node_id,
		control->epoch);
	if (ret < 0 && ret != -ESTALE)
		membership_store_error(control, "leave", ret);
	control->state = TP_CONTROL_STOPPED;
}

static uint32_t
membership_leaving(struct tp_control *control)
{
	struct worker_command command = { .type = WORKER_DRAIN };
	uint32_t work = membership_renew(control);

	/* Fenced meanwhile: the copies are void. */
	if (control->state != TP_CONTROL_LEAVING)
		control->drain_left = 0;
	else if (!control->drain_asked && control_command_room(control)) {
		control->drain_asked = true;
		control_command_all(control, &command);
		work++;
	} else {
		/* Homes may leave, too. */
		work += membership_follow(control);
	}
	if (control->drain_left != 0 && control->now < control->leave_at)
		return work;
	if (control->drain_left != 0)
		TP_NODE_LOG(WARNING, "node %u leaves with changes that their homes "
			"did not take, or that are not persisted",
			control->config.node_id);
	membership_leave(control);
	return work + 1;
}

/* One stage of the turn. */
uint32_t
membership_poll(struct tp_control *control)
{
	uint32_t work = 0;

	switch (control->state) {
	case TP_CONTROL_JOINING:
		membership_activate(control);
		break;
	case TP_CONTROL_MEMBER:
		work += membership_renew(control);
		if (control->state != TP_CONTROL_MEMBER)
			break;
		work += membership_follow(control);
		work += membership_fences_run(control);
		break;
	case TP_CONTROL_FENCED:
		membership_rejoin(control);
		break;
	case TP_CONTROL_LEAVING:
		work += membership_leaving(control);
		break;
	default:
		break;
	}
	return work;
}
