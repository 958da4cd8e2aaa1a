/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Keys are few: a plain array, kept in order.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_errno.h>

#include "sim_store.h"
#include "store_priv.h"

#define PARTS_MAX 16

struct entry {
	char key[TP_STORE_KEY_MAX + 1];
	void *value;
	size_t bytes;
	uint64_t version;
};

struct sim_store {
	struct entry *entries;
	size_t count;
	uint64_t version;
	struct {
		char part[32];
		uint64_t changes;
	} parts[PARTS_MAX];
	uint32_t part_count;
};

struct handle {
	struct tp_store store;
	struct sim_store *shared;
	bool cut;
};

static struct handle *
handle_of(struct tp_store *store)
{
	return (struct handle *)store;
}

/* First entry not before the key. */
static size_t
find(const struct sim_store *s, const char *key)
{
	size_t i = 0;

	while (i < s->count && strcmp(s->entries[i].key, key) < 0)
		i++;
	return i;
}

static bool
is_at(const struct sim_store *s, size_t i, const char *key)
{
	return i < s->count && strcmp(s->entries[i].key, key) == 0;
}

/* The change count of a key's first part; NULL: there are too many parts. */
static uint64_t *
changes_of(struct sim_store *s, const char *key)
{
	size_t length = strcspn(key, "/");
	uint32_t i;

	if (length >= sizeof(s->parts[0].part))
		return NULL;
	for (i = 0; i < s->part_count; i++) {
		if (strlen(s->parts[i].part) == length &&
		    memcmp(s->parts[i].part, key, length) == 0)
			return &s->parts[i].changes;
	}
	if (i == PARTS_MAX)
		return NULL;
	memcpy(s->parts[i].part, key, length);
	s->parts[i].changes = 1;
	s->part_count++;
	return &s->parts[i].changes;
}

static int
mem_get(struct tp_store *store, const char *key, void *value, size_t capacity, size_t *bytes,
	uint64_t *version)
{
	struct sim_store *s = handle_of(store)->shared;
	size_t i = find(s, key);

	if (handle_of(store)->cut)
		return -EHOSTUNREACH;
	if (!is_at(s, i, key))
		return -ENOENT;
	if (bytes != NULL)
		*bytes = s->entries[i].bytes;
	if (s->entries[i].bytes > capacity)
		return -EMSGSIZE;
	if (s->entries[i].bytes > 0)
		memcpy(value, s->entries[i].value, s->entries[i].bytes);
	if (version != NULL)
		*version = s->entries[i].version;
	return 0;
}

/* Make an empty entry at i. */
static int
insert(struct sim_store *s, size_t i, const char *key)
{
	struct entry *entries = realloc(s->entries, (s->count + 1) * sizeof(*entries));

	if (entries == NULL)
		return -ENOMEM;
	s->entries = entries;
	memmove(&entries[i + 1], &entries[i], (s->count - i) * sizeof(*entries));
	s->count++;
	memset(&entries[i], 0, sizeof(entries[i]));
	strcpy(entries[i].key, key);
	return 0;
}

static int
mem_cas(struct tp_store *store, const char *key, uint64_t expected, const void *value,
	size_t bytes, uint64_t *version_new)
{
	struct sim_store *s = handle_of(store)->shared;
	uint64_t *changes = changes_of(s, key);
	size_t i = find(s, key);
	bool there = is_at(s, i, key);
	void *copy;

	if (handle_of(store)->cut)
		return -EHOSTUNREACH;
	if (changes == NULL)
		return -ENOSPC;
	if (expected != (there ? s->entries[i].version : 0))
		return -EAGAIN;
	copy = malloc(bytes + 1);
	if (copy == NULL || (!there && insert(s, i, key) < 0)) {
		free(copy);
		return -ENOMEM;
	}
	if (bytes > 0)
		memcpy(copy, value, bytes);
	free(s->entries[i].value);
	s->entries[i].value = copy;
	s->entries[i].bytes = bytes;
	s->entries[i].version = ++s->version;
	if (version_new != NULL)
		*version_new = s->version;
	++*changes;
	return 0;
}

static int
mem_delete(struct tp_store *store, const char *key, uint64_t expected)
{
	struct sim_store *s = handle_of(store)->shared;
	size_t i = find(s, key);

	if (handle_of(store)->cut)
		return -EHOSTUNREACH;
	if (!is_at(s, i, key))
		return -ENOENT;
	if (s->entries[i].version != expected)
		return -EAGAIN;
	free(s->entries[i].value);
	s->count--;
	memmove(&s->entries[i], &s->entries[i + 1], (s->count - i) * sizeof(*s->entries));
	++*changes_of(s, key);
	return 0;
}

static int
mem_list(struct tp_store *store, const char *prefix, char ***keys, size_t *count)
{
	struct sim_store *s = handle_of(store)->shared;
	size_t i;

	if (handle_of(store)->cut)
		return -EHOSTUNREACH;
	*count = 0;
	*keys = calloc(s->count + 1, sizeof(**keys));
	if (*keys == NULL)
		return -ENOMEM;
	for (i = 0; i < s->count; i++) {
		if (strncmp(s->entries[i].key, prefix, strlen(prefix)) != 0)
			continue;
		(*keys)[*count] = strdup(s->entries[i].key);
		if ((*keys)[*count] == NULL)
			goto free_keys;
		++*count;
	}
	return 0;

free_keys:
	while (*count > 0)
		free((*keys)[--*count]);
	free(*keys);
	return -ENOMEM;
}

static uint64_t
mem_revision(struct tp_store *store, const char *part)
{
	const uint64_t *changes = changes_of(handle_of(store)->shared, part);

	return changes == NULL ? 0 : *changes;
}

static void
mem_close(struct tp_store *store)
{
	free(store);
}

static const struct store_ops mem_ops = {
	.scheme = "mem",
	.close = mem_close,
	.get = mem_get,
	.cas = mem_cas,
	.delete = mem_delete,
	.list = mem_list,
	.revision = mem_revision,
};

struct sim_store *
sim_store_create(void)
{
	struct sim_store *s = calloc(1, sizeof(*s));

	if (s == NULL)
		rte_errno = ENOMEM;
	return s;
}

void
sim_store_destroy(struct sim_store *s)
{
	size_t i;

	if (s == NULL)
		return;
	for (i = 0; i < s->count; i++)
		free(s->entries[i].value);
	free(s->entries);
	free(s);
}

struct tp_store *
sim_store_open(struct sim_store *s)
{
	struct handle *h = calloc(1, sizeof(*h));

	if (h == NULL) {
		rte_errno = ENOMEM;
		return NULL;
	}
	h->store.ops = &mem_ops;
	h->shared = s;
	return &h->store;
}

void
sim_store_cut(struct tp_store *store, bool cut)
{
	handle_of(store)->cut = cut;
}
