/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * How the daemon ends.
 *
 * A secondary process that was killed inside EAL may have left any of EAL's
 * shared locks taken, and whoever closes a port or frees memory of EAL then may
 * wait for ever. So the daemon never calls rte_eal_cleanup(), and what it does
 * call is watched: a timer, armed by the signal that asks for the end, finishes
 * it from its handler. Files are removed here, not by EAL, with system calls
 * that are safe in a signal handler: EAL's run directory with the control
 * socket, and the huge pages.
 *
 * The file "config" goes last: EAL of another node with this prefix cannot start
 * while we hold our lock on it, so nothing of a successor is removed. Without that
 * lock (--no-shconf, --in-memory) the folder may be that of a living node, and
 * only our own control socket goes.
 */
#include "leave.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <rte_eal.h>

#define LEAVE_CONFIG "config"
#define LEAVE_SOCKET "telepage.sock"	/* of TP_CONTROL_PATH_FMT */
#define LEAVE_BLOCK 4096

/* Of the kernel, see getdents(2): readdir() takes locks and memory. */
struct leave_entry {
	uint64_t inode;
	int64_t offset;
	unsigned short length;
	unsigned char type;
	char name[];
};

volatile sig_atomic_t leave_wanted;

static volatile sig_atomic_t leave_status = EXIT_FAILURE;
static char leave_rundir[PATH_MAX];
static char leave_huge_dir[PATH_MAX];
static char leave_huge_prefix[NAME_MAX + 1];	/* of names: PREFIXmap_ */
static char leave_socket[PATH_MAX];
static struct stat leave_socket_stat;	/* another one at this path is somebody else's */
static timer_t leave_timer;
static struct itimerspec leave_time;

/*
 * Remove the entries of a folder that begin with a text; not the file "config",
 * nor a control socket: a node without shared configuration may listen there.
 */
static void
leave_remove(const char *path, const char *begin)
{
	char block[LEAVE_BLOCK];
	size_t length = strlen(begin);
	long got, at;
	int dir;

	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return;
	while ((got = syscall(SYS_getdents64, dir, block, sizeof(block))) > 0) {
		const struct leave_entry *entry;

		for (at = 0; at < got; at += entry->length) {
			entry = (const struct leave_entry *)(block + at);
			if (strncmp(entry->name, begin, length) == 0 &&
			    strcmp(entry->name, LEAVE_CONFIG) != 0 &&
			    strcmp(entry->name, LEAVE_SOCKET) != 0)
				unlinkat(dir, entry->name, 0);
		}
	}
	close(dir);
}

static void
leave_clean(void)
{
	char path[PATH_MAX + sizeof(LEAVE_CONFIG) + 1];
	size_t length = strlen(leave_rundir);
	struct stat now;

	if (leave_socket[0] != '\0' && lstat(leave_socket, &now) == 0 &&
	    now.st_dev == leave_socket_stat.st_dev && now.st_ino == leave_socket_stat.st_ino)
		unlink(leave_socket);
	if (leave_huge_dir[0] != '\0')
		leave_remove(leave_huge_dir, leave_huge_prefix);
	if (length == 0)
		return;
	leave_remove(leave_rundir, "");
	memcpy(path, leave_rundir, length);
	memcpy(path + length, "/" LEAVE_CONFIG, sizeof("/" LEAVE_CONFIG));
	unlink(path);
	rmdir(leave_rundir);
}

static void
leave_timed_out(int number)
{
	static const char text[] =
		"telepaged: a port or a lock of DPDK does not let go: ended without it\n";

	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0) {
		/* Nobody reads it: nothing to be done. */
	}
	leave_clean();
	_exit(leave_status);
}

static void
leave_signal(int number)
{
	int saved = errno;

	if (!leave_wanted)
		timer_settime(leave_timer, 0, &leave_time, NULL);
	leave_wanted = 1;
	errno = saved;
}

int
leave_arm(unsigned int milliseconds)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM };
	struct sigaction action = { .sa_handler = leave_timed_out };

	leave_time.it_value.tv_sec = milliseconds / 1000;
	leave_time.it_value.tv_nsec = (long)(milliseconds % 1000) * 1000000;
	if (timer_create(CLOCK_MONOTONIC, &event, &leave_timer) < 0 ||
	    sigaction(SIGALRM, &action, NULL) < 0)
		return -errno;
	action.sa_handler = leave_signal;
	if (sigaction(SIGTERM, &action, NULL) < 0 || sigaction(SIGINT, &action, NULL) < 0)
		return -errno;
	return 0;
}

/* Where EAL mapped its huge pages from: DIR/PREFIXmap_NUMBER. */
static void
leave_huge_find(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[PATH_MAX + 128];

	while (maps != NULL && leave_huge_dir[0] == '\0' &&
	       fgets(line, sizeof(line), maps) != NULL) {
		char *path = strchr(line, '/');
		char *name = path != NULL ? strrchr(path, '/') : NULL;

		if (name == NULL || name == path ||
		    strncmp(name + 1, leave_huge_prefix, strlen(leave_huge_prefix)) != 0)
			continue;
		*name = '\0';
		snprintf(leave_huge_dir, sizeof(leave_huge_dir), "%s", path);
	}
	if (maps != NULL)
		fclose(maps);
}

/*
 * Does this process hold EAL's lock on its file "config"? EAL keeps it open, and
 * opens it only to lock it. We must not: to close such a file ends the lock.
 */
static bool
leave_config_is_ours(const char *rundir)
{
	DIR *dir = opendir("/proc/self/fd");
	struct stat config, file;
	struct dirent *entry;
	char path[PATH_MAX];
	bool found = false;

	snprintf(path, sizeof(path), "%s/" LEAVE_CONFIG, rundir);
	if (dir != NULL && stat(path, &config) == 0)
		while (!found && (entry = readdir(dir)) != NULL)
			found = fstat(atoi(entry->d_name), &file) == 0 &&
				file.st_dev == config.st_dev && file.st_ino == config.st_ino;
	if (dir != NULL)
		closedir(dir);
	return found;
}

void
leave_files_find(void)
{
	const char *rundir = rte_eal_get_runtime_dir();
	const char *prefix = strrchr(rundir, '/');

	/* A folder that EAL did not make for this process is not ours to empty. */
	if (rte_eal_process_type() != RTE_PROC_PRIMARY || prefix == NULL || prefix[1] == '\0' ||
	    strstr(rundir, "/dpdk/") == NULL || !leave_config_is_ours(rundir))
		return;
	snprintf(leave_huge_prefix, sizeof(leave_huge_prefix), "%smap_", prefix + 1);
	leave_huge_find();
	snprintf(leave_rundir, sizeof(leave_rundir), "%s", rundir);
}

void
leave_socket_find(const char *path)
{
	if (stat(path, &leave_socket_stat) == 0)
		snprintf(leave_socket, sizeof(leave_socket), "%s", path);
}

void
leave_in_order(void)
{
	leave_status = EXIT_SUCCESS;
}

void
leave(int status)
{
	fflush(NULL);
	leave_clean();
	_exit(status);
}
