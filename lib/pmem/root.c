/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Named roots: docs/pmem.md, "Root table".
 */
#include <string.h>

#include "pmem_priv.h"

struct pmem_root *
pmem_root_table(const struct tp_pmem_pool *pool)
{
	return (struct pmem_root *)(void *)(pool->view.base + PMEM_ROOT_OFFSET);
}

bool
pmem_root_is_sound(const struct pmem_root *root)
{
	return root->name[0] != '\0' && root->name[TP_PMEM_NAME_BYTES - 1] == '\0' &&
		rte_le_to_cpu_32(root->crc) == tp_pmem_crc(0, &root->reserved,
			sizeof(*root) - offsetof(struct pmem_root, reserved));
}

bool
pmem_root_is_free(const struct pmem_root *root)
{
	static const struct pmem_root none;

	return memcmp(root, &none, sizeof(none)) == 0;
}

const char *
tp_pmem_root_at(const struct tp_pmem_pool *pool, uint32_t index, uint64_t *offset)
{
	const struct pmem_root *root = pmem_root_table(pool) + index;

	if (index >= TP_PMEM_ROOT_COUNT || !pmem_root_is_sound(root))
		return NULL;
	*offset = rte_le_to_cpu_64(root->offset);
	return root->name;
}

static struct pmem_root *
root_find(const struct tp_pmem_pool *pool, const char *name)
{
	for (uint32_t i = 0; i < TP_PMEM_ROOT_COUNT; i++) {
		struct pmem_root *root = pmem_root_table(pool) + i;

		if (strncmp(root->name, name, TP_PMEM_NAME_BYTES) == 0 && pmem_root_is_sound(root))
			return root;
	}
	return NULL;
}

uint64_t
tp_pmem_root_get(const struct tp_pmem_pool *pool, const char *name)
{
	const struct pmem_root *root = name[0] == '\0' ? NULL : root_find(pool, name);

	return root == NULL ? 0 : rte_le_to_cpu_64(root->offset);
}

int
tp_pmem_tx_root_set(struct tp_pmem_tx *tx, const char *name, uint64_t offset)
{
	struct pmem_root *root;
	int ret;

	if (name[0] == '\0' || strlen(name) >= TP_PMEM_NAME_BYTES)
		return -EINVAL;
	root = root_find(tx->pool, name);
	if (root == NULL && offset == 0)
		return -ENOENT;
	for (uint32_t i = 0; root == NULL && i < TP_PMEM_ROOT_COUNT; i++)
		if (pmem_root_is_free(pmem_root_table(tx->pool) + i))
			root = pmem_root_table(tx->pool) + i;
	if (root == NULL)
		return -ENOSPC;
	ret = pmem_tx_cover(tx, (uint64_t)((uint8_t *)root - tx->pool->view.base), sizeof(*root));
	if (ret < 0)
		return ret;
	memset(root, 0, sizeof(*root));
	if (offset == 0)
		return 0;
	memcpy(root->name, name, strlen(name));
	root->offset = rte_cpu_to_le_64(offset);
	root->crc = rte_cpu_to_le_32(tp_pmem_crc(0, &root->reserved,
		sizeof(*root) - offsetof(struct pmem_root, reserved)));
	return 0;
}
