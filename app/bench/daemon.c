/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What daemon.h describes. Their files are in the run's folder, which the guard
 * process removes; they die with this process.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <rte_common.h>

#include "daemon.h"
#include "tp_catalogue.h"

#define DAEMON_TRIES 3000		/* 10 ms apart */
#define DAEMON_ARGS_MAX 20

static const struct timespec daemon_step = { .tv_nsec = 10 * 1000 * 1000 };

static int
daemon_folder(const struct bench *bench, char *path, size_t path_bytes)
{
	snprintf(path, path_bytes, BENCH_FOLDER, bench->prefix);
	return mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

static void
daemon_huge_dir(const struct bench *bench, char *path, size_t path_bytes)
{
	snprintf(path, path_bytes, BENCH_FOLDER "/huge", bench->prefix);
}

int
bench_daemon_huge_mount(const struct bench *bench)
{
	char path[96];
	int ret = daemon_folder(bench, path, sizeof(path));

	if (ret < 0)
		return ret;
	daemon_huge_dir(bench, path, sizeof(path));
	if ((mkdir(path, 0700) < 0 && errno != EEXIST) || unshare(CLONE_NEWNS) < 0 ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", path, "hugetlbfs", 0, "pagesize=2M") < 0)
		return -errno;
	return 0;
}

/* Its ports: those of the configuration, or one end of pair 0. */
static unsigned int
daemon_links(const struct bench_daemon_config *config,
	     struct bench_daemon_link links[BENCH_DAEMON_LINKS])
{
	unsigned int i;

	links[0] = (struct bench_daemon_link){ .side = (uint8_t)config->link_side };
	for (i = 0; i < config->link_count && i < BENCH_DAEMON_LINKS; i++)
		links[i] = config->links[i];
	return RTE_MAX(i, 1u);
}

static void
daemon_ports_write(const struct bench *bench, const struct bench_daemon_config *config, FILE *file)
{
	struct bench_daemon_link links[BENCH_DAEMON_LINKS];
	unsigned int count = daemon_links(config, links);

	for (unsigned int i = 0; i < count; i++) {
		fprintf(file, "[port %u]\ndevice = net_%s%u\nip = 10.84.0.%u\nmtu = %u\n", i,
			bench_pmd_name(bench->pmd), links[i].pair, config->id,
			/* The tap driver of 22.11 cuts longer frames. */
			bench_pmd_mtu(bench->pmd));
		if (links[i].peer != 0)
			fprintf(file, "[peer %u]\nport = %u\n", links[i].peer, i);
	}
}

static int
daemon_config_write(const struct bench *bench, const struct bench_daemon *daemon,
		    const struct bench_daemon_config *config, char *path, size_t path_bytes)
{
	char folder[64];
	int ret = daemon_folder(bench, folder, sizeof(folder));
	FILE *file;

	if (ret < 0)
		return ret;
	snprintf(path, path_bytes, "%s/node%u.ini", folder, config->id);
	file = fopen(path, "we");
	if (file == NULL)
		return -errno;
	fprintf(file, "[node]\nid = %u\nstore = file:%s/%s\nnode_id_max = 8\n"
		"cache_mib = 4\nhome_mib = 4\nheap_mib = 1\nhuge_pages = no\nsocket = %s\n%s",
		config->id, folder, config->cluster != NULL ? config->cluster : "store",
		daemon->socket, config->settings != NULL ? config->settings : "");
	daemon_ports_write(bench, config, file);
	return fclose(file) == 0 ? 0 : -errno;
}

/* In the child: become the daemon. */
static void
daemon_exec(const struct bench *bench, const struct bench_daemon *daemon,
	    const struct bench_daemon_config *config, char *config_path)
{
	char program[PATH_MAX], lcores[24], huge[96];
	char vdevs[BENCH_DAEMON_LINKS][BENCH_VDEV_CHARS];
	char prefix[sizeof(daemon->prefix)];
	char *argv[DAEMON_ARGS_MAX] = { program, "--lcores", lcores, "--file-prefix", prefix,
		"--no-pci", "--log-level=*:4" };
	struct bench_daemon_link links[BENCH_DAEMON_LINKS];
	unsigned int argc = 7, count = daemon_links(config, links);
	ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 16);
	char *slash;
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	if (length < 0 || null < 0)
		_exit(127);
	program[length] = '\0';
	slash = strrchr(program, '/');
	strcpy(slash == NULL ? program : slash + 1, "telepaged");
	snprintf(lcores, sizeof(lcores), "0@%d", bench->cpus[config->core]);
	strcpy(prefix, daemon->prefix);
	daemon_huge_dir(bench, huge, sizeof(huge));
	for (unsigned int i = 0; i < count; i++) {
		bench_link_vdev(bench, links[i].pair, links[i].side, vdevs[i]);
		argv[argc++] = vdevs[i];
	}
	if (config->shared) {
		argv[argc++] = "--huge-dir";
		argv[argc++] = huge;
	} else {
		/* EAL takes one of the two. */
		argv[argc++] = bench->hugepages == 0 ? "--no-huge" : "--in-memory";
	}
	argv[argc++] = "--";
	argv[argc++] = "--config";
	argv[argc++] = config_path;
	argv[argc] = NULL;
	dup2(null, STDOUT_FILENO);
	execv(program, argv);
	fprintf(stderr, "telepage-bench: %s: %s\n", program, strerror(errno));
	_exit(127);
}

int
bench_daemon_start(struct bench_daemon *daemon, struct bench *bench,
		   const struct bench_daemon_config *config)
{
	pid_t parent = getpid();
	char path[96];
	int ret;

	snprintf(daemon->prefix, sizeof(daemon->prefix), "%s-node%u", bench->prefix, config->id);
	snprintf(daemon->socket, sizeof(daemon->socket), BENCH_FOLDER "/node%u.sock",
		 bench->prefix, config->id);
	ret = daemon_config_write(bench, daemon, config, path, sizeof(path));
	if (ret < 0)
		return ret;
	fflush(NULL);
	daemon->pid = fork();
	if (daemon->pid < 0) {
		daemon->pid = 0;
		return -errno;
	}
	if (daemon->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		bench_guard_forget(bench->guard);
		daemon_exec(bench, daemon, config, path);
	}
	return 0;
}

int
bench_daemon_attach(const struct bench_daemon *daemon, struct tp_client **client)
{
	const struct tp_client_config config = { .socket_path = daemon->socket };
	int ret = -ETIMEDOUT;

	for (unsigned int i = 0; i < DAEMON_TRIES; i++) {
		ret = tp_client_attach(&config, client);
		if (ret != -ENOENT && ret != -ECONNREFUSED)
			break;
		if (waitpid(daemon->pid, NULL, WNOHANG) != 0)
			return -ECHILD;
		nanosleep(&daemon_step, NULL);
	}
	return ret;
}

int
bench_daemon_launch(struct bench_daemon *daemon, struct bench *bench,
		    const struct bench_daemon_config *config)
{
	struct tp_client *client;
	int ret = bench_daemon_start(daemon, bench, config);

	if (ret == 0)
		ret = bench_daemon_attach(daemon, &client);
	if (ret == 0)
		tp_client_detach(client);
	return ret;
}

static bool
daemon_is_reached(struct tp_client *client, uint16_t id, uint32_t *epoch)
{
	struct tp_control_node node;

	for (uint32_t i = 0; tp_client_node_get(client, i, &node) == 0; i++)
		/* A node does not say of itself that it reaches itself. */
		if (node.id == id && node.state == TP_NODE_MEMBER && node.epoch > *epoch &&
		    (node.reachable || id == tp_client_node(client)->node_id)) {
			*epoch = node.epoch;
			return true;
		}
	return false;
}

int
bench_daemon_reach(struct tp_client *client, uint16_t id, uint32_t *epoch)
{
	for (unsigned int i = 0; i < DAEMON_TRIES; i++) {
		if (daemon_is_reached(client, id, epoch))
			return 0;
		nanosleep(&daemon_step, NULL);
	}
	return -EHOSTUNREACH;
}

void
bench_daemon_end(struct bench_daemon *daemon, int signum)
{
	if (daemon->pid == 0)
		return;
	kill(daemon->pid, signum);
	waitpid(daemon->pid, NULL, 0);
	daemon->pid = 0;
}
