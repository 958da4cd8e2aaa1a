/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What dead secondary processes leave in EAL's run directory.
 *
 * How it works. EAL names what belongs to a secondary process by its id:
 * mp_socket_PID_TIME with the time in hex, fbarray_NAME_PID. A file goes only if no
 * process has that id (or only a zombie), and nobody holds EAL's lock on it, or has
 * the socket open: a process in another container has an id of its own there.
 * EAL's own tidying, when a process starts, leaves sockets out, for it cannot
 * open them.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "gate_priv.h"

/* The number at text, if it ends at end and may be the id of a process; else 0. */
static pid_t
rundir_pid(const char *text, const char *end)
{
	char *stop;
	long value;

	errno = 0;
	value = strtol(text, &stop, 10);
	return isdigit((unsigned char)text[0]) && errno == 0 && stop == end && value > 0 &&
		value <= INT32_MAX ? (pid_t)value : 0;
}

/* The process that a file belongs to; 0: none that its name says. */
static pid_t
rundir_owner(const char *name, bool *is_socket)
{
	static const char socket_prefix[] = "mp_socket_";
	static const char array_prefix[] = "fbarray_";
	const char *last = strrchr(name, '_');

	*is_socket = strncmp(name, socket_prefix, sizeof(socket_prefix) - 1) == 0;
	if (*is_socket)
		return last[1] != '\0' && strspn(last + 1, "0123456789abcdef") == strlen(last + 1) ?
			rundir_pid(name + sizeof(socket_prefix) - 1, last) : 0;
	if (strncmp(name, array_prefix, sizeof(array_prefix) - 1) != 0 ||
	    last < name + sizeof(array_prefix))
		return 0;
	return rundir_pid(last + 1, name + strlen(name));
}

/* No such process, or only what its parent has not fetched yet. */
static bool
rundir_is_gone(pid_t pid)
{
	struct process process = { .pid = pid };

	return process_look(&process) == PROCESS_GONE;
}

/* A process of another PID namespace has no number here that says anything. */
static void
rundir_remove_socket(int dir, const char *name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd;

	if (snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", dir,
		     name) >= (int)sizeof(address.sun_path))
		return;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 &&
	    errno == ECONNREFUSED)
		unlinkat(dir, name, 0);
	close(fd);
}

/* False: somebody holds EAL's lock on it. */
static bool
rundir_remove_array(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	bool removed = true;

	if (fd < 0)
		return true;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		unlinkat(dir, name, 0);
	else
		removed = false;
	close(fd);
	return removed;
}

unsigned int
rundir_tidy(const char *path)
{
	DIR *dir = opendir(path);
	unsigned int left = 0;
	struct dirent *entry;

	if (dir == NULL)
		return 0;
	while ((entry = readdir(dir)) != NULL) {
		bool is_socket;
		pid_t pid = rundir_owner(entry->d_name, &is_socket);

		if (pid == 0 || pid == getpid() || !rundir_is_gone(pid))
			continue;
		if (is_socket)
			rundir_remove_socket(dirfd(dir), entry->d_name);
		else
			left += !rundir_remove_array(dirfd(dir), entry->d_name);
	}
	closedir(dir);
	return left;
}
