/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Memory of the page directory: a million pages, most with one or two sharers,
 * some with 16, a few with every node of the largest cluster. What the library
 * says it takes is held against what the kernel says the process took.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <rte_common.h>
#include <rte_errno.h>

#include "bench.h"
#include "tp_directory.h"
#include "tp_generation.h"

#define DIRECTORY_PAGES 1000000u
#define DIRECTORY_NODES 16384u
#define DIRECTORY_BITMAPS 1024u
#define DIRECTORY_TRANSIENTS 4096u
#define DIRECTORY_TRANSIENT_BYTES 256u

/* Sharers of a page: 90 % have one or two, 9.9 % have 16, 0.1 % all nodes. */
static uint32_t
page_sharers(uint32_t page)
{
	/* A permutation of 0 .. 999,999, so that the kinds lie scattered. */
	uint32_t rank = (uint32_t)(((uint64_t)page * 7368787u) % DIRECTORY_PAGES);

	if (rank < DIRECTORY_PAGES / 1000)
		return DIRECTORY_NODES;
	if (rank < DIRECTORY_PAGES / 10)
		return 16;
	return 1 + rank % 2;
}

/* Sharer i of a page: spread over the cluster, different from page to page. */
static uint16_t
page_sharer(uint32_t page, uint32_t i)
{
	return (uint16_t)((page * 2654435761u + i * 1031u) % DIRECTORY_NODES);
}

static long
resident_bytes(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	long total, resident = -1;

	if (file == NULL)
		return -1;
	if (fscanf(file, "%ld %ld", &total, &resident) != 2)
		resident = -1;
	fclose(file);
	return resident < 0 ? -1 : resident * sysconf(_SC_PAGESIZE);
}

static int
directory_fill(struct tp_directory *directory, struct tp_directory_worker *worker, uint32_t slot)
{
	struct tp_directory_entry *entry;
	uint32_t transient;

	for (uint32_t page = 0; page < DIRECTORY_PAGES; page++) {
		entry = tp_directory_entry_get(directory, slot, page);
		for (uint32_t i = 0; i < page_sharers(page); i++)
			tp_directory_sharer_add(worker, entry, page_sharer(page, i));
	}
	/* The table of transients counts as if all were outstanding. */
	for (uint32_t i = 0; i < DIRECTORY_TRANSIENTS; i++) {
		transient = tp_directory_transient_get(worker);
		if (transient == TP_DIRECTORY_INDEX_NONE)
			return -ENOSPC;
		memset(tp_directory_transient_payload(worker, transient), 1,
		       DIRECTORY_TRANSIENT_BYTES);
	}
	return 0;
}

/* Every set must still be exact, or the memory was saved by forgetting. */
static int
directory_check(struct tp_directory *directory, const struct tp_directory_worker *worker,
		uint32_t slot)
{
	const struct tp_directory_entry *entry;

	for (uint32_t page = 0; page < DIRECTORY_PAGES; page++) {
		entry = tp_directory_entry_get(directory, slot, page);
		if (!tp_directory_sharer_is_exact(worker, entry) ||
		    tp_directory_sharer_count(worker, entry) != page_sharers(page)) {
			fprintf(stderr, "telepage-bench: page %u has lost its sharers\n", page);
			return -EIO;
		}
	}
	return 0;
}

static int
directory_measure(struct bench *bench, struct tp_directory *directory)
{
	const struct tp_directory_worker_config config = {
		.bitmap_count_max = DIRECTORY_BITMAPS,
		.transient_count_max = DIRECTORY_TRANSIENTS,
		.transient_bytes = DIRECTORY_TRANSIENT_BYTES,
	};
	struct tp_directory_worker *worker = tp_directory_worker_create(directory, &config);
	long before = resident_bytes();
	long after;
	int slot, ret;

	if (worker == NULL)
		return -rte_errno;
	slot = tp_directory_region_add(directory, 1, tp_generation_pack(0, 1), DIRECTORY_PAGES);
	if (slot < 0)
		return slot;
	ret = directory_fill(directory, worker, (uint32_t)slot);
	if (ret < 0)
		return ret;
	after = resident_bytes();
	ret = directory_check(directory, worker, (uint32_t)slot);
	if (ret < 0)
		return ret;
	bench_report_value(bench, "directory_bytes_per_page", "B",
			   (double)tp_directory_bytes(directory) / DIRECTORY_PAGES);
	if (before >= 0 && after >= 0)
		bench_report_value(bench, "directory_resident_per_page", "B",
				   (double)(after - before) / DIRECTORY_PAGES);
	return 0;
}

int
bench_directory_bytes(struct bench *bench)
{
	const struct tp_directory_config config = {
		.region_count_max = 65536,
		.worker_count_max = 1,
		.node_id_max = DIRECTORY_NODES - 1,
	};
	struct tp_directory *directory = tp_directory_create(&config);
	int ret;

	if (directory == NULL)
		return -rte_errno;
	ret = directory_measure(bench, directory);
	tp_directory_destroy(directory);
	return ret;
}
