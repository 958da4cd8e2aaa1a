/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A worker: made by the control side, then its lcore's alone.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_common.h>
#include <rte_errno.h>
#include <rte_prefetch.h>

#include "inject_priv.h"
#include "worker_priv.h"

TP_LOG_REGISTER(node);

struct worker_region *
worker_region_find(struct tp_worker *worker, uint32_t region_id)
{
	uint32_t i = region_id % WORKER_REGIONS;

	if (likely(worker->region_last != NULL && worker->region_last->id == region_id))
		return worker->region_last;
	if (region_id == 0)
		return NULL;
	for (; worker->regions[i].id != 0; i = (i + 1) % WORKER_REGIONS) {
		if (worker->regions[i].id == region_id) {
			worker->region_last = &worker->regions[i];
			return worker->region_last;
		}
	}
	return NULL;
}

/* For events that must not be lost: the ring has room for all that can be under way. */
void
worker_event_push(struct tp_worker *worker, const struct worker_event *event)
{
	bool pushed = node_ring_push(&worker->events, event);

	RTE_ASSERT(pushed);
	RTE_SET_USED(pushed);
	if (worker->config.wake != NULL)
		worker->config.wake(worker->config.wake_ctx);
}

void
worker_fence_ask(struct tp_worker *worker, uint16_t node)
{
	struct worker_event event = { .type = WORKER_FENCE, .node = node };

	if (node > worker->config.node_id_max)
		return;
	event.epoch = worker->peers[node].epoch;
	if (node_ring_room(&worker->events) <= WORKER_EVENTS / 2) {
		worker->peers[node].fence_wanted = true;
		worker->fence_retry = true;
		return;
	}
	worker->peers[node].fence_wanted = false;
	worker_event_push(worker, &event);
}

static int
fifo_init(struct worker_fifo *fifo, uint32_t count)
{
	count = rte_align32pow2(count);
	fifo->items = calloc(count, sizeof(*fifo->items));
	fifo->mask = count - 1;
	return fifo->items == NULL ? -ENOMEM : 0;
}

static int
worker_tables_create(struct tp_worker *worker)
{
	const struct worker_config *config = &worker->config;
	uint32_t outstanding = config->coherence.request_count + config->coherence.busy_count;
	int ret = 0;

	worker->outbox.actions = worker->actions;
	worker->outbox.capacity = RTE_DIM(worker->actions);
	worker->rx_slot = TP_SLOT_ABSENT;
	/* A page that waits holds one of our slots; a spare one each while it moves. */
	worker->wait_max = 2 * config->own_slots + TP_ACTIONS_PER_EVENT;
	worker->regions = calloc(WORKER_REGIONS, sizeof(*worker->regions));
	worker->peers = calloc((size_t)config->node_id_max + 1, sizeof(*worker->peers));
	worker->waits = calloc(worker->wait_max, sizeof(*worker->waits));
	worker->held = calloc(config->waiter_count, sizeof(*worker->held));
	if (worker->regions == NULL || worker->peers == NULL || worker->waits == NULL ||
	    worker->held == NULL)
		return -ENOMEM;
	ret |= worker_stash_init(worker);
	ret |= worker_batch_init(worker);
	ret |= worker_codec_init(worker);
	ret |= worker_sums_init(worker);
	/* Each transaction of ours has a few messages to ourselves under way, repeats included. */
	ret |= fifo_init(&worker->local, 8 * outstanding + config->own_slots);
	ret |= node_ring_init(&worker->commands, WORKER_COMMANDS, sizeof(struct worker_command));
	ret |= node_ring_init(&worker->events, WORKER_EVENTS, sizeof(struct worker_event));
	return ret == 0 ? 0 : -ENOMEM;
}

static void
worker_slot_prefetch(const struct tp_worker *worker, uint32_t slot, uint32_t offset,
	uint32_t bytes)
{
	const uint8_t *at = worker_slot(worker, slot) + offset;
	uint32_t i;

	for (i = 0; i < bytes; i += RTE_CACHE_LINE_SIZE)
		rte_prefetch0(at + i);
}

static void
worker_page_prefetch(const struct tp_worker *worker, uint32_t slot)
{
	worker_slot_prefetch(worker, slot, 0,
		RTE_MIN(worker->config.slot_bytes, WORKER_PREFETCH_BYTES));
}

/*
 * Memory takes a page's lines one after the other if the copy is the first to
 * ask for them, at the worst moment. A home asks when it knows which page, and
 * decides meanwhile; who asks for a page fetches the lines that it will fill
 * once the request is on its way.
 */
static void
worker_slot_hint(void *ctx, uint32_t slot, uint32_t offset, uint32_t bytes, bool later)
{
	struct tp_worker *worker = ctx;

	if (bytes != 0)
		worker_slot_prefetch(worker, slot, offset, bytes);
	else if (!later)
		worker_page_prefetch(worker, slot);
	else if (worker->expected_count < WORKER_EXPECTED)
		worker->expected[worker->expected_count++] = slot;
}

static void
worker_expected_prefetch(struct tp_worker *worker)
{
	uint32_t i;

	for (i = 0; i < worker->expected_count; i++)
		worker_page_prefetch(worker, worker->expected[i]);
	worker->expected_count = 0;
}

/* NULL with rte_errno: ENOMEM, or of the endpoint or the engine. */
struct tp_worker *
worker_create(const struct worker_config *config)
{
	struct tp_worker *worker = aligned_alloc(64, RTE_ALIGN_CEIL(sizeof(*worker), 64));

	if (worker == NULL) {
		rte_errno = ENOMEM;
		return NULL;
	}
	memset(worker, 0, sizeof(*worker));
	worker->config = *config;
	node_clock_init(&worker->clock, &config->clock);
	if (worker_tables_create(worker) < 0) {
		rte_errno = ENOMEM;
		goto destroy;
	}
	worker->config.coherence.referenced = worker_page_referenced;
	worker->config.coherence.referenced_ctx = worker;
	worker->config.coherence.slot_hint = worker_slot_hint;
	worker->config.coherence.slot_hint_ctx = worker;
	if (config->keeper != NULL) {
		worker->config.coherence.persisted = worker_persisted;
		worker->config.coherence.persisted_ctx = worker;
		worker->config.coherence.persist_count = KEEPER_JOBS;
	}
	worker->coherence = tp_coherence_create(&worker->config.coherence);
	if (worker->coherence == NULL)
		goto destroy;
	worker->endpoint = tp_endpoint_create(&config->endpoint, &worker_endpoint_ops, worker);
	if (worker->endpoint == NULL)
		goto destroy;
	worker_inject_init(worker);
	return worker;

destroy:
	worker_destroy(worker);
	return NULL;
}

void
worker_destroy(struct tp_worker *worker)
{
	int error = rte_errno;
	uint32_t i;

	if (worker == NULL)
		return;
	for (i = 0; worker->regions != NULL && i < WORKER_REGIONS; i++)
		worker_inject_region_gone(&worker->regions[i]);
	if (worker->endpoint != NULL)
		tp_endpoint_destroy(worker->endpoint);
	tp_coherence_destroy(worker->coherence);
	worker_stash_fini(worker);
	worker_codec_fini(worker);
	free(worker->sums);
	free(worker->local.items);
	node_ring_fini(&worker->commands);
	node_ring_fini(&worker->events);
	free(worker->batches);
	free(worker->held);
	free(worker->waits);
	free(worker->peers);
	free(worker->regions);
	free(worker);
	rte_errno = error;
}

static uint32_t
worker_coherence_poll(struct tp_worker *worker)
{
	uint32_t work = tp_coherence_poll(worker->coherence, worker->now, &worker->outbox);

	worker_outbox_run(worker);
	return work;
}

/* SELF_FENCED is over when no page waits for its guards and no copy is left to drop. */
static uint32_t
worker_fencing_poll(struct tp_worker *worker, uint32_t coherence_work)
{
	struct worker_event event = { .type = WORKER_FENCED_DONE };

	if (worker->fencing != WORKER_FENCING_RUNS || coherence_work != 0 ||
	    worker->wait_count != 0 || worker_fifo_first(&worker->local) != NULL)
		return 0;
	worker->fencing = WORKER_FENCING_DONE;
	worker_event_push(worker, &event);
	return 1;
}

static void
worker_draining_poll(struct tp_worker *worker)
{
	struct worker_event event = { .type = WORKER_DRAINED };

	if (!tp_coherence_is_drained(worker->coherence))
		return;
	/* What came back behind the first sweep. */
	if (worker->config.keeper != NULL && !worker->swept_again) {
		worker->swept_again = true;
		tp_coherence_persist_all(worker->coherence);
		return;
	}
	worker->draining = WORKER_DRAINING_DONE;
	worker_event_push(worker, &event);
}

/* For other threads: the endpoint itself may be replaced. */
void
worker_fabric_stats_copy(struct tp_worker *worker)
{
	const uint64_t *counters = tp_endpoint_counters(worker->endpoint);
	uint32_t i;

	worker->fabric_at = worker->now + WORKER_FABRIC_STATS_NS;
	for (i = 0; i < TP_ENDPOINT_COUNTER_COUNT; i++)
		worker->fabric[i] = worker->fabric_base[i] + counters[i];
}

const uint64_t *
tp_worker_fabric_stats_get(const struct tp_worker *worker)
{
	return worker->fabric;
}

/*
 * Whoever has an answer goes on at once: the rest of the turn is for nobody who
 * waits, so it is left to the next ones, though not to many in a row.
 */
static bool
worker_hurries(struct tp_worker *worker)
{
	if (worker->answered_count != 0 && worker->expected_count == 0 &&
	    worker_fifo_first(&worker->local) == NULL &&
	    worker->hurried < WORKER_HURRIES) {
		worker->hurried++;
		return true;
	}
	worker->hurried = 0;
	return false;
}

uint32_t
tp_worker_poll(struct tp_worker *worker, uint64_t now)
{
	uint32_t work = 0;
	uint32_t coherence_work;
	uint32_t frames;
	bool hurries;

	RTE_ASSERT(now >= worker->now);
	if (unlikely(now - worker->now > worker->config.lease_ns / 2))
		worker->stats.gaps++;
	worker->now = now;
	work += worker_stash_retry(worker);
	/* What the control side has told a client it did holds for that one's next request. */
	work += worker_commands_run(worker);
	/* Before the ports: a client that asked on this very core has yielded it for this. */
	if (likely(worker->fencing == WORKER_FENCING_NO &&
		   worker->draining == WORKER_DRAINING_NO && worker_stash_has_room(worker)))
		work += worker_rings_poll(worker);
	/* What was asked for is sent before anything else is looked at; so is what is answered. */
	if (work != 0)
		tp_endpoint_tx_flush(worker->endpoint, now);
	frames = tp_endpoint_rx_poll(worker->endpoint, now);
	if (unlikely(worker->batch_waiting.first != 0))
		frames += worker_batch_poll(worker);
	work += frames;
	hurries = worker_hurries(worker);
	/*
	 * An ack that nobody asked for goes with the next request: where sending is a system
	 * call it takes longer than all the rest of the answer. That request may come late, or
	 * never: what a peer asked for it would by then take for lost, and send less.
	 */
	if (frames != 0 && !(hurries && worker->in_flight == 0 &&
	    tp_endpoint_tx_is_acks(worker->endpoint)))
		tp_endpoint_tx_flush(worker->endpoint, now);
	if (hurries) {
		worker_sleepers_wake(worker);
		return work;
	}
	if (unlikely(worker->config.keeper != NULL))
		work += worker_persist_poll(worker);
	work += worker_local_run(worker);
	if (unlikely(worker->held_count != 0))
		work += worker_held_poll(worker);
	work += worker_guard_poll(worker);
	coherence_work = worker_coherence_poll(worker);
	work += coherence_work;
	work += worker_local_run(worker);
	if (unlikely(worker->fencing != WORKER_FENCING_NO))
		work += worker_fencing_poll(worker, coherence_work);
	if (unlikely(worker->draining == WORKER_DRAINING_RUNS))
		worker_draining_poll(worker);
	if (unlikely(worker->fence_retry || worker->lost_retry))
		work += worker_peers_retry(worker);
	if (unlikely(now >= worker->fabric_at)) {
		worker_fabric_stats_copy(worker);
		/* Each turn while a session is watched. */
		if (worker->codec.measures && worker_link_speed_poll(worker))
			worker->fabric_at = now;
	}
	work += tp_endpoint_timer_poll(worker->endpoint, now);
	work += tp_endpoint_tx_flush(worker->endpoint, now);
	if (worker->answered_count != 0)
		worker_sleepers_wake(worker);
	if (worker->expected_count != 0)
		worker_expected_prefetch(worker);
	return work;
}

uint64_t
tp_worker_next_timer(const struct tp_worker *worker)
{
	uint64_t next = tp_endpoint_next_timer(worker->endpoint);
	uint64_t coherence = tp_coherence_next_timer(worker->coherence);

	next = RTE_MIN(next, coherence);
	if (worker->config.inject != NULL)
		next = RTE_MIN(next, worker_inject_next(worker));
	if (worker->wait_count != 0 || worker->batch_waiting.first != 0 ||
	    worker->local.head != worker->local.tail ||
	    worker->fencing == WORKER_FENCING_RUNS || !worker_stash_is_empty(worker))
		return worker->now;
	/* What others decide is looked at from time to time: it may take them long. */
	if (worker->held_count != 0 || worker->regions_removing != 0)
		next = RTE_MIN(next, worker->now + WORKER_HELD_NS);
	/* Who persists wakes us; where nobody does we look. */
	if (worker->keeping != 0)
		next = RTE_MIN(next, worker->now + WORKER_HELD_NS);
	if (worker->config.keeper != NULL && worker->config.sweep_ns != 0 &&
	    worker->draining == WORKER_DRAINING_NO)
		next = RTE_MIN(next, worker->sweep_at);
	if (worker->quarantine_count != 0)
		next = RTE_MIN(next, worker->now + WORKER_QUARANTINE_NS);
	return next;
}

void
tp_worker_rx_frame(struct tp_worker *worker, struct tp_frame *frame, uint64_t now)
{
	worker->now = now;
	tp_endpoint_rx_frame(worker->endpoint, frame, now);
}

const struct tp_coherence *
tp_worker_coherence(const struct tp_worker *worker)
{
	return worker->coherence;
}

struct tp_endpoint *
tp_worker_endpoint(const struct tp_worker *worker)
{
	return worker->endpoint;
}

bool
tp_worker_is_draining(const struct tp_worker *worker)
{
	return worker->draining == WORKER_DRAINING_RUNS;
}

const struct tp_worker_stats *
tp_worker_stats_get(const struct tp_worker *worker)
{
	return &worker->stats;
}

void
tp_worker_usage_get(const struct tp_worker *worker, struct tp_worker_usage *usage)
{
	int class;

	*usage = (struct tp_worker_usage){
		.requests = worker->in_flight,
		.held = worker->held_count,
		.local = worker->local.head - worker->local.tail,
		.guard_waits = worker->wait_count,
		.quarantined = worker->quarantine_count,
	};
	for (class = 0; class < TP_CLASS_COUNT; class++)
		usage->stashed += worker->stash.count[class];
}

uint64_t
tp_worker_word(const struct tp_worker *worker, uint32_t region_id, uint32_t page_index)
{
	uint32_t i;

	for (i = 0; i < WORKER_REGIONS; i++) {
		const struct worker_region *region = &worker->regions[i];

		if (region->id == region_id && region_id != 0 && page_index < region->page_count)
			return atomic_load_explicit(&region->words[page_index],
				memory_order_relaxed);
	}
	return 0;
}

static const char *const worker_stat_names[] = {
#define WORKER_STAT_NAME(name, help) #name,
	TP_WORKER_STAT_LIST(WORKER_STAT_NAME)
#undef WORKER_STAT_NAME
};

static const char *const worker_stat_helps[] = {
#define WORKER_STAT_HELP(name, help) help,
	TP_WORKER_STAT_LIST(WORKER_STAT_HELP)
#undef WORKER_STAT_HELP
};

static_assert(sizeof(struct tp_worker_stats) / sizeof(uint64_t) == RTE_DIM(worker_stat_names),
	"one list");

const char *
tp_worker_stat_name(unsigned int stat)
{
	return stat < RTE_DIM(worker_stat_names) ? worker_stat_names[stat] : NULL;
}

const char *
tp_worker_stat_help(unsigned int stat)
{
	return stat < RTE_DIM(worker_stat_helps) ? worker_stat_helps[stat] : NULL;
}
