/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The allocator of a node's heap. Owner: main lcore.
 *
 * How it works. The heap is a sequence of runs of units, each taken or free; no
 * two neighbours are free. The first unit of a run holds its length and state,
 * the last one its length, so that both neighbours of a run are found. Free runs
 * are on a list by the highest bit of their length; a run is taken from the
 * first list on which every run is long enough, else searched for in the one
 * below, and its rest goes back.
 */
#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include <rte_common.h>
#include <rte_debug.h>
#include <rte_errno.h>

#include "heap_priv.h"
#include "tp_generation.h"

#define HEAP_NONE UINT32_MAX
#define HEAP_LISTS 32
#define HEAP_SEARCH_MAX 64	/* runs of one list looked at */

/* Books of one unit; what is set depends on what starts or ends there. */
struct heap_unit {
	uint32_t length;	/* of the run that starts here, units; 0: none starts */
	uint32_t length_end;	/* of the run that ends here */
	uint32_t next;		/* free run: neighbours on its list */
	uint32_t previous;
	uint64_t generation;	/* taken run: not 0 */
};

struct heap {
	uint32_t unit_count;
	uint32_t free_count;
	uint64_t generation;	/* of the next allocation */
	uint32_t lists[HEAP_LISTS];
	struct heap_unit *units;
};

static uint32_t
heap_list(uint32_t length)
{
	return 31 - (uint32_t)__builtin_clz(length);
}

static void
heap_run_write(struct heap *heap, uint32_t start, uint32_t length)
{
	heap->units[start].length = length;
	heap->units[start + length - 1].length_end = length;
}

static void
heap_run_insert(struct heap *heap, uint32_t start, uint32_t length)
{
	uint32_t *head = &heap->lists[heap_list(length)];

	heap_run_write(heap, start, length);
	heap->units[start].generation = 0;
	heap->units[start].previous = HEAP_NONE;
	heap->units[start].next = *head;
	if (*head != HEAP_NONE)
		heap->units[*head].previous = start;
	*head = start;
}

static void
heap_run_unlink(struct heap *heap, uint32_t start)
{
	struct heap_unit *unit = &heap->units[start];

	RTE_ASSERT(unit->length != 0 && unit->generation == 0);
	if (unit->previous != HEAP_NONE)
		heap->units[unit->previous].next = unit->next;
	else
		heap->lists[heap_list(unit->length)] = unit->next;
	if (unit->next != HEAP_NONE)
		heap->units[unit->next].previous = unit->previous;
}

struct heap *
heap_create(uint64_t bytes, uint64_t generation)
{
	uint64_t units = bytes >> HEAP_UNIT_SHIFT;
	struct heap *heap;
	uint32_t i;

	if (units == 0 || units >= HEAP_NONE || !tp_generation_is_valid(generation)) {
		rte_errno = EINVAL;
		return NULL;
	}
	heap = calloc(1, sizeof(*heap));
	if (heap == NULL)
		goto no_memory;
	/* Untouched units cost address space only. */
	heap->units = calloc(units, sizeof(*heap->units));
	if (heap->units == NULL)
		goto no_memory;
	heap->unit_count = (uint32_t)units;
	heap->free_count = (uint32_t)units;
	heap->generation = generation;
	for (i = 0; i < HEAP_LISTS; i++)
		heap->lists[i] = HEAP_NONE;
	heap_run_insert(heap, 0, heap->unit_count);
	return heap;

no_memory:
	free(heap);
	rte_errno = ENOMEM;
	return NULL;
}

void
heap_destroy(struct heap *heap)
{
	if (heap == NULL)
		return;
	free(heap->units);
	free(heap);
}

/* A free run of at least that length, or HEAP_NONE. */
static uint32_t
heap_run_find(const struct heap *heap, uint32_t length)
{
	uint32_t list = heap_list(length);
	uint32_t run = heap->lists[list];
	uint32_t looked;
	uint32_t above;

	/* Every run on the lists above is long enough; on this one, some may be. */
	for (above = list + 1; above < HEAP_LISTS; above++)
		if (heap->lists[above] != HEAP_NONE)
			break;
	for (looked = 0; run != HEAP_NONE; run = heap->units[run].next, looked++) {
		if (heap->units[run].length >= length)
			return run;
		if (looked >= HEAP_SEARCH_MAX && above < HEAP_LISTS)
			break;
	}
	return above < HEAP_LISTS ? heap->lists[above] : HEAP_NONE;
}

int
heap_alloc(struct heap *heap, uint64_t bytes, uint64_t *offset_out, uint64_t *generation_out)
{
	uint64_t length = (bytes >> HEAP_UNIT_SHIFT) +
		((bytes & ((1u << HEAP_UNIT_SHIFT) - 1)) != 0);
	uint64_t next;
	uint32_t run;
	uint32_t rest;

	if (bytes == 0)
		return -EINVAL;
	if (length > heap->unit_count)
		return -ENOSPC;
	run = heap_run_find(heap, (uint32_t)length);
	if (run == HEAP_NONE)
		return -ENOSPC;
	if (tp_generation_next(heap->generation, &next) < 0)
		return -EOVERFLOW;
	heap_run_unlink(heap, run);
	rest = heap->units[run].length - (uint32_t)length;
	if (rest != 0)
		heap_run_insert(heap, run + (uint32_t)length, rest);
	heap_run_write(heap, run, (uint32_t)length);
	heap->units[run].generation = heap->generation;
	heap->free_count -= (uint32_t)length;
	*offset_out = (uint64_t)run << HEAP_UNIT_SHIFT;
	*generation_out = heap->generation;
	heap->generation = next;
	return 0;
}

int
heap_free(struct heap *heap, uint64_t offset, uint64_t generation)
{
	uint64_t unit = offset >> HEAP_UNIT_SHIFT;
	uint32_t start;
	uint32_t length;
	uint32_t next;

	if ((offset & ((1u << HEAP_UNIT_SHIFT) - 1)) != 0 || unit >= heap->unit_count ||
	    heap->units[unit].length == 0 || heap->units[unit].generation == 0)
		return -EINVAL;
	if (heap->units[unit].generation != generation)
		return -ESTALE;
	start = (uint32_t)unit;
	length = heap->units[start].length;
	next = start + length;
	heap->free_count += length;
	heap->units[start].generation = 0;
	heap->units[start].length = 0;
	if (next < heap->unit_count && heap->units[next].generation == 0) {
		heap_run_unlink(heap, next);
		length += heap->units[next].length;
		heap->units[next].length = 0;
	}
	if (start > 0) {
		uint32_t before = start - heap->units[start - 1].length_end;

		if (heap->units[before].generation == 0) {
			heap_run_unlink(heap, before);
			length += start - before;
			start = before;
		}
	}
	heap_run_insert(heap, start, length);
	return 0;
}

int
heap_generation(const struct heap *heap, uint64_t offset, uint64_t *generation_out)
{
	uint64_t unit = offset >> HEAP_UNIT_SHIFT;

	if (unit >= heap->unit_count)
		return -ENOENT;
	/* Back to the start of the run: only starts have a length. */
	while (heap->units[unit].length == 0)
		unit--;
	if (heap->units[unit].generation == 0)
		return -ENOENT;
	*generation_out = heap->units[unit].generation;
	return 0;
}

uint64_t
heap_bytes_free(const struct heap *heap)
{
	return (uint64_t)heap->free_count << HEAP_UNIT_SHIFT;
}
