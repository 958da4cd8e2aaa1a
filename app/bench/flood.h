/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Frames that have nothing to do with Telepage, as a network has them.
 */
#ifndef BENCH_FLOOD_H
#define BENCH_FLOOD_H

#include <stdint.h>

#define FLOOD_FRAME_BYTES 1514u

enum flood_kind {
	FLOOD_ARP,		/* who has an address that is not ours */
	FLOOD_IPV6,		/* neighbour solicitation, multicast */
	FLOOD_DHCP,		/* discover, broadcast */
	FLOOD_UDP,		/* to our address, a port that is not ours */
	FLOOD_NOISE,		/* to our port, 1400 bytes of noise */
	FLOOD_FORGED,		/* the same behind a header as ours, wrong CRC */
	FLOOD_KINDS
};

/** Name of a kind. */
const char *flood_name(unsigned int kind);

/**
 * Make a frame.
 *
 * @param mac  Whom it is for, where it is for anybody.
 * @param ip   Likewise, host order.
 * @return Bytes.
 */
uint32_t flood_frame(unsigned int kind, const uint8_t mac[6], uint32_t ip,
		     uint8_t frame[FLOOD_FRAME_BYTES]);

/* A socket that sends them, a burst of all kinds in turn. */
struct flood {
	int fd;
	uint8_t frames[FLOOD_KINDS][FLOOD_FRAME_BYTES];
	uint32_t bytes[FLOOD_KINDS];
	uint64_t sent;
};

/** From a device to the one that has that name in this namespace. 0, or -errno. */
int flood_open(struct flood *flood, const char *device, const char *victim, uint32_t victim_ip);
void flood_close(struct flood *flood);

/** Send some. */
void flood_burst(struct flood *flood);

#endif /* BENCH_FLOOD_H */
