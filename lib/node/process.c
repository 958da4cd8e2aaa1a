/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What a process that is not ours does, by what the kernel says of it.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "gate_priv.h"

/* Of /proc/PID/stat, see proc(5). */
struct process_stat {
	char state;
	uint64_t done;		/* ticks on a core and pages faulted in, of all its threads */
	uint64_t started;
	long threads;
};

static bool
process_is_there(pid_t pid)
{
	return kill(pid, 0) == 0 || errno != ESRCH;
}

static bool
process_stat_parse(const char *line, struct process_stat *stat)
{
	uint64_t minor, major, user, system;
	/* The name, in brackets, may hold anything. */
	const char *rest = strrchr(line, ')');

	if (rest == NULL || sscanf(rest + 1, " %c %*d %*d %*d %*d %*d %*u %" SCNu64 " %*u %" SCNu64
			" %*u %" SCNu64 " %" SCNu64 " %*d %*d %*d %*d %ld %*d %" SCNu64,
			&stat->state, &minor, &major, &user, &system, &stat->threads,
			&stat->started) != 7)
		return false;
	stat->done = minor + major + user + system;
	return true;
}

static bool
process_stat_get(pid_t pid, struct process_stat *stat)
{
	char path[32], line[1024];
	bool known = false;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "re");
	if (file == NULL)
		return false;
	if (fgets(line, sizeof(line), file) != NULL)
		known = process_stat_parse(line, stat);
	fclose(file);
	return known;
}

enum process_state
process_look(struct process *process)
{
	struct process_stat stat;
	bool worked;

	/* A process of another PID namespace has no number here. */
	if (process->pid <= 0)
		return PROCESS_ASLEEP;
	if (!process_is_there(process->pid))
		return PROCESS_GONE;
	if (!process_stat_get(process->pid, &stat))
		return process_is_there(process->pid) ? PROCESS_ASLEEP : PROCESS_GONE;
	if (process->started != 0 && process->started != stat.started)
		return PROCESS_GONE;
	worked = process->started != 0 && process->done != stat.done;
	process->started = stat.started;
	process->done = stat.done;
	/* The first thread may have ended before the others. */
	if ((stat.state == 'Z' || stat.state == 'X') && stat.threads <= 1)
		return PROCESS_GONE;
	if (stat.state == 'T' || stat.state == 't')
		return PROCESS_STOPPED;
	return worked || stat.state == 'R' ? PROCESS_BUSY : PROCESS_ASLEEP;
}
