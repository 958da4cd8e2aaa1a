/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What wakes a lcore that sleeps when a frame arrives: the driver's own packet
 * socket or device, which is readable as long as its ring is not empty. The
 * drivers that have one do not show it, so it is looked for among the open
 * descriptors of this process. Waiting for it costs nothing while nobody waits.
 */
#include <dirent.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rte_common.h>
#include <rte_ethdev.h>

#include "port_priv.h"
#include "tp_link_ethdev.h"

#define WAKE_FDS_MAX 64
#define WAKE_QUEUES_MAX 16

/* Sockets by port and queue, plus 1, where they were seen to appear. Main lcore. */
static int wake_learned[RTE_MAX_ETHPORTS][WAKE_QUEUES_MAX];

static int
wake_domain(int fd)
{
	socklen_t bytes = sizeof(int);
	int domain = -1;

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &bytes) == 0 ? domain : -1;
}

static bool
wake_is_packet(int fd, unsigned int if_index)
{
	struct sockaddr_ll address = { .sll_ifindex = 0 };
	socklen_t bytes = sizeof(address);

	return wake_domain(fd) == AF_PACKET &&
		getsockname(fd, (struct sockaddr *)&address, &bytes) == 0 &&
		address.sll_ifindex == (int)if_index;
}

/* They do not tell their device or queue: see fabric_port_wake_learn(). */
static bool
wake_is_xdp(int fd, unsigned int if_index)
{
	return wake_domain(fd) == AF_XDP;
}

static bool
wake_is_tap(int fd, unsigned int if_index)
{
	struct pollfd event = { .fd = fd, .events = POLLIN };
	struct ifreq request;
	char link[32], target[32];
	ssize_t length;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	length = readlink(link, target, sizeof(target) - 1);
	if (length <= 0)
		return false;
	target[length] = '\0';
	memset(&request, 0, sizeof(request));
	if (strcmp(target, "/dev/net/tun") != 0 || ioctl(fd, TUNGETIFF, &request) < 0 ||
	    if_nametoindex(request.ifr_name) != if_index)
		return false;
	/* The one that only keeps the device alive is no queue. */
	return poll(&event, 1, 0) >= 0 && !(event.revents & (POLLERR | POLLNVAL));
}

static const struct wake_driver {
	const char *name;
	bool (*is_ours)(int fd, unsigned int if_index);
	bool fd_first;		/* its queue begins with the descriptor */
} wake_drivers[] = {
	{ "net_af_packet", wake_is_packet, true },
	{ "net_af_xdp", wake_is_xdp, false },
	{ "net_tap", wake_is_tap, false },
};

static unsigned int
wake_scan(const struct wake_driver *driver, unsigned int if_index, int fds[WAKE_FDS_MAX])
{
	DIR *folder = opendir("/proc/self/fd");
	unsigned int count = 0;
	struct dirent *entry;

	if (folder == NULL)
		return 0;
	while ((entry = readdir(folder)) != NULL && count < WAKE_FDS_MAX) {
		int fd = atoi(entry->d_name);

		if (entry->d_name[0] != '.' && fd != dirfd(folder) && driver->is_ours(fd, if_index))
			fds[count++] = fd;
	}
	closedir(folder);
	return count;
}

static const struct wake_driver *
wake_driver_of(const struct rte_eth_dev_info *info)
{
	size_t i;

	for (i = 0; i < RTE_DIM(wake_drivers); i++)
		if (strcmp(info->driver_name, wake_drivers[i].name) == 0)
			return &wake_drivers[i];
	return NULL;
}

unsigned int
fabric_port_fds(const struct rte_eth_dev_info *info, int *fds, unsigned int fd_max)
{
	const struct wake_driver *driver = wake_driver_of(info);
	int found[WAKE_FDS_MAX];
	unsigned int count;

	if (driver == NULL)
		return 0;
	count = wake_scan(driver, info->if_index, found);
	if (count > fd_max)
		return 0;
	memcpy(fds, found, count * sizeof(*fds));
	return count;
}

static bool
wake_is_learned(int fd)
{
	uint16_t port;
	uint16_t q;

	for (port = 0; port < RTE_MAX_ETHPORTS; port++)
		for (q = 0; q < WAKE_QUEUES_MAX; q++)
			if (wake_learned[port][q] == fd + 1)
				return true;
	return false;
}

/*
 * net_af_xdp makes a queue's socket when the queue is set up: it is the one that
 * has appeared since the last one was.
 */
void
fabric_port_wake_learn(uint16_t port, uint16_t queue, const struct rte_eth_dev_info *info)
{
	int found[WAKE_FDS_MAX];
	unsigned int count, i;
	int new = -1;

	if (!fabric_port_is_xdp(info) || queue >= WAKE_QUEUES_MAX)
		return;
	count = wake_scan(wake_driver_of(info), info->if_index, found);
	for (i = 0; i < count; i++) {
		if (wake_is_learned(found[i]))
			continue;
		/* Another part of the program has some, too. */
		if (new >= 0)
			return;
		new = found[i];
	}
	wake_learned[port][queue] = new + 1;
}

void
fabric_port_wake_forget(uint16_t port)
{
	if (port < RTE_MAX_ETHPORTS)
		memset(wake_learned[port], 0, sizeof(wake_learned[port]));
}

/*
 * Which of them is that queue's? We saw it come, or the driver knows; its struct
 * is not ours to know, so what it says is believed only if it is one of those
 * found.
 */
static int
wake_of_queue(const struct wake_driver *driver, uint16_t port, uint16_t queue, const int *fds,
	unsigned int count)
{
	const int *first = driver->fd_first ? rte_eth_fp_ops[port].rxq.data[queue] : NULL;
	int fd = first != NULL ? *first : -1;
	unsigned int i;

	if (fd < 0 && queue < WAKE_QUEUES_MAX)
		fd = wake_learned[port][queue] - 1;
	for (i = 0; i < count; i++)
		if (fds[i] == fd)
			return fd;
	return -1;
}

unsigned int
tp_port_wake_fds(uint16_t port, uint16_t queue, int *fds, unsigned int fd_max)
{
	const struct wake_driver *driver;
	struct rte_eth_dev_info info;
	int found[WAKE_FDS_MAX];
	unsigned int count;
	int own;

	if (rte_eth_dev_info_get(port, &info) != 0)
		return 0;
	driver = wake_driver_of(&info);
	if (driver == NULL)
		return 0;
	count = wake_scan(driver, info.if_index, found);
	own = wake_of_queue(driver, port, queue, found, count);
	if (own >= 0) {
		found[0] = own;
		count = 1;
	}
	if (count == 0 || count > fd_max)
		return 0;
	memcpy(fds, found, count * sizeof(*fds));
	return count;
}
