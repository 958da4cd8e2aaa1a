/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Hybrid objects for tests: objects whose contents tell their id and version, so that
 * a mixture of two is seen.
 */
#ifndef HYBRID_STORE_H
#define HYBRID_STORE_H

#include "tp_pmem_hybrid.h"

/* Of an object of a version; 0: it is not there. At most bytes_max. */
uint32_t hybrid_store_bytes(uint32_t id, uint64_t version, uint32_t bytes_max);
void hybrid_store_fill(void *data, uint32_t bytes, uint32_t id, uint64_t version);

/** Version of contents; UINT64_MAX: they are of no version of this object. */
uint64_t hybrid_store_version(const void *data, uint32_t bytes, uint32_t id, uint32_t bytes_max);

/** Version of an object, 0: not there; UINT64_MAX: not what was ever stored, or an error. */
uint64_t hybrid_store_get(struct tp_pmem_hybrid_thread *thread, uint32_t id, uint32_t bytes_max);

/** Edit an object to a version (0: remove it), without a commit. 0, -errno. */
int hybrid_store_set(struct tp_pmem_hybrid_thread *thread, uint32_t id, uint64_t version,
		     uint32_t bytes_max);

/** Make a store named "store". Fails the test if that fails. */
uint64_t hybrid_store_create(struct tp_pmem_pool *pool, uint32_t object_bytes,
			     uint32_t object_count, enum tp_pmem_hybrid_level level);

/** Destroy it, and see that nothing is left in the pool. */
bool hybrid_store_frees_all(struct tp_pmem_pool *pool, uint64_t offset);

#endif /* HYBRID_STORE_H */
