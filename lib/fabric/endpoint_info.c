/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What an endpoint says of itself: counters and the state of its sessions.
 */
#include <errno.h>

#include <rte_common.h>

#include "fabric_priv.h"

static const struct {
	const char *name;
	const char *help;
} info_counters[] = {
#define INFO_AS_ROW(name, help) { #name, help },
	TP_ENDPOINT_COUNTER_LIST(INFO_AS_ROW)
#undef INFO_AS_ROW
};
static_assert(RTE_DIM(info_counters) == TP_ENDPOINT_COUNTER_COUNT, "a row per counter");

const uint64_t *
tp_endpoint_counters(const struct tp_endpoint *ep)
{
	return ep->counters;
}

const char *
tp_endpoint_counter_name(unsigned int counter)
{
	return counter < RTE_DIM(info_counters) ? info_counters[counter].name : NULL;
}

const char *
tp_endpoint_counter_help(unsigned int counter)
{
	return counter < RTE_DIM(info_counters) ? info_counters[counter].help : NULL;
}

void
tp_endpoint_frames_held(const struct tp_endpoint *ep, uint32_t *tx_out, uint32_t *rx_out)
{
	*tx_out = ep->config.tx_frames - ep->packet_free_count;
	*rx_out = ep->rx_held + ep->rx_reserved_held;
}

static const struct fabric_session *
info_session(const struct tp_endpoint *ep, uint32_t index)
{
	const struct fabric_session *s = &ep->sessions[index];
	uint32_t i;

	for (i = 0; i < ep->session_free_count; i++) {
		if (ep->session_free[i] == index)
			return NULL;
	}
	return s;
}

static uint32_t
info_queued(const struct fabric_session *s)
{
	uint32_t count = 0;
	uint32_t class;

	for (class = 0; class < TP_CLASS_COUNT; class++)
		count += s->queued[0][class] + s->queued[1][class];
	return count;
}

int
tp_endpoint_session_info(const struct tp_endpoint *ep, uint32_t index,
	struct tp_session_info *info_out)
{
	const struct fabric_session *s;

	if (index >= ep->config.session_max)
		return -ERANGE;
	s = info_session(ep, index);
	if (s == NULL)
		return -ENOENT;
	*info_out = (struct tp_session_info){
		.node = ep->peers[s->peer_index].node,
		.worker = s->worker,
		.established = s->state == FABRIC_SESSION_ESTABLISHED,
		.local_epoch = s->local_epoch,
		.remote_epoch = s->remote_epoch,
		.fragment_bytes = s->fragment_bytes,
		.outstanding = fabric_session_outstanding(s),
		.queued = info_queued(s),
		.window_packets = s->cwnd.window,
		.bulk_window_packets = s->bulk_cwnd.window,
		.request_credit = s->credit_granted[TP_CLASS_REQUEST] -
			(s->credit_used[TP_CLASS_REQUEST] - s->credit_returned[TP_CLASS_REQUEST]),
		.forward_credit = s->credit_granted[TP_CLASS_FORWARD] -
			(s->credit_used[TP_CLASS_FORWARD] - s->credit_returned[TP_CLASS_FORWARD]),
		.srtt_ns = s->srtt_ns,
		.rtt_path_ns = s->srtt_ns == 0 ? 0 : fabric_congestion_path(s),
		.rto_ns = s->rto_ns,
		.retransmits = s->retransmits,
	};
	return 0;
}

int
tp_endpoint_session_progress(const struct tp_endpoint *ep, uint32_t index,
	struct tp_session_progress *progress_out)
{
	const struct fabric_session *s;

	if (index >= ep->config.session_max)
		return -ERANGE;
	s = &ep->sessions[index];
	if (s->state != FABRIC_SESSION_ESTABLISHED)
		return -ENOENT;
	*progress_out = (struct tp_session_progress){
		.node = ep->peers[s->peer_index].node,
		.acked = s->send_first,
		.queued = info_queued(s),
		.fragment_bytes = s->fragment_bytes,
		.full = fabric_session_outstanding(s) >= s->cwnd.window / 2,
	};
	return 0;
}

#ifdef TP_MUTANTS
void
tp_fabric_mutant_set(struct tp_endpoint *ep, enum tp_fabric_mutant mutant)
{
	ep->mutant = mutant;
}
#endif
