/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * libpmemobj as the other side of the benchmarks of persistent memory.
 */
#include "pmem.h"

#ifdef BENCH_LIBPMEMOBJ

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libpmemobj.h>

struct peer_root {
	PMEMoid slots[2][BENCH_PMEM_SLOTS];
	uint8_t set[BENCH_PMEM_SET_BYTES];
};

struct peer {
	PMEMobjpool *pool;
	struct peer_root *root;
};

static void
peer_close(void *store)
{
	struct peer *peer = store;

	pmemobj_close(peer->pool);
	free(peer);
}

static int
peer_open(const char *path, void **store)
{
	struct peer *peer = calloc(1, sizeof(*peer));
	PMEMoid root;

	if (peer == NULL)
		return -ENOMEM;
	peer->pool = pmemobj_create(path, "bench", BENCH_PMEM_POOL_BYTES, 0600);
	if (peer->pool == NULL) {
		free(peer);
		return -errno;
	}
	root = pmemobj_root(peer->pool, sizeof(*peer->root));
	peer->root = pmemobj_direct(root);
	*store = peer;
	return peer->root == NULL ? -ENOMEM : 0;
}

static int
peer_update(void *store, uint64_t offset, size_t bytes, int value)
{
	struct peer *peer = store;
	uint8_t *at = peer->root->set + offset;
	volatile int ret = 0;

	TX_BEGIN(peer->pool) {
		pmemobj_tx_add_range_direct(at, bytes);
		memset(at, value, bytes);
	} TX_ONABORT {
		ret = -EIO;
	} TX_END
	return ret;
}

static int
peer_alloc(void *store, unsigned int thread, unsigned int slot, size_t bytes)
{
	struct peer *peer = store;

	return pmemobj_alloc(peer->pool, &peer->root->slots[thread][slot], bytes, 0, NULL, NULL) == 0 ?
		0 : -errno;
}

static int
peer_free(void *store, unsigned int thread, unsigned int slot)
{
	struct peer *peer = store;

	pmemobj_free(&peer->root->slots[thread][slot]);
	return 0;
}

const struct bench_pmem_side bench_pmem_libpmemobj = {
	"libpmemobj", peer_open, peer_close, peer_update, peer_alloc, peer_free,
};

#else

const struct bench_pmem_side bench_pmem_libpmemobj = { .name = "libpmemobj" };

#endif
