/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Fault injection, the control side: what is injected now, and the calls that
 * change it (docs/prog_guide/inject.md). Owner: main lcore.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_debug.h>
#include <rte_errno.h>

#include "control_priv.h"
#include "inject_priv.h"

#define INJECT_DELAY_MAX_NS UINT64_C(10000000000)

/* Which fields of a fault say something. */
enum inject_field {
	INJECT_PEERS = 1,
	INJECT_RATE = 2,
	INJECT_DELAY = 4,
	INJECT_REGION = 8,
	INJECT_ONE_WAY = 16,
	INJECT_COUNT = 32,
};

static const uint8_t inject_fields[TP_INJECT_KIND_COUNT] = {
	[TP_INJECT_UNREACHABLE] = INJECT_PEERS,
	[TP_INJECT_TIMEOUT] = INJECT_PEERS,
	[TP_INJECT_PARTITION] = INJECT_PEERS | INJECT_ONE_WAY,
	[TP_INJECT_CRASH] = INJECT_COUNT,
	[TP_INJECT_PERMISSION] = INJECT_REGION,
	/* Of frames with a rate, else of a region. */
	[TP_INJECT_CORRUPTION] = INJECT_PEERS | INJECT_RATE | INJECT_REGION | INJECT_ONE_WAY,
	[TP_INJECT_SLOW] = INJECT_PEERS | INJECT_DELAY,
	[TP_INJECT_LOSS] = INJECT_PEERS | INJECT_RATE | INJECT_ONE_WAY,
	[TP_INJECT_DUPLICATE] = INJECT_PEERS | INJECT_RATE | INJECT_ONE_WAY,
	[TP_INJECT_REORDER] = INJECT_PEERS | INJECT_RATE | INJECT_ONE_WAY,
};

static int
inject_links_create(struct tp_control *control)
{
	struct tp_control_config *config = &control->config;
	uint16_t w;
	uint8_t l;

	for (w = 0; w < config->worker_count; w++) {
		for (l = 0; l < config->link_count; l++) {
			struct tp_link *link = tp_link_fault_create(config->links[w][l].link,
				config->seed * 131 + (uint64_t)config->node_id * 17 +
				(uint64_t)w * TP_ENDPOINT_LINKS_MAX + l, NULL);

			if (link == NULL)
				return -rte_errno;
			control->inject_links[w][l] = link;
			config->links[w][l].link = link;
		}
	}
	return 0;
}

/* Before anything uses the links or the store. */
int
inject_start(struct tp_control *control)
{
	struct inject *inject;
	int ret;

	if (!control->config.inject)
		return 0;
	inject = calloc(1, sizeof(*inject));
	if (inject == NULL)
		return -ENOMEM;
	control->inject = inject;
	inject->crash = control->config.crash;
	inject->crash_ctx = control->config.crash_ctx;
	inject->vanish = calloc((size_t)control->config.node_id_max + 1, sizeof(*inject->vanish));
	inject->store = inject_store_create(control->config.store);
	if (inject->vanish == NULL || inject->store == NULL)
		return -ENOMEM;
	ret = inject_links_create(control);
	if (ret < 0)
		return ret;
	control->config.store = inject->store;
	TP_NODE_LOG(WARNING, "node %u: faults may be injected", control->config.node_id);
	return 0;
}

/* After workers and catalogue are gone. */
void
inject_stop(struct tp_control *control)
{
	uint16_t w;
	uint8_t l;

	if (control->inject == NULL)
		return;
	for (w = 0; w < control->config.worker_count; w++)
		for (l = 0; l < control->config.link_count; l++)
			tp_link_fault_destroy(control->inject_links[w][l]);
	inject_store_destroy(control->inject->store);
	free(control->inject->vanish);
	free(control->inject);
}

void
inject_stats_sum(const struct tp_control *control, uint64_t *sums)
{
	unsigned int i;
	uint16_t w;
	uint8_t l;

	memset(sums, 0, INJECT_STATS * sizeof(*sums));
	for (w = 0; control->inject != NULL && w < control->config.worker_count; w++) {
		for (l = 0; l < control->config.link_count; l++) {
			const uint64_t *stats = (const uint64_t *)
				tp_link_fault_stats_get(control->inject_links[w][l]);

			for (i = 0; i < INJECT_STATS; i++)
				sums[i] += stats[i];
		}
	}
}

static bool
inject_node_is_other(const struct tp_control *control, uint32_t id)
{
	return id <= control->config.node_id_max && id != control->config.node_id &&
		control->nodes[id].record.state != 0;
}

/* The nodes that a fault is about. none are named: all others. */
static int
inject_nodes(const struct tp_control *control, const struct tp_control_inject *spec,
	uint16_t nodes[INJECT_PEERS_MAX])
{
	uint32_t count = 0;
	uint32_t id;

	if (spec->node_count > TP_REGION_NODES_MAX)
		return -EINVAL;
	for (id = 0; id < spec->node_count; id++) {
		if (!inject_node_is_other(control, spec->nodes[id]))
			return -ENOENT;
		if (count == INJECT_PEERS_MAX)
			return -ENOSPC;
		nodes[count++] = spec->nodes[id];
	}
	if (spec->node_count != 0)
		return (int)count;
	for (id = 0; id <= control->config.node_id_max; id++) {
		if (!inject_node_is_other(control, id))
			continue;
		if (count == INJECT_PEERS_MAX)
			return -ENOSPC;
		nodes[count++] = (uint16_t)id;
	}
	return (int)count;
}

static struct control_region *
inject_region_find(struct tp_control *control, const char *name)
{
	uint32_t i;

	for (i = 0; i < CONTROL_REGIONS; i++) {
		struct control_region *entry = &control->regions[i];

		if (entry->state == CONTROL_REGION_READY && strcmp(entry->region->name, name) == 0)
			return entry;
	}
	return NULL;
}

/* 0, or what is wrong with a fault. */
static int
inject_check(struct tp_control *control, const struct tp_control_inject *spec)
{
	const struct control_region *region;
	uint32_t fields;

	if (spec->kind == 0 || spec->kind >= TP_INJECT_KIND_COUNT ||
	    memchr(spec->region, '\0', sizeof(spec->region)) == NULL)
		return -EINVAL;
	fields = inject_fields[spec->kind];
	if (spec->kind == TP_INJECT_CORRUPTION)
		/* One of the two, as what is set says. */
		fields &= spec->region[0] != '\0' ? ~(INJECT_RATE | INJECT_PEERS | INJECT_ONE_WAY) :
			~INJECT_REGION;
	if ((spec->flags & ~TP_CONTROL_INJECT_ONE_WAY) != 0 ||
	    (spec->flags != 0 && !(fields & INJECT_ONE_WAY)) ||
	    (spec->node_count != 0 && !(fields & INJECT_PEERS)) ||
	    (spec->count != 0 && !(fields & INJECT_COUNT)) ||
	    (spec->region[0] != '\0') != ((fields & INJECT_REGION) != 0) ||
	    (spec->rate_ppm != 0) != ((fields & INJECT_RATE) != 0) ||
	    (spec->delay_ns != 0) != ((fields & INJECT_DELAY) != 0) ||
	    spec->rate_ppm > TP_LINK_FAULT_PPM || spec->delay_ns > INJECT_DELAY_MAX_NS)
		return -EINVAL;
	if (spec->kind == TP_INJECT_CRASH && control->inject->crash == NULL)
		return -ENOTSUP;
	if (!(fields & INJECT_REGION))
		return 0;
	region = inject_region_find(control, spec->region);
	if (region == NULL)
		return -ENOENT;
	return region->region->page_count > INJECT_PAGES_MAX ? -ENOTSUP : 0;
}

/* There is room: inject_peers_room(). */
static struct inject_peer *
inject_peer_get(struct tp_control *control, uint16_t node)
{
	struct inject *inject = control->inject;
	uint32_t i;

	for (i = 0; i < inject->peer_count; i++)
		if (inject->peers[i].node == node)
			return &inject->peers[i];
	RTE_ASSERT(i < INJECT_PEERS_MAX);
	inject->peers[i] = (struct inject_peer){
		.node = node,
		.ip = control->nodes[node].record.ip,
	};
	inject->peer_count++;
	return &inject->peers[i];
}

static void
inject_way_add(struct tp_link_faults *faults, const struct tp_control_inject *spec)
{
	switch (spec->kind) {
	case TP_INJECT_UNREACHABLE:
	case TP_INJECT_PARTITION:
		faults->cut = true;
		break;
	case TP_INJECT_CORRUPTION:
		faults->corrupt_ppm = spec->rate_ppm;
		break;
	case TP_INJECT_SLOW:
		faults->delay_ns = spec->delay_ns;
		break;
	case TP_INJECT_LOSS:
		faults->loss_ppm = spec->rate_ppm;
		break;
	case TP_INJECT_DUPLICATE:
		faults->duplicate_ppm = spec->rate_ppm;
		break;
	default:
		faults->reorder_ppm = spec->rate_ppm;
		break;
	}
}

/* Is there room for all these peers? So a fault is added whole, or not at all. */
static bool
inject_peers_room(const struct inject *inject, const uint16_t *nodes, int count)
{
	uint32_t more = 0;
	uint32_t p;
	int i;

	for (i = 0; i < count; i++) {
		for (p = 0; p < inject->peer_count && inject->peers[p].node != nodes[i]; p++)
			;
		more += p == inject->peer_count;
	}
	return more <= INJECT_PEERS_MAX - inject->peer_count;
}

/* Tell the workers all that happens to frames. There is room in their rings. */
static void
inject_table_send(struct tp_control *control, struct inject_table *table)
{
	struct inject *inject = control->inject;
	struct worker_command command = { .type = WORKER_INJECT_PEERS, .table = table };
	uint32_t i;

	table->count = inject->peer_count;
	memcpy(table->peers, inject->peers, sizeof(table->peers));
	/* The push of the command releases it. */
	atomic_init(&table->references, control->config.worker_count);
	control_command_all(control, &command);
	for (i = 0; i < inject->peer_count; i++)
		inject->peers[i].silence = false;
}

/* A fault of frames, or of requests. */
static int
inject_peers_add(struct tp_control *control, const struct tp_control_inject *spec)
{
	bool one_way = spec->kind == TP_INJECT_SLOW ||
		(spec->flags & TP_CONTROL_INJECT_ONE_WAY) != 0;
	uint16_t nodes[INJECT_PEERS_MAX];
	int count = inject_nodes(control, spec, nodes);
	struct inject_table *table;
	struct inject_peer *peer;
	int i;

	if (count < 0)
		return count;
	if (spec->kind == TP_INJECT_TIMEOUT) {
		for (i = 0; i < count; i++)
			atomic_store_explicit(&control->inject->vanish[nodes[i]], 1,
				memory_order_relaxed);
		return 0;
	}
	if (!inject_peers_room(control->inject, nodes, count))
		return -ENOSPC;
	table = calloc(1, sizeof(*table));
	if (table == NULL)
		return -ENOMEM;
	for (i = 0; i < count; i++) {
		peer = inject_peer_get(control, nodes[i]);
		inject_way_add(&peer->tx, spec);
		if (!one_way)
			inject_way_add(&peer->rx, spec);
		peer->silence = spec->kind == TP_INJECT_UNREACHABLE;
	}
	/* A partition from everybody is one from the store, too. */
	if (spec->kind == TP_INJECT_PARTITION && spec->node_count == 0)
		inject_store_cut(control->inject->store, true);
	inject_table_send(control, table);
	return 0;
}

/* Accesses to a region are VOID; for the words that are hidden each worker gets memory. */
static int
inject_region_add(struct tp_control *control, const struct tp_control_inject *spec)
{
	const struct control_region *entry = inject_region_find(control, spec->region);
	struct worker_command commands[TP_ABI_WORKERS_MAX];
	uint16_t w;

	for (w = 0; w < control->config.worker_count; w++) {
		commands[w] = (struct worker_command){
			.type = WORKER_INJECT_REGION,
			.region_id = entry->id,
			.reason = spec->kind == TP_INJECT_PERMISSION ? TP_PERMISSION :
				TP_CORRUPTION,
			.hidden = calloc(entry->region->page_count, sizeof(uint32_t)),
		};
		if (commands[w].hidden == NULL)
			goto free_hidden;
	}
	for (w = 0; w < control->config.worker_count; w++)
		control_command(control, w, &commands[w]);
	return 0;

free_hidden:
	while (w-- > 0)
		free(commands[w].hidden);
	return -ENOMEM;
}

static void
inject_crash(struct tp_control *control, const struct tp_control_inject *spec)
{
	struct inject *inject = control->inject;

	TP_NODE_LOG(WARNING, "node %u: a crash is injected", control->config.node_id);
	if (spec->count == 0)
		inject->crash(inject->crash_ctx);
	else
		atomic_store_explicit(&inject->crash_in, spec->count, memory_order_relaxed);
}

static int
inject_add(struct tp_control *control, const struct tp_control_inject *spec)
{
	struct inject *inject = control->inject;
	int ret = inject_check(control, spec);

	if (ret == 0 && inject->count == INJECT_MAX)
		ret = -ENOSPC;
	if (ret < 0)
		return ret;
	if (spec->kind == TP_INJECT_CRASH)
		inject_crash(control, spec);
	else if (spec->region[0] != '\0')
		ret = inject_region_add(control, spec);
	else
		ret = inject_peers_add(control, spec);
	if (ret == 0)
		inject->list[inject->count++] = *spec;
	return ret;
}

static void
inject_clear(struct tp_control *control)
{
	struct worker_command command = { .type = WORKER_INJECT_CLEAR };
	struct inject *inject = control->inject;
	uint32_t id;

	inject->count = 0;
	inject->peer_count = 0;
	inject_store_cut(inject->store, false);
	atomic_store_explicit(&inject->crash_in, 0, memory_order_relaxed);
	for (id = 0; id <= control->config.node_id_max; id++)
		atomic_store_explicit(&inject->vanish[id], 0, memory_order_relaxed);
	control_command_all(control, &command);
}

/* INJECT, INJECT_CLEAR or INJECT_LIST: works in any state of the node. */
void
inject_call(struct tp_control *control, struct control_call *call)
{
	const struct inject *inject = control->inject;
	int ret = 0;

	if (inject == NULL) {
		calls_end_errno(control, call, EPERM);
		return;
	}
	if (call->request.op == TP_CONTROL_INJECT_LIST) {
		if (call->request.value < inject->count)
			call->response.inject = inject->list[call->request.value];
		else
			ret = -ENOENT;
	} else if (!control_command_room(control)) {
		return;
	} else if (call->request.op == TP_CONTROL_INJECT) {
		ret = inject_add(control, &call->request.inject);
	} else {
		inject_clear(control);
	}
	if (ret < 0)
		calls_end_errno(control, call, -ret);
	else
		calls_end(control, call, TP_OK, TP_EFFECT_DONE, 0);
}
