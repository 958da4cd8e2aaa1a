/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What disturb.h describes.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "disturb.h"

#define DISTURB_MS 1000000u
#define DISTURB_QUIET_NS (500 * DISTURB_MS)
#define DISTURB_CLIENTS_COUNT 20u	/* in one step */
#define DISTURB_CLIENT_NS (30 * DISTURB_MS)	/* at most between two of them */
#define DISTURB_ATTACH_NS (1 * DISTURB_MS)
#define DISTURB_LIFE_NS (20 * DISTURB_MS)
#define DISTURB_DEAD_NS (300 * DISTURB_MS)	/* found out and acted upon */
#define DISTURB_BACK_NS (700 * DISTURB_MS)	/* started, joined, greeted */
#define DISTURB_PAGES 64u

struct disturb_order {
	/* Both written by the measuring process while the other one rests. */
	enum disturb_kind kind;
	bool beside;
	int error;			/* writer: the process that disturbs */
	_Atomic bool done;
};

/* Owner: the process that disturbs. */
struct disturber {
	struct bench *bench;
	const struct disturb_config *config;
	struct disturb_order *order;
	struct bench_daemon victims[2];
};

static void
disturb_rest(uint64_t ns)
{
	const struct timespec rest = {
		.tv_sec = (time_t)(ns / 1000000000u),
		.tv_nsec = (long)(ns % 1000000000u),
	};

	nanosleep(&rest, NULL);
}

/* In a process that will be killed: attach and use memory, holding pins. */
static void
client_run(const char *socket_path, const char *name)
{
	const struct tp_client_config config = { .socket_path = socket_path };
	struct tp_client_region *region;
	struct tp_thread *thread;
	struct tp_client *client;
	uint64_t value = 1, page;
	struct tp_pin pin;

	if (tp_client_attach(&config, &client) < 0 || tp_thread_register(client, &thread) < 0 ||
	    tp_client_region_open(client, name, &region) < 0)
		return;
	for (;;) {
		page = (uint64_t)rand() % DISTURB_PAGES * BENCH_PAGE_BYTES;
		tp_write(thread, region, page, &value, sizeof(value));
		page = (uint64_t)rand() % DISTURB_PAGES * BENCH_PAGE_BYTES;
		if (tp_result_is_ok(tp_pin(thread, region, page, sizeof(value), TP_ACCESS_WRITE,
					   &pin)))
			tp_unpin(thread, &pin);
		tp_atomic_add64(thread, region, page, 1, &value);
		disturb_rest(DISTURB_MS / 5);
	}
}

/* Every other one is killed inside attach. */
static int
client_kill(struct disturber *self, unsigned int number)
{
	uint64_t life = number % 2 == 0 ? (uint64_t)rand() % DISTURB_ATTACH_NS :
		DISTURB_ATTACH_NS + (uint64_t)rand() % DISTURB_LIFE_NS;
	unsigned int seed = (unsigned int)rand();
	pid_t parent = getpid();
	pid_t child = fork();
	int status;

	if (child < 0)
		return -errno;
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == parent) {
			srand(seed);
			client_run(self->config->socket[self->order->beside],
				   self->config->region);
		}
		_exit(1);
	}
	disturb_rest(life);
	kill(child, SIGKILL);
	if (waitpid(child, &status, 0) < 0)
		return -errno;
	/* One that ended by itself could not attach, or was refused its region. */
	return WIFSIGNALED(status) ? 0 : -EIO;
}

static int
clients_kill(struct disturber *self)
{
	int ret = 0;

	for (unsigned int i = 0; i < DISTURB_CLIENTS_COUNT && ret == 0; i++) {
		ret = client_kill(self, i);
		disturb_rest((uint64_t)rand() % DISTURB_CLIENT_NS);
	}
	return ret;
}

static int
victim_start(struct disturber *self, bool beside)
{
	return bench_daemon_start(&self->victims[beside], self->bench,
				  &self->config->victim[beside]);
}

static int
node_kill(struct disturber *self, bool beside)
{
	int ret;

	bench_daemon_end(&self->victims[beside], SIGKILL);
	disturb_rest(DISTURB_DEAD_NS);
	ret = victim_start(self, beside);
	disturb_rest(DISTURB_BACK_NS);
	return ret;
}

static int
node_stop(struct disturber *self, bool beside)
{
	kill(self->victims[beside].pid, SIGSTOP);
	disturb_rest(DISTURB_DEAD_NS);
	kill(self->victims[beside].pid, SIGCONT);
	disturb_rest(DISTURB_DEAD_NS);
	return 0;
}

static int
disturber_step(struct disturber *self)
{
	int ret = 0;

	switch (self->order->kind) {
	case DISTURB_START:
		ret = victim_start(self, false);
		if (ret == 0)
			ret = victim_start(self, true);
		break;
	case DISTURB_CLIENTS:
		ret = clients_kill(self);
		break;
	case DISTURB_NODE_KILL:
		ret = node_kill(self, self->order->beside);
		break;
	case DISTURB_NODE_STOP:
		ret = node_stop(self, self->order->beside);
		break;
	default:
		disturb_rest(DISTURB_QUIET_NS);
		break;
	}
	return ret;
}

static int
disturber_main(struct bench *bench, struct bench_control *control, void *context)
{
	const struct disturb *disturb = context;
	struct disturber self = {
		.bench = bench,
		.config = disturb->config,
		.order = disturb->order,
	};

	bench_peer_ready(control);
	while (bench_peer_may_run(control)) {
		if (atomic_load_explicit(&self.order->done, memory_order_relaxed)) {
			disturb_rest(DISTURB_MS);
			continue;
		}
		self.order->error = disturber_step(&self);
		/* Pairs with the acquire in disturb_is_over(). */
		atomic_store_explicit(&self.order->done, true, memory_order_release);
	}
	bench_daemon_end(&self.victims[0], SIGKILL);
	bench_daemon_end(&self.victims[1], SIGKILL);
	return 0;
}

int
disturb_open(struct disturb *disturb, struct bench *bench, const struct disturb_config *config)
{
	disturb->config = config;
	disturb->order = mmap(NULL, sizeof(*disturb->order), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (disturb->order == MAP_FAILED) {
		disturb->order = NULL;
		return -errno;
	}
	disturb->order->done = true;
	return bench_peer_start(&disturb->peer, bench, 1, disturber_main, disturb);
}

void
disturb_begin(struct disturb *disturb, enum disturb_kind kind, bool beside)
{
	disturb->order->kind = kind;
	disturb->order->beside = beside;
	disturb->order->error = 0;
	atomic_store_explicit(&disturb->order->done, false, memory_order_relaxed);
	bench_peer_resume(&disturb->peer);
}

bool
disturb_is_over(const struct disturb *disturb)
{
	/* Pairs with the release in disturber_main(). */
	return atomic_load_explicit(&disturb->order->done, memory_order_acquire);
}

int
disturb_end(struct disturb *disturb)
{
	bench_peer_pause(&disturb->peer);
	return disturb->order->error;
}

void
disturb_close(struct disturb *disturb)
{
	bench_peer_stop(&disturb->peer);
	if (disturb->order != NULL)
		munmap(disturb->order, sizeof(*disturb->order));
	disturb->order = NULL;
}
