/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * UCX: ucp_get_nbx. Which transport it takes is said in the environment, as UCX
 * has it: UCX_TLS, UCX_NET_DEVICES.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ucp/api/ucp.h>

#include "peer.h"

#define UCX_BLOB_BYTES 4096

struct ucx_state {
	ucp_context_h context;
	ucp_worker_h worker;
	ucp_mem_h memory;
	ucp_ep_h ep;
	ucp_rkey_h rkey;
	uint64_t remote;		/* address of the pages over there */
};

static int
ucx_check(ucs_status_t status, const char *what)
{
	if (status == UCS_OK)
		return 0;
	fprintf(stderr, "ucx: %s: %s\n", what, ucs_status_string(status));
	return -EIO;
}

static int
ucx_worker_make(struct ucx_state *state)
{
	const ucp_params_t params = {
		.field_mask = UCP_PARAM_FIELD_FEATURES,
		.features = UCP_FEATURE_RMA,
	};
	const ucp_worker_params_t worker_params = {
		.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE,
		.thread_mode = UCS_THREAD_MODE_SINGLE,
	};
	int ret;

	ret = ucx_check(ucp_init(&params, NULL, &state->context), "init");
	if (ret == 0)
		ret = ucx_check(ucp_worker_create(state->context, &worker_params,
						  &state->worker), "worker");
	return ret;
}

static int
ucx_ep_make(struct peer *peer, struct ucx_state *state)
{
	static uint8_t blob[UCX_BLOB_BYTES];
	ucp_ep_params_t params = { .field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS };
	ucp_address_t *address;
	size_t bytes;
	int ret;

	ret = ucx_check(ucp_worker_get_address(state->worker, &address, &bytes), "address");
	if (ret < 0)
		return ret;
	ret = peer_exchange(peer, address, (uint32_t)bytes, blob, sizeof(blob));
	ucp_worker_release_address(state->worker, address);
	if (ret < 0)
		return ret;
	params.address = (const ucp_address_t *)blob;
	return ucx_check(ucp_ep_create(state->worker, &params, &state->ep), "endpoint");
}

/* Who serves tells the key of its pages; who asks unpacks it. */
static int
ucx_memory_share(struct peer *peer, struct ucx_state *state)
{
	static uint8_t blob[UCX_BLOB_BYTES];
	const ucp_mem_map_params_t params = {
		.field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS | UCP_MEM_MAP_PARAM_FIELD_LENGTH,
		.address = peer->pages,
		.length = PEER_SET_BYTES,
	};
	uint64_t base = (uint64_t)(uintptr_t)peer->pages;
	void *key;
	size_t bytes;
	int ret;

	ret = ucx_check(ucp_mem_map(state->context, &params, &state->memory), "memory");
	if (ret == 0)
		ret = ucx_check(ucp_rkey_pack(state->context, state->memory, &key, &bytes),
				"key");
	if (ret < 0)
		return ret;
	ret = peer_exchange(peer, key, (uint32_t)bytes, blob, sizeof(blob));
	ucp_rkey_buffer_release(key);
	if (ret >= 0)
		ret = peer_exchange(peer, &base, sizeof(base), &state->remote,
				    sizeof(state->remote));
	if (ret < 0 || peer->serves)
		return ret < 0 ? ret : 0;
	return ucx_check(ucp_ep_rkey_unpack(state->ep, blob, &state->rkey), "key of the peer");
}

static int
ucx_open(struct peer *peer)
{
	struct ucx_state *state = calloc(1, sizeof(*state));
	int ret;

	if (state == NULL)
		return -ENOMEM;
	peer->driver = state;
	ret = ucx_worker_make(state);
	if (ret == 0)
		ret = ucx_ep_make(peer, state);
	if (ret == 0)
		ret = ucx_memory_share(peer, state);
	return ret;
}

static int
ucx_get(struct peer *peer, size_t offset, uint32_t bytes)
{
	static const ucp_request_param_t param = { 0 };
	struct ucx_state *state = peer->driver;
	ucs_status_t status;
	void *request = ucp_get_nbx(state->ep, peer->pages + offset, bytes,
				    state->remote + offset, state->rkey, &param);

	peer->got = peer->pages + offset;
	if (request == NULL)
		return 0;
	if (UCS_PTR_IS_ERR(request))
		return ucx_check(UCS_PTR_STATUS(request), "get");
	do
		ucp_worker_progress(state->worker);
	while ((status = ucp_request_check_status(request)) == UCS_INPROGRESS);
	ucp_request_free(request);
	return ucx_check(status, "get");
}

static bool
ucx_turn(struct peer *peer)
{
	struct ucx_state *state = peer->driver;

	ucp_worker_progress(state->worker);
	return peer_is_asked(peer);
}

static void
ucx_close(struct peer *peer)
{
	struct ucx_state *state = peer->driver;

	if (state->rkey != NULL)
		ucp_rkey_destroy(state->rkey);
	ucp_mem_unmap(state->context, state->memory);
	ucp_worker_destroy(state->worker);
	ucp_cleanup(state->context);
	free(state);
}

int
main(int argc, char **argv)
{
	static const struct peer_driver driver = {
		.name = "ucx_get", .has_server = true, .open = ucx_open, .get = ucx_get,
		.turn = ucx_turn, .close = ucx_close,
	};

	return peer_run(&driver, argc, argv);
}
