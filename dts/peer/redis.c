/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Redis: GET of a value through hiredis. With the setting "spin" who asks does not
 * sleep until the answer is there, but asks the kernel for it again and again.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include <hiredis/hiredis.h>

#include "peer.h"

#define REDIS_PIPELINE 64u

struct redis_state {
	redisContext *context;
	redisReply *reply;		/* of the last get, which lies in it */
	unsigned int pending;		/* answers to puts */
};

static struct redis_state redis_state;

static int
redis_error(const struct redis_state *state)
{
	fprintf(stderr, "redis: %s\n", state->context->errstr);
	return -EIO;
}

static int
redis_open(struct peer *peer)
{
	struct redis_state *state = &redis_state;
	int flags;

	peer->driver = state;
	state->context = redisConnect(peer->connect, peer->port);
	if (state->context == NULL)
		return -ENOMEM;
	if (state->context->err != 0)
		return redis_error(state);
	if (strcmp(peer->setting, "spin") == 0) {
		flags = fcntl(state->context->fd, F_GETFL);
		if (fcntl(state->context->fd, F_SETFL, flags | O_NONBLOCK) < 0)
			return -errno;
		state->context->flags &= ~REDIS_BLOCK;
	}
	return 0;
}

/* hiredis reads and writes what it can; without REDIS_BLOCK it never waits. */
static int
redis_answer_spin(struct redis_state *state)
{
	int written = 0;

	while (!written)
		if (redisBufferWrite(state->context, &written) != REDIS_OK)
			return redis_error(state);
	for (;;) {
		if (redisBufferRead(state->context) != REDIS_OK ||
		    redisGetReplyFromReader(state->context, (void **)&state->reply) != REDIS_OK)
			return redis_error(state);
		if (state->reply != NULL)
			return 0;
	}
}

static int
redis_get(struct peer *peer, size_t offset, uint32_t bytes)
{
	struct redis_state *state = peer->driver;
	char key[32];
	int key_bytes = peer_key(key, sizeof(key), offset, bytes);
	int ret = 0;

	if (state->reply != NULL)
		freeReplyObject(state->reply);
	state->reply = NULL;
	redisAppendCommand(state->context, "GET %b", key, (size_t)key_bytes);
	if ((state->context->flags & REDIS_BLOCK) == 0)
		ret = redis_answer_spin(state);
	else if (redisGetReply(state->context, (void **)&state->reply) != REDIS_OK)
		ret = redis_error(state);
	if (ret < 0)
		return ret;
	if (state->reply->type != REDIS_REPLY_STRING || state->reply->len != bytes) {
		fprintf(stderr, "redis: no value of %u bytes for %s\n", bytes, key);
		return -ENOENT;
	}
	peer->got = (const uint8_t *)state->reply->str;
	return 0;
}

static int
redis_answers_take(struct redis_state *state)
{
	redisReply *reply;

	for (; state->pending > 0; state->pending--) {
		if (redisGetReply(state->context, (void **)&reply) != REDIS_OK)
			return redis_error(state);
		if (reply->type == REDIS_REPLY_ERROR) {
			fprintf(stderr, "redis: %s\n", reply->str);
			return -EIO;
		}
		freeReplyObject(reply);
	}
	return 0;
}

static int
redis_put(struct peer *peer, size_t offset, uint32_t bytes)
{
	struct redis_state *state = peer->driver;
	char key[32];
	int key_bytes = peer_key(key, sizeof(key), offset, bytes);

	redisAppendCommand(state->context, "SET %b %b", key, (size_t)key_bytes,
			   peer->pages + offset, (size_t)bytes);
	state->pending++;
	if (state->pending < REDIS_PIPELINE && offset + PEER_BYTES_MAX < PEER_SET_BYTES)
		return 0;
	return redis_answers_take(state);
}

static void
redis_close(struct peer *peer)
{
	struct redis_state *state = peer->driver;

	if (state->reply != NULL)
		freeReplyObject(state->reply);
	redisFree(state->context);
}

int
main(int argc, char **argv)
{
	static const struct peer_driver driver = {
		.name = "redis_get", .open = redis_open, .get = redis_get, .put = redis_put,
		.close = redis_close,
	};

	return peer_run(&driver, argc, argv);
}
