/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 */
/*
 * libFuzzer target: any bytes into every parser of the catalogue's records,
 * as they are and behind a right checksum.
 */
#include <stdlib.h>
#include <string.h>

#include "record_priv.h"
#include "store_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static struct region_set set;

static void
parse(const void *data, size_t bytes)
{
	const struct tp_address_split wide = { .node_bits = 6, .offset_bits = 40 };
	struct tp_address_split split;
	struct tp_node_record node;
	struct extent_chunk chunk;

	record_cluster_decode(data, bytes, &split);
	record_node_decode(data, bytes, &node);
	record_extents_decode(data, bytes, &chunk);
	if (record_regions_decode(data, bytes, wide, &set) < 0)
		return;
	for (uint32_t i = 0; i < set.count; i++)
		if (!tp_address_range_is_valid(wide, set.regions[i].base, set.regions[i].bytes) ||
				set.regions[i].node_count > TP_REGION_NODES_MAX)
			abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static const char magics[4][5] = { "TPCL", "TPND", "TPRG", "TPXT" };
	struct record_head *head;
	unsigned char *copy;

	parse(data, bytes);
	if (bytes < sizeof(*head) || bytes > RECORD_REGIONS_BYTES_MAX)
		return 0;
	copy = malloc(bytes);
	memcpy(copy, data, bytes);
	head = (struct record_head *)copy;
	memcpy(&head->magic, magics[data[0] % 4], 4);
	head->version = rte_cpu_to_le_16(1);
	head->reserved = 0;
	head->bytes = rte_cpu_to_le_32((uint32_t)bytes);
	head->crc = 0;
	head->crc = rte_cpu_to_le_32(store_crc(0, copy, bytes));
	parse(copy, bytes);
	free(copy);
	return 0;
}
