/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Slot pools: layout in shared memory, create, attach, detach, getters. How
 * slots change hands is in slot_loan.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_errno.h>

#include "pool_priv.h"

/* Where the parts of a pool lie, from the header on. A function of the two
 * numbers alone, so a header that says anything else is corrupt.
 */
struct pool_layout {
	uint64_t stride;
	uint64_t summary_offset;
	uint64_t words_offset;
	uint64_t slots_offset;
	uint64_t data_offset;
	uint64_t total_bytes;
	uint32_t word_count;
	uint32_t summary_count;
};

static bool
pool_layout_compute(uint32_t slot_bytes, uint32_t slot_count, struct pool_layout *layout)
{
	uint64_t data_align;

	if (slot_bytes == 0 || slot_bytes > TP_SLOT_BYTES_MAX || slot_count == 0 ||
	    slot_count > TP_SLOT_COUNT_MAX)
		return false;
	data_align = slot_bytes % 4096 == 0 ? 4096 : RTE_CACHE_LINE_SIZE;
	layout->stride = RTE_ALIGN((uint64_t)slot_bytes, (uint64_t)RTE_CACHE_LINE_SIZE);
	layout->word_count = (slot_count + 63) / 64;
	layout->summary_count = (layout->word_count + 63) / 64;
	layout->summary_offset = sizeof(struct pool_header);
	layout->words_offset = RTE_ALIGN(layout->summary_offset + layout->summary_count * 8ul,
					 (uint64_t)RTE_CACHE_LINE_SIZE);
	layout->slots_offset =
		layout->words_offset + layout->word_count * sizeof(struct pool_word);
	layout->data_offset = RTE_ALIGN(
		layout->slots_offset + slot_count * sizeof(struct pool_slot), data_align);
	layout->total_bytes = layout->data_offset + slot_count * layout->stride;
	return true;
}

uint64_t
tp_slot_pool_bytes(uint32_t slot_bytes, uint32_t slot_count)
{
	struct pool_layout layout;

	return pool_layout_compute(slot_bytes, slot_count, &layout) ? layout.total_bytes : 0;
}

/* Processes start in different words: the bit-reversed id spreads the first few
 * clients over the whole pool, whatever its size.
 */
static uint32_t
pool_hint_first(uint32_t client_id, uint32_t word_count)
{
	uint32_t reversed = 0;

	for (unsigned int bit = 0; bit < 6; bit++)
		reversed |= ((client_id >> bit) & 1) << (5 - bit);
	return (uint32_t)((uint64_t)reversed * word_count / TP_SLOT_CLIENT_MAX) * 64;
}

/* This process's side of a pool whose layout is known to be good. */
static struct tp_slot_pool *
pool_handle_create(struct tp_segment *segment, uint64_t offset, const struct pool_layout *layout,
		   const struct tp_slot_pool_config *config)
{
	uint8_t *start = (uint8_t *)tp_segment_base(segment) + offset;
	struct tp_slot_pool *pool = calloc(1, sizeof(*pool));
	uint32_t tail = config->slot_count % 64;

	if (pool == NULL)
		return NULL;
	/* Zero pages until a slot is loaned: this costs what is used. */
	pool->refs = calloc(config->slot_count, sizeof(*pool->refs));
	if (pool->refs == NULL) {
		free(pool);
		return NULL;
	}
	pool->header = (struct pool_header *)start;
	pool->summary = (_Atomic uint64_t *)(start + layout->summary_offset);
	pool->words = (struct pool_word *)(start + layout->words_offset);
	pool->slots = (struct pool_slot *)(start + layout->slots_offset);
	pool->data = start + layout->data_offset;
	pool->client_bit = UINT64_C(1) << config->client_id;
	pool->stride = layout->stride;
	pool->data_offset = offset + layout->data_offset;
	pool->word_last_valid = tail == 0 ? UINT64_MAX : (UINT64_C(1) << tail) - 1;
	pool->slot_bytes = config->slot_bytes;
	pool->slot_count = config->slot_count;
	pool->word_count = layout->word_count;
	pool->summary_count = layout->summary_count;
	pool->segment_id = config->segment_id;
	pool->client_id = config->client_id;
	pool->hint_first = pool_hint_first(config->client_id, layout->word_count);
	atomic_init(&pool->hint, pool->hint_first);
	return pool;
}

static void
pool_handle_destroy(struct tp_slot_pool *pool)
{
	/* The cast: free() takes no pointer to atomics. */
	free((void *)(uintptr_t)pool->refs);
	free(pool);
}

/* Every slot free and nobody attached; the magic makes it a pool. */
static void
pool_format(struct tp_slot_pool *pool, const struct pool_layout *layout)
{
	struct pool_header *header = pool->header;

	atomic_store_explicit(&header->magic, 0, memory_order_relaxed);
	header->version = POOL_VERSION;
	header->header_bytes = sizeof(*header);
	header->total_bytes = layout->total_bytes;
	header->slot_bytes = pool->slot_bytes;
	header->slot_count = pool->slot_count;
	header->segment_id = pool->segment_id;
	header->reserved = 0;
	header->summary_offset = layout->summary_offset;
	header->words_offset = layout->words_offset;
	header->slots_offset = layout->slots_offset;
	header->data_offset = layout->data_offset;
	atomic_init(&header->attached, pool->client_bit);
	atomic_init(&header->waiting, 0);
	atomic_init(&header->wake_sequence, 0);
	for (uint32_t i = 0; i < pool->summary_count; i++)
		atomic_init(&pool->summary[i], 0);
	for (uint32_t i = 0; i < pool->word_count; i++) {
		atomic_init(&pool->words[i].bits, pool_word_valid(pool, i));
		pool_summary_set(pool, i);
	}
	for (uint32_t i = 0; i < pool->slot_count; i++) {
		atomic_init(&pool->slots[i].holders, 0);
		atomic_init(&pool->slots[i].generation, 0);
	}
	/* Pairs with the acquire in pool_header_check(). */
	atomic_store_explicit(&header->magic, POOL_MAGIC, memory_order_release);
}

struct tp_slot_pool *
tp_slot_pool_create(struct tp_segment *segment, const struct tp_slot_pool_config *config)
{
	struct pool_layout layout;
	struct tp_slot_pool *pool;

	if (!pool_layout_compute(config->slot_bytes, config->slot_count, &layout) ||
	    config->client_id >= TP_SLOT_CLIENT_MAX ||
	    config->offset % TP_SLOT_POOL_ALIGN != 0) {
		rte_errno = EINVAL;
		return NULL;
	}
	if (tp_segment_readonly(segment)) {
		rte_errno = EACCES;
		return NULL;
	}
	if (config->offset > tp_segment_bytes(segment) ||
	    layout.total_bytes > tp_segment_bytes(segment) - config->offset) {
		rte_errno = ENOSPC;
		return NULL;
	}
	pool = pool_handle_create(segment, config->offset, &layout, config);
	if (pool == NULL) {
		rte_errno = ENOMEM;
		return NULL;
	}
	pool_format(pool, &layout);
	return pool;
}

/*
 * Believe nothing of what lies in shared memory: the two numbers are copied
 * once, all else must follow from them and fit into the segment.
 */
static int
pool_header_check(const struct pool_header *shared, uint64_t room, struct pool_layout *layout,
		  struct tp_slot_pool_config *config)
{
	struct pool_header header;

	if (room < sizeof(header))
		return -EBADMSG;
	/* Pairs with the release in pool_format(). */
	if (atomic_load_explicit(&shared->magic, memory_order_acquire) != POOL_MAGIC)
		return -EBADMSG;
	memcpy(&header, shared, offsetof(struct pool_header, attached));
	if (header.version != POOL_VERSION)
		return -EPROTONOSUPPORT;
	if (header.header_bytes != sizeof(header) || header.reserved != 0 ||
	    !pool_layout_compute(header.slot_bytes, header.slot_count, layout))
		return -EBADMSG;
	if (header.total_bytes != layout->total_bytes || layout->total_bytes > room ||
	    header.summary_offset != layout->summary_offset ||
	    header.words_offset != layout->words_offset ||
	    header.slots_offset != layout->slots_offset ||
	    header.data_offset != layout->data_offset)
		return -EBADMSG;
	config->slot_bytes = header.slot_bytes;
	config->slot_count = header.slot_count;
	config->segment_id = header.segment_id;
	return 0;
}

struct tp_slot_pool *
tp_slot_pool_attach(struct tp_segment *segment, uint64_t offset, uint32_t client_id)
{
	struct tp_slot_pool_config config = { .offset = offset, .client_id = client_id };
	struct pool_header *header;
	struct pool_layout layout;
	struct tp_slot_pool *pool;
	uint64_t attached;
	int ret;

	if (client_id >= TP_SLOT_CLIENT_MAX || offset % TP_SLOT_POOL_ALIGN != 0 ||
	    offset >= tp_segment_bytes(segment)) {
		rte_errno = EINVAL;
		return NULL;
	}
	if (tp_segment_readonly(segment)) {
		rte_errno = EACCES;
		return NULL;
	}
	header = (struct pool_header *)((uint8_t *)tp_segment_base(segment) + offset);
	ret = pool_header_check(header, tp_segment_bytes(segment) - offset, &layout, &config);
	if (ret < 0) {
		rte_errno = -ret;
		return NULL;
	}
	pool = pool_handle_create(segment, offset, &layout, &config);
	if (pool == NULL) {
		rte_errno = ENOMEM;
		return NULL;
	}
	/* Acquire: pairs with the release in tp_slot_pool_reap() and detach, by
	 * which the id's former owner is out of every slot.
	 */
	attached = atomic_fetch_or_explicit(&header->attached, pool->client_bit,
					    memory_order_acquire);
	POOL_STEP(attached);
	if (attached & pool->client_bit) {
		pool_handle_destroy(pool);
		rte_errno = EBUSY;
		return NULL;
	}
	return pool;
}

void
tp_slot_pool_detach(struct tp_slot_pool *pool)
{
	if (pool == NULL)
		return;
	pool_release_all(pool, pool->client_bit);
	pool_handle_destroy(pool);
}

uint32_t
tp_slot_pool_capacity(const struct tp_slot_pool *pool)
{
	return pool->slot_count;
}

uint32_t
tp_slot_pool_available(const struct tp_slot_pool *pool)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < pool->word_count; i++) {
		uint64_t bits = atomic_load_explicit(&pool->words[i].bits, memory_order_relaxed) &
				pool_word_valid(pool, i);

		/* A bit says perhaps, its holders say. */
		for (; bits != 0; bits &= bits - 1) {
			uint32_t index = i * 64 + (uint32_t)__builtin_ctzll(bits);

			count += tp_slot_pool_holders(pool, index) == 0;
		}
	}
	return count;
}

uint32_t
tp_slot_pool_held(const struct tp_slot_pool *pool, uint32_t client_id)
{
	uint32_t count = 0;

	if (client_id >= TP_SLOT_CLIENT_MAX)
		return 0;
	for (uint32_t i = 0; i < pool->slot_count; i++)
		count += (tp_slot_pool_holders(pool, i) >> client_id) & 1;
	return count;
}

uint64_t
tp_slot_pool_holders(const struct tp_slot_pool *pool, uint32_t index)
{
	if (index >= pool->slot_count)
		return 0;
	return atomic_load_explicit(&pool->slots[index].holders, memory_order_relaxed);
}

uint32_t
tp_slot_pool_slot_bytes(const struct tp_slot_pool *pool)
{
	return pool->slot_bytes;
}

uint32_t
tp_slot_pool_segment_id(const struct tp_slot_pool *pool)
{
	return pool->segment_id;
}

void *
tp_slot_pool_slot_ptr(const struct tp_slot_pool *pool, uint32_t index)
{
	if (index >= pool->slot_count)
		return NULL;
	return pool->data + index * pool->stride;
}

uint32_t
tp_slot_pool_slot_index(const struct tp_slot_pool *pool, const void *ptr)
{
	uintptr_t offset = (uintptr_t)ptr - (uintptr_t)pool->data;

	if ((uintptr_t)ptr < (uintptr_t)pool->data || offset / pool->stride >= pool->slot_count)
		return TP_SLOT_NONE;
	return (uint32_t)(offset / pool->stride);
}

uint64_t
tp_slot_pool_slot_offset(const struct tp_slot_pool *pool, uint32_t index)
{
	RTE_ASSERT(index < pool->slot_count);
	return pool->data_offset + index * pool->stride;
}
