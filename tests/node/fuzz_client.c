/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * libFuzzer target: a client program that writes what it likes into all that it
 * shares with its node: rings, hazard slots, frame words, the node's header.
 * The input is a row of (what, where, bytes).
 */
#include "fuzz_cluster.h"

#define REGION_PAGES 8u

enum { DO_REQUEST, DO_RING, DO_SEGMENT, DO_GUARD, DO_WORD, DO_BELL, DO_RUN, DO_HONEST, DO_COUNT };

struct evil {
	struct cluster_client client;
	struct tp_client_region *region;
	const struct tp_control_region *info;
	struct tp_abi_client *segment;
	_Atomic uint64_t *words;
};

/* A request that is nearly right. */
static void
evil_request(struct evil *evil, struct input *input)
{
	uint64_t bits = input_take(input, 8);
	uint64_t wrong = input_take(input, 4);
	struct tp_abi_thread *thread = &evil->segment->threads[bits & 1];
	struct tp_abi_ring *ring = &thread->rings[bits >> 1 & 1];
	uint32_t head = atomic_load(&ring->request_head);
	struct tp_abi_request request = {
		.op = (uint8_t)(bits >> 2 & 7),
		.atomic_op = (uint8_t)(bits >> 5 & 15),
		.width = (bits >> 9 & 1) != 0 ? 8 : 4,
		.guard = (uint8_t)(bits >> 10 & 31),
		.cookie = (uint32_t)(bits >> 15 & 255),
		.region_id = evil->info->id,
		.page_index = (uint32_t)(bits >> 23 & 7),
		.generation = evil->info->generation,
		.offset = (uint32_t)(bits >> 26 & 4095),
		.operand = bits,
		.compare = wrong,
		.deadline_tsc = fuzz.cluster->now + (bits >> 38 & 0xffffff),
	};

	if ((wrong & 7) == 7)
		((uint8_t *)&request)[wrong >> 8 & 63] ^= (uint8_t)(wrong >> 16);
	if ((wrong & 8) != 0 && request.guard < TP_ABI_GUARDS)
		atomic_store(&thread->guards.key[request.guard], TP_GUARD_WAITING |
			tp_guard_key(request.region_id, request.page_index));
	ring->requests[head % TP_ABI_RING_ENTRIES] = request;
	atomic_store(&thread->active, 1);
	atomic_store(&ring->request_head, head + 1);
}

static void
evil_bytes(void *to, size_t room, struct input *input)
{
	size_t offset = input_take(input, 3) % room;
	size_t count = 1 + input_take(input, 1) % 16;

	while (count-- > 0 && offset < room)
		((volatile uint8_t *)to)[offset++] = (uint8_t)input_take(input, 1);
}

static void
evil_step(struct evil *evil, struct input *input)
{
	uint8_t what = (uint8_t)input_take(input, 1);
	struct tp_abi_thread *thread = &evil->segment->threads[what >> 4 & 1];
	struct tp_abi_node *header;
	uint32_t i;

	switch (what % DO_COUNT) {
	case DO_REQUEST:
		evil_request(evil, input);
		break;
	case DO_RING:
		/* Only the indexes. */
		evil_bytes(&thread->rings[what >> 5 & 1],
			offsetof(struct tp_abi_ring, requests), input);
		break;
	case DO_SEGMENT:
		evil_bytes(evil->segment, tp_abi_client_bytes(2), input);
		break;
	case DO_GUARD:
		evil_bytes(&thread->guards, sizeof(thread->guards), input);
		break;
	case DO_WORD:
		evil_bytes(evil->words, REGION_PAGES * sizeof(*evil->words), input);
		break;
	case DO_BELL:
		header = fuzz.cluster->nodes[1].control->abi_node;
		evil_bytes(header->bells, sizeof(header->bells), input);
		break;
	case DO_RUN:
		for (i = 0; i < 1u + (what >> 4); i++)
			cluster_step(fuzz.cluster);
		break;
	default:
		fuzz_honest(what >> 4);
		break;
	}
}

static void
evil_begin(struct evil *evil)
{
	static bool made;
	struct tp_client_region_config config = {
		.name = "evil",
		.bytes = REGION_PAGES * FUZZ_PAGE,
		.distribution = TP_REGION_STRIPED,
	};

	cluster_attach(fuzz.cluster, 1, &evil->client);
	if (!made)
		assert_int_equal(tp_client_region_create(evil->client.client, &config,
			&evil->region), 0);
	else
		assert_int_equal(tp_client_region_open(evil->client.client, "evil",
			&evil->region), 0);
	made = true;
	evil->info = tp_client_region_info(evil->region);
	evil->segment = tp_control_client_segment(fuzz_node(), evil->client.id);
	evil->words = tp_segment_base(regions_find(fuzz_node(), evil->info->id)->words);
	assert_non_null(evil->words);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };
	struct evil evil;
	uint32_t i;

	fuzz_begin();
	evil_begin(&evil);
	while (input.size > 0)
		evil_step(&evil, &input);
	for (i = 0; i < 64; i++)
		cluster_step(fuzz.cluster);
	tp_client_detach(evil.client.client);
	fuzz_client_end(evil.client.id);
	return 0;
}
