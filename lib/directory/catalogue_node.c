/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Nodes in the catalogue: membership, epochs, leases. The argument for fencing
 * is in tp_catalogue.h.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "catalogue_priv.h"

#define NODE_KEY_BYTES 16

static void
node_key(char key[NODE_KEY_BYTES], uint16_t id)
{
	snprintf(key, NODE_KEY_BYTES, "node/%05u", id);
}

static int
node_read(struct tp_catalogue *catalogue, uint16_t id, struct tp_node_record *node,
	uint64_t *version)
{
	struct record_node record;
	char key[NODE_KEY_BYTES];
	size_t bytes;
	int ret;

	node_key(key, id);
	ret = tp_store_get(catalogue->store, key, &record, sizeof(record), &bytes, version);
	if (ret == -EMSGSIZE)
		return -EBADMSG;
	if (ret < 0)
		return ret;
	ret = record_node_decode(&record, bytes, node);
	if (ret == 0 && node->id != id)
		return -EBADMSG;
	return ret;
}

static int
node_write(struct tp_catalogue *catalogue, const struct tp_node_record *node, uint64_t version)
{
	struct record_node record;
	char key[NODE_KEY_BYTES];

	node_key(key, node->id);
	record_node_encode(node, &record);
	return tp_store_cas(catalogue->store, key, version, &record, sizeof(record), NULL);
}

static bool
node_is_serving(const struct tp_node_record *node)
{
	return node->state == TP_NODE_MEMBER || node->state == TP_NODE_JOINING;
}

/* What a change makes of a record: 0 go on, 1 nothing to do, -errno. */
typedef int (*node_change_fn)(struct tp_node_record *node, uint32_t epoch, uint64_t arg);

/* Read, change, write, until nobody came between. The record as changed is in *node. */
static int
node_change(struct tp_catalogue *catalogue, uint16_t id, uint32_t epoch, node_change_fn change,
	uint64_t arg, struct tp_node_record *node)
{
	int ret = -EBUSY;

	for (int i = 0; i < CATALOGUE_TRIES; i++) {
		uint64_t version;

		ret = node_read(catalogue, id, node, &version);
		if (ret < 0)
			return ret;
		ret = change(node, epoch, arg);
		if (ret != 0)
			return ret < 0 ? ret : 0;
		ret = node_write(catalogue, node, version);
		if (ret != -EAGAIN)
			return ret;
	}
	return -EBUSY;
}

static bool
node_self_is_valid(const struct tp_catalogue *catalogue, const struct tp_node_record *self)
{
	return self->id < tp_address_node_count(catalogue->split) && self->worker_count >= 1 &&
		self->has_mac <= 1 && node_is_serving(self);
}

int
tp_catalogue_node_join(struct tp_catalogue *catalogue, struct tp_node_record *self, uint64_t now,
	struct tp_node_record *previous)
{
	struct tp_node_record before;
	uint64_t version;
	int ret;

	if (!node_self_is_valid(catalogue, self))
		return -EINVAL;
	for (int i = 0; i < CATALOGUE_TRIES; i++) {
		before = (struct tp_node_record){ 0 };
		version = 0;
		ret = node_read(catalogue, self->id, &before, &version);
		if (ret < 0 && ret != -ENOENT)
			return ret;
		if (before.epoch == UINT32_MAX)
			return -EOVERFLOW;
		self->epoch = before.epoch + 1;
		self->lease_stamp = now;
		ret = node_write(catalogue, self, version);
		if (ret == 0 && previous != NULL)
			*previous = before;
		if (ret != -EAGAIN)
			return ret;
	}
	return -EBUSY;
}

static int
node_change_activate(struct tp_node_record *node, uint32_t epoch, uint64_t arg)
{
	if (node->epoch != epoch || !node_is_serving(node))
		return -ESTALE;
	if (node->state == TP_NODE_MEMBER)
		return 1;
	node->state = TP_NODE_MEMBER;
	return 0;
}

int
tp_catalogue_node_activate(struct tp_catalogue *catalogue, uint16_t id, uint32_t epoch)
{
	struct tp_node_record node;
	int ret = node_change(catalogue, id, epoch, node_change_activate, 0, &node);

	return ret == -ENOENT ? -ESTALE : ret;
}

static int
node_change_renew(struct tp_node_record *node, uint32_t epoch, uint64_t now)
{
	if (node->epoch != epoch || !node_is_serving(node))
		return -ESTALE;
	node->lease_stamp = now;
	return 0;
}

int
tp_catalogue_node_renew(struct tp_catalogue *catalogue, uint16_t id, uint32_t epoch, uint64_t now)
{
	struct tp_node_record node;
	int ret = node_change(catalogue, id, epoch, node_change_renew, now, &node);

	return ret == -ENOENT ? -ESTALE : ret;
}

static int
node_change_fence(struct tp_node_record *node, uint32_t epoch, uint64_t arg)
{
	if (node->epoch != epoch || node->state == TP_NODE_LEFT)
		return -ESTALE;
	if (node->state == TP_NODE_FENCED)
		return 1;
	node->state = TP_NODE_FENCED;
	return 0;
}

int
tp_catalogue_node_fence(struct tp_catalogue *catalogue, uint16_t id, uint32_t epoch,
	uint64_t *lease_stamp, uint64_t *lease_ns)
{
	struct tp_node_record node;
	int ret = node_change(catalogue, id, epoch, node_change_fence, 0, &node);

	if (ret < 0)
		return ret;
	if (lease_stamp != NULL)
		*lease_stamp = node.lease_stamp;
	if (lease_ns != NULL)
		*lease_ns = node.lease_ns;
	return 0;
}

static int
node_change_leave(struct tp_node_record *node, uint32_t epoch, uint64_t arg)
{
	if (node->epoch != epoch || !node_is_serving(node))
		return -ESTALE;
	node->state = TP_NODE_LEFT;
	return 0;
}

int
tp_catalogue_node_leave(struct tp_catalogue *catalogue, uint16_t id, uint32_t epoch)
{
	struct tp_node_record node;
	int ret = node_change(catalogue, id, epoch, node_change_leave, 0, &node);

	return ret == -ENOENT ? -ESTALE : ret;
}

int
tp_catalogue_node_get(struct tp_catalogue *catalogue, uint16_t id, struct tp_node_record *record)
{
	uint64_t version;

	if (id >= TP_NODE_COUNT_MAX)
		return -ENOENT;
	return node_read(catalogue, id, record, &version);
}

struct node_list {
	struct tp_catalogue *catalogue;
	struct tp_node_record *records;
	uint32_t capacity;
	uint32_t count;
};

static int
node_list_one(void *ctx, const char *key)
{
	struct node_list *list = ctx;
	struct tp_node_record node;
	unsigned int id;
	uint64_t version;
	int ret;

	if (sscanf(key, "node/%5u", &id) != 1 || id >= TP_NODE_COUNT_MAX)
		return -EBADMSG;
	ret = node_read(list->catalogue, (uint16_t)id, &node, &version);
	if (ret == -ENOENT)
		return 0;
	if (ret < 0)
		return ret;
	if (list->count < list->capacity)
		list->records[list->count] = node;
	list->count++;
	return 0;
}

int
tp_catalogue_node_list(struct tp_catalogue *catalogue, struct tp_node_record *records,
	uint32_t capacity)
{
	struct node_list list = {
		.catalogue = catalogue,
		.records = records,
		.capacity = capacity,
	};
	int ret = tp_store_list(catalogue->store, "node/", node_list_one, &list);

	return ret < 0 ? ret : (int)list.count;
}
