/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Peers: a get of bytes from another process by other systems, measured as
 * telepage-bench measures its own (node_fetch_lat). One program per system, all
 * with this harness: page sets of 256 MiB on huge pages on both sides, walked in
 * random order, one get at a time, every page checked. A driver is what differs.
 */
#ifndef PEER_H
#define PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PEER_PAGE_BYTES 4096u
#define PEER_PAGE_COUNT 65536u
#define PEER_SET_BYTES ((size_t)PEER_PAGE_BYTES * PEER_PAGE_COUNT)
#define PEER_BYTES_MAX (64u * 1024)

struct peer {
	bool serves;			/* owns the pages; the other side asks */
	const char *listen;		/* own address; NULL where it does not listen */
	const char *connect;		/* of who serves, in numbers; NULL for who serves */
	const char *setting;		/* what the driver is told: a provider, "spin" */
	uint16_t port;
	int cpu;			/* -1: any */
	unsigned int count;		/* gets of each size */
	bool load;			/* fill a store, do not measure */
	uint8_t *pages;			/* [PEER_SET_BYTES]; of who asks: where gets go */
	const uint8_t *got;		/* where the last get went; get() sets it */
	int sock;			/* to the other side; -1 without one */
	void *driver;			/* the driver's own */
};

struct peer_driver {
	const char *name;
	bool has_server;		/* the serving side is this program too */
	/* Before anything else, may set peer->serves; NULL: nothing to do */
	int (*start)(struct peer *peer, int *argc, char ***argv);
	/* Connected afterwards. 0, or -errno after one line on stderr */
	int (*open)(struct peer *peer);
	/* Bytes at an offset of the set, waited for. 0, or -errno */
	int (*get)(struct peer *peer, size_t offset, uint32_t bytes);
	/* Store what get() will ask for; only without has_server. 0, or -errno */
	int (*put)(struct peer *peer, size_t offset, uint32_t bytes);
	/* One turn of who serves; false: it should end. NULL: peer_is_asked() alone */
	bool (*turn)(struct peer *peer);
	void (*close)(struct peer *peer);
};

/** The program: parses the command line, runs the driver. @return Status of main. */
int peer_run(const struct peer_driver *driver, int argc, char **argv);

/**
 * Tell the other side something of at most some bytes, and hear the same of it.
 * @return Bytes heard, or -errno.
 */
int peer_exchange(struct peer *peer, const void *mine, uint32_t mine_bytes, void *theirs,
		  uint32_t theirs_bytes_max);

/** Who serves: whether the other side is still there; cheap enough for every turn. */
bool peer_is_asked(struct peer *peer);

/** Key of a store for what get() is asked for: "SIZE:PAGE". @return Its length. */
int peer_key(char *key, size_t key_bytes, size_t offset, uint32_t bytes);

#endif /* PEER_H */
