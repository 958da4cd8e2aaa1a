/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Segments: runs of memory that have a size, a type and a file descriptor, so
 * that another process can map the same bytes. Works without EAL.
 */
#ifndef TP_SEGMENT_H
#define TP_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Where the bytes of a segment live. All but FILE are memfds sealed against
 * any change of size, so a mapping of them can never fault past their end.
 *
 *   HEAP    pages come on first touch; for private scratch that may be handed
 *           on later
 *   SHARED  every page is taken at creation, unless config.sparse
 *   HUGE    2 MiB pages, reserved and touched at creation; falls back to
 *           SHARED where the kernel has too few of them
 *   FILE    a file in a file system; somebody with write permission may truncate
 *           it, then touching the lost part raises SIGBUS
 */
#define TP_SEGMENT_TYPE_LIST(TYPE)	\
	TYPE(ANY,    0, "any")		\
	TYPE(HEAP,   1, "heap")		\
	TYPE(SHARED, 2, "shared")	\
	TYPE(HUGE,   3, "huge")		\
	TYPE(FILE,   4, "file")

enum tp_segment_type {
#define TP_SEGMENT_AS_ENUM(name, id, text) TP_SEGMENT_##name = (id),
	TP_SEGMENT_TYPE_LIST(TP_SEGMENT_AS_ENUM)
#undef TP_SEGMENT_AS_ENUM
	TP_SEGMENT_TYPE_COUNT
};

enum tp_segment_file_mode {
	TP_SEGMENT_FILE_CREATE = 0,	/* make a new file of config.bytes; it must not exist */
	TP_SEGMENT_FILE_OPEN,		/* map an existing one */
	TP_SEGMENT_FILE_OPEN_READONLY,	/* the same, and stores fault */
};

/* What tp_segment_create() and tp_segment_import() are asked for. */
struct tp_segment_config {
	enum tp_segment_type type;
	enum tp_segment_file_mode file_mode;	/* FILE only */
	bool sparse;		/* SHARED only: no page is taken until touched */
	bool readonly;		/* import only: map without write permission */
	size_t bytes;		/* create: size, rounded up to whole pages of the
				 * type; open and import: least size, 0 for any */
	const char *path;	/* FILE only */
	const char *name;	/* of the memfd, for /proc/PID/maps; may be NULL */
	void *address;		/* map exactly here, or NULL for anywhere */
};

struct tp_segment;

/**
 * Create or open a segment and map it.
 *
 * A HUGE segment that the kernel has no huge pages for becomes a SHARED one:
 * one log line says so, and tp_segment_type() tells.
 *
 * @param config
 *   What to make; borrowed for the call.
 * @param segment
 *   Written only on success; destroy with tp_segment_destroy().
 * @return
 *   0, or:
 *   - -EINVAL: unknown type, no size for a new segment, FILE without a path,
 *     readonly or TP_SEGMENT_ANY on create, address not page-aligned.
 *   - -EEXIST: something is mapped at config.address, or the file to create exists.
 *   - -ENODATA: the file is empty or smaller than config.bytes.
 *   - -ENOMEM, -ENOSPC: memory, or space in the file system, is short.
 *   - another errno of memfd_create, open, fallocate or mmap.
 * @threads Any.
 * @cost    System calls; touches every page of SHARED (not sparse) and HUGE.
 */
int tp_segment_create(const struct tp_segment_config *config, struct tp_segment **segment);

/**
 * Map a segment that another process made and sent the descriptor of.
 *
 * A memfd must be sealed against shrinking, or let itself be sealed: else its
 * sender could take the pages from under us. A plain file cannot be sealed and
 * is accepted only when config.type says TP_SEGMENT_FILE (then any regular file is).
 *
 * @param fd
 *   The segment's on success (closed by tp_segment_destroy()), the caller's on failure.
 * @param config
 *   Type expected (TP_SEGMENT_ANY for any memfd; HEAP and SHARED are told apart
 *   by nobody, both are reported as SHARED), least size, readonly, address.
 * @param segment
 *   Written only on success.
 * @return
 *   0, or:
 *   - -EINVAL: bad config, or fd is not a regular file.
 *   - -EBADF: fd is not open.
 *   - -EMEDIUMTYPE: not a memfd, or one of another page size than asked for.
 *   - -EPERM: a memfd that is not sealed and cannot be.
 *   - -ENODATA: empty, or smaller than config.bytes.
 *   - -EACCES: opened read-only and config.readonly is not set.
 *   - -EEXIST, -ENOMEM or another errno of mmap.
 * @threads Any.
 * @cost    System calls; touches no page.
 */
int tp_segment_import(int fd, const struct tp_segment_config *config, struct tp_segment **segment);

/**
 * Unmap a segment and close its descriptor. Its bytes live on while another
 * process maps them or, for FILE, in the file.
 *
 * @param segment
 *   May be NULL.
 * @threads Any one; nobody may use the memory any more.
 */
void tp_segment_destroy(struct tp_segment *segment);

/** First byte. @threads Any. */
void *tp_segment_base(const struct tp_segment *segment);

/** Size in bytes, a multiple of the page size but for an opened file. @threads Any. */
size_t tp_segment_bytes(const struct tp_segment *segment);

/** The type it really has, which may be SHARED where HUGE was asked for. @threads Any. */
enum tp_segment_type tp_segment_type(const struct tp_segment *segment);

/** Descriptor to send with tp_fd_send(); stays the segment's. -1 once closed. @threads Any. */
int tp_segment_fd(const struct tp_segment *segment);

/**
 * Close the descriptor of a segment that will not be sent on, nor be mapped
 * again. The mapping stays; once that is replaced nothing holds the bytes.
 *
 * @threads Any one; nobody may use tp_segment_fd() meanwhile.
 */
void tp_segment_fd_close(struct tp_segment *segment);

/** True when stores to it fault. @threads Any. */
bool tp_segment_readonly(const struct tp_segment *segment);

/** Name of a type for logs, "unknown" for a number out of range. @threads Any. */
const char *tp_segment_type_name(unsigned int type);

#define TP_FD_MAX 253		/* descriptors in one message; the kernel's SCM_MAX_FD */

/**
 * Send bytes and descriptors over a Unix socket.
 *
 * @param sock
 *   Connected AF_UNIX socket, stream or seqpacket or datagram.
 * @param data
 *   Shape [length]; at least one byte must go with descriptors.
 * @param fds
 *   Shape [count]; stay the caller's.
 * @param count
 *   0 to TP_FD_MAX.
 * @return
 *   Bytes sent (less than length only on a stream socket; all descriptors went
 *   with the first byte, send the rest with count 0), or:
 *   - -EINVAL: length 0 or count out of range.
 *   - -EAGAIN: non-blocking and full; -EPIPE: the peer is gone; another errno of sendmsg.
 * @threads Any; calls on one stream socket must not overlap.
 * @cost    One system call.
 */
ssize_t tp_fd_send(int sock, const void *data, size_t length, const int *fds, unsigned int count);

/**
 * Receive bytes and descriptors from a Unix socket. The descriptors are
 * close-on-exec. On any error none is left open.
 *
 * @param data
 *   Shape [capacity].
 * @param fds
 *   Shape [fd_capacity]; the first *fd_count are the caller's on success.
 * @param fd_count
 *   Written on every return.
 * @return
 *   Bytes received, 0 at the end of the stream, or:
 *   - -EINVAL: capacity 0.
 *   - -EMSGSIZE: the datagram is longer than capacity, or the kernel had to cut
 *     descriptors off (this process is out of them).
 *   - -E2BIG: more descriptors came than fd_capacity.
 *   - -EAGAIN, -ECONNRESET or another errno of recvmsg.
 * @threads Any; calls on one stream socket must not overlap.
 * @cost    One system call.
 */
ssize_t tp_fd_recv(int sock, void *data, size_t capacity, int *fds, unsigned int fd_capacity,
		   unsigned int *fd_count);

#ifdef __cplusplus
}
#endif

#endif /* TP_SEGMENT_H */
