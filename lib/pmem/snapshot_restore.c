/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A pool from a checkpoint file: written beside its place, verified, renamed.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "snapshot_priv.h"

struct restore {
	const char *path;
	char temporary[PATH_MAX];
	int fd;
	int lock_fd;			/* of the pool that will be replaced; -1: none */
	uint8_t uuid[TP_PMEM_UUID_BYTES];	/* of it */
	bool has_uuid;
	bool is_asked_for;		/* by number: damage that the pool had is taken, too */
	int target_error;		/* of the new file: no other checkpoint file would do better */
};

static int
restore_begin(void *context, const struct tp_pmem_snapshot_info *info)
{
	struct restore *restore = context;
	int ret;

	if (restore->has_uuid && memcmp(restore->uuid, info->uuid, sizeof(info->uuid)) != 0)
		return pmem_error(EXDEV, "of another pool: its UUID differs");
	if (ftruncate(restore->fd, 0) < 0)
		return restore->target_error = -errno;
	ret = posix_fallocate(restore->fd, 0, (off_t)info->pool_bytes);
	if (ret != 0)
		return restore->target_error = pmem_error(ret == EFBIG ? ENOSPC : ret,
			"%s: no room for %llu bytes: %s", restore->temporary,
			(unsigned long long)info->pool_bytes, strerror(ret));
	return 0;
}

static int
restore_piece(void *context, uint64_t offset, const void *data, size_t bytes)
{
	struct restore *restore = context;
	int ret = snapshot_write(restore->fd, data, bytes, offset);

	if (ret < 0)
		restore->target_error = pmem_error(-ret, "%s: %s", restore->temporary, strerror(-ret));
	return ret;
}

/* The pool that is there: nobody has it open, and it is a pool. */
static int
target_lock(struct restore *restore)
{
	struct tp_pmem_device *device;
	struct pmem_super super;
	int ret;

	restore->lock_fd = pmem_lock_open(restore->path, false);
	if (restore->lock_fd < 0)
		return restore->lock_fd;
	ret = tp_pmem_device_open(restore->path, 0, true, &device);
	/* Damaged to the point of nothing, it may be replaced; something else may not. */
	if (ret < 0)
		return ret == -ENODATA ? 0 : ret;
	ret = pmem_super_choose(device, &super);
	device->ops->close(device);
	if (ret >= 0) {
		memcpy(restore->uuid, super.uuid, sizeof(super.uuid));
		restore->has_uuid = true;
	}
	return ret == -EMEDIUMTYPE ? pmem_error(EMEDIUMTYPE, "%s: not a pool", restore->path) : 0;
}

/* From one file. 0, or -errno: the next one may do better, unless target_error is set. */
static int
restore_from(struct restore *restore, const char *prefix, uint64_t number,
	     tp_pmem_snapshot_fn *found, void *context)
{
	struct tp_pmem_snapshot_info info = { 0 };
	char path[PATH_MAX], text[PATH_MAX] = "";
	int ret = snapshot_path(path, prefix, number, "");

	if (ret < 0)
		return ret;
	ret = snapshot_verify(path, number, &info, restore_begin, restore_piece, restore);
	if (restore->target_error != 0)
		return restore->target_error;
	if (ret == 0 && fsync(restore->fd) < 0)
		return restore->target_error = pmem_error(EIO, "%s: %s", restore->temporary,
			strerror(errno));
	/* Its own CRCs are right; is it a pool, too? */
	if (ret == 0) {
		ret = tp_pmem_pool_check(restore->temporary, false, NULL, NULL);
		if (ret > 0)
			ret = restore->is_asked_for ? 0 :
				pmem_error(EBADMSG, "the pool was damaged when it was written");
	}
	if (ret < 0)
		snprintf(text, sizeof(text), "%s", tp_pmem_error());
	if (found != NULL)
		found(context, path, ret, text, &info);
	if (ret < 0)
		pmem_error(-ret, "%s: %s", path, text);
	return ret;
}

static int
restore_newest(struct restore *restore, const char *prefix, tp_pmem_snapshot_fn *found,
	       void *context)
{
	uint64_t *numbers = NULL;
	int count = snapshot_numbers(prefix, &numbers);
	int ret = -ENOENT;

	if (count < 0)
		return count;
	for (int i = count; i-- > 0 && ret < 0 && restore->target_error == 0;)
		ret = restore_from(restore, prefix, numbers[i], found, context);
	free(numbers);
	if (count == 0)
		return pmem_error(ENOENT, "%s: no checkpoint file", prefix);
	if (ret < 0 && restore->target_error == 0)
		return pmem_error(ENOENT, "%s: none of %d checkpoint files is good", prefix, count);
	return ret;
}

static int
restore_publish(const struct restore *restore)
{
	int ret = 0;

	/* A name that is there by now is somebody else's. */
	if (restore->lock_fd < 0 && link(restore->temporary, restore->path) < 0)
		ret = -errno;
	else if (restore->lock_fd >= 0 && rename(restore->temporary, restore->path) < 0)
		ret = -errno;
	if (ret < 0)
		return pmem_error(-ret, "%s: %s", restore->path, strerror(-ret));
	return pmem_directory_sync(restore->path);
}

int
tp_pmem_snapshot_restore(const char *prefix, uint64_t number, const char *path, uint32_t flags,
			 tp_pmem_snapshot_fn *found, void *context)
{
	struct restore restore = {
		.path = path, .fd = -1, .lock_fd = -1, .is_asked_for = number != 0,
	};
	int ret = 0;

	if (flags > TP_PMEM_RESTORE_REPLACE)
		return pmem_error(EINVAL, "flags");
	/* The new pool is a file that takes the name: of a device it would hide the node. */
	if (pmem_is_device(path))
		return pmem_error(ENOTSUP, "%s: a device: restore makes a file, give another path", path);
	if (access(path, F_OK) == 0)
		ret = (flags & TP_PMEM_RESTORE_REPLACE) != 0 ? target_lock(&restore) :
			pmem_error(EEXIST, "%s: there is a file already", path);
	if (ret == 0 && snprintf(restore.temporary, sizeof(restore.temporary), "%s.restore-tmp",
			path) >= (int)sizeof(restore.temporary))
		ret = pmem_error(ENAMETOOLONG, "%s: %s", path, strerror(ENAMETOOLONG));
	if (ret == 0) {
		restore.fd = open(restore.temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		if (restore.fd < 0)
			ret = pmem_error(errno, "%s: %s", restore.temporary, strerror(errno));
	}
	if (ret == 0)
		ret = number != 0 ? restore_from(&restore, prefix, number, found, context) :
			restore_newest(&restore, prefix, found, context);
	if (ret == 0)
		ret = restore_publish(&restore);
	if (restore.fd >= 0) {
		close(restore.fd);
		unlink(restore.temporary);
	}
	if (restore.lock_fd >= 0)
		close(restore.lock_fd);
	return ret;
}
