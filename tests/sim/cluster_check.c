/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What must hold after every event, and what at rest.
 */
#include <stdio.h>
#include <string.h>

#include "cluster.h"
#include "tp_abi.h"
#include "tp_region.h"
#include "tp_shard.h"
#include "tp_types.h"

static struct tp_worker *
worker_of(const struct cluster *cluster, const struct cluster_node *node, uint32_t page)
{
	uint32_t shard = tp_shard_of(cluster->region_address + (uint64_t)page * CLUSTER_PAGE, 12);

	return tp_control_worker(node->control,
		tp_shard_worker(shard, (uint16_t)node->worker_count));
}

/* What a node's word lets its clients do with a page now, and in which generation. */
static enum tp_access
access_now(struct cluster *cluster, uint32_t n, uint32_t page, uint64_t *generation)
{
	struct cluster_node *node = &cluster->nodes[n];
	struct tp_coherence_page_info info;
	struct tp_worker *worker;
	enum tp_access access;

	if (!cluster_node_serves(cluster, n))
		return TP_ACCESS_NONE;
	worker = worker_of(cluster, node, page);
	access = tp_word_access(tp_worker_word(worker, cluster->region_id, page));
	if (access == TP_ACCESS_NONE)
		return TP_ACCESS_NONE;
	tp_coherence_page_info_get(tp_worker_coherence(worker), cluster->region_id, page, &info);
	*generation = info.generation;
	return access;
}

/*
 * Single writer or many readers, over the words by which hits are served now:
 * those of the node that has just run against all others. A page in another
 * generation of the region is another page.
 */
void
cluster_check_words(struct cluster *cluster, uint32_t n)
{
	uint32_t page, m;

	for (page = 0; cluster->started && page < cluster->workload.pages; page++) {
		uint64_t generation, other_generation;
		enum tp_access access = access_now(cluster, n, page, &generation), other;

		for (m = 0; access != TP_ACCESS_NONE && m < cluster->node_count; m++) {
			if (m == n)
				continue;
			other = access_now(cluster, m, page, &other_generation);
			if (other == TP_ACCESS_NONE || generation != other_generation ||
			    (access == TP_ACCESS_READ && other == TP_ACCESS_READ))
				continue;
			cluster_fail(cluster, "page %u: nodes %u and %u have access %u and %u",
				     page, n + 1, m + 1, access, other);
		}
	}
}

static bool
worker_is_at_rest(const struct cluster *cluster, uint32_t n, uint32_t w, char *why, size_t bytes)
{
	struct tp_worker *worker = tp_control_worker(cluster->nodes[n].control, (uint16_t)w);
	struct tp_worker_usage u;
	struct tp_coherence_usage c;

	tp_worker_usage_get(worker, &u);
	tp_coherence_usage_get(tp_worker_coherence(worker), &c);
	if (u.requests + u.held + u.stashed + u.local + u.guard_waits + u.quarantined != 0) {
		snprintf(why, bytes, "node %u worker %u holds %u requests, %u held, %u stashed, %u "
			 "local, %u guard waits, %u quarantined", n + 1, w, u.requests, u.held,
			 u.stashed, u.local, u.guard_waits, u.quarantined);
		return false;
	}
	if (c.requests + c.waiters + c.busy + c.deferred + c.quarantined != 0) {
		snprintf(why, bytes, "node %u worker %u engine holds %u requests, %u waiters, %u "
			 "busy, %u deferred, %u quarantined", n + 1, w, c.requests, c.waiters,
			 c.busy, c.deferred, c.quarantined);
		return false;
	}
	return true;
}

/* Frames are acknowledged, and every credit is back where it started. */
static bool
sessions_are_at_rest(const struct cluster *cluster, uint32_t n, uint32_t w, char *why,
		     size_t bytes)
{
	struct tp_endpoint *ep =
		tp_worker_endpoint(tp_control_worker(cluster->nodes[n].control, (uint16_t)w));
	struct tp_session_info info;
	uint32_t i, tx, rx;
	int ret;

	tp_endpoint_frames_held(ep, &tx, &rx);
	if (tx + rx != 0) {
		snprintf(why, bytes, "node %u worker %u holds %u frames to send and %u received",
			 n + 1, w, tx, rx);
		return false;
	}
	for (i = 0; (ret = tp_endpoint_session_info(ep, i, &info)) != -ERANGE; i++) {
		if (ret != 0 || !info.established)
			continue;
		if (info.outstanding + info.queued != 0 ||
		    info.request_credit != CLUSTER_REQUEST_CREDITS ||
		    info.forward_credit != CLUSTER_FORWARD_CREDITS) {
			snprintf(why, bytes, "node %u worker %u to node %u worker %u: %u packets, %u "
				 "frames, %u request and %u forward credits", n + 1, w, info.node,
				 info.worker, info.outstanding, info.queued, info.request_credit,
				 info.forward_credit);
			return false;
		}
	}
	return true;
}

static bool
peers_are_up(const struct cluster *cluster, uint32_t n, char *why, size_t bytes)
{
	const struct cluster_node *node = &cluster->nodes[n];
	uint32_t m, w;

	for (m = 0; m < cluster->node_count; m++) {
		for (w = 0; m != n && w < node->worker_count; w++) {
			struct tp_worker *worker = tp_control_worker(node->control, (uint16_t)w);
			uint32_t incarnation;

			if (tp_endpoint_peer_state(tp_worker_endpoint(worker), (uint16_t)(m + 1),
						   &incarnation) == TP_PEER_UP &&
			    incarnation == tp_control_epoch(cluster->nodes[m].control))
				continue;
			snprintf(why, bytes, "node %u worker %u does not reach node %u", n + 1, w,
				 m + 1);
			return false;
		}
	}
	return true;
}

bool
cluster_is_at_rest(struct cluster *cluster, char *why, size_t bytes)
{
	uint32_t n, c, w;

	for (n = 0; n < cluster->node_count; n++) {
		const struct cluster_node *node = &cluster->nodes[n];

		if (!node->alive || node->stopping || cluster->now < node->paused_until ||
		    tp_control_state_get(node->control) != TP_CONTROL_MEMBER) {
			snprintf(why, bytes, "node %u is no member", n + 1);
			return false;
		}
		for (c = 0; c < cluster->clients_per_node; c++) {
			const struct cluster_client *client = &node->clients[c];

			if (client->ops_left != 0 || client->state != CLIENT_THINKING ||
			    client->unknown) {
				snprintf(why, bytes, "node %u client %u has %u operations left",
					 n + 1, c, client->ops_left);
				return false;
			}
		}
	}
	for (n = 0; n < cluster->node_count; n++) {
		if (!peers_are_up(cluster, n, why, bytes))
			return false;
		for (w = 0; w < cluster->nodes[n].worker_count; w++) {
			if (!worker_is_at_rest(cluster, n, w, why, bytes) ||
			    !sessions_are_at_rest(cluster, n, w, why, bytes))
				return false;
		}
	}
	return cluster->admin_call < 0;
}

static bool
is_one_of(const char *state, const char *a, const char *b)
{
	return strcmp(state, a) == 0 || strcmp(state, b) == 0;
}

static void
check_page(struct cluster *cluster, uint32_t page)
{
	struct tp_coherence_page_info infos[SIM_NODES_MAX];
	uint32_t n, home = CLUSTER_NONE;

	for (n = 0; n < cluster->node_count; n++) {
		struct cluster_node *node = &cluster->nodes[n];

		tp_coherence_page_info_get(tp_worker_coherence(worker_of(cluster, node, page)),
			cluster->region_id, page, &infos[n]);
		if (infos[n].home_state[0] != '\0')
			home = n;
	}
	if (home == CLUSTER_NONE)
		cluster_fail(cluster, "page %u has no home", page);
	for (n = 0; n < cluster->node_count; n++) {
		const char *state = infos[n].cache_state;

		if (!is_one_of(state, "I", "") && !is_one_of(state, "S", "M"))
			cluster_fail(cluster, "page %u node %u rests in %s", page, n + 1, state);
		if (strcmp(state, "M") == 0 && (strcmp(infos[home].home_state, "M") != 0 ||
						infos[home].owner != n + 1))
			cluster_fail(cluster, "page %u: node %u has M, home %s owner %u", page,
				     n + 1, infos[home].home_state, infos[home].owner);
		if (strcmp(state, "S") == 0 && strcmp(infos[home].home_state, "S") != 0)
			cluster_fail(cluster, "page %u: node %u has S, home %s", page, n + 1,
				     infos[home].home_state);
	}
	if (strcmp(infos[home].home_state, "L") == 0 && !cluster->may_be_lost)
		cluster_fail(cluster, "page %u is lost and nobody crashed", page);
}

/* Nobody was ever given up: no fence, no epoch but the first, no peer down. */
void
cluster_check_together(struct cluster *cluster)
{
	uint32_t n, w;

	for (n = 0; n < cluster->node_count; n++) {
		const struct tp_control *control = cluster->nodes[n].control;
		const struct tp_control_stats *stats = tp_control_stats_get(control);

		if (stats->fenced + stats->fences != 0 || stats->joins != 1)
			cluster_fail(cluster, "node %u fenced %u times and was fenced %u times, "
				     "and nobody was silent", n + 1, (unsigned int)stats->fences,
				     (unsigned int)stats->fenced);
		for (w = 0; w < cluster->nodes[n].worker_count; w++) {
			uint64_t down = tp_endpoint_counters(tp_worker_endpoint(tp_control_worker(
				control, (uint16_t)w)))[TP_ENDPOINT_COUNTER_peers_down];

			if (down != 0)
				cluster_fail(cluster, "node %u worker %u gave up %u peers, and "
					     "nobody was silent", n + 1, w, (unsigned int)down);
		}
	}
}

/* The directory and the caches say the same. */
void
cluster_check_rest(struct cluster *cluster)
{
	uint32_t page, n, w;

	for (n = 0; n < cluster->node_count; n++) {
		uint64_t fenced = tp_control_stats_get(cluster->nodes[n].control)->fenced;

		/* A fenced node drops its copies, the only ones too. */
		cluster->may_be_lost |= fenced != 0;
		cluster->result->fences += (uint32_t)fenced;
	}
	for (page = 0; page < cluster->workload.pages; page++)
		check_page(cluster, page);
	for (n = 0; n < cluster->node_count; n++) {
		for (w = 0; w < cluster->nodes[n].worker_count; w++) {
			struct tp_worker *worker =
				tp_control_worker(cluster->nodes[n].control, (uint16_t)w);
			const struct tp_coherence_stats *c =
				tp_coherence_stats_get(tp_worker_coherence(worker));
			const struct tp_worker_stats *s = tp_worker_stats_get(worker);

			/* While generations change, what the old one left meets refusals. */
			if ((c->protocol_errors != 0 && cluster->workload.generations == 1) ||
			    c->bad_messages + s->messages_bad != 0)
				cluster_fail(cluster, "node %u: %u impossible, %u malformed and %u "
					     "bad messages", n + 1, (unsigned int)c->protocol_errors,
					     (unsigned int)c->bad_messages,
					     (unsigned int)s->messages_bad);
			cluster->result->pages_lost += (uint32_t)c->pages_lost;
		}
	}
}
