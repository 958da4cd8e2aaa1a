/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Superblock and state: two copies each, of which one is always right.
 */
#include <string.h>

#include "heap.h"
#include "pmem_priv.h"

static const uint64_t super_offsets[2] = { PMEM_SUPER_OFFSET_0, PMEM_SUPER_OFFSET_1 };
static const uint64_t state_offsets[2] = { PMEM_STATE_OFFSET_0, PMEM_STATE_OFFSET_1 };

uint64_t
pmem_super_offset(unsigned int copy)
{
	return super_offsets[copy];
}

static uint32_t
super_crc(const struct pmem_super *super)
{
	struct pmem_super copy = *super;

	copy.crc = 0;
	return tp_pmem_crc(0, &copy, sizeof(copy));
}

void
pmem_super_seal(struct pmem_super *super)
{
	super->crc = rte_cpu_to_le_32(super_crc(super));
}

/* What the CRC cannot say: does it make sense? It may come from anywhere. */
static bool
super_is_sane(const struct pmem_super *super)
{
	uint32_t lane_count = rte_le_to_cpu_32(super->lane_count);
	uint32_t lane_bytes = rte_le_to_cpu_32(super->lane_bytes);
	uint32_t zone_count = rte_le_to_cpu_32(super->zone_count);
	uint64_t pool_bytes = rte_le_to_cpu_64(super->pool_bytes);
	uint64_t end = PMEM_LOG_OFFSET + (uint64_t)lane_count * lane_bytes;

	if (pool_bytes < TP_PMEM_POOL_BYTES_MIN || pool_bytes > TP_PMEM_POOL_BYTES_MAX ||
			pool_bytes % PMEM_PAGE_BYTES != 0)
		return false;
	if (rte_le_to_cpu_64(super->log_offset) != PMEM_LOG_OFFSET || lane_count == 0 ||
			lane_count > TP_PMEM_LANES_MAX || lane_bytes < PMEM_LANE_BYTES_MIN ||
			lane_bytes > PMEM_LANE_BYTES_MAX || lane_bytes % PMEM_PAGE_BYTES != 0)
		return false;
	if (rte_le_to_cpu_32(super->chunk_bytes) != PMEM_CHUNK_BYTES || zone_count == 0 ||
			zone_count > PMEM_ZONES_MAX || super->name[TP_PMEM_NAME_BYTES - 1] != '\0')
		return false;
	for (uint32_t i = 0; i < zone_count; i++) {
		uint64_t offset = rte_le_to_cpu_64(super->zones[i].offset);
		uint64_t chunks = rte_le_to_cpu_32(super->zones[i].chunk_count);
		uint64_t bytes = heap_zone_head_bytes(chunks) + chunks * PMEM_CHUNK_BYTES;

		if (offset < end || offset % PMEM_CHUNK_BYTES != 0 || chunks == 0 ||
				offset > pool_bytes || bytes > pool_bytes - offset)
			return false;
		end = offset + bytes;
	}
	return true;
}

int
pmem_super_validate(const struct pmem_super *super, const char **text)
{
	*text = "no pool begins here";
	if (rte_le_to_cpu_64(super->magic) != PMEM_MAGIC)
		return -EMEDIUMTYPE;
	*text = "checksum is wrong";
	if (rte_le_to_cpu_32(super->crc) != super_crc(super))
		return -EBADMSG;
	*text = "pool of another version";
	if (rte_le_to_cpu_32(super->version) != TP_PMEM_VERSION)
		return -EPROTONOSUPPORT;
	*text = "pool with features that are not known here";
	if (super->features != 0)
		return -EPROTONOSUPPORT;
	*text = "numbers make no sense";
	return super_is_sane(super) ? 0 : -EBADMSG;
}

int
pmem_super_choose(const struct tp_pmem_device *device, struct pmem_super *super)
{
	const char *texts[2] = { NULL, NULL };
	struct pmem_super copies[2];
	int errors[2];
	int chosen;

	if (device->bytes < PMEM_LOG_OFFSET)
		return pmem_error(ENODATA, "shorter than a pool's head");
	for (unsigned int i = 0; i < 2; i++) {
		memcpy(&copies[i], device->media + super_offsets[i], sizeof(copies[i]));
		errors[i] = pmem_super_validate(&copies[i], &texts[i]);
	}
	chosen = errors[0] == 0 ? 0 : 1;
	if (errors[0] == 0 && errors[1] == 0 && rte_le_to_cpu_64(copies[1].generation) >
			rte_le_to_cpu_64(copies[0].generation))
		chosen = 1;
	if (errors[chosen] < 0) {
		/* What a half of it says is better than "not a pool". */
		chosen = errors[0] == -EMEDIUMTYPE ? 1 : 0;
		return pmem_error(-errors[chosen], "superblock: %s (both copies)", texts[chosen]);
	}
	*super = copies[chosen];
	if (rte_le_to_cpu_64(super->pool_bytes) > device->bytes)
		return pmem_error(ENODATA, "truncated: a pool of %llu bytes in a file of %llu",
			(unsigned long long)rte_le_to_cpu_64(super->pool_bytes),
			(unsigned long long)device->bytes);
	return chosen;
}

int
pmem_super_store(struct tp_pmem_device *device, struct pmem_super *super)
{
	int ret = 0;

	super->generation = rte_cpu_to_le_64(rte_le_to_cpu_64(super->generation) + 1);
	pmem_super_seal(super);
	for (unsigned int i = 2; i-- > 0 && ret == 0;) {
		device->ops->store(device, device->media + super_offsets[i], super, sizeof(*super));
		ret = device->ops->fence(device);
	}
	return ret;
}

static bool
state_is_sound(const struct pmem_state *state, const struct pmem_super *super)
{
	return rte_le_to_cpu_32(state->crc) == tp_pmem_crc(0, &state->flags,
			sizeof(*state) - offsetof(struct pmem_state, flags)) &&
		memcmp(state->uuid, super->uuid, sizeof(state->uuid)) == 0;
}

bool
pmem_state_copy_read(const struct tp_pmem_device *device, const struct pmem_super *super,
		     unsigned int copy, struct pmem_state *state)
{
	memcpy(state, device->media + pmem_state_offset(copy), sizeof(*state));
	return state_is_sound(state, super);
}

bool
pmem_state_lost_power(const struct tp_pmem_device *device, const struct pmem_state *state)
{
	return (rte_le_to_cpu_32(state->flags) & PMEM_STATE_OPEN) != 0 &&
		device->unsafe_shutdowns > rte_le_to_cpu_64(state->unsafe_shutdowns);
}

uint64_t
pmem_state_offset(unsigned int copy)
{
	return state_offsets[copy / 2] + copy % 2 * PMEM_STATE_COPY_BYTES;
}

int
pmem_state_choose(const struct tp_pmem_device *device, const struct pmem_super *super,
		  struct pmem_state *state)
{
	struct pmem_state copy;
	int chosen = -1;

	for (unsigned int i = 0; i < PMEM_STATE_COPIES; i++) {
		if (!pmem_state_copy_read(device, super, i, &copy))
			continue;
		if (chosen < 0 || rte_le_to_cpu_64(copy.generation) >
				rte_le_to_cpu_64(state->generation)) {
			*state = copy;
			chosen = (int)i;
		}
	}
	return chosen >= 0 ? chosen : pmem_error(EBADMSG, "state: checksum is wrong (all copies)");
}

int
pmem_state_store(struct tp_pmem_device *device, struct pmem_state *state)
{
	uint64_t generation = rte_le_to_cpu_64(state->generation) + 1;

	state->generation = rte_cpu_to_le_64(generation);
	state->crc = rte_cpu_to_le_32(tp_pmem_crc(0, &state->flags,
		sizeof(*state) - offsetof(struct pmem_state, flags)));
	for (unsigned int i = 0; i < 2; i++)
		device->ops->store(device,
			device->media + pmem_state_offset((unsigned int)(generation & 1) * 2 + i),
			state, sizeof(*state));
	return device->ops->fence(device);
}
