/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The seam under the pool: memory that keeps what is stored, flushed and fenced.
 * device_pmem2.c implements it on libpmem2; tests put a recording one in its
 * place. Everything above changes lasting memory only through these functions,
 * which is why a recording device sees every store that matters.
 *
 * A device has two views of the same bytes, at two addresses:
 *   media   what is (or is about to be) on the medium. Only lib/pmem writes it,
 *           through the functions below.
 *   view    what programs read and write. It shows the media until it is written
 *           to; a page that was written is a copy in DRAM. Nothing stored here ever
 *           reaches the medium by itself.
 *
 * docs/pmem.md, "Device", is the authority on what may be lost when.
 */
#ifndef TP_PMEM_DEVICE_H
#define TP_PMEM_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TP_PMEM_LINE_BYTES 64u

/* What has to be done to a store so that it survives a power failure. */
enum tp_pmem_granularity {
	TP_PMEM_GRANULARITY_BYTE = 1,		/* a fence: caches are flushed by the machine */
	TP_PMEM_GRANULARITY_CACHE_LINE = 2,	/* write the line back, then a fence */
	TP_PMEM_GRANULARITY_PAGE = 3,		/* msync(): an ordinary file */
};

struct tp_pmem_device;

struct tp_pmem_device_ops {
	/**
	 * Copy to the media past the caches; lasting after the next fence of this thread
	 * (page granularity: of any thread), torn at any 8-byte boundary until then. Needs
	 * no flush; not seen by other threads before the fence.
	 */
	void (*store)(struct tp_pmem_device *device, void *media, const void *src, size_t bytes);

	/**
	 * Copy to the media through the caches; lasting after a flush and a fence of any one
	 * thread that sees it. May become lasting at any time before, torn as above.
	 */
	void (*write)(struct tp_pmem_device *device, void *media, const void *src, size_t bytes);

	/**
	 * Replace an aligned word of the media if it is @p expected; whole or not at
	 * all. Else as write().
	 */
	bool (*replace)(struct tp_pmem_device *device, uint64_t *media, uint64_t expected,
			uint64_t desired);

	/** Start the write-back of what was written. */
	void (*flush)(struct tp_pmem_device *device, const void *media, size_t bytes);

	/**
	 * Wait until what this thread stored and flushed is lasting. At page granularity
	 * one call does it for all threads that wait (group commit).
	 * @return 0, or -EIO: unknown what is lasting; the device fails from now on.
	 */
	int (*fence)(struct tp_pmem_device *device);

	/** Let media and view end at @p bytes, at the same addresses. 0, -ENOSPC, -ENOMEM, -EIO. */
	int (*resize)(struct tp_pmem_device *device, uint64_t bytes);

	/** Drop DRAM copies: the view shows the media again. */
	void (*view_drop)(struct tp_pmem_device *device, uint64_t offset, uint64_t bytes);

	/**
	 * All of this will be stored to soon, in both views: take the page faults now. A hint;
	 * NULL: there are none to take.
	 */
	void (*expect)(struct tp_pmem_device *device, uint64_t offset, uint64_t bytes);

	void (*close)(struct tp_pmem_device *device);
};

/*
 * A device. Fields are constant after opening, but for bytes.
 */
struct tp_pmem_device {
	const struct tp_pmem_device_ops *ops;
	uint8_t *media;			/* same offsets in both */
	uint8_t *view;
	uint64_t bytes;			/* changed by resize() */
	enum tp_pmem_granularity granularity;
	bool is_dax;			/* the file system hands out the medium itself */
	bool read_only;			/* store() and replace() are not called */
	uint64_t unsafe_shutdowns;	/* of the medium; 0 where it does not count them */
};

/**
 * Open a file, or a device DAX character device, through libpmem2. Takes no lock.
 *
 * @param bytes_min
 *   The file must have that many.
 * @param read_only
 *   Both views are a private copy: what is stored there is lost with the device.
 * @param device_out
 *   Close with ops->close().
 * @return
 *   0, or with device_out untouched:
 *   - -errno of open(): -ENOENT, -EACCES, -EROFS, ...
 *   - -ENODATA: shorter than bytes_min.
 *   - -ENOSPC: the file has holes, and the disk no room for them.
 *   - -ENOTSUP: libpmem2 cannot map it.
 *   - -EPERM: a device DAX device, and userfaultfd is not allowed.
 *   - -ENOMEM.
 * @threads Any. store, replace, flush, fence and expect may be called by many threads at once;
 *          resize, view_drop and close by one, with no other call running.
 * @cost    System calls.
 */
int tp_pmem_device_open(const char *path, uint64_t bytes_min, bool read_only,
			struct tp_pmem_device **device_out);

/** "byte", "cache line" or "page"; a constant string. @threads Any. */
const char *tp_pmem_granularity_name(enum tp_pmem_granularity granularity);

#ifdef __cplusplus
}
#endif

#endif /* TP_PMEM_DEVICE_H */
