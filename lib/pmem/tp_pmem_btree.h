/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A B+tree in a pool: keys and values of any length, in order of memcmp() (a key that
 * is a prefix of another comes first), changed by transactions.
 * docs/pmem.md, "B+tree".
 *
 * A tree lasts at an offset; to use it, open it: the handle has the lock. Changes of
 * one tree exclude each other until their transaction has ended; reads run
 * beside them and each other, and see only what is committed. So a thread that has changed
 * a tree in an open transaction must not change it in another one, and those that change
 * several trees in a transaction do so in the same order.
 */
#ifndef TP_PMEM_BTREE_H
#define TP_PMEM_BTREE_H

#include "tp_pmem_tx.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TP_PMEM_BTREE_KEY_MAX 1024u		/* bytes; a key has at least 1 */
#define TP_PMEM_BTREE_VALUE_MAX (UINT32_C(1) << 30)

struct tp_pmem_btree;

/**
 * Make an empty tree; store its offset somewhere, or it leaks.
 *
 * @return 0; with offset_out untouched: -ENOSPC, -ENOMEM.
 * @threads Owner of tx.
 */
int tp_pmem_btree_create(struct tp_pmem_tx *tx, uint64_t *offset_out);

/**
 * Free a tree and everything in it. No handle may be open.
 *
 * @return
 *   0; -EINVAL: no tree there; -EBADMSG: damaged, nothing freed; -ENOMEM: then the
 *   transaction can only be aborted.
 */
int tp_pmem_btree_destroy(struct tp_pmem_tx *tx, uint64_t offset);

/**
 * Open the tree at an offset. One handle of a tree at a time.
 *
 * @return 0; with tree_out untouched: -EINVAL: no tree there; -EBADMSG: damaged; -ENOMEM.
 * @threads Any.
 */
int tp_pmem_btree_open(struct tp_pmem_pool *pool, uint64_t offset, struct tp_pmem_btree **tree_out);

/** NULL is fine. @threads One, with no call on the tree and no transaction that changed it. */
void tp_pmem_btree_close(struct tp_pmem_btree *tree);

enum tp_pmem_btree_put {
	TP_PMEM_BTREE_UPSERT = 0,
	TP_PMEM_BTREE_INSERT = 1,	/* the key must be new */
	TP_PMEM_BTREE_UPDATE = 2,	/* the key must be there */
};

/**
 * Insert or change.
 *
 * @param tx
 *   NULL: a transaction of its own, durable on return. Else the tree stays locked for other
 *   changes until tx has ended.
 * @return
 *   0, or with nothing changed:
 *   - -EEXIST, -ENOENT: what the mode demands.
 *   - -EINVAL: length of key or value.
 *   - -EBADMSG: a node on the way is damaged.
 *   - -ENOSPC, -ENOMEM, -EROFS, -EIO.
 * @threads Any.
 * @cost    With tx NULL one fence, two when nodes split. Each node is copied to DRAM before
 *          the transaction's first change of it, so that readers keep what is committed.
 */
int tp_pmem_btree_put(struct tp_pmem_btree *tree, struct tp_pmem_tx *tx, const void *key,
		      uint32_t key_bytes, const void *value, uint32_t value_bytes,
		      enum tp_pmem_btree_put mode);

/**
 * Remove a key; nodes that get too empty are merged.
 *
 * @return
 *   0, or with nothing changed: -ENOENT, -EINVAL, -EBADMSG, -ENOSPC: with tx NULL, as
 *   tp_pmem_tx_commit(); -ENOMEM, -EROFS, -EIO.
 * @threads Any.
 * @cost    With tx NULL one fence. Allocates nothing.
 */
int tp_pmem_btree_delete(struct tp_pmem_btree *tree, struct tp_pmem_tx *tx, const void *key,
			 uint32_t key_bytes);

/**
 * Copy a value out.
 *
 * @param tx
 *   NULL, or the open transaction whose own changes shall be seen.
 * @param capacity
 *   Of value; the first capacity bytes are copied.
 * @return
 *   Bytes of the whole value; -ENOENT, -EINVAL, -EBADMSG.
 * @threads Any, beside changes.
 * @cost    No lock; stores nothing, but a bit at the first look at a node since opening, whose
 *          checksum is verified then. That of a long value is every time.
 */
int64_t tp_pmem_btree_get(struct tp_pmem_btree *tree, const struct tp_pmem_tx *tx, const void *key,
			  uint32_t key_bytes, void *value, uint32_t capacity);

/** Keys in the tree. @threads Any. */
uint64_t tp_pmem_btree_count(const struct tp_pmem_btree *tree);

/*
 * Cursors: walk in order, both ways. Each step sees a key that was in the tree at
 * one moment of the step; keys there all the time are seen once.
 */
struct tp_pmem_btree_cursor;

/** 0, -ENOMEM. */
int tp_pmem_btree_cursor_open(struct tp_pmem_btree *tree, struct tp_pmem_btree_cursor **cursor_out);
void tp_pmem_btree_cursor_close(struct tp_pmem_btree_cursor *cursor);

enum tp_pmem_btree_seek {
	TP_PMEM_BTREE_FIRST,
	TP_PMEM_BTREE_LAST,
	TP_PMEM_BTREE_AT_OR_AFTER,
	TP_PMEM_BTREE_AT_OR_BEFORE,
	TP_PMEM_BTREE_NEXT,		/* from where the cursor is; the key is not looked at */
	TP_PMEM_BTREE_PREVIOUS,
};

/**
 * Move a cursor, and give a copy of what is there.
 *
 * @param key, value
 *   Out, may be NULL: borrowed until the next call on the cursor.
 * @return
 *   0; -ENOENT: nothing there, the cursor is before the first or after the last; -EINVAL:
 *   not placed yet, or length of seek_key; -EBADMSG, -ENOMEM.
 * @threads Owner of the cursor, beside changes and other cursors.
 */
int tp_pmem_btree_cursor_move(struct tp_pmem_btree_cursor *cursor, enum tp_pmem_btree_seek how,
			      const void *seek_key, uint32_t seek_key_bytes,
			      const void **key, uint32_t *key_bytes,
			      const void **value, uint32_t *value_bytes);

/**
 * Next pair of a bulk load, in rising order of keys.
 *
 * @return 1: there is one; 0: end; -errno: give up.
 */
typedef int tp_pmem_btree_source_fn(void *context, const void **key, uint32_t *key_bytes,
				    const void **value, uint32_t *value_bytes);

/**
 * Fill an empty tree bottom up, in several transactions; the tree appears by the last.
 *
 * @param fill
 *   How full to make nodes, percent, 50 to 100.
 * @return
 *   0, or with the tree empty and nothing leaked: -ENOTEMPTY; -EINVAL: fill, a length, or
 *   keys that do not rise; the source's errno; -ENOSPC, -ENOMEM, -EIO.
 */
int tp_pmem_btree_bulk_load(struct tp_pmem_btree *tree, unsigned int fill,
			    tp_pmem_btree_source_fn *source, void *context);

/**
 * Look at every node: checksums, order, fill, links, blocks.
 *
 * @return Findings; 0: sound; -ENOMEM.
 * @threads Any, without changes meanwhile.
 */
int tp_pmem_btree_check(struct tp_pmem_btree *tree, tp_pmem_check_fn *found, void *context);

#ifdef __cplusplus
}
#endif

#endif /* TP_PMEM_BTREE_H */
