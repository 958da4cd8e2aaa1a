/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * B+tree: trees and handles, the way to a leaf, and reading one value.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "btree_priv.h"

uint32_t
btree_head_crc(const struct btree_head *head, uint64_t offset)
{
	return tp_pmem_crc((uint32_t)(offset / TP_PMEM_LINE_BYTES), &head->reserved,
		sizeof(*head) - offsetof(struct btree_head, reserved));
}

int
btree_head_verify(const struct tp_pmem_pool *pool, uint64_t offset)
{
	const struct btree_head *head = tp_pmem_ptr(pool, offset);

	if (offset % TP_PMEM_LINE_BYTES != 0 || tp_pmem_block_bytes(pool, offset) < sizeof(*head))
		return pmem_error(EINVAL, "btree: no block at offset %" PRIu64, offset);
	if (head->magic != BTREE_TREE_MAGIC)
		return pmem_error(EINVAL, "btree: no tree at offset %" PRIu64, offset);
	if (head->crc != btree_head_crc(head, offset) || head->main.height > BTREE_HEIGHT_MAX ||
			head->load.height > BTREE_HEIGHT_MAX)
		return pmem_error(EBADMSG, "btree: head at offset %" PRIu64 " is damaged", offset);
	return 0;
}

int
btree_head_set(struct tp_pmem_btree *tree, struct tp_pmem_tx *tx, const struct btree_root *main,
	       const struct btree_root *load)
{
	struct btree_head *head = btree_head_at(tree);
	int ret = tp_pmem_tx_add_range(tx, head, sizeof(*head));

	if (ret < 0)
		return ret;
	head->main = *main;
	head->load = *load;
	head->crc = btree_head_crc(head, tree->offset);
	return 0;
}

int
tp_pmem_btree_create(struct tp_pmem_tx *tx, uint64_t *offset_out)
{
	struct btree_head *head;
	uint64_t offset;
	int ret = tp_pmem_tx_alloc(tx, sizeof(*head), TP_PMEM_ALLOC_ZERO, &offset);

	if (ret < 0)
		return ret;
	head = tp_pmem_ptr(tp_pmem_tx_pool(tx), offset);
	head->magic = BTREE_TREE_MAGIC;
	head->crc = btree_head_crc(head, offset);
	*offset_out = offset;
	return 0;
}

int
tp_pmem_btree_destroy(struct tp_pmem_tx *tx, uint64_t offset)
{
	const struct tp_pmem_pool *pool = tp_pmem_tx_pool(tx);
	const struct btree_head *head = tp_pmem_ptr(pool, offset);
	int ret = btree_head_verify(pool, offset);

	if (ret == 0)
		ret = btree_free_below(tx, offset, &head->load);
	if (ret == 0)
		ret = btree_free_below(tx, offset, &head->main);
	return ret < 0 ? ret : tp_pmem_tx_free(tx, offset);
}

/* What a bulk load left that did not come to its end. */
static int
load_discard(struct tp_pmem_btree *tree)
{
	struct btree_head *head = btree_head_at(tree);
	struct btree_root none = { 0 };
	struct tp_pmem_tx *tx;
	int ret;

	if (head->load.offset == 0)
		return 0;
	ret = tp_pmem_tx_begin(tree->pool, &tx);
	if (ret == -EROFS)
		return 0;
	if (ret < 0)
		return ret;
	ret = btree_free_below(tx, tree->offset, &head->load);
	if (ret == 0)
		ret = btree_head_set(tree, tx, &head->main, &none);
	if (ret == 0)
		return tp_pmem_tx_commit(tx, 0);
	tp_pmem_tx_abort(tx);
	return ret;
}

int
tp_pmem_btree_open(struct tp_pmem_pool *pool, uint64_t offset, struct tp_pmem_btree **tree_out)
{
	struct tp_pmem_btree *tree;
	int ret = btree_head_verify(pool, offset);

	if (ret < 0)
		return ret;
	tree = aligned_alloc(TP_PMEM_LINE_BYTES, RTE_ALIGN_CEIL(sizeof(*tree), (size_t)64));
	if (tree == NULL)
		return -ENOMEM;
	memset(tree, 0, sizeof(*tree));
	tree->pool = pool;
	tree->offset = offset;
	ret = btree_view_init(tree);
	if (ret < 0)
		goto free_tree;
	ret = load_discard(tree);
	if (ret < 0)
		goto fini_view;
	btree_publish(tree);
	*tree_out = tree;
	return 0;

fini_view:
	btree_view_fini(tree);
free_tree:
	free(tree);
	return ret;
}

void
tp_pmem_btree_close(struct tp_pmem_btree *tree)
{
	if (tree == NULL)
		return;
	btree_view_fini(tree);
	free(tree);
}

uint64_t
tp_pmem_btree_count(const struct tp_pmem_btree *tree)
{
	return atomic_load_explicit(&tree->count, memory_order_relaxed);
}

/*
 * The lock.
 */

static void
tree_leave(void *context, bool committed)
{
	struct tp_pmem_btree *tree = context;

	btree_publish(tree);
	/* relaxed: only its owner compares it with something that could be equal */
	atomic_store_explicit(&tree->owner, NULL, memory_order_relaxed);
	pmem_lock_release(&tree->lock);
}

int
btree_enter(struct tp_pmem_btree *tree, struct tp_pmem_tx *tx)
{
	int ret;

	if (atomic_load_explicit(&tree->owner, memory_order_relaxed) == tx)
		return 0;
	pmem_lock_take(&tree->lock);
	ret = tp_pmem_tx_on_end(tx, tree_leave, tree);
	if (ret < 0) {
		pmem_lock_release(&tree->lock);
		return ret;
	}
	atomic_store_explicit(&tree->owner, tx, memory_order_relaxed);
	return 0;
}

/*
 * Nodes, for the owner of the lock.
 */

int
btree_node_new(struct tp_pmem_btree *tree, struct tp_pmem_tx *tx, uint64_t *offset)
{
	int ret = tp_pmem_tx_alloc(tx, BTREE_NODE_BYTES, 0, offset);

	return ret < 0 ? ret : btree_touch_new(tree, *offset);
}

int
btree_node_free_block(struct tp_pmem_btree *tree, struct tp_pmem_tx *tx, uint64_t offset)
{
	int ret = btree_touch_new(tree, offset);

	return ret < 0 ? ret : tp_pmem_tx_free(tx, offset);
}

int
btree_node_replace(struct tp_pmem_btree *tree, struct tp_pmem_tx *tx, uint64_t offset,
		   const struct btree_node *from)
{
	struct btree_node *node = btree_node_at(tree, offset);
	int ret = btree_cover(tree, tx, offset, 0, BTREE_NODE_BYTES);

	if (ret < 0)
		return ret;
	memcpy(node, from, sizeof(*node));
	btree_node_seal(node, offset);
	return 0;
}

int
btree_path_find(struct tp_pmem_btree *tree, const struct btree_key *key, struct btree_path *path)
{
	struct btree_ref ref;
	uint64_t offset = btree_root_begin(tree, true, &path->height, &ref);

	for (uint32_t level = path->height; level-- > 0;) {
		int ret;

		ref = btree_ref_begin(tree, offset, true);
		ret = btree_ref_verify(tree, &ref);
		if (ret < 0)
			return ret;
		if (ref.node->level != level)
			return -EBADMSG;
		path->nodes[level] = offset;
		if (level == 0)
			break;
		path->children[level] = btree_node_route(ref.node, key, false);
		offset = btree_node_child(ref.node, path->children[level]);
	}
	return 0;
}

/*
 * Reading.
 */

int
btree_out_read(const struct tp_pmem_pool *pool, const struct btree_out *out, void *value,
	       uint32_t capacity)
{
	struct tp_pmem_pool_info info;
	const uint8_t *from = tp_pmem_ptr(pool, out->offset);

	tp_pmem_pool_info_get(pool, &info);
	if (out->offset == 0 || out->offset >= info.bytes || out->bytes > info.bytes - out->offset)
		return -EBADMSG;
	btree_copy(value, from, capacity < out->bytes ? capacity : out->bytes);
	if (capacity >= out->bytes)
		return tp_pmem_crc(0, value, out->bytes) == out->crc ? 0 : -EBADMSG;
	return tp_pmem_crc(0, from, out->bytes) == out->crc ? 0 : -EBADMSG;
}

/* -EAGAIN: it has changed. */
static int
leaf_find(struct tp_pmem_btree *tree, const struct btree_key *key, bool own, struct btree_ref *leaf)
{
	struct btree_ref above;
	uint32_t height;
	uint64_t offset = btree_root_begin(tree, own, &height, &above);
	int ret;

	for (uint32_t level = height; level-- > 0;) {
		*leaf = btree_ref_begin(tree, offset, own);
		if (!btree_ref_is_valid(&above))
			return -EAGAIN;
		ret = btree_ref_verify(tree, leaf);
		if (ret < 0)
			return ret;
		if (level == 0)
			return 0;
		offset = btree_node_child(leaf->node, btree_node_route(leaf->node, key, false));
		above = *leaf;
	}
	return btree_ref_is_valid(&above) ? -ENOENT : -EAGAIN;
}

/* One attempt: bytes of the value, or as leaf_find(). */
static int64_t
value_try(struct tp_pmem_btree *tree, const struct btree_key *key, bool own, void *value,
	  uint32_t capacity)
{
	struct btree_item item;
	struct btree_ref leaf;
	struct btree_out out;
	bool equal;
	int ret = leaf_find(tree, key, own, &leaf);
	uint32_t index;

	if (ret < 0)
		return ret;
	index = btree_node_search(leaf.node, key, &equal);
	if (!equal || !btree_node_item(leaf.node, index, &item))
		return !btree_ref_is_valid(&leaf) ? -EAGAIN : equal ? -EBADMSG : -ENOENT;
	if (likely((item.word & BTREE_WORD_OUT) == 0)) {
		btree_copy(value, item.tail, capacity < item.tail_bytes ? capacity : item.tail_bytes);
		return btree_ref_is_valid(&leaf) ? item.tail_bytes : -EAGAIN;
	}
	btree_copy(&out, item.tail, sizeof(out));
	if (!btree_ref_is_valid(&leaf))
		return -EAGAIN;
	ret = btree_out_read(tree->pool, &out, value, capacity);
	if (!btree_ref_is_valid(&leaf))
		return -EAGAIN;
	return ret < 0 ? ret : (int64_t)out.bytes;
}

int64_t
tp_pmem_btree_get(struct tp_pmem_btree *tree, const struct tp_pmem_tx *tx, const void *key,
		  uint32_t key_bytes, void *value, uint32_t capacity)
{
	bool own = tx != NULL &&
		atomic_load_explicit(&tree->owner, memory_order_relaxed) == tx;
	struct btree_key words;
	unsigned int tries = 0;
	int64_t ret;

	if (key_bytes == 0 || key_bytes > TP_PMEM_BTREE_KEY_MAX)
		return -EINVAL;
	btree_key_set(&words, key, key_bytes);
	while ((ret = value_try(tree, &words, own, value, capacity)) == -EAGAIN)
		btree_reader_relax(&tries);
	return ret;
}
