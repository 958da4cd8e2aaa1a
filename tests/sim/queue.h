/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Virtual time: events in order of time, those of one instant in the order they
 * were added.
 */
#ifndef SIM_QUEUE_H
#define SIM_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

struct queue_event {
	uint64_t time;
	uint64_t serial;
	uint32_t kind;		/* the owner's numbering */
	uint32_t node;
	uint64_t a, b;
	void *data;		/* the handler's to free */
};

struct queue {
	struct queue_event *heap;
	uint32_t count;
	uint32_t capacity;
	uint64_t serial;
};

void queue_init(struct queue *queue);
void queue_fini(struct queue *queue);
void queue_add(struct queue *queue, const struct queue_event *event);
bool queue_take(struct queue *queue, struct queue_event *event);

#endif /* SIM_QUEUE_H */
