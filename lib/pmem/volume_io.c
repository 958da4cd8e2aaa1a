/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Reads and writes of a volume. A write goes to a free place; the block moves there in the
 * map in DRAM at once, and on the medium with the next record (volume_journal.c).
 */
#include <sched.h>
#include <string.h>

#include "volume_priv.h"

/* A part of one block. */
struct part {
	uint64_t block;
	uint32_t begin;
	uint32_t bytes;
};

static struct part
part_at(uint64_t offset, uint64_t bytes)
{
	struct part part = { offset / VOLUME_BLOCK, (uint32_t)(offset % VOLUME_BLOCK), 0 };

	part.bytes = (uint32_t)RTE_MIN(bytes, (uint64_t)(VOLUME_BLOCK - part.begin));
	return part;
}

static bool
part_is_whole(const struct tp_pmem_volume *volume, struct part part)
{
	/* Nothing is behind the end of the last one. */
	return part.begin == 0 && (part.bytes == VOLUME_BLOCK ||
		part.block * VOLUME_BLOCK + part.bytes == volume->bytes);
}

static int
range_check(const struct tp_pmem_volume *volume, uint64_t offset, uint64_t bytes)
{
	return offset > volume->bytes || bytes > volume->bytes - offset ?
		pmem_error(EINVAL, "volume: outside of it") : 0;
}

static pthread_mutex_t *
stripe_of(struct tp_pmem_volume *volume, uint64_t block)
{
	return &volume->stripes[block % VOLUME_STRIPES];
}

/* Stripe locked; from others only is_mapped() and block_unmap() look at the word. */
static void
map_set(struct tp_pmem_volume *volume, uint64_t block, uint64_t value)
{
	__atomic_store_n(&volume->map[block], value, __ATOMIC_RELAXED);
}

static int
block_error(const struct tp_pmem_volume *volume, uint64_t block)
{
	uint32_t place = volume_place(volume->map[block]);
	uint64_t at = volume->map_offset + block * sizeof(uint64_t);

	if (place != VOLUME_NO_PLACE)
		at = volume->data_offset + (uint64_t)place * VOLUME_BLOCK;
	return pmem_error(EBADMSG, "volume: block %llu, at %#llx: checksum is wrong",
		(unsigned long long)block, (unsigned long long)(volume->offset + at));
}

/*
 * Stripe locked. A copy of the whole block; straight to where it is wanted if it is wanted
 * whole, so that what is verified is what is given.
 */
static int
block_load(const struct tp_pmem_volume *volume, uint64_t block, uint8_t *to)
{
	uint64_t value = volume->map[block];
	uint32_t place = volume_place(value);

	if (value == VOLUME_NOWHERE) {
		memset(to, 0, VOLUME_BLOCK);
		return 0;
	}
	if (place == VOLUME_NO_PLACE)
		return block_error(volume, block);
	memcpy(to, volume_data(volume, place), VOLUME_BLOCK);
	return volume_crc(block, to) == value >> 32 ? 0 : block_error(volume, block);
}

static int
part_read(struct tp_pmem_volume *volume, struct part part, uint8_t *to)
{
	pthread_mutex_t *stripe = stripe_of(volume, part.block);
	uint8_t whole[VOLUME_BLOCK];
	bool direct = part.bytes == VOLUME_BLOCK;
	int ret;

	pthread_mutex_lock(stripe);
	ret = block_load(volume, part.block, direct ? to : whole);
	pthread_mutex_unlock(stripe);
	if (ret == 0 && !direct)
		memcpy(to, whole + part.begin, part.bytes);
	return ret;
}

int
tp_pmem_volume_read(struct tp_pmem_volume *volume, uint64_t offset, uint64_t bytes, void *buffer)
{
	uint8_t *to = buffer;
	int ret = range_check(volume, offset, bytes);

	while (ret == 0 && bytes > 0) {
		struct part part = part_at(offset, bytes);

		ret = part_read(volume, part, to);
		offset += part.bytes;
		bytes -= part.bytes;
		to += part.bytes;
	}
	return ret;
}

/*
 * Writing.
 */

/* Pending lock held. There is one: a volume has more places than it needs. */
static uint32_t
place_find(struct tp_pmem_volume *volume)
{
	uint64_t words = (volume->place_count + 63) / 64;

	for (uint64_t i = 0; i < words; i++) {
		uint64_t word = volume->cursor;
		uint64_t open = ~volume->taken[word];

		if (open != 0) {
			uint32_t bit = (uint32_t)__builtin_ctzll(open);

			volume->taken[word] |= UINT64_C(1) << bit;
			volume->taken_count++;
			return (uint32_t)(word * 64 + bit);
		}
		volume->cursor = word + 1 < words ? word + 1 : 0;
	}
	return VOLUME_NO_PLACE;
}

/*
 * Room for a change in the next record, and a free place if place is not NULL. Records
 * are written, and places are freed, when there is none. No stripe is locked: those who hold
 * what is left may be waiting for it. 0, -EIO.
 */
static int
change_claim(struct tp_pmem_volume *volume, uint32_t *place)
{
	for (;;) {
		bool no_room, no_place;
		int ret;

		pthread_mutex_lock(&volume->pending_lock);
		no_room = volume->pending_count + volume->claim_count >= volume->pending_max;
		no_place = place != NULL && volume->taken_count >= volume->place_count;
		if (!no_room && !no_place) {
			volume->claim_count++;
			if (place != NULL)
				*place = place_find(volume);
		}
		pthread_mutex_unlock(&volume->pending_lock);
		if (!no_room && !no_place)
			return 0;
		ret = no_place ? volume_checkpoint(volume) : volume_commit(volume);
		if (ret < 0)
			return ret;
		/* Others may hold what is left, until they publish it. */
		sched_yield();
	}
}

/* Of a claim that is not needed: the room, and the place, VOLUME_NO_PLACE if it has none. */
static void
change_unclaim(struct tp_pmem_volume *volume, uint32_t place)
{
	pthread_mutex_lock(&volume->pending_lock);
	volume->claim_count--;
	if (place != VOLUME_NO_PLACE) {
		volume->taken[place / 64] &= ~(UINT64_C(1) << place % 64);
		volume->taken_count--;
	}
	pthread_mutex_unlock(&volume->pending_lock);
}

/* Stripe locked, change claimed. */
static void
change_publish(struct tp_pmem_volume *volume, uint64_t block, uint64_t value)
{
	uint32_t before = volume_place(volume->map[block]);

	map_set(volume, block, value);
	pthread_mutex_lock(&volume->pending_lock);
	volume->claim_count--;
	volume->pending[volume->pending_count++] = (struct volume_change){ block, value, before };
	pthread_mutex_unlock(&volume->pending_lock);
}

/* What the claimed place shall have becomes lasting with the next fence of anybody. */
static void
place_fill(struct tp_pmem_volume *volume, uint32_t place, const uint8_t *from)
{
	struct tp_pmem_device *device = volume->device;

	device->ops->store(device, volume_data(volume, place), from, VOLUME_BLOCK);
	/* Where a fence is its thread's only, it is cheap. */
	if (device->granularity != TP_PMEM_GRANULARITY_PAGE &&
			device->ops->fence(device) < 0)
		atomic_store_explicit(&volume->failed, true, memory_order_relaxed);
}

/* A whole block: only the change of the map needs the lock. */
static int
whole_write(struct tp_pmem_volume *volume, uint64_t block, const uint8_t *from)
{
	pthread_mutex_t *stripe = stripe_of(volume, block);
	uint32_t place;
	int ret = change_claim(volume, &place);

	if (ret < 0)
		return ret;
	place_fill(volume, place, from);
	pthread_mutex_lock(stripe);
	change_publish(volume, block, volume_value(place, volume_crc(block, from)));
	pthread_mutex_unlock(stripe);
	return 0;
}

/* from NULL: zeros. */
static int
part_write(struct tp_pmem_volume *volume, struct part part, const uint8_t *from)
{
	pthread_mutex_t *stripe = stripe_of(volume, part.block);
	uint8_t whole[VOLUME_BLOCK];
	uint32_t place;
	int ret;

	if (from != NULL && part.bytes == VOLUME_BLOCK)
		return whole_write(volume, part.block, from);
	ret = change_claim(volume, &place);
	if (ret < 0)
		return ret;
	pthread_mutex_lock(stripe);
	if (part_is_whole(volume, part))
		memset(whole, 0, sizeof(whole));
	else
		ret = block_load(volume, part.block, whole);
	if (ret == 0) {
		if (from != NULL)
			memcpy(whole + part.begin, from, part.bytes);
		else
			memset(whole + part.begin, 0, part.bytes);
		place_fill(volume, place, whole);
		change_publish(volume, part.block,
			volume_value(place, volume_crc(part.block, whole)));
	}
	pthread_mutex_unlock(stripe);
	if (ret < 0)
		change_unclaim(volume, place);
	return ret;
}

static int
block_unmap(struct tp_pmem_volume *volume, uint64_t block)
{
	pthread_mutex_t *stripe = stripe_of(volume, block);
	bool mapped;
	int ret;

	/* A trim of what is trimmed takes no room. Whoever maps it now does so after this. */
	if (__atomic_load_n(&volume->map[block], __ATOMIC_RELAXED) == VOLUME_NOWHERE)
		return 0;
	ret = change_claim(volume, NULL);
	if (ret < 0)
		return ret;
	pthread_mutex_lock(stripe);
	mapped = volume->map[block] != VOLUME_NOWHERE;
	if (mapped)
		change_publish(volume, block, VOLUME_NOWHERE);
	pthread_mutex_unlock(stripe);
	if (!mapped)
		change_unclaim(volume, VOLUME_NO_PLACE);
	return 0;
}

static int
write_check(const struct tp_pmem_volume *volume, uint64_t offset, uint64_t bytes, uint32_t flags)
{
	if (volume->device->read_only)
		return pmem_error(EROFS, "opened for reading");
	if (atomic_load_explicit(&volume->failed, memory_order_relaxed))
		return pmem_error(EIO, "volume: the device failed");
	return (flags & ~(uint32_t)TP_PMEM_VOLUME_FUA) != 0 ?
		pmem_error(EINVAL, "volume: flags") : range_check(volume, offset, bytes);
}

/* What each part of a range gets. */
enum filling {
	FILL_DATA,
	FILL_ZEROS,
	FILL_TRIM,
};

static int
part_fill(struct tp_pmem_volume *volume, struct part part, const uint8_t *from,
	  enum filling filling)
{
	if (filling == FILL_DATA)
		return part_write(volume, part, from);
	if (part_is_whole(volume, part))
		return block_unmap(volume, part.block);
	return filling == FILL_ZEROS ? part_write(volume, part, NULL) : 0;
}

static int
range_fill(struct tp_pmem_volume *volume, uint64_t offset, uint64_t bytes, const uint8_t *from,
	   uint32_t flags, enum filling filling)
{
	int ret = write_check(volume, offset, bytes, flags);

	while (ret == 0 && bytes > 0) {
		struct part part = part_at(offset, bytes);

		ret = part_fill(volume, part, from, filling);
		offset += part.bytes;
		bytes -= part.bytes;
		if (from != NULL)
			from += part.bytes;
	}
	if (ret == 0 && (flags & TP_PMEM_VOLUME_FUA) != 0)
		ret = volume_commit(volume);
	return ret;
}

int
tp_pmem_volume_write(struct tp_pmem_volume *volume, uint64_t offset, uint64_t bytes,
		     const void *buffer, uint32_t flags)
{
	return range_fill(volume, offset, bytes, buffer, flags, FILL_DATA);
}

int
tp_pmem_volume_zero(struct tp_pmem_volume *volume, uint64_t offset, uint64_t bytes, uint32_t flags)
{
	return range_fill(volume, offset, bytes, NULL, flags, FILL_ZEROS);
}

int
tp_pmem_volume_trim(struct tp_pmem_volume *volume, uint64_t offset, uint64_t bytes, uint32_t flags)
{
	return range_fill(volume, offset, bytes, NULL, flags, FILL_TRIM);
}

int
tp_pmem_volume_flush(struct tp_pmem_volume *volume)
{
	return volume->device->read_only ? 0 : volume_commit(volume);
}

bool
tp_pmem_volume_is_mapped(const struct tp_pmem_volume *volume, uint64_t offset, uint64_t *bytes)
{
	uint64_t end = RTE_MIN(offset + *bytes, volume->bytes);
	uint64_t block = offset / VOLUME_BLOCK;
	bool mapped;

	if (offset >= end) {
		*bytes = 0;
		return false;
	}
	mapped = __atomic_load_n(&volume->map[block], __ATOMIC_RELAXED) != VOLUME_NOWHERE;
	while (++block * VOLUME_BLOCK < end && mapped ==
			(__atomic_load_n(&volume->map[block], __ATOMIC_RELAXED) != VOLUME_NOWHERE))
		;
	*bytes = RTE_MIN(block * VOLUME_BLOCK, end) - offset;
	return mapped;
}

int
tp_pmem_volume_check(struct tp_pmem_volume *volume, tp_pmem_check_fn *found, void *context)
{
	uint8_t whole[VOLUME_BLOCK];
	int damaged = 0;

	for (uint64_t block = 0; block < volume->block_count; block++) {
		uint32_t place = VOLUME_NO_PLACE;
		int ret;

		pthread_mutex_lock(stripe_of(volume, block));
		ret = block_load(volume, block, whole);
		if (ret < 0)
			place = volume_place(volume->map[block]);
		pthread_mutex_unlock(stripe_of(volume, block));
		if (ret == 0)
			continue;
		damaged++;
		found(context, TP_PMEM_CHECK_LOST, volume->offset + (place == VOLUME_NO_PLACE ?
			volume->map_offset + block * sizeof(uint64_t) :
			volume->data_offset + (uint64_t)place * VOLUME_BLOCK), tp_pmem_error());
	}
	return damaged;
}
