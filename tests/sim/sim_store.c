/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Keys are few: a plain array, kept in order.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sim_store.h"
#include "store_priv.h"

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
	} parts[16];
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

/* The change count of a key's first part. */
static uint64_t *
changes_of(struct sim_store *s, const char *key)
{
	size_t length = strcspn(key, "/");
	uint32_t i;

	if (length >= sizeof(s->parts[0].part))
		abort();
	for (i = 0; i < s->part_count; i++) {
		if (strlen(s->parts[i].part) == length &&
		    memcmp(s->parts[i].part, key, length) == 0)
			return &s->parts[i].changes;
	}
	if (i == 16)
		abort();
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

static int
mem_cas(struct tp_store *store, const char *key, uint64_t expected, const void *value,
	size_t bytes, uint64_t *version_new)
{
	struct sim_store *s = handle_of(store)->shared;
	size_t i = find(s, key);
	bool there = is_at(s, i, key);
	void *copy;

	if (handle_of(store)->cut)
		return -EHOSTUNREACH;
	if (expected != (there ? s->entries[i].version : 0))
		return -EAGAIN;
	copy = malloc(bytes + 1);
	if (copy == NULL)
		abort();
	if (bytes > 0)
		memcpy(copy, value, bytes);
	if (!there) {
		s->entries = realloc(s->entries, (s->count + 1) * sizeof(*s->entries));
		if (s->entries == NULL)
			abort();
		memmove(&s->entries[i + 1], &s->entries[i],
			(s->count - i) * sizeof(*s->entries));
		s->count++;
		memset(&s->entries[i], 0, sizeof(s->entries[i]));
		strcpy(s->entries[i].key, key);
	}
	free(s->entries[i].value);
	s->entries[i].value = copy;
	s->entries[i].bytes = bytes;
	s->entries[i].version = ++s->version;
	if (version_new != NULL)
		*version_new = s->version;
	++*changes_of(s, key);
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
		if ((*keys)[(*count)++] == NULL)
			abort();
	}
	return 0;
}

static uint64_t
mem_revision(struct tp_store *store, const char *part)
{
	return *changes_of(handle_of(store)->shared, part);
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
		abort();
	return s;
}

void
sim_store_destroy(struct sim_store *s)
{
	size_t i;

	for (i = 0; i < s->count; i++)
		free(s->entries[i].value);
	free(s->entries);
	free(s);
}

struct tp_store *
sim_store_open(struct sim_store *s)
{
	struct handle *h = calloc(1, sizeof(*h));

	if (h == NULL)
		abort();
	h->store.ops = &mem_ops;
	h->shared = s;
	return &h->store;
}

void
sim_store_cut(struct tp_store *store, bool cut)
{
	handle_of(store)->cut = cut;
}
