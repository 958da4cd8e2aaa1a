/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * See device_view.h. A thread serves the faults through userfaultfd. A page is copied
 * as the media are at that moment, and does not follow them later. Neither does a private
 * mapping for certain (a store to the page beside makes it a copy), so nothing rests
 * on that: who changes the media has stored the same to the view first.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "device_view.h"
#include "pmem_priv.h"

#define VIEW_MESSAGES 16
#define VIEW_RETRY_MS 1

/* A fault costs as much as to copy so many bytes. */
#define VIEW_FILL_BYTES (UINT64_C(64) << 10)

/*
 * The media cannot be read there: who touches the page shall get what a mapping of the media
 * would give, not wait for ever. If even that is impossible, waking lets the fault come again.
 */
static void
page_refuse(const struct device_view *view, uint64_t offset)
{
	struct uffdio_range range = {
		.start = (uint64_t)(uintptr_t)view->at + offset,
		.len = PMEM_PAGE_BYTES,
	};

	mmap(view->at + offset, PMEM_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		view->empty_fd, 0);
	ioctl(view->fault_fd, UFFDIO_WAKE, &range);
}

/* True: to be closed. */
static bool
stop_wait(const struct device_view *view, int ms)
{
	struct pollfd fd = { .fd = view->stop_fd, .events = POLLIN };

	return poll(&fd, 1, ms) > 0;
}

/* The page of a fault, and what lies behind it up to the first page that is there. */
static void
pages_fill(const struct device_view *view, uint64_t address)
{
	uint64_t offset = (address - (uint64_t)(uintptr_t)view->at) & ~(uint64_t)(PMEM_PAGE_BYTES - 1);
	uint64_t end = RTE_MIN(RTE_ALIGN_CEIL(offset + 1, VIEW_FILL_BYTES), view->bytes);
	struct uffdio_copy copy = {
		.dst = (uint64_t)(uintptr_t)view->at + offset,
		.src = (uint64_t)(uintptr_t)view->media + offset,
		.len = end - offset,
	};

	while (ioctl(view->fault_fd, UFFDIO_COPY, &copy) < 0 && copy.copy < 0) {
		switch (copy.copy) {
		case -EAGAIN:	/* the address space is being changed */
			break;
		case -ENOENT:	/* the range is gone, or has a page that was refused */
			if (copy.len > PMEM_PAGE_BYTES) {
				copy.len = PMEM_PAGE_BYTES;
				break;
			}
			/* fall through */
		case -EEXIST:	/* another fault brought it */
			ioctl(view->fault_fd, UFFDIO_WAKE, &(struct uffdio_range){ copy.dst,
				PMEM_PAGE_BYTES });
			return;
		case -ENOMEM:	/* there may be some soon */
			if (stop_wait(view, VIEW_RETRY_MS))
				return;
			break;
		default:
			page_refuse(view, offset);
			return;
		}
	}
}

static void *
view_serve(void *context)
{
	const struct device_view *view = context;
	struct pollfd fds[2] = {
		{ .fd = view->fault_fd, .events = POLLIN },
		{ .fd = view->stop_fd, .events = POLLIN },
	};
	struct uffd_msg messages[VIEW_MESSAGES];

	for (;;) {
		ssize_t got;

		if (poll(fds, RTE_DIM(fds), -1) < 0)
			continue;
		if (fds[1].revents != 0)
			return NULL;
		got = read(view->fault_fd, messages, sizeof(messages));
		for (size_t i = 0; got > 0 && i < (size_t)got / sizeof(messages[0]); i++)
			if (messages[i].event == UFFD_EVENT_PAGEFAULT)
				pages_fill(view, messages[i].arg.pagefault.address);
	}
}

/* A descriptor that tells of the range's faults. */
static int
faults_open(void *at, uint64_t bytes)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = {
		.range = { .start = (uint64_t)(uintptr_t)at, .len = bytes },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return errno == EPERM ? pmem_error(EPERM, "a device DAX device needs userfaultfd: run "
			"as root, or set vm.unprivileged_userfaultfd to 1") :
			pmem_error(errno, "userfaultfd: %s", strerror(errno));
	if (ioctl(fd, UFFDIO_API, &api) == 0 && ioctl(fd, UFFDIO_REGISTER, &range) == 0)
		return fd;
	close(fd);
	return pmem_error(ENOTSUP, "userfaultfd: the kernel cannot do it");
}

/* The program's signals are not for this thread. */
static int
thread_start(struct device_view *view)
{
	sigset_t all, old;
	int ret;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ret = pthread_create(&view->thread, NULL, view_serve, view);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -ret;
}

int
device_view_open(struct device_view *view, void *at, const void *media, uint64_t bytes)
{
	int ret;

	if (mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
			MAP_FIXED, -1, 0) == MAP_FAILED)
		return -ENOMEM;
	/* A child would find zeros where nothing was touched yet. */
	madvise(at, bytes, MADV_DONTFORK);
	*view = (struct device_view){ .at = at, .media = media, .bytes = bytes };
	view->fault_fd = faults_open(at, bytes);
	if (view->fault_fd < 0) {
		ret = view->fault_fd;
		goto forget;
	}
	view->empty_fd = memfd_create("telepage-empty", MFD_CLOEXEC);
	if (view->empty_fd < 0) {
		ret = -errno;
		goto close_faults;
	}
	view->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (view->stop_fd < 0) {
		ret = -errno;
		goto close_empty;
	}
	ret = thread_start(view);
	if (ret == 0)
		return 0;
	close(view->stop_fd);
close_empty:
	close(view->empty_fd);
close_faults:
	close(view->fault_fd);
forget:
	view->at = NULL;
	return ret;
}

void
device_view_close(struct device_view *view)
{
	static const uint64_t one = 1;

	if (view->at == NULL)
		return;
	/* Cannot fail: the counter is 0. */
	if (write(view->stop_fd, &one, sizeof(one)) == sizeof(one))
		pthread_join(view->thread, NULL);
	close(view->stop_fd);
	close(view->empty_fd);
	close(view->fault_fd);
	view->at = NULL;
}
