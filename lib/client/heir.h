/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What the handles of a client stand for once its node has died: reattach.c.
 */
#ifndef CLIENT_HEIR_H
#define CLIENT_HEIR_H

#include "client_priv.h"

static inline struct tp_thread *
client_thread_heir(struct tp_thread *thread)
{
	/* pairs with the release in reattach_publish() */
	return atomic_load_explicit(&thread->heir, memory_order_acquire);
}

/* What a handle of a client stands for after a re-attach: itself if there was none. */
static inline struct tp_client *
client_live(struct tp_client *client)
{
	struct tp_client *heir;

	while ((heir = atomic_load_explicit(&client->heir, memory_order_acquire)) != NULL)
		client = heir;
	return client;
}

/* The same, with its lock taken: who waited for a re-attach is sent on to the heir. */
static inline struct tp_client *
client_lock_live(struct tp_client *client)
{
	for (;;) {
		client = client_live(client);
		pthread_mutex_lock(&client->lock);
		/* Only under this lock does a client get its heir. */
		if (atomic_load_explicit(&client->heir, memory_order_relaxed) == NULL)
			return client;
		pthread_mutex_unlock(&client->lock);
	}
}

static inline struct tp_client_region *
client_region_live(struct tp_client_region *region)
{
	struct tp_client_region *heir;

	while ((heir = atomic_load_explicit(&region->heir, memory_order_acquire)) != NULL)
		region = heir;
	return region;
}

/* reattach.c */
enum tp_reason client_follow_heirs(struct tp_thread **thread, struct tp_client_region **region);
struct tp_thread *client_thread_of(struct tp_thread *thread, const struct tp_op *op);
int client_keeper_start(struct tp_client *client);
void client_keeper_stop(struct tp_client *client);

/*
 * A thread and a region as they are to be used together: of one client, that of
 * the present node. TP_OK, or why there are none.
 */
static inline enum tp_reason
client_follow(struct tp_thread **thread, struct tp_client_region **region)
{
	if (likely((*thread)->client == (*region)->client && client_thread_heir(*thread) == NULL))
		return TP_OK;
	return client_follow_heirs(thread, region);
}

#endif /* CLIENT_HEIR_H */
