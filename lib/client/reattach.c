/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Going on with the successor of a node that died.
 *
 * How it works: nothing of the old attachment is changed. A second client is
 * attached at the same place, every open region is opened there by its name,
 * every registered thread is registered there, and then each old object is given
 * its heir: the calls of the library follow it. So an access that is under way
 * ends as it would have, VOID (node crashed), with the old rings and words; and
 * no access can mix the two, because a region and a thread are used together
 * only if they are of the same client. The old header stays mapped: its lease,
 * which nobody renews, is what makes a late hit fail. The old page slots are
 * given back to the machine as soon as that lease has lapsed.
 *
 * The keeper is a thread of its own that waits for the end of the connection and
 * then tries again and again. Any thread may try by itself, too.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "heir.h"
#include "hit.h"

#define REATTACH_STEP_MS 10		/* between attempts: doubled up to */
#define REATTACH_STEP_MAX_MS 320
#define REATTACH_ATTACH_NS UINT64_C(2000000000)	/* of an attempt, for attaching */
#define REATTACH_LAPSE_MS 2000		/* a lease is shorter */

struct client_keeper {
	struct tp_client *client;
	pthread_t thread;
	int stop;			/* eventfd */
};

struct tp_thread *
client_thread_of(struct tp_thread *thread, const struct tp_op *op)
{
	struct tp_thread *heir = thread;

	/* An access belongs to where it began. */
	for (; heir != NULL; heir = client_thread_heir(heir)) {
		if (op->region != NULL ? heir->client == op->region->client :
		    op->pending < CLIENT_PENDING && heir->pending[op->pending].op == op)
			return heir;
		thread = heir;
	}
	return thread;
}

/* Out of line: only once there has been a re-attach. */
enum tp_reason
client_follow_heirs(struct tp_thread **thread, struct tp_client_region **region)
{
	struct tp_thread *heir;

	while ((heir = client_thread_heir(*thread)) != NULL)
		*thread = heir;
	*region = client_region_live(*region);
	if ((*thread)->client == (*region)->client)
		return TP_OK;
	/* The thread is late, or the region is: it is not there any more. */
	return atomic_load_explicit(&(*thread)->client->dead, memory_order_relaxed) ?
		TP_NODE_CRASHED : TP_GENERATION;
}

/* Open one region at the heir. A region that has gone has none, and that is no error. */
static int
reattach_region(struct tp_client *heir, uint64_t deadline_ns, struct tp_client_region *region,
		struct tp_client_region **opened)
{
	int ret = client_region_open_until(heir, deadline_ns, region->info.name, opened);

	*opened = ret == 0 ? *opened : NULL;
	if (ret == 0 && (*opened)->id != region->id) {
		/* The same name, but another region. */
		tp_client_region_close(*opened);
		*opened = NULL;
	}
	return ret == -ENOENT ? 0 : ret;
}

/* All regions and threads of a client at its heir: all or none. Under the client's lock. */
static int
reattach_objects(struct tp_client *client, struct tp_client *heir, uint64_t deadline_ns,
		 struct tp_client_region **regions, struct tp_thread **threads)
{
	struct tp_client_region *region;
	uint32_t i, count = 0;
	int ret;

	LIST_FOREACH(region, &client->regions, next) {
		ret = reattach_region(heir, deadline_ns, region, &regions[count++]);
		if (ret < 0)
			return ret;
	}
	for (i = 0; i < client->thread_count; i++) {
		if (client->threads[i].state != CLIENT_THREAD_USED)
			continue;
		ret = tp_thread_register(heir, &threads[i]);
		if (ret < 0)
			return ret;
	}
	return 0;
}

/* One descriptor of the heir gets the number of the old one, which is closed. */
static void
reattach_fd_take(int *fd, int old)
{
	if (old < 0)
		return;
	if (*fd >= 0) {
		/* As old is open there is nothing to fail for; it would stay open. */
		if (dup3(*fd, old, O_CLOEXEC) < 0)
			return;
		close(*fd);
	}
	*fd = old;
}

/*
 * The heir takes over the old client's descriptors. Under their old numbers: other
 * threads may be about to ring an old doorbell, or to look whether the old socket
 * is open, and must not come upon somebody else's file. So a late ring makes a worker
 * of the successor look in vain. Requests find out under the control lock.
 */
static void
reattach_fds_take(struct tp_client *client, struct tp_client *heir)
{
	uint32_t i;

	pthread_mutex_lock(&client->control_lock);
	reattach_fd_take(&heir->socket, client->socket);
	pthread_mutex_unlock(&client->control_lock);
	for (i = 0; i < TP_ABI_WORKERS_MAX; i++)
		reattach_fd_take(&heir->bells[i], client->bells[i]);
}

static void
reattach_thread_publish(struct tp_thread *thread, struct tp_thread *heir)
{
	/* It may have been set while the regions were opened. */
	if (heir != NULL)
		atomic_store_explicit(&heir->timeout_tsc,
			atomic_load_explicit(&thread->timeout_tsc, memory_order_relaxed),
			memory_order_relaxed);
	/* pairs with the acquire in client_thread_heir() */
	atomic_store_explicit(&thread->heir, heir, memory_order_release);
}

/* From here on calls go to the heir. Regions first: a thread that follows finds them. */
static void
reattach_publish(struct tp_client *client, struct tp_client *heir,
		 struct tp_client_region **regions, struct tp_thread **threads)
{
	struct tp_client_region *region;
	uint32_t i, count = 0;

	LIST_FOREACH(region, &client->regions, next)
		/* pairs with the acquire in client_region_live() */
		atomic_store_explicit(&region->heir, regions[count++], memory_order_release);
	for (i = 0; i < client->thread_count; i++)
		reattach_thread_publish(&client->threads[i], threads[i]);
	/* pairs with the acquire in client_live() */
	atomic_store_explicit(&client->heir, heir, memory_order_release);
}

/*
 * The dead node's slots would keep its huge pages from everybody. Accesses that
 * are still at it find zeros, and then that the lease has lapsed; and pins can
 * still be touched, though it has no effect.
 */
static void
reattach_slots_drop(struct tp_client *client)
{
	const struct timespec step = { .tv_nsec = 1000000 };
	unsigned int ms;

	for (ms = 0; tp_abi_lease_ok(client->backend.node, rte_rdtsc()); ms++) {
		/* It lives, and has cast us off: its memory is as good as ever. */
		if (ms >= REATTACH_LAPSE_MS)
			return;
		nanosleep(&step, NULL);
	}
	if (mmap(client->backend.slots, client->backend.slot_bytes_total, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
		TP_CLIENT_LOG(WARNING, "the memory of the dead node stays mapped: %s",
			      strerror(errno));
}

static uint32_t
reattach_region_count(const struct tp_client *client)
{
	const struct tp_client_region *region;
	uint32_t count = 0;

	LIST_FOREACH(region, &client->regions, next)
		count++;
	return count;
}

/* Under the client's lock, so that its regions and threads stay as they are. */
static int
reattach_to(struct tp_client *client, struct tp_client *heir, uint64_t deadline_ns)
{
	struct tp_thread *threads[TP_ABI_THREADS_MAX] = { NULL };
	struct tp_client_region **regions;
	int ret;

	regions = calloc(reattach_region_count(client) + 1, sizeof(*regions));
	if (regions == NULL)
		return -ENOMEM;
	ret = reattach_objects(client, heir, deadline_ns, regions, threads);
	if (ret == 0) {
		reattach_fds_take(client, heir);
		reattach_publish(client, heir, regions, threads);
	}
	free(regions);
	return ret;
}

static int
reattach_once(struct tp_client *client, uint64_t deadline_ns, uint64_t left_ns)
{
	struct tp_client_config config = {
		.socket_path = client->socket_path,
		.thread_count = client->thread_count,
		.control_timeout_ns = RTE_MIN(left_ns, REATTACH_ATTACH_NS),
	};
	struct tp_client *heir;
	int ret;

	ret = client_socket_attach(-1, &config, &heir);
	if (ret < 0)
		return ret;
	heir->timeout_tsc = client->timeout_tsc;
	heir->control_timeout_ns = client->control_timeout_ns;
	ret = reattach_to(client, heir, deadline_ns);
	if (ret < 0) {
		tp_client_detach(heir);
		return ret;
	}
	TP_CLIENT_LOG(NOTICE, "attached again to node %u, epoch %u",
		      heir->backend.node->node_id, heir->backend.node->epoch);
	return 0;
}

int
tp_client_reattach(struct tp_client *client)
{
	uint64_t deadline_ns, left_ns;
	bool attached = false;
	int ret;

	client = client_live(client);
	if (client->socket_path == NULL)
		return -EOPNOTSUPP;
	if (tp_client_is_alive(client))
		return 0;
	deadline_ns = client_control_deadline(client);
	ret = client_lock_until(&client->lock, deadline_ns, &left_ns);
	if (ret < 0)
		return ret;
	/* Another thread may have done it meanwhile. */
	if (client_live(client) == client) {
		ret = reattach_once(client, deadline_ns, left_ns);
		attached = ret == 0;
	}
	pthread_mutex_unlock(&client->lock);
	if (attached)
		reattach_slots_drop(client);
	return ret;
}

/* True: the keeper is to stop. Waits for the node's end if ms is -1. */
static bool
keeper_wait(struct client_keeper *keeper, int ms)
{
	struct tp_client *client = client_live(keeper->client);
	struct pollfd events[] = {
		{ .fd = keeper->stop, .events = POLLIN },
		/* Only its end: answers are read by who asked. */
		{ .fd = ms < 0 ? client->socket : -1, .events = POLLRDHUP },
	};

	while (poll(events, RTE_DIM(events), ms) < 0 && errno == EINTR)
		;
	return events[0].revents != 0;
}

static void *
keeper_main(void *argument)
{
	struct client_keeper *keeper = argument;

	while (!keeper_wait(keeper, -1)) {
		int ms = REATTACH_STEP_MS;

		while (tp_client_reattach(keeper->client) < 0) {
			if (keeper_wait(keeper, ms))
				return NULL;
			ms = RTE_MIN(2 * ms, REATTACH_STEP_MAX_MS);
		}
	}
	return NULL;
}

int
client_keeper_start(struct tp_client *client)
{
	struct client_keeper *keeper = calloc(1, sizeof(*keeper));
	int ret;

	if (keeper == NULL)
		return -ENOMEM;
	keeper->client = client;
	keeper->stop = eventfd(0, EFD_CLOEXEC);
	ret = keeper->stop < 0 ? errno : pthread_create(&keeper->thread, NULL, keeper_main, keeper);
	if (ret != 0) {
		if (keeper->stop >= 0)
			close(keeper->stop);
		free(keeper);
		return -ret;
	}
	client->keeper = keeper;
	return 0;
}

void
client_keeper_stop(struct tp_client *client)
{
	struct client_keeper *keeper = client->keeper;
	uint64_t one = 1;

	if (keeper == NULL)
		return;
	if (write(keeper->stop, &one, sizeof(one)) != (ssize_t)sizeof(one))
		RTE_ASSERT(!"an eventfd takes one");
	pthread_join(keeper->thread, NULL);
	close(keeper->stop);
	free(keeper);
	client->keeper = NULL;
}
