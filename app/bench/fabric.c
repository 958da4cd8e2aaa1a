/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What fabric.h describes. Both sides copy pages from and to a set in random
 * order, as a node does. A streamed message carries the clock at which it was
 * given to the session: the machine has one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <rte_common.h>
#include <rte_cycles.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "fabric.h"
#include "raw.h"
#include "tp_link_ethdev.h"
#include "tp_link_fault.h"

#define FABRIC_DESCRIPTORS 256u
#define FABRIC_MBUFS 4095u
#define FABRIC_NET 0x0a000000u		/* 10.0.0.0 */
#define FABRIC_PUSH 8u			/* pages streamed in a turn at most */
#define FABRIC_SMALL_PUSH 2048u		/* the same, of small messages: some packets */
#define FABRIC_SMALL_ALONE_PUSH 32u	/* the same, a packet each: a burst of the link */
#define FABRIC_UP_NS UINT64_C(10000000000)
#define FABRIC_FETCH_NS UINT64_C(1000000000)
#define FABRIC_SEED 20260u

/* Node ids, and the last byte of the address. */
enum { FABRIC_ASKER = 1, FABRIC_HOME = 2 };

/* Head of every message; a page follows in all but requests. */
struct fabric_head {
	uint64_t ticks;			/* when it was sent; 0 in answers */
	uint32_t page;
	uint32_t reserved;
	uint8_t pad[48];
};

static uint64_t
side_clock(const struct fabric_side *side)
{
	return (uint64_t)((double)rte_rdtsc() * side->bench->ns_per_tick);
}

static uint8_t *
side_page(const struct fabric_side *side, uint32_t page)
{
	return side->pages + (size_t)page * BENCH_PAGE_BYTES;
}

/* A page to the asker; false: the session takes no more now. */
static bool
home_send(struct fabric_side *side, uint64_t ticks, uint32_t page, enum tp_priority priority)
{
	struct fabric_head head = { .ticks = ticks, .page = page };
	const struct iovec iov[] = {
		{ &head, sizeof(head) },
		{ side_page(side, page), BENCH_PAGE_BYTES },
	};

	return tp_endpoint_send(side->ep, FABRIC_ASKER, 0, TP_CLASS_RESPONSE, priority, iov,
				2) == 0;
}

/* The asker waits for one page at a time; what is refused goes with a later turn. */
static void
home_answer(struct fabric_side *side)
{
	if (!side->answered)
		side->answered = home_send(side, 0, side->wanted, TP_PRIORITY_URGENT);
}

static void
home_message(void *context, const struct tp_message *message)
{
	struct fabric_side *side = context;
	const struct fabric_head *head = tp_message_head(message, sizeof(*head));

	if (message->class != TP_CLASS_REQUEST)
		return;
	if (head != NULL && head->page < side->page_count) {
		side->wanted = head->page;
		side->answered = false;
		home_answer(side);
	}
	tp_endpoint_request_done(side->ep, message->token);
}

static void
asker_message(void *context, const struct tp_message *message)
{
	struct fabric_side *side = context;
	const struct fabric_head *head = tp_message_head(message, sizeof(*head));
	uint32_t page;

	if (message->length == FABRIC_SMALL_BYTES) {
		side->streamed++;
		return;
	}
	if (head == NULL || head->page >= side->page_count)
		return;
	page = head->page;
	tp_message_copy(message, sizeof(*head), side_page(side, page), BENCH_PAGE_BYTES);
	if (head->ticks == 0) {
		side->answered |= page == side->wanted;
		return;
	}
	side->streamed++;
	if (side->latency != NULL && side->latency->count < side->latency->capacity)
		bench_samples_add(side->latency, rte_rdtsc() - head->ticks);
}

static void
side_peer_up(void *context, uint16_t node, uint32_t incarnation)
{
	(void)node;
	(void)incarnation;
	((struct fabric_side *)context)->up = true;
}

static void
side_peer_down(void *context, uint16_t node, uint32_t incarnation, enum tp_peer_down_reason reason)
{
	(void)node;
	(void)incarnation;
	(void)reason;
	((struct fabric_side *)context)->up = false;
}

static const struct tp_endpoint_ops home_ops = {
	.message = home_message,
	.peer_up = side_peer_up,
	.peer_down = side_peer_down,
};

static const struct tp_endpoint_ops asker_ops = {
	.message = asker_message,
	.peer_up = side_peer_up,
	.peer_down = side_peer_down,
};

static int
side_port_start(struct fabric_side *side)
{
	uint16_t wanted = bench_pmd_mtu(side->bench->pmd);
	struct rte_mempool *pool = tp_port_pool_create("fabric", 0, 1, wanted, FABRIC_MBUFS);
	const struct tp_port_config config = {
		.port = 0,
		.queues = 1,
		.mtu = wanted,
		.rx_descriptors = FABRIC_DESCRIPTORS,
		.tx_descriptors = FABRIC_DESCRIPTORS,
		.pools = &pool,
	};
	uint16_t mtu;
	int ret;

	if (pool == NULL)
		return -rte_errno;
	ret = tp_port_start(&config, &mtu);
	if (ret < 0)
		return ret;
	side->link = tp_link_ethdev_create(0, 0, 0, pool);
	return side->link == NULL ? -rte_errno : 0;
}

static int
side_endpoint_create(struct fabric_side *side, uint16_t id)
{
	const struct tp_endpoint_config config = {
		.node = id,
		.incarnation = id,
		.link_count = 1,
		.links = { { .link = side->fault != NULL ? side->fault : side->link,
			     .ip = FABRIC_NET + id } },
		.no_join = (side->flags & FABRIC_NO_JOIN) != 0,
		.seed = id,
	};
	uint16_t other = id == FABRIC_HOME ? FABRIC_ASKER : FABRIC_HOME;

	side->ep = tp_endpoint_create(&config, id == FABRIC_HOME ? &home_ops : &asker_ops, side);
	if (side->ep == NULL)
		return -rte_errno;
	side->now = side_clock(side);
	return tp_endpoint_peer_set(side->ep, other, 0, FABRIC_NET + other, NULL, 0, 1);
}

static int
side_open(struct fabric_side *side, uint16_t id)
{
	int ret;

	side->page_count = BENCH_RAW_SET_BYTES / BENCH_PAGE_BYTES;
	side->pages = bench_memory(side->bench, BENCH_RAW_SET_BYTES);
	side->order = bench_order(side->page_count);
	if (side->pages == NULL || side->order == NULL)
		return -ENOMEM;
	ret = side_port_start(side);
	if (ret < 0)
		return ret;
	if (id == FABRIC_ASKER && (side->flags & FABRIC_NO_FAULT) == 0) {
		side->fault = tp_link_fault_create(side->link, FABRIC_SEED, &side->now);
		if (side->fault == NULL)
			return -rte_errno;
	}
	return side_endpoint_create(side, id);
}

void
fabric_side_poll(struct fabric_side *side)
{
	side->now = side_clock(side);
	tp_endpoint_rx_poll(side->ep, side->now);
	tp_endpoint_timer_poll(side->ep, side->now);
	tp_endpoint_tx_flush(side->ep, side->now);
}

void
fabric_side_run(struct fabric_side *side, uint64_t span_ns)
{
	uint64_t end = side_clock(side) + span_ns;

	do {
		fabric_side_poll(side);
	} while (side->now < end);
}

static void
home_stream_small(struct fabric_side *side)
{
	uint32_t most = (side->flags & FABRIC_NO_JOIN) != 0 ? FABRIC_SMALL_ALONE_PUSH :
		FABRIC_SMALL_PUSH;
	uint64_t words[FABRIC_SMALL_BYTES / sizeof(uint64_t)] = { 0 };
	const struct iovec iov = { words, sizeof(words) };

	for (uint32_t i = 0; i < most; i++) {
		words[0] = side->next;
		if (tp_endpoint_send(side->ep, FABRIC_ASKER, 0, TP_CLASS_RESPONSE,
				     TP_PRIORITY_NORMAL, &iov, 1) < 0)
			return;
		side->next++;
	}
}

static void
home_stream(struct fabric_side *side)
{
	uint32_t stream = atomic_load_explicit(&side->shared->stream, memory_order_relaxed);
	enum tp_priority priority =
		stream == FABRIC_STREAM_BULK ? TP_PRIORITY_BULK : TP_PRIORITY_NORMAL;

	if (stream == FABRIC_STREAM_NONE)
		return;
	if (stream == FABRIC_STREAM_SMALL) {
		home_stream_small(side);
		return;
	}
	for (unsigned int i = 0; i < FABRIC_PUSH; i++) {
		uint32_t page = side->order[side->next % side->page_count];

		if (!home_send(side, rte_rdtsc(), page, priority))
			return;
		side->next++;
	}
}

static void
home_rto_publish(struct fabric_side *side)
{
	struct tp_session_info info;

	if (tp_endpoint_session_info(side->ep, 0, &info) == 0)
		atomic_store_explicit(&side->shared->rto_ns, info.rto_ns, memory_order_relaxed);
}

static int
home_main(struct bench *bench, struct bench_control *control, void *context)
{
	struct fabric_bench *fabric = context;
	struct fabric_side side = {
		.bench = bench,
		.shared = fabric->shared,
		.flags = fabric->side.flags,
		.answered = true,
	};
	char vdev[1][BENCH_VDEV_CHARS];
	uint64_t turns = 0;
	int ret;

	bench_link_vdev(bench, 0, 1, vdev[0]);
	ret = bench_eal_start(bench, 1, (const char (*)[BENCH_VDEV_CHARS])vdev, 1);
	if (ret == 0)
		ret = side_open(&side, FABRIC_HOME);
	if (ret < 0)
		return ret;
	bench_peer_ready(control);
	while (bench_peer_may_run(control)) {
		side.now = side_clock(&side);
		tp_endpoint_rx_poll(side.ep, side.now);
		tp_endpoint_timer_poll(side.ep, side.now);
		home_answer(&side);
		home_stream(&side);
		tp_endpoint_tx_flush(side.ep, side.now);
		if (++turns % 4096 == 0)
			home_rto_publish(&side);
	}
	return 0;
}

static int
fabric_await_up(struct fabric_bench *fabric)
{
	struct fabric_side *side = &fabric->side;
	uint64_t end = side_clock(side) + FABRIC_UP_NS;

	do {
		fabric_side_poll(side);
		if (side->up)
			return 0;
	} while (side->now < end);
	return -ETIMEDOUT;
}

int
fabric_bench_init(struct fabric_bench *fabric, struct bench *bench, unsigned int flags)
{
	char vdev[1][BENCH_VDEV_CHARS];
	int ret;

	memset(fabric, 0, sizeof(*fabric));
	fabric->shared = mmap(NULL, sizeof(*fabric->shared), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (fabric->shared == MAP_FAILED) {
		fabric->shared = NULL;
		return -errno;
	}
	fabric->side.bench = bench;
	fabric->side.shared = fabric->shared;
	fabric->side.flags = flags;
	bench_hugepages_reserve(bench, 2 * BENCH_RAW_HUGEPAGES);
	ret = bench_link_prepare(bench, 1);
	if (ret == 0)
		ret = bench_peer_start(&fabric->peer, bench, 1, home_main, fabric);
	if (ret < 0)
		return ret;
	bench_link_vdev(bench, 0, 0, vdev[0]);
	/* A memif client that starts before its server may never connect. */
	ret = bench_peer_await(&fabric->peer);
	if (ret == 0)
		ret = bench_eal_start(bench, 0, (const char (*)[BENCH_VDEV_CHARS])vdev, 1);
	if (ret == 0)
		ret = side_open(&fabric->side, FABRIC_ASKER);
	if (ret < 0)
		return ret;
	bench_peer_resume(&fabric->peer);
	return fabric_await_up(fabric);
}

void
fabric_bench_fini(struct fabric_bench *fabric)
{
	tp_endpoint_destroy(fabric->side.ep);
	tp_link_fault_destroy(fabric->side.fault);
	if (fabric->side.link != NULL)
		tp_link_ethdev_destroy(fabric->side.link);
	bench_peer_stop(&fabric->peer);
	free(fabric->side.order);
	if (fabric->shared != NULL)
		munmap(fabric->shared, sizeof(*fabric->shared));
}

void
fabric_stream_set(struct fabric_bench *fabric, enum fabric_stream stream)
{
	atomic_store_explicit(&fabric->shared->stream, stream, memory_order_relaxed);
}

void
fabric_loss_set(struct fabric_bench *fabric, uint32_t loss_ppm)
{
	const struct tp_link_faults faults = { .loss_ppm = loss_ppm };

	tp_link_fault_set(fabric->side.fault, 0, TP_LINK_FAULT_BOTH, &faults);
}

int
fabric_fetch(struct fabric_bench *fabric, uint64_t *ticks)
{
	struct fabric_side *side = &fabric->side;
	uint32_t page = side->order[side->next++ % side->page_count];
	struct fabric_head head = { .page = page };
	const struct iovec iov = { &head, sizeof(head) };
	uint64_t start = rte_rdtsc_precise();
	uint64_t end = side_clock(side) + FABRIC_FETCH_NS;
	bool sent = false;

	side->wanted = page;
	side->answered = false;
	do {
		if (!sent)
			sent = tp_endpoint_send(side->ep, FABRIC_HOME, 0, TP_CLASS_REQUEST,
						TP_PRIORITY_URGENT, &iov, 1) == 0;
		/* As a node does at the end of a turn: out first, then look again. */
		tp_endpoint_tx_flush(side->ep, side_clock(side));
		fabric_side_poll(side);
		if (side->now > end)
			return -ETIMEDOUT;
	} while (!side->answered);
	*ticks = rte_rdtsc_precise() - start;
	return 0;
}
