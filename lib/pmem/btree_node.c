/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * One node of a B+tree: docs/pmem.md, "B+tree". Slots grow from the header up,
 * records from the end down. A slot has 4 bytes of its key, from behind what all
 * keys of the node begin with, so most comparisons touch no record.
 */
#include <string.h>

#include "btree_priv.h"

/* One access, so that what was checked is what is used. */
#define NODE_LOAD(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)

void
btree_key_set(struct btree_key *key, const void *data, uint32_t bytes)
{
	uint32_t words = bytes / 8;

	key->bytes = bytes;
	for (uint32_t i = 0; i < words; i++) {
		memcpy(&key->words[i], (const uint8_t *)data + 8 * i, 8);
		key->words[i] = rte_be_to_cpu_64(key->words[i]);
	}
	key->words[words] = 0;
	key->words[words + 1] = 0;
	memcpy(&key->words[words], (const uint8_t *)data + 8 * words, bytes % 8);
	key->words[words] = rte_be_to_cpu_64(key->words[words]);
}

BTREE_RACY void
btree_copy(void *to, const void *from, size_t bytes)
{
#ifdef __SANITIZE_THREAD__
	/* TSan looks into memcpy() whoever calls it. */
	for (size_t i = 0; i < bytes; i++)
		((volatile uint8_t *)to)[i] = ((const volatile uint8_t *)from)[i];
#else
	memcpy(to, from, bytes);
#endif
}

BTREE_RACY uint32_t
btree_node_count(const struct btree_node *node)
{
	uint32_t count = NODE_LOAD(node->count);

	return likely(count <= BTREE_NODE_ROOM / 8) ? count : BTREE_NODE_ROOM / 8;
}

static BTREE_RACY uint32_t
node_records_begin(const struct btree_node *node)
{
	uint32_t begin = NODE_LOAD(node->records_begin);

	return likely(begin <= BTREE_NODE_BYTES) ? begin : BTREE_NODE_BYTES;
}

void
btree_node_copy(struct btree_node *to, const struct btree_node *from)
{
	uint32_t slots_end = BTREE_NODE_HEADER + 8 * btree_node_count(from);
	uint32_t begin = node_records_begin(from);

	btree_copy(to, from, slots_end);
	btree_copy((uint8_t *)to + begin, (const uint8_t *)from + begin, BTREE_NODE_BYTES - begin);
}

/* 4 bytes of a key from a position, zeros behind the end. */
static uint32_t
key_head(const struct btree_key *key, uint32_t at)
{
	uint32_t word = at / 8, shift = at % 8 * 8;
	uint64_t bits;

	if (at >= key->bytes)
		return 0;
	bits = key->words[word] << shift;
	if (shift > 0)
		bits |= key->words[word + 1] >> (64 - shift);
	return bits >> 32;
}

/* The same of bytes. */
static uint32_t
bytes_head(const uint8_t *key, uint32_t bytes, uint32_t at)
{
	rte_be32_t head = 0;

	if (at < bytes)
		memcpy(&head, key + at, bytes - at < 4 ? bytes - at : 4);
	return rte_be_to_cpu_32(head);
}

static uint32_t
common_bytes(const struct btree_item *a, const struct btree_item *b)
{
	uint32_t bytes = a->key_bytes < b->key_bytes ? a->key_bytes : b->key_bytes;
	uint32_t i = 0;

	while (i < bytes && a->key[i] == b->key[i])
		i++;
	return i;
}

static uint64_t
slot_make(const struct btree_item *item, uint32_t prefix_bytes, uint32_t offset)
{
	return (uint64_t)bytes_head(item->key, item->key_bytes, prefix_bytes) << 32 |
		(uint64_t)item->key_bytes << 16 | offset;
}

/* Words of a slot's key, and how many bytes of it lie in the node. */
static BTREE_RACY const uint64_t *
slot_key(const struct btree_node *node, uint64_t slot, uint32_t *bytes)
{
	uint32_t offset = (btree_slot_offset(slot) & (BTREE_NODE_BYTES - 8)) + 8;

	*bytes = btree_slot_key_bytes(slot);
	if (unlikely(*bytes > BTREE_NODE_BYTES - offset))
		*bytes = BTREE_NODE_BYTES - offset;
	return (const uint64_t *)(const void *)((const uint8_t *)node + offset);
}

/* < 0, 0, > 0 as the first bytes of the key are to those. */
static BTREE_RACY int
words_compare(const struct btree_key *key, const uint64_t *with, uint32_t bytes)
{
	uint64_t mask, a, b;
	uint32_t i;

	for (i = 0; i < bytes / 8; i++) {
		b = rte_be_to_cpu_64(NODE_LOAD(with[i]));
		if (key->words[i] != b)
			return key->words[i] < b ? -1 : 1;
	}
	if (bytes % 8 == 0)
		return 0;
	mask = ~(UINT64_MAX >> bytes % 8 * 8);
	a = key->words[i] & mask;
	b = rte_be_to_cpu_64(NODE_LOAD(with[i])) & mask;
	return a < b ? -1 : a > b;
}

static BTREE_RACY int
slot_compare(const struct btree_node *node, uint64_t slot, const struct btree_key *key)
{
	uint32_t bytes;
	const uint64_t *with = slot_key(node, slot, &bytes);
	int order = words_compare(key, with, bytes < key->bytes ? bytes : key->bytes);

	if (order != 0 || key->bytes == bytes)
		return order;
	return key->bytes < bytes ? -1 : 1;
}

/* Where a key stands that lacks the node's prefix: 0 or count; -1: it has it. */
static BTREE_RACY int
prefix_miss(const struct btree_node *node, const struct btree_key *key, uint32_t count,
	    uint32_t prefix_bytes)
{
	uint32_t bytes, common;
	const uint64_t *with = slot_key(node, NODE_LOAD(node->slots[0]), &bytes);
	int order;

	if (prefix_bytes > bytes)
		prefix_bytes = bytes;
	common = prefix_bytes < key->bytes ? prefix_bytes : key->bytes;
	order = words_compare(key, with, common);
	if (order == 0 && key->bytes >= prefix_bytes)
		return -1;
	return order > 0 ? (int)count : 0;
}

BTREE_RACY uint32_t
btree_node_search(const struct btree_node *node, const struct btree_key *key, bool *equal)
{
	uint32_t count = btree_node_count(node), low = 0, high = count;
	uint32_t prefix_bytes = NODE_LOAD(node->prefix_bytes);
	uint32_t head;
	int order;

	*equal = false;
	if (unlikely(count == 0))
		return 0;
	if (prefix_bytes > 0) {
		order = prefix_miss(node, key, count, prefix_bytes);
		if (unlikely(order >= 0))
			return (uint32_t)order;
	}
	head = key_head(key, prefix_bytes);
	while (low < high) {
		uint32_t middle = (low + high) / 2;
		uint64_t slot = NODE_LOAD(node->slots[middle]);
		uint32_t other = slot >> 32;

		if (head != other)
			order = head < other ? -1 : 1;
		else
			order = slot_compare(node, slot, key);
		if (order > 0) {
			low = middle + 1;
		} else if (order < 0) {
			high = middle;
		} else {
			*equal = true;
			return middle;
		}
	}
	return low;
}

uint32_t
btree_node_route(const struct btree_node *node, const struct btree_key *key, bool below)
{
	bool equal;
	uint32_t index = btree_node_search(node, key, &equal);

	return equal && !below ? index + 1 : index;
}

BTREE_RACY uint64_t
btree_node_child(const struct btree_node *node, uint32_t index)
{
	uint32_t offset;

	if (index == 0)
		return NODE_LOAD(node->child);
	offset = btree_slot_offset(NODE_LOAD(node->slots[index - 1])) & (BTREE_NODE_BYTES - 8);
	return NODE_LOAD(*(const uint64_t *)(const void *)((const uint8_t *)node + offset));
}

BTREE_RACY bool
btree_node_item(const struct btree_node *node, uint32_t index, struct btree_item *item)
{
	uint64_t slot = NODE_LOAD(node->slots[index]);
	uint32_t offset = btree_slot_offset(slot);
	const uint8_t *record = (const uint8_t *)node + offset;
	uint32_t tail_bytes, key_bytes = btree_slot_key_bytes(slot);

	if (offset % 8 != 0 || offset < BTREE_NODE_HEADER || offset >= BTREE_NODE_BYTES ||
			key_bytes == 0 || key_bytes > TP_PMEM_BTREE_KEY_MAX)
		return false;
	item->word = NODE_LOAD(*(const uint64_t *)(const void *)record);
	tail_bytes = btree_word_tail_bytes(item->word, NODE_LOAD(node->level) == 0);
	if (tail_bytes > BTREE_NODE_BYTES ||
			btree_record_bytes(key_bytes, tail_bytes) > BTREE_NODE_BYTES - offset)
		return false;
	item->key = record + 8;
	item->key_bytes = (uint16_t)key_bytes;
	item->tail = item->key + key_bytes;
	item->tail_bytes = (uint16_t)tail_bytes;
	return true;
}

static uint32_t
node_crc(const struct btree_node *node, uint64_t offset)
{
	return tp_pmem_crc((uint32_t)(offset / BTREE_NODE_BYTES), &node->magic,
		sizeof(*node) - offsetof(struct btree_node, magic));
}

void
btree_node_seal(struct btree_node *node, uint64_t offset)
{
	node->crc = node_crc(node, offset);
}

BTREE_RACY bool
btree_node_is_sound(const struct btree_node *node, uint64_t tree, uint64_t offset)
{
	uint32_t count = btree_node_count(node), bytes = 0;
	struct btree_item item;

	if (node_crc(node, offset) != NODE_LOAD(node->crc) ||
			NODE_LOAD(node->magic) != BTREE_NODE_MAGIC || NODE_LOAD(node->tree) != tree ||
			NODE_LOAD(node->records_begin) > BTREE_NODE_BYTES ||
			NODE_LOAD(node->level) >= BTREE_HEIGHT_MAX ||
			count != NODE_LOAD(node->count) ||
			BTREE_NODE_HEADER + 8 * count > NODE_LOAD(node->records_begin))
		return false;
	for (uint32_t i = 0; i < count; i++) {
		if (!btree_node_item(node, i, &item) ||
				item.key - (const uint8_t *)node < NODE_LOAD(node->records_begin) + 8)
			return false;
		bytes += btree_record_bytes(item.key_bytes, item.tail_bytes);
	}
	return bytes + NODE_LOAD(node->garbage_bytes) ==
		BTREE_NODE_BYTES - NODE_LOAD(node->records_begin);
}

bool
btree_node_is_tidy(const struct btree_node *node)
{
	uint64_t used[BTREE_NODE_BYTES / 8 / 64] = { 0 };
	struct btree_item first, item;

	for (uint32_t i = 0; i < node->count; i++) {
		uint32_t offset = btree_slot_offset(node->slots[i]);

		btree_node_item(node, i, &item);
		if (i == 0)
			first = item;
		if (common_bytes(&first, &item) < node->prefix_bytes ||
				node->slots[i] != slot_make(&item, node->prefix_bytes, offset) ||
				(node->level == 0 && item.word >> 48 != item.key_bytes))
			return false;
		for (uint32_t at = offset / 8; at < offset / 8 +
				btree_record_bytes(item.key_bytes, item.tail_bytes) / 8; at++) {
			if (used[at / 64] >> at % 64 & 1)
				return false;
			used[at / 64] |= UINT64_C(1) << at % 64;
		}
	}
	return true;
}

uint32_t
btree_node_gap(const struct btree_node *node)
{
	return node->records_begin - BTREE_NODE_HEADER - 8u * node->count;
}

uint32_t
btree_node_free(const struct btree_node *node)
{
	return btree_node_gap(node) + node->garbage_bytes;
}

uint32_t
btree_node_items(const struct btree_node *node, struct btree_item items[BTREE_ITEMS_MAX])
{
	uint32_t count = 0;

	while (count < node->count && btree_node_item(node, count, &items[count]))
		count++;
	return count;
}

void
btree_items_insert(struct btree_item *items, uint32_t count, uint32_t at,
		   const struct btree_item *item)
{
	memmove(items + at + 1, items + at, (count - at) * sizeof(*items));
	items[at] = *item;
}

uint32_t
btree_item_bytes(const struct btree_item *item)
{
	return 8 + btree_record_bytes(item->key_bytes, item->tail_bytes);
}

uint32_t
btree_items_bytes(const struct btree_item *items, uint32_t count)
{
	uint32_t bytes = 0;

	for (uint32_t i = 0; i < count; i++)
		bytes += btree_item_bytes(&items[i]);
	return bytes;
}

uint32_t
btree_separator_bytes(const struct btree_item *left, const struct btree_item *right)
{
	return common_bytes(left, right) + 1;
}

static void
record_put(struct btree_node *node, uint32_t at, const struct btree_item *item)
{
	uint32_t bytes = btree_record_bytes(item->key_bytes, item->tail_bytes);
	uint8_t *record = (uint8_t *)node + node->records_begin - bytes;

	node->records_begin = (rte_le16_t)(node->records_begin - bytes);
	memset(record + bytes - 8, 0, 8);	/* what pads it */
	memcpy(record, &item->word, 8);
	memcpy(record + 8, item->key, item->key_bytes);
	if (item->tail_bytes > 0)
		memcpy(record + 8 + item->key_bytes, item->tail, item->tail_bytes);
	node->slots[at] = slot_make(item, node->prefix_bytes, node->records_begin);
}

void
btree_node_build(struct btree_node *node, uint32_t level, uint64_t tree, uint64_t child,
		 const struct btree_item *items, uint32_t count)
{
	*node = (struct btree_node){
		.magic = BTREE_NODE_MAGIC,
		.level = (uint8_t)level,
		.count = (rte_le16_t)count,
		.records_begin = BTREE_NODE_BYTES,
		.tree = tree,
		.child = child,
	};
	if (count > 0)
		node->prefix_bytes = (rte_le16_t)common_bytes(&items[0], &items[count - 1]);
	for (uint32_t i = 0; i < count; i++)
		record_put(node, i, &items[i]);
}

bool
btree_node_keeps_prefix(const struct btree_node *node, uint32_t at, const struct btree_item *item)
{
	struct btree_item first;

	if (node->count == 0)
		return node->prefix_bytes == 0;
	if (at > 0 && at < node->count)
		return true;
	return btree_node_item(node, 0, &first) && common_bytes(&first, item) >= node->prefix_bytes;
}

/* The prefix became shorter: other bytes stand behind it. */
static void
prefix_set(struct btree_node *node, uint32_t prefix_bytes)
{
	struct btree_item item;

	node->prefix_bytes = (rte_le16_t)prefix_bytes;
	for (uint32_t i = 0; i < node->count; i++)
		if (btree_node_item(node, i, &item))
			node->slots[i] = slot_make(&item, prefix_bytes,
				btree_slot_offset(node->slots[i]));
}

void
btree_node_insert(struct btree_node *node, uint32_t at, const struct btree_item *item)
{
	struct btree_item first;

	if (!btree_node_keeps_prefix(node, at, item))
		prefix_set(node, node->count > 0 && btree_node_item(node, 0, &first) ?
			common_bytes(&first, item) : 0);
	memmove(node->slots + at + 1, node->slots + at, (node->count - at) * 8u);
	record_put(node, at, item);
	node->count++;
}

void
btree_node_remove(struct btree_node *node, uint32_t at)
{
	struct btree_item item;
	uint32_t bytes;

	if (!btree_node_item(node, at, &item))
		return;
	bytes = btree_record_bytes(item.key_bytes, item.tail_bytes);
	if (btree_slot_offset(node->slots[at]) == node->records_begin)
		node->records_begin = (rte_le16_t)(node->records_begin + bytes);
	else
		node->garbage_bytes = (rte_le16_t)(node->garbage_bytes + bytes);
	memmove(node->slots + at, node->slots + at + 1, (node->count - at - 1u) * 8u);
	node->count--;
}

/*
 * Records are at most a third of a node, so a point where both sides fit exists: the one
 * where the larger side is smallest.
 */
uint32_t
btree_items_split(const struct btree_item *items, uint32_t count, bool append)
{
	uint32_t total = btree_items_bytes(items, count), left = 0;
	uint32_t best = 1, best_larger = UINT32_MAX;

	if (append && total - btree_item_bytes(&items[count - 1]) <= BTREE_NODE_ROOM)
		return count - 1;
	for (uint32_t i = 1; i < count; i++) {
		uint32_t larger;

		left += btree_item_bytes(&items[i - 1]);
		larger = left > total - left ? left : total - left;
		if (larger < best_larger) {
			best_larger = larger;
			best = i;
		}
	}
	return best;
}
