/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * B+tree: cursors. A cursor has a copy of the leaf where it is, taken with the second step
 * there, and walks in it as long as the leaf's version is what it was. At its end the
 * parent, if that is still as it was, names the neighbour; else the cursor finds its
 * way anew from the root by key. So leaves need no links to each other.
 *
 * Records lie in a leaf as they came: a walk in the view itself waits for memory at each. A
 * copy reads a leaf from begin to end, and while it is walked the next one is fetched.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <rte_prefetch.h>

#include "btree_priv.h"

enum cursor_place {
	CURSOR_NOWHERE,
	CURSOR_BEFORE,		/* of the first */
	CURSOR_HERE,
	CURSOR_AFTER,		/* the last */
};

/* The least key of what lies behind a leaf, or the least of the leaf's. */
struct cursor_bound {
	uint32_t bytes;		/* 0: there is none */
	uint8_t key[TP_PMEM_BTREE_KEY_MAX];
};

struct tp_pmem_btree_cursor {
	struct tp_pmem_btree *tree;
	enum cursor_place place;
	uint32_t index;			/* of leaf's slots */
	uint32_t count;			/* of them, if the copy is whole */
	bool is_whole;			/* the copy; else only the record of the last step is */
	bool at_is_kept;
	struct btree_ref ref;		/* of the leaf */
	struct btree_ref above;		/* of its parent; node NULL: it has none */
	uint32_t child;			/* which of the parent's it is */
	const uint8_t *ahead;		/* leaf that is fetched meanwhile; NULL: none */
	uint32_t ahead_bytes;		/* of it that are asked for */
	uint32_t ahead_step;		/* bytes to ask for with each step */
	struct btree_item item;		/* of the last step, in the copy */
	struct cursor_bound at;		/* its key, if kept: the copy may be another leaf's */
	struct cursor_bound low;
	struct cursor_bound high;
	uint8_t *value;			/* of a long one */
	size_t value_capacity;
	struct btree_key key;
	struct btree_node leaf;		/* the copy */
};

/* Where to go: by key, or to an end of the tree. */
struct cursor_target {
	const struct btree_key *key;	/* NULL: an end */
	bool back;			/* to what is at or below the key; to the last */
	bool strict;			/* not at the key itself */
};

int
tp_pmem_btree_cursor_open(struct tp_pmem_btree *tree, struct tp_pmem_btree_cursor **cursor_out)
{
	struct tp_pmem_btree_cursor *cursor = calloc(1, sizeof(*cursor));

	if (cursor == NULL)
		return -ENOMEM;
	cursor->tree = tree;
	cursor->at_is_kept = true;
	*cursor_out = cursor;
	return 0;
}

void
tp_pmem_btree_cursor_close(struct tp_pmem_btree_cursor *cursor)
{
	if (cursor == NULL)
		return;
	free(cursor->value);
	free(cursor);
}

static void
bound_set(struct cursor_bound *bound, const struct btree_node *node, uint32_t index)
{
	struct btree_item item;

	bound->bytes = 0;
	if (!btree_node_item(node, index, &item))
		return;		/* it is being changed, and what was read will not count */
	bound->bytes = item.key_bytes;
	btree_copy(bound->key, item.key, item.key_bytes);
}

static uint32_t
target_route(const struct cursor_target *target, const struct btree_node *node)
{
	if (target->key == NULL)
		return target->back ? btree_node_count(node) : 0;
	return btree_node_route(node, target->key, target->back && target->strict);
}

/* One attempt to find the leaf of a target: 0, -ENOENT: empty tree; -EBADMSG, -EAGAIN. */
static int
leaf_try(struct tp_pmem_btree_cursor *cursor, const struct cursor_target *target)
{
	struct btree_ref above, ref = { 0 };
	uint32_t height, index = 0;
	uint64_t offset = btree_root_begin(cursor->tree, false, &height, &above);
	int ret;

	cursor->low.bytes = 0;
	cursor->high.bytes = 0;
	if (height == 0)
		return btree_ref_is_valid(&above) ? -ENOENT : -EAGAIN;
	for (uint32_t level = height; level-- > 0; above = ref) {
		ref = btree_ref_begin(cursor->tree, offset, false);
		if (!btree_ref_is_valid(&above))
			return -EAGAIN;
		ret = btree_ref_verify(cursor->tree, &ref);
		if (ret < 0)
			return ret;
		if (level == 0)
			break;
		index = target_route(target, ref.node);
		if (index > 0)
			bound_set(&cursor->low, ref.node, index - 1);
		if (index < btree_node_count(ref.node))
			bound_set(&cursor->high, ref.node, index);
		offset = btree_node_child(ref.node, index);
	}
	cursor->ref = ref;
	cursor->above = above;
	cursor->child = index;
	cursor->is_whole = false;
	return 0;
}

/* Slot of the target; false: it is not in this leaf. */
static bool
leaf_place(struct tp_pmem_btree_cursor *cursor, const struct cursor_target *target)
{
	uint32_t count = btree_node_count(cursor->ref.node), index;
	bool equal;

	if (target->key == NULL) {
		cursor->index = target->back ? count - 1 : 0;
		return count > 0;
	}
	index = btree_node_search(cursor->ref.node, target->key, &equal);
	if (equal && !target->strict) {
		cursor->index = index;
		return true;
	}
	if (target->back) {
		cursor->index = index - 1;
		return index > 0;
	}
	cursor->index = equal ? index + 1 : index;
	return cursor->index < count;
}

static int
key_compare(const struct btree_key *a, const struct btree_key *b)
{
	uint32_t words = (RTE_MIN(a->bytes, b->bytes) + 7) / 8;

	for (uint32_t i = 0; i < words; i++)
		if (a->words[i] != b->words[i])
			return a->words[i] < b->words[i] ? -1 : 1;
	return a->bytes < b->bytes ? -1 : a->bytes > b->bytes;
}

/*
 * The target that lies behind the bound of a leaf without it: what begins there, or lies
 * below it. False: that is no progress, so the keys of the nodes above are out of order.
 */
static bool
target_pass(struct tp_pmem_btree_cursor *cursor, const struct cursor_bound *bound,
	    struct cursor_target *target)
{
	struct btree_key last;
	int order = target->back ? -1 : 1;

	if (target->key != NULL)
		last = *target->key;
	btree_key_set(&cursor->key, bound->key, bound->bytes);
	if (target->key != NULL) {
		int moved = key_compare(&cursor->key, &last) * order;

		if (moved < 0 || (moved == 0 && (!target->back || target->strict)))
			return false;
	}
	target->key = &cursor->key;
	target->strict = target->back;
	return true;
}

/* Go there. 0; -ENOENT: before the first, or after the last; -EBADMSG. */
static int
cursor_seek(struct tp_pmem_btree_cursor *cursor, struct cursor_target target)
{
	const struct cursor_bound *bound = target.back ? &cursor->low : &cursor->high;
	unsigned int tries = 0;
	bool is_here;
	int ret;

	for (;;) {
		ret = leaf_try(cursor, &target);
		if (ret == -EAGAIN) {
			btree_reader_relax(&tries);
			continue;
		}
		if (ret == -ENOENT)
			break;
		if (ret < 0) {
			cursor->place = CURSOR_NOWHERE;
			return ret;
		}
		is_here = leaf_place(cursor, &target);
		if (!btree_ref_is_valid(&cursor->ref))
			continue;
		if (is_here) {
			cursor->place = CURSOR_HERE;
			return 0;
		}
		if (bound->bytes == 0)
			break;
		/* In the neighbour, then. */
		if (!target_pass(cursor, bound, &target)) {
			cursor->place = CURSOR_NOWHERE;
			return pmem_error(EBADMSG, "btree: keys are out of order above the leaf at "
				"offset %" PRIu64, cursor->ref.offset);
		}
	}
	cursor->place = target.back ? CURSOR_BEFORE : CURSOR_AFTER;
	return -ENOENT;
}

/* The key of the last step, before the copy that has it becomes another. */
static void
at_keep(struct tp_pmem_btree_cursor *cursor)
{
	if (cursor->at_is_kept)
		return;
	cursor->at.bytes = cursor->item.key_bytes;
	memcpy(cursor->at.key, cursor->item.key, cursor->item.key_bytes);
	cursor->at_is_kept = true;
}

/* Copy the leaf. False: it changed meanwhile. */
static bool
leaf_take(struct tp_pmem_btree_cursor *cursor)
{
	at_keep(cursor);
	btree_node_copy(&cursor->leaf, cursor->ref.node);
	cursor->is_whole = btree_ref_is_valid(&cursor->ref);
	cursor->count = btree_node_count(&cursor->leaf);
	return cursor->is_whole;
}

/* The neighbour of the leaf below the same parent; 0: there is none, or it is not known. */
static uint64_t
neighbour_offset(const struct tp_pmem_btree_cursor *cursor, bool back)
{
	uint32_t child = cursor->child + (back ? UINT32_MAX : 1);
	uint64_t offset;

	if (cursor->above.node == NULL || child > btree_node_count(cursor->above.node))
		return 0;
	offset = btree_node_child(cursor->above.node, child);
	return btree_ref_is_valid(&cursor->above) ? offset : 0;
}

/* Begin to fetch what comes behind the leaf, which has just been copied. */
static void
ahead_begin(struct tp_pmem_btree_cursor *cursor, bool back)
{
	uint64_t offset = neighbour_offset(cursor, back);

	cursor->ahead = offset == 0 ? NULL : (const uint8_t *)btree_node_at(cursor->tree, offset);
	cursor->ahead_bytes = 0;
	cursor->ahead_step = RTE_ALIGN_CEIL(BTREE_NODE_BYTES / (cursor->count + 1),
		TP_PMEM_LINE_BYTES);
}

/* A part of it: all at once would hold up what the step itself reads. */
static void
ahead_fetch(struct tp_pmem_btree_cursor *cursor)
{
	uint32_t end = RTE_MIN(cursor->ahead_bytes + cursor->ahead_step, BTREE_NODE_BYTES);

	if (cursor->ahead == NULL)
		return;
	for (; cursor->ahead_bytes < end; cursor->ahead_bytes += TP_PMEM_LINE_BYTES)
		rte_prefetch0(cursor->ahead + cursor->ahead_bytes);
}

/* To the next leaf by way of the parent. 0, -EBADMSG; -EAGAIN: seek it. */
static int
neighbour_take(struct tp_pmem_btree_cursor *cursor, bool back)
{
	uint64_t offset = neighbour_offset(cursor, back);
	struct btree_ref ref;
	int ret;

	if (offset == 0)
		return -EAGAIN;
	ref = btree_ref_begin(cursor->tree, offset, false);
	if (!btree_ref_is_valid(&cursor->above))
		return -EAGAIN;
	ret = btree_ref_verify(cursor->tree, &ref);
	if (ret == -EBADMSG)
		cursor->place = CURSOR_NOWHERE;
	if (ret < 0)
		return ret;
	cursor->ref = ref;
	cursor->child += back ? UINT32_MAX : 1;
	if (!leaf_take(cursor) || cursor->count == 0)
		return -EAGAIN;
	cursor->index = back ? cursor->count - 1 : 0;
	ahead_begin(cursor, back);
	return 0;
}

/* A step that needs no way from the root. 0, -EBADMSG; -EAGAIN: seek it. */
static int
leaf_step(struct tp_pmem_btree_cursor *cursor, bool back)
{
	if (!btree_ref_is_valid(&cursor->ref))
		return -EAGAIN;
	if (!cursor->is_whole) {
		if (!leaf_take(cursor))
			return -EAGAIN;
		ahead_begin(cursor, back);
	}
	if (back ? cursor->index == 0 : cursor->index + 1 >= cursor->count)
		return neighbour_take(cursor, back);
	cursor->index += back ? UINT32_MAX : 1;
	ahead_fetch(cursor);
	return 0;
}

static int
cursor_step(struct tp_pmem_btree_cursor *cursor, bool back)
{
	struct cursor_target target = { .back = back, .strict = true };
	int ret;

	if (cursor->place == CURSOR_NOWHERE)
		return -EINVAL;
	if (cursor->place != CURSOR_HERE) {
		if (back != (cursor->place == CURSOR_AFTER))
			return -ENOENT;
		return cursor_seek(cursor, target);
	}
	ret = leaf_step(cursor, back);
	if (ret != -EAGAIN)
		return ret;
	at_keep(cursor);
	btree_key_set(&cursor->key, cursor->at.key, cursor->at.bytes);
	target.key = &cursor->key;
	return cursor_seek(cursor, target);
}

static int
value_reserve(struct tp_pmem_btree_cursor *cursor, uint32_t bytes)
{
	uint8_t *value;

	if (bytes <= cursor->value_capacity)
		return 0;
	value = realloc(cursor->value, bytes);
	if (value == NULL)
		return -ENOMEM;
	cursor->value = value;
	cursor->value_capacity = bytes;
	return 0;
}

/* A copy of the record where the cursor stands. -EAGAIN: the leaf has changed; -EBADMSG. */
static int
record_copy(struct tp_pmem_btree_cursor *cursor, struct btree_item *item)
{
	uint8_t *copy = (uint8_t *)&cursor->leaf;
	bool ok;

	if (cursor->is_whole)
		return btree_node_item(&cursor->leaf, cursor->index, item) ? 0 : -EBADMSG;
	at_keep(cursor);
	ok = btree_node_item(cursor->ref.node, cursor->index, item);
	if (ok) {
		copy += item->key - (const uint8_t *)cursor->ref.node;
		btree_copy(copy, item->key, (size_t)item->key_bytes + item->tail_bytes);
	}
	if (!btree_ref_is_valid(&cursor->ref))
		return -EAGAIN;
	item->key = copy;
	item->tail = copy + item->key_bytes;
	return ok ? 0 : -EBADMSG;
}

/* What the cursor stands at; as record_copy(), or -ENOMEM. */
static int
cursor_give(struct tp_pmem_btree_cursor *cursor, struct btree_item *item, const void **value,
	    uint32_t *value_bytes)
{
	struct btree_out out;
	int ret = record_copy(cursor, item);

	if (ret < 0)
		return ret;
	if ((item->word & BTREE_WORD_OUT) == 0) {
		if (value != NULL)
			*value = item->tail;
		if (value_bytes != NULL)
			*value_bytes = item->tail_bytes;
		return 0;
	}
	memcpy(&out, item->tail, sizeof(out));
	if (value_bytes != NULL)
		*value_bytes = out.bytes;
	if (value == NULL)
		return 0;
	ret = value_reserve(cursor, out.bytes);
	if (ret < 0)
		return ret;
	ret = btree_out_read(cursor->tree->pool, &out, cursor->value, out.bytes);
	if (!btree_ref_is_valid(&cursor->ref))
		return -EAGAIN;	/* and the block may be another's */
	*value = cursor->value;
	return ret;
}

static int
cursor_go(struct tp_pmem_btree_cursor *cursor, enum tp_pmem_btree_seek how, const void *seek_key,
	  uint32_t seek_key_bytes)
{
	struct cursor_target target = {
		.back = how == TP_PMEM_BTREE_LAST || how == TP_PMEM_BTREE_AT_OR_BEFORE,
	};

	switch (how) {
	case TP_PMEM_BTREE_FIRST:
	case TP_PMEM_BTREE_LAST:
		return cursor_seek(cursor, target);
	case TP_PMEM_BTREE_AT_OR_AFTER:
	case TP_PMEM_BTREE_AT_OR_BEFORE:
		if (seek_key_bytes == 0 || seek_key_bytes > TP_PMEM_BTREE_KEY_MAX)
			return -EINVAL;
		btree_key_set(&cursor->key, seek_key, seek_key_bytes);
		target.key = &cursor->key;
		return cursor_seek(cursor, target);
	case TP_PMEM_BTREE_NEXT:
	case TP_PMEM_BTREE_PREVIOUS:
		return cursor_step(cursor, how == TP_PMEM_BTREE_PREVIOUS);
	}
	return -EINVAL;
}

int
tp_pmem_btree_cursor_move(struct tp_pmem_btree_cursor *cursor, enum tp_pmem_btree_seek how,
			  const void *seek_key, uint32_t seek_key_bytes,
			  const void **key, uint32_t *key_bytes,
			  const void **value, uint32_t *value_bytes)
{
	enum cursor_place place = cursor->place;
	struct btree_item item;
	unsigned int tries = 0;
	int ret;

	while ((ret = cursor_go(cursor, how, seek_key, seek_key_bytes)) == 0) {
		ret = cursor_give(cursor, &item, value, value_bytes);
		if (ret != -EAGAIN)
			break;
		/* The step again: from its key, or from the end where it was. */
		cursor->place = place;
		cursor->ref.version = 1;
		btree_reader_relax(&tries);
	}
	if (ret < 0)
		return ret;
	cursor->item = item;
	cursor->at_is_kept = false;
	if (key != NULL)
		*key = item.key;
	if (key_bytes != NULL)
		*key_bytes = item.key_bytes;
	return 0;
}
