/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The control-plane store: small values under names, changed by
 * compare-and-swap. What a cluster must agree on lives here and nowhere else.
 *
 * `file:/path` is a directory on one machine, for any number of processes. No
 * process ever waits for another: a writer that is killed or stopped at any
 * instruction leaves the old value or the new one, and holds up nobody. It
 * outlives processes, not the machine (nothing is synced): a file a crash of
 * the machine tore reads -EBADMSG.
 *
 * A handle is used by one thread at a time, and not across fork(): open one
 * handle per thread and process.
 */
#ifndef TP_STORE_H
#define TP_STORE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct tp_store;

#define TP_STORE_KEY_MAX 127		/* characters */
#define TP_STORE_VALUE_MAX (512 * 1024)	/* bytes */

/**
 * Open a store, creating it when it is not there.
 *
 * @param url  "file:/absolute/path"; missing last directories are created, mode 0700.
 * @return The store, or NULL with rte_errno:
 *   - EINVAL: malformed url.
 *   - EPROTONOSUPPORT: a scheme this build does not know.
 *   - EBADMSG: something else is there, or another version.
 *   - any errno of mkdir, open, mmap.
 * @threads Any.
 */
struct tp_store *tp_store_open(const char *url);

/** Close a handle. NULL is ignored. @threads One user at a time. */
void tp_store_close(struct tp_store *store);

/**
 * Read a value.
 *
 * @param key      1 to TP_STORE_KEY_MAX of [a-z0-9._/-]; parts between '/' are
 *   not empty and do not start with '.'.
 * @param value    Written up to capacity bytes; undefined on error.
 * @param bytes    The value's length; may be NULL.
 * @param version  Never the same for two values ever stored in a store; may be NULL.
 * @return 0, or
 *   - -EINVAL: malformed key.
 *   - -ENOENT: no such key.
 *   - -EMSGSIZE: longer than capacity; *bytes says how long.
 *   - -EBADMSG: what is stored is damaged.
 *   - -EBUSY: writers were faster 1,000 times in a row.
 *   - any errno of open and read.
 * @threads One user at a time per handle.
 * @cost    file: about 2 us.
 */
int tp_store_get(struct tp_store *store, const char *key, void *value, size_t capacity,
	size_t *bytes, uint64_t *version);

/**
 * Replace a value if nobody did since it was read.
 *
 * @param expected     Version that tp_store_get() gave; 0: the key must not exist.
 * @param version_new  Of the value stored; may be NULL.
 * @return 0, or with nothing changed:
 *   - -EAGAIN: the version is another one: read again.
 *   - -EINVAL: malformed key.
 *   - -EMSGSIZE: bytes above TP_STORE_VALUE_MAX.
 *   - -ENOSPC: no room for another key (file: 8,192), or on the file system.
 *   - any errno of open and write.
 * @threads One user at a time per handle.
 * @cost    file: about 20 us.
 */
int tp_store_cas(struct tp_store *store, const char *key, uint64_t expected, const void *value,
	size_t bytes, uint64_t *version_new);

/**
 * Delete a key if its version is still the expected one.
 *
 * @return 0, -EAGAIN, -ENOENT, -EINVAL as above.
 * @threads One user at a time per handle.
 */
int tp_store_delete(struct tp_store *store, const char *key, uint64_t expected);

/** Called for each key; anything but 0 ends the listing. */
typedef int (*tp_store_list_fn)(void *ctx, const char *key);

/**
 * Call fn for every key that starts with prefix, in ascending order. Keys
 * created or deleted meanwhile may be seen or not; all others are seen.
 *
 * @param prefix  "" for all.
 * @return 0, what fn returned to end it, -ENOMEM, or any errno of open and read.
 *   A damaged value is listed if its key can be told, else skipped and logged.
 * @threads One user at a time per handle. fn may use the store.
 */
int tp_store_list(struct tp_store *store, const char *prefix, tp_store_list_fn fn, void *ctx);

/**
 * A number that changes when any key changes whose first part is @p part:
 * "node" for "node/7". It is this handle's own count, comparable with its
 * earlier answers only. A change is seen by the first call after it.
 *
 * @return The number, never 0.
 * @threads One user at a time per handle.
 * @cost    file: 10 ns when nothing changed, 5 us when something did (or a process
 *   once died within a change); no system call.
 */
uint64_t tp_store_revision(struct tp_store *store, const char *part);

#ifdef __cplusplus
}
#endif

#endif /* TP_STORE_H */
