/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The gate for DPDK secondary processes: docs/architecture.md, "Attaching".
 * Main thread.
 *
 * How it works: stock rte_eal_init() in a secondary is not safe against a kill
 * inside: it may leave a shared lock behind, on which the next secondary hangs.
 * So one process at a time is inside, behind an flock() that the kernel releases
 * on death, and it leaves a marker file while it is there. Who gets the lock and
 * finds a marker knows that its writer died inside, and stays out. A marker
 * names the primary process it is about, so a new primary (which makes new
 * shared memory) starts with a clean gate.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>

#include "client_priv.h"

#define EAL_GATE_FMT "%s/telepage.gate"
#define EAL_MARKER_FMT "%s/telepage.gate.inside"
#define EAL_CONFIG_FMT "%s/config"		/* DPDK's own; its primary holds a lock on it */
#define EAL_GATE_TIMEOUT_MS 30000
#define EAL_ARGS_MAX 128

struct eal_gate {
	int lock;
	char marker[PATH_MAX];
	char text[128];		/* "primary PID STARTTIME" */
};

int
tp_client_runtime_dir(const char *file_prefix, char *path, size_t path_bytes)
{
	/* The places of eal_create_runtime_dir() in DPDK. */
	const char *dir = getenv("RUNTIME_DIRECTORY");
	int ret;

	if (dir == NULL && getuid() == 0)
		dir = "/var/run";
	if (dir == NULL)
		dir = getenv("XDG_RUNTIME_DIR");
	if (dir == NULL)
		dir = "/tmp";
	ret = snprintf(path, path_bytes, "%s/dpdk/%s", dir, file_prefix ? file_prefix : "rte");
	return ret < 0 || (size_t)ret >= path_bytes ? -ENAMETOOLONG : 0;
}

static const char *
eal_file_prefix(int argc, char **argv)
{
	static const char option[] = "--file-prefix";
	size_t length = sizeof(option) - 1;
	int i;

	for (i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		if (strncmp(argv[i], option, length) != 0)
			continue;
		if (argv[i][length] == '=')
			return argv[i] + length + 1;
		if (argv[i][length] == '\0' && i + 1 < argc)
			return argv[i + 1];
	}
	return NULL;
}

/* When a process started: with its id, its identity. 0: there is none. */
static uint64_t
eal_start_time(pid_t pid)
{
	char path[64], line[1024];
	uint64_t start = 0;
	const char *rest = NULL;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "re");
	if (file == NULL)
		return 0;
	/* The name, in brackets, may hold anything; field 22 counts from behind it. */
	if (fgets(line, sizeof(line), file) != NULL)
		rest = strrchr(line, ')');
	if (rest == NULL || sscanf(rest + 1, " %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
			"%*s %*s %*s %*s %*s %*s %*s %" SCNu64, &start) != 1)
		start = 0;
	fclose(file);
	return start;
}

/* The primary process: who holds DPDK's lock on its configuration. 0: nobody. */
static pid_t
eal_primary(const char *dir)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char path[PATH_MAX];
	int fd;

	if (snprintf(path, sizeof(path), EAL_CONFIG_FMT, dir) >= (int)sizeof(path))
		return 0;
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return 0;
	if (fcntl(fd, F_GETLK, &lock) < 0 || lock.l_type == F_UNLCK)
		lock.l_pid = 0;
	close(fd);
	return lock.l_pid;
}

static int
eal_lock_wait(int fd)
{
	static const struct timespec step = { .tv_nsec = 10000000 };
	int waited_ms;

	for (waited_ms = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; waited_ms += 10) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		if (waited_ms >= EAL_GATE_TIMEOUT_MS)
			return -ETIMEDOUT;
		nanosleep(&step, NULL);
	}
	return 0;
}

/* Did somebody die inside, of those that attached to this primary? */
static bool
eal_marker_stands(const struct eal_gate *gate)
{
	char text[sizeof(gate->text)] = "";
	int fd = open(gate->marker, O_RDONLY | O_CLOEXEC);
	ssize_t length;

	if (fd < 0)
		return false;
	length = read(fd, text, sizeof(text) - 1);
	close(fd);
	/* An empty one was written by a process that died before it entered. */
	return length > 0 && strcmp(text, gate->text) == 0;
}

static int
eal_marker_write(const struct eal_gate *gate)
{
	int fd = open(gate->marker, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	size_t length = strlen(gate->text);
	int ret = 0;

	if (fd < 0)
		return -errno;
	errno = EIO;
	if (write(fd, gate->text, length) != (ssize_t)length)
		ret = -errno;
	close(fd);
	return ret;
}

static int
eal_gate_enter(const char *dir, struct eal_gate *gate)
{
	char path[PATH_MAX];
	pid_t primary = eal_primary(dir);
	int ret;

	if (primary == 0)
		return -ECONNREFUSED;
	if (snprintf(path, sizeof(path), EAL_GATE_FMT, dir) >= (int)sizeof(path) ||
	    snprintf(gate->marker, sizeof(gate->marker), EAL_MARKER_FMT, dir) >=
			(int)sizeof(gate->marker))
		return -ENAMETOOLONG;
	snprintf(gate->text, sizeof(gate->text), "primary %d %" PRIu64 "\n", primary,
		 eal_start_time(primary));
	gate->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (gate->lock < 0)
		return -errno;
	ret = eal_lock_wait(gate->lock);
	if (ret == 0 && eal_marker_stands(gate)) {
		TP_CLIENT_LOG(ERR, "a program died while it attached as a secondary process of %d: "
			      "no other may, until that node is restarted (%s)", primary,
			      gate->marker);
		ret = -EOWNERDEAD;
	}
	if (ret == 0)
		ret = eal_marker_write(gate);
	if (ret < 0)
		close(gate->lock);
	return ret;
}

static void
eal_gate_leave(struct eal_gate *gate)
{
	unlink(gate->marker);
	close(gate->lock);
}

int
tp_eal_attach(int argc, char **argv)
{
	static char secondary[] = "--proc-type=secondary";
	char *args[EAL_ARGS_MAX];
	struct eal_gate gate;
	char dir[PATH_MAX];
	int i, ret;

	if (argc < 1 || argc + 2 > EAL_ARGS_MAX)
		return -EINVAL;
	ret = tp_client_runtime_dir(eal_file_prefix(argc, argv), dir, sizeof(dir));
	if (ret < 0)
		return ret;
	args[0] = argv[0];
	args[1] = secondary;
	for (i = 1; i <= argc; i++)
		args[i + 1] = argv[i];

	ret = eal_gate_enter(dir, &gate);
	if (ret < 0)
		return ret;
	ret = rte_eal_init(argc + 1, args);
	if (ret < 0)
		ret = rte_errno != 0 ? -rte_errno : -EINVAL;
	eal_gate_leave(&gate);
	return ret < 0 ? ret : ret - 1;
}

void
tp_client_exit(int status)
{
	fflush(NULL);
	_exit(status);
}
