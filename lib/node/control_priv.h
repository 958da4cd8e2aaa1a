/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Inside lib/node: the control side. Everything here is the main lcore's.
 */
#ifndef CONTROL_PRIV_H
#define CONTROL_PRIV_H

#include "heap_priv.h"
#include "node_wire_priv.h"
#include "tp_catalogue.h"
#include "tp_control.h"
#include "tp_directory.h"
#include "tp_region_table.h"
#include "tp_segment.h"
#include "worker_priv.h"

#define CONTROL_REGIONS 2048
#define CONTROL_CALLS 256
#define CONTROL_REAPS 256
#define CONTROL_COMMAND_SPARE 16	/* commands one step may push to a worker */
#define CONTROL_TIMEOUT_NS UINT64_C(5000000000)	/* of a call that names none */

/* What this node knows of another. */
struct control_node {
	struct tp_node_record record;	/* as last read; state 0: none */
	uint32_t epoch;			/* the workers were told; 0: none */
	uint32_t boot;			/* epoch in which that process began */
	bool told;			/* PEER_SET of epoch was sent to the present endpoints */
	bool lapsed;			/* PEER_FENCED of epoch was sent */
	bool fence_wanted;
	uint64_t fence_until;		/* 0, or when its lease has lapsed for sure */
	uint64_t renewed_at;		/* when its lease stamp was seen to change */
	uint64_t seen;			/* changes of the catalogue it has applied */
};

enum control_region_state {
	CONTROL_REGION_FREE = 0,
	CONTROL_REGION_ADD,		/* to be told to the workers */
	CONTROL_REGION_STORING,		/* the keeper was asked for its pages */
	CONTROL_REGION_ADDING,		/* told, answers missing */
	CONTROL_REGION_READY,
	CONTROL_REGION_REMOVE,
	CONTROL_REGION_REMOVING,
	CONTROL_REGION_FAILED,		/* no memory or page size for it here */
};

struct control_region {
	uint32_t id;
	uint8_t state;			/* enum control_region_state */
	bool home_lost;
	bool failed;			/* a worker could not take it */
	bool fresh;			/* it was created while this node was there */
	bool stored;			/* the keeper has answered */
	int16_t creator;		/* client, or -1 */
	int directory_slot;		/* or -1 */
	uint16_t acks;			/* workers still to answer */
	const struct tp_region *region;
	const struct tp_region *next;	/* new generation, added when the old one is gone */
	struct tp_segment *words;
	struct keeper_region *kept;	/* its pages in the pool, NULL: none */
};

struct control_client {
	uint8_t state;			/* 0 free, 1 in, 2 being cleaned up */
	bool bad;
	uint16_t acks;
	uint32_t thread_count;
	struct tp_segment *segment;
	struct worker_thread *threads;	/* [worker_count * thread_count] */
};

enum control_call_state {
	CONTROL_CALL_FREE = 0,
	CONTROL_CALL_RUN,		/* to be tried each poll */
	CONTROL_CALL_SEEN,		/* waits until every member has applied `change` */
	CONTROL_CALL_REMOTE,		/* waits for a HEAP_RESULT */
	CONTROL_CALL_DONE,
};

struct control_call {
	uint8_t state;			/* enum control_call_state */
	int16_t client;
	uint32_t ticket;		/* of the message that asks another node */
	uint16_t node;			/* that one */
	uint64_t since;
	uint32_t region_id;
	uint64_t change;
	uint64_t deadline;
	struct tp_control_request request;
	struct tp_control_response response;
};

/* A destroyed region whose addresses are to be freed. */
struct control_reap {
	uint32_t id;			/* 0: free */
	uint64_t at;
};

struct tp_control {
	struct tp_control_config config;
	struct tp_catalogue *catalogue;
	struct tp_region_table *table;
	struct tp_directory *directory;
	struct tp_segment *node_segment;
	struct tp_segment *slots_segment;
	struct tp_abi_node *abi_node;
	struct node_shared shared;
	struct tp_worker *workers[TP_ABI_WORKERS_MAX];

	/* membership.c */
	enum tp_control_state state;
	uint32_t epoch;
	uint32_t boot;			/* epoch of this process's first join */
	uint32_t attaches;		/* clients of this process so far */
	uint64_t now;
	uint64_t ready_at;		/* JOINING: not before */
	uint64_t renew_at;
	uint64_t member_since;
	uint64_t lease_until;
	uint64_t rejoin_delay;
	uint64_t retry_at;		/* after an error of the store */
	uint16_t drain_left;		/* workers that have not given everything back */
	bool drain_asked;
	uint64_t leave_at;		/* then at the latest */
	uint16_t fenced_acks;
	uint64_t nodes_revision;
	bool nodes_dirty;
	struct control_node *nodes;	/* by id */
	struct tp_node_record *records;	/* scratch, [node_id_max + 1] */

	/* regions.c */
	bool starting;			/* the first look at the catalogue */
	bool regions_dirty;		/* some entry is not READY or FREE */
	uint32_t regions_retired;	/* replaced structs the table still holds */
	uint64_t change_revision;
	uint64_t change;		/* counter as last read */
	uint64_t seen;			/* counter whose changes are applied here */
	uint64_t seen_written;
	uint64_t seen_revision;
	struct control_region regions[CONTROL_REGIONS];
	struct control_reap reaps[CONTROL_REAPS];

	struct control_client clients[TP_ABI_CLIENTS_MAX];
	struct control_call calls[CONTROL_CALLS];
	uint32_t calls_used;
	uint32_t call_ticket;
	struct keeper *keeper;		/* NULL: no pool */
	uint64_t pool_taken;		/* counter of the last creation that got pages in it */
	struct heap *heap;		/* NULL: none */
	struct inject *inject;		/* NULL: faults cannot be injected */
	struct tp_link *inject_links[TP_ABI_WORKERS_MAX][TP_ENDPOINT_LINKS_MAX];
	uint32_t heap_region_id;
	struct tp_control_stats stats;
};

/* control.c */
bool control_command_room(struct tp_control *control);
void control_command_all(struct tp_control *control, const struct worker_command *command);
void control_command(struct tp_control *control, uint16_t worker,
	const struct worker_command *command);
struct tp_endpoint_config control_endpoint_config(struct tp_control *control, uint16_t worker);

/* membership.c */
int membership_join(struct tp_control *control, uint64_t now);
uint32_t membership_poll(struct tp_control *control);
void membership_fence_wanted(struct tp_control *control, uint16_t node, uint32_t epoch);
void membership_fenced_ack(struct tp_control *control);
void membership_leave_begin(struct tp_control *control);
void membership_drained_ack(struct tp_control *control);
bool membership_may_serve(const struct tp_control *control);

/* regions.c */
int regions_start(struct tp_control *control);
void regions_stop(struct tp_control *control);
uint32_t regions_poll(struct tp_control *control);
int regions_seen_write(struct tp_control *control);
int regions_seen_read(struct tp_control *control, uint16_t node, uint32_t *epoch_out,
	uint32_t *boot_out, uint64_t *seen_out);
int regions_change_announce(struct tp_control *control, uint64_t *change_out);
bool regions_all_seen(struct tp_control *control, uint64_t change);
bool regions_is_ready(struct tp_control *control, uint64_t change);
struct control_region *regions_find(struct tp_control *control, uint32_t id);
void regions_added_ack(struct tp_control *control, uint32_t id, int error);
void regions_removed_ack(struct tp_control *control, uint32_t id);
void regions_place(struct tp_control *control, uint32_t id, uint32_t extent);
void regions_reap_later(struct tp_control *control, uint32_t id);
void regions_creator_forget(struct tp_control *control, int client);

/* durable.c */
int durable_start(struct tp_control *control);
void durable_stop(struct tp_control *control);
int durable_nodes_check(struct tp_control *control, const uint16_t *nodes, uint32_t count);
bool durable_is_here(const struct tp_control *control, const struct tp_region *region);
bool durable_open(struct tp_control *control, struct control_region *entry);
bool durable_end(struct tp_control *control, struct control_region *entry);
uint32_t durable_poll(struct tp_control *control);

/* clients.c */
uint32_t clients_poll(struct tp_control *control);
void clients_removed_ack(struct tp_control *control, int client);
void clients_bad(struct tp_control *control, int client);
void clients_destroy(struct tp_control *control);

/* calls.c */
uint32_t calls_poll(struct tp_control *control);
void calls_cancel(struct tp_control *control, int client);
struct control_call *calls_waiting(struct tp_control *control, uint32_t ticket);
bool calls_reach(const struct tp_control *control, uint16_t node);
void calls_end(struct tp_control *control, struct control_call *call, enum tp_reason reason,
	enum tp_effect effect, int error);
void calls_end_errno(struct tp_control *control, struct control_call *call, int error);

/* heap_call.c */
int heap_start(struct tp_control *control);
void heap_call(struct tp_control *control, struct control_call *call);
void heap_message(struct tp_control *control, uint16_t from, const struct node_msg *msg);

#endif /* CONTROL_PRIV_H */
