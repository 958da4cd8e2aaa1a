/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What a kind of store implements. store.c checks keys, sizes and urls, so a
 * kind sees valid ones only. Meanings and errors are those of tp_store.h.
 */
#ifndef STORE_PRIV_H
#define STORE_PRIV_H

#include <stddef.h>
#include <stdint.h>

#include "tp_log.h"
#include "tp_store.h"

TP_LOG_DECLARE(directory);
#define TP_DIRECTORY_LOG(level, ...) TP_LOG(directory, level, __VA_ARGS__)

struct store_ops {
	const char *scheme;
	/* location: the url after "scheme:"; 0 or -errno. */
	int (*open)(const char *location, struct tp_store **store);
	void (*close)(struct tp_store *store);
	int (*get)(struct tp_store *store, const char *key, void *value, size_t capacity,
		size_t *bytes, uint64_t *version);
	int (*cas)(struct tp_store *store, const char *key, uint64_t expected, const void *value,
		size_t bytes, uint64_t *version_new);
	int (*delete)(struct tp_store *store, const char *key, uint64_t expected);
	/* keys: allocated strings in an allocated array, in any order. */
	int (*list)(struct tp_store *store, const char *prefix, char ***keys, size_t *count);
	uint64_t (*revision)(struct tp_store *store, const char *part);
};

struct tp_store {
	const struct store_ops *ops;
};

extern const struct store_ops store_file_ops;

/* CRC32C of a buffer, continued from seed (0 at first). */
uint32_t store_crc(uint32_t seed, const void *data, size_t bytes);

#endif /* STORE_PRIV_H */
