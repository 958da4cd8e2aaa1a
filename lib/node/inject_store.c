/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A store that can be cut off: every call but a look at the change counts fails,
 * as if its network were gone. Owner: main lcore.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "inject_priv.h"
#include "store_priv.h"

struct inject_store {
	struct tp_store store;		/* first: a store is cast to it */
	struct tp_store *base;
	bool cut;
};

static struct inject_store *
inject_store_of(struct tp_store *store)
{
	return (struct inject_store *)store;
}

static int
inject_store_get(struct tp_store *store, const char *key, void *value, size_t capacity,
	size_t *bytes, uint64_t *version)
{
	if (inject_store_of(store)->cut)
		return -EHOSTUNREACH;
	return tp_store_get(inject_store_of(store)->base, key, value, capacity, bytes, version);
}

static int
inject_store_cas(struct tp_store *store, const char *key, uint64_t expected, const void *value,
	size_t bytes, uint64_t *version_new)
{
	if (inject_store_of(store)->cut)
		return -EHOSTUNREACH;
	return tp_store_cas(inject_store_of(store)->base, key, expected, value, bytes,
		version_new);
}

static int
inject_store_delete(struct tp_store *store, const char *key, uint64_t expected)
{
	if (inject_store_of(store)->cut)
		return -EHOSTUNREACH;
	return tp_store_delete(inject_store_of(store)->base, key, expected);
}

static int
inject_store_list(struct tp_store *store, const char *prefix, char ***keys, size_t *count)
{
	struct tp_store *base = inject_store_of(store)->base;

	if (inject_store_of(store)->cut)
		return -EHOSTUNREACH;
	return base->ops->list(base, prefix, keys, count);
}

static uint64_t
inject_store_revision(struct tp_store *store, const char *part)
{
	return tp_store_revision(inject_store_of(store)->base, part);
}

static const struct store_ops inject_store_ops = {
	.scheme = "inject",
	.get = inject_store_get,
	.cas = inject_store_cas,
	.delete = inject_store_delete,
	.list = inject_store_list,
	.revision = inject_store_revision,
};

struct tp_store *
inject_store_create(struct tp_store *base)
{
	struct inject_store *store = calloc(1, sizeof(*store));

	if (store == NULL)
		return NULL;
	store->store.ops = &inject_store_ops;
	store->base = base;
	return &store->store;
}

void
inject_store_destroy(struct tp_store *store)
{
	free(store);
}

void
inject_store_cut(struct tp_store *store, bool cut)
{
	inject_store_of(store)->cut = cut;
}
