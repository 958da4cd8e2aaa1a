/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hybrid_store.h"
#include "tp_pmem_alloc.h"

#define HEAD_BYTES 8u	/* the version; the rest follows from it and the id */

static uint64_t
mix(uint64_t x)
{
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

uint32_t
hybrid_store_bytes(uint32_t id, uint64_t version, uint32_t bytes_max)
{
	return version == 0 ? 0 :
		HEAD_BYTES + (uint32_t)(mix(id + (version << 20)) % (bytes_max - HEAD_BYTES + 1));
}

void
hybrid_store_fill(void *data, uint32_t bytes, uint32_t id, uint64_t version)
{
	uint8_t *at = data;

	memcpy(at, &version, HEAD_BYTES);
	for (uint32_t i = HEAD_BYTES; i < bytes; i++)
		at[i] = (uint8_t)(version * 31 + id * 7 + i);
}

uint64_t
hybrid_store_version(const void *data, uint32_t bytes, uint32_t id, uint32_t bytes_max)
{
	const uint8_t *at = data;
	uint64_t version;

	if (bytes < HEAD_BYTES)
		return UINT64_MAX;
	memcpy(&version, at, HEAD_BYTES);
	if (version == 0 || bytes != hybrid_store_bytes(id, version, bytes_max))
		return UINT64_MAX;
	for (uint32_t i = HEAD_BYTES; i < bytes; i++)
		if (at[i] != (uint8_t)(version * 31 + id * 7 + i))
			return UINT64_MAX;
	return version;
}

uint64_t
hybrid_store_get(struct tp_pmem_hybrid_thread *thread, uint32_t id, uint32_t bytes_max)
{
	struct tp_pmem_hybrid_pin pin;
	uint64_t version;
	int ret = tp_pmem_hybrid_get(thread, id, &pin);

	if (ret < 0)
		return ret == -ENOENT ? 0 : UINT64_MAX;
	version = hybrid_store_version(pin.data, pin.bytes, id, bytes_max);
	tp_pmem_hybrid_put(thread, &pin);
	return version;
}

int
hybrid_store_set(struct tp_pmem_hybrid_thread *thread, uint32_t id, uint64_t version,
		 uint32_t bytes_max)
{
	uint32_t bytes = hybrid_store_bytes(id, version, bytes_max);
	void *data = NULL;
	int ret;

	if (version == 0) {
		ret = tp_pmem_hybrid_remove(thread, id);
		return ret == -ENOENT ? 0 : ret;
	}
	ret = tp_pmem_hybrid_edit(thread, id, bytes, version % 2 == 0 ? TP_PMEM_HYBRID_WHOLE : 0,
		&data);
	if (ret == 0)
		hybrid_store_fill(data, bytes, id, version);
	return ret;
}

uint64_t
hybrid_store_create(struct tp_pmem_pool *pool, uint32_t object_bytes, uint32_t object_count,
		    enum tp_pmem_hybrid_level level)
{
	struct tp_pmem_tx *tx = NULL;
	uint64_t offset = 0;

	assert_int_equal(tp_pmem_tx_begin(pool, &tx), 0);
	assert_int_equal(tp_pmem_hybrid_create(tx, object_bytes, object_count, level, &offset), 0);
	assert_int_equal(tp_pmem_tx_root_set(tx, "store", offset), 0);
	assert_int_equal(tp_pmem_tx_commit(tx, 0), 0);
	return offset;
}

bool
hybrid_store_frees_all(struct tp_pmem_pool *pool, uint64_t offset)
{
	struct tp_pmem_tx *tx;

	if (tp_pmem_tx_begin(pool, &tx) < 0)
		return false;
	if (tp_pmem_hybrid_destroy(tx, offset) < 0 || tp_pmem_tx_root_set(tx, "store", 0) < 0) {
		tp_pmem_tx_abort(tx);
		return false;
	}
	return tp_pmem_tx_commit(tx, 0) == 0 && tp_pmem_block_next(pool, 0) == 0;
}
