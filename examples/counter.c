/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The smallest program: several machines count in one place.
 *
 *	counter PREFIX REGION COUNT
 *
 * attaches to the node with DPDK file prefix PREFIX, adds 1 to the first word of
 * REGION COUNT times, and prints what it found last. It needs no EAL.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tp_client.h"

#define ASKS_MAX 10	/* each takes a thread's timeout at most */

/* Add 1, exactly once. */
static struct tp_result
count_one(struct tp_thread *thread, struct tp_client_region *region, uint64_t *old)
{
	struct tp_result result = tp_atomic_add64(thread, region, 0, 1, old);
	unsigned int asks;

	/* Its answer was lost, so it is asked after: once it is "not done" it never will be. */
	for (asks = 0; tp_result_may_settle(result) && asks < ASKS_MAX; asks++)
		result = tp_atomic_settle(thread, region, old);
	return result;
}

int
main(int argc, char **argv)
{
	struct tp_client_config config = { .thread_count = 1 };
	struct tp_client_region *region;
	struct tp_thread *thread;
	struct tp_client *client;
	struct tp_result result;
	uint64_t i, count, old = 0;
	int ret;

	if (argc != 4) {
		fprintf(stderr, "usage: counter PREFIX REGION COUNT\n");
		return 2;
	}
	config.file_prefix = argv[1];
	count = strtoull(argv[3], NULL, 0);
	ret = tp_attach(&config, &client);
	if (ret == 0)
		ret = tp_thread_register(client, &thread);
	if (ret == 0)
		ret = tp_client_region_open(client, argv[2], &region);
	if (ret < 0) {
		fprintf(stderr, "counter: %s\n", strerror(-ret));
		return 1;
	}
	for (i = 0; i < count; i++) {
		result = count_one(thread, region, &old);
		if (!tp_result_is_ok(result)) {
			/* "not done" may be repeated; what is unknown still may have been done. */
			fprintf(stderr, "counter: %s\n", tp_reason_name(result.reason));
			return 1;
		}
	}
	printf("%" PRIu64 "\n", old);
	tp_client_detach(client);
	return 0;
}
