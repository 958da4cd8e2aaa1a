/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Global addresses: 46 bits, split into the node where a page was born and an
 * offset in that node's space, in the range that the canonical x86 lower half
 * leaves free of user mappings (docs/prog_guide/directory.md, "Addresses").
 * There are two ranges of 46 bits, the second for durable regions: an address
 * tells what it is. Everything here is pure; the split is a cluster setting.
 */
#ifndef TP_ADDRESS_H
#define TP_ADDRESS_H

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TP_ADDRESS_BASE UINT64_C(0x0000C00000000000)
#define TP_ADDRESS_LAST UINT64_C(0x0000FFFFFFFFFFFF)
#define TP_ADDRESS_DURABLE_BASE UINT64_C(0x0000800000000000)
#define TP_ADDRESS_DURABLE_LAST UINT64_C(0x0000BFFFFFFFFFFF)
#define TP_ADDRESS_NONE UINT64_C(0)	/* never a global address */
#define TP_ADDRESS_BITS 46
#define TP_ADDRESS_MASK ((UINT64_C(1) << TP_ADDRESS_BITS) - 1)

#define TP_NODE_COUNT_MAX 16384		/* ids 0 to 16,383 */
#define TP_NODE_BITS_MAX 14
#define TP_NODE_NONE UINT16_C(0xffff)

#define TP_PAGE_SHIFT_MIN 12
#define TP_PAGE_SHIFT_MAX 21

static_assert(TP_ADDRESS_BASE + TP_ADDRESS_MASK == TP_ADDRESS_LAST, "46 bits fill the range");
static_assert(TP_ADDRESS_DURABLE_BASE + TP_ADDRESS_MASK == TP_ADDRESS_DURABLE_LAST &&
	TP_ADDRESS_DURABLE_LAST + 1 == TP_ADDRESS_BASE, "and the other, just below");

/* How an address divides; node_bits + offset_bits == TP_ADDRESS_BITS. */
struct tp_address_split {
	uint8_t node_bits;	/* 1 to TP_NODE_BITS_MAX */
	uint8_t offset_bits;
};

/* 16,384 nodes of 4 GiB. */
#define TP_ADDRESS_SPLIT_DEFAULT ((struct tp_address_split){ .node_bits = 14, .offset_bits = 32 })

/**
 * Make a split of @p node_bits for the node and the rest for the offset.
 *
 * @return 0, or -EINVAL with @p split untouched: not 1 to TP_NODE_BITS_MAX.
 * @threads Any.
 */
static inline int
tp_address_split_init(struct tp_address_split *split, unsigned int node_bits)
{
	if (node_bits < 1 || node_bits > TP_NODE_BITS_MAX)
		return -EINVAL;
	split->node_bits = (uint8_t)node_bits;
	split->offset_bits = (uint8_t)(TP_ADDRESS_BITS - node_bits);
	return 0;
}

/** Both fields in range and their sum right. @threads Any. */
static inline bool
tp_address_split_is_valid(struct tp_address_split split)
{
	return split.node_bits >= 1 && split.node_bits <= TP_NODE_BITS_MAX &&
		split.node_bits + split.offset_bits == TP_ADDRESS_BITS;
}

/** Bytes of one node's space. @threads Any. */
static inline uint64_t
tp_address_space_bytes(struct tp_address_split split)
{
	return UINT64_C(1) << split.offset_bits;
}

/** Node ids the split can name. @threads Any. */
static inline uint32_t
tp_address_node_count(struct tp_address_split split)
{
	return UINT32_C(1) << split.node_bits;
}

/** In one of the global ranges. @threads Any. */
static inline bool
tp_address_is_global(uint64_t address)
{
	return address >= TP_ADDRESS_DURABLE_BASE && address <= TP_ADDRESS_LAST;
}

/** In the range of durable regions. @threads Any. */
static inline bool
tp_address_is_durable(uint64_t address)
{
	return address >= TP_ADDRESS_DURABLE_BASE && address <= TP_ADDRESS_DURABLE_LAST;
}

/**
 * The address of @p offset in the space of @p node, of what is not durable.
 *
 * @return The address, or TP_ADDRESS_NONE: node or offset does not fit the split.
 * @threads Any.
 */
static inline uint64_t
tp_address_pack(struct tp_address_split split, uint16_t node, uint64_t offset)
{
	if (node >= tp_address_node_count(split) || offset >= tp_address_space_bytes(split))
		return TP_ADDRESS_NONE;
	return TP_ADDRESS_BASE | (uint64_t)node << split.offset_bits | offset;
}

/** The same in the space that the node has for durable regions. @threads Any. */
static inline uint64_t
tp_address_pack_durable(struct tp_address_split split, uint16_t node, uint64_t offset)
{
	uint64_t address = tp_address_pack(split, node, offset);

	return address == TP_ADDRESS_NONE ? address :
		address - TP_ADDRESS_BASE + TP_ADDRESS_DURABLE_BASE;
}

/** Node where the page of a global address was born. @threads Any. */
static inline uint16_t
tp_address_node(struct tp_address_split split, uint64_t address)
{
	return (uint16_t)((address & TP_ADDRESS_MASK) >> split.offset_bits);
}

/** Offset of a global address in its node's space. @threads Any. */
static inline uint64_t
tp_address_offset(struct tp_address_split split, uint64_t address)
{
	return address & (tp_address_space_bytes(split) - 1);
}

/** Both are global and in the same space of one node. @threads Any. */
static inline bool
tp_address_is_same_node(struct tp_address_split split, uint64_t a, uint64_t b)
{
	return tp_address_is_global(a) && tp_address_is_global(b) &&
		tp_address_is_durable(a) == tp_address_is_durable(b) &&
		tp_address_node(split, a) == tp_address_node(split, b);
}

/**
 * address + bytes within the space of the address's node.
 *
 * @param sum  Written only on success.
 * @return 0, or
 *   - -EINVAL: address is not global.
 *   - -EOVERFLOW: the sum leaves the node's space.
 * @threads Any.
 */
static inline int
tp_address_add(struct tp_address_split split, uint64_t address, uint64_t bytes, uint64_t *sum)
{
	if (!tp_address_is_global(address))
		return -EINVAL;
	if (bytes >= tp_address_space_bytes(split) - tp_address_offset(split, address))
		return -EOVERFLOW;
	*sum = address + bytes;
	return 0;
}

/**
 * Whether [address, address + bytes) lies in one node's space. An empty range
 * does when its address is global.
 * @threads Any.
 */
static inline bool
tp_address_range_is_valid(struct tp_address_split split, uint64_t address, uint64_t bytes)
{
	uint64_t last;

	if (bytes == 0)
		return tp_address_is_global(address);
	return tp_address_add(split, address, bytes - 1, &last) == 0;
}

/** Start of the page that holds the address. @threads Any. */
static inline uint64_t
tp_address_page_start(uint64_t address, unsigned int page_shift)
{
	return address & ~((UINT64_C(1) << page_shift) - 1);
}

/** Offset of the address in its page. @threads Any. */
static inline uint64_t
tp_address_page_offset(uint64_t address, unsigned int page_shift)
{
	return address & ((UINT64_C(1) << page_shift) - 1);
}

/** Page number in the whole of its global range. @threads Any. */
static inline uint64_t
tp_address_page_number(uint64_t address, unsigned int page_shift)
{
	return (address & TP_ADDRESS_MASK) >> page_shift;
}

/** Pages that [address, address + bytes) touches; the range is a valid one. @threads Any. */
static inline uint64_t
tp_address_page_span(uint64_t address, uint64_t bytes, unsigned int page_shift)
{
	if (bytes == 0)
		return 0;
	return ((address + bytes - 1) >> page_shift) - (address >> page_shift) + 1;
}

#ifdef __cplusplus
}
#endif

#endif /* TP_ADDRESS_H */
