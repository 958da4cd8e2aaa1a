/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Membership: sessions lost and made, nodes fenced, homes started anew. What is
 * long (every page of a node) goes on in tp_coherence_poll(), one job after the
 * other in the order the events came.
 */
#include "coherence_priv.h"

#define JOB_ENTRIES 256	/* directory entries looked at in one turn */

static void
job_push(struct tp_coherence *c, enum coherence_job_kind kind, uint16_t node)
{
	struct coherence_job *last;
	uint32_t at;

	/* The same again before it began is the same. */
	if (c->job_count > 1) {
		last = &c->jobs[(c->job_first + c->job_count - 1) % c->job_capacity];
		if (last->kind == kind && last->node == node)
			return;
	}
	RTE_ASSERT(c->job_count < c->job_capacity);
	if (c->job_count == c->job_capacity)
		return;
	at = (c->job_first + c->job_count++) % c->job_capacity;
	c->jobs[at] = (struct coherence_job){ .kind = (uint8_t)kind, .node = node };
}

static bool
is_other(const struct tp_coherence *c, uint16_t node)
{
	return node <= c->config.node_id_max && node != c->config.node_id;
}

void
tp_coherence_peer_down(struct tp_coherence *c, uint16_t node, uint64_t now,
	struct tp_outbox *outbox)
{
	if (!is_other(c, node))
		return;
	c->peers[node].up = false;
	c->peers[node].up_after = false;
	c->peers[node].ups++;
	c->peers[node].downs++;
	coherence_fences_sessions_over(c);
	job_push(c, JOB_DOWN, node);
}

static void
peer_is_up(struct tp_coherence *c, uint16_t node)
{
	struct coherence_peer *peer = &c->peers[node];

	peer->up = true;
	peer->up_after = false;
	peer->fenced = false;
	peer->fence_asked = false;
	peer->muted = false;
	peer->ups++;
	job_push(c, JOB_UP, node);
}

void
tp_coherence_peer_up(struct tp_coherence *c, uint16_t node, uint16_t worker_count, uint64_t now,
	struct tp_outbox *outbox)
{
	if (!is_other(c, node) || worker_count == 0)
		return;
	c->peers[node].worker_count = worker_count;
	/* Its old copies come off the books first: it may get new ones. */
	if (c->peers[node].fencing)
		c->peers[node].up_after = true;
	else
		peer_is_up(c, node);
}

void
tp_coherence_peer_fenced(struct tp_coherence *c, uint16_t node, uint64_t now,
	struct tp_outbox *outbox)
{
	if (!is_other(c, node))
		return;
	c->peers[node].up = false;
	c->peers[node].up_after = false;
	c->peers[node].ups++;
	c->peers[node].downs++;
	coherence_fences_sessions_over(c);
	c->peers[node].fenced = true;
	c->peers[node].fencing = true;
	job_push(c, JOB_FENCED, node);
}

void
tp_coherence_home_reset(struct tp_coherence *c, uint16_t node, uint64_t now,
	struct tp_outbox *outbox)
{
	if (!is_other(c, node))
		return;
	job_push(c, JOB_HOME_RESET, node);
}

void
tp_coherence_self_fenced(struct tp_coherence *c, uint64_t now, struct tp_outbox *outbox)
{
	uint32_t node;

	/* What the others answer in the old sessions counts for nothing. */
	for (node = 0; node <= c->config.node_id_max; node++) {
		if (node == c->config.node_id)
			continue;
		c->peers[node].muted = true;
		c->peers[node].downs++;
	}
	coherence_fences_sessions_over(c);
	job_push(c, JOB_SELF_FENCED, TP_NODE_NONE);
}

/* The job is about pages of this home. */
static bool
job_is_about(const struct tp_coherence *c, const struct coherence_job *job, uint16_t home)
{
	return job->kind == JOB_SELF_FENCED ? home != c->config.node_id : home == job->node;
}

/*
 * Atomics and their settlement belong to a session, and so does a wish to persist.
 * An atomic ends with it, and that wish; the job is late for one that was sent in the next session already. A settlement is
 * asked for again, and given up if there is no next session soon.
 */
static bool
job_loose(struct tp_coherence *c, const struct coherence_job *job,
	struct coherence_request *request)
{
	struct coherence_event ev;

	if (coherence_mutant(c, MUTANT_double_atomic) && request->sent == TP_MSG_AMO &&
	    job->kind <= JOB_UP) {
		coherence_event_init(&ev, c, &c->regions[request->region], request->page);
		if (job->kind == JOB_UP && request->ups != c->peers[job->node].ups)
			coherence_request_send(&ev, request, request->sent, TP_MSG_F_RETRY);
		return true;
	}
	if (request->sent != TP_MSG_SETTLE && (job->kind == JOB_UP ||
	    request->downs == c->peers[request->home].downs))
		return true;
	switch (job->kind) {
	case JOB_UP:
		coherence_event_init(&ev, c, &c->regions[request->region], request->page);
		coherence_atomic_back(&ev, request);
		return true;
	case JOB_DOWN:
		if (request->sent == TP_MSG_SETTLE) {
			coherence_atomic_wait_short(c, request);
			return true;
		}
		return coherence_request_fail(c, request, TP_UNREACHABLE);
	case JOB_HOME_RESET:
		return coherence_request_fail(c, request, TP_NODE_CRASHED);
	default:
		return coherence_request_fail(c, request, TP_PARTITION);
	}
}

/* One request: what the job does to it. @return false: once more. */
static bool
job_request(struct tp_coherence *c, const struct coherence_job *job,
	struct coherence_request *request)
{
	struct coherence_event ev;

	if (!request->used || !job_is_about(c, job, request->home))
		return true;
	if (coherence_request_is_loose(request))
		return job_loose(c, job, request);
	coherence_event_init(&ev, c, &c->regions[request->region], request->page);
	switch (job->kind) {
	case JOB_DOWN:
		if (!coherence_request_fail(c, request, TP_UNREACHABLE))
			return false;
		if (request->used)
			coherence_request_settle(c, request);
		return true;
	case JOB_UP:
		/* What was sent in this session already is on its way. */
		if (request->sent != 0 && request->ups != c->peers[job->node].ups)
			coherence_request_send(&ev, request, request->sent, TP_MSG_F_RETRY);
		return true;
	case JOB_HOME_RESET:
		return coherence_request_void(c, request, TP_NODE_CRASHED);
	default:
		return coherence_request_void(c, request, TP_PARTITION);
	}
}

static void
job_frame(struct tp_coherence *c, const struct coherence_job *job, struct coherence_frame *frame)
{
	struct coherence_event ev;

	if (frame->state != FRAME_HELD)
		return;
	coherence_event_init(&ev, c, &c->regions[frame->region], frame->page);
	if (!job_is_about(c, job, ev.home))
		return;
	if (job->kind == JOB_UP) {
		coherence_cache_repeat(&ev);
		return;
	}
	if (job->kind == JOB_DOWN || ev.page->state == CACHE_DROP)
		return;
	ev.reason = job->kind == JOB_HOME_RESET ? TP_NODE_CRASHED : TP_PARTITION;
	coherence_cache_step(&ev, CE_LOSE);
}

static void
job_busy(struct tp_coherence *c, const struct coherence_job *job, struct coherence_busy *busy)
{
	struct coherence_event ev;

	if (!busy->used)
		return;
	coherence_event_init(&ev, c, &c->regions[busy->region], busy->page);
	if (!coherence_home_entry(&ev))
		return;
	if (job->kind == JOB_DOWN)
		coherence_busy_waits(&ev, job->node);
	else
		coherence_busy_resend(&ev, job->node);
}

/* Take a fenced node off the books of one entry. @return false: no entry left. */
static bool
job_entry(struct tp_coherence *c, struct coherence_job *job)
{
	struct coherence_region *region = &c->regions[job->region];
	struct coherence_event ev;
	uint32_t home_index = TP_DIRECTORY_INDEX_NONE;
	uint32_t page;

	if (job->region >= c->region_count)
		return false;
	if (region->region != NULL && !region->removing && region->directory_slot != UINT32_MAX)
		home_index = tp_directory_entry_next(c->config.directory, region->directory_slot,
			job->cursor);
	if (home_index == TP_DIRECTORY_INDEX_NONE) {
		job->region++;
		job->cursor = 0;
		return true;
	}
	job->cursor = home_index + 1;
	page = tp_region_page_of(region->region, c->config.node_id, home_index);
	if (page == TP_REGION_PAGE_NONE || !coherence_page_is_owned(c, region, page))
		return true;
	coherence_event_init(&ev, c, region, page);
	ev.from = job->node;
	if (coherence_home_entry(&ev))
		coherence_home_step(&ev, HE_FENCED);
	return true;
}

static void
fenced_over(struct tp_coherence *c, uint16_t node)
{
	struct coherence_peer *peer = &c->peers[node];

	peer->fencing = false;
	if (peer->up_after)
		peer_is_up(c, node);
}

enum job_stage {
	STAGE_REQUESTS,
	STAGE_FRAMES,
	STAGE_BUSY,
	STAGE_OVER,
};

/* @return false: the stage is over. */
static bool
job_stage(struct tp_coherence *c, struct coherence_job *job)
{
	switch (job->stage) {
	case STAGE_REQUESTS:
		if (job->cursor >= c->request_total)
			return false;
		if (job_request(c, job, &c->requests[job->cursor]))
			job->cursor++;
		return true;
	case STAGE_FRAMES:
		if (job->kind == JOB_DOWN || job->cursor >= c->frame_count)
			return false;
		job_frame(c, job, &c->frames[job->cursor++]);
		return true;
	case STAGE_BUSY:
		if (job->kind >= JOB_FENCED || job->cursor >= c->config.busy_count)
			return false;
		job_busy(c, job, &c->busy[job->cursor++]);
		return true;
	default:
		return false;
	}
}

/* @return true: the job is done. */
static bool
job_step(struct tp_coherence *c, struct coherence_job *job)
{
	if (job->kind == JOB_FENCED) {
		if (job_entry(c, job))
			return false;
		fenced_over(c, job->node);
		return true;
	}
	if (job->kind == JOB_HOME_RESET && job->stage == STAGE_REQUESTS && job->cursor == 0)
		c->peers[job->node].resets++;
	if (job_stage(c, job))
		return false;
	job->cursor = 0;
	return ++job->stage == STAGE_OVER;
}

uint32_t
coherence_job_poll(struct tp_coherence *c)
{
	uint32_t work = 0;

	while (c->job_count != 0 && coherence_room(c) && work < JOB_ENTRIES) {
		struct coherence_job job = c->jobs[c->job_first];
		bool done = job_step(c, &job);

		work++;
		if (done) {
			c->job_first = (c->job_first + 1) % c->job_capacity;
			c->job_count--;
		} else {
			c->jobs[c->job_first] = job;
		}
	}
	return work;
}
