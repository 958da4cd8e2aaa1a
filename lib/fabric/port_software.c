/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The MTU of software ports. Their PMDs report a largest frame of 1518 bytes
 * whatever they can do, and ethdev refuses a larger MTU for it. What really
 * limits them is known for those listed here.
 */
#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rte_dev.h>
#include <rte_devargs.h>
#include <rte_ethdev.h>

#include "fabric_priv.h"
#include "port_priv.h"

#define SOFTWARE_PACKET_FRAME 2048u	/* framesz of net_af_packet if not given */
#define SOFTWARE_PACKET_HEAD 66u	/* of a frame: what the kernel puts before the packet */

/** MTU of the kernel's interface, raised to the wanted one if it can be. */
static uint32_t
software_kernel_mtu(unsigned int if_index, uint32_t wanted)
{
	struct ifreq request;
	uint32_t mtu = 0;
	int fd;

	memset(&request, 0, sizeof(request));
	if (if_indextoname(if_index, request.ifr_name) == NULL)
		return 0;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return 0;
	if (ioctl(fd, SIOCGIFMTU, &request) == 0)
		mtu = (uint32_t)request.ifr_mtu;
	if (mtu < wanted) {
		request.ifr_mtu = (int)wanted;
		if (ioctl(fd, SIOCSIFMTU, &request) == 0)
			mtu = wanted;
	}
	close(fd);
	return mtu;
}

/** MTU that the frames of net_af_packet's ring leave room for. */
static uint32_t
software_packet_mtu(const struct rte_eth_dev_info *info)
{
	const struct rte_devargs *devargs = rte_dev_devargs(info->device);
	const char *text = devargs != NULL && devargs->args != NULL ?
		strstr(devargs->args, "framesz=") : NULL;
	uint32_t frame = SOFTWARE_PACKET_FRAME;

	if (text != NULL)
		frame = (uint32_t)strtoul(text + strlen("framesz="), NULL, 10);
	return frame > SOFTWARE_PACKET_HEAD + TP_WIRE_ETHER_BYTES ?
		frame - SOFTWARE_PACKET_HEAD - TP_WIRE_ETHER_BYTES : 0;
}

/**
 * What a software port can do beyond what it reports.
 *
 * @return
 *   The wanted MTU or the largest below it; 0 if the port is none we know.
 */
uint16_t
fabric_port_software_mtu(const struct rte_eth_dev_info *info, uint16_t wanted)
{
	uint32_t mtu = wanted;

	/* memif chains buffers for frames longer than one. */
	if (strcmp(info->driver_name, "net_memif") == 0)
		return wanted;
	if (strcmp(info->driver_name, "net_af_packet") == 0)
		mtu = RTE_MIN(mtu, software_packet_mtu(info));
	else if (strcmp(info->driver_name, "net_tap") != 0)
		return 0;
	return (uint16_t)RTE_MIN(mtu, software_kernel_mtu(info->if_index, mtu));
}
