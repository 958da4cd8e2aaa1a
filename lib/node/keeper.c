/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The keeper: what comes in rings is stored in the pool, made to last together, and
 * answered. Owner of everything but the rings' other ends: the keeper's thread.
 *
 * How it works. A turn takes what all workers have handed over, stores it by deferred
 * commits and fences once. Each worker's pages are taken in order, and all that were taken
 * before the fence are answered after it: so an answer means that everything handed over
 * before lasts, too. After the first error nothing is stored any more: what
 * lasts would not be what the workers believe.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "idle_priv.h"
#include "keeper_region.h"
#include "ring_priv.h"
#include "worker_priv.h"

#define KEEPER_CALLS 1024u		/* a power of two, more than the control side has regions under way */
#define KEEPER_LANES 4u
#define KEEPER_LANE_BYTES (UINT32_C(8) << 20)
#define KEEPER_TRIM_BYTES (UINT64_C(64) << 20)	/* stored between giving DRAM back */

struct keeper_port {
	struct keeper *keeper;
	uint16_t worker;
	/* writer: the worker */
	uint8_t *buffers;
	uint32_t *free;			/* buffers, shape [KEEPER_JOBS] */
	uint32_t free_count;
	struct node_ring jobs;		/* worker to keeper */
	struct node_ring ended;		/* keeper to worker */
};

struct keeper {
	struct keeper_config config;
	struct keeper_pool pool;
	struct keeper_port *ports;	/* shape [worker_count] */
	uint32_t calls_out;		/* writer: the control side */
	struct node_ring calls;		/* control side to keeper */
	struct node_ring answers;	/* and back */
	struct keeper_done *batch;	/* shape [worker_count * KEEPER_JOBS] */
	uint32_t batch_ends[TP_ABI_WORKERS_MAX];	/* of each worker's part */
	uint64_t untrimmed;
	int error;			/* the pool's first */
	bool stored;			/* since the last fence */
	struct keeper_stats stats;
	pthread_t thread;
	bool running;
	_Atomic bool stop;
	struct tp_abi_bell bell;	/* does the thread sleep? As workers do. */
	int bell_fd;
};

static void
stat_add(_Atomic uint64_t *stat, uint64_t count)
{
	atomic_store_explicit(stat, atomic_load_explicit(stat, memory_order_relaxed) + count,
		memory_order_relaxed);
}

static int
pool_open(struct keeper *keeper)
{
	const struct tp_pmem_pool_config pool = {
		.name = "telepage",
		.lane_count = KEEPER_LANES,
		.lane_bytes = KEEPER_LANE_BYTES,
	};
	const char *path = keeper->config.path;
	int ret = tp_pmem_pool_open(path, 0, &keeper->pool.pool);

	if (ret == -ENOENT)
		ret = tp_pmem_pool_create(path, keeper->config.bytes, &pool, &keeper->pool.pool);
	if (ret == 0)
		ret = keeper_pool_init(&keeper->pool);
	if (ret < 0)
		TP_NODE_LOG(ERR, "cannot use the pool %s: %s%s%s", path, strerror(-ret),
			tp_pmem_error()[0] == '\0' ? "" : ": ", tp_pmem_error());
	return ret;
}

static int
port_init(struct keeper *keeper, uint16_t worker)
{
	struct keeper_port *port = &keeper->ports[worker];
	int ret = 0;

	port->keeper = keeper;
	port->worker = worker;
	port->buffers = malloc((size_t)KEEPER_JOBS * keeper->config.page_bytes);
	port->free = calloc(KEEPER_JOBS, sizeof(*port->free));
	if (port->buffers == NULL || port->free == NULL)
		return -ENOMEM;
	for (uint32_t i = KEEPER_JOBS; i-- > 0;)
		port->free[port->free_count++] = i;
	ret |= node_ring_init(&port->jobs, KEEPER_JOBS, sizeof(struct keeper_job));
	ret |= node_ring_init(&port->ended, KEEPER_JOBS, sizeof(struct keeper_done));
	return ret;
}

int
keeper_open(const struct keeper_config *config, struct keeper **keeper_out)
{
	struct keeper *keeper = aligned_alloc(64, RTE_ALIGN_CEIL(sizeof(*keeper), 64));
	int ret = 0;

	if (keeper == NULL)
		return -ENOMEM;
	memset(keeper, 0, sizeof(*keeper));
	keeper->config = *config;
	keeper->bell_fd = -1;
	keeper->ports = aligned_alloc(64,
		RTE_ALIGN_CEIL(config->worker_count * sizeof(*keeper->ports), 64));
	keeper->batch = calloc((size_t)config->worker_count * KEEPER_JOBS,
		sizeof(*keeper->batch));
	if (keeper->ports == NULL || keeper->batch == NULL) {
		ret = -ENOMEM;
		goto close;
	}
	memset(keeper->ports, 0, config->worker_count * sizeof(*keeper->ports));
	for (uint16_t w = 0; w < config->worker_count && ret == 0; w++)
		ret = port_init(keeper, w);
	if (ret == 0)
		ret = node_ring_init(&keeper->calls, KEEPER_CALLS, sizeof(struct keeper_call));
	if (ret == 0)
		ret = node_ring_init(&keeper->answers, KEEPER_CALLS, sizeof(struct keeper_call));
	if (ret == 0)
		ret = pool_open(keeper);
	if (ret < 0)
		goto close;
	*keeper_out = keeper;
	return 0;

close:
	keeper_close(keeper);
	return ret;
}

/* Regions that nobody has taken, or that nobody has closed. */
static void
regions_close(struct keeper *keeper)
{
	struct keeper_call call;

	while (node_ring_pop(&keeper->answers, &call))
		keeper_region_close(call.kept);
	while (node_ring_pop(&keeper->calls, &call))
		keeper_region_close(call.kept);
}

void
keeper_close(struct keeper *keeper)
{
	if (keeper == NULL)
		return;
	if (keeper->running) {
		/* Pairs with the acquire in keeper_main(). */
		atomic_store_explicit(&keeper->stop, true, memory_order_release);
		idle_bell_ring(keeper->bell_fd);
		pthread_join(keeper->thread, NULL);
	}
	if (keeper->bell_fd >= 0)
		close(keeper->bell_fd);
	regions_close(keeper);
	tp_pmem_btree_close(keeper->pool.regions);
	if (tp_pmem_pool_close(keeper->pool.pool) < 0)
		TP_NODE_LOG(ERR, "the pool %s was not closed in order: %s", keeper->config.path,
			tp_pmem_error());
	node_ring_fini(&keeper->calls);
	node_ring_fini(&keeper->answers);
	for (uint16_t w = 0; keeper->ports != NULL && w < keeper->config.worker_count; w++) {
		node_ring_fini(&keeper->ports[w].jobs);
		node_ring_fini(&keeper->ports[w].ended);
		free(keeper->ports[w].free);
		free(keeper->ports[w].buffers);
	}
	free(keeper->ports);
	free(keeper->batch);
	free(keeper);
}

void
keeper_uuid(const struct keeper *keeper, uint8_t uuid[16])
{
	struct tp_pmem_pool_info info;

	tp_pmem_pool_info_get(keeper->pool.pool, &info);
	memcpy(uuid, info.uuid, 16);
}

int
keeper_list(struct keeper *keeper, struct tp_region *regions, uint32_t room)
{
	return keeper_region_list(&keeper->pool, regions, room);
}

int
keeper_forget(struct keeper *keeper, uint64_t base)
{
	return keeper_region_remove(&keeper->pool, base);
}

struct keeper_stats *
keeper_stats_get(struct keeper *keeper)
{
	return &keeper->stats;
}

/* -- the other ends of the rings -- */

static void
keeper_wake(struct keeper *keeper)
{
	if (keeper->running && tp_abi_bell_asleep(&keeper->bell) != 0)
		idle_bell_ring(keeper->bell_fd);
}

bool
keeper_call(struct keeper *keeper, const struct keeper_call *call)
{
	bool pushed;

	/* Each has a place among the answers. */
	if (keeper->calls_out == KEEPER_CALLS)
		return false;
	keeper->calls_out++;
	pushed = node_ring_push(&keeper->calls, call);
	RTE_ASSERT(pushed);
	RTE_SET_USED(pushed);
	keeper_wake(keeper);
	return true;
}

bool
keeper_answer(struct keeper *keeper, struct keeper_call *call)
{
	if (!node_ring_pop(&keeper->answers, call))
		return false;
	keeper->calls_out--;
	return true;
}

struct keeper_port *
keeper_port(struct keeper *keeper, uint16_t worker)
{
	return &keeper->ports[worker];
}

uint8_t *
keeper_buffer_take(struct keeper_port *port, uint32_t *buffer_out)
{
	RTE_ASSERT(port->free_count > 0);
	*buffer_out = port->free[--port->free_count];
	return port->buffers + (size_t)*buffer_out * port->keeper->config.page_bytes;
}

void
keeper_persist(struct keeper_port *port, const struct keeper_job *job)
{
	bool pushed = node_ring_push(&port->jobs, job);

	RTE_ASSERT(pushed);
	RTE_SET_USED(pushed);
	keeper_wake(port->keeper);
}

bool
keeper_ended(struct keeper_port *port, struct keeper_done *done)
{
	if (!node_ring_pop(&port->ended, done))
		return false;
	if (done->buffer != KEEPER_NO_BUFFER)
		port->free[port->free_count++] = done->buffer;
	return true;
}

/* -- the keeper's thread -- */

static void
keeper_failed(struct keeper *keeper, int error)
{
	if (keeper->error != 0)
		return;
	keeper->error = error;
	TP_NODE_LOG(ERR, "the pool %s failed, nothing is persisted any more: %s%s%s",
		keeper->config.path, strerror(-error), tp_pmem_error()[0] == '\0' ? "" : ": ",
		tp_pmem_error());
}

static void
job_store(struct keeper *keeper, struct keeper_port *port, const struct keeper_job *job)
{
	int ret;

	if (job->buffer == KEEPER_NO_BUFFER || keeper->error != 0)
		return;
	ret = keeper_page_store(job->region, job->index,
		port->buffers + (size_t)job->buffer * keeper->config.page_bytes);
	if (ret < 0) {
		keeper_failed(keeper, ret);
		return;
	}
	keeper->stored = true;
	keeper->untrimmed += job->region->page_bytes;
	stat_add(&keeper->stats.pages, 1);
	stat_add(&keeper->stats.bytes, job->region->page_bytes);
}

/* Take what one worker has handed over. */
static uint32_t
port_take(struct keeper *keeper, uint16_t worker, uint32_t count)
{
	struct keeper_port *port = &keeper->ports[worker];
	struct keeper_job job;
	uint32_t taken = 0;

	while (taken < KEEPER_JOBS && node_ring_pop(&port->jobs, &job)) {
		job_store(keeper, port, &job);
		keeper->batch[count + taken++] = (struct keeper_done){
			.buffer = job.buffer,
			.node = job.node,
			.worker = job.worker,
			.reply = job.reply,
		};
	}
	keeper->batch_ends[worker] = count + taken;
	return taken;
}

static void
batch_fence(struct keeper *keeper)
{
	struct tp_pmem_pool_stats stats;
	int ret;

	if (!keeper->stored || keeper->error != 0)
		return;
	ret = tp_pmem_pool_sync(keeper->pool.pool);
	if (ret < 0)
		keeper_failed(keeper, ret);
	keeper->stored = false;
	tp_pmem_pool_stats_get(keeper->pool.pool, &stats);
	atomic_store_explicit(&keeper->stats.fences, stats.fences, memory_order_relaxed);
	stat_add(&keeper->stats.batches, 1);
	if (keeper->untrimmed < KEEPER_TRIM_BYTES)
		return;
	keeper->untrimmed = 0;
	tp_pmem_pool_trim(keeper->pool.pool);
}

static void
batch_tell(struct keeper *keeper)
{
	uint32_t i = 0;

	for (uint16_t w = 0; w < keeper->config.worker_count; w++) {
		uint32_t first = i;

		for (; i < keeper->batch_ends[w]; i++) {
			bool pushed;

			keeper->batch[i].error = keeper->error;
			stat_add(&keeper->stats.errors, keeper->error != 0);
			pushed = node_ring_push(&keeper->ports[w].ended, &keeper->batch[i]);
			/* As many as may be under way. */
			RTE_ASSERT(pushed);
			RTE_SET_USED(pushed);
		}
		if (i != first && keeper->config.wake_worker != NULL)
			keeper->config.wake_worker(keeper->config.wake_ctx, w);
	}
}

static uint32_t
jobs_run(struct keeper *keeper)
{
	uint32_t count = 0;

	for (uint16_t w = 0; w < keeper->config.worker_count; w++)
		count += port_take(keeper, w, count);
	if (count == 0)
		return 0;
	batch_fence(keeper);
	batch_tell(keeper);
	return count;
}

static int
call_open(struct keeper *keeper, struct keeper_call *call)
{
	uint32_t homed = tp_region_home_count(call->region, keeper->config.node_id);
	uint32_t damaged;
	int ret = keeper_region_open(&keeper->pool, call->region, homed, keeper->config.node_id,
		call->create, &call->kept);

	if (ret < 0)
		return ret;
	damaged = keeper_region_verify(call->kept);
	if (damaged != 0)
		TP_NODE_LOG(ERR, "region %s: %u pages in the pool are damaged",
			call->region->name, damaged);
	stat_add(&keeper->stats.damaged, damaged);
	stat_add(&keeper->stats.regions, 1);
	return 0;
}

/* What workers handed over before they gave the region up is stored by now: see keeper_turn(). */
static int
call_end(struct keeper *keeper, struct keeper_call *call)
{
	uint64_t base = call->kept->base;

	keeper_region_close(call->kept);
	call->kept = NULL;
	stat_add(&keeper->stats.regions, UINT64_MAX);
	return call->type == KEEPER_REMOVE ? keeper_region_remove(&keeper->pool, base) : 0;
}

static void
call_run(struct keeper *keeper, struct keeper_call *call)
{
	bool pushed;

	call->error = call->type == KEEPER_OPEN ? call_open(keeper, call) :
		call_end(keeper, call);
	pushed = node_ring_push(&keeper->answers, call);
	RTE_ASSERT(pushed);
	RTE_SET_USED(pushed);
	if (keeper->config.wake_control != NULL)
		keeper->config.wake_control(keeper->config.wake_ctx);
}

uint32_t
keeper_turn(struct keeper *keeper)
{
	struct keeper_call call;
	uint32_t work = 0;

	while (node_ring_pop(&keeper->calls, &call)) {
		/* What was handed over before the call came counts as before: it is all taken at once. */
		work += jobs_run(keeper);
		call_run(keeper, &call);
		work++;
	}
	return work + jobs_run(keeper);
}

static bool
is_idle(struct keeper *keeper)
{
	uint32_t idle = node_ring_room(&keeper->calls) == KEEPER_CALLS;

	for (uint16_t w = 0; w < keeper->config.worker_count && idle; w++)
		idle = node_ring_room(&keeper->ports[w].jobs) == KEEPER_JOBS;
	return idle;
}

static void *
keeper_main(void *arg)
{
	struct keeper *keeper = arg;
	struct pollfd fd = { .fd = keeper->bell_fd, .events = POLLIN };
	uint64_t rings;

	/* Pairs with the release in keeper_close(). */
	while (!atomic_load_explicit(&keeper->stop, memory_order_acquire)) {
		if (keeper_turn(keeper) != 0)
			continue;
		tp_abi_bell_arm(&keeper->bell);
		if (is_idle(keeper) && !atomic_load_explicit(&keeper->stop, memory_order_acquire))
			poll(&fd, 1, -1);
		tp_abi_bell_disarm(&keeper->bell);
		if (read(keeper->bell_fd, &rings, sizeof(rings)) < 0 && errno != EAGAIN)
			break;
	}
	/* Whoever stops the node has given it everything that is to last. */
	while (keeper_turn(keeper) != 0)
		;
	return NULL;
}

int
keeper_start(struct keeper *keeper)
{
	sigset_t all, before;
	cpu_set_t cores;
	int ret;

	if (!keeper->config.threaded)
		return 0;
	keeper->bell_fd = idle_bell_open();
	if (keeper->bell_fd < 0)
		return keeper->bell_fd;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	ret = -pthread_create(&keeper->thread, NULL, keeper_main, keeper);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (ret < 0)
		return ret;
	keeper->running = true;
	pthread_setname_np(keeper->thread, "tp-keeper");
	/* Not only where a poller is: it inherits the core of whom it was started by. */
	memset(&cores, 0xff, sizeof(cores));
	pthread_setaffinity_np(keeper->thread, sizeof(cores), &cores);
	return 0;
}
