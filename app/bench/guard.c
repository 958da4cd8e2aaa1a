/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The guard process. It takes huge pages on behalf of the run and gives them
 * back when the socket to the run closes: after its end or its death, whatever
 * killed it. As in dts/janitor.py it changes the number of reserved pages by a
 * difference, so that runs side by side do not spoil each other's.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define HUGEPAGES_PATH "/sys/kernel/mm/hugepages/hugepages-2048kB/"

struct bench_guard {
	int sock;
	pid_t pid;
};

static long
hugepages_read(const char *path)
{
	FILE *file = fopen(path, "r");
	long count = -1;

	if (file == NULL)
		return -1;
	if (fscanf(file, "%ld", &count) != 1)
		count = -1;
	fclose(file);
	return count;
}

/* Without those that go as soon as a process that ends lets go of them. -1: unknown. */
static long
hugepages_reserved(void)
{
	long count = hugepages_read(HUGEPAGES_PATH "nr_hugepages");
	long surplus = hugepages_read(HUGEPAGES_PATH "surplus_hugepages");

	return surplus > 0 && count >= surplus ? count - surplus : count;
}

static void
hugepages_write(long count)
{
	FILE *file = fopen(HUGEPAGES_PATH "nr_hugepages", "w");

	if (file == NULL)
		return;
	fprintf(file, "%ld", count);
	fclose(file);
}

/* The change achieved. */
static long
hugepages_change(long delta)
{
	int lock = open("/run", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	long before, after;

	if (lock >= 0)
		flock(lock, LOCK_EX);
	before = hugepages_reserved();
	after = before;
	if (before >= 0) {
		hugepages_write(before + delta < 0 ? 0 : before + delta);
		after = hugepages_reserved();
	}
	if (lock >= 0)
		close(lock);
	return after < 0 ? 0 : after - before;
}

/* Remove what a pattern names: files, or folders that are empty. */
static void
pattern_remove(const char *pattern)
{
	glob_t found;

	if (glob(pattern, GLOB_NOSORT, NULL, &found) != 0)
		return;
	for (size_t i = 0; i < found.gl_pathc; i++)
		remove(found.gl_pathv[i]);
	globfree(&found);
}

/* EAL leaves its run-time folder behind; the store of nodes, pools and volumes are ours. */
static void
runtime_remove(const char *prefix)
{
	char pattern[96];

	snprintf(pattern, sizeof(pattern), "/run/dpdk/%s-*/*", prefix);
	pattern_remove(pattern);
	snprintf(pattern, sizeof(pattern), "/run/dpdk/%s-*", prefix);
	pattern_remove(pattern);
	rmdir("/run/dpdk");
	snprintf(pattern, sizeof(pattern), BENCH_FOLDER "/*/*", prefix);
	pattern_remove(pattern);
	snprintf(pattern, sizeof(pattern), BENCH_FOLDER "/*", prefix);
	pattern_remove(pattern);
	snprintf(pattern, sizeof(pattern), BENCH_FOLDER, prefix);
	pattern_remove(pattern);
	snprintf(pattern, sizeof(pattern), BENCH_FOLDER "-*", prefix);
	pattern_remove(pattern);
	snprintf(pattern, sizeof(pattern), BENCH_DISK_FOLDER "/%.47s-*", prefix);
	pattern_remove(pattern);
}

static void
guard_child(int sock, const char *prefix)
{
	int32_t wanted, got;
	long taken = 0;
	long change;

	setsid();
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	while (recv(sock, &wanted, sizeof(wanted), 0) == sizeof(wanted)) {
		change = hugepages_change(wanted);
		taken += change;
		got = (int32_t)change;
		send(sock, &got, sizeof(got), MSG_NOSIGNAL);
	}
	if (taken != 0)
		hugepages_change(-taken);
	runtime_remove(prefix);
	_exit(0);
}

struct bench_guard *
bench_guard_start(const char *prefix)
{
	struct bench_guard *guard;
	int socks[2];

	guard = malloc(sizeof(*guard));
	if (guard == NULL)
		return NULL;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks) < 0)
		goto free_guard;
	guard->pid = fork();
	if (guard->pid < 0)
		goto close_socks;
	if (guard->pid == 0) {
		close(socks[0]);
		guard_child(socks[1], prefix);
	}
	close(socks[1]);
	guard->sock = socks[0];
	return guard;

close_socks:
	close(socks[0]);
	close(socks[1]);
free_guard:
	free(guard);
	return NULL;
}

int
bench_guard_hugepages(struct bench_guard *guard, int count)
{
	int32_t wanted = count;
	int32_t got;

	if (send(guard->sock, &wanted, sizeof(wanted), MSG_NOSIGNAL) != sizeof(wanted) ||
	    recv(guard->sock, &got, sizeof(got), 0) != sizeof(got))
		return 0;
	return got;
}

void
bench_hugepages_reserve(struct bench *bench, unsigned int count)
{
	int got = bench_guard_hugepages(bench->guard, (int)count);

	if (got >= (int)count) {
		bench->hugepages = count;
		return;
	}
	bench->hugepages = 0;
	bench_guard_hugepages(bench->guard, -got);
	fprintf(stderr, "telepage-bench: %d of %u huge pages, going on with small ones\n", got,
		count);
}

void
bench_guard_stop(struct bench_guard *guard)
{
	if (guard == NULL)
		return;
	close(guard->sock);
	waitpid(guard->pid, NULL, 0);
	free(guard);
}

void
bench_guard_forget(struct bench_guard *guard)
{
	if (guard != NULL)
		close(guard->sock);
}
