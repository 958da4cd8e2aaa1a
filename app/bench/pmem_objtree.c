/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A B+tree on libpmemobj for comparison: as good as one makes it with transactions that log
 * what they overwrite. Nodes of 32; the pairs of a leaf lie in any order, and a line of
 * indices says in which one they are to be read. So an insert stores a pair where none was,
 * which needs no undo, and logs that line only. Leaves are linked, freed when they are
 * empty, and never merged. One thread, no locks, and what is read is not copied.
 */
#include "pmem_btree.h"

#ifdef BENCH_LIBPMEMOBJ

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <libpmemobj.h>

#define NODE_PAIRS 32u
#define NODE_KEYS (NODE_PAIRS - 1)
#define TREE_LEVELS_MAX 16u
#define KEY_BYTES BENCH_BTREE_KEY_BYTES

struct pair {
	uint8_t key[KEY_BYTES];
	uint8_t value[BENCH_BTREE_VALUE_BYTES];
};

struct leaf {
	uint32_t used;			/* pairs, a bit each */
	uint32_t count;
	uint8_t order[NODE_PAIRS];
	uint64_t next;			/* offsets in the pool; 0: none */
	uint64_t previous;
	struct pair pairs[NODE_PAIRS];
};
#define LEAF_HEAD_BYTES offsetof(struct leaf, next)

struct inner {
	uint32_t count;			/* of keys; children are one more */
	uint32_t reserved;
	uint8_t keys[NODE_KEYS][KEY_BYTES];
	uint64_t children[NODE_PAIRS];
};

struct tree_root {
	uint64_t node;			/* 0: empty */
	uint64_t first;			/* leaf */
	uint32_t levels;		/* of inner nodes */
};

struct objtree {
	PMEMobjpool *pool;
	struct tree_root *root;
	const struct leaf *leaf;	/* where a scan is; NULL: at the begin */
	uint32_t index;
};

struct path {
	struct inner *nodes[TREE_LEVELS_MAX];	/* the root first */
	uint32_t children[TREE_LEVELS_MAX];
};

static void *
at(const struct objtree *tree, uint64_t offset)
{
	return offset == 0 ? NULL : (uint8_t *)tree->pool + offset;
}

/* Within a transaction, which libpmemobj aborts where it fails. */
static void *
node_new(const struct objtree *tree, size_t bytes, uint64_t *offset)
{
	*offset = pmemobj_tx_alloc(bytes, 0).off;
	return at(tree, *offset);
}

static void
node_free(const struct objtree *tree, uint64_t offset)
{
	PMEMoid id = pmemobj_oid(at(tree, offset));

	pmemobj_tx_free(id);
}

static void
word_set(uint64_t *word, uint64_t value)
{
	pmemobj_tx_add_range_direct(word, sizeof(*word));
	*word = value;
}

/* Child of a key: the first behind a key above it. */
static uint32_t
inner_route(const struct inner *node, const void *key)
{
	uint32_t low = 0, high = node->count;

	while (low < high) {
		uint32_t middle = (low + high) / 2;

		if (memcmp(node->keys[middle], key, KEY_BYTES) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static uint32_t
leaf_search(const struct leaf *leaf, const void *key, bool *equal)
{
	uint32_t low = 0, high = leaf->count;

	while (low < high) {
		uint32_t middle = (low + high) / 2;
		int order = memcmp(leaf->pairs[leaf->order[middle]].key, key, KEY_BYTES);

		if (order == 0) {
			*equal = true;
			return middle;
		}
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	*equal = false;
	return low;
}

static struct leaf *
leaf_find(const struct objtree *tree, const void *key, struct path *path)
{
	uint64_t offset = tree->root->node;

	for (uint32_t level = 0; level < tree->root->levels; level++) {
		struct inner *node = at(tree, offset);
		uint32_t child = inner_route(node, key);

		if (path != NULL) {
			path->nodes[level] = node;
			path->children[level] = child;
		}
		offset = node->children[child];
	}
	return at(tree, offset);
}

static void
root_grow(struct objtree *tree, const uint8_t *key, uint64_t right)
{
	uint64_t offset;
	struct inner *node = node_new(tree, sizeof(*node), &offset);

	node->count = 1;
	memcpy(node->keys[0], key, KEY_BYTES);
	node->children[0] = tree->root->node;
	node->children[1] = right;
	pmemobj_tx_add_range_direct(tree->root, sizeof(*tree->root));
	tree->root->node = offset;
	tree->root->levels++;
}

/* A key and the child at its right, where they belong. Room is there. */
static void
inner_put(struct inner *node, uint32_t place, const uint8_t *key, uint64_t right)
{
	memmove(node->keys[place + 1], node->keys[place], (node->count - place) * KEY_BYTES);
	memmove(node->children + place + 2, node->children + place + 1,
		(node->count - place) * sizeof(uint64_t));
	memcpy(node->keys[place], key, KEY_BYTES);
	node->children[place + 1] = right;
	node->count++;
}

/* The upper half of a full node moves. The key between both goes up. */
static uint64_t
inner_split(struct objtree *tree, struct inner *node, uint32_t place, uint8_t *key, uint64_t right)
{
	const uint32_t middle = NODE_KEYS / 2;
	uint8_t up[KEY_BYTES];
	uint64_t offset;
	struct inner *other = node_new(tree, sizeof(*other), &offset);

	other->count = NODE_KEYS - middle - 1;
	memcpy(up, node->keys[middle], KEY_BYTES);
	memcpy(other->keys, node->keys[middle + 1], other->count * KEY_BYTES);
	memcpy(other->children, node->children + middle + 1,
		(other->count + 1) * sizeof(uint64_t));
	node->count = middle;
	if (place <= middle)
		inner_put(node, place, key, right);
	else
		inner_put(other, place - middle - 1, key, right);
	memcpy(key, up, KEY_BYTES);
	return offset;
}

static void
parents_put(struct objtree *tree, const struct path *path, uint8_t *key, uint64_t right)
{
	for (uint32_t level = tree->root->levels; level-- > 0;) {
		struct inner *node = path->nodes[level];

		pmemobj_tx_add_range_direct(node, sizeof(*node));
		if (node->count < NODE_KEYS) {
			inner_put(node, path->children[level], key, right);
			return;
		}
		right = inner_split(tree, node, path->children[level], key, right);
	}
	root_grow(tree, key, right);
}

/* The upper half of a full leaf moves to a new one, whose first key becomes *key. */
static struct leaf *
leaf_split(struct objtree *tree, struct leaf *leaf, uint8_t *key, uint64_t *offset)
{
	const uint32_t half = NODE_PAIRS / 2;
	struct leaf *right = node_new(tree, sizeof(*right), offset);
	struct leaf *next = at(tree, leaf->next);

	memset(right, 0, offsetof(struct leaf, pairs));
	pmemobj_tx_add_range_direct(leaf, offsetof(struct leaf, pairs));
	for (uint32_t i = 0; i < half; i++) {
		uint32_t from = leaf->order[half + i];

		right->pairs[i] = leaf->pairs[from];
		right->order[i] = (uint8_t)i;
		right->used |= 1u << i;
		leaf->used &= ~(1u << from);
	}
	right->count = half;
	leaf->count = half;
	right->next = leaf->next;
	right->previous = pmemobj_oid(leaf).off;
	leaf->next = *offset;
	if (next != NULL)
		word_set(&next->previous, *offset);
	memcpy(key, right->pairs[0].key, KEY_BYTES);
	return right;
}

static void
leaf_put(struct leaf *leaf, uint32_t place, const void *key, const void *value)
{
	uint32_t free_at = (uint32_t)__builtin_ctz(~leaf->used);
	struct pair *pair = &leaf->pairs[free_at];

	/* Nothing is there that an abort would have to put back. */
	pmemobj_tx_xadd_range_direct(pair, sizeof(*pair), POBJ_XADD_NO_SNAPSHOT);
	memcpy(pair->key, key, KEY_BYTES);
	memcpy(pair->value, value, sizeof(pair->value));
	pmemobj_tx_add_range_direct(leaf, LEAF_HEAD_BYTES);
	memmove(leaf->order + place + 1, leaf->order + place, leaf->count - place);
	leaf->order[place] = (uint8_t)free_at;
	leaf->used |= 1u << free_at;
	leaf->count++;
}

static int
tree_insert(struct objtree *tree, const void *key, const void *value)
{
	uint8_t separator[KEY_BYTES];
	struct path path;
	struct leaf *leaf;
	uint64_t offset;
	uint32_t place;
	bool equal;

	if (tree->root->node == 0) {
		leaf = node_new(tree, sizeof(*leaf), &offset);
		memset(leaf, 0, offsetof(struct leaf, pairs));
		pmemobj_tx_add_range_direct(tree->root, sizeof(*tree->root));
		*tree->root = (struct tree_root){ offset, offset, 0 };
	}
	leaf = leaf_find(tree, key, &path);
	place = leaf_search(leaf, key, &equal);
	if (equal)
		return -EEXIST;
	if (leaf->count == NODE_PAIRS) {
		struct leaf *right = leaf_split(tree, leaf, separator, &offset);

		leaf = memcmp(key, separator, KEY_BYTES) < 0 ? leaf : right;
		parents_put(tree, &path, separator, offset);
		place = leaf_search(leaf, key, &equal);
	}
	leaf_put(leaf, place, key, value);
	return 0;
}

/* An empty leaf goes, and each inner node that has no child left. */
static void
leaf_drop(struct objtree *tree, struct leaf *leaf, const struct path *path)
{
	struct leaf *next = at(tree, leaf->next), *previous = at(tree, leaf->previous);
	uint32_t level = tree->root->levels;

	if (previous != NULL)
		word_set(&previous->next, leaf->next);
	else
		word_set(&tree->root->first, leaf->next);
	if (next != NULL)
		word_set(&next->previous, leaf->previous);
	node_free(tree, pmemobj_oid(leaf).off);
	while (level-- > 0) {
		struct inner *node = path->nodes[level];
		uint32_t child = path->children[level], key = child > 0 ? child - 1 : 0;

		if (node->count == 0) {
			node_free(tree, pmemobj_oid(node).off);
			continue;
		}
		pmemobj_tx_add_range_direct(node, sizeof(*node));
		memmove(node->keys[key], node->keys[key + 1], (node->count - key - 1) * KEY_BYTES);
		memmove(node->children + child, node->children + child + 1,
			(node->count - child) * sizeof(uint64_t));
		node->count--;
		return;
	}
	pmemobj_tx_add_range_direct(tree->root, sizeof(*tree->root));
	*tree->root = (struct tree_root){ 0 };
}

static int
tree_delete(struct objtree *tree, const void *key)
{
	struct leaf *leaf;
	struct path path;
	uint32_t place;
	bool equal;

	if (tree->root->node == 0)
		return -ENOENT;
	leaf = leaf_find(tree, key, &path);
	place = leaf_search(leaf, key, &equal);
	if (!equal)
		return -ENOENT;
	if (leaf->count == 1) {
		leaf_drop(tree, leaf, &path);
		return 0;
	}
	pmemobj_tx_add_range_direct(leaf, LEAF_HEAD_BYTES);
	leaf->used &= ~(1u << leaf->order[place]);
	memmove(leaf->order + place, leaf->order + place + 1, leaf->count - place - 1);
	leaf->count--;
	return 0;
}

static void
objtree_close(void *store)
{
	struct objtree *tree = store;

	pmemobj_close(tree->pool);
	free(tree);
}

static int
objtree_open(const char *path, uint64_t key_count, void **store)
{
	struct objtree *tree = calloc(1, sizeof(*tree));

	if (tree == NULL)
		return -ENOMEM;
	tree->pool = pmemobj_create(path, "btree", key_count * 512, 0600);
	if (tree->pool == NULL) {
		free(tree);
		return -errno;
	}
	tree->root = pmemobj_direct(pmemobj_root(tree->pool, sizeof(*tree->root)));
	*store = tree;
	return tree->root == NULL ? -ENOMEM : 0;
}

static int
objtree_insert(void *store, const uint8_t (*keys)[BENCH_BTREE_KEY_BYTES], unsigned int count,
	       const void *value)
{
	struct objtree *tree = store;
	volatile int ret = 0;

	TX_BEGIN(tree->pool) {
		for (unsigned int i = 0; i < count && ret == 0; i++)
			ret = tree_insert(tree, keys[i], value);
	} TX_ONABORT {
		ret = -EIO;
	} TX_END
	return ret;
}

static int
objtree_delete(void *store, const void *key)
{
	struct objtree *tree = store;
	volatile int ret = 0;

	TX_BEGIN(tree->pool) {
		ret = tree_delete(tree, key);
	} TX_ONABORT {
		ret = -EIO;
	} TX_END
	return ret;
}

static int
objtree_get(void *store, const uint8_t (*keys)[BENCH_BTREE_KEY_BYTES], unsigned int count,
	    void *value)
{
	struct objtree *tree = store;

	for (unsigned int i = 0; i < count; i++) {
		const struct leaf *leaf = leaf_find(tree, keys[i], NULL);
		bool equal = false;
		uint32_t place = leaf == NULL ? 0 : leaf_search(leaf, keys[i], &equal);

		if (!equal)
			return -EIO;
		memcpy(value, leaf->pairs[leaf->order[place]].value, BENCH_BTREE_VALUE_BYTES);
	}
	return 0;
}

static int
objtree_scan(void *store, unsigned int count, uint64_t *sum)
{
	struct objtree *tree = store;

	for (unsigned int i = 0; i < count; i++) {
		const struct pair *pair;

		if (tree->leaf != NULL && tree->index == tree->leaf->count) {
			tree->leaf = at(tree, tree->leaf->next);
			tree->index = 0;
		}
		if (tree->leaf == NULL) {
			tree->leaf = at(tree, tree->root->first);
			tree->index = 0;
		}
		if (tree->leaf == NULL)
			return -ENOENT;
		pair = &tree->leaf->pairs[tree->leaf->order[tree->index++]];
		*sum += pair->key[0] + pair->value[0];
	}
	return 0;
}

const struct bench_btree_side bench_btree_libpmemobj = {
	.name = "libpmemobj",
	.open = objtree_open,
	.close = objtree_close,
	.insert = objtree_insert,
	.delete = objtree_delete,
	.get = objtree_get,
	.scan = objtree_scan,
};

#else
const struct bench_btree_side bench_btree_libpmemobj = { .name = "libpmemobj" };
#endif
