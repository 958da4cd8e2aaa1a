/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The control side: made, polled, destroyed. Owner: main lcore.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_common.h>
#include <rte_errno.h>

#include "control_priv.h"
#include "inject_priv.h"

#define CONTROL_NODE_ID_MAX 64
#define CONTROL_LOOK_NS UINT64_C(10000000)	/* between looks at the store */
#define CONTROL_EVENTS_PER_TURN 256
#define CONTROL_FENCE_NS UINT64_C(10000000000)	/* and two silences: fences of atomics hold so long */

/* Room in every worker's ring for what one step may push? */
bool
control_command_room(struct tp_control *control)
{
	uint16_t i;

	for (i = 0; i < control->config.worker_count; i++)
		if (node_ring_room(&control->workers[i]->commands) < CONTROL_COMMAND_SPARE)
			return false;
	return true;
}

void
control_command(struct tp_control *control, uint16_t worker, const struct worker_command *command)
{
	bool pushed = node_ring_push(&control->workers[worker]->commands, command);

	/* Callers ask control_command_room() first. */
	RTE_ASSERT(pushed);
	RTE_SET_USED(pushed);
	if (control->config.wake_worker != NULL)
		control->config.wake_worker(control->config.wake_ctx, worker);
}

void
control_command_all(struct tp_control *control, const struct worker_command *command)
{
	uint16_t i;

	for (i = 0; i < control->config.worker_count; i++)
		control_command(control, i, command);
}

static const char *
control_config_fault(const struct tp_control_config *config)
{
	if (config->node_id == 0 || config->node_id > config->node_id_max)
		return "node id out of range";
	if (!tp_address_split_is_valid(config->split) ||
	    config->node_id_max >= tp_address_node_count(config->split))
		return "address split too small for the node ids";
	if (config->worker_count == 0 || config->worker_count > TP_ABI_WORKERS_MAX)
		return "worker count out of range";
	if (config->link_count == 0 || config->link_count > TP_ENDPOINT_LINKS_MAX)
		return "link count out of range";
	if (config->store == NULL)
		return "no store";
	if (config->clock.tsc_hz < 1000000)
		return "clock rate out of range";
	if (!rte_is_power_of_2(config->page_bytes) ||
	    config->page_bytes < 1u << TP_PAGE_SHIFT_MIN ||
	    config->page_bytes > 1u << TP_PAGE_SHIFT_MAX)
		return "page size out of range";
	if (config->cache_slots / config->worker_count < 8)
		return "fewer than 8 cache slots a worker";
	if (config->home_slots < config->worker_count)
		return "fewer home slots than workers";
	if ((uint64_t)config->home_slots + config->cache_slots >= 1u << TP_WORD_SLOT_BITS)
		return "too many slots";
	for (uint8_t i = 0; i < config->link_count; i++)
		if ((config->link_ns_per_kib[i] != 0 || config->link_measured[i]) &&
		    config->codec_costs == NULL)
			return "a slow link, and no costs of codecs";
	if (config->lease_ns < 4 || config->peer_timeout_ns == 0 || config->guard_lease_ns == 0)
		return "a time is 0";
	return NULL;
}

static void
control_config_default(struct tp_control_config *config)
{
#define CONTROL_DEFAULT(field, value) (config->field = config->field != 0 ? config->field : (value))
	CONTROL_DEFAULT(node_id_max, CONTROL_NODE_ID_MAX);
	CONTROL_DEFAULT(base_port, TP_ENDPOINT_PORT_DEFAULT);
	CONTROL_DEFAULT(page_bytes, 4096);
	CONTROL_DEFAULT(lease_ns, UINT64_C(60000000));
	CONTROL_DEFAULT(fence_margin_ns, config->lease_ns / 3);
	CONTROL_DEFAULT(guard_lease_ns, UINT64_C(10000000));
	CONTROL_DEFAULT(peer_timeout_ns, UINT64_C(120000000));
	CONTROL_DEFAULT(request_count, 256);
	CONTROL_DEFAULT(waiter_count, 2048);
	CONTROL_DEFAULT(busy_count, 1024);
	CONTROL_DEFAULT(deferred_count, 4096);
	CONTROL_DEFAULT(kept_count, 131072);
	CONTROL_DEFAULT(stash_count, 4096);
#undef CONTROL_DEFAULT
	if (config->split.node_bits == 0)
		config->split = TP_ADDRESS_SPLIT_DEFAULT;
}

struct tp_endpoint_config
control_endpoint_config(struct tp_control *control, uint16_t worker)
{
	const struct tp_control_config *config = &control->config;
	struct tp_endpoint_config endpoint = {
		.node = config->node_id,
		.worker = (uint8_t)worker,
		.link_count = config->link_count,
		.incarnation = control->epoch,
		.base_port = config->base_port,
		.worker_count = config->worker_count,
		.peer_max = config->node_id_max,
		.request_credits = config->request_credits,
		.forward_credits = config->forward_credits,
		.tx_frames = config->tx_frames,
		.rx_frames = config->rx_frames,
		.no_join = config->no_join,
		.peer_timeout_ns = config->peer_timeout_ns,
		.seed = config->seed * 31 + (uint64_t)config->node_id * 1009 + worker,
	};

	memcpy(endpoint.links, config->links[worker], sizeof(endpoint.links));
	return endpoint;
}

/* [home slots of worker 0, 1, ...][cache slots of worker 0, 1, ...] */
static struct tp_coherence_config
control_coherence_config(struct tp_control *control, uint16_t worker)
{
	const struct tp_control_config *config = &control->config;
	uint32_t home = config->home_slots / config->worker_count;
	uint32_t cache = config->cache_slots / config->worker_count;

	return (struct tp_coherence_config){
		.node_id = config->node_id,
		.worker = worker,
		.worker_count = config->worker_count,
		.node_id_max = config->node_id_max,
		.epoch = control->epoch,
		.home_slot_first = worker * home,
		.home_slot_count = home,
		.cache_slot_first = config->worker_count * home + worker * cache,
		.cache_slot_count = cache,
		.request_count = config->request_count,
		.waiter_count = config->waiter_count,
		.busy_count = config->busy_count,
		.deferred_count = config->deferred_count,
		.kept_count = config->kept_count,
		.retry_ns = config->retry_ns,
		/* A session outlives a silence of peer_timeout_ns; then it sends again. */
		.fence_ns = CONTROL_FENCE_NS + 2 * config->peer_timeout_ns,
		.directory = control->directory,
	};
}

static int
control_worker_create(struct tp_control *control, uint16_t index)
{
	const struct tp_control_config *config = &control->config;
	struct tp_directory_worker_config directory = {
		.bitmap_count_max = 4096,
		.transient_count_max = config->busy_count,
		.transient_bytes = 64,
	};
	struct worker_config worker = {
		.node_id = config->node_id,
		.node_id_max = config->node_id_max,
		.index = index,
		.worker_count = config->worker_count,
		.slot_bytes = config->page_bytes,
		.slot_count = control->abi_node->slot_count,
		.waiter_count = config->waiter_count,
		.stash_count = config->stash_count,
		.guard_lease_ns = config->guard_lease_ns,
		.lease_ns = config->lease_ns,
		.slots = tp_segment_base(control->slots_segment),
		.shared = &control->shared,
		.inject = control->inject,
		.clock = config->clock,
		.endpoint = control_endpoint_config(control, index),
		.coherence = control_coherence_config(control, index),
		.steer = config->steer,
		.steer_ctx = config->steer_ctx,
		.wake = config->wake_control,
		.wake_ctx = config->wake_ctx,
		.frame_crc = config->frame_crc,
		.keeper = control->keeper == NULL ? NULL : keeper_port(control->keeper, index),
		.sweep_ns = config->pool_sweep_ns,
		.base_count = config->base_slots / config->worker_count,
		.codec_costs = config->codec_costs,
		.codec_only = config->codec_only,
		.codec_now_ns = config->codec_now_ns,
		.codec_now_ctx = config->codec_now_ctx,
	};

	memcpy(worker.link_ns_per_kib, config->link_ns_per_kib, sizeof(worker.link_ns_per_kib));
	memcpy(worker.link_measured, config->link_measured, sizeof(worker.link_measured));
	worker.own_slots = worker.coherence.home_slot_count + worker.coherence.cache_slot_count;
	worker.coherence.directory_worker =
		tp_directory_worker_create(control->directory, &directory);
	if (worker.coherence.directory_worker == NULL)
		return -rte_errno;
	control->workers[index] = worker_create(&worker);
	return control->workers[index] == NULL ? -rte_errno : 0;
}

static int
control_segments_create(struct tp_control *control)
{
	const struct tp_control_config *config = &control->config;
	struct tp_segment_config node = {
		.type = TP_SEGMENT_SHARED,
		.bytes = sizeof(struct tp_abi_node),
		.name = "telepage-node",
	};
	uint32_t slot_count = config->home_slots / config->worker_count * config->worker_count +
		config->cache_slots / config->worker_count * config->worker_count;
	struct tp_segment_config slots = {
		.type = config->huge_pages ? TP_SEGMENT_HUGE : TP_SEGMENT_SHARED,
		.bytes = (size_t)slot_count * config->page_bytes,
		.name = "telepage-slots",
	};
	struct tp_abi_node *abi;
	int ret;

	ret = tp_segment_create(&node, &control->node_segment);
	if (ret < 0)
		return ret;
	ret = tp_segment_create(&slots, &control->slots_segment);
	if (ret < 0)
		return ret;
	abi = tp_segment_base(control->node_segment);
	abi->version = TP_ABI_VERSION;
	abi->length = sizeof(*abi);
	abi->node_id = config->node_id;
	abi->worker_count = config->worker_count;
	abi->page_bytes = config->page_bytes;
	abi->slot_count = slot_count;
	abi->tsc_hz = config->clock.tsc_hz;
	abi->node_bits = config->split.node_bits;
	abi->offset_bits = config->split.offset_bits;
	abi->guard_lease_tsc = (uint64_t)((unsigned __int128)config->guard_lease_ns *
		config->clock.tsc_hz / 1000000000u);
	abi->magic = TP_ABI_MAGIC;
	control->abi_node = abi;
	return 0;
}

static int
control_tables_create(struct tp_control *control)
{
	uint32_t ids = (uint32_t)control->config.node_id_max + 1;
	struct tp_directory_config directory = {
		.region_count_max = CONTROL_REGIONS,
		.worker_count_max = control->config.worker_count,
		.node_id_max = control->config.node_id_max,
	};

	control->nodes = calloc(ids, sizeof(*control->nodes));
	control->records = calloc(ids, sizeof(*control->records));
	control->shared.reachable = calloc(ids, 1);
	if (control->nodes == NULL || control->records == NULL ||
	    control->shared.reachable == NULL)
		return -ENOMEM;
	control->directory = tp_directory_create(&directory);
	return control->directory == NULL ? -rte_errno : 0;
}

static int
control_init(struct tp_control *control, uint64_t now)
{
	uint16_t i;
	int ret;

	control->now = now;
	control->nodes_dirty = true;
	control->rejoin_delay = 10000000;
	ret = inject_start(control);
	if (ret < 0)
		return ret;
	control->catalogue = tp_catalogue_open(control->config.store, control->config.split);
	if (control->catalogue == NULL)
		return -rte_errno;
	ret = control_tables_create(control);
	if (ret < 0)
		return ret;
	ret = control_segments_create(control);
	if (ret < 0)
		return ret;
	/* What the pool needs to recover passes before anybody waits for this node. */
	ret = durable_start(control);
	if (ret < 0)
		return ret;
	ret = membership_join(control, now);
	if (ret < 0)
		return ret;
	for (i = 0; i < control->config.worker_count; i++) {
		ret = control_worker_create(control, i);
		if (ret < 0)
			return ret;
	}
	ret = regions_start(control);
	if (ret < 0)
		return ret;
	return heap_start(control);
}

struct tp_control *
tp_control_create(const struct tp_control_config *config, uint64_t now)
{
	struct tp_control *control;
	const char *fault;
	int ret;

	control = aligned_alloc(64, RTE_ALIGN_CEIL(sizeof(*control), 64));
	if (control == NULL) {
		rte_errno = ENOMEM;
		return NULL;
	}
	memset(control, 0, sizeof(*control));
	control->config = *config;
	control_config_default(&control->config);
	fault = control_config_fault(&control->config);
	if (fault != NULL) {
		TP_NODE_LOG(ERR, "configuration: %s", fault);
		free(control);
		rte_errno = EINVAL;
		return NULL;
	}
	ret = control_init(control, now);
	if (ret < 0) {
		TP_NODE_LOG(ERR, "node %u cannot start: %s", config->node_id, strerror(-ret));
		tp_control_destroy(control);
		rte_errno = -ret;
		return NULL;
	}
	return control;
}

void
tp_control_destroy(struct tp_control *control)
{
	struct worker_command command;
	uint16_t i;

	if (control == NULL)
		return;
	if (control->abi_node != NULL)
		/* Clients that are still there must not go on hitting. */
		atomic_store_explicit(&control->abi_node->lease_until_tsc, 0,
			memory_order_release);
	for (i = 0; i < TP_ABI_WORKERS_MAX; i++) {
		if (control->workers[i] == NULL)
			continue;
		while (node_ring_pop(&control->workers[i]->commands, &command))
			if (command.type == WORKER_ENDPOINT)
				tp_endpoint_destroy(command.endpoint);
			else
				worker_inject_command_drop(&command);
		worker_destroy(control->workers[i]);
	}
	clients_destroy(control);
	durable_stop(control);
	heap_destroy(control->heap);
	regions_stop(control);
	tp_directory_destroy(control->directory);
	tp_catalogue_close(control->catalogue);
	inject_stop(control);
	tp_segment_destroy(control->slots_segment);
	tp_segment_destroy(control->node_segment);
	free(control->shared.reachable);
	free(control->records);
	free(control->nodes);
	free(control);
}

static void
control_learned(struct tp_control *control, uint16_t from, const struct worker_event *event)
{
	struct worker_command command = {
		.type = WORKER_NEIGHBOUR,
		.link = event->link,
		.ip = event->ip,
	};
	uint16_t i;

	memcpy(command.mac, event->mac, sizeof(command.mac));
	if (!control_command_room(control))
		return;
	for (i = 0; i < control->config.worker_count; i++)
		if (i != from)
			control_command(control, i, &command);
}

static void
control_event(struct tp_control *control, uint16_t from, const struct worker_event *event)
{
	struct node_msg msg;

	switch ((enum worker_event_type)event->type) {
	case WORKER_FENCE:
		membership_fence_wanted(control, event->node, event->epoch);
		break;
	case WORKER_FENCED_DONE:
		membership_fenced_ack(control);
		break;
	case WORKER_DRAINED:
		membership_drained_ack(control);
		break;
	case WORKER_REGION_ADDED:
		regions_added_ack(control, event->region_id, event->error);
		break;
	case WORKER_REGION_REMOVED:
		regions_removed_ack(control, event->region_id);
		break;
	case WORKER_CLIENT_REMOVED:
		clients_removed_ack(control, event->client);
		break;
	case WORKER_CLIENT_BAD:
		clients_bad(control, event->client);
		break;
	case WORKER_PLACE:
		regions_place(control, event->region_id, event->index);
		break;
	case WORKER_LEARNED:
		control_learned(control, from, event);
		break;
	case WORKER_NODE_RECEIVED:
		memcpy(&msg, event->bytes, sizeof(msg));
		heap_message(control, event->node, &msg);
		break;
	}
}

static uint32_t
control_events_run(struct tp_control *control)
{
	struct worker_event event;
	uint32_t work = 0;
	uint16_t i;

	for (i = 0; i < control->config.worker_count; i++) {
		uint32_t taken = 0;

		while (taken++ < CONTROL_EVENTS_PER_TURN &&
		       node_ring_pop(&control->workers[i]->events, &event)) {
			control_event(control, i, &event);
			work++;
		}
	}
	return work;
}

/*
 * We did not run for a while. Our lease has lapsed or soon will: renew before
 * anything else. The others are not charged with what we did not see.
 */
static void
control_gap(struct tp_control *control, uint64_t gap)
{
	uint32_t id;

	control->stats.gaps++;
	control->renew_at = control->now;
	for (id = 0; id <= control->config.node_id_max; id++)
		control->nodes[id].renewed_at += gap;
}

uint32_t
tp_control_poll(struct tp_control *control, uint64_t now)
{
	uint64_t gap = now - control->now;
	uint32_t work = 0;

	RTE_ASSERT(now >= control->now);
	control->now = now;
	if (control->state == TP_CONTROL_STOPPED)
		return 0;
	if (gap > control->config.lease_ns / 2)
		control_gap(control, gap);
	atomic_fetch_add_explicit(&control->abi_node->heartbeat, 1, memory_order_relaxed);
	work += membership_poll(control);
	work += control_events_run(control);
	if (control->keeper != NULL)
		work += durable_poll(control);
	if (control->state >= TP_CONTROL_LEAVING)
		return work;
	work += regions_poll(control);
	work += clients_poll(control);
	if (control->calls_used != 0)
		work += calls_poll(control);
	return work;
}

uint64_t
tp_control_next_timer(const struct tp_control *control)
{
	uint64_t soon = control->now + RTE_MIN(control->config.lease_ns / 8, CONTROL_LOOK_NS);

	/* What is under way or comes from the store is looked for at a steady pace. */
	if (control->regions_dirty || control->calls_used != 0 || control->nodes_dirty ||
	    (control->state == TP_CONTROL_LEAVING && !control->drain_asked))
		return control->now + 100000;
	/* Workers tell when they are done. */
	if (control->state == TP_CONTROL_LEAVING)
		return RTE_MIN(RTE_MIN(soon, control->renew_at), control->leave_at);
	if (control->state == TP_CONTROL_MEMBER)
		return RTE_MIN(soon, control->renew_at);
	return control->state == TP_CONTROL_STOPPED ? UINT64_MAX : soon;
}

void
tp_control_stop(struct tp_control *control, uint64_t now)
{
	control->now = RTE_MAX(control->now, now);
	membership_leave_begin(control);
}

enum tp_control_state
tp_control_state_get(const struct tp_control *control)
{
	return control->state;
}

const char *
tp_control_state_name(unsigned int state)
{
	static const char *const names[] = {
		[TP_CONTROL_JOINING] = "joining",
		[TP_CONTROL_MEMBER] = "member",
		[TP_CONTROL_FENCED] = "fenced",
		[TP_CONTROL_LEAVING] = "leaving",
		[TP_CONTROL_STOPPED] = "stopped",
	};

	return state < RTE_DIM(names) ? names[state] : "unknown";
}

uint32_t
tp_control_epoch(const struct tp_control *control)
{
	return control->epoch;
}

struct tp_worker *
tp_control_worker(const struct tp_control *control, uint16_t index)
{
	return index < control->config.worker_count ? control->workers[index] : NULL;
}

struct tp_abi_node *
tp_control_abi_node(const struct tp_control *control)
{
	return control->abi_node;
}

void *
tp_control_slots(const struct tp_control *control, uint64_t *bytes_out)
{
	*bytes_out = (uint64_t)control->abi_node->slot_count * control->config.page_bytes;
	return tp_segment_base(control->slots_segment);
}

uint64_t
tp_control_lease_until(const struct tp_control *control)
{
	return atomic_load_explicit(&control->shared.lease_until_ns, memory_order_acquire);
}

const struct tp_control_stats *
tp_control_stats_get(const struct tp_control *control)
{
	return &control->stats;
}

static const char *const control_stat_names[] = {
#define CONTROL_STAT_NAME(name, help) #name,
	TP_CONTROL_STAT_LIST(CONTROL_STAT_NAME)
#undef CONTROL_STAT_NAME
};

static const char *const control_stat_helps[] = {
#define CONTROL_STAT_HELP(name, help) help,
	TP_CONTROL_STAT_LIST(CONTROL_STAT_HELP)
#undef CONTROL_STAT_HELP
};

static_assert(sizeof(struct tp_control_stats) / sizeof(uint64_t) == RTE_DIM(control_stat_names),
	"one list");

const char *
tp_control_stat_name(unsigned int stat)
{
	return stat < RTE_DIM(control_stat_names) ? control_stat_names[stat] : NULL;
}

const char *
tp_control_stat_help(unsigned int stat)
{
	return stat < RTE_DIM(control_stat_helps) ? control_stat_helps[stat] : NULL;
}
