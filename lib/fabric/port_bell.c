/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Doorbells beside net_memif, whose driver has nothing to sleep on: a datagram
 * socket for each queue, next to the one by which the ports find each other.
 *
 * How it works: who sends to a side from which it has heard nothing for a while
 * (link_ethdev.c) rings after it has put the frame into the ring. A node stays
 * awake for longer than that while after its last message, so while both talk
 * nobody rings; and what was rung before the other one slept ends that sleep at
 * once. Who took the other for awake and was wrong repeats the frame, and rings.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <rte_dev.h>
#include <rte_devargs.h>
#include <rte_ethdev.h>
#include <rte_kvargs.h>

#include "port_priv.h"
#include "tp_link_ethdev.h"

#define BELL_QUEUES_MAX 16
#define BELL_DEFAULT_SOCKET "/run/memif.sock"	/* of the driver */

struct fabric_port_bell {
	int fd;				/* ours; 0: none, which no socket of ours is */
	socklen_t peer_bytes;
	struct sockaddr_un own;
	struct sockaddr_un peer;
};

/* Main lcore; the links of a port read its own. */
static struct fabric_port_bell port_bells[RTE_MAX_ETHPORTS][BELL_QUEUES_MAX];

struct bell_place {
	const char *socket;
	const char *id;
	bool is_abstract;
	bool is_server;
};

static const char *
bell_value(const struct rte_kvargs *arguments, const char *key, const char *otherwise)
{
	const char *value = rte_kvargs_get(arguments, key);

	return value != NULL ? value : otherwise;
}

/* Length of the address; 0: the name is too long. */
static socklen_t
bell_address(const struct bell_place *place, bool is_server, uint16_t queue,
	struct sockaddr_un *address)
{
	size_t room = sizeof(address->sun_path) - 1;
	char *name = address->sun_path;
	int length;

	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	/* An abstract name begins with a zero. */
	length = snprintf(name + place->is_abstract, room, "%s.%s%c%u", place->socket, place->id,
		is_server ? 's' : 'c', queue);
	if (length < 0 || (size_t)length >= room)
		return 0;
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)length + 1);
}

static int
bell_open(struct fabric_port_bell *bell, const struct bell_place *place, uint16_t queue)
{
	socklen_t own_bytes = bell_address(place, place->is_server, queue, &bell->own);
	int ret = 0;
	int fd;

	bell->peer_bytes = bell_address(place, !place->is_server, queue, &bell->peer);
	if (own_bytes == 0 || bell->peer_bytes == 0)
		return -ENAMETOOLONG;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* What a killed process left. */
	if (!place->is_abstract)
		unlink(bell->own.sun_path);
	if (bind(fd, (const struct sockaddr *)&bell->own, own_bytes) < 0)
		ret = -errno;
	if (ret < 0)
		close(fd);
	else
		bell->fd = fd;
	return ret;
}

void
fabric_port_bells_open(uint16_t port, uint16_t queues, const struct rte_eth_dev_info *info)
{
	const struct rte_devargs *devargs = rte_dev_devargs(info->device);
	struct rte_kvargs *arguments;
	struct bell_place place;
	uint16_t q;
	int ret = 0;

	if (strcmp(info->driver_name, "net_memif") != 0)
		return;
	arguments = rte_kvargs_parse(devargs != NULL ? devargs->args : "", NULL);
	if (arguments == NULL)
		return;
	place.socket = bell_value(arguments, "socket", BELL_DEFAULT_SOCKET);
	place.id = bell_value(arguments, "id", "0");
	place.is_abstract = strcmp(bell_value(arguments, "socket-abstract", "yes"), "yes") == 0;
	place.is_server = strcmp(bell_value(arguments, "role", "client"), "server") == 0;
	for (q = 0; q < RTE_MIN(queues, BELL_QUEUES_MAX) && ret == 0; q++)
		ret = bell_open(&port_bells[port][q], &place, q);
	if (ret < 0)
		TP_FABRIC_LOG(NOTICE, "port %u: no doorbell beside %s: %s", port, place.socket,
			strerror(-ret));
	rte_kvargs_free(arguments);
}

void
fabric_port_bells_close(uint16_t port)
{
	uint16_t q;

	for (q = 0; q < BELL_QUEUES_MAX && port < RTE_MAX_ETHPORTS; q++) {
		struct fabric_port_bell *bell = &port_bells[port][q];

		if (bell->fd == 0)
			continue;
		if (bell->own.sun_path[0] != '\0')
			unlink(bell->own.sun_path);
		close(bell->fd);
		memset(bell, 0, sizeof(*bell));
	}
}

const struct fabric_port_bell *
fabric_port_bell(uint16_t port, uint16_t queue)
{
	if (port >= RTE_MAX_ETHPORTS || queue >= BELL_QUEUES_MAX || port_bells[port][queue].fd == 0)
		return NULL;
	return &port_bells[port][queue];
}

/* A side that is not there, or has been rung often enough, needs no more. */
void
fabric_port_bell_ring(const struct fabric_port_bell *bell)
{
	ssize_t ret = sendto(bell->fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL,
		(const struct sockaddr *)&bell->peer, bell->peer_bytes);

	RTE_SET_USED(ret);
}

int
tp_port_doorbell(uint16_t port, uint16_t queue)
{
	const struct fabric_port_bell *bell = fabric_port_bell(port, queue);

	return bell != NULL ? bell->fd : -1;
}
