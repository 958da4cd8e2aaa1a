/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Look at every structure of a pool, and put right what can be. The pool is looked at
 * as recovery makes it: for a check alone, in a private copy.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "heap.h"
#include "pmem_priv.h"

#define CHECK_TEXT_CHARS 256

struct check {
	struct tp_pmem_pool *pool;
	bool repair;
	tp_pmem_check_fn *found;
	void *context;
	int damage;		/* that remains */
};

static void found(struct check *check, enum tp_pmem_check_verdict verdict, uint64_t offset,
		  const char *format, ...) __attribute__((format(printf, 4, 5)));

static void
found(struct check *check, enum tp_pmem_check_verdict verdict, uint64_t offset,
      const char *format, ...)
{
	char text[CHECK_TEXT_CHARS];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (check->found != NULL)
		check->found(check->context, verdict, offset, text);
	if (verdict == TP_PMEM_CHECK_LOST ||
			(verdict == TP_PMEM_CHECK_REPAIRABLE && !check->repair))
		check->damage++;
}

/* 0, or -errno: there is no pool to look at. */
static int
check_super(struct check *check, struct tp_pmem_device *device, struct pmem_super *super)
{
	bool differ = false;
	int ret = pmem_super_choose(device, super);

	if (ret < 0)
		return ret;
	for (unsigned int i = 0; i < PMEM_SUPER_COPIES; i++) {
		struct pmem_super copy;
		const char *text;

		memcpy(&copy, device->media + pmem_super_offset(i), sizeof(copy));
		if (pmem_super_validate(&copy, &text) < 0)
			found(check, TP_PMEM_CHECK_REPAIRABLE, pmem_super_offset(i),
				"superblock copy %u: %s", i, text);
		else if (memcmp(&copy, super, sizeof(copy)) != 0)
			found(check, TP_PMEM_CHECK_NOTE, pmem_super_offset(i),
				"superblock copy %u is older: a growth was cut short", i);
		else
			continue;
		differ = true;
	}
	return differ && check->repair ? pmem_super_store(device, super) : 0;
}

static bool
is_zero(const void *data, size_t bytes)
{
	const uint8_t *at = data;

	for (size_t i = 0; i < bytes; i++)
		if (at[i] != 0)
			return false;
	return true;
}

static int
check_state(struct check *check, struct tp_pmem_device *device, const struct pmem_super *super)
{
	struct pmem_state state, copy;
	bool damaged = false;
	int ret = pmem_state_choose(device, super, &state);

	if (ret < 0)
		return ret;
	for (unsigned int i = 0; i < PMEM_STATE_COPIES; i++) {
		if (pmem_state_copy_read(device, super, i, &copy) || is_zero(&copy, sizeof(copy)))
			continue;
		found(check, TP_PMEM_CHECK_REPAIRABLE, pmem_state_offset(i),
			"state slot %u copy %u: checksum is wrong", i / 2, i % 2);
		damaged = true;
	}
	if (rte_le_to_cpu_32(state.flags) & PMEM_STATE_OPEN)
		found(check, TP_PMEM_CHECK_NOTE, pmem_state_offset((unsigned int)ret),
			"it was not closed: opening it recovers it");
	if (pmem_state_lost_power(device, &state))
		found(check, TP_PMEM_CHECK_LOST, pmem_state_offset((unsigned int)ret),
			"the medium lost power without writing its caches back while the pool was "
			"open: of what was stored last anything may be lost");
	/* Twice: the same state in both slots. */
	ret = 0;
	for (unsigned int i = 0; i < 2 && damaged && check->repair && ret == 0; i++)
		ret = pmem_state_store(device, &state);
	return ret;
}

static void
check_log(struct check *check)
{
	const struct tp_pmem_pool *pool = check->pool;

	if (pool->recovered_count > 0)
		found(check, TP_PMEM_CHECK_NOTE, PMEM_LOG_OFFSET, "%llu transactions in the log",
			(unsigned long long)pool->recovered_count);
	if (pool->log_damage_offset != 0)
		found(check, TP_PMEM_CHECK_LOST, pool->log_damage_offset,
			"record is damaged: it and those behind it in its lane are lost");
}

/* For a terminal, from a medium that is damaged. */
static const char *
name_text(const char name[TP_PMEM_NAME_BYTES], char text[TP_PMEM_NAME_BYTES])
{
	for (uint32_t i = 0; i < TP_PMEM_NAME_BYTES; i++)
		text[i] = name[i] == '\0' || (name[i] >= ' ' && name[i] < 0x7f) ? name[i] : '?';
	text[TP_PMEM_NAME_BYTES - 1] = '\0';
	return text;
}

static void
check_roots(struct check *check)
{
	for (uint32_t i = 0; i < TP_PMEM_ROOT_COUNT; i++) {
		const struct pmem_root *root = pmem_root_table(check->pool) + i;
		uint64_t at = PMEM_ROOT_OFFSET + (uint64_t)i * sizeof(*root);
		uint64_t offset = rte_le_to_cpu_64(root->offset);
		char name[TP_PMEM_NAME_BYTES];

		if (pmem_root_is_free(root))
			continue;
		if (!pmem_root_is_sound(root))
			found(check, TP_PMEM_CHECK_LOST, at, "root %u (%s): checksum is wrong: this root "
				"is lost, what it named is not", i, name_text(root->name, name));
		else if (pmem_heap_block_bytes(check->pool->heap, offset) == 0)
			found(check, TP_PMEM_CHECK_NOTE, at, "root %s: no block begins at %#llx",
				name_text(root->name, name), (unsigned long long)offset);
	}
}

static uint64_t *
media_word(const struct check *check, uint64_t offset)
{
	return (uint64_t *)(void *)(check->pool->device->media + offset);
}

static void
word_repair(struct check *check, uint64_t offset, uint64_t bits)
{
	struct tp_pmem_device *device = check->pool->device;
	uint64_t *word = media_word(check, offset);

	if (!check->repair)
		return;
	device->ops->replace(device, word, *word, pmem_bitmap_word(bits));
	device->ops->flush(device, word, sizeof(*word));
}

static void
check_bitmap(struct check *check, const struct heap_zone *zone, const struct heap_chunk *chunk,
	     const struct pmem_kind *kind)
{
	bool is_run = kind->kind == PMEM_CHUNK_RUN;
	uint32_t blocks = is_run ? heap_class_blocks(kind->class) : 0;

	for (uint32_t i = 0; i < PMEM_BITMAP_WORDS; i++) {
		uint64_t at = heap_bitmap_offset(zone, chunk) + (uint64_t)i * 8;
		uint64_t word = *media_word(check, at);
		uint32_t first = i * PMEM_BITS_PER_WORD;
		uint32_t used = blocks > first ? RTE_MIN(blocks - first, PMEM_BITS_PER_WORD) : 0;
		uint64_t exist = (UINT64_C(1) << used) - 1;

		if (!pmem_bitmap_word_is_sound(word)) {
			found(check, TP_PMEM_CHECK_REPAIRABLE, at,
				"bitmap: checksum is wrong; %u blocks of %u bytes from %#llx count as "
				"allocated", used, is_run ? heap_class_bytes(kind->class) : 0,
				(unsigned long long)chunk->offset + (uint64_t)first *
				(is_run ? heap_class_bytes(kind->class) : 0));
			word_repair(check, at, exist);
		} else if ((word & PMEM_BITMAP_MASK & ~exist) != 0) {
			found(check, TP_PMEM_CHECK_REPAIRABLE, at, "bitmap: blocks that cannot be");
			word_repair(check, at, word & exist);
		}
	}
}

/* How many chunks were looked at. */
static uint32_t
check_chunk(struct check *check, const struct heap_zone *zone, uint32_t index)
{
	const struct heap_chunk *chunk = &zone->chunks[index];
	uint64_t at = heap_kind_offset(zone, chunk);
	struct pmem_kind kind, body;
	uint32_t count = 1;

	if (!pmem_kind_decode(*media_word(check, at), zone->chunk_count - index, &kind)) {
		found(check, TP_PMEM_CHECK_LOST, at, "kind of the chunk at %#llx is damaged: what is "
			"in it can be read, not freed; it is not allocated from",
			(unsigned long long)chunk->offset);
		return 1;
	}
	check_bitmap(check, zone, chunk, &kind);
	if (kind.kind == PMEM_CHUNK_BODY)
		found(check, TP_PMEM_CHECK_LOST, at, "chunk at %#llx is part of an extent that is not "
			"there; it is not allocated from", (unsigned long long)chunk->offset);
	if (kind.kind != PMEM_CHUNK_EXTENT)
		return 1;
	for (; count < kind.number; count++) {
		at = heap_kind_offset(zone, chunk + count);
		if (!pmem_kind_decode(*media_word(check, at), 1, &body) || body.kind != PMEM_CHUNK_BODY)
			found(check, TP_PMEM_CHECK_LOST, at, "part of the extent at %#llx is said to be "
				"something else; the extent counts", (unsigned long long)chunk->offset);
		check_bitmap(check, zone, chunk + count, &body);
	}
	return count;
}

static int
check_heap(struct check *check)
{
	const struct pmem_heap *heap = check->pool->heap;
	uint32_t zones = atomic_load_explicit(&heap->zone_count, memory_order_relaxed);

	for (uint32_t z = 0; z < zones; z++)
		for (uint32_t i = 0; i < heap->zones[z].chunk_count;)
			i += check_chunk(check, &heap->zones[z], i);
	return check->repair ? check->pool->device->ops->fence(check->pool->device) : 0;
}

static int
check_device(struct check *check, struct tp_pmem_device *device)
{
	struct pmem_super super;
	int ret, closed;

	ret = check_super(check, device, &super);
	if (ret == 0)
		ret = check_state(check, device, &super);
	if (ret < 0) {
		device->ops->close(device);
		return ret;
	}
	ret = tp_pmem_pool_open_on(device, TP_PMEM_OPEN_REPAIR, &check->pool);
	if (ret < 0)
		return ret;
	check_log(check);
	check_roots(check);
	ret = check_heap(check);
	closed = pmem_pool_close_device(check->pool);
	return ret < 0 ? ret : closed < 0 ? closed : check->damage;
}

int
tp_pmem_pool_check_on(struct tp_pmem_device *device, bool repair, tp_pmem_check_fn *found_fn,
		      void *context)
{
	struct check check = { .repair = repair, .found = found_fn, .context = context };

	return check_device(&check, device);
}

int
tp_pmem_pool_check(const char *path, bool repair, tp_pmem_check_fn *found_fn, void *context)
{
	struct tp_pmem_device *device;
	int lock_fd = pmem_lock_open(path, !repair);
	int ret;

	if (lock_fd < 0)
		return lock_fd;
	ret = tp_pmem_device_open(path, 0, !repair, &device);
	if (ret == 0)
		ret = tp_pmem_pool_check_on(device, repair, found_fn, context);
	close(lock_fd);
	return ret;
}
