/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A volume of persistent memory against nbdkit's file plugin: the same server, the same
 * client, files in the same folder, full of data both; a flush means the same to both. One core has
 * the client, the other one the server.
 */
#include "bench.h"

#ifdef BENCH_LIBNBD

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <libnbd.h>
#include <rte_common.h>
#include <rte_cycles.h>

#include "tp_pmem_volume.h"

#define BLOCK_BYTES 4096u
#define BLOCK_VOLUME_BYTES (UINT64_C(256) << 20)
#define BLOCK_POOL_BYTES (UINT64_C(320) << 20)
#define BLOCK_COUNT (BLOCK_VOLUME_BYTES / BLOCK_BYTES)
#define BLOCK_DEPTH_MAX 16u
#define BLOCK_ROUNDS 20u
#define BLOCK_WAIT_MS 10000
#define BLOCK_CONNECT_STEP_US 10000u
#define BLOCK_CONNECT_TRIES 500u	/* 5 s */
#define BLOCK_PATH_CHARS 128

enum block_sides {
	BLOCK_TELEPAGE,
	BLOCK_FILE,
	BLOCK_SIDES
};

static const char *const side_names[BLOCK_SIDES] = { "telepage", "nbdkit file" };

/* What is measured: batches of operations, so many at once. */
struct block_kind {
	const char *name;
	unsigned int operations;	/* in a sample */
	unsigned int samples;		/* in a round */
	bool is_read;
	bool flush_each;
	bool flush_last;
};

static const struct block_kind block_kinds[] = {
	{ "write_flush", 16, 1, false, true, false },
	{ "write_flush_32", 32, 4, false, false, true },
	{ "read", 256, 2, true, false, false },
};

struct block_server {
	pid_t pid;
	struct nbd_handle *nbd;
	char path[BLOCK_PATH_CHARS];
	char socket[BLOCK_PATH_CHARS];
};

struct block_op {
	struct nbd_handle *nbd;
	const struct block_kind *kind;
	unsigned int depth;
	uint64_t random;
};

/* One of the operations at work. */
struct block_slot {
	uint8_t data[BLOCK_BYTES];
	int64_t cookie;			/* -1: free */
	bool is_flushing;
};

static int
nbd_failed(const char *what)
{
	fprintf(stderr, "telepage-bench: %s: %s\n", what, nbd_get_error());
	return -EIO;
}

static int
slot_begin(struct block_op *op, struct block_slot *slot)
{
	uint64_t offset = bench_random(&op->random) % BLOCK_COUNT * BLOCK_BYTES;

	slot->is_flushing = false;
	if (!op->kind->is_read)
		memcpy(slot->data, &op->random, sizeof(op->random));
	slot->cookie = op->kind->is_read ?
		nbd_aio_pread(op->nbd, slot->data, BLOCK_BYTES, offset, NBD_NULL_COMPLETION, 0) :
		nbd_aio_pwrite(op->nbd, slot->data, BLOCK_BYTES, offset, NBD_NULL_COMPLETION, 0);
	return slot->cookie < 0 ? nbd_failed("request") : 0;
}

/* 1: the operation is over; 0: not yet; -errno. */
static int
slot_look(struct block_op *op, struct block_slot *slot)
{
	int done = nbd_aio_command_completed(op->nbd, (uint64_t)slot->cookie);

	if (done <= 0)
		return done < 0 ? nbd_failed("answer") : 0;
	if (op->kind->flush_each && !slot->is_flushing) {
		slot->is_flushing = true;
		slot->cookie = nbd_aio_flush(op->nbd, NBD_NULL_COMPLETION, 0);
		return slot->cookie < 0 ? nbd_failed("flush") : 0;
	}
	slot->cookie = -1;
	return 1;
}

static int
block_once(void *context, uint64_t *ticks)
{
	static struct block_slot slots[BLOCK_DEPTH_MAX];
	struct block_op *op = context;
	unsigned int begun = 0, ended = 0;
	uint64_t start = rte_rdtsc_precise();
	int ret = 0;

	for (; begun < op->depth && ret == 0; begun++)
		ret = slot_begin(op, &slots[begun]);
	while (ended < op->kind->operations && ret == 0) {
		if (nbd_poll(op->nbd, BLOCK_WAIT_MS) <= 0)
			return nbd_failed("poll");
		for (unsigned int i = 0; i < op->depth && ret >= 0; i++) {
			ret = slots[i].cookie < 0 ? 0 : slot_look(op, &slots[i]);
			if (ret <= 0)
				continue;
			ended++;
			ret = begun < op->kind->operations ? slot_begin(op, &slots[i]) : 0;
			begun += begun < op->kind->operations;
		}
	}
	if (ret == 0 && op->kind->flush_last && nbd_flush(op->nbd, 0) < 0)
		return nbd_failed("flush");
	*ticks = rte_rdtsc_precise() - start;
	return ret;
}

/*
 * Servers.
 */

static int
pool_make(const char *path)
{
	struct tp_pmem_pool *pool;
	int ret = tp_pmem_pool_create(path, BLOCK_POOL_BYTES, NULL, &pool);

	if (ret < 0)
		return ret;
	ret = tp_pmem_volume_create(pool, "disk", BLOCK_VOLUME_BYTES);
	tp_pmem_pool_close(pool);
	return ret;
}

static int
file_make(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
	int ret;

	if (fd < 0)
		return -errno;
	ret = posix_fallocate(fd, 0, (off_t)BLOCK_VOLUME_BYTES);
	close(fd);
	return -ret;
}

/* Where this program was built, the plugin was, too. */
static void
plugin_path(char path[PATH_MAX])
{
	char program[PATH_MAX - 64] = "";

	if (readlink("/proc/self/exe", program, sizeof(program) - 1) < 0)
		program[0] = '\0';
	snprintf(path, PATH_MAX, "%s/app/nbdkit/nbdkit-telepage-plugin.so", dirname(program));
}

static void
server_exec(const struct bench *bench, const struct block_server *server, enum block_sides side)
{
	char plugin[PATH_MAX], argument[BLOCK_PATH_CHARS + 8];
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(bench->cpus[1], &set);
	sched_setaffinity(0, sizeof(set), &set);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	plugin_path(plugin);
	snprintf(argument, sizeof(argument), "%s=%s", side == BLOCK_TELEPAGE ? "pool" : "file",
		server->path);
	execlp("nbdkit", "nbdkit", "-f", "-U", server->socket, side == BLOCK_TELEPAGE ? plugin :
		"file", argument, (char *)NULL);
	_exit(127);
}

/* Twice, so that each place of the volume has been written. */
static int
server_fill(struct block_server *server)
{
	static uint8_t data[1 << 20];

	memset(data, 0x5a, sizeof(data));
	for (unsigned int turn = 0; turn < 2; turn++)
		for (uint64_t at = 0; at < BLOCK_VOLUME_BYTES; at += sizeof(data))
			if (nbd_pwrite(server->nbd, data, sizeof(data), at, 0) < 0)
				return nbd_failed("fill");
	return nbd_flush(server->nbd, 0) < 0 ? nbd_failed("flush") : 0;
}

/* A socket has a name before anybody listens: until it answers, or nbdkit has ended. */
static int
server_connect(struct block_server *server, const char *name)
{
	int ret = -1;

	for (unsigned int i = 0; i < BLOCK_CONNECT_TRIES && ret < 0; i++) {
		if (waitpid(server->pid, NULL, WNOHANG) == server->pid) {
			server->pid = 0;
			fprintf(stderr, "telepage-bench: %s: nbdkit has ended\n", name);
			return -ECHILD;
		}
		/* One that failed cannot be used again. */
		nbd_close(server->nbd);
		server->nbd = nbd_create();
		if (server->nbd == NULL)
			break;
		ret = nbd_connect_unix(server->nbd, server->socket);
		if (ret < 0)
			usleep(BLOCK_CONNECT_STEP_US);
	}
	return ret < 0 ? nbd_failed(name) : 0;
}

static int
server_start(const struct bench *bench, const char *folder, enum block_sides side,
	     struct block_server *server)
{
	int ret;

	snprintf(server->path, sizeof(server->path), "%s/%.47s-block-%d", folder, bench->prefix,
		(int)side);
	snprintf(server->socket, sizeof(server->socket), BENCH_FOLDER "-nbd-%d", bench->prefix,
		(int)side);
	ret = side == BLOCK_TELEPAGE ? pool_make(server->path) : file_make(server->path);
	if (ret < 0)
		return ret;
	server->pid = fork();
	if (server->pid < 0)
		return -errno;
	if (server->pid == 0)
		server_exec(bench, server, side);
	ret = server_connect(server, side_names[side]);
	return ret == 0 ? server_fill(server) : ret;
}

static void
server_stop(struct block_server *server)
{
	if (server->nbd != NULL)
		nbd_close(server->nbd);
	if (server->pid > 0) {
		kill(server->pid, SIGTERM);
		waitpid(server->pid, NULL, 0);
	}
	unlink(server->path);
	unlink(server->socket);
}

static int
block_compare(struct bench *bench, const char *place, const struct block_server *servers,
	      const struct block_kind *kind, unsigned int depth)
{
	const struct bench_plan plan = {
		.rounds = bench->quick ? BLOCK_ROUNDS / 10 : BLOCK_ROUNDS,
		.batch = kind->samples, .warmup = 1,
	};
	const double scale = bench->ns_per_tick / 1000 / kind->operations;
	struct block_op contexts[BLOCK_SIDES];
	struct bench_op ops[BLOCK_SIDES];
	char name[64];
	int ret;

	for (unsigned int i = 0; i < BLOCK_SIDES; i++) {
		contexts[i] = (struct block_op){ servers[i].nbd, kind, depth, 77 };
		ops[i] = (struct bench_op){ block_once, NULL, NULL, &contexts[i], { 0 } };
	}
	ret = bench_interleave(ops, BLOCK_SIDES, &plan);
	if (ret < 0)
		return ret;
	snprintf(name, sizeof(name), "pmem_block_%s_%s_%u", place, kind->name, depth);
	bench_report(bench, &(struct bench_row){
		.name = name,
		.unit = "us",
		.scale = scale,
		.samples = &ops[BLOCK_TELEPAGE].samples,
		.baseline_name = side_names[BLOCK_FILE],
		.baseline_scale = scale,
		.baseline = &ops[BLOCK_FILE].samples,
	});
	for (unsigned int i = 0; i < BLOCK_SIDES; i++)
		bench_samples_fini(&ops[i].samples);
	return 0;
}

static int
block_run(struct bench *bench, const char *place, const char *folder)
{
	static const unsigned int depths[] = { 1, BLOCK_DEPTH_MAX };
	struct block_server servers[BLOCK_SIDES] = { 0 };
	int ret = 0;

	for (unsigned int i = 0; i < BLOCK_SIDES && ret == 0; i++)
		ret = server_start(bench, folder, (enum block_sides)i, &servers[i]);
	for (size_t i = 0; i < RTE_DIM(block_kinds); i++)
		for (size_t d = 0; d < RTE_DIM(depths) && ret == 0; d++)
			ret = block_compare(bench, place, servers, &block_kinds[i], depths[d]);
	for (unsigned int i = 0; i < BLOCK_SIDES; i++)
		server_stop(&servers[i]);
	return ret;
}

int
bench_pmem_block_iops(struct bench *bench)
{
	int ret = bench_pin(bench, 0);

	if (ret == 0)
		ret = block_run(bench, "memory", "/dev/shm");
	return ret < 0 ? ret : block_run(bench, "disk", BENCH_DISK_FOLDER);
}

#else

#include <errno.h>

int
bench_pmem_block_iops(struct bench *bench)
{
	fprintf(stderr, "telepage-bench: built without libnbd-dev: no client for block volumes\n");
	return -ENOTSUP;
}

#endif
