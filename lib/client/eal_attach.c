/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Becoming a DPDK secondary process of the node, and choosing between that and
 * the bare socket. Main thread.
 *
 * How it works: rte_eal_init() in a secondary is not safe against a kill
 * inside: it may leave a shared lock behind, on which the next secondary hangs.
 * So one process at a time is inside, and the node is the one to know: a program
 * asks it for the gate over the control socket, and the kernel closes that
 * connection if the program dies, whatever it was doing. The same connection
 * becomes the client's when it attaches.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_service_component.h>

#include "client_priv.h"

#define EAL_GATE_TIMEOUT_NS UINT64_C(30000000000)
#define EAL_LEAVE_TIMEOUT_NS UINT64_C(5000000000)
#define EAL_ARGS_MAX 128

static int eal_inside = -1;	/* connection while rte_eal_init() runs */
static int eal_kept = -1;	/* connection for the client to come */

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

/* EAL prints its usage and calls exit(), before it touches anything shared. */
static bool
eal_asks_for_help(int argc, char **argv)
{
	int i;

	for (i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "-h") == 0 ||
		    (strlen(argv[i]) >= 4 && strncmp("--help", argv[i], strlen(argv[i])) == 0))
			return true;
	return false;
}

/* exit() inside: not a death, if it was help that was asked for. */
static void
eal_leave_at_exit(void)
{
	if (eal_inside >= 0)
		client_socket_gate(eal_inside, TP_CONTROL_GATE_LEAVE, EAL_LEAVE_TIMEOUT_NS);
}

static int
eal_gate_enter(const char *socket_path)
{
	int sock = client_socket_connect(socket_path, EAL_GATE_TIMEOUT_NS);
	int ret;

	if (sock < 0)
		return sock == -ENOENT ? -ECONNREFUSED : sock;
	ret = client_socket_gate(sock, TP_CONTROL_GATE_ENTER, EAL_GATE_TIMEOUT_NS);
	if (ret == -EOWNERDEAD)
		TP_CLIENT_LOG(ERR, "the node takes no more secondary processes: one died while "
			      "it attached; restart the node, or attach without EAL");
	if (ret == -EBUSY)
		TP_CLIENT_LOG(ERR, "another program stands still while it attaches as a secondary "
			      "process: end it or let it go on, or attach without EAL");
	if (ret == 0)
		return sock;
	close(sock);
	/* What a node says to a request that it does not know. */
	return ret == -ENOTCONN ? -EPROTO : ret;
}

static int
eal_init(int argc, char **argv, const char *socket_path)
{
	static char secondary[] = "--proc-type=secondary";
	static bool at_exit;
	char *args[EAL_ARGS_MAX];
	int i, ret;

	if (argc < 1 || argc + 2 > EAL_ARGS_MAX)
		return -EINVAL;
	args[0] = argv[0];
	args[1] = secondary;
	for (i = 1; i < argc; i++)
		args[i + 1] = argv[i];
	args[argc + 1] = NULL;

	ret = eal_gate_enter(socket_path);
	if (eal_asks_for_help(argc, argv)) {
		if (ret < 0) {
			rte_eal_init(argc + 1, args);
			return ret;
		}
		if (!at_exit)
			at_exit = atexit(eal_leave_at_exit) == 0;
	}
	if (ret < 0)
		return ret;
	eal_inside = ret;
	ret = rte_eal_init(argc + 1, args);
	if (ret < 0)
		ret = rte_errno != 0 ? -rte_errno : -EINVAL;
	else
		/* Its 150 KiB are of the node's heap, and would be lost if we are killed. */
		rte_service_finalize();
	/* Too late to fail: a node that is gone meanwhile is noticed by who attaches. */
	client_socket_gate(eal_inside, TP_CONTROL_GATE_LEAVE, EAL_LEAVE_TIMEOUT_NS);
	if (ret < 0)
		close(eal_inside);
	else
		eal_kept = eal_inside;
	eal_inside = -1;
	return ret < 0 ? ret : ret - 1;
}

int
tp_eal_attach(int argc, char **argv)
{
	char dir[PATH_MAX], path[PATH_MAX];
	int ret;

	ret = tp_client_runtime_dir(eal_file_prefix(argc, argv), dir, sizeof(dir));
	if (ret < 0)
		return ret;
	if (snprintf(path, sizeof(path), TP_CONTROL_PATH_FMT, dir) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	return eal_init(argc, argv, path);
}

/* EAL with the arguments of a configuration. */
static int
eal_start(const struct tp_client_config *config)
{
	/* EAL keeps pointers into its arguments. */
	static char program[] = "telepage-client", option[] = "--file-prefix";
	static char prefix[NAME_MAX + 1];
	char *args[] = { program, option, prefix, NULL };
	int argc = config->eal_argv != NULL ? config->eal_argc : 3;
	char **argv = config->eal_argv != NULL ? config->eal_argv : args;
	int ret;

	if (snprintf(prefix, sizeof(prefix), "%s", config->file_prefix != NULL ?
		     config->file_prefix : "rte") >= (int)sizeof(prefix))
		return -ENAMETOOLONG;
	ret = config->socket_path != NULL ? eal_init(argc, argv, config->socket_path) :
		tp_eal_attach(argc, argv);
	return ret < 0 ? ret : 0;
}

int
tp_attach(const struct tp_client_config *config_in, struct tp_client **client)
{
	struct tp_client_config config = config_in != NULL ? *config_in :
		(struct tp_client_config){ 0 };
	bool is_secondary = rte_eal_process_type() == RTE_PROC_SECONDARY;
	char path[PATH_MAX];
	int sock, ret;

	if (config.way > TP_ATTACH_SECONDARY)
		return -EINVAL;
	if (config.way == TP_ATTACH_SOCKET || (config.way == TP_ATTACH_AUTO && !is_secondary))
		return tp_client_attach(&config, client);
	if (!is_secondary) {
		ret = eal_start(&config);
		if (ret < 0)
			return ret;
	}
	if (config.socket_path == NULL) {
		if (snprintf(path, sizeof(path), TP_CONTROL_PATH_FMT, rte_eal_get_runtime_dir()) >=
		    (int)sizeof(path))
			return -ENAMETOOLONG;
		config.socket_path = path;
	}
	sock = eal_kept;
	eal_kept = -1;
	return client_socket_attach(sock, &config, client);
}

void
tp_client_exit(int status)
{
	fflush(NULL);
	_exit(status);
}
