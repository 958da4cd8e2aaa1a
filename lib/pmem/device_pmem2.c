/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The device on libpmem2: the only file that knows it. Both mappings lie in address
 * space reserved at opening, so that they grow in place.
 */
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <libpmem2.h>

#include "device_sync.h"
#include "device_view.h"
#include "pmem_priv.h"

#define DEVICE_RESERVE_MIN (UINT64_C(64) << 30)
#define DEVICE_RESERVE_SHARE 4u		/* times the size at opening */
#define DEVICE_ALIGN (UINT64_C(2) << 20)
#define DEVICE_WRITE_BYTES_MIN 2048u	/* stores of so many are a system call always */
#define DEVICE_WRITE_NOTES_MAX 32u	/* of others, so many between two fences */

struct device_pmem2 {
	struct tp_pmem_device device;
	int fd;
	bool is_device;			/* device DAX: of one size, without private mappings */
	uint64_t reserve_bytes;
	struct pmem2_vm_reservation *reservation;	/* NULL: it cannot grow */
	void *source;			/* media of a device that is opened for reading */
	struct device_view lazy;
	struct pmem2_map *maps[PMEM_ZONES_MAX];
	unsigned int map_count;
	pmem2_memcpy_fn copy;
	pmem2_flush_fn write_back;
	pmem2_drain_fn drain;
	struct device_sync sync;	/* page granularity */
};

static struct device_pmem2 *
to_pmem2(struct tp_pmem_device *device)
{
	return (struct device_pmem2 *)(void *)device;
}

static void
line_store(struct tp_pmem_device *device, void *media, const void *src, size_t bytes)
{
	to_pmem2(device)->copy(media, src, bytes, PMEM2_F_MEM_NODRAIN | PMEM2_F_MEM_NONTEMPORAL);
}

/* Single words whole: reports read the heap's while commits change them. */
static void
any_write(struct tp_pmem_device *device, void *media, const void *src, size_t bytes)
{
	uint64_t word;

	if (bytes == sizeof(word) && (uintptr_t)media % sizeof(word) == 0) {
		memcpy(&word, src, sizeof(word));
		__atomic_store_n((uint64_t *)media, word, __ATOMIC_RELAXED);
	} else {
		memcpy(media, src, bytes);
	}
}

static bool
any_replace(struct tp_pmem_device *device, uint64_t *media, uint64_t expected, uint64_t desired)
{
	return __atomic_compare_exchange_n(media, &expected, desired, false, __ATOMIC_ACQ_REL,
		__ATOMIC_RELAXED);
}

static void
line_flush(struct tp_pmem_device *device, const void *media, size_t bytes)
{
	to_pmem2(device)->write_back(media, bytes);
}

static int
line_fence(struct tp_pmem_device *device)
{
	to_pmem2(device)->drain();
	return 0;
}

static void
page_store(struct tp_pmem_device *device, void *media, const void *src, size_t bytes)
{
	memcpy(media, src, bytes);
	device_sync_note(&to_pmem2(device)->sync, media, bytes);
}

/*
 * On a disk the same by a system call, into the same pages: a page that became dirty through
 * the mapping faults before, and when it is written back its mapping is looked up, changed and
 * flushed: on ext4, 350 us for msync() instead of 100 us. Not for what is small and many
 * between two fences, where one fault serves many stores.
 */
static void
file_store(struct tp_pmem_device *device, void *media, const void *src, size_t bytes)
{
	struct device_pmem2 *pmem2 = to_pmem2(device);
	off_t offset = (off_t)((uint8_t *)media - device->media);
	size_t at = 0;

	if (bytes < DEVICE_WRITE_BYTES_MIN &&
			device_sync_notes(&pmem2->sync) >= DEVICE_WRITE_NOTES_MAX) {
		page_store(device, media, src, bytes);
		return;
	}
	while (at < bytes) {
		ssize_t did = pwrite(pmem2->fd, (const uint8_t *)src + at, bytes - at,
			offset + (off_t)at);

		if (did > 0) {
			at += (size_t)did;
		} else if (did == 0 || errno != EINTR) {
			device_sync_fail(&pmem2->sync);
			return;
		}
	}
	device_sync_note(&pmem2->sync, media, bytes);
}

static void
page_flush(struct tp_pmem_device *device, const void *media, size_t bytes)
{
	device_sync_note(&to_pmem2(device)->sync, media, bytes);
}

static int
page_fence(struct tp_pmem_device *device)
{
	return device_sync_fence(&to_pmem2(device)->sync);
}

static void
any_view_drop(struct tp_pmem_device *device, uint64_t offset, uint64_t bytes)
{
	madvise(device->view + offset, bytes, MADV_DONTNEED);
}

/*
 * Kernels before 5.14 do not know this, and the pages come one by one. The media is only
 * read, so that none becomes dirty; on tmpfs and DAX that lets stores through, too.
 */
static void
any_expect(struct tp_pmem_device *device, uint64_t offset, uint64_t bytes)
{
	madvise(device->view + offset, bytes, MADV_POPULATE_WRITE);
	madvise(device->media + offset, bytes, MADV_POPULATE_READ);
}

/* libpmem2 says -errno, or numbers of its own. */
static int
pmem2_error(int ret, const char *what)
{
	int error = ret > -1000 && ret < 0 ? -ret : ENOTSUP;

	return pmem_error(error, "libpmem2: %s: %s", what, pmem2_errormsg());
}

/* Map part of the file at its place in the reservation, to be written by us only. */
static int
media_map(struct device_pmem2 *pmem2, uint64_t offset, uint64_t bytes)
{
	struct pmem2_config *config = NULL;
	struct pmem2_source *source = NULL;
	struct pmem2_map *map = NULL;
	int ret;

	ret = pmem2_config_new(&config);
	if (ret == 0)
		ret = pmem2_source_from_fd(&source, pmem2->fd);
	if (ret == 0)
		ret = pmem2_config_set_required_store_granularity(config, PMEM2_GRANULARITY_PAGE);
	if (ret == 0)
		ret = pmem2_config_set_offset(config, offset);
	if (ret == 0)
		ret = pmem2_config_set_length(config, bytes);
	if (ret == 0 && pmem2->reservation != NULL)
		ret = pmem2_config_set_vm_reservation(config, pmem2->reservation, offset);
	if (ret == 0)
		ret = pmem2_map_new(&map, config, source);
	if (ret == 0)
		pmem2->maps[pmem2->map_count++] = map;
	else
		ret = pmem2_error(ret, "map");
	if (source != NULL)
		pmem2_source_delete(&source);
	if (config != NULL)
		pmem2_config_delete(&config);
	return ret;
}

static int
view_map(struct device_pmem2 *pmem2, uint64_t offset, uint64_t bytes)
{
	void *at = mmap(pmem2->device.view + offset, bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED, pmem2->fd, (off_t)offset);

	return at == MAP_FAILED ? pmem_error(errno, "mmap: %s", strerror(errno)) : 0;
}

static int
pmem2_resize(struct tp_pmem_device *device, uint64_t bytes)
{
	struct device_pmem2 *pmem2 = to_pmem2(device);
	uint64_t before = device->bytes;
	int ret;

	if (bytes <= before)
		return 0;
	if (pmem2->is_device)
		return pmem_error(ENOTSUP, "a device DAX device does not grow");
	if (bytes > pmem2->reserve_bytes || pmem2->map_count == RTE_DIM(pmem2->maps))
		return pmem_error(ENOMEM, "close and open it first: no address space is left behind it");
	ret = posix_fallocate(pmem2->fd, (off_t)before, (off_t)(bytes - before));
	if (ret != 0) {
		if (ftruncate(pmem2->fd, (off_t)before) < 0)
			return pmem_error(EIO, "cannot take back a growth that failed");
		return pmem_error(ret == EFBIG ? ENOSPC : ret,
			"no room for %llu bytes more", (unsigned long long)(bytes - before));
	}
	if (fsync(pmem2->fd) < 0) {
		ret = errno;
		/* It may be of what was stored before, and the next fence would not hear of it. */
		device_sync_fail(&pmem2->sync);
		return pmem_error(EIO, "fsync: %s", strerror(ret));
	}
	ret = media_map(pmem2, before, bytes - before);
	if (ret == 0)
		ret = view_map(pmem2, before, bytes - before);
	if (ret == 0)
		device->bytes = bytes;
	return ret;
}

static void
pmem2_close(struct tp_pmem_device *device)
{
	struct device_pmem2 *pmem2 = to_pmem2(device);

	device_view_close(&pmem2->lazy);
	if (device->view != NULL)
		munmap(device->view, pmem2->reserve_bytes);
	if (pmem2->source != NULL)
		munmap(pmem2->source, device->bytes);
	while (pmem2->map_count > 0)
		pmem2_map_delete(&pmem2->maps[--pmem2->map_count]);
	if (pmem2->reservation != NULL)
		pmem2_vm_reservation_delete(&pmem2->reservation);
	device_sync_fini(&pmem2->sync);
	close(pmem2->fd);
	free(pmem2);
}

static const struct tp_pmem_device_ops line_ops = {
	.store = line_store,
	.write = any_write,
	.replace = any_replace,
	.flush = line_flush,
	.fence = line_fence,
	.resize = pmem2_resize,
	.view_drop = any_view_drop,
	.expect = any_expect,
	.close = pmem2_close,
};

static const struct tp_pmem_device_ops page_ops = {
	.store = page_store,
	.write = any_write,
	.replace = any_replace,
	.flush = page_flush,
	.fence = page_fence,
	.resize = pmem2_resize,
	.view_drop = any_view_drop,
	.expect = any_expect,
	.close = pmem2_close,
};

/* On a disk. */
static const struct tp_pmem_device_ops file_ops = {
	.store = file_store,
	.write = any_write,
	.replace = any_replace,
	.flush = page_flush,
	.fence = page_fence,
	.resize = pmem2_resize,
	.view_drop = any_view_drop,
	.close = pmem2_close,
};

static void
no_flush(struct tp_pmem_device *device, const void *media, size_t bytes)
{
}

static int
no_fence(struct tp_pmem_device *device)
{
	return 0;
}

/* Both views are one private mapping: recovery writes to it. */
static const struct tp_pmem_device_ops read_only_ops = {
	.store = any_write,
	.write = any_write,
	.replace = any_replace,
	.flush = no_flush,
	.fence = no_fence,
	.close = pmem2_close,
};

/* How often the medium lost power with dirty caches; 0 where that is not counted. */
static uint64_t
unsafe_shutdowns(int fd)
{
	struct pmem2_source *source;
	uint64_t count = 0;

	if (pmem2_source_from_fd(&source, fd) != 0)
		return 0;
	if (pmem2_source_device_usc(source, &count) != 0)
		count = 0;
	pmem2_source_delete(&source);
	return count;
}

static void *
address_space(uint64_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return at == MAP_FAILED ? NULL : at;
}

/* Of a device that is opened for reading. */
static int
source_map(struct device_pmem2 *pmem2)
{
	void *at = mmap(NULL, pmem2->device.bytes, PROT_READ, MAP_SHARED, pmem2->fd, 0);

	if (at == MAP_FAILED)
		return pmem_error(errno, "mmap: %s", strerror(errno));
	pmem2->source = at;
	return 0;
}

static int
open_for_reading(struct device_pmem2 *pmem2)
{
	int ret = pmem2->is_device ? source_map(pmem2) : 0;

	pmem2->device.ops = &read_only_ops;
	pmem2->device.read_only = true;
	pmem2->device.granularity = TP_PMEM_GRANULARITY_PAGE;
	if (ret < 0)
		return ret;
	pmem2->reserve_bytes = RTE_ALIGN_CEIL(pmem2->device.bytes, DEVICE_ALIGN);
	pmem2->device.view = address_space(pmem2->reserve_bytes);
	if (pmem2->device.view == NULL)
		return -ENOMEM;
	ret = pmem2->is_device ? device_view_open(&pmem2->lazy, pmem2->device.view, pmem2->source,
		pmem2->device.bytes) : view_map(pmem2, 0, pmem2->device.bytes);
	pmem2->device.media = pmem2->device.view;
	pmem2->device.unsafe_shutdowns = unsafe_shutdowns(pmem2->fd);
	return ret;
}

/*
 * A file that was copied may have holes. On a full disk a store to one ends the program
 * (SIGBUS), on a full tmpfs even a look at one does. So holes are filled before, or there must be
 * room for them.
 */
static int
holes_fill(int fd, uint64_t bytes, bool read_only)
{
	struct statfs fs;
	struct stat st;
	uint64_t holes;

	if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
		return pmem_error(errno, "stat: %s", strerror(errno));
	holes = (uint64_t)st.st_blocks * 512 >= bytes ? 0 : bytes - (uint64_t)st.st_blocks * 512;
	/* Only there is the number of blocks exact; and filling would look at each page. */
	if (fs.f_type == TMPFS_MAGIC && holes == 0)
		return 0;
	if (read_only)
		return fs.f_type == TMPFS_MAGIC && fs.f_blocks > 0 &&
			holes > (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize ?
			pmem_error(ENOSPC, "the file has holes, and its file system no room for "
				"them") : 0;
	if (fallocate(fd, 0, 0, (off_t)bytes) == 0 || errno == EOPNOTSUPP)
		return 0;
	return errno == ENOSPC || errno == EDQUOT ?
		pmem_error(ENOSPC, "the file has holes, and its file system no room for them") :
		pmem_error(errno, "fallocate: %s", strerror(errno));
}

/* Where nothing is written back, and so no page becomes clean. */
static bool
is_in_memory(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
}

static enum tp_pmem_granularity
granularity_of(enum pmem2_granularity granularity)
{
	return granularity == PMEM2_GRANULARITY_BYTE ? TP_PMEM_GRANULARITY_BYTE :
		granularity == PMEM2_GRANULARITY_CACHE_LINE ? TP_PMEM_GRANULARITY_CACHE_LINE :
		TP_PMEM_GRANULARITY_PAGE;
}

static int
open_for_writing(struct device_pmem2 *pmem2)
{
	struct tp_pmem_device *device = &pmem2->device;
	int ret = 0;

	pmem2->reserve_bytes = RTE_ALIGN_CEIL(pmem2->is_device ? device->bytes :
		RTE_MAX(device->bytes * DEVICE_RESERVE_SHARE, DEVICE_RESERVE_MIN), DEVICE_ALIGN);
	if (!pmem2->is_device)
		ret = pmem2_vm_reservation_new(&pmem2->reservation, NULL, pmem2->reserve_bytes);
	if (ret < 0)
		return pmem2_error(ret, "address space");
	device->view = address_space(pmem2->reserve_bytes);
	if (device->view == NULL)
		return -ENOMEM;
	ret = media_map(pmem2, 0, device->bytes);
	if (ret < 0)
		return ret;
	device->media = pmem2_map_get_address(pmem2->maps[0]);
	ret = pmem2->is_device ? device_view_open(&pmem2->lazy, device->view, device->media,
		device->bytes) : view_map(pmem2, 0, device->bytes);
	if (ret < 0)
		return ret;
	device->granularity = granularity_of(pmem2_map_get_store_granularity(pmem2->maps[0]));
	device->is_dax = device->granularity != TP_PMEM_GRANULARITY_PAGE;
	device->unsafe_shutdowns = device->is_dax ? unsafe_shutdowns(pmem2->fd) : 0;
	device->ops = device->is_dax ? &line_ops : is_in_memory(pmem2->fd) ? &page_ops : &file_ops;
	pmem2->copy = pmem2_get_memcpy_fn(pmem2->maps[0]);
	pmem2->write_back = pmem2_get_flush_fn(pmem2->maps[0]);
	pmem2->drain = pmem2_get_drain_fn(pmem2->maps[0]);
	return 0;
}

/* Files say their size by stat(), device DAX by libpmem2. */
static int
size_of(int fd, uint64_t *bytes, bool *is_device)
{
	struct pmem2_source *source;
	struct stat st;
	size_t size;
	int ret;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISREG(st.st_mode)) {
		*bytes = (uint64_t)st.st_size;
		return 0;
	}
	*is_device = S_ISCHR(st.st_mode);
	if (!*is_device)
		return pmem_error(ENOTSUP, "neither a file nor a device DAX device");
	ret = pmem2_source_from_fd(&source, fd);
	if (ret < 0)
		return pmem2_error(ret, "open");
	ret = pmem2_source_size(source, &size);
	pmem2_source_delete(&source);
	*bytes = size;
	return ret < 0 ? pmem2_error(ret, "size") : 0;
}

int
tp_pmem_device_open(const char *path, uint64_t bytes_min, bool read_only,
		    struct tp_pmem_device **device_out)
{
	struct device_pmem2 *pmem2 = calloc(1, sizeof(*pmem2));
	int ret;

	if (pmem2 == NULL)
		return -ENOMEM;
	device_sync_init(&pmem2->sync);
	pmem2->fd = open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	if (pmem2->fd < 0) {
		ret = pmem_error(errno, "%s: %s", path, strerror(errno));
		free(pmem2);
		return ret;
	}
	ret = size_of(pmem2->fd, &pmem2->device.bytes, &pmem2->is_device);
	pmem2->device.bytes &= ~(uint64_t)(PMEM_PAGE_BYTES - 1);
	if (ret == 0 && (pmem2->device.bytes < bytes_min || pmem2->device.bytes == 0))
		ret = pmem_error(ENODATA, "%s: %llu bytes only", path,
			(unsigned long long)pmem2->device.bytes);
	if (ret == 0 && !pmem2->is_device)
		ret = holes_fill(pmem2->fd, pmem2->device.bytes, read_only);
	if (ret == 0)
		ret = read_only ? open_for_reading(pmem2) : open_for_writing(pmem2);
	if (ret < 0) {
		pmem2_close(&pmem2->device);
		return ret;
	}
	*device_out = &pmem2->device;
	return 0;
}

const char *
tp_pmem_granularity_name(enum tp_pmem_granularity granularity)
{
	switch (granularity) {
	case TP_PMEM_GRANULARITY_BYTE:
		return "byte";
	case TP_PMEM_GRANULARITY_CACHE_LINE:
		return "cache line";
	case TP_PMEM_GRANULARITY_PAGE:
		return "page";
	}
	return "unknown";
}
