/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * libfabric: fi_read on a reliable datagram endpoint of the provider that the
 * setting names. Both sides progress by hand.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_rma.h>

#include "peer.h"

#define FABRIC_VERSION FI_VERSION(1, 17)
#define FABRIC_KEY 17
#define FABRIC_NAME_BYTES 128

/* What each side tells the other of its pages. */
struct fabric_pages {
	uint64_t base;		/* 0 where the provider counts from the start */
	uint64_t key;
};

struct fabric_state {
	struct fi_info *info;
	struct fid_fabric *fabric;
	struct fid_domain *domain;
	struct fid_av *av;
	struct fid_cq *cq;
	struct fid_ep *ep;
	struct fid_mr *mr;
	fi_addr_t other;
	struct fabric_pages remote;
};

static int
fabric_check(ssize_t ret, const char *what)
{
	if (ret >= 0)
		return 0;
	fprintf(stderr, "libfabric: %s: %s\n", what, fi_strerror((int)-ret));
	return -EIO;
}

static int
fabric_info_get(struct peer *peer, struct fabric_state *state)
{
	struct fi_info *hints = fi_allocinfo();
	int ret;

	if (hints == NULL)
		return -ENOMEM;
	hints->caps = FI_MSG | FI_RMA;
	hints->ep_attr->type = FI_EP_RDM;
	hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED |
				      FI_MR_PROV_KEY;
	hints->domain_attr->threading = FI_THREAD_DOMAIN;
	hints->fabric_attr->prov_name = strdup(peer->setting);
	ret = fabric_check(fi_getinfo(FABRIC_VERSION, peer->listen, NULL, FI_SOURCE, hints,
				      &state->info), peer->setting);
	fi_freeinfo(hints);
	return ret;
}

static int
fabric_endpoint_make(struct fabric_state *state)
{
	struct fi_cq_attr cq_attr = { .format = FI_CQ_FORMAT_CONTEXT, .wait_obj = FI_WAIT_NONE };
	struct fi_av_attr av_attr = { .type = FI_AV_TABLE };
	int ret;

	ret = fabric_check(fi_fabric(state->info->fabric_attr, &state->fabric, NULL), "fabric");
	if (ret == 0)
		ret = fabric_check(fi_domain(state->fabric, state->info, &state->domain, NULL),
				   "domain");
	if (ret == 0)
		ret = fabric_check(fi_av_open(state->domain, &av_attr, &state->av, NULL),
				   "address vector");
	if (ret == 0)
		ret = fabric_check(fi_cq_open(state->domain, &cq_attr, &state->cq, NULL),
				   "completion queue");
	if (ret == 0)
		ret = fabric_check(fi_endpoint(state->domain, state->info, &state->ep, NULL),
				   "endpoint");
	if (ret == 0)
		ret = fabric_check(fi_ep_bind(state->ep, &state->av->fid, 0), "bind of addresses");
	if (ret == 0)
		ret = fabric_check(fi_ep_bind(state->ep, &state->cq->fid, FI_TRANSMIT | FI_RECV),
				   "bind of completions");
	if (ret == 0)
		ret = fabric_check(fi_enable(state->ep), "enable");
	return ret;
}

static int
fabric_peer_find(struct peer *peer, struct fabric_state *state)
{
	uint8_t mine[FABRIC_NAME_BYTES], theirs[FABRIC_NAME_BYTES];
	size_t bytes = sizeof(mine);
	int ret = fabric_check(fi_getname(&state->ep->fid, mine, &bytes), "name");

	if (ret == 0)
		ret = peer_exchange(peer, mine, (uint32_t)bytes, theirs, sizeof(theirs));
	if (ret < 0)
		return ret;
	return fi_av_insert(state->av, theirs, 1, &state->other, 0, NULL) == 1 ? 0 : -EIO;
}

static int
fabric_memory_share(struct peer *peer, struct fabric_state *state)
{
	int mr_mode = state->info->domain_attr->mr_mode;
	struct fabric_pages mine = { 0 };
	int ret;

	ret = fabric_check(fi_mr_reg(state->domain, peer->pages, PEER_SET_BYTES,
				     FI_READ | FI_WRITE | FI_REMOTE_READ, 0, FABRIC_KEY, 0,
				     &state->mr, NULL), "memory");
	if (ret < 0)
		return ret;
	mine.key = fi_mr_key(state->mr);
	if (mr_mode & FI_MR_VIRT_ADDR)
		mine.base = (uint64_t)(uintptr_t)peer->pages;
	ret = peer_exchange(peer, &mine, sizeof(mine), &state->remote, sizeof(state->remote));
	return ret < 0 ? ret : 0;
}

static int
fabric_open(struct peer *peer)
{
	struct fabric_state *state = calloc(1, sizeof(*state));
	int ret;

	if (state == NULL)
		return -ENOMEM;
	peer->driver = state;
	ret = fabric_info_get(peer, state);
	if (ret == 0)
		ret = fabric_endpoint_make(state);
	if (ret == 0)
		ret = fabric_peer_find(peer, state);
	if (ret == 0)
		ret = fabric_memory_share(peer, state);
	return ret;
}

static int
fabric_error(struct fabric_state *state)
{
	struct fi_cq_err_entry entry = { 0 };

	fi_cq_readerr(state->cq, &entry, 0);
	fprintf(stderr, "libfabric: get: %s\n", fi_strerror(entry.err));
	return -EIO;
}

static int
fabric_get(struct peer *peer, size_t offset, uint32_t bytes)
{
	struct fabric_state *state = peer->driver;
	struct fi_cq_entry entry;
	ssize_t ret;

	peer->got = peer->pages + offset;
	do {
		ret = fi_read(state->ep, peer->pages + offset, bytes, fi_mr_desc(state->mr),
			      state->other, state->remote.base + offset, state->remote.key,
			      NULL);
		if (ret == -FI_EAGAIN)
			fi_cq_read(state->cq, NULL, 0);
	} while (ret == -FI_EAGAIN);
	if (ret < 0)
		return fabric_check(ret, "get");
	do
		ret = fi_cq_read(state->cq, &entry, 1);
	while (ret == -FI_EAGAIN);
	return ret == 1 ? 0 : fabric_error(state);
}

static bool
fabric_turn(struct peer *peer)
{
	struct fabric_state *state = peer->driver;
	struct fi_cq_entry entry;

	fi_cq_read(state->cq, &entry, 1);
	return peer_is_asked(peer);
}

static void
fabric_close(struct peer *peer)
{
	struct fabric_state *state = peer->driver;

	fi_close(&state->ep->fid);
	fi_close(&state->mr->fid);
	fi_close(&state->cq->fid);
	fi_close(&state->av->fid);
	fi_close(&state->domain->fid);
	fi_close(&state->fabric->fid);
	fi_freeinfo(state->info);
	free(state);
}

int
main(int argc, char **argv)
{
	static const struct peer_driver driver = {
		.name = "libfabric_get", .has_server = true, .open = fabric_open,
		.get = fabric_get, .turn = fabric_turn, .close = fabric_close,
	};

	return peer_run(&driver, argc, argv);
}
