/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Fences of ordinary files: msync(), one for all threads that wait. Who comes while
 * one runs waits for the next; the first of them runs it for all.
 */
#ifndef DEVICE_SYNC_H
#define DEVICE_SYNC_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct device_sync {
	pthread_mutex_t mutex;
	pthread_cond_t done_cond;
	uintptr_t begin;		/* what is to be written in round `open`; both 0: nothing */
	uintptr_t end;
	atomic_uint notes;		/* of that round; written under the mutex */
	uint64_t open;			/* round that notes go to */
	uint64_t done;			/* last round that is lasting */
	bool running;
	bool failed;
};

void device_sync_init(struct device_sync *sync);
void device_sync_fini(struct device_sync *sync);

/** This range was stored to. @threads Any. */
void device_sync_note(struct device_sync *sync, const void *begin, size_t bytes);

/** About how many ranges wait for the next fence. @threads Any. */
unsigned int device_sync_notes(struct device_sync *sync);

/** A store failed, or an fsync() outside: all fences do from now on. @threads Any. */
void device_sync_fail(struct device_sync *sync);

/** Wait until what was noted is lasting. 0, -EIO: now and from now on. @threads Any. */
int device_sync_fence(struct device_sync *sync);

#endif /* DEVICE_SYNC_H */
