/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * How fast a link is that nobody has said it of. Owner: the worker's lcore.
 *
 * How it works. Every few milliseconds some session is looked for that has its window
 * full and more queued. While that lasts, a millisecond or two, what is acknowledged is
 * what the link carries: a sample. Where nothing queues, nothing is known, and
 * nothing need be: the link counts as fast until then. A processor that was busy
 * elsewhere looks like a slow link for a moment, so what counts is the best of the
 * last few means.
 */
#include <errno.h>

#include <rte_common.h>

#include "worker_priv.h"

#define SPEED_MEAN_NS UINT64_C(250000000)	/* one mean of at least SPEED_SAMPLES */
#define SPEED_SAMPLES 4u
#define SPEED_FAST UINT64_C(250000000)	/* bytes a second: pages go as they are from here on */
#define PROBE_PACKETS 16u		/* fewer say nothing */
#define PROBE_PACKETS_MAX 128u		/* more say no more */
#define PROBE_NS_MAX UINT64_C(4000000)
#define PROBE_SESSIONS 16u		/* looked at in one turn */

/* Bytes a second of the best mean. */
static uint64_t
speed_best(const struct worker_speed *speed)
{
	uint64_t best = 1;

	for (uint32_t i = 0; i < RTE_DIM(speed->means); i++)
		best = RTE_MAX(best, speed->means[i]);
	return best;
}

static void
speed_mean(struct tp_worker *worker, uint8_t link)
{
	struct worker_speed *speed = &worker->codec.speeds[link];
	uint32_t before = worker->codec.choosers[link].ns_per_kib;
	uint32_t ns_per_kib = 0;
	uint64_t best;

	speed->means[speed->next++ % RTE_DIM(speed->means)] = speed->sum / speed->samples;
	speed->sum = 0;
	speed->samples = 0;
	speed->until = worker->now + SPEED_MEAN_NS;
	best = speed_best(speed);
	if (best < SPEED_FAST)
		ns_per_kib = (uint32_t)RTE_MIN(1024 * UINT64_C(1000000000) / best,
			(uint64_t)UINT32_MAX);
	/* An eighth more or less changes no choice. */
	if (ns_per_kib != 0 && ns_per_kib < before + before / 8 &&
	    ns_per_kib > before - before / 8)
		return;
	worker_codec_link_set(worker, link, ns_per_kib);
}

static void
speed_sample(struct tp_worker *worker, uint8_t link, uint64_t bytes_per_s)
{
	struct worker_speed *speed = &worker->codec.speeds[link];

	if (!worker->config.link_measured[link])
		return;
	speed->sum += bytes_per_s;
	speed->samples++;
	if (speed->samples >= SPEED_SAMPLES && worker->now >= speed->until)
		speed_mean(worker, link);
}

/* A session to watch: one that is held up by its window. */
static void
probe_start(struct tp_worker *worker)
{
	struct worker_probe *probe = &worker->codec.probe;
	struct tp_session_progress at;
	int ret;

	for (uint32_t i = 0; i < PROBE_SESSIONS; i++, probe->session++) {
		ret = tp_endpoint_session_progress(worker->endpoint, probe->session, &at);
		if (ret == -ERANGE) {
			probe->session = 0;
			return;
		}
		if (ret < 0 || at.queued == 0 || !at.full)
			continue;
		probe->on = true;
		probe->node = at.node;
		probe->acked = at.acked;
		probe->since = worker->now;
		return;
	}
}

static void
probe_look(struct tp_worker *worker)
{
	struct worker_probe *probe = &worker->codec.probe;
	uint64_t ns = worker->now - probe->since;
	struct tp_session_progress at;
	uint32_t packets;

	probe->on = false;
	if (tp_endpoint_session_progress(worker->endpoint, probe->session, &at) < 0 ||
	    at.node != probe->node)
		return;
	packets = at.acked - probe->acked;
	if (at.queued != 0 && packets < PROBE_PACKETS_MAX && ns < PROBE_NS_MAX) {
		probe->on = true;
		return;
	}
	probe->session++;
	if (packets >= PROBE_PACKETS && packets <= 2 * PROBE_PACKETS_MAX && ns != 0)
		speed_sample(worker, worker->peers[at.node].link,
			(uint64_t)packets * at.fragment_bytes * UINT64_C(1000000000) / ns);
}

/* Called every few milliseconds, and each turn while it says so. */
bool
worker_link_speed_poll(struct tp_worker *worker)
{
	if (worker->codec.probe.on)
		probe_look(worker);
	else
		probe_start(worker);
	return worker->codec.probe.on;
}
