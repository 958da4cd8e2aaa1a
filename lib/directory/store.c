/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The store interface: checks what comes in, and hands it to the kind of store
 * that the url names.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <isa-l/crc.h>
#include <rte_common.h>
#include <rte_errno.h>

#include "store_priv.h"

TP_LOG_REGISTER(directory);

static const struct store_ops *const store_kinds[] = {
	&store_file_ops,
};

uint32_t
store_crc(uint32_t seed, const void *data, size_t bytes)
{
	/* ISA-L does not write to it, though its prototype lets it. */
	return ~crc32_iscsi((unsigned char *)(uintptr_t)data, (int)bytes, ~seed);
}

static bool
store_key_char_is_valid(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
		c == '-' || c == '/';
}

static bool
store_key_is_valid(const char *key)
{
	char before = '/';
	size_t i;

	for (i = 0; key[i] != '\0'; i++) {
		if (i == TP_STORE_KEY_MAX || !store_key_char_is_valid(key[i]))
			return false;
		/* No empty part, and none that starts with a dot ('.', '..', hidden). */
		if (before == '/' && (key[i] == '/' || key[i] == '.'))
			return false;
		before = key[i];
	}
	return before != '/';
}

struct tp_store *
tp_store_open(const char *url)
{
	struct tp_store *store = NULL;
	int ret = -EPROTONOSUPPORT;
	const char *colon = strchr(url, ':');

	if (colon == NULL || colon == url) {
		rte_errno = EINVAL;
		return NULL;
	}
	for (size_t i = 0; i < RTE_DIM(store_kinds); i++) {
		const char *scheme = store_kinds[i]->scheme;

		if (strlen(scheme) != (size_t)(colon - url) ||
				strncmp(scheme, url, strlen(scheme)) != 0)
			continue;
		ret = store_kinds[i]->open(colon + 1, &store);
		break;
	}
	if (ret < 0) {
		rte_errno = -ret;
		return NULL;
	}
	return store;
}

void
tp_store_close(struct tp_store *store)
{
	if (store != NULL)
		store->ops->close(store);
}

int
tp_store_get(struct tp_store *store, const char *key, void *value, size_t capacity, size_t *bytes,
	uint64_t *version)
{
	size_t bytes_unused;
	uint64_t version_unused;

	if (!store_key_is_valid(key))
		return -EINVAL;
	return store->ops->get(store, key, value, capacity, bytes != NULL ? bytes : &bytes_unused,
		version != NULL ? version : &version_unused);
}

int
tp_store_cas(struct tp_store *store, const char *key, uint64_t expected, const void *value,
	size_t bytes, uint64_t *version_new)
{
	uint64_t version_unused;

	if (!store_key_is_valid(key))
		return -EINVAL;
	if (bytes > TP_STORE_VALUE_MAX)
		return -EMSGSIZE;
	return store->ops->cas(store, key, expected, value, bytes,
		version_new != NULL ? version_new : &version_unused);
}

int
tp_store_delete(struct tp_store *store, const char *key, uint64_t expected)
{
	if (!store_key_is_valid(key))
		return -EINVAL;
	return store->ops->delete(store, key, expected);
}

static int
store_key_compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int
tp_store_list(struct tp_store *store, const char *prefix, tp_store_list_fn fn, void *ctx)
{
	char **keys = NULL;
	size_t count = 0;
	int ret = store->ops->list(store, prefix, &keys, &count);

	if (ret == 0 && count > 0)
		qsort(keys, count, sizeof(keys[0]), store_key_compare);
	for (size_t i = 0; i < count && ret == 0; i++)
		ret = fn(ctx, keys[i]);
	for (size_t i = 0; i < count; i++)
		free(keys[i]);
	free(keys);
	return ret;
}

uint64_t
tp_store_revision(struct tp_store *store, const char *part)
{
	return store->ops->revision(store, part);
}
