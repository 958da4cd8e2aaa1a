/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 */
#include <assert.h>
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <rte_atomic.h>
#include <rte_cycles.h>

#include "fake_node.h"
#include "tp_shard.h"

static void *
fake_memory(struct fake_node *fake, unsigned int index, size_t bytes)
{
	struct tp_segment_config config = { .type = TP_SEGMENT_SHARED, .bytes = bytes };

	if (tp_segment_create(&config, &fake->segments[index]) < 0)
		abort();
	return tp_segment_base(fake->segments[index]);
}

struct fake_node *
fake_node_create(void)
{
	struct fake_node *fake = calloc(1, sizeof(*fake));
	uint32_t p, i;

	fake->node = fake_memory(fake, 0, sizeof(*fake->node));
	fake->slots = fake_memory(fake, 1, FAKE_SLOTS * FAKE_PAGE_BYTES);
	fake->client = fake_memory(fake, 2, tp_abi_client_bytes(FAKE_THREADS));
	fake->words = fake_memory(fake, 3, FAKE_PAGES * sizeof(uint64_t));
	fake->node->magic = TP_ABI_MAGIC;
	fake->node->version = TP_ABI_VERSION;
	fake->node->length = sizeof(*fake->node);
	fake->node->node_id = 1;
	fake->node->worker_count = FAKE_WORKERS;
	fake->node->epoch = 1;
	fake->node->page_bytes = FAKE_PAGE_BYTES;
	fake->node->slot_count = FAKE_SLOTS;
	fake->node->tsc_hz = FAKE_TSC_HZ;
	fake->node->node_bits = 14;
	fake->node->offset_bits = 32;
	fake->node->guard_lease_tsc = FAKE_GUARD_LEASE;
	fake->node->lease_until_tsc = UINT64_MAX;
	fake->client->magic = TP_ABI_MAGIC;
	fake->client->version = TP_ABI_VERSION;
	fake->client->length = (uint32_t)tp_abi_client_bytes(FAKE_THREADS);
	fake->client->thread_count = FAKE_THREADS;
	fake->tsc = 1000000000;
	fake->tsc_step = 1000;
	fake->region = (struct tp_control_region){
		.name = "test",
		.address = FAKE_REGION_ADDRESS,
		.bytes = FAKE_REGION_BYTES,
		.generation = 0x1000000000005ull,
		.id = FAKE_REGION_ID,
		.page_bytes = FAKE_PAGE_BYTES,
		.mode = TP_REGION_RW,
		.distribution = TP_REGION_STRIPED,
		.node_count = 1,
		.nodes = { 1 },
	};
	for (p = 0; p < FAKE_PAGES; p++)
		for (i = 0; i < FAKE_PAGE_BYTES; i++)
			fake->pages[p].home[i] = (uint8_t)(p * 37 + i * 11 + i / 256);
	return fake;
}

void
fake_node_destroy(struct fake_node *fake)
{
	unsigned int i;

	for (i = 0; i < 4; i++)
		tp_segment_destroy(fake->segments[i]);
	free(fake);
}

struct tp_client_backend
fake_node_backend(struct fake_node *fake)
{
	return (struct tp_client_backend){
		.node = fake->node,
		.slots = fake->slots,
		.slot_bytes_total = FAKE_SLOTS * FAKE_PAGE_BYTES,
		.segment = fake->client,
		.control = fake_node_control,
		.poll = fake_node_poll,
		.ctx = fake,
		.virtual_tsc = &fake->tsc,
	};
}

/* Pages are shared with running clients: word by word, as they do it. */
static void
fake_copy(void *to, const void *from)
{
	uint32_t i;

	for (i = 0; i < FAKE_PAGE_BYTES / 8; i++)
		__atomic_store_n((uint64_t *)to + i,
			__atomic_load_n((const uint64_t *)from + i, __ATOMIC_RELAXED),
			__ATOMIC_RELAXED);
}

static uint8_t *
fake_slot(struct fake_node *fake, uint32_t page)
{
	return fake->slots + (size_t)page * FAKE_PAGE_BYTES;
}

uint8_t *
fake_page_data(struct fake_node *fake, uint32_t page)
{
	return fake->pages[page].access == TP_ACCESS_NONE ? fake->pages[page].home :
		fake_slot(fake, page);
}

void
fake_page_publish(struct fake_node *fake, uint32_t page, enum tp_access access)
{
	struct fake_page *entry = &fake->pages[page];

	if (entry->access == TP_ACCESS_NONE)
		fake_copy(fake_slot(fake, page), entry->home);
	entry->access = access;
	atomic_store_explicit(&fake->words[page], tp_word_make(++entry->sequence, page, access),
			      memory_order_release);
}

static bool
fake_page_guarded(struct fake_node *fake, uint32_t page)
{
	uint64_t key = tp_guard_key(FAKE_REGION_ID, page);
	uint32_t t, g;

	for (t = 0; t < FAKE_THREADS; t++) {
		struct tp_abi_guards *guards = &fake->client->threads[t].guards;
		uint32_t used = atomic_load_explicit(&guards->used_max, memory_order_acquire);

		for (g = 0; g < used; g++) {
			uint64_t value = atomic_load_explicit(&guards->key[g],
							      memory_order_acquire);

			if (value == key)
				return true;
			if (value == (key | TP_GUARD_WAITING) && fake->granted[t][g] == key)
				return true;
		}
	}
	return false;
}

bool
fake_page_revoke(struct fake_node *fake, uint32_t page)
{
	struct fake_page *entry = &fake->pages[page];

	if (entry->access == TP_ACCESS_NONE)
		return true;
	if (tp_word_access(fake->words[page]) != TP_ACCESS_NONE)
		atomic_store_explicit(&fake->words[page],
			tp_word_make(++entry->sequence, 0, TP_ACCESS_NONE), memory_order_release);
	rte_smp_mb();
	if (fake_page_guarded(fake, page))
		return false;
	fake_copy(entry->home, fake_slot(fake, page));
	entry->access = TP_ACCESS_NONE;
	return true;
}

bool
fake_node_guarded(struct fake_node *fake)
{
	uint32_t t, g;

	for (t = 0; t < FAKE_THREADS; t++)
		for (g = 0; g < TP_ABI_GUARDS; g++)
			if (fake->client->threads[t].guards.key[g] != 0)
				return true;
	return false;
}

static void
fake_grant(struct fake_node *fake, uint32_t thread, const struct tp_abi_request *request,
	   enum tp_access access, struct tp_abi_completion *completion)
{
	uint64_t now = fake->real_time ? rte_rdtsc() : atomic_load(&fake->tsc);

	if (request->guard >= TP_ABI_GUARDS)
		return;
	fake->granted[thread][request->guard] =
		tp_guard_key(request->region_id, request->page_index);
	completion->flags |= TP_COMPLETION_GUARDED;
	completion->access = (uint8_t)access;
	completion->slot = request->page_index;
	completion->guard_until_tsc = now + FAKE_GUARD_LEASE;
}

static uint64_t
fake_atomic(const struct tp_abi_request *request, uint8_t *at)
{
	uint64_t old = 0, new_value;

	memcpy(&old, at, request->width);
	new_value = old;
	switch (request->atomic_op) {
	case TP_ATOMIC_STORE:
	case TP_ATOMIC_EXCHANGE:
		new_value = request->operand;
		break;
	case TP_ATOMIC_ADD:
		new_value = old + request->operand;
		break;
	case TP_ATOMIC_CAS:
		new_value = old == request->compare ? request->operand : old;
		break;
	case TP_ATOMIC_AND:
		new_value = old & request->operand;
		break;
	case TP_ATOMIC_OR:
		new_value = old | request->operand;
		break;
	}
	memcpy(at, &new_value, request->width);
	return old;
}

/*
 * A request that waits in a ring ends what was granted in its hazard slot, also
 * while this node serves nobody: the thread has let go of it, and waits for us.
 */
static void
fake_grants_end(struct fake_node *fake)
{
	uint32_t t, w, i;

	for (t = 0; t < FAKE_THREADS; t++) {
		for (w = 0; w < FAKE_WORKERS; w++) {
			struct tp_abi_ring *ring = &fake->client->threads[t].rings[w];
			uint32_t head = atomic_load_explicit(&ring->request_head,
							     memory_order_acquire);

			for (i = fake->request_tail[t][w]; i != head; i++) {
				uint8_t guard = ring->requests[i % TP_ABI_RING_ENTRIES].guard;

				if (guard < TP_ABI_GUARDS)
					fake->granted[t][guard] = 0;
			}
		}
	}
}

/* Guards of running threads only: a test with one thread holds none of the page here. */
static void
fake_page_revoke_wait(struct fake_node *fake, uint32_t page)
{
	while (!fake_page_revoke(fake, page)) {
		sched_yield();
		fake_grants_end(fake);
	}
}

static uint32_t
fake_worker_of_page(uint32_t page_index)
{
	return tp_shard_worker(tp_shard_of(FAKE_REGION_ADDRESS +
		(uint64_t)page_index * FAKE_PAGE_BYTES, 12), FAKE_WORKERS);
}

/* Every page of a list must be in the region and of the worker that was asked. */
static void
fake_fetch(struct fake_node *fake, const struct tp_abi_request *request)
{
	uint32_t i;

	if (request->width == 0 || request->width > TP_ABI_FETCH_MAX ||
	    request->pages[0] != request->page_index)
		abort();
	for (i = 0; i < request->width; i++) {
		uint32_t page = request->pages[i];

		if (page >= FAKE_PAGES ||
		    fake_worker_of_page(page) != fake_worker_of_page(request->page_index))
			abort();
		fake->fetched[page]++;
		if (fake->pages[page].access < request->atomic_op)
			fake_page_publish(fake, page, (enum tp_access)request->atomic_op);
	}
}

static void
fake_serve_page(struct fake_node *fake, uint32_t thread, const struct tp_abi_request *request,
		struct tp_abi_completion *completion)
{
	struct fake_page *page = &fake->pages[request->page_index];
	enum tp_access access = request->op == TP_ABI_WRITE ? TP_ACCESS_WRITE : TP_ACCESS_READ;

	switch (request->op) {
	case TP_ABI_READ:
	case TP_ABI_WRITE:
		if (page->access < access)
			fake_page_publish(fake, request->page_index, access);
		fake_grant(fake, thread, request, page->access, completion);
		break;
	case TP_ABI_FETCH:
		fake_fetch(fake, request);
		break;
	case TP_ABI_ATOMIC:
		if (page->access == TP_ACCESS_WRITE) {
			fake_grant(fake, thread, request, TP_ACCESS_WRITE, completion);
			break;
		}
		fake_page_revoke_wait(fake, request->page_index);
		completion->value = fake_atomic(request, page->home + request->offset);
		completion->flags |= TP_COMPLETION_EXECUTED;
		break;
	default:
		fake_page_revoke_wait(fake, request->page_index);
		break;
	}
}

static uint32_t
fake_worker_of(const struct tp_abi_request *request)
{
	return fake_worker_of_page(request->page_index);
}

static void
fake_serve(struct fake_node *fake, uint32_t thread, uint32_t worker,
	   const struct tp_abi_request *request)
{
	struct tp_abi_completion completion = { .cookie = request->cookie };

	fake->last = *request;
	if (request->op != TP_ABI_NOP) {
		if (request->region_id != FAKE_REGION_ID || request->page_index >= FAKE_PAGES ||
		    request->generation != fake->region.generation ||
		    fake_worker_of(request) != worker) {
			completion.reason = TP_GENERATION;
			completion.effect = TP_EFFECT_NOT_DONE;
		}
	}
	/* The next request of a hazard slot ends what was granted in it. */
	if (request->guard < TP_ABI_GUARDS)
		fake->granted[thread][request->guard] = 0;
	fake->served[request->op]++;
	if (fake->hook != NULL && !fake->hook(fake, request, &completion))
		return;
	if (completion.reason == TP_OK && completion.flags == 0 && request->op != TP_ABI_NOP)
		fake_serve_page(fake, thread, request, &completion);
	fake_node_answer(fake, thread, worker, &completion);
}

void
fake_node_answer(struct fake_node *fake, uint32_t thread, uint32_t worker,
		 const struct tp_abi_completion *completion)
{
	struct tp_abi_ring *ring = &fake->client->threads[thread].rings[worker];
	uint32_t *head = &fake->completion_head[thread][worker];

	ring->completions[*head % TP_ABI_RING_ENTRIES] = *completion;
	(*head)++;
	atomic_store_explicit(&ring->completion_head, *head, memory_order_release);
	tp_abi_fence();
	if (tp_abi_thread_wake_needed(&fake->client->threads[thread]) &&
	    syscall(SYS_futex, &fake->client->threads[thread].waiting, FUTEX_WAKE, 1, NULL,
		    NULL, 0) > 0)
		fake->woken++;
}

void
fake_node_poll(void *ctx)
{
	struct fake_node *fake = ctx;
	uint32_t t, w;

	fake->polls++;
	atomic_fetch_add(&fake->tsc, fake->tsc_step);
	if (fake->stopped)
		return;
	atomic_fetch_add(&fake->node->heartbeat, 1);
	for (t = 0; t < FAKE_THREADS; t++) {
		for (w = 0; w < FAKE_WORKERS; w++) {
			struct tp_abi_ring *ring = &fake->client->threads[t].rings[w];
			uint32_t *tail = &fake->request_tail[t][w];

			while (*tail != atomic_load_explicit(&ring->request_head,
							     memory_order_acquire)) {
				struct tp_abi_request request =
					ring->requests[*tail % TP_ABI_RING_ENTRIES];

				(*tail)++;
				fake_serve(fake, t, w, &request);
			}
			atomic_store_explicit(&ring->request_tail, *tail, memory_order_release);
		}
	}
}

static void
fake_control_region(struct fake_node *fake, const struct tp_control_request *request,
		    struct tp_control_response *response, int *fds, unsigned int fd_max)
{
	response->region = fake->region;
	if (request->op != TP_CONTROL_REGION_OPEN || fd_max == 0)
		return;
	fds[0] = dup(tp_segment_fd(fake->segments[3]));
	response->fd_count = 1;
}

int
fake_node_control(void *ctx, const struct tp_control_request *request,
		  struct tp_control_response *response, int *fds, unsigned int fd_max)
{
	struct fake_node *fake = ctx;
	uint32_t i;

	fake->control_last = *request;
	if (fake->control_error != 0)
		return fake->control_error;
	*response = (struct tp_control_response){
		.magic = TP_CONTROL_MAGIC,
		.version = TP_CONTROL_VERSION,
		.op = request->op,
		.reason = (uint32_t)fake->control_reason,
		.effect = fake->control_reason == TP_OK ? TP_EFFECT_DONE : TP_EFFECT_NOT_DONE,
		.error = fake->control_errno,
	};
	if (response->reason != TP_OK)
		return 0;
	switch (request->op) {
	case TP_CONTROL_ATTACH:
		for (i = 0; i < 3 && i < fd_max; i++)
			fds[i] = dup(tp_segment_fd(fake->segments[i]));
		response->fd_count = i;
		break;
	case TP_CONTROL_REGION_OPEN:
	case TP_CONTROL_REGION_LIST:
		fake_control_region(fake, request, response, fds, fd_max);
		break;
	case TP_CONTROL_ALLOC:
		response->address = FAKE_REGION_ADDRESS + 64;
		response->generation = 9;
		break;
	case TP_CONTROL_GENERATION:
		response->generation = 9;
		break;
	case TP_CONTROL_NODE_LIST:
		response->node = (struct tp_control_node){ .id = 1, .worker_count = FAKE_WORKERS };
		break;
	case TP_CONTROL_STATS:
		for (i = 0; i < TP_CONTROL_STATS_MAX; i++)
			response->stats[i] = i * 3;
		break;
	default:
		break;
	}
	if (fake->control_hook != NULL)
		fake->control_hook(fake, response);
	return 0;
}
