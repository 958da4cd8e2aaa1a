/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * One seed of the core harness.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"
#include "tp_types.h"

#define SPAN (1500 * SIM_MS)		/* faults fall in here */
#define END_LATEST (30000 * SIM_MS)	/* progress: a run is over by then */

void
core_fail(struct core *core, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(core->result->why, sizeof(core->result->why), format, args);
	va_end(args);
	core->result->failed = true;
	longjmp(core->failed, 1);
}

void
core_trace(struct core *core, const char *what, uint64_t a, uint64_t b, uint64_t c)
{
	sim_trace_add(&core->trace, core->now);
	sim_trace_add(&core->trace, a << 32 ^ b << 16 ^ c);
	if (core->options->trace && what != NULL)
		printf("%12" PRIu64 " %-12s %" PRIx64 " %" PRIx64 " %" PRIx64 "\n", core->now,
		       what, a, b, c);
}

void
core_event_add(struct core *core, uint64_t delay, uint32_t kind, uint32_t node, uint64_t a,
	       void *data)
{
	struct queue_event event = { .time = core->now + delay, .kind = kind, .node = node, .a = a,
		.b = core->nodes[node].boot, .data = data };

	queue_add(&core->queue, &event);
}

static void
region_describe(struct core *core, struct tp_region *region)
{
	uint32_t i;

	memset(region, 0, sizeof(*region));
	region->id = CORE_REGION;
	region->state = TP_REGION_ACTIVE;
	region->mode = TP_REGION_RW;
	region->distribution = TP_REGION_STRIPED;
	region->page_shift = 12;
	region->page_count = core->workload.pages;
	region->base = TP_ADDRESS_BASE + (UINT64_C(1) << 32) + (UINT64_C(1) << 21);
	region->bytes = (uint64_t)core->workload.pages << 12;
	region->generation = tp_generation_pack(1, core->generation + 1);
	region->born_node = 1;
	/* Few homes make requests collide at one. */
	region->node_count = (uint16_t)(core->node_count < 3 ? core->node_count : 3);
	for (i = 0; i < region->node_count; i++)
		region->nodes[i] = (uint16_t)(i + 1);
}

static void
worker_boot(struct core *core, uint32_t n, uint32_t w, bool home_lost)
{
	struct core_node *node = &core->nodes[n];
	struct core_worker *worker = &node->workers[w];
	struct tp_directory_worker_config directory_config = { .bitmap_count_max = 4,
		.transient_count_max = 64, .transient_bytes = 256 };
	struct tp_coherence_config config = {
		.node_id = (uint16_t)(n + 1),
		.worker = (uint16_t)w,
		.worker_count = (uint16_t)node->worker_count,
		.node_id_max = SIM_NODES_MAX,
		.epoch = node->epoch,
		.home_slot_first = w * node->slots_per_worker,
		.home_slot_count = core->home_slots,
		.cache_slot_first = w * node->slots_per_worker + core->home_slots,
		.cache_slot_count = core->cache_slots,
		.request_count = 64,
		.waiter_count = 64,
		.busy_count = 64,
		.deferred_count = 512,
		.kept_count = core->kept_count,
		.directory = node->directory,
	};

	worker->directory = tp_directory_worker_create(node->directory, &directory_config);
	config.directory_worker = worker->directory;
	worker->outbox = (struct tp_outbox){ .actions = worker->actions,
		.capacity = 2 * TP_ACTIONS_PER_EVENT };
	worker->engine = tp_coherence_create(&config);
	worker->timer_at = UINT64_MAX;
	if (worker->directory == NULL || worker->engine == NULL ||
	    tp_coherence_region_add(worker->engine, &node->region,
				    (uint32_t)node->directory_slot, home_lost) != 0)
		core_fail(core, "node %u cannot be made", n + 1);
}

void
core_node_boot(struct core *core, uint32_t n, bool home_lost)
{
	struct core_node *node = &core->nodes[n];
	struct tp_directory_config config = { .region_count_max = 4,
		.worker_count_max = CORE_WORKERS_MAX, .node_id_max = SIM_NODES_MAX };
	uint32_t w, home_count, page;

	memset(node->workers, 0, sizeof(node->workers));
	region_describe(core, &node->region);
	node->alive = true;
	node->left = node->lapsed = node->fence_asked = node->removing = false;
	node->lease_until = UINT64_MAX;
	node->generation = core->generation;
	node->slots_per_worker = core->home_slots + core->cache_slots;
	node->slot_count = node->worker_count * node->slots_per_worker;
	node->slots = calloc(node->slot_count, sizeof(*node->slots));
	node->directory = tp_directory_create(&config);
	if (node->slots == NULL || node->directory == NULL)
		core_fail(core, "no memory");
	home_count = tp_region_home_count(&node->region, (uint16_t)(n + 1));
	node->directory_slot = -1;
	if (home_count > 0)
		node->directory_slot = tp_directory_region_add(node->directory, CORE_REGION,
			node->region.generation, home_count);
	core_region_words_clear(core, n);
	for (w = 0; w < node->worker_count; w++)
		worker_boot(core, n, w, home_lost);
	for (page = 0; home_lost && page < core->workload.pages; page++) {
		if (tp_region_home(&node->region, page) == n + 1)
			core->may_be_lost[core->generation][page] = true;
	}
	for (w = 0; w < core->clients_per_node; w++) {
		memset(&node->clients[w].guard, 0, sizeof(node->clients[w].guard));
		core_client_start(core, n, w, node->clients[w].ops_left);
	}
}

void
core_node_free(struct core *core, uint32_t n)
{
	struct core_node *node = &core->nodes[n];
	uint32_t w;

	for (w = 0; w < node->worker_count; w++) {
		tp_coherence_destroy(node->workers[w].engine);
		node->workers[w].engine = NULL;
	}
	tp_directory_destroy(node->directory);
	free(node->slots);
	node->directory = NULL;
	node->slots = NULL;
}

/* Single writer or many readers, over words that can serve hits and guards that are held. */
static void
check_words(struct core *core)
{
	uint32_t page, n, c;

	for (page = 0; page < core->workload.pages; page++) {
		uint32_t generation[2] = { CORE_NONE, CORE_NONE }, readers = 0, writers = 0;

		for (n = 0; n < core->node_count; n++) {
			const struct core_node *node = &core->nodes[n];
			bool reads, writes;

			if (!node->alive || node->generation != core->generation ||
			    core->now >= node->lease_until)
				continue;
			reads = node->words[page].access != TP_ACCESS_NONE;
			writes = node->words[page].access == TP_ACCESS_WRITE;
			for (c = 0; c < core->clients_per_node; c++) {
				const struct core_guard *g = &node->clients[c].guard;

				if (g->active && !g->broken && g->page == page &&
				    g->generation == core->generation && core->now < g->until) {
					reads = true;
					writes |= g->write;
				}
			}
			readers += reads;
			writers += writes;
			generation[writes] = n + 1;
		}
		if (writers > 1 || (writers == 1 && readers > 1))
			core_fail(core, "page %u: %u writers, %u with access (nodes %u and %u)",
				  page, writers, readers, generation[1], generation[0]);
	}
}

static void
poll(struct core *core, uint32_t n, uint32_t w)
{
	struct core_worker *worker = &core->nodes[n].workers[w];
	uint32_t work, turns = 0;
	uint64_t next;

	do {
		work = tp_coherence_poll(worker->engine, core->now, &worker->outbox);
		worker->poll_scheduled = true;	/* this loop is that poll */
		core_run(core, n, w);
		if (++turns > 10000)
			core_fail(core, "node %u: tp_coherence_poll() never rests", n + 1);
	} while (work != 0);
	worker->poll_scheduled = false;
	next = tp_coherence_next_timer(worker->engine);
	if (next == UINT64_MAX || (next >= worker->timer_at && worker->timer_at > core->now))
		return;
	worker->timer_at = next > core->now ? next : core->now + 1;
	core_event_add(core, worker->timer_at - core->now, EVENT_TIMER, n, w, NULL);
}

static void
engine_event(struct core *core, const struct queue_event *event)
{
	uint32_t n = event->node, w = (uint32_t)event->a;

	switch (event->kind) {
	case EVENT_MESSAGE:
		core_receive(core, n, event);
		break;
	case EVENT_LOCAL:
		core_local(core, n, w);
		break;
	case EVENT_POLL:
	case EVENT_TIMER:
		poll(core, n, w);
		break;
	default:
		core_guards_look(core, n, w);
	}
}

static void
dispatch(struct core *core, const struct queue_event *event)
{
	struct core_node *node = &core->nodes[event->node];

	switch (event->kind) {
	case EVENT_MESSAGE:
		core->in_flight--;
		/* fall through */
	case EVENT_LOCAL:
	case EVENT_POLL:
	case EVENT_TIMER:
	case EVENT_GUARD_LOOK:
		if (node->alive && node->boot == event->b)
			engine_event(core, event);
		break;
	case EVENT_CLIENT:
		if (node->boot == event->b)
			core_client_event(core, event->node, event->a & 0xff,
				(uint32_t)(event->a >> 8));
		break;
	case EVENT_FAULT:
		core->faults_left--;
		core_fault(core);
		break;
	case EVENT_BREAK:
		if (!core->sweeping && core->link_up[event->node][event->a])
			core_session_break(core, event->node, (uint32_t)event->a,
				sim_rng_between(&core->fault_rng, 0, 20 * SIM_MS));
		break;
	case EVENT_RESET:
		core_region_reset(core);
		break;
	case EVENT_REGION_REMOVE:
	case EVENT_REGION_ADD:
		core_region_event(core, event);
		break;
	case EVENT_CRASH:
		core_crash(core, event->node);
		break;
	default:
		core_member_event(core, event);
	}
}

/* One event; false when none is left. */
static bool
step(struct core *core)
{
	struct queue_event event;
	struct core_node *node;

	if (!queue_take(&core->queue, &event))
		return false;
	node = &core->nodes[event.node];
	core->now = event.time;
	if (core->now > END_LATEST)
		core_fail(core, "no end after %u s of virtual time", (unsigned int)(END_LATEST / SIM_MS / 1000));
	if (core->now < node->paused_until && event.kind != EVENT_FAULT &&
	    event.kind != EVENT_LAPSE && event.kind != EVENT_GREET &&
	    event.kind != EVENT_RESET && event.kind != EVENT_RETURN) {
		/* The whole machine stands still; what arrives waits. */
		event.time = node->paused_until + sim_rng_below(&core->rng, 1000);
		queue_add(&core->queue, &event);
		return true;
	}
	core->result->events++;
	core->in_hand = event.data;
	dispatch(core, &event);
	free(event.data);
	core->in_hand = NULL;
	check_words(core);
	return true;
}

static bool
clients_are_done(const struct core *core)
{
	uint32_t n, c;

	for (n = 0; n < core->node_count; n++) {
		if (!core->nodes[n].alive || core->nodes[n].left || core->nodes[n].fence_asked ||
		    core->now < core->nodes[n].paused_until)
			return false;
		for (c = 0; c < core->clients_per_node; c++) {
			const struct core_client *client = &core->nodes[n].clients[c];

			if (client->ops_left != 0 || client->phase != CLIENT_THINKING ||
			    client->atomic.unknown)
				return false;
		}
	}
	return true;
}

static bool
engines_are_idle(const struct core *core)
{
	uint32_t n, m, w, p;

	if (core->in_flight != 0)
		return false;
	for (n = 0; n < core->node_count; n++) {
		for (m = 0; m < core->node_count; m++) {
			if (m != n && (!core->link_up[n][m] || core->must_hear[n][m] ||
				       !core->nodes[n].peer_up[m]))
				return false;
		}
	}
	for (n = 0; n < core->node_count; n++) {
		for (w = 0; w < core->nodes[n].worker_count; w++) {
			struct tp_coherence_usage usage;
			const struct core_worker *worker = &core->nodes[n].workers[w];

			tp_coherence_usage_get(worker->engine, &usage);
			if (usage.requests + usage.waiters + usage.busy + usage.deferred +
			    usage.quarantined + worker->token_count != 0 ||
			    worker->local_head != worker->local_tail)
				return false;
			for (p = 0; p < core->workload.pages; p++) {
				if (worker->revoking[p])
					return false;
			}
		}
	}
	return true;
}

#define REST_FOR (3 * SIM_MS)

/* Run until everything rests; what still holds something then is a leak. */
static void
settle(struct core *core, const char *what)
{
	uint64_t give_up = core->now + 12000 * SIM_MS, resting_at = core->now;
	uint32_t n, w;

	for (;;) {
		/*
		 * An engine may have just been told what it will act on at its next poll.
		 * The last event looked at counts, too: it may be one that ends the rest.
		 */
		if (!clients_are_done(core) || !engines_are_idle(core) || core->resetting != 0)
			resting_at = core->now;
		if (core->now >= resting_at + REST_FOR)
			return;
		if (core->now < give_up && step(core))
			continue;
		for (n = 0; n < core->node_count; n++) {
			for (w = 0; core->nodes[n].alive && w < core->nodes[n].worker_count; w++) {
				struct tp_coherence_usage u;

				tp_coherence_usage_get(core->nodes[n].workers[w].engine, &u);
				if (u.requests + u.waiters + u.busy + u.deferred + u.quarantined +
				    core->nodes[n].workers[w].token_count == 0)
					continue;
				core_fail(core, "%s: node %u worker %u still holds %u requests, %u "
					  "waiters, %u busy, %u deferred, %u quarantined, %u credits",
					  what, n + 1, w, u.requests, u.waiters, u.busy, u.deferred,
					  u.quarantined, core->nodes[n].workers[w].token_count);
			}
		}
		core_fail(core, "%s: something never rests", what);
	}
}

static bool
is_one_of(const char *state, const char *a, const char *b)
{
	return strcmp(state, a) == 0 || strcmp(state, b) == 0;
}

/* At rest the directory and the caches say the same. */
static void
check_directory(struct core *core)
{
	uint32_t page, n;

	for (page = 0; page < core->workload.pages; page++) {
		struct tp_coherence_page_info home = { 0 }, info;
		uint32_t home_node = tp_region_home(&core->nodes[0].region, page) - 1u;
		const struct core_node *h = &core->nodes[home_node];

		tp_coherence_page_info_get(h->workers[core_worker_of(core, h, page)].engine,
			CORE_REGION, page, &home);
		for (n = 0; n < core->node_count; n++) {
			const struct core_node *node = &core->nodes[n];

			tp_coherence_page_info_get(
				node->workers[core_worker_of(core, node, page)].engine,
				CORE_REGION, page, &info);
			if (!is_one_of(info.cache_state, "I", "") &&
			    !is_one_of(info.cache_state, "S", "M"))
				core_fail(core, "page %u node %u rests in %s", page, n + 1,
					  info.cache_state);
			if (strcmp(info.cache_state, "M") == 0 &&
			    (strcmp(home.home_state, "M") != 0 || home.owner != n + 1))
				core_fail(core, "page %u: node %u has M, home %s owner %u", page,
					  n + 1, home.home_state, home.owner);
			if (strcmp(info.cache_state, "S") == 0 && strcmp(home.home_state, "S") != 0)
				core_fail(core, "page %u: node %u has S, home %s", page, n + 1,
					  home.home_state);
		}
		if (!is_one_of(home.home_state, "U", "S") && !is_one_of(home.home_state, "M", "L"))
			core_fail(core, "page %u: home rests in %s", page, home.home_state);
		if (strcmp(home.home_state, "L") == 0 &&
		    !core->may_be_lost[core->generation][page])
			core_fail(core, "page %u is lost and nobody crashed", page);
	}
}

static void
check_histories(struct core *core)
{
	struct history_report report = workload_check(&core->workload);

	if (report.verdict == HISTORY_OK)
		return;
	if (core->options->trace)
		workload_print(&core->workload, report.word);
	if (report.verdict == HISTORY_GAVE_UP)
		core_fail(core, "checker gave up on word %u", report.word);
	if (report.total_order)
		core_fail(core, "no total order over all words");
	core_fail(core, "page %u word %u of generation %u is not linearizable",
		  report.word / core->workload.words % core->workload.pages,
		  report.word % core->workload.words,
		  report.word / core->workload.words / core->workload.pages);
}

/* Every engine's impossible messages are ours: nothing here corrupts any. */
static void
check_stats(struct core *core)
{
	uint32_t n, w;

	for (n = 0; n < core->node_count; n++) {
		for (w = 0; core->nodes[n].alive && w < core->nodes[n].worker_count; w++) {
			const struct tp_coherence_stats *stats =
				tp_coherence_stats_get(core->nodes[n].workers[w].engine);

			/* While generations change, what the old one left meets refusals. */
			if (stats->protocol_errors != 0 && core->generation == 0)
				core_fail(core, "node %u: %u messages impossible in their state", n + 1,
					  (unsigned int)stats->protocol_errors);
			core->result->pages_lost += (uint32_t)stats->pages_lost;
		}
	}
}

static void
set_up(struct core *core)
{
	const struct sim_options *o = core->options;
	struct sim_rng rng = { .state = o->seed };
	uint32_t ops = o->ops == 0 ? 2000 : o->ops, faults, n, m, i;

	core->rng = sim_rng_fork(&rng);
	core->fault_rng = sim_rng_fork(&rng);
	core->node_count = o->nodes != 0 ? o->nodes :
		3 + sim_rng_below(&rng, SIM_NODES_MAX - 2);
	core->clients_per_node = 2 + sim_rng_below(&rng, SIM_CLIENTS_MAX - 1);
	workload_init(&core->workload, sim_rng_next(&rng), 1 + sim_rng_below(&rng, SIM_PAGES_MAX),
		1 + sim_rng_below(&rng, SIM_WORDS));
	core->cache_slots = 4 + sim_rng_below(&rng, 5);
	core->home_slots = SIM_PAGES_MAX;
	/* So few that results are lost, or enough. */
	core->kept_count = sim_rng_chance(&rng, 300) ? 2u << sim_rng_below(&rng, 5) : 1024;
	faults = o->faults == SIM_NO_FAULTS ? 0 : o->faults != 0 ? o->faults :
		20 + sim_rng_below(&rng, 21);
	core->faults_left = faults;
	core->result->nodes = core->node_count;
	for (n = 0; n < core->node_count; n++) {
		struct core_node *node = &core->nodes[n];

		node->worker_count = 1 + sim_rng_below(&rng, CORE_WORKERS_MAX);
		node->epoch = 1;
		for (m = 0; m < core->node_count; m++) {
			core->link_up[n][m] = m != n;
			node->peer_up[m] = m != n;
		}
		for (i = 0; i < core->clients_per_node; i++)
			node->clients[i].ops_left =
				ops / (core->node_count * core->clients_per_node) + 1;
		core_node_boot(core, n, false);
	}
	for (n = 0; n < core->node_count; n++) {
		for (m = 0; m < core->node_count; m++) {
			for (i = 0; m != n && i < core->nodes[n].worker_count; i++) {
				tp_coherence_peer_up(core->nodes[n].workers[i].engine,
					(uint16_t)(m + 1),
					(uint16_t)core->nodes[m].worker_count, 0,
					&core->nodes[n].workers[i].outbox);
				core_run(core, n, i);
			}
		}
	}
	core_event_add(core, SIM_MS, EVENT_GREET, 0, 0, NULL);
	for (i = 0; i < faults; i++)
		core_event_add(core, sim_rng_next(&core->fault_rng) % SPAN, EVENT_FAULT, 0, 0, NULL);
}

static void
run(struct core *core)
{
	uint32_t n, c;

	set_up(core);
	while (core->faults_left > 0 && step(core))
		;
	settle(core, "after the faults");
	check_directory(core);
	/* Everybody reads everything: what was acknowledged is there, or lost with its node. */
	core->sweeping = true;
	memset(core->slow_until, 0, sizeof(core->slow_until));	/* the last fault is over */
	for (n = 0; n < core->node_count; n++) {
		for (c = 0; c < core->clients_per_node; c++)
			core_client_start(core, n, c, core->workload.pages * core->workload.words);
	}
	core->workload.reasons[TP_TIMEOUT] = 0;
	settle(core, "after the sweep");
	check_directory(core);
	if (core->workload.reasons[TP_TIMEOUT] != 0)
		core_fail(core, "%u reads timed out with everything well",
			  core->workload.reasons[TP_TIMEOUT]);
	check_stats(core);
	check_histories(core);
}

void
sim_core_run(const struct sim_options *options, struct sim_result *result)
{
	struct core *core = calloc(1, sizeof(*core));
	uint32_t n;

	memset(result, 0, sizeof(*result));
	if (core == NULL)
		abort();
	core->options = options;
	core->result = result;
	queue_init(&core->queue);
	if (setjmp(core->failed) == 0)
		run(core);
	result->trace_hash = core->trace.hash;
	result->virtual_ns = core->now;
	result->ops_done = core->workload.done;
	result->ops_unknown = core->workload.unknown;
	result->ops_void = core->workload.voided;
	result->ops_settled = core->workload.settled;
	for (n = 0; n < core->node_count; n++) {
		if (core->nodes[n].directory != NULL)
			core_node_free(core, n);
	}
	free(core->in_hand);
	queue_fini(&core->queue);
	workload_fini(&core->workload);
	free(core);
}
