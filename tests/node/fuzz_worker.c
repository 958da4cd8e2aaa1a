/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * libFuzzer target: messages of a node that lies, at one worker whose state is the same
 * before each input: home of pages that the liar holds, holder of pages of the liar's,
 * with requests under way, batches and changes of pages on. No clients and no network:
 * what decodes, decides and encodes, and nothing else. fuzz_message has the same inputs
 * at a whole cluster.
 *
 * Input: messages, as fuzz_message_input.h has them.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz_message_input.h"
#include "snapshot.h"
#include "tp_generation.h"

#define NODE 1
#define REGION 5
#define PAGES 8u
#define HOME_SLOTS 4u			/* even pages are homed here, odd ones at the liar */
#define SLOTS (HOME_SLOTS + 4u)
/* The slots, and the worker itself. */
#define SNAPSHOT_BYTES RTE_MAX(SLOTS * LIAR_PAGE, (uint32_t)sizeof(struct tp_worker))
#define ROWS_MAX 16u
#define US UINT64_C(1000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
	struct tp_worker *worker;
	struct tp_link link;
	struct node_shared shared;
	_Atomic uint8_t reachable[9];
	struct tp_region region;
	struct tp_directory *directory;
	_Atomic uint64_t *words;
	uint64_t now;
} fuzz;

static void
check(bool holds)
{
	if (!holds)
		abort();
}

static uint32_t
null_burst(struct tp_link *link, struct tp_frame *frames, uint32_t n)
{
	return 0;
}

static void
null_frame(struct tp_link *link, struct tp_frame *frame)
{
}

static bool
null_shared(struct tp_link *link, const struct tp_frame *frame)
{
	return false;
}

static const struct tp_link_ops null_ops = {
	.rx_burst = null_burst,
	.tx_burst = null_burst,
	.tx_alloc = null_burst,
	.frame_ref = null_frame,
	.frame_free = null_frame,
	.frame_shared = null_shared,
};

/* So that each codec is tried. */
static const struct tp_codec_cost costs[TP_CODEC_COUNT] = {
	[TP_CODEC_RAW] = { 0, 60, 4096 },
	[TP_CODEC_SAME] = { 30, 60, 16 },
	[TP_CODEC_DELTA] = { 40, 80, 27 },
	[TP_CODEC_DELTA_LZ4] = { 50, 90, 27 },
	[TP_CODEC_LZ4] = { 700, 300, 40 },
	[TP_CODEC_DEFLATE] = { 5000, 2000, 60 },
};

static struct tp_coherence_config
engine_config(void)
{
	const struct tp_directory_config directory = { .region_count_max = 2, .worker_count_max = 1,
		.node_id_max = 8 };
	const struct tp_directory_worker_config part = { .bitmap_count_max = 2,
		.transient_count_max = 8, .transient_bytes = 64 };

	fuzz.directory = tp_directory_create(&directory);
	check(fuzz.directory != NULL);
	return (struct tp_coherence_config){
		.node_id = NODE, .worker_count = 1, .node_id_max = 8, .epoch = 1,
		.home_slot_count = HOME_SLOTS, .cache_slot_first = HOME_SLOTS,
		.cache_slot_count = SLOTS - HOME_SLOTS, .request_count = 8, .waiter_count = 8,
		.busy_count = 8, .deferred_count = 16, .kept_count = 16,
		.directory = fuzz.directory,
		.directory_worker = tp_directory_worker_create(fuzz.directory, &part),
	};
}

static void
worker_make(void)
{
	struct worker_config config = {
		.node_id = NODE, .node_id_max = 8, .worker_count = 1, .slot_bytes = LIAR_PAGE,
		.slot_count = SLOTS, .own_slots = SLOTS, .waiter_count = 8, .stash_count = 64,
		.guard_lease_ns = 10000 * US, .lease_ns = 60000 * US,
		.slots = aligned_alloc(LIAR_PAGE, SLOTS * LIAR_PAGE), .shared = &fuzz.shared,
		.clock = { .tsc_hz = 1000000000 }, .coherence = engine_config(),
		.codec_costs = costs, .link_ns_per_kib = { 8192 }, .base_count = 4,
		.endpoint = { .node = NODE, .link_count = 1, .incarnation = 1, .peer_max = 2,
			.tx_frames = TP_ENDPOINT_TX_FRAMES_MIN,
			.rx_frames = TP_ENDPOINT_RX_FRAMES_MIN,
			.links = { { .link = &fuzz.link, .ip = 0x0a000001 } } },
	};

	fuzz.link = (struct tp_link){ .ops = &null_ops, .mac = { 2, 0, 0, 0, 0, 1 }, .mtu = 9000,
		.max_frame = 9014 };
	fuzz.shared.reachable = fuzz.reachable;
	atomic_store(&fuzz.shared.lease_until_ns, UINT64_MAX);
	check(config.slots != NULL);
	for (uint32_t i = 0; i < SLOTS * LIAR_PAGE; i++)
		config.slots[i] = (uint8_t)(i * 7 + i / 512);
	fuzz.words = calloc(PAGES, sizeof(*fuzz.words));
	fuzz.worker = worker_create(&config);
	check(fuzz.worker != NULL && fuzz.words != NULL);
}

static void
region_make(void)
{
	struct worker_command add = { .type = WORKER_REGION_ADD, .region = &fuzz.region,
		.client = -1, .words = fuzz.words };
	int slot;

	fuzz.region = (struct tp_region){ .id = REGION, .mode = TP_REGION_RW,
		.state = TP_REGION_ACTIVE, .distribution = TP_REGION_STRIPED, .page_shift = 12,
		.base = TP_ADDRESS_BASE, .bytes = PAGES * LIAR_PAGE, .page_count = PAGES,
		.generation = tp_generation_pack(1, 1), .node_count = 2, .nodes = { NODE, LIAR } };
	slot = tp_directory_region_add(fuzz.directory, REGION, fuzz.region.generation, PAGES / 2);
	check(slot >= 0);
	add.directory_slot = (uint32_t)slot;
	check(node_ring_push(&fuzz.worker->commands, &add));
}

/* Of the message about the page: the liar's answer to what was asked last. */
static void
tell(uint8_t type, uint32_t page, uint32_t txn, uint32_t bytes)
{
	uint8_t data[TP_MSG_PAGE_HEADER + LIAR_PAGE] = { 0 };
	struct tp_message_piece piece = { .data = data, .length = bytes };
	struct tp_message message = { .src_node = LIAR, .class = type == TP_MSG_GET_S ||
		type == TP_MSG_GET_M ? TP_CLASS_REQUEST : TP_CLASS_RESPONSE, .piece_count = 1,
		.length = bytes, .pieces = &piece };
	const struct tp_coherence_msg msg = {
		.type = type,
		.requester = rte_cpu_to_le_16(message.class == TP_CLASS_REQUEST ? LIAR : NODE),
		.txn = rte_cpu_to_le_32(txn),
		.region_id = rte_cpu_to_le_32(REGION),
		.page_index = rte_cpu_to_le_32(page),
		.generation = rte_cpu_to_le_64(fuzz.region.generation),
		.sequence = rte_cpu_to_le_64(1),
	};

	memset(data + TP_MSG_PAGE_HEADER, (int)page, LIAR_PAGE);
	memcpy(data, &msg, bytes > sizeof(msg) ? TP_MSG_PAGE_HEADER : sizeof(msg));
	worker_endpoint_ops.message(fuzz.worker, &message);
}

/* Ask for a page of the liar's, as a program would have it. @return The transaction. */
static uint32_t
ask(uint32_t page, enum tp_coherence_want want)
{
	struct tp_worker *worker = fuzz.worker;
	uint32_t txn = 0;

	check(tp_coherence_fetch(worker->coherence, REGION, page, fuzz.region.generation, want,
		worker->now, &worker->outbox));
	for (uint32_t i = 0; i < worker->outbox.count; i++)
		if (worker->outbox.actions[i].type == TP_ACTION_SEND)
			txn = rte_le_to_cpu_32(worker->outbox.actions[i].msg.txn);
	worker_outbox_run(worker);
	return txn;
}

static const char *
cache_state(uint32_t page)
{
	struct tp_coherence_page_info info;

	tp_coherence_page_info_get(fuzz.worker->coherence, REGION, page, &info);
	return info.cache_state;
}

static void
fuzz_begin(void)
{
	const struct worker_command peer = { .type = WORKER_PEER_SET, .node = LIAR, .epoch = 7,
		.ip = 0x0a000003, .worker_count = 1 };
	struct worker_event event;

	rte_log_set_global_level(RTE_LOG_EMERG);
	snapshot_begin(SNAPSHOT_BYTES);
	worker_make();
	region_make();
	check(node_ring_push(&fuzz.worker->commands, &peer));
	fuzz.now = 1000000 * US;
	tp_worker_poll(fuzz.worker, fuzz.now);
	snapshot_end();
	worker_endpoint_ops.peer_up(fuzz.worker, LIAR, 7);
	tell(TP_MSG_GET_S, 0, 11, sizeof(struct tp_coherence_msg));
	tell(TP_MSG_GET_M, 2, 12, sizeof(struct tp_coherence_msg));
	tell(TP_MSG_DATA_S, 1, ask(1, TP_WANT_READ), TP_MSG_PAGE_HEADER + LIAR_PAGE);
	tell(TP_MSG_DATA_M, 3, ask(3, TP_WANT_WRITE), TP_MSG_PAGE_HEADER + LIAR_PAGE);
	ask(5, TP_WANT_READ);
	worker_local_run(fuzz.worker);
	while (node_ring_pop(&fuzz.worker->events, &event))
		;
	check(fuzz.worker->stats.messages_bad == 0);
	check(strcmp(cache_state(1), "S") == 0 && strcmp(cache_state(3), "M") == 0);
	snapshot_take();
}

/* What holds whatever a liar says. */
static void
state_check(const struct tp_worker *worker)
{
	struct tp_coherence_usage usage;
	uint32_t held = 0;

	for (uint32_t page = 0; page < PAGES; page++) {
		uint32_t slot = tp_coherence_page_slot(worker->coherence, REGION, page);

		if (slot == TP_SLOT_ABSENT)
			continue;
		/* Home memory holds pages of this node alone, and no slot two pages. */
		check(slot < SLOTS && (slot >= HOME_SLOTS || page % 2 == 0));
		check((held >> slot & 1) == 0);
		held |= 1u << slot;
	}
	tp_coherence_usage_get(worker->coherence, &usage);
	check(usage.home_slots <= HOME_SLOTS && usage.cache_slots <= SLOTS - HOME_SLOTS);
	check(usage.waiters == 0 && usage.busy <= 8 && usage.requests <= 8 + 64);
	check(worker->outbox.count == 0 && worker->in_flight == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lie lie;
	uint32_t rows = 0;
	uint64_t now;

	if (fuzz.worker == NULL)
		fuzz_begin();
	now = fuzz.worker->now;
	while (size > 4 && rows++ < ROWS_MAX) {
		uint64_t bits = data[0] | (uint64_t)data[1] << 8;
		uint32_t length = (data[2] | (uint32_t)data[3] << 8) % MESSAGE_BYTES;
		uint32_t used = lie_make(&lie, fuzz.worker, bits, length, data + 4, size - 4);

		data += 4 + used;
		size -= 4 + used;
		now += US;
		fuzz.worker->now = now;
		snapshot_watch(true);
		worker_endpoint_ops.message(fuzz.worker, &lie.message);
		while (worker_batch_poll(fuzz.worker) != 0)
			;
		worker_local_run(fuzz.worker);
		worker_guard_poll(fuzz.worker);
		tp_coherence_poll(fuzz.worker->coherence, now, &fuzz.worker->outbox);
		worker_outbox_run(fuzz.worker);
		snapshot_watch(false);
	}
	state_check(fuzz.worker);
	snapshot_restore();
	return 0;
}
