/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Reading a B+tree beside its writer: docs/pmem.md, "Readers".
 *
 * How it works. The writer changes nodes in the view, long before they are
 * committed. Before the first change of a node it shows readers an image, a
 * copy in DRAM; when the transaction has ended it takes all images away at once. A
 * reader notes the version of the node's stripe, looks for an image, reads it or
 * the view, and looks whether the version is still the same; if not, what it
 * read means nothing and it begins again.
 *
 * Versions are odd only while the writer turns the switch: some hundred
 * instructions, never over a fence or a system call. Nothing is ever unmapped that
 * a reader may look at, so there is nothing to wait for before memory is used
 * again: the version tells. That is why no RCU is needed here.
 *
 * From a node to its child: begin with the child, then ask whether the parent is
 * still valid. All versions of a transaction are odd before the first image goes, so
 * nobody sees a parent as it was and its child as it is (after Leis et al., "The ART of
 * Practical Synchronization", DaMoN 2016: optimistic lock coupling).
 */
#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <rte_atomic.h>
#include <rte_pause.h>

#include "btree_priv.h"

#define VIEW_SLAB_IMAGES 64u
#define VIEW_SPINS 64u

/*
 * A fence in words that a TSan build accepts: it knows none, and what they order here
 * are atomics, which it follows by themselves.
 */
static inline void
view_fence_acquire(void)
{
	rte_smp_rmb();
}

static inline uint32_t
stripe_index(uint64_t offset)
{
	return (uint32_t)(offset / BTREE_NODE_BYTES * UINT64_C(0x9e3779b97f4a7c15) >> 52) %
		BTREE_STRIPES;
}

int
btree_view_init(struct tp_pmem_btree *tree)
{
	/* Virtual memory for as far as a pool may grow; what is touched is a bit a node. */
	tree->seen.bytes = TP_PMEM_POOL_BYTES_MAX / BTREE_NODE_BYTES / 8;
	tree->stripes = calloc(BTREE_STRIPES, sizeof(*tree->stripes));
	tree->touched_heads = calloc(BTREE_STRIPES, sizeof(*tree->touched_heads));
	if (tree->stripes == NULL || tree->touched_heads == NULL)
		goto free_stripes;
	tree->seen.words = mmap(NULL, tree->seen.bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (tree->seen.words == MAP_FAILED)
		goto free_stripes;
	return 0;

free_stripes:
	free(tree->stripes);
	free(tree->touched_heads);
	return -ENOMEM;
}

void
btree_view_fini(struct tp_pmem_btree *tree)
{
	munmap(tree->seen.words, tree->seen.bytes);
	for (uint32_t i = 0; i < tree->slab_count; i++)
		free(tree->slabs[i]);
	free(tree->slabs);
	free(tree->touched);
	free(tree->touched_heads);
	free(tree->stripes);
}

/*
 * Readers.
 */

void
btree_reader_relax(unsigned int *tries)
{
	rte_pause();
	if (++*tries % VIEW_SPINS == 0)
		sched_yield();
}

/* The even version of a stripe. */
static uint64_t
stripe_begin(const struct btree_stripe *stripe)
{
	unsigned int tries = 0;

	for (;;) {
		/* acquire: pairs with the releases in stripe_close(): what was published */
		uint64_t version = atomic_load_explicit(&stripe->version, memory_order_acquire);

		if (likely((version & 1) == 0))
			return version;
		btree_reader_relax(&tries);
	}
}

bool
btree_ref_is_valid(const struct btree_ref *ref)
{
	if (ref->stripe == NULL)
		return true;
	view_fence_acquire();	/* what was read is before this; pairs with stripe_open() */
	return atomic_load_explicit(&ref->stripe->version, memory_order_relaxed) == ref->version;
}

struct btree_ref
btree_ref_begin(struct tp_pmem_btree *tree, uint64_t offset, bool own)
{
	struct btree_stripe *stripe = &tree->stripes[stripe_index(offset)];
	struct btree_ref ref = { .node = btree_node_at(tree, offset), .offset = offset };
	struct btree_image *image;

	if (own)
		return ref;
	ref.stripe = stripe;
again:
	ref.version = stripe_begin(stripe);
	/* acquire: pairs with the release in image_show() */
	image = atomic_load_explicit(&stripe->images, memory_order_acquire);
	while (unlikely(image != NULL)) {
		if (atomic_load_explicit(&image->offset, memory_order_acquire) == offset) {
			ref.node = &image->node;
			break;
		}
		image = atomic_load_explicit(&image->next, memory_order_acquire);
		if (!btree_ref_is_valid(&ref))	/* images move to other lists then */
			goto again;
	}
	return ref;
}

uint64_t
btree_root_begin(struct tp_pmem_btree *tree, bool own, uint32_t *height, struct btree_ref *ref)
{
	const struct btree_root *root = &btree_head_at(tree)->main;

	*ref = (struct btree_ref){ .offset = tree->offset };
	if (own) {
		*height = root->height;
		return root->offset;
	}
	ref->stripe = &tree->root_stripe;
	ref->version = stripe_begin(ref->stripe);
	*height = atomic_load_explicit(&tree->height, memory_order_relaxed);
	return atomic_load_explicit(&tree->root, memory_order_relaxed);
}

/* The word and bit of a node. */
static _Atomic uint64_t *
seen_word(struct tp_pmem_btree *tree, uint64_t offset, uint64_t *bit)
{
	uint64_t node = offset / BTREE_NODE_BYTES;

	*bit = UINT64_C(1) << node % 64;
	return &tree->seen.words[node / 64];
}

static bool
seen_verify(struct tp_pmem_btree *tree, const struct btree_ref *ref)
{
	struct tp_pmem_pool_info info;

	tp_pmem_pool_info_get(tree->pool, &info);
	return ref->offset + BTREE_NODE_BYTES <= info.bytes &&
		btree_node_is_sound(ref->node, tree->offset, ref->offset);
}

int
btree_ref_verify(struct tp_pmem_btree *tree, const struct btree_ref *ref)
{
	_Atomic uint64_t *word;
	uint64_t bit;

	if (unlikely(ref->offset == 0 || ref->offset % BTREE_NODE_BYTES != 0 ||
			ref->offset >= TP_PMEM_POOL_BYTES_MAX))
		return btree_ref_is_valid(ref) ? -EBADMSG : -EAGAIN;
	word = seen_word(tree, ref->offset, &bit);
	/* relaxed: says something about the medium, orders nothing */
	if (likely(atomic_load_explicit(word, memory_order_relaxed) & bit))
		return 0;
	if (!seen_verify(tree, ref)) {
		if (!btree_ref_is_valid(ref))
			return -EAGAIN;
		return pmem_error(EBADMSG, "btree: node at offset %" PRIu64 " is damaged",
			ref->offset);
	}
	if (!btree_ref_is_valid(ref))
		return -EAGAIN;
	atomic_fetch_or_explicit(word, bit, memory_order_relaxed);
	return 0;
}

/*
 * The writer.
 */

static void
stripe_open(struct btree_stripe *stripe)
{
	uint64_t version = atomic_load_explicit(&stripe->version, memory_order_relaxed);

	if (version & 1)
		return;
	/* acquire: nothing of what follows before this; pairs with btree_ref_is_valid() */
	atomic_exchange_explicit(&stripe->version, version + 1, memory_order_acq_rel);
}

static void
stripe_close(struct btree_stripe *stripe)
{
	uint64_t version = atomic_load_explicit(&stripe->version, memory_order_relaxed);

	/* release: pairs with the acquire in stripe_begin() */
	if (version & 1)
		atomic_store_explicit(&stripe->version, version + 1, memory_order_release);
}

static int
images_add(struct tp_pmem_btree *tree)
{
	struct btree_image *slab;
	void **slabs = realloc(tree->slabs, (tree->slab_count + 1) * sizeof(*slabs));

	if (slabs == NULL)
		return -ENOMEM;
	tree->slabs = slabs;
	slab = calloc(VIEW_SLAB_IMAGES, sizeof(*slab));
	if (slab == NULL)
		return -ENOMEM;
	tree->slabs[tree->slab_count++] = slab;
	for (uint32_t i = 0; i < VIEW_SLAB_IMAGES; i++) {
		slab[i].next_free = tree->images_free;
		tree->images_free = &slab[i];
	}
	return 0;
}

/* From here on readers see this copy. */
static struct btree_image *
image_show(struct tp_pmem_btree *tree, struct btree_stripe *stripe, uint64_t offset)
{
	struct btree_image *image = tree->images_free;

	tree->images_free = image->next_free;
	memcpy(&image->node, btree_node_at(tree, offset), sizeof(image->node));
	stripe_open(stripe);
	/* release: late readers of the image's former list see odd or changed versions first */
	atomic_store_explicit(&image->offset, offset, memory_order_release);
	atomic_store_explicit(&image->next,
		atomic_load_explicit(&stripe->images, memory_order_relaxed), memory_order_release);
	/* release: pairs with the acquire in btree_ref_begin() */
	atomic_store_explicit(&stripe->images, image, memory_order_release);
	stripe_close(stripe);
	return image;
}

static struct btree_touched *
touched_find(struct tp_pmem_btree *tree, uint64_t offset)
{
	uint32_t next = tree->touched_heads[stripe_index(offset)];

	while (next != 0 && tree->touched[next - 1].offset != offset)
		next = tree->touched[next - 1].next;
	return next == 0 ? NULL : &tree->touched[next - 1];
}

static struct btree_touched *
touched_add(struct tp_pmem_btree *tree, uint64_t offset)
{
	uint32_t *head = &tree->touched_heads[stripe_index(offset)];
	uint32_t capacity = tree->touched_capacity > 0 ? 2 * tree->touched_capacity : 64;
	struct btree_touched *touched;

	if (tree->touched_count == tree->touched_capacity) {
		touched = realloc(tree->touched, capacity * sizeof(*touched));
		if (touched == NULL)
			return NULL;
		tree->touched = touched;
		tree->touched_capacity = capacity;
	}
	touched = &tree->touched[tree->touched_count++];
	*touched = (struct btree_touched){ .offset = offset, .next = *head };
	*head = tree->touched_count;
	return touched;
}

int
btree_touch(struct tp_pmem_btree *tree, uint64_t offset)
{
	struct btree_touched *touched = touched_find(tree, offset);

	if (touched != NULL) {
		touched->again = true;
		return 0;
	}
	if (tree->images_free == NULL && images_add(tree) < 0)
		return -ENOMEM;
	touched = touched_add(tree, offset);
	if (touched == NULL)
		return -ENOMEM;
	touched->image = image_show(tree, &tree->stripes[stripe_index(offset)], offset);
	return 0;
}

int
btree_touch_new(struct tp_pmem_btree *tree, uint64_t offset)
{
	_Atomic uint64_t *word;
	uint64_t bit;

	if (touched_find(tree, offset) == NULL && touched_add(tree, offset) == NULL)
		return -ENOMEM;
	word = seen_word(tree, offset, &bit);
	atomic_fetch_or_explicit(word, bit, memory_order_relaxed);
	return 0;
}

/*
 * A node that is changed a second time will be a third time too: then all of it is
 * covered once. In inner levels each change is covered, as an abort puts it back.
 */
int
btree_cover(struct tp_pmem_btree *tree, struct tp_pmem_tx *tx, uint64_t offset, uint32_t begin,
	    uint32_t end)
{
	struct btree_touched *touched = touched_find(tree, offset);

	if (tx->depth == 1) {
		if (touched->covered || touched->image == NULL)
			return 0;
		if (touched->again) {
			begin = 0;
			end = BTREE_NODE_BYTES;
		}
		touched->covered = end - begin == BTREE_NODE_BYTES;
	}
	return tp_pmem_tx_add_range(tx, (uint8_t *)btree_node_at(tree, offset) + begin,
		end - begin);
}

void
btree_publish(struct tp_pmem_btree *tree)
{
	const struct btree_root *root = &btree_head_at(tree)->main;

	stripe_open(&tree->root_stripe);
	for (uint32_t i = 0; i < tree->touched_count; i++)
		stripe_open(&tree->stripes[stripe_index(tree->touched[i].offset)]);
	atomic_store_explicit(&tree->root, root->offset, memory_order_relaxed);
	atomic_store_explicit(&tree->height, root->height, memory_order_relaxed);
	atomic_store_explicit(&tree->count, root->count, memory_order_relaxed);
	for (uint32_t i = 0; i < tree->touched_count; i++) {
		struct btree_touched *touched = &tree->touched[i];
		uint32_t index = stripe_index(touched->offset);

		atomic_store_explicit(&tree->stripes[index].images, NULL, memory_order_relaxed);
		tree->touched_heads[index] = 0;
		if (touched->image != NULL) {
			touched->image->next_free = tree->images_free;
			tree->images_free = touched->image;
		}
	}
	for (uint32_t i = 0; i < tree->touched_count; i++)
		stripe_close(&tree->stripes[stripe_index(tree->touched[i].offset)]);
	stripe_close(&tree->root_stripe);
	tree->touched_count = 0;
}
