/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * B+tree: all of it, to free it and to check it. Both go through the view, and look at every
 * checksum themselves.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "btree_priv.h"

#define WALK_TEXT 160

/* A tree cannot have more: what leads to more leads to some of them again and again. */
static uint64_t
nodes_max(const struct tp_pmem_pool *pool)
{
	struct tp_pmem_pool_info info;

	tp_pmem_pool_info_get(pool, &info);
	return info.bytes / BTREE_NODE_BYTES;
}

static int
offset_compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Sorts; the first offset that is there twice, or 0. */
static uint64_t
twice_find(struct pmem_buffer *blocks)
{
	uint64_t *offsets = (uint64_t *)(void *)blocks->data;
	size_t count = blocks->bytes / sizeof(*offsets);

	if (count > 0)
		qsort(offsets, count, sizeof(*offsets), offset_compare);
	for (size_t i = 1; i < count; i++)
		if (offsets[i] == offsets[i - 1])
			return offsets[i];
	return 0;
}

/*
 * Freeing: first find everything, so that nothing is freed of a tree that is damaged.
 */
struct walk_free {
	const struct tp_pmem_pool *pool;
	uint64_t tree;
	uint64_t nodes_left;
	struct pmem_buffer blocks;	/* uint64_t */
};

static int
block_note(struct walk_free *walk, uint64_t offset, uint64_t bytes)
{
	uint64_t block_bytes = tp_pmem_block_bytes(walk->pool, offset);
	uint64_t *place;

	if (block_bytes == 0 || block_bytes < bytes)
		return pmem_error(EBADMSG, "btree: no block at offset %" PRIu64, offset);
	place = pmem_buffer_extend(&walk->blocks, sizeof(*place));
	if (place == NULL)
		return -ENOMEM;
	*place = offset;
	return 0;
}

static int
value_note(struct walk_free *walk, const struct btree_item *item)
{
	struct btree_out out;

	if ((item->word & BTREE_WORD_OUT) == 0)
		return 0;
	memcpy(&out, item->tail, sizeof(out));
	return block_note(walk, out.offset, out.bytes);
}

static int
node_note(struct walk_free *walk, uint64_t offset, uint32_t level)
{
	const struct btree_node *node = tp_pmem_ptr(walk->pool, offset);
	struct btree_item item;
	int ret = offset % BTREE_NODE_BYTES != 0 ? -EBADMSG :
		block_note(walk, offset, BTREE_NODE_BYTES);

	if (ret < 0)
		return ret;
	if (walk->nodes_left-- == 0)
		return pmem_error(EBADMSG, "btree: nodes are used twice");
	if (!btree_node_is_sound(node, walk->tree, offset) || node->level != level)
		return pmem_error(EBADMSG, "btree: node at offset %" PRIu64 " is damaged", offset);
	if (level > 0)
		ret = node_note(walk, node->child, level - 1);
	for (uint32_t i = 0; i < node->count && ret == 0; i++) {
		if (!btree_node_item(node, i, &item))
			return -EBADMSG;
		ret = level > 0 ? node_note(walk, item.word, level - 1) : value_note(walk, &item);
	}
	return ret;
}

int
btree_free_below(struct tp_pmem_tx *tx, uint64_t tree, const struct btree_root *root)
{
	struct walk_free walk = { .pool = tp_pmem_tx_pool(tx), .tree = tree };
	int ret = 0;

	walk.nodes_left = nodes_max(walk.pool);
	if (root->height > 0)
		ret = node_note(&walk, root->offset, root->height - 1);
	if (ret == 0 && twice_find(&walk.blocks) != 0)
		ret = pmem_error(EBADMSG, "btree: the block at offset %" PRIu64 " is used twice",
			twice_find(&walk.blocks));
	for (size_t at = 0; at < walk.blocks.bytes && ret == 0; at += sizeof(uint64_t)) {
		uint64_t offset;

		memcpy(&offset, walk.blocks.data + at, sizeof(offset));
		ret = tp_pmem_tx_free(tx, offset);
	}
	pmem_buffer_fini(&walk.blocks);
	return ret == -EINVAL || ret == -EALREADY ? -EBADMSG : ret;
}

/*
 * Checking.
 */
struct walk_check {
	struct tp_pmem_btree *tree;
	tp_pmem_check_fn *found;
	void *context;
	int findings;
	bool no_memory;
	uint64_t nodes_left;
	uint64_t key_count;
	struct pmem_buffer blocks;	/* uint64_t */
};

static void __attribute__((format(printf, 3, 4)))
finding(struct walk_check *check, uint64_t offset, const char *format, ...)
{
	char text[WALK_TEXT];
	va_list args;

	check->findings++;
	if (check->found == NULL)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	check->found(check->context, TP_PMEM_CHECK_LOST, offset, text);
}

/* Is there the block that a node, or the head, at `from` names? */
static bool
block_check(struct walk_check *check, uint64_t from, uint64_t offset, uint64_t bytes,
	    const char *what)
{
	uint64_t block_bytes = tp_pmem_block_bytes(check->tree->pool, offset);
	uint64_t *place;

	if (block_bytes == 0 || block_bytes < bytes) {
		finding(check, from, "btree %s: no block of %" PRIu64 " bytes at %#" PRIx64, what,
			bytes, offset);
		return false;
	}
	place = pmem_buffer_extend(&check->blocks, sizeof(*place));
	if (place == NULL)
		check->no_memory = true;
	else
		*place = offset;
	return true;
}

static void
value_check(struct walk_check *check, uint64_t leaf, const struct btree_item *item)
{
	const struct tp_pmem_pool *pool = check->tree->pool;
	struct btree_out out;

	check->key_count++;
	if ((item->word & BTREE_WORD_OUT) == 0)
		return;
	memcpy(&out, item->tail, sizeof(out));
	if (!block_check(check, leaf, out.offset, out.bytes, "value"))
		return;
	if (tp_pmem_crc(0, tp_pmem_ptr(pool, out.offset), out.bytes) != out.crc)
		finding(check, out.offset, "btree value: %u bytes are damaged, one value is lost",
			out.bytes);
}

static int
items_compare(const struct btree_item *a, const struct btree_item *b)
{
	uint32_t bytes = a->key_bytes < b->key_bytes ? a->key_bytes : b->key_bytes;
	int order = memcmp(a->key, b->key, bytes);

	return order != 0 ? order : (int)a->key_bytes - (int)b->key_bytes;
}

static void
node_check(struct walk_check *check, uint64_t from, uint64_t offset, uint32_t level,
	   const struct btree_item *low, const struct btree_item *high)
{
	const char *what = level > 0 ? "node" : "leaf";
	const struct btree_node *node = btree_node_at(check->tree, offset);
	struct btree_item items[2];	/* this one and the one before */

	if (check->nodes_left == 0)
		return;		/* said once, below */
	check->nodes_left--;
	if (offset % BTREE_NODE_BYTES != 0) {
		finding(check, from, "btree %s: no node can be at %#" PRIx64, what, offset);
		return;
	}
	if (!block_check(check, from, offset, BTREE_NODE_BYTES, what))
		return;
	if (!btree_node_is_sound(node, check->tree->offset, offset) || node->level != level) {
		finding(check, offset, "btree %s: damaged, %s lost", what,
			level > 0 ? "all below it is" : "its keys are");
		return;
	}
	if (!btree_node_is_tidy(node))
		finding(check, offset, "btree %s: slots and records disagree", what);
	for (uint32_t i = 0; i < node->count; i++) {
		struct btree_item *item = &items[i % 2], *last = &items[(i + 1) % 2];

		btree_node_item(node, i, item);
		if ((i > 0 && items_compare(last, item) >= 0) ||
				(low != NULL && items_compare(item, low) < 0) ||
				(high != NULL && items_compare(item, high) >= 0))
			finding(check, offset, "btree %s: keys out of order", what);
		if (level == 0)
			value_check(check, offset, item);
		else if (i == 0)
			node_check(check, offset, node->child, level - 1, low, item);
		else
			node_check(check, offset, last->word, level - 1, last, item);
	}
	if (level > 0 && node->count == 0)
		node_check(check, offset, node->child, level - 1, low, high);
	else if (level > 0)
		node_check(check, offset, items[(node->count - 1) % 2].word, level - 1,
			&items[(node->count - 1) % 2], high);
}

int
tp_pmem_btree_check(struct tp_pmem_btree *tree, tp_pmem_check_fn *found, void *context)
{
	const struct btree_head *head = btree_head_at(tree);
	struct walk_check check = {
		.tree = tree,
		.found = found,
		.context = context,
		.nodes_left = nodes_max(tree->pool),
	};
	uint64_t twice;

	if (btree_head_verify(tree->pool, tree->offset) < 0) {
		finding(&check, tree->offset, "btree: head is damaged, the tree is lost");
		return check.findings;
	}
	if (head->main.height > 0)
		node_check(&check, tree->offset, head->main.offset, head->main.height - 1, NULL, NULL);
	else if (head->main.offset != 0)
		finding(&check, tree->offset, "btree: no height, but a root");
	if (check.findings == 0 && check.key_count != head->main.count)
		finding(&check, tree->offset, "btree: %" PRIu64 " keys, but %" PRIu64 " counted",
			check.key_count, head->main.count);
	twice = twice_find(&check.blocks);
	if (twice != 0)
		finding(&check, twice, "btree: a block is used twice");
	pmem_buffer_fini(&check.blocks);
	return check.no_memory ? -ENOMEM : check.findings;
}
