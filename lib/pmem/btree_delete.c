/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * B+tree: removing a key. An empty leaf goes, a node with less than a quarter in use is
 * merged with a neighbour of the same parent where both fit one node; keys are not moved
 * between nodes otherwise, so separators are only taken away, never replaced, and a
 * delete needs no room.
 */
#include <string.h>

#include "btree_priv.h"

struct merge {
	struct tp_pmem_btree *tree;
	struct tp_pmem_tx *tx;
	struct btree_path path;
	struct btree_item items[2 * BTREE_ITEMS_MAX];
	struct btree_node scratch;
};

static struct btree_node *
merge_node(const struct merge *merge, uint32_t level)
{
	return btree_node_at(merge->tree, merge->path.nodes[level]);
}

/* Remove a slot of a touched node. */
static int
node_remove(struct merge *merge, uint64_t offset, uint32_t at)
{
	struct btree_node *node = btree_node_at(merge->tree, offset);
	uint32_t begin = at < 8 ? 0 : BTREE_NODE_HEADER + 8 * at;
	int ret = btree_cover(merge->tree, merge->tx, offset, begin,
		BTREE_NODE_HEADER + 8u * node->count);

	if (ret == 0 && begin > 0)
		ret = btree_cover(merge->tree, merge->tx, offset, 0, BTREE_NODE_HEADER);
	if (ret < 0)
		return ret;
	btree_node_remove(node, at);
	btree_node_seal(node, offset);
	return 0;
}

/*
 * Join the children left and left + 1 of a node, if they fit one. 1: done; 0: not; -ENOMEM.
 * A damaged neighbour is left alone: whoever needs it is told.
 */
static int
children_join(struct merge *merge, uint32_t level, uint32_t left)
{
	struct btree_node *parent = merge_node(merge, level);
	uint64_t left_offset = btree_node_child(parent, left);
	uint64_t right_offset = btree_node_child(parent, left + 1);
	struct btree_ref left_ref = btree_ref_begin(merge->tree, left_offset, true);
	struct btree_ref right_ref = btree_ref_begin(merge->tree, right_offset, true);
	uint32_t count, bytes;
	int ret;

	if (btree_ref_verify(merge->tree, &left_ref) < 0 ||
			btree_ref_verify(merge->tree, &right_ref) < 0 ||
			left_ref.node->level != level - 1 || right_ref.node->level != level - 1)
		return 0;
	bytes = 2 * BTREE_NODE_ROOM - btree_node_free(left_ref.node) -
		btree_node_free(right_ref.node);
	if (bytes > BTREE_NODE_ROOM)
		return 0;
	count = btree_node_items(left_ref.node, merge->items);
	if (level > 1) {	/* what parted them goes down */
		if (!btree_node_item(parent, left, &merge->items[count]))
			return 0;
		merge->items[count++].word = right_ref.node->child;
	}
	count += btree_node_items(right_ref.node, merge->items + count);
	if (btree_items_bytes(merge->items, count) > BTREE_NODE_ROOM)
		return 0;
	btree_node_build(&merge->scratch, level - 1, merge->tree->offset, left_ref.node->child,
		merge->items, count);
	/* Without memory for images they stay as they are, which is a tree too. */
	if (btree_touch(merge->tree, left_offset) < 0 ||
			btree_touch(merge->tree, merge->path.nodes[level]) < 0)
		return 0;
	ret = btree_node_replace(merge->tree, merge->tx, left_offset, &merge->scratch);
	if (ret == 0)
		ret = btree_node_free_block(merge->tree, merge->tx, right_offset);
	if (ret == 0)
		ret = node_remove(merge, merge->path.nodes[level], left);
	return ret < 0 ? ret : 1;
}

/* Remove a child of a touched node that has others. */
static int
child_remove(struct merge *merge, uint32_t level, uint32_t child)
{
	struct btree_node *node = merge_node(merge, level);
	struct btree_item first;
	int ret;

	if (child > 0)
		return node_remove(merge, merge->path.nodes[level], child - 1);
	ret = btree_cover(merge->tree, merge->tx, merge->path.nodes[level], 0, BTREE_NODE_HEADER);
	if (ret < 0 || !btree_node_item(node, 0, &first))
		return ret < 0 ? ret : -EBADMSG;
	node->child = first.word;
	return node_remove(merge, merge->path.nodes[level], 0);
}

/*
 * The leaf is empty: it goes, with the nodes over it that have no other child. *level: from
 * where on nodes may be joined.
 */
static int
leaf_drop(struct merge *merge, uint32_t *level)
{
	uint32_t above = 1;
	int ret = 0;

	while (above < merge->path.height && merge_node(merge, above)->count == 0)
		above++;
	/* Without memory for an image it stays. */
	if (above < merge->path.height && btree_touch(merge->tree, merge->path.nodes[above]) < 0)
		return 0;
	for (uint32_t i = 0; i < above && ret == 0; i++)
		ret = btree_node_free_block(merge->tree, merge->tx, merge->path.nodes[i]);
	*level = above + 1;
	if (ret == 0 && above < merge->path.height)
		return child_remove(merge, above, merge->path.children[above]);
	merge->path.height = 0;
	return ret;
}

/* From a level up, as long as something was joined. */
static int
nodes_join(struct merge *merge, uint32_t from)
{
	int ret = 1;

	for (uint32_t level = from; level < merge->path.height && ret == 1; level++) {
		const struct btree_node *node = merge_node(merge, level - 1);
		uint32_t child = merge->path.children[level];

		if (BTREE_NODE_ROOM - btree_node_free(node) >= BTREE_MERGE_BYTES)
			return 0;
		ret = 0;
		if (child > 0)
			ret = children_join(merge, level, child - 1);
		if (ret == 0 && child < merge_node(merge, level)->count)
			ret = children_join(merge, level, child);
	}
	return ret < 0 ? ret : 0;
}

/* A root with one child goes. */
static int
root_shrink(struct merge *merge)
{
	struct btree_head *head = btree_head_at(merge->tree);
	struct btree_root root = head->main;
	int ret;

	root.count--;
	if (merge->path.height == 0)
		root = (struct btree_root){ 0 };
	while (root.height > 1) {
		const struct btree_node *node = btree_node_at(merge->tree, root.offset);
		uint64_t offset = root.offset;
		struct btree_ref ref;

		if (node->count > 0)
			break;
		root.offset = node->child;
		root.height--;
		ret = btree_node_free_block(merge->tree, merge->tx, offset);
		if (ret < 0)
			return ret;
		/* The next one may be where nobody was yet. */
		ref = btree_ref_begin(merge->tree, root.offset, true);
		if (btree_ref_verify(merge->tree, &ref) < 0)
			break;
	}
	return btree_head_set(merge->tree, merge->tx, &root, &head->load);
}

static int
delete_locked(struct merge *merge, const struct btree_key *key)
{
	struct btree_item item;
	struct btree_out out = { 0 };
	bool equal;
	uint32_t at, level = 1;
	int ret = btree_path_find(merge->tree, key, &merge->path);

	if (ret < 0)
		return ret;
	if (merge->path.height == 0)
		return -ENOENT;
	at = btree_node_search(merge_node(merge, 0), key, &equal);
	if (!equal)
		return -ENOENT;
	if (!btree_node_item(merge_node(merge, 0), at, &item))
		return -EBADMSG;
	if (item.word & BTREE_WORD_OUT)
		memcpy(&out, item.tail, sizeof(out));
	ret = btree_touch(merge->tree, merge->path.nodes[0]);
	if (ret < 0)
		return ret;
	/* Before any change: it says whether the block is one. */
	if (out.offset != 0)
		ret = tp_pmem_tx_free(merge->tx, out.offset);
	if (ret < 0)
		return ret == -EINVAL || ret == -EALREADY ? -EBADMSG : ret;
	ret = node_remove(merge, merge->path.nodes[0], at);
	if (ret == 0 && merge_node(merge, 0)->count == 0)
		ret = leaf_drop(merge, &level);
	if (ret == 0)
		ret = nodes_join(merge, level);
	return ret < 0 ? ret : root_shrink(merge);
}

int
tp_pmem_btree_delete(struct tp_pmem_btree *tree, struct tp_pmem_tx *tx, const void *key,
		     uint32_t key_bytes)
{
	struct merge merge;
	struct btree_key words;
	int ret = 0;

	if (key_bytes == 0 || key_bytes > TP_PMEM_BTREE_KEY_MAX)
		return -EINVAL;
	btree_key_set(&words, key, key_bytes);
	merge.tree = tree;
	merge.tx = tx;
	if (tx == NULL)
		ret = tp_pmem_tx_begin(tree->pool, &merge.tx);
	if (ret < 0)
		return ret;
	ret = btree_enter(tree, merge.tx);
	if (ret == 0)
		ret = delete_locked(&merge, &words);
	if (tx != NULL)
		return ret;
	if (ret == 0)
		return tp_pmem_tx_commit(merge.tx, 0);
	tp_pmem_tx_abort(merge.tx);
	return ret;
}
