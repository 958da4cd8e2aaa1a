/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * A binary heap.
 */
#include <stdlib.h>
#include <string.h>

#include "queue.h"

void
queue_init(struct queue *queue)
{
	memset(queue, 0, sizeof(*queue));
}

void
queue_fini(struct queue *queue)
{
	uint32_t i;

	for (i = 0; i < queue->count; i++)
		free(queue->heap[i].data);
	free(queue->heap);
	queue_init(queue);
}

static bool
before(const struct queue_event *a, const struct queue_event *b)
{
	return a->time != b->time ? a->time < b->time : a->serial < b->serial;
}

void
queue_add(struct queue *queue, const struct queue_event *event)
{
	uint32_t i = queue->count++;
	struct queue_event e = *event;

	if (queue->count > queue->capacity) {
		queue->capacity = queue->capacity == 0 ? 256 : queue->capacity * 2;
		queue->heap = realloc(queue->heap, queue->capacity * sizeof(*queue->heap));
		if (queue->heap == NULL)
			abort();
	}
	e.serial = queue->serial++;
	for (; i > 0 && before(&e, &queue->heap[(i - 1) / 2]); i = (i - 1) / 2)
		queue->heap[i] = queue->heap[(i - 1) / 2];
	queue->heap[i] = e;
}

bool
queue_take(struct queue *queue, struct queue_event *event)
{
	struct queue_event last;
	uint32_t i = 0, child;

	if (queue->count == 0)
		return false;
	*event = queue->heap[0];
	last = queue->heap[--queue->count];
	while ((child = 2 * i + 1) < queue->count) {
		if (child + 1 < queue->count &&
		    before(&queue->heap[child + 1], &queue->heap[child]))
			child++;
		if (!before(&queue->heap[child], &last))
			break;
		queue->heap[i] = queue->heap[child];
		i = child;
	}
	if (queue->count > 0)
		queue->heap[i] = last;
	return true;
}
