/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Inside lib/node: the keeper, which has the node's pool of persistent memory and a
 * thread of its own, since to make something last takes longer than a turn may. Workers
 * hand pages over in rings and get told in rings; neither waits for the other.
 * docs/coherence.md, "Durable regions", says what is promised, docs/pmem.md, "The pool of a
 * node", what is in the pool.
 */
#ifndef KEEPER_PRIV_H
#define KEEPER_PRIV_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "tp_coherence.h"
#include "tp_region.h"

#define KEEPER_JOBS 256u		/* pages a worker may have handed over; a power of two */
#define KEEPER_NO_BUFFER UINT32_MAX

struct keeper;
struct keeper_port;

/* A region's pages in the pool. Workers read, the keeper's thread writes. */
struct keeper_region;

struct keeper_config {
	const char *path;		/* made if it is not there */
	uint64_t bytes;			/* of one that is made */
	uint16_t node_id;
	uint16_t worker_count;
	uint32_t page_bytes;		/* largest of a page */
	bool threaded;			/* else keeper_turn() is called for it */
	/* After something was put in a ring for them; any thread. NULL: nobody sleeps. */
	void (*wake_worker)(void *ctx, uint16_t worker);
	void (*wake_control)(void *ctx);
	void *wake_ctx;
};

/* Writer: the keeper's thread; any thread may read. */
#define KEEPER_STAT_LIST(STAT)							\
	STAT(pages,      "pages persisted")					\
	STAT(bytes,      "of their contents")					\
	STAT(batches,    "times pages were persisted together")			\
	STAT(fences,     "fences of the pool, of all kinds")			\
	STAT(errors,     "pages that could not be persisted")			\
	STAT(regions,    "regions with pages in the pool")			\
	STAT(damaged,    "pages found damaged when their region was opened")

struct keeper_stats {
#define KEEPER_STAT_AS_FIELD(name, help) _Atomic uint64_t name;
	KEEPER_STAT_LIST(KEEPER_STAT_AS_FIELD)
#undef KEEPER_STAT_AS_FIELD
};

/* What a worker wants to last: the contents of a buffer of its port, if any. */
struct keeper_job {
	struct keeper_region *region;
	uint32_t index;			/* of the page among those homed here */
	uint32_t buffer;		/* or KEEPER_NO_BUFFER */
	uint16_t node;			/* whom to tell, if reply has a type */
	uint16_t worker;
	struct tp_coherence_msg reply;
};

/* And how it ended. */
struct keeper_done {
	int error;
	uint32_t buffer;
	uint16_t node;
	uint16_t worker;
	struct tp_coherence_msg reply;
};

enum keeper_call_type {
	KEEPER_OPEN,		/* the region's pages; made if they are not there */
	KEEPER_CLOSE,		/* kept, but not used any more */
	KEEPER_REMOVE,		/* not kept any more */
};

/* What the control side wants; the answer is the same with error and kept filled in. */
struct keeper_call {
	uint8_t type;		/* enum keeper_call_type */
	bool create;
	int error;
	uint32_t region_id;
	uint64_t generation;
	const struct tp_region *region;	/* OPEN: valid until the answer */
	struct keeper_region *kept;
};

/*
 * Open the pool, and recover it; made if there is none. No thread yet.
 * 0, or -errno; logged why.
 */
int keeper_open(const struct keeper_config *config, struct keeper **keeper_out);

/* Start its thread, if it is to have one. 0 or -errno. */
int keeper_start(struct keeper *keeper);

/* Whoever has handed something over is not told any more. NULL is fine. */
void keeper_close(struct keeper *keeper);

/* Which pool it is: another file has another one. */
void keeper_uuid(const struct keeper *keeper, uint8_t uuid[16]);

/*
 * Before the start: the regions in the pool, as they were made. How many there are, the
 * first room of them written; or -errno.
 */
int keeper_list(struct keeper *keeper, struct tp_region *regions, uint32_t room);

/* Before the start: forget a region. 0, -ENOENT, or an error of the pool. */
int keeper_forget(struct keeper *keeper, uint64_t base);

struct keeper_stats *keeper_stats_get(struct keeper *keeper);

/* Not threaded: do what was handed over so far. How much it was. */
uint32_t keeper_turn(struct keeper *keeper);

/* Control side. false: no room. */
bool keeper_call(struct keeper *keeper, const struct keeper_call *call);
bool keeper_answer(struct keeper *keeper, struct keeper_call *call);

/* Worker: KEEPER_JOBS may be under way at a time, with or without a buffer. */
struct keeper_port *keeper_port(struct keeper *keeper, uint16_t worker);
uint8_t *keeper_buffer_take(struct keeper_port *port, uint32_t *buffer_out);
void keeper_persist(struct keeper_port *port, const struct keeper_job *job);
/* What has ended; its buffer is free again. false: nothing. */
bool keeper_ended(struct keeper_port *port, struct keeper_done *done);

/* What the pool has of a page; it is read, and its checksum compared. */
enum tp_persisted keeper_page_look(const struct keeper_region *kept, uint32_t index);
/* Its contents, after TP_PERSISTED_PAGE. */
const void *keeper_page(const struct keeper_region *kept, uint32_t index);

#endif /* KEEPER_PRIV_H */
