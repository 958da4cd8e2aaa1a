/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What foreign traffic costs: a frame of each kind to an endpoint, and page fetches
 * while a neighbour sends such frames as fast as it can. There are two cores, so the
 * neighbour is the home of the pages: a burst of foreign frames after each turn.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rte_byteorder.h>
#include <rte_common.h>
#include <rte_cycles.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_udp.h>

#include "bench.h"
#include "flood.h"
#include "tp_endpoint.h"
#include "tp_link.h"

#define FLOOD_BURST 12u			/* frames, two of each kind */
#define FLOOD_LINK_BURST 32u
#define FLOOD_ROUNDS 2000u
#define FLOOD_IP 0x0a000001u
#define FLOOD_PORT 20560u
#define FLOOD_NAME_CHARS 48

static const char *const flood_names[FLOOD_KINDS] = {
	[FLOOD_ARP] = "arp", [FLOOD_IPV6] = "ipv6", [FLOOD_DHCP] = "dhcp",
	[FLOOD_UDP] = "udp", [FLOOD_NOISE] = "noise", [FLOOD_FORGED] = "forged",
};

const char *
flood_name(unsigned int kind)
{
	return flood_names[kind];
}

static uint8_t *
ether_fill(uint8_t *frame, const uint8_t to[6], uint16_t type)
{
	struct rte_ether_hdr *ether = (struct rte_ether_hdr *)frame;
	static const uint8_t from[6] = { 0x06, 0x54, 0x50, 0xff, 0xff, 0x01 };

	memcpy(ether->dst_addr.addr_bytes, to, 6);
	memcpy(ether->src_addr.addr_bytes, from, 6);
	ether->ether_type = rte_cpu_to_be_16(type);
	return frame + sizeof(*ether);
}

/* Where the payload of a datagram goes, which is so long. */
static uint8_t *
udp_fill(uint8_t *at, uint32_t from, uint32_t to, uint16_t port, uint16_t bytes)
{
	struct rte_ipv4_hdr *ip = (struct rte_ipv4_hdr *)at;
	struct rte_udp_hdr *udp = (struct rte_udp_hdr *)(ip + 1);

	*ip = (struct rte_ipv4_hdr){
		.version_ihl = 0x45,
		.total_length = rte_cpu_to_be_16((uint16_t)(sizeof(*ip) + sizeof(*udp) + bytes)),
		.time_to_live = 64,
		.next_proto_id = IPPROTO_UDP,
		.src_addr = rte_cpu_to_be_32(from),
		.dst_addr = rte_cpu_to_be_32(to),
	};
	ip->hdr_checksum = rte_ipv4_cksum(ip);
	*udp = (struct rte_udp_hdr){
		.src_port = rte_cpu_to_be_16(68),
		.dst_port = rte_cpu_to_be_16(port),
		.dgram_len = rte_cpu_to_be_16((uint16_t)(sizeof(*udp) + bytes)),
	};
	return (uint8_t *)(udp + 1);
}

uint32_t
flood_frame(unsigned int kind, const uint8_t mac[6], uint32_t ip, uint8_t frame[FLOOD_FRAME_BYTES])
{
	static const uint8_t broadcast[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	static const uint8_t all_nodes[6] = { 0x33, 0x33, 0, 0, 0, 1 };
	static const uint8_t arp_request[] = { 0, 1, 8, 0, 6, 4, 0, 1 };
	uint64_t random = 7 + kind;
	uint8_t *at;

	for (uint32_t i = 0; i < FLOOD_FRAME_BYTES; i++)
		frame[i] = (uint8_t)(bench_random(&random) >> 24);
	switch (kind) {
	case FLOOD_ARP:
		at = ether_fill(frame, broadcast, RTE_ETHER_TYPE_ARP);
		memcpy(at, arp_request, sizeof(arp_request));
		return 60;
	case FLOOD_IPV6:
		at = ether_fill(frame, all_nodes, RTE_ETHER_TYPE_IPV6);
		at[0] = 0x60;
		return 86;
	case FLOOD_DHCP:
		at = ether_fill(frame, broadcast, RTE_ETHER_TYPE_IPV4);
		udp_fill(at, 0, 0xffffffffu, 67, 300);
		return 342;
	case FLOOD_UDP:
		at = ether_fill(frame, mac, RTE_ETHER_TYPE_IPV4);
		udp_fill(at, ip + 200, ip, 53, 472);
		return 514;
	default:
		at = ether_fill(frame, mac, RTE_ETHER_TYPE_IPV4);
		at = udp_fill(at, ip + 200, ip, FLOOD_PORT, 1400);
		if (kind == FLOOD_FORGED) {
			/* docs/protocol.md section 3.1: magic, version, type, length. */
			memcpy(at, "Tp\x02\x01", 4);
			at[10] = 1400 & 0xff;
			at[11] = 1400 >> 8;
		}
		return 1442;
	}
}

int
flood_open(struct flood *flood, const char *device, const char *victim, uint32_t victim_ip)
{
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET,
		.sll_ifindex = (int)if_nametoindex(device),
	};
	struct ifreq request = { 0 };
	const int one = 1;
	int ret = 0;

	flood->sent = 0;
	flood->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (flood->fd < 0)
		return -errno;
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", victim);
	if (ioctl(flood->fd, SIOCGIFHWADDR, &request) < 0 ||
	    bind(flood->fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    setsockopt(flood->fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof(one)) < 0)
		ret = -errno;
	for (unsigned int kind = 0; kind < FLOOD_KINDS; kind++)
		flood->bytes[kind] = flood_frame(kind,
			(const uint8_t *)request.ifr_hwaddr.sa_data, victim_ip,
			flood->frames[kind]);
	if (ret < 0)
		flood_close(flood);
	return ret;
}

void
flood_close(struct flood *flood)
{
	close(flood->fd);
	flood->fd = -1;
}

void
flood_burst(struct flood *flood)
{
	struct mmsghdr messages[FLOOD_BURST];
	struct iovec iov[FLOOD_BURST];
	int sent;

	memset(messages, 0, sizeof(messages));
	for (unsigned int i = 0; i < FLOOD_BURST; i++) {
		iov[i].iov_base = flood->frames[i % FLOOD_KINDS];
		iov[i].iov_len = flood->bytes[i % FLOOD_KINDS];
		messages[i].msg_hdr.msg_iov = &iov[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	sent = sendmmsg(flood->fd, messages, FLOOD_BURST, MSG_DONTWAIT);
	flood->sent += sent > 0 ? (uint64_t)sent : 0;
}

/* A link from which one frame comes, again and again, and that sends nothing. */
struct flood_link {
	struct tp_link link;
	uint8_t *frame;
	uint32_t bytes;
	uint32_t left;
};

static uint32_t
link_rx_burst(struct tp_link *link, struct tp_frame *frames, uint32_t n)
{
	struct flood_link *from = (struct flood_link *)link;

	n = RTE_MIN(n, from->left);
	from->left -= n;
	for (uint32_t i = 0; i < n; i++)
		frames[i] = (struct tp_frame){ .data = from->frame, .link = link,
			.length = from->bytes };
	return n;
}

static uint32_t
link_tx_burst(struct tp_link *link, struct tp_frame *frames, uint32_t n)
{
	(void)link;
	(void)frames;
	return n;
}

static uint32_t
link_tx_alloc(struct tp_link *link, struct tp_frame *frames, uint32_t n)
{
	(void)link;
	(void)frames;
	(void)n;
	return 0;
}

static void
link_frame_none(struct tp_link *link, struct tp_frame *frame)
{
	(void)link;
	(void)frame;
}

static bool
link_frame_shared(struct tp_link *link, const struct tp_frame *frame)
{
	(void)link;
	(void)frame;
	return false;
}

static void
link_destroy(struct tp_link *link)
{
	(void)link;
}

static const struct tp_link_ops link_ops = {
	.rx_burst = link_rx_burst,
	.tx_burst = link_tx_burst,
	.tx_alloc = link_tx_alloc,
	.frame_ref = link_frame_none,
	.frame_free = link_frame_none,
	.frame_shared = link_frame_shared,
	.destroy = link_destroy,
};

static void
ep_message(void *context, const struct tp_message *message)
{
	(void)context;
	(void)message;
}

static void
ep_peer_up(void *context, uint16_t node, uint32_t incarnation)
{
	(void)context;
	(void)node;
	(void)incarnation;
}

static void
ep_peer_down(void *context, uint16_t node, uint32_t incarnation, enum tp_peer_down_reason reason)
{
	(void)context;
	(void)node;
	(void)incarnation;
	(void)reason;
}

static uint64_t
dropped(const struct tp_endpoint *ep)
{
	const uint64_t *counters = tp_endpoint_counters(ep);
	uint64_t sum = 0;

	for (unsigned int i = 0; i < TP_ENDPOINT_COUNTER_COUNT; i++)
		if (strncmp(tp_endpoint_counter_name(i), "drop_", 5) == 0)
			sum += counters[i];
	return sum;
}

/* Bursts of one kind; each frame is counted as dropped, by one reason. */
static int
kind_measure(struct bench *bench, struct tp_endpoint *ep, struct flood_link *link,
	     unsigned int kind)
{
	struct bench_samples samples;
	char name[FLOOD_NAME_CHARS];
	uint64_t before = dropped(ep);
	int ret = bench_samples_init(&samples, FLOOD_ROUNDS);

	if (ret < 0)
		return ret;
	link->bytes = flood_frame(kind, link->link.mac, FLOOD_IP, link->frame);
	for (unsigned int i = 0; i < FLOOD_ROUNDS; i++) {
		uint64_t start;

		link->left = FLOOD_LINK_BURST;
		start = rte_rdtsc_precise();
		while (link->left != 0)
			tp_endpoint_rx_poll(ep, 1000 + i);
		bench_samples_add(&samples, rte_rdtsc_precise() - start);
	}
	if (dropped(ep) - before != FLOOD_ROUNDS * FLOOD_LINK_BURST) {
		fprintf(stderr, "telepage-bench: of %u %s frames %lu were counted as dropped\n",
			FLOOD_ROUNDS * FLOOD_LINK_BURST, flood_name(kind), dropped(ep) - before);
		ret = -EIO;
	} else {
		snprintf(name, sizeof(name), "foreign_drop_%s", flood_name(kind));
		bench_report(bench, &(struct bench_row){
			.name = name,
			.unit = "ns",
			.scale = bench->ns_per_tick / FLOOD_LINK_BURST,
			.samples = &samples,
		});
	}
	bench_samples_fini(&samples);
	return ret;
}

int
bench_foreign_drop(struct bench *bench)
{
	static uint8_t frame[FLOOD_FRAME_BYTES];
	struct flood_link link = {
		.link = { .ops = &link_ops, .mac = { 2, 0, 0, 0, 0, 1 }, .mtu = 1500,
			.max_frame = 1514 },
		.frame = frame,
	};
	const struct tp_endpoint_config config = {
		.node = 1,
		.incarnation = 1,
		.link_count = 1,
		.links = { { .link = &link.link, .ip = FLOOD_IP } },
	};
	const struct tp_endpoint_ops ops = { .message = ep_message, .peer_up = ep_peer_up,
		.peer_down = ep_peer_down };
	struct tp_endpoint *ep = tp_endpoint_create(&config, &ops, NULL);
	int ret = ep == NULL ? -ENOMEM : bench_pin(bench, 0);

	for (unsigned int kind = 0; kind < FLOOD_KINDS && ret == 0; kind++)
		ret = kind_measure(bench, ep, &link, kind);
	if (ep != NULL)
		tp_endpoint_destroy(ep);
	return ret;
}
