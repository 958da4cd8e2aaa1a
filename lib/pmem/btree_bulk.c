/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * B+tree: bulk load. Nodes are filled from left to right, the last of each level in
 * DRAM. What is done is at every commit a tree of its own, which the head of the
 * tree names as "load": so a crash leaks nothing, the next open frees it. The last
 * commit makes it the tree.
 */
#include <stdlib.h>
#include <string.h>

#include "btree_priv.h"

#define BULK_NODES 256u			/* of one transaction */
#define BULK_VALUE_BYTES (UINT32_C(4) << 20)

/* The last node of a level. */
struct bulk_level {
	uint64_t offset;
	bool is_new;			/* made by the open transaction */
	struct btree_node node;
};

struct bulk {
	struct tp_pmem_btree *tree;
	struct tp_pmem_tx *tx;
	uint32_t node_bytes;		/* to fill */
	uint32_t node_count;		/* of the open transaction */
	uint64_t value_bytes;
	struct btree_root root;		/* what was loaded */
	uint32_t last_bytes;		/* of the last key */
	uint8_t last[TP_PMEM_BTREE_KEY_MAX];
	struct btree_out out;
	struct bulk_level levels[BTREE_HEIGHT_MAX];
};

static int
level_store(struct bulk *bulk, struct bulk_level *level)
{
	struct btree_node *node = btree_node_at(bulk->tree, level->offset);
	int ret = 0;

	if (!level->is_new)
		ret = tp_pmem_tx_add_range(bulk->tx, node, sizeof(*node));
	if (ret < 0)
		return ret;
	memcpy(node, &level->node, sizeof(*node));
	btree_node_seal(node, level->offset);
	return 0;
}

/* A new node on the right of a level; the level of the root grows the tree. */
static int
level_start(struct bulk *bulk, uint32_t index, uint64_t child)
{
	struct bulk_level *level = &bulk->levels[index];
	int ret = btree_node_new(bulk->tree, bulk->tx, &level->offset);

	if (ret < 0)
		return ret;
	level->is_new = true;
	btree_node_build(&level->node, index, bulk->tree->offset, child, NULL, 0);
	bulk->node_count++;
	if (index == bulk->root.height) {
		bulk->root.height++;
		bulk->root.offset = level->offset;
	}
	return 0;
}

/* Append an item to a level, in a new node if the last one is full: then *opened. */
static int
level_append(struct bulk *bulk, uint32_t index, const struct btree_item *item, bool *opened)
{
	struct bulk_level *level = &bulk->levels[index];
	uint32_t used = BTREE_NODE_ROOM - btree_node_free(&level->node);
	uint32_t bytes = btree_item_bytes(item);
	int ret;

	*opened = false;
	if (level->node.count == 0 ||
			(used + bytes <= bulk->node_bytes && bytes <= btree_node_gap(&level->node))) {
		btree_node_insert(&level->node, level->node.count, item);
		return 0;
	}
	ret = level_store(bulk, level);
	if (ret == 0)
		ret = level_start(bulk, index, index == 0 ? 0 : item->word);
	*opened = ret == 0;
	if (ret == 0 && index == 0)
		btree_node_insert(&level->node, 0, item);
	return ret;
}

/* The node of a level and those above it hear of a new one on the right. */
static int
levels_tell(struct bulk *bulk, struct btree_item *separator)
{
	bool opened = true;
	uint64_t old_root = bulk->root.offset;
	int ret = 0;

	for (uint32_t index = 1; opened && ret == 0; index++) {
		if (index == BTREE_HEIGHT_MAX)
			return -ENOSPC;
		if (index == bulk->root.height)
			ret = level_start(bulk, index, old_root);
		if (ret == 0)
			ret = level_append(bulk, index, separator, &opened);
		separator->word = bulk->levels[index].offset;
	}
	return ret;
}

static int
bulk_begin(struct bulk *bulk)
{
	int ret = tp_pmem_tx_begin(bulk->tree->pool, &bulk->tx);

	bulk->node_count = 0;
	bulk->value_bytes = 0;
	if (ret < 0)
		bulk->tx = NULL;
	return ret;
}

/* Commit what there is, as a tree that is not yet the tree, or that is. */
static int
bulk_commit(struct bulk *bulk, bool last)
{
	struct btree_root none = { 0 };
	struct tp_pmem_tx *tx = bulk->tx;
	int ret = 0;

	for (uint32_t i = 0; i < bulk->root.height && ret == 0; i++)
		ret = level_store(bulk, &bulk->levels[i]);
	if (ret == 0)
		ret = last ? btree_head_set(bulk->tree, tx, &bulk->root, &none) :
			btree_head_set(bulk->tree, tx, &none, &bulk->root);
	if (ret < 0)
		return ret;
	bulk->tx = NULL;
	for (uint32_t i = 0; i < bulk->root.height; i++)
		bulk->levels[i].is_new = false;
	return tp_pmem_tx_commit(tx, 0);
}

static int
bulk_add(struct bulk *bulk, const void *key, uint32_t key_bytes, const void *value,
	 uint32_t value_bytes)
{
	struct btree_item item = { .key = key, .key_bytes = (uint16_t)key_bytes };
	struct btree_item last = { .key = bulk->last, .key_bytes = (uint16_t)bulk->last_bytes };
	uint32_t common = key_bytes < bulk->last_bytes ? key_bytes : bulk->last_bytes;
	struct btree_item separator = { .key = key };
	bool opened;
	int ret;

	if (key_bytes == 0 || key_bytes > TP_PMEM_BTREE_KEY_MAX ||
			value_bytes > TP_PMEM_BTREE_VALUE_MAX)
		return -EINVAL;
	ret = memcmp(bulk->last, key, common);
	if (ret > 0 || (ret == 0 && bulk->last_bytes >= key_bytes))
		return -EINVAL;
	ret = btree_item_make(bulk->tree->pool, bulk->tx, &item, &bulk->out, value, value_bytes);
	if (ret == 0 && bulk->root.height == 0)
		ret = level_start(bulk, 0, 0);
	if (ret == 0)
		ret = level_append(bulk, 0, &item, &opened);
	if (ret == 0 && opened) {
		separator.key_bytes = (uint16_t)btree_separator_bytes(&last, &item);
		separator.word = bulk->levels[0].offset;
		ret = levels_tell(bulk, &separator);
	}
	bulk->value_bytes += value_bytes;
	bulk->root.count++;
	memcpy(bulk->last, key, key_bytes);
	bulk->last_bytes = key_bytes;
	return ret;
}

static int
bulk_run(struct bulk *bulk, tp_pmem_btree_source_fn *source, void *context)
{
	const void *key, *value;
	uint32_t key_bytes, value_bytes;
	int ret = bulk_begin(bulk);

	while (ret == 0) {
		ret = source(context, &key, &key_bytes, &value, &value_bytes);
		if (ret <= 0)
			break;
		ret = bulk_add(bulk, key, key_bytes, value, value_bytes);
		if (ret < 0 || (bulk->node_count < BULK_NODES &&
				bulk->value_bytes < BULK_VALUE_BYTES))
			continue;
		ret = bulk_commit(bulk, false);
		if (ret == 0)
			ret = bulk_begin(bulk);
	}
	return ret < 0 ? ret : bulk_commit(bulk, true);
}

/* What was loaded and committed is freed again; if not even that works, when opened. */
static void
bulk_undo(struct bulk *bulk)
{
	struct btree_head *head = btree_head_at(bulk->tree);
	struct btree_root none = { 0 };
	struct tp_pmem_tx *tx;

	if (bulk->tx != NULL)
		tp_pmem_tx_abort(bulk->tx);
	if (head->load.offset == 0 || tp_pmem_tx_begin(bulk->tree->pool, &tx) < 0)
		return;
	if (btree_free_below(tx, bulk->tree->offset, &head->load) == 0 &&
			btree_head_set(bulk->tree, tx, &head->main, &none) == 0)
		tp_pmem_tx_commit(tx, 0);
	else
		tp_pmem_tx_abort(tx);
}

int
tp_pmem_btree_bulk_load(struct tp_pmem_btree *tree, unsigned int fill,
			tp_pmem_btree_source_fn *source, void *context)
{
	struct bulk *bulk;
	int ret = 0;

	if (fill < 50 || fill > 100)
		return -EINVAL;
	bulk = calloc(1, sizeof(*bulk));
	if (bulk == NULL)
		return -ENOMEM;
	bulk->tree = tree;
	bulk->node_bytes = BTREE_NODE_ROOM * fill / 100;
	pmem_lock_take(&tree->lock);
	if (btree_head_at(tree)->main.offset != 0)
		ret = -ENOTEMPTY;
	if (ret == 0)
		ret = bulk_run(bulk, source, context);
	if (ret < 0 && ret != -ENOTEMPTY)
		bulk_undo(bulk);
	btree_publish(tree);
	pmem_lock_release(&tree->lock);
	free(bulk);
	return ret;
}
