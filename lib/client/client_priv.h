/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * What the files of lib/client share.
 */
#ifndef CLIENT_PRIV_H
#define CLIENT_PRIV_H

#include <pthread.h>
#include <stdalign.h>
#include <sys/queue.h>

#include <rte_branch_prediction.h>
#include <rte_common.h>
#include <rte_debug.h>

#include "tp_abi.h"
#include "tp_abi_control.h"
#include "tp_client.h"
#include "tp_crowd.h"
#include "tp_log.h"
#include "tp_segment.h"

#ifdef TP_MUTANTS
#include "tp_client_mutants.h"
#define CLIENT_MUTANT(client, name) ((client)->mutant == TP_CLIENT_MUTANT_##name)
#else
#define CLIENT_MUTANT(client, name) false
#endif

TP_LOG_DECLARE(client);
#define TP_CLIENT_LOG(level, ...) TP_LOG(client, level, __VA_ARGS__)

/*
 * Hazard slots of a thread: one for hits, which end before the call returns,
 * then those of requests in flight, then those of pins, so that pins can never
 * keep ordinary accesses from going on.
 */
#define CLIENT_GUARD_HIT 0
#define CLIENT_GUARD_PIN_FIRST 16
#define CLIENT_GUARD_NONE 0xff
#define CLIENT_GUARDS_ACCESS 0x0000fffeu
#define CLIENT_GUARDS_PIN 0xffff0000u
static_assert(TP_ABI_GUARDS == 32, "the masks above");

/*
 * Records of requests in flight. As many as one ring has entries, so neither
 * ring of a worker can overflow even if all go to that one.
 */
#define CLIENT_PENDING 64
#define CLIENT_PENDING_BITS 6
#define CLIENT_PENDING_NONE 0xff
static_assert(CLIENT_PENDING == 1 << CLIENT_PENDING_BITS, "index bits of a cookie");
static_assert(CLIENT_PENDING <= TP_ABI_RING_ENTRIES, "rings cannot overflow");

#define CLIENT_SWITCH_NS 700
#define CLIENT_YIELD_NS 200000ull	/* waiting before a thread sleeps */
#define CLIENT_CONTROL_TIMEOUT_NS 10000000000ull

enum client_kind {
	CLIENT_READ = 1,
	CLIENT_WRITE,
	CLIENT_ATOMIC,
	CLIENT_PIN,
	CLIENT_INVALIDATE,
	CLIENT_FLUSH,
	CLIENT_PERSIST,
	CLIENT_NOP,
};

enum client_op_state {
	CLIENT_OP_DONE = 0,
	CLIENT_OP_QUEUED,	/* waits for a free record or hazard slot of its thread */
	CLIENT_OP_SENT,		/* waits for the node */
};

/* Outcome of trying a page in place. */
enum client_hit {
	CLIENT_HIT,
	CLIENT_MISS,		/* nothing was changed: ask the node */
	CLIENT_BROKEN,		/* a change was made, and it may have come too late */
};

/* Which atomic an access asks after. */
enum client_settling {
	CLIENT_SETTLING_NO = 0,
	CLIENT_SETTLING_OWN,	/* its own, whose answer was lost: it goes on then */
	CLIENT_SETTLING_ASKED,	/* tp_submit_settle() */
};

struct client_pending {
	struct tp_op *op;	/* NULL: the answer only frees this record */
	uint32_t cookie;
	uint8_t guard;
	uint8_t worker;
	bool late;		/* op was there, and ended at its deadline */
};

struct client_ring {
	uint32_t request_head;
	uint32_t completion_tail;
	uint32_t in_flight;
	uint32_t rung;			/* sleep of the worker in which we rang */
};

enum client_thread_state {
	CLIENT_THREAD_FREE = 0,
	CLIENT_THREAD_USED,
	CLIENT_THREAD_RETIRED,	/* given back while late answers were outstanding */
};

/* Owner: the thread that registered it; state: under the client's lock. */
struct tp_thread {
	alignas(RTE_CACHE_LINE_SIZE) struct tp_client *client;
	_Atomic(struct tp_thread *) heir;	/* used instead, see reattach.c */
	struct tp_abi_thread *shared;
	_Atomic uint64_t timeout_tsc;	/* read by who attaches again, too */
	uint64_t alive_check_tsc;	/* when to look at the node's socket next */
	uint64_t still_heartbeat;	/* of the node, as last seen, */
	uint64_t still_looked_tsc;	/* when that was, */
	uint64_t still_tsc;		/* and for how long it had not changed then */
	uint64_t pending_free;		/* bit set: record is free */
	uint32_t guards_free;
	uint32_t guards_used_max;
	uint32_t cookie_next;
	uint64_t atomics;		/* sent so far, over all its registrations */
	bool corrupt;			/* the node's side of a ring makes no sense */
	bool core_shared;		/* the last yield let somebody else run */
	bool slice_brief;
	uint64_t slice_before;
	struct tp_crowd crowd;		/* yields go to who computes: sleep instead */
	enum client_thread_state state;
	struct tp_op unknown;		/* the last tp_atomic() that ended so; region NULL: none can tell */
	struct tp_thread_stats stats;
	struct client_ring rings[TP_ABI_WORKERS_MAX];
	struct client_pending pending[CLIENT_PENDING];
};

/* All but references, the heir and the links is constant once opened. */
struct tp_client_region {
	alignas(RTE_CACHE_LINE_SIZE) _Atomic uint64_t *words;
	uint8_t *slots;
	uint64_t bytes;
	const struct tp_abi_node *node;
	const _Atomic uint64_t *virtual_tsc;
	uint32_t slot_count;
	uint32_t slot_bytes;
	uint32_t id;
	uint8_t page_shift;
	bool writable;
	uint64_t guard_lease_tsc;	/* the part of it that an access may use up */
	struct tp_client *client;
	struct tp_segment *segment;
	uint32_t references;
	_Atomic(struct tp_client_region *) heir;	/* used instead, see reattach.c */
	struct tp_control_region info;
	LIST_ENTRY(tp_client_region) next;
};

/* What was in the node's header at attach, checked. */
struct client_geometry {
	uint64_t tsc_hz;
	uint64_t guard_lease_tsc;
	uint32_t page_bytes;
	uint32_t slot_count;
	uint16_t worker_count;
	uint8_t node_bits;
	uint8_t offset_bits;
};

struct tp_client {
#ifdef TP_MUTANTS
	enum tp_client_mutant mutant;
#endif
	struct tp_client_backend backend;
	struct client_geometry geometry;
	uint64_t origin;		/* of its atomics */
	uint64_t timeout_tsc;
	uint64_t switch_tsc;		/* a yield that took longer let somebody run */
	uint64_t yield_tsc;		/* waiting before a thread sleeps */
	uint64_t control_timeout_ns;
	_Atomic bool dead;		/* the node is gone; never false again */
	_Atomic(struct tp_client *) heir;	/* used instead, see reattach.c */
	struct client_keeper *keeper;	/* NULL: nobody waits for the node's end */
	char *socket_path;		/* NULL: attached to a backend */
	int socket;			/* -1: attached to a backend; the heir's if there is one */
	bool bells_owned;		/* by the heir if there is one */
	int bells[TP_ABI_WORKERS_MAX];	/* -1: none */
	uint32_t control_unanswered;	/* responses still to come to requests given up */
	struct tp_segment *segments[3];
	pthread_mutex_t control_lock;	/* one request on the socket at a time */
	pthread_mutex_t lock;		/* regions, states of threads */
	LIST_HEAD(, tp_client_region) regions;
	uint32_t thread_count;
	struct tp_thread threads[];
};

/* client.c: attach to a backend with a copy of its record; NULL lock fields are made here. */
int client_create(const struct tp_client_backend *backend, struct tp_client **client);
uint64_t client_tsc_from_ns(const struct tp_client *client, uint64_t ns);
uint64_t client_ns_from_tsc(const struct tp_client *client, uint64_t tsc);

/* socket.c: the control channel of a client with a socket; see struct tp_client_backend. */
int client_socket_control(void *ctx, const struct tp_control_request *request,
			  struct tp_control_response *response, int *fds, unsigned int fd_max);
bool client_socket_is_open(int sock);
int client_socket_connect(const char *path, uint64_t timeout_ns);
int client_socket_gate(int sock, enum tp_control_op op, uint64_t timeout_ns);
/* Attach over a connection that is there (-1: none yet). It is used up in any case. */
int client_socket_attach(int sock, const struct tp_client_config *config,
			 struct tp_client **client);

/*
 * control.c: one request, checked and translated. fds has room for fd_count,
 * which is how many must come. 0, or -errno.
 */
int client_control(struct tp_client *client, struct tp_control_request *request,
		   struct tp_control_response *response, int *fds, unsigned int fd_count);

/* The same within a deadline that is more than one request's. CLOCK_MONOTONIC, ns. */
uint64_t client_control_deadline(const struct tp_client *client);
int client_control_until(struct tp_client *client, uint64_t deadline_ns,
			 struct tp_control_request *request, struct tp_control_response *response,
			 int *fds, unsigned int fd_count);
/* Take a lock by then. 0 and the time that is left (at least 1), or -EBUSY. */
int client_lock_until(pthread_mutex_t *lock, uint64_t deadline_ns, uint64_t *left_ns);

/* region.c */
int client_region_open_until(struct tp_client *client, uint64_t deadline_ns, const char *name,
			     struct tp_client_region **region);

/* thread.c */
uint32_t client_thread_poll(struct tp_thread *thread);
bool client_thread_idle(const struct tp_thread *thread);
void client_thread_init(struct tp_client *client, struct tp_thread *thread, uint32_t index);
uint8_t client_guard_take(struct tp_thread *thread, uint32_t from);
void client_guard_release(struct tp_thread *thread, uint8_t guard);
void client_guard_empty(struct tp_thread *thread, uint8_t guard);
int client_request_send(struct tp_thread *thread, struct tp_op *op, uint32_t worker,
			struct tp_abi_request *request, uint32_t guards);

/* wait.c: the worker sleeps, sleep number asleep. */
void client_bell_ring(struct tp_thread *thread, uint32_t worker, uint32_t asleep);

/* op.c: end an access that is in flight, whatever comes of it later. */
void client_op_give_up(struct tp_thread *thread, struct tp_op *op, enum tp_reason reason);

/* op.c: the node's answer to op's request; guard is still set. */
void client_op_completed(struct tp_thread *thread, struct tp_op *op, uint8_t guard,
			 const struct tp_abi_completion *completion);

/* Start an access that is filled in but for its times. true: it is done. */
bool client_op_begin(struct tp_thread *thread, struct tp_op *op);
/* Why a change came too late: the node's lease lapsed, or it broke the guard. */
enum tp_reason client_broken_reason(const struct tp_thread *thread,
				    const struct tp_client_region *region);

#endif /* CLIENT_PRIV_H */
