/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Pools in files: made, found, locked and removed. The lock is of the open file
 * description (F_OFD_SETLK): it goes with the process, however it dies.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pmem_priv.h"

#define FILE_MODE_DEFAULT 0600u

int
pmem_lock_open(const char *path, bool read_only)
{
	struct flock lock = { .l_type = read_only ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET };
	int fd = open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	int ret;

	if (fd < 0)
		return pmem_error(errno, "%s: %s", path, strerror(errno));
	if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
		return fd;
	ret = errno == EAGAIN || errno == EACCES ?
		pmem_error(EBUSY, "%s: in use by another process", path) :
		pmem_error(errno, "%s: lock: %s", path, strerror(errno));
	close(fd);
	return ret;
}

bool
pmem_is_device(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISCHR(st.st_mode);
}

/* Names last when their directory does. */
int
pmem_directory_sync(const char *path)
{
	char *copy = strdup(path);
	char *slash;
	int fd, ret;

	if (copy == NULL)
		return -ENOMEM;
	slash = strrchr(copy, '/');
	if (slash != NULL)
		slash[slash == copy ? 1 : 0] = '\0';
	fd = open(slash == NULL ? "." : copy, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(copy);
	if (fd < 0)
		return pmem_error(errno, "%s: %s", path, strerror(errno));
	ret = fsync(fd) < 0 ? pmem_error(EIO, "%s: directory: %s", path, strerror(errno)) : 0;
	close(fd);
	return ret;
}

static int
file_make(const char *path, uint64_t bytes, uint32_t mode)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC,
		(mode_t)(mode != 0 ? mode : FILE_MODE_DEFAULT));
	int ret;

	if (fd < 0)
		return pmem_error(errno, "%s: %s", path, strerror(errno));
	ret = posix_fallocate(fd, 0, (off_t)bytes);
	if (ret != 0)
		ret = pmem_error(ret == EFBIG ? ENOSPC : ret, "%s: no room for %llu bytes: %s", path,
			(unsigned long long)bytes, strerror(ret));
	else if (fsync(fd) < 0)
		ret = pmem_error(EIO, "%s: %s", path, strerror(errno));
	close(fd);
	if (ret == 0)
		ret = pmem_directory_sync(path);
	if (ret < 0)
		unlink(path);
	return ret;
}

int
tp_pmem_pool_create(const char *path, uint64_t bytes, const struct tp_pmem_pool_config *config,
		    struct tp_pmem_pool **pool_out)
{
	struct tp_pmem_device *device;
	bool is_file = !pmem_is_device(path);
	int lock_fd, ret = 0;

	bytes &= ~(uint64_t)(PMEM_PAGE_BYTES - 1);
	if (bytes < TP_PMEM_POOL_BYTES_MIN || bytes > TP_PMEM_POOL_BYTES_MAX)
		return pmem_error(EINVAL, "size: 4 MiB to 8 TiB");
	if (is_file)
		ret = file_make(path, bytes, config == NULL ? 0 : config->mode);
	if (ret < 0)
		return ret;
	lock_fd = pmem_lock_open(path, false);
	if (lock_fd < 0) {
		ret = lock_fd;
		goto unlink_file;
	}
	ret = tp_pmem_device_open(path, bytes, false, &device);
	if (ret == 0)
		ret = tp_pmem_pool_create_on(device, config, pool_out);
	if (ret < 0)
		goto close_lock;
	(*pool_out)->lock_fd = lock_fd;
	return 0;

close_lock:
	close(lock_fd);
unlink_file:
	if (is_file)
		unlink(path);
	return ret;
}

int
tp_pmem_pool_open(const char *path, uint32_t flags, struct tp_pmem_pool **pool_out)
{
	bool read_only = (flags & TP_PMEM_OPEN_READ_ONLY) != 0;
	int lock_fd = pmem_lock_open(path, read_only);
	struct tp_pmem_device *device;
	int ret;

	if (lock_fd < 0)
		return lock_fd;
	ret = tp_pmem_device_open(path, 0, read_only, &device);
	if (ret == 0)
		ret = tp_pmem_pool_open_on(device, flags, pool_out);
	if (ret < 0) {
		close(lock_fd);
		return ret;
	}
	(*pool_out)->lock_fd = lock_fd;
	return 0;
}

int
tp_pmem_pool_close(struct tp_pmem_pool *pool)
{
	int lock_fd, ret;

	if (pool == NULL)
		return 0;
	lock_fd = pool->lock_fd;
	ret = pmem_pool_close_device(pool);
	if (lock_fd >= 0)
		close(lock_fd);
	return ret;
}

int
tp_pmem_pool_destroy(const char *path)
{
	struct tp_pmem_device *device;
	struct pmem_super super;
	int lock_fd = pmem_lock_open(path, false);
	int ret;

	if (lock_fd < 0)
		return lock_fd;
	ret = pmem_is_device(path) ? pmem_error(ENOTSUP, "%s: a device cannot be removed", path) :
		tp_pmem_device_open(path, 0, true, &device);
	if (ret == 0) {
		ret = pmem_super_choose(device, &super);
		device->ops->close(device);
	}
	/* Damaged, truncated or of another version, it is one all the same. */
	if (ret == -EBADMSG || ret == -EPROTONOSUPPORT || ret >= 0 ||
			(ret == -ENODATA && tp_pmem_error()[0] == 't'))
		ret = unlink(path) < 0 ? pmem_error(errno, "%s: %s", path, strerror(errno)) :
			pmem_directory_sync(path);
	else if (ret == -ENODATA)
		ret = pmem_error(EMEDIUMTYPE, "%s: not a pool", path);
	close(lock_fd);
	return ret;
}
