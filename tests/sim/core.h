/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The core harness: coherence engines, everything around them modelled.
 *   core_exec.c    carries out what an engine decided; words and guards
 *   core_base.c    pages as changes of what the receiver holds
 *   core_net.c     messages, sessions between nodes, membership
 *   core_client.c  client programs: hits and misses
 *   core_fault.c   the fault plan: what goes wrong when, and region resets
 *   core.c         the run of a seed, and what must hold
 */
#ifndef SIM_CORE_H
#define SIM_CORE_H

#include <setjmp.h>

#include "queue.h"
#include "sim.h"
#include "sim_rng.h"
#include "tp_coherence.h"
#include "tp_directory.h"
#include "tp_generation.h"
#include "tp_region.h"
#include "tp_shard.h"
#include "workload.h"

#define CORE_WORKERS_MAX 2
#define CORE_REGION 7
#define CORE_LOCAL 256
#define CORE_TOKENS 1024
#define CORE_GUARD_LEASE (10 * SIM_MS)
#define CORE_LEASE (60 * SIM_MS)
#define CORE_GENERATIONS 64
#define CORE_NONE UINT32_MAX

struct content {
	uint64_t word[SIM_WORDS];
};

/* What lib/node remembers of pages that were exchanged: core_base.c. */
struct core_base {
	uint64_t check;			/* 0: nothing */
	struct content content;
	bool home;			/* home memory is this */
};

struct core_message {
	struct tp_coherence_msg msg;
	struct content content;		/* or its difference from the base */
	uint64_t base_check;		/* of that; 0: there is none */
	uint64_t page_check;
	struct tp_coherence_item items[TP_BATCH_PAGES - 1];	/* of a batch */
	uint32_t item_count;
	uint64_t token;
	uint32_t session;
	uint32_t payload_bytes;
	uint32_t from, from_worker;
};

/* What a client holds on to. */
struct core_guard {
	bool active;
	bool write;
	bool broken;
	uint32_t page;
	uint32_t generation;
	uint32_t slot;
	uint32_t quarantined;		/* slot to return when the guard goes, or CORE_NONE */
	uint64_t since;
	uint64_t until;
};

enum client_phase { CLIENT_OFF, CLIENT_THINKING, CLIENT_HIT, CLIENT_WAITING, CLIENT_GRANTED,
	CLIENT_SETTLING };

/* An atomic that was sent to its home, and what its client knows to settle it. */
struct core_atomic {
	bool unknown;			/* it ended so, and is to be settled */
	struct workload_op op;
	uint64_t origin;
	uint64_t sequence;
	uint64_t since;
};

struct core_client {
	uint32_t phase;
	uint32_t serial;		/* of the operation: stale events and answers differ */
	struct workload_op op;
	uint64_t deadline;
	uint64_t word_sequence;		/* of the word a hit began with */
	uint64_t lease_seen;
	struct core_guard guard;
	uint32_t ops_left;
	struct core_atomic atomic;	/* of the operation, if it was sent */
};

struct core_worker {
	struct tp_coherence *engine;
	struct tp_directory_worker *directory;
	struct core_message local[CORE_LOCAL];
	uint32_t local_head, local_tail;
	bool local_scheduled;
	bool poll_scheduled;
	uint64_t timer_at;		/* earliest timer event in the queue */
	const struct content *incoming;
	struct content decoded;
	struct core_base bases[SIM_PAGES_MAX];
	bool base_off;			/* what is sent now tells of none */
	uint64_t tokens[CORE_TOKENS];	/* requests whose credit is not back */
	uint32_t token_count;
	uint32_t clear[SIM_PAGES_MAX];	/* pages whose guards were found clear */
	uint32_t clear_count;
	bool revoking[SIM_PAGES_MAX];
	bool revoke_write_only[SIM_PAGES_MAX];
	uint64_t revoke_since[SIM_PAGES_MAX];
	struct tp_outbox outbox;
	struct tp_action actions[2 * TP_ACTIONS_PER_EVENT];
	bool gathering;			/* what asks for pages leaves as one message */
	struct tp_coherence_batch batch;
};

struct core_word {
	uint8_t access;
	uint32_t slot;
	uint64_t sequence;
};

struct core_node {
	bool alive;
	bool left;			/* fenced, has not joined again */
	uint64_t left_at;
	bool lapsed;			/* its lease is over, whether it knows or not */
	bool fence_asked;
	uint32_t boot;			/* counts crashes: events of another boot are void */
	uint32_t epoch;
	uint64_t lease_until;
	uint64_t paused_until;
	uint32_t worker_count;
	uint32_t generation;		/* of the region as this node knows it, or CORE_NONE */
	bool removing;
	struct tp_directory *directory;
	int directory_slot;
	struct core_worker workers[CORE_WORKERS_MAX];
	struct tp_region region;
	struct content *slots;
	uint32_t slot_count;
	uint32_t slots_per_worker;	/* home, then cache */
	struct core_word words[SIM_PAGES_MAX];
	struct core_client clients[SIM_CLIENTS_MAX];
	bool peer_up[SIM_NODES_MAX];	/* as told to the engines */
	uint32_t peer_session[SIM_NODES_MAX];	/* of which they were told that */
};

enum core_event {
	EVENT_MESSAGE, EVENT_LOCAL, EVENT_POLL, EVENT_TIMER, EVENT_CLIENT, EVENT_GUARD_LOOK,
	EVENT_PEER_DOWN, EVENT_PEER_UP, EVENT_GREET, EVENT_LAPSE, EVENT_SELF_FENCED,
	EVENT_PEER_FENCED, EVENT_REJOIN, EVENT_REJOIN_CHECK, EVENT_CRASH, EVENT_RETURN,
	EVENT_HOME_RESET, EVENT_FAULT, EVENT_REGION_REMOVE, EVENT_REGION_ADD, EVENT_RESET,
	EVENT_BREAK,
};

struct core {
	const struct sim_options *options;
	struct sim_result *result;
	struct sim_rng rng;		/* network and scheduling */
	struct sim_rng fault_rng;
	struct sim_trace trace;
	struct queue queue;
	struct workload workload;
	uint64_t now;
	uint32_t node_count;
	uint32_t clients_per_node;
	uint32_t cache_slots;		/* per worker */
	uint32_t home_slots;
	struct core_node nodes[SIM_NODES_MAX];
	uint32_t session[SIM_NODES_MAX][SIM_NODES_MAX];	/* of a pair; same both ways */
	bool link_up[SIM_NODES_MAX][SIM_NODES_MAX];
	uint64_t down_until[SIM_NODES_MAX][SIM_NODES_MAX];
	bool must_hear[SIM_NODES_MAX][SIM_NODES_MAX];	/* that the other's old epoch is over */
	uint64_t slow_until[SIM_NODES_MAX][SIM_NODES_MAX];
	uint64_t token;
	uint64_t batches;		/* sent */
	uint64_t atomic_sequence;
	uint32_t kept_count;		/* results of atomics, per worker */
	uint32_t in_flight;		/* messages between nodes */
	uint32_t generation;		/* of the region in the catalogue */
	uint32_t resetting;		/* nodes that have not got the new one yet */
	bool may_be_lost[CORE_GENERATIONS][SIM_PAGES_MAX];
	uint32_t faults_left;
	bool break_at_write_back;	/* the session of the next one ends while it travels */
	bool healing;			/* no faults any more */
	bool sweeping;
	void *in_hand;			/* data of the event being handled */
	jmp_buf failed;
};

/* core.c */
_Noreturn void core_fail(struct core *core, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void core_trace(struct core *core, const char *what, uint64_t a, uint64_t b, uint64_t c);
void core_event_add(struct core *core, uint64_t delay, uint32_t kind, uint32_t node, uint64_t a,
	void *data);
void core_node_boot(struct core *core, uint32_t n, bool home_lost);
void core_node_free(struct core *core, uint32_t n);

/* core_exec.c */
void core_run(struct core *core, uint32_t n, uint32_t w);	/* after each event of an engine */
void core_poll_soon(struct core *core, uint32_t n, uint32_t w);
void core_guard_release(struct core *core, uint32_t n, uint32_t c);
void core_guards_look(struct core *core, uint32_t n, uint32_t w);
void core_region_words_clear(struct core *core, uint32_t n);

/* core_net.c */
const struct core_base *core_base_of(struct core *core, uint32_t n, uint32_t w,
	const struct tp_coherence_msg *msg);
void core_base_tell(struct core *core, uint32_t n, uint32_t w, struct core_message *m);
void core_base_encode(struct core *core, uint32_t n, uint32_t w, struct core_message *m);
bool core_base_decode(struct core *core, uint32_t n, uint32_t w, const struct core_message *m);
void core_send(struct core *core, uint32_t n, uint32_t w, const struct tp_action *action);
void core_gather_end(struct core *core, uint32_t n, uint32_t w);
void core_receive(struct core *core, uint32_t n, const struct queue_event *event);
void core_local(struct core *core, uint32_t n, uint32_t w);
void core_session_break(struct core *core, uint32_t a, uint32_t b, uint64_t up_after);
void core_fence(struct core *core, uint32_t by, uint32_t n);
void core_member_event(struct core *core, const struct queue_event *event);
void core_token_done(struct core *core, uint32_t n, uint32_t w, uint64_t token);
void core_crash(struct core *core, uint32_t n);
void core_lost_mark(struct core *core, uint32_t n, bool crashed);

/* core_client.c */
void core_client_start(struct core *core, uint32_t n, uint32_t c, uint32_t ops);
void core_client_event(struct core *core, uint32_t n, uint32_t c, uint32_t serial);
void core_client_complete(struct core *core, uint32_t n, const struct tp_action *action);
void core_client_stop(struct core *core, uint32_t n, uint32_t c);

/* core_fault.c */
void core_fault(struct core *core);
void core_region_event(struct core *core, const struct queue_event *event);
void core_region_reset(struct core *core);

static inline uint32_t
core_worker_of(const struct core *core, const struct core_node *node, uint32_t page)
{
	return tp_shard_worker(tp_shard_of(tp_region_page_address(&node->region, page), 12),
		(uint16_t)node->worker_count);
}

#endif /* SIM_CORE_H */
