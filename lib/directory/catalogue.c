/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Opening the catalogue, and the settings of the cluster.
 */
#include <errno.h>
#include <stdlib.h>

#include <rte_errno.h>

#include "catalogue_priv.h"

#define CATALOGUE_KEY_CLUSTER "cluster"

int
tp_catalogue_split_read(struct tp_store *store, struct tp_address_split *split)
{
	struct record_cluster record;
	size_t bytes;
	int ret;

	ret = tp_store_get(store, CATALOGUE_KEY_CLUSTER, &record, sizeof(record), &bytes, NULL);
	if (ret == -EMSGSIZE)
		return -EBADMSG;
	if (ret < 0)
		return ret;
	return record_cluster_decode(&record, bytes, split);
}

/* Write the settings, or find that they agree. */
static int
catalogue_settle(struct tp_store *store, struct tp_address_split split)
{
	struct tp_address_split settled;
	struct record_cluster record;
	int ret;

	record_cluster_encode(split, &record);
	ret = tp_store_cas(store, CATALOGUE_KEY_CLUSTER, 0, &record, sizeof(record), NULL);
	if (ret != -EAGAIN)
		return ret;
	ret = tp_catalogue_split_read(store, &settled);
	if (ret < 0)
		return ret;
	if (settled.node_bits == split.node_bits)
		return 0;
	TP_DIRECTORY_LOG(ERR, "the cluster splits addresses %u/%u, not %u/%u", settled.node_bits,
		settled.offset_bits, split.node_bits, split.offset_bits);
	return -EINVAL;
}

struct tp_catalogue *
tp_catalogue_open(struct tp_store *store, struct tp_address_split split)
{
	struct tp_catalogue *catalogue = NULL;
	int ret = -EINVAL;

	if (!tp_address_split_is_valid(split))
		goto fail;
	ret = catalogue_settle(store, split);
	if (ret < 0)
		goto fail;
	ret = -ENOMEM;
	catalogue = calloc(1, sizeof(*catalogue));
	if (catalogue == NULL)
		goto fail;
	catalogue->store = store;
	catalogue->split = split;
	catalogue->record = malloc(RECORD_REGIONS_BYTES_MAX);
	catalogue->set = malloc(sizeof(*catalogue->set));
	if (catalogue->record == NULL || catalogue->set == NULL)
		goto fail;
	return catalogue;

fail:
	tp_catalogue_close(catalogue);
	rte_errno = -ret;
	return NULL;
}

void
tp_catalogue_close(struct tp_catalogue *catalogue)
{
	if (catalogue == NULL)
		return;
	free(catalogue->set);
	free(catalogue->record);
	free(catalogue);
}

struct tp_address_split
tp_catalogue_split(const struct tp_catalogue *catalogue)
{
	return catalogue->split;
}

struct tp_store *
tp_catalogue_store(const struct tp_catalogue *catalogue)
{
	return catalogue->store;
}

uint64_t
tp_catalogue_node_revision(struct tp_catalogue *catalogue)
{
	return tp_store_revision(catalogue->store, "node");
}

uint64_t
tp_catalogue_region_revision(struct tp_catalogue *catalogue)
{
	return tp_store_revision(catalogue->store, "region");
}

uint64_t
tp_catalogue_extent_revision(struct tp_catalogue *catalogue)
{
	return tp_store_revision(catalogue->store, "extent");
}
