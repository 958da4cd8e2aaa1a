/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Segments over memfd, hugetlb memfd and files.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "pool_priv.h"
#include "tp_segment.h"

TP_LOG_REGISTER(pool);

#define SEGMENT_HUGE_BYTES (UINT64_C(2) << 20)

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23	/* since Linux 5.14; glibc of Debian 12 lacks it */
#endif

struct tp_segment {
	void *base;
	size_t bytes;
	enum tp_segment_type type;
	int fd;
	bool readonly;
};

static size_t
segment_page_bytes(enum tp_segment_type type)
{
	return type == TP_SEGMENT_HUGE ? SEGMENT_HUGE_BYTES : (size_t)sysconf(_SC_PAGESIZE);
}

/* Rounds up to whole pages; 0 when that overflows. */
static size_t
segment_round(size_t bytes, enum tp_segment_type type)
{
	size_t page = segment_page_bytes(type);

	return bytes > SIZE_MAX - page ? 0 : (bytes + page - 1) & ~(page - 1);
}

/* No change of size is possible any more, and no further seal: with a
 * F_SEAL_FUTURE_WRITE one holder of the descriptor could lock all others out.
 */
static int
segment_seal(int fd)
{
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	return 0;
}

static int
segment_map(struct tp_segment *segment, void *address)
{
	int prot = segment->readonly ? PROT_READ : PROT_READ | PROT_WRITE;
	int flags = MAP_SHARED;
	void *base;

	if (((uintptr_t)address & (segment_page_bytes(segment->type) - 1)) != 0)
		return -EINVAL;
	if (address != NULL)
		flags |= MAP_FIXED_NOREPLACE;
	base = mmap(address, segment->bytes, prot, flags, segment->fd, 0);
	if (base == MAP_FAILED)
		return -errno;
	/* A kernel before 4.17 takes MAP_FIXED_NOREPLACE for a mere hint. */
	if (address != NULL && base != address) {
		munmap(base, segment->bytes);
		return -EEXIST;
	}
	segment->base = base;
	return 0;
}

static void
segment_close(struct tp_segment *segment)
{
	if (segment->base != NULL)
		munmap(segment->base, segment->bytes);
	segment->base = NULL;
	tp_segment_fd_close(segment);
}

/* Take every page now, so that shortage is an error here and not a signal or
 * an out-of-memory kill later.
 */
static int
segment_populate(const struct tp_segment *segment)
{
	/* A hugetlb mapping has reserved its pages in mmap already. */
	if (segment->type != TP_SEGMENT_HUGE &&
	    fallocate(segment->fd, 0, 0, (off_t)segment->bytes) < 0)
		return -errno;
	if (madvise(segment->base, segment->bytes, MADV_POPULATE_WRITE) < 0)
		return -errno;
	return 0;
}

/* A memfd of one type, sized, mapped and sealed. */
static int
segment_memory_open(struct tp_segment *segment, const struct tp_segment_config *config,
		    enum tp_segment_type type)
{
	unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	int ret;

	if (type == TP_SEGMENT_HUGE)
		flags |= MFD_HUGETLB | MFD_HUGE_2MB;
	segment->type = type;
	segment->bytes = segment_round(config->bytes, type);
	if (segment->bytes == 0)
		return -EINVAL;
	segment->fd = memfd_create(config->name != NULL ? config->name : "telepage", flags);
	if (segment->fd < 0)
		return -errno;
	if (ftruncate(segment->fd, (off_t)segment->bytes) < 0) {
		ret = -errno;
		goto close;
	}
	ret = segment_map(segment, config->address);
	if (ret < 0)
		goto close;
	if (type == TP_SEGMENT_HUGE || (type == TP_SEGMENT_SHARED && !config->sparse)) {
		ret = segment_populate(segment);
		if (ret < 0)
			goto close;
	}
	ret = segment_seal(segment->fd);
	if (ret < 0)
		goto close;
	return 0;

close:
	segment_close(segment);
	return ret;
}

static int
segment_huge_open(struct tp_segment *segment, const struct tp_segment_config *config)
{
	struct tp_segment_config shared = *config;
	int ret = segment_memory_open(segment, config, TP_SEGMENT_HUGE);

	/* The caller's own mistakes would fail the same way without huge pages. */
	if (ret == 0 || ret == -EINVAL || ret == -EEXIST || ret == -EMFILE || ret == -ENFILE)
		return ret;
	TP_POOL_LOG(WARNING,
		    "segment %s: %zu MiB do not fit the free huge pages (%s), using 4 KiB pages",
		    config->name != NULL ? config->name : "telepage",
		    segment_round(config->bytes, TP_SEGMENT_HUGE) >> 20, strerror(-ret));
	/* The size stays that of whole huge pages: the caller may rely on it. */
	shared.bytes = segment_round(config->bytes, TP_SEGMENT_HUGE);
	shared.sparse = false;
	return segment_memory_open(segment, &shared, TP_SEGMENT_SHARED);
}

/* Size of an existing file, checked against what the caller needs. */
static int
segment_size_from_fd(struct tp_segment *segment, size_t bytes_min)
{
	struct stat st;

	if (fstat(segment->fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if (st.st_size <= 0 || (size_t)st.st_size < bytes_min)
		return -ENODATA;
	segment->bytes = (size_t)st.st_size;
	return 0;
}

static int
segment_file_create(struct tp_segment *segment, const struct tp_segment_config *config)
{
	int ret;

	segment->bytes = segment_round(config->bytes, TP_SEGMENT_FILE);
	if (segment->bytes == 0)
		return -EINVAL;
	segment->fd = open(config->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (segment->fd < 0)
		return -errno;
	/* With blocks for every page a store can never find the disk full. */
	ret = -posix_fallocate(segment->fd, 0, (off_t)segment->bytes);
	if (ret == 0)
		ret = segment_map(segment, config->address);
	if (ret < 0) {
		segment_close(segment);
		unlink(config->path);
	}
	return ret;
}

static int
segment_file_open(struct tp_segment *segment, const struct tp_segment_config *config)
{
	int ret;

	segment->type = TP_SEGMENT_FILE;
	if (config->path == NULL)
		return -EINVAL;
	if (config->file_mode == TP_SEGMENT_FILE_CREATE)
		return segment_file_create(segment, config);
	if (config->file_mode != TP_SEGMENT_FILE_OPEN &&
	    config->file_mode != TP_SEGMENT_FILE_OPEN_READONLY)
		return -EINVAL;
	segment->readonly = config->file_mode == TP_SEGMENT_FILE_OPEN_READONLY;
	segment->fd = open(config->path, (segment->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	if (segment->fd < 0)
		return -errno;
	ret = segment_size_from_fd(segment, config->bytes);
	if (ret == 0)
		ret = segment_map(segment, config->address);
	if (ret < 0)
		segment_close(segment);
	return ret;
}

static int
segment_open(struct tp_segment *segment, const struct tp_segment_config *config)
{
	switch (config->type) {
	case TP_SEGMENT_HEAP:
	case TP_SEGMENT_SHARED:
		return segment_memory_open(segment, config, config->type);
	case TP_SEGMENT_HUGE:
		return segment_huge_open(segment, config);
	case TP_SEGMENT_FILE:
		return segment_file_open(segment, config);
	default:
		return -EINVAL;
	}
}

int
tp_segment_create(const struct tp_segment_config *config, struct tp_segment **segment_out)
{
	struct tp_segment *segment;
	int ret;

	if (config->readonly || (config->sparse && config->type != TP_SEGMENT_SHARED))
		return -EINVAL;
	segment = calloc(1, sizeof(*segment));
	if (segment == NULL)
		return -ENOMEM;
	segment->fd = -1;
	ret = segment_open(segment, config);
	if (ret < 0) {
		free(segment);
		return ret;
	}
	*segment_out = segment;
	return 0;
}

/* The descriptor must be of a memfd of the wanted type, and sealed: the size is
 * only worth checking once it can no longer shrink.
 */
static int
segment_import_memory(struct tp_segment *segment, enum tp_segment_type wanted)
{
	struct statfs fs;
	int seals = fcntl(segment->fd, F_GET_SEALS);

	if (seals < 0)
		return errno == EBADF ? -EBADF : -EMEDIUMTYPE;
	if (fstatfs(segment->fd, &fs) < 0)
		return -errno;
	segment->type = fs.f_type == HUGETLBFS_MAGIC ? TP_SEGMENT_HUGE : TP_SEGMENT_SHARED;
	if (wanted == TP_SEGMENT_HEAP)
		wanted = TP_SEGMENT_SHARED;
	if (wanted != TP_SEGMENT_ANY && wanted != segment->type)
		return -EMEDIUMTYPE;
	if ((seals & F_SEAL_SHRINK) == 0 && segment_seal(segment->fd) < 0)
		return -EPERM;
	return 0;
}

static int
segment_import(struct tp_segment *segment, const struct tp_segment_config *config)
{
	int ret;

	segment->type = TP_SEGMENT_FILE;
	if (config->type != TP_SEGMENT_FILE) {
		ret = segment_import_memory(segment, config->type);
		if (ret < 0)
			return ret;
	}
	ret = segment_size_from_fd(segment, config->bytes);
	if (ret < 0)
		return ret;
	return segment_map(segment, config->address);
}

int
tp_segment_import(int fd, const struct tp_segment_config *config, struct tp_segment **segment_out)
{
	struct tp_segment *segment;
	int ret;

	if ((unsigned int)config->type >= TP_SEGMENT_TYPE_COUNT)
		return -EINVAL;
	segment = calloc(1, sizeof(*segment));
	if (segment == NULL)
		return -ENOMEM;
	segment->fd = fd;
	segment->readonly = config->readonly;
	ret = segment_import(segment, config);
	if (ret < 0) {
		free(segment);
		return ret;
	}
	*segment_out = segment;
	return 0;
}

void
tp_segment_destroy(struct tp_segment *segment)
{
	if (segment == NULL)
		return;
	segment_close(segment);
	free(segment);
}

void *
tp_segment_base(const struct tp_segment *segment)
{
	return segment->base;
}

size_t
tp_segment_bytes(const struct tp_segment *segment)
{
	return segment->bytes;
}

enum tp_segment_type
tp_segment_type(const struct tp_segment *segment)
{
	return segment->type;
}

int
tp_segment_fd(const struct tp_segment *segment)
{
	return segment->fd;
}

void
tp_segment_fd_close(struct tp_segment *segment)
{
	if (segment->fd >= 0)
		close(segment->fd);
	segment->fd = -1;
}

bool
tp_segment_readonly(const struct tp_segment *segment)
{
	return segment->readonly;
}

const char *
tp_segment_type_name(unsigned int type)
{
	static const char * const names[TP_SEGMENT_TYPE_COUNT] = {
#define AS_NAME(name, id, text) [id] = (text),
		TP_SEGMENT_TYPE_LIST(AS_NAME)
#undef AS_NAME
	};

	return type < TP_SEGMENT_TYPE_COUNT ? names[type] : "unknown";
}
