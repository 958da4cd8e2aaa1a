/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Descriptors over Unix sockets (SCM_RIGHTS).
 */
#include <errno.h>
#include <stdalign.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tp_segment.h"

#define FD_CONTROL_BYTES CMSG_SPACE(sizeof(int) * TP_FD_MAX)

ssize_t
tp_fd_send(int sock, const void *data, size_t length, const int *fds, unsigned int count)
{
	alignas(struct cmsghdr) char control[FD_CONTROL_BYTES];
	struct iovec iov = { .iov_len = length };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *cmsg;
	ssize_t sent;

	if (length == 0 || count > TP_FD_MAX)
		return -EINVAL;
	memcpy(&iov.iov_base, &data, sizeof(data));
	if (count > 0) {
		memset(control, 0, sizeof(control));
		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * count);
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * count);
		memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * count);
	}
	do {
		sent = sendmsg(sock, &msg, MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : sent;
}

/* Move the descriptors of one message into fds; those that do not fit are
 * closed. Returns how many came.
 */
static unsigned int
fd_collect(struct msghdr *msg, int *fds, unsigned int fd_capacity)
{
	unsigned int count = 0;

	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg != NULL;
	     cmsg = CMSG_NXTHDR(msg, cmsg)) {
		size_t bytes;

		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		bytes = cmsg->cmsg_len - CMSG_LEN(0);
		for (size_t at = 0; at + sizeof(int) <= bytes; at += sizeof(int)) {
			int fd;

			memcpy(&fd, CMSG_DATA(cmsg) + at, sizeof(fd));
			if (count < fd_capacity)
				fds[count] = fd;
			else
				close(fd);
			count++;
		}
	}
	return count;
}

ssize_t
tp_fd_recv(int sock, void *data, size_t capacity, int *fds, unsigned int fd_capacity,
	   unsigned int *fd_count)
{
	alignas(struct cmsghdr) char control[FD_CONTROL_BYTES];
	struct iovec iov = { .iov_base = data, .iov_len = capacity };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	unsigned int count;
	ssize_t got;
	int ret = 0;

	*fd_count = 0;
	if (capacity == 0)
		return -EINVAL;
	do {
		got = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;

	count = fd_collect(&msg, fds, fd_capacity);
	if (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
		ret = -EMSGSIZE;
	else if (count > fd_capacity)
		ret = -E2BIG;
	if (ret < 0) {
		if (count > fd_capacity)
			count = fd_capacity;
		while (count > 0)
			close(fds[--count]);
		return ret;
	}
	*fd_count = count;
	return got;
}
