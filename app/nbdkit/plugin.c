/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * nbdkit-telepage-plugin: a block volume of a pool of persistent memory, to any NBD
 * client.
 *	nbdkit telepage pool=FILE [volume=NAME] [size=SIZE]
 *
 * All connections share one volume, in which all calls may run at once; a flush on one of
 * them covers what has completed on all: so it may be used over many (multi-conn).
 */
#define NBDKIT_API_VERSION 2

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <nbdkit-plugin.h>

#include "tp_pmem_volume.h"

#define PLUGIN_REQUEST_BYTES_MAX (32u << 20)

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

static struct {
	char *pool_path;
	const char *volume_name;
	int64_t create_bytes;		/* 0: the volume must be there */
	struct tp_pmem_pool *pool;
	struct tp_pmem_volume *volume;
	bool read_only;
} plugin = { .volume_name = "disk" };

/* nbdkit tells its client what is in errno. */
static int
plugin_result(const char *what, int ret)
{
	if (ret >= 0)
		return 0;
	nbdkit_error("%s: %s", what, tp_pmem_error()[0] != '\0' ? tp_pmem_error() : strerror(-ret));
	nbdkit_set_error(ret == -EBADMSG ? EIO : -ret);
	return -1;
}

static int
plugin_config(const char *key, const char *value)
{
	if (strcmp(key, "pool") == 0) {
		free(plugin.pool_path);
		plugin.pool_path = nbdkit_realpath(value);
		return plugin.pool_path == NULL ? -1 : 0;
	}
	if (strcmp(key, "volume") == 0) {
		plugin.volume_name = value;
		return 0;
	}
	if (strcmp(key, "size") == 0) {
		plugin.create_bytes = nbdkit_parse_size(value);
		return plugin.create_bytes < 0 ? -1 : 0;
	}
	nbdkit_error("unknown parameter '%s'", key);
	return -1;
}

static int
plugin_config_complete(void)
{
	if (plugin.pool_path != NULL)
		return 0;
	nbdkit_error("which pool? pool=FILE, made by telepage pmem create");
	return -1;
}

#define PLUGIN_CONFIG_HELP \
	"pool=FILE         (required) The pool of persistent memory.\n" \
	"volume=NAME       The volume in it. Default: disk\n" \
	"size=SIZE         Make the volume if it is not there."

/* A pool that cannot be written is served read-only. */
static int
pool_open(void)
{
	int ret = tp_pmem_pool_open(plugin.pool_path, 0, &plugin.pool);

	plugin.read_only = ret == -EACCES || ret == -EROFS;
	return plugin.read_only ? tp_pmem_pool_open(plugin.pool_path, TP_PMEM_OPEN_READ_ONLY,
		&plugin.pool) : ret;
}

/* After the fork to the background: a lock of the pool and its threads belong there. */
static int
plugin_after_fork(void)
{
	int ret = pool_open();

	if (ret < 0)
		return plugin_result(plugin.pool_path, ret);
	ret = tp_pmem_volume_open(plugin.pool, plugin.volume_name, &plugin.volume);
	if (ret == -ENOENT && plugin.create_bytes > 0 && !plugin.read_only) {
		ret = tp_pmem_volume_create(plugin.pool, plugin.volume_name,
			(uint64_t)plugin.create_bytes);
		if (ret == 0)
			ret = tp_pmem_volume_open(plugin.pool, plugin.volume_name, &plugin.volume);
	}
	ret = plugin_result(plugin.volume_name, ret);
	/* nbdkit ends then, without a call of cleanup. */
	if (ret < 0)
		tp_pmem_pool_close(plugin.pool);
	return ret;
}

static void
plugin_cleanup(void)
{
	plugin_result(plugin.volume_name, tp_pmem_volume_close(plugin.volume));
	plugin_result(plugin.pool_path, tp_pmem_pool_close(plugin.pool));
}

static void
plugin_unload(void)
{
	free(plugin.pool_path);
}

static void *
plugin_open(int readonly)
{
	return NBDKIT_HANDLE_NOT_NEEDED;
}

static int64_t
plugin_get_size(void *handle)
{
	return (int64_t)tp_pmem_volume_bytes(plugin.volume);
}

static int
plugin_block_size(void *handle, uint32_t *least, uint32_t *preferred, uint32_t *most)
{
	*least = TP_PMEM_VOLUME_SECTOR_BYTES;
	*preferred = TP_PMEM_VOLUME_BLOCK_BYTES;
	*most = PLUGIN_REQUEST_BYTES_MAX;
	return 0;
}

static int
plugin_can_write(void *handle)
{
	return !plugin.read_only;
}

static int
plugin_yes(void *handle)
{
	return 1;
}

static int
plugin_can_fua(void *handle)
{
	return NBDKIT_FUA_NATIVE;
}

static uint32_t
flags_of(uint32_t flags)
{
	return (flags & NBDKIT_FLAG_FUA) != 0 ? TP_PMEM_VOLUME_FUA : 0;
}

static int
plugin_pread(void *handle, void *buffer, uint32_t count, uint64_t offset, uint32_t flags)
{
	return plugin_result("read", tp_pmem_volume_read(plugin.volume, offset, count, buffer));
}

static int
plugin_pwrite(void *handle, const void *buffer, uint32_t count, uint64_t offset, uint32_t flags)
{
	return plugin_result("write", tp_pmem_volume_write(plugin.volume, offset, count, buffer,
		flags_of(flags)));
}

static int
plugin_flush(void *handle, uint32_t flags)
{
	return plugin_result("flush", tp_pmem_volume_flush(plugin.volume));
}

static int
plugin_trim(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
	return plugin_result("trim", tp_pmem_volume_trim(plugin.volume, offset, count,
		flags_of(flags)));
}

/* Room for what is unmapped stays reserved, so it may be done whether a trim is or not. */
static int
plugin_zero(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
	return plugin_result("zero", tp_pmem_volume_zero(plugin.volume, offset, count,
		flags_of(flags)));
}

static int
plugin_extents(void *handle, uint32_t count, uint64_t offset, uint32_t flags,
	       struct nbdkit_extents *extents)
{
	while (count > 0) {
		uint64_t bytes = count;
		bool mapped = tp_pmem_volume_is_mapped(plugin.volume, offset, &bytes);

		if (bytes == 0)
			break;
		if (nbdkit_add_extent(extents, offset, bytes, mapped ? 0 :
				NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO) < 0)
			return -1;
		offset += bytes;
		count -= (uint32_t)bytes;
		if ((flags & NBDKIT_FLAG_REQ_ONE) != 0)
			break;
	}
	return 0;
}

static struct nbdkit_plugin nbdkit_plugin = {
	.name = "telepage",
	.longname = "block volumes in persistent memory",
	.version = "0.1.0",
	.config = plugin_config,
	.config_complete = plugin_config_complete,
	.config_help = PLUGIN_CONFIG_HELP,
	.magic_config_key = "pool",
	.after_fork = plugin_after_fork,
	.cleanup = plugin_cleanup,
	.unload = plugin_unload,
	.open = plugin_open,
	.get_size = plugin_get_size,
	.block_size = plugin_block_size,
	.can_write = plugin_can_write,
	.can_flush = plugin_can_write,
	.can_trim = plugin_can_write,
	.can_zero = plugin_can_write,
	.can_fast_zero = plugin_yes,
	.can_fua = plugin_can_fua,
	.can_multi_conn = plugin_yes,
	.can_extents = plugin_yes,
	.pread = plugin_pread,
	.pwrite = plugin_pwrite,
	.flush = plugin_flush,
	.trim = plugin_trim,
	.zero = plugin_zero,
	.extents = plugin_extents,
	.errno_is_preserved = 0,
};

NBDKIT_REGISTER_PLUGIN(nbdkit_plugin)
