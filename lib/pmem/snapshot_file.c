/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Checkpoint files: found, read and verified.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snapshot_priv.h"

int
snapshot_path(char path[PATH_MAX], const char *prefix, uint64_t number, const char *suffix)
{
	int chars = snprintf(path, PATH_MAX, "%s.ckpt-%06llu%s", prefix,
		(unsigned long long)number, suffix);

	return chars >= PATH_MAX ? pmem_error(ENAMETOOLONG, "%s: %s", prefix,
		strerror(ENAMETOOLONG)) : 0;
}

/* The number in a name, 0: it is none of ours. */
static uint64_t
number_of(const char *name, const char *base)
{
	size_t chars = strlen(base);
	unsigned int number, end = 0;

	if (strncmp(name, base, chars) != 0 ||
			sscanf(name + chars, ".ckpt-%6u%n", &number, &end) != 1 ||
			end != strlen(".ckpt-000000") || name[chars + end] != '\0' ||
			name[chars + strlen(".ckpt-")] == '+' || name[chars + strlen(".ckpt-")] == '-')
		return 0;
	return number;
}

static int
number_compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

int
snapshot_numbers(const char *prefix, uint64_t **numbers)
{
	const char *slash = strrchr(prefix, '/');
	const char *base = slash == NULL ? prefix : slash + 1;
	char *folder = slash == NULL ? strdup(".") : strndup(prefix, (size_t)(slash - prefix) + 1);
	struct pmem_buffer found = { 0 };
	const struct dirent *item;
	int ret = 0;
	DIR *dir;

	if (folder == NULL)
		return -ENOMEM;
	dir = opendir(folder);
	if (dir == NULL)
		ret = pmem_error(errno, "%s: %s", folder, strerror(errno));
	free(folder);
	while (ret == 0 && (item = readdir(dir)) != NULL) {
		uint64_t number = number_of(item->d_name, base), *place;

		if (number == 0)
			continue;
		place = pmem_buffer_extend(&found, sizeof(*place));
		if (place == NULL)
			ret = -ENOMEM;
		else
			*place = number;
	}
	if (dir != NULL)
		closedir(dir);
	if (ret < 0) {
		pmem_buffer_fini(&found);
		return ret;
	}
	*numbers = (uint64_t *)(void *)found.data;
	if (found.bytes > 0)
		qsort(*numbers, found.bytes / sizeof(uint64_t), sizeof(uint64_t), number_compare);
	return (int)(found.bytes / sizeof(uint64_t));
}

uint32_t
snapshot_head_crc(const struct snapshot_head *head)
{
	struct snapshot_head copy = *head;

	copy.crc = 0;
	return tp_pmem_crc(0, &copy, sizeof(copy));
}

int
snapshot_write(int fd, const void *data, size_t bytes, uint64_t offset)
{
	const uint8_t *from = data;

	while (bytes > 0) {
		ssize_t did = pwrite(fd, from, bytes, (off_t)offset);

		if (did < 0 && errno == EINTR)
			continue;
		if (did < 0)
			return -errno;
		from += did;
		bytes -= (size_t)did;
		offset += (uint64_t)did;
	}
	return 0;
}

int
snapshot_read(int fd, void *data, size_t bytes, uint64_t offset)
{
	uint8_t *to = data;

	while (bytes > 0) {
		ssize_t did = pread(fd, to, bytes, (off_t)offset);

		if (did < 0 && errno == EINTR)
			continue;
		if (did <= 0)
			return did < 0 ? -errno : -ENODATA;
		to += did;
		bytes -= (size_t)did;
		offset += (uint64_t)did;
	}
	return 0;
}

/*
 * Verifying. Nothing is believed before its CRC was right.
 */

static int
head_read(int fd, uint64_t number, struct snapshot_head *head)
{
	uint64_t bytes;
	struct stat st;
	int ret = fstat(fd, &st) < 0 ? -errno : snapshot_read(fd, head, sizeof(*head), 0);

	if (ret == -ENODATA)
		return pmem_error(ENODATA, "truncated: shorter than its head");
	if (ret < 0)
		return pmem_error(-ret, "%s", strerror(-ret));
	if (rte_le_to_cpu_64(head->magic) != SNAPSHOT_MAGIC)
		return pmem_error(EMEDIUMTYPE, "not a checkpoint file");
	if (rte_le_to_cpu_32(head->crc) != snapshot_head_crc(head))
		return pmem_error(EBADMSG, "head: checksum is wrong");
	if (rte_le_to_cpu_32(head->version) != TP_PMEM_SNAPSHOT_VERSION)
		return pmem_error(EPROTONOSUPPORT, "a checkpoint file of version %u",
			rte_le_to_cpu_32(head->version));
	if (rte_le_to_cpu_64(head->number) != number)
		return pmem_error(EBADMSG, "it is number %llu under another name",
			(unsigned long long)rte_le_to_cpu_64(head->number));
	bytes = rte_le_to_cpu_64(head->bytes);
	if (rte_le_to_cpu_64(head->pool_bytes) > TP_PMEM_POOL_BYTES_MAX ||
			bytes > rte_le_to_cpu_64(head->pool_bytes) ||
			rte_le_to_cpu_64(head->piece_count) > bytes / PMEM_PAGE_BYTES)
		return pmem_error(EBADMSG, "head: numbers make no sense");
	if ((uint64_t)st.st_size != SNAPSHOT_HEAD_BYTES + bytes +
			rte_le_to_cpu_64(head->piece_count) * sizeof(struct snapshot_piece))
		return pmem_error(ENODATA, "truncated, or something was added: %lld bytes",
			(long long)st.st_size);
	return 0;
}

static int
table_read(int fd, const struct snapshot_head *head, struct snapshot_piece **table_out)
{
	uint64_t count = rte_le_to_cpu_64(head->piece_count), sum = 0, end = 0;
	struct snapshot_piece *table = malloc(count * sizeof(*table) + 1);
	int ret;

	if (table == NULL)
		return -ENOMEM;
	ret = snapshot_read(fd, table, count * sizeof(*table),
		SNAPSHOT_HEAD_BYTES + rte_le_to_cpu_64(head->bytes));
	if (ret < 0)
		ret = pmem_error(-ret, "table: %s", strerror(-ret));
	else if (tp_pmem_crc(0, table, count * sizeof(*table)) != rte_le_to_cpu_32(head->table_crc))
		ret = pmem_error(EBADMSG, "table: checksum is wrong");
	for (uint64_t i = 0; i < count && ret == 0; i++) {
		uint64_t offset = rte_le_to_cpu_64(table[i].offset);
		uint32_t bytes = rte_le_to_cpu_32(table[i].bytes);

		sum += bytes;
		if (offset < end || bytes == 0 || bytes > SNAPSHOT_PIECE_BYTES ||
				offset > rte_le_to_cpu_64(head->pool_bytes) ||
				bytes > rte_le_to_cpu_64(head->pool_bytes) - offset)
			ret = pmem_error(EBADMSG, "table: numbers make no sense");
		end = offset + bytes;
	}
	if (ret == 0 && sum != rte_le_to_cpu_64(head->bytes))
		ret = pmem_error(EBADMSG, "table: numbers make no sense");
	if (ret < 0) {
		free(table);
		return ret;
	}
	*table_out = table;
	return 0;
}

static int
pieces_read(int fd, const struct snapshot_head *head, const struct snapshot_piece *table,
	    snapshot_piece_fn *piece, void *context)
{
	uint8_t *data = malloc(SNAPSHOT_PIECE_BYTES);
	uint64_t at = SNAPSHOT_HEAD_BYTES;
	int ret = data == NULL ? -ENOMEM : 0;

	for (uint64_t i = 0; i < rte_le_to_cpu_64(head->piece_count) && ret == 0; i++) {
		uint32_t bytes = rte_le_to_cpu_32(table[i].bytes);

		ret = snapshot_read(fd, data, bytes, at);
		if (ret < 0)
			ret = pmem_error(-ret, "at %#llx: %s", (unsigned long long)at, strerror(-ret));
		else if (tp_pmem_crc(0, data, bytes) != rte_le_to_cpu_32(table[i].crc))
			ret = pmem_error(EBADMSG, "at %#llx, of the pool at %#llx: checksum is wrong",
				(unsigned long long)at,
				(unsigned long long)rte_le_to_cpu_64(table[i].offset));
		else if (piece != NULL)
			ret = piece(context, rte_le_to_cpu_64(table[i].offset), data, bytes);
		at += bytes;
	}
	free(data);
	return ret;
}

int
snapshot_verify(const char *path, uint64_t number, struct tp_pmem_snapshot_info *info,
		int (*begin)(void *context, const struct tp_pmem_snapshot_info *info),
		snapshot_piece_fn *piece, void *context)
{
	struct snapshot_piece *table = NULL;
	struct snapshot_head head;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int ret;

	if (fd < 0)
		return pmem_error(errno, "%s", strerror(errno));
	ret = head_read(fd, number, &head);
	if (ret == 0)
		ret = table_read(fd, &head, &table);
	if (ret == 0) {
		*info = (struct tp_pmem_snapshot_info){
			.number = number,
			.pool_bytes = rte_le_to_cpu_64(head.pool_bytes),
			.bytes = rte_le_to_cpu_64(head.bytes),
			.created_s = rte_le_to_cpu_64(head.created_s),
			.committed_seq = rte_le_to_cpu_64(head.committed_seq),
		};
		memcpy(info->uuid, head.uuid, sizeof(info->uuid));
		ret = begin == NULL ? 0 : begin(context, info);
	}
	if (ret == 0)
		ret = pieces_read(fd, &head, table, piece, context);
	free(table);
	close(fd);
	return ret;
}

int
tp_pmem_snapshot_list(const char *prefix, tp_pmem_snapshot_fn *found, void *context)
{
	uint64_t *numbers = NULL;
	int count = snapshot_numbers(prefix, &numbers);
	int good = 0;

	for (int i = count; i-- > 0;) {
		struct tp_pmem_snapshot_info info = { 0 };
		char path[PATH_MAX];
		int ret = snapshot_path(path, prefix, numbers[i], "");

		if (ret == 0)
			ret = snapshot_verify(path, numbers[i], &info, NULL, NULL, NULL);
		if (ret == 0)
			good++;
		if (found != NULL)
			found(context, path, ret, ret == 0 ? "" : tp_pmem_error(), &info);
	}
	free(numbers);
	return count < 0 ? count : good;
}
