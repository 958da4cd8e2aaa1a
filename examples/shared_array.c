/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * An array of numbers that lives on all nodes, used by a DPDK program that
 * attaches as a secondary process of its node:
 *
 *	shared_array <EAL arguments> -- REGION fill|sum
 *
 * "fill" writes the squares into the array through pins (zero copy); "sum" on
 * any node reads them with several accesses in flight.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tp_client.h"

#define WINDOW 8
#define PAGE_BYTES_MAX 65536

struct array {
	struct tp_thread *thread;
	struct tp_client_region *region;
	uint64_t page_bytes;
	uint64_t pages;
};

/* One page in place. The pin holds for some milliseconds; tp_unpin() says if it did not. */
static struct tp_result
array_fill_page(struct array *array, uint64_t page)
{
	uint64_t words = array->page_bytes / sizeof(uint64_t), i;
	struct tp_result result;
	struct tp_pin pin;
	uint64_t *values;

	result = tp_pin(array->thread, array->region, page * array->page_bytes,
			array->page_bytes, TP_ACCESS_WRITE, &pin);
	if (!tp_result_is_ok(result))
		return result;
	values = pin.address;
	for (i = 0; i < words; i++)
		values[i] = (page * words + i) * (page * words + i);
	return tp_unpin(array->thread, &pin);
}

static struct tp_result
array_fill(struct array *array)
{
	struct tp_result result = tp_result_ok(0);
	uint64_t page;

	for (page = 0; page < array->pages && tp_result_is_ok(result); page++) {
		result = array_fill_page(array, page);
		/* A pin that was held too long: the same values may be written again. */
		if (result.reason == TP_TIMEOUT)
			result = array_fill_page(array, page);
	}
	return result;
}

static struct tp_result
array_sum(struct array *array, uint64_t *sum)
{
	static uint64_t buffers[WINDOW][PAGE_BYTES_MAX / sizeof(uint64_t)];
	static struct tp_op ops[WINDOW];
	struct tp_result result = tp_result_ok(0);
	uint64_t page, next = 0, i;

	for (page = 0; page < array->pages; page++) {
		for (; next < array->pages && next < page + WINDOW; next++)
			tp_submit_read(array->thread, array->region, next * array->page_bytes,
				       buffers[next % WINDOW], array->page_bytes,
				       &ops[next % WINDOW]);
		/* Waiting for one brings the others forward too. */
		result = tp_op_wait(array->thread, &ops[page % WINDOW]);
		if (!tp_result_is_ok(result))
			break;
		for (i = 0; i < array->page_bytes / sizeof(uint64_t); i++)
			*sum += buffers[page % WINDOW][i];
	}
	for (page++; page < next; page++)
		tp_op_wait(array->thread, &ops[page % WINDOW]);
	return result;
}

static int
array_run(struct tp_client *client, const char *name, const char *verb)
{
	struct array array;
	struct tp_result result;
	uint64_t sum = 0;
	int ret;

	ret = tp_thread_register(client, &array.thread);
	if (ret == 0)
		ret = tp_client_region_open(client, name, &array.region);
	if (ret < 0) {
		fprintf(stderr, "shared_array: region %s: %s\n", name, strerror(-ret));
		return 1;
	}
	array.page_bytes = tp_client_region_info(array.region)->page_bytes;
	array.pages = tp_client_region_info(array.region)->bytes / array.page_bytes;
	if (array.page_bytes > PAGE_BYTES_MAX) {
		fprintf(stderr, "shared_array: pages of %" PRIu64 " bytes are too large\n",
			array.page_bytes);
		return 1;
	}
	result = strcmp(verb, "fill") == 0 ? array_fill(&array) : array_sum(&array, &sum);
	if (!tp_result_is_ok(result)) {
		fprintf(stderr, "shared_array: %s\n", tp_reason_name(result.reason));
		return 1;
	}
	if (strcmp(verb, "sum") == 0)
		printf("%" PRIu64 "\n", sum);
	return 0;
}

int
main(int argc, char **argv)
{
	const struct tp_client_config config = { .thread_count = 1 };
	struct tp_client *client;
	int used, ret;

	/* In place of rte_eal_init(): one secondary at a time, behind the gate. */
	used = tp_eal_attach(argc, argv);
	if (used < 0) {
		fprintf(stderr, "shared_array: cannot attach: %s\n", strerror(-used));
		return 1;
	}
	argc -= used;
	argv += used;
	if (argc != 3 || (strcmp(argv[2], "fill") != 0 && strcmp(argv[2], "sum") != 0)) {
		fprintf(stderr, "usage: shared_array <EAL arguments> -- REGION fill|sum\n");
		tp_client_exit(2);
	}
	/* As the secondary process that it is now. */
	ret = tp_attach(&config, &client);
	if (ret < 0) {
		fprintf(stderr, "shared_array: cannot attach: %s\n", strerror(-ret));
		tp_client_exit(1);
	}
	ret = array_run(client, argv[1], argv[2]);
	tp_client_detach(client);
	/* Never rte_eal_cleanup() in a secondary: it would close the node's ports. */
	tp_client_exit(ret);
}
