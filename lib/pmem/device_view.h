/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A view where the kernel has no private mappings (device DAX): anonymous memory whose
 * pages are copied from the media when they are first touched.
 */
#ifndef DEVICE_VIEW_H
#define DEVICE_VIEW_H

#include <pthread.h>
#include <stdint.h>

struct device_view {
	uint8_t *at;			/* NULL: there is none */
	const uint8_t *media;
	uint64_t bytes;
	int fault_fd;
	int stop_fd;
	int empty_fd;			/* a file whose mapping is SIGBUS: where the media cannot be read */
	pthread_t thread;
};

/**
 * Fill a range, in which nothing is mapped that matters, from media of the same length; both
 * in pages. madvise(MADV_DONTNEED) makes it show the media again. A forked child does not
 * have it. Where the media cannot be read, touching it is SIGBUS (EFAULT of a system call), from
 * then on.
 *
 * @return 0, or with the range as it was: -EPERM: userfaultfd is not allowed; -ENOMEM, ...
 */
int device_view_open(struct device_view *view, void *at, const void *media, uint64_t bytes);

/** Before the media are unmapped; the range can still be read where it was. */
void device_view_close(struct device_view *view);

#endif /* DEVICE_VIEW_H */
