/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * B+tree: insert and change. All that may be refused (blocks, images) is asked for before
 * the first change, so a call that fails leaves the caller's transaction as it was.
 */
#include <string.h>

#include "btree_priv.h"

struct put {
	struct tp_pmem_btree *tree;
	struct tp_pmem_tx *tx;
	struct btree_path path;
	struct btree_key key;
	struct btree_item item;			/* to insert */
	struct btree_out out;			/* its value, if that is long */
	uint64_t spares[BTREE_HEIGHT_MAX + 1];	/* nodes for splits */
	uint32_t spare_count;
	struct btree_item items[BTREE_ITEMS_MAX];
	struct btree_node scratch;
	uint8_t separator[TP_PMEM_BTREE_KEY_MAX];
};

int
btree_item_make(struct tp_pmem_pool *pool, struct tp_pmem_tx *tx, struct btree_item *item,
		struct btree_out *out, const void *value, uint32_t value_bytes)
{
	uint64_t offset;
	int ret;

	item->word = value_bytes | (uint64_t)item->key_bytes << 48;
	item->tail = value;
	item->tail_bytes = (uint16_t)value_bytes;
	if (value_bytes <= BTREE_INLINE_VALUE &&
			item->key_bytes + value_bytes <= BTREE_INLINE_RECORD)
		return 0;
	ret = tp_pmem_tx_alloc(tx, value_bytes, 0, &offset);
	if (ret < 0)
		return ret;
	memcpy(tp_pmem_ptr(pool, offset), value, value_bytes);
	*out = (struct btree_out){ offset, value_bytes, tp_pmem_crc(0, value, value_bytes) };
	item->word |= BTREE_WORD_OUT;
	item->tail = (const uint8_t *)out;
	item->tail_bytes = sizeof(*out);
	return 0;
}

static struct btree_node *
put_node(const struct put *put, uint32_t level)
{
	return btree_node_at(put->tree, put->path.nodes[level]);
}

/*
 * Reserving.
 */

static uint32_t
key_bytes_max(const struct btree_node *node)
{
	uint32_t bytes = 0;

	for (uint32_t i = 0; i < node->count; i++)
		if (btree_slot_key_bytes(node->slots[i]) > bytes)
			bytes = btree_slot_key_bytes(node->slots[i]);
	return bytes;
}

static int
spare_take(struct put *put)
{
	int ret = btree_node_new(put->tree, put->tx, &put->spares[put->spare_count]);

	if (ret == 0)
		put->spare_count++;
	return ret;
}

/* A node for each level that may split, and one for a new root. */
static int
spares_take(struct put *put)
{
	uint32_t bytes = put->item.key_bytes;
	uint32_t level = 0;
	int ret = 0;

	do {
		struct btree_node *node = put_node(put, level);

		if (key_bytes_max(node) > bytes)
			bytes = key_bytes_max(node);
		if (put->path.height == BTREE_HEIGHT_MAX)
			return -ENOSPC;
		ret = spare_take(put);
		if (ret < 0)
			return ret;
		if (++level == put->path.height)
			return spare_take(put);
		ret = btree_touch(put->tree, put->path.nodes[level]);
	} while (ret == 0 && btree_node_free(put_node(put, level)) <
			8 + btree_record_bytes(bytes, 0));
	return ret;
}

static int
spares_give(struct put *put)
{
	int ret = 0;

	while (put->spare_count > 0 && ret == 0)
		ret = tp_pmem_tx_free(put->tx, put->spares[--put->spare_count]);
	return ret;
}

/* The first error, with nothing changed. */
static int
put_undo(struct put *put, int error)
{
	spares_give(put);
	if (put->item.word & BTREE_WORD_OUT)
		tp_pmem_tx_free(put->tx, put->out.offset);
	return error;
}

/*
 * Changing.
 */

/* An item where the gap has room. */
static int
node_insert(struct put *put, uint64_t offset, uint32_t at, const struct btree_item *item)
{
	struct btree_node *node = btree_node_at(put->tree, offset);
	uint32_t begin = BTREE_NODE_HEADER + 8 * at;
	uint32_t record = btree_record_bytes(item->key_bytes, item->tail_bytes);
	int ret;

	if (!btree_node_keeps_prefix(node, at, item) || at < 8)
		begin = 0;
	ret = btree_cover(put->tree, put->tx, offset, begin,
		BTREE_NODE_HEADER + 8u * (node->count + 1u));
	if (ret == 0 && begin > 0)
		ret = btree_cover(put->tree, put->tx, offset, 0, BTREE_NODE_HEADER);
	if (ret == 0)
		ret = btree_cover(put->tree, put->tx, offset, node->records_begin - record,
			node->records_begin);
	if (ret < 0)
		return ret;
	btree_node_insert(node, at, item);
	btree_node_seal(node, offset);
	return 0;
}

static int
root_grow(struct put *put, const struct btree_item *item)
{
	struct btree_root root = btree_head_at(put->tree)->main;
	uint64_t offset = put->spares[--put->spare_count];
	struct btree_node *node = btree_node_at(put->tree, offset);

	btree_node_build(node, put->path.height, put->tree->offset, root.offset, item, 1);
	btree_node_seal(node, offset);
	root.offset = offset;
	root.height++;
	return btree_head_set(put->tree, put->tx, &root, &btree_head_at(put->tree)->load);
}

/*
 * The items of a node and one more are too many: the upper ones go to a new node.
 * *item becomes what the level above shall have.
 */
static int
node_split(struct put *put, uint32_t level, uint32_t count, bool append, struct btree_item *item)
{
	uint64_t offset = put->spares[--put->spare_count];
	struct btree_node *node = put_node(put, level);
	struct btree_node *right = btree_node_at(put->tree, offset);
	const struct btree_item *items = put->items;
	uint32_t middle = btree_items_split(items, count, append);
	uint32_t bytes;

	if (level > 0 && middle > count - 2)
		middle = count - 2;
	btree_node_build(&put->scratch, level, put->tree->offset, node->child, items, middle);
	if (level == 0) {
		bytes = btree_separator_bytes(&items[middle - 1], &items[middle]);
		btree_node_build(right, 0, put->tree->offset, 0, items + middle, count - middle);
	} else {
		bytes = items[middle].key_bytes;
		btree_node_build(right, level, put->tree->offset, items[middle].word,
			items + middle + 1, count - middle - 1);
	}
	btree_node_seal(right, offset);
	/* May be there already: it is what was inserted. */
	memmove(put->separator, items[middle].key, bytes);
	*item = (struct btree_item){ .word = offset, .key = put->separator,
		.key_bytes = (uint16_t)bytes };
	return btree_node_replace(put->tree, put->tx, put->path.nodes[level], &put->scratch);
}

static bool
path_is_rightmost(const struct put *put, uint32_t level)
{
	while (++level < put->path.height)
		if (put->path.children[level] != put_node(put, level)->count)
			return false;
	return true;
}

/*
 * Put an item at a place of a node, which is touched: into its gap, by tidying
 * it up, or by splitting it; then the same with the level above. replaced: in place of the
 * item there.
 */
static int
item_put(struct put *put, uint32_t at, bool replaced)
{
	struct btree_item item = put->item;

	for (uint32_t level = 0; level < put->path.height; level++) {
		struct btree_node *node = put_node(put, level);
		uint64_t offset = put->path.nodes[level];
		uint32_t count;
		bool append;
		int ret;

		if (level > 0)
			at = put->path.children[level];
		if (!replaced && btree_node_gap(node) >= btree_item_bytes(&item))
			return node_insert(put, offset, at, &item);
		count = btree_node_items(node, put->items);
		append = !replaced && at == count && path_is_rightmost(put, level);
		if (replaced)
			put->items[at] = item;
		else
			btree_items_insert(put->items, count++, at, &item);
		replaced = false;
		if (btree_items_bytes(put->items, count) <= BTREE_NODE_ROOM) {
			btree_node_build(&put->scratch, level, put->tree->offset, node->child,
				put->items, count);
			return btree_node_replace(put->tree, put->tx, offset, &put->scratch);
		}
		ret = node_split(put, level, count, append, &item);
		if (ret < 0)
			return ret;
	}
	return root_grow(put, &item);
}

static int
count_add(struct put *put)
{
	struct btree_root root = btree_head_at(put->tree)->main;

	root.count++;
	return btree_head_set(put->tree, put->tx, &root, &btree_head_at(put->tree)->load);
}

static int
put_first(struct put *put)
{
	struct btree_root root = { .count = 1, .height = 1 };
	struct btree_node *node;
	int ret = btree_node_new(put->tree, put->tx, &root.offset);

	if (ret < 0)
		return put_undo(put, ret);
	node = btree_node_at(put->tree, root.offset);
	btree_node_build(node, 0, put->tree->offset, 0, &put->item, 1);
	btree_node_seal(node, root.offset);
	return btree_head_set(put->tree, put->tx, &root, &btree_head_at(put->tree)->load);
}

/* Same bytes, other contents. */
static int
record_overwrite(struct put *put, const struct btree_item *old)
{
	uint64_t offset = put->path.nodes[0];
	struct btree_node *node = put_node(put, 0);
	uint8_t *record = (uint8_t *)node + (old->key - (const uint8_t *)node) - 8;
	uint32_t at = (uint32_t)(record - (uint8_t *)node);
	uint32_t bytes = btree_record_bytes(old->key_bytes, old->tail_bytes);
	int ret = btree_cover(put->tree, put->tx, offset, 0, BTREE_NODE_HEADER);

	if (ret == 0)
		ret = btree_cover(put->tree, put->tx, offset, at, at + bytes);
	if (ret < 0)
		return ret;
	memcpy(record, &put->item.word, 8);
	memset(record + 8 + old->key_bytes, 0, bytes - 8 - old->key_bytes);
	if (put->item.tail_bytes > 0)
		memcpy(record + 8 + old->key_bytes, put->item.tail, put->item.tail_bytes);
	btree_node_seal(node, offset);
	return 0;
}

static int
put_update(struct put *put, uint32_t at)
{
	struct btree_item old;
	struct btree_out out = { 0 };
	int ret;

	if (!btree_node_item(put_node(put, 0), at, &old))
		return put_undo(put, -EBADMSG);
	if (old.word & BTREE_WORD_OUT)
		memcpy(&out, old.tail, sizeof(out));
	ret = btree_touch(put->tree, put->path.nodes[0]);
	if (ret == 0 && btree_node_free(put_node(put, 0)) + btree_item_bytes(&old) <
			btree_item_bytes(&put->item))
		ret = spares_take(put);
	if (ret == 0 && out.offset != 0)
		ret = tp_pmem_tx_free(put->tx, out.offset);
	if (ret < 0)
		return put_undo(put, ret == -EINVAL || ret == -EALREADY ? -EBADMSG : ret);
	if (btree_item_bytes(&old) == btree_item_bytes(&put->item))
		return record_overwrite(put, &old);
	return item_put(put, at, true);
}

static int
put_new(struct put *put, uint32_t at)
{
	int ret = btree_touch(put->tree, put->path.nodes[0]);

	if (ret == 0 && btree_node_free(put_node(put, 0)) < btree_item_bytes(&put->item))
		ret = spares_take(put);
	if (ret < 0)
		return put_undo(put, ret);
	ret = item_put(put, at, false);
	return ret < 0 ? ret : count_add(put);
}

static int
put_locked(struct put *put, const void *value, uint32_t value_bytes, enum tp_pmem_btree_put mode)
{
	bool equal = false;
	uint32_t at = 0;
	int ret = btree_path_find(put->tree, &put->key, &put->path);

	if (ret < 0)
		return ret;
	if (put->path.height > 0)
		at = btree_node_search(put_node(put, 0), &put->key, &equal);
	if (equal && mode == TP_PMEM_BTREE_INSERT)
		return -EEXIST;
	if (!equal && mode == TP_PMEM_BTREE_UPDATE)
		return -ENOENT;
	ret = btree_item_make(put->tree->pool, put->tx, &put->item, &put->out, value, value_bytes);
	if (ret < 0)
		return ret;
	if (put->path.height == 0)
		return put_first(put);
	ret = equal ? put_update(put, at) : put_new(put, at);
	return ret < 0 ? ret : spares_give(put);
}

int
tp_pmem_btree_put(struct tp_pmem_btree *tree, struct tp_pmem_tx *tx, const void *key,
		  uint32_t key_bytes, const void *value, uint32_t value_bytes,
		  enum tp_pmem_btree_put mode)
{
	struct put put;
	int ret = 0;

	if (key_bytes == 0 || key_bytes > TP_PMEM_BTREE_KEY_MAX ||
			value_bytes > TP_PMEM_BTREE_VALUE_MAX || (unsigned int)mode > TP_PMEM_BTREE_UPDATE)
		return -EINVAL;
	put.tree = tree;
	put.tx = tx;
	put.spare_count = 0;
	put.item = (struct btree_item){ .key = key, .key_bytes = (uint16_t)key_bytes };
	btree_key_set(&put.key, key, key_bytes);
	if (tx == NULL)
		ret = tp_pmem_tx_begin(tree->pool, &put.tx);
	if (ret < 0)
		return ret;
	ret = btree_enter(tree, put.tx);
	if (ret == 0)
		ret = put_locked(&put, value, value_bytes, mode);
	if (tx != NULL)
		return ret;
	if (ret == 0)
		return tp_pmem_tx_commit(put.tx, 0);
	tp_pmem_tx_abort(put.tx);
	return ret;
}
