/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Ports of the two processes of a benchmark, and EAL in each. Kernel devices
 * live in a network namespace that has no name: it goes with the last process
 * in it, so there is nothing to clean up.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <rte_common.h>
#include <rte_eal.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_log.h>

#include "bench.h"

#define EAL_ARGS_MAX 24

/* Buffers and ring frames hold a 9000-byte packet; rings are short, so that
 * they stay in the cache.
 */
#define MEMIF_ARGS "bsize=10240,rsize=8"
#define AF_PACKET_ARGS "blocksz=36864,framesz=9216,framecnt=256"
#define AF_PACKET_SHORT_ARGS "blocksz=65536,framesz=2048,framecnt=512"	/* 1500-byte packets */
#define AF_PACKET_SHORT_MTU 1900u
/* Who polls all the time needs no system call for each time that it finds nothing. */
#define AF_XDP_ARGS "busy_budget=0"

static const struct {
	const char *name;
	uint16_t mtu;
} pmds[BENCH_PMD_COUNT] = {
	[BENCH_PMD_MEMIF] = { "memif", 9000 },
	[BENCH_PMD_AF_PACKET] = { "af_packet", 9000 },
	/* A frame is in one page of the kernel. */
	[BENCH_PMD_AF_XDP] = { "af_xdp", 3400 },
	/* The driver of DPDK 22.11 cuts what is longer. */
	[BENCH_PMD_TAP] = { "tap", 1500 },
};

const char *
bench_pmd_name(enum bench_pmd pmd)
{
	return pmds[pmd].name;
}

uint16_t
bench_pmd_mtu(enum bench_pmd pmd)
{
	return pmds[pmd].mtu;
}

uint16_t
bench_mtu(const struct bench *bench)
{
	uint16_t most = bench_pmd_mtu(bench->pmd);

	return bench->mtu == 0 ? most : (uint16_t)RTE_MIN(bench->mtu, most);
}

enum bench_pmd
bench_pmd_find(const char *name)
{
	unsigned int pmd;

	for (pmd = 0; pmd < BENCH_PMD_COUNT; pmd++)
		if (strcmp(name, pmds[pmd].name) == 0)
			break;
	return pmd;
}

int
bench_pin(const struct bench *bench, unsigned int side)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(bench->cpus[side], &set);
	return sched_setaffinity(0, sizeof(set), &set) < 0 ? -errno : 0;
}

/* Run ip(8) with the words of a line. */
static int
__attribute__((format(printf, 1, 2)))
ip_run(const char *format, ...)
{
	char line[256];
	char *words[32] = { NULL };
	unsigned int count = 0;
	char *rest = line;
	va_list args;
	pid_t pid;
	int status;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	while (count < 31 && (words[count] = strtok_r(rest, " ", &rest)) != NULL)
		count++;
	status = posix_spawnp(&pid, words[0], NULL, NULL, words, environ);
	if (status != 0)
		return -status;
	if (waitpid(pid, &status, 0) < 0)
		return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}

/* Whoever is in the new namespace must not be spoken to by the kernel. */
static void
ipv6_disable(void)
{
	int fd = open("/proc/sys/net/ipv6/conf/default/disable_ipv6", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, "1", 1) != 1)
		fprintf(stderr, "telepage-bench: IPv6 stays enabled\n");
	close(fd);
}

/*
 * The driver numbers its fanout group by process and device, one XOR the other:
 * neighbouring numbers of both would be one group of two devices, which the
 * kernel refuses. So those of devices are far apart.
 */
static int
veth_make(unsigned int pair, uint16_t mtu)
{
	int ret;

	ret = ip_run("ip link add tpb%u.0 index %u mtu %u type veth peer name tpb%u.1 index %u "
		     "mtu %u", pair, (2 * pair + 1) << 12, mtu, pair, (2 * pair + 2) << 12, mtu);
	if (ret == 0)
		ret = ip_run("ip link set tpb%u.0 up", pair);
	if (ret == 0)
		ret = ip_run("ip link set tpb%u.1 up", pair);
	return ret;
}

int
bench_link_enter(const struct bench *bench, unsigned int side)
{
	char path[64];
	int ret = 0;
	int fd;

	if (bench->netns[side] == NULL)
		return 0;
	snprintf(path, sizeof(path), "/run/netns/%s", bench->netns[side]);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0) {
		ret = -errno;
		fprintf(stderr, "telepage-bench: network namespace %s: %s\n",
			bench->netns[side], strerror(-ret));
	}
	if (fd >= 0)
		close(fd);
	return ret;
}

int
bench_link_prepare(struct bench *bench, unsigned int pair_count)
{
	int ret = 0;

	if (bench->pmd == BENCH_PMD_MEMIF)
		return 0;
	if (bench->netns[0] != NULL)
		return bench_link_enter(bench, 0);
	if (unshare(CLONE_NEWNET) < 0) {
		ret = -errno;
		fprintf(stderr, "telepage-bench: no network namespace: %s\n", strerror(-ret));
		return ret;
	}
	ipv6_disable();
	for (unsigned int i = 0; i < pair_count && ret == 0; i++)
		if (bench->pmd != BENCH_PMD_TAP)
			ret = veth_make(i, bench_pmd_mtu(bench->pmd));
	return ret;
}

int
bench_link_shape(const struct bench *bench, unsigned int pair, unsigned int mbit)
{
	int ret = 0;

	if (bench->pmd != BENCH_PMD_AF_PACKET || bench->netns[0] != NULL)
		return -ENOTSUP;
	for (unsigned int side = 0; side < 2 && ret == 0; side++)
		ret = ip_run("tc qdisc add dev tpb%u.%u root tbf rate %umbit burst 64k latency 50ms",
			     pair, side, mbit);
	return ret;
}

static const char *
af_packet_args(const struct bench *bench)
{
	return bench_mtu(bench) <= AF_PACKET_SHORT_MTU ? AF_PACKET_SHORT_ARGS : AF_PACKET_ARGS;
}

void
bench_link_vdev(const struct bench *bench, unsigned int pair, unsigned int side,
		char vdev[BENCH_VDEV_CHARS])
{
	switch (bench->pmd) {
	case BENCH_PMD_MEMIF:
		/* An abstract socket leaves no file behind. */
		snprintf(vdev, BENCH_VDEV_CHARS,
			 "--vdev=net_memif%u,role=%s,id=%u,socket=%s.%u,socket-abstract=yes,"
			 MEMIF_ARGS, pair, side == 0 ? "client" : "server", pair, bench->prefix,
			 pair);
		break;
	case BENCH_PMD_AF_PACKET:
		if (bench->netns[side] != NULL) {
			snprintf(vdev, BENCH_VDEV_CHARS,
				 "--vdev=net_af_packet%u,iface=net%u,%s", pair, pair,
				 af_packet_args(bench));
			break;
		}
		snprintf(vdev, BENCH_VDEV_CHARS,
			 "--vdev=net_af_packet%u,iface=tpb%u.%u,%s", pair, pair, side,
			 af_packet_args(bench));
		break;
	case BENCH_PMD_AF_XDP:
		snprintf(vdev, BENCH_VDEV_CHARS, "--vdev=net_af_xdp%u,iface=tpb%u.%u," AF_XDP_ARGS,
			 pair, pair, side);
		break;
	default:
		/* Forked processes draw the same random addresses. */
		snprintf(vdev, BENCH_VDEV_CHARS,
			 "--vdev=net_tap%u,iface=tpt%u.%u,mac=02:54:50:00:%02x:%02x", pair, pair,
			 side, pair, side);
		break;
	}
}

int
bench_link_join_side(const struct bench *bench, unsigned int pair, unsigned int side)
{
	char bridge[32];
	int ret = 0;

	if (bench->pmd != BENCH_PMD_TAP)
		return 0;
	snprintf(bridge, sizeof(bridge), "tpbr%u", pair);
	if (if_nametoindex(bridge) == 0)
		ret = ip_run("ip link add %s mtu 9000 type bridge forward_delay 0 mcast_snooping 0",
			     bridge);
	if (ret == 0)
		ret = ip_run("ip link set %s up", bridge);
	/*
	 * The port keeps its address; the device must have another one, or the bridge
	 * takes what is sent to it for its own.
	 */
	if (ret == 0)
		ret = ip_run("ip link set tpt%u.%u address 06:54:50:00:%02x:%02x mtu 9000 "
			     "master %s up", pair, side, pair, side, bridge);
	return ret;
}

int
bench_link_join(const struct bench *bench, unsigned int pair)
{
	int ret = bench_link_join_side(bench, pair, 0);

	return ret == 0 ? bench_link_join_side(bench, pair, 1) : ret;
}

/*
 * EAL goes on without a device that its driver refused. It is probed once more for
 * what all have to say about it.
 */
static int
vdev_check(const char *vdev)
{
	char name[64] = "", arguments[BENCH_VDEV_CHARS] = "";
	uint16_t port;
	int ret;

	if (sscanf(vdev, "--vdev=%63[^,],%191[^\n]", name, arguments) >= 1 &&
	    rte_eth_dev_get_port_by_name(name, &port) == 0)
		return 0;
	fprintf(stderr, "telepage-bench: no port %s came of %s; %u others exist, process %d\n",
		name, vdev, rte_eth_dev_count_total(), getpid());
	/* EAL's own last: it tells of each change. */
	rte_log_set_level_pattern("pmd.net.*", RTE_LOG_DEBUG);
	rte_log_set_level_pattern("lib.ethdev", RTE_LOG_DEBUG);
	rte_log_set_level_pattern("bus.vdev", RTE_LOG_DEBUG);
	rte_log_set_level_pattern("lib.eal", RTE_LOG_DEBUG);
	ret = rte_eal_hotplug_add("vdev", name, arguments);
	fprintf(stderr, "telepage-bench: %s, probed again: %s\n", name,
		ret == 0 ? "now it is there" : strerror(-ret));
	return -ENODEV;
}

int
bench_eal_start(struct bench *bench, unsigned int side,
		const char (*vdevs)[BENCH_VDEV_CHARS], unsigned int vdev_count)
{
	char storage[EAL_ARGS_MAX][BENCH_VDEV_CHARS];
	char *argv[EAL_ARGS_MAX + 1] = { NULL };
	int argc = 0, ret = 0;
	char lcores[24];
	char prefix[BENCH_PREFIX_CHARS + 16];
	const char * const fixed[] = {
		"telepage-bench", "--no-pci", "--no-telemetry", "--log-level=*:4",
		"--lcores", lcores, "--file-prefix", prefix,
	};

	snprintf(lcores, sizeof(lcores), "0@%d", bench->cpus[side]);
	snprintf(prefix, sizeof(prefix), "%s-%d", bench->prefix, getpid());
	for (unsigned int i = 0; i < RTE_DIM(fixed); i++)
		snprintf(storage[argc++], BENCH_VDEV_CHARS, "%s", fixed[i]);
	/*
	 * Too few huge pages: run on small ones, and let the figures say so. EAL takes
	 * one of the two; the guard removes what it leaves in its run directory.
	 */
	snprintf(storage[argc++], BENCH_VDEV_CHARS,
		 bench->hugepages == 0 ? "--no-huge" : "--in-memory");
	for (unsigned int i = 0; i < vdev_count && argc < EAL_ARGS_MAX; i++)
		snprintf(storage[argc++], BENCH_VDEV_CHARS, "%s", vdevs[i]);
	for (int i = 0; i < argc; i++)
		argv[i] = storage[i];
	if (rte_eal_init(argc, argv) < 0) {
		ret = -rte_errno;
		fprintf(stderr, "telepage-bench: EAL does not start: %s\n", strerror(-ret));
	}
	for (unsigned int i = 0; i < vdev_count && ret == 0; i++)
		ret = vdev_check(vdevs[i]);
	return ret;
}
