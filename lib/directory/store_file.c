/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The store on one machine: a directory with a shared index and one immutable
 * file per value.
 *
 * How it works. Every key has a slot in the index for ever, and the slot has
 * one word: the version of the current value, and whether there is one. A
 * writer takes a version nobody else ever gets, writes a file named after slot
 * and version, and then replaces the word by compare-and-swap: that one
 * instruction is the change. It then removes the file of the value before. A
 * reader loads the word and reads the file it names; if the file is gone the
 * word has moved on, and it looks again.
 *
 * There is no lock, and so no moment at which the death of a process leaves
 * anything half done, nor one at which a stopped process holds up others: not
 * the node that must be fenced just while it renews. What death leaves is a file
 * no word names. Words only grow, so a file older than its slot's word can never
 * become current again: opening a store removes those.
 *
 * Watching. A change counts `begun` before and `done` after in the class of its
 * key. While both stand still and are equal nothing has changed. Otherwise (a
 * change under way, or a process that died in one) the words of the class are
 * summed up, which only grows: slower, but never wrong.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <rte_byteorder.h>
#include <rte_common.h>

#include "store_index_priv.h"
#include "store_priv.h"

#define STORE_VALUE_MAGIC UINT32_C(0x56535054)	/* "TPSV" */
#define STORE_READ_TRIES 1000
#define STORE_NAME_BYTES 32

/* Head of a value file; then the key without its 0, then the value. */
struct store_value_head {
	rte_le32_t magic;
	rte_le32_t crc;		/* CRC32C of the whole file with this field 0 */
	rte_le64_t version;
	rte_le32_t value_bytes;
	rte_le16_t key_bytes;
	rte_le16_t reserved;	/* 0 */
};
static_assert(sizeof(struct store_value_head) == 24, "layout");
static_assert(offsetof(struct store_value_head, version) == 8, "layout");

#define STORE_FILE_MAX (sizeof(struct store_value_head) + TP_STORE_KEY_MAX + TP_STORE_VALUE_MAX)

/* What this handle saw of a class when it last looked. */
struct store_watch {
	uint64_t begun;
	uint64_t done;
	uint64_t sum;
	uint64_t revision;
};

struct store_file {
	struct tp_store store;
	struct store_index *index;
	unsigned char *buffer;		/* STORE_FILE_MAX: a file being read */
	int dir_fd;
	struct store_watch watches[STORE_CLASS_COUNT];
};

static void
store_value_name(char name[STORE_NAME_BYTES], uint32_t slot, uint64_t version)
{
	snprintf(name, STORE_NAME_BYTES, "%04" PRIx32 ".%016" PRIx64, slot, version);
}

/* mkdir -p; an existing last part is fine. */
static int
store_directory_make(const char *path)
{
	char *copy = strdup(path);
	int ret = 0;

	if (copy == NULL)
		return -ENOMEM;
	for (char *p = copy + 1; ret == 0; p++) {
		char c = *p;

		if (c != '/' && c != '\0')
			continue;
		*p = '\0';
		if (mkdir(copy, 0700) < 0 && errno != EEXIST)
			ret = -errno;
		*p = c;
		if (c == '\0')
			break;
	}
	free(copy);
	return ret;
}

/* A file that no word names or will ever name. */
static bool
store_file_is_left_over(const struct store_file *file, const char *name)
{
	uint32_t slot;
	uint64_t version;
	int length = 0;

	if (strncmp(name, "new.", 4) == 0)
		return true;
	if (sscanf(name, "%4" SCNx32 ".%16" SCNx64 "%n", &slot, &version, &length) != 2 ||
			name[length] != '\0' || slot >= STORE_SLOT_COUNT)
		return false;
	return version < store_word_version(atomic_load_explicit(
		&file->index->slots[slot].word, memory_order_relaxed));
}

static void
store_file_sweep(struct store_file *file)
{
	/* A descriptor of its own: readdir() moves its offset, closedir() closes it. */
	int fd = openat(file->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *item;

	if (dir == NULL) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((item = readdir(dir)) != NULL)
		if (store_file_is_left_over(file, item->d_name))
			unlinkat(file->dir_fd, item->d_name, 0);
	closedir(dir);
}

static int
store_file_open(const char *location, struct tp_store **store_out)
{
	struct store_file *file;
	int ret;

	if (location[0] != '/')
		return -EINVAL;
	ret = store_directory_make(location);
	if (ret < 0)
		return ret;
	file = calloc(1, sizeof(*file));
	if (file == NULL)
		return -ENOMEM;
	ret = -ENOMEM;
	file->buffer = malloc(STORE_FILE_MAX);
	if (file->buffer == NULL)
		goto free_file;
	file->dir_fd = open(location, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (file->dir_fd < 0) {
		ret = -errno;
		goto free_buffer;
	}
	file->index = store_index_open(file->dir_fd, &ret);
	if (file->index == NULL)
		goto close_directory;
	file->store.ops = &store_file_ops;
	store_file_sweep(file);
	*store_out = &file->store;
	return 0;

close_directory:
	close(file->dir_fd);
free_buffer:
	free(file->buffer);
free_file:
	free(file);
	return ret;
}

static void
store_file_close(struct tp_store *store)
{
	struct store_file *file = (struct store_file *)store;

	store_index_close(file->index);
	close(file->dir_fd);
	free(file->buffer);
	free(file);
}

static uint64_t
store_file_word(const struct store_file *file, uint32_t slot)
{
	/* pairs with the release in store_file_commit() */
	return atomic_load_explicit(&file->index->slots[slot].word, memory_order_acquire);
}

/*
 * Read the file of a slot's current value into file->buffer.
 *
 * @param bytes  Most to read.
 * @return Bytes read, -ENOENT (no current value), -EBADMSG (it has no file),
 *   -EBUSY, or -errno.
 */
static ssize_t
store_file_load(struct store_file *file, uint32_t slot, size_t bytes, uint64_t *version)
{
	char name[STORE_NAME_BYTES];

	for (int i = 0; i < STORE_READ_TRIES; i++) {
		uint64_t word = store_file_word(file, slot);
		ssize_t ret;
		int fd;

		if (!store_word_is_live(word))
			return -ENOENT;
		*version = store_word_version(word);
		store_value_name(name, slot, *version);
		fd = openat(file->dir_fd, name, O_RDONLY | O_CLOEXEC);
		if (fd >= 0) {
			ret = read(fd, file->buffer, bytes);
			if (ret < 0)
				ret = -errno;
			close(fd);
			return ret;
		}
		if (errno != ENOENT)
			return -errno;
		if (store_file_word(file, slot) == word) {
			TP_DIRECTORY_LOG(ERR, "store file %s is missing", name);
			return -EBADMSG;
		}
	}
	return -EBUSY;
}

/* The head, and that the key in the file is whole. */
static bool
store_value_head_is_valid(const struct store_file *file, size_t bytes, uint64_t version)
{
	const struct store_value_head *head = (const void *)file->buffer;

	return bytes >= sizeof(*head) && head->magic == rte_cpu_to_le_32(STORE_VALUE_MAGIC) &&
		rte_le_to_cpu_64(head->version) == version && head->reserved == 0 &&
		rte_le_to_cpu_16(head->key_bytes) <= TP_STORE_KEY_MAX &&
		sizeof(*head) + rte_le_to_cpu_16(head->key_bytes) <= bytes;
}

static bool
store_value_is_valid(struct store_file *file, size_t bytes, uint64_t version, const char *key)
{
	struct store_value_head *head = (void *)file->buffer;
	uint32_t crc;

	if (!store_value_head_is_valid(file, bytes, version) ||
			rte_le_to_cpu_32(head->value_bytes) > TP_STORE_VALUE_MAX ||
			sizeof(*head) + rte_le_to_cpu_16(head->key_bytes) +
			rte_le_to_cpu_32(head->value_bytes) != bytes)
		return false;
	crc = rte_le_to_cpu_32(head->crc);
	head->crc = 0;
	return store_crc(0, file->buffer, bytes) == crc &&
		rte_le_to_cpu_16(head->key_bytes) == strlen(key) &&
		memcmp(head + 1, key, strlen(key)) == 0;
}

static int
store_file_get(struct tp_store *store, const char *key, void *value, size_t capacity, size_t *bytes,
	uint64_t *version)
{
	struct store_file *file = (struct store_file *)store;
	const struct store_value_head *head = (const void *)file->buffer;
	uint32_t slot = store_index_slot(file->index, store_key_hash(key), false);
	ssize_t ret;

	if (slot == STORE_SLOT_NONE)
		return -ENOENT;
	ret = store_file_load(file, slot, STORE_FILE_MAX, version);
	if (ret < 0)
		return (int)ret;
	if (!store_value_is_valid(file, (size_t)ret, *version, key)) {
		TP_DIRECTORY_LOG(ERR, "store value of %s is damaged", key);
		return -EBADMSG;
	}
	*bytes = rte_le_to_cpu_32(head->value_bytes);
	if (*bytes > capacity)
		return -EMSGSIZE;
	if (*bytes > 0)
		memcpy(value, (const char *)(head + 1) + strlen(key), *bytes);
	return 0;
}

static int
store_value_write(struct store_file *file, const char *name, uint64_t version, const char *key,
	const void *value, size_t bytes)
{
	struct store_value_head head = {
		.magic = rte_cpu_to_le_32(STORE_VALUE_MAGIC),
		.version = rte_cpu_to_le_64(version),
		.value_bytes = rte_cpu_to_le_32((uint32_t)bytes),
		.key_bytes = rte_cpu_to_le_16((uint16_t)strlen(key)),
	};
	struct iovec iov[3] = {
		{ &head, sizeof(head) },
		{ (void *)(uintptr_t)key, strlen(key) },
		{ (void *)(uintptr_t)value, bytes },
	};
	uint32_t crc = store_crc(0, &head, sizeof(head));
	ssize_t written;
	int fd;
	int ret;

	crc = store_crc(crc, key, strlen(key));
	head.crc = rte_cpu_to_le_32(store_crc(crc, value, bytes));
	fd = openat(file->dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	written = writev(fd, iov, RTE_DIM(iov));
	ret = written < 0 ? -errno : 0;
	if (written >= 0 && (size_t)written != sizeof(head) + strlen(key) + bytes)
		ret = -ENOSPC;
	close(fd);
	if (ret < 0)
		unlinkat(file->dir_fd, name, 0);
	return ret;
}

/* The change itself, and the removal of what it replaced. */
static int
store_file_commit(struct store_file *file, uint32_t slot, uint64_t word_old, uint64_t word_new)
{
	char name[STORE_NAME_BYTES];

	/* release: the file of the new value is there for who reads the word */
	if (!atomic_compare_exchange_strong_explicit(&file->index->slots[slot].word, &word_old,
			word_new, memory_order_acq_rel, memory_order_acquire))
		return -EAGAIN;
	if (store_word_is_live(word_old)) {
		store_value_name(name, slot, store_word_version(word_old));
		unlinkat(file->dir_fd, name, 0);
	}
	return 0;
}

static void
store_change_begin(struct store_file *file, uint64_t hash)
{
	atomic_fetch_add_explicit(&file->index->classes[hash >> 60].begun, 1,
		memory_order_acq_rel);
}

static void
store_change_end(struct store_file *file, uint64_t hash)
{
	/* pairs with the acquire in store_file_revision() */
	atomic_fetch_add_explicit(&file->index->classes[hash >> 60].done, 1,
		memory_order_acq_rel);
}

static uint64_t
store_version_take(struct store_file *file)
{
	return atomic_fetch_add_explicit(&file->index->version_last, 1, memory_order_relaxed) + 1;
}

/* store_file_cas() between begin and end. */
static int
store_file_replace(struct store_file *file, uint32_t slot, uint64_t expected, const char *key,
	const void *value, size_t bytes, uint64_t *version_new)
{
	uint64_t word = store_file_word(file, slot);
	uint64_t version;
	char name[STORE_NAME_BYTES];
	int ret;

	if ((store_word_is_live(word) ? store_word_version(word) : 0) != expected)
		return -EAGAIN;
	version = store_version_take(file);
	store_value_name(name, slot, version);
	ret = store_value_write(file, name, version, key, value, bytes);
	if (ret < 0)
		return ret;
	ret = store_file_commit(file, slot, word, version << 1 | 1);
	if (ret < 0)
		unlinkat(file->dir_fd, name, 0);
	else
		*version_new = version;
	return ret;
}

static int
store_file_cas(struct tp_store *store, const char *key, uint64_t expected, const void *value,
	size_t bytes, uint64_t *version_new)
{
	struct store_file *file = (struct store_file *)store;
	uint64_t hash = store_key_hash(key);
	uint32_t slot = store_index_slot(file->index, hash, expected == 0);
	int ret;

	if (slot == STORE_SLOT_NONE)
		return expected == 0 ? -ENOSPC : -EAGAIN;
	store_change_begin(file, hash);
	ret = store_file_replace(file, slot, expected, key, value, bytes, version_new);
	store_change_end(file, hash);
	return ret;
}

static int
store_file_delete(struct tp_store *store, const char *key, uint64_t expected)
{
	struct store_file *file = (struct store_file *)store;
	uint64_t hash = store_key_hash(key);
	uint32_t slot = store_index_slot(file->index, hash, false);
	uint64_t word;
	int ret;

	if (slot == STORE_SLOT_NONE)
		return -ENOENT;
	word = store_file_word(file, slot);
	if (!store_word_is_live(word))
		return -ENOENT;
	if (store_word_version(word) != expected)
		return -EAGAIN;
	store_change_begin(file, hash);
	ret = store_file_commit(file, slot, word, store_version_take(file) << 1);
	store_change_end(file, hash);
	return ret;
}

/* Key of a slot's current value: NULL with *ret 0 (no value), or an error. */
static char *
store_file_key(struct store_file *file, uint32_t slot, int *ret)
{
	const struct store_value_head *head = (const void *)file->buffer;
	uint64_t version;
	ssize_t bytes;
	char *key;

	bytes = store_file_load(file, slot, sizeof(*head) + TP_STORE_KEY_MAX, &version);
	*ret = bytes < 0 && bytes != -ENOENT && bytes != -EBADMSG ? (int)bytes : 0;
	if (bytes < 0)
		return NULL;
	if (!store_value_head_is_valid(file, (size_t)bytes, version)) {
		TP_DIRECTORY_LOG(ERR, "store slot %u holds a damaged value", slot);
		return NULL;
	}
	key = strndup((const char *)(head + 1), rte_le_to_cpu_16(head->key_bytes));
	if (key == NULL)
		*ret = -ENOMEM;
	return key;
}

/* A key of slot that belongs in the listing, or NULL. */
static char *
store_file_listed(struct store_file *file, uint32_t slot, const char *prefix, int *ret)
{
	uint64_t hash = atomic_load_explicit(&file->index->slots[slot].hash,
		memory_order_relaxed);
	char *key;

	*ret = 0;
	/* With its first part whole, a prefix names one class. */
	if (hash == 0 || (strchr(prefix, '/') != NULL && hash >> 60 != store_key_class(prefix)))
		return NULL;
	key = store_file_key(file, slot, ret);
	if (key == NULL)
		return NULL;
	if (store_key_hash(key) == hash && strncmp(key, prefix, strlen(prefix)) == 0)
		return key;
	free(key);
	return NULL;
}

static int
store_file_list(struct tp_store *store, const char *prefix, char ***keys_out, size_t *count_out)
{
	struct store_file *file = (struct store_file *)store;
	char **keys = malloc(STORE_SLOT_COUNT * sizeof(keys[0]));
	size_t count = 0;
	int ret = 0;

	if (keys == NULL)
		return -ENOMEM;
	for (uint32_t slot = 0; slot < STORE_SLOT_COUNT && ret == 0; slot++) {
		char *key = store_file_listed(file, slot, prefix, &ret);

		if (key != NULL)
			keys[count++] = key;
	}
	*keys_out = keys;
	*count_out = count;
	return ret;
}

static uint64_t
store_file_revision(struct tp_store *store, const char *part)
{
	struct store_file *file = (struct store_file *)store;
	uint32_t key_class = store_key_class(part);
	struct store_class *counts = &file->index->classes[key_class];
	struct store_watch *watch = &file->watches[key_class];
	/*
	 * done first: if begun, read later, is equal, no change was under way
	 * between the two loads. pairs with the release in store_change_end()
	 */
	uint64_t done = atomic_load_explicit(&counts->done, memory_order_acquire);
	uint64_t begun = atomic_load_explicit(&counts->begun, memory_order_acquire);
	uint64_t sum;

	if (watch->revision != 0 && begun == done && begun == watch->begun && done == watch->done)
		return watch->revision;
	sum = store_index_sum(file->index, key_class);
	if (watch->revision == 0 || sum != watch->sum)
		watch->revision++;
	watch->sum = sum;
	watch->begun = begun;
	watch->done = done;
	return watch->revision;
}

const struct store_ops store_file_ops = {
	.scheme = "file",
	.open = store_file_open,
	.close = store_file_close,
	.get = store_file_get,
	.cas = store_file_cas,
	.delete = store_file_delete,
	.list = store_file_list,
	.revision = store_file_revision,
};
