/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * memcached: get of a value through libmemcached.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <libmemcached/memcached.h>

#include "peer.h"

struct memcached_state {
	memcached_st *memcached;
	char *value;			/* the last get's */
};

static struct memcached_state memcached_state;

static int
memcached_check(const struct memcached_state *state, memcached_return_t ret, const char *what)
{
	if (ret == MEMCACHED_SUCCESS || ret == MEMCACHED_BUFFERED)
		return 0;
	fprintf(stderr, "memcached: %s: %s\n", what, memcached_strerror(state->memcached, ret));
	return -EIO;
}

static int
get_open(struct peer *peer)
{
	struct memcached_state *state = &memcached_state;

	peer->driver = state;
	state->memcached = memcached_create(NULL);
	if (state->memcached == NULL)
		return -ENOMEM;
	memcached_behavior_set(state->memcached, MEMCACHED_BEHAVIOR_TCP_NODELAY, 1);
	/* Puts need no answer; what is missing then is found missing by a get. */
	memcached_behavior_set(state->memcached, MEMCACHED_BEHAVIOR_NOREPLY, peer->load);
	return memcached_check(state, memcached_server_add(state->memcached, peer->connect,
							   peer->port), "server");
}

static int
get_get(struct peer *peer, size_t offset, uint32_t bytes)
{
	struct memcached_state *state = peer->driver;
	memcached_return_t ret;
	char key[32];
	int key_bytes = peer_key(key, sizeof(key), offset, bytes);
	size_t got;
	uint32_t flags;

	free(state->value);
	state->value = memcached_get(state->memcached, key, (size_t)key_bytes, &got, &flags,
				     &ret);
	if (ret != MEMCACHED_SUCCESS || got != bytes) {
		fprintf(stderr, "memcached: no value of %u bytes for %s: %s\n", bytes, key,
			memcached_strerror(state->memcached, ret));
		return -ENOENT;
	}
	peer->got = (const uint8_t *)state->value;
	return 0;
}

static int
get_put(struct peer *peer, size_t offset, uint32_t bytes)
{
	struct memcached_state *state = peer->driver;
	char key[32];
	int key_bytes = peer_key(key, sizeof(key), offset, bytes);

	return memcached_check(state, memcached_set(state->memcached, key, (size_t)key_bytes,
						    (const char *)peer->pages + offset, bytes,
						    0, 0), "set");
}

static void
get_close(struct peer *peer)
{
	struct memcached_state *state = peer->driver;

	free(state->value);
	memcached_free(state->memcached);
}

int
main(int argc, char **argv)
{
	static const struct peer_driver driver = {
		.name = "memcached_get", .open = get_open, .get = get_get, .put = get_put,
		.close = get_close,
	};

	return peer_run(&driver, argc, argv);
}
