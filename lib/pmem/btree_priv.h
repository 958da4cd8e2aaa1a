/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Inside of the B+tree: layout of its nodes, how they are changed, and how they are
 * read beside a writer. docs/pmem.md, "B+tree", is the authority on both.
 *
 * Who writes what: the owner of the tree's lock writes nodes in the view, images and
 * stripes; readers write nothing but the bits of verified nodes.
 */
#ifndef BTREE_PRIV_H
#define BTREE_PRIV_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <rte_branch_prediction.h>
#include <rte_byteorder.h>

#include "pmem_priv.h"
#include "tp_pmem_btree.h"

static_assert(RTE_BYTE_ORDER == RTE_LITTLE_ENDIAN, "nodes are read as they lie");

#define BTREE_NODE_BYTES 4096u
#define BTREE_NODE_HEADER 32u
#define BTREE_NODE_ROOM (BTREE_NODE_BYTES - BTREE_NODE_HEADER)
#define BTREE_NODE_MAGIC 0x4254u	/* "TB" */
#define BTREE_TREE_MAGIC UINT64_C(0x3145455254425054)	/* "TPBTREE1" */
#define BTREE_HEIGHT_MAX 24u
#define BTREE_INLINE_VALUE 512u		/* longer values have a block of their own */
#define BTREE_INLINE_RECORD 1024u	/* of key and value; longer: the same */
#define BTREE_MERGE_BYTES (BTREE_NODE_ROOM / 4)	/* less in use: try to merge */
#define BTREE_ITEMS_MAX 176u		/* of a node and one more: 24 bytes each at least */
#define BTREE_KEY_WORDS (TP_PMEM_BTREE_KEY_MAX / 8 + 2)

/* On the medium. */
struct btree_node {
	rte_le32_t crc;			/* of all that follows, seeded with the offset */
	rte_le16_t magic;
	uint8_t level;			/* 0: leaf */
	uint8_t reserved;
	rte_le16_t count;		/* of slots */
	rte_le16_t prefix_bytes;	/* that all keys begin with; may be less than they share */
	rte_le16_t records_begin;	/* lowest offset of a record */
	rte_le16_t garbage_bytes;	/* of removed records over it */
	rte_le64_t tree;		/* offset of the tree */
	rte_le64_t child;		/* inner: of keys before the first slot's; leaf: 0 */
	/* In order of keys: 4 bytes of the key behind the prefix (32-63), key bytes (16-31), offset */
	rte_le64_t slots[BTREE_NODE_ROOM / 8];
};
PMEM_SIZE(struct btree_node, BTREE_NODE_BYTES);
PMEM_FIELD(struct btree_node, level, 6);
PMEM_FIELD(struct btree_node, count, 8);
PMEM_FIELD(struct btree_node, prefix_bytes, 10);
PMEM_FIELD(struct btree_node, records_begin, 12);
PMEM_FIELD(struct btree_node, garbage_bytes, 14);
PMEM_FIELD(struct btree_node, tree, 16);
PMEM_FIELD(struct btree_node, child, 24);
PMEM_FIELD(struct btree_node, slots, BTREE_NODE_HEADER);

/*
 * A record is a word, the key, in a leaf the value or where it is, and zeros up to a multiple
 * of 8. The word of an inner node: offset of the child; of a leaf: value bytes (0-31), 1
 * if the value has a block (32), key bytes (48-63).
 */
#define BTREE_WORD_OUT (UINT64_C(1) << 32)

/* In place of a long value. */
struct btree_out {
	rte_le64_t offset;
	rte_le32_t bytes;
	rte_le32_t crc;			/* of the value */
};
PMEM_SIZE(struct btree_out, 16);
PMEM_FIELD(struct btree_out, crc, 12);

struct btree_root {
	rte_le64_t offset;		/* 0: empty */
	rte_le64_t count;		/* of keys */
	rte_le32_t height;		/* levels; 0: empty */
	rte_le32_t reserved;
};
PMEM_SIZE(struct btree_root, 24);

/* What the offset of a tree names. */
struct btree_head {
	rte_le64_t magic;
	rte_le32_t crc;			/* of what follows, seeded with the offset */
	rte_le32_t reserved;
	struct btree_root main;
	struct btree_root load;		/* of an unfinished bulk load: goes when opened */
};
PMEM_SIZE(struct btree_head, 64);
PMEM_FIELD(struct btree_head, main, 16);
PMEM_FIELD(struct btree_head, load, 40);

/*
 * btree_node.c: one node, in the view, in an image or in DRAM. Functions for readers stand
 * any contents, as they may look at a node that is being changed; what they return then is
 * in range, and for nothing.
 */

/* A key as words that compare like it. */
struct btree_key {
	uint32_t bytes;
	uint64_t words[BTREE_KEY_WORDS];	/* big-endian, zeros behind the end */
};

/* A record apart from its node. */
struct btree_item {
	uint64_t word;
	const uint8_t *key;
	const uint8_t *tail;		/* value or struct btree_out */
	uint16_t key_bytes;
	uint16_t tail_bytes;
};

/* GCC's TSan would report what readers see of nodes that are being changed. */
#ifdef __SANITIZE_THREAD__
#define BTREE_RACY __attribute__((no_sanitize("thread"), noinline))
#else
#define BTREE_RACY
#endif

static inline uint32_t
btree_slot_offset(uint64_t slot)
{
	return slot & 0xffff;
}

static inline uint32_t
btree_slot_key_bytes(uint64_t slot)
{
	return slot >> 16 & 0xffff;
}

/** Bytes of a record in a node. */
static inline uint32_t
btree_record_bytes(uint32_t key_bytes, uint32_t tail_bytes)
{
	return 8 + ((key_bytes + tail_bytes + 7) & ~7u);
}

/** Bytes of key_bytes' record behind its key. */
static inline uint32_t
btree_word_tail_bytes(uint64_t word, bool leaf)
{
	if (!leaf)
		return 0;
	return word & BTREE_WORD_OUT ? sizeof(struct btree_out) : (uint32_t)word;
}

void btree_key_set(struct btree_key *key, const void *data, uint32_t bytes);

/** Copy from what may be changed meanwhile. */
void btree_copy(void *to, const void *from, size_t bytes);

/**
 * First slot whose key is not below a key.
 * @param equal  Out: it is the same.
 */
uint32_t btree_node_search(const struct btree_node *node, const struct btree_key *key, bool *equal);

/** Index of the child for a key, 0 to count; below: for what is less than it. */
uint32_t btree_node_route(const struct btree_node *node, const struct btree_key *key, bool below);
uint64_t btree_node_child(const struct btree_node *node, uint32_t index);

/** Its slots, never more than there can be. */
uint32_t btree_node_count(const struct btree_node *node);

/** Copy header, slots and records, which may be changed meanwhile. */
void btree_node_copy(struct btree_node *to, const struct btree_node *from);

/** Slot of an index as an item; false: out of the node, so not sound. */
bool btree_node_item(const struct btree_node *node, uint32_t index, struct btree_item *item);

/** Does the checksum hold, and is every record within the node? */
bool btree_node_is_sound(const struct btree_node *node, uint64_t tree, uint64_t offset);

/** Of a sound one: do slots agree with records, and records not overlap? */
bool btree_node_is_tidy(const struct btree_node *node);
void btree_node_seal(struct btree_node *node, uint64_t offset);

/** Bytes left: together, and between slots and records. */
uint32_t btree_node_free(const struct btree_node *node);
uint32_t btree_node_gap(const struct btree_node *node);

/** All records, count of them; one more fits in items. */
uint32_t btree_node_items(const struct btree_node *node, struct btree_item items[BTREE_ITEMS_MAX]);
void btree_items_insert(struct btree_item *items, uint32_t count, uint32_t at,
			const struct btree_item *item);
uint32_t btree_item_bytes(const struct btree_item *item);
uint32_t btree_items_bytes(const struct btree_item *items, uint32_t count);

/** Make a node of items, which do not lie in it, and fit. Unsealed. */
void btree_node_build(struct btree_node *node, uint32_t level, uint64_t tree, uint64_t child,
		      const struct btree_item *items, uint32_t count);

/** Would an insert at this slot leave the other slots as they are? */
bool btree_node_keeps_prefix(const struct btree_node *node, uint32_t at,
			     const struct btree_item *item);

/** Insert where btree_node_gap() has room. Unsealed. */
void btree_node_insert(struct btree_node *node, uint32_t at, const struct btree_item *item);
void btree_node_remove(struct btree_node *node, uint32_t at);

/** How many items go left, so that both sides fit; append: as many as can. */
uint32_t btree_items_split(const struct btree_item *items, uint32_t count, bool append);

/** Bytes of the shortest key that is above left and not above right. */
uint32_t btree_separator_bytes(const struct btree_item *left, const struct btree_item *right);

/*
 * btree_view.c: what readers see.
 */
#define BTREE_STRIPES 4096u

/* A node as it was before the open transaction changed it. Memory stays one until closing. */
struct btree_image {
	struct btree_node node;
	_Atomic uint64_t offset;
	_Atomic(struct btree_image *) next;
	struct btree_image *next_free;		/* writer's */
};

/* Nodes by hash of their offset. Writer: owner of the lock. */
struct btree_stripe {
	_Atomic uint64_t version;		/* odd: do not look */
	_Atomic(struct btree_image *) images;
};

/* A node that the open transaction changed, made or freed. */
struct btree_touched {
	uint64_t offset;
	struct btree_image *image;		/* NULL: it has none to show */
	uint32_t next;				/* in its stripe, + 1 */
	bool again;				/* a second change */
	bool covered;				/* all of it, by the outermost level */
};

/* Nodes that were looked at since the tree was opened: a bit each. */
struct btree_seen {
	_Atomic uint64_t *words;
	size_t bytes;
};

struct tp_pmem_btree {
	struct tp_pmem_pool *pool;
	uint64_t offset;
	struct btree_seen seen;
	struct btree_stripe *stripes;

	/* Committed: writer: who publishes. */
	PMEM_LINE_ALIGNED struct btree_stripe root_stripe;
	_Atomic uint64_t root;
	_Atomic uint32_t height;
	_Atomic uint64_t count;

	/* Owner of the lock. */
	PMEM_LINE_ALIGNED struct pmem_lock lock;
	_Atomic(const struct tp_pmem_tx *) owner;
	struct btree_touched *touched;
	uint32_t touched_count;
	uint32_t touched_capacity;
	uint32_t *touched_heads;		/* of each stripe, + 1; 0: none */
	struct btree_image *images_free;
	void **slabs;
	uint32_t slab_count;
};

/* A node being read. */
struct btree_ref {
	const struct btree_node *node;
	const struct btree_stripe *stripe;	/* NULL: own view, nobody else changes it */
	uint64_t version;
	uint64_t offset;
};

int btree_view_init(struct tp_pmem_btree *tree);
void btree_view_fini(struct tp_pmem_btree *tree);

/** A node as committed, or as in the view for who holds the lock. */
struct btree_ref btree_ref_begin(struct tp_pmem_btree *tree, uint64_t offset, bool own);

/** Was what has been read of it the node? */
bool btree_ref_is_valid(const struct btree_ref *ref);

/** Look at its checksum if nobody did: 0, -EBADMSG, -EAGAIN: changed meanwhile. */
int btree_ref_verify(struct tp_pmem_btree *tree, const struct btree_ref *ref);

/** Root and height, and a ref that guards them (its node is NULL). */
uint64_t btree_root_begin(struct tp_pmem_btree *tree, bool own, uint32_t *height,
			  struct btree_ref *ref);

/** After a failed attempt. */
void btree_reader_relax(unsigned int *tries);

/**
 * Show readers this node as it is now until the transaction has ended, so that it may be
 * changed. 0, -ENOMEM.
 */
int btree_touch(struct tp_pmem_btree *tree, uint64_t offset);

/** A node that this transaction made or freed. 0, -ENOMEM. */
int btree_touch_new(struct tp_pmem_btree *tree, uint64_t offset);

/** Cover bytes of a touched node. 0, -ENOMEM. */
int btree_cover(struct tp_pmem_btree *tree, struct tp_pmem_tx *tx, uint64_t offset, uint32_t begin,
		uint32_t end);

/** Readers see what the view has: the transaction ended. */
void btree_publish(struct tp_pmem_btree *tree);

/*
 * btree.c
 */

/* The way to a leaf: node of each level, and the child that was taken there. */
struct btree_path {
	uint64_t nodes[BTREE_HEIGHT_MAX];	/* [0]: the leaf */
	uint32_t children[BTREE_HEIGHT_MAX];
	uint32_t height;
};

static inline struct btree_node *
btree_node_at(const struct tp_pmem_btree *tree, uint64_t offset)
{
	return tp_pmem_ptr(tree->pool, offset);
}

static inline struct btree_head *
btree_head_at(const struct tp_pmem_btree *tree)
{
	return tp_pmem_ptr(tree->pool, tree->offset);
}

/** Take the tree for a transaction until that ends. 0, -ENOMEM. */
int btree_enter(struct tp_pmem_btree *tree, struct tp_pmem_tx *tx);

/** Way to the leaf of a key, in the view. 0, -EBADMSG; height 0: the tree is empty. */
int btree_path_find(struct tp_pmem_btree *tree, const struct btree_key *key,
		    struct btree_path *path);

/** Change the head. 0, -ENOMEM. */
int btree_head_set(struct tp_pmem_btree *tree, struct tp_pmem_tx *tx, const struct btree_root *main,
		   const struct btree_root *load);
uint32_t btree_head_crc(const struct btree_head *head, uint64_t offset);

/** 0, -EINVAL: no tree there; -EBADMSG. */
int btree_head_verify(const struct tp_pmem_pool *pool, uint64_t offset);

/**
 * Copy a value that has a block.
 * @return 0; -EBADMSG: not what was stored there, or the tree has changed.
 */
int btree_out_read(const struct tp_pmem_pool *pool, const struct btree_out *out, void *value,
		   uint32_t capacity);

/** New node of the open transaction. 0, -ENOSPC, -ENOMEM. */
int btree_node_new(struct tp_pmem_btree *tree, struct tp_pmem_tx *tx, uint64_t *offset);

/** Copy a node that was built elsewhere over a touched one, and seal it. 0, -ENOMEM. */
int btree_node_replace(struct tp_pmem_btree *tree, struct tp_pmem_tx *tx, uint64_t offset,
		       const struct btree_node *from);

/** Free a node. 0, -ENOMEM: the transaction can only be aborted. */
int btree_node_free_block(struct tp_pmem_btree *tree, struct tp_pmem_tx *tx, uint64_t offset);

/*
 * btree_put.c
 */

/** A leaf's item; a long value gets its block. 0, -ENOSPC, -ENOMEM. */
int btree_item_make(struct tp_pmem_pool *pool, struct tp_pmem_tx *tx, struct btree_item *item,
		    struct btree_out *out, const void *value, uint32_t value_bytes);

/*
 * btree_walk.c: all of a tree.
 */

/** Free everything below a root. 0, -EBADMSG: nothing freed; -ENOMEM. */
int btree_free_below(struct tp_pmem_tx *tx, uint64_t tree, const struct btree_root *root);

#endif /* BTREE_PRIV_H */
