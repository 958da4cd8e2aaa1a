/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The shared index of a file store: see "how it works" in store_file.c.
 */
#ifndef STORE_INDEX_PRIV_H
#define STORE_INDEX_PRIV_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STORE_INDEX_MAGIC UINT32_C(0x49535054)	/* "TPSI" */
#define STORE_INDEX_VERSION 1
#define STORE_SLOT_COUNT 8192
#define STORE_CLASS_COUNT 16		/* of first key parts, by hash */
#define STORE_SLOT_NONE UINT32_MAX

/* Changes of the keys of a class: begun before, and done after, the change. */
struct store_class {
	_Atomic uint64_t begun;
	_Atomic uint64_t done;
};

/*
 * One key for ever. word: version << 1 | live; 0: never stored. It only grows.
 */
struct store_slot {
	_Atomic uint64_t hash;		/* of the key, class in the top 4 bits; 0: free; set once */
	_Atomic uint64_t word;
};

struct store_index {
	uint32_t magic;
	uint32_t version;
	uint32_t slot_count;
	uint32_t reserved;
	_Atomic uint64_t version_last;	/* of values, over all keys */
	uint8_t pad[40];
	struct store_class classes[STORE_CLASS_COUNT];
	struct store_slot slots[STORE_SLOT_COUNT];
};
static_assert(offsetof(struct store_index, version_last) == 16, "layout");
static_assert(offsetof(struct store_index, classes) == 64, "layout");
static_assert(offsetof(struct store_index, slots) == 64 + 16 * 16, "layout");
static_assert(sizeof(struct store_slot) == 16, "layout");

static inline bool
store_word_is_live(uint64_t word)
{
	return word & 1;
}

static inline uint64_t
store_word_version(uint64_t word)
{
	return word >> 1;
}

/* Hash of a key, its class in the top 4 bits; never 0. */
uint64_t store_key_hash(const char *key);

/* Class of the keys whose first part is the first of this string. */
uint32_t store_key_class(const char *key);

/*
 * Open the index in a directory, made when it is not there.
 *
 * @return The mapped index with *ret 0, or NULL with -errno.
 */
struct store_index *store_index_open(int dir_fd, int *ret);
void store_index_close(struct store_index *index);

/* Slot of a key: taken now if make is set; STORE_SLOT_NONE: not there, or full. */
uint32_t store_index_slot(struct store_index *index, uint64_t hash, bool make);

/* Sum of the words of a class: grows with each change in it. */
uint64_t store_index_sum(const struct store_index *index, uint32_t key_class);

#endif /* STORE_INDEX_PRIV_H */
