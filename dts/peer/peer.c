/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The harness that peer.h describes.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "peer.h"

#define PEER_WARMUP 1000u
#define PEER_CONNECT_TRIES 500u		/* 10 ms apart */
#define PEER_TURNS_PER_LOOK 1024u	/* of the socket that says that all is over */
#define PEER_NOT_HERE UINT64_MAX

static const uint32_t peer_sizes[] = { 64, 256, 1024, 4096, 16384, PEER_BYTES_MAX };
#define PEER_SIZE_COUNT (sizeof(peer_sizes) / sizeof(peer_sizes[0]))

static uint64_t
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint32_t
span_of(uint32_t bytes)
{
	return bytes < PEER_PAGE_BYTES ? 1 : bytes / PEER_PAGE_BYTES;
}

/*
 * The socket between the two sides: set-up, and the end.
 */

static int
sock_listen(const struct sockaddr_in *address)
{
	const int on = 1;
	int sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int other = -1;

	if (sock < 0)
		return -errno;
	setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(sock, (const struct sockaddr *)address, sizeof(*address)) == 0 &&
	    listen(sock, 1) == 0)
		other = accept(sock, NULL, NULL);
	if (other < 0)
		other = -errno;
	close(sock);
	return other;
}

static int
sock_connect(const struct sockaddr_in *address)
{
	const struct timespec step = { .tv_nsec = 10 * 1000 * 1000 };
	int sock, ret = -ETIMEDOUT;

	for (unsigned int i = 0; i < PEER_CONNECT_TRIES; i++) {
		sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (sock < 0)
			return -errno;
		if (connect(sock, (const struct sockaddr *)address, sizeof(*address)) == 0)
			return sock;
		ret = -errno;
		close(sock);
		nanosleep(&step, NULL);
	}
	return ret;
}

static int
sock_open(struct peer *peer)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(peer->port) };
	const char *text = peer->serves ? peer->listen : peer->connect;

	if (text == NULL || inet_pton(AF_INET, text, &address.sin_addr) != 1)
		return -EINVAL;
	peer->sock = peer->serves ? sock_listen(&address) : sock_connect(&address);
	return peer->sock < 0 ? peer->sock : 0;
}

static int
sock_read(int sock, void *to, size_t bytes)
{
	ssize_t got = recv(sock, to, bytes, MSG_WAITALL);

	if (got < 0)
		return -errno;
	return (size_t)got == bytes ? 0 : -ECONNRESET;
}

int
peer_exchange(struct peer *peer, const void *mine, uint32_t mine_bytes, void *theirs,
	      uint32_t theirs_bytes_max)
{
	uint32_t bytes;
	int ret;

	if (send(peer->sock, &mine_bytes, sizeof(mine_bytes), MSG_NOSIGNAL) !=
		    sizeof(mine_bytes) ||
	    send(peer->sock, mine, mine_bytes, MSG_NOSIGNAL) != (ssize_t)mine_bytes)
		return -ECONNRESET;
	ret = sock_read(peer->sock, &bytes, sizeof(bytes));
	if (ret == 0 && bytes > theirs_bytes_max)
		ret = -EMSGSIZE;
	if (ret == 0)
		ret = sock_read(peer->sock, theirs, bytes);
	return ret == 0 ? (int)bytes : ret;
}

bool
peer_is_asked(struct peer *peer)
{
	static unsigned int turns;
	char byte;

	if (++turns % PEER_TURNS_PER_LOOK != 0)
		return true;
	return recv(peer->sock, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

int
peer_key(char *key, size_t key_bytes, size_t offset, uint32_t bytes)
{
	return snprintf(key, key_bytes, "%u:%zu", bytes, offset / PEER_PAGE_BYTES);
}

/*
 * Pages.
 */

/* The first word of each page is its number, or says that it never came. */
static void
pages_mark(struct peer *peer, bool here)
{
	uint64_t word;

	for (uint64_t i = 0; i < PEER_PAGE_COUNT; i++) {
		word = here ? i : PEER_NOT_HERE;
		memcpy(peer->pages + i * PEER_PAGE_BYTES, &word, sizeof(word));
	}
}

static int
pages_make(struct peer *peer)
{
	void *memory = mmap(NULL, PEER_SET_BYTES + (2 << 20), PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		return -errno;
	/* Huge pages, as a node's are; transparent ones begin at multiples of 2 MiB. */
	peer->pages = (uint8_t *)(((uintptr_t)memory + (2 << 20) - 1) &
				  ~(uintptr_t)((2 << 20) - 1));
	madvise(peer->pages, PEER_SET_BYTES, MADV_HUGEPAGE);
	memset(peer->pages, 0x5a, PEER_SET_BYTES);
	pages_mark(peer, peer->serves || peer->load);
	return 0;
}

/* Numbers below count in random order, the same in every run. */
static uint32_t *
order_make(uint32_t count)
{
	uint64_t state = UINT64_C(0x9e3779b97f4a7c15);
	uint32_t *order = malloc(count * sizeof(*order));
	uint32_t other, swap;

	for (uint32_t i = 0; order != NULL && i < count; i++)
		order[i] = i;
	for (uint32_t i = count; order != NULL && i > 1; i--) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		other = (uint32_t)((state >> 32) % i);
		swap = order[i - 1];
		order[i - 1] = order[other];
		order[other] = swap;
	}
	return order;
}

/*
 * Measuring.
 */

static int
times_compare(const void *a, const void *b)
{
	uint64_t x, y;

	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	return (x > y) - (x < y);
}

static void
times_report(const struct peer_driver *driver, const struct peer *peer, uint32_t bytes,
	     uint64_t *times, unsigned int count)
{
	qsort(times, count, sizeof(*times), times_compare);
	printf("{\"name\":\"%s\",\"setting\":\"%s\",\"bytes\":%u,\"unit\":\"ns\",\"n\":%u,"
	       "\"min\":%lu,\"p50\":%lu,\"p99\":%lu,\"p999\":%lu,\"max\":%lu}\n",
	       driver->name, peer->setting, bytes, count, times[0], times[count / 2],
	       times[(uint64_t)count * 99 / 100], times[(uint64_t)count * 999 / 1000],
	       times[count - 1]);
	fflush(stdout);
}

static int
get_check(const struct peer *peer, uint64_t page, uint32_t bytes)
{
	uint64_t last = page + span_of(bytes) - 1;
	uint64_t words[2];

	memcpy(&words[0], peer->got, sizeof(words[0]));
	memcpy(&words[1], peer->got + (last - page) * PEER_PAGE_BYTES, sizeof(words[1]));
	if (words[0] == page && words[1] == last)
		return 0;
	fprintf(stderr, "peer: %u bytes at page %lu: pages %lu to %lu came\n", bytes, page,
		words[0], words[1]);
	return -EIO;
}

static int
size_measure(const struct peer_driver *driver, struct peer *peer, uint32_t bytes)
{
	uint32_t spans = PEER_PAGE_COUNT / span_of(bytes);
	unsigned int count = peer->count < spans ? peer->count : spans - PEER_WARMUP;
	uint32_t *order = order_make(spans);
	uint64_t *times = calloc(count, sizeof(*times));
	uint64_t page, start;
	int ret = order == NULL || times == NULL ? -ENOMEM : 0;

	pages_mark(peer, false);
	for (unsigned int i = 0; i < PEER_WARMUP + count && ret == 0; i++) {
		page = (uint64_t)order[i % spans] * span_of(bytes);
		start = now_ns();
		ret = driver->get(peer, page * PEER_PAGE_BYTES, bytes);
		if (i >= PEER_WARMUP)
			times[i - PEER_WARMUP] = now_ns() - start;
		if (ret == 0)
			ret = get_check(peer, page, bytes);
	}
	if (ret == 0)
		times_report(driver, peer, bytes, times, count);
	free(order);
	free(times);
	return ret;
}

static int
store_load(const struct peer_driver *driver, struct peer *peer)
{
	size_t step;
	int ret = 0;

	for (unsigned int i = 0; i < PEER_SIZE_COUNT; i++) {
		step = (size_t)span_of(peer_sizes[i]) * PEER_PAGE_BYTES;
		for (size_t offset = 0; offset < PEER_SET_BYTES && ret == 0; offset += step)
			ret = driver->put(peer, offset, peer_sizes[i]);
	}
	return ret;
}

static int
peer_work(const struct peer_driver *driver, struct peer *peer)
{
	int ret = 0;

	if (peer->serves) {
		while (driver->turn(peer))
			;
		return 0;
	}
	if (peer->load)
		return store_load(driver, peer);
	for (unsigned int i = 0; i < PEER_SIZE_COUNT && ret == 0; i++)
		ret = size_measure(driver, peer, peer_sizes[i]);
	return ret;
}

/*
 * The program.
 */

static bool
options_parse(struct peer *peer, int argc, char **argv)
{
	static const struct option options[] = {
		{ "listen", required_argument, NULL, 'l' },
		{ "connect", required_argument, NULL, 'c' },
		{ "port", required_argument, NULL, 'p' },
		{ "cpu", required_argument, NULL, 'u' },
		{ "count", required_argument, NULL, 'n' },
		{ "setting", required_argument, NULL, 's' },
		{ "load", no_argument, NULL, 'L' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'l':
			peer->listen = optarg;
			break;
		case 'c':
			peer->connect = optarg;
			break;
		case 'p':
			peer->port = (uint16_t)atoi(optarg);
			break;
		case 'u':
			peer->cpu = atoi(optarg);
			break;
		case 'n':
			peer->count = (unsigned int)atoi(optarg);
			break;
		case 's':
			peer->setting = optarg;
			break;
		case 'L':
			peer->load = true;
			break;
		default:
			return false;
		}
	}
	return optind == argc && peer->count > 0;
}

static int
peer_pin(const struct peer *peer)
{
	cpu_set_t set;

	if (peer->cpu < 0)
		return 0;
	CPU_ZERO(&set);
	CPU_SET(peer->cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) < 0 ? -errno : 0;
}

int
peer_run(const struct peer_driver *driver, int argc, char **argv)
{
	struct peer peer = {
		.setting = "", .port = 13337, .cpu = -1, .count = 10000, .sock = -1,
	};
	int ret;

	if (!options_parse(&peer, argc, argv)) {
		fprintf(stderr, "usage: %s [--listen IP] [--connect IP] [--port N] [--cpu N]\n"
			"       [--count N] [--setting WORD] [--load]\n", argv[0]);
		return 2;
	}
	peer.serves = driver->has_server && peer.connect == NULL;
	ret = peer_pin(&peer);
	if (ret == 0 && driver->start != NULL)
		ret = driver->start(&peer, &argc, &argv);
	if (ret == 0)
		ret = pages_make(&peer);
	if (ret == 0 && driver->has_server && driver->start == NULL)
		ret = sock_open(&peer);
	if (ret == 0)
		ret = driver->open(&peer);
	if (ret == 0)
		ret = peer_work(driver, &peer);
	if (ret < 0) {
		fprintf(stderr, "%s: %s\n", driver->name, strerror(-ret));
		/* Half of a connection may wait in close() for the other half. */
		_exit(1);
	}
	driver->close(&peer);
	return 0;
}
