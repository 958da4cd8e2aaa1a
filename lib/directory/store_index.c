/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The shared index of a file store: an open-addressed table in a mapped file.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store_index_priv.h"
#include "store_priv.h"

#define STORE_OPEN_TRIES 100

static uint64_t
store_hash(const char *text, size_t bytes)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);	/* FNV-1a, then a finalizer */

	for (size_t i = 0; i < bytes; i++)
		hash = (hash ^ (unsigned char)text[i]) * UINT64_C(0x100000001b3);
	hash = (hash ^ hash >> 32) * UINT64_C(0x9E3779B97F4A7C15);
	return hash ^ hash >> 29;
}

uint32_t
store_key_class(const char *key)
{
	size_t bytes = 0;

	while (key[bytes] != '\0' && key[bytes] != '/')
		bytes++;
	return (uint32_t)(store_hash(key, bytes) % STORE_CLASS_COUNT);
}

uint64_t
store_key_hash(const char *key)
{
	size_t bytes = 0;

	while (key[bytes] != '\0')
		bytes++;
	/* 59 bits tell 8,192 keys apart; bit 0 keeps the hash from being 0. */
	return (uint64_t)store_key_class(key) << 60 | store_hash(key, bytes) >> 4 | 1;
}

/* Make the index under a name of our own, then give it the name: whole or not at all. */
static int
store_index_make(int dir_fd)
{
	static const struct store_index head = {
		.magic = STORE_INDEX_MAGIC,
		.version = STORE_INDEX_VERSION,
		.slot_count = STORE_SLOT_COUNT,
	};
	static _Atomic unsigned int serial;
	char name[64];
	int ret;
	int fd;

	snprintf(name, sizeof(name), "new.%d.%u", getpid(),
		atomic_fetch_add_explicit(&serial, 1, memory_order_relaxed));
	fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return errno == EEXIST ? 0 : -errno;
	/* Not sparse: a full file system must fail here, not as SIGBUS in a change. */
	ret = -posix_fallocate(fd, 0, sizeof(head));
	if (ret == 0 && pwrite(fd, &head, offsetof(struct store_index, classes), 0) !=
			(ssize_t)offsetof(struct store_index, classes))
		ret = -ENOSPC;
	/* Lost to another maker, or our file swept away by one: the caller looks again. */
	if (ret == 0 && linkat(dir_fd, name, dir_fd, "index", 0) < 0 && errno != EEXIST &&
			errno != ENOENT)
		ret = -errno;
	unlinkat(dir_fd, name, 0);
	close(fd);
	return ret;
}

static int
store_index_map(int fd, struct store_index **index_out)
{
	struct store_index *index;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size != sizeof(struct store_index))
		return -EBADMSG;
	index = mmap(NULL, sizeof(*index), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (index == MAP_FAILED)
		return -errno;
	if (index->magic != STORE_INDEX_MAGIC || index->version != STORE_INDEX_VERSION ||
			index->slot_count != STORE_SLOT_COUNT) {
		munmap(index, sizeof(*index));
		return -EBADMSG;
	}
	*index_out = index;
	return 0;
}

struct store_index *
store_index_open(int dir_fd, int *ret)
{
	struct store_index *index = NULL;

	*ret = -EBUSY;
	for (int i = 0; i < STORE_OPEN_TRIES; i++) {
		int fd = openat(dir_fd, "index", O_RDWR | O_CLOEXEC);

		if (fd >= 0) {
			*ret = store_index_map(fd, &index);
			close(fd);
			return index;
		}
		*ret = errno == ENOENT ? store_index_make(dir_fd) : -errno;
		if (*ret < 0)
			return NULL;
		*ret = -EBUSY;
	}
	return NULL;
}

void
store_index_close(struct store_index *index)
{
	munmap(index, sizeof(*index));
}

uint32_t
store_index_slot(struct store_index *index, uint64_t hash, bool make)
{
	for (uint32_t i = 0; i < STORE_SLOT_COUNT; i++) {
		uint32_t slot = (uint32_t)((hash >> 1) + i) % STORE_SLOT_COUNT;
		/* Set once and read by itself: what it leads to is ordered by word. */
		uint64_t seen = atomic_load_explicit(&index->slots[slot].hash,
			memory_order_relaxed);

		if (seen == 0) {
			if (!make)
				return STORE_SLOT_NONE;
			if (atomic_compare_exchange_strong_explicit(&index->slots[slot].hash,
					&seen, hash, memory_order_relaxed, memory_order_relaxed))
				return slot;
		}
		if (seen == hash)
			return slot;
	}
	return STORE_SLOT_NONE;
}

uint64_t
store_index_sum(const struct store_index *index, uint32_t key_class)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < STORE_SLOT_COUNT; i++) {
		uint64_t hash = atomic_load_explicit(&index->slots[i].hash, memory_order_relaxed);

		if (hash != 0 && hash >> 60 == key_class)
			/* pairs with the release in store_file_commit() */
			sum += atomic_load_explicit(&index->slots[i].word, memory_order_acquire);
	}
	return sum;
}
